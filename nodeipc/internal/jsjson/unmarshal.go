package jsjson

import (
	"bytes"
	"encoding/json"

	goccy "github.com/goccy/go-json"
)

// Unmarshal decodes data, which has passed Scan, into what v points to, as encoding/json does, but for byte slices:
// these are read from a Buffer object too. Nothing in *v refers to data afterwards. Offsets in errors count the bytes of
// data as they are after each Buffer for a byte slice has become a base64 string.
//
// An any, map[string]any and []any are decoded here, with the results of encoding/json. Strings in them share blocks of
// 4 KiB with others, of other texts too: one that is kept for long keeps up to 64 KiB alive.
//
// For all other types goccy/go-json does it, with the same results as encoding/json for invalid UTF-8 and unpaired
// surrogates (U+FFFD), in linear time for long numbers and many keys, and with an error beyond 10000 levels.
func Unmarshal(data []byte, v any) error {
	switch p := v.(type) {
	case *any:
		return likeStandard(data, v, p != nil && unmarshalAny(data, p))
	case *map[string]any:
		return likeStandard(data, v, p != nil && unmarshalMap(data, p))
	case *[]any:
		return likeStandard(data, v, p != nil && unmarshalSlice(data, p))
	case *json.RawMessage:
		if p != nil {
			*p = append((*p)[:0], bytes.TrimSpace(data)...)
			return nil
		}
	}
	if v != nil {
		if p := targetPlain(v); p != nil && p.decode(data, dataWord(v)) {
			return nil
		}
		if p := targetBuffers(v); p != nil && mayHoldBuffer(data) {
			data = p.rewrite(data)
		}
	}
	if err := goccy.Unmarshal(data, v); err != nil {
		return decodeError(err)
	}
	return nil
}

// likeStandard leaves to encoding/json what is not done: errors mostly.
func likeStandard(data []byte, v any, done bool) error {
	if done {
		return nil
	}
	err := json.Unmarshal(data, v)
	if syntax, ok := err.(*json.SyntaxError); ok {
		return &SyntaxError{Offset: syntax.Offset, Msg: syntax.Error()}
	}
	return err
}

// decodeError gives an error of goccy's the type that encoding/json has for it. A syntax error cannot be made from
// outside that package and becomes ours; after Scan, it can only be one of depth.
func decodeError(err error) error {
	switch err := err.(type) {
	case *goccy.UnmarshalTypeError:
		return &json.UnmarshalTypeError{
			Value: err.Value, Type: err.Type, Offset: err.Offset, Struct: err.Struct, Field: err.Field,
		}
	case *goccy.InvalidUnmarshalError:
		return &json.InvalidUnmarshalError{Type: err.Type}
	case *goccy.SyntaxError:
		return &SyntaxError{Offset: err.Offset, Msg: err.Error()}
	}
	return err
}
