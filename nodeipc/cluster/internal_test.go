//go:build unix

package cluster

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
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

// A worker is looked after when its oldest connection is late, and not by the time of one that it has answered.
func TestAnswerTimeoutIsExact(t *testing.T) {
	for limit, want := range map[time.Duration]string{
		time.Second: "is killed, it does not answer\" worker=1 for=1s\n",
		15 * time.Second: "does not answer\" worker=1 for=10s unanswered=1\n" +
			"is killed, it does not answer\" worker=1 for=15s\n",
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			p := &Primary{AnswerTimeout: limit, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
				ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
						return slog.Attr{}
					}
					return a
				},
			}))}
			w := &Process{p: p, id: 1, reaped: true} // so that nobody is killed
			sent := func(seq int64) {
				p.mu.Lock()
				defer p.mu.Unlock()
				w.unanswered = append(w.unanswered, &incoming{l: &listener{p: p}, w: w, seq: seq, sent: time.Now()})
				w.watch()
			}
			for seq := range int64(10) {
				sent(seq)
				time.Sleep(limit / 4)
				if seq < 9 {
					p.mu.Lock()
					w.took(seq)
					p.mu.Unlock()
				}
			}
			time.Sleep(4 * limit)
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			require.Equal(t, want, strings.ReplaceAll(log.String(), `msg="cluster: worker `, ""))
		})
	}
}
