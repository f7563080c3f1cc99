//go:build linux

// The floor: children that do what the benchmark asks with bare system calls and without the library, to show what
// the Go runtime and the kernel cost. Mode poll reads and writes through the runtime's poller, as package net does;
// raw does too, but does not tell the scheduler of system calls that cannot block anyway; block reads on a thread of
// its own. Nothing here is a channel: nothing is checked or parsed.
package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

type conn interface {
	read(p, oob []byte) (n, oobn int)
	write(p []byte)
}

func main() {
	verb, mode := os.Args[1], os.Args[2]
	var counts []int
	for _, s := range os.Args[3:] {
		n, err := strconv.Atoi(s)
		check(err)
		counts = append(counts, n)
	}
	const fd = 3
	unix.CloseOnExec(fd)
	var c conn
	if mode == "block" {
		runtime.LockOSThread()
		c = blocked(fd)
	} else {
		check(unix.SetNonblock(fd, true))
		conn, err := os.NewFile(fd, "channel").SyscallConn()
		check(err)
		c = &polled{conn: conn, raw: mode == "raw"}
	}
	switch verb {
	case "echo":
		echo(c)
	case "sink":
		sink(c, counts[0], counts[1])
	case "flood":
		flood(c, counts[0], counts[1], counts[2])
	case "handle":
		handle(c, mode != "block", counts[0], counts[1])
	case "online":
		c.write([]byte(`{"cmd":"NODE_CLUSTER","act":"online","seq":0}` + "\n"))
		c.read(make([]byte, 1), nil)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// blocked is a blocking descriptor.
type blocked int

func (b blocked) read(p, oob []byte) (n, oobn int) {
	for {
		var err error
		if oob == nil {
			n, err = unix.Read(int(b), p)
		} else {
			n, oobn, _, _, err = unix.Recvmsg(int(b), p, oob, unix.MSG_CMSG_CLOEXEC)
		}
		if err == unix.EINTR {
			continue
		}
		check(err)
		return n, oobn
	}
}

func (b blocked) write(p []byte) {
	for len(p) > 0 {
		n, err := unix.Write(int(b), p)
		if err == unix.EINTR {
			continue
		}
		check(err)
		p = p[n:]
	}
}

// polled is a non-blocking descriptor that the runtime watches.
type polled struct {
	conn syscall.RawConn
	raw  bool
}

func (f *polled) sysRead(fd uintptr, p []byte) (int, error) {
	if !f.raw {
		return unix.Read(int(fd), p)
	}
	n, _, e := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

func (f *polled) sysWrite(fd uintptr, p []byte) (int, error) {
	if !f.raw {
		return unix.Write(int(fd), p)
	}
	n, _, e := unix.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

func (f *polled) read(p, oob []byte) (n, oobn int) {
	var err error
	check(f.conn.Read(func(fd uintptr) bool {
		for {
			if oob == nil {
				n, err = f.sysRead(fd, p)
			} else {
				n, oobn, _, _, err = unix.Recvmsg(int(fd), p, oob, unix.MSG_CMSG_CLOEXEC)
			}
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	}))
	check(err)
	return n, oobn
}

func (f *polled) write(p []byte) {
	var err error
	check(f.conn.Write(func(fd uintptr) bool {
		for len(p) > 0 {
			var n int
			n, err = f.sysWrite(fd, p)
			if err == unix.EINTR {
				continue
			}
			if err == unix.EAGAIN {
				return false
			}
			if err != nil {
				return true
			}
			p = p[n:]
		}
		return true
	}))
	check(err)
}

func echo(c conn) {
	buf := make([]byte, 64<<10)
	for {
		n, _ := c.read(buf, nil)
		if n == 0 {
			return
		}
		c.write(buf[:n])
	}
}

func answer(c conn, count int, hash uint32) {
	c.write(fmt.Appendf(nil, "{\"count\":%d,\"hash\":%d}\n", count, hash))
}

// sink finds the ends of the lines and reads the id, which is always six digits at the same place.
func sink(c conn, warm, count int) {
	buf := make([]byte, 64<<10)
	var hash uint32
	total, left, have := warm, warm, 0
	for {
		n, _ := c.read(buf[have:], nil)
		if n == 0 {
			return
		}
		rest := buf[:have+n]
		for {
			end := bytes.IndexByte(rest, '\n')
			if end < 0 {
				break
			}
			var id uint32
			for _, d := range rest[6:12] {
				id = id*10 + uint32(d-'0')
			}
			hash = hash*31 + id
			rest = rest[end+1:]
			if left--; left == 0 {
				answer(c, total, hash)
				total, left, hash = count, count, 0
			}
		}
		have = copy(buf, rest)
	}
}

// flood copies one message after the other into a block and writes full blocks.
func flood(c conn, samples, warm, count int) {
	const frame = 65
	kept := make([]byte, samples*frame)
	for at := 0; at < len(kept); {
		n, _ := c.read(kept[at:], nil)
		at += n
	}
	in := make([]byte, 64)
	block := make([]byte, 0, 64<<10)
	for _, n := range []int{warm, count} {
		c.read(in, nil)
		for i := range n {
			at := i % samples * frame
			block = append(block, kept[at:at+frame]...)
			if cap(block)-len(block) < frame {
				c.write(block)
				block = block[:0]
			}
		}
		c.write(block)
		block = block[:0]
	}
	c.read(in, nil)
}

// handle takes each socket as a bare descriptor or makes a net.Conn of it.
func handle(c conn, wrap bool, warm, count int) {
	buf, oob := make([]byte, 4096), make([]byte, 256)
	ack := []byte(`{"cmd":"NODE_HANDLE_ACK"}` + "\n")
	for i, n := range []int{warm, count} {
		var hash uint32
		for range n {
			got, oobn := c.read(buf, oob)
			if got == 0 {
				return
			}
			c.write(ack)
			messages, err := unix.ParseSocketControlMessage(oob[:oobn])
			check(err)
			fds, err := unix.ParseUnixRights(&messages[0])
			check(err)
			if i == 0 {
				peer, err := unix.Getpeername(fds[0])
				check(err)
				hash = hash*31 + uint32(peer.(*unix.SockaddrInet4).Port)
			}
			if !wrap {
				check(unix.Close(fds[0]))
				continue
			}
			f := os.NewFile(uintptr(fds[0]), "socket")
			conn, err := net.FileConn(f)
			check(err)
			check(f.Close())
			check(conn.Close())
		}
		answer(c, n, hash)
	}
	c.read(buf, nil)
}
