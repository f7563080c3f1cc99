package nodeipc

import (
	"slices"
	"syscall"
)

// An outgoing is a message on its way.
type outgoing struct {
	frame  []byte
	body   []byte          // with a handle: the message alone, as a payload
	cmd    string          // and its name, if it is an internal one
	seq    uint64          // position among the messages of this channel
	handle syscall.RawConn // or nil
	typ    HandleType      // with a handle
	sent   func()          // once the peer may have the handle, before the caller learns of it; or nil
	done   func(error)     // on the answer or failure, outside locks; or nil

	posted bool // sent as an answer, which does not wait

	written  bool  // or being written: an answer may come
	trying   bool  // being written right now, which does not block
	givenUp  error // why it is not to be tried again
	parted   bool  // the kernel did not take its frame at once
	tries    int
	tapped   int   // how many of them Options.Tap is told of
	late     int64 // with Options.HandleTimeout, once that counts: when the answer is late
	finished bool
	err      error
}

// left notes that the peer may have the handle. It is called with the channel's mu held.
func (o *outgoing) left() {
	if o.sent != nil {
		o.sent()
		o.sent = nil
	}
}

// How often a handle is sent before we give up, as in Node (lib/internal/child_process.js, MAX_HANDLE_RETRANSMISSIONS).
const maxTries = 1 + 3

// aloneFrame is the length of a frame beyond which its handle is in flight alone: the rest of a frame that the receiver
// does not read at once comes together with the next descriptor, which is then taken for its own.
const aloneFrame = 4 << 10

// handoff is the order of messages around handles, as Node v22's lib/internal/child_process.js keeps it: until the peer
// has answered a handle every message waits (docs/protocol.md 1.10), but for handles that follow it directly, of which
// so many as limit says may be in flight. The peer answers them in the order in which they were written. It is pure
// state: it writes nothing and takes no lock.
type handoff struct {
	limit   int         // 0 is 1
	flights []*outgoing // handles: first those that are written and wait for their answers, then those that are due
	written int         // how many of the former
	queue   []*outgoing // what waits behind them
}

func (h *handoff) idle() bool { return len(h.flights) == 0 }

// put takes a message. It reports whether the message may go out now; a handle is then in flight.
func (h *handoff) put(o *outgoing) bool {
	switch {
	case o.handle == nil && h.idle():
		return true
	case o.handle != nil && len(h.queue) == 0 && h.room():
		h.flights = append(h.flights, o)
		return true
	}
	h.queue = append(h.queue, o)
	return false
}

func (h *handoff) room() bool { return len(h.flights) < max(h.limit, 1) }

// board moves handles from the queue into flight, as many as there is room for.
func (h *handoff) board() {
	for len(h.queue) > 0 && h.queue[0].handle != nil && h.room() {
		h.flights = append(h.flights, h.queue[0])
		h.queue[0] = nil
		h.queue = h.queue[1:]
	}
}

// due returns the handle whose frame is to be written next, or nil.
func (h *handoff) due() *outgoing {
	if h.written == len(h.flights) {
		return nil
	}
	o := h.flights[h.written]
	if h.written > 0 && (o.alone() || h.flights[h.written-1].alone()) {
		return nil
	}
	return o
}

// alone tells whether a handle is sent when none before it is unanswered, and answered before another is sent.
func (o *outgoing) alone() bool { return o.parted || len(o.frame) > aloneFrame }

// first returns the handle that the next answer is for, or nil: any other ACK or NACK is not for us.
func (h *handoff) first() *outgoing {
	if h.written == 0 {
		return nil
	}
	return h.flights[0]
}

// wrote notes that the frame that is due goes out.
func (h *handoff) wrote() {
	o := h.flights[h.written]
	h.written++
	o.written, o.trying = true, true
	o.tries++
}

// unwrote takes wrote of o back: nothing of the frame went out. It reports false if the peer has answered nevertheless.
func (h *handoff) unwrote(o *outgoing) bool {
	if h.written == 0 || h.flights[h.written-1] != o {
		return false
	}
	h.written--
	o.written = false
	o.tries--
	return true
}

// again makes the original frame of the first handle due once more, after a NACK: it goes out after those that are
// written. It reports false when that was tried often enough. (Node wraps the frame another time, and gets two answers
// for it: docs/protocol.md 1.10.)
func (h *handoff) again() bool {
	o := h.flights[0]
	if o.tries >= maxTries {
		return false
	}
	h.written--
	copy(h.flights, h.flights[1:h.written+1])
	h.flights[h.written] = o
	o.written = false
	return true
}

// end ends the flight of o and returns the plain messages that may go out now; handles that follow them are then in
// flight.
func (h *handoff) end(o *outgoing) (plain []*outgoing) {
	i := slices.Index(h.flights, o)
	h.flights = slices.Delete(h.flights, i, i+1)
	if i < h.written {
		h.written--
	}
	if h.idle() {
		n := slices.IndexFunc(h.queue, func(o *outgoing) bool { return o.handle != nil })
		if n < 0 {
			n = len(h.queue)
		}
		plain, h.queue = h.queue[:n:n], h.queue[n:]
	}
	h.board()
	return plain
}

// withdraw takes back a message that the peer cannot have; it reports false when it is too late.
func (h *handoff) withdraw(o *outgoing) (plain []*outgoing, ok bool) {
	if o.tries > 0 {
		return nil, false
	}
	if slices.Contains(h.flights, o) {
		return h.end(o), true
	}
	i := slices.Index(h.queue, o)
	if i < 0 {
		return nil, false
	}
	h.queue = slices.Delete(h.queue, i, i+1)
	return nil, true
}

// clear empties h and returns what it held, oldest first.
func (h *handoff) clear() []*outgoing {
	all := append(h.flights, h.queue...)
	h.flights, h.queue, h.written = nil, nil, 0
	return all
}
