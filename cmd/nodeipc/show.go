package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// showOptions say how events are shown. The zero value shows all of them as text.
type showOptions struct {
	json   bool // a line of JSON for each: see record.go
	full   bool // values whole
	filter filter
	redact redaction
	color  bool
	failed func(error) // nil, or is told of the first write that fails, once
}

// A screen writes events, a line for each, at once. It may be used from several goroutines.
type screen struct {
	options showOptions
	mu      sync.Mutex
	w       io.Writer
	buf     []byte
	line    oneline
	names   dialogues
	acts    bool          // messages of clusters have to be looked at
	printer *bufio.Writer // of values of V8 as JSON, into buf
	err     error         // of a write: nothing is written any more
	missing int           // events, since then
}

// longestBuffer is what is kept for the next line.
const longestBuffer = 256 << 10

// newScreen makes a screen. In front of the text it says what there is to be seen.
func newScreen(w io.Writer, options showOptions) *screen {
	s := &screen{options: options, w: w, names: dialogues{}}
	s.acts = !options.json || options.filter.acts()
	s.line.hides = options.redact
	if !options.json {
		s.write([]byte(notice(options.redact)))
	}
	return s
}

func notice(r redaction) string {
	if len(r) == 0 {
		return "nodeipc tap: shows what the programs say to each other, secrets included: " +
			"--redact KEY,… hides members by name\n"
	}
	names := make([]string, len(r))
	for i, name := range r {
		names[i] = quote(name)
	}
	return "nodeipc tap: shows what the programs say to each other, except members named " +
		strings.Join(names, ", ") + " (--redact)\n"
}

// useColor tells whether to write in colour: mode is the value of --color.
func useColor(mode string, w io.Writer) (bool, error) {
	switch mode {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		file, ok := w.(*os.File)
		if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
			return false, nil
		}
		info, err := file.Stat()
		return err == nil && info.Mode()&os.ModeCharDevice != 0, nil
	}
	return false, fmt.Errorf("%s is unknown; colour is auto, always or never", quote(mode))
}

// event shows an event, if the filter does not keep it away. A write that fails is the last one: what is tapped must
// not suffer from it.
func (s *screen) event(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var act, name string
	switch {
	case e.kind == message && e.internal != "" && s.acts:
		act, name = s.names.name(&e, s.options.redact)
	case e.kind == exited:
		delete(s.names, e.tap)
	}
	if !s.options.filter.shows(&e, act) {
		return
	}
	if s.err != nil {
		s.missing++
		return
	}
	if s.options.json {
		s.record(&e)
	} else {
		s.text(&e, name)
	}
	if s.write(append(s.buf, '\n')) != nil {
		s.missing++
	}
	if cap(s.buf) > longestBuffer {
		s.buf = nil
	}
}

func (s *screen) write(line []byte) error {
	n, err := s.w.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	if err != nil {
		s.err = err
		if s.options.failed != nil {
			s.options.failed(err)
		}
	}
	return err
}

// flush reports what was not written. There is nothing to be flushed, as each event is written when it comes.
func (s *screen) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil
	}
	return fmt.Errorf("%w; events that are missing in the output: %d", s.err, s.missing)
}

// close is flush, and ends the output.
func (s *screen) close() error {
	err := s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = errors.New("an event after the end")
	}
	return err
}

// Colours.
const (
	dim    = "2"
	bold   = "1"
	blue   = "34" // parents
	green  = "32" // children
	yellow = "33" // what happens to a channel
	purple = "35" // what Node says
)

func (s *screen) color(code string) {
	if s.options.color {
		s.buf = append(append(append(s.buf, "\x1b["...), code...), 'm')
	}
}

func (s *screen) plain() {
	if s.options.color {
		s.buf = append(s.buf, "\x1b[m"...)
	}
}

func (s *screen) add(text string) { s.buf = append(s.buf, text...) }

// text makes the line of an event in buf.
func (s *screen) text(e *event, name string) {
	s.buf = s.buf[:0]
	s.color(dim)
	s.buf = e.time.Local().AppendFormat(s.buf, "15:04:05.000000")
	s.plain()
	s.add(" ")
	if e.kind != exited {
		from, to := parentSide, childSide
		if e.from == childSide && e.kind != started {
			from, to = to, from
		}
		s.process(e, from)
		s.add(" → ")
		s.process(e, to)
	} else {
		s.process(e, childSide)
	}
	s.add("  ")
	switch e.kind {
	case message:
		s.message(e, name)
	case started:
		s.kind("start", yellow)
		s.add("channel ")
		s.buf = strconv.AppendInt(s.buf, int64(e.tap), 10)
		s.add(", ")
		s.add(e.serialization.String())
		if e.worker != "" {
			s.add(", worker ")
			s.word(e.worker)
		}
		s.add(" ")
		s.argv(e.argv)
	case disconnected:
		s.kind("disconnect", yellow)
		s.buf = s.buf[:len(s.buf)-2]
	case exited:
		s.kind("exit", yellow)
		if e.signal != "" {
			s.word(e.signal)
		} else {
			s.add("code ")
			s.buf = strconv.AppendInt(s.buf, int64(e.code), 10)
		}
	default:
		s.add(e.kind.String())
	}
}

func (s *screen) kind(name, color string) {
	s.color(color)
	s.add(name)
	s.plain()
	s.add("  ")
}

func (s *screen) process(e *event, which side) {
	p, color := e.parent, blue
	if which == childSide {
		p, color = e.child, green
	}
	s.color(color)
	s.word(p.name)
	s.add("[")
	s.buf = strconv.AppendInt(s.buf, int64(p.pid), 10)
	s.add("]")
	s.plain()
}

// word appends a name or argument, quoted if it has what could be taken for something else.
func (s *screen) word(text string) {
	s.buf = appendWord(s.buf, text, longestName)
}

const longestName = 60 // bytes

func appendWord(b []byte, text string, most int) []byte {
	cut := len(text) > most
	if cut {
		for most > 0 && !utf8.RuneStart(text[most]) {
			most--
		}
		text = text[:most]
	}
	simple := true
	for i := 0; i < len(text) && simple; i++ {
		simple = plain[text[i]] && text[i] != '[' && text[i] != ']'
	}
	if simple {
		b = append(b, text...)
	} else {
		b = appendQuote(b, text)
	}
	if cut {
		b = append(b, "…"...)
	}
	return b
}

func (s *screen) argv(argv []string) {
	from, room := len(s.buf), columnsShown
	if s.options.full {
		room = whole
	}
	for _, arg := range argv {
		if len(s.buf)-from >= room {
			s.add(" …")
			return
		}
		s.add(" ")
		if arg == "" || strings.ContainsAny(arg, " ") {
			left := min(room-(len(s.buf)-from), len(arg))
			s.buf = appendQuote(s.buf, arg[:left])
			if left < len(arg) {
				s.add("…")
			}
			continue
		}
		s.buf = appendWord(s.buf, arg, room-(len(s.buf)-from))
	}
}

// message appends what a message is, its size, its name or value, and its handle.
func (s *screen) message(e *event, name string) {
	switch e.internal {
	case "":
		s.kind("message", bold)
	case cmdCluster:
		s.kind("cluster", purple)
	default:
		s.kind("internal", purple)
	}
	s.color(dim)
	s.buf = strconv.AppendInt(s.buf, int64(len(e.data)), 10)
	s.add(" B")
	s.plain()
	s.add("  ")
	s.add(name)
	if name == "" && e.internal != "" {
		s.word(e.internal)
	}
	if e.internal == "" || name == "" || s.options.full {
		if e.internal != "" {
			s.add("  ")
		}
		s.value(e.data)
	}
	if e.handle != "" {
		s.add(" +")
		s.word(string(e.handle))
	}
}

func (s *screen) value(data []byte) {
	room := columnsShown
	if s.options.full {
		room = whole
	}
	ok := s.line.value(s.buf, data, room)
	s.buf, s.line.buf = s.line.buf, nil
	switch {
	case ok:
	case len(s.options.redact) > 0:
		s.add("(neither JSON nor of V8, and so hidden)")
	default:
		s.add("(neither JSON nor of V8) ")
		if rest := len(data) - columnsShown; rest > 0 && !s.options.full {
			data = data[:columnsShown]
			defer s.add("…")
		}
		s.buf = appendQuote(s.buf, string(data))
	}
}
