package main

import (
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// What nodeipc replay sends where the recording has a handle: a socket of the same kind, without what it was for. At
// the other end of a connection is one who only listens, and ends it when the program does, or when all is over.

// canStandIn tells whether there is a stand-in for handles of this type.
func canStandIn(t nodeipc.HandleType) bool {
	return slices.Contains([]nodeipc.HandleType{
		nodeipc.NetSocket, nodeipc.NetServer, nodeipc.NetNative, nodeipc.NetBoundSocket,
		nodeipc.DgramSocket, nodeipc.DgramNative,
	}, t)
}

// A standIn is closed when it has been sent, and what stays when all is over.
type standIn struct {
	syscall.Conn
	io.Closer
	stays io.Closer // or nil
}

// newStandIn makes one for the handle of a recorded message.
func newStandIn(e *recorded) (s standIn, err error) {
	loopback := net.IPv4(127, 0, 0, 1)
	kind, local := kindOf(e)
	switch kind {
	case aConnection:
		near, far, err := connect(local)
		if err != nil {
			return s, err
		}
		return standIn{near.(syscall.Conn), near, listenTo(far)}, nil
	case aListener:
		if local {
			return listenLocally()
		}
		ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loopback})
		if err != nil {
			return s, err
		}
		return standIn{ln, ln, nil}, nil
	case aDatagramSocket:
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback})
		if err != nil {
			return s, err
		}
		return standIn{conn, conn, nil}, nil
	}
	f, err := bindTCP()
	if err != nil {
		return s, err
	}
	return standIn{f, f, nil}, nil
}

// A listenerTo is the other end of a connection.
type listenerTo struct {
	net.Conn
	done chan struct{}
}

func listenTo(conn net.Conn) *listenerTo {
	l := &listenerTo{conn, make(chan struct{})}
	go func() {
		io.Copy(io.Discard, conn)
		conn.Close()
		close(l.done)
	}()
	return l
}

func (l *listenerTo) Close() error {
	err := l.Conn.Close()
	<-l.done
	return err
}

// A socketKind is what a handle is.
type socketKind int

const (
	aConnection socketKind = iota
	aListener
	aBoundSocket // which does not listen
	aDatagramSocket
)

// kindOf tells what the handle of a recorded message was, which its type leaves open for those of a cluster: it has
// connections in newconn, and otherwise what a worker is to listen on. A unix socket is known by the key only.
func kindOf(e *recorded) (kind socketKind, local bool) {
	switch e.handle {
	case nodeipc.NetServer:
		return aListener, false
	case nodeipc.NetBoundSocket:
		return aBoundSocket, false
	case nodeipc.DgramSocket, nodeipc.DgramNative:
		return aDatagramSocket, false
	}
	if e.handle == nodeipc.NetSocket || e.internal != cmdCluster {
		return aConnection, false
	}
	var f fields
	f.read(e.data, nil)
	local = strings.Contains(string(f.key), ":-1:-1:") // no port, no type of address
	switch {
	case string(f.act) == `"newconn"`:
		return aConnection, local
	case local:
		return aListener, true
	}
	return aBoundSocket, false
}

// connect returns the two ends of a connection.
func connect(local bool) (near, far net.Conn, err error) {
	if local {
		return socketPair()
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	for {
		if far, err = net.Dial("tcp4", ln.Addr().String()); err != nil {
			return nil, nil, err
		}
		if near, err = ln.Accept(); err != nil {
			far.Close()
			return nil, nil, err
		}
		if near.RemoteAddr().String() == far.LocalAddr().String() {
			return near, far, nil
		}
		near.Close() // somebody else was quicker
		far.Close()
	}
}
