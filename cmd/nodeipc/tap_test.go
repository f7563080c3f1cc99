//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/lib"
	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// patience ends what would hang otherwise. A test that passes never waits for it.
const patience = time.Minute

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A tappedChild is a program as the child of this process, with a tap in its place.
type tappedChild struct {
	*nodeipc.Channel
	cmd    *exec.Cmd
	stderr bytes.Buffer
	wait   func() error
}

// startTapped starts argv below a tap that has a channel to this process.
func startTapped(t *testing.T, flags []string, argv ...string) *tappedChild {
	t.Helper()
	c := &tappedChild{cmd: tapCommand(append(append(flags, "--"), argv...)...)}
	c.cmd.Stderr = &c.stderr
	ch, err := nodeipc.Start(c.cmd, nil)
	require.NoError(t, err)
	c.Channel = ch
	c.wait = sync.OnceValue(c.cmd.Wait)
	t.Cleanup(func() {
		ch.Close()
		c.cmd.Process.Kill()
		c.wait()
		if t.Failed() {
			t.Logf("%s", c.stderr.String())
		}
	})
	return c
}

func (c *tappedChild) receive(t *testing.T) string {
	t.Helper()
	m, err := c.Receive(limited(t))
	require.NoError(t, err)
	return string(m.Data)
}

// A tap in the place of a child, without one above that prints: it does so itself.
func TestTapInTheChildsPlace(t *testing.T) {
	testkit.CheckLeaks(t)
	c := startTapped(t, nil, testkit.Node(t), testkit.Fixture("echo.js"))
	ctx := limited(t)
	require.NoError(t, c.Send(ctx, map[string]string{"a": "b\x1b[31m"}))
	require.JSONEq(t, `{"a":"b\u001b[31m"}`, c.receive(t))
	require.NoError(t, c.Disconnect(ctx))
	require.NoError(t, c.wait())
	out := c.stderr.String()
	for _, part := range []string{"secrets included", "→ echo.js[", "  start  ", `message  19 B  {"a":"b\u001b[31m"}`, "  disconnect", "  exit  code 0"} {
		require.Contains(t, out, part)
	}
	require.NotContains(t, out, "\x1b")
}

// The program has its channel where the parent put it, and everything else at its place.
func TestTapKeepsDescriptors(t *testing.T) {
	testkit.CheckLeaks(t)
	const script = `
		const fs = require('fs');
		process.send({ fd: process.channel.fd, three: fs.readFileSync(3, 'utf8'), six: fs.fstatSync(6).isFIFO() });
		process.disconnect();`
	dir := t.TempDir()
	path := filepath.Join(dir, "three")
	require.NoError(t, os.WriteFile(path, []byte("text"), 0o600))
	three, err := os.Open(path)
	require.NoError(t, err)
	defer three.Close()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	fds := socketPairFDs(t)
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	cmd := tapCommand("--output", os.DevNull, "--", testkit.Node(t), "-e", script)
	cmd.Env = append(cmd.Env, "NODE_CHANNEL_FD=5", "NODE_CHANNEL_SERIALIZATION_MODE=json")
	cmd.ExtraFiles = []*os.File{three, nil, theirs, w}
	require.NoError(t, cmd.Start())
	theirs.Close()
	w.Close()
	f := os.NewFile(uintptr(fds[0]), "ours")
	conn, err := net.FileConn(f)
	f.Close()
	require.NoError(t, err)
	c := nodeipc.New(conn, nil)
	defer c.Close()
	ctx := limited(t)
	var got []string
	for m, err := range c.Messages(ctx) {
		require.NoError(t, err)
		got = append(got, string(m.Data))
	}
	require.Equal(t, []string{`{"fd":5,"three":"text","six":true}`}, got)
	all, err := io.ReadAll(r) // the tap does not keep it
	require.NoError(t, err)
	require.Empty(t, all)
	require.NoError(t, cmd.Wait())
}

// Exit codes and signals are those of the program, also where there is no channel at all.
func TestTapEndsAsTheProgram(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, test := range []struct {
		argv   []string
		code   int
		signal syscall.Signal
		err    string
	}{
		{[]string{"sh", "-c", "exit 0"}, 0, 0, ""},
		{[]string{"sh", "-c", "exit 7"}, 7, 0, ""},
		{[]string{"sh", "-c", "kill -TERM $$"}, 0, syscall.SIGTERM, ""},
		{[]string{"sh", "-c", "kill -QUIT $$"}, 0, syscall.SIGQUIT, ""},
		{[]string{"sh", "-c", "kill -USR1 $$"}, 0, syscall.SIGUSR1, ""},
		{[]string{"sh", "-c", "kill -SEGV $$"}, 0, syscall.SIGSEGV, ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 0, syscall.SIGKILL, ""},
		{[]string{"no such program"}, 127, 0, `cannot start "no such program": executable file not found`},
		{[]string{"/no/such/program"}, 127, 0, `cannot start "/no/such/program": no such file`},
		{[]string{os.TempDir()}, 126, 0, "cannot start"},
	} {
		for _, channel := range []bool{false, true} {
			t.Run(fmt.Sprint(test.argv, channel), func(t *testing.T) {
				var state *os.ProcessState
				var out string
				if channel {
					c := startTapped(t, []string{"--output", os.DevNull}, test.argv...)
					c.wait()
					state, out = c.cmd.ProcessState, c.stderr.String()
					_, err := c.Receive(limited(t))
					require.Equal(t, io.EOF, err)
				} else {
					cmd := tapCommand(append([]string{"--output", os.DevNull, "--"}, test.argv...)...)
					text, _ := cmd.CombinedOutput()
					state, out = cmd.ProcessState, string(text)
				}
				ws := state.Sys().(syscall.WaitStatus)
				if test.signal != 0 {
					require.True(t, ws.Signaled(), "%v", state)
					require.Equal(t, test.signal, ws.Signal())
					require.False(t, ws.CoreDump())
				} else {
					require.Equal(t, test.code, state.ExitCode(), out)
				}
				switch {
				case test.err == "" && channel:
					require.Empty(t, out)
				case test.err == "":
					require.Equal(t, "nodeipc tap: no Node program has opened a channel\n", out)
				default:
					require.Contains(t, out, test.err)
				}
			})
		}
	}
}

// Whatever can be sent to the tap reaches the program.
func TestTapForwardsSignals(t *testing.T) {
	testkit.CheckLeaks(t)
	const script = `
		const names = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2', 'SIGWINCH', 'SIGCONT', 'SIGALRM', 'SIGTRAP', 'SIGXFSZ'];
		for (const name of names) process.on(name, () => process.send(name));
		process.on('message', () => {});
		process.send('ready');`
	c := startTapped(t, []string{"--output", os.DevNull}, testkit.Node(t), "-e", script)
	require.Equal(t, `"ready"`, c.receive(t))
	for _, sig := range []syscall.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT, unix.SIGALRM, unix.SIGTRAP, unix.SIGXFSZ,
	} {
		require.NoError(t, c.cmd.Process.Signal(sig))
		require.Equal(t, `"`+unix.SignalName(sig)+`"`, c.receive(t))
	}
	require.NoError(t, c.Disconnect(limited(t)))
	require.NoError(t, c.wait())
}

// What kills the tap without asking kills the program, where the kernel sees to that.
func TestTapKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("nothing kills the child of a killed tap on ", runtime.GOOS)
	}
	testkit.CheckLeaks(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd := tapCommand("--output", os.DevNull, "--", testkit.Node(t), "-e", `process.on('disconnect', () => {}); setInterval(() => {}, 1e6); process.send('ready')`)
	cmd.ExtraFiles = []*os.File{w}
	ch, err := nodeipc.Start(cmd, nil)
	require.NoError(t, err)
	defer ch.Close()
	w.Close()
	_, err = ch.Receive(limited(t))
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	require.NoError(t, r.SetReadDeadline(time.Now().Add(patience)))
	_, err = r.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err, "nobody has it any more")
	require.Error(t, cmd.Wait())
}

// A process that the child leaves behind with a copy of its channel does not keep the tap.
func TestTapOfChildWithHeir(t *testing.T) {
	testkit.CheckLeaks(t)
	c := startTapped(t, []string{"--output", os.DevNull}, "sh", "-c", "sleep 100 2>&- >&- & echo $! >&3; exit 3")
	// The line is no message of a program, but a number is JSON.
	pid := c.receive(t)
	defer exec.Command("kill", pid).Run()
	_, err := c.Receive(limited(t))
	require.Equal(t, io.EOF, err)
	var exit *exec.ExitError
	require.ErrorAs(t, c.wait(), &exit)
	require.Equal(t, 3, exit.ExitCode())
}

// What is recorded is for its owner alone, whole, and hidden where it should be.
func TestTapRecords(t *testing.T) {
	testkit.CheckLeaks(t)
	dir := t.TempDir()
	record, output := filepath.Join(dir, "record"), filepath.Join(dir, "output")
	require.NoError(t, os.WriteFile(record, []byte("what was there"), 0o644))
	c := startTapped(t, []string{"--record", record, "--output", output, "--redact", "password"}, testkit.Node(t), testkit.Fixture("echo.js"))
	ctx := limited(t)
	require.NoError(t, c.Send(ctx, map[string]string{"password": "secret", "text": strings.Repeat("x", 1000)}))
	require.Contains(t, c.receive(t), "secret")
	require.NoError(t, c.Disconnect(ctx))
	require.NoError(t, c.wait())
	info, err := os.Stat(record)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	text, err := os.ReadFile(record)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	require.Len(t, lines, 5)
	for _, line := range lines {
		_, err := parseEvent([]byte(line))
		require.NoError(t, err)
	}
	require.Contains(t, lines[1], `"value":{"password":"[redacted]","text":"`+strings.Repeat("x", 1000)+`"}`)
	shown, err := os.ReadFile(output)
	require.NoError(t, err)
	require.NotContains(t, string(shown)+string(text), "secret\"")
	require.Empty(t, c.stderr.String())

	// What cannot be written is said before anything is started.
	cmd := tapCommand("--record", filepath.Join(dir, "no", "folder"), "--", "sh", "-c", "echo started")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "--record: open ")
	require.NotContains(t, string(out), "started")
}

func TestTapUsage(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, test := range []struct{ args, says string }{
		{"tap", "which program?"},
		{"tap --filter nonsense -- sh", "nonsense"},
		{"tap --color blue -- sh", "colour is auto, always or never"},
		{"tap --nonsense -- sh", "nonsense"},
	} {
		var out, errs bytes.Buffer
		require.Equal(t, 2, run(&streams{nil, &out, &errs}, strings.Fields(test.args)), test.args)
		require.Contains(t, errs.String(), test.says, test.args)
		require.Contains(t, errs.String(), "Usage: nodeipc tap", test.args)
	}
}

// Ten thousand messages, a thousand of them with handles, leave nothing behind in the tap: neither in its process nor,
// with the same code in this one, a goroutine.
func TestTapLeavesNothing(t *testing.T) {
	testkit.CheckLeaks(t)
	const n, every = 10_000, 10
	drive := func(t *testing.T, near, far *nodeipc.Channel) {
		ctx := limited(t)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		there, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer there.Close()
		here, err := ln.Accept()
		require.NoError(t, err)
		defer here.Close()
		sent := make(chan error, 1)
		go func() {
			sent <- func() error {
				for i := range n {
					var err error
					if i%every == 0 {
						err = near.SendHandle(ctx, i, here)
					} else {
						err = near.Send(ctx, i)
					}
					if err != nil {
						return err
					}
				}
				return nil
			}()
		}()
		for i := range n {
			m, err := far.Receive(ctx)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i), string(m.Data))
			require.Equal(t, i%every == 0, m.Handle != nil)
			require.NoError(t, m.Handle.Close())
		}
		require.NoError(t, <-sent)
	}
	t.Run("goroutines", func(t *testing.T) {
		testkit.CheckLeaks(t)
		opts := &nodeipc.Options{Relay: true}
		left, up := pipe(t, nil, opts)
		down, right := pipe(t, opts, nil)
		exited := make(chan struct{})
		r := &relaying{up: up, down: down, exited: exited, pid: os.Getpid(), events: &events{q: newQueue(func([]event) {}), err: io.Discard}}
		done := make(chan struct{})
		go func() {
			r.run()
			close(done)
		}()
		drive(t, left, right)
		drive(t, right, left)
		require.NoError(t, left.Disconnect(limited(t)))
		_, err := right.Receive(limited(t))
		require.Equal(t, io.EOF, err)
		close(exited)
		<-done
		r.events.q.close()
		for _, c := range []*nodeipc.Channel{left, up, down, right} {
			c.Close()
		}
	})
	t.Run("descriptors", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Skip("they cannot be counted on ", runtime.GOOS)
		}
		const script = `process.on('message', (m, socket) => { process.send(m, socket); })`
		c := startTapped(t, []string{"--output", os.DevNull}, testkit.Node(t), "-e", script)
		ctx := limited(t)
		require.NoError(t, c.Send(ctx, "warm"))
		require.Equal(t, `"warm"`, c.receive(t))
		count := func() int {
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
			require.NoError(t, err)
			return len(fds)
		}
		before := count()
		drive(t, c.Channel, c.Channel)
		require.Eventually(t, func() bool { return count() == before }, 5*time.Second, time.Millisecond)
		require.NoError(t, c.Disconnect(ctx))
		require.NoError(t, c.wait())
	})
}

// socketPairFDs returns two connected sockets.
func socketPairFDs(t testing.TB) [2]int {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return fds
}

// pipe returns two ends of a channel, of which one relays.
func pipe(t *testing.T, one, other *nodeipc.Options) (a, b *nodeipc.Channel) {
	t.Helper()
	fds := socketPairFDs(t)
	var ends [2]net.Conn
	for i, fd := range fds {
		require.NoError(t, unix.SetNonblock(fd, true))
		f := os.NewFile(uintptr(fd), "end")
		var err error
		ends[i], err = net.FileConn(f)
		f.Close()
		require.NoError(t, err)
	}
	return nodeipc.New(ends[0], one), nodeipc.New(ends[1], other)
}

// A queue hands on everything, in order, and holds up who is faster than it.
func TestQueue(t *testing.T) {
	testkit.CheckLeaks(t)
	var got []int
	q := newQueue(func(events []event) {
		for _, e := range events {
			got = append(got, e.code)
		}
	})
	const n = 3 * queueLen
	for i := range n {
		q.event(event{code: i, data: make([]byte, 1000)})
	}
	q.close()
	require.Len(t, got, n)
	for i, code := range got {
		require.Equal(t, i, code)
	}
}

// Standard error that nobody reads any more ends the output, not the program, and nothing is left behind.
func TestTapOutputEnds(t *testing.T) {
	testkit.CheckLeaks(t)
	dir := t.TempDir()
	cmd := tapCommand("--", testkit.Node(t), "-e", `
		const child = require('child_process').spawn('true', { stdio: ['ignore', 1, 'ignore', 'ipc'] });
		child.on('exit', () => console.log('well'));`)
	cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, r.Close())
	cmd.Stderr = w
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "well\n", string(out))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// When the program has ended a signal ends the tap, also if nobody takes its output.
func TestTapOutputStuck(t *testing.T) {
	testkit.CheckLeaks(t)
	const script = `
		if (process.send) {
			const flood = () => process.send('x'.repeat(1 << 20), () => setTimeout(flood, 1));
			process.on('disconnect', () => process.exit());
			flood();
		} else {
			const child = require('child_process').fork(__filename, { stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
			let timer;
			child.on('message', () => {
				clearTimeout(timer);
				timer = setTimeout(() => { console.log('stuck'); process.exit(3); }, 300);
			});
		}`
	dir := t.TempDir()
	path := filepath.Join(t.TempDir(), "flood.js")
	require.NoError(t, os.WriteFile(path, []byte(script), 0o600))
	cmd := tapCommand("--full", "--", testkit.Node(t), path)
	cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	cmd.Stderr = w
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	w.Close()
	ended := make(chan struct{})
	defer func() {
		cmd.Process.Kill()
		<-ended
	}()
	line := make([]byte, len("stuck\n"))
	_, err = io.ReadFull(out, line)
	go func() {
		cmd.Wait()
		close(ended)
	}()
	require.NoError(t, err)
	require.Equal(t, "stuck\n", string(line))
	require.Eventually(t, func() bool {
		cmd.Process.Signal(syscall.SIGTERM) // more than one: the program gets those that come before it is gone
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}, patience, 100*time.Millisecond)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A tap that starts when the outermost one has ended, as that of a child whose parent has exited at once, runs its program
// without the preload, which is gone as well.
func TestTapOutlivesTheOutermost(t *testing.T) {
	testkit.CheckLeaks(t)
	gone := filepath.Join(t.TempDir(), "gone")
	cmd := tapCommand("--", testkit.Node(t), testkit.Fixture("echo.js"))
	env, err := lib.Environ(cmd.Env, lib.Config{Command: []string{cmd.Path, "tap"}, Preload: gone, Report: gone})
	require.NoError(t, err)
	cmd.Env = env
	ch, err := nodeipc.Start(cmd, nil)
	require.NoError(t, err)
	defer ch.Close()
	ctx := limited(t)
	require.NoError(t, ch.Send(ctx, "a"))
	m, err := ch.Receive(ctx)
	require.NoError(t, err)
	require.Equal(t, `"a"`, string(m.Data))
	require.NoError(t, ch.Disconnect(ctx))
	require.NoError(t, cmd.Wait())
}

// fullOnce is a listener whose first Accept finds no room for a descriptor.
type fullOnce struct {
	net.Listener
	once sync.Once
}

func (l *fullOnce) Accept() (conn net.Conn, err error) {
	if l.once.Do(func() { err = syscall.EMFILE }); err != nil {
		return nil, err
	}
	return l.Listener.Accept()
}

// A lack of descriptors for a while does not end the accepting of reports.
func TestReportsWithoutRoom(t *testing.T) {
	testkit.CheckLeaks(t)
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	require.NoError(t, err)
	c := &collector{ln: &fullOnce{Listener: ln}, out: &outputs{}, conns: make(map[net.Conn]bool)}
	c.wg.Go(c.accept)
	conn, err := net.Dial("unix", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.Eventually(t, func() bool { return c.open() == 1 }, patience, time.Millisecond)
	c.close(true)
}

// What is no report ends the connection and nothing else.
func TestReportsOfOthers(t *testing.T) {
	testkit.CheckLeaks(t)
	out := &outputs{}
	path := filepath.Join(t.TempDir(), "s")
	c, err := newCollector(path, out)
	require.NoError(t, err)
	started := appendReport(nil, &event{kind: started, argv: []string{"x"}})
	for _, text := range [][]byte{
		[]byte("GET / HTTP/1.1\r\n\r\n"), {1, 2}, {0, 0, 0, 0, 0}, {255, 255, 255, 255}, appendReport(nil, &event{kind: exited}),
		append(bytes.Clone(started), started...), append(bytes.Clone(started), 11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200),
	} {
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		_, err = conn.Write(text)
		require.NoError(t, err)
		require.NoError(t, conn.(*net.UnixConn).CloseWrite())
		_, err = conn.Read(make([]byte, 1))
		require.True(t, err == io.EOF || errors.Is(err, syscall.ECONNRESET), "%v", err)
		conn.Close()
	}
	c.close(true)
}
