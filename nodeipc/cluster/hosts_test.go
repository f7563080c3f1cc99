//go:build unix

package cluster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

func init() { workers["doomed"] = doomedMain }

// A nodeHost is a Node primary.
type nodeHost struct{ p *primary }

type nodeBoss struct{ *forked }

func newNodeHouse(t testing.TB, policy, serialization string, files []*os.File) host {
	p := startPrimaryWith(t, files, "NODE_CLUSTER_SCHED_POLICY="+policy, "NODEIPC_SERIALIZATION="+serialization)
	for _, f := range files {
		f.Close()
	}
	return &nodeHost{p}
}

func (h *nodeHost) fork(dir string, args []string, env map[string]string) boss {
	h.p.t.Helper()
	h.p.tell(map[string]any{"do": "fork", "kind": "node", "env": env,
		"settings": map[string]any{"exec": testkit.Fixture("cluster_servers.js"), "args": args, "cwd": dir}})
	w := &forked{h.p, "node", h.p.await(0, "forked", nil).Worker}
	w.await("online")
	return nodeBoss{w}
}

func (w nodeBoss) send(message any) {
	w.p.t.Helper()
	w.p.tell(map[string]any{"do": "send", "worker": w.id, "message": message})
}

func (w nodeBoss) await(re any) json.RawMessage {
	w.p.t.Helper()
	return w.p.await(w.id, "message", func(e *event) bool { return answers(e.Message, re) }).Message
}

// answers reports whether the member re of a message is this one.
func answers(message json.RawMessage, re any) bool {
	var a struct{ Re any }
	return json.Unmarshal(message, &a) == nil && fmt.Sprint(a.Re) == fmt.Sprint(re)
}

func (w nodeBoss) call(process bool, method string, args ...any) {
	w.p.t.Helper()
	w.p.tell(map[string]any{
		"do": "call", "worker": w.id, "process": process, "method": method, "args": append([]any{}, args...),
	})
}

func (w nodeBoss) disconnect()               { w.call(false, "disconnect") }
func (w nodeBoss) kill()                     { w.call(false, "kill") }
func (w nodeBoss) closeChannel()             { w.call(true, "disconnect") }
func (w nodeBoss) signal(sig syscall.Signal) { w.call(true, "kill", unix.SignalName(sig)) }

func (w nodeBoss) exit() string {
	w.p.t.Helper()
	e := w.forked.await("exit")
	if e.Signal != nil {
		return fmt.Sprintf("%s, exitedAfterDisconnect %v", *e.Signal, *e.ExitedAfterDisconnect)
	}
	return fmt.Sprintf("code %d, exitedAfterDisconnect %v", *e.Code, *e.ExitedAfterDisconnect)
}

// A goHost is a cluster.Primary of this process.
type goHost struct {
	t       testing.TB
	p       *cluster.Primary
	major   int
	leaving sync.WaitGroup
	stderr  lockedBuffer
}

// A goBoss receives what its worker sends for itself.
type goBoss struct {
	*cluster.Process
	h    *goHost
	kept []json.RawMessage
}

func newGoHouse(t testing.TB, policy, serialization string, files []*os.File) host {
	peer := testkit.Peer(t)
	h := &goHost{t: t, major: peer.Major()}
	h.p = &cluster.Primary{
		Scheduling: map[string]cluster.Scheduling{"rr": cluster.RoundRobin, "none": cluster.None}[policy],
		Channel: &nodeipc.Options{
			Serialization: map[string]nodeipc.Serialization{"json": nodeipc.JSON, "advanced": nodeipc.Advanced}[serialization],
		},
		Files: map[int]*os.File{},
		Command: func() *exec.Cmd {
			cmd := peer.Command("cluster_servers.js")
			cmd.Stderr = &h.stderr
			return cmd
		},
		Logger: stderrLog,
	}
	for i, f := range files {
		h.p.Files[3+i] = f
	}
	t.Cleanup(func() {
		require.NoError(t, h.p.Close())
		for _, f := range files {
			f.Close()
		}
		h.leaving.Wait()
		if t.Failed() {
			t.Log("stderr:\n", h.stderr.String())
		}
	})
	return h
}

func (h *goHost) fork(dir string, args []string, env map[string]string) boss {
	h.t.Helper()
	opts := &cluster.ForkOptions{Command: h.p.Command(), Args: args}
	opts.Command.Dir = dir
	for name, value := range env {
		opts.Env = append(opts.Env, name+"="+value)
	}
	w, err := h.p.Fork(opts)
	require.NoError(h.t, err)
	b := &goBoss{Process: w, h: h}
	b.reach(cluster.Online)
	return b
}

func (w *goBoss) reach(s cluster.State) {
	w.h.t.Helper()
	ctx, cancel := context.WithTimeout(w.h.t.Context(), patience)
	defer cancel()
	require.NoError(w.h.t, w.Await(ctx, s))
}

func (w *goBoss) send(message any) {
	w.h.t.Helper()
	require.NoError(w.h.t, w.Channel().Send(w.h.t.Context(), message))
}

func (w *goBoss) await(re any) json.RawMessage {
	w.h.t.Helper()
	for i, text := range w.kept {
		if answers(text, re) {
			w.kept = slices.Delete(w.kept, i, i+1)
			return text
		}
	}
	ctx, cancel := context.WithTimeout(w.h.t.Context(), patience)
	defer cancel()
	for {
		message, err := w.Channel().Receive(ctx)
		require.NoError(w.h.t, err, "waiting for %v", re)
		var v any
		require.NoError(w.h.t, message.Decode(&v))
		text, err := json.Marshal(v)
		require.NoError(w.h.t, err)
		if answers(text, re) {
			return text
		}
		w.kept = append(w.kept, text)
	}
}

func (w *goBoss) disconnect() {
	w.h.leaving.Go(func() {
		if err := w.Disconnect(context.Background()); err != nil { // which Close ends
			w.h.t.Error(err)
		}
	})
}

// kill is what worker.kill() does: a signal, before Node 18 when the worker has disconnected.
func (w *goBoss) kill() {
	w.h.t.Helper()
	if w.h.major <= 16 {
		w.disconnect()
		w.reach(cluster.Disconnected)
	}
	w.signal(syscall.SIGTERM)
}

func (w *goBoss) signal(sig syscall.Signal) {
	w.h.t.Helper()
	require.NoError(w.h.t, w.Signal(sig))
}

func (w *goBoss) closeChannel() {
	w.h.t.Helper()
	if err := w.Channel().Close(); !errors.Is(err, nodeipc.ErrDisconnected) {
		require.NoError(w.h.t, err)
	}
}

func (w *goBoss) exit() string {
	w.h.t.Helper()
	w.reach(cluster.Dead)
	how := strings.Replace(w.Cmd().ProcessState.String(), "exit status", "code", 1)
	if status := w.Cmd().ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		how = unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("%s, exitedAfterDisconnect %v", how, w.Status().ExitedAfterDisconnect)
}

// A primary is killed. The end of the channel makes its worker exit; on Linux a Primary's gets SIGKILL as well, a
// moment later, so that it may not come to say all of that.
func TestPrimaryGone(t *testing.T) {
	testkit.CheckLeaks(t)
	peer := testkit.Peer(t)
	if peer.Kind != "Node" {
		t.Skip("the cluster of", peer, "is for workers of its own")
	}
	report := func(name string) (text string) {
		all, err := os.ReadFile(name)
		require.NoError(t, err)
		for line := range strings.Lines(string(all)) {
			if !strings.HasPrefix(line, "start") && !strings.HasPrefix(line, "cluster.worker: message") {
				text += line
			}
		}
		return text
	}
	const left = `cluster.worker: disconnect {"connected":false,"channel":false}
process: exit {"code":0,"connected":false,"channel":false}
`
	t.Run("node", func(t *testing.T) {
		h := newNodeHouse(t, "rr", "json", nil).(*nodeHost)
		name := filepath.Join(t.TempDir(), "report")
		h.fork(t.TempDir(), nil, map[string]string{"REPORT": name})
		require.NoError(t, h.p.cmd.Process.Kill())
		h.p.cmd.Wait() // for the worker, too, which has its stderr
		require.Equal(t, left, report(name))
	})
	t.Run("go", func(t *testing.T) {
		bin, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(bin)
		name := filepath.Join(t.TempDir(), "report")
		cmd.Env = append(os.Environ(), envRole+"=doomed", "PEER="+peer.Path, "REPORT="+name)
		var stderr lockedBuffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		said, err := bufio.NewReader(out).ReadString('\n')
		cmd.Process.Kill()
		cmd.Wait()
		require.NoError(t, err, stderr.String())
		require.Equal(t, "ready\n", said)
		require.True(t, strings.HasPrefix(left, report(name)), report(name))
	})
}

// doomedMain is a primary with a Node worker, until it is killed.
func doomedMain() error {
	p := &cluster.Primary{Command: func() *exec.Cmd {
		cmd := exec.Command(os.Getenv("PEER"), testkit.Fixture("cluster_servers.js"))
		cmd.Stderr = os.Stderr
		return cmd
	}}
	defer p.Close()
	w, err := p.Fork(nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.Channel().Send(ctx, m{"do": "echo", "re": 1}); err != nil {
		return err
	}
	if _, err := w.Channel().Receive(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	return ctx.Err()
}
