package jsjson

import (
	"bytes"
	"unicode/utf8"
)

// Compact appends data, one JSON text, to dst without the white space between tokens, and so without a newline. It
// checks the text as Scan does. Bytes that are not UTF-8 become U+FFFD: not every reader is as lenient as Node.
func Compact(dst, data []byte) ([]byte, Info, error) {
	s, bad := scan(data)
	if bad >= 0 {
		return dst, Info{}, syntaxError(data, bad)
	}
	info := s.info(data)
	text := data[s.start:s.end]
	from := len(dst)
	if s.space {
		dst = appendTokens(dst, text)
	} else {
		dst = append(dst, text...)
	}
	if s.high {
		dst = repair(dst, from)
	}
	return dst, info, nil
}

// appendTokens appends a valid text without its white space.
func appendTokens(dst, text []byte) []byte {
	start := 0
	for i := 0; i < len(text); {
		switch text[i] {
		case '"':
			i = skipString(text, i)
		case ' ', '\t', '\r', '\n':
			dst = append(dst, text[start:i]...)
			i = skipSpace(text, i)
			start = i
		default:
			i++
		}
	}
	return append(dst, text[start:]...)
}

// repair replaces the bytes of dst[from:] that are not UTF-8. In JSON text they can only be inside strings.
func repair(dst []byte, from int) []byte {
	if utf8.Valid(dst[from:]) {
		return dst
	}
	return appendValid(dst[:from], bytes.Clone(dst[from:]))
}

// skipString returns the place after the string whose quote is at i. The text is valid, or else the end comes early.
func skipString(text []byte, i int) int {
	for i++; ; i += 2 {
		i, _ = plain(text, i)
		if i >= len(text) {
			return len(text)
		}
		if text[i] == '"' {
			return i + 1
		}
		if text[i] != '\\' {
			i-- // a control character, not possible in valid text: one byte, not two
		}
	}
}
