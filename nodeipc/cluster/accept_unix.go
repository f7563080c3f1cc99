//go:build unix && !darwin && !aix && !solaris

package cluster

import "golang.org/x/sys/unix"

func acceptFD(ln int) (int, error) {
	fd, _, err := unix.Accept4(ln, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	return fd, err
}
