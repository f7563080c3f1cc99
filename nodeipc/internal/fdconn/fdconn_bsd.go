//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package fdconn

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A write to a peer that is gone gives EPIPE without a signal: Go's runtime ignores SIGPIPE but on 1 and 2.
const sendFlags = unix.MSG_DONTWAIT

const scmPIDFD = -1 // there is none

type recvState struct{ oob [1040]byte }

// recv reads once; it reports false when there is nothing to read. Without MSG_CMSG_CLOEXEC the descriptors are marked
// under ForkLock, so that no child started meanwhile inherits them.
func (c *Conn) recv(fd uintptr) bool {
	for {
		in, err := recvFault(c.in)
		var n, oobn, flags int
		syscall.ForkLock.RLock()
		if err == nil {
			n, oobn, flags, _, err = unix.Recvmsg(int(fd), in, c.oob[:], unix.MSG_DONTWAIT)
		}
		c.lost = flags&unix.MSG_CTRUNC != 0
		if err == nil && oobn > 0 {
			c.addRights(c.oob[:oobn])
			for _, fd := range c.fds {
				unix.CloseOnExec(fd)
			}
		}
		syscall.ForkLock.RUnlock()
		switch err {
		case nil:
			c.inN = n
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			c.inErr = os.NewSyscallError("recvmsg", err)
			return true
		}
	}
}

func sendBytes(fd int, p []byte) (int, error) {
	return unix.SendmsgN(fd, p, nil, nil, sendFlags)
}

// unread: these systems do not tell how much the peer has yet to read.
func unread(int) bool { return false }

type writerState struct{}

func (c *Conn) letReadEnd() {}

// TakesSeveral is as on Linux; of these systems it is not known.
func (c *Conn) TakesSeveral() bool { return false }

// Pair makes two connected sockets, close-on-exec; the first is non-blocking, for us, the second blocking, for a child
// to inherit (docs/protocol.md 1.2).
func Pair() (ours, theirs int, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return -1, -1, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return -1, -1, os.NewSyscallError("fcntl", err)
	}
	return fds[0], fds[1], nil
}
