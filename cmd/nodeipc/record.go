package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// The JSON form of events, a line for each, which nodeipc tap writes with --json and --record, and replay reads.

const recordTime = "2006-01-02T15:04:05.000000Z"

// record makes the line of an event in buf.
func (s *screen) record(e *event) {
	b := append(s.buf[:0], `{"time":"`...)
	b = e.time.UTC().AppendFormat(b, recordTime)
	b = append(b, `","channel":`...)
	b = strconv.AppendInt(b, int64(e.tap), 10)
	b = append(append(append(b, `,"event":"`...), e.kind.String()...), '"')
	switch e.kind {
	case started:
		b = appendProcess(append(b, `,"parent":`...), e.parent)
		b = appendProcess(append(b, `,"child":`...), e.child)
		b = append(append(append(b, `,"serialization":"`...), e.serialization.String()...), `","argv":[`...)
		for i, arg := range e.argv {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendQuote(b, arg)
		}
		b = append(b, ']')
		if e.worker != "" {
			b = appendQuote(append(b, `,"worker":`...), e.worker)
		}
	case message:
		b = append(append(append(b, `,"from":"`...), e.from.String()...), `","size":`...)
		b = strconv.AppendInt(b, int64(len(e.data)), 10)
		if e.handle != "" {
			b = appendQuote(append(b, `,"handle":`...), string(e.handle))
		}
		if e.internal != "" {
			b = appendQuote(append(b, `,"internal":`...), e.internal)
		}
		b = s.appendPayload(b, e.data)
	case disconnected:
		b = append(append(append(b, `,"from":"`...), e.from.String()...), '"')
	case exited:
		if e.signal != "" {
			b = appendQuote(append(b, `,"signal":`...), e.signal)
		} else {
			b = strconv.AppendInt(append(b, `,"code":`...), int64(e.code), 10)
		}
	}
	s.buf = append(b, '}')
}

func appendProcess(b []byte, p process) []byte {
	b = strconv.AppendInt(append(b, `{"pid":`...), int64(p.pid), 10)
	return append(appendQuote(append(b, `,"name":`...), p.name), '}')
}

// appendPayload appends the members value and v8, or raw, or none if it is not known what would have to be hidden.
func (s *screen) appendPayload(b, data []byte) []byte {
	from := len(b)
	b = append(b, `,"value":`...)
	if !isV8(data) {
		s.line.spaces = true
		ok := s.line.value(b, data, whole)
		b, s.line.buf = s.line.buf, nil
		if ok {
			return b
		}
	} else if b, hidden, ok := s.appendV8(b, data); ok {
		if hidden {
			return b
		}
		return append(base64.StdEncoding.AppendEncode(append(b, `,"v8":"`...), data), '"')
	}
	b = b[:from]
	if len(s.options.redact) > 0 {
		return b
	}
	return append(base64.StdEncoding.AppendEncode(append(b, `,"raw":"`...), data), '"')
}

// appendV8 appends a payload of V8 as readable JSON, and tells whether something of it was hidden.
func (s *screen) appendV8(b, data []byte) (out []byte, hidden, ok bool) {
	to := bytes.NewBuffer(b)
	if s.printer == nil {
		s.printer = bufio.NewWriter(to)
	} else {
		s.printer.Reset(to)
	}
	hidden, err := printRedacted(s.printer, data, v8.Channel, s.options.redact)
	if err != nil {
		return b, false, false
	}
	s.printer.Flush()
	s.printer.Reset(io.Discard)
	b = to.Bytes()
	return b[:len(b)-1], hidden, true // without the line feed
}

// A recorded is an event that was read, with what its line says of the payload.
type recorded struct {
	event
	// size is that of the payload when it was recorded. data is the payload if it begins with 0xff, for V8, or if the
	// channel's serialization is JSON. Otherwise it is readable JSON that stands for a payload of which something is
	// hidden, or nil: that was hidden as a whole.
	size int
}

// parseEvent reads a line of the JSON form. The members that it does not know do not matter.
func parseEvent(line []byte) (recorded, error) {
	var r recorded
	var l oneline
	if !l.check(line) {
		return r, fmt.Errorf("a line that is not JSON: %s", quote(string(line[:min(len(line), columnsShown)])))
	}
	p := eventParser{members: map[string][]byte{}}
	if !members(line, func(name string, raw []byte) { p.members[string([]byte(name))] = raw }) {
		return r, errors.New("not an event: events are JSON objects")
	}
	kind := p.text("event")
	switch {
	case p.err != nil:
		return r, p.err
	case kind == "start":
		r.kind = started
	case kind == "message":
		r.kind = message
	case kind == "disconnect":
		r.kind = disconnected
	case kind == "exit":
		r.kind = exited
	default:
		return r, fmt.Errorf("event is %s, which is none of start, message, disconnect, exit", quote(kind))
	}
	at, err := time.Parse(time.RFC3339Nano, p.text("time"))
	if err != nil {
		p.fail("time", "a time such as 2006-01-02T15:04:05.000000Z")
	}
	r.time = at
	if r.tap = p.number("channel"); r.tap < 1 {
		p.fail("channel", "a number from 1")
	}
	switch r.kind {
	case started:
		r.parent, r.child = p.process("parent"), p.process("child")
		switch p.text("serialization") {
		case "json":
		case "advanced":
			r.serialization = nodeipc.Advanced
		default:
			p.fail("serialization", "json or advanced")
		}
		if json.Unmarshal(p.members["argv"], &r.argv) != nil {
			p.fail("argv", "a list of strings")
		}
		r.worker = p.optional("worker")
	case message:
		r.from = p.side()
		if r.size = p.number("size"); r.size < 0 {
			p.fail("size", "a number of bytes")
		}
		r.handle = nodeipc.HandleType(p.optional("handle"))
		r.internal = p.optional("internal")
		r.data = p.payload()
	case disconnected:
		r.from = p.side()
	case exited:
		if r.signal = p.optional("signal"); r.signal == "" {
			r.code = p.number("code")
		}
	}
	return r, p.err
}

// check tells whether data is a JSON text, without making anything of it.
func (l *oneline) check(data []byte) bool {
	l.start(nil, whole)
	l.all, l.cut = true, true
	return l.json(data)
}

// An eventParser reads the members of a line. It keeps the first error.
type eventParser struct {
	members map[string][]byte
	err     error
}

// fail notes that a member is not what it has to be.
func (p *eventParser) fail(name, wanted string) {
	if p.err != nil {
		return
	}
	if raw, ok := p.members[name]; ok {
		p.err = fmt.Errorf("%s is %s, not %s", name, plainText(raw), wanted)
	} else {
		p.err = fmt.Errorf("%s is missing", name)
	}
}

// text reads a string.
func (p *eventParser) text(name string) string {
	raw := p.members[name]
	if len(raw) == 0 || raw[0] != '"' {
		p.fail(name, "a string")
		return ""
	}
	return string([]byte(unquote(raw)))
}

// optional reads a string that may be missing.
func (p *eventParser) optional(name string) string {
	if _, ok := p.members[name]; !ok {
		return ""
	}
	return p.text(name)
}

func (p *eventParser) number(name string) int {
	n, err := strconv.Atoi(string(p.members[name]))
	if err != nil {
		p.fail(name, "a whole number")
	}
	return n
}

func (p *eventParser) side() side {
	switch p.text("from") {
	case "parent":
	case "child":
		return childSide
	default:
		p.fail("from", "parent or child")
	}
	return parentSide
}

func (p *eventParser) process(name string) process {
	var v struct {
		PID  int    `json:"pid"`
		Name string `json:"name"`
	}
	if raw := p.members[name]; len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &v) != nil {
		p.fail(name, `an object such as {"pid":1,"name":"node"}`)
	}
	return process{v.PID, v.Name}
}

// payload is what v8, raw or value has, in this order.
func (p *eventParser) payload() []byte {
	for _, name := range []string{"v8", "raw"} {
		if _, ok := p.members[name]; !ok {
			continue
		}
		data, err := base64.StdEncoding.DecodeString(p.text(name))
		if err != nil {
			p.fail(name, "base64")
		}
		return data
	}
	return p.members["value"]
}
