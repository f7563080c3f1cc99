//go:build unix

package fdconn

import (
	"bytes"
	"math/rand/v2"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// fail sets faults for the time of the test.
func fail(t *testing.T, f *Faults) {
	SetFaults(f)
	t.Cleanup(func() { SetFaults(nil) })
}

// copied reads all of text from b, which a is to write at the same time.
func copied(t *testing.T, a, b *Conn, text []byte) {
	t.Helper()
	written := make(chan error, 1)
	go func() {
		n, err := a.Write(text)
		if err == nil && n != len(text) {
			t.Errorf("wrote %d of %d bytes", n, len(text))
		}
		written <- err
	}()
	var got []byte
	buf := make([]byte, 100<<10)
	for len(got) < len(text) {
		n, _, _, err := b.Read(buf)
		require.NoError(t, err)
		got = append(got, buf[:n]...)
	}
	require.NoError(t, <-written)
	require.True(t, bytes.Equal(text, got))
}

// A shortage of memory passes: the writer tries again, less and less often, and is not told.
func TestErrorsThatPass(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, errno := range []syscall.Errno{unix.ENOBUFS, unix.ENOMEM, unix.EAGAIN, unix.EINTR} {
		t.Run(errno.Error(), func(t *testing.T) {
			a, b := conns(t)
			_, h := newSocket(t)
			left, calls := 8, 0 // as if there were no room, although the poller says that there is
			fail(t, &Faults{Send: func(n int, withFD bool) (int, error) {
				calls++
				if left--; left >= 0 {
					return n, errno
				}
				return n, nil
			}})
			copied(t, a, b, []byte("text"))
			require.Equal(t, 9, calls)

			left, calls = 8, 0
			n, err := a.TrySendFD([]byte("frame"), h)
			for err == ErrAgain {
				require.Zero(t, n)
				require.NoError(t, a.WaitWritable())
				n, err = a.TrySendFD([]byte("frame"), h)
			}
			require.NoError(t, err)
			require.Equal(t, 9, calls)
			got, fds := read(t, b, 100)
			require.Equal(t, "frame", got)
			require.Len(t, fds, 1)
		})
	}
}

// While it lasts the writer does not spin, and Close ends the waiting.
func TestShortageThatLasts(t *testing.T) {
	testkit.CheckLeaks(t)
	a, _ := conns(t)
	calls := make(chan time.Time, 1000)
	fail(t, &Faults{Send: func(n int, withFD bool) (int, error) {
		calls <- time.Now()
		return n, unix.ENOBUFS
	}})
	written := make(chan error, 1)
	go func() {
		_, err := a.Write([]byte("never"))
		written <- err
	}()
	first := <-calls
	var last time.Time
	for range 10 {
		last = <-calls
	}
	require.Greater(t, last.Sub(first), 150*time.Millisecond, "0, 1, 2, 4, 8, 16 and four times 32 ms at least")
	require.NoError(t, a.Close())
	require.ErrorIs(t, <-written, net.ErrClosed)
}

// An error of sendmsg that has to do with the descriptor leaves the connection as it was.
func TestDescriptorThatCannotBeSent(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	_, h := newSocket(t)
	for _, errno := range []syscall.Errno{unix.ETOOMANYREFS, unix.EINVAL, unix.EPERM} {
		fail(t, &Faults{Send: func(n int, withFD bool) (int, error) {
			if withFD {
				return n, errno
			}
			return n, nil
		}})
		_, err := a.TrySendFD([]byte("frame"), h)
		var bad *HandleError
		require.ErrorAs(t, err, &bad)
		require.ErrorIs(t, err, errno)
		copied(t, a, b, []byte("well"))
	}
}

// Whatever the system calls take, the bytes arrive as they were, and so do the descriptors.
func TestRandomFaults(t *testing.T) {
	testkit.CheckLeaks(t)
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		sends, recvs := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
		a, b := conns(t)
		_, one := newSocket(t)
		_, other := newSocket(t)
		want := []uint64{inodeOf(t, one), inodeOf(t, other)}
		errs := []error{unix.EINTR, unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM}
		fail(t, &Faults{
			Send: func(n int, withFD bool) (int, error) {
				if sends.IntN(4) == 0 {
					return n, errs[sends.IntN(len(errs))]
				}
				return 1 + sends.IntN(1+sends.IntN(100<<10)), nil
			},
			Recv: func(n int) (int, error) {
				if recvs.IntN(4) == 0 {
					return n, unix.EINTR
				}
				return 1 + recvs.IntN(1+recvs.IntN(n)), nil
			},
		})
		text := make([]byte, 100+rnd.IntN(500<<10))
		for i := range text {
			text[i] = byte(rnd.Uint32())
		}
		written := make(chan error, 1)
		go func() {
			written <- func() error {
				for rest := text; len(rest) > 0; {
					frame := rest[:min(len(rest), 1+rnd.IntN(200<<10))]
					rest = rest[len(frame):]
					h := []syscall.RawConn{one, other}[rnd.IntN(2)]
					n, err := a.TrySendFD(frame, h)
					for err == ErrAgain {
						if err := a.WaitWritable(); err != nil {
							return err
						}
						n, err = a.TrySendFD(frame, h)
					}
					if err != nil {
						return err
					}
					if _, err := a.Write(frame[n:]); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
		var got []byte
		came := 0
		buf := make([]byte, 64<<10)
		for len(got) < len(text) {
			n, fds, lost, err := b.Read(buf)
			require.NoError(t, err)
			require.False(t, lost)
			got = append(got, buf[:n]...)
			for _, fd := range fds {
				require.Contains(t, want, inode(t, fd))
				require.NoError(t, unix.Close(fd))
				came++
			}
		}
		require.NoError(t, <-written)
		require.True(t, bytes.Equal(text, got), "seed %d", seed)
		require.Positive(t, came)
	}
}

// A table of descriptors that is full, as far as the reader can tell.
func TestRoomFault(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := conns(t)
	_, h := newSocket(t)
	fail(t, &Faults{Room: func(n int) int { return n - 1 }})
	_, err := a.TrySendFD([]byte("x"), h)
	require.NoError(t, err)
	n, fds, lost, err := b.Read(make([]byte, 10))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Empty(t, fds)
	require.True(t, lost)
}
