package cluster

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A listener is a socket of the primary that workers share. What is not constant is guarded by p.mu.
type listener struct {
	p      *Primary
	key    string
	order  int // in which they were opened
	sock   *socket
	given  int    // which of p.Listeners it is, or -1
	policy policy // nil: the workers have the socket itself
	looker looker // the policy, if it is one
	shared bool
	data   *serverData // of the first worker that had any

	members []*member // the next to get a connection first
	pending []*incoming
	unseen  int  // how many of pending the policy has to look at
	queued  int  // how many of pending are in queues
	round   int  // of giving away
	looking int  // connections that the policy looks at
	due     bool // in p.due
	room    sync.Cond
	accepts bool // its goroutine runs, and may have one that is not pending yet
	stopped bool // accepts nothing any more
	closed  bool
	deaths  map[string]time.Time // of each group the last member that died without being asked to leave
	linger  *time.Timer          // while it has no members
}

// A member is a worker that shares a listener.
type member struct {
	w     *Process
	l     *listener
	ready bool // it has been told the key, and can get connections
	queue queue
}

// An incoming is a connection that the primary has accepted and no worker has taken so far. It is the syscall.Conn that
// is sent.
type incoming struct {
	l    *listener
	w    *Process // who was sent it, or nil
	seq  int64    // of that message
	sent time.Time

	peer netip.Addr // of the other end, invalid for a unix path

	queue   *queue // in which it waits, or nil
	by      policy // who has looked at it
	inLook  bool   // it has been given to look, which has not returned
	matched uint64 // what ByRequest has found: a bit for each route

	mu sync.Mutex
	fd int
}

var (
	_ syscall.Conn    = (*incoming)(nil)
	_ syscall.RawConn = (*incoming)(nil)
)

// How many connections wait here for any worker; others wait in the kernel. What is in queues comes on top.
const maxPending = 512

// How long nobody needs to share a listener whose workers have died, or have left connections: the time for new ones.
const lingerTime = 5 * time.Second

// accept takes connections until the listener closes.
func (l *listener) accept() {
	p := l.p
	defer func() {
		p.mu.Lock()
		l.accepts = false
		p.notify()
		p.mu.Unlock()
	}()
	pause := time.Duration(0)
	for {
		fd, peer, err := l.sock.accept()
		if err != nil {
			p.mu.Lock()
			over := l.stopped || l.closed
			p.mu.Unlock()
			if over {
				return
			}
			// A connection that was gone at once, or no descriptor left: as net/http does it.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			p.log().Warn("cluster: accept", "addr", l.sock.addr, "error", err, "again after", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		p.mu.Lock()
		over := !l.push(fd, peer)
		p.unlock()
		if over {
			return
		}
		p.mu.Lock()
		for !l.hasRoom() && !l.stopped && !l.closed {
			l.room.Wait()
		}
		p.mu.Unlock()
	}
}

// push takes over an accepted connection. mu is held; unlock follows.
func (l *listener) push(fd int, peer netip.Addr) bool {
	if l.closed {
		closeSocket(fd)
		return false
	}
	l.add(len(l.pending), &incoming{l: l, fd: fd, peer: peer})
	return true
}

// use makes p the policy. mu is held.
func (l *listener) use(p policy) {
	l.policy = p
	l.looker, _ = p.(looker)
	l.unseen = 0
	for _, c := range l.pending {
		if l.mustSee(c) {
			l.unseen++
		}
	}
	l.regroup()
}

// regroup empties the queues: what is in one may no longer have to wait for the same. mu is held; isDue follows.
func (l *listener) regroup() {
	for _, c := range l.pending {
		l.enqueue(c, nil)
	}
}

// enqueue puts c, which is pending, in the queue q, or in none. mu is held.
func (l *listener) enqueue(c *incoming, q *queue) {
	if c.queue == q {
		return
	}
	if old := c.queue; old != nil {
		l.queued--
		if old.n--; old.n == 0 {
			old.full = false
		}
	}
	if c.queue = q; q == nil {
		return
	}
	l.queued++
	if q.n++; q.n == maxQueue && !q.full {
		q.full = true
		l.p.log().Warn("cluster: too many connections wait, more go elsewhere", "addr", l.sock.addr, q.name, "waiting", q.n)
	}
	l.room.Signal()
}

// hasRoom reports whether more may be accepted. mu is held.
func (l *listener) hasRoom() bool { return len(l.pending)-l.queued < maxPending }

// mustSee reports whether the policy has to look at c first.
func (l *listener) mustSee(c *incoming) bool { return l.looker != nil && c.by != l.policy }

// add makes c pending at place i. mu is held; unlock follows.
func (l *listener) add(i int, c *incoming) {
	l.pending = slices.Insert(l.pending, i, c)
	if l.mustSee(c) {
		l.unseen++
	}
	l.isDue()
}

// isDue sees to it that unlock looks for workers for what is pending.
func (l *listener) isDue() {
	if !l.due && len(l.pending) > 0 && !l.closed {
		l.due = true
		l.p.due = append(l.p.due, l)
	}
}

// unlock unlocks mu and gives pending connections to workers that can take them, as far as there are.
func (p *Primary) unlock() {
	for len(p.due) > 0 {
		l := p.due[len(p.due)-1]
		c, looker := l.assign()
		if c == nil {
			l.due = false
			p.due = p.due[:len(p.due)-1]
			continue
		}
		w, seq := c.w, c.seq
		p.mu.Unlock()
		if looker != nil {
			looker.look(c)
		} else {
			c.send(w, seq)
		}
		p.mu.Lock()
		c.inLook = false
	}
	p.mu.Unlock()
}

// assign takes the oldest pending connection for which there is a worker, or one that the policy has not looked at.
func (l *listener) assign() (*incoming, looker) {
	if l.closed || len(l.pending) == 0 {
		return nil, nil
	}
	if l.unseen > 0 {
		c := l.take(slices.IndexFunc(l.pending, l.mustSee))
		l.looking++
		c.inLook = true
		return c, l.looker
	}
	now := time.Now()
	if !slices.ContainsFunc(l.members, func(m *member) bool { return m.takes(now, slowAnswer) }) {
		return nil, nil // instead of a choice for each that waits
	}
	l.round++
	for i, c := range l.pending {
		if c.queue != nil && c.queue.round == l.round {
			continue // one before it in the queue has to wait
		}
		m, q := l.policy.choose(l, c, now)
		if m == nil {
			l.enqueue(c, q)
			if q == nil {
				return nil, nil
			}
			q.round = l.round
			continue
		}
		l.take(i)
		c.w, c.seq, c.sent = m.w, l.p.nextSeq(), now
		m.w.unanswered = append(m.w.unanswered, c)
		m.w.watch()
		return c, nil
	}
	return nil, nil
}

// looked makes c pending again after by has looked at it.
func (c *incoming) looked(by policy) {
	l := c.l
	p := l.p
	p.mu.Lock()
	l.looking--
	c.by = by
	if l.closed {
		c.close()
	} else {
		l.add(len(l.pending), c)
	}
	p.notify()
	if c.inLook {
		p.mu.Unlock() // the caller of look goes on with it
		return
	}
	p.unlock()
}

// take removes the pending connection i and returns it.
func (l *listener) take(i int) *incoming {
	c := l.pending[i]
	l.enqueue(c, nil)
	if l.mustSee(c) {
		l.unseen--
	}
	if i == 0 {
		l.pending[0] = nil
		l.pending = l.pending[1:]
	} else {
		l.pending = slices.Delete(l.pending, i, i+1)
	}
	if len(l.pending) == 0 {
		l.pending = nil
		if l.stopped {
			l.p.notify()
		}
	}
	if l.hasRoom() {
		l.room.Signal()
	}
	return c
}

// send sends the connection to w.
func (c *incoming) send(w *Process, seq int64) {
	v := nodeipc.Internal{Value: &newconn{cmdCluster, "newconn", c.l.key, seq}}
	failed := func(err error) {
		// A worker that has gone may have got it, and its answer may be unread still: the end of the channel tells.
		if err != nil && !errors.Is(err, nodeipc.ErrHandleUnconfirmed) {
			w.refused(seq, err)
		}
	}
	if err := w.ch.QueueHandle(v, nodeipc.NewHandle(c, nodeipc.NetNative), failed); err != nil {
		failed(err)
	}
}

// refused takes back a connection that could not be sent.
func (w *Process) refused(seq int64, err error) {
	p := w.p
	p.mu.Lock()
	defer p.unlock()
	c := w.took(seq)
	if c == nil {
		return // it was taken back before, or even answered
	}
	if !errors.Is(err, net.ErrClosed) {
		p.log().Warn("cluster: a connection could not be sent to a worker", "worker", w.id, "error", err)
	}
	w.rest()
	c.takeBack()
}

// answeredNewconn is told of a worker's answer.
func (w *Process) answeredNewconn(seq int64, accepted bool) {
	p := w.p
	p.mu.Lock()
	c := w.took(seq)
	switch {
	case c == nil:
		p.log().Debug("cluster: an answer to no question", "worker", w.id, "ack", seq)
	case accepted:
		w.handed++
	default:
		if slices.ContainsFunc(w.shares, func(m *member) bool { return m.l == c.l }) { // otherwise it has just closed it
			w.rest()
		}
		c.takeBack()
	}
	for _, m := range w.shares {
		m.l.isDue()
	}
	p.unlock()
	if c != nil && accepted {
		c.close() // the worker has a copy
	}
}

// took returns the connection that was sent with this number, which is no longer unanswered.
func (w *Process) took(seq int64) *incoming {
	i := slices.IndexFunc(w.unanswered, func(c *incoming) bool { return c.seq == seq })
	if i < 0 {
		return nil
	}
	c := w.unanswered[i]
	w.unanswered = slices.Delete(w.unanswered, i, i+1)
	if len(w.unanswered) == 0 {
		w.warned, w.answered = false, time.Now()
		if w.asked {
			w.p.notify()
		}
	}
	return c
}

// takeBack makes c pending again, in front of those that came later. mu is held; unlock follows.
func (c *incoming) takeBack() {
	l := c.l
	c.w = nil
	if l.closed {
		c.close()
		return
	}
	l.add(0, c)
}

// A worker that has refused a connection gets none for so long; if it is alone it would refuse the same one thousands of
// times a second.
const restTime = 50 * time.Millisecond

func (w *Process) rest() {
	w.restUntil = time.Now().Add(restTime)
	time.AfterFunc(restTime, func() {
		w.p.mu.Lock()
		for _, m := range w.shares {
			m.l.isDue()
		}
		w.p.unlock()
	})
}

// When the log hears of a worker that does not answer.
const longAnswer = 10 * time.Second

// watch looks after the worker's answers: again when the oldest that is due now could be late. mu is held.
func (w *Process) watch() {
	if w.watching {
		return
	}
	w.watching = true
	limit := longAnswer
	if t := w.p.AnswerTimeout; t > 0 && (t < limit || w.warned) {
		limit = t
	}
	late := time.Since(w.unanswered[0].sent)
	if late >= limit { // which was said
		late = 0
	}
	time.AfterFunc(limit-late, func() {
		p := w.p
		p.mu.Lock()
		defer p.mu.Unlock()
		w.watching = false
		if len(w.unanswered) == 0 {
			return
		}
		late := time.Since(w.unanswered[0].sent)
		switch {
		case p.AnswerTimeout > 0 && late >= p.AnswerTimeout:
			p.log().Warn("cluster: worker is killed, it does not answer", "worker", w.id, "for", late)
			w.Kill()
			return
		case late >= longAnswer && !w.warned:
			w.warned = true
			p.log().Warn("cluster: worker does not answer", "worker", w.id, "for", late, "unanswered", len(w.unanswered))
		}
		w.watch()
	})
}

// othersThan reports whether somebody else than w will go on sharing l. mu is held.
func (l *listener) othersThan(w *Process) bool {
	return slices.ContainsFunc(l.members, func(m *member) bool { return m.w != w && !m.w.goes && m.w.state < Disconnected })
}

// remove ends a worker's share. The last one's ends the listener, unless one has just died, which another may follow,
// or there are connections that nobody has taken. mu is held; unlock follows.
func (l *listener) remove(m *member, died bool) {
	l.members = slices.DeleteFunc(l.members, func(o *member) bool { return o == m })
	if died {
		l.deaths[m.w.group] = time.Now()
		time.AfterFunc(lingerTime, l.goOn)
	}
	if len(l.members) > 0 {
		l.isDue()
		return
	}
	waits := len(l.pending) > 0 || l.looking > 0 ||
		slices.ContainsFunc(m.w.unanswered, func(c *incoming) bool { return c.l == l }) // which it may refuse
	for _, died := range l.deaths {
		waits = waits || time.Since(died) < lingerTime
	}
	if waits && !l.stopped && !l.shared && !l.p.closed {
		var t *time.Timer
		t = time.AfterFunc(lingerTime, func() {
			l.p.mu.Lock()
			if l.linger == t {
				l.close()
			}
			l.p.mu.Unlock()
		})
		l.linger = t
		return
	}
	l.close()
}

// goOn looks whether what has waited for others has to go to whom there is.
func (l *listener) goOn() {
	l.p.mu.Lock()
	l.isDue()
	l.p.unlock()
}

// idle reports whether all that was accepted was given to workers. mu is held.
func (l *listener) idle() bool { return !l.accepts && len(l.pending) == 0 && l.looking == 0 }

// stopAccepting takes what the kernel has of connections and closes the socket. mu is held; unlock follows.
func (l *listener) stopAccepting() {
	if l.stopped || l.closed || l.shared {
		return
	}
	for {
		fd, peer, err := l.sock.tryAccept()
		if err != nil {
			break
		}
		l.push(fd, peer)
	}
	l.stopped = true
	l.isDue() // for whom nobody will come any more
	l.forget()
}

// close ends the listener and what nobody can serve. mu is held.
func (l *listener) close() {
	if l.closed {
		return
	}
	l.closed = true
	l.forget()
	if l.linger != nil {
		l.linger.Stop()
	}
	if n := len(l.pending); n > 0 {
		l.p.log().Warn("cluster: connections are closed, there is no worker for them", "addr", l.sock.addr, "connections", n)
	}
	for _, c := range l.pending {
		c.close()
	}
	l.pending = nil
	l.p.notify()
}

// forget closes the socket and makes the key free.
func (l *listener) forget() {
	if l.p.listeners[l.key] == l {
		delete(l.p.listeners, l.key)
	}
	l.sock.close()
	l.room.Broadcast()
	endLooking(l.policy)
}

// endLooking makes an end of what a policy looks at. mu may be held.
func endLooking(p policy) {
	if looker, ok := p.(looker); ok {
		go looker.end()
	}
}

// SyscallConn returns c itself.
func (c *incoming) SyscallConn() (syscall.RawConn, error) { return c, nil }

// Control calls f with the descriptor, which is not closed meanwhile.
func (c *incoming) Control(f func(fd uintptr)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(c.fd))
	return nil
}

func (c *incoming) Read(func(fd uintptr) bool) error  { return errors.ErrUnsupported }
func (c *incoming) Write(func(fd uintptr) bool) error { return errors.ErrUnsupported }

func (c *incoming) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 {
		closeSocket(c.fd)
		c.fd = -1
	}
}
