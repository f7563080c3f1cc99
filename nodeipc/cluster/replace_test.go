//go:build unix

package cluster_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// hammer makes requests, each over a connection of its own, from several goroutines until stop is called, which returns how
// many there were and the errors. network is tcp or unix.
func hammer(t testing.TB, network, addr string) (stop func() (int64, []error)) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	var n atomic.Int64
	var errs []error
	var mu sync.Mutex
	var all sync.WaitGroup
	over := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				res, err := client.Get("http://any/")
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				n.Add(1)
				if err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	var once sync.Once
	end := func() { once.Do(func() { close(over); all.Wait() }) }
	t.Cleanup(end)
	return func() (int64, []error) { end(); return n.Load(), errs }
}

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
			stop := hammer(t, network, f.addr)
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
			n, errs := stop()
			assert.Empty(t, errs)
			assert.Greater(t, n, int64(50))
			t.Logf("%d requests", n)
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
