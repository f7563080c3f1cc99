package nodeipc

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fdTimer is an alarmTimer on a timerfd. On Linux the timers of package time are no good for less than a millisecond:
// the runtime sleeps in epoll_wait, whose unit that is. Its system calls never wait, so the scheduler need not know of
// them; telling it would wake its monitor in a process that is otherwise idle.
type fdTimer struct {
	f     *os.File
	rc    syscall.RawConn
	spec  unix.ItimerSpec
	setFn func(fd uintptr)
}

func newAlarmTimer(ring func()) alarmTimer {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return newGoTimer(ring) // late is better than never
	}
	t := &fdTimer{f: os.NewFile(uintptr(fd), "timerfd")}
	t.rc, err = t.f.SyscallConn()
	if err != nil {
		t.f.Close()
		return newGoTimer(ring)
	}
	t.setFn = func(fd uintptr) {
		unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&t.spec)), 0, 0, 0)
	}
	go t.run(ring)
	return t
}

// run rings each time the timer has expired, until it is stopped.
func (t *fdTimer) run(ring func()) {
	var b [8]byte
	expired := func(fd uintptr) bool {
		_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		return errno != unix.EAGAIN
	}
	for t.rc.Read(expired) == nil {
		ring()
	}
}

func (t *fdTimer) set(d time.Duration) {
	t.spec.Value = unix.NsecToTimespec(int64(d))
	t.rc.Control(t.setFn)
}

func (t *fdTimer) stop() { t.f.Close() }
