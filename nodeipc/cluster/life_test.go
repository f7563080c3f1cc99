//go:build unix

package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// A life is that of a worker of js_fixtures/cluster_life.js.
type life struct {
	Listen   []any      `json:"listen,omitempty"`
	Stay     bool       `json:"stay,omitempty"`
	Ignore   []string   `json:"ignore,omitempty"`
	Children [][]string `json:"children,omitempty"`
	Stdio    any        `json:"stdio,omitempty"`
	Env      []string   `json:"env,omitempty"`
}

// A ready is its first message.
type ready struct {
	Pid       int
	Argv      []string
	ExecArgv  []string
	DebugPort int
	Env       map[string]*string
	Children  []int
}

// anyPort has one port for all workers.
var anyPort = []any{map[string]any{"host": "127.0.0.1", "port": 0}}

func (l life) command(t testing.TB) *exec.Cmd {
	t.Helper()
	return l.commandOf(testkit.Node(t))
}

func (l life) commandOf(node string) *exec.Cmd {
	cmd := exec.Command(node, testkit.Fixture("cluster_life.js"), string(must(json.Marshal(l))))
	cmd.Stderr = os.Stderr
	return cmd
}

// nodeOnly skips what is tested with Node workers: the others have tests of their own.
func nodeOnly(t *testing.T) {
	t.Helper()
	if peer := testkit.Peer(t); peer.Kind != "Node" {
		t.Skip("for Node, not for " + peer.String())
	}
}

// within is the context of what a test waits for.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newPrimary returns one that the end of the test closes.
func newPrimary(t testing.TB, p *cluster.Primary) *cluster.Primary {
	t.Cleanup(func() { p.Close() })
	return p
}

// begin forks a worker, and returns when it is ready.
func begin(t *testing.T, p *cluster.Primary, l life) (*cluster.Process, ready) {
	t.Helper()
	return beginWith(t, p, &cluster.ForkOptions{Command: l.command(t)})
}

func beginWith(t *testing.T, p *cluster.Primary, opts *cluster.ForkOptions) (*cluster.Process, ready) {
	t.Helper()
	w, err := p.Fork(opts)
	require.NoError(t, err)
	var m struct{ Ready *ready }
	receive(within(t), t, w.Channel(), &m)
	require.NotNil(t, m.Ready)
	return w, *m.Ready
}

// beginListening forks a worker, and returns when it listens, with the address.
func beginListening(t *testing.T, p *cluster.Primary, l life) (*cluster.Process, string) {
	t.Helper()
	w, err := p.Fork(&cluster.ForkOptions{Command: l.command(t)})
	require.NoError(t, err)
	require.NoError(t, w.Await(within(t), cluster.Listening))
	return w, w.Status().Addrs[0].String()
}

// says is what a worker answers to a request.
func says(w *cluster.Process) string { return fmt.Sprint(w.ID(), " ", w.Cmd().Process.Pid) }

// tell makes a worker do something.
func tell(t testing.TB, w *cluster.Process, v any) {
	t.Helper()
	require.NoError(t, w.Channel().Send(within(t), v))
}

// settled waits until the primary has had what the worker has said so far, such as its answer to a connection.
func settled(t *testing.T, w *cluster.Process) {
	t.Helper()
	tell(t, w, map[string]any{"say": "settled"})
	var said any
	for said != "settled" {
		receive(within(t), t, w.Channel(), &said)
	}
}

// exited checks how a worker has ended.
func exited(t testing.TB, w *cluster.Process, how string) {
	t.Helper()
	select {
	case <-w.Done():
	default:
		t.Fatal("the worker is not dead")
	}
	require.Equal(t, how, w.Cmd().ProcessState.String())
	require.Equal(t, cluster.Dead, w.Status().State)
}

// One worker after the other is replaced while requests come, a connection each: none of them fails.
func TestRollingReplacement(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{})
	old, addr := beginListening(t, p, life{Listen: anyPort})
	l := testkit.StartLoad(t, addr, 4, false)
	ids := []string{says(old)}
	for range 10 {
		w, same := beginListening(t, p, life{Listen: anyPort})
		require.Equal(t, addr, same)
		ids = append(ids, says(w))
		l.Await(t, func(sum *testkit.Losses) bool { return sum.By[says(w)] > 0 && sum.By[says(old)] > 0 })
		require.NoError(t, old.Disconnect(within(t)))
		exited(t, old, "exit status 0")
		require.True(t, old.Status().ExitedAfterDisconnect)
		require.Empty(t, old.Status().Addrs)
		old = w
	}
	by := l.Served(t)
	require.Len(t, by, len(ids))
	for _, id := range ids {
		require.NotZero(t, by[id])
	}
	require.Equal(t, []*cluster.Process{old}, p.Workers())
	require.NoError(t, p.Shutdown(within(t)))
	exited(t, old, "exit status 0")
}

// Shutdown while connections come: whoever was connected before it began is answered, others are, or are refused.
func TestShutdownUnderLoad(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{})
	one, addr := beginListening(t, p, life{Listen: anyPort})
	two, _ := beginListening(t, p, life{Listen: anyPort})
	begun, enough := make(chan struct{}), make(chan struct{})
	over := func() bool {
		select {
		case <-begun:
			return true
		default:
			return false
		}
	}
	var answered atomic.Int64
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for !over() {
				conn, err := net.Dial("tcp", addr)
				before := !over()
				if err != nil {
					if before {
						t.Error(err)
					}
					return
				}
				if i < 4 && answered.Load() > 200 { // it has nothing to say until the shutdown has begun
					<-begun
				}
				path := "/"
				if i%2 == 0 {
					path = "/slow"
				}
				fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path)
				text, err := io.ReadAll(conn)
				conn.Close()
				if before && (err != nil || len(text) == 0) {
					t.Errorf("a connection made before has got %q, %v", text, err)
				}
				if answered.Add(1) == 400 {
					close(enough)
				}
			}
		})
	}
	<-enough
	close(begun)
	require.NoError(t, p.Shutdown(within(t)))
	clients.Wait()
	for _, w := range []*cluster.Process{one, two} {
		exited(t, w, "exit status 0")
		require.True(t, w.Status().ExitedAfterDisconnect)
		require.NotZero(t, w.Status().Connections)
	}
	_, err := net.Dial("tcp", addr)
	require.Error(t, err)
	_, err = p.Fork(&cluster.ForkOptions{Command: life{}.command(t)})
	require.ErrorIs(t, err, cluster.ErrPrimaryClosed)
	require.NoError(t, p.Shutdown(within(t)))
}

// The only worker that shares an address is asked to leave: what had come before is answered, then nobody listens.
func TestDisconnectTheLast(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{})
	w, addr := beginListening(t, p, life{Listen: anyPort})
	busy := make([]net.Conn, 50) // more than the worker has taken when it is asked
	for i := range busy {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		fmt.Fprintf(conn, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
		busy[i] = conn
	}
	require.NoError(t, w.Disconnect(within(t)))
	exited(t, w, "exit status 0")
	for _, conn := range busy {
		text, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Contains(t, string(text), says(w))
		conn.Close()
	}
	_, err := net.Dial("tcp", addr)
	require.Error(t, err)
	require.NoError(t, w.Disconnect(within(t)), "a second time")
	require.ErrorIs(t, w.Kill(), os.ErrProcessDone)
	require.ErrorIs(t, w.Signal(os.Interrupt), os.ErrProcessDone)
}

// The only worker is killed: connections that come before there is another are its. When none comes they are closed.
func TestLingering(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	for _, comes := range []bool{true, false} {
		t.Run(fmt.Sprint("another comes: ", comes), func(t *testing.T) {
			t.Parallel()
			p := newPrimary(t, &cluster.Primary{})
			w, addr := beginListening(t, p, life{Listen: anyPort})
			require.Equal(t, map[string]int{says(w): 3}, served(t, addr, 3))
			require.NoError(t, w.Kill())
			<-w.Done()
			exited(t, w, "signal: killed")
			require.False(t, w.Status().ExitedAfterDisconnect)
			waiting := make([]net.Conn, 20)
			for i := range waiting {
				conn, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				defer conn.Close()
				fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				waiting[i] = conn
			}
			want := ""
			if comes {
				next, same := beginListening(t, p, life{Listen: anyPort})
				require.Equal(t, addr, same)
				want = says(next)
			}
			for _, conn := range waiting {
				text, err := io.ReadAll(conn)
				if comes {
					require.NoError(t, err)
				}
				require.Contains(t, string(text), want)
				require.Equal(t, comes, len(text) > 0)
			}
			if !comes {
				_, err := net.Dial("tcp", addr)
				require.Error(t, err)
			}
			require.NoError(t, p.Shutdown(within(t)))
		})
	}
}

// What waits for the next worker of an address is not lost when another address is taken; the address itself is free.
func TestLingeringElsewhere(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{})
	on := func(host string, port int) life {
		return life{Listen: []any{map[string]any{"host": host, "port": port}}}
	}
	port := testkit.FreePort(t, "127.0.0.1")
	w, addr := beginListening(t, p, on("127.0.0.1", port))
	require.NoError(t, w.Kill())
	<-w.Done()
	answer := request(t, addr, "/", nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	other, _ := begin(t, p, on("127.0.0.1", taken.Addr().(*net.TCPAddr).Port))
	var m struct{ Error string }
	receive(within(t), t, other.Channel(), &m)
	require.Equal(t, "EADDRINUSE", m.Error)
	next, _ := beginListening(t, p, on("127.0.0.1", port))
	require.Equal(t, says(next), answer())

	require.NoError(t, next.Kill())
	<-next.Done()
	all, _ := beginListening(t, p, on("0.0.0.0", port)) // cannot be had beside it
	require.Equal(t, says(all), request(t, addr, "/", nil)())
	require.NoError(t, p.Shutdown(within(t)))
}

// Kill while a worker is leaving, and a context that ends meanwhile.
func TestKillDuringDisconnect(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{})
	w, _ := begin(t, p, life{Stay: true})
	ctx, cancel := context.WithCancel(within(t))
	errs := make(chan error)
	go func() { errs <- w.Disconnect(ctx) }()
	require.NoError(t, w.Await(within(t), cluster.Disconnected))
	cancel()
	require.ErrorIs(t, <-errs, context.Canceled)
	go func() { errs <- w.Disconnect(within(t)) }()
	require.NoError(t, w.Kill())
	require.NoError(t, <-errs)
	exited(t, w, "signal: killed")
	require.True(t, w.Status().ExitedAfterDisconnect)
	require.ErrorIs(t, w.Kill(), os.ErrProcessDone)
	require.NoError(t, w.Shutdown(within(t)), "it is gone")
}

// What the last worker of an address leaves behind waits for the next one, and so does who comes in between: a worker
// that is just leaving when the other one dies, and one that closes its server with connections on the way.
func TestLastWorkerLeaves(t *testing.T) {
	nodeOnly(t)
	type worker = *cluster.Process
	// It leaves when it goes on. What came before has answers.
	type leave func(t *testing.T, p *cluster.Primary, l life, w worker) map[string]func() string
	for name, leave := range map[string]leave{
		"after another died": func(t *testing.T, p *cluster.Primary, l life, w worker) map[string]func() string {
			other, addr := beginListening(t, p, l)
			require.NoError(t, w.Signal(syscall.SIGSTOP))
			before := map[string]func() string{says(w): request(t, addr, "/", nil), says(other): request(t, addr, "/", nil)}
			require.Eventually(t, func() bool { return w.Status().Unanswered == 1 }, patience, time.Millisecond)
			over, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, w.Disconnect(over), context.Canceled)
			require.Eventually(t, func() bool { return w.Status().ExitedAfterDisconnect }, patience, time.Millisecond)
			settled(t, other)
			tell(t, other, map[string]any{"exit": 1})
			<-other.Done()
			return before
		},
		"closes": func(t *testing.T, _ *cluster.Primary, _ life, w worker) map[string]func() string {
			require.NoError(t, w.Signal(syscall.SIGSTOP))
			tell(t, w, map[string]any{"close": true})
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := newPrimary(t, &cluster.Primary{Logger: stderrLog})
			l := life{Listen: []any{map[string]any{"host": "127.0.0.1", "port": testkit.FreePort(t, "127.0.0.1")}}}
			w, addr := beginListening(t, p, l)
			before := leave(t, p, l, w)
			answer := request(t, addr, "/", nil)
			require.Eventually(t, func() bool { return w.Status().Unanswered == 1 }, patience, time.Millisecond)
			require.NoError(t, w.Signal(syscall.SIGCONT))
			require.Eventually(t, func() bool { return len(w.Status().Addrs) == 0 }, patience, time.Millisecond)
			late := request(t, addr, "/", nil)
			next, _ := beginListening(t, p, l)
			require.Equal(t, says(next), answer())
			require.Equal(t, says(next), late())
			for who, answer := range before {
				require.Equal(t, who, answer())
			}
			require.NoError(t, p.Shutdown(within(t)))
		})
	}
}
