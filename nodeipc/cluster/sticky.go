package cluster

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Sticky gives a client, told by its IP address, to the same worker as before. Each client has an order of preference of its
// own among the workers (rendezvous hashing), so that when a worker leaves its clients, and no others, go to different
// ones, evenly; and a new worker takes only the share that it keeps. A connection waits for its worker if that is busy, and
// goes to the next in its order if the worker has refused one, or if 256 wait for it already. Behind a proxy all
// clients have the proxy's address; those of a unix path have none, and are given away in turn.
func Sticky() Scheduling { return sticky{} }

type sticky struct{}

func (sticky) newPolicy() policy { return rendezvous{} }

// rendezvous is the policy of Sticky.
type rendezvous struct{}

func (rendezvous) choose(l *listener, c *incoming, now time.Time) (*member, *queue) {
	if !c.peer.IsValid() {
		return turns{}.choose(l, c, now)
	}
	var best *member
	most := uint64(0)
	for _, m := range l.members {
		if !m.serves() || m.w.restUntil.After(now) || !m.queue.admits(c) && !m.takes(now, slowAnswer) {
			continue
		}
		if v := preference(c.peer, m.w.id); best == nil || v > most {
			best, most = m, v
		}
	}
	switch {
	case best == nil:
		return nil, nil
	case !best.takes(now, slowAnswer):
		return nil, &best.queue
	}
	return best, nil
}

// preference is a number that depends on both and on nothing else.
func preference(client netip.Addr, id int) uint64 {
	b := client.Unmap().As16()
	return mix(mix(mix(uint64(id))^binary.BigEndian.Uint64(b[:8])) ^ binary.BigEndian.Uint64(b[8:]))
}

// mix spreads every bit of its argument over all of the result (the finalizer of SplitMix64).
func mix(v uint64) uint64 {
	v += 0x9e3779b97f4a7c15
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}
