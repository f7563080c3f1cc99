//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package nodeipc

import (
	"os"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// channelPair makes our end, a descriptor, and the child's.
func channelPair() (ours int, child *os.File, err error) {
	ours, theirs, err := fdconn.Pair()
	if err != nil {
		return -1, nil, err
	}
	return ours, os.NewFile(uintptr(theirs), "ipc"), nil
}

func ownEnd(fd int) (transport, error) {
	t, err := fdconn.FromFD(fd)
	if err != nil {
		return nil, err
	}
	return t, nil
}
