//go:build unix

package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// A worker gets the command, the arguments, the variables and the group that it was forked with.
func TestFork(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	names := []string{"LIFE_A", "LIFE_B", "LIFE_C"}
	t.Setenv("LIFE_C", "inherited")
	p := newPrimary(t, &cluster.Primary{Command: func() *exec.Cmd {
		cmd := life{Env: names}.command(t)
		cmd.Env = append(os.Environ(), "LIFE_A=command", "LIFE_B=command", "NODE_UNIQUE_ID=77")
		return cmd
	}})
	env := func(a, b string) map[string]*string {
		c := "inherited"
		return map[string]*string{"LIFE_A": &a, "LIFE_B": &b, "LIFE_C": &c}
	}
	one, r := beginWith(t, p, nil)
	require.Equal(t, env("command", "command"), r.Env)
	require.Len(t, r.Argv, 1)
	require.Equal(t, one.Cmd().Process.Pid, r.Pid)
	two, r := beginWith(t, p, &cluster.ForkOptions{
		Args: []string{"more", "--than"}, Env: []string{"LIFE_B=first", "LIFE_B=last", "NODE_UNIQUE_ID=99"}, Group: "those",
	})
	require.Equal(t, env("command", "last"), r.Env)
	require.Equal(t, []string{"more", "--than"}, r.Argv[1:])
	three, r := beginWith(t, p, &cluster.ForkOptions{Command: life{Listen: anyPort}.command(t), Args: []string{"x"}})
	require.Equal(t, []string{"x"}, r.Argv[1:])
	require.NoError(t, three.Await(within(t), cluster.Listening))

	require.Equal(t, []*cluster.Process{one, two, three}, p.Workers())
	for i, w := range p.Workers() {
		require.Equal(t, i+1, w.ID())
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", w.Cmd().Process.Pid)); err == nil {
			ids := slices.DeleteFunc(strings.Split(string(env), "\x00"), func(kv string) bool {
				return !strings.HasPrefix(kv, "NODE_UNIQUE_ID=")
			})
			require.Equal(t, []string{fmt.Sprint("NODE_UNIQUE_ID=", w.ID())}, ids)
		}
	}
	require.Equal(t, []string{"", "those", ""}, []string{one.Group(), two.Group(), three.Group()})
	s := two.Status()
	require.WithinRange(t, s.Since, time.Now().Add(-patience), time.Now())
	s.Since = time.Time{}
	require.Equal(t, cluster.Status{ID: 2, Pid: two.Cmd().Process.Pid, Group: "those", State: cluster.Online}, s)
	addr := three.Status().Addrs[0].String()
	require.Equal(t, map[string]int{says(three): 4}, served(t, addr, 4)) // it knows its number
	settled(t, three)
	require.EqualValues(t, 4, three.Status().Connections)
	require.Zero(t, three.Status().Unanswered)

	tell(t, two, map[string]any{"exit": 3})
	<-two.Done()
	require.Equal(t, []*cluster.Process{one, three}, p.Workers())
	require.NoError(t, p.Shutdown(within(t)))
	require.Empty(t, p.Workers())
	exited(t, one, "exit status 0")
	exited(t, two, "exit status 3")
	exited(t, three, "exit status 0")
}

// A Fork that fails leaves nothing behind.
func TestForkFails(t *testing.T) {
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{})
	_, err := p.Fork(nil)
	require.ErrorContains(t, err, "Command")
	none := filepath.Join(t.TempDir(), "none")
	for range 3 {
		_, err = p.Fork(&cluster.ForkOptions{Command: exec.Command(none)})
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = p.Fork(&cluster.ForkOptions{Command: exec.Command("no-such-program-anywhere")})
		require.ErrorIs(t, err, exec.ErrNotFound)
	}
	started := exec.Command("sleep", "0")
	require.NoError(t, started.Run())
	_, err = p.Fork(&cluster.ForkOptions{Command: started})
	require.Error(t, err)
	require.Empty(t, p.Workers())
	require.NoError(t, p.Shutdown(within(t)))
	_, err = p.Fork(&cluster.ForkOptions{Command: exec.Command("sleep", "1000")})
	require.ErrorIs(t, err, cluster.ErrPrimaryClosed)
	var zero cluster.Primary
	require.NoError(t, zero.Shutdown(within(t)))
	require.NoError(t, zero.Close())
}

// What a worker printed is there when it is Done, and a process that holds its output does not hold up Done.
func TestOutput(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	for name, children := range map[string][][]string{
		"alone":                   nil,
		"with a child":            {{"sleep", "1000"}},
		"with one that has left":  {{"detached", "sleep", "1000"}},
		"with one that goes soon": {{"detached", "sh", "-c", "echo later"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPrimary(t, &cluster.Primary{})
			l := life{Children: children, Stdio: []string{"ignore", "inherit", "ignore"}}
			cmd := l.command(t)
			var out bytes.Buffer
			cmd.Stdout = &out
			if strings.Contains(name, "left") {
				cmd.WaitDelay = 50 * time.Millisecond
			}
			w, r := beginWith(t, p, &cluster.ForkOptions{Command: cmd})
			tell(t, w, map[string]any{"print": strings.Repeat("text ", 1000), "exit": 4})
			<-w.Done()
			exited(t, w, "exit status 4")
			require.Equal(t, 5000, len(strings.ReplaceAll(out.String(), "later\n", "")))
			for _, pid := range r.Children {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
}

// Await returns when the state has come, and with the reason when it cannot come any more.
func TestAwait(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{})
	ctx := within(t)

	w, err := p.Fork(&cluster.ForkOptions{Command: life{Listen: anyPort, Stay: true}.command(t)})
	require.NoError(t, err)
	for _, s := range []cluster.State{cluster.Starting, cluster.Online, cluster.Listening, cluster.Online} {
		require.NoError(t, w.Await(ctx, s))
		require.GreaterOrEqual(t, w.Status().State, s)
		require.Equal(t, s.String(), fmt.Sprint(s))
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	require.NoError(t, w.Await(over, cluster.Listening), "it is there")
	require.ErrorIs(t, w.Await(over, cluster.Disconnected), context.Canceled)
	require.ErrorIs(t, w.Disconnect(over), context.Canceled)
	require.NoError(t, w.Await(ctx, cluster.Disconnected))
	require.ErrorIs(t, w.Await(over, cluster.Listening), context.Canceled, "it may still end")
	require.ErrorIs(t, w.Await(over, cluster.Dead), context.Canceled)
	require.NoError(t, w.Signal(os.Interrupt))
	require.NoError(t, w.Await(ctx, cluster.Disconnected))
	require.NoError(t, w.Await(ctx, cluster.Dead))
	exited(t, w, "signal: interrupt")

	w, _ = begin(t, p, life{})
	waiting := make(chan error)
	go func() { waiting <- w.Await(ctx, cluster.Listening) }()
	tell(t, w, map[string]any{"exit": 5})
	require.ErrorContains(t, <-waiting, "exit status 5")
	require.ErrorContains(t, w.Await(ctx, cluster.Listening), "exit status 5")
	require.ErrorContains(t, w.Await(ctx, cluster.Online), "exit status 5")
	require.NoError(t, w.Await(ctx, cluster.Dead))

	w, err = p.Fork(&cluster.ForkOptions{Command: exec.Command("sh", "-c", "exit 6")})
	require.NoError(t, err)
	require.ErrorContains(t, w.Await(ctx, cluster.Online), "exit status 6")
	require.False(t, w.Status().ExitedAfterDisconnect)

	w, err = p.Fork(&cluster.ForkOptions{Command: exec.Command("sh", "-c", "echo garbage >&3; exec sleep 1000")})
	require.NoError(t, err)
	require.ErrorContains(t, w.Await(ctx, cluster.Online), "garbage") // what it did, besides that it was killed
	exited(t, w, "signal: killed")
	require.Equal(t, "unknown", cluster.State(-1).String())
}

// Changed hears of each state of each worker in its order, one call at a time, and may call anything.
func TestChanged(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	ctx := within(t)
	var p *cluster.Primary
	seen := map[int][]cluster.State{}
	var inside atomic.Int32
	var first *cluster.Process
	last := make(chan struct{})
	p = newPrimary(t, &cluster.Primary{
		Command: life{Listen: anyPort}.commandFunc(t),
		Changed: func(w *cluster.Process, s cluster.State) {
			if inside.Add(1) != 1 {
				t.Error("two calls at a time")
			}
			defer inside.Add(-1)
			seen[w.ID()] = append(seen[w.ID()], s)
			if now := w.Status().State; now < s {
				t.Errorf("%v is announced, it is %v", s, now)
			}
			switch id := w.ID(); {
			case id == 1 && s == cluster.Listening:
				first = w
				if _, err := p.Fork(nil); err != nil {
					t.Error(err)
				}
			case id == 2 && s == cluster.Listening:
				if err := first.Disconnect(ctx); err != nil { // hears of it only after this
					t.Error(err)
				}
			case id == 1 && s == cluster.Dead:
				if err := p.Broadcast(ctx, "still there"); err != nil {
					t.Error(err)
				}
				if err := p.Shutdown(ctx); err != nil {
					t.Error(err)
				}
			case id == 2 && s == cluster.Dead:
				close(last)
			}
		},
	})
	_, err := p.Fork(nil)
	require.NoError(t, err)
	<-last
	all := []cluster.State{cluster.Online, cluster.Listening, cluster.Disconnected, cluster.Dead}
	require.Equal(t, map[int][]cluster.State{1: all, 2: all}, seen)
}

func (l life) commandFunc(t testing.TB) func() *exec.Cmd {
	return func() *exec.Cmd { return l.command(t) }
}

// Broadcast reaches all in order, though one does not read.
func TestBroadcast(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{Command: life{}.commandFunc(t)})
	var all []*cluster.Process
	for range 3 {
		w, _ := beginWith(t, p, nil)
		all = append(all, w)
	}
	gone, _ := beginWith(t, p, nil)
	tell(t, gone, map[string]any{"exit": 0})
	require.NoError(t, all[1].Signal(syscall.SIGSTOP))
	pad := strings.Repeat("x", 200<<10)
	for i, stuck := 1, 0; stuck < 2; i++ {
		require.Less(t, i, 100, "a worker that does not read does not hold up anything")
		ctx, cancel := context.WithCancel(within(t))
		sent := make(chan error)
		go func() { sent <- p.Broadcast(ctx, map[string]any{"say": i, "pad": pad}) }()
		for _, w := range []*cluster.Process{all[0], all[2]} {
			var said int
			receive(within(t), t, w.Channel(), &said)
			require.Equal(t, i, said)
		}
		cancel() // no effect if it is sent
		if err := <-sent; err != nil {
			stuck++
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorContains(t, err, "worker 2")
			require.NotContains(t, err.Error(), "worker 1")
			require.NotContains(t, err.Error(), "worker 3")
		}
	}
	require.NoError(t, all[1].Signal(syscall.SIGCONT))
	var said int
	receive(within(t), t, all[1].Channel(), &said)
	require.Equal(t, 1, said, "what was sent is not lost")
	require.NoError(t, p.Close())
	require.NoError(t, p.Broadcast(within(t), "nobody"))
}

// Messages has what all workers say, those that come later too, whenever it is read.
func TestPrimaryMessages(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{Command: life{}.commandFunc(t)})
	ctx := within(t)
	fork := func() *cluster.Process {
		w, err := p.Fork(nil)
		require.NoError(t, err)
		return w
	}
	heard := map[int][]int{} // by worker
	ready, total := 0, 0
	note := func(w *cluster.Process, m *nodeipc.Message) {
		var v struct {
			N     int
			Ready *struct{}
		}
		require.NoError(t, m.Decode(&v))
		if v.Ready != nil {
			ready++
			return
		}
		heard[w.ID()] = append(heard[w.ID()], v.N)
		total++
	}
	say := func(w *cluster.Process, n int) { tell(t, w, map[string]any{"say": map[string]int{"n": n}}) }
	a, b := fork(), fork()
	for n := 1; n <= 20; n++ {
		say(a, n)
		say(b, n)
	}
	read := func(enough func() bool) {
		for w, m := range p.Messages(ctx) {
			note(w, m)
			if enough() {
				return
			}
		}
	}
	for total < 20 {
		read(func() bool { return true })
	}
	say(fork(), 1)
	forked := false
	read(func() bool {
		if !forked && total >= 30 {
			forked = true
			say(fork(), 1)
		}
		return ready == 4 && total == 42
	})
	// The last words of one that exits, which nobody reads until all are gone.
	for _, w := range p.Workers() {
		tell(t, w, map[string]any{"say": map[string]int{"n": 99}, "exit": 0})
		<-w.Done()
	}
	e := fork()
	require.NoError(t, e.Await(ctx, cluster.Online))
	require.NoError(t, p.Shutdown(ctx))
	read(func() bool { return false })
	var want []int
	for n := 1; n <= 20; n++ {
		want = append(want, n)
	}
	require.Equal(t, map[int][]int{1: append(want, 99), 2: append(slices.Clone(want), 99), 3: {1, 99}, 4: {1, 99}}, heard)
	require.Equal(t, 5, ready)
	read(func() bool { t.Error("there is more"); return false })
}

// Messages ends with its context, and when the primary is closed while somebody waits.
func TestPrimaryMessagesEnd(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{Command: life{}.commandFunc(t)})
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	_, err := p.Fork(nil)
	require.NoError(t, err)
	n := 0
	for range p.Messages(ctx) {
		n++
		cancel()
	}
	require.Equal(t, 1, n)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range p.Messages(within(t)) {
			t.Error("a message")
		}
	}()
	require.NoError(t, p.Shutdown(within(t)))
	<-ended
}

// Handles come with messages, and go.
func TestPrimaryHandles(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{})
	w, _ := begin(t, p, life{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	tell(t, w, map[string]any{"give": ln.Addr().(*net.TCPAddr).Port})
	theirs, err := ln.Accept()
	require.NoError(t, err)
	defer theirs.Close()
	for from, m := range p.Messages(within(t)) {
		require.Equal(t, w, from)
		conn, err := m.Handle.Conn()
		require.NoError(t, err)
		require.NoError(t, w.Channel().SendHandle(within(t), map[string]bool{"serve": true}, conn))
		require.NoError(t, conn.Close())
		break
	}
	fmt.Fprint(theirs, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	text, err := io.ReadAll(theirs)
	require.NoError(t, err)
	require.Contains(t, string(text), says(w))
	require.NoError(t, p.Shutdown(within(t)))
}

// Node's own words say how connections are shared, unless the program says so itself.
func TestSchedulingOfTheEnvironment(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	for _, test := range []struct {
		env     string
		own     cluster.Scheduling
		primary bool // it accepts
	}{
		{"none", nil, false}, {"rr", nil, true}, {"", nil, true}, {"other", nil, true},
		{"none", cluster.RoundRobin, true}, {"rr", cluster.None, false},
	} {
		t.Setenv("NODE_CLUSTER_SCHED_POLICY", test.env)
		p := newPrimary(t, &cluster.Primary{Scheduling: test.own})
		w, _ := begin(t, p, life{Listen: anyPort})
		results(t, w, 1)
		require.Equal(t, map[string]int{says(w): 3}, served(t, w.Status().Addrs[0].String(), 3))
		settled(t, w)
		if test.primary {
			require.EqualValues(t, 3, w.Status().Connections, "%+v", test)
		} else {
			require.Zero(t, w.Status().Connections, "%+v", test)
		}
		require.NoError(t, p.Close())
	}
}
