//go:build unix

package cluster

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

const (
	never   = -1 // no Node serves it
	preface = -2 // of HTTP/2, which old ones take for a request
)

// headRows are requests; from and below are the major versions of Node that serve them, if not all do. Where path or
// host are not given they are what Node says.
var headRows = []struct {
	bytes       string
	from, below int
	path, host  string
}{
	{bytes: "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
	{bytes: "GET /a/b?c#d HTTP/1.1\r\nHost: Example.COM:8080\r\nX: y\r\n\r\nbody", host: "Example.COM"},
	{bytes: "GET /#a HTTP/1.0\r\n\r\n"},
	{bytes: "GET /a HTTP/1.1\r\n\r\n"},
	{bytes: "GET /a%2Fb%20?c HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", host: "::1"},
	// Empty lines before.
	{bytes: "\r\n\r\n\n\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n"},
	{bytes: "\rGET /a HTTP/1.1\r\nHost: h\r\n\r\n"},
	{bytes: " GET /a HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	// Ends of lines.
	{bytes: "GET /a HTTP/1.1\nHost: h\nX: y\n\n", below: 13},
	{bytes: "GET /a HTTP/1.1\nHost: h\r\n\r\n", below: 20},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\n\r\n", below: 13},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\r\n\n", below: 20},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\r\n\rX", below: 20},
	{bytes: "GET /a HTTP/1.1\r\n\rHost: h\r\n\r\n", below: 20},
	{bytes: "GET /a HTTP/1.1\rHost: h\r\n\r\n", below: never},
	// Methods.
	{bytes: "get /a HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "FOO /a HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "G(T /a HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "M-SEARCH /a HTTP/1.1\r\nHost: h\r\n\r\n"},
	{bytes: "QUERY /a HTTP/1.1\r\nHost: h\r\n\r\n", from: 20},
	// Spaces in the request line.
	{bytes: "GET   /a   HTTP/1.1\r\nHost: h\r\n\r\n"},
	{bytes: "GET\t/a HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "GET /a\tHTTP/1.1\r\nHost: h\r\n\r\n", below: 20},
	{bytes: "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "GET /a HTTP/1.1 \r\nHost: h\r\n\r\n", below: never},
	// Versions.
	{bytes: "GET /a\r\n\r\n"},
	{bytes: "GET /a\r\nHost: h\r\n\r\n"},
	{bytes: "GET /a HTTP/0.9\r\n\r\n"},
	{bytes: "GET /a HTTP/2.0\r\nHost: h\r\n\r\n"},
	{bytes: "GET /a HTTP/1.2\r\nHost: h\r\n\r\n", below: 16},
	{bytes: "GET /a HTTP/1.11\r\nHost: h\r\n\r\n", below: never},
	{bytes: "GET /a http/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "SOURCE /a ICE/1.0\r\nHost: h\r\n\r\n"},
	{bytes: "GET /a RTSP/1.0\r\nHost: h\r\n\r\n", from: 16},
	{bytes: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", below: preface},
	// Targets.
	{bytes: "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"},
	{bytes: "GET http://A.example/x?y#z HTTP/1.1\r\nHost: h\r\n\r\n", path: "/x", host: "A.example"},
	{bytes: "GET HTTPS://u:p@a.example:80/x/../y//z HTTP/1.1\r\nHost: h\r\n\r\n", path: "/y/z", host: "a.example"},
	{bytes: "GET http://a.example HTTP/1.1\r\nHost: h\r\n\r\n", path: "/", host: "a.example"},
	{bytes: "GET http://[::1]:80?x HTTP/1.1\r\nHost: h\r\n\r\n", path: "/", host: "::1"},
	{bytes: "GET foo:bar HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "GET foo/bar HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "GET ?x HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "GET //a/b HTTP/1.1\r\nHost: h\r\n\r\n", path: "/a/b"},
	{bytes: "GET /a/../../b/./c/.//d/ HTTP/1.1\r\nHost: h\r\n\r\n", path: "/b/c/d/"},
	{bytes: "GET /a/%2e%2e/.well-known?/../ HTTP/1.1\r\nHost: h\r\n\r\n", path: "/a/%2e%2e/.well-known"},
	{bytes: "GET /\"<>\\^`{|} HTTP/1.1\r\nHost: h\r\n\r\n"},
	{bytes: "GET /a\x00 HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "GET /a\x7f HTTP/1.1\r\nHost: h\r\n\r\n", below: never},
	{bytes: "GET /a\fb HTTP/1.1\r\nHost: h\r\n\r\n", below: 20},
	{bytes: "CONNECT a:443 HTTP/1.1\r\nHost: h\r\n\r\n", path: "-", host: "a"},
	{bytes: "CONNECT [::1]:443 HTTP/1.1\r\nHost: h\r\n\r\n", path: "-", host: "::1"},
	{bytes: "CONNECT /a/../b HTTP/1.1\r\nHost: h\r\n\r\n"},
	// Fields.
	{bytes: "GET /a HTTP/1.1\r\nhOST:h \t\r\nX:\t a b \t \r\nY:\r\nX_y.z!: v:w\r\n\r\n"},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n"},
	{bytes: "GET /a HTTP/1.1\r\nHost:\r\n\r\n"},
	{bytes: "GET /a HTTP/1.1\r\nHost : h\r\nX: y\r\n\r\n", below: 20},
	{bytes: "GET /a HTTP/1.1\r\n Host: h\r\nX: y\r\n\r\n", below: 20},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\r\nX: 1\r\n 2\r\n\t3\r\nY: z\r\n\r\n", below: 17},
	{bytes: "GET /a HTTP/1.1\r\nX:\r\n 2\r\nHost:\r\n h\r\n\r\n", below: 16},
	{bytes: "GET /a HTTP/1.1\nHost: h\nX: 1\n 2\n\n", below: 13},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", below: never},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\r\n: x\r\nY: z\r\n\r\n", below: 20},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\r\nX Y: x\r\nY: z\r\n\r\n", below: 20},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", below: never},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\r\nCookie: a=1; b=2\r\nCookie: c=3\r\n\r\n"},
	{bytes: "GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},
	{bytes: "POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"},
}

// What Node's own parser serves is understood as it does, sent at once and byte by byte.
func TestHeadAsNode(t *testing.T) {
	testkit.CheckLeaks(t)
	node := startHeadPeer(t)
	for _, row := range headRows {
		for _, pieces := range []int{1, len(row.bytes)} {
			says := node.ask(t, row.bytes, pieces)
			serves := node.major >= row.from && (row.below == 0 || node.major < row.below)
			if row.below == preface {
				serves = node.major < 16
			}
			if serves != (says.Error == "") {
				t.Errorf("%q: Node serves it: %v, %v", row.bytes, !serves, says.Error)
			}
			if says.Error != "" || row.below == preface {
				continue
			}
			h, state := parseHead([]byte(row.bytes))
			if state != headDone || h.proto != protoHTTP || !h.lineDone || !h.complete || !h.hostDone {
				t.Errorf("%q: %+v, state %d", row.bytes, h, state)
				continue
			}
			path, host := row.path, row.host
			switch path {
			case "":
				path = says.URL[:strings.IndexAny(says.URL+"?", "?#")]
			case "-":
				path = ""
			}
			for i := 0; i < len(says.Headers); i += 2 {
				name := strings.ToLower(says.Headers[i])
				if host == "" && name == "host" {
					host = says.Headers[i+1]
				}
				if !h.hasField(name, says.Headers[i+1], false) || !h.hasField(name, "", true) {
					t.Errorf("%q: no field %s: %q", row.bytes, name, says.Headers[i+1])
				}
			}
			unfolded := strings.NewReplacer("\r", "", "\n", "").Replace(string(h.host))
			got := []string{string(h.method), string(h.path), unfolded}
			require.Equal(t, []string{says.Method, path, host}, got, "%q", row.bytes)
		}
	}
}

// What is refused at once, and what is waited for.
func TestHeadStates(t *testing.T) {
	for in, want := range map[string]headState{
		"": headMore, "\r\n": headMore, "G": headMore, "GET": headMore, "GET ": headMore, "GET /": headMore,
		"GET / HTTP/1.1\r":   headMore,
		"GET / HTTP/1.1\r\n": headMore, "GET / HTTP/1.1\r\nHost: h\r\n": headMore, "GET / HTTP/1.1\r\nHost: h\r\n\r": headMore,
		"PRI * HTTP/2.0\r\n": headNone, "SSH-2.0-x\r\n": headNone, "\x00": headNone, "GET\r": headNone, "(": headNone,
		"\r\n\x16\x03": headNone,
		"\x16":         headMore, "\x16\x03\x01": headMore, "\x16\x04": headNone, "\x16\x03\x01\x00\x00": headNone,
		"\x16\x03\x01\x00\x01\x02": headNone,
		"\x15":                     headNone, "\x80\x2e\x01": headNone,
	} {
		_, state := parseHead([]byte(in))
		require.Equal(t, want, state, "%q", in)
	}
}

func TestHeadPrefixes(t *testing.T) {
	for _, row := range headRows {
		checkPrefixes(t, []byte(row.bytes))
	}
}

// checkPrefixes checks that what was said of the beginning of b stays true, and returns what is said of the whole.
func checkPrefixes(tb testing.TB, b []byte) (h head, state headState) {
	for i := range len(b) + 1 {
		next, nextState := parseHead(b[:i:i])
		switch {
		case state != headMore:
			require.Equal(tb, state, nextState, "%q", b[:i])
			require.Equal(tb, h, next, "%q", b[:i])
		case nextState == headNone:
			require.False(tb, h.lineDone, "%q", b[:i])
			require.Equal(tb, head{}, next)
		case h.lineDone:
			require.True(tb, next.lineDone)
			require.Equal(tb, h.method, next.method, "%q", b[:i])
			require.Equal(tb, h.path, next.path, "%q", b[:i])
			require.True(tb, bytes.HasPrefix(next.fields, h.fields), "%q", b[:i])
			if h.hostDone {
				require.Equal(tb, h.host, next.host, "%q", b[:i])
				require.True(tb, next.hostDone)
			}
		}
		if nextState == headMore {
			require.False(tb, next.complete)
		}
		h, state = next, nextState
	}
	return h, state
}

func TestCookie(t *testing.T) {
	for in, want := range map[string]string{
		"a=1": "1", "b=0; a=1; a=2": "1", "b=0;a=1": "1", " a=1 ;b=2": "1", "aa=0; a=1": "1", "ba=0;a=1;": "1",
		"a=": "", "a": "", "a;a=1": "",
		"a=1=2": "1=2", `a="1"`: "1", `a="`: `"`, "b=a=1": "-", "A=1": "-", "": "-", ";": "-", "b\r\n ;a=1": "1",
		"b=0\r\nCookie: a=1": "1",
	} {
		h, state := parseHead([]byte("GET / HTTP/1.1\r\nX: a=3\r\ncOOKIE: " + in + "\r\nCookie: a=4\r\n\r\n"))
		require.Equal(t, headDone, state)
		if want == "-" {
			want = "4"
		}
		value, ok := h.cookie("a")
		require.True(t, ok)
		require.Equal(t, want, string(value), "%q", in)
		_, ok = h.cookie("c")
		require.False(t, ok)
	}
}

// The server name of Node's clients and of Go's.
func TestHello(t *testing.T) {
	testkit.CheckLeaks(t)
	hellos := map[string][]byte{}
	node := startHeadPeer(t)
	for name, options := range map[string]string{
		"node.example": `{"servername": "node.example"}`,
		"old.example":  `{"servername": "old.example", "maxVersion": "TLSv1.2", "ALPNProtocols": ["h2", "http/1.1"]}`,
		"":             `{"servername": ""}`,
	} {
		hellos[name] = node.hello(t, options)
	}
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("protocol%d", i)
	}
	for _, config := range []*tls.Config{
		{ServerName: "go.example"},
		{ServerName: "old.go.example", MaxVersion: tls.VersionTLS12},
		{ServerName: "large.example", NextProtos: many},
		{ServerName: "127.0.0.1"}, // of addresses none is sent
	} {
		config.InsecureSkipVerify = true
		hellos[strings.TrimSuffix(config.ServerName, "127.0.0.1")] = goHello(t, config)
	}
	for name, hello := range hellos {
		require.Equal(t, name, nameByGo(hello), "as crypto/tls reads it")
		require.NoError(t, checkHello(name, hello))
		for _, size := range []int{1, 3, 40, 300} {
			require.NoError(t, checkHello(name, fragmented(hello, size)), "in records of %d bytes", size)
		}
		greased := withExtension(hello, "\x1a\x1a\x00\x01\x00")
		require.Equal(t, name, nameByGo(greased))
		require.NoError(t, checkHello(name, greased), "with GREASE")
	}
}

// checkHello checks that name is found in hello, not before it is whole; also with more behind it.
func checkHello(name string, hello []byte) error {
	for i := 0; i < len(hello); i += 1 + len(hello)/100 {
		if h, state := parseHead(hello[:i:i]); state != headMore || i > 0 && h.proto != protoTLS || h.hostDone {
			return fmt.Errorf("%+v, state %d, of %d bytes of %d", h, state, i, len(hello))
		}
	}
	for _, more := range []string{"", "\x14\x03\x03\x00\x01\x01", "x"} {
		h, state := parseHead(append(slices.Clone(hello), more...))
		if state != headDone || h.proto != protoTLS || string(h.host) != name || !h.hostDone || !h.complete {
			return fmt.Errorf("%q, state %d, for %q", h.host, state, name)
		}
	}
	return nil
}

// fragmented puts a ClientHello into records of size bytes.
func fragmented(hello []byte, size int) (b []byte) {
	for part := range slices.Chunk(hello[5:], size) {
		b = append(b, tlsHandshake, 3, 1, byte(len(part)>>8), byte(len(part)))
		b = append(b, part...)
	}
	return b
}

// withExtension puts an extension before those of hello.
func withExtension(hello []byte, extension string) []byte {
	at := 5 + 4 + 2 + 32
	at += 1 + int(hello[at])
	at += 2 + int(hello[at])<<8 + int(hello[at+1])
	at += 1 + int(hello[at])
	b := slices.Insert(slices.Clone(hello), at+2, []byte(extension)...)
	for _, length := range []int{at, 3, 7} {
		n := int(b[length])<<8 + int(b[length+1]) + len(extension)
		b[length], b[length+1] = byte(n>>8), byte(n)
	}
	return b
}

// goHello returns what crypto/tls sends first.
func goHello(tb testing.TB, config *tls.Config) []byte {
	ours, theirs := net.Pipe()
	defer ours.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tls.Client(theirs, config).Handshake()
		theirs.Close()
	}()
	hello := readRecord(tb, ours)
	ours.Close()
	<-done
	return hello
}

func readRecord(tb testing.TB, r io.Reader) []byte {
	b := make([]byte, 5, 1<<14)
	_, err := io.ReadFull(r, b)
	require.NoError(tb, err)
	b = b[:5+int(b[3])<<8+int(b[4])]
	_, err = io.ReadFull(r, b[5:])
	require.NoError(tb, err)
	return b
}

// nameByGo returns the server name that crypto/tls finds, or "refused".
func nameByGo(hello []byte) string {
	name := "refused"
	tls.Server(&readConn{Reader: bytes.NewReader(hello)}, &tls.Config{
		GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			name = info.ServerName
			return nil, io.EOF
		},
		MinVersion: tls.VersionTLS10,
	}).Handshake()
	return name
}

// A readConn has something to read.
type readConn struct {
	net.Conn
	io.Reader
}

func (c *readConn) Read(b []byte) (int, error)  { return c.Reader.Read(b) }
func (c *readConn) Write(b []byte) (int, error) { return len(b), nil }
func (c *readConn) Close() error                { return nil }

// headPeer is Node with js_fixtures/request_head.js.
type headPeer struct {
	major int
	addr  string
	in    io.Writer
}

type headSaid struct {
	Method, URL, Error string
	Headers            []string
}

func startHeadPeer(tb testing.TB) *headPeer {
	runtime := testkit.Peer(tb)
	if runtime.Kind != "Node" {
		tb.Skip("this is about the parser of Node")
	}
	cmd := runtime.Command("request_head.js")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(tb, err)
	out, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	tb.Cleanup(func() {
		in.Close()
		require.NoError(tb, cmd.Wait())
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(tb, err)
	return &headPeer{runtime.Major(), "127.0.0.1:" + strings.TrimSpace(port), in}
}

// ask returns what Node says to bytes that are sent in so many pieces.
func (p *headPeer) ask(tb testing.TB, request string, pieces int) (says headSaid) {
	conn, err := net.Dial("tcp", p.addr)
	require.NoError(tb, err)
	defer conn.Close()
	for piece := range slices.Chunk([]byte(request), len(request)/pieces) {
		if _, err := conn.Write(piece); err != nil {
			break // it has answered
		}
	}
	conn.(*net.TCPConn).CloseWrite()
	conn.SetDeadline(time.Now().Add(time.Minute))
	answer, err := bufio.NewReader(conn).ReadBytes('\n')
	require.NoError(tb, err, "%q", request)
	require.NoError(tb, json.Unmarshal(answer, &says), "%q", answer)
	return says
}

// hello returns what tls.connect sends first.
func (p *headPeer) hello(tb testing.TB, options string) []byte {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer ln.Close()
	fmt.Fprintf(p.in, "[%d, %s]\n", ln.Addr().(*net.TCPAddr).Port, options)
	conn, err := ln.Accept()
	require.NoError(tb, err)
	defer conn.Close()
	return readRecord(tb, conn)
}

func FuzzHead(f *testing.F) {
	for _, row := range headRows {
		f.Add([]byte(row.bytes))
	}
	hello := goHello(f, &tls.Config{ServerName: "go.example", CurvePreferences: []tls.CurveID{tls.X25519}})
	f.Add(hello)
	f.Add(fragmented(hello, 40))
	f.Add(withExtension(hello, "\x1a\x1a\x00\x01\x00"))
	rs, err := newRoutes([]Route{
		{Pattern: "GET h/a/{b}/", Header: "x: y", Cookie: "c", To: Weights{"a": 1}},
		{Pattern: "/a/{$}", To: Weights{"b": 1}},
		{Cookie: "d=e", To: Weights{"c": 1}},
		{Pattern: "g/", To: Weights{"d": 1}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<10 {
			return
		}
		h, state := checkPrefixes(t, b)
		checkDecisions(t, rs, b)
		if len(b) > 1 && b[0] == tlsHandshake && b[1] == 3 {
			if name := nameByGo(b); name != "refused" {
				require.Equal(t, headDone, state)
				require.Equal(t, name, string(h.host))
			}
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil || state != headDone {
			return
		}
		require.Equal(t, r.Method, string(h.method))
		if target := r.RequestURI; !strings.ContainsAny(target, "#%@") && r.Method != "CONNECT" {
			if path := r.URL.Path; path == "" || path[0] == '/' {
				require.Equal(t, cleanPath("/"+path), string(h.path))
			} else {
				require.Equal(t, path, string(h.path))
			}
		}
		if r.Host != "" && !strings.ContainsAny(r.Host, "%@[] \t") {
			host, _, err := net.SplitHostPort(r.Host)
			if err != nil {
				host = r.Host
			}
			require.Equal(t, host, string(h.host))
		}
		for name, values := range r.Header {
			if bytes.Contains(bytes.TrimLeft(b, "\r\n"), []byte("\n ")) || bytes.Contains(b, []byte("\n\t")) {
				break // folded, for which net/http puts one space
			}
			require.True(t, h.hasField(strings.ToLower(name), "", true), "%q", name)
			for _, value := range values {
				require.True(t, h.hasField(strings.ToLower(name), value, false), "%s: %q", name, value)
			}
		}
	})
}

// checkDecisions checks that what is decided from the beginning of b is decided in the same way from all of it.
func checkDecisions(tb testing.TB, rs routes, b []byte) {
	var before Weights
	done := false
	for i := range len(b) + 1 {
		h, state := parseHead(b[:i])
		to, decided := first(rs, &h, state != headMore, anyRoute)
		if done {
			require.True(tb, decided, "%q", b[:i])
			require.Equal(tb, before, to, "%q", b[:i])
		}
		before, done = to, decided
	}
}

const browserHead = "GET /api/users/17?expand=all HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n" +
	"sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\n" +
	"sec-ch-ua-platform: \"Linux\"\r\n" +
	"Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 " +
	"(KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
	"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\n" +
	"Cookie: _ga=GA1.2.1234567890.1700000000; session=0123456789abcdef0123456789abcdef; theme=dark; canary=1\r\n\r\n"

func BenchmarkHead(b *testing.B) {
	for _, row := range []Route{
		{Pattern: "GET /api/users/{id}"}, {Pattern: "www.example.com/api/"}, {Header: "Accept-Language"},
		{Pattern: "/", Cookie: "canary=1"},
	} {
		row.To = Weights{"go": 1}
		rs, err := newRoutes([]Route{{Pattern: "/login", To: row.To}, {Pattern: "/api/orders/", To: row.To}, row})
		require.NoError(b, err)
		name := strings.TrimSpace(row.Pattern + " " + row.Header + row.Cookie)
		b.Run(strings.ReplaceAll(name, " ", ","), func(b *testing.B) {
			b.ReportAllocs()
			in := []byte(browserHead)
			for b.Loop() {
				h, state := parseHead(in)
				if which, decided := rs.met(&h, state != headMore, anyRoute); !decided || which == 0 {
					b.Fatal("no match")
				}
			}
		})
	}
}

func tlsFor(name string) *tls.Config { return &tls.Config{ServerName: name, InsecureSkipVerify: true} }
