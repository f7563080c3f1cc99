package testkit

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Feature is a row of the table of runtimes in README.md: a runtime has it if every case passes.
type Feature struct {
	Name  string
	Cases []Case
}

// A Case is a part of a Feature. It is run by a *testing.T, or by an attempt; what may hang has to end with the context
// of either.
type Case struct {
	Name string
	Run  func(testing.TB)
}

// A Limit is a feature that a kind of runtime does not have, and why, in the words of the table's footnote. Case names
// the one that must fail; empty means any of them.
type Limit struct{ Kind, Feature, Case, Reason string }

// attemptLimit is how long something may take of which the table says that it does not work.
const attemptLimit = 3 * time.Second

// Features runs the features against the runtime in use, a subtest each. Those that the limits name must fail in some
// case. What scripts/matrix needs for the table goes out as attributes of the tests.
func Features(t *testing.T, limits []Limit, features ...Feature) {
	for _, l := range limits {
		if !slices.ContainsFunc(features, func(f Feature) bool {
			return f.Name == l.Feature &&
				(l.Case == "" || slices.ContainsFunc(f.Cases, func(c Case) bool { return c.Name == l.Case }))
		}) {
			t.Errorf("no such feature or case: %+v", l)
		}
	}
	peer := Peer(t)
	t.Attr("runtime", peer.String())
	for _, f := range features {
		t.Run(f.Name, func(t *testing.T) {
			CheckLeaks(t)
			t.Attr("feature", f.Name)
			i := slices.IndexFunc(limits, func(l Limit) bool { return l.Kind == peer.Kind && l.Feature == f.Name })
			if i < 0 {
				for _, c := range f.Cases {
					t.Run(c.Name, func(t *testing.T) { c.Run(t) })
				}
				return
			}
			t.Attr("limit", limits[i].Reason)
			for _, c := range f.Cases {
				if only := limits[i].Case; only != "" && only != c.Name {
					continue
				}
				if failure, failed := attempted(t, attemptLimit, c.Run); failed {
					t.Logf("does not work yet, %s:\n%s", c.Name, failure)
					return
				}
			}
			t.Errorf("now works, remove the row: %s, %s", peer.Kind, f.Name)
		})
	}
}

// attempted runs a case that may fail without failing the test. Its context ends after limit.
func attempted(t testing.TB, limit time.Duration, run func(testing.TB)) (failure string, failed bool) {
	a := &attempt{TB: t}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	a.ctx = ctx
	done := make(chan struct{})
	go func() { // for FailNow
		defer close(done)
		defer a.cleanup()
		run(a)
	}()
	<-done
	return strings.Join(a.said, "\n"), a.failed
}

// An attempt is a testing.TB that keeps its failure to itself.
type attempt struct {
	testing.TB
	ctx context.Context

	mu       sync.Mutex
	failed   bool
	said     []string
	cleanups []func()
}

func (a *attempt) Context() context.Context { return a.ctx }

func (a *attempt) Cleanup(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cleanups = append(a.cleanups, f)
}

func (a *attempt) cleanup() {
	for len(a.cleanups) > 0 {
		last := len(a.cleanups) - 1
		f := a.cleanups[last]
		a.cleanups = a.cleanups[:last]
		f()
	}
}

func (a *attempt) Log(args ...any) { a.say(false, fmt.Sprint(args...)) }

func (a *attempt) Logf(format string, args ...any) { a.say(false, fmt.Sprintf(format, args...)) }

func (a *attempt) Error(args ...any) { a.say(true, fmt.Sprint(args...)) }

func (a *attempt) Errorf(format string, args ...any) { a.say(true, fmt.Sprintf(format, args...)) }

func (a *attempt) Fatal(args ...any) {
	a.say(true, fmt.Sprint(args...))
	runtime.Goexit()
}

func (a *attempt) Fatalf(format string, args ...any) {
	a.say(true, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (a *attempt) Fail() { a.say(true, "failed") }

func (a *attempt) FailNow() {
	a.Fail()
	runtime.Goexit()
}

func (a *attempt) Skip(args ...any) { a.Fatal("skipped: " + fmt.Sprint(args...)) }

func (a *attempt) Skipf(format string, args ...any) { a.Fatalf("skipped: "+format, args...) }

func (a *attempt) SkipNow() { a.Fatal("skipped") }

func (a *attempt) Failed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

func (a *attempt) say(failed bool, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = a.failed || failed
	a.said = append(a.said, text)
}
