package cluster

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A spawner starts processes from one thread that lives as long as they do: the kernel's parent-death signal comes
// when the thread that started a process ends, and Go ends threads, those of goroutines that return locked to theirs.
type spawner struct {
	mu    sync.Mutex
	jobs  chan func()
	ended bool
}

// start starts cmd, which is killed if this process ends, however it does.
func (p *Primary) start(cmd *exec.Cmd) error {
	s := &p.spawn
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return ErrPrimaryClosed
	}
	if s.jobs == nil {
		s.jobs = make(chan func())
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread() // the thread stays
			for job := range s.jobs {
				job()
			}
		}()
	}
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	err := make(chan error)
	s.jobs <- func() { err <- cmd.Start() }
	return <-err
}

func (s *spawner) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs != nil && !s.ended {
		close(s.jobs)
	}
	s.ended = true
}

// awaitExit waits until the process has ended, and leaves its number to it.
func awaitExit(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

const awaitsExit = true

func reuseOption(int) int { return unix.SO_REUSEADDR }
