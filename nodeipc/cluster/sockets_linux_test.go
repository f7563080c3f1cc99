package cluster_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// listening returns how many of the TCP sockets that the process has open listen.
func listening(t testing.TB, pid int) int {
	t.Helper()
	open := map[string]bool{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	require.NoError(t, err)
	for _, link := range links {
		if what, err := os.Readlink(link); err == nil {
			open[what] = true
		}
	}
	n := 0
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
		if os.IsNotExist(err) {
			continue // no IPv6
		}
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			const listen = "0A" // TCP_LISTEN
			if f := strings.Fields(line); len(f) > 9 && f[3] == listen && open["socket:["+f[9]+"]"] {
				n++
			}
		}
	}
	return n
}
