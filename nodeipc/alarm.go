package nodeipc

import (
	"sync"
	"time"
)

// alarms rings for all channels of the process: one timer, however many channels have something to do soon.
var alarms alarmClock

type alarmKind int

const (
	flushAlarm   alarmKind = iota // what was held back goes out: flushDue
	standbyAlarm                  // nobody may be reading: standbyDue
	alarmKinds
)

// flushAlarm's delay leaves time for the goroutine to wake up: the promise is 100 µs. standbyAlarm's is so long that a
// program in a tight loop of Receive does not feel it.
var alarmDelay = [alarmKinds]time.Duration{60 * time.Microsecond, 5 * time.Millisecond}

// An alarmClock calls channels back once, soon after they asked for it. Those that ask while others wait already are
// called with them, earlier than the delay. Its timer exists as long as a channel that has used it.
type alarmClock struct {
	mu    sync.Mutex
	timer alarmTimer // nil without users
	users int
	kinds [alarmKinds]struct {
		at   int64 // when to ring; 0 for not at all
		list []*Channel
	}
	ringAt int64 // what the timer is set to; 0 for nothing
}

// An alarmTimer calls ring some time after set, from a goroutine of its own.
type alarmTimer interface {
	set(d time.Duration)
	stop()
}

// alarm asks for a call. c.mu is held.
func (c *Channel) alarm(k alarmKind) {
	a := &alarms
	a.mu.Lock()
	defer a.mu.Unlock()
	if !c.alarmed {
		c.alarmed = true
		if a.users++; a.users == 1 {
			a.timer = newAlarmTimer(a.ring)
		}
	}
	q := &a.kinds[k]
	q.list = append(q.list, c)
	if q.at != 0 {
		return
	}
	q.at = now() + int64(alarmDelay[k])
	if a.ringAt == 0 || q.at < a.ringAt {
		a.ringAt = q.at
		a.timer.set(alarmDelay[k])
	}
}

// release ends c's use of the clock.
func (a *alarmClock) release(c *Channel) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.users--
	if a.users > 0 {
		return
	}
	a.timer.stop()
	a.timer, a.ringAt = nil, 0
	for k := range a.kinds {
		a.kinds[k].at, a.kinds[k].list = 0, nil
	}
}

func (a *alarmClock) ring() {
	var due [alarmKinds][]*Channel
	a.mu.Lock()
	a.ringAt = 0
	t := now()
	next := int64(0)
	for k := range a.kinds {
		q := &a.kinds[k]
		switch {
		case q.at == 0:
		case q.at <= t:
			due[k], q.list, q.at = q.list, nil, 0
		case next == 0 || q.at < next:
			next = q.at
		}
	}
	if next != 0 && a.timer != nil {
		a.ringAt = next
		a.timer.set(time.Duration(next - t))
	}
	a.mu.Unlock()
	for _, c := range due[flushAlarm] {
		c.flushDue()
	}
	for _, c := range due[standbyAlarm] {
		c.standbyDue()
	}
}

// goTimer is an alarmTimer of package time.
type goTimer struct{ t *time.Timer }

func newGoTimer(ring func()) alarmTimer {
	t := time.AfterFunc(time.Hour, ring)
	t.Stop()
	return &goTimer{t}
}

func (g *goTimer) set(d time.Duration) { g.t.Reset(d) }
func (g *goTimer) stop()               { g.t.Stop() }
