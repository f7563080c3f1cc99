//go:build unix && !darwin && !aix && !solaris

package cluster

import (
	"net/netip"
	"syscall"
)

// acceptFD also tells the address of the other end, invalid for a unix path. It is by package syscall, as that of x/sys/unix asks each new connection for its protocol, to tell its address.
func acceptFD(ln int) (fd int, peer netip.Addr, err error) {
	fd, sa, err := syscall.Accept4(ln, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		peer = netip.AddrFrom4(sa.Addr)
	case *syscall.SockaddrInet6:
		peer = netip.AddrFrom16(sa.Addr).Unmap()
	}
	return fd, peer, err
}
