//go:build unix

package nodeipc

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A large message of the program's own under way is no reason not to answer the peer.
func TestAnswersBesideALargeMessage(t *testing.T) {
	testkit.CheckLeaks(t)
	answered := make(chan error, 1)
	var c *Channel
	ready := make(chan struct{})
	c, p := raw(t, &Options{Internal: func(*Message) {
		<-ready
		answered <- c.Send(context.Background(), Internal{map[string]string{"cmd": "NODE_CLUSTER"}})
	}})
	big := strings.Repeat("x", 5<<20)
	send(t, c, big) // the peer does not read yet
	close(ready)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	p.sendFD(frame(NetServer, "1")+"\n", fdOf(t, ln))
	p.send(`{"cmd":"NODE_CLUSTER"}` + "\n")
	require.NoError(t, <-answered)
	m, err := c.Receive(limited(t))
	require.NoError(t, err)
	require.NoError(t, m.Handle.Close())
	require.Equal(t, `"`+big+`"`, p.line())
	require.Equal(t, `{"cmd":"NODE_HANDLE_ACK"}`, p.line())
	require.Equal(t, `{"cmd":"NODE_CLUSTER"}`, p.line())
}

// A Send that waits for room gets it when a message in front of it is withdrawn.
func TestWithdrawnHandleMakesRoom(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	reader := outcome(t, "the receiver", func() error { _, err := c.Receive(context.Background()); return err })
	until(t, c, "somebody reads", func() bool { return c.reading })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	require.NoError(t, c.QueueHandle(1, ln, nil)) // the peer does not answer
	ctx, cancel := context.WithCancel(context.Background())
	queued := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, strings.Repeat("x", 300<<10), ln) })
	until(t, c, "the handle waits", func() bool { return len(c.hand.queue) == 1 })
	sent := outcome(t, "Send", func() error { return c.Send(limited(t), "x") })
	until(t, c, "Send waits", func() bool { return c.wake != nil })
	cancel()
	require.ErrorIs(t, queued(), context.Canceled)
	require.NoError(t, sent())
	require.Contains(t, p.line(), "NODE_HANDLE")
	require.ErrorIs(t, c.Close(), ErrClosed) // "x" waits behind the handle for ever
	require.ErrorIs(t, reader(), ErrClosed)
}

// The backlog counts what a message keeps alive: lines in the same block that nobody gets, too.
func TestBacklogCountsWhatIsKept(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, &Options{Backlog: 1 << 20})
	ignored := `{"cmd":"NODE_X","pad":"` + strings.Repeat("z", 62<<10) + `"}`
	flood := outcome(t, "the flood", func() error {
		for range 1000 {
			if err := p.write([]byte("1\n" + ignored + "\n")); err != nil {
				return nil // the channel was closed
			}
		}
		t.Error("60 MB were read although nobody receives")
		return nil
	})
	until(t, c, "reading pauses", func() bool { return c.paused })
	c.mu.Lock()
	require.Less(t, c.queue.len(), 40)
	c.mu.Unlock()
	require.NoError(t, c.Close())
	flood()
}

// A short line after a long one gets a short block.
func TestBlockAfterALongLine(t *testing.T) {
	r := &frameReader{max: -1}
	feed := func(text string) (lines [][]byte) {
		for len(text) > 0 {
			n := copy(r.space(), text)
			r.took(n)
			text = text[n:]
			for line, ok := r.next(); ok; line, ok = r.next() {
				lines = append(lines, line)
			}
		}
		return lines
	}
	require.Len(t, feed(strings.Repeat("z", 16<<20)+"\n"), 1)
	require.Empty(t, feed(strings.Repeat("z", 50<<10)))
	require.Len(t, feed("\n"), 1)
	require.LessOrEqual(t, len(r.buf), 4*blockSize)
}
