//go:build linux

// The floor: the least a Go program costs that does what the benchmark asks. It has no library, parses and checks
// nothing, and reads and writes with bare system calls, through the runtime's poller so that its scheduler stays free.
// The verbs are those of ../subject.cjs, and idle: it reads once and that is all, for comparing memory.
package main

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

const frame = 65 // bytes of a message of the floods

func main() {
	if os.Args[1] == "idle" {
		os.NewFile(3, "channel").Read(make([]byte, 1))
		return
	}
	check(syscall.SetNonblock(3, true))
	conn, err := os.NewFile(3, "channel").SyscallConn()
	check(err)
	c := channel{conn}
	switch os.Args[1] {
	case "echo":
		echo(c)
	case "sink":
		sink(c)
	case "flood":
		flood(c)
	}
}

func check(err error) {
	if err != nil {
		os.Stderr.WriteString("bench floor: " + err.Error() + "\n")
		os.Exit(1)
	}
}

type channel struct{ syscall.RawConn }

// call is a system call that the scheduler is not told about: it cannot block.
func call(trap, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, e := syscall.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if e != syscall.EINTR {
			return int(n), e
		}
	}
}

// read exits at the end of the channel.
func (c channel) read(p []byte) (n int) {
	var e syscall.Errno
	check(c.Read(func(fd uintptr) bool {
		n, e = call(syscall.SYS_READ, fd, p)
		return e != syscall.EAGAIN
	}))
	if e != 0 {
		check(e)
	}
	if n == 0 {
		os.Exit(0)
	}
	return n
}

func (c channel) write(p []byte) {
	check(c.Write(func(fd uintptr) bool {
		for len(p) > 0 {
			n, e := call(syscall.SYS_WRITE, fd, p)
			if e == syscall.EAGAIN {
				return false
			}
			if e != 0 {
				check(e)
			}
			p = p[n:]
		}
		return true
	}))
}

func echo(c channel) {
	buf := make([]byte, 64<<10)
	for {
		c.write(buf[:c.read(buf)])
	}
}

// sink finds the ends of the lines and reads the id, which is always six digits at the same place.
func sink(c channel) {
	buf := make([]byte, 64<<10)
	var hash uint32
	for count, have := 0, 0; ; {
		rest := buf[:have+c.read(buf[have:])]
		for {
			end := bytes.IndexByte(rest, '\n')
			if end < 0 {
				break
			}
			if rest[0] == '{' {
				var id uint32
				for _, d := range rest[6:12] {
					id = id*10 + uint32(d-'0')
				}
				count, hash = count+1, hash*31+id
			} else {
				c.write([]byte(`{"count":` + strconv.Itoa(count) + `,"hash":` + strconv.Itoa(int(hash)) + "}\n"))
				count, hash = 0, 0
			}
			rest = rest[end+1:]
		}
		have = copy(buf, rest)
	}
}

// flood copies one message after the other into a block and writes full blocks.
func flood(c channel) {
	var kept, in []byte
	buf, block := make([]byte, 64<<10), make([]byte, 0, 64<<10)
	for {
		in = append(in, buf[:c.read(buf)]...)
		for {
			line, rest, ok := bytes.Cut(in, []byte("\n"))
			if !ok {
				break
			}
			if in = rest; line[0] == '{' {
				kept = append(append(kept, line...), '\n')
				continue
			}
			n, err := strconv.Atoi(string(line))
			check(err)
			for i := range n {
				at := i * frame % len(kept)
				block = append(block, kept[at:at+frame]...)
				if cap(block)-len(block) < frame {
					c.write(block)
					block = block[:0]
				}
			}
			c.write(block)
			block = block[:0]
		}
	}
}
