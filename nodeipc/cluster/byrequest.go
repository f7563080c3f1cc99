package cluster

import (
	"cmp"
	"errors"
	"log/slog"
	"time"
)

// ByRequest gives a connection to a group of workers by the request that it begins with: see Routes. What matches no
// route, and what belongs to groups without a worker, goes to all workers in turn; the latter waits five seconds first
// if a worker of these groups has died, so that another one can come. The first bytes are looked at, not read: the
// worker gets the connection untouched. In protocols in which the server speaks first each connection waits for
// Routes.Timeout. Looking holds up nobody. A connection waits for the workers of its group if they are busy; when 256 of
// a route wait already it goes where it would if the group had no worker. See Primary.AnswerTimeout.
//
// The error says which route is not understood. r is not kept.
func ByRequest(r *Routes) (Scheduling, error) {
	list, err := newRoutes(r.Routes)
	if err != nil {
		return nil, err
	}
	if len(list) > maxRoutes {
		return nil, errors.New("cluster: more than 64 routes")
	}
	return &byRequest{list, peekLimits{
		timeout: cmp.Or(r.Timeout, time.Second),
		size:    cmp.Or(r.Size, 8<<10),
		number:  cmp.Or(r.Number, 1024),
	}}, nil
}

const maxRoutes = 64

type byRequest struct {
	routes routes
	limits peekLimits
}

func (b *byRequest) newPolicy() policy {
	d := &dispatch{routes: b.routes, peeker: newPeeker(b.limits)}
	d.queues = make([]queue, len(b.routes))
	for i, r := range b.routes {
		d.shares = append(d.shares, newShares(r.to))
		d.queues[i].name = slog.Int("route", i+1)
	}
	return d
}

// A looker is a policy that has to look at a connection before it can choose.
type looker interface {
	policy
	// look is called once for each connection, without locks. It sees to it that looked is called.
	look(c *incoming)
	// end makes an end of all that it looks at. It waits.
	end()
}

// dispatch is the policy of ByRequest.
type dispatch struct {
	routes routes
	shares []shares // of each route
	queues []queue
	peeker *peeker
}

var _ looker = (*dispatch)(nil)

func (d *dispatch) look(c *incoming) { d.peeker.look(c.fd, &glance{d, c}) }

func (d *dispatch) end() { d.peeker.close() }

func (d *dispatch) choose(l *listener, c *incoming, now time.Time) (*member, *queue) {
	var own *queue // of a route whose workers are to come again
	for i, s := range d.shares {
		if c.matched&(1<<i) == 0 {
			continue
		}
		if !s.servedBy(l) {
			if s.mayCome(l, now) {
				own = &d.queues[i]
			}
			continue
		}
		if m, _ := s.choose(l, c, now); m != nil {
			return m, nil
		}
		if q := &d.queues[i]; q.admits(c) {
			return nil, q
		}
	}
	if own != nil && own.admits(c) {
		return nil, own
	}
	return turns{}.choose(l, c, now)
}

// A glance at a connection finds out which routes it matches. Nobody else has the connection meanwhile.
type glance struct {
	d *dispatch
	c *incoming
}

func (g *glance) enough(b []byte, last bool) bool {
	h, state := parseHead(b)
	which, decided := g.d.routes.met(&h, last || state != headMore, g.usable)
	g.c.matched = which
	return decided
}

// usable reports whether there is a worker for the route i.
func (g *glance) usable(i int) bool {
	p := g.c.l.p
	p.mu.Lock()
	defer p.mu.Unlock()
	return g.d.shares[i].servedBy(g.c.l)
}

func (g *glance) looked() { g.c.looked(g.d) }
