package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A life is one child and the channel to it.
type life struct {
	*soak
	kind   string // node or go
	ch     *nodeipc.Channel
	cmd    *exec.Cmd
	random *rand.Rand // of the goroutine that runs the life

	violent atomic.Bool     // it is being ended in the middle of something: answers may fail to come
	ended   context.Context // when nothing more can be received
	end     context.CancelFunc
	readErr error // why

	sinking sync.Mutex // held by the sink that the child counts for
	mu      sync.Mutex
	waiting map[int]func(*nodeipc.Message, message) // by id, for what comes; called by the goroutine that receives
}

func (s *soak) begin(kind string, random *rand.Rand) (*life, error) {
	l := &life{soak: s, kind: kind, random: random, waiting: make(map[int]func(*nodeipc.Message, message))}
	if kind == "node" {
		l.cmd = exec.Command(s.node, filepath.Join(s.dir, "child.js"))
	} else {
		l.cmd = exec.Command(s.self)
		l.cmd.Env = append(os.Environ(), childEnv+"=1")
	}
	l.cmd.Stderr = os.Stderr
	var err error
	if l.ch, err = nodeipc.Start(l.cmd, nil); err != nil {
		return nil, err
	}
	s.children.Add(1)
	s.alive.Store(l.cmd, nil)
	l.ended, l.end = context.WithCancel(context.Background())
	go l.receive()
	return l, nil
}

// oneLife lets a child live and end.
func (s *soak) oneLife(random *rand.Rand) {
	l, err := s.begin([]string{"node", "go"}[random.IntN(2)], random)
	if err != nil {
		s.fail(err)
	}
	l.acts(random.IntN(20))
	l.finish(ending(random.IntN(int(endings))))
}

// fault reports what must not happen, unless the child is being ended.
func (l *life) fault(format string, args ...any) {
	if !l.violent.Load() {
		l.fail(fmt.Errorf("%s child %d: %s", l.kind, l.cmd.Process.Pid, fmt.Sprintf(format, args...)))
	}
}

// receive hands out what comes, until the end. At times it has little patience and begins again.
func (l *life) receive() {
	defer l.end()
	for n := 0; ; n++ {
		ctx, cancel := context.Background(), context.CancelFunc(func() {})
		if n%16 == 0 {
			ctx, cancel = context.WithTimeout(ctx, time.Duration(n%32)*20*time.Microsecond)
		}
		received, err := l.ch.Receive(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			continue
		}
		if err != nil {
			l.readErr = err
			return
		}
		l.messages.Add(1)
		var m message
		if err := received.Decode(&m); err != nil {
			l.fault("%v", err)
			continue
		}
		l.mu.Lock()
		take := l.waiting[m.ID]
		l.mu.Unlock()
		if take == nil {
			l.fault("nobody waits for %.200s", received.Data)
			received.Handle.Close()
			continue
		}
		take(received, m)
	}
}

// expect has take called with the messages of an id until forget.
func (l *life) expect(take func(*nodeipc.Message, message)) (id int) {
	id = int(l.ids.Add(1))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[id] = take
	return id
}

func (l *life) forget(id int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, id)
}

func (l *life) send(v any) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.ch.Send(ctx, v); err != nil {
		l.fault("send: %v", err)
		return false
	}
	l.messages.Add(1)
	return true
}

func (l *life) sendHandle(v, h any) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.ch.SendHandle(ctx, v, h); err != nil {
		l.fault("send handle: %v", err)
		return false
	}
	l.messages.Add(1)
	l.handles.Add(1)
	return true
}

// await waits for what an answer makes of done.
func await[T any](l *life, what any, done <-chan T) (v T, ok bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v = <-done:
		return v, true
	case <-l.ended.Done():
	case <-timer.C:
		l.fault("no answer to %.200v", what)
		return v, false
	}
	select { // it may have come just before the end
	case v = <-done:
		return v, true
	default:
		l.fault("%v instead of an answer to %.200v", l.readErr, what)
		return v, false
	}
}

type answer struct {
	message
	received *nodeipc.Message
}

// ask sends m, with the handle h unless that is nil, and returns the answer.
func (l *life) ask(m message, h any) (a answer, ok bool) {
	done := make(chan answer, 1)
	m.ID = l.expect(func(received *nodeipc.Message, m message) {
		select {
		case done <- answer{m, received}:
		default:
			l.fault("a second answer: %.200s", received.Data)
		}
	})
	defer l.forget(m.ID)
	if h == nil {
		ok = l.send(m)
	} else {
		ok = l.sendHandle(m, h)
	}
	if !ok {
		return a, false
	}
	a, ok = await(l, m, done)
	if a.Fault != "" {
		l.fault("%+v: %s", m, a.Fault)
		return a, false
	}
	return a, ok
}

// acts does n things, as many as three at a time.
func (l *life) acts(n int) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, 3)
	for range n {
		if l.over() || l.restDue.Load() || l.ended.Err() != nil {
			return
		}
		random := rand.New(rand.NewPCG(l.random.Uint64(), 0))
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			l.act(random)
		})
	}
}

func (l *life) act(random *rand.Rand) {
	network := []string{"tcp", "unix"}[random.IntN(2)]
	switch random.IntN(14) {
	case 0, 1, 2:
		for range 1 + random.IntN(30) {
			l.echo(message{Text: text(random)})
		}
	case 3:
		l.rawEcho(random)
	case 4:
		var wg sync.WaitGroup
		for range 2 + random.IntN(10) {
			m := message{Text: text(random), N: random.IntN(1000)}
			wg.Go(func() {
				for range 5 {
					l.echo(m)
				}
			})
		}
		wg.Wait()
	case 5:
		l.flood(message{N: 1 + random.IntN(5000), Text: short(random)})
	case 6:
		l.sink(1+random.IntN(5000), short(random))
	case 7:
		l.hurry(random)
	case 8:
		l.giveConn(network, 0)
	case 9:
		l.giveConn(network, time.Duration(random.IntN(500))*time.Microsecond)
	case 10:
		l.giveListener(network)
	case 11:
		l.takeConn(network)
	case 12:
		l.takeListener(network)
	case 13:
		l.cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		l.cmd.Process.Signal(syscall.SIGCONT)
	}
}

const letters = "all sorts of \"letters\": \\ \n \x00 é € 😀 \u2028 </script> "

// text is short most of the time.
func text(random *rand.Rand) string {
	most := 300
	switch random.IntN(40) {
	case 0:
		most = 1 << 20
	case 1, 2:
		most = 70_000
	case 3, 4, 5, 6:
		most = 10_000
	}
	return strings.Repeat(letters, 1+random.IntN(most)/len(letters))
}

func short(random *rand.Rand) string { return letters[:random.IntN(20)] }

func (l *life) echo(m message) {
	m.Do = "echo"
	a, ok := l.ask(m, nil)
	if !ok {
		return
	}
	m.ID = a.ID
	if a.message != m {
		l.fault("sent %.200v, got %.200s", m, a.received.Data)
	}
}

// rawEcho sends text that is as Node writes it, which must come back byte for byte.
func (l *life) rawEcho(random *rand.Rand) {
	done := make(chan string, 1)
	id := l.expect(func(received *nodeipc.Message, _ message) { done <- string(received.Data) })
	defer l.forget(id)
	raw := fmt.Sprintf(`{"do":"echo","id":%d,"list":[1,2.5,1e-7,null,true,{"7":{},"":"\n\"é😀\u0000"}],"pad":%q}`,
		id, strings.Repeat("x", random.IntN(200)))
	if !l.send(json.RawMessage(raw)) {
		return
	}
	if got, ok := await(l, raw, done); ok && got != raw {
		l.fault("sent %s, got %s", raw, got)
	}
}

// flood has the child send m.N messages.
func (l *life) flood(m message) {
	done := make(chan struct{})
	next := 0
	m.Do = "flood"
	m.ID = l.expect(func(received *nodeipc.Message, got message) {
		switch {
		case got.Pause:
		case got.Done:
			if next != m.N {
				l.fault("%d messages of a flood of %d", next, m.N)
			}
			close(done)
		case got.N != next || got.Text != m.Text:
			l.fault("%.200s, want number %d of a flood of %q", received.Data, next, m.Text)
		default:
			next++
		}
	})
	defer l.forget(m.ID)
	if l.send(m) {
		await(l, m, done)
	}
}

// sink floods the child. What it counts is of all sinks together, so there is one at a time.
func (l *life) sink(n int, text string) {
	l.sinking.Lock()
	defer l.sinking.Unlock()
	hash := uint32(0)
	for i := range n {
		hash = hash*31 + uint32(i+1)
		if !l.send(message{Do: "count", N: i + 1, Text: text}) {
			return
		}
	}
	if a, ok := l.ask(message{Do: "total"}, nil); ok && (a.N != n || a.Hash != hash) {
		l.fault("%d messages with hash %d, want %d with %d", a.N, a.Hash, n, hash)
	}
}

// hurry sends with contexts that end soon: what was accepted is answered, what was not never arrives.
func (l *life) hurry(random *rand.Rand) {
	var accepted, answered sync.Map
	var ids []int
	for range 30 {
		id := l.expect(func(_ *nodeipc.Message, m message) { answered.Store(m.ID, true) })
		ids = append(ids, id)
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(100))*time.Microsecond)
		err := l.ch.Send(ctx, message{Do: "echo", ID: id, Text: text(random)})
		cancel()
		switch {
		case err == nil:
			accepted.Store(id, true)
			l.messages.Add(1)
		case !errors.Is(err, context.DeadlineExceeded):
			l.fault("send: %v", err)
		}
	}
	l.echo(message{}) // all that was sent before has been answered then
	for _, id := range ids {
		_, want := accepted.Load(id)
		if _, got := answered.Load(id); got != want {
			l.fault("message %d: accepted %v, answered %v", id, want, got)
		}
		l.forget(id)
	}
}

// address returns where to listen.
func (l *life) address(network string) string {
	if network == "unix" {
		return filepath.Join(l.dir, strconv.FormatInt(l.ids.Add(1), 10)+".sock")
	}
	return "127.0.0.1:0"
}

// unlink removes the file of a listener, which outlives it when it was sent.
func unlink(addr net.Addr) {
	if addr.Network() == "unix" {
		os.Remove(addr.String())
	}
}

// listen returns a listener, which is closed when the child ends.
func (l *life) listen(network string) (ln net.Listener, done func()) {
	ln, err := net.Listen(network, l.address(network))
	if err != nil {
		l.fail(err)
	}
	stop := context.AfterFunc(l.ended, func() { ln.Close() })
	return ln, func() {
		stop()
		ln.Close()
		unlink(ln.Addr())
	}
}

// wire returns the ends of a connection.
func (l *life) wire(network string) (here, there net.Conn) {
	ln, err := net.Listen(network, l.address(network))
	if err != nil {
		l.fail(err)
	}
	defer ln.Close()
	if here, err = net.Dial(network, ln.Addr().String()); err != nil {
		l.fail(err)
	}
	if there, err = ln.Accept(); err != nil {
		l.fail(err)
	}
	return here, there
}

// greeted reads all that comes over a connection, which must be hello, unless it need not come at all.
func (l *life) greeted(conn net.Conn, id int, must bool) {
	defer conn.Close()
	defer context.AfterFunc(l.ended, func() { conn.SetDeadline(time.Now().Add(time.Second)) })()
	conn.SetDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(conn)
	if err != nil && must || string(got) != hello(id) && (must || len(got) > 0) {
		l.fault("over a connection: %q, %v; want %q", got, err, hello(id))
	}
}

// giveConn sends a connection, over which the child says hello. With little patience the child may not get it.
func (l *life) giveConn(network string, patience time.Duration) {
	here, there := l.wire(network)
	m := message{Do: "take", ID: int(l.ids.Add(1))}
	var ok bool
	if patience == 0 {
		ok = l.sendHandle(m, there)
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := l.ch.SendHandle(ctx, m, there)
		ok = err == nil
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			l.fault("send handle: %v", err)
		}
	}
	there.Close()
	l.greeted(here, m.ID, ok)
}

// giveListener sends a listener, on which the child accepts a connection.
func (l *life) giveListener(network string) {
	ln, done := l.listen(network)
	defer done()
	m := message{Do: "take"}
	a, ok := l.ask(m, ln)
	if !ok {
		return
	}
	ln.Close()
	conn, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		l.fault("%v", err)
		return
	}
	l.greeted(conn, a.ID, true)
}

// takeConn has the child dial and send the connection.
func (l *life) takeConn(network string) {
	ln, done := l.listen(network)
	defer done()
	a, ok := l.ask(message{Do: "dial", Network: network, Address: ln.Addr().String()}, nil)
	if !ok {
		return
	}
	l.handles.Add(1)
	conn, err := a.received.Handle.Conn()
	if err != nil {
		l.fault("%v", err)
		return
	}
	there, err := ln.Accept()
	if err != nil {
		conn.Close()
		l.fault("%v", err)
		return
	}
	io.WriteString(conn, hello(a.ID))
	conn.Close()
	l.greeted(there, a.ID, true)
}

// takeListener has the child listen and send the listener. Either of the two may accept then.
func (l *life) takeListener(network string) {
	a, ok := l.ask(message{Do: "listen", Network: network, Address: l.address(network)}, nil)
	if !ok {
		return
	}
	l.handles.Add(1)
	ln, err := a.received.Handle.Listener()
	if err != nil {
		l.fault("%v", err)
		return
	}
	defer unlink(ln.Addr())
	var wg sync.WaitGroup
	wg.Go(func() {
		if conn, err := ln.Accept(); err == nil {
			io.WriteString(conn, hello(a.ID))
			conn.Close()
		}
	})
	if conn, err := net.Dial(network, ln.Addr().String()); err != nil {
		l.fault("%v", err)
	} else {
		l.greeted(conn, a.ID, true)
	}
	ln.Close()
	wg.Wait()
	l.ask(message{Do: "close", N: a.ID}, nil)
}

// An ending is how a child is ended.
type ending int

const (
	endDisconnect ending = iota
	endClose
	childDisconnects
	childExits
	childExitsInFlood
	endKill
	endKillBusy
	endCloseBusy
	endStopped // with a handle that it has not answered
	endings
)

func (l *life) finish(how ending) {
	busy := func() func() {
		var wg sync.WaitGroup
		seed := l.random.Uint64()
		wg.Go(func() { l.flood(message{N: 1 << 20, Text: letters}) })
		wg.Go(func() { l.sink(1<<20, letters) })
		wg.Go(func() { l.takeConn("unix") })
		wg.Go(func() { l.giveConn("tcp", 0) })
		wg.Go(func() { l.hurry(rand.New(rand.NewPCG(seed, 1))) })
		time.Sleep(time.Duration(l.random.IntN(20)) * time.Millisecond)
		return wg.Wait
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	exit, closed := 0, false // what the process must end with; negative for a signal
	switch how {
	case endDisconnect:
		if err := l.ch.Disconnect(ctx); err != nil {
			l.fault("disconnect: %v", err)
		}
	case endClose:
		closed = true
		if err := l.ch.Close(); err != nil {
			l.fault("close: %v", err)
		}
	case childDisconnects:
		l.send(message{Do: "disconnect"})
	case childExits:
		exit = 7
		l.send(message{Do: "exit", Exit: 7})
	case childExitsInFlood:
		exit = 8
		l.violent.Store(true)
		l.flood(message{N: 1 + l.random.IntN(5000), Text: letters, Exit: 8})
	case endKill:
		exit = -1
		l.cmd.Process.Kill()
	case endKillBusy:
		exit = -1
		l.violent.Store(true)
		wait := busy()
		l.cmd.Process.Kill()
		wait()
	case endCloseBusy:
		closed = true
		l.violent.Store(true)
		wait := busy()
		l.ch.Close()
		wait()
	case endStopped:
		exit = -1
		l.violent.Store(true)
		l.cmd.Process.Signal(syscall.SIGSTOP)
		var wg sync.WaitGroup
		wg.Go(func() { l.giveConn("unix", 5*time.Millisecond) })
		time.Sleep(time.Duration(l.random.IntN(10)) * time.Millisecond)
		l.cmd.Process.Kill()
		wg.Wait()
	}
	select {
	case <-l.ended.Done():
	case <-ctx.Done():
		l.fail(fmt.Errorf("%s child %d: no end after ending %d", l.kind, l.cmd.Process.Pid, how))
	}
	l.ch.Close()
	<-l.ch.Done()
	timer := time.AfterFunc(patience, func() {
		l.fail(fmt.Errorf("%s child %d: still there after ending %d", l.kind, l.cmd.Process.Pid, how))
	})
	l.cmd.Wait()
	l.alive.Delete(l.cmd)
	timer.Stop()
	if want := map[bool]error{true: nodeipc.ErrClosed, false: io.EOF}[closed]; l.readErr != want {
		l.fail(fmt.Errorf("%s child %d: the last Receive after ending %d: %v", l.kind, l.cmd.Process.Pid, how, l.readErr))
	}
	if got := l.cmd.ProcessState.ExitCode(); got != exit && how != endCloseBusy {
		l.fail(fmt.Errorf("%s child %d: exit code %d after ending %d", l.kind, l.cmd.Process.Pid, got, how))
	}
}
