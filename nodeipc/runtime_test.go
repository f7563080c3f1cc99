//go:build unix

package nodeipc

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// What a runtime cannot do, whatever we do.
var runtimeLimits = []testkit.Limit{
	{Kind: "Deno", Feature: oddValues, Reason: "Deno gives its program a BigInt for an integer beyond 2^53, ends the channel at " +
		"an unpaired surrogate and sends U+FFFD for one, and keeps `{cmd: 'NODE_'}` from its program."},
	{Kind: "Bun", Feature: socketCounts, Reason: "Bun does not count the connections that it gave away, and sends nothing " +
		"about them; what Go asks it stays unanswered."},
	{Kind: "Bun", Feature: advancedValues, Reason: bunAdvanced},
	{Kind: "Bun", Feature: advancedHandles, Reason: bunAdvanced},
}

const (
	oddValues       = "Messages: unpaired surrogates, integers beyond 2^53, `{cmd: 'NODE_'}`"
	advancedValues  = "`serialization: 'advanced'`: every kind of value, each way"
	advancedHandles = "`serialization: 'advanced'`: sockets and servers, each way"

	dgramHandles = "`dgram.Socket`, each way"
	socketCounts = "Socket lists: `server.getConnections()` and `server.close()`"

	bunAdvanced = "Bun's advanced serialization is a format of its own, which is refused with an error that says so."
)

// What README.md says of every runtime, each feature with the runtime as the parent of a Go child, and as the child of a
// Go parent.
func TestRuntime(t *testing.T) {
	testkit.Features(t, runtimeLimits,
		testkit.Feature{Name: "Messages: every kind of value, in order, by `spawn` and `fork`", Cases: []testkit.Case{
			under("values"), under("--fork values"), under("messages"), under("flood", "NODEIPC_COUNT=5000"),
			{Name: "to a child", Run: func(t testing.TB) { echoes(t, plainValues...) }},
			{Name: "many to a child", Run: manyToChild},
			{Name: "a Buffer from a child", Run: bufferFromChild},
		}},
		testkit.Feature{Name: oddValues, Cases: []testkit.Case{
			under("echo"),
			{Name: "to a child", Run: func(t testing.TB) {
				echoes(t, `9007199254740992`, `"\ud800"`, `"\udc00 alone"`, `{"\ud83d":1}`, `{"cmd":"NODE_"}`)
			}},
		}},
		testkit.Feature{Name: "Messages of many megabytes", Cases: []testkit.Case{
			under("big", "NODEIPC_SIZE=1000000"), under("huge", "NODEIPC_SIZE=10000000"),
			{Name: "to a child", Run: func(t testing.TB) { bigMessages(t, 20, 1<<20) }},
		}},
		testkit.Feature{Name: "Disconnecting from either side, exit codes", Cases: append([]testkit.Case{
			under("greeting"), under("leave"), under("die"), under("kill"), under("orphan"),
			{Name: "from a child", Run: disconnectFromChild},
		}, endsOfChild()...)},
		testkit.Feature{Name: "`net.Socket`, TCP, each way", Cases: sockets("tcp")},
		testkit.Feature{Name: "`net.Socket`, unix, each way", Cases: sockets("unix")},
		testkit.Feature{Name: "`net.Server`, TCP, each way", Cases: servers("tcp")},
		testkit.Feature{Name: "`net.Server`, unix, each way", Cases: servers("unix")},
		testkit.Feature{Name: dgramHandles, Cases: farCases("dgram")},
		testkit.Feature{Name: socketCounts, Cases: farCases("lists")},
		testkit.Feature{Name: "Many handles in a row, each behind messages", Cases: []testkit.Case{
			under("mixed", "NODEIPC_COUNT=100"), under("return"),
			{Name: "to a child", Run: func(t testing.TB) { mixedToNode(t, 100) }},
			{Name: "from a child", Run: manyFromChild},
		}},
		testkit.Feature{Name: "What a Go child starts sees nothing of its channel", Cases: []testkit.Case{
			under("grandchild"), under("--fork grandchild"),
		}},
		testkit.Feature{Name: advancedValues, Cases: []testkit.Case{
			{Name: "to a child and back", Run: valuesToChild}, {Name: "to a parent and back", Run: valuesUnderNode},
		}},
		testkit.Feature{Name: advancedHandles, Cases: []testkit.Case{
			{Name: "tcp to a child", Run: func(t testing.TB) { advancedHandleTypes(t, "tcp") }},
			{Name: "unix to a child", Run: func(t testing.TB) { advancedHandleTypes(t, "unix") }},
			under("--serialization=advanced handles"), under("--serialization=advanced child-handles"),
		}},
	)
}

// under is a scenario of parent.js with a Go child.
func under(scenario string, env ...string) testkit.Case {
	return testkit.Case{Name: "parent " + scenario, Run: func(t testing.TB) { underNode(t, scenario, "scenario", env...) }}
}

// part is a part of a scenario about handles.
func part(scenario, what string) testkit.Case {
	return testkit.Case{Name: "parent " + scenario + " " + what, Run: func(t testing.TB) {
		report := underNode(t, scenario, "scenario", "NODEIPC_ONLY="+what)
		require.Contains(t, report["done"], what)
	}}
}

// What each runtime gives back as it is, though maybe in other words: 1e21 and 1e+21.
var plainValues = []string{
	`"text"`, `""`, `0`, `-1`, `1.5`, `1e21`, `1e-7`, `5e-324`, `true`, `false`, `null`, `[]`, `{}`, `[1,[2,[3]]]`,
	`{"a":1,"b":{"c":[null,true,"x"]}}`, `{"1":"one","2":"two","z":0}`, `"line\nfeed \r \t \b \f \" \\ / \u0000 \u001f "`,
	`"\u2028 \u2029 <script>&amp;</script>"`, `"grüße 漢字 😀"`, `{"":0}`, `{"cmd":"node_x"}`, `{"cmd":7}`,
	`[{"cmd":"NODE_HANDLE"}]`, `"NODE_HANDLE"`, `{"nested":{"cmd":"NODE_HANDLE_ACK"}}`,
}

// echoes sends texts to echo.js, all at once, and wants their values back.
func echoes(t testing.TB, texts ...string) {
	p := startNode(t, nil, "echo.js")
	for _, s := range texts {
		send(t, p.Channel, json.RawMessage(s))
	}
	for _, s := range texts {
		require.JSONEq(t, s, text(t, p.Channel))
	}
	require.NoError(t, p.Disconnect(limited(t)))
	require.NoError(t, p.wait())
}

// bufferFromChild receives a Buffer, which Deno sends as an array of numbers.
func bufferFromChild(t testing.TB) {
	p := startNode(t, nil, "scenario_child.js")
	send(t, p.Channel, map[string]string{"type": "buffer"})
	m, err := p.Receive(limited(t))
	require.NoError(t, err)
	var b []byte
	require.NoError(t, m.Decode(&b))
	require.Equal(t, "grüße", string(b))
}

func manyToChild(t testing.TB) {
	const n = 5000
	p := startNode(t, nil, "echo.js", fmt.Sprint("--count=", n))
	ctx := limited(t)
	sent := outcome(t, "the sends", func() error {
		for i := range n {
			if err := p.Send(ctx, i); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range n {
		require.Equal(t, fmt.Sprint(i), text(t, p.Channel))
	}
	require.NoError(t, sent())
	noMore(t, p.Channel)
	require.NoError(t, p.wait())
}

// disconnectFromChild disconnects from a child that stays as long as it is connected.
func disconnectFromChild(t testing.TB) {
	p := startNode(t, nil, "child_messages.js", "stay")
	for range 5 {
		text(t, p.Channel)
	}
	require.NoError(t, p.Disconnect(limited(t)))
	require.NoError(t, p.wait())
}

func endsOfChild() (cases []testkit.Case) {
	for _, end := range childEnds {
		cases = append(cases, testkit.Case{Name: "child " + end.how, Run: func(t testing.TB) { childThatEnds(t, end.how, end.code) }})
	}
	return cases
}

func sockets(network string) []testkit.Case {
	return []testkit.Case{
		part("handles", network+" socket"), part("child-handles", network+" socket"),
		{Name: "to a child", Run: func(t testing.TB) {
			p := startNode(t, nil, "probe_handles.js")
			w := tcpWire
			if network == "unix" {
				w = unixWire
			}
			probeSocket(t, p, w(t))
		}},
		{Name: "from a child", Run: func(t testing.TB) { connFromNode(t, startNode(t, nil, "scenario_child.js"), network) }},
	}
}

func servers(network string) []testkit.Case {
	return []testkit.Case{
		part("handles", network+" server"), part("child-handles", network+" server"),
		{Name: "to a child", Run: func(t testing.TB) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			ln, err := net.Listen(network, address)
			require.NoError(t, err)
			probeServer(t, startNode(t, nil, "probe_handles.js"), ln)
		}},
		{Name: "from a child", Run: func(t testing.TB) { listenerFromNode(t, startNode(t, nil, "scenario_child.js"), network) }},
	}
}

// farCases is a part of the matrix of handles.
func farCases(part string) []testkit.Case {
	return []testkit.Case{
		{Name: part + " with a child", Run: func(t testing.TB) { toFarChild(t, part, JSON) }},
		{Name: part + " with a parent", Run: func(t testing.TB) { toFarParent(t, part, JSON) }},
	}
}

// probed is what probe_handles.js answers.
type probed struct {
	N  int
	Is string
}

func answerOf(t testing.TB, p *process) (a probed) {
	t.Helper()
	m, err := p.Receive(limited(t))
	require.NoError(t, err)
	require.NoError(t, m.Decode(&a))
	return a
}

// probeSocket gives probe_handles.js one end of a connection.
func probeSocket(t testing.TB, p *process, w wire) {
	require.NoError(t, p.SendHandle(limited(t), map[string]any{"n": 1, "as": "socket"}, w.here))
	require.NoError(t, w.here.Close())
	require.Equal(t, probed{1, "Socket"}, answerOf(t, p))
	require.Equal(t, "socket 1\n", all(t, w.there))
}

// probeServer gives it a listener. Only the child listens from there on, and at the path, if there is one.
func probeServer(t testing.TB, p *process, ln net.Listener) {
	require.NoError(t, p.SendHandle(limited(t), map[string]any{"n": 1, "as": "server"}, ln))
	require.NoError(t, ln.Close())
	require.Equal(t, probed{1, "Server"}, answerOf(t, p))
	require.Equal(t, "server 1\n", dialled(t, ln.Addr()))
}

// manyFromChild gives a child sockets and takes them back, each with a message before and behind it.
func manyFromChild(t testing.TB) {
	const n = 100
	p := startNode(t, nil, "scenario_child.js")
	ctx := limited(t)
	wires := make([]wire, n)
	for i := range wires {
		wires[i] = tcpWire(t)
	}
	sent := outcome(t, "the sends", func() error {
		for i, w := range wires {
			if err := p.Send(ctx, fmt.Sprint("before ", i)); err != nil {
				return err
			}
			if err := p.SendHandle(ctx, map[string]any{"type": "return", "n": i}, w.here); err != nil {
				return err
			}
			w.here.Close()
		}
		return nil
	})
	for i, w := range wires {
		require.Equal(t, fmt.Sprintf(`"before %d"`, i), text(t, p.Channel))
		m, err := p.Receive(ctx)
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"type":"return","n":%d}`, i), string(m.Data))
		conn, err := m.Handle.Conn()
		require.NoError(t, err)
		fmt.Fprintf(conn, "%d\n", i) // the other way a runtime may still read, until it has our answer
		require.NoError(t, conn.Close())
		require.Equal(t, fmt.Sprintf("%d\n", i), all(t, w.there), "and nobody has it any more")
	}
	require.NoError(t, sent())
	require.NoError(t, p.Disconnect(ctx))
	require.NoError(t, p.wait())
}
