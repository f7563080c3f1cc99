package cluster

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// The messages of Node's cluster (docs/protocol.md 1.13 to 1.18; Node v20 lib/internal/cluster). The order of the members is
// that of a Node worker.

const cmdCluster = "NODE_CLUSTER"

// A query asks the primary for a share of an address: it is the queryServer message, and listening with the real port.
// What the members say is what a Node 20 worker says, so that the key, which the primary makes of address, port,
// addressType, fd and index, is the one that Node workers get.
type query struct {
	Cmd         string      `json:"cmd"`
	Act         string      `json:"act"`
	Index       int         `json:"index"`
	Data        *serverData `json:"data"`
	Address     *string     `json:"address"`           // null for no host and for a descriptor; else an IP or a path
	Port        *int        `json:"port"`              // -1 for a path, null for a descriptor
	AddressType any         `json:"addressType"`       // 4, 6, -1 for a path, "udp4", "udp6", null for a descriptor
	FD          *int        `json:"fd,omitempty"`      // of the primary; -1 for UDP
	Flags       *int        `json:"flags,omitempty"`   // absent for no host; 1 is ipv6Only
	Backlog     any         `json:"backlog,omitempty"` // false: the primary's default; absent for UDP
	Seq         int64       `json:"seq"`
}

// serverData is what a TLS server gives the workers that share its address.
type serverData struct {
	TicketKeys string `json:"ticketKeys"` // hexadecimal
}

// indexKey tells the queries apart that need different indexes.
func (q *query) indexKey() string {
	address, port, fd := "null", "null", "undefined"
	if q.Address != nil {
		address = *q.Address
	}
	if q.Port != nil {
		port = strconv.Itoa(*q.Port)
	}
	if q.FD != nil {
		fd = strconv.Itoa(*q.FD)
	}
	return fmt.Sprint(address, ":", port, ":", q.AddressType, ":", fd)
}

// randomPort tells whether the primary chooses the port, so that each index is another listener.
func (q *query) randomPort() bool { return q.Port != nil && *q.Port == 0 }

// A note is one of the worker's short messages: online, close, exitedAfterDisconnect.
type note struct {
	Cmd string `json:"cmd"`
	Act string `json:"act"`
	Key string `json:"key,omitempty"`
	Seq int64  `json:"seq"`
}

// An order is any message of the primary: an act, or a reply, which has an ack.
type order struct {
	Cmd      string `json:"cmd"`
	Act      string `json:"act"`
	Key      string `json:"key"`
	Seq      int64  `json:"seq"`
	Ack      *int64 `json:"ack"`
	Errno    any    `json:"errno"` // null, 0, or negative
	Data     any    `json:"data"`  // null, or a serverData
	Sockname *struct {
		Address string `json:"address"`
		Port    int    `json:"port"`
	} `json:"sockname"`
}

// err returns the failure that a reply tells of.
func (o *order) err() error {
	n, ok := o.Errno.(float64)
	switch {
	case o.Errno == nil, ok && n == 0:
		return nil
	case !ok || n > -1 || n < math.MinInt32 || n != math.Trunc(n):
		text, _ := json.Marshal(o.Errno)
		return fmt.Errorf("primary answered with errno %s", strings.Trim(string(text), `"`))
	}
	return syscall.Errno(-n)
}

// addr returns the address that the reply names, or nil.
func (o *order) addr() net.Addr {
	if o.Sockname == nil {
		return nil
	}
	return &net.TCPAddr{IP: net.ParseIP(o.Sockname.Address), Port: o.Sockname.Port}
}

// ticketKeys returns what the reply carries of TLS, or nil.
func (o *order) ticketKeys() []byte {
	data, _ := o.Data.(map[string]any)
	text, _ := data["ticketKeys"].(string)
	keys, err := hex.DecodeString(text)
	if err != nil || len(keys) != ticketKeysSize {
		return nil
	}
	return keys
}

// An answer to newconn, of which there is one for each connection: plain fields are the fastest.
type answer struct {
	Cmd      string `json:"cmd"`
	Ack      int64  `json:"ack"`
	Accepted bool   `json:"accepted"`
	Seq      int64  `json:"seq"`
}

// What follows is the primary's side.

// A report is any message of a worker: an act, or an answer to newconn, which has an ack. A queryServer has more members.
type report struct {
	Cmd      string `json:"cmd"`
	Act      string `json:"act"`
	Key      string `json:"key"`
	Seq      int64  `json:"seq"`
	Ack      *int64 `json:"ack"`
	Accepted bool   `json:"accepted"`
}

// A queryReply answers queryServer, with the members in Node's order.
type queryReply struct {
	Cmd      string      `json:"cmd"`
	Errno    any         `json:"errno"` // null under round robin, 0 with a socket, or a negative number: text would end a Node worker
	Key      string      `json:"key"`
	Ack      int64       `json:"ack"`
	Data     *serverData `json:"data"`
	Sockname *sockname   `json:"sockname,omitempty"`
	Seq      int64       `json:"seq"`
}

type sockname struct {
	Address string `json:"address"`
	Family  string `json:"family"`
	Port    int    `json:"port"`
}

// A newconn goes with a connection.
type newconn struct {
	Cmd string `json:"cmd"`
	Act string `json:"act"`
	Key string `json:"key"`
	Seq int64  `json:"seq"`
}

// An ackReply answers what needs no more.
type ackReply struct {
	Cmd string `json:"cmd"`
	Ack int64  `json:"ack"`
	Seq int64  `json:"seq"`
}
