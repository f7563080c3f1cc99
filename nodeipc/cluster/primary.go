package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// ErrPrimaryClosed: Shutdown or Close of the Primary was called before.
var ErrPrimaryClosed = errors.New("cluster: primary is closed")

// A Primary is the primary of a cluster: it starts workers, which are Node programs without any change, Go programs that
// call Join, or both, and gives them connections. It is configured like an http.Server; its fields must not be changed
// after the first Fork, nor the Primary be copied. Its methods may be called from any goroutine.
//
//	p := &cluster.Primary{Command: func() *exec.Cmd { return exec.Command("node", "server.js") }}
//	defer p.Close()
//	for range 4 {
//		if _, err := p.Fork(nil); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// What a worker asks for is opened here, by this process: addresses are seen from here, and ports below 1024 need its
// rights. Each worker leads a process group, of which nothing outlives it; a process that shall must leave the group
// (detached: true in Node). The terminal's Ctrl-C therefore reaches the primary only. If the primary dies the workers
// do: on Linux by SIGKILL, elsewhere by the end of their channels.
type Primary struct {
	// Command returns the command of the next worker, not started. Its Env, Dir, ExtraFiles and so on are the caller's to
	// choose; without Stdout and Stderr what the worker prints is lost. Only a Fork with a Command of its own needs none.
	Command func() *exec.Cmd
	// Scheduling is who gets a connection. Nil means what NODE_CLUSTER_SCHED_POLICY says, "none" or "rr", as in Node, and
	// RoundRobin if it says nothing.
	Scheduling Scheduling
	// Allow is asked before a worker gets an address; the error is the worker's answer, as an errno if it is a
	// syscall.Errno and EACCES otherwise. It must return soon, and must not wait for this worker. Nil allows all, as in Node.
	Allow func(w *Process, q Query) error
	// Files are what workers may name by their descriptor's number, as in server.listen({fd: 3}); any other number is EBADF.
	// They stay the caller's.
	Files map[int]*os.File
	// Listeners are sockets that are open already: a *net.TCPListener, *net.UnixListener, *net.UDPConn, or an *os.File of
	// one. A worker that asks for the address of one shares it, instead of a new socket: before the first worker does
	// connections wait in the kernel, and they do again when the last one has left. Such come from net.Listen,
	// SystemdListeners, or the Handover of another primary. They stay the caller's, who closes them before Shutdown, as
	// nobody is to wait there any more, and removes the files of unix sockets; the primary has duplicates. The addresses
	// must be the same, but for that a worker's listen without a host means any address that stands for all. That of a
	// unix socket is its Name, if it has such a method, as an *os.File does, and that is an absolute path; otherwise what
	// it was bound to.
	Listeners []syscall.Conn
	// MaxListeners is how many addresses a worker may share at a time; 0 means 1000. More are EMFILE.
	MaxListeners int
	// AnswerTimeout is how long a worker may neither accept nor refuse a connection before it is killed, so that others
	// get what it was sent. 0 means for ever, as in Node; ten seconds are logged in any case. A Node worker answers
	// between two turns of its event loop, one that a debugger has stopped does not.
	AnswerTimeout time.Duration
	// KillDelay is the time between SIGTERM and SIGKILL in Shutdown; 0 means 5 seconds.
	KillDelay time.Duration
	// Channel configures the channels to the workers. Overflow is DropOldest: a primary that receives nothing must not stop.
	Channel *nodeipc.Options
	// Changed is told of each new State of a worker, in order and one call at a time, from a goroutine of its own: of the
	// last ones it may be told after Shutdown has returned.
	Changed func(w *Process, s State)
	// Logger hears what has no caller to tell. Its handler must not call the Primary or a Process. Nil means silence.
	Logger *slog.Logger

	mu           sync.Mutex
	wake         chan struct{} // closed when something has changed that somebody waits for
	workers      map[int]*Process
	listeners    map[string]*listener
	lastID       int
	lastListener int
	seq          int64
	due          []*listener // that unlock looks through
	ports        int         // inspector ports handed out
	scheduled    Scheduling  // by Schedule, or nil
	closed       bool
	changes      []change // that Changed has not been told
	telling      bool
	receiving    bool       // Messages was called
	unread       []*Process // Dead ones that it has not read to the end
	spawn        spawner
}

// A change is one that Changed is told of.
type change struct {
	w *Process
	s State
}

// ForkOptions are what one worker has of its own.
type ForkOptions struct {
	Command *exec.Cmd // instead of Primary.Command's; not started
	Args    []string  // after those of the command
	Env     []string  // "NAME=value", in addition to the command's, as in cluster.fork(env)
	Group   string    // a name for workers of a kind
}

// Fork starts a worker. opts may be nil. It returns when the process was started: see Process.Await.
//
// If the command, or NODE_OPTIONS, has an inspector option of Node, each worker gets a port of its own, as in Node.
func (p *Primary) Fork(opts *ForkOptions) (*Process, error) {
	var o ForkOptions
	if opts != nil {
		o = *opts
	}
	cmd := o.Command
	if cmd == nil && p.Command != nil {
		cmd = p.Command()
	}
	if cmd == nil {
		return nil, errors.New("cluster: fork: Primary.Command and ForkOptions.Command are nil")
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrPrimaryClosed
	}
	p.lastID++
	w := &Process{p: p, id: p.lastID, group: o.Group, cmd: cmd, dead: make(chan struct{}), since: time.Now()}
	p.mu.Unlock()

	cmd.Args = append(cmd.Args[:len(cmd.Args):len(cmd.Args)], o.Args...)
	cmd.Env = w.environ(o.Env)
	p.inspector(cmd)
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = defaultKillDelay // a process that left the group could hold its output open
	}
	w.own = leadGroup(cmd)
	var options nodeipc.Options
	if p.Channel != nil {
		options = *p.Channel
	}
	w.next = options.Internal
	options.Internal, options.Overflow = w.internal, nodeipc.DropOldest
	options.Bun = true // if the worker says so
	options.HandlesInFlight = maxUnanswered
	prepared, err := nodeipc.Prepare(cmd, &options)
	if err != nil {
		return nil, fmt.Errorf("cluster: fork: %w", err)
	}
	if err := p.start(cmd); err != nil {
		prepared.Abort()
		return nil, fmt.Errorf("cluster: fork: %w", err)
	}
	p.mu.Lock() // w.internal waits until the channel is known
	w.ch, err = prepared.Started()
	if err == nil && !p.closed {
		if p.workers == nil {
			p.workers = make(map[int]*Process)
		}
		p.workers[w.id] = w
		p.notify()
	}
	closed := p.closed
	p.mu.Unlock()
	if err != nil || closed { // Close has not seen it
		w.Kill()
		if w.ch != nil {
			w.ch.Close()
		}
		cmd.Wait()
		if err == nil {
			err = ErrPrimaryClosed
		}
		return nil, fmt.Errorf("cluster: fork: %w", err)
	}
	go w.watchChannel()
	go w.watchExit()
	return w, nil
}

// environ returns the worker's environment.
func (w *Process) environ(add []string) []string {
	env := slices.DeleteFunc(w.cmd.Environ(), func(kv string) bool { return strings.HasPrefix(kv, envID+"=") })
	return append(append(env, add...), envID+"="+strconv.Itoa(w.id))
}

const envID = "NODE_UNIQUE_ID"

// Workers returns the workers that are not Dead, oldest first.
func (p *Primary) Workers() []*Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*Process, 0, len(p.workers))
	for _, id := range slices.Sorted(maps.Keys(p.workers)) {
		all = append(all, p.workers[id])
	}
	return all
}

// Broadcast sends v to every worker that is connected, and waits until it has been sent to all, or ctx ends. Those that
// cannot be sent to are in the error; one that is just leaving is not.
func (p *Primary) Broadcast(ctx context.Context, v any) error {
	workers := p.Workers()
	errs := make([]error, len(workers))
	var sending sync.WaitGroup
	for i, w := range workers {
		sending.Go(func() { // one that does not read would hold up the others
			if err := w.ch.Send(ctx, v); err != nil && !errors.Is(err, nodeipc.ErrDisconnected) {
				errs[i] = fmt.Errorf("cluster: broadcast to worker %d: %w", w.id, err)
			}
		})
	}
	sending.Wait()
	return errors.Join(errs...)
}

// Messages yields what all workers send, those forked later included, until ctx ends or the primary was closed and all
// is read. The handles are the caller's. Messages that nobody receives are dropped, the oldest first, beyond
// nodeipc.Options.Backlog of each worker; the Logger hears of that. A worker whose messages are received from its own
// Channel as well has some of them there.
//
// Messages may be called again and loses nothing in between; of workers that end while nobody receives it has the last
// 16, and all that Shutdown ends.
func (p *Primary) Messages(ctx context.Context) iter.Seq2[*Process, *nodeipc.Message] {
	return func(yield func(*Process, *nodeipc.Message) bool) {
		ctx, stop := context.WithCancel(ctx)
		type received struct {
			w *Process
			m *nodeipc.Message
		}
		all := make(chan received)
		var reading sync.WaitGroup
		follow := func(w *Process) {
			for {
				var m *nodeipc.Message
				var err error
				p.mu.Lock()
				if len(w.held) > 0 { // of an earlier loop
					m, w.held = w.held[0], w.held[1:]
				}
				p.mu.Unlock()
				if m == nil {
					m, err = w.ch.Receive(ctx)
				}
				var dropped *nodeipc.DroppedError
				if errors.As(err, &dropped) {
					p.log().Warn("cluster: messages of a worker were dropped", "worker", w.id, "messages", dropped.Messages, "bytes", dropped.Bytes)
					continue
				}
				if err != nil {
					if ctx.Err() == nil {
						p.mu.Lock()
						w.read = true
						p.unread = slices.DeleteFunc(p.unread, func(o *Process) bool { return o == w })
						p.mu.Unlock()
					}
					return
				}
				select {
				case all <- received{w, m}:
				case <-ctx.Done():
					p.mu.Lock()
					w.held = append(w.held, m)
					p.mu.Unlock()
					return
				}
			}
		}
		ended := make(chan struct{})
		go func() { // starts a reader for each worker
			defer close(ended)
			followed := map[*Process]bool{}
			p.until(ctx, func() (bool, error) {
				p.receiving = true
				for _, w := range slices.AppendSeq(slices.Clone(p.unread), maps.Values(p.workers)) {
					if !followed[w] && !w.read {
						followed[w] = true
						reading.Go(func() {
							follow(w)
							p.mu.Lock()
							delete(followed, w)
							p.mu.Unlock()
						})
					}
				}
				return p.closed && len(p.workers) == 0, nil
			})
			reading.Wait()
		}()
		defer func() {
			stop()
			<-ended
		}()
		for {
			select {
			case r := <-all:
				if !yield(r.w, r.m) {
					return
				}
			case <-ended:
				return
			}
		}
	}
}

// Shutdown ends the cluster in order: nobody is accepted any more, what has come is given to the workers, and each of
// them leaves by Process.Shutdown, all at the same time: asked to disconnect until ctx ends, then by SIGTERM, and
// after KillDelay by SIGKILL. It returns when all are gone, with an error that names those that did not leave by themselves.
// Fork fails from the beginning of it. For a worker that is stuck what has come waits half of the time that ctx leaves,
// if that has a deadline: the others need the rest to leave.
func (p *Primary) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.notify()
	listeners := slices.Collect(maps.Values(p.listeners))
	for _, l := range listeners {
		l.stopAccepting()
	}
	p.unlock()
	give, cancel := ctx, func() {}
	if end, ok := ctx.Deadline(); ok {
		give, cancel = context.WithTimeout(ctx, time.Until(end)/2)
	}
	p.until(give, func() (bool, error) {
		return !slices.ContainsFunc(listeners, func(l *listener) bool { return !l.idle() && len(l.members) > 0 }), nil
	})
	cancel()
	workers := p.Workers()
	errs := make([]error, len(workers))
	var leaving sync.WaitGroup
	for i, w := range workers {
		leaving.Go(func() { errs[i] = w.Shutdown(ctx) })
	}
	leaving.Wait()
	p.mu.Lock()
	for _, l := range listeners { // what waited for a worker that did not come
		l.close()
	}
	p.unlock()
	p.release()
	return errors.Join(errs...)
}

// Close kills the workers, waits for them and closes the listeners.
func (p *Primary) Close() error {
	p.mu.Lock()
	p.closed = true
	p.notify()
	p.mu.Unlock()
	for _, w := range p.Workers() {
		w.Kill()
		<-w.dead
	}
	p.release()
	return nil
}

// release lets go of what is left without workers.
func (p *Primary) release() {
	p.mu.Lock()
	for _, l := range p.listeners {
		l.close()
	}
	p.unlock()
	p.spawn.end()
}

// until waits until ready says true or fails. It is asked with mu held, now and after each change.
func (p *Primary) until(ctx context.Context, ready func() (bool, error)) error {
	for {
		p.mu.Lock()
		ok, err := ready()
		if ok || err != nil {
			p.mu.Unlock()
			return err
		}
		if p.wake == nil {
			p.wake = make(chan struct{})
		}
		wake := p.wake
		p.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// notify makes those that wait look again. mu is held.
func (p *Primary) notify() {
	if p.wake != nil {
		close(p.wake)
		p.wake = nil
	}
}

// setState notes a new state. mu is held; unlock follows.
func (p *Primary) setState(w *Process, s State) {
	if s <= w.state {
		return
	}
	w.state, w.since = s, time.Now()
	p.notify()
	if p.Changed == nil {
		return
	}
	p.changes = append(p.changes, change{w, s})
	if !p.telling {
		p.telling = true
		go p.tell()
	}
}

// tell calls Changed as long as there is something to tell.
func (p *Primary) tell() {
	for {
		p.mu.Lock()
		if len(p.changes) == 0 {
			p.telling, p.changes = false, nil
			p.mu.Unlock()
			return
		}
		c := p.changes[0]
		p.changes = p.changes[1:]
		p.mu.Unlock()
		p.Changed(c.w, c.s)
	}
}

// gone takes what a worker without a channel had. mu is held; unlock follows.
func (p *Primary) gone(w *Process) {
	if w.state >= Disconnected {
		return
	}
	p.setState(w, Disconnected)
	shares := w.shares
	w.shares = nil
	back := w.unanswered
	w.unanswered = nil
	for i := len(back) - 1; i >= 0; i-- { // the oldest comes to stand in front
		back[i].takeBack()
	}
	for _, m := range shares {
		m.l.remove(m, !w.meant)
	}
}

// ended forgets a worker that has exited. mu is held; unlock follows.
func (p *Primary) ended(w *Process) {
	p.gone(w)
	p.setState(w, Dead)
	delete(p.workers, w.id)
	if !p.receiving || w.read {
		return
	}
	if p.unread = append(p.unread, w); len(p.unread) > maxUnread && !p.closed {
		p.unread = slices.Delete(p.unread, 0, 1)
	}
}

const maxUnread = 16

func (p *Primary) nextSeq() int64 {
	p.seq++
	return p.seq - 1
}

func (p *Primary) log() *slog.Logger {
	if p.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return p.Logger
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }
