package nodeipc

import (
	"io"
	"net"
	"sync"
)

// Unread returns conn with data in front of what it has yet to read: for a connection of which something was read before
// it was passed on, as a balancer does that looks for a cookie and sends the socket together with the bytes it has
// seen. The result takes conn over; it is no *net.TCPConn any more, so that net/http and others use it by the methods
// of net.Conn alone. data must not be changed afterwards. Without data the result is conn itself.
func Unread(conn net.Conn, data []byte) net.Conn {
	if len(data) == 0 {
		return conn
	}
	return &unread{Conn: conn, data: data}
}

type unread struct {
	net.Conn
	mu   sync.Mutex
	data []byte
}

var (
	_ net.Conn    = (*unread)(nil)
	_ io.WriterTo = (*unread)(nil)
)

// Read returns what is in front first, without a look at the deadline: it is here.
func (u *unread) Read(p []byte) (int, error) {
	if n := u.first(p); n > 0 || len(p) == 0 {
		return n, nil
	}
	return u.Conn.Read(p)
}

func (u *unread) first(p []byte) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := copy(p, u.data)
	if u.data = u.data[n:]; len(u.data) == 0 {
		u.data = nil
	}
	return n
}

// WriteTo lets io.Copy move the rest as fast as it can from the connection itself.
func (u *unread) WriteTo(w io.Writer) (int64, error) {
	u.mu.Lock()
	data := u.data
	u.data = nil
	u.mu.Unlock()
	var n int
	if len(data) > 0 {
		var err error
		if n, err = w.Write(data); err != nil {
			return int64(n), err
		}
	}
	m, err := io.Copy(w, u.Conn)
	return int64(n) + m, err
}

// CloseWrite ends the writing, if the connection can do that.
func (u *unread) CloseWrite() error {
	if c, ok := u.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return opErrorf("close write", "a %T cannot", u.Conn)
}
