//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// replayProgram plays a recording to a program.
func replayProgram(s *streams, o *replayOptions, argv []string) error {
	file, err := openRecording(o.file)
	if err != nil {
		return err
	}
	defer file.Close()
	in := func(err error) error { return fmt.Errorf("%s: %w", o.file, err) }
	r, err := file.reader()
	if err != nil {
		return err
	}
	channels, err := survey(r)
	if err != nil {
		return in(err)
	}
	c, err := choose(channels, o.channel)
	if err != nil {
		return in(err)
	}
	if r, err = file.reader(); err != nil {
		return err
	}
	runtime.LockOSThread() // as tap does
	defer runtime.UnlockOSThread()
	p := &player{options: o, channel: c, recording: r}
	ended := p.untilSignal()
	defer ended()
	if err := p.start(argv); err != nil {
		return err
	}
	defer p.end()
	if err := p.play(); err != nil {
		if sig, ok := context.Cause(p.ctx).(*exitStatus); ok {
			return sig
		}
		return in(err)
	}
	plural := "s"
	if p.received == 1 {
		plural = ""
	}
	const same = "nodeipc: replay: %s: as recorded: %d message%s from the child, %d to it\n"
	fmt.Fprintf(s.err, same, o.file, p.received, plural, p.sent)
	return nil
}

// A player is the parent of a program.
type player struct {
	options   *replayOptions
	channel   *recordedChannel
	recording *recordingReader

	ctx    context.Context // until a signal comes
	ch     *nodeipc.Channel
	cmd    *exec.Cmd
	exited chan struct{}
	stays  []io.Closer // of stand-ins, and
	listed []io.Closer // of those that belong to a socket list

	received, sent int
	over           bool // nothing is sent any more
}

// untilSignal makes the context, whose cause is the *exitStatus of a signal.
func (p *player) untilSignal() (stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	p.ctx = ctx
	c := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
	go func() {
		select {
		case sig := <-c:
			cancel(&exitStatus{signal: sig.(syscall.Signal)})
		case <-ctx.Done():
		}
	}()
	return func() {
		signal.Stop(c)
		cancel(nil)
	}
}

func (p *player) start(argv []string) error {
	cmd, err := newCommand(argv, "")
	if err != nil {
		return err
	}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, envWorkerID+"=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	if p.channel.worker != "" {
		cmd.Env = append(cmd.Env, envWorkerID+"="+p.channel.worker)
	}
	cmd.SysProcAttr = dieTogether()
	p.ch, err = nodeipc.Start(cmd, &nodeipc.Options{
		Serialization: p.channel.serialization,
		Relay:         true,       // internal messages come, and go, as others do
		Node:          newestNode, // a child that got it once can read it
		MaxMessage:    1 << 29,
		Backlog:       64 << 20, // what comes while a Send waits
	})
	switch {
	case err == nil:
	case cmd.Process == nil:
		return notStarted(argv[0], err)
	default:
		cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	p.cmd, p.exited = cmd, make(chan struct{})
	go func() {
		cmd.Wait()
		close(p.exited)
	}()
	return nil
}

// end leaves nothing behind.
func (p *player) end() {
	p.cmd.Process.Kill()
	<-p.exited
	p.ch.Close()
	p.leave()
}

// leave closes the other ends of the stand-ins.
func (p *player) leave() {
	for _, c := range append(p.stays, p.listed...) {
		c.Close()
	}
	p.stays, p.listed = nil, nil
}

// within is the context of something that may take as long as the flag says.
func (p *player) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(p.ctx, p.options.timeout)
}

func (p *player) play() error {
	var disconnect, exit *recorded
	for {
		e, err := p.recording.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if e.tap != p.channel.number {
			continue
		}
		switch {
		case e.kind == message && e.from == childSide:
			err = p.await(&e)
		case e.kind == message && !p.over:
			err = p.send(&e)
		case e.kind == disconnected:
			// What came from the child after the parent had disconnected was sent before it could know: the end of the
			// recording is early enough.
			if disconnect == nil {
				disconnect = &e
			}
			p.over = true
		case e.kind == exited:
			exit = &e
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", p.recording.line, err)
		}
	}
	switch {
	case disconnect != nil && disconnect.from == childSide:
		p.leave() // which the child may be waiting for
		if err := p.awaitEnd("disconnect"); err != nil {
			return err
		}
		p.signal(exit)
	case disconnect != nil || exit == nil:
		if err := p.disconnect(); err != nil {
			return err
		}
		p.leave()
		p.signal(exit)
	default:
		p.leave()
		p.signal(exit)
		if err := p.awaitEnd("exit"); err != nil {
			return err
		}
	}
	return p.awaitExit(exit)
}

// send sends a recorded message. If the child has ended that shows later, where something of it is awaited.
func (p *player) send(e *recorded) error {
	ctx, cancel := p.within()
	defer cancel()
	if e.internal == cmdNotifyClose { // to be told when all are closed, which a client may have done
		for _, c := range p.listed {
			c.Close()
		}
		p.listed = nil
	}
	m := &nodeipc.Message{Data: e.data}
	var err error
	if e.handle == "" {
		err = p.ch.Send(ctx, m)
	} else {
		err = p.sendHandle(ctx, e, m)
	}
	switch {
	case err == nil:
		p.sent++
	case p.ch.Err() != nil:
		p.over = true
	case ctx.Err() != nil:
		const late = "message %d to the child was not taken within %v: %s"
		return fmt.Errorf(late, p.sent+1, p.options.timeout, shortPayload(e.data))
	default:
		return fmt.Errorf("message %d to the child: %w", p.sent+1, err)
	}
	return nil
}

func (p *player) sendHandle(ctx context.Context, e *recorded, m *nodeipc.Message) error {
	s, err := newStandIn(e)
	if err != nil {
		return err
	}
	defer s.Close()
	h := nodeipc.NewHandle(s.Conn, e.handle)
	switch {
	case e.handle == nodeipc.NetSocket && len(p.channel.lists) == 1:
		h = nodeipc.NewKeyedHandle(s.Conn, p.channel.lists[0])
		p.listed = append(p.listed, s.stays)
	case s.stays != nil:
		p.stays = append(p.stays, s.stays)
	}
	if e.internal == "" || p.channel.serialization == nodeipc.JSON {
		return p.ch.SendHandle(ctx, m, h)
	}
	value, err := v8.Parse(m.Data, v8.Channel)
	if err != nil {
		return err
	}
	return p.ch.SendHandle(ctx, nodeipc.Internal{Value: value}, h)
}

// await receives a message and compares it with the recorded one.
func (p *player) await(e *recorded) error {
	ctx, cancel := p.within()
	defer cancel()
	m, err := p.ch.Receive(ctx)
	p.received++
	what := fmt.Sprintf("message %d from the child", p.received)
	recorded := "\n  recorded: " + withHandle(e.data, e.handle)
	switch {
	case err == nil:
	case p.ctx.Err() != nil:
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%s did not come within %v%s", what, p.options.timeout, recorded)
	case err != io.EOF:
		return fmt.Errorf("%s was awaited, but: %w%s", what, err, recorded)
	case exiting(p.cmd.Process.Pid, p.exited):
		return fmt.Errorf("%s was awaited, but it has exited %s%s", what, p.status(), recorded)
	default:
		return fmt.Errorf("%s was awaited, but it has disconnected%s", what, recorded)
	}
	defer m.Handle.Close()
	d := compare(e.data, m.Data, p.options.ignore)
	if d == nil && m.Handle.Type() == e.handle {
		return nil
	}
	received := "\n  received: " + withHandle(m.Data, m.Handle.Type())
	switch {
	case d == nil:
		return fmt.Errorf("%s differs by its handle%s%s", what, recorded, received)
	case d.path == "":
		return fmt.Errorf("%s differs%s%s", what, recorded, received)
	}
	return fmt.Errorf("%s differs at %s\n  recorded: %s, in %s\n  received: %s, in %s",
		what, d.path, d.recorded, withHandle(e.data, e.handle), d.received, withHandle(m.Data, m.Handle.Type()))
}

// withHandle shows a payload and the type of its handle.
func withHandle(data []byte, t nodeipc.HandleType) string {
	text := "something that is hidden"
	if len(data) > 0 {
		text = shortPayload(data)
	}
	if t != "" {
		text += " +" + string(t)
	}
	return text
}

// awaitEnd waits for the end of the channel by the child.
func (p *player) awaitEnd(how string) error {
	ctx, cancel := p.within()
	defer cancel()
	if how == "exit" { // another process may hold the channel open
		go func() {
			select {
			case <-p.exited:
				time.AfterFunc(lingering/4, cancel)
			case <-ctx.Done():
			}
		}()
	}
	m, err := p.ch.Receive(ctx)
	switch {
	case err == nil:
		return p.surplus(m)
	case err == io.EOF:
		return nil
	case p.ctx.Err() != nil:
		return err
	case ctx.Err() != nil:
		select {
		case <-p.exited:
			return nil
		default:
		}
		return fmt.Errorf("the child did not %s within %v, as it did when it was recorded", how, p.options.timeout)
	}
	return err
}

// surplus is the error of a message that is not recorded.
func (p *player) surplus(m *nodeipc.Message) error {
	defer m.Handle.Close()
	received := withHandle(m.Data, m.Handle.Type())
	return fmt.Errorf("message %d from the child is not recorded\n  received: %s", p.received+1, received)
}

// disconnect ends the channel, after which there may be messages that have come before.
func (p *player) disconnect() error {
	ctx, cancel := p.within()
	defer cancel()
	if err := p.ch.Disconnect(ctx); err != nil && p.ch.Err() == nil {
		if p.ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("the child did not read what was sent to it within %v", p.options.timeout)
	}
	if m, err := p.ch.Receive(ctx); err == nil {
		return p.surplus(m)
	}
	return nil
}

// parentsSignals are those by which a parent ends its child.
var parentsSignals = map[string]syscall.Signal{
	"SIGTERM": unix.SIGTERM, "SIGKILL": unix.SIGKILL, "SIGINT": unix.SIGINT, "SIGHUP": unix.SIGHUP,
	"SIGQUIT": unix.SIGQUIT,
}

// signal ends the child as it was ended. Whoever sent the signal, it is not recorded.
func (p *player) signal(exit *recorded) {
	if exit == nil {
		return
	}
	if sig, ok := parentsSignals[exit.signal]; ok {
		p.cmd.Process.Signal(sig)
	}
}

// awaitExit waits for the child to exit, and compares how it does.
func (p *player) awaitExit(exit *recorded) error {
	ctx, cancel := p.within()
	defer cancel()
	select {
	case <-p.exited:
	case <-ctx.Done():
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		if exit == nil {
			return fmt.Errorf("the child did not exit within %v after the channel had ended", p.options.timeout)
		}
		return fmt.Errorf("the child did not exit within %v after the channel had ended\n  recorded: %s",
			p.options.timeout, describeExit(exit.code, exit.signal))
	}
	if exit == nil {
		return nil
	}
	recorded, received := describeExit(exit.code, exit.signal), p.status()
	if recorded != received {
		return errors.New("the child's exit differs\n  recorded: " + recorded + "\n  received: " + received)
	}
	return nil
}

// status is how the child has exited.
func (p *player) status() string {
	s := statusOf(p.cmd.ProcessState)
	switch {
	case s == nil:
		return describeExit(0, "")
	case s.signal != 0:
		return describeExit(0, unix.SignalName(s.signal))
	}
	return describeExit(s.code, "")
}

func describeExit(code int, signal string) string {
	if signal != "" {
		return "by " + signal
	}
	return fmt.Sprintf("with code %d", code)
}
