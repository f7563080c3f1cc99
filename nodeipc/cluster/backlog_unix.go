//go:build unix && !aix && !solaris

package cluster

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// listenBacklog listens on a socket that is bound, as Node workers do for themselves.
func listenBacklog(h *nodeipc.Handle, backlog int) error {
	rc, err := h.SyscallConn()
	if err != nil {
		return err
	}
	var lerr error
	if err := rc.Control(func(fd uintptr) { lerr = unix.Listen(int(fd), backlog) }); err != nil {
		return err
	}
	return os.NewSyscallError("listen", lerr)
}
