//go:build unix

package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// The dialogues in testdata/dialogues were recorded between a Node primary and a Node worker, by
// js_fixtures/gen_dialogue.js. Here the primary's part of Node 20 is read out to our worker, which must say what the
// Node worker said, byte for byte.

// A replay is a scenario of gen_dialogue.js: our worker's part of it. Ports and the folder have the names that they have
// there.
type replay func(w *cluster.Worker, port map[string]string) error

var replays = map[string]replay{
	"rr-tcp-host":          serveAndLeave("127.0.0.1:0"),
	"rr-tcp-nohost":        serveAndLeave(":0"),
	"rr-tcp-port":          serveAndLeave("127.0.0.1:P1"),
	"rr-three-connections": serveAndLeave("127.0.0.1:0"),
	"none-tcp-host":        serveAndLeave("127.0.0.1:0"),
	"rr-unix":              serveAndLeave("DIR/w.sock"),
	"none-unix":            serveAndLeave("DIR/w.sock"),
	"rr-two-listeners":     twoListeners,
	"none-two-listeners":   twoListeners,
	"rr-reopen": func(w *cluster.Worker, port map[string]string) error {
		ln, err := w.Listen(context.Background(), "tcp", "127.0.0.1:"+port["P1"])
		if err != nil {
			return err
		}
		if err := ln.Close(); err != nil {
			return err
		}
		if _, err := w.Listen(context.Background(), "tcp", "127.0.0.1:"+port["P1"]); err != nil {
			return err
		}
		return leave(w)
	},
	"rr-reopen-zero": func(w *cluster.Worker, port map[string]string) error {
		for i := range 2 {
			ln, err := w.Listen(context.Background(), "tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			if i == 0 {
				ln.Close()
			}
		}
		return leave(w)
	},
	"rr-third-listener": func(w *cluster.Worker, port map[string]string) error {
		var first net.Listener
		for i := range 3 {
			ln, err := w.Listen(context.Background(), "tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			switch i {
			case 0:
				first = ln
			case 1:
				first.Close()
			}
		}
		return leave(w)
	},
	"rr-backlog": func(w *cluster.Worker, port map[string]string) error {
		lc := &cluster.ListenConfig{Worker: w, Backlog: 10}
		if _, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		return leave(w)
	},
	"rr-ipv6-only": func(w *cluster.Worker, port map[string]string) error {
		if _, err := w.Listen(context.Background(), "tcp6", "[::]:0"); err != nil {
			return err
		}
		return leave(w)
	},
	"rr-udp": func(w *cluster.Worker, port map[string]string) error {
		if _, err := w.ListenPacket(context.Background(), "udp4", "127.0.0.1:0"); err != nil {
			return err
		}
		return leave(w)
	},
	"rr-udp-reopen": func(w *cluster.Worker, port map[string]string) error {
		for i := range 2 {
			conn, err := w.ListenPacket(context.Background(), "udp4", "127.0.0.1:0")
			if err != nil {
				return err
			}
			if i == 0 {
				conn.Close()
			}
		}
		return leave(w)
	},
	"rr-http": func(w *cluster.Worker, port map[string]string) error {
		if err := greet(w, ":"+port["P1"]); err != nil {
			return err
		}
		if err := echo(w, `"done?"`, "done?"); err != nil {
			return err
		}
		<-w.Done()
		return w.Disconnect(context.Background())
	},
	"rr-messages": func(w *cluster.Worker, port map[string]string) error {
		if err := greet(w, "127.0.0.1:0"); err != nil {
			return err
		}
		for _, m := range []string{`{"hello":"worker"}`, `null`} {
			if err := echo(w, m, map[string]any{"echo": json.RawMessage(m)}); err != nil {
				return err
			}
		}
		return leave(w)
	},
	"rr-in-use": func(w *cluster.Worker, port map[string]string) error {
		return failToListen(w, `"go"`, "tcp", "127.0.0.1:"+port["P1"], syscall.EADDRINUSE, "EADDRINUSE")
	},
	"none-in-use": func(w *cluster.Worker, port map[string]string) error {
		return failToListen(w, `"go"`, "tcp", "127.0.0.1:"+port["P1"], syscall.EADDRINUSE, "EADDRINUSE")
	},
	"rr-unix-nowhere": func(w *cluster.Worker, port map[string]string) error {
		return failToListen(w, "", "unix", port["DIR"]+"/no/w.sock", syscall.EACCES, "EACCES")
	},
	"worker-disconnect": func(w *cluster.Worker, port map[string]string) error {
		if err := greet(w, "127.0.0.1:0"); err != nil {
			return err
		}
		return w.Disconnect(context.Background())
	},
	"primary-disconnect": func(w *cluster.Worker, port map[string]string) error {
		if err := greet(w, "127.0.0.1:0"); err != nil {
			return err
		}
		<-w.Done()
		return w.Disconnect(context.Background())
	},
	"primary-disconnect-busy": func(w *cluster.Worker, port map[string]string) error {
		ln, err := w.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := w.Channel().Send(context.Background(), "connected"); err != nil {
			return err
		}
		<-w.Done()
		if err := ln.Close(); err != nil {
			return err
		}
		if err := w.Channel().Send(context.Background(), "disconnecting"); err != nil {
			return err
		}
		return w.Disconnect(context.Background())
	},
	"worker-exit": func(w *cluster.Worker, port map[string]string) error {
		if err := greet(w, "127.0.0.1:0"); err != nil {
			return err
		}
		if err := expect(w, `"exit"`); err != nil {
			return err
		}
		return w.Channel().Close()
	},
}

func twoListeners(w *cluster.Worker, port map[string]string) error {
	for range 2 {
		if _, err := w.Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	return leave(w)
}

// failToListen waits for that message, if there is one, and says what Listen returned.
func failToListen(w *cluster.Worker, after, network, address string, errno syscall.Errno, code string) error {
	if after != "" {
		if err := expect(w, after); err != nil {
			return err
		}
	}
	_, err := w.Listen(context.Background(), network, address)
	var call *os.SyscallError
	if !errors.Is(err, errno) || !errors.As(err, &call) {
		return fmt.Errorf("Listen returned %v", err)
	}
	seen := struct {
		Code    string `json:"code"`
		Errno   int    `json:"errno"`
		Syscall string `json:"syscall"`
	}{code, -int(errno), call.Syscall}
	if err := w.Channel().Send(context.Background(), seen); err != nil {
		return err
	}
	return leave(w)
}

// sharedSockets are the sockets that the primary hands out, in order; their ports are P1 and P2.
var sharedSockets = map[string]func(t testing.TB, dir string) []syscall.Conn{
	"none-tcp-host": func(t testing.TB, _ string) []syscall.Conn { return []syscall.Conn{boundSocket(t)} },
	"none-two-listeners": func(t testing.TB, _ string) []syscall.Conn {
		return []syscall.Conn{boundSocket(t), boundSocket(t)}
	},
	"none-in-use": func(t testing.TB, _ string) []syscall.Conn { return []syscall.Conn{unboundSocket(t)} },
	"none-unix": func(t testing.TB, dir string) []syscall.Conn {
		return []syscall.Conn{boundUnixSocket(t, filepath.Join(dir, "w.sock"))}
	},
	"rr-udp": func(t testing.TB, _ string) []syscall.Conn { return []syscall.Conn{boundPacketSocket(t)} },
	"rr-udp-reopen": func(t testing.TB, _ string) []syscall.Conn {
		return []syscall.Conn{boundPacketSocket(t), boundPacketSocket(t)}
	},
}

func unboundSocket(t testing.TB) syscall.Conn {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), "not bound")
	t.Cleanup(func() { f.Close() })
	return f
}

func boundPacketSocket(t testing.TB) syscall.Conn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Dialogues of the cluster that our worker cannot have.
var noReplays = map[string]string{
	"primary-kill": "the end is a signal",
	"worker-kill":  "cluster.worker.kill leaves without closing its listeners; Disconnect closes them",
}

// differences are the places where our worker says something else on purpose.
var differences = []struct{ node, ours, why string }{
	{`"backlog":0`, `"backlog":false`, "Node 20 writes 0 or false depending on the arguments of listen; both mean the default"},
}

// closedAtOnce are dialogues in which our worker gives a socket back as soon as it turns out to be of no use, by the
// same frame as Node's, which sends it when it leaves.
var closedAtOnce = map[string]bool{"none-in-use": true}

// inOurOrder moves the frame close to where ours sends it: behind NODE_HANDLE_ACK.
func inOurOrder(lines []string) []string {
	from := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `"act":"close"`) })
	closing := lines[from]
	lines = slices.Delete(lines, from, from+1)
	to := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `NODE_HANDLE_ACK`) })
	return slices.Insert(lines, to+1, closing)
}

// greet listens and serves connections as the recorded workers do.
func greet(w *cluster.Worker, address string) error {
	network := "tcp"
	if strings.Contains(address, "/") {
		network = "unix"
	}
	ln, err := w.Listen(context.Background(), network, address)
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "hi")
			conn.Close()
		}
	}()
	return nil
}

func expect(w *cluster.Worker, message string) error {
	m, err := w.Channel().Receive(context.Background())
	if err == nil && string(m.Data) != message {
		err = fmt.Errorf("received %s, not %s", m.Data, message)
	}
	return err
}

func echo(w *cluster.Worker, message string, answer any) error {
	if err := expect(w, message); err != nil {
		return err
	}
	return w.Channel().Send(context.Background(), answer)
}

func leave(w *cluster.Worker) error {
	if err := expect(w, `"leave"`); err != nil {
		return err
	}
	return w.Disconnect(context.Background())
}

func serveAndLeave(address string) replay {
	return func(w *cluster.Worker, port map[string]string) error {
		if err := greet(w, strings.NewReplacer("P1", port["P1"], "DIR", port["DIR"]).Replace(address)); err != nil {
			return err
		}
		return leave(w)
	}
}

// dialogue returns the frames of a recorded dialogue, each with who wrote it in front.
func dialogue(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	_, frames, ok := strings.Cut(string(text), "-- frames --\n")
	require.True(t, ok, file)
	return strings.Split(strings.TrimRight(frames, "\n"), "\n")
}

func dialogueFile(scenario string, node int) string {
	return filepath.Join(testkit.Root(), "testdata", "dialogues", fmt.Sprintf("%s.node%d.txtar", scenario, node))
}

// clusterScenarios returns the names of the recorded dialogues of a cluster.
func clusterScenarios(t testing.TB) (names []string) {
	t.Helper()
	files, err := filepath.Glob(dialogueFile("*", 20))
	require.NoError(t, err)
	for _, file := range files {
		if strings.Contains(strings.Join(dialogue(t, file), ""), "NODE_CLUSTER") {
			names = append(names, strings.TrimSuffix(filepath.Base(file), ".node20.txtar"))
		}
	}
	require.NotEmpty(t, names)
	return names
}

func TestDialogues(t *testing.T) {
	used := make([]bool, len(differences))
	for _, name := range clusterScenarios(t) {
		if noReplays[name] != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			run := replays[name]
			require.NotNil(t, run, "no replay of this dialogue, and no word on why not")
			testkit.CheckLeaks(t)
			w, p := start(t, nil)
			port := map[string]string{"P1": "41001", "P2": "41002", "P3": "41003", "DIR": t.TempDir()}
			var handles []syscall.Conn // for the next frames with one
			if sockets := sharedSockets[name]; sockets != nil {
				handles = sockets(t, port["DIR"])
				for i, h := range handles {
					if p := portOf(t, h); p != "" {
						port[fmt.Sprint("P", i+1)] = p
					}
				}
			}
			shared := len(handles) > 0
			lines := dialogue(t, dialogueFile(name, 20))
			if closedAtOnce[name] {
				lines = inOurOrder(lines)
			}
			result := make(chan error, 1)
			go func() { result <- run(w, port) }()
			for i, line := range lines {
				who, text, _ := strings.Cut(line, " ")
				text = strings.ReplaceAll(text, `"errno":-98`, fmt.Sprintf(`"errno":%d`, -int(syscall.EADDRINUSE))) // Linux's
				for name, number := range port {
					text = strings.NewReplacer("DIR/", port["DIR"]+"/", `"port":`+name, `"port":`+number, ":"+name+":4", ":"+number+":4").Replace(text)
				}
				switch {
				case who == "P":
					p.send("%s", text)
				case who == "P+" && shared:
					p.sendFD(text, handles[0])
					handles = handles[1:]
				case who == "P+":
					_, server := p.connection()
					p.sendFD(text, server)
					server.Close()
				case text == "eof":
					require.Empty(t, p.line())
				default:
					for i, d := range differences {
						if strings.Contains(text, d.node) {
							used[i] = true
							text = strings.ReplaceAll(text, d.node, d.ours)
						}
					}
					require.Equal(t, text, p.line(), "frame %d of %s", i, name)
				}
			}
			require.NoError(t, <-result)
		})
	}
	if !t.Failed() {
		for i, d := range differences {
			require.True(t, used[i], "no such difference any more: %s", d.node)
		}
	}
}

// portOf returns the port that a socket is bound to, or "".
func portOf(t testing.TB, v syscall.Conn) (port string) {
	t.Helper()
	rc, err := v.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		name, err := syscall.Getsockname(int(fd))
		require.NoError(t, err)
		if name, ok := name.(*syscall.SockaddrInet4); ok && name.Port != 0 {
			port = fmt.Sprint(name.Port)
		}
	}))
	return port
}

// What workers of other versions say differently from Node 20's, of which ours speaks as one. A change here is one that
// the primaries of those versions may count on.
func TestWorkersOfOtherVersions(t *testing.T) {
	for node, want := range map[int][]string{
		12: {
			"queryServer: no backlog",
			"listening: no backlog",
			// From 0 once any listener of the address is closed: with a fourth this worker would be the end of its primary.
			"queryServer: index 0",
			"listening: index 0",
			"close: another key, as the primary made it",
			`the user's message {"code":"EADDRINUSE","errno":-98,"syscall":"bind"}: errno "EADDRINUSE"`,
			`the user's message {"code":"EACCES","errno":-13,"syscall":"bind"}: errno "EACCES"`,
			"primary-kill: the primary sends disconnect before the signal",
		},
		26: {
			"queryServer: flags 0",
			"listening: flags 0",
			"close: another key, as the primary made it",
		},
	} {
		t.Run(fmt.Sprint(node), func(t *testing.T) {
			testkit.CheckLeaks(t)
			got := map[string]bool{}
			for _, name := range clusterScenarios(t) {
				ours, theirs := workersFrames(t, name, 20), workersFrames(t, name, node)
				if node == 12 && name == "primary-kill" && len(theirs) == len(ours)+1 && strings.Contains(theirs[3], `"act":"close"`) {
					got["primary-kill: the primary sends disconnect before the signal"] = true
					theirs = slices.Delete(theirs, 3, 4)
				}
				require.Equal(t, len(ours), len(theirs), "%s: %q", name, theirs)
				for i := range ours {
					for _, d := range compareFrames(t, ours[i], theirs[i]) {
						got[d] = true
					}
				}
			}
			all := []string{}
			for d := range got {
				all = append(all, d)
			}
			require.ElementsMatch(t, want, all)
		})
	}
}

// workersFrames returns what the worker wrote.
func workersFrames(t testing.TB, name string, node int) (frames []string) {
	t.Helper()
	for _, line := range dialogue(t, dialogueFile(name, node)) {
		if text, ok := strings.CutPrefix(line, "W "); ok {
			frames = append(frames, text)
		}
	}
	return frames
}

// compareFrames names the differences between a frame of Node 20's worker and that of another version.
func compareFrames(t testing.TB, ours, theirs string) (all []string) {
	t.Helper()
	if ours == theirs {
		return nil
	}
	// Ports have names there, which are no JSON.
	members := func(text string) (names []string, values map[string]string) {
		d := json.NewDecoder(strings.NewReader(strings.NewReplacer(":P1,", `:"P1",`, ":P2,", `:"P2",`, ":P3,", `:"P3",`).Replace(text)))
		_, err := d.Token()
		require.NoError(t, err, text)
		values = map[string]string{}
		for d.More() {
			name, err := d.Token()
			require.NoError(t, err, text)
			var value json.RawMessage
			require.NoError(t, d.Decode(&value), text)
			names = append(names, name.(string))
			values[name.(string)] = string(value)
		}
		return names, values
	}
	ourNames, ourValues := members(ours)
	theirNames, theirValues := members(theirs)
	what := strings.Trim(ourValues["act"], `"`)
	if what == "" {
		what = "the user's message " + ours
	}
	for _, name := range ourNames {
		value, ok := theirValues[name]
		switch {
		case !ok:
			all = append(all, fmt.Sprintf("%s: no %s", what, name))
		case value != ourValues[name] && name == "key":
			all = append(all, what+": another key, as the primary made it")
		case value != ourValues[name]:
			all = append(all, fmt.Sprintf("%s: %s %s", what, name, value))
		}
	}
	for _, name := range theirNames {
		if _, ok := ourValues[name]; !ok {
			all = append(all, fmt.Sprintf("%s: %s %s", what, name, theirValues[name]))
		}
	}
	return all
}
