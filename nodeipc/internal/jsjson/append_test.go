package jsjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type (
	namedBytes  []byte
	namedByte   uint8
	namedString string
	flat        struct {
		A string   `json:"a"`
		B int      `json:"b,omitempty"`
		C []string `json:"c"`
		D *flat    `json:"d,omitempty"`
		E [3]byte  `json:"e"`
		F bool     `json:"-,"`
		G string   `json:"-"`
		H uint64   `json:",string"`
		I string   `json:",string,omitempty"`
		J *bool    `json:",string"`
		K struct{} `json:"k,omitzero"`
		L string   `json:"odd !#$%&()*+-./:;<=>?@[]^_{|}~ é"`
		M int      `json:"bad\"name"`
		n int
	}
	inner    struct{ X, Y int }
	Embedded struct {
		inner
		Y string
		Z int `json:"z"`
	}
	tagged struct {
		Y int `json:"Y"`
	}
	clash struct {
		inner  // X, Y
		tagged // Y again, tagged: this one wins
		*Embedded
	}
	cancel struct {
		inner
		Other struct{ X int }
		other
	}
	other struct{ X int }
	user  struct{ text string }
	byRef struct{ N int }
	text  struct{ s string }
	list  struct {
		V    int
		Next *list
	}
	zero struct{ N int }
)

func (u user) MarshalJSON() ([]byte, error) { return []byte(u.text), nil }

func (b *byRef) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `"ref %d"`, b.N), nil }

func (t text) MarshalText() ([]byte, error) {
	if t.s == "fail" {
		return nil, errText
	}
	return []byte(t.s), nil
}

func (z zero) IsZero() bool { return z.N == 7 }

var errText = errors.New("no text")

func ptr[T any](v T) *T { return &v }

// appendCases are Go values, what Append has to make of them, and a JavaScript expression from which JSON.stringify
// makes the same.
var appendCases = []struct {
	name string
	v    any
	want string
	js   string
}{
	// What JSON.stringify is known for.
	{"raw characters", "<>&'/\u007f\u0080\u2028\u2029€😀", "\"<>&'/\u007f\u0080\u2028\u2029€😀\"", `"<>&'/\x7f\x80\u2028\u2029€😀"`},
	{"quote, backslash", `"\`, `"\"\\"`, `'"\\'`},
	{"short escapes", "\b\f\n\r\t", `"\b\f\n\r\t"`, `"\b\f\n\r\t"`},
	{"other controls", "\x00\x01\x0b\x1f", `"\u0000\u0001\u000b\u001f"`, `"\0\x01\x0b\x1f"`},
	{"1e21", 1e21, `1e+21`, `1e21`},
	{"1e20", 1e20, `100000000000000000000`, `1e20`},
	{"1e-6", 1e-6, `0.000001`, `1e-6`},
	{"1e-7", 1e-7, `1e-7`, `1e-7`},
	{"smallest", 5e-324, `5e-324`, `5e-324`},
	{"largest", math.MaxFloat64, `1.7976931348623157e+308`, `Number.MAX_VALUE`},
	{"-1.5e-10", -1.5e-10, `-1.5e-10`, `-1.5e-10`},
	{"1.5e-11", 1.5e-11, `1.5e-11`, `1.5e-11`},
	{"below 1e21", 999999999999999900000.0, `999999999999999900000`, `999999999999999900000`},
	{"123456789012345680000", 123456789012345680000.0, `123456789012345680000`, `123456789012345680000`},
	{"0.1", 0.1, `0.1`, `0.1`},
	{"4.35", 4.35, `4.35`, `4.35`},
	{"2**53", int64(1 << 53), `9007199254740992`, `2**53`},
	{"float 2**53", float64(1 << 53), `9007199254740992`, `2**53`},
	{"float 2**53-1", -float64(1<<53 - 1), `-9007199254740991`, `-(2**53-1)`},
	{"-0", math.Copysign(0, -1), `0`, `-0`},
	{"NaN", math.NaN(), `null`, `NaN`},
	{"Infinity", math.Inf(1), `null`, `Infinity`},
	{"-Infinity", []any{math.Inf(-1)}, `[null]`, `[-Infinity]`},
	{"float32", float32(0.1), `0.1`, `0.1`},
	{"float32 1e-6", float32(1e-6), `0.000001`, `0.000001`},
	{"float32 1e21", float32(1e21), `1e+21`, `1e21`},
	{"float32 2**25", float32(1 << 25), `33554432`, `2**25`},
	{"float32 large", float32(16777216000), `16777216000`, `16777216000`},
	{"float32 1e-10", []float32{1e-10}, `[1e-10]`, `[1e-10]`},
	{"null", nil, `null`, `null`},
	{"true", true, `true`, `true`},
	{"Date(0)", time.Unix(0, 0), `"1970-01-01T00:00:00.000Z"`, `new Date(0)`},
	{"Date -1", time.Unix(0, -1), `"1969-12-31T23:59:59.999Z"`, `new Date(-1)`},
	{"Date in a zone", time.Date(2024, 2, 29, 23, 30, 1, 987654321, time.FixedZone("", -3600)), `"2024-03-01T00:30:01.987Z"`, `new Date(Date.UTC(2024, 2, 1, 0, 30, 1, 987))`},
	{"Date of year 10000", time.UnixMilli(253402300800000), `"+010000-01-01T00:00:00.000Z"`, `new Date(253402300800000)`},
	{"Date before year 0", time.UnixMilli(-62167219200001), `"-000001-12-31T23:59:59.999Z"`, `new Date(-62167219200001)`},
	{"Date, last", time.UnixMilli(8.64e15), `"+275760-09-13T00:00:00.000Z"`, `new Date(8.64e15)`},
	{"Date, first", time.UnixMilli(-8.64e15), `"-271821-04-20T00:00:00.000Z"`, `new Date(-8.64e15)`},
	{"Date too late", time.UnixMilli(8.64e15 + 1), `null`, `new Date(8.64e15 + 1)`},
	{"Date far too late", time.Unix(1<<60, 0), `null`, `new Date(NaN)`},
	{"Date in a struct", &struct{ D time.Time }{time.Unix(1, 0)}, `{"D":"1970-01-01T00:00:01.000Z"}`, `{D: new Date(1000)}`},
	{"Date pointers", []*time.Time{nil, ptr(time.Unix(1, 0))}, `[null,"1970-01-01T00:00:01.000Z"]`, `[null, new Date(1000)]`},
	{"Buffer", []byte("hi"), `{"type":"Buffer","data":[104,105]}`, `Buffer.from('hi')`},
	{"Buffer, all digits", []byte{0, 9, 10, 99, 100, 101, 255}, `{"type":"Buffer","data":[0,9,10,99,100,101,255]}`, `Buffer.from([0, 9, 10, 99, 100, 101, 255])`},
	{"Buffer, empty", []byte{}, `{"type":"Buffer","data":[]}`, `Buffer.alloc(0)`},
	{"Buffer, nil", []byte(nil), `null`, `null`},
	{"Buffer, named", map[string]any{"b": namedBytes("a"), "c": []namedByte{1}}, `{"b":{"type":"Buffer","data":[97]},"c":{"type":"Buffer","data":[1]}}`, `{b: Buffer.from('a'), c: Buffer.from([1])}`},
	{"Buffers", [][]byte{{1}, nil}, `[{"type":"Buffer","data":[1]},null]`, `[Buffer.from([1]), null]`},
	{"byte array", [2]byte{1, 2}, `[1,2]`, `[1, 2]`},
	{"object's order", map[string]any{"b": 1, "a": 2, "2": 1, "1": 1, "10": 1, "4294967294": 1, "4294967295": 2, "-1": 0, "01": 1, "": 0},
		`{"1":1,"2":1,"10":1,"4294967294":1,"":0,"-1":0,"01":1,"4294967295":2,"a":2,"b":1}`,
		`{4294967294: 1, 10: 1, 2: 1, 1: 1, "": 0, "-1": 0, "01": 1, 4294967295: 2, a: 2, b: 1}`},
	{"map of ints", map[int64]string{10: "x", 9: "y", -1: "z", math.MaxInt64: "w"}, `{"9":"y","10":"x","-1":"z","9223372036854775807":"w"}`, `{9: 'y', 10: 'x', "-1": 'z', "9223372036854775807": 'w'}`},
	{"map of uints", map[uint64]bool{4294967295: true, 4294967294: false, 0: true}, `{"0":true,"4294967294":false,"4294967295":true}`, `{0: true, 4294967294: false, 4294967295: true}`},
	{"map of texts", map[text]int{{"b"}: 1, {"3"}: 2, {"a"}: 3}, `{"3":2,"a":3,"b":1}`, `{3: 2, a: 3, b: 1}`},
	{"map of addresses", map[netip.Addr]int{netip.MustParseAddr("::1"): 1}, `{"::1":1}`, `{"::1": 1}`},
	{"map of named strings", map[namedString]*int{"x": nil}, `{"x":null}`, `{x: null}`},
	{"map of maps", map[string]map[string][]int{"b": {"z": {1}, "y": nil}, "a": nil}, `{"a":null,"b":{"y":null,"z":[1]}}`, `{a: null, b: {y: null, z: [1]}}`},
	{"map's keys", map[string]string{"\n\"": "\n"}, `{"\n\"":"\n"}`, `{'\n"': '\n'}`},
	{"maps, nil and empty", []map[string]any{nil, {}}, `[null,{}]`, `[null, {}]`},
	{"slices, nil and empty", []any{[]any(nil), []any{}, []int(nil), []int{}}, `[null,[],null,[]]`, `[null, [], null, []]`},
	{"text", text{"a\n<"}, `"a\n<"`, `"a\n<"`},
	{"text pointers", []*text{nil, {"x"}}, `[null,"x"]`, `[null, "x"]`},
	{"user's", user{` {"a" : [1, "x y"] } `}, `{"a":[1,"x y"]}`, `{a: [1, "x y"]}`},
	{"user's pointers", []*user{nil, {"1"}}, `[null,1]`, `[null, 1]`},
	{"user's interface", []json.Marshaler{nil, user{"1"}}, `[null,1]`, `[null, 1]`},
	{"by reference", []byRef{{1}}, `["ref 1"]`, `["ref 1"]`},
	{"by reference, top", &byRef{1}, `"ref 1"`, `"ref 1"`},
	{"by reference, no address", map[string]byRef{"a": {1}}, `{"a":{"N":1}}`, `{a: {N: 1}}`},
	{"by reference, in a struct without one", map[string]struct{ R [1]byRef }{"a": {[1]byRef{{1}}}}, `{"a":{"R":[{"N":1}]}}`, `{a: {R: [{N: 1}]}}`},
	{"by reference, value", byRef{1}, `{"N":1}`, `{N: 1}`},
	{"raw", json.RawMessage("\r\n {\"b\" : 1,\t\"a\":\"x y\\\" z\" } \n"), `{"b":1,"a":"x y\" z"}`, `{b: 1, a: 'x y" z'}`},
	{"raw, nil", json.RawMessage(nil), `null`, `null`},
	{"raw in a struct", struct{ R, S json.RawMessage }{R: json.RawMessage("[1, 2]")}, `{"R":[1,2],"S":null}`, `{R: [1, 2], S: null}`},
	{"raw, not UTF-8", json.RawMessage("[\"\xff\"]"), `["�"]`, `["\ufffd"]`},
	{"numbers", []json.Number{"12", "", "-0.5e3"}, `[12,0,-0.5e3]`, ``}, // text is kept, JavaScript has none to keep
	{"mixed list", []any{1, "x", nil, true, 2.5, int8(-3), uint16(4), []string{"a"}}, `[1,"x",null,true,2.5,-3,4,["a"]]`, `[1, "x", null, true, 2.5, -3, 4, ["a"]]`},
	{"nil pointer", (*flat)(nil), `null`, `null`},
	{"nil pointer, ours", (*map[string]any)(nil), `null`, `null`},
	{"nil pointer, user's", (*user)(nil), `null`, `null`},
	{"pointer to a map", &map[string]any{"a": nil}, `{"a":null}`, `{a: null}`},
	{"pointers", []any{ptr(ptr(1)), (*int)(nil)}, `[1,null]`, `[1, null]`},
	{"not UTF-8", "a\xffb\xe2\x82\xed\xa0\x80", `"a�b�����"`, `"a\ufffdb\ufffd\ufffd\ufffd\ufffd\ufffd"`},
	{"not UTF-8 and escapes", "\n\xff\"", `"\n�\""`, `"\n\ufffd\""`},

	// Structs.
	{"struct", flat{A: "x\u2028<\x7f\b\x01", E: [3]byte{1, 2, 3}, F: true, G: "no", H: 5, n: 3},
		"{\"a\":\"x\u2028<\x7f\\b\\u0001\",\"c\":null,\"e\":[1,2,3],\"-\":true,\"H\":\"5\",\"J\":null,\"odd !#$%&()*+-./:;<=>?@[]^_{|}~ é\":\"\",\"M\":0}",
		`{a: "x\u2028<\x7f\b\x01", c: null, e: [1, 2, 3], "-": true, H: "5", J: null, "odd !#$%&()*+-./:;<=>?@[]^_{|}~ é": "", M: 0}`},
	{"struct, full", &flat{B: 1, C: []string{"\xff"}, D: &flat{}, I: "q\"\n", J: ptr(true)},
		`{"a":"","b":1,"c":["�"],"d":{"a":"","c":null,"e":[0,0,0],"-":false,"H":"0","J":null,"odd !#$%&()*+-./:;<=>?@[]^_{|}~ é":"","M":0},` +
			`"e":[0,0,0],"-":false,"H":"0","I":"\"q\\\"\\n\"","J":"true","odd !#$%&()*+-./:;<=>?@[]^_{|}~ é":"","M":0}`,
		`{a: "", b: 1, c: ["\ufffd"], d: {a: "", c: null, e: [0, 0, 0], "-": false, H: "0", J: null, "odd !#$%&()*+-./:;<=>?@[]^_{|}~ é": "", M: 0},
		e: [0, 0, 0], "-": false, H: "0", I: '"q\\"\\n"', J: "true", "odd !#$%&()*+-./:;<=>?@[]^_{|}~ é": "", M: 0}`},
	{"embedded", Embedded{inner{1, 2}, "y", 3}, `{"X":1,"Y":"y","z":3}`, `{X: 1, Y: "y", z: 3}`},
	{"embedded, by tag", clash{inner: inner{1, 2}, tagged: tagged{3}}, `{"X":1,"Y":3}`, `{X: 1, Y: 3}`},
	{"embedded pointer", clash{Embedded: &Embedded{Z: 4}}, `{"X":0,"Y":0,"z":4}`, `{X: 0, Y: 0, z: 4}`},
	{"embedded, cancelled", cancel{}, `{"Y":0,"Other":{"X":0}}`, `{Y: 0, Other: {X: 0}}`},
	{"omitempty", struct {
		A float64        `json:",omitempty"`
		B map[string]int `json:",omitempty"`
		C any            `json:",omitempty"`
		D [0]int         `json:",omitempty"`
		E []byte         `json:",omitempty"`
		F time.Time      `json:",omitempty"`
		G *int           `json:",omitempty"`
		H struct{}       `json:",omitempty"`
	}{}, `{"F":"0001-01-01T00:00:00.000Z","H":{}}`, `{F: "0001-01-01T00:00:00.000Z", H: {}}`},
	{"omitzero", struct {
		A float64   `json:",omitzero"`
		B time.Time `json:",omitzero"`
		C zero      `json:",omitzero"`
		D *zero     `json:",omitzero"`
		E any       `json:",omitzero"`
		F []int     `json:",omitzero,omitempty"`
		G inner     `json:",omitzero"`
	}{C: zero{7}, F: []int{}}, `{}`, `{}`},
	{"omitzero, goccy", struct {
		C zero  `json:",omitzero"`
		D *zero `json:",omitzero"`
		E zero  `json:",omitzero"`
		G inner `json:",omitzero"`
	}{C: zero{7}, D: &zero{7}}, `{"E":{"N":0}}`, `{E: {N: 0}}`},
	{"string option", struct {
		A float64     `json:",string"`
		B bool        `json:",string"`
		C json.Number `json:",string"`
		D *int        `json:",string"`
		E *int        `json:",string"`
		F float64     `json:",string"`
		G string      `json:",string"`
		H []int       `json:",string"`
		I any         `json:",string"`
		J text        `json:",string"`
	}{A: 1e-7, C: "5", D: ptr(3), F: math.NaN(), G: "a\n", J: text{"t"}},
		`{"A":"1e-7","B":"false","C":"5","D":"3","E":null,"F":null,"G":"\"a\\n\"","H":null,"I":null,"J":"t"}`,
		`{A: "1e-7", B: "false", C: "5", D: "3", E: null, F: null, G: '"a\\n"', H: null, I: null, J: "t"}`},
	{"list of structs", &list{1, &list{2, nil}}, `{"V":1,"Next":{"V":2,"Next":null}}`, `{V: 1, Next: {V: 2, Next: null}}`},
}

func TestAppend(t *testing.T) {
	js := startNode(t)
	for _, c := range appendCases {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // the second time from the caches and pools
				got, _, err := Append([]byte("before"), c.v)
				require.NoError(t, err)
				require.Equal(t, "before"+c.want, string(got))
			}
			// By our own encoder too, and as a part of something.
			got, _, err := Append(nil, []any{c.v, map[string]any{"v": c.v}})
			require.NoError(t, err)
			require.Equal(t, `[`+c.want+`,{"v":`+c.want+`}]`, string(got))
			if c.js != "" {
				require.Equal(t, js.eval(c.js), c.want)
			}
		})
	}
}

// What both know how to write, goccy and we write alike.
func TestGoccyEqualsOurs(t *testing.T) {
	n := 0
	for _, c := range append(appendCases, struct {
		name string
		v    any
		want string
		js   string
	}{v: slicesOf(benchValue, 3)}) {
		if c.v == nil || !factsOf(c.v).goccy {
			continue
		}
		n++
		got, err := appendGoccy(nil, c.v)
		require.NoError(t, err, c.name)
		require.Equal(t, string(appendOurs(nil, c.v)), string(got), c.name)
	}
	require.Greater(t, n, 10)
}

func TestGoccyRight(t *testing.T) {
	for _, v := range []any{flat{}, &flat{}, benchValue, []string{}, [3]byte{}, &list{}, inner{}, zero{}, clash{}, [][]int{}, true} {
		require.True(t, factsOf(v).goccy, "%T", v)
	}
	for _, v := range []any{
		1.5, []byte{}, []namedByte{}, time.Time{}, &time.Time{}, map[string]int{}, []any{}, struct{ A any }{}, struct{ A []struct{ B *float32 } }{},
		user{}, byRef{}, struct{ B byRef }{}, text{}, json.Number(""), json.RawMessage{}, make(chan int), func() {}, 1i, [2][]byte{}, netip.Addr{},
	} {
		require.False(t, factsOf(v).goccy, "%T", v)
	}
}

func TestAppendErrors(t *testing.T) {
	cycle := map[string]any{}
	cycle["a"] = []any{cycle}
	loop := &list{}
	loop.Next = loop
	type anyLoop struct{ Next any }
	through := &anyLoop{}
	through.Next = through
	type self []self
	in := make(self, 1)
	in[0] = in
	type selfMap map[string]selfMap
	inMap := selfMap{}
	inMap["a"] = inMap
	type selfPointer *selfPointer
	var p selfPointer
	p = selfPointer(&p)
	slice := make([]any, 1)
	slice[0] = slice

	var deep any
	for range 1_000_000 {
		deep = []any{deep}
	}
	var long, long2 *list
	for range 1_000_000 {
		long = &list{Next: long}
	}
	type floats struct {
		F    float64
		Next *floats
	}
	var own *floats
	for range 1_000_000 {
		own = &floats{Next: own}
	}
	type boxed struct{ Next any }
	var boxes any
	for range 1_000_000 {
		boxes = boxed{boxes}
	}
	for range 500 {
		long2 = &list{Next: long2}
	}

	value := new(json.UnsupportedValueError)
	kind := new(json.UnsupportedTypeError)
	method := new(json.MarshalerError)
	for _, c := range []struct {
		name string
		v    any
		as   any
		text string
	}{
		{"chan", make(chan int), &kind, "chan int"},
		{"func", func() {}, &kind, "func()"},
		{"complex", 1i, &kind, "complex128"},
		{"chan field", struct{ C chan int }{}, &kind, "chan int"},
		{"chan in any", map[string]any{"c": make(chan int)}, &kind, "chan int"},
		{"map keys", map[float64]int{}, &kind, "map[float64]int"},
		{"cycle", cycle, &value, "cycle"},
		{"cycle in a struct", loop, &value, "cycle"},
		{"cycle in an interface", through, &value, "cycle"},
		{"slice of itself", in, &value, "cycle"},
		{"slice of itself, any", slice, &value, "cycle"},
		{"map of itself", inMap, &value, "cycle"},
		{"pointer to itself", p, &value, "cycle"},
		{"deep", deep, &value, "deep"},
		{"deep list", long, &value, "depth"},
		{"deep list, ours", own, &value, "deep"},
		{"deep interfaces", boxes, &value, "deep"},
		{"raw", json.RawMessage("{"), &method, "unexpected end"},
		{"raw, empty", json.RawMessage{}, &method, "unexpected end"},
		{"raw in any", []any{json.RawMessage("1 2")}, &method, `unexpected "2"`},
		{"user's", user{"{a}"}, &method, `unexpected "a"`},
		{"user's text", text{"fail"}, &method, "MarshalText: no text"},
		{"user's key", map[text]int{{"fail"}: 1}, &method, "MarshalText: no text"},
		{"number", json.Number("1x"), &value, `"1x"`},
		{"number, spaces", []json.Number{" 1"}, &value, `" 1"`},
		{"number, Infinity", json.Number("Infinity"), &value, `"Infinity"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, _, err := Append([]byte("before"), c.v)
			require.Error(t, err)
			require.ErrorAs(t, err, c.as)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, "before", string(got))
		})
	}
	_, _, err := Append(nil, text{"fail"})
	require.ErrorIs(t, err, errText)
	// After all that, the pools still work; and what is only deep enough to be watched is no cycle.
	got, _, err := Append(nil, []any{benchMap, long2, long2})
	require.NoError(t, err)
	require.True(t, json.Valid(got))
	same := []any{1}
	for range 600 {
		same = []any{same, map[string]any{"a": 1}}
	}
	_, _, err = Append(nil, []any{same, same})
	require.NoError(t, err)
}

type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("mine") }

func TestAppendPanics(t *testing.T) {
	for _, v := range []any{panics{}, []any{"x", panics{}}, map[string]panics{"a": {}}} {
		require.PanicsWithValue(t, "mine", func() { Append(nil, v) })
	}
	got, _, err := Append(nil, map[string]string{"a": "b"})
	require.NoError(t, err)
	require.Equal(t, `{"a":"b"}`, string(got))
}

// The ways that are short for short decimals and strings come to the same as the long ones.
func TestAppendShort(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 100_000 {
		f := float64(r.Int64N(1<<r.IntN(60)+1)-1<<r.IntN(40)) / math.Pow10(r.IntN(6))
		if r.IntN(4) == 0 {
			f = math.Nextafter(f, 1)
		}
		if math.Abs(f) < 1e-6 || math.Abs(f) >= 1e21 {
			continue
		}
		require.Equal(t, strconv.FormatFloat(f, 'f', -1, 64), string(appendFloat(nil, f, 64)))
	}
	for n := range 70 {
		for c := range 256 {
			if c >= 0x20 && c < 0x7f && c%16 != 2 && c%16 != 12 {
				continue
			}
			for at := range n {
				b := bytes.Repeat([]byte{'x'}, n)
				b[at] = byte(c)
				want := c >= 0x20 && c < 0x80 && c != '"' && c != '\\'
				if isPlain(string(b)) != want {
					t.Errorf("isPlain(%q) is not %v", b, want)
				}
			}
		}
		require.True(t, isPlain(strings.Repeat("~", n)))
	}
}

func TestAppendInfo(t *testing.T) {
	type message struct {
		Cmd string `json:"cmd"`
	}
	type key string
	type object map[string]any
	type promoted struct{ message }
	one := message{"NODE_X"}
	boxed, mapped := any(one), map[string]any{"cmd": "NODE_X"}
	pointer := &one
	for _, c := range []struct {
		v    any
		want string
	}{
		{map[string]any{"cmd": "NODE_HANDLE"}, "NODE_HANDLE"},
		{promoted{one}, "NODE_X"},
		{struct{ *promoted }{&promoted{one}}, "NODE_X"},
		{&pointer, "NODE_X"},
		{&boxed, "NODE_X"},
		{&mapped, "NODE_X"},
		{object(mapped), "NODE_X"},
		{map[key]message{"cmd": one}, ""},
		{map[key]any{"cmd": &map[string]any{}, "a": "NODE_X"}, ""},
		{map[key]*string{"cmd": &one.Cmd}, "NODE_X"},
		{map[string]any{"cmd": key("NODE_X")}, "NODE_X"},
		{map[string]any{"cmd": json.RawMessage(`"NODE_X"`)}, "NODE_X"},
		{map[string]any{"cmd": text{"NODE_X"}}, "NODE_X"},
		{map[string]any{"cmd": []any{"NODE_X"}}, ""},
		{map[string]any{"a": mapped}, ""},
		{[]any{mapped}, ""},
		{struct{ A any }{mapped}, ""},
		{struct {
			A float64
			C any `json:"cmd"`
		}{C: "NODE_X"}, "NODE_X"},
		{struct{ Cmd string }{"NODE_X"}, ""},
		{struct {
			A message `json:"a"`
		}{one}, ""},
		{map[string]any{"cmd": "NODE_"}, ""},
		{map[string]any{"a": map[string]any{"cmd": "NODE_X"}}, ""},
		{map[string]string{"cmd": "NODE_X"}, "NODE_X"},
		{message{"NODE_X"}, "NODE_X"},
		{&message{"node_x"}, ""},
		{[]message{{"NODE_X"}}, ""},
		{json.RawMessage(`{"cmd":"\u004eODE_X"}`), "NODE_X"},
		{user{`{"c\u006dd":"NODE_X"}`}, "NODE_X"},
		{"NODE_X", ""},
		{nil, ""},
	} {
		_, info, err := Append([]byte("{"), c.v)
		require.NoError(t, err)
		require.Equal(t, c.want, info.Cmd, "%v", c.v)
	}
}

func TestAppendAllocates(t *testing.T) {
	dst := make([]byte, 0, 4096)
	for _, v := range []any{
		"text", 1, 1.5, true, &benchValue, benchMap, map[string]int{"b": 1, "a": 2}, map[int]bool{5: true}, json.RawMessage(`{"a": 1}`), []byte("abc"),
		struct {
			A float64
			M map[string]any
		}{1.5, benchMap},
	} {
		n := testing.AllocsPerRun(100, func() {
			if _, _, err := Append(dst, v); err != nil {
				panic(err)
			}
		})
		if n > 0 && !raceEnabled {
			t.Errorf("%T: %v allocations", v, n)
		}
	}
}

// TestAppendEqualsNode: for values of all kinds, JSON.stringify gives back each byte of what Append wrote.
func TestAppendEqualsNode(t *testing.T) {
	js := startNode(t)
	g := generator{rand.New(rand.NewPCG(1, 2))}
	for i := range 10000 {
		v := g.value(5)
		text, _, err := Append(nil, v)
		require.NoError(t, err)
		require.Equal(t, js.again(text), string(text), "value %d: %#v", i, v)
		_, err = Scan(text)
		require.NoError(t, err)
	}
}

// generator makes values whose JSON text JavaScript can keep: no integer beyond 2^53, no name twice in an object.
type generator struct{ *rand.Rand }

type generated struct {
	Any    any                `json:"any"`
	Str    string             `json:"a \"name" `
	Named  namedString        `json:"<&>,omitempty"`
	Float  float64            `json:"float,omitempty"`
	Small  float32            `json:",omitzero"`
	Bytes  []byte             `json:"bytes"`
	Quoted int32              `json:",string"`
	Map    map[string]float64 `json:"map,omitempty"`
	Ints   map[int32]string
	When   time.Time
	Next   *generated `json:"next,omitempty"`
	inner
}

type generatedPlain struct {
	A string   `json:"a"`
	B []string `json:"é,omitempty"`
	C int64    `json:",omitempty"`
	D *generatedPlain
	E [2]bool
	F string `json:",string"`
}

func (g generator) value(depth int) any {
	n := 14
	if depth == 0 {
		n = 8
	}
	switch g.IntN(n) {
	case 0:
		return nil
	case 1:
		return g.IntN(2) == 0
	case 2:
		return g.float()
	case 3:
		return float32(g.float())
	case 4:
		return g.int()
	case 5:
		return int32(g.Uint32())
	case 6, 7:
		return g.text()
	case 8:
		list := make([]any, g.IntN(5))
		for i := range list {
			list[i] = g.value(depth - 1)
		}
		return list
	case 9, 10:
		m := make(map[string]any)
		for range g.IntN(8) {
			m[g.key()] = g.value(depth - 1)
		}
		return m
	case 11:
		return g.bytes()
	case 12:
		return g.plain(depth)
	default:
		return g.full(depth)
	}
}

func (g generator) plain(depth int) *generatedPlain {
	v := &generatedPlain{A: g.text(), C: g.int(), E: [2]bool{g.IntN(2) == 0}, F: g.text()}
	for range g.IntN(4) {
		v.B = append(v.B, g.text())
	}
	if depth > 0 && g.IntN(2) == 0 {
		v.D = g.plain(depth - 1)
	}
	return v
}

func (g generator) full(depth int) any {
	v := generated{
		Any: g.value(depth - 1), Str: g.text(), Named: namedString(g.text()), Float: g.float(), Small: float32(g.float()), Bytes: g.bytes(),
		Quoted: int32(g.Uint32()), When: time.UnixMilli(g.Int64N(2*8.64e15) - 8.64e15), inner: inner{int(int32(g.Uint32())), 1},
	}
	for range g.IntN(4) {
		if v.Map == nil {
			v.Map = make(map[string]float64)
			v.Ints = make(map[int32]string)
		}
		v.Map[g.key()] = g.float()
		v.Ints[int32(g.Uint32())>>g.IntN(32)] = g.text()
	}
	if depth > 1 && g.IntN(2) == 0 {
		next, _ := g.full(depth - 2).(generated)
		v.Next = &next
	}
	return v
}

func (g generator) int() int64 { return g.Int64() >> g.IntN(64) % (1 << 53) }

// float covers all magnitudes, short decimals and the edges of the forms.
func (g generator) float() float64 {
	switch g.IntN(5) {
	case 0:
		return math.Float64frombits(g.Uint64()) // NaN and infinities too
	case 1:
		return float64(g.int())
	case 2:
		return float64(g.IntN(100000)) * math.Pow(10, float64(g.IntN(40)-20))
	case 3:
		return math.Nextafter([]float64{1e21, 1e-6, 1 << 53, 1e20}[g.IntN(4)], float64(g.IntN(3)-1)*1e22)
	default:
		return g.NormFloat64()
	}
}

func (g generator) bytes() []byte {
	if g.IntN(4) == 0 {
		return nil
	}
	b := make([]byte, g.IntN(20))
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g generator) text() string {
	var b strings.Builder
	for range g.IntN(30) {
		switch g.IntN(8) {
		case 0:
			b.WriteByte(byte(g.IntN(256))) // often not UTF-8
		case 1:
			b.WriteByte(byte(g.IntN(32)))
		case 2:
			b.WriteRune(rune(g.IntN(0x110000)))
		case 3:
			b.WriteRune([]rune("\u2028\u2029\ufeff\ufffd\ufffe<>&'\"\\/\u007f\u0080")[g.IntN(14)])
		case 4:
			b.WriteRune(rune(g.IntN(0x800)))
		default:
			b.WriteByte(byte('a' + g.IntN(26)))
		}
	}
	return b.String()
}

// key makes names like array indexes often, and only such as differ after repair.
func (g generator) key() string {
	switch g.IntN(5) {
	case 0:
		return fmt.Sprint(g.IntN(20))
	case 1:
		return fmt.Sprint(int64(1<<32-5) + g.Int64N(10))
	case 2:
		return fmt.Sprintf("%02d", g.IntN(20))
	default:
		return strings.ToValidUTF8(g.text(), "?")
	}
}
