package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A share is this worker's part of a listener, or of a UDP socket, of the primary.
type share struct {
	w       *Worker
	query   *query
	key     string // the primary's name of it
	handle  *nodeipc.Handle
	addr    net.Addr
	keys    []byte // of TLS
	max     int    // connections that may be open, or 0
	backlog int

	mu     sync.Mutex
	more   sync.Cond
	conns  []net.Conn
	ready  int // how many of conns Accept may return while the listener is open
	count  int // connections, if there is a max
	held   []*held
	closed bool

	shared net.Listener // under scheduling None the socket itself
	packet *net.UDPConn // of UDP
}

var _ net.Listener = (*share)(nil)

// A held connection waits for one of those that are open to end.
type held struct {
	conn  net.Conn
	order *order
	timer *time.Timer
}

// open completes the share with the primary's reply.
func (s *share) open(o *order) error {
	q := s.query
	s.addr, s.keys = o.addr(), o.ticketKeys()
	if s.keys == nil && q.Data != nil { // a primary that does not pass them on
		s.keys, _ = hex.DecodeString(q.Data.TicketKeys)
	}
	if s.handle != nil { // scheduling None, or UDP: the socket is ours as well
		if err := s.take(); err != nil {
			return err
		}
	} else if _, udp := q.AddressType.(string); udp {
		return errors.New("the primary sent no UDP socket")
	}
	switch {
	case q.AddressType == any(-1): // a name that the primary bound may be relative to its own directory
		s.addr = &net.UnixAddr{Name: *q.Address, Net: "unix"}
	case s.addr != nil:
	case q.FD != nil:
		s.addr = nameAddr{"fd", strconv.Itoa(*q.FD)}
	default:
		addr := &net.TCPAddr{Port: *q.Port}
		if q.Address != nil {
			addr.IP = net.ParseIP(*q.Address)
		}
		s.addr = addr
	}
	return nil
}

// take makes a listener or packet connection of the socket that came with the reply.
func (s *share) take() error {
	q := s.query
	if !arrived(s.handle) {
		return errors.New("the shared socket did not arrive: this process has no room for descriptors")
	}
	addr, err := s.handle.LocalAddr()
	if err != nil {
		return err
	}
	if _, udp := q.AddressType.(string); udp {
		conn, err := s.handle.PacketConn()
		if err != nil {
			return err
		}
		return s.uses(nil, conn.(*net.UDPConn), addr)
	}
	// A Node primary hands out an unbound socket when the port is taken (docs/protocol.md 1.17).
	tcp, ok := addr.(*net.TCPAddr)
	if kind, _ := q.AddressType.(int); kind > 0 && (!ok || !q.randomPort() && tcp.Port != *q.Port) {
		return os.NewSyscallError("bind", syscall.EADDRINUSE)
	}
	if s.backlog > 0 {
		if err := listenBacklog(s.handle, s.backlog); err != nil {
			return err
		}
	}
	ln, err := s.handle.Listener()
	if err != nil {
		return err
	}
	return s.uses(ln, nil, addr)
}

// uses keeps what was made of the primary's socket, unless the primary has gone meanwhile.
func (s *share) uses(ln net.Listener, packet *net.UDPConn, addr net.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		if ln != nil {
			ln.Close()
		} else {
			packet.Close()
		}
		return nodeipc.ErrDisconnected
	}
	if ln != nil && s.max > 0 {
		ln = newLimited(ln, s.max)
	}
	s.shared, s.packet, s.addr = ln, packet, addr
	return nil
}

// push queues a connection for Accept, which gets it after told; it reports false when the listener is closed.
func (s *share) push(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.max > 0 {
		s.count++
		conn = counted(conn, s.ended)
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

// hold keeps a connection back if there are as many as may be: it is accepted when one ends, and goes back to the primary
// when none does soon. Until then the primary gives us no other, and others to other workers; told at once, the primary of
// a lone worker would give the same connection again without a pause (docs/protocol.md 4.2).
func (s *share) hold(conn net.Conn, o *order) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.max == 0 || s.count < s.max {
		return false
	}
	h := &held{conn: conn, order: o}
	h.timer = time.AfterFunc(refusalPause, func() {
		if s.unhold(h) {
			conn.Close()
			s.w.answerNewconn(o, false)
		}
	})
	s.held = append(s.held, h)
	return true
}

// unhold takes h out of those that are held; it reports false if somebody else has.
func (s *share) unhold(h *held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.held, h)
	if i < 0 {
		return false
	}
	s.held = slices.Delete(s.held, i, i+1)
	return true
}

// ended counts a connection that was closed, or gives its place to one that is held.
func (s *share) ended() {
	s.mu.Lock()
	if s.closed || len(s.held) == 0 {
		s.count--
		s.mu.Unlock()
		return
	}
	h := s.held[0]
	s.held = s.held[1:]
	s.conns = append(s.conns, counted(h.conn, s.ended))
	s.mu.Unlock()
	h.timer.Stop()
	s.w.answerNewconn(h.order, true)
	s.told()
}

// Accept returns the next connection that the primary has given to this worker.
func (s *share) Accept() (net.Conn, error) {
	if s.shared != nil {
		return s.shared.Accept()
	}
	conn := s.next()
	if conn == nil {
		return nil, &net.OpError{Op: "accept", Net: s.addr.Network(), Addr: s.addr, Err: net.ErrClosed}
	}
	// The answer is with the kernel before the program can end the process on account of the connection, or else the primary
	// would keep it open and give it to nobody (docs/protocol.md 2.3). A primary that does not read is not waited for.
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	s.w.ch.Flush(ctx)
	return conn, nil
}

const answerTime = 50 * time.Millisecond

// next takes a connection from the queue; it is nil when the listener is closed and the queue empty.
func (s *share) next() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ready == 0 && !s.closed {
		s.more.Wait()
	}
	if len(s.conns) == 0 {
		return nil
	}
	conn := s.conns[0]
	s.conns[0] = nil
	s.conns = s.conns[1:]
	s.ready--
	return conn
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
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.closed = true
	s.more.Broadcast()
	if s.shared != nil {
		s.shared.Close()
	}
	if s.packet != nil {
		s.packet.Close()
	}
	s.handle.Close()
	back := s.held
	s.held = nil
	s.mu.Unlock()
	for _, h := range back {
		h.timer.Stop()
		h.conn.Close()
		s.w.answerNewconn(h.order, false)
	}
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

// A packetShare is a share of a UDP socket.
type packetShare struct {
	*net.UDPConn
	share *share
}

var _ net.PacketConn = (*packetShare)(nil)

// Close gives the share back. The socket stays open in the other workers.
func (p *packetShare) Close() error { return p.share.Close() }
