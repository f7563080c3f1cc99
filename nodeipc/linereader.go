package nodeipc

import (
	"bytes"
	"slices"
	"strings"
	"unsafe"
)

const (
	blockSize = 64 << 10
	// A read should have at least this much room.
	minRead = 16 << 10
)

// A lineReader cuts a byte stream into lines without copying: the lines are parts of the blocks that were read into,
// so a block is never written to again once a line of it was handed out. It looks at each byte once. No I/O.
type lineReader struct {
	buf      []byte // the current block
	start    int    // of the line that is being read
	scanned  int    // there is no newline in buf[start:scanned]
	end      int    // of what was read
	max      int    // longest line, negative for no limit
	hint     int    // length of the last line, if it was a long one
	fresh    bool   // buf is new since the last call of newBlock
	examined int64  // bytes searched for a newline; tests compare it with what came in
}

// space returns room for the next read.
func (r *lineReader) space() []byte {
	if len(r.buf)-r.end < minRead {
		r.move()
	}
	return r.buf[r.end:]
}

// move goes on in a new block, large enough for a line that is already long. Long lines often come one after the other,
// so there is room for one like the last; and room is at least doubled, so that a line is copied a bounded number of
// times.
func (r *lineReader) move() {
	part := r.buf[r.start:r.end]
	size := blockSize
	if len(part) > blockSize/2 {
		size = max(2*len(part), r.hint) + minRead
	}
	buf := uncleared(size)
	copy(buf, part)
	r.scanned -= r.start
	r.buf, r.start, r.end, r.fresh = buf, 0, len(part), true
}

// uncleared makes a block without clearing it first, which would cost as much as all else that is done with it here:
// nobody sees more of it than what was read into it. A strings.Builder is the way to such memory.
func uncleared(n int) []byte {
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0)
	return unsafe.Slice(unsafe.StringData(b.String()), n)
}

func (r *lineReader) took(n int) { r.end += n }

// next returns the next complete line without its newline; it belongs to the caller.
func (r *lineReader) next() (line []byte, ok bool) {
	rest := r.buf[r.scanned:r.end]
	i := bytes.IndexByte(rest, '\n')
	if i < 0 {
		r.examined += int64(len(rest))
		r.scanned = r.end
		// What follows a long line gets a block of its own size; so does what comes after a pause.
		if len(r.buf) > blockSize && r.start > 0 {
			r.move()
		}
		return nil, false
	}
	r.examined += int64(i + 1)
	stop := r.scanned + i
	line = r.buf[r.start:stop:stop]
	if r.hint = 0; len(line) > blockSize/2 {
		r.hint = len(line)
	}
	if len(r.buf) > 2*blockSize && len(line) < len(r.buf)/4 {
		line = slices.Clip(bytes.Clone(line)) // whoever keeps it shall not keep so large a block
	}
	r.start, r.scanned = stop+1, stop+1
	return line, true
}

// tooLong reports whether the line that is being read is over the limit.
func (r *lineReader) tooLong() bool { return r.max >= 0 && r.end-r.start > r.max }

// newBlock reports, once, that what follows lies in another block than what came before.
func (r *lineReader) newBlock() bool {
	fresh := r.fresh
	r.fresh = false
	return fresh
}
