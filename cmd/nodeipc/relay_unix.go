//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/lib"
	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// The processes of a tap. Outermost there is one that makes output; supervise runs the program below it. Where the
// program, or one below it, opens a channel, the preload puts a tap in the child's place, which relays and reports.

// The environment of a channel, and of a tap.
const (
	envFD            = "NODE_CHANNEL_FD"
	envSerialization = "NODE_CHANNEL_SERIALIZATION_MODE"
	envWorkerID      = "NODE_UNIQUE_ID"
	envTap           = "NODEIPC_TAP"
)

func tapProgram(s *streams, o *tapOptions, argv []string) error {
	// The kernel ends the child with the thread that started it, where it does that at all: this one, which stays.
	runtime.LockOSThread()
	if os.Getenv(envFD) != "" {
		return relay(s, o, argv)
	}
	return supervise(s, o, argv)
}

// ------------------------------------------------------------------------------------------- supervise

// supervise runs the program with the channels of its processes tapped.
func supervise(s *streams, o *tapOptions, argv []string) error {
	out, err := newOutputs(o, s.err)
	if err != nil {
		return err
	}
	defer out.close()
	signals := forwardSignals() // from here on there is something to be left behind
	defer signals.stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := privateFolder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config := lib.Config{
		Command: []string{self, "tap"},
		Preload: filepath.Join(dir, "tap.cjs"),
		Report:  filepath.Join(dir, "report"),
	}
	if err := os.WriteFile(config.Preload, lib.Preload, 0o600); err != nil {
		return err
	}
	collector, err := newCollector(config.Report, out)
	if err != nil {
		return err
	}
	defer collector.close(true)

	cmd, err := newCommand(argv, o.argv0)
	if err != nil {
		return err
	}
	if cmd.Env, err = lib.Environ(os.Environ(), config); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return notStarted(argv[0], err)
	}
	signals.to(cmd.Process)
	cmd.Wait()
	// What was tapped below may go on, as a daemon does: so does the output, until a signal ends it.
	signals.to(nil)
	status := statusOf(cmd.ProcessState)
	go func() {
		<-signals.unwanted
		time.Sleep(abandoning) // the deferred calls are quicker, unless nobody takes the output
		os.RemoveAll(dir)
		if status != nil {
			status.leave()
		}
		os.Exit(0)
	}()
	drained := make(chan struct{})
	go func() {
		collector.close(false)
		close(drained)
	}()
	select {
	case <-drained:
	case <-signals.unwanted:
	}
	collector.close(true)
	<-drained
	if out.next() == 1 && !(o.show.json && o.output == "") {
		fmt.Fprintln(s.err, "nodeipc tap: no Node program has opened a channel")
	}
	if status != nil {
		return status
	}
	return nil
}

// abandoning is how long a signal that ends the tap after its program lets it write what it still has.
const abandoning = time.Second

// privateFolder makes a folder for the preload and the socket, whose path must be short.
func privateFolder() (string, error) {
	dir, err := os.MkdirTemp("", "nodeipc-tap-")
	const most = 90 // of sun_path: 104 on some systems
	if err == nil && len(dir) > most {
		os.Remove(dir)
		dir, err = os.MkdirTemp("/tmp", "nodeipc-tap-")
	}
	return dir, err
}

// ------------------------------------------------------------------------------------------- relay

// relay runs the program as the child that this process was to be, with a channel of its own, and passes everything on
// between the two.
func relay(s *streams, o *tapOptions, argv []string) error {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return name == envFD || name == envSerialization
	})
	files, fd := inherited(), os.Getenv(envFD)
	head := event{
		kind: started, time: time.Now(), worker: os.Getenv(envWorkerID),
		parent: process{pid: os.Getppid(), name: nameOfPID(os.Getppid())},
	}
	opts := &nodeipc.Options{Relay: true, MaxMessage: 1 << 29}
	if os.Getenv(envSerialization) == nodeipc.Advanced.String() {
		opts.Serialization = nodeipc.Advanced
	}
	head.serialization = opts.Serialization
	up, err := nodeipc.Connect(opts)
	if err != nil {
		return err
	}
	defer up.Close()

	events, err := newEvents(s, o)
	if err != nil {
		return err
	}
	if events.orphaned != "" { // a Node does not start without its preload, which goes when the outermost tap ends
		env = lib.Restored(env, events.orphaned)
	}
	cmd, err := newCommand(argv, o.argv0)
	if err != nil {
		return err
	}
	cmd.Env = env
	cmd.SysProcAttr = dieTogether()
	prepared, err := nodeipc.Prepare(cmd, opts)
	if err != nil {
		return err
	}
	if err := place(cmd, fd, files); err != nil {
		prepared.Abort()
		return err
	}
	head.argv = cmd.Args
	signals := forwardSignals()
	if err := cmd.Start(); err != nil {
		prepared.Abort()
		return notStarted(argv[0], err)
	}
	signals.to(cmd.Process)
	down, err := prepared.Started()
	if err != nil {
		cmd.Process.Kill()
		return err
	}
	defer down.Close()
	events.letGo(files)
	head.child = process{pid: cmd.Process.Pid, name: processName(head.argv, head.worker)}
	events.head = head
	events.q.event(head)

	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	r := &relaying{events: events, up: up, down: down, exited: exited, pid: cmd.Process.Pid}
	r.run()
	<-exited
	status := statusOf(cmd.ProcessState)
	if status == nil {
		status = &exitStatus{}
	}
	events.end(status)
	// Not by way of the deferred calls: the channel ends with the process, as that of a child does.
	status.leave()
	panic("unreachable")
}

// relaying is what goes on between two channels.
type relaying struct {
	events   *events
	up, down *nodeipc.Channel
	exited   <-chan struct{}
	pid      int
}

// lingering is how long the channel of a child that has exited may stay open, held by a process that inherited it.
const lingering = 2 * time.Second

// run passes everything on until neither end has more to say. The channel to the parent is left open if the child has
// exited, so that the parent sees the end of both at once, as without the tap.
func (r *relaying) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	up, down := make(chan struct{}), make(chan struct{})
	go func() {
		if r.pass(ctx, r.up, r.down, parentSide) {
			close(up)
		}
	}()
	go func() {
		if r.pass(ctx, r.down, r.up, childSide) {
			close(down)
		}
	}()
	exited := r.exited
	var late <-chan time.Time
	for {
		select {
		case <-up: // the parent disconnected, or is gone
			r.events.end1(parentSide)
			go r.down.Disconnect(ctx) // which may wait for a child that reads nothing, as long as it lives
			<-r.exited
			return
		case <-down:
			r.up.Flush(ctx)
			if !exiting(r.pid, r.exited) {
				r.events.end1(childSide)
				r.up.Disconnect(ctx)
			}
			return
		case <-exited:
			exited = nil
			late = time.After(lingering)
		case <-late:
			r.up.Disconnect(ctx)
			return
		}
	}
}

// pass passes on what one end sends, in order, until it has ended, or, which it reports as false, the other end takes no
// more.
func (r *relaying) pass(ctx context.Context, from, to *nodeipc.Channel, side side) bool {
	for {
		m, err := from.Receive(ctx)
		if err != nil {
			if err != io.EOF && ctx.Err() == nil && !errors.Is(err, nodeipc.ErrDisconnected) {
				r.events.failed(side, err)
			}
			return true
		}
		r.events.message(side, m)
		if m.Handle == nil {
			err = to.Send(ctx, m)
		} else {
			err = to.SendHandle(ctx, m, m.Handle)
			m.Handle.Close()
		}
		switch {
		case err == nil:
		case to.Err() != nil:
			return false
		case ctx.Err() == nil:
			r.events.failed(side, err)
		}
	}
}

// ------------------------------------------------------------------------------------------- events

// events are those of one relayed channel.
type events struct {
	head event
	q    *queue
	sink func() error // ends what is behind the queue
	err  io.Writer    // for what has no place in the output
	// The preload of an outermost tap that has ended, or "".
	orphaned string
}

// newEvents finds where the events go: to the tap that is outermost, which said so in the environment, or here.
func newEvents(s *streams, o *tapOptions) (*events, error) {
	var config lib.Config
	if value := os.Getenv(envTap); value != "" && json.Unmarshal([]byte(value), &config) == nil && config.Report != "" {
		r, err := dialReport(config.Report)
		if err != nil { // it has ended
			none := func() error { return nil }
			return &events{q: newQueue(func([]event) {}), sink: none, err: io.Discard, orphaned: config.Preload}, nil
		}
		return &events{q: newQueue(r.events), sink: r.conn.Close, err: io.Discard}, nil
	}
	w := s.err
	if o.output == "" {
		f, err := dup(os.Stderr) // which is let go of as such
		if err != nil {
			return nil, err
		}
		w = f
	}
	out, err := newOutputs(o, w)
	if err != nil {
		return nil, err
	}
	n := out.next()
	return &events{err: w, sink: out.close, q: newQueue(func(events []event) {
		for _, e := range events {
			e.tap = n
			out.event(e)
		}
		out.flush()
	})}, nil
}

func (ev *events) put(e event) {
	e.time = time.Now()
	e.parent, e.child, e.serialization = ev.head.parent, ev.head.child, ev.head.serialization
	ev.q.event(e)
}

func (ev *events) message(from side, m *nodeipc.Message) {
	ev.put(event{kind: message, from: from, data: m.Data, handle: m.Handle.Type(), internal: m.Internal()})
}

// end1 is the end of the channel by one of its ends.
func (ev *events) end1(from side) { ev.put(event{kind: disconnected, from: from}) }

func (ev *events) failed(from side, err error) {
	fmt.Fprintf(ev.err, "nodeipc: tap: from the %v: %v\n", from, err)
}

// end is the end of the child.
func (ev *events) end(status *exitStatus) {
	e := event{kind: exited, code: status.code}
	if status.signal != 0 {
		e.signal = unix.SignalName(status.signal)
	}
	ev.put(e)
	ev.q.close()
	ev.sink()
}

// letGo closes what the child has inherited: its ends are the child's alone, so that others see it close them.
func (ev *events) letGo(files map[int]*os.File) {
	for _, f := range files {
		f.Close()
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer null.Close()
	for fd := range 3 {
		dup2(int(null.Fd()), fd)
	}
}

// ------------------------------------------------------------------------------------------- the program

// newCommand makes the command, with everything that this process has inherited.
func newCommand(argv []string, argv0 string) (*exec.Cmd, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, notStarted(argv[0], err)
	}
	cmd := &exec.Cmd{Path: path, Args: slices.Clone(argv), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if argv0 != "" {
		cmd.Args[0] = argv0
	}
	if isScript(path) {
		cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", path}, cmd.Args[1:]...)
	}
	return cmd, nil
}

// isScript tells of a script that does not name its interpreter: execvp, and so Node, gives it to a shell.
func isScript(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var begin [128]byte
	n, _ := f.Read(begin[:])
	return n > 0 && !bytes.HasPrefix(begin[:n], []byte("#!")) && !bytes.Contains(begin[:n], []byte{0})
}

// inherited returns the descriptors beyond the standard ones that this process was started with, but for its channel.
func inherited() map[int]*os.File {
	files := make(map[int]*os.File)
	channel, err := strconv.Atoi(os.Getenv(envFD))
	if err != nil {
		channel = -1
	}
	names, err := os.ReadDir(fdFolder)
	if err != nil {
		return nil
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name.Name())
		if err != nil || fd < 3 || fd == channel {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.CloseOnExec(fd)
			files[fd] = os.NewFile(uintptr(fd), "inherited")
		}
	}
	return files
}

// place gives a prepared command the channel at the descriptor number that the parent chose, and all else at its own:
// Node hides low numbers from its own children.
func place(cmd *exec.Cmd, number string, files map[int]*os.File) error {
	fd, err := strconv.Atoi(number)
	if err != nil || fd < 3 {
		return fmt.Errorf("%s=%s leaves no room for standard input, output and error", envFD, number)
	}
	channel := cmd.ExtraFiles[0]
	last := fd
	for n := range files {
		last = max(last, n)
	}
	cmd.ExtraFiles = make([]*os.File, last-2)
	for n, f := range files {
		cmd.ExtraFiles[n-3] = f
	}
	cmd.ExtraFiles[fd-3] = channel
	for i, kv := range cmd.Env {
		if strings.HasPrefix(kv, envFD+"=") {
			cmd.Env[i] = envFD + "=" + number
		}
	}
	return nil
}

// ------------------------------------------------------------------------------------------- signals and the end

// notForwarded are signals that are not meant for the program, are the runtime's own, or come to it by themselves: those
// of the terminal's job control go to all processes in front of it.
var notForwarded = []os.Signal{
	unix.SIGCHLD, unix.SIGURG, unix.SIGPROF, unix.SIGPIPE, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGKILL, unix.SIGSTOP,
}

type signals struct {
	c        chan os.Signal
	target   chan *os.Process
	unwanted chan struct{} // closed by one that comes when there is nobody to get it
	done     chan struct{}
}

// forwardSignals holds signals back until there is a process to get them.
func forwardSignals() *signals {
	s := &signals{
		c: make(chan os.Signal, 64), target: make(chan *os.Process), unwanted: make(chan struct{}), done: make(chan struct{}),
	}
	for n := syscall.Signal(1); n < 32; n++ {
		if !slices.Contains(notForwarded, os.Signal(n)) && !signal.Ignored(n) {
			signal.Notify(s.c, n)
		}
	}
	// Caught so that a write to a pipe without a reader fails: Go ends a process for one to standard error otherwise.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	go s.run()
	return s
}

func (s *signals) run() {
	var p *os.Process
	var c chan os.Signal // none are taken before there is a process
	for {
		select {
		case p = <-s.target:
			c = s.c
		case sig := <-c:
			switch {
			case p != nil && !(fromTerminal(sig)):
				p.Signal(sig)
			case p == nil && (sig == unix.SIGINT || sig == unix.SIGTERM || sig == unix.SIGHUP || sig == unix.SIGQUIT):
				select {
				case <-s.unwanted:
				default:
					close(s.unwanted)
				}
			}
		case <-s.done:
			return
		}
	}
}

func (s *signals) to(p *os.Process) { s.target <- p }

func (s *signals) stop() {
	signal.Stop(s.c)
	close(s.done)
}

// fromTerminal tells of a signal that a key has sent to all processes in front of the terminal, the program among them.
// One that another process sends to this one alone looks the same, and is lost there.
func fromTerminal(sig os.Signal) bool {
	if sig != unix.SIGINT && sig != unix.SIGQUIT {
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// An exitStatus is how the program ended, as an error that makes this one end so as well.
type exitStatus struct {
	code   int
	signal syscall.Signal
}

func (e *exitStatus) Error() string { return "the program has ended" }

// statusOf returns nil for an end with code 0.
func statusOf(state *os.ProcessState) *exitStatus {
	ws, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case ok && ws.Signaled():
		return &exitStatus{signal: ws.Signal()}
	case state.ExitCode() != 0:
		return &exitStatus{code: state.ExitCode()}
	}
	return nil
}

// leave ends this process in the same way.
func (e *exitStatus) leave() {
	if e.signal != 0 {
		dieOf(e.signal)
	}
	os.Exit(e.code)
}

// notStarted is the error of a program that could not be, with the codes that a shell has for it.
func notStarted(name string, err error) error {
	var path *fs.PathError
	var look *exec.Error
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &look):
		err = look.Err
	}
	code := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = 127
	}
	return &startError{fmt.Errorf("cannot start %s: %w", quote(name), err), code}
}

type startError struct {
	error
	code int
}

// dup returns a copy of f that no child inherits.
func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
