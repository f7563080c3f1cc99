package v8

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// encodeRows are Go values, what is written for them, and, where Node writes something else for the same value, why.
// The bytes are those of Node 12 to 16, whose version is 13 too.
var encodeRows = []struct {
	name  string
	value any
	hex   string // behind ff0d, of a channel
	js    string // the same value; empty when Node has no such
	why   string // Node writes it otherwise
}{
	{"nil", nil, "30", "null", ""},
	{"undefined", Undefined{}, "5f", "undefined", ""},
	{"true", true, "54", "true", ""},
	{"int", 1, "4902", "1", ""},
	{"negative", int8(-1), "4901", "-1", ""},
	{"greatest int32", math.MaxInt32, "49feffffff0f", "2147483647", ""},
	{"least int32", math.MinInt32, "49ffffffff0f", "-2147483648", ""},
	{"beyond int32", uint32(1 << 31), "4e000000000000e041", "2147483648", ""},
	{"integral float", 5.0, "490a", "5", ""},
	{"-0", math.Copysign(0, -1), "4e0000000000000080", "-0", ""},
	{"float32", float32(1.5), "4e000000000000f83f", "1.5", ""},
	{"NaN", math.Float64frombits(0xfff8000000000001), "4e000000000000f87f", "NaN", ""},
	{"big", big.NewInt(255), "5a10ff00000000000000", "255n", ""},
	{"big 0", new(big.Int), "5a00", "0n", ""},
	{"big negative", big.NewInt(-255), "5a11ff00000000000000", "-255n", ""},
	{"big long", new(big.Int).Lsh(big.NewInt(1), 64), "5a2000000000000000000100000000000000", "2n ** 64n", ""},
	{"ASCII", "hi", "22026869", "'hi'", ""},
	{"Latin-1", "hé", "220268e9", "'hé'", ""},
	{"two-byte", "€x", "6304ac207800", "'€x'", ""},
	{"pair", "😀", "63043dd800de", "'😀'", ""},
	{"unpaired surrogate", "\xed\xa0\x80", "630200d8", "'\\ud800'", ""},
	{"not UTF-8", "\xff\xed\xa0", "6306fdfffdfffdff", "'\\ufffd\\ufffd\\ufffd'", ""},
	{"padded key", m{"€": 1}, "6f006302ac2049027b01", "({'€': 1})", ""},
	{"aligned key", m{"a€": 1}, "6f0063046100ac2049027b01", "({'a€': 1})", ""},
	{"key order", m{"b": 4, "a": 3, "2": 2, "1": 1, "-1": 5}, "6f490249024904490422022d31490a2201614906220162490 87b05", "({'-1': 5, a: 3, b: 4, 2: 2, 1: 1})", ""},
	{"index key", map[int]bool{10: true}, "6f4914547b01", "({10: true})", ""},
	{"greatest index key", m{"4294967294": 1}, "6f4e0000c0ffffffef4149027b01", "({4294967294: 1})", ""},
	{"beyond index", m{"4294967295": 1}, "6f220a3432393439363732393549027b01", "({4294967295: 1})", ""},
	{"array", []int{1, 2}, "41024902490424 0002", "[1, 2]", ""},
	{"empty array", []any{}, "4100240000", "[]", ""},
	{"Go array", [2]bool{true}, "41025446240002", "[true, false]", ""},
	{"doubles", []float64{1.5, 2}, "41024e000000000000f83f4904240002", "[1.5, 2]", "a double array of V8 has all elements as doubles"},
	{"holes", []any{1, Hole{}, 3}, "410349022d4906240003", "[1, , 3]", "V8 writes an array with holes as sparse"},
	{"hole elsewhere", m{"a": Hole{}}, "6f2201615f7b01", "({a: undefined})", ""},
	{"sparse", &Sparse{Length: 100001, Elements: []Element{{0, 1}, {100000, 2}}}, "61a18d064900490249c09a0c4904400 2a18d06",
		"Object.assign([], {0: 1, 100000: 2})", ""},
	{"array with a member", &Sparse{2, []Element{{0, 1}, {1, 2}}, new(Object).Set("x", "y")}, "61024900490249024904220178220179400302",
		"Object.assign([1, 2], {x: 'y'})", "V8 writes it as dense where it is"},
	{"Date", DateOf(time.UnixMilli(5)), "440000000000001440", "new Date(5)", ""},
	{"time", time.UnixMilli(5).In(time.FixedZone("", 3600)), "440000000000001440", "new Date(5)", ""},
	{"invalid Date", Date(math.NaN()), "44000000000000f87f", "new Date(NaN)", ""},
	{"RegExp", &RegExp{"a\\/b", "gimsuy"}, "522204615c2f623f", "/a\\/b/gimsuy", ""},
	{"Map", new(Map).Set(1, "a").Set("k", m{"x": 1}), "3b490222016122016b6f22017849027b013a04", "new Map([[1, 'a'], ['k', {x: 1}]])", ""},
	{"Set", new(Set).Add(1).Add("a").Add(1.0), "2749022201612c02", "new Set([1, 'a'])", ""},
	{"boxed", []any{&Boxed{true}, &Boxed{false}, &Boxed{5}, &Boxed{"s"}, &Boxed{big.NewInt(7)}}, "410579786e0000000000001440732201737a100700000000000000240005",
		"[Object(true), Object(false), Object(5), Object('s'), Object(7n)]", ""},
	{"Error", &Error{Name: "TypeError", Message: "t", Stack: "S"}, "72546d220174732201532e", "Object.assign(new TypeError('t'), {stack: 'S'})", ""},
	{"Error without parts", &Error{}, "722e", "", ""},
	{"Error with empty parts", &Error{HasMessage: true, HasStack: true}, "726d22007322002e", "", ""},
	{"Go error", fmt.Errorf("a %w", errors.New("b")), "726d220361206 22e", "", ""},
	{"ArrayBuffer", &ArrayBuffer{Data: []byte{1, 2, 3}}, "4203010203", "new Uint8Array([1, 2, 3]).buffer", ""},
	{"Buffer", []byte("hi"), "5c000a026869", "Buffer.from('hi')", ""},
	{"empty Buffer", []byte{}, "5c000a00", "Buffer.alloc(0)", ""},
	{"Uint8Array", &View{Uint8Array, []byte{1, 2}}, "5c0001020102", "new Uint8Array([1, 2])", ""},
	{"Float64Array", &View{Float64Array, unhexed("000000000000f83f")}, "5c000808000000000000f83f", "new Float64Array([1.5])", ""},
	{"half an element", &View{Int16Array, []byte{1, 0, 2}}, "5c0003020100", "new Int16Array([1])", ""},
	{"shared", func() any { o := m{"z": 1}; return []any{o, o} }(), "41026f22017a49027b015e01240002", "(o => [o, o])({z: 1})", ""},
	{"cycle", func() any { o := m{}; o["self"] = o; return o }(), "6f220473656c665e007b01", "(o => (o.self = o))({})", ""},
	{"shared Buffer", func() any { b := []byte("a"); return []any{b, b, b[:0]} }(), "41035c000a01615e015c000a00240003", "(b => [b, b, Buffer.alloc(0)])(Buffer.from('a'))", ""},
	{"same slice, other length", func() any { s := []any{1, 2}; return []any{s, s[:1]} }(), "410241024902490424000241014902240001240002", "[[1, 2], [1]]", ""},
	{"cycle of a slice", func() any { s := []any{nil}; s[0] = s; return s }(), "41015e00240001", "(a => (a[0] = a))([])", ""},
	{"nil map, slice, pointer", []any{map[string]int(nil), []int(nil), []byte(nil), (*int)(nil), (*Map)(nil), (*big.Int)(nil), (*stringer)(nil)}, "410730303030303030240007", "[null, null, null, null, null, null, null]", ""},
	{"struct", structRow{A: 1, B: "b", C: 2, hidden: 1, Inner: Inner{E: 5}, Skip: 1}, "6f2201614902220142220162220163490422014549 0a7b04", "({a: 1, B: 'b', c: 2, E: 5})", ""},
	{"struct with all", structRow{A: 1, Omit: 1, Zero: time.UnixMilli(5), Ptr: new(int)}, "6f220161490222014222002201634900220 44f6d697449022204 5a65726f44000000000000144022035074724900 2201454900 7b07",
		"({a: 1, B: '', c: 0, Omit: 1, Zero: new Date(5), Ptr: 0, E: 0})", ""},
	{"MarshalV8", []any{stringer{1}, &stringer{2}}, "410222023c3122023c32240002", "['<1', '<2']", ""},
	{"MarshalText", []any{netip.MustParseAddr("::1"), map[netip.Addr]int{netip.MustParseAddr("::1"): 1}}, "410222033a3a316f22033a3a3149027b01240002", "['::1', {'::1': 1}]", ""},
	{"pointers", ptr(ptr("x")), "220178", "'x'", ""},
	{"uint8 array", [2]uint8{1, 2}, "410249024904240002", "[1, 2]", ""},
}

type Inner struct{ E, B int } // B is hidden by the outer one

type structRow struct {
	A      int       `v8:"a" json:"x"`
	B      string    `json:",omitempty0"`
	C      int       `json:"c"`
	Omit   int       `v8:",omitempty"`
	Zero   time.Time `json:",omitzero"`
	Ptr    *int      `v8:"Ptr,omitempty"`
	Skip   int       `v8:"-" json:"skip"`
	hidden int
	Inner
}

type stringer struct{ n int }

func (s stringer) MarshalV8() (any, error) { return fmt.Sprintf("<%d", s.n), nil }

func ptr[T any](v T) *T { return &v }

func unhexed(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestEncode(t *testing.T) {
	testkit.CheckLeaks(t)
	js := startNode(t)
	for _, c := range encodeRows {
		want := append([]byte{0xff, 0x0d}, unhexed(c.hex)...)
		got, err := (&Encoder{Layout: Channel, Node: 12}).Append(nil, c.value)
		require.NoError(t, err, c.name)
		require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(got), c.name)
		if c.js == "" {
			continue
		}
		written, theirs := js.encode(c.js)
		if written[1] = 0x0d; c.why == "" {
			require.Equal(t, hex.EncodeToString(want), hex.EncodeToString(written), "%s: Node writes", c.name)
		} else {
			require.NotEqual(t, want, written, "%s: Node writes the same", c.name)
		}
		value, refused := js.decode(Channel, got)
		require.Empty(t, refused, c.name)
		require.Equal(t, theirs, value, "%s: Node reads", c.name)
		// Read by us it is the same, and written again as it was.
		var again any
		require.NoError(t, (&Decoder{Layout: Channel, Ordered: true}).Decode(got, &again))
		require.True(t, alike(tell(again), theirs), c.name)
		twice, err := (&Encoder{Layout: Channel, Node: 12}).Append([]byte("prefix"), again)
		require.NoError(t, err, c.name)
		if c.name != "key order" { // Ordered keeps it as it is
			require.Equal(t, "prefix"+string(got), string(twice), c.name)
		}
	}
}

// Encoders are used again; what they knew of the last value must not count.
func TestManyShared(t *testing.T) {
	testkit.CheckLeaks(t)
	for n := range 40 {
		list := make([]any, 0, 2*n)
		for range n {
			list = append(list, m{})
		}
		list = append(list, list...)
		payload, err := Marshal(list)
		require.NoError(t, err)
		require.Equal(t, n, bytes.Count(payload, []byte("^")))
		var got []any
		require.NoError(t, Unmarshal(payload, &got))
		for i := range n {
			got[i].(m)["mark"] = i
			require.Equal(t, i, got[n+i].(m)["mark"])
		}
	}
}

func TestEncodeForOlderNodes(t *testing.T) {
	testkit.CheckLeaks(t)
	js := startNode(t)
	shared := m{"x": 1.0}
	cycle := m{}
	cycle["self"] = cycle
	cause := &Error{Name: "Error", HasCause: true}
	cause.Cause = []any{cause}
	for _, c := range []struct {
		node  int
		value any
		want  any // what it is then; nil for an error
	}{
		{20, &View{Float16Array, []byte{0, 0x3e}}, nil},
		{24, &View{Float16Array, []byte{0, 0x3e}}, &View{Float16Array, []byte{0, 0x3e}}},
		{14, &View{BigInt64Array, make([]byte, 8)}, nil},
		{16, &View{BigInt64Array, make([]byte, 8)}, &View{BigInt64Array, make([]byte, 8)}},
		{18, &RegExp{"x", "v"}, nil},
		{20, &RegExp{"x", "v"}, &RegExp{"x", "v"}},
		{14, &RegExp{"x", "d"}, nil},
		{26, &RegExp{"x", "uv"}, nil},
		{26, &RegExp{"x", "gg"}, nil},
		{26, &RegExp{"x", "q"}, nil},
		{18, &ArrayBuffer{[]byte{1}, true, 9}, &ArrayBuffer{Data: []byte{1}}},
		{20, &ArrayBuffer{[]byte{1}, true, 9}, &ArrayBuffer{[]byte{1}, true, 9}},
		{14, &Error{Name: "Error", Cause: 1.0, HasCause: true}, &Error{Name: "Error"}},
		{16, &Error{Name: "Error", Cause: 1.0, HasCause: true}, &Error{Name: "Error", Cause: 1.0, HasCause: true}},
		{20, cause, nil},
		{22, []any{cause}, []any{cause}},
		{16, []any{shared, &Error{Name: "Error"}, shared}, []any{shared, &Error{Name: "Error"}, shared}},
		{16, []any{&Error{Name: "Error"}, shared, shared}, []any{&Error{Name: "Error"}, m{"x": 1.0}, m{"x": 1.0}}},
		{16, []any{&Error{Name: "Error"}, cycle}, nil},
		{16, []any{cycle, &Error{Name: "Error"}}, []any{cycle, &Error{Name: "Error"}}},
	} {
		payload, err := (&Encoder{Node: c.node}).Append(nil, c.value)
		var bad *UnsupportedValueError
		if c.want == nil {
			require.ErrorAs(t, err, &bad, "%d %v", c.node, tell(c.value))
			continue
		}
		require.NoError(t, err, "%d %v", c.node, c.value)
		var got any
		require.NoError(t, Unmarshal(payload, &got))
		require.Equal(t, tell(c.want), tell(got))
		if js.major >= c.node {
			told, refused := js.decode(V8Serialize, payload)
			require.Empty(t, refused)
			require.Equal(t, tell(c.want), told)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, c := range []struct {
		value any
		err   string
	}{
		{func() {}, "v8: unsupported type: func()"},
		{m{"a": make(chan int)}, "v8: unsupported type: chan int at a"},
		{1i, "v8: unsupported type: complex128"},
		{map[float64]int{}, "v8: unsupported type: map[float64]int"},
		{int64(1<<53 + 1), "v8: unsupported value of type int64: 9007199254740993 is not exact as a JavaScript number: use *big.Int"},
		{int64(math.MaxInt64), "v8: unsupported value of type int64: 9223372036854775807 is not exact as a JavaScript number: use *big.Int"},
		{uint64(math.MaxUint64), "v8: unsupported value of type uint64: 18446744073709551615 is not exact as a JavaScript number: use *big.Int"},
		{time.Date(300000, 1, 1, 0, 0, 0, 0, time.UTC), "v8: unsupported value of type time.Time: JavaScript has no Date for the year 300000"},
		{&Boxed{[]int{1}}, "v8: unsupported value of type v8.Boxed: not a primitive"},
		{&Boxed{}, "v8: unsupported value of type v8.Boxed: not a primitive"},
		{&Sparse{Length: 1, Elements: []Element{{1, nil}}}, "v8: unsupported value of type v8.Sparse: elements must ascend, and be below the length"},
		{&Sparse{Length: 3, Elements: []Element{{1, nil}, {1, nil}}}, "v8: unsupported value of type v8.Sparse: elements must ascend, and be below the length"},
		{&Sparse{Props: new(Object).Set("length", 1)}, `v8: unsupported value of type v8.Sparse: Props has "length"`},
		{&Sparse{Props: new(Object).Set("0", 1)}, `v8: unsupported value of type v8.Sparse: Props has "0"`},
		{&View{Type: 99}, "v8: unsupported value of type v8.View: unknown type"},
		{failing{}, "v8: MarshalV8 of v8.failing: no"},
		{map[sameText]int{{1}: 1, {2}: 2}, `v8: unsupported value of type map[v8.sameText]int: two keys with the text "same"`},
	} {
		prefix := []byte("prefix")
		got, err := new(Encoder).Append(prefix, c.value)
		require.EqualError(t, err, c.err)
		require.Equal(t, "prefix", string(got))
	}
	for _, n := range []int64{1 << 53, -1 << 53, 1 << 62, math.MinInt64} {
		_, err := Marshal(n)
		require.NoError(t, err)
	}
}

type failing struct{}

func (failing) MarshalV8() (any, error) { return nil, errors.New("no") }

type sameText struct{ n int }

func (sameText) MarshalText() ([]byte, error) { return []byte("same"), nil }
