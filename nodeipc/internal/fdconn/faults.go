//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package fdconn

import "sync/atomic"

// Faults make system calls fail that seldom do, for tests. Each function is asked before, or after, a call of any Conn,
// from the goroutine that makes it; nil means no faults of the kind.
type Faults struct {
	// Send is asked before n bytes are sent, with a descriptor or without: at most most of them are, or err, a
	// syscall.Errno, takes the place of the call.
	Send func(n int, withFD bool) (most int, err error)
	// Recv is asked the same before at most n bytes are read.
	Recv func(n int) (most int, err error)
	// Room is asked when descriptors have come: how many of the n there is room for.
	Room func(n int) int
}

var faults atomic.Pointer[Faults]

// SetFaults makes f the faults of all Conns of the process; nil ends them.
func SetFaults(f *Faults) { faults.Store(f) }

// sendFault cuts what is to be sent, or fails. Without faults it costs a nanosecond, beside a system call.
func sendFault(p []byte, withFD bool) ([]byte, error) {
	f := faults.Load()
	if f == nil || f.Send == nil {
		return p, nil
	}
	n, err := f.Send(len(p), withFD)
	return p[:min(n, len(p))], err
}

// recvFault cuts the room to read into, or fails.
func recvFault(p []byte) ([]byte, error) {
	f := faults.Load()
	if f == nil || f.Recv == nil {
		return p, nil
	}
	n, err := f.Recv(len(p))
	return p[:min(n, len(p))], err
}

// roomFault says how many of n received descriptors fit.
func roomFault(n int) int {
	f := faults.Load()
	if f == nil || f.Room == nil || n == 0 {
		return n
	}
	return f.Room(n)
}
