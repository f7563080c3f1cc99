//go:build unix

package cluster

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A watcher is an onlooker that wants so many bytes.
type watcher struct {
	want   int
	heads  []string // what it was shown
	last   bool
	calls  chan string   // if not nil, gets what it was shown
	done   chan struct{} // closed by looked
	before func()        // called by looked
}

func watch(want int) *watcher { return &watcher{want: want, done: make(chan struct{})} }

func (w *watcher) enough(head []byte, last bool) bool {
	if w.last || len(w.heads) > 0 && len(w.heads[len(w.heads)-1]) >= w.want {
		panic("it was enough before")
	}
	w.heads, w.last = append(w.heads, string(head)), last
	if w.calls != nil {
		w.calls <- string(head)
	}
	return len(head) >= w.want
}

func (w *watcher) looked() {
	if w.before != nil {
		w.before()
	}
	close(w.done)
}

// shown returns what was shown last, when it is over.
func (w *watcher) shown(tb testing.TB) string {
	tb.Helper()
	select {
	case <-w.done:
		return w.heads[len(w.heads)-1]
	case <-time.After(time.Minute):
		tb.Fatal("not decided")
		return ""
	}
}

func (w *watcher) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// A listener for pairs of connections.
type pairs struct {
	tb testing.TB
	ln net.Listener
}

func newPairs(tb testing.TB, network, address string) *pairs {
	ln, err := net.Listen(network, address)
	require.NoError(tb, err)
	tb.Cleanup(func() { ln.Close() })
	return &pairs{tb, ln}
}

type server interface {
	net.Conn
	CloseWrite() error
}

// pair returns a client, and a server with its descriptor.
func (p *pairs) pair() (client, conn server, fd int) {
	c, err := net.Dial(p.ln.Addr().Network(), p.ln.Addr().String())
	require.NoError(p.tb, err)
	s, err := p.ln.Accept()
	require.NoError(p.tb, err)
	p.tb.Cleanup(func() { c.Close(); s.Close() })
	return c.(server), s.(server), descriptorOf(p.tb, s)
}

func descriptorOf(tb testing.TB, conn net.Conn) (fd int) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	require.NoError(tb, err)
	require.NoError(tb, raw.Control(func(n uintptr) { fd = int(n) }))
	return fd
}

var generous = peekLimits{timeout: time.Hour, size: 100, number: 1000}

func TestPeek(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			testkit.CheckLeaks(t)
			address := "127.0.0.1:0"
			if network == "unix" {
				address = t.TempDir() + "/s"
			}
			pairs := newPairs(t, network, address)
			p := newPeeker(generous)
			defer p.close()

			// At once.
			client, conn, fd := pairs.pair()
			write(t, client, "hello")
			w := watch(5)
			p.look(fd, w)
			require.Equal(t, "hello", w.shown(t))
			require.False(t, w.last)
			// Nothing was read.
			b := make([]byte, 5)
			_, err := io.ReadFull(conn, b)
			require.NoError(t, err)
			require.Equal(t, "hello", string(b))

			// Byte by byte.
			client, conn, fd = pairs.pair()
			w = watch(7)
			w.calls = make(chan string, 10)
			p.look(fd, w)
			for i := range 7 {
				write(t, client, string("goodbye"[i]))
				require.Equal(t, "goodbye"[:i+1], <-w.calls)
			}
			require.Equal(t, "goodbye", w.shown(t))
			require.Len(t, w.heads, 7)
			write(t, client, "!")
			require.NoError(t, client.CloseWrite())
			all, err := io.ReadAll(conn)
			require.NoError(t, err)
			require.Equal(t, "goodbye!", string(all))

			// More than is looked at.
			client, _, fd = pairs.pair()
			w = watch(1000)
			p.look(fd, w)
			write(t, client, string(make([]byte, 200)))
			require.Len(t, w.shown(t), generous.size)
			require.True(t, w.last)
		})
	}
}

func write(tb testing.TB, conn net.Conn, s string) {
	_, err := conn.Write([]byte(s))
	require.NoError(tb, err)
}

// The end of a connection is seen before there is anything, after a part, before it is looked at and after.
func TestPeekEnds(t *testing.T) {
	testkit.CheckLeaks(t)
	limits := generous
	if runtime.GOOS != "linux" { // there the end is not seen after a part
		limits.timeout = 100 * time.Millisecond
	}
	pairs := newPairs(t, "tcp", "127.0.0.1:0")
	p := newPeeker(limits)
	defer p.close()
	for _, part := range []string{"", "part"} {
		for end, run := range map[string]func(client server){
			"half": func(client server) { client.CloseWrite() },
			"end":  func(client server) { client.Close() },
			"reset": func(client server) {
				client.(*net.TCPConn).SetLinger(0)
				client.Close()
			},
		} {
			for _, early := range []bool{false, true} {
				client, conn, fd := pairs.pair()
				w := watch(10)
				w.calls = make(chan string, 10)
				if !early {
					p.look(fd, w)
				}
				if part != "" {
					write(t, client, part)
					if !early {
						require.Equal(t, part, <-w.calls)
					}
				}
				run(client)
				if early {
					p.look(fd, w)
				}
				shown := w.shown(t)
				require.True(t, w.last)
				if end != "reset" {
					require.Equal(t, part, shown, "%s %v", end, early)
					all, err := io.ReadAll(conn)
					require.NoError(t, err)
					require.Equal(t, part, string(all))
				}
			}
		}
	}
}

// What is silent is given up in time, in the order in which it came; the goroutine ends, and begins anew.
func TestPeekTimeout(t *testing.T) {
	testkit.CheckLeaks(t)
	limits := generous
	limits.timeout = 20 * time.Millisecond
	pairs := newPairs(t, "tcp", "127.0.0.1:0")
	p := newPeeker(limits)
	defer p.close()
	for range 2 {
		var mu sync.Mutex
		var order []int
		var ws []*watcher
		start := time.Now()
		for i := range 5 {
			client, _, fd := pairs.pair()
			if i == 2 {
				write(t, client, "part")
			}
			w := watch(10)
			w.before = func() {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
			}
			p.look(fd, w)
			ws = append(ws, w)
		}
		for i, w := range ws {
			shown := w.shown(t)
			require.True(t, w.last)
			require.Equal(t, i == 2, shown == "part")
		}
		if runtime.GOOS == "linux" { // elsewhere they have goroutines of their own
			require.Equal(t, []int{0, 1, 2, 3, 4}, order)
		}
		require.GreaterOrEqual(t, time.Since(start), limits.timeout)
	}
}

// Beyond the number, the oldest gives up; all that came is decided by close.
func TestPeekNumber(t *testing.T) {
	testkit.CheckLeaks(t)
	limits := generous
	limits.number = 50
	pairs := newPairs(t, "tcp", "127.0.0.1:0")
	p := newPeeker(limits)
	defer p.close()
	var ws []*watcher
	for range 400 {
		_, _, fd := pairs.pair()
		w := watch(1)
		p.look(fd, w)
		ws = append(ws, w)
		if i := len(ws) - 1 - limits.number; i >= 0 {
			require.Empty(t, ws[i].shown(t))
			require.True(t, ws[i].last)
			require.False(t, ws[i+1].over())
		}
	}
	p.close()
	for _, w := range ws {
		require.True(t, w.over())
		require.True(t, w.last)
		require.Equal(t, []string{""}, w.heads)
	}
	// Afterwards nothing is waited for.
	_, _, fd := pairs.pair()
	w := watch(1)
	p.look(fd, w)
	require.True(t, w.over())
}

// Many at once, from several goroutines, with all that can happen to them; each is decided once (a second looked would
// panic), with what it has sent.
func TestPeekMany(t *testing.T) {
	testkit.CheckLeaks(t)
	limits := generous
	limits.number = 100
	p := newPeeker(limits)
	defer p.close()
	var senders, silent sync.WaitGroup
	for g := range 8 {
		senders.Go(func() {
			for i := range 250 {
				fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
				if err != nil {
					t.Error(err)
					return
				}
				w := watch(10)
				w.before = func() { unix.Close(fds[0]) } // so that the number is another's soon
				text := fmt.Sprintf("%03d %05d.", g, i)
				if i%5 == 0 {
					unix.Write(fds[1], []byte(text))
				}
				p.look(fds[0], w)
				switch i % 5 {
				case 1, 2:
					unix.SendmsgN(fds[1], []byte(text[:5]), nil, nil, unix.MSG_NOSIGNAL)
					unix.SendmsgN(fds[1], []byte(text[5:]), nil, nil, unix.MSG_NOSIGNAL)
				case 3:
					unix.SendmsgN(fds[1], []byte(text[:5]), nil, nil, unix.MSG_NOSIGNAL)
				case 4:
					unix.Shutdown(fds[1], unix.SHUT_WR)
				}
				if i%5 != 3 { // those give up only as the oldest
					<-w.done
					shown := w.heads[len(w.heads)-1]
					if !w.last && shown != text || shown != text[:len(shown)] {
						t.Errorf("%q of %q", w.heads, text)
					}
					unix.Close(fds[1])
				} else {
					silent.Go(func() {
						<-w.done
						unix.Close(fds[1])
					})
				}
			}
		})
	}
	senders.Wait()
	p.close() // decides what is not the oldest any more, now that all are there
	silent.Wait()
}

// done has enough when there is anything.
type done chan struct{}

func (done) enough([]byte, bool) bool { return true }
func (d done) looked()                { d <- struct{}{} }

// What it costs to look at a connection, with that of writing and reading its request: with one that has been sent, and
// with one that comes when others have connected, so that it has to be waited for.
func BenchmarkPeek(b *testing.B) {
	limits := generous
	limits.size = 8 << 10
	for _, late := range []int{0, 12} {
		b.Run(fmt.Sprintf("late=%d", late), func(b *testing.B) {
			type one struct {
				client, fd int
				looked     done
			}
			pairs := newPairs(b, "tcp", "127.0.0.1:0")
			all := make([]one, 2*late+1)
			for i := range all {
				client, _, fd := pairs.pair()
				all[i] = one{descriptorOf(b, client), fd, make(done, 1)}
			}
			p := newPeeker(limits)
			defer p.close()
			request, buf := []byte(browserHead), make([]byte, len(browserHead))
			used := func() int64 {
				var u unix.Rusage
				unix.Getrusage(unix.RUSAGE_SELF, &u)
				return u.Utime.Nano() + u.Stime.Nano()
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := used()
			for i := range b.N + late {
				c := all[i%len(all)]
				if i >= len(all) {
					<-c.looked
					unix.Read(c.fd, buf)
				}
				if i >= late {
					unix.Write(all[(i-late)%len(all)].client, request)
				}
				p.look(c.fd, c.looked)
			}
			b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") // on a busy machine, of more use
		})
	}
}
