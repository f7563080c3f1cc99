//go:build unix && !darwin && !aix && !solaris

package cluster

import "syscall"

// acceptFD is by package syscall, as that of x/sys/unix asks each new connection for its protocol, to tell its address.
func acceptFD(ln int) (int, error) {
	fd, _, err := syscall.Accept4(ln, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
	return fd, err
}
