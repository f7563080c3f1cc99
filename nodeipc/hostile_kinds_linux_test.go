package nodeipc

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// kindTypes are the names under which each kind of descriptor is sent.
var kindTypes = []HandleType{NetSocket, NetServer, NetNative, "dgram.Socket", "dgram.Native", "never.Heard"}

// What Node makes of a descriptor, for each of kindTypes: it goes by the descriptor's own kind first.
var (
	kindNothing = []string{"NACK", "NACK", "NACK", "NACK", "NACK", "NACK"}
	kindAborts  = []string{"dies", "dies", "dies", "dies", "dies", "dies"} // SIGABRT
	kindPipe    = []string{"Socket", "dies", "Pipe", "dies", "Pipe", "dies"}
	kindTCP     = []string{"Socket", "dies", "TCP", "dies", "TCP", "dies"}
)

// A descriptorKind is a kind of descriptor that a peer may send.
type descriptorKind struct {
	name     string
	open     func(t *testing.T) int
	old, now []string // what Node ≤16 makes of it, and ≥18

	conn, listener string // the types that Handle.Conn and Handle.Listener return, or "" for an error
}

func descriptorKinds() []descriptorKind {
	fd := func(t *testing.T, fd int, err error) int {
		require.NoError(t, err)
		return fd
	}
	socket := func(domain, typ, proto int) func(t *testing.T) int {
		return func(t *testing.T) int {
			n, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
			if err == unix.EPERM || err == unix.EACCES || err == unix.EAFNOSUPPORT || err == unix.EPROTONOSUPPORT {
				t.Skip("not allowed here: ", err)
			}
			return fd(t, n, err)
		}
	}
	file := func(path string, flags int) func(t *testing.T) int {
		return func(t *testing.T) int {
			n, err := unix.Open(strings.Replace(path, "DIR", t.TempDir(), 1), flags|unix.O_CLOEXEC, 0o600)
			return fd(t, n, err)
		}
	}
	pipe := func(end int) func(t *testing.T) int {
		return func(t *testing.T) int {
			var p [2]int
			require.NoError(t, unix.Pipe2(p[:], unix.O_CLOEXEC))
			require.NoError(t, unix.Close(p[1-end]))
			return p[end]
		}
	}
	listener := func(network string) func(t *testing.T) int {
		return func(t *testing.T) int {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
			}
			ln, err := net.Listen(network, address)
			require.NoError(t, err)
			defer ln.Close()
			return dup(t, ln)
		}
	}
	server := func(socket []string) []string {
		s := append([]string(nil), socket...)
		s[1] = "Server"
		return s
	}
	return []descriptorKind{
		{"regular file", file("DIR/f", unix.O_CREAT|unix.O_RDWR), kindNothing, kindAborts, "", ""},
		{"memfd", func(t *testing.T) int { n, err := unix.MemfdCreate("m", unix.MFD_CLOEXEC); return fd(t, n, err) }, kindNothing, kindAborts, "", ""},
		{"terminal", file("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY), kindNothing, kindAborts, "", ""},
		{"/dev/null", file("/dev/null", unix.O_RDWR), kindNothing, kindAborts, "", ""},
		{"directory", file("DIR", unix.O_RDONLY|unix.O_DIRECTORY), kindNothing, kindNothing, "", ""},
		{"path", file("DIR", unix.O_PATH), kindNothing, kindNothing, "", ""},
		{"eventfd", func(t *testing.T) int { n, err := unix.Eventfd(0, unix.EFD_CLOEXEC); return fd(t, n, err) }, kindNothing, kindNothing, "", ""},
		{"epoll", func(t *testing.T) int { n, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC); return fd(t, n, err) }, kindNothing, kindNothing, "", ""},
		{"timerfd", func(t *testing.T) int {
			n, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
			return fd(t, n, err)
		}, kindNothing, kindNothing, "", ""},
		{"pidfd", func(t *testing.T) int { n, err := unix.PidfdOpen(os.Getpid(), 0); return fd(t, n, err) }, kindNothing, kindNothing, "", ""},
		{"pipe, to read", pipe(0), kindNothing, kindPipe, "", ""},
		{"pipe, to write", pipe(1), kindNothing, kindPipe, "", ""},
		{"FIFO", func(t *testing.T) int {
			path := filepath.Join(t.TempDir(), "fifo")
			require.NoError(t, unix.Mkfifo(path, 0o600))
			n, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
			return fd(t, n, err)
		}, kindNothing, kindPipe, "", ""},
		{"unix datagram socket", socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0), kindNothing, kindNothing, "", ""},
		{"unix seqpacket socket", socket(unix.AF_UNIX, unix.SOCK_SEQPACKET, 0), kindNothing, kindNothing, "", ""},
		{"unix seqpacket listener", func(t *testing.T) int {
			ln, err := net.Listen("unixpacket", filepath.Join(t.TempDir(), "s"))
			require.NoError(t, err)
			defer ln.Close()
			return dup(t, ln)
		}, kindNothing, kindNothing, "", ""},
		{"netlink socket", socket(unix.AF_NETLINK, unix.SOCK_RAW, 0), kindNothing, kindNothing, "", ""},
		{"raw socket", socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP), kindNothing, kindNothing, "", ""},
		{"packet socket", socket(unix.AF_PACKET, unix.SOCK_RAW, 0), kindNothing, kindNothing, "", ""},
		{"UDP socket", socket(unix.AF_INET, unix.SOCK_DGRAM, 0), []string{"dies", "dies", "UDP", "Socket", "UDP", "dies"},
			[]string{"dies", "dies", "UDP", "Socket", "UDP", "dies"}, "", ""},
		{"unix stream socket, not connected", socket(unix.AF_UNIX, unix.SOCK_STREAM, 0), kindPipe, kindPipe, "*net.UnixConn", ""},
		{"unix connection", func(t *testing.T) int { return dup(t, newWire(t).here) }, kindPipe, kindPipe, "*net.UnixConn", ""},
		{"unix listener", listener("unix"), server(kindPipe), server(kindPipe), "*net.UnixConn", "*net.UnixListener"},
		{"TCP socket, not connected", socket(unix.AF_INET, unix.SOCK_STREAM, 0), server(kindTCP), server(kindTCP), "*net.TCPConn", "*net.TCPListener"},
		{"TCP connection", func(t *testing.T) int { return dup(t, tcpWire(t).here) }, kindTCP, kindTCP, "*net.TCPConn", ""},
		{"TCP listener", listener("tcp"), server(kindTCP), server(kindTCP), "*net.TCPConn", "*net.TCPListener"},
	}
}

// kindFrame is the frame of "m" with a handle of that type, whole.
func kindFrame(typ HandleType) string {
	return `{"cmd":"NODE_HANDLE","type":"` + string(typ) + `","dgramType":"udp4","msg":"m"}` + "\n"
}

// Descriptors of every kind under every name, to a real Node.
func TestDescriptorKindsToNode(t *testing.T) {
	testkit.CheckLeaks(t)
	var p *rawPeer
	var exited func() error
	for _, kind := range descriptorKinds() {
		t.Run(kind.name, func(t *testing.T) {
			want := kind.now
			if testkit.Peer(t).Major() < 18 {
				want = kind.old
			}
			for i, typ := range kindTypes {
				if p == nil {
					cmd := nodeCommand(t, testkit.Fixture("hostile_peer.js"))
					cmd.Stderr = new(strings.Builder)
					p, exited = rawParent(t, cmd)
				}
				fd := kind.open(t)
				p.sendFD(kindFrame(typ), fd)
				require.NoError(t, unix.Close(fd))
				answers, well := p.play(nil)
				got := strings.TrimPrefix(joined(answers), `ACK "m" with `)
				if !well {
					got = "dies"
					require.Error(t, exited())
				}
				require.Equal(t, want[i], got, "as %s", typ)
				if !well {
					p.close()
					p = nil
				}
			}
			if p != nil { // a child belongs to its test
				p.close()
				require.NoError(t, exited())
				p = nil
			}
		})
	}
}

// The same to us: whatever it is, it is acknowledged and delivered, and each way to take it gives a connection or a
// listener of package net, as its documentation says, or an error.
func TestDescriptorKinds(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, nil)
	ctx := limited(t)
	for _, kind := range descriptorKinds() {
		t.Run(kind.name, func(t *testing.T) {
			for i, typ := range kindTypes {
				receive := func() *Handle {
					t.Helper()
					fd := kind.open(t)
					p.sendFD(kindFrame(typ), fd)
					require.NoError(t, unix.Close(fd))
					require.Equal(t, ack, p.line())
					m, err := c.Receive(ctx)
					require.NoError(t, err)
					require.Equal(t, `"m"`, string(m.Data))
					require.Equal(t, typ, m.Handle.Type())
					return m.Handle
				}
				h := receive()
				conn, err := h.Conn()
				require.Equal(t, kind.conn, typeOf(conn, err))
				if err == nil {
					require.NoError(t, conn.Close())
				} else {
					require.ErrorContains(t, err, "nodeipc: handle to net.Conn: ")
				}
				require.NoError(t, h.Close())

				h = receive()
				ln, err := h.Listener()
				require.Equal(t, kind.listener, typeOf(ln, err))
				if err == nil {
					require.NoError(t, ln.Close())
				} else {
					require.ErrorContains(t, err, "nodeipc: handle to net.Listener: ")
				}
				require.NoError(t, h.Close())

				h = receive()
				pc, err := h.PacketConn()
				if kind.name == "UDP socket" {
					require.NoError(t, err)
					require.NoError(t, pc.Close())
				} else {
					require.ErrorContains(t, err, "nodeipc: handle to net.PacketConn: ")
				}
				require.NoError(t, h.Close())

				h = receive()
				h.LocalAddr() // whatever it is
				// Sent on it is refused, unless it is what the name says.
				result := outcome(t, "SendHandle", func() error { return c.SendHandle(ctx, "on", h) })
				udp := kind.name == "UDP socket" && (typ == DgramSocket || typ == DgramNative)
				if udp || kind.conn != "" && (typ == NetNative || typ == NetSocket && strings.HasSuffix(kind.name, " connection") ||
					typ == NetServer && strings.HasSuffix(kind.name, " listener")) {
					require.NotEqual(t, "dies", kind.now[i])
					want := frame(typ, `"on"`)
					if udp && typ == DgramSocket {
						want = strings.TrimSuffix(want, "}") + `,"dgramType":"udp4"}`
					}
					if strings.HasPrefix(kind.name, "unix ") {
						want = ourFrame(typ, `"on"`)
					}
					require.Equal(t, want, p.line())
					p.handle()
					p.send(ack + "\n")
					require.NoError(t, result())
				} else {
					require.Error(t, result())
				}
				f, err := h.File()
				if err == nil { // O_PATH is in no mode
					require.NoError(t, f.Close())
				}
				require.NoError(t, h.Close())
			}
		})
	}
	require.NoError(t, c.Disconnect(ctx))
	p.end()
}

func typeOf(v any, err error) string {
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%T", v)
}
