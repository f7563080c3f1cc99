package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// What a peer says never reaches the terminal as it is.
func TestShowHostile(t *testing.T) {
	const evil = "\x1b[31m\u009b\u202e\u2066\u200b\u2028\ufeff\x7f\U000e0041"
	quoted := strings.Trim(quote(evil), `"`)
	inText := strings.ReplaceAll(evil, "\x1b", `\u001b`) // JSON has no C0 in strings
	for _, e := range []event{
		sent(parentSide, `{"`+inText+`":"`+inText+`"}`), sent(parentSide, advanced(t, map[string]any{evil: evil})),
		sent(parentSide, evil), internal(childSide, `{"cmd":"NODE_CLUSTER","act":"`+inText+`","seq":1}`, ""),
		internal(childSide, `{"cmd":"NODE_CLUSTER","act":"queryServer","address":"`+inText+`","seq":1}`, nodeipc.HandleType(evil)),
		{tap: 1, kind: started, parent: process{1, evil}, child: process{2, evil}, argv: []string{evil}, worker: evil},
		{tap: 1, kind: exited, signal: evil},
	} {
		for _, o := range []showOptions{{}, {full: true}, {json: true}} {
			lines := display(t, o, e)
			require.Len(t, lines, 1)
			checkLine(t, lines[0])
			if isV8(e.data) || e.kind != message {
				require.Contains(t, lines[0], quoted)
			}
		}
	}
	// Nobody takes the arrow or brackets of a name for ours.
	e := event{tap: 1, kind: exited, child: process{1, "a[2] → b"}}
	require.Contains(t, display(t, showOptions{}, e)[0], `"a[2] → b"[1]  exit`)
	// A string of JSON that is not UTF-8 is what Node reads.
	require.Contains(t, display(t, showOptions{json: true}, sent(parentSide, "\"\xff\xed\xa0\x80\""))[0], `"value":"����"`)
}

func checkLine(t *testing.T, line string) {
	require.True(t, utf8.ValidString(line), "%q", line)
	for _, r := range line {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			t.Fatalf("%q in %q", r, line)
		}
	}
}

// What is long or deep costs no more than it has to: nothing near its length if it is shortened.
func TestShowInProportion(t *testing.T) {
	const long = 1 << 18
	counted := func(tag string, n uint64, b []byte) []byte {
		return append(binary.AppendUvarint([]byte("\xff\x0f"+tag), n), b...)
	}
	deepV8 := append([]byte{0xff, 0x0f}, bytes.Repeat([]byte{'A', 1}, 2000)...)
	deepV8 = append(append(deepV8, '0'), bytes.Repeat([]byte{'$', 0, 1}, 2000)...)
	payloads := map[string][]byte{
		"string":   []byte(`{"a":"` + strings.Repeat("x", long) + `"}`),
		"quoted":   []byte(`"` + strings.Repeat("\u202e", long/4) + `"`),
		"escapes":  []byte(`"` + strings.Repeat(`\u001b`, long/6) + `"`),
		"deep":     []byte(strings.Repeat("[", long/2) + strings.Repeat("]", long/2)),
		"members":  []byte(`{` + strings.Repeat(`"a":0,`, long/6) + `"b":1}`),
		"garbage":  bytes.Repeat([]byte{0xfe}, long),
		"spaces":   append(bytes.Repeat([]byte(" "), long), '1'),
		"deep v8":  deepV8,
		"string8":  counted("\"", long, bytes.Repeat([]byte("\x1b"), long)),
		"buffer8":  counted("\\\x00\x0a", long, make([]byte, long)),
		"bigint8":  counted("Z", 2*long, bytes.Repeat([]byte{1}, long)),
		"padding8": append(append([]byte{0xff, 0x0f}, make([]byte, long)...), '0'),
	}
	for name, data := range payloads {
		s := newScreen(new(bytes.Buffer), showOptions{})
		for _, internal := range []string{"", "NODE_CLUSTER"} {
			e := sent(parentSide, "")
			e.data, e.internal = data, internal
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s.event(e)
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(long), name) // pools are leaky under -race
			require.Less(t, s.w.(*bytes.Buffer).Len(), 2000)
		}
	}
	for name, data := range payloads {
		for _, o := range []showOptions{{json: true}, {full: true, redact: redaction{"a"}}} {
			out := new(bytes.Buffer)
			s := newScreen(out, o)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s.event(event{tap: 1, kind: message, data: data})
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100*len(data)+1<<20), name)
			require.Less(t, cap(s.buf), longestBuffer+1)
			if o.json {
				r, err := parseEvent(bytes.TrimSpace(out.Bytes()))
				require.NoError(t, err, name)
				if name == "quoted" {
					data = []byte(strings.ReplaceAll(string(data), "\u202e", `\u202e`))
				}
				require.True(t, bytes.Equal(r.data, bytes.TrimSpace(data)), name)
			}
		}
	}
}

// A disk that is full ends the output and nothing else, and is told of once.
func TestShowFailedWrite(t *testing.T) {
	full := errors.New("full")
	var told []error
	w := &fullDisk{left: 200, err: full}
	s := newScreen(w, showOptions{json: true, failed: func(err error) { told = append(told, err) }})
	for range 5 {
		s.event(sent(parentSide, `"x"`))
	}
	require.Equal(t, []error{full}, told)
	require.ErrorIs(t, s.flush(), full)
	require.EqualError(t, s.close(), "full; events that are missing in the output: 4")

	file, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err == nil { // Linux has it
		defer file.Close()
		s = newScreen(file, showOptions{})
		s.event(sent(parentSide, `"x"`))
		require.ErrorContains(t, s.close(), "events that are missing in the output: 1")
	}
}

// A fullDisk has room for so many bytes.
type fullDisk struct {
	left int
	err  error
}

func (d *fullDisk) Write(b []byte) (int, error) {
	n := min(len(b), d.left)
	if d.left -= n; n < len(b) {
		return n, d.err
	}
	return n, nil
}

// Each line is written as a whole, whoever shows it.
func TestShowConcurrent(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out, showOptions{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				s.event(sent(parentSide, `{"a":1}`))
			}
		})
	}
	wg.Wait()
	require.NoError(t, s.close())
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, 201)
	for _, l := range lines[1:] {
		require.True(t, strings.HasSuffix(l, `  message  7 B  {"a":1}`), l)
	}
}

func TestShowColor(t *testing.T) {
	e := sent(parentSide, `"\u001b[2m"`)
	e.handle = "net.Socket"
	line := display(t, showOptions{color: true}, e)[0]
	require.Equal(t, "\x1b[2m11:00:00.123456\x1b[m \x1b[34mserver.js[10]\x1b[m → \x1b[32mchild.js[11]\x1b[m  \x1b[1mmessage\x1b[m"+
		"  \x1b[2m11 B\x1b[m  \"\\u001b[2m\" +net.Socket", line)
	for mode, want := range map[string]bool{"always": true, "never": false, "auto": false} {
		got, err := useColor(mode, new(bytes.Buffer))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	tty, err := os.OpenFile("/dev/null", os.O_WRONLY, 0) // a character device, as terminals are
	require.NoError(t, err)
	defer tty.Close()
	for value, want := range map[string]bool{"": true, "1": false} {
		t.Setenv("NO_COLOR", value)
		t.Setenv("TERM", "xterm")
		got, err := useColor("auto", tty)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err = useColor("blue", tty)
	require.EqualError(t, err, `"blue" is unknown; colour is auto, always or never`)
}

// Lines that are no events are refused with an error that says why.
func TestParseEventErrors(t *testing.T) {
	const head = `{"time":"2026-11-28T11:00:00.000000Z","channel":1,"event":`
	for line, want := range map[string]string{
		"":                              `a line that is not JSON: ""`,
		head + `"exit"`:                 `a line that is not JSON: "{\"time`,
		`[1]`:                           "not an event: events are JSON objects",
		`{}`:                            "event is missing",
		`{"event":1}`:                   "event is 1, not a string",
		`{"event":"\u001b"}`:            `event is "\u001b", which is none of start, message, disconnect, exit`,
		`{"event":"exit"}`:              "time is missing",
		`{"event":"exit","time":"now"}`: "time is now, not a time such as",
		`{"event":"exit","time":"2026-11-28T11:00:00Z","channel":0}`:     "channel is 0, not a number from 1",
		`{"event":"exit","time":"2026-11-28T11:00:00Z","channel":"one"}`: "channel is one, not a whole number",
		head + `"exit"}`:                                                    "code is missing",
		head + `"exit","code":1.5}`:                                         "code is 1.5, not a whole number",
		head + `"disconnect","from":"me"}`:                                  "from is me, not parent or child",
		head + `"message","from":"child"}`:                                  "size is missing",
		head + `"message","from":"child","size":-1}`:                        "size is -1, not a number of bytes",
		head + `"message","from":"child","size":1,"v8":"?"}`:                "v8 is ?, not base64",
		head + `"message","from":"child","size":1,"raw":1}`:                 "raw is 1, not a string",
		head + `"start"}`:                                                   "parent is missing",
		head + `"start","parent":{"pid":"1"}}`:                              `parent is {"pid":"1"}, not an object such as`,
		head + `"start","parent":{},"child":{}}`:                            "serialization is missing",
		head + `"start","parent":{},"child":{},"serialization":"advanced"}`: "argv is missing",
	} {
		_, err := parseEvent([]byte(line))
		require.ErrorContains(t, err, want, line)
	}
	r, err := parseEvent([]byte(head + `"message","from":"child","size":3,"new":{"member":1},"value":"a"}` + "\r"))
	require.NoError(t, err)
	require.Equal(t, `"a"`, string(r.data))
}

// Nothing that a peer sends makes the display fail: there is one line, of what a terminal does not obey; in JSON it is
// valid, and read again as it was. What is called a secret does not appear.
func FuzzShow(f *testing.F) {
	for _, s := range []string{
		`{"type":"greeting","message":"Hello"}`, "\xff\x0d_", `["\u001b\ud800",-1.5e+3,{},[]]`, `{"secret":{"a":1}}`,
		"\xff\x0fo\"\x01$A\x022\x00-$\x00\x02{\x01", "\xff\x0f;?\x01\"\x06secret\"\x01x:\x02", "\xff\x0dr?\x00Em\"\x01ac^\x00.",
		"\xff\x0fo\"\x06secretB\x02\x05\x06VB\x00\x02\x00{\x01", "\xff\x0da\x03I\x00s?\x05\"\x00@\x01\x03", "\xff\x0dR\"\x01x\x01",
		"\xff\x0dc\x02\x1b\x00", "\xff\x0dS\x02\xc2\x9b", "\xff\x0d\\\x01o{\x00", "\xff\x0dZ\x10\x01\x00\x00\x00\x00\x00\x00\x00",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"::1","port":1,"seq":1}`, `{"cmd":"NODE_CLUSTER","ack":1,"sockname":{"port":2}}`,
		`{"cmd":"NODE_CLUSTER","act":"newconn","key":"a:1:4:undefined:0"}`, `{"cmd":"NODE_SOCKET_COUNT","key":"a","count":2}`,
	} {
		f.Add([]byte(s), s)
	}
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		for _, o := range []showOptions{{}, {full: true}, {redact: redaction{"secret"}}, {json: true}, {json: true, redact: redaction{"secret"}}} {
			events := []event{
				{tap: 1, kind: message, data: data, from: childSide},
				{tap: 1, kind: message, data: data, internal: "NODE_CLUSTER", handle: nodeipc.HandleType(name)},
				{tap: 1, kind: message, data: data, from: childSide, internal: "NODE_CLUSTER"},
				{tap: 1, kind: message, data: data, internal: "NODE_SOCKET_COUNT"},
				{tap: 1, kind: started, parent: process{1, name}, argv: []string{name, string(data)}, worker: name},
			}
			lines := display(t, o, events...)
			require.Len(t, lines, len(events))
			for i, l := range lines {
				checkLine(t, l)
				if !o.json {
					continue
				}
				require.True(t, json.Valid([]byte(l)), l)
				r, err := parseEvent([]byte(l))
				require.NoError(t, err, l)
				if e := events[i]; e.kind == message && len(o.redact) == 0 && (isV8(data) || !json.Valid(data)) {
					require.Equal(t, fmt.Sprintf("%x", data), fmt.Sprintf("%x", r.data))
				}
			}
		}
		// We take for JSON what everybody does.
		var l oneline
		if !isV8(data) {
			require.Equal(t, json.Valid(data), l.value(nil, data, whole), "%q", data)
			require.Equal(t, json.Valid(data), l.check(data), "%q", data)
		}
	})
}

func BenchmarkShow(b *testing.B) {
	greeting := `{"type":"greeting","message":"Hello"}`
	for _, c := range []struct {
		name    string
		event   event
		options showOptions
	}{
		{"text", sent(parentSide, greeting), showOptions{}},
		{"color", sent(parentSide, greeting), showOptions{color: true}},
		{"redact", sent(parentSide, greeting), showOptions{redact: redaction{"password", "token"}}},
		{"json", sent(parentSide, greeting), showOptions{json: true}},
		{"newconn", internal(parentSide, `{"cmd":"NODE_CLUSTER","act":"newconn","key":"127.0.0.1:3000:4:undefined","seq":1}`, "net.Native"), showOptions{}},
		{"text/1MB", sent(parentSide, `["`+strings.Repeat("x", 1<<20)+`"]`), showOptions{}},
		{"json/1MB", sent(parentSide, `["`+strings.Repeat("x", 1<<20)+`"]`), showOptions{json: true}},
		{"v8", sent(parentSide, advanced(b, map[string]any{"type": "greeting", "message": "Hello"})), showOptions{}},
		{"v8/json", sent(parentSide, advanced(b, map[string]any{"type": "greeting", "message": "Hello"})), showOptions{json: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			s := newScreen(io.Discard, c.options)
			for b.Loop() {
				s.event(c.event)
			}
		})
	}
}
