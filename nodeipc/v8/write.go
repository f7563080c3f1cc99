package v8

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"
)

func (e *encodeState) bool(b bool) {
	if b {
		e.buf = append(e.buf, tagTrue)
	} else {
		e.buf = append(e.buf, tagFalse)
	}
}

func (e *encodeState) float(f float64) {
	if i := int32(f); float64(i) == f && (i != 0 || !math.Signbit(f)) {
		e.buf = appendInt32(e.buf, i)
	} else {
		e.double(tagDouble, f)
	}
}

func (e *encodeState) double(tag byte, f float64) {
	bits := math.Float64bits(f)
	if f != f {
		bits = 0x7ff8 << 48 // the one that V8 writes
	}
	e.buf = binary.LittleEndian.AppendUint64(append(e.buf, tag), bits)
}

func appendInt32(dst []byte, i int32) []byte {
	return appendVarint(append(dst, tagInt32), uint32(i)<<1^uint32(i>>31))
}

func (e *encodeState) int(n int64) error {
	f, exact := exactInt(n)
	if !exact {
		return inexact(reflect.TypeFor[int64](), strconv.FormatInt(n, 10))
	}
	e.float(f)
	return nil
}

func (e *encodeState) uint(n uint64) error {
	f, exact := exactUint(n)
	if !exact {
		return inexact(reflect.TypeFor[uint64](), strconv.FormatUint(n, 10))
	}
	e.float(f)
	return nil
}

// exactInt is n as a number, if it is one.
func exactInt(n int64) (f float64, exact bool) {
	f = float64(n)
	return f, f != 1<<63 && int64(f) == n
}

func exactUint(n uint64) (f float64, exact bool) {
	f = float64(n)
	return f, f != 1<<64 && uint64(f) == n
}

func inexact(t reflect.Type, n string) error {
	return &UnsupportedValueError{Type: t, Msg: n + " is not exact as a JavaScript number: use *big.Int"}
}

func (e *encodeState) bigInt(tag byte, n *big.Int) error {
	words := n.Bits()
	size := (len(words)*bigWord + 7) / 8 * 8
	if size > maxBigInt {
		return &UnsupportedValueError{Type: reflect.TypeFor[*big.Int](), Msg: "more bits than JavaScript allows"}
	}
	bits := uint32(size) << 1
	if n.Sign() < 0 {
		bits |= 1
	}
	e.buf = appendVarint(append(e.buf, tag), bits)
	for i := range size {
		var w big.Word
		if i/bigWord < len(words) {
			w = words[i/bigWord]
		}
		e.buf = append(e.buf, byte(w>>(8*(i%bigWord))))
	}
	return nil
}

const maxBigInt = 1 << 30 / 8 // bytes, of V8

func (e *encodeState) string(s string) error {
	if len(s) > maxString {
		return e.tooLarge("string longer than JavaScript allows")
	}
	e.buf = appendString(e.buf, e.base, s)
	return nil
}

// appendString appends a string in the shortest form that holds it, for a payload that starts at dst[base].
func appendString(dst []byte, base int, s string) []byte {
	if asciiString(s) {
		return append(appendVarint(append(dst, tagOneByte), uint32(len(s))), s...)
	}
	latin1, extra := true, 0 // bytes more than characters
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf {
			if c > 0xc3 || c < 0xc2 || i+1 == len(s) || s[i+1]&0xc0 != 0x80 {
				latin1 = false
				break
			}
			i++
			extra++
		}
	}
	if latin1 {
		dst = appendVarint(append(dst, tagOneByte), uint32(len(s)-extra))
		for i := 0; i < len(s); i++ {
			c := s[i]
			if c >= utf8.RuneSelf {
				i++
				c = c<<6 | s[i]&0x3f
			}
			dst = append(dst, c)
		}
		return dst
	}
	units := 0
	eachUnit(s, func(uint16) { units++ })
	var head [6]byte
	h := appendVarint(append(head[:0], tagTwoByte), uint32(2*units))
	if (len(dst)-base+len(h))%2 != 0 {
		dst = append(dst, tagPadding) // V8 reads the characters where they are, at even offsets
	}
	dst = append(dst, h...)
	eachUnit(s, func(u uint16) { dst = binary.LittleEndian.AppendUint16(dst, u) })
	return dst
}

// eachUnit yields s in UTF-16; what is not UTF-8 is U+FFFD, but for the form that appendUTF16 gives unpaired
// surrogates.
func eachUnit(s string, yield func(uint16)) {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			if u, ok := surrogateAt(s[i:]); ok {
				r, size = u, 3
			}
		}
		if r > 0xffff {
			r -= 0x10000
			yield(uint16(0xd800 + r>>10))
			r = 0xdc00 + r&0x3ff
		}
		yield(uint16(r))
		i += size
	}
}

// key writes the key of a member.
func (e *encodeState) key(name string) error {
	if len(name) < 0x80 && name != "" && name[0] > '9' && asciiString(name) { // as most are
		e.buf = append(append(e.buf, tagOneByte, byte(len(name))), name...)
		return nil
	}
	if i, ok := arrayIndex(name); ok {
		e.float(float64(i))
		return nil
	}
	if !utf8.ValidString(name) && !wellFormed(name) {
		// It would be changed, and maybe into another key of the object, which V8 does not read then.
		return &UnsupportedValueError{Type: reflect.TypeFor[string](), Msg: "key that is not UTF-8: " + strconv.Quote(name)}
	}
	return e.string(name)
}

// plainKey is the key as it is written anywhere, nil for one that needs padding at some places.
func plainKey(name string) []byte {
	var e encodeState
	if e.key(name) != nil || e.buf[0] == tagTwoByte || e.buf[0] == tagPadding {
		return nil
	}
	return e.buf
}

// view writes a view.
func (e *encodeState) view(t ViewType, data []byte) error {
	switch {
	case t >= viewTypes:
		return &UnsupportedValueError{Type: reflect.TypeFor[View](), Msg: "unknown type"}
	case t == Float16Array && e.node < 24:
		return &UnsupportedValueError{Type: reflect.TypeFor[View](), Msg: "Node before 24 has no Float16Array (Encoder.Node)"}
	case (t == BigInt64Array || t == BigUint64Array) && e.node < 16:
		return &UnsupportedValueError{Type: reflect.TypeFor[View](), Msg: "Node before 16 reads no " + t.String() + " (Encoder.Node)"}
	case len(data) > maxData:
		return e.tooLarge("view of 2 GiB or more")
	}
	e.object(tagHost)
	if e.Layout == Channel {
		e.buf = append(e.buf, 0)
	}
	data = data[:len(data)-len(data)%t.Size()]
	e.buf = append(appendVarint(append(e.buf, byte(t)), uint32(len(data))), data...)
	return nil
}

func (e *encodeState) bytes(b []byte, typ reflect.Type) error {
	if len(b) > 0 {
		done, slot, err := e.shared(identityKey{unsafe.Pointer(unsafe.SliceData(b)), len(b), typ})
		if done || err != nil {
			return err
		}
		defer e.done(slot)
	}
	return e.view(Buffer, b)
}

func (e *encodeState) date(d Date) {
	e.object(tagDate)
	e.buf = e.buf[:len(e.buf)-1]
	e.double(tagDate, float64(d))
}

func (e *encodeState) time(t time.Time) error {
	d := DateOf(t)
	if y := t.Year(); y < -271821 || y > 275760 || !d.Valid() {
		return &UnsupportedValueError{Type: timeType, Msg: "JavaScript has no Date for the year " + strconv.Itoa(y)}
	}
	e.date(d)
	return nil
}

func (e *encodeState) regExp(r *RegExp) error {
	bits := uint32(0)
	for i := 0; i < len(r.Flags); i++ {
		bit := uint32(0)
		for _, f := range regExpFlags {
			if f.char == r.Flags[i] {
				bit = f.bit
			}
		}
		if bit == 0 || bits&bit != 0 {
			return &UnsupportedValueError{Type: regExpType, Msg: "flags " + strconv.Quote(r.Flags)}
		}
		bits |= bit
	}
	if !validFlags(bits) || bits&256 != 0 && e.node < 20 || bits&128 != 0 && e.node < 16 {
		msg := "flags " + strconv.Quote(r.Flags) + ", which Node " + strconv.Itoa(e.node) + " does not have"
		return &UnsupportedValueError{Type: regExpType, Msg: msg}
	}
	if !validRegExp(r.Source, bits&16 != 0, bits&256 != 0) {
		msg := "source that is not known to parse: " + strconv.Quote(r.Source[:min(len(r.Source), longPath)])
		return &UnsupportedValueError{Type: regExpType, Msg: msg}
	}
	e.object(tagRegExp)
	if err := e.string(r.Source); err != nil {
		return err
	}
	e.buf = appendVarint(e.buf, bits)
	return nil
}

var regExpType = reflect.TypeFor[RegExp]()

func (e *encodeState) jsError(x *Error) error {
	e.firstError = min(e.firstError, e.next)
	e.object(tagError)
	for tag, name := range errorNames {
		if name == x.Name {
			e.buf = append(e.buf, tag)
		}
	}
	if x.Message != "" || x.HasMessage {
		e.buf = append(e.buf, errorMessage)
		if err := e.string(x.Message); err != nil {
			return err
		}
	}
	if x.Stack != "" || x.HasStack {
		e.buf = append(e.buf, errorStack)
		if err := e.string(x.Stack); err != nil {
			return err
		}
	}
	if (x.Cause != nil || x.HasCause) && e.node >= 16 {
		e.buf = append(e.buf, errorCause)
		if err := e.any(x.Cause); err != nil {
			return inMember(err, "cause")
		}
	}
	e.buf = append(e.buf, errorEnd)
	return nil
}

func (e *encodeState) boxed(b *Boxed) error {
	v := reflect.ValueOf(b.Value)
	switch v.Kind() {
	case reflect.Bool:
		e.object(tagFalseObject)
		if v.Bool() {
			e.buf[len(e.buf)-1] = tagTrueObject
		}
	case reflect.String:
		e.object(tagStrObject)
		return e.string(v.String())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		f, exact := exactInt(v.Int())
		if !exact {
			return inexact(v.Type(), strconv.FormatInt(v.Int(), 10))
		}
		e.next++
		e.double(tagNumObject, f)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		f, exact := exactUint(v.Uint())
		if !exact {
			return inexact(v.Type(), strconv.FormatUint(v.Uint(), 10))
		}
		e.next++
		e.double(tagNumObject, f)
	case reflect.Float32, reflect.Float64:
		e.next++
		e.double(tagNumObject, v.Float())
	default:
		if n, ok := b.Value.(*big.Int); ok && n != nil {
			e.next++
			return e.bigInt(tagBigObject, n)
		}
		return &UnsupportedValueError{Type: reflect.TypeFor[Boxed](), Msg: "not a primitive"}
	}
	return nil
}

func (e *encodeState) arrayBuffer(b *ArrayBuffer) error {
	if len(b.Data) > maxData {
		return e.tooLarge("ArrayBuffer of 2 GiB or more")
	}
	if b.Resizable && e.node >= 20 {
		e.object(tagResizable)
		e.buf = appendVarint(e.buf, uint32(len(b.Data)))
		e.buf = appendVarint(e.buf, max(b.MaxByteLength, uint32(len(b.Data))))
	} else {
		e.object(tagBuffer)
		e.buf = appendVarint(e.buf, uint32(len(b.Data)))
	}
	e.buf = append(e.buf, b.Data...)
	return nil
}

func (e *encodeState) members(o *Object) error {
	for k, x := range o.All() {
		if err := e.key(k); err != nil {
			return err
		}
		if err := e.any(x); err != nil {
			return inMember(err, k)
		}
	}
	return nil
}

func (e *encodeState) sparse(s *Sparse) error {
	if err := e.composite(tagSparse, len(s.Elements)); err != nil {
		return err
	}
	e.buf = appendVarint(e.buf, s.Length)
	next := uint64(0)
	for _, el := range s.Elements {
		if uint64(el.Index) < next || el.Index >= s.Length {
			return &UnsupportedValueError{Type: reflect.TypeFor[Sparse](), Msg: "elements must ascend, and be below the length"}
		}
		next = uint64(el.Index) + 1
		e.float(float64(el.Index))
		if err := e.any(el.Value); err != nil {
			return inElement(err, el.Index)
		}
	}
	n := len(s.Elements)
	if s.Props != nil {
		for k := range s.Props.All() {
			if _, index := arrayIndex(k); index || k == "length" {
				return &UnsupportedValueError{Type: reflect.TypeFor[Sparse](), Msg: "Props has " + strconv.Quote(k)}
			}
		}
		n += s.Props.Len()
		if err := e.members(s.Props); err != nil {
			return err
		}
	}
	e.buf = appendVarint(append(e.buf, tagSparseEnd), uint32(n))
	e.buf = appendVarint(e.buf, s.Length)
	return nil
}

// own writes a value of one of our types, given by pointer.
func (e *encodeState) own(v any) error {
	switch v := v.(type) {
	case *Undefined, *Hole:
		e.buf = append(e.buf, tagUndefined)
	case *time.Time:
		return e.time(*v)
	case *Date:
		e.date(*v)
	case *big.Int:
		return e.bigInt(tagBigInt, v)
	case *Object:
		if err := cmp.Or(e.composite(tagObject, v.Len()), e.members(v)); err != nil {
			return err
		}
		e.buf = appendVarint(append(e.buf, tagObjectEnd), uint32(v.Len()))
	case *Map:
		if err := e.composite(tagMap, v.Len()); err != nil {
			return err
		}
		for k, x := range v.All() {
			if err := cmp.Or(e.any(k), e.any(x)); err != nil {
				return err
			}
		}
		e.buf = appendVarint(append(e.buf, tagMapEnd), uint32(2*v.Len()))
	case *Set:
		if err := e.composite(tagSet, v.Len()); err != nil {
			return err
		}
		for x := range v.All() {
			if err := e.any(x); err != nil {
				return err
			}
		}
		e.buf = appendVarint(append(e.buf, tagSetEnd), uint32(v.Len()))
	case *Sparse:
		return e.sparse(v)
	case *RegExp:
		return e.regExp(v)
	case *Error:
		return e.jsError(v)
	case *Boxed:
		return e.boxed(v)
	case *ArrayBuffer:
		return e.arrayBuffer(v)
	case *View:
		return e.view(v.Type, v.Data)
	}
	return nil
}

// value writes a Value: anew if the reader could make something else of the bytes, or nothing.
func (e *encodeState) value(v Value) error {
	miscounted := e.node < 18 && e.firstError < e.next && v.doc != nil && len(v.doc.refs) > 0
	anew := v.layout != e.Layout || !v.portable || miscounted || int(v.levels) > e.depth
	if len(v.data) == 0 || !anew {
		buf, ids, err := v.appendAs(e.buf, e.next)
		if err == nil {
			e.buf = buf
			e.next += ids
			return nil
		} // it refers to what is outside of it
	}
	var x any
	if err := v.Decode(&Decoder{Ordered: true}, &x); err != nil {
		return err
	}
	return e.any(x)
}
