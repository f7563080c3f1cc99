package nodeipc

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What callers branch on. Errors of this package are, or wrap, one of these, an *OpError, a *DecodeError, a
// *ProtocolError, a *DroppedError, or the error of a context.
var (
	// ErrNoChannel: this process was not started with an IPC channel, or Connect has already taken it.
	ErrNoChannel = errors.New("nodeipc: no channel (NODE_CHANNEL_FD is not set): start this program from Node by spawn with 'ipc' in stdio or by fork with execPath, or from Go by nodeipc.Start; or Connect was called before")
	// ErrDisconnected: the channel has ended, or Disconnect was called. It also is net.ErrClosed.
	ErrDisconnected error = closedError("nodeipc: channel is disconnected")
	// ErrClosed: Close was called on this end. It also is net.ErrClosed.
	ErrClosed error = closedError("nodeipc: channel is closed")
	// ErrNoHandle: the message came without a handle, or the handle was taken or closed before.
	ErrNoHandle = errors.New("nodeipc: no handle, or already taken or closed")
	// ErrHandleKind: such a descriptor cannot be sent, or not as this type, or not be taken with this method. Only stream
	// sockets of TCP and unix domain and UDP sockets can be; a regular file or a pipe would abort a Node peer.
	ErrHandleKind = errors.New("nodeipc: only TCP, UDP and unix stream sockets can be sent or taken, each as what it is")
	// ErrHandleNotReceived: the peer answered that the handle did not arrive, as often as we sent it.
	ErrHandleNotReceived = errors.New("nodeipc: the peer did not receive the handle")
	// ErrHandleUnconfirmed: the frame with the handle was written, but no answer was seen. The peer may have the handle.
	ErrHandleUnconfirmed = errors.New("nodeipc: handle sent, but the peer has not confirmed it")
	// ErrMessageTooBig: a message is longer than Options.MaxMessage, or, sending, than any Node can hold.
	ErrMessageTooBig = errors.New("nodeipc: message too big")
	// ErrBacklogFull: the call waits for the peer, but this end has stopped reading, because Options.Backlog bytes wait
	// to be received and no Receive has come for a second. Receive in another goroutine.
	ErrBacklogFull = errors.New("nodeipc: waiting for the peer while this end's backlog is full and nobody receives")
	// ErrInternalMessage: the value would be taken for one of Node's own messages (an object whose member cmd begins
	// NODE_), some of which kill a Node peer. To send one on purpose wrap it in Internal.
	ErrInternalMessage = errors.New(`nodeipc: a value with a "cmd" that begins NODE_ would be taken for one of Node's internal messages; rename the member, or wrap it in nodeipc.Internal`)
	// ErrPeerNotReading: replies that the protocol demands pile up because the peer does not read; the channel has ended.
	ErrPeerNotReading = errors.New("nodeipc: the peer keeps asking but does not read the answers")
	// ErrHandleTimeout: the peer did not answer a handle within Options.HandleTimeout; the channel has ended.
	ErrHandleTimeout = errors.New("nodeipc: the peer did not answer a handle in time")
)

type closedError string

func (e closedError) Error() string        { return string(e) }
func (e closedError) Is(target error) bool { return target == net.ErrClosed }

// An OpError is a failed operation of this package: Op says what was tried, Err why it did not work.
type OpError struct {
	Op  string // "connect", "start", "send handle", …
	Err error
}

func (e *OpError) Error() string { return "nodeipc: " + e.Op + ": " + e.Err.Error() }
func (e *OpError) Unwrap() error { return e.Err }

// opError returns nil for a nil err.
func opError(op string, err error) error {
	if err == nil {
		return nil
	}
	return &OpError{op, err}
}

func opErrorf(op, format string, args ...any) error {
	return &OpError{op, fmt.Errorf(format, args...)}
}

// A DecodeError is a message that does not fit the Go value it was to be decoded into. The channel goes on.
type DecodeError struct {
	Serialization Serialization
	Type          string // of the Go value
	Err           error  // the decoder's own, such as a *json.UnmarshalTypeError
}

func (e *DecodeError) Error() string {
	return "nodeipc: decode " + e.Serialization.String() + " message into " + e.Type + ": " + short(e.Err.Error())
}
func (e *DecodeError) Unwrap() error { return e.Err }

// short makes an error's text that may quote the peer's harmless to print.
func short(text string) string {
	const head, tail = 200, 100
	if len(text) > head+tail {
		text = text[:head] + "…" + text[len(text)-tail:]
	}
	return strings.Map(func(r rune) rune { // which makes U+FFFD of the rest of characters that were cut
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, text)
}

// A ProtocolError is input that no Node peer sends: a line that is not JSON, a descriptor that belongs to nothing. The
// channel has ended.
type ProtocolError struct {
	What   string // what was wrong
	Sample string // the beginning of the input in question, quoted, or empty
	Err    error  // what it was recognised by, or nil
}

func (e *ProtocolError) Error() string {
	s := "nodeipc: protocol violation by the peer: " + e.What
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Sample != "" {
		s += ", in " + e.Sample
	}
	return s
}
func (e *ProtocolError) Unwrap() error { return e.Err }

// sample quotes the beginning of peer text for an error.
func sample(text []byte) string {
	const most = 60
	if len(text) > most {
		return strconv.Quote(string(text[:most])) + "…"
	}
	return strconv.Quote(string(text))
}

// A DroppedError reports, once, what a channel with Options.Overflow DropOldest threw away since the last Receive. The
// channel goes on: the next Receive returns the oldest message that was kept.
type DroppedError struct {
	Messages int
	Bytes    int64
}

func (e *DroppedError) Error() string {
	return fmt.Sprintf("nodeipc: %d messages (%d bytes) were dropped because nobody received them", e.Messages, e.Bytes)
}
