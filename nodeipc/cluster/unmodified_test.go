//go:build unix

package cluster_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A Node worker sees and does the same under a Primary as under a Node primary of its version. The worker is
// js_fixtures/cluster_servers.js, with ordinary servers. In each scenario two of them run under either primary, and
// what they report, how their clients were served and how they ended must be equal line by line. The ends are played
// with one serialization under either policy, because each needs a process.
func TestUnmodifiedWorkers(t *testing.T) {
	testkit.CheckLeaks(t)
	peer := testkit.Peer(t)
	if peer.Kind != "Node" {
		t.Skip("the cluster of", peer, "is for workers of its own")
	}
	var all sync.WaitGroup
	for _, policy := range []string{"rr", "none"} {
		for _, serialization := range []string{"json", "advanced"} {
			if raceEnabled && policy+serialization != "rrjson" {
				continue // the others are the same code of ours, and are played without the race detector
			}
			// Not Parallel: that would wait for a processor for each, and they do not need one most of the time.
			all.Go(func() {
				t.Run(policy+" "+serialization, func(t *testing.T) {
					var tables [2]table
					var both sync.WaitGroup
					for i, house := range []house{newNodeHouse, newGoHouse} {
						both.Go(func() {
							t.Run([]string{"node", "go"}[i], func(t *testing.T) {
								toTheEnd := (policy == "rr") == (serialization == "json")
								tables[i] = play(t, house, policy, serialization, i == 0, toTheEnd)
							})
						})
					}
					both.Wait()
					if !t.Failed() {
						compare(t, policy, tables[0], tables[1])
					}
				})
			})
		}
	}
	all.Wait()
}

// A table says of each scenario what happened.
type table map[string][]string

// A difference is where Node workers see something else under a Primary, and why.
type difference struct {
	scenario string
	policy   string // or "" for both
	from, to int    // the versions of Node; 0 for no limit
	fatal    bool   // an assertion fails in the Node primary or in its worker, so that only ours is played
	why      string
}

var primaryDifferences = []difference{
	{
		scenario: "a descriptor that the primary does not have",
		why:      "We say EBADF, and Node what the kernel says of something else.",
	},
	{
		scenario: "unix, who may use it", policy: "none", from: 16,
		why: "Node forgets readableAll and writableAll where it does not listen itself.",
	},
	{
		scenario: "unix, who may use it", policy: "rr", from: 22,
		why: "Node takes the other rights away, those of the owner, too; before 22, these were added.",
	},
	{
		scenario: "a port that was somebody else's", policy: "rr", to: 20,
		why: "An index goes on counting in the worker that has failed, and a Node primary takes that for another port.",
	},
	{
		scenario: "a port that was somebody else's", policy: "none", fatal: true,
		why: "Node gives a socket that is not bound instead of the error, and one of both keeps it.",
	},
	{
		scenario: "net, a port twice", policy: "none", from: 22, fatal: true,
		why: "The same.",
	},
	{
		scenario: "udp4, reuseAddr, twice", from: 22, fatal: true,
		why: "Node binds another socket, as it should, but by the same key.",
	},
}

// differenceOf returns the row for a scenario, or nil.
func differenceOf(scenario, policy string, major int) *difference {
	for _, d := range primaryDifferences {
		here := (d.policy == "" || d.policy == policy) && major >= d.from && (d.to == 0 || major <= d.to)
		if here && d.scenario == scenario {
			return &d
		}
	}
	return nil
}

func compare(t *testing.T, policy string, node, ours table) {
	for name := range ours {
		t.Run(name, func(t *testing.T) {
			switch d := differenceOf(name, policy, testkit.Peer(t).Major()); {
			case d == nil:
				require.Equal(t, strings.Join(node[name], "\n"), strings.Join(ours[name], "\n"))
			case !d.fatal:
				require.NotEqual(t, node[name], ours[name], "no difference any more: %s", d.why)
			}
		})
	}
}

// A house starts a primary, which the end of the test ends. It takes over files that workers may name as descriptors
// from 3 on.
type house func(t testing.TB, policy, serialization string, files []*os.File) host

// A host is a primary.
type host interface {
	// fork starts a worker with arguments, in the folder dir.
	fork(dir string, args []string, env map[string]string) boss
}

// A boss is what a primary is to one of its workers.
type boss interface {
	send(message any)
	await(re any) json.RawMessage // the next message with this member re
	disconnect()                  // worker.disconnect()
	kill()                        // worker.kill()
	signal(sig syscall.Signal)
	closeChannel()
	exit() string // waits for it
}

// A stage is where scenarios are played: a primary with two workers.
type stage struct {
	t      testing.TB
	host   host
	policy string
	dir    string
	cert   *x509.CertPool
	a, b   *player
	forked int

	inherited []string          // the addresses of the files
	ports     map[string]string // the names of the ports in this scenario
	lines     []string
	unordered string // what workers may have reported in this scenario, or not
}

// A player is a worker.
type player struct {
	boss
	name   string
	s      *stage
	report *bufio.Reader
	asked  int
}

// play plays the places and, if it should, the ends. The reference is the Node primary.
func play(t *testing.T, house house, policy, serialization string, reference, toTheEnd bool) table {
	s := &stage{t: t, policy: policy, dir: t.TempDir()}
	s.certificate()
	s.host = house(t, policy, serialization, s.files())
	result := table{}
	s.begin()
	s.a, s.b = s.fork("a"), s.fork("b")
	result["two workers"] = s.end()
	for _, scenario := range places {
		if d := differenceOf(scenario.name, policy, testkit.Peer(t).Major()); d != nil && d.fatal && reference {
			continue
		}
		s.begin()
		scenario.play(s)
		result[scenario.name] = s.end()
	}
	if !toTheEnd {
		return result
	}
	for i, scenario := range ends {
		if i > 0 {
			s.a = s.fork("a")
		}
		s.begin()
		scenario.play(s)
		result[scenario.name] = s.end()
	}
	return result
}

func (s *stage) begin() {
	s.lines, s.ports, s.unordered = nil, map[string]string{}, ""
}

// end returns what has happened since begin.
func (s *stage) end() []string {
	s.t.Helper()
	for _, p := range []*player{s.a, s.b} {
		if p == nil {
			continue
		}
		for {
			line, err := p.report.ReadString('\n')
			if err == io.EOF {
				break
			}
			require.NoError(s.t, err)
			told := strings.HasPrefix(line, "cluster.worker: message")
			if !told && (s.unordered == "" || !strings.Contains(line, s.unordered)) {
				s.log("%s: %s", p.name, strings.TrimSpace(line))
			}
		}
	}
	return s.lines
}

var portText = regexp.MustCompile(`("port":|:)(\d{4,5})\b`)

// log notes what happened, with names for ports and the folder.
func (s *stage) log(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), s.dir, "DIR")
	line = portText.ReplaceAllStringFunc(line, func(text string) string {
		m := portText.FindStringSubmatch(text)
		if s.ports[m[2]] == "" {
			s.ports[m[2]] = fmt.Sprint("P", len(s.ports)+1)
		}
		return m[1] + s.ports[m[2]]
	})
	s.lines = append(s.lines, line)
}

func (s *stage) fork(name string) *player {
	s.t.Helper()
	s.forked++
	report := filepath.Join(s.dir, fmt.Sprint("report-", s.forked))
	f, err := os.OpenFile(report, os.O_CREATE|os.O_RDONLY, 0o600)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { f.Close() })
	p := &player{name: name, s: s, report: bufio.NewReader(f)}
	p.boss = s.host.fork(s.dir, []string{"one", "two words"}, map[string]string{
		"REPORT": report, "TEST_VALUE": "grüße an alle",
		"CERT": filepath.Join(s.dir, "cert.pem"), "KEY": filepath.Join(s.dir, "key.pem"),
	})
	p.ask(m{"do": "echo"})
	return p
}

// A m is a message to a worker, or the options of listen.
type m map[string]any

func (p *player) ask(c m) (answer struct {
	Address, Value json.RawMessage
	Error          string
}) {
	p.s.t.Helper()
	p.asked++
	c["re"] = p.asked
	p.send(c)
	require.NoError(p.s.t, json.Unmarshal(p.await(p.asked), &answer))
	return answer
}

func (p *player) tell(do string) { p.send(m{"do": do}) }

// listen makes p serve, and returns where, or "" if that failed.
func (p *player) listen(name, kind string, options m) string {
	p.s.t.Helper()
	return p.listenWith(name, kind, options, m{})
}

// listenWith is listen with options of the server itself.
func (p *player) listenWith(name, kind string, options, server m) string {
	p.s.t.Helper()
	answer := p.ask(m{"do": "listen", "name": name, "kind": kind, "options": options, "server": server})
	if answer.Error != "" {
		return ""
	}
	var a struct {
		Address string
		Port    int
	}
	if json.Unmarshal(answer.Address, &a) == nil && a.Port > 0 {
		return net.JoinHostPort(a.Address, strconv.Itoa(a.Port))
	}
	var path string
	json.Unmarshal(answer.Address, &path)
	return path
}

func (p *player) close(name string) {
	p.s.t.Helper()
	p.ask(m{"do": "close", "name": name})
}

// settle waits until the primary has read what the workers have said so far, answers to connections included: then the
// turns are strict.
func (s *stage) settle() {
	s.t.Helper()
	for _, p := range []*player{s.a, s.b} {
		p.ask(m{"do": "echo"})
	}
}

// visit notes what a client is served there.
func (s *stage) visit(kind, address string) { s.visitWith(kind, address, nil) }

func (s *stage) visitWith(kind, address string, config *tls.Config) {
	s.t.Helper()
	text, err := s.served(kind, address, config)
	for errors.Is(err, syscall.ECONNRESET) {
		// Until its exec, a process that this one is just starting has a copy of a socket that was closed meanwhile.
		text, err = s.served(kind, address, config)
	}
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		text = errno.Error()
	case err == io.EOF:
		text = "nothing"
	case err != nil:
		s.t.Fatal(kind, address, err)
	}
	s.log("client: %s %s: %s", kind, address, text)
	if s.policy == "rr" && !strings.HasPrefix(kind, "udp") {
		s.settle()
	}
}

// served returns the line that a client gets. Under None, and with UDP, the kernel decides who says it.
func (s *stage) served(kind, address string, config *tls.Config) (string, error) {
	conn, err := dial(kind, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if kind == "tls" {
		conn := tls.Client(conn, config)
		if err := conn.Handshake(); err != nil {
			return "", err
		}
		text, err := io.ReadAll(conn) // in TLS 1.3 the ticket is in front of it
		state := conn.ConnectionState()
		said := s.whoever(kind, string(text))
		return fmt.Sprintf("%s %s resumed=%v", said, tls.VersionName(state.Version), state.DidResume), err
	}
	if kind == "http" {
		if _, err := io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"); err != nil {
			return "", err
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		return s.whoever(kind, string(text)), err
	}
	if strings.HasPrefix(kind, "udp") {
		if _, err := io.WriteString(conn, "?"); err != nil {
			return "", err
		}
	}
	text, err := bufio.NewReader(conn).ReadString('\n')
	return s.whoever(kind, text), err
}

var workerText = regexp.MustCompile(`"worker":\d+`)

func (s *stage) whoever(kind, text string) string {
	if s.policy == "none" || strings.HasPrefix(kind, "udp") {
		text = workerText.ReplaceAllString(text, `"worker":0`)
	}
	return strings.TrimSpace(text)
}

func dial(kind, address string) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(kind, "udp") {
		network = "udp"
	}
	if filepath.IsAbs(address) {
		network = "unix"
	}
	conn, err := net.DialTimeout(network, address, patience)
	if err == nil {
		conn.SetDeadline(time.Now().Add(patience))
	}
	return conn, err
}

// A place is a server, and where it listens.
type place struct {
	kind    string
	options m
	visit   []string // hosts that clients try; none: the server's own
	server  m        // options of the server itself
}

// share has both workers listen at the places, visits them, has each serve alone while the other has closed, and visits
// them when both have.
func (s *stage) share(where ...place) {
	s.t.Helper()
	var addresses []string
	open := func(p *player) (all []string) {
		for i, w := range where {
			all = append(all, p.listenWith(fmt.Sprint(i), w.kind, w.options, w.server))
		}
		return all
	}
	shut := func(p *player) {
		for i := range where {
			p.close(fmt.Sprint(i))
		}
	}
	visit := func(times int) {
		for i, w := range where {
			for _, address := range w.visited(s.dir, addresses[i]) {
				for range times {
					s.visitWith(w.kind, address, &tls.Config{RootCAs: s.cert, ServerName: "localhost"})
				}
			}
		}
	}
	addresses = open(s.a)
	if i := slices.Index(addresses, ""); i >= 0 && where[i].visit == nil {
		s.t.Fatalf("worker a cannot listen: %v", s.end())
	}
	s.log("the same: %v", slices.Equal(addresses, open(s.b)))
	visit(4)
	shut(s.a)
	visit(2)
	s.log("the same: %v", slices.Equal(addresses, open(s.a)))
	visit(2)
	shut(s.b)
	visit(2)
	shut(s.a)
	// A Node primary has closed the descriptor by now, and whoever uses a Primary has not.
	if !strings.HasPrefix(where[0].kind, "udp") && where[0].options["fd"] == nil {
		visit(1)
	}
}

func (w place) visited(dir, address string) (all []string) {
	if len(w.visit) == 0 {
		return []string{address}
	}
	_, port, _ := net.SplitHostPort(address)
	for _, host := range w.visit {
		if strings.Contains(host, ":") && net.ParseIP(host) == nil { // with its port
			all = append(all, host)
		} else {
			all = append(all, net.JoinHostPort(host, port))
		}
	}
	return all
}

// A scenario uses the two workers of a stage; one of ends leaves the first one dead.
type scenario struct {
	name string
	play func(s *stage)
}

var v4 = "127.0.0.1"

// Where servers listen.
var places = []scenario{
	{"net, a host and a port", func(s *stage) {
		s.share(place{kind: "net", options: m{"host": v4, "port": testkit.FreePort(s.t, "")}})
	}},
	{"net, no host", func(s *stage) {
		s.share(place{kind: "net", options: m{"port": testkit.FreePort(s.t, "")}, visit: []string{v4, "::1"}})
	}},
	{"net, port 0, twice", func(s *stage) {
		where := place{kind: "net", options: m{"host": v4, "port": 0}}
		s.share(where, where)
	}},
	{"net, port 0 without a host", func(s *stage) {
		s.share(place{kind: "net", options: m{"port": 0}, visit: []string{v4}})
	}},
	{"net, IPv6", func(s *stage) {
		s.share(place{kind: "net", options: m{"host": "::1", "port": testkit.FreePort(s.t, "")}, visit: []string{"::1"}})
	}},
	{"net, all of IPv6", func(s *stage) {
		s.share(place{kind: "net", options: m{"host": "::", "port": 0}, visit: []string{"::1", v4}})
	}},
	{"net, ipv6Only", func(s *stage) {
		where := m{"host": "::", "port": testkit.FreePort(s.t, ""), "ipv6Only": true}
		s.share(place{kind: "net", options: where, visit: []string{"::1", v4}})
	}},
	{"net, one port of IPv4 and of IPv6", func(s *stage) {
		port := testkit.FreePort(s.t, "")
		s.share(place{kind: "net", options: m{"host": v4, "port": port}},
			place{kind: "net", options: m{"host": "::1", "port": port}})
	}},
	{"net, all of IPv4", func(s *stage) {
		s.share(place{kind: "net", options: m{"host": "0.0.0.0", "port": testkit.FreePort(s.t, "")}, visit: []string{v4}})
	}},
	{"net, a port twice", func(s *stage) {
		where := m{"host": v4, "port": testkit.FreePort(s.t, "")}
		address := s.a.listen("first", "net", where)
		s.a.listen("second", "net", where)
		s.visit("net", address)
		s.a.close("first")
		s.visit("net", address)
	}},
	{"net, closed before it listens", func(s *stage) {
		s.a.ask(m{"do": "brief", "options": m{"host": v4, "port": testkit.FreePort(s.t, "")}})
	}},
	{"net, a backlog", func(s *stage) {
		s.share(place{kind: "net", options: m{"host": v4, "port": 0, "backlog": 3}})
	}},
	{"http, a name", func(s *stage) {
		s.share(place{kind: "http", options: m{"host": "localhost", "port": testkit.FreePort(s.t, "")}, visit: []string{v4, "::1"}})
	}},
	{"http", func(s *stage) {
		s.share(place{kind: "http", options: m{"port": testkit.FreePort(s.t, "")}, visit: []string{v4}})
	}},
	{"unix, an absolute path", func(s *stage) {
		s.share(place{kind: "net", options: m{"path": filepath.Join(s.dir, "absolute.sock")}})
	}},
	{"http, unix, a relative path", func(s *stage) {
		path := filepath.Join(s.dir, "relative.sock")
		where := m{"path": "relative.sock"}
		for _, p := range []*player{s.a, s.b} {
			p.listen("r", "http", where)
		}
		for range 4 {
			s.visit("http", path)
		}
		for _, p := range []*player{s.a, s.b} {
			p.close("r")
		}
		s.visit("http", path)
	}},
	{"unix, who may use it", func(s *stage) {
		for i := range 4 {
			where := m{"path": filepath.Join(s.dir, "rights.sock"), "readableAll": i&1 != 0, "writableAll": i&2 != 0}
			s.a.listen("rights", "net", where)
			s.b.listen("rights", "net", where)
			info, err := os.Stat(filepath.Join(s.dir, "rights.sock"))
			require.NoError(s.t, err)
			s.log("mode %v", info.Mode())
			s.a.close("rights")
			s.b.close("rights")
		}
	}},
	{"unix, without its folder", func(s *stage) {
		s.refused("net", m{"path": filepath.Join(s.dir, "no", "such.sock")})
	}},
	{"unix, a file that is there", func(s *stage) {
		path := filepath.Join(s.dir, "there")
		require.NoError(s.t, os.WriteFile(path, nil, 0o600))
		s.refused("net", m{"path": path})
		_, err := os.Stat(path)
		s.log("still there: %v", err)
	}},
	{"tls", func(s *stage) {
		s.share(place{kind: "tls", options: m{"host": v4, "port": testkit.FreePort(s.t, "")}})
	}},
	{"tls, sessions resumed across workers", func(s *stage) {
		where := m{"host": v4, "port": testkit.FreePort(s.t, "")}
		address := s.a.listen("tls", "tls", where)
		configs := map[uint16]*tls.Config{}
		visit := func() {
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				if configs[version] == nil {
					configs[version] = &tls.Config{RootCAs: s.cert, ServerName: "localhost", MaxVersion: version,
						ClientSessionCache: tls.NewLRUClientSessionCache(1)}
				}
				s.visitWith("tls", address, configs[version])
			}
		}
		visit()
		s.b.listen("tls", "tls", where)
		for range 3 {
			visit()
		}
		s.a.close("tls")
		visit()
		s.b.close("tls")
	}},
	{"a port that somebody else has", func(s *stage) {
		ln, err := net.Listen("tcp", net.JoinHostPort(v4, strconv.Itoa(testkit.FreePort(s.t, ""))))
		require.NoError(s.t, err)
		defer ln.Close()
		s.refused("net", m{"host": v4, "port": ln.Addr().(*net.TCPAddr).Port})
	}},
	{"a port that was somebody else's", func(s *stage) {
		ln, err := net.Listen("tcp", net.JoinHostPort(v4, strconv.Itoa(testkit.FreePort(s.t, ""))))
		require.NoError(s.t, err)
		where := m{"host": v4, "port": ln.Addr().(*net.TCPAddr).Port}
		s.refused("http", where)
		ln.Close()
		testkit.Forked()
		s.share(place{kind: "http", options: where})
	}},
	{"an address that is not ours", func(s *stage) {
		s.refused("net", m{"host": "192.0.2.1", "port": testkit.FreePort(s.t, "")})
	}},
	{"a descriptor that the primary does not have", func(s *stage) {
		s.refused("net", m{"fd": 999})
	}},
	{"a descriptor of the primary", func(s *stage) {
		s.share(place{kind: "http", options: m{"fd": 3}, visit: []string{s.inherited[0]}})
	}},
	{"udp4, a descriptor of the primary", func(s *stage) {
		s.share(place{kind: "udp4", options: m{"fd": 4}, visit: []string{s.inherited[1]}})
	}},
	{"exclusive", func(s *stage) {
		a := s.a.listen("own", "net", m{"host": v4, "port": 0, "exclusive": true})
		b := s.b.listen("own", "net", m{"host": v4, "port": 0, "exclusive": true})
		s.log("the same: %v", a == b)
		s.visit("net", a)
		s.visit("net", b)
		s.a.close("own")
		s.b.close("own")
	}},
	{"maxConnections", func(s *stage) {
		where := m{"host": v4, "port": testkit.FreePort(s.t, "")}
		address := s.a.listenWith("limit", "net", where, m{"maxConnections": 1})
		s.a.ask(m{"do": "hold"})
		client := s.hold(s.a, address)
		s.b.listen("limit", "net", where)
		if s.policy == "rr" { // otherwise the kernel decides who refuses
			for range 4 {
				s.visit("net", address)
			}
		}
		client.Close()
		s.a.close("limit")
		s.b.close("limit")
		s.a.ask(m{"do": "release"})
	}},
	{"udp4", func(s *stage) {
		s.share(place{kind: "udp4", options: m{"address": v4, "port": testkit.FreePort(s.t, "")}})
	}},
	{"udp4, port 0", func(s *stage) {
		s.share(place{kind: "udp4", options: m{"address": v4, "port": 0}})
	}},
	{"udp4, no address", func(s *stage) {
		s.share(place{kind: "udp4", options: m{"port": testkit.FreePort(s.t, "")}, visit: []string{v4}})
	}},
	{"udp6", func(s *stage) {
		s.share(place{kind: "udp6", options: m{"address": "::1", "port": testkit.FreePort(s.t, "")}, visit: []string{"::1"}})
	}},
	{"udp6, no address and no port", func(s *stage) {
		s.share(place{kind: "udp6", options: m{}, visit: []string{"::1"}})
	}},
	{"udp6, ipv6Only", func(s *stage) {
		s.share(place{kind: "udp6", options: m{"port": testkit.FreePort(s.t, "")}, visit: []string{"::1"}, server: m{"ipv6Only": true}})
	}},
	{"udp4, reuseAddr", func(s *stage) {
		s.share(place{kind: "udp4", options: m{"address": v4, "port": testkit.FreePort(s.t, "")}, server: m{"reuseAddr": true}})
	}},
	{"udp4, reuseAddr, twice", func(s *stage) {
		port := testkit.FreePort(s.t, "")
		for _, p := range []*player{s.a, s.b} {
			for _, name := range []string{"first", "second"} {
				p.listenWith(name, "udp4", m{"address": v4, "port": port}, m{"reuseAddr": true})
			}
		}
		s.visit("udp4", fmt.Sprint(v4, ":", port))
		for _, name := range []string{"first", "second"} {
			s.a.close(name)
			s.b.close(name)
		}
	}},
	{"udp4, exclusive", func(s *stage) {
		a := s.a.listen("own", "udp4", m{"address": v4, "port": 0, "exclusive": true})
		b := s.b.listen("own", "udp4", m{"address": v4, "port": 0, "exclusive": true})
		s.log("the same: %v", a == b)
		s.visit("udp4", a)
		s.visit("udp4", b)
		s.a.close("own")
		s.b.close("own")
	}},
	{"udp4, a port that somebody else has", func(s *stage) {
		pc, err := net.ListenPacket("udp", net.JoinHostPort(v4, "0"))
		require.NoError(s.t, err)
		defer pc.Close()
		s.refused("udp4", m{"address": v4, "port": pc.LocalAddr().(*net.UDPAddr).Port})
	}},
	{"udp4, an address that is not ours", func(s *stage) {
		s.refused("udp4", m{"address": "192.0.2.1", "port": testkit.FreePort(s.t, "")})
	}},
	{"messages", func(s *stage) {
		for _, value := range []any{"text", 7, true, nil, []any{1, []any{2.5}}, m{"a": m{"b": []any{m{}}}, "c": "grüße"}} {
			s.log("echo %s", s.a.ask(m{"do": "echo", "value": value}).Value)
		}
	}},
}

// refused has both workers listen where they cannot.
func (s *stage) refused(kind string, options m) {
	s.t.Helper()
	for _, p := range []*player{s.a, s.b} {
		require.Empty(s.t, p.listen("refused", kind, options))
	}
}

// hold connects to p, which holds connections and alone serves, or is next.
func (s *stage) hold(p *player, address string) net.Conn {
	s.t.Helper()
	conn, err := dial("net", address)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { conn.Close() })
	text, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(s.t, err)
	s.log("client: held: %s", text)
	p.await("held")
	s.settle()
	return conn
}

// How workers end. The first one serves, and the second one at the same address, which serves on.
var ends = []scenario{
	{"the primary disconnects the worker", ending(func(s *stage) { s.a.disconnect() })},
	{"the primary disconnects the worker, which has a connection open", ending(func(s *stage) {
		client := s.holdOne()
		s.a.disconnect()
		s.a.await("leaving")
		client.Close()
	})},
	{"the worker asks for an address when it was disconnected", ending(func(s *stage) {
		client := s.holdOne()
		s.a.disconnect()
		s.a.await("leaving")
		s.a.send(m{"do": "listen", "name": "late", "kind": "net", "options": m{"host": v4, "port": 0}})
		s.a.send(m{"do": "listen", "name": "late udp", "kind": "udp4", "options": m{"address": v4, "port": 0}})
		s.a.ask(m{"do": "echo"})
		client.Close()
	})},
	{"the worker disconnects", ending(func(s *stage) { s.a.tell("disconnect") })},
	{"the worker disconnects and has a connection open", ending(func(s *stage) {
		client := s.holdOne()
		s.a.tell("disconnect")
		s.a.await("leaving")
		client.Close()
	})},
	{"cluster.worker.kill()", ending(func(s *stage) { s.a.tell("kill") })},
	{"process.disconnect()", ending(func(s *stage) { s.a.tell("leave") })},
	{"process.exit(3)", ending(func(s *stage) { s.a.tell("exit") })},
	{"an uncaught exception", ending(func(s *stage) { s.a.tell("crash") })},
	{"the primary kills the worker", ending(func(s *stage) {
		s.a.ask(m{"do": "stay"}) // the signal finds it, if it comes after a disconnect, as before Node 18
		if testkit.Peer(s.t).Major() < 18 {
			s.unordered = ": disconnect"
		}
		s.a.kill()
	})},
	{"SIGTERM", ending(func(s *stage) { s.a.signal(syscall.SIGTERM) })},
	{"SIGTERM is caught", ending(func(s *stage) {
		s.a.ask(m{"do": "catch"})
		s.a.signal(syscall.SIGTERM)
	})},
	{"SIGKILL", ending(func(s *stage) { s.a.signal(syscall.SIGKILL) })},
	{"the primary closes the channel", ending(func(s *stage) { s.a.closeChannel() })},
}

func (s *stage) holdOne() net.Conn {
	s.a.ask(m{"do": "hold"})
	return s.hold(s.a, s.a.listen("held", "net", m{"host": v4, "port": 0}))
}

func ending(how func(*stage)) func(*stage) {
	return func(s *stage) {
		where := m{"host": v4, "port": testkit.FreePort(s.t, "")}
		address := s.a.listen("end", "http", where)
		s.b.listen("end", "http", where)
		datagrams := m{"address": v4, "port": where["port"]}
		s.a.listen("udp", "udp4", datagrams)
		s.b.listen("udp", "udp4", datagrams)
		s.visit("http", address)
		s.visit("http", address)
		s.settle() // nothing is on its way
		how(s)
		s.log("exit: %s", s.a.exit())
		live := &stage{t: s.t, policy: s.policy, dir: s.dir, a: s.b, b: s.b, ports: s.ports}
		for range 3 {
			live.visit("http", address)
			live.visit("udp4", address)
		}
		s.b.close("end")
		s.b.close("udp")
		live.visit("http", address)
		s.lines = append(s.lines, live.lines...)
	}
}

// files opens what the primary inherits: a listener and a socket for datagrams.
func (s *stage) files() (all []*os.File) {
	ln, err := net.Listen("tcp", net.JoinHostPort(v4, "0"))
	require.NoError(s.t, err)
	defer ln.Close()
	pc, err := net.ListenPacket("udp4", net.JoinHostPort(v4, "0"))
	require.NoError(s.t, err)
	defer pc.Close()
	s.inherited = []string{ln.Addr().String(), pc.LocalAddr().String()}
	for _, socket := range []interface{ File() (*os.File, error) }{ln.(*net.TCPListener), pc.(*net.UDPConn)} {
		f, err := socket.File()
		require.NoError(s.t, err)
		all = append(all, f)
	}
	return all
}

// certificate makes one for localhost, and files of it.
func (s *stage) certificate() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(s.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(s.t, err)
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: secret},
	} {
		require.NoError(s.t, os.WriteFile(filepath.Join(s.dir, name), pem.EncodeToMemory(block), 0o600))
	}
	cert, err := x509.ParseCertificate(der)
	require.NoError(s.t, err)
	s.cert = x509.NewCertPool()
	s.cert.AddCert(cert)
}
