package jsjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// scanCases are texts and what Node makes of them: E for an error, U for a user's message, I and the cmd for an
// internal one.
var scanCases = []struct{ text, want string }{
	{``, "E"}, {` `, "E"}, {"\r", "E"}, {"\ufeff{}", "E"}, {"\x00", "E"}, {"x", "E"}, {"{}x", "E"}, {"{} {}", "E"}, {"1 2", "E"}, {"\xff", "E"},
	{"\x02{}", "E"}, {"\u00a0{}", "E"}, {"\v1", "E"}, {"\f1", "E"}, {"{}\x00", "E"}, {"\u2028", "E"},
	{`null`, "U"}, {`true`, "U"}, {`false`, "U"}, {`nul`, "E"}, {`tru`, "E"}, {`fals`, "E"}, {`nulll`, "E"}, {`True`, "E"}, {`NaN`, "E"}, {`Infinity`, "E"},
	{`undefined`, "E"}, {" \t\r\n1 \t\r\n", "U"},
	{`0`, "U"}, {`-0`, "U"}, {`-`, "E"}, {`+1`, "E"}, {`01`, "E"}, {`-01`, "E"}, {`1.`, "E"}, {`.5`, "E"}, {`1.5`, "U"}, {`1e5`, "U"}, {`1E+5`, "U"},
	{`1e-05`, "U"}, {`1e`, "E"}, {`1e+`, "E"}, {`1.e5`, "E"}, {`0x1`, "E"}, {`1_0`, "E"}, {`1e400`, "U"}, {`0e0`, "U"}, {`00`, "E"}, {`-a`, "E"}, {`0.0e`, "E"},
	{`""`, "U"}, {`"`, "E"}, {`"a`, "E"}, {`"\`, "E"}, {`"\"`, "E"}, {`"\\"`, "U"}, {`"\x"`, "E"}, {`"\u12"`, "E"}, {`"\u123`, "E"}, {`"\u123g"`, "E"},
	{`"\uABcd"`, "U"}, {`"\ud800"`, "U"}, {`"\udc00\ud800"`, "U"}, {`"\'"`, "E"}, {`'a'`, "E"}, {`"\b\f\n\r\t\/\"\\"`, "U"}, {"\"\n\"", "E"}, {"\"\t\"", "E"},
	{"\"\x00\"", "E"}, {"\"\x1f\"", "E"}, {"\"\x7f\u0080\u2028\u2029\"", "U"}, {"\"\xff\xfe\xc0\"", "U"}, {"\"\xed\xa0\x80\"", "U"}, {"\"\xe2\x82\"", "U"},
	{"\"abcdefg\n\"", "E"}, {"\"abcdefgh\x01\"", "E"}, {"\"abcdefgh" + strings.Repeat("x", 40) + "\x1f\"", "E"}, {"\"" + strings.Repeat("é", 40) + "\"", "U"},
	{`[]`, "U"}, {`[ ]`, "U"}, {`[`, "E"}, {`]`, "E"}, {`[1`, "E"}, {`[1,`, "E"}, {`[1,]`, "E"}, {`[,1]`, "E"}, {`[1 2]`, "E"}, {`[1,2]`, "U"}, {`[ 1 , 2 ]`, "U"},
	{`[}`, "E"}, {`{]`, "E"}, {`[1}`, "E"}, {`{"a":1]`, "E"}, {`[[[]],[]]`, "U"}, {`[[]`, "E"}, {`[]]`, "E"},
	{`{}`, "U"}, {`{ }`, "U"}, {`{`, "E"}, {`}`, "E"}, {`{"a"`, "E"}, {`{"a":`, "E"}, {`{"a":1`, "E"}, {`{"a":1,`, "E"}, {`{"a":1,}`, "E"}, {`{,}`, "E"},
	{`{"a" 1}`, "E"}, {`{"a":}`, "E"}, {`{a:1}`, "E"}, {`{1:1}`, "E"}, {`{"a":1 "b":2}`, "E"}, {`{"a":1,"b":2}`, "U"}, {"{ \"a\"\t:\r1\n, \"b\" : { } }", "U"},
	{`{"a":1,"a":2}`, "U"}, {`{"":1}`, "U"}, {`{"a"::1}`, "E"}, {`{"a\":1}`, "E"}, {`{"a":1}}`, "E"}, {`{"a\n":1}`, "U"}, {"{\"a\n\":1}", "E"},
	// Which message is internal.
	{`{"cmd":"NODE_HANDLE"}`, "INODE_HANDLE"}, {`{"cmd":"NODE_HANDLE_ACK"}`, "INODE_HANDLE_ACK"}, {`{"cmd":"NODE_HANDLE_NACK"}`, "INODE_HANDLE_NACK"},
	{`{"cmd":"NODE_CLUSTER","act":"online"}`, "INODE_CLUSTER"}, {`{"a":1,"cmd":"NODE_SOCKET_COUNT"}`, "INODE_SOCKET_COUNT"},
	{`{"cmd":"NODE_SOCKET_GET_COUNT"}`, "INODE_SOCKET_GET_COUNT"}, {`{"cmd":"NODE_SOCKET_NOTIFY_CLOSE"}`, "INODE_SOCKET_NOTIFY_CLOSE"},
	{`{"cmd":"NODE_SOCKET_ALL_CLOSED"}`, "INODE_SOCKET_ALL_CLOSED"}, {`{"cmd":"NODE_é"}`, "INODE_é"}, {`{"cmd":"NODE_X\n"}`, "INODE_X\n"},
	{`{"cmd":"NODE_"}`, "U"}, {`{"cmd":"NODE"}`, "U"}, {`{"cmd":"node_x"}`, "U"}, {`{"cmd":"xNODE_X"}`, "U"}, {`{"cmd":""}`, "U"}, {`{"CMD":"NODE_X"}`, "U"},
	{`{"cmd":null}`, "U"}, {`{"cmd":["NODE_X"]}`, "U"}, {`{"cmd":{"cmd":"NODE_X"}}`, "U"}, {`{"a":{"cmd":"NODE_X"}}`, "U"}, {`[{"cmd":"NODE_X"}]`, "U"},
	{`"NODE_X"`, "U"}, {`["cmd","NODE_X"]`, "U"}, {`{"cmd":{"a":"NODE_X"}}`, "U"}, {`{"cmd":1,"a":"NODE_X"}`, "U"}, {`{"cmd":[],"b":"NODE_X"}`, "U"},
	{`{"cmd":"NODE_X","cmd":"y"}`, "U"}, {`{"cmd":"y","cmd":"NODE_X"}`, "INODE_X"}, {`{"cmd":"NODE_X","cmd":1}`, "U"}, {`{"cmd":"NODE_X","cmd":{}}`, "U"},
	{`{"cmd":"NODE_X","a":{"cmd":"y"}}`, "INODE_X"}, {`{"cmd":"NODE_X","cmd":null,"\u0063md":"NODE_Y"}`, "INODE_Y"},
	{`{"\u0063md":"NODE_X"}`, "INODE_X"}, {`{"c\u006dd":"NODE_X"}`, "INODE_X"}, {`{"\u0063\u006d\u0064":"\u004e\u004f\u0044\u0045\u005f\u0058"}`, "INODE_X"},
	{`{"cmd":"\u004eODE_"}`, "U"}, {`{"cmd":"NODE\u005F1"}`, "INODE_1"}, {`{"cmd\u0000":"NODE_X"}`, "U"}, {`{"\u0043md":"NODE_X"}`, "U"}, {`{"\ud800md":"NODE_X"}`, "U"},
	{`{"cmd":"NODE_\ud83d\ude00"}`, "INODE_😀"}, {`{"cmd":"NODE_\ud800"}`, "INODE_\ufffd"}, {"{\"cmd\":\"NODE_\xff\"}", "INODE_\ufffd"},
	{" { \"cmd\" : \"NODE_X\" } ", "INODE_X"}, {`{"cmd":"NODE_X"`, "E"}, {`{"cmd":"NODE_X"}}`, "E"}, {`{"__proto__":{"cmd":"NODE_X"}}`, "U"},
	{`{"a":[{"cmd":"NODE_Y"}],"cmd":"NODE_X","b":[]}`, "INODE_X"},
}

// collapse makes one U+FFFD of several: Node writes one for a sequence that is cut short, we write one for each byte.
func collapse(s string) string {
	return regexp.MustCompile("\ufffd+").ReplaceAllString(s, "\ufffd")
}

// classify is what scanCases say, by Scan.
func classify(text []byte) string {
	info, err := Scan(text)
	switch {
	case err != nil:
		return "E"
	case info.Cmd != "":
		return "I" + info.Cmd
	}
	return "U"
}

func TestScan(t *testing.T) {
	js := startNode(t)
	for _, c := range scanCases {
		require.Equal(t, c.want, classify([]byte(c.text)), "%q", c.text)
		require.Equal(t, c.want, js.class([]byte(c.text)), "Node: %q", c.text)
		// Compact and Scan are of one mind, and Node sees the same in the compact text.
		got, info, err := Compact([]byte("x"), []byte(c.text))
		if c.want == "E" {
			require.Error(t, err)
			require.Equal(t, "x", string(got))
			continue
		}
		require.NoError(t, err)
		require.Equal(t, strings.TrimPrefix(c.want, "I"), info.Cmd+strings.Repeat("U", len("U")-min(1, len(info.Cmd))))
		require.Equal(t, collapse(js.again([]byte(c.text))), collapse(js.again(got[1:])))
	}
}

// Texts like the ones in the table, changed at random: Scan and JSON.parse agree about each.
func TestScanEqualsNode(t *testing.T) {
	js := startNode(t)
	r := rand.New(rand.NewPCG(3, 4))
	seeds := [][]byte{nested(300, false), nested(300, true)}
	for _, c := range scanCases {
		seeds = append(seeds, []byte(c.text))
	}
	accepted := 0
	for range 10000 {
		text := mutate(r, seeds)
		want := js.class(text)
		require.Equal(t, collapse(want), collapse(classify(text)), "%q", text)
		if want == "E" {
			continue
		}
		accepted++
		compact, _, err := Compact(nil, text)
		require.NoError(t, err)
		require.True(t, utf8.Valid(compact))
		require.NotContains(t, string(compact), "\n")
		require.Equal(t, classify(text), classify(compact), "%q", text)
	}
	require.Greater(t, accepted, 500) // else the mutations are too wild to say much
}

func mutate(r *rand.Rand, seeds [][]byte) []byte {
	text := bytes.Clone(seeds[r.IntN(len(seeds))])
	for range r.IntN(3) + 1 {
		at := r.IntN(len(text) + 1)
		switch r.IntN(6) {
		case 0: // drop
			if at < len(text) {
				text = append(text[:at], text[at+1:]...)
			}
		case 1: // change
			const bytes = "\"\\{}[],:0123456789eE+-. \t\n\r\x00\x1fnulltruefalse\x80\xff\xe2cmdNODE_"
			if at < len(text) {
				text[at] = bytes[r.IntN(len(bytes))]
			}
		case 2: // put a piece of another in
			other := seeds[r.IntN(len(seeds))]
			from := r.IntN(len(other) + 1)
			text = append(text[:at:at], append(bytes.Clone(other[from:from+r.IntN(len(other)-from+1)]), text[at:]...)...)
		case 3: // a whole one in place of a digit
			if i := bytes.IndexAny(text, "0123456789"); i >= 0 {
				text = bytes.Join([][]byte{text[:i], seeds[r.IntN(len(seeds))], text[i+1:]}, nil)
			}
		case 4: // white space
			text = append(text[:at:at], append([]byte{" \t\r\n"[r.IntN(4)]}, text[at:]...)...)
		case 5: // wrap
			text = append(append([]byte(`{"cmd":`), text...), '}')
		}
	}
	return text
}

// One byte above 0x7f is seen wherever it is in a string.
func TestScanASCII(t *testing.T) {
	for _, form := range []string{`"%s"`, `{"%s":1}`, `[1,"%s"]`, `{"a":"%s","b":2}`, `["\n%s\u0041"]`} {
		for n := range 80 {
			plain := strings.Repeat("x", n)
			info, err := Scan(fmt.Appendf(nil, form, plain))
			require.NoError(t, err)
			require.True(t, info.ASCII)
			for at := range n {
				info, err := Scan(fmt.Appendf(nil, form, plain[:at]+"\xff"+plain[at+1:]))
				require.NoError(t, err)
				require.False(t, info.ASCII, "%s, %d of %d", form, at, n)
			}
		}
	}
}

func TestSyntaxErrorOffset(t *testing.T) {
	for text, want := range map[string]int64{
		``: 0, ` `: 1, `[1,]`: 3, `{"a":1,}`: 7, `{"a" 1}`: 5, `tru`: 3, `trxe`: 2, `"a`: 2, "\"a\n\"": 2, `"\x"`: 2, `"\u12g4"`: 5, `1.x`: 2, `1e`: 2, `-`: 1,
		`{} x`: 3, `01`: 1, `[1}`: 2, `{"a":1]`: 6, `{x`: 1, `[`: 1, "\ufeff1": 0,
	} {
		_, err := Scan([]byte(text))
		var e *SyntaxError
		require.ErrorAs(t, err, &e, text)
		require.Equal(t, want, e.Offset, text)
		require.NotEmpty(t, e.Error())
	}
}

func TestScanDeep(t *testing.T) {
	for _, n := range []int{1, 63, 64, 65, 127, 128, 129, 1000, 100_000} {
		arrays := strings.Repeat("[", n) + strings.Repeat("]", n)
		objects := strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n)
		mixed := strings.Repeat(`[{"cmd":`, n) + `"NODE_X"` + strings.Repeat("}]", n)
		for _, text := range []string{arrays, objects, mixed, `{"cmd":` + mixed + `}`} {
			require.Equal(t, "U", classify([]byte(text)))
			require.Equal(t, "E", classify([]byte(text[:len(text)-1])))
			require.Equal(t, "E", classify([]byte(text+"]")))
		}
		require.Equal(t, "INODE_Y", classify([]byte(`{"a":`+mixed+`,"cmd":"NODE_Y"}`)))
		wrong := []byte(mixed)
		wrong[len(wrong)-1] = '}' // the outermost, so the deepest to remember
		require.Equal(t, "E", classify(wrong))
	}
}

// Strings of all lengths, with what ends them in all places: the loops take eight or 32 bytes at a time.
func TestScanEveryPlace(t *testing.T) {
	for n := range 80 {
		body := strings.Repeat("a", n)
		for at := range n + 1 {
			for _, c := range []string{`\n`, "\xff", "é", "\x7f", "!", "#", "[", "]"} {
				text := []byte(`["` + body[:at] + c + body[at:] + `"]`)
				_, err := Scan(text)
				require.NoError(t, err)
				s, ok := String(text[1 : len(text)-1])
				require.True(t, ok)
				var want string
				require.NoError(t, json.Unmarshal(text[1:len(text)-1], &want))
				require.Equal(t, want, s)
				back := string(AppendString(nil, s))
				require.Equal(t, strings.ReplaceAll(string(text[1:len(text)-1]), "\xff", "\ufffd"), back)
			}
			for _, c := range []string{"\x00", "\x1f", "\n", `"`, `\`, `\u00g`} {
				_, err := Scan([]byte(`["` + body[:at] + c + body[at:] + `"]`))
				if c == `\` && at < n { // \a
					require.Error(t, err)
				}
				if c != `\` {
					require.Error(t, err, "%q at %d of %d", c, at, n)
				}
			}
		}
	}
}

func TestCompact(t *testing.T) {
	for text, want := range map[string]string{
		" {} ":                             `{}`,
		"[1,\n2]":                          `[1,2]`,
		`{"a" : " b\" c " , "d":[ ] }`:     `{"a":" b\" c ","d":[]}`,
		`"\u2028 \ud800"`:                  `"\u2028 \ud800"`,
		"[\"\xff\", \"\xe2\x82\", \"€\"]":  `["�","��","€"]`,
		"{\"\xff\":\"\u2028\"}":            "{\"�\":\"\u2028\"}",
		"[ 1 , -2.5e+3 , true,null,false]": `[1,-2.5e+3,true,null,false]`,
	} {
		got, _, err := Compact([]byte("\xff"), []byte(text))
		require.NoError(t, err)
		require.Equal(t, "\xff"+want, string(got)) // what was there before is left alone
	}
}

func TestScanAllocates(t *testing.T) {
	dst := make([]byte, 0, 1<<16)
	for _, c := range scanCases {
		if !strings.HasPrefix(c.want, "INODE_HANDLE") && !strings.HasPrefix(c.want, "INODE_CLUSTER") && !strings.HasPrefix(c.want, "INODE_SOCKET_") && c.want != "U" {
			continue
		}
		if strings.Contains(c.text, `\u00`) || strings.Contains(c.text, "\xff") || strings.Contains(c.text, "\xed") || strings.Contains(c.text, "\xe2") {
			continue // decoded, or repaired
		}
		text := []byte(c.text)
		require.Zero(t, testing.AllocsPerRun(10, func() {
			if _, err := Scan(text); err != nil {
				panic(err)
			}
			if _, _, err := Compact(dst, text); err != nil {
				panic(err)
			}
		}), c.text)
	}
}

func TestMembers(t *testing.T) {
	type member struct{ name, value string }
	for text, want := range map[string][]member{
		`{}`: nil, `[1]`: nil, `1`: nil, ``: nil, ` { } `: nil, `"{"`: nil,
		`{"a":1}`: {{"a", "1"}},
		` { "cmd" : "x" , "\u0061\n" : [ 1 , {"b":"}"} ] , "cmd":null, "":{"a":{"b":[]}} ,"z":-1.5e3, "f":false}`: {
			{"cmd", `"x"`}, {"a\n", `[ 1 , {"b":"}"} ]`}, {"cmd", "null"}, {"", `{"a":{"b":[]}}`}, {"z", "-1.5e3"}, {"f", "false"},
		},
		`{"é\ud800":"a\"}"}`: {{"é\ufffd", `"a\"}"`}},
		// Not JSON: no panic, no endless loop.
		`{"a":1`: {{"a", "1"}}, `{"a":`: nil, `{"a"`: nil, `{"a`: nil, `{"a":1,`: {{"a", "1"}}, `{"a":}`: nil, `{"\x":1}`: nil, `{"a":1 "b":2}`: {{"a", "1"}},
		"{\"a\":\"\n\",\"b\":1}": {{"a", "\"\n\""}, {"b", "1"}}, `{"a":[1}`: {{"a", "[1}"}},
	} {
		var got []member
		for name, value := range Members([]byte(text)) {
			got = append(got, member{name, string(value)})
		}
		require.Equal(t, want, got, text)
	}
	n := 0
	for range Members([]byte(`{"a":1,"b":2}`)) {
		n++
		break
	}
	require.Equal(t, 1, n)
	text := []byte(`{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"a":[1,2,3],"b":"text"},"key":"4:127.0.0.1:0"}`)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		for name := range Members(text) {
			n += len(name)
		}
	}))
}

func TestString(t *testing.T) {
	for raw, want := range map[string]string{
		`""`: "", `"abc"`: "abc", `"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t", `"\u00e9\uD83D\uDE00"`: "é😀", `"\ud800"`: "\ufffd", `"\udc00\ud800x"`: "\ufffd\ufffdx",
		`"\ud800\ud83d\ude00"`: "\ufffd😀", `"\ud83d\u0041"`: "\ufffdA", "\"\xff\"": "\ufffd", "\"\xff\\n\xe2\x82\"": "\ufffd\n\ufffd\ufffd", `"\ud83d\n"`: "\ufffd\n",
	} {
		got, ok := String([]byte(raw))
		require.True(t, ok, raw)
		require.Equal(t, want, got)
		var std string
		require.NoError(t, json.Unmarshal([]byte(raw), &std))
		require.Equal(t, std, got)
	}
	for _, raw := range []string{``, `"`, `a`, `1`, `null`, `"a`, `a"`, `"a"b"`, `"\"`, `"\x"`, `"\u12"`, "\"\n\"", `"a" `} {
		_, ok := String([]byte(raw))
		require.False(t, ok, raw)
	}
}
