//go:build unix

// Worker is what the scripts of this folder adopt: it serves HTTP on PORT as a worker of a Node cluster, says on its
// outputs what happens to it, answers messages, and drains on SIGTERM, SIGINT and when it is asked to disconnect.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

func main() {
	for _, pair := range os.Environ() {
		if strings.HasPrefix(pair, "NODE_CHANNEL_") && strings.HasSuffix(pair, "=") {
			log.Fatal(pair)
		}
	}
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	others := make(chan os.Signal, 8)
	signal.Notify(others, syscall.SIGHUP, syscall.SIGUSR2)
	ctx := context.Background()
	w, err := cluster.Join(nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("höhe of %d: %q\n", os.Getpid(), os.Args[1:])
	fmt.Fprintf(os.Stderr, "error of %d\n", os.Getpid())
	ln, err := w.Listen(ctx, "tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(serve)}
	fmt.Println("listening")
	leave, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- w.Serve(leave, srv, ln) }()
	go func() {
		for m, err := range w.Channel().Messages(ctx) {
			var question struct{ Ping string }
			if err == nil && m.Decode(&question) == nil && question.Ping != "" {
				w.Channel().Send(ctx, m)
			}
		}
	}()

	for stay := true; stay; {
		select {
		case s := <-others:
			w.Channel().Send(ctx, map[string]any{"signal": s.String()})
		case <-stop.Done():
			fmt.Printf("stopped of %d\n", os.Getpid())
			stay = false
		case <-w.Done():
			fmt.Printf("left of %d\n", os.Getpid())
			stay = false
		}
	}
	cancel()
	if err := <-served; err != nil {
		log.Fatal(err)
	}
	fmt.Printf("end of %d\n", os.Getpid())
}

// serve says which process this is, or ends it as the path says: /exit/7, /kill/9.
func serve(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Connection", "close")
	how, number, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	n, _ := strconv.Atoi(number)
	switch how {
	case "exit":
		os.Exit(n)
	case "kill":
		syscall.Kill(os.Getpid(), syscall.Signal(n))
		select {}
	}
	fmt.Fprint(rw, os.Getpid(), " ", os.Getppid())
}
