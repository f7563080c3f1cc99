package jsjson

import "strconv"

// Info is what Scan learns about a text in passing.
type Info struct {
	// Cmd is set only if Node would take the text for an internal message: the last member named "cmd" of the
	// object is a string that starts with NODE_ and is longer than that. It is that string.
	Cmd string
	// ASCII says that the text has no byte above 0x7f. Append may leave it false.
	ASCII bool
	// Quick says that another Scan of the text costs less than a sum over its bytes: nearly all of it is long strings.
	// There is no white space then.
	Quick bool
}

// A SyntaxError says where a text stops being JSON.
type SyntaxError struct {
	Offset int64 // of the first byte that does not fit; the length of the text if it ends too early
	Msg    string
}

func (e *SyntaxError) Error() string {
	return "json: " + e.Msg + " at offset " + strconv.FormatInt(e.Offset, 10)
}

func syntaxError(data []byte, i int) *SyntaxError {
	if i >= len(data) {
		return &SyntaxError{Offset: int64(len(data)), Msg: "unexpected end of JSON text"}
	}
	return &SyntaxError{Offset: int64(i), Msg: "unexpected " + strconv.QuoteToASCII(string(data[i:i+1]))}
}

// Scan checks that data is one JSON text as JSON.parse would accept, and finds the member cmd. Bytes above 0x7f are
// accepted anywhere in strings: Node decodes what is not UTF-8 to U+FFFD before it parses. It takes any depth of
// nesting.
func Scan(data []byte) (Info, error) {
	s, bad := scan(data)
	if bad >= 0 {
		return Info{}, syntaxError(data, bad)
	}
	return s.info(data), nil
}

// scanned is what one pass over a valid text finds.
type scanned struct {
	start, end int  // of the text without the white space around it
	cmd        int  // where the value of the last top-level member cmd is, if that is a string; else 0
	space      bool // there is white space between tokens
	high       bool // there are bytes above 0x7f
	long       int  // bytes of long strings
}

// info makes of it what is asked for.
func (s *scanned) info(data []byte) Info {
	info := Info{ASCII: !s.high}
	info.Quick = vectors && len(data) >= 4<<10 && s.long >= len(data)/16*15 && !s.space && s.end-s.start == len(data)
	if s.cmd > 0 {
		info.Cmd = internalName(data[s.cmd:skipString(data, s.cmd)])
	}
	return info
}

// levels are the kinds of the objects and arrays around the innermost 64, 64 each. They are in a type of their own to
// be in memory: scan has more use for its registers.
type levels struct{ kinds []uint64 }

//go:noinline
func (l *levels) push(kinds uint64) { l.kinds = append(l.kinds, kinds) }

//go:noinline
func (l *levels) pop() uint64 {
	n := len(l.kinds) - 1
	kinds := l.kinds[n]
	l.kinds = l.kinds[:n]
	return kinds
}

// scan is Scan before anything is made of its findings. bad is the place of the first error, or negative.
//
// It is one function with jumps for states, because that is a third faster than a loop around a state variable; and it
// does not recurse, because the depth is the peer's choice.
func scan(data []byte) (s scanned, bad int) {
	var (
		i     int
		depth int
		kinds uint64 // what the innermost 64 levels are, the innermost in bit 0: 1 for an object
		outer levels
		high  uint64
		c     byte
		start int
		w     uint64
		marks uint64
		more  uint64
	)
	i = skipSpace(data, 0)
	s.start = i

value:
	if i >= len(data) {
		return s, i
	}
	c = data[i]
	switch c {
	case '"':
		goto text
	case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		goto number
	case '{':
		if depth&63 == 0 && depth > 0 {
			outer.push(kinds)
		}
		depth++
		kinds = kinds<<1 | 1
		i++
		if i < len(data) && data[i] == '"' {
			goto name
		}
		if i < len(data) && data[i] <= ' ' {
			s.space = true
			i = skipSpace(data, i)
		}
		if i < len(data) && data[i] == '}' {
			goto pop
		}
		goto key
	case '[':
		if depth&63 == 0 && depth > 0 {
			outer.push(kinds)
		}
		depth++
		kinds <<= 1
		i++
		if i < len(data) && data[i] <= ' ' {
			s.space = true
			i = skipSpace(data, i)
		}
		if i < len(data) && data[i] == ']' {
			goto pop
		}
		goto value
	case 't':
		if i+4 > len(data) || string(data[i:i+4]) != "true" {
			return s, mismatch(data, i, "true")
		}
		i += 4
		goto after
	case 'f':
		if i+5 > len(data) || string(data[i:i+5]) != "false" {
			return s, mismatch(data, i, "false")
		}
		i += 5
		goto after
	case 'n':
		if i+4 > len(data) || string(data[i:i+4]) != "null" {
			return s, mismatch(data, i, "null")
		}
		i += 4
		goto after
	case '-':
		i++
		if i >= len(data) {
			return s, i
		}
		c = data[i]
		if c-'0' > 9 {
			return s, i
		}
		goto number
	}
	return s, i

number: // c is its first digit, at i
	i++
	if c != '0' {
		for i < len(data) && data[i]-'0' <= 9 {
			i++
		}
	}
	if i >= len(data) {
		goto after
	}
	if data[i] == '.' {
		i++
		if i >= len(data) || data[i]-'0' > 9 {
			return s, i
		}
		for i < len(data) && data[i]-'0' <= 9 {
			i++
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		if i >= len(data) || data[i]-'0' > 9 {
			return s, i
		}
		for i < len(data) && data[i]-'0' <= 9 {
			i++
		}
	}
	goto after

text: // a string value; data[i] is its quote
	i++
	if i+16 <= len(data) { // most strings end within two words: no call for these
		w = load(data, i)
		high |= w
		if marks = special(w); marks == 0 {
			i += 8
			w = load(data, i)
			high |= w
			marks = special(w)
		}
		if marks != 0 {
			i += first(marks)
			if data[i] == '"' {
				i++
				goto after
			}
		}
	}
	s.long -= i
	if i, more = closingQuote(data, i); i < 0 {
		return s, ^i
	}
	s.long += i
	high |= more
	i++
	goto after

after: // a value ended at i
	if depth == 0 {
		s.end = i
		if i = skipSpace(data, i); i < len(data) {
			return s, i
		}
		s.high = high&highs != 0
		return s, -1
	}
	if i >= len(data) {
		return s, i
	}
	c = data[i]
	if c <= ' ' {
		s.space = true
		i = skipSpace(data, i)
		if i >= len(data) {
			return s, i
		}
		c = data[i]
	}
	if c == ',' {
		i++
		if kinds&1 != 0 && i < len(data) && data[i] == '"' {
			goto name
		}
		if i < len(data) && data[i] <= ' ' {
			s.space = true
			i = skipSpace(data, i)
		}
		if kinds&1 == 0 {
			goto value
		}
		goto key
	}
	// '}' closes an object, ']' an array; they differ in this bit too.
	if c != ']'|byte(kinds&1)<<5 {
		return s, i
	}

pop: // data[i] closes the innermost level
	i++
	depth--
	kinds >>= 1
	if depth&63 == 0 && depth > 0 {
		kinds = outer.pop()
	}
	goto after

key:
	if i >= len(data) || data[i] != '"' {
		return s, i
	}

name: // data[i] is the quote of a key
	i++
	start = i
	if i+8 <= len(data) {
		w = load(data, i)
		high |= w
		if marks = special(w); marks != 0 {
			i += first(marks)
			if data[i] == '"' {
				if i-start == 3 && depth == 1 && w&0xffffff == 'c'|'m'<<8|'d'<<16 {
					start = 0
				}
				goto named
			}
		}
	}
	if i, more = closingQuote(data, i); i < 0 {
		return s, ^i
	}
	high |= more
	if depth == 1 && isCmdKey(data[start:i]) {
		start = 0
	}

named: // data[i] is the quote behind a key; start is 0 if it is the member cmd of the whole
	if i+2 < len(data) && data[i+1] == ':' && data[i+2] > ' ' {
		i += 2
	} else {
		i++
		if i < len(data) && data[i] <= ' ' {
			s.space = true
			i = skipSpace(data, i)
		}
		if i >= len(data) || data[i] != ':' {
			return s, i
		}
		i++
		if i < len(data) && data[i] <= ' ' {
			s.space = true
			i = skipSpace(data, i)
		}
	}
	if start == 0 {
		s.cmd = 0 // the last one counts, whatever it is
		if i < len(data) && data[i] == '"' {
			s.cmd = i
		}
	}
	goto value
}

// closingQuote returns the place of the quote that ends the string of which data[i] is a part, or the complement of the
// first place that is wrong, and whether there are bytes above 0x7f on the way.
func closingQuote(data []byte, i int) (end int, high uint64) {
	var more uint64
	for {
		i, more = plain(data, i)
		high |= more
		if i >= len(data) {
			return ^i, high
		}
		if data[i] == '"' {
			return i, high
		}
		if i = skipEscape(data, i); i < 0 {
			return i, high
		}
	}
}

// skipEscape returns the place after the escape at i, or the complement of the first place that is wrong: data[i] may
// also be a control character.
func skipEscape(data []byte, i int) int {
	if data[i] != '\\' {
		return ^i
	}
	i++
	if i >= len(data) {
		return ^i
	}
	switch data[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1
	case 'u':
		for end := i + 4; i < end; {
			i++
			if i >= len(data) || class[data[i]]&classHex == 0 {
				return ^i
			}
		}
		return i + 1
	}
	return ^i
}

// mismatch is the first place from i on where data departs from word.
func mismatch(data []byte, i int, word string) int {
	for n := 0; n < len(word) && i < len(data) && data[i] == word[n]; n++ {
		i++
	}
	return i
}

// isCmdKey reports whether a key, without its quotes, spells cmd.
func isCmdKey(key []byte) bool {
	if len(key) == 3 {
		return key[0] == 'c' && key[1] == 'm' && key[2] == 'd'
	}
	// Escaped, it has 8, 13 or 18 bytes.
	if len(key) < 8 || len(key) > 18 {
		return false
	}
	return isEscapedCmd(key)
}

func isEscapedCmd(key []byte) bool {
	var room [32]byte
	text, ok := unescape(room[:0], key)
	return ok && string(text) == "cmd"
}

// internalName decodes a string token and returns it if it is the cmd of an internal message. The names in use are
// constants, so that they cost no allocation.
func internalName(token []byte) string {
	body := token[1 : len(token)-1]
	if len(body) < 6 || body[0] != 'N' && body[0] != '\\' {
		return ""
	}
	switch string(body) {
	case "NODE_HANDLE":
		return "NODE_HANDLE"
	case "NODE_HANDLE_ACK":
		return "NODE_HANDLE_ACK"
	case "NODE_HANDLE_NACK":
		return "NODE_HANDLE_NACK"
	case "NODE_CLUSTER":
		return "NODE_CLUSTER"
	case "NODE_SOCKET_NOTIFY_CLOSE":
		return "NODE_SOCKET_NOTIFY_CLOSE"
	case "NODE_SOCKET_ALL_CLOSED":
		return "NODE_SOCKET_ALL_CLOSED"
	case "NODE_SOCKET_GET_COUNT":
		return "NODE_SOCKET_GET_COUNT"
	case "NODE_SOCKET_COUNT":
		return "NODE_SOCKET_COUNT"
	}
	name, ok := String(token)
	if !ok || len(name) <= 5 || name[:5] != "NODE_" {
		return ""
	}
	return name
}
