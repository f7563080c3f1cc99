package main

import (
	"encoding/json"
	"math"
	"strings"
	"unicode/utf8"
	"unsafe"
)

const (
	columnsShown = 100 // of a value, unless it is shown whole
	redacted     = `"[redacted]"`
)

// A redaction is the names of the members that are not to be shown.
type redaction []string

// hides ignores case: who hides password means Password too.
func (r redaction) hides(name string) bool {
	for _, s := range r {
		if strings.EqualFold(s, name) {
			return true
		}
	}
	return false
}

// A oneline puts a value of a peer on one line, in one pass that looks at no more than it shows. If members are to be
// hidden it goes on to the end: nothing may be shown of what is not understood as a whole.
type oneline struct {
	buf    []byte
	room   int // columns that are left
	hides  redaction
	spaces bool // keep those between the tokens of a JSON text

	all    bool // what is not shown is looked at too
	cut    bool // there was more than room for
	mute   int  // how many values are around the one that is being hidden; -1 for none
	open   []byte
	frames []frame
}

// whole is the room of what is shown whole.
const whole = math.MaxInt

func (l *oneline) start(buf []byte, room int) {
	if cap(l.open) > 1<<12 || cap(l.frames) > 1<<12 { // of one that was deep
		l.open, l.frames = nil, nil
	}
	l.buf, l.room, l.all, l.cut, l.mute = buf, room, len(l.hides) > 0, false, -1
	l.open, l.frames = l.open[:0], l.frames[:0]
}

func (l *oneline) silent() bool { return l.cut || l.mute >= 0 }

// done tells that the rest does not matter.
func (l *oneline) done() bool { return l.cut && !l.all }

// put appends ASCII, as much as there is room for.
func put[T string | []byte](l *oneline, s T) {
	switch {
	case l.silent():
	case len(s) > l.room:
		l.buf = append(append(l.buf, s[:l.room]...), "…"...)
		l.room, l.cut = 0, true
	default:
		l.buf = append(l.buf, s...)
		l.room -= len(s)
	}
}

// char appends a character of a string, quoted if need be, which is not divided.
func (l *oneline) char(r rune) {
	if l.silent() {
		return
	}
	from := len(l.buf)
	l.buf = appendQuoted(l.buf, r)
	l.fits(from)
}

// atom appends ASCII that is not divided.
func (l *oneline) atom(b []byte) {
	if !l.silent() {
		l.buf = append(l.buf, b...)
		l.fits(len(l.buf) - len(b))
	}
}

func (l *oneline) fits(from int) {
	if n := utf8.RuneCount(l.buf[from:]); n <= l.room {
		l.room -= n
		return
	}
	l.buf = append(l.buf[:from], "…"...)
	l.room, l.cut = 0, true
}

// value appends a payload. It reports false, having appended nothing, for one that is neither a JSON text nor a value
// of V8; the tail of one is not looked at if it is not shown.
func (l *oneline) value(buf, data []byte, room int) bool {
	l.start(buf, room)
	ok := false
	if isV8(data) {
		ok = l.v8(data)
	} else {
		ok = l.json(data)
	}
	if !ok {
		l.buf = l.buf[:len(buf)]
	}
	return ok
}

// isV8 tells the two serializations apart: no JSON text begins so, and every payload of V8 does.
func isV8(data []byte) bool { return len(data) > 0 && data[0] == 0xff }

// json appends a JSON text. The strings in it may hold anything; how deep it is nested does not matter.
func (l *oneline) json(data []byte) bool {
	i := 0
	for !l.done() {
		// A value, and before it the name of a member.
		if n := len(l.open); n > 0 && l.open[n-1] == '{' {
			from := l.space(data, i)
			if i = l.str(data, from); i < 0 {
				return false
			}
			if l.done() {
				break
			}
			hide := l.mute < 0 && len(l.hides) > 0 && l.hides.hides(unquote(data[from:i]))
			if i = l.space(data, i); i >= len(data) || data[i] != ':' {
				return false
			}
			put(l, ":")
			i++
			if hide {
				put(l, redacted)
				l.mute = n
			}
		}
		if i = l.space(data, i); i >= len(data) {
			return false
		}
		switch c := data[i]; c {
		case '{', '[':
			put(l, data[i:i+1])
			l.open = append(l.open, c)
			if i = l.space(data, i+1); i >= len(data) || data[i] != c+2 { // } is two behind {, and ] behind [
				continue
			}
		case '"':
			i = l.str(data, i)
		default:
			i = l.scalar(data, i)
		}
		if i < 0 {
			return false
		}
		// What is behind a value.
		for !l.done() {
			n := len(l.open)
			if l.mute == n {
				l.mute = -1
			}
			i = l.space(data, i)
			if n == 0 {
				return i == len(data)
			}
			if i >= len(data) {
				return false
			}
			c := data[i]
			if c != ',' && c != l.open[n-1]+2 {
				return false
			}
			put(l, data[i:i+1])
			i++
			if c == ',' {
				break
			}
			l.open = l.open[:n-1]
		}
	}
	return true
}

// space passes over white space, of which none but spaces may stay on the line.
func (l *oneline) space(data []byte, i int) int {
	for ; i < len(data); i++ {
		switch data[i] {
		case ' ':
			if l.spaces {
				put(l, " ")
			}
		case '\t', '\r', '\n':
		default:
			return i
		}
	}
	return i
}

// plain are the bytes of a string that stand for themselves.
var plain = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// str appends the string at data[i:], and returns where it ends; -1 if there is none.
func (l *oneline) str(data []byte, i int) int {
	if i >= len(data) || data[i] != '"' {
		return -1
	}
	put(l, `"`)
	for i++; ; {
		from, end := i, len(data)
		if !l.all && l.room < end-from {
			end = from + l.room + 1
		}
		for i < end && plain[data[i]] {
			i++
		}
		put(l, data[from:i])
		if l.done() {
			return i
		}
		if i >= len(data) {
			return -1
		}
		switch c := data[i]; {
		case c == '"':
			put(l, `"`)
			return i + 1
		case c == '\\':
			n := escaped(data[i:])
			if n == 0 {
				return -1
			}
			l.atom(data[i : i+n])
			i += n
		case c < ' ':
			return -1
		default:
			r, size := utf8.DecodeRune(data[i:])
			l.char(r)
			i += size
		}
	}
}

// escaped is the length of the escape sequence at the beginning of b, or 0.
func escaped(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}

// scalar appends a number, true, false or null.
func (l *oneline) scalar(data []byte, i int) int {
	from := i
	for i < len(data) && (data[i] >= 'a' && data[i] <= 'z' || data[i] >= '0' && data[i] <= '9' ||
		data[i] == '.' || data[i] == '-' || data[i] == '+' || data[i] == 'E') {
		i++
	}
	switch t := data[from:i]; {
	case string(t) == "true", string(t) == "false", string(t) == "null", isNumber(t):
		put(l, t)
		return i
	}
	return -1
}

// isNumber follows the grammar of JSON.
func isNumber(b []byte) bool {
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	digits := func() bool {
		n := 0
		for n < len(b) && b[n] >= '0' && b[n] <= '9' {
			n++
		}
		b = b[n:]
		return n > 0
	}
	if len(b) > 0 && b[0] == '0' {
		b = b[1:]
	} else if !digits() {
		return false
	}
	if len(b) > 0 && b[0] == '.' {
		if b = b[1:]; !digits() {
			return false
		}
	}
	if len(b) > 0 && b[0]|0x20 == 'e' {
		if b = b[1:]; len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(b) == 0
}

// unquote is the text of a JSON string that has been looked at, which it may share the bytes of.
func unquote(raw []byte) string {
	for _, c := range raw[1 : len(raw)-1] {
		if !plain[c] {
			var s string
			json.Unmarshal(raw, &s)
			return s
		}
	}
	return unsafe.String(unsafe.SliceData(raw[1:]), len(raw)-2)
}

// members calls f with the members of an object in a JSON text, which has to be valid, and reports whether it is one.
// The name is good only for the call.
func members(data []byte, f func(name string, raw []byte)) bool {
	l := oneline{room: whole} // says where strings end
	i := l.space(data, 0)
	if i >= len(data) || data[i] != '{' {
		return false
	}
	if i = l.space(data, i+1); i < len(data) && data[i] == '}' {
		return true
	}
	for {
		from := l.space(data, i)
		end := l.str(data, from)
		if end < 0 {
			return false
		}
		name := unquote(data[from:end])
		if i = l.space(data, end); i >= len(data) || data[i] != ':' {
			return false
		}
		from = l.space(data, i+1)
		if i = skip(data, from); i < 0 {
			return false
		}
		f(name, data[from:i])
		if i = l.space(data, i); i >= len(data) || data[i] != ',' {
			return i < len(data) && data[i] == '}'
		}
		i++
	}
}

// ends are the bytes behind a number or word.
var ends = [256]bool{',': true, ']': true, '}': true, ' ': true, '\t': true, '\r': true, '\n': true}

// skip finds the end of the value at data[i:], which it does not check; -1 if there is none.
func skip(data []byte, i int) int {
	for depth := 0; i < len(data); {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			i++
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\r', '\n':
			i++
			continue
		default:
			for i < len(data) && !ends[data[i]] {
				i++
			}
		}
		switch {
		case i > len(data) || depth < 0:
			return -1
		case depth == 0:
			return i
		}
	}
	return -1
}
