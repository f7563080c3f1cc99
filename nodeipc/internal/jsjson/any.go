package jsjson

import (
	"reflect"
	"strconv"
	"sync"
	"unicode/utf8"
	"unsafe"
)

// unmarshalAny decodes data into what p points to, if that holds no pointer that encoding/json would follow. It reports
// false if it did not, having changed nothing: the value is left to encoding/json then, as is the error.
func unmarshalAny(data []byte, p *any) bool {
	if isPointer(*p) {
		return false
	}
	d := newDecoder(data)
	v, i := d.value(skipSpace(data, 0))
	if !d.atEnd(i) {
		return false
	}
	d.release()
	*p = v
	return true
}

// unmarshalMap is unmarshalAny for a map; members are added to one that is there.
func unmarshalMap(data []byte, p *map[string]any) bool {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '{' {
		return false
	}
	d := newDecoder(data)
	if !d.atEnd(d.members(i)) {
		return false
	}
	if *p == nil {
		*p = make(map[string]any, len(d.names))
	}
	d.moveTo(*p, 0, 0)
	d.release()
	return true
}

// unmarshalSlice is unmarshalAny for a slice, which is overwritten where it is if it is large enough.
func unmarshalSlice(data []byte, p *[]any) bool {
	i := skipSpace(data, 0)
	if i >= len(data) || data[i] != '[' {
		return false
	}
	old := (*p)[:cap(*p)]
	for _, v := range old {
		if isPointer(v) {
			return false
		}
	}
	d := newDecoder(data)
	if !d.atEnd(d.elements(i)) {
		return false
	}
	if n := len(d.values); n == 0 || n > len(old) {
		old = make([]any, n)
	}
	*p = old[:d.copyTo(old, 0)]
	d.release()
	return true
}

func isPointer(v any) bool {
	switch v.(type) {
	case nil, string, float64, bool, map[string]any, []any:
		return false
	}
	return reflect.TypeOf(v).Kind() == reflect.Pointer
}

// decoder is one run of the decoder for any. It checks everything that it does not get from encoding/json, and gives up
// where a text is not JSON, a number too large or the nesting too deep: all that is for encoding/json to report.
type decoder struct {
	data []byte
	// Strings without escapes are cut from a copy of data[from:to].
	text     string
	from, to int
	block    []byte // what there is for such copies
	boxes    boxes
	depth    int
	// The members and elements of the objects and arrays that are open, innermost last. Their number is known only at
	// the end, and a map or slice made for that number is the cheapest.
	names  []string
	values []any
	// How high the two have been.
	usedNames, usedValues int
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

func newDecoder(data []byte) *decoder {
	d := decoders.Get().(*decoder)
	d.data = data
	return d
}

// release is for decoders that have come to a good end; the others hold values.
func (d *decoder) release() {
	d.data, d.text, d.from, d.to = nil, "", 0, 0
	clear(d.names[:d.usedNames]) // the pool must not keep them alive
	clear(d.values[:d.usedValues])
	d.usedNames, d.usedValues = 0, 0
	if cap(d.values) <= 16<<10 && cap(d.names) <= 16<<10 {
		decoders.Put(d)
	}
}

// Strings are cut from blocks of this size; longer ones have a copy each.
const blockSize = 4 << 10

// boxes hold what the values in an any point to, several to an allocation. One that is kept for long keeps the others of
// its allocation alive, and so at most 16 blocks.
type boxes struct {
	strings []string
	numbers []float64
}

var (
	stringWord = typeWord("")
	numberWord = typeWord(0.0)
	listWord   = typeWord([]any(nil))
)

// newList makes a slice, and an any that holds it. For a short one that is a single allocation.
func newList(n int) (v any, list []any) {
	var p *[]any
	switch n {
	case 1:
		l := new(struct {
			list  []any
			items [1]any
		})
		l.list, p = l.items[:], &l.list
	case 2:
		l := new(struct {
			list  []any
			items [2]any
		})
		l.list, p = l.items[:], &l.list
	case 3:
		l := new(struct {
			list  []any
			items [3]any
		})
		l.list, p = l.items[:], &l.list
	case 4:
		l := new(struct {
			list  []any
			items [4]any
		})
		l.list, p = l.items[:], &l.list
	default:
		list = make([]any, n)
		return list, list
	}
	*(*eface)(unsafe.Pointer(&v)) = eface{listWord, unsafe.Pointer(p)}
	return v, *p
}

// string is any(s) without an allocation of its own.
func (b *boxes) string(s string) (v any) {
	if len(s) > blockSize {
		return s // too long for a stranger to keep alive
	}
	if len(b.strings) == 0 {
		b.strings = make([]string, 16)
	}
	p := &b.strings[0]
	b.strings = b.strings[1:]
	*p = s
	*(*eface)(unsafe.Pointer(&v)) = eface{stringWord, unsafe.Pointer(p)}
	return v
}

// number is any(f) without an allocation of its own.
func (b *boxes) number(f float64) (v any) {
	if len(b.numbers) == 0 {
		b.numbers = make([]float64, 32)
	}
	p := &b.numbers[0]
	b.numbers = b.numbers[1:]
	*p = f
	*(*eface)(unsafe.Pointer(&v)) = eface{numberWord, unsafe.Pointer(p)}
	return v
}

// atEnd reports whether the text ends at i, which is negative after a failure.
func (d *decoder) atEnd(i int) bool { return i >= 0 && skipSpace(d.data, i) == len(d.data) }

// value decodes the value at i and returns the place after it, or a negative number.
func (d *decoder) value(i int) (any, int) {
	data := d.data
	if i >= len(data) {
		return nil, -1
	}
	switch data[i] {
	case '"':
		s, i := d.string(i)
		if i < 0 {
			return nil, -1
		}
		return d.boxes.string(s), i
	case '{':
		m, i := d.object(i)
		if i < 0 {
			return nil, -1
		}
		return m, i
	case '[':
		from := len(d.values)
		i = d.elements(i)
		if i < 0 {
			return nil, -1
		}
		v, list := newList(len(d.values) - from)
		d.copyTo(list, from)
		return v, i
	case 't':
		if len(data)-i >= 4 && string(data[i:i+4]) == "true" {
			return true, i + 4
		}
	case 'f':
		if len(data)-i >= 5 && string(data[i:i+5]) == "false" {
			return false, i + 5
		}
	case 'n':
		if len(data)-i >= 4 && string(data[i:i+4]) == "null" {
			return nil, i + 4
		}
	default:
		return d.number(i)
	}
	return nil, -1
}

func (d *decoder) object(i int) (map[string]any, int) {
	name, value := len(d.names), len(d.values)
	i = d.members(i)
	if i < 0 {
		return nil, -1
	}
	m := make(map[string]any, len(d.names)-name)
	d.moveTo(m, name, value)
	return m, i
}

// moveTo takes the innermost members from the stacks.
func (d *decoder) moveTo(m map[string]any, name, value int) {
	values := d.values[value:]
	for n, s := range d.names[name:] {
		m[s] = values[n] // the last one of a name stays
	}
	d.usedNames, d.usedValues = max(d.usedNames, len(d.names)), max(d.usedValues, len(d.values))
	d.names, d.values = d.names[:name], d.values[:value]
}

// copyTo takes the innermost elements from the stack.
func (d *decoder) copyTo(list []any, from int) int {
	n := copy(list, d.values[from:])
	d.usedValues = max(d.usedValues, len(d.values))
	d.values = d.values[:from]
	return n
}

// members decodes those of the object at i and leaves them on the stacks.
func (d *decoder) members(i int) int {
	data := d.data
	if d.depth++; d.depth > maxDepth {
		return -1
	}
	i = d.space(i + 1)
	if i < len(data) && data[i] == '}' {
		d.depth--
		return i + 1
	}
	for i < len(data) && data[i] == '"' {
		name, next := d.string(i)
		if next < 0 {
			return -1
		}
		i = d.space(next)
		if i >= len(data) || data[i] != ':' {
			return -1
		}
		v, next := d.value(d.space(i + 1))
		if next < 0 {
			return -1
		}
		d.names = append(d.names, name)
		d.values = append(d.values, v)
		i = d.space(next)
		if i >= len(data) {
			return -1
		}
		if data[i] == '}' {
			d.depth--
			return i + 1
		}
		if data[i] != ',' {
			return -1
		}
		i = d.space(i + 1)
	}
	return -1
}

// elements decodes those of the array at i and leaves them on the stack.
func (d *decoder) elements(i int) int {
	data := d.data
	if d.depth++; d.depth > maxDepth {
		return -1
	}
	i = d.space(i + 1)
	if i < len(data) && data[i] == ']' {
		d.depth--
		return i + 1
	}
	for {
		v, next := d.value(i)
		if next < 0 {
			return -1
		}
		d.values = append(d.values, v)
		i = d.space(next)
		if i >= len(data) {
			return -1
		}
		if data[i] == ']' {
			d.depth--
			return i + 1
		}
		if data[i] != ',' {
			return -1
		}
		i = d.space(i + 1)
	}
}

// space is skipSpace where there seldom is any.
func (d *decoder) space(i int) int {
	if i < len(d.data) && d.data[i] <= ' ' {
		return skipSpace(d.data, i)
	}
	return i
}

// string decodes the string whose quote is at i.
func (d *decoder) string(i int) (string, int) {
	data := d.data
	i++
	var marks, high uint64
	if i+8 <= len(data) {
		high = load(data, i)
		marks = special(high)
	}
	end := i
	if marks != 0 {
		end += first(marks)
	} else {
		end, high = plain(data, i)
	}
	if end >= len(data) {
		return "", -1
	}
	// high may come from behind the string; then this is a check in vain.
	if data[end] != '"' || high&highs != 0 && !utf8.Valid(data[i:end]) {
		return d.mended(i)
	}
	if end > d.to {
		d.cut(i, end)
	}
	return d.text[i-d.from : end-d.from], end + 1
}

// cut copies data from i on, to end or more.
func (d *decoder) cut(i, end int) {
	end = min(max(end, i+blockSize), len(d.data))
	n := end - i
	d.from, d.to = i, end
	if n > blockSize {
		d.text = string(d.data[i:end])
		return
	}
	if n > cap(d.block)-len(d.block) {
		d.block = make([]byte, 0, blockSize)
	}
	d.block = append(d.block, d.data[i:end]...)
	d.text = unsafe.String(&d.block[len(d.block)-n], n) // is never written again
}

// mended decodes a string that begins at i and cannot be taken as it is.
func (d *decoder) mended(i int) (string, int) {
	end := skipString(d.data, i-1)
	if d.data[end-1] != '"' || end == i {
		return "", -1
	}
	body := d.data[i : end-1]
	text, ok := unescape(make([]byte, 0, len(body)+8), body)
	if !ok {
		return "", -1
	}
	return unsafe.String(unsafe.SliceData(text), len(text)), end // text is ours and is never written again
}

// Powers of ten by which an integer below 2⁵³ can be divided with a single rounding.
var tens = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// Small integers are most of all numbers: no allocation for these.
var integers = func() (t [256]any) {
	for i := range t {
		t[i] = float64(i)
	}
	return t
}()

func (d *decoder) number(i int) (any, int) {
	data := d.data
	start := i
	if data[i] == '-' {
		i++
	}
	n, begin, point := uint64(0), i, 0
	for ; i < len(data) && data[i]-'0' <= 9; i++ {
		n = n*10 + uint64(data[i]-'0')
	}
	if i == begin || data[begin] == '0' && i > begin+1 {
		return nil, -1
	}
	digits := i - begin
	if i < len(data) && data[i] == '.' {
		i++
		point = i
		for ; i < len(data) && data[i]-'0' <= 9; i++ {
			n = n*10 + uint64(data[i]-'0')
		}
		if i == point {
			return nil, -1
		}
		point = i - point
	}
	if digits+point <= 15 && (i >= len(data) || data[i]|0x20 != 'e') {
		if point == 0 && begin == start && n < uint64(len(integers)) {
			return integers[n], i
		}
		f := float64(n)
		if point > 0 {
			f /= tens[point]
		}
		if begin != start {
			f = -f
		}
		return d.boxes.number(f), i
	}
	return d.longNumber(start, i)
}

// longNumber decodes the number at start, of which the exponent, if any, is at i.
func (d *decoder) longNumber(start, i int) (any, int) {
	data := d.data
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		exponent := i
		for i < len(data) && data[i]-'0' <= 9 {
			i++
		}
		if i == exponent {
			return nil, -1
		}
	}
	f, err := strconv.ParseFloat(unsafe.String(&data[start], i-start), 64) // an error has a copy
	if err != nil {
		return nil, -1
	}
	return d.boxes.number(f), i
}
