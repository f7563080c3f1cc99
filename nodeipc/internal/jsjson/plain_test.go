package jsjson

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

type plainInner struct {
	X, Y float64
	Tag  string `json:"tag"`
}

type plainBase struct {
	Base string
}

type plainOuter struct {
	plainBase
	ID    int    `json:"id"`
	Name  string `json:"name"`
	OK    bool
	I8    int8
	I16   int16
	I32   int32
	I64   int64
	U     uint
	U8    uint8
	U16   uint16
	U32   uint32
	U64   uint64
	F32   float32
	F     float64    `json:"f"`
	Inner plainInner `json:"inner"`
	Long  string     `json:"a-very-long-name-indeed"`
}

// The decoder for plain structs gives what encoding/json gives, or leaves the text to goccy, which the rest of the tests
// compare with encoding/json. taken says that it must not give up: otherwise this would compare nothing.
func TestPlain(t *testing.T) {
	rows := []struct {
		text  string
		taken bool
	}{
		{`{}`, true},
		{` { } `, true},
		{`{"id":123456,"name":"greeting","OK":true}`, true},
		{`{"Base":"b","id":-1,"name":"","OK":false,"I8":-128,"I16":32767,"I32":-2147483648,"I64":999999999999999999}`, true},
		{`{"U":1,"U8":255,"U16":65535,"U32":4294967295,"U64":999999999999999999,"F32":1.5,"f":-0}`, true},
		{`{"f":1e-7,"F32":3.4028235e38,"inner":{"X":0.1,"Y":12345678901234567890,"tag":"grüße"}}`, true},
		{"{\t\"name\" : \"x\" ,\r \"id\" : 7 , \"inner\" : { \"tag\" : \"y\" } }", true},
		{`{"OK":true,"name":"out of order","id":1,"id":2}`, true},
		{`{"ID":5,"NAME":"other case","ok":true}`, true},
		{`{"unknown":[{"a":"}"},[]],"id":1,"more":"\"","last":{}}`, true},
		{`{"a-very-long-name-indeed":"` + string(make([]byte, 0)) + `x","name":"y"}`, true},
		{`{"name":"a \"quoted\" one"}`, false},
		{`{"n\u0061me":"escaped key"}`, false},
		{`{"id":null}`, false},
		{`{"id":1.0}`, false},
		{`{"id":1e2}`, false},
		{`{"id":12345678901234567890}`, false},
		{`{"I8":128}`, false},
		{`{"I8":-129}`, false},
		{`{"U8":256}`, false},
		{`{"U8":-1}`, false},
		{`{"f":1e999}`, false},
		{`{"F32":1e39}`, false},
		{`{"f":"1"}`, false},
		{`{"OK":1}`, false},
		{`{"name":7}`, false},
		{`{"inner":[]}`, false},
		{"{\"name\":\"bad \xff utf-8\"}", false},
		{"{\"nam\xff\":\"bad key\"}", false},
		{`[]`, false},
		{`null`, false},
		{`"x"`, false},
	}
	for _, row := range rows {
		t.Run(row.text, func(t *testing.T) {
			_, err := Scan([]byte(row.text))
			require.NoError(t, err)
			start := plainOuter{ID: 42, Name: "before", Inner: plainInner{X: 1, Tag: "before"}}
			var direct plainOuter = start
			p := targetPlain(&direct)
			require.NotNil(t, p)
			require.Equal(t, row.taken, p.decode([]byte(row.text), unsafe.Pointer(&direct)))

			want, got := start, start
			wantErr := json.Unmarshal([]byte(row.text), &want)
			gotErr := Unmarshal([]byte(row.text), &got)
			require.Equal(t, wantErr == nil, gotErr == nil, "%v, %v", wantErr, gotErr)
			if wantErr == nil {
				require.Equal(t, want, got)
				require.Equal(t, math.Signbit(want.F), math.Signbit(got.F))
				if row.taken {
					require.Equal(t, want, direct)
				}
			}
		})
	}
}

// A type that is not plain is left alone.
func TestPlainTypes(t *testing.T) {
	require.Nil(t, targetPlain(new(struct{ A []string })))
	require.Nil(t, targetPlain(new(struct{ A *int })))
	require.Nil(t, targetPlain(new(struct{ A any })))
	require.Nil(t, targetPlain(new(struct {
		A int `json:",string"`
	})))
	require.Nil(t, targetPlain(new(struct{ A json.Number }))) // a string with its own rules
	require.Nil(t, targetPlain(new(struct{ *plainInner })))
	require.Nil(t, targetPlain(new(int)))
	require.Nil(t, targetPlain(plainOuter{}))
	require.NotNil(t, targetPlain(new(plainOuter)))
}

// What is written is what encoding/json writes, as far as it writes JSON.stringify's text.
func TestPlainAppend(t *testing.T) {
	type omit struct {
		S string  `json:"s,omitempty"`
		B bool    `json:"b,omitempty"`
		I int8    `json:"i,omitempty"`
		U uint16  `json:"u,omitempty"`
		F float64 `json:"f,omitempty"`
		G float32 `json:"g,omitempty"`
		N plainInner
		M plainInner `json:"m,omitempty"`
	}
	for _, v := range []any{
		struct{}{},
		omit{},
		&omit{},
		omit{"x", true, -1, 65535, 0.25, 1.5, plainInner{1, 2, "t"}, plainInner{}},
		plainOuter{plainBase: plainBase{"b"}, ID: math.MinInt64, Name: "a\b \u2028 \"grüße\"", OK: true, I8: -128, I16: -1, I32: math.MinInt32,
			I64: math.MaxInt64, U: math.MaxUint, U8: 255, U16: 65535, U32: math.MaxUint32, U64: math.MaxUint64, F32: 0.1, F: 1e20},
		&plainOuter{Inner: plainInner{Tag: "x"}},
		(*plainOuter)(nil),
	} {
		want, err := json.Marshal(v)
		require.NoError(t, err)
		got, _, err := Append(nil, v)
		require.NoError(t, err)
		require.Equal(t, strings.ReplaceAll(string(want), `\u2028`, "\u2028"), string(got))
		if !reflect.ValueOf(v).IsZero() {
			require.NotNil(t, factsOf(v).plain, "not what this test is about")
		}
	}
	got, _, err := Append(nil, plainInner{X: math.NaN(), Y: math.Copysign(0, -1), Tag: "bad \xff"})
	require.NoError(t, err)
	require.Equal(t, "{\"X\":null,\"Y\":0,\"tag\":\"bad \ufffd\"}", string(got))
	_, info, err := Append(nil, struct {
		Cmd string `json:"cmd"`
	}{"NODE_X"})
	require.NoError(t, err)
	require.Equal(t, "NODE_X", info.Cmd)
}

// Texts cut from a copy must not change with the message that they came from.
func TestPlainOwnsItsStrings(t *testing.T) {
	text := []byte(`{"name":"short","a-very-long-name-indeed":"another"}`)
	var v plainOuter
	require.NoError(t, Unmarshal(text, &v))
	clear(text)
	require.Equal(t, "short", v.Name)
	require.Equal(t, "another", v.Long)
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte(`{"Base":"b","id":-1,"name":"x","OK":false,"I8":-128,"f":1.5e3,"inner":{"X":0.1,"tag":"grüße"}}`))
	f.Add([]byte(`{"ID":5,"unknown":[1,{"a":"}"}],"U8":256,"name":"\ud800"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := Scan(text); err != nil {
			return
		}
		var direct, want plainOuter
		if targetPlain(&direct).decode(text, unsafe.Pointer(&direct)) {
			require.NoError(t, json.Unmarshal(text, &want))
			require.Equal(t, want, direct)
		}
	})
}
