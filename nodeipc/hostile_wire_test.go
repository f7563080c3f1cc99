//go:build linux

package nodeipc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// hostileInput is what a peer may write, what a real Node child makes of it (js_fixtures/hostile_peer.js says in which
// words), and what a channel of ours does.
type hostileInput struct {
	name  string
	parts []hostilePart // written one after the other, each when the one before has been read
	node  string        // ACK and NACK, then the other answers, each in order; "dies: " with the error if that is the end
	ours  string        // the same here, if it differs, and "ends: " with the error
	why   string        // it differs
}

type hostilePart struct {
	text string
	fds  int // how many copies of a connection's descriptor come with it
}

func plainPart(text string) []hostilePart { return []hostilePart{{text, 0}} }

func withHandle(text string) []hostilePart { return []hostilePart{{text, 1}} }

// wrapped is the frame of "m" in layers, as Node makes them when it sends a handle again.
func wrapped(layers int) string {
	const open = `{"cmd":"NODE_HANDLE","type":"net.Native","msg":`
	return strings.Repeat(open, layers-1) + frame(NetSocket, `"m"`) + strings.Repeat("}", layers-1)
}

func manyKeys(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	return b.String() + `"last":0}`
}

const (
	noJSON = "ends: *nodeipc.ProtocolError"
	// Why we differ.
	whyEnds   = "the stream cannot be trusted any more: the channel ends, the process does not (2.2)"
	whyAnswer = "an answer to nothing harms nobody here (3.2)"
	whyLazy   = "the kind and the type of a handle are looked at when it is taken (1.8)"
)

func hostileInputs() []hostileInput {
	const million = 1_000_000
	m := frame(NetSocket, `"m"`) + "\n"
	return []hostileInput{
		// Text.
		{name: "empty line", parts: plainPart("\n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "white space", parts: plainPart(" \t \n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "garbage", parts: plainPart("garbage\n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "byte order mark", parts: plainPart("\xef\xbb\xbf1\n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "NUL", parts: plainPart("\x00\n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "NUL in a string", parts: plainPart("\"a\x00b\"\n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "NUL behind a value", parts: plainPart("1\x00\n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "half a value", parts: plainPart("{\"a\":\n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "bad UTF-8 outside strings", parts: plainPart("\xff1\n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "a character cut off by the end of the line", parts: plainPart("\"\xe4\xbd\n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "10000 brackets and no end", parts: plainPart(strings.Repeat("[", 10000) + "\n"), node: "dies: SyntaxError", ours: noJSON, why: whyEnds},
		{name: "CR before LF", parts: plainPart("\"a\"\r\n1\r\n"), node: `"a" 1`},
		{name: "bad UTF-8 in a string", parts: plainPart("\"a\xff\xc0\x80b\"\n"), node: `"a` + "\ufffd\ufffd\ufffd" + `b"`},
		{name: "bad UTF-8: overlong, surrogate, out of range", parts: plainPart("\"\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80\"\n"),
			node: `"` + strings.Repeat("\ufffd", 9) + `"`},
		{name: "a character in three reads", parts: []hostilePart{{"\"\xe4", 0}, {"\xbd", 0}, {"\xa0\"\n", 0}}, node: "\"\u4f60\""},
		{name: "a character cut off by a read", parts: []hostilePart{{"\"\xe4\xbd", 0}, {"\"\n", 0}}, node: "\"\ufffd\"",
			ours: "\"\ufffd\ufffd\"", why: "one U+FFFD for each byte; Node makes one of the beginning of a character (1.6)"},
		{name: "bad bytes in three reads", parts: []hostilePart{{"\"\xff", 0}, {"\xc0", 0}, {"\x80\"\n", 0}}, node: "\"\ufffd\ufffd\ufffd\""},
		{name: "100000 nested arrays", parts: plainPart(strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + "\n"), node: "array of 1",
			ours: "array that cannot be decoded", why: "it is received, but decoding stops at 10000 levels (1.6)"},
		{name: "a million nested objects", parts: plainPart(strings.Repeat(`{"a":`, million) + "1" + strings.Repeat("}", million) + "\n"), node: "object of 1",
			ours: "object that cannot be decoded", why: "as before"},
		{name: "a million members", parts: plainPart(manyKeys(million) + "\n"), node: fmt.Sprint("object of ", million+1)},
		{name: "a million elements", parts: plainPart("[" + strings.Repeat("0,", million) + "0]\n"), node: fmt.Sprint("array of ", million+1)},
		{name: "a million digits", parts: plainPart(strings.Repeat("9", million) + "\n"), node: "Infinity",
			ours: "number that cannot be decoded", why: "no float64; Data has all the digits (1.5)"},
		{name: "a million digits of a fraction", parts: plainPart("0." + strings.Repeat("9", million) + "\n"), node: "1"},
		{name: "an exponent of a million digits", parts: plainPart("1e-" + strings.Repeat("9", million) + "\n"), node: "0"},
		{name: "one key a million times", parts: plainPart("{" + strings.Repeat(`"a":0,`, million) + `"a":1}` + "\n"), node: "object of 1"},
		{name: "__proto__", parts: plainPart(`{"__proto__":{"cmd":"NODE_HANDLE_ACK"}}` + "\n"), node: "object of 1"},
		{name: "a line of 20 MB in many reads", parts: plainPart(`"` + strings.Repeat("x", 20<<20) + "\"\n"), node: fmt.Sprint("string of ", 20<<20)},
		{name: "100000 messages in a burst", parts: plainPart(strings.Repeat("{}\n", 100000)), node: strings.TrimSpace(strings.Repeat("object of 0 ", 100000))},

		// Answers.
		{name: "ACK for nothing", parts: plainPart(ack + "\n"), node: "dies: ERR_INTERNAL_ASSERTION", ours: "-", why: whyAnswer},
		{name: "NACK for nothing", parts: plainPart(nack + "\n"), node: "dies: ERR_INTERNAL_ASSERTION", ours: "-", why: whyAnswer},
		{name: "a flood of ACK and NACK", parts: plainPart(strings.Repeat(ack+"\n"+nack+"\n", 100000)), node: "dies: ERR_INTERNAL_ASSERTION", ours: "-", why: whyAnswer},
		{name: "ACK with a descriptor", parts: withHandle(ack + "\n"), node: "dies: ERR_INTERNAL_ASSERTION", ours: "-", why: whyAnswer},
		{name: "ACK in a frame", parts: withHandle(frame(NetNative, ack) + "\n"), node: "ACK dies: ERR_INTERNAL_ASSERTION", ours: "ACK", why: whyAnswer},
		{name: "ACK in an array", parts: plainPart("[" + ack + "]\n"), node: "array of 1"},

		// Descriptors.
		{name: "frame without a descriptor", parts: plainPart(m), node: "NACK"},
		{name: "a flood of them", parts: plainPart(strings.Repeat(m, 1000)), node: strings.TrimSpace(strings.Repeat("NACK ", 1000))},
		{name: "descriptor without a frame", parts: []hostilePart{{"1\n", 1}}, node: "1"},
		{name: "descriptor before its frame", parts: []hostilePart{{"1\n", 1}, {m, 0}}, node: `ACK 1 "m" with Socket`},
		{name: "descriptor in the middle of its frame", parts: []hostilePart{{m[:10], 0}, {m[10:], 1}}, node: `ACK "m" with Socket`},
		{name: "descriptor with the last byte", parts: []hostilePart{{m[:len(m)-1], 0}, {"\n", 1}}, node: `ACK "m" with Socket`},
		{name: "two descriptors on a frame", parts: []hostilePart{{m, 2}, {m, 0}}, node: `ACK ACK "m" with Socket "m" with Socket`},
		{name: "two frames, two descriptors, one write", parts: []hostilePart{{m + m, 2}}, node: `ACK NACK "m" with Socket`,
			ours: `ACK ACK "m" with Socket "m" with Socket`, why: "Node holds one descriptor at a time (4.1)"},
		{name: "50 descriptors", parts: []hostilePart{{m, 50}}, node: `ACK "m" with Socket`},
		{name: "253 descriptors on a frame", parts: []hostilePart{{m, 253}}, node: `ACK "m" with Socket`,
			ours: noJSON, why: "more than 64 that nobody claims end the channel (2.2)"},
		{name: "253 descriptors without a frame", parts: []hostilePart{{"1\n", 253}}, node: "1", ours: noJSON, why: "as before"},

		// Frames.
		{name: "unknown type", parts: withHandle(frame("never.Heard", `"m"`) + "\n"), node: "ACK dies: TypeError", ours: `ACK "m" with never.Heard`, why: whyLazy},
		{name: "type of every object", parts: withHandle(frame("toString", `"m"`) + "\n"), node: "ACK dies: TypeError", ours: `ACK "m" with toString`, why: whyLazy},
		{name: "type that is a number", parts: withHandle(`{"cmd":"NODE_HANDLE","type":7,"msg":"m"}` + "\n"), node: "ACK dies: TypeError", ours: `ACK "m" with `, why: whyLazy},
		{name: "no type", parts: withHandle(`{"cmd":"NODE_HANDLE","msg":"m"}` + "\n"), node: "ACK dies: TypeError", ours: `ACK "m" with `, why: whyLazy},
		{name: "no type, no descriptor", parts: plainPart(`{"cmd":"NODE_HANDLE","msg":"m"}` + "\n"), node: "NACK"},
		{name: "no dgramType", parts: withHandle(frame("dgram.Socket", `"m"`) + "\n"), node: "ACK dies: TypeError", ours: `ACK "m" with dgram.Socket`, why: whyLazy},
		{name: "no msg", parts: withHandle(`{"cmd":"NODE_HANDLE","type":"net.Socket"}` + "\n"), node: "ACK undefined with Socket",
			ours: "ACK null with Socket", why: "JSON has no undefined (1.8)"},
		{name: "msg of 10 MB", parts: withHandle(frame(NetSocket, `"`+strings.Repeat("x", 10<<20)+`"`) + "\n"), node: fmt.Sprintf("ACK string of %d with Socket", 10<<20)},
		{name: "key that is a number", parts: withHandle(`{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"m","key":7}` + "\n"), node: `ACK "m" with Socket`},
		{name: "frame in a frame", parts: withHandle(wrapped(2) + "\n"), node: `ACK ACK "m" with Socket`, ours: `ACK "m" with Socket`,
			why: "the second ACK can kill a Node peer (1.10)"},
		{name: "frame in a frame, no descriptor", parts: plainPart(wrapped(2) + "\n"), node: "NACK"},
		{name: "frame in eight", parts: withHandle(wrapped(8) + "\n"), node: strings.Repeat("ACK ", 8) + `"m" with Socket`, ours: `ACK "m" with Socket`, why: "as before"},
		{name: "frame in nine", parts: withHandle(wrapped(9) + "\n"), node: strings.Repeat("ACK ", 9) + `"m" with Socket`, ours: noJSON, why: "Node makes four at the most (2.2)"},
		{name: "frame in 100000", parts: withHandle(wrapped(100000) + "\n"), node: "?", ours: noJSON, why: "as before; Node answers until it dies"},

		// Other internal messages.
		{name: "unknown internal message", parts: plainPart(`{"cmd":"NODE_NOVELTY"}` + "\n"), node: "-"},
		{name: "internal message with a handle", parts: withHandle(frame(NetNative, `{"cmd":"NODE_NOVELTY"}`) + "\n"), node: "ACK"},
		{name: "cluster where there is none", parts: plainPart(`{"cmd":"NODE_CLUSTER","act":"newconn","key":"k","seq":0}` + "\n" + `{"cmd":"NODE_CLUSTER","ack":0,"errno":"x"}` + "\n"), node: "-"},
		{name: "questions about an unknown key", parts: plainPart(`{"cmd":"NODE_SOCKET_GET_COUNT","key":"k"}` + "\n" + `{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"k"}` + "\n"), node: "-",
			ours: `{"cmd":"NODE_SOCKET_COUNT","key":"k","count":0} {"cmd":"NODE_SOCKET_ALL_CLOSED","key":"k"}`, why: "for any key (1.11)"},
		{name: "questions without a key", parts: plainPart(`{"cmd":"NODE_SOCKET_GET_COUNT"}` + "\n" + `{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":null}` + "\n"), node: "-"},
		{name: "answers to no question", parts: plainPart(`{"cmd":"NODE_SOCKET_COUNT","key":"k","count":1}` + "\n" + `{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"k"}` + "\n"), node: "-"},
	}
}

// play writes the parts, then asks whether the peer is well, and returns what it answered until then, or until its end.
func (p *rawPeer) play(parts []hostilePart) (answers []string, well bool) {
	p.t.Helper()
	w := newWire(p.t)
	written := make(chan struct{}) // elsewhere: the peer may answer before it has read all
	go func() {
		defer close(written)
		for _, part := range parts {
			text := []byte(part.text)
			if part.fds > 0 {
				fds := make([]int, part.fds)
				for i := range fds {
					fds[i] = fdOf(p.t, w.here)
				}
				n, err := unix.SendmsgN(p.fd, text, unix.UnixRights(fds...), nil, 0)
				if err != nil {
					return
				}
				text = text[n:]
			}
			if p.write(text) != nil || !p.wasRead() {
				return
			}
		}
		p.write([]byte("\"well?\"\n"))
	}()
	defer func() { <-written }()
	for asked := false; ; {
		line, rest, ok := bytes.Cut(p.in, []byte("\n"))
		if !ok {
			if p.readSome() {
				continue
			}
			return answers, false
		}
		p.in = rest
		switch text := string(line); text {
		case ack:
			answers = append(answers, "ACK")
		case nack:
			answers = append(answers, "NACK")
		case `"\"well?\""`:
			if asked {
				return answers, true
			}
			// Node delivers a message with a handle later than plain ones that came behind it.
			asked = true
			p.write([]byte("\"well?\"\n"))
		default:
			var s string
			if json.Unmarshal(line, &s) != nil {
				s = text
			}
			answers = append(answers, s)
		}
	}
}

// wasRead waits until the peer has read all that was written; it reports false if it is gone.
func (p *rawPeer) wasRead() bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
		n, err := unix.IoctlGetInt(p.fd, unix.SIOCOUTQ)
		if err != nil {
			return false
		}
		if n == 0 {
			return true
		}
		poll := []unix.PollFd{{Fd: int32(p.fd)}}
		if _, err := unix.Poll(poll, 0); err == nil && poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 {
			return false
		}
	}
	return false
}

// readSome is read for many bytes; it reports false at the end.
func (p *rawPeer) readSome() bool {
	buf := make([]byte, 64<<10)
	n, err := readFD(p.fd, buf)
	p.in = append(p.in, buf[:max(n, 0)]...)
	return err == nil && n > 0
}

var errorName = regexp.MustCompile(`(?m)ERR_INTERNAL_ASSERTION|^\w*Error|Assertion|heap out of memory`)

// joined puts ACK and NACK first: whether they come before a message that is answered depends on who is quicker.
func joined(answers []string) string {
	if len(answers) == 0 {
		return "-"
	}
	slices.SortStableFunc(answers, func(a, b string) int {
		rank := map[string]int{"ACK": -1, "NACK": -1}
		return rank[a] - rank[b]
	})
	return strings.Join(answers, " ")
}

func tail(text string) string { return text[max(0, len(text)-2000):] }

// What Node does with input that no Node sends.
func TestHostileInputToNode(t *testing.T) {
	for _, test := range hostileInputs() {
		t.Run(test.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			if test.node == "?" {
				t.Skip("what Node does depends on its version and memory")
			}
			var stderr bytes.Buffer
			cmd := nodeCommand(t, testkit.Fixture("hostile_peer.js"))
			cmd.Stderr = &stderr
			p, exited := rawParent(t, cmd)
			answers, well := p.play(test.parts)
			p.close()
			if err := exited(); well {
				require.NoError(t, err, "%s", tail(stderr.String()))
			} else {
				require.Error(t, err)
				answers = append(answers, "dies: "+errorName.FindString(stderr.String()))
			}
			require.Equal(t, test.node, joined(answers), "%s", tail(stderr.String()))
			require.Equal(t, test.ours == "", test.why == "", "a row that differs says why")
		})
	}
}

// describeMessage is what js_fixtures/hostile_peer.js says of a message.
func describeMessage(m *Message) string {
	text := string(bytes.TrimSpace(m.Data))
	handle := ""
	if m.Handle != nil {
		handle = " with " + strings.TrimPrefix(string(m.Handle.Type()), "net.")
	}
	var err error
	switch text[0] {
	case '[':
		var v []json.RawMessage
		if err = m.Decode(&v); err == nil {
			return fmt.Sprint("array of ", len(v)) + handle
		}
		text = "array"
	case '{':
		var v map[string]json.RawMessage
		if err = m.Decode(&v); err == nil {
			return fmt.Sprint("object of ", len(v)) + handle
		}
		text = "object"
	case '"':
		var v string
		if err = m.Decode(&v); err == nil && len(v) > 60 {
			return fmt.Sprint("string of ", len(v)) + handle
		}
		text = `"` + v + `"`
	case 't', 'f', 'n':
	default:
		var v float64
		if err = m.Decode(&v); err == nil {
			return fmt.Sprint(v) + handle
		}
		text = "number"
	}
	if err != nil {
		if !errors.As(err, new(*DecodeError)) {
			panic(err)
		}
		return text + " that cannot be decoded" + handle
	}
	return text + handle
}

// What we do with it, with how much memory.
func TestHostileInput(t *testing.T) {
	for _, test := range hostileInputs() {
		t.Run(test.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			c, p := raw(t, nil)
			size, lines := 0, 0
			for _, part := range test.parts {
				size += len(part.text)
				lines += strings.Count(part.text, "\n")
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			received := outcome(t, "the messages", func() error {
				for m, err := range c.Messages(context.Background()) {
					if err != nil {
						return err
					}
					m.Handle.Close()
					c.Send(context.Background(), describeMessage(m)) // fails when the end is near, which is what counts
				}
				return io.EOF
			})
			answers, well := p.play(test.parts)
			runtime.ReadMemStats(&after)
			if !well {
				err := received()
				require.Equal(t, err, c.Err())
				answers = append(answers, fmt.Sprintf("ends: %T", err))
			}
			want := test.node
			if test.ours != "" {
				want = test.ours
			}
			require.Equal(t, want, joined(answers))
			// All that is allocated, garbage included, here and in the peer, for the answers as well.
			if raceEnabled { // which allocates for itself
				return
			}
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(60*size+1000*lines+(4<<20)))
		})
	}
}
