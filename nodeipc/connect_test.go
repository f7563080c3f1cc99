//go:build unix

package nodeipc

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// connectChild runs the role "connect" with these variables, and file as descriptor 3.
func connectChild(t testing.TB, file *os.File, env ...string) connectReport {
	t.Helper()
	cmd := self(t, "connect")
	cmd.Env = append(cmd.Env, env...)
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	out, err := cmd.Output()
	require.NoError(t, err, "the child: %s", stderrOf(err))
	var r connectReport
	require.NoError(t, json.Unmarshal(out, &r))
	return r
}

func stderrOf(err error) string {
	if exit, ok := err.(*exec.ExitError); ok {
		return string(exit.Stderr)
	}
	return ""
}

func TestConnect(t *testing.T) {
	for _, mode := range []string{"", "NODE_CHANNEL_SERIALIZATION_MODE=json"} {
		t.Run(mode, func(t *testing.T) {
			testkit.CheckLeaks(t)
			ours, theirs, err := fdconn.Pair() // theirs is in blocking mode, as Node's
			require.NoError(t, err)
			f, peer := os.NewFile(uintptr(theirs), "theirs"), os.NewFile(uintptr(ours), "ours")
			defer f.Close()
			defer peer.Close()
			_, err = peer.WriteString("\"from the parent\"\n")
			require.NoError(t, err)
			env := []string{"NODE_CHANNEL_FD=3", "NODE_UNIQUE_ID=1"}
			if mode != "" {
				env = append(env, mode)
			}
			r := connectChild(t, f, env...)
			require.Equal(t, connectReport{
				Second:      true,
				CloseOnExec: true,
				Nonblock:    true,
				Received:    `"from the parent"`,
			}, r)
		})
	}
}

// What the variables may hold, and what Connect says to it. Whatever it says, the variables are gone afterwards.
func TestConnectRefuses(t *testing.T) {
	testkit.CheckLeaks(t)
	dir := t.TempDir()
	open := func(f *os.File, err error) *os.File {
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	regular := open(os.Create(filepath.Join(dir, "file")))
	device := open(os.Open(os.DevNull))
	r, w, err := os.Pipe()
	open(r, err)
	open(w, err)
	pc, err := net.ListenPacket("unixgram", filepath.Join(dir, "s"))
	require.NoError(t, err)
	defer pc.Close()
	datagrams := open(pc.(*net.UnixConn).File())
	ours, theirs, err := fdconn.Pair()
	require.NoError(t, err)
	open(os.NewFile(uintptr(ours), "ours"), nil)
	socket := open(os.NewFile(uintptr(theirs), "theirs"), nil)

	for _, test := range []struct {
		name, fd string
		file     *os.File
		mode     string
		words    []string
	}{
		{name: "no variable"},
		{name: "empty", fd: "NODE_CHANNEL_FD="},
		{name: "no number", fd: "NODE_CHANNEL_FD=abc", file: socket, words: []string{`NODE_CHANNEL_FD="abc"`, "not a plain number"}},
		{name: "negative", fd: "NODE_CHANNEL_FD=-1", file: socket, words: []string{`NODE_CHANNEL_FD="-1"`, "not a plain number"}},
		{name: "number and more", fd: "NODE_CHANNEL_FD=3abc", file: socket, words: []string{`NODE_CHANNEL_FD="3abc"`, "not a plain number"}},
		{name: "spaces", fd: "NODE_CHANNEL_FD=  3", file: socket, words: []string{`NODE_CHANNEL_FD="  3"`, "not a plain number"}},
		{name: "sign", fd: "NODE_CHANNEL_FD=+3", file: socket, words: []string{`NODE_CHANNEL_FD="+3"`}},
		{name: "fraction", fd: "NODE_CHANNEL_FD=3.0", file: socket, words: []string{`NODE_CHANNEL_FD="3.0"`}},
		{name: "other digits", fd: "NODE_CHANNEL_FD=\u0663", file: socket, words: []string{"not a plain number"}},
		{name: "32 bits and a half", fd: "NODE_CHANNEL_FD=4294967299", file: socket, words: []string{`NODE_CHANNEL_FD="4294967299"`, "no descriptor number"}},
		{name: "huge", fd: "NODE_CHANNEL_FD=99999999999999999999", file: socket, words: []string{`"99999999999999999999"`, "no descriptor number"}},
		{name: "closed", fd: "NODE_CHANNEL_FD=77", words: []string{"NODE_CHANNEL_FD=77", "descriptor 77 is not open"}},
		{name: "very high", fd: "NODE_CHANNEL_FD=2147483647", words: []string{"descriptor 2147483647 is not open"}},
		{name: "regular file", fd: "NODE_CHANNEL_FD=3", file: regular, words: []string{"descriptor 3 is a regular file", "expected"}},
		{name: "pipe", fd: "NODE_CHANNEL_FD=3", file: r, words: []string{"descriptor 3 is a pipe"}},
		{name: "device", fd: "NODE_CHANNEL_FD=3", file: device, words: []string{"descriptor 3 is a terminal or other character device"}},
		{name: "datagram socket", fd: "NODE_CHANNEL_FD=3", file: datagrams, words: []string{"descriptor 3 is a datagram socket"}},
		{name: "unknown mode", fd: "NODE_CHANNEL_FD=3", file: socket, mode: "xml", words: []string{`NODE_CHANNEL_SERIALIZATION_MODE="xml"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			env := []string{"NODE_UNIQUE_ID=7"}
			if test.fd != "" {
				env = append(env, test.fd)
			}
			if test.mode != "" {
				env = append(env, "NODE_CHANNEL_SERIALIZATION_MODE="+test.mode)
			}
			r := connectChild(t, test.file, env...)
			require.NotEmpty(t, r.Error)
			require.True(t, r.Second, "a second Connect")
			require.Empty(t, r.Left)
			require.Equal(t, test.words == nil, r.NoChannel, r.Error)
			require.False(t, r.Unsupported, r.Error)
			require.True(t, strings.HasPrefix(r.Error, "nodeipc: "), r.Error)
			for _, words := range test.words {
				require.Contains(t, r.Error, words)
			}
		})
	}
}

// fork, whose arguments are not the child's own, works like spawn.
func TestConnectUnderFork(t *testing.T) {
	testkit.CheckLeaks(t)
	underNode(t, "--fork greeting", "scenario")
}

// A process that a Go child starts sees no trace of the channel: no variables, no descriptor.
func TestGrandchildUnderNode(t *testing.T) {
	testkit.CheckLeaks(t)
	report := underNode(t, "grandchild", "scenario")
	seen := report["seen"].(map[string]any)
	require.Empty(t, seen["env"])
	require.Equal(t, false, seen["connected"])
}

// Neither does one that a Go parent starts beside its channels, or while handles come in.
func TestGrandchildOfGoParent(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "echo.js")
	send(t, p.Channel, "there?")
	require.Equal(t, `"there?"`, text(t, p.Channel))
	c, peer := raw(t, nil)
	w := newWire(t)
	peer.sendFD(frame(NetSocket, "1")+"\n", fdOf(t, w.here))
	require.Equal(t, ack, peer.line())
	m, err := c.Receive(limited(t))
	require.NoError(t, err)
	defer m.Handle.Close()

	out, err := nodeCommand(t, testkit.Fixture("grandchild.js")).Output()
	require.NoError(t, err)
	var seen struct {
		Env, Descriptors map[string]string
		Connected        bool
	}
	require.NoError(t, json.Unmarshal(out, &seen))
	require.Empty(t, seen.Env)
	require.False(t, seen.Connected)
	sockets := ownSockets(t)
	for fd, link := range seen.Descriptors {
		require.False(t, sockets[link], "descriptor %s is %s, which is ours", fd, link)
	}
}

// ownSockets returns the links of this process's sockets, where the system tells.
func ownSockets(t testing.TB) map[string]bool {
	const dir = "/proc/self/fd"
	sockets := make(map[string]bool)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return sockets
	}
	for _, e := range entries {
		if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(link, "socket:") {
			sockets[link] = true
		}
	}
	require.NotEmpty(t, sockets)
	return sockets
}
