package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

func init() {
	workers["stubborn"] = stubbornMain
	workers["life primary"] = lifePrimaryMain
}

// A mark is a variable by which the processes of a test are found, whoever their parent is by now.
type mark string

func newMark(t testing.TB) mark {
	return mark("NODEIPC_TEST_MARK=" + strconv.Itoa(os.Getpid()) + " " + t.Name())
}

func (m mark) on(cmd *exec.Cmd) *exec.Cmd {
	cmd.Env = append(cmd.Environ(), string(m))
	return cmd
}

// processes returns a descriptor for each process that has the mark and has not exited.
func (m mark) processes(t testing.TB) (pidfds map[int]int) {
	t.Helper()
	pidfds = map[int]int{}
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		require.NoError(t, err)
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has ended
		}
		env, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(append(append([]byte{0}, env...), 0), []byte("\x00"+string(m)+"\x00")) {
			unix.Close(fd)
			continue
		}
		pidfds[pid] = fd
	}
	return pidfds
}

// gone waits until no process has the mark, but these.
func (m mark) gone(t testing.TB, but ...int) {
	t.Helper()
	left := m.processes(t)
	for _, pid := range but {
		if fd, ok := left[pid]; ok {
			unix.Close(fd)
			delete(left, pid)
		} else {
			t.Errorf("process %d has not survived", pid)
		}
	}
	for pid, fd := range left {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if !exits(fd) {
			t.Errorf("process %d is left: %q", pid, name)
			syscall.Kill(pid, syscall.SIGKILL)
		}
		unix.Close(fd)
	}
}

// exits waits until the process of a pidfd has exited.
func exits(pidfd int) bool {
	for end := time.Now().Add(patience); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(time.Until(end).Milliseconds()))
		if err != unix.EINTR {
			return n == 1
		}
	}
}

// Shutdown's ladder: how far it goes, how the worker ends, and that it leaves nothing behind.
func TestShutdownLadder(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	const slow, fast = patience, 50 * time.Millisecond // from SIGTERM to SIGKILL
	deaf := []string{"SIGTERM"}
	family := [][]string{{"sleep", "1000"}, {"sh", "-c", "trap '' TERM; exec sleep 1000"}, {"detached", "sleep", "1000"}}
	for _, test := range []struct {
		name  string
		life  life
		then  func(t *testing.T, w *cluster.Process)
		delay time.Duration
		how   string
		took  string
	}{
		{name: "leaves", life: life{Listen: anyPort}, delay: slow, how: "exit status 0"},
		{name: "ignores disconnect", life: life{Listen: anyPort, Stay: true}, delay: slow,
			how: "signal: terminated", took: "SIGTERM"},
		{name: "ignores SIGTERM", life: life{Stay: true, Ignore: deaf}, delay: fast, how: "signal: killed", took: "SIGKILL"},
		{name: "grandchildren", life: life{Children: family}, delay: slow, how: "signal: terminated", took: "SIGTERM"},
		{name: "grandchildren, SIGKILL", life: life{Children: family, Ignore: deaf}, delay: fast,
			how: "signal: killed", took: "SIGKILL"},
		{name: "busy", then: beBusy, delay: slow, how: "signal: terminated", took: "SIGTERM"},
		{name: "busy, ignores SIGTERM", life: life{Ignore: deaf}, then: beBusy, delay: fast,
			how: "signal: killed", took: "SIGKILL"},
		{name: "stopped", then: stop, delay: fast, how: "signal: killed", took: "SIGKILL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			mark := newMark(t)
			p := newPrimary(t, &cluster.Primary{KillDelay: test.delay})
			w, r := beginWith(t, p, &cluster.ForkOptions{Command: mark.on(test.life.command(t))})
			if test.life.Listen != nil {
				require.NoError(t, w.Await(within(t), cluster.Listening))
			}
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			switch {
			case test.then != nil:
				test.then(t, w)
				cancel() // it would never leave
			case test.took != "":
				go func() {
					w.Await(ctx, cluster.Disconnected) // it has understood, and stays
					cancel()
				}()
			}
			err := p.Shutdown(ctx)
			exited(t, w, test.how)
			if test.took == "" {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, context.Canceled)
				require.ErrorContains(t, err, "worker 1 ")
				require.ErrorContains(t, err, test.took)
			}
			survivors(t, mark, r)
			require.True(t, w.Status().ExitedAfterDisconnect)
			require.Empty(t, p.Workers())
		})
	}
}

func beBusy(t *testing.T, w *cluster.Process) {
	tell(t, w, map[string]any{"say": "busy", "busy": true})
	var said string
	receive(within(t), t, w.Channel(), &said)
}

func stop(t *testing.T, w *cluster.Process) {
	require.NoError(t, w.Signal(syscall.SIGSTOP))
}

// survivors checks that only the last child lives, which has left the group, if there are any, and ends it.
func survivors(t *testing.T, m mark, r ready) {
	t.Helper()
	if len(r.Children) == 0 {
		m.gone(t)
		return
	}
	last := r.Children[len(r.Children)-1]
	m.gone(t, last)
	require.NoError(t, syscall.Kill(last, syscall.SIGKILL))
	m.gone(t)
}

// However a worker ends, what it has started in its group ends with it.
func TestNoGrandchildSurvives(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	family := [][]string{
		{"sleep", "1000"}, {"sh", "-c", "trap '' TERM INT HUP; sleep 1000; true"}, {"detached", "sleep", "1000"},
	}
	for name, end := range map[string]func(t *testing.T, p *cluster.Primary, w *cluster.Process){
		"exit":  func(t *testing.T, _ *cluster.Primary, w *cluster.Process) { tell(t, w, map[string]any{"exit": 3}) },
		"Kill":  func(t *testing.T, _ *cluster.Primary, w *cluster.Process) { require.NoError(t, w.Kill()) },
		"Close": func(t *testing.T, p *cluster.Primary, _ *cluster.Process) { require.NoError(t, p.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mark := newMark(t)
			p := newPrimary(t, &cluster.Primary{})
			w, r := beginWith(t, p, &cluster.ForkOptions{Command: mark.on(life{Children: family}.command(t))})
			end(t, p, w)
			<-w.Done()
			if name == "exit" {
				exited(t, w, "exit status 3")
			} else {
				exited(t, w, "signal: killed")
			}
			survivors(t, mark, r)
		})
	}
}

// Forks that meet Shutdown or Close fail, or their workers are ended by it: no process is left.
func TestForkMeetsShutdown(t *testing.T) {
	testkit.CheckLeaks(t)
	for name, end := range map[string]func(p *cluster.Primary, ctx context.Context) error{
		"Shutdown": (*cluster.Primary).Shutdown,
		"Close":    func(p *cluster.Primary, _ context.Context) error { return p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			mark := newMark(t)
			p := &cluster.Primary{Command: func() *exec.Cmd { return mark.on(exec.Command("sleep", "1000")) }}
			var forking sync.WaitGroup
			some := make(chan struct{}, 1000)
			var mu sync.Mutex
			var all []*cluster.Process
			for range 4 {
				forking.Go(func() {
					for {
						w, err := p.Fork(nil)
						if err != nil {
							if !errors.Is(err, cluster.ErrPrimaryClosed) {
								t.Error(err)
							}
							return
						}
						mu.Lock()
						all = append(all, w)
						mu.Unlock()
						some <- struct{}{}
					}
				})
			}
			for range 8 {
				<-some
			}
			ctx, cancel := context.WithCancel(within(t))
			cancel()
			err := end(p, ctx)
			if name == "Shutdown" {
				require.ErrorContains(t, err, "SIGTERM")
			} else {
				require.NoError(t, err)
			}
			forking.Wait()
			for _, w := range all {
				<-w.Done()
			}
			mark.gone(t)
			require.Empty(t, p.Workers())
		})
	}
}

// Workers live on when the thread ends from which they were forked, or any other.
func TestForkFromThreadThatEnds(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	p := newPrimary(t, &cluster.Primary{})
	var workers []*cluster.Process
	for range 2 {
		tid := make(chan int)
		go func() {
			runtime.LockOSThread() // and ends with it
			w, err := p.Fork(&cluster.ForkOptions{Command: life{}.command(t)})
			if err != nil {
				t.Error(err)
			}
			workers = append(workers, w)
			tid <- unix.Gettid()
		}()
		ended(t, <-tid)
	}
	for range 20 {
		tid := make(chan int)
		go func() {
			runtime.LockOSThread()
			tid <- unix.Gettid()
		}()
		ended(t, <-tid)
	}
	for _, w := range workers {
		var m struct{ Ready *ready }
		receive(within(t), t, w.Channel(), &m)
		settled(t, w) // it is alive
	}
	require.NoError(t, p.Shutdown(within(t)))
}

// ended waits for the end of a thread; the first one of a process stays.
func ended(t testing.TB, tid int) {
	t.Helper()
	for end := time.Now().Add(patience); tid != os.Getpid(); time.Sleep(time.Millisecond) {
		if unix.Tgkill(os.Getpid(), tid, 0) == unix.ESRCH {
			return
		}
		require.True(t, time.Now().Before(end), "thread %d does not end", tid)
	}
}

// A primary that is killed takes its workers with it, whatever they do.
func TestGoPrimaryIsKilled(t *testing.T) {
	nodeOnly(t)
	testkit.CheckLeaks(t)
	mark := newMark(t)
	bin, err := os.Executable()
	require.NoError(t, err)
	cmd := mark.on(exec.Command(bin, testkit.Node(t)))
	cmd.Env = append(cmd.Env, envRole+"=life primary", "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	ch, err := nodeipc.Start(cmd, nil)
	require.NoError(t, err)
	defer ch.Close()
	var pids []int
	receive(within(t), t, ch, &pids)
	alive := mark.processes(t)
	for _, pid := range append(pids, cmd.Process.Pid) {
		require.Contains(t, alive, pid)
	}
	for _, fd := range alive {
		unix.Close(fd)
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	mark.gone(t)
}

// lifePrimaryMain is a primary of Node and Go workers of which some cannot be asked to leave. It tells the test when
// they are ready, and who they are.
func lifePrimaryMain() error {
	ch, err := nodeipc.Connect(nil)
	if err != nil {
		return err
	}
	ctx := context.Background()
	var p cluster.Primary
	lives := []life{{Listen: anyPort}, {Stay: true, Ignore: []string{"SIGTERM", "SIGHUP", "SIGINT"}}, {}}
	var pids []int // of two Node workers with a live event loop, one with a busy one, and two Go workers
	for i, l := range lives {
		w, err := p.Fork(&cluster.ForkOptions{Command: l.commandOf(os.Args[1])})
		if err != nil {
			return err
		}
		pids = append(pids, w.Cmd().Process.Pid)
		must(w.Channel().Receive(ctx))
		if i == 2 {
			if err := w.Channel().Send(ctx, map[string]any{"say": "busy", "busy": true}); err != nil {
				return err
			}
			must(w.Channel().Receive(ctx))
		}
	}
	for _, mode := range []string{"", "busy"} {
		cmd := exec.Command(must(os.Executable()))
		cmd.Stderr = os.Stderr
		cmd.Env = append(cmd.Environ(), envRole+"=stubborn", "MODE="+mode)
		w, err := p.Fork(&cluster.ForkOptions{Command: cmd})
		if err != nil {
			return err
		}
		pids = append(pids, w.Cmd().Process.Pid)
		must(w.Channel().Receive(ctx))
	}
	if err := ch.Send(ctx, pids); err != nil {
		return err
	}
	select {}
}

// stubbornMain is a worker that ends by SIGKILL only: it ignores its primary, and the signals.
func stubbornMain() error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	ch, err := nodeipc.Connect(nil)
	if err != nil {
		return err
	}
	if err := ch.Send(context.Background(), "ready"); err != nil {
		return err
	}
	if os.Getenv("MODE") == "busy" {
		runtime.GOMAXPROCS(1)
		for {
		}
	}
	select {}
}
