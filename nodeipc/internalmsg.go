package nodeipc

import (
	"errors"
	"fmt"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/jsjson"
)

// Node's internal messages, docs/protocol.md 1.7. The rest go to Options.Internal.
const (
	cmdHandle      = "NODE_HANDLE"
	cmdHandleACK   = "NODE_HANDLE_ACK"
	cmdHandleNACK  = "NODE_HANDLE_NACK"
	cmdNotifyClose = "NODE_SOCKET_NOTIFY_CLOSE"
	cmdGetCount    = "NODE_SOCKET_GET_COUNT"
)

const (
	frameACK  = `{"cmd":"` + cmdHandleACK + `"}` + "\n"
	frameNACK = `{"cmd":"` + cmdHandleNACK + `"}` + "\n"
)

// Node wraps a handle's frame once more each time it sends it again, three times at the most (docs/protocol.md 1.10).
const maxWraps = 8

// dispatch handles the complete lines of what was read. It is called without mu by the goroutine that reads.
func (c *Channel) dispatch() error {
	for {
		line, ok := c.in.next()
		if !ok {
			break
		}
		c.used += len(line) + 1
		if c.in.max >= 0 && len(line) > c.in.max {
			return opErrorf("receive", "%w: %d bytes, the limit is %d (Options.MaxMessage)", ErrMessageTooBig, len(line), c.in.max)
		}
		info, err := jsjson.Scan(line)
		if err != nil {
			return &ProtocolError{What: "a line that is not JSON", Sample: sample(line), Err: err}
		}
		switch info.Cmd {
		case cmdHandle, cmdHandleACK, cmdHandleNACK: // in their own place
		default:
			c.tapReceived(line, "")
		}
		if info.Cmd == "" {
			c.batch.push(c.newMessage(line, info.ASCII))
		} else if err := c.internal(info.Cmd, line); err != nil {
			return err
		}
	}
	if c.in.tooLong() {
		return opErrorf("receive", "%w: over %d bytes so far, the limit is %d (Options.MaxMessage)", ErrMessageTooBig, c.in.end-c.in.start, c.in.max)
	}
	if len(c.fds) > maxHandles {
		return &ProtocolError{What: fmt.Sprintf("%d descriptors came without a NODE_HANDLE message", len(c.fds))}
	}
	return nil
}

// newMessage cuts a message from the slab. A slab never outlives its block, so that keeping a message keeps one block.
func (c *Channel) newMessage(line []byte, ascii bool) *Message {
	if c.in.newBlock() {
		c.slab, c.slabUsed = nil, 0
	}
	var m *Message
	if len(line) >= blockSize/2 {
		m = new(Message)
	} else {
		if c.slabUsed == len(c.slab) {
			c.slab, c.slabUsed = make([]Message, 64), 0
		}
		m = &c.slab[c.slabUsed]
		c.slabUsed++
	}
	m.Data = line
	m.cost, c.used = c.used, 0
	m.seal(ascii)
	return m
}

// internal handles one internal message of the peer.
func (c *Channel) internal(cmd string, line []byte) error {
	switch cmd {
	case cmdHandle:
		return c.handleFrame(line)
	case cmdHandleACK, cmdHandleNACK:
		c.answered(cmd == cmdHandleACK, line)
		return nil
	case cmdGetCount, cmdNotifyClose:
		return c.socketList(cmd, line)
	}
	c.toInternal(&Message{Data: line})
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
func (c *Channel) handleFrame(line []byte) error {
	var typ HandleType
	msg, info := line, jsjson.Info{Cmd: cmdHandle}
	for wraps := 0; info.Cmd == cmdHandle; wraps++ {
		if wraps == maxWraps {
			return &ProtocolError{What: "a handle's frame wrapped too often", Sample: sample(line)}
		}
		outer := msg
		msg = []byte("null") // what a frame without a message stands for: Node delivers undefined
		for name, raw := range jsjson.Members(outer) {
			switch name {
			case "type":
				s, _ := jsjson.String(raw)
				typ = HandleType(s)
			case "msg":
				msg = raw
			}
		}
		var err error
		if info, err = jsjson.Scan(msg); err != nil {
			return &ProtocolError{What: "a handle's message that is not JSON", Sample: sample(msg), Err: err}
		}
	}
	c.tapReceived(msg, typ)
	if len(c.fds) == 0 || c.fds[0] == lostFD {
		c.fds = c.fds[min(1, len(c.fds)):]
		c.log.Warn("nodeipc: a handle did not arrive", "type", string(typ))
		if err := c.reply(frameNACK); err != nil {
			return err
		}
		if typ == NetNative && info.Cmd != "" {
			// Node does not send these again, and whoever answers such a message is waited for: it has to know.
			c.toInternal(&Message{Data: msg, Handle: &Handle{typ: typ, fd: -1}})
		}
		return nil
	}
	h := received(c.fds[0], typ)
	c.fds = c.fds[1:]
	if err := c.reply(frameACK); err != nil {
		h.Close()
		return err
	}
	m := &Message{Data: msg, Handle: h}
	if info.Cmd != "" {
		c.toInternal(m)
	} else {
		m.cost, c.used = c.used, 0
		m.seal(info.ASCII)
		c.batch.push(m)
	}
	return nil
}

// reply puts an answer that the protocol demands in front of everything that waits behind a handle.
func (c *Channel) reply(frame string) error {
	c.mu.Lock()
	defer c.unlock()
	if c.ended || c.werr != nil {
		return nil // nobody to answer
	}
	if c.answers.tooMany() {
		return opError("answer", ErrPeerNotReading)
	}
	c.tap(Sent, []byte(frame[:len(frame)-1]), "")
	c.answers.out += len(frame)
	c.out = append(c.out, frame...)
	c.outTotal += int64(len(frame))
	c.pending += len(frame)
	c.urgent = true
	return nil
}

// answered handles the peer's ACK or NACK.
func (c *Channel) answered(ack bool, line []byte) {
	c.mu.Lock()
	defer c.unlock()
	o := c.hand.flight
	if c.hand.waiting() {
		c.tapFlight(o)
	}
	c.tap(Received, line, "")
	if !c.hand.waiting() {
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
			c.stopTimer()
			return
		}
		err = opErrorf("send handle", "%w, sent %d times", ErrHandleNotReceived, o.tries)
	}
	c.landed(o, err)
}

// socketList answers the questions of a server whose connections were sent here: how many are open, and tell when all
// are closed (docs/protocol.md 1.11). Once received, a connection is no longer the sender's concern: it is counted as
// closed. A question with an id is Deno's, which wants it back, and has another word for the second answer.
func (c *Channel) socketList(cmd string, line []byte) error {
	var key, id []byte
	for name, raw := range jsjson.Members(line) {
		switch name {
		case "key":
			key = raw
		case "id":
			id = raw
		}
	}
	if key == nil {
		return nil
	}
	c.mu.Lock()
	c.dispatching = true
	c.mu.Unlock()
	word := "NODE_SOCKET_ALL_CLOSED"
	switch {
	case cmd == cmdGetCount:
		word = "NODE_SOCKET_COUNT"
	case id != nil:
		word = "NODE_SOCKET_CLOSE_ACK"
	}
	answer := fmt.Appendf(nil, `{"cmd":"%s","key":%s`, word, key)
	if id != nil {
		answer = fmt.Appendf(answer, `,"id":%s`, id)
	}
	if cmd == cmdGetCount {
		answer = append(answer, `,"count":0`...)
	}
	err := c.post(append(answer, '}'))
	if errors.Is(err, ErrPeerNotReading) {
		return err
	}
	return nil
}
