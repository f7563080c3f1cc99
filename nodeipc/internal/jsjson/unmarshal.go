package jsjson

import (
	"bytes"
	"encoding/json"
	"reflect"

	goccy "github.com/goccy/go-json"
)

// Unmarshal decodes data, which has passed Scan, into what v points to, as encoding/json does, but for byte slices:
// these are read from a Buffer object too. Nothing in *v refers to data afterwards. Offsets in errors count the bytes of
// data as they are after each Buffer for a byte slice has become a base64 string.
//
// goccy/go-json does it, with the same results as encoding/json for invalid UTF-8 and unpaired surrogates (U+FFFD), in
// linear time for long numbers and many keys, and with an error beyond 10000 levels.
func Unmarshal(data []byte, v any) error {
	if raw, ok := v.(*json.RawMessage); ok && raw != nil {
		*raw = append((*raw)[:0], bytes.TrimSpace(data)...)
		return nil
	}
	if t := reflect.TypeOf(v); t != nil && t.Kind() == reflect.Pointer {
		if p := buffersOf(t.Elem()); p != nil && mayHoldBuffer(data) {
			data = p.rewrite(data)
		}
	}
	if err := goccy.Unmarshal(data, v); err != nil {
		return decodeError(err)
	}
	return nil
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
