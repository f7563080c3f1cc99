//go:build linux

package nodeipc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// ------------------------------------------------------------------------------------------- what Node itself may say

func init() {
	roles["hostile-ask"] = func() error {
		ch, err := Connect(nil)
		if err != nil {
			return err
		}
		defer ch.Close()
		return askForUnsolicited(ch)
	}
}

// askForUnsolicited makes hostile_peer.js say what nobody asked for, and then does something useful with it.
func askForUnsolicited(c *Channel) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	for range 3 {
		if err := c.Send(ctx, map[string]string{"do": "unsolicited"}); err != nil {
			return err
		}
		m, err := c.Receive(ctx)
		if err != nil || string(m.Data) != `"done"` {
			return fmt.Errorf("instead of done: %v, %w", m, err)
		}
		if err := c.SendHandle(ctx, "h", ln); err != nil {
			return err
		}
		m, err = c.Receive(ctx)
		if err != nil || string(m.Data) != `"\"h\" with Server"` {
			return fmt.Errorf("instead of the answer to a handle: %v, %w", m, err)
		}
	}
	return c.Disconnect(ctx)
}

// A real Node that sends answers to nothing, and internal messages that mean nothing, as child and as parent.
func TestUnsolicitedFromNode(t *testing.T) {
	t.Run("child", func(t *testing.T) {
		testkit.CheckLeaks(t)
		p := startNode(t, nil, "hostile_peer.js")
		require.NoError(t, askForUnsolicited(p.Channel))
		require.NoError(t, p.wait())
	})
	t.Run("parent", func(t *testing.T) {
		testkit.CheckLeaks(t)
		bin, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(testkit.Node(t), testkit.Fixture("hostile_peer.js"), bin)
		cmd.Env = append(os.Environ(), envRole+"=hostile-ask", quickExit)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
}

// ------------------------------------------------------------------------------------------- peers that die

// A real Node child dies at each moment of a handle's dialogue: what waits ends, the outcome is what can be known, and
// nobody keeps the socket.
func TestNodeDiesWithHandle(t *testing.T) {
	for _, test := range []struct {
		when string
		ours func(t *testing.T, err error)
	}{
		{"before", func(t *testing.T, err error) { require.ErrorIs(t, err, ErrHandleUnconfirmed) }},
		{"after", func(t *testing.T, err error) { require.NoError(t, err) }},
		{"delivered", func(t *testing.T, err error) { require.NoError(t, err) }},
	} {
		t.Run(test.when, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startNode(t, nil, "hostile_peer.js")
			ctx := limited(t)
			w := tcpWire(t)
			send(t, p.Channel, map[string]string{"do": "die", "when": test.when})
			require.Equal(t, `"object of 2"`, text(t, p.Channel))

			// More waits behind it: it fails, and is told so once.
			const handles = 4
			var outcomes [handles]chan error
			for i := range handles {
				outcomes[i] = make(chan error, 2)
				h := any(w.here)
				if i > 0 {
					h = newWire(t).here
				}
				err := p.QueueHandle(i, h, func(err error) { outcomes[i] <- err })
				if i == 0 {
					require.NoError(t, err)
				} else if err != nil {
					outcomes[i] <- err // it was that quick
				}
				p.Send(ctx, "behind it")
			}
			for i := range handles {
				select {
				case err := <-outcomes[i]:
					if i == 0 {
						test.ours(t, err)
					} else {
						require.Error(t, err)
					}
				case <-ctx.Done():
					t.Fatal("done was not called")
				}
			}
			ended(t, p.Done(), "Done")
			require.ErrorIs(t, p.Send(ctx, 1), ErrDisconnected)
			require.ErrorIs(t, p.SendHandle(ctx, 1, w.here), ErrDisconnected)
			for {
				if _, err := p.Receive(ctx); err != nil {
					require.Equal(t, io.EOF, err)
					break
				}
			}
			require.Error(t, p.wait())
			require.NoError(t, w.here.Close())
			_, err := w.there.Read(make([]byte, 1))
			require.Error(t, err, "a copy is open somewhere")
			require.False(t, os.IsTimeout(err))
			for i := range handles {
				require.Empty(t, outcomes[i], "done was called again")
			}
		})
	}
}

// It dies with a part of a frame in its socket.
func TestNodeDiesWithPartOfAFrame(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "hostile_peer.js")
	ctx := limited(t)
	w := tcpWire(t)
	send(t, p.Channel, "first")
	require.Equal(t, `"\"first\""`, text(t, p.Channel))
	p.stop()
	result := outcome(t, "SendHandle", func() error { return p.SendHandle(ctx, strings.Repeat("x", 10<<20), w.here) })
	until(t, p.Channel, "a part is written", func() bool { return p.hand.first() != nil && len(p.cur) > 0 })
	require.NoError(t, p.cmd.Process.Kill())
	require.ErrorIs(t, result(), ErrHandleUnconfirmed)
	ended(t, p.Done(), "Done")
	// It waits for the write that may still be under way, whose end tells what was lost.
	require.ErrorIs(t, p.Disconnect(ctx), ErrDisconnected)
	require.ErrorIs(t, p.Err(), ErrDisconnected)
	require.NoError(t, w.here.Close())
	_, err := w.there.Read(make([]byte, 1))
	require.Error(t, err)
	require.False(t, os.IsTimeout(err))
}

// ------------------------------------------------------------------------------------------- peers that stop

// stop stops the process, and waits until it has.
func (p *process) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(unix.SIGSTOP))
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		require.NoError(p.t, err)
		if _, rest, _ := bytes.Cut(stat, []byte(") ")); rest[0] == 'T' {
			return
		}
		require.True(p.t, time.Now().Before(deadline), "it does not stop")
	}
}

func (p *process) goOn() { require.NoError(p.t, p.cmd.Process.Signal(unix.SIGCONT)) }

// A real Node child that stops makes calls wait, as long as their contexts allow, and nothing is lost when it goes on.
func TestNodeStopsAndGoesOn(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "hostile_peer.js")
	ctx := limited(t)
	send(t, p.Channel, "first")
	require.Equal(t, `"\"first\""`, text(t, p.Channel))
	p.stop()
	n := 0
	var err error
	for big := strings.Repeat("x", 50000); ; n++ {
		if err = p.Send(shortly(t), big); err != nil {
			break
		}
		require.Less(t, n, 1000, "it is all taken")
	}
	require.ErrorIs(t, err, context.DeadlineExceeded)
	w := newWire(t)
	err = p.SendHandle(shortly(t), "given up", w.here)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, ErrHandleUnconfirmed)
	require.ErrorIs(t, p.Flush(shortly(t)), context.DeadlineExceeded)
	_, err = p.Receive(shortly(t))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, p.Err())

	p.goOn()
	for range n {
		require.Equal(t, `"string of 50000"`, text(t, p.Channel))
	}
	require.NoError(t, p.SendHandle(ctx, "h", w.here))
	require.Equal(t, `"\"h\" with Socket"`, text(t, p.Channel))

	// With a handle on its way, which it gets when it goes on.
	p.stop()
	err = p.SendHandle(shortly(t), "unconfirmed", w.here)
	require.ErrorIs(t, err, ErrHandleUnconfirmed)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	send(t, p.Channel, "behind it")
	require.ErrorIs(t, p.Flush(shortly(t)), context.DeadlineExceeded)
	require.ErrorIs(t, p.Disconnect(shortly(t)), context.DeadlineExceeded)
	p.goOn()
	require.ElementsMatch(t, []string{`"\"unconfirmed\" with Socket"`, `"\"behind it\""`}, []string{text(t, p.Channel), text(t, p.Channel)})
	require.NoError(t, p.Disconnect(ctx))
	require.NoError(t, p.wait())
}

// While it is stopped, Close ends everything that waits, soon; and so does its death.
func TestNodeStopsForGood(t *testing.T) {
	for _, end := range []string{"Close", "death"} {
		for _, what := range []string{"a handle", "a lot"} {
			t.Run(end+", "+what, func(t *testing.T) {
				testkit.CheckLeaks(t)
				p := startNode(t, nil, "hostile_peer.js")
				ctx := limited(t)
				send(t, p.Channel, "first")
				require.Equal(t, `"\"first\""`, text(t, p.Channel))
				p.stop()
				w := newWire(t)
				if what == "a lot" {
					send(t, p.Channel, strings.Repeat("x", 1<<20)) // more than may be pending
				}
				handle := outcome(t, "SendHandle", func() error { return p.SendHandle(ctx, "h", w.here) })
				if what == "a handle" {
					until(t, p.Channel, "it is on its way", func() bool { return p.hand.first() != nil })
					send(t, p.Channel, "behind it")
				}
				calls := []func() error{
					handle,
					outcome(t, "Flush", func() error { return p.Flush(ctx) }),
					outcome(t, "Receive", func() error { _, err := p.Receive(ctx); return err }),
					outcome(t, "Send", func() error {
						for {
							if err := p.Send(ctx, strings.Repeat("x", 50000)); err != nil {
								return err
							}
						}
					}),
				}
				until(t, p.Channel, "Send waits", func() bool { return p.pending >= maxPending && p.wake != nil })
				if end == "Close" {
					begun := time.Now()
					err := p.Close()
					require.Less(t, time.Since(begun), patience/2)
					require.ErrorContains(t, err, "were not written")
				} else {
					require.NoError(t, p.cmd.Process.Kill())
				}
				for _, call := range calls {
					require.Error(t, call())
				}
				ended(t, p.Done(), "Done")
			})
		}
	}
}

// ------------------------------------------------------------------------------------------- peers that are slow, or half there

// All of a dialogue a byte at a time, in both directions.
func TestByteByByte(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	lines := []string{`{"text":"gr\u00fc\u00dfe, 你好 \ud83d\ude00"}`, "\"你好 😀 \xff\"", " [ 1 , { } ] \r", frame(NetSocket, `"你"`), ack, `{"cmd":"NODE_X"}`, "null"}
	for _, line := range lines {
		for i, b := range []byte(line + "\n") {
			if i == 0 && strings.Contains(line, "net.Socket") {
				p.sendFD(string([]byte{b}), fdOf(t, w.here))
			} else {
				p.send(string([]byte{b}))
			}
			require.True(t, p.wasRead())
		}
	}
	for _, want := range []string{lines[0], lines[1], lines[2], `"你"`, "null"} {
		m, err := c.Receive(limited(t))
		require.NoError(t, err)
		require.Equal(t, want, string(m.Data))
		m.Handle.Close()
	}
	sent := outcome(t, "the sends", func() error {
		for range 5 {
			if err := c.Send(context.Background(), strings.Repeat("你", 5000)); err != nil {
				return err
			}
		}
		return c.SendHandle(context.Background(), "h", w.here)
	})
	var got []byte
	oob := make([]byte, unix.CmsgSpace(4))
	for !bytes.HasSuffix(got, []byte(ourFrame(NetSocket, `"h"`)+"\n")) {
		b := make([]byte, 1)
		n, oobn, _, _, err := unix.Recvmsg(p.fd, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		require.NoError(t, err)
		require.Equal(t, 1, n)
		if oobn > 0 {
			messages, err := unix.ParseSocketControlMessage(oob[:oobn])
			require.NoError(t, err)
			fds, err := unix.ParseUnixRights(&messages[0])
			require.NoError(t, err)
			p.fds = append(p.fds, fds...)
		}
		got = append(got, b...)
	}
	p.send(ack + "\n")
	require.NoError(t, sent())
	want := ack + "\n" + strings.Repeat(`"`+strings.Repeat("你", 5000)+"\"\n", 5) + ourFrame(NetSocket, `"h"`) + "\n"
	require.True(t, want == string(got), "something else came")
	p.handle()
}

// A peer that still sends but takes nothing any more: our sends fail, and what it sends is received.
func TestPeerThatShutsItsReading(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	require.NoError(t, unix.Shutdown(p.fd, unix.SHUT_RD))
	p.send("1\n")
	p.sendFD(frame(NetSocket, "2")+"\n", fdOf(t, w.here)) // whose ACK cannot be sent
	p.send("3\n")
	for _, want := range []string{"1", "2", "3"} {
		m, err := c.Receive(limited(t))
		require.NoError(t, err)
		require.Equal(t, want, string(m.Data))
		m.Handle.Close()
	}
	err := c.Send(limited(t), "lost")
	if err == nil {
		err = c.Flush(limited(t))
	}
	require.ErrorIs(t, err, ErrDisconnected)
	require.ErrorIs(t, c.SendHandle(limited(t), "lost", w.here), ErrDisconnected)
	p.send("4\n")
	require.Equal(t, "4", text(t, c))
	p.close()
	noMore(t, c)
}

// What a real Node child does when its parent closes one half: without input it disconnects, without output it ends by
// an error that its program does not listen for.
func TestHalfClosedParentOfNode(t *testing.T) {
	for how, dies := range map[int]bool{unix.SHUT_WR: false, unix.SHUT_RD: true} {
		t.Run(map[int]string{unix.SHUT_WR: "writing", unix.SHUT_RD: "reading"}[how], func(t *testing.T) {
			testkit.CheckLeaks(t)
			cmd := nodeCommand(t, testkit.Fixture("hostile_peer.js"))
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			p, exited := rawParent(t, cmd)
			_, well := p.play(nil)
			require.True(t, well)
			require.NoError(t, unix.Shutdown(p.fd, how))
			if dies {
				p.send("1\n")
			}
			err := exited()
			require.Equal(t, dies, err != nil)
			require.Equal(t, dies, strings.Contains(stderr.String(), "EPIPE"), stderr.String())
		})
	}
}
