//go:build unix && !aix && !linux && !solaris

package cluster

import (
	"os/exec"

	"golang.org/x/sys/unix"
)

type spawner struct{}

// start starts cmd, which ends with its channel if this process ends.
func (p *Primary) start(cmd *exec.Cmd) error { return cmd.Start() }

func (s *spawner) end() {}

func awaitExit(int) {}

// The number of a process is given up by the waiting for it. It could be another's when its group is killed after that,
// but only if the group is empty, and numbers come round in the meantime.
const awaitsExit = false

// reuseOption is what libuv takes.
func reuseOption(typ int) int {
	if typ == unix.SOCK_DGRAM {
		return unix.SO_REUSEPORT
	}
	return unix.SO_REUSEADDR
}
