package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// profileEnv names the file for a profile of this program.
const profileEnv = "NODEIPC_BENCH_CPUPROFILE"

// primary is that of two workers, which run the program, with the policy that mode says. It tells the driver on which port they listen, and which
// processes they are.
func primary(ctx context.Context, mode string, program []string) error {
	scheduling, err := policy(mode)
	if err != nil {
		return err
	}
	os.Unsetenv(profileEnv) // the profile is of this process
	ch, err := nodeipc.Connect(nil)
	if err != nil {
		return err
	}
	defer ch.Close()
	p := &cluster.Primary{Scheduling: scheduling, Command: func() *exec.Cmd {
		cmd := exec.Command(program[0], program[1:]...)
		cmd.Stderr = os.Stderr
		return cmd
	}}
	defer p.Close()
	var ready struct {
		Port int
		Pids []int
	}
	for _, group := range groups {
		w, err := p.Fork(&cluster.ForkOptions{Group: group})
		if err != nil {
			return err
		}
		if err := w.Await(ctx, cluster.Listening); err != nil {
			return err
		}
		s := w.Status()
		ready.Port = s.Addrs[0].(*net.TCPAddr).Port
		ready.Pids = append(ready.Pids, s.Pid)
	}
	if err := ch.Send(ctx, ready); err != nil {
		return err
	}
	if _, err := ch.Receive(ctx); err != io.EOF {
		return err
	}
	return p.Shutdown(ctx)
}

// groups are those of the workers.
var groups = [2]string{"web", "api"}

// policy returns the one that is called mode, round robin if none is. All of them give the driver's requests to both workers
// in the same measure, and those that look at requests to either: how busy the workers are is not to make a difference.
func policy(mode string) (cluster.Scheduling, error) {
	both := cluster.Weights{groups[0]: 1, groups[1]: 1}
	switch mode {
	case "weighted":
		return cluster.Weighted(both), nil
	case "least":
		return cluster.LeastConnections(), nil
	case "sticky":
		return cluster.Sticky(), nil
	case "path":
		return cluster.ByRequest(&cluster.Routes{Routes: []cluster.Route{
			{Pattern: "POST /upload/{name}", To: both},
			{Pattern: "/api/", To: both},
			{Pattern: "/", To: both},
		}})
	case "cookie":
		return cluster.ByRequest(&cluster.Routes{Routes: []cluster.Route{{Cookie: "canary=1", To: both}, {Pattern: "/", To: both}}})
	}
	return cluster.RoundRobin, nil
}

// serve is a worker of a primary.
func serve(ctx context.Context) error {
	w, err := cluster.Join(nil)
	if err != nil {
		return err
	}
	ln, err := w.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	return w.Serve(ctx, &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		io.WriteString(rw, "ok")
	})}, ln)
}
