package nodeipc

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"unsafe"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// A Message and its Data belong to the receiver for as long as it likes. They are cut from shared blocks, so that small
// ones cost no allocation: keeping a small message keeps at most one block of 64 KiB and its neighbours there alive;
// Clone frees it from them. A message over 64 KiB has a block of its own.
type Message struct {
	// Data is the payload as it came, without framing: one valid JSON text, or in advanced mode one value for
	// v8.Decoder with Layout Channel.
	Data []byte
	// Handle is the socket that came with the message, or nil. One that nobody takes is closed when the channel is closed
	// or the garbage collector finds it.
	Handle *Handle

	codec codec        // of the channel that it came from
	cost  int32        // bytes of input that are kept alive with it, and no other message accounts for
	whole bool         // Data can be sent on as it is
	more  bool         // with Options.Relay: others that came together with it follow
	sum   uint64       // of Data, if that is so or value is there; 0 where to look at it again costs less
	value *parsedValue // what is in Data, in advanced mode

	relayed *relayed // what Options.Relay wants to know beside, if there is anything
}

// relayed is what a message of a channel with Options.Relay is apart from its Data.
type relayed struct {
	cmd   string // of an internal message
	frame []byte // with a handle: the payload that the message was in
}

// Internal returns the name of an internal message, its member cmd, such as "NODE_CLUSTER"; of the program's own
// messages "". Receive returns internal ones only if Options.Relay is set.
func (m *Message) Internal() string {
	switch {
	case m.relayed != nil:
		return m.relayed.cmd
	case m.codec == nil:
		s, _ := jsonCodec{}.scan(m.Data)
		return s.cmd
	}
	s, _ := m.codec.scan(m.Data)
	return s.cmd
}

var seed = maphash.MakeSeed()

// seal notes what a look at Data told.
func (m *Message) seal(s scanned) {
	if m.whole, m.value = s.whole, s.value; !s.quick && (s.whole || s.value != nil) {
		m.sum = maphash.Bytes(seed, m.Data)
	}
}

// unchanged reports whether Data is what was looked at: then it needs no other look. A sum costs a fraction of that, and
// the program may do with Data what it likes.
func (m *Message) unchanged() bool {
	return m != nil && m.sum != 0 && m.sum == maphash.Bytes(seed, m.Data)
}

// sendable reports whether Data can be sent as it is.
func (m *Message) sendable() bool {
	switch {
	case !m.whole:
		return false
	case m.sum != 0:
		return m.unchanged()
	}
	s, err := m.codec.scan(m.Data)
	return err == nil && s.whole && s.quick && s.cmd == ""
}

// parsed is the value in Data if that is known: nothing has changed it, and it is not a copy.
func (m *Message) parsed() *v8.Value {
	if m.value == nil || m.value.at != unsafe.SliceData(m.Data) || !m.unchanged() {
		return nil
	}
	return &m.value.Value
}

// Decode decodes the payload into v, in advanced mode as v8.Decoder does: Buffers are parts of Data. Otherwise it is as
// json.Unmarshal with these differences: a []byte is read from a Buffer ({"type":"Buffer","data":[…]}) or a base64
// string, and unpaired surrogates become U+FFFD. Strings in an any share memory with their neighbours: one that is kept
// for long keeps up to 64 KiB alive, unless strings.Clone frees it. An error is a *DecodeError.
func (m *Message) Decode(v any) error {
	codec := m.codec
	if codec == nil { // made by the program
		codec = jsonCodec{}
	}
	if err := codec.decode(m, v); err != nil {
		return &DecodeError{codec.serialization(), fmt.Sprintf("%T", v), err}
	}
	return nil
}

// Clone returns a copy of m that shares nothing with other messages. The Handle is the same: take it from one of them.
func (m *Message) Clone() *Message {
	clone := &Message{Data: bytes.Clone(m.Data), Handle: m.Handle, codec: m.codec}
	clone.whole, clone.sum = m.whole, m.sum
	if r := m.relayed; r != nil {
		clone.relayed = &relayed{r.cmd, bytes.Clone(r.frame)}
	}
	return clone
}

// Internal marks a value for Send, SendHandle or QueueHandle as one of Node's internal messages: an object whose member
// cmd begins "NODE_". It is refused without the mark, because such a message never reaches the peer's program and may
// kill a Node peer. With it, only NODE_HANDLE, NODE_HANDLE_ACK and NODE_HANDLE_NACK are refused: they belong to the
// channel itself. Protocols on top of the channel need it, cluster's for one.
type Internal struct{ Value any }
