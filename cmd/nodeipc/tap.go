package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// The command tap: its flags, and where the events go.

var tap = command{
	name:  "tap",
	args:  "[flags] [--] program [arguments]",
	short: "shows what goes over the IPC channels that program opens to its children, or over its own",
}

func init() {
	tap.run = runTap
	tap.flags = func(s *streams) *flag.FlagSet { return new(tapOptions).flags(s) }
}

const tapHelp = `
A program that was not started with a channel, such as a server, is run with the channels of all its Node processes
tapped (by a module that NODE_OPTIONS names). One that was, because tap takes the place of a child, has its own tapped.
Messages, handles, signals and the end pass as if tap were not there.
`

// tapOptions are the flags of tap.
type tapOptions struct {
	show   showOptions // but for the colour
	color  string
	output string
	record string
	argv0  string
}

func (o *tapOptions) flags(s *streams) *flag.FlagSet {
	f := tap.newFlags(s, tapHelp)
	f.BoolVar(&o.show.json, "json", false, "write a line of JSON for each event")
	f.BoolVar(&o.show.full, "full", false, "do not shorten values")
	f.Func("filter", "show only what is in this `list`: message, internal, cluster, handle, start, disconnect, exit, from:parent,\n"+
		"from:child, channel:N, acts such as queryServer; ! in front of one hides it", func(list string) (err error) {
		o.show.filter, err = parseFilter(list)
		return err
	})
	f.Func("redact", "hide the values of members with these `names`, separated by commas, in all that is written", func(list string) (err error) {
		o.show.redact, err = parseRedact(list)
		return err
	})
	f.StringVar(&o.color, "color", "auto", "write in colour: auto, always or never")
	f.StringVar(&o.output, "output", "", "write to this `file` instead of standard error")
	f.StringVar(&o.record, "record", "", "also write all events to this `file`, for nodeipc replay; only its owner may read it")
	f.StringVar(&o.argv0, "argv0", "", "argument 0 of the program, if it is not its `name`")
	return f
}

func runTap(s *streams, args []string) error {
	var o tapOptions
	f := o.flags(s)
	if err := tap.parse(f, args, len(args)); err != nil {
		return err
	}
	_, err := useColor(o.color, s.err)
	if err == nil && f.NArg() == 0 {
		err = errors.New("which program? as in nodeipc tap -- node server.js")
	}
	if err != nil {
		fmt.Fprintf(s.err, "nodeipc: tap: %v\n", err)
		f.Usage()
		return errUsage
	}
	return tapProgram(s, &o, f.Args())
}

// outputs is where the events go in the outermost tap: to what is printed, and to what is recorded.
type outputs struct {
	mu      sync.Mutex
	screens []*screen
	writers []*bufio.Writer
	files   []*os.File
	taps    int
}

// newOutputs opens what the flags name. Without --output it prints to w.
func newOutputs(o *tapOptions, w io.Writer) (_ *outputs, failure error) {
	out := &outputs{}
	defer func() {
		if failure != nil {
			out.close()
		}
	}()
	show := o.show
	show.failed = func(err error) { fmt.Fprintf(w, "nodeipc: tap: the output ends here: %v\n", err) }
	to := w
	if o.output != "" {
		f, err := os.OpenFile(o.output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
		if err != nil {
			return nil, fmt.Errorf("--output: %w", err)
		}
		out.files = append(out.files, f)
		to = f
	}
	show.color, _ = useColor(o.color, to) // has been checked
	out.add(to, show)
	if o.record != "" {
		f, err := createPrivate(o.record)
		if err != nil {
			return nil, fmt.Errorf("--record: %w", err)
		}
		out.files = append(out.files, f)
		out.add(f, showOptions{json: true, full: true, redact: show.redact, failed: show.failed})
	}
	return out, nil
}

func (o *outputs) add(w io.Writer, show showOptions) {
	b := bufio.NewWriterSize(w, 64<<10)
	o.writers = append(o.writers, b)
	o.screens = append(o.screens, newScreen(b, show))
}

// createPrivate makes an empty file that only its owner may read, also if it was there with another mode.
func createPrivate(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		if err := f.Chmod(0o600); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// next returns the number of another channel.
func (o *outputs) next() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taps++
	return o.taps
}

func (o *outputs) event(e event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.screens {
		s.event(e)
	}
}

// flush writes what has been made.
func (o *outputs) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.writers {
		w.Flush()
	}
}

func (o *outputs) close() (err error) {
	o.flush()
	for _, s := range o.screens {
		err = errors.Join(err, s.close())
	}
	for _, f := range o.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// A queue keeps the making of output off the way of the messages: events are handed on together, every few milliseconds,
// from a goroutine of its own. One that finds too much waiting waits itself: nothing is lost.
type queue struct {
	to func([]event)

	mu     sync.Mutex
	room   sync.Cond
	events []event
	bytes  int
	wake   chan struct{}
	closed bool
	done   chan struct{}
}

const (
	queuePause = 2 * time.Millisecond
	queueBytes = 4 << 20 // of payloads that may wait
	queueLen   = 4 << 10
)

func newQueue(to func([]event)) *queue {
	q := &queue{to: to, wake: make(chan struct{}, 1), done: make(chan struct{})}
	q.room.L = &q.mu
	go q.run()
	return q
}

func (q *queue) event(e event) {
	q.mu.Lock()
	for q.bytes >= queueBytes || len(q.events) >= queueLen {
		q.room.Wait()
	}
	first := len(q.events) == 0
	q.events = append(q.events, e)
	q.bytes += len(e.data)
	q.mu.Unlock()
	if first {
		q.signal()
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) run() {
	defer close(q.done)
	var spare []event
	for {
		<-q.wake
		q.mu.Lock()
		closed := q.closed
		q.mu.Unlock()
		if !closed {
			time.Sleep(queuePause) // for more to come: each waking costs the programs time
		}
		q.mu.Lock()
		events := q.events
		q.events, q.bytes = spare[:0], 0
		q.room.Broadcast()
		closed = q.closed
		q.mu.Unlock()
		q.to(events)
		clear(events)
		spare = events
		if closed {
			return
		}
	}
}

// close hands on what is left.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
	<-q.done
}
