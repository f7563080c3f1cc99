package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readSize = 256 << 10
	patience = time.Minute // with one subject, beyond what it is to be measured for; then it is killed and has failed
)

// A peer is the process that is measured, our child or our parent, and our end of the channel to it. The end is
// blocking, and its system calls are raw: the driver's goroutine has its thread and its processor to itself, so a
// blocked read needs no scheduler around it, and what is between the kernel and the comparison of bytes is as little as
// a C program would have.
type peer struct {
	fd    int
	pid   int
	began time.Time // just before the process was started
	buf   []byte
}

// parentPeer is the process that has started this one, as NODE_CHANNEL_FD says.
func parentPeer() (*peer, error) {
	fd, err := strconv.Atoi(os.Getenv("NODE_CHANNEL_FD"))
	if err != nil {
		return nil, fmt.Errorf("NODE_CHANNEL_FD: %w", err)
	}
	if mode := os.Getenv("NODE_CHANNEL_SERIALIZATION_MODE"); mode != "" && mode != "json" {
		return nil, fmt.Errorf("the channel's serialization mode is %q", mode)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &peer{fd: fd, pid: os.Getppid(), buf: make([]byte, readSize)}, nil
}

// close ends the channel, on which nothing may be left then.
func (p *peer) close(err error) error {
	if err == nil {
		if n, _, rerr := unix.Recvfrom(p.fd, p.buf[:100], unix.MSG_DONTWAIT); rerr == nil && n > 0 {
			err = fmt.Errorf("more came than was asked for, beginning with %q", p.buf[:n])
		}
	}
	unix.Close(p.fd)
	return err
}

// cpu is the processor time of the peer so far.
func (p *peer) cpu() time.Duration { return cpuOf(p.pid) }

// cpuOf is the processor time of a process so far, all its threads included.
func cpuOf(pid int) time.Duration {
	const sched = 2 // CPUCLOCK_SCHED, of a whole process
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		// Our child is not reaped yet, our parent would be if it had ended before us, and workers that end fail their requests.
		panic(fmt.Sprintf("processor clock of process %d: %v", pid, err))
	}
	return time.Duration(ts.Nano())
}

func (p *peer) syscall(trap uintptr, b []byte, flags uintptr) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(trap, uintptr(p.fd),
			uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

func (p *peer) write(b []byte) error {
	for len(b) > 0 {
		n, err := p.syscall(unix.SYS_SENDTO, b, unix.MSG_NOSIGNAL)
		if err != nil {
			return fmt.Errorf("write to the subject: %w", err)
		}
		b = b[n:]
	}
	return nil
}

// writeSome writes what the socket takes now.
func (p *peer) writeSome(b []byte) (int, error) {
	n, err := p.syscall(unix.SYS_SENDTO, b, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if err == unix.EAGAIN {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("write to the subject: %w", err)
	}
	return n, nil
}

func (p *peer) read(b []byte) (int, error) {
	n, err := p.syscall(unix.SYS_RECVFROM, b, 0)
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, fmt.Errorf("read from the subject: %w", err)
	}
	return n, nil
}

// ready waits until there is something to read, or until writing may go on.
func (p *peer) ready() (readable bool, err error) {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN | unix.POLLOUT}}
	for {
		_, err := unix.Poll(fds, -1)
		if err != unix.EINTR {
			return fds[0].Revents&^unix.POLLOUT != 0, os.NewSyscallError("poll", err)
		}
	}
}

// differ says where got leaves want.
func differ(at int, got, want []byte) error {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	near := func(b []byte) []byte { return b[max(0, i-40):min(len(b), i+40)] }
	return fmt.Errorf("wrong bytes at offset %d: got %q, want %q", at+i, near(got), near(want))
}

// expect reads exactly want.
func (p *peer) expect(want []byte) error {
	for at := 0; at < len(want); {
		n, err := p.read(p.buf[:min(len(p.buf), len(want)-at)])
		if err != nil {
			return err
		}
		if !bytes.Equal(p.buf[:n], want[at:at+n]) {
			return differ(at, p.buf[:n], want[at:at+n])
		}
		at += n
	}
	return nil
}

// A process is a subject that we have started. When its time is over it is killed.
type process struct {
	*os.Process
	dog  *time.Timer
	late atomic.Bool
}

func spawn(argv, env []string, limit time.Duration, files ...*os.File) (*process, error) {
	all := slices.DeleteFunc(os.Environ(), func(e string) bool { // NODE_OPTIONS and its like would change what is measured
		prefix, _, _ := strings.Cut(e, "_")
		return slices.Contains([]string{"NODE", "NODEIPC", "BUN", "DENO"}, prefix)
	})
	all = append(append(all, "DENO_NO_UPDATE_CHECK=1"), env...)
	proc, err := os.StartProcess(argv[0], argv, &os.ProcAttr{Env: all, Files: files})
	if err != nil {
		return nil, err
	}
	p := &process{Process: proc}
	p.dog = time.AfterFunc(limit, func() {
		p.late.Store(true)
		proc.Kill()
	})
	return p, nil
}

// end waits for the process, which has to leave by itself and contentedly. err is what went wrong before.
func (p *process) end(err error) error {
	p.dog.Reset(10 * time.Second)
	state, werr := p.Wait()
	p.dog.Stop()
	switch {
	case p.late.Load():
		return errors.Join(err, errors.New("the subject was too slow and has been killed"))
	case err != nil:
		return fmt.Errorf("%w (subject: %v)", err, state)
	case werr != nil:
		return werr
	case !state.Success():
		return fmt.Errorf("the subject ended with %v after its channel was closed", state)
	}
	return nil
}
