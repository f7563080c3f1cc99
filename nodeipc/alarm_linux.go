package nodeipc

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fdTimer is an alarmTimer on a timerfd. On Linux the timers of package time are no good for less than a millisecond:
// the runtime sleeps in epoll_wait, whose unit that is.
type fdTimer struct{ f *os.File }

func newAlarmTimer(ring func()) alarmTimer {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return newGoTimer(ring) // late is better than never
	}
	t := &fdTimer{os.NewFile(uintptr(fd), "timerfd")}
	go func() {
		var b [8]byte
		for {
			if _, err := t.f.Read(b[:]); err != nil {
				return // stopped
			}
			ring()
		}
	}()
	return t
}

func (t *fdTimer) set(d time.Duration) {
	rc, err := t.f.SyscallConn()
	if err != nil {
		return
	}
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	rc.Control(func(fd uintptr) { unix.TimerfdSettime(int(fd), 0, &spec, nil) })
}

func (t *fdTimer) stop() { t.f.Close() }
