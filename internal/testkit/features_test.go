package testkit

import (
	"strings"
	"testing"
	"time"
)

// A case that fails does not fail the test around it, is over when its context is, and is cleaned up after.
func TestAttempted(t *testing.T) {
	CheckLeaks(t)
	var order []string
	cleaned := func(tb testing.TB) {
		tb.Cleanup(func() { order = append(order, "first") })
		tb.Cleanup(func() { order = append(order, "last") })
	}
	for _, test := range []struct {
		name    string
		run     func(testing.TB)
		failure string
	}{
		{"passes", func(tb testing.TB) { tb.Log("well"); tb.Helper() }, ""},
		{"Errorf", func(tb testing.TB) { tb.Errorf("no %d", 1); tb.Log("and more") }, "no 1\nand more"},
		{"Fatal", func(tb testing.TB) { tb.Fatal("stop"); panic("goes on") }, "stop"},
		{"FailNow", func(tb testing.TB) { tb.Error("why"); tb.FailNow(); panic("goes on") }, "why\nfailed"},
		{"skipped", func(tb testing.TB) { tb.Skip("why"); panic("goes on") }, "skipped: why"},
		{"waits", func(tb testing.TB) { <-tb.Context().Done(); tb.Fatal("gave up") }, "gave up"},
	} {
		order = nil
		failure, failed := attempted(t, 10*time.Millisecond, func(tb testing.TB) {
			cleaned(tb)
			test.run(tb)
		})
		if failed != (test.failure != "") || failed && failure != test.failure {
			t.Errorf("%s: failed %v, %q", test.name, failed, failure)
		}
		if strings.Join(order, " ") != "last first" {
			t.Errorf("%s: cleaned up %q", test.name, order)
		}
	}
}
