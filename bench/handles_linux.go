package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Each socket is sent many times; the parent keeps its copy open, so that no child ever pays for the end of a TCP
// connection, which has nothing to do with passing it on.
const connections = 64

var (
	handleFrame = []byte(`{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"s"}` + "\n")
	handleAck   = []byte(`{"cmd":"NODE_HANDLE_ACK"}` + "\n")
)

type pool struct {
	rights [][]byte // the control message with each accepted socket
	ports  []uint32 // its peer's
	fds    []int
}

func newPool(n int) (p *pool, err error) {
	p = &pool{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	ln, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return p, os.NewSyscallError("socket", err)
	}
	defer unix.Close(ln)
	if err := unix.Bind(ln, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return p, os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(ln, n); err != nil {
		return p, os.NewSyscallError("listen", err)
	}
	addr, err := unix.Getsockname(ln)
	if err != nil {
		return p, os.NewSyscallError("getsockname", err)
	}
	for range n {
		client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return p, os.NewSyscallError("socket", err)
		}
		p.fds = append(p.fds, client)
		if err := unix.Connect(client, addr); err != nil {
			return p, os.NewSyscallError("connect", err)
		}
		// Non-blocking, as Node expects of a socket that it is given.
		accepted, peer, err := unix.Accept4(ln, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		if err != nil {
			return p, os.NewSyscallError("accept", err)
		}
		p.fds = append(p.fds, accepted)
		p.rights = append(p.rights, unix.UnixRights(accepted))
		p.ports = append(p.ports, uint32(peer.(*unix.SockaddrInet4).Port))
	}
	return p, nil
}

func (p *pool) close() {
	for _, fd := range p.fds {
		unix.Close(fd)
	}
}

func (p *pool) hash(n int) (h uint32) {
	for i := range n {
		h = h*31 + p.ports[i%len(p.ports)]
	}
	return h
}

// hand passes n sockets, each after the acknowledgement of the one before.
func (c *child) hand(p *pool, n int) error {
	for i := range n {
		sent, err := unix.SendmsgN(c.fd, handleFrame, p.rights[i%len(p.rights)], nil, unix.MSG_NOSIGNAL)
		if err != nil {
			return os.NewSyscallError("sendmsg", err)
		}
		if sent < len(handleFrame) {
			return fmt.Errorf("sendmsg took %d of %d bytes", sent, len(handleFrame))
		}
		if err := c.expect(handleAck); err != nil {
			return fmt.Errorf("handle %d: %w", i, err)
		}
	}
	return nil
}

func runHandles(side contestant, s *scenario) (sample, error) {
	p, err := newPool(connections)
	if err != nil {
		return sample{}, err
	}
	defer p.close()
	return with(side, false, func(c *child) (sample, error) {
		round := func(n int, hash uint32) error {
			if err := c.hand(p, n); err != nil {
				return err
			}
			return c.expect(answer(n, hash))
		}
		// In the warm-up the child looks at each socket, which shows that it got the right one; then it only closes it.
		if err := round(s.warm, p.hash(s.warm)); err != nil {
			return sample{}, err
		}
		return c.span(s.n, func() error { return round(s.n, 0) })
	})
}
