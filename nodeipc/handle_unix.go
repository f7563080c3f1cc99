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

// localAddr is the name of a TCP, UDP or unix socket.
func localAddr(rc syscall.RawConn) (addr net.Addr, err error) {
	cerr := rc.Control(func(fd uintptr) {
		var sa unix.Sockaddr
		if sa, err = unix.Getsockname(int(fd)); err != nil {
			err = os.NewSyscallError("getsockname", err)
			return
		}
		typ, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
		udp := typ == unix.SOCK_DGRAM
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			addr = inetAddr(sa.Addr[:], sa.Port, udp)
		case *unix.SockaddrInet6:
			addr = inetAddr(sa.Addr[:], sa.Port, udp)
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

func inetAddr(ip net.IP, port int, udp bool) net.Addr {
	if udp {
		return &net.UDPAddr{IP: ip, Port: port}
	}
	return &net.TCPAddr{IP: ip, Port: port}
}

// inspect refuses what is not a TCP, UDP or unix stream socket, and tells what it is otherwise.
func inspect(rc syscall.RawConn) (s socketInfo, err error) {
	var seen struct { // in one piece of memory
		socketInfo
		err error
	}
	err = rc.Control(func(fd uintptr) { seen.socketInfo, seen.err = inspectFD(int(fd)) })
	if seen.err != nil {
		return socketInfo{}, seen.err
	}
	return seen.socketInfo, err
}

func inspectFD(fd int) (s socketInfo, err error) {
	if state := tcpState(fd); state != stateIdle { // nearly always
		return socketInfo{state: state, bound: true}, nil
	}
	if peer, err := unix.Getpeername(fd); err == nil {
		if typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && typ == unix.SOCK_STREAM {
			s.state, s.bound = stateConnected, true
			if s.named(peer) {
				return s, nil
			}
		}
	}
	s = socketInfo{}
	name, typ, what := describe(fd)
	s.dgram = typ == unix.SOCK_DGRAM
	switch {
	case what != "":
		return s, fmt.Errorf("%w, this is %s", ErrHandleKind, what)
	case !s.named(name):
		return s, fmt.Errorf("%w, this is a socket of another family", ErrHandleKind)
	case s.dgram && s.family == familyUnix:
		return s, fmt.Errorf("%w, this is a unix datagram socket, which Node does not know", ErrHandleKind)
	case s.dgram:
		return s, nil
	}
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if on != 0 {
		s.state = stateListening
		return s, nil
	}
	return s, os.NewSyscallError("getsockopt", err)
}

// named takes the family, and whether the socket is bound, from a name of it.
func (s *socketInfo) named(sa unix.Sockaddr) bool {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		s.family = familyIPv4
		s.bound = s.bound || sa.Port != 0
	case *unix.SockaddrInet6:
		s.family = familyIPv6
		s.bound = s.bound || sa.Port != 0
	case *unix.SockaddrUnix:
		s.family = familyUnix
		s.bound = s.bound || sa.Name != ""
	default:
		return false
	}
	return true
}

// describe returns the name and the kind (SOCK_STREAM or SOCK_DGRAM) of a socket, or else says what fd is, with its
// article.
func describe(fd int) (name unix.Sockaddr, typ int, what string) {
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	switch {
	case err == unix.EBADF:
		return nil, 0, "not open"
	case err == nil && typ != unix.SOCK_STREAM && typ != unix.SOCK_DGRAM:
		return nil, 0, "a socket of another kind than a stream or datagrams"
	case err == nil:
		sa, err := unix.Getsockname(fd)
		if err != nil {
			return nil, 0, "a socket without a name (" + err.Error() + ")"
		}
		return sa, typ, ""
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, 0, "unknown (" + err.Error() + ")"
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return nil, 0, "a regular file"
	case unix.S_IFDIR:
		return nil, 0, "a directory"
	case unix.S_IFIFO:
		return nil, 0, "a pipe"
	case unix.S_IFCHR:
		return nil, 0, "a terminal or other character device"
	}
	return nil, 0, "no socket"
}
