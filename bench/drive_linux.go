package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readSize   = 256 << 10
	floodChunk = 64 << 10
	spanLimit  = 2 * time.Minute // of one child; then it is killed and the row has failed
)

// A child is a started process and our end of its channel. The end is blocking, and its system calls are raw: the
// driver's goroutine has its thread and its processor to itself, so a blocked read needs no scheduler around it, and
// what is between the kernel and the comparison of bytes is as little as a C program would have.
type child struct {
	fd    int
	proc  *os.Process
	clock int32 // of its processor time
	dog   *time.Timer
	late  atomic.Bool
	buf   []byte
}

func start(side contestant, worker bool) (*child, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "channel")
	defer theirs.Close()
	var env []string
	for _, e := range os.Environ() {
		// NODE_OPTIONS and its like would change what is measured.
		if !strings.HasPrefix(e, "NODE_") && !strings.HasPrefix(e, "NODEIPC_") {
			env = append(env, e)
		}
	}
	env = append(env, side.env...)
	env = append(env, "NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE=json")
	if worker {
		env = append(env, "NODE_UNIQUE_ID=1")
	}
	// The child inherits the processors of the thread that starts it, which is ours.
	pin(side.at.child)
	proc, err := os.StartProcess(side.argv[0], side.argv, &os.ProcAttr{
		Env:   env,
		Files: []*os.File{os.Stdin, os.Stderr, os.Stderr, theirs},
	})
	pin(side.at.parent)
	if err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	c := &child{fd: fds[0], proc: proc, clock: int32(^proc.Pid<<3 | 2)} // CPUCLOCK_SCHED of the whole process
	c.buf = readBuffer
	c.dog = time.AfterFunc(spanLimit, func() {
		c.late.Store(true)
		proc.Kill()
	})
	return c, nil
}

// readBuffer is shared: there is only ever one child at a time.
var readBuffer = make([]byte, readSize)

// finish closes the channel and waits for the child, which then has to leave by itself and contentedly.
func (c *child) finish(err error) error {
	if err == nil {
		if n, _, rerr := unix.Recvfrom(c.fd, c.buf[:1], unix.MSG_DONTWAIT); rerr == nil && n > 0 {
			err = fmt.Errorf("the child sent more than it was asked for, beginning with %q", c.buf[:1])
		}
	}
	unix.Close(c.fd)
	c.dog.Reset(10 * time.Second)
	state, werr := c.proc.Wait()
	c.dog.Stop()
	switch {
	case c.late.Load():
		return errors.Join(err, errors.New("the child was too slow and has been killed"))
	case err != nil:
		return fmt.Errorf("%w (child: %v)", err, state)
	case werr != nil:
		return werr
	case !state.Success():
		return fmt.Errorf("the child ended with %v after its channel was closed", state)
	}
	return nil
}

// cpu is the processor time of the child so far, all its threads included.
func (c *child) cpu() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(c.clock, &ts); err != nil {
		panic(fmt.Sprintf("processor clock of the child: %v", err)) // it is not reaped yet, so its clock exists
	}
	return time.Duration(ts.Nano())
}

func (c *child) write(b []byte) error {
	for len(b) > 0 {
		n, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return fmt.Errorf("write to the child: %w", e)
		}
		b = b[n:]
	}
	return nil
}

func (c *child) read(b []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch {
		case e == unix.EINTR:
			continue
		case e != 0:
			return 0, fmt.Errorf("read from the child: %w", e)
		case n == 0:
			return 0, fmt.Errorf("read from the child: %w", io.ErrUnexpectedEOF)
		}
		return int(n), nil
	}
}

// differ says where got leaves want.
func differ(at int, got, want []byte) error {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	from := max(0, i-40)
	return fmt.Errorf("wrong bytes at offset %d: got %q, want %q", at+i, got[from:min(len(got), i+40)], want[from:min(len(want), i+40)])
}

// expect reads exactly want.
func (c *child) expect(want []byte) error {
	for at := 0; at < len(want); {
		n, err := c.read(c.buf[:min(len(c.buf), len(want)-at)])
		if err != nil {
			return err
		}
		if !bytes.Equal(c.buf[:n], want[at:at+n]) {
			return differ(at, c.buf[:n], want[at:at+n])
		}
		at += n
	}
	return nil
}

// collect reads n messages of the corpus from its beginning.
func (c *child) collect(co *corpus, n int) error {
	total := n * co.frame
	for at := 0; at < total; {
		got, err := c.read(c.buf[:min(len(c.buf), total-at)])
		if err != nil {
			return err
		}
		if want := co.text[at%co.cycle:][:got]; !bytes.Equal(c.buf[:got], want) {
			return differ(at, c.buf[:got], want)
		}
		at += got
	}
	return nil
}

// exchange has n messages echoed with up to 64 in flight: as many as have come back by one read go out by one write.
func (c *child) exchange(co *corpus, n int) error {
	sent := min(inFlight, n)
	if err := c.write(co.text[:sent*co.frame]); err != nil {
		return err
	}
	for at, total := 0, n*co.frame; at < total; {
		got, err := c.read(c.buf[:min(len(c.buf), total-at)])
		if err != nil {
			return err
		}
		if want := co.text[at%co.cycle:][:got]; !bytes.Equal(c.buf[:got], want) {
			return differ(at, c.buf[:got], want)
		}
		at += got
		if more := min(at/co.frame+inFlight, n) - sent; more > 0 {
			if err := c.write(co.at(sent)[:more*co.frame]); err != nil {
				return err
			}
			sent += more
		}
	}
	return nil
}

// pour writes n messages of the corpus from its beginning, as fast as the child takes them.
func (c *child) pour(co *corpus, n int) error {
	chunk := floodChunk / co.frame
	for i := 0; i < n; {
		k := min(chunk, n-i)
		if err := c.write(co.at(i)[:k*co.frame]); err != nil {
			return err
		}
		i += k
	}
	return nil
}

// span measures f, which ends when nothing is in flight any more.
func (c *child) span(n int, f func() error) (sample, error) {
	cpu, begin := c.cpu(), time.Now()
	err := f()
	wall := time.Since(begin)
	cpu = c.cpu() - cpu
	return sample{CPU: per(cpu, n), Wall: per(wall, n)}, err
}

func per(d time.Duration, n int) float64 { return float64(d) / 1e3 / float64(n) }

// with starts a child, lets f drive it, and ends it.
func with(side contestant, worker bool, f func(*child) (sample, error)) (sample, error) {
	c, err := start(side, worker)
	if err != nil {
		return sample{}, err
	}
	s, err := f(c)
	return s, c.finish(err)
}

func runEcho(side contestant, s *scenario) (sample, error) {
	return with(side, false, func(c *child) (sample, error) {
		if err := c.exchange(s.corpus, s.warm); err != nil {
			return sample{}, err
		}
		return c.span(s.n, func() error { return c.exchange(s.corpus, s.n) })
	})
}

func runLatency(side contestant, s *scenario) (sample, error) {
	trips := make([]time.Duration, s.n)
	return with(side, false, func(c *child) (sample, error) {
		rally := func(n int) error {
			for i := range n {
				frame := s.corpus.at(i)[:s.corpus.frame]
				begin := time.Now()
				if err := c.write(frame); err != nil {
					return err
				}
				got, err := c.read(c.buf)
				if err != nil {
					return err
				}
				if got < len(frame) { // seldom: a reply in two pieces
					if !bytes.Equal(c.buf[:got], frame[:got]) {
						return differ(0, c.buf[:got], frame)
					}
					if err := c.expect(frame[got:]); err != nil {
						return err
					}
					trips[i] = time.Since(begin)
					continue
				}
				trips[i] = time.Since(begin)
				if !bytes.Equal(c.buf[:got], frame) {
					return differ(0, c.buf[:got], frame)
				}
			}
			return nil
		}
		if err := rally(min(s.warm, s.n)); err != nil {
			return sample{}, err
		}
		got, err := c.span(s.n, func() error { return rally(s.n) })
		slices.Sort(trips)
		got.P50, got.P99 = per(trips[s.n/2], 1), per(trips[s.n*99/100], 1)
		return got, err
	})
}

// answer is the line of a child that has counted.
func answer(count int, hash uint32) []byte {
	return fmt.Appendf(nil, "{\"count\":%d,\"hash\":%d}\n", count, hash)
}

func runFloodIn(side contestant, s *scenario) (sample, error) {
	return with(side, false, func(c *child) (sample, error) {
		round := func(n int, want []byte) error {
			if err := c.pour(s.corpus, n); err != nil {
				return err
			}
			return c.expect(want)
		}
		want := answer(s.n, s.corpus.hash(s.n))
		if err := round(s.warm, answer(s.warm, s.corpus.hash(s.warm))); err != nil {
			return sample{}, err
		}
		return c.span(s.n, func() error { return round(s.n, want) })
	})
}

func runFloodOut(side contestant, s *scenario) (sample, error) {
	return with(side, false, func(c *child) (sample, error) {
		round := func(n int) error {
			if err := c.write([]byte("\"go\"\n")); err != nil {
				return err
			}
			return c.collect(s.corpus, n)
		}
		if err := c.pour(s.corpus, floodSamples); err != nil {
			return sample{}, err
		}
		if err := round(s.warm); err != nil {
			return sample{}, err
		}
		return c.span(s.n, func() error { return round(s.n) })
	})
}

var onlineFrame = []byte(`{"cmd":"NODE_CLUSTER","act":"online","seq":0}` + "\n")

// runOnline starts some workers, one after the other, and gives the medians: the time from just before the exec, and
// the processor time, until the first bytes are on the channel.
func runOnline(side contestant, s *scenario) (sample, error) {
	var walls, cpus []float64
	for range s.n {
		begin := time.Now()
		got, err := with(side, true, func(c *child) (sample, error) {
			n, err := c.read(c.buf)
			wall := time.Since(begin)
			cpu := c.cpu()
			if err != nil {
				return sample{}, err
			}
			// A child may be past its first frame already, but it has nothing else to say.
			if !bytes.Equal(c.buf[:n], onlineFrame) {
				return sample{}, differ(0, c.buf[:n], onlineFrame)
			}
			return sample{CPU: per(cpu, 1), Wall: per(wall, 1)}, nil
		})
		if err != nil {
			return sample{}, err
		}
		walls, cpus = append(walls, got.Wall), append(cpus, got.CPU)
	}
	return sample{CPU: median(cpus), Wall: median(walls)}, nil
}
