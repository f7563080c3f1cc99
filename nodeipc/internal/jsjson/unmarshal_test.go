package jsjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type (
	ownBytes []byte
	node3    struct {
		Data []byte `json:"data"`
		Kids []node3
		More map[string]*node3
	}
	holder struct {
		A    []byte `json:"a"`
		B    *[]byte
		C    namedBytes
		D    [2][]byte
		E    map[string][]byte
		F    map[int][]namedByte
		G    []struct{ X []byte }
		H    ownBytes
		I    any
		J    json.RawMessage
		K    string
		Type string `json:"type"`
		Next *holder
		Embed
		*deepEmbed
	}
	Embed     struct{ Inside []byte }
	deepEmbed struct{ Deep []byte }
)

func (o *ownBytes) UnmarshalJSON(text []byte) error { *o = append([]byte(nil), text...); return nil }

func TestUnmarshalBuffers(t *testing.T) {
	text := func(s string) string { return fmt.Sprintf(`{"type":"Buffer","data":%s}`, s) }
	hi := text("[104,105]")
	for _, c := range []struct {
		text string
		want any
	}{
		{hi, []byte("hi")},
		{` {"data" : [ 104 , 105 ] , "type" : "\u0042uffer" } `, []byte("hi")},
		{`{"\u0074ype":"\u0042\u0075\u0066\u0066\u0065\u0072","data":[0,255]}`, []byte{0, 255}},
		{`"aGk="`, []byte("hi")},
		{`null`, []byte(nil)},
		{`[104,105]`, []byte("hi")}, // as encoding/json
		{text("[]"), []byte{}},
		{hi, namedBytes("hi")},
		{hi, ptr([]byte("hi"))},
		{hi, []namedByte{104, 105}},
		{`[` + hi + `,null,"aGk=",` + hi + `]`, [][]byte{[]byte("hi"), nil, []byte("hi"), []byte("hi")}},
		{`{"a":` + hi + `,"b":` + hi + `}`, map[string][]byte{"a": []byte("hi"), "b": []byte("hi")}},
		{hi, any(map[string]any{"type": "Buffer", "data": []any{104.0, 105.0}})},
		{hi, map[string]any{"type": "Buffer", "data": []any{104.0, 105.0}}},
		{hi, ownBytes(hi)},
		{hi, json.RawMessage(hi)},
		{`{"A":` + hi + `,"B":` + hi + `,"c":` + hi + `,"D":["aA==",` + hi + `],"E":{"x":` + hi + `},"F":{"1":` + hi + `},"G":[{},{"X":` + hi + `}],"H":1,"I":` + hi + `,"J":` + hi +
			`,"K":"Buffer","unknown":` + hi + `,"type":"Buffer","Next":{"a":` + hi + `,"Next":null},"Inside":` + hi + `,"ſ":1}`,
			holder{
				A: []byte("hi"), B: ptr([]byte("hi")), C: namedBytes("hi"), D: [2][]byte{[]byte("h"), []byte("hi")}, E: map[string][]byte{"x": []byte("hi")},
				F: map[int][]namedByte{1: {104, 105}}, G: []struct{ X []byte }{{}, {[]byte("hi")}}, H: ownBytes("1"),
				I: map[string]any{"type": "Buffer", "data": []any{104.0, 105.0}}, J: json.RawMessage(hi), K: "Buffer", Type: "Buffer",
				Next: &holder{A: []byte("hi")}, Embed: Embed{[]byte("hi")},
			}},
		{`{"data":` + hi + `,"Kids":[{"data":` + hi + `,"Kids":[]}],"More":{"x":{"data":` + hi + `}}}`,
			node3{Data: []byte("hi"), Kids: []node3{{Data: []byte("hi"), Kids: []node3{}}}, More: map[string]*node3{"x": {Data: []byte("hi")}}}},
		{`{"data":null,"More":{"x":{"data":` + hi + `,"More":{"y":{"data":` + hi + `}}}}}`, // from a pointer, around
			&node3{More: map[string]*node3{"x": {Data: []byte("hi"), More: map[string]*node3{"y": {Data: []byte("hi")}}}}}},
		{`{"data":` + hi + `}`, map[string]*[]byte{"data": ptr([]byte("hi"))}},
		{`[ { "data" : ` + hi + ` } , { } , [ ] ]`, []any{map[string]any{"data": map[string]any{"type": "Buffer", "data": []any{104.0, 105.0}}}, map[string]any{}, []any{}}},
	} {
		got := reflect.New(reflect.TypeOf(c.want))
		data := []byte(c.text)
		require.NoError(t, Unmarshal(data, got.Interface()), c.text)
		require.Equal(t, c.text, string(data), "data was written to")
		clear(data) // nothing may refer to it
		require.Equal(t, c.want, got.Elem().Interface(), c.text)
	}
	for _, bad := range []string{
		`{"type":"Buffer"}`, `{"data":[1]}`, `{"type":"Buffer","data":[256]}`, `{"type":"Buffer","data":[-1]}`, `{"type":"Buffer","data":[1.5]}`,
		`{"type":"Buffer","data":["1"]}`, `{"type":"Buffer","data":"aGk="}`, `{"type":"Buffer","data":[1000]}`,
		`{"type":"Buffer","data":[1e1]}`, `{"type":"Buffer","data":[null]}`, `{"type":"Buffer","data":[[1]]}`, `{"type":"buffer","data":[1]}`, `{}`, `"!"`, `1`,
	} {
		var b []byte
		require.Error(t, Unmarshal([]byte(bad), &b), bad)
	}
	// What Append writes comes back.
	in := holder{A: []byte{0, 1, 255}, B: ptr([]byte{}), E: map[string][]byte{"": {7}}, Next: &holder{C: namedBytes("x")}, Embed: Embed{[]byte("in")}, H: ownBytes("null")}
	textOf, _, err := Append(nil, &struct {
		holder
		H any `json:",omitempty"`
	}{holder: in})
	require.NoError(t, err)
	var out holder
	require.NoError(t, Unmarshal(textOf, &out))
	require.Equal(t, in.A, out.A)
	require.Equal(t, in.B, out.B)
	require.Equal(t, in.E, out.E)
	require.Equal(t, in.Next.C, out.Next.C)
	require.Equal(t, in.Inside, out.Inside)
}

// What cannot be a Buffer's text all the same goes through the rewriter without a panic; goccy has the last word.
func TestRewriteHostile(t *testing.T) {
	b := buffersOf(reflect.TypeFor[holder]())
	full := `{"A":{"type":"Buffer","data":[1]},"Next":{"G":[{"X":{"type":"Buffer","data":[2]}}],"E":{"x":{"data":[3],"type":"Buffer"}}}}`
	for i := range full {
		b.rewrite([]byte(full[:i]))
		b.rewrite([]byte(full[:i] + full[i+1:]))
	}
	deep := `{"a":{"type":"Buffer","data":[1]},"next":` + strings.Repeat(`{"next":`, 100_000) + `null` + strings.Repeat("}", 100_000) + `}`
	var h holder
	require.Error(t, Unmarshal([]byte(deep), &h))
	many := `{"e":{` + strings.Repeat(`"k":{"type":"Buffer","data":[1]},`, 100_000) + `"x":null}}`
	require.NoError(t, Unmarshal([]byte(many), &h))
	require.Equal(t, map[string][]byte{"k": {1}, "x": nil}, h.E)
}

// Unmarshal is encoding/json's for anything but byte slices.
func TestUnmarshalLikeStandard(t *testing.T) {
	types := []any{
		new(any), new(string), new(int), new(int8), new(uint), new(float64), new(float32), new(bool), new([]any), new(map[string]any), new([]int), new([2]int),
		new(map[string]string), new(map[int]any), new(flat), new(clash), new(Embedded), new(list), new(*list), new(time.Time), new(json.Number), new(struct{ A any }),
		new(struct {
			A int `json:",string"`
			B string
			C *string `json:",string"`
		}),
		new(json.RawMessage), new(map[time.Month]bool),
	}
	texts := []string{
		`{"A":"5","b":"x","C":"\"y\""}`, `{"A":5}`, `{"X":1,"x":2,"Y":"s","Z":3,"z":4}`, `{"V":1,"Next":{"V":2,"Next":null,"next":{"v":3}}}`, `[1,2,3]`, `["1",2]`,
		`"2024-01-02T03:04:05.678Z"`, `1e400`, `-0`, `12345678901234567890`, `1.5`, `300`, `-1`, `{"1":2,"x":3}`, `{"1":2,"-3":null}`, `"\ud800\udc00\ud800"`, `{"\ud800":"\udfff"}`,
		"[\"\xff\xfe\",{\"\xe2\x82\":\"\xed\xa0\x80\"}]", `{"A":{"B":[{}]},"A":[1]}`, `[[[]],{}]`, `{"a":null,"c":null,"d":null,"e":[1,2,3,4]}`, `{"e":[1]}`, `{"-":true,"H":"7","J":"true"}`, `{"H":7}`,
	}
	for _, c := range scanCases {
		if c.want != "E" {
			texts = append(texts, c.text)
		}
	}
	for _, c := range texts {
		for _, target := range types {
			same(t, []byte(c), reflect.TypeOf(target).Elem())
		}
	}
}

// same requires of Unmarshal and json.Unmarshal the same result, or an error of both. goccy's type errors are more:
// encoding/json has plain ones for json.Number and time.Time. What an error leaves in the target is not compared.
func same(t testing.TB, text []byte, typ reflect.Type) {
	want, got := reflect.New(typ), reflect.New(typ)
	wantErr := json.Unmarshal(text, want.Interface())
	gotErr := Unmarshal(text, got.Interface())
	if wantErr != nil {
		require.Error(t, gotErr, "%s into %s: %v", text, typ, wantErr)
		if reflect.TypeOf(wantErr) == reflect.TypeFor[*json.UnmarshalTypeError]() {
			require.IsType(t, wantErr, gotErr, "%s into %s", text, typ)
		}
		return
	}
	require.NoError(t, gotErr, "%s into %s", text, typ)
	require.Equal(t, want.Elem().Interface(), got.Elem().Interface(), "%s into %s", text, typ)
}

var anyTexts = []string{
	`{"a":1,"b":{"a":[1,{"c":null}]},"a":"last"}`, `[1,2,3,4,5]`, `[]`, `{}`, ` [ ] `, ` { } `, `[[],{},[{}]]`, `null`, ` true `, `false`, `"x"`, `""`, `{"":""}`,
	`0`, `-0`, `-0.0`, `0.1`, `-1.5`, `255`, `256`, `-1`, `123456789012345`, `1234567890123456`, `9007199254740993`, `0.000000000000001`, `0.1234567890123456`, `123456.789012345`,
	`1e5`, `1E+5`, `1e-7`, `1.5e300`, `5e-324`, `1e-400`, `1e400`, `-1e400`, `[1,1e400,2]`, `{"a":1e400,"b":2}`, `{"a":{"b":[1e999]},"c":1e400}`, `1.7976931348623157e308`, `4.35`, `0.3`,
	`00`, `01`, `-`, `1.`, `.5`, `1e`, `1e+`, `+1`, `1_0`, `0x10`, `NaN`, `Infinity`, `tru`, `truex`, `nul`, `fals`, `[1,]`, `[,1]`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{1:2}`, `[1 2]`, `[`, `{`, `[1`, `{"a":1`, `{"a"`, `"`, `"a`, `"a\"`, `"a\`, ``, ` `, `1 2`, `[]]`,
	`"\u0041\n\/\"\\"`, `"\ud83d\ude00\ud83d"`, `"\udc00x"`, `"\x"`, `"\u12g4"`, `{"\u0061":1,"a":2}`, `{"\ud800":"\ud800"}`, "\"a\nb\"", "\"\x00\"", "\"\x7f€\u2028😀\"", "{\"€\":\"\xff€\"}", "[\"\xe2\x82\",\"\xed\xa0\x80\",\"ok\"]",
	"[\xff]", "\ufeff1", `{"type":"Buffer","data":[1,2]}`,
}

func TestUnmarshalAny(t *testing.T) {
	for _, text := range anyTexts {
		sameAny(t, []byte(text))
	}
	for _, c := range scanCases {
		sameAny(t, []byte(c.text))
	}
	// Text of any length, cut anywhere.
	for _, n := range []int{300, 20_000} {
		text := nested(n, n == 300)
		sameAny(t, text)
		for range 100 {
			sameAny(t, text[:rand.IntN(len(text))])
		}
	}
	strs := []byte(`["` + strings.Repeat("x", 5000) + `","","` + strings.Repeat("y", 3000) + `€","` + strings.Repeat("z", 5000) + `",{"` + strings.Repeat("k", 4096) + `":"` + strings.Repeat(`\n`, 5000) + `"}]`)
	sameAny(t, strs)
	sameAny(t, []byte(strings.Repeat("[", 10000)+strings.Repeat("]", 10000)))
	sameAny(t, []byte(strings.Repeat("[", 10001)+strings.Repeat("]", 10001)))
	sameAny(t, []byte(strings.Repeat(`{"a":`, 10000)+"1"+strings.Repeat("}", 10000)))
	sameAny(t, []byte(strings.Repeat(`{"a":`, 10001)+"1"+strings.Repeat("}", 10001)))
	zero := any(1.0)
	require.NoError(t, Unmarshal([]byte(`-0.0`), &zero))
	require.True(t, math.Signbit(zero.(float64)))
	r := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		bits := math.Float64frombits(r.Uint64())
		if math.IsNaN(bits) || math.IsInf(bits, 0) {
			continue
		}
		for _, text := range []string{
			strconv.FormatFloat(bits, 'g', -1, 64), strconv.FormatFloat(bits, 'g', r.IntN(20), 64),
			strconv.FormatFloat(r.NormFloat64()*1000, 'f', r.IntN(17), 64), strconv.FormatInt(r.Int64()>>r.IntN(64), 10),
		} {
			var want, got any
			require.NoError(t, json.Unmarshal([]byte(text), &want))
			require.NoError(t, Unmarshal([]byte(text), &got))
			require.Equal(t, math.Float64bits(want.(float64)), math.Float64bits(got.(float64)), text)
		}
	}
}

// What was decoded stays as it is, though later values come from the same blocks.
func TestUnmarshalAnyShares(t *testing.T) {
	var kept []any
	for i := range 2000 {
		var v any
		require.NoError(t, Unmarshal(fmt.Appendf(nil, `{"key%d":["text %d",%d.5,%d]}`, i, i, i, -i), &v))
		kept = append(kept, v)
		if i%500 == 0 {
			runtime.GC()
		}
	}
	for i, v := range kept {
		require.Equal(t, map[string]any{fmt.Sprint("key", i): []any{fmt.Sprint("text ", i), float64(i) + 0.5, float64(-i)}}, v)
	}
}

// A map in use keeps its identity, and a slice its array.
func TestUnmarshalAnyInPlace(t *testing.T) {
	m := map[string]any{"a": 1.0}
	same := m
	require.NoError(t, Unmarshal([]byte(`{"b":2}`), &m))
	require.Equal(t, map[string]any{"a": 1.0, "b": 2.0}, same)
	list := make([]any, 1, 8)
	old := list
	require.NoError(t, Unmarshal([]byte(`[5,6]`), &list))
	require.Equal(t, []any{5.0, 6.0}, old[:2])
	// An error of depth changes nothing.
	require.Error(t, Unmarshal([]byte(`{"c":3,"d":`+strings.Repeat("[", 10000)+strings.Repeat("]", 10000)+`}`), &m))
	require.Len(t, m, 2)
}

type refuses struct{}

func (*refuses) UnmarshalJSON([]byte) error { return errText }

func TestUnmarshalErrors(t *testing.T) {
	var typeError *json.UnmarshalTypeError
	err := Unmarshal([]byte(`{"a":"x","b":"y"}`), &flat{})
	require.ErrorAs(t, err, &typeError)
	require.Equal(t, "b", typeError.Field)
	require.Equal(t, "string", typeError.Value)
	require.Equal(t, reflect.TypeFor[int](), typeError.Type)
	var invalid *json.InvalidUnmarshalError
	require.ErrorAs(t, Unmarshal([]byte(`1`), 1), &invalid)
	require.ErrorAs(t, Unmarshal([]byte(`1`), nil), &invalid)
	require.ErrorAs(t, Unmarshal([]byte(`1`), (*int)(nil)), &invalid)
	require.ErrorAs(t, Unmarshal([]byte(`1`), (*json.RawMessage)(nil)), &invalid)
	require.True(t, errors.Is(Unmarshal([]byte(`[1]`), &[]refuses{}), errText))
	var syntax *SyntaxError
	require.ErrorAs(t, Unmarshal([]byte(`{"a"`), &flat{}), &syntax)
}

// Depth, length and numbers are the peer's choice: an error or a value, soon.
func TestUnmarshalHostile(t *testing.T) {
	const deep = 100_000
	digits := strings.Repeat("9", 1_000_000)
	var keys strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&keys, `"k%d":%d,`, i, i)
	}
	type lists []lists
	for name, text := range map[string]string{
		"arrays":    strings.Repeat("[", deep) + strings.Repeat("]", deep),
		"objects":   strings.Repeat(`{"Next":`, deep) + "null" + strings.Repeat("}", deep),
		"skipped":   `{"unknown":` + strings.Repeat(`[{"x":`, deep) + "1" + strings.Repeat("}]", deep) + `}`,
		"digits":    digits,
		"fraction":  "0." + digits,
		"exponent":  "1e" + digits,
		"field":     `{"V":` + digits + `}`,
		"keys":      "{" + keys.String() + `"V":1}`,
		"same keys": `{` + strings.Repeat(`"V":1,`, 200_000) + `"V":2}`,
		"escapes":   `"` + strings.Repeat(`\ud800`, 200_000) + `"`,
	} {
		for _, target := range []any{new(any), new(list), new(lists), new(node3), new(float64), new(int), new(string), new(map[string]any), new(json.Number)} {
			start := time.Now()
			err := Unmarshal([]byte(text), target)
			require.Less(t, time.Since(start), time.Minute, "%s into %T", name, target) // what grows with the square of the text takes longer
			if name == "keys" && reflect.TypeOf(target) == reflect.TypeFor[*any]() {
				require.NoError(t, err)
			}
		}
	}
	atLimit := strings.Repeat("[", 10000) + strings.Repeat("]", 10000)
	require.NoError(t, Unmarshal([]byte(atLimit), new(any)))
	require.Error(t, Unmarshal([]byte("["+atLimit+"]"), new(any)))
}

// The caches and pools are shared by all goroutines.
func TestConcurrent(t *testing.T) {
	type fresh struct {
		A []byte
		B map[string]*fresh
		C float64
	}
	type plain struct {
		A string
		B []*plain
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				in := fresh{A: []byte("x"), B: map[string]*fresh{"b": {C: 1.5}, "a": nil}}
				text, _, err := Append(nil, in)
				if err != nil || string(text) != `{"A":{"type":"Buffer","data":[120]},"B":{"a":null,"b":{"A":null,"B":null,"C":1.5}},"C":0}` {
					t.Errorf("%s, %v", text, err)
				}
				var out fresh
				if err := Unmarshal(text, &out); err != nil || !reflect.DeepEqual(in, out) {
					t.Errorf("%v, %v", out, err)
				}
				text, _, err = Append(nil, plain{"\xff", []*plain{nil, {}}})
				if err != nil || string(text) != `{"A":"�","B":[null,{"A":"","B":null}]}` {
					t.Errorf("%s, %v", text, err)
				}
			}
		})
	}
	wg.Wait()
}
