package testkit

import (
	"os"
	"path/filepath"
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
