package v8

import (
	"bytes"
	"cmp"
	"hash/maphash"
	"math"
	"slices"
	"sync"
)

// Layout says how a host object is written, which the bytes do not tell: Buffers, typed arrays and what else Node adds
// to V8's format.
type Layout int

const (
	V8Serialize Layout = iota // v8.serialize and v8.deserialize
	Channel                   // the channel of child_process, serialization 'advanced': one byte more, the kind
)

const (
	maxData          = math.MaxInt32 // offsets fit into 31 bits; Node has no longer frames
	defaultReadDepth = 10000
)

// A walker reads a payload from tag to tag. It follows V8's ValueDeserializer (src/objects/value-serializer.cc) in what
// it takes, as Node 20 and later have it.
type walker struct {
	data    []byte
	pos     int
	next    uint32 // the id of the next object
	version byte
	layout  Layout
	depth   int // levels left
	check   bool
	cut     bool // a varint was longer than it may be
	special bool // there is something that not every reader takes the same way: see Value.Portable

	// Of a walker that checks; the others read what was checked before.
	least int      // levels that were left at the deepest place
	ids   []object // by id
	refs  []uint32 // offsets of objects that are referred to
	views []viewAt
	odd   []oddArray
	keys  []keyAt  // of the objects that are open
	holes []uint32 // of the dense arrays that are open
	text  []byte   // for keys that are not plain
	text2 []byte

	reference func(at int, id uint32) // nil, or is told of references, of a walker that does not check
	visit     func(Token) error       // nil, or is told of all that is read
	named     bool                    // a key comes
}

// object is where an id leads to: the tag of an object, and its own id. Its own id is another one when the id is that
// of a host object that stands for the one inside it.
type object struct{ at, id uint32 }

const pending = math.MaxUint32 // the offset of an object that cannot be referred to yet

// viewAt is a native view, by its tag, and the ArrayBuffer that it is of.
type viewAt struct{ at, buffer uint32 }

// oddArray is an array that a slice does not hold as it is: with members that are not its elements, or elements beyond
// its length, or much longer than what is in it.
type oddArray struct {
	at     uint32
	length uint32 // which the members may have raised
	long   bool   // out of proportion
}

// proportion is how many elements an array may have that are not there, beyond one for each that is.
const proportion = 16

// keyAt is a key of an open object.
type keyAt struct {
	hash uint64
	at   uint32
}

var (
	walkers  = sync.Pool{New: func() any { return new(walker) }}
	hashSeed = maphash.MakeSeed()
)

// free returns w to the pool, with memory that is not out of the ordinary.
func (w *walker) free() {
	*w = walker{ids: again(w.ids), refs: again(w.refs), views: again(w.views), odd: again(w.odd), keys: again(w.keys),
		holes: again(w.holes), text: again(w.text), text2: again(w.text2)}
	walkers.Put(w)
}

func again[T any](s []T) []T {
	if cap(s) > 1<<14 {
		return nil
	}
	return s[:0]
}

// header reads the version.
func (w *walker) header() error {
	if len(w.data) > maxData {
		return &LimitError{ErrTooLarge, "payload of 2 GiB or more", 0}
	}
	if len(w.data) == 0 || w.data[0] != tagVersion {
		return syntaxErr(0, "no version")
	}
	version, end := readVarint(w.data, 1, 4)
	if end == 0 {
		return w.short()
	}
	if version < minVersion || version > maxVersion {
		return syntaxErr(1, "unsupported version "+decimal(version))
	}
	w.version, w.pos = byte(version), end
	return nil
}

func (w *walker) short() error { return syntaxErr(len(w.data), "unexpected end") }

// tag reads a tag, and returns where it is.
func (w *walker) tag() (byte, int, error) {
	for w.pos < len(w.data) {
		t := w.data[w.pos]
		w.pos++
		if t != tagPadding {
			return t, w.pos - 1, nil
		}
	}
	return 0, 0, w.short()
}

// ends reads the next tag if it is end.
func (w *walker) ends(end byte) bool {
	for i := w.pos; i < len(w.data); i++ {
		if t := w.data[i]; t != tagPadding {
			if t == end {
				w.pos = i + 1
			}
			return t == end
		}
	}
	return false
}

// over is ends for a loop over what has been checked, which must not run on if something went wrong.
func (w *walker) over(end byte) bool { return w.ends(end) || w.pos >= len(w.data) }

func (w *walker) varint() (uint32, error) {
	if w.pos < len(w.data) && w.data[w.pos] < 0x80 {
		w.pos++
		return uint32(w.data[w.pos-1]), nil
	}
	n, end := readVarint(w.data, w.pos, 4)
	if end == 0 {
		return 0, w.short()
	}
	w.cut = w.cut || w.data[end-1] >= 0x80
	w.pos = end
	return n, nil
}

// byteVarint reads a varint of one byte, which may be written as two.
func (w *walker) byteVarint() (byte, error) {
	n, end := readVarint(w.data, w.pos, 1)
	if end == 0 {
		return 0, w.short()
	}
	w.cut = w.cut || w.data[end-1] >= 0x80
	w.pos = end
	return byte(n), nil
}

// raw reads n bytes.
func (w *walker) raw(n uint32) ([]byte, error) {
	if uint64(n) > uint64(len(w.data)-w.pos) {
		return nil, syntaxErr(w.pos, "length "+decimal(n)+" of more than there is")
	}
	b := w.data[w.pos : w.pos+int(n) : w.pos+int(n)]
	w.pos += int(n)
	return b, nil
}

// counted reads a length and that many bytes.
func (w *walker) counted() ([]byte, error) {
	n, err := w.varint()
	if err != nil {
		return nil, err
	}
	return w.raw(n)
}

// object gives the object at an offset its id.
func (w *walker) object(at int) object {
	o := object{uint32(at), w.next}
	w.next++
	if w.check {
		w.ids = append(w.ids, o)
	}
	return o
}

// value reads one value, and returns where it is; of a reference the object that it leads to, if w checks.
func (w *walker) value() (object, error) {
	if w.depth == 0 {
		return object{}, &LimitError{ErrDepth, "more levels than allowed", w.pos}
	}
	w.depth--
	w.least = min(w.least, w.depth)
	o, err := w.bare()
	if err == nil {
		switch w.data[o.at] { // a native view consumes the ArrayBuffer before it, or the reference to one
		case tagReference:
			if w.check {
				break
			}
			fallthrough
		case tagBuffer, tagResizable, tagImmutable:
			if w.ends(tagView) {
				o, err = w.view(o)
			}
		}
	}
	w.depth++
	return o, err
}

// bare is value without the view behind it.
func (w *walker) bare() (object, error) {
	t, at, err := w.tag()
	if err != nil {
		return object{}, err
	}
	o := object{at: uint32(at)}
	switch t {
	case tagUndefined, tagNull, tagTrue, tagFalse:
	case tagInt32, tagUint32:
		_, err = w.varint()
	case tagDouble:
		_, err = w.raw(8)
	case tagOneByte, tagUTF8:
		_, err = w.counted()
	case tagTwoByte:
		var b []byte
		if b, err = w.counted(); err == nil && len(b)%2 != 0 {
			err = syntaxErr(at, "two-byte string of odd length")
		}
	case tagBigInt:
		err = w.bigint(at)
	case tagVerifyCount:
		var n uint32
		if n, err = w.varint(); err == nil {
			err = w.token(PartCount, at, -1, n, "")
		}
		if err == nil {
			o, err = w.value()
		}
		return o, err
	case tagReference:
		var id uint32
		if id, err = w.varint(); err != nil {
			break
		}
		if err = w.token(PartReference, at, int(id), 0, ""); err != nil {
			break
		}
		if !w.check {
			if w.reference != nil {
				w.reference(at, id)
			}
			break
		}
		if uint64(id) >= uint64(len(w.ids)) || w.ids[id].at == pending {
			return o, syntaxErr(at, "reference to object "+decimal(id)+", which is not there")
		}
		o = w.ids[id]
		w.refs = append(w.refs, o.at)
		return o, nil
	case tagHost:
		return w.host(at)
	case tagObject:
		if o, err = w.opens(at, 0); err == nil {
			err = w.members(tagObjectEnd, nil)
		}
		return o, err
	case tagDense:
		return w.dense(at)
	case tagSparse:
		return w.sparse(at)
	case tagMap:
		if o, err = w.opens(at, 0); err == nil {
			err = w.entries(tagMapEnd)
		}
		return o, err
	case tagSet:
		if o, err = w.opens(at, 0); err == nil {
			err = w.entries(tagSetEnd)
		}
		return o, err
	case tagDate, tagNumObject:
		o = w.object(at)
		_, err = w.raw(8)
	case tagTrueObject, tagFalseObject:
		o = w.object(at)
	case tagBigObject:
		o = w.object(at)
		err = w.bigint(at)
	case tagStrObject:
		if o, err = w.opens(at, 0); err == nil {
			err = w.str()
		}
		return o, err
	case tagRegExp:
		w.special = true // for its flags
		if o, err = w.opens(at, 0); err == nil {
			err = w.regexp(at)
		}
		return o, err
	case tagBuffer, tagImmutable:
		w.special = w.special || t == tagImmutable
		o = w.object(at)
		_, err = w.counted()
	case tagResizable:
		w.special = true
		o = w.object(at)
		err = w.resizable(at)
	case tagError:
		w.special = true
		if o, err = w.opens(at, 0); err == nil {
			err = w.error()
		}
		return o, err
	default:
		err = syntaxErr(at, "unknown tag "+quoteTag(t))
	}
	if err == nil && w.visit != nil {
		id := -1
		if isObject(t) {
			id = int(o.id)
		}
		err = w.token(PartValue, at, id, 0, "")
	}
	return o, err
}

// opens starts an object with values inside it; n is its length, if it is an array.
func (w *walker) opens(at int, n uint32) (object, error) {
	o := w.object(at)
	if w.visit != nil {
		return o, w.token(PartBegin, at, int(o.id), n, "")
	}
	return o, nil
}

func (w *walker) bigint(at int) error {
	bits, err := w.varint()
	if err == nil && bits == 1 {
		return syntaxErr(at, "BigInt -0")
	}
	if err == nil {
		_, err = w.raw(bigIntLen(bits))
	}
	return err
}

// bigIntLen is the number of bytes of a BigInt: 30 bits above the sign.
func bigIntLen(bits uint32) uint32 { return bits >> 1 & (1<<30 - 1) }

// str reads a value that must be a string.
func (w *walker) str() error {
	o, err := w.value()
	if err == nil && !isString(w.data[o.at]) {
		err = syntaxErr(int(o.at), "not a string")
	}
	return err
}

func (w *walker) regexp(at int) error {
	if err := w.str(); err != nil {
		return err
	}
	end := w.pos
	flags, err := w.varint()
	if err == nil && !validFlags(flags) {
		return syntaxErr(at, "regular expression with flags that JavaScript does not have")
	}
	if err == nil && w.visit != nil {
		err = w.token(PartFlags, end, -1, flags, flagsOf(flags))
	}
	return err
}

func (w *walker) resizable(at int) error {
	n, err := w.varint()
	if err != nil {
		return err
	}
	most, err := w.varint()
	if err != nil {
		return err
	}
	if n > most {
		return syntaxErr(at, "ArrayBuffer longer than its maximum")
	}
	_, err = w.raw(n)
	return err
}

// error reads the fields of an Error in any order, as Node 16 to 20 do; later ones insist on theirs.
func (w *walker) error() error {
	for {
		at := w.pos
		field, err := w.byteVarint()
		if err != nil {
			return err
		}
		note := errorNames[field]
		switch field {
		case errorMessage:
			note = "message"
		case errorStack:
			note = "stack"
		case errorCause:
			note = "cause"
		}
		if note == "" && field != errorEnd {
			return syntaxErr(at, "unknown field "+quoteTag(field)+" of an Error")
		}
		part := PartField
		if field == errorEnd {
			part = PartEnd
		}
		if err := w.token(part, at, -1, 0, note); err != nil || field == errorEnd {
			return err
		}
		switch field {
		case errorMessage, errorStack:
			err = w.str()
		case errorCause:
			_, err = w.value()
		}
		if err != nil {
			return err
		}
	}
}

// host reads a host object: a view, or on the channel one that stands for the object inside it.
func (w *walker) host(at int) (object, error) {
	o := w.object(at)
	if w.layout == Channel {
		kind, err := w.varint()
		switch {
		case err != nil:
			return o, err
		case kind > 1:
			return o, syntaxErr(at, "host object of unknown kind "+decimal(kind))
		case kind == 1:
			w.special = true // a reader's stack has room for few of them
			if w.check {
				w.ids[o.id].at = pending
			}
			if err := w.token(PartHost, at, int(o.id), 0, ""); err != nil {
				return o, err
			}
			inner, err := w.value()
			if err == nil && w.check {
				if !isObject(w.data[inner.at]) {
					return o, syntaxErr(int(inner.at), "host object that is none")
				}
				w.ids[o.id] = inner
			}
			return inner, err
		}
	}
	typ, err := w.varint()
	if err != nil {
		return o, err
	}
	if typ > uint32(Buffer) {
		w.special = true
	}
	if typ >= uint32(viewTypes) {
		return o, syntaxErr(at, "view of unknown type "+decimal(typ))
	}
	if _, err = w.counted(); err == nil && w.visit != nil {
		err = w.token(PartValue, at, int(o.id), 0, ViewType(typ).String())
	}
	return o, err
}

// hostKind1 goes behind the kind of a host object if that is 1.
func (w *walker) hostKind1() bool {
	if w.layout != Channel {
		return false
	}
	kind, end := readVarint(w.data, w.pos, 4)
	if kind == 1 {
		w.pos = end
	}
	return kind == 1
}

// view reads a native view of the ArrayBuffer at buffer, behind its tag.
func (w *walker) view(buffer object) (object, error) {
	at := w.pos - 1
	o := w.object(at)
	v, err := w.viewHead()
	if err != nil || !w.check {
		return o, err
	}
	data, resizable := w.bufferAt(int(buffer.at))
	size := uint32(v.typ.Size())
	if v.flags&viewResizable != 0 != resizable || v.flags&viewTracks != 0 && !resizable ||
		uint64(v.offset)+uint64(v.length) > uint64(len(data)) || v.offset%size != 0 || v.length%size != 0 {
		return o, syntaxErr(at, "view that does not fit its ArrayBuffer")
	}
	w.views = append(w.views, viewAt{uint32(at), buffer.at})
	if w.visit != nil {
		err = w.token(PartView, at, int(o.id), v.length, v.typ.String())
	}
	return o, err
}

const (
	viewTracks    = 1 // its length follows the ArrayBuffer
	viewResizable = 2 // the ArrayBuffer is resizable
)

type viewHead struct {
	typ            ViewType
	offset, length uint32
	flags          uint32
}

// viewHead reads what follows the tag of a native view.
func (w *walker) viewHead() (v viewHead, err error) {
	at := w.pos
	tag, err := w.byteVarint()
	if err != nil {
		return v, err
	}
	typ := bytes.IndexByte([]byte(viewTags), tag)
	if typ < 0 || tag == 0 {
		return v, syntaxErr(at, "view of unknown type "+quoteTag(tag))
	}
	offset, err := w.varint()
	if err != nil {
		return v, err
	}
	length, err := w.varint()
	if err == nil && w.version >= 14 {
		v.flags, err = w.varint()
	}
	v.typ, v.offset, v.length = ViewType(typ), offset, length
	return v, err
}

// bufferAt is the bytes of the ArrayBuffer at an offset, and whether it is resizable.
func (w *walker) bufferAt(at int) (data []byte, resizable bool) {
	r := walker{data: w.data, pos: at + 1}
	n, _ := r.varint()
	if w.data[at] == tagResizable {
		r.varint()
		resizable = true
	}
	data, _ = r.raw(n)
	return data, resizable
}

// entries reads the entries of a Map or Set.
func (w *walker) entries(end byte) error {
	n := uint32(0)
	for ; !w.ends(end); n++ {
		w.named = end == tagMapEnd && n%2 == 0
		if _, err := w.value(); err != nil {
			return err
		}
	}
	w.special = w.special || n > maxMembers
	at := w.pos
	count, err := w.varint()
	if err == nil && (count != n || end == tagMapEnd && n%2 != 0) {
		err = syntaxErr(at, "wrong number of entries")
	}
	if err == nil {
		err = w.token(PartEnd, at-1, -1, n, "")
	}
	return err
}

func (w *walker) sparse(at int) (object, error) {
	n, err := w.varint()
	if err != nil {
		return object{}, err
	}
	o, err := w.opens(at, n)
	if err != nil {
		return o, err
	}
	return o, w.arrayMembers(at, tagSparseEnd, &openArray{length: n, grown: n})
}

func (w *walker) dense(at int) (object, error) {
	n, err := w.varint()
	if err != nil {
		return object{}, err
	}
	if uint64(n) > uint64(len(w.data)-w.pos) {
		return object{}, syntaxErr(at, "length "+decimal(n)+" of more than there is")
	}
	o, err := w.opens(at, n)
	if err != nil {
		return o, err
	}
	w.special = w.special || n > maxElements
	holes := len(w.holes)
	for i := range n {
		if w.ends(tagHole) {
			if w.check {
				w.holes = append(w.holes, i)
			}
			if w.visit != nil {
				w.depth--
				err := w.token(PartHole, w.pos-1, -1, 0, "")
				w.depth++
				if err != nil {
					return o, err
				}
			}
		} else if _, err := w.value(); err != nil {
			return o, err
		}
	}
	a := openArray{length: n, grown: n, dense: true}
	if w.check {
		a.holes = w.holes[holes:]
	}
	err = w.arrayMembers(at, tagDenseEnd, &a)
	if w.check {
		w.holes = w.holes[:holes]
	}
	return o, err
}

// openArray is an array whose members are being read.
type openArray struct {
	length  uint32
	grown   uint32 // the length that it has then
	dense   bool
	members uint32
	holes   []uint32
	odd     bool
}

// arrayMembers reads the members of an array that are not the elements of a dense one, and the length again.
func (w *walker) arrayMembers(at int, end byte, a *openArray) error {
	if err := w.members(end, a); err != nil {
		return err
	}
	own := uint64(a.members) // not what is inside of these
	if a.dense {
		own += uint64(a.length)
	}
	if long := uint64(a.grown) > own+proportion; w.check && (a.odd || long) {
		w.odd = append(w.odd, oddArray{uint32(at), a.grown, long})
	}
	return nil
}

// members reads members up to the tag end, and their number. No two may have the same key.
func (w *walker) members(end byte, a *openArray) error {
	n, first := uint32(0), len(w.keys)
	for ; !w.ends(end); n++ {
		w.named = true
		o, err := w.value()
		if err == nil && w.check {
			err = w.key(o.at, first, a)
		}
		if err == nil {
			_, err = w.value()
		}
		if err != nil {
			return err
		}
	}
	if w.check {
		if err := w.unique(w.keys[first:]); err != nil {
			return err
		}
		w.keys = w.keys[:first]
	}
	w.special = w.special || n > maxMembers
	at := w.pos
	count, err := w.varint()
	if err == nil && count != n {
		err = syntaxErr(at, "wrong number of members")
	}
	if err == nil && a != nil {
		a.members = n
		var again uint32
		if again, err = w.varint(); err == nil && again != a.length {
			err = syntaxErr(at, "array with two lengths")
		}
	}
	if err == nil {
		err = w.token(PartEnd, at-1, -1, n, "")
	}
	return err
}

// fewKeys is up to how many keys are compared as they come; more are sorted at the end.
const fewKeys = 16

// key checks the key at an offset, of an object whose keys begin at w.keys[first]; a is nil when it is not an array.
func (w *walker) key(at uint32, first int, a *openArray) error {
	if t := w.data[at]; !isString(t) && !isNumber(t) {
		return syntaxErr(int(at), "key that is neither string nor number")
	}
	text := keyText(&w.text, w.data, at)
	if a != nil && a.key(text) {
		return duplicate(at)
	}
	k := keyAt{shape(text), at}
	if keys := w.keys[first:]; len(keys) < fewKeys {
		for _, other := range keys {
			if w.same(other, k) {
				return duplicate(at)
			}
		}
	}
	w.keys = append(w.keys, k)
	return nil
}

// key notes a key, and tells whether the array has it already, by nature or as an element.
func (a *openArray) key(text []byte) (has bool) {
	i, ok := arrayIndex(string(text))
	if !ok {
		a.odd = true
		return string(text) == "length"
	}
	if a.dense && i < a.length {
		_, hole := slices.BinarySearch(a.holes, i)
		has = !hole
	}
	a.odd = a.odd || a.dense || i >= a.length
	a.grown = max(a.grown, i+1)
	return has
}

// shape is a hash for few keys, of which it tells most apart at no cost.
func shape(text []byte) uint64 {
	n := len(text)
	if n == 0 {
		return 0
	}
	return uint64(n)<<24 | uint64(text[0])<<16 | uint64(text[n/2])<<8 | uint64(text[n-1])
}

// unique sorts many keys of one object to find equal ones.
func (w *walker) unique(keys []keyAt) error {
	if len(keys) <= fewKeys {
		return nil
	}
	for i := range keys { // a peer cannot choose keys that have this one in common
		keys[i].hash = maphash.Bytes(hashSeed, keyText(&w.text, w.data, keys[i].at))
	}
	slices.SortFunc(keys, func(a, b keyAt) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.at, b.at)) })
	for i, k := range keys[1:] {
		if w.same(keys[i], k) {
			return duplicate(k.at)
		}
	}
	return nil
}

func (w *walker) same(a, b keyAt) bool {
	return a.hash == b.hash && bytes.Equal(keyText(&w.text, w.data, a.at), keyText(&w.text2, w.data, b.at))
}

func duplicate(at uint32) error { return syntaxErr(int(at), "member that is there already") }

func isString(t byte) bool { return t == tagOneByte || t == tagTwoByte || t == tagUTF8 }

func isNumber(t byte) bool { return t == tagInt32 || t == tagUint32 || t == tagDouble }

func isObject(t byte) bool {
	switch t {
	case tagUndefined, tagNull, tagTrue, tagFalse, tagBigInt:
		return false
	}
	return !isString(t) && !isNumber(t)
}

func validFlags(bits uint32) bool {
	const both = 16 | 256 // u and v
	return bits&^regExpKnown == 0 && bits&both != both
}

// keyText is the key at an offset as text: a part of data, or in *buf.
func keyText(buf *[]byte, data []byte, at uint32) []byte {
	r := walker{data: data, pos: int(at) + 1}
	b := (*buf)[:0]
	switch t := data[at]; t {
	case tagOneByte:
		s, _ := r.counted()
		if ascii(s) {
			return s
		}
		b = appendLatin1(b, s)
	case tagTwoByte:
		s, _ := r.counted()
		b = appendUTF16(b, s)
	case tagUTF8:
		s, _ := r.counted()
		b = appendUTF8(b, s)
	default:
		b = appendNumber(b, r.number(t))
	}
	*buf = b
	return b
}

// number reads what follows the tag of a number.
func (w *walker) number(t byte) float64 {
	if t == tagDouble {
		b, _ := w.raw(8)
		return double(b)
	}
	n, _ := w.varint()
	if t == tagInt32 {
		return float64(zigzag(n))
	}
	return float64(n)
}

// doc is what the values of a payload share, if it has references or odd arrays.
type doc struct {
	ids   []object
	refs  []uint32 // offsets of the objects that references lead to, ascending
	views []viewAt // ascending, as the odd arrays are
	odd   []oddArray
}

// referred tells whether a reference leads to the object at an offset.
func (d *doc) referred(at int) bool {
	_, ok := slices.BinarySearch(d.refs, uint32(at))
	return ok
}

// buffer is the offset of the ArrayBuffer of the native view at an offset.
func (d *doc) buffer(at int) int {
	i, _ := slices.BinarySearchFunc(d.views, uint32(at), func(v viewAt, at uint32) int { return cmp.Compare(v.at, at) })
	return int(d.views[i].buffer)
}

// oddAt is the odd array at an offset, if it is one. d may be nil.
func (d *doc) oddAt(at int) (oddArray, bool) {
	if d == nil {
		return oddArray{}, false
	}
	i, ok := slices.BinarySearchFunc(d.odd, uint32(at), func(a oddArray, at uint32) int { return cmp.Compare(a.at, at) })
	if !ok {
		return oddArray{}, false
	}
	return d.odd[i], true
}

// parse walks over a whole payload.
func parse(data []byte, l Layout, depth int) (Value, error) {
	w := walkers.Get().(*walker)
	defer w.free()
	w.data, w.layout, w.depth, w.least, w.check = data, l, depth, depth, true
	if err := w.header(); err != nil {
		return Value{}, err
	}
	v := Value{data: data, at: w.pos, version: w.version, layout: l}
	if _, err := w.value(); err != nil {
		return Value{}, err
	}
	v.end, v.cut, v.levels, v.portable = w.pos, w.cut, int32(depth-w.least), !w.special && !w.cut && len(w.views) == 0
	if len(w.refs) > 0 || len(w.odd) > 0 {
		v.doc = w.doc()
	}
	return v, nil
}

func (w *walker) doc() *doc {
	d := &doc{odd: slices.Clone(w.odd)}
	slices.SortFunc(d.odd, func(a, b oddArray) int { return cmp.Compare(a.at, b.at) })
	if len(w.refs) > 0 {
		slices.Sort(w.refs)
		d.refs = slices.Clone(slices.Compact(w.refs))
		d.ids = slices.Clone(w.ids)
		d.views = slices.Clone(w.views)
		slices.SortFunc(d.views, func(a, b viewAt) int { return cmp.Compare(a.at, b.at) })
	}
	return d
}
