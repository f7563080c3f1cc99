package nodeipc

import (
	"bytes"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/jsjson"
)

// The internal messages of Bun's cluster, with Options.Bun (docs/protocol.md 6.1).

// bunMark is the first byte of a line that holds such a message.
const bunMark = 2

// marked marks what is Internal from the start: with a child it is known when that has marked something itself.
func (c *Channel) marked() *Channel {
	c.marks.Store(c.opts.Bun)
	return c
}

// bunHandle is encodeHandle for an internal message to Bun.
func (c *Channel) bunHandle(dst []byte, _ envelope, v any) (frame, payload []byte, cmd string, err error) {
	from := len(dst) + 1
	dst, cmd, err = c.codec.encode(append(dst, bunMark), v)
	if cmd != "" { // it is an object
		dst = append(bytes.TrimSuffix(dst, []byte("}\n")), `,"$hasHandle":true}`+"\n"...)
	}
	return dst, c.codec.payload(dst[from:]), cmd, err
}

// bunInternal handles a marked line. It need not have a cmd, and says itself that a handle comes with it.
func (c *Channel) bunInternal(data []byte) error {
	c.marks.Store(true)
	s, err := c.codec.scan(data)
	if err != nil {
		return &ProtocolError{What: c.codec.what(), Sample: sample(data), Err: err}
	}
	m := &Message{Data: data, codec: c.codec}
	hasHandle := false
	for name, raw := range jsjson.Members(data) {
		if name == "$hasHandle" {
			hasHandle = string(raw) == "true"
		}
	}
	if !hasHandle {
		c.tapReceived(data, s.cmd, "")
		c.toInternal(m)
		return nil
	}
	c.tapReceived(data, s.cmd, NetNative)
	answer := cmdHandleACK
	if len(c.fds) == 0 || c.fds[0] == lostFD {
		c.fds = c.fds[min(1, len(c.fds)):]
		c.log.Warn("nodeipc: a handle did not arrive", "type", string(NetNative))
		m.Handle, answer = &Handle{typ: NetNative, fd: -1}, cmdHandleNACK
	} else {
		m.Handle = received(c.fds[0], envelope{typ: NetNative})
		c.fds = c.fds[1:]
	}
	if err := c.reply(answer); err != nil {
		m.Handle.Close()
		return err
	}
	c.toInternal(m)
	return nil
}
