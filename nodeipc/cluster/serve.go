package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	w, err := Join(nil)
	if err != nil && !errors.Is(err, ErrNotWorker) {
		return err
	}
	context.AfterFunc(ctx, func() {
		if w != nil && w.adopted { // a signal to a whole tree of processes, as PM2 sends it, arrives twice
			time.Sleep(time.Second)
		}
		stop()
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
// Serve puts a function of its own before srv.ConnState, so that no two Serve share a server.
//
// Connections that were hijacked, such as WebSockets, are not waited for: http.Server.RegisterOnShutdown is for them.
func (w *Worker) Serve(ctx context.Context, srv *http.Server, ln net.Listener) error {
	var unread firstRequests
	srv.ConnState = unread.watch(srv.ConnState)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	var err error
	select {
	case err = <-served: // the listener has failed, or somebody has ended srv
		ln.Close()
	case <-ctx.Done():
		ln.Close()
		err = <-served
	case <-w.Done():
		ln.Close()
		err = <-served
	}
	// Only now: Shutdown does not wait for connections that Serve has not accepted yet.
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	unread.wait(drain)
	if serr := srv.Shutdown(drain); serr != nil {
		srv.Close()
		err = errors.Join(err, fmt.Errorf("cluster: requests did not finish: %w", serr))
	}
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	return errors.Join(err, w.Disconnect(leave))
}

// firstRequests knows the connections of a server that have not sent a request yet. Shutdown closes those whose first
// request is read after it has begun, without an answer, and the primary has given them to nobody else.
type firstRequests struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
	none  chan struct{} // closed when there are none any more, for wait
}

func (f *firstRequests) watch(next func(net.Conn, http.ConnState)) func(net.Conn, http.ConnState) {
	f.conns = make(map[net.Conn]bool)
	return func(conn net.Conn, state http.ConnState) {
		f.mu.Lock()
		if state == http.StateNew {
			f.conns[conn] = true
		} else {
			delete(f.conns, conn)
		}
		if f.none != nil && len(f.conns) == 0 {
			close(f.none)
			f.none = nil
		}
		f.mu.Unlock()
		if next != nil {
			next(conn, state)
		}
	}
}

// wait returns when all have sent something, or as long later as Shutdown waits for a silent one. It comes after the last
// Accept.
func (f *firstRequests) wait(ctx context.Context) {
	f.mu.Lock()
	if len(f.conns) == 0 {
		f.mu.Unlock()
		return
	}
	none := make(chan struct{})
	f.none = none
	f.mu.Unlock()
	select {
	case <-none:
		time.Sleep(time.Millisecond) // the server has still to look, right after ConnState, whether it is shut down
	case <-time.After(silentTime):
	case <-ctx.Done():
	}
}

const (
	silentTime = 5 * time.Second
	drainTime  = 30 * time.Second
	leaveTime  = 5 * time.Second // for the primary's answer
)
