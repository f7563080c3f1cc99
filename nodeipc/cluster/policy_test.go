//go:build unix

package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// A fleet is a primary of Node workers that say who they are.
type fleet struct {
	t    testing.TB
	p    *cluster.Primary
	addr string
}

// newFleet starts workers of these groups under a scheduling.
func newFleet(t testing.TB, s cluster.Scheduling, groups ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, addr: fmt.Sprintf("127.0.0.1:%d", freePort(t, "127.0.0.1"))}
	f.p = &cluster.Primary{Scheduling: s, Logger: stderrLog, Command: func() *exec.Cmd {
		cmd := testkit.Peer(t).Command("policy_server.js", f.addr) // as it is then
		cmd.Stderr = os.Stderr
		return cmd
	}}
	t.Cleanup(func() { f.p.Close() })
	for _, g := range groups {
		f.fork(g)
	}
	return f
}

func (f *fleet) fork(group string) *cluster.Process {
	f.t.Helper()
	w, err := f.p.Fork(&cluster.ForkOptions{Group: group, Env: []string{"GROUP=" + group}})
	require.NoError(f.t, err)
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	require.NoError(f.t, w.Await(ctx, cluster.Listening))
	return w
}

// settled waits until the workers have answered all their connections.
func (f *fleet) settled() {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		for _, w := range f.p.Workers() {
			if w.Status().Unanswered > 0 {
				return false
			}
		}
		return true
	}, patience, 50*time.Microsecond)
}

// ask makes n requests one after the other, from an address of this machine if one is given, and counts the answers.
func (f *fleet) ask(n int, path string, from net.IP) map[string]int {
	f.t.Helper()
	dialer := &net.Dialer{}
	if from != nil {
		dialer.LocalAddr = &net.TCPAddr{IP: from}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}, Timeout: patience}
	count := map[string]int{}
	for range n {
		res, err := client.Get("http://" + f.addr + path)
		require.NoError(f.t, err)
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		require.NoError(f.t, err)
		count[string(body)]++
		f.settled()
	}
	return count
}

func TestWeighted(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cluster.Weighted(cluster.Weights{"node": 95, "go": 5}), "node", "node", "go")
	assert.Equal(t, map[string]int{"node 1": 950, "node 2": 950, "go 3": 100}, f.ask(2000, "/", nil))

	require.NoError(t, f.p.Schedule(cluster.Weighted(cluster.Weights{"node": 1, "go": 1})))
	assert.Equal(t, map[string]int{"node 1": 10, "node 2": 10, "go 3": 20}, f.ask(40, "/", nil))
	require.NoError(t, f.p.Schedule(cluster.Weighted(cluster.Weights{"go": 1, "other": 5})), "no worker of other")
	assert.Equal(t, map[string]int{"go 3": 10}, f.ask(10, "/", nil))
	require.NoError(t, f.p.Schedule(cluster.Weighted(cluster.Weights{"other": 5})))
	assert.Equal(t, map[string]int{"node 1": 10, "node 2": 10, "go 3": 10}, f.ask(30, "/", nil))
}

func TestSticky(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cluster.Sticky(), "", "", "", "", "")
	where := func() (all []string) {
		for i := range 200 {
			got := f.ask(2, "/", net.IPv4(127, 1, byte(i), 1))
			require.Len(t, got, 1, "a client stays")
			for name := range got {
				all = append(all, name)
			}
		}
		return all
	}
	before := where()
	count := map[string]int{}
	for _, name := range before {
		count[name]++
	}
	assert.Len(t, count, 5)
	for name, n := range count {
		assert.Greater(t, n, 20, name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, f.p.Workers()[2].Disconnect(ctx))
	left := 0
	for i, name := range where() {
		if before[i] == " 3" {
			left++
			assert.NotEqual(t, " 3", name)
		} else {
			assert.Equal(t, before[i], name)
		}
	}
	assert.Equal(t, count[" 3"], left)
}

// A worker whose connections stay open gets no more than the others have.
func TestLeastConnections(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cluster.LeastConnections(), "", "", "")
	var open []net.Conn
	hold := func() string {
		c, err := net.Dial("tcp", f.addr)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		open = append(open, c)
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		buf := make([]byte, 1024)
		n, err := c.Read(buf)
		require.NoError(t, err)
		f.settled()
		return string(buf[:n])
	}
	names := map[string][]net.Conn{}
	for range 60 {
		name := hold()
		names[name[strings.LastIndexByte(name, ' '):]] = append(names[name[strings.LastIndexByte(name, ' '):]], open[len(open)-1])
	}
	for i := 1; i <= 3; i++ {
		require.Len(t, names[fmt.Sprintf(" %d", i)], 20, "evenly")
	}
	for _, c := range slices.Concat(names[" 2"], names[" 3"]) {
		c.Close()
	}
	// Once the primary has learnt of it, and their share of what follows is short of the 20 of the first.
	require.Eventually(t, func() bool { return f.ask(8, "/", nil)[" 1"] == 0 }, patience, 10*time.Millisecond)
	assert.Zero(t, f.ask(20, "/", nil)[" 1"])
}
