package nodeipc

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// Scheduling of writes: a write costs more than all the rest of a message together, so messages that come in quick
// succession go out together, and a single one at once.
const (
	// A message sent so soon after another is part of a burst, and held back.
	burstGap = 25 * time.Microsecond
	// So much held back is written at once.
	writeNow = 64 << 10
	// A goroutine that sends writes for others as well so many times before it leaves that to a goroutine of the channel.
	maxRounds = 4
	// The buffer of a frame so long is handed on instead of copied.
	longFrame = 32 << 10
	// Most frames of handles are shorter.
	shortFrame = 256
	// Larger buffers are not kept by a channel, nor still larger ones for all.
	maxSpare  = 256 << 10
	maxPooled = 8 << 20
)

var epoch = time.Now()

func now() int64 { return int64(time.Since(epoch)) }

// Send encodes v and puts it in order behind what was sent before. On a quiet channel it has been written when Send
// returns. In a burst, or while a batch of input is being handled, it goes out together with its neighbours: at the
// next Receive, or within 100 µs if the caller is busy elsewhere. Send waits while 256 KiB are pending, or a handle
// that was sent before is unanswered and as much waits behind it.
//
// v becomes the text that JSON.stringify would write for the nearest JavaScript value, as the package documentation
// says. A *Message is sent on as it came; its Handle is not: that takes SendHandle. If ctx ends first, nothing of v is
// sent; if Send returns nil, v goes out even if ctx ends. A write that fails later is reported by the next Send, by Flush
// and by Err.
func (c *Channel) Send(ctx context.Context, v any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m, ok := v.(*Message)
	if ok && m != nil && c.opts.Relay {
		return c.sendOn(ctx, m)
	}
	ok = ok && m != nil && m.codec == c.codec && m.sendable()
	if ok && len(m.Data) < longFrame {
		c.mu.Lock()
		err := c.enqueue(ctx, nil, m.Data, false)
		c.unlock()
		return err
	}
	var buf *[]byte
	var err error
	if ok {
		buf = frameBuffer(c.codec.frameSize(len(m.Data)))
		*buf = c.codec.frame(*buf, m.Data)
	} else {
		buf = frameBuffer(int(c.lastFrame.Load()))
		*buf, err = c.encode(*buf, v)
		c.lastFrame.Store(int64(len(*buf)))
	}
	defer recycle(buf)
	if err != nil {
		return err
	}
	_, posted := v.(Internal)
	c.mu.Lock()
	err = c.enqueue(ctx, buf, nil, posted)
	c.unlock()
	return err
}

// sendOn sends a message as it came.
func (c *Channel) sendOn(ctx context.Context, m *Message) error {
	if m.codec != nil && m.codec.serialization() != c.codec.serialization() {
		return opErrorf("send", "a message in %v serialization cannot be relayed in %v", m.codec.serialization(), c.codec.serialization())
	}
	var buf *[]byte
	payload := m.Data
	if len(payload) >= longFrame {
		buf = frameBuffer(c.codec.frameSize(len(payload)))
		defer recycle(buf)
		*buf, payload = c.codec.wire(*buf, payload), nil
	}
	c.mu.Lock()
	defer c.unlock()
	c.more = m.more
	return c.enqueue(ctx, buf, payload, false)
}

// frame appends the frame of a payload that another channel received.
func (c *Channel) frame(dst, payload []byte) []byte {
	if c.opts.Relay {
		return c.codec.wire(dst, payload)
	}
	return c.codec.frame(dst, payload)
}

// Buffers for frames, short and long ones apart: a long one is not found by chance.
var frames, longFrames = newPool(), newPool()

func newPool() *sync.Pool { return &sync.Pool{New: func() any { return new([]byte) }} }

// frameBuffer returns an empty buffer for a frame of about so many bytes.
func frameBuffer(size int) *[]byte {
	if size < longFrame {
		return frames.Get().(*[]byte)
	}
	buf := longFrames.Get().(*[]byte)
	*buf = room(*buf, size)
	return buf
}

// room returns an empty buffer that holds so many bytes: buf if it does.
func room(buf []byte, size int) []byte {
	if cap(buf) < size {
		buf = uncleared(size)
	}
	return buf[:0]
}

func recycle(buf *[]byte) {
	*buf = (*buf)[:0]
	switch {
	case cap(*buf) > maxPooled:
	case cap(*buf) < longFrame:
		frames.Put(buf)
	default:
		longFrames.Put(buf)
	}
}

// encode appends the frame of v. What would pass for an internal message is refused unless it is marked.
func (c *Channel) encode(dst []byte, v any) ([]byte, error) {
	v, posted := unmark(v)
	from := len(dst)
	if posted && c.marks.Load() {
		dst = append(dst, bunMark)
	}
	dst, cmd, err := c.codec.encode(dst, v)
	return dst, checkSent(v, posted, len(dst)-from, cmd, err)
}

// unmark takes v out of the mark Internal.
func unmark(v any) (value any, posted bool) {
	if mark, ok := v.(Internal); ok {
		return mark.Value, true
	}
	return v, false
}

// checkSent says why v, encoded to a frame of so many bytes with this cmd, cannot be sent.
func checkSent(v any, posted bool, size int, cmd string, err error) error {
	switch {
	case err != nil:
		return opErrorf("send", "encode %T: %w", v, err)
	case size > maxNodeString:
		return opErrorf("send", "%w: %d bytes, Node holds %d", ErrMessageTooBig, size, maxNodeString)
	case posted && cmd == "":
		return opErrorf("send", "Internal: %T has no member cmd that begins NODE_", v)
	case posted && (cmd == cmdHandle || cmd == cmdHandleACK || cmd == cmdHandleNACK):
		return opErrorf("send", "Internal: %s belongs to the channel itself", cmd)
	case !posted && cmd != "":
		return opError("send", ErrInternalMessage)
	}
	return nil
}

// enqueue accepts a message: the frame in *buf, or, without buf, a payload that is not framed yet. A long frame's buffer
// is kept and exchanged for another one. What is posted is an answer, or sent by Internal: it does not wait, as the
// reading would wait with it. mu is held.
func (c *Channel) enqueue(ctx context.Context, buf *[]byte, payload []byte, posted bool) error {
	if err := c.admit(ctx, posted); err != nil {
		return err
	}
	size := c.codec.frameSize(len(payload))
	if buf != nil {
		size = len(*buf)
	}
	c.pending += size
	c.seq++
	posted = posted || c.exempt()
	if !c.hand.idle() {
		frame := make([]byte, 0, size)
		if buf != nil {
			frame = append(frame, *buf...)
		} else {
			frame = c.frame(frame, payload)
		}
		c.hand.put(&outgoing{frame: frame, seq: c.seq, posted: posted})
		if posted {
			c.answers.queued += size
		}
		return nil
	}
	if posted {
		c.answers.out += size
	}
	c.seqOut = c.seq
	c.outTotal += int64(size)
	c.userTotal = c.outTotal
	first := len(c.out) == 0
	switch {
	case buf == nil:
		c.out = c.frame(c.out, payload)
	case first && size > longFrame:
		c.out, *buf = *buf, c.out
	default:
		c.out = append(c.out, *buf...)
	}
	if c.opts.Tap != nil {
		c.tapSent(c.out[len(c.out)-size:])
	}
	switch {
	case c.writing: // is taken along
	case len(c.out) >= writeNow:
		c.pump()
	case c.dispatching:
		c.urgent = true // goes out when the reading goroutine is through with its batch
	case c.opts.Relay && !c.more:
		c.pump() // with those that came together with it
	case !first: // is held back, the alarm is set
	case c.opts.Relay || c.batchOn || c.burst():
		c.holdBack()
	default:
		c.pump()
	}
	return nil
}

// How long a Send during a callback, with as much pending as answers may be, waits for the end of the callback.
const callbackGrace = time.Second

// admit waits until a message may be accepted. mu is held.
func (c *Channel) admit(ctx context.Context, posted bool) error {
	var until time.Time // for which a callback is waited
	for {
		switch {
		case c.werr != nil:
			return c.werr
		case c.closing != nil:
			return c.closing
		case c.ended:
			return ErrDisconnected
		case c.pending < maxPending:
			return nil
		case posted || c.exempt():
			if !c.answers.tooMany() {
				return nil
			}
			// Another goroutine than the one in the callback can wait for its end; the callback's own cannot, and gives up.
			if until.IsZero() {
				until = time.Now().Add(callbackGrace)
			}
			if posted || !time.Now().Before(until) {
				return opError("send", ErrPeerNotReading)
			}
			if c.canWrite() {
				c.pump()
				continue
			}
			c.heldUp = true
			grace, cancel := context.WithDeadline(ctx, until)
			c.wait(grace)
			cancel()
			if err := ctx.Err(); err != nil {
				return err
			}
			continue
		}
		if c.canWrite() {
			c.pump() // without mu at times: what we wait for may have come
			continue
		}
		c.standbyNow()
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
}

// exempt reports whether a callback is being made: what is sent by it must not wait, because the goroutine that makes it
// may be the one that reads. (What others send meanwhile does not wait either.)
func (c *Channel) exempt() bool { return c.dispatching || c.inCalls > 0 }

// burst reports whether the present message follows so closely on another that more can be expected.
func (c *Channel) burst() bool {
	t := now()
	burst := t-c.lastSend < int64(burstGap)
	c.lastSend = t
	return burst
}

func (c *Channel) holdBack() {
	if !c.flushSet {
		c.flushSet = true
		c.alarm(flushAlarm)
	}
}

// flushDue is called by the alarm: what was held back goes out now.
func (c *Channel) flushDue() {
	c.mu.Lock()
	c.flushSet = false
	c.batchOn = false // its handling takes long: send at once until the next Receive
	if c.canWrite() {
		c.lastSend = now()
		c.pump()
	}
	c.unlock()
}

// Flush waits until everything sent so far is with the kernel; what waits behind a handle needs the peer's answer
// first. It reports a write that failed since the last report.
func (c *Channel) Flush(ctx context.Context) error {
	c.mu.Lock()
	defer c.unlock()
	seq, total := c.seq, int64(-1)
	for {
		if c.werr != nil {
			return c.werr
		}
		if total < 0 && (c.seqOut >= seq || c.hand.idle()) {
			total = c.outTotal
		}
		if total >= 0 && c.outWritten >= total {
			return nil
		}
		if c.ended && !c.writing {
			if !c.lost() {
				return nil // only answers of ours are not written
			}
			return c.endError()
		}
		if c.canWrite() {
			c.pump()
			continue
		}
		c.standbyNow()
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
}

func (c *Channel) canWrite() bool {
	return !c.writing && !c.ended && (len(c.out) > 0 || c.hand.due() != nil)
}

// pump writes what is to be written, as far as the socket takes it at once; the rest is left to a goroutine. If a
// goroutine writes already, it takes along what was added. mu is held, but not while writing.
func (c *Channel) pump() {
	c.urgent = false
	if !c.canWrite() {
		return
	}
	c.writing = true
	for range maxRounds {
		if !c.step(false) {
			return
		}
	}
	c.notify() // what went out may have made room for a Send that waits
	go c.drain()
}

// drain writes on, waiting for the peer, until nothing is left. It has taken over writing.
func (c *Channel) drain() {
	c.mu.Lock()
	for c.step(true) {
		c.notify()
		c.unlock()
		c.mu.Lock()
	}
	c.unlock()
}

// step makes one write by the goroutine that set writing. It reports whether there is more to do; if not it has reset
// writing. With wait it waits for the peer as long as that takes. mu is held, but not while writing.
func (c *Channel) step(wait bool) bool {
	var err error
	switch o := c.hand.due(); {
	case len(c.cur) > 0 || len(c.out) > 0:
		err = c.stepBytes(wait)
	case o != nil:
		err = c.stepHandle(o, wait)
	}
	if err != nil && err != fdconn.ErrAgain && !c.ended {
		c.writeFailed(err)
	}
	if !c.ended && (len(c.cur) > 0 || len(c.out) > 0 || c.hand.due() != nil) {
		return true
	}
	c.writing, c.cur, c.base = false, nil, nil
	c.noteLoss()
	c.notify()
	return false
}

func (c *Channel) stepBytes(wait bool) error {
	if len(c.cur) == 0 {
		c.cur, c.base, c.out, c.spare = c.out, c.out, c.spare, nil
		c.answers.cur, c.answers.out = c.answers.out, 0
	}
	buf := c.cur
	c.mu.Unlock()
	write := c.conn.TryWrite
	if wait {
		write = c.conn.Write
	}
	n, err := write(buf)
	c.mu.Lock()
	c.cur = buf[n:]
	c.pending -= n
	c.outWritten += int64(n)
	if len(c.cur) == 0 {
		if buf = c.base[:0]; cap(buf) <= maxSpare {
			c.spare = buf
		} else {
			large := buf // only this one may escape: small messages cost no allocation
			recycle(&large)
		}
		c.cur, c.base = nil, nil
		c.answers.cur = 0
	}
	return err
}

func (c *Channel) stepHandle(o *outgoing, wait bool) error {
	// Noted beforehand: the answer may be here before we are back.
	c.hand.wrote()
	// What the peer is, is certain once it has answered a handle: before, it may be a script that has yet to start it.
	learn, limit := c.opts.HandlesInFlight > 1 && c.acked && c.hand.limit == 0, 1
	c.mu.Unlock()
	if learn && !c.marks.Load() && c.conn.TakesSeveral() {
		limit = c.opts.HandlesInFlight
	}
	n, err := c.conn.TrySendFD(o.frame, o.handle)
	c.mu.Lock()
	o.trying = false
	if learn {
		c.hand.limit = limit
		c.hand.board()
	}
	if c.ended && err != nil {
		return nil
	}
	if err != nil {
		if !c.hand.unwrote(o) {
			c.pending -= len(o.frame) // the peer has answered it unseen
		} else if err == fdconn.ErrAgain && o.givenUp != nil {
			c.pending -= len(o.frame)
			c.landed(o, o.givenUp)
			return nil
		}
		if err == fdconn.ErrAgain && wait {
			if o.late == 0 { // or a peer that does not read what came before would never be late
				c.startTimer(o)
			}
			c.mu.Unlock()
			werr := c.conn.WaitWritable()
			c.mu.Lock()
			if c.ended || werr == nil {
				return nil
			}
			return werr
		}
		var bad *fdconn.HandleError
		if errors.As(err, &bad) && !o.finished {
			c.pending -= len(o.frame)
			c.landed(o, opError("send handle", bad.Err))
			c.wakeReader()
			return nil
		}
		return err
	}
	c.tapFlight(o)
	c.cur = o.frame[n:]
	c.base = nil
	if len(c.cur) > 0 {
		o.parted = true
	}
	c.pending -= n
	c.outTotal += int64(len(o.frame))
	c.outWritten += int64(n)
	c.seqOut = max(c.seqOut, o.seq)
	c.userTotal = c.outTotal
	if !o.finished {
		c.startTimer(o)
	}
	return nil
}

// writeFailed ends the sending, not the reading: what the peer sent before it went away is still to be received.
// mu is held.
func (c *Channel) writeFailed(err error) {
	if c.lost() {
		c.werr = opErrorf("send", "%w: %w", c.gone(), err)
	}
	c.cur, c.out, c.pending, c.outWritten = nil, nil, 0, c.outTotal
	for _, o := range c.hand.clear() {
		c.finish(o, c.endOf(o))
	}
	c.answers = answers{}
	c.wakeReader()
}

// lost reports whether something the program sent is not with the kernel; the channel's own answers do not count.
func (c *Channel) lost() bool { return c.outWritten < c.userTotal || c.seqOut < c.seq }

// endOf returns the outcome of a handle after which nothing can be sent.
func (c *Channel) endOf(o *outgoing) error {
	if o.written {
		return opErrorf("send handle", "%w: %w", ErrHandleUnconfirmed, c.gone())
	}
	return opError("send handle", c.gone())
}

// handleLate ends the channel if the answer to the first handle is late. One that waits unread because nobody receives
// is not: the time begins anew when reading goes on.
func (c *Channel) handleLate() {
	c.mu.Lock()
	defer c.unlock()
	if c.ended {
		return
	}
	if c.paused {
		c.onTime = now() + int64(c.opts.HandleTimeout)
	}
	if at := c.lateAt(); at == 0 || at > now() {
		c.setTimer()
		return
	}
	c.end(opErrorf("send handle", "%w (%v)", ErrHandleTimeout, c.opts.HandleTimeout))
}

// landed ends the flight of o and lets what waited behind it go. mu is held; the caller sees to it that pump follows.
func (c *Channel) landed(o *outgoing, err error) {
	c.finish(o, err)
	c.release(c.hand.end(o))
	c.setTimer()
}

// startTimer begins to count Options.HandleTimeout for this try of o.
func (c *Channel) startTimer(o *outgoing) {
	if d := c.opts.HandleTimeout; d > 0 {
		o.late = now() + int64(d)
		c.setTimer()
	}
}

// lateAt is when the answer to the first handle in flight is late, or 0. Those behind it are late no earlier.
func (c *Channel) lateAt() int64 {
	if c.hand.idle() || c.hand.flights[0].late == 0 {
		return 0
	}
	return max(c.hand.flights[0].late, c.onTime)
}

// setTimer sets the timer for the handle that is the first now. mu is held.
func (c *Channel) setTimer() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	if at := c.lateAt(); at != 0 {
		c.timer = time.AfterFunc(time.Duration(at-now()), c.handleLate)
	}
}

// release lets messages go that waited behind a handle. mu is held.
func (c *Channel) release(plain []*outgoing) {
	for _, p := range plain {
		c.tapSent(p.frame)
		c.out = append(c.out, p.frame...)
		c.outTotal += int64(len(p.frame))
		c.userTotal = c.outTotal
		c.seqOut = p.seq
		if p.posted {
			c.answers.queued -= len(p.frame)
			c.answers.out += len(p.frame)
		}
	}
	clear(plain) // the queue may go on using their array, and would keep their frames
	if c.hand.idle() {
		c.seqOut = c.seq
	}
}

// finish settles the outcome of a message with a handle. mu is held.
func (c *Channel) finish(o *outgoing, err error) {
	o.finished, o.err = true, err
	if o.posted {
		o.posted = false
		c.answers.queued -= len(o.frame)
	}
	if o.written {
		o.left()
	}
	if o.done != nil {
		c.calls = append(c.calls, func() { o.done(err) })
	}
	c.notify()
}

// SendHandle is Send with a socket h: a net.Conn, net.Listener or *net.UDPConn of package net, an *os.File of such a
// socket, or a *Handle. The peer gets it as a net.Socket, net.Server or dgram.Socket, or as the type of the *Handle.
// SendHandle returns once the peer has acknowledged it; until then later messages wait behind it. The caller keeps h, as
// with Node's option keepOpen, and closes it as usual, but not before SendHandle has returned. h is put into non-blocking
// mode, for all who share it. After the sending of a *net.UnixListener its Close leaves the socket's file in place,
// because the peer listens there: whoever of the two ends last should remove the file.
//
// If ctx ends before the frame is begun nothing was sent; after that the error is ErrHandleUnconfirmed: the peer may
// have the socket, and later messages keep waiting behind it until it answers, or Options.HandleTimeout ends the channel.
// A *tls.Conn and other wrappers are refused, as are files, pipes and terminals, which would abort a Node peer, and, with
// syscall.ENOTCONN, a connection that was reset.
func (c *Channel) SendHandle(ctx context.Context, v, h any) error {
	o, err := c.withHandle(v, h, nil)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.unlock()
	if err := c.admit(ctx, false); err != nil {
		return err
	}
	c.launch(o)
	err = c.await(ctx, false, func() bool { return o.finished })
	c.armStandby()                // it may have been us who read
	for o.trying && !o.finished { // whether the peer has it is known in a moment
		o.givenUp = err
		c.wait(context.Background())
	}
	if o.finished {
		return o.err
	}
	if plain, ok := c.hand.withdraw(o); ok {
		c.setTimer()
		c.pending -= len(o.frame)
		c.release(plain)
		c.notify() // there is room
		c.pump()
		return err
	}
	o.left()
	o.done = func(err error) {
		if err != nil {
			c.log.Warn("nodeipc: an unconfirmed handle failed", "error", err)
		}
	}
	return opErrorf("send handle", "%w: %w", ErrHandleUnconfirmed, err)
}

// QueueHandle is SendHandle for callers that cannot wait: done is called once, outside of locks and possibly before
// QueueHandle returns, when the peer has acknowledged h or the sending has failed. The caller keeps h open until then.
// If QueueHandle returns an error nothing is sent and done is not called. done must return soon; it may Send and
// QueueHandle. Nil is allowed.
func (c *Channel) QueueHandle(v, h any, done func(error)) error {
	o, err := c.withHandle(v, h, done)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.unlock()
	if err := c.admit(context.Background(), true); err != nil {
		return err
	}
	o.posted = true
	c.answers.queued += len(o.frame)
	c.launch(o)
	return nil
}

// withHandle makes the frame of v with the handle h.
func (c *Channel) withHandle(v, h any, done func(error)) (*outgoing, error) {
	m, on := v.(*Message)
	if on = on && m != nil && c.opts.Relay; on && m.relayed != nil && m.relayed.frame != nil {
		return c.handOn(m, h, done)
	}
	rc, e, err := sendable(h, c.opts.Node)
	if err != nil {
		return nil, err
	}
	value, posted := unmark(v)
	if on {
		own := &Message{Data: m.Data, codec: c.codec}
		value, posted = own, own.Internal() != ""
	}
	encode := c.codec.encodeHandle
	if posted && c.marks.Load() && (e.typ == NetNative || e.typ == DgramNative) {
		encode = c.bunHandle
	}
	frame, payload, cmd, err := encode(make([]byte, 0, shortFrame), e, value)
	if err := checkSent(value, posted, len(frame), cmd, err); err != nil {
		return nil, err
	}
	return &outgoing{frame: frame, body: payload, cmd: cmd, handle: rc, typ: e.typ, sent: keepPath(h), done: done}, nil
}

// handOn makes the frame of a relayed message and its handle, as they came.
func (c *Channel) handOn(m *Message, h any, done func(error)) (*outgoing, error) {
	handle, ok := h.(*Handle)
	if !ok {
		return nil, opErrorf("send handle", "a %T beside a relayed message that came with a handle of its own", h)
	}
	rc, err := handle.SyscallConn()
	if err != nil {
		return nil, opError("send handle", err)
	}
	frame := c.codec.wire(make([]byte, 0, c.codec.frameSize(len(m.relayed.frame))), m.relayed.frame)
	return &outgoing{frame: frame, body: m.Data, cmd: m.relayed.cmd, handle: rc, typ: handle.typ, done: done}, nil
}

// launch accepts a message with a handle. mu is held.
func (c *Channel) launch(o *outgoing) {
	c.seq++
	o.seq = c.seq
	c.pending += len(o.frame)
	if c.opts.Relay && c.paused {
		c.paused = false // deliver does not pause while a handle is unanswered
		c.notify()
		c.armStandby() // QueueHandle does not read itself
	}
	if c.hand.put(o) {
		c.pump()
	}
}
