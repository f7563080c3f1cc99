package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

const requests = 40

// goPrimary is the primary of these two workers, and checks that they serve in turns and leave when they are asked to.
func goPrimary(ctx context.Context, node, goWorker []string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	p := &cluster.Primary{}
	defer p.Close()
	var workers []*cluster.Process
	for _, command := range [][]string{node, goWorker} {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		w, err := p.Fork(&cluster.ForkOptions{Command: cmd, Env: []string{"PORT=" + port}})
		if err != nil {
			return err
		}
		if err := w.Await(ctx, cluster.Listening); err != nil {
			return err
		}
		workers = append(workers, w)
	}
	fmt.Printf("  both workers listen on port %s\n", port)

	turns := []string{fmt.Sprint("node ", workers[0].Status().Pid), fmt.Sprint("go ", workers[1].ID())}
	for i := range requests {
		by, err := get(ctx, "http://127.0.0.1:"+port)
		if err != nil {
			return err
		}
		if by != turns[i%2] {
			return fmt.Errorf("request %d was served by %q, expected %q", i+1, by, turns[i%2])
		}
	}
	fmt.Printf("  %d requests served in turns by workers %q and %q\n", requests, turns[0], turns[1])

	if err := p.Shutdown(ctx); err != nil {
		return err
	}
	for i, name := range []string{"Node", "Go"} {
		w := workers[i]
		code := w.Cmd().ProcessState.ExitCode()
		fmt.Printf("  %s worker: asked to leave, took %d connections, exit code %d\n", name, w.Status().Connections, code)
		if code != 0 {
			return errors.New("expected exit code 0")
		}
	}
	return nil
}

func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Close = true // the next request is another connection
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return strings.TrimSpace(string(body)), err
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	return port, err
}
