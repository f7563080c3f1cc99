package nodeipc

import (
	"bytes"
	"context"
	"encoding/hex"
	"log/slog"
	"time"

	"github.com/google/uuid"
)

// Direction is which way a message went.
type Direction int

const (
	Sent Direction = iota
	Received
)

func (d Direction) String() string {
	if d == Sent {
		return "sent"
	}
	return "received"
}

// An Event is a message that went over a channel, as Options.Tap sees it. It may be kept.
type Event struct {
	Time    time.Time // when this end wrote or read it
	Channel uuid.UUID // Channel.ID of this end
	Dir     Direction
	// Data is the payload as it was on the wire, without framing. For a message with a handle it is the message alone,
	// without the NODE_HANDLE frame around it.
	Data []byte
	// Handle is the type of the handle that the message travels with, or "". (One that got lost on the way is seen by the
	// NODE_HANDLE_NACK that follows.)
	Handle HandleType
	// Internal is the cmd of an internal message, such as NODE_HANDLE_ACK or NODE_CLUSTER, or "" for the program's own.
	Internal string
}

// tap notes an event in its place among the others. mu is held.
func (c *Channel) tap(dir Direction, data []byte, cmd string, typ HandleType) {
	if c.opts.Tap != nil {
		c.events = append(c.events, Event{time.Now(), c.id, dir, bytes.Clone(data), typ, cmd})
	}
}

// tapSent notes a frame without a handle. mu is held.
func (c *Channel) tapSent(frame []byte) {
	if c.opts.Tap != nil {
		data := c.codec.payload(frame)
		if c.opts.Bun {
			data = bytes.TrimPrefix(data, []byte{bunMark})
		}
		s, _ := c.codec.scan(data)
		c.tap(Sent, data, s.cmd, "")
	}
}

// tapReceived notes what is read, in the order in which it is answered.
func (c *Channel) tapReceived(data []byte, cmd string, typ HandleType) {
	if c.opts.Tap != nil {
		c.mu.Lock()
		c.tap(Received, data, cmd, typ)
		c.mu.Unlock()
	}
}

// tapFlight notes that a handle in flight has gone out, once for each time that it is sent: when it was written, or
// when the answer is here before the writer is back. mu is held.
func (c *Channel) tapFlight(o *outgoing) {
	if o.tapped < o.tries {
		o.tapped = o.tries
		c.tap(Sent, o.body, o.cmd, o.typ)
	}
}

// callTap lets Tap see the events so far. Who finds it at work waits for it: a slow Tap slows the channel down, and does
// not make it grow.
func (c *Channel) callTap() {
	c.tapMu.Lock()
	defer c.tapMu.Unlock()
	c.mu.Lock()
	events := c.events
	c.events = nil
	c.mu.Unlock()
	for _, e := range events {
		c.opts.Tap(e)
	}
}

// How much of a message LogTap shows.
const logTapBytes = 512

// LogTap returns an Options.Tap that logs every message to l, at level Info, as "nodeipc: sent" or "nodeipc: received"
// with the attributes channel, size, message (its first 512 bytes; in advanced mode the first 256 in hex, for nodeipc
// dump), and for some handle and internal. Messages hold what the programs say to each other: think of who reads the
// log.
func LogTap(l *slog.Logger) func(Event) {
	return func(e Event) {
		if !l.Enabled(context.Background(), slog.LevelInfo) {
			return
		}
		text := e.Data
		if len(text) > logTapBytes {
			text = append(text[:logTapBytes:logTapBytes], "…"...)
		}
		r := slog.NewRecord(e.Time, slog.LevelInfo, "nodeipc: "+e.Dir.String(), 0)
		r.AddAttrs(slog.String("channel", e.Channel.String()), slog.Int("size", len(e.Data)))
		if e.Internal != "" {
			r.AddAttrs(slog.String("internal", e.Internal))
		}
		if e.Handle != "" {
			r.AddAttrs(slog.String("handle", string(e.Handle)))
		}
		if len(text) > 0 && text[0] == 0xff { // V8's
			r.AddAttrs(slog.String("message", hex.EncodeToString(e.Data[:min(len(e.Data), logTapBytes/2)])))
		} else {
			r.AddAttrs(slog.String("message", string(text)))
		}
		l.Handler().Handle(context.Background(), r)
	}
}
