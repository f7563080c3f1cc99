package jsjson

import (
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// plainStruct is a struct whose fields are strings, booleans, numbers and such structs: what messages mostly are. It has
// no methods that JSON knows.
//
// Its decoder takes a third of goccy's time, by what it may expect after Scan: the members in the order of the fields,
// names and strings without escapes. It gives up where anything else comes; then goccy does it all from the start, and
// writes the same into the fields that were filled already. Its encoder takes about half of goccy's time.
type plainStruct struct {
	fields []plainField
	names  *structFields
}

type plainField struct {
	name   string
	offset uintptr
	kind   reflect.Kind
	bits   int          // of a number
	head   string       // what is written before the value: the name and a colon
	omit   bool         // if empty
	inner  *plainStruct // of a struct
}

var plainTypes typeCache[*plainStruct]

// targetPlain returns the decoder of what v points to, or nil.
func targetPlain(v any) *plainStruct {
	return *plainTypes.of(v, func(t reflect.Type) *plainStruct {
		if t.Kind() != reflect.Pointer {
			return nil
		}
		return plainOf(t.Elem())
	})
}

// plainOf analyses t, which is not recursive if it is plain: structs contain each other by value.
func plainOf(t reflect.Type) *plainStruct {
	if t.Kind() != reflect.Struct || hasMethods(t) {
		return nil
	}
	fields := fieldsOf(t)
	p := &plainStruct{names: fields}
	for _, f := range fields.list {
		if f.quoted || f.omitZero || f.typ == numberType || hasMethods(f.typ) || !isASCII(f.name) {
			return nil
		}
		pf := plainField{name: f.name, kind: f.typ.Kind(), omit: f.omitEmpty}
		pf.head = string(AppendString(nil, f.name)) + ":"
		for at, i := t, 0; i < len(f.index); i++ {
			if at.Kind() != reflect.Struct {
				return nil // behind an embedded pointer
			}
			sf := at.Field(f.index[i])
			pf.offset += sf.Offset
			at = sf.Type
		}
		switch pf.kind {
		case reflect.Struct:
			if pf.inner = plainOf(f.typ); pf.inner == nil {
				return nil
			}
		case reflect.String, reflect.Bool:
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Float32, reflect.Float64,
			reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
			pf.bits = f.typ.Bits()
		default:
			return nil
		}
		p.fields = append(p.fields, pf)
	}
	return p
}

// hasMethods reports whether t has a method by which a type reads or writes JSON itself.
func hasMethods(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	_, a := p.MethodByName("UnmarshalJSON") // of any form: goccy knows another one than encoding/json
	_, b := p.MethodByName("UnmarshalText")
	_, c := p.MethodByName("UnmarshalJSONFrom")
	return a || b || c || marshals(t)
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 || r == '"' || r == '\\' || r < 0x20 }) < 0
}

// append writes the struct at base.
func (p *plainStruct) append(dst []byte, base unsafe.Pointer) []byte {
	dst = append(dst, '{')
	first := len(dst)
	for i := range p.fields {
		f := &p.fields[i]
		at := unsafe.Add(base, f.offset)
		if f.omit && f.empty(at) {
			continue
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst = append(dst, f.head...)
		switch f.kind {
		case reflect.Struct:
			dst = f.inner.append(dst, at)
		case reflect.String:
			dst = AppendString(dst, *(*string)(at))
		case reflect.Bool:
			dst = appendBool(dst, *(*bool)(at))
		case reflect.Float32:
			dst = appendFloat(dst, float64(*(*float32)(at)), 32)
		case reflect.Float64:
			dst = appendFloat(dst, *(*float64)(at), 64)
		case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			dst = appendInt(dst, f.int(at))
		default:
			dst = strconv.AppendUint(dst, f.uint(at), 10)
		}
	}
	return append(dst, '}')
}

func (f *plainField) empty(at unsafe.Pointer) bool {
	switch f.kind {
	case reflect.Struct:
		return false // a struct never is, in encoding/json
	case reflect.String:
		return *(*string)(at) == ""
	case reflect.Bool:
		return !*(*bool)(at)
	case reflect.Float32:
		return *(*float32)(at) == 0
	case reflect.Float64:
		return *(*float64)(at) == 0
	}
	return f.uint(at) == 0
}

func (f *plainField) int(at unsafe.Pointer) int64 {
	switch f.bits {
	case 8:
		return int64(*(*int8)(at))
	case 16:
		return int64(*(*int16)(at))
	case 32:
		return int64(*(*int32)(at))
	}
	return *(*int64)(at)
}

func (f *plainField) uint(at unsafe.Pointer) uint64 {
	switch f.bits {
	case 8:
		return uint64(*(*uint8)(at))
	case 16:
		return uint64(*(*uint16)(at))
	case 32:
		return uint64(*(*uint32)(at))
	}
	return *(*uint64)(at)
}

// Strings of a short text are cut from one copy of it.
const shortText = 256

// plainText is the text that is decoded, and the copy that strings are cut from.
type plainText struct {
	data []byte
	text string
	from int // where in data text begins
}

// decode fills the struct at base. It reports false if it has met something that is not for it.
func (p *plainStruct) decode(data []byte, base unsafe.Pointer) bool {
	if base == nil {
		return false
	}
	d := plainText{data: data}
	i := p.object(&d, skipSpace(data, 0), base)
	return i >= 0 && skipSpace(data, i) == len(data)
}

// object decodes the one at i and returns the place after it, or a negative number.
func (p *plainStruct) object(d *plainText, i int, base unsafe.Pointer) int {
	data := d.data
	if i >= len(data) || data[i] != '{' {
		return -1
	}
	i = skipSpace(data, i+1)
	if i < len(data) && data[i] == '}' {
		return i + 1
	}
	for next := 0; ; {
		if i >= len(data) || data[i] != '"' {
			return -1
		}
		i++
		f := p.at(data, i, &next)
		if f != nil {
			i += len(f.name) + 1
		} else {
			end, high := stringEnd(data, i)
			if end < 0 || high {
				return -1
			}
			if n := p.names.named(unsafe.String(&data[i], end-i)); n >= 0 {
				f, next = &p.fields[n], n+1
			}
			i = end + 1
		}
		i = space(data, i)
		if i >= len(data) || data[i] != ':' {
			return -1
		}
		i = space(data, i+1)
		if f == nil {
			i = skipValue(data, i)
		} else {
			i = f.value(d, i, base)
		}
		if i < 0 {
			return -1
		}
		i = space(data, i)
		if i >= len(data) {
			return -1
		}
		if data[i] == '}' {
			return i + 1
		}
		if data[i] != ',' {
			return -1
		}
		i = space(data, i+1)
	}
}

// at returns the field that the name at i is of, if it is one from *next on, and sets *next behind it. Members that are
// left out, and nothing else, thus cost next to nothing.
func (p *plainStruct) at(data []byte, i int, next *int) *plainField {
	for n := *next; n < len(p.fields); n++ {
		f := &p.fields[n]
		if end := i + len(f.name); end < len(data) && data[end] == '"' && string(data[i:end]) == f.name {
			*next = n + 1
			return f
		}
	}
	return nil
}

// space is skipSpace where there seldom is any.
func space(data []byte, i int) int {
	if i < len(data) && data[i] <= ' ' {
		return skipSpace(data, i)
	}
	return i
}

// value decodes the value at i into the field of the struct at base.
func (f *plainField) value(d *plainText, i int, base unsafe.Pointer) int {
	data := d.data
	p := unsafe.Add(base, f.offset)
	switch f.kind {
	case reflect.Struct:
		return f.inner.object(d, i, p)
	case reflect.String:
		if i >= len(data) || data[i] != '"' {
			return -1
		}
		i++
		end, high := stringEnd(data, i)
		if end < 0 || high && !utf8.Valid(data[i:end]) {
			return -1
		}
		*(*string)(p) = d.cut(i, end)
		return end + 1
	case reflect.Bool:
		if len(data)-i >= 4 && string(data[i:i+4]) == "true" {
			*(*bool)(p) = true
			return i + 4
		}
		if len(data)-i >= 5 && string(data[i:i+5]) == "false" {
			*(*bool)(p) = false
			return i + 5
		}
		return -1
	}
	end := i
	if end < len(data) && data[end] == '-' {
		end++
	}
	var n uint64
	first := end
	for end < len(data) && class[data[end]]&classDigit != 0 {
		n = n*10 + uint64(data[end]-'0')
		end++
	}
	integer := end > first && end-first <= 18 && (end == len(data) || data[end] != '.' && data[end]|0x20 != 'e')
	negative := first > i
	if f.kind == reflect.Float32 || f.kind == reflect.Float64 {
		return f.float(data, i, end, n, integer && end-first <= 15, negative, p)
	}
	if !integer {
		return -1
	}
	v := int64(n)
	if negative {
		v = -v
	}
	if f.kind >= reflect.Uint && f.kind <= reflect.Uintptr {
		if negative || f.bits < 64 && n>>f.bits != 0 {
			return -1
		}
	} else if v != v<<(64-f.bits)>>(64-f.bits) {
		return -1
	}
	switch f.bits { // the bits are the same with a sign and without
	case 8:
		*(*int8)(p) = int8(v)
	case 16:
		*(*int16)(p) = int16(v)
	case 32:
		*(*int32)(p) = int32(v)
	default:
		*(*int64)(p) = v
	}
	return end
}

// float decodes the number at i, of which the digits up to end have the value n if it is an integer.
func (f *plainField) float(data []byte, i, end int, n uint64, integer, negative bool, p unsafe.Pointer) int {
	v := float64(n)
	if negative {
		v = -v // which makes the -0 that strconv makes, too
	}
	if !integer || f.bits == 32 {
		end = skipValue(data, i)
		if end == i || class[data[end-1]]&classDigit == 0 {
			return -1 // null, say
		}
		var err error
		if v, err = strconv.ParseFloat(unsafe.String(&data[i], end-i), f.bits); err != nil {
			return -1
		}
	}
	if f.bits == 32 {
		*(*float32)(p) = float32(v)
	} else {
		*(*float64)(p) = v
	}
	return end
}

// stringEnd returns the place of the quote that ends the string whose text begins at i, or a negative number if there is
// an escape in it. high says that there may be a byte above 0x7f.
func stringEnd(data []byte, i int) (end int, high bool) {
	end, bytes := plain(data, i)
	if end >= len(data) || data[end] != '"' {
		return -1, false
	}
	return end, bytes != 0
}

// cut returns data[i:end] as a string of its own, or together with what follows if that is short.
func (d *plainText) cut(i, end int) string {
	if i == end {
		return ""
	}
	if d.text == "" {
		if len(d.data)-i > shortText {
			return string(d.data[i:end])
		}
		d.text, d.from = string(d.data[i:]), i
	}
	return d.text[i-d.from : end-d.from]
}
