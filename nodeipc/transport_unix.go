//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package nodeipc

import (
	"net"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

func connTransport(conn net.Conn) transport {
	if u, ok := conn.(*net.UnixConn); ok && u.LocalAddr().Network() == "unix" {
		if t, err := fdconn.New(u); err == nil {
			return t
		}
	}
	return streamTransport{conn}
}

// setPeer says which process is at the other end.
func setPeer(t transport, pid int) {
	if c, ok := t.(*fdconn.Conn); ok {
		c.Peer = pid
	}
}

// Pipe returns the two ends of a new channel in this process, for tests.
func Pipe(opts *Options) (a, b *Channel, err error) {
	one, other, err := fdconn.Pair()
	if err != nil {
		return nil, nil, opError("pipe", err)
	}
	ta, err := fdconn.FromFD(one)
	if err != nil {
		closeFD(other)
		return nil, nil, opError("pipe", err)
	}
	tb, err := openChannel(other)
	if err != nil {
		ta.Close()
		closeFD(other)
		return nil, nil, opError("pipe", err)
	}
	return newChannel(ta, opts).marked(), newChannel(tb, opts).marked(), nil
}
