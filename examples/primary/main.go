// Primary runs a Node server in several processes on one port, unchanged, and Go workers beside them if there are any:
//
//	PORT=8000 primary -n 4 node server.js
//	PORT=8000 primary -n 2 -go ./worker -m 2 node server.js
//
// SIGHUP restarts the workers one by one; each leaves when its successor listens, and stays if that fails. SIGTERM and
// Ctrl-C end it when all requests have been answered, within half a minute; a second one hurries.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

const (
	startTime = 30 * time.Second // for a new worker to listen
	leaveTime = 30 * time.Second // for an old one's requests
)

func main() {
	n := flag.Int("n", 2, "how many workers run the command")
	binary := flag.String("go", "", "a Go worker to run beside them, such as examples/worker")
	m := flag.Int("m", 1, "how many of those")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: primary [options] COMMAND [ARGUMENT...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	commands := map[string][]string{"node": flag.Args()}
	groups := make([]string, *n)
	for i := range groups {
		groups[i] = "node"
	}
	if *binary != "" {
		commands["go"] = []string{*binary}
		for range *m {
			groups = append(groups, "go")
		}
	}
	if err := run(commands, groups); err != nil {
		log.Fatal(err)
	}
}

// A crew is the workers of a primary. One goroutine uses it.
type crew struct {
	p        *cluster.Primary
	commands map[string][]string       // by group
	serving  map[*cluster.Process]bool // those that have begun to listen
	ended    chan *cluster.Process
}

func run(commands map[string][]string, groups []string) error {
	// Signals first, so that none is lost.
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	leave, hurry := context.WithCancel(context.Background())
	defer hurry()
	term := make(chan os.Signal, 2)
	signal.Notify(term, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-term
		stop()
		<-term
		hurry()
	}()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)

	p := &cluster.Primary{
		Changed: func(w *cluster.Process, s cluster.State) { log.Printf("worker %d, %s: %v", w.ID(), w.Group(), s) },
		Logger:  slog.Default(),
	}
	defer p.Close() // whatever happens, no worker outlives us
	c := &crew{p, commands, map[*cluster.Process]bool{}, make(chan *cluster.Process)}
	for _, group := range groups {
		if err := c.start(ctx, group); ctx.Err() != nil {
			break
		} else if err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		select {
		case <-hup:
			if err := c.restart(ctx); err != nil {
				log.Print("the other workers stay: ", err)
			} else {
				log.Print("all workers restarted")
			}
		case w := <-c.ended:
			c.replace(ctx, w)
		case <-ctx.Done():
		}
	}
	log.Print("shutting down")
	leave, cancel := context.WithTimeout(leave, leaveTime)
	defer cancel()
	return p.Shutdown(leave)
}

// start starts a worker and waits until it listens.
func (c *crew) start(ctx context.Context, group string) error {
	command := c.commands[group]
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	w, err := c.p.Fork(&cluster.ForkOptions{Command: cmd, Group: group})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := w.Await(ctx, cluster.Listening); err != nil {
		w.Kill()
		return err
	}
	c.serving[w] = true
	go func() {
		<-w.Done()
		c.ended <- w
	}()
	return nil
}

// restart gives each worker a successor.
func (c *crew) restart(ctx context.Context) error {
	for _, old := range c.p.Workers() {
		if !c.serving[old] {
			continue
		}
		if err := c.start(ctx, old.Group()); err != nil {
			return err
		}
		delete(c.serving, old)
		go func() { // the next one need not wait for this one's requests
			ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
			defer cancel()
			if err := old.Shutdown(ctx); err != nil {
				log.Print(err)
			}
		}()
	}
	return nil
}

// replace starts another worker for one that has ended, unless it had a successor or left by itself.
func (c *crew) replace(ctx context.Context, w *cluster.Process) {
	if !c.serving[w] || w.Status().ExitedAfterDisconnect {
		delete(c.serving, w)
		return
	}
	if err := c.start(ctx, w.Group()); err != nil {
		log.Print(err)
		time.AfterFunc(time.Second, func() { c.ended <- w }) // once more
		return
	}
	delete(c.serving, w)
}
