package v8

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
)

// Limits that were exceeded; a *LimitError is one of them.
var (
	ErrDepth    = errors.New("v8: nested too deep")
	ErrTooLarge = errors.New("v8: too large")
)

// A SyntaxError reports bytes that are not what V8's serializer writes; V8's own reader refuses them too.
type SyntaxError struct {
	Offset int // of the byte in the payload where reading failed
	Msg    string
}

func (e *SyntaxError) Error() string {
	return "v8: " + e.Msg + " at offset " + strconv.Itoa(e.Offset)
}

// A TypeError reports a value that does not fit the Go value it was to be stored in, as json.UnmarshalTypeError does.
type TypeError struct {
	Value  string       // what came: "number 300", "string", "Map"
	Type   reflect.Type // what it was to be stored in
	Path   string       // where: "users[3].name"; empty for the value itself
	Offset int          // of the value in the payload
}

func (e *TypeError) Error() string {
	s := "v8: cannot decode " + e.Value + " into Go value of type " + typeName(e.Type)
	return s + atPath(e.Path) + " (offset " + strconv.Itoa(e.Offset) + ")"
}

// A LimitError reports that a limit was reached: it is ErrDepth or ErrTooLarge.
type LimitError struct {
	Err    error  // ErrDepth or ErrTooLarge
	Msg    string // which limit
	Offset int    // in the payload read, or in the one that was being written
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: %s at offset %d", e.Err, e.Msg, e.Offset)
}

func (e *LimitError) Unwrap() error { return e.Err }

// An UnsupportedTypeError reports a Go type that has no JavaScript counterpart: functions, channels, complex numbers.
type UnsupportedTypeError struct {
	Type reflect.Type
	Path string // where, as in TypeError
}

func (e *UnsupportedTypeError) Error() string {
	return "v8: unsupported type: " + typeName(e.Type) + atPath(e.Path)
}

// An UnsupportedValueError reports a value that cannot be written, or that its reader could not read.
type UnsupportedValueError struct {
	Type reflect.Type
	Msg  string
	Path string // where, as in TypeError
}

func (e *UnsupportedValueError) Error() string {
	return "v8: unsupported value of type " + typeName(e.Type) + atPath(e.Path) + ": " + e.Msg
}

// A MarshalerError wraps an error of MarshalV8, MarshalText, UnmarshalV8 or UnmarshalText.
type MarshalerError struct {
	Type   reflect.Type
	Method string
	Err    error
	Path   string // where, as in TypeError
}

func (e *MarshalerError) Error() string {
	return "v8: " + e.Method + " of " + typeName(e.Type) + atPath(e.Path) + ": " + e.Err.Error()
}

func (e *MarshalerError) Unwrap() error { return e.Err }

// An InvalidTargetError reports a decode into something that is not a non-nil pointer.
type InvalidTargetError struct{ Type reflect.Type }

func (e *InvalidTargetError) Error() string {
	switch {
	case e.Type == nil:
		return "v8: decode into nil"
	case e.Type.Kind() != reflect.Pointer:
		return "v8: decode into non-pointer " + e.Type.String()
	}
	return "v8: decode into nil " + e.Type.String()
}

func atPath(path string) string {
	if path == "" {
		return ""
	}
	return " at " + path
}

func typeName(t reflect.Type) string {
	if t == nil {
		return "nil"
	}
	return t.String()
}

func syntaxErr(offset int, msg string) error { return &SyntaxError{Offset: offset, Msg: msg} }
