//go:build unix

package nodeipc

import (
	"fmt"
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// Each of many connections arrives with the message that it was sent with, although many are on their way at once, some
// with long messages, some in two parts, and some behind plain ones; and none has to be sent twice. Deno gets one at a
// time.
func TestHandlesInFlight(t *testing.T) {
	testkit.CheckLeaks(t)
	peer := testkit.Peer(t)
	for _, mode := range []Serialization{JSON, Advanced} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == Advanced && peer.Kind == "Bun" {
				t.Skip(bunAdvanced)
			}
			handlesInFlight(t, peer, mode)
		})
	}
}

func handlesInFlight(t *testing.T, peer testkit.Runtime, mode Serialization) {
	const n, limit = 2000, 16
	ctx := limited(t)
	inFlight, most, sent := 0, 0, 0 // Tap is called once at a time
	p := startNode(t, &Options{Serialization: mode, HandlesInFlight: limit, Bun: true, Tap: func(e Event) {
		switch {
		case e.Dir == Sent && e.Handle != "":
			sent++
			inFlight++
		case e.Internal == cmdHandleACK:
			inFlight--
		}
		most = max(most, inFlight)
	}}, "pipelining.js")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	parts := 0
	fdconn.SetFaults(&fdconn.Faults{Send: func(n int, withFD bool) (int, error) {
		if withFD {
			if parts++; parts%50 == 0 {
				n /= 2
			}
		}
		return n, nil
	}})
	t.Cleanup(func() { fdconn.SetFaults(nil) })
	failed := make(chan error, n)
	answered := make(chan error, n)
	open := make(chan struct{}, 4*limit)
	for i := range n {
		select {
		case open <- struct{}{}:
		case err := <-failed:
			t.Fatal(err)
		}
		there, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		here, err := ln.Accept()
		require.NoError(t, err)
		fmt.Fprint(there, i)
		m := map[string]any{"cmd": "newconn", "n": i}
		switch i % 60 {
		case 10, 11:
			m["pad"] = make([]byte, aloneFrame)
		case 20:
			m["pad"] = make([]byte, 200<<10)
		case 30, 31:
			require.NoError(t, p.Send(ctx, "plain"))
		}
		var v any = m
		h := NewHandle(here.(*net.TCPConn), NetSocket)
		if i%2 == 0 && peer.Kind == "Node" {
			m["cmd"] = "NODE_CLUSTER"
			v = Internal{m}
			h = NewHandle(here.(*net.TCPConn), NetNative)
		}
		require.NoError(t, p.QueueHandle(v, h, func(err error) {
			here.Close()
			if err != nil {
				failed <- err
			}
		}))
		go func() {
			answered <- func() error {
				defer there.Close()
				text := make([]byte, 100)
				k, err := there.Read(text)
				if want := fmt.Sprintf("%d came with %[1]d", i); err == nil && string(text[:k]) != want {
					err = fmt.Errorf("%q instead of %q", text[:k], want)
				}
				<-open
				return err
			}()
		}()
	}
	for range n {
		select {
		case err := <-answered:
			require.NoError(t, err)
		case err := <-failed:
			t.Fatal(err)
		case <-ctx.Done():
			t.Fatal("a connection has no answer")
		}
	}
	require.NoError(t, p.Disconnect(ctx))
	require.NoError(t, p.Close()) // Tap is not called any more
	require.Equal(t, n, sent)
	require.Zero(t, inFlight)
	t.Log("at most", most, "at once")
	if peer.Kind == "Deno" || runtime.GOOS != "linux" {
		require.Equal(t, 1, most)
	} else {
		require.LessOrEqual(t, most, limit)
		require.Greater(t, most, 1)
	}
}
