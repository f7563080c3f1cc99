//go:build !unix || aix || solaris

package cluster

import "github.com/nodeipc/nodeipc-go/nodeipc"

// listenBacklog is not needed where no handle comes.
func listenBacklog(*nodeipc.Handle, int) error { return nil }
