package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// Listen shares address with the other workers of the cluster: the primary listens there and gives each connection to
// one of them. network is "tcp", "tcp4" or "tcp6"; the connections that the listener accepts are *net.TCPConn. Listening
// on the same address in a second worker shares it, as does port 0, which is one random port for all.
//
// An address without a host shares with Node workers that listen without a host; a host name with those that name it:
// it is resolved here, in the system's order, as Node 17 and later do (older ones prefer IPv4). If the primary cannot
// listen, the error wraps a syscall.Errno such as syscall.EADDRINUSE. If ctx ends first nothing listens.
//
// Close tells the primary; connections that it gave us before can still be accepted, then Accept returns net.ErrClosed.
func (w *Worker) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if w == nil {
		return new(net.ListenConfig).Listen(ctx, network, address)
	}
	fail := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: nameAddr{network, address}, Err: err}
	}
	q, err := resolve(ctx, network, address)
	if err != nil {
		return fail(err)
	}
	if err := w.takeIndex(q); err != nil {
		return fail(err)
	}
	s := &share{w: w, query: q}
	s.more.L = &s.mu

	q.Act = "queryServer"
	o, err := w.ask(ctx, func(seq int64) any { q.Seq = seq; return q }, s)
	if err != nil {
		if o != nil { // refused; otherwise the index is in use until the reply comes
			w.freeIndex(q)
			if errno := syscall.Errno(0); errors.As(err, &errno) {
				err = os.NewSyscallError("bind", errno)
			}
		}
		return fail(err)
	}
	if err := s.open(o); err != nil {
		s.Close()
		return fail(err)
	}
	w.mu.Lock()
	told := *q
	told.Act, told.Port, told.Seq = "listening", s.addr.Port, w.nextSeq()
	w.mu.Unlock()
	if err := w.ch.Send(ctx, nodeipc.Internal{Value: &told}); err != nil {
		s.Close()
		return fail(err)
	}
	return s, nil
}

// resolve makes the query of a Node 20 worker that calls server.listen with this port and host.
func resolve(ctx context.Context, network, address string) (*query, error) {
	kind := map[string]string{"tcp": "ip", "tcp4": "ip4", "tcp6": "ip6"}[network]
	if kind == "" {
		return nil, fmt.Errorf("%w: network %q in a cluster; tcp, tcp4 and tcp6 are", errors.ErrUnsupported, network)
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, network, service)
	if err != nil {
		return nil, err
	}
	q := &query{Cmd: cmdCluster, Port: port, AddressType: 4}
	switch {
	case host == "" && network == "tcp":
		return q, nil // Node tries :: and 0.0.0.0 in the primary
	case host == "" && network == "tcp4":
		host = "0.0.0.0"
	case host == "":
		host = "::"
	}
	text, flags := host, 0 // an address stays as it was typed: its text is part of the key
	ip, err := netip.ParseAddr(host)
	if err == nil && (network == "tcp4" && !ip.Is4() || network == "tcp6" && !ip.Is6()) {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: host} // as package net says
	}
	if err != nil {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, kind, host)
		if err != nil {
			return nil, err
		}
		ip = ips[0].Unmap()
		text = ip.String()
	}
	if ip.Is6() {
		q.AddressType = 6
		if network == "tcp6" {
			flags = 1 // UV_TCP_IPV6ONLY, which package net sets for tcp6 as well
		}
	}
	q.Address, q.Flags = &text, &flags
	return q, nil
}

// takeIndex gives q the next index of its address. One that the primary may still connect with a listener of ours must
// not be used again: a primary of Node 20 or older dies of it (docs/protocol.md 1.15).
func (w *Worker) takeIndex(q *query) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked {
		return errors.New("the primary has asked this worker to disconnect")
	}
	set := w.indexes[q.indexKey()]
	if set != nil && q.Port != 0 {
		// Any primary would refuse it, but one of Node 22 or later without scheduling forgets our first listener over it.
		return os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	if set == nil {
		set = &indexSet{}
		w.indexes[q.indexKey()] = set
	}
	q.Index = set.next
	set.next++
	set.open++
	return nil
}

// freeIndex ends the use of q's index: they count from 0 again when no listener of the address is left.
func (w *Worker) freeIndex(q *query) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if set := w.indexes[q.indexKey()]; set != nil {
		if set.open--; set.open == 0 {
			delete(w.indexes, q.indexKey())
		}
	}
}

// nameAddr is the address of a listener that did not come to be.
type nameAddr struct{ network, address string }

func (a nameAddr) Network() string { return a.network }
func (a nameAddr) String() string  { return a.address }

// A share is this worker's part of a listener of the primary.
type share struct {
	w      *Worker
	query  *query
	key    string // the primary's name of it
	handle *nodeipc.Handle
	addr   *net.TCPAddr

	mu     sync.Mutex
	more   sync.Cond
	conns  []net.Conn
	ready  int // how many of conns Accept may return while the listener is open
	closed bool

	shared net.Listener // under scheduling None the socket itself
}

var _ net.Listener = (*share)(nil)

// open completes the share with the primary's reply.
func (s *share) open(o *order) error {
	s.addr = o.addr()
	if s.handle != nil { // scheduling None: the socket is ours to accept on
		if !arrived(s.handle) {
			return errors.New("the shared socket did not arrive: this process has no room for descriptors")
		}
		// A Node primary hands out an unbound socket when the port is taken (docs/protocol.md 1.17).
		addr, err := s.handle.LocalAddr()
		if err != nil {
			return err
		}
		tcp, ok := addr.(*net.TCPAddr)
		if !ok || s.query.Port != 0 && tcp.Port != s.query.Port {
			return os.NewSyscallError("bind", syscall.EADDRINUSE)
		}
		ln, err := s.handle.Listener()
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed { // the primary has gone meanwhile
			ln.Close()
			return nodeipc.ErrDisconnected
		}
		s.shared, s.addr = ln, tcp
	}
	if s.addr == nil {
		s.addr = &net.TCPAddr{Port: s.query.Port}
		if s.query.Address != nil {
			s.addr.IP = net.ParseIP(*s.query.Address)
		}
	}
	return nil
}

// push queues a connection for Accept, which gets it after told; it reports false when the listener is closed.
func (s *share) push(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns = append(s.conns, conn)
	return true
}

// told lets Accept return the connection that was pushed last, now that the primary has been told: what the program
// sends on account of it comes after the answer, as with a Node worker.
func (s *share) told() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready++
	s.more.Signal()
}

// Accept returns the next connection that the primary has given to this worker.
func (s *share) Accept() (net.Conn, error) {
	if s.shared != nil {
		return s.shared.Accept()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ready == 0 && !s.closed {
		s.more.Wait()
	}
	if len(s.conns) == 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: s.addr, Err: net.ErrClosed}
	}
	conn := s.conns[0]
	s.conns[0] = nil
	s.conns = s.conns[1:]
	s.ready--
	return conn, nil
}

// Addr returns the address that the primary listens on.
func (s *share) Addr() net.Addr { return s.addr }

// Close gives the share back.
func (s *share) Close() error {
	if !s.shut() {
		return nil
	}
	w := s.w
	w.mu.Lock()
	delete(w.shares, s.key)
	w.mu.Unlock()
	// Internal messages do not wait for the primary to read, so this does not need a context. The index is free after it.
	err := w.send(context.Background(), &note{Act: "close", Key: s.key})
	w.freeIndex(s.query)
	if errors.Is(err, net.ErrClosed) {
		return nil // so is the primary's side
	}
	return err
}

// shut stops the accepting; it reports false if that was done before.
func (s *share) shut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.closed = true
	s.more.Broadcast()
	if s.shared != nil {
		s.shared.Close()
	}
	s.handle.Close()
	return true
}

// end closes the share after the primary has gone, with the connections that nobody accepted.
func (s *share) end() {
	s.shut()
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
	}
}
