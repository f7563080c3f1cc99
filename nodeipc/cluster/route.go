package cluster

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// Routes: which connections go to which groups of workers, by the request that they begin with.

// Routes give connections to groups of workers by the first request, as ByRequest uses them. The bytes are looked at
// and not read: the worker gets the whole connection.
//
// Only the first request of a connection counts. Those that follow on it (keep-alive) go to the same worker, whatever
// they ask for; so a worker should serve, or pass on, all that a client may ask for, or close connections after one
// response ("Connection: close"). And routes are no access control: a client chooses what it sends first.
//
// HTTP/1 is understood, in clear text; of TLS, the server name only: it is the HOST of a pattern, and a route matches
// if it has no other condition than that, and the path "/". Connections that begin otherwise, or with nothing in time,
// match a Route without any condition only.
type Routes struct {
	// Routes are looked at in their order; the first that matches counts. What matches none goes to all workers in
	// turn.
	Routes []Route
	// Timeout is how long a connection is waited for to send what decides; 0 means 1 s. Then what is there has to do,
	// and conditions on what is not are not met.
	Timeout time.Duration
	// Size is how many bytes are looked at, 0 means 8 KiB. Of a larger request conditions on what is beyond are not
	// met.
	Size int
	// Number is how many connections are waited for at a time, 0 means 1024. Beyond, the oldest is decided as after
	// Timeout.
	Number int
}

// A Route says where requests go that meet all its conditions. One without any is met by every connection.
type Route struct {
	// Pattern is "[METHOD ][HOST]/[PATH]" as of http.ServeMux: "/api/users" is this path alone, "/api/" it and all
	// below (also "/api"), {name} one segment, {name...} the rest, and {$} the end after a slash; GET is HEAD as well.
	// As there, segments are compared decoded, after dot segments and double slashes are gone from the path. HOST is
	// without port, and upper case is the same as lower case in it. "/" is any request, "OPTIONS *" included. Empty is
	// no condition.
	Pattern string
	// Header is "Name", or "Name: value" for exactly this value of one such field.
	Header string
	// Cookie is "name", or "name=value", of the first cookie of that name.
	Cookie string
	// To are the groups, by weight. If no worker of them shares the address the next route that matches counts, or, if
	// there is none that has workers, all workers do: at once, or five seconds after a worker of these groups has died.
	To Weights
}

// routes are Routes that were understood.
type routes []route

type route struct {
	pattern  pattern
	header   condition
	cookie   condition
	anything bool // there are no conditions
	to       Weights
}

// A condition is a name, with a value if it is not any.
type condition struct {
	name, value string
	any         bool
}

func newRoutes(list []Route) (routes, error) {
	rs := make(routes, len(list))
	for i, from := range list {
		if err := rs[i].parse(from); err != nil {
			return nil, fmt.Errorf("cluster: route %d: %w", i+1, err)
		}
	}
	return rs, nil
}

func (r *route) parse(from Route) (err error) {
	r.pattern.root = true
	if from.Pattern != "" {
		if r.pattern, err = parsePattern(from.Pattern); err != nil {
			return fmt.Errorf("pattern %q: %w", from.Pattern, err)
		}
	}
	if from.Header != "" {
		name, value, found := strings.Cut(from.Header, ":")
		r.header = condition{strings.ToLower(name), strings.Trim(value, " \t"), !found}
		if !isTokens(name) {
			return fmt.Errorf("header %q: %q is no name of a field", from.Header, name)
		}
	}
	if from.Cookie != "" {
		name, value, found := strings.Cut(from.Cookie, "=")
		r.cookie = condition{name, value, !found}
		if !isTokens(name) || strings.ContainsAny(value, "; \t\r\n") {
			return fmt.Errorf("cookie %q: not of the form name or name=value", from.Cookie)
		}
	}
	any := false
	for group, weight := range from.To {
		if weight < 0 {
			return fmt.Errorf("the weight of group %q is negative", group)
		}
		any = any || weight > 0
	}
	if !any {
		return errors.New("no group has a weight")
	}
	r.anything = from.Pattern == "" && from.Header == "" && from.Cookie == ""
	r.to = from.To
	return nil
}

func isTokens(s string) bool {
	for i := range len(s) {
		if !isToken(s[i]) {
			return false
		}
	}
	return s != ""
}

// A pattern is a Route.Pattern.
type pattern struct {
	method   string // any if empty
	host     string // in small letters
	root     bool   // the path is "/", which is any, or there is no pattern
	segments []string
	end      end
}

// anySegment stands for one segment of any text; no other segment is empty.
const anySegment = ""

// An end is what may follow the segments of a pattern.
type end int8

const (
	endHere  end = iota // nothing
	endSlash            // a slash, or nothing, for which a ServeMux answers with a redirection to the path with a slash
	endAny              // nothing, or a slash and anything
)

func parsePattern(s string) (p pattern, err error) {
	rest := s
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		p.method, rest = s[:i], strings.TrimLeft(s[i:], " \t")
		if !isTokens(p.method) {
			return p, fmt.Errorf("%q is no method", p.method)
		}
	}
	i := strings.IndexByte(rest, '/')
	if i < 0 {
		return p, errors.New("there is no path: it begins with a slash")
	}
	if p.host, err = parseHost(rest[:i]); err != nil {
		return p, err
	}
	path := rest[i:]
	if i := strings.IndexAny(path, "?# \t"); i >= 0 {
		return p, fmt.Errorf("a path has no %q", path[i])
	}
	if clean := cleanPath(path); clean != path {
		return p, fmt.Errorf("no path is like that, they are made clean before: %q", clean)
	}
	names := map[string]bool{}
	for path != "" {
		segment, below, more := strings.Cut(path[1:], "/")
		path = ""
		if more {
			path = "/" + below
		}
		i := strings.IndexByte(segment, '{')
		switch {
		case segment == "": // the slash at the end
			p.end, p.root = endAny, len(p.segments) == 0
			continue
		case i < 0:
			p.segments = append(p.segments, unescape(segment))
			continue
		case i > 0 || segment[len(segment)-1] != '}':
			return p, fmt.Errorf("{name} stands for a whole segment, not for a part of one as in %q", segment)
		}
		name := segment[1 : len(segment)-1]
		if name == "$" {
			if more {
				return p, errors.New("{$} is not at the end")
			}
			p.end = endSlash
			continue
		}
		name, multi := strings.CutSuffix(name, "...")
		switch {
		case !isName(name):
			return p, fmt.Errorf("%q is no name", name)
		case names[name]:
			return p, fmt.Errorf("{%s} is there twice", name)
		case multi && more:
			return p, fmt.Errorf("{%s...} is not at the end", name)
		case multi:
			p.end, p.root = endAny, len(p.segments) == 0
		default:
			p.segments = append(p.segments, anySegment)
		}
		names[name] = true
	}
	return p, nil
}

// isName reports whether s could be the name of something in Go, or a word of it.
func isName(s string) bool {
	for i, c := range s {
		if c != '_' && !unicode.IsLetter(c) && (i == 0 || !unicode.IsDigit(c)) {
			return false
		}
	}
	return s != ""
}

func parseHost(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	host := string(withoutPort([]byte(s)))
	ip, err := netip.ParseAddr(s)
	switch {
	case strings.ContainsRune(s, '{'):
		return "", fmt.Errorf("host %q: a host has no {name} (a path begins with a slash)", s)
	case strings.ContainsRune(s, '*'):
		return "", fmt.Errorf("host %q: there are no wildcards in hosts", s)
	case strings.ContainsFunc(s, unicode.IsSpace):
		return "", fmt.Errorf("host %q: there is a space in it", s)
	case err == nil && ip.Is6(): // without brackets, as in a ServeMux
	case s[0] == '[' && s[len(s)-1] == ']':
	case host != s || strings.ContainsRune(s, ':'):
		return "", fmt.Errorf("host %q: ports are not looked at", s)
	}
	return strings.ToLower(host), nil
}

// unescape decodes a segment; what is not encoded well is left as it is.
func unescape(segment string) string {
	if s, err := url.PathUnescape(segment); err == nil {
		return s
	}
	return segment
}

// met returns the routes that a connection matches, a bit for each. complete says that h will not change any more. Which
// is the first that counts is not decided yet if a usable route before it, one that has workers, can still turn out to
// match. Those behind it, and those that are not usable, are for when workers have come or gone meanwhile.
func (rs routes) met(h *head, complete bool, usable func(i int) bool) (which uint64, decided bool) {
	complete = complete || h.complete
	for i := range rs {
		switch rs[i].matches(h, complete) {
		case yes:
			which |= 1 << i
			complete = complete || usable(i)
		case open:
			if usable(i) {
				return 0, false
			}
		}
	}
	return which, true
}

type verdict int8

const (
	no verdict = iota
	open
	yes
)

// until is what b says when all is there to know; before, it is open.
func until(done, b bool) verdict {
	switch {
	case b:
		return yes
	case done:
		return no
	}
	return open
}

func (r *route) matches(h *head, complete bool) verdict {
	p := &r.pattern
	if r.anything {
		return yes
	}
	// What is known of HTTP is said of it; of the rest, nothing can be met but the host.
	switch {
	case h.proto == protoTLS && (p.method != "" || !p.root || r.header.name != "" || r.cookie.name != ""):
		return no
	case h.proto != protoTLS && !h.lineDone:
		return until(complete, false)
	case h.lineDone && !p.matchLine(h):
		return no
	}
	v := yes
	if p.host != "" {
		v = min(v, until(h.hostDone || complete, h.hostDone && equalFold(h.host, p.host)))
	}
	if c := &r.header; c.name != "" && v != no {
		v = min(v, until(complete, h.hasField(c.name, c.value, c.any)))
	}
	if c := &r.cookie; c.name != "" && v != no {
		value, found := h.cookie(c.name)
		v = min(v, until(found || complete, found && (c.any || string(value) == c.value)))
	}
	return v
}

// matchLine reports whether method and path are as they should.
func (p *pattern) matchLine(h *head) bool {
	if p.method != "" && string(h.method) != p.method && !(p.method == "GET" && string(h.method) == "HEAD") {
		return false
	}
	if p.root {
		return true
	}
	path := h.path
	for _, want := range p.segments {
		if len(path) == 0 || path[0] != '/' {
			return false
		}
		n, encoded := 1, false
		for n < len(path) && path[n] != '/' {
			encoded = encoded || path[n] == '%'
			n++
		}
		segment := path[1:n]
		switch {
		case want == anySegment:
			if len(segment) == 0 {
				return false
			}
		case encoded:
			if unescape(string(segment)) != want {
				return false
			}
		case string(segment) != want:
			return false
		}
		path = path[n:]
	}
	switch p.end {
	case endSlash:
		return len(path) == 0 && len(p.segments) > 0 || string(path) == "/"
	case endAny:
		return len(path) == 0 || path[0] == '/'
	}
	return len(path) == 0
}
