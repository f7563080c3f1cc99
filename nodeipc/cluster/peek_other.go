//go:build !unix || aix || solaris

package cluster

// A peeker of this system sees nothing.
type peeker struct{}

func newPeeker(peekLimits) *peeker { return &peeker{} }

func (p *peeker) look(_ int, o onlooker) {
	o.enough(nil, true)
	o.looked()
}

func (p *peeker) close() {}
