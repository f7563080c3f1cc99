// Package testkit holds what the tests of all packages share: which Node they run against, where the fixtures are,
// and a check that a test leaves no goroutine and no descriptor behind. Only tests import it.
package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Node returns the path of the Node binary the tests run against: NODEIPC_NODE, or the node of the PATH. Without one
// the test fails: a real peer is the point of most tests here, and a skip would hide that none was there.
func Node(tb testing.TB) string {
	tb.Helper()
	bin, err := findNode()
	if err != nil {
		tb.Fatal(err)
	}
	return bin
}

// NodeMajor returns the major version of Node(tb): 12, 20, 26.
func NodeMajor(tb testing.TB) int {
	tb.Helper()
	bin := Node(tb)
	major, err := nodeMajor(bin)
	if err != nil {
		tb.Fatal(err)
	}
	return major
}

var findNode = sync.OnceValues(func() (string, error) {
	const help = "install Node 12 or later, or point NODEIPC_NODE at a binary, as in\n" +
		"\tNODEIPC_NODE=$(scripts/runtimes.sh path 20) go test ./..."
	if name := os.Getenv("NODEIPC_NODE"); name != "" {
		bin, err := exec.LookPath(name)
		if err == nil {
			bin, err = filepath.Abs(bin)
		}
		if err != nil {
			return "", fmt.Errorf("testkit: NODEIPC_NODE=%s: %w; %s", name, err, help)
		}
		return bin, nil
	}
	bin, err := exec.LookPath("node")
	if err != nil {
		return "", fmt.Errorf("testkit: no Node to test against: %w; %s", err, help)
	}
	return bin, nil
})

var majors sync.Map // of a binary's path, to int

func nodeMajor(bin string) (int, error) {
	if m, ok := majors.Load(bin); ok {
		return m.(int), nil
	}
	out, err := exec.Command(bin, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("testkit: %s --version: %w", bin, err)
	}
	first, _, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), ".")
	m, err := strconv.Atoi(first)
	if err != nil || !ok {
		return 0, fmt.Errorf("testkit: %s --version: not a version of Node: %q", bin, out)
	}
	majors.Store(bin, m)
	return m, nil
}

// Root returns the absolute path of the repository, the folder that holds go.mod.
func Root() string {
	root, err := findRoot()
	if err != nil {
		panic(err)
	}
	return root
}

// findRoot looks upwards from this source file, and from the working directory, which go test sets to the package's
// folder, where the binary was built with -trimpath and does not know its source.
var findRoot = sync.OnceValues(func() (string, error) {
	var starts []string
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		starts = append(starts, filepath.Dir(file))
	}
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	for _, dir := range starts {
		for {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				return dir, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", errors.New("testkit: no go.mod above " + strings.Join(starts, " or "))
})

// Fixture returns the absolute path of a file in js_fixtures.
func Fixture(name string) string {
	return filepath.Join(Root(), "js_fixtures", filepath.FromSlash(name))
}
