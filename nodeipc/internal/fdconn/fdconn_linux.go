package fdconn

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const sendFlags = unix.MSG_NOSIGNAL | unix.MSG_DONTWAIT

// Below this size a system call of ours ends so soon that telling the scheduler about it costs more than it can gain.
const shortCall = 64 << 10

// What comes with each read if whoever else holds the socket has set SO_PASSPIDFD: a descriptor of the sender's process,
// which nobody here wants.
const scmPIDFD = unix.SCM_PIDFD

// recvState is kept between reads so that none of them allocates.
type recvState struct {
	msg unix.Msghdr
	iov unix.Iovec
	oob [1040]byte // CmsgSpace of MaxFDs descriptors
}

// recv reads once; it reports false when there is nothing to read. MSG_DONTWAIT, because an inherited descriptor shares
// its blocking mode with whoever else holds it.
func (c *Conn) recv(fd uintptr) bool {
	for {
		in, err := recvFault(c.in)
		c.iov.Base = unsafe.SliceData(in)
		c.iov.SetLen(len(in))
		c.msg.Iov = &c.iov
		c.msg.SetIovlen(1)
		c.msg.Control = &c.oob[0]
		c.msg.SetControllen(len(c.oob))
		c.msg.Flags = 0
		var n uintptr
		var errno syscall.Errno
		if err != nil {
			errno = err.(syscall.Errno)
		} else if len(in) <= shortCall {
			n, _, errno = unix.RawSyscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&c.msg)), unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		} else {
			n, _, errno = unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&c.msg)), unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		}
		switch errno {
		case 0:
			c.inN, c.lost = int(n), c.msg.Flags&unix.MSG_CTRUNC != 0
			if c.msg.Controllen > 0 {
				c.addRights(c.oob[:c.msg.Controllen])
			}
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			c.inErr = os.NewSyscallError("recvmsg", errno)
			return true
		}
	}
}

func sendBytes(fd int, p []byte) (int, error) {
	call := unix.Syscall6
	if len(p) <= shortCall {
		call = unix.RawSyscall6
	}
	n, _, errno := call(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), sendFlags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// unread tells whether the peer of a unix socket has yet to read something that was written. What the kernel counts is
// memory; a single byte of it stays for the moment in which it tells the poller that the rest is free.
func unread(fd int) bool {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil || n <= 1 {
		return false
	}
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_UNIX // of others the poller does not tell, and they carry no descriptors
}

type writerState struct{ denoKnown, deno bool }

// Long for a system call in a busy virtual machine, short beside Deno's own work on a handle.
const denoGap = 5 * time.Millisecond

// letReadEnd waits out the moment in which Deno, which has taken the last bytes, is still in that call: what is written
// now would come with the same read. In a virtual machine the moment is long enough to lose one descriptor in 500, and
// nothing tells when it is over, so that only time is left.
func (c *Conn) letReadEnd() {
	if c.toDeno() {
		time.Sleep(denoGap)
	}
}

// toDeno looks up what program the peer is, when it matters: earlier it may be a script that has not come to start it.
func (c *Conn) toDeno() bool {
	if !c.denoKnown {
		exe, err := os.Readlink("/proc/" + strconv.Itoa(c.Peer) + "/exe")
		c.denoKnown, c.deno = true, err == nil && strings.HasPrefix(filepath.Base(exe), "deno")
	}
	return c.deno
}

// TakesSeveral tells whether TrySendFD may be called again before the peer has read what the last one wrote whole: this
// kernel ends a read behind a descriptor. Deno, which loses one that is not at the beginning of a read, is spared that.
// It is for the goroutine that writes.
func (c *Conn) TakesSeveral() bool { return !c.toDeno() }

// Pair makes two connected sockets, close-on-exec; the first is non-blocking, for us, the second blocking, for a child
// to inherit (docs/protocol.md 1.2).
func Pair() (ours, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
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
