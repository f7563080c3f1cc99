//go:build unix

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// Scripts have the module in front of them, which they and their children do not see.
func TestRunOrderly(t *testing.T) {
	t.Parallel()
	if peer := testkit.Peer(t); peer.Kind != "Node" {
		t.Skip("for Node, not for " + peer.String())
	}
	const script = `console.log('has', Symbol.for('nodeipc.orderly') in require('cluster').worker, process.execArgv)
		process.on('message', () => {}) // is there until the channel ends`
	start := func(t *testing.T, tmp string, args ...string) *running {
		r := newRun(t, append([]string{"--ready", "online"}, args...)...)
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, "script.js"), []byte(script), 0o600))
		require.NoError(t, os.Mkdir(filepath.Join(r.dir, "tmp"), 0o700))
		r.cmd.Env = append(r.cmd.Env, "TMPDIR="+tmp)
		return r.start()
	}
	end := func(t *testing.T, r *running) {
		r.signal(syscall.SIGTERM)
		require.Equal(t, 0, r.exit())
		left, err := os.ReadDir(filepath.Join(r.dir, "tmp"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
	t.Run("by default", func(t *testing.T) {
		t.Parallel()
		r := start(t, "tmp", "script.js") // which is relative
		r.await(`^\[1\] has true \[\]$`)
		folders, err := filepath.Glob(filepath.Join(r.dir, "tmp", "*"))
		require.NoError(t, err)
		require.Len(t, folders, 1)
		info, err := os.Stat(folders[0])
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
		require.NoError(t, os.RemoveAll(folders[0]), "somebody has cleaned up")
		require.NoError(t, os.Mkdir(folders[0], 0o700), "and somebody else has seen the name")
		other := filepath.Join(folders[0], "orderly.cjs")
		require.NoError(t, os.WriteFile(other, []byte("console.log('another'); process.exit()"), 0o600))
		r.signal(syscall.SIGHUP)
		r.await(`^\[2\] has true \[\]$`)
		require.FileExists(t, other, "it is not ours")
		require.NoError(t, os.RemoveAll(folders[0]))
		end(t, r)
	})
	for name, args := range map[string][]string{
		"switched off": {"--orderly=false", "script.js"}, "a command": {"--", "node", "script.js"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, "tmp", args...)
			r.await(`^\[1\] has false \[\]$`)
			end(t, r)
		})
	}
	t.Run("no place for it", func(t *testing.T) {
		t.Parallel()
		r := start(t, "none", "script.js")
		r.await(`--orderly: .*none.*; group main is run without`)
		r.await(`^\[1\] has false \[\]$`)
		r.signal(syscall.SIGHUP)
		r.await(`^\[2\] has false \[\]$`)
		require.Len(t, regexp.MustCompile("--orderly").FindAllString(r.said("err"), -1), 1)
		end(t, r)
	})
}
