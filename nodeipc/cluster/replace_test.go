//go:build unix

package cluster_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// A successor gets the sockets of a primary, and has its own workers; nobody is refused.
func TestHandover(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, nil)
			f.addr = "127.0.0.1:0"
			if network == "unix" {
				f.addr = filepath.Join(t.TempDir(), "s")
			}
			ln, err := net.Listen(network, f.addr) // connections wait here before there is a worker
			require.NoError(t, err)
			defer ln.Close()
			f.addr = ln.Addr().String()
			f.p.Listeners = []syscall.Conn{ln.(syscall.Conn)}
			load := testkit.StartLoad(t, f.addr, 4, false)
			f.fork("")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for i := range 5 {
				next := newFleet(t, nil)
				next.addr = f.addr
				files, _, err := f.p.Handover()
				require.NoError(t, err)
				require.Len(t, files, 1)
				next.p.Listeners = []syscall.Conn{files[0]}
				next.fork("")
				require.NoError(t, f.p.Shutdown(ctx), i)
				assert.NoError(t, files[0].Close())
				f = next
			}
			sum := load.Stop()
			assert.Zero(t, sum.Lost(), "%+v", *sum)
			assert.Greater(t, sum.Served, int64(50))
			t.Logf("%d requests", sum.Served)
			require.NoError(t, f.p.Shutdown(ctx))
		})
	}
}

// Of several UDP sockets with one address a successor's workers have each.
func TestHandoverTwins(t *testing.T) {
	t.Parallel()
	var lines []string
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	port := conn.LocalAddr().(*net.UDPAddr).Port
	require.NoError(t, conn.Close())
	for i := range 2 { // 4 is UV_UDP_REUSEADDR
		lines = append(lines, fmt.Sprintf(`{"cmd":"NODE_CLUSTER","act":"queryServer","seq":%d,"index":%d,`+
			`"address":"127.0.0.1","port":%d,"addressType":"udp4","flags":4}`, i, i, port))
	}
	given, want := []syscall.Conn(nil), []uint64(nil)
	for range 3 {
		p := newPrimary(t, &cluster.Primary{Logger: stderrLog, Listeners: given, Command: func() *exec.Cmd {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), envRole+"=rude", "LINES="+strings.Join(lines, "\n"))
			cmd.Stderr = os.Stderr
			return cmd
		}})
		w, err := p.Fork(nil)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return len(w.Status().Addrs) == 2 }, patience, time.Millisecond)
		files, _, err := p.Handover()
		require.NoError(t, err)
		require.Len(t, files, 2)
		given = nil
		var sockets []uint64
		for _, f := range files {
			defer f.Close()
			info, err := f.Stat()
			require.NoError(t, err)
			sockets = append(sockets, uint64(info.Sys().(*syscall.Stat_t).Ino)) // on Linux each has its own
			given = append(given, f)
		}
		if want != nil {
			require.ElementsMatch(t, want, sockets)
		}
		want = sockets
		require.NoError(t, p.Close())
	}
}

// The file of a unix socket that a worker has opened stays as long as a successor has the socket, whose directory may
// be another one, and is removed if there is no successor after all.
func TestHandoverPath(t *testing.T) {
	f := newFleet(t, nil)
	dir := t.TempDir()
	f.addr = filepath.Join(dir, "s")
	t.Chdir(dir) // the socket is bound to "s"
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	handOver := func(f *fleet) (*os.File, func()) {
		t.Helper()
		files, revoke, err := f.p.Handover()
		require.NoError(t, err)
		require.Len(t, files, 1)
		require.Equal(t, f.addr, files[0].Name())
		t.Cleanup(func() { files[0].Close() })
		return files[0], revoke
	}

	w := f.fork("") // has left before it is known that there is no successor
	_, revoke := handOver(f)
	require.NoError(t, w.Disconnect(ctx))
	require.FileExists(t, f.addr)
	revoke()
	require.NoFileExists(t, f.addr)
	revoke()

	w = f.fork("") // leaves after that, and another successor still counts
	_, revoke = handOver(f)
	_, other := handOver(f)
	revoke()
	revoke()
	require.NoError(t, w.Disconnect(ctx))
	require.FileExists(t, f.addr)
	other()
	require.NoFileExists(t, f.addr)
	w = f.fork("")
	_, revoke = handOver(f)
	revoke()
	require.NoError(t, w.Disconnect(ctx))
	require.NoFileExists(t, f.addr)

	f.fork("")
	for _, group := range []string{"second", "third"} {
		file, _ := handOver(f)
		t.Chdir(t.TempDir())
		next := newFleet(t, nil)
		next.addr = f.addr
		next.p.Listeners = []syscall.Conn{file}
		next.fork(group)
		require.NoError(t, f.p.Shutdown(ctx))
		_, _, err := f.p.Handover()
		require.ErrorIs(t, err, cluster.ErrPrimaryClosed)
		who, err := get(next.addr, "/")
		require.NoError(t, err)
		require.Equal(t, group+" 1", who)
		f = next
	}
	require.NoError(t, f.p.Shutdown(ctx))
	require.FileExists(t, f.addr, "it is the caller's")
}

// Workers are added and taken away, from four to eight to two, under requests with a connection for each and over
// connections that are kept. None is lost, with lib/orderly.js in front of the program: see TestLoss of cmd/nodeipc.
func TestScale(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	number := testkit.FreePort(t, "127.0.0.1")
	p := newPrimary(t, &cluster.Primary{Logger: stderrLog, Command: func() *exec.Cmd {
		module := filepath.Join(testkit.Root(), "lib", "orderly.js")
		cmd := testkit.Peer(t).Command("-r", module, testkit.Fixture("loss_server.js"), "plain")
		cmd.Env = append(os.Environ(), fmt.Sprintf("PORT=%d", number))
		cmd.Stderr = os.Stderr
		return cmd
	}})
	fork := func() {
		w, err := p.Fork(nil)
		require.NoError(t, err)
		require.NoError(t, w.Await(within(t), cluster.Listening))
	}
	for range 4 {
		fork()
	}
	addr := fmt.Sprintf("127.0.0.1:%d", number)
	each, kept := testkit.StartLoad(t, addr, 2, false), testkit.StartLoad(t, addr, 2, true)
	for range 4 {
		fork()
	}
	each.Await(t, func(sum *testkit.Losses) bool { return len(sum.By) == 8 })
	var leaving sync.WaitGroup
	for _, w := range p.Workers()[:6] {
		leaving.Go(func() {
			if err := w.Shutdown(within(t)); err != nil {
				t.Error(err)
			}
		})
	}
	leaving.Wait()
	require.Len(t, p.Workers(), 2)
	one, other := each.Stop(), kept.Stop()
	t.Logf("one each: %d requests; kept: %d requests, %d connections closed in order",
		one.Requests(), other.Requests(), other.Closed)
	require.Zero(t, one.Lost(), "%+v", *one)
	require.Zero(t, other.Lost(), "%+v", *other)
	require.NoError(t, p.Shutdown(within(t)))
}

func TestSystemdListeners(t *testing.T) {
	t.Setenv("LISTEN_FDS", "2")
	t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()+1))
	files, err := cluster.SystemdListeners()
	assert.NoError(t, err)
	assert.Empty(t, files, "they are another process's")
	assert.Equal(t, "2", os.Getenv("LISTEN_FDS"))
	t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	t.Setenv("LISTEN_FDS", "many")
	_, err = cluster.SystemdListeners()
	assert.ErrorContains(t, err, "many")
	assert.Empty(t, os.Getenv("LISTEN_PID"))

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	regular, err := os.Create(filepath.Join(t.TempDir(), "regular"))
	require.NoError(t, err)
	defer regular.Close()
	for _, test := range []struct {
		name   string
		second any
		want   string
	}{
		{"a listener and a UDP socket", udp, "LISTEN_FD_3 LISTEN_FD_4"},
		{"not open", nil, "cluster: LISTEN_FDS=2: descriptor 4 is not open"},
		{"a file", regular, "cluster: LISTEN_FDS=2: descriptor 4 is no socket"},
		{"a connection", conn.(*net.TCPConn), "cluster: LISTEN_FDS=2: descriptor 4 is a socket that does not listen"},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envRole+"=activated", "LISTEN_FDS=2")
		first, err := ln.(*net.TCPListener).File()
		require.NoError(t, err)
		defer first.Close()
		cmd.ExtraFiles = []*os.File{first, first}
		switch c := test.second.(type) {
		case nil:
			cmd.Env = append(cmd.Env, "CLOSE=4")
		case *os.File:
			cmd.ExtraFiles[1] = c
		case interface{ File() (*os.File, error) }:
			f, err := c.File()
			require.NoError(t, err)
			defer f.Close()
			cmd.ExtraFiles[1] = f
		}
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err, test.name)
		assert.Equal(t, test.want, strings.TrimSpace(string(out)), test.name)
	}
}

// activatedMain is no worker, but what systemd starts: it says what it was given.
func activatedMain() error {
	if fd, err := strconv.Atoi(os.Getenv("CLOSE")); err == nil {
		unix.Close(fd)
	}
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	files, err := cluster.SystemdListeners()
	if err != nil {
		fmt.Println(err)
		return nil
	}
	for _, f := range files {
		fmt.Print(f.Name(), " ")
	}
	return nil
}
