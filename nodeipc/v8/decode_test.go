package v8

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

type tree struct {
	Name  string
	Left  *tree `json:"left"`
	Right *tree `json:"right"`
	Up    *tree
}

type byValue struct{ A, B struct{ X int } }

// intoRows are payloads of a channel, a Go value to decode into, and what it is then, or the text of the error.
var intoRows = []struct {
	name, hex string
	into      any // a pointer
	want      any // what it points to
	err       string
}{
	{"int", "4902", new(int), 1, ""},
	{"int8", "49ff01", new(int8), int8(-128), ""},
	{"int8, too large", "498002", new(int8), nil, "v8: cannot decode number 128 into Go value of type int8 (offset 2)"},
	{"uint of int32", "4902", new(uint8), uint8(1), ""},
	{"uint of a negative", "4901", new(uint), nil, "v8: cannot decode number -1 into Go value of type uint (offset 2)"},
	{"int of uint32", "55ffffffff0f", new(int64), int64(math.MaxUint32), ""},
	{"int of double", "4e000000000000e041", new(int64), int64(1 << 31), ""},
	{"int of a fraction", "4e000000000000f83f", new(int), nil, "v8: cannot decode number 1.5 into Go value of type int (offset 2)"},
	{"int of NaN", "4e000000000000f87f", new(int), nil, "v8: cannot decode number NaN into Go value of type int (offset 2)"},
	{"int of 2^63", "4e000000000000e043", new(int64), nil, "v8: cannot decode number 9223372036854776000 into Go value of type int64 (offset 2)"},
	{"uint of 2^63", "4e000000000000e043", new(uint64), uint64(1 << 63), ""},
	{"int of BigInt", "5a10ffffffffffffff7f", new(int64), int64(math.MaxInt64), ""},
	{"int of a larger BigInt", "5a100000000000000080", new(int64), nil, "v8: cannot decode bigint into Go value of type int64 (offset 2)"},
	{"uint of BigInt", "5a100000000000000080", new(uint64), uint64(1 << 63), ""},
	{"float of BigInt", "5a1002", new(float64), nil, "v8: length 8 of more than there is at offset 4"},
	{"float of exact BigInt", "5a0202", new(float64), 2.0, ""},
	{"float of inexact BigInt", "5a100100000000000080", new(float64), nil, "v8: cannot decode bigint into Go value of type float64 (offset 2)"},
	{"float32, too large", "4effffffffffffef7f", new(float32), nil, "v8: cannot decode number 1.7976931348623157e+308 into Go value of type float32 (offset 2)"},
	{"big of BigInt", "5a1105", new(big.Int), nil, "v8: length 8 of more than there is at offset 4"},
	{"big of short BigInt", "5a0305", new(*big.Int), big.NewInt(-5), ""},
	{"big of number", "4902", new(*big.Int), big.NewInt(1), ""},
	{"big of double", "4e50efe2d6e41a4b44", new(*big.Int), bigOf("1000000000000000000000"), ""},
	{"big of fraction", "4e000000000000f83f", new(*big.Int), nil, "v8: cannot decode number 1.5 into Go value of type big.Int (offset 2)"},
	{"bool of number", "4902", new(bool), nil, "v8: cannot decode number 1 into Go value of type bool (offset 2)"},
	{"boxed into primitives", "410479" + "6e0000000000001440" + "73220173" + "7a0207" + "240004", new([4]any), [4]any{&Boxed{true}, &Boxed{5.0}, &Boxed{"s"}, &Boxed{big.NewInt(7)}}, ""},
	{"boxed bool", "79", new(bool), true, ""},
	{"boxed number", "6e0000000000001440", new(int), 5, ""},
	{"boxed string", "73220173", new(string), "s", ""},
	{"boxed BigInt", "7a0207", new(uint), uint(7), ""},
	{"null leaves", "30", ptr(5), 5, ""},
	{"undefined leaves", "5f", ptr("x"), "x", ""},
	{"null clears pointers", "30", ptr(ptr(5)), (*int)(nil), ""},
	{"null clears maps", "30", &map[string]int{"a": 1}, map[string]int(nil), ""},
	{"undefined clears slices", "5f", &[]int{1}, []int(nil), ""},
	{"null clears any", "30", ptr(any(5)), nil, ""},
	{"undefined into any", "5f", ptr(any(5)), Undefined{}, ""},
	{"undefined", "5f", new(*Undefined), &Undefined{}, ""},
	{"Date", "440000000000001440", new(Date), Date(5), ""},
	{"time", "440000000000001440", new(time.Time), time.UnixMilli(5).UTC(), ""},
	{"invalid Date as time", "44000000000000f87f", new(time.Time), nil, "v8: cannot decode invalid Date into Go value of type time.Time (offset 2)"},
	{"invalid Date as another type", "4400003426f56b3c44", new(struct{}), nil, "v8: cannot decode invalid Date into Go value of type struct {} (offset 2)"},
	{"text", "22033a3a31", new(netip.Addr), netip.MustParseAddr("::1"), ""},
	{"text of number", "4902", new(netip.Addr), nil, "v8: cannot decode number 1 into Go value of type netip.Addr (offset 2)"},
	{"text that does not parse", "220178", new(netip.Addr), nil, `v8: UnmarshalText of netip.Addr: ParseAddr("x"): unable to parse IP`},
	{"slice", "410249024904240002", new([]int), []int{1, 2}, ""},
	{"slice with hole", "41022d4904240002", new([]int), []int{0, 2}, ""},
	{"sparse into slice", "61034900490249044906400203", new([]int), []int{1, 0, 3}, ""},
	{"sparse that grows", "6101490249044001 01", new([]int), []int{0, 2}, ""},
	{"sparse, out of proportion", "61ffffffff0f4000ffffffff0f", new([]int), nil, "v8: cannot decode Array of length 4294967295 with few elements into Go value of type []int (offset 2)"},
	{"slice without its members", "410149022201784904240101", new([]int), []int{1}, ""},
	{"members fill holes", "41022d49024900490a240102", new([]int), []int{5, 1}, ""},
	{"array, longer", "410249024904240002", new([3]int), [3]int{1, 2}, ""},
	{"array, shorter", "410249024904240002", new([1]int), [1]int{1}, ""},
	{"Set into slice", "2749022201612c02", new([]any), []any{1.0, "a"}, ""},
	{"Set into slice of one type", "2749022201612c02", new([]int), nil, "v8: cannot decode string into Go value of type int at [1] (offset 5)"},
	{"Map into map", "3b4902220161 4904220162 3a04", new(map[int]string), map[int]string{1: "a", 2: "b"}, ""},
	{"Map with keys of another type", "3b22016122016b3a02", new(map[int]string), nil, "v8: cannot decode string into Go value of type int at [key] (offset 3)"},
	{"Map with a key that is no key", "3b410024000022016b3a02", new(map[any]string), nil, "v8: cannot decode Map with a key that Go cannot compare into Go value of type map[interface {}]string (offset 2)"},
	{"Map into struct", "3b3a00", new(tree), nil, "v8: cannot decode Map into Go value of type v8.tree (offset 2)"},
	{"object into map of ints", "6f490222016149042201627b02", new(map[uint8]string), map[uint8]string{1: "a", 2: "b"}, ""},
	{"object with a key that is no int", "6f22017822016149042201627b02", new(map[uint8]string), nil, `v8: cannot decode member "x" into Go value of type map[uint8]string (offset 2)`},
	{"object into map of text", "6f22033a3a3149027b01", new(map[netip.Addr]int), map[netip.Addr]int{netip.MustParseAddr("::1"): 1}, ""},
	{"object adds to a map", "6f22016149027b01", &map[string]int{"b": 2}, map[string]int{"a": 1, "b": 2}, ""},
	{"object into struct", "6f22044e616d65220178220 16149027b02", new(tree), tree{Name: "x"}, ""},
	{"other case", "6f22046e414d65220178" + "7b01", new(tree), tree{Name: "x"}, ""},
	{"path of an error", "6f22046c6566746f22044e616d6549027b017b01", new(tree), nil, "v8: cannot decode number 1 into Go value of type string at left.Name (offset 16)"},
	{"path through arrays and maps", "6f220361206241024902410154240001240002" + "7b01", new(map[string][]any), map[string][]any{"a b": {1.0, []any{true}}}, ""},
	{"path with odd keys", "6f2203612062410149022400017b01", new(map[string][]string), nil, `v8: cannot decode number 1 into Go value of type string at ["a b"][0] (offset 10)`},
	{"Buffer", "5c000a026869", new([]byte), []byte("hi"), ""},
	{"Buffer into array", "5c000a026869", new([3]byte), [3]byte{'h', 'i'}, ""},
	{"Buffer into string", "5c000a026869", new(string), nil, "v8: cannot decode view into Go value of type string (offset 2)"},
	{"any view into bytes", "5c00030401000200", new([]byte), []byte{1, 0, 2, 0}, ""},
	{"ArrayBuffer into bytes", "42020506", new([]byte), []byte{5, 6}, ""},
	{"array into bytes", "410249024904240002", new([]byte), []byte{1, 2}, ""},
	{"Int8Array", "5c000002ff02", new([]int8), []int8{-1, 2}, ""},
	{"Uint8ClampedArray", "5c000202ff02", new([]uint8), []uint8{255, 2}, ""},
	{"Int16Array", "5c000304ffff0200", new([]int16), []int16{-1, 2}, ""},
	{"Uint16Array", "5c000404ffff0200", new([]uint16), []uint16{65535, 2}, ""},
	{"Int32Array", "5c000504ffffffff", new([]int32), []int32{-1}, ""},
	{"Uint32Array", "5c000604ffffffff", new([2]uint32), [2]uint32{math.MaxUint32}, ""},
	{"Float32Array", "5c0007040000c03f", new([]float32), []float32{1.5}, ""},
	{"Float64Array", "5c000808000000000000f83f", new([]float64), []float64{1.5}, ""},
	{"BigInt64Array", "5c000b08ffffffffffffffff", new([]int64), []int64{-1}, ""},
	{"BigUint64Array", "5c000c08ffffffffffffffff", new([]uint64), []uint64{math.MaxUint64}, ""},
	{"native Float64Array", "4208000000000000f83f56460008", new([]float64), []float64{1.5}, ""},
	{"other elements", "5c000808000000000000f83f", new([]int64), nil, "v8: cannot decode view into Go value of type []int64 (offset 2)"},
	{"ArrayBuffer into numbers", "4208000000000000f83f", new([]float64), nil, "v8: cannot decode ArrayBuffer into Go value of type []float64 (offset 2)"},
	{"View", "5c000a026869", new(View), View{Buffer, []byte("hi")}, ""},
	{"ArrayBuffer", "7e02080506", new(*ArrayBuffer), &ArrayBuffer{[]byte{5, 6}, true, 8}, ""},
	{"ArrayBuffer of a view", "5c000a026869", new(ArrayBuffer), nil, "v8: cannot decode view into Go value of type v8.ArrayBuffer (offset 2)"},
	{"View of an ArrayBuffer", "42020506", new(View), nil, "v8: cannot decode ArrayBuffer into Go value of type v8.View (offset 2)"},
	{"RegExp", "5222017822", new(RegExp), RegExp{"x", "im"[:1] + "s"}, ""},
	{"Error", "72546d220174732201532e", new(*Error), &Error{Name: "TypeError", Message: "t", Stack: "S", HasMessage: true, HasStack: true}, ""},
	{"Error as error", "726d2201742e", new(error), error(&Error{Name: "Error", Message: "t", HasMessage: true}), ""},
	{"string as error", "220174", new(error), nil, "v8: cannot decode string into Go value of type error (offset 2)"},
	{"Sparse of a plain array", "410149022400 01", new(*Sparse), &Sparse{Length: 1, Elements: []Element{{0, 1.0}}}, ""},
	{"Object", "6f2201624902220161227b02", new(*Object), nil, "v8: length 123 of more than there is at offset 13"},
	{"host object", "5c016f22044e616d652201787b01", new(*tree), &tree{Name: "x"}, ""},
	{"padding and counts", "0000003f053f0000" + "4902", new(int), 1, ""},
	{"function", "4902", new(func()), nil, "v8: cannot decode number 1 into Go value of type func() (offset 2)"},
	{"pointers", "4902", new(***int), ptr(ptr(ptr(1))), ""},
	{"into what an any points to", "6f22044e616d652201787b01", ptr(any(&tree{Up: &tree{}})), &tree{Name: "x", Up: &tree{}}, ""},
	{"embedded pointer", "6f220145490a7b01", new(struct{ *Inner }), struct{ *Inner }{&Inner{E: 5}}, ""},
	{"embedded pointer that cannot be set", "6f220145490a7b01", new(struct{ *inner }), nil, "v8: cannot decode Object into Go value of type struct { *v8.inner } at E (offset 2)"},
	{"methods", "22023c31", new(*unmarshaled), &unmarshaled{"string"}, ""},
	{"methods of a field", "6f2201414902" + "220142 30" + "7b02", new(struct {
		A unmarshaled
		B *unmarshaled
	}), struct {
		A unmarshaled
		B *unmarshaled
	}{A: unmarshaled{"number"}}, ""},
	{"method that fails", "5f", new(unmarshaled), nil, "v8: UnmarshalV8 of v8.unmarshaled: no undefined"},
}

type inner struct{ E int }

type unmarshaled struct{ kind string }

func (u *unmarshaled) UnmarshalV8(v Value) error {
	if u.kind = v.Kind().String(); u.kind == "undefined" {
		return errors.New("no undefined")
	}
	return nil
}

func bigOf(s string) *big.Int {
	n, _ := new(big.Int).SetString(s, 10)
	return n
}

func TestDecodeInto(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, c := range intoRows {
		for _, copied := range []bool{false, true} {
			target := reflect.New(reflect.TypeOf(c.into).Elem())
			if !reflect.ValueOf(c.into).Elem().IsZero() { // in use: the decoder changes it
				target = reflect.ValueOf(c.into)
				if copied {
					continue
				}
			}
			payload := append([]byte{0xff, 0x0f}, unhexed(c.hex)...)
			if c.name == "native Float64Array" {
				payload[1] = 0x0d
			}
			err := (&Decoder{Layout: Channel, Copy: copied}).Decode(payload, target.Interface())
			if c.err != "" {
				assert.EqualError(t, err, c.err, c.name)
				continue
			}
			if !assert.NoError(t, err, c.name) {
				continue
			}
			assert.Equal(t, c.want, target.Elem().Interface(), c.name)
		}
	}
}

func TestInvalidTargets(t *testing.T) {
	testkit.CheckLeaks(t)
	payload := unhexed("ff0d30")
	require.EqualError(t, Unmarshal(payload, nil), "v8: decode into nil")
	require.EqualError(t, Unmarshal(payload, 5), "v8: decode into non-pointer int")
	require.EqualError(t, Unmarshal(payload, (*int)(nil)), "v8: decode into nil *int")
}

func TestIdentity(t *testing.T) {
	testkit.CheckLeaks(t)
	// {Name: 'r', left: {Up: root}, right: left}
	left := &tree{Name: "l"}
	root := &tree{Name: "r", Left: left, Right: left}
	left.Up = root
	payload, err := Marshal(root)
	require.NoError(t, err)

	var got tree
	require.NoError(t, Unmarshal(payload, &got))
	require.Same(t, got.Left, got.Right)
	require.Same(t, &got, got.Left.Up, "the whole is the target")

	var p *tree
	require.NoError(t, Unmarshal(payload, &p))
	require.Same(t, p, p.Left.Up)

	var x any
	require.NoError(t, Unmarshal(payload, &x))
	o := x.(m)
	o["left"].(m)["mark"] = true
	require.Equal(t, true, o["right"].(m)["mark"])
	require.Equal(t, true, o["left"].(m)["Up"].(m)["left"].(m)["mark"])

	// Of maps and slices too, and between what is decoded into any and into its type.
	shared := []any{1.0}
	mapped := m{"x": 1.0}
	payload, err = Marshal([]any{shared, shared, mapped, mapped, []byte("b")})
	require.NoError(t, err)
	var list struct {
		A any
		B []any
		C any
		D m
	}
	payload, err = Marshal(m{"A": shared, "B": shared, "C": mapped, "D": mapped})
	require.NoError(t, err)
	require.NoError(t, Unmarshal(payload, &list))
	list.B[0] = "changed"
	list.D["x"] = "changed"
	require.Equal(t, []any{"changed"}, list.A)
	require.Equal(t, m{"x": "changed"}, list.C)

	// What is skipped and referred to later, and one object as two types.
	payload, err = Marshal(new(Object).Set("skipped", mapped).Set("D", mapped).Set("E", mapped))
	require.NoError(t, err)
	var two struct {
		D struct{ X int }
		E *struct{ X float64 }
	}
	require.NoError(t, Unmarshal(payload, &two))
	require.Equal(t, 1, two.D.X)
	require.Equal(t, 1.0, two.E.X)
}

func TestKeepsWhatItMay(t *testing.T) {
	testkit.CheckLeaks(t)
	payload := unhexed("ff0d5c000a026869")
	var kept, copied []byte
	require.NoError(t, (&Decoder{Layout: Channel}).Decode(payload, &kept))
	require.NoError(t, (&Decoder{Layout: Channel, Copy: true}).Decode(payload, &copied))
	payload[6] = 'H'
	require.Equal(t, "Hi", string(kept))
	require.Equal(t, "hi", string(copied))
	require.Equal(t, 2, cap(kept), "what is appended must not write into the payload")
	require.Equal(t, 2, cap(copied))
}

func TestStructTags(t *testing.T) {
	testkit.CheckLeaks(t)
	// As encoding/json has it, but for the name of the tag: a struct with json tags alone has the members that it gives
	// it.
	type Deep struct{ A, B, C int }
	type Other struct{ C, D int }
	type Tagged struct {
		X int `json:"D"`
	}
	type all struct {
		Deep
		*Other
		Tagged
		B     string
		Named Deep `json:"named"`
		E     int  `json:"-"`
		F     int  `json:"-,"`
		G     int  `json:",omitempty"`
		H     *int `json:"h,omitempty"`
		I     any  `json:",omitempty"`
		J     struct{ K int }
		plain int
	}
	for _, v := range []any{all{}, all{Other: &Other{1, 2}, G: 1, H: new(int), I: 1, F: 2, plain: 1}} {
		text, err := json.Marshal(v)
		require.NoError(t, err)
		var want any
		require.NoError(t, json.Unmarshal(text, &want))
		payload, err := Marshal(v)
		require.NoError(t, err)
		var got any
		require.NoError(t, Unmarshal(payload, &got))
		require.Equal(t, want, got)
		var again all
		require.NoError(t, Unmarshal(payload, &again))
		twice, err := Marshal(again)
		require.NoError(t, err)
		require.Equal(t, payload, twice)
	}
}
