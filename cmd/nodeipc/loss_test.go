//go:build unix

package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// lossTimeout is what workers have that do not leave: those before Node 19, while clients keep connections busy.
const lossTimeout = 2 * time.Second

// A lossRun is one of the servers of TestLoss.
type lossRun struct {
	addr    string
	workers int
	args    []string // the program and its arguments
	module  string   // loaded before it
}

// Requests, with a connection for each and over connections that are kept, while workers and primaries are replaced.
// None may be lost here, by programs as they are. What others lose is printed beside it: with a plain program, with one
// that has some lines for it, and with lib/orderly.js in front of a plain one.
func TestLoss(t *testing.T) {
	peer := testkit.Peer(t)
	if peer.Kind != "Node" {
		t.Skip("for Node, not for " + peer.String())
	}
	long, workers, clients := os.Getenv("NODEIPC_LONG") != "", 2, 2 // without it, a taste
	if long {
		workers, clients = 4, 4
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "server\tprogram\ttimes\tconnections\trequests\trefused\tdropped\traced\tcut\tclosed")
	for _, s := range []struct {
		name  string
		ours  bool
		times int
		taste string // the programs that are part of it
		few   int    // times then
		start func(*lossRun, *testing.T) (act, stop func())
		all   []string
	}{
		{"nodeipc run, SIGHUP", true, 20, "plain Go", 2, (*lossRun).run, []string{"plain", "Go"}},
		{"nodeipc run, --upgrade", true, 5, "plain", 1, (*lossRun).upgrade, []string{"plain", "Go"}},
		{"Node's cluster", false, 20, "plain", 1, (*lossRun).cluster, []string{"plain", "orderly", "module"}},
		{"PM2 6, pm2 reload", false, 20, "", 0, (*lossRun).pm2, []string{"plain", "orderly"}},
		{"PM2 6, pm2 reload", false, 5, "", 0, (*lossRun).pm2, []string{"module"}}, // a reload takes ten seconds
	} {
		for _, program := range s.all {
			t.Run(s.name+" "+program, func(t *testing.T) {
				if !long {
					if !strings.Contains(s.taste, program) {
						t.Skip("with NODEIPC_LONG=1")
					}
					s.times = s.few
				}
				r := &lossRun{addr: testkit.FreeAddr(t), workers: workers}
				r.args = []string{testkit.Fixture("loss_server.js"), program}
				switch program {
				case "Go":
					r.args = []string{"--", os.Args[0], lossWorkerArg}
				case "module":
					r.args[1], r.module = "plain", filepath.Join(testkit.Root(), "lib", "orderly.js")
				}
				act, stop := s.start(r, t)
				loads := []*testkit.Load{
					testkit.StartLoad(t, r.addr, clients, false), testkit.StartLoad(t, r.addr, clients, true),
				}
				for range s.times {
					act()
				}
				if s.ours {
					loads[0].Await(t, func(sum *testkit.Losses) bool { return len(sum.By) > workers }) // new ones serve
				}
				for i, l := range loads {
					sum := l.Stop()
					kind := []string{"one each", "kept"}[i]
					fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", s.name, program, s.times, kind,
						sum.Requests(), sum.Refused, sum.Dropped, sum.Raced, sum.Cut, sum.Closed)
					if len(sum.Errs) > 0 {
						t.Logf("%s, the first that were lost: %v", kind, sum.Errs)
					}
					if s.ours {
						require.Zero(t, sum.Lost(), "%s: %+v", kind, *sum)
					}
				}
				stop()
			})
		}
	}
	w.Flush()
	t.Logf("%s\n%s", peer, table.String())
}

func (l *lossRun) port() string { return "PORT=" + l.addr[strings.LastIndexByte(l.addr, ':')+1:] }

// begin starts nodeipc run with these flags.
func (l *lossRun) begin(t *testing.T, flags ...string) *running {
	flags = append(flags, "-i", fmt.Sprint(l.workers), "--drain-timeout", lossTimeout.String())
	r := newRun(t, append(flags, l.args...)...)
	r.cmd.Env = append(r.cmd.Env, l.port())
	require.Equal(t, l.addr, r.start().ready())
	return r
}

func (l *lossRun) run(t *testing.T) (act, stop func()) {
	r := l.begin(t)
	act = func() {
		r.signal(syscall.SIGHUP)
		r.await(`reload: all \d+ workers are replaced`)
	}
	return act, func() { l.end(t, r) }
}

func (l *lossRun) upgrade(t *testing.T) (act, stop func()) {
	control := filepath.Join(t.TempDir(), "control")
	r := l.begin(t, "--control", control)
	r.await("a successor can come to")
	act = func() {
		next := l.begin(t, "--control", control, "--upgrade")
		next.await("a successor can come to")
		require.Equal(t, 0, r.exit())
		r = next
	}
	return act, func() { l.end(t, r) }
}

func (l *lossRun) end(t *testing.T, r *running) {
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
}

// cluster has Node's own primary.
func (l *lossRun) cluster(t *testing.T) (act, stop func()) {
	args := append([]string{testkit.Fixture("loss_primary.js"), fmt.Sprint(l.workers)}, l.args...)
	if l.module != "" {
		args = append([]string{"-r", l.module}, args...) // which workers get from their primary
	}
	cmd := testkit.Peer(t).Command(args...)
	cmd.Env = append(os.Environ(), l.port())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	await := func(line string) {
		require.True(t, lines.Scan(), lines.Err())
		require.Equal(t, line, lines.Text())
	}
	await("ready")
	act = func() {
		fmt.Fprintln(in, lossTimeout.Milliseconds())
		await("reloaded")
	}
	return act, func() {
		in.Close()
		require.False(t, lines.Scan())
	}
}

// pm2 has a daemon of its own.
func (l *lossRun) pm2(t *testing.T) (act, stop func()) {
	peer := testkit.Peer(t)
	if peer.Major() < 16 {
		t.Skip("PM2 6 needs Node 16")
	}
	home := t.TempDir()
	pm2 := func(args ...string) {
		t.Helper()
		bin := filepath.Join(testkit.Root(), "node_modules", "pm2", "bin", "pm2")
		cmd := exec.Command(peer.Path, append([]string{bin}, args...)...)
		cmd.Env = append(os.Environ(), "PM2_HOME="+home, "PM2_DISABLE_VERSION_CHECK=1", "PM2_DISCRETE_MODE=1", l.port())
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	t.Cleanup(func() { pm2("kill") })
	limit := fmt.Sprint(lossTimeout.Milliseconds())
	args := []string{"start", l.args[0], "-i", fmt.Sprint(l.workers), "--kill-timeout", limit}
	if l.module != "" {
		args = append(args, "--node-args", "-r "+l.module)
	}
	pm2(append(args, "--", l.args[1])...)
	return func() { pm2("reload", "all") }, func() {}
}
