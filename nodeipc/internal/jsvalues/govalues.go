package jsvalues

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// Go says what a JavaScript value is in Go.
type Go struct {
	Value   any            // what payloads are decoded to, and what is sent for it; maybe Broken
	Made    map[string]any // what the payloads of some runtimes are decoded to, where that is something else
	Differs []Difference   // in what a runtime gets when Value is sent to it
}

// Decoded is what the payload of some runtimes is decoded to.
func (g Go) Decoded(p Payload) any {
	if v, ok := g.Made[p.Runtimes[0]]; ok {
		return v
	}
	return g.Value
}

// Broken stands for no value, as runtimes make payloads that cannot be read: why, in the words of the error.
type Broken string

// A Difference says what a runtime finds different between the JavaScript value and the one sent for Go's.
type Difference struct {
	In    []string // labels of runtimes; nil is all
	Finds string   // a part of what js_fixtures/advanced_check.js answers, or of the error if it cannot be encoded for them
	Why   string
}

// DiffersIn is the difference that a runtime finds, if any.
func (g Go) DiffersIn(label string) (Difference, bool) {
	for _, d := range g.Differs {
		if d.In == nil || slices.Contains(d.In, label) {
			return d, true
		}
	}
	return Difference{}, false
}

var (
	nan      = math.NaN()
	inf      = math.Inf(1)
	negative = math.Copysign(0, -1)
	hole     = v8.Hole{}
)

func list(values ...any) []any { return append([]any{}, values...) }

func object(keysAndValues ...any) *v8.Object {
	o := new(v8.Object)
	for i := 0; i < len(keysAndValues); i += 2 {
		o.Set(keysAndValues[i].(string), keysAndValues[i+1])
	}
	return o
}

func jsMap(keysAndValues ...any) *v8.Map {
	m := new(v8.Map)
	for i := 0; i < len(keysAndValues); i += 2 {
		m.Set(keysAndValues[i], keysAndValues[i+1])
	}
	return m
}

func set(values ...any) *v8.Set {
	s := new(v8.Set)
	for _, v := range values {
		s.Add(v)
	}
	return s
}

func big2(power uint, more int64) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), power)
	return n.Add(n, big.NewInt(more))
}

func minus(n *big.Int) *big.Int { return n.Neg(n) }

func boxed(v any) *v8.Boxed { return &v8.Boxed{Value: v} }

func regExp(source, flags string) *v8.RegExp { return &v8.RegExp{Source: source, Flags: flags} }

// view is a typed array of elements, one of Go's number types or slices of them.
func view(typ v8.ViewType, elements any) *v8.View {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, elements); err != nil {
		panic(err)
	}
	return &v8.View{Type: typ, Data: b.Bytes()}
}

func buffer(data ...byte) *v8.ArrayBuffer { return &v8.ArrayBuffer{Data: append([]byte{}, data...)} }

func resizable(length, most int) *v8.ArrayBuffer {
	return &v8.ArrayBuffer{Data: make([]byte, length), Resizable: true, MaxByteLength: uint32(most)}
}

// failure is an Error with a message and a stack.
func failure(name, message string) *v8.Error {
	return &v8.Error{Name: name, Message: message, HasMessage: true, Stack: "at stack", HasStack: true}
}

func caused(e *v8.Error, cause any) *v8.Error {
	e.Cause, e.HasCause = cause, true
	return e
}

func wordless(e *v8.Error) *v8.Error { e.Message, e.HasMessage = "", false; return e }

func stackless(e *v8.Error) *v8.Error { e.Stack, e.HasStack = "", false; return e }

func stacked(e *v8.Error, stack string) *v8.Error { e.Stack = stack; return e }

// twice is one value at two places.
func twice(v any) any { return list(v, v) }

func repeat(n int, v any) []any { return slices.Repeat([]any{v}, n) }

func nest(n int, first any, next func(any) any) any {
	for range n - 1 {
		first = next(first)
	}
	return first
}

const (
	noIdentity = "in Go it is a value, of which there is no same one twice"
	emptySlice = "a slice without elements has no identity"
)

func goValues() map[string]Go {
	is := func(v any) Go { return Go{Value: v} }
	differs := func(v any, finds, why string, in ...string) Go {
		return Go{Value: v, Differs: []Difference{{in, finds, why}}}
	}
	broken := func(why string) Go { return Go{Value: Broken(why)} }
	// What a reader of Node 12, 14 or 16 makes of references behind an Error is wrong; to those none is written.
	unshared := func(v any) Go {
		return differs(v, "not an object that should be here again", "no reference is written behind an Error", "12", "14", "16")
	}
	inNodes := func(v any) map[string]any {
		made := map[string]any{}
		for _, label := range strings.Fields("12 14 16 18 20 22 24 26") {
			made[label] = v
		}
		return made
	}
	bytes16 := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

	manyKeys := object()
	for i := range 300 {
		manyKeys.Set("key"+decimal(i), float64(i))
	}
	map100 := jsMap()
	for i := range 100 {
		map100.Set(float64(i), -float64(i)) // the first is -0
	}
	many := make([]any, 200)
	for i := range many {
		many[i] = object()
	}
	sparse := func(length uint32, props *v8.Object, elements ...v8.Element) *v8.Sparse {
		return &v8.Sparse{Length: length, Elements: elements, Props: props}
	}
	at := func(i uint32, v any) v8.Element { return v8.Element{Index: i, Value: v} }

	// With references to itself:
	cycle := func(fill func(x *v8.Object)) *v8.Object { x := object(); fill(x); return x }
	cycleArray := []any{1.0, nil, nil}
	cycleArray[1], cycleArray[2] = cycleArray, list(cycleArray)
	cycleSparse := []any{hole, hole, hole, hole, hole, nil}
	cycleSparse[5] = cycleSparse
	cycleNamed := sparse(0, object())
	cycleNamed.Props.Set("self", cycleNamed)
	cycleMap := jsMap()
	cycleMap.Set("self", cycleMap)
	cycleKey := jsMap()
	cycleKey.Set(cycleKey, "self")
	cycleSet := set()
	cycleSet.Add(cycleSet)
	cycleError := failure("Error", "message")
	cycleError.Cause, cycleError.HasCause = cycleError, true
	x, y := object("name", "x"), object("name", "y")
	y.Set("x", x)
	x.Set("y", y)
	one, before, native, empty := object(), object("a", 1.0), object("o", object()), []any{}
	nativeO, _ := native.Get("o")

	return map[string]Go{
		"undefined_in":     is(list(v8.Undefined{})),
		"undefined_member": is(object("a", v8.Undefined{})),
		"null":             is(nil),
		"true":             is(true),
		"false":            is(false),
		"zero":             is(0.0),
		"one":              is(1.0),
		"minus_one":        is(-1.0),
		"sixty_three":      is(63.0),
		"sixty_four":       is(64.0),
		"minus_sixty_four": is(-64.0),
		"minus_sixty_five": is(-65.0),
		"int30_max":        is(1073741823.0),
		"int30_more":       is(1073741824.0),
		"int32_max":        is(2147483647.0),
		"int32_min":        is(-2147483648.0),
		"int32_more":       is(2147483648.0),
		"int32_less":       is(-2147483649.0),
		"uint32_max":       is(4294967295.0),
		"safe_max":         is(9007199254740991.0),
		"safe_min":         is(-9007199254740991.0),
		"safe_more":        is(9007199254740992.0),
		"minus_zero":       is(negative),
		"nan":              is(nan),
		"infinity":         is(inf),
		"minus_infinity":   is(-inf),
		"fraction":         is(1.5),
		"tenth":            is(0.1),
		"minus_tenth":      is(-0.1),
		"e21":              is(1e21),
		"denormal_min":     is(5e-324),
		"double_min":       is(2.2250738585072014e-308),
		"double_max":       is(math.MaxFloat64),

		"bigint":             is(big.NewInt(1)),
		"bigint_zero":        is(list(big.NewInt(0))),
		"bigint_one":         is(list(big.NewInt(1))),
		"bigint_minus_one":   is(list(big.NewInt(-1))),
		"bigint_255":         is(list(big.NewInt(255))),
		"bigint_minus_255":   is(list(big.NewInt(-255))),
		"bigint_2_63":        is(list(big2(63, 0))),
		"bigint_minus_2_63":  is(list(minus(big2(63, 0)))),
		"bigint_2_64_less":   is(list(big2(64, -1))),
		"bigint_2_64":        is(list(big2(64, 0))),
		"bigint_2_200":       is(list(big2(200, 0))),
		"bigint_minus_2_200": is(list(minus(big2(200, 1)))),
		"bigint_2_1100":      is(list(big2(1100, 0))),
		"bigint_member":      is(object("n", new(big.Int).SetUint64(12345678901234567890))),

		// Unpaired surrogates are three bytes each, as UTF-8 would have them.
		"string_empty":            is(""),
		"string":                  is("text"),
		"string_nul":              is("\x00a\x00"),
		"string_latin1":           is("grüße ÿ\u0080"),
		"string_two_byte":         is("€ 漢 Ā"),
		"string_two_byte_nul":     is("€\x00"),
		"string_latin1_by_width":  is("aÿ"),
		"string_astral":           is("😀 \U0010ffff"),
		"string_lone_high":        is("a\xed\xa0\x80b"),
		"string_lone_low":         is("a\xed\xb0\x80b"),
		"string_swapped_pair":     is("\xed\xb0\x80\xed\xa0\x80"),
		"string_high_high_low":    is("\xed\xa0\xbd😀"),
		"string_high_at_end":      is("\xed\xa0\xbd"),
		"string_bom":              is("\ufeff\ufffe\uffff\ufffd"),
		"string_concatenated":     is(strings.Repeat("left half of a rope ", 3) + "42"),
		"string_127":              is(strings.Repeat("x", 127)),
		"string_128":              is(strings.Repeat("x", 128)),
		"string_two_byte_126":     is(strings.Repeat("€", 63)),
		"string_two_byte_128":     is(strings.Repeat("€", 64)),
		"string_two_byte_odd":     is(list("a", "€", "€")),
		"string_two_byte_even":    is(list("", "€", "ab", "€")),
		"string_64k":              is(strings.Repeat("x", 65536)),
		"string_two_byte_64k":     is(strings.Repeat("€", 32768)),
		"string_same_twice":       is(list("text", "text")),
		"object_empty":            is(object()),
		"object":                  is(object("a", 1.0, "b", "two", "c", nil, "d", list(true), "e", object("f", v8.Undefined{}))),
		"object_order":            is(object("z", 1.0, "a", 2.0, "m", 3.0, "Z", 4.0)),
		"object_integer_keys":     is(object("0", 3.0, "2", 2.0, "10", 1.0, "b", 0.0, "a", 4.0)),
		"object_to_json":          is(object("a", 1.0, "toJSON", nil)),
		"object_many_keys":        is(manyKeys),
		"object_empty_key":        is(object("", 1.0)),
		"object_latin1_key":       is(object("grüße", 1.0)),
		"object_two_byte_key":     is(object("€", 1.0, "a€", 2.0, "😀", 3.0)),
		"object_names_of_methods": is(object("constructor", 1.0, "toString", 2.0, "hasOwnProperty", 3.0, "length", 4.0)),
		"object_proto_key":        is(object("__proto__", object("x", 1.0), "a", 2.0)),
		"object_nested": is(object("a", object("b", object("c", object("d",
			list(list(list(object())))))))),
		"object_large_integer_keys":  is(object("2147483647", 1.0, "2147483648", 2.0, "4294967294", 3.0)),
		"object_sparse_integer_keys": is(object("7", "b", "1000000", "a")),
		"object_nearly_integer_keys": is(object("01", 1.0, "-1", 2.0, "4294967295", 3.0, "1.5", 4.0, "-0", 5.0, "1e3", 6.0)),
		"object_lone_surrogate_keys": is(object("\xed\xa0\x80", 1.0, "\xed\xb0\x80", 2.0)),
		"object_cmd":                 is(object("cmd", "NODE_")),
		"object_null_prototype":      is(object("a", 1.0)),
		"object_inherited":           is(object("own", 2.0)),
		"object_class":               is(object("x", 1.0, "y", 2.0)),
		"object_getter":              is(object("a", 1.0, "b", v8.Undefined{})),
		"object_getter_throws":       broken("v8:"), // Deno sends what it has until then
		"object_getter_deletes":      is(object("a", 1.0, "c", 3.0)),
		"object_symbol_key":          is(object("a", 1.0)),
		"object_not_enumerable":      is(object("a", 1.0)),
		"object_frozen":              is(object("a", 1.0)),
		"object_math":                is(object()),
		"object_json":                is(object()),
		"object_url":                 is(object()),
		"object_url_search_params":   is(object()),
		"object_event_emitter":       is(object("n", 1.0)),

		"array_empty":              is(list()),
		"array":                    is(list(1.0, "two", nil, false, object(), v8.Undefined{})),
		"array_integers":           is(list(1.0, 2.0, 3.0)),
		"array_doubles":            is(list(1.5, 2.5)),
		"array_doubles_whole":      is(list(1.5, 2.0, negative, nan, 2147483648.0)),
		"array_beyond_int32":       is(list(2147483648.0, -1.0)),
		"array_nested":             is(list(list(), list(list()), list(list(list())))),
		"array_holes":              is(list(1.0, hole, 3.0)),
		"array_hole_first":         is(list(hole, 1.0)),
		"array_hole_last":          is(list(1.0, hole)),
		"array_holes_only":         is(list(hole, hole)),
		"array_holes_of_doubles":   is(list(1.5, hole, 2.5)),
		"array_hole_and_undefined": is(list(hole, v8.Undefined{}, hole, nil)),
		"array_of_length":          is(list(hole, hole, hole)),
		"array_filled":             is(list(0.0, 0.0, 0.0)),
		"array_element_deleted":    is(list(1.0, hole, 3.0)),
		"array_popped":             is(list(1.0, 2.0)),
		"array_shrinks":            is(list(object("x", 1.0), hole, hole)),
		"array_symbol_key":         is(list(1.0)),
		"array_getter":             is(list(7.0, 2.0)),
		"array_class":              is(list("a", "b")),
		"array_frozen":             is(list(1.0, list(2.0))),
		"array_300":                is(repeat(300, true)),
		"array_sparse_nested":      is(list(hole, list(hole, object("a", list(hole))))),
		"array_sparse":             is(sparse(100001, nil, at(7, "y"), at(100000, "x"))),
		"array_sparse_longest":     is(sparse(4294967295, nil, at(4294967294, "last"))),
		"array_sparse_empty":       is(sparse(4294967295, nil)),
		"array_sparse_beyond_int32": is(sparse(3000000001, nil,
			at(2147483647, "a"), at(2147483648, "b"), at(3000000000, "c"))),
		"array_named":       is(sparse(2, object("name", "n", "", 0.0), at(0, 1.0), at(1, 2.0))),
		"array_named_empty": is(sparse(0, object("name", "n"))),
		"array_named_holes": is(sparse(3, object("name", "n", "-1", "m", "4294967295", "beyond"),
			at(0, 1.0), at(2, 3.0))),
		"array_named_two_byte": is(sparse(1, object("€", "€"), at(0, 1.0))),

		"date":          is(v8.Date(0)),
		"date_ms":       is(v8.Date(1795406706789)),
		"date_negative": is(v8.Date(-1)),
		"date_min":      is(v8.Date(-8640000000000000)),
		"date_max":      is(v8.Date(8640000000000000)),
		"date_invalid":  is(v8.Date(nan)),
		"date_member":   is(v8.Date(1000)),
		"date_class":    is(v8.Date(86400000)),

		"boxed_number":                is(boxed(7.0)),
		"boxed_minus_zero":            is(boxed(negative)),
		"boxed_nan":                   is(boxed(nan)),
		"boxed_true":                  is(boxed(true)),
		"boxed_false":                 is(boxed(false)),
		"boxed_string":                is(boxed("s")),
		"boxed_string_empty":          is(boxed("")),
		"boxed_string_two_byte":       is(boxed("€")),
		"boxed_string_lone_surrogate": is(boxed("\xed\xbf\xbf")),
		"boxed_bigint":                is(boxed(big.NewInt(-5))),
		"boxed_bigint_zero":           is(boxed(big.NewInt(0))),
		"boxed_member":                is(boxed(1.0)),

		"regexp":             is(regExp("a", "")),
		"regexp_empty":       is(regExp("(?:)", "")),
		"regexp_g":           is(regExp("a", "g")),
		"regexp_i":           is(regExp("a", "i")),
		"regexp_m":           is(regExp("a", "m")),
		"regexp_y":           is(regExp("a", "y")),
		"regexp_u":           is(regExp("a", "u")),
		"regexp_s":           is(regExp("a", "s")),
		"regexp_d":           is(regExp("a", "d")),
		"regexp_v":           differs(regExp("[a--b]", "v"), "v8:", "what is new in the grammar of v is refused, lest it cannot be read"),
		"regexp_all_flags":   is(regExp("^a|b$", "gimsuy")),
		"regexp_all_flags_d": is(regExp("a", "dgimsuy")),
		"regexp_all_flags_v": is(regExp("a", "dgimsvy")),
		"regexp_slash":       is(regExp(`a\/b[/]\n`, "")),
		"regexp_line_feed": {Value: regExp(`a\nb`, ""), Made: map[string]any{
			"12": regExp("a\nb", ""), "14": regExp("a\nb", ""), "16": regExp("a\nb", ""),
		}},
		"regexp_two_byte":     is(regExp(`\u20ac\u{1f600}\d`, "u")),
		"regexp_two_byte_raw": is(regExp("€", "")),
		"regexp_groups":       is(regExp(`(?<year>\d{4})-(?<month>\d\d)(?<!x)`, "")),
		"regexp_last_index":   is(regExp("a", "g")),
		"regexp_class":        is(regExp("a", "g")),

		"map_empty": is(jsMap()),
		"map":       is(jsMap("b", 1.0, "a", object("c", 2.0))),
		"map_keys": is(jsMap(v8.Undefined{}, 0.0, nil, 1.0, true, 2.0, 1.0, 3.0, 1.5, 4.0, nan, 5.0, 0.0, 6.0,
			"1", 7.0, big.NewInt(1), 8.0)),
		"map_object_keys": is(jsMap(object(), 0.0, list(), 1.0, v8.Date(0), 2.0, jsMap(), 3.0, []byte("k"), 4.0,
			regExp("a", ""), 5.0)),
		"map_nested":       is(jsMap(jsMap(1.0, 2.0), jsMap(3.0, set(4.0)))),
		"map_of_undefined": is(jsMap("a", v8.Undefined{})),
		"map_member":       is(jsMap(1.0, 2.0)),
		"map_class":        is(jsMap(1.0, 2.0)),
		"map_100":          is(map100),
		"map_grows":        is(jsMap("a", object("x", 0.0))),
		"set_empty":        is(set()),
		"set":              is(set("b", "a", "c")),
		"set_keys":         is(set(v8.Undefined{}, nil, true, 1.0, 1.5, nan, 0.0, "1", big.NewInt(1))),
		"set_objects":      is(set(object(), object(), list(), v8.Date(0), []byte("k"))),
		"set_nested":       is(set(set(set()), jsMap(1.0, set(2.0)))),
		"set_member":       is(set(1.0)),
		"set_class":        is(set(1.0)),

		"arraybuffer_empty":           is(buffer()),
		"arraybuffer":                 is(buffer(0, 1, 128, 255)),
		"arraybuffer_member":          is(buffer(0)),
		"arraybuffer_resizable":       is(resizable(2, 5)),
		"arraybuffer_resizable_full":  is(resizable(200, 200)),
		"arraybuffer_resizable_empty": is(resizable(0, 1)),

		"int8array":             is(view(v8.Int8Array, []int8{0, 1, -1, 127, -128})),
		"uint8array":            is(view(v8.Uint8Array, []uint8{0, 1, 255})),
		"uint8clampedarray":     is(view(v8.Uint8ClampedArray, []uint8{0, 1, 255})),
		"int16array":            is(view(v8.Int16Array, []int16{0, 1, -1, 32767, -32768})),
		"uint16array":           is(view(v8.Uint16Array, []uint16{0, 1, 65535})),
		"int32array":            is(view(v8.Int32Array, []int32{0, 1, -1, math.MaxInt32, math.MinInt32})),
		"uint32array":           is(view(v8.Uint32Array, []uint32{0, 1, math.MaxUint32})),
		"float32array":          is(view(v8.Float32Array, []uint32{0, 1 << 31, 0x3fc00000, 0x7f7fffff, 0x7f800000, 0x7fc00000})),
		"float64array":          is(view(v8.Float64Array, []uint64{0, 1 << 63, math.Float64bits(0.1), 1, 0xfff << 52, 0x7ff8 << 48})),
		"bigint64array":         is(view(v8.BigInt64Array, []int64{0, 1, -1, math.MaxInt64, math.MinInt64})),
		"biguint64array":        is(view(v8.BigUint64Array, []uint64{0, 1, math.MaxUint64})),
		"float16array":          is(view(v8.Float16Array, []uint16{0, 0x8000, 0x3e00, 0x7bff, 0x7c00, 0x7e00})),
		"dataview":              is(view(v8.DataView, bytes16)),
		"uint8array_empty":      is(view(v8.Uint8Array, []byte{})),
		"float64array_empty":    is(view(v8.Float64Array, []byte{})),
		"dataview_empty":        is(view(v8.DataView, []byte{})),
		"uint8array_part":       is(view(v8.Uint8Array, bytes16[3:8])),
		"int32array_part":       is(view(v8.Int32Array, bytes16[4:12])),
		"float64array_part":     is(view(v8.Float64Array, bytes16[8:])),
		"dataview_part":         is(view(v8.DataView, bytes16[5:8])),
		"uint8array_empty_part": is(view(v8.Uint8Array, []byte{})),
		"uint8array_odd": is(list(view(v8.Uint8Array, make([]byte, 1)), view(v8.Float64Array, 1.5),
			view(v8.Uint8Array, make([]byte, 2)), view(v8.Uint16Array, uint16(513)))),
		"uint8array_resizable": is(view(v8.Uint8Array, make([]byte, 3))),
		"uint8array_class":     is(view(v8.Uint8Array, []byte{1, 2})),
		"uint8array_member":    is(view(v8.Uint8Array, []byte{1})),
		"uint8array_300":       is(view(v8.Uint8Array, bytes.Repeat([]byte{7}, 300))),
		"views_of_one_buffer":  is(list(view(v8.Uint8Array, bytes16[:2]), view(v8.Uint8Array, bytes16[1:3]))),
		"buffer_and_view":      is(list(buffer(0, 0), view(v8.Uint8Array, []byte{0, 0}))),

		"buffer":        is([]byte("hi")),
		"buffer_empty":  is([]byte{}),
		"buffer_one":    is([]byte{255}),
		"buffer_pool":   is(list([]byte("one"), []byte("two"), []byte{1, 1, 1})),
		"buffer_slice":  is([]byte("slice")),
		"buffer_64k":    is(bytes.Repeat([]byte{'x'}, 65536)),
		"buffer_member": is([]byte("a")),
		"buffer_in":     is(object("name", "a", "data", []byte{0, 1, 2}, "more", list([]byte{}))),

		"error":                   is(failure("Error", "message")),
		"error_eval":              is(failure("EvalError", "message")),
		"error_range":             is(failure("RangeError", "message")),
		"error_reference":         is(failure("ReferenceError", "message")),
		"error_syntax":            is(failure("SyntaxError", "message")),
		"error_type":              is(failure("TypeError", "message")),
		"error_uri":               is(failure("URIError", "message")),
		"error_no_message":        is(wordless(failure("Error", ""))),
		"error_empty_message":     is(failure("RangeError", "")),
		"error_two_byte_message":  is(failure("Error", "€")),
		"error_two_byte_stack":    is(stacked(failure("Error", "a"), "€")),
		"error_message_no_string": is(failure("Error", "7")),
		"error_stack_of_engine":   is(stacked(failure("TypeError", "message"), "TypeError: message")),
		"error_no_stack":          is(stackless(failure("TypeError", "message"))),
		"error_stack_no_string":   is(stackless(failure("TypeError", "message"))),
		"error_cause":             is(caused(failure("Error", "message"), "why")),
		"error_cause_error":       is(caused(failure("Error", "message"), failure("RangeError", "inner"))),
		"error_cause_object":      is(caused(failure("TypeError", "message"), object("code", 7.0, "of", list(big.NewInt(1))))),
		"error_cause_null":        is(caused(failure("Error", "message"), nil)),
		"error_cause_undefined":   is(caused(failure("Error", "message"), v8.Undefined{})),
		"error_cause_false":       is(caused(failure("Error", ""), false)),
		"error_cause_alone":       is(caused(wordless(failure("Error", "")), 1.0)),
		"error_cause_itself":      differs(cycleError, "v8:", "Node before 22 cannot read a reference to an Error inside that", "16", "18", "20"),
		"error_cause_enumerable":  is(caused(failure("Error", "message"), "why")),
		"error_members":           is(failure("TypeError", "message")),
		"error_named":             {Value: failure("TypeError", "message"), Made: map[string]any{"12": failure("Error", "message")}},
		"error_named_else":        {Value: failure("Error", "message"), Made: map[string]any{"12": failure("TypeError", "message")}},
		"error_class":             {Value: failure("RangeError", "message"), Made: map[string]any{"12": failure("Error", "message")}},
		"error_class_named":       is(failure("Error", "message")),
		"error_aggregate":         is(failure("Error", "message")),
		"error_prototype_null":    is(failure("Error", "message")),
		"error_in":                is(object("failed", true, "error", failure("Error", "message"), "after", 1.0)),
		"errors":                  is(list(failure("Error", "a"), failure("TypeError", "b"))),

		"twice_object":            is(twice(object("a", 1.0))),
		"twice_array":             is(twice(list(1.0))),
		"twice_array_empty":       differs(list(empty, empty), "not an object that should be here again", emptySlice),
		"twice_array_sparse":      is(twice(list(hole, 1.0))),
		"twice_date":              differs(list(v8.Date(1), v8.Date(1)), "not an object that should be here again", noIdentity),
		"twice_boxed":             is(twice(boxed("s"))),
		"twice_boxed_bigint":      is(twice(boxed(big.NewInt(1)))),
		"twice_boxed_true":        is(twice(boxed(true))),
		"twice_regexp":            is(twice(regExp("a", ""))),
		"twice_map":               is(twice(jsMap(1.0, 2.0))),
		"twice_set":               is(twice(set(1.0))),
		"twice_arraybuffer":       is(twice(buffer(0))),
		"twice_buffer":            is(twice([]byte("a"))),
		"twice_buffer_empty":      differs(list([]byte{}, []byte{}), "not an object that should be here again", emptySlice),
		"twice_float64array":      is(twice(view(v8.Float64Array, 1.5))),
		"twice_error":             unshared(twice(failure("Error", "message"))),
		"twice_members":           differs(object("a", one, "b", empty, "c", one, "d", object("e", empty, "f", one)), "not an object that should be here again", emptySlice),
		"twice_in_map":            is(jsMap(one, one, "x", one)),
		"twice_in_set":            is(list(one, set(one))),
		"twice_after_many":        is(list(many, many[0], many[199])),
		"reference_after_error":   is(list(before, failure("Error", "between"), before)),
		"reference_beyond_error":  unshared(list(failure("Error", "before"), one, one)),
		"reference_after_buffer":  is(list([]byte("a"), one, view(v8.Uint8Array, []byte{0}), one)),
		"reference_after_boxed":   is(list(boxed(1.0), boxed("a"), boxed(big.NewInt(1)), one, one)),
		"reference_after_strings": is(list("a", big.NewInt(1), nil, one, one)),

		"cycle_object":       is(cycle(func(x *v8.Object) { x.Set("n", 1.0).Set("self", x) })),
		"cycle_two":          is(list(x, y)),
		"cycle_array":        is(cycleArray),
		"cycle_array_sparse": is(cycleSparse),
		"cycle_array_named":  is(cycleNamed),
		"cycle_map_value":    is(cycleMap),
		"cycle_map_key":      is(cycleKey),
		"cycle_set":          is(cycleSet),
		"cycle_mixed":        is(cycle(func(x *v8.Object) { x.Set("m", jsMap("s", set(list(x)))) })),
		"cycle_list": is(cycle(func(x *v8.Object) {
			x.Set("n", 0.0).Set("next", object("n", 1.0, "next", object("n", 2.0, "next", x)))
		})),

		"deep_objects": differs(nest(2000, object(), func(x any) any { return object("x", x) }),
			"cannot be read: RangeError", "so many objects are too deep for the stack", "20", "22", "24"),
		"deep_objects_1000":  is(nest(1000, object(), func(x any) any { return object("x", x) })),
		"deep_arrays":        is(nest(2000, list(), func(x any) any { return list(x) })),
		"deep_arrays_sparse": is(nest(500, list(hole), func(x any) any { return list(hole, x) })),
		"deep_maps":          is(nest(2000, jsMap(), func(x any) any { return jsMap(1.0, x) })),
		"deep_sets":          is(nest(2000, set(), func(x any) any { return set(x) })),

		"native":         is(object()),
		"native_members": is(object("a", 1.0, "b", []byte("b"))),
		"native_twice":   is(list(native, native, nativeO, nativeO)),
		"native_cycle":   {Value: cycle(func(x *v8.Object) { x.Set("self", x) }), Made: inNodes(Broken("reference to object 0"))},
		"native_handle":  is(object("reading", false, "onconnection", nil)),
		"native_port":    is(list(object())),

		// Deno does not throw, but sends what it has until it comes to what it cannot send.
		"function_in":          broken("v8:"),
		"class":                broken("v8:"),
		"symbol_in":            broken("v8:"),
		"boxed_symbol":         broken("v8:"),
		"promise":              broken("v8:"),
		"proxy":                broken("v8:"),
		"weakmap":              broken("v8:"),
		"weakset":              broken("v8:"),
		"weakref":              broken("v8:"),
		"arguments":            broken("v8:"),
		"generator":            broken("v8:"),
		"iterator":             broken("v8:"),
		"map_iterator":         broken("v8:"),
		"shared_arraybuffer":   broken("v8:"),
		"detached_arraybuffer": broken("v8:"),
		"intl":                 broken("v8:"),
		"wasm_memory":          broken("v8:"),
		"temporal":             broken("v8:"),
		"wasm_module":          broken("v8:"), // nor do Nodes throw: its member has no value
	}
}

func decimal(n int) string { return big.NewInt(int64(n)).String() }
