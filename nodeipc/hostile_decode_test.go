//go:build unix

package nodeipc

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// Everything that a text might be decoded into.
type decodeTarget struct {
	A   *decodeTarget
	Any any `json:"any"`
	M   map[string]*decodeTarget
	L   []decodeTarget
	B   []byte
	S   string
	N   int
	F   float64
	T   time.Time
	R   json.RawMessage
	Num json.Number
	P   **int
}

// Texts that are JSON, or what a program may have made of one, of some hundred kilobytes.
func decodeTexts() map[string]string {
	n := 100000
	if raceEnabled {
		n = 20000
	}
	repeated := func(open, close string, n int) string { return strings.Repeat(open, n) + strings.Repeat(close, n) }
	object := func(member string) string { return "{" + strings.Repeat(member+",", n) + `"z":0}` }
	texts := map[string]string{
		"nested arrays": repeated("[", "]", n), "nested arrays at the limit": repeated("[", "]", 9990),
		"nested objects": strings.Repeat(`{"A":`, n) + "1" + strings.Repeat("}", n), "nested objects at the limit": strings.Repeat(`{"A":`, 9990) + "{}" + strings.Repeat("}", 9990),
		"nested maps": strings.Repeat(`{"M":{"m":`, 4990) + "{}" + strings.Repeat("}}", 4990), "nested lists": strings.Repeat(`{"L":[`, 4990) + "{}" + strings.Repeat("]}", 4990),
		"nested any": `{"any":` + repeated("[", "]", 9990) + "}", "nested objects in any": strings.Repeat(`{"any":`, n) + "1" + strings.Repeat("}", n),
		"empty arrays": "[" + strings.Repeat("[],", n) + "[]]", "empty objects": "[" + strings.Repeat("{},", n) + "{}]", "nulls": "[" + strings.Repeat("null,", n) + "null]",
		"empty strings": "[" + strings.Repeat(`"",`, n) + `""]`, "digits": "[" + strings.Repeat("1,", n) + "1]", "empty lists": `{"L":[` + strings.Repeat("{},", n) + "{}]}",
		"one key": object(`"a":0`), "one key of the struct": object(`"A":{}`), "lists again and again": object(`"L":[{},{},{}]`), "maps again and again": object(`"M":{"k":{}}`),
		"any again and again": object(`"any":[{"a":1}]`), "keys in every case": object(`"aNy":1`), "many keys": manyKeysOf(n),
		"a long key": `{"` + strings.Repeat("k", n) + `":1}`, "a key of escapes": `{"` + strings.Repeat(`\u0041`, n) + `":1}`, "a string of escapes": `"` + strings.Repeat(`\u4f60`, n) + `"`,
		"a string of bad surrogates": `"` + strings.Repeat(`\ud800`, n) + `"`, "bad UTF-8": `"` + strings.Repeat("\xff", n) + `"`, "bad UTF-8 in keys": `{"` + strings.Repeat("\xff", n) + `":"` + strings.Repeat("\xff", n) + `"}`,
		"a long number": strings.Repeat("9", n), "a long fraction": "0." + strings.Repeat("123456789", n/9), "a long exponent": "1e" + strings.Repeat("9", n), "a long negative exponent": "-1E-" + strings.Repeat("9", n),
		"long numbers": "[" + strings.Repeat(strings.Repeat("9", 1000)+",", 300) + "1]", "a number in a struct": `{"N":` + strings.Repeat("9", n) + `,"F":` + strings.Repeat("9", n) + "}",
		"json.Number": `{"Num":` + strings.Repeat("9", n) + "}", "a Buffer": `{"type":"Buffer","data":[` + strings.Repeat("255,", n) + "0]}",
		"a Buffer of bad bytes": `{"type":"Buffer","data":[` + strings.Repeat("256,", n) + "-1]}", "Buffers": "[" + strings.Repeat(`{"type":"Buffer","data":[]},`, n/10) + "0]",
		"a nested Buffer": `{"B":` + strings.Repeat(`{"type":"Buffer","data":`, 5000) + "[]" + strings.Repeat("}", 5000) + "}", "base64": `{"B":"` + strings.Repeat("AAAA", n) + `"}`,
		"no base64": `{"B":"` + strings.Repeat("*", n) + `"}`, "a time": `{"T":"` + strings.Repeat("2", n) + `"}`, "raw": `{"R":` + repeated("[", "]", n) + "}", "pointers": `{"P":1}`,
		"white space": strings.Repeat(" \t\r", n) + "1" + strings.Repeat(" ", n), "white space between": "[" + strings.Repeat(" 1 \t,\r", n) + "1]",
	}
	for name, text := range maps.Clone(texts) { // not JSON: Data that a program has altered
		if strings.HasPrefix(name, "nested") || strings.HasPrefix(name, "a ") {
			texts[name+", cut off"] = text[:len(text)/2]
		}
	}
	return texts
}

func manyKeysOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	return "{" + b.String() + `"z":0}`
}

// Decoding takes time and memory in proportion to the text, whatever the text and the target are, and fails with a
// *DecodeError.
func TestDecodeHostileTexts(t *testing.T) {
	testkit.CheckLeaks(t)
	targets := []reflect.Type{
		reflect.TypeFor[any](), reflect.TypeFor[decodeTarget](), reflect.TypeFor[*decodeTarget](), reflect.TypeFor[map[string]any](), reflect.TypeFor[map[string]decodeTarget](),
		reflect.TypeFor[map[int]string](), reflect.TypeFor[[]any](), reflect.TypeFor[[]decodeTarget](), reflect.TypeFor[[3]any](), reflect.TypeFor[string](), reflect.TypeFor[[]byte](),
		reflect.TypeFor[int8](), reflect.TypeFor[float64](), reflect.TypeFor[bool](), reflect.TypeFor[time.Time](), reflect.TypeFor[json.RawMessage](), reflect.TypeFor[json.Number](),
		reflect.TypeFor[*big.Int](), reflect.TypeFor[struct{}](), reflect.TypeFor[chan int](), reflect.TypeFor[fmt.Stringer](),
	}
	decoded, refused := 0, 0
	for name, text := range decodeTexts() {
		for _, typ := range targets {
			m := &Message{Data: []byte(text)}
			v := reflect.New(typ)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begun := time.Now()
			err := m.Decode(v.Interface())
			took := time.Since(begun)
			runtime.ReadMemStats(&after)
			switch {
			case err == nil:
				decoded++
			case errors.As(err, new(*DecodeError)):
				refused++
				require.Less(t, len(err.Error()), 1200, "%s into %v", name, typ)
			default:
				t.Errorf("%s into %v: %v", name, typ, err)
			}
			require.Equal(t, text, string(m.Data), "%s into %v", name, typ)
			require.Less(t, took, patience/4, "%s into %v", name, typ) // quadratic would be more
			if allocated := after.TotalAlloc - before.TotalAlloc; !raceEnabled && allocated > decodeBound(text, typ) {
				t.Errorf("%s, %d bytes, into %v: %d bytes allocated", name, len(text), typ, allocated)
			}
		}
	}
	require.Greater(t, decoded, 200)
	require.Greater(t, refused, 200)
}

// What the error says of the text is short and harmless to print; what it wraps is all.
func TestDecodeErrorText(t *testing.T) {
	testkit.CheckLeaks(t)
	m := &Message{Data: []byte(`{"\u001b[2J` + strings.Repeat("你", 1000) + `":"x"}`)}
	var v map[string]int
	err := m.Decode(&v)
	require.Error(t, err)
	require.Less(t, len(err.Error()), 500)
	require.NotContains(t, err.Error(), "\x1b")
	require.True(t, utf8.ValidString(err.Error()))
	require.ErrorContains(t, err, "nodeipc: decode json message into *map[string]int: json: cannot unmarshal string into ")
	var bad *DecodeError
	require.ErrorAs(t, err, &bad)
	require.Greater(t, len(bad.Err.Error()), 3000)
}

// decodeBound is what a text may cost: two bytes are an element, which takes as much as its type does, and several times
// that while its list grows.
func decodeBound(text string, typ reflect.Type) uint64 {
	perByte := uint64(100)
	if typ == reflect.TypeFor[*big.Int]() {
		perByte = 500 // what math/big takes for a decimal
	}
	if strings.Contains(typ.String(), "decodeTarget") {
		perByte = 2 * uint64(reflect.TypeFor[decodeTarget]().Size())
	}
	return perByte*uint64(len(text)) + 1<<20
}
