package jsjson

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, in the high bit of each byte, the bytes of w that may end or break a string: quote, backslash and
// control characters. Each of the three subtractions may borrow and so mark bytes above a true one in vain; the lowest
// mark is always right, and no mark means no such byte. Bytes above 0x7f are never marked.
func special(w uint64) uint64 {
	return ((w - ones*0x20) | (w ^ ones*'"' - ones) | (w ^ ones*'\\' - ones)) & (highs &^ w)
}

// load reads eight bytes, the first in the lowest place. The caller has seen that b[i:i+8] exists: a second look costs as
// much as all the rest.
func load(b []byte, i int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))[:])
}

// first is the place of the lowest mark.
func first(marks uint64) int { return bits.TrailingZeros64(marks) >> 3 }

// The classes of bytes that the loops below ask for.
const (
	classSpace   = 1 << iota // white space, as JSON has it
	classDigit               // 0 to 9
	classSpecial             // quote, backslash, control characters: what a string cannot hold as it is
	classHex                 // 0 to 9, a to f, A to F
	classNesting             // quote, braces and brackets: what the end of a value may hang on
)

var class = func() (t [256]uint8) {
	for c := range 0x20 {
		t[c] = classSpecial
	}
	t['"'], t['\\'] = classSpecial, classSpecial
	for _, c := range `"{}[]` {
		t[c] |= classNesting
	}
	for _, c := range " \t\r\n" {
		t[c] |= classSpace
	}
	for c := '0'; c <= '9'; c++ {
		t[c] = classDigit | classHex
	}
	for c := 'a'; c <= 'f'; c++ {
		t[c], t[c-'a'+'A'] = classHex, classHex
	}
	return t
}()

// skipSpace returns the first place from i on that is not white space.
func skipSpace(data []byte, i int) int {
	for i < len(data) && class[data[i]]&classSpace != 0 {
		i++
	}
	return i
}

// plain returns the first place from i on that holds a quote, a backslash or a control character, or len(data), and
// whether it may have passed bytes above 0x7f.
func plain(data []byte, i int) (end int, high uint64) {
	for n := 0; i+8 <= len(data); n++ {
		if n == 4 && i+32 <= len(data) { // a long string
			skip, more := skipPlain(&data[i], len(data)-i)
			i += skip
			if more != 0 {
				high = highs
			}
			continue
		}
		w := load(data, i)
		high |= w
		if m := special(w); m != 0 {
			return i + first(m), high & highs
		}
		i += 8
	}
	for ; i < len(data) && class[data[i]]&classSpecial == 0; i++ {
		high |= uint64(data[i])
	}
	return i, high & highs
}
