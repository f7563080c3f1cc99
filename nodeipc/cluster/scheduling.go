package cluster

import (
	"os"
	"slices"
	"time"
)

// A Scheduling is how the connections of an address reach the workers that share it: RoundRobin or None.
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
	// choose returns the member of l to give c to, one that can take it; or nil, and then c waits.
	choose(l *listener, c *incoming) *member
}

type none struct{}

func (none) newPolicy() policy { return nil }

type roundRobin struct{}

func (roundRobin) newPolicy() policy { return turns{} }

// turns is the policy of RoundRobin, as in Node: the members of a listener are a queue, and one that was chosen goes to its
// end, where new ones come, too. One that is slow to answer is passed over while there are others.
type turns struct{}

func (turns) choose(l *listener, _ *incoming) *member {
	now := time.Now()
	for _, patience := range []time.Duration{promptAnswer, slowAnswer} {
		can := func(m *member) bool { return m.ready && m.w.takes(now, patience) }
		if i := slices.IndexFunc(l.members, can); i >= 0 {
			m := l.members[i]
			l.members = append(slices.Delete(l.members, i, i+1), m)
			return m
		}
	}
	return nil
}

const (
	// How many connections a worker may have to answer.
	maxUnanswered = 4
	// One that has not answered for so long gets no more while others do better,
	promptAnswer = 5 * time.Millisecond
	// and none at all after this: its event loop is busy.
	slowAnswer = 250 * time.Millisecond
)

// takes reports whether the worker can be given a connection: it has answered all, or not had the oldest for longer than
// patience. p.mu is held.
func (w *Process) takes(now time.Time, patience time.Duration) bool {
	switch n := len(w.unanswered); {
	case w.asked || w.state >= Disconnected || w.restUntil.After(now):
		return false
	case n == 0:
		return true
	default:
		return n < maxUnanswered && now.Sub(w.unanswered[0].sent) < patience
	}
}

// scheduling returns what p.Scheduling or the environment says.
func (p *Primary) scheduling() Scheduling {
	switch {
	case p.Scheduling != nil:
		return p.Scheduling
	case os.Getenv("NODE_CLUSTER_SCHED_POLICY") == "none":
		return None
	}
	return RoundRobin
}
