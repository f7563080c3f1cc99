// Pm2 serves HTTP under PM2 and says what PM2 wants to hear: that it is ready, and that it leaves when it is told to.
// What the messages are is in docs/ecosystem.md.
//
//	// ecosystem.config.js
//	module.exports = {
//	  apps: [{
//	    name: 'web',
//	    script: './web', // the binary
//	    interpreter: 'none',
//	    exec_mode: 'fork',
//	    wait_ready: true, // for the message "ready"
//	    shutdown_with_message: true, // the message "shutdown" in place of SIGINT
//	    kill_timeout: 30000, // after it SIGKILL; by default 1.6 s
//	    env: { PORT: 8000 },
//	  }],
//	}
//
// It is a worker of PM2's cluster where there is one (exec_mode: 'cluster', whose Node worker gives it its channel).
// Started on its own it serves alone.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// drainTime is less than kill_timeout.
const drainTime = 25 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx)
	stop()
	if err != nil {
		log.Print(err)
		code = 1
	}
	os.Exit(code)
}

// run serves until ctx ends or PM2 wants the end, and returns the exit code.
func run(ctx context.Context) (code int, err error) {
	w, err := cluster.Join(nil)
	if err != nil && !errors.Is(err, cluster.ErrNotWorker) {
		return 0, err
	}
	ch := w.Channel()
	if w == nil {
		ch, err = nodeipc.Connect(nil) // fork mode
		if err != nil && !errors.Is(err, nodeipc.ErrNoChannel) {
			return 0, err
		}
	}

	ln, err := w.Listen(ctx, "tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		return 0, err
	}
	srv := &http.Server{Handler: http.HandlerFunc(serve)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()

	end := make(chan int, 1)
	if ch != nil {
		defer ch.Close() // what has been sent is written before the exit
		if err := ch.Send(ctx, "ready"); err != nil {
			return 0, err
		}
		go func() { end <- listen(ch) }()
	}
	select {
	case code = <-end:
	case <-w.Done():
	case <-ctx.Done(): // without shutdown_with_message
	}

	log.Print("draining")
	ln.Close()
	<-served // every connection that was accepted is known to srv now
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil { // requests in flight finish
		return 0, err
	}
	return code, w.Disconnect(drain)
}

func serve(rw http.ResponseWriter, r *http.Request) {
	if d, err := time.ParseDuration(r.URL.Query().Get("sleep")); err == nil {
		fmt.Fprintln(os.Stdout, "sleeping") // for pm2 logs
		time.Sleep(d)
	}
	fmt.Fprintf(rw, "go %d\n", os.Getpid())
}

// A packet is what pm2.sendDataToProcessId sends. With the members type and data it reaches pm2.launchBus as the event
// that type names.
type packet struct {
	Type  string          `json:"type"`
	Topic string          `json:"topic"`
	Data  json.RawMessage `json:"data"`
}

// listen obeys PM2 until it wants the end, or is gone, and returns the exit code.
func listen(ch *nodeipc.Channel) (code int) {
	ctx := context.Background()
	for m, err := range ch.Messages(ctx) {
		if err != nil {
			log.Print(err)
			continue
		}
		var text string
		var p packet
		switch {
		case m.Decode(&text) == nil:
			if text == "shutdown" {
				return 0
			}
		case m.Decode(&p) != nil:
		case p.Topic == "exit":
			if err := json.Unmarshal(p.Data, &code); err != nil {
				log.Print(err)
			}
			return code
		case p.Topic != "":
			// PM2 itself dies of null, and takes no notice of data that is.
			if err := ch.Send(ctx, packet{"web:" + p.Topic, p.Topic, p.Data}); err != nil {
				log.Print(err)
			}
		}
	}
	return 0
}
