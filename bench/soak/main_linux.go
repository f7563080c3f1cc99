package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed child.js
var childJS []byte

const childEnv = "NODEIPC_SOAK_CHILD"

// What may be more at rest than after the first third of the time. Descriptors and goroutines may not.
const (
	moreHeap = 1 << 20
	moreRSS  = 48 << 20 // the runtime returns memory when it likes, and children at work take processor time from it
)

// patience ends what would hang otherwise.
const patience = time.Minute

func main() {
	if os.Getenv(childEnv) != "" {
		os.Unsetenv(childEnv)
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, "soak: Go child:", err)
			os.Exit(1)
		}
		return
	}
	length := flag.Duration("time", 10*time.Minute, "how long")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of what happens when")
	lives := flag.Int("lives", 4, "children at a time that come and go")
	flag.Parse()
	s := &soak{lives: *lives, seed: *seed, start: time.Now()}
	if err := s.run(*length); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err) // it could not begin
		os.Exit(2)
	}
}

// A soak is the whole.
type soak struct {
	lives      int
	seed       uint64
	start, end time.Time
	dir        string
	node       string
	self       string

	rest    sync.RWMutex // held for reading by who is at work
	restDue atomic.Bool
	failing sync.Mutex
	alive   sync.Map // the *exec.Cmd of children

	ids, messages, handles, children atomic.Int64
}

// fail ends the soak at once, and tells where everybody is.
func (s *soak) fail(err error) {
	s.failing.Lock() // for good
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	fmt.Fprintf(os.Stderr, "soak: after %v: %v\n\n%s\n", time.Since(s.start), err, stacks)
	each := func(signal os.Signal) {
		s.alive.Range(func(cmd, _ any) bool {
			cmd.(*exec.Cmd).Process.Signal(signal)
			return true
		})
	}
	each(syscall.SIGQUIT) // so do Go children
	time.Sleep(100 * time.Millisecond)
	each(os.Kill) // some may be stopped
	os.RemoveAll(s.dir)
	os.Exit(1)
}

func (s *soak) over() bool { return time.Now().After(s.end) }

func (s *soak) run(length time.Duration) (err error) {
	s.node = "node"
	if bin := os.Getenv("NODEIPC_NODE"); bin != "" {
		s.node = bin
	}
	version, err := exec.Command(s.node, "--version").Output()
	if err != nil {
		return err
	}
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "nodeipc-soak-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	if err := os.WriteFile(filepath.Join(s.dir, "child.js"), childJS, 0o644); err != nil {
		return err
	}
	node := strings.TrimSpace(string(version))
	fmt.Printf("soak: %v with Node %s, %s, seed %d\n", length, node, runtime.Version(), s.seed)
	s.end = s.start.Add(length)

	var workers sync.WaitGroup
	// Those that live as long as the soak.
	var stay []*life
	for i, kind := range []string{"node", "go"} {
		l, err := s.begin(kind, s.random(uint64(1000+i)))
		if err != nil {
			return err
		}
		stay = append(stay, l)
		workers.Go(func() {
			for !s.over() {
				s.work(func() { l.acts(1 + l.random.IntN(20)) })
			}
		})
	}
	for i := range s.lives {
		random := s.random(uint64(i))
		workers.Go(func() {
			for !s.over() {
				s.work(func() { s.oneLife(random) })
			}
		})
	}

	interval := min(max(length/20, 500*time.Millisecond), 30*time.Second)
	var first state
	for !s.over() {
		time.Sleep(min(interval, time.Until(s.end)))
		s.restDue.Store(true)
		hang := time.AfterFunc(3*patience, func() { s.fail(errors.New("no rest: something hangs")) })
		s.rest.Lock()
		hang.Stop()
		now := s.look(stay, first)
		if err := now.grown(first); first.warm && err != nil {
			s.fail(err)
		}
		if !first.warm {
			first = now
			first.warm = time.Since(s.start) > length/3
		}
		s.restDue.Store(false)
		s.rest.Unlock()
	}
	workers.Wait()
	for _, l := range stay {
		l.finish(endDisconnect)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "*.sock")); len(left) > 0 {
		s.fail(fmt.Errorf("left over: %v", left))
	}
	fmt.Printf("soak: passed: %d messages, %d handles, %d children\n",
		s.messages.Load(), s.handles.Load(), s.children.Load())
	return nil
}

// work does f while nobody rests.
func (s *soak) work(f func()) {
	s.rest.RLock()
	defer s.rest.RUnlock()
	f()
}

func (s *soak) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, stream)) }

// A state is what is in use at rest.
type state struct {
	here, child  usage
	rss, threads int
	warm         bool // the first third is over
}

// least is the less of each.
func (a state) least(b state) state {
	if b.here.Goroutines == 0 {
		return a
	}
	a.here, a.child, a.rss = a.here.least(b.here), a.child.least(b.child), min(a.rss, b.rss)
	return a
}

func (a usage) least(b usage) usage {
	return usage{min(a.Heap, b.Heap), min(a.Descriptors, b.Descriptors), min(a.Goroutines, b.Goroutines)}
}

// grown tells what of a is more than it was in the beginning.
func (a state) grown(first state) error {
	for _, c := range []struct {
		what               string
		now, before, limit int
	}{
		{"descriptors", a.here.Descriptors, first.here.Descriptors, 0},
		{"descriptors of the Go child", a.child.Descriptors, first.child.Descriptors, 0},
		{"goroutines", a.here.Goroutines, first.here.Goroutines, 0},
		{"goroutines of the Go child", a.child.Goroutines, first.child.Goroutines, 0},
		{"bytes of heap", int(a.here.Heap), int(first.here.Heap), moreHeap},
		{"bytes of heap of the Go child", int(a.child.Heap), int(first.child.Heap), moreHeap},
		{"bytes of RSS", a.rss, first.rss, moreRSS},
	} {
		if c.now > c.before+c.limit {
			return fmt.Errorf("%d %s, %d after the first third, %d more are allowed", c.now, c.what, c.before, c.limit)
		}
	}
	return nil
}

// look measures until nothing is more than it was after the warm-up, or a while has passed: a goroutine may be on its
// way out, and one of a channel may be reading in place of who waits in Receive.
func (s *soak) look(stay []*life, first state) (now state) {
	deadline := time.Now().Add(5 * time.Second)
	for round := 0; round < 10 || first.warm && now.grown(first) != nil && time.Now().Before(deadline); round++ {
		for _, l := range stay { // who waits in Receive reads after that
			l.echo(message{Text: "rest"})
		}
		m, ok := stay[1].ask(message{Do: "usage"}, nil)
		if !ok {
			return now
		}
		debug.FreeOSMemory()
		u := state{here: measure(), child: *m.Usage}
		u.rss, u.threads = resident()
		now = u.least(now)
	}
	fmt.Printf("%6.1fs %9d messages %6d handles %5d children | rss %.1f MB, heap %d kB, %d fds, %d goroutines, %d threads"+
		" | Go child: heap %d kB, %d fds, %d goroutines\n",
		time.Since(s.start).Seconds(), s.messages.Load(), s.handles.Load(), s.children.Load(), float64(now.rss)/(1<<20),
		now.here.Heap>>10, now.here.Descriptors, now.here.Goroutines, now.threads,
		now.child.Heap>>10, now.child.Descriptors, now.child.Goroutines)
	return now
}

// descriptors counts those of this process.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(entries) - 1 // the folder itself was open
}

// resident returns the bytes of memory and the number of threads of this process.
func resident() (rss, threads int) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fmt.Sscan(rest, &rss)
		} else if rest, ok := strings.CutPrefix(line, "Threads:"); ok {
			fmt.Sscan(rest, &threads)
		}
	}
	return rss << 10, threads
}
