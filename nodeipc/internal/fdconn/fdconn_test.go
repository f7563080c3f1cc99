//go:build unix

package fdconn

import (
	"bytes"
	"errors"
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

func TestMain(m *testing.M) { testkit.Main(m) }

const patience = time.Minute

// conns returns two connected Conns, made in the two ways there are.
func conns(t *testing.T) (a, b *Conn) {
	t.Helper()
	one, other, err := Pair()
	require.NoError(t, err)
	a, err = FromFD(one)
	require.NoError(t, err)
	t.Cleanup(func() { a.Close() })
	require.NoError(t, unix.SetNonblock(other, true))
	f := os.NewFile(uintptr(other), "other")
	conn, err := net.FileConn(f)
	f.Close()
	require.NoError(t, err)
	b, err = New(conn.(*net.UnixConn))
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return a, b
}

// read reads once.
func read(t *testing.T, c *Conn, size int) (string, []int) {
	t.Helper()
	buf := make([]byte, size)
	n, fds, lost, err := c.Read(buf)
	require.NoError(t, err)
	require.False(t, lost)
	for _, fd := range fds {
		t.Cleanup(func() { unix.Close(fd) })
	}
	return string(buf[:n]), append([]int(nil), fds...)
}

// newSocket returns a connection and access to its descriptor.
func newSocket(t *testing.T) (net.Conn, syscall.RawConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	rc, err := conn.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	return conn, rc
}

func flags(t *testing.T, fd, cmd int) int {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), cmd, 0)
	require.NoError(t, err)
	return n
}

// inode tells sockets apart, however they are numbered.
func inode(t *testing.T, fd int) uint64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &st))
	return uint64(st.Ino)
}

func inodeOf(t *testing.T, rc syscall.RawConn) (n uint64) {
	t.Helper()
	require.NoError(t, rc.Control(func(fd uintptr) { n = inode(t, int(fd)) }))
	return n
}

func TestPair(t *testing.T) {
	testkit.CheckLeaks(t)
	ours, theirs, err := Pair()
	require.NoError(t, err)
	defer unix.Close(ours)
	defer unix.Close(theirs)
	for _, fd := range []int{ours, theirs} {
		require.NotZero(t, flags(t, fd, unix.F_GETFD)&unix.FD_CLOEXEC)
	}
	require.NotZero(t, flags(t, ours, unix.F_GETFL)&unix.O_NONBLOCK)
	require.Zero(t, flags(t, theirs, unix.F_GETFL)&unix.O_NONBLOCK, "a child inherits it in blocking mode")
}

func TestBytes(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	for _, ends := range [][2]*Conn{{a, b}, {b, a}} {
		n, err := ends[0].TryWrite([]byte("hello"))
		require.NoError(t, err)
		require.Equal(t, 5, n)
		got, fds := read(t, ends[1], 3)
		require.Equal(t, "hel", got)
		require.Empty(t, fds)
		got, _ = read(t, ends[1], 100)
		require.Equal(t, "lo", got)
	}
	require.NoError(t, a.Close())
	_, _, _, err := b.Read(make([]byte, 10))
	require.Equal(t, io.EOF, err)
}

// TryWrite stops where the socket is full; Write waits for the reader, however large the text and the reads are.
func TestWriteToFullSocket(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	text := bytes.Repeat([]byte("0123456789abcdef"), 256<<10)
	n, err := a.TryWrite(text)
	require.Equal(t, ErrAgain, err)
	require.Positive(t, n)
	require.Less(t, n, len(text))
	again, err := a.TryWrite(text[n:])
	require.Equal(t, ErrAgain, err)
	require.Zero(t, again)

	written := make(chan error, 1)
	go func() {
		m, err := a.Write(text[n:])
		if err == nil && m != len(text)-n {
			err = io.ErrShortWrite
		}
		written <- err
	}()
	var got []byte
	buf := make([]byte, 300<<10)
	for len(got) < len(text) {
		n, _, _, err := b.Read(buf)
		require.NoError(t, err)
		got = append(got, buf[:n]...)
	}
	require.NoError(t, <-written)
	require.True(t, bytes.Equal(text, got))
}

func TestWaitWritable(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	text, buf := make([]byte, 4<<20), make([]byte, 1<<20)
	// At once, as the socket is writable already; and when it becomes so, before or after the waiting begins.
	require.NoError(t, a.WaitWritable())
	for range 200 {
		n, err := a.TryWrite(text)
		require.Equal(t, ErrAgain, err)
		waited := make(chan error, 1)
		go func() { waited <- a.WaitWritable() }()
		for n > 0 {
			got, _, _, err := b.Read(buf)
			require.NoError(t, err)
			n -= got
		}
		select {
		case err := <-waited:
			require.NoError(t, err)
		case <-time.After(patience):
			t.Fatal("the socket is empty, but WaitWritable waits")
		}
	}
}

func TestDescriptors(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	_, one := newSocket(t)
	_, other := newSocket(t)
	for _, h := range []syscall.RawConn{one, other} {
		n, err := a.TrySendFD([]byte("frame"), h)
		require.NoError(t, err)
		require.Equal(t, 5, n)
	}
	// The kernel does not merge what belongs to different descriptors.
	for _, h := range []syscall.RawConn{one, other} {
		got, fds := read(t, b, 100)
		require.Equal(t, "frame", got)
		require.Len(t, fds, 1)
		require.NotZero(t, flags(t, fds[0], unix.F_GETFD)&unix.FD_CLOEXEC)
		require.Equal(t, inodeOf(t, h), inode(t, fds[0]))
	}
	// The next read has none.
	_, err := a.TryWrite([]byte("plain"))
	require.NoError(t, err)
	got, fds := read(t, b, 100)
	require.Equal(t, "plain", got)
	require.Empty(t, fds)
}

// As many as one message can carry.
func TestManyDescriptors(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	_, h := newSocket(t)
	want := inodeOf(t, h)
	const n = 250
	require.NoError(t, a.rc.Control(func(fd uintptr) {
		require.NoError(t, h.Control(func(hfd uintptr) {
			fds := make([]int, n)
			for i := range fds {
				fds[i] = int(hfd)
			}
			require.NoError(t, unix.Sendmsg(int(fd), []byte("x"), unix.UnixRights(fds...), nil, 0))
		}))
	}))
	got, fds := read(t, b, 10)
	require.Equal(t, "x", got)
	require.Len(t, fds, n)
	for _, fd := range fds {
		require.Equal(t, want, inode(t, fd))
		require.NotZero(t, flags(t, fd, unix.F_GETFD)&unix.FD_CLOEXEC)
	}
}

func TestSendFDNonblocking(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	one, blocking, err := Pair()
	require.NoError(t, err)
	defer unix.Close(one)
	f := os.NewFile(uintptr(blocking), "blocking")
	defer f.Close()
	rc, err := f.SyscallConn()
	require.NoError(t, err)
	_, err = a.TrySendFD([]byte("x"), rc)
	require.NoError(t, err)
	_, fds := read(t, b, 10)
	require.Len(t, fds, 1)
	require.NotZero(t, flags(t, fds[0], unix.F_GETFL)&unix.O_NONBLOCK)
}

// A handle that is no good is not the connection's fault.
func TestSendFDFails(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	conn, h := newSocket(t)
	require.NoError(t, conn.Close())
	n, err := a.TrySendFD([]byte("never"), h)
	require.Zero(t, n)
	var bad *HandleError
	require.ErrorAs(t, err, &bad)
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = a.TryWrite([]byte("well"))
	require.NoError(t, err)
	got, fds := read(t, b, 10)
	require.Equal(t, "well", got)
	require.Empty(t, fds)

	// A full socket takes nothing of the frame, and so no descriptor.
	_, err = a.TryWrite(make([]byte, 4<<20))
	require.Equal(t, ErrAgain, err)
	_, h = newSocket(t)
	n, err = a.TrySendFD([]byte("frame"), h)
	require.Zero(t, n)
	require.Equal(t, ErrAgain, err)

	// The connection's own end.
	require.NoError(t, b.Close())
	_, err = a.TrySendFD([]byte("frame"), h)
	require.ErrorIs(t, err, unix.EPIPE)
	require.False(t, errors.As(err, &bad))
	require.NoError(t, a.Close())
	_, err = a.TrySendFD([]byte("frame"), h)
	require.ErrorIs(t, err, net.ErrClosed)
	require.False(t, errors.As(err, &bad))
}

func TestInterrupt(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	for _, c := range []*Conn{a, b} {
		read := make(chan error, 1)
		go func() {
			_, _, _, err := c.Read(make([]byte, 10))
			read <- err
		}()
		c.Interrupt()
		require.ErrorIs(t, <-read, os.ErrDeadlineExceeded)
		_, _, _, err := c.Read(make([]byte, 10))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "until Resume")
		c.Resume()
	}
	_, err := a.TryWrite([]byte("x"))
	require.NoError(t, err)
	got, _ := read(t, b, 10)
	require.Equal(t, "x", got)
}

// Close ends what waits.
func TestClose(t *testing.T) {
	testkit.CheckLeaks(t)
	a, _ := conns(t)
	results := make(chan error, 2)
	go func() {
		_, _, _, err := a.Read(make([]byte, 10))
		results <- err
	}()
	go func() {
		_, err := a.Write(make([]byte, 10<<20))
		results <- err
	}()
	require.NoError(t, a.Close())
	for range 2 {
		select {
		case err := <-results:
			require.ErrorIs(t, err, net.ErrClosed)
		case <-time.After(patience):
			t.Fatal("a call still waits")
		}
	}
	_, err := a.TryWrite([]byte("x"))
	require.Equal(t, net.ErrClosed, err)
	_, err = a.Write([]byte("x"))
	require.Equal(t, net.ErrClosed, err)
	_, _, _, err = a.Read(make([]byte, 1))
	require.Equal(t, net.ErrClosed, err)
	require.Equal(t, net.ErrClosed, a.WaitWritable())
}

// A peer that went away with our bytes unread has ended the stream all the same; writing to it is an error, and no
// signal.
func TestPeerIsGone(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	_, err := a.TryWrite([]byte("never read"))
	require.NoError(t, err)
	_, err = b.TryWrite([]byte("read"))
	require.NoError(t, err)
	require.NoError(t, b.Close())
	_, err = a.TryWrite([]byte("x"))
	require.ErrorIs(t, err, unix.EPIPE)
	_, err = a.Write([]byte("x"))
	require.ErrorIs(t, err, unix.EPIPE)
	buf := make([]byte, 10)
	n, _, _, err := a.Read(buf)
	if err == nil { // Linux tells of the reset first
		require.Equal(t, "read", string(buf[:n]))
		_, _, _, err = a.Read(buf)
	}
	require.Equal(t, io.EOF, err)
}

// Reading and writing cost no allocation.
func TestNoAllocation(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	text, buf := []byte("0123456789"), make([]byte, 100)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := a.TryWrite(text); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := b.Read(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Write(text); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := a.Read(buf); err != nil {
			t.Fatal(err)
		}
	}))
}
