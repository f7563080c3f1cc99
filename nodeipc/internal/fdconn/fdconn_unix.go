//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package fdconn

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Conn is a stream socket on the runtime's poller. It uses system calls of its own instead of net's methods: a read
// that may bring descriptors costs one call and no allocation, and a write can be tried without waiting.
type Conn struct {
	Peer int // the process at the other end if it is known, otherwise 0; set it before writing

	sock   socket
	rc     syscall.RawConn
	closed atomic.Bool

	// The reader's.
	in     []byte
	inN    int
	inErr  error
	lost   bool
	fds    []int
	recvFn func(fd uintptr) bool
	recvState

	// The writer's.
	out      []byte
	outN     int
	outErr   error
	tryFn    func(fd uintptr)
	handle   syscall.RawConn // with out, and what it is sent with
	rights   []byte
	fd       int // of this socket, where handle's is at hand
	withFn   func(fd uintptr)
	rightsFn func(fd uintptr)
	lookFn   func(fd uintptr) bool
	looked   bool
	poll     [1]unix.PollFd
	plain    bool // what was written last had no descriptor: one that follows could be read behind it
	wantRead bool // wait is for what was written to be read
	waits    int  // since something was written
	writerState
}

// New takes over s, a connected stream socket.
func New(s socket) (*Conn, error) {
	rc, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	c := &Conn{sock: s, rc: rc}
	c.recvFn = c.recv
	c.tryFn = c.send
	c.withFn = c.sendHandle
	c.rightsFn = c.sendRights
	c.rights = unix.UnixRights(0)
	c.lookFn = c.look
	return c, nil
}

// FromFD takes over the descriptor fd, a connected stream socket in non-blocking mode.
func FromFD(fd int) (*Conn, error) {
	f := os.NewFile(uintptr(fd), "ipc:"+strconv.Itoa(fd))
	c, err := New(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return c, nil
}

// Read waits for input and reads it into p, with at most MaxFDs descriptors, which are close-on-exec and belong to the
// caller; the slice is good until the next Read. lost says that descriptors arrived which this process had no room for.
// At the end of the stream, a reset by a peer that went away with input unread included, the error is io.EOF.
func (c *Conn) Read(p []byte) (n int, fds []int, lost bool, err error) {
	c.in, c.inN, c.inErr, c.lost, c.fds = p, 0, nil, false, c.fds[:0]
	err = c.rc.Read(c.recvFn)
	c.in = nil
	if err == nil {
		err = c.inErr
	}
	if err == nil && c.inN == 0 || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		err = io.EOF
	}
	return c.inN, c.fds, c.lost, c.closedErr(err)
}

// TryWrite writes what the socket takes of p at once; ErrAgain means that it did not take all.
func (c *Conn) TryWrite(p []byte) (int, error) {
	c.out, c.outN, c.outErr = p, 0, nil
	err := c.rc.Control(c.tryFn)
	c.out = nil
	if err == nil {
		err = c.outErr
	}
	if c.outN > 0 {
		c.waits, c.plain = 0, true
	}
	return c.outN, c.closedErr(err)
}

// Write writes all of p and waits as long as that takes.
func (c *Conn) Write(p []byte) (n int, err error) {
	for {
		m, err := c.TryWrite(p[n:])
		n += m
		if err != ErrAgain {
			return n, err
		}
		if err := c.wait(false); err != nil {
			return n, err
		}
	}
}

// send writes until nothing is left, the socket takes no more or an error came.
func (c *Conn) send(fd uintptr) {
	for c.outN < len(c.out) {
		p, err := sendFault(c.out[c.outN:], false)
		n := 0
		if err == nil {
			n, err = sendBytes(int(fd), p)
		}
		switch err {
		case nil:
			c.outN += n
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM: // there is no room, or no memory for the moment
			c.outErr = ErrAgain
			return
		default:
			c.outErr = os.NewSyscallError("send", err)
			return
		}
	}
}

// TrySendFD writes the beginning of p with the descriptor of h on its first byte: with ErrAgain nothing was written,
// because the socket is full or, on Linux, the peer has not read the plain bytes that were written before: Deno loses a
// descriptor that it reads behind other bytes. With a *HandleError nothing was written either, but the connection is
// well; otherwise the descriptor is on its way and n bytes are. h is put into non-blocking mode, see docs/protocol.md 1.9.
func (c *Conn) TrySendFD(p []byte, h syscall.RawConn) (n int, err error) {
	c.out, c.outN, c.outErr, c.handle = p, 0, nil, h
	err = c.rc.Control(c.withFn)
	c.out, c.handle = nil, nil
	if c.outErr != nil {
		err = c.outErr
	}
	if c.outN > 0 {
		c.waits, c.plain = 0, c.outN < len(p)
	}
	return c.outN, c.closedErr(err)
}

func (c *Conn) sendHandle(fd uintptr) {
	if c.plain && unread(int(fd)) {
		c.outErr = ErrAgain
		return
	}
	if c.plain {
		c.letReadEnd()
	}
	c.fd = int(fd)
	if err := c.handle.Control(c.rightsFn); err != nil {
		c.outErr = &HandleError{err}
	}
}

// sendRights sends what it can of out, with the descriptor fd, at once.
func (c *Conn) sendRights(fd uintptr) {
	if err := unix.SetNonblock(int(fd), true); err != nil {
		c.outErr = &HandleError{os.NewSyscallError("fcntl", err)}
		return
	}
	binary.NativeEndian.PutUint32(c.rights[unix.CmsgLen(0):], uint32(fd))
	for {
		p, err := sendFault(c.out, true)
		n := 0
		if err == nil {
			n, err = unix.SendmsgN(c.fd, p, c.rights, nil, sendFlags)
		}
		switch err {
		case nil:
			c.outN = n
			return
		case unix.EINTR:
			continue
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
			c.outErr = ErrAgain
		case unix.EPIPE, unix.ECONNRESET, unix.ENOTCONN:
			c.outErr = os.NewSyscallError("sendmsg", err)
		default: // the descriptor's fault, or of how many are under way (ETOOMANYREFS)
			c.outErr = &HandleError{os.NewSyscallError("sendmsg", err)}
		}
		return
	}
}

// WaitWritable waits until TrySendFD may take something.
func (c *Conn) WaitWritable() error { return c.wait(c.plain) }

// wait waits until the socket may take more, with read when the peer has read all that there was. It has to look before
// it waits: the poller tells of changes only, and forgets those that came before the waiting began. When nothing could be
// written since the last wait although the socket seems to have room, memory is short, of which no change will tell: then
// it is time that has to pass.
func (c *Conn) wait(read bool) error {
	c.looked, c.poll[0].Revents, c.wantRead = false, 0, read
	err := c.rc.Write(c.lookFn)
	if err == nil && c.poll[0].Revents != 0 && c.waits > 0 {
		time.Sleep(time.Millisecond << min(c.waits-1, 5))
	}
	c.waits++
	return c.closedErr(err)
}

func (c *Conn) look(fd uintptr) bool {
	if c.wantRead && unread(int(fd)) {
		return false
	}
	if c.looked {
		return true // the poller says so
	}
	c.looked = true
	c.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT}
	n, err := unix.Poll(c.poll[:], 0)
	for err == unix.EINTR {
		n, err = unix.Poll(c.poll[:], 0)
	}
	return n > 0 || err != nil
}

// Interrupt makes a waiting Read, and every later one, return os.ErrDeadlineExceeded until Resume.
func (c *Conn) Interrupt() { c.sock.SetReadDeadline(time.Unix(1, 0)) }

// Resume ends the effect of Interrupt.
func (c *Conn) Resume() { c.sock.SetReadDeadline(time.Time{}) }

// Close closes the socket; calls that wait return net.ErrClosed.
func (c *Conn) Close() error {
	c.closed.Store(true)
	return c.sock.Close()
}

// closedErr makes one error of the several that a closed socket gives, some of which package os keeps to itself.
func (c *Conn) closedErr(err error) error {
	if err != nil && c.closed.Load() {
		return net.ErrClosed
	}
	return err
}

// addRights appends the descriptors of a control message to c.fds.
func (c *Conn) addRights(oob []byte) {
	for len(oob) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return
		}
		oob = rest
		if h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_RIGHTS && h.Type != scmPIDFD {
			continue
		}
		for ; len(data) >= 4; data = data[4:] {
			fd := int(int32(binary.NativeEndian.Uint32(data)))
			if h.Type == scmPIDFD {
				unix.Close(fd)
			} else {
				c.fds = append(c.fds, fd)
			}
		}
	}
	if room := roomFault(len(c.fds)); room < len(c.fds) {
		for _, fd := range c.fds[room:] {
			unix.Close(fd)
		}
		c.fds, c.lost = c.fds[:room], true
	}
}
