//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
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
// over a channel on a unix socket: {take: true} is answered by the sockets, one by one, and {last: true}; {ready: true}
// by {leaving: true}.

type controlMessage struct {
	Take    bool   `json:"take,omitempty"`
	Socket  string `json:"socket,omitempty"` // the address
	Last    bool   `json:"last,omitempty"`
	Ready   bool   `json:"ready,omitempty"`
	Leaving bool   `json:"leaving,omitempty"`
}

// How long the other may take to answer.
const controlPatience = 10 * time.Second

// A given is a socket that is open before any worker asks for it.
type given struct {
	syscall.Conn
	name string // its address
}

// open opens what workers will share, or gets it: from systemd, and from the one whose place this one takes.
func (r *runner) open() error {
	files, err := cluster.SystemdListeners()
	if err != nil {
		return err
	}
	r.p.Files = map[int]*os.File{}
	for i, f := range files {
		r.p.Files[3+i] = f
		r.given = append(r.given, given{f, addressOf(f)})
	}
	switch {
	case r.o.upgrade:
		if err := r.takeOver(); err != nil {
			return fmt.Errorf("--upgrade: %w", err)
		}
	case r.o.control != "":
		if c, err := net.Dial("unix", r.o.control); err == nil {
			c.Close()
			return fmt.Errorf("--control: %s is another's; --upgrade takes its place", r.o.control)
		}
	}
	for _, address := range r.o.listen {
		path := strings.Contains(address, "/")
		if path {
			if address, err = filepath.Abs(address); err != nil {
				return err
			}
		}
		has := r.has(address)
		if path && (!has || r.before != nil) {
			r.paths = append(r.paths, address)
		}
		if has {
			continue
		}
		f, err := listen(address)
		if err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		r.given = append(r.given, given{f, addressOf(f)})
	}
	for _, g := range r.given {
		r.p.Listeners = append(r.p.Listeners, g)
	}
	return nil
}

// listen opens a TCP address or a path.
func listen(address string) (*os.File, error) {
	if !strings.Contains(address, "/") {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		return ln.(*net.TCPListener).File()
	}
	removeStale(address)
	ln, err := net.Listen("unix", address)
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	return ln.(*net.UnixListener).File()
}

// removeStale removes a socket that nobody listens on any more.
func removeStale(path string) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		os.Remove(path)
	}
}

// addressOf returns the address of a socket, or "".
func addressOf(f *os.File) string {
	ln, err := net.FileListener(f)
	if err != nil {
		return ""
	}
	defer ln.Close()
	if ln, ok := ln.(*net.UnixListener); ok {
		ln.SetUnlinkOnClose(false)
	}
	return ln.Addr().String()
}

// has reports whether the address is one of a socket that is open already.
func (r *runner) has(address string) bool {
	for _, g := range r.given {
		if g.name == address {
			return true
		}
		open, err := netip.ParseAddrPort(g.name)
		host, port, werr := net.SplitHostPort(address)
		if err != nil || werr != nil || port != strconv.Itoa(int(open.Port())) {
			continue
		}
		if host == "" && open.Addr().IsUnspecified() || host == open.Addr().String() {
			return true
		}
	}
	return false
}

// takeOver gets the sockets of the one who listens at the control path, who goes on until standIn.
func (r *runner) takeOver() error {
	conn, err := net.Dial("unix", r.o.control)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		r.say("--upgrade: nobody is at %s, so that this is a start", r.o.control)
		return nil
	}
	if err != nil {
		return err
	}
	r.before = nodeipc.New(conn, nil)
	ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
	defer cancel()
	if err := r.before.Send(ctx, controlMessage{Take: true}); err != nil {
		return err
	}
	for {
		m, err := r.before.Receive(ctx)
		if err != nil {
			return err
		}
		var got controlMessage
		if err := m.Decode(&got); err != nil {
			return err
		}
		if got.Last {
			r.say("--upgrade: takes over %d sockets", len(r.given))
			return nil
		}
		if m.Handle == nil {
			return errors.New("a socket is missing")
		}
		r.given = append(r.given, given{m.Handle, got.Socket})
	}
}

// control opens the control path for a successor, and tells the predecessor, if there is one, to go.
func (r *runner) control() error {
	if r.o.control != "" {
		if err := r.openControl(); err != nil {
			return fmt.Errorf("--control: %w", err)
		}
	}
	if r.before == nil {
		return nil
	}
	defer r.before.Close()
	ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
	defer cancel()
	if err := r.before.Send(ctx, controlMessage{Ready: true}); err != nil {
		r.say("--upgrade: the one before has gone already: %v", err)
		return nil
	}
	if _, err := r.before.Receive(ctx); err != nil {
		r.say("--upgrade: the one before has gone already: %v", err)
	}
	return nil
}

// openControl puts a socket of ours in place of the predecessor's in one step.
func (r *runner) openControl() error {
	path := r.o.control
	own := path + "." + strconv.Itoa(os.Getpid())
	os.Remove(own)
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	ln, err := private.Listen(context.Background(), "unix", own)
	if err != nil {
		return err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err = os.Chmod(own, 0o600); err == nil {
		err = os.Rename(own, path)
	}
	if err != nil {
		ln.Close()
		os.Remove(own)
		return err
	}
	r.controller = ln
	r.say("a successor can come to %s", path)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			if err := r.handOver(nodeipc.New(conn, nil)); err != nil {
				r.say("successor: %v; this one goes on", err)
			}
		}
	}()
	return nil
}

// handOver gives the sockets to a successor, and ends this one when that is ready.
func (r *runner) handOver(ch *nodeipc.Channel) error {
	defer ch.Close()
	ctx, cancel := context.WithTimeout(context.Background(), controlPatience)
	defer cancel()
	if _, err := ch.Receive(ctx); err != nil {
		return nil // somebody has only looked who is there
	}
	files, revoke, err := r.p.Handover()
	if err != nil {
		return err
	}
	defer func() {
		if !r.succeeded.Load() {
			revoke()
		}
	}()
	sent := map[string]bool{}
	for _, f := range files {
		if err == nil {
			err = ch.SendHandle(ctx, controlMessage{Socket: f.Name()}, f)
		}
		sent[f.Name()] = true
		f.Close()
	}
	for _, g := range r.given { // and those that no worker has asked for
		if !sent[g.name] && err == nil {
			err = ch.SendHandle(ctx, controlMessage{Socket: g.name}, g.Conn)
		}
	}
	if err == nil {
		err = ch.Send(ctx, controlMessage{Last: true})
	}
	if err != nil {
		return err
	}
	r.say("successor: it has the sockets, and starts its workers")
	if _, err := ch.Receive(context.Background()); err != nil { // as long as its workers take
		return errors.New("it has gone before it was ready")
	}
	ch.Send(ctx, controlMessage{Leaving: true})
	r.succeed()
	return nil
}

// succeed ends this one, as another has its place, and its paths.
func (r *runner) succeed() {
	r.succeeded.Store(true)
	r.fail(nil)
}

// closeControl leaves the paths to the successor, or removes them.
func (r *runner) closeControl() {
	if r.before != nil {
		r.before.Close()
	}
	if r.controller != nil {
		r.controller.Close()
	}
	if r.succeeded.Load() {
		return
	}
	if r.controller != nil {
		os.Remove(r.o.control)
	}
	for _, path := range r.paths {
		os.Remove(path)
	}
}
