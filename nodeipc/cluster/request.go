package cluster

import (
	"bytes"
	"path"
)

// What the first bytes of a connection say of the request that it begins with, or, of TLS, of the server that is meant.
//
// A worker reads the same bytes again, and it alone decides whether they are a request. Here as much is accepted as any
// supported Node's parser, or net/http, would serve (for example empty lines before the request, lone line feeds,
// folded fields); what they refuse is not told apart from what they serve, where that would cost anything.

// A head is what is known so far. What it refers to are the bytes that it was parsed from.
type head struct {
	proto protocol
	// Of HTTP, when the request line is whole:
	lineDone bool
	method   []byte
	// path is that of the target up to ? or #, percent-encoded as it came, without dot segments and double slashes, as
	// http.ServeMux has it. "*" is one, and CONNECT has none if its target is an authority.
	path []byte
	// host is the authority of the target (as RFC 9112 3.2.2 wants it, and net/http does; Node's http leaves the choice
	// to the program), or else the first Host field; or the server name of TLS; without port and brackets, in the
	// letters that came. It may be empty.
	host     []byte
	hostDone bool   // more bytes do not change the host
	fields   []byte // the header fields that are whole, as lines
	complete bool   // all fields are there, or the whole of what TLS begins with
}

type protocol int8

const (
	protoUnknown protocol = iota
	protoHTTP
	protoTLS
)

type headState int8

const (
	headMore headState = iota // more bytes are needed
	headDone
	headNone // neither HTTP/1 nor TLS
)

// parseHead parses what may be the beginning only. Except after headMore, more bytes change nothing; but a head that
// needs more may have the request line and fields already.
func parseHead(b []byte) (h head, state headState) {
	if len(b) > 0 && b[0] == tlsHandshake {
		return parseHello(b)
	}
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	if state = h.parseLine(&b); state == headDone {
		state = h.parseFields(b)
	}
	if state == headNone {
		return head{}, headNone
	}
	return h, state
}

// parseLine parses the request line, and takes it off b.
func (h *head) parseLine(b *[]byte) headState {
	line, n := *b, len(*b)
	whole := false
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line, n, whole = line[:i], i+1, true
		if i > 0 && line[i-1] == '\r' {
			line = line[:i-1]
		}
	}
	i := 0
	for i < len(line) && isToken(line[i]) {
		i++
	}
	switch {
	case i == len(line) && !whole:
		return headMore
	case i == 0 || i == len(line) || line[i] != ' ':
		return headNone
	case !whole:
		h.proto = protoHTTP // most likely
		return headMore
	}
	h.method = line[:i]
	rest := bytes.TrimLeft(line[i:], " ")
	for i = 0; i < len(rest) && rest[i] != ' '; i++ {
		if c := rest[i]; c < ' ' && c != '\t' && c != '\f' || c == 0x7f { // both are in a path for Node before 20
			return headNone
		}
	}
	target, version := rest[:i], bytes.TrimLeft(rest[i:], " ")
	if !h.parseTarget(target) || !isVersion(version) || string(h.method) == "PRI" && string(version) == "HTTP/2.0" {
		return headNone
	}
	h.proto, h.lineDone = protoHTTP, true
	*b = (*b)[n:]
	return headDone
}

// parseTarget sets the path, and the host if it is there.
func (h *head) parseTarget(target []byte) bool {
	connect := string(h.method) == "CONNECT"
	switch {
	case len(target) == 0:
		return false
	case target[0] == '/' || target[0] == '*':
	case connect:
		h.host, h.hostDone = withoutPort(target), true
		return true
	default:
		i := bytes.IndexByte(target, ':')
		if i <= 0 || !bytes.HasPrefix(target[i:], []byte("://")) {
			return false
		}
		for _, c := range target[:i] {
			if !isToken(c) {
				return false
			}
		}
		target = target[i+len("://"):]
		if i = bytes.IndexAny(target, "/?#"); i < 0 {
			i = len(target)
		}
		authority := target[:i]
		authority = authority[bytes.LastIndexByte(authority, '@')+1:]
		if len(authority) > 0 {
			h.host, h.hostDone = withoutPort(authority), true
		}
		if target = target[i:]; len(target) == 0 || target[0] != '/' {
			target = []byte("/")
		}
	}
	unclean := false
	end := len(target)
	for i, c := range target {
		if c == '?' || c == '#' {
			end = i
			break
		}
		if (c == '/' || c == '.') && i > 0 && target[i-1] == '/' {
			unclean = true
		}
	}
	h.path = target[:end]
	if unclean && !connect { // as http.ServeMux
		h.path = []byte(cleanPath(string(h.path)))
	}
	return true
}

// cleanPath removes dot segments and double slashes.
func cleanPath(p string) string {
	clean := path.Clean(p)
	if p[len(p)-1] == '/' && clean != "/" {
		clean += "/"
	}
	return clean
}

// isVersion reports whether this is what can end a request line: a protocol and two digits, or nothing at all.
func isVersion(v []byte) bool {
	if len(v) == 0 { // of HTTP/0.9; Node takes fields with it
		return true
	}
	i := bytes.IndexByte(v, '/')
	if i <= 0 || len(v) != i+4 || !isDigit(v[i+1]) || v[i+2] != '.' || !isDigit(v[i+3]) {
		return false
	}
	switch string(v[:i]) {
	case "HTTP", "RTSP", "ICE": // Node serves them all
		return true
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// parseFields finds the end of the fields, which begin with b, and the host.
func (h *head) parseFields(b []byte) headState {
	end := 0 // of what is whole
	for {
		h.fields = b[:end]
		line := b[end:]
		if len(line) == 0 || string(line) == "\r" {
			return headMore
		}
		if line[0] == '\n' || line[0] == '\r' { // a line feed need not follow, for Node before 20
			h.complete, h.hostDone = true, true
			return headDone
		}
		n := 0
		for n == 0 || line[n] == ' ' || line[n] == '\t' { // then it is folded
			i := bytes.IndexByte(line[n:], '\n')
			n += i + 1
			if i < 0 || n == len(line) {
				return headMore
			}
		}
		if line[min(n, len("host"))] == ':' && !h.hostDone {
			if value, _, ok := nextField(line[:n], "host"); ok {
				h.host, h.hostDone = withoutPort(value), true
			}
		}
		end += n
	}
}

// nextField returns the value of the first field that has the name (in small letters), and the fields behind it.
func nextField(fields []byte, name string) (value, rest []byte, ok bool) {
	for len(fields) > 0 {
		n := bytes.IndexByte(fields, '\n') + 1
		for n < len(fields) && (fields[n] == ' ' || fields[n] == '\t') {
			n += bytes.IndexByte(fields[n:], '\n') + 1
		}
		field := fields[:n]
		fields = fields[n:]
		if len(field) > len(name) && field[len(name)] == ':' && equalFold(field[:len(name)], name) {
			return bytes.Trim(field[len(name)+1:], " \t\r\n"), fields, true
		}
	}
	return nil, nil, false
}

// hasField reports whether there is a field with the name (in small letters) and the value, or with any value.
func (h *head) hasField(name, value string, anyValue bool) bool {
	rest := h.fields
	for {
		v, more, ok := nextField(rest, name)
		switch {
		case !ok:
			return false
		case anyValue || equalUnfolded(v, value):
			return true
		}
		rest = more
	}
}

// cookie returns the value of the first cookie that has the name, which is the one that servers take.
func (h *head) cookie(name string) (value []byte, ok bool) {
	for rest := h.fields; ; {
		v, more, ok := nextField(rest, "cookie")
		if !ok {
			return nil, false
		}
		for len(v) > 0 {
			var pair []byte
			if i := bytes.IndexByte(v, ';'); i >= 0 {
				pair, v = v[:i], v[i+1:]
			} else {
				pair, v = v, nil
			}
			pair = bytes.Trim(pair, " \t\r\n")
			if len(pair) >= len(name) && string(pair[:len(name)]) == name {
				switch value := pair[len(name):]; {
				case len(value) == 0: // of no value
					return value, true
				case value[0] == '=':
					value = value[1:]
					if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
						value = value[1 : n-1]
					}
					return value, true
				}
			}
		}
		rest = more
	}
}

// withoutPort returns the host of an authority.
func withoutPort(authority []byte) []byte {
	i := bytes.IndexByte(authority, ':')
	switch {
	case i < 0:
		return authority
	case authority[0] == '[':
		if j := bytes.IndexByte(authority, ']'); j >= 0 {
			return authority[1:j]
		}
		return authority
	case i != bytes.LastIndexByte(authority, ':'):
		return authority
	}
	return authority[:i]
}

// equalFold reports whether b is s but for the case of ASCII letters; s has small ones.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

// equalUnfolded reports whether b is s when its line breaks are taken out.
func equalUnfolded(b []byte, s string) bool {
	if len(b) == len(s) {
		return string(b) == s
	}
	for _, c := range b {
		if c == '\r' || c == '\n' {
			continue
		}
		if s == "" || s[0] != c {
			return false
		}
		s = s[1:]
	}
	return s == ""
}

// isToken reports whether c may be in a method or in the name of a field: RFC 9110 5.6.2.
func isToken(c byte) bool { return tokens[c] }

var tokens = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

const (
	tlsHandshake   = 22 // the type of a record
	tlsClientHello = 1  // the type of a handshake message
	maxRecord      = 1 << 14
	maxHello       = 1 << 16
)

// parseHello finds the server name in a ClientHello, which may be in several records: RFC 8446 4.1.2 and 5.1, RFC 6066
// 3.
func parseHello(b []byte) (h head, state headState) {
	var hello []byte
	for {
		if len(b) > 0 && b[0] != tlsHandshake || len(b) > 1 && b[1] != 3 {
			return head{}, headNone
		}
		if len(b) < 5 {
			break
		}
		n := int(b[3])<<8 | int(b[4])
		if n == 0 || n > maxRecord {
			return head{}, headNone
		}
		b = b[5:]
		part := b[:min(n, len(b)):min(n, len(b))]
		if hello == nil {
			hello = part
		} else {
			hello = append(hello, part...)
		}
		if len(hello) > 0 && hello[0] != tlsClientHello {
			return head{}, headNone
		}
		if len(hello) >= 4 {
			n := int(hello[1])<<16 | int(hello[2])<<8 | int(hello[3])
			if n > maxHello {
				return head{}, headNone
			}
			if len(hello)-4 >= n {
				name, ok := serverName(hello[4 : 4+n])
				if !ok {
					return head{}, headNone
				}
				return head{proto: protoTLS, host: name, hostDone: true, complete: true}, headDone
			}
		}
		if len(b) < n {
			break
		}
		b = b[n:]
	}
	return head{proto: protoTLS}, headMore
}

// serverName returns the server name of a ClientHello, empty if there is none.
func serverName(hello []byte) (name []byte, ok bool) {
	r := reader{hello, true}
	r.take(2 + 32) // version, random
	r.vector(1)    // session id
	r.vector(2)    // cipher suites
	r.vector(1)    // compression methods
	if !r.ok || len(r.b) == 0 {
		return nil, r.ok
	}
	extensions := reader{r.vector(2), true}
	if !r.ok {
		return nil, false
	}
	for len(extensions.b) > 0 {
		kind, data := extensions.take(2), extensions.vector(2)
		if !extensions.ok {
			return nil, false
		}
		if kind[0] != 0 || kind[1] != 0 {
			continue
		}
		list := reader{data, true}
		names := reader{list.vector(2), true}
		for names.ok && len(names.b) > 0 {
			kind, name := names.take(1), names.vector(2)
			if names.ok && kind[0] == 0 {
				return name, true
			}
		}
		return nil, false
	}
	return nil, true
}

// A reader takes from bytes; once it has not found enough it is not ok.
type reader struct {
	b  []byte
	ok bool
}

func (r *reader) take(n int) []byte {
	if r.ok = r.ok && n <= len(r.b); !r.ok {
		return nil
	}
	part := r.b[:n]
	r.b = r.b[n:]
	return part
}

// vector takes what has its length before it, of so many bytes.
func (r *reader) vector(size int) []byte {
	n := 0
	for _, c := range r.take(size) {
		n = n<<8 | int(c)
	}
	return r.take(n)
}
