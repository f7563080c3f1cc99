package v8

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// The tags of V8's src/objects/value-serializer.cc that a payload without transfers may have.
const (
	tagVersion     = 0xff
	tagPadding     = 0x00
	tagVerifyCount = '?'
	tagHole        = '-'
	tagUndefined   = '_'
	tagNull        = '0'
	tagTrue        = 'T'
	tagFalse       = 'F'
	tagInt32       = 'I'
	tagUint32      = 'U'
	tagDouble      = 'N'
	tagBigInt      = 'Z'
	tagUTF8        = 'S'
	tagOneByte     = '"'
	tagTwoByte     = 'c'
	tagReference   = '^'
	tagObject      = 'o'
	tagObjectEnd   = '{'
	tagSparse      = 'a'
	tagSparseEnd   = '@'
	tagDense       = 'A'
	tagDenseEnd    = '$'
	tagDate        = 'D'
	tagTrueObject  = 'y'
	tagFalseObject = 'x'
	tagNumObject   = 'n'
	tagBigObject   = 'z'
	tagStrObject   = 's'
	tagRegExp      = 'R'
	tagMap         = ';'
	tagMapEnd      = ':'
	tagSet         = '\''
	tagSetEnd      = ','
	tagBuffer      = 'B'
	tagResizable   = '~'
	tagImmutable   = 'C' // a proposal, read by Node 26
	tagView        = 'V'
	tagError       = 'r'
	tagHost        = '\\'

	errorMessage = 'm'
	errorStack   = 's'
	errorCause   = 'c'
	errorEnd     = '.'
)

// The versions that are read, and the one that is written: Node 12 to 16 read no other (docs/protocol.md).
const (
	minVersion   = 13
	maxVersion   = 16
	writeVersion = 13
)

// errorNames are the prototypes by tag; any other is Error.
var errorNames = map[byte]string{
	'E': "EvalError", 'R': "RangeError", 'F': "ReferenceError", 'S': "SyntaxError", 'T': "TypeError", 'U': "URIError",
}

// regExpFlags are the flags in the order of JavaScript, with V8's bits. Bit 64 is V8's own experiment, which Node
// refuses.
var regExpFlags = [...]struct {
	char byte
	bit  uint32
}{{'d', 128}, {'g', 1}, {'i', 2}, {'m', 4}, {'s', 32}, {'u', 16}, {'v', 256}, {'y', 8}}

func flagsOf(bits uint32) string {
	var flags []byte
	for _, f := range regExpFlags {
		if bits&f.bit != 0 {
			flags = append(flags, f.char)
		}
	}
	return string(flags)
}

const regExpKnown = 1 | 2 | 4 | 8 | 16 | 32 | 128 | 256

// readVarint reads the varint at data[pos:]. Like V8 of Node 18 and later it stops after size+1 bytes (5 for uint32) if
// more bytes follow, and fails if the data ends before that; bits beyond size bytes are dropped. The position after it
// is 0 when there is none.
func readVarint(data []byte, pos, size int) (value uint32, end int) {
	for i := 0; pos+i < len(data); i++ {
		b := data[pos+i]
		value |= uint32(b&0x7f) << (7 * i)
		if b < 0x80 || i == size && pos+i+1 < len(data) {
			if size == 1 {
				value = uint32(byte(value))
			}
			return value, pos + i + 1
		}
	}
	return 0, 0
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// quoteTag shows a tag in an error.
func quoteTag(t byte) string {
	s := "0x" + strconv.FormatUint(uint64(t)>>4, 16) + strconv.FormatUint(uint64(t)&15, 16)
	if t > ' ' && t < 0x7f {
		s += " (" + string(rune(t)) + ")"
	}
	return s
}

func ascii(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func asciiString(s string) bool { return ascii(unsafe.Slice(unsafe.StringData(s), len(s))) }

func appendVarint(dst []byte, n uint32) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func zigzag(n uint32) int32 { return int32(n>>1) ^ -int32(n&1) }

func double(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }

// appendLatin1 appends one-byte characters as UTF-8.
func appendLatin1(dst, b []byte) []byte {
	for _, c := range b {
		if c < utf8.RuneSelf {
			dst = append(dst, c)
		} else {
			dst = append(dst, 0xc0|c>>6, 0x80|c&0x3f)
		}
	}
	return dst
}

// appendUTF16 appends two-byte characters as UTF-8; unpaired surrogates as the three bytes that UTF-8 would have for
// them.
func appendUTF16(dst, b []byte) []byte {
	for i := 0; i+1 < len(b); i += 2 {
		r := rune(binary.LittleEndian.Uint16(b[i:]))
		switch {
		case r < utf8.RuneSelf:
			dst = append(dst, byte(r))
			continue
		case utf16.IsSurrogate(r):
			if i+3 < len(b) {
				if pair := utf16.DecodeRune(r, rune(binary.LittleEndian.Uint16(b[i+2:]))); pair != utf8.RuneError {
					dst = utf8.AppendRune(dst, pair)
					i += 2
					continue
				}
			}
			dst = append(dst, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f|0x80, 0x80|byte(r)&0x3f)
			continue
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// appendUTF8 appends UTF-8 with U+FFFD in place of each part that is none, parted as the Encoding Standard (and V8)
// does.
func appendUTF8(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			size = badUTF8(b[i:])
		}
		dst = utf8.AppendRune(dst, r)
		i += size
	}
	return dst
}

// badUTF8 is how many bytes at the start of b, which are not UTF-8, could have been the beginning of a character.
func badUTF8(b []byte) int {
	lo, hi, more := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		more = 1
	case c >= 0xe0 && c <= 0xef:
		more = 2
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		more = 3
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	}
	n := 1
	for ; n <= more && n < len(b) && b[n] >= lo && b[n] <= hi; n++ {
		lo, hi = 0x80, 0xbf
	}
	return n
}

// appendNumber appends a number as JavaScript writes it (ECMAScript, Number::toString).
func appendNumber(dst []byte, f float64) []byte {
	switch {
	case f != f:
		return append(dst, "NaN"...)
	case f == 0:
		return append(dst, '0')
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') { // e-07
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// arrayIndex is the array index that key is in JavaScript: decimal, no leading zero, below 2^32-1.
func arrayIndex(key string) (uint32, bool) {
	if len(key) == 0 || len(key) > 10 || key[0] == '0' && len(key) > 1 {
		return 0, false
	}
	n := uint64(0)
	for i := 0; i < len(key); i++ {
		c := key[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + uint64(c)
	}
	return uint32(n), n < math.MaxUint32
}

// wellFormed tells whether s is UTF-8 but for unpaired surrogates in the form of appendUTF16: then no other string is
// written as s is.
func wellFormed(s string) bool {
	high := false
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 {
			u, ok := surrogateAt(s)
			if !ok || high && u >= 0xdc00 {
				return false
			}
			r, size = u, 3
		}
		high = r >= 0xd800 && r < 0xdc00
		s = s[size:]
	}
	return true
}

// surrogateAt tells whether s starts with an unpaired surrogate as appendUTF16 writes it, and which.
func surrogateAt(s string) (rune, bool) {
	if len(s) >= 3 && s[0] == 0xed && s[1] >= 0xa0 && s[1] <= 0xbf && s[2] >= 0x80 && s[2] <= 0xbf {
		return 0xd000 | rune(s[1]&0x3f)<<6 | rune(s[2]&0x3f), true
	}
	return 0, false
}
