//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package nodeipc

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

func closeFD(fd int)        { unix.Close(fd) }
func closeFD2(fd int) error { return os.NewSyscallError("close", unix.Close(fd)) }

func setNonblock(fd int) error { return os.NewSyscallError("fcntl", unix.SetNonblock(fd, true)) }

// socketFile takes over fd.
func socketFile(fd int) *os.File { return os.NewFile(uintptr(fd), "handle:"+strconv.Itoa(fd)) }

// ensureListening makes f listen unless it does.
func ensureListening(f *os.File) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var lerr error
	err = rc.Control(func(fd uintptr) {
		if on, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || on != 0 {
			lerr = os.NewSyscallError("getsockopt", err)
			return
		}
		lerr = os.NewSyscallError("listen", unix.Listen(int(fd), 511)) // Node's default backlog
	})
	if lerr != nil {
		return lerr
	}
	return err
}

// localAddr is the name of a TCP or unix socket.
func localAddr(rc syscall.RawConn) (addr net.Addr, err error) {
	cerr := rc.Control(func(fd uintptr) {
		var sa unix.Sockaddr
		if sa, err = unix.Getsockname(int(fd)); err != nil {
			err = os.NewSyscallError("getsockname", err)
			return
		}
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			addr = &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
		case *unix.SockaddrInet6:
			addr = &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
		case *unix.SockaddrUnix:
			addr = &net.UnixAddr{Name: sa.Name, Net: "unix"}
		default:
			err = ErrHandleKind
		}
	})
	if err == nil {
		err = cerr
	}
	return addr, opError("handle address", err)
}

// inspect refuses what is not a TCP or unix stream socket, and tells what state it is in and whether it is a unix one.
func inspect(rc syscall.RawConn) (state socketState, local bool, err error) {
	var ierr error
	err = rc.Control(func(fd uintptr) { state, local, ierr = inspectFD(int(fd)) })
	if ierr != nil {
		return stateIdle, false, ierr
	}
	return state, local, err
}

func inspectFD(fd int) (state socketState, local bool, err error) {
	// Nearly always it is a connection, which two questions show.
	if peer, err := unix.Getpeername(fd); err == nil {
		if typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && typ == unix.SOCK_STREAM {
			switch peer.(type) {
			case *unix.SockaddrInet4, *unix.SockaddrInet6:
				return stateConnected, false, nil
			case *unix.SockaddrUnix:
				return stateConnected, true, nil
			}
		}
	}
	sa, what := describe(fd)
	if what != "" {
		return stateIdle, false, fmt.Errorf("%w, this is %s", ErrHandleKind, what)
	}
	_, local = sa.(*unix.SockaddrUnix)
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if on != 0 {
		return stateListening, local, nil
	}
	return stateIdle, local, os.NewSyscallError("getsockopt", err)
}

// describe returns the name of a TCP or unix stream socket, or else says what fd is, with its article.
func describe(fd int) (name unix.Sockaddr, what string) {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	switch {
	case err == unix.EBADF:
		return nil, "not open"
	case err == nil && typ == unix.SOCK_DGRAM:
		return nil, "a datagram socket"
	case err == nil && typ != unix.SOCK_STREAM:
		return nil, "a socket of another kind than a stream"
	case err == nil:
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return nil, "a socket without a name (" + err.Error() + ")"
		}
		switch sa.(type) {
		case *unix.SockaddrInet4, *unix.SockaddrInet6, *unix.SockaddrUnix:
			return sa, ""
		}
		return nil, "a socket of another family than TCP and unix"
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, "unknown (" + err.Error() + ")"
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil, "a regular file"
	case unix.S_IFDIR:
		return nil, "a directory"
	case unix.S_IFIFO:
		return nil, "a pipe"
	case unix.S_IFCHR:
		return nil, "a terminal or other character device"
	}
	return nil, "no socket"
}
