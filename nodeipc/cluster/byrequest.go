package cluster

import (
	"cmp"
	"errors"
	"time"
)

// ByRequest gives a connection to a group of workers by the request that it begins with: see Routes. What matches no
// route, and what belongs to groups without a worker, goes to all workers in turn. The first bytes are looked at, not
// read: the worker gets the connection untouched. In protocols in which the server speaks first each connection waits
// for Routes.Timeout. Looking holds up nobody; but connections wait for the workers of their group, and when 512 wait
// for groups whose workers are all stuck others of the address have to wait as well: see Primary.AnswerTimeout.
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
	for _, r := range b.routes {
		d.shares = append(d.shares, newShares(r.to))
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
	peeker *peeker
}

var _ looker = (*dispatch)(nil)

func (d *dispatch) alike() bool { return false }

func (d *dispatch) look(c *incoming) { d.peeker.look(c.fd, &glance{d, c}) }

func (d *dispatch) end() { d.peeker.close() }

func (d *dispatch) choose(l *listener, c *incoming, now time.Time) *member {
	for i, s := range d.shares {
		if c.matched&(1<<i) != 0 && s.servedBy(l) {
			return s.choose(l, c, now)
		}
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
