package cluster

import "time"

// Looking at the first bytes of connections without reading them. A peeker looks at once, and waits for those that have
// not sent enough; there is one for each system: peek_linux.go, peek_bsd.go (a goroutine for each that waits),
// peek_other.go (which sees nothing).

// peekLimits are the limits of Routes, none of them zero.
type peekLimits struct {
	timeout time.Duration // from look on
	size    int           // bytes that are looked at
	number  int           // connections that are waited for
}

// An onlooker is told of the first bytes of a connection. Its methods are called without locks, one at a time.
type onlooker interface {
	// enough is given what has been sent, and reports whether it is enough; otherwise it is called again with more.
	// last says that there will not be more, because of a limit or because the connection has ended; then the result
	// does not matter. head is valid until enough returns.
	enough(head []byte, last bool) bool
	// looked is called once, after enough has returned true or was called for the last time. From then on the peeker
	// has nothing to do with the descriptor, which may be handed on and closed.
	looked()
}
