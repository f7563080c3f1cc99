package cluster

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The kernel's list of sockets, sock_diag(7).
const (
	sockDiagByFamily = 20
	diagRequestSize  = 56 // struct inet_diag_req_v2
	diagAnswerSize   = 72 // struct inet_diag_msg
	diagStates       = 4
	diagID           = 8 // the ports and addresses of a request
	diagAnswerCookie = 4 + 40
	diagAnswerInode  = 68
	timeWait         = 6
	synRecv          = 3
	listening        = 10
)

// A census keeps its memory from one time to the next, because there are up to 200 a second.
type census struct {
	buf  []byte
	open map[uint64]struct{}
}

// take returns the cookies of the TCP connections to the port of addr that some process has open. They are valid until
// the next time.
func (c *census) take(addr *net.TCPAddr) (map[uint64]struct{}, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	limit := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	// That of the socket, which may be IPv6 with an address of IPv4 in it; so are its connections then.
	family := byte(unix.AF_INET6)
	if len(addr.IP) == net.IPv4len {
		family = unix.AF_INET
	}
	req := make([]byte, unix.SizeofNlMsghdr+diagRequestSize)
	binary.NativeEndian.PutUint32(req[0:], uint32(len(req)))
	binary.NativeEndian.PutUint16(req[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := req[unix.SizeofNlMsghdr:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[diagStates:], ^uint32(1<<timeWait|1<<synRecv|1<<listening))
	binary.BigEndian.PutUint16(body[diagID:], uint16(addr.Port))
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	if c.buf == nil {
		c.buf, c.open = make([]byte, 64<<10), map[uint64]struct{}{}
	}
	clear(c.open)
	for {
		n, err := unix.Read(fd, c.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("read", err)
		}
		for b := c.buf[:n]; len(b) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > len(b) {
				return nil, fmt.Errorf("sock_diag: a message of %d bytes in %d", size, len(b))
			}
			m := b[unix.SizeofNlMsghdr:size]
			switch binary.NativeEndian.Uint16(b[4:]) {
			case unix.NLMSG_DONE:
				return c.open, nil
			case unix.NLMSG_ERROR:
				if len(m) >= 4 {
					return nil, os.NewSyscallError("sock_diag", unix.Errno(-int32(binary.NativeEndian.Uint32(m))))
				}
				return nil, fmt.Errorf("sock_diag: an error of %d bytes", size)
			}
			// Without an inode nobody has it open any more: the kernel sends what is left, and waits for the other end.
			if len(m) >= diagAnswerSize && binary.NativeEndian.Uint32(m[diagAnswerInode:]) != 0 {
				low, high := binary.NativeEndian.Uint32(m[diagAnswerCookie:]), binary.NativeEndian.Uint32(m[diagAnswerCookie+4:])
				c.open[uint64(high)<<32|uint64(low)] = struct{}{}
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// cookie returns what the kernel calls the connection.
func (c *incoming) cookie() (cookie uint64, err error) {
	cerr := c.Control(func(fd uintptr) { cookie, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) })
	if cerr != nil {
		return 0, cerr
	}
	return cookie, os.NewSyscallError("getsockopt", err)
}
