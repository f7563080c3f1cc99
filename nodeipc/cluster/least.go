package cluster

import (
	"net"
	"time"
)

// LeastConnections gives a connection to the worker that has the fewest open of this address, and among several to the
// next in turn. Neither Node nor its protocol tell when a connection that was handed over has ended. What is asked is
// the kernel (Linux, TCP): it knows a connection by a cookie, and whether any process has it open still, whatever kind
// of program that is. It is asked while there are connections, no more than every five milliseconds, and seldom enough
// that it costs a hundredth of one processor: where its table is a large one that is every tenth of a second. Meanwhile
// connections that have ended count as open. Elsewhere, and for unix paths, connections are given away in turn, of
// which the Logger hears.
func LeastConnections() Scheduling { return least{} }

type least struct{}

func (least) newPolicy() policy {
	return &fewest{open: map[*Process]int{}, owners: map[uint64]owner{}, pause: minCensus, took: maxCensus}
}

// fewest is the policy of LeastConnections. It is guarded by the primary's mu.
type fewest struct {
	open      map[*Process]int
	owners    map[uint64]owner // by cookie
	round     int              // of the census
	following bool
	blind     bool // there is no census here

	// What follow has to itself, kept from one to the next: or a connection now and then would be a census each.
	counted census
	pause   time.Duration
	took    time.Duration // the census before
}

// An owner has a connection, since some round of the census.
type owner struct {
	w     *Process
	round int
}

func (f *fewest) choose(l *listener, c *incoming, now time.Time) (*member, *queue) {
	m := f.next(l, now)
	if m == nil || f.blind {
		return m, nil
	}
	cookie, err := c.cookie()
	tcp, ok := l.sock.addr.(*net.TCPAddr)
	if err != nil || !ok {
		f.lose(l, err)
		return m, nil
	}
	if before, ok := f.owners[cookie]; ok { // who did not take it
		f.ended(before.w)
	}
	f.owners[cookie] = owner{m.w, f.round}
	f.open[m.w]++
	if !f.following {
		f.following = true
		go f.follow(l, tcp)
	}
	return m, nil
}

// ended strikes off one of w.
func (f *fewest) ended(w *Process) {
	if f.open[w]--; f.open[w] <= 0 {
		delete(f.open, w)
	}
}

// next returns the first in the queue of those with the fewest connections that take one now.
func (f *fewest) next(l *listener, now time.Time) *member {
	for _, patience := range patiences {
		fewest := -1
		for _, m := range l.members {
			if n := f.open[m.w]; m.takes(now, patience) && (fewest < 0 || n < fewest) {
				fewest = n
			}
		}
		if fewest >= 0 {
			return l.nextOf(now, func(m *member) bool { return f.open[m.w] == fewest })
		}
	}
	return nil
}

// lose goes on without a census.
func (f *fewest) lose(l *listener, err error) {
	f.blind = true
	f.open, f.owners = map[*Process]int{}, map[uint64]owner{}
	l.p.log().Warn("cluster: connections cannot be counted here, they are given away in turn", "addr", l.sock.addr, "error", err)
}

// The time between two censuses: the first, at least and at most, and how many times that of the census itself.
const (
	minCensus   = 5 * time.Millisecond
	maxCensus   = time.Second
	censusShare = 100
)

// follow strikes off the connections that have ended, until there is none left.
func (f *fewest) follow(l *listener, addr *net.TCPAddr) {
	p := l.p
	for {
		time.Sleep(f.pause)
		p.mu.Lock()
		f.round++
		round := f.round
		p.mu.Unlock()
		begin := time.Now()
		open, err := f.counted.take(addr)
		took := time.Since(begin)

		p.mu.Lock()
		if err != nil {
			f.lose(l, err)
		}
		changed := false
		for cookie, o := range f.owners {
			if _, ok := open[cookie]; !ok && o.round < round {
				delete(f.owners, cookie)
				f.ended(o.w)
				changed = true
			} else if o.round == round {
				changed = true
			}
		}
		over := len(f.owners) == 0 || l.closed || l.policy != policy(f)
		if changed || over {
			f.pause = minCensus
		} else {
			f.pause *= 2 // nothing happens
		}
		f.pause = min(max(f.pause, min(took, f.took)*censusShare), maxCensus) // one of them may have been interrupted
		f.took = took
		f.following = !over
		p.mu.Unlock()
		if over {
			return
		}
	}
}
