// Package lib carries the JavaScript that the nodeipc command brings along.
package lib

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// Preload is the text of tap.js, which every Node process below `nodeipc tap` loads first.
//
//go:embed tap.js
var Preload []byte

// Orderly is the text of orderly.js, with which `nodeipc run` runs Node programs.
//
//go:embed orderly.js
var Orderly []byte

// Config is what the preload reads in NODEIPC_TAP.
type Config struct {
	Command []string `json:"command"` // what it puts in front of a child that gets a channel; the first is a path
	Preload string   `json:"preload"` // the absolute path of the preload
	Report  string   `json:"report"`  // where that command reports to; nothing to the preload
}

// Environ returns env with the two variables of a tap: NODEIPC_TAP and, in front of what is in it, NODE_OPTIONS.
func Environ(env []string, tap Config) ([]string, error) {
	var existing string
	set := make([]string, 0, len(env)+2)
	for _, pair := range env {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case "NODE_OPTIONS":
			existing = value // of several the last counts, as in os/exec
		case "NODEIPC_TAP":
		default:
			set = append(set, pair)
		}
	}
	options, err := NodeOptions(existing, tap.Preload)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(tap)
	if err != nil {
		return nil, fmt.Errorf("lib: NODEIPC_TAP: %w", err)
	}
	return append(set, "NODE_OPTIONS="+options, "NODEIPC_TAP="+string(config)), nil
}

// NodeOptions returns the value of NODE_OPTIONS that makes Node load the preload at path before what existing, its
// value so far, makes it load. Node splits it at spaces; double quotes protect, and between them a backslash protects
// the next character.
func NodeOptions(existing, path string) (string, error) {
	switch {
	case !filepath.IsAbs(path):
		return "", fmt.Errorf("lib: the path of the preload is not absolute: %q", path) // Node would look for a package
	case !utf8.ValidString(path) || strings.ContainsRune(path, 0):
		return "", fmt.Errorf("lib: Node cannot read a path of the preload that is not UTF-8: %q", path)
	}
	options := preloadOption(path)
	switch existing = strings.TrimLeft(existing, " "); {
	case existing == "":
		return options, nil
	case existing == options, strings.HasPrefix(existing, options+" "):
		return existing, nil
	}
	return options + " " + existing, nil
}

func preloadOption(path string) string {
	return `--require "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

// Restored returns env without what Environ, or the preload at path, has put into it.
func Restored(env []string, path string) []string {
	restored := make([]string, 0, len(env))
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if rest, ok := strings.CutPrefix(value, preloadOption(path)); name == "NODE_OPTIONS" && ok && (rest == "" || rest[0] == ' ') {
			if rest = strings.TrimLeft(rest, " "); rest == "" {
				continue
			}
			pair = name + "=" + rest
		}
		if name != "NODEIPC_TAP" {
			restored = append(restored, pair)
		}
	}
	return restored
}
