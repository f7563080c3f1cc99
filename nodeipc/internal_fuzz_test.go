//go:build unix

package nodeipc

import (
	"bytes"
	"encoding/json"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/jsjson"
)

var replacements = regexp.MustCompile("\ufffd+")

// oneEach makes one U+FFFD of several: Node makes one of a sequence that is cut short, we one of each byte.
func oneEach(s string) string { return replacements.ReplaceAllString(s, "\ufffd") }

// What is an internal message, what a user's and what no JSON, is what Node says it is: in what arrives, and in what is
// to be sent in all the ways a value can be sent.
func FuzzInternalLikeNode(f *testing.F) {
	testkit.CheckLeaks(f)
	js := testkit.StartPeer(f, "json_peer.js")
	for _, text := range internalTexts {
		if len(text) < 1000 {
			f.Add([]byte(text))
		}
	}
	for _, text := range []string{
		"", " ", "[", `{"cmd":"NODE_X"`, "\ufeff" + `{"cmd":"NODE_X"}`, "{\"cmd\":\"NODE_\xff\"}", "{\"c\xffmd\":\"NODE_X\"}",
		`{"cmd":"NODE_X","cmd":1e400}`,
	} {
		f.Add([]byte(text))
	}
	type withCmd struct {
		N   int
		Cmd string `json:"cmd"`
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 5000 { // more than the pipes hold, or encoding/json nests
			return
		}
		answers, err := js.Ask("cs", text)
		require.NoError(t, err)
		node := oneEach(answers[0])
		info, err := jsjson.Scan(text)
		ours := "U"
		if err != nil {
			ours = "E"
		} else if info.Cmd != "" {
			ours = "I" + oneEach(info.Cmd)
		}
		require.Equal(t, node, ours)

		check := func(kind string, v any) {
			t.Helper()
			sent, err := encode([]byte("before"), v)
			_, marked := encode(nil, Internal{v})
			switch ours {
			case "E":
				require.Error(t, err, kind)
				require.NotErrorIs(t, err, ErrInternalMessage, kind)
				require.Error(t, marked, kind)
				return
			case "U":
				require.NoError(t, err, kind)
				require.Error(t, marked, kind)
			case "INODE_HANDLE", "INODE_HANDLE_ACK", "INODE_HANDLE_NACK":
				require.ErrorIs(t, err, ErrInternalMessage, kind)
				require.Error(t, marked, kind)
			default:
				require.ErrorIs(t, err, ErrInternalMessage, kind)
				require.NoError(t, marked, kind)
			}
			if err == nil { // what goes out is the same for Node, and one line
				require.NotContains(t, string(sent), "\n", kind)
				if _, raw := v.(json.RawMessage); raw {
					again, err := js.Ask("s", bytes.TrimPrefix(sent, []byte("before")))
					require.NoError(t, err)
					require.Equal(t, oneEach(answers[1]), oneEach(again[0]))
				}
			}
		}
		check("RawMessage", json.RawMessage(text))
		check("*RawMessage", ptrTo(json.RawMessage(text)))
		check("Message", &Message{Data: text})
		check("Marshaler", marshaler(text))
		var v any
		if json.Unmarshal(text, &v) != nil {
			return // 1e400 is Infinity for Node
		}
		check("any", v)
		check("*any", &v)
		if m, ok := v.(map[string]any); ok {
			check("map", m)
			if cmd, ok := m["cmd"].(string); ok {
				check("struct", withCmd{1, cmd})
				check("*struct", &withCmd{1, cmd})
				check("map of strings", map[string]string{"cmd": cmd})
				check("TextMarshaler keys", map[textKey]string{{"cmd"}: cmd})
			}
		}
	})
}
