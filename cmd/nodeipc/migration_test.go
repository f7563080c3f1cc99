//go:build unix

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// docs/migration.md: its listings are the files of examples/migration, and its commands are run, one after the other in
// one shell, while there is a load that must not lose a request.
func TestMigration(t *testing.T) {
	t.Parallel()
	app := newMigration(t)
	t.Run("guide", app.guide)
	t.Run("kept", app.kept)
}

func (app *migration) guide(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testkit.Root(), "docs", "migration.md"))
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)

	listed := map[string]bool{}
	for _, b := range blocks {
		if b[1] != "console" && b[2] != app.closing {
			listed[b[2]] = true
		}
	}
	folder := filepath.Join(testkit.Root(), "examples", "migration")
	for _, name := range []string{"server.js", "worker/main.go", "all/main.go", "primary/main.go"} {
		file, err := os.ReadFile(filepath.Join(folder, name))
		require.NoError(t, err)
		require.True(t, listed[string(file)], "the guide does not show %s as it is", name)
		delete(listed, string(file))
	}
	require.Empty(t, listed, "listings that are no files")
	require.Contains(t, string(text), app.closing)

	sh := app.shell(t)
	addr := "127.0.0.1:" + app.port
	runs := 0
	for _, b := range blocks {
		if b[1] != "console" {
			continue
		}
		for _, sample := range strings.SplitAfter("\n"+b[2], "\n$ ")[1:] {
			sample = strings.TrimSuffix(sample, "$ ")
			end := regexp.MustCompile(`[^\\]\n`).FindStringIndex(sample)[1]
			command, want := sample[:end], sample[end:]
			step := strings.HasPrefix(command, "nodeipc run") && strings.HasSuffix(command, "&\n")
			var moving []*testkit.Load
			if step && runs > 0 {
				moving = append(moving, testkit.StartLoad(t, addr, 1, false, "/", "/api/users"),
					testkit.StartLoad(t, addr, 1, true, "/", "/api/users", "/api/users/2"))
			}
			sh.run(command, want)
			if step {
				runs++
			}
			for _, l := range moving {
				sum := l.Stop()
				require.Zero(t, sum.Lost(), "%s%+v", command, *sum)
				require.Positive(t, sum.Served)
			}
		}
	}
	require.Greater(t, runs, 5)
	sh.inOrder()
}

// What docs/migration.md says of connections that are kept, by clients and by proxies.
func (app *migration) kept(t *testing.T) {
	sh := app.shell(t)
	if _, err := os.Stat(filepath.Join(app.dir, "go-worker")); err != nil {
		sh.run("go build -o go-worker ./worker\n", "")
	}
	for _, closing := range []bool{false, true} {
		if closing {
			server := filepath.Join(app.dir, "server.js")
			text, err := os.ReadFile(server)
			require.NoError(t, err)
			const first = "const app = express()\n"
			text = []byte(strings.Replace(string(text), first, first+app.closing, 1))
			require.NoError(t, os.WriteFile(server, text, 0o644))
		}
		sh.run("nodeipc run -i 2 --name node --group 'go=2:./go-worker' "+
			"--route 'go: GET /api/users' --route 'node:' server.js &\n", "nodeipc: run: all 4 workers are ready\n")
		always := map[bool]string{false: "Express", true: "Go"}[closing]

		keeping := &http.Transport{MaxConnsPerHost: 1}
		client := &http.Client{Transport: keeping, Timeout: patience}
		target, err := url.Parse("http://127.0.0.1:" + app.port)
		require.NoError(t, err)
		require.Equal(t, "Go", answeredBy(t, client, target.String()+"/api/users"))
		require.Equal(t, "Express", answeredBy(t, client, target.String()+"/"))
		for range 4 {
			require.Equal(t, always, answeredBy(t, client, target.String()+"/api/users"))
		}
		keeping.CloseIdleConnections()
		require.Equal(t, "Go", answeredBy(t, client, target.String()+"/api/users"))

		for _, kept := range []bool{false, true} {
			proxy := httputil.NewSingleHostReverseProxy(target)
			transport := &http.Transport{DisableKeepAlives: !kept, MaxConnsPerHost: 1}
			proxy.Transport = transport
			front := httptest.NewServer(proxy)
			for range 4 { // another client each time
				require.Equal(t, "Express", answeredBy(t, runClient, front.URL+"/"))
				who := "Go"
				if kept {
					who = always
				}
				require.Equal(t, who, answeredBy(t, runClient, front.URL+"/api/users"), "kept %v", kept)
			}
			transport.CloseIdleConnections()
			front.Close()
		}
		sh.run("kill $!; wait $!\n", "")
	}
	sh.inOrder()
}

func answeredBy(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	res, err := client.Get(url)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	if strings.HasSuffix(url, "/api/users") { // whoever it is
		require.Equal(t, "application/json; charset=utf-8", res.Header.Get("Content-Type"))
		require.Equal(t, `[{"id":1,"name":"Ada"},{"id":2,"name":"Brian"}]`, string(body))
	}
	return res.Header.Get("X-Powered-By")
}

// A migration is a folder with the app of docs/migration.md: a copy of examples/migration in a module of its own, with
// the library replaced by this one, and an Express that the peer can run.
type migration struct {
	*docsPlace
	port    string
	closing string // the line by which the app closes connections
}

func newMigration(t *testing.T) *migration {
	t.Helper()
	peer := testkit.Peer(t)
	if peer.Kind != "Node" {
		t.Skip("for Node, not for " + peer.String())
	}
	express := "express5"
	if peer.Major() < 18 {
		express = "express4"
	}
	modules := filepath.Join(testkit.Root(), "node_modules")
	if _, err := os.Stat(modules); err != nil {
		t.Skip("npm ci was not run")
	}
	require.FileExists(t, filepath.Join(modules, express, "package.json"), "npm ci")

	addr := testkit.FreeAddr(t)
	app := &migration{
		docsPlace: newDocsPlace(t),
		port:      addr[strings.LastIndexByte(addr, ':')+1:],
		closing:   "app.use((req, res, next) => { res.set('Connection', 'close'); next() })\n",
	}
	root := testkit.Root()
	app.dir = filepath.Join(t.TempDir(), "app")
	require.NoError(t, os.CopyFS(app.dir, os.DirFS(filepath.Join(root, "examples", "migration"))))
	require.NoError(t, os.Mkdir(filepath.Join(app.dir, "node_modules"), 0o755))
	require.NoError(t, os.Symlink(filepath.Join(modules, express), filepath.Join(app.dir, "node_modules", "express")))
	const library = "github.com/nodeipc/nodeipc-go"
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	text := strings.Replace(string(mod), "module "+library, "module app", 1) +
		fmt.Sprintf("\nrequire %s v0.0.0\nreplace %[1]s => %s\n", library, root)
	require.NoError(t, os.WriteFile(filepath.Join(app.dir, "go.mod"), []byte(text), 0o644))
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(app.dir, "go.sum"), sum, 0o644))
	return app
}

// A shell runs commands one after the other, and some of them in the background. The lines of all are r's.
type shell struct {
	*running
	in   io.Writer
	port string
	pids map[string]string // of the guide, and those that they are here
}

func (app *migration) shell(t *testing.T) *shell {
	t.Helper()
	r := &running{t: t, dir: app.dir, wake: make(chan struct{})}
	r.text = map[string]*strings.Builder{"out": {}}
	r.cmd = exec.Command("sh")
	r.cmd.Dir, r.cmd.Env = app.dir, append(app.env, "PORT="+app.port, "GOFLAGS=-ldflags=-w")
	all := &runStream{r: r, name: "out"}
	r.cmd.Stdout, r.cmd.Stderr = all, all
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := r.cmd.StdinPipe()
	require.NoError(t, err)
	r.start()
	t.Cleanup(func() { syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) }) // and what it has in the background
	return &shell{r, in, app.port, map[string]string{}}
}

// inOrder fails the test if a worker had to be ended, or nodeipc run has had anything else to complain of.
func (s *shell) inOrder() {
	s.t.Helper()
	for _, line := range s.lines {
		require.NotRegexp(s.t, `did not leave|was ended by|not ready within|level=(WARN|ERROR)`, line)
	}
}

const commandOver = "--- exit status "

// run runs a command, and waits for its end, unless it is in the background, and for each of the lines that are wanted:
// … is anything in them, and a pid any number. Others may come only of what is in the background.
func (s *shell) run(command, want string) {
	s.t.Helper()
	for theirs, ours := range s.pids {
		command = strings.ReplaceAll(command, theirs, ours)
	}
	command = strings.ReplaceAll(command, "8000", s.port)
	s.mu.Lock()
	begin := len(s.lines)
	s.mu.Unlock()
	_, err := io.WriteString(s.in, command+"echo '"+commandOver+"'$?\n")
	require.NoError(s.t, err)

	var missing []string
	ctx := limited(s.t)
	for {
		s.mu.Lock()
		lines, wake, over := slices.Clone(s.lines[begin:]), s.wake, s.over
		s.mu.Unlock()
		var ok bool
		if missing, ok = s.compare(command, strings.Split(shared(want, lines), "\n"), lines); ok && len(missing) == 0 {
			return
		}
		require.False(s.t, over, "the shell has ended at %s", command)
		select {
		case <-wake:
		case <-ctx.Done():
			require.FailNow(s.t, "it does not come", "%s%q", command, missing)
		}
	}
}

var shares = regexp.MustCompile(`^(\d+) by Express\n(\d+) by Go\n`)

// shared returns what is wanted where Go has some more than its share, as it has when a busy machine makes Node slow.
func shared(want string, lines []string) string {
	m := shares.FindStringSubmatch(want)
	if m == nil {
		return want
	}
	node, _ := strconv.Atoi(m[1])
	share, _ := strconv.Atoi(m[2])
	for more := range 6 {
		if slices.Contains(lines, fmt.Sprintf("%d by Express", node-more)) { // which comes first
			return fmt.Sprintf("%d by Express\n%d by Go\n", node-more, share+more) + want[len(m[0]):]
		}
	}
	return want
}

// What comes of programs in the background, and of the shell when it sees one end.
var inBackground = regexp.MustCompile(`^(nodeipc: run|primary): |^\[\d+\] |^listening on |^Terminated$`)

// compare returns which lines are missing, and whether the command is over.
func (s *shell) compare(command string, want, lines []string) (missing []string, over bool) {
	s.t.Helper()
	for _, w := range want {
		if w == "" {
			continue
		}
		var theirs []string
		pattern := regexp.MustCompile(`pid \d+`).ReplaceAllStringFunc(regexp.QuoteMeta(w), func(pid string) string {
			theirs = append(theirs, pid[len("pid "):])
			return `pid (\d+)`
		})
		pattern = strings.NewReplacer("…", ".*", "8000", s.port, `\[::\]`, `(?:\[::\]|0\.0\.0\.0)`).Replace(pattern)
		pattern = strings.Replace(pattern, `\(exit status `, regexp.QuoteMeta(commandOver), 1)
		pattern = "^" + strings.TrimSuffix(pattern, `\)`) + "$"
		re := regexp.MustCompile(pattern)
		i := slices.IndexFunc(lines, func(l string) bool {
			m := re.FindStringSubmatch(l)
			for i, pid := range theirs {
				if m == nil || s.pids[pid] != "" && s.pids[pid] != m[1+i] {
					return false
				}
			}
			return m != nil
		})
		if i < 0 {
			missing = append(missing, w)
			continue
		}
		for j, pid := range theirs {
			s.pids[pid] = re.FindStringSubmatch(lines[i])[1+j]
		}
		if strings.HasPrefix(lines[i], commandOver) {
			over = true
		}
		lines = slices.Delete(lines, i, i+1)
	}
	for _, l := range lines {
		switch {
		case l == commandOver+"0":
			over = true
		case !inBackground.MatchString(l):
			require.FailNow(s.t, "a line that is not in the guide", "%s%s", command, l)
		}
	}
	return missing, over
}
