package testkit

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// descriptors returns the open descriptors of this process and what each links to.
func descriptors() map[string]string {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		panic(err)
	}
	open := make(map[string]string, len(entries))
	for _, e := range entries {
		// The folder itself was open while it was read; by now it is closed, and its link cannot be read.
		if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			open[e.Name()] = link
		}
	}
	return open
}

// OpenDescriptors counts the open descriptors of this process, fast enough for fuzzing.
func OpenDescriptors() int {
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	defer unix.Close(dir)
	count := -1 // the folder itself
	for buf := make([]byte, 8<<10); ; {
		n, err := unix.Getdents(dir, buf)
		if err != nil {
			panic(err)
		}
		if n == 0 {
			return count
		}
		_, found, _ := unix.ParseDirent(buf[:n], -1, nil)
		count += found
	}
}
