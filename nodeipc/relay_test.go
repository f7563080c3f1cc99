//go:build unix

package nodeipc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// relay passes on what from receives until it ends, or to does.
func relay(ctx context.Context, from, to *Channel) error {
	for {
		m, err := from.Receive(ctx)
		if err != nil {
			return err
		}
		if m.Handle != nil {
			err = to.SendHandle(ctx, m, m.Handle)
			m.Handle.Close()
		} else {
			err = to.Send(ctx, m)
		}
		if err != nil {
			return err
		}
	}
}

// relayed returns two peers with a relay between them, and the outcome of its two directions.
func relayedPeers(t *testing.T, opts Options) (left, right *rawPeer, ends func() []error) {
	opts.Relay = true
	a, left := raw(t, &opts)
	b, right := raw(t, &opts)
	ctx := limited(t)
	var errs [2]error
	done := outcome(t, "the relay", func() []error {
		var wg sync.WaitGroup
		wg.Go(func() { errs[0] = relay(ctx, a, b); b.Disconnect(ctx) })
		wg.Go(func() { errs[1] = relay(ctx, b, a); a.Disconnect(ctx) })
		wg.Wait()
		return errs[:]
	})
	return left, right, done
}

// What comes in goes out byte for byte, whatever it is, and with its handle; only acknowledgements are each hop's own.
func TestRelay(t *testing.T) {
	testkit.CheckLeaks(t)
	left, right, ends := relayedPeers(t, Options{})
	w := newWire(t)
	fd := fdOf(t, w.here)
	for _, peers := range [][2]*rawPeer{{left, right}, {right, left}} {
		from, to := peers[0], peers[1]
		for _, line := range []string{
			`"text"`, ` { "b" : 1, "a":1e3 , "b":2 } `, "[1,\r]", `"\ud800 \u0041/"`, "\"not UTF-8: \xff\xc0\"", `{"cmd":"NODE_"}`,
			"", "  ", "\ufeff1", "garbage", `{"a":`, // which end a Node peer, and are its own business
			`{"cmd":"NODE_CLUSTER","act":"online","seq":0}`, `{"cmd":"NODE_SOCKET_GET_COUNT","key":"4:127.0.0.1:0"}`,
			`{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"k"}`, `{"cmd":"NODE_SOCKET_COUNT","key":"k","count":1}`, `{"cmd":"NODE_WHATEVER"}`,
			`"` + strings.Repeat("long ", 50_000) + `"`,
		} {
			sent := make(chan error, 1)
			go func() { sent <- from.write([]byte(line + "\n")) }()
			require.Equal(t, line, to.line())
			require.NoError(t, <-sent)
		}
		for _, line := range []string{
			frame(NetSocket, `"s"`),
			` {"msg" : {"a":[ ]}, "type":"net.Server","cmd":"NODE_HANDLE", "other": 1}`,
			`{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"m","key":"4:127.0.0.1:0"}`,
			`{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"k","seq":1}}`,
			`{"cmd":"NODE_HANDLE","type":"dgram.Socket","msg":"a stream as a dgram.Socket","dgramType":"udp4"}`,
			`{"cmd":"NODE_HANDLE","type":"never heard of"}`,
			frame(NetSocket, `"`+strings.Repeat("long ", 10_000)+`"`),
		} {
			from.sendFD(line+"\n\"behind\"\n", fd)
			require.Equal(t, ack, from.line(), "before anybody else has it")
			require.Equal(t, line, to.line())
			require.Equal(t, inode(t, fd), inode(t, to.handle()))
			require.Empty(t, to.in, "what is behind a handle waits for the answer")
			to.send(ack + "\n")
			require.Equal(t, `"behind"`, to.line())
		}
		// A frame that was wrapped again, as Node does when it did not arrive.
		from.sendFD(frame(NetNative, frame(NetSocket, `"twice"`))+"\n", fd)
		require.Equal(t, ack, from.line())
		require.Equal(t, frame(NetSocket, `"twice"`), to.line())
		to.handle()
		to.send(nack + "\n")
		require.Equal(t, frame(NetSocket, `"twice"`), to.line())
		to.handle()
		to.send(ack + "\n")
		// One that did not arrive is not passed on.
		from.send(frame(NetSocket, `"none"`) + "\n\"next\"\n")
		require.Equal(t, nack, from.line())
		require.Equal(t, `"next"`, to.line())
	}
	// A regular file would end a Node, and was never sent by one: who sends it through us means it.
	file, err := unix.Open(t.TempDir()+"/f", unix.O_CREAT|unix.O_CLOEXEC|unix.O_RDWR, 0o600)
	require.NoError(t, err)
	left.sendFD(frame(NetSocket, `"file"`)+"\n", file)
	unix.Close(file)
	require.Equal(t, ack, left.line())
	require.Equal(t, frame(NetSocket, `"file"`), right.line())
	right.handle()
	right.send(ack + "\n")

	left.send("\"last\"\n")
	left.close()
	require.Equal(t, `"last"`, right.line())
	right.end()
	for _, err := range ends() {
		require.True(t, err == io.EOF || errors.Is(err, ErrDisconnected), "%v", err)
	}
}

// In advanced mode the version and the value are as they came; only the padding behind them is ours.
func TestRelayAdvanced(t *testing.T) {
	testkit.CheckLeaks(t)
	left, right, ends := relayedPeers(t, Options{Serialization: Advanced})
	w := newWire(t)
	fd := fdOf(t, w.here)
	prefixed := func(payload string) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(len(payload)))) + payload
	}
	padded := func(payload string) string {
		for len(payload)%4 != 0 {
			payload += "\x00"
		}
		return prefixed(payload)
	}
	want := func(p *rawPeer, text string) {
		t.Helper()
		for len(p.in) < len(text) {
			require.True(t, p.read())
		}
		require.Equal(t, text, string(p.in[:len(text)]))
		p.in = p.in[len(text):]
	}
	for _, payload := range []string{
		"\xff\x0d\"\x02hi", "\xff\x0f\"\x02hi", "\xff\x10o\"\x01aI\x02{\x01", "\xff\x0fr.", "\xff\x0dI\x02\x00\x00trailing",
		"\xff\x0f", "\xff\x63garbage", "\xff\x0d\"\xff\xff\xff\x0fshort", // not to be understood
		"\xff\x0fo\"\x03cmd\"\x0cNODE_CLUSTER{\x01",
	} {
		left.send(prefixed(payload))
		want(right, padded(payload))
	}
	handle := "\xff\x0fo\"\x03cmd\"\x0bNODE_HANDLE\"\x04type\"\x0anet.Socket\"\x03msgI\x02{\x03"
	left.sendFD(prefixed(handle), fd)
	want(right, padded(handle))
	require.Equal(t, inode(t, fd), inode(t, right.handle()))
	left.close()
	right.close()
	ends()
}

// Handles and long messages in both directions at once, from peers that do not read before they have written all: more
// than any backlog has room for, and the answer to each handle behind it. Nothing waits for anything for ever.
func TestRelayCrossing(t *testing.T) {
	testkit.CheckLeaks(t)
	left, right, ends := relayedPeers(t, Options{Backlog: 1 << 16})
	w := newWire(t)
	fd := fdOf(t, w.here)
	const n = 100
	long := []byte(`"` + strings.Repeat("x", 64<<10) + "\"\n")
	play := func(p *rawPeer) error {
		to := p.fd
		acks := make(chan bool, n) // closed when all are there
		writing := make(chan error, 1)
		go func() { // all that is written, so that nothing comes in the middle of something else
			writing <- func() error {
				for i := 0; ; {
					var due bool
					if i < n {
						select {
						case due = <-acks:
						default:
						}
					} else if due = <-acks; !due {
						return nil
					}
					if due {
						if _, err := unix.Write(to, []byte(ack+"\n")); err != nil {
							return err
						}
						continue
					}
					for rest := long; len(rest) > 0; {
						m, err := unix.Write(to, rest)
						if err != nil && err != unix.EINTR {
							return err
						}
						rest = rest[max(m, 0):]
					}
					text := fmt.Sprintf("%s\n", frame(NetSocket, fmt.Sprint(i)))
					if err := unix.Sendmsg(to, []byte(text), unix.UnixRights(fd), nil, 0); err != nil {
						return err
					}
					i++
				}
			}()
		}()
		acked, longs, handles := 0, 0, 0
		for acked+longs+handles < 3*n {
			switch line := p.line(); {
			case line == ack:
				acked++
			case len(line) == len(long)-1:
				longs++
			default:
				if want := frame(NetSocket, fmt.Sprint(handles)); line != want {
					return fmt.Errorf("%.100q instead of %s", line, want)
				}
				handles++
				unix.Close(p.fds[0])
				p.fds = p.fds[1:]
				acks <- true
			}
		}
		close(acks)
		if acked != n || longs != n || handles != n {
			return fmt.Errorf("%d acknowledgements, %d messages, %d handles", acked, longs, handles)
		}
		return <-writing
	}
	one := outcome(t, "the left peer", func() error { return play(left) })
	other := outcome(t, "the right peer", func() error { return play(right) })
	require.NoError(t, one())
	require.NoError(t, other())
	left.close()
	right.close()
	ends()
}

// A message that the program makes goes out as it is.
func TestRelayOwnMessage(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, &Options{Relay: true})
	ctx := limited(t)
	send(t, c, &Message{Data: []byte(`{"cmd":"NODE_CLUSTER" , "act":"disconnect"}`)})
	require.Equal(t, `{"cmd":"NODE_CLUSTER" , "act":"disconnect"}`, p.line())
	w := tcpWire(t)
	sent := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, &Message{Data: []byte(`{"cmd":"NODE_X"}`)}, w.here) })
	require.Equal(t, frame(NetSocket, `{"cmd":"NODE_X"}`), p.line())
	p.handle()
	p.send(ack + "\n")
	require.NoError(t, sent())
	m := &Message{Data: []byte(`{"cmd":"NODE_CLUSTER"}`)}
	require.Equal(t, "NODE_CLUSTER", m.Internal())
	require.Empty(t, (&Message{Data: []byte(`{"cmd":"NODE_"}`)}).Internal())

	a, b, err := Pipe(&Options{Serialization: Advanced, Relay: true})
	require.NoError(t, err)
	defer a.Close()
	defer b.Close()
	require.NoError(t, a.Send(ctx, &Message{Data: []byte("\xff\x0fI\x02")}))
	got, err := b.Receive(ctx)
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(got.Data, []byte("\xff\x0fI\x02")))
	require.ErrorContains(t, c.Send(ctx, got), "cannot be relayed in json")
	done := outcome(t, "SendHandle", func() error {
		return a.SendHandle(ctx, &Message{Data: []byte("\xff\x0fo\"\x03cmd\"\x06NODE_X{\x01")}, w.here)
	})
	got, err = b.Receive(ctx)
	require.NoError(t, err)
	require.Equal(t, "NODE_X", got.Internal())
	require.NoError(t, got.Handle.Close())
	require.NoError(t, done())
}

// A handle that is queued while reading is paused has its answer read although nobody receives.
func TestRelayQueuesHandleWhilePaused(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, &Options{Relay: true, Backlog: 1})
	p.send("1\n2\n3\n")
	until(t, c, "reading pauses", func() bool { return c.paused })
	done := make(chan error, 1)
	require.NoError(t, c.QueueHandle("here", tcpWire(t).here, func(err error) { done <- err }))
	require.Equal(t, frame(NetSocket, `"here"`), p.line())
	p.handle()
	p.send(ack + "\n")
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-limited(t).Done():
		t.Fatal("the answer is not read")
	}
}
