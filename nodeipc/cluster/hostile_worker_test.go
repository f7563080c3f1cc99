//go:build linux || darwin || freebsd

package cluster_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

func init() { workers["puppet"] = puppetMain }

// puppetMain is a worker that gives its end of the channel to whoever is at the other end of its standard input, and
// lives until that goes.
func puppetMain() error {
	fd, err := strconv.Atoi(os.Getenv("NODE_CHANNEL_FD"))
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(0, []byte{0}, unix.UnixRights(fd), nil, 0); err != nil {
		return err
	}
	for {
		if n, err := unix.Read(0, make([]byte, 1)); n == 0 || err != nil && err != unix.EINTR {
			return err
		}
	}
}

// A puppet is a worker whose words are the test's: the methods of rawPrimary are for either end.
type puppet struct {
	*rawPrimary
	w       *cluster.Process
	strings *os.File
}

func startPuppet(t testing.TB, p *cluster.Primary) *puppet {
	t.Helper()
	ours, theirs, err := fdconn.Pair()
	require.NoError(t, err)
	require.NoError(t, unix.SetNonblock(ours, false))
	require.NoError(t, unix.SetNonblock(theirs, false))
	bin, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), envRole+"=puppet", "GORACE=atexit_sleep_ms=0")
	stdin := os.NewFile(uintptr(theirs), "puppet")
	cmd.Stdin, cmd.Stderr = stdin, os.Stderr
	w, err := p.Fork(&cluster.ForkOptions{Command: cmd})
	stdin.Close()
	require.NoError(t, err)
	oob := make([]byte, unix.CmsgSpace(4))
	_, oobn, _, _, err := unix.Recvmsg(ours, make([]byte, 1), oob, 0)
	require.NoError(t, err)
	controls, err := unix.ParseSocketControlMessage(oob[:oobn])
	require.NoError(t, err)
	require.Len(t, controls, 1)
	fds, err := unix.ParseUnixRights(&controls[0])
	require.NoError(t, err)
	unix.CloseOnExec(fds[0])
	require.NoError(t, unix.SetNonblock(fds[0], false))
	limit := unix.NsecToTimeval(int64(patience))
	require.NoError(t, unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit))
	require.NoError(t, unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit))
	h := &puppet{&rawPrimary{t: t, fd: fds[0]}, w, os.NewFile(uintptr(ours), "strings")}
	t.Cleanup(h.drop)
	return h
}

// drop ends the test's part, but not the worker's.
func (h *puppet) drop() {
	h.close()
	h.strings.Close()
}

// die is SIGKILL.
func (h *puppet) die() {
	h.t.Helper()
	h.close() // the worker has the last one
	require.NoError(h.t, h.w.Signal(syscall.SIGKILL))
	<-h.w.Done()
}

// says sends a cluster message of these members.
func (h *puppet) says(format string, args ...any) {
	h.t.Helper()
	h.send(`{"cmd":"NODE_CLUSTER",%s,"seq":%d}`, fmt.Sprintf(format, args...), h.next())
}

// asksFor sends queryServer and returns what comes back.
func (h *puppet) asksFor(members string) (reply struct {
	Ack   int
	Errno *int
	Key   string
}) {
	h.t.Helper()
	h.says(`"act":"queryServer",%s`, members)
	line := h.line()
	require.NoError(h.t, json.Unmarshal([]byte(line), &reply), line)
	require.Equal(h.t, h.seq-1, reply.Ack, line)
	return reply
}

func addressOf(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf(`"index":0,"data":null,"address":%q,"port":%s,"addressType":4`, host, port)
}

// awaitConn returns the number of the next connection that it was sent; what is no newconn is passed over.
func (h *puppet) awaitConn() (seq int) {
	h.t.Helper()
	for {
		var f struct{ Msg frame }
		line := h.line()
		require.NotEmpty(h.t, line)
		if require.NoError(h.t, json.Unmarshal([]byte(line), &f), line); f.Msg.Act == "newconn" {
			return f.Msg.Seq
		}
	}
}

// hostilePrimary has a good worker of Node, which listens at addr.
func hostilePrimary(t *testing.T, p *cluster.Primary) (good *cluster.Process, addr string) {
	t.Helper()
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p.Scheduling = cluster.RoundRobin
	newPrimary(t, p)
	return beginListening(t, p, life{Listen: []any{map[string]any{"host": "127.0.0.1", "port": testkit.FreePort(t, "127.0.0.1")}}})
}

// What breaks the protocol is the end of the worker and of nothing else.
func TestWorkerBreaksProtocol(t *testing.T) {
	var p cluster.Primary
	good, addr := hostilePrimary(t, &p)
	for name, text := range map[string]string{
		"garbage":              "\x00\xff\xfegarbage}{\n",
		"half a frame":         `{"cmd":"NODE_CLU`,
		"an empty line":        "\n",
		"JSON of another kind": "nul\n",
	} {
		h := startPuppet(t, &p)
		if _, err := unix.Write(h.fd, []byte(text)); err != nil {
			require.ErrorIs(t, err, unix.EPIPE)
		}
		if name == "half a frame" {
			h.die()
		}
		h.drop()
		<-h.w.Done()
		require.Equal(t, map[string]int{says(good): 2}, served(t, addr, 2), name)
	}
	require.Equal(t, []*cluster.Process{good}, p.Workers())
	require.NoError(t, p.Close())
}

// Whatever a worker asks for, it gets an answer, and the primary goes on.
func TestWorkerAsksForAnything(t *testing.T) {
	p := cluster.Primary{MaxListeners: 100}
	good, addr := hostilePrimary(t, &p)
	h := startPuppet(t, &p)
	for fd := range 1024 {
		r := h.asksFor(fmt.Sprintf(`"index":0,"address":null,"port":null,"addressType":null,"fd":%d`, fd))
		require.Equal(t, -int(syscall.EBADF), *r.Errno, "descriptor %d", fd)
	}
	long := strings.Repeat("x", 1<<20)
	for _, member := range []string{
		"address", "port", "addressType", "fd", "flags", "backlog", "index", "data", "readableAll",
	} {
		for _, value := range []string{
			`1.5`, `-1`, `-2147483648`, `1e300`, `99999999999999999999`, `"x"`, `""`,
			`{}`, `[]`, `[[[]]]`, `true`, `false`, `null`,
			`{"toString":1,"ticketKeys":{}}`, `{"ticketKeys":"zz"}`, `"\u0000"`, `"127.0.0.1\n"`, `"` + long + `"`,
		} {
			members := map[string]string{"index": "0", "address": `"127.0.0.1"`, "port": "0", "addressType": "4", member: value}
			var text []string
			for name, v := range members {
				text = append(text, fmt.Sprintf("%q:%s", name, v))
			}
			if member == "address" && (value == `"x"` || value == `"127.0.0.1\n"`) {
				require.Equal(t, -int(syscall.EINVAL), *h.asksFor(strings.Join(text, ",")).Errno)
				continue
			}
			if r := h.asksFor(strings.Join(text, ",")); r.Errno == nil {
				h.says(`"act":"close","key":%s`, must(json.Marshal(r.Key)))
			} else {
				require.Negative(t, *r.Errno, "%s %.40s", member, value)
			}
		}
	}
	h.asksFor(`"none":0`)
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	for range 200 { // the primary keeps none of them
		h.sendFD(`{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_CLUSTER","act":"online","seq":0}}`, null)
		require.Equal(t, handleAck, h.line())
	}
	for range 1000 {
		h.says(`"act":"online"`)
		h.says(`"act":"close","key":"none"`)
		h.says(`"act":"listening"`)
		h.says(`"ack":12345,"accepted":true`)
		h.says(`"act":"` + "no such act" + `"`)
	}
	h.says(`"act":"listening","data":"%s"`, strings.Repeat("x", 10<<20))
	require.Nil(t, h.asksFor(addressOf(addr)).Errno)
	require.Equal(t, -int(syscall.EADDRINUSE), *h.asksFor(addressOf(addr)).Errno)
	h.says(`"act":"close","key":"%s:4:undefined"`, addr)
	h.die()

	h = startPuppet(t, &p) // it asks for more than there may be
	granted := 0
	asked := 10_000
	if raceEnabled {
		asked = 2000
	}
	for i := range asked {
		r := h.asksFor(fmt.Sprintf(`"index":%d,"address":"127.0.0.1","port":0,"addressType":4`, i))
		if granted < 100 {
			require.Nil(t, r.Errno)
			granted++
		} else {
			require.Equal(t, -int(syscall.EMFILE), *r.Errno)
		}
	}
	require.Equal(t, map[string]int{says(good): 3}, served(t, addr, 3))
	h.die()
	require.Equal(t, map[string]int{says(good): 3}, served(t, addr, 3))
	require.NoError(t, p.Close())
}

// A worker that sends without end takes a bounded part of the memory, and the good one serves meanwhile.
func TestWorkerFloods(t *testing.T) {
	var log lockedBuffer
	p := cluster.Primary{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	good, addr := hostilePrimary(t, &p)
	total := 1 << 30
	if raceEnabled {
		total = 64 << 20
	}
	one := []byte(`"` + strings.Repeat("m", 1<<20) + "\"\n")
	runtime.GC()
	var before, now runtime.MemStats
	var grown int64
	runtime.ReadMemStats(&before)
	h := startPuppet(t, &p)
	for sent := 0; sent < total; sent += len(one) {
		for rest := one; len(rest) > 0; {
			n, err := unix.Write(h.fd, rest)
			require.NoError(t, err)
			rest = rest[n:]
		}
		if sent/len(one)%16 == 0 {
			require.Equal(t, map[string]int{says(good): 1}, served(t, addr, 1))
			runtime.ReadMemStats(&now)
			grown = max(grown, int64(now.HeapInuse)-int64(before.HeapInuse))
		}
	}
	t.Logf("%d MiB sent, at most %d MiB of memory more", total>>20, grown>>20)
	require.Less(t, grown, int64(48<<20))
	h.die()

	h = startPuppet(t, &p) // it asks and does not read the answers
	const query = `{"cmd":"NODE_CLUSTER","act":"queryServer","port":0,"address":"%s","seq":1}` + "\n"
	line := bytes.Repeat(fmt.Appendf(nil, query, strings.Repeat("x", 4000)), 100)
	for {
		if _, err := unix.Write(h.fd, line); err != nil {
			break // it is killed, and its channel is closed
		}
	}
	h.drop()
	<-h.w.Done()
	require.Equal(t, 1, strings.Count(log.String(), "asks and does not read"), "the log is no place for a flood either")
	require.Equal(t, map[string]int{says(good): 2}, served(t, addr, 2))
	require.NoError(t, p.Close())
}

// A connection whose worker does not take it goes to another one, at whatever step of the dialogue that worker dies.
func TestWorkerDiesAtEachStep(t *testing.T) {
	var p cluster.Primary
	good, addr := hostilePrimary(t, &p)
	online := func(h *puppet) { h.says(`"act":"online"`) }
	query := func(h *puppet) { h.says(`"act":"queryServer",%s`, addressOf(addr)) }
	granted := func(h *puppet) { require.Nil(t, h.asksFor(addressOf(addr)).Errno) }
	var answers chan string
	ask := func(n int) {
		answers = make(chan string, n)
		for range n {
			go func() {
				body, err := get(addr, "/")
				if err != nil {
					body = err.Error()
				}
				answers <- body
			}()
		}
	}
	conn := func(h *puppet) { ask(4); h.seq = h.awaitConn() + 1 }
	ack := func(h *puppet) { h.send(`{"cmd":"NODE_HANDLE_ACK"}`) }
	nack := func(h *puppet) { h.send(`{"cmd":"NODE_HANDLE_NACK"}`) }
	refuse := func(h *puppet) { h.says(`"ack":%d,"accepted":false`, h.seq-1) }
	closes := func(h *puppet) { h.says(`"act":"close","key":"%s:4:undefined"`, addr) }
	leaves := func(h *puppet) {
		go h.w.Disconnect(within(t))
		for !strings.Contains(h.line(), `"disconnect"`) {
		}
	}
	for name, steps := range map[string][]func(h *puppet){
		"at once":           nil,
		"online":            {online},
		"before the reply":  {online, query},
		"after the reply":   {online, granted},
		"newconn":           {online, granted, conn},
		"ACK":               {online, granted, conn, ack},
		"NACK":              {online, granted, conn, nack},
		"refused":           {online, granted, conn, ack, refuse},
		"refused twice":     {online, granted, conn, ack, refuse, refuse},
		"closed":            {online, granted, closes},
		"closed, newconn":   {online, granted, conn, closes},
		"during disconnect": {online, granted, leaves},
	} {
		answers = nil
		h := startPuppet(t, &p)
		for _, step := range steps {
			step(h)
		}
		h.die()
		for range cap(answers) {
			require.Equal(t, says(good), <-answers, name)
		}
		require.Equal(t, map[string]int{says(good): 3}, served(t, addr, 3), name)
	}
	require.NoError(t, p.Close())
}

// A worker that does not answer is killed after AnswerTimeout, and others get what it was sent; one that refuses always
// is not asked without a pause.
func TestWorkerDoesNotTake(t *testing.T) {
	p := cluster.Primary{AnswerTimeout: 300 * time.Millisecond}
	good, addr := hostilePrimary(t, &p)
	h := startPuppet(t, &p)
	require.Nil(t, h.asksFor(addressOf(addr)).Errno)
	h.close() // the worker itself has it still, and does not read
	require.Equal(t, map[string]int{says(good): 4}, served(t, addr, 4))
	<-h.w.Done()
	h.drop()

	h = startPuppet(t, &p)
	require.Nil(t, h.asksFor(`"index":0,"address":"127.0.0.1","port":0,"addressType":4`).Errno)
	client, err := net.Dial("tcp", h.w.Status().Addrs[0].String())
	require.NoError(t, err)
	defer client.Close()
	begun := time.Now()
	const refusals = 10
	for range refusals {
		seq := h.awaitConn()
		h.send(`{"cmd":"NODE_HANDLE_ACK"}`)
		h.says(`"ack":%d,"accepted":false`, seq)
	}
	h.awaitConn()
	require.GreaterOrEqual(t, time.Since(begun), refusals*40*time.Millisecond) // it rests after each
	require.Equal(t, map[string]int{says(good): 2}, served(t, addr, 2))
	h.die()
	require.NoError(t, p.Close())
}
