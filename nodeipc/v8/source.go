package v8

import (
	"encoding"
	"reflect"
	"slices"
	"strconv"
)

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
	return func(e *encodeState, p *plan, v reflect.Value) error { return &UnsupportedTypeError{Type: p.typ} }
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
		return &MarshalerError{Type: p.typ, Method: "MarshalV8", Err: err}
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
		return &MarshalerError{Type: p.typ, Method: "MarshalText", Err: err}
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
	switch t := p.elem.typ; t.Kind() {
	case reflect.Pointer, reflect.Interface: // may lead round in a circle
		if err := e.deeper(); err != nil {
			return err
		}
		err := p.elem.encode(e, p.elem, v.Elem())
		e.depth++
		return err
	case reflect.Struct, reflect.Array, reflect.Float64:
		if t.Size() == 0 || t == bigType || t == valueType || t.Kind() == reflect.Float64 && t != dateType {
			break
		}
		done, slot, err := e.shared(identityKey{v.UnsafePointer(), 0, p.typ})
		if done || err != nil {
			return err
		}
		defer e.done(slot)
	}
	return p.elem.encode(e, p.elem, v.Elem())
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
			return &UnsupportedValueError{Type: p.typ, Msg: "two keys with the text " + strconv.Quote(m.name)}
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
	if k.Kind() == reflect.Interface && k.IsNil() {
		return "", &UnsupportedValueError{Type: k.Type(), Msg: "nil as a key"}
	}
	if m, ok := k.Interface().(encoding.TextMarshaler); ok {
		if k.Kind() == reflect.Pointer && k.IsNil() {
			return "", nil
		}
		b, err := m.MarshalText()
		if err != nil {
			return "", &MarshalerError{Type: k.Type(), Method: "MarshalText", Err: err}
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
			return inElement(err, uint32(i))
		}
	}
	e.arrayEnd(n, slot)
	return nil
}
