package nodeipc

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"sync/atomic"
	"unsafe"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/jsjson"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// advancedCodec is serialization: 'advanced': a payload is V8's structured clone of a value, with Node's own layout of
// Buffers and views; its frame is the length in four bytes, the highest first, and the payload (docs/protocol.md 1.4).
//
// The length of a frame is a multiple of four, by bytes behind the value, which every reader passes over: so the length
// field of a frame never lies across the end of a read, at which Node 16 and 18 would stop for ever.
type advancedCodec struct {
	node   int         // the oldest Node that the peer may be, as the program says; 0 if it does not
	modern atomic.Bool // the peer writes as Node 18 and later do
}

const (
	wireVersion = 13 // what we write, as every reader takes it
	oldestNode  = 12
	modernNode  = 18
)

func (*advancedCodec) serialization() Serialization { return Advanced }
func (*advancedCodec) what() string                 { return "a message that V8 cannot read" }

func (*advancedCodec) frameSize(payload int) int   { return (4 + payload + 3) &^ 3 }
func (*advancedCodec) payload(frame []byte) []byte { return frame[4:] }

func (c *advancedCodec) frame(dst, payload []byte) []byte {
	from := len(dst)
	dst = c.wire(dst, payload)
	dst[from+5] = wireVersion
	return dst
}

func (*advancedCodec) wire(dst, payload []byte) []byte {
	from := len(dst)
	return finishFrame(append(append(dst, 0, 0, 0, 0), payload...), from)
}

// finishFrame completes the frame of which the room for the length is at from.
func finishFrame(dst []byte, from int) []byte {
	for (len(dst)-from)%4 != 0 {
		dst = append(dst, 0)
	}
	binary.BigEndian.PutUint32(dst[from:], uint32(len(dst)-from-4))
	return dst
}

func (c *advancedCodec) encoder() *v8.Encoder {
	e := &v8.Encoder{Layout: v8.Channel, Node: c.node}
	if e.Node == 0 {
		e.Node = oldestNode
		if c.modern.Load() {
			e.Node = modernNode
		}
	}
	return e
}

func (c *advancedCodec) encode(dst []byte, v any) (frame []byte, cmd string, err error) {
	if v, err = advancedValue(v); err != nil {
		return dst, "", err
	}
	from := len(dst)
	if dst, err = c.appendFrame(dst, v); err != nil {
		return dst, "", err
	}
	return dst, c.cmdOf(dst[from+4:]), nil
}

// appendFrame appends the frame of a value that is one.
func (c *advancedCodec) appendFrame(dst []byte, v any) ([]byte, error) {
	from := len(dst)
	out, err := c.encoder().Append(append(dst, 0, 0, 0, 0), v)
	if err != nil {
		return dst, err
	}
	return finishFrame(out, from), nil
}

// advancedValue replaces what stands for text or payloads by the value that it means.
func advancedValue(v any) (any, error) {
	switch m := v.(type) {
	case *Message:
		if m == nil {
			return nil, nil
		}
		if _, ok := m.codec.(*advancedCodec); ok {
			if value := m.parsed(); value != nil {
				return *value, nil
			}
			return v8.Parse(m.Data, v8.Channel)
		}
		var value any
		err := m.Decode(&value)
		return value, err
	case json.RawMessage:
		var value any
		err := jsjson.Unmarshal(m, &value)
		return value, err
	}
	return v, nil
}

// cmdOf returns the cmd of a payload of our own if Node would take it for an internal message. A v8.Value in it is
// written as somebody else wrote it.
func (c *advancedCodec) cmdOf(payload []byte) string {
	switch kind := payload[2]; { // behind the version
	case kind == '"', kind == 'c', kind == 'S', kind == '\\' && payload[3] == 0: // strings and Buffers may be long
		return ""
	case !lettersOfCmd(payload):
		return ""
	}
	s, _ := c.scan(payload)
	return s.cmd
}

func (c *advancedCodec) encodeHandle(dst []byte, e envelope, v any) (frame, payload []byte, cmd string, err error) {
	if v, err = advancedValue(v); err != nil {
		return dst, nil, "", err
	}
	members := struct {
		Cmd     string `v8:"cmd"`
		Type    string `v8:"type"`
		Msg     any    `v8:"msg"`
		Key     string `v8:"key,omitempty"`
		DenoKey string `v8:"socketListKey,omitempty"`
		Dgram   string `v8:"dgramType,omitempty"`
		Kind    string `v8:"nativeKind,omitempty"`
	}{Cmd: cmdHandle, Type: string(e.typ), Msg: v, Key: e.key, DenoKey: e.key, Dgram: e.dgram}
	if e.local {
		members.Kind = "pipe"
	}
	from := len(dst)
	if dst, err = c.appendFrame(dst, &members); err != nil {
		return dst, nil, "", err
	}
	var ignored envelope
	if payload, err = c.unwrap(dst[from+4:], &ignored); err == nil {
		var s scanned
		s, err = c.scan(payload)
		cmd = s.cmd
	}
	return dst, payload, cmd, err
}

// Parsing a Buffer or string so long costs less than the sum over it.
const longSingle = 4 << 10

func (c *advancedCodec) scan(payload []byte) (s scanned, err error) {
	value, err := v8.Parse(payload, v8.Channel)
	if err != nil {
		return s, err
	}
	if value.Version() > wireVersion && !c.modern.Load() {
		c.modern.Store(true)
	}
	switch value.Kind() {
	case v8.KindObject, v8.KindArray:
		if !mayHaveCmd(payload) {
			break
		}
		for name, member := range value.Members() {
			if name == "cmd" {
				s.cmd, _ = member.String()
			}
		}
		// lib/internal/child_process.js, isInternal
		if len(s.cmd) <= len("NODE_") || s.cmd[:5] != "NODE_" {
			s.cmd = ""
		}
	case v8.KindView, v8.KindArrayBuffer, v8.KindString:
		s.quick = len(payload) > longSingle
	}
	s.whole = value.Portable() && payload[1] < 0x80 // a version in one byte can be changed
	if !s.quick {
		s.value = &parsedValue{value, unsafe.SliceData(payload)}
	}
	return s, nil
}

// mayHaveCmd tells for a short payload whether it has the letters of cmd, in one byte each or in two, however the key is
// written. In a long one, which has Buffers perhaps, its members are looked at sooner.
func mayHaveCmd(payload []byte) bool {
	return len(payload) > longFrame || lettersOfCmd(payload)
}

func lettersOfCmd(payload []byte) bool {
	return bytes.Contains(payload, []byte("cmd")) || bytes.Contains(payload, []byte("c\x00m\x00d"))
}

func (*advancedCodec) unwrap(payload []byte, e *envelope) (msg []byte, err error) {
	value, err := v8.Parse(payload, v8.Channel)
	if err != nil {
		return nil, err
	}
	var inner v8.Value // undefined, as Node delivers it, if there is none
	for name, member := range value.Members() {
		switch name {
		case memberMsg:
			inner = member
		case memberType, memberDgram, memberKey, memberDenoKey:
			s, _ := member.String()
			e.set(name, s)
		}
	}
	return inner.Append(nil)
}

func (*advancedCodec) decode(m *Message, v any) error {
	if value := m.parsed(); value != nil {
		return value.Decode(nil, v)
	}
	if len(m.Data) == 0 {
		return errors.New("no payload")
	}
	return (&v8.Decoder{Layout: v8.Channel}).Decode(m.Data, v)
}
