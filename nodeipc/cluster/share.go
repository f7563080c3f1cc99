package cluster

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A Query is what a worker asks for, as Primary.Allow sees it.
type Query struct {
	Network string // "tcp", "udp", "unix" or "fd"
	Address string // "127.0.0.1:3000", ":3000" for all addresses, a path, or the number of a descriptor
}

// internal handles a worker's messages; it is the Options.Internal of its channel. Node v22 lib/internal/cluster/primary.js.
func (w *Process) internal(m *nodeipc.Message) {
	w.p.mu.Lock() // Fork holds it until w is complete
	w.p.mu.Unlock()
	var r report
	if err := m.Decode(&r); err != nil || r.Cmd != cmdCluster {
		switch {
		case err != nil:
			w.p.log().Warn("cluster: a worker's message is not understood", "worker", w.id, "error", err)
			m.Handle.Close()
		case w.next != nil:
			w.next(m)
		default:
			m.Handle.Close()
		}
		return
	}
	m.Handle.Close() // no worker sends any
	switch {
	case r.Ack != nil:
		w.answeredNewconn(*r.Ack, r.Accepted)
	case r.Act == "online":
		w.reached(Online)
	case r.Act == "queryServer":
		w.query(m, r.Seq)
	case r.Act == "listening":
		w.reached(Listening)
	case r.Act == "close":
		w.close(r.Key)
	case r.Act == "exitedAfterDisconnect":
		w.p.mu.Lock()
		w.meant = true
		seq := w.p.nextSeq()
		w.p.mu.Unlock()
		w.reply(&ackReply{cmdCluster, r.Seq, seq})
	default:
		w.p.log().Debug("cluster: a worker's message is ignored", "worker", w.id, "act", r.Act)
	}
}

func (w *Process) reached(s State) {
	w.p.mu.Lock()
	w.p.setState(w, s)
	w.p.unlock()
}

// close ends the share that has this key.
func (w *Process) close(key string) {
	w.p.mu.Lock()
	i := slices.IndexFunc(w.shares, func(m *member) bool { return m.l.key == key })
	if i >= 0 { // otherwise the primary has forgotten it before
		m := w.shares[i]
		w.shares = slices.Delete(w.shares, i, i+1)
		m.l.remove(m, false)
	}
	w.p.unlock()
}

// reply sends an answer. It does not wait for the worker; one that makes us answer without end and does not read is
// killed.
func (w *Process) reply(v any) {
	w.replied(w.ch.Send(context.Background(), nodeipc.Internal{Value: v}))
}

func (w *Process) replied(err error) {
	switch {
	case err == nil, errors.Is(err, net.ErrClosed):
	case errors.Is(err, nodeipc.ErrPeerNotReading):
		w.deaf.Do(func() { // what it still asks fails in the same way
			w.p.log().Warn("cluster: worker is killed, it asks and does not read the answers", "worker", w.id)
			w.Kill()
		})
	default:
		w.p.log().Warn("cluster: reply to a worker", "worker", w.id, "error", err)
	}
}

// query answers queryServer.
func (w *Process) query(m *nodeipc.Message, seq int64) {
	p := w.p
	var fields map[string]any
	if err := m.Decode(&fields); err != nil {
		return // it was decoded before
	}
	q := parseWanted(fields)
	errno := q.errno
	if errno == 0 {
		errno = p.allows(w, q)
	}
	p.mu.Lock()
	if w.forgotten || w.state >= Disconnected || p.closed {
		p.unlock() // as Node does, because an error would be the end of many a program that is just leaving, or has to
		return
	}
	var l *listener
	if errno == 0 {
		l, errno = p.share(w, q)
	}
	answer := queryReply{Cmd: cmdCluster, Key: q.key, Ack: seq, Seq: p.nextSeq()}
	if errno != 0 {
		p.unlock()
		answer.Errno = -int(errno)
		w.reply(&answer)
		return
	}
	answer.Data = l.data
	mem := &member{w: w, l: l, queue: queue{name: slog.Int("worker", w.id)}}
	w.shares, l.members = append(w.shares, mem), append(l.members, mem)
	if l.shared {
		sock := l.sock
		p.unlock()
		answer.Errno = 0
		kind := nodeipc.NetNative
		if q.udp {
			kind = nodeipc.DgramNative
		}
		given := func(err error) {
			if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, nodeipc.ErrPeerNotReading) ||
				errors.Is(err, nodeipc.ErrHandleUnconfirmed) {
				w.replied(err)
				return
			}
			p.log().Warn("cluster: a socket could not be sent to a worker", "worker", w.id, "key", q.key, "error", err)
			w.close(q.key)
			w.reply(&queryReply{Cmd: cmdCluster, Errno: -int(errnoOf(err)), Key: q.key, Ack: seq, Seq: answer.Seq})
		}
		err := w.ch.QueueHandle(nodeipc.Internal{Value: &answer}, nodeipc.NewHandle(sock.file, kind), given)
		if err != nil {
			given(err)
		}
		return
	}
	if tcp, ok := l.sock.addr.(*net.TCPAddr); ok {
		answer.Sockname = &sockname{Address: hostOf(tcp), Family: familyOf(tcp), Port: tcp.Port}
	}
	p.mu.Unlock()
	w.reply(&answer)
	// Now, as the worker knows the key, it can get connections.
	p.mu.Lock()
	mem.ready = true
	l.regroup() // what waits for others may be for this one
	l.isDue()
	p.unlock()
}

// share finds the listener that q names, or opens it. mu is held.
func (p *Primary) share(w *Process, q *wanted) (*listener, syscall.Errno) {
	limit := p.MaxListeners
	if limit == 0 {
		limit = 1000
	}
	if len(w.shares) >= limit {
		return nil, syscall.EMFILE
	}
	l := p.listeners[q.key]
	if q.reuse && w.has(l) { // a worker may have several sockets for datagrams there, if all of them say so
		q.key += ":" + strconv.Itoa(q.index)
		l = p.listeners[q.key]
	}
	switch {
	case l == nil:
		var err error
		if l, err = p.open(q); errors.Is(err, syscall.EADDRINUSE) && p.dropLingering(q) {
			l, err = p.open(q)
		}
		if err != nil {
			p.log().Debug("cluster: a worker's address cannot be opened", "worker", w.id, "key", q.key, "error", err)
			return nil, errnoOf(err)
		}
	case w.has(l):
		return nil, syscall.EADDRINUSE // Node 20 and older would die, newer ones try to bind once more
	}
	if l.linger != nil {
		l.linger.Stop()
		l.linger = nil
	}
	if l.data == nil {
		l.data = q.data
	}
	return l, 0
}

// errnoOf is what a worker is told of err.
func errnoOf(err error) syscall.Errno {
	errno := syscall.EINVAL
	if errors.Is(err, nodeipc.ErrHandleNotReceived) {
		return syscall.EMFILE // the worker's own
	}
	errors.As(err, &errno)
	return errno
}

// has reports whether the worker shares l.
func (w *Process) has(l *listener) bool {
	return slices.ContainsFunc(w.shares, func(m *member) bool { return m.l == l })
}

// open makes a listener.
func (p *Primary) open(q *wanted) (*listener, error) {
	l := &listener{p: p, key: q.key, given: p.inherited(q), deaths: map[string]time.Time{}}
	l.use(p.scheduling().newPolicy())
	l.shared = q.udp || l.policy == nil
	l.room.L = &p.mu
	var err error
	switch {
	case l.given >= 0:
		l.sock, err = openFile(p.Listeners[l.given], q.udp, q.backlog)
	case q.fd >= 0:
		l.sock, err = openFile(p.Files[q.fd], q.udp, q.backlog)
	case q.udp:
		l.sock, err = openUDP(q)
	case q.path != "":
		l.sock, err = openPath(q)
	default:
		l.sock, err = openTCP(q)
	}
	if err != nil {
		return nil, err
	}
	p.lastListener++
	l.order = p.lastListener
	if p.listeners == nil {
		p.listeners = make(map[string]*listener)
	}
	p.listeners[q.key] = l
	if !l.shared {
		l.accepts = true
		go l.accept()
	}
	return l, nil
}

// dropLingering closes the listeners that nobody shares and that may be in the way of q; it reports whether there were
// any.
func (p *Primary) dropLingering(q *wanted) (any bool) {
	for _, l := range p.listeners {
		if l.linger != nil && l.given < 0 && q.near(l.sock.addr) {
			l.close()
			any = true
		}
	}
	return any
}

// near reports whether addr has the port or path of q.
func (q *wanted) near(addr net.Addr) bool {
	switch addr := addr.(type) {
	case *net.TCPAddr:
		return q.path == "" && !q.udp && addr.Port == q.port
	case *net.UnixAddr:
		return q.path != "" && absolute(addr.Name) == absolute(q.path)
	}
	return false
}

// allows asks Primary.Allow.
func (p *Primary) allows(w *Process, q *wanted) syscall.Errno {
	if q.fd >= 0 && p.Files[q.fd] == nil {
		return syscall.EBADF
	}
	if p.Allow == nil {
		return 0
	}
	err := p.Allow(w, q.Query)
	if err == nil {
		return 0
	}
	errno := syscall.EACCES
	if errors.As(err, &errno) && errno == 0 {
		errno = syscall.EACCES
	}
	p.log().Info("cluster: a worker is denied an address", "worker", w.id, "network", q.Network, "address", q.Address, "error", err)
	return errno
}

// wanted is a queryServer that was read.
type wanted struct {
	Query
	key     string
	index   int        // which of the worker's listeners with this address
	ip      netip.Addr // invalid for all addresses
	port    int
	path    string
	fd      int // -1 if none is meant
	udp     bool
	v6only  bool
	reuse   bool
	backlog int
	all     struct{ read, write bool } // who may use a path
	data    *serverData
	errno   syscall.Errno // what is wrong with it
}

// Flags of libuv: UV_TCP_IPV6ONLY and UV_UDP_IPV6ONLY, UV_UDP_REUSEADDR.
const (
	flagV6Only = 1
	flagReuse  = 4
)

// The longest address that a worker may name.
const maxAddress = 4096

// parseWanted reads what a worker wants. Whatever it sent, the key is one that it can be answered with.
func parseWanted(m map[string]any) *wanted {
	q := &wanted{fd: -1}
	address, hasAddress := m["address"].(string)
	kind, _ := m["addressType"].(string)
	q.udp = kind == "udp4" || kind == "udp6"
	port, hasPort := number(m["port"])
	fd, hasFD := number(m["fd"])
	if len(address) > maxAddress {
		address, q.errno = "", syscall.ENAMETOOLONG
	}
	q.key = fmt.Sprintf("%s:%s:%s:%s", orText(address, hasAddress, m, "address"), text(m, "port"), text(m, "addressType"), text(m, "fd"))
	q.index, _ = number(m["index"])
	// An index is told apart only where it means another socket: workers before Node 22 send one that goes on counting.
	if hasPort && port == 0 || q.udp && !hasPort && !hasFD0(fd, hasFD) {
		q.key += ":" + strconv.Itoa(q.index)
	}
	if flags, ok := number(m["flags"]); ok {
		q.v6only = flags&flagV6Only != 0
		q.reuse = q.udp && flags&flagReuse != 0
	}
	if n, ok := number(m["backlog"]); ok && n > 0 {
		q.backlog = n
	}
	q.all.read, _ = m["readableAll"].(bool)
	q.all.write, _ = m["writableAll"].(bool)
	if data, ok := m["data"].(map[string]any); ok {
		// Others would end the Node workers that they are given to.
		keys, _ := data["ticketKeys"].(string)
		if b, err := hex.DecodeString(keys); err == nil && len(b) == ticketKeysSize {
			q.data = &serverData{TicketKeys: keys}
		}
	}
	if q.errno != 0 {
		return q
	}
	host := ""
	switch {
	case hasFD0(fd, hasFD):
		q.fd, q.Network, q.Address = fd, "fd", strconv.Itoa(fd)
		return q
	case !q.udp && (!hasPort || port == -1):
		q.path, q.Network, q.Address = address, "unix", address
		if address == "" {
			q.errno = syscall.EINVAL
		}
		return q
	case hasAddress && address != "":
		ip, err := netip.ParseAddr(address)
		if err != nil {
			q.errno = syscall.EINVAL // a worker looks names up itself
			return q
		}
		q.ip, host = ip, address
	}
	if q.port = port; port < 0 || port > 65535 {
		q.errno = syscall.EINVAL
		return q
	}
	if q.udp && !q.ip.IsValid() {
		q.ip = netip.IPv4Unspecified()
		if kind == "udp6" {
			q.ip = netip.IPv6Unspecified()
		}
	}
	q.Network = "tcp"
	if q.udp {
		q.Network = "udp"
	}
	q.Address = net.JoinHostPort(host, strconv.Itoa(port))
	return q
}

func hasFD0(fd int, has bool) bool { return has && fd >= 0 }

func orText(address string, ok bool, m map[string]any, name string) string {
	if ok {
		return address
	}
	return text(m, name)
}

// text is a member as JavaScript's String makes it.
func text(m map[string]any, name string) string {
	v, ok := m[name]
	switch v := v.(type) {
	case string:
		return v[:min(len(v), maxAddress)]
	case nil:
		if ok {
			return "null"
		}
	case bool:
		return strconv.FormatBool(v)
	default:
		if n, ok := number(v); ok {
			return strconv.Itoa(n)
		}
	}
	return "undefined"
}

// number returns a member that is a whole number of 32 bits.
func number(v any) (int, bool) {
	switch v := v.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) <= math.MaxInt32 {
			return int(v), true
		}
	case int:
		return v, v >= math.MinInt32 && v <= math.MaxInt32
	case int32:
		return int(v), true
	case int64:
		return int(v), v >= math.MinInt32 && v <= math.MaxInt32
	case uint32:
		return int(v), v <= math.MaxInt32
	}
	return 0, false
}

func hostOf(a *net.TCPAddr) string {
	if a.Zone != "" {
		return a.IP.String() + "%" + a.Zone
	}
	return a.IP.String()
}

func familyOf(a *net.TCPAddr) string {
	if a.IP.To4() != nil {
		return "IPv4"
	}
	return "IPv6"
}
