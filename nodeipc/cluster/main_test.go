//go:build unix

package cluster_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// envRole makes this test binary a worker: its value is one of workers. A primary starts it with arguments of its own,
// which are no flags of a test.
const envRole = "NODEIPC_TEST_WORKER"

var workers = map[string]func() error{"agent": agentMain, "deaf": deafMain, "orphan": orphanMain, "server": serverMain,
	"rude": rudeMain, "quitter": quitterMain, "activated": activatedMain}

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		run := workers[role]
		if run == nil {
			run = func() error { return fmt.Errorf("no such role: %q", role) }
		}
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, "test worker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testkit.Main(m)
}

var stderrLog = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

// serving is an HTTP server of a worker, or one for datagrams, which has no Server.
type serving struct {
	*http.Server
	ln   io.Closer
	over chan struct{} // closed when Serve has returned
}

func serve(ln net.Listener, h http.HandlerFunc) *serving {
	s := &serving{&http.Server{Handler: h}, ln, make(chan struct{})}
	go func() {
		defer close(s.over)
		if err := s.Serve(ln); !errors.Is(err, net.ErrClosed) {
			fmt.Fprintln(os.Stderr, "test worker: serve:", err)
			os.Exit(3)
		}
	}()
	return s
}

// close stops listening, and returns when every connection that was given to us is being served. (Shutdown alone would
// drop those whose request it has not read.)
func (s *serving) close() error {
	if err := s.ln.Close(); err != nil {
		return err
	}
	select {
	case <-s.over:
		return nil
	case <-time.After(patience):
		return errors.New("Serve does not return")
	}
}

// shutdown lets requests in flight finish, too.
func (s *serving) shutdown() error {
	if err := s.close(); err != nil || s.Server == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.Shutdown(ctx)
}

// An agent is the Go worker that does what js_fixtures/cluster_control.js describes.
type agent struct {
	w *cluster.Worker

	mu      sync.Mutex
	servers map[string]*serving
	release chan struct{}
	leave   chan struct{} // closed to disconnect
	filled  []int         // descriptors that fill the table
}

type command struct {
	Do, Name, Network, Host, Keys string
	Port, Re, Count, Limit        int
	Echo                          any
}

type answer struct {
	Re      int    `json:"re"`
	Address string `json:"address,omitempty"`
	Closed  bool   `json:"closed,omitempty"`
	Error   string `json:"error,omitempty"`
	Text    string `json:"text,omitempty"`
	Keys    string `json:"keys,omitempty"` // of TLS, hexadecimal
}

func agentMain() error {
	w, err := cluster.Join(&nodeipc.Options{Logger: stderrLog, Bun: os.Getenv("BUN") != ""})
	if err != nil {
		return err
	}
	a := &agent{w: w, servers: map[string]*serving{}, release: make(chan struct{}), leave: make(chan struct{})}
	go a.obey()
	select {
	case <-w.Done():
		a.send(map[string]bool{"done": true})
	case <-a.leave:
	}
	a.mu.Lock()
	servers := a.servers
	a.mu.Unlock()
	for _, s := range servers {
		if err := s.shutdown(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return w.Disconnect(ctx)
}

func (a *agent) send(v any) {
	if err := a.w.Channel().Send(context.Background(), v); err != nil && !errors.Is(err, net.ErrClosed) {
		fmt.Fprintln(os.Stderr, "test worker: send:", err)
		os.Exit(4)
	}
}

func (a *agent) obey() {
	for c, err := range nodeipc.Values[command](context.Background(), a.w.Channel()) {
		switch {
		case err != nil:
			fmt.Fprintln(os.Stderr, "test worker: receive:", err)
			os.Exit(5)
		case c.Echo != nil:
			a.send([]any{c.Echo})
		case c.Do == "disconnect":
			close(a.leave)
		case c.Do == "release":
			a.mu.Lock()
			close(a.release)
			a.release = make(chan struct{})
			a.mu.Unlock()
		default:
			go func() { a.send(a.do(c)) }()
		}
	}
}

func (a *agent) do(c command) answer {
	switch c.Do {
	case "listen":
		addr, keys, err := a.listen(c)
		answer := answerOf(c, addr, err)
		answer.Keys = hex.EncodeToString(keys)
		return answer
	case "close":
		if err := a.close(c.Name); err != nil {
			return answerOf(c, nil, err)
		}
		return answer{Re: c.Re, Closed: true}
	case "cycle": // close and listen again, so many times
		var addr net.Addr
		var err error
		for i := 0; i < c.Count && err == nil; i++ {
			if err = a.close(c.Name); err == nil {
				addr, _, err = a.listen(c)
			}
		}
		return answerOf(c, addr, err)
	case "fill", "room":
		if err := a.table(c.Do == "fill"); err != nil {
			return answer{Re: c.Re, Error: err.Error()}
		}
		return answer{Re: c.Re, Text: "done"}
	}
	return answer{Re: c.Re, Error: "unknown command " + c.Do}
}

// table fills the table of descriptors, or makes room in it.
func (a *agent) table(full bool) error {
	if !full {
		for _, fd := range a.filled {
			unix.Close(fd)
		}
		a.filled = nil
		return nil
	}
	limit := unix.Rlimit{Cur: 100, Max: 100}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for {
		fd, err := unix.Dup(2)
		if err == unix.EMFILE {
			return nil
		}
		if err != nil {
			return err
		}
		unix.CloseOnExec(fd)
		a.filled = append(a.filled, fd)
	}
}

func answerOf(c command, addr net.Addr, err error) answer {
	if err == nil {
		return answer{Re: c.Re, Address: addr.String()}
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return answer{Re: c.Re, Error: unix.ErrnoName(errno), Text: err.Error()}
	}
	return answer{Re: c.Re, Error: "unexpected", Text: err.Error()}
}

func (a *agent) listen(c command) (addr net.Addr, keys []byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	lc := cluster.ListenConfig{Worker: a.w, MaxConns: c.Limit}
	if c.Keys != "" {
		lc.TicketKeys = must(hex.DecodeString(c.Keys))
	}
	address := c.Host // a path or a descriptor
	if c.Network[0] == 't' || strings.HasPrefix(c.Network, "udp") {
		address = net.JoinHostPort(c.Host, fmt.Sprint(c.Port))
	}
	if strings.HasPrefix(c.Network, "udp") {
		pc, err := lc.ListenPacket(ctx, c.Network, address)
		if err != nil {
			return nil, nil, err
		}
		a.keep(c.Name, a.answerDatagrams(pc, c.Name))
		return pc.LocalAddr(), nil, nil
	}
	network := strings.Replace(c.Network, "tls", "tcp", 1)
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, nil, err
	}
	s := serve(ln, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Connection", "close")
		if r.URL.Path == "/hold" {
			a.mu.Lock()
			release := a.release
			a.mu.Unlock()
			a.send(map[string]bool{"held": true})
			<-release
		}
		fmt.Fprintf(rw, "go %d %s\n", a.w.ID(), c.Name)
	})
	a.keep(c.Name, s)
	return ln.Addr(), cluster.TicketKeys(ln), nil
}

func (a *agent) keep(name string, s *serving) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.servers[name] = s
}

func (a *agent) answerDatagrams(pc net.PacketConn, name string) *serving {
	s := &serving{nil, pc, make(chan struct{})}
	go func() {
		defer close(s.over)
		for buf := make([]byte, 1<<10); ; {
			_, from, err := pc.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			must(pc.WriteTo(fmt.Appendf(nil, "go %d %s\n", a.w.ID(), name), must(from, err)))
		}
	}()
	return s
}

func (a *agent) close(name string) error {
	a.mu.Lock()
	s := a.servers[name]
	delete(a.servers, name)
	a.mu.Unlock()
	return s.close()
}

// deafMain is a worker that accepts connections and never receives, until a request tells it to.
func deafMain() error {
	w, err := cluster.Join(&nodeipc.Options{Logger: stderrLog, Backlog: deafBacklog})
	if err != nil {
		return err
	}
	ctx := context.Background()
	ln, err := w.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := serve(ln, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Connection", "close")
		if r.URL.Path == "/memory" {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			json.NewEncoder(rw).Encode(deafMemory{m.Sys, m.HeapInuse})
			return
		}
		json.NewEncoder(rw).Encode(hear(ctx, w.Channel(), r.URL.Query().Get("last")))
	})
	<-w.Done()
	if err := s.shutdown(); err != nil {
		return err
	}
	return w.Disconnect(ctx)
}

const deafBacklog = 1 << 20

type deafMemory struct{ Sys, HeapInuse uint64 }

// What a deaf worker finds when it receives at last.
type heard struct {
	First   string // the error of the first Receive
	Dropped int
	Bytes   int64
	Kept    []int
	Error   string
}

// hear receives up to the message with the number last.
func hear(ctx context.Context, ch *nodeipc.Channel, last string) (h heard) {
	_, err := ch.Receive(ctx)
	var dropped *nodeipc.DroppedError
	if !errors.As(err, &dropped) {
		h.Error = fmt.Sprintf("the first Receive returned %v", err)
		return h
	}
	h.First, h.Dropped, h.Bytes = err.Error(), dropped.Messages, dropped.Bytes
	for {
		m, err := ch.Receive(ctx)
		if err != nil {
			h.Error = err.Error()
			return h
		}
		var v []json.RawMessage
		var n int
		if err := m.Decode(&v); err != nil || len(v) != 2 || json.Unmarshal(v[0], &n) != nil {
			h.Error = fmt.Sprintf("received %.100q", m.Data)
			return h
		}
		h.Kept = append(h.Kept, n)
		if string(v[0]) == last {
			return h
		}
	}
}

// orphanMain is a worker that tells of the end of its primary over a connection of its own.
func orphanMain() error {
	report, err := net.Dial("tcp", os.Getenv("REPORT"))
	if err != nil {
		return err
	}
	w, err := cluster.Join(&nodeipc.Options{Logger: stderrLog})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ln, err := w.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	accepted := make(chan error)
	go func() {
		_, err := ln.Accept()
		accepted <- err
	}()
	s := serve(must(w.Listen(ctx, "tcp", "127.0.0.1:0")), nil)
	if err := w.Channel().Flush(ctx); err != nil { // or that is what fails when the primary goes
		return err
	}
	fmt.Fprintln(report, "listens")

	<-w.Done()
	fmt.Fprintln(report, "Done")
	fmt.Fprintln(report, "Close:", ln.Close())
	fmt.Fprintln(report, "Accept after the end:", errors.Is(<-accepted, net.ErrClosed))
	fmt.Fprintln(report, "Shutdown:", s.shutdown())
	fmt.Fprintln(report, "Disconnect:", w.Disconnect(ctx))
	fmt.Fprintln(report, "Err:", w.Channel().Err())
	_, err = w.Listen(ctx, "tcp", "127.0.0.1:0")
	fmt.Fprintln(report, err)
	return nil // report is closed by the end of the process
}

// serverMain serves HTTP in one line: it answers with its process id when it has read the whole request.
func serverMain() error {
	return cluster.ListenAndServe(os.Getenv("ADDR"), http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		must(io.ReadAll(r.Body))
		fmt.Fprint(rw, os.Getpid())
	}))
}

// rudeMain is a worker that says what it is told to.
func rudeMain() error {
	w, err := cluster.Join(&nodeipc.Options{Logger: stderrLog})
	if err != nil {
		return err
	}
	ctx := context.Background()
	for line := range strings.Lines(os.Getenv("LINES")) {
		if err := w.Channel().Send(ctx, nodeipc.Internal{Value: json.RawMessage(line)}); err != nil {
			return err
		}
	}
	for m, err := range w.Channel().Messages(ctx) { // what comes back shows that the primary is alive
		if err != nil {
			return nil
		}
		if err := w.Channel().Send(ctx, m); err != nil {
			return nil
		}
	}
	return nil
}

// quitterMain is a worker that ends with the first connection that it is given.
func quitterMain() error {
	w, err := cluster.Join(&nodeipc.Options{Logger: stderrLog})
	if err != nil {
		return err
	}
	ln := must(w.Listen(context.Background(), "tcp", os.Getenv("ADDR")))
	must(ln.Accept())
	os.Exit(7)
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "test worker:", err)
		os.Exit(6)
	}
	return v
}

// patience ends what would hang otherwise. A test that passes never waits for it.
const patience = 40 * time.Second
