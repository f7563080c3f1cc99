package main

import (
	"strconv"
	"unicode/utf8"
)

// quote shows a string of the peer as JSON, and what a terminal would obey, or an eye not see, as escapes. Package v8
// keeps unpaired surrogates as three bytes.
func quote(s string) string { return string(appendQuote(make([]byte, 0, len(s)+2), s)) }

func appendQuote(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 && i+2 < len(s) && s[i] == 0xed && s[i+1] >= 0xa0 {
			r, size = 0xd000|rune(s[i+1]&0x3f)<<6|rune(s[i+2]&0x3f), 3
		}
		i += size
		b = appendQuoted(b, r)
	}
	return append(b, '"')
}

// appendQuoted appends a character of a string.
func appendQuoted(b []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(b, '\\', byte(r))
	case r == '\n':
		return append(b, `\n`...)
	case r == '\t':
		return append(b, `\t`...)
	case strconv.IsPrint(r):
		return utf8.AppendRune(b, r)
	case r > 0xffff:
		r -= 0x10000
		return escape(escape(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
	}
	return escape(b, r)
}

func escape(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
