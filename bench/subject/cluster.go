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

// primary is that of two workers, which run the program. It tells the driver on which port they listen, and which
// processes they are.
func primary(ctx context.Context, program []string) error {
	os.Unsetenv(profileEnv) // the profile is of this process
	ch, err := nodeipc.Connect(nil)
	if err != nil {
		return err
	}
	defer ch.Close()
	p := &cluster.Primary{Command: func() *exec.Cmd {
		cmd := exec.Command(program[0], program[1:]...)
		cmd.Stderr = os.Stderr
		return cmd
	}}
	defer p.Close()
	var ready struct {
		Port int
		Pids []int
	}
	for range 2 {
		w, err := p.Fork(nil)
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
