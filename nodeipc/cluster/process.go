package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A State is what has become of a worker; each comes after those before it. Some may be left out.
type State int

const (
	Starting     State = iota // started, and silent so far
	Online                    // speaks the protocol
	Listening                 // shares an address
	Disconnected              // its channel has ended, from either side
	Dead                      // it has exited
)

// String returns Node's word for it, as in cluster's events.
func (s State) String() string {
	names := [...]string{"starting", "online", "listening", "disconnected", "dead"}
	if s < 0 || int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// A Process is a worker as its primary sees it. Its methods may be called from any goroutine.
type Process struct {
	p     *Primary
	id    int
	group string
	cmd   *exec.Cmd
	ch    *nodeipc.Channel
	next  func(*nodeipc.Message) // the Internal of Primary.Channel
	dead  chan struct{}

	reap   sync.Mutex // held while the process is signalled, or given up
	reaped bool
	own    bool // it leads a process group of its own

	leaving sync.Once // Disconnect
	deaf    sync.Once // it is killed for not reading

	// What follows is guarded by p.mu.
	state      State
	since      time.Time
	goes       bool      // Disconnect was called
	asked      bool      // to disconnect, or is about to be: it gets no more connections
	meant      bool      // exitedAfterDisconnect
	forgotten  bool      // the disconnect was sent: its queries are no longer answered
	shares     []*member // of listeners
	unanswered []*incoming
	answered   time.Time // the last connection
	handed     int64     // connections that it has taken
	restUntil  time.Time // it refused a connection
	watching   bool      // a timer looks after the unanswered
	warned     bool
	why        error              // the end of the channel, if it was no orderly one
	held       []*nodeipc.Message // for the next Messages
	read       bool               // Messages has read all
}

// A Status is what there is to say of a worker at one moment.
type Status struct {
	ID, Pid               int
	Group                 string
	State                 State
	Since                 time.Time // when it came into this state
	Connections           int64     // that it has taken so far; under None the primary sees none of them
	Unanswered            int       // connections that were sent to it, neither accepted nor refused so far
	Addrs                 []net.Addr
	ExitedAfterDisconnect bool // it leaves, or has left, because it was asked to, or has said so itself
}

// ID returns the worker's number, worker.id in Node: 1 for the first, and never used again.
func (w *Process) ID() int { return w.id }

// Group returns ForkOptions.Group.
func (w *Process) Group() string { return w.group }

// Cmd returns the command, which was started and must not be waited for: that is Done, after which Cmd().ProcessState
// has the exit code.
func (w *Process) Cmd() *exec.Cmd { return w.cmd }

// Channel returns the channel to the worker, for messages both ways. See Primary.Messages for those of all workers.
func (w *Process) Channel() *nodeipc.Channel { return w.ch }

// Done is closed when the worker is Dead.
func (w *Process) Done() <-chan struct{} { return w.dead }

// Status returns what there is to say of the worker now.
func (w *Process) Status() Status {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	s := Status{
		ID: w.id, Pid: w.cmd.Process.Pid, Group: w.group, State: w.state, Since: w.since, Connections: w.handed,
		Unanswered: len(w.unanswered), ExitedAfterDisconnect: w.meant,
	}
	for _, m := range w.shares {
		s.Addrs = append(s.Addrs, m.l.sock.addr)
	}
	return s
}

// Await waits until the worker has come to the state s, or past it while it lives. It fails if ctx ends, or with the
// reason if the worker ends first.
func (w *Process) Await(ctx context.Context, s State) error {
	return w.p.until(ctx, func() (bool, error) {
		if w.state >= s && (s >= Disconnected || w.state < Disconnected) {
			return true, nil
		}
		if w.state == Dead {
			return false, fmt.Errorf("cluster: worker %d is not %v: it has ended: %w", w.id, s, w.ended())
		}
		return false, nil
	})
}

// ended says how a dead worker ended.
func (w *Process) ended() error {
	text := w.cmd.ProcessState.String()
	if w.why != nil {
		return fmt.Errorf("%s, after: %w", text, w.why)
	}
	return errors.New(text)
}

// Disconnect asks the worker to leave, as worker.disconnect() of Node does, and waits until it has exited. The worker
// closes its servers, and ends when its connections have ended; other workers take what comes. If it shares an address
// with nobody the listener closes, after what had come was given to the worker.
//
// Beyond what Node does, the worker is asked only when it has accepted every connection that was sent to it, and a
// tenth of a second after that, because Node 26 closes connections that it has not yet read from. If ctx ends the worker
// goes on leaving. Disconnect can be called again.
func (w *Process) Disconnect(ctx context.Context) error {
	w.leaving.Do(func() { go w.leave() })
	return w.Await(ctx, Dead)
}

// How long before its disconnect a worker has had its last connection.
const disconnectGrace = 100 * time.Millisecond

// leave asks the worker to disconnect when it is time. Nobody's context ends it, or the worker would be left with no
// connections and no word.
func (w *Process) leave() {
	p := w.p
	p.mu.Lock()
	w.goes = true // who leaves at the same time does not count on it
	var last []*listener
	for _, m := range w.shares {
		if !m.l.shared && !m.l.othersThan(w) {
			last = append(last, m.l)
		}
	}
	for _, l := range last {
		l.stopAccepting()
	}
	p.unlock()
	p.until(context.Background(), func() (bool, error) {
		if w.state < Disconnected && slices.ContainsFunc(last, func(l *listener) bool { return !l.idle() }) {
			return false, nil
		}
		w.asked, w.meant = true, true
		return true, nil
	})
	p.mu.Lock()
	for _, m := range w.shares {
		m.l.isDue() // what waits for this worker is for others now
	}
	p.unlock()
	p.until(context.Background(), func() (bool, error) {
		return len(w.unanswered) == 0 || w.state >= Disconnected, nil
	})
	p.mu.Lock()
	grace := disconnectGrace - time.Since(w.answered)
	p.mu.Unlock()
	if grace > 0 {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-t.C:
		case <-w.dead:
			return
		}
	}
	p.mu.Lock()
	w.forgotten = true
	shares := w.shares
	w.shares = nil
	for _, m := range shares {
		m.l.remove(m, false)
	}
	seq := p.nextSeq()
	p.unlock()
	err := w.ch.Send(context.Background(), nodeipc.Internal{Value: &note{Cmd: cmdCluster, Act: "disconnect", Seq: seq}})
	if err != nil && !errors.Is(err, net.ErrClosed) {
		p.log().Warn("cluster: worker cannot be asked to disconnect", "worker", w.id, "error", err)
	}
}

// Shutdown ends the worker by a ladder: Disconnect until ctx ends, then SIGTERM, and after Primary.KillDelay SIGKILL for
// its whole process group. It returns when the worker is Dead: nil if it left on being asked, otherwise an error that says
// what it took.
func (w *Process) Shutdown(ctx context.Context) error {
	err := w.Disconnect(ctx)
	if err == nil {
		return nil
	}
	how := "SIGTERM"
	w.Signal(syscall.SIGTERM)
	t := time.NewTimer(cmp.Or(w.p.KillDelay, defaultKillDelay))
	defer t.Stop()
	select {
	case <-w.dead:
	case <-t.C:
		how = "SIGKILL"
		w.Kill()
		<-w.dead
	}
	return fmt.Errorf("cluster: worker %d did not leave in time and got %s: %w", w.id, how, err)
}

const defaultKillDelay = 5 * time.Second

// Signal sends the process a signal; os.ErrProcessDone if it has exited.
func (w *Process) Signal(sig os.Signal) error { return w.cmd.Process.Signal(sig) }

// Kill ends the worker, and all that it has started in its process group, with SIGKILL. It does not wait: see Done.
func (w *Process) Kill() error {
	w.reap.Lock()
	defer w.reap.Unlock()
	if w.reaped {
		return os.ErrProcessDone
	}
	if w.own {
		killGroup(w.cmd.Process.Pid)
	}
	return w.cmd.Process.Kill()
}

// watchChannel and watchExit see a worker's end.
func (w *Process) watchChannel() {
	<-w.ch.Done()
	err := w.ch.Err()
	p := w.p
	p.mu.Lock()
	if !errors.Is(err, net.ErrClosed) && !isEOF(err) {
		w.why = err
	}
	p.gone(w)
	p.unlock()
	if w.why != nil {
		// It has broken the protocol, so that nobody can speak with it any more; a worker that just disconnects may well live on.
		p.log().Warn("cluster: worker is killed, its channel failed", "worker", w.id, "error", w.why)
		w.Kill()
	}
}

func (w *Process) watchExit() {
	awaitExit(w.cmd.Process.Pid) // it has ended, but its number is still its own
	w.reap.Lock()
	if w.own && awaitsExit { // otherwise it is alive
		killGroup(w.cmd.Process.Pid)
	}
	w.reaped = awaitsExit
	w.reap.Unlock()
	w.cmd.Wait()
	w.reap.Lock()
	if !w.reaped && w.own {
		killGroup(w.cmd.Process.Pid)
	}
	w.reaped = true
	w.reap.Unlock()

	// What it wrote is still read; but something that it started could hold its end of the channel open.
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-w.ch.Done():
	case <-t.C:
		ctx, cancel := context.WithTimeout(context.Background(), lastWords)
		if w.ch.Disconnect(ctx) != nil { // after which what has come can still be received
			w.ch.Close()
		}
		cancel()
	}
	p := w.p
	p.mu.Lock()
	p.ended(w)
	close(w.dead) // at the same moment
	p.unlock()
}

const lastWords = time.Second
