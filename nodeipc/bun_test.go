//go:build unix

package nodeipc

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A worker of Bun under a Go primary that does the least that one has to; it learns of Bun by
// what the worker says first.
func TestBunWorker(t *testing.T) {
	testkit.CheckLeaks(t)
	if peer := testkit.Peer(t); peer.Kind != "Bun" {
		t.Skip("a worker of", peer, "is package cluster's")
	}
	ctx := limited(t)
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()

	var p *process
	begun := make(chan struct{})
	failed := make(chan error, 300)
	accepted := make(chan struct{}, 300)
	var mu sync.Mutex
	var acts, tapped []string
	inFlight, most := 0, 0
	internal := func(m *Message) {
		<-begun
		var ask struct {
			Act, AddressType string
			Ack              int
			Accepted         bool
			Seq              int
		}
		m.Decode(&ask) // AddressType may be a number
		mu.Lock()
		acts = append(acts, ask.Act)
		mu.Unlock()
		reply := map[string]any{"cmd": "NODE_CLUSTER", "ack": ask.Seq, "key": "k" + ask.AddressType}
		switch {
		case ask.Act == "queryServer" && ask.AddressType == "udp4":
			reply["errno"] = 0
			err := p.QueueHandle(Internal{reply}, NewHandle(udp.(*net.UDPConn), DgramNative), func(err error) { failed <- err })
			if err != nil {
				failed <- err
			}
		case ask.Act == "queryServer":
			reply["errno"] = nil
			reply["sockname"] = map[string]any{"family": "IPv4", "address": "127.0.0.1", "port": 1234}
			failed <- p.Send(ctx, Internal{reply})
		case ask.Ack != 0 && ask.Accepted:
			accepted <- struct{}{}
		}
	}
	cmd := nodeCommand(t, "bun_worker.js")
	cmd.Env = append(os.Environ(), envWorkerID+"=7")
	p = start(t, cmd, &Options{Bun: true, HandlesInFlight: 16, Internal: internal, Tap: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case e.Dir == Sent && e.Handle != "":
			inFlight++
		case e.Internal == cmdHandleACK:
			inFlight--
		}
		most = max(most, inFlight)
		tapped = append(tapped, fmt.Sprint(e.Dir, " ", e.Internal, " ", e.Handle))
	}})
	close(begun)

	require.JSONEq(t, `{"worker":7,"port":1234}`, text(t, p.Channel))
	require.NoError(t, <-failed)
	require.NoError(t, <-failed)

	var wires [200]wire
	for i := range wires {
		wires[i] = tcpWire(t)
		newconn := Internal{json.RawMessage(fmt.Sprintf(`{"cmd":"NODE_CLUSTER","act":"newconn","key":"k","seq":%d}`, 100+i))}
		h := NewHandle(wires[i].here.(*net.TCPConn), NetNative)
		require.NoError(t, p.QueueHandle(newconn, h, func(err error) { failed <- err }))
	}
	for i, w := range wires {
		require.NoError(t, <-failed)
		w.here.Close()
		select {
		case <-accepted:
		case <-ctx.Done():
			t.Fatal("the worker says nothing of a connection")
		}
		fmt.Fprint(w.there, i)
		require.Equal(t, fmt.Sprint("hi ", i), all(t, w.there))
	}

	conn, err := net.Dial("udp4", udp.LocalAddr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, udp.Close()) // only the worker reads from it
	fmt.Fprint(conn, "datagram")
	buf := make([]byte, 100)
	k, err := conn.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "datagram", string(buf[:k]))

	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"online", "queryServer", "listening", "queryServer", "listening"}, acts[:5])
	require.Equal(t, 1, most)
	require.Contains(t, tapped, "sent NODE_CLUSTER net.Native")
	require.Contains(t, tapped, "sent NODE_CLUSTER dgram.Native")
	require.Contains(t, tapped, "received NODE_HANDLE_ACK ")
}
