//go:build unix

package cluster_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// A successor gets the sockets of a primary, and has its own workers; nobody is refused.
func TestHandover(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, nil)
			if network == "unix" {
				f.addr = filepath.Join(t.TempDir(), "s")
			}
			ln, err := net.Listen(network, f.addr) // connections wait here before there is a worker
			require.NoError(t, err)
			defer ln.Close()
			f.p.Listeners = []syscall.Conn{ln.(syscall.Conn)}
			load := testkit.StartLoad(t, f.addr, 4, false)
			f.fork("")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for i := range 5 {
				next := newFleet(t, nil)
				next.addr = f.addr
				files, err := f.p.Handover()
				require.NoError(t, err)
				require.Len(t, files, 1)
				next.p.Listeners = []syscall.Conn{files[0]}
				next.fork("")
				require.NoError(t, f.p.Shutdown(ctx), i)
				assert.NoError(t, files[0].Close())
				f = next
			}
			sum := load.Stop()
			assert.Zero(t, sum.Lost(), "%+v", *sum)
			assert.Greater(t, sum.Served, int64(50))
			t.Logf("%d requests", sum.Served)
			require.NoError(t, f.p.Shutdown(ctx))
		})
	}
}

func TestSystemdListeners(t *testing.T) {
	t.Setenv("LISTEN_FDS", "2")
	t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()+1))
	files, err := cluster.SystemdListeners()
	assert.NoError(t, err)
	assert.Empty(t, files, "they are another process's")
	assert.Equal(t, "2", os.Getenv("LISTEN_FDS"))
	t.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	t.Setenv("LISTEN_FDS", "many")
	_, err = cluster.SystemdListeners()
	assert.ErrorContains(t, err, "many")
	assert.Empty(t, os.Getenv("LISTEN_PID"))
}
