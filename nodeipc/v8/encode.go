package v8

import (
	"cmp"
	"encoding"
	"encoding/binary"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"
)

// Marshal writes v for v8.deserialize of Node 20 or later.
func Marshal(v any) ([]byte, error) { return new(Encoder).Append(nil, v) }

// A Marshaler gives another value to be written in its place.
type Marshaler interface{ MarshalV8() (any, error) }

// An Encoder holds options of encoding. The zero value is ready. Encoding does not change it: it may be used again, and from
// several goroutines.
type Encoder struct {
	Layout Layout
	// Node is the oldest major version of Node that may read what is written, 12 to 26; 0 means 20. What it cannot read is
	// written so that it can, or is an error, because a Node that cannot read a message of its channel dies:
	//
	//   - before 24: a Float16Array is an error
	//   - before 22: an Error whose cause leads back to it is an error
	//   - before 20: a resizable ArrayBuffer is written as a plain one; the flag v of a RegExp is an error
	//   - before 18: its reader counts the references of a payload wrongly once an Error has come. No reference is written to
	//     what comes after the first Error: shared values are written again, a cycle is an error
	//   - before 16: the cause of an Error is left out; BigInt64Array, BigUint64Array and the flag d are errors
	Node int
	// MaxDepth is how many levels a value may have. 0 means 1000: Node's reader has its stack for the levels, and with the
	// default stack the least that one of the versions takes was seen to be 1540 (Node 24, sparse arrays).
	MaxDepth int
}

const (
	defaultNode       = 20
	newestNode        = 26
	defaultWriteDepth = 1000
	maxString         = 1<<29 - 24 // characters, of V8
	maxElements       = 1 << 26    // of an array, and
	maxMembers        = 1 << 23    // of an object, Map or Set: about half of what V8 has room for
	maxRepeats        = 1 << 20    // objects that are written again where references cannot be
	maxRepeated       = 256 << 20  // length of a payload beyond which none is
)

// Append appends the payload for v to dst.
func (e *Encoder) Append(dst []byte, v any) ([]byte, error) {
	s := encodeStates.Get().(*encodeState)
	defer s.free()
	s.buf, s.base, s.Encoder = append(dst, tagVersion, writeVersion), len(dst), e
	if s.node = e.Node; s.node == 0 {
		s.node = defaultNode
	}
	if s.depth = e.MaxDepth; s.depth <= 0 {
		s.depth = defaultWriteDepth
	}
	s.next, s.firstError = 0, math.MaxUint32
	if err := s.any(v); err != nil {
		return dst, err
	}
	if len(s.buf)-s.base > maxData {
		return dst, s.tooLarge("payload of 2 GiB or more")
	}
	return s.buf, nil
}

type encodeState struct {
	*Encoder
	buf        []byte
	base       int // where the payload starts
	node       int
	depth      int // levels left
	next       uint32
	firstError uint32 // the id of the first Error, or MaxUint32
	repeats    int
	objects    []identity
	index      map[identityKey]int // of the first objects, how many indexed says; of none while they are few
	indexed    int
	keys       []string // of the maps that are open
}

// identityKey tells values that are one object in JavaScript.
type identityKey struct {
	at  unsafe.Pointer
	n   int // length of a slice
	typ reflect.Type
}

type identity struct {
	identityKey
	id   uint32
	open bool
}

const fewObjects = 8

var encodeStates = sync.Pool{New: func() any { return new(encodeState) }}

func (e *encodeState) free() {
	clear(e.objects)
	clear(e.keys[:cap(e.keys)])
	*e = encodeState{objects: again(e.objects), keys: again(e.keys), index: e.index}
	if len(e.index) > 1<<10 {
		e.index = nil
	}
	clear(e.index)
	encodeStates.Put(e)
}

func (e *encodeState) offset() int { return len(e.buf) - e.base }

func (e *encodeState) tooLarge(msg string) error { return &LimitError{ErrTooLarge, msg, e.offset()} }

func (e *encodeState) deeper() error {
	if e.depth <= 0 {
		return &LimitError{ErrDepth, "more levels than allowed", e.offset()}
	}
	e.depth--
	return nil
}

// object starts an object.
func (e *encodeState) object(tag byte) {
	e.buf = append(e.buf, tag)
	e.next++
}

// shared looks for an object that was written before. If it can be referred to, that is done. Otherwise the object is about
// to be written, and its identity the one at slot.
func (e *encodeState) shared(k identityKey) (done bool, slot int, err error) {
	slot = e.find(k)
	if slot < 0 {
		slot = len(e.objects)
		e.objects = append(e.objects, identity{k, e.next, true})
		return false, slot, nil
	}
	o := &e.objects[slot]
	switch {
	case o.open && k.typ == errorPointer && e.node < 22:
		return false, 0, &UnsupportedValueError{k.typ, "a cause that leads back to its Error, which Node before 22 cannot read (Encoder.Node)"}
	case e.node >= 18 || o.id < e.firstError:
		e.buf = appendVarint(append(e.buf, tagReference), o.id)
		return true, slot, nil
	case o.open:
		return false, 0, &UnsupportedValueError{k.typ, "a cycle behind an Error, which Node before 18 cannot read"}
	}
	if e.repeats++; e.repeats > maxRepeats || e.offset() > maxRepeated {
		return false, 0, e.tooLarge("shared values repeat too much")
	}
	o.open, o.id = true, e.next
	return false, slot, nil
}

func (e *encodeState) find(k identityKey) int {
	if len(e.objects) <= fewObjects {
		for i := range e.objects {
			if e.objects[i].identityKey == k {
				return i
			}
		}
		return -1
	}
	if e.index == nil {
		e.index = make(map[identityKey]int, 4*fewObjects)
	}
	for ; e.indexed < len(e.objects); e.indexed++ {
		e.index[e.objects[e.indexed].identityKey] = e.indexed
	}
	if i, ok := e.index[k]; ok {
		return i
	}
	return -1
}

// done says that the object at slot has been written.
func (e *encodeState) done(slot int) { e.objects[slot].open = false }

func (e *encodeState) any(v any) error {
	switch v := v.(type) {
	case nil:
		e.buf = append(e.buf, tagNull)
	case bool:
		e.bool(v)
	case string:
		return e.string(v)
	case float64:
		e.float(v)
	case int:
		return e.int(int64(v))
	case map[string]any:
		return e.mapAny(v)
	case []any:
		return e.sliceAny(v)
	case Undefined, Hole:
		e.buf = append(e.buf, tagUndefined)
	case Date:
		e.date(v)
	case time.Time:
		return e.time(v)
	case []byte:
		if v == nil {
			e.buf = append(e.buf, tagNull)
			return nil
		}
		return e.bytes(v, bytesType)
	default:
		r := reflect.ValueOf(v)
		p := planOf(r.Type())
		return p.encode(e, p, r)
	}
	return nil
}

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
	f := float64(n)
	if int64(f) != n || f == 1<<63 {
		return &UnsupportedValueError{reflect.TypeFor[int64](), strconv.FormatInt(n, 10) + " is not exact as a JavaScript number: use *big.Int"}
	}
	e.float(f)
	return nil
}

func (e *encodeState) uint(n uint64) error {
	f := float64(n)
	if f == 1<<64 || uint64(f) != n {
		return &UnsupportedValueError{reflect.TypeFor[uint64](), strconv.FormatUint(n, 10) + " is not exact as a JavaScript number: use *big.Int"}
	}
	e.float(f)
	return nil
}

func (e *encodeState) bigInt(tag byte, n *big.Int) error {
	words := n.Bits()
	size := (len(words)*bigWord + 7) / 8 * 8
	if size > maxBigInt {
		return &UnsupportedValueError{reflect.TypeFor[*big.Int](), "more bits than JavaScript allows"}
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
		if extra == 0 {
			return append(dst, s...)
		}
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

// eachUnit yields s in UTF-16; what is not UTF-8 is U+FFFD, but for the form that appendUTF16 gives unpaired surrogates.
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
	if i, ok := arrayIndex(name); ok {
		e.float(float64(i))
		return nil
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

func (e *encodeState) mapAny(m map[string]any) error {
	if m == nil {
		e.buf = append(e.buf, tagNull)
		return nil
	}
	if err := e.deeper(); err != nil {
		return err
	}
	done, slot, err := e.shared(identityKey{reflect.ValueOf(m).UnsafePointer(), 0, mapAnyType})
	if done || err != nil {
		e.depth++
		return err
	}
	if err := e.composite(tagObject, len(m)); err != nil {
		return err
	}
	first := len(e.keys)
	for k := range m {
		e.keys = append(e.keys, k)
	}
	keys := e.keys[first:]
	slices.SortFunc(keys, compareKeys)
	for _, k := range keys {
		if err := e.key(k); err != nil {
			return err
		}
		if err := e.any(m[k]); err != nil {
			return inMember(err, k)
		}
	}
	e.keys = e.keys[:first]
	e.buf = appendVarint(append(e.buf, tagObjectEnd), uint32(len(m)))
	e.done(slot)
	e.depth++
	return nil
}

var mapAnyType = reflect.TypeFor[map[string]any]()

// compareKeys puts keys in the order of JavaScript: array indexes ascending, then the others, here sorted.
func compareKeys(a, b string) int {
	if a == "" || b == "" || a[0] > '9' && b[0] > '9' {
		return cmp.Compare(a, b)
	}
	i, ok := arrayIndex(a)
	j, ok2 := arrayIndex(b)
	switch {
	case ok && ok2:
		return cmp.Compare(i, j)
	case ok:
		return -1
	case ok2:
		return 1
	}
	return cmp.Compare(a, b)
}

func (e *encodeState) sliceAny(list []any) error {
	if list == nil {
		e.buf = append(e.buf, tagNull)
		return nil
	}
	if err := e.deeper(); err != nil {
		return err
	}
	slot := -1
	if len(list) > 0 {
		done, s, err := e.shared(identityKey{unsafe.Pointer(unsafe.SliceData(list)), len(list), sliceAnyType})
		if done || err != nil {
			e.depth++
			return err
		}
		slot = s
	}
	if err := e.array(len(list)); err != nil {
		return err
	}
	for i, x := range list {
		if _, hole := x.(Hole); hole {
			e.buf = append(e.buf, tagHole)
		} else if err := e.any(x); err != nil {
			return inElement(err, i)
		}
	}
	e.arrayEnd(len(list), slot)
	return nil
}

var sliceAnyType = reflect.TypeFor[[]any]()

func (e *encodeState) array(n int) error {
	if n > maxElements {
		return e.tooLarge("array longer than Node reads")
	}
	e.object(tagDense)
	e.buf = appendVarint(e.buf, uint32(n))
	return nil
}

// composite starts an object of n members or entries.
func (e *encodeState) composite(tag byte, n int) error {
	if n > maxMembers {
		return e.tooLarge("more members than Node reads")
	}
	e.object(tag)
	return nil
}

func (e *encodeState) arrayEnd(n, slot int) {
	e.buf = appendVarint(append(e.buf, tagDenseEnd, 0), uint32(n))
	if slot >= 0 {
		e.done(slot)
	}
	e.depth++
}

// buffer writes a view.
func (e *encodeState) view(t ViewType, data []byte) error {
	switch {
	case t >= viewTypes:
		return &UnsupportedValueError{reflect.TypeFor[View](), "unknown type"}
	case t == Float16Array && e.node < 24:
		return &UnsupportedValueError{reflect.TypeFor[View](), "Node before 24 has no Float16Array (Encoder.Node)"}
	case (t == BigInt64Array || t == BigUint64Array) && e.node < 16:
		return &UnsupportedValueError{reflect.TypeFor[View](), "Node before 16 reads no " + t.String() + " (Encoder.Node)"}
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
		return &UnsupportedValueError{timeType, "JavaScript has no Date for the year " + strconv.Itoa(y)}
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
			return &UnsupportedValueError{regExpType, "flags " + strconv.Quote(r.Flags)}
		}
		bits |= bit
	}
	if !validFlags(bits) || bits&256 != 0 && e.node < 20 || bits&128 != 0 && e.node < 16 {
		return &UnsupportedValueError{regExpType, "flags " + strconv.Quote(r.Flags) + ", which Node " + strconv.Itoa(e.node) + " does not have"}
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
		e.next++
		e.double(tagNumObject, float64(v.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		e.next++
		e.double(tagNumObject, float64(v.Uint()))
	case reflect.Float32, reflect.Float64:
		e.next++
		e.double(tagNumObject, v.Float())
	default:
		if n, ok := b.Value.(*big.Int); ok && n != nil {
			e.next++
			return e.bigInt(tagBigObject, n)
		}
		return &UnsupportedValueError{reflect.TypeFor[Boxed](), "not a primitive"}
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
	last := -1
	for _, el := range s.Elements {
		if int(el.Index) <= last || el.Index >= s.Length {
			return &UnsupportedValueError{reflect.TypeFor[Sparse](), "elements must ascend, and be below the length"}
		}
		last = int(el.Index)
		e.float(float64(el.Index))
		if err := e.any(el.Value); err != nil {
			return inElement(err, last)
		}
	}
	n := len(s.Elements)
	if s.Props != nil {
		for k := range s.Props.All() {
			if _, index := arrayIndex(k); index || k == "length" {
				return &UnsupportedValueError{reflect.TypeFor[Sparse](), "Props has " + strconv.Quote(k)}
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

// value writes a Value.
func (e *encodeState) value(v Value) error {
	if len(v.data) > 0 && (v.layout != e.Layout || v.flagged || v.cut) {
		var x any
		if err := v.Decode(&Decoder{Ordered: true}, &x); err != nil {
			return err
		}
		return e.any(x)
	}
	buf, ids, err := v.appendAs(e.buf, e.next)
	if err == nil {
		e.buf = buf
		e.next += ids
	}
	return err
}

var (
	marshalerType     = reflect.TypeFor[Marshaler]()
	textMarshalerType = reflect.TypeFor[encoding.TextMarshaler]()
	errorType         = reflect.TypeFor[error]()
	bytesType         = reflect.TypeFor[[]byte]()
	errorPointer      = reflect.TypeFor[*Error]()
)

type encodeFunc = func(e *encodeState, p *plan, v reflect.Value) error

func encoderOf(t reflect.Type) encodeFunc {
	pointer := t.Kind() == reflect.Pointer
	switch {
	case t.Kind() == reflect.Interface:
		return encodeInterface
	case t == valueType:
		return encodeValue
	case t.Implements(marshalerType), !pointer && reflect.PointerTo(t).Implements(marshalerType):
		return encodeMarshaler
	case own[t] != nil:
		return encodeOwn
	case pointer && (own[t.Elem()] != nil || t.Elem() == valueType):
		return encodePointer
	case t.Implements(errorType), !pointer && reflect.PointerTo(t).Implements(errorType):
		return encodeGoError
	case t.Implements(textMarshalerType), !pointer && reflect.PointerTo(t).Implements(textMarshalerType):
		return encodeText
	}
	switch t.Kind() {
	case reflect.Bool:
		return func(e *encodeState, _ *plan, v reflect.Value) error { e.bool(v.Bool()); return nil }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(e *encodeState, _ *plan, v reflect.Value) error { return e.int(v.Int()) }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return func(e *encodeState, _ *plan, v reflect.Value) error { return e.uint(v.Uint()) }
	case reflect.Float32, reflect.Float64:
		return func(e *encodeState, _ *plan, v reflect.Value) error { e.float(v.Float()); return nil }
	case reflect.String:
		return func(e *encodeState, _ *plan, v reflect.Value) error { return e.string(v.String()) }
	case reflect.Struct:
		return encodeStruct
	case reflect.Map:
		if k := t.Key(); !k.Implements(textMarshalerType) && k.Kind() != reflect.String && !isInteger(k.Kind()) {
			break
		}
		return encodeMap
	case reflect.Slice:
		return encodeSlice
	case reflect.Array:
		return encodeArray
	case reflect.Pointer:
		return encodePointer
	}
	return func(e *encodeState, p *plan, v reflect.Value) error { return &UnsupportedTypeError{p.typ} }
}

func isInteger(k reflect.Kind) bool { return k >= reflect.Int && k <= reflect.Uintptr }

func encodeInterface(e *encodeState, p *plan, v reflect.Value) error { return e.any(v.Interface()) }

func encodeValue(e *encodeState, p *plan, v reflect.Value) error {
	return e.value(v.Interface().(Value))
}

// method is v or a pointer to it, whichever has the methods of iface; nil for a nil pointer.
func method(v reflect.Value, iface reflect.Type) any {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return nil
	}
	if !v.Type().Implements(iface) {
		v = addressable(v).Addr()
	}
	return v.Interface()
}

func addressable(v reflect.Value) reflect.Value {
	if v.CanAddr() {
		return v
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p.Elem()
}

func encodeMarshaler(e *encodeState, p *plan, v reflect.Value) error {
	m, _ := method(v, marshalerType).(Marshaler)
	if m == nil {
		e.buf = append(e.buf, tagNull)
		return nil
	}
	if err := e.deeper(); err != nil {
		return err
	}
	x, err := m.MarshalV8()
	if err != nil {
		return &MarshalerError{p.typ, "MarshalV8", err}
	}
	err = e.any(x)
	e.depth++
	return err
}

func encodeText(e *encodeState, p *plan, v reflect.Value) error {
	m, _ := method(v, textMarshalerType).(encoding.TextMarshaler)
	if m == nil {
		e.buf = append(e.buf, tagNull)
		return nil
	}
	b, err := m.MarshalText()
	if err != nil {
		return &MarshalerError{p.typ, "MarshalText", err}
	}
	return e.string(string(b))
}

func encodeGoError(e *encodeState, p *plan, v reflect.Value) error {
	err, _ := method(v, errorType).(error)
	if err == nil {
		e.buf = append(e.buf, tagNull)
		return nil
	}
	return e.jsError(&Error{Message: err.Error(), HasMessage: true})
}

func encodeOwn(e *encodeState, p *plan, v reflect.Value) error {
	if err := e.deeper(); err != nil {
		return err
	}
	err := e.own(addressable(v).Addr().Interface())
	e.depth++
	return err
}

func encodePointer(e *encodeState, p *plan, v reflect.Value) error {
	if v.IsNil() {
		e.buf = append(e.buf, tagNull)
		return nil
	}
	if err := e.deeper(); err != nil {
		return err
	}
	t := p.elem.typ
	if k := t.Kind(); t.Size() > 0 && (k == reflect.Struct && t != bigType && t != valueType && t != undefinedType || k == reflect.Array || t == dateType) {
		done, slot, err := e.shared(identityKey{v.UnsafePointer(), 0, p.typ})
		if done || err != nil {
			e.depth++
			return err
		}
		defer e.done(slot)
	}
	err := p.elem.encode(e, p.elem, v.Elem())
	e.depth++
	return err
}

func encodeStruct(e *encodeState, p *plan, v reflect.Value) error {
	if err := e.deeper(); err != nil {
		return err
	}
	e.object(tagObject)
	n := uint32(0)
fields:
	for i := range p.fields.list {
		f := &p.fields.list[i]
		x := v
		for j, k := range f.index {
			if j > 0 && x.Kind() == reflect.Pointer {
				if x.IsNil() {
					continue fields
				}
				x = x.Elem()
			}
			x = x.Field(k)
		}
		if f.omitEmpty && isEmpty(x) || f.isZero != nil && f.isZero(x) {
			continue
		}
		n++
		if f.key != nil {
			e.buf = append(e.buf, f.key...)
		} else if err := e.key(f.name); err != nil {
			return err
		}
		if err := f.plan.encode(e, f.plan, x); err != nil {
			return inMember(err, f.name)
		}
	}
	e.buf = appendVarint(append(e.buf, tagObjectEnd), n)
	e.depth++
	return nil
}

func encodeMap(e *encodeState, p *plan, v reflect.Value) error {
	if v.IsNil() {
		e.buf = append(e.buf, tagNull)
		return nil
	}
	if p.typ == mapAnyType {
		return e.mapAny(v.Interface().(map[string]any))
	}
	if err := e.deeper(); err != nil {
		return err
	}
	done, slot, err := e.shared(identityKey{v.UnsafePointer(), 0, p.typ})
	if done || err != nil {
		e.depth++
		return err
	}
	type member struct {
		name  string
		value reflect.Value
	}
	list := make([]member, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		name, err := keyName(it.Key())
		if err != nil {
			return err
		}
		list = append(list, member{name, it.Value()})
	}
	slices.SortFunc(list, func(a, b member) int { return compareKeys(a.name, b.name) })
	if err := e.composite(tagObject, len(list)); err != nil {
		return err
	}
	for i, m := range list {
		if i > 0 && m.name == list[i-1].name {
			return &UnsupportedValueError{p.typ, "two keys with the text " + strconv.Quote(m.name)}
		}
		if err := e.key(m.name); err != nil {
			return err
		}
		if err := p.elem.encode(e, p.elem, m.value); err != nil {
			return inMember(err, m.name)
		}
	}
	e.buf = appendVarint(append(e.buf, tagObjectEnd), uint32(len(list)))
	e.done(slot)
	e.depth++
	return nil
}

// keyName is the text of a key of a Go map.
func keyName(k reflect.Value) (string, error) {
	if k.Kind() == reflect.String {
		return k.String(), nil
	}
	if m, ok := k.Interface().(encoding.TextMarshaler); ok {
		if k.Kind() == reflect.Pointer && k.IsNil() {
			return "", nil
		}
		b, err := m.MarshalText()
		if err != nil {
			return "", &MarshalerError{k.Type(), "MarshalText", err}
		}
		return string(b), nil
	}
	if k.CanInt() {
		return strconv.FormatInt(k.Int(), 10), nil
	}
	return strconv.FormatUint(k.Uint(), 10), nil
}

func encodeSlice(e *encodeState, p *plan, v reflect.Value) error {
	switch {
	case v.IsNil():
		e.buf = append(e.buf, tagNull)
		return nil
	case p.elem.typ.Kind() == reflect.Uint8 && !hooked(p.elem.typ):
		return e.bytes(v.Bytes(), p.typ)
	case p.typ == sliceAnyType:
		return e.sliceAny(v.Interface().([]any))
	}
	if err := e.deeper(); err != nil {
		return err
	}
	slot := -1
	if v.Len() > 0 && p.elem.typ.Size() > 0 {
		done, s, err := e.shared(identityKey{v.UnsafePointer(), v.Len(), p.typ})
		if done || err != nil {
			e.depth++
			return err
		}
		slot = s
	}
	return e.elements(p, v, slot)
}

func encodeArray(e *encodeState, p *plan, v reflect.Value) error {
	if err := e.deeper(); err != nil {
		return err
	}
	return e.elements(p, v, -1)
}

func (e *encodeState) elements(p *plan, v reflect.Value, slot int) error {
	n := v.Len()
	if err := e.array(n); err != nil {
		return err
	}
	for i := range n {
		if err := p.elem.encode(e, p.elem, v.Index(i)); err != nil {
			return inElement(err, i)
		}
	}
	e.arrayEnd(n, slot)
	return nil
}
