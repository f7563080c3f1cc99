//go:build unix && !aix

package testkit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Load is clients of an HTTP server that make one request after the other, without a pause.
type Load struct {
	network, addr string
	keep          bool
	paths         []string
	ctx           context.Context
	stop          context.CancelFunc
	all           sync.WaitGroup

	mu   sync.Mutex
	sum  Losses
	more chan struct{}
}

// Losses are what became of the requests of a Load. None is made a second time: each is in one of the first five counts.
type Losses struct {
	Served  int64
	Refused int64 // there was no connection
	Dropped int64 // the first of a connection, which ended without an answer
	Raced   int64 // a later one of a connection: it was open when the request was written, and ended without an answer
	Cut     int64 // the answer has no end, or was none
	Closed  int64 // connections that were kept, and that the server closed in order: between requests, or as it had said

	By   map[string]int // who answered how often, by the header X-Powered-By or, without one, the whole answer
	Errs []error        // the first of those that were not served
}

// Requests is how many there were.
func (l *Losses) Requests() int64 { return l.Served + l.Lost() }

// Lost is how many were not served.
func (l *Losses) Lost() int64 { return l.Refused + l.Dropped + l.Raced + l.Cut }

// loadPatience ends a request that nobody answers.
const loadPatience = 20 * time.Second

// StartLoad starts so many clients of a server at a TCP address or, with a slash, a path. They have a connection for
// each request or, if keep is set, keep theirs until the server closes it. They ask for the paths at random; without
// any, for the root. The end of the test ends them.
func StartLoad(tb testing.TB, addr string, clients int, keep bool, paths ...string) *Load {
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	l := &Load{network: "tcp", addr: addr, keep: keep, paths: paths, more: make(chan struct{}, 1)}
	l.sum.By = map[string]int{}
	if strings.Contains(addr, "/") {
		l.network = "unix"
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	for range clients {
		l.all.Go(l.run)
	}
	tb.Cleanup(func() { l.end() })
	return l
}

func (l *Load) end() *Losses {
	l.stop()
	l.all.Wait()
	return &l.sum
}

// Await waits until the requests so far are as they must be, and fails the test when one was lost.
func (l *Load) Await(tb testing.TB, enough func(*Losses) bool) {
	tb.Helper()
	limit := time.NewTimer(2 * loadPatience)
	defer limit.Stop()
	for {
		l.mu.Lock()
		ok := enough(&l.sum)
		lost := l.sum.Errs
		l.mu.Unlock()
		switch {
		case len(lost) > 0:
			tb.Fatalf("a request was lost: %v", lost[0])
		case ok:
			return
		}
		select {
		case <-l.more:
		case <-limit.C:
			tb.Fatal("the load does not come")
		}
	}
}

// Requests is how many were made so far.
func (l *Load) Requests() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sum.Requests()
}

// Stop ends the load, after the requests that are being made.
func (l *Load) Stop() *Losses { return l.end() }

// Served ends the load, fails the test if a request was lost, and returns who answered how often.
func (l *Load) Served(tb testing.TB) map[string]int {
	tb.Helper()
	sum := l.end()
	if sum.Lost() > 0 || sum.Served == 0 {
		tb.Fatalf("%+v", *sum)
	}
	return sum.By
}

// count notes what became of a request.
func (l *Load) count(which *int64, by string, err error) {
	l.mu.Lock()
	*which++
	if err == nil {
		l.sum.By[by]++
	} else if len(l.sum.Errs) < 5 {
		l.sum.Errs = append(l.sum.Errs, err)
	}
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *Load) run() {
	for l.ctx.Err() == nil {
		conn, err := net.DialTimeout(l.network, l.addr, loadPatience)
		if err != nil {
			l.count(&l.sum.Refused, "", err)
			select {
			case <-time.After(time.Millisecond): // it is the server that is to have the processor
			case <-l.ctx.Done():
			}
			continue
		}
		l.use(conn)
		conn.Close()
	}
}

// use makes requests over one connection.
func (l *Load) use(conn net.Conn) {
	end := " HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n"
	if l.keep {
		end = " HTTP/1.1\r\nHost: any\r\n\r\n"
	}
	r := bufio.NewReader(conn)
	dropped := &l.sum.Dropped
	for first := true; first || l.keep && l.ctx.Err() == nil; first = false {
		if !first {
			dropped = &l.sum.Raced
			if ended(conn) {
				l.closed()
				return
			}
		}
		conn.SetDeadline(time.Now().Add(loadPatience))
		text := "GET " + l.paths[rand.IntN(len(l.paths))] + end
		if _, err := io.WriteString(conn, text); err != nil {
			l.count(dropped, "", err)
			return
		}
		if _, err := r.Peek(1); err != nil {
			l.count(dropped, "", fmt.Errorf("no answer, first %v: %w", first, err))
			return
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			l.count(&l.sum.Cut, "", err)
			return
		}
		body, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != http.StatusOK {
			err = errors.New(res.Status)
		}
		if err != nil {
			l.count(&l.sum.Cut, "", err)
			return
		}
		by := res.Header.Get("X-Powered-By")
		if by == "" {
			by = strings.TrimSpace(string(body))
		}
		l.count(&l.sum.Served, by, nil)
		if res.Close {
			if l.keep {
				l.closed()
			}
			return
		}
	}
}

func (l *Load) closed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.Closed++
}

// ended reports whether the peer has closed a connection on which nothing is to come. One that was reset is not in
// order: the next request fails.
func ended(conn net.Conn) (over bool) {
	rc, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	rc.Control(func(fd uintptr) {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		over = n == 0 && err == nil
	})
	return over
}
