package cluster

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"time"
)

// A Scheduling is how the connections of an address reach the workers that share it: RoundRobin, None, LeastConnections,
// Weighted, Sticky or ByRequest. It has no state, and can be given to several primaries.
type Scheduling interface {
	// newPolicy returns what decides for one listener; nil means that the workers accept by themselves.
	newPolicy() policy
}

var (
	// RoundRobin gives connections to the workers in turn; the primary accepts them. It is SCHED_RR of Node. A worker that is
	// slow to answer is passed over while there are others.
	RoundRobin Scheduling = roundRobin{}
	// None gives the workers the listening socket itself, and the kernel decides who accepts: SCHED_NONE of Node, which is
	// fast, and uneven. The socket listens already when a worker gets it, so that a port in use is noticed by the one who asked.
	None Scheduling = none{}
)

// A policy chooses who gets a connection. Its methods are called with the primary's mu held.
type policy interface {
	// choose returns the member of l to give c to, one that takes it now. If that is nil c waits: in the queue, where
	// others wait for the same, or without one, and then nobody takes any connection.
	choose(l *listener, c *incoming, now time.Time) (*member, *queue)
}

// A queue counts the connections that wait for one worker, or for those of one route, while others take connections.
// What waits there does not hold up the accepting, so that there is a limit to it.
type queue struct {
	name  slog.Attr // who is waited for
	n     int
	round int  // the last in which one had to wait
	full  bool // there were as many as can be, since it was empty
}

// How many connections wait in a queue.
const maxQueue = 256

// admits reports whether c is in the queue, or has place there.
func (q *queue) admits(c *incoming) bool { return c.queue == q || q.n < maxQueue }

type none struct{}

func (none) newPolicy() policy { return nil }

type roundRobin struct{}

func (roundRobin) newPolicy() policy { return turns{} }

// turns is the policy of RoundRobin, as in Node: the members of a listener are a queue, and one that was chosen goes to its
// end, where new ones come, too. One that is slow to answer is passed over while there are others.
type turns struct{}

func (turns) choose(l *listener, _ *incoming, now time.Time) (*member, *queue) {
	return l.nextOf(now, func(*member) bool { return true }), nil
}

// nextOf returns the first in the queue that takes a connection now, among those that may have it, and puts it at the end.
func (l *listener) nextOf(now time.Time, may func(m *member) bool) *member {
	for _, patience := range patiences {
		for i, m := range l.members {
			if m.takes(now, patience) && may(m) {
				l.members = append(slices.Delete(l.members, i, i+1), m)
				return m
			}
		}
	}
	return nil
}

const (
	// How many connections a worker may have to answer.
	maxUnanswered = 16
	// One that has not answered for so long gets no more while others do better,
	promptAnswer = 5 * time.Millisecond
	// and none at all after this: its event loop is busy.
	slowAnswer = 250 * time.Millisecond
)

var patiences = [...]time.Duration{promptAnswer, slowAnswer}

// serves reports whether the member can be given connections at all. p.mu is held.
func (m *member) serves() bool { return m.ready && !m.w.asked && m.w.state < Disconnected }

// takes reports whether it can be given one now: its worker has answered all, or not had the oldest for longer than
// patience. p.mu is held.
func (m *member) takes(now time.Time, patience time.Duration) bool {
	if !m.serves() || m.w.restUntil.After(now) {
		return false
	}
	n := len(m.w.unanswered)
	return n == 0 || n < maxUnanswered && now.Sub(m.w.unanswered[0].sent) < patience
}

// Schedule changes the scheduling, for the connections that come and for those that wait. Whether the primary accepts
// cannot be changed for an address that workers share: from and to None only what they ask for later is concerned.
func (p *Primary) Schedule(s Scheduling) error {
	if s == nil {
		return errors.New("cluster: schedule: nil is no scheduling")
	}
	p.mu.Lock()
	p.scheduled = s
	for _, l := range p.listeners {
		if policy := s.newPolicy(); !l.shared && policy != nil {
			endLooking(l.policy)
			l.use(policy)
			l.isDue()
		}
	}
	p.unlock()
	return nil
}

// scheduling returns what was set last, or else what p.Scheduling or the environment says. mu is held.
func (p *Primary) scheduling() Scheduling {
	switch {
	case p.scheduled != nil:
		return p.scheduled
	case p.Scheduling != nil:
		return p.Scheduling
	case os.Getenv("NODE_CLUSTER_SCHED_POLICY") == "none":
		return None
	}
	return RoundRobin
}
