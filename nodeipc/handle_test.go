//go:build unix

package nodeipc

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// ------------------------------------------------------------------------------------------- with Node

// Plain messages directly before a handle, again and again, from a Node parent: each socket comes with its own message.
func TestMixedWithHandlesUnderNode(t *testing.T) {
	testkit.CheckLeaks(t)
	report := underNode(t, "mixed", "scenario", "NODEIPC_COUNT=200")
	require.Equal(t, 200.0, report["sockets"])
}

// The same to a Node child.
func TestMixedWithHandlesToNode(t *testing.T) {
	testkit.CheckLeaks(t)
	mixedToNode(t, 200)
}

func mixedToNode(t testing.TB, n int) {
	p := startNode(t, nil, "scenario_child.js")
	ctx := limited(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	wires := make([]wire, n)
	for i := range wires {
		there, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer there.Close()
		here, err := ln.Accept()
		require.NoError(t, err)
		wires[i] = wire{here, there}
	}
	ln.Close()
	sent := outcome(t, "the sends", func() error {
		for i, w := range wires {
			for _, part := range []string{"a", "b"} {
				if err := p.Send(ctx, command{Type: "mixed", N: i, Part: part}.lower()); err != nil {
					return err
				}
			}
			if err := p.SendHandle(ctx, command{Type: "mixed", N: i, Part: "socket"}.lower(), w.here); err != nil {
				return err
			}
			w.here.Close()
		}
		return nil
	})
	for i := range n {
		for _, part := range []string{"a", "b", "socket"} {
			require.Equal(t, fmt.Sprintf(`{"n":%d,"part":"%s","type":"mixed"}`, i, part), text(t, p.Channel))
		}
	}
	require.NoError(t, sent())
	for i, w := range wires {
		w.there.SetDeadline(time.Now().Add(patience))
		all, err := io.ReadAll(w.there)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%d\n", i), string(all))
	}
	require.NoError(t, p.Disconnect(ctx))
	require.NoError(t, p.wait())
}

func (c command) lower() map[string]any {
	return map[string]any{"type": c.Type, "n": c.N, "part": c.Part}
}

// Sockets and servers, TCP and unix, from a Node parent to a Go child and back.
func TestHandlesUnderNode(t *testing.T) {
	for _, scenario := range []string{"handles", "return", "child-handles"} {
		t.Run(scenario, func(t *testing.T) {
			testkit.CheckLeaks(t)
			underNode(t, scenario, "scenario")
		})
	}
}

// What Node makes of each thing that can be sent, and that it works there.
func TestHandleTypesToNode(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "probe_handles.js")
	ctx := limited(t)
	tcp := func(t *testing.T) (any, net.Conn) { w := tcpWire(t); return w.here, w.there }
	local := func(t *testing.T) (any, net.Conn) { w := unixWire(t); return w.here, w.there }
	file := func(t *testing.T) (any, net.Conn) {
		w := tcpWire(t)
		f, err := w.here.(*net.TCPConn).File()
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		w.here.Close()
		return f, w.there
	}
	named := func(typ HandleType, of func(*testing.T) (any, net.Conn)) func(*testing.T) (any, net.Conn) {
		return func(t *testing.T) (any, net.Conn) {
			h, there := of(t)
			return NewHandle(h.(syscall.Conn), typ), there
		}
	}
	for i, test := range []struct {
		name string
		make func(*testing.T) (any, net.Conn)
		is   string
	}{
		{"TCPConn", tcp, "Socket"},
		{"UnixConn", local, "Socket"},
		{"File", file, "Socket"},
		{"TCPConn as net.Socket", named(NetSocket, tcp), "Socket"},
		{"TCPConn as net.Native", named(NetNative, tcp), "TCP"},
		{"UnixConn as net.Native", named(NetNative, local), "Pipe"},
		{"File as net.Native", named(NetNative, file), "TCP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, there := test.make(t)
			require.NoError(t, p.SendHandle(ctx, map[string]any{"n": i, "as": "socket"}, h))
			require.Equal(t, fmt.Sprintf(`{"n":%d,"is":"%s"}`, i, test.is), text(t, p.Channel))
			if c, ok := h.(io.Closer); ok {
				c.Close()
			}
			got, err := bufio.NewReader(there).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("socket %d\n", i), got)
		})
	}
	for i, test := range []struct {
		network, is string
		typ         HandleType
	}{
		{"tcp", "Server", ""}, {"unix", "Server", ""},
		{"tcp", "Server", NetServer}, {"tcp", "TCP", NetNative}, {"unix", "Pipe", NetNative},
	} {
		t.Run(fmt.Sprintf("%s listener as %q", test.network, test.typ), func(t *testing.T) {
			address := "127.0.0.1:0"
			if test.network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			ln, err := net.Listen(test.network, address)
			require.NoError(t, err)
			var h any = ln
			if test.typ != "" {
				h = NewHandle(ln.(syscall.Conn), test.typ)
			}
			require.NoError(t, p.SendHandle(ctx, map[string]any{"n": i, "as": "server"}, h))
			require.NoError(t, ln.Close()) // only Node listens from here on, and at the path, if there is one
			require.Equal(t, fmt.Sprintf(`{"n":%d,"is":"%s"}`, i, test.is), text(t, p.Channel))
			require.Equal(t, fmt.Sprintf("server %d\n", i), dialled(t, ln.Addr()))
		})
	}
	send(t, p.Channel, map[string]any{"n": 100})
	require.Equal(t, `{"n":100,"is":null}`, text(t, p.Channel))
}

// What Node sends, as types of package net.
func TestHandleTypesFromNode(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "scenario_child.js")
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			listenerFromNode(t, p, network)
			connFromNode(t, p, network)
		})
	}
}

// listenerFromNode has scenario_child.js listen and give the server away.
func listenerFromNode(t testing.TB, p *process, network string) {
	where := map[string]any{"type": "listen", "kind": network, "host": "127.0.0.1", "port": 0}
	if network == "unix" {
		where["path"] = filepath.Join(t.TempDir(), "theirs")
	}
	send(t, p.Channel, where)
	m, err := p.Receive(limited(t))
	require.NoError(t, err)
	require.Equal(t, NetServer, m.Handle.Type())
	got, err := m.Handle.Listener()
	require.NoError(t, err)
	defer got.Close()
	require.Equal(t, network, got.Addr().Network())
	_, err = m.Handle.Listener()
	require.ErrorIs(t, err, ErrNoHandle, "it was taken")
	_, err = m.Handle.Conn()
	require.ErrorIs(t, err, ErrNoHandle)
	require.NoError(t, m.Handle.Close())
	to := got.Addr().String()
	if network == "unix" { // whoever made it removes it
		to = filepath.Join(t.TempDir(), "renamed")
		require.NoError(t, os.Rename(got.Addr().String(), to))
	}
	send(t, p.Channel, map[string]any{"type": "close", "kind": network})
	require.Contains(t, text(t, p.Channel), "close") // only we listen from here on
	there, err := net.Dial(network, to)
	require.NoError(t, err)
	defer there.Close()
	here, err := got.Accept()
	require.NoError(t, err)
	defer here.Close()
	carries(t, here, there)
}

// connFromNode has scenario_child.js connect to us and give the socket away.
func connFromNode(t testing.TB, p *process, network string) {
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "ours")
	}
	ln, err := net.Listen(network, address)
	require.NoError(t, err)
	defer ln.Close()
	where := map[string]any{"type": "dial", "kind": network}
	if network == "unix" {
		where["path"] = address
	} else {
		where["host"], where["port"] = "127.0.0.1", ln.Addr().(*net.TCPAddr).Port
	}
	send(t, p.Channel, where)
	far, err := ln.Accept()
	require.NoError(t, err)
	defer far.Close()
	m, err := p.Receive(limited(t))
	require.NoError(t, err)
	require.Equal(t, NetSocket, m.Handle.Type())
	conn, err := m.Handle.Conn()
	require.NoError(t, err)
	defer conn.Close()
	require.IsType(t, far, conn)
	carries(t, conn, far)
}

// A handle received from one Node goes to another without being taken.
func TestHandlePassedOn(t *testing.T) {
	testkit.CheckLeaks(t)
	from, to := startNode(t, nil, "scenario_child.js"), startNode(t, nil, "probe_handles.js")
	ctx := limited(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	send(t, from.Channel, map[string]any{"type": "dial", "host": "127.0.0.1", "port": ln.Addr().(*net.TCPAddr).Port})
	far, err := ln.Accept()
	require.NoError(t, err)
	m, err := from.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, to.SendHandle(ctx, map[string]any{"n": 1, "as": "socket"}, m.Handle))
	require.Equal(t, `{"n":1,"is":"Socket"}`, text(t, to.Channel))
	require.NoError(t, m.Handle.Close())
	require.Equal(t, "socket 1\n", all(t, far))
	require.ErrorIs(t, to.SendHandle(ctx, 1, m.Handle), ErrNoHandle)
}

// The socket's file stays when the listener was sent, because the peer listens there, and goes when it was not.
func TestUnixListenerKeepsItsPath(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	ctx := limited(t)
	listen := func() (*net.UnixListener, string) {
		path := filepath.Join(t.TempDir(), "s")
		ln, err := net.Listen("unix", path)
		require.NoError(t, err)
		return ln.(*net.UnixListener), path
	}
	exists := func(path string) bool {
		_, err := os.Lstat(path)
		return err == nil
	}
	ln, path := listen()
	require.NoError(t, a.SendHandle(ctx, "sent", ln))
	require.NoError(t, ln.Close())
	require.True(t, exists(path))
	m, err := b.Receive(ctx)
	require.NoError(t, err)
	got, err := m.Handle.Listener()
	require.NoError(t, err)
	serving := outcome(t, "Accept", func() error {
		conn, err := got.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "served")
		return err
	})
	require.Equal(t, "served", dialled(t, ln.Addr()))
	require.NoError(t, serving())
	require.NoError(t, got.Close())
	require.True(t, exists(path), "it belongs to whoever made it")

	ln, path = listen()
	require.NoError(t, a.SendHandle(ctx, "sent under another type", NewHandle(ln, NetNative)))
	require.NoError(t, ln.Close())
	require.True(t, exists(path))
	m, err = b.Receive(ctx)
	require.NoError(t, err)
	m.Handle.Close()

	ln, path = listen()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, a.SendHandle(gone, "not sent", ln), context.Canceled)
	require.NoError(t, ln.Close())
	require.False(t, exists(path))
}

// The file also stays when it is another goroutine that wrote the frame.
func TestUnixListenerKeepsItsPathWhenBusy(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	ctx := limited(t)
	const n = 100
	dir := t.TempDir()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for pad := strings.Repeat("x", 10000); ; {
				select {
				case <-stop:
					return
				default:
					if err := a.Send(ctx, pad); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Go(func() {
		for handles := 0; handles < n; {
			m, err := b.Receive(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			if m.Handle != nil {
				m.Handle.Close()
				handles++
			}
		}
		close(stop)
		for m, err := range b.Messages(ctx) {
			if err != nil {
				t.Error(err)
				return
			}
			if string(m.Data) == `"end"` {
				return
			}
		}
	})
	for i := range n {
		path := filepath.Join(dir, fmt.Sprint(i))
		ln, err := net.Listen("unix", path)
		require.NoError(t, err)
		require.NoError(t, a.SendHandle(ctx, i, ln))
		require.NoError(t, ln.Close())
		require.FileExists(t, path)
	}
	<-stop
	send(t, a, "end")
	all.Wait()
}

// ------------------------------------------------------------------------------------------- what cannot be sent

type wrappedConn struct{ net.Conn }

func TestRefusedHandles(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "echo.js")
	ctx := limited(t)
	w := newWire(t)
	open := func(f *os.File, err error) *os.File {
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	regular := open(os.Create(filepath.Join(t.TempDir(), "file")))
	device := open(os.Open(os.DevNull))
	folder := open(os.Open(t.TempDir()))
	r, wr, err := os.Pipe()
	open(r, err)
	open(wr, err)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	datagrams, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	defer datagrams.Close()
	closed := newWire(t)
	require.NoError(t, closed.here.Close())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	unconnected := open(os.NewFile(uintptr(fd), "socket"), nil)
	gone := tcpWire(t)
	require.NoError(t, gone.there.(*net.TCPConn).SetLinger(0))
	require.NoError(t, gone.there.Close())
	_, err = gone.here.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	taken := received(dup(t, w.here), envelope{typ: NetSocket})
	require.NoError(t, taken.Close())

	for _, test := range []struct {
		name  string
		h     any
		is    error
		words string
	}{
		{"regular file", regular, ErrHandleKind, "a regular file"},
		{"character device", device, ErrHandleKind, "a terminal or other character device"},
		{"folder", folder, ErrHandleKind, "a directory"},
		{"pipe", r, ErrHandleKind, "a pipe"},
		{"other end of the pipe", wr, ErrHandleKind, "a pipe"},
		{"UDP socket as net.Socket", NewHandle(udp.(*net.UDPConn), NetSocket), ErrHandleKind, "a UDP socket is no net.Socket"},
		{"UDP socket as net.Native", NewHandle(udp.(*net.UDPConn), NetNative), ErrHandleKind, "a UDP socket is no net.Native"},
		{"unix datagram socket", datagrams, ErrHandleKind, "a unix datagram socket"},
		{"regular file as net.Socket", NewHandle(regular, NetSocket), ErrHandleKind, "a regular file"},
		{"connection as net.Server", NewHandle(w.here.(syscall.Conn), NetServer), ErrHandleKind, "does not listen"},
		{"listener as net.Socket", NewHandle(listener.(syscall.Conn), NetSocket), syscall.ENOTCONN, "has to be connected"},
		{"socket that is not connected", unconnected, syscall.ENOTCONN, "has to be connected"},
		{"socket that is not connected, as net.Server", NewHandle(unconnected, NetServer), ErrHandleKind, "does not listen"},
		{"connection that was reset", gone.here, syscall.ENOTCONN, "has to be connected"},
		{"connection as dgram.Socket", NewHandle(w.here.(syscall.Conn), DgramSocket), ErrHandleKind, "a stream socket is no dgram.Socket"},
		{"connection as nothing", NewHandle(w.here.(syscall.Conn), ""), ErrHandleKind, `type ""`},
		{"listener as net.BoundSocket", NewHandle(listener.(syscall.Conn), NetBoundSocket), ErrHandleKind, "that is bound, and neither"},
		{"tls.Conn", tls.Client(w.here, &tls.Config{ServerName: "x"}), ErrHandleKind, "NetConn"},
		{"wrapper", wrappedConn{w.here}, ErrHandleKind, "gives no access to its socket"},
		{"net.Pipe", one, ErrHandleKind, "gives no access to its socket"},
		{"closed connection", closed.here, nil, "use of closed"},
		{"nothing", nil, ErrHandleKind, "the handle is nil"},
		{"nil Handle", (*Handle)(nil), ErrNoHandle, ""},
		{"closed Handle", taken, ErrNoHandle, ""},
		{"text", "a string", ErrHandleKind, "string"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := p.SendHandle(ctx, "not to be seen", test.h)
			require.Error(t, err)
			require.ErrorContains(t, err, "nodeipc: ")
			require.ErrorContains(t, err, test.words)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			require.Error(t, p.QueueHandle("not to be seen", test.h, func(error) { t.Error("done was called") }))
			send(t, p.Channel, "alive?")
			require.Equal(t, `"alive?"`, text(t, p.Channel))
		})
	}
	require.ErrorIs(t, p.SendHandle(ctx, map[string]string{"cmd": "NODE_X"}, w.here), ErrInternalMessage)
	require.Error(t, p.SendHandle(ctx, func() {}, w.here), "no JSON")
	require.NoError(t, p.SendHandle(ctx, "a good one", w.here))
	require.Equal(t, `"a good one"`, text(t, p.Channel))
	require.NoError(t, p.Disconnect(ctx))
	require.NoError(t, p.wait())
}

// inode tells sockets apart, however they are numbered.
func inode(t testing.TB, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &st))
	return uint64(st.Ino)
}

// dup returns a duplicate of a connection's descriptor, which is the caller's.
func dup(t testing.TB, conn any) int {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(fdOf(t, conn)), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	return fd
}

// A socket in blocking mode would stop a whole Node process.
func TestSentHandleIsNonblocking(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	one, blocking, err := fdconn.Pair()
	require.NoError(t, err)
	defer unix.Close(one)
	f := os.NewFile(uintptr(blocking), "blocking")
	defer f.Close()
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(limited(t), 1, f) })
	require.Equal(t, ourFrame(NetSocket, "1"), p.line())
	flags, err := unix.FcntlInt(uintptr(p.handle()), unix.F_GETFL, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.O_NONBLOCK)
	p.send(ack + "\n")
	require.NoError(t, result())
}

// ------------------------------------------------------------------------------------------- receiving, byte by byte

func TestReceivedHandle(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	ctx := limited(t)
	receive := func(typ HandleType, fd int) *Handle {
		p.sendFD(frame(typ, `"m"`)+"\n", fd)
		require.Equal(t, ack, p.line())
		m, err := c.Receive(ctx)
		require.NoError(t, err)
		require.Equal(t, `"m"`, string(m.Data))
		require.Equal(t, typ, m.Handle.Type())
		return m.Handle
	}

	h := receive(NetSocket, fdOf(t, w.here))
	rc, err := h.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFD, 0)
		require.NoError(t, err)
		require.NotZero(t, flags&unix.FD_CLOEXEC, "a child would inherit it")
	}))
	require.Error(t, rc.Read(func(uintptr) bool { return true }))
	require.Error(t, rc.Write(func(uintptr) bool { return true }))
	f, err := h.File()
	require.NoError(t, err)
	require.ErrorIs(t, rc.Control(func(uintptr) { t.Error("called") }), ErrNoHandle)
	_, err = h.File()
	require.ErrorIs(t, err, ErrNoHandle)
	_, err = io.WriteString(f, "from a file")
	require.NoError(t, err)
	require.NoError(t, f.SetReadDeadline(time.Now().Add(-1)), "it cannot be waited for")
	require.NoError(t, f.Close())
	got := make([]byte, 11)
	_, err = io.ReadFull(w.there, got)
	require.NoError(t, err)
	require.Equal(t, "from a file", string(got))

	// In blocking mode, as a peer that is not Node may send it.
	one, blocking, err := fdconn.Pair()
	require.NoError(t, err)
	mine := received(one, envelope{typ: NetSocket})
	far, err := mine.Conn()
	require.NoError(t, err)
	defer far.Close()
	conn, err := receive(NetSocket, blocking).Conn()
	unix.Close(blocking)
	require.NoError(t, err)
	defer conn.Close()
	carries(t, conn, far)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(-time.Second)))
	_, err = conn.Read(got)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	// Bound, but not listening: what cluster sends under SCHED_NONE.
	bound, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(bound, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	h = receive(NetNative, bound)
	unix.Close(bound)
	ln, err := h.Listener()
	require.NoError(t, err)
	defer ln.Close()
	there, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer there.Close()
	here, err := ln.Accept()
	require.NoError(t, err)
	defer here.Close()
	carries(t, here, there)

	// Nothing that can be taken over.
	h = receive(NetServer, fdOf(t, w.here))
	_, err = h.Listener()
	require.Error(t, err, "a connection does not listen")
	require.NoError(t, h.Close())
	require.NoError(t, h.Close())
}

// No method of a nil Handle panics.
func TestNilHandle(t *testing.T) {
	testkit.CheckLeaks(t)
	var h *Handle
	require.Empty(t, h.Type())
	require.NoError(t, h.Close())
	_, err := h.Conn()
	require.ErrorIs(t, err, ErrNoHandle)
	_, err = h.Listener()
	require.ErrorIs(t, err, ErrNoHandle)
	_, err = h.File()
	require.ErrorIs(t, err, ErrNoHandle)
	_, err = h.SyscallConn()
	require.ErrorIs(t, err, ErrNoHandle)
}

// Descriptors belong to the frames in their order, whatever reads they come in.
func TestDescriptorsAreTakenInOrder(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(t *testing.T, p *rawPeer, a, b int)
	}{
		{"plain messages and a handle in one read", func(t *testing.T, p *rawPeer, a, b int) {
			p.send("\"plain\"\n{}\n")
			p.sendFD(frame(NetSocket, `"a"`)+"\n", a)
			p.sendFD(frame(NetSocket, `"b"`)+"\n", b)
		}},
		{"both descriptors on one frame", func(t *testing.T, p *rawPeer, a, b int) {
			p.sendFD("\"plain\"\n{}\n"+frame(NetSocket, `"a"`)+"\n"+frame(NetSocket, `"b"`)+"\n", a, b)
		}},
		{"descriptors before their frames", func(t *testing.T, p *rawPeer, a, b int) {
			p.sendFD("\"pla", a)
			p.sendFD("in\"\n{", b)
			p.send("}\n" + frame(NetSocket, `"a"`) + "\n")
			p.send(frame(NetSocket, `"b"`) + "\n")
		}},
		{"descriptors on the last byte", func(t *testing.T, p *rawPeer, a, b int) {
			p.send("\"plain\"\n{}\n" + frame(NetSocket, `"a"`))
			p.sendFD("\n", a)
			p.send(frame(NetSocket, `"b"`))
			p.sendFD("\n", b)
		}},
		{"byte by byte", func(t *testing.T, p *rawPeer, a, b int) {
			for _, c := range "\"plain\"\n{}\n" {
				p.send(string(c))
			}
			for i, c := range frame(NetSocket, `"a"`) + "\n" {
				if i == 0 {
					p.sendFD(string(c), a)
				} else {
					p.send(string(c))
				}
			}
			p.sendFD(frame(NetSocket, `"b"`)+"\n", b)
		}},
	} {
		for _, early := range []bool{true, false} {
			name := test.name
			if early {
				name += ", all there before the first read"
			}
			t.Run(name, func(t *testing.T) {
				testkit.CheckLeaks(t)
				p, conn := rawSockets(t)
				a, b := tcpWire(t), unixWire(t)
				var c *Channel
				if !early {
					c = New(conn, nil)
				}
				test.send(t, p, fdOf(t, a.here), fdOf(t, b.here))
				if early {
					c = New(conn, nil)
				}
				defer c.Close()
				require.Equal(t, `"plain"`, text(t, c))
				require.Equal(t, `{}`, text(t, c))
				for want, w := range map[string]wire{`"a"`: a} {
					takes(t, c, want, w)
				}
				takes(t, c, `"b"`, b)
				require.Equal(t, ack, p.line())
				require.Equal(t, ack, p.line())
				require.NoError(t, c.Disconnect(limited(t)))
				p.end()
			})
		}
	}
}

// takes receives a message with a handle, which must be one end of w.
func takes(t testing.TB, c *Channel, want string, w wire) {
	t.Helper()
	m, err := c.Receive(limited(t))
	require.NoError(t, err)
	require.Equal(t, want, string(m.Data))
	conn, err := m.Handle.Conn()
	require.NoError(t, err)
	defer conn.Close()
	carries(t, conn, w.there)
}

// A frame that Node has wrapped again because it sent the handle anew: one message, one descriptor, one answer. Two
// answers could end a Node peer.
func TestWrappedHandleFrame(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	inner := `{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"h1","key":"4:127.0.0.1:0"}`
	p.sendFD(frame(NetNative, frame(NetNative, inner))+"\n", fdOf(t, w.here))
	m, err := c.Receive(limited(t))
	require.NoError(t, err)
	require.Equal(t, `"h1"`, string(m.Data))
	require.Equal(t, NetSocket, m.Handle.Type())
	conn, err := m.Handle.Conn()
	require.NoError(t, err)
	defer conn.Close()
	carries(t, conn, w.there)
	require.Equal(t, ack, p.line())
	require.NoError(t, c.Disconnect(limited(t)))
	p.end()
}

// Spellings of the frame that no Node uses, but JSON allows.
func TestHandleFrameSpelledOtherwise(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	for _, test := range []struct {
		line, data string
		typ        HandleType
	}{
		{`{"msg":{"a":1},"type":"net.Socket","cmd":"NODE_HANDLE"}`, `{"a":1}`, NetSocket},
		{" { \"cmd\" : \"NODE_HANDLE\" , \"type\" : \"net.Socket\" , \"msg\" : [ 1 ] } \r", `[ 1 ]`, NetSocket},
		{`{"\u0063md":"NODE\u005fHANDLE","\u0074ype":"net\u002eSocket","m\u0073g":0}`, `0`, NetSocket},
		{`{"cmd":"user","cmd":"NODE_HANDLE","type":"x","type":"net.Native","msg":1,"msg":2}`, `2`, NetNative},
		{`{"cmd":"NODE_HANDLE"}`, `null`, ""},
		{`{"cmd":"NODE_HANDLE","type":7,"msg":"m"}`, `"m"`, ""},
		{`{"cmd":"NODE_HANDLE","type":"dgram.Native","msg":"m"}`, `"m"`, "dgram.Native"},
		{`{"cmd":"NODE_HANDLE","type":"never.Heard","msg":{"cmd":"NODE_"}}`, `{"cmd":"NODE_"}`, "never.Heard"},
	} {
		p.sendFD(test.line+"\n", fdOf(t, w.here))
		m, err := c.Receive(limited(t))
		require.NoError(t, err)
		require.Equal(t, test.data, string(m.Data))
		require.Equal(t, test.typ, m.Handle.Type())
		require.NoError(t, m.Handle.Close())
		require.Equal(t, ack, p.line())
	}
	require.NoError(t, c.Disconnect(limited(t)))
	p.end()
}

// An internal message may have a handle too: cluster's have.
func TestInternalMessageWithHandle(t *testing.T) {
	testkit.CheckLeaks(t)
	got := make(chan *Message, 2)
	c, p := raw(t, &Options{Internal: func(m *Message) { got <- m }})
	w := newWire(t)
	p.sendFD(frame(NetNative, `{"cmd":"NODE_CLUSTER","act":"newconn"}`)+"\n", fdOf(t, w.here))
	require.Equal(t, ack, p.line())
	m := <-got
	require.Equal(t, `{"cmd":"NODE_CLUSTER","act":"newconn"}`, string(m.Data))
	conn, err := m.Handle.Conn()
	require.NoError(t, err)
	defer conn.Close()
	carries(t, conn, w.there)

	result := outcome(t, "SendHandle", func() error {
		return c.SendHandle(limited(t), Internal{map[string]string{"cmd": "NODE_CLUSTER"}}, w.there)
	})
	require.Equal(t, ourFrame(NetSocket, `{"cmd":"NODE_CLUSTER"}`), p.line())
	p.handle()
	p.send(ack + "\n")
	require.NoError(t, result())
}

// Nobody asked for internal messages: their handles are closed all the same.
func TestInternalMessageWithHandleNobodyWants(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	p.sendFD(frame(NetNative, `{"cmd":"NODE_CLUSTER","act":"newconn"}`)+"\n", fdOf(t, w.here))
	require.NoError(t, w.here.Close())
	require.Equal(t, ack, p.line())
	_, err := w.there.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.NoError(t, c.Err())
}

// ------------------------------------------------------------------------------------------- handles nobody takes

func TestUnclaimedHandlesAreClosed(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(t *testing.T, c *Channel, p *rawPeer)
	}{
		{"by Close", func(t *testing.T, c *Channel, p *rawPeer) { require.NoError(t, c.Close()) }},
		{"by Values", func(t *testing.T, c *Channel, p *rawPeer) {
			for s, err := range Values[string](limited(t), c) {
				require.NoError(t, err)
				require.Equal(t, "m", s)
				break
			}
		}},
		{"by Handle.Close", func(t *testing.T, c *Channel, p *rawPeer) {
			m, err := c.Receive(limited(t))
			require.NoError(t, err)
			require.NoError(t, m.Handle.Close())
		}},
		{"by DropOldest", func(t *testing.T, c *Channel, p *rawPeer) { p.send("1\n") }},
		{"by the garbage collector", func(t *testing.T, c *Channel, p *rawPeer) {
			m, err := c.Receive(limited(t))
			require.NoError(t, err)
			require.NotNil(t, m.Handle)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			c, p := raw(t, &Options{Overflow: DropOldest, Backlog: 1})
			w := newWire(t)
			p.sendFD(frame(NetSocket, `"m"`)+"\n", fdOf(t, w.here))
			require.NoError(t, w.here.Close())
			require.Equal(t, ack, p.line())
			test.do(t, c, p)
			closed := outcome(t, "the end of the socket", func() error {
				_, err := w.there.Read(make([]byte, 1))
				return err
			})
			stop := make(chan struct{})
			var collecting sync.WaitGroup
			if strings.Contains(test.name, "collector") {
				collecting.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
							runtime.GC()
						}
					}
				})
			}
			err := closed()
			close(stop)
			collecting.Wait()
			require.Equal(t, io.EOF, err)
		})
	}
}

// What came before an orderly end can still be received, with its handle.
func TestHandleReceivedAfterTheEnd(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	p.sendFD(frame(NetSocket, `"m"`)+"\n", fdOf(t, w.here))
	require.Equal(t, ack, p.line())
	p.close()
	ended(t, c.Done(), "Done")
	takes(t, c, `"m"`, w)
	noMore(t, c)
}

// More handles than may wait: reading pauses, none is lost.
func TestManyUnreceivedHandles(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	w := newWire(t)
	const n = 3 * maxHandles
	var answered sync.WaitGroup
	answered.Add(n)
	for i := range n {
		require.NoError(t, a.QueueHandle(i, w.here, func(err error) {
			assert.NoError(t, err)
			answered.Done()
		}))
	}
	until(t, b, "reading pauses", func() bool { return b.paused })
	b.mu.Lock()
	require.LessOrEqual(t, b.queue.handles, maxHandles+1)
	b.mu.Unlock()
	for i := range n {
		m, err := b.Receive(limited(t))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), string(m.Data))
		require.NoError(t, m.Handle.Close())
	}
	require.NoError(t, a.Disconnect(limited(t)))
	outcome(t, "the last answers", func() int { answered.Wait(); return 0 })() // may come just after
}

// ------------------------------------------------------------------------------------------- answers

// A handle that did not arrive is answered by one NODE_HANDLE_NACK, and the next is well.
func TestHandleWithoutDescriptor(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	p.send("1\n" + frame(NetSocket, `"lost"`) + "\n2\n")
	require.Equal(t, nack, p.line())
	p.sendFD(frame(NetSocket, `"there"`)+"\n", fdOf(t, w.here))
	require.Equal(t, ack, p.line())
	require.Equal(t, "1", text(t, c))
	require.Equal(t, "2", text(t, c))
	takes(t, c, `"there"`, w)
	require.NoError(t, c.Disconnect(limited(t)))
	p.end()
}

// What is sent after a handle waits for the answer, but for our own answers, which the peer may be waiting for.
func TestMessagesWaitBehindHandle(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	ctx := limited(t)
	first, second := make(chan error, 1), make(chan error, 1)
	send(t, c, "before")
	require.NoError(t, c.QueueHandle("first", w.here, func(err error) { first <- err }))
	send(t, c, "between 1")
	send(t, c, "between 2")
	require.NoError(t, c.QueueHandle("second", w.there, func(err error) { second <- err }))
	send(t, c, "after")
	require.Equal(t, `"before"`, p.line())
	require.Equal(t, ourFrame(NetSocket, `"first"`), p.line())
	p.handle()
	flushing := outcome(t, "Flush", func() error { return c.Flush(ctx) })

	// Our answer to a handle of the peer's overtakes what waits.
	p.sendFD(frame(NetSocket, `"theirs"`)+"\n", fdOf(t, w.here))
	require.Equal(t, ack, p.line())
	takes(t, c, `"theirs"`, w)

	p.send(ack + "\n")
	require.NoError(t, <-first)
	require.Equal(t, `"between 1"`, p.line())
	require.Equal(t, `"between 2"`, p.line())
	require.Equal(t, ourFrame(NetSocket, `"second"`), p.line())
	p.handle()
	p.send(frame(NetSocket, `"none"`) + "\n")
	require.Equal(t, nack, p.line())
	p.send(ack + "\n")
	require.NoError(t, <-second)
	require.Equal(t, `"after"`, p.line())
	require.NoError(t, flushing())
	require.NoError(t, c.Disconnect(ctx))
	p.end()
}

// After NODE_HANDLE_NACK the same frame goes out again, with its descriptor, three times at the most.
func TestHandleIsSentAgain(t *testing.T) {
	for _, nacks := range []int{0, 1, 3, 4} {
		t.Run(fmt.Sprintf("%d times not received", nacks), func(t *testing.T) {
			testkit.CheckLeaks(t)
			c, p := raw(t, nil)
			w := newWire(t)
			ctx := limited(t)
			result := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, "h", w.here) })
			for i := range min(nacks+1, maxTries) {
				require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
				require.Equal(t, inode(t, fdOf(t, w.here)), inode(t, p.handle()))
				if i == 0 {
					send(t, c, "behind it")
				}
				if i < nacks {
					p.send(nack + "\n")
				} else {
					p.send(ack + "\n")
				}
			}
			if nacks < maxTries {
				require.NoError(t, result())
			} else {
				err := result()
				require.ErrorIs(t, err, ErrHandleNotReceived)
				require.ErrorContains(t, err, "4 times")
			}
			require.Equal(t, `"behind it"`, p.line())
			require.NoError(t, c.Err())
			require.NoError(t, c.Disconnect(ctx))
			p.end()
		})
	}
}

// Answers to nothing are ignored, even if they come while a handle waits to be sent.
func TestUnsolicitedAnswers(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	p.send(ack + "\n" + nack + "\n" + ack + "\n1\n")
	require.Equal(t, "1", text(t, c))
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(limited(t), "h", w.here) })
	require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
	p.handle()
	p.send(ack + "\n" + ack + "\n" + nack + "\n")
	require.NoError(t, result())
	require.NoError(t, c.Disconnect(limited(t)))
	p.end()
}

func TestSendHandleGivenUp(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)

	// Before it is sent, because ctx has ended already, or another handle is in flight.
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	err := c.SendHandle(gone, "never", w.here)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrHandleUnconfirmed)

	require.NoError(t, c.QueueHandle("first", w.here, nil))
	require.Equal(t, ourFrame(NetSocket, `"first"`), p.line())
	p.handle()
	ctx, cancel := context.WithCancel(context.Background())
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, "never either", w.here) })
	until(t, c, "it is queued", func() bool { return len(c.hand.queue) == 1 })
	send(t, c, "after it")
	cancel()
	err = result()
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrHandleUnconfirmed)
	p.send(ack + "\n")
	require.Equal(t, `"after it"`, p.line())

	// Before it is sent, because the socket is full.
	t.Run("behind a full socket", func(t *testing.T) {
		p, conn := rawSockets(t)
		n := fill(t, conn)
		c := New(conn, nil)
		defer c.Close()
		ctx, cancel := context.WithCancel(context.Background())
		result := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, "never", w.here) })
		until(t, c, "the frame waits", func() bool { return c.writing && !c.hand.idle() && c.hand.first() == nil })
		cancel()
		err := result()
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrHandleUnconfirmed)
		send(t, c, "after it")
		for range n {
			require.Equal(t, "0", p.line())
		}
		require.Equal(t, `"after it"`, p.line())
		require.NoError(t, c.Disconnect(limited(t)))
		p.end()
	})

	// After it is sent: the peer may have it, and what follows still waits for the answer.
	ctx, cancel = context.WithCancel(context.Background())
	result = outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, "sent", w.here) })
	require.Equal(t, ourFrame(NetSocket, `"sent"`), p.line())
	p.handle()
	cancel()
	err = result()
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, ErrHandleUnconfirmed)
	send(t, c, "behind")
	p.send(frame(NetSocket, `"none"`) + "\n")
	require.Equal(t, nack, p.line(), "the answer comes before what waits")
	p.send(ack + "\n")
	require.Equal(t, `"behind"`, p.line())
	require.NoError(t, c.Disconnect(limited(t)))
	p.end()
}

// What waited behind a handle and has been sent is not kept.
func TestSentBehindHandleIsFreed(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	require.NoError(t, c.QueueHandle("h", newWire(t).here, nil))
	require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
	p.handle()
	for range 3 {
		send(t, c, "behind")
	}
	var waiting []weak.Pointer[outgoing]
	c.mu.Lock()
	for _, o := range c.hand.queue {
		waiting = append(waiting, weak.Make(o))
	}
	c.mu.Unlock()
	require.Len(t, waiting, 3)
	p.send(ack + "\n")
	for range waiting {
		require.Equal(t, `"behind"`, p.line())
	}
	until(t, c, "nothing is written", func() bool { return !c.writing })
	runtime.GC()
	for _, o := range waiting {
		require.Nil(t, o.Value())
	}
	require.NoError(t, c.Disconnect(limited(t)))
	p.end()
}

// A frame that has to wait for room in the socket goes out once there is some, at whatever moment that comes.
func TestHandleBehindFullSocket(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	big := strings.Repeat("x", 300<<10)
	for range 50 {
		send(t, c, big)
		answered := make(chan error, 1)
		require.NoError(t, c.QueueHandle("h", w.here, func(err error) { answered <- err }))
		require.Len(t, p.line(), len(big)+2)
		require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
		p.handle()
		p.send(ack + "\n")
		require.NoError(t, <-answered)
	}
}

// The outcomes of QueueHandle come in order, each once.
func TestQueueHandle(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "echo.js", "--wrap")
	const n = 20
	w := newWire(t)
	closed := newWire(t)
	type result struct {
		n   int
		err error
	}
	results := make(chan result, 2*n)
	for i := range n {
		h := w.here
		if i == 7 {
			h = closed.here
		}
		require.NoError(t, p.QueueHandle(i, h, func(err error) { results <- result{i, err} }))
	}
	require.NoError(t, closed.here.Close()) // before its turn, as Node has not even started
	for i := range n {
		r := <-results
		require.Equal(t, i, r.n)
		if i == 7 {
			require.ErrorContains(t, r.err, "nodeipc: send handle: ")
			require.ErrorContains(t, r.err, "use of closed")
			continue
		}
		require.NoError(t, r.err)
		require.Equal(t, fmt.Sprintf(`{"echo":%d,"handle":"Socket"}`, i), text(t, p.Channel))
	}
	require.NoError(t, p.Disconnect(limited(t)))
	require.NoError(t, p.wait())
	require.Empty(t, results)
}

// done may send, in any amount: it is called from the goroutine that reads, which must not wait for what it reads.
func TestDoneMaySend(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	big := strings.Repeat("x", maxPending/2)
	finished := make(chan error, 10)
	require.NoError(t, c.QueueHandle("first", w.here, func(err error) {
		for range 4 {
			err = errors.Join(err, c.Send(context.Background(), big))
		}
		err = errors.Join(err, c.QueueHandle("third", w.here, func(err error) { finished <- err }))
		finished <- err
	}))
	require.NoError(t, c.QueueHandle("second", w.here, func(err error) { finished <- err }))
	send(t, c, big) // waits behind the second
	send(t, c, big)
	require.Equal(t, ourFrame(NetSocket, `"first"`), p.line())
	p.send(ack + "\n")
	require.Equal(t, ourFrame(NetSocket, `"second"`), p.line())
	p.send(ack + "\n")
	for range 6 {
		require.Equal(t, len(big)+2, len(p.line()))
	}
	require.Equal(t, ourFrame(NetSocket, `"third"`), p.line())
	p.send(ack + "\n")
	for range 3 {
		require.NoError(t, <-finished)
	}
}

// A handle that was closed before its turn fails alone.
func TestHandleClosedBeforeItIsSent(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w, closed := newWire(t), newWire(t)
	ctx := limited(t)
	require.NoError(t, c.QueueHandle("first", w.here, nil))
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, "never", closed.here) })
	until(t, c, "it is queued", func() bool { return len(c.hand.queue) == 1 })
	send(t, c, "after it")
	require.NoError(t, closed.here.Close())
	require.Equal(t, ourFrame(NetSocket, `"first"`), p.line())
	p.handle()
	p.send(ack + "\n")
	err := result()
	require.ErrorContains(t, err, "use of closed")
	require.NotErrorIs(t, err, ErrHandleUnconfirmed)
	require.NotErrorIs(t, err, ErrDisconnected)
	require.Equal(t, `"after it"`, p.line())
	require.NoError(t, c.Flush(ctx))
	require.NoError(t, c.Disconnect(ctx))
	p.end()
}

// SendHandle that is given up at any moment: what was sent arrives, what was not does not, in order and with its socket.
func TestSendHandleShortTimeouts(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	w := newWire(t)
	want := inode(t, fdOf(t, w.here))
	ctx := limited(t)
	const n = 1000
	arrived := make(map[int]bool)
	receiving := outcome(t, "the messages", func() error {
		last := -1
		for m, err := range b.Messages(ctx) {
			if err != nil {
				return err
			}
			var i int
			if err := m.Decode(&i); err != nil {
				return err
			}
			if i <= last {
				return fmt.Errorf("%d came after %d", i, last)
			}
			if m.Handle == nil != (i%3 != 0) {
				return fmt.Errorf("%d came with %v", i, m.Handle)
			}
			if m.Handle != nil && inode(t, m.Handle.fd) != want {
				return fmt.Errorf("%d came with another socket", i)
			}
			m.Handle.Close()
			last, arrived[i] = i, true
		}
		return nil
	})
	outcomes := make(map[int]error)
	for i := range n {
		short, cancel := context.WithTimeout(ctx, time.Duration(i%150)*time.Microsecond)
		if i%3 == 0 {
			outcomes[i] = a.SendHandle(short, i, w.here)
		} else {
			outcomes[i] = a.Send(short, i)
		}
		cancel()
	}
	require.NoError(t, a.Disconnect(ctx))
	require.NoError(t, receiving())
	unconfirmed, never := 0, 0
	for i, err := range outcomes {
		switch {
		case err == nil:
			require.True(t, arrived[i], "%d was lost", i)
		case errors.Is(err, ErrHandleUnconfirmed):
			require.True(t, arrived[i], "%d was lost, as nothing ended before it could be written", i)
			unconfirmed++
		default:
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.False(t, arrived[i], "%d was sent although %v", i, err)
			never++
		}
	}
	t.Logf("%d unconfirmed, %d not sent", unconfirmed, never)
}

func TestHandleTimeout(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, &Options{HandleTimeout: 20 * time.Millisecond})
	w := newWire(t)
	queued := make(chan error, 1)
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(limited(t), "h", w.here) })
	require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
	p.handle()
	if c.QueueHandle("behind", w.here, func(err error) { queued <- err }) == nil {
		err := <-queued
		require.ErrorIs(t, err, ErrDisconnected)
		require.NotErrorIs(t, err, ErrHandleUnconfirmed)
	}
	require.ErrorIs(t, result(), ErrHandleUnconfirmed)
	ended(t, c.Done(), "Done")
	require.ErrorIs(t, c.Err(), ErrHandleTimeout)
	_, err := c.Receive(limited(t))
	require.ErrorIs(t, err, ErrHandleTimeout)
	p.end()
}

// A peer that does not even read what came before is late, too.
func TestHandleTimeoutOfPeerThatDoesNotRead(t *testing.T) {
	testkit.CheckLeaks(t)
	c, _ := raw(t, &Options{HandleTimeout: 20 * time.Millisecond})
	send(t, c, "before")
	require.ErrorIs(t, c.SendHandle(limited(t), "h", newWire(t).here), ErrDisconnected)
	ended(t, c.Done(), "Done")
	require.ErrorIs(t, c.Err(), ErrHandleTimeout)
}

// The time runs anew when the handle is sent anew, and not at all when it was answered.
func TestHandleTimeoutIsForOneAnswer(t *testing.T) {
	testkit.CheckLeaks(t)
	const limit = time.Second // two thirds of it are what a busy machine may take from us
	c, p := raw(t, &Options{HandleTimeout: limit})
	w := newWire(t)
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(limited(t), "h", w.here) })
	for i := range maxTries {
		require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
		p.handle()
		time.Sleep(limit / 3) // this long takes the peer for an answer; three such are too much for one
		if i < maxTries-1 {
			p.send(nack + "\n")
		}
	}
	p.send(ack + "\n")
	require.NoError(t, result())
	time.Sleep(limit + limit/3)
	require.NoError(t, c.Err())
}

// Of several handles in flight each has its own time, and its own outcome.
func TestHandleTimeoutOfOneOfSeveral(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, &Options{HandleTimeout: 500 * time.Millisecond, HandlesInFlight: 2})
	w := newWire(t)
	results := make([]chan error, 4)
	for i := range results {
		results[i] = make(chan error, 1)
		require.NoError(t, c.QueueHandle(i, w.here, func(err error) { results[i] <- err }))
	}
	next := func(i int) {
		t.Helper()
		require.Equal(t, ourFrame(NetSocket, fmt.Sprint(i)), p.line())
		p.handle()
	}
	next(0)
	p.send(ack + "\n")
	next(1)
	next(2)
	p.send(ack + "\n")
	next(3)
	p.end()
	require.NoError(t, <-results[0])
	require.NoError(t, <-results[1])
	require.ErrorIs(t, <-results[2], ErrHandleUnconfirmed)
	require.ErrorIs(t, <-results[3], ErrHandleUnconfirmed)
	require.ErrorIs(t, c.Err(), ErrHandleTimeout)
}

// An answer that has come, but waits behind messages that nobody receives, is not late; nor is it in the moment after.
func TestHandleTimeoutWhenNobodyReceives(t *testing.T) {
	testkit.CheckLeaks(t)
	const limit = 400 * time.Millisecond // so much may a busy machine take from us after the sleep
	for i := range 5 {
		c, p := raw(t, &Options{HandleTimeout: limit, Backlog: 1})
		w := newWire(t)
		p.send("1\n2\n")
		until(t, c, "reading pauses", func() bool { return c.paused })
		answered := make(chan error, 1)
		require.NoError(t, c.QueueHandle("h", w.here, func(err error) { answered <- err }))
		require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
		p.handle()
		p.send(ack + "\n")
		time.Sleep(2*limit - time.Duration(1+i)*time.Millisecond) // longer than the peer may take, and once more almost so
		require.Equal(t, "1", text(t, c))
		require.Equal(t, "2", text(t, c))
		require.NoError(t, <-answered)
		require.NoError(t, c.Disconnect(limited(t)))
	}
}

// Two peers that send a handle at the same time, with nobody receiving: each answers while it waits.
func TestHandlesBothWaysNobodyReceives(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	w := newWire(t)
	ctx := limited(t)
	for range 50 {
		one := outcome(t, "SendHandle", func() error { return a.SendHandle(ctx, "to b", w.here) })
		other := outcome(t, "SendHandle", func() error { return b.SendHandle(ctx, "to a", w.there) })
		require.NoError(t, one())
		require.NoError(t, other())
		takes(t, b, `"to b"`, w)
		takes(t, a, `"to a"`, wire{w.there, w.here})
	}
}

// A handle at the end: Disconnect waits for the answer, and a real Node has it.
func TestDisconnectAfterHandle(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "-e", `process.on('message', (m, handle) => {
		if (handle) handle.end(m);
		else process.on('disconnect', () => process.exit(m));
	});`)
	w := newWire(t)
	ctx := limited(t)
	answered := make(chan error, 1)
	require.NoError(t, p.QueueHandle("for the socket", w.here, func(err error) { answered <- err }))
	send(t, p.Channel, 5) // the exit code
	require.NoError(t, p.Disconnect(ctx))
	require.NoError(t, <-answered)
	require.NoError(t, w.here.Close())
	require.Equal(t, "for the socket", all(t, w.there))
	p.wait()
	require.Equal(t, 5, p.cmd.ProcessState.ExitCode())
}

// The same with the peer's eyes: the handle, what waits behind it, and then the end.
func TestDisconnectWaitsForAnswer(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	require.NoError(t, c.QueueHandle("h", w.here, nil))
	send(t, c, "behind it")
	result := outcome(t, "Disconnect", func() error { return c.Disconnect(limited(t)) })
	require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
	p.handle()
	p.send(ack + "\n")
	require.Equal(t, `"behind it"`, p.line())
	require.NoError(t, result())
	p.end()
}

// A peer that goes away instead of answering.
func TestHandleUnconfirmedAtTheEnd(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(limited(t), "h", w.here) })
	require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
	p.handle()
	queued := make(chan error, 1)
	require.NoError(t, c.QueueHandle("behind it", w.here, func(err error) { queued <- err }))
	p.close()
	err := result()
	require.ErrorIs(t, err, ErrHandleUnconfirmed)
	require.ErrorIs(t, err, ErrDisconnected)
	err = <-queued
	require.NotErrorIs(t, err, ErrHandleUnconfirmed)
	require.ErrorIs(t, err, ErrDisconnected)
	require.ErrorIs(t, c.Err(), ErrDisconnected, "something that was sent is lost")
}

// Node's server.close waits until the sockets that it gave away are closed; for us they are as soon as we have them.
func TestSocketListQuestions(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	for question, answer := range map[string]string{
		`{"cmd":"NODE_SOCKET_GET_COUNT","key":"4:127.0.0.1:0"}`:    `{"cmd":"NODE_SOCKET_COUNT","key":"4:127.0.0.1:0","count":0}`,
		`{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"-1:/tmp/u:-1"}`:  `{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"-1:/tmp/u:-1"}`,
		` { "key" : "a\"b" , "cmd" : "NODE_SOCKET_NOTIFY_CLOSE" }`: `{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"a\"b"}`,
		// Deno's
		`{"cmd":"NODE_SOCKET_GET_COUNT","key":"socket-list:1","id":1}`:    `{"cmd":"NODE_SOCKET_COUNT","key":"socket-list:1","id":1,"count":0}`,
		`{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"socket-list:1","id":2}`: `{"cmd":"NODE_SOCKET_CLOSE_ACK","key":"socket-list:1","id":2}`,
	} {
		p.send(question + "\n")
		require.Equal(t, answer, p.line())
	}
	p.send(`{"cmd":"NODE_SOCKET_GET_COUNT"}` + "\n1\n") // about nothing: no answer
	require.Equal(t, "1", text(t, c))
	require.NoError(t, c.Disconnect(limited(t)))
	p.end()
}
