//go:build unix

package cluster

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Patterns are those of http.ServeMux: the same requests match, or are redirected to what matches. Only hosts may be in
// other letters or in brackets, and "/" is what has no path as well.
func TestPatternsAsServeMux(t *testing.T) {
	requests := []string{
		"GET / h", "GET /a h", "GET /a/ h", "GET /a/b h", "GET /a/b/ h", "GET /a/b/c h", "GET //a h", "GET /a//b h",
		"GET /x/../a h", "GET /a/.. h",
		"GET /a/./b h", "GET /a/b/.. h", "GET /%61 h", "GET /a%2Fb h", "GET /a/%2e%2e h", "GET /a%20b h",
		"GET /a/%62/ h", "GET /A h", "GET /ab h",
		"GET /a?/b h", "GET /a/?b h", "HEAD /a h", "POST /a h", "POST /a/b h", "get /a h", "GET /a H.example",
		"GET /a h.example", "GET /a h.example:80",
		"GET /a/b h.example", "GET /a [::1]:80", "GET /a [::1]", "GET http://h.example/a h",
		"GET http://h.example:80/x/../a/b h", "GET http://h.example h",
		"OPTIONS * h", "CONNECT h:80 h", "CONNECT /a h", "CONNECT /x/../a h", "GET /a/b/c/ h", "GET /é h",
		"GET /%C3%A9 h", "GET /a/b/c/d h",
	}
	patterns := []string{
		"/", "/a", "/a/", "/{x}", "/{x}/", "/{x}/{y}", "/{$}", "/a/{$}", "/a/{x}", "/a/{x}/", "/a/{x}/{$}", "/a/{x...}",
		"/{x...}", "/a/{x}/{y...}", "/{x}/b",
		"/%61", "/a%2Fb", "/a%20b", "/é", "GET /a", "GET /a/", "GET /{$}", "HEAD /a", "POST /{x}", "POST /a/", "FOO /a",
		"h.example/", "h.example/a", "h.example/a/",
		"::1/a", "GET h.example/{x}", "GET \t /a", "/a/b/c", "/{type}/{_1}/c/",
	}
	for _, pattern := range patterns {
		mux := http.NewServeMux()
		mux.Handle(pattern, http.NotFoundHandler())
		rs, err := newRoutes([]Route{{Pattern: pattern, To: Weights{"a": 1}}})
		require.NoError(t, err, pattern)
		for _, request := range requests {
			method, rest, _ := strings.Cut(request, " ")
			target, host, _ := strings.Cut(rest, " ")
			bytes := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(bytes)))
			require.NoError(t, err, request)
			_, by := mux.Handler(r)
			want := by != "" && target != "*" // which ServeHTTP answers before it comes to this
			if pattern == "/" || pattern == "/{x...}" {
				want = true // that is any request
			}
			if host == "H.example" && strings.Contains(pattern, "h.example") || host == "[::1]" && pattern == "::1/a" {
				continue // for a ServeMux these are others
			}
			h, state := parseHead([]byte(bytes))
			require.Equal(t, headDone, state, request)
			to, decided := first(rs, &h, true, anyRoute)
			require.True(t, decided)
			require.Equal(t, want, to != nil, "pattern %q, request %q", pattern, request)
		}
	}
}

func anyRoute(int) bool { return true }

// first is where the connection goes, by the first route that it matches and that is usable; nil if there is none.
func first(rs routes, h *head, complete bool, usable func(int) bool) (to Weights, decided bool) {
	which, decided := rs.met(h, complete, usable)
	for i := range rs {
		if which&(1<<i) != 0 && usable(i) {
			return rs[i].to, decided
		}
	}
	return nil, decided
}

func TestPatternErrors(t *testing.T) {
	for pattern, want := range map[string]string{
		"h.example":       "there is no path: it begins with a slash",
		"GET ":            "there is no path: it begins with a slash",
		"(GET) /a":        `"(GET)" is no method`,
		" /a":             `"" is no method`,
		"/a//b":           `no path is like that, they are made clean before: "/a/b"`,
		"/a/../b":         `no path is like that, they are made clean before: "/b"`,
		"/a?b":            `a path has no '?'`,
		"GET /a b":        `a path has no ' '`,
		"{host}/a":        `host "{host}": a host has no {name} (a path begins with a slash)`,
		"*.example.com/":  `host "*.example.com": there are no wildcards in hosts`,
		"h.example:80/":   `host "h.example:80": ports are not looked at`,
		"[::1]:80/":       `host "[::1]:80": ports are not looked at`,
		"/a{b}":           `{name} stands for a whole segment, not for a part of one as in "a{b}"`,
		"/{b}a":           `{name} stands for a whole segment, not for a part of one as in "{b}a"`,
		"/{a":             `{name} stands for a whole segment, not for a part of one as in "{a"`,
		"/{}":             `"" is no name`,
		"/{...}":          `"" is no name`,
		"/{1}":            `"1" is no name`,
		"/{a-b}":          `"a-b" is no name`,
		"/{a}/{a}":        `{a} is there twice`,
		"/{a}/{a...}":     `{a} is there twice`,
		"/{$}/a":          `{$} is not at the end`,
		"/{a...}/b":       `{a...} is not at the end`,
		"/{a...}/":        `{a...} is not at the end`,
		"GET h.example a": "there is no path: it begins with a slash",
	} {
		_, err := newRoutes([]Route{{To: Weights{"a": 1}}, {Pattern: pattern, To: Weights{"a": 1}}})
		require.EqualError(t, err, `cluster: route 2: pattern `+quoted(pattern)+`: `+want)
	}
	for _, route := range []Route{
		{}, {To: Weights{"a": 0}}, {To: Weights{"a": -1, "b": 1}}, {Header: "X Y", To: Weights{"a": 1}},
		{Header: ": x", To: Weights{"a": 1}},
		{Cookie: "=x", To: Weights{"a": 1}}, {Cookie: "a=b; c=d", To: Weights{"a": 1}},
	} {
		_, err := newRoutes([]Route{route})
		require.Error(t, err, "%+v", route)
	}
}

func quoted(s string) string { return `"` + s + `"` }

// TestRoutes sends beginnings of connections through lists of routes. What goes to nobody is "-", what is open "?".
func TestRoutes(t *testing.T) {
	get := func(fields string) string { return "GET /a/b HTTP/1.1\r\nHost: WWW.Example.com:80\r\n" + fields }
	hello := string(goHello(t, tlsFor("www.example.com")))
	nameless := string(goHello(t, tlsFor("127.0.0.1")))
	for _, row := range []struct {
		name   string
		routes []Route
		in     string
		want   string // before the end is known, and when it is
	}{
		{"first", []Route{{Pattern: "/a/"}, {Pattern: "/"}}, get("\r\n"), "1 1"},
		{"second", []Route{{Pattern: "/b/"}, {Pattern: "/"}}, get("\r\n"), "2 2"},
		{"none", []Route{{Pattern: "/b/"}, {Pattern: "/c/"}}, get("\r\n"), "- -"},
		{"no routes", nil, get("\r\n"), "- -"},
		{"of the request line", []Route{{Pattern: "POST /a/"}, {Pattern: "/a/"}}, "GET /a/b HTTP/1.1\r\n", "2 2"},
		{"no request line", []Route{{Pattern: "/a/"}, {}}, "GET /a/b HTTP/1.1", "? 2"},
		{"nothing", []Route{{Pattern: "/"}, {}}, "", "? 2"},
		{"nothing, all", []Route{{}}, "", "1 1"},
		{"host", []Route{{Pattern: "example.com/"}, {Pattern: "www.eXample.com/a/"}}, get(""), "? -"}, // folded?
		{"host, decided", []Route{{Pattern: "example.com/"}, {Pattern: "www.eXample.com/a/"}}, get("X"), "2 2"},
		{"host missing", []Route{{Pattern: "www.example.com/"}, {}}, "GET /a HTTP/1.1\r\n", "? 2"},
		{"one that needs fields is first", []Route{{Pattern: "/", Header: "X"}, {Pattern: "/a/"}}, get("Y: 1\r\n"), "? 2"},
		{"it does not match by path", []Route{{Pattern: "/b/", Header: "X"}, {Pattern: "/a/"}}, get("Y: 1\r\n"), "2 2"},
		{"field", []Route{{Header: "x"}}, get("X: 1\r\n\r"), "1 1"},
		{"field that may be folded", []Route{{Header: "x: 1"}}, get("X: 1\r\n"), "? -"},
		{"field of a value", []Route{{Header: "X:2"}, {Header: "X: 1 "}}, get("X: 1\r\n\r"), "? 2"},
		{"field, the second of its name", []Route{{Header: "X: 2"}}, get("X: 1\r\nX: 2\r\nY"), "1 1"},
		{"field, empty", []Route{{Header: "X:"}}, get("X: \r\n\r\n"), "1 1"},
		{"field, folded", []Route{{Header: "X: 1 2"}}, get("X: 1\r\n 2\r\n\r\n"), "1 1"},
		{"cookie", []Route{{Cookie: "c"}}, get("Cookie: b=1; c=2\r\n\r"), "1 1"},
		{"cookie of a value", []Route{{Cookie: "c=1"}, {Cookie: "c=2"}}, get("Cookie: b=1; c=2\r\n\r"), "2 2"},
		{"the first cookie counts", []Route{{Cookie: "c=1"}, {}}, get("Cookie: c=2; c=1\r\n\r"), "2 2"},
		{"all conditions", []Route{{Pattern: "/a/", Header: "X", Cookie: "c"}, {}}, get("X: 1\r\n\r\n"), "2 2"},
		{"TLS", []Route{{Pattern: "example.com/"}, {Pattern: "WWW.example.com/"}}, hello, "2 2"},
		{"TLS has no more than a host",
			[]Route{
				{Pattern: "www.example.com/a"}, {Pattern: "GET www.example.com/"}, {Pattern: "/", Header: "X"}, {Cookie: "c"},
				{Pattern: "/{$}"}, {Pattern: "/"},
			}, hello, "6 6"},
		{"TLS, not whole", []Route{{Pattern: "/a/"}, {Pattern: "www.example.com/"}, {Pattern: "/"}}, hello[:20], "? 3"},
		{"TLS without a name", []Route{{Pattern: "www.example.com/"}, {Pattern: "/"}}, nameless, "2 2"},
		{"neither", []Route{{Pattern: "/"}, {}}, "SSH-2.0-OpenSSH\r\n", "2 2"},
		{"neither, no route", []Route{{Pattern: "/"}}, "\x00", "- -"},
	} {
		for i := range row.routes {
			row.routes[i].To = Weights{string('1' + rune(i)): 1}
		}
		rs, err := newRoutes(row.routes)
		require.NoError(t, err, row.name)
		h, state := parseHead([]byte(row.in))
		require.Equal(t, row.want, sent(rs, &h, state != headMore)+" "+sent(rs, &h, true), row.name)
		checkDecisions(t, rs, []byte(row.in))
	}
}

func sent(rs routes, h *head, complete bool) string {
	to, decided := first(rs, h, complete, anyRoute)
	if !decided {
		return "?"
	}
	for name := range to {
		return name
	}
	return "-"
}

// Routes without workers are passed over, and not waited for.
func TestUnusableRoutes(t *testing.T) {
	rs, err := newRoutes([]Route{
		{Pattern: "/", To: Weights{"old": 1}}, {Header: "X", To: Weights{"old": 2}},
		{Pattern: "/a", To: Weights{"new": 1}},
	})
	require.NoError(t, err)
	h, _ := parseHead([]byte("GET /a HTTP/1.1\r\n"))
	to, decided := first(rs, &h, false, func(i int) bool { return i == 2 })
	require.True(t, decided)
	require.Equal(t, Weights{"new": 1}, to)
	to, decided = first(rs, &h, false, func(int) bool { return false })
	require.True(t, decided)
	require.Nil(t, to)
}
