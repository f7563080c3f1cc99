package jsjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// slowCmd is Info.Cmd by way of encoding/json.
func slowCmd(text []byte) string {
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return ""
	}
	var cmd any
	if raw, ok := members["cmd"]; !ok || json.Unmarshal(raw, &cmd) != nil {
		return ""
	}
	if s, ok := cmd.(string); ok && len(s) > 5 && strings.HasPrefix(s, "NODE_") {
		return s
	}
	return ""
}

// slowMembers requires of Members what encoding/json finds in a text that it takes.
func slowMembers(t *testing.T, text []byte) {
	type pair struct{ name, raw string }
	var want, got []pair
	d := json.NewDecoder(bytes.NewReader(text))
	if token, err := d.Token(); err == nil && token == json.Delim('{') {
		for d.More() {
			name, err := d.Token()
			require.NoError(t, err)
			var raw json.RawMessage
			require.NoError(t, d.Decode(&raw))
			want = append(want, pair{name.(string), string(raw)})
		}
	}
	for name, raw := range Members(text) {
		got = append(got, pair{name, string(raw)})
	}
	require.Equal(t, want, got)
}

func FuzzScan(f *testing.F) {
	for _, c := range scanCases {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		info, err := Scan(text)
		compact, compactInfo, compactErr := Compact(nil, text)
		require.Equal(t, err, compactErr)
		for name, raw := range Members(text) { // no panic, valid or not
			require.True(t, utf8.ValidString(name))
			if err == nil {
				require.True(t, json.Valid(raw))
			}
		}
		String(text)
		valid := json.Valid(text) // encoding/json takes what is not UTF-8 too, in strings
		if err != nil {
			// It has a limit of depth, we have not.
			require.False(t, valid)
			return
		}
		if !valid {
			require.Greater(t, bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")), 9999)
			return
		}
		slowMembers(t, text)
		var want, got any // String takes the token alone
		if s, ok := String(bytes.Trim(text, " \t\r\n")); ok {
			got = s
		}
		if json.Unmarshal(text, &want) == nil && text[skipSpace(text, 0)] == '"' {
			require.Equal(t, want, got)
		} else {
			require.Nil(t, got)
		}
		require.Equal(t, slowCmd(text), info.Cmd)
		require.Equal(t, bytes.IndexFunc(text, func(r rune) bool { return r > 0x7f }) < 0, info.ASCII)
		require.Equal(t, info, compactInfo)
		require.Equal(t, info.Cmd, infoOf(text[skipSpace(text, 0):]).Cmd)
		var slow bytes.Buffer
		require.NoError(t, json.Compact(&slow, text))
		if utf8.Valid(text) {
			require.Equal(t, slow.String(), string(compact))
		} else {
			require.True(t, utf8.Valid(compact))
			require.Equal(t, string(appendValid(nil, slow.Bytes())), string(compact))
		}
	})
}

// fuzzTarget has all that a field can be.
type fuzzTarget struct {
	A string
	B *int `json:"b,omitempty"`
	C []fuzzTarget
	D map[string]any
	E any
	F float64 `json:",string"`
	G [2]bool
	H []byte
	I *fuzzTarget
	J map[int8]string
	K json.RawMessage `json:",omitempty"`
	L uint16
	Embed
}

type fuzzPlain struct {
	A string
	B []string
	C *fuzzPlain
	D int `json:",string"`
	E [2]uint8
}

// fuzzStandard has what a field can be where we follow encoding/json in all.
type fuzzStandard struct {
	A string
	B *int `json:"b,omitempty"`
	C []fuzzStandard
	D map[string]any
	E any
	F float64 `json:",string"`
	G [2]bool
	I *fuzzStandard
	J map[int8]string
	K json.RawMessage
	L uint16
	M *string `json:"a b"`
	N map[string]*fuzzStandard
	inner
}

func FuzzAppendUnmarshal(f *testing.F) {
	for _, c := range scanCases {
		f.Add([]byte(c.text))
	}
	f.Add(nested(200, true))
	f.Add([]byte(`{"A":"x","b":1,"C":[{"A":"y"}],"D":{"1":2,"a":[]},"E":{},"F":"1e-7","G":[true],"H":{"type":"Buffer","data":[1]},"I":{"L":5},"J":{"-1":"x"},"K":[1, 2],"Inside":"aGk="}`))
	f.Add([]byte(`{"A":"\ud800","B":["\u2028"],"C":{"C":null},"D":"5","E":[1,2,3]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := Scan(text); err != nil || !json.Valid(text) {
			return
		}
		for _, typ := range []reflect.Type{
			reflect.TypeFor[any](), reflect.TypeFor[fuzzPlain](), reflect.TypeFor[fuzzStandard](), reflect.TypeFor[map[string]string](), reflect.TypeFor[[]float32](), reflect.TypeFor[string](), reflect.TypeFor[json.Number](),
		} {
			same(t, text, typ)
		}
		for _, target := range []any{new(fuzzTarget), new(fuzzPlain), new(any)} {
			if Unmarshal(text, target) != nil {
				continue
			}
			first, _, err := Append(nil, target)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			require.True(t, utf8.Valid(first))
			_, err = Scan(first)
			require.NoError(t, err)
			again := reflect.New(reflect.TypeOf(target).Elem())
			require.NoError(t, Unmarshal(first, again.Interface()), "%s", first)
			second, _, err := Append(nil, again.Interface())
			require.NoError(t, err)
			require.Equal(t, string(first), string(second))
			var ours, theirs any
			require.NoError(t, json.Unmarshal(first, &ours))
			if _, plain := target.(*any); plain {
				require.NoError(t, json.Unmarshal(text, &theirs))
				require.Equal(t, theirs, ours)
			}
		}
	})
}

// anyTargets makes all that our decoder for any writes to: empty, in use, and with pointers that are followed.
func anyTargets() []any {
	number, list := 7, []any{1.0}
	inUse := map[string]any{"a": 1.0, "old": []any{"x"}}
	var nothing *int
	return []any{
		new(any), new(map[string]any), new([]any),
		ptr(any("old")), ptr(any(map[string]any{"old": 1.0})), ptr(any(&number)), ptr(any(&list)), ptr(any(nothing)), ptr(any(ptr(ptr(1)))),
		&inUse, ptr(map[string]any{}), ptr(map[string]any{"a": &number}),
		ptr([]any{}), ptr([]any{"x", nil, 3.0}), ptr([]any{1.0, 2.0, 3.0}[:1]), ptr([]any{1.0, &number, map[string]any{}}), ptr(make([]any, 0, 9)),
	}
}

// sameAny requires that Unmarshal leaves in each target, and reports, what json.Unmarshal does.
func sameAny(t testing.TB, text []byte) {
	theirs := anyTargets()
	for i, target := range anyTargets() {
		want := json.Unmarshal(text, theirs[i])
		data := bytes.Clone(text)
		got := Unmarshal(data, target)
		require.Equal(t, string(text), string(data), "data was written to")
		clear(data) // nothing may refer to it
		if syntax, ok := want.(*json.SyntaxError); ok {
			want = &SyntaxError{Offset: syntax.Offset, Msg: syntax.Error()}
		}
		require.Equal(t, want, got, "%q into target %d", text, i)
		require.Equal(t, theirs[i], target, "%q into target %d", text, i)
	}
}

func FuzzUnmarshalAny(f *testing.F) {
	for _, c := range scanCases {
		f.Add([]byte(c.text))
	}
	for _, text := range anyTexts {
		f.Add([]byte(text))
	}
	f.Add(nested(300, true))
	f.Fuzz(func(t *testing.T, text []byte) { sameAny(t, text) })
}
