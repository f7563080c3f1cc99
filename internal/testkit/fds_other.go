//go:build !linux

package testkit

// descriptors knows nothing here: only Linux lists them where any process may read.
func descriptors() map[string]string { return nil }

// OpenDescriptors knows nothing here.
func OpenDescriptors() int { return 0 }
