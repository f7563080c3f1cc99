//go:build unix

package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

func TestPrimarySmoke(t *testing.T) {
	dir := t.TempDir()
	js := dir + "/server.js"
	require.NoError(t, os.WriteFile(js, []byte(`
require('http').createServer((req, res) => res.end('node ' + require('cluster').worker.id)).listen(+process.env.PORT, '127.0.0.1')
`), 0o644))
	port := freePort(t, "127.0.0.1")
	for _, ser := range []nodeipc.Serialization{nodeipc.JSON, nodeipc.Advanced} {
		for _, sched := range []cluster.Scheduling{cluster.RoundRobin, cluster.None} {
			p := &cluster.Primary{
				Scheduling: sched,
				Channel:    &nodeipc.Options{Serialization: ser},
				Command: func() *exec.Cmd {
					cmd := testkit.Peer(t).Command("cluster_control.js")
					cmd.Args = []string{cmd.Args[0], js}
					cmd.Stderr = os.Stderr
					return cmd
				},
				Changed: func(w *cluster.Process, s cluster.State) { t.Log(w.ID(), s) },
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for range 2 {
				w, err := p.Fork(&cluster.ForkOptions{Env: []string{fmt.Sprint("PORT=", port)}})
				require.NoError(t, err)
				require.NoError(t, w.Await(ctx, cluster.Listening))
			}
			t.Log(served(t, fmt.Sprint("127.0.0.1:", port), 20))
			for _, w := range p.Workers() {
				t.Logf("%+v", w.Status())
			}
			start := time.Now()
			require.NoError(t, p.Shutdown(ctx))
			t.Log(time.Since(start))
		}
	}
	_ = http.MethodGet
}
