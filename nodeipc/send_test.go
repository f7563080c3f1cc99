//go:build unix

package nodeipc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// ------------------------------------------------------------------------------------------- values

// What goes out for Go values; package jsjson tests the rest.
func TestSendValues(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	ctx := limited(t)
	for _, test := range []struct {
		v    any
		want string
	}{
		{nil, "null"},
		{"<a href=\"x\">&\u2028\x7f\b</a>", "\"<a href=\\\"x\\\">&\u2028\x7f\\b</a>\""},
		{1e21, "1e+21"}, {1e-7, "1e-7"}, {math.NaN(), "null"}, {math.Copysign(0, -1), "0"},
		{[]byte("hi"), `{"type":"Buffer","data":[104,105]}`},
		{map[string]int{"b": 1, "a": 2, "10": 3, "9": 4}, `{"9":4,"10":3,"a":2,"b":1}`},
		{struct{ B, A int }{1, 2}, `{"B":1,"A":2}`},
		{time.Date(2024, 2, 29, 1, 2, 3, 4e6, time.FixedZone("", 3600)), `"2024-02-29T00:02:03.004Z"`},
		{json.RawMessage(" { \"a\" :\n[ 1 ] }\n"), `{"a":[1]}`}, // a newline within would be two messages
		{(*int)(nil), "null"},
		{(*Message)(nil), "null"},
		{&Message{}, "null"},
		{&Message{Data: []byte("[ 1 ]")}, "[1]"},
	} {
		require.NoError(t, c.Send(ctx, test.v), "%T", test.v)
		require.Equal(t, test.want, p.line())
	}
	for _, v := range []any{
		make(chan int), func() {}, json.RawMessage("{"), json.RawMessage(""), json.RawMessage("1\n2"),
		&Message{Data: []byte("1\n2")}, map[string]any{"a": complex(1, 1)},
	} {
		err := c.Send(ctx, v)
		require.ErrorContains(t, err, "nodeipc: send: ", "%T", v)
	}
	send(t, c, "still well")
	require.Equal(t, `"still well"`, p.line())
}

// ------------------------------------------------------------------------------------------- large messages

// collect keeps the garbage collector running until the end of the test.
func collect(t *testing.T) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		running.Wait()
	})
}

// bigText returns the JSON text of a string of n bytes, different for each i, that Node writes the same way.
func bigText(i, n int) json.RawMessage {
	unit := fmt.Sprintf(`%d: \"quoted\" \\ \n grüße 漢字 😀 <&> %s|`, i, strings.Repeat("plain ", 50))
	text := append([]byte{'"'}, bytes.Repeat([]byte(unit), n/len(unit))...)
	return append(text, '"')
}

// sized returns n, or a quarter of it under the race detector, which makes looking at bytes so much slower.
func sized(n int) int {
	if raceEnabled {
		return n / 4
	}
	return n
}

// 20 messages of 8 MB to Node and back, in a process whose garbage collector never rests.
func TestBigMessages(t *testing.T) {
	testkit.CheckLeaks(t)
	collect(t)
	bigMessages(t, 20, sized(8<<20))
}

func bigMessages(t testing.TB, n, size int) {
	p := startNode(t, nil, "echo.js", "--count="+strconv.Itoa(n))
	ctx := limited(t)
	sent := outcome(t, "the sends", func() error {
		for i := range n {
			if err := p.Send(ctx, bigText(i, size)); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range n {
		m, err := p.Receive(ctx)
		require.NoError(t, err)
		require.Greater(t, len(m.Data), size*9/10)
		require.True(t, bytes.Equal(bigText(i, size), m.Data), "message %d came back changed", i)
	}
	require.NoError(t, sent())
	noMore(t, p.Channel)
	require.NoError(t, p.wait())
}

// The same as the child of a Node parent.
func TestBigMessagesUnderNode(t *testing.T) {
	testkit.CheckLeaks(t)
	report := underNode(t, "big", "scenario-gc", fmt.Sprint("NODEIPC_SIZE=", sized(8<<20)))
	require.Equal(t, 20.0, report["messages"])
}

// 100 MB in one message, to Node and back. Each byte is looked at once, however many reads it takes.
func TestHugeMessage(t *testing.T) {
	testkit.CheckLeaks(t)
	size := sized(100 << 20)
	p := startNode(t, nil, "-e", `
		process.once('message', (s) => process.send(s, () => process.disconnect()));`)
	ctx := limited(t)
	text := bigText(0, size)
	sent := outcome(t, "Send", func() error { return p.Send(ctx, text) })
	m, err := p.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, sent())
	require.True(t, bytes.Equal(text, m.Data), "it came back changed")
	noMore(t, p.Channel)
	ended(t, p.Done(), "Done") // nobody reads any more
	require.GreaterOrEqual(t, p.in.examined, int64(len(text)))
	require.LessOrEqual(t, p.in.examined, int64(len(text))*11/10)
}

// ------------------------------------------------------------------------------------------- Flush, and the peer's end

// Flush returns when everything is with the kernel, and not before.
func TestFlush(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	require.NoError(t, c.Flush(limited(t)), "nothing to do")
	send(t, c, strings.Repeat("x", 2<<20))
	short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	require.Equal(t, context.DeadlineExceeded, c.Flush(short), "the peer does not read")
	cancel()
	flushing := outcome(t, "Flush", func() error { return c.Flush(limited(t)) })
	require.Len(t, p.line(), 2<<20+2)
	require.NoError(t, flushing())

	// In a burst, which is held back for a moment.
	for i := range 100 {
		send(t, c, i)
	}
	require.NoError(t, c.Flush(limited(t)))
	c.mu.Lock()
	require.Zero(t, c.pending)
	c.mu.Unlock()
	for i := range 100 {
		require.Equal(t, strconv.Itoa(i), p.line())
	}
}

// Send that is given up has sent nothing; what came before and comes after does arrive.
func TestSendGivenUp(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	big := strings.Repeat("x", 2<<20)
	send(t, c, big) // more than may be pending, and the peer does not read
	ctx, cancel := context.WithCancel(context.Background())
	result := outcome(t, "Send", func() error { return c.Send(ctx, "never") })
	until(t, c, "Send waits", func() bool { return c.wake != nil })
	cancel()
	require.Equal(t, context.Canceled, result())
	next := outcome(t, "Send", func() error { return c.Send(limited(t), "next") })
	require.Equal(t, `"`+big+`"`, p.line())
	require.NoError(t, next())
	require.Equal(t, `"next"`, p.line())
}

// A write that cannot succeed any more is reported, by Send, Flush and Err; what the peer had sent is still received.
func TestPeerThatIsGone(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, &Options{Backlog: 1}) // so that it does not read on, and sees the end late
	p.send("1\n2\n3\n")
	until(t, c, "reading pauses", func() bool { return c.paused })
	p.close()
	ctx := limited(t)
	var err error
	for err == nil {
		if err = c.Send(ctx, "anybody?"); err == nil {
			err = c.Flush(ctx)
		}
	}
	require.ErrorIs(t, err, ErrDisconnected)
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorContains(t, err, "broken pipe")
	require.ErrorIs(t, c.Err(), ErrDisconnected)
	require.ErrorIs(t, c.Send(ctx, "anybody?"), ErrDisconnected)
	for _, want := range []string{"1", "2", "3"} {
		require.Equal(t, want, text(t, c))
	}
	noMore(t, c)
	require.ErrorIs(t, c.Disconnect(ctx), ErrDisconnected, "something that was sent is lost")
	require.ErrorIs(t, c.Close(), ErrDisconnected)
}

// The same when the failure comes in the course of Disconnect.
func TestDisconnectFromPeerThatIsGone(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, &Options{Backlog: 1})
	p.send("1\n2\n")
	until(t, c, "reading pauses", func() bool { return c.paused })
	send(t, c, strings.Repeat("x", 4<<20))
	until(t, c, "the socket is full", func() bool { return c.writing && c.pending < 4<<20 })
	result := outcome(t, "Disconnect", func() error { return c.Disconnect(limited(t)) })
	until(t, c, "it is disconnecting", func() bool { return c.closing != nil })
	p.close()
	require.ErrorIs(t, result(), ErrDisconnected)
}

// lateConn is a connection whose Write comes back late.
type lateConn struct {
	net.Conn
	back chan struct{}
}

func (c lateConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	<-c.back
	return n, err
}

// A peer that goes away as soon as it has read the last message, before our write of it is over, has got it: nothing is
// lost.
func TestPeerIsFasterThanTheWrite(t *testing.T) {
	for name, end := range map[string]func(c *Channel) error{
		"Close":      (*Channel).Close,
		"Disconnect": func(c *Channel) error { return c.Disconnect(context.Background()) },
		"Flush":      func(c *Channel) error { return c.Flush(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			w := newWire(t)
			back := make(chan struct{})
			c := New(lateConn{w.here, back}, nil)
			defer c.Close()
			send(t, c, "bye")
			line, err := bufio.NewReader(w.there).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "\"bye\"\n", line)
			w.there.Close()
			noMore(t, c)
			ended(t, c.Done(), "Done")
			result := outcome(t, name, func() error { return end(c) })
			close(back)
			require.NoError(t, result())
			require.NotErrorIs(t, c.Err(), ErrDisconnected)
		})
	}
}

// Writes to a peer that only stopped reading, which for Node is the end as well.
func TestSendToNodeThatExits(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "child_messages.js", "exit=0")
	ctx := limited(t)
	var err error
	for err == nil {
		err = p.Send(ctx, strings.Repeat("x", 1000))
	}
	require.ErrorIs(t, err, ErrDisconnected)
	require.ErrorIs(t, err, net.ErrClosed)
	for range 5 {
		_, err := p.Receive(ctx)
		require.NoError(t, err, "what it sent before is there")
	}
	noMore(t, p.Channel)
}

// Messages of a burst are written together, and all of them without another call.
func TestBurstGoesOutByItself(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	for round := range 100 {
		for i := range 10 {
			send(t, c, round*10+i)
		}
		for i := range 10 {
			require.Equal(t, strconv.Itoa(round*10+i), p.line())
		}
	}
}

// ------------------------------------------------------------------------------------------- allocation

func TestNoAllocationPerMessage(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	ctx := context.Background()
	require.NoError(t, a.Send(ctx, json.RawMessage(`{"pad":"`+strings.Repeat("x", 64-10)+`"}`)))
	m, err := b.Receive(ctx)
	require.NoError(t, err)
	require.Len(t, m.Data, 64)
	allocs := testing.AllocsPerRun(5000, func() {
		if err := b.Send(ctx, m); err != nil {
			t.Fatal(err)
		}
		if m, err = a.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		if err := a.Send(ctx, m); err != nil {
			t.Fatal(err)
		}
		if m, err = b.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	})
	require.Zero(t, allocs)
}

// ------------------------------------------------------------------------------------------- benchmarks

var benchSizes = []int{64, 1 << 10, 64 << 10, 1 << 20}

func benchText(size int) json.RawMessage {
	return json.RawMessage(`{"pad":"` + strings.Repeat("x", size-10) + `"}`)
}

// BenchmarkSend writes to a peer that only reads.
func BenchmarkSend(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			p, conn := rawSockets(b)
			c := New(conn, nil)
			defer c.Close()
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				buf := make([]byte, 256<<10)
				for {
					if n, err := readFD(p.fd, buf); n <= 0 || err != nil {
						return
					}
				}
			}()
			text := benchText(size)
			ctx := context.Background()
			b.SetBytes(int64(size + 1))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Send(ctx, text); err != nil {
					b.Fatal(err)
				}
			}
			if err := c.Disconnect(ctx); err != nil {
				b.Fatal(err)
			}
			<-drained
		})
	}
}

// BenchmarkReceive reads from a peer that only writes.
// A connection of a cluster, both ends.
func BenchmarkQueueHandle(b *testing.B) {
	for _, inFlight := range []int{1, 16} {
		b.Run(fmt.Sprint(inFlight, " in flight"), func(b *testing.B) {
			opts := &Options{HandlesInFlight: inFlight, Internal: func(m *Message) { m.Handle.Close() }}
			c, _ := pair(b, opts)
			h := NewHandle(tcpWire(b).here.(*net.TCPConn), NetNative)
			v := Internal{json.RawMessage(`{"cmd":"NODE_CLUSTER","act":"newconn","key":"127.0.0.1:0:4:undefined:0","seq":1}`)}
			queued := make(chan struct{}, 16)
			done := func(err error) {
				if err != nil {
					b.Error(err)
				}
				<-queued
			}
			b.ReportAllocs()
			for b.Loop() {
				queued <- struct{}{}
				require.NoError(b, c.QueueHandle(v, h, done))
			}
			for range cap(queued) {
				queued <- struct{}{}
			}
		})
	}
}

func BenchmarkReceive(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			p, conn := rawSockets(b)
			c := New(conn, nil)
			line := append(benchText(size), '\n')
			many := bytes.Repeat(line, max(1, 256<<10/len(line)))
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				for p.write(many) == nil {
				}
			}()
			ctx := context.Background()
			b.SetBytes(int64(size + 1))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Receive(ctx); err != nil {
					b.Fatal(err)
				}
			}
			c.Close()
			<-stopped
		})
	}
}

// BenchmarkEcho is one message there and back between two channels of this process.
func BenchmarkEcho(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			one, other := pair(b, nil)
			ctx := context.Background()
			go func() {
				for {
					m, err := other.Receive(ctx)
					if err != nil || other.Send(ctx, m) != nil {
						return
					}
				}
			}()
			text := benchText(size)
			b.SetBytes(int64(2 * (size + 1)))
			b.ReportAllocs()
			for b.Loop() {
				if err := one.Send(ctx, text); err != nil {
					b.Fatal(err)
				}
				if _, err := one.Receive(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEchoNode is one message to a Node child and back.
func BenchmarkEchoNode(b *testing.B) {
	p := startNode(b, nil, "echo.js")
	ctx := context.Background()
	text := benchText(64)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Send(ctx, text); err != nil {
			b.Fatal(err)
		}
		if _, err := p.Receive(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
