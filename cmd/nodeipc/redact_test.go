package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// What is hidden by name, in every place where a name can be.
func TestRedact(t *testing.T) {
	const secret = "s3cret"
	hides, err := parseRedact("password, api-key,stack")
	require.NoError(t, err)
	object := func(pairs ...any) *v8.Object {
		o := new(v8.Object)
		for i := 0; i < len(pairs); i += 2 {
			o.Set(pairs[i].(string), pairs[i+1])
		}
		return o
	}
	m := new(v8.Map)
	m.Set("password", []any{secret})
	m.Set(object("password", secret), 1.0)
	odd := &v8.Sparse{Length: 1, Elements: []v8.Element{{Index: 0, Value: 1.0}}, Props: object("password", secret, "b", 2.0)}
	shared := object("x", secret)
	for _, c := range []struct{ data, text, value string }{
		{`{"password":"s3cret","a":1}`, `{"password":"[redacted]","a":1}`, ""},
		{`[{"a":{"Password":{"deep":["s3cret",{}]},"b":[2]}},3]`, `[{"a":{"Password":"[redacted]","b":[2]}},3]`, ""},
		{`{"p\u0061ssw\u006frd":"s3cret","b":{"password":null},"api-key":[]}`,
			`{"p\u0061ssw\u006frd":"[redacted]","b":{"password":"[redacted]"},"api-key":"[redacted]"}`, ""},
		{`"password"`, `"password"`, ""},
		{advanced(t, object("password", secret, "a", 1.0)), `{"password":"[redacted]","a":1}`, ""},
		{advanced(t, object("a", m)), `{"a":Map {"password" => "[redacted]",{"password":"[redacted]"} => 1}}`,
			`{"a":{"$map":[["password","[redacted]"],[{"password":"[redacted]"},1]]}}`},
		{advanced(t, object("api-key", []byte(secret), "b", []any{object("PASSWORD", &v8.Boxed{Value: secret}, "c", true)})),
			`{"api-key":"[redacted]","b":[{"PASSWORD":"[redacted]","c":true}]}`, ""},
		{advanced(t, object("api-key", &v8.RegExp{Source: secret, Flags: "g"}, "z", &v8.RegExp{Source: "z"})),
			`{"api-key":"[redacted]","z":/z/}`, `{"api-key":"[redacted]","z":{"$regexp":"z","flags":""}}`},
		{advanced(t, &v8.Error{Name: "Error", Message: "m", HasMessage: true, Stack: secret, HasStack: true}),
			`Error {message:"m",stack:"[redacted]"}`, `{"$error":{"message":"m","stack":"[redacted]","name":"Error"}}`},
		{advanced(t, odd), `Array(1) {0:1,"password":"[redacted]","b":2}`, `{"$sparse":{"0":1,"password":"[redacted]","b":2},"length":1}`},
		{advanced(t, object("password", shared, "b", shared, "c", object())), `{"password":"[redacted]","b":[same as #1],"c":{}}`,
			`{"password":"[redacted]","b":{"$ref":1},"c":{}}`},
		// A view of an ArrayBuffer, as V8 itself has it.
		{"\xff\x0fo\"\x08passwordB\x06s3cretVB\x00\x06\x00\"\x01aB\x01zVB\x00\x01\x00{\x02",
			`{"password":"[redacted]","a":ArrayBuffer(1) <7a> as Uint8Array(1) from 0}`,
			`{"password":"[redacted]","a":{"$view":"Uint8Array","from":0,"length":1,"of":{"$arraybuffer":"eg=="}}}`},
		// The key with a count before it.
		{"\xff\x0f;?\x01\"\x08password\"\x06s3cret:\x02", `Map {"password" => "[redacted]"}`, `{"$map":[["password","[redacted]"]]}`},
	} {
		if c.value == "" {
			c.value = c.text
		}
		for _, full := range []bool{false, true} {
			line := display(t, showOptions{redact: hides, full: full}, sent(parentSide, c.data))[0]
			require.True(t, strings.HasSuffix(line, " B  "+c.text), "%s\n%s", line, c.text)
		}
		line := display(t, showOptions{redact: hides, json: true}, sent(parentSide, c.data))[0]
		var got struct {
			Value json.RawMessage
			V8    *string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &got))
		require.Equal(t, c.value, string(got.Value))
		require.Equal(t, isV8([]byte(c.data)) && !strings.Contains(c.value, "[redacted]"), got.V8 != nil)
		require.NotContains(t, line, secret)
	}

	// What cannot be understood, to the end, is not shown.
	for _, data := range []string{
		`{"a":"s3cret"`, `{"a":"s3cret"}}`, "s3cret", `["s3cret` + strings.Repeat("x", 1000) + `"`, "\xff\x0fo\"\x06s3cret", "\xff\x0c\"\x06s3cret",
		`{"password":s3cret}`, `{"a":s3cret}`,
	} {
		require.Regexp(t, ` \d+ B  \(neither JSON nor of V8, and so hidden\)$`, display(t, showOptions{redact: hides}, sent(parentSide, data))[0])
		line := display(t, showOptions{redact: hides, json: true}, sent(parentSide, data))[0]
		require.Regexp(t, `"size":\d+\}$`, line)
		r, err := parseEvent([]byte(line))
		require.NoError(t, err)
		require.Equal(t, len(data), r.size)
		require.Nil(t, r.data)
	}

	// In internal messages too, whose members are in their names.
	hides = redaction{"ADDRESS", "key", "accepted"}
	question := internal(childSide, `{"cmd":"NODE_CLUSTER","act":"queryServer","address":"10.0.0.1","port":80,"addressType":4,"seq":1}`, "")
	answer := internal(parentSide, `{"cmd":"NODE_CLUSTER","ack":1,"key":"10.0.0.1:80:4:undefined","sockname":{"address":"10.0.0.1","port":80}}`, "")
	newconn := internal(parentSide, `{"cmd":"NODE_CLUSTER","act":"newconn","key":"10.0.0.1:80:4:undefined","seq":1}`, "")
	accepted := internal(childSide, `{"cmd":"NODE_CLUSTER","ack":1,"accepted":true}`, "")
	list := internal(childSide, `{"cmd":"NODE_SOCKET_COUNT","key":"4:10.0.0.1:80","count":1}`, "")
	for _, full := range []bool{false, true} {
		lines := display(t, showOptions{redact: hides, full: full}, question, answer, newconn, accepted, list)
		for i, want := range []string{
			"queryServer [redacted]:80", "queryServer [redacted]:80 → ok", "newconn [redacted]", "newconn → [redacted]",
			"NODE_SOCKET_COUNT [redacted] → 1",
		} {
			require.Contains(t, lines[i], want)
			require.NotContains(t, lines[i], "10.0.0.1")
			require.NotContains(t, lines[i], "true")
		}
	}
	_, err = parseRedact("a,,b")
	require.ErrorContains(t, err, "empty")
}

func TestFilter(t *testing.T) {
	handle := sent(parentSide, "1")
	handle.handle = "net.Socket"
	second := sent(childSide, "2")
	second.tap = 2
	end := event{time: showTime, tap: 1, kind: disconnected, from: childSide}
	events := map[string]event{
		"start": {tap: 1, kind: started}, "message": sent(parentSide, "1"), "handle": handle, "second": second,
		"query":  internal(childSide, `{"cmd":"NODE_CLUSTER","act":"queryServer","seq":1}`, ""),
		"answer": internal(parentSide, `{"cmd":"NODE_CLUSTER","ack":1}`, ""),
		"leave":  internal(parentSide, `{"cmd":"NODE_CLUSTER","act":"disconnect"}`, ""),
		"count":  internal(childSide, `{"cmd":"NODE_SOCKET_COUNT","key":"k","count":0}`, ""),
		"end":    end, "exit": {tap: 1, kind: exited},
	}
	order := strings.Fields("start message handle second query answer leave count end exit")
	for list, want := range map[string]string{
		"":                     "start message handle second query answer leave count end exit",
		"message":              "message handle second",
		"message,!handle":      "message second",
		"internal":             "query answer leave count",
		"internal, !cluster":   "count",
		"cluster":              "query answer leave",
		"queryServer":          "query answer",
		"!queryServer,cluster": "leave",
		"disconnect":           "leave end",
		"start,exit":           "start exit",
		"from:child":           "second query count end",
		"from:child,message":   "second",
		"!from:child,!exit":    "start message handle answer leave",
		"channel:2":            "second",
		"channel:1,channel:2,message,from:parent": "message handle",
		"!channel:1": "second",
	} {
		f, err := parseFilter(list)
		require.NoError(t, err)
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			s := newScreen(&out, showOptions{filter: f, json: asJSON})
			var got []string
			for _, name := range order {
				before := out.Len()
				if s.event(events[name]); out.Len() > before {
					got = append(got, name)
				}
			}
			require.Equal(t, want, strings.Join(got, " "), list)
		}
	}
	for list, complaint := range map[string]string{
		"mesage": `"mesage" is unknown; a filter is a list, with commas, of message, internal`, "message,": `"" is unknown`,
		"channel:0": "channels are numbered from 1", "channel:x": "channels are numbered from 1",
		"from:me": `"from:me" is unknown`, "!\x1b": `"!\u001b" is unknown`,
	} {
		_, err := parseFilter(list)
		require.ErrorContains(t, err, complaint)
	}
}
