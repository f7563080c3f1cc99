//go:build unix && !aix && !solaris

package cluster

import (
	"os"
	"syscall"
)

// inherited takes over a descriptor, so that a goroutine, and no thread, waits for it, and processes started later do
// not get it.
func inherited(fd int) *os.File {
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), envAdopted)
}
