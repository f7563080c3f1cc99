//go:build unix

package cluster_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A dialogue with a primary of Bun 1.4.5, in the words that were recorded from one (docs/protocol.md 6.1). TestRuntime has
// Bun itself.
func TestBunDialogue(t *testing.T) {
	testkit.CheckLeaks(t)
	var tapped []string
	w, p := start(t, &nodeipc.Options{Bun: true, Tap: func(e nodeipc.Event) { tapped = append(tapped, string(e.Data)) }})
	require.Equal(t, "\x02"+`{"cmd":"NODE_CLUSTER","act":"online","seq":0}`, p.line())
	result := listenElsewhere(context.Background(), w, "127.0.0.1:0")
	const about = `"index":0,"data":null,"address":"127.0.0.1","port":%d,"addressType":4,"flags":0,"backlog":false,"seq":%d}`
	require.Equal(t, "\x02"+`{"cmd":"NODE_CLUSTER","act":"queryServer",`+fmt.Sprintf(about, 0, 1), p.line())
	p.send("\x02" + `{"errno":null,"key":"k","ack":1,"data":null,"sockname":{"family":"IPv4","address":"127.0.0.1","port":45217},"seq":0}`)
	require.Equal(t, "\x02"+`{"cmd":"NODE_CLUSTER","act":"listening",`+fmt.Sprintf(about, 45217, 2), p.line())
	ln, err := result()
	require.NoError(t, err)

	client, server := p.connection()
	p.sendFD("\x02"+`{"act":"newconn","key":"k","$hasHandle":true,"seq":1}`, server)
	server.Close()
	require.Equal(t, `{"cmd":"NODE_HANDLE_ACK"}`, p.line())
	require.Equal(t, "\x02"+`{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3}`, p.line())
	accept(t, ln, client)

	p.send("\x02" + `{"act":"newconn","key":"k","$hasHandle":true,"seq":2}`) // whose descriptor got lost
	require.Equal(t, `{"cmd":"NODE_HANDLE_NACK"}`, p.line())
	require.Equal(t, "\x02"+`{"cmd":"NODE_CLUSTER","ack":2,"accepted":false,"seq":4}`, p.line())

	ctx := context.Background()
	p.send(`"to the program"`) // whose messages have no mark
	require.NoError(t, expect(w, `"to the program"`))
	require.NoError(t, w.Channel().Send(ctx, "to the primary"))
	require.Equal(t, `"to the primary"`, p.line())

	p.send("\x02" + `{"act":"disconnect","seq":3}`)
	<-w.Done()
	require.True(t, w.IsConnected())
	require.NoError(t, w.Disconnect(ctx))
	require.False(t, w.IsConnected())
	require.Equal(t, "\x02"+`{"cmd":"NODE_CLUSTER","act":"close","key":"k","seq":5}`, p.line())
	require.Empty(t, p.line())
	require.Equal(t, `{"cmd":"NODE_CLUSTER","act":"online","seq":0}`, tapped[0])
}

// What is no JSON behind the mark is the end, as elsewhere.
func TestBunNonsense(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := start(t, &nodeipc.Options{Bun: true})
	p.line()
	p.send("\x02" + `{"act":`)
	<-w.Channel().Done()
	var violation *nodeipc.ProtocolError
	require.ErrorAs(t, w.Channel().Err(), &violation)
}
