// Primary moves GET /api/users from Node workers to Go workers, a step further with each SIGHUP, and back when a Go
// worker dies.
package main

import (
	"context"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// share gives Go so many of a hundred connections that begin with the route, and nothing else.
func share(percent int) cluster.Scheduling {
	s, err := cluster.ByRequest(&cluster.Routes{Routes: []cluster.Route{
		{Pattern: "GET /api/users", To: cluster.Weights{"go": percent, "node": 100 - percent}},
		{To: cluster.Weights{"node": 1}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	return s
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("primary: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	further := make(chan os.Signal, 1)
	signal.Notify(further, syscall.SIGHUP)
	died := make(chan *cluster.Process, 10)
	p := &cluster.Primary{
		Scheduling: share(0),
		Changed: func(w *cluster.Process, s cluster.State) {
			if s == cluster.Dead && w.Group() == "go" {
				died <- w
			}
		},
	}
	defer p.Close()
	for _, argv := range [][]string{{"node", "server.js"}, {"node", "server.js"}, {"./go-worker"}, {"./go-worker"}} {
		group := "node"
		if argv[0] != "node" {
			group = "go"
		}
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		w, err := p.Fork(&cluster.ForkOptions{Command: cmd, Group: group})
		if err == nil {
			err = w.Await(ctx, cluster.Listening)
		}
		if err != nil {
			log.Fatal(err)
		}
		log.Printf("worker %d, %s, pid %d: listening", w.ID(), group, cmd.Process.Pid)
	}

	steps := []int{5, 25, 100}
	for {
		select {
		case <-further:
			if len(steps) > 0 {
				p.Schedule(share(steps[0]))
				log.Printf("Go has %d of 100", steps[0])
				steps = steps[1:]
			}
		case w := <-died:
			p.Schedule(share(0))
			steps = nil
			log.Printf("worker %d, go: dead; Node has all", w.ID())
		case <-ctx.Done():
			leave, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			if err := p.Shutdown(leave); err != nil {
				log.Print(err)
			}
			return
		}
	}
}
