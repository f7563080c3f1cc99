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

// shares is the policy of Weighted.
type shares struct {
	weights Weights
	names   []string       // in order: the same connections give the same choice
	credit  map[string]int // what a group has got too little
}

func newShares(weights Weights) *shares {
	s := &shares{weights: weights, credit: map[string]int{}}
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		if weights[name] > 0 {
			s.names = append(s.names, name)
		}
	}
	return s
}

func (s *shares) alike() bool { return true }

func (s *shares) choose(l *listener, c *incoming, now time.Time) *member {
	if !s.servedBy(l) {
		return turns{}.choose(l, c, now)
	}
	for _, patience := range patiences {
		total, best := 0, ""
		for _, name := range s.names {
			if !slices.ContainsFunc(l.members, func(m *member) bool { return m.w.group == name && m.takes(now, patience) }) {
				continue // its credit stays as it is
			}
			s.credit[name] += s.weights[name]
			total += s.weights[name]
			if best == "" || s.credit[name] > s.credit[best] {
				best = name
			}
		}
		if best != "" {
			s.credit[best] -= total
			return l.nextOf(now, func(m *member) bool { return m.w.group == best })
		}
	}
	return nil
}

// servedBy reports whether l has a member of a group with a weight.
func (s *shares) servedBy(l *listener) bool {
	return slices.ContainsFunc(l.members, func(m *member) bool { return s.weights[m.w.group] > 0 && m.serves() })
}
