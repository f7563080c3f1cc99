package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// The last part of the demo, which "make demo" runs in whole: a route moves and comes back. With a worker that is not
// what it should be it fails.
func TestMigrate(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("nodeipc run does not run there")
	}
	if peer := testkit.Peer(t); peer.Kind != "Node" {
		t.Skip("for Node, not for " + peer.String())
	}
	bin := t.TempDir()
	for name, source := range map[string]string{
		"nodeipc": "../../cmd/nodeipc", "right": "../migration/worker", "wrong": "../worker",
	} {
		out, err := exec.Command("go", "build", "-ldflags=-w", "-o", filepath.Join(bin, name), source).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	app, err := filepath.Abs("app.js")
	require.NoError(t, err)
	run := func(worker string) error {
		return migrate(ctx, filepath.Join(bin, "nodeipc"), testkit.Node(t), app, filepath.Join(bin, worker))
	}
	require.NoError(t, run("right"))
	require.ErrorContains(t, run("wrong"), "5 of 100 should come from Go")
}
