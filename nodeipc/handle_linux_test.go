package nodeipc

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A descriptor that this process has no room for is one that did not arrive. The others keep their places.
func TestNoRoomForDescriptor(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	fd := fdOf(t, w.here)
	p.sendFD(frame(NetSocket, `"first"`)+"\n", fd)
	require.Equal(t, ack, p.line())
	takes(t, c, `"first"`, w)

	func() {
		var limit unix.Rlimit
		require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
		free := dup(t, w.here) // the lowest number that is free
		unix.Close(free)
		low := limit
		low.Cur = uint64(free)
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
		defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
		p.sendFD(frame(NetSocket, `"lost"`)+"\n", fd)
		require.Equal(t, nack, p.line())
	}()
	p.sendFD(frame(NetSocket, `"again"`)+"\n", fd)
	require.Equal(t, ack, p.line())
	takes(t, c, `"again"`, w)
	require.NoError(t, c.Disconnect(limited(t)))
	p.end()
}

// A handle waits until the peer has read what was sent before it; until then it can be taken back, and its time with it.
func TestHandleWaitsForTheReader(t *testing.T) {
	testkit.CheckLeaks(t)
	const limit = time.Second
	c, p := raw(t, &Options{HandleTimeout: limit})
	w := newWire(t)
	send(t, c, "before")
	ctx, cancel := context.WithCancel(limited(t))
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, "taken back", w.here) })
	until(t, c, "its time is counted", func() bool { return c.timer != nil })
	cancel()
	err := result()
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrHandleUnconfirmed)
	time.Sleep(limit + limit/10)
	require.NoError(t, c.Err())

	result = outcome(t, "SendHandle", func() error { return c.SendHandle(limited(t), "h", w.here) })
	require.True(t, p.read())
	require.Equal(t, "\"before\"\n", string(p.in))
	require.Equal(t, `"before"`, p.line())
	require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
	p.handle()
	p.send(ack + "\n")
	require.NoError(t, result())
}

// The quick question tells nothing wrong of any socket.
func TestTCPState(t *testing.T) {
	testkit.CheckLeaks(t)
	state := func(v any) (s socketState) {
		rc, err := v.(syscall.Conn).SyscallConn()
		require.NoError(t, err)
		require.NoError(t, rc.Control(func(fd uintptr) { s = tcpState(int(fd)) }))
		return s
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	require.Equal(t, stateListening, state(ln))

	w := tcpWire(t)
	require.Equal(t, stateConnected, state(w.here))
	require.NoError(t, w.there.(*net.TCPConn).CloseWrite())
	_, err = w.here.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.Equal(t, stateConnected, state(w.here))
	w = tcpWire(t)
	require.NoError(t, w.there.(*net.TCPConn).SetLinger(0))
	require.NoError(t, w.there.Close())
	_, err = w.here.Read(make([]byte, 1))
	require.ErrorIs(t, err, unix.ECONNRESET)
	require.Equal(t, stateIdle, state(w.here))

	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	require.Equal(t, stateIdle, state(udp))
	require.Equal(t, stateIdle, state(unixWire(t).here))
	r, pipe, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer pipe.Close()
	require.Equal(t, stateIdle, state(r))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.Equal(t, stateIdle, tcpState(fd))
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.Equal(t, stateIdle, tcpState(fd))
}
