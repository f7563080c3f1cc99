package testkit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// A NodePeer is a Node process that answers questions, each answer one text, about what its script knows
// (js_fixtures/question_peer.js). It is for one goroutine.
type NodePeer struct {
	in  io.WriteCloser
	out io.Reader
	cmd *exec.Cmd
	buf bytes.Buffer
}

// StartPeer starts one that runs a script of js_fixtures; it ends with tb.
func StartPeer(tb testing.TB, script string) *NodePeer {
	tb.Helper()
	cmd := exec.Command(Node(tb), Fixture(script))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &NodePeer{in: in, out: out, cmd: cmd}
	tb.Cleanup(func() {
		in.Close() // nothing keeps the process alive then
		cmd.Wait()
	})
	return p
}

// Ask asks questions of the given kinds, one for each byte, about text, all in one round trip. Of several kinds all the
// questions and answers must fit into the pipes, 64 KiB each.
func (p *NodePeer) Ask(kinds string, text []byte) ([]string, error) {
	p.buf.Reset()
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(text)))
	for _, kind := range []byte(kinds) {
		p.buf.WriteByte(kind)
		p.buf.Write(size[:])
		p.buf.Write(text)
	}
	if _, err := p.in.Write(p.buf.Bytes()); err != nil {
		return nil, fmt.Errorf("testkit: %s %q: %w", kinds, text, err)
	}
	answers := make([]string, len(kinds))
	for i := range answers {
		if _, err := io.ReadFull(p.out, size[:]); err != nil {
			return nil, fmt.Errorf("testkit: no answer to %s %q: %w", kinds, text, err)
		}
		answer := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(p.out, answer); err != nil {
			return nil, fmt.Errorf("testkit: no answer to %s %q: %w", kinds, text, err)
		}
		answers[i] = string(answer)
	}
	return answers, nil
}
