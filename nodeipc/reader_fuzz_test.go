//go:build unix

package nodeipc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// fuzzWords are what bytes that no UTF-8 has stand for in the streams of FuzzReader, so that a change of one byte makes
// a frame or a long line.
var fuzzWords = [...]string{
	0xf5 - 0xf5: `{"cmd":"NODE_HANDLE","type":"net.Socket","msg":`,
	0xf6 - 0xf5: `{"cmd":"NODE_HANDLE","type":"net.Server","msg":"h"}` + "\n",
	0xf7 - 0xf5: ack + "\n",
	0xf8 - 0xf5: nack + "\n",
	0xf9 - 0xf5: `{"cmd":"NODE_SOCKET_GET_COUNT","key":"4:127.0.0.1:0"}` + "\n",
	0xfa - 0xf5: `{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"4:127.0.0.1:0"}` + "\n",
	0xfb - 0xf5: `{"cmd":"NODE_CLUSTER","act":"newconn"}` + "\n",
	0xfc - 0xf5: `"cmd":"NODE_`,
	0xfd - 0xf5: strings.Repeat("1", 100),
	0xfe - 0xf5: strings.Repeat("2", 10_000),
	0xff - 0xf5: strings.Repeat("3", blockSize/2-100),
}

func fuzzExpand(stream []byte) (text []byte) {
	for _, b := range stream {
		if b < 0xf5 {
			text = append(text, b)
		} else {
			text = append(text, fuzzWords[b-0xf5]...)
		}
	}
	return text
}

const (
	fuzzMost   = 100_000 // bytes and
	fuzzWrites = 100     // writes fit into the socket, so that all is written before anything is read
	fuzzMax    = 50_000  // Options.MaxMessage

	fuzzSockets = 7 // are sent in turn
)

// A fuzzPiece is what one read brought.
type fuzzPiece struct{ bytes, fds int }

// A fuzzTransport reads in pieces of given sizes, and notes what they brought.
type fuzzTransport struct {
	*fdconn.Conn
	sizes  []byte
	pieces []fuzzPiece
}

func (t *fuzzTransport) Read(p []byte) (int, []int, bool, error) {
	if len(t.sizes) > 0 {
		size := 1<<(t.sizes[0]>>4) + int(t.sizes[0]&15)
		p, t.sizes = p[:min(len(p), size)], t.sizes[1:]
	}
	n, fds, lost, err := t.Conn.Read(p)
	t.pieces = append(t.pieces, fuzzPiece{n, len(fds)})
	return n, fds, lost, err
}

// A fuzzOutcome is what comes of a stream. A handle is written as its type and the number of its socket.
type fuzzOutcome struct {
	messages, internal []string
	answers            string
	end                string
}

// fuzzModel says what has to come of a text that was read in pieces.
func fuzzModel(text []byte, pieces []fuzzPiece) (o fuzzOutcome) {
	o.end = "EOF"
	come, claimed := 0, 0 // descriptors
	start, read := 0, 0
	for _, piece := range pieces {
		come += piece.fds
		read += piece.bytes
		for o.end == "EOF" {
			line, _, ok := bytes.Cut(text[start:read], []byte("\n"))
			if !ok {
				break
			}
			start += len(line) + 1
			o.line(line, come, &claimed)
		}
		switch {
		case o.end != "EOF":
			return o
		case read-start > fuzzMax:
			o.end = "too big"
			return o
		case come-claimed > maxHandles:
			o.end = "protocol"
			return o
		}
	}
	return o
}

// fuzzMembers returns the members of an object, and the string that is its cmd.
func fuzzMembers(text []byte) (members map[string]json.RawMessage, cmd string) {
	var s any
	if json.Unmarshal(text, &members) == nil && json.Unmarshal(members["cmd"], &s) == nil {
		cmd, _ = s.(string)
	}
	return members, cmd
}

func (o *fuzzOutcome) line(line []byte, come int, claimed *int) {
	if len(line) > fuzzMax {
		o.end = "too big"
		return
	}
	if !json.Valid(line) {
		o.end = "protocol"
		return
	}
	handle := ""
	members, cmd := fuzzMembers(line)
	if cmd == cmdHandle {
		var typ any
		for layers := 1; cmd == cmdHandle; layers++ {
			if layers > 8 {
				o.end = "protocol"
				return
			}
			if raw, ok := members["type"]; ok {
				typ = nil
				json.Unmarshal(raw, &typ)
			}
			msg, ok := members["msg"]
			if !ok {
				msg = []byte("null")
			}
			line = msg
			members, cmd = fuzzMembers(line)
		}
		name, _ := typ.(string)
		if *claimed == come {
			o.answers += nack + "\n"
			if name == string(NetNative) && strings.HasPrefix(cmd, "NODE_") && len(cmd) > 5 {
				o.internal = append(o.internal, "lost "+string(line)) // who has to answer it has to know
			}
			return
		}
		handle = fmt.Sprintf("%s#%d ", name, *claimed%fuzzSockets)
		*claimed++
		o.answers += ack + "\n"
	} else {
		switch cmd {
		case cmdHandleACK, cmdHandleNACK:
			return
		case cmdGetCount:
			o.socketList(members, "NODE_SOCKET_COUNT", "NODE_SOCKET_COUNT", `,"count":0`)
			return
		case cmdNotifyClose:
			o.socketList(members, "NODE_SOCKET_ALL_CLOSED", "NODE_SOCKET_CLOSE_ACK", "")
			return
		}
	}
	if strings.HasPrefix(cmd, "NODE_") && len(cmd) > 5 {
		o.internal = append(o.internal, handle+string(line))
	} else {
		o.messages = append(o.messages, handle+string(line))
	}
}

// socketList answers a question about sockets that are known by a key, and perhaps asks with an id.
func (o *fuzzOutcome) socketList(members map[string]json.RawMessage, cmd, withID, more string) {
	given := func(name string) bool { return len(members[name]) > 0 && string(members[name]) != "null" }
	if !given("key") {
		return
	}
	if given("id") {
		cmd, more = withID, `,"id":`+string(members["id"])+more
	}
	o.answers += `{"cmd":"` + cmd + `","key":` + string(members["key"]) + more + "}\n"
}

// fuzzValues are the values of lines, however they are written. What is not UTF-8 is U+FFFD, once or more often.
func fuzzValues(t *testing.T, lines string) []any {
	values := []any{}
	var plain func(v any) any
	plain = func(v any) any {
		switch v := v.(type) {
		case string:
			for strings.Contains(v, "\uFFFD\uFFFD") {
				v = strings.ReplaceAll(v, "\uFFFD\uFFFD", "\uFFFD")
			}
			return v
		case json.Number:
			f, _ := strconv.ParseFloat(string(v), 64)
			if math.IsInf(f, 0) {
				return nil
			}
			return f
		case []any:
			for i := range v {
				v[i] = plain(v[i])
			}
		case map[string]any:
			m := map[string]any{}
			for key, x := range v {
				m[plain(key).(string)] = plain(x)
			}
			return m
		}
		return v
	}
	for line := range strings.Lines(lines) {
		if !strings.HasSuffix(line, "\n") {
			break // it was cut off
		}
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		var v any
		require.NoError(t, d.Decode(&v), "%q", line)
		values = append(values, plain(v))
	}
	return values
}

// fuzzName writes a message as fuzzOutcome has it, and closes its handle. sockets has the inodes of what was sent.
func fuzzName(t *testing.T, m *Message, sockets map[uint64]int) string {
	if m.Handle == nil {
		return string(m.Data)
	}
	defer m.Handle.Close()
	rc, err := m.Handle.SyscallConn()
	require.NoError(t, err)
	var st unix.Stat_t
	if rc.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }) != nil {
		return "lost " + string(m.Data)
	}
	require.NoError(t, err)
	which, ok := sockets[uint64(st.Ino)]
	require.True(t, ok, "not one of the sockets that were sent")
	return fmt.Sprintf("%s#%d %s", m.Handle.Type(), which, m.Data)
}

// fuzzReaderSeeds adds dialogues of real Nodes, and what the tests of bad input and of handles send.
func fuzzReaderSeeds(f *testing.F) {
	files, err := filepath.Glob(fixtureFile("dialogues", "*.node20.txtar"))
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		var streams [2][]byte
		var writes [2][]byte
		for _, l := range fixtureDialogue(f, file) {
			side := 0
			if l.side == "W" {
				side = 1
			}
			streams[side] = append(streams[side], l.text+"\n"...)
			w := byte(0x50) // the sizes are not the true ones
			if l.handle {
				w |= 1 << 2
			}
			writes[side] = append(writes[side], w)
		}
		for side := range streams {
			f.Add(streams[side], writes[side], []byte{0x37, 0x80, 0x21})
		}
	}
	for _, text := range internalTexts {
		if len(text) < 1000 {
			f.Add([]byte("1\n"+text+"\n2\n"), []byte{}, []byte{0x23})
		}
	}
	for _, bad := range []string{
		"garbage\n", "\n", " \t\r\n", "\xef\xbb\xbf1\n", "\x00\n", "1 2\n", "'text'\n", "[1,]\n", "01\n",
		"\"a\tb\"\n", `"\x41"` + "\n", "GET / HTTP/1.1\r\n\r\n",
		"{\"a\":\n", "half", "\xf5\n", "\xf5}\n", "\xf6", "\xff\xff", "\"\xff\xff\"\n", "\"\xff\xff\xff\"\n",
		"\"\xfe\xfe\xfe\xfe\"\n",
		strings.Repeat("\xf5", 8) + "1" + strings.Repeat("}", 8) + "\n",
		strings.Repeat("\xf5", 9) + "1" + strings.Repeat("}", 9) + "\n",
	} {
		f.Add([]byte("1\n"+bad+"2\n"), []byte{0x04, 0x30}, []byte{})
	}
	// Handles before, in and behind their frames, too few and too many.
	f.Add([]byte("\xf6\xf6\xf6"), []byte{0x04, 0x70, 0x34, 0x5c}, []byte{0x10, 0x51})
	f.Add([]byte("\xf61\n2\n\xf6\xf53}\n\xfb\xf5{\xfcX\"}}\n"), []byte{0x64, 0x64, 0x18, 0x14}, []byte{})
	f.Add([]byte("\xf7\xf8\xf9\xfa\xfb\xf6\xf7\xf8"), []byte{0x54, 0x44, 0x18, 0x14}, []byte{0x10})
	for _, bare := range []string{
		`{"cmd":"NODE_HANDLE"}`, `{"cmd":"NODE_HANDLE","type":7}`,
		"\xf5" + `{"cmd":"NODE_HANDLE","type":null}}`, "\xf5" + `{"cmd":"NODE_HANDLE","msg":2}}`,
	} {
		f.Add([]byte(bare+"\n"+bare+"\n"), []byte{0x04}, []byte{})
	}
	f.Add(bytes.Repeat([]byte("1\n"), 200), bytes.Repeat([]byte{0x0d}, 60), []byte{})
	for _, last := range []byte{0x14, 0x18} { // 64 descriptors that nobody claims are borne, 65 not
		f.Add(bytes.Repeat([]byte("1\n"), 64), append(bytes.Repeat([]byte{0x1c}, 21), last), []byte{})
	}
	f.Add(bytes.Repeat([]byte("\xf6"), 80), bytes.Repeat([]byte{0x54}, 80), []byte{})
	f.Add([]byte("\xff\n\"\xff\xfd\xfd\"\n\xf6\xfe\n\xfe\xfe\n1\n"), []byte{0xe0, 0xb4}, []byte{0xf0, 0xe0, 0xe0})
}

// Whatever a peer writes, in whatever pieces and with descriptors wherever: what comes of it is what a model makes that
// has all of it before it, and nothing is left over.
//
// Of writes, the upper four bits of a byte and its lowest two are the size of a write, the others the number of its
// descriptors; what is left of the stream is one write. Of reads, a byte is the size of a read: see fuzzTransport.
func FuzzReader(f *testing.F) {
	testkit.CheckLeaks(f)
	fuzzReaderSeeds(f)
	var fds [fuzzSockets]int
	sockets := make(map[uint64]int)
	for i := range fds {
		one, other, err := fdconn.Pair()
		require.NoError(f, err)
		unix.Close(other)
		f.Cleanup(func() { unix.Close(one) })
		var st unix.Stat_t
		require.NoError(f, unix.Fstat(one, &st))
		fds[i] = one
		sockets[uint64(st.Ino)] = i
	}
	pair(f, nil) // keeps the alarm clock alive, which is costly to make
	buf := make([]byte, 64<<10)
	goroutines := runtime.NumGoroutine()

	f.Fuzz(func(t *testing.T, stream, writes, reads []byte) {
		text := fuzzExpand(stream)
		// The model has encoding/json's limit of depth, the channel has none.
		if len(text) > fuzzMost || len(writes) > fuzzWrites || len(stream) > 8000 {
			return
		}
		open := testkit.OpenDescriptors()
		ours, theirs, err := fdconn.Pair()
		require.NoError(t, err)
		hangUp := sync.OnceFunc(func() { unix.Close(theirs) })
		defer hangUp()
		conn, err := fdconn.FromFD(ours)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, unix.SetsockoptInt(theirs, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20))
		sent := 0
		for rest := text; len(rest) > 0; {
			n, rights := len(rest), []int(nil)
			if len(writes) > 0 {
				w := writes[0]
				writes = writes[1:]
				n = min(n, 1<<(w>>4)+int(w&3))
				for range w >> 2 & 3 {
					rights = append(rights, fds[sent%fuzzSockets])
					sent++
				}
			}
			var oob []byte
			if len(rights) > 0 {
				oob = unix.UnixRights(rights...)
			}
			n, err := unix.SendmsgN(theirs, rest[:n], oob, nil, unix.MSG_DONTWAIT)
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.NoError(t, unix.Shutdown(theirs, unix.SHUT_WR))

		var got fuzzOutcome
		transport := &fuzzTransport{Conn: conn, sizes: reads}
		c := newChannel(transport, &Options{MaxMessage: fuzzMax, Internal: func(m *Message) {
			got.internal = append(got.internal, fuzzName(t, m, sockets))
		}})
		defer c.Close()
		for {
			m, err := c.Receive(context.Background())
			if err == nil {
				got.messages = append(got.messages, fuzzName(t, m, sockets))
				continue
			}
			switch {
			case err == io.EOF:
				got.end = "EOF"
			case errors.Is(err, ErrMessageTooBig):
				got.end = "too big"
			case errors.As(err, new(*ProtocolError)):
				got.end = "protocol"
			default:
				t.Fatal(err)
			}
			break
		}
		<-c.Done()
		for {
			n, err := readFD(theirs, buf)
			if n <= 0 {
				require.True(t, err == nil || err == unix.ECONNRESET, err) // reset: not all was read
				break
			}
			got.answers += string(buf[:n])
		}

		want := fuzzModel(text, transport.pieces)
		wanted, answers := fuzzValues(t, want.answers), fuzzValues(t, got.answers)
		if got.end != "EOF" { // answers that are due then are not written any more
			require.LessOrEqual(t, len(answers), len(wanted))
			wanted = wanted[:len(answers)]
		}
		require.Equal(t, wanted, answers)
		want.answers = got.answers
		require.Equal(t, want, got)
		if got.end == "EOF" {
			all := fuzzPiece{}
			for _, p := range transport.pieces {
				all.bytes += p.bytes
				all.fds += p.fds
			}
			require.Equal(t, fuzzPiece{len(text), sent}, all)
		}

		// Some goroutines may be on their way out; only more and more of them are a leak.
		hangUp()
		for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
			n, fds := runtime.NumGoroutine(), testkit.OpenDescriptors()
			if n <= goroutines+10 && fds == open {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d descriptors, %d before; %d goroutines, %d before", fds, open, n, goroutines)
			}
		}
	})
}
