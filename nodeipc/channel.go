package nodeipc

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
)

// A Channel is one end of an IPC channel. Its methods may be called from any goroutine. Messages sent by one goroutine
// arrive in order.
//
// Exactly one goroutine reads: while a Receive, Messages or Values call waits it is that one, with no hand-over;
// otherwise a standby goroutine of the channel, so that the end of the stream, Done, acknowledgements and internal
// messages never depend on what the program does. (A program that has left Receive is taken to come back, so the standby
// sets in after some five to ten milliseconds, at once if a Send, Flush or Disconnect has to wait.)
type Channel struct {
	id    uuid.UUID
	opts  Options
	log   *slog.Logger
	conn  transport
	codec codec
	done  chan struct{}

	lastFrame atomic.Int64 // bytes of what was encoded last: the next may be as long
	marks     atomic.Bool  // the peer is Bun, as Options.Bun says: what is Internal is marked

	tapMu sync.Mutex // held while Options.Tap is called; taken before mu

	// Owned by the goroutine that reads, the one that set reading.
	in       frameReader
	fds      []int        // received descriptors that no frame has claimed yet, in order; lostFD for one that got lost
	batch    messageQueue // messages of the current read
	slab     []Message    // where small messages are cut from, all of one block, and how many were
	slabUsed int
	used     int // bytes of input since the last message that was delivered

	mu      sync.Mutex // guards all that follows; never held during a system call of the channel or a callback
	calls   []func()   // callbacks to be made, and lines to be logged, after unlock
	inCalls int        // goroutines that make callbacks
	heldUp  bool       // somebody waits for the end of a callback
	events  []Event    // what Options.Tap has not seen yet
	wake    chan struct{}

	// Reading.
	reading     bool
	wantRead    int // goroutines that will read when the present reader stops
	standbyRuns bool
	standbySet  bool   // the alarm is set
	receives    uint64 // Receive calls so far
	receivesOld uint64 // when the alarm last rang
	queue       messageQueue
	paused      bool
	dropped     DroppedError
	dropLogged  bool

	// Socket lists.
	lists      socketLists // has a lock of its own
	waiters    []*listWaiter
	lastListID int

	// Writing.
	hand        handoff
	acked       bool   // the peer has answered a handle
	out, spare  []byte // what is to be written, and a buffer to take its place
	cur, base   []byte // what the writing goroutine has of the former, and its beginning
	writing     bool   // a goroutine writes, and takes along what is added to out
	pending     int    // bytes accepted and not with the kernel yet
	answers     answers
	seq         uint64 // messages accepted
	seqOut      uint64 // messages that went to out
	outTotal    int64  // bytes that went to out so far, and
	outWritten  int64  // how many of them the kernel has, and
	userTotal   int64  // where the last of the program's own ends
	batchOn     bool   // a batch of input is being handled: replies go out together
	dispatching bool   // Internal is being called
	more        bool   // with Options.Relay: what is sent now is not the last that came together
	urgent      bool   // out holds answers that the peer waits for
	flushSet    bool   // the alarm is set
	lastSend    int64  // when a message was last written at once

	// The end.
	closing error // no more sends: ErrDisconnected or ErrClosed
	ended   bool
	err     error // why, once ended
	werr    error // the first write error, or what was lost unwritten at the end
	timer   *time.Timer
	onTime  int64 // no answer to a handle is late before
	alarmed bool  // the alarm knows this channel
}

const lostFD = -1

// New makes a channel of conn, which it takes over. Handles can be sent over a *net.UnixConn of network "unix" only.
func New(conn net.Conn, opts *Options) *Channel {
	return newChannel(connTransport(conn), opts).marked()
}

func newChannel(conn transport, opts *Options) *Channel {
	c := &Channel{id: uuid.New(), opts: opts.resolved(), conn: conn, done: make(chan struct{})}
	if c.opts.Serialization != JSON || c.opts.Relay {
		c.opts.Bun = false
	}
	c.codec = newCodec(&c.opts)
	c.log = c.opts.Logger.With("channel", c.id)
	c.in.advanced, c.in.max = c.opts.Serialization == Advanced, c.opts.MaxMessage
	c.lastSend = -int64(time.Hour)
	c.mu.Lock()
	c.armStandby()
	c.mu.Unlock()
	return c
}

// ID returns the instance id of this end, unique across processes, for logs.
func (c *Channel) ID() uuid.UUID { return c.id }

// Done is closed when the channel has ended, from either side. Messages that came before can still be received, unless
// the end was Close.
func (c *Channel) Done() <-chan struct{} { return c.done }

// Err returns nil while the channel is connected and well; io.EOF after an orderly end (the peer's disconnect or exit,
// or ours), ErrClosed after Close, otherwise what went wrong, a failed write included.
func (c *Channel) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil || c.err == io.EOF && c.werr != nil {
		return c.werr
	}
	return c.err
}

// Receive returns the next message. Calls may run concurrently: each message goes to one of them. After the peer's
// orderly disconnect, when everything received before has been handed out, the error is io.EOF; after Close it is
// ErrClosed. If ctx ends no message is lost. A *DroppedError and a ctx error do not end the channel, any other does.
func (c *Channel) Receive(ctx context.Context) (*Message, error) { return c.receive(ctx, false) }

// receive is Receive; watched says that the end of ctx interrupts the reading already.
func (c *Channel) receive(ctx context.Context, watched bool) (*Message, error) {
	c.mu.Lock()
	c.receives++
	c.lastSend = 0 // what is sent from here on answers something: no burst
	if c.queue.empty() {
		c.batchOn = false
		if err := c.await(ctx, watched, func() bool { return !c.queue.empty() || c.dropped.Messages > 0 }); err != nil {
			c.unlock()
			return nil, err
		}
	} else if err := ctx.Err(); err != nil {
		c.unlock()
		return nil, err
	}
	if c.dropped.Messages > 0 {
		d := c.dropped
		c.dropped = DroppedError{}
		c.armStandby()
		c.unlock()
		return nil, &d
	}
	m := c.queue.pop()
	c.batchOn = !c.queue.empty()
	m.more = c.batchOn && c.opts.Relay
	if c.paused && c.queue.bytes <= c.opts.Backlog/2 && c.queue.handles <= maxHandles/2 {
		c.paused = false
		c.onTime = now() + int64(c.opts.HandleTimeout)
		c.notify()
	}
	c.armStandby()
	c.unlock()
	return m, nil
}

// Messages yields the messages that arrive until the peer disconnects, which ends the loop quietly; any other error is
// yielded last, but for a *DroppedError, after which the loop may go on. Leaving the loop early leaves the rest to the
// next Receive. One of several concurrent loops gets each message.
func (c *Channel) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		if ctx.Done() != nil {
			defer context.AfterFunc(ctx, c.conn.Interrupt)()
		}
		for {
			m, err := c.receive(ctx, true)
			if err == io.EOF || !yield(m, err) {
				return
			}
			if err != nil && !errors.As(err, new(*DroppedError)) {
				return
			}
		}
	}
}

// Values yields each message that arrives, decoded as T, until the peer disconnects. A message that does not decode is
// yielded as a *DecodeError, dropped ones as a *DroppedError, and the loop may go on; any other error is the last.
// Handles that arrive are closed: use Messages for them.
func Values[T any](ctx context.Context, c *Channel) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for m, err := range c.Messages(ctx) {
			var v T
			if err == nil {
				m.Handle.Close()
				err = m.Decode(&v)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// await waits, with mu held, until ready reports true, reading itself when nobody else does. ready must become true by
// what is read only; whoever makes it true otherwise calls wakeReader. It fails when ctx or the channel ends, or when
// reading has stopped because nobody receives.
func (c *Channel) await(ctx context.Context, watched bool, ready func() bool) error {
	watched = watched || ctx.Done() == nil
	for !ready() {
		// At an orderly end the reader may still hold messages that came before.
		if c.ended && (c.closing == ErrClosed || !c.reading) {
			return c.endError()
		}
		if err := ctx.Err(); err != nil {
			c.armStandby()
			return err
		}
		if c.canWrite() {
			c.pump() // nothing is held back while we wait
			continue
		}
		if c.reading || c.paused {
			c.wantRead++
			err := c.wait(ctx)
			c.wantRead--
			if err != nil {
				c.armStandby()
				return err
			}
			continue
		}
		if !watched {
			watched = true
			defer context.AfterFunc(ctx, c.conn.Interrupt)()
		}
		c.reading = true
		c.unlock()
		c.read()
		c.reading = false
		c.notify()
	}
	return nil
}

// endError is what calls that came too late, or waited, return.
func (c *Channel) endError() error {
	if c.closing == ErrClosed {
		return ErrClosed
	}
	return c.err
}

// gone is why nothing can be sent any more.
func (c *Channel) gone() error {
	if c.closing == ErrClosed {
		return ErrClosed
	}
	return ErrDisconnected
}

// How long a call may wait for the peer while this end reads nothing because nobody receives. A pause is part of
// ordinary flow control, so it must be long against the handling of a message.
const stallGrace = time.Second

// wait waits with mu held for the next notify. While reading is paused it gives up if nobody receives.
func (c *Channel) wait(ctx context.Context) error {
	if c.wake == nil {
		c.wake = make(chan struct{})
	}
	wake, receives := c.wake, c.receives
	var stalled <-chan time.Time
	if c.paused && !c.opts.Relay { // where this end receives again when the other takes more
		t := time.NewTimer(stallGrace)
		defer t.Stop()
		stalled = t.C
	}
	c.unlock()
	var err error
	select {
	case <-wake:
	case <-ctx.Done():
		err = ctx.Err()
	case <-stalled:
		err = ErrBacklogFull
	}
	c.mu.Lock()
	if err == ErrBacklogFull && (!c.paused || c.receives != receives) {
		return nil
	}
	return err
}

// notify wakes all that wait. mu is held.
func (c *Channel) notify() {
	if c.wake != nil {
		close(c.wake)
		c.wake = nil
	}
}

// letOn wakes who waits for the end of a callback. mu is held.
func (c *Channel) letOn() {
	if c.heldUp {
		c.heldUp = false
		c.notify()
	}
}

// wakeReader makes a goroutine in await look again, even if it reads. mu is held.
func (c *Channel) wakeReader() {
	c.notify()
	if c.reading {
		c.conn.Interrupt()
	}
}

// unlock unlocks mu and then makes the callbacks that are due.
func (c *Channel) unlock() {
	calls := c.calls
	if calls == nil {
		tap := len(c.events) > 0
		c.mu.Unlock()
		if tap {
			c.callTap()
		}
		return
	}
	c.calls = nil
	c.inCalls++
	c.mu.Unlock()
	for _, f := range calls {
		f()
	}
	c.mu.Lock()
	c.inCalls--
	c.letOn()
	c.unlock() // they may have given rise to more
}

// armStandby sees to it that somebody reads soon although the caller, who may have read until now, leaves.
func (c *Channel) armStandby() {
	if c.standbySet || c.standbyRuns || c.reading || c.wantRead > 0 || c.paused || c.ended {
		return
	}
	c.standbySet = true
	c.alarm(standbyAlarm)
}

// standbyDue is called by the alarm: if nobody came back to read, the standby does.
func (c *Channel) standbyDue() {
	c.mu.Lock()
	defer c.unlock()
	c.standbySet = false
	if c.receives != c.receivesOld {
		c.receivesOld = c.receives
		c.armStandby()
		return
	}
	c.standbyNow()
}

// standbyNow starts the standby unless somebody reads, or is about to. mu is held.
func (c *Channel) standbyNow() {
	if !c.standbyRuns && !c.reading && c.wantRead == 0 && !c.paused && !c.ended {
		c.standbyRuns = true
		go c.standby()
	}
}

// standby reads until somebody else wants to.
func (c *Channel) standby() {
	c.mu.Lock()
	for !c.reading && c.wantRead == 0 && !c.paused && !c.ended {
		c.reading = true
		c.unlock()
		c.read()
		c.reading = false
		c.notify()
	}
	c.standbyRuns = false
	c.unlock()
}

// read reads once and handles what came. It is called without mu by the one goroutine that set reading, and returns
// with mu held.
func (c *Channel) read() {
	n, fds, lost, err := c.conn.Read(c.in.space())
	c.fds = append(c.fds, fds...)
	if lost {
		c.fds = append(c.fds, lostFD)
		c.log.Warn("nodeipc: a handle was lost: no room in the table of descriptors")
	}
	if n > 0 {
		c.in.took(n)
		if perr := c.dispatch(); perr != nil {
			err = perr
		}
	}
	c.mu.Lock()
	c.dispatching = false
	c.letOn()
	c.deliver()
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.conn.Resume()
	case c.ended:
	case err == io.EOF || errors.As(err, new(*ProtocolError)) || errors.Is(err, ErrMessageTooBig):
		c.end(err)
	default:
		c.end(opError("read", err))
	}
	if c.ended {
		c.dropFDs()
	} else if c.urgent {
		c.pump() // answers that the reading gave rise to
	}
}

// deliver hands the messages of this read over. mu is held.
func (c *Channel) deliver() {
	c.queue.take(&c.batch)
	if c.closing == ErrClosed {
		c.dropQueue()
		return
	}
	if c.queue.bytes <= c.opts.Backlog && c.queue.handles <= maxHandles || c.queue.len() == 1 {
		return
	}
	if c.opts.Relay && !c.hand.idle() {
		return // the answer to the handle is behind what there is no room for
	}
	if c.opts.Overflow == PauseReading {
		c.paused = true
		c.notify()
		return
	}
	for (c.queue.bytes > c.opts.Backlog || c.queue.handles > maxHandles) && c.queue.len() > 1 {
		m := c.queue.pop()
		c.dropped.Messages++
		c.dropped.Bytes += int64(len(m.Data))
		if m.Handle != nil {
			c.calls = append(c.calls, func() { m.Handle.Close() })
		}
	}
	if !c.dropLogged {
		c.dropLogged = true
		c.calls = append(c.calls, func() {
			c.log.Warn("nodeipc: messages are dropped because nobody receives; the next Receive tells how many")
		})
	}
}

// end ends the channel: err is io.EOF for an orderly end. mu is held; what has to be done outside it is left to unlock.
func (c *Channel) end(err error) {
	if c.ended {
		return
	}
	c.ended, c.err = true, err
	if !c.writing {
		c.noteLoss()
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, o := range c.hand.clear() {
		c.finish(o, c.endOf(o))
	}
	c.out, c.spare, c.answers = nil, nil, answers{}
	if !c.reading {
		c.dropFDs()
	}
	close(c.done)
	c.notify()
	alarmed := c.alarmed
	c.calls = append(c.calls, func() {
		c.conn.Close()
		c.lists.end()
		if alarmed {
			alarms.release(c)
		}
	})
}

// noteLoss makes what is lost at the end the error of the sending. While a write is under way that is not known.
func (c *Channel) noteLoss() {
	if c.ended && c.lost() && c.werr == nil {
		gone := ErrDisconnected
		if c.err == ErrClosed {
			gone = ErrClosed
		}
		c.werr = opErrorf("send", "%w: %d bytes were not written", gone, c.pending)
	}
}

// settle waits for the write that is under way at the end, if any. mu is held.
func (c *Channel) settle(ctx context.Context) {
	for c.writing && c.wait(ctx) == nil {
	}
	c.noteLoss()
}

func (c *Channel) dropFDs() {
	for _, fd := range c.fds {
		if fd != lostFD {
			closeFD(fd)
		}
	}
	c.fds = nil
}

// dropQueue drops what was not received. mu is held.
func (c *Channel) dropQueue() {
	for !c.queue.empty() {
		if h := c.queue.pop().Handle; h != nil {
			c.calls = append(c.calls, func() { h.Close() })
		}
	}
	c.dropped = DroppedError{}
}

// Disconnect ends the channel in order: it refuses further sends, waits until everything sent is with the kernel and a
// handle in flight has been answered, and then closes, which the peer sees as "disconnect"; cf. http.Server.Shutdown.
// If ctx ends first it returns without having closed. Messages that have arrived can still be received. It returns nil
// if the channel has ended already, unless that lost something that was sent. May be called from the receiving loop.
func (c *Channel) Disconnect(ctx context.Context) error {
	c.mu.Lock()
	defer c.unlock()
	if c.closing == nil {
		c.closing = ErrDisconnected
	}
	if err := c.drained(ctx); err != nil {
		return err
	}
	if c.ended {
		c.settle(ctx)
		if c.err == io.EOF || c.err == ErrClosed {
			return c.werr
		}
		return c.err
	}
	c.end(io.EOF)
	return c.werr
}

// How long Close tries to put out what is pending.
const closeGrace = time.Second

// Close flushes for at most a second, then ends the channel: pending calls return ErrClosed, unread messages are
// dropped and their handles closed. It may be called from anywhere, the receiving loop and Options.Internal included,
// and more than once. It reports what could not be written.
func (c *Channel) Close() error {
	c.mu.Lock()
	defer c.unlock()
	c.closing = ErrClosed
	if !c.ended {
		ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
		defer cancel()
		c.drained(ctx)
		c.end(ErrClosed)
	}
	c.dropQueue()
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	c.settle(ctx)
	return c.werr
}

// drained waits until everything sent is with the kernel and no handle is in flight, or the channel has ended.
// mu is held.
func (c *Channel) drained(ctx context.Context) error {
	for !c.ended {
		c.pump()
		if c.ended || c.hand.idle() && len(c.out) == 0 && !c.writing {
			break
		}
		c.standbyNow()
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// A transport is what a channel stands on: an fdconn.Conn, or a connection that carries no descriptors. One goroutine
// reads and one writes at a time; the rest may be called from anywhere. See package fdconn.
type transport interface {
	Read(p []byte) (n int, fds []int, lost bool, err error)
	TryWrite(p []byte) (int, error)
	Write(p []byte) (int, error)
	TrySendFD(p []byte, h syscall.RawConn) (int, error)
	TakesSeveral() bool
	WaitWritable() error
	Interrupt()
	Resume()
	Close() error
}

// A messageQueue holds what was received and not handed out.
type messageQueue struct {
	list    []*Message
	head    int
	bytes   int
	handles int
}

// answers counts the bytes, among those pending, that the peer's messages gave rise to. The program's own do not count
// here: they may be many at any time.
type answers struct {
	queued, out, cur int // behind a handle, in out, in cur
}

func (a *answers) tooMany() bool { return a.queued+a.out+a.cur > maxReplies }

// What a queued message costs beside its data.
const messageOverhead = 48

func (q *messageQueue) empty() bool { return q.head == len(q.list) }
func (q *messageQueue) len() int    { return len(q.list) - q.head }

func (q *messageQueue) push(m *Message) {
	q.list = append(q.list, m)
	q.bytes += int(m.cost) + messageOverhead
	if m.Handle != nil {
		q.handles++
	}
}

// take moves all that from has to the end of q. If q is empty they only change places.
func (q *messageQueue) take(from *messageQueue) {
	if q.empty() {
		*q, *from = *from, *q
		return
	}
	if q.head > len(q.list)/2 {
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	q.list = append(q.list, from.list...)
	q.bytes += from.bytes
	q.handles += from.handles
	clear(from.list)
	*from = messageQueue{list: from.list[:0]}
}

// What was handed out is forgotten in runs of so many: a write to memory that the collector watches is dear.
const popRun = 64

func (q *messageQueue) pop() *Message {
	m := q.list[q.head]
	q.head++
	q.bytes -= int(m.cost) + messageOverhead
	if m.Handle != nil {
		q.handles--
		q.list[q.head-1] = nil // its descriptor is closed when nobody holds it
	}
	switch {
	case q.empty():
		clear(q.list[(q.head-1)&^(popRun-1):])
		q.list, q.head = q.list[:0], 0
		if cap(q.list) > 4096 {
			q.list = nil // a burst is over
		}
	case q.head%popRun == 0:
		clear(q.list[q.head-popRun : q.head])
	}
	return m
}
