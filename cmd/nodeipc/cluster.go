package main

import (
	"bufio"
	"bytes"
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

const (
	cmdCluster   = "NODE_CLUSTER"
	longestKnown = 64 << 10 // bytes, of an internal message that is looked into
)

// The dialogues remember by channel what has not been answered, so that an answer, which says only to which number it
// is one, can be named.
type dialogues map[int]*dialogue

// A dialogue is what the parent and the child have asked. A peer may ask without end: the oldest is forgotten then.
type dialogue [2]struct {
	asked []question
	next  int
}

type question struct {
	seq          int64
	act, address string
	answered     bool
}

const (
	mostDialogues = 1024
	mostQuestions = 32
)

// asks remembers a question of a side.
func (d dialogues) asks(channel int, from side, q question) {
	of := d[channel]
	if of == nil {
		if len(d) >= mostDialogues { // of channels whose end nobody told of
			for other := range d {
				delete(d, other)
				break
			}
		}
		of = new(dialogue)
		d[channel] = of
	}
	s := &of[from]
	if len(s.asked) < mostQuestions {
		s.asked = append(s.asked, q)
		return
	}
	s.asked[s.next] = q
	s.next = (s.next + 1) % mostQuestions
}

// answered finds the question of the other side that has the number.
func (d dialogues) answered(channel int, from side, ack int64) (question, bool) {
	of := d[channel]
	if of == nil {
		return question{}, false
	}
	list := of[1-from].asked
	for i := range list {
		if q := &list[i]; q.seq == ack && !q.answered {
			q.answered = true
			return *q, true
		}
	}
	return question{}, false
}

// fields are members of an internal message, as JSON; nil for those that are not there.
type fields struct {
	act, key, address, port, addressType, fd, errno, accepted, sockname, count, seq, ack []byte
}

func (f *fields) of(name string) *[]byte {
	switch name {
	case "act":
		return &f.act
	case "key":
		return &f.key
	case "address":
		return &f.address
	case "port":
		return &f.port
	case "addressType":
		return &f.addressType
	case "fd":
		return &f.fd
	case "errno":
		return &f.errno
	case "accepted":
		return &f.accepted
	case "sockname":
		return &f.sockname
	case "count":
		return &f.count
	case "seq":
		return &f.seq
	case "ack":
		return &f.ack
	}
	return nil
}

// read reads the members of data. Those that are to be hidden are so already, but for the numbers of a dialogue, which
// are not shown.
func (f *fields) read(data []byte, hides redaction) bool {
	if len(data) > longestKnown {
		return false
	}
	if isV8(data) {
		var text bytes.Buffer
		out := bufio.NewWriterSize(&text, 512)
		if printJSON(out, data, v8.Channel) != nil || out.Flush() != nil {
			return false
		}
		data = text.Bytes()
	}
	return members(data, func(name string, raw []byte) {
		p := f.of(name)
		if p == nil {
			return
		}
		if *p = raw; len(hides) > 0 && name != "seq" && name != "ack" && hides.hides(name) {
			*p = []byte(redacted)
		}
	})
}

// wholeNumber reads a number that is one, and not negative; any other is -1.
func wholeNumber(raw []byte) int64 {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// name names an internal message: its act, if it is a cluster's, and the text, "" if it is none that is known.
func (d dialogues) name(e *event, hides redaction) (act, text string) {
	var f fields
	if !f.read(e.data, hides) {
		return "", ""
	}
	if e.internal != cmdCluster {
		if f.key == nil || !strings.HasPrefix(e.internal, "NODE_SOCKET_") {
			return "", ""
		}
		text = string(appendWord(nil, e.internal, longestName)) + " " + plainText(f.key)
		if f.count != nil {
			text += " → " + plainText(f.count)
		}
		return "", text
	}
	if ack := wholeNumber(f.ack); ack >= 0 {
		q, ok := d.answered(e.tap, e.from, ack)
		switch {
		case ok:
			text = q.act
			if q.address != "" {
				text += " " + q.address
			}
		case f.act == nil:
			text = "answer to " + strconv.FormatInt(ack, 10)
		}
		if text != "" {
			return q.act, text + " → " + f.outcome(q.address, hides)
		}
	}
	if f.act == nil {
		return "", ""
	}
	act = plainText(f.act)
	text = act
	q := question{seq: wholeNumber(f.seq), act: act}
	switch act {
	case "queryServer":
		q.address = f.listens(hides)
		text += " " + q.address
	case "listening":
		text += " " + f.listens(hides)
	case "newconn", "close":
		text += " " + keyAddress(f.key)
	}
	switch act {
	case "online", "listening", "close", "disconnect": // have no answers
	default:
		if q.seq >= 0 {
			d.asks(e.tap, e.from, q)
		}
	}
	return act, text
}

// listens is the address of a queryServer or listening.
func (f *fields) listens(hides redaction) string {
	switch kind := plainText(f.addressType); {
	case len(f.fd) > 0 && f.fd[0] >= '0' && f.fd[0] <= '9': // -1, null and undefined are none
		return "fd " + plainText(f.fd)
	case kind == "udp4" || kind == "udp6":
		return kind + " " + hostPort(plainText(f.address), cmp.Or(plainText(f.port), "0"))
	}
	return hostPort(plainText(f.address), plainText(f.port))
}

// hostPort is an address as it is usually written; a host that is null is any.
func hostPort(host, port string) string {
	switch host {
	case "null", "":
		host = "*"
	}
	if port == "-1" || port == "" { // a unix socket
		return host
	}
	if port == "null" || port == "undefined" {
		port = "0"
	}
	return net.JoinHostPort(host, port)
}

// keyAddress is the address in the key of a listener: address:port:addressType:fd, and an index perhaps
// (docs/protocol.md 1.15).
func keyAddress(raw []byte) string {
	key := plainText(raw)
	parts := strings.Split(key, ":")
	n := len(parts)
	if n > 1 && parts[n-1] != "undefined" && !slices.Contains([]string{"null", "udp4", "udp6"}, parts[n-2]) {
		n-- // the index
	}
	if n < 4 {
		return key
	}
	host, port, kind, fd := strings.Join(parts[:n-3], ":"), parts[n-3], parts[n-2], parts[n-1]
	switch kind {
	case "null":
		return "fd " + fd
	case "udp4", "udp6":
		return kind + " " + hostPort(host, port)
	case "4", "6", "-1":
		return hostPort(host, port)
	}
	return key
}

// outcome is what an answer says; of an address only if it is another than the one that was asked for.
func (f *fields) outcome(asked string, hides redaction) string {
	switch a := string(f.accepted); a {
	case "true":
		return "accepted"
	case "false":
		return "refused"
	case "":
	default:
		return plainText(f.accepted)
	}
	switch string(f.errno) {
	case "", "null", "0":
	default:
		return errnoName(plainText(f.errno))
	}
	var at fields
	if f.sockname != nil && at.read(f.sockname, hides) && at.address != nil {
		if got := hostPort(plainText(at.address), plainText(at.port)); got != asked {
			return "ok " + got
		}
	}
	return "ok"
}

// errnoName names the errors that a primary answers with: Node has the negative number, that of the system, and before
// Node 14 some by name.
func errnoName(text string) string {
	n, err := strconv.Atoi(text)
	if err != nil {
		return text
	}
	for _, e := range []struct {
		errno syscall.Errno
		name  string
	}{
		{syscall.EADDRINUSE, "EADDRINUSE"}, {syscall.EADDRNOTAVAIL, "EADDRNOTAVAIL"}, {syscall.EACCES, "EACCES"},
		{syscall.EINVAL, "EINVAL"}, {syscall.EEXIST, "EEXIST"}, {syscall.ENOENT, "ENOENT"}, {syscall.EPERM, "EPERM"},
		{syscall.EMFILE, "EMFILE"}, {syscall.EBADF, "EBADF"}, {syscall.ENOTSOCK, "ENOTSOCK"},
		{syscall.EAFNOSUPPORT, "EAFNOSUPPORT"}, {syscall.ENOTSUP, "ENOTSUP"},
	} {
		if n == -int(e.errno) {
			return e.name
		}
	}
	return "error " + text
}

const longestText = 80 // bytes, of a member of an internal message that is shown

// plainText shows a member: a string without its quotes, if it is nothing but a word.
func plainText(raw []byte) string {
	if len(raw) > 2 && raw[0] == '"' && len(raw) <= longestText {
		s := unquote(raw)
		if strings.IndexFunc(s, func(r rune) bool {
			return r == ' ' || r == '"' || r == '\\' || r == '→' || r == unicode.ReplacementChar || !unicode.IsPrint(r)
		}) < 0 {
			return strings.Clone(s)
		}
	}
	var l oneline
	if !l.value(nil, raw, longestText) {
		return ""
	}
	return string(l.buf)
}
