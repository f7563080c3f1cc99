package cluster

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// The messages of Node's cluster (docs/protocol.md 1.13 to 1.18; Node v20 lib/internal/cluster). The order of the members is
// that of a Node worker.

const cmdCluster = "NODE_CLUSTER"

// A query asks the primary for a share of an address: it is the queryServer message, and listening with the real port.
// What the members say is what a Node 20 worker says, so that the key, which the primary makes of address, port,
// addressType, fd and index, is the one that Node workers get.
type query struct {
	Cmd         string          `json:"cmd"`
	Act         string          `json:"act"`
	Index       int             `json:"index"`
	Data        json.RawMessage `json:"data"`
	Address     *string         `json:"address"` // null for no host
	Port        int             `json:"port"`
	AddressType int             `json:"addressType"`     // 4 or 6
	Flags       *int            `json:"flags,omitempty"` // absent for no host; 1 is ipv6Only
	Backlog     bool            `json:"backlog"`         // false: the primary's default
	Seq         int64           `json:"seq"`
}

// indexKey tells the queries apart that need different indexes.
func (q *query) indexKey() string {
	address := "null"
	if q.Address != nil {
		address = *q.Address
	}
	return address + ":" + strconv.Itoa(q.Port) + ":" + strconv.Itoa(q.AddressType)
}

// A note is one of the worker's short messages: online, close, exitedAfterDisconnect, and the answer to newconn.
type note struct {
	Cmd      string `json:"cmd"`
	Act      string `json:"act,omitempty"`
	Key      string `json:"key,omitempty"`
	Ack      *int64 `json:"ack,omitempty"`
	Accepted *bool  `json:"accepted,omitempty"`
	Seq      int64  `json:"seq"`
}

// An order is any message of the primary: an act, or a reply, which has an ack.
type order struct {
	Cmd      string          `json:"cmd"`
	Act      string          `json:"act"`
	Key      string          `json:"key"`
	Seq      int64           `json:"seq"`
	Ack      *int64          `json:"ack"`
	Errno    json.RawMessage `json:"errno"` // null, 0, or negative
	Sockname *struct {
		Address string `json:"address"`
		Port    int    `json:"port"`
	} `json:"sockname"`
}

// err returns the failure that a reply tells of.
func (o *order) err() error {
	switch text := string(o.Errno); text {
	case "", "null", "0":
		return nil
	default:
		n, err := strconv.Atoi(text)
		if err != nil || n >= 0 {
			return fmt.Errorf("primary answered with errno %s", strings.Trim(text, `"`))
		}
		return syscall.Errno(-n)
	}
}

// addr returns the address that the reply names, or nil.
func (o *order) addr() *net.TCPAddr {
	if o.Sockname == nil {
		return nil
	}
	return &net.TCPAddr{IP: net.ParseIP(o.Sockname.Address), Port: o.Sockname.Port}
}

// accepted is the answer to newconn, written by hand because there is one for each connection.
func accepted(ack int64, yes bool, seq int64) nodeipc.Internal {
	b := make([]byte, 0, 80)
	b = append(b, `{"cmd":"`+cmdCluster+`","ack":`...)
	b = strconv.AppendInt(b, ack, 10)
	b = append(b, `,"accepted":`...)
	b = strconv.AppendBool(b, yes)
	b = append(b, `,"seq":`...)
	b = strconv.AppendInt(b, seq, 10)
	return nodeipc.Internal{Value: json.RawMessage(append(b, '}'))}
}
