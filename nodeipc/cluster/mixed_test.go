//go:build unix

package cluster_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// greeter is the command of a worker that greets each connection with its process id: chaosMain in Go, otherwise
// js_fixtures/cluster_chaos.js.
func greeter(t testing.TB, kind string, port int) *exec.Cmd {
	t.Helper()
	var cmd *exec.Cmd
	switch kind {
	case "go":
		bin, err := os.Executable()
		require.NoError(t, err)
		cmd = exec.Command(bin)
		cmd.Env = append(os.Environ(), envRole+"=chaos", "GORACE=atexit_sleep_ms=0")
	case "deno":
		cmd = testkit.Runtime{Path: deno(t), Kind: "Deno"}.Command("cluster_chaos.js")
		cmd.Env = os.Environ()
	default:
		cmd = testkit.Peer(t).Command("cluster_chaos.js")
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, fmt.Sprint("NODEIPC_PORT=", port))
	cmd.Stderr = os.Stderr
	return cmd
}

// deno returns the path of Deno, or "" where it is not installed.
func deno(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(testkit.Root(), ".runtimes", "deno-*", "deno"))
	require.NoError(t, err)
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// startGreeters starts workers of these kinds, which listen one after the other.
func startGreeters(t *testing.T, p *cluster.Primary, port int, kinds []string) (pids []string) {
	t.Helper()
	for _, kind := range kinds {
		w, err := p.Fork(&cluster.ForkOptions{Command: greeter(t, kind, port), Group: kind})
		require.NoError(t, err)
		require.NoError(t, w.Await(within(t), cluster.Listening), kind)
		pids = append(pids, fmt.Sprint(w.Cmd().Process.Pid))
	}
	return pids
}

// Workers of all kinds share one port, and the turns are exact.
func TestMixedWorkers(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	kinds := []string{"node", "node", "go", "go"}
	if deno(t) != "" {
		kinds = append(kinds, "deno")
	}
	port := testkit.FreePort(t, "127.0.0.1")
	p := newPrimary(t, &cluster.Primary{Scheduling: cluster.RoundRobin})
	pids := startGreeters(t, p, port, kinds)
	clients := newChaosLoad(port)
	const each = 200
	for n := range each * len(kinds) {
		clients.once(n)
		// The worker's answer to the primary may come after its answer to the client.
		await(t, "all has been answered", func() bool {
			var taken int64
			for _, w := range p.Workers() {
				taken += w.Status().Connections
			}
			return taken == int64(n)+1
		})
	}
	require.Empty(t, clients.other)
	want := map[string]int{}
	for _, pid := range pids {
		want[pid] = each
	}
	require.Equal(t, want, clients.by)
	require.NoError(t, p.Shutdown(within(t)))
}

// await waits until what is true.
func await(t testing.TB, name string, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !what(); time.Sleep(100 * time.Microsecond) {
		require.True(t, time.Now().Before(deadline), "it does not come: %s", name)
	}
}

// Workers are killed at random while clients with a connection for each request keep all of them busy. Requests fail
// only on connections that a killed worker had accepted, and everybody else is served.
func TestChaosOfGoPrimary(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	port := testkit.FreePort(t, "127.0.0.1")
	p := newPrimary(t, &cluster.Primary{Scheduling: cluster.RoundRobin, Logger: stderrLog})
	var all []*cluster.Process
	fork := func(kind string) *cluster.Process {
		w, err := p.Fork(&cluster.ForkOptions{Command: greeter(t, kind, port), Group: kind})
		require.NoError(t, err)
		all = append(all, w)
		return w
	}
	for _, kind := range []string{"node", "go", "node", "go"} {
		require.NoError(t, fork(kind).Await(within(t), cluster.Listening))
	}
	clients := newChaosLoad(port)
	var running sync.WaitGroup
	for range 8 {
		running.Go(clients.run)
	}
	killed := map[string]bool{}
	for end := time.Now().Add(chaosTime(t)); time.Now().Before(end); {
		time.Sleep(time.Duration(20+random.IntN(80)) * time.Millisecond) // so that it comes at any time
		var able []*cluster.Process
		for _, w := range p.Workers() {
			if w.Status().State == cluster.Listening && !killed[fmt.Sprint(w.Cmd().Process.Pid)] {
				able = append(able, w)
			}
		}
		if len(able) < 2 {
			continue
		}
		w := able[random.IntN(len(able))]
		killed[fmt.Sprint(w.Cmd().Process.Pid)] = true
		require.NoError(t, w.Signal(syscall.SIGKILL))
		fork(w.Group())
	}
	clients.stop.Store(true)
	running.Wait()
	for _, w := range p.Workers() { // one that asks for its address during Shutdown gets no answer
		if !killed[fmt.Sprint(w.Cmd().Process.Pid)] {
			require.NoError(t, w.Await(within(t), cluster.Listening))
		}
	}
	require.NoError(t, p.Shutdown(within(t)))

	lost := int(clients.early.Load())
	for _, n := range clients.after {
		lost += n
	}
	t.Logf("%d requests, %d workers killed; %d lost, %d of them before they were greeted",
		clients.served.Load(), len(killed), lost, clients.early.Load())
	require.NotEmpty(t, killed)
	require.Empty(t, clients.other, "neither lost with a worker nor served")
	require.Zero(t, clients.hung.Load(), "nobody served them")
	for pid := range clients.after {
		require.Contains(t, killed, pid, "a worker that was not killed lost a connection")
	}
	// Each connection was accepted by one worker once; one that lives has served what it accepted.
	byKilled := 0
	for _, w := range all {
		pid, taken := fmt.Sprint(w.Cmd().Process.Pid), int(w.Status().Connections)
		if killed[pid] {
			byKilled += taken - clients.by[pid]
		} else {
			require.Equal(t, taken, clients.by[pid], "worker %d", w.ID())
		}
	}
	require.Equal(t, lost, byKilled, "what was lost had been accepted by a worker that was killed, and nothing else was")
}
