//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package main

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const fdFolder = "/dev/fd"

// dieTogether: nothing kills the child of a killed tap here. It sees its channel end.
func dieTogether() *syscall.SysProcAttr { return nil }

// exiting waits a moment for the process whose channel has ended: nothing tells whether it is on its way out.
func exiting(_ int, exited <-chan struct{}) bool {
	const moment = 10 * time.Millisecond
	select {
	case <-exited:
		return true
	case <-time.After(moment):
		return false
	}
}

func dup2(from, to int) error { return unix.Dup2(from, to) }

// dieOf ends this process by a signal. Go's runtime keeps the disposition of most to itself: a shell in its place does
// not.
func dieOf(sig syscall.Signal) {
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	syscall.Exec("/bin/sh", []string{"sh", "-c", fmt.Sprintf("kill -%d $$", int(sig))}, nil)
	os.Exit(128 + int(sig))
}

// nameOfPID names another process, if that can be seen.
func nameOfPID(int) string { return "?" }
