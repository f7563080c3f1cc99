package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// The whole life of a worker that serves HTTP.

// ListenAndServe serves handler on the TCP address addr, as http.ListenAndServe does: as a worker if the primary of a
// cluster started this program, and alone otherwise. It ends when the primary asks to disconnect or is gone, or with
// SIGTERM or SIGINT, of which a second one ends the program at once. Then it stops listening, lets requests finish for
// up to 30 seconds, leaves the cluster, and returns nil, so that a program whose main returns then exits with 0, as a
// Node worker does:
//
//	if err := cluster.ListenAndServe(":8000", mux); err != nil {
//		log.Fatal(err)
//	}
//
// Messages of the primary are dropped. A program that wants them, TLS, or another http.Server uses Join, Listen and
// Worker.Serve, of which ListenAndServe is made.
func ListenAndServe(addr string, handler http.Handler) error {
	signaled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, end := context.WithCancel(context.Background())
	defer end()
	w, err := Join(nil)
	if err != nil && !errors.Is(err, ErrNotWorker) {
		return err
	}
	context.AfterFunc(signaled, func() {
		if w != nil && w.adopted { // a signal to a whole tree of processes, as PM2 sends it, arrives twice
			end()
			time.Sleep(time.Second)
		}
		stop() // whoever sees that nobody listens any more can send the second signal
		end()
	})
	ln, err := w.Listen(ctx, "tcp", addr)
	if err != nil {
		if w != nil && errors.Is(err, nodeipc.ErrDisconnected) { // w is Done before it has begun
			leave, cancel := context.WithTimeout(context.Background(), leaveTime)
			defer cancel()
			return w.Disconnect(leave)
		}
		if w != nil {
			w.ch.Close()
		}
		return err
	}
	return w.Serve(ctx, &http.Server{Handler: handler}, ln)
}

// Serve serves what ln accepts, a listener of w.Listen or one around it, until w is Done or ctx ends. Then it closes ln,
// lets srv finish the requests of all connections that the primary has given to this worker, for up to 30 seconds, and
// leaves the cluster with Disconnect. It returns nil if all of that went well. Serve works with a nil Worker, too.
//
// Clients that keep their connections lose no request either: from then on answers say Connection: close, and an idle
// connection is closed when nothing has come on it for five seconds (one in a worker of adopt, as PM2 does not wait as
// long). http.Server.Shutdown alone closes it at once, when the next request may be on its way.
//
// Serve puts functions of its own before srv.ConnState and srv.Handler, so that no two Serve share a server.
//
// Connections that were hijacked, such as WebSockets, are not waited for: http.Server.RegisterOnShutdown is for them.
func (w *Worker) Serve(ctx context.Context, srv *http.Server, ln net.Listener) error {
	conns := connections{states: map[net.Conn]connState{}, changed: make(chan struct{}, 1)}
	srv.ConnState = conns.watch(srv.ConnState)
	srv.Handler = conns.handler(srv.Handler)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	var err error
	select {
	case err = <-served: // the listener has failed, or somebody has ended srv
		conns.leaving.Store(true)
		ln.Close()
	case <-ctx.Done():
		conns.leaving.Store(true)
		ln.Close()
		err = <-served
	case <-w.Done():
		conns.leaving.Store(true)
		ln.Close()
		err = <-served
	}
	// Only now: Shutdown does not wait for connections that Serve has not accepted yet.
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	silence := silentTime
	if w != nil && w.adopted {
		silence = adoptedSilentTime
	}
	conns.wait(drain, silence)
	if serr := srv.Shutdown(drain); serr != nil {
		srv.Close()
		err = errors.Join(err, fmt.Errorf("cluster: requests did not finish: %w", serr))
	}
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	return errors.Join(err, w.Disconnect(leave))
}

// connections knows those of a server, but for hijacked ones. Shutdown closes those that are idle, and those whose
// first request is read after it has begun, without an answer; the primary has given them to nobody else.
type connections struct {
	leaving atomic.Bool

	mu      sync.Mutex
	states  map[net.Conn]connState
	changed chan struct{} // has room for one
}

type connState struct {
	http.ConnState
	since time.Time
}

func (c *connections) watch(next func(net.Conn, http.ConnState)) func(net.Conn, http.ConnState) {
	return func(conn net.Conn, state http.ConnState) {
		c.mu.Lock()
		if state == http.StateClosed || state == http.StateHijacked {
			delete(c.states, conn)
		} else {
			c.states[conn] = connState{state, time.Now()}
		}
		c.mu.Unlock()
		select {
		case c.changed <- struct{}{}:
		default:
		}
		if next != nil {
			next(conn, state)
		}
	}
}

// handler makes the answers to requests that come while the worker leaves the last of their connections. Those that ask
// for another protocol are not touched, but for HTTP/2, which clients offer with every request and get nowhere.
func (c *connections) handler(next http.Handler) http.Handler {
	if next == nil {
		next = http.DefaultServeMux
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if to := r.Header.Get("Upgrade"); c.leaving.Load() && (to == "" || strings.EqualFold(to, "h2c")) {
			rw.Header().Set("Connection", "close")
		}
		next.ServeHTTP(rw, r)
	})
}

// wait returns when nothing is answered, and nothing has come for so long. It comes after the last Accept.
func (c *connections) wait(ctx context.Context, silence time.Duration) {
	begun := time.Now()
	for {
		var last time.Time // until when we wait for what there is
		active := false
		c.mu.Lock()
		for _, s := range c.states {
			if s.ConnState == http.StateActive {
				active = true
			} else if s.since.After(last) {
				last = s.since
			}
		}
		idle := len(c.states) > 0
		c.mu.Unlock()
		if last.Before(begun) {
			last = begun
		}
		left := time.Until(last.Add(silence))
		if !active && (!idle || left <= 0) {
			return
		}
		if active {
			left = drainTime // or until something changes
		}
		select {
		case <-c.changed:
		case <-time.After(left):
		case <-ctx.Done():
			return
		}
	}
}

const (
	silentTime        = 5 * time.Second
	adoptedSilentTime = time.Second
	drainTime         = 30 * time.Second
	leaveTime         = 5 * time.Second // for the primary's answer
)
