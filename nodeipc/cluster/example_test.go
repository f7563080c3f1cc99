package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// A web server that is a worker of a Node cluster if a primary started it, and serves alone otherwise.
func ExampleJoin() {
	ctx := context.Background()
	w, err := cluster.Join(nil)
	if err != nil && !errors.Is(err, cluster.ErrNotWorker) {
		log.Fatal(err)
	}
	ln, err := w.Listen(ctx, "tcp", ":8000") // shared with the Node workers; alone, net.Listen
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(rw, "hello from worker", w.ID())
	})}
	go srv.Serve(ln)

	<-w.Done() // the primary asks us to disconnect, or is gone
	drain, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	srv.Shutdown(drain) // requests in flight finish
	if err := w.Disconnect(drain); err != nil {
		log.Fatal(err)
	}
}
