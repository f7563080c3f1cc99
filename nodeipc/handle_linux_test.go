package nodeipc

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/nodeipc/internal/testkit"
)

// A descriptor that this process has no room for is one that did not arrive. The others keep their places.
func TestNoRoomForDescriptor(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	w := newWire(t)
	fd := fdOf(t, w.here)
	p.sendFD(frame(NetSocket, `"first"`)+"\n", fd)
	require.Equal(t, ack, p.line())
	takes(t, c, `"first"`, w)

	func() {
		var limit unix.Rlimit
		require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
		free := dup(t, w.here) // the lowest number that is free
		unix.Close(free)
		low := limit
		low.Cur = uint64(free)
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
		defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
		p.sendFD(frame(NetSocket, `"lost"`)+"\n", fd)
		require.Equal(t, nack, p.line())
	}()
	p.sendFD(frame(NetSocket, `"again"`)+"\n", fd)
	require.Equal(t, ack, p.line())
	takes(t, c, `"again"`, w)
	require.NoError(t, c.Disconnect(limited(t)))
	p.end()
}
