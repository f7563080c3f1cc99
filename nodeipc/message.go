package nodeipc

import (
	"bytes"
	"fmt"
	"hash/maphash"
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

	codec codec  // of the channel that it came from
	cost  int    // bytes of input that are kept alive with it, and no other message accounts for
	sum   uint64 // of Data, if that can be sent on as it is
}

var seed = maphash.MakeSeed()

// seal notes that Data has been checked, and can be sent on.
func (m *Message) seal() { m.sum = maphash.Bytes(seed, m.Data) }

// unchanged reports whether Data is what was checked: then it can be sent without another look. A sum costs a fraction
// of checking, and the program may do with Data what it likes.
func (m *Message) unchanged() bool {
	return m != nil && m.sum != 0 && m.sum == maphash.Bytes(seed, m.Data)
}

// Decode decodes the payload into v, in advanced mode as v8.Decoder does, otherwise as json.Unmarshal with these differences: a []byte is read from a Buffer
// ({"type":"Buffer","data":[…]}) or a base64 string, and unpaired surrogates become U+FFFD. Strings in an any share
// memory with their neighbours: one that is kept for long keeps up to 64 KiB alive, unless strings.Clone frees it. An
// error is a *DecodeError.
func (m *Message) Decode(v any) error {
	codec := m.codec
	if codec == nil { // made by the program
		codec = jsonCodec{}
	}
	if err := codec.decode(m.Data, v); err != nil {
		return &DecodeError{codec.serialization(), fmt.Sprintf("%T", v), err}
	}
	return nil
}

// Clone returns a copy of m that shares nothing with other messages. The Handle is the same: take it from one of them.
func (m *Message) Clone() *Message {
	return &Message{Data: bytes.Clone(m.Data), Handle: m.Handle, codec: m.codec, sum: m.sum}
}

// Internal marks a value for Send, SendHandle or QueueHandle as one of Node's internal messages: an object whose member
// cmd begins "NODE_". It is refused without the mark, because such a message never reaches the peer's program and may
// kill a Node peer. With it, only NODE_HANDLE, NODE_HANDLE_ACK and NODE_HANDLE_NACK are refused: they belong to the
// channel itself. Protocols on top of the channel need it, cluster's for one.
type Internal struct{ Value any }
