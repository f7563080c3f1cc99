package fdconn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// Descriptors that this process has no room for are reported, and those that fit are not lost with them.
func TestLostDescriptors(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	_, h := newSocket(t)
	buf := make([]byte, 10)

	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	for room := range 3 {
		var free []int // the lowest numbers that are
		for range room + 1 {
			fd, err := unix.Dup(0)
			require.NoError(t, err)
			free = append(free, fd)
		}
		for _, fd := range free {
			require.NoError(t, unix.Close(fd))
		}
		require.NoError(t, a.rc.Control(func(fd uintptr) {
			require.NoError(t, h.Control(func(hfd uintptr) {
				rights := unix.UnixRights(int(hfd), int(hfd), int(hfd))
				require.NoError(t, unix.Sendmsg(int(fd), []byte("x"), rights, nil, 0))
			}))
		}))
		low := limit
		low.Cur = uint64(free[room])
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
		n, fds, lost, err := b.Read(buf)
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
		for _, fd := range fds {
			unix.Close(fd)
		}
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.True(t, lost)
		require.Len(t, fds, room)
	}
	_, err := a.TrySendFD([]byte("x"), h)
	require.NoError(t, err)
	_, fds := read(t, b, 10)
	require.Len(t, fds, 1)
}

// Whoever else holds the socket may ask the kernel for more control messages: descriptors of processes, which must not
// pile up here, and credentials. They take room from nothing that matters.
func TestOtherControlMessages(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	_, h := newSocket(t)
	require.NoError(t, b.rc.Control(func(fd uintptr) {
		require.NoError(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1))
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1); err != nil {
			t.Logf("SO_PASSPIDFD: %v", err) // before Linux 6.5
		}
	}))
	for range 10 {
		_, err := a.TryWrite([]byte("plain"))
		require.NoError(t, err)
		got, fds := read(t, b, 100)
		require.Equal(t, "plain", got)
		require.Empty(t, fds)
		_, err = a.TrySendFD([]byte("frame"), h)
		require.NoError(t, err)
		got, fds = read(t, b, 100)
		require.Equal(t, "frame", got)
		require.Len(t, fds, 1)
		require.Equal(t, inodeOf(t, h), inode(t, fds[0]))
	}
}

// A descriptor is not sent before the peer has read what was written earlier, so that it comes at the beginning of a
// read; and whoever waits for that learns of it, whenever it happens.
func TestDescriptorBeginsARead(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	_, h := newSocket(t)
	for range 500 {
		_, err := a.TryWrite([]byte("before"))
		require.NoError(t, err)
		_, err = a.TrySendFD([]byte("frame"), h)
		require.Equal(t, ErrAgain, err)
		waited := make(chan error, 1)
		go func() { waited <- a.WaitWritable() }()
		got, fds := read(t, b, 3)
		require.Equal(t, "bef", got)
		require.Empty(t, fds)
		got, _ = read(t, b, 10)
		require.Equal(t, "ore", got)
		select {
		case err := <-waited:
			require.NoError(t, err)
		case <-time.After(patience):
			t.Fatal("everything was read, but WaitWritable waits")
		}
		n, err := a.TrySendFD([]byte("frame"), h)
		require.NoError(t, err)
		require.Equal(t, 5, n)
		got, fds = read(t, b, 10)
		require.Equal(t, "frame", got)
		require.Len(t, fds, 1)
	}

	_, err := a.TryWrite([]byte("never read"))
	require.NoError(t, err)
	waited := make(chan error, 1)
	go func() { waited <- a.WaitWritable() }()
	require.NoError(t, b.Close())
	require.NoError(t, <-waited)
	_, err = a.TrySendFD([]byte("frame"), h)
	require.ErrorIs(t, err, unix.EPIPE)
}
