package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

var showTime = time.Date(2026, 11, 28, 11, 0, 0, 123456000, time.Local)

// sent is a message on the channel of the tests.
func sent(from side, data string) event {
	return event{time: showTime, tap: 1, kind: message, from: from, parent: process{10, "server.js"},
		child: process{11, "child.js"}, data: []byte(data)}
}

// internal is one of Node's own.
func internal(from side, data string, handle nodeipc.HandleType) event {
	e := sent(from, data)
	e.handle = handle
	if e.internal = "NODE_CLUSTER"; !isV8(e.data) {
		var m struct{ Cmd string }
		json.Unmarshal(e.data, &m)
		e.internal = m.Cmd
	}
	return e
}

// advanced is a payload of V8.
func advanced(t testing.TB, v any) string {
	data, err := (&v8.Encoder{Layout: v8.Channel}).Append(nil, v)
	require.NoError(t, err)
	return string(data)
}

// display shows events, without the notice and what is the same in each line.
func display(t testing.TB, o showOptions, events ...event) []string {
	var out bytes.Buffer
	s := newScreen(&out, o)
	if !o.json {
		require.Equal(t, notice(o.redact), out.String())
		out.Reset()
	}
	for _, e := range events {
		s.event(e)
	}
	require.NoError(t, s.close())
	text := strings.TrimSuffix(out.String(), "\n")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		l = strings.TrimPrefix(l, "11:00:00.123456 ")
		l = strings.Replace(l, "server.js[10] → child.js[11]", "P→C", 1)
		lines[i] = strings.Replace(l, "child.js[11] → server.js[10]", "C→P", 1)
	}
	return lines
}

// Every kind of event as text and as JSON, and read again.
func TestShow(t *testing.T) {
	stamp := `{"time":"` + showTime.UTC().Format(recordTime) + `","channel":1,"event":`
	start := event{time: showTime, tap: 1, kind: started, parent: process{10, "server.js"}, child: process{11, "child.js"},
		argv: []string{"node", "child.js", "a b", "c\x1b"}}
	worker := start
	worker.serialization, worker.worker = nodeipc.Advanced, "2"
	socket := sent(parentSide, `"socket"`)
	socket.handle = nodeipc.NetSocket
	end := event{time: showTime, tap: 1, kind: disconnected, from: childSide, parent: start.parent, child: start.child}
	code, signal := end, end
	code.kind, code.code, code.from = exited, 3, parentSide
	signal.kind, signal.signal, signal.from = exited, "SIGKILL", parentSide
	greeting := advanced(t, map[string]any{"a": []byte("hi")})
	for _, c := range []struct {
		event      event
		text, json string
	}{
		{start, `P→C  start  channel 1, json  node child.js "a b" "c\u001b"`,
			`"start","parent":{"pid":10,"name":"server.js"},"child":{"pid":11,"name":"child.js"},"serialization":"json",` +
				`"argv":["node","child.js","a b","c\u001b"]}`},
		{worker, `P→C  start  channel 1, advanced, worker 2  node child.js "a b" "c\u001b"`,
			`"start","parent":{"pid":10,"name":"server.js"},"child":{"pid":11,"name":"child.js"},"serialization":"advanced",` +
				`"argv":["node","child.js","a b","c\u001b"],"worker":"2"}`},
		{sent(parentSide, `{"type":"greeting","message":"Hello"}`), `P→C  message  37 B  {"type":"greeting","message":"Hello"}`,
			`"message","from":"parent","size":37,"value":{"type":"greeting","message":"Hello"}}`},
		{socket, `P→C  message  8 B  "socket" +net.Socket`, `"message","from":"parent","size":8,"handle":"net.Socket","value":"socket"}`},
		{sent(childSide, greeting), `C→P  message  14 B  {"a":Buffer(2) <6869>}`,
			`"message","from":"child","size":14,"value":{"a":{"$buffer":"aGk="}},"v8":"` + base64.StdEncoding.EncodeToString([]byte(greeting)) + `"}`},
		{internal(childSide, `{"cmd":"NODE_CLUSTER","act":"online","seq":0}`, ""), `C→P  cluster  45 B  online`,
			`"message","from":"child","size":45,"internal":"NODE_CLUSTER","value":{"cmd":"NODE_CLUSTER","act":"online","seq":0}}`},
		{sent(childSide, "no \xff\n"), `C→P  message  5 B  (neither JSON nor of V8) "no �\n"`, `"message","from":"child","size":5,"raw":"bm8g/wo="}`},
		{sent(childSide, "\xff\x0fo\"\x01a"), `C→P  message  6 B  (neither JSON nor of V8) "�\u000fo\"\u0001a"`, `"message","from":"child","size":6,"raw":"/w9vIgFh"}`},
		{sent(childSide, ""), `C→P  message  0 B  (neither JSON nor of V8) ""`, `"message","from":"child","size":0,"raw":""}`},
		{sent(childSide, "[1 ,\t{ }]"), `C→P  message  9 B  [1,{}]`, `"message","from":"child","size":9,"value":[1 ,{ }]}`},
		{end, `C→P  disconnect`, `"disconnect","from":"child"}`},
		{code, `child.js[11]  exit  code 3`, `"exit","code":3}`},
		{signal, `child.js[11]  exit  SIGKILL`, `"exit","signal":"SIGKILL"}`},
	} {
		require.Equal(t, []string{c.text}, display(t, showOptions{}, c.event))
		line := display(t, showOptions{json: true}, c.event)[0]
		require.Equal(t, stamp+c.json, line)
		require.True(t, json.Valid([]byte(line)), line)
		got, err := parseEvent([]byte(line))
		require.NoError(t, err, line)
		want := recorded{event: c.event, size: len(c.event.data)}
		want.time = want.time.UTC()
		if want.kind != started { // the only one whose line has them
			want.parent, want.child = process{}, process{}
		}
		if string(want.data) == "[1 ,\t{ }]" {
			want.data = []byte("[1 ,{ }]")
		}
		require.Equal(t, want, got)
	}
}

// What advanced serialization has beyond JSON.
func TestShowAdvanced(t *testing.T) {
	self := &v8.Object{}
	self.Set("me", self)
	m := new(v8.Map)
	m.Set("a", 1.0)
	m.Set(2.0, nil)
	set := new(v8.Set)
	set.Add("x")
	set.Add(v8.Undefined{})
	for _, c := range []struct {
		value any
		want  string
	}{
		{m, `Map {"a" => 1,2 => null}`},
		{[]any{set}, `[Set {"x",undefined}]`},
		{self, `{"me":[same as #0]}`},
		{[]any{1.5, -1.0, v8.Hole{}, true}, `[1.5,-1,<hole>,true]`},
		{v8.DateOf(time.UnixMilli(5)), `Date(1970-01-01T00:00:00.005Z)`},
		{&v8.RegExp{Source: "a\u202eb", Flags: "g"}, `/a\u202eb/g`},
		{&v8.Error{Name: "TypeError", Message: "m", HasMessage: true, HasCause: true, Cause: []any{}}, `Error {name:"TypeError",message:"m",cause:[]}`},
		{[]any{&v8.Boxed{Value: "s"}, &v8.Boxed{Value: 1.0}}, `[Object("s"),Object(1)]`},
		{&v8.View{Type: v8.Uint16Array, Data: []byte{1, 2}}, `Uint16Array(2) <0102>`},
		{[]any{"é\u001b", "€\u2028", "😀"}, `["é\u001b","€\u2028","😀"]`},
		{&v8.Sparse{Length: 9, Elements: []v8.Element{{Index: 1, Value: "b"}}, Props: new(v8.Object)}, `Array(9) {1:"b"}`},
		{make([]byte, 1000), `Buffer(1000) <` + strings.Repeat("0", columnsShown-len("Buffer(1000) <")) + "…"},
	} {
		data := advanced(t, c.value)
		require.Equal(t, "P→C  message  "+size2(data)+"  "+c.want, display(t, showOptions{}, sent(parentSide, data))[0])
	}
}

func size2(data string) string { return strconv.Itoa(len(data)) + " B" }

// A value is shortened to the width, or shown whole.
func TestShowShort(t *testing.T) {
	long := `{"text":"` + strings.Repeat("é", 200) + `"}`
	line := display(t, showOptions{}, sent(parentSide, long))[0]
	require.Equal(t, `P→C  message  411 B  {"text":"`+strings.Repeat("é", columnsShown-9)+"…", line)
	require.Equal(t, `P→C  message  411 B  `+long, display(t, showOptions{full: true}, sent(parentSide, long))[0])
	// An escape is not divided.
	line = display(t, showOptions{}, sent(parentSide, `"`+strings.Repeat("a", columnsShown-4)+`\u001b"`))[0]
	require.True(t, strings.HasSuffix(line, "a…"), line)
}
