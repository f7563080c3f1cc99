//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// A running is nodeipc run in a process of its own.
type running struct {
	t    *testing.T
	cmd  *exec.Cmd
	dir  string
	wait func() error

	mu    sync.Mutex
	text  map[string]*strings.Builder // by stream
	lines []string                    // of both, as they came
	seen  int                         // lines that await has looked at
	over  bool
	wake  chan struct{}
}

// runFixture returns the path of the server of these tests.
func runFixture() string { return testkit.Fixture("run_server.js") }

// newRun returns the command in a folder of its own.
func newRun(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{t: t, dir: t.TempDir(), wake: make(chan struct{})}
	r.text = map[string]*strings.Builder{"out": {}, "err": {}}
	bin := t.TempDir()
	require.NoError(t, os.Symlink(testkit.Node(t), filepath.Join(bin, "node")))
	r.cmd = selfCommand(append([]string{"run"}, args...)...)
	r.cmd.Dir = r.dir
	r.cmd.Env = append(r.cmd.Env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "TMPDIR="+bin)
	r.cmd.Stdout, r.cmd.Stderr = &runStream{r: r, name: "out"}, &runStream{r: r, name: "err"}
	return r
}

func (r *running) start() *running {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Start())
	r.wait = sync.OnceValue(func() error {
		err := r.cmd.Wait()
		r.mu.Lock()
		r.over = true
		close(r.wake)
		r.wake = make(chan struct{})
		r.mu.Unlock()
		return err
	})
	go r.wait()
	r.t.Cleanup(func() {
		r.cmd.Process.Kill()
		r.wait()
		if r.t.Failed() {
			r.t.Logf("nodeipc run:\n%s", strings.Join(r.lines, "\n"))
		}
	})
	return r
}

func startRun(t *testing.T, args ...string) *running {
	t.Helper()
	return newRun(t, args...).start()
}

// A runStream takes what the command writes.
type runStream struct {
	r    *running
	name string
	rest string
}

func (s *runStream) Write(p []byte) (int, error) {
	r := s.r
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text[s.name].Write(p)
	lines := strings.Split(s.rest+string(p), "\n")
	s.rest = lines[len(lines)-1]
	r.lines = append(r.lines, lines[:len(lines)-1]...)
	close(r.wake)
	r.wake = make(chan struct{})
	return len(p), nil
}

// await returns the groups of the next line that matches, behind the last one that was found.
func (r *running) await(pattern string) []string {
	r.t.Helper()
	re := regexp.MustCompile(pattern)
	ctx := limited(r.t)
	for {
		r.mu.Lock()
		for r.seen < len(r.lines) {
			r.seen++
			if m := re.FindStringSubmatch(r.lines[r.seen-1]); m != nil {
				r.mu.Unlock()
				return m
			}
		}
		wake, over := r.wake, r.over
		r.mu.Unlock()
		if over {
			r.t.Fatalf("the command has ended without a line %q", pattern)
		}
		select {
		case <-wake:
		case <-ctx.Done():
			r.t.Fatalf("no line %q came in time", pattern)
		}
	}
}

// ready waits for all workers and returns the address that they share.
func (r *running) ready() string {
	r.t.Helper()
	addr := r.await(`is ready on (\S+)$`)[1]
	r.await(`all \d+ workers are ready`)
	return addr
}

func (r *running) signal(sig syscall.Signal) {
	r.t.Helper()
	require.NoError(r.t, r.cmd.Process.Signal(sig))
}

// exit waits for the command's end and returns its code.
func (r *running) exit() int {
	r.t.Helper()
	done := make(chan struct{})
	go func() {
		r.wait()
		close(done)
	}()
	select {
	case <-done:
	case <-limited(r.t).Done():
		r.t.Fatal("the command does not end")
	}
	return r.cmd.ProcessState.ExitCode()
}

// said is all that came on a stream.
func (r *running) said(stream string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text[stream].String()
}

// A connection for each request.
var runClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func get(addr, path string) (string, error) {
	res, err := runClient.Get("http://" + addr + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

// begin makes a request and returns, after the first bytes of the answer have come, a function for the rest.
func begin(t *testing.T, addr, path string) func() (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(limited(t), http.MethodGet, "http://"+addr+path, nil)
	require.NoError(t, err)
	res, err := runClient.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { res.Body.Close() })
	first := make([]byte, len("begun "))
	_, err = io.ReadFull(res.Body, first)
	require.NoError(t, err)
	require.Equal(t, "begun ", string(first))
	return func() (string, error) {
		rest, err := io.ReadAll(res.Body)
		return string(rest), err
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	r := startRun(t, "-i", "2", runFixture(), "worker name")
	addr := r.ready()
	for range 4 {
		who, err := get(addr, "/")
		require.NoError(t, err)
		require.Equal(t, "worker name", who)
	}
	for _, sig := range []syscall.Signal{syscall.SIGWINCH, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGALRM} {
		r.signal(sig)
	}
	_, err := get(addr, "/print/said")
	require.NoError(t, err)
	r.await(`^\[[12]\] said$`)

	slow := begin(t, addr, "/slow")
	r.signal(syscall.SIGTERM)
	r.await("SIGTERM: the workers are to finish")
	rest, err := slow()
	require.NoError(t, err)
	require.Equal(t, "ended worker name", rest)
	require.Equal(t, 0, r.exit())
	require.Equal(t, 2, strings.Count(r.said("err"), "exited with code 0"))
	require.Regexp(t, `^\[[12]\] said\n$`, r.said("out"))
}

// What the workers of TestRunOutput print, and what comes of it.
const (
	printed = `process.stdout.write('one\n\ntw'); process.stdout.write('o\r\n{"json":"\\n \\\\"}\ttab\n')
process.stdout.write('\x1b[31mred\x1b[0m \x07 \x7f \u202e \u00a0 é 漢 😀\n')
process.stdout.write(Buffer.from([0x61, 0xff, 0xc3, 0x0a]))
process.stdout.write('x'.repeat(1 << 20) + '\n')
process.stderr.write('error\n')
process.stdout.write('no end', () => process.exit(7))
`
	shown = `[1] one
[1] 
[1] two
[1] {"json":"\n \\"}` + "\t" + `tab
[1] \u001b[31mred\u001b[0m \u0007 \u007f \u202e \u00a0 é 漢 😀
[1] a\xff\xc3
`
)

func TestRunOutput(t *testing.T) {
	t.Parallel()
	want := shown + strings.Repeat("[1] "+strings.Repeat("x", 64<<10)+"\n", 16) + "[1] no end\n"
	newPrinter := func(t *testing.T) *running {
		r := newRun(t, "--max-crashes", "1", "print.js")
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, "print.js"), []byte(printed), 0o666))
		return r
	}
	t.Run("pipe", func(t *testing.T) {
		t.Parallel()
		r := newPrinter(t).start()
		require.Equal(t, exitCrashLoop, r.exit())
		require.True(t, want == r.said("out"), "a difference too long to show")
		require.Regexp(t, `(?m)^\[1\] error$`, r.said("err"))
		require.Regexp(t, `(?m)^nodeipc: run: worker 1 \(main, pid \d+\) exited with code 7$`, r.said("err"))
	})
	t.Run("file", func(t *testing.T) {
		t.Parallel()
		r := newPrinter(t)
		f, err := os.Create(filepath.Join(t.TempDir(), "log"))
		require.NoError(t, err)
		defer f.Close()
		r.cmd.Stdout, r.cmd.Stderr = f, f
		require.Equal(t, exitCrashLoop, r.start().exit())
		text, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		for line := range strings.Lines(want) {
			require.True(t, strings.Contains(string(text), line), "%.80s", line)
		}
		require.Contains(t, string(text), "[1] error\n")
		whole := regexp.MustCompile(`^(\[1\] |nodeipc: run: )[^\[]*(\[31m.*)?\n$`)
		for line := range strings.Lines(string(text)) { // none is within another
			require.True(t, whole.MatchString(line), "%.80s", line)
		}
	})
	t.Run("terminal", func(t *testing.T) {
		t.Parallel()
		r := newPrinter(t)
		master, tty := openTerminal(t)
		r.cmd.Stdout, r.cmd.Stderr = tty, tty
		read := make(chan string)
		go func() {
			text, _ := io.ReadAll(master) // ends with EIO when nobody has the other end
			read <- string(text)
		}()
		r.start()
		tty.Close()
		require.Equal(t, exitCrashLoop, r.exit())
		text := <-read
		for line := range strings.Lines(want) {
			require.True(t, strings.Contains(text, strings.TrimSuffix(line, "\n")+"\r\n"), "%.80s", line)
		}
		require.NotContains(t, text, "\x1b")
	})
}

// openTerminal returns the two ends of a pseudo-terminal.
func openTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	tty, err = openTTY(master)
	require.NoError(t, err)
	return master, tty
}

// Lines come out the same however their bytes come in.
func TestRunLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ in, out string }{
		{"", ""},
		{"\n", "> \n"},
		{"a\nb", "> a\n> b\n"},
		{strings.Repeat("x", maxLine) + "\nend\n", "> " + strings.Repeat("x", maxLine) + "\n> end\n"},
		{strings.Repeat("x", maxLine), "> " + strings.Repeat("x", maxLine) + "\n"},
		{strings.Repeat("x", maxLine-1) + "é\n", "> " + strings.Repeat("x", maxLine-1) + "\n> é\n"},
		{strings.Repeat("x", maxLine-3) + "😀y\n", "> " + strings.Repeat("x", maxLine-3) + "\n> 😀y\n"},
		{strings.Repeat("\x80", maxLine) + "\n", "> " + strings.Repeat(`\x80`, maxLine) + "\n"},
	} {
		for _, in := range []io.Reader{
			strings.NewReader(test.in),
			iotest.OneByteReader(strings.NewReader(test.in)),
			iotest.DataErrReader(strings.NewReader(test.in)),
		} {
			var out bytes.Buffer
			(&output{new(sync.Mutex), &out}).copy("> ", in)
			require.Equal(t, test.out, out.String())
		}
	}
}

// Without somebody who reads what it prints it goes on.
func TestRunBrokenPipe(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	r := newRun(t, runFixture())
	r.cmd.Stdout = write
	r.start()
	require.NoError(t, write.Close())
	addr := r.ready()
	_, err = get(addr, "/print/read")
	require.NoError(t, err)
	buf := make([]byte, 100)
	n, err := read.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "[1] read\n", string(buf[:n]))
	require.NoError(t, read.Close())
	for range 3 {
		_, err := get(addr, "/print/lost")
		require.NoError(t, err)
	}
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
	require.Contains(t, r.said("err"), "worker 1 ")
	require.NotContains(t, r.said("err"), "worker 2 ")
}

func TestRunUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{nil, "which program?"},
		{[]string{"-i", "0", "a.js"}, `not "0"`},
		{[]string{"--instances", "many", "a.js"}, `not "many"`},
		{[]string{"--nonsense"}, "unknown flag: --nonsense"},
		{[]string{"--policy", "fair", "a.js"}, "--policy cannot be \"fair\""},
		{[]string{"--group", "go", "a.js"}, `--group is name=number:program, as in 'go=2:./worker', not "go"`},
		{[]string{"--group", "go=1:", "a.js"}, "which program?"},
		{[]string{"--group", "go=1:'a", "a.js"}, "no ' at the end"},
		{[]string{"--group", "main=1:a", "a.js"}, `not "main"`},
		{[]string{"--weight", "other=1", "a.js"}, `there is no group "other"`},
		{[]string{"--weight", "main", "a.js"}, `"main" is not group=number`},
		{[]string{"--weight", "main=1", "--policy", "sticky", "a.js"}, "exclude each other"},
		{[]string{"--route", "main", "a.js"}, "a route is groups: conditions, as in 'go: GET /api/'"},
		{[]string{"--route", "other: /", "a.js"}, `there is no group "other"`},
		{[]string{"--route", "main: GET", "a.js"}, "--route: "},
		{[]string{"--route", "main: /", "--weight", "main=1", "a.js"}, "exclude each other"},
		{[]string{"--serialization", "xml", "a.js"}, `--serialization cannot be "xml", but advanced, json`},
		{[]string{"--ready", "soon", "a.js"}, `--ready cannot be "soon", but listening, online`},
		{[]string{"--drain-timeout", "0s", "a.js"}, "more than nothing"},
		{[]string{"--upgrade", "a.js"}, "--upgrade needs --control"},
		{[]string{"--max-crashes", "0", "a.js"}, "--max-crashes has to be 1"},
	} {
		var out, errs bytes.Buffer
		require.Equal(t, 2, run(&streams{nil, &out, &errs}, append([]string{"run"}, test.args...)), "%q", test.args)
		require.Contains(t, errs.String(), test.says, "%q", test.args)
		require.Contains(t, errs.String(), "Usage: nodeipc run", "%q", test.args)
		require.Empty(t, out.String())
	}
}

func TestRunRoutes(t *testing.T) {
	t.Parallel()
	groups := []*group{{name: "go"}, {name: "node"}}
	for text, want := range map[string]cluster.Route{
		"go: /api/":                    {Pattern: "/api/", To: cluster.Weights{"go": 1}},
		"go=5,node=95: / cookie c=1":   {Pattern: "/", Cookie: "c=1", To: cluster.Weights{"go": 5, "node": 95}},
		"go:GET a.b/c header X-B: 1 2": {Pattern: "GET a.b/c", Header: "X-B: 1 2", To: cluster.Weights{"go": 1}},
		"go: header X cookie c":        {Header: "X", Cookie: "c", To: cluster.Weights{"go": 1}},
	} {
		route, err := parseRoute(text, groups)
		require.NoError(t, err, text)
		require.Equal(t, want, route, text)
	}

	r := startRun(t, "--name", "a", "--group", "b=1:'"+runFixture()+"' b", "--route", "b: /print/", runFixture(), "a")
	addr := r.ready()
	for range 3 {
		who, err := get(addr, "/print/x")
		require.NoError(t, err)
		require.Equal(t, "b", who)
	}
	others := map[string]int{}
	for range 20 {
		who, err := get(addr, "/")
		require.NoError(t, err)
		others[who]++
	}
	require.Len(t, others, 2)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
}

// Groups start in their order: who comes early does not get a worker that is not meant for it, of a group that would have
// been faster.
func TestRunGroupsInOrder(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	addr := ln.Addr().String()
	f, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer f.Close()
	fixture := runFixture()
	r := newRun(t, "--name", "slow", "--group", "fast=2:'"+fixture+"' fast", "--route", "fast: /print/", "--route", "slow:",
		"--", "sh", "-c", `sleep 0.5; exec node "$0" slow`, fixture)
	sh, err := exec.LookPath("sh")
	require.NoError(t, err)
	r.cmd.Path = sh
	r.cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`}, r.cmd.Args...)
	r.cmd.ExtraFiles = []*os.File{f}
	r.cmd.Env = append(r.cmd.Env, "LISTEN_FD=3")
	r.start()
	who, err := get(addr, "/")
	require.NoError(t, err)
	require.Equal(t, "slow", who)
	r.ready()
	who, err = get(addr, "/print/x")
	require.NoError(t, err)
	require.Equal(t, "fast", who)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
}

// A worker that fails again and again, while another of its group is ready, does not hold up the next group.
func TestRunGroupAfterFailure(t *testing.T) {
	t.Parallel()
	fixture := runFixture()
	r := startRun(t, "-i", "2", "--name", "half", "--group", "whole=1:'"+fixture+"'",
		"--", "sh", "-c", `mkdir one && exec node "$0"`, fixture)
	r.await(`worker \d+ \(half, pid \d+\) is ready`)
	r.await(`worker \d+ \(whole, pid \d+\) is ready`)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
}

// A command line is split as sh splits it.
func TestRunWords(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		`a b`, "  a \t b\n", `'a b' c`, `"a b"c`, `a\ b`, `''`, `"" a`, `'a\b'`, `"a\b\"\\\$"`, `a'b'"c"\'`, `\\`, `-v 'it'\''s'`,
	} {
		words, err := splitWords(line)
		require.NoError(t, err, line)
		want, err := exec.Command("sh", "-c", `for w in `+strings.TrimSpace(line)+`; do printf '%s\0' "$w"; done`).Output()
		require.NoError(t, err, line)
		require.Equal(t, string(want), strings.Join(words, "\x00")+"\x00", line)
	}
	for _, line := range []string{`'a`, `"a`, `a\`, `"a\"`} {
		_, err := splitWords(line)
		require.Error(t, err, line)
	}
}

func TestCompletion(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"ru"}, "run\t"},
		{[]string{"run", "--kill"}, "--kill-timeout\t"},
		{[]string{"run", "--policy", ""}, "round-robin\nnone\nleast-connections\nsticky\n"},
		{[]string{"tap", "-red"}, "-redact\thide "},
		{[]string{"tap", "--red"}, "--redact\thide "},
		{[]string{"replay", "--ti"}, "--timeout\thow long "},
		{[]string{"dump", "-js"}, "-json\tprint JSON"},
	} {
		var out, errs bytes.Buffer
		require.Equal(t, 0, run(&streams{nil, &out, &errs}, append([]string{"__complete"}, test.args...)), "%q", test.args)
		require.True(t, strings.HasPrefix(out.String(), test.want), "%q: %s", test.args, &out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out, errs bytes.Buffer
		require.Equal(t, 0, run(&streams{nil, &out, &errs}, []string{"completion", shell}))
		require.Contains(t, out.String(), "nodeipc", shell)
	}
}

func TestRunExitCodes(t *testing.T) {
	t.Parallel()
	t.Run("cannot start", func(t *testing.T) {
		t.Parallel()
		r := startRun(t, "--group", "ok=1:"+runFixture(), "--", "./missing")
		require.Equal(t, 1, r.exit())
		require.Contains(t, r.said("err"), "./missing: no such file or directory")
	})
	t.Run("crash loop", func(t *testing.T) {
		t.Parallel()
		r := newRun(t, "--max-crashes", "4", "server.js")
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, "server.js"), []byte("process.exit(9)"), 0o666))
		require.Equal(t, exitCrashLoop, r.start().exit())
		for n, most := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
			r.await(fmt.Sprintf(`worker %d \(main, pid \d+\) exited with code 9$`, n+1))
			d, err := time.ParseDuration(r.await(`the next worker is started in (\S+)`)[1])
			require.NoError(t, err)
			require.LessOrEqual(t, d, most)
			require.GreaterOrEqual(t, d, most*4/5)
		}
		require.Contains(t, r.said("err"), "no worker was ready, 4 times in a row")
	})
	t.Run("not ready in time", func(t *testing.T) {
		t.Parallel()
		r := newRun(t, "--max-crashes", "1", "--ready-timeout", "300ms", "server.js")
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, "server.js"), []byte("setInterval(() => {}, 1000)"), 0o666))
		require.Equal(t, exitCrashLoop, r.start().exit())
		require.Contains(t, r.said("err"), "was not ready within 300ms, and is ended: it does not listen")
	})
	for _, test := range []struct {
		name, path string
		signals    []syscall.Signal
		code       int
	}{
		{"killed", "/stuck", []syscall.Signal{unix.SIGTERM}, exitKilled},
		{"killed firmly", "/stuck/firmly", []syscall.Signal{unix.SIGTERM}, exitKilled},
		{"hurried", "/stuck", []syscall.Signal{unix.SIGTERM, unix.SIGTERM}, 143},
		{"hurried by Ctrl-C", "/stuck/firmly", []syscall.Signal{unix.SIGTERM, unix.SIGINT}, 130},
		{"hurried three times", "/stuck/firmly", []syscall.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGTERM}, 143},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			drain, kill := "300ms", "300ms"
			if len(test.signals) > 1 {
				drain = "1h"
			}
			if len(test.signals) > 2 {
				kill = "1h"
			}
			r := startRun(t, "--drain-timeout", drain, "--kill-timeout", kill, runFixture())
			begin(t, r.ready(), test.path)
			for i, sig := range test.signals {
				r.signal(sig)
				if i < 2 {
					r.await(unix.SignalName(sig) + ": ")
				}
			}
			require.Equal(t, test.code, r.exit())
			how := "SIGTERM"
			if strings.HasSuffix(test.path, "firmly") {
				how = "SIGKILL"
			}
			require.Contains(t, r.said("err"), "was ended by "+how)
		})
	}
}

func TestRunPause(t *testing.T) {
	t.Parallel()
	for ends, most := range map[int]time.Duration{
		1: minPause, 2: 2 * minPause, 9: 256 * minPause, 10: maxPause, 1000: maxPause,
	} {
		for range 100 {
			d := pause(ends)
			require.LessOrEqual(t, d, most)
			require.GreaterOrEqual(t, d, most*4/5)
		}
	}
}

// One worker of four crashes again and again; the others serve.
func TestRunOneCrashes(t *testing.T) {
	t.Parallel()
	r := newRun(t, "-i", "4", "--max-crashes", "2", "server.js")
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "server.js"), []byte(`
if (require('cluster').worker.id > 4) process.exit(8)
require('`+runFixture()+`')
`), 0o666))
	addr := r.start().ready()
	_, err := get(addr, "/exit/7")
	require.NoError(t, err)
	r.await(`worker [1-4] .* exited with code 7`)
	load := testkit.StartLoad(t, addr, 2, false)
	for _, id := range []int{5, 6, 7} {
		r.await(fmt.Sprintf(`worker %d \(main, pid \d+\) exited with code 8`, id))
	}
	require.Len(t, load.Served(t), 3)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
}

// All workers of one group crash again and again, after they have been ready; the other group serves.
func TestRunOneGroupCrashes(t *testing.T) {
	t.Parallel()
	r := newRun(t, "--name", "good", "--group", "bad=1:bad.js", "--max-crashes", "2", "--route", "bad: /exit/",
		"--route", "good:", runFixture(), "good")
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "bad.js"), []byte(`
if (require('cluster').worker.id > 2) process.exit(8)
require('`+runFixture()+`')
`), 0o666))
	addr := r.start().ready()
	_, err := get(addr, "/exit/7")
	require.NoError(t, err)
	for _, id := range []int{3, 4, 5} {
		r.await(fmt.Sprintf(`worker %d \(bad, pid \d+\) exited with code 8`, id))
	}
	text, err := get(addr, "/")
	require.NoError(t, err)
	require.Equal(t, "good", text)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
}

// A worker that leaves the cluster and lives on is replaced, and has its time to end.
func TestRunLeaves(t *testing.T) {
	t.Parallel()
	r := startRun(t, "--drain-timeout", "300ms", runFixture())
	addr := r.ready()
	begin(t, addr, "/stuck")
	_, err := get(addr, "/leave")
	require.NoError(t, err)
	r.await(`worker 1 .* has left the cluster`)
	r.await(`worker 1 .* was ended by SIGTERM|worker 2 .* is ready`)
	r.await(`worker 1 .* was ended by SIGTERM|worker 2 .* is ready`)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
}

// The flags that docs/run.md names are there.
func TestRunDocs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testkit.Root(), "docs", "run.md"))
	require.NoError(t, err)
	others := []string{"its-own-flag", "max-old-space-size"}
	names := regexp.MustCompile(`\B--([a-z]+(?:-[a-z]+)*)`).FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, names)
	flags := runCommand(&streams{}).Flags()
	for _, name := range names {
		if !slices.Contains(others, name[1]) {
			require.NotNil(t, flags.Lookup(name[1]), name[1])
		}
	}
}

func TestRunReload(t *testing.T) {
	t.Parallel()
	r := newRun(t, "-i", "2", "server.js")
	script := filepath.Join(r.dir, "server.js")
	good, err := os.ReadFile(runFixture())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(script, good, 0o666))
	addr := r.start().ready()
	first := testkit.StartLoad(t, addr, 2, false)
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2} {
		r.signal(sig)
		r.await(`worker (\d+) \(.*is ready`) // before one is asked to leave
		r.await(`worker [12345678] \(.*exited with code 0`)
		r.await(`reload: all 2 workers are replaced`)
	}
	before := first.Served(t)
	require.GreaterOrEqual(t, len(before), 4)

	// A new one that fails leaves the old ones in place.
	load := testkit.StartLoad(t, addr, 2, false)
	require.NoError(t, os.WriteFile(script, []byte("("), 0o666))
	r.signal(syscall.SIGHUP)
	r.await(`reload: worker 7 .* was not ready: exited with code 1; 0 workers were replaced, the others stay`)
	during := load.Served(t)
	load = testkit.StartLoad(t, addr, 2, false)
	require.NoError(t, os.WriteFile(script, good, 0o666))
	r.signal(syscall.SIGHUP)
	r.await(`reload: all 2 workers are replaced`)
	require.Len(t, during, 2)
	for who := range during {
		require.Contains(t, before, who)
	}
	require.GreaterOrEqual(t, len(load.Served(t)), 2)
	r.signal(syscall.SIGINT)
	require.Equal(t, 0, r.exit())
}

// A new worker that ends while the old one still has something to do is replaced at once.
func TestRunReloadCrash(t *testing.T) {
	t.Parallel()
	r := startRun(t, runFixture())
	kill := func(found []string) {
		pid, err := strconv.Atoi(found[1])
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	first := r.await(`worker 1 \(main, pid (\d+)\) is ready on (.*)`)
	r.await(`all 1 workers are ready`)
	begin(t, first[2], "/stuck")
	r.signal(syscall.SIGHUP)
	kill(r.await(`worker 2 \(main, pid (\d+)\) is ready`))
	third := r.await(`worker 3 \(main, pid (\d+)\) is ready on (.*)`)
	answer, err := get(third[2], "/")
	require.NoError(t, err)
	require.Equal(t, third[1], answer)
	kill(first)
	r.await(`reload: all 1 workers are replaced`)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
}

// Another takes the place of the first under load, and a third one that fails does not.
func TestRunUpgrade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	control, path := filepath.Join(dir, "control"), filepath.Join(dir, "unused")
	ln, err := net.Listen("tcp", "127.0.0.1:0") // for a port
	require.NoError(t, err)
	addr := ln.Addr().String()
	require.NoError(t, ln.Close())
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	start := func(args ...string) *running {
		flags := []string{"-i", "2", "--control", control, "--listen", "localhost:" + port, "--listen", path}
		r := newRun(t, append(flags, args...)...)
		r.cmd.Env = append(r.cmd.Env, "PORT="+port)
		return r.start()
	}
	first := start(runFixture(), "first")
	require.Equal(t, addr, first.ready())
	first.await("a successor can come to")
	info, err := os.Stat(control)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())

	busy := startRun(t, "--control", control, runFixture())
	require.Equal(t, 1, busy.exit())
	require.Contains(t, busy.said("err"), "is another's")

	load := testkit.StartLoad(t, addr, 2, false)
	bad := startRun(t, "--control", control, "--upgrade", "--max-crashes", "1", "--", "node", "-e", "process.exit(1)")
	require.Equal(t, exitCrashLoop, bad.exit())
	first.await("it has given up; this one goes on")
	require.Equal(t, []string{"first"}, slices.Sorted(maps.Keys(load.Served(t))))

	load = testkit.StartLoad(t, addr, 2, false)
	second := start("--upgrade", runFixture(), "second")
	require.Equal(t, addr, second.ready())
	require.Equal(t, 0, first.exit())
	for {
		who, err := get(addr, "/")
		require.NoError(t, err)
		if who == "second" {
			break
		}
	}
	count := load.Served(t)
	require.Equal(t, []string{"first", "second"}, slices.Sorted(maps.Keys(count)))
	require.FileExists(t, path)
	second.signal(syscall.SIGTERM)
	require.Equal(t, 0, second.exit())
	require.NoFileExists(t, control)
	require.NoFileExists(t, path)
}

// A socket that systemd has opened is shared by the workers, also by those of a successor, and who has come before
// them is served.
func TestRunSystemd(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"address", "descriptor"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			addr := ln.Addr().String()
			f, err := ln.(*net.TCPListener).File()
			require.NoError(t, err)
			defer f.Close()
			require.NoError(t, ln.Close())
			control := filepath.Join(t.TempDir(), "control")
			r := newRun(t, "--control", control, runFixture(), "worker")
			sh, err := exec.LookPath("sh")
			require.NoError(t, err)
			r.cmd.Path = sh
			r.cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`}, r.cmd.Args...)
			r.cmd.ExtraFiles = []*os.File{f}
			where := "PORT=" + addr[strings.LastIndexByte(addr, ':')+1:]
			if how == "descriptor" {
				where = "LISTEN_FD=3"
			}
			r.cmd.Env = append(r.cmd.Env, where)
			early := make(chan error, 1)
			go func() {
				who, err := get(addr, "/")
				if err == nil && who != "worker" {
					err = errors.New(who)
				}
				early <- err
			}()
			require.Equal(t, addr, r.start().ready())
			require.NoError(t, <-early)
			r.await("a successor can come to")
			next := newRun(t, "--control", control, "--upgrade", runFixture(), "successor")
			next.cmd.Env = append(next.cmd.Env, where)
			require.Equal(t, addr, next.start().ready())
			require.Equal(t, 0, r.exit())
			who, err := get(addr, "/")
			require.NoError(t, err)
			require.Equal(t, "successor", who)
			r = next
			r.signal(syscall.SIGTERM)
			require.Equal(t, 0, r.exit())
		})
	}
}

func TestRunGroups(t *testing.T) {
	t.Parallel()
	r := startRun(t, "--name", "a", "--group", "b=1:'"+runFixture()+"' 'group b'", "--weight", "a=1,b=3", runFixture(), "group a")
	addr := r.ready()
	count := map[string]int{}
	for range 40 {
		who, err := get(addr, "/")
		require.NoError(t, err)
		count[who]++
	}
	require.Len(t, count, 2)
	require.Greater(t, count["group b"], count["group a"])
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
}
