package nodeipc

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/jsjson"
)

// jsonCodec is Node's default serialization: a payload is a JSON text, its frame a line (docs/protocol.md 1.4).
type jsonCodec struct{}

func (jsonCodec) serialization() Serialization { return JSON }
func (jsonCodec) what() string                 { return "a line that is not JSON" }

func (jsonCodec) frame(dst, payload []byte) []byte { return append(append(dst, payload...), '\n') }
func (jsonCodec) wire(dst, payload []byte) []byte  { return append(append(dst, payload...), '\n') }
func (jsonCodec) frameSize(payload int) int        { return payload + 1 }
func (jsonCodec) payload(frame []byte) []byte      { return frame[:len(frame)-1] }

func (jsonCodec) encode(dst []byte, v any) ([]byte, string, error) {
	dst, info, err := appendJSON(dst, v)
	return append(dst, '\n'), info.Cmd, err
}

func appendJSON(dst []byte, v any) ([]byte, jsjson.Info, error) {
	if m, ok := v.(*Message); ok && m != nil {
		if m.codec != nil && m.codec.serialization() != JSON {
			var value any
			if err := m.Decode(&value); err != nil {
				return dst, jsjson.Info{}, err
			}
			return jsjson.Append(dst, value)
		}
		v = json.RawMessage(m.Data)
	}
	if raw, ok := v.(json.RawMessage); ok && len(dst) == 0 {
		dst = room(dst, len(raw)+1)
	}
	return jsjson.Append(dst, v)
}

func (jsonCodec) encodeHandle(dst []byte, e envelope, v any) (frame, payload []byte, cmd string, err error) {
	dst = append(dst, `{"cmd":"NODE_HANDLE","type":`...)
	dst = jsjson.AppendString(dst, string(e.typ))
	dst = append(dst, `,"msg":`...)
	from := len(dst)
	dst, info, err := appendJSON(dst, v)
	to := len(dst)
	if e.key != "" {
		dst = jsjson.AppendString(append(dst, `,"key":`...), e.key)
		dst = jsjson.AppendString(append(dst, `,"socketListKey":`...), e.key)
	}
	if e.dgram != "" {
		dst = jsjson.AppendString(append(dst, `,"dgramType":`...), e.dgram)
	}
	if e.local {
		dst = append(dst, `,"nativeKind":"pipe"`...)
	}
	dst = append(dst, "}\n"...)
	return dst, dst[from:to], info.Cmd, err
}

func (jsonCodec) scan(payload []byte) (scanned, error) {
	info, err := jsjson.Scan(payload)
	// Text that is not UTF-8 has to be mended before it is sent on: not every reader is as lenient as Node.
	return scanned{cmd: info.Cmd, whole: info.ASCII || utf8.Valid(payload), quick: info.ASCII && info.Quick}, err
}

func (jsonCodec) unwrap(payload []byte, e *envelope) (msg []byte, err error) {
	msg = []byte("null") // what a frame without a message stands for: Node delivers undefined
	for name, raw := range jsjson.Members(payload) {
		switch name {
		case memberMsg:
			msg = raw
		case memberType, memberDgram, memberKey, memberDenoKey:
			s, _ := jsjson.String(raw)
			e.set(name, s)
		}
	}
	return msg, nil
}

func (jsonCodec) decode(m *Message, v any) error { return jsjson.Unmarshal(m.Data, v) }
