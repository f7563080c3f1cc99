//go:build unix && !aix && !solaris

package cluster

import (
	"sync"

	"golang.org/x/sys/unix"
)

// An eye looks once.
type eye struct {
	limits peekLimits
	bufs   sync.Pool
}

// try shows o what is there if that is more than what it has seen, or the last. It returns how much o has seen now, and
// whether that will do.
func (e *eye) try(fd int, o onlooker, seen int, last bool) (int, bool) {
	buf, _ := e.bufs.Get().(*[]byte)
	if buf == nil {
		buf = new(make([]byte, e.limits.size))
	}
	defer e.bufs.Put(buf)
	n, err := peek(fd, *buf)
	switch {
	case err == unix.EAGAIN:
		n = 0
	case err != nil || n == 0: // it has ended
		n, last = 0, true
	}
	last = last || n == len(*buf)
	if n <= seen && !last {
		return seen, false
	}
	return n, o.enough((*buf)[:n], last) || last
}

func peek(fd int, buf []byte) (n int, err error) {
	for {
		n, err = recv(fd, buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// look tells o of the first bytes of the connection fd, which stays the caller's and must stay open until o.looked. If
// what is there will do, that has been called when look returns. It never blocks.
func (p *peeker) look(fd int, o onlooker) {
	if seen, done := p.try(fd, o, 0, false); !done {
		p.wait(fd, o, seen)
		return
	}
	o.looked()
}

// giveUp tells o what there is, for the last time.
func (e *eye) giveUp(fd int, o onlooker) {
	e.try(fd, o, 0, true)
	o.looked()
}
