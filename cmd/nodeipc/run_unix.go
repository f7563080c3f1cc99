//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// The command run: workers are kept running, each in a slot, which has a goroutine of its own.

// Its exit codes, beside those of main.
const (
	exitCrashLoop = 3
	exitKilled    = 4
	exitSignal    = 128
)

// A runner is a run of the command.
type runner struct {
	*journal
	o        *runOptions
	p        *cluster.Primary
	out, err *output
	slots    []*slot
	unready  atomic.Int32  // slots that have never been ready
	ready    chan struct{} // all have been
	failed   chan error    // why all has to end, nil for a successor; the first is taken
	watching sync.WaitGroup

	given       []*given
	before      *predecessor // whose place this one takes, or nil
	controller  net.Listener // for the one that is to take its
	controlFile *pathFile
	leaving     sync.Once

	hand      sync.Mutex // guards what follows
	successor *successor // there is none, or it is not known yet what becomes of it, or it has succeeded
	leaves    bool       // nobody else is to succeed; what was given to the successor is the successor's
	succeeded bool

	orderly *orderlyModule // nil without it

	forking sync.Mutex   // held until a new process is in pids
	pids    map[int]bool // of workers
}

// A slot is the place of one worker of a group.
type slot struct {
	*runner
	group    *group
	begin    *beginning
	replace  chan chan error // a reload's; the answer is whether there is a new worker
	serves   atomic.Bool     // its worker is ready
	was      bool            // it has been
	begun    bool            // its group does not wait for it any more
	failures int             // in a row, of workers that did not become ready
	ends     int             // in a row, of any, without a minute between
}

// A beginning is a group's, all of whose slots wait for the groups before it: as soon as one worker shares an address
// it gets connections, those too that are for others by the routes, as long as none of these is there.
type beginning struct {
	turn  <-chan struct{} // closed when all slots of the groups before have been ready, or fail where others are
	left  atomic.Int32    // slots that are waited for
	ended chan struct{}   // closed when none is
}

// A worker is a process of a slot.
type worker struct {
	*cluster.Process
	ready time.Time
	pipes []*workerPipe
	left  chan struct{} // it has no channel any more
	ended chan struct{} // it has exited, and that was said
}

func runWorkers(s *streams, o *runOptions) error {
	r := &runner{
		o: o, ready: make(chan struct{}), failed: make(chan error, 1), pids: map[int]bool{},
		out: &output{new(sync.Mutex), s.out}, err: &output{new(sync.Mutex), s.err},
	}
	if sameFile(s.out, s.err) {
		r.err.mu = r.out.mu
	}
	r.journal = newJournal(r.err)
	defer r.journal.close()
	if o.orderly {
		r.orderly = &orderlyModule{}
		defer r.orderly.remove()
	}
	err := r.run()
	if err == nil {
		return nil
	}
	r.say("%v", err) // here, as whoever reads it may have stopped
	code := 1
	var coded *startError
	if errors.As(err, &coded) {
		code = coded.code
	}
	return &exitStatus{code: code}
}

func sameFile(a, b io.Writer) bool {
	var infos [2]os.FileInfo
	for i, w := range []io.Writer{a, b} {
		f, ok := w.(*os.File)
		if !ok {
			return false
		}
		info, err := f.Stat()
		if err != nil {
			return false
		}
		infos[i] = info
	}
	return os.SameFile(infos[0], infos[1])
}

func (r *runner) run() error {
	// What is not ignored but caught, to no effect, is as usual again in the workers.
	signal.Notify(make(chan os.Signal, 1),
		syscall.SIGPIPE, syscall.SIGWINCH, syscall.SIGUSR1, syscall.SIGALRM, syscall.SIGURG)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR2)
	if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	r.reapStrangers()
	r.p = &cluster.Primary{
		Scheduling: r.o.scheduling,
		KillDelay:  r.o.killTimeout,
		Channel:    &nodeipc.Options{Serialization: r.o.serialization},
		Logger: slog.New(slog.NewTextHandler(r.journal, &slog.HandlerOptions{
			ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				if len(groups) == 0 && a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})),
	}
	defer r.leave()
	if err := r.open(); err != nil {
		return err
	}
	turn := make(chan struct{})
	close(turn)
	for _, g := range r.o.groups {
		b := &beginning{turn: turn, ended: make(chan struct{})}
		b.left.Store(int32(g.instances))
		turn = b.ended
		for range g.instances {
			r.slots = append(r.slots, &slot{runner: r, group: g, begin: b, replace: make(chan chan error)})
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	var keeping sync.WaitGroup
	r.unready.Store(int32(len(r.slots)))
	for _, s := range r.slots {
		keeping.Go(func() { s.keep(ctx) })
	}
	reloads := make(chan struct{}, 1) // one that was asked for during another comes after it
	keeping.Go(func() { r.reload(ctx, reloads) })

	var why error
	signaled := false
	ready := r.ready
	var over <-chan struct{} // closed when this one is the only one
loop:
	for {
		select {
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP, syscall.SIGUSR2:
				select {
				case reloads <- struct{}{}:
				default:
				}
			default:
				r.say("%v: the workers are to finish what they have", unix.SignalName(sig.(syscall.Signal)))
				signaled = true
				break loop
			}
		case <-ready:
			r.say("all %d workers are ready", len(r.slots))
			ready = nil
			if over, why = r.isReady(); why != nil {
				break loop
			}
		case <-over:
			over = nil
			r.takePlace()
		case why = <-r.failed:
			if why == nil {
				r.say("successor: it is ready")
			}
			r.say("the workers are to finish what they have")
			break loop
		}
	}
	stop()
	r.leave()
	err := r.drain(signals, signaled)
	keeping.Wait()
	r.watching.Wait()
	if why != nil {
		return why
	}
	return err
}

// drain ends all workers in order. A signal hurries it, if one came before.
func (r *runner) drain(signals <-chan os.Signal, signaled bool) error {
	ctx, hurry := context.WithTimeout(context.Background(), r.o.drainTimeout)
	defer hurry()
	done := make(chan error, 1)
	go func() { done <- r.p.Shutdown(ctx) }()
	var by syscall.Signal
	for {
		select {
		case err := <-done:
			switch {
			case by != 0:
				return &startError{fmt.Errorf("%s was the second signal", unix.SignalName(by)), exitSignal + int(by)}
			case err != nil:
				return &startError{err, exitKilled}
			}
			return nil
		case sig := <-signals:
			switch {
			case sig != syscall.SIGTERM && sig != syscall.SIGINT:
			case !signaled: // what it asks for is being done
				signaled = true
				r.say("%s: the workers are finishing what they have", unix.SignalName(sig.(syscall.Signal)))
			case by == 0:
				by = sig.(syscall.Signal)
				r.say("%s: no more time for the workers", unix.SignalName(by))
				hurry()
			default:
				for _, w := range r.p.Workers() {
					w.Kill()
				}
			}
		}
	}
}

// fail ends all because of err.
func (r *runner) fail(err error) {
	select {
	case r.failed <- err:
	default:
	}
}

// reload replaces all workers, one slot after the other, each time it is asked to.
func (r *runner) reload(ctx context.Context, asked <-chan struct{}) {
	for {
		select {
		case <-asked:
		case <-ctx.Done():
			return
		}
		r.say("reload: %d workers are replaced, one after the other", len(r.slots))
		replaced := 0
		for _, s := range r.slots {
			err := s.renew(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				r.say("reload: %v; %d workers were replaced, the others stay", err, replaced)
				break
			}
			replaced++
		}
		if replaced == len(r.slots) {
			r.say("reload: all %d workers are replaced", replaced)
		}
	}
}

// renew has the slot replace its worker, and waits until it has.
func (s *slot) renew(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case s.replace <- answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The pauses before a worker is started again.
const (
	minPause  = 100 * time.Millisecond
	maxPause  = 30 * time.Second
	goodTime  = time.Minute // that a worker was ready, after which the pause is the shortest again
	longPause = 20          // doublings, more than it takes to maxPause
)

// pause returns how long to wait after so many ends in a row: twice as long each time, and up to a fifth less.
func pause(ends int) time.Duration {
	d := min(minPause<<min(ends-1, longPause), maxPause)
	return d - time.Duration(rand.Int64N(int64(d/5)))
}

// keep has a worker in the slot until ctx ends.
func (s *slot) keep(ctx context.Context) {
	select {
	case <-s.begin.turn:
	case <-ctx.Done():
		return
	}
	var asked chan error // by a reload
	for {
		w, err := s.start(ctx)
		if asked != nil {
			asked <- err
			asked = nil
		}
		if err == nil {
			s.failures = 0
			w = s.serve(ctx, w)
			if time.Since(w.ready) >= goodTime {
				s.ends = 0
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && s.failed(err) {
			return
		}
		s.ends++
		d := pause(s.ends)
		s.say("group %s: the next worker is started in %v", s.group.name, d.Round(time.Millisecond))
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case asked = <-s.replace:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// failed notes that a worker has not become ready. It reports whether all has to end.
func (s *slot) failed(err error) bool {
	s.failures++
	var no *forkError
	if errors.As(err, &no) && !s.was {
		s.fail(&startError{fmt.Errorf("group %s: %w", s.group.name, err), 1})
		return true
	}
	s.say("group %s: %v", s.group.name, err)
	all := s.unready.Load() == 0 // have been ready: what has begun goes on as long as anybody serves
	for _, other := range s.slots {
		if (all || other.group == s.group) && other.serves.Load() {
			s.hasBegun() // the next group is not held up for ever
			return false // there is one who works
		}
	}
	if s.failures < s.o.maxCrashes {
		return false
	}
	err = fmt.Errorf("group %s: no worker was ready, %d times in a row", s.group.name, s.failures)
	s.fail(&startError{err, exitCrashLoop})
	return true
}

// hasBegun says that the group does not have to wait for this slot.
func (s *slot) hasBegun() {
	if !s.begun {
		s.begun = true
		if s.begin.left.Add(-1) == 0 {
			close(s.begin.ended)
		}
	}
}

// A forkError is that no process could be started.
type forkError struct{ error }

func (e *forkError) Unwrap() error { return e.error }

// serve lives with the worker w, and with those that replace it, until the last has gone or ctx ends. It returns the
// last.
func (s *slot) serve(ctx context.Context, w *worker) *worker {
	s.serves.Store(true)
	defer s.serves.Store(false)
	if !s.was {
		s.was = true
		s.hasBegun()
		if s.unready.Add(-1) == 0 {
			close(s.runner.ready)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return w
		case <-w.left:
			s.seeOff(w)
			return w
		case asked := <-s.replace:
			next, err := s.start(ctx)
			if err != nil {
				asked <- err
				continue
			}
			old := w
			w = next // which may end before the old one
			go func() {
				s.retire(ctx, old)
				asked <- nil
			}()
		}
	}
}

// seeOff looks after a worker that has no channel any more, because it is about to end or by its own choice.
func (s *slot) seeOff(w *worker) {
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-w.ended:
	case <-t.C:
		s.say("%v has left the cluster", w)
		go s.end(w)
	}
}

// retire asks the worker to leave, and waits until it has, or ctx ends.
func (s *slot) retire(ctx context.Context, w *worker) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.end(w)
	}()
	select {
	case <-done:
	case <-ctx.Done(): // the end of all is the end of it too
	}
}

// end ends the worker in order.
func (s *slot) end(w *worker) {
	ctx, cancel := context.WithTimeout(context.Background(), s.o.drainTimeout)
	defer cancel()
	if err := w.Shutdown(ctx); err != nil {
		s.say("%v", err)
	}
	<-w.ended
}

// start starts a worker and waits until it is ready. One that is not in time is ended.
func (s *slot) start(ctx context.Context) (*worker, error) {
	w, err := s.fork(s.group)
	if err != nil {
		return nil, &forkError{err}
	}
	limited, cancel := context.WithTimeout(ctx, s.o.readyTimeout)
	defer cancel()
	err = w.Await(limited, s.o.ready)
	switch {
	case err == nil:
		w.ready = time.Now()
		text := ""
		for i, addr := range w.Status().Addrs {
			if text += " on "; i > 0 {
				text += ", "
			}
			text += addr.String()
		}
		s.say("%v is ready%s", w, text)
		return w, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		hint := ""
		if s.o.ready == cluster.Listening {
			hint = ": it does not listen (--ready online is for those that need not)"
		}
		s.say("%v was not ready within %v, and is ended%s", w, s.o.readyTimeout, hint)
		if err := w.Shutdown(limited); err != nil { // which is over
			s.say("%v", err)
		}
		<-w.ended
		return nil, fmt.Errorf("%v was not ready in time", w)
	}
	<-w.ended
	return nil, fmt.Errorf("%v was not ready: %s", w, howEnded(w.Cmd().ProcessState))
}

// fork starts a worker.
func (r *runner) fork(g *group) (_ *worker, failure error) {
	argv := r.argv(g)
	cmd := exec.Command(argv[0], argv[1:]...)
	var from, to [2]*os.File // of standard output and error
	defer func() {
		for i := range to {
			to[i].Close()
			if failure != nil {
				from[i].Close()
			}
		}
	}()
	for i := range to {
		var err error
		if from[i], to[i], err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	// Pipes of our own, so that nobody waits for what a worker has left behind with its output.
	cmd.Stdout, cmd.Stderr = to[0], to[1]
	r.forking.Lock()
	p, err := r.p.Fork(&cluster.ForkOptions{Command: cmd, Group: g.name})
	if err == nil {
		r.pids[p.Cmd().Process.Pid] = true
	}
	r.forking.Unlock()
	if err != nil {
		return nil, err
	}
	w := &worker{Process: p, left: make(chan struct{}), ended: make(chan struct{})}
	for i, o := range []*output{r.out, r.err} {
		pipe := &workerPipe{File: from[i], dry: make(chan struct{})}
		w.pipes = append(w.pipes, pipe)
		go func() {
			defer pipe.Close()
			o.copy(fmt.Sprintf("[%d] ", p.ID()), pipe)
			pipe.isDry()
		}()
	}
	r.watching.Go(func() { r.watch(w) })
	return w, nil
}

// A workerPipe is what a worker prints to. Something that the worker has started, and that has left its group, may have
// it for longer than the worker, and is read as well.
type workerPipe struct {
	*os.File
	once sync.Once
	dry  chan struct{} // all is read that the worker has written, which has ended
}

func (p *workerPipe) isDry() { p.once.Do(func() { close(p.dry) }) }

// Read reads until, after the end of the worker, which is made known by a deadline, nothing is left; and then on.
func (p *workerPipe) Read(b []byte) (n int, err error) {
	n, err = p.File.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	rc, err := p.SyscallConn()
	if err != nil {
		return 0, err
	}
	rerr := rc.Control(func(fd uintptr) {
		for {
			if n, err = unix.Read(int(fd), b); err != unix.EINTR {
				break
			}
		}
	})
	switch {
	case rerr != nil:
		return 0, rerr
	case err == unix.EAGAIN:
		p.isDry()
		p.SetReadDeadline(time.Time{})
		return p.File.Read(b)
	case err == nil && n == 0:
		err = io.EOF
	}
	return max(n, 0), err
}

// watch sees the end of a worker and says how it was, behind its last output.
func (r *runner) watch(w *worker) {
	w.Await(context.Background(), cluster.Disconnected)
	close(w.left)
	<-w.Done()
	r.forking.Lock()
	delete(r.pids, w.Cmd().Process.Pid)
	r.forking.Unlock()
	t := time.NewTimer(lastOutput)
	defer t.Stop()
	for _, p := range w.pipes {
		p.SetReadDeadline(time.Now())
	}
	for _, p := range w.pipes {
		select {
		case <-p.dry:
		case <-t.C: // nobody takes it
			t.Reset(0)
		}
	}
	r.say("%v %s", w, howEnded(w.Cmd().ProcessState))
	close(w.ended)
}

// How long what a worker has printed holds up what comes after its end.
const lastOutput = 2 * time.Second

func (w *worker) String() string {
	return fmt.Sprintf("worker %d (%s, pid %d)", w.ID(), w.Group(), w.Cmd().Process.Pid)
}

// howEnded says how a process ended.
func howEnded(s *os.ProcessState) string {
	if s == nil {
		return "has ended, and nobody knows how"
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return "was ended by " + unix.SignalName(ws.Signal())
	}
	return fmt.Sprintf("exited with code %d", s.ExitCode())
}
