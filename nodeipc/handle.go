package nodeipc

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// HandleType is Node's name for the kind of a handle.
type HandleType string

const (
	NetSocket   HandleType = "net.Socket"   // a connection, TCP or unix
	NetServer   HandleType = "net.Server"   // a listener, TCP or unix
	NetNative   HandleType = "net.Native"   // either, without a JavaScript object around it; what cluster uses
	DgramSocket HandleType = "dgram.Socket" // a UDP socket
	DgramNative HandleType = "dgram.Native" // the same without a JavaScript object
	// A TCP socket that is bound and does not listen. Node knows it since version 26, and an older one dies of it: it is sent
	// only if Options.Node says 26.
	NetBoundSocket HandleType = "net.BoundSocket"
)

// boundSocketNode is the first Node that knows NetBoundSocket.
const boundSocketNode = 26

// A Handle is a received socket. The first Conn, Listener, PacketConn or File takes it over; until then Close closes it.
// Its methods may be called from any goroutine, and on a nil *Handle, where they report ErrNoHandle.
type Handle struct {
	typ     HandleType
	key     string // of the socket list that it belongs to, or ""
	mu      sync.Mutex
	fd      int // -1 once taken or closed
	cleanup runtime.Cleanup
	listed  *listed // its place in the list, if it was received

	given syscall.Conn // made by NewHandle: the caller's, only to be sent
}

// received takes over fd.
func received(fd int, e envelope) *Handle {
	h := &Handle{typ: e.typ, key: e.key, fd: fd}
	h.cleanup = runtime.AddCleanup(h, closeFD, fd)
	return h
}

// NewHandle names c as a handle of type t, to be sent: for when the type that SendHandle would choose is not the one
// that is wanted. c stays the caller's. SendHandle refuses types that a Node peer might not know.
func NewHandle(c syscall.Conn, t HandleType) *Handle { return &Handle{typ: t, fd: -1, given: c} }

// NewKeyedHandle names c as a connection that belongs to the socket list key, as Node names those that a server of its
// own has accepted: Channel.OpenSockets and Channel.SocketsClosed ask the peer about it. c stays the caller's.
func NewKeyedHandle(c syscall.Conn, key string) *Handle {
	return &Handle{typ: NetSocket, key: key, fd: -1, given: c}
}

// Type returns the type under which the handle was sent, or "" for nil.
func (h *Handle) Type() HandleType {
	if h == nil {
		return ""
	}
	return h.typ
}

// Conn takes the handle over as a connection of package net: a *net.TCPConn or *net.UnixConn.
func (h *Handle) Conn() (net.Conn, error) {
	f, err := h.take()
	if err != nil {
		return nil, err
	}
	defer f.Close() // net has its own duplicate, in non-blocking mode
	conn, err := net.FileConn(f)
	if err == nil && !isStream(conn, conn.LocalAddr()) {
		conn.Close()
		err = fmt.Errorf("%w with Conn, this is a %T", ErrHandleKind, conn)
	}
	if err != nil {
		h.listed.became(nil)
		return nil, opError("handle to net.Conn", err)
	}
	switch conn := conn.(type) {
	case *net.TCPConn:
		h.listed.became(openUntilClosed(conn))
	case *net.UnixConn:
		h.listed.became(openUntilClosed(conn))
	}
	return conn, nil
}

// PacketConn takes the handle over as a *net.UDPConn.
func (h *Handle) PacketConn() (net.PacketConn, error) {
	f, err := h.take()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err == nil {
		if _, ok := conn.(*net.UDPConn); !ok {
			conn.Close()
			err = fmt.Errorf("%w with PacketConn, this is a %T", ErrHandleKind, conn)
		}
	}
	h.listed.became(nil)
	if err != nil {
		return nil, opError("handle to net.PacketConn", err)
	}
	return conn, nil
}

// isStream tells whether package net made a stream of a descriptor, as Conn and Listener promise. A peer may send others.
func isStream(v any, addr net.Addr) bool {
	switch v.(type) {
	case *net.TCPConn, *net.TCPListener:
		return true
	case *net.UnixConn, *net.UnixListener:
		return addr.Network() == "unix"
	}
	return false
}

// Listener takes the handle over as a listener of package net: a *net.TCPListener or *net.UnixListener. Closing a
// unix listener does not remove its file: that is for whoever made it. A socket that is bound but does not listen yet,
// as Node's cluster.SCHED_NONE passes it, is made to listen.
func (h *Handle) Listener() (net.Listener, error) {
	f, err := h.take()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h.listed.became(nil)
	if err := ensureListening(f); err != nil {
		return nil, opError("handle to net.Listener", err)
	}
	ln, err := net.FileListener(f)
	if err == nil && !isStream(ln, ln.Addr()) {
		ln.Close()
		err = fmt.Errorf("%w with Listener, this is a %T", ErrHandleKind, ln)
	}
	if err != nil {
		return nil, opError("handle to net.Listener", err)
	}
	return ln, nil
}

// File takes the handle over as an *os.File in non-blocking mode.
func (h *Handle) File() (*os.File, error) {
	fd, err := h.release()
	if err != nil {
		return nil, err
	}
	if err := setNonblock(fd); err != nil {
		closeFD(fd)
		h.listed.became(nil)
		return nil, opError("handle to file", err)
	}
	f := socketFile(fd)
	h.listed.became(openUntilClosed(f))
	return f, nil
}

// Close closes the handle unless it was taken. It may be called more than once.
func (h *Handle) Close() error {
	fd, err := h.release()
	if err != nil {
		return nil
	}
	h.listed.became(nil)
	return opError("close handle", closeFD2(fd))
}

// release gives the descriptor up to the caller.
func (h *Handle) release() (int, error) {
	if h == nil {
		return -1, ErrNoHandle
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		return -1, ErrNoHandle
	}
	fd := h.fd
	h.fd = -1
	h.cleanup.Stop()
	return fd, nil
}

func (h *Handle) take() (*os.File, error) {
	fd, err := h.release()
	if err != nil {
		return nil, err
	}
	return socketFile(fd), nil
}

// LocalAddr returns the address that the socket is bound to, without taking the handle over.
func (h *Handle) LocalAddr() (net.Addr, error) {
	rc, err := h.SyscallConn()
	if err != nil {
		return nil, err
	}
	return localAddr(rc)
}

// SyscallConn gives access to the descriptor without taking it over. It is how a received handle is sent on.
func (h *Handle) SyscallConn() (syscall.RawConn, error) {
	switch {
	case h == nil:
		return nil, ErrNoHandle
	case h.given != nil:
		return h.given.SyscallConn()
	}
	return (*handleConn)(h), nil
}

// handleConn is the raw access to a received handle: it can be controlled and sent, but not be waited for.
type handleConn Handle

var _ syscall.RawConn = (*handleConn)(nil)

func (h *handleConn) Control(f func(fd uintptr)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		return ErrNoHandle
	}
	f(uintptr(h.fd))
	return nil
}

func (h *handleConn) Read(func(fd uintptr) bool) error  { return errNotPolled }
func (h *handleConn) Write(func(fd uintptr) bool) error { return errNotPolled }

var errNotPolled = opErrorf("handle", "take it with Conn or Listener to read and write")

// sendable finds the descriptor of v, an argument of SendHandle, and what its frame has to say of it. node is the oldest
// version that the peer may be.
func sendable(v any, node int) (rc syscall.RawConn, e envelope, err error) {
	const op = "send handle"
	if c, ok := v.(*tls.Conn); ok {
		return nil, e, opErrorf(op, "%w: a *tls.Conn has its keys here; send the connection below it (NetConn: %T) before the handshake", ErrHandleKind, c.NetConn())
	}
	if v == nil {
		return nil, e, opErrorf(op, "%w: the handle is nil; a message without one takes Send", ErrHandleKind)
	}
	c, ok := v.(syscall.Conn)
	if !ok {
		return nil, e, opErrorf(op, "%w: a %T gives no access to its socket; send the net.Conn, net.Listener, net.PacketConn or *os.File that it wraps", ErrHandleKind, v)
	}
	if rc, err = c.SyscallConn(); err != nil {
		return nil, e, opError(op, err)
	}
	s, err := inspect(rc)
	if err != nil {
		return nil, e, opError(op, err)
	}
	switch {
	case s.dgram:
		e.typ = DgramSocket
	case s.state == stateListening:
		e.typ = NetServer
	default:
		e.typ = NetSocket
	}
	if h, ok := v.(*Handle); ok {
		e.typ, e.key = h.typ, h.key
	}
	if err := s.fits(e.typ, node); err != nil {
		return nil, e, opError(op, err)
	}
	e.local = s.family == familyUnix
	if e.typ == DgramSocket {
		e.dgram = "udp4"
		if s.family == familyIPv6 {
			e.dgram = "udp6"
		}
	}
	return rc, e, nil
}

// A socketInfo is what the kernel says of a socket that can be sent.
type socketInfo struct {
	family family // of a TCP socket that is connected or listens maybe IPv4 instead of IPv6
	dgram  bool   // UDP, otherwise a stream
	bound  bool   // has an address
	state  socketState
}

type family int

const (
	familyIPv4 family = iota
	familyIPv6
	familyUnix
)

// socketState is what a stream socket is ready for.
type socketState int

const (
	stateIdle socketState = iota // neither of the following; a connection that was reset, too
	stateConnected
	stateListening
)

// fits refuses what a Node peer would die of: a type that it does not know, a net.Server that it cannot listen on, a
// net.Socket that is not connected if the program does not listen for errors, a datagram socket for a stream
// (docs/protocol.md 2.1).
func (s socketInfo) fits(t HandleType, node int) error {
	switch t {
	case NetSocket, NetServer, NetNative, NetBoundSocket:
		if s.dgram {
			return fmt.Errorf("%w: a UDP socket is no %s", ErrHandleKind, t)
		}
	case DgramSocket, DgramNative:
		if !s.dgram {
			return fmt.Errorf("%w: a stream socket is no %s", ErrHandleKind, t)
		}
		return nil
	default:
		return fmt.Errorf("%w: there is no type %q in Node", ErrHandleKind, string(t))
	}
	switch {
	case t == NetSocket && s.state != stateConnected:
		return fmt.Errorf("a %s has to be connected: %w", t, syscall.ENOTCONN)
	case t == NetServer && s.state != stateListening:
		return fmt.Errorf("%w: a socket that does not listen is no %s", ErrHandleKind, t)
	case t == NetBoundSocket && (s.family == familyUnix || s.state != stateIdle || !s.bound):
		return fmt.Errorf("%w: a %s is a TCP socket that is bound, and neither connected nor listening", ErrHandleKind, t)
	case t == NetBoundSocket && node < boundSocketNode:
		return fmt.Errorf("%w: a %s ends a Node older than %d; say Options.Node: %[3]d if the peer is none", ErrHandleKind, t, boundSocketNode)
	}
	return nil
}

// keepPath returns what is to be done once v was sent: the file of a unix listener must outlive this end's Close, since
// the peer now listens there too.
func keepPath(v any) func() {
	if h, ok := v.(*Handle); ok {
		v = h.given
	}
	if ln, ok := v.(*net.UnixListener); ok {
		return func() { ln.SetUnlinkOnClose(false) }
	}
	return nil
}
