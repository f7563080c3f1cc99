package nodeipc

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"
	"weak"
)

// Socket lists: a Node server that has sent connections to other processes asks them how many are open, for its
// getConnections, and to tell when all are closed, for its close (Node v22 lib/internal/socket_list.js; docs/protocol.md
// 1.11). The messages name the list by a key, which came with each connection.

// A listed is a received connection in its list.
type listed struct {
	mu   sync.Mutex
	open func() bool // nil once closed
}

// became notes what was made of the handle, by a look at whether it is open; nil if nothing that counts was.
func (l *listed) became(open func() bool) {
	if l != nil {
		l.mu.Lock()
		l.open = open
		l.mu.Unlock()
	}
}

func (l *listed) isOpen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil && !l.open() {
		l.open = nil
	}
	return l.open != nil
}

// openUntilClosed returns a look at v that does not keep it: what the garbage collector takes is closed.
func openUntilClosed[T any, P interface {
	*T
	syscall.Conn
}](v P) func() bool {
	w := weak.Make((*T)(v))
	return func() bool {
		v := P(w.Value())
		if v == nil {
			return false
		}
		rc, err := v.SyscallConn()
		return err == nil && rc.Control(func(uintptr) {}) == nil
	}
}

// socketLists are the lists that connections were received for. Nothing tells when a connection of package net is closed,
// and a type of our own around it would not be what programs expect: so it is looked at, when the peer asks, and from
// then on again and again until all are closed.
type socketLists struct {
	mu      sync.Mutex
	lists   map[string]*socketList
	entries int // in all lists
	kept    int // how many were left when the closed ones were last thrown out
	ended   bool
}

type socketList struct {
	members []*listed
	closing []any       // the ids of NODE_SOCKET_NOTIFY_CLOSE that are not answered, nil for Node's, which have none
	look    *time.Timer // when there are
	pause   time.Duration
}

// How often connections are looked at when the peer waits for their end: soon at first, later less often.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = 250 * time.Millisecond
)

// add puts a received handle into its list.
func (s *socketLists) add(h *Handle) {
	w := weak.Make(h)
	h.listed = &listed{open: func() bool { return w.Value() != nil }} // until it is taken or closed
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lists == nil {
		s.lists = make(map[string]*socketList)
	}
	if s.entries >= 2*s.kept+64 {
		for key, l := range s.lists {
			s.prune(key, l)
		}
		s.kept = s.entries
	}
	l := s.lists[h.key]
	if l == nil {
		l = &socketList{}
		s.lists[h.key] = l
	}
	l.members = append(l.members, h.listed)
	s.entries++
}

// prune throws out what is closed, and a list of which nothing is left. It returns how many are open.
func (s *socketLists) prune(key string, l *socketList) int {
	open := l.members[:0]
	for _, m := range l.members {
		if m.isOpen() {
			open = append(open, m)
		}
	}
	s.entries -= len(l.members) - len(open)
	clear(l.members[len(open):])
	l.members = open
	if len(open) == 0 && len(l.closing) == 0 {
		delete(s.lists, key)
	}
	return len(open)
}

// end stops the looking.
func (s *socketLists) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, l := range s.lists {
		if l.look != nil {
			l.look.Stop()
		}
	}
	s.lists = nil
}

// socketQuestion is any of the messages of socket lists. The id is Deno's, which wants it back; Node passes over it.
type socketQuestion struct {
	Cmd   string `json:"cmd"`
	Key   any    `json:"key"`
	ID    any    `json:"id,omitempty"`
	Count *int   `json:"count,omitempty"`
}

// asked answers a question of the peer, or notes it. It is called by the goroutine that reads.
func (s *socketLists) asked(c *Channel, cmd string, m *Message) error {
	var q socketQuestion
	if m.Decode(&q) != nil || q.Key == nil {
		return nil
	}
	key, _ := q.Key.(string) // others are nobody's, and have nothing open
	s.mu.Lock()
	l, open := s.lists[key], 0
	if l != nil {
		open = s.prune(key, l)
	}
	if cmd == cmdNotifyClose && open > 0 {
		if len(l.closing) < maxHandles { // further ones are not answered, rather than wrongly
			l.closing = append(l.closing, q.ID)
		}
		if l.look == nil {
			l.pause = firstLook
			l.look = time.AfterFunc(l.pause, func() { s.again(c, key, l) })
		}
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	q.Cmd, q.Count = allClosed(q.ID), nil
	if cmd == cmdGetCount {
		q.Cmd, q.Count = cmdCount, &open
	}
	c.mu.Lock()
	c.dispatching = true
	c.mu.Unlock()
	if err := c.Send(context.Background(), Internal{q}); errors.Is(err, ErrPeerNotReading) {
		return err
	}
	return nil
}

// allClosed is the name of the answer to a NODE_SOCKET_NOTIFY_CLOSE.
func allClosed(id any) string {
	if id != nil {
		return cmdCloseAck
	}
	return cmdAllClosed
}

// again looks once more at a list whose end the peer waits for.
func (s *socketLists) again(c *Channel, key string, l *socketList) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	if s.prune(key, l) > 0 {
		l.pause = min(2*l.pause, lastLook)
		l.look.Reset(l.pause)
		s.mu.Unlock()
		return
	}
	closing := l.closing
	l.closing, l.look = nil, nil
	delete(s.lists, key)
	s.mu.Unlock()
	for _, id := range closing {
		c.Send(context.Background(), Internal{socketQuestion{Cmd: allClosed(id), Key: key, ID: id}})
	}
}

// A listWaiter waits for the peer's answer about a list.
type listWaiter struct {
	key   string
	cmd   string // of the question
	count int
	done  bool
}

// OpenSockets asks the peer how many of the connections that it was sent under key (NewKeyedHandle) it has open, as
// server.getConnections does. A Node peer answers only for a key that it has received; one that passes such a
// connection on never counts it as closed. Either way ctx ends the waiting.
func (c *Channel) OpenSockets(ctx context.Context, key string) (int, error) {
	return c.askList(ctx, cmdGetCount, key)
}

// SocketsClosed asks the peer to tell when it has closed all connections that it was sent under key, and waits for that,
// as server.close does. See OpenSockets for a peer that does not answer.
func (c *Channel) SocketsClosed(ctx context.Context, key string) error {
	_, err := c.askList(ctx, cmdNotifyClose, key)
	return err
}

func (c *Channel) askList(ctx context.Context, cmd, key string) (int, error) {
	w := &listWaiter{key: key, cmd: cmd}
	c.mu.Lock()
	c.waiters = append(c.waiters, w)
	c.lastListID++
	id := c.lastListID
	c.mu.Unlock()
	err := c.Send(ctx, Internal{socketQuestion{Cmd: cmd, Key: key, ID: id}})
	c.mu.Lock()
	defer c.unlock()
	if err == nil {
		err = c.await(ctx, false, func() bool { return w.done })
		c.armStandby()
	}
	for i, other := range c.waiters {
		if other == w {
			c.waiters = append(c.waiters[:i], c.waiters[i+1:]...)
			break
		}
	}
	switch {
	case w.done:
		return w.count, nil
	case errors.Is(err, ctx.Err()):
		return 0, err
	case !c.ended && c.closing == nil: // such as ErrBacklogFull
		return 0, opError("socket list", err)
	}
	return 0, opErrorf("socket list", "%w before the peer answered", c.gone())
}

// listAnswered gives an answer of the peer to whoever waits for it, and reports whether somebody did. Node's do not say
// which question they are to: one that comes after a question is as good for all that wait.
func (c *Channel) listAnswered(cmd string, m *Message) (wanted bool) {
	var a struct {
		Key   string `json:"key"`
		Count int    `json:"count"`
	}
	question := cmdNotifyClose
	if cmd == cmdCount {
		question = cmdGetCount
	}
	if m.Decode(&a) != nil {
		return false
	}
	c.mu.Lock()
	defer c.unlock()
	for _, w := range c.waiters {
		if w.key == a.Key && w.cmd == question {
			w.count, w.done, wanted = a.Count, true, true
		}
	}
	if wanted {
		c.notify()
	}
	return wanted
}
