package cluster

import (
	"maps"
	"slices"
	"time"
)

// Weights are the shares of groups of workers (ForkOptions.Group) in the connections: {"node": 95, "go": 5} gives five of
// every hundred to the group go. A group that is not named, or has no positive weight, gets nothing.
type Weights map[string]int

// Weighted gives connections to groups by weight, as evenly spread as they can be (smooth weighted round robin, as nginx
// does it), and to the workers of a group in turn. A group without a worker that shares the address is left out; if none
// of the named groups has one, all workers get connections in turn.
func Weighted(w Weights) Scheduling { return weighted{maps.Clone(w)} }

type weighted struct{ weights Weights }

func (w weighted) newPolicy() policy { return newShares(w.weights) }

// shares is the policy of Weighted. It is a list, in order of the names, so that the same connections give the same choice;
// there are few.
type shares []groupShare

type groupShare struct {
	name   string
	weight int
	credit int // what the group has got too little
	takes  bool
}

func newShares(weights Weights) shares {
	var s shares
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		if weights[name] > 0 {
			s = append(s, groupShare{name: name, weight: weights[name]})
		}
	}
	return s
}

func (s shares) choose(l *listener, c *incoming, now time.Time) (*member, *queue) {
	if !s.servedBy(l) {
		return turns{}.choose(l, c, now)
	}
	for _, patience := range patiences {
		for _, m := range l.members {
			if g := s.of(m); g != nil && !g.takes {
				g.takes = m.takes(now, patience)
			}
		}
		total := 0
		var best *groupShare
		for i := range s {
			g := &s[i]
			if !g.takes {
				continue // its credit stays as it is
			}
			g.takes = false
			g.credit += g.weight
			total += g.weight
			if best == nil || g.credit > best.credit {
				best = g
			}
		}
		if best != nil {
			best.credit -= total
			return l.nextOf(now, func(m *member) bool { return m.w.group == best.name }), nil
		}
	}
	return nil, nil
}

// of returns the share of a member's group, nil if it has none.
func (s shares) of(m *member) *groupShare {
	for i := range s {
		if s[i].name == m.w.group {
			return &s[i]
		}
	}
	return nil
}

// mayCome reports whether a worker of a group with a weight has just died, so that another one is to be expected.
func (s shares) mayCome(l *listener, now time.Time) bool {
	return !l.stopped && slices.ContainsFunc(s, func(g groupShare) bool { return now.Sub(l.deaths[g.name]) < lingerTime })
}

// servedBy reports whether l has a member of a group with a weight.
func (s shares) servedBy(l *listener) bool {
	return slices.ContainsFunc(l.members, func(m *member) bool { return s.of(m) != nil && m.serves() })
}
