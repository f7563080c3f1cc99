package cluster

import (
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A peeker waits for all connections in one goroutine, which is there while there is one to wait for. Their descriptors
// are in an epoll set of their own, which itself is in that of the runtime: there is no thread for it, and its read
// deadline is the timer.
type peeker struct {
	eye

	mu          sync.Mutex
	closed      bool
	set         *os.File // of epoll, or nil
	raw         syscall.RawConn
	fd          int       // of set
	armed       time.Time // the deadline of set, none later than the first
	byFD        map[int32]*waiting
	first, last *waiting      // in the order of their deadlines
	generation  int32         // tells one that waits from an earlier one of the same descriptor
	ended       chan struct{} // closed when the goroutine has ended; nil when there is none
}

// A waiting connection has not sent enough. Who takes it out of the peeker calls its onlooker from then on; until then
// the goroutine does, and it is busy meanwhile.
type waiting struct {
	fd         int
	o          onlooker
	deadline   time.Time
	generation int32
	seen       int // bytes that o knows
	busy       bool
	prev, next *waiting
}

// recv is recvfrom without the address, which package unix would make of what the kernel does not say. It does not block.
func recv(fd int, buf []byte, flags int) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(buf))),
		uintptr(len(buf)), uintptr(flags), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func newPeeker(limits peekLimits) *peeker {
	return &peeker{eye: eye{limits: limits}, byFD: map[int32]*waiting{}}
}

// wait waits for more. Beyond the limit, the oldest gives up.
func (p *peeker) wait(fd int, o onlooker, seen int) {
	p.mu.Lock()
	w := &waiting{fd: fd, o: o, deadline: time.Now().Add(p.limits.timeout), seen: seen}
	if p.closed || !p.add(w) {
		p.mu.Unlock()
		p.giveUp(fd, o)
		return
	}
	var oldest *waiting
	if len(p.byFD) > p.limits.number {
		if oldest = p.first; oldest.busy {
			oldest = oldest.next
		}
		p.remove(oldest)
	}
	p.mu.Unlock()
	if oldest != nil {
		p.giveUp(oldest.fd, oldest.o)
	}
}

// add takes w in, and starts the goroutine. It reports false when there is no room for it in the kernel. mu is held.
func (p *peeker) add(w *waiting) bool {
	if p.set == nil && !p.open() {
		return false
	}
	p.generation++
	w.generation = p.generation
	// What came since it was tried, and the end of a connection, is reported as well: it is there when it is added.
	ok := p.control(unix.EPOLL_CTL_ADD, w.fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(w.fd),
		Pad:    w.generation,
	})
	if !ok {
		return false
	}
	p.byFD[int32(w.fd)] = w
	if w.prev = p.last; w.prev == nil {
		p.first = w
	} else {
		w.prev.next = w
	}
	p.last = w
	if p.ended == nil {
		p.ended = make(chan struct{})
		go p.run(p.ended)
	}
	return true
}

func (p *peeker) open() bool {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return false
	}
	unix.SetNonblock(fd, true) // or the runtime would not poll it
	set := os.NewFile(uintptr(fd), "epoll")
	raw, err := set.SyscallConn()
	if err != nil || set.SetReadDeadline(time.Time{}) != nil {
		set.Close()
		return false
	}
	p.set, p.raw, p.fd = set, raw, fd
	return true
}

// control changes the epoll set. mu is held, and the set open.
func (p *peeker) control(op, fd int, event *unix.EpollEvent) bool {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(event)), 0, 0)
	return errno == 0
}

// remove takes w out, also of the epoll set: that would keep it as long as any process has the connection. mu is held.
func (p *peeker) remove(w *waiting) {
	p.control(unix.EPOLL_CTL_DEL, w.fd, nil)
	delete(p.byFD, int32(w.fd))
	if w.prev == nil {
		p.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		p.last = w.prev
	} else {
		w.next.prev = w.prev
	}
}

// run waits until there is nothing to wait for.
func (p *peeker) run(ended chan struct{}) {
	defer close(ended)
	events := make([]unix.EpollEvent, 64)
	// What happens is dealt with here, before the runtime waits: it knows what has come meanwhile. A new Read would have
	// to try once more, in vain.
	read := func(set uintptr) bool {
		n, _ := unix.EpollWait(int(set), events, 0)
		for i := range max(n, 0) {
			p.happened(&events[i])
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return n == len(events) || p.first == nil
	}
	for p.next() {
		p.raw.Read(read) // an error is that the oldest may be due
		p.expire()
	}
}

// next reports false if there is nothing to wait for, and then run ends. Only a deadline that is over is set anew, because
// those that come are later ones.
func (p *peeker) next() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == nil {
		p.ended = nil
		return false
	}
	if !p.armed.After(time.Now()) {
		p.armed = p.first.deadline
		p.set.SetReadDeadline(p.armed)
	}
	return true
}

// happened looks at a connection that has sent something, or has ended.
func (p *peeker) happened(event *unix.EpollEvent) {
	p.mu.Lock()
	w := p.byFD[event.Fd]
	if w == nil || w.generation != event.Pad {
		p.mu.Unlock()
		return
	}
	w.busy = true
	p.mu.Unlock()
	over := event.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	seen, done := p.try(w.fd, w.o, w.seen, over)
	p.mu.Lock()
	w.seen, w.busy = seen, false
	closed := p.closed
	if done || closed {
		p.remove(w)
	}
	p.mu.Unlock()
	switch {
	case done:
		w.o.looked()
	case closed:
		p.giveUp(w.fd, w.o)
	}
}

// expire ends the waiting for those that are due.
func (p *peeker) expire() {
	now := time.Now()
	for {
		p.mu.Lock()
		w := p.first
		if w == nil || w.deadline.After(now) {
			p.mu.Unlock()
			return
		}
		p.remove(w)
		p.mu.Unlock()
		p.giveUp(w.fd, w.o)
	}
}

// close ends the waiting for all, and returns when every looked has been called that belongs to a connection that
// waited. It must not be called by an onlooker, nor with a lock held that one takes. Afterwards nothing is waited for
// any more.
func (p *peeker) close() {
	p.mu.Lock()
	p.closed = true
	var all []*waiting
	for w := p.first; w != nil; w = w.next {
		if !w.busy {
			p.remove(w)
			all = append(all, w)
		}
	}
	ended := p.ended
	if p.set != nil {
		p.set.SetReadDeadline(time.Unix(1, 0)) // wakes it
	}
	p.mu.Unlock()
	for _, w := range all {
		p.giveUp(w.fd, w.o)
	}
	if ended != nil {
		<-ended
	}
	if p.set != nil {
		p.set.Close()
	}
}
