//go:build unix && !aix && !linux && !solaris

package cluster

import (
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A peeker waits for every connection in a goroutine, on a duplicate that the runtime polls. The end of a connection
// that has sent something is not told apart from its silence: it is decided when its time is over.
type peeker struct {
	eye

	mu      sync.Mutex
	closed  bool
	waiting []*os.File // the oldest first
	running sync.WaitGroup
}

func recv(fd int, buf []byte, flags int) (n int, err error) {
	n, _, err = unix.Recvfrom(fd, buf, flags)
	return n, err
}

func newPeeker(limits peekLimits) *peeker { return &peeker{eye: eye{limits: limits}} }

// wait waits for more. Beyond the limit, the oldest gives up.
func (p *peeker) wait(fd int, o onlooker, seen int) {
	p.mu.Lock()
	file := p.duplicate(fd)
	if file == nil {
		p.mu.Unlock()
		p.giveUp(fd, o)
		return
	}
	defer p.mu.Unlock()
	if len(p.waiting) >= p.limits.number {
		p.waiting[0].SetReadDeadline(time.Unix(1, 0))
		p.waiting = p.waiting[1:]
	}
	p.waiting = append(p.waiting, file)
	p.running.Go(func() { p.watch(file, fd, o, seen) })
}

// duplicate returns nil when nothing can be waited for. mu is held.
func (p *peeker) duplicate(fd int) *os.File {
	if p.closed {
		return nil
	}
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	file := os.NewFile(uintptr(dup), "connection")
	if file.SetReadDeadline(time.Now().Add(p.limits.timeout)) != nil {
		file.Close()
		return nil
	}
	return file
}

func (p *peeker) watch(file *os.File, fd int, o onlooker, seen int) {
	done := false
	if conn, err := file.SyscallConn(); err == nil {
		conn.Read(func(uintptr) bool {
			seen, done = p.try(fd, o, seen, false)
			return done
		})
	}
	p.mu.Lock()
	if i := slices.Index(p.waiting, file); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	p.mu.Unlock()
	file.Close()
	if !done {
		p.giveUp(fd, o)
		return
	}
	o.looked()
}

// close ends the waiting for all, and returns when every looked has been called that belongs to a connection that
// waited. It must not be called by an onlooker, nor with a lock held that one takes. Afterwards nothing is waited for
// any more.
func (p *peeker) close() {
	p.mu.Lock()
	p.closed = true
	for _, file := range p.waiting {
		file.SetReadDeadline(time.Unix(1, 0))
	}
	p.mu.Unlock()
	p.running.Wait()
}
