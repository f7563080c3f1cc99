//go:build unix

package cluster_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

const (
	forkGo     = "`forkGo` starts a Go program"
	roundRobin = "Go worker in a cluster, round robin"
	schedNone  = "Go worker in a cluster, `SCHED_NONE`"
	advanced   = "Go worker in a cluster, `serialization: 'advanced'`"

	underRoundRobin = "Worker of a Go primary, round robin"
	underNone       = "Worker of a Go primary, `None`"
	underAdvanced   = "Worker of a Go primary, advanced serialization"

	bunAdvanced = "Bun's advanced serialization is a format of its own, which is refused with an error that says so."
)

// What a runtime cannot do, whatever we do.
var runtimeLimits = []testkit.Limit{
	{Kind: "Bun", Feature: advanced, Reason: bunAdvanced},
	{Kind: "Bun", Feature: underAdvanced, Reason: bunAdvanced},
	{Kind: "Deno", Feature: underNone, Reason: "Deno does not accept from the socket that it shares under `None`."},
}

// What README.md says of every runtime as the primary of a Go worker, beside a worker of its own, and as a worker of a
// Go primary.
func TestRuntime(t *testing.T) {
	testkit.Features(t, runtimeLimits,
		testkit.Feature{Name: forkGo, Cases: []testkit.Case{
			{Name: "started", Run: func(t testing.TB) {
				var r struct {
					Stdout string
					Code   int
				}
				forkGoPrimary(t, "started", &r)
				require.Equal(t, "args one two words\nid 1 channel 3\n", r.Stdout)
				require.Zero(t, r.Code)
			}},
			{Name: "between others", Run: func(t testing.TB) {
				var r struct{ ExecPaths []string }
				forkGoPrimary(t, "mixed", &r)
				require.Equal(t, []string{testkit.Node(t), testkit.Node(t)}, r.ExecPaths)
			}},
		}},
		testkit.Feature{Name: roundRobin, Cases: inCluster("rr")},
		testkit.Feature{Name: schedNone, Cases: inCluster("none")},
		testkit.Feature{Name: advanced, Cases: inAdvancedCluster()},
		testkit.Feature{Name: underRoundRobin, Cases: underGo(cluster.RoundRobin, nodeipc.JSON)},
		testkit.Feature{Name: underNone, Cases: underGo(cluster.None, nodeipc.JSON)},
		testkit.Feature{Name: underAdvanced, Cases: underGo(cluster.RoundRobin, nodeipc.Advanced)},
	)
}

// forkGoPrimary runs a scenario of forkgo_primary.js with a script in the place of a Go program.
func forkGoPrimary(t testing.TB, scenario string, report any) {
	script := filepath.Join(t.TempDir(), "stand-in")
	const text = "#!/bin/sh\necho \"args $*\"\necho \"id $NODE_UNIQUE_ID channel $NODE_CHANNEL_FD\"\n"
	require.NoError(t, os.WriteFile(script, []byte(text), 0o755))
	cmd := testkit.Peer(t).Command("forkgo_primary.js", scenario, script)
	var out, log strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &log
	require.NoError(t, cmd.Start())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	require.NoError(t, cmd.Wait(), "%s%s", out.String(), log.String())
	require.NoError(t, json.Unmarshal([]byte(out.String()), report), "%s%s", out.String(), log.String())
}

func inAdvancedCluster() (cases []testkit.Case) {
	for _, policy := range []string{"rr", "none"} {
		for _, c := range inCluster(policy) {
			cases = append(cases, testkit.Case{Name: policy + " " + c.Name, Run: func(t testing.TB) {
				t.Setenv("NODEIPC_SERIALIZATION", "advanced") // for the primary, and so for its workers
				c.Run(t)
			}})
		}
	}
	return cases
}

// inCluster are the parts of a worker's life.
func inCluster(policy string) []testkit.Case {
	start := func(t testing.TB) *primary { return startPrimary(t, "NODE_CLUSTER_SCHED_POLICY="+policy) }
	return []testkit.Case{
		{Name: "messages", Run: func(t testing.TB) {
			p := start(t)
			w := p.fork("go", "agent")
			p.tell(map[string]any{"do": "stream", "worker": w.id, "count": 2000})
			require.Empty(t, w.await("streamed").Error)
		}},
		{Name: "requests", Run: func(t testing.TB) {
			p := start(t)
			ours, theirs := p.fork("go", "agent"), p.fork("node", "")
			addr := ours.listen("a", "tcp", "127.0.0.1", 0)
			require.Equal(t, addr, theirs.listen("a", "tcp", "127.0.0.1", 0))
			const n = 20
			if policy == "rr" {
				require.Equal(t, map[string]int{ours.says("a"): n / 2, theirs.says("a"): n / 2}, shared(t, addr, n, ours, theirs))
			} else { // who accepts is up to the kernel
				by := served(t, addr, n)
				require.Equal(t, n, by[ours.says("a")]+by[theirs.says("a")], "%v", by)
			}
			theirs.close("a")
			require.Equal(t, map[string]int{ours.says("a"): 5}, served(t, addr, 5))
		}},
		{Name: "the primary disconnects", Run: func(t testing.TB) {
			if testkit.Peer(t).Kind != "Bun" {
				disconnectedByPrimary(t, "go", policy)
				return
			}
			// Bun's ends the channel without waiting for the worker, so that nothing can be told to either of them.
			p := start(t)
			w := p.fork("go", "agent")
			addr := w.listen("a", "tcp", "127.0.0.1", 0)
			require.Equal(t, map[string]int{w.says("a"): 5}, served(t, addr, 5))
			p.tell(map[string]any{"do": "disconnect", "worker": w.id})
			exit := w.await("exit")
			require.Equal(t, 0, *exit.Code)
			require.True(t, *exit.ExitedAfterDisconnect)
		}},
		{Name: "the worker disconnects", Run: func(t testing.TB) { disconnectsItself(t, "go", policy) }},
	}
}

// underGo are the parts of the life of two workers of a Go primary.
func underGo(s cluster.Scheduling, serialization nodeipc.Serialization) []testkit.Case {
	return []testkit.Case{{Name: "served, and disconnected", Run: func(t testing.TB) {
		port := testkit.FreePort(t, "127.0.0.1")
		p := &cluster.Primary{
			Scheduling: s,
			Channel:    &nodeipc.Options{Serialization: serialization},
			Command: func() *exec.Cmd {
				return testkit.Peer(t).Command("primary_worker.js", strconv.Itoa(port))
			},
		}
		defer p.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for range 2 {
			w, err := p.Fork(nil)
			require.NoError(t, err)
			require.NoError(t, w.Await(ctx, cluster.Listening))
		}
		by := map[string]int{}
		const n = 20
		for range n {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			require.NoError(t, err)
			end, _ := ctx.Deadline()
			conn.SetDeadline(end)
			name, err := io.ReadAll(conn)
			conn.Close()
			require.NoError(t, err)
			by[string(name)]++
			for _, w := range p.Workers() {
				for w.Status().Unanswered > 0 && ctx.Err() == nil {
					runtime.Gosched()
				}
			}
		}
		if s == cluster.RoundRobin {
			require.Equal(t, map[string]int{"worker 1": n / 2, "worker 2": n / 2}, by)
		}
		require.Equal(t, n, by["worker 1"]+by["worker 2"], "%v", by)
		for _, w := range p.Workers() {
			require.NoError(t, w.Disconnect(ctx))
			require.Zero(t, w.Cmd().ProcessState.ExitCode())
		}
	}}}
}
