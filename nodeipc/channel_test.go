//go:build unix

package nodeipc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// ------------------------------------------------------------------------------------------- what is received

func TestReceivesEveryKindOfMessage(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "child_messages.js")
	for _, want := range []string{`"ready"`, `7`, `true`, `null`, `[1,2]`} {
		require.Equal(t, want, text(t, p.Channel))
	}
	noMore(t, p.Channel)
	require.NoError(t, p.wait())
}

func TestSendsEveryKindOfMessage(t *testing.T) {
	testkit.CheckLeaks(t)
	underNode(t, "messages", "scenario")
}

// The program that has been in the README of every IPC library.
func TestGreetingUnderNode(t *testing.T) {
	testkit.CheckLeaks(t)
	underNode(t, "greeting", "scenario")
}

func TestEchoUnderNode(t *testing.T) {
	testkit.CheckLeaks(t)
	report := underNode(t, "echo", "scenario")
	require.Greater(t, report["values"], 30.0)
}

// A Node parent that sends far more than fits on the way before it reads anything.
func TestFloodUnderNode(t *testing.T) {
	testkit.CheckLeaks(t)
	underNode(t, "flood", "scenario", "NODEIPC_COUNT=15000")
}

func TestDecode(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	send(t, a, json.RawMessage(`{"n": 1, "list": [true, null], "data": {"type":"Buffer","data":[104,105]}}`))
	send(t, a, "text")
	m, err := b.Receive(limited(t))
	require.NoError(t, err)
	var v struct {
		N    int
		List []any
		Data []byte
	}
	require.NoError(t, m.Decode(&v))
	assert.Equal(t, 1, v.N)
	assert.Equal(t, []any{true, nil}, v.List)
	assert.Equal(t, "hi", string(v.Data))

	m, err = b.Receive(limited(t))
	require.NoError(t, err)
	var bad *DecodeError
	err = m.Decode(&v.N)
	require.ErrorAs(t, err, &bad)
	assert.Equal(t, "*int", bad.Type)
	assert.ErrorContains(t, err, "nodeipc: decode json message into *int: ")
	var why *json.UnmarshalTypeError
	assert.ErrorAs(t, err, &why)
}

// What was received stays as it is, however much comes after it: messages are cut from shared blocks.
func TestMessagesKeepTheirData(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	const n = 3000
	content := func(i int) string { return strings.Repeat(strconv.Itoa(i)+" ", 1+i%200) }
	sent := outcome(t, "the sends", func() error {
		for i := range n {
			if err := a.Send(context.Background(), content(i)); err != nil {
				return err
			}
		}
		return nil
	})
	var kept []*Message
	for range n {
		m, err := b.Receive(limited(t))
		require.NoError(t, err)
		kept = append(kept, m)
	}
	require.NoError(t, sent())
	for i, m := range kept {
		c := m.Clone()
		require.Equal(t, `"`+content(i)+`"`, string(m.Data))
		clear(m.Data)
		require.Equal(t, `"`+content(i)+`"`, string(c.Data), "Clone shares its data")
	}
}

// What the program makes of Data is what is sent: only data that is unchanged may skip the checks.
func TestSendsChangedMessageAsItIs(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	receive := func() *Message {
		send(t, a, json.RawMessage(`{"cmd":"MODE_1","list":[1, 2]}`))
		m, err := b.Receive(limited(t))
		require.NoError(t, err)
		return m
	}
	m := receive()
	send(t, b, m)
	require.Equal(t, `{"cmd":"MODE_1","list":[1,2]}`, text(t, a))

	copy(m.Data[8:], "MODE_2")
	send(t, b, m)
	require.Equal(t, `{"cmd":"MODE_2","list":[1,2]}`, text(t, a))

	m = receive()
	copy(m.Data[8:], "NODE_2") // an internal message by now
	require.ErrorIs(t, b.Send(limited(t), m), ErrInternalMessage)

	m = receive()
	m.Data[0] = '\n'
	require.Error(t, b.Send(limited(t), m), "no JSON any more")

	m = receive()
	m.Data = append(m.Data, '\n', '1')
	require.Error(t, b.Send(limited(t), m), "two lines would be two messages")
}

// Bytes that are no UTF-8 are taken as Node takes them, and are not passed on.
func TestInvalidUTF8(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	p.send("\"a\xffb\"\n")
	m, err := c.Receive(limited(t))
	require.NoError(t, err)
	require.Equal(t, "\"a\xffb\"", string(m.Data))
	var s string
	require.NoError(t, m.Decode(&s))
	require.Equal(t, "a\ufffdb", s)
	send(t, c, m)
	require.Equal(t, "\"a\ufffdb\"", p.line())
}

// ------------------------------------------------------------------------------------------- the peer's end

func TestChildThatEnds(t *testing.T) {
	for _, end := range childEnds {
		t.Run(end.how, func(t *testing.T) {
			testkit.CheckLeaks(t)
			childThatEnds(t, end.how, end.code)
		})
	}
}

// The ways in which child_messages.js ends, and the exit codes.
var childEnds = []struct {
	how  string
	code int
}{{"end", 0}, {"disconnect", 0}, {"exit=7", 7}, {"throw", 1}}

func childThatEnds(t testing.TB, how string, code int) {
	p := startNode(t, nil, "child_messages.js", how)
	var got []string
	for m, err := range p.Messages(limited(t)) {
		require.NoError(t, err)
		got = append(got, string(m.Data))
	}
	require.Equal(t, []string{`"ready"`, `7`, `true`, `null`, `[1,2]`}, got)
	ended(t, p.Done(), "Done")
	require.Equal(t, io.EOF, p.Err())
	p.wait()
	require.Equal(t, code, p.cmd.ProcessState.ExitCode())
	require.ErrorIs(t, p.Send(limited(t), 1), ErrDisconnected)
	noMore(t, p.Channel)
}

// kill -9, noticed by whoever waits, and by Done when nobody does.
func TestChildThatIsKilled(t *testing.T) {
	for _, test := range []struct {
		name string
		wait func(context.Context, *Channel) error
		want error
	}{
		{"in Receive", func(ctx context.Context, c *Channel) error { _, err := c.Receive(ctx); return err }, io.EOF},
		{"in Messages", func(ctx context.Context, c *Channel) error {
			for range c.Messages(ctx) {
				return errors.New("something came")
			}
			return nil
		}, nil},
		{"in nothing", func(ctx context.Context, c *Channel) error { <-c.Done(); return c.Err() }, io.EOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startNode(t, nil, "child_messages.js", "stay")
			for range 5 {
				text(t, p.Channel)
			}
			result := outcome(t, "the end", func() error { return test.wait(context.Background(), p.Channel) })
			require.NoError(t, p.cmd.Process.Kill())
			require.Equal(t, test.want, result())
			ended(t, p.Done(), "Done")
			require.Equal(t, io.EOF, p.Err())
		})
	}
}

// A Go child whose Node parent is killed sees the end, receiving or not.
func TestParentThatIsKilled(t *testing.T) {
	testkit.CheckLeaks(t)
	underNode(t, "orphan", "scenario")
}

func TestParentThatDisconnects(t *testing.T) {
	for _, role := range []string{"scenario", "linger"} { // in Messages, and with only Done to tell
		t.Run(role, func(t *testing.T) {
			testkit.CheckLeaks(t)
			cmd := self(t, role)
			script := `
				const child = require('child_process').spawn(process.argv[1], [], { stdio: [0, 2, 2, 'ipc'] });
				child.on('message', () => child.disconnect());
				child.on('exit', (code, signal) => console.log(JSON.stringify({ code, signal })));
				if (process.env.` + envRole + ` === 'scenario') child.send('anything');`
			node := nodeCommand(t, "-e", script, cmd.Path)
			node.Env = cmd.Env
			out, err := node.Output()
			require.NoError(t, err)
			require.Equal(t, `{"code":0,"signal":null}`, strings.TrimSpace(string(out)))
		})
	}
}

// Whatever was done last before: somebody reads, and so the end is seen by a program that only waits for Done.
func TestEndIsSeenWithoutReceive(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(t *testing.T, c *Channel, p *rawPeer)
	}{
		{"nothing", func(*testing.T, *Channel, *rawPeer) {}},
		{"Send", func(t *testing.T, c *Channel, p *rawPeer) {
			send(t, c, 1)
			require.Equal(t, "1", p.line())
		}},
		{"Receive", func(t *testing.T, c *Channel, p *rawPeer) {
			p.send("1\n")
			require.Equal(t, "1", text(t, c))
		}},
		{"Receive that was given up", func(t *testing.T, c *Channel, p *rawPeer) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			_, err := c.Receive(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}},
		{"Messages that was left", func(t *testing.T, c *Channel, p *rawPeer) {
			p.send("1\n")
			for range c.Messages(limited(t)) {
				break
			}
		}},
		{"SendHandle", func(t *testing.T, c *Channel, p *rawPeer) {
			w := newWire(t)
			result := outcome(t, "SendHandle", func() error { return c.SendHandle(limited(t), 1, w.here) })
			p.line()
			p.send(ack + "\n")
			require.NoError(t, result())
		}},
		{"SendHandle that was given up", func(t *testing.T, c *Channel, p *rawPeer) {
			w := newWire(t)
			ctx, cancel := context.WithCancel(context.Background())
			result := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, 1, w.here) })
			p.line()
			cancel()
			require.ErrorIs(t, result(), ErrHandleUnconfirmed)
		}},
		{"Flush", func(t *testing.T, c *Channel, p *rawPeer) { require.NoError(t, c.Flush(limited(t))) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			c, p := raw(t, nil)
			until(t, c, "the standby reads", func() bool { return c.standbyRuns })
			test.before(t, c, p)
			p.close()
			ended(t, c.Done(), "Done after "+test.name)
			require.Equal(t, io.EOF, c.Err())
		})
	}
}

// The same for a *DroppedError, after which a program may well have other things to do.
func TestEndIsSeenAfterDroppedError(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, &Options{Backlog: 200, Overflow: DropOldest})
	until(t, c, "the standby reads", func() bool { return c.standbyRuns })
	result := outcome(t, "Receive", func() error { _, err := c.Receive(limited(t)); return err })
	until(t, c, "the standby is or will be relieved", func() bool { return c.wantRead > 0 || c.reading && !c.standbyRuns })
	p.send(strings.Repeat("1234567890\n", 100))
	require.ErrorAs(t, result(), new(*DroppedError))
	p.close()
	ended(t, c.Done(), "Done")
}

// ------------------------------------------------------------------------------------------- order, and replies

// Eight goroutines sending on each of two channels: what each sent comes back in its order.
func TestManySenders(t *testing.T) {
	testkit.CheckLeaks(t)
	const senders, each = 8, 400
	type message struct{ Channel, Sender, N int }
	peers := []*process{startNode(t, nil, "echo.js"), startNode(t, nil, "echo.js")}
	ctx := limited(t)
	var sending sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for n := range each {
				for i, p := range peers {
					if err := p.Send(ctx, message{i, s, n}); err != nil {
						t.Errorf("sender %d: %v", s, err)
						return
					}
				}
			}
		})
	}
	for i, p := range peers {
		next := make([]int, senders)
		for range senders * each {
			m, err := p.Receive(ctx)
			require.NoError(t, err)
			var v message
			require.NoError(t, m.Decode(&v))
			require.Equal(t, message{i, v.Sender, next[v.Sender]}, v)
			next[v.Sender]++
		}
	}
	sending.Wait()
	for _, p := range peers {
		require.NoError(t, p.Disconnect(ctx))
		require.NoError(t, p.wait())
	}
}

// Requests that came in one read, the last of whose handlers does not return before the peer has the other replies.
// The reply to a request must not wait for the handling of the next.
func TestReplyIsNotHeldBack(t *testing.T) {
	for _, n := range []int{2, 3} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			testkit.CheckLeaks(t)
			cmd := nodeCommand(t, testkit.Fixture("one_read.js"), strconv.Itoa(n))
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			p := start(t, cmd, nil)
			seen := bufio.NewScanner(stdout)
			for i := 1; i <= n; i++ {
				require.Equal(t, strconv.Itoa(i), text(t, p.Channel))
				if i < n {
					send(t, p.Channel, fmt.Sprintf("reply %d", i))
				}
			}
			// This is the handler of the last request. Nothing is called on the channel until the replies are there.
			for i := 1; i < n; i++ {
				require.True(t, seen.Scan())
				require.Equal(t, fmt.Sprintf(`"reply %d"`, i), seen.Text())
			}
			send(t, p.Channel, "the last")
			require.True(t, seen.Scan())
			require.Equal(t, `"the last"`, seen.Text())
		})
	}
}

// Two peers that send without end to each other, both receiving at the same time.
func TestFloodBothWays(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	ctx := limited(t)
	const n = 20000
	pad := strings.Repeat("x", 200)
	var all sync.WaitGroup
	for _, c := range []*Channel{a, b} {
		all.Go(func() {
			for i := range n {
				if err := c.Send(ctx, []any{i, pad}); err != nil {
					t.Errorf("message %d: %v", i, err)
					return
				}
			}
		})
		all.Go(func() {
			for i := range n {
				m, err := c.Receive(ctx)
				if want := fmt.Sprintf(`[%d,"%s"]`, i, pad); err != nil || string(m.Data) != want {
					t.Errorf("message %d: %v, %v", i, m, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// The same when neither receives: Send ends with an error instead of waiting for ever, and nothing is lost.
func TestFloodNobodyReceives(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, &Options{Backlog: 64 << 10})
	ctx := limited(t)
	pad := strings.Repeat("x", 1000)
	flood := func(c *Channel) func() int {
		return outcome(t, "ErrBacklogFull", func() int {
			for i := 0; ; i++ {
				err := c.Send(ctx, []any{i, pad})
				if err != nil {
					assert.ErrorIs(t, err, ErrBacklogFull)
					return i
				}
			}
		})
	}
	sentA, sentB := flood(a), flood(b)
	nA, nB := sentA(), sentB()
	require.NoError(t, a.Err())
	require.NoError(t, b.Err())
	var all sync.WaitGroup
	for c, n := range map[*Channel]int{a: nB, b: nA} {
		all.Go(func() {
			for i := range n {
				m, err := c.Receive(ctx)
				if want := fmt.Sprintf(`[%d,"%s"]`, i, pad); err != nil || string(m.Data) != want {
					t.Errorf("message %d of %d: %v, %v", i, n, m, err)
					return
				}
			}
		})
	}
	all.Wait()
	send(t, a, "on it goes") // the channel is well
	require.Equal(t, `"on it goes"`, text(t, b))
}

// ------------------------------------------------------------------------------------------- the backlog

func TestDropOldest(t *testing.T) {
	testkit.CheckLeaks(t)
	const n, backlog = 1_000_000, 256 << 10
	a, b := pair(t, &Options{Overflow: DropOldest, Backlog: backlog})
	ctx := limited(t)
	most := 0
	for i := range n {
		if err := a.Send(ctx, i); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			b.mu.Lock()
			most = max(most, b.queue.bytes)
			b.mu.Unlock()
		}
	}
	require.NoError(t, a.Disconnect(ctx))
	ended(t, b.Done(), "the end, with nobody receiving")
	require.LessOrEqual(t, most, backlog)
	require.LessOrEqual(t, cap(b.queue.list), 8*backlog/messageOverhead)

	_, err := b.Receive(ctx)
	var dropped *DroppedError
	require.ErrorAs(t, err, &dropped)
	require.Greater(t, dropped.Messages, n*9/10)
	digits := int64(0)
	for i := range dropped.Messages {
		digits += int64(len(strconv.Itoa(i)))
	}
	require.Equal(t, digits, dropped.Bytes)
	for i := dropped.Messages; i < n; i++ {
		m, err := b.Receive(ctx)
		require.NoError(t, err)
		if string(m.Data) != strconv.Itoa(i) {
			t.Fatalf("received %s, want %d", m.Data, i)
		}
	}
	noMore(t, b)
}

// Dropping is told each time, and the loops go on after it.
func TestDroppedErrorInLoops(t *testing.T) {
	testkit.CheckLeaks(t)
	p, conn := rawSockets(t)
	batch := strings.Repeat("1\n", 99) + "2\n"
	p.send(batch)
	c := New(conn, &Options{Overflow: DropOldest, Backlog: 1})
	defer c.Close()
	rounds := 0
	for m, err := range c.Messages(limited(t)) {
		var dropped *DroppedError
		if errors.As(err, &dropped) {
			require.Equal(t, &DroppedError{Messages: 99, Bytes: 99}, dropped)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, "2", string(m.Data))
		if rounds++; rounds == 2 {
			break
		}
		p.send(batch)
	}
	p.send(batch)
	var last error
	for n, err := range Values[int](limited(t), c) {
		if err == nil {
			require.Equal(t, 2, n)
			break
		}
		last = err
	}
	require.ErrorAs(t, last, new(*DroppedError))
}

// PauseReading: a peer that sends before anybody receives is held up, and nothing is lost.
func TestPauseReading(t *testing.T) {
	testkit.CheckLeaks(t)
	const n, backlog = 20000, 128 << 10
	a, b := pair(t, &Options{Backlog: backlog})
	pad := strings.Repeat("x", 500)
	var accepted atomic.Int64
	sent := outcome(t, "the sends", func() error {
		for i := range n {
			if err := a.Send(context.Background(), []any{i, pad}); err != nil {
				t.Errorf("message %d: %v", i, err)
				return err
			}
			accepted.Add(1)
		}
		return nil
	})
	until(t, b, "reading pauses", func() bool { return b.paused })
	until(t, a, "the sender waits", func() bool { return a.pending >= maxPending })
	require.Less(t, accepted.Load(), int64(n/2))
	b.mu.Lock()
	require.LessOrEqual(t, b.queue.bytes, backlog+2*blockSize)
	b.mu.Unlock()
	for i := range n {
		require.Equal(t, fmt.Sprintf(`[%d,"%s"]`, i, pad), text(t, b))
	}
	require.NoError(t, sent())
}

// One message may be larger than the backlog.
func TestMessageLargerThanBacklog(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, overflow := range []Overflow{PauseReading, DropOldest} {
		a, b := pair(t, &Options{Backlog: 1, Overflow: overflow})
		big := strings.Repeat("x", 1<<20)
		send(t, a, big)
		require.NoError(t, a.Flush(limited(t)))
		require.Equal(t, `"`+big+`"`, text(t, b))
		send(t, b, "thanks")
		require.Equal(t, `"thanks"`, text(t, a))
	}
}

// ------------------------------------------------------------------------------------------- contexts, several receivers

func TestReceiveGivenUp(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := b.Receive(gone)
	require.Equal(t, context.Canceled, err)
	send(t, a, 1)
	_, err = b.Receive(gone)
	require.Equal(t, context.Canceled, err)
	require.Equal(t, "1", text(t, b), "the message was lost")

	ctx, cancel := context.WithCancel(context.Background())
	result := outcome(t, "Receive", func() error { _, err := b.Receive(ctx); return err })
	until(t, b, "somebody reads", func() bool { return b.reading })
	cancel()
	require.Equal(t, context.Canceled, result())
	send(t, a, 2)
	require.Equal(t, "2", text(t, b))

	ctx, cancel = context.WithCancel(context.Background())
	result = outcome(t, "Messages", func() (last error) {
		for _, err := range b.Messages(ctx) {
			last = err
		}
		return last
	})
	until(t, b, "somebody reads", func() bool { return b.reading })
	cancel()
	require.Equal(t, context.Canceled, result())
	require.ErrorIs(t, b.Send(ctx, 3), context.Canceled)
	send(t, b, "none is lost, and this is the first to come")
	require.Contains(t, text(t, a), "the first")
}

// Receives that end at any moment, with messages coming all the time: each is received once, in order.
func TestShortTimeoutsLoseNothing(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "echo.js")
	const n = 3000
	ctx := limited(t)
	sent := outcome(t, "the sends", func() error {
		for i := range n {
			if err := p.Send(ctx, i); err != nil {
				return err
			}
			if i%7 == 0 {
				if err := p.Flush(ctx); err != nil {
					return err
				}
			}
		}
		return nil
	})
	timeouts := 0
	for i := 0; i < n; {
		short, cancel := context.WithTimeout(ctx, time.Duration(timeouts%200)*time.Microsecond)
		m, err := p.Receive(short)
		cancel()
		if err != nil {
			require.Equal(t, context.DeadlineExceeded, err)
			require.NoError(t, ctx.Err())
			timeouts++
			continue
		}
		require.Equal(t, strconv.Itoa(i), string(m.Data))
		i++
	}
	require.NoError(t, sent())
	require.Positive(t, timeouts)
	t.Logf("%d timeouts", timeouts)
}

func TestMessagesLeftEarly(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "child_messages.js")
	ctx := limited(t)
	for m, err := range p.Messages(ctx) {
		require.NoError(t, err)
		require.Equal(t, `"ready"`, string(m.Data))
		break
	}
	for n, err := range Values[int](ctx, p.Channel) {
		require.NoError(t, err)
		require.Equal(t, 7, n)
		break
	}
	var rest []string
	for m, err := range p.Messages(ctx) {
		require.NoError(t, err)
		rest = append(rest, string(m.Data))
	}
	require.Equal(t, []string{"true", "null", "[1,2]"}, rest)
}

// Values that do not fit are told, and the loop goes on.
func TestValues(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "child_messages.js")
	var got []any
	for n, err := range Values[int](limited(t), p.Channel) {
		var bad *DecodeError
		if errors.As(err, &bad) {
			got = append(got, bad.Type)
			continue
		}
		require.NoError(t, err)
		got = append(got, n)
	}
	require.Equal(t, []any{"*int", 7, "*int", 0, "*int"}, got) // null leaves the zero value, as in encoding/json
}

// Each message goes to one of several that receive, by whatever means.
func TestManyReceivers(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "echo.js", "--count=4000")
	const n = 4000
	ctx := limited(t)
	var receiving sync.WaitGroup
	got := make([][]int, 4)
	for r := range got {
		receiving.Go(func() {
			if r%2 == 0 {
				for v, err := range Values[int](ctx, p.Channel) {
					if err != nil {
						t.Error(err)
						return
					}
					got[r] = append(got[r], v)
				}
				return
			}
			for {
				m, err := p.Receive(ctx)
				if err == io.EOF {
					return
				}
				var v int
				if err == nil {
					err = m.Decode(&v)
				}
				if err != nil {
					t.Error(err)
					return
				}
				got[r] = append(got[r], v)
			}
		})
	}
	for i := range n {
		send(t, p.Channel, i)
	}
	receiving.Wait()
	seen := make([]int, n)
	for _, list := range got {
		for i, v := range list {
			seen[v]++
			if i > 0 && v <= list[i-1] {
				t.Fatalf("one receiver got %d after %d", v, list[i-1])
			}
		}
	}
	for v, times := range seen {
		if times != 1 {
			t.Fatalf("message %d was received %d times", v, times)
		}
	}
}

// ------------------------------------------------------------------------------------------- Close and Disconnect

func TestCloseInTheLoop(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	p.send("1\n2\n3\n")
	var got []string
	var last error
	for m, err := range c.Messages(limited(t)) {
		if last = err; err != nil {
			break
		}
		got = append(got, string(m.Data))
		require.NoError(t, c.Send(limited(t), "bye"))
		require.NoError(t, c.Close())
	}
	require.Equal(t, []string{"1"}, got, "unread messages are dropped")
	require.Equal(t, ErrClosed, last)
	require.Equal(t, `"bye"`, p.line())
	p.end()
}

func TestDisconnectInTheLoop(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	p.send("1\n2\n3\n")
	var got []string
	for m, err := range c.Messages(limited(t)) {
		require.NoError(t, err)
		got = append(got, string(m.Data))
		if len(got) == 1 {
			require.NoError(t, c.Send(limited(t), "bye"))
			require.NoError(t, c.Disconnect(limited(t)))
			require.ErrorIs(t, c.Send(limited(t), "too late"), ErrDisconnected)
		}
	}
	require.Equal(t, []string{"1", "2", "3"}, got, "what had arrived is still received")
	require.Equal(t, io.EOF, c.Err())
	require.NoError(t, c.Disconnect(limited(t)))
	require.Equal(t, `"bye"`, p.line())
	p.end()
}

// A real Node sees a disconnect, and ends.
func TestNodeChildSeesDisconnect(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, c *Channel) error{
		"Disconnect": func(t *testing.T, c *Channel) error { return c.Disconnect(limited(t)) },
		"Close":      func(t *testing.T, c *Channel) error { return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startNode(t, nil, "-e", `
				process.on('message', (m) => console.error('got ' + m));
				process.on('disconnect', () => console.error('disconnected'));`)
			send(t, p.Channel, "the last word")
			require.NoError(t, end(t, p.Channel))
			require.NoError(t, p.wait())
			require.Equal(t, "got the last word\ndisconnected\n", p.stderr.String())
		})
	}
}

func TestEndInInternal(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*Channel) error
		want []string
		err  error
	}{
		"Close":      {(*Channel).Close, nil, ErrClosed},
		"Disconnect": {func(c *Channel) error { return c.Disconnect(context.Background()) }, []string{"1", "2", "3"}, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p, conn := rawSockets(t)
			w := newWire(t)
			p.send("1\n" + `{"cmd":"NODE_X","n":1}` + "\n2\n" + `{"cmd":"NODE_X","n":2}` + "\n")
			p.sendFD(frame(NetSocket, "3")+"\n", fdOf(t, w.here))
			var calls atomic.Int32
			var c *Channel
			ready, release := make(chan struct{}), make(chan struct{})
			c = New(conn, &Options{Internal: func(m *Message) {
				<-ready
				calls.Add(1)
				assert.NoError(t, test.end(c))
				<-release
			}})
			close(ready)
			ended(t, c.Done(), "Done")
			var got []string
			last := outcome(t, "the messages", func() error {
				for {
					m, err := c.Receive(limited(t))
					if err != nil {
						return err
					}
					m.Handle.Close()
					got = append(got, string(m.Data))
				}
			})
			// The messages before this one are still with the goroutine that calls Internal.
			until(t, c, "somebody receives", func() bool { return c.receives > 0 })
			close(release)
			require.Equal(t, test.err, last())
			require.Equal(t, test.want, got)
			require.EqualValues(t, 1, calls.Load(), "Internal was called after the end")
			p.end()
		})
	}
}

// Close ends calls that wait, with ErrClosed.
func TestCloseEndsWaitingCalls(t *testing.T) {
	for _, test := range []struct {
		name    string
		call    func(t *testing.T, c *Channel) error
		waiting func(c *Channel) bool
	}{
		{"Receive", func(t *testing.T, c *Channel) error {
			_, err := c.Receive(limited(t))
			return err
		}, func(c *Channel) bool { return c.receives > 0 && c.reading }},
		{"Send", func(t *testing.T, c *Channel) error {
			for {
				if err := c.Send(limited(t), strings.Repeat("x", 100<<10)); err != nil {
					return err
				}
			}
		}, func(c *Channel) bool { return c.pending >= maxPending }},
		{"Flush", func(t *testing.T, c *Channel) error {
			if err := c.Send(limited(t), strings.Repeat("x", 10<<20)); err != nil {
				return err
			}
			return c.Flush(limited(t))
		}, func(c *Channel) bool { return c.pending >= maxPending }},
		{"SendHandle", func(t *testing.T, c *Channel) error {
			w := newWire(t)
			return c.SendHandle(limited(t), 1, w.here)
		}, func(c *Channel) bool { return c.hand.first() != nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			c, _ := raw(t, nil) // a peer that neither reads nor answers
			result := outcome(t, test.name, func() error { return test.call(t, c) })
			until(t, c, test.name+" waits", func() bool { return test.waiting(c) })
			closing := outcome(t, "Close", c.Close)
			require.ErrorIs(t, result(), ErrClosed)
			if err := closing(); test.name == "Send" || test.name == "Flush" {
				require.ErrorIs(t, err, ErrClosed, "what was not written is told")
			} else {
				require.NoError(t, err)
			}
		})
	}
}

// Disconnect lets what was sent go out, and then ends calls that wait.
func TestDisconnectEndsWaitingCalls(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	receiving := outcome(t, "Receive", func() error { _, err := c.Receive(limited(t)); return err })
	until(t, c, "Receive waits", func() bool { return c.receives > 0 && c.reading })
	sent := 0
	big := strings.Repeat("x", 100<<10)
	sending := outcome(t, "Send", func() error {
		for ; ; sent++ {
			if err := c.Send(limited(t), big); err != nil {
				return err
			}
		}
	})
	until(t, c, "Send waits", func() bool { return c.pending >= maxPending })

	short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	require.Equal(t, context.DeadlineExceeded, c.Disconnect(short), "the peer does not read")
	cancel()
	select {
	case <-c.Done():
		t.Fatal("a Disconnect that was given up ended the channel")
	default:
	}
	disconnecting := outcome(t, "Disconnect", func() error { return c.Disconnect(limited(t)) })
	var all []string
	for p.read() {
	}
	require.NoError(t, disconnecting())
	require.ErrorIs(t, sending(), ErrDisconnected)
	require.Equal(t, io.EOF, receiving())
	all = strings.Split(strings.TrimSuffix(string(p.in), "\n"), "\n")
	require.Len(t, all, sent)
	for _, line := range all {
		require.Equal(t, len(big)+2, len(line))
	}
}

// What is logged may be sent over the channel that it is about: nothing is logged under a lock.
func TestLoggerMayUseTheChannel(t *testing.T) {
	testkit.CheckLeaks(t)
	p, conn := rawSockets(t)
	w := newWire(t)
	logger := &channelLogger{ready: make(chan struct{})}
	c := New(conn, &Options{Logger: slog.New(logger), Overflow: DropOldest, Backlog: 1})
	defer c.Close()
	logger.c = c
	close(logger.ready)
	logs := func(want string) { // among the answers
		t.Helper()
		for !strings.Contains(p.line(), want) {
		}
	}
	for _, test := range []struct{ input, want string }{
		{ack, "was not sent"},
		{frame(NetSocket, "1"), "did not arrive"},
		{"1\n1\n1", "are dropped"},
		{`{"cmd":"NODE_UNKNOWN"}`, "ignored"},
	} {
		p.send(test.input + "\n")
		logs(test.want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, "h", w.here) })
	logs("NODE_HANDLE\"")
	cancel()
	require.ErrorIs(t, result(), ErrHandleUnconfirmed)
	for range maxTries - 1 {
		p.send(nack + "\n")
		logs("NODE_HANDLE\"")
	}
	p.send(nack + "\n")
	logs("unconfirmed handle failed")
}

type channelLogger struct {
	slog.Handler
	ready chan struct{}
	c     *Channel
}

func (l *channelLogger) Enabled(context.Context, slog.Level) bool { return true }
func (l *channelLogger) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *channelLogger) Handle(ctx context.Context, r slog.Record) error {
	<-l.ready
	l.c.ID()
	l.c.Err()
	return l.c.Send(context.Background(), r.Message)
}

func TestAfterClose(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	p.sendFD(frame(NetSocket, "1")+"\n", fdOf(t, w.here))
	require.Equal(t, ack, p.line())
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.NoError(t, c.Disconnect(limited(t)))
	ctx := limited(t)
	_, err := c.Receive(ctx)
	require.Equal(t, ErrClosed, err)
	for _, err := range c.Messages(ctx) {
		require.Equal(t, ErrClosed, err)
	}
	require.ErrorIs(t, c.Send(ctx, 1), ErrClosed)
	require.ErrorIs(t, c.SendHandle(ctx, 1, w.here), ErrClosed)
	require.ErrorIs(t, c.QueueHandle(1, w.here, func(error) { t.Error("done was called") }), ErrClosed)
	require.Equal(t, ErrClosed, c.Err())
	require.ErrorIs(t, c.Err(), net.ErrClosed)
	ended(t, c.Done(), "Done")
	p.end()
}

func TestAfterDisconnect(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	ctx := limited(t)
	require.NoError(t, c.Disconnect(ctx))
	require.NoError(t, c.Disconnect(ctx))
	noMore(t, c)
	for err := range map[error]bool{c.Send(ctx, 1): true, c.SendHandle(ctx, 1, w.here): true, c.QueueHandle(1, w.here, nil): true} {
		require.ErrorIs(t, err, ErrDisconnected)
		require.ErrorIs(t, err, net.ErrClosed)
	}
	require.Equal(t, io.EOF, c.Err())
	require.NoError(t, c.Close())
	_, err := c.Receive(ctx)
	require.Equal(t, ErrClosed, err)
	p.end()
}

// Many calls at once while the channel is closed: all of them end.
func TestCloseUnderLoad(t *testing.T) {
	testkit.CheckLeaks(t)
	for range 10 {
		a, b, err := Pipe(nil)
		require.NoError(t, err)
		w := newWire(t)
		ctx := limited(t)
		var all sync.WaitGroup
		var traffic atomic.Int64
		for _, c := range []*Channel{a, b} {
			for range 2 {
				all.Go(func() {
					for {
						if _, err := c.Receive(ctx); err != nil {
							if err != io.EOF && err != ErrClosed {
								t.Errorf("Receive: %v", err)
							}
							return
						}
						traffic.Add(1)
					}
				})
				all.Go(func() {
					for {
						if err := c.Send(ctx, "message"); err != nil {
							if !errors.Is(err, net.ErrClosed) {
								t.Errorf("Send: %v", err)
							}
							return
						}
					}
				})
			}
			all.Go(func() {
				for {
					if err := c.SendHandle(ctx, "handle", w.here); err != nil {
						if !errors.Is(err, net.ErrClosed) {
							t.Errorf("SendHandle: %v", err)
						}
						return
					}
				}
			})
		}
		for traffic.Load() < 100 {
			select {
			case <-a.Done():
				t.Fatalf("ended by itself: %v", a.Err())
			case <-time.After(100 * time.Microsecond):
			}
		}
		all.Go(func() { a.Close() })
		all.Go(func() { b.Close() })
		ended(t, finished(&all), "all calls to end")
	}
}

func finished(wg *sync.WaitGroup) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	return done
}

// ------------------------------------------------------------------------------------------- other connections

func TestNewOverOtherConnections(t *testing.T) {
	for name, connect := range map[string]func(t *testing.T) (net.Conn, net.Conn){
		"net.Pipe": func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() },
		"tcp": func(t *testing.T) (net.Conn, net.Conn) {
			w := tcpWire(t)
			w.here.SetDeadline(time.Time{})
			w.there.SetDeadline(time.Time{})
			return w.here, w.there
		},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			one, other := connect(t)
			a, b := New(one, nil), New(other, nil)
			defer a.Close()
			defer b.Close()
			ctx := limited(t)

			big := strings.Repeat("x", 3<<20)
			for _, v := range []string{"short", big, "short again"} {
				send(t, a, v)
				require.Equal(t, `"`+v+`"`, text(t, b))
				send(t, b, v)
				require.Equal(t, `"`+v+`"`, text(t, a))
			}
			const n = 2000
			sent := outcome(t, "the sends", func() error {
				for i := range n {
					if err := a.Send(ctx, i); err != nil {
						return err
					}
				}
				return a.Flush(ctx)
			})
			for i := range n {
				require.Equal(t, strconv.Itoa(i), text(t, b))
			}
			require.NoError(t, sent())

			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			_, err := b.Receive(short)
			cancel()
			require.Equal(t, context.DeadlineExceeded, err)
			send(t, a, "after the timeout")
			require.Equal(t, `"after the timeout"`, text(t, b))

			w := newWire(t)
			err = a.SendHandle(ctx, 1, w.here)
			require.ErrorContains(t, err, "nodeipc: send handle: ")
			require.ErrorContains(t, err, "carries no descriptors")
			send(t, a, "after the handle")
			require.Equal(t, `"after the handle"`, text(t, b))

			last := outcome(t, "the last message", func() string { return text(t, b) })
			send(t, a, "last")
			require.NoError(t, a.Disconnect(ctx))
			require.Equal(t, `"last"`, last())
			noMore(t, b)
		})
	}
}

// A connection whose other end is not read blocks in a write of the kernel or of net.Pipe: Close ends it.
func TestCloseOverOtherConnections(t *testing.T) {
	testkit.CheckLeaks(t)
	one, other := net.Pipe()
	defer other.Close()
	a := New(one, nil)
	send(t, a, "nobody reads this")
	receiving := outcome(t, "Receive", func() error { _, err := a.Receive(context.Background()); return err })
	require.ErrorIs(t, a.Close(), ErrClosed)
	require.Equal(t, ErrClosed, receiving())
}

func TestNewOverUnixSocket(t *testing.T) {
	testkit.CheckLeaks(t)
	w := unixWire(t)
	w.here.SetDeadline(time.Time{})
	w.there.SetDeadline(time.Time{})
	a, b := New(w.here, nil), New(w.there, nil)
	defer a.Close()
	defer b.Close()
	c := newWire(t)
	require.NoError(t, a.SendHandle(limited(t), "with a handle", c.here))
	m, err := b.Receive(limited(t))
	require.NoError(t, err)
	conn, err := m.Handle.Conn()
	require.NoError(t, err)
	defer conn.Close()
	carries(t, conn, c.there)
}
