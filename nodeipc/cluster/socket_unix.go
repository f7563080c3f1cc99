//go:build unix && !aix && !solaris

package cluster

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// A socket is one that the primary has opened for its workers, with system calls of its own: package net would listen
// with another backlog, and make of each connection much more than a descriptor.
type socket struct {
	file *os.File // in the runtime's poller
	rc   syscall.RawConn
	addr net.Addr
	name string    // the address for a successor: of a unix socket an absolute path
	path *pathFile // to be removed with it, or nil
}

// Node's default.
const defaultBacklog = 511

func openTCP(q *wanted) (*socket, error) {
	backlog := orDefault(q.backlog)
	if q.ip.IsValid() {
		return openInet(q.ip, q.port, unix.SOCK_STREAM, q.v6only, true, backlog)
	}
	s, err := openInet(netip.IPv6Unspecified(), q.port, unix.SOCK_STREAM, q.v6only, true, backlog)
	if err == unix.EAFNOSUPPORT || err == unix.EINVAL || err == unix.EADDRNOTAVAIL { // there is no IPv6
		return openInet(netip.IPv4Unspecified(), q.port, unix.SOCK_STREAM, false, true, backlog)
	}
	return s, err
}

func openUDP(q *wanted) (*socket, error) {
	return openInet(q.ip, q.port, unix.SOCK_DGRAM, q.v6only, q.reuse, 0)
}

func orDefault(backlog int) int {
	if backlog == 0 {
		return defaultBacklog
	}
	return backlog
}

// openInet makes a bound socket, which listens if it is a stream.
func openInet(ip netip.Addr, port, typ int, v6only, reuse bool, backlog int) (*socket, error) {
	family := unix.AF_INET6
	var sa unix.Sockaddr
	if ip.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: ip.As4()}
	} else {
		zone, err := zoneOf(ip.Zone())
		if err != nil {
			return nil, err
		}
		sa = &unix.SockaddrInet6{Port: port, Addr: ip.As16(), ZoneId: zone}
	}
	return newSocket(family, typ, func(fd int) error {
		if reuse {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, reuseOption(typ), 1); err != nil {
				return err
			}
		}
		if family == unix.AF_INET6 {
			on := 0
			if v6only {
				on = 1
			}
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, on); err != nil {
				return err
			}
		}
		if err := unix.Bind(fd, sa); err != nil || typ == unix.SOCK_DGRAM {
			return err
		}
		return unix.Listen(fd, backlog)
	})
}

func zoneOf(name string) (uint32, error) {
	if name == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, unix.EINVAL
	}
	return uint32(i.Index), nil
}

// openPath makes the socket of a path. The name is as short as it can be, as there is little room for it: from the
// directory of this process if that is shorter (Node v22 lib/internal/cluster/primary.js).
func openPath(q *wanted) (*socket, error) {
	name := q.path
	if dir, err := os.Getwd(); err == nil && filepath.IsAbs(name) {
		if rel, err := filepath.Rel(dir, name); err == nil && len(rel) < len(name) {
			name = rel
		}
	}
	if name[0] == '@' {
		name = "./" + name // a file, not an abstract name
	}
	// What is done by name afterwards is done in this directory, whatever a worker puts in the way meanwhile.
	dir, err := os.OpenRoot(filepath.Dir(name))
	if err != nil {
		return nil, unix.EACCES
	}
	file := &pathFile{dir: dir, base: filepath.Base(name)}
	s, err := newSocket(unix.AF_UNIX, unix.SOCK_STREAM, func(fd int) error {
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
			if err == unix.ENOENT { // as libuv has it
				err = unix.EACCES
			}
			return err
		}
		if err := file.made(q); err != nil {
			file.remove()
			return unix.EACCES
		}
		if err := unix.Listen(fd, orDefault(q.backlog)); err != nil {
			file.remove()
			return err
		}
		return nil
	})
	if err != nil {
		dir.Close()
		return nil, err
	}
	s.path, s.addr, s.name = file, &net.UnixAddr{Name: q.path, Net: "unix"}, absolute(q.path)
	return s, nil
}

// A pathFile is the file of a unix socket.
type pathFile struct {
	dir  *os.Root
	base string
	info os.FileInfo // of what was made
	lent int         // to so many successors, who see to the file
	over bool        // its socket is closed
}

// made notes what was made, and gives everybody the rights that readableAll and writableAll say.
func (p *pathFile) made(q *wanted) error {
	info, err := p.dir.Lstat(p.base)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return unix.EACCES // somebody has changed places
	}
	p.info = info
	mode := os.FileMode(0)
	if q.all.read {
		mode |= 0o444
	}
	if q.all.write {
		mode |= 0o222
	}
	if mode == 0 {
		return nil
	}
	return p.dir.Chmod(p.base, info.Mode().Perm()|mode)
}

// remove removes the file, unless something else has its name by now.
func (p *pathFile) remove() {
	if info, err := p.dir.Lstat(p.base); err == nil && p.info != nil && os.SameFile(info, p.info) {
		p.dir.Remove(p.base)
	}
}

// tidy removes the file when its time has come.
func (p *pathFile) tidy() {
	if p.over && p.lent == 0 {
		p.remove()
		p.dir.Close()
	}
}

// openFile makes a socket of a duplicate of c.
func openFile(c syscall.Conn, udp bool, backlog int) (*socket, error) {
	addr, err := nameOf(c)
	if errors.Is(err, unix.ENOTSOCK) {
		return nil, unix.EINVAL // as in Node
	}
	if err != nil {
		return nil, unix.EBADF
	}
	fd, err := duplicateFD(c)
	if err != nil {
		return nil, err
	}
	want := unix.SOCK_STREAM
	if udp {
		want = unix.SOCK_DGRAM
	}
	if typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || typ != want {
		unix.Close(fd)
		return nil, unix.EINVAL
	}
	if !udp {
		if err := unix.Listen(fd, orDefault(backlog)); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	s, err := ownSocket(fd)
	if err == nil {
		s.addr, s.name = addr, addr.String()
	}
	return s, err
}

func duplicateFD(c syscall.Conn) (fd int, err error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return -1, unix.EBADF
	}
	if cerr := rc.Control(func(from uintptr) { fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return -1, unix.EBADF
	}
	return fd, err
}

// duplicate returns another descriptor of the socket.
func (s *socket) duplicate() (*os.File, error) {
	fd, err := duplicateFD(s.file)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), s.name), nil
}

// nameOf returns the address of a socket of the caller's. That of a unix socket is absolute: its Name if that is,
// because who has bound it may have done so in another directory.
func nameOf(c syscall.Conn) (addr net.Addr, err error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := rc.Control(func(fd uintptr) {
		var name unix.Sockaddr
		if name, err = unix.Getsockname(int(fd)); err == nil {
			typ, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
			addr = addrOf(name, typ)
		}
	})
	if cerr != nil {
		return nil, cerr
	}
	if u, ok := addr.(*net.UnixAddr); ok && u.Name != "" && u.Name[0] != '@' {
		if named, ok := c.(interface{ Name() string }); ok && filepath.IsAbs(named.Name()) {
			u.Name = named.Name()
		}
		u.Name = absolute(u.Name)
	}
	return addr, err
}

func closeOnExec(fd int) { unix.CloseOnExec(fd) }

// listens says why fd is no socket that can be shared.
func listens(fd int) error {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		return errors.New("is not open")
	}
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return errors.New("is no socket")
	}
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if typ != unix.SOCK_DGRAM && err == nil && on == 0 { // not every system knows
		return errors.New("is a socket that does not listen")
	}
	return nil
}

// newSocket makes a socket and prepares it.
func newSocket(family, typ int, prepare func(fd int) error) (*socket, error) {
	syscall.ForkLock.RLock() // no worker that is just starting inherits it
	fd, err := unix.Socket(family, typ, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, err
	}
	if err := prepare(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return ownSocket(fd)
}

// ownSocket takes over fd.
func ownSocket(fd int) (*socket, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	typ, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	s := &socket{file: os.NewFile(uintptr(fd), "socket:"+strconv.Itoa(fd)), addr: addrOf(name, typ)}
	s.name = s.addr.String()
	if s.rc, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

func addrOf(sa unix.Sockaddr, typ int) net.Addr {
	var ip net.IP
	port, zone := 0, ""
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		ip, port = sa.Addr[:], sa.Port
	case *unix.SockaddrInet6:
		ip, port = sa.Addr[:], sa.Port
		if sa.ZoneId != 0 {
			zone = strconv.Itoa(int(sa.ZoneId))
			if i, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil {
				zone = i.Name
			}
		}
	case *unix.SockaddrUnix:
		return &net.UnixAddr{Name: sa.Name, Net: "unix"}
	}
	if typ == unix.SOCK_DGRAM {
		return &net.UDPAddr{IP: ip, Port: port, Zone: zone}
	}
	return &net.TCPAddr{IP: ip, Port: port, Zone: zone}
}

// accept waits for a connection and returns its descriptor, close-on-exec and non-blocking, and the address of the other
// end, invalid for a unix path.
func (s *socket) accept() (fd int, peer netip.Addr, err error) {
	rerr := s.rc.Read(func(ln uintptr) bool {
		fd, peer, err = acceptOnce(int(ln))
		return err != unix.EAGAIN
	})
	if rerr != nil {
		return -1, peer, rerr
	}
	return fd, peer, err
}

// tryAccept is accept without waiting.
func (s *socket) tryAccept() (fd int, peer netip.Addr, err error) {
	rerr := s.rc.Control(func(ln uintptr) { fd, peer, err = acceptOnce(int(ln)) })
	if rerr != nil {
		return -1, peer, rerr
	}
	return fd, peer, err
}

func acceptOnce(ln int) (fd int, peer netip.Addr, err error) {
	for {
		fd, peer, err = acceptFD(ln)
		if err != unix.EINTR && err != unix.ECONNABORTED {
			return fd, peer, err
		}
	}
}

// close closes the socket and removes its path, unless that is lent. It may be called more than once.
func (s *socket) close() {
	if s.file.Close() == nil && s.path != nil {
		s.path.over = true
		s.path.tidy()
	}
}

// lend leaves the file in place from now on, takeBack removes it with the socket, or at once if that is closed.
func (s *socket) lend() {
	if s.path != nil {
		s.path.lent++
	}
}

func (s *socket) takeBack() {
	if s.path != nil {
		s.path.lent--
		s.path.tidy()
	}
}

func closeSocket(fd int) { unix.Close(fd) }
