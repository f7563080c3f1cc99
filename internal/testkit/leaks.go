package testkit

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a check waits for goroutines that are on their way out. Only a failing test waits that long.
const patience = 5 * time.Second

// CheckLeaks fails the test when goroutines or, on Linux, descriptors are there at its end that were not there now.
// Call it first: cleanups run in the reverse order, so that everything registered later has been released when the
// check runs. It sees the whole process and is therefore not for parallel tests.
func CheckLeaks(tb testing.TB) {
	tb.Helper()
	checkLeaks(tb, patience)
}

func checkLeaks(tb testing.TB, patience time.Duration) {
	tb.Helper()
	goroutines := ids(stacks())
	fds := descriptors()
	tb.Cleanup(func() {
		tb.Helper()
		if left := wait(patience, func() []string { return newGoroutines(goroutines) }); len(left) > 0 {
			tb.Errorf("testkit: %d goroutines left over:\n\n%s", len(left), strings.Join(left, "\n\n"))
		}
		if left := wait(patience, func() []string { return newDescriptors(fds) }); len(left) > 0 {
			tb.Errorf("testkit: %d descriptors left over:\n\t%s", len(left), strings.Join(left, "\n\t"))
		}
	})
}

// Main is a TestMain that fails the package when goroutines are left over after all its tests:
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
//
// A failed test may well leave some; then they are not the news, and nothing is checked.
func Main(m *testing.M) {
	before := ids(stacks())
	code := m.Run()
	if code == 0 {
		if left := wait(patience, func() []string { return newGoroutines(before) }); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "testkit: %d goroutines left over after all tests:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			code = 1
		}
	}
	os.Exit(code)
}

// wait calls look until it finds nothing, or patience ends, and returns what it found last. The end of a goroutine
// cannot be waited for from outside, so this polls, a little slower each time.
func wait(patience time.Duration, look func() []string) []string {
	deadline := time.Now().Add(patience)
	pause := 200 * time.Microsecond
	for {
		left := look()
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
		// What only a finalizer or a runtime cleanup releases counts as released: it is not lost.
		runtime.GC()
		time.Sleep(pause)
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// stacks returns the stack of every goroutine but this one and those of the runtime and the testing package.
func stacks() []string {
	buf := make([]byte, 64<<10)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	all := strings.Split(strings.TrimSpace(string(buf[:n])), "\n\n")
	return slices.DeleteFunc(all[1:], ignored) // the first is the caller's
}

// ignored tells whether the goroutine with this stack belongs to the runtime or the test framework.
func ignored(stack string) bool {
	for _, mark := range []string{
		"testing.(*M).", "testing.(*T).Run(", "testing.(*T).Parallel(", "testing.tRunner(", "testing.runFuzzing(", "testing.runTests(",
		"testing.(*F).", "testing.(*B).", "testing.runFuzzTests(", "created by testing.",
		"os/signal.signal_recv(", "os/signal.loop(", // started once, for good, at the first Notify
		"runtime.goexit0(", "runtime.ensureSigM", "runtime.ReadTrace(", "runtime/trace.Start", "runtime/pprof.profileWriter",
		"created by runtime.", "created by runtime/trace.", "created by runtime/pprof.",
	} {
		if strings.Contains(stack, mark) {
			return true
		}
	}
	return false
}

// id returns the number of the goroutine with this stack: "goroutine 12 [select]:" is 12. Numbers are never reused.
func id(stack string) string {
	rest := strings.TrimPrefix(stack, "goroutine ")
	n, _, _ := strings.Cut(rest, " ")
	return n
}

func ids(stacks []string) map[string]bool {
	set := make(map[string]bool, len(stacks))
	for _, s := range stacks {
		set[id(s)] = true
	}
	return set
}

// newGoroutines returns the stacks of the goroutines that are not among those before.
func newGoroutines(before map[string]bool) []string {
	return slices.DeleteFunc(stacks(), func(s string) bool { return before[id(s)] })
}

// newDescriptors returns what is open now and was not before, as "5 -> socket:[123]". A number that was closed and
// used again for the same kind of thing has another link, as sockets and pipes are named by their inode.
func newDescriptors(before map[string]string) []string {
	var left []string
	for fd, link := range descriptors() {
		if before[fd] != link && !pollers(link) {
			left = append(left, fd+" -> "+link)
		}
	}
	slices.Sort(left)
	return left
}

// pollers tells whether link is a descriptor that the runtime opens once, when it first polls or starts a process,
// and keeps.
func pollers(link string) bool {
	return link == "anon_inode:[eventpoll]" || link == "anon_inode:[eventfd]"
}
