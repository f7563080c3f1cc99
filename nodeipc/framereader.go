package nodeipc

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"
)

const (
	blockSize = 64 << 10
	// A read should have at least this much room.
	minRead = 16 << 10
)

// A frameReader cuts a byte stream into payloads without copying: they are parts of the blocks that were read into, so a
// block is never written to again once a payload of it was handed out. It looks at each byte once. No I/O.
//
// A frame is a payload and a newline, or, in advanced mode, the length of the payload in four bytes, the highest first, and
// the payload.
type frameReader struct {
	advanced bool
	buf      []byte // the current block
	start    int    // of the frame that is being read
	scanned  int    // there is no newline in buf[start:scanned]
	end      int    // of what was read
	max      int    // longest payload, negative for no limit
	hint     int    // length of the last payload, if it was a long one
	begun    bool   // there was a frame before
	fresh    bool   // buf is new since the last call of newBlock
	examined int64  // bytes searched for a newline; tests compare it with what came in
}

// space returns room for the next read.
func (r *frameReader) space() []byte {
	if len(r.buf)-r.end < minRead {
		r.move()
	}
	return r.buf[r.end:]
}

// move goes on in a new block, large enough for a frame that is already long. Long ones often come one after the other,
// so there is room for one like the last; and room is at least doubled, so that a frame is copied a bounded number of
// times. What a frame says of its own length is not believed before a part of it is here.
func (r *frameReader) move() {
	part := r.buf[r.start:r.end]
	size := blockSize
	if len(part) > blockSize/2 {
		size = max(2*len(part), r.hint)
		if r.advanced {
			size = max(size, min(4+r.coming(), trusted))
		}
		size += minRead
	}
	buf := uncleared(size)
	copy(buf, part)
	r.scanned -= r.start
	r.buf, r.start, r.end, r.fresh = buf, 0, len(part), true
}

// So much room is made for a frame that says that it needs it.
const trusted = 2 << 20

// uncleared makes a block without clearing it first, which would cost as much as all else that is done with it here:
// nobody sees more of it than what was read into it. A strings.Builder is the way to such memory.
func uncleared(n int) []byte {
	var b strings.Builder
	b.Grow(n)
	b.WriteByte(0)
	return unsafe.Slice(unsafe.StringData(b.String()), n)
}

func (r *frameReader) took(n int) { r.end += n }

// next returns the next complete payload; it belongs to the caller.
func (r *frameReader) next() (payload []byte, ok bool) {
	from, to, stop := r.start, 0, 0 // of the payload, and where its frame ends
	if r.advanced {
		from += 4
		to = from + r.coming()
		stop = to
		ok = r.end >= from && to <= r.end
	} else {
		rest := r.buf[r.scanned:r.end]
		i := bytes.IndexByte(rest, '\n')
		if ok = i >= 0; ok {
			rest = rest[:i+1]
		}
		r.examined += int64(len(rest))
		r.scanned += len(rest)
		to, stop = r.scanned-1, r.scanned
	}
	if !ok {
		// What follows a long payload gets a block of its own size; so does what comes after a pause.
		if len(r.buf) > blockSize && r.start > 0 {
			r.move()
		}
		return nil, false
	}
	payload = r.buf[from:to:to]
	if r.hint = 0; len(payload) > blockSize/2 {
		r.hint = len(payload)
	}
	if len(r.buf) > 2*blockSize && len(payload) < len(r.buf)/4 {
		payload = slices.Clip(bytes.Clone(payload)) // whoever keeps it shall not keep so large a block
	}
	r.start, r.scanned = stop, stop
	r.begun = true
	return payload, true
}

// coming returns the length of the payload that is being read, as far as it is known.
func (r *frameReader) coming() int {
	if !r.advanced {
		return r.end - r.start
	}
	if r.end-r.start < 4 {
		return 0
	}
	return int(binary.BigEndian.Uint32(r.buf[r.start:]))
}

// strange returns the beginning of a frame in advanced mode that cannot become one, as every payload begins with FF; and
// whether nothing came before it.
func (r *frameReader) strange() (begin []byte, first bool) {
	part := r.buf[r.start:r.end]
	if !r.advanced || len(part) < 5 || part[4] == 0xFF {
		return nil, false
	}
	return part[:min(len(part), 32)], !r.begun
}

// newBlock reports, once, that what follows lies in another block than what came before.
func (r *frameReader) newBlock() bool {
	fresh := r.fresh
	r.fresh = false
	return fresh
}
