//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// With this variable the test binary is the program.
const asProgram = "EXAMPLES_PRIMARY"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestRollingRestart(t *testing.T) {
	dir := t.TempDir()
	server, worker := filepath.Join(dir, "server.js"), filepath.Join(dir, "worker")
	text, err := os.ReadFile("server.js")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(server, text, 0o644))
	out, err := exec.Command("go", "build", "-o", worker, "../worker").CombinedOutput()
	require.NoError(t, err, "%s", out)

	p := start(t, server, "-n", "2", "-go", worker)
	p.await(t, "worker 3, go: listening")
	before := p.servers(t)
	require.Len(t, before, 3)
	require.Contains(t, before, "go 3")

	p.signal(t, syscall.SIGHUP)
	p.await(t, "all workers restarted", "worker 1, node: dead", "worker 2, node: dead", "worker 3, go: dead")
	after := p.servers(t)
	require.Contains(t, after, "go 6")
	for old := range before {
		require.NotContains(t, after, old)
	}

	require.NoError(t, os.WriteFile(server, []byte("throw new Error('not this one')\n"), 0o644))
	p.signal(t, syscall.SIGHUP)
	p.await(t, "the other workers stay: cluster: worker 7 is not listening")
	require.Equal(t, after, p.servers(t))
	require.NoError(t, os.WriteFile(server, text, 0o644))

	var pid int // of one that nobody asked to leave
	for by := range after {
		fmt.Sscanf(by, "node %d", &pid)
	}
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	p.await(t, "worker 8, node: listening")
	again := p.servers(t)
	require.Len(t, again, 3)
	require.NotContains(t, again, "node "+strconv.Itoa(pid))

	p.signal(t, syscall.SIGTERM)
	require.NoError(t, p.cmd.Wait())
}

func TestSecondSignal(t *testing.T) {
	server := filepath.Join(t.TempDir(), "server.js")
	require.NoError(t, os.WriteFile(server, []byte(`
require('http').createServer((req, res) => res.write('to be continued')).listen(process.env.PORT);
`), 0o644))
	p := start(t, server, "-n", "1")
	p.await(t, "worker 1, node: listening")
	res, err := http.Get(p.url)
	require.NoError(t, err)
	defer res.Body.Close()

	p.signal(t, syscall.SIGTERM)
	p.await(t, "shutting down")
	p.signal(t, syscall.SIGTERM)
	p.await(t, "cluster: worker 1 did not leave in time and got SIGTERM")
	require.Error(t, p.cmd.Wait())
	require.Equal(t, 1, p.cmd.ProcessState.ExitCode())
}

// A program is the running example.
type program struct {
	cmd   *exec.Cmd
	url   string
	lines chan string // of its log
}

func start(t *testing.T, server string, options ...string) *program {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	require.NoError(t, ln.Close())

	node := testkit.Peer(t).Command().Path
	cmd := exec.Command(os.Args[0], append(options, node, server)...)
	p := &program{cmd, "http://127.0.0.1:" + port, make(chan string, 1000)}
	p.cmd.Env = append(os.Environ(), asProgram+"=1", "PORT="+port)
	stderr, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { p.cmd.Process.Kill() })
	go func() {
		defer close(p.lines)
		for in := bufio.NewScanner(stderr); in.Scan(); {
			p.lines <- in.Text()
		}
	}()
	return p
}

func (p *program) signal(t *testing.T, sig os.Signal) { require.NoError(t, p.cmd.Process.Signal(sig)) }

// await waits until each of these has been in a line.
func (p *program) await(t *testing.T, all ...string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for len(all) > 0 {
		select {
		case line, ok := <-p.lines:
			require.True(t, ok, "it has ended without %q", all)
			t.Log(line)
			all = slices.DeleteFunc(all, func(part string) bool { return strings.Contains(line, part) })
		case <-timeout:
			require.Fail(t, "it does not come", "%q", all)
		}
	}
}

// servers returns who answers requests, of which there are enough for each.
func (p *program) servers(t *testing.T) map[string]bool {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	by := map[string]bool{}
	for range 30 {
		res, err := client.Get(p.url)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		res.Body.Close()
		by[strings.TrimSpace(string(body))] = true
	}
	return by
}
