package main

import (
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// An event is what happened on a tapped channel.
type event struct {
	time   time.Time
	tap    int // number of the channel, from 1, in order of appearance in this output
	kind   eventKind
	from   side // of a message, and who disconnected
	parent process
	child  process

	// Of started.
	argv          []string
	serialization nodeipc.Serialization
	worker        string // NODE_UNIQUE_ID, or ""

	// Of message.
	data     []byte             // the payload; for a handle the message inside
	handle   nodeipc.HandleType // or ""
	internal string             // the cmd of an internal message, or ""

	// Of exited.
	code   int    // when signal is ""
	signal string // "SIGKILL"
}

// An eventKind is one of these. Their texts are in the JSON form.
type eventKind int

const (
	started eventKind = iota
	message
	disconnected
	exited
)

func (k eventKind) String() string {
	if k < started || k > exited {
		return "unknown"
	}
	return [...]string{"start", "message", "disconnect", "exit"}[k]
}

// A side is an end of a channel.
type side int

const (
	parentSide side = iota
	childSide
)

func (s side) String() string {
	if s == childSide {
		return "child"
	}
	return "parent"
}

// A process is an end of a channel as it is shown.
type process struct {
	pid  int
	name string // see names.go
}
