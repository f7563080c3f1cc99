package v8

import "iter"

// Kind is what a Value is.
type Kind uint8

const (
	KindUndefined Kind = iota
	KindNull
	KindBool
	KindNumber
	KindBigInt
	KindString
	KindObject
	KindArray
	KindDate
	KindRegExp
	KindMap
	KindSet
	KindError
	KindBoxed
	KindArrayBuffer
	KindView // a Buffer, a typed array or a DataView
)

var kindNames = [...]string{
	"undefined", "null", "boolean", "number", "bigint", "string", "Object", "Array", "Date", "RegExp", "Map", "Set",
	"Error", "boxed primitive", "ArrayBuffer", "view",
}

// String is JavaScript's name of the kind.
func (k Kind) String() string { return kindNames[k] }

func kindOf(tag byte) Kind {
	switch tag {
	case tagNull:
		return KindNull
	case tagTrue, tagFalse:
		return KindBool
	case tagInt32, tagUint32, tagDouble:
		return KindNumber
	case tagBigInt:
		return KindBigInt
	case tagOneByte, tagTwoByte, tagUTF8:
		return KindString
	case tagObject:
		return KindObject
	case tagDense, tagSparse:
		return KindArray
	case tagDate:
		return KindDate
	case tagRegExp:
		return KindRegExp
	case tagMap:
		return KindMap
	case tagSet:
		return KindSet
	case tagError:
		return KindError
	case tagTrueObject, tagFalseObject, tagNumObject, tagBigObject, tagStrObject:
		return KindBoxed
	case tagBuffer, tagResizable, tagImmutable:
		return KindArrayBuffer
	case tagHost, tagView:
		return KindView
	}
	return KindUndefined
}

// A Value is one value inside a payload, checked but not decoded: for those who look at members before they decode,
// and, as the type of a struct's field, for what is to be decoded later. It is small, and shares the bytes of the
// payload, which must not change. The zero Value is undefined.
type Value struct {
	data    []byte
	doc     *doc // nil when there are no references
	budget  *budget
	at, end int
	id      uint32 // of the first object in it
	depth   int32  // levels around it
	levels  int32  // of the whole payload
	version byte
	cut     bool // the payload has varints that end otherwise where other bytes follow
	layout  Layout

	portable bool
}

// Parse checks a payload and returns the value in it. It takes what V8's reader takes, bytes behind the value included,
// and nothing else.
func Parse(data []byte, l Layout) (Value, error) { return parse(data, l, defaultReadDepth) }

func (v Value) walker() walker {
	return walker{data: v.data, pos: v.at, next: v.id, version: v.version, layout: v.layout, depth: maxData}
}

// locate finds the tag of v, or of what v refers to, and a walker behind that.
func (v Value) locate() (byte, walker) {
	w := v.walker()
	if len(v.data) == 0 {
		return tagUndefined, w
	}
	for {
		t, _, _ := w.tag()
		switch t {
		case tagVerifyCount:
			w.varint()
			continue
		case tagReference:
			id, _ := w.varint()
			if w.ends(tagView) {
				return tagView, w
			}
			o := v.doc.ids[id]
			w.pos, w.next = int(o.at)+1, o.id
			return w.data[o.at], w
		case tagHost:
			if w.hostKind1() {
				w.next++
				continue
			}
		case tagBuffer, tagResizable, tagImmutable:
			r := w
			r.pos--
			if o, _ := r.value(); r.data[o.at] == tagView {
				t = tagView
			}
		}
		return t, w
	}
}

// Kind is what v is, or what it refers to.
func (v Value) Kind() Kind {
	t, _ := v.locate()
	return kindOf(t)
}

// String is the text of a string, and whether v is one.
func (v Value) String() (string, bool) {
	t, w := v.locate()
	if !isString(t) {
		return "", false
	}
	b, _ := w.counted()
	return text(t, b), true
}

// Members is the members of an object or array, but no holes; keys that are numbers as text. Other values have none.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		t, w := v.locate()
		member := v
		member.depth++
		next := func() Value {
			member.at, member.id = w.pos, w.next
			w.value()
			member.end = w.pos
			return member
		}
		var end byte
		w.next++
		switch t {
		case tagObject:
			end = tagObjectEnd
		case tagSparse:
			w.varint()
			end = tagSparseEnd
		case tagDense:
			n, _ := w.varint()
			for i := range n {
				if !w.ends(tagHole) && !yield(decimal(i), next()) {
					return
				}
			}
			end = tagDenseEnd
		default:
			return
		}
		var buf []byte
		for !w.ends(end) {
			key, _ := w.value()
			if !yield(string(keyText(&buf, w.data, key.at)), next()) {
				return
			}
		}
	}
}

// Decode decodes v as d.Decode decodes a payload, by the layout that v was parsed with; d may be nil. What v refers to
// outside itself is decoded too. Identity is kept within one call.
func (v Value) Decode(d *Decoder, dst any) error {
	if d == nil {
		d = new(Decoder)
	}
	return d.decode(v, dst)
}

// Append appends v as a payload of its own, for Parse and Decode with the same layout. It fails if v holds a reference
// to an object outside itself.
func (v Value) Append(dst []byte) ([]byte, error) {
	if v.cut {
		var x any
		if err := v.Decode(&Decoder{Ordered: true}, &x); err != nil {
			return dst, err
		}
		return (&Encoder{Layout: v.layout, Node: newestNode, MaxDepth: 2 * defaultReadDepth}).Append(dst, x)
	}
	out, _, err := v.appendAs(append(dst, tagVersion, max(v.version, minVersion)), 0)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// appendAs appends v without a header, where the next object has the id next, and tells how many ids it takes.
func (v Value) appendAs(dst []byte, next uint32) (out []byte, ids uint32, err error) {
	if len(v.data) == 0 {
		return append(dst, tagUndefined), 0, nil
	}
	w := v.walker()
	if w.ends(tagReference) { // the object is meant
		id, _ := w.varint()
		o := v.doc.ids[id]
		if v.data[o.at] == tagView || w.ends(tagView) {
			return dst, 0, &UnsupportedValueError{Type: valueType, Msg: "a view whose ArrayBuffer is elsewhere"}
		}
		v.at, v.id = int(o.at), o.id
		w = v.walker()
		w.bare() // not a view that is behind it
		v.end = w.pos
		w = v.walker()
	}
	w.data = v.data[:v.end]
	from := v.at
	w.reference = func(at int, id uint32) {
		if id < v.id {
			err = &UnsupportedValueError{Type: valueType, Msg: "a reference to an object outside"}
		}
		dst = append(dst, v.data[from:at+1]...)
		dst = appendVarint(dst, id-v.id+next)
		from = w.pos
	}
	w.value()
	return append(dst, v.data[from:v.end]...), w.next - v.id, err
}

// Version is the wire version of the payload: Node 18 and later write 15, older ones and this package 13.
func (v Value) Version() int { return int(v.version) }

// Portable tells whether every Node from 12 on makes the same value of the payload if it names version 13: there are no
// native views and objects, no Errors and regular expressions, no types that came later, and no more levels and members
// than a Node has room for.
func (v Value) Portable() bool { return v.portable && v.levels <= defaultWriteDepth }

// text makes a Go string of the characters of a string.
func text(tag byte, b []byte) string {
	var buf [64]byte
	switch {
	case tag == tagTwoByte:
		return string(appendUTF16(buf[:0], b))
	case ascii(b):
		return string(b)
	case tag == tagUTF8:
		return string(appendUTF8(buf[:0], b))
	}
	return string(appendLatin1(buf[:0], b))
}
