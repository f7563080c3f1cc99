package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// What a tap that the preload has started says to the outermost one, over a unix stream socket, which alone makes output:
// the two ends of the channel, as JSON behind its length, and then its events. Both are the same program, so that
// nothing here has to stay as it is.

// A reportHead is what all events of a tap have in common.
type reportHead struct {
	Parent, Child struct {
		PID  int
		Name string
	}
	Argv          []string
	Serialization nodeipc.Serialization
	Worker        string
}

// maxReport is the most bytes of one event: a payload that Node could hold, and its names.
const maxReport = 1 << 30

// A reporter is the sink of such a tap.
type reporter struct {
	conn net.Conn
	buf  []byte
	err  error
}

func dialReport(path string) (*reporter, error) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	return &reporter{conn: conn}, nil
}

// events sends events. If the outermost tap is gone they are dropped: there is nobody to show them to.
func (r *reporter) events(events []event) {
	r.buf = r.buf[:0]
	for i := range events {
		r.buf = appendReport(r.buf, &events[i])
		if len(r.buf) >= 1<<20 {
			r.flush()
		}
	}
	r.flush()
	if cap(r.buf) > 1<<20 {
		r.buf = nil
	}
}

func (r *reporter) flush() {
	if r.err == nil && len(r.buf) > 0 {
		_, r.err = r.conn.Write(r.buf)
	}
	r.buf = r.buf[:0]
}

// appendReport appends an event: its length in four bytes, kind, side, time, and what the kind has.
func appendReport(b []byte, e *event) []byte {
	from := len(b)
	b = append(b, 0, 0, 0, 0, byte(e.kind), byte(e.from))
	b = binary.LittleEndian.AppendUint64(b, uint64(e.time.UnixNano()))
	switch e.kind {
	case started:
		h := reportHead{Argv: e.argv, Serialization: e.serialization, Worker: e.worker}
		h.Parent.PID, h.Parent.Name = e.parent.pid, e.parent.name
		h.Child.PID, h.Child.Name = e.child.pid, e.child.name
		head, err := json.Marshal(h)
		if err != nil {
			panic(err) // of strings and numbers
		}
		b = append(b, head...)
	case message:
		b = appendCounted(b, string(e.handle))
		b = appendCounted(b, e.internal)
		b = append(b, e.data...)
	case exited:
		b = binary.AppendVarint(b, int64(e.code))
		b = appendCounted(b, e.signal)
	}
	binary.LittleEndian.PutUint32(b[from:], uint32(len(b)-from-4))
	return b
}

func appendCounted(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errReport = errors.New("not the report of a tap")

// readReport reads an event. The data is its own.
func readReport(r *bufio.Reader) (e event, err error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return e, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n < 10 || n > maxReport {
		return e, errReport
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return e, err
	}
	e.kind, e.from = eventKind(b[0]), side(b[1])
	e.time = time.Unix(0, int64(binary.LittleEndian.Uint64(b[2:])))
	b = b[10:]
	ok := true
	switch e.kind {
	case started:
		var h reportHead
		if json.Unmarshal(b, &h) != nil {
			return e, errReport
		}
		e.parent, e.child = process{h.Parent.PID, h.Parent.Name}, process{h.Child.PID, h.Child.Name}
		e.argv, e.serialization, e.worker = h.Argv, h.Serialization, h.Worker
	case message:
		var handle string
		if handle, b, ok = counted(b); ok {
			e.handle = nodeipc.HandleType(handle)
			e.internal, b, ok = counted(b)
		}
		e.data = b
	case exited:
		code, n := binary.Varint(b)
		if n <= 0 {
			return e, errReport
		}
		e.code = int(code)
		e.signal, _, ok = counted(b[n:])
	}
	if !ok {
		return e, errReport
	}
	return e, nil
}

func counted(b []byte) (s string, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", nil, false
	}
	b = b[size:]
	return string(b[:n]), b[n:], true
}

// A collector receives the reports of the taps below.
type collector struct {
	ln  net.Listener
	out *outputs

	mu    sync.Mutex
	conns map[net.Conn]bool
	ended bool
	wg    sync.WaitGroup
}

func newCollector(path string, out *outputs) (*collector, error) {
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	c := &collector{ln: ln, out: out, conns: make(map[net.Conn]bool)}
	c.wg.Go(c.accept)
	return c, nil
}

const acceptPause = 10 * time.Millisecond

func (c *collector) accept() {
	for {
		conn, err := c.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no room for another descriptor: the tap at the other end waits until there is
			time.Sleep(acceptPause)
			continue
		}
		c.mu.Lock()
		ended := c.ended
		c.conns[conn] = true
		c.mu.Unlock()
		if ended {
			conn.Close()
		}
		c.wg.Go(func() { c.receive(conn) })
	}
}

func (c *collector) receive(conn net.Conn) {
	defer func() {
		conn.Close()
		c.mu.Lock()
		delete(c.conns, conn)
		c.mu.Unlock()
	}()
	r := bufio.NewReaderSize(conn, 64<<10)
	var head event
	for {
		e, err := readReport(r)
		if err != nil || e.kind > exited || (head.tap == 0) != (e.kind == started) {
			return
		}
		if e.kind == started {
			head = e
			head.tap = c.out.next()
		}
		e.tap, e.parent, e.child, e.serialization = head.tap, head.parent, head.child, head.serialization
		c.out.event(e)
		if r.Buffered() == 0 {
			c.out.flush()
		}
	}
}

// open tells how many taps report.
func (c *collector) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

// close stops waiting for more and returns when what came is with the outputs; with now, without waiting for taps that
// go on.
func (c *collector) close(now bool) {
	c.ln.Close()
	if now {
		c.mu.Lock()
		c.ended = true
		for conn := range c.conns {
			conn.Close()
		}
		c.mu.Unlock()
	}
	c.wg.Wait()
}
