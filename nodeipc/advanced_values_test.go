//go:build unix

package nodeipc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/jsvalues"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// Advanced serialization with a runtime on the other side of a channel: every value of js_fixtures/advanced_values.js,
// both ways, to a child and to a parent.

func init() {
	roles["advanced-values"] = func() error {
		label := os.Getenv(envLabel)
		ch, err := Connect(readBy(label))
		if err != nil {
			return err
		}
		defer ch.Close()
		ctx := context.Background()
		if err := exchangeValues(ctx, ch, label); err != nil {
			return err
		}
		if err := ch.Send(ctx, "the end"); err != nil {
			return err
		}
		return ch.Disconnect(ctx)
	}
}

const envLabel = "NODEIPC_TEST_LABEL"

// readBy is how to write for a runtime.
func readBy(label string) *Options {
	node, err := strconv.Atoi(label)
	if err != nil { // Deno
		node = 26
	}
	return &Options{Serialization: Advanced, Node: node}
}

func valuesToChild(t testing.TB) {
	label := jsvalues.Label(testkit.Peer(t))
	p := startNode(t, readBy(label), "advanced_check.js")
	require.NoError(t, exchangeValues(limited(t), p.Channel, label))
	require.NoError(t, p.Disconnect(limited(t)))
	require.NoError(t, p.wait())
}

func valuesUnderNode(t testing.TB) {
	bin, err := os.Executable()
	require.NoError(t, err)
	cmd := nodeCommand(t, "advanced_check.js", bin)
	cmd.Env = append(os.Environ(), envRole+"=advanced-values", envLabel+"="+jsvalues.Label(testkit.Peer(t)), quickExit)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	defer context.AfterFunc(limited(t), func() { cmd.Process.Kill() })()
	require.NoError(t, cmd.Wait(), "%s", &out)
}

// exchangeValues has advanced_check.js look at every value that its runtime has, and send it.
func exchangeValues(ctx context.Context, ch *Channel, label string) error {
	values, err := jsvalues.All()
	if err != nil {
		return err
	}
	n := 0
	for _, v := range values {
		own, ok := v.Of(label)
		if !ok {
			continue
		}
		if err := sendValue(ctx, ch, label, v); err != nil {
			return fmt.Errorf("%s %s to %s: %w", v.Name, v.JS, label, err)
		}
		want := v.Decoded(own)
		if _, broken := want.(jsvalues.Broken); broken {
			continue // the end of the channel
		}
		if err := receiveValue(ctx, ch, v.Name, want); err != nil {
			return fmt.Errorf("%s %s from %s: %w", v.Name, v.JS, label, err)
		}
		n++
	}
	if n < 280 {
		return fmt.Errorf("only %d values for %s", n, label)
	}
	return nil
}

func sendValue(ctx context.Context, ch *Channel, label string, v jsvalues.Value) error {
	if _, broken := v.Value.(jsvalues.Broken); broken || label == "deno" && v.Name == "object_cmd" { // Deno keeps {cmd: 'NODE_'} from its program
		return nil
	}
	if answer, err := ask(ctx, ch, []string{"check", v.Name}); err != nil || answer != "ready" {
		return fmt.Errorf("answered %q, %w", answer, err)
	}
	found, err := ask(ctx, ch, v.Value)
	if err != nil {
		found = err.Error()
		if _, err := ask(ctx, ch, nil); err != nil { // it waits for a value
			return err
		}
	}
	if tooDeep[v.Name] {
		if !errors.Is(err, v8.ErrDepth) {
			return fmt.Errorf("found %q, and no error of depth: %v", found, err)
		}
		return nil
	}
	d, differs := v.DiffersIn(label)
	if differs && strings.Contains(found, d.Finds) || !differs && found == "" {
		return nil
	}
	return fmt.Errorf("found %q", found)
}

// tooDeep have 2000 levels, which are not sent: Node 20, 22 and 24 die of so many objects, be they of a Node. They are
// received.
var tooDeep = map[string]bool{"deep_objects": true, "deep_arrays": true, "deep_maps": true, "deep_sets": true}

// ask sends a message and returns the answer.
func ask(ctx context.Context, ch *Channel, v any) (answer string, err error) {
	if err := ch.Send(ctx, v); err != nil {
		return "", err
	}
	m, err := ch.Receive(ctx)
	if err != nil {
		return "", err
	}
	return answer, m.Decode(&answer)
}

func receiveValue(ctx context.Context, ch *Channel, name string, want any) error {
	if err := ch.Send(ctx, []string{"send", name}); err != nil {
		return err
	}
	m, err := ch.Receive(ctx)
	if err != nil {
		return err
	}
	var got any
	if err := m.Decode(&got); err != nil {
		return err
	}
	if w, g := jsvalues.Dump(want, false), jsvalues.Dump(got, false); w != g {
		return fmt.Errorf("%.200x is decoded to %.500s instead of %.500s", m.Data, g, w)
	}
	return nil
}

// Buffers of many sizes to a child and back, between small messages that keep their places.
func TestAdvancedBuffers(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, advanced, "echo.js")
	ctx := limited(t)
	large := 64 << 20
	if peer := testkit.Peer(t); peer.Kind == "Node" && peer.Major() < 16 {
		large = 8 << 20 // which copies all that has come at every read, half a minute for 64 MiB
	}
	sizes := []int{0, 1, 127, 128, 64<<10 - 7, 64 << 10, 1 << 20, large, 2}
	buffer := func(size int) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i * 31 >> 5)
		}
		return b
	}
	sent := outcome(t, "the sends", func() error {
		for _, size := range sizes {
			if err := p.Send(ctx, size); err != nil {
				return err
			}
			if err := p.Send(ctx, buffer(size)); err != nil {
				return err
			}
		}
		return nil
	})
	for _, size := range sizes {
		m, err := p.Receive(ctx)
		require.NoError(t, err)
		var n int
		require.NoError(t, m.Decode(&n))
		require.Equal(t, size, n)
		m, err = p.Receive(ctx)
		require.NoError(t, err)
		var got []byte
		require.NoError(t, m.Decode(&got))
		require.Equal(t, size, len(got))
		require.True(t, bytes.Equal(buffer(size), got), "%d bytes came back changed", size)
	}
	require.NoError(t, sent())
	require.NoError(t, p.Disconnect(ctx))
	require.NoError(t, p.wait())
}

// What a Node parent does with a Go child in JSON mode, sockets and servers both ways included, works in advanced mode.
func TestAdvancedScenarios(t *testing.T) {
	for _, scenario := range []string{
		"greeting", "messages", "all-types", "big", "mixed", "return", "leave", "die",
	} {
		t.Run(scenario, func(t *testing.T) {
			testkit.CheckLeaks(t)
			underNode(t, "--serialization=advanced "+scenario, "scenario", "NODEIPC_COUNT=100", "NODEIPC_SIZE=1000000")
		})
	}
}

// Sockets and servers, TCP and unix, to a Node child and from one.
func advancedHandleTypes(t testing.TB, network string) {
	w, address := tcpWire, "127.0.0.1:0"
	if network == "unix" {
		w, address = unixWire, filepath.Join(t.TempDir(), "s")
	}
	probeSocket(t, startNode(t, advanced, "probe_handles.js"), w(t))
	ln, err := net.Listen(network, address)
	require.NoError(t, err)
	probeServer(t, startNode(t, advanced, "probe_handles.js"), ln)
	connFromNode(t, startNode(t, advanced, "scenario_child.js"), network)
	listenerFromNode(t, startNode(t, advanced, "scenario_child.js"), network)
}
