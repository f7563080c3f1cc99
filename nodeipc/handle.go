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
	NetSocket HandleType = "net.Socket" // a connection, TCP or unix
	NetServer HandleType = "net.Server" // a listener, TCP or unix
	NetNative HandleType = "net.Native" // either, without a JavaScript object around it; what cluster uses
)

// A Handle is a received socket. The first successful Conn or Listener takes it over; until then Close closes it. Its
// methods may be called from any goroutine, and on a nil *Handle, where they report ErrNoHandle.
type Handle struct {
	typ     HandleType
	mu      sync.Mutex
	fd      int // -1 once taken or closed
	cleanup runtime.Cleanup

	given syscall.Conn // made by NewHandle: the caller's, only to be sent
}

// received takes over fd.
func received(fd int, typ HandleType) *Handle {
	h := &Handle{typ: typ, fd: fd}
	h.cleanup = runtime.AddCleanup(h, closeFD, fd)
	return h
}

// NewHandle names c as a handle of type t, to be sent: for when the type that SendHandle would choose is not the one
// that is wanted. c stays the caller's. SendHandle refuses types that a Node peer might not know.
func NewHandle(c syscall.Conn, t HandleType) *Handle { return &Handle{typ: t, fd: -1, given: c} }

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
		err = fmt.Errorf("%w, this is a %T", ErrHandleKind, conn)
	}
	if err != nil {
		return nil, opError("handle to net.Conn", err)
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
// as cluster's scheduling policy None passes it, is made to listen.
func (h *Handle) Listener() (net.Listener, error) {
	f, err := h.take()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := ensureListening(f); err != nil {
		return nil, opError("handle to net.Listener", err)
	}
	ln, err := net.FileListener(f)
	if err == nil && !isStream(ln, ln.Addr()) {
		ln.Close()
		err = fmt.Errorf("%w, this is a %T", ErrHandleKind, ln)
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
		return nil, opError("handle to file", err)
	}
	return socketFile(fd), nil
}

// Close closes the handle unless it was taken. It may be called more than once.
func (h *Handle) Close() error {
	fd, err := h.release()
	if err != nil {
		return nil
	}
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

// sendable finds the descriptor and the type to send v, an argument of SendHandle, as, and whether it is a unix socket.
func sendable(v any) (rc syscall.RawConn, typ HandleType, local bool, err error) {
	const op = "send handle"
	if c, ok := v.(*tls.Conn); ok {
		return nil, "", false, opErrorf(op, "%w: a *tls.Conn has its keys here; send the connection below it (NetConn: %T) before the handshake", ErrHandleKind, c.NetConn())
	}
	if v == nil {
		return nil, "", false, opErrorf(op, "%w: the handle is nil; a message without one takes Send", ErrHandleKind)
	}
	c, ok := v.(syscall.Conn)
	if !ok {
		return nil, "", false, opErrorf(op, "%w: a %T gives no access to its socket; send the net.Conn, net.Listener or *os.File that it wraps", ErrHandleKind, v)
	}
	rc, err = c.SyscallConn()
	if err != nil {
		return nil, "", false, opError(op, err)
	}
	state, local, err := inspect(rc)
	if err != nil {
		return nil, "", false, opError(op, err)
	}
	typ = NetSocket
	if state == stateListening {
		typ = NetServer
	}
	if h, ok := v.(*Handle); ok {
		typ = h.typ
	}
	// A Node peer dies of a type that it does not know, of a net.Server that it cannot listen on, and of a net.Socket that
	// is not connected if the program does not listen for errors (docs/protocol.md 2.1).
	switch {
	case typ == NetSocket && state != stateConnected:
		return nil, "", false, opErrorf(op, "a %s has to be connected: %w", typ, syscall.ENOTCONN)
	case typ == NetServer && state != stateListening:
		return nil, "", false, opErrorf(op, "%w: a socket that does not listen is no %s", ErrHandleKind, typ)
	case typ == NetSocket || typ == NetServer || typ == NetNative:
		return rc, typ, local, nil
	}
	return nil, "", false, opErrorf(op, "%w: type %q", ErrHandleKind, typ)
}

// socketState is what a stream socket is ready for.
type socketState int

const (
	stateIdle socketState = iota // neither of the following; a connection that was reset, too
	stateConnected
	stateListening
)

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
