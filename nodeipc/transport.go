package nodeipc

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// streamTransport is a connection that carries no descriptors and can only be waited for.
type streamTransport struct{ net.Conn }

func (t streamTransport) Read(p []byte) (int, []int, bool, error) {
	n, err := t.Conn.Read(p)
	if n > 0 {
		err = nil // it comes again
	} else if errors.Is(err, io.ErrClosedPipe) || errors.Is(err, syscall.ECONNRESET) {
		err = io.EOF
	}
	return n, nil, false, err
}

func (t streamTransport) TryWrite([]byte) (int, error) { return 0, fdconn.ErrAgain }

func (t streamTransport) TrySendFD([]byte, syscall.RawConn) (int, error) {
	return 0, &fdconn.HandleError{Err: errors.New("this connection carries no descriptors; a unix stream socket does")}
}

func (t streamTransport) TakesSeveral() bool  { return false }
func (t streamTransport) WaitWritable() error { return nil }
func (t streamTransport) Interrupt()          { t.SetReadDeadline(time.Unix(1, 0)) }
func (t streamTransport) Resume()             { t.SetReadDeadline(time.Time{}) }
