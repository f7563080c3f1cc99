//go:build unix

package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// The dialogues in testdata/dialogues were recorded between a Node primary and a Node worker, by
// js_fixtures/gen_dialogue.js. Here the primary's part of Node 20 is read out to our worker, which must say what the
// Node worker said, byte for byte.

// A replay is a scenario of gen_dialogue.js: our worker's part of it. Ports and the folder have the names that they have there.
type replay func(w *cluster.Worker, port map[string]string) error

var replays = map[string]replay{
	"rr-tcp-host":          serveAndLeave("127.0.0.1:0"),
	"rr-tcp-nohost":        serveAndLeave(":0"),
	"rr-tcp-port":          serveAndLeave("127.0.0.1:P1"),
	"rr-three-connections": serveAndLeave("127.0.0.1:0"),
	"none-tcp-host":        serveAndLeave("127.0.0.1:0"),
	"rr-unix":              serveAndLeave("DIR/w.sock"),
	"none-unix":            serveAndLeave("DIR/w.sock"),
	"rr-two-listeners": func(w *cluster.Worker, port map[string]string) error {
		for range 2 {
			if _, err := w.Listen(context.Background(), "tcp", "127.0.0.1:0"); err != nil {
				return err
			}
		}
		return leave(w)
	},
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
		if err := expect(w, `"go"`); err != nil {
			return err
		}
		_, err := w.Listen(context.Background(), "tcp", "127.0.0.1:"+port["P1"])
		var call *os.SyscallError
		if !errors.Is(err, syscall.EADDRINUSE) || !errors.As(err, &call) {
			return fmt.Errorf("Listen returned %v", err)
		}
		seen := struct {
			Code    string `json:"code"`
			Errno   int    `json:"errno"`
			Syscall string `json:"syscall"`
		}{"EADDRINUSE", -int(syscall.EADDRINUSE), call.Syscall}
		if err := w.Channel().Send(context.Background(), seen); err != nil {
			return err
		}
		return leave(w)
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

// Dialogues of the cluster that our worker cannot have.
var noReplays = map[string]string{
	"primary-kill": "the end is a signal",
	"worker-kill":  "cluster.worker.kill leaves without closing its listeners; Disconnect closes them",
}

// differences are the places where our worker says something else on purpose.
var differences = []struct{ node, ours, why string }{
	{`"backlog":0`, `"backlog":false`, "Node 20 writes 0 or false depending on the arguments of listen; both mean the default"},
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
			var handle syscall.Conn // for the next frame with one
			port := map[string]string{"P1": "41001", "P2": "41002", "DIR": t.TempDir()}
			shared := strings.HasPrefix(name, "none-")
			switch {
			case shared && strings.HasSuffix(name, "-unix"):
				handle = boundUnixSocket(t, filepath.Join(port["DIR"], "w.sock"))
			case shared:
				handle = boundSocket(t)
				port["P1"] = portOf(t, handle)
			}
			result := make(chan error, 1)
			go func() { result <- run(w, port) }()
			for i, line := range dialogue(t, dialogueFile(name, 20)) {
				who, text, _ := strings.Cut(line, " ")
				text = strings.ReplaceAll(text, `"errno":-98`, fmt.Sprintf(`"errno":%d`, -int(syscall.EADDRINUSE))) // Linux's
				for name, number := range port {
					text = strings.NewReplacer("DIR/", port["DIR"]+"/", `"port":`+name, `"port":`+number, ":"+name+":4", ":"+number+":4").Replace(text)
				}
				switch {
				case who == "P":
					p.send("%s", text)
				case who == "P+" && shared:
					p.sendFD(text, handle)
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

// portOf returns the port that a socket is bound to.
func portOf(t testing.TB, v syscall.Conn) (port string) {
	t.Helper()
	rc, err := v.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, rc.Control(func(fd uintptr) {
		name, err := syscall.Getsockname(int(fd))
		require.NoError(t, err)
		port = fmt.Sprint(name.(*syscall.SockaddrInet4).Port)
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
			`the user's message {"code":"EADDRINUSE","errno":-98,"syscall":"bind"}: errno "EADDRINUSE"`,
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
		d := json.NewDecoder(strings.NewReader(strings.NewReplacer(":P1,", `:"P1",`, ":P2,", `:"P2",`).Replace(text)))
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
