//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// How a run of the command gets sockets that are open already, and gives them to one that takes its place. The two talk
// over a channel on a unix socket:
//
//	successor          the one before
//	{take, pid}        {refused}, or a {socket} with each socket, and {last}
//	{ready} or {back}  {leaving} or {back}
//
// The files of unix sockets are the one's before until it says that it is leaving, or has gone, and the successor's
// from then on. It may do so at any time after {last}. A successor that fails says {back}, so that each of the two
// knows which of them removes the files.

type controlMessage struct {
	Take    bool   `json:"take,omitempty"`
	Pid     int    `json:"pid,omitempty"`
	Refused string `json:"refused,omitempty"` // why
	Socket  string `json:"socket,omitempty"`  // the address
	Remove  bool   `json:"remove,omitempty"`  // the socket's file, at the end
	FD      int    `json:"fd,omitempty"`      // by which workers may name the socket
	Last    bool   `json:"last,omitempty"`
	Ready   bool   `json:"ready,omitempty"`
	Back    bool   `json:"back,omitempty"`
	Leaving bool   `json:"leaving,omitempty"`
}

// How long the other may take to answer.
const controlPatience = 10 * time.Second

var errDisorder = errors.New("it has not said what comes next")

// newControl makes a channel of a connection to a control path.
func newControl(conn net.Conn) *nodeipc.Channel {
	return nodeipc.New(conn, &nodeipc.Options{MaxMessage: 64 << 10})
}

// hear returns the next message, and its socket.
func hear(ctx context.Context, ch *nodeipc.Channel) (c controlMessage, h *nodeipc.Handle, err error) {
	m, err := ch.Receive(ctx)
	if err != nil {
		return c, nil, err
	}
	if err := m.Decode(&c); err != nil {
		m.Handle.Close()
		return c, nil, err
	}
	return c, m.Handle, nil
}

// A given is a socket that is open before any worker asks for it.
type given struct {
	*os.File
	network, name string    // its address; of a unix socket the absolute path
	fd            int       // by which workers may name it, or 0
	before        bool      // it comes from the one whose place this one takes
	made          *pathFile // to be removed with it, or nil
}

// newGiven describes a socket. The name may be empty.
func newGiven(f *os.File, name string) *given {
	g := &given{File: f, name: name}
	if addr, err := nodeipc.NewHandle(f, nodeipc.NetNative).LocalAddr(); err == nil {
		g.network = addr.Network()
		if name == "" {
			g.name = addr.String()
			if g.network == "unix" && !strings.HasPrefix(g.name, "@") {
				g.name, _ = filepath.Abs(g.name)
			}
		}
	}
	return g
}

// Name is the address under which workers find it.
func (g *given) Name() string { return g.name }

func (g *given) address() string { return g.network + " " + g.name }

// is reports whether the argument of --listen means it.
func (g *given) is(address string) bool {
	if g.network == "unix" {
		return g.name == address
	}
	open, err := netip.ParseAddrPort(g.name)
	if g.network != "tcp" || err != nil {
		return false
	}
	want, err := net.ResolveTCPAddr("tcp", address) // as listen would
	if err != nil || want.Port != int(open.Port()) {
		return false
	}
	return want.IP == nil && open.Addr().IsUnspecified() || want.IP.Equal(open.Addr().AsSlice())
}

// A pathFile is the file of a unix socket.
type pathFile struct {
	path string
	info os.FileInfo
}

// fileOf returns what has this path, nil if that is no socket.
func fileOf(path string) *pathFile {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil
	}
	return &pathFile{path, info}
}

// remove removes the file, unless another has its path by now. The socket must be open still: no other file has the
// number of this one so long.
func (f *pathFile) remove() {
	if f == nil {
		return
	}
	if now := fileOf(f.path); now != nil && os.SameFile(now.info, f.info) {
		os.Remove(f.path)
	}
}

// open opens what workers will share, or gets it: from systemd, and from the one whose place this one takes.
func (r *runner) open() error {
	files, err := cluster.SystemdListeners()
	if err != nil {
		return err
	}
	for i, f := range files {
		g := newGiven(f, "")
		g.fd = 3 + i
		r.given = append(r.given, g)
	}
	if strings.HasPrefix(r.o.control, "@") { // a file, not an abstract name
		r.o.control = "./" + r.o.control
	}
	if r.o.control != "" {
		if err := r.visit(); err != nil {
			return err
		}
	}
	for _, address := range r.o.listen {
		if strings.Contains(address, "/") {
			if address, err = filepath.Abs(address); err != nil {
				return err
			}
		}
		if r.has(address) {
			continue
		}
		g, err := listen(address)
		if err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		r.given = append(r.given, g)
	}
	r.p.Files = map[int]*os.File{}
	for _, g := range r.given {
		r.p.Listeners = append(r.p.Listeners, g)
		if g.fd > 0 && r.p.Files[g.fd] == nil {
			r.p.Files[g.fd] = g.File
		}
	}
	return nil
}

func (r *runner) has(address string) bool {
	for _, g := range r.given {
		if g.is(address) {
			return true
		}
	}
	return false
}

// listen opens a TCP address or an absolute path.
func listen(address string) (*given, error) {
	if !strings.Contains(address, "/") {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			return nil, err
		}
		return newGiven(f, ""), nil
	}
	removeStale(address)
	ln, err := net.Listen("unix", address)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	defer ln.Close()
	made := fileOf(address)
	f, err := ln.(*net.UnixListener).File()
	if err != nil {
		made.remove()
		return nil, err
	}
	g := newGiven(f, address)
	g.made = made
	return g, nil
}

// removeStale removes a socket that nobody listens on any more.
func removeStale(path string) {
	if fileOf(path) == nil {
		return // anything else refuses connections too
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path)
	}
}

// visit looks who is at the control path. With --upgrade it gets the sockets of that one, who goes on until this one is
// ready.
func (r *runner) visit() error {
	flag, path := "--control", r.o.control
	if r.o.upgrade {
		flag = "--upgrade"
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s: %s is no socket", flag, path)
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil { // now, not when the workers are ready
		return fmt.Errorf("%s: %w", flag, err)
	}
	conn, err := net.Dial("unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		if r.o.upgrade {
			r.say("--upgrade: nobody is at %s, so that this is a start", path)
		}
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", flag, err)
	case !r.o.upgrade:
		conn.Close()
		return fmt.Errorf("--control: %s is another's; --upgrade takes its place", path)
	}
	ch := newControl(conn)
	sockets, err := takeOver(ch)
	if err != nil {
		ch.Close()
		for _, g := range sockets {
			g.Close()
		}
		return fmt.Errorf("--upgrade: %w", err)
	}
	r.say("--upgrade: takes over %d sockets", len(sockets))
	r.given = append(r.given, sockets...)
	r.before = &predecessor{ch: ch, over: make(chan struct{})}
	go r.before.watch()
	return nil
}

// takeOver asks for the sockets of the one before.
func takeOver(ch *nodeipc.Channel) (sockets []*given, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
	defer cancel()
	if err := ch.Send(ctx, controlMessage{Take: true, Pid: os.Getpid()}); err != nil {
		return nil, err
	}
	for {
		m, h, err := hear(ctx, ch)
		switch {
		case errors.Is(err, io.EOF):
			return sockets, errors.New("the one before has gone while it gave its sockets away")
		case errors.Is(err, context.DeadlineExceeded):
			return sockets, fmt.Errorf("the one before has not given its sockets away in %v", controlPatience)
		case err != nil:
			return sockets, err
		case m.Refused != "":
			return sockets, errors.New(m.Refused)
		case m.Last:
			return sockets, nil
		case m.Socket == "":
			h.Close()
			return sockets, errDisorder
		}
		f, err := h.File()
		if err != nil {
			return sockets, fmt.Errorf("%s: %w", m.Socket, err)
		}
		g := newGiven(f, m.Socket)
		g.before, g.fd = true, m.FD
		if m.Remove {
			g.made = fileOf(m.Socket)
		}
		sockets = append(sockets, g)
	}
}

// A predecessor is the one whose place this one takes.
type predecessor struct {
	ch    *nodeipc.Channel
	over  chan struct{} // closed when it leaves, or has gone, or has its sockets back
	stays bool          // that is why
}

func (b *predecessor) watch() {
	defer b.ch.Close()
	m, h, err := hear(context.Background(), b.ch)
	h.Close()
	b.stays = err == nil && m.Back
	close(b.over)
}

// leaves reports whether all that it has given away is the successor's. If it does not leave yet it gets it back.
func (b *predecessor) leaves() bool {
	ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
	defer cancel()
	select {
	case <-b.over:
	default:
		b.ch.Send(ctx, controlMessage{Back: true}) // if that fails it is over
	}
	select {
	case <-b.over:
		return !b.stays
	case <-ctx.Done():
		return false
	}
}

// isReady prepares for a successor, and tells the one before to go. When over is closed it is time to take its place.
func (r *runner) isReady() (over <-chan struct{}, err error) {
	if r.o.control != "" {
		if err := r.openControl(); err != nil {
			return nil, fmt.Errorf("--control: %w", err)
		}
	}
	if r.before == nil {
		now := make(chan struct{})
		close(now)
		return now, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
	defer cancel()
	if err := r.before.ch.Send(ctx, controlMessage{Ready: true}); errors.Is(err, context.DeadlineExceeded) {
		return nil, errors.New("--upgrade: the one before does not listen")
	}
	return r.before.over, nil
}

// openControl makes the control socket, with another path for now. Nobody can connect before it listens, and nobody
// else when it does.
func (r *runner) openControl() error {
	path := r.o.control + "." + strconv.Itoa(os.Getpid())
	fileOf(path).remove()
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return &os.PathError{Op: "bind", Path: path, Err: err}
	}
	r.controlFile = fileOf(path)
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return os.NewSyscallError("listen", err)
	}
	r.controller, err = net.FileListener(f)
	return err
}

// takePlace is called when there is no one before any more: the control socket comes to its path in one step.
func (r *runner) takePlace() {
	if r.controlFile == nil {
		return
	}
	if err := os.Rename(r.controlFile.path, r.o.control); err != nil {
		r.say("--control: %v; no successor can come", err)
		return
	}
	r.controlFile.path = r.o.control
	r.say("a successor can come to %s", r.o.control)
	go func() {
		for {
			conn, err := r.controller.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // no descriptor is left, for one
				r.say("--control: %v", err)
				time.Sleep(time.Second)
				continue
			}
			go func() {
				ch := newControl(conn)
				defer ch.Close()
				if err := r.receive(ch); err != nil {
					r.say("successor: %v; this one goes on", err)
				}
			}()
		}
	}()
}

// A successor has been given the sockets, or is just being.
type successor struct {
	ch     *nodeipc.Channel
	pid    int
	since  time.Time
	has    bool   // all of them
	stop   func() // gives it no more
	revoke func() // of Handover
}

// receive gives the sockets to a successor, and ends this one when that is ready.
func (r *runner) receive(ch *nodeipc.Channel) error {
	ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
	defer cancel()
	m, h, err := hear(ctx, ch)
	h.Close()
	switch {
	case errors.Is(err, io.EOF):
		return nil // somebody has only looked who is there
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("it has said nothing for %v", controlPatience)
	case err != nil:
		return err
	case !m.Take:
		return errDisorder
	}
	s := &successor{ch: ch, pid: m.Pid, since: time.Now(), stop: cancel}
	files, err := r.lend(s)
	if err != nil {
		ch.Send(ctx, controlMessage{Refused: err.Error()})
		return fmt.Errorf("process %d is refused: %w", m.Pid, err)
	}
	if err := r.give(ctx, s, files); err != nil {
		r.takeBack(s)
		return err
	}
	r.say("successor: process %d has the sockets, and starts its workers", s.pid)
	m, h, err = hear(context.Background(), ch) // it has as long as its workers take
	h.Close()
	return r.answer(s, m, err)
}

// lend makes s the successor, of whom there is one at a time, and returns what workers share.
func (r *runner) lend(s *successor) (files []*os.File, err error) {
	r.hand.Lock()
	defer r.hand.Unlock()
	switch now := r.successor; {
	case r.succeeded:
		return nil, fmt.Errorf("process %d has taken the place of this one", now.pid)
	case r.leaves:
		return nil, errors.New("this one is about to end")
	case now != nil:
		return nil, fmt.Errorf("process %d has been at it for %v, and is not ready so far",
			now.pid, time.Since(now.since).Round(time.Second))
	}
	files, s.revoke, err = r.p.Handover()
	if err == nil {
		r.successor = s
	}
	return files, err
}

// takeBack says that s is no successor, unless this one has left what it had to s.
func (r *runner) takeBack(s *successor) {
	r.hand.Lock()
	defer r.hand.Unlock()
	if r.successor == s && !r.leaves {
		r.successor = nil
		s.revoke()
	}
}

// give sends the sockets: those that were open before workers asked for them, and those that workers share.
func (r *runner) give(ctx context.Context, s *successor, files []*os.File) error {
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	send := func(g *given, remove bool) error {
		return s.ch.SendHandle(ctx, controlMessage{Socket: g.name, Remove: remove, FD: g.fd}, g.File)
	}
	sent := map[string]bool{}
	for _, g := range r.given {
		sent[g.address()] = true
		if err := send(g, g.made != nil); err != nil {
			return err
		}
	}
	for _, f := range files {
		g := newGiven(f, f.Name())
		if sent[g.address()] {
			continue
		}
		if err := send(g, g.network == "unix"); err != nil { // a worker has opened it
			return err
		}
	}
	r.hand.Lock() // what this one says is about to end comes before or behind
	defer r.hand.Unlock()
	if r.leaves {
		return errors.New("this one is about to end")
	}
	s.has = true
	return s.ch.Send(ctx, controlMessage{Last: true})
}

// answer answers the second message of a successor, or its end.
func (r *runner) answer(s *successor, m controlMessage, err error) error {
	r.hand.Lock()
	defer r.hand.Unlock()
	switch {
	case r.leaves: // which it was told
		return nil
	case err != nil:
		err = errors.New("it has gone before it was ready")
	case m.Ready:
		if err = s.tell(controlMessage{Leaving: true}); err == nil {
			r.leaves, r.succeeded = true, true
			r.fail(nil)
			return nil
		}
	case m.Back:
		err = errors.New("it has given up")
	default:
		err = errDisorder
	}
	r.successor = nil
	s.revoke()
	if m.Back {
		s.tell(controlMessage{Back: true})
	}
	return err
}

func (s *successor) tell(m controlMessage) error {
	ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
	defer cancel()
	if err := s.ch.Send(ctx, m); err != nil {
		return err
	}
	return s.ch.Flush(ctx)
}

// leave is called when the workers are to finish: nobody is to come any more who is not served. What was open before
// workers asked for it is closed, and the files of sockets are removed, unless they are left to a successor, or to the
// one before.
func (r *runner) leave() {
	r.leaving.Do(func() {
		own := r.before == nil || r.before.leaves()
		r.hand.Lock()
		defer r.hand.Unlock()
		s := r.successor
		if s != nil && !r.succeeded && (!s.has || s.tell(controlMessage{Leaving: true}) != nil) {
			s.stop()
			s.revoke()
			s = nil
		}
		r.leaves = true
		if !r.succeeded { // who comes in between is told so
			r.controlFile.remove()
			if r.controller != nil {
				r.controller.Close()
			}
		}
		for _, g := range r.given {
			if s == nil && (own || !g.before) {
				g.made.remove()
			}
			g.Close()
		}
	})
}
