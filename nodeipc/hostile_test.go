//go:build unix

package nodeipc

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// Input that no Node sends ends the channel with a typed error. What came before it is still received, and what came
// behind it, descriptors included, is gone.
func TestBadInput(t *testing.T) {
	const limit = 1000
	protocol := func(t *testing.T, err error) {
		var bad *ProtocolError
		require.ErrorAs(t, err, &bad)
		require.ErrorContains(t, err, "nodeipc: protocol violation by the peer: ")
	}
	tooBig := func(t *testing.T, err error) {
		require.ErrorIs(t, err, ErrMessageTooBig)
		require.ErrorContains(t, err, "1000")
	}
	long := strings.Repeat("x", limit-1) // with its quotes one byte too much
	for _, test := range []struct {
		name, input string
		check       func(t *testing.T, err error)
	}{
		{"garbage", "garbage\n", protocol},
		{"empty line", "\n", protocol},
		{"white space", " \t\r\n", protocol},
		{"BOM", "\xef\xbb\xbf1\n", protocol},
		{"NUL", "\x00\n", protocol},
		{"two values in a line", "1 2\n", protocol},
		{"undefined", "undefined\n", protocol},
		{"NaN", "NaN\n", protocol},
		{"single quotes", "'text'\n", protocol},
		{"trailing comma", "[1,]\n", protocol},
		{"half an object", "{\"a\":\n", protocol},
		{"control character in a string", "\"a\tb\"\n", protocol},
		{"leading zero", "01\n", protocol},
		{"bad escape", `"\x41"` + "\n", protocol},
		{"deep and broken", strings.Repeat("[", limit) + "\n", protocol},
		{"HTTP", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", protocol},
		{"half a frame", `{"cmd":"NODE_HANDLE"` + "\n", protocol},
		{"frame wrapped without end", strings.Repeat(`{"cmd":"NODE_HANDLE","msg":`, 20) + "1" + strings.Repeat("}", 20) + "\n", protocol},
		{"too big", `"` + long + `"` + "\n", tooBig},
		{"too big, and not done", `"` + long + long, tooBig},
		{"too big for an internal message", `{"cmd":"NODE_X","pad":"` + long + `"}` + "\n", tooBig},
	} {
		t.Run(test.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			c, p := raw(t, &Options{MaxMessage: limit})
			w := newWire(t)
			fits := `"` + long[1:] + `"`
			p.send("1\n" + fits + "\n")
			p.sendFD(test.input, fdOf(t, w.here)) // a descriptor that no frame claims
			if strings.HasSuffix(test.input, "\n") {
				p.write([]byte("\"behind it\"\n")) // fails when the other side is that quick
			}
			require.Equal(t, "1", text(t, c))
			require.Equal(t, fits, text(t, c))
			_, err := c.Receive(limited(t))
			test.check(t, err)
			require.Equal(t, err, c.Err())
			ended(t, c.Done(), "Done")
			_, again := c.Receive(limited(t))
			require.Equal(t, err, again)
			require.ErrorIs(t, c.Send(limited(t), 1), ErrDisconnected)
			require.Equal(t, err, c.Disconnect(limited(t)))
			p.end()
		})
	}
}

// What the error says of the input is short and harmless to print.
func TestProtocolErrorSample(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	p.send("\x1b[2Jbad" + strings.Repeat("!", 10000) + "\n")
	_, err := c.Receive(limited(t))
	require.ErrorContains(t, err, `"\x1b[2Jbad!!!`)
	require.Less(t, len(err.Error()), 250)
}

// Odd input that Node takes, and so do we.
func TestOddInput(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	deep := strings.Repeat("[", 100000) + strings.Repeat("]", 100000)
	for input, want := range map[string]string{
		" \t1\r":               " \t1\r",
		deep:                   deep,
		`{"a":1,"a":2}`:        `{"a":1,"a":2}`,
		`"\ud800"`:             `"\ud800"`,
		`{"__proto__":1}`:      `{"__proto__":1}`,
		"\"\u2028\"":           "\"\u2028\"",
		"1e400":                "1e400",
		"-0":                   "-0",
		"\"\xc0\x80\xed\xa0\"": "\"\xc0\x80\xed\xa0\"",
	} {
		p.send(input + "\n")
		require.Equal(t, want, text(t, c))
	}
}

// A line that was not finished is dropped at the end, as in Node.
func TestHalfALineAtTheEnd(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	p.send("1\n")
	p.sendFD(`{"cmd":"NODE_HANDLE","type":"net.Socket"`, fdOf(t, w.here))
	p.close()
	require.Equal(t, "1", text(t, c))
	noMore(t, c)
	require.Equal(t, io.EOF, c.Err())
}

// A peer that only stops sending has disconnected, for Node and for us.
func TestHalfClosedPeer(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	p.send("1\n")
	require.NoError(t, unix.Shutdown(p.fd, unix.SHUT_WR))
	require.Equal(t, "1", text(t, c))
	noMore(t, c)
	ended(t, c.Done(), "Done")
	p.end()
}

// A peer that goes away with our messages unread resets the connection: an orderly end all the same.
func TestResetIsTheEnd(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	p.send("1\n")
	send(t, c, "never read")
	p.close()
	require.Equal(t, "1", text(t, c))
	noMore(t, c)
	require.Equal(t, io.EOF, c.Err())
}

// Descriptors that belong to nothing are not hoarded.
func TestDescriptorsWithoutEnd(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	fds := make([]int, 50)
	for i := range fds {
		fds[i] = fdOf(t, w.here)
	}
	p.sendFD("1\n", fds...)
	require.Equal(t, "1", text(t, c))
	p.sendFD("2\n", fds...)
	require.Equal(t, "2", text(t, c))
	_, err := c.Receive(limited(t))
	var bad *ProtocolError
	require.ErrorAs(t, err, &bad)
	require.ErrorContains(t, err, "100 descriptors")
	p.end()
}

// A peer that asks and asks without reading the answers does not fill the memory.
func TestPeerThatDoesNotReadAnswers(t *testing.T) {
	for name, question := range map[string]string{
		"lost handles":  frame(NetSocket, "1") + "\n",
		"socket counts": `{"cmd":"NODE_SOCKET_GET_COUNT","key":"4:127.0.0.1:0"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			c, p := raw(t, &Options{Backlog: 1 << 30})
			many := []byte(strings.Repeat(question, 1000))
			for p.write(many) == nil {
			}
			ended(t, c.Done(), "Done")
			require.ErrorIs(t, c.Err(), ErrPeerNotReading)
			c.mu.Lock()
			defer c.mu.Unlock()
			require.Less(t, cap(c.out)+cap(c.cur), 2*maxReplies)
		})
	}
}

// The same for a program whose Internal answers all that comes.
func TestInternalThatAnswersWithoutEnd(t *testing.T) {
	testkit.CheckLeaks(t)
	p, conn := rawSockets(t)
	ready := make(chan struct{})
	var c *Channel
	var failed error
	c = New(conn, &Options{Internal: func(m *Message) {
		<-ready
		if err := c.Send(t.Context(), Internal{m}); err != nil && failed == nil {
			failed = err
			c.Close()
		}
	}})
	close(ready)
	many := []byte(strings.Repeat(`{"cmd":"NODE_X","pad":"`+strings.Repeat("x", 1000)+`"}`+"\n", 100))
	for p.write(many) == nil {
	}
	ended(t, c.Done(), "Done")
	require.ErrorIs(t, failed, ErrPeerNotReading)
}

// An answer that comes before the frame has gone out is for nothing.
func TestAnswerBeforeTheFrame(t *testing.T) {
	testkit.CheckLeaks(t)
	p, conn := rawSockets(t)
	n := fill(t, conn)
	c := New(conn, nil)
	defer c.Close()
	w := newWire(t)
	result := outcome(t, "SendHandle", func() error { return c.SendHandle(limited(t), "h", w.here) })
	// Not in the moment in which it is being tried: then an answer counts.
	until(t, c, "the frame waits", func() bool { return bytes.Contains(goroutines(), []byte("WaitWritable")) })
	p.send(ack + "\n" + nack + "\n1\n")
	require.Equal(t, "1", text(t, c))
	for range n {
		require.Equal(t, "0", p.line())
	}
	require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
	p.handle()
	p.send(ack + "\n")
	require.NoError(t, result())
	until(t, c, "nothing is pending", func() bool { return c.pending == 0 })
}

// Connections that fail in a way of their own.
func TestReadError(t *testing.T) {
	testkit.CheckLeaks(t)
	one, other := net.Pipe()
	defer other.Close()
	broken := errors.New("the line is dead")
	c := New(failingConn{one, broken}, nil)
	defer c.Close()
	_, err := c.Receive(limited(t))
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "nodeipc: read: ")
	require.ErrorIs(t, c.Err(), broken)
	require.ErrorIs(t, c.Disconnect(limited(t)), broken)
}

type failingConn struct {
	net.Conn
	err error
}

func (c failingConn) Read([]byte) (int, error) { return 0, c.err }

// A listening socket is no channel, but no reason to hang either.
func TestListenerIsNoChannel(t *testing.T) {
	testkit.CheckLeaks(t)
	cmd := self(t, "connect")
	ln, err := net.Listen("unix", t.TempDir()+"/s")
	require.NoError(t, err)
	defer ln.Close()
	f, err := ln.(*net.UnixListener).File()
	require.NoError(t, err)
	defer f.Close()
	cmd.Env = append(cmd.Env, "NODE_CHANNEL_FD=3")
	cmd.ExtraFiles = []*os.File{f}
	out, err := cmd.CombinedOutput()
	assert.Contains(t, string(out), "nodeipc: ", "%v", err)
	assert.NotContains(t, string(out), "panic")
}
