//go:build unix

package cluster_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// A listened is what a worker says of each listen.
type listened struct {
	Address any // an object, or a path
	Error   string
}

// results receives what became of n listens.
func results(t *testing.T, w *cluster.Process, n int) (all []listened) {
	t.Helper()
	for range n {
		var l listened
		receive(within(t), t, w.Channel(), &l)
		all = append(all, l)
	}
	return all
}

type object = map[string]any

// Allow sees every kind of listen, and what it says is what the worker gets.
func TestAllow(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	path := filepath.Join(t.TempDir(), "s")
	file := listeningFile(t)
	port := testkit.FreePort(t, "127.0.0.1")
	kinds := []struct {
		listen any
		query  cluster.Query
	}{
		{0, cluster.Query{Network: "tcp", Address: ":0"}},
		{port, cluster.Query{Network: "tcp", Address: fmt.Sprint(":", port)}},
		{object{"host": "127.0.0.1", "port": 0}, cluster.Query{Network: "tcp", Address: "127.0.0.1:0"}},
		{object{"host": "0.0.0.0", "port": port}, cluster.Query{Network: "tcp", Address: fmt.Sprint("0.0.0.0:", port)}},
		{object{"host": "::1", "port": 0}, cluster.Query{Network: "tcp", Address: "[::1]:0"}},
		{object{"host": "::", "port": 0, "ipv6Only": true}, cluster.Query{Network: "tcp", Address: "[::]:0"}},
		{object{"path": path}, cluster.Query{Network: "unix", Address: path}},
		{object{"fd": 30}, cluster.Query{Network: "fd", Address: "30"}},
		{object{"dgram": "udp4", "port": 0}, cluster.Query{Network: "udp", Address: "0.0.0.0:0"}},
		{object{"dgram": "udp4", "port": port, "address": "127.0.0.1"},
			cluster.Query{Network: "udp", Address: fmt.Sprint("127.0.0.1:", port)}},
		{object{"dgram": "udp6", "port": 0, "address": "::1"}, cluster.Query{Network: "udp", Address: "[::1]:0"}},
	}
	var l life
	var want []cluster.Query
	for _, kind := range kinds {
		l.Listen = append(l.Listen, kind.listen)
		want = append(want, kind.query)
	}
	for _, test := range []struct {
		answer error
		code   string
	}{
		{errors.New("no"), "EACCES"},
		{fmt.Errorf("wrapped: %w", syscall.EADDRNOTAVAIL), "EADDRNOTAVAIL"},
		{syscall.EPERM, "EPERM"},
		{nil, ""},
	} {
		t.Run(fmt.Sprint(test.answer), func(t *testing.T) {
			var mu sync.Mutex
			var asked []cluster.Query
			p := newPrimary(t, &cluster.Primary{
				Files: map[int]*os.File{30: file},
				Allow: func(w *cluster.Process, q cluster.Query) error {
					mu.Lock()
					defer mu.Unlock()
					asked = append(asked, q)
					if w.ID() != 1 || w.Group() != "those" || w.Status().State < cluster.Online {
						t.Errorf("asked for %d %q %v", w.ID(), w.Group(), w.Status().State)
					}
					return test.answer
				},
			})
			w, _ := beginWith(t, p, &cluster.ForkOptions{Command: l.command(t), Group: "those"})
			for i, r := range results(t, w, len(kinds)) {
				if test.code == "" && noIPv6() && strings.Contains(want[i].Address, "[") {
					continue
				}
				if test.code == "" && i == 3 { // the port is taken by the second
					require.Contains(t, []string{"", "EADDRINUSE"}, r.Error)
					continue
				}
				require.Equal(t, test.code, r.Error, "%+v", want[i])
			}
			require.Equal(t, want, asked)
			require.NoError(t, p.Shutdown(within(t)))
		})
	}
}

// listeningFile returns a TCP listener's descriptor.
func listeningFile(t testing.TB) *os.File {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	return file
}

// A worker may name the descriptors of Files, and no other.
func TestFiles(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	for name, scheduling := range map[string]cluster.Scheduling{"round robin": cluster.RoundRobin, "none": cluster.None} {
		t.Run(name, func(t *testing.T) {
			stream := listeningFile(t)
			conn, err := net.ListenPacket("udp", "127.0.0.1:0")
			require.NoError(t, err)
			defer conn.Close()
			packets, err := conn.(*net.UDPConn).File()
			require.NoError(t, err)
			defer packets.Close()
			text, err := os.Open(os.Args[0])
			require.NoError(t, err)
			defer text.Close()
			shut := listeningFile(t)
			shut.Close()

			p := newPrimary(t, &cluster.Primary{Scheduling: scheduling, Files: map[int]*os.File{
				30: stream, 31: packets, 32: text, 33: shut, 34: nil,
			}})
			l := life{Listen: []any{object{"fd": 30}, object{"fd": 31, "dgram": "udp4"}}}
			for _, fd := range []int{0, 2, int(stream.Fd()), 31, 32, 33, 34, 1 << 20} {
				l.Listen = append(l.Listen, object{"fd": fd})
			}
			l.Listen = append(l.Listen, object{"fd": 30, "dgram": "udp4"}, object{"fd": 29, "dgram": "udp4"})
			var all []*cluster.Process
			for range 2 {
				w, _ := begin(t, p, l)
				all = append(all, w)
				r := results(t, w, len(l.Listen))
				require.Empty(t, r[0].Error)
				require.Empty(t, r[1].Error)
				var failed []string
				for _, r := range r[2:] {
					failed = append(failed, r.Error)
				}
				require.Equal(t, strings.Fields("EBADF EBADF EBADF EINVAL EINVAL EBADF EBADF EBADF EINVAL EBADF"), failed)
			}
			addr := all[0].Status().Addrs[0].String()
			for i := range 6 {
				body, err := get(addr, "/")
				require.NoError(t, err)
				if scheduling == cluster.RoundRobin {
					require.Equal(t, says(all[i%2]), body)
				} else {
					require.Contains(t, []string{says(all[0]), says(all[1])}, body)
				}
				settled(t, all[0])
				settled(t, all[1])
			}
			from, err := net.Dial("udp", all[0].Status().Addrs[1].String())
			require.NoError(t, err)
			defer from.Close()
			_, err = from.Write([]byte("who"))
			require.NoError(t, err)
			buf := make([]byte, 100)
			n, err := from.Read(buf)
			require.NoError(t, err)
			require.Contains(t, []string{fmt.Sprint(all[0].Status().Pid), fmt.Sprint(all[1].Status().Pid)}, string(buf[:n]))
			require.NoError(t, p.Shutdown(within(t)))

			// They are still the caller's.
			ln, err := net.FileListener(stream)
			require.NoError(t, err)
			require.NoError(t, ln.Close())
		})
	}
}

// Each worker with an inspector has a port of its own, the one that a Node primary gives it.
func TestInspectorPorts(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	for _, test := range []struct{ name, option, env string }{
		{"port", "--inspect=127.0.0.1:%d", ""},
		{"debug port", "--inspect-port=%d", ""},
		{"environment", "", "--inspect=127.0.0.1:%d"},
		{"stopped", "--inspect-brk=127.0.0.1:%d", ""},
		{"any", "--inspect=0", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			port := testkit.FreePorts(t, "127.0.0.1", 3)
			with := func(s string) string { return strings.Replace(s, "%d", fmt.Sprint(port), 1) }
			command := func() (*exec.Cmd, *printed) {
				cmd := life{}.command(t)
				if test.option != "" {
					cmd.Args = slices.Insert(cmd.Args, 1, with(test.option))
				}
				if test.env != "" {
					cmd.Env = append(cmd.Environ(), "NODE_OPTIONS="+with(test.env))
				}
				out := &printed{more: make(chan struct{}, 1)}
				cmd.Stdout, cmd.Stderr = out, out
				return cmd, out
			}
			var ports []int
			var urls []string
			p := newPrimary(t, &cluster.Primary{})
			for range 2 {
				cmd, out := command()
				w, err := p.Fork(&cluster.ForkOptions{Command: cmd})
				require.NoError(t, err)
				if test.name == "stopped" { // it waits for a debugger
					urls = append(urls, awaitURL(t, out, w))
					continue
				}
				var m struct{ Ready *ready }
				receive(within(t), t, w.Channel(), &m)
				ports = append(ports, m.Ready.DebugPort)
				if test.name != "debug port" { // which says where it would listen
					urls = append(urls, awaitURL(t, out, w))
				}
			}
			own := []string{fmt.Sprintf("127.0.0.1:%d/", port+1), fmt.Sprintf("127.0.0.1:%d/", port+2)}
			switch test.name {
			case "stopped":
				require.Contains(t, urls[0], own[0])
				require.Contains(t, urls[1], own[1])
				return // a Node primary would be stopped, too
			case "any":
				taken := inspectorURL.FindAllStringSubmatch(strings.Join(urls, ""), -1)
				require.Len(t, taken, 2)
				require.NotEqual(t, taken[0][1], taken[1][1])
				return
			case "debug port":
			default:
				require.Contains(t, urls[0], own[0])
				require.Contains(t, urls[1], own[1])
			}
			require.Equal(t, []int{port + 1, port + 2}, ports)
			require.NoError(t, p.Close())
			node, out := command()
			require.NoError(t, node.Run())
			for i := range ports {
				require.Contains(t, out.String(), fmt.Sprintf("worker %d has %d\n", i+1, ports[i]), "a Node primary")
			}
		})
	}
}

var inspectorURL = regexp.MustCompile(`ws://127\.0\.0\.1:(\d+)/`)

// printed is what a process has written.
type printed struct {
	lockedBuffer
	more chan struct{}
}

func (p *printed) Write(b []byte) (int, error) {
	n, err := p.lockedBuffer.Write(b)
	select {
	case p.more <- struct{}{}:
	default:
	}
	return n, err
}

// awaitURL waits until a worker's inspector listens.
func awaitURL(t *testing.T, out *printed, w *cluster.Process) string {
	t.Helper()
	ctx := within(t)
	for !inspectorURL.MatchString(out.String()) {
		select {
		case <-out.more:
		case <-w.Done():
			t.Fatal("the worker has ended: ", out.String())
		case <-ctx.Done():
			t.Fatal("there is no inspector: ", out.String())
		}
	}
	return out.String()
}
