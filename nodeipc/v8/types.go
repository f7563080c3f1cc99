package v8

import (
	"fmt"
	"iter"
	"math"
	"math/big"
	"reflect"
	"slices"
	"time"
	"unsafe"
)

// Undefined is JavaScript's undefined.
type Undefined struct{}

// MarshalJSON writes null, as JSON.stringify does in an array; it leaves out members.
func (Undefined) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// A Hole is an element that an array does not have, as the second of [1,,3]. Outside of arrays it is written as
// undefined.
type Hole struct{}

// MarshalJSON writes null, as JSON.stringify does.
func (Hole) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// A Date is JavaScript's: milliseconds since 1970 in UTC, a whole number of at most ±8.64e15, or NaN for an invalid
// one.
type Date float64

// DateOf is the Date of t; JavaScript has no more than milliseconds.
func DateOf(t time.Time) Date { return Date(t.UnixMilli()) }

const maxDate = 8.64e15 // ECMAScript, TimeClip

// Valid tells whether d is a time: not NaN, and in range.
func (d Date) Valid() bool { return math.Abs(float64(d)) <= maxDate }

// Time is d as a time in UTC, the zero Time when d is not valid.
func (d Date) Time() time.Time {
	if !d.Valid() {
		return time.Time{}
	}
	return time.UnixMilli(int64(d)).UTC()
}

// String is d as JavaScript's toISOString gives it, or "Invalid Date".
func (d Date) String() string {
	if !d.Valid() {
		return "Invalid Date"
	}
	t := d.Time()
	year := fmt.Sprintf("%04d", t.Year())
	if t.Year() < 0 || t.Year() > 9999 {
		year = fmt.Sprintf("%+07d", t.Year())
	}
	return year + t.Format("-01-02T15:04:05.000Z")
}

// MarshalJSON writes d as JSON.stringify does: the text of String, or null.
func (d Date) MarshalJSON() ([]byte, error) {
	if !d.Valid() {
		return []byte("null"), nil
	}
	return []byte(`"` + d.String() + `"`), nil
}

func clipDate(ms float64) Date {
	if !Date(ms).Valid() {
		return Date(math.NaN())
	}
	return Date(math.Trunc(ms) + 0) // no -0
}

// A RegExp is a regular expression, in JavaScript's syntax. Flags are any of "dgimsuvy", each at most once, not both u
// and v. As a Node that reads a source that does not parse throws, only what is sure to parse is written; that is all
// but some rare or new forms. What is read is not parsed.
type RegExp struct{ Source, Flags string }

// An Error is an Error object. Name is one of Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError,
// URIError: others, and further members, do not survive V8's serializer. As a Go error its text is that of JavaScript.
type Error struct {
	Name    string // "" is Error
	Message string
	Stack   string
	Cause   any // nil for none

	// An empty field counts as there if these say so: a message that is "", a cause that is null.
	HasMessage, HasStack, HasCause bool
}

func (e *Error) Error() string {
	name := e.Name
	if name == "" {
		name = "Error"
	}
	if e.Message == "" {
		return name
	}
	return name + ": " + e.Message
}

// Unwrap is the cause, if that is an error.
func (e *Error) Unwrap() error {
	err, _ := e.Cause.(error)
	return err
}

// Boxed is an object around a primitive, as new Number(1) makes it: a bool, float64, string or *big.Int.
type Boxed struct{ Value any }

// An ArrayBuffer is plain memory.
type ArrayBuffer struct {
	Data          []byte
	Resizable     bool   // made with maxByteLength
	MaxByteLength uint32 // of a resizable one
}

// A ViewType is the type of a View. The numbers are those of Node's serializer.
type ViewType uint8

const (
	Int8Array ViewType = iota
	Uint8Array
	Uint8ClampedArray
	Int16Array
	Uint16Array
	Int32Array
	Uint32Array
	Float32Array
	Float64Array
	DataView
	Buffer // Node's; decoded as []byte
	BigInt64Array
	BigUint64Array
	Float16Array
	viewTypes // how many there are
)

var viewNames = [viewTypes]string{
	"Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array",
	"Float32Array", "Float64Array", "DataView", "Buffer", "BigInt64Array", "BigUint64Array", "Float16Array",
}

var viewSizes = [viewTypes]uint8{1, 1, 1, 2, 2, 4, 4, 4, 8, 1, 1, 8, 8, 2}

// viewTags are the subtags of V8's own views, by ViewType.
const viewTags = "bBCwWdDfF?\x00qQh"

// String is the name of the constructor.
func (t ViewType) String() string {
	if t < viewTypes {
		return viewNames[t]
	}
	return "ViewType(" + decimal(uint32(t)) + ")"
}

// Size is the number of bytes of one element.
func (t ViewType) Size() int {
	if t < viewTypes {
		return int(viewSizes[t])
	}
	return 1
}

// A View is a typed array or DataView: elements in little-endian order. []float64 and the like decode from the typed
// array of their element type; *View is what decodes from any of them. V8's own views of one ArrayBuffer, which Node's
// serializer does not write, are separate Views here.
type View struct {
	Type ViewType
	Data []byte
}

// An Object is an object with its members in order. The zero value is empty.
type Object struct{ members table[string] }

// Len is the number of members.
func (o *Object) Len() int { return o.members.len() }

// Get is the member key, and whether there is one.
func (o *Object) Get(key string) (any, bool) { return o.members.get(key) }

// Set sets the member key, at its old place or at the end. It returns o, so that calls can be chained.
func (o *Object) Set(key string, value any) *Object { o.members.set(key, value); return o }

// Delete removes the member key.
func (o *Object) Delete(key string) { o.members.delete(key) }

// All is the members in order.
func (o *Object) All() iter.Seq2[string, any] { return o.members.all() }

// A Map is JavaScript's Map: any keys, in order. Numbers, strings and other primitives are found by their value,
// whatever their Go type; NaN is one key. Pointers, maps and slices are found by identity. The zero value is empty.
type Map struct{ entries table[any] }

func (m *Map) Len() int                 { return m.entries.len() }
func (m *Map) Get(key any) (any, bool)  { return m.entries.get(key) }
func (m *Map) Set(key, value any) *Map  { m.entries.set(noMinus(key), value); return m }
func (m *Map) Delete(key any)           { m.entries.delete(key) }
func (m *Map) All() iter.Seq2[any, any] { return m.entries.all() }

// A Set is JavaScript's Set; what Map says of keys holds for its values. The zero value is empty.
type Set struct{ entries table[any] }

func (s *Set) Len() int           { return s.entries.len() }
func (s *Set) Has(value any) bool { _, ok := s.entries.get(value); return ok }
func (s *Set) Add(value any) *Set { s.entries.set(noMinus(value), nil); return s }
func (s *Set) Delete(value any)   { s.entries.delete(value) }
func (s *Set) All() iter.Seq[any] {
	return func(yield func(any) bool) {
		for v := range s.entries.all() {
			if !yield(v) {
				return
			}
		}
	}
}

// A Sparse is an array that a slice cannot hold: one with members that are not elements, or whose length is out of
// proportion to what is in it.
type Sparse struct {
	Length   uint32
	Elements []Element // by index, ascending
	Props    *Object   // other members, nil for none
}

// An Element is one that a Sparse has.
type Element struct {
	Index uint32
	Value any
}

// table is an ordered map. An index is built when there are many entries.
type table[K any] struct {
	entries []entry[K]
	index   map[any]int // nil while there are few
}

type entry[K any] struct {
	key   K
	value any
}

const fewEntries = 8

func (t *table[K]) len() int { return len(t.entries) }

func (t *table[K]) find(key K) int {
	want, ok := lookupKey(key)
	if !ok {
		return -1
	}
	if len(t.entries) <= fewEntries {
		for i := range t.entries {
			if k, ok := lookupKey(t.entries[i].key); ok && k == want {
				return i
			}
		}
		return -1
	}
	if t.index == nil {
		t.index = make(map[any]int, len(t.entries))
		for i := range t.entries {
			if k, ok := lookupKey(t.entries[i].key); ok {
				t.index[k] = i
			}
		}
	}
	if i, ok := t.index[want]; ok {
		return i
	}
	return -1
}

func (t *table[K]) get(key K) (any, bool) {
	if i := t.find(key); i >= 0 {
		return t.entries[i].value, true
	}
	return nil, false
}

func (t *table[K]) set(key K, value any) {
	if i := t.find(key); i >= 0 {
		t.entries[i].value = value
		return
	}
	t.add(key, value)
}

// put is set for a key from a payload: Dates are objects there, each a key of its own.
func (t *table[K]) put(key K, value any) {
	if _, date := any(key).(Date); date {
		t.add(key, value)
	} else {
		t.set(key, value)
	}
}

// add appends an entry that is known to be new.
func (t *table[K]) add(key K, value any) {
	if t.entries == nil {
		t.entries = make([]entry[K], 0, 4)
	}
	t.entries = append(t.entries, entry[K]{key, value})
	if t.index != nil {
		if k, ok := lookupKey(key); ok {
			t.index[k] = len(t.entries) - 1
		}
	}
}

func (t *table[K]) delete(key K) {
	if i := t.find(key); i >= 0 {
		t.entries = slices.Delete(t.entries, i, i+1)
		t.index = nil
	}
}

func (t *table[K]) all() iter.Seq2[K, any] {
	return func(yield func(K, any) bool) {
		for i := 0; i < len(t.entries); i++ {
			if !yield(t.entries[i].key, t.entries[i].value) {
				return
			}
		}
	}
}

type (
	nanKey   struct{}
	bigKey   string
	arrayKey struct {
		first unsafe.Pointer
		len   int
		typ   reflect.Type
	}
	mapKey struct {
		at  unsafe.Pointer
		typ reflect.Type
	}
)

// lookupKey is a comparable value that is equal for keys that are the same in JavaScript (SameValueZero). Values
// without identity or equality have none.
func lookupKey(key any) (any, bool) {
	switch k := key.(type) {
	case nil, bool, string, Undefined:
		return key, true
	case float64:
		return floatKey(k), true
	case *big.Int:
		if k == nil {
			return nil, true
		}
		return keyOfBig(k), true
	case big.Int:
		return keyOfBig(&k), true
	}
	v := reflect.ValueOf(key)
	switch v.Kind() {
	case reflect.String:
		return v.String(), true
	case reflect.Bool:
		return v.Bool(), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if f, exact := exactInt(v.Int()); exact {
			return floatKey(f), true
		}
		return v.Int(), true // which cannot be written
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if f, exact := exactUint(v.Uint()); exact {
			return floatKey(f), true
		}
		return v.Uint(), true
	case reflect.Float32:
		return floatKey(v.Float()), true
	case reflect.Slice:
		if v.Len() == 0 {
			return nil, false
		}
		return arrayKey{v.UnsafePointer(), v.Len(), v.Type()}, true
	case reflect.Map:
		return mapKey{v.UnsafePointer(), v.Type()}, true
	case reflect.Pointer:
		return key, true
	}
	if !v.Comparable() {
		return nil, false
	}
	return key, true
}

func keyOfBig(n *big.Int) any {
	sign := "+"
	if n.Sign() < 0 {
		sign = "-"
	}
	return bigKey(sign + string(n.Bytes()))
}

// noMinus makes 0 of -0, as Map and Set do.
func noMinus(key any) any {
	if f, ok := key.(float64); ok && f == 0 {
		return 0.0
	}
	return key
}

func floatKey(f float64) any {
	if f != f {
		return nanKey{}
	}
	return f + 0 // -0 is 0
}
