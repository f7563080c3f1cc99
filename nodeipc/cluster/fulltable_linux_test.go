package cluster_test

import (
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// lost waits until n more handles have got lost in the workers of p, by what they log.
func (p *primary) lost(n int) {
	p.t.Helper()
	count := func() int { // one descriptor may be free when a connection of before is closed late
		text := p.stderr.String()
		return strings.Count(text, "a handle did not arrive") + strings.Count(text, "no room for a connection")
	}
	n += count()
	for deadline := time.Now().Add(patience); count() < n; time.Sleep(time.Millisecond) {
		require.True(p.t, time.Now().Before(deadline), "%d handles of %d got lost", count(), n)
	}
}

// A worker whose table of descriptors is full gives its connections back, and takes part again when there is room. (A
// Node worker never gets another one: its NACK is all that the primary hears.)
func TestFullTable(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t)
	node, other := p.fork("node", ""), p.fork("go", "agent")
	port := testkit.FreePort(t, "127.0.0.1")
	addr := node.listen("s", "tcp", "127.0.0.1", port)
	require.Equal(t, addr, other.listen("s", "tcp", "127.0.0.1", port))
	require.Equal(t, map[string]int{node.says("s"): 5, other.says("s"): 5}, shared(t, addr, 10, node, other))
	for range 2 {
		require.Equal(t, "done", other.ask(map[string]any{"do": "fill"}).Text)
		require.Equal(t, map[string]int{node.says("s"): 10}, served(t, addr, 10))
		require.Equal(t, "done", other.ask(map[string]any{"do": "room"}).Text)
		for count := map[string]int{}; count[other.says("s")] == 0; {
			count = served(t, addr, 10)
		}
	}
}

// The only worker is asked again and again, but not without a pause, until it has room.
func TestFullTableOfTheOnlyWorker(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t)
	w := p.fork("go", "agent")
	addr := w.listen("s", "tcp", "127.0.0.1", 0)
	require.Equal(t, map[string]int{w.says("s"): 2}, served(t, addr, 2))
	require.Equal(t, "done", w.ask(map[string]any{"do": "fill"}).Text)
	client, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer client.Close()
	begun := time.Now()
	p.lost(5)
	require.Greater(t, time.Since(begun), 150*time.Millisecond)
	require.Equal(t, "done", w.ask(map[string]any{"do": "room"}).Text)
	_, err = fmt.Fprint(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
	buf := make([]byte, 1000)
	n, err := client.Read(buf)
	require.NoError(t, err)
	require.Contains(t, string(buf[:n]), "200 OK")
	require.Equal(t, map[string]int{w.says("s"): 2}, served(t, addr, 2))
}

// The shared socket of scheduling None that finds no room is an error of Listen, and the share is given back.
func TestFullTableAtListen(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t, "NODE_CLUSTER_SCHED_POLICY=none")
	w := p.fork("go", "agent")
	require.Equal(t, "done", w.ask(map[string]any{"do": "fill"}).Text)
	a := w.tryListen("s", "tcp", "127.0.0.1", 0)
	require.Contains(t, a.Text, "the shared socket did not arrive")
	require.Equal(t, "done", w.ask(map[string]any{"do": "room"}).Text)
	addr := w.listen("s", "tcp", "127.0.0.1", 0)
	require.Equal(t, map[string]int{w.says("s"): 2}, served(t, addr, 2))
}

// A connection that was given back is not taken when its frame comes again: the primary may have given it to another.
func TestLostConnectionComesAgain(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ln, key := p.listen(w, "127.0.0.1:0")
	client, server := p.connection()
	line := fmt.Sprintf(`{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"%s","seq":%d}}`, key, p.next())
	p.send("%s", line) // the descriptor is missing, as if it had got lost
	require.Equal(t, `{"cmd":"NODE_HANDLE_NACK"}`, p.line())
	p.sendFD(line, server)
	require.NoError(t, server.Close())
	require.Equal(t, `{"cmd":"NODE_HANDLE_ACK"}`, p.line())
	for range 2 {
		require.False(t, p.answered())
	}
	closed(t, client)
	good := p.newconn(key)
	require.True(t, p.accepted())
	accept(t, ln, good)
}

// A Node worker that has no room for the socket that it asked for hears so, instead of nothing, and can ask again.
func TestFullTableOfANodeWorker(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{Scheduling: cluster.None})
	tcp := map[string]any{"host": "127.0.0.1", "port": testkit.FreePort(t, "127.0.0.1")}
	udp := map[string]any{"dgram": "udp4", "address": "127.0.0.1", "port": tcp["port"]}
	fully := func(where map[string]any) map[string]any {
		where = maps.Clone(where)
		where["full"] = true
		return where
	}
	cmd := life{Listen: []any{fully(tcp), fully(udp), tcp, udp}}.command(t)
	cmd.Args = append([]string{"sh", "-c", `ulimit -n 100; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	w, _ := beginWith(t, p, &cluster.ForkOptions{Command: cmd})
	for range 2 {
		var m struct{ Error string }
		receive(within(t), t, w.Channel(), &m)
		require.Equal(t, "EMFILE", m.Error)
	}
	for range 2 {
		var m struct{ Address struct{ Port any } }
		receive(within(t), t, w.Channel(), &m)
		require.EqualValues(t, tcp["port"], m.Address.Port)
	}
	require.Equal(t, map[string]int{says(w): 2}, served(t, fmt.Sprint("127.0.0.1:", tcp["port"]), 2))
}
