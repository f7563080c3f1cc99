//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/lib"
)

// An orderlyModule is the module that Node scripts are run with, in a private folder of its own.
type orderlyModule struct {
	mu     sync.Mutex
	path   string
	folder *os.File // locked, which tells systemd-tmpfiles that it is in use
	failed bool
}

// argv returns the command of the group's next worker.
func (r *runner) argv(g *group) []string {
	if !g.inNode || r.orderly == nil {
		return g.argv
	}
	path, err := r.orderly.file()
	if err != nil {
		r.say("--orderly: %v; group %s is run without", err, g.name)
	}
	if path == "" {
		return g.argv
	}
	return append([]string{g.argv[0], "--require", path}, g.argv[1:]...)
}

// file returns the path of the module, which it writes if it is not there: workers are started as long as the command
// runs, and what is in a temporary folder may go. Where that fails programs do without, and the error comes once.
func (m *orderlyModule) file() (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.there() {
		if _, err := os.Lstat(m.path); err == nil {
			return m.path, nil
		}
	}
	m.clear()
	err := m.write()
	if err == nil {
		m.failed = false
		return m.path, nil
	}
	m.clear()
	if m.failed {
		err = nil
	}
	m.failed = true
	return "", err
}

// there reports whether the folder is still the one that was made here: everybody can see its name, and put another in
// the place of one that has gone.
func (m *orderlyModule) there() bool {
	if m.folder == nil {
		return false
	}
	ours, err := m.folder.Stat()
	if err != nil {
		return false
	}
	found, err := os.Lstat(filepath.Dir(m.path))
	return err == nil && os.SameFile(ours, found)
}

func (m *orderlyModule) write() error {
	dir, err := os.MkdirTemp("", "nodeipc-run-")
	if err != nil {
		return err
	}
	if m.folder, err = os.Open(dir); err != nil {
		os.Remove(dir)
		return err
	}
	const name = "orderly.cjs" // not .js: a package.json above may make that something else
	m.path = filepath.Join(dir, name)
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // by which name the module knows itself
		return err
	}
	m.path = filepath.Join(dir, name)
	if !utf8.ValidString(m.path) {
		return fmt.Errorf("node cannot read %q", m.path)
	}
	unix.Flock(int(m.folder.Fd()), unix.LOCK_SH|unix.LOCK_NB) // where there are such locks
	return os.WriteFile(m.path, lib.Orderly, 0o600)
}

// clear removes it.
func (m *orderlyModule) clear() {
	if m.there() {
		os.RemoveAll(filepath.Dir(m.path))
	}
	if m.folder != nil {
		m.folder.Close()
		m.folder = nil
	}
}

func (m *orderlyModule) remove() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clear()
}
