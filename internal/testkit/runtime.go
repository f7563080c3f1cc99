package testkit

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A Runtime is the JavaScript runtime that the tests run against.
type Runtime struct {
	Path    string
	Kind    string // Node, Bun or Deno
	Version string // 20.20.2
}

func (r Runtime) String() string { return r.Kind + " " + r.Version }

// Major returns the first number of the version.
func (r Runtime) Major() int {
	first, _, _ := strings.Cut(r.Version, ".")
	n, _ := strconv.Atoi(first) // parseVersion has seen to it that it is one
	return n
}

// Command returns a command that runs a fixture, or another script that is CommonJS. Other arguments of Node's own, such
// as -e, are for Node alone.
func (r Runtime) Command(args ...string) *exec.Cmd {
	if len(args) > 0 && filepath.Ext(args[0]) == ".js" && !filepath.IsAbs(args[0]) {
		args = append([]string{Fixture(args[0])}, args[1:]...)
	}
	if r.Kind == "Deno" {
		// js_fixtures/parent.js and cluster_control.js start it in the same way.
		args = append([]string{"run", "-A", "--unstable-detect-cjs", "--unstable-bare-node-builtins"}, args...)
	}
	return exec.Command(r.Path, args...)
}

// Peer returns the runtime the tests run against: that of NODEIPC_NODE, or the node of the PATH.
func Peer(tb testing.TB) Runtime {
	tb.Helper()
	r, err := runtimeAt(Node(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

var runtimes sync.Map // of a binary's path, to Runtime

func runtimeAt(bin string) (Runtime, error) {
	if r, ok := runtimes.Load(bin); ok {
		return r.(Runtime), nil
	}
	out, err := exec.Command(bin, "--version").Output()
	if err != nil {
		return Runtime{}, fmt.Errorf("testkit: %s --version: %w", bin, err)
	}
	kind, version, err := parseVersion(string(out))
	if err != nil {
		return Runtime{}, fmt.Errorf("testkit: %s --version: %w", bin, err)
	}
	r := Runtime{bin, kind, version}
	runtimes.Store(bin, r)
	return r, nil
}

// parseVersion reads what a runtime prints: v20.20.2 is Node's way, "deno 2.9.6 (stable, ...)" Deno's, 1.4.5 Bun's.
func parseVersion(out string) (kind, version string, err error) {
	first, _, _ := strings.Cut(out, "\n")
	switch {
	case strings.HasPrefix(first, "v"):
		kind, version = "Node", first[1:]
	case strings.HasPrefix(first, "deno "):
		kind = "Deno"
		version, _, _ = strings.Cut(first[len("deno "):], " ")
	default:
		kind, version = "Bun", first
	}
	version = strings.TrimSpace(version)
	major, _, ok := strings.Cut(version, ".")
	if _, err := strconv.ParseUint(major, 10, 16); err != nil || !ok {
		return "", "", fmt.Errorf("not a version of Node, Bun or Deno: %q", out)
	}
	return kind, version, nil
}
