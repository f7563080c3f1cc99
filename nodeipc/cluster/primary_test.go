//go:build unix

package cluster_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A primary is a Node process that runs js_fixtures/cluster_control.js, with this test binary for Go workers.
type primary struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	stderr lockedBuffer
	asked  int
	mayDie bool

	mu     sync.Mutex
	events []*event
	over   bool
	wake   chan struct{}
}

// An event is one that the primary sees.
type event struct {
	Event                 string
	Worker                int
	Message               json.RawMessage
	Code                  *int
	Signal                *string
	ExitedAfterDisconnect *bool
	Error                 string

	text  string
	taken bool
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // not embedded: it has a ReadFrom, which would go past the lock
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// startPrimary starts a primary, which the end of the test ends, with these variables in addition.
func startPrimary(t testing.TB, env ...string) *primary {
	t.Helper()
	return startPrimaryWith(t, nil, env...)
}

// startPrimaryWith starts one that has these files as its descriptors from 3 on.
func startPrimaryWith(t testing.TB, files []*os.File, env ...string) *primary {
	t.Helper()
	bin, err := os.Executable()
	require.NoError(t, err)
	p := &primary{t: t, cmd: testkit.Peer(t).Command("cluster_control.js", bin), wake: make(chan struct{})}
	// The race detector would wait a second at the end of each worker.
	if testkit.Peer(t).Kind == "Bun" {
		env = append(env, "BUN=1")
	}
	p.cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0", "NODE_CLUSTER_SCHED_POLICY=rr"), env...)
	p.cmd.Stderr = &p.stderr
	p.cmd.ExtraFiles = files
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(out)
	}()
	t.Cleanup(func() {
		limit := time.AfterFunc(patience, func() {
			t.Error("the primary and its workers do not end")
			p.cmd.Process.Kill()
		})
		defer limit.Stop()
		p.in.Close()
		<-read
		p.cmd.WaitDelay = patience // workers hold stderr
		p.cmd.Wait()
		log := p.stderr.String()
		if strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") || strings.Contains(log, "test worker:") ||
			!p.mayDie && strings.Contains(log, "Assertion") {
			t.Error("a worker failed")
		}
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			var all strings.Builder
			for _, e := range p.events[max(0, len(p.events)-50):] {
				fmt.Fprintf(&all, "%.300s\n", e.text)
			}
			t.Logf("the last events of the primary:\n%s\nstderr:\n%s", all.String(), log)
		}
	})
	return p
}

func (p *primary) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		e := &event{text: lines.Text()}
		if err := json.Unmarshal(lines.Bytes(), e); err != nil {
			p.t.Errorf("the primary printed %q: %v", e.text, err)
		}
		p.happened(func() { p.events = append(p.events, e) })
	}
	p.happened(func() { p.over = true })
}

func (p *primary) happened(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.wake)
	p.wake = make(chan struct{})
}

// tell sends the primary a command.
func (p *primary) tell(command map[string]any) {
	p.t.Helper()
	text, err := json.Marshal(command)
	require.NoError(p.t, err)
	_, err = p.in.Write(append(text, '\n'))
	require.NoError(p.t, err)
}

// await takes the next event of this kind from the worker, or from any if worker is 0, for which match, if given,
// reports true.
func (p *primary) await(worker int, kind string, match func(*event) bool) *event {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for {
		p.mu.Lock()
		wake, over, gone := p.wake, p.over, false
		for _, e := range p.events {
			if worker != 0 && e.Worker != worker {
				continue
			}
			if e.Event == kind && !e.taken && (match == nil || match(e)) {
				e.taken = true
				p.mu.Unlock()
				return e
			}
			gone = gone || worker != 0 && e.Event == "exit"
		}
		p.mu.Unlock()
		if over || gone {
			p.t.Fatalf("no %s of worker %d: it is gone", kind, worker)
		}
		select {
		case <-wake:
		case <-ctx.Done():
			p.t.Fatalf("no %s of worker %d came in time", kind, worker)
		}
	}
}

// saw reports whether such an event has come, and leaves it.
func (p *primary) saw(worker int, kind string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.events, func(e *event) bool { return e.Worker == worker && e.Event == kind })
}

// fork starts a worker of a kind, node or go; the role is that of a Go worker.
func (p *primary) fork(kind, role string, env ...string) *forked {
	p.t.Helper()
	vars := map[string]string{envRole: role}
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		vars[name] = value
	}
	p.tell(map[string]any{"do": "fork", "kind": kind, "env": vars})
	w := &forked{p, kind, p.await(0, "forked", nil).Worker}
	p.await(w.id, "online", nil)
	return w
}

// A forked is a worker of a primary.
type forked struct {
	p    *primary
	kind string
	id   int
}

func (w *forked) await(kind string) *event {
	w.p.t.Helper()
	return w.p.await(w.id, kind, nil)
}

// awaitMessage takes the next message of the worker that has these beginnings.
func (w *forked) awaitMessage(begin string) string {
	w.p.t.Helper()
	e := w.p.await(w.id, "message", func(e *event) bool { return strings.HasPrefix(string(e.Message), begin) })
	return string(e.Message)
}

// tell sends the worker a command.
func (w *forked) tell(command map[string]any) {
	w.p.t.Helper()
	w.p.tell(map[string]any{"do": "send", "worker": w.id, "message": command})
}

// ask sends the worker a command and waits for the answer.
func (w *forked) ask(command map[string]any) (a answer) {
	w.p.t.Helper()
	w.start(command)(&a)
	return a
}

// start is the first half of ask.
func (w *forked) start(command map[string]any) (wait func(*answer)) {
	w.p.t.Helper()
	w.p.asked++
	re := w.p.asked
	command["re"] = re
	w.tell(command)
	return func(a *answer) {
		w.p.t.Helper()
		text := w.awaitMessage(fmt.Sprintf(`{"re":%d,`, re))
		require.NoError(w.p.t, json.Unmarshal([]byte(text), a))
	}
}

// listen makes the worker serve an address and returns what it says that is.
func (w *forked) listen(name, network, host string, port int) string {
	w.p.t.Helper()
	a := w.tryListen(name, network, host, port)
	require.Empty(w.p.t, a.Error, a.Text)
	return a.Address
}

func (w *forked) tryListen(name, network, host string, port int) answer {
	w.p.t.Helper()
	return w.ask(map[string]any{"do": "listen", "name": name, "network": network, "host": host, "port": port})
}

func (w *forked) close(name string) {
	w.p.t.Helper()
	a := w.ask(map[string]any{"do": "close", "name": name})
	require.True(w.p.t, a.Closed, "%+v", a)
}

// says is the text with which the worker answers requests.
func (w *forked) says(name string) string { return fmt.Sprintf("%s %d %s", w.kind, w.id, name) }

// history returns the names of the events of the worker so far but for its messages and what the test did, with what
// they say of its end.
func (w *forked) history() (all []string) {
	w.p.t.Helper()
	require.Eventually(w.p.t, func() bool { return w.p.saw(w.id, "disconnect") }, patience, time.Millisecond)
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	for _, e := range w.p.events {
		if e.Worker != w.id {
			continue
		}
		switch e.Event {
		case "message", "forked", "disconnecting":
		case "disconnect", "exit": // of which a busy primary may see the second first, when they are close together
			text := e.Event
			if e.Code != nil {
				text += fmt.Sprintf(" code %d", *e.Code)
			}
			if e.Signal != nil {
				text += " signal " + *e.Signal
			}
			if e.ExitedAfterDisconnect != nil {
				text += fmt.Sprintf(" exitedAfterDisconnect %v", *e.ExitedAfterDisconnect)
			}
			if n := len(all) - 1; e.Event == "disconnect" && n >= 0 && strings.HasPrefix(all[n], "exit") {
				all = slices.Insert(all, n, text)
				continue
			}
			all = append(all, text)
		default:
			all = append(all, e.Event)
		}
	}
	return all
}

// A new connection for each request.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// get returns the answer to a request.
func get(addr, path string) (string, error) {
	client := client
	if addr[0] == '/' { // a unix socket
		path := addr
		client = &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", path)
			},
		}, Timeout: patience}
		addr = "unix"
	}
	res, err := client.Get("http://" + addr + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return strings.TrimSpace(string(body)), err
}

// served makes n requests one after the other and counts the answers.
func served(t testing.TB, addr string, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for range n {
		body, err := get(addr, "/")
		require.NoError(t, err)
		count[body]++
	}
	return count
}

// shared makes n requests one after the other and counts the answers of two workers. The primary alternates between
// them if it has had a worker's answer to a connection before the next but one comes; the worker's client may be faster.
func shared(t testing.TB, addr string, n int, a, b *forked) map[string]int {
	t.Helper()
	count := map[string]int{}
	for range n {
		for body := range served(t, addr, 1) {
			count[body]++
		}
		for _, w := range []*forked{a, b} {
			w.p.asked++
			w.tell(map[string]any{"echo": w.p.asked})
			w.awaitMessage(fmt.Sprintf("[%d]", w.p.asked))
		}
	}
	return count
}

// request makes a request, from an address of this machine if one is given. The answer can be read later.
func request(t testing.TB, addr, path string, from net.IP) (answer func() string) {
	t.Helper()
	dialer := &net.Dialer{}
	if from != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: from}
	}
	c, err := dialer.Dial("tcp", addr)
	require.NoError(t, err)
	_, err = fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
	require.NoError(t, err)
	return func() string {
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if !assert.NoError(t, err) {
			return ""
		}
		body, err := io.ReadAll(res.Body)
		assert.NoError(t, err)
		return string(body)
	}
}
