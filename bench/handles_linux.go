package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	connections = 64 // that are passed on over and over; both ends stay open, so that nobody pays for the end of one
	looked      = 64 // handles of which the subject says what they are, before it is measured
)

var handleAck = []byte(`{"cmd":"NODE_HANDLE_ACK"}` + "\n")

// handleFrame is what Node writes for process.send(msg, socket).
func handleFrame(msg string) []byte {
	return []byte(`{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"` + msg + `"}` + "\n")
}

// handleFrames are that of Node, which the Go side writes as well, Bun and Deno.
var handleFrames = [][]byte{
	handleFrame("s"),
	[]byte(`{"cmd":"NODE_HANDLE","msg":"s","type":"net.Socket"}` + "\n"),
	[]byte(`{"cmd":"NODE_HANDLE","type":"net.Socket","nativeKind":"tcp","msg":"s"}` + "\n"),
}

// A listener hands out connections whose other end has been accepted.
type listener struct {
	fd   int
	addr *unix.SockaddrInet4
	open []int
}

func listen() (l *listener, err error) {
	l = &listener{}
	if l.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	l.open = append(l.open, l.fd)
	if err = unix.Bind(l.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
		err = unix.Listen(l.fd, connections)
	}
	var addr unix.Sockaddr
	if err == nil {
		addr, err = unix.Getsockname(l.fd)
	}
	if err != nil {
		l.close()
		return nil, os.NewSyscallError("listen", err)
	}
	l.addr = addr.(*unix.SockaddrInet4)
	return l, nil
}

// accept returns a connection, and the port at its far end. It is non-blocking, as Node expects of a socket it is given.
func (l *listener) accept() (fd int, port uint32, err error) {
	fd, from, err := unix.Accept4(l.fd, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return 0, 0, os.NewSyscallError("accept", err)
	}
	l.open = append(l.open, fd)
	return fd, uint32(from.(*unix.SockaddrInet4).Port), nil
}

func (l *listener) connect() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	l.open = append(l.open, fd)
	return os.NewSyscallError("connect", unix.Connect(fd, l.addr))
}

func (l *listener) close() {
	for _, fd := range l.open {
		unix.Close(fd)
	}
}

// driveHandlesIn passes sockets to the subject, each after the acknowledgement of the one before.
func driveHandlesIn(p *peer, s *scenario, t timing) (sample, error) {
	l, err := listen()
	if err != nil {
		return nil, err
	}
	defer l.close()
	var rights [][]byte
	var ports []uint32
	for range connections {
		if err := l.connect(); err != nil {
			return nil, err
		}
		fd, port, err := l.accept()
		if err != nil {
			return nil, err
		}
		rights, ports = append(rights, unix.UnixRights(fd)), append(ports, port)
	}
	hand := func(frame []byte, n int) error {
		for i := range n {
			sent, err := unix.SendmsgN(p.fd, frame, rights[i%len(rights)], nil, unix.MSG_NOSIGNAL)
			if err != nil {
				return os.NewSyscallError("sendmsg", err)
			}
			if sent < len(frame) {
				return fmt.Errorf("sendmsg took %d of %d bytes", sent, len(frame))
			}
			if err := p.expect(handleAck); err != nil {
				return fmt.Errorf("handle %d: %w", i, err)
			}
		}
		return nil
	}
	// First the subject looks at each socket, which shows that it gets the right ones; then it only closes them.
	var hash uint32
	for i := range looked {
		hash = hash*31 + ports[i%len(ports)]
	}
	if err := hand(handleFrame("look"), looked); err != nil {
		return nil, err
	}
	if err := p.count(looked, hash); err != nil {
		return nil, err
	}
	frame := handleFrame("s")
	return p.measure(t, func(n int) error {
		if err := hand(frame, n); err != nil {
			return err
		}
		return p.count(n, 0)
	})
}

// driveHandlesOut has the subject pass sockets to us, which it connects to us before.
func driveHandlesOut(p *peer, s *scenario, t timing) (sample, error) {
	l, err := listen()
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := p.write(fmt.Appendf(nil, "{\"port\":%d,\"count\":%d}\n", l.addr.Port, connections)); err != nil {
		return nil, err
	}
	if err := p.expect([]byte("\"ready\"\n")); err != nil {
		return nil, err
	}
	known := map[uint32]bool{}
	for range connections {
		_, port, err := l.accept()
		if err != nil {
			return nil, err
		}
		known[port] = true
	}
	var order []uint32 // in which the subject passes them, which is its choice
	return p.measure(t, func(n int) error {
		if err := p.number(n); err != nil {
			return err
		}
		for i := range n {
			port, err := p.takeHandle()
			if err != nil {
				return fmt.Errorf("handle %d: %w", i, err)
			}
			at := i % connections
			switch {
			case at < len(order) && order[at] != port:
				return fmt.Errorf("handle %d is the connection of port %d, not %d as before", i, port, order[at])
			case at == len(order) && !known[port]:
				return fmt.Errorf("handle %d is the connection of port %d, unknown or passed before", i, port)
			case at == len(order):
				order, known[port] = append(order, port), false
			}
		}
		return nil
	})
}

// takeHandle reads a frame with a socket, acknowledges it, closes the socket and returns its own port.
func (p *peer) takeHandle() (port uint32, err error) {
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	oob, frame := make([]byte, 64), []byte(nil)
	for at := 0; at == 0 || p.buf[at-1] != '\n'; {
		n, oobn, _, _, err := unix.Recvmsg(p.fd, p.buf[at:], oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = errors.New("end of the channel")
		}
		if err != nil {
			return 0, os.NewSyscallError("recvmsg", err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil {
			return 0, err
		}
		for _, m := range messages {
			got, err := unix.ParseUnixRights(&m)
			if err != nil {
				return 0, err
			}
			fds = append(fds, got...)
		}
		at += n
		frame = p.buf[:at]
	}
	if !slices.ContainsFunc(handleFrames, func(f []byte) bool { return bytes.Equal(f, frame) }) {
		return 0, differ(0, frame, handleFrames[0])
	}
	if len(fds) != 1 {
		return 0, fmt.Errorf("%d descriptors came with the frame", len(fds))
	}
	addr, err := unix.Getsockname(fds[0])
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	inet, ok := addr.(*unix.SockaddrInet4)
	if !ok {
		return 0, fmt.Errorf("the socket's address is %v", addr)
	}
	return uint32(inet.Port), p.write(handleAck)
}
