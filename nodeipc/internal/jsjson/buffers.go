package jsjson

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
)

// buffers says where a type holds byte slices, as far as that concerns a text to be decoded into it. nil means nowhere.
type buffers struct {
	bytes  bool          // here
	elem   *buffers      // of each element, of an array or slice, or member, of a map
	fields *structFields // of a struct
	parts  []*buffers    // of each field in fields.list
}

var targets typeCache[*buffers]

// targetBuffers returns where what v points to holds byte slices. v is not nil.
func targetBuffers(v any) *buffers { return *targets.of(v, findTarget) }

func findTarget(t reflect.Type) *buffers {
	if t.Kind() != reflect.Pointer {
		return nil
	}
	return buffersOf(t.Elem())
}

// buffersOf returns where t holds byte slices.
func buffersOf(t reflect.Type) *buffers { return findBuffers(t, make(map[reflect.Type]*buffers)) }

var (
	unmarshalerType     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// opaque reports whether values of t read their text themselves.
func opaque(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(unmarshalerType) || p.Implements(textUnmarshalerType)
}

// holdsBytes reports whether there is a byte slice anywhere in t. seen keeps recursive types finite.
func holdsBytes(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] || opaque(t) {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Slice:
		return isBytes(t) || holdsBytes(t.Elem(), seen)
	case reflect.Array, reflect.Map, reflect.Pointer:
		return holdsBytes(t.Elem(), seen)
	case reflect.Struct:
		for _, f := range fieldsOf(t).list {
			if holdsBytes(f.typ, seen) {
				return true
			}
		}
	}
	return false
}

// findBuffers makes the buffers of t, which may refer to themselves.
func findBuffers(t reflect.Type, made map[reflect.Type]*buffers) *buffers {
	if b, ok := made[t]; ok {
		return b
	}
	if !holdsBytes(t, make(map[reflect.Type]bool)) {
		return nil
	}
	b := new(buffers)
	switch t.Kind() {
	case reflect.Pointer: // the text is that of what it points to
		return findBuffers(t.Elem(), made)
	case reflect.Struct:
		made[t] = b
		b.fields = fieldsOf(t)
		b.parts = make([]*buffers, len(b.fields.list))
		for i, f := range b.fields.list {
			b.parts[i] = findBuffers(f.typ, made)
		}
	default: // slice, array, map
		made[t] = b
		if b.bytes = isBytes(t); !b.bytes {
			b.elem = findBuffers(t.Elem(), made)
		}
	}
	return b
}

// mayHoldBuffer tells at little cost that a text has no Buffer in it. The letters may be escaped.
func mayHoldBuffer(data []byte) bool {
	return bytes.Contains(data, []byte("Buffer")) || bytes.Contains(data, []byte(`\u00`))
}

// rewriter copies a text and puts base64 strings for Buffer objects where byte slices are to be decoded.
type rewriter struct {
	data []byte
	out  []byte
	done int // data before this is in out, or replaced
	buf  []byte
}

func (b *buffers) rewrite(data []byte) []byte {
	r := rewriter{data: data}
	r.value(b, skipSpace(data, 0), 0)
	if r.out == nil {
		return data
	}
	return append(r.out, data[r.done:]...)
}

// value deals with the value at i and returns the place after it.
func (r *rewriter) value(b *buffers, i, depth int) int {
	if b == nil || i >= len(r.data) || depth > maxDepth {
		return skipValue(r.data, i)
	}
	switch c := r.data[i]; {
	case c == '{' && b.bytes:
		return r.buffer(i)
	case c == '{' && b.fields != nil:
		return r.members(i, func(key []byte) *buffers {
			name, _ := memberName(key)
			if at := b.fields.named(name); at >= 0 {
				return b.parts[at]
			}
			return nil
		}, depth)
	case c == '{' && b.elem != nil:
		return r.members(i, func([]byte) *buffers { return b.elem }, depth)
	case c == '[' && b.elem != nil:
		end := i
		at := enter(r.data, i, '[')
		for at >= 0 {
			end = r.value(b.elem, at, depth+1)
			if end == at {
				return len(r.data) // not JSON
			}
			at = following(r.data, end)
		}
		return r.closed(i, end)
	}
	return skipValue(r.data, i)
}

func (r *rewriter) members(i int, part func(key []byte) *buffers, depth int) int {
	end := i
	at := enter(r.data, i, '{')
	for at >= 0 {
		if at >= len(r.data) || r.data[at] != '"' {
			return len(r.data)
		}
		keyEnd := skipString(r.data, at)
		from := skipSpace(r.data, keyEnd)
		if from >= len(r.data) || r.data[from] != ':' {
			return len(r.data)
		}
		from = skipSpace(r.data, from+1)
		end = r.value(part(r.data[at:keyEnd]), from, depth+1)
		if end == from {
			return len(r.data)
		}
		at = following(r.data, end)
	}
	return r.closed(i, end)
}

// closed returns the place after the bracket that closes the object or array at i, whose last value ended at end.
func (r *rewriter) closed(i, end int) int {
	if end == i {
		end++
	}
	return min(skipSpace(r.data, end)+1, len(r.data))
}

// buffer replaces the object at i if it is a Buffer, and returns the place after it. If it is not, decoding it will be an
// error.
func (r *rewriter) buffer(i int) int {
	var isBuffer bool
	var list []byte
	last := i
	for at := enter(r.data, i, '{'); at >= 0; at = following(r.data, last) {
		key, from, to := member(r.data, at)
		if to < 0 {
			return len(r.data) // not JSON
		}
		last = to
		switch name, _ := memberName(key); name {
		case "type":
			s, ok := memberName(r.data[from:to])
			isBuffer = ok && s == "Buffer"
		case "data":
			list = r.data[from:to]
		}
	}
	end := r.closed(i, last)
	if !isBuffer || len(list) == 0 || list[0] != '[' {
		return end
	}
	b, ok := appendList(slices.Grow(r.buf[:0], len(list)/2), list)
	r.buf = b
	if !ok {
		return end
	}
	if r.out == nil {
		r.out = make([]byte, 0, len(r.data))
	}
	r.out = append(r.out, r.data[r.done:i]...)
	r.out = append(r.out, '"')
	r.out = base64.StdEncoding.AppendEncode(r.out, r.buf)
	r.out = append(r.out, '"')
	r.done = end
	return end
}

// appendList appends the bytes of a list of numbers. It reports false if there is anything else in it.
func appendList(dst, list []byte) ([]byte, bool) {
	for i := enter(list, 0, '['); i >= 0; i = following(list, i) {
		n, start := 0, i
		for i < len(list) && i < start+3 && class[list[i]]&classDigit != 0 {
			n = n*10 + int(list[i]-'0')
			i++
		}
		if n > 255 || i == start || i == len(list) || class[list[i]]&classSpace == 0 && list[i] != ',' && list[i] != ']' {
			return dst, false
		}
		dst = append(dst, byte(n))
	}
	return dst, true
}
