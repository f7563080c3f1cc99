//go:build unix

package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// What a worker must not do to its primary (docs/protocol.md 2.1 and 2.3): first that it is harmful, then that ours does
// not do it.

// query is a line of a rude worker.
func query(index int, more string) string {
	return fmt.Sprintf(`{"cmd":"NODE_CLUSTER","act":"queryServer","index":%d,"data":null,%s,"backlog":0,"seq":%d}`, index, more, index+1)
}

// survives starts a worker that says these lines, and reports whether the primary is alive after them.
func survives(t testing.TB, lines ...string) bool {
	t.Helper()
	p := startPrimary(t)
	p.mayDie = true
	p.tell(map[string]any{"do": "fork", "kind": "go", "env": map[string]string{envRole: "rude", "LINES": strings.Join(lines, "\n")}})
	const id = 1
	p.tell(map[string]any{"do": "send", "worker": id, "message": "alive"}) // at once, while the primary can be told
	limit := time.After(patience)
	for {
		p.mu.Lock()
		wake, over := p.wake, p.over
		p.mu.Unlock()
		if over || p.saw(id, "message") {
			return !over
		}
		select {
		case <-wake:
		case <-limit:
			t.Fatal("the primary neither answers nor ends")
		}
	}
}

// Listeners on anything, the same one twice, and errors, and the primary lives on. Said with an fd of null, or an index
// that is in use, the same would be the end of it.
func TestPrimarySurvivesQueries(t *testing.T) {
	testkit.CheckLeaks(t)
	tcp := func() string { // which must be free: the query has to succeed
		return fmt.Sprintf(`"address":"127.0.0.1","port":%d,"addressType":4,"flags":0`, testkit.FreePort(t, "127.0.0.1"))
	}
	require.True(t, survives(t, query(0, tcp())))
	require.False(t, survives(t, query(0, `"address":null,"port":null,"addressType":null,"fd":null`)), "a fd of null does no harm")
	twice := query(0, tcp())
	require.Equal(t, testkit.Peer(t).Major() >= 22, survives(t, twice, twice), "an index that is in use")

	p := startPrimary(t)
	w := p.fork("go", "agent")
	port := testkit.FreePort(t, "127.0.0.1")
	path := filepath.Join(t.TempDir(), "w.sock")
	listens := []struct {
		network, host string
		port          int
	}{
		{"tcp", "127.0.0.1", port}, {"tcp", "", 0}, {"tcp4", "", 0}, {"unix", path, 0}, {"udp4", "", port}, {"udp4", "127.0.0.1", 0},
	}
	for i, l := range listens {
		w.listen(fmt.Sprint(i), l.network, l.host, l.port)
		if l.port != 0 || l.network == "unix" {
			require.Equal(t, "EADDRINUSE", w.tryListen("again", l.network, l.host, l.port).Error)
		}
	}
	require.Equal(t, "EINVAL", w.tryListen("fd", "fd", "999", 0).Error)
	for i, l := range listens { // and again, with indexes that are free again
		w.close(fmt.Sprint(i))
		w.listen(fmt.Sprint(i), l.network, l.host, l.port)
	}
}

// A worker that ends before it has answered newconn takes the connection with it: a Node primary keeps it open and
// gives it to nobody. Ours has answered before the program knows of the connection.
func TestExitOnAccept(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startPrimary(t)
	addr := testkit.FreeAddr(t)
	for range 5 {
		w := p.fork("go", "quitter", "ADDR="+addr)
		w.await("listening")
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		exit := w.await("exit")
		require.Equal(t, 7, *exit.Code)
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		closed(t, conn)
	}
}

// ------------------------------------------------------------------------------- the limit, connection by connection

func limited(t testing.TB, w *cluster.Worker, p *rawPrimary, max int) (ln net.Listener, key string) {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		var err error
		lc := cluster.ListenConfig{Worker: w, MaxConns: max, Backlog: 7}
		ln, err = lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
		result <- err
	}()
	key = p.grant(p.awaits("queryServer"))
	p.awaits("listening")
	require.NoError(t, <-result)
	return ln, key
}

func TestConnectionBeyondTheLimit(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ln, key := limited(t, w, p, 1)
	p.newconn(key)
	require.True(t, p.accepted())
	conn, err := ln.Accept()
	require.NoError(t, err)
	_, ok := conn.(io.ReaderFrom)
	require.True(t, ok, "the methods of a *net.TCPConn")
	_, ok = conn.(syscall.Conn)
	require.True(t, ok)

	// It goes back when no place becomes free.
	began := time.Now()
	client := p.newconn(key)
	require.False(t, p.accepted())
	require.GreaterOrEqual(t, time.Since(began), 40*time.Millisecond, "a lone primary would spin")
	closed(t, client)

	// It is taken when one does, and once only. It does not wait long: on a busy machine the place may come too late.
	for try := 0; ; try++ {
		client = p.newconn(key)
		require.Equal(t, `{"cmd":"NODE_HANDLE_ACK"}`, p.line())
		require.NoError(t, conn.Close())
		require.ErrorIs(t, conn.Close(), net.ErrClosed)
		if p.answered() {
			break
		}
		require.Less(t, try, 50)
		closed(t, client)
		p.newconn(key)
		require.True(t, p.accepted())
		conn, err = ln.Accept()
		require.NoError(t, err)
	}
	next, err := ln.Accept()
	require.NoError(t, err)
	require.Equal(t, client.LocalAddr().String(), next.RemoteAddr().String())
	client = p.newconn(key)
	require.Equal(t, `{"cmd":"NODE_HANDLE_ACK"}`, p.line())

	// Close gives back what is held.
	require.NoError(t, ln.Close())
	answers := []string{p.line(), p.line()}
	require.Contains(t, strings.Join(answers, "\n"), `"accepted":false`)
	require.Contains(t, strings.Join(answers, "\n"), `"act":"close"`)
	closed(t, client)
	require.NoError(t, next.Close())
	_, err = ln.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, w.Channel().Send(context.Background(), "nothing before this"))
	require.Equal(t, `"nothing before this"`, p.line())
}

// The same without a cluster.
func TestMaxConnsAlone(t *testing.T) {
	testkit.CheckLeaks(t)
	lc := cluster.ListenConfig{MaxConns: 1}
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dial := func() net.Conn {
		client, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { client.Close() })
		return client
	}
	first, second := dial(), dial()
	conn, err := ln.Accept()
	require.NoError(t, err)
	require.Equal(t, first.LocalAddr().String(), conn.RemoteAddr().String())
	accepted := make(chan error, 2)
	go func() {
		conn, err := ln.Accept()
		if err == nil && conn.RemoteAddr().String() != second.LocalAddr().String() {
			err = fmt.Errorf("accepted %v", conn.RemoteAddr())
		}
		accepted <- err
		_, err = ln.Accept() // waits, because that one stays open
		accepted <- err
		conn.Close()
	}()
	select {
	case err := <-accepted:
		t.Fatal("it was accepted beyond the limit:", err)
	case <-time.After(20 * time.Millisecond):
	}
	require.NoError(t, conn.Close())
	require.NoError(t, <-accepted)
	require.NoError(t, ln.Close())
	require.ErrorIs(t, <-accepted, net.ErrClosed)
}

// What cannot be asked for is refused here.
func TestListenConfigRefuses(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ctx := context.Background()
	_, err := (&cluster.ListenConfig{Worker: w, TicketKeys: make([]byte, 32)}).Listen(ctx, "tcp", "127.0.0.1:0")
	require.ErrorContains(t, err, "32 bytes of ticket keys, Node has 48") // an exception in Node workers
	for _, address := range []string{"", "@abstract"} {
		_, err = w.Listen(ctx, "unix", address)
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	for _, fd := range []string{"", "-1", "x"} {
		_, err = w.Listen(ctx, "fd", fd)
		require.ErrorContains(t, err, "is no descriptor")
	}
	_, err = w.ListenPacket(ctx, "unixgram", "/tmp/x")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	_, err = w.ListenPacket(ctx, "udp4", "[::1]:0")
	require.ErrorContains(t, err, "no suitable address")
	require.NoError(t, w.Channel().Send(ctx, "nothing before this"))
	require.Equal(t, `"nothing before this"`, p.line())
}

// What is asked for, word for word as a Node 20 worker does.
func TestQueries(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	t.Chdir(dir)
	refused := func(listen func(lc *cluster.ListenConfig) error, lc *cluster.ListenConfig) string {
		result := make(chan error, 1)
		go func() { lc.Worker = w; result <- listen(lc) }()
		line := p.line()
		var f frame
		require.NoError(t, json.Unmarshal([]byte(line), &f))
		p.send(`{"cmd":"NODE_CLUSTER","errno":-13,"key":"k","ack":%d,"data":null,"seq":%d}`, f.Seq, p.next())
		require.ErrorIs(t, <-result, syscall.EACCES)
		begin, rest, ok := strings.Cut(line, `"index":0,"data":`)
		require.True(t, ok)
		require.Equal(t, `{"cmd":"NODE_CLUSTER","act":"queryServer",`, begin)
		rest, _, _ = strings.Cut(rest, `,"seq"`)
		return rest
	}
	stream := func(network, address string) func(lc *cluster.ListenConfig) error {
		return func(lc *cluster.ListenConfig) error { _, err := lc.Listen(t.Context(), network, address); return err }
	}
	packet := func(network, address string) func(lc *cluster.ListenConfig) error {
		return func(lc *cluster.ListenConfig) error {
			_, err := lc.ListenPacket(t.Context(), network, address)
			return err
		}
	}
	for _, test := range []struct {
		listen func(lc *cluster.ListenConfig) error
		lc     cluster.ListenConfig
		want   string
	}{
		{stream("unix", "sub/../w.sock"), cluster.ListenConfig{},
			fmt.Sprintf(`null,"address":"%s/w.sock","port":-1,"addressType":-1,"backlog":false`, dir)},
		{stream("fd", "4"), cluster.ListenConfig{}, `null,"address":null,"port":null,"addressType":null,"fd":4,"backlog":false`},
		{stream("tcp", ":80"), cluster.ListenConfig{Backlog: 10}, `null,"address":null,"port":80,"addressType":4,"backlog":10`},
		{stream("tcp", "127.0.0.1:0"), cluster.ListenConfig{TicketKeys: make([]byte, 48)},
			`{"ticketKeys":"` + strings.Repeat("00", 48) + `"},"address":"127.0.0.1","port":0,"addressType":4,"flags":0,"backlog":false`},
		{packet("udp4", "127.0.0.1:0"), cluster.ListenConfig{}, `null,"address":"127.0.0.1","port":0,"addressType":"udp4","fd":-1,"flags":0`},
		{packet("udp4", ":53"), cluster.ListenConfig{}, `null,"address":"0.0.0.0","port":53,"addressType":"udp4","fd":-1,"flags":0`},
		{packet("udp", ":53"), cluster.ListenConfig{}, `null,"address":"::","port":53,"addressType":"udp6","fd":-1,"flags":0`},
		{packet("udp6", ":53"), cluster.ListenConfig{}, `null,"address":"::","port":53,"addressType":"udp6","fd":-1,"flags":1`},
		{packet("udp", "127.0.0.1:53"), cluster.ListenConfig{}, `null,"address":"127.0.0.1","port":53,"addressType":"udp4","fd":-1,"flags":0`},
	} {
		require.Equal(t, test.want, refused(test.listen, &test.lc))
	}
}
