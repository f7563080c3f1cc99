package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// dialogueOf shows a dialogue of a cluster: lines of the primary (P) and the worker (W), + with a handle of that type,
// with what is shown of them behind a line's =>.
func dialogueOf(t *testing.T, advanced bool, script string) {
	var events []event
	var want []string
	for l := range strings.Lines(strings.TrimSpace(script)) {
		frame, shown, _ := strings.Cut(strings.TrimSpace(l), " => ")
		who, data, _ := strings.Cut(frame, " ")
		from := parentSide
		if who[0] == 'W' {
			from = childSide
		}
		handle := ""
		if who[1:] != "" {
			handle = who[2:]
		}
		e := internal(from, data, nodeipc.HandleType(handle))
		if advanced {
			e.data = toV8(t, data)
		}
		events = append(events, e)
		want = append(want, shown)
	}
	got := display(t, showOptions{}, events...)
	for i := range got {
		got[i] = strings.SplitN(got[i], "  ", 4)[3]
	}
	require.Equal(t, want, got)
}

// toV8 writes a JSON text as a payload of V8.
func toV8(t *testing.T, text string) []byte {
	var v any
	require.NoError(t, (&nodeipc.Message{Data: []byte(text)}).Decode(&v))
	data, err := (&v8.Encoder{Layout: v8.Channel}).Append(nil, v)
	require.NoError(t, err)
	return data
}

// Dialogues of Node's cluster, as Node 12 to 26 have them.
func TestShowCluster(t *testing.T) {
	for _, script := range []string{
		// Round robin, Node 26, and Node 12 with port 0.
		`W {"cmd":"NODE_CLUSTER","act":"online","seq":0} => online
		W {"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"127.0.0.1","port":3000,"addressType":4,"flags":0,"backlog":0,"seq":1} => queryServer 127.0.0.1:3000
		P {"cmd":"NODE_CLUSTER","errno":null,"key":"127.0.0.1:3000:4:undefined","ack":1,"data":null,"sockname":{"address":"127.0.0.1","family":"IPv4","port":3000},"seq":0} => queryServer 127.0.0.1:3000 → ok
		W {"cmd":"NODE_CLUSTER","act":"listening","index":0,"data":null,"address":"127.0.0.1","port":3000,"addressType":4,"flags":0,"backlog":0,"seq":2} => listening 127.0.0.1:3000
		P+net.Native {"cmd":"NODE_CLUSTER","act":"newconn","key":"127.0.0.1:3000:4:undefined","seq":1} => newconn 127.0.0.1:3000 +net.Native
		W {"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3} => newconn → accepted
		P+net.Native {"cmd":"NODE_CLUSTER","act":"newconn","key":"127.0.0.1:3000:4:undefined","seq":2} => newconn 127.0.0.1:3000 +net.Native
		W {"cmd":"NODE_CLUSTER","ack":2,"accepted":false,"seq":4} => newconn → refused
		W {"cmd":"NODE_CLUSTER","act":"close","key":"127.0.0.1:3000:4:undefined","seq":5} => close 127.0.0.1:3000
		W {"cmd":"NODE_CLUSTER","act":"exitedAfterDisconnect","seq":6} => exitedAfterDisconnect
		P {"cmd":"NODE_CLUSTER","ack":6,"seq":3} => exitedAfterDisconnect → ok
		P {"cmd":"NODE_CLUSTER","ack":6,"seq":4} => answer to 6 → ok`,
		`W {"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"127.0.0.1","port":0,"addressType":4,"flags":0,"seq":1} => queryServer 127.0.0.1:0
		P {"cmd":"NODE_CLUSTER","errno":null,"key":"127.0.0.1:0:4:undefined:0","ack":1,"data":null,"sockname":{"address":"127.0.0.1","family":"IPv4","port":39109},"seq":0} => queryServer 127.0.0.1:0 → ok 127.0.0.1:39109
		W {"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"127.0.0.1","port":80,"addressType":4,"flags":0,"seq":2} => queryServer 127.0.0.1:80
		P {"cmd":"NODE_CLUSTER","errno":-98,"key":"127.0.0.1:80:4:undefined:0","ack":2,"data":null,"seq":3} => queryServer 127.0.0.1:80 → EADDRINUSE
		P {"cmd":"NODE_CLUSTER","act":"disconnect","seq":4} => disconnect`,
		// No host, IPv6, unix sockets, descriptors, UDP, the shared socket.
		`W {"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":3000,"addressType":4,"seq":1} => queryServer *:3000
		P {"cmd":"NODE_CLUSTER","errno":null,"key":"null:3000:4:undefined:0","ack":1,"data":null,"sockname":{"address":"::","family":"IPv6","port":3000},"seq":1} => queryServer *:3000 → ok [::]:3000
		W {"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"::1","port":0,"addressType":6,"flags":1,"seq":2} => queryServer [::1]:0
		W {"cmd":"NODE_CLUSTER","act":"close","key":"::1:0:6:undefined:0","seq":3} => close [::1]:0
		W {"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"/tmp/app.sock","port":-1,"addressType":-1,"backlog":0,"readableAll":true,"seq":4} => queryServer /tmp/app.sock
		P {"cmd":"NODE_CLUSTER","errno":null,"key":"/tmp/app.sock:-1:-1:undefined","ack":4,"data":null,"seq":2} => queryServer /tmp/app.sock → ok
		W {"cmd":"NODE_CLUSTER","act":"close","key":"/tmp/app.sock:-1:-1:undefined","seq":5} => close /tmp/app.sock
		W {"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":null,"addressType":null,"fd":3,"seq":6} => queryServer fd 3
		P+net.Native {"cmd":"NODE_CLUSTER","act":"newconn","key":"null:null:null:3:0","seq":3} => newconn fd 3 +net.Native
		P+net.Native {"cmd":"NODE_CLUSTER","act":"newconn","key":"null:null:null:3","seq":4} => newconn fd 3 +net.Native
		W {"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"::","addressType":"udp6","fd":-1,"flags":4,"seq":7} => queryServer udp6 [::]:0
		P+dgram.Native {"cmd":"NODE_CLUSTER","errno":0,"key":":::undefined:udp6:-1:0","ack":7,"data":null,"seq":5} => queryServer udp6 [::]:0 → ok +dgram.Native
		W {"cmd":"NODE_CLUSTER","act":"listening","index":0,"data":null,"address":"127.0.0.1","port":53,"addressType":"udp4","fd":-1,"flags":0,"seq":8} => listening udp4 127.0.0.1:53
		W {"cmd":"NODE_CLUSTER","act":"close","key":"127.0.0.1:0:udp4:-1:0","seq":9} => close udp4 127.0.0.1:0`,
		// What nobody sends.
		`W {"cmd":"NODE_CLUSTER","act":"bogus"} => bogus
		W {"cmd":"NODE_CLUSTER","act":"a b\u001b","seq":1} => "a b\u001b"
		W {"cmd":"NODE_CLUSTER","act":"newconn","key":{"a":1}} => newconn {"a":1}
		W {"cmd":"NODE_CLUSTER","act":"listening"} => listening *
		P {"cmd":"NODE_CLUSTER","ack":5,"errno":"EINVAL"} => answer to 5 → EINVAL
		P {"cmd":"NODE_CLUSTER","ack":1,"errno":"→\n"} => "a b\u001b" → "→\n"
		P {"cmd":"NODE_CLUSTER"} => NODE_CLUSTER  {"cmd":"NODE_CLUSTER"}`,
		// Socket lists.
		`P {"cmd":"NODE_SOCKET_GET_COUNT","key":"4:127.0.0.1:0"} => NODE_SOCKET_GET_COUNT 4:127.0.0.1:0
		W {"cmd":"NODE_SOCKET_COUNT","key":"4:127.0.0.1:0","count":1} => NODE_SOCKET_COUNT 4:127.0.0.1:0 → 1
		P {"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"4:127.0.0.1:0"} => NODE_SOCKET_NOTIFY_CLOSE 4:127.0.0.1:0
		W {"cmd":"NODE_SOCKET_ALL_CLOSED","key":"4:127.0.0.1:0"} => NODE_SOCKET_ALL_CLOSED 4:127.0.0.1:0
		W {"cmd":"NODE_OTHER","x":1} => NODE_OTHER  {"cmd":"NODE_OTHER","x":1}`,
	} {
		dialogueOf(t, false, script)
		if !strings.Contains(script, "bogus") && !strings.Contains(script, "OTHER") { // whose values have another order
			dialogueOf(t, true, script)
		}
	}
}

// Questions that are not answered, on channels without end, are forgotten.
func TestShowClusterBounded(t *testing.T) {
	d := dialogues{}
	for channel := range 2 * mostDialogues {
		e := internal(childSide, `{"cmd":"NODE_CLUSTER","act":"queryServer","seq":1}`, "")
		e.tap = channel
		d.name(&e, nil)
	}
	require.Len(t, d, mostDialogues)
	for seq := range 3 * mostQuestions {
		e := internal(childSide, fmt.Sprintf(`{"cmd":"NODE_CLUSTER","act":%q,"seq":%d}`, strings.Repeat("x", 1000), seq), "")
		_, text := d.name(&e, nil)
		require.Less(t, len(text), 2*longestText)
	}
	require.Len(t, d[1][childSide].asked, mostQuestions)
	e := internal(parentSide, fmt.Sprintf(`{"cmd":"NODE_CLUSTER","ack":%d}`, 3*mostQuestions-1), "")
	act, _ := d.name(&e, nil)
	require.NotEmpty(t, act)

	// The end of a channel ends its dialogue.
	s := newScreen(new(strings.Builder), showOptions{})
	s.event(internal(childSide, `{"cmd":"NODE_CLUSTER","act":"queryServer","seq":1}`, ""))
	require.Len(t, s.names, 1)
	s.event(event{tap: 1, kind: exited})
	require.Empty(t, s.names)
}
