// Package testkit holds what the tests of all packages share: which runtime they run against, where the fixtures are,
// the features that README.md's table has, and a check that a test leaves no goroutine and no descriptor behind. Only
// tests import it.
package testkit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Node returns the path of the binary the tests run against: NODEIPC_NODE, or the node of the PATH. Without one
// the test fails: a real peer is the point of most tests here, and a skip would hide that none was there.
func Node(tb testing.TB) string {
	tb.Helper()
	bin, err := findNode()
	if err != nil {
		tb.Fatal(err)
	}
	return bin
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
