package testkit

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

func TestPeer(t *testing.T) {
	peer := Peer(t)
	out, err := exec.Command(Node(t), "-p", "'Node ' + process.versions.node + ' ' + process.versions.node.split('.')[0]").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != fmt.Sprint(peer, " ", peer.Major()) {
		t.Errorf("Peer is %v, major version %d; it says %s itself", peer, peer.Major(), got)
	}
}

func TestParseVersion(t *testing.T) {
	for out, want := range map[string]string{
		"v12.22.12\n": "Node 12.22.12",
		"1.4.5\n":     "Bun 1.4.5",
		"deno 2.9.6 (stable, release, x86_64-unknown-linux-gnu)\nv8 15.0.245.2-rusty\ntypescript 6.0.3\n": "Deno 2.9.6",
		"Python 3.11.2\n": "",
		"v\n":             "",
		"":                "",
	} {
		kind, version, err := parseVersion(out)
		if (err == nil) != (want != "") || err == nil && kind+" "+version != want {
			t.Errorf("%q is %s %s (%v), expected %q", out, kind, version, err, want)
		}
	}
}

func TestRoot(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(Root(), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(mod), "module github.com/nodeipc/nodeipc-go\n") {
		t.Errorf("Root is %s, whose go.mod is of another module", Root())
	}
	if _, err := os.Stat(Fixture("echo.js")); err != nil {
		t.Error(err)
	}
}

// recorder takes the place of a test whose cleanups are run by hand, to see a check fail.
type recorder struct {
	testing.TB
	cleanups []func()
	errors   []string
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Errorf(format string, a ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, a...))
}

func check(t *testing.T, patience time.Duration, body func()) []string {
	r := &recorder{TB: t}
	checkLeaks(r, patience)
	body()
	for _, f := range r.cleanups {
		f()
	}
	return r.errors
}

func TestCheckLeaksQuiet(t *testing.T) {
	errs := check(t, patience, func() {
		ln, err := net.Listen("tcp", "127.0.0.1:0") // the first use of the poller, in this process
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		c := make(chan os.Signal, 1)
		signal.Notify(c, os.Interrupt) // leaves a goroutine of os/signal for good
		signal.Stop(c)
		go runtime.Gosched() // is on its way out
		if err := exec.Command(Node(t), "--version").Run(); err != nil {
			t.Fatal(err)
		}
	})
	if len(errs) > 0 {
		t.Errorf("nothing leaked, reported %q", errs)
	}
}

func TestCheckLeaksGoroutine(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	errs := check(t, 50*time.Millisecond, func() { go leakyGoroutine(stop) })
	if len(errs) != 1 || !strings.Contains(errs[0], "1 goroutines left over") || !strings.Contains(errs[0], "leakyGoroutine") {
		t.Errorf("a goroutine leaked, reported %q", errs)
	}
}

func leakyGoroutine(stop chan struct{}) { <-stop }

func TestCheckLeaksDescriptor(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("descriptors are compared on Linux only")
	}
	path := filepath.Join(t.TempDir(), "leak")
	var f *os.File
	errs := check(t, 50*time.Millisecond, func() {
		var err error
		if f, err = os.Create(path); err != nil {
			t.Fatal(err)
		}
	})
	f.Close()
	if len(errs) != 1 || !strings.Contains(errs[0], "1 descriptors left over") || !strings.Contains(errs[0], path) {
		t.Errorf("a descriptor leaked, reported %q", errs)
	}
}
