//go:build unix

package cluster_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// Each test here has a Node primary with real workers.

// The Go worker must ask for an address in the words of a Node worker, or the primary makes two listeners of them.
func TestSharesAddressWithNodeWorker(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t)
	node, other := p.fork("node", ""), p.fork("go", "agent")
	for _, a := range []struct{ name, network, host string }{
		{"IPv4", "tcp", "127.0.0.1"},
		{"no host", "tcp", ""},
		{"a name", "tcp", "localhost"},
		{"IPv6", "tcp", "::1"},
		{"all of IPv4", "tcp", "0.0.0.0"},
		{"all of IPv6", "tcp", "::"},
		{"tcp4", "tcp4", "127.0.0.1"},
		{"tcp4 by name", "tcp4", "localhost"},
		{"IPv6 only", "tcp6", "::"},
	} {
		for _, fixed := range []bool{true, false} {
			name := a.name
			if !fixed {
				name += ", port 0"
			}
			t.Run(name, func(t *testing.T) {
				if strings.Contains(a.host, ":") {
					if ln, err := net.Listen("tcp", "[::1]:0"); err != nil {
						t.Skip("no IPv6 here:", err)
					} else {
						ln.Close()
					}
				}
				port := 0
				if fixed {
					port = testkit.FreePort(t, a.host)
				}
				addr := node.listen(name, a.network, a.host, port)
				require.Equal(t, addr, other.listen(name, a.network, a.host, port))
				if fixed {
					require.Contains(t, addr, fmt.Sprintf(":%d", port))
				}
				const n = 20
				require.Equal(t, map[string]int{node.says(name): n / 2, other.says(name): n / 2}, shared(t, dialable(addr), n, node, other))
				node.close(name)
				require.Equal(t, map[string]int{other.says(name): 3}, served(t, dialable(addr), 3))
				other.close(name)
				_, err := net.Dial("tcp", dialable(addr))
				require.ErrorIs(t, err, syscall.ECONNREFUSED)
			})
		}
	}
}

// tcp6 is for IPv6 only, as in package net, under either scheduling policy.
func TestIPv6Only(t *testing.T) {
	if ln, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here:", err)
	} else {
		ln.Close()
	}
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startPrimary(t, "NODE_CLUSTER_SCHED_POLICY="+policy)
			w := p.fork("go", "agent")
			for _, host := range []string{"", "::"} {
				for network, works := range map[string]bool{"tcp": true, "tcp6": false} {
					addr := w.listen(network, network, host, 0)
					require.Equal(t, map[string]int{w.says(network): 3}, served(t, dialable(addr), 3))
					conn, err := net.Dial("tcp", strings.Replace(addr, "[::]", "127.0.0.1", 1))
					if works {
						require.NoError(t, err)
						conn.Close()
					} else {
						require.ErrorIs(t, err, syscall.ECONNREFUSED)
					}
					w.close(network)
				}
			}
		})
	}
}

// dialable makes an address of a listener one that can be dialled.
func dialable(addr string) string {
	addr = strings.Replace(addr, "[::]", "[::1]", 1)
	return strings.Replace(addr, "0.0.0.0", "127.0.0.1", 1)
}

// A worker that only accepts goes on whatever its primary sends, in bounded memory, and learns of it when it receives.
func TestFloodOfMessages(t *testing.T) {
	testkit.CheckLeaks(t)
	const n = 1_000_000
	pad := strings.Repeat("x", 64)
	const volume = n * (64 + 10)
	p := startPrimary(t)
	w := p.fork("go", "deaf")
	listening := w.await("listening")
	var where struct{ Address struct{ Port int } }
	require.NoError(t, json.Unmarshal([]byte(listening.text), &where))
	addr := fmt.Sprintf("127.0.0.1:%d", where.Address.Port)

	var most deafMemory
	request := func() {
		body, err := get(addr, "/memory")
		require.NoError(t, err)
		var m deafMemory
		require.NoError(t, json.Unmarshal([]byte(body), &m), body)
		most.Sys, most.HeapInuse = max(most.Sys, m.Sys), max(most.HeapInuse, m.HeapInuse)
	}
	request()
	before := most
	p.tell(map[string]any{"do": "flood", "worker": w.id, "count": n, "pad": pad})
	during := 0
	for ; !p.saw(w.id, "flooded"); during++ {
		require.False(t, p.saw(w.id, "exit"))
		request()
	}
	request() // its connection came behind the last message
	require.Greater(t, during, 10, "requests during the flood")
	t.Logf("%d requests during the flood; before %+v, most %+v", during, before, most)
	const small = volume / 4
	assert.Less(t, most.HeapInuse, uint64(small))
	assert.Less(t, most.Sys-before.Sys, uint64(small))

	body, err := get(addr, fmt.Sprintf("/hear?last=%d", n-1))
	require.NoError(t, err)
	var h heard
	require.NoError(t, json.Unmarshal([]byte(body), &h))
	require.Empty(t, h.Error)
	require.Equal(t, n, h.Dropped+len(h.Kept), "dropped %d, kept %d", h.Dropped, len(h.Kept))
	for i, k := range h.Kept {
		require.Equal(t, h.Dropped+i, k, "the kept ones are the newest, in order")
	}
	require.Greater(t, len(h.Kept), deafBacklog/(64+20)/4)
	require.LessOrEqual(t, len(h.Kept)*(64+10), deafBacklog)
	require.Contains(t, h.First, fmt.Sprintf("%d messages (%d bytes) were dropped", h.Dropped, h.Bytes))
	bytes := int64(0)
	for i := range h.Dropped {
		bytes += int64(len(fmt.Sprintf(`[%d,"%s"]`, i, pad)))
	}
	require.Equal(t, bytes, h.Bytes)
	request() // and it still serves
}

// disconnectedByPrimary has a worker of kind disconnected by its primary with a request in flight, and returns the
// events that the primary saw of it.
func disconnectedByPrimary(t testing.TB, kind, policy string) []string {
	p := startPrimary(t, "NODE_CLUSTER_SCHED_POLICY="+policy)
	stays := p.fork("node", "")
	addr := stays.listen("a", "tcp", "127.0.0.1", 0)
	leaves := p.fork(kind, "agent")
	require.Equal(t, addr, leaves.listen("a", "tcp", "127.0.0.1", 0))
	stays.close("a") // so that the request comes to the one that leaves
	leaves.await("listening")
	inFlight := make(chan string, 1)
	go func() {
		body, err := get(addr, "/hold")
		inFlight <- fmt.Sprint(body, err)
	}()
	leaves.awaitMessage(`{"held":true}`)
	require.Equal(t, addr, stays.listen("b", "tcp", "127.0.0.1", 0))

	p.tell(map[string]any{"do": "disconnect", "worker": leaves.id})
	leaves.await("disconnecting")
	if kind == "go" {
		require.JSONEq(t, `{"done":true}`, leaves.awaitMessage(`{"done"`))
	}
	if policy == "rr" { // else a connection that has been made may still be accepted
		require.Equal(t, map[string]int{stays.says("b"): 10}, served(t, addr, 10))
	}
	select {
	case body := <-inFlight:
		t.Fatal("the request ended before its time:", body)
	default:
	}
	require.False(t, p.saw(leaves.id, "exit"), "it left before the request was answered")
	leaves.tell(map[string]any{"do": "release"})
	require.Equal(t, leaves.says("a")+"<nil>", <-inFlight)
	exit := leaves.await("exit")
	require.Equal(t, 0, *exit.Code)
	require.True(t, *exit.ExitedAfterDisconnect)
	require.Equal(t, map[string]int{stays.says("b"): 4}, served(t, addr, 4))
	return leaves.history()
}

func TestPrimaryDisconnects(t *testing.T) {
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			testkit.CheckLeaks(t)
			node := disconnectedByPrimary(t, "node", policy)
			require.Equal(t, node, disconnectedByPrimary(t, "go", policy), "as of a Node worker")
			require.Equal(t, []string{"online", "listening", "disconnect exitedAfterDisconnect true", "exit code 0 exitedAfterDisconnect true"}, node)
		})
	}
}

// disconnectsItself has a worker leave by itself.
func disconnectsItself(t testing.TB, kind, policy string) []string {
	p := startPrimary(t, "NODE_CLUSTER_SCHED_POLICY="+policy)
	stays, leaves := p.fork("node", ""), p.fork(kind, "agent")
	addr := leaves.listen("a", "tcp", "127.0.0.1", 0)
	require.Equal(t, addr, stays.listen("b", "tcp", "127.0.0.1", 0))
	leaves.await("listening")
	leaves.listen("another", "tcp", "127.0.0.1", 0)
	leaves.await("listening")
	leaves.tell(map[string]any{"do": "disconnect"})
	exit := leaves.await("exit")
	require.Equal(t, 0, *exit.Code)
	require.True(t, *exit.ExitedAfterDisconnect)
	require.Equal(t, map[string]int{stays.says("b"): 4}, served(t, addr, 4))
	return leaves.history()
}

func TestWorkerDisconnects(t *testing.T) {
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			testkit.CheckLeaks(t)
			node := disconnectsItself(t, "node", policy)
			require.Equal(t, node, disconnectsItself(t, "go", policy), "as of a Node worker")
			require.Equal(t, []string{
				"online", "listening", "listening", "disconnect exitedAfterDisconnect true", "exit code 0 exitedAfterDisconnect true",
			}, node)
		})
	}
}

// A worker whose primary is killed sees Done, can leave without an error, and what it has open ends.
func TestPrimaryIsKilled(t *testing.T) {
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			testkit.CheckLeaks(t)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer ln.Close()
			p := startPrimary(t, "NODE_CLUSTER_SCHED_POLICY="+policy)
			p.fork("go", "orphan", "REPORT="+ln.Addr().String())
			report, err := ln.Accept()
			require.NoError(t, err)
			defer report.Close()
			report.SetReadDeadline(time.Now().Add(patience))
			lines := bufio.NewScanner(report)
			require.True(t, lines.Scan(), lines.Err())
			require.Equal(t, "listens", lines.Text())
			require.NoError(t, p.cmd.Process.Kill())
			var all []string
			for lines.Scan() {
				all = append(all, lines.Text())
			}
			require.NoError(t, lines.Err(), "the worker's process has not ended; so far: %q", all)
			require.Equal(t, []string{
				"Done", "Close: <nil>", "Accept after the end: true", "Shutdown: <nil>", "Disconnect: <nil>", "Err: EOF",
				"listen tcp 127.0.0.1:0: nodeipc: channel is disconnected",
			}, all)
		})
	}
}

func TestListenErrors(t *testing.T) {
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			testkit.CheckLeaks(t)
			taken, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer taken.Close()
			port := taken.Addr().(*net.TCPAddr).Port
			p := startPrimary(t, "NODE_CLUSTER_SCHED_POLICY="+policy)
			w := p.fork("go", "agent")

			for range 2 { // a second attempt is no different
				a := w.tryListen("taken", "tcp", "127.0.0.1", port)
				require.Equal(t, "EADDRINUSE", a.Error)
				require.Equal(t, fmt.Sprintf("listen tcp 127.0.0.1:%d: bind: address already in use", port), a.Text)
			}
			require.Zero(t, listening(t, p.cmd.Process.Pid), "something listens on another port instead")
			a := w.tryListen("far away", "tcp", "192.0.2.77", 0) // reserved for documentation
			require.Equal(t, "EADDRNOTAVAIL", a.Error)
			require.Equal(t, "listen tcp 192.0.2.77:0: bind: cannot assign requested address", a.Text)

			addr := w.listen("a", "tcp", "127.0.0.1", 0)
			require.Equal(t, map[string]int{w.says("a"): 3}, served(t, addr, 3))
			if runtime.GOOS == "linux" {
				require.Equal(t, 1, listening(t, p.cmd.Process.Pid), "the check above sees nothing")
			}
			taken.Close() // and the address itself when it is free
			addr = w.listen("b", "tcp", "127.0.0.1", port)
			require.Equal(t, map[string]int{w.says("b"): 3}, served(t, addr, 3))
		})
	}
}

func TestPortZero(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t)
	node, other := p.fork("node", ""), p.fork("go", "agent")
	listen := func(w *forked, name string) string { return w.listen(name, "tcp", "127.0.0.1", 0) }
	first, second := listen(node, "first"), listen(node, "second")
	require.NotEqual(t, first, second)
	require.Equal(t, first, listen(other, "first"))
	require.Equal(t, second, listen(other, "second"))
	for name, addr := range map[string]string{"first": first, "second": second} {
		require.Equal(t, map[string]int{node.says(name): 5, other.says(name): 5}, shared(t, addr, 10, node, other))
	}

	// While one is open the next is a third one.
	other.close("first")
	third := listen(other, "third")
	require.NotContains(t, []string{first, second}, third)
	// When none is open they count from the start again, as the Node worker's do.
	other.close("second")
	other.close("third")
	require.Equal(t, first, listen(other, "first again"))
	require.Equal(t, map[string]int{node.says("first"): 3, other.says("first again"): 3}, shared(t, first, 6, node, other))
}

func TestCloseAndListenAgain(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t)
	w := p.fork("go", "agent")
	port := testkit.FreePort(t, "127.0.0.1")
	for i := range 5 {
		name := fmt.Sprint("round ", i)
		addr := w.listen(name, "tcp", "127.0.0.1", port)
		require.Equal(t, map[string]int{w.says(name): 2}, served(t, addr, 2))
		w.close(name)
		_, err := net.Dial("tcp", addr)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
}

// The same port twice in one worker is refused, and no harm is done to the first. (A Node worker of 22 or later dies of
// it without scheduling, and its primary forgets the first listener.)
func TestListenTwice(t *testing.T) {
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startPrimary(t, "NODE_CLUSTER_SCHED_POLICY="+policy)
			w := p.fork("go", "agent")
			port := testkit.FreePort(t, "127.0.0.1")
			addr := w.listen("first", "tcp", "127.0.0.1", port)
			a := w.tryListen("second", "tcp", "127.0.0.1", port)
			require.Equal(t, "EADDRINUSE", a.Error)
			require.Equal(t, fmt.Sprintf("listen tcp %s: bind: address already in use", addr), a.Text)
			a = w.tryListen("second", "tcp", "", port) // which the primary finds out
			require.Equal(t, "EADDRINUSE", a.Error)
			require.Equal(t, map[string]int{w.says("first"): 3}, served(t, addr, 3))
			w.close("first")
			_, err := net.Dial("tcp", addr)
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			addr = w.listen("again", "tcp", "127.0.0.1", port)
			require.Equal(t, map[string]int{w.says("again"): 3}, served(t, addr, 3))
		})
	}
}

// Under load, with a worker that stops listening and begins again a hundred times, every request is answered.
func TestCloseAndListenUnderLoad(t *testing.T) {
	for _, port := range []string{"port 0", "fixed port"} {
		t.Run(port, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startPrimary(t)
			stays, w := p.fork("node", ""), p.fork("go", "agent")
			number := 0
			if port == "fixed port" {
				number = testkit.FreePort(t, "127.0.0.1")
			}
			addr := stays.listen("a", "tcp", "127.0.0.1", number)
			require.Equal(t, addr, w.listen("a", "tcp", "127.0.0.1", number))

			l := testkit.StartLoad(t, addr, 4, false)
			done := w.start(map[string]any{"do": "cycle", "name": "a", "network": "tcp", "host": "127.0.0.1", "port": number, "count": 100})
			var a answer
			done(&a)
			l.Await(t, func(sum *testkit.Losses) bool { return sum.Served > 100 }) // goes on a little
			by := l.Served(t)
			require.Equal(t, answer{Re: a.Re, Address: addr}, a)
			require.NotZero(t, by[w.says("a")])
			require.NotZero(t, by[stays.says("a")])
			require.Len(t, by, 2)
		})
	}
}

// The primary's messages and ours keep their order while connections come over the same channel.
func TestMessagesUnderLoad(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t)
	stays, w := p.fork("node", ""), p.fork("go", "agent")
	addr := stays.listen("a", "tcp", "127.0.0.1", 0)
	require.Equal(t, addr, w.listen("a", "tcp", "127.0.0.1", 0))
	l := testkit.StartLoad(t, addr, 3, false)
	before := l.Requests()
	p.tell(map[string]any{"do": "stream", "worker": w.id, "count": 5000})
	streamed := w.await("streamed")
	during := l.Requests() - before
	by := l.Served(t)
	require.Empty(t, streamed.Error)
	require.NotZero(t, during, "there was no load")
	require.NotZero(t, by[w.says("a")])
}

// Without scheduling the worker accepts on the primary's socket itself, as Node workers do.
func TestSchedulingNone(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t, "NODE_CLUSTER_SCHED_POLICY=none")
	node, other := p.fork("node", ""), p.fork("go", "agent")
	for _, host := range []string{"127.0.0.1", "", "::1"} {
		if host == "::1" {
			if ln, err := net.Listen("tcp", "[::1]:0"); err != nil {
				continue
			} else {
				ln.Close()
			}
		}
		for _, port := range []int{0, testkit.FreePort(t, host)} {
			addr := node.listen("a", "tcp", host, port)
			require.Equal(t, addr, other.listen("a", "tcp", host, port), "host %q, port %d", host, port)
			by := served(t, dialable(addr), 20) // who accepts is up to the kernel
			require.Equal(t, 20, by[node.says("a")]+by[other.says("a")], "%v", by)
			node.close("a")
			require.Equal(t, map[string]int{other.says("a"): 5}, served(t, dialable(addr), 5))
			require.Equal(t, addr, node.listen("b", "tcp", host, port))
			other.close("a")
			require.Equal(t, map[string]int{node.says("b"): 5}, served(t, dialable(addr), 5))
			node.close("b")
		}
	}
}

// All of it works in advanced serialization as well: connections, messages, the shared socket, both ways to leave.
func TestAdvancedSerialization(t *testing.T) {
	t.Setenv("NODEIPC_SERIALIZATION", "advanced") // for the primary, and so for its workers
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			testkit.CheckLeaks(t)
			require.Equal(t, disconnectedByPrimary(t, "node", policy), disconnectedByPrimary(t, "go", policy), "as of a Node worker")
			require.Equal(t, disconnectsItself(t, "node", policy), disconnectsItself(t, "go", policy), "as of a Node worker")
		})
	}
	t.Run("messages and connections", func(t *testing.T) {
		testkit.CheckLeaks(t)
		p := startPrimary(t)
		node, other := p.fork("node", ""), p.fork("go", "agent")
		addr := node.listen("s", "tcp", "127.0.0.1", 0)
		require.Equal(t, addr, other.listen("s", "tcp", "127.0.0.1", 0)) // asked for by messages
		require.Equal(t, map[string]int{node.says("s"): 50, other.says("s"): 50}, shared(t, addr, 100, node, other))
		other.close("s")
		require.Equal(t, map[string]int{node.says("s"): 3}, served(t, addr, 3))
	})
}
