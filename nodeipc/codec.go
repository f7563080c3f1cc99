package nodeipc

import "github.com/nodeipc/nodeipc-go/nodeipc/v8"

// A codec is a serialization as the channel needs it: how a payload is framed, written and read. It does no I/O.
type codec interface {
	serialization() Serialization

	// frame appends the frame of a payload that any peer can read, wire that of a payload as it is; frameSize is the length
	// of either, and payload undoes it.
	frame(dst, payload []byte) []byte
	wire(dst, payload []byte) []byte
	frameSize(payload int) int
	payload(frame []byte) []byte

	// encode appends the frame of v; cmd names the internal message that it would be taken for.
	encode(dst []byte, v any) (frame []byte, cmd string, err error)
	// encodeHandle appends the frame that carries v beside a descriptor.
	encodeHandle(dst []byte, e envelope, v any) (frame, payload []byte, cmd string, err error)

	// scan checks a payload of the peer.
	scan(payload []byte) (scanned, error)
	// unwrap takes the message out of the payload of a handle's frame that has passed scan. It sets what e has of it.
	unwrap(payload []byte, e *envelope) (msg []byte, err error)
	decode(m *Message, v any) error

	// what is the name of what a payload should have been, for errors.
	what() string
}

// An envelope is what the frame of a handle says beside the message (docs/protocol.md 1.8).
type envelope struct {
	typ   HandleType
	dgram string // of a dgram.Socket: udp4 or udp6
	key   string // of the socket list that a net.Socket belongs to
	local bool   // a unix socket: Deno takes it for TCP if it is not told, nobody else looks at it
}

// Names of members in a handle's frame, as Node writes them, and one of Deno's.
const (
	memberType    = "type"
	memberMsg     = "msg"
	memberKey     = "key"
	memberDgram   = "dgramType"
	memberDenoKey = "socketListKey"
)

// set takes over a member of a received frame.
func (e *envelope) set(name, value string) {
	switch name {
	case memberType:
		e.typ = HandleType(value)
	case memberDgram:
		e.dgram = value
	case memberKey, memberDenoKey:
		e.key = value
	}
}

// scanned is what a look at a payload told.
type scanned struct {
	cmd   string       // of an internal message
	whole bool         // it can be sent on as it is, to any peer
	quick bool         // to look at it again costs less than a sum over it
	value *parsedValue // in advanced mode, unless that is so
}

// parsedValue is the value of a payload, whose bytes it shares: it is of use as long as they are the ones at at.
type parsedValue struct {
	v8.Value
	at *byte
}

func newCodec(o *Options) codec {
	if o.Serialization == Advanced {
		return &advancedCodec{node: o.Node}
	}
	return jsonCodec{}
}
