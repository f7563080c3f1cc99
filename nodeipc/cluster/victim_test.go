//go:build unix

package cluster_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// What a Node primary does with a worker that breaks the rules: the reasons for what ours never does.

func init() { workers["raw"] = rawMain }

// rawMain is a worker that says the lines in the variable SAY. Among them are
//
//	read X       reads to the first line with X in it
//	refuse 1000  answers so many newconn with accepted:false, and the next with true
//	exit         ends the process
//
// In a line SEQ stands for the number of the message that was read last, PORT for the last port that came in one. At
// the end it sends what it read, as done.
func rawMain() error {
	fd, err := strconv.Atoi(os.Getenv("NODE_CHANNEL_FD"))
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "channel")
	conn, err := net.FileConn(f)
	if err != nil {
		return err
	}
	in := bufio.NewReader(conn) // a read without room for descriptors loses them, and nothing else
	seq, port := "", ""
	read := func(what string) (string, error) {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return "", err
			}
			if strings.Contains(line, what) {
				if m := regexp.MustCompile(`"seq":(\d+)}+\n$`).FindStringSubmatch(line); m != nil {
					seq = m[1]
				}
				if m := regexp.MustCompile(`"port":(\d+)`).FindStringSubmatch(line); m != nil {
					port = m[1]
				}
				return strings.TrimSpace(line), nil
			}
		}
	}
	var got []string
	for say := range strings.Lines(os.Getenv("SAY")) {
		say = strings.TrimSuffix(say, "\n")
		what, arg, _ := strings.Cut(say, " ")
		switch what {
		case "read":
			line, err := read(arg)
			if err != nil {
				return err
			}
			got = append(got, line)
		case "refuse":
			n, err := strconv.Atoi(arg)
			if err != nil {
				return err
			}
			for i := range n + 1 {
				if _, err := read("newconn"); err != nil {
					return err
				}
				answer := fmt.Sprintf(`{"cmd":"NODE_CLUSTER","ack":%s,"accepted":%v,"seq":%d}`, seq, i == n, i+100)
				fmt.Fprintln(conn, handleAck+"\n"+answer)
			}
		case "exit":
			os.Exit(0)
		default:
			fmt.Fprintln(conn, strings.NewReplacer("SEQ", seq, "PORT", port).Replace(say))
		}
	}
	text, err := json.Marshal(map[string]any{"done": got})
	if err != nil {
		return err
	}
	fmt.Fprintf(conn, "%s\n", text)
	for err == nil { // to the end, which is the primary's
		_, err = in.ReadString('\n')
	}
	return nil
}

const (
	handleAck = `{"cmd":"NODE_HANDLE_ACK"}`
	online    = `{"cmd":"NODE_CLUSTER","act":"online","seq":0}`
	asks      = `{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,` +
		`"address":"127.0.0.1","port":0,"addressType":4,"flags":0,"backlog":0,"seq":1}`
	listens = asks + "\nread ack\n" + `{"cmd":"NODE_CLUSTER","act":"listening","index":0,"data":null,` +
		`"address":"127.0.0.1","port":PORT,"addressType":4,"flags":0,"backlog":0,"seq":2}`
	accepts = `{"cmd":"NODE_CLUSTER","ack":SEQ,"accepted":true,"seq":3}`
)

// Each is what a Node primary does; the comment behind it says why ours has nothing to fear, or what it does instead.
func TestPrimaryOfRawWorker(t *testing.T) {
	testkit.CheckLeaks(t)
	peer := testkit.Peer(t)
	if peer.Kind != "Node" {
		t.Skip("of Node's primaries")
	}
	onOld := func(text string) string {
		if peer.Major() > 20 {
			return ""
		}
		return text
	}
	change := func(before, after string) string { return strings.Replace(asks, before, after, 1) }
	null := change(`"flags"`, `"fd":null,"flags"`)
	tooHigh := change(`"port":0`, `"port":70000`)
	onPort := change(`"port":0`, fmt.Sprintf(`"port":%d`, testkit.FreePort(t, "127.0.0.1")))
	again := strings.NewReplacer(`"seq":1`, `"seq":2`)
	var all sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, row := range []struct {
		name, policy string
		say          []string
		dies         string // with this in its last words
		reads        string // what the worker reads last, if the primary lives
	}{
		// A Node worker leaves fd out, for UDP it is -1; so does ours.
		{name: "fd null", policy: "rr", say: []string{null, "read ack"}, dies: "ERR_INVALID_ARG_VALUE"},
		{name: "fd null", policy: "none", say: []string{null, "read ack"}, reads: `"key":"127.0.0.1:0:4:null:0"`},
		{
			name: "fd null of UDP", policy: "rr",
			say:   []string{strings.Replace(null, `"addressType":4`, `"addressType":"udp4"`, 1), "read ack"},
			reads: `"key":"127.0.0.1:0:udp4:null:0"`,
		},
		// A Node worker counts, ours as well; a port that it listens on already it refuses (TestIndexIsNeverInUseTwice).
		{
			name: "an index twice, port 0", policy: "rr",
			say:  []string{asks, "read ack", again.Replace(asks), "read ack"},
			dies: onOld("ERR_INTERNAL_ASSERTION"), reads: `"errno":null,"key":"127.0.0.1:0:4:undefined:0","ack":2`,
		},
		{
			name: "an index twice, port 0", policy: "none",
			say:  []string{asks, "read ack", handleAck, again.Replace(asks), "read ack"},
			dies: onOld("ERR_INTERNAL_ASSERTION"), reads: `"errno":0,"key":"127.0.0.1:0:4:undefined:0","ack":2`,
		},
		{
			name: "an index twice, a port", policy: "rr",
			say:  []string{onPort, "read ack", again.Replace(onPort), "read ack"},
			dies: onOld("ERR_INTERNAL_ASSERTION"), reads: fmt.Sprintf(`"errno":%d`, -int(syscall.EADDRINUSE)),
		},
		// Package net finds no such port, so that nothing is sent.
		{name: "port 70000", policy: "rr", say: []string{tooHigh, "read ack"}, dies: "ERR_SOCKET_BAD_PORT"},
		{name: "port 70000", policy: "none", say: []string{tooHigh, "read ack"}, reads: `"errno":0`},
		// A Node worker may send this: of two sides that close at once one comes too late.
		{
			name: "a close too many", policy: "rr",
			say: []string{`{"cmd":"NODE_CLUSTER","act":"close","key":"none","seq":0}`, asks, "read ack"}, reads: `"errno":null`,
		},
		{
			name: "an answer too many", policy: "rr",
			say: []string{listens, "read newconn", handleAck, accepts, accepts}, reads: `"act":"newconn"`,
		},
		// The channel writes one for each NODE_HANDLE, and Internal refuses it.
		{name: "an ACK too many", policy: "rr", say: []string{handleAck, asks, "read ack"}, dies: "ERR_INTERNAL_ASSERTION"},
		// The channel checks each line.
		{name: "an empty line", policy: "rr", say: []string{"", asks, "read ack"}, dies: "SyntaxError"},
		// From 16 on a Node worker does so with maxConnections. Ours waits before it says false, unless it has closed.
		{name: "the only worker refuses", policy: "rr", say: []string{listens, "refuse 1000"}, reads: `"errno":null`},
		// So it is with a Node worker that is killed. Ours has answered, as Node's, when the program gets the connection.
		{
			name: "exit with a connection", policy: "rr",
			say: []string{listens, "read newconn", "exit"}, reads: `{"second":"hi","first":"open"}`,
		},
	} {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			bin, err := os.Executable()
			if !assert.NoError(t, err) {
				return
			}
			args := []string{"cluster_victim.js", bin}
			if row.say[len(row.say)-1] == "exit" {
				args = append(args, "early")
			}
			cmd := peer.Command(args...)
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "NODE_CLUSTER_SCHED_POLICY="+row.policy,
				envRole+"=raw", "SAY="+online+"\n"+strings.Join(row.say, "\n"))
			cmd.WaitDelay = patience
			var log strings.Builder
			cmd.Stderr = &log
			limit := time.AfterFunc(patience, func() { cmd.Process.Kill() })
			defer limit.Stop()
			out, err := cmd.Output()
			what := fmt.Sprintf("%s, %s: %v\n%s\n%s", row.name, row.policy, err, out, &log)
			if row.dies != "" {
				var exit *exec.ExitError
				if assert.ErrorAs(t, err, &exit, what) {
					assert.Equal(t, 1, exit.ExitCode(), what)
					assert.Contains(t, log.String(), row.dies, what)
					assert.Empty(t, out, what)
				}
				return
			}
			assert.NoError(t, err, what)
			assert.Contains(t, strings.ReplaceAll(string(out), `\"`, `"`), row.reads, what)
		})
	}
	all.Wait()
}
