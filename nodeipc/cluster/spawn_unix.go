//go:build unix && !aix && !solaris

package cluster

import (
	"os/exec"
	"syscall"
)

// leadGroup makes cmd the leader of a process group, unless it is to be in another, or in another session.
func leadGroup(cmd *exec.Cmd) bool {
	var attr syscall.SysProcAttr
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	if !attr.Setpgid && !attr.Setsid && !attr.Foreground {
		attr.Setpgid = true
	}
	cmd.SysProcAttr = &attr
	return attr.Setpgid && attr.Pgid == 0 || attr.Setsid
}

func killGroup(pid int) { syscall.Kill(-pid, syscall.SIGKILL) }
