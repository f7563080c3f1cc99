package main

import (
	"bytes"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// compared is what is said of two payloads: "" if they are the same.
func compared(recorded, received, ignore string) string {
	r, err := parseRedact(ignore)
	if err != nil {
		panic(err)
	}
	d := compare([]byte(recorded), []byte(received), r)
	if d == nil {
		return ""
	}
	return strings.TrimSpace(d.path + " " + d.recorded + " / " + d.received)
}

func TestCompareJSON(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, test := range []struct{ recorded, received, ignore, says string }{
		{`{"a":1,"b":[true,null]}`, ` { "b" : [ true , null ] , "a" : 1.0e0 } `, "", ""},
		{`"é😀\/"`, `"\u00e9\ud83d\ude00/"`, "", ""},
		{`[100,1e2,0.1,-0]`, `[1e2,100.0,1.0E-1,0]`, "", ""},
		{`9007199254740993`, `9007199254740992`, "", "9007199254740993 / 9007199254740992"},
		{`1`, `"1"`, "", `1 / "1"`},
		{`{"a":{"b c":[1,2]}}`, `{"a":{"b c":[1,3]}}`, "", `.a["b c"][1] 2 / 3`},
		{`[1,2]`, `[1]`, "", `[1] 2 / nothing`},
		{`[1]`, `[1,{"a":2}]`, "", `[1] nothing / {"a":2}`},
		{`{"a":null}`, `{}`, "", `.a null / nothing`},
		{`{}`, `{"b":0}`, "", `.b nothing / 0`},
		{`{"a":1,"a":2}`, `{"a":2}`, "", ""},
		{`["\ud800"]`, `["\ud801"]`, "", `[0] "�d800" / "�d801"`},
		{`["\uD800"]`, `["\ud800"]`, "", ""},
		{`["\\ud800"]`, `["\\ud801"]`, "", `[0] "\\ud800" / "\\ud801"`},
		{`{"pid":1,"x":{"At":2}}`, `{"pid":3,"x":{"At":"no"}}`, "pid,at", ""},
		{`{"pid":1}`, `{}`, "pid", `.pid 1 / nothing`},
		{`{"a":"[redacted]","b":["[redacted]"]}`, `{"a":{"c":1},"b":[null]}`, "", ""},
		{`{"a":"[redacted]"}`, `{}`, "", `.a "[redacted]" / nothing`},
		{`{"a":"x"}`, `{"a":"[redacted]"}`, "", `.a "x" / "[redacted]"`},
		{``, `{"a":1}`, "", ""}, // hidden as a whole
		{`{"a":1}`, `{"a":1`, "", `{"a":1} / a payload that cannot be read: "{\"a\":1"`},
		{`"` + strings.Repeat("x", 500) + `"`, `{"` + strings.Repeat("y", 500) + `":1}`, "",
			`"` + strings.Repeat("x", 99) + `… / {"` + strings.Repeat("y", 98) + "…"},
	} {
		require.Equal(t, test.says, compared(test.recorded, test.received, test.ignore), "%.100s", test.recorded)
	}
}

func TestCompareV8(t *testing.T) {
	testkit.CheckLeaks(t)
	object := func(pairs ...any) *v8.Object {
		o := new(v8.Object)
		for i := 0; i < len(pairs); i += 2 {
			o.Set(pairs[i].(string), pairs[i+1])
		}
		return o
	}
	cycle := func(n int) any { // of so many objects
		first := object()
		last := first
		for range n - 1 {
			last = object("next", last)
		}
		return first.Set("next", last)
	}
	shared := object("a", 1)
	list := func(pairs ...any) *v8.Map {
		m := new(v8.Map)
		for i := 0; i < len(pairs); i += 2 {
			m.Set(pairs[i], pairs[i+1])
		}
		return m
	}
	for _, test := range []struct {
		recorded, received any
		ignore, says       string
	}{
		{object("a", 1, "b", "é"), object("b", "é", "a", 1.0), "", ""},
		{v8.Undefined{}, nil, "", "undefined / null"},
		{object("a", v8.Undefined{}), object(), "", ".a undefined / nothing"},
		{[]any{v8.Hole{}}, []any{v8.Undefined{}}, "", "[0] a hole / undefined"},
		{math.NaN(), math.NaN(), "", ""},
		{v8.Date(math.NaN()), v8.Date(0), "", "Date(NaN) / Date(1970-01-01T00:00:00Z)"},
		{big.NewInt(1), 1, "", "1n / 1"},
		{[]byte("abc"), []byte("abd"), "", "Buffer(3) <616263> / Buffer(3) <616264>"},
		{&v8.View{Type: v8.Uint8Array, Data: []byte("a")}, &v8.View{Type: v8.Int8Array, Data: []byte("a")}, "",
			"Uint8Array(1) <61> / Int8Array(1) <61>"},
		{&v8.ArrayBuffer{Data: []byte("a")}, &v8.ArrayBuffer{Data: []byte("b")}, "",
			"ArrayBuffer(1) <61> / ArrayBuffer(1) <62>"},
		{&v8.RegExp{Source: "a"}, &v8.RegExp{Source: "a", Flags: "g"}, "", "/a/ / /a/g"},
		{&v8.Boxed{Value: 1}, &v8.Boxed{Value: 2}, "", ".valueOf() 1 / 2"},
		{list("a", 1, 2, "x"), list("a", 1, 2, "y"), "", `.get(2) "x" / "y"`},
		{list("a", 1, "b", 2), list("b", 2, "a", 1), "", `.keys[0] "a" / "b"`},
		{list("a", 1), list("a", 2), "a", ""},
		{list(object("k", 1), 1), list(object("k", 2), 1), "", `.keys[0].k 1 / 2`},
		{list(), list(1, 2), "", `.keys[0] nothing / 1`},
		{new(v8.Set).Add(1), new(v8.Set).Add(2), "", `.values[0] 1 / 2`},
		{&v8.Error{Message: "a", Stack: "x"}, &v8.Error{Message: "a", Stack: "y"}, "stack", ""},
		{&v8.Error{Message: "a"}, &v8.Error{Name: "TypeError", Message: "a"}, "", `.name "Error" / "TypeError"`},
		{&v8.Error{Message: "a", Cause: object("c", 1)}, &v8.Error{Message: "a", Cause: object("c", 2)}, "", `.cause.c 1 / 2`},
		{&v8.Sparse{Length: 9999, Elements: []v8.Element{{Index: 5000, Value: 1}}},
			&v8.Sparse{Length: 9999, Elements: []v8.Element{{Index: 4000, Value: 1}}}, "", "[4000] nothing / 1"},
		{&v8.Sparse{Length: 9999, Props: object("p", 1)}, &v8.Sparse{Length: 9999, Props: object("p", 2)}, "", ".p 1 / 2"},
		{&v8.Sparse{Length: 9999}, &v8.Sparse{Length: 9998}, "", ".length 9999 / 9998"},
		{[]any{shared, shared}, []any{object("a", 1), object("a", 1)}, "", ""},
		{[]any{shared, shared}, []any{object("a", 1), object("a", 2)}, "", "[1].a 1 / 2"},
		{cycle(700), cycle(301), "", ""},
	} {
		recorded, received := advanced(t, test.recorded), advanced(t, test.received)
		require.Equal(t, test.says, compared(recorded, received, test.ignore), "%#v", test.recorded)

		// Something of the recorded one was hidden: it is readable JSON.
		var text bytes.Buffer
		s := newScreen(&text, showOptions{json: true, redact: redaction{"secret"}})
		s.event(sent(childSide, advanced(t, object("secret", 1, "v", test.recorded))))
		e, err := parseEvent(text.Bytes())
		require.NoError(t, err)
		require.False(t, isV8(e.data))
		require.Empty(t, compared(string(e.data), advanced(t, object("secret", object("b", 1), "v", test.recorded)), ""))
		require.NotEmpty(t, compared(string(e.data), advanced(t, object("v", test.recorded)), ""))
	}
	hostile := "\xff\x0do\""
	require.Equal(t, `{} / a payload that cannot be read: "�\u000do\""`, compared(advanced(t, object()), hostile, ""))
}
