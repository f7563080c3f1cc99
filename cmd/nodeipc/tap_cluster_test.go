//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// The scenarios of js_fixtures/tap_cluster.js, and what must have gone over the channels.
var tapClusters = []struct {
	name        string
	exit        int
	connections int      // that the primary gives to workers, at least
	handles     []string // that come with messages, all kinds, and who sends them
}{
	{name: "http", connections: 208, handles: []string{"parent net.Native"}},
	{name: "rolling", connections: 40, handles: []string{"parent net.Native"}},
	{name: "udp", handles: []string{"parent dgram.Native"}},
	{name: "unix", connections: 60, handles: []string{"parent net.Native"}},
	{name: "tls", connections: 14, handles: []string{"parent net.Native"}},
	{name: "none", handles: []string{"parent net.Native"}},
	{name: "inuse"},
	{name: "kill", exit: 7},
	{name: "messages", handles: []string{"parent net.Socket", "child net.Socket"}},
	{name: "advanced", connections: 60, handles: []string{"parent net.Native"}},
}

// A cluster sees nothing of a tap: all that it can report is the same without one, as are its stderr and its exit code.
// The one thing that varies on plain Node, the fixture leaves out: see together() there.
func TestTapCluster(t *testing.T) {
	for _, c := range tapClusters {
		t.Run(c.name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			ctx := limited(t)
			node, script := testkit.Node(t), testkit.Fixture("tap_cluster.js")
			output := filepath.Join(t.TempDir(), "tap")
			plain := make(chan outcome, 1)
			go func() { plain <- runProgram(ctx, exec.Command(node, script, c.name)) }()
			tapped := runProgram(ctx, tapCommand("--json", "--output", output, "--", node, script, c.name))
			want := <-plain
			require.Equal(t, c.exit, want.exit, want.stderr)
			require.Equal(t, want.lines(), tapped.lines())

			seen := readTapped(t, output)
			var report clusterReport
			require.NoError(t, json.Unmarshal([]byte(want.stdout), &report))
			require.Len(t, seen.channels, len(report.Workers)) // one for each worker, and no others
			for id, w := range report.Workers {
				ch := seen.channels[id]
				require.NotNil(t, ch, "worker %s", id)
				require.Equal(t, w.told("act"), ch.acts, "worker %s", id)
				require.Subset(t, ch.acts, []string{"online"})
				require.Equal(t, len(w.told("worker message")), ch.messages, "worker %s", id)
				if slices.Contains(w.Events, "SIGKILL") {
					continue // what the primary killed is the tap, which says no more
				}
				require.True(t, strings.HasPrefix(w.told("worker exit")[0], ch.exit+" "), "worker %s: %s", id, ch.exit)
			}
			require.GreaterOrEqual(t, seen.connections, c.connections)
			require.ElementsMatch(t, c.handles, seen.handles)
		})
	}
}

// An outcome is all that comes of a program.
type outcome struct {
	stdout, stderr string
	exit           int
}

// lines makes it possible to see where two differ.
func (o outcome) lines() []string {
	return slices.Concat(strings.SplitAfter(o.stdout, ","), strings.SplitAfter(o.stderr, "\n"), []string{fmt.Sprint(o.exit)})
}

// runProgram runs a program to its end, and to that of all that have its stdout and stderr.
func runProgram(ctx context.Context, cmd *exec.Cmd) outcome {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Start()
	if err == nil {
		stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
		defer stop()
		cmd.WaitDelay = 5 * time.Second // for those that a killed program leaves behind
		err = cmd.Wait()
	}
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		return outcome{stdout.String(), stderr.String() + err.Error(), -1}
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// A clusterReport is what tap_cluster.js prints, as far as the tap shows it too.
type clusterReport struct{ Workers map[string]clusterWorker }

type clusterWorker struct{ Events []string }

// told returns what the events of a name told, one after the other.
func (w clusterWorker) told(name string) []string {
	told := []string{}
	for _, e := range w.Events {
		if rest, ok := strings.CutPrefix(e, name+" "); ok {
			told = append(told, rest)
		}
	}
	return told
}

// tappedCluster is what a tap has written about a cluster.
type tappedCluster struct {
	channels    map[string]*tappedChannel // by worker
	connections int
	handles     []string
}

type tappedChannel struct {
	acts     []string // of messages of the cluster, from the worker
	messages int      // of the worker's own
	exit     string
}

func readTapped(t *testing.T, name string) *tappedCluster {
	t.Helper()
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	seen := &tappedCluster{channels: map[string]*tappedChannel{}}
	byNumber := map[int]*tappedChannel{}
	for d := json.NewDecoder(file); ; {
		var e struct {
			Channel             int
			Event, From, Worker string
			Internal, Handle    string
			Value               any
			Code                int
			Signal              string
		}
		err := d.Decode(&e)
		if err == io.EOF {
			return seen
		}
		require.NoError(t, err)
		ch := byNumber[e.Channel]
		switch e.Event {
		case "start":
			require.Nil(t, ch)
			require.NotContains(t, seen.channels, e.Worker)
			ch = &tappedChannel{acts: []string{}}
			byNumber[e.Channel], seen.channels[e.Worker] = ch, ch
		case "message":
			message, _ := e.Value.(map[string]any)
			act, _ := message["act"].(string)
			if e.Internal == "NODE_CLUSTER" && act == "newconn" {
				seen.connections++
			}
			switch {
			case e.From == "parent":
			case e.Internal == "":
				ch.messages++
			case e.Internal == "NODE_CLUSTER" && act != "":
				ch.acts = append(ch.acts, act)
			}
			if kind := e.From + " " + e.Handle; e.Handle != "" && !slices.Contains(seen.handles, kind) {
				seen.handles = append(seen.handles, kind)
			}
		case "exit":
			require.Empty(t, ch.exit)
			ch.exit = fmt.Sprintf("%d -", e.Code)
			if e.Signal != "" {
				ch.exit = "- " + e.Signal
			}
		}
	}
}
