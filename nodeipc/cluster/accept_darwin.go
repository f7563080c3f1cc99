package cluster

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

func acceptFD(ln int) (int, netip.Addr, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	var peer netip.Addr
	fd, sa, err := unix.Accept(ln)
	if err != nil {
		return -1, peer, err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return -1, peer, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		peer = netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		peer = netip.AddrFrom16(sa.Addr).Unmap()
	}
	return fd, peer, nil
}
