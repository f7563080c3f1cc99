package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// ErrNotWorker: this process was not started by cluster.fork of a primary, or has joined already.
var ErrNotWorker = errors.New("cluster: not a worker (NODE_UNIQUE_ID or NODE_CHANNEL_FD is not set): start this program from a primary, by forkGo of @nodeipc/go or by Primary.Fork; or Join was called before")

// A Worker is this process as a worker of a Node cluster. Its methods may be called from any goroutine. A nil *Worker
// stands for a program that runs alone: Listen is net's, Done never closes, Disconnect does nothing.
type Worker struct {
	id   int
	log  *slog.Logger
	bun  bool // the primary says no cmd
	done chan struct{}

	adopted bool // by a Node worker, see adopted.go

	mu      sync.Mutex // never held while the channel is called, but by Join
	ch      *nodeipc.Channel
	next    func(*nodeipc.Message) // the caller's Options.Internal
	seq     int64                  // of our next message
	refused int64                  // the last newconn whose handle got lost, or -1
	pending map[int64]*request
	shares  map[string]*share // by key
	indexes map[string]*indexSet
	asked   bool // the primary wants us to disconnect
	isDone  bool
}

// A request waits for the primary's reply.
type request struct {
	share *share // to be entered under the reply's key; nil for another request
	reply chan *order
	gone  bool // nobody waits any more
}

// An indexSet counts the listeners of one address, as Node v20 lib/internal/cluster/child.js does.
type indexSet struct{ next, open int }

// Join connects this process to its primary as a worker; "online" is sent. It takes the place of nodeipc.Connect: the
// channel is w.Channel. opts may be nil. Options.Overflow is DropOldest here, because a worker that only accepts must
// go on under any number of messages from its primary: the oldest messages are dropped when Options.Backlog bytes wait,
// which the logger hears once and the next Receive reports as a *nodeipc.DroppedError.
//
// Without a primary the error is ErrNotWorker and the Worker nil, which is good for running alone.
func Join(opts *nodeipc.Options) (*Worker, error) {
	value, ok := os.LookupEnv("NODE_UNIQUE_ID")
	if !ok {
		return nil, ErrNotWorker
	}
	id, err := strconv.Atoi(value)
	if err != nil {
		return nil, fmt.Errorf("cluster: join: NODE_UNIQUE_ID=%q is no worker id", value)
	}
	var o nodeipc.Options
	if opts != nil {
		o = *opts
	}
	w := &Worker{
		id:      id,
		log:     o.Logger,
		bun:     o.Bun,
		done:    make(chan struct{}),
		next:    o.Internal,
		refused: -1,
		pending: make(map[int64]*request),
		shares:  make(map[string]*share),
		indexes: make(map[string]*indexSet),
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	o.Internal, o.Overflow = w.internal, nodeipc.DropOldest

	w.mu.Lock() // internal waits until the channel is known
	w.ch, err = nodeipc.Connect(&o)
	w.mu.Unlock()
	if errors.Is(err, nodeipc.ErrNoChannel) {
		return nil, ErrNotWorker
	}
	if err != nil {
		return nil, fmt.Errorf("cluster: join: %w", err)
	}
	if wrapper := adopted(); wrapper != nil { // which has sent "online" before
		w.adopted = true
		go w.follow(wrapper)
	} else if err := w.send(context.Background(), &note{Act: "online"}); err != nil {
		w.ch.Close()
		return nil, fmt.Errorf("cluster: join: %w", err)
	}
	go func() {
		<-w.ch.Done()
		w.lost()
	}()
	return w, nil
}

// ID returns the worker's number in its primary, cluster.worker.id in Node; 0 for nil.
func (w *Worker) ID() int {
	if w == nil {
		return 0
	}
	return w.id
}

// Channel returns the channel to the primary, for messages both ways; nil for nil.
func (w *Worker) Channel() *nodeipc.Channel {
	if w == nil {
		return nil
	}
	return w.ch
}

// IsConnected reports whether the channel to the primary is open.
func (w *Worker) IsConnected() bool {
	if w == nil {
		return false
	}
	select {
	case <-w.ch.Done():
		return false
	default:
		return true
	}
}

// Done is closed when the primary has asked us to disconnect, or is gone: time to drain and leave. It is nil for nil.
func (w *Worker) Done() <-chan struct{} {
	if w == nil {
		return nil
	}
	return w.done
}

// Disconnect leaves the cluster in order: it closes the listeners, tells the primary that the exit to come is meant
// (exitedAfterDisconnect, unless the primary began it), and disconnects the channel. Connections are the caller's: end
// them before, as http.Server.Shutdown does. If the primary is gone it returns nil. If ctx ends the channel is open still.
// With os.Exit(0) after it this is cluster.worker.kill() of Node; a process that just exits has an exitedAfterDisconnect
// of false.
func (w *Worker) Disconnect(ctx context.Context) error {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	asked := w.asked
	shares := make([]*share, 0, len(w.shares))
	for _, s := range w.shares {
		shares = append(shares, s)
	}
	w.mu.Unlock()
	slices.SortFunc(shares, func(a, b *share) int { return cmp.Compare(a.query.Seq, b.query.Seq) }) // as they were opened
	for _, s := range shares {
		s.Close()
	}
	if !asked {
		if _, err := w.ask(ctx, func(seq int64) any { return &note{Cmd: cmdCluster, Act: "exitedAfterDisconnect", Seq: seq} }, nil); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("cluster: disconnect: %w", err)
		}
	}
	if err := w.ch.Disconnect(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("cluster: disconnect: %w", err)
	}
	return nil
}

// internal handles the primary's messages; it is the channel's Options.Internal.
func (w *Worker) internal(m *nodeipc.Message) {
	var o order
	if err := m.Decode(&o); err != nil || o.Cmd != cmdCluster && !(w.bun && o.Cmd == "") {
		w.mu.Lock()
		next := w.next
		w.mu.Unlock()
		if next != nil {
			next(m)
		} else {
			m.Handle.Close()
		}
		return
	}
	switch {
	case o.Ack != nil && w.answered(&o, m.Handle):
	case o.Act == "newconn":
		w.newconn(&o, m.Handle)
	case o.Act == "disconnect":
		m.Handle.Close()
		w.mu.Lock()
		w.asked = true
		w.leave()
		w.mu.Unlock()
	default:
		m.Handle.Close()
		w.log.Debug("cluster: message of the primary ignored", "act", o.Act)
	}
}

// answered gives a reply to the request that waits for it. A share is entered under its key before the next message is
// read, because the first connection may come right behind the reply.
func (w *Worker) answered(o *order, h *nodeipc.Handle) bool {
	w.mu.Lock()
	r := w.pending[*o.Ack]
	delete(w.pending, *o.Ack)
	granted := r != nil && r.share != nil && o.err() == nil
	gone := r != nil && r.gone // what becomes of r is decided with its leaving pending
	if granted && !gone {
		r.share.key, r.share.handle = o.Key, h
		w.shares[o.Key] = r.share
		h = nil
	}
	w.mu.Unlock()
	if r == nil {
		return false
	}
	h.Close()
	switch {
	case !gone:
		r.reply <- o
	case r.share != nil: // Listen gave up meanwhile
		if granted {
			w.send(context.Background(), &note{Act: "close", Key: o.Key})
		}
		w.freeIndex(r.share.query)
	}
	return true
}

// newconn takes a connection. The answer goes out at once, unless there are as many connections as may be, and does not
// wait for Accept: the primary gives a worker one connection at a time.
func (w *Worker) newconn(o *order, h *nodeipc.Handle) {
	lost := h != nil && !arrived(h)
	w.mu.Lock()
	s := w.shares[o.Key]
	again := w.refused == o.Seq // a primary that is not Node's sends once more what got lost; it may be another's by now
	w.mu.Unlock()
	ok := s != nil && h != nil && !lost && !again
	if ok {
		conn, err := h.Conn()
		switch {
		case err == nil:
			if !s.hold(conn, o) {
				w.deliver(s, conn, o)
			}
			return
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE): // a net.Conn takes one more for a moment
			lost = true
			w.log.Warn("cluster: no room for a connection, it goes back to the primary", "error", err)
		default: // nobody else would fare better with it
			w.log.Warn("cluster: connection lost", "error", err)
			w.answerNewconn(o, true)
			return
		}
	}
	h.Close()
	if lost { // there is no room for descriptors: if we are the only worker, the primary tries again at once
		w.mu.Lock()
		w.refused = o.Seq
		w.mu.Unlock()
		time.AfterFunc(refusalPause, func() { w.answerNewconn(o, false) })
		return
	}
	w.answerNewconn(o, false)
}

// deliver puts a connection into the queue of Accept and tells the primary; or gives it back if s is closed.
func (w *Worker) deliver(s *share, conn net.Conn, o *order) {
	ok := s.push(conn)
	if !ok {
		conn.Close()
	}
	w.answerNewconn(o, ok)
	if ok {
		s.told()
	}
}

// How long a primary waits for the news that a connection was not taken, which other workers can take in the meantime.
const refusalPause = 50 * time.Millisecond

func (w *Worker) answerNewconn(o *order, ok bool) {
	w.mu.Lock()
	ch, seq := w.ch, w.nextSeq()
	w.mu.Unlock()
	if err := ch.Send(context.Background(), nodeipc.Internal{Value: answer{cmdCluster, o.Seq, ok, seq}}); err != nil {
		w.log.Debug("cluster: answer to newconn", "error", err)
	}
}

// arrived tells whether a received handle is one: what got lost comes as a closed one.
func arrived(h *nodeipc.Handle) bool {
	rc, err := h.SyscallConn()
	return err == nil && rc.Control(func(uintptr) {}) == nil
}

// leave closes done. mu is held.
func (w *Worker) leave() {
	if !w.isDone {
		w.isDone = true
		close(w.done)
	}
}

// lost ends what depends on the primary.
func (w *Worker) lost() {
	w.mu.Lock()
	w.leave()
	clear(w.pending)
	shares := w.shares
	w.shares = map[string]*share{}
	w.mu.Unlock()
	for _, s := range shares {
		s.end()
	}
}

// nextSeq numbers our messages. mu is held.
func (w *Worker) nextSeq() int64 {
	w.seq++
	return w.seq - 1
}

// send sends a note of ours.
func (w *Worker) send(ctx context.Context, n *note) error {
	w.mu.Lock()
	n.Cmd, n.Seq = cmdCluster, w.nextSeq()
	w.mu.Unlock()
	return w.ch.Send(ctx, nodeipc.Internal{Value: n})
}

var errLeaving = fmt.Errorf("the primary has asked this worker to disconnect: %w", nodeipc.ErrDisconnected)

// ask sends a message and waits for the reply. s is the share that it asks for, or nil.
func (w *Worker) ask(ctx context.Context, message func(seq int64) any, s *share) (*order, error) {
	r := &request{share: s, reply: make(chan *order, 1)}
	w.mu.Lock()
	seq := w.nextSeq()
	w.pending[seq] = r
	w.mu.Unlock()
	// forget ends the waiting; it reports false when the reply, or the end of the channel, has just come.
	forget := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		r.gone = w.pending[seq] != nil
		return r.gone
	}
	if err := w.ch.Send(ctx, nodeipc.Internal{Value: message(seq)}); err != nil { // nothing was sent
		w.mu.Lock()
		delete(w.pending, seq)
		w.mu.Unlock()
		if s != nil {
			w.freeIndex(s.query)
		}
		return nil, err
	}
	cancelled := ctx.Done()
	var leaving <-chan struct{}
	if s != nil { // a primary that has asked a worker to disconnect does not answer what it asks for
		leaving = w.done
	}
	for {
		select {
		case o := <-r.reply:
			return o, o.err()
		case <-w.ch.Done():
			return nil, nodeipc.ErrDisconnected
		case <-cancelled:
			if forget() {
				return nil, ctx.Err()
			}
			cancelled = nil
		case <-leaving:
			if forget() {
				return nil, errLeaving
			}
			leaving = nil
		}
	}
}
