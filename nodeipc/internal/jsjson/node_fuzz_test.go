package jsjson

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fuzzLong is the length of texts beyond which questions might not fit into the pipes.
const fuzzLong = 5000

// numbers decodes text with encoding/json, and keeps the digits of numbers.
func numbers(t *testing.T, text string) (v any) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	require.NoError(t, d.Decode(&v), text)
	return v
}

// Unmarshal takes what JSON.parse takes, and Append writes of the result what JSON.stringify does.
func FuzzDecodeLikeNode(f *testing.F) {
	js := startNode(f)
	for _, c := range scanCases {
		f.Add([]byte(c.text))
	}
	for _, text := range anyTexts {
		f.Add([]byte(text))
	}
	f.Add(nested(200, true))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > fuzzLong {
			return // so the limit of 10000 levels, which Node has not, is not reached either
		}
		js := node{t, js.peer}
		// Node makes one U+FFFD of a sequence that is cut short, we one of each byte; so it gets those that we make.
		theirs := js.again(appendValid(nil, text))
		_, scanErr := Scan(text)
		require.Equal(t, theirs == "!error", scanErr != nil)
		var v any
		err := Unmarshal(text, &v)
		if scanErr != nil {
			require.Error(t, err)
			return
		}
		var bad *json.UnmarshalTypeError
		if errors.As(err, &bad) && strings.HasPrefix(bad.Value, "number ") {
			return // 1e400, which is Infinity for Node
		}
		require.NoError(t, err)
		ours, info, err := Append(nil, v)
		require.NoError(t, err)
		// Node keeps the order of members, Go sorts them. It keeps unpaired surrogates, of which Go, the one that compares
		// included, makes U+FFFD; names that are then the same are one member, and which of them counts is another matter.
		if members(t, theirs) {
			require.Equal(t, numbers(t, theirs), numbers(t, string(ours)))
		}
		want, err := Scan(ours)
		require.NoError(t, err)
		require.Equal(t, want.Cmd, info.Cmd)
	})
}

// members reports whether all members of all objects in a text have names that differ in Go.
func members(t *testing.T, text string) bool {
	d := json.NewDecoder(strings.NewReader(text))
	type object struct {
		names map[string]bool // nil for an array
		value bool            // a value is next, not a name
	}
	var stack []object
	for {
		token, err := d.Token()
		if err != nil {
			return true
		}
		top := len(stack) - 1
		if token == json.Delim('}') || token == json.Delim(']') {
			stack = stack[:top]
			continue
		}
		if top >= 0 && stack[top].names != nil {
			if o := &stack[top]; o.value {
				o.value = false
			} else {
				name := token.(string)
				if o.names[name] {
					return false
				}
				o.names[name] = true
				o.value = true
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, object{names: make(map[string]bool)})
		case json.Delim('['):
			stack = append(stack, object{})
		}
	}
}

// A builder makes values of bytes, such as JavaScript can keep: see the comments.
type builder struct{ data []byte }

func (b *builder) byte() byte {
	if len(b.data) == 0 {
		return 0
	}
	c := b.data[0]
	b.data = b.data[1:]
	return c
}

func (b *builder) take(n int) []byte {
	n = min(n, len(b.data))
	part := b.data[:n:n]
	b.data = b.data[n:]
	return part
}

func (b *builder) bits() uint64 {
	var word [8]byte
	copy(word[:], b.take(8))
	return binary.LittleEndian.Uint64(word[:])
}

func (b *builder) float() float64 { return math.Float64frombits(b.bits()) }

// int stays within 2^53, beyond which Node rounds what we write in full.
func (b *builder) int() int64 { return int64(b.bits()) >> 10 >> (b.byte() & 63) }

func (b *builder) text() string { return string(b.take(int(b.byte() & 63))) }

// key is UTF-8: of two names that are the same after repair, Node keeps the second only.
func (b *builder) key() string { return strings.ToValidUTF8(b.text(), "?") }

func (b *builder) time() time.Time {
	t := time.UnixMilli(int64(b.bits()) >> (b.byte() & 63)).Add(time.Duration(b.byte()))
	return t.In(time.FixedZone("", int(b.byte())*300))
}

// What a field of a struct may be. The variety is small because types are never freed.
var (
	fieldTags = []string{
		``, `json:"a"`, `json:"<é>"`, `json:"cmd"`, `json:"z,omitempty"`, `json:",string"`, `json:"-"`, `json:"__proto__"`,
	}
	fieldTypes = []reflect.Type{
		reflect.TypeFor[any](), reflect.TypeFor[string](), reflect.TypeFor[float64](), reflect.TypeFor[int32](),
		reflect.TypeFor[[]byte](), reflect.TypeFor[[]string](), reflect.TypeFor[time.Time](),
		reflect.TypeFor[map[string]any](), reflect.TypeFor[*bool](), reflect.TypeFor[[2]float32](),
	}
)

func (b *builder) value(depth int) any {
	kind := b.byte() % 24
	if depth == 0 {
		kind %= 12
	}
	switch kind {
	case 0:
		return nil
	case 1:
		return b.byte()&1 != 0
	case 2:
		return b.float()
	case 3:
		return math.Float32frombits(uint32(b.bits()))
	case 4:
		return b.int()
	case 5:
		return b.byte()
	case 6:
		return b.text()
	case 7:
		return namedString(b.text())
	case 8:
		return bytes.Clone(b.take(int(b.byte() & 63)))
	case 9:
		return b.time()
	case 10:
		return float64(b.int()) / float64(int(1)<<(b.byte()&63)) // short decimals, more or less
	case 11:
		return [3]uint8(append(b.take(3), 0, 0, 0)[:3])
	case 12, 13, 14:
		list := make([]any, b.byte()&7)
		for i := range list {
			list[i] = b.value(depth - 1)
		}
		return list
	case 15, 16, 17:
		m := make(map[string]any)
		for range b.byte() & 7 {
			m[b.key()] = b.value(depth - 1)
		}
		return m
	case 18:
		m := make(map[int64]string)
		for range b.byte() & 7 {
			m[b.int()] = b.text()
		}
		return m
	case 19:
		m := make(map[string][]float32)
		for range b.byte() & 7 {
			m[b.key()] = []float32{math.Float32frombits(uint32(b.bits()))}
		}
		return m
	case 20: // raw text that is Node's own but for white space: the rest would come back in another form
		text, _, err := Append(nil, b.value(depth-1))
		if err != nil {
			panic(err)
		}
		var spaced bytes.Buffer
		if err := json.Indent(&spaced, text, "\r", "\t "); err != nil {
			panic(err)
		}
		return json.RawMessage(spaced.Bytes())
	case 21:
		v := &generatedPlain{A: b.text(), C: b.int(), E: [2]bool{true, b.byte()&1 != 0}, F: b.text()}
		for range b.byte() & 3 {
			v.B = append(v.B, b.text())
		}
		return v
	case 22:
		v := &generated{
			Any: b.value(depth - 1), Str: b.text(), Float: b.float(), Bytes: b.take(5), Quoted: int32(b.int()), When: b.time(),
		}
		if b.byte()&1 != 0 {
			v.Next, _ = b.value(depth - 1).(*generated)
		}
		return v
	default:
		return b.structure(depth)
	}
}

// structure makes a struct of two fields of any type.
func (b *builder) structure(depth int) any {
	fields := make([]reflect.StructField, 2)
	for i := range fields {
		fields[i] = reflect.StructField{
			Name: string(rune('A' + i)),
			Type: fieldTypes[int(b.byte())%len(fieldTypes)],
			Tag:  reflect.StructTag(fieldTags[int(b.byte())%len(fieldTags)]),
		}
	}
	v := reflect.New(reflect.StructOf(fields))
	for i := range fields {
		f := v.Elem().Field(i)
		switch p := f.Addr().Interface().(type) {
		case *any:
			*p = b.value(depth - 1)
		case *string:
			*p = b.text()
		case *float64:
			*p = b.float()
		case *int32:
			*p = int32(b.int())
		case *[]byte:
			*p = b.take(int(b.byte() & 7))
		case *[]string:
			*p = []string{b.text(), b.text()}
		case *time.Time:
			*p = b.time()
		case *map[string]any:
			*p = map[string]any{b.key(): b.value(depth - 1)}
		case **bool:
			if b.byte()&1 != 0 {
				*p = new(bool)
			}
		case *[2]float32:
			p[1] = math.Float32frombits(uint32(b.bits()))
		}
	}
	if b.byte()&1 != 0 {
		return v.Interface()
	}
	return v.Elem().Interface()
}

// What Append writes of any value is what Node writes when it has read it.
func FuzzEncodeLikeNode(f *testing.F) {
	js := startNode(f)
	for kind := range byte(24) {
		f.Add(bytes.Repeat([]byte{kind, 3, 0x61, 0xff, 0x22, 0x0a, kind, 0x80, 0xf0, 0x3f}, 30))
		f.Add([]byte{kind, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee})
		f.Add([]byte{15, 3, 3, '1', '0', '0', kind, 9, 1, '9', kind, 2, 'a', 'b', kind})
	}
	for _, special := range []float64{
		1e21, 1e-6, 9.5e-7, 1 << 53, 5e-324, math.MaxFloat64, math.Inf(1), math.NaN(), math.Copysign(0, -1), 0.1, 123.456,
	} {
		f.Add(binary.LittleEndian.AppendUint64([]byte{2}, math.Float64bits(special)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > fuzzLong {
			return
		}
		js := node{t, js.peer}
		v := (&builder{data}).value(5)
		text, info, err := Append(nil, v)
		require.NoError(t, err)
		require.Equal(t, js.again(text), string(text))
		found, err := Scan(text)
		require.NoError(t, err)
		require.Equal(t, found.Cmd, info.Cmd)

		// The value is meant, too.
		expression := ""
		switch v := v.(type) {
		case float64:
			expression = fmt.Sprintf("new Float64Array(new BigUint64Array([%dn]).buffer)[0]", math.Float64bits(v))
		case int64:
			expression = strconv.FormatInt(v, 10)
		case string:
			expression = fmt.Sprintf("Buffer.from([%s]).toString()", elements([]byte(v)))
			if bytes.ContainsRune(text, '\ufffd') {
				expression = "" // Node makes one of several bytes
			}
		case []byte:
			if v == nil {
				break
			}
			expression = fmt.Sprintf("Buffer.from([%s])", elements(v))
		case time.Time:
			expression = "null"
			if ms := v.UnixMilli(); v.Year() > -300000 && v.Year() < 300000 { // else UnixMilli overflows
				expression = fmt.Sprintf("new Date(%d)", ms)
			}
		}
		if expression != "" {
			require.Equal(t, js.eval(expression), string(text), expression)
		}
	})
}

// elements writes bytes as the elements of an array.
func elements(b []byte) string {
	s := make([]string, len(b))
	for i, c := range b {
		s[i] = strconv.Itoa(int(c))
	}
	return strings.Join(s, ",")
}
