//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package nodeipc

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// openChannel takes over an inherited descriptor, which is in blocking mode and not close-on-exec (docs/protocol.md 1.2).
func openChannel(fd int) (transport, error) {
	_, typ, what := describe(fd)
	if typ == unix.SOCK_DGRAM {
		what = "a datagram socket"
	}
	if what != "" {
		return nil, fmt.Errorf("descriptor %d is %s; expected the stream socket that Node's child_process makes", fd, what)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	t, err := fdconn.FromFD(fd)
	if err != nil {
		return nil, err
	}
	return t, nil
}
