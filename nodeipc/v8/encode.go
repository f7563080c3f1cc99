package v8

import (
	"cmp"
	"math"
	"reflect"
	"slices"
	"sync"
	"time"
	"unsafe"
)

// Marshal writes v for v8.deserialize of Node 20 or later.
func Marshal(v any) ([]byte, error) { return new(Encoder).Append(nil, v) }

// A Marshaler gives another value to be written in its place.
type Marshaler interface{ MarshalV8() (any, error) }

// An Encoder holds options of encoding. The zero value is ready. Encoding does not change it: it may be used again, and
// from several goroutines.
type Encoder struct {
	Layout Layout
	// Node is the oldest major version of Node that may read what is written, 12 to 26; 0 means 20. What it cannot read
	// is written so that it can, or is an error, because a Node that cannot read a message of its channel dies:
	//
	//   - before 24: a Float16Array is an error
	//   - before 22: an Error whose cause leads back to it is an error
	//   - before 20: a resizable ArrayBuffer is written as a plain one; the flag v of a RegExp is an error
	//   - before 18: its reader counts the references of a payload wrongly once an Error has come. No reference is
	//     written to what comes after the first Error: shared values are written again, a cycle is an error
	//   - before 16: the cause of an Error is left out; BigInt64Array, BigUint64Array and the flag d are errors
	Node int
	// MaxDepth is how many levels a value may have. 0 means 1000: Node's reader has its stack for the levels, and with
	// the default stack the least that one of the versions takes was seen to be 1460 (Node 22, members of arrays).
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
	index      []uint32    // a hash table of the objects, by number from 1, while they are not few; as long as a power of 2
	open       []anyMember // of the maps that are open
}

// identityKey tells values that are one object in JavaScript.
type identityKey struct {
	at  unsafe.Pointer
	n   int // length of a slice
	typ reflect.Type
}

type anyMember struct {
	key   string
	value any
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
	clear(e.open)
	*e = encodeState{objects: again(e.objects), open: again(e.open), index: again(e.index)}
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

// shared looks for an object that was written before. If it can be referred to, that is done. Otherwise the object is
// about to be written, and its identity the one at slot.
func (e *encodeState) shared(k identityKey) (done bool, slot int, err error) {
	slot = e.find(k)
	if slot < 0 {
		return false, e.note(k), nil
	}
	o := &e.objects[slot]
	switch {
	case o.open && k.typ == errorPointer && e.node < 22:
		const msg = "a cause that leads back to its Error, which Node before 22 cannot read (Encoder.Node; Options.Node of a channel)"
		return false, 0, &UnsupportedValueError{Type: k.typ, Msg: msg}
	case e.node >= 18 || o.id < e.firstError:
		e.buf = appendVarint(append(e.buf, tagReference), o.id)
		return true, slot, nil
	case o.open:
		return false, 0, &UnsupportedValueError{Type: k.typ, Msg: "a cycle behind an Error, which Node before 18 cannot read (Encoder.Node; Options.Node of a channel)"}
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
	for at := k.hash(); ; at++ {
		switch i := e.index[at&(len(e.index)-1)]; {
		case i == 0:
			return -1
		case e.objects[i-1].identityKey == k:
			return int(i - 1)
		}
	}
}

// note appends an object that was not found, and returns its slot.
func (e *encodeState) note(k identityKey) int {
	e.objects = append(e.objects, identity{k, e.next, true})
	n := len(e.objects)
	switch {
	case n <= fewObjects:
	case 2*n > len(e.index): // also the first time
		size := max(2*len(e.index), 8*fewObjects)
		e.index = slices.Grow(e.index[:0], size)[:size]
		clear(e.index)
		for i := range e.objects {
			e.enter(i)
		}
	default:
		e.enter(n - 1)
	}
	return n - 1
}

func (e *encodeState) enter(slot int) {
	at := e.objects[slot].hash()
	for e.index[at&(len(e.index)-1)] != 0 {
		at++
	}
	e.index[at&(len(e.index)-1)] = uint32(slot + 1)
}

// hash spreads addresses, which are multiples of 8 and more. Objects do not move, and whoever calls cannot choose where
// they are.
func (k identityKey) hash() int {
	h := uint64(uintptr(k.at)) * 0x9E3779B97F4A7C15
	return int(h >> 32)
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
	first := len(e.open)
	for k, x := range m {
		e.open = append(e.open, anyMember{k, x})
	}
	members := e.open[first:]
	slices.SortFunc(members, func(a, b anyMember) int { return compareKeys(a.key, b.key) })
	for i := range members {
		k := members[i].key
		if err := e.key(k); err != nil {
			return err
		}
		if err := e.any(members[i].value); err != nil {
			return inMember(err, k)
		}
	}
	clear(members)
	e.open = e.open[:first]
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
			return inElement(err, uint32(i))
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
