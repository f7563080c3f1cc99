//go:build unix

package cluster_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// What a worker can listen on beside TCP, each beside a Node worker that asks for the same.

// shareOf checks that two workers share an address: fairly if the primary gives out the connections.
func shareOf(t testing.TB, policy, addr string, node, other *forked, name string) {
	t.Helper()
	const n = 12
	if policy == "rr" {
		require.Equal(t, map[string]int{node.says(name): n / 2, other.says(name): n / 2}, shared(t, addr, n, node, other))
		return
	}
	by := served(t, addr, n) // who accepts is up to the kernel
	require.Equal(t, n, by[node.says(name)]+by[other.says(name)], "%v", by)
}

func TestUnixPath(t *testing.T) {
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startPrimary(t, "NODE_CLUSTER_SCHED_POLICY="+policy)
			node, other := p.fork("node", ""), p.fork("go", "agent")
			path := filepath.Join(t.TempDir(), "w.sock")
			require.Equal(t, path, other.listen("a", "unix", path, 0))
			a := other.tryListen("again", "unix", path, 0)
			require.Equal(t, "EADDRINUSE", a.Error, a.Text)
			require.Equal(t, path, node.listen("a", "unix", path, 0))
			require.Equal(t, node.await("listening").address(t), other.await("listening").address(t), "of a Node worker")
			shareOf(t, policy, path, node, other, "a")

			node.close("a")
			require.Equal(t, map[string]int{other.says("a"): 3}, served(t, path, 3))
			other.close("a")
			gone := func() bool { _, err := os.Stat(path); return os.IsNotExist(err) }
			require.Eventually(t, gone, patience, time.Millisecond, "the primary removes the file with the last listener")
			require.Equal(t, path, other.listen("b", "unix", path, 0))
			require.Equal(t, map[string]int{other.says("b"): 3}, served(t, path, 3))

			taken := filepath.Join(t.TempDir(), "taken.sock")
			ln, err := net.Listen("unix", taken)
			require.NoError(t, err)
			defer ln.Close()
			absent := filepath.Join(t.TempDir(), "absent", "w.sock")
			missing := "EACCES" // libuv's word for ENOENT here
			if testkit.Peer(t).Kind == "Bun" {
				missing = "ENOENT"
			}
			for path, want := range map[string]string{taken: "EADDRINUSE", absent: missing} {
				a := other.tryListen("c", "unix", path, 0)
				require.Equal(t, want, a.Error, a.Text)
				require.Contains(t, a.Text, "listen unix "+path+": bind: ")
				require.Equal(t, want, node.tryListen("c", "unix", path, 0).Error, "of a Node worker")
			}
		})
	}
}

// The primary has inherited a socket that listens, as from a service manager.
func TestDescriptorOfThePrimary(t *testing.T) {
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			testkit.CheckLeaks(t)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer ln.Close()
			addr := ln.Addr().String()
			f, err := ln.(*net.TCPListener).File()
			require.NoError(t, err)
			defer f.Close()
			p := startPrimaryWith(t, []*os.File{f}, "NODE_CLUSTER_SCHED_POLICY="+policy)
			require.NoError(t, ln.Close())
			require.NoError(t, f.Close())
			node, other := p.fork("node", ""), p.fork("go", "agent")
			require.Equal(t, addr, node.listen("a", "fd", "3", 0))
			require.Equal(t, addr, other.listen("a", "fd", "3", 0))
			require.Equal(t, node.await("listening").address(t), other.await("listening").address(t), "of a Node worker")
			shareOf(t, policy, addr, node, other, "a")
			node.close("a")
			require.Equal(t, map[string]int{other.says("a"): 3}, served(t, addr, 3))

			ours, theirs := other.tryListen("b", "fd", "999", 0), node.tryListen("b", "fd", "999", 0)
			require.Equal(t, "EINVAL", ours.Error, ours.Text)
			require.Equal(t, theirs.Error, ours.Error, "of a Node worker: %s", theirs.Text)
		})
	}
}

// address is what the primary says of a listener.
func (e *event) address(t testing.TB) string {
	t.Helper()
	_, text, ok := strings.Cut(e.text, `"address":`)
	require.True(t, ok, e.text)
	return text
}

// Each datagram goes to one of the workers, whatever the policy.
func TestDatagrams(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t)
	node, other := p.fork("node", ""), p.fork("go", "agent")
	first := other.listen("first", "udp4", "127.0.0.1", 0)
	second := other.listen("second", "udp4", "127.0.0.1", 0)
	require.NotEqual(t, first, second)
	require.Equal(t, first, node.listen("first", "udp4", "127.0.0.1", 0))
	require.Equal(t, second, node.listen("second", "udp4", "127.0.0.1", 0))
	require.Equal(t, node.await("listening").address(t), other.await("listening").address(t), "of a Node worker")
	for name, addr := range map[string]string{"first": first, "second": second} {
		require.Contains(t, []string{node.says(name), other.says(name)}, ask(t, addr))
		node.close(name)
		require.Equal(t, other.says(name), ask(t, addr))
	}
	other.close("first")
	other.close("second")
	require.NotEmpty(t, node.listen("first", "udp4", "127.0.0.1", 0))

	// No host, and IPv6.
	for _, network := range []string{"udp4", "udp6"} {
		if network == "udp6" && noIPv6() {
			continue
		}
		port := 0
		addr := other.listen(network, network, "", port)
		require.Equal(t, addr, node.listen(network, network, "", port))
		node.close(network)
		require.Equal(t, other.says(network), ask(t, dialable(addr)))
		other.close(network)
	}

	taken, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	port := taken.LocalAddr().(*net.UDPAddr).Port
	a := other.tryListen("taken", "udp4", "127.0.0.1", port)
	require.Equal(t, "EADDRINUSE", a.Error, a.Text)
	require.Equal(t, fmt.Sprintf("listen udp4 127.0.0.1:%d: bind: address already in use", port), a.Text)
	require.Equal(t, "EADDRINUSE", node.tryListen("taken", "udp4", "127.0.0.1", port).Error)
	taken.Close()
	addr := other.listen("free", "udp4", "127.0.0.1", port)
	require.Equal(t, "EADDRINUSE", other.tryListen("twice", "udp4", "127.0.0.1", port).Error)
	require.Equal(t, other.says("free"), ask(t, addr))
}

// ask sends a datagram and returns the answer.
func ask(t testing.TB, addr string) string {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = conn.Write([]byte("?"))
	require.NoError(t, err)
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	require.NoError(t, err)
	return strings.TrimSpace(string(buf[:n]))
}

func noIPv6() bool {
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		return true
	}
	ln.Close()
	return false
}

// The keys of session tickets are those of the first worker that has some, whichever it is.
func TestTicketKeys(t *testing.T) {
	for _, serialization := range []string{"json", "advanced"} {
		t.Run(serialization, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startPrimary(t, "NODEIPC_SERIALIZATION="+serialization)
			without, node, other := p.fork("go", "agent"), p.fork("node", ""), p.fork("go", "agent")
			tls := func(w *forked, name string, keys string) string {
				a := w.ask(map[string]any{"do": "listen", "name": name, "network": "tls4", "host": "127.0.0.1", "port": 0, "keys": keys})
				require.Empty(t, a.Error, a.Text)
				return a.Keys
			}
			require.Empty(t, tls(without, "first", ""), "nobody has any yet")
			theirs := tls(node, "first", "")
			require.Len(t, theirs, 96)
			require.Equal(t, theirs, tls(other, "first", strings.Repeat("0", 96)))

			ours := strings.Repeat("ab", 48)
			require.Equal(t, ours, tls(other, "second", ours))
			require.Equal(t, ours, tls(node, "second", ""))
			require.Equal(t, ours, tls(without, "second", ""))
		})
	}
}

// A lone worker that has as many connections as may be is not asked again and again; the others are served in the end.
func TestMaxConns(t *testing.T) {
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startPrimary(t, "NODE_CLUSTER_SCHED_POLICY="+policy)
			w := p.fork("go", "agent")
			addr := w.ask(map[string]any{"do": "listen", "name": "a", "network": "tcp", "host": "127.0.0.1", "port": 0, "limit": 2}).Address
			var waiting []chan string
			request := func(path string) {
				c := make(chan string, 1)
				waiting = append(waiting, c)
				go func() {
					body, err := get(addr, path)
					c <- fmt.Sprint(body, err)
				}()
			}
			request("/hold")
			request("/hold")
			w.awaitMessage(`{"held":true}`)
			w.awaitMessage(`{"held":true}`)
			before := processorTime(t, p.cmd.Process.Pid)
			for range 5 {
				request("/")
			}
			var full [1]byte
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(300*time.Millisecond)))
			fmt.Fprintf(conn, "GET / HTTP/1.0\r\n\r\n")
			_, err = conn.Read(full[:])
			require.ErrorIs(t, err, os.ErrDeadlineExceeded, "it was served, though the limit is reached")
			require.Less(t, processorTime(t, p.cmd.Process.Pid)-before, 150*time.Millisecond, "the primary spins")
			w.tell(map[string]any{"do": "release"})
			for _, c := range waiting {
				require.Equal(t, w.says("a")+"<nil>", <-c)
			}
		})
	}
}

// Connections beyond the limit go to the other workers.
func TestMaxConnsBesideOthers(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t)
	w, node := p.fork("go", "agent"), p.fork("node", "")
	addr := w.ask(map[string]any{"do": "listen", "name": "a", "network": "tcp", "host": "127.0.0.1", "port": 0, "limit": 1}).Address
	inFlight := make(chan string, 1)
	go func() {
		body, err := get(addr, "/hold")
		inFlight <- fmt.Sprint(body, err)
	}()
	w.awaitMessage(`{"held":true}`)
	require.Equal(t, addr, node.listen("a", "tcp", "127.0.0.1", 0))
	require.Equal(t, map[string]int{node.says("a"): 6}, served(t, addr, 6))
	w.tell(map[string]any{"do": "release"})
	require.Equal(t, w.says("a")+"<nil>", <-inFlight)
	served(t, addr, 1) // the free one of the node worker
	by := shared(t, addr, 6, w, node)
	require.NotZero(t, by[w.says("a")], "its place is free again: %v", by)
}

// processorTime is what a process has used so far, where the system says so.
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if os.IsNotExist(err) {
		return 0
	}
	require.NoError(t, err)
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var user, system int
	_, err = fmt.Sscan(f[11]+" "+f[12], &user, &system)
	require.NoError(t, err)
	return time.Duration(user+system) * time.Second / 100
}
