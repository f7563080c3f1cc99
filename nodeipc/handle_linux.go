package nodeipc

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// States of a TCP socket, the first byte of the kernel's struct tcp_info.
const (
	tcpSynSent = 2
	tcpClose   = 7
	tcpListen  = 10
)

// tcpState tells by one question that a socket is TCP, and connected or listening. It returns stateIdle for all others,
// and for what is no socket.
func tcpState(fd int) socketState {
	n, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return stateIdle
	}
	var info [4]byte
	binary.NativeEndian.PutUint32(info[:], uint32(n))
	switch info[0] {
	case tcpListen:
		return stateListening
	case tcpSynSent, tcpClose:
		return stateIdle
	}
	return stateConnected
}
