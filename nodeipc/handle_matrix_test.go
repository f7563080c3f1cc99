//go:build unix

package nodeipc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// Every kind of handle against a real Node, which is the child or the parent of this side:
// js_fixtures/handle_matrix.js.

// A far is handle_matrix.js at the other end of a channel. Its questions are numbered, so that an answer that is late
// is not taken for another.
type far struct {
	*Channel
	n int
}

// farAnswer is what it says.
type farAnswer struct {
	N             int
	Is            farIs
	At            farWhere
	Done, Closing bool
	Count         int
	Head, Error   string
	handle        *Handle // that came with it
}

// farIs is what a handle is in its eyes.
type farIs struct {
	Class, Family, Type         string
	Bound, Listening, Connected bool
}

// farWhere is an address, as it is said there.
type farWhere struct {
	Host string `json:"host,omitempty"`
	Port int    `json:"port,omitempty"`
	Path string `json:"path,omitempty"`
}

// A fields is a command's members.
type fields map[string]any

// ask sends a command with a new number, and with a handle unless h is nil.
func (f *far) ask(t testing.TB, do string, h any, more fields) (n int) {
	t.Helper()
	f.n++
	m := fields{"do": do, "n": f.n}
	for k, v := range more {
		m[k] = v
	}
	if h == nil {
		send(t, f.Channel, m)
	} else {
		require.NoError(t, f.SendHandle(limited(t), m, h))
	}
	return f.n
}

// answer receives the answer to a command.
func (f *far) answer(t testing.TB, n int) (a farAnswer) {
	t.Helper()
	a = f.next(t)
	require.Equal(t, n, a.N)
	require.Empty(t, a.Error)
	return a
}

func (f *far) next(t testing.TB) (a farAnswer) {
	t.Helper()
	m, err := f.Receive(limited(t))
	require.NoError(t, err)
	require.NoError(t, m.Decode(&a), "%s", m.Data)
	a.handle = m.Handle
	t.Cleanup(func() { m.Handle.Close() })
	return a
}

// done receives the news that a handle was used and closed there.
func (f *far) done(t testing.TB, n int) {
	t.Helper()
	require.True(t, f.answer(t, n).Done)
}

// alive checks that the other side answers, and that nothing else comes before.
func (f *far) alive(t testing.TB) {
	t.Helper()
	f.n++
	send(t, f.Channel, fields{"n": f.n})
	require.Equal(t, farAnswer{N: f.n}, f.answer(t, f.n))
}

// envMatrix tells this test binary that it is the child of handle_matrix.js, and which of matrixParts is to run.
const envMatrix = "NODEIPC_TEST_MATRIX"

var matrixParts = map[string]func(testing.TB, *far){
	"all":   allKinds,
	"dgram": dgramEachWay,
	"lists": listsEachWay,
}

// TestHandleMatrix runs with handle_matrix.js as the child and as the parent, each in both serializations. As the child
// of Node it is another process of this binary that runs the same test.
func TestHandleMatrix(t *testing.T) {
	testkit.CheckLeaks(t)
	if part := os.Getenv(envMatrix); part != "" {
		ch, err := Connect(matrixOptions(t, JSON))
		require.NoError(t, err)
		defer ch.Close()
		matrixParts[part](t, &far{Channel: ch})
		require.NoError(t, ch.Disconnect(limited(t)))
		return
	}
	for _, s := range []Serialization{JSON, Advanced} {
		t.Run("to a child, "+s.String(), func(t *testing.T) { toFarChild(t, "all", s) })
		t.Run("to a parent, "+s.String(), func(t *testing.T) { toFarParent(t, "all", s) })
	}
}

func matrixOptions(t testing.TB, s Serialization) *Options {
	opts := &Options{Serialization: s}
	if r := testkit.Peer(t); r.Kind == "Node" {
		opts.Node = r.Major()
	}
	return opts
}

func toFarChild(t testing.TB, part string, s Serialization) {
	p := startNode(t, matrixOptions(t, s), "handle_matrix.js")
	matrixParts[part](t, &far{Channel: p.Channel})
	require.NoError(t, p.Disconnect(limited(t)))
	require.NoError(t, p.wait())
}

func toFarParent(t testing.TB, part string, s Serialization) {
	bin, err := os.Executable()
	require.NoError(t, err)
	cmd := nodeCommand(t, "handle_matrix.js", "--serialization="+s.String(), "--parent",
		bin, "-test.run=^TestHandleMatrix$", "-test.timeout="+(2*patience).String())
	cmd.Env = append(os.Environ(), envMatrix+"="+part, quickExit)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "no tests to run")
}

// ------------------------------------------------------------------------------------------- the matrix

// A kind is one of the things that can be sent.
type kind struct {
	typ HandleType
	use string // what handle_matrix.js calls its use: socket, server or dgram
	// a server that does not listen yet
	bound bool
	first int // the first Node that has it
}

var kinds = []kind{
	{typ: NetSocket, use: "socket"},
	{typ: NetNative, use: "socket"},
	{typ: NetServer, use: "server"},
	{typ: NetNative, use: "server"},
	{typ: NetNative, use: "server", bound: true},
	{typ: NetBoundSocket, use: "server", bound: true, first: boundSocketNode},
	{typ: DgramSocket, use: "dgram"},
	{typ: DgramNative, use: "dgram"},
}

func (k kind) networks() []string {
	switch {
	case k.use == "dgram":
		return []string{"udp4", "udp6"}
	case k.typ == NetBoundSocket:
		return []string{"tcp4", "tcp6"}
	}
	return []string{"tcp4", "tcp6", "unix"}
}

// is tells what Node should see.
func (k kind) is(network string) farIs {
	is := farIs{Family: map[byte]string{'4': "IPv4", '6': "IPv6", 'x': "unix"}[network[3]], Bound: true}
	switch k.typ {
	case NetSocket:
		is.Class, is.Connected = "Socket", true
	case NetServer:
		is.Class, is.Listening = "Server", true
	case NetNative:
		is.Class, is.Connected = "TCP", k.use == "socket"
		if network == "unix" {
			is.Class, is.Connected = "Pipe", false // a Pipe does not tell
		}
	case NetBoundSocket:
		is.Class = "BoundSocket"
	case DgramSocket:
		is.Class, is.Type = "Socket", network
	case DgramNative:
		is.Class = "UDP"
	}
	return is
}

// allKinds is all there is, for Node.
func allKinds(tb testing.TB, f *far) {
	t := tb.(*testing.T)
	each(t, func(t *testing.T, k kind, network string, keep bool) {
		require.NoError(t, f.Err(), "the rest would only say the same")
		t.Run("to Node", func(t *testing.T) { toNode(t, f, k, network, keep) })
		if k.typ != NetBoundSocket || !keep { // Node cannot keep one
			t.Run("from Node", func(t *testing.T) { fromNode(t, f, k, network, keep) })
		}
		if !keep {
			t.Run("to Node and back", func(t *testing.T) { returned(t, f, k, network) })
			t.Run("from Node and back", func(t *testing.T) { sentBack(t, f, k, network) })
		}
	})
	t.Run("twice", func(t *testing.T) { sentTwice(t, f) })
	t.Run("refused", func(t *testing.T) { refused(t, f) })
	for _, network := range []string{"tcp4", "unix"} {
		t.Run("lists of Node, "+network, func(t *testing.T) { listOfNode(t, f, network) })
	}
	t.Run("lists to Node", func(t *testing.T) { listsToNode(t, f) })
	t.Run("a list that Node does not know", func(t *testing.T) { unknownList(t, f) })
	f.alive(t)
}

// dgramEachWay is what other runtimes may be asked, too.
func dgramEachWay(t testing.TB, f *far) {
	for _, network := range []string{"udp4", "udp6"} {
		if network == "udp6" && !hasIPv6() {
			continue
		}
		k := kind{typ: DgramSocket, use: "dgram"}
		toNode(t, f, k, network, false)
		fromNode(t, f, k, network, false)
	}
	f.alive(t)
}

// listsEachWay is the same for socket lists.
func listsEachWay(t testing.TB, f *far) {
	listOfNode(t, f, "tcp4")
	listsToNode(t, f)
	f.alive(t)
}

// each runs a test for every kind of handle and network, for a sender that closes its own at once, and one that keeps
// it.
func each(t *testing.T, test func(t *testing.T, k kind, network string, keep bool)) {
	for _, k := range kinds {
		if k.first > testkit.Peer(t).Major() {
			continue
		}
		name := string(k.typ) + " " + k.use
		if k.bound {
			name += " bound"
		}
		for _, network := range k.networks() {
			for _, keep := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %s keep=%v", name, network, keep), func(t *testing.T) {
					if network[3] == '6' && !hasIPv6() {
						t.Skip("this machine has no ::1")
					}
					test(t, k, network, keep)
				})
			}
		}
	}
}

var hasIPv6 = sync.OnceValue(func() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		ln.Close()
	}
	return err == nil
})

// somewhere returns an address that can be listened at or bound to.
func somewhere(t testing.TB, network string) string {
	switch network[3] {
	case '4':
		return "127.0.0.1:0"
	case '6':
		return "[::1]:0"
	}
	return filepath.Join(t.TempDir(), "s")
}

func whereOf(addr net.Addr) farWhere {
	switch addr := addr.(type) {
	case *net.TCPAddr:
		return farWhere{Host: addr.IP.String(), Port: addr.Port}
	case *net.UDPAddr:
		return farWhere{Host: addr.IP.String(), Port: addr.Port}
	}
	return farWhere{Path: addr.String()}
}

// somewhereThere is the same in the words of handle_matrix.js.
func somewhereThere(t testing.TB, network string) fields {
	address := somewhere(t, network)
	if network == "unix" {
		return fields{"path": address}
	}
	host, _, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return fields{"host": host, "port": 0}
}

// wireOn returns a connection of a network.
func wireOn(t testing.TB, network string) wire {
	ln, err := net.Listen(network, somewhere(t, network))
	require.NoError(t, err)
	return accepted(t, ln)
}

// ours is a handle of this side, made for a case.
type ours struct {
	h     any // what is sent
	close func() error
	addr  net.Addr
	there net.Conn // the other end of a connection
	here  any      // net.Conn, net.Listener, *os.File or net.PacketConn
}

// makeOurs makes a handle of a kind.
func makeOurs(t testing.TB, k kind, network string) (o ours) {
	switch {
	case k.use == "socket":
		w := wireOn(t, network)
		o = ours{here: w.here, there: w.there, close: w.here.Close}
	case k.bound:
		f, addr := boundSocket(t, network)
		o = ours{here: f, addr: addr, close: f.Close}
	case k.use == "server":
		ln, err := net.Listen(network, somewhere(t, network))
		require.NoError(t, err)
		o = ours{here: ln, addr: ln.Addr(), close: ln.Close}
	default:
		pc, err := net.ListenPacket(network, somewhere(t, network))
		require.NoError(t, err)
		require.NoError(t, pc.SetDeadline(time.Now().Add(patience)))
		o = ours{here: pc, addr: pc.LocalAddr(), close: pc.Close}
	}
	t.Cleanup(func() { o.close() })
	o.h = o.here
	// What SendHandle finds out itself it is left to.
	if !slices.Contains([]HandleType{NetSocket, NetServer, DgramSocket}, k.typ) {
		o.h = NewHandle(o.here.(syscall.Conn), k.typ)
	}
	return o
}

// boundSocket returns a stream socket that is bound and does not listen.
func boundSocket(t testing.TB, network string) (*os.File, net.Addr) {
	var fd int
	var err error
	var sa unix.Sockaddr
	switch network {
	case "tcp4":
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		sa = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	case "tcp6":
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
		sa = &unix.SockaddrInet6{Addr: [16]byte(net.IPv6loopback)}
	default:
		fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		sa = &unix.SockaddrUnix{Name: somewhere(t, network)}
	}
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "bound")
	t.Cleanup(func() { f.Close() })
	require.NoError(t, unix.Bind(fd, sa))
	rc, err := f.SyscallConn()
	require.NoError(t, err)
	addr, err := localAddr(rc)
	require.NoError(t, err)
	return f, addr
}

// toNode sends a handle to Node, which tells what it is and uses it.
func toNode(t testing.TB, f *far, k kind, network string, keep bool) {
	o := makeOurs(t, k, network)
	n := f.ask(t, "take", o.h, fields{"use": k.use})
	if !keep {
		require.NoError(t, o.close())
	} else if k.use == "socket" {
		_, err := io.WriteString(o.here.(net.Conn), "kept\n")
		require.NoError(t, err)
	}
	require.Equal(t, k.is(network), f.answer(t, n).Is)
	usedThere(t, f, n, k, o.there, o.addr, keep)
	if keep {
		usedHere(t, o)
	}
	nobody(t, o)
}

// usedThere has a handle that Node took used once.
func usedThere(t testing.TB, f *far, n int, k kind, there net.Conn, addr net.Addr, keep bool) {
	t.Helper()
	switch k.use {
	case "socket":
		r := bufio.NewReader(there)
		if keep {
			require.Equal(t, "kept\n", readLine(t, r))
		}
		writeLine(t, there, "hello")
		require.Equal(t, fmt.Sprintf("node %d hello\n", n), readLine(t, r))
	case "server":
		require.Equal(t, fmt.Sprintf("node %d hello\n", n), asked(t, addr))
	case "dgram":
		require.Equal(t, fmt.Sprintf("node %d hello", n), askedPacket(t, addr))
	}
	f.done(t, n)
}

// usedHere uses what was kept after Node has closed its copy.
func usedHere(t testing.TB, o ours) {
	t.Helper()
	switch here := o.here.(type) {
	case net.Conn: // before net.PacketConn: a *net.UDPConn is both
		if o.there != nil {
			carries(t, here, o.there)
		} else {
			answered := outcome(t, "a datagram", func() error { return echoOnce(here.(net.PacketConn), "go ") })
			require.Equal(t, "go hello", askedPacket(t, o.addr))
			require.NoError(t, answered())
		}
	case *os.File: // listens now, as Node has made it
		ln, err := net.FileListener(here)
		require.NoError(t, err)
		defer ln.Close()
		serves(t, ln)
	case net.Listener:
		serves(t, here)
	}
	require.NoError(t, o.close())
}

// nobody checks that all copies of a handle are closed.
func nobody(t testing.TB, o ours) {
	t.Helper()
	if o.there != nil {
		o.there.SetDeadline(time.Now().Add(patience))
		_, err := o.there.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		return
	}
	nobodyAt(t, o.addr)
}

func nobodyAt(t testing.TB, addr net.Addr) {
	t.Helper()
	if strings.HasPrefix(addr.Network(), "udp") {
		// Bun closes its own a little later than it says.
		require.Eventually(t, func() bool {
			pc, err := net.ListenPacket(addr.Network(), addr.String())
			if err == nil {
				pc.Close()
			}
			return err == nil
		}, patience, time.Millisecond, "somebody has it open")
		return
	}
	_, err := net.Dial(addr.Network(), addr.String())
	if !errors.Is(err, syscall.ENOENT) { // Node has removed the path of what it kept
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
}

// fromNode has Node make a handle and send it, and uses it here.
func fromNode(t testing.TB, f *far, k kind, network string, keep bool) {
	o, a := makeTheirs(t, f, k, network, keep)
	switch k.use {
	case "socket":
		conn, err := a.handle.Conn()
		require.NoError(t, err)
		defer conn.Close()
		require.IsType(t, o.there, conn)
		if keep {
			require.Equal(t, fmt.Sprintf("kept %d\n", a.N), readLine(t, bufio.NewReader(o.there)))
		}
		carries(t, conn, o.there)
		require.NoError(t, conn.Close())
	case "server":
		ln, err := a.handle.Listener()
		require.NoError(t, err)
		defer ln.Close()
		require.Equal(t, o.addr, ln.Addr())
		if !keep {
			serves(t, ln)
		} else {
			eitherServes(t, ln, fmt.Sprintf("node %d hello\n", a.N))
		}
		ln.Close()
	case "dgram":
		pc, err := a.handle.PacketConn()
		require.NoError(t, err)
		defer pc.Close()
		require.IsType(t, &net.UDPConn{}, pc)
		require.Equal(t, o.addr.String(), pc.LocalAddr().String())
		require.NoError(t, pc.SetDeadline(time.Now().Add(patience)))
		answered := outcome(t, "a datagram", func() error { return echoOnce(pc, "go ") })
		if got := askedPacket(t, o.addr); got == "go hello" {
			require.NoError(t, answered())
		} else { // one of those that have the socket gets it
			require.True(t, keep)
			require.Equal(t, fmt.Sprintf("node %d hello", a.N), got)
			require.NoError(t, pc.Close())
			require.ErrorIs(t, answered(), net.ErrClosed)
		}
		pc.Close()
	}
	_, err := a.handle.Conn()
	require.ErrorIs(t, err, ErrNoHandle, "it was taken")
	if keep { // only Node has it now
		switch k.use {
		case "server":
			require.Equal(t, fmt.Sprintf("node %d hello\n", a.N), asked(t, o.addr))
		case "dgram":
			require.Equal(t, fmt.Sprintf("node %d hello", a.N), askedPacket(t, o.addr))
		}
		send(t, f.Channel, fields{"do": "close", "n": a.N})
		f.done(t, a.N)
	}
	nobody(t, o)
}

// makeTheirs has Node make a handle and send it. Its own copy is closed then, or used.
func makeTheirs(t testing.TB, f *far, k kind, network string, keep bool) (o ours, a farAnswer) {
	t.Helper()
	make := func(where fields) {
		t.Helper()
		n := f.ask(t, "make", nil, fields{"type": k.typ, "net": network, "where": where, "keep": keep})
		a = f.answer(t, n)
		require.Equal(t, k.typ, a.handle.Type())
		addr, err := a.handle.LocalAddr()
		require.NoError(t, err)
		if network != "unix" { // of a Pipe Node does not always know the path
			require.Equal(t, a.At, whereOf(addr))
		}
		o.addr = addr
		f.alive(t)
	}
	switch {
	case k.use == "socket":
		ln, err := net.Listen(network, somewhere(t, network))
		require.NoError(t, err)
		defer ln.Close()
		make(fields{"to": whereOf(ln.Addr())})
		o.there, err = ln.Accept()
		require.NoError(t, err)
		there := o.there
		t.Cleanup(func() { there.Close() })
		require.NoError(t, there.SetDeadline(time.Now().Add(patience)))
	case k.use == "server" && !k.bound:
		make(fields{"listen": somewhereThere(t, network)})
	default:
		make(fields{"bind": somewhereThere(t, network)})
	}
	return o, a
}

// returned sends a handle to Node and gets it back.
func returned(t testing.TB, f *far, k kind, network string) {
	o := makeOurs(t, k, network)
	n := f.ask(t, "return", o.h, nil)
	require.NoError(t, o.close())
	a := f.answer(t, n)
	require.Equal(t, k.is(network), a.Is)
	require.Equal(t, k.typ, a.handle.Type())
	usedAgain(t, a.handle, k, o)
	f.alive(t) // and has closed its copy
	nobody(t, o)
}

// usedAgain uses what has come back.
func usedAgain(t testing.TB, h *Handle, k kind, o ours) {
	t.Helper()
	switch k.use {
	case "socket":
		conn, err := h.Conn()
		require.NoError(t, err)
		defer conn.Close()
		carries(t, conn, o.there)
	case "server":
		ln, err := h.Listener()
		require.NoError(t, err)
		defer ln.Close()
		serves(t, ln)
	case "dgram":
		pc, err := h.PacketConn()
		require.NoError(t, err)
		defer pc.Close()
		require.NoError(t, pc.SetDeadline(time.Now().Add(patience)))
		answered := outcome(t, "a datagram", func() error { return echoOnce(pc, "go ") })
		require.Equal(t, "go hello", askedPacket(t, o.addr))
		require.NoError(t, answered())
	}
}

// sentBack sends to Node, untaken, what came from there.
func sentBack(t testing.TB, f *far, k kind, network string) {
	o, a := makeTheirs(t, f, k, network, false)
	n := f.ask(t, "take", a.handle, fields{"use": k.use})
	require.NoError(t, a.handle.Close())
	require.Equal(t, k.is(network), f.answer(t, n).Is)
	usedThere(t, f, n, k, o.there, o.addr, false)
	nobody(t, o)
}

// sentTwice sends the same handles again: each time Node gets another copy.
func sentTwice(t testing.TB, f *far) {
	w := wireOn(t, "tcp4")
	for range 2 {
		n := f.ask(t, "take", w.here, fields{"use": "socket"})
		f.answer(t, n)
		usedThere(t, f, n, kind{use: "socket"}, w.there, nil, false)
	}
	carries(t, w.here, w.there)

	o := makeOurs(t, kind{typ: NetServer, use: "server"}, "tcp4")
	one, other := f.ask(t, "take", o.h, fields{"use": "server"}), f.ask(t, "take", o.h, fields{"use": "server"})
	require.NoError(t, o.close())
	f.answer(t, one)
	f.answer(t, other)
	var got []string
	for range 2 { // either may serve first
		got = append(got, asked(t, o.addr))
		require.True(t, f.next(t).Done)
	}
	require.ElementsMatch(t, []string{fmt.Sprintf("node %d hello\n", one), fmt.Sprintf("node %d hello\n", other)}, got)
	nobody(t, o)
}

// ------------------------------------------------------------------------------------------- traffic

func writeLine(t testing.TB, w io.Writer, line string) {
	t.Helper()
	_, err := io.WriteString(w, line+"\n")
	require.NoError(t, err)
}

func readLine(t testing.TB, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	return line
}

// asked connects, sends a line and returns all that comes back.
func asked(t testing.TB, addr net.Addr) string {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	require.NoError(t, err)
	writeLine(t, conn, "hello")
	return all(t, conn)
}

// askedPacket sends a datagram and returns the one that comes back from there.
func askedPacket(t testing.TB, addr net.Addr) string {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "hello")
	require.NoError(t, err)
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	require.NoError(t, err)
	return string(buf[:n])
}

// serveOnce answers the line of one connection.
func serveOnce(ln net.Listener) error {
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil {
		_, err = io.WriteString(conn, "go "+line)
	}
	return err
}

// echoOnce answers one datagram.
func echoOnce(pc net.PacketConn, prefix string) error {
	buf := make([]byte, 100)
	n, from, err := pc.ReadFrom(buf)
	if err == nil {
		_, err = pc.WriteTo(append([]byte(prefix), buf[:n]...), from)
	}
	return err
}

// serves has a listener serve a connection.
func serves(t testing.TB, ln net.Listener) {
	t.Helper()
	served := outcome(t, "a connection", func() error { return serveOnce(ln) })
	require.Equal(t, "go hello\n", asked(t, ln.Addr()))
	require.NoError(t, served())
}

// eitherServes does the same where somebody else listens, too, who answers with theirs.
func eitherServes(t testing.TB, ln net.Listener, theirs string) {
	t.Helper()
	served := outcome(t, "a connection", func() error { return serveOnce(ln) })
	if got := asked(t, ln.Addr()); got == "go hello\n" {
		require.NoError(t, served())
	} else {
		require.Equal(t, theirs, got)
		require.NoError(t, ln.Close())
		require.ErrorIs(t, served(), net.ErrClosed)
	}
}

// ------------------------------------------------------------------------------------------- UDP, odd ones

// What Node makes of UDP sockets that are connected or have no address yet.
func TestOddUDPSockets(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "handle_matrix.js")
	f := &far{Channel: p.Channel}
	// Node does not see that the socket is connected. It can receive there, but send to nobody: with an address libuv
	// refuses, without one Node itself.
	t.Run("connected to Node", func(t *testing.T) {
		peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer peer.Close()
		conn, err := net.Dial("udp4", peer.LocalAddr().String())
		require.NoError(t, err)
		defer conn.Close()
		n := f.ask(t, "take", conn, fields{"use": "dgram"})
		require.Equal(t, kind{typ: DgramSocket}.is("udp4"), f.answer(t, n).Is)
		_, err = peer.WriteTo([]byte("hello"), conn.LocalAddr())
		require.NoError(t, err)
		require.Contains(t, f.next(t).Error, "EISCONN")
		f.done(t, n)
	})
	t.Run("connected from Node", func(t *testing.T) {
		peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer peer.Close()
		to := fields{"to": whereOf(peer.LocalAddr())}
		n := f.ask(t, "make", nil, fields{"type": DgramSocket, "net": "udp4", "where": to})
		pc, err := f.answer(t, n).handle.PacketConn()
		require.NoError(t, err)
		defer pc.Close()
		conn := pc.(*net.UDPConn)
		require.Equal(t, peer.LocalAddr().String(), conn.RemoteAddr().String())
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		answered := outcome(t, "a datagram", func() error { return echoOnce(peer, "go ") })
		_, err = io.WriteString(conn, "hello")
		require.NoError(t, err)
		require.NoError(t, answered())
		buf := make([]byte, 100)
		size, err := conn.Read(buf)
		require.NoError(t, err)
		require.Equal(t, "go hello", string(buf[:size]))
	})
	// One without an address gets it when Node sends something. Node itself has none to send.
	t.Run("unbound to Node", func(t *testing.T) {
		peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer peer.Close()
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		require.NoError(t, err)
		file := os.NewFile(uintptr(fd), "unbound")
		defer file.Close()
		n := f.ask(t, "take", file, fields{"use": "dgram", "to": whereOf(peer.LocalAddr())})
		require.Equal(t, farIs{Class: "Socket", Family: "IPv4", Type: "udp4"}, f.answer(t, n).Is)
		require.NoError(t, peer.SetDeadline(time.Now().Add(patience)))
		require.NoError(t, echoOnce(peer, "go "))
		f.done(t, n)
		buf := make([]byte, 100)
		size, _, err := peer.ReadFrom(buf)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("node %d go hello", n), string(buf[:size]))
	})
	f.alive(t)
	require.NoError(t, p.Disconnect(limited(t)))
	require.NoError(t, p.wait())
}

// ------------------------------------------------------------------------------------------- refused

// What Node would choke on, or cannot use, is not sent, and the channel goes on.
func refused(t *testing.T, f *far) {
	file := func(f *os.File, err error) *os.File {
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	socket := func(family, typ int) *os.File {
		fd, err := unix.Socket(family, typ, 0)
		require.NoError(t, err)
		return file(os.NewFile(uintptr(fd), "socket"), nil)
	}
	r, w, err := os.Pipe()
	file(r, err)
	file(w, err)
	datagrams, err := net.ListenPacket("unixgram", filepath.Join(t.TempDir(), "d"))
	require.NoError(t, err)
	defer datagrams.Close()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	closedUDP, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	closedUDP.Close()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	closed, open := wireOn(t, "tcp4"), wireOn(t, "tcp4")
	closed.here.Close()
	bound, _ := boundSocket(t, "tcp4")
	boundUnix, _ := boundSocket(t, "unix")
	as := func(v any, t HandleType) *Handle { return NewHandle(v.(syscall.Conn), t) }
	type test struct {
		name string
		h    any
		is   error
	}
	cases := []test{
		{"regular file", file(os.Create(filepath.Join(t.TempDir(), "file"))), ErrHandleKind},
		{"pipe", r, ErrHandleKind},
		{"terminal", file(os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)), ErrHandleKind},
		{"unix datagram socket", datagrams, ErrHandleKind},
		{"unix datagram socket as dgram.Socket", as(datagrams, DgramSocket), ErrHandleKind},
		{"bound socket", bound, syscall.ENOTCONN},
		{"bound socket as net.Server", as(bound, NetServer), ErrHandleKind},
		{"bound unix socket as net.BoundSocket", as(boundUnix, NetBoundSocket), ErrHandleKind},
		{"listener as net.BoundSocket", as(ln, NetBoundSocket), ErrHandleKind},
		{"listener as net.Socket", as(ln, NetSocket), syscall.ENOTCONN},
		{"connection as net.Server", as(open.here, NetServer), ErrHandleKind},
		{"connection as net.BoundSocket", as(open.here, NetBoundSocket), ErrHandleKind},
		{"connection as dgram.Socket", as(open.here, DgramSocket), ErrHandleKind},
		{"connection as dgram.Native", as(open.here, DgramNative), ErrHandleKind},
		{"unconnected socket", socket(unix.AF_INET, unix.SOCK_STREAM), syscall.ENOTCONN},
		{"unconnected unix socket", socket(unix.AF_UNIX, unix.SOCK_STREAM), syscall.ENOTCONN},
		{"unbound socket as net.Server", as(socket(unix.AF_INET, unix.SOCK_STREAM), NetServer), ErrHandleKind},
		{"unbound socket as net.BoundSocket", as(socket(unix.AF_INET, unix.SOCK_STREAM), NetBoundSocket), ErrHandleKind},
		{"closed connection", closed.here, net.ErrClosed},
		{"closed UDP socket", closedUDP, net.ErrClosed},
	}
	for _, typ := range []HandleType{NetSocket, NetServer, NetNative, NetBoundSocket} {
		cases = append(cases, test{"UDP socket as " + string(typ), as(udp, typ), ErrHandleKind})
	}
	if testkit.Peer(t).Major() < boundSocketNode {
		cases = append(cases, test{"net.BoundSocket", as(bound, NetBoundSocket), ErrHandleKind})
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			err := f.SendHandle(limited(t), fields{"do": "take", "n": -1}, test.h)
			require.ErrorIs(t, err, test.is)
			require.ErrorContains(t, err, "nodeipc: ")
			require.Error(t, f.QueueHandle(fields{"do": "take", "n": -1}, test.h, func(error) { t.Error("done was called") }))
			f.alive(t)
		})
	}
}
