//go:build unix

package cluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

func init() { workers["chaos"] = chaosMain }

// chaosMain is the Go worker of js_fixtures/cluster_chaos.js.
func chaosMain() error {
	w, err := cluster.Join(&nodeipc.Options{Logger: stderrLog})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ln, err := w.Listen(ctx, "tcp", "127.0.0.1:"+os.Getenv("NODEIPC_PORT"))
	if errors.Is(err, nodeipc.ErrDisconnected) { // it is to leave before it has begun
		return w.Disconnect(ctx)
	}
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				fmt.Fprintf(conn, "hello %d\n", os.Getpid())
				if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
					fmt.Fprintf(conn, "%s %d\n", strings.TrimSuffix(line, "\n"), os.Getpid())
				}
			})
		}
	}()
	<-w.Done()
	ln.Close()
	<-accepting
	serving.Wait()
	return w.Disconnect(ctx)
}

// chaosMessage is what the primary says.
type chaosMessage struct {
	Port, Descriptors int
	Gone              int
	Kind, How         string
	Code              *int
	Signal            string
	Voluntary         *bool
}

// chaosTime is how long each part goes on; NODEIPC_CHAOS has another time than this, which is a taste of it.
func chaosTime(t *testing.T) time.Duration {
	if text := os.Getenv("NODEIPC_CHAOS"); text != "" {
		d, err := time.ParseDuration(text)
		require.NoError(t, err)
		return d
	}
	return 2 * time.Second
}

// Workers come and go at random while clients with a connection for each request keep all of them busy. When they leave
// as they are asked to no request fails. When they are killed, those fail that the dead held, and no others.
func TestChaos(t *testing.T) {
	for _, mode := range []string{"leave", "kill"} {
		t.Run(mode, func(t *testing.T) {
			testkit.CheckLeaks(t)
			chaos(t, mode, chaosTime(t))
		})
	}
}

func chaos(t *testing.T, mode string, span time.Duration) {
	self, err := os.Executable()
	require.NoError(t, err)
	seed := rand.Uint32()
	t.Logf("seed %d", seed)
	cmd := testkit.Peer(t).Command("cluster_chaos.js", self, fmt.Sprint(seed), mode)
	cmd.Env = append(os.Environ(), envRole+"=chaos", "GORACE=atexit_sleep_ms=0")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	ctx, cancel := context.WithTimeout(t.Context(), span+patience)
	defer cancel()
	ch, err := nodeipc.Start(cmd, &nodeipc.Options{Backlog: 64 << 20})
	require.NoError(t, err)
	wait := sync.OnceValue(cmd.Wait)
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	defer func() {
		ch.Close()
		cmd.Process.Kill()
		wait()
		if t.Failed() {
			t.Logf("%s", log.String())
		}
	}()
	var ready chaosMessage
	receive(ctx, t, ch, &ready)
	require.NotZero(t, ready.Port)

	load := newChaosLoad(ready.Port)
	const clients = 8
	var running sync.WaitGroup
	for range clients {
		running.Go(load.run)
	}
	select {
	case <-time.After(span): // so long it is to go on
	case <-ch.Done():
		t.Error("the primary has ended")
	}
	load.stop.Store(true)
	running.Wait()
	require.NoError(t, ch.Send(ctx, map[string]bool{"stop": true}))
	killed, left := map[string]bool{}, map[string]int{}
	var after chaosMessage
	for after.Descriptors == 0 {
		after = chaosMessage{}
		receive(ctx, t, ch, &after)
		if after.Gone == 0 {
			continue
		}
		require.NotEmpty(t, after.How, "a %s worker ended by itself: %+v", after.Kind, after)
		if after.How == "kill" {
			killed[fmt.Sprint(after.Gone)] = true
			require.Equal(t, "SIGKILL", after.Signal)
		} else {
			left[after.Kind]++
			require.NotNil(t, after.Code, "%+v", after)
			require.Zero(t, *after.Code, "%+v", after)
			require.True(t, *after.Voluntary)
		}
	}
	require.NoError(t, ch.Send(ctx, map[string]bool{"end": true}))
	require.NoError(t, wait())

	t.Logf("%d requests; %v left, %d killed; lost: %d before they were greeted, %d that nobody served, %v behind it",
		load.served.Load(), left, len(killed), load.early.Load(), load.hung.Load(), load.after)
	require.Empty(t, load.other, "neither lost with a worker nor served")
	require.Positive(t, load.served.Load())
	require.Positive(t, left["go"])
	require.Positive(t, left["node"])
	for pid := range load.after {
		require.Contains(t, killed, pid, "a worker that was not killed lost a connection")
	}
	// What it had not greeted: the one that was on its way to it, which Node then keeps and gives to nobody, and what
	// waited in it.
	require.LessOrEqual(t, int(load.hung.Load()), len(killed))
	require.LessOrEqual(t, int(load.early.Load()), clients*len(killed))
	require.LessOrEqual(t, after.Descriptors, ready.Descriptors+int(load.hung.Load()))
	if mode == "kill" {
		require.NotEmpty(t, killed)
	}
}

func receive(ctx context.Context, t *testing.T, ch *nodeipc.Channel, v any) {
	t.Helper()
	m, err := ch.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, m.Decode(v))
}

// chaosLoad are clients and what became of their requests.
type chaosLoad struct {
	address             string
	stop                atomic.Bool
	served, early, hung atomic.Int64

	mu    sync.Mutex
	after map[string]int // lost ones by the worker that had greeted
	by    map[string]int // served ones by their worker
	other []error
}

func newChaosLoad(port int) *chaosLoad {
	return &chaosLoad{address: fmt.Sprintf("127.0.0.1:%d", port), after: map[string]int{}, by: map[string]int{}}
}

// hopeless is how long a connection waits for a worker. Only those that the primary has lost with one wait so long.
const hopeless = 3 * time.Second

func (l *chaosLoad) run() {
	for n := 0; !l.stop.Load() && l.once(n); n++ {
	}
}

// once makes one request; it reports whether there was somebody to make it to.
func (l *chaosLoad) once(n int) bool {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		l.fail(err)
		return false
	}
	defer conn.Close()
	l.request(conn, n)
	return true
}

func (l *chaosLoad) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.other = append(l.other, err)
}

func (l *chaosLoad) request(conn net.Conn, n int) {
	conn.SetDeadline(time.Now().Add(hopeless))
	r := bufio.NewReader(conn)
	hello, err := r.ReadString('\n')
	switch {
	case os.IsTimeout(err):
		l.hung.Add(1)
		return
	case err != nil:
		l.early.Add(1)
		return
	}
	pid := strings.TrimSpace(strings.TrimPrefix(hello, "hello "))
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "%d\n", n)
	answer, err := r.ReadString('\n')
	switch want := fmt.Sprintf("%d %s\n", n, pid); {
	case err != nil:
		l.mu.Lock()
		l.after[pid]++
		l.mu.Unlock()
	case answer != want:
		l.fail(fmt.Errorf("%q instead of %q", answer, want))
	default:
		l.served.Add(1)
		l.mu.Lock()
		l.by[pid]++
		l.mu.Unlock()
	}
}
