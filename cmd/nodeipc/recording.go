package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A recording as nodeipc replay reads it: twice, so that nothing is kept of it. At first it is surveyed, to know before
// anything is started whether a channel of it can be played.

const (
	longestLine  = 256 << 20
	mostChannels = 1 << 16
)

// What a parent asks about a socket list.
const (
	cmdGetCount    = "NODE_SOCKET_GET_COUNT"
	cmdNotifyClose = "NODE_SOCKET_NOTIFY_CLOSE"
)

// A recordingReader reads the events of a recording.
type recordingReader struct {
	in   *bufio.Reader
	line int // the number of the last one
	buf  []byte
}

func newRecordingReader(r io.Reader) *recordingReader {
	return &recordingReader{in: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next event, which shares memory that the call after this one uses; io.EOF at the end. Other errors
// have the number of the line.
func (r *recordingReader) next() (recorded, error) {
	for {
		line, err := r.read()
		if line = bytes.TrimSpace(line); len(line) == 0 {
			if err == nil {
				continue
			}
			return recorded{}, err
		}
		if err != nil && err != io.EOF {
			return recorded{}, err
		}
		e, failure := parseEvent(line)
		switch {
		case failure == nil:
			return e, nil
		case err == io.EOF: // no line feed
			failure = fmt.Errorf("the recording is cut off: %w", failure)
		}
		return recorded{}, r.fail(failure)
	}
}

func (r *recordingReader) fail(err error) error { return fmt.Errorf("line %d: %w", r.line, err) }

// read reads a line.
func (r *recordingReader) read() ([]byte, error) {
	if cap(r.buf) > 1<<20 { // of one that was long
		r.buf = nil
	}
	r.buf = r.buf[:0]
	r.line++
	for {
		part, err := r.in.ReadSlice('\n')
		if len(r.buf)+len(part) > longestLine {
			return nil, r.fail(fmt.Errorf("longer than %d MiB", longestLine>>20))
		}
		switch {
		case err == bufio.ErrBufferFull:
			r.buf = append(r.buf, part...)
		case err != nil && err != io.EOF:
			return nil, r.fail(err)
		case len(r.buf) == 0:
			return part, err
		default:
			return append(r.buf, part...), err
		}
	}
}

// A recordedChannel is what there is to know of a channel before it is played.
type recordedChannel struct {
	number        int
	argv          string // to be shown
	serialization nodeipc.Serialization
	worker        string
	fromChild     int // messages
	toChild       int
	exited        bool
	lists         []string // keys of socket lists that the parent asks about: none, one, or two that stand for more
	sockets       bool     // net.Sockets go to the child, which may belong to one of these
	problem       error    // why it cannot be played
}

// survey reads a recording to its end.
func survey(r *recordingReader) (channels []*recordedChannel, err error) {
	numbers := map[int]*recordedChannel{}
	for {
		e, err := r.next()
		if err == io.EOF {
			return channels, nil
		}
		if err != nil {
			return nil, err
		}
		c := numbers[e.tap]
		switch {
		case c == nil && e.kind != started:
			return nil, r.fail(fmt.Errorf("channel %d has no start before this", e.tap))
		case c == nil && len(channels) == mostChannels:
			return nil, r.fail(fmt.Errorf("more than %d channels", mostChannels))
		case c == nil:
			c = &recordedChannel{number: e.tap, argv: shortArgv(e.argv), serialization: e.serialization, worker: e.worker}
			numbers[e.tap] = c
			channels = append(channels, c)
		case e.kind == started:
			return nil, r.fail(fmt.Errorf("channel %d starts a second time", e.tap))
		case c.exited:
			return nil, r.fail(fmt.Errorf("channel %d goes on after the exit of its child", e.tap))
		default:
			if err := c.note(&e); err != nil && c.problem == nil {
				c.problem = r.fail(err)
			}
		}
	}
}

// note counts an event, and says why it cannot be played.
func (c *recordedChannel) note(e *recorded) error {
	switch {
	case e.kind == exited:
		c.exited = true
		return nil
	case e.kind != message:
		return nil
	case e.from == childSide:
		c.fromChild++
		return nil
	}
	c.toChild++
	switch {
	case c.redacted(e.data):
		return errRedacted
	case e.handle == "":
	case !canStandIn(e.handle):
		return fmt.Errorf("there is nothing to stand in for a handle of type %s", quote(string(e.handle)))
	case e.handle == nodeipc.NetSocket:
		c.sockets = true
	}
	if e.internal == cmdGetCount || e.internal == cmdNotifyClose {
		var f fields
		f.read(e.data, nil)
		if len(f.key) > 2 && f.key[0] == '"' && len(c.lists) < 2 {
			if key := string([]byte(unquote(f.key))); !slices.Contains(c.lists, key) {
				c.lists = append(c.lists, key)
			}
		}
	}
	if c.sockets && len(c.lists) > 1 {
		return errors.New("the parent sends sockets of more than one server, and which is of which is not recorded")
	}
	return nil
}

var errRedacted = errors.New("the recording is redacted: it cannot be played, as this is to be sent to the child")

// redacted tells whether something of a recorded payload is hidden. One of V8 is left out then.
func (c *recordedChannel) redacted(data []byte) bool {
	if len(data) == 0 || c.serialization == nodeipc.Advanced {
		return !isV8(data)
	}
	for i := 0; ; {
		n := bytes.Index(data[i:], []byte(redacted))
		if n < 0 {
			return false
		}
		i += n + len(redacted)
		if rest := bytes.TrimLeft(data[i:], " "); len(rest) == 0 || rest[0] != ':' { // not the name of a member
			return true
		}
	}
}

// shortArgv shows a command.
func shortArgv(argv []string) string {
	var b []byte
	for _, arg := range argv {
		if len(b) > columnsShown {
			return string(append(b, " …"...))
		}
		if len(b) > 0 {
			b = append(b, ' ')
		}
		quoted := quote(arg[:min(len(arg), columnsShown)])
		if arg != "" && quoted == `"`+arg+`"` && !strings.ContainsAny(arg, " '") {
			b = append(b, arg...)
		} else {
			b = append(b, quoted...)
		}
	}
	return string(b)
}

// choose returns the channel that is to be played: the one with this number, or, for 0, the only one.
func choose(channels []*recordedChannel, number int) (*recordedChannel, error) {
	for _, c := range channels {
		if c.number == number || number == 0 && len(channels) == 1 {
			return c, c.problem
		}
	}
	if len(channels) == 0 {
		return nil, errors.New("nothing is recorded")
	}
	text := fmt.Sprintf("there is no channel %d, of", number)
	if number == 0 {
		text = fmt.Sprintf("%d channels are recorded, say which with --channel:", len(channels))
	}
	const most = 50
	for i, c := range channels {
		if i == most {
			text += fmt.Sprintf("\n  and %d more", len(channels)-most)
			break
		}
		text += fmt.Sprintf("\n  %d  %s", c.number, c.argv)
	}
	return nil, errors.New(text)
}

// A recordingFile is one that is read twice.
type recordingFile struct {
	*os.File
	name string
}

func openRecording(name string) (*recordingFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is no regular file, and a recording is read twice", quote(name))
	}
	return &recordingFile{f, name}, nil
}

// reader reads from the beginning.
func (f *recordingFile) reader() (*recordingReader, error) {
	_, err := f.Seek(0, io.SeekStart)
	return newRecordingReader(f), err
}
