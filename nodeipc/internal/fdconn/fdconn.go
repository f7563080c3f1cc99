// Package fdconn moves bytes and the descriptors that travel with them over a connected stream socket. It knows
// nothing of messages. One goroutine may read and one may write at a time; Close and Interrupt may come from any.
package fdconn

import (
	"errors"
	"syscall"
	"time"
)

// ErrAgain is returned by the Try methods when the socket takes nothing more for now.
var ErrAgain = errors.New("fdconn: would block")

// MaxFDs is the most descriptors that one read can bring (Linux: SCM_MAX_FD).
const MaxFDs = 253

// A socket is what an *os.File and the connections of package net have in common.
type socket interface {
	syscall.Conn
	SetReadDeadline(time.Time) error
	Close() error
}

// A HandleError says that the descriptor to be sent could not be used; the connection is not concerned.
type HandleError struct{ Err error }

func (e *HandleError) Error() string { return e.Err.Error() }
func (e *HandleError) Unwrap() error { return e.Err }
