//go:build unix

package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

func init() { workers["matrix"] = matrixMain }

var update = flag.Bool("update", false, "write docs/cluster-events.md for the Node that runs the tests")

// Where the primary sees something else of a Go worker than of a Node worker, and why.
var eventDifferences = map[string]string{
	"the worker fails: an uncaught exception, a panic": "A panic ends a Go program with code 2.",
}

// Whatever a Node primary sees of a Go worker, it would see of a Node worker in its place: every event with its
// arguments, in every scenario of js_fixtures/cluster_matrix.js, both scheduling policies and serializations.
func TestMatrix(t *testing.T) {
	testkit.CheckLeaks(t)
	peer := testkit.Peer(t)
	if peer.Kind != "Node" {
		t.Skip("the cluster of", peer, "is for workers of its own")
	}
	reports := map[string]*matrixReport{}
	var all sync.WaitGroup
	for _, policy := range []string{"rr", "none"} {
		for _, serialization := range []string{"json", "advanced"} {
			r := &matrixReport{policy: policy}
			reports[policy+" "+serialization] = r
			all.Go(func() { r.err = r.run(peer, serialization) })
		}
	}
	all.Wait()
	for name, r := range reports {
		t.Run(name, r.check)
		require.Equal(t, reports[r.policy+" json"].Go, r.Go, "in %s as in json", name)
		require.Equal(t, reports[r.policy+" json"].Node, r.Node, "in %s as in json", name)
	}
	if !t.Failed() {
		checkEventsTable(t, peer.Major(), reports["rr json"], reports["none json"])
	}
}

// A matrixReport is what the primary of js_fixtures/cluster_matrix.js prints: for each scenario what it saw.
type matrixReport struct {
	Scenarios []string
	Node, Go  map[string]matrixEvents

	policy string
	err    error
}

type matrixEvents struct {
	Worker, Neighbour []string
	Served            string
}

func (r *matrixReport) run(peer testkit.Runtime, serialization string) error {
	bin, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := peer.Command("cluster_matrix.js", bin, serialization)
	// The race detector would wait a second at the end of each worker.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "NODE_CLUSTER_SCHED_POLICY="+r.policy)
	cmd.WaitDelay = patience
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, r)
	}
	text := log.String()
	if err != nil || strings.Contains(text, "DATA RACE") || strings.Contains(text, "test worker:") {
		return fmt.Errorf("%v\n%s\nstderr:\n%s", err, out, text)
	}
	return nil
}

func (r *matrixReport) check(t *testing.T) {
	require.NoError(t, r.err)
	for _, name := range r.Scenarios {
		node, other := r.Node[name], r.Go[name]
		require.Equal(t, node.Neighbour, other.Neighbour, "%s: the Node worker beside it", name)
		if eventDifferences[name] != "" {
			require.NotEqual(t, node.Worker, other.Worker, "%s: no difference any more", name)
		} else {
			require.Equal(t, node.Worker, other.Worker, name)
		}
		if r.policy == "rr" && (strings.HasPrefix(name, "tcp") || strings.HasPrefix(name, "unix,")) {
			require.Equal(t, "in turns", other.Served, name)
		}
	}
}

// A matrixWorker is the Go worker that does what the Node worker of js_fixtures/cluster_matrix.js does.
type matrixWorker struct {
	w *cluster.Worker

	mu      sync.Mutex
	servers map[string]*matrixServer
	holds   bool
}

type matrixCommand struct {
	Do, Name, Network, Host, Path string
	Port                          int
	Exclusive                     bool
	Value                         any
}

type matrixAnswer struct {
	Re      string `json:"re"`
	Address string `json:"address,omitempty"`
	Error   string `json:"error,omitempty"`
	Syscall string `json:"syscall,omitempty"`
}

// A matrixServer is a listener, or a socket of UDP.
type matrixServer struct {
	io.Closer
	all sync.WaitGroup // what serves it
}

func matrixMain() error {
	w, err := cluster.Join(&nodeipc.Options{Logger: stderrLog})
	if err != nil {
		return err
	}
	m := &matrixWorker{w: w, servers: map[string]*matrixServer{}}
	leave, stay := make(chan struct{}), false
	gone := make(chan struct{}) // what it is told, it has been told
	go func() {
		defer close(gone)
		for c, err := range nodeipc.Values[matrixCommand](context.Background(), w.Channel()) {
			switch {
			case err != nil:
				fmt.Fprintln(os.Stderr, "test worker: receive:", err)
				os.Exit(5)
			case c.Do == "disconnect" || c.Do == "kill":
				close(leave)
			case c.Do == "exit":
				os.Exit(3)
			case c.Do == "crash":
				panic("crash")
			case c.Do == "stay":
				stay = true
				m.send(matrixAnswer{Re: c.Do})
			case c.Do == "echo":
				m.send(struct {
					Re    string `json:"re"`
					Value any    `json:"value"`
				}{c.Do, c.Value})
			default:
				m.send(m.do(c))
			}
		}
	}()
	select {
	case <-w.Done():
	case <-leave:
	}
	m.mu.Lock()
	servers, holds := m.servers, m.holds
	m.mu.Unlock()
	if holds {
		m.send(matrixAnswer{Re: "leaving"})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, s := range servers {
		if err := s.close(); err != nil {
			return err
		}
	}
	if err := w.Disconnect(ctx); err != nil {
		return err
	}
	if <-gone; stay {
		<-ctx.Done() // or a signal
	}
	return nil
}

func (m *matrixWorker) send(v any) {
	if err := m.w.Channel().Send(context.Background(), v); err != nil && !errors.Is(err, net.ErrClosed) {
		fmt.Fprintln(os.Stderr, "test worker: send:", err)
		os.Exit(4)
	}
}

func (m *matrixWorker) do(c matrixCommand) matrixAnswer {
	a := matrixAnswer{Re: c.Do}
	switch c.Do {
	case "listen":
		addr, err := m.listen(c)
		var call *os.SyscallError
		switch {
		case err == nil:
			a.Address = addr.String()
		case !errors.As(err, &call):
			a.Error = err.Error()
		case errors.Is(err, syscall.EADDRINUSE):
			a.Error, a.Syscall = "EADDRINUSE", call.Syscall
		case errors.Is(err, syscall.EACCES):
			a.Error, a.Syscall = "EACCES", call.Syscall
		default:
			a.Error = err.Error()
		}
	case "close":
		m.mu.Lock()
		s := m.servers[c.Name]
		delete(m.servers, c.Name)
		m.mu.Unlock()
		if err := s.close(); err != nil {
			a.Error = err.Error()
		}
	case "hold":
		m.mu.Lock()
		m.holds = true
		m.mu.Unlock()
	default:
		a.Error = "unknown command"
	}
	return a
}

func (m *matrixWorker) listen(c matrixCommand) (net.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	address := net.JoinHostPort(c.Host, fmt.Sprint(c.Port))
	if c.Network == "unix" {
		address = c.Path
	}
	if c.Network == "udp4" {
		conn, err := m.w.ListenPacket(ctx, c.Network, address)
		if err != nil {
			return nil, err
		}
		s := &matrixServer{Closer: conn}
		s.all.Go(func() {
			buf := make([]byte, 100)
			for {
				_, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				conn.WriteTo([]byte(m.name()), from)
			}
		})
		m.keep(c.Name, s)
		return conn.LocalAddr(), nil
	}
	listen := m.w.Listen
	if c.Exclusive {
		listen = new(net.ListenConfig).Listen
	}
	ln, err := listen(ctx, c.Network, address)
	if err != nil {
		return nil, err
	}
	s := &matrixServer{Closer: ln}
	s.all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.all.Go(func() { m.serve(conn) })
		}
	})
	m.keep(c.Name, s)
	return ln.Addr(), nil
}

func (m *matrixWorker) keep(name string, s *matrixServer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.servers[name] = s
}

func (m *matrixWorker) name() string { return fmt.Sprint("go ", m.w.ID()) }

func (m *matrixWorker) serve(conn net.Conn) {
	defer conn.Close()
	io.WriteString(conn, m.name())
	m.mu.Lock()
	holds := m.holds
	m.mu.Unlock()
	if holds {
		conn.SetDeadline(time.Now().Add(patience))
		io.Copy(io.Discard, conn)
	}
}

// close returns when nothing is served any more, as the callback of Node's close.
func (s *matrixServer) close() error {
	err := s.Close()
	s.all.Wait()
	return err
}
