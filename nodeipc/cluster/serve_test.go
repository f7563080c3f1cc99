//go:build unix

package cluster_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A halfRequest is one that the server is reading.
type halfRequest struct {
	conn net.Conn
	in   *bufio.Reader
}

func startRequest(t testing.TB, addr string) *halfRequest {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	r := &halfRequest{conn, bufio.NewReader(conn)}
	line, err := r.in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, err = r.in.ReadString('\n')
	require.NoError(t, err)
	return r
}

func (r *halfRequest) finish(t testing.TB) {
	t.Helper()
	_, err := io.WriteString(r.conn, "..")
	require.NoError(t, err)
	res, err := http.ReadResponse(r.in, nil)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, http.StatusOK, res.StatusCode)
	_, err = io.ReadAll(res.Body)
	require.NoError(t, err)
	r.conn.Close() // which is waited for otherwise
}

// awaitRefusal waits until nobody listens any more.
func awaitRefusal(t testing.TB, addr string) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, patience, 2*time.Millisecond, "it goes on listening")
}

// processOf is the server that answers at addr.
func processOf(t testing.TB, addr string) *os.Process {
	t.Helper()
	body, err := get(addr, "/")
	require.NoError(t, err)
	pid, err := strconv.Atoi(body)
	require.NoError(t, err)
	process, err := os.FindProcess(pid)
	require.NoError(t, err)
	return process
}

// A server of one line drains, whoever wants it to end.
func TestListenAndServe(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(p *primary, w *forked, server *os.Process) error
	}{
		{"disconnected by the primary", func(p *primary, w *forked, _ *os.Process) error {
			p.tell(map[string]any{"do": "disconnect", "worker": w.id})
			return nil
		}},
		{"SIGTERM", func(_ *primary, _ *forked, server *os.Process) error { return server.Signal(syscall.SIGTERM) }},
		{"SIGINT", func(_ *primary, _ *forked, server *os.Process) error { return server.Signal(syscall.SIGINT) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startPrimary(t)
			addr := testkit.FreeAddr(t)
			w := p.fork("go", "server", "ADDR="+addr)
			w.await("listening")
			server := processOf(t, addr)
			r := startRequest(t, addr)
			require.NoError(t, test.end(p, w, server))
			awaitRefusal(t, addr)
			require.False(t, p.saw(w.id, "exit"), "it left before the request was answered")
			r.finish(t)
			w.await("exit")
			require.Equal(t, []string{
				"online", "listening", "disconnect exitedAfterDisconnect true", "exit code 0 exitedAfterDisconnect true",
			}, w.history(), "as of a Node worker")
		})
	}
	t.Run("a request that comes late", func(t *testing.T) { // on a connection that Shutdown alone would close
		testkit.CheckLeaks(t)
		p := startPrimary(t)
		addr := testkit.FreeAddr(t)
		w := p.fork("go", "server", "ADDR="+addr)
		w.await("listening")
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		require.NoError(t, processOf(t, addr).Signal(syscall.SIGTERM)) // it has been given the connection before
		awaitRefusal(t, addr)
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Equal(t, 0, *w.await("exit").Code)
	})
	t.Run("the second signal", func(t *testing.T) {
		testkit.CheckLeaks(t)
		p := startPrimary(t)
		addr := testkit.FreeAddr(t)
		w := p.fork("go", "server", "ADDR="+addr)
		w.await("listening")
		server := processOf(t, addr)
		startRequest(t, addr)
		require.NoError(t, server.Signal(syscall.SIGTERM))
		awaitRefusal(t, addr)
		require.NoError(t, server.Signal(syscall.SIGTERM))
		exit := w.await("exit")
		require.NotNil(t, exit.Signal)
		require.Equal(t, "SIGTERM", *exit.Signal)
	})
	t.Run("the primary is killed", func(t *testing.T) {
		testkit.CheckLeaks(t)
		p := startPrimary(t)
		addr := testkit.FreeAddr(t)
		p.fork("go", "server", "ADDR="+addr).await("listening")
		server := processOf(t, addr)
		r := startRequest(t, addr)
		require.NoError(t, p.cmd.Process.Kill())
		awaitRefusal(t, addr)
		r.finish(t)
		require.Eventually(t, func() bool { return server.Signal(syscall.Signal(0)) != nil || zombie(server.Pid) }, patience, 2*time.Millisecond)
	})
	t.Run("the address is taken", func(t *testing.T) {
		testkit.CheckLeaks(t)
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		bin, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(bin)
		cmd.Env = append(os.Environ(), envRole+"=server", "ADDR="+taken.Addr().String())
		out, err := cmd.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "listen tcp "+taken.Addr().String()+": bind: address already in use")
	})
	t.Run("alone", func(t *testing.T) {
		testkit.CheckLeaks(t)
		addr := testkit.FreeAddr(t)
		bin, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(bin)
		cmd.Env = append(os.Environ(), envRole+"=server", "ADDR="+addr, "GORACE=atexit_sleep_ms=0")
		require.NoError(t, cmd.Start())
		defer cmd.Process.Kill()
		listens := func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err == nil
		}
		require.Eventually(t, listens, patience, 2*time.Millisecond)
		r := startRequest(t, addr)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		awaitRefusal(t, addr)
		r.finish(t)
		require.NoError(t, cmd.Wait(), "exit code")
	})
}

// zombie tells whether a process has ended and nobody has waited for it, as where process 1 does not.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(text), ") Z ")
}
