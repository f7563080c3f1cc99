//go:build unix

package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// A rawPrimary is the primary of a worker in this process, as bytes and descriptors: the test answers by hand. It is for
// the goroutine of the test.
type rawPrimary struct {
	t   testing.TB
	fd  int
	in  []byte
	seq int
	ln  net.Listener // for connections
}

const workerID = 7

// join returns a worker in this process and its primary, which has seen that the worker is online.
func join(t testing.TB, opts *nodeipc.Options) (*cluster.Worker, *rawPrimary) {
	t.Helper()
	w, p := start(t, opts)
	require.Equal(t, `{"cmd":"NODE_CLUSTER","act":"online","seq":0}`, p.line())
	return w, p
}

func start(t testing.TB, opts *nodeipc.Options) (*cluster.Worker, *rawPrimary) {
	t.Helper()
	ours, theirs, err := fdconn.Pair()
	require.NoError(t, err)
	require.NoError(t, unix.SetNonblock(ours, false))
	p := &rawPrimary{t: t, fd: ours}
	t.Cleanup(p.close)
	limit := unix.NsecToTimeval(int64(patience))
	require.NoError(t, unix.SetsockoptTimeval(ours, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
	require.NoError(t, unix.SetsockoptTimeval(ours, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit))
	t.Setenv("NODE_CHANNEL_FD", strconv.Itoa(theirs))
	t.Setenv("NODE_CHANNEL_SERIALIZATION_MODE", "json")
	t.Setenv("NODE_UNIQUE_ID", strconv.Itoa(workerID))
	w, err := cluster.Join(opts)
	require.NoError(t, err)
	t.Cleanup(func() { w.Channel().Close() })
	return w, p
}

func (p *rawPrimary) close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
		p.fd = -1
	}
}

// send writes lines.
func (p *rawPrimary) send(format string, args ...any) {
	p.t.Helper()
	text := []byte(fmt.Sprintf(format, args...) + "\n")
	n, err := unix.Write(p.fd, text)
	require.NoError(p.t, err)
	require.Equal(p.t, len(text), n)
}

// sendFD writes a line with the descriptor of v, which stays the caller's.
func (p *rawPrimary) sendFD(line string, v syscall.Conn) {
	p.t.Helper()
	rc, err := v.SyscallConn()
	require.NoError(p.t, err)
	require.NoError(p.t, rc.Control(func(fd uintptr) {
		n, err := unix.SendmsgN(p.fd, []byte(line+"\n"), unix.UnixRights(int(fd)), nil, 0)
		require.NoError(p.t, err)
		require.Equal(p.t, len(line)+1, n)
	}))
}

// line returns the next line of the worker, "" at the end.
func (p *rawPrimary) line() string {
	p.t.Helper()
	for {
		if line, rest, ok := bytes.Cut(p.in, []byte("\n")); ok {
			p.in = rest
			return string(line)
		}
		buf := make([]byte, 64<<10)
		n, err := unix.Read(p.fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			p.t.Fatalf("the worker wrote nothing for %v; so far %q", patience, p.in)
		case err != nil:
			p.t.Fatalf("raw primary: %v", err)
		case n == 0:
			require.Empty(p.t, string(p.in), "the worker's last line is not complete")
			return ""
		}
		p.in = append(p.in, buf[:n]...)
	}
}

// frame is any message of a worker.
type frame struct {
	Cmd, Act, Key, Address string
	Index, Port            int
	Seq                    int
	Ack                    *int
	Accepted               *bool
}

// frame returns the next message of the worker.
func (p *rawPrimary) frame() (f frame) {
	p.t.Helper()
	line := p.line()
	require.NoError(p.t, json.Unmarshal([]byte(line), &f), "%q", line)
	return f
}

// awaits returns the next message of the worker, which must be this act.
func (p *rawPrimary) awaits(act string) frame {
	p.t.Helper()
	f := p.frame()
	require.Equal(p.t, act, f.Act, "%+v", f)
	return f
}

// grant gives the worker what it has asked for, as a Node 20 primary does under round robin.
func (p *rawPrimary) grant(q frame) (key string) {
	p.t.Helper()
	key = fmt.Sprintf("%s:%d:4:undefined:%d", q.Address, q.Port, q.Index)
	port := q.Port
	if port == 0 {
		port = 40000 + q.Index
	}
	p.send(`{"cmd":"NODE_CLUSTER","errno":null,"key":"%s","ack":%d,"data":null,"sockname":{"address":"%s","family":"IPv4","port":%d},"seq":%d}`,
		key, q.Seq, q.Address, port, p.next())
	return key
}

func (p *rawPrimary) next() int {
	p.seq++
	return p.seq - 1
}

// listen is Listen of the worker with the primary's part.
func (p *rawPrimary) listen(w *cluster.Worker, address string) (net.Listener, string) {
	p.t.Helper()
	result := listenElsewhere(context.Background(), w, address)
	key := p.grant(p.awaits("queryServer"))
	p.awaits("listening")
	ln, err := result()
	require.NoError(p.t, err)
	return ln, key
}

func listenElsewhere(ctx context.Context, w *cluster.Worker, address string) func() (net.Listener, error) {
	type result struct {
		ln  net.Listener
		err error
	}
	c := make(chan result, 1)
	go func() {
		ln, err := w.Listen(ctx, "tcp", address)
		c <- result{ln, err}
	}()
	return func() (net.Listener, error) {
		select {
		case r := <-c:
			return r.ln, r.err
		case <-time.After(patience):
			return nil, errors.New("Listen does not return")
		}
	}
}

// newconn gives the worker a connection and returns the client's end.
func (p *rawPrimary) newconn(key string) net.Conn {
	p.t.Helper()
	client, server := p.connection()
	p.sendFD(fmt.Sprintf(`{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"%s","seq":%d}}`, key, p.next()), server)
	server.Close() // from here on the worker has the only one
	return client
}

// accepted takes the worker's answers to the last newconn.
func (p *rawPrimary) accepted() bool {
	p.t.Helper()
	require.Equal(p.t, `{"cmd":"NODE_HANDLE_ACK"}`, p.line())
	return p.answered()
}

func (p *rawPrimary) answered() bool {
	p.t.Helper()
	f := p.frame()
	require.NotNil(p.t, f.Ack, "%+v", f)
	require.Equal(p.t, p.seq-1, *f.Ack)
	require.NotNil(p.t, f.Accepted)
	return *f.Accepted
}

// connection returns the ends of a TCP connection.
func (p *rawPrimary) connection() (client net.Conn, server *net.TCPConn) {
	p.t.Helper()
	if p.ln == nil { // one for all: each that had connections keeps its port for a minute
		var err error
		p.ln, err = net.Listen("tcp", "127.0.0.1:0")
		require.NoError(p.t, err)
		p.t.Cleanup(func() { p.ln.Close() })
	}
	client, err := net.Dial("tcp", p.ln.Addr().String())
	require.NoError(p.t, err)
	p.t.Cleanup(func() { client.Close() })
	conn, err := p.ln.Accept()
	require.NoError(p.t, err)
	p.t.Cleanup(func() { conn.Close() })
	require.NoError(p.t, client.SetDeadline(time.Now().Add(patience)))
	return client, conn.(*net.TCPConn)
}

// accept takes a connection from ln, which must be that of client.
func accept(t testing.TB, ln net.Listener, client net.Conn) {
	t.Helper()
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, client.LocalAddr().String(), conn.RemoteAddr().String())
	_, err = io.WriteString(conn, "hi")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	text, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "hi", string(text))
}

// closed checks that nobody has the other end of client any more.
func closed(t testing.TB, client net.Conn) {
	t.Helper()
	_, err := client.Read(make([]byte, 1))
	if err != io.EOF {
		require.ErrorIs(t, err, syscall.ECONNRESET)
	}
}

// ------------------------------------------------------------------------------------------------------- Join

func TestJoin(t *testing.T) {
	testkit.CheckLeaks(t)
	w, _ := join(t, nil)
	require.Equal(t, workerID, w.ID())
	require.NotNil(t, w.Channel())
	for _, name := range []string{"NODE_UNIQUE_ID", "NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE"} {
		_, set := os.LookupEnv(name)
		require.False(t, set, "%s would mislead what this process starts", name)
	}
	again, err := cluster.Join(nil)
	require.ErrorIs(t, err, cluster.ErrNotWorker)
	require.Nil(t, again)
}

// A program that no primary started runs alone.
func TestAlone(t *testing.T) {
	testkit.CheckLeaks(t)
	w, err := cluster.Join(nil)
	require.ErrorIs(t, err, cluster.ErrNotWorker)
	require.Nil(t, w)
	require.Zero(t, w.ID())
	require.Nil(t, w.Channel())
	require.Nil(t, w.Done())
	require.False(t, w.IsConnected())
	require.NoError(t, w.Disconnect(context.Background()))
	pc, err := w.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, pc.Close())

	ln, err := w.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	accept(t, ln, client)
	f, err := ln.(*net.TCPListener).File() // as from a service manager
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	fd, err := unix.Dup(int(f.Fd())) // which is taken over
	require.NoError(t, err)
	require.NoError(t, f.Close())
	ln, err = w.Listen(context.Background(), "fd", fmt.Sprint(fd))
	require.NoError(t, err)
	client, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	accept(t, ln, client)
	require.NoError(t, ln.Close())
	for _, at := range [][2]string{{"tcp", "127.0.0.1:nonsense"}, {"fd", "x"}, {"fd", "99999"}} {
		_, err = w.Listen(context.Background(), at[0], at[1])
		require.Error(t, err)
	}
}

func TestJoinErrors(t *testing.T) {
	ours, theirs, err := fdconn.Pair()
	require.NoError(t, err)
	defer unix.Close(ours)
	defer unix.Close(theirs)
	channel := strconv.Itoa(theirs)
	for _, test := range []struct {
		name, id, fd, mode string
		want               string // "" for ErrNotWorker
	}{
		{"garbage for an id", "x1", channel, "json", `NODE_UNIQUE_ID="x1" is no worker id`},
		{"an empty id", "", channel, "json", `NODE_UNIQUE_ID="" is no worker id`},
		{"no channel", "3", "", "", ""},
		{"garbage for a channel", "3", "abc", "json", `NODE_CHANNEL_FD="abc" is not a plain number`},
		{"a channel that is closed", "3", "1000000", "json", "NODE_CHANNEL_FD=1000000: descriptor 1000000 is not open"},
		{"an unknown serialization", "3", channel, "xml", `NODE_CHANNEL_SERIALIZATION_MODE="xml"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			t.Setenv("NODE_UNIQUE_ID", test.id)
			t.Setenv("NODE_CHANNEL_FD", test.fd)
			t.Setenv("NODE_CHANNEL_SERIALIZATION_MODE", test.mode)
			w, err := cluster.Join(nil)
			require.Nil(t, w)
			if test.want == "" {
				require.ErrorIs(t, err, cluster.ErrNotWorker)
				return
			}
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, "cluster: join: ")
			require.NotErrorIs(t, err, cluster.ErrNotWorker)
		})
	}
}

// ------------------------------------------------------------------------------------------------------- Listen

// What cannot be asked for is refused before the primary hears of it.
func TestListenRefuses(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ctx := context.Background()
	for _, network := range []string{"unixpacket", "udp", "tcp5", ""} {
		_, err := w.Listen(ctx, network, "127.0.0.1:0")
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, fmt.Sprintf("network %q in a cluster", network))
	}
	for _, test := range []struct{ network, address, want string }{
		{"tcp", "127.0.0.1", "listen tcp 127.0.0.1: address 127.0.0.1: missing port in address"},
		{"tcp", "127.0.0.1:port", "unknown port"},
		{"tcp", "127.0.0.1:65536", "invalid port"},
		{"tcp", "127.0.0.1:-1", "invalid port"},
		{"tcp4", "[::1]:0", "listen tcp4 [::1]:0: address ::1: no suitable address found"},
		{"tcp6", "127.0.0.1:0", "listen tcp6 127.0.0.1:0: address 127.0.0.1: no suitable address found"},
	} {
		_, err := w.Listen(ctx, test.network, test.address)
		require.ErrorContains(t, err, test.want, "%s %s", test.network, test.address)
		_, err = net.Listen(test.network, test.address)
		require.Error(t, err, "package net takes it")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := w.Listen(cancelled, "tcp", "127.0.0.1:0")
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, w.Channel().Send(ctx, "the next"))
	require.Equal(t, `"the next"`, p.line())
	ln, _ := p.listen(w, "127.0.0.1:0") // and it can still
	require.Equal(t, "127.0.0.1:40000", ln.Addr().String(), "an index was used up")
}

// A query that is given up stays one until the primary answers. What it grants then is given back, and only after that
// the index may be used again: a Node 20 primary would die of it.
func TestListenGivenUp(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	result := listenElsewhere(ctx, w, "127.0.0.1:0")
	first := p.awaits("queryServer")
	require.Zero(t, first.Index)
	cancel()
	ln, err := result()
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "listen tcp 127.0.0.1:0: ")
	require.Nil(t, ln)

	another := listenElsewhere(context.Background(), w, "127.0.0.1:0")
	second := p.awaits("queryServer")
	require.Equal(t, 1, second.Index)
	key := p.grant(first)
	require.Equal(t, key, p.awaits("close").Key)
	// Connections that the primary gave us in the meantime are not lost.
	client := p.newconn(key)
	require.False(t, p.accepted())
	closed(t, client)

	p.grant(second)
	p.awaits("listening")
	ln, err = another()
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	p.awaits("close")

	// None is left: they count from 0 again, also after a refusal that came late.
	ctx, cancel = context.WithCancel(context.Background())
	result = listenElsewhere(ctx, w, "127.0.0.1:0")
	q := p.awaits("queryServer")
	require.Zero(t, q.Index)
	cancel()
	_, err = result()
	require.ErrorIs(t, err, context.Canceled)
	p.send(`{"cmd":"NODE_CLUSTER","errno":-98,"key":"k","ack":%d,"data":null,"seq":%d}`, q.Seq, p.next())
	p.send(`{"cmd":"NODE_CLUSTER","act":"newconn","key":"k","seq":%d}`, p.next()) // its answer shows that the reply was handled
	require.False(t, p.answered())
	p.listen(w, "127.0.0.1:0")
}

// A socket that comes too late, under scheduling policy none, is closed.
func TestListenGivenUpSharedSocket(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	result := listenElsewhere(ctx, w, "127.0.0.1:0")
	q := p.awaits("queryServer")
	cancel()
	_, err := result()
	require.ErrorIs(t, err, context.Canceled)
	p.sendFD(sharedReply(q.Seq), boundSocket(t))
	require.Equal(t, `{"cmd":"NODE_HANDLE_ACK"}`, p.line())
	require.Equal(t, "k", p.awaits("close").Key)
}

func sharedReply(ack int) string {
	return fmt.Sprintf(`{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","errno":0,"key":"k","ack":%d,"data":null,"seq":0}}`, ack)
}

// boundSocket returns a socket that is bound and does not listen, as a primary passes it.
func boundSocket(t testing.TB) syscall.Conn {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "bound")
	t.Cleanup(func() { f.Close() })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	return f
}

func boundUnixSocket(t testing.TB, path string) syscall.Conn {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	f := os.NewFile(uintptr(fd), "bound")
	t.Cleanup(func() { f.Close() })
	return f
}

// Listeners of one address are opened and closed by many goroutines. The primary is as strict as Node 20's: a second
// queryServer for a key that the worker has is the end of it.
func TestIndexIsNeverInUseTwice(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	const rounds = 200
	var all sync.WaitGroup
	for g, port := range []string{"0", "0", "80", "80"} { // two of each, so that often none is open
		all.Go(func() {
			for i := 0; i < rounds; {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				if g == 0 && i%2 == 0 { // some are given up
					time.AfterFunc(time.Duration(i)*time.Microsecond, cancel)
				}
				ln, err := w.Listen(ctx, "tcp", "127.0.0.1:"+port)
				if err == nil {
					err = ln.Close()
				}
				cancel()
				switch {
				case err == nil || errors.Is(err, context.Canceled):
					i++
				case errors.Is(err, syscall.EADDRINUSE): // by the other goroutine: again, until it has let go
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	finished := make(chan error, 1)
	go func() {
		all.Wait()
		finished <- w.Channel().Send(context.Background(), "finished")
	}()
	open := map[string]bool{}
	most, granted, again := 0, 0, 0
	for {
		line := p.line()
		if line == `"finished"` {
			break
		}
		var f frame
		require.NoError(t, json.Unmarshal([]byte(line), &f), line)
		switch f.Act {
		case "queryServer":
			key := p.grant(f)
			require.False(t, open[key], "a Node 20 primary would be dead: %s", line)
			open[key] = true
			granted++
			if f.Index == 0 {
				again++
			}
			most = max(most, len(open))
		case "close":
			require.True(t, open[f.Key], line)
			delete(open, f.Key)
		case "listening":
		default:
			t.Fatal(line)
		}
	}
	require.NoError(t, <-finished)
	for len(open) > 0 { // what was given up last
		f := p.awaits("close")
		require.True(t, open[f.Key])
		delete(open, f.Key)
	}
	require.GreaterOrEqual(t, granted, 3*rounds)
	require.Greater(t, most, 1, "nothing happened at the same time")
	require.Greater(t, again, 10, "the index never started again")
}

func TestListenErrno(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	for _, test := range []struct {
		errno string
		want  error
		text  string
	}{
		{"-98", syscall.Errno(98), "listen tcp 127.0.0.1:80: bind: "},
		{"-13", syscall.Errno(13), "listen tcp 127.0.0.1:80: bind: "},
		{`"EADDRINUSE"`, nil, "listen tcp 127.0.0.1:80: primary answered with errno EADDRINUSE"},
		{"98", nil, "listen tcp 127.0.0.1:80: primary answered with errno 98"},
		{"-1.5", nil, "listen tcp 127.0.0.1:80: primary answered with errno -1.5"},
		{"true", nil, "listen tcp 127.0.0.1:80: primary answered with errno true"},
		{`{"a":1}`, nil, `listen tcp 127.0.0.1:80: primary answered with errno {"a":1}`},
	} {
		result := listenElsewhere(context.Background(), w, "127.0.0.1:80")
		q := p.awaits("queryServer")
		require.Zero(t, q.Index, "a refused query holds no index")
		p.send(`{"cmd":"NODE_CLUSTER","errno":%s,"key":"k","ack":%d,"data":null,"seq":%d}`, test.errno, q.Seq, p.next())
		ln, err := result()
		require.Nil(t, ln)
		require.ErrorContains(t, err, test.text)
		var op *net.OpError
		require.ErrorAs(t, err, &op)
		if test.want != nil {
			require.ErrorIs(t, err, test.want)
		}
	}
	p.listen(w, "127.0.0.1:80")
}

// Without sockname, as for a unix path, the address is the one that was asked for.
func TestListenWithoutSockname(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	for address, want := range map[string]string{"127.0.0.1:80": "127.0.0.1:80", ":80": ":80"} {
		result := listenElsewhere(context.Background(), w, address)
		p.send(`{"cmd":"NODE_CLUSTER","errno":null,"key":"%s","ack":%d,"data":null}`, address, p.awaits("queryServer").Seq)
		p.awaits("listening")
		ln, err := result()
		require.NoError(t, err)
		require.Equal(t, want, ln.Addr().String())
		require.Equal(t, "tcp", ln.Addr().Network())
	}
}

// A primary that has asked us to leave does not answer any more, so nothing is asked.
func TestListenAfterDisconnectOrder(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	p.send(`{"cmd":"NODE_CLUSTER","act":"disconnect","seq":0}`)
	<-w.Done()
	_, err := w.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.ErrorContains(t, err, "listen tcp 127.0.0.1:0: the primary has asked this worker to disconnect")
	require.NoError(t, w.Disconnect(context.Background()))
	require.Empty(t, p.line())
}

// A Listen that waits for its reply when the primary goes ends, too.
func TestListenWhenPrimaryGoes(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	result := listenElsewhere(context.Background(), w, "127.0.0.1:0")
	p.awaits("queryServer")
	p.close()
	_, err := result()
	require.ErrorIs(t, err, nodeipc.ErrDisconnected)
	<-w.Done()
	require.NoError(t, w.Disconnect(context.Background()))
}

// And so do those that come after, whether or not the first has noticed it in writing.
func TestListenAfterPrimaryWent(t *testing.T) {
	testkit.CheckLeaks(t)
	for range 20 {
		w, p := join(t, nil)
		p.close()
		for range 3 {
			_, err := w.Listen(context.Background(), "tcp", "127.0.0.1:0")
			require.ErrorIs(t, err, nodeipc.ErrDisconnected)
			require.NotContains(t, err.Error(), "bind")
		}
		require.NoError(t, w.Disconnect(context.Background()))
	}
}

// The same when it is given up at that moment.
func TestListenGivenUpWhenPrimaryGoes(t *testing.T) {
	testkit.CheckLeaks(t)
	for i := range 100 {
		w, p := join(t, nil)
		ctx, cancel := context.WithCancel(context.Background())
		result := listenElsewhere(ctx, w, "127.0.0.1:0")
		q := p.awaits("queryServer")
		if i%2 == 0 {
			p.grant(q)
		}
		go cancel()
		p.close()
		ln, err := result()
		switch {
		case err == nil:
			_, err = ln.Accept()
			require.ErrorIs(t, err, net.ErrClosed)
		case !errors.Is(err, context.Canceled):
			require.ErrorIs(t, err, net.ErrClosed)
		}
		<-w.Done()
	}
}

// ------------------------------------------------------------------------------------------------------- Accept, Close

// The first connection may come right behind the reply, in the same read.
func TestFirstConnectionBehindReply(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	result := listenElsewhere(context.Background(), w, "127.0.0.1:0")
	q := p.awaits("queryServer")
	client, server := p.connection()
	reply := fmt.Sprintf(`{"cmd":"NODE_CLUSTER","errno":null,"key":"k","ack":%d,"data":null,"sockname":{"address":"127.0.0.1","family":"IPv4","port":1234},"seq":0}`, q.Seq)
	conn := `{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"k","seq":1}}`
	p.sendFD(reply+"\n"+conn, server)
	server.Close()
	ln, err := result()
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:1234", ln.Addr().String())
	accept(t, ln, client)
}

// Connections that were given to us before Close are served after it.
func TestCloseDrains(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ln, key := p.listen(w, "127.0.0.1:0")
	var clients []net.Conn
	for range 3 {
		clients = append(clients, p.newconn(key))
		require.True(t, p.accepted())
	}
	accept(t, ln, clients[0])
	require.NoError(t, ln.Close())
	require.Equal(t, key, p.awaits("close").Key)
	require.NoError(t, ln.Close(), "a second Close")
	late := p.newconn(key)
	require.False(t, p.accepted())
	closed(t, late)
	accept(t, ln, clients[1])
	accept(t, ln, clients[2])
	for range 2 {
		_, err := ln.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.EqualError(t, err, "accept tcp 127.0.0.1:40000: use of closed network connection")
	}
	require.NoError(t, w.Channel().Send(context.Background(), "nothing before this"))
	require.Equal(t, `"nothing before this"`, p.line())
}

func TestCloseUnblocksAccept(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	for _, shared := range []bool{false, true} {
		var ln net.Listener
		if shared {
			result := listenElsewhere(context.Background(), w, "127.0.0.1:0")
			p.sendFD(sharedReply(p.awaits("queryServer").Seq), boundSocket(t))
			require.Equal(t, `{"cmd":"NODE_HANDLE_ACK"}`, p.line())
			p.awaits("listening")
			var err error
			ln, err = result()
			require.NoError(t, err)
		} else {
			ln, _ = p.listen(w, "127.0.0.1:0")
		}
		var results []chan error
		for range 3 {
			result := make(chan error, 1)
			results = append(results, result)
			go func() {
				_, err := ln.Accept()
				result <- err
			}()
		}
		require.NoError(t, ln.Close())
		p.awaits("close")
		for _, result := range results {
			select {
			case err := <-result:
				require.ErrorIs(t, err, net.ErrClosed)
			case <-time.After(patience):
				t.Fatal("Accept does not return")
			}
		}
		require.NoError(t, ln.Close())
	}
}

// Connections come while the listener is closed: each is either accepted or given back, and its descriptor closed.
func TestNewconnDuringClose(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	yes, no := 0, 0
	for round := range 50 {
		ln, key := p.listen(w, "127.0.0.1:0")
		accepted := make(chan int, 1)
		go func() {
			n := 0
			for {
				conn, err := ln.Accept()
				if err != nil {
					accepted <- n
					return
				}
				conn.Close()
				n++
			}
		}()
		var clients []net.Conn
		begin := make(chan struct{})
		finished := make(chan error, 1)
		go func() {
			<-begin
			finished <- ln.Close()
		}()
		for i := range 4 {
			clients = append(clients, p.newconn(key))
			if i == round%4 {
				close(begin)
			}
		}
		require.NoError(t, <-finished)
		took := 0
		for answers, acks, closes := 0, 0, 0; answers < 4 || acks < 4 || closes < 1; {
			switch f := p.frame(); {
			case f.Cmd == "NODE_HANDLE_ACK":
				acks++
			case f.Act == "close":
				closes++
			default:
				require.NotNil(t, f.Accepted, "%+v", f)
				answers++
				if *f.Accepted {
					took++
				}
			}
		}
		require.Equal(t, took, <-accepted, "what was promised and what Accept returned")
		for _, client := range clients {
			closed(t, client)
		}
		yes, no = yes+took, no+4-took
	}
	t.Logf("%d taken, %d given back", yes, no)
	require.NotZero(t, yes)
	require.NotZero(t, no)
}

// ------------------------------------------------------------------------------------------------------- leaving

func TestDisconnectByWorker(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	for _, port := range []string{"80", "81", "0", "0", "82"} {
		p.listen(w, "127.0.0.1:"+port)
	}
	result := make(chan error, 1)
	go func() { result <- w.Disconnect(context.Background()) }()
	for _, key := range []string{"80:4:undefined:0", "81:4:undefined:0", "0:4:undefined:0", "0:4:undefined:1", "82:4:undefined:0"} {
		require.Equal(t, "127.0.0.1:"+key, p.awaits("close").Key, "they are closed as they were opened")
	}
	f := p.awaits("exitedAfterDisconnect")
	select {
	case <-w.Done():
		t.Fatal("Done before the primary has answered")
	case err := <-result:
		t.Fatal("Disconnect has not waited for the answer:", err)
	default:
	}
	p.send(`{"cmd":"NODE_CLUSTER","ack":%d,"seq":%d}`, f.Seq, p.next())
	require.Empty(t, p.line())
	require.NoError(t, <-result)
	<-w.Done()
	require.Equal(t, io.EOF, w.Channel().Err())
	require.NoError(t, w.Disconnect(context.Background()), "a second time")
}

// If nobody answers the channel stays open, and it can be tried again.
func TestDisconnectGivenUp(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- w.Disconnect(ctx) }()
	late := p.awaits("exitedAfterDisconnect")
	cancel()
	err := <-result
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "cluster: disconnect: ")
	require.NoError(t, w.Channel().Send(context.Background(), "still here"))
	require.Equal(t, `"still here"`, p.line())
	go func() { result <- w.Disconnect(context.Background()) }()
	f := p.awaits("exitedAfterDisconnect")
	for _, seq := range []int{late.Seq, f.Seq} {
		p.send(`{"cmd":"NODE_CLUSTER","ack":%d,"seq":%d}`, seq, p.next())
	}
	require.NoError(t, <-result)
	require.Empty(t, p.line())
}

func TestDisconnectByPrimary(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ln, key := p.listen(w, "127.0.0.1:0")
	client := p.newconn(key)
	require.True(t, p.accepted())
	p.send(`{"cmd":"NODE_CLUSTER","act":"disconnect","seq":%d}`, p.next())
	<-w.Done()
	p.send(`{"cmd":"NODE_CLUSTER","act":"disconnect","seq":%d}`, p.next()) // once more is no harm
	p.send(`{"cmd":"NODE_CLUSTER","act":"newconn","key":"k","seq":%d}`, p.next())
	require.False(t, p.answered())
	accept(t, ln, client) // nothing ends by itself
	require.NoError(t, w.Disconnect(context.Background()))
	require.Equal(t, key, p.awaits("close").Key)
	require.Empty(t, p.line(), "exitedAfterDisconnect is for a worker that leaves by itself")
	_, err := ln.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

// When the primary goes, connections that nobody has accepted are closed with the listeners.
func TestPrimaryGoes(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ln, key := p.listen(w, "127.0.0.1:0")
	client := p.newconn(key)
	require.True(t, p.accepted())
	p.close()
	<-w.Done()
	closed(t, client)
	_, err := ln.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	require.NoError(t, ln.Close())
	require.NoError(t, w.Disconnect(context.Background()))
	require.Equal(t, io.EOF, w.Channel().Err())
}

// The primary goes while we leave, at any moment.
func TestPrimaryGoesDuringDisconnect(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, asked := range []bool{false, true} {
		for i := range 30 {
			w, p := join(t, nil)
			p.listen(w, "127.0.0.1:0")
			if asked {
				p.send(`{"cmd":"NODE_CLUSTER","act":"disconnect","seq":%d}`, p.next())
				<-w.Done()
			}
			result := make(chan error, 1)
			go func() { result <- w.Disconnect(context.Background()) }()
			if i%3 > 0 {
				p.awaits("close")
			}
			if i%3 > 1 && !asked {
				p.awaits("exitedAfterDisconnect")
			}
			p.close()
			require.NoError(t, <-result)
		}
	}
}

// ------------------------------------------------------------------------------------------------------- odd primaries

// What is not for the cluster goes to the caller's Internal, with its handle.
func TestOtherInternalMessages(t *testing.T) {
	testkit.CheckLeaks(t)
	got := make(chan string, 1)
	_, p := join(t, &nodeipc.Options{Internal: func(m *nodeipc.Message) {
		got <- fmt.Sprintf("%s %s", m.Data, m.Handle.Type())
		m.Handle.Close()
	}})
	p.send(`{"cmd":"NODE_DEBUG_ENABLED"}`)
	require.Equal(t, `{"cmd":"NODE_DEBUG_ENABLED"} `, <-got)
	client, server := p.connection()
	p.sendFD(`{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"cmd":"NODE_MINE"}}`, server)
	server.Close()
	require.Equal(t, `{"cmd":"NODE_MINE"} net.Socket`, <-got)
	closed(t, client)
}

// However odd a primary's message is: no panic, nothing hangs or leaks, and the worker goes on.
func TestOddPrimary(t *testing.T) {
	const newconn = `{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":"%s","seq":0}}`
	for _, test := range []struct {
		name   string
		line   string // KEY stands for the listener's
		handle bool
		want   []string // what the worker answers
	}{
		{"newconn without a handle", `{"cmd":"NODE_CLUSTER","act":"newconn","key":"KEY","seq":5}`, false,
			[]string{`{"cmd":"NODE_CLUSTER","ack":5,"accepted":false,"seq":3}`}},
		{"newconn whose handle got lost", fmt.Sprintf(newconn, "KEY"), false,
			[]string{`{"cmd":"NODE_HANDLE_NACK"}`, `{"cmd":"NODE_CLUSTER","ack":0,"accepted":false,"seq":3}`}},
		{"newconn for an unknown key", fmt.Sprintf(newconn, "other"), true,
			[]string{`{"cmd":"NODE_HANDLE_ACK"}`, `{"cmd":"NODE_CLUSTER","ack":0,"accepted":false,"seq":3}`}},
		{"newconn without a key", `{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","seq":0}}`, true,
			[]string{`{"cmd":"NODE_HANDLE_ACK"}`, `{"cmd":"NODE_CLUSTER","ack":0,"accepted":false,"seq":3}`}},
		{"newconn with a key that is no string", `{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"newconn","key":7,"seq":0}}`, true,
			[]string{`{"cmd":"NODE_HANDLE_ACK"}`}},
		{"an answer nobody waits for", `{"cmd":"NODE_CLUSTER","ack":77,"errno":null,"key":"KEY","seq":0}`, false, nil},
		{"a second answer", `{"cmd":"NODE_CLUSTER","ack":1,"errno":null,"key":"KEY","seq":0}`, false, nil},
		{"a second answer with a handle", `{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","ack":1,"errno":0,"key":"KEY","seq":0}}`, true,
			[]string{`{"cmd":"NODE_HANDLE_ACK"}`}},
		{"an ack that is no number", `{"cmd":"NODE_CLUSTER","ack":"1","errno":null,"key":"KEY","seq":0}`, false, nil},
		{"an ack beyond all numbers", `{"cmd":"NODE_CLUSTER","ack":1e400,"seq":0}`, false, nil},
		{"an unknown act", `{"cmd":"NODE_CLUSTER","act":"dance","seq":0}`, false, nil},
		{"an unknown act with a handle", `{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"dance","seq":0}}`, true,
			[]string{`{"cmd":"NODE_HANDLE_ACK"}`}},
		{"the worker's own acts", `{"cmd":"NODE_CLUSTER","act":"queryServer","seq":0}`, false, nil},
		{"a disconnect that is none", `{"cmd":"NODE_CLUSTER","act":["disconnect"],"seq":0}`, false, nil},
		{"nothing but cmd", `{"cmd":"NODE_CLUSTER"}`, false, nil},
		{"members of other kinds", `{"cmd":"NODE_CLUSTER","act":{},"key":[],"seq":"x","errno":{},"sockname":3}`, false, nil},
		{"an unknown command", `{"cmd":"NODE_NOVELTY","act":"newconn","key":"KEY"}`, false, nil},
		{"an unknown command with a handle", `{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_NOVELTY"}}`, true,
			[]string{`{"cmd":"NODE_HANDLE_ACK"}`}},
		{"an answer and newconn in one", `{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","ack":77,"act":"newconn","key":"KEY","seq":0}}`, true,
			[]string{`{"cmd":"NODE_HANDLE_ACK"}`, `{"cmd":"NODE_CLUSTER","ack":0,"accepted":true,"seq":3}`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			w, p := join(t, nil)
			ln, key := p.listen(w, "127.0.0.1:0")
			line := strings.ReplaceAll(test.line, "KEY", key)
			var client net.Conn
			if test.handle {
				var server *net.TCPConn
				client, server = p.connection()
				p.sendFD(line, server)
				server.Close()
			} else {
				p.send("%s", line)
			}
			for _, want := range test.want {
				require.Equal(t, want, p.line())
			}
			if client != nil && !strings.Contains(strings.Join(test.want, ""), "true") {
				closed(t, client) // also when it was for nobody
			} else if client != nil {
				accept(t, ln, client)
			}
			good := p.newconn(key)
			require.True(t, p.accepted())
			accept(t, ln, good)
			select {
			case <-w.Done():
				t.Fatal("Done")
			default:
			}
		})
	}
}

// A reply with a descriptor that is no socket to listen on is an error of Listen, and the share is given back.
func TestReplyWithOddHandle(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	file, err := os.Create(t.TempDir() + "/file")
	require.NoError(t, err)
	defer file.Close()
	r, wr, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer wr.Close()
	datagrams, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer datagrams.Close()
	unixSocket, err := net.Listen("unix", t.TempDir()+"/s")
	require.NoError(t, err)
	defer unixSocket.Close()
	_, connected := p.connection()
	for name, v := range map[string]any{
		"file": file, "pipe": r, "UDP socket": datagrams, "unix socket": unixSocket, "connection": connected,
	} {
		result := listenElsewhere(context.Background(), w, "127.0.0.1:80")
		q := p.awaits("queryServer")
		require.Zero(t, q.Index)
		p.sendFD(sharedReply(q.Seq), v.(syscall.Conn))
		require.Equal(t, `{"cmd":"NODE_HANDLE_ACK"}`, p.line())
		require.Equal(t, "k", p.awaits("close").Key)
		ln, err := result()
		assert.Error(t, err, name)
		assert.Nil(t, ln, name)
	}
	p.listen(w, "127.0.0.1:80")
}

// A primary that says things that are not JSON ends the channel, as its death would.
func TestPrimaryTalksNonsense(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := join(t, nil)
	ln, _ := p.listen(w, "127.0.0.1:0")
	p.send("nonsense")
	<-w.Done()
	require.ErrorAs(t, w.Channel().Err(), new(*nodeipc.ProtocolError))
	_, err := ln.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = w.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.ErrorIs(t, err, nodeipc.ErrDisconnected)
}

// A worker that is asked to disconnect while it waits for an address need not wait for an answer: primaries do not
// give any. One that comes all the same is given back.
func TestAskedToLeaveWhileListening(t *testing.T) {
	testkit.CheckLeaks(t)
	w, p := start(t, nil)
	p.line()
	result := listenElsewhere(context.Background(), w, "127.0.0.1:0")
	require.Contains(t, p.line(), `"queryServer"`)
	p.send(`{"cmd":"NODE_CLUSTER","act":"disconnect","seq":0}`)
	_, err := result()
	require.ErrorIs(t, err, nodeipc.ErrDisconnected)
	require.True(t, w.IsConnected())
	p.send(`{"cmd":"NODE_CLUSTER","ack":1,"key":"k","sockname":{"family":"IPv4","address":"127.0.0.1","port":1234},"seq":1}`)
	require.Contains(t, p.line(), `"act":"close","key":"k"`)
	ended := make(chan error, 1)
	go func() { ended <- w.Disconnect(context.Background()) }()
	require.Empty(t, p.line(), "the end")
	p.close()
	require.NoError(t, <-ended)
}
