package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// A program is a JavaScript runtime.
type program struct {
	name string // "Node 20.20.2"
	argv []string
}

// workers is a short name for workers of this Node: "Node 20".
func (p program) workers() string {
	major, _, _ := strings.Cut(p.name, ".")
	return major
}

type runtimes struct {
	nodes, others []program
	notes         []string // on what could not be had
}

// findRuntimes looks up what the flags name. What cannot be had is left out with a note, but some Node there must be.
func findRuntimes(nodes, others, script, subject string) (r runtimes) {
	find := func(list string) (found []program) {
		for _, name := range strings.Split(list, ",") {
			if name == "none" {
				continue
			}
			p, err := findProgram(name, script, subject)
			if err != nil {
				r.notes = append(r.notes, fmt.Sprintf("%s is left out: %v", name, err))
				continue
			}
			found = append(found, p)
		}
		return found
	}
	if r.nodes = find(nodes); r.nodes == nil && nodes != "none" {
		r.notes = append(r.notes, "so there is the PATH's node alone")
		r.nodes = find("node")
	}
	r.others = find(others)
	return r
}

// findProgram looks up a path, the PATH's node, or a name that scripts/runtimes.sh knows and installs if it has to.
func findProgram(name, script, subject string) (p program, err error) {
	var path string
	if name == "node" || strings.Contains(name, "/") {
		path, err = exec.LookPath(name)
	} else {
		path, err = output(script, "path", name)
	}
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return p, err
	}
	version, err := output(path, "--version")
	if err != nil {
		return p, err
	}
	switch f := strings.Fields(version); {
	case version == "":
		return p, fmt.Errorf("%s --version prints nothing", path)
	case version[0] == 'v':
		return program{"Node " + version[1:], []string{path, subject}}, nil
	case f[0] == "deno":
		return program{"Deno " + f[1], []string{path, "run", "-A", subject}}, nil
	default:
		return program{"Bun " + f[0], []string{path, subject}}, nil
	}
}

// cannot says why a contestant cannot do a scenario at all, where that is known.
func cannot(name string, s *scenario) string {
	if s.cluster && !strings.HasPrefix(name, "Node ") && strings.Contains(name, ".") {
		return "clusters are compared with those of Node"
	}
	if s.worker && strings.HasPrefix(name, "Bun ") {
		return "its cluster has a dialect of its own, lines that begin with a byte 02"
	}
	if s.advanced && strings.HasPrefix(name, "Bun ") {
		return "its advanced serialization is not Node's"
	}
	return ""
}

// output runs a command and returns what it prints, or what it complains of.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w %s", filepath.Base(name), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
