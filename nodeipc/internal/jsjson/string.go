package jsjson

import (
	"encoding/binary"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// String decodes one string token, quotes included. It reports false if raw is anything else. Unpaired surrogates and
// bytes that are not UTF-8 become U+FFFD.
func String(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return "", false
	}
	body := raw[1 : len(raw)-1]
	end, high := plain(body, 0)
	if end == len(body) && (high == 0 || utf8.Valid(body)) {
		return string(body), true
	}
	text, ok := unescape(make([]byte, 0, len(body)+8), body)
	if !ok {
		return "", false
	}
	return unsafe.String(unsafe.SliceData(text), len(text)), true // text is ours and is never written again
}

// unescape appends what the inside of a string token stands for.
func unescape(dst, body []byte) ([]byte, bool) {
	for i := 0; i < len(body); {
		end, high := plain(body, i)
		if high == 0 {
			dst = append(dst, body[i:end]...)
		} else {
			dst = appendValid(dst, body[i:end])
		}
		i = end
		if i == len(body) {
			break
		}
		next := skipEscape(body, i)
		if next < 0 {
			return dst, false
		}
		switch c := body[i+1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(body[i+2:])
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(body) >= next+6 && body[next] == '\\' && body[next+1] == 'u' && skipEscape(body, next) > 0 {
					pair = utf16.DecodeRune(r, hex4(body[next+2:]))
				}
				if pair != utf8.RuneError {
					next += 6
				}
				r = pair // or U+FFFD
			}
			dst = utf8.AppendRune(dst, r)
		default: // quote, backslash, slash
			dst = append(dst, c)
		}
		i = next
	}
	return dst, true
}

// hex4 reads four digits that have been checked.
func hex4(b []byte) (r rune) {
	for _, c := range b[:4] {
		if c > '9' {
			c += 9 // 'A' and 'a' end in 1; with 9 more, their low four bits are 10
		}
		r = r<<4 | rune(c&15)
	}
	return r
}

// appendValid appends text with a U+FFFD for each byte that is not part of UTF-8.
func appendValid(dst, text []byte) []byte {
	if utf8.Valid(text) {
		return append(dst, text...)
	}
	start := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, text[start:i]...)
			dst = append(dst, "\uFFFD"...)
			start = i + 1
		}
		i += size
	}
	return append(dst, text[start:]...)
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as JSON.stringify writes it. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	if n := len(dst); len(s) <= 64 && isPlain(s) {
		dst = slices.Grow(dst, len(s)+2)[:n+len(s)+2]
		dst[n] = '"'
		copy(dst[n+1:], s)
		dst[len(dst)-1] = '"'
		return dst
	}
	dst = append(dst, '"')
	dst = appendEscaped(dst, s)
	return append(dst, '"')
}

// isPlain reports whether a short string is ASCII and has nothing to escape. Words may overlap: where something is does
// not matter.
func isPlain(s string) bool {
	b := unsafe.Slice(unsafe.StringData(s), len(s)) // the bytes of s, only read
	n := len(b)
	var w uint64
	switch {
	case n >= 8:
		for i := 8; i < n; i += 8 {
			w = load(b, i-8)
			if special(w)|w&highs != 0 {
				return false
			}
		}
		w = load(b, n-8)
	case n >= 4:
		w = uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32
	case n > 0:
		w = 0x2020202020<<24 | uint64(b[0]) | uint64(b[n>>1])<<8 | uint64(b[n-1])<<16
	default:
		return true
	}
	return special(w)|w&highs == 0
}

func appendEscaped(dst []byte, s string) []byte {
	b := unsafe.Slice(unsafe.StringData(s), len(s)) // the bytes of s, only read
	for i := 0; ; i++ {
		end, high := plain(b, i)
		if high == 0 {
			dst = append(dst, b[i:end]...)
		} else {
			dst = appendValid(dst, b[i:end])
		}
		if i = end; i == len(b) {
			return dst
		}
		switch c := b[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
}
