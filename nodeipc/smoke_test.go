package nodeipc

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	a, b, err := Pipe(nil)
	require.NoError(t, err)
	require.NoError(t, a.Send(ctx, map[string]any{"x": 1}))
	m, err := b.Receive(ctx)
	require.NoError(t, err)
	require.Equal(t, `{"x":1}`, string(m.Data))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		m, err := b.Receive(ctx)
		if err != nil {
			panic(err)
		}
		l2, err := m.Handle.Listener()
		if err != nil {
			panic(err)
		}
		b.Send(ctx, l2.Addr().String())
		l2.Close()
	}()
	require.NoError(t, a.SendHandle(ctx, "server", ln))
	m, err = a.Receive(ctx)
	require.NoError(t, err)
	require.Equal(t, `"`+ln.Addr().String()+`"`, string(m.Data))
	ln.Close()
	a.Close()
	_, err = b.Receive(ctx)
	require.Equal(t, io.EOF, err)
	b.Close()
}

func TestNode(t *testing.T) {
	ctx := context.Background()
	cmd := exec.Command("node", "-e", "process.on('message', m => process.send(m))")
	cmd.Stderr = os.Stderr
	ch, err := Start(cmd, nil)
	require.NoError(t, err)
	for range 1000 {
		require.NoError(t, ch.Send(ctx, json.RawMessage(`{"a":[1,2,3]}`)))
	}
	for range 1000 {
		m, err := ch.Receive(ctx)
		require.NoError(t, err)
		require.Equal(t, `{"a":[1,2,3]}`, string(m.Data))
	}
	ch.Close()
	require.NoError(t, cmd.Wait())
}
