//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package nodeipc

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
)

// Windows has a channel of its own kind; elsewhere Node has none. Package nodeipc speaks neither so far.

var errOS = fmt.Errorf("%w on %s so far", errors.ErrUnsupported, runtime.GOOS)

func openChannel(int) (transport, error)    { return nil, errOS }
func channelPair() (int, *os.File, error)   { return -1, nil, errOS }
func ownEnd(int) (transport, error)         { return nil, errOS }
func setPeer(transport, int)                {}
func connTransport(conn net.Conn) transport { return streamTransport{conn} }

// Pipe returns the two ends of a new channel in this process, for tests.
func Pipe(opts *Options) (a, b *Channel, err error) { return nil, nil, opError("pipe", errOS) }
