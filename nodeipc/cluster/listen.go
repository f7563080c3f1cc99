package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// What a worker asks its primary for: addresses to listen on, their keys and indexes (docs/protocol.md 1.15).

// A ListenConfig says more of a listener than Worker.Listen does, as net.ListenConfig does for package net. The zero
// value listens alone.
//
// There is no field for ipv6Only, which the networks "tcp6" and "udp6" ask for, as in package net; for exclusive, which
// is net.Listen; and for readableAll and writableAll, which are os.Chmod of the path.
type ListenConfig struct {
	// Worker shares the address with the other workers of its cluster; nil is a program that runs alone.
	Worker *Worker
	// Backlog is how many connections may wait in the kernel; 0 means Node's 511. The first worker of an address decides.
	// Alone, package net decides.
	Backlog int
	// MaxConns is how many connections may be open at once, of those that the listener has accepted or that wait for
	// Accept; 0 means no limit. The primary gives those beyond to other workers, after a pause of 50 ms in which one here
	// may end; so it does not spin if there is no other. Where workers accept for themselves, under cluster.SCHED_NONE or
	// alone, Accept waits. A connection that Accept returns then has a type of its own, with the methods of a
	// *net.TCPConn or *net.UnixConn; it is open until its Close.
	MaxConns int
	// TicketKeys are the 48 bytes of server.getTicketKeys() with which Node's TLS servers seal session tickets. The keys
	// of the first worker that has some are those of all, which the function TicketKeys returns. Nil leaves that to others.
	TicketKeys []byte
}

// The length of Node's ticket keys. Others would be an exception in every Node worker that gets them.
const ticketKeysSize = 48

// Listen shares address with the other workers of the cluster: the primary listens there and gives each connection to
// one of them. Listening on the same address in a second worker shares it, as does port 0, which is one random port for
// all; the second listener on port 0 of a worker has another one. network is
//
//   - "tcp", "tcp4" or "tcp6" with "host:port"; the connections are *net.TCPConn;
//   - "unix" with a path, relative to this process's directory; the connections are *net.UnixConn. The file must not
//     exist, and the primary removes it when the last worker closes its listener;
//   - "fd" with the number of a descriptor that listens in the primary, server.listen({fd}) of Node. Only one that the
//     primary itself has inherited and does not use can be named. Alone, it is one of this process, which is taken over.
//
// An address without a host shares with Node workers that listen without a host; a host name with those that name it:
// it is resolved here, in the system's order, as Node 17 and later do (older ones prefer IPv4). If the primary cannot
// listen, the error wraps a syscall.Errno such as syscall.EADDRINUSE; for a path in a folder that does not exist that is
// EACCES, as in Node. It is nodeipc.ErrDisconnected when w is Done. If ctx ends first nothing listens.
//
// Close tells the primary; connections that it gave us before can still be accepted, then Accept returns net.ErrClosed.
// A listener that is to be this process's own (exclusive in Node) is one of net.Listen.
func (w *Worker) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return (&ListenConfig{Worker: w}).Listen(ctx, network, address)
}

// ListenPacket shares a UDP address with the other workers of the cluster, Node's dgram sockets among them: all read
// from one socket of the primary's, and the kernel gives each datagram to one of them. network is "udp4", "udp6" (only
// IPv6, unless a Node worker was first) or "udp", which takes IPv4 or IPv6 as the host is, and without a host both, as
// udp6 in Node. The result has the methods of a *net.UDPConn. Errors are those of Listen.
//
// A Node worker shares port 0 with it by bind(0) or bind({port: 0}); bind() names no port and is another socket.
func (w *Worker) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	return (&ListenConfig{Worker: w}).ListenPacket(ctx, network, address)
}

// Listen is Worker.Listen with what c says.
func (c *ListenConfig) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if c.Worker == nil {
		ln, err := listenAlone(ctx, network, address)
		if err == nil && c.MaxConns > 0 {
			ln = newLimited(ln, c.MaxConns)
		}
		if err != nil {
			return nil, err // and not a nil pointer in ln
		}
		return ln, nil
	}
	var q *query
	var err error
	switch network {
	case "tcp", "tcp4", "tcp6":
		q, err = resolve(ctx, network, address)
	case "unix":
		q, err = pathQuery(address)
	case "fd":
		q, err = fdQuery(address)
	default:
		err = fmt.Errorf("%w: network %q in a cluster; tcp, tcp4, tcp6, unix and fd are", errors.ErrUnsupported, network)
	}
	if err == nil {
		if q.Backlog = any(false); c.Backlog > 0 {
			q.Backlog = c.Backlog
		}
		if c.TicketKeys != nil {
			q.Data = &serverData{hex.EncodeToString(c.TicketKeys)}
			if n := len(c.TicketKeys); n != ticketKeysSize {
				err = fmt.Errorf("%d bytes of ticket keys, Node has %d", n, ticketKeysSize)
			}
		}
	}
	if err != nil {
		return nil, listenError(network, address, err)
	}
	s, err := c.share(ctx, network, address, q)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ListenPacket is Worker.ListenPacket. Of c's other fields none is for UDP.
func (c *ListenConfig) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	if c.Worker == nil {
		return new(net.ListenConfig).ListenPacket(ctx, network, address)
	}
	var q *query
	var err error
	switch network {
	case "udp", "udp4", "udp6":
		q, err = resolve(ctx, network, address)
	default:
		err = fmt.Errorf("%w: network %q in a cluster; udp, udp4 and udp6 are", errors.ErrUnsupported, network)
	}
	if err != nil {
		return nil, listenError(network, address, err)
	}
	s, err := c.share(ctx, network, address, q)
	if err != nil {
		return nil, err
	}
	return &packetShare{s.packet, s}, nil
}

// TicketKeys returns the keys of Node's session tickets that the workers of this address share, if ln is a listener of
// a worker and one of them had keys when Listen asked. It is nil otherwise.
//
// A Go server cannot open the tickets of a Node server, nor the other way round: crypto/tls keeps a session in a form of
// its own. A client that comes to the other kind of worker makes a full handshake. What the keys are good for is that Go
// workers resume each other's sessions: tls.Config.SetSessionTicketKeys with keys that are made of them, such as
// sha256.Sum256(keys), if there are any; otherwise crypto/tls makes its own. They are secrets.
func TicketKeys(ln net.Listener) []byte {
	if s, ok := ln.(*share); ok {
		return s.keys
	}
	return nil
}

func listenError(network, address string, err error) error {
	return &net.OpError{Op: "listen", Net: network, Addr: nameAddr{network, address}, Err: err}
}

func listenAlone(ctx context.Context, network, address string) (net.Listener, error) {
	if network != "fd" {
		return new(net.ListenConfig).Listen(ctx, network, address)
	}
	fd, err := strconv.Atoi(address)
	if err != nil || fd < 0 {
		return nil, listenError(network, address, fmt.Errorf("%q is no descriptor", address))
	}
	f := os.NewFile(uintptr(fd), network+address)
	if f == nil {
		return nil, listenError(network, address, syscall.EBADF)
	}
	defer f.Close() // net has a duplicate
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, listenError(network, address, err)
	}
	return ln, nil
}

// share asks the primary for what q says.
func (c *ListenConfig) share(ctx context.Context, network, address string, q *query) (*share, error) {
	w := c.Worker
	if err := w.takeIndex(q); err != nil {
		return nil, listenError(network, address, err)
	}
	s := &share{w: w, query: q, max: c.MaxConns, backlog: c.Backlog}
	s.more.L = &s.mu

	q.Cmd, q.Act = cmdCluster, "queryServer"
	o, err := w.ask(ctx, func(seq int64) any { q.Seq = seq; return q }, s)
	if err != nil {
		if o != nil { // refused; otherwise the index is in use until the reply comes
			w.freeIndex(q)
			if errno := syscall.Errno(0); errors.As(err, &errno) {
				err = os.NewSyscallError("bind", errno)
			}
		}
		return nil, listenError(network, address, err)
	}
	if err := s.open(o); err != nil {
		s.Close()
		return nil, listenError(network, address, err)
	}
	w.mu.Lock()
	told := *q
	told.Act, told.Seq = "listening", w.nextSeq()
	if port, ok := portOf(s.addr); ok {
		told.Port = &port
	}
	w.mu.Unlock()
	if err := w.ch.Send(ctx, nodeipc.Internal{Value: &told}); err != nil {
		s.Close()
		return nil, listenError(network, address, err)
	}
	return s, nil
}

func portOf(addr net.Addr) (int, bool) {
	switch addr := addr.(type) {
	case *net.TCPAddr:
		return addr.Port, true
	case *net.UDPAddr:
		return addr.Port, true
	}
	return 0, false
}

// resolve makes the query of a Node 20 worker that calls server.listen, or socket.bind, with this port and host.
func resolve(ctx context.Context, network, address string) (*query, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, network, service)
	if err != nil {
		return nil, err
	}
	udp, only4, only6 := strings.HasPrefix(network, "udp"), strings.HasSuffix(network, "4"), strings.HasSuffix(network, "6")
	if host == "" {
		switch {
		case only4:
			host = "0.0.0.0"
		case only6 || udp:
			host = "::"
		default:
			return &query{Port: &port, AddressType: 4}, nil // Node tries :: and 0.0.0.0 in the primary
		}
	}
	text := host // an address stays as it was typed: its text is part of the key
	ip, err := netip.ParseAddr(host)
	if err == nil && (only4 && !ip.Is4() || only6 && !ip.Is6()) {
		return nil, &net.AddrError{Err: "no suitable address found", Addr: host} // as package net says
	}
	if err != nil {
		kind := "ip" + strings.TrimPrefix(strings.TrimPrefix(network, "tcp"), "udp")
		ips, err := net.DefaultResolver.LookupNetIP(ctx, kind, host)
		if err != nil {
			return nil, err
		}
		ip = ips[0].Unmap()
		text = ip.String()
	}
	flags, none := 0, -1
	if only6 {
		flags = 1 // UV_TCP_IPV6ONLY or UV_UDP_IPV6ONLY, which package net sets as well
	}
	q := &query{Address: &text, Port: &port, AddressType: 4, Flags: &flags}
	if ip.Is6() {
		q.AddressType = 6
	}
	if udp {
		q.AddressType, q.FD = fmt.Sprintf("udp%d", q.AddressType), &none // without the -1 the key is another
	}
	return q, nil
}

// pathQuery makes the query of server.listen(path). The primary may have another directory.
func pathQuery(path string) (*query, error) {
	if path == "" || path[0] == '@' || path[0] == 0 {
		return nil, fmt.Errorf("%w: a unix socket without a path in a cluster", errors.ErrUnsupported)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	none := -1
	return &query{Address: &path, Port: &none, AddressType: -1}, nil
}

// fdQuery makes the query of server.listen({fd}).
func fdQuery(number string) (*query, error) {
	fd, err := strconv.Atoi(number)
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("%q is no descriptor", number)
	}
	return &query{FD: &fd}, nil
}

// takeIndex gives q the next index of its address. One that the primary may still connect with a listener of ours must
// not be used again: a primary of Node 20 or older dies of it (docs/protocol.md 1.15).
func (w *Worker) takeIndex(q *query) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked {
		return errLeaving
	}
	set := w.indexes[q.indexKey()]
	if set != nil && !q.randomPort() {
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

// nameAddr is the address of a listener that did not come to be, or whose address the primary does not tell.
type nameAddr struct{ network, address string }

func (a nameAddr) Network() string { return a.network }
func (a nameAddr) String() string  { return a.address }
