package cluster_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// A web server on one port with the Node workers beside it: the whole program.
func ExampleListenAndServe() {
	http.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(rw, "hello from Go")
	})
	if err := cluster.ListenAndServe(":8000", nil); err != nil {
		log.Fatal(err)
	}
}

// Go workers that resume each other's TLS sessions, with the keys that the workers of an address share.
func ExampleTicketKeys() {
	ctx := context.Background()
	w, err := cluster.Join(nil)
	if err != nil {
		log.Fatal(err)
	}
	keys := make([]byte, 48) // for all, if this worker is the first
	rand.Read(keys)
	lc := cluster.ListenConfig{Worker: w, TicketKeys: keys}
	ln, err := lc.Listen(ctx, "tcp", ":8443")
	if err != nil {
		log.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair("cert.pem", "key.pem")
	if err != nil {
		log.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	if keys := cluster.TicketKeys(ln); keys != nil { // a key made of nothing would be no secret
		config.SetSessionTicketKeys([][32]byte{sha256.Sum256(keys)})
	}
	if err := w.Serve(ctx, &http.Server{}, tls.NewListener(ln, config)); err != nil {
		log.Fatal(err)
	}
}

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
	if err := w.Serve(ctx, srv, ln); err != nil { // until the primary asks us to disconnect, or is gone; then it drains
		log.Fatal(err)
	}
}

// A Node server in four processes on its port, unchanged, until a SIGTERM.
func ExamplePrimary() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	p := &cluster.Primary{Command: func() *exec.Cmd { return exec.Command("node", "server.js") }}
	defer p.Close()
	for range 4 {
		if _, err := p.Fork(nil); err != nil {
			log.Print(err)
			return
		}
	}
	<-ctx.Done()
	leave, cancel := context.WithTimeout(context.Background(), 30*time.Second) // for requests in flight
	defer cancel()
	if err := p.Shutdown(leave); err != nil {
		log.Print(err)
	}
}
