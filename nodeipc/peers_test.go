//go:build unix

package nodeipc

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// patience ends what would hang otherwise. A test that passes never waits for it.
const patience = time.Minute

// limited returns a context that ends when the test does, or hangs.
func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// ended waits until a channel is closed.
func ended(t testing.TB, done <-chan struct{}, what string) {
	t.Helper()
	ctx := limited(t)
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatalf("waited %v for %s\n%s", patience, what, goroutines())
	}
}

// goroutines tells where everybody is.
func goroutines() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}

// outcome runs f elsewhere and returns how to wait for its result.
func outcome[T any](t testing.TB, what string, f func() T) func() T {
	done := make(chan struct{})
	var v T
	go func() {
		defer close(done)
		v = f()
	}()
	return func() T {
		t.Helper()
		ended(t, done, what)
		return v
	}
}

// until waits for a state of c that no event tells of.
func until(t testing.TB, c *Channel, what string, state func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		c.mu.Lock()
		ok := state()
		c.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v until %s\n%s", patience, what, goroutines())
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// A process is a child with a channel to it.
type process struct {
	*Channel
	t      testing.TB
	cmd    *exec.Cmd
	stderr bytes.Buffer
	exited func() error
}

// start starts cmd with a channel. What is left of both at the end of the test is ended.
func start(t testing.TB, cmd *exec.Cmd, opts *Options) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd}
	cmd.Stderr = &p.stderr
	ch, err := Start(cmd, opts)
	require.NoError(t, err)
	p.Channel = ch
	p.exited = sync.OnceValue(cmd.Wait)
	t.Cleanup(func() {
		ch.Close()
		cmd.Process.Kill()
		p.exited()
		if t.Failed() {
			t.Logf("%s: %v\n%s", filepath.Base(cmd.Path), cmd.ProcessState, p.stderr.String())
		}
	})
	return p
}

// startNode starts a fixture, or with "-e" a script, in Node.
func startNode(t testing.TB, opts *Options, args ...string) *process {
	t.Helper()
	return start(t, nodeCommand(t, args...), opts)
}

func nodeCommand(t testing.TB, args ...string) *exec.Cmd {
	return testkit.Peer(t).Command(args...)
}

// The race detector waits a second at the end of a process.
const quickExit = "GORACE=atexit_sleep_ms=0"

// self returns the command that runs this test binary in a role.
func self(t testing.TB, role string) *exec.Cmd {
	bin, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), envRole+"="+role, quickExit)
	return cmd
}

// wait returns how the process ended, which it must do by itself.
func (p *process) wait() error {
	p.t.Helper()
	return outcome(p.t, "the end of "+p.cmd.Path, p.exited)()
}

// text receives a message and returns it.
func text(t testing.TB, c *Channel) string {
	t.Helper()
	m, err := c.Receive(limited(t))
	require.NoError(t, err)
	return string(m.Data)
}

// send sends v, which must work.
func send(t testing.TB, c *Channel, v any) {
	t.Helper()
	require.NoError(t, c.Send(limited(t), v))
}

// noMore receives the end.
func noMore(t testing.TB, c *Channel) {
	t.Helper()
	m, err := c.Receive(limited(t))
	if err == nil {
		t.Fatalf("received %.200q instead of the end", m.Data)
	}
	require.Equal(t, io.EOF, err)
}

// underNode runs js_fixtures/parent.js with this binary as the child in a role, and returns what it reports. scenario may
// have options of the script before its name.
func underNode(t testing.TB, scenario, role string, env ...string) map[string]any {
	t.Helper()
	bin, err := os.Executable()
	require.NoError(t, err)
	cmd := nodeCommand(t, append(append([]string{"parent.js"}, strings.Fields(scenario)...), bin)...)
	cmd.Env = append(append(os.Environ(), envRole+"="+role, quickExit), env...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	require.NoError(t, cmd.Start())
	ctx := limited(t)
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	err = cmd.Wait()
	var report map[string]any
	if json.Unmarshal(out.Bytes(), &report) != nil || err != nil || report["ok"] != true {
		t.Fatalf("%s: %v\n%v\n%s%s", scenario, err, report["error"], out.Bytes(), log.Bytes())
	}
	return report
}

// pair returns the two ends of a channel, which the test ends.
func pair(t testing.TB, opts *Options) (a, b *Channel) {
	t.Helper()
	a, b, err := Pipe(opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		a.Close()
		b.Close()
	})
	return a, b
}

// post sends a payload as it is, which Send would not do.
func (c *Channel) post(payload []byte) error {
	c.mu.Lock()
	defer c.unlock()
	return c.enqueue(context.Background(), nil, payload, true)
}

// encode appends the text of v as a channel in JSON mode does, without newline.
func encode(dst []byte, v any) ([]byte, error) {
	dst, err := (&Channel{codec: jsonCodec{}}).encode(dst, v)
	return jsonCodec{}.payload(dst), err
}

// A rawPeer is the other end of a channel, as bytes and descriptors. It is for the goroutine of the test.
type rawPeer struct {
	t     testing.TB
	fd    int
	in    []byte
	fds   []int // that came
	taken []int // and were looked at
}

// rawSockets returns a peer and a connection to make a channel of.
func rawSockets(t testing.TB) (*rawPeer, net.Conn) {
	t.Helper()
	ours, theirs, err := fdconn.Pair()
	require.NoError(t, err)
	p := &rawPeer{t: t, fd: theirs}
	t.Cleanup(p.close)
	tv := unix.NsecToTimeval(int64(patience))
	require.NoError(t, unix.SetsockoptTimeval(theirs, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	require.NoError(t, unix.SetsockoptTimeval(theirs, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv))
	f := os.NewFile(uintptr(ours), "ours")
	defer f.Close()
	conn, err := net.FileConn(f)
	require.NoError(t, err)
	return p, conn
}

// raw returns a channel and its peer.
func raw(t testing.TB, opts *Options) (*Channel, *rawPeer) {
	t.Helper()
	p, conn := rawSockets(t)
	c := New(conn, opts)
	t.Cleanup(func() { c.Close() })
	return c, p
}

// rawParent starts cmd as the child of a raw peer. What is left of it at the end of the test is killed.
func rawParent(t testing.TB, cmd *exec.Cmd) (p *rawPeer, exited func() error) {
	t.Helper()
	ours, theirs, err := fdconn.Pair()
	require.NoError(t, err)
	require.NoError(t, unix.SetNonblock(ours, false))
	f := os.NewFile(uintptr(theirs), "theirs")
	defer f.Close()
	p = &rawPeer{t: t, fd: ours}
	t.Cleanup(p.close)
	tv := unix.NsecToTimeval(int64(patience))
	require.NoError(t, unix.SetsockoptTimeval(ours, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	require.NoError(t, unix.SetsockoptTimeval(ours, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv))
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE=json")
	cmd.ExtraFiles = []*os.File{f}
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	require.NoError(t, cmd.Start())
	wait := sync.OnceValue(cmd.Wait)
	exited = outcome(t, "the end of the child", wait)
	t.Cleanup(func() {
		cmd.Process.Kill()
		wait()
	})
	return p, exited
}

// send writes text, in one call if the socket takes it.
func (p *rawPeer) send(text string) {
	p.t.Helper()
	require.NoError(p.t, p.write([]byte(text)))
}

func (p *rawPeer) write(text []byte) error {
	for len(text) > 0 {
		n, err := unix.Write(p.fd, text)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// readFD is unix.Read without its interruptions.
func readFD(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// sendFD writes text with descriptors on its first byte.
func (p *rawPeer) sendFD(text string, fds ...int) {
	p.t.Helper()
	n, err := unix.SendmsgN(p.fd, []byte(text), unix.UnixRights(fds...), nil, 0)
	require.NoError(p.t, err)
	require.Equal(p.t, len(text), n)
}

// read reads once and reports false at the end.
func (p *rawPeer) read() bool {
	p.t.Helper()
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(64*4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(p.fd, buf, oob, 0)
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.ECONNRESET:
			return false
		case unix.EAGAIN:
			p.t.Fatalf("raw peer: nothing came for %v; there is %.200q so far", patience, p.in)
		default:
			p.t.Fatalf("raw peer: %v", err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		require.NoError(p.t, err)
		for _, m := range messages {
			fds, err := unix.ParseUnixRights(&m)
			require.NoError(p.t, err)
			for _, fd := range fds {
				unix.CloseOnExec(fd)
			}
			p.fds = append(p.fds, fds...)
		}
		p.in = append(p.in, buf[:n]...)
		return n > 0
	}
}

// line returns the next line without its newline.
func (p *rawPeer) line() string {
	p.t.Helper()
	for {
		if line, rest, ok := bytes.Cut(p.in, []byte("\n")); ok {
			p.in = rest
			return string(line)
		}
		if !p.read() {
			p.t.Fatalf("raw peer: the end instead of a line, after %.200q", p.in)
		}
	}
}

// handle takes the oldest descriptor that has come. It stays the peer's.
func (p *rawPeer) handle() int {
	p.t.Helper()
	require.NotEmpty(p.t, p.fds, "no descriptor came")
	fd := p.fds[0]
	p.fds = p.fds[1:]
	p.taken = append(p.taken, fd)
	return fd
}

// end checks that the other side ends the connection and that nothing comes before.
func (p *rawPeer) end() {
	p.t.Helper()
	for p.read() {
	}
	assert.Empty(p.t, string(p.in), "came before the end")
	assert.Empty(p.t, p.fds, "descriptors came before the end")
}

func (p *rawPeer) close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
		p.fd = -1
	}
	for _, fd := range append(p.fds, p.taken...) {
		unix.Close(fd)
	}
	p.fds, p.taken = nil, nil
}

// fill writes lines of 0 until the socket is full, and returns how many.
func fill(t testing.TB, conn net.Conn) (n int) {
	t.Helper()
	rc, err := conn.(*net.UnixConn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		for {
			_, err := unix.Write(int(fd), []byte("0\n"))
			if err == unix.EAGAIN {
				return
			}
			if err != unix.EINTR {
				require.NoError(t, err)
				n++
			}
		}
	}))
	return n
}

const (
	ack  = `{"cmd":"NODE_HANDLE_ACK"}`
	nack = `{"cmd":"NODE_HANDLE_NACK"}`
)

// frame returns the frame of a message with a handle, without newline.
func frame(typ HandleType, msg string) string {
	return `{"cmd":"NODE_HANDLE","type":"` + string(typ) + `","msg":` + msg + `}`
}

// ourFrame is the frame that we send for a unix socket, which Deno wants named.
func ourFrame(typ HandleType, msg string) string {
	return strings.TrimSuffix(frame(typ, msg), "}") + `,"nativeKind":"pipe"}`
}

// A wire is a connection whose two ends are here: what is written at one can be read at the other.
type wire struct{ here, there net.Conn }

// newWire returns a connection of which only matters that it is one.
func newWire(t testing.TB) wire {
	t.Helper()
	one, other, err := fdconn.Pair()
	require.NoError(t, err)
	var ends [2]net.Conn
	for i, fd := range []int{one, other} {
		f := os.NewFile(uintptr(fd), "wire")
		ends[i], err = net.FileConn(f)
		f.Close()
		require.NoError(t, err)
		t.Cleanup(func() { ends[i].Close() })
		require.NoError(t, ends[i].SetDeadline(time.Now().Add(patience)))
	}
	return wire{ends[0], ends[1]}
}

// tcpWire returns a TCP connection.
func tcpWire(t testing.TB) wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return accepted(t, ln)
}

// unixWire returns a connection of unix domain.
func unixWire(t testing.TB) wire {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	return accepted(t, ln)
}

func accepted(t testing.TB, ln net.Listener) wire {
	t.Helper()
	defer ln.Close()
	there, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { there.Close() })
	here, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { here.Close() })
	limit := time.Now().Add(patience)
	require.NoError(t, here.SetDeadline(limit))
	require.NoError(t, there.SetDeadline(limit))
	return wire{here, there}
}

// fdOf returns the number of a connection's or listener's descriptor, which stays the connection's.
func fdOf(t testing.TB, v any) (fd int) {
	t.Helper()
	rc, err := v.(interface {
		SyscallConn() (syscall.RawConn, error)
	}).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(n uintptr) { fd = int(n) }))
	return fd
}

// carries checks that two connections are the ends of one.
func carries(t testing.TB, a, b net.Conn) {
	t.Helper()
	limit := time.Now().Add(patience)
	for i, ends := range [][2]net.Conn{{a, b}, {b, a}} {
		want := []byte("over the wire " + string(rune('0'+i)))
		ends[0].SetDeadline(limit)
		ends[1].SetDeadline(limit)
		_, err := ends[0].Write(want)
		require.NoError(t, err)
		got := make([]byte, len(want))
		_, err = io.ReadFull(ends[1], got)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

// dialled connects to addr and returns all that comes from there.
func dialled(t testing.TB, addr net.Addr) string {
	t.Helper()
	conn, err := net.Dial(addr.Network(), addr.String())
	require.NoError(t, err)
	return all(t, conn)
}

// all returns all that comes from conn, and closes it.
func all(t testing.TB, conn net.Conn) string {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	text, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(text)
}
