package testkit

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// FreePort returns a port of this host that nobody has, for TCP nor UDP. Linux gives it to nobody who takes any. It is a
// new one each time: a worker of Node up to 20 that asks for one again may not share it with others.
func FreePort(tb testing.TB, host string) int {
	tb.Helper()
	return FreePorts(tb, host, 1)
}

// FreePorts returns the first of n free ports in a row.
func FreePorts(tb testing.TB, host string, n int) int {
	tb.Helper()
	for range 1000 {
		first, taken := 10000+rand.IntN(20000), false // those for any begin at 32768
		for port := first; port < first+n && !taken; port++ {
			_, taken = givenPorts.LoadOrStore(port, true)
			taken = taken || !free(net.JoinHostPort(host, strconv.Itoa(port)))
		}
		if !taken {
			Forked()
			return first
		}
	}
	tb.Fatal("all ports are taken")
	return 0
}

var givenPorts sync.Map

// FreeAddr returns an address of 127.0.0.1 that nobody has.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	return fmt.Sprintf("127.0.0.1:%d", FreePort(tb, "127.0.0.1"))
}

func free(addr string) bool {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer ln.Close()
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Forked waits until no child of this process has what was closed here before: one that is just being started has
// everything, until it becomes another program.
func Forked() {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
}
