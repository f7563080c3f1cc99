package v8

import (
	"encoding/hex"
	"encoding/json"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// node is a Node process that says what it makes of payloads.
type node struct {
	t     testing.TB
	peer  *testkit.NodePeer
	major int
}

func startNode(t testing.TB) *node {
	t.Helper()
	return &node{t, testkit.StartPeer(t, "v8_peer.js"), testkit.Peer(t).Major()}
}

// Dates have the text that JavaScript gives them, in JSON too.
func TestDateText(t *testing.T) {
	testkit.CheckLeaks(t)
	js := startNode(t)
	for _, ms := range []string{"0", "1", "-1", "1700000000123", "8.64e15", "-8.64e15", "253402300800000", "-62198755200001", "-62167219200001", "NaN"} {
		payload, _ := js.encode("[String(new Date(" + ms + ") > -Infinity && new Date(" + ms + ").toISOString()), JSON.stringify(new Date(" + ms + ")), new Date(" + ms + ")]")
		var got struct {
			text, json string
			date       Date
		}
		var list []any
		require.NoError(t, Unmarshal(payload, &list))
		got.text, got.json, got.date = list[0].(string), list[1].(string), list[2].(Date)
		if ms == "NaN" {
			got.text = "Invalid Date"
		}
		require.Equal(t, got.text, got.date.String())
		text, err := json.Marshal(got.date)
		require.NoError(t, err)
		require.Equal(t, got.json, string(text))
	}
}

// decode is what Node makes of a payload, or its error.
func (n *node) decode(l Layout, payload []byte) (value any, refused string) {
	n.t.Helper()
	kind := "s"
	if l == Channel {
		kind = "c"
	}
	answers, err := n.peer.Ask(kind, payload)
	require.NoError(n.t, err)
	if text, bad := strings.CutPrefix(answers[0], "!"); bad {
		return nil, text
	}
	require.NoError(n.t, json.Unmarshal([]byte(answers[0]), &value))
	return value, ""
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// decodeTold decodes a payload and tells the value.
func decodeTold(l Layout, payload []byte) (any, error) {
	var v any
	if err := (&Decoder{Layout: l, Ordered: true}).Decode(payload, &v); err != nil {
		return nil, err
	}
	return tell(v), nil
}

// encode is what this Node writes on a channel for the value of an expression, and what it tells of it.
func (n *node) encode(expression string) (payload []byte, value any) {
	n.t.Helper()
	answers, err := n.peer.Ask("e", []byte(expression))
	require.NoError(n.t, err)
	var answer struct {
		Hex   string
		Value any
	}
	require.NoError(n.t, json.Unmarshal([]byte(answers[0]), &answer), "%s: %s", expression, answers[0])
	return unhex(n.t, answer.Hex), answer.Value
}

// What is as deep as Encoder allows is not too deep for any Node.
func TestDepthForNode(t *testing.T) {
	testkit.CheckLeaks(t)
	js := startNode(t)
	for name, wrap := range map[string]func(any) any{
		"object":  func(v any) any { return m{"a": v} },
		"array":   func(v any) any { return []any{v} },
		"sparse":  func(v any) any { return &Sparse{Length: 1, Elements: []Element{{0, v}}} },
		"Map":     func(v any) any { return new(Map).Set(1, v) },
		"Map key": func(v any) any { return new(Map).Set(v, 1) },
		"Set":     func(v any) any { return new(Set).Add(v) },
		"Error":   func(v any) any { return &Error{Name: "Error", Cause: v} },
		"pointer": func(v any) any { return &struct{ V any }{v} },
	} {
		values := []any{nil}
		for range defaultWriteDepth + 1 {
			values = append(values, wrap(values[len(values)-1]))
		}
		var payload []byte
		levels := sort.Search(len(values), func(n int) bool {
			next, err := (&Encoder{Layout: Channel}).Append(nil, values[n])
			if err == nil {
				payload = next
				return false
			}
			require.ErrorIs(t, err, ErrDepth)
			return true
		}) - 1
		require.Equal(t, defaultWriteDepth, levels, name)
		_, refused := js.decode(Channel, payload)
		if name == "Error" && js.major < 16 {
			require.NotEmpty(t, refused)
			continue
		}
		require.Empty(t, refused, name)
	}
}
