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

	begun    bool // a write of it has been tried or is under way: it can no longer be taken back
	written  bool
	tries    int
	tapped   int // how many of them Options.Tap is told of
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

// handoff is the order of messages around handles, as Node v22's lib/internal/child_process.js keeps it: one handle is
// in flight at a time, and until the peer has answered it every message waits (docs/protocol.md 1.10). It is pure
// state: it writes nothing and takes no lock.
type handoff struct {
	flight *outgoing   // the handle that is being written or waits for its answer
	queue  []*outgoing // what waits behind it
}

func (h *handoff) idle() bool { return h.flight == nil }

// put takes a message. It reports whether the message may go out now; a handle is then in flight.
func (h *handoff) put(o *outgoing) bool {
	if h.flight != nil {
		h.queue = append(h.queue, o)
		return false
	}
	if o.handle != nil {
		h.flight = o
	}
	return true
}

// due returns the handle whose frame is to be written next, or nil.
func (h *handoff) due() *outgoing {
	if h.flight != nil && !h.flight.begun {
		return h.flight
	}
	return nil
}

// wrote notes that the frame in flight goes out.
func (h *handoff) wrote() {
	h.flight.begun = true
	h.flight.written = true
	h.flight.tries++
}

// unwrote takes wrote back: nothing of the frame went out.
func (h *handoff) unwrote() {
	h.flight.begun, h.flight.written = false, false
	h.flight.tries--
}

// waiting reports whether an answer is awaited: any other ACK or NACK is not for us.
func (h *handoff) waiting() bool { return h.flight != nil && h.flight.written }

// again makes the original frame due once more, after a NACK. It reports false when that was tried often enough.
// (Node wraps the frame another time, and gets two answers for it: docs/protocol.md 1.10.)
func (h *handoff) again() bool {
	if h.flight.tries >= maxTries {
		return false
	}
	h.flight.begun, h.flight.written = false, false
	return true
}

// next ends the flight and returns the plain messages that may go out now; a handle that follows them is then in flight.
func (h *handoff) next() (plain []*outgoing) {
	h.flight = nil
	for i, o := range h.queue {
		if o.handle != nil {
			plain, h.flight, h.queue = h.queue[:i:i], o, h.queue[i+1:]
			return plain
		}
	}
	plain, h.queue = h.queue, nil
	return plain
}

// withdraw takes back a message that was not begun; it reports false when it is too late.
func (h *handoff) withdraw(o *outgoing) (plain []*outgoing, ok bool) {
	if o == h.flight {
		if o.begun || o.tries > 0 {
			return nil, false
		}
		return h.next(), true
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
	var all []*outgoing
	if h.flight != nil {
		all = append(all, h.flight)
	}
	all = append(all, h.queue...)
	*h = handoff{}
	return all
}
