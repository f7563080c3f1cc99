package v8

import (
	"cmp"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"sync"
)

// Unmarshal decodes what v8.serialize of Node, or Marshal, wrote into what v points to. What it stores shares nothing
// with data.
func Unmarshal(data []byte, v any) error { return (&Decoder{Copy: true}).Decode(data, v) }

// An Unmarshaler decodes itself. UnmarshalV8 may keep v only if it knows that the payload will not change.
type Unmarshaler interface{ UnmarshalV8(v Value) error }

// A Decoder holds options of decoding. The zero value is ready. Decoding does not change it: it may be used again, and
// from several goroutines.
type Decoder struct {
	Layout Layout
	// MaxDepth is how many levels a value may have, 10000 when it is 0.
	MaxDepth int
	// MaxAlloc is how many bytes one Decode may allocate, counted roughly. When it is 0, the size of the input bounds
	// that: each part of it is decoded once, and again where a reference leads to it and no pointer, map or slice can
	// be shared; what is decoded again may be 16 times the payload and 1 MiB.
	MaxAlloc int64
	// Copy makes Buffers, ArrayBuffers and views copies. Without it they are parts of the payload: it must not change
	// as long as they are in use, and stays in memory.
	Copy bool
	// Ordered makes objects that are decoded into an any *Object, in the order of the payload; without it they are
	// map[string]any.
	Ordered bool
}

// Decode decodes a payload into what v points to.
func (d *Decoder) Decode(data []byte, v any) error {
	value, err := parse(data, d.Layout, d.depth())
	if err != nil {
		return err
	}
	return d.decode(value, v)
}

func (d *Decoder) depth() int {
	if d.MaxDepth > 0 {
		return d.MaxDepth
	}
	return defaultReadDepth
}

// levels is how many levels decoding may go down. It counts some of them twice, and others again where references lead.
func levels(d *Decoder) int { return 2 * d.depth() }

// budget is what one Decode has used, with the calls of Value.Decode from inside it.
type budget struct{ allocated, again int64 }

type decodeState struct {
	walker // does not check: the payload has been
	*Decoder
	doc    *doc
	budget *budget
	own    budget
	seen   map[seenKey]any // what references lead to, once decoded
	names  [256]string     // keys that came lately
	buf    []byte
	whole  Value // what Decode is about
	start  int   // the offset of the value that Decode is about
	jumps  int   // references that are being followed
	alone  bool  // the ArrayBuffer that comes is meant, not a view behind it

	viewRef int    // the offset of the reference before the native view that is decoded
	copied  []byte // the payload, for Values that are kept
}

// seenKey is the offset of an object and the type that it was decoded as, nil for what any makes of it.
type seenKey struct {
	at  int
	typ reflect.Type
}

var decodeStates = sync.Pool{New: func() any { return new(decodeState) }}

func (d *Decoder) decode(v Value, dst any) error {
	target := reflect.ValueOf(dst)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return &InvalidTargetError{reflect.TypeOf(dst)}
	}
	s := decodeStates.Get().(*decodeState)
	defer s.free()
	s.walker, s.Decoder, s.doc, s.whole = v.walker(), d, v.doc, v
	s.walker.depth = levels(d) - int(v.depth)
	if s.budget = v.budget; s.budget == nil {
		s.own = budget{}
		s.budget = &s.own
	}
	if len(v.data) == 0 {
		s.data = []byte{tagUndefined}
	}
	if s.start, s.jumps = -1, 0; v.doc != nil {
		_, w := v.locate()
		s.start = w.pos - 1
	}
	if any, ok := dst.(*any); ok && *any == nil {
		x, err := s.any()
		if err == nil {
			*any = x
		}
		return err
	}
	// What any makes of it is what is wanted: then a reference to the whole leads to the target.
	switch p := dst.(type) {
	case *map[string]any:
		if t, _ := v.locate(); *p == nil && t == tagObject && !d.Ordered {
			x, err := s.any()
			if err == nil {
				*p = x.(map[string]any)
			}
			return err
		}
	}
	if v.doc != nil { // a reference to the whole leads to the target
		s.keep(s.start, target.Type(), dst)
	}
	return s.into(planOf(target.Type().Elem()), target.Elem())
}

func (d *decodeState) free() {
	d.walker, d.Decoder, d.doc, d.whole, d.budget, d.buf = walker{}, nil, nil, Value{}, nil, again(d.buf)
	d.seen, d.alone, d.copied = nil, false, nil
	decodeStates.Put(d)
}

// alloc counts memory.
func (d *decodeState) alloc(n int) error {
	d.budget.allocated += int64(n)
	if d.MaxAlloc > 0 && d.budget.allocated > d.MaxAlloc {
		return &LimitError{ErrTooLarge, "more memory than MaxAlloc", d.pos}
	}
	return nil
}

func (d *decodeState) deeper(at int) error {
	if d.walker.depth <= 0 {
		return &LimitError{ErrDepth, "more levels than allowed", at}
	}
	d.walker.depth--
	return nil
}

// head reads up to the tag of a value, and counts the ids.
func (d *decodeState) head() (byte, int) {
	for {
		t, at, _ := d.tag()
		switch {
		case t == tagVerifyCount:
			d.uint()
			continue
		case t == tagReference:
			return t, at
		case isObject(t):
			d.next++
			if t == tagHost && d.hostKind1() {
				continue
			}
		}
		return t, at
	}
}

func (d *decodeState) uint() uint32 {
	n, _ := d.varint()
	return n
}

// bytes reads a length and that many bytes.
func (d *decodeState) bytes() []byte {
	b, _ := d.counted()
	return b
}

// skip goes behind the value at an offset.
func (d *decodeState) skip(t byte, at int) {
	if isObject(t) {
		d.next--
	}
	d.pos = at
	if t == tagView {
		d.pos++
		d.next++
		d.viewHead()
		return
	}
	d.pass()
}

// pass goes behind the next value. That it is not too deep has been seen when the payload was checked.
func (d *decodeState) pass() {
	left := d.walker.depth
	d.walker.depth = maxData
	d.value()
	d.walker.depth = left
}

// place is where reading goes on after a reference.
type place struct {
	pos  int
	next uint32
	from int
}

// jump goes to the object that a reference leads to.
func (d *decodeState) jump(o object) (byte, int, place) {
	d.jumps++
	back := place{d.pos, d.next, int(o.at)}
	d.pos, d.next = int(o.at)+1, o.id+1
	t := d.data[o.at]
	d.alone = isBuffer(t)
	return t, int(o.at), back
}

func (d *decodeState) back(p place) error {
	d.jumps--
	d.budget.again += int64(d.pos - p.from)
	d.pos, d.next = p.pos, p.next
	if d.budget.again > 16*int64(len(d.data))+1<<20 {
		return &LimitError{ErrTooLarge, "references repeat too much", p.pos}
	}
	return nil
}

// met is what the object at an offset, whose tag was read, has been decoded as already. That is so where a reference
// leads back to what was passed over, or to what is around the value that is decoded.
func (d *decodeState) met(t byte, at int, typ reflect.Type) (any, bool) {
	if d.jumps == 0 || !isObject(t) || isBuffer(t) {
		return nil, false
	}
	x, ok := d.seen[seenKey{at, typ}]
	if ok {
		d.skip(t, at)
	}
	return x, ok
}

func (d *decodeState) wanted(at int) bool {
	return d.doc != nil && (at == d.start || d.doc.referred(at))
}

// keep notes what the object at an offset was decoded as, if that may be needed again.
func (d *decodeState) keep(at int, typ reflect.Type, x any) {
	if !d.wanted(at) {
		return
	}
	if d.seen == nil {
		d.seen = make(map[seenKey]any)
	}
	d.seen[seenKey{at, typ}] = x
}

// any decodes into what an interface holds.
func (d *decodeState) any() (any, error) {
	t, at := d.head()
	if t != tagReference {
		if x, ok := d.met(t, at, nil); ok {
			return x, nil
		}
		return d.anyOf(t, at)
	}
	o := d.doc.ids[d.uint()]
	if d.ends(tagView) {
		d.next++
		return d.anyObject(tagView, d.pos-1)
	}
	if x, ok := d.seen[seenKey{int(o.at), nil}]; ok {
		return x, nil
	}
	t, at, back := d.jump(o)
	x, err := d.anyObject(t, at)
	if err != nil {
		return nil, err
	}
	return x, d.back(back)
}

// anyOf is any for a value whose tag has been read.
func (d *decodeState) anyOf(t byte, at int) (any, error) {
	switch t {
	case tagUndefined:
		return Undefined{}, nil
	case tagNull:
		return nil, nil
	case tagTrue:
		return true, nil
	case tagFalse:
		return false, nil
	case tagInt32, tagUint32, tagDouble:
		f := d.number(t)
		if i := int(f); i >= 0 && i < len(smallNumbers) && math.Float64bits(f) == math.Float64bits(float64(i)) {
			return smallNumbers[i], nil
		}
		return f, d.alloc(8)
	case tagOneByte, tagTwoByte, tagUTF8:
		return d.str(t)
	}
	return d.anyObject(t, at)
}

// smallNumbers are numbers that need not be allocated one by one.
var smallNumbers = func() (list [256]any) {
	for i := range list {
		list[i] = float64(i)
	}
	return list
}()

func (d *decodeState) anyObject(t byte, at int) (x any, err error) {
	if err := d.deeper(at); err != nil {
		return nil, err
	}
	switch t {
	case tagBigInt:
		x, err = d.bigInt(), d.alloc(64)
	case tagObject:
		if d.Ordered {
			x, err = d.ordered(at)
		} else {
			x, err = d.mapAny(at)
		}
	case tagDense, tagSparse:
		x, err = d.array(t, at)
	case tagMap:
		x, err = d.jsMap(at)
	case tagSet:
		x, err = d.jsSet(at)
	case tagDate:
		x = clipDate(d.float())
		d.keep(at, nil, x)
		err = d.alloc(8)
	case tagTrueObject, tagFalseObject, tagNumObject, tagBigObject, tagStrObject:
		b := new(Boxed)
		d.keep(at, nil, b)
		x, err = b, d.boxed(t, b)
	case tagRegExp:
		r := new(RegExp)
		d.keep(at, nil, r)
		x, err = r, d.regExp(r)
	case tagError:
		e := new(Error)
		d.keep(at, nil, e)
		x, err = e, d.jsError(e)
	default:
		x, err = d.anyMemory(t, at)
	}
	d.walker.depth++
	return x, err
}

func (d *decodeState) float() float64 {
	b, _ := d.raw(8)
	return double(b)
}

func (d *decodeState) str(t byte) (string, error) {
	b := d.bytes()
	if err := d.alloc(len(b)); err != nil {
		return "", err
	}
	return text(t, b), nil
}

// strValue reads a value that is a string.
func (d *decodeState) strValue() (string, error) {
	t, _ := d.head()
	return d.str(t)
}

// key reads a key as text, which is valid until the next call.
func (d *decodeState) key() []byte {
	t, at := d.head()
	if t == tagOneByte {
		if b := d.bytes(); ascii(b) {
			return b
		}
	} else {
		d.skip(t, at)
	}
	return keyText(&d.buf, d.data, uint32(at))
}

// name reads a key as a string. Short ones come from the last payloads where they can.
func (d *decodeState) name() (string, error) {
	b := d.key()
	if len(b) == 0 || len(b) > 32 {
		return string(b), d.alloc(len(b))
	}
	slot := &d.names[(b[0]*31^b[len(b)-1]*7^b[len(b)/2])+byte(len(b))*61]
	if *slot == string(b) {
		return *slot, nil
	}
	s := string(b)
	*slot = s
	return s, d.alloc(len(b))
}

func (d *decodeState) bigInt() *big.Int {
	bits := d.uint()
	b, _ := d.raw(bigIntLen(bits))
	words := make([]big.Word, (len(b)+bigWord-1)/bigWord)
	for i, c := range b {
		words[i/bigWord] |= big.Word(c) << (8 * (i % bigWord))
	}
	n := new(big.Int).SetBits(words)
	if bits&1 != 0 {
		n.Neg(n)
	}
	return n
}

const bigWord = strconv.IntSize / 8 // bytes of a big.Word

const mapCost, entryCost = 48, 40

func (d *decodeState) mapAny(at int) (any, error) {
	m := make(map[string]any)
	d.keep(at, nil, m)
	n := mapCost
	for !d.over(tagObjectEnd) {
		key, err := d.name()
		if err != nil {
			return nil, err
		}
		x, err := d.any()
		if err != nil {
			return nil, err
		}
		m[key] = x
		n += entryCost
	}
	d.uint()
	return m, d.alloc(n)
}

func (d *decodeState) ordered(at int) (any, error) {
	o := new(Object)
	d.keep(at, nil, o)
	err := d.membersInto(o, tagObjectEnd)
	d.uint()
	return o, err
}

func (d *decodeState) membersInto(o *Object, end byte) error {
	for !d.over(end) {
		key, err := d.name()
		if err != nil {
			return err
		}
		x, err := d.any()
		if err != nil {
			return err
		}
		o.members.add(key, x)
		if err := d.alloc(entryCost); err != nil {
			return err
		}
	}
	return nil
}

func (d *decodeState) jsMap(at int) (any, error) {
	m := new(Map)
	d.keep(at, nil, m)
	return m, d.mapInto(m)
}

func (d *decodeState) mapInto(m *Map) error {
	for !d.over(tagMapEnd) {
		key, err := d.any()
		if err != nil {
			return err
		}
		x, err := d.any()
		if err != nil {
			return err
		}
		m.entries.put(noMinus(key), x)
		if err := d.alloc(2 * entryCost); err != nil {
			return err
		}
	}
	d.uint()
	return nil
}

func (d *decodeState) jsSet(at int) (any, error) {
	s := new(Set)
	d.keep(at, nil, s)
	return s, d.setInto(s)
}

func (d *decodeState) setInto(s *Set) error {
	for !d.over(tagSetEnd) {
		x, err := d.any()
		if err != nil {
			return err
		}
		s.entries.put(noMinus(x), nil)
		if err := d.alloc(2 * entryCost); err != nil {
			return err
		}
	}
	d.uint()
	return nil
}

func (d *decodeState) boxed(t byte, b *Boxed) (err error) {
	switch t {
	case tagTrueObject:
		b.Value = true
	case tagFalseObject:
		b.Value = false
	case tagNumObject:
		b.Value = d.float()
	case tagBigObject:
		b.Value = d.bigInt()
	case tagStrObject:
		b.Value, err = d.strValue()
	}
	if err != nil {
		return err
	}
	return d.alloc(32)
}

func (d *decodeState) regExp(r *RegExp) (err error) {
	if r.Source, err = d.strValue(); err != nil {
		return err
	}
	r.Flags = flagsOf(d.uint())
	return d.alloc(40)
}

func (d *decodeState) jsError(e *Error) (err error) {
	e.Name = "Error"
	for err == nil {
		field, _ := d.byteVarint()
		switch field {
		case errorMessage:
			e.HasMessage = true
			e.Message, err = d.strValue()
		case errorStack:
			e.HasStack = true
			e.Stack, err = d.strValue()
		case errorCause:
			e.HasCause = true
			e.Cause, err = d.any()
		case errorEnd:
			return d.alloc(96)
		default:
			e.Name = errorNames[field]
		}
	}
	return err
}

// array decodes into []any, or *Sparse where that does not hold it.
func (d *decodeState) array(t byte, at int) (any, error) {
	if odd, ok := d.doc.oddAt(at); ok {
		s := &Sparse{Length: odd.length}
		d.keep(at, nil, s)
		return s, d.sparse(t, s)
	}
	n := int(d.uint())
	if err := d.alloc(16*n + 24); err != nil {
		return nil, err
	}
	list := make([]any, n)
	x := any(list)
	d.keep(at, nil, x)
	if t == tagSparse {
		for i := range list {
			list[i] = Hole{}
		}
		return x, d.elements(t, uint32(n), func(i uint32) (err error) {
			list[i], err = d.any()
			return err
		}, nil)
	}
	for i := range list {
		var err error
		if d.ends(tagHole) {
			list[i] = Hole{}
		} else if list[i], err = d.any(); err != nil {
			return nil, err
		}
	}
	d.arrayEnd(tagDenseEnd)
	return x, nil
}

// arrayEnd reads what follows the last member of an array.
func (d *decodeState) arrayEnd(end byte) {
	d.ends(end)
	d.uint()
	d.uint()
}

// elements calls element before each element of an array of n, in the order of the payload, and member, which may be
// nil, with the key of each other member. They read the value.
func (d *decodeState) elements(t byte, n uint32, element func(i uint32) error, member func(key []byte) error) error {
	end := byte(tagSparseEnd)
	if t == tagDense {
		end = tagDenseEnd
		for i := range n {
			if d.ends(tagHole) {
				continue
			}
			if err := element(i); err != nil {
				return inElement(err, i)
			}
		}
	}
	for !d.over(end) {
		key := d.key()
		if i, ok := arrayIndex(string(key)); ok {
			if err := element(i); err != nil {
				return inElement(err, i)
			}
		} else if member == nil {
			d.pass()
		} else if err := member(key); err != nil {
			return err
		}
	}
	d.uint()
	d.uint()
	return nil
}

func (d *decodeState) sparse(t byte, s *Sparse) error {
	sorted := true
	err := d.elements(t, d.uint(), func(i uint32) error {
		x, err := d.any()
		if n := len(s.Elements); n > 0 && s.Elements[n-1].Index > i {
			sorted = false
		}
		s.Elements = append(s.Elements, Element{i, x})
		return cmp.Or(err, d.alloc(32))
	}, func(key []byte) error {
		name := string(key)
		x, err := d.any()
		if s.Props == nil {
			s.Props = new(Object)
		}
		s.Props.members.add(name, x)
		return cmp.Or(err, d.alloc(entryCost))
	})
	if !sorted {
		slices.SortFunc(s.Elements, func(a, b Element) int { return cmp.Compare(a.Index, b.Index) })
	}
	return err
}

// memory is the bytes of an ArrayBuffer or view.
type memory struct {
	data      []byte
	at        int // of the tag of the object
	view      bool
	typ       ViewType
	resizable bool
	max       uint32
}

// memory reads what follows the tag of an ArrayBuffer or view.
func (d *decodeState) memory(t byte, at int) memory {
	m := memory{at: at}
	switch t {
	case tagHost:
		if d.walker.layout == Channel {
			d.uint()
		}
		m.view, m.typ = true, ViewType(d.uint())
		m.data = d.bytes()
	case tagView:
		m.view = true
		v, _ := d.viewHead()
		m.typ = v.typ
		data, _ := d.bufferAt(d.doc.buffer(at))
		m.data = v.of(data)
	default:
		n := d.uint()
		if t == tagResizable {
			m.resizable, m.max = true, d.uint()
		}
		m.data, _ = d.raw(n)
		if !d.alone && d.ends(tagView) {
			d.next++
			view := d.pos - 1
			v, _ := d.viewHead()
			m = memory{data: v.of(m.data), at: view, view: true, typ: v.typ}
		}
		d.alone = false
	}
	if m.view {
		m.data = m.data[:len(m.data)-len(m.data)%m.typ.Size()]
	}
	m.data = m.data[:len(m.data):len(m.data)]
	return m
}

func (v viewHead) of(buffer []byte) []byte {
	if v.flags&viewTracks != 0 {
		return buffer[v.offset:]
	}
	return buffer[v.offset : v.offset+v.length]
}

// ownBytes makes bytes of the payload those of the receiver.
func (d *decodeState) ownBytes(b []byte) ([]byte, error) {
	if !d.Copy {
		return b, nil
	}
	if err := d.alloc(len(b)); err != nil {
		return nil, err
	}
	return append(make([]byte, 0, len(b)), b...), nil
}

func (d *decodeState) anyMemory(t byte, at int) (any, error) {
	m := d.memory(t, at)
	b, err := d.ownBytes(m.data)
	if err != nil {
		return nil, err
	}
	var x any
	switch {
	case !m.view:
		x = &ArrayBuffer{b, m.resizable, m.max}
	case m.typ == Buffer:
		x = b
	default:
		x = &View{m.typ, b}
	}
	d.keep(m.at, nil, x)
	return x, d.alloc(48)
}
