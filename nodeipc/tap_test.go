//go:build unix

package nodeipc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A tapped is an Options.Tap that writes down what it sees.
type tapped struct {
	mu    sync.Mutex
	lines []string
	busy  atomic.Int32
}

func (r *tapped) tap(e Event) {
	if r.busy.Add(1) > 1 {
		panic("two calls of Tap at once")
	}
	defer r.busy.Add(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	line := e.Dir.String()
	if e.Handle != "" {
		line += " " + string(e.Handle)
	}
	if e.Internal != "" {
		line += " " + e.Internal
	}
	r.lines = append(r.lines, line+" "+string(e.Data))
}

// seen returns what was written down since the last call.
func (r *tapped) seen() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

const (
	sentACK     = "sent NODE_HANDLE_ACK " + ack
	sentNACK    = "sent NODE_HANDLE_NACK " + nack
	receivedACK = "received NODE_HANDLE_ACK " + ack
)

// Every message is seen once, in the order of the wire, with its handle and its internal name.
func TestTap(t *testing.T) {
	testkit.CheckLeaks(t)
	var r tapped
	c, p := raw(t, &Options{Tap: r.tap})
	ctx := limited(t)
	w := newWire(t)

	send(t, c, "out")
	send(t, c, Internal{map[string]string{"cmd": "NODE_X"}})
	require.NoError(t, c.Flush(ctx))
	require.Equal(t, []string{`sent "out"`, `sent NODE_X {"cmd":"NODE_X"}`}, r.seen())

	p.send(`"in"` + "\n" + `{"cmd":"NODE_Y"}` + "\n2\n")
	require.Equal(t, `"in"`, text(t, c))
	require.Equal(t, "2", text(t, c))
	require.Equal(t, []string{`received "in"`, `received NODE_Y {"cmd":"NODE_Y"}`, "received 2"}, r.seen())

	// A handle comes, then one that got lost, then one with an internal message.
	p.sendFD(frame(NetSocket, `"h"`)+"\n", fdOf(t, w.here))
	require.Equal(t, `"out"`, p.line())
	require.Equal(t, `{"cmd":"NODE_X"}`, p.line())
	require.Equal(t, ack, p.line())
	p.send(frame(NetServer, `"lost"`) + "\n")
	require.Equal(t, nack, p.line())
	p.sendFD(frame(NetNative, `{"cmd":"NODE_Z"}`)+"\n", fdOf(t, w.here))
	p.send("3\n")
	require.Equal(t, `"h"`, text(t, c))
	require.Equal(t, "3", text(t, c))
	require.Equal(t, []string{
		`received net.Socket "h"`, sentACK,
		`received net.Server "lost"`, sentNACK,
		`received net.Native NODE_Z {"cmd":"NODE_Z"}`, sentACK,
		"received 3",
	}, r.seen())

	// A handle goes, refused once; what is sent behind it follows it.
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, "mine", w.here) })
	require.Equal(t, ack, p.line())
	require.Equal(t, ourFrame(NetSocket, `"mine"`), p.line())
	p.handle()
	require.NoError(t, c.Send(ctx, "behind"))
	p.send(nack + "\n")
	require.Equal(t, ourFrame(NetSocket, `"mine"`), p.line())
	p.handle()
	p.send(ack + "\n")
	require.NoError(t, result())
	require.NoError(t, c.Flush(ctx))
	require.Equal(t, []string{
		`sent net.Socket "mine"`, "received NODE_HANDLE_NACK " + nack, `sent net.Socket "mine"`, receivedACK, `sent "behind"`,
	}, r.seen())

	// What was not sent is not seen.
	require.ErrorIs(t, c.Send(ctx, json.RawMessage(ack)), ErrInternalMessage)
	w.here.Close()
	require.Error(t, c.SendHandle(ctx, "closed", w.here))
	require.Empty(t, r.seen())
}

// What Tap sees is the order that the peer sees, whoever sends.
func TestTapOrder(t *testing.T) {
	testkit.CheckLeaks(t)
	var r tapped
	c, p := raw(t, &Options{Tap: r.tap})
	const senders, each = 4, 500
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				if err := c.Send(limited(t), fmt.Sprint(s, " ", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var got []string
	for range senders * each {
		got = append(got, "sent "+p.line())
	}
	wg.Wait()
	require.Equal(t, got, r.seen())
}

// With Node at the other end: each answer is seen after its question, and handles in both directions.
func TestTapNode(t *testing.T) {
	testkit.CheckLeaks(t)
	var r tapped
	p := startNode(t, &Options{Tap: r.tap}, "echo.js", "--handles")
	ctx := limited(t)
	var want []string
	for i := range 100 {
		send(t, p.Channel, i)
		require.Equal(t, fmt.Sprint(i), text(t, p.Channel))
		want = append(want, fmt.Sprint("sent ", i), fmt.Sprint("received ", i))
	}
	require.Equal(t, want, r.seen())
	w := tcpWire(t)
	require.NoError(t, p.SendHandle(ctx, "there", w.here))
	m, err := p.Receive(ctx)
	require.NoError(t, err)
	back, err := m.Handle.Conn()
	require.NoError(t, err)
	defer back.Close()
	require.Equal(t, []string{`sent net.Socket "there"`, receivedACK, `received net.Socket "there"`, sentACK}, r.seen())
	require.NoError(t, p.Disconnect(ctx))
	require.NoError(t, p.wait())
}

// What Tap was given stays as it was, whatever becomes of the message.
func TestTapEventMayBeKept(t *testing.T) {
	testkit.CheckLeaks(t)
	var events []Event
	c, p := raw(t, &Options{Tap: func(e Event) { events = append(events, e) }})
	before := time.Now()
	p.send(`"one"` + "\n")
	m, err := c.Receive(limited(t))
	require.NoError(t, err)
	copy(m.Data, "XXXXX")
	send(t, c, "two")
	require.NoError(t, c.Disconnect(limited(t)))
	require.Len(t, events, 2)
	require.Equal(t, `"one"`, string(events[0].Data))
	require.Equal(t, `"two"`, string(events[1].Data))
	require.Equal(t, c.ID(), events[0].Channel)
	require.False(t, events[0].Time.Before(before) || events[1].Time.Before(events[0].Time))
}

func TestLogTap(t *testing.T) {
	testkit.CheckLeaks(t)
	var out bytes.Buffer
	c, p := raw(t, &Options{Tap: LogTap(slog.New(slog.NewTextHandler(&out, nil)))})
	w := newWire(t)
	p.send("\"\x7f\u009b2J\u202e\"\n")
	p.sendFD(frame(NetNative, `{"cmd":"NODE_CLUSTER","act":"newconn"}`)+"\n", fdOf(t, w.here))
	p.send("1\n")
	text(t, c)
	text(t, c)
	send(t, c, strings.Repeat("long", 1000))
	require.NoError(t, c.Disconnect(limited(t)))
	lines := strings.Split(out.String(), "\n")
	require.Len(t, lines, 6)
	for i, parts := range [][]string{
		{`msg="nodeipc: received" channel=` + c.ID().String() + ` size=`, `message="\"\x7f\u009b2J\u202e\""`},
		{`size=38 internal=NODE_CLUSTER handle=net.Native message="{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\"}"`},
		{`msg="nodeipc: sent"`, "internal=NODE_HANDLE_ACK"},
		{"size=1 message=1"},
		{`msg="nodeipc: sent"`, "size=4002 ", "longlon…"},
	} {
		for _, part := range parts {
			require.Contains(t, lines[i], part)
		}
		require.Less(t, len(lines[i]), 800)
	}
}
