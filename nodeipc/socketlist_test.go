//go:build unix

package nodeipc

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// ------------------------------------------------------------------------------------------- socket lists

// A Node server that gave its connections away counts those that are open here, and ends when the last is closed.
func listOfNode(t testing.TB, f *far, network string) {
	server := f.ask(t, "listen", nil, fields{"where": somewhereThere(t, network)})
	at := f.answer(t, server).At
	address := at.Path
	if network != "unix" {
		address = fmt.Sprintf("%s:%d", at.Host, at.Port)
	}
	count := func() int {
		t.Helper()
		send(t, f.Channel, fields{"do": "count", "n": server})
		return f.answer(t, server).Count
	}
	received := func() (h *Handle, there net.Conn) {
		t.Helper()
		there, err := net.Dial(network, address)
		require.NoError(t, err)
		t.Cleanup(func() { there.Close() })
		h = f.answer(t, server).handle
		require.Equal(t, NetSocket, h.Type())
		return h, there
	}
	require.Zero(t, count())

	left, _ := received()
	h, last := received()
	conn, err := h.Conn()
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, 2, count(), "one that is left as it is, one that was taken")
	carries(t, conn, last)

	closed, _ := received()
	require.Equal(t, 3, count())
	require.NoError(t, closed.Close())
	require.Equal(t, 2, count())

	h, _ = received()
	file, err := h.File()
	require.NoError(t, err)
	defer file.Close()
	require.Equal(t, 3, count())
	require.NoError(t, file.Close())
	require.Equal(t, 2, count())

	// Sent on, and then no longer here: what others do with it is not known.
	a, b := pair(t, nil)
	h, there := received()
	require.NoError(t, a.SendHandle(limited(t), "on", h))
	require.Equal(t, 3, count())
	require.NoError(t, h.Close())
	require.Equal(t, 2, count())
	m, err := b.Receive(limited(t))
	require.NoError(t, err)
	on, err := m.Handle.Conn()
	require.NoError(t, err)
	carries(t, on, there)
	require.NoError(t, on.Close())

	// Back where it came from. Node opens it once more, and closes it.
	h, there = received()
	n := f.ask(t, "take", h, fields{"use": "socket"})
	require.True(t, f.answer(t, n).Is.Connected)
	require.Equal(t, 3, count())
	require.NoError(t, h.Close())
	require.Equal(t, 2, count())
	_, err = io.WriteString(there, "hello\n")
	require.NoError(t, err)
	f.done(t, n)
	require.Equal(t, fmt.Sprintf("node %d hello\n", n), all(t, there))

	// Forgotten: the garbage collector closes it.
	func() {
		h, _ := received()
		_, err := h.Conn()
		require.NoError(t, err)
	}()
	require.Eventually(t, func() bool {
		runtime.GC()
		return count() == 2
	}, patience, time.Millisecond)

	send(t, f.Channel, fields{"do": "stop", "n": server})
	require.True(t, f.answer(t, server).Closing)
	f.alive(t) // and nothing before that
	require.NoError(t, left.Close())
	f.alive(t)
	carries(t, conn, last)
	require.NoError(t, conn.Close())
	f.done(t, server)
}

// What Go sends as connections of a server: the peer is asked about them.
func listsToNode(t testing.TB, f *far) {
	ctx := limited(t)
	const key, otherKey = "4:127.0.0.1:0", "-1:/some/path:-1"
	var held []int
	var theirs []net.Conn
	for i, network := range []string{"tcp4", "tcp4", "unix"} {
		w := wireOn(t, network)
		k := key
		if i == 2 {
			k = otherKey
		}
		n := f.ask(t, "hold", NewKeyedHandle(w.here.(syscall.Conn), k), nil)
		require.NoError(t, w.here.Close())
		f.answer(t, n)
		held, theirs = append(held, n), append(theirs, w.there)
	}
	open := func(key string, want int) {
		t.Helper()
		n, err := f.OpenSockets(ctx, key)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	open(key, 2)
	open(otherKey, 1)
	closeThere := func(n int) {
		send(t, f.Channel, fields{"do": "close", "n": n})
		f.done(t, n)
	}
	closeThere(held[0])
	require.Empty(t, all(t, theirs[0]))
	open(key, 1)

	// Two that wait, and one that gives up.
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- f.SocketsClosed(ctx, key) }()
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, f.SocketsClosed(short, key), context.DeadlineExceeded)
	open(key, 1)
	f.alive(t)
	select {
	case err := <-closed:
		t.Fatal("it has not closed the other one: ", err)
	default:
	}
	closeThere(held[1])
	require.NoError(t, <-closed)
	require.NoError(t, <-closed)
	open(key, 0)
	require.NoError(t, f.SocketsClosed(ctx, key), "there is none any more")
	open(otherKey, 1)

	closeThere(held[2])
}

// Node does not answer about what it has never heard of.
func unknownList(t testing.TB, f *far) {
	short, cancel := context.WithTimeout(limited(t), 10*time.Millisecond)
	defer cancel()
	_, err := f.OpenSockets(short, "never sent")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	f.alive(t)
}

// The end of the channel is the end of the waiting.
func TestSocketListAtTheEnd(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "handle_matrix.js")
	f := &far{Channel: p.Channel}
	w := wireOn(t, "tcp4")
	f.answer(t, f.ask(t, "hold", NewKeyedHandle(w.here.(*net.TCPConn), "4:127.0.0.1:0"), nil))
	waiting := outcome(t, "SocketsClosed", func() error { return f.SocketsClosed(limited(t), "4:127.0.0.1:0") })
	until(t, f.Channel, "it waits", func() bool { return len(f.waiters) == 1 })
	require.NoError(t, p.cmd.Process.Kill())
	require.ErrorIs(t, waiting(), ErrDisconnected)
	_, err := f.OpenSockets(limited(t), "4:127.0.0.1:0")
	require.ErrorIs(t, err, ErrDisconnected)
}

// A question whose answer cannot be read, because nobody receives what is in front of it, says so.
func TestSocketListWithFullBacklog(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, &Options{Backlog: 1})
	p.send("1\n2\n3\n")
	until(t, c, "reading pauses", func() bool { return c.paused })
	_, err := c.OpenSockets(limited(t), "key")
	require.ErrorIs(t, err, ErrBacklogFull)
	require.NotErrorIs(t, err, ErrDisconnected)
	require.NoError(t, c.Err())
}

// However often a peer asks to be told of the end, it is not told before.
func TestSocketListAskedTooOften(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	f, err := tcpWire(t).here.(*net.TCPConn).File()
	require.NoError(t, err)
	defer f.Close()
	p.sendFD(`{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"here","key":"k"}`+"\n", int(f.Fd()))
	require.Equal(t, ack, p.line())
	p.send(strings.Repeat(`{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"k"}`+"\n", maxHandles+1))
	p.send(`{"cmd":"NODE_SOCKET_GET_COUNT","key":"k"}` + "\n")
	require.JSONEq(t, `{"cmd":"NODE_SOCKET_COUNT","key":"k","count":1}`, p.line())
	m, err := c.Receive(limited(t))
	require.NoError(t, err)
	require.NoError(t, m.Handle.Close())
	for range maxHandles {
		require.JSONEq(t, `{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"k"}`, p.line())
	}
}

// ------------------------------------------------------------------------------------------- connections half read

// A connection that a Go http.Server has accepted, of which it has read a request and more, is given to Node: an HTTP
// server there answers the request and those that follow.
func TestHijackedToNode(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "handle_matrix.js")
	f := &far{Channel: p.Channel}
	taken := make(chan int, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head, err := httputil.DumpRequest(r, true)
		if err != nil {
			t.Error(err)
			return
		}
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		more, err := buffered.Reader.Peek(buffered.Reader.Buffered())
		if err != nil {
			t.Error(err)
		}
		m := fields{"do": "take", "n": 1, "use": "http", "head": append(head, more...)} // []byte is Base64 in JSON
		if err := p.SendHandle(limited(t), m, conn); err != nil {
			t.Error(err)
		}
		taken <- len(more)
	})}
	served := outcome(t, "Serve", func() error { return server.Serve(ln) })
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	const second = "GET /second HTTP/1.1\r\nHost: here\r\n\r\n"
	_, err = io.WriteString(conn, "GET /first HTTP/1.1\r\nHost: here\r\n\r\n"+second)
	require.NoError(t, err)
	require.Equal(t, len(second), <-taken, "what Go had read beyond the request")
	require.True(t, f.answer(t, 1).Is.Connected)
	r := bufio.NewReader(conn)
	require.Equal(t, "node 1 GET /first", body(t, r))
	require.Equal(t, "node 1 GET /second", body(t, r))
	_, err = io.WriteString(conn, "GET /third HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	require.Equal(t, "node 1 GET /third", body(t, r))
	f.done(t, 1)
	_, err = r.ReadByte()
	require.Equal(t, io.EOF, err, "nobody has it any more")
	require.NoError(t, server.Close())
	require.Equal(t, http.ErrServerClosed, served())
	require.NoError(t, p.Disconnect(limited(t)))
	require.NoError(t, p.wait())
}

// body reads an answer of HTTP.
func body(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	response, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}

// The other way: Node reads the begin of a connection, and a Go http.Server goes on with it.
func TestUnreadFromNode(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "handle_matrix.js")
	f := &far{Channel: p.Channel}
	for _, network := range []string{"tcp4", "unix"} {
		t.Run(network, func(t *testing.T) {
			n := f.ask(t, "listen", nil, fields{"where": somewhereThere(t, network), "peek": true})
			at := f.answer(t, n).At
			address := at.Path
			if network != "unix" {
				address = net.JoinHostPort(at.Host, fmt.Sprint(at.Port))
			}
			client, err := net.Dial(network, address)
			require.NoError(t, err)
			defer client.Close()
			require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
			// The head comes in two parts, the second when Node has passed the connection on.
			_, err = io.WriteString(client, "POST /upload HTTP/1.1\r\nHost: here\r\nCookie: worker=1\r\nContent-Le")
			require.NoError(t, err)
			a := f.answer(t, n)
			head, err := base64.StdEncoding.DecodeString(a.Head)
			require.NoError(t, err)
			require.Contains(t, string(head), "worker=1")
			conn, err := a.handle.Conn()
			require.NoError(t, err)
			handed := newHanded(Unread(conn, head))
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				fmt.Fprintf(w, "go %s %s %s %v", r.Method, r.URL, body, err)
			})}
			served := outcome(t, "Serve", func() error { return server.Serve(handed) })
			_, err = io.WriteString(client, "ngth: 7\r\n\r\ncontent"+
				"GET /next HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
			require.NoError(t, err)
			r := bufio.NewReader(client)
			require.Equal(t, "go POST /upload content <nil>", body(t, r))
			require.Equal(t, "go GET /next  <nil>", body(t, r))
			_, err = r.ReadByte()
			require.Equal(t, io.EOF, err)
			require.NoError(t, server.Close())
			require.Equal(t, http.ErrServerClosed, served())
			send(t, f.Channel, fields{"do": "stop", "n": n})
			require.True(t, f.answer(t, n).Closing)
			f.done(t, n)
		})
	}
	require.NoError(t, p.Disconnect(limited(t)))
	require.NoError(t, p.wait())
}

// handed is a listener of one connection, which came in another way.
type handed struct {
	conns chan net.Conn
	addr  net.Addr
	done  chan struct{}
	once  sync.Once
}

func newHanded(conn net.Conn) *handed {
	h := &handed{conns: make(chan net.Conn, 1), addr: conn.LocalAddr(), done: make(chan struct{})}
	h.conns <- conn
	return h
}

func (h *handed) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *handed) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

func (h *handed) Addr() net.Addr { return h.addr }
