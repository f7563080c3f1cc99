package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
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
	context.AfterFunc(ctx, stop)
	w, err := Join(nil)
	if err != nil && !errors.Is(err, ErrNotWorker) {
		return err
	}
	ln, err := w.Listen(ctx, "tcp", addr)
	if err != nil {
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
// Connections that were hijacked, such as WebSockets, are not waited for: http.Server.RegisterOnShutdown is for them.
func (w *Worker) Serve(ctx context.Context, srv *http.Server, ln net.Listener) error {
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
	if serr := srv.Shutdown(drain); serr != nil {
		srv.Close()
		err = errors.Join(err, fmt.Errorf("cluster: requests did not finish: %w", serr))
	}
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	return errors.Join(err, w.Disconnect(leave))
}

const (
	drainTime = 30 * time.Second
	leaveTime = 5 * time.Second // for the primary's answer
)
