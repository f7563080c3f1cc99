//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// What a tap passes on does not depend on how the bytes come, and is not changed by a byte.

// A rawParent has a child of which it sees bytes and descriptors, written and read in pieces of some bytes.
type rawParent struct {
	t     *testing.T
	cmd   *exec.Cmd
	conn  *net.UnixConn
	mode  string
	piece int
	read  []byte // that belongs to no frame yet
}

func startRaw(t *testing.T, cmd *exec.Cmd, mode string, piece int) *rawParent {
	t.Helper()
	fds := socketPairFDs(t)
	theirs, ours := os.NewFile(uintptr(fds[1]), "theirs"), os.NewFile(uintptr(fds[0]), "ours")
	conn, err := net.FileConn(ours)
	ours.Close()
	require.NoError(t, err)
	cmd.Env = append(tapCommand().Env, "NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE="+mode)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	theirs.Close()
	require.NoError(t, err)
	p := &rawParent{t: t, cmd: cmd, conn: conn.(*net.UnixConn), mode: mode, piece: piece}
	deadline, _ := limited(t).Deadline()
	require.NoError(t, conn.SetDeadline(deadline))
	t.Cleanup(func() {
		conn.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return p
}

// write writes data, and a descriptor with its first piece.
func (p *rawParent) write(data []byte, fd int) error {
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	for len(data) > 0 {
		n, _, err := p.conn.WriteMsgUnix(data[:min(p.piece, len(data))], rights, nil)
		if err != nil {
			return err
		}
		data, rights = data[n:], nil
	}
	return nil
}

// next returns the next frame, with its length, and how many descriptors came with the pieces that it was read in.
func (p *rawParent) next() (frame []byte, fds int) {
	p.t.Helper()
	buf, oob := make([]byte, p.piece), make([]byte, 256)
	for {
		if n := p.frameSize(); n > 0 && n <= len(p.read) {
			frame, p.read = bytes.Clone(p.read[:n]), p.read[n:]
			return frame, fds
		}
		n, oobn, _, _, err := p.conn.ReadMsgUnix(buf, oob)
		require.NoError(p.t, err)
		require.NotZero(p.t, n, "the channel has ended behind %q", p.read)
		p.read = append(p.read, buf[:n]...)
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		require.NoError(p.t, err)
		for _, m := range messages {
			rights, err := unix.ParseUnixRights(&m)
			require.NoError(p.t, err)
			for _, fd := range rights {
				fds++
				unix.Close(fd)
			}
		}
	}
}

// frameSize returns the size of the first frame of read, or 0 if that is not known yet.
func (p *rawParent) frameSize() int {
	switch {
	case p.mode == "json":
		return bytes.IndexByte(p.read, '\n') + 1
	case len(p.read) < 4:
		return 0
	}
	return 4 + int(binary.BigEndian.Uint32(p.read))
}

// frame makes a frame of the text of a JSON value.
func (p *rawParent) frame(text string) []byte {
	p.t.Helper()
	if p.mode == "json" {
		return []byte(text + "\n")
	}
	var value any
	require.NoError(p.t, json.Unmarshal([]byte(text), &value))
	data, err := v8.Marshal(value)
	require.NoError(p.t, err)
	return v8Frame(data)
}

// padded returns a frame as a channel of ours writes it: the length of an advanced one is a multiple of four, which
// some versions of Node need.
func (p *rawParent) padded(frame []byte) []byte {
	if p.mode == "json" {
		return frame
	}
	zeros := make([]byte, -len(frame)&3)
	return v8Frame(slices.Concat(frame[4:], zeros))
}

func v8Frame(data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)
}

// connection returns both ends of a connection.
func connection(t *testing.T) (far net.Conn, near *os.File) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	far, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { far.Close() })
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	near, err = conn.(*net.TCPConn).File()
	require.NoError(t, err)
	return far, near
}

// piecewise speaks with scenario_child.js, and returns all that comes back, in which an ACK or a NACK, which a tap
// makes itself, has the version of the serialization that ours have.
func piecewise(t *testing.T, cmd *exec.Cmd, mode string, piece int) (got []string) {
	t.Helper()
	p := startRaw(t, cmd, mode, piece)
	handle := func(msg string) string { return `{"cmd":"NODE_HANDLE","type":"net.Socket","msg":` + msg + `}` }
	for _, step := range []struct {
		text    string
		socket  bool
		answers int
		echo    bool // over the socket
	}{
		{text: `{"type":"greeting","message":"Hello from master!"}`, answers: 1},
		{text: ` { "a" : 1 , "b" : [ ] , "a" : "\u0041\n\ud800", "grüße":"漢字 😀 \u2028" } `, answers: 1},
		{text: `{"type":"messages"}`, answers: 5},
		{text: handle(`{"type":"return"}`), socket: true, answers: 2},
		{text: `{"cmd":"NODE_HANDLE_ACK"}`},
		{text: `"` + strings.Repeat("grüße ", 5000) + `"`, answers: 1},
		{text: handle(`{"type":"serve"}`), socket: true, answers: 1, echo: true},
		{text: handle(`{"type":"none came with it"}`), answers: 1},
		{text: `{"cmd":"NODE_SOCKET_GET_COUNT","key":"of no server"}`},
		{text: `"the last one"`, answers: 1},
	} {
		fd := -1
		var far net.Conn
		if step.socket {
			conn, near := connection(t)
			far, fd = conn, int(near.Fd())
			require.NoError(t, unix.SetNonblock(fd, true))
			require.NoError(t, p.write(p.frame(step.text), fd))
			near.Close()
		} else {
			require.NoError(t, p.write(p.frame(step.text), fd))
		}
		fds := 0
		for range step.answers {
			frame, n := p.next()
			frame = p.padded(frame)
			if mode == "advanced" && bytes.Contains(frame, []byte("ACK{\x01")) {
				frame[5] = 13
			}
			got = append(got, string(frame))
			fds += n
		}
		got = append(got, fmt.Sprintf("%d descriptors", fds))
		if step.echo {
			_, err := far.Write([]byte("a line\n"))
			require.NoError(t, err)
			all, err := io.ReadAll(far)
			require.NoError(t, err)
			got = append(got, string(all))
		}
	}
	require.Empty(t, p.read)
	require.NoError(t, p.write(p.frame(`{"type":"leave"}`), -1))
	n, err := p.conn.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Equal(t, io.EOF, err)
	return append(got, fmt.Sprint(p.cmd.Wait()))
}

// A tap that gets everything in pieces, descriptors with the first, passes on what plain Node gets and sends in one.
func TestTapPieces(t *testing.T) {
	testkit.CheckLeaks(t)
	argv := []string{testkit.Node(t), testkit.Fixture("scenario_child.js")}
	for _, mode := range []string{"json", "advanced"} {
		want := piecewise(t, exec.Command(argv[0], argv[1:]...), mode, 64<<10)
		require.Equal(t, "<nil>", want[len(want)-1])
		for _, piece := range []int{1, 7} {
			got := piecewise(t, tapCommand(append([]string{"--output", os.DevNull, "--"}, argv...)...), mode, piece)
			require.Equal(t, want, got, "%s in pieces of %d", mode, piece)
		}
	}
}

// No byte is changed on the way through: neither in what JSON allows and nobody writes, nor in what is none.
func TestTapEveryByte(t *testing.T) {
	testkit.CheckLeaks(t)
	plain, err := v8.Marshal(map[string]any{"a": []any{1.5, "grüße", nil}})
	require.NoError(t, err)
	for mode, frames := range map[string][][]byte{
		"json": {
			[]byte("1\n"), []byte("-0.0e-0\n"), []byte(" \t{ \"a\" : 1.50, \"\\u0061\":2 }\r \n"),
			[]byte("\"\\ud800\\/<&>\\u003c\x7f\"\n"),
			[]byte("{\"cmd\":\"NODE_STRESS\",\"x\": 1}\n"), []byte("{\"cmd\":\"\\u004eODE_\\u0053\"}\n"),
			[]byte("{\"cmd\":\"NODE_SOCKET_GET_COUNT\",\"key\":\"4:127.0.0.1:0\" }\n"),
			[]byte("\"" + strings.Repeat("long", 20000) + "\"\n"),
			[]byte(strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "\n"),
			[]byte("\n"), []byte("no JSON\x00\n"), []byte("\"\xff\xc3\"\n"), []byte("\xef\xbb\xbf{}\n"),
			[]byte("\"last\"\n"),
		},
		"advanced": {
			v8Frame(plain), v8Frame(append(bytes.Clone(plain), 0, 0, 0)), v8Frame([]byte("\xff\x0f\x22\x02hi")),
			v8Frame([]byte("\xff\x10\x22\x02hi")), v8Frame([]byte("\xff\x0fo\"\x03cmd\"\x0bNODE_STRESS{\x01")),
			v8Frame([]byte("\xff\x0f\x5c\x63\x01")), v8Frame([]byte("\x01\x02")), v8Frame(nil),
			v8Frame(append([]byte("\xff\x0f\x22\x80\xf1\x04"), make([]byte, 80000)...)), v8Frame([]byte("\xff\x0fT")),
		},
	} {
		for _, piece := range []int{7, 64 << 10} {
			p := startRaw(t, tapCommand("--output", os.DevNull, "--", "sh", "-c", "exec cat <&3 >&3"), mode, piece)
			sent := make(chan error, 1)
			go func() { sent <- p.write(bytes.Join(frames, nil), -1) }()
			for _, frame := range frames {
				got, _ := p.next()
				require.True(t, bytes.Equal(p.padded(frame), got), "%.100q", frame)
			}
			require.NoError(t, <-sent)
			require.NoError(t, p.conn.Close())
			require.NoError(t, p.cmd.Wait())
		}
	}
}
