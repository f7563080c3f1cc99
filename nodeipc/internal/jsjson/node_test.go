package jsjson

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/testkit"
	"github.com/stretchr/testify/require"
)

// node is a Node process that answers questions about JSON (js_fixtures/json_peer.js).
type node struct {
	t  testing.TB
	in *bufio.Writer
	// Questions may be written ahead of their answers, but no more than fit into the pipes.
	out *bufio.Reader
}

func startNode(t testing.TB) *node {
	t.Helper()
	cmd := exec.Command(testkit.Node(t), testkit.Fixture("json_peer.js"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close() // nothing keeps the process alive then
		cmd.Wait()
	})
	return &node{t: t, in: bufio.NewWriterSize(in, 1<<16), out: bufio.NewReaderSize(out, 1<<16)}
}

func (n *node) ask(kind byte, text []byte) string {
	n.t.Helper()
	head := append([]byte{kind}, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(head[1:], uint32(len(text)))
	n.in.Write(head)
	n.in.Write(text)
	require.NoError(n.t, n.in.Flush())
	var size [4]byte
	_, err := io.ReadFull(n.out, size[:])
	require.NoError(n.t, err, "no answer to %c %q", kind, text)
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err = io.ReadFull(n.out, answer)
	require.NoError(n.t, err)
	return string(answer)
}

// eval is what JSON.stringify makes of a JavaScript expression.
func (n *node) eval(expression string) string { n.t.Helper(); return n.ask('v', []byte(expression)) }

// again is what JSON.stringify makes of what JSON.parse makes of text.
func (n *node) again(text []byte) string { n.t.Helper(); return n.ask('s', text) }

// class is E, U, or I and the cmd: an error, a user's message, an internal one.
func (n *node) class(text []byte) string { n.t.Helper(); return n.ask('c', text) }

func TestMain(m *testing.M) { testkit.Main(m) }
