//go:build unix

package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// FuzzPrimary gives a primary the messages of a worker, a line each. Whatever they are, the primary answers what comes
// behind them, and no worker has more listeners than it may.
func FuzzPrimary(f *testing.F) {
	const query = `{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"127.0.0.1","port":0,"addressType":4,"flags":0,"backlog":10,"seq":1}`
	for _, lines := range []string{
		query,
		query + "\n" + strings.ReplaceAll(query, `"index":0`, `"index":1`) + "\n" + query,
		strings.ReplaceAll(query, "queryServer", "listening"),
		strings.ReplaceAll(query, `"addressType":4`, `"addressType":"udp4","fd":-1`),
		strings.ReplaceAll(query, `"port":0`, `"port":-1`),
		strings.ReplaceAll(query, `"flags":0`, `"fd":3`),
		strings.ReplaceAll(query, `"data":null`, `"data":{"ticketKeys":"00"}`),
		strings.ReplaceAll(query, `"127.0.0.1"`, `"::1"`),
		query + "\n" + `{"cmd":"NODE_CLUSTER","act":"close","key":"127.0.0.1:0:4:undefined:0","seq":2}` + "\n" + query,
		`{"cmd":"NODE_CLUSTER","act":"online","seq":0}`,
		`{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3}`,
		`{"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":5}`,
	} {
		f.Add([]byte(lines))
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		p := &Primary{MaxListeners: 4, Allow: func(_ *Process, q Query) error {
			if q.Address == "127.0.0.1:0" || q.Address == "[::1]:0" {
				return nil // a port that nobody has
			}
			return errors.New("not in a test")
		}}
		w := &Process{p: p, id: 1, cmd: &exec.Cmd{Process: &os.Process{}}, dead: make(chan struct{})}
		answered := make(chan struct{})
		const last = 1 << 40
		one, other := ends(t)
		p.mu.Lock() // as Fork does
		w.ch = nodeipc.New(one, &nodeipc.Options{Internal: w.internal})
		p.mu.Unlock()
		theirs := nodeipc.New(other, &nodeipc.Options{Internal: func(m *nodeipc.Message) {
			var r ackReply
			m.Handle.Close()
			if m.Decode(&r) == nil && r.Ack == last {
				close(answered)
			}
		}})
		defer theirs.Close()
		defer w.ch.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for line := range bytes.Lines(lines) {
			if json.Valid(line) {
				theirs.Send(ctx, nodeipc.Internal{Value: json.RawMessage(line)}) // what is no internal message is refused
			}
		}
		if bytes.Contains(lines, []byte("1099511627776")) {
			t.Skip("the last message is told by its number")
		}
		require.NoError(t, theirs.Send(ctx, nodeipc.Internal{Value: &note{Cmd: cmdCluster, Act: "exitedAfterDisconnect", Seq: last}}))
		select {
		case <-answered:
		case <-ctx.Done():
			t.Fatal("the primary does not answer")
		}
		p.mu.Lock()
		require.LessOrEqual(t, len(w.shares), 4)
		p.gone(w)
		for _, l := range p.listeners {
			l.close()
		}
		require.Empty(t, p.listeners)
		p.unlock()
	})
}

// ends are two connected unix sockets.
func ends(t *testing.T) (one, other net.Conn) {
	a, b, err := fdconn.Pair()
	require.NoError(t, err)
	conn := func(fd int) net.Conn {
		f := os.NewFile(uintptr(fd), "pair")
		defer f.Close()
		c, err := net.FileConn(f)
		require.NoError(t, err)
		return c
	}
	return conn(a), conn(b)
}
