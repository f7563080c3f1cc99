package main

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const fdFolder = "/proc/self/fd"

// dieTogether makes the kernel kill the child when this process is killed: what kills without asking must reach it.
func dieTogether() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// exiting tells whether the process whose channel has ended is on its way out; if so it waits until it is gone. A process
// is marked as exiting before its descriptors are closed.
func exiting(pid int, exited <-chan struct{}) bool {
	const marked = 4 // PF_EXITING of the kernel's sched.h, in the flags of proc(5)
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err == nil {
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
		if err == nil && flags&marked == 0 && fields[0][0] != 'Z' {
			return false
		}
	}
	<-exited
	return true
}

func dup2(from, to int) error { return unix.Dup3(from, to, 0) }

// dieOf ends this process by a signal, with the disposition that it was born with: Go's own would print something for
// some and pass over others.
func dieOf(sig syscall.Signal) {
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // the program has left one, if any
	var act struct {
		handler, flags, restorer uintptr
		mask                     uint64
	}
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&act)), 0, unsafe.Sizeof(act.mask), 0, 0)
	unix.Kill(unix.Getpid(), sig)
	select {}
}

// nameOfPID names another process.
func nameOfPID(pid int) string {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return "?"
	}
	var argv []string
	for arg := range bytes.SplitSeq(bytes.TrimSuffix(line, []byte{0}), []byte{0}) {
		argv = append(argv, string(arg))
	}
	return processName(argv, "")
}
