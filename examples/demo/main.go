// Demo runs the main job with the real Node of the PATH and shows it: a greeting between Node and Go in every pairing,
// a Go worker in a Node cluster, a Node worker in a Go cluster, and a route that moves from Node to Go under load. It
// is what "make demo" runs; it fails if anything is not as it should be.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	greeting = `{"type":"greeting","message":"Hello from master!"}`
	response = `{"type":"response","message":"Hi there master!"}`
)

func main() {
	if err := demo(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	fmt.Println("\nAll as it should be.")
}

func demo() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	node, err := nodePath()
	if err != nil {
		return err
	}
	version, err := exec.CommandContext(ctx, node, "--version").Output()
	if err != nil {
		return err
	}
	bin, err := os.MkdirTemp("", "nodeipc-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bin)
	here, err := folder()
	if err != nil {
		return err
	}
	script := func(name string) string { return filepath.Join(here, name) }
	program := func(name string) string {
		if runtime.GOOS == "windows" {
			name += ".exe"
		}
		return filepath.Join(bin, name)
	}
	for _, what := range [][]string{
		{bin, "../child", "../parent", "../worker", "../../cmd/nodeipc"},
		{program("go-worker"), "../migration/worker"},
	} {
		build := exec.CommandContext(ctx, "go", append([]string{"build", "-o"}, what...)...)
		build.Dir, build.Stderr = here, os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("go build: %w", err)
		}
	}

	fmt.Printf("A greeting over the IPC channel (Node %s, %s)\n", strings.TrimSpace(string(version)), runtime.Version())
	parents := []struct {
		name    string
		command []string
	}{{"Node", []string{node, script("parent.js")}}, {"Go", []string{program("parent")}}}
	children := []struct {
		name    string
		command []string
	}{{"Node", []string{node, script("child.js")}}, {"Go", []string{program("child")}}}
	for _, p := range parents {
		for _, c := range children {
			if err := greet(ctx, p.name, c.name, append(append([]string(nil), p.command...), c.command...)); err != nil {
				return err
			}
		}
	}

	fmt.Println("\nA Node cluster primary with a Node worker and a Go worker")
	primary := exec.CommandContext(ctx, node, script("primary.js"), program("worker"))
	primary.Stdout, primary.Stderr = os.Stdout, os.Stderr
	if err := primary.Run(); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}

	if runtime.GOOS == "windows" {
		return nil
	}
	fmt.Println("\nA Go primary with a Node worker and a Go worker on one port")
	if err := goPrimary(ctx, []string{node, script("../primary/server.js")}, []string{program("worker")}); err != nil {
		return fmt.Errorf("Go primary: %w", err)
	}

	fmt.Println("\nA route of a running service moves from Node to Go, and back, under load")
	if err := migrate(ctx, program("nodeipc"), node, script("app.js"), program("go-worker")); err != nil {
		return fmt.Errorf("migration: %w", err)
	}
	return nil
}

// greet runs a parent that greets a child and checks the answer.
func greet(ctx context.Context, parent, child string, command []string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s parent, %s child: %w", parent, child, err)
	}
	answer := strings.TrimSpace(out.String())
	fmt.Printf("  %-4s parent sends %s\n  %-4s child answers %s\n", parent, greeting, child, answer)
	if answer != response {
		return fmt.Errorf("%s parent, %s child: expected the answer %s", parent, child, response)
	}
	return nil
}

func nodePath() (string, error) {
	name := os.Getenv("NODEIPC_NODE")
	if name == "" {
		name = "node"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", errors.New("the demo needs Node: put node on the PATH or name it in NODEIPC_NODE")
	}
	return path, nil
}

// folder finds the demo's own folder, where its scripts are.
func folder() (string, error) {
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/nodeipc/nodeipc-go/examples/demo").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w (run the demo inside the repository)", err)
	}
	return strings.TrimSpace(string(out)), nil
}
