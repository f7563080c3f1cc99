package nodeipc

import (
	"log/slog"
	"time"
)

// Options configure a channel. The zero value and a nil *Options are both fine. An Options is not changed and may be
// shared by channels.
type Options struct {
	// Serialization is how messages are written; for Connect the environment decides.
	Serialization Serialization
	// Node is the oldest major version of Node that the peer may be, for Advanced: what that cannot read is written so that
	// it can, or is an error of Send, because a Node that cannot read a message dies. See v8.Encoder.Node for what that
	// concerns (the cause of errors, references after an error, newer types). 0 means 12, and 18 once the peer has sent a
	// message as only Node 18 and later (or Deno) write it; for a Go peer, which writes as Node 12 does, say 26.
	Node int
	// MaxMessage is the most bytes of one received message; 0 means 256 MiB, negative means no limit. A longer message
	// ends the channel with ErrMessageTooBig.
	MaxMessage int
	// Backlog is how many bytes of messages may wait to be received; 0 means 4 MiB. At most 64 messages with handles may
	// wait. Overflow says what happens beyond.
	Backlog  int
	Overflow Overflow
	// HandleTimeout is how long the peer may take to read what was sent before a handle, and to answer it; then the
	// channel ends with ErrHandleTimeout. 0 means for ever, as in Node.
	HandleTimeout time.Duration
	// HandlesInFlight is how many handles may be sent one after the other before the first is answered; 0 and 1 mean one,
	// as in Node. More is for many small messages with handles in a row, such as the connections of a cluster: any other
	// message still waits until they all are answered, and one with a handle is sent alone if its frame is longer than
	// 4 KiB, or the socket takes only part of it. A handle that the peer asks for once more comes behind those that were
	// sent meanwhile. Node and this package take any number; towards Deno, on another system than Linux, with Relay, and
	// once Bun has marked something (Options.Bun) it is 1.
	HandlesInFlight int
	// Logger hears what has no caller to tell. Nil means silence.
	Logger *slog.Logger
	// Relay makes the channel a hop between two programs that speak to each other through this one: what Receive returns
	// here is put on the wire by Send, and with its Handle by SendHandle, of another channel with Relay exactly as it came.
	// Receive returns internal messages too (Message.Internal), those about socket lists included, and messages that no
	// codec understands; Internal is not called, and OpenSockets and SocketsClosed get no answer. Handles are acknowledged
	// at each hop. A *Message that the program makes itself goes out with its Data as it is, which no reader of a Node peer
	// must choke on. The backlog may grow beyond its limit while a handle is unanswered, and ErrBacklogFull does not occur.
	Relay bool
	// Bun is for the cluster of Bun in JSON mode: internal messages are lines that begin with byte 02 there, both ways,
	// which any other peer takes for nonsense (docs/protocol.md 6.1). It says that the peer is Bun, as nothing else in a
	// process tells who started it; or, with Start and Prepare, that it may be: what is Internal is marked once the peer
	// has marked something, and a handle of type NetNative or DgramNative beside it goes without a NODE_HANDLE.
	Bun bool
	// Tap sees every message of the channel, both ways, one call at a time and in the order of the wire: the program's
	// own, those with handles, and internal ones, acknowledgements included. It is called from whichever goroutine sends
	// or reads, which waits for it: it must return soon, and must not use the channel. LogTap makes one.
	Tap func(Event)
	// Internal receives the internal (NODE_) messages that the channel itself does not handle, such as NODE_CLUSTER, with
	// their handles; a handle that did not arrive, for want of room in the table of descriptors, is a closed one. It is
	// called from the goroutine that reads, one message at a time, in order; it must return soon. It may Send and
	// QueueHandle, which do not block there, but must not wait for the channel (Receive, Flush, SendHandle). Nil means that
	// they are dropped, as Node drops those that it does not know.
	Internal func(*Message)
}

// Serialization is the form of messages on the wire, Node's option of that name.
type Serialization int

const (
	// JSON is Node's default: a line of JSON text for each message.
	JSON Serialization = iota
	// Advanced is V8's structured clone, of package v8: it carries Buffers, Map, Set, Date, BigInt, errors and cycles.
	Advanced
)

func (s Serialization) String() string {
	switch s {
	case JSON:
		return "json"
	case Advanced:
		return "advanced"
	}
	return "unknown"
}

// Overflow is what a channel does when Options.Backlog is full.
type Overflow int

const (
	// PauseReading stops reading until half of the backlog has been received, so that the peer's sends wait: nothing is
	// lost. It is the default. A Send or SendHandle that waits for the peer meanwhile, with no Receive for a second, ends
	// with ErrBacklogFull.
	PauseReading Overflow = iota
	// DropOldest goes on reading and drops the oldest messages; the next Receive reports how many as a *DroppedError.
	// It is what a cluster worker needs, whose connections come over the same channel.
	DropOldest
)

const (
	defaultMaxMessage = 256 << 20
	defaultBacklog    = 4 << 20
	maxHandles        = 64         // received descriptors that may wait
	maxPending        = 256 << 10  // bytes to be written beyond which Send waits
	maxReplies        = 4 << 20    // beyond that the peer makes us answer but does not read
	maxNodeString     = 1<<29 - 24 // V8's limit on the length of a string: a longer line would be the end of a Node peer
)

func (o *Options) resolved() Options {
	var r Options
	if o != nil {
		r = *o
	}
	if r.MaxMessage == 0 {
		r.MaxMessage = defaultMaxMessage
	}
	if r.Relay || r.HandlesInFlight < 1 {
		r.HandlesInFlight = 1
	}
	if r.Backlog <= 0 {
		r.Backlog = defaultBacklog
	}
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	return r
}
