//go:build unix

package cluster

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// Moments that cannot be met from outside.

// newconn has found the listener, and it is closed before the connection is in its queue.
func TestConnectionAtClose(t *testing.T) {
	testkit.CheckLeaks(t)
	s := &share{addr: &net.TCPAddr{}}
	s.more.L = &s.mu
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	require.True(t, s.push(conn))
	require.True(t, s.shut())
	require.False(t, s.push(other), "nobody may accept any more")
	require.False(t, s.shut())
	require.Len(t, s.conns, 1)
}

// A request is given up when the channel has just ended, so that its reply does not come any more.
func TestRequestGivenUpAtTheEnd(t *testing.T) {
	testkit.CheckLeaks(t)
	ours, primary, err := nodeipc.Pipe(nil)
	require.NoError(t, err)
	defer ours.Close()
	defer primary.Close()
	w := &Worker{ch: ours, done: make(chan struct{}), pending: map[int64]*request{}, shares: map[string]*share{}}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	sent := make(chan struct{})
	go func() {
		_, err := w.ask(ctx, func(seq int64) any {
			defer close(sent)
			return &note{Cmd: cmdCluster, Act: "exitedAfterDisconnect", Seq: seq}
		}, nil)
		result <- err
	}()
	<-sent
	w.lost()
	cancel()
	primary.Close()
	select {
	case err := <-result:
		require.Error(t, err)
	case <-time.After(time.Minute):
		t.Fatal("ask does not return")
	}
}
