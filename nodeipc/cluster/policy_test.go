//go:build unix

package cluster_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// A fleet is a primary of Node workers that say who they are.
type fleet struct {
	t      testing.TB
	p      *cluster.Primary
	addr   string
	listen string // what they listen on, if that is called otherwise
}

// newFleet starts workers of these groups under a scheduling.
func newFleet(t testing.TB, s cluster.Scheduling, groups ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, addr: testkit.FreeAddr(t)}
	f.p = &cluster.Primary{Scheduling: s, Logger: stderrLog, Command: func() *exec.Cmd {
		cmd := testkit.Peer(t).Command("policy_server.js", cmp.Or(f.listen, f.addr)) // as it is then
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
	count := map[string]int{}
	for range n {
		count[request(f.t, f.addr, path, from)()]++
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

// A worker whose connections stay open gets no more than the others have, whatever kind of socket they came by.
func TestLeastConnections(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::", "::ffff:127.0.0.1"} {
		t.Run(host, func(t *testing.T) { testLeastConnections(t, host) })
	}
}

func testLeastConnections(t *testing.T, host string) {
	if host != "127.0.0.1" && noIPv6() {
		t.Skip("no IPv6 here")
	}
	t.Parallel()
	f := newFleet(t, cluster.LeastConnections())
	f.listen = strings.Replace(f.addr, "127.0.0.1", host, 1)
	for range 3 {
		f.fork("")
	}
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
	// Once the primary has learnt of it. If it did not, each of these would count for good, and the first get a third.
	require.Eventually(t, func() bool { return f.ask(30, "/", nil)[" 1"] == 0 }, patience, 10*time.Millisecond)
}

// Nobody counts connections any more for a policy that another has taken the place of.
func TestLeastConnectionsReplaced(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("nobody does here")
	}
	f := newFleet(t, cluster.LeastConnections(), "")
	c, err := net.Dial("tcp", f.addr)
	require.NoError(t, err)
	defer c.Close()
	counts := func() bool {
		buf := make([]byte, 1<<20)
		return strings.Contains(string(buf[:runtime.Stack(buf, true)]), "(*fewest).follow(")
	}
	require.Eventually(t, counts, patience, time.Millisecond)
	require.NoError(t, f.p.Schedule(cluster.RoundRobin))
	require.Eventually(t, func() bool { return !counts() }, patience, time.Millisecond)
}

// What is left of a worker that was killed with a connection that another took is not kept.
func TestLeastConnectionsForgets(t *testing.T) {
	t.Parallel()
	f := newFleet(t, cluster.LeastConnections())
	f.p.AnswerTimeout = time.Second
	answer := func() func() string {
		stuck := f.fork("")
		require.NoError(t, stuck.Signal(syscall.SIGSTOP))
		answer := request(t, f.addr, "/", nil)
		require.Eventually(t, func() bool { return stuck.Status().Unanswered == 1 }, patience, time.Millisecond)
		return answer
	}
	answers := answer()
	gone := weak.Make(f.p.Workers()[0])
	f.fork("")
	require.Equal(t, " 2", answers())
	require.Eventually(t, func() bool {
		runtime.GC()
		return gone.Value() == nil
	}, patience, 10*time.Millisecond)
}

func TestByRequest(t *testing.T) {
	t.Parallel()
	routes := func(list ...cluster.Route) cluster.Scheduling {
		s, err := cluster.ByRequest(&cluster.Routes{Routes: list, Timeout: 200 * time.Millisecond, Size: 4096})
		require.NoError(t, err)
		return s
	}
	toGo, toNode := cluster.Weights{"go": 1}, cluster.Weights{"node": 1}
	f := newFleet(t, routes(
		cluster.Route{Pattern: "/api/users/", To: toGo},
		cluster.Route{Pattern: "POST /forms", To: toGo},
		cluster.Route{Pattern: "go.example.com/", To: toGo},
		cluster.Route{Cookie: "canary=1", To: toGo},
		cluster.Route{Header: "X-Canary", To: toGo},
		cluster.Route{Pattern: "/none/", To: cluster.Weights{"none": 1}},
		cluster.Route{To: toNode},
	), "node", "node", "go")
	// ask writes the pieces one after the other, and returns who answers.
	ask := func(pieces ...string) string {
		c, err := net.Dial("tcp", f.addr)
		require.NoError(t, err)
		defer c.Close()
		for _, piece := range pieces {
			_, err := io.WriteString(c, piece)
			require.NoError(t, err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		f.settled()
		return strings.Fields(string(body))[0]
	}
	const end = "Host: example.com\r\nConnection: close\r\n\r\n"
	for _, row := range []struct {
		want    string
		request []string
	}{
		{"go", []string{"GET /api/users HTTP/1.1\r\n", end}},
		{"go", []string{"GET /api/users/7?x=1 HTTP/1.1\r\n" + end}},
		{"go", []string{"G", "ET /api", "/users/ HT", "TP/1.1\r\n", end}},
		{"node", []string{"GET /api/usersX HTTP/1.1\r\n" + end}},
		{"node", []string{"GET /forms HTTP/1.1\r\n" + end}},
		{"go", []string{"POST /forms HTTP/1.1\r\nContent-Length: 1000\r\n" + end, strings.Repeat("x", 1000)}},
		{"go", []string{"GET / HTTP/1.1\r\nHost: GO.example.com:8000\r\nConnection: close\r\n\r\n"}},
		{"go", []string{"GET / HTTP/1.1\r\nCookie: a=b; canary=1\r\n" + end}},
		{"node", []string{"GET / HTTP/1.1\r\nCookie: a=b; canary=10\r\n" + end}},
		{"go", []string{"GET / HTTP/1.1\r\nX-Canary: yes\r\n", end}},
		{"node", []string{"GET /none/ HTTP/1.1\r\n" + end}},
		{"node", []string{"GET / HTTP/1.1\r\nX-Long: " + strings.Repeat("x", 8000) + "\r\nX-Canary: yes\r\n" + end}},
	} {
		assert.Equal(t, row.want, ask(row.request...), "%q", row.request)
	}

	// A silent client goes to those that any connection goes to, in time, and a slow one holds up nobody.
	silent, err := net.Dial("tcp", f.addr)
	require.NoError(t, err)
	defer silent.Close()
	assert.Equal(t, "go", ask("GET /api/users HTTP/1.1\r\n"+end))
	taken := func() int64 {
		n := int64(0)
		for _, w := range f.p.Workers() {
			if w.Group() == "node" {
				n += w.Status().Connections
			}
		}
		return n
	}
	before := taken()
	require.Eventually(t, func() bool { return taken() == before+1 }, patience, time.Millisecond)

	// The way back, while it runs, for those that wait as well.
	slow, err := net.Dial("tcp", f.addr)
	require.NoError(t, err)
	defer slow.Close()
	fmt.Fprintf(slow, "GET /api/us")
	require.NoError(t, f.p.Schedule(routes(cluster.Route{Pattern: "/api/", To: toNode}, cluster.Route{To: toGo})))
	assert.Equal(t, "node", ask("GET /api/users HTTP/1.1\r\n"+end))
	assert.Equal(t, "go", ask("GET / HTTP/1.1\r\n"+end))
	fmt.Fprintf(slow, "ers HTTP/1.1\r\n"+end)
	answer, err := io.ReadAll(slow)
	require.NoError(t, err)
	assert.Contains(t, string(answer), "node")

	_, err = cluster.ByRequest(&cluster.Routes{Routes: []cluster.Route{{Pattern: "api", To: toGo}}})
	assert.ErrorContains(t, err, `cluster: route 1: pattern "api"`)
}

// When the last worker of a group has died the connections of its routes wait for the next one, for five seconds, and do
// not go to those that may not know them.
func TestRouteWhoseWorkersDied(t *testing.T) {
	t.Parallel()
	routes, err := cluster.ByRequest(&cluster.Routes{Routes: []cluster.Route{
		{Pattern: "/go", To: cluster.Weights{"go": 1}}, {To: cluster.Weights{"node": 1}},
	}})
	require.NoError(t, err)
	f := newFleet(t, routes, "node", "go")
	kill := func(w *cluster.Process) {
		require.NoError(t, w.Kill())
		require.NoError(t, w.Await(within(t), cluster.Dead))
	}
	kill(f.p.Workers()[0])
	answer := request(t, f.addr, "/", nil)
	require.Equal(t, map[string]int{"go 2": 1}, f.ask(1, "/go", nil))
	next := f.fork("node")
	require.Equal(t, "node 3", answer())
	kill(next)
	require.Equal(t, map[string]int{"go 2": 1}, f.ask(1, "/", nil), "none has come")
	f.fork("node")
	kill(f.p.Workers()[0])
	require.Equal(t, map[string]int{"node 4": 1}, f.ask(1, "/go", nil), "another route matches")
	answer = request(t, f.addr, "/", nil)
	require.Equal(t, "node 4", answer())
	kill(f.p.Workers()[0])
	f.fork("go")
	answer = request(t, f.addr, "/", nil)
	require.NoError(t, f.p.Shutdown(within(t)))
	require.Equal(t, "go 5", answer(), "no other will come")
}

// A worker that is stuck holds up its own clients, and of these no more than may wait for it: others get a worker that
// is not, and so do the clients of that one. Nobody is lost.
func TestStuckWorker(t *testing.T) {
	const waiting, clients = 256, 600 // more than wait for any worker
	routes, err := cluster.ByRequest(&cluster.Routes{Routes: []cluster.Route{
		{Pattern: "/stuck/", To: cluster.Weights{"stuck": 1}}, {To: cluster.Weights{"well": 1}},
	}})
	require.NoError(t, err)
	for name, s := range map[string]cluster.Scheduling{"sticky": cluster.Sticky(), "by request": routes} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, s, "stuck", "well")
			stuck := f.p.Workers()[0]
			path, from := "/stuck/", map[string]net.IP{}
			for i := byte(1); len(from) < 2; i++ {
				ip := net.IPv4(127, 1, 1, i)
				for who := range f.ask(1, path, ip) {
					from[who] = ip
				}
				if name == "by request" {
					from["well 2"] = ip
				}
			}
			require.NoError(t, stuck.Signal(syscall.SIGSTOP))
			answers := make(chan string)
			for range clients {
				answer := request(t, f.addr, path, from["stuck 1"])
				go func() { answers <- answer() }()
			}
			for range 20 {
				require.Equal(t, "well 2", request(t, f.addr, "/", from["well 2"])())
			}
			sent := stuck.Status().Unanswered
			require.NotZero(t, sent)
			for range clients - waiting - sent {
				require.Equal(t, "well 2", <-answers)
			}
			require.NoError(t, stuck.Signal(syscall.SIGCONT))
			for range waiting + sent {
				require.Equal(t, "stuck 1", <-answers)
			}
			require.Equal(t, map[string]int{"stuck 1": 3}, f.ask(3, path, from["stuck 1"]))
		})
	}
}

// What waits for a worker that is stuck goes to others when that is to leave, and the others leave as usual.
func TestStuckWorkerLeaves(t *testing.T) {
	const clients = 50
	// begin returns the stuck worker, the one that is well, and what clients of the first get, empty if they get nothing.
	begin := func(t *testing.T) (f *fleet, stuck, well *cluster.Process, answers chan string) {
		f = newFleet(t, cluster.Sticky(), "stuck", "well")
		from := map[string]net.IP{}
		for i := byte(1); len(from) < 2; i++ {
			ip := net.IPv4(127, 1, 1, i)
			for who := range f.ask(1, "/", ip) {
				from[who] = ip
			}
		}
		stuck, well = f.p.Workers()[0], f.p.Workers()[1]
		require.NoError(t, stuck.Signal(syscall.SIGSTOP))
		answers = make(chan string, clients)
		for range clients {
			c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from["stuck 1"]}}).Dial("tcp", f.addr)
			require.NoError(t, err)
			t.Cleanup(func() { c.Close() })
			require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
			_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			require.NoError(t, err)
			go func() {
				text, _ := io.ReadAll(c)
				_, body, _ := strings.Cut(string(text), "\r\n\r\n")
				answers <- body
			}()
		}
		require.Equal(t, "well 2", request(t, f.addr, "/", from["well 2"])(), "all that came before was accepted")
		return f, stuck, well, answers
	}
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		_, stuck, _, answers := begin(t)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, stuck.Disconnect(over), context.Canceled)
		require.Eventually(t, func() bool { return stuck.Status().ExitedAfterDisconnect }, patience, time.Millisecond)
		sent := stuck.Status().Unanswered
		require.NotZero(t, sent)
		for range clients - sent {
			require.Equal(t, "well 2", <-answers)
		}
		require.NoError(t, stuck.Signal(syscall.SIGCONT))
		for range sent {
			require.Equal(t, "stuck 1", <-answers)
		}
	})
	t.Run("with the others", func(t *testing.T) {
		t.Parallel()
		f, stuck, well, _ := begin(t)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		ended := make(chan error)
		go func() { ended <- f.p.Shutdown(ctx) }()
		<-well.Done()
		require.Equal(t, "exit status 0", well.Cmd().ProcessState.String())
		require.NoError(t, stuck.Kill())
		require.NoError(t, <-ended)
	})
}
