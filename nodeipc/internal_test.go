//go:build unix

package nodeipc

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// Texts on both sides of the line between a program's messages and Node's internal ones.
var internalTexts = []string{
	`{"cmd":"NODE_"}`, `{"cmd":"NODE_X"}`, `{"cmd":"NODE"}`, `{"cmd":"node_x"}`, `{"cmd":"NODE_CLUSTER"}`, `{"cmd":"XNODE_X"}`,
	`{"cmd":" NODE_X"}`, `{"cmd":""}`, `{"cmd":"NODE_\u0000"}`, `{"cmd":"NODE_ü"}`, `{"cmd":"NODE_😀"}`, `{"cmd":"NODE_\ud800"}`,
	`{"CMD":"NODE_X"}`, `{"cmd ":"NODE_X"}`, `{"Cmd":"NODE_X"}`, `{"":"NODE_X"}`, `{"cmd\u0000":"NODE_X"}`,
	`{"\u0063md":"NODE_X"}`, `{"c\u006dd":"NODE_X"}`, `{"\u0063\u006d\u0064":"NODE_X"}`, `{"\u0063\u006D\u0064":"\u004eODE_X"}`,
	`{"cmd":"\u004e\u004f\u0044\u0045\u005f\u0058"}`, `{"cmd":"NODE\u005fX"}`, `{"cmd":"NODE_\u0058"}`, `{"cmd":"\u004EODE_"}`,
	`{"cmd":"NODE_X","cmd":"user"}`, `{"cmd":"user","cmd":"NODE_X"}`, `{"cmd":"NODE_X","cmd":1}`, `{"cmd":1,"cmd":"NODE_X"}`,
	`{"cmd":"NODE_X","\u0063md":null}`, `{"\u0063md":"user","cmd":"NODE_X"}`, `{"cmd":"NODE_X","cmd":{"cmd":"NODE_X"}}`,
	`{"a":{"cmd":"NODE_X"}}`, `{"cmd":{"cmd":"NODE_X"}}`, `{"cmd":["NODE_X"]}`, `[{"cmd":"NODE_X"}]`, `["cmd","NODE_X"]`,
	`{"a":{"b":1},"cmd":"NODE_X"}`, `{"a":[1,{"cmd":1}],"cmd":"NODE_X","b":[]}`, `{"a":"}","cmd":"NODE_X"}`, `{"a":"\"","cmd":"NODE_X"}`,
	`{"a":"\\","cmd":"NODE_X"}`, `{"a":"\\\"cmd\":\"NODE_X\""}`,
	" { \"cmd\" : \"NODE_X\" } ", "\t{\r\"cmd\"\t:\r\"NODE_X\"\t}\r", "  [ ]  ",
	`{"cmd":7}`, `{"cmd":true}`, `{"cmd":null}`, `{"cmd":1e3}`, `{}`, `[]`, `"NODE_X"`, `"cmd"`, `7`, `null`, `true`,
	`{"__proto__":{"cmd":"NODE_X"}}`, `{"__proto__":1,"cmd":"NODE_X"}`, `{"0":1,"cmd":"NODE_X"}`, `{"cmd":"NODE_X","constructor":1}`,
	`{"pad":"` + strings.Repeat("x", 100000) + `","cmd":"NODE_X"}`,
}

// What Node takes for internal, we take for internal, in what comes and in what is sent.
func TestInternalRecognition(t *testing.T) {
	testkit.CheckLeaks(t)
	ctx := limited(t)
	type arrival struct {
		text     string
		internal bool
	}
	arrivals := make(chan arrival, 100)
	p := startNode(t, &Options{Internal: func(m *Message) { arrivals <- arrival{string(m.Data), true} }}, "probe_internal.js")
	go func() {
		for m, err := range p.Messages(ctx) {
			if err != nil {
				return
			}
			arrivals <- arrival{string(m.Data), false}
		}
	}()
	// The two kinds may overtake each other here, so each text is awaited before the next is sent.
	next := func(what string) arrival {
		t.Helper()
		select {
		case a := <-arrivals:
			return a
		case <-ctx.Done():
			t.Fatalf("nothing came for %s", what)
			return arrival{}
		}
	}
	internal, user := 0, 0
	for _, text := range internalTexts {
		name := fmt.Sprintf("%.100s", text)
		require.NoError(t, p.post([]byte(text)), name) // as it is, which Send would not do
		one, other := next(name), next(name)
		if strings.HasPrefix(one.text, `{"fired":`) {
			one, other = other, one
		}
		require.False(t, other.internal)
		var node bool
		switch other.text {
		case `{"fired":"internalMessage"}`:
			node = true
			internal++
		case `{"fired":"message"}`:
			user++
		default:
			t.Fatalf("%s: the child answers %s", name, other.text)
		}
		require.Equal(t, node, one.internal, "%s: as Node sends it, %.100s", name, one.text)

		// The same text, and the value it stands for, in Send.
		var v any
		require.NoError(t, json.Unmarshal([]byte(text), &v))
		for kind, v := range map[string]any{"RawMessage": json.RawMessage(text), "value": v, "Message": &Message{Data: []byte(text)}} {
			// What is not refused is not sent here either.
			_, err := encode(nil, v)
			if node {
				require.ErrorIs(t, err, ErrInternalMessage, "%s as a %s", name, kind)
				_, err = encode(nil, Internal{v})
			}
			require.NoError(t, err, "%s as a %s", name, kind)
		}
		if node {
			require.ErrorIs(t, p.Send(ctx, json.RawMessage(text)), ErrInternalMessage)
		} else {
			require.ErrorContains(t, p.Send(ctx, Internal{json.RawMessage(text)}), "Internal", name)
		}
	}
	require.Greater(t, internal, 20)
	require.Greater(t, user, 20)

	// The same text at a channel of ours, without Node between.
	got := make(chan arrival, 1)
	c, peer := raw(t, &Options{Internal: func(m *Message) { got <- arrival{string(m.Data), true} }})
	go func() {
		for m := range c.Messages(ctx) {
			if m == nil {
				return
			}
			got <- arrival{string(m.Data), false}
		}
	}()
	for _, text := range internalTexts {
		peer.send(text + "\n")
		_, err := encode(nil, json.RawMessage(text))
		require.Equal(t, arrival{text, err != nil}, <-got)
	}
}

// However it is spelled in Go.
func TestInternalMessagesAreRefused(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	ctx := limited(t)
	w := newWire(t)
	type lower struct {
		Cmd string `json:"cmd"`
	}
	type embedding struct {
		lower
		N int
	}
	for _, v := range []any{
		lower{"NODE_X"}, &lower{"NODE_X"}, embedding{lower{"NODE_X"}, 1}, map[string]string{"cmd": "NODE_X"}, map[string]any{"cmd": "NODE_X"},
		json.RawMessage(`{"cmd":"NODE_X"}`), &Message{Data: []byte(`{"cmd":"NODE_X"}`)}, marshaler(`{"cmd":"NODE_X"}`),
		map[textKey]any{{"cmd"}: "NODE_X"}, any(map[string]any{"cmd": any("NODE_X")}),
	} {
		require.ErrorIs(t, c.Send(ctx, v), ErrInternalMessage, "%T", v)
		require.ErrorIs(t, c.SendHandle(ctx, v, w.here), ErrInternalMessage, "%T", v)
		require.ErrorIs(t, c.QueueHandle(v, w.here, nil), ErrInternalMessage, "%T", v)
		require.NoError(t, c.Send(ctx, Internal{v}), "%T", v)
		require.Contains(t, p.line(), `"cmd":"NODE_X"`)
		if _, ok := v.(*Message); !ok {
			require.NoError(t, c.Send(ctx, []any{v}), "%T", v) // further in it means nothing
			require.Contains(t, p.line(), `"cmd":"NODE_X"`)
		}
	}
	for _, cmd := range []string{"NODE_HANDLE", "NODE_HANDLE_ACK", "NODE_HANDLE_NACK"} {
		for _, v := range []any{lower{cmd}, json.RawMessage(`{"\u0063md":"\u004eODE` + cmd[4:] + `"}`)} {
			require.ErrorContains(t, c.Send(ctx, Internal{v}), cmd+" belongs to the channel itself")
			require.ErrorContains(t, c.SendHandle(ctx, Internal{v}, w.here), cmd+" belongs to the channel itself")
		}
	}
	require.ErrorContains(t, c.Send(ctx, Internal{"text"}), "no member cmd")
	require.ErrorContains(t, c.Send(ctx, Internal{lower{"NODE_"}}), "no member cmd")
	send(t, c, lower{"NODE_"}) // too short to be internal
	require.Equal(t, `{"cmd":"NODE_"}`, p.line())
}

type marshaler string

func (m marshaler) MarshalJSON() ([]byte, error) { return []byte(m), nil }

type textKey struct{ name string }

func (k textKey) MarshalText() ([]byte, error) { return []byte(k.name), nil }

// Internal messages that nobody asked for are dropped, as in Node, and leave the order alone.
func TestInternalMessagesNobodyWants(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	p.send("1\n" + `{"cmd":"NODE_CLUSTER","act":"disconnect"}` + "\n" + `{"cmd":"NODE_DEBUG_ENABLED"}` + "\n2\n")
	require.Equal(t, "1", text(t, c))
	require.Equal(t, "2", text(t, c))
	require.NoError(t, c.Disconnect(limited(t)))
	p.end()
}

// Internal is called in order, one message at a time, and may answer; its answers go out without anybody receiving.
func TestInternalMayAnswer(t *testing.T) {
	testkit.CheckLeaks(t)
	p, conn := rawSockets(t)
	w := newWire(t)
	ready := make(chan struct{})
	answered := make(chan error, 1)
	var c *Channel
	n := 0
	c = New(conn, &Options{Internal: func(m *Message) {
		<-ready
		n++
		if err := c.Send(t.Context(), Internal{map[string]any{"cmd": "NODE_ANSWER", "n": n}}); err != nil {
			t.Error(err)
		}
		if n == 100 {
			if err := c.QueueHandle("the last", w.here, func(err error) { answered <- err }); err != nil {
				t.Error(err)
			}
		}
	}})
	defer c.Close()
	close(ready)
	p.send(strings.Repeat(`{"cmd":"NODE_QUESTION"}`+"\n", 100))
	for i := range 100 {
		require.Equal(t, fmt.Sprintf(`{"cmd":"NODE_ANSWER","n":%d}`, i+1), p.line())
	}
	require.Equal(t, ourFrame(NetSocket, `"the last"`), p.line())
	p.handle()
	p.send(ack + "\n")
	require.NoError(t, <-answered)
}
