package nodeipc

import (
	"bytes"
	"fmt"
	"math"
)

// Node's internal messages, docs/protocol.md 1.7. The rest go to Options.Internal.
const (
	cmdHandle      = "NODE_HANDLE"
	cmdHandleACK   = "NODE_HANDLE_ACK"
	cmdHandleNACK  = "NODE_HANDLE_NACK"
	cmdNotifyClose = "NODE_SOCKET_NOTIFY_CLOSE"
	cmdGetCount    = "NODE_SOCKET_GET_COUNT"
	cmdCount       = "NODE_SOCKET_COUNT"
	cmdAllClosed   = "NODE_SOCKET_ALL_CLOSED"
	cmdCloseAck    = "NODE_SOCKET_CLOSE_ACK" // Deno's word for the one before
)

// A bare message is nothing but its cmd: an answer to a handle.
type bare struct {
	Cmd string `json:"cmd"`
}

// Node wraps a handle's frame once more each time it sends it again, three times at the most (docs/protocol.md 1.10).
const maxWraps = 8

// dispatch handles the complete messages of what was read. It is called without mu by the goroutine that reads.
func (c *Channel) dispatch() error {
	for {
		data, ok := c.in.next()
		if !ok {
			break
		}
		c.used += c.codec.frameSize(len(data))
		if c.in.max >= 0 && len(data) > c.in.max {
			return opErrorf("receive", "%w: %d bytes, the limit is %d (Options.MaxMessage)", ErrMessageTooBig, len(data), c.in.max)
		}
		if c.opts.Bun && len(data) > 0 && data[0] == bunMark {
			if err := c.bunInternal(data[1:]); err != nil {
				return err
			}
			continue
		}
		s, err := c.codec.scan(data)
		if err != nil && !c.opts.Relay { // where the peer at the other end judges
			return &ProtocolError{What: c.codec.what(), Sample: sample(data), Err: err}
		}
		switch s.cmd {
		case cmdHandle, cmdHandleACK, cmdHandleNACK: // in their own place
		default:
			c.tapReceived(data, s.cmd, "")
		}
		if s.cmd == "" {
			m := c.newMessage(data, s)
			if err != nil {
				m.relayed = &relayed{}
			}
			c.batch.push(m)
		} else if err := c.internal(s.cmd, data); err != nil {
			return err
		}
	}
	if begin, first := c.in.strange(); begin != nil {
		err := &ProtocolError{What: "a frame that is not in advanced serialization", Sample: sample(begin)}
		if first && bytes.Equal(begin[1:5], []byte{2, 0, 0, 0}) && begin[0] == 1 {
			err.What = "this is Bun's own advanced serialization, which nobody else speaks; use serialization: 'json' with Bun"
		}
		return err
	}
	if n := c.in.coming(); c.in.max >= 0 && n > c.in.max {
		return opErrorf("receive", "%w: over %d bytes so far, the limit is %d (Options.MaxMessage)", ErrMessageTooBig, n, c.in.max)
	}
	if len(c.fds) > maxHandles {
		return &ProtocolError{What: fmt.Sprintf("%d descriptors came without a NODE_HANDLE message", len(c.fds))}
	}
	return nil
}

// newMessage cuts a message from the slab. A slab never outlives its block, so that keeping a message keeps one block.
func (c *Channel) newMessage(data []byte, s scanned) *Message {
	if c.in.newBlock() {
		c.slab, c.slabUsed = nil, 0
	}
	var m *Message
	if len(data) >= blockSize/2 {
		m = new(Message)
	} else {
		if c.slabUsed == len(c.slab) {
			c.slab, c.slabUsed = make([]Message, 64), 0
		}
		m = &c.slab[c.slabUsed]
		c.slabUsed++
	}
	m.Data, m.codec = data, c.codec
	m.cost, c.used = int32(min(c.used, math.MaxInt32)), 0
	m.seal(s)
	return m
}

// internal handles one internal message of the peer.
func (c *Channel) internal(cmd string, data []byte) error {
	switch cmd {
	case cmdHandle:
		return c.handleFrame(data)
	case cmdHandleACK, cmdHandleNACK:
		c.answered(cmd, data)
		return nil
	}
	if c.opts.Relay {
		m := c.newMessage(data, scanned{})
		m.relayed = &relayed{cmd: cmd}
		c.batch.push(m)
		return nil
	}
	m := &Message{Data: data, codec: c.codec}
	switch cmd {
	case cmdGetCount, cmdNotifyClose:
		return c.lists.asked(c, cmd, m)
	case cmdCount, cmdAllClosed, cmdCloseAck:
		if c.listAnswered(cmd, m) {
			return nil
		}
	}
	c.toInternal(m)
	return nil
}

// toInternal gives an internal message to Options.Internal.
func (c *Channel) toInternal(m *Message) {
	if c.opts.Internal == nil {
		c.log.Debug("nodeipc: internal message ignored", "message", sample(m.Data))
		m.Handle.Close()
		return
	}
	c.mu.Lock()
	c.dispatching = true
	ended := c.ended
	c.mu.Unlock()
	if ended { // by Internal itself
		m.Handle.Close()
		return
	}
	c.opts.Internal(m)
}

// handleFrame receives a handle: it claims the oldest descriptor, acknowledges once, and delivers the message inside,
// in this order, as Node does (lib/internal/child_process.js, setupChannel; docs/protocol.md 1.10).
func (c *Channel) handleFrame(data []byte) error {
	var e envelope
	s := scanned{cmd: cmdHandle}
	msg, frame := data, data
	for wraps := 0; s.cmd == cmdHandle; wraps++ {
		if wraps == maxWraps {
			return &ProtocolError{What: "a handle's frame wrapped too often", Sample: sample(data)}
		}
		var err error
		frame = msg
		if msg, err = c.codec.unwrap(msg, &e); err == nil {
			s, err = c.codec.scan(msg)
		}
		if err != nil {
			return &ProtocolError{What: "a handle's message that is no message", Sample: sample(data), Err: err}
		}
	}
	c.tapReceived(msg, s.cmd, e.typ)
	if len(c.fds) == 0 || c.fds[0] == lostFD {
		c.fds = c.fds[min(1, len(c.fds)):]
		c.log.Warn("nodeipc: a handle did not arrive", "type", string(e.typ))
		if err := c.reply(cmdHandleNACK); err != nil {
			return err
		}
		if e.typ == NetNative && s.cmd != "" && !c.opts.Relay {
			// Node does not send these again, and whoever answers such a message is waited for: it has to know.
			c.toInternal(&Message{Data: msg, Handle: &Handle{typ: e.typ, fd: -1}, codec: c.codec})
		}
		return nil
	}
	h := received(c.fds[0], e)
	c.fds = c.fds[1:]
	if err := c.reply(cmdHandleACK); err != nil {
		h.Close()
		return err
	}
	m := &Message{Data: msg, Handle: h, codec: c.codec}
	if c.opts.Relay {
		m.relayed = &relayed{s.cmd, frame}
	} else if h.key != "" {
		c.lists.add(h)
	}
	if s.cmd != "" && !c.opts.Relay {
		c.toInternal(m)
		return nil
	}
	m.cost, c.used = int32(min(c.used, math.MaxInt32)), 0
	m.seal(s)
	c.batch.push(m)
	return nil
}

// reply puts an answer that the protocol demands in front of everything that waits behind a handle.
func (c *Channel) reply(cmd string) error {
	c.mu.Lock()
	defer c.unlock()
	if c.ended || c.werr != nil {
		return nil // nobody to answer
	}
	if c.answers.tooMany() {
		return opError("answer", ErrPeerNotReading)
	}
	from := len(c.out)
	c.out, _, _ = c.codec.encode(c.out, bare{cmd})
	c.tap(Sent, c.codec.payload(c.out[from:]), cmd, "")
	size := len(c.out) - from
	c.answers.out += size
	c.outTotal += int64(size)
	c.pending += size
	c.urgent = true
	return nil
}

// answered handles the peer's ACK or NACK.
func (c *Channel) answered(cmd string, data []byte) {
	ack := cmd == cmdHandleACK
	c.mu.Lock()
	defer c.unlock()
	o := c.hand.first()
	if o != nil {
		c.tapFlight(o)
	}
	c.tap(Received, data, cmd, "")
	if o == nil {
		c.calls = append(c.calls, func() {
			c.log.Warn("nodeipc: the peer answered a handle that was not sent", "ack", ack)
		})
		return
	}
	c.urgent = true
	c.dispatching = true // done may send, and must not wait for the reading, which waits for it
	var err error
	if !ack {
		if c.hand.again() {
			c.pending += len(o.frame)
			o.late = 0
			c.setTimer()
			return
		}
		err = opErrorf("send handle", "%w, sent %d times", ErrHandleNotReceived, o.tries)
	}
	c.acked = true
	c.landed(o, err)
}
