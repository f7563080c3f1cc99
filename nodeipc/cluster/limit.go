package cluster

import (
	"net"
	"sync"
)

// The limit on connections that are open at once, where this process accepts them itself.

// limited accepts only as long as fewer connections are open than may be: the others wait in the kernel, where other
// workers find them.
type limited struct {
	net.Listener
	places chan struct{} // one for each that is open
	once   sync.Once
	closed chan struct{}
}

func newLimited(ln net.Listener, max int) *limited {
	return &limited{Listener: ln, places: make(chan struct{}, max), closed: make(chan struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return l.Listener.Accept() // which says so
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return counted(conn, func() { <-l.places }), nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// counted calls ended once, when conn is closed.
func counted(conn net.Conn, ended func()) net.Conn {
	ended = sync.OnceFunc(ended)
	switch conn := conn.(type) {
	case *net.TCPConn:
		return &countedTCP{conn, ended}
	case *net.UnixConn:
		return &countedUnix{conn, ended}
	}
	return &countedConn{conn, ended}
}

// The methods of the connection itself, such as ReadFrom, which net/http uses to send files, are there as well.
type (
	countedTCP struct {
		*net.TCPConn
		ended func()
	}
	countedUnix struct {
		*net.UnixConn
		ended func()
	}
	countedConn struct {
		net.Conn
		ended func()
	}
)

func (c *countedTCP) Close() error  { defer c.ended(); return c.TCPConn.Close() }
func (c *countedUnix) Close() error { defer c.ended(); return c.UnixConn.Close() }
func (c *countedConn) Close() error { defer c.ended(); return c.Conn.Close() }
