package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// migrate moves a route of a service from Node to Go and back, as docs/migration.md tells, under load.
func migrate(ctx context.Context, nodeipc, node, app, worker string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nodeipc-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &service{
		program: nodeipc, port: port, control: filepath.Join(dir, "control"),
		dir: filepath.Join(filepath.Dir(app), "../migration"),
	}
	defer s.kill()
	goGroup := []string{"--group", "go=2:'" + worker + "'"}
	route := func(to string) []string {
		return append(slices.Clone(goGroup), "--route", to+": GET /api/users", "--route", "node:")
	}
	var l *load
	for _, step := range []struct {
		name  string
		flags []string
		goes  int // to Go, of a hundred
	}{
		{"before: all of it from Node", nil, 0},
		{"five of a hundred from Go", route("go=5,node=95"), 5},
		{"the whole route from Go", route("go"), 100},
		{"and back: all from Node", nil, 0},
	} {
		if err := s.step(ctx, append(step.flags, "--", node, app)); err != nil {
			return err
		}
		if l == nil {
			l = startLoad(ctx, "http://127.0.0.1:"+port)
			defer l.stop()
		}
		users, err := l.next(ctx, 100)
		if err != nil {
			return err
		}
		fmt.Printf("  %-30s GET /api/users: %3d by Node, %3d by Go\n", step.name, users["Node"], users["Go"])
		if err := check(users, step.goes); err != nil {
			return err
		}
	}
	l.stop()
	fmt.Printf("  %d requests were made during all that\nfailed requests: %d\n", l.made, l.failed)
	if l.failed > 0 {
		return l.err
	}
	return s.end()
}

// check looks who has answered a hundred requests. Where Node is slow, on a busy machine, Go gets some more of them.
func check(by map[string]int, goes int) error {
	n := by["Go"]
	if by["Node"]+n != 100 || n < goes || n > goes && (goes == 0 || n > goes+20) {
		return fmt.Errorf("%d of 100 should come from Go: %v", goes, by)
	}
	return nil
}

// A service is nodeipc run, one after the other.
type service struct {
	program, port, control, dir string
	current                     *exec.Cmd // nil when it has ended
}

// step has another nodeipc run take the place of the one before, which has gone then.
func (s *service) step(ctx context.Context, args []string) error {
	args = append([]string{"run", "-i", "2", "--name", "node", "--control", s.control, "--upgrade"}, args...)
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "PORT="+s.port)
	cmd.Stdout = os.Stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(stderr)
	var said strings.Builder
	for !strings.Contains(lines.Text(), "a successor can come") {
		if !lines.Scan() {
			cmd.Wait()
			return fmt.Errorf("nodeipc run has ended:\n%s", said.String())
		}
		fmt.Fprintln(&said, lines.Text())
	}
	go io.Copy(io.Discard, stderr)
	before := s.current
	s.current = cmd
	if before == nil {
		return nil
	}
	return before.Wait()
}

func (s *service) end() error {
	if err := s.current.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	err := s.current.Wait()
	s.current = nil
	return err
}

func (s *service) kill() {
	if s.current != nil {
		s.current.Process.Kill()
		s.current.Wait()
	}
}

// A load is clients of each of the two pages, with a connection for each request.
type load struct {
	cancel context.CancelFunc
	all    sync.WaitGroup
	change chan struct{}

	mu           sync.Mutex
	made, failed int
	err          error // the first
	users        map[string]int
	left         int // that users is to count
}

func startLoad(ctx context.Context, url string) *load {
	l := &load{change: make(chan struct{}, 1)}
	ctx, l.cancel = context.WithCancel(ctx)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/", "/api/users"} {
		l.all.Go(func() {
			for ctx.Err() == nil {
				by, err := ask(client, url+path)
				if path == "/" && err == nil && by != "Node" {
					err = fmt.Errorf("%s comes from %q", path, by)
				}
				l.answered(path, by, err)
				time.Sleep(time.Millisecond) // a machine has other things to do
			}
		})
	}
	return l
}

func ask(client *http.Client, url string) (by string, err error) {
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return res.Header.Get("X-Powered-By"), err
}

func (l *load) answered(path, by string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made++
	if err != nil {
		l.failed++
		if l.err == nil {
			l.err = err
		}
	}
	if path == "/api/users" && l.left > 0 {
		l.users[by]++
		l.left--
	}
	if l.left == 0 || err != nil {
		select {
		case l.change <- struct{}{}:
		default:
		}
	}
}

// next returns who answers the next n requests for the users. It fails if any request has failed so far.
func (l *load) next(ctx context.Context, n int) (map[string]int, error) {
	l.mu.Lock()
	l.users, l.left = map[string]int{}, n
	l.mu.Unlock()
	for {
		l.mu.Lock()
		users, left, err := maps.Clone(l.users), l.left, l.err
		l.mu.Unlock()
		if err != nil || left == 0 {
			return users, err
		}
		select {
		case <-l.change:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (l *load) stop() {
	l.cancel()
	l.all.Wait()
}
