package jsjson

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"
)

// encoder appends a value of the type that it was made for.
type encoder func(e *state, v reflect.Value) error

var encoders sync.Map // reflect.Type to encoder

// encoderOf returns the encoder of a type. One that a type needs for itself, being recursive, waits until the first is
// made.
func encoderOf(t reflect.Type) encoder {
	if f, ok := encoders.Load(t); ok {
		return f.(encoder)
	}
	var (
		made sync.WaitGroup
		enc  encoder
	)
	made.Add(1)
	later, loaded := encoders.LoadOrStore(t, encoder(func(e *state, v reflect.Value) error {
		made.Wait()
		return enc(e, v)
	}))
	if loaded {
		return later.(encoder)
	}
	enc = newEncoder(t, true, false)
	made.Done()
	encoders.Store(t, enc)
	return enc
}

// newEncoder makes the encoder of t. addressable says that values may be, so that methods of *t count; quoted is the
// string option of a field's tag.
func newEncoder(t reflect.Type, addressable, quoted bool) encoder {
	switch t {
	case timeType:
		return encodeTime
	case timePointerType: // has time's MarshalJSON too
		return newPointerEncoder(encodeTime)
	case rawType:
		return encodeRaw
	case mapAnyType:
		return encodeMapAny
	}
	if t.Kind() == reflect.Interface {
		return encodeInterface // what it holds decides
	}
	// A method of the value's own type is called anyway; one of a pointer to it only where there is a pointer.
	pointer := addressable && t.Kind() != reflect.Pointer
	if pointer && reflect.PointerTo(t).Implements(marshalerType) && !t.Implements(marshalerType) {
		return ifAddressable(encodeAddrMarshaler, newEncoder(t, false, quoted))
	}
	if t.Implements(marshalerType) {
		return encodeMarshaler
	}
	if pointer && reflect.PointerTo(t).Implements(textMarshalerType) && !t.Implements(textMarshalerType) {
		return ifAddressable(encodeAddrText, newEncoder(t, false, quoted))
	}
	if t.Implements(textMarshalerType) {
		return encodeText
	}
	switch t.Kind() {
	case reflect.Bool:
		return quote(encodeBool, quoted)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return quote(encodeInt, quoted)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return quote(encodeUint, quoted)
	case reflect.Float32:
		return encodeFloat(32, quoted)
	case reflect.Float64:
		return encodeFloat(64, quoted)
	case reflect.String:
		if t == numberType {
			return quote(encodeNumber, quoted)
		}
		if quoted {
			return encodeQuotedString
		}
		return encodeString
	case reflect.Struct:
		return newStructEncoder(t)
	case reflect.Map:
		return newMapEncoder(t)
	case reflect.Slice:
		if isBytes(t) {
			return encodeBytes
		}
		return newSliceEncoder(t)
	case reflect.Array:
		return newArrayEncoder(t)
	case reflect.Pointer:
		if quoted {
			return newPointerEncoder(newEncoder(t.Elem(), true, true))
		}
		return newPointerEncoder(encoderOf(t.Elem()))
	}
	return encodeUnsupported
}

// isBytes reports whether t is a slice of bytes that has the form of a Buffer. Bytes with a form of their own make it
// an ordinary slice.
func isBytes(t reflect.Type) bool {
	if t.Kind() != reflect.Slice || t.Elem().Kind() != reflect.Uint8 {
		return false
	}
	p := reflect.PointerTo(t.Elem())
	return !p.Implements(marshalerType) && !p.Implements(textMarshalerType)
}

func ifAddressable(addr, other encoder) encoder {
	return func(e *state, v reflect.Value) error {
		if v.CanAddr() {
			return addr(e, v)
		}
		return other(e, v)
	}
}

// quote puts a number or a bool into a string.
func quote(enc encoder, quoted bool) encoder {
	if !quoted {
		return enc
	}
	return func(e *state, v reflect.Value) error {
		e.dst = append(e.dst, '"')
		err := enc(e, v)
		e.dst = append(e.dst, '"')
		return err
	}
}

func (e *state) null() error {
	e.dst = append(e.dst, "null"...)
	return nil
}

func encodeUnsupported(_ *state, v reflect.Value) error {
	return &json.UnsupportedTypeError{Type: v.Type()}
}

func appendBool(dst []byte, b bool) []byte { return strconv.AppendBool(dst, b) }

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

func encodeBool(e *state, v reflect.Value) error {
	e.dst = appendBool(e.dst, v.Bool())
	return nil
}

func encodeInt(e *state, v reflect.Value) error {
	e.dst = appendInt(e.dst, v.Int())
	return nil
}

func encodeUint(e *state, v reflect.Value) error {
	e.dst = strconv.AppendUint(e.dst, v.Uint(), 10)
	return nil
}

func encodeFloat(bits int, quoted bool) encoder {
	return func(e *state, v reflect.Value) error {
		f := v.Float()
		if !quoted || f-f != 0 { // null is not put into a string: it is no number to read back
			e.dst = appendFloat(e.dst, f, bits)
			return nil
		}
		e.dst = append(e.dst, '"')
		e.dst = appendFloat(e.dst, f, bits)
		e.dst = append(e.dst, '"')
		return nil
	}
}

func encodeString(e *state, v reflect.Value) error {
	e.dst = AppendString(e.dst, v.String())
	return nil
}

func encodeQuotedString(e *state, v reflect.Value) error {
	e.dst = AppendString(e.dst, string(AppendString(nil, v.String())))
	return nil
}

func encodeNumber(e *state, v reflect.Value) error {
	s := v.String()
	if s == "" {
		s = "0" // as encoding/json has it
	}
	if !isNumber([]byte(s)) {
		return &json.UnsupportedValueError{Value: v, Str: "invalid number literal " + strconv.Quote(s)}
	}
	e.dst = append(e.dst, s...)
	return nil
}

func encodeTime(e *state, v reflect.Value) error {
	if v.CanAddr() {
		e.dst = appendTime(e.dst, *v.Addr().Interface().(*time.Time)) // no copy on the heap
		return nil
	}
	e.dst = appendTime(e.dst, v.Interface().(time.Time))
	return nil
}

func encodeRaw(e *state, v reflect.Value) (err error) {
	e.dst, _, err = appendRaw(e.dst, v.Bytes())
	return err
}

func encodeMapAny(e *state, v reflect.Value) error { return e.mapAny(v.Interface().(map[string]any)) }

func encodeBytes(e *state, v reflect.Value) error {
	e.dst = appendBuffer(e.dst, v.Bytes())
	return nil
}

func encodeMarshaler(e *state, v reflect.Value) error {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return e.null()
	}
	return e.marshaler(v.Interface().(json.Marshaler), v)
}

func encodeAddrMarshaler(e *state, v reflect.Value) error {
	return e.marshaler(v.Addr().Interface().(json.Marshaler), v)
}

func (e *state) marshaler(m json.Marshaler, v reflect.Value) error {
	text, err := m.MarshalJSON()
	if err == nil {
		e.dst, _, err = Compact(e.dst, text)
	}
	if err != nil {
		return &json.MarshalerError{Type: v.Type(), Err: err}
	}
	return nil
}

func encodeText(e *state, v reflect.Value) error {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return e.null()
	}
	return e.textMarshaler(v.Interface().(encoding.TextMarshaler), v)
}

func encodeAddrText(e *state, v reflect.Value) error {
	return e.textMarshaler(v.Addr().Interface().(encoding.TextMarshaler), v)
}

func (e *state) textMarshaler(m encoding.TextMarshaler, v reflect.Value) error {
	text, err := m.MarshalText()
	if err != nil {
		return &json.MarshalerError{Type: v.Type(), Err: fmt.Errorf("MarshalText: %w", err)}
	}
	e.dst = AppendString(e.dst, string(text))
	return nil
}

func encodeInterface(e *state, v reflect.Value) error {
	if v.IsNil() {
		return e.null()
	}
	// Structs in interfaces can nest without a pointer that could be remembered.
	if e.depth++; e.depth > maxDepth {
		return errDeep(v)
	}
	var err error
	if v.NumMethod() == 0 {
		err = e.value(v.Interface())
	} else {
		v = v.Elem()
		err = encoderOf(v.Type())(e, v)
	}
	e.depth--
	return err
}

func newPointerEncoder(elem encoder) encoder {
	return func(e *state, v reflect.Value) error {
		if v.IsNil() {
			return e.null()
		}
		if err := e.enter(v); err != nil {
			return err
		}
		if err := elem(e, v.Elem()); err != nil {
			return err
		}
		e.leave(v)
		return nil
	}
}

func newArrayEncoder(t reflect.Type) encoder {
	elem := encoderOf(t.Elem())
	return func(e *state, v reflect.Value) error { return e.list(v, elem) }
}

func newSliceEncoder(t reflect.Type) encoder {
	elem := encoderOf(t.Elem())
	return func(e *state, v reflect.Value) error {
		if v.IsNil() {
			return e.null()
		}
		if err := e.enter(v); err != nil {
			return err
		}
		if err := e.list(v, elem); err != nil {
			return err
		}
		e.leave(v)
		return nil
	}
}

func (e *state) list(v reflect.Value, elem encoder) error {
	e.dst = append(e.dst, '[')
	for i := range v.Len() {
		if i > 0 {
			e.dst = append(e.dst, ',')
		}
		if err := elem(e, v.Index(i)); err != nil {
			return err
		}
	}
	e.dst = append(e.dst, ']')
	return nil
}

// structField is a field as the encoder of its struct needs it.
type structField struct {
	prefix string // ,"name":
	index  []int
	omit   func(reflect.Value) bool // or nil
	enc    encoder
}

func newStructEncoder(t reflect.Type) encoder {
	list := fieldsOf(t).list
	fields := make([]structField, len(list))
	for i := range list {
		f := &list[i]
		enc := encoderOf(f.typ)
		if f.quoted {
			enc = newEncoder(f.typ, true, true)
		}
		fields[i] = structField{
			prefix: string(AppendString([]byte{','}, f.name)) + ":",
			index:  f.index,
			omit:   omits(f),
			enc:    enc,
		}
	}
	return func(e *state, v reflect.Value) error {
		skip := 1 // the comma of the first prefix
		e.dst = append(e.dst, '{')
		for i := range fields {
			f := &fields[i]
			fv, ok := fieldValue(v, f.index)
			if !ok || f.omit != nil && f.omit(fv) {
				continue
			}
			e.dst = append(e.dst, f.prefix[skip:]...)
			skip = 0
			if err := f.enc(e, fv); err != nil {
				return err
			}
		}
		e.dst = append(e.dst, '}')
		return nil
	}
}

// fieldValue follows index through embedded structs. It reports false if a pointer to one of them is nil.
func fieldValue(v reflect.Value, index []int) (reflect.Value, bool) {
	v = v.Field(index[0])
	for _, i := range index[1:] {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v, true
}

type zeroer interface{ IsZero() bool }

var zeroerType = reflect.TypeFor[zeroer]()

// omits returns the test for a field that is to be left out, or nil.
func omits(f *field) func(reflect.Value) bool {
	switch {
	case f.omitEmpty && f.omitZero:
		zero := zeroTest(f.typ)
		return func(v reflect.Value) bool { return isEmpty(v) || zero(v) }
	case f.omitEmpty:
		return isEmpty
	case f.omitZero:
		return zeroTest(f.typ)
	}
	return nil
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// zeroTest is what omitzero asks: the type's IsZero if it has one.
func zeroTest(t reflect.Type) func(reflect.Value) bool {
	switch {
	case t.Implements(zeroerType):
		return func(v reflect.Value) bool {
			switch {
			case v.Kind() == reflect.Interface && (v.IsNil() || v.Elem().Kind() == reflect.Pointer && v.Elem().IsNil()):
				return true
			case v.Kind() == reflect.Pointer && v.IsNil():
				return true
			}
			return v.Interface().(zeroer).IsZero()
		}
	case reflect.PointerTo(t).Implements(zeroerType):
		return func(v reflect.Value) bool {
			if !v.CanAddr() {
				p := reflect.New(v.Type()).Elem()
				p.Set(v)
				v = p
			}
			return v.Addr().Interface().(zeroer).IsZero()
		}
	}
	return reflect.Value.IsZero
}

// mapWork holds the values of one map while its keys are sorted. It is kept with the map's type.
type mapWork struct {
	pairs []pair
	key   reflect.Value // one, read into again and again
	slots reflect.Value // the values, in a slice
}

func newMapEncoder(t reflect.Type) encoder {
	name, ok := keyNames(t.Key())
	if !ok {
		return encodeUnsupported
	}
	elem := encoderOf(t.Elem())
	slice := reflect.SliceOf(t.Elem())
	// Elements of slots have an address, those of a map have not; where a method hangs on that, each is copied.
	copies := minds(t.Elem())
	pool := sync.Pool{New: func() any {
		return &mapWork{key: reflect.New(t.Key()).Elem(), slots: reflect.MakeSlice(slice, 8, 8)}
	}}
	return func(e *state, v reflect.Value) error {
		if v.IsNil() {
			return e.null()
		}
		if err := e.enter(v); err != nil {
			return err
		}
		w := pool.Get().(*mapWork)
		if n := v.Len(); n > w.slots.Len() {
			w.slots = reflect.MakeSlice(slice, n+n/4, n+n/4)
		}
		var values []reflect.Value
		pairs := w.pairs[:0]
		for it := v.MapRange(); it.Next(); {
			w.key.SetIterKey(it)
			p, err := name(w.key)
			if err != nil {
				return err
			}
			p.at = len(pairs)
			if copies {
				values = append(values, it.Value())
			} else {
				w.slots.Index(p.at).SetIterValue(it)
			}
			pairs = append(pairs, p)
		}
		sortPairs(pairs)
		e.dst = append(e.dst, '{')
		for i := range pairs {
			if i > 0 {
				e.dst = append(e.dst, ',')
			}
			if p := &pairs[i]; p.key == "" && p.head < isName {
				e.dst = append(e.dst, '"')
				e.dst = strconv.AppendUint(e.dst, p.head, 10)
				e.dst = append(e.dst, '"')
			} else {
				e.dst = AppendString(e.dst, p.key)
			}
			e.dst = append(e.dst, ':')
			var value reflect.Value
			if copies {
				value = values[pairs[i].at]
			} else {
				value = w.slots.Index(pairs[i].at)
			}
			if err := elem(e, value); err != nil {
				return err
			}
			if !copies {
				value.SetZero() // the pool must not keep it alive
			}
		}
		e.dst = append(e.dst, '}')
		if len(pairs) <= 1024 {
			clear(pairs)
			w.pairs = pairs
			w.key.SetZero()
			pool.Put(w)
		}
		e.leave(v)
		return nil
	}
}

// keyNames returns what makes the name of a member out of a key, as encoding/json does. The key is read into again
// afterwards. The name of an array index is left to its number.
func keyNames(t reflect.Type) (func(reflect.Value) (pair, error), bool) {
	switch {
	case t.Kind() == reflect.String:
		return func(k reflect.Value) (pair, error) {
			s := k.String()
			return namePair(s), nil
		}, true
	case t.Implements(textMarshalerType):
		return textName, true
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(k reflect.Value) (pair, error) {
			if n := k.Int(); n < 0 || n > maxIndex {
				return namePair(strconv.FormatInt(n, 10)), nil
			}
			return pair{head: uint64(k.Int())}, nil
		}, true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return func(k reflect.Value) (pair, error) {
			if n := k.Uint(); n > maxIndex {
				return namePair(strconv.FormatUint(n, 10)), nil
			}
			return pair{head: k.Uint()}, nil
		}, true
	}
	return nil, false
}

func namePair(key string) pair { return pair{key: key, head: headOf(key)} }

func textName(k reflect.Value) (pair, error) {
	if k.Kind() == reflect.Pointer && k.IsNil() {
		return namePair(""), nil
	}
	text, err := k.Interface().(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return pair{}, &json.MarshalerError{Type: k.Type(), Err: fmt.Errorf("MarshalText: %w", err)}
	}
	return namePair(string(text)), nil
}

// minds reports whether it makes a difference for values of type t that they have an address.
func minds(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	if p.Implements(marshalerType) && !t.Implements(marshalerType) ||
		p.Implements(textMarshalerType) && !t.Implements(textMarshalerType) {
		return true
	}
	switch t.Kind() {
	case reflect.Array:
		return minds(t.Elem())
	case reflect.Struct:
		return slices.ContainsFunc(fieldsOf(t).list, func(f field) bool { return minds(f.typ) })
	}
	return false
}
