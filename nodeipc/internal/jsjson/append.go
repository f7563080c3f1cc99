package jsjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"sync"
	"time"
	"unsafe"
)

// Append appends v as JSON.stringify would write it; the package comment has the details. Info is that of the text. If
// there is an error, the text is dst as it was.
func Append(dst []byte, v any) ([]byte, Info, error) {
	from := len(dst)
	// What needs neither a state nor a look at the result.
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), Info{}, nil
	case string:
		return AppendString(dst, v), Info{}, nil
	case []byte:
		return appendBuffer(dst, v), Info{}, nil
	case json.RawMessage:
		out, info, err := appendRaw(dst, v)
		if err != nil {
			return dst, Info{}, err
		}
		return out, info, nil
	case bool:
		return appendBool(dst, v), Info{}, nil
	case int:
		return appendInt(dst, int64(v)), Info{}, nil
	case int64:
		return appendInt(dst, v), Info{}, nil
	case float64:
		return appendFloat(dst, v, 64), Info{}, nil
	case *map[string]any: // what a message was decoded into
		if v != nil {
			return Append(dst, *v)
		}
	}
	var (
		out []byte
		err error
		f   facts
	)
	switch v.(type) {
	case map[string]any, []any:
	default:
		f = *factsOf(v)
	}
	cmd := f.cmd                                            // there may be a member cmd
	if base := dataWord(v); f.plain != nil && base != nil { // a struct with such fields is never an any's data word itself
		out = f.plain.append(dst, base)
	} else if f.goccy {
		out, err = appendGoccy(dst, v)
	} else {
		e := states.Get().(*state)
		e.dst = dst
		err = e.value(v)
		out = e.dst
		cmd = cmd || e.cmd
		e.release()
	}
	if err != nil {
		return dst, Info{}, err
	}
	if cmd {
		return out, infoOf(out[from:]), nil
	}
	return out, Info{}, nil
}

// infoOf is the Info of a text of ours. Nearly always a look for the name is enough to see that there is nothing.
func infoOf(text []byte) Info {
	if text[0] != '{' || !bytes.Contains(text, []byte("NODE_")) && !bytes.Contains(text, []byte(`\u00`)) {
		return Info{}
	}
	s, bad := scan(text)
	if bad >= 0 {
		return Info{} // not possible: all we write is JSON
	}
	return s.info(text)
}

func appendRaw(dst []byte, raw json.RawMessage) ([]byte, Info, error) {
	if raw == nil {
		return append(dst, "null"...), Info{}, nil
	}
	dst, info, err := Compact(dst, raw)
	if err != nil {
		err = &json.MarshalerError{Type: reflect.TypeFor[json.RawMessage](), Err: err}
	}
	return dst, info, err
}

// Deeper than startCycles, the pointers on the way are remembered and compared; most values never get there. Deeper
// than maxDepth is an error, as it is in Unmarshal and in goccy: the stack of a goroutine has an end.
const (
	startCycles = 500
	maxDepth    = 10000
)

// state is one run of the encoder.
type state struct {
	dst   []byte
	pairs []pair // the members of the maps being written, innermost last
	depth int
	cmd   bool // a map[string]any, perhaps the outermost, has a member cmd
	seen  map[place]struct{}
}

// place is where a pointer, map or slice points.
type place struct {
	t reflect.Type
	p unsafe.Pointer
	n int
}

var states = sync.Pool{New: func() any { return new(state) }}

func (e *state) release() {
	e.dst = nil
	e.depth = 0
	e.cmd = false
	clear(e.pairs) // after an error some are left
	e.pairs = e.pairs[:0]
	if cap(e.pairs) > 1024 {
		e.pairs = nil
	}
	e.seen = nil
	states.Put(e)
}

// enter goes one level deeper, into what v points to.
func (e *state) enter(v reflect.Value) error {
	e.depth++
	if e.depth <= startCycles {
		return nil
	}
	return e.track(v)
}

func (e *state) leave(v reflect.Value) {
	if e.depth > startCycles {
		delete(e.seen, placeOf(v))
	}
	e.depth--
}

func placeOf(v reflect.Value) place {
	at := place{t: v.Type(), p: v.UnsafePointer()}
	if v.Kind() == reflect.Slice {
		at.n = v.Len()
	}
	return at
}

func (e *state) track(v reflect.Value) error {
	at := placeOf(v)
	if _, ok := e.seen[at]; ok {
		return &json.UnsupportedValueError{Value: v, Str: "encountered a cycle via " + at.t.String()}
	}
	if e.depth > maxDepth {
		return errDeep(v)
	}
	if e.seen == nil {
		e.seen = make(map[place]struct{})
	}
	e.seen[at] = struct{}{}
	return nil
}

func errDeep(v reflect.Value) error {
	return &json.UnsupportedValueError{Value: v, Str: "nested too deeply"}
}

// value appends v: the types that any usually holds at once, all others by way of reflect.
func (e *state) value(v any) error {
	switch v := v.(type) {
	case nil:
		e.dst = append(e.dst, "null"...)
	case string:
		e.dst = AppendString(e.dst, v)
	case bool:
		e.dst = appendBool(e.dst, v)
	case float64:
		e.dst = appendFloat(e.dst, v, 64)
	case int:
		e.dst = appendInt(e.dst, int64(v))
	case int64:
		e.dst = appendInt(e.dst, v)
	case []byte:
		e.dst = appendBuffer(e.dst, v)
	case time.Time:
		e.dst = appendTime(e.dst, v)
	case map[string]any:
		return e.mapAny(v)
	case []any:
		return e.sliceAny(v)
	default:
		rv := reflect.ValueOf(v)
		return encoderOf(rv.Type())(e, rv)
	}
	return nil
}

func (e *state) mapAny(m map[string]any) error {
	if m == nil {
		e.dst = append(e.dst, "null"...)
		return nil
	}
	if e.depth++; e.depth > startCycles {
		if err := e.track(reflect.ValueOf(m)); err != nil {
			return err
		}
	}
	from := len(e.pairs)
	for k, v := range m {
		if k == "cmd" {
			e.cmd = true
		}
		e.pairs = append(e.pairs, pair{key: k, head: headOf(k), value: v})
	}
	to := len(e.pairs)
	sortPairs(e.pairs[from:to])
	e.dst = append(e.dst, '{')
	for i := from; i < to; i++ {
		if i > from {
			e.dst = append(e.dst, ',')
		}
		p := &e.pairs[i]
		e.dst = AppendString(e.dst, p.key)
		e.dst = append(e.dst, ':')
		if err := e.value(p.value); err != nil { // may move e.pairs: p is not used after
			return err
		}
	}
	e.dst = append(e.dst, '}')
	clear(e.pairs[from:to]) // the pool must not keep the values alive
	e.pairs = e.pairs[:from]
	if e.depth > startCycles {
		delete(e.seen, placeOf(reflect.ValueOf(m)))
	}
	e.depth--
	return nil
}

func (e *state) sliceAny(s []any) error {
	if s == nil {
		e.dst = append(e.dst, "null"...)
		return nil
	}
	if e.depth++; e.depth > startCycles {
		if err := e.track(reflect.ValueOf(s)); err != nil {
			return err
		}
	}
	e.dst = append(e.dst, '[')
	for i, v := range s {
		if i > 0 {
			e.dst = append(e.dst, ',')
		}
		if err := e.value(v); err != nil {
			return err
		}
	}
	e.dst = append(e.dst, ']')
	if e.depth > startCycles {
		delete(e.seen, placeOf(reflect.ValueOf(s)))
	}
	e.depth--
	return nil
}
