package cluster

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A connection that was decided is out of the epoll set when it is handed on, although another process has it still,
// and its descriptor's number can be used again. And the goroutine ends when nothing waits.
func TestPeekLetsGo(t *testing.T) {
	testkit.CheckLeaks(t)
	pairs := newPairs(t, "tcp", "127.0.0.1:0")
	p := newPeeker(generous)
	defer p.close()
	client, conn, fd := pairs.pair()
	other, _, otherFD := pairs.pair()
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(dup)

	w := watch(1)
	var inSet string
	w.before = func() {
		inSet = epollSet(t, p)
		conn.Close()
	}
	p.look(fd, w)
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	require.Contains(t, epollSet(t, p), fmt.Sprintf("tfd: %8d ", fd))
	write(t, client, "x")
	w.shown(t)
	require.NotContains(t, inSet, "tfd:")
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the goroutine does not end")
	}

	again, err := unix.FcntlInt(uintptr(otherFD), unix.F_DUPFD_CLOEXEC, fd)
	require.NoError(t, err)
	defer unix.Close(again)
	require.Equal(t, fd, again)
	w = watch(2)
	w.calls = make(chan string, 10)
	p.look(again, w)
	write(t, client, "xyz") // to the duplicate
	write(t, other, "1")
	require.Equal(t, "1", <-w.calls)
	write(t, other, "2")
	require.Equal(t, "12", w.shown(t))
	require.Len(t, w.heads, 2)
}

// epollSet returns what the kernel says of the set.
func epollSet(tb testing.TB, p *peeker) string {
	conn, err := p.set.SyscallConn()
	require.NoError(tb, err)
	var info []byte
	require.NoError(tb, conn.Control(func(fd uintptr) {
		info, err = os.ReadFile(fmt.Sprint("/proc/self/fdinfo/", fd))
	}))
	require.NoError(tb, err)
	return string(info)
}
