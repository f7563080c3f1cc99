package v8

import (
	"bytes"
	"encoding"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"time"
)

var (
	valueType           = reflect.TypeFor[Value]()
	timeType            = reflect.TypeFor[time.Time]()
	dateType            = reflect.TypeFor[Date]()
	bigType             = reflect.TypeFor[big.Int]()
	undefinedType       = reflect.TypeFor[Undefined]()
	unmarshalerType     = reflect.TypeFor[Unmarshaler]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// own are the types of this package, and of others, that stand for one kind of value.
var own = map[reflect.Type]func(d *decodeState, t byte, at int, dst any) (ok bool, err error){
	timeType: func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if t != tagDate {
			return false, nil
		}
		date := clipDate(d.float())
		*dst.(*time.Time) = date.Time()
		return date.Valid(), nil
	},
	dateType: func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if t != tagDate {
			return false, nil
		}
		*dst.(*Date) = clipDate(d.float())
		return true, nil
	},
	bigType: func(d *decodeState, t byte, at int, dst any) (bool, error) {
		n := dst.(*big.Int)
		switch {
		case t == tagBigInt || t == tagBigObject:
			n.Set(d.bigInt())
		case isNumber(t):
			f := d.number(t)
			if f != math.Trunc(f) || math.IsInf(f, 0) {
				return false, nil
			}
			new(big.Float).SetFloat64(f).Int(n)
		default:
			return false, nil
		}
		return true, d.alloc(64)
	},
	undefinedType:           func(d *decodeState, t byte, at int, dst any) (bool, error) { return t == tagUndefined, nil },
	reflect.TypeFor[Hole](): func(d *decodeState, t byte, at int, dst any) (bool, error) { return t == tagUndefined, nil },
	reflect.TypeFor[Object](): func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if t != tagObject {
			return false, nil
		}
		o := dst.(*Object)
		*o = Object{}
		err := d.membersInto(o, tagObjectEnd)
		d.uint()
		return true, err
	},
	reflect.TypeFor[Map](): func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if t != tagMap {
			return false, nil
		}
		*dst.(*Map) = Map{}
		return true, d.mapInto(dst.(*Map))
	},
	reflect.TypeFor[Set](): func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if t != tagSet {
			return false, nil
		}
		*dst.(*Set) = Set{}
		return true, d.setInto(dst.(*Set))
	},
	reflect.TypeFor[Sparse](): func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if t != tagDense && t != tagSparse {
			return false, nil
		}
		s := dst.(*Sparse)
		n, _ := readVarint(d.data, d.pos, 4)
		*s = Sparse{Length: n}
		if odd, ok := d.doc.oddAt(at); ok {
			s.Length = odd.length
		}
		return true, d.sparse(t, s)
	},
	reflect.TypeFor[RegExp](): func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if t != tagRegExp {
			return false, nil
		}
		return true, d.regExp(dst.(*RegExp))
	},
	reflect.TypeFor[Error](): func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if t != tagError {
			return false, nil
		}
		*dst.(*Error) = Error{}
		return true, d.jsError(dst.(*Error))
	},
	reflect.TypeFor[Boxed](): func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if kindOf(t) != KindBoxed {
			return false, nil
		}
		return true, d.boxed(t, dst.(*Boxed))
	},
	reflect.TypeFor[ArrayBuffer](): func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if !isMemory(t) {
			return false, nil
		}
		m := d.memory(t, at)
		b, err := d.ownBytes(m.data)
		*dst.(*ArrayBuffer) = ArrayBuffer{b, m.resizable, m.max}
		return !m.view, err
	},
	reflect.TypeFor[View](): func(d *decodeState, t byte, at int, dst any) (bool, error) {
		if !isMemory(t) {
			return false, nil
		}
		m := d.memory(t, at)
		b, err := d.ownBytes(m.data)
		*dst.(*View) = View{m.typ, b}
		return m.view, err
	},
}

func isMemory(t byte) bool {
	return t == tagHost || t == tagView || isBuffer(t)
}

func isBuffer(t byte) bool { return t == tagBuffer || t == tagResizable || t == tagImmutable }

// known tells whether t is a type that stands for one kind of value.
func known(t reflect.Type) bool { return t == valueType || own[t] != nil }

// hooked tells whether values of type t are read or written by methods of theirs.
func hooked(t reflect.Type) bool {
	if t.Kind() != reflect.Pointer {
		t = reflect.PointerTo(t)
	}
	return t.Implements(marshalerType) || t.Implements(unmarshalerType) || t.Implements(errorType) ||
		t.Implements(textMarshalerType) || t.Implements(textUnmarshalerType)
}

type decodeFunc = func(d *decodeState, p *plan, t byte, at int, v reflect.Value) error

// decoderOf is how a value with its tag read is decoded into a t. raw says that it wants the value with its tag,
// references not followed.
func decoderOf(t reflect.Type) (decode decodeFunc, raw bool) {
	switch {
	case t == valueType:
		return decodeValue, true
	case t.Kind() == reflect.Pointer:
		return decodePointer, false
	case reflect.PointerTo(t).Implements(unmarshalerType):
		return decodeUnmarshaler, true
	case own[t] != nil:
		return decodeOwn, false
	case reflect.PointerTo(t).Implements(textUnmarshalerType):
		return decodeText, false
	}
	switch t.Kind() {
	case reflect.Bool:
		return decodeBool, false
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return decodeInt, false
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return decodeUint, false
	case reflect.Float32, reflect.Float64:
		return decodeFloat, false
	case reflect.String:
		return decodeString, false
	case reflect.Interface:
		return decodeInterface, false
	case reflect.Struct:
		return decodeStruct, false
	case reflect.Map:
		return decodeMap, false
	case reflect.Slice:
		return decodeSlice, false
	case reflect.Array:
		return decodeArray, false
	}
	return decodeNothing, false
}

// into decodes the next value into v.
func (d *decodeState) into(p *plan, v reflect.Value) error {
	if err := d.deeper(d.pos); err != nil {
		return err
	}
	err := d.intoSame(p, v)
	d.walker.depth++
	return err
}

func (d *decodeState) intoSame(p *plan, v reflect.Value) error {
	if p.raw {
		return p.decode(d, p, 0, d.pos, v)
	}
	t, at := d.head()
	typ := p.typ
	if typ.Kind() == reflect.Interface {
		typ = nil
	}
	if t != tagReference {
		if x, ok := d.met(t, at, typ); ok {
			if !reflect.TypeOf(x).AssignableTo(p.typ) {
				return d.mismatch(p, t, at)
			}
			v.Set(reflect.ValueOf(x))
			return nil
		}
		return p.decode(d, p, t, at, v)
	}
	o := d.doc.ids[d.uint()]
	if d.ends(tagView) {
		d.next++
		d.viewRef = at
		return p.decode(d, p, tagView, d.pos-1, v)
	}
	x, ok := d.seen[seenKey{int(o.at), typ}]
	if !ok && typ != nil { // perhaps it is what any makes of it
		x, ok = d.seen[seenKey{int(o.at), nil}]
	}
	if ok && reflect.TypeOf(x).AssignableTo(p.typ) {
		v.Set(reflect.ValueOf(x))
		return nil
	}
	t, at, back := d.jump(o)
	if err := p.decode(d, p, t, at, v); err != nil {
		return err
	}
	return d.back(back)
}

// mismatch reports the value at an offset, whose tag is t.
func (d *decodeState) mismatch(p *plan, t byte, at int) error {
	r := d.walker
	r.pos = at + 1
	what := kindOf(t).String()
	switch kindOf(t) {
	case KindNumber:
		what = "number " + string(appendNumber(nil, r.number(t)))
	case KindDate:
		if b, _ := r.raw(8); !clipDate(double(b)).Valid() {
			what = "invalid Date"
		}
	}
	return &TypeError{Value: what, Type: p.typ, Offset: at}
}

const longPath = 400

// inside puts the place of a value in front of the path of an error.
func inside(err error, where func() string) error {
	var path *string
	switch e := err.(type) {
	case *TypeError:
		path = &e.Path
	case *MarshalerError:
		path = &e.Path
	case *UnsupportedTypeError:
		path = &e.Path
	case *UnsupportedValueError:
		path = &e.Path
	}
	if path != nil && len(*path) < longPath {
		if *path != "" && (*path)[0] != '[' {
			*path = "." + *path
		}
		*path = where() + *path
	}
	return err
}

func inElement(err error, i uint32) error {
	return inside(err, func() string { return "[" + decimal(i) + "]" })
}

func inMember(err error, name string) error {
	return inside(err, func() string {
		for i, c := range name {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$' || i > 0 && c >= '0' && c <= '9') {
				return "[" + strconv.Quote(name[:min(len(name), longPath)]) + "]"
			}
		}
		if name == "" {
			return `[""]`
		}
		return name[:min(len(name), longPath)]
	})
}

func absent(t byte) bool { return t == tagNull || t == tagUndefined }

// charge counts what v refers to, if it is a reference, as decoded again.
func (d *decodeState) charge(v Value) error {
	r := v.walker()
	if t, _, _ := r.tag(); t != tagReference {
		return nil
	}
	id, _ := r.varint()
	from := int(d.doc.ids[id].at)
	if r.pos = from; r.data[from] != tagView {
		r.value()
	}
	here := place{d.pos, d.next, from}
	d.pos = r.pos
	d.jumps++
	return d.back(here)
}

// rawValue makes a Value of the next value, or of the one with the tag t at an offset.
func (d *decodeState) rawValue(t byte, at int) Value {
	v := d.whole
	v.data, v.at, v.id, v.depth = d.data, at, d.next, int32(levels(d.Decoder)-d.walker.depth)
	if t != 0 && isObject(t) {
		v.id--
	}
	switch t {
	case 0:
		d.pass()
	case tagView: // its ArrayBuffer is elsewhere: it begins with the reference to that
		v.at = d.viewRef
		d.viewHead()
	default:
		d.skip(t, at)
	}
	v.end = d.pos
	return v
}

func decodeValue(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	x := d.rawValue(t, at)
	if d.Copy {
		if d.copied == nil {
			if err := d.alloc(len(d.data)); err != nil {
				return err
			}
			d.copied = bytes.Clone(d.data)
		}
		x.data = d.copied
	}
	v.Set(reflect.ValueOf(x))
	return nil
}

func decodeUnmarshaler(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	x := d.rawValue(t, at)
	if d.budget == &d.own {
		d.budget = &budget{d.own.allocated, d.own.again}
	}
	x.budget = d.budget
	if err := d.charge(x); err != nil {
		return err
	}
	err := v.Addr().Interface().(Unmarshaler).UnmarshalV8(x)
	switch err.(type) {
	case nil, *TypeError, *LimitError:
		return err
	}
	return &MarshalerError{Type: p.typ, Method: "UnmarshalV8", Err: err}
}

func decodePointer(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	if absent(t) && p.elem.typ != undefinedType {
		v.SetZero()
		return nil
	}
	if v.IsNil() || d.doc != nil {
		if err := d.alloc(int(p.elem.typ.Size())); err != nil {
			return err
		}
		v.Set(reflect.New(p.elem.typ))
	}
	d.keepValue(at, t, p.typ, v)
	if err := d.deeper(at); err != nil { // the Go type may be one pointer after the other
		return err
	}
	err := p.elem.decode(d, p.elem, t, at, v.Elem())
	d.walker.depth++
	return err
}

// keepValue is keep for what is known by its type.
func (d *decodeState) keepValue(at int, t byte, typ reflect.Type, v reflect.Value) {
	if isObject(t) && d.wanted(at) {
		d.keep(at, typ, v.Interface())
	}
}

func decodeOwn(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	ok, err := own[p.typ](d, t, at, v.Addr().Interface())
	if !ok && !absent(t) {
		return d.mismatch(p, t, at)
	}
	return err
}

func decodeText(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	if absent(t) {
		return nil
	}
	if !isString(t) {
		return d.mismatch(p, t, at)
	}
	s, err := d.str(t)
	if err != nil {
		return err
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
		return &MarshalerError{Type: p.typ, Method: "UnmarshalText", Err: err}
	}
	return nil
}

func decodeNothing(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	if absent(t) {
		return nil
	}
	return d.mismatch(p, t, at)
}

func decodeBool(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	switch t {
	case tagTrue, tagTrueObject:
		v.SetBool(true)
	case tagFalse, tagFalseObject:
		v.SetBool(false)
	default:
		return decodeNothing(d, p, t, at, v)
	}
	return nil
}

func decodeInt(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	var n int64
	switch t {
	case tagInt32:
		n = int64(zigzag(d.uint()))
	case tagUint32:
		n = int64(d.uint())
	case tagDouble, tagNumObject:
		f := d.float()
		if n = int64(f); float64(n) != f || f >= 1<<63 {
			return d.mismatch(p, t, at)
		}
	case tagBigInt, tagBigObject:
		b := d.bigInt()
		if n = b.Int64(); !b.IsInt64() {
			return d.mismatch(p, t, at)
		}
	default:
		return decodeNothing(d, p, t, at, v)
	}
	if v.OverflowInt(n) {
		return d.mismatch(p, t, at)
	}
	v.SetInt(n)
	return nil
}

func decodeUint(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	var n uint64
	switch t {
	case tagInt32:
		i := zigzag(d.uint())
		if n = uint64(i); i < 0 {
			return d.mismatch(p, t, at)
		}
	case tagUint32:
		n = uint64(d.uint())
	case tagDouble, tagNumObject:
		f := d.float()
		if !(f >= 0 && f < 1<<64) || f != math.Trunc(f) {
			return d.mismatch(p, t, at)
		}
		n = uint64(f)
	case tagBigInt, tagBigObject:
		b := d.bigInt()
		if n = b.Uint64(); !b.IsUint64() {
			return d.mismatch(p, t, at)
		}
	default:
		return decodeNothing(d, p, t, at, v)
	}
	if v.OverflowUint(n) {
		return d.mismatch(p, t, at)
	}
	v.SetUint(n)
	return nil
}

func decodeFloat(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	var f float64
	switch t {
	case tagInt32, tagUint32, tagDouble:
		f = d.number(t)
	case tagNumObject:
		f = d.float()
	case tagBigInt, tagBigObject:
		var exact big.Accuracy
		if f, exact = d.bigInt().Float64(); exact != big.Exact || v.Kind() == reflect.Float32 && float64(float32(f)) != f {
			return d.mismatch(p, t, at)
		}
	default:
		return decodeNothing(d, p, t, at, v)
	}
	if v.OverflowFloat(f) && !math.IsInf(f, 0) {
		return d.mismatch(p, t, at)
	}
	v.SetFloat(f)
	return nil
}

func decodeString(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	var s string
	var err error
	switch {
	case isString(t):
		s, err = d.str(t)
	case t == tagStrObject:
		s, err = d.strValue()
	default:
		return decodeNothing(d, p, t, at, v)
	}
	v.SetString(s)
	return err
}

func decodeInterface(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	if p.typ.NumMethod() == 0 && !v.IsNil() && !absent(t) && d.doc == nil {
		// A pointer that is there is followed, as in encoding/json, but not one of a type that any decodes into itself.
		if e := v.Elem(); e.Kind() == reflect.Pointer && !e.IsNil() && !known(e.Type().Elem()) {
			p := planOf(e.Type().Elem())
			if err := d.deeper(at); err != nil { // it may lead to itself
				return err
			}
			err := p.decode(d, p, t, at, e.Elem())
			d.walker.depth++
			return err
		}
	}
	x, err := d.anyOf(t, at)
	if err != nil {
		return err
	}
	if x == nil {
		v.SetZero()
		return nil
	}
	if p.typ.NumMethod() > 0 && !reflect.TypeOf(x).AssignableTo(p.typ) {
		return decodeNothing(d, p, t, at, v)
	}
	v.Set(reflect.ValueOf(x))
	return nil
}

func decodeStruct(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	if t != tagObject {
		return decodeNothing(d, p, t, at, v)
	}
	for next := 0; !d.over(tagObjectEnd); next++ {
		f := p.fields.find(d.key(), next)
		if f == nil {
			d.pass()
			continue
		}
		target, ok := fieldOf(v, f.index)
		if !ok {
			return &TypeError{Value: "Object", Type: p.typ, Path: f.name, Offset: at}
		}
		if err := d.into(f.plan, target); err != nil {
			return inMember(err, f.name)
		}
	}
	d.uint()
	return nil
}

// fieldOf is a field of v, for which nil embedded pointers are set; not where these cannot be.
func fieldOf(v reflect.Value, index []int) (reflect.Value, bool) {
	for i, n := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				if !v.CanSet() {
					return v, false
				}
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(n)
	}
	return v, true
}

func decodeMap(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	switch {
	case absent(t):
		v.SetZero()
		return nil
	case t != tagObject && t != tagMap:
		return d.mismatch(p, t, at)
	}
	if v.IsNil() || d.doc != nil {
		v.Set(reflect.MakeMap(p.typ))
	}
	d.keepValue(at, t, p.typ, v)
	key, elem := reflect.New(p.key.typ).Elem(), reflect.New(p.elem.typ).Elem()
	cost := int(p.key.typ.Size()+p.elem.typ.Size()) + entryCost/2
	end := byte(tagObjectEnd)
	if t == tagMap {
		end = tagMapEnd
	}
	for !d.over(end) {
		var name string
		key.SetZero()
		elem.SetZero()
		if t == tagMap {
			if err := d.into(p.key, key); err != nil {
				return inside(err, func() string { return "[key]" })
			}
			if !key.Comparable() {
				return &TypeError{Value: "Map with a key that Go cannot compare", Type: p.typ, Offset: at}
			}
		} else {
			var err error
			if name, err = d.name(); err != nil {
				return err
			}
			if err := setKey(p, key, name, at); err != nil {
				return err
			}
		}
		if err := d.into(p.elem, elem); err != nil {
			if t == tagMap && key.Kind() == reflect.String {
				name = key.String()
			} else if t == tagMap {
				return inside(err, func() string {
					text := fmt.Sprint(key)
					return "[" + text[:min(len(text), longPath)] + "]"
				})
			}
			return inMember(err, name)
		}
		v.SetMapIndex(key, elem)
		if err := d.alloc(cost); err != nil {
			return err
		}
	}
	d.uint()
	return nil
}

// setKey makes the name of a member a key of a Go map.
func setKey(p *plan, key reflect.Value, name string, at int) error {
	bad := &TypeError{Value: "member " + strconv.Quote(name[:min(len(name), longPath)]), Type: p.typ, Offset: at}
	if u, ok := key.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(name)); err != nil {
			return &MarshalerError{Type: p.key.typ, Method: "UnmarshalText", Err: err}
		}
		return nil
	}
	switch key.Kind() {
	case reflect.String:
		key.SetString(name)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(name, 10, 64)
		if err != nil || key.OverflowInt(n) {
			return bad
		}
		key.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		n, err := strconv.ParseUint(name, 10, 64)
		if err != nil || key.OverflowUint(n) {
			return bad
		}
		key.SetUint(n)
	case reflect.Interface:
		if key.NumMethod() > 0 {
			return bad
		}
		key.Set(reflect.ValueOf(name))
	default:
		return bad
	}
	return nil
}

func decodeSlice(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	size := int(p.elem.typ.Size())
	switch {
	case absent(t):
		v.SetZero()
		return nil
	case isMemory(t):
		m := d.memory(t, at)
		if p.elem.typ.Kind() == reflect.Uint8 {
			b, err := d.ownBytes(m.data)
			if err != nil {
				return err
			}
			v.SetBytes(b)
		} else {
			n := len(m.data) / m.typ.Size()
			if !m.view || !fits(m.typ, p.elem.typ.Kind()) {
				return d.mismatch(p, t, at)
			}
			if err := d.alloc(n * size); err != nil {
				return err
			}
			v.Set(reflect.MakeSlice(p.typ, n, n))
			setElements(v, m)
		}
		d.keepValue(m.at, t, p.typ, v)
		return nil
	case t == tagSet:
		v.Set(reflect.MakeSlice(p.typ, 0, 0))
		if d.wanted(at) { // before its elements, which may refer to it, it has to be where it stays
			n, err := d.count(tagSetEnd)
			if err == nil {
				err = d.alloc(n * size)
			}
			if err != nil {
				return err
			}
			if v.Set(reflect.MakeSlice(p.typ, n, n)); n > 0 {
				d.keepValue(at, t, p.typ, v)
			}
		}
		for i := 0; !d.over(tagSetEnd); i++ {
			if i >= v.Len() {
				v.Grow(1)
				v.SetLen(i + 1)
				v.Index(i).SetZero()
			}
			if err := d.into(p.elem, v.Index(i)); err != nil {
				return inElement(err, uint32(i))
			}
			if err := d.alloc(2 * size); err != nil {
				return err
			}
		}
		d.uint()
		return nil
	case t != tagDense && t != tagSparse:
		return d.mismatch(p, t, at)
	}
	n := int(d.uint())
	length := n
	if odd, ok := d.doc.oddAt(at); ok {
		if length = int(odd.length); odd.long {
			return &TypeError{Value: "Array of length " + decimal(odd.length) + " with few elements", Type: p.typ, Offset: at}
		}
	}
	if v.Cap() < length || v.IsNil() || d.doc != nil {
		if err := d.alloc(length * size); err != nil {
			return err
		}
		v.Set(reflect.MakeSlice(p.typ, length, length))
	} else {
		v.SetLen(length)
		v.Clear()
	}
	d.keepValue(at, t, p.typ, v)
	return d.fill(p, t, n, v)
}

// count is how many values there are up to the tag end.
func (d *decodeState) count(end byte) (n int, err error) {
	here := place{d.pos, d.next, d.pos}
	for ; !d.over(end); n++ {
		d.pass()
	}
	d.jumps++
	return n, d.back(here)
}

// fill decodes the elements of an array of n into v, a slice or array; what does not fit is left out.
func (d *decodeState) fill(p *plan, t byte, n int, v reflect.Value) error {
	length := uint32(v.Len())
	return d.elements(t, uint32(n), func(i uint32) error {
		if i >= length {
			d.pass()
			return nil
		}
		return d.into(p.elem, v.Index(int(i)))
	}, nil)
}

func decodeArray(d *decodeState, p *plan, t byte, at int, v reflect.Value) error {
	switch {
	case isMemory(t):
		m := d.memory(t, at)
		if kind := p.elem.typ.Kind(); kind != reflect.Uint8 && (!m.view || !fits(m.typ, kind)) {
			return d.mismatch(p, t, at)
		} else if kind == reflect.Uint8 {
			m.typ = Uint8Array
		}
		v.SetZero()
		setElements(v, m)
		return nil
	case t != tagDense && t != tagSparse:
		return decodeNothing(d, p, t, at, v)
	}
	v.SetZero()
	return d.fill(p, t, int(d.uint()), v)
}

// fits tells whether the elements of a view are of a Go kind.
func fits(t ViewType, k reflect.Kind) bool {
	switch t {
	case Int8Array:
		return k == reflect.Int8
	case Uint8Array, Uint8ClampedArray, Buffer:
		return k == reflect.Uint8
	case Int16Array:
		return k == reflect.Int16
	case Uint16Array:
		return k == reflect.Uint16
	case Int32Array:
		return k == reflect.Int32
	case Uint32Array:
		return k == reflect.Uint32
	case Float32Array:
		return k == reflect.Float32
	case Float64Array:
		return k == reflect.Float64
	case BigInt64Array:
		return k == reflect.Int64
	case BigUint64Array:
		return k == reflect.Uint64
	}
	return false
}

// setElements sets the elements of a slice or array, as many as it has.
func setElements(v reflect.Value, m memory) {
	size := m.typ.Size()
	for i := range min(v.Len(), len(m.data)/size) {
		b, e := m.data[i*size:(i+1)*size], v.Index(i)
		var n uint64
		switch size {
		case 1:
			n = uint64(b[0])
		case 2:
			n = uint64(binary.LittleEndian.Uint16(b))
		case 4:
			n = uint64(binary.LittleEndian.Uint32(b))
		case 8:
			n = binary.LittleEndian.Uint64(b)
		}
		switch e.Kind() {
		case reflect.Float32:
			e.SetFloat(float64(math.Float32frombits(uint32(n))))
		case reflect.Float64:
			e.SetFloat(math.Float64frombits(n))
		case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			shift := 64 - 8*size
			e.SetInt(int64(n<<shift) >> shift)
		default:
			e.SetUint(n)
		}
	}
}
