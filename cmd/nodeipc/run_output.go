package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// What the workers print, and what the command run itself says.

// An output is where the lines of all workers go, each of them whole.
type output struct {
	mu *sync.Mutex // two outputs that are the same file have one
	w  io.Writer
}

// Longer lines are cut into pieces.
const maxLine = 64 << 10

// copy writes what comes from r with prefix before each line, until r ends. What cannot be written is lost, and the
// worker lives on.
func (o *output) copy(prefix string, r io.Reader) {
	buf := make([]byte, maxLine)
	n, cut := 0, false // cut: a piece of the line was written
	var out []byte
	for {
		m, err := r.Read(buf[n:])
		rest := buf[:n+m]
		for looked := n; ; looked = 0 { // there is no end of a line in what was there before
			i := bytes.IndexByte(rest[looked:], '\n')
			if i < 0 {
				break
			}
			i += looked
			if i > 0 || !cut {
				out = appendLine(out, prefix, rest[:i])
			}
			rest, cut = rest[i+1:], false
		}
		switch {
		case err != nil && len(rest) > 0:
			out = appendLine(out, prefix, rest)
		case len(rest) == len(buf):
			end := wholeRunes(rest)
			out = appendLine(out, prefix, rest[:end])
			rest, cut = rest[end:], true
		}
		if n += m; len(rest) < n {
			n = copy(buf, rest)
		}
		if len(out) > 0 {
			o.mu.Lock()
			o.w.Write(out)
			o.mu.Unlock()
			out = out[:0]
		}
		if err != nil {
			return
		}
	}
}

// wholeRunes returns how much of b there is without a character that has only begun.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}

// appendLine appends a line of a worker. What a terminal would obey, or an eye not see, is shown as an escape of JSON,
// so that a line of JSON stays the same value; bytes that are no text are shown as \xff.
func appendLine(out []byte, prefix string, line []byte) []byte {
	out = append(out, prefix...)
	line = bytes.TrimSuffix(line, []byte{'\r'})
	for len(line) > 0 {
		if c := line[0]; c == '\t' || c >= ' ' && c < 0x7f {
			out, line = append(out, c), line[1:]
			continue
		}
		r, size := utf8.DecodeRune(line)
		switch {
		case r == utf8.RuneError && size == 1:
			out = fmt.Appendf(out, `\x%02x`, line[0])
		case strconv.IsPrint(r):
			out = append(out, line[:size]...)
		default:
			out = appendQuoted(out, r)
		}
		line = line[size:]
	}
	return append(out, '\n')
}

// A journal is where the command's own messages go. It writes them from a goroutine of its own, as a terminal that has
// been stopped must not stop the workers' keeper too; what comes then beyond its size is lost.
type journal struct {
	lines chan string   // never closed: who speaks may do so to the very end
	over  chan struct{} // closed when no more is to be written than what is in lines
	done  chan struct{}
}

func newJournal(o *output) *journal {
	j := &journal{make(chan string, 256), make(chan struct{}), make(chan struct{})}
	write := func(line string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		io.WriteString(o.w, line)
	}
	go func() {
		defer close(j.done)
		for {
			select {
			case line := <-j.lines:
				write(line)
			case <-j.over:
				for {
					select {
					case line := <-j.lines:
						write(line)
					default:
						return
					}
				}
			}
		}
	}()
	return j
}

func (j *journal) say(format string, args ...any) {
	select {
	case j.lines <- "nodeipc: run: " + fmt.Sprintf(format, args...) + "\n":
	default:
	}
}

// Write takes a line of a slog.Handler.
func (j *journal) Write(p []byte) (int, error) {
	j.say("%s", bytes.TrimSuffix(p, []byte{'\n'}))
	return len(p), nil
}

// close writes what is left, if it can be written.
func (j *journal) close() {
	close(j.over)
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-j.done:
	case <-t.C:
	}
}
