package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// clients is how many connections the driver has open at a time.
const clients = 24

// One exchange of a cluster. The server closes first, or keeps the connection open.
const (
	closeRequest = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	aliveRequest = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
)

// The two kinds of requests that a cluster with policies gets in turn. The policies look at the path or at the cookie.
var routed = [2]string{routedRequest("/", "0"), routedRequest("/api/users/17", "1")}

func routedRequest(path, canary string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: localhost:8000\r\nConnection: close\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: de,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br\r\nCookie: session=7d1f0a5c2e934b68; canary=" + canary + "; theme=dark\r\n\r\n"
}

// lateness is how many other connections are made before a late request is sent, half of the clients.
const lateness = clients / 2

// A client is a connection to a cluster and what has come of the answer.
type client struct {
	fd  int
	got []byte
}

// A web drives the HTTP servers of a cluster from one thread: one epoll, and as few system calls for a request as there
// can be, so that most of the machine is left to the cluster.
type web struct {
	addr    *unix.SockaddrInet4
	poll    int
	alive   bool // connections stay open
	routed  bool // requests of two kinds, and clients have addresses of their own
	late    bool // requests come a while after their connections
	clients []client
	silent  []int // the late, in the order of their connections
	made    int   // requests
}

func newWeb(port int, s *scenario) (*web, error) {
	w := &web{
		addr:  &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}},
		alive: s.alive, routed: s.base != "", late: s.late,
	}
	var err error
	if w.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	for range clients {
		w.clients = append(w.clients, client{fd: -1, got: make([]byte, 0, 4096)})
	}
	return w, nil
}

// close closes everything. A connection ends with a reset, after its answer: nothing of it is left that would wait for a
// minute, so that no number of requests uses up the ports.
func (w *web) close() {
	for i := range w.clients {
		if w.clients[i].fd >= 0 {
			unix.Close(w.clients[i].fd)
		}
	}
	unix.Close(w.poll)
}

// ask has client i make the next request, or its connection, and then the request of an earlier one.
func (w *web) ask(i int) error {
	if err := w.connect(i); err != nil || !w.late {
		return errors.Join(err, w.request(i))
	}
	if w.silent = append(w.silent, i); len(w.silent) <= lateness {
		return nil
	}
	return w.speak()
}

// speak has the client make its request that has been silent for the longest time.
func (w *web) speak() error {
	i := w.silent[0]
	w.silent = w.silent[1:]
	return w.request(i)
}

// connect makes the connection of client i if it has none.
func (w *web) connect(i int) error {
	c := &w.clients[i]
	if c.fd < 0 {
		var err error
		if c.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
		if w.routed {
			if err := unix.Bind(c.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 1, byte(i)}}); err != nil {
				return os.NewSyscallError("bind", err)
			}
		}
		if err := unix.Connect(c.fd, w.addr); err != nil { // done by the kernel at once, whoever accepts it
			return os.NewSyscallError("connect", err)
		}
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(w.poll, unix.EPOLL_CTL_ADD, c.fd, &event); err != nil {
			return os.NewSyscallError("epoll_ctl", err)
		}
	}
	return nil
}

func (w *web) request(i int) error {
	c := &w.clients[i]
	c.got = c.got[:0]
	request := aliveRequest
	switch {
	case w.routed:
		request = routed[w.made%2]
		w.made++
	case !w.alive:
		request = closeRequest
	}
	if n, err := unix.Write(c.fd, []byte(request)); err != nil || n < len(request) {
		return fmt.Errorf("request: %d bytes, %w", n, err)
	}
	return nil
}

// hear reads what client i can be told, and reports whether its answer is complete. With a connection per request that
// takes the end of the connection.
func (w *web) hear(i int) (done bool, err error) {
	c := &w.clients[i]
	n, err := unix.Read(c.fd, c.got[len(c.got):cap(c.got)])
	if err != nil {
		return false, os.NewSyscallError("read", err)
	}
	c.got = c.got[:len(c.got)+n]
	whole := bytes.HasPrefix(c.got, []byte("HTTP/1.1 200 OK\r\n")) && bytes.HasSuffix(c.got, []byte("\r\n\r\nok"))
	switch {
	case n == 0 && (w.alive || !whole), len(c.got) == cap(c.got):
		return false, fmt.Errorf("wrong answer: %q", c.got)
	case n == 0:
		unix.Close(c.fd)
		c.fd = -1
		return true, nil
	}
	return w.alive && whole, nil
}

// requests makes n requests, with as many at a time as there are clients.
func (w *web) requests(n int) error {
	asked, answered := 0, 0
	for asked < min(n, len(w.clients)) {
		if err := w.ask(asked); err != nil {
			return err
		}
		asked++
	}
	events := make([]unix.EpollEvent, len(w.clients))
	end := func() error { // there are no connections to come any more
		for asked == n && len(w.silent) > 0 {
			if err := w.speak(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := end(); err != nil {
		return err
	}
	for answered < n {
		k, err := unix.EpollWait(w.poll, events, int(patience/time.Millisecond))
		if err == unix.EINTR {
			continue
		}
		if err == nil && k == 0 {
			err = os.ErrDeadlineExceeded
		}
		if err != nil {
			return os.NewSyscallError("epoll_wait", err)
		}
		for _, e := range events[:k] {
			done, err := w.hear(int(e.Fd))
			if err != nil {
				return fmt.Errorf("request %d: %w", answered, err)
			}
			if !done {
				continue
			}
			if answered++; asked < n {
				if err := w.ask(int(e.Fd)); err != nil {
					return fmt.Errorf("request %d: %w", asked, err)
				}
				asked++
			}
			if err := end(); err != nil {
				return err
			}
		}
	}
	return nil
}

// driveCluster makes requests of the cluster of which the subject is the primary. The primary and its workers are measured
// together, for several times as long as other subjects: they are several programs that have to warm up.
func driveCluster(p *peer, s *scenario, t timing) (sample, error) {
	var ready struct {
		Port int
		Pids []int
	}
	if err := p.readLine(&ready); err != nil {
		return nil, err
	}
	w, err := newWeb(ready.Port, s)
	if err != nil {
		return nil, err
	}
	defer w.close()
	primary := func() time.Duration { return cpuOf(p.pid) }
	all := func() time.Duration {
		sum := primary()
		for _, pid := range ready.Pids {
			sum += cpuOf(pid)
		}
		return sum
	}
	var used time.Duration
	t.Warm, t.Span = 5*t.Warm, 5*t.Span
	got, err := measure(all, t, func(n int) error {
		before := primary()
		err := w.requests(n)
		used = primary() - before
		return err
	})
	if err != nil {
		return nil, err
	}
	got["primary"] = float64(used) / 1e3 / got["messages"]
	return got, nil
}

// readLine decodes the one line that the subject has written.
func (p *peer) readLine(v any) error {
	var line []byte
	for !bytes.HasSuffix(line, []byte("\n")) {
		n, err := p.read(p.buf)
		if err == io.ErrUnexpectedEOF && len(line) > 0 {
			err = fmt.Errorf("%w after %q", err, line)
		}
		if err != nil {
			return err
		}
		line = append(line, p.buf[:n]...)
	}
	return json.Unmarshal(line, v)
}
