package main

import (
	"os"
	"os/signal"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reapStrangers takes the exits of processes that have become children of this one because it is the first of its
// namespace, and their parents are gone. The exits of workers are not taken: each process is looked at before it is
// waited for, and none is forked in between.
func (r *runner) reapStrangers() {
	if os.Getpid() != 1 {
		return
	}
	exits := make(chan os.Signal, 1)
	signal.Notify(exits, unix.SIGCHLD)
	go func() {
		for range exits {
			for {
				pid := endedChild()
				if pid == 0 {
					break
				}
				if !r.reapStranger(pid) {
					time.Sleep(time.Millisecond) // others come when the worker is out of the way
				}
			}
		}
	}()
}

// reapStranger waits for a process that has ended, unless it is a worker.
func (r *runner) reapStranger(pid int) bool {
	r.forking.Lock()
	defer r.forking.Unlock()
	if r.pids[pid] {
		return false
	}
	for {
		if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != unix.EINTR {
			return true
		}
	}
}

// endedChild returns a child that has ended and that nobody has waited for, or 0.
func endedChild() int {
	var info unix.Siginfo
	for {
		switch unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil) {
		case nil:
			// siginfo_t: three ints, then, aligned as a pointer is, si_pid.
			const at = 2*4 + unsafe.Sizeof(uintptr(0))
			return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), at)))
		case unix.EINTR:
		default:
			return 0
		}
	}
}
