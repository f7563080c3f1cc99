//go:build unix

package nodeipc

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// environment returns what a child in the role "environment" reports of itself.
func environment(t testing.TB, cmd *exec.Cmd) environmentReport {
	t.Helper()
	p := start(t, cmd, nil)
	var r environmentReport
	m, err := p.Receive(limited(t))
	require.NoError(t, err)
	require.NoError(t, m.Decode(&r))
	noMore(t, p.Channel)
	require.NoError(t, p.wait())
	return r
}

func TestStartEnvironment(t *testing.T) {
	testkit.CheckLeaks(t)
	t.Setenv("NODEIPC_TEST_INHERITED", "yes")
	t.Setenv("NODE_CHANNEL_FD", "77") // stale, of a program that did not call Connect
	t.Setenv("NODE_CHANNEL_SERIALIZATION_MODE", "advanced")
	t.Setenv("NODE_UNIQUE_ID", "5")
	const fd, mode = "NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE=json"

	t.Run("nil Env inherits", func(t *testing.T) {
		t.Setenv(envRole, "environment")
		t.Setenv("GORACE", "atexit_sleep_ms=0")
		cmd := self(t, "")
		cmd.Env = nil
		r := environment(t, cmd)
		require.Equal(t, []string{"NODEIPC_TEST_INHERITED=yes", fd, mode}, r.Env)
		require.Nil(t, cmd.Env, "the command is the caller's")
	})
	t.Run("Env is kept", func(t *testing.T) {
		cmd := self(t, "environment")
		cmd.Env = []string{envRole + "=environment", "NODE_UNIQUE_ID=9", quickExit}
		r := environment(t, cmd)
		require.Equal(t, []string{"NODE_UNIQUE_ID=9", fd, mode}, r.Env)
		require.Equal(t, []string{envRole + "=environment", "NODE_UNIQUE_ID=9", quickExit}, cmd.Env)
	})
	t.Run("stale variables in Env", func(t *testing.T) {
		cmd := self(t, "environment")
		cmd.Env = []string{"NODE_CHANNEL_FD=8", "NODE_CHANNEL_FD=9", envRole + "=environment", "NODE_CHANNEL_SERIALIZATION_MODE=advanced", quickExit}
		r := environment(t, cmd)
		require.Equal(t, []string{fd, mode}, r.Env)
	})
	t.Run("empty Env", func(t *testing.T) {
		cmd := nodeCommand(t, "-e", `process.send(Object.keys(process.env).filter((name) => name.startsWith('NODE')))`)
		cmd.Env = []string{}
		p := start(t, cmd, nil)
		require.Equal(t, "[]", text(t, p.Channel)) // Node has removed the variables it understood
	})
}

// The caller's ExtraFiles keep their numbers; the channel comes after them.
func TestStartExtraFiles(t *testing.T) {
	testkit.CheckLeaks(t)
	var files []*os.File
	for _, name := range []string{"three", "four"} {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, []byte(name), 0o600))
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		files = append(files, f)
	}
	cmd := self(t, "environment")
	cmd.ExtraFiles = files[:1:2] // with room behind it, which is not ours to write to
	two := files[:2]
	r := environment(t, cmd)
	require.Equal(t, map[string]string{"3": "three"}, r.Files)
	require.Contains(t, r.Env, "NODE_CHANNEL_FD=4")
	require.Len(t, cmd.ExtraFiles, 1)
	require.Equal(t, "four", filepath.Base(two[1].Name()), "the caller's array was written to")

	cmd = self(t, "environment")
	cmd.ExtraFiles = slices.Clone(files)
	r = environment(t, cmd)
	require.Equal(t, map[string]string{"3": "three", "4": "four"}, r.Files)
	require.Contains(t, r.Env, "NODE_CHANNEL_FD=5")

	node := nodeCommand(t, "-e", "process.send(require('fs').readFileSync(3, 'utf8'))")
	node.ExtraFiles = files[:1]
	require.Equal(t, `"three"`, text(t, start(t, node, nil).Channel))
}

func TestStartMissingBinary(t *testing.T) {
	testkit.CheckLeaks(t)
	missing := filepath.Join(t.TempDir(), "no-such-program")
	cmd := exec.Command(missing)
	cmd.Env = []string{"A=1"}
	_, err := Start(cmd, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "nodeipc: start: ")
	require.ErrorContains(t, err, missing)
	require.Equal(t, []string{"A=1"}, cmd.Env)
	require.Empty(t, cmd.ExtraFiles)
}

func TestStartTwice(t *testing.T) {
	testkit.CheckLeaks(t)
	cmd := nodeCommand(t, testkit.Fixture("echo.js"))
	start(t, cmd, nil)
	_, err := Start(cmd, nil)
	require.ErrorContains(t, err, "started already")
	_, err = Prepare(cmd, nil)
	require.ErrorContains(t, err, "started already")
}

func TestPrepare(t *testing.T) {
	testkit.CheckLeaks(t)
	cmd := nodeCommand(t, testkit.Fixture("echo.js"))
	cmd.Env = []string{"A=1", "NODE_CHANNEL_FD=9", "NODE_CHANNEL_SERIALIZATION_MODE=advanced", "NODE_CHANNEL_FD=8"}
	before := slices.Clone(cmd.Env)
	p, err := Prepare(cmd, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"A=1", "NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE=json"}, cmd.Env)
	require.Len(t, cmd.ExtraFiles, 1)
	require.NoError(t, cmd.Start())
	ch, err := p.Started()
	require.NoError(t, err)
	require.Equal(t, before, cmd.Env)
	require.Empty(t, cmd.ExtraFiles)
	p.Abort() // does nothing any more
	_, err = p.Started()
	require.Error(t, err)
	send(t, ch, "hello")
	require.Equal(t, `"hello"`, text(t, ch))
	require.NoError(t, ch.Disconnect(limited(t)))
	require.NoError(t, cmd.Wait())
}

func TestPrepareAbort(t *testing.T) {
	testkit.CheckLeaks(t)
	cmd := exec.Command("anything")
	before := cmd.Env
	p, err := Prepare(cmd, nil)
	require.NoError(t, err)
	p.Abort()
	p.Abort()
	require.Equal(t, before, cmd.Env)
	require.Empty(t, cmd.ExtraFiles)
	_, err = p.Started()
	require.ErrorContains(t, err, "nodeipc: start: ")

	p, err = Prepare(cmd, nil) // forgotten to start
	require.NoError(t, err)
	_, err = p.Started()
	require.ErrorContains(t, err, "not started")
	require.Empty(t, cmd.ExtraFiles)
}

// The parent keeps no copy of the child's end: a child of any kind that ends, or closes it, is seen.
func TestStartSeesEOF(t *testing.T) {
	testkit.CheckLeaks(t)
	p := start(t, exec.Command("sh", "-c", `exec 3>&-; exec sleep 600`), nil) // is killed with the test
	ended(t, p.Done(), "the end, with the process still there")
	require.Equal(t, io.EOF, p.Err())
	require.NoError(t, p.cmd.Process.Signal(syscall.Signal(0)))
}

// A child may be Go as well.
func TestGoParentAndChild(t *testing.T) {
	testkit.CheckLeaks(t)
	p := start(t, self(t, "scenario"), nil)
	ctx := limited(t)
	send(t, p.Channel, map[string]string{"type": "greeting"})
	var v struct{ Type, Message string }
	m, err := p.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, m.Decode(&v))
	require.Equal(t, "Hi there master!", v.Message)
	w := newWire(t)
	require.NoError(t, p.SendHandle(ctx, map[string]string{"type": "return"}, w.here))
	m, err = p.Receive(ctx)
	require.NoError(t, err)
	conn, err := m.Handle.Conn()
	require.NoError(t, err)
	defer conn.Close()
	carries(t, conn, w.there)
	require.NoError(t, p.Disconnect(ctx))
	require.NoError(t, p.wait())
}

// One message on a quiet channel is with the kernel when Send returns: os.Exit loses nothing.
func TestExitAfterSend(t *testing.T) {
	testkit.CheckLeaks(t)
	for range 5 {
		p := start(t, self(t, "last-words"), nil)
		m, err := p.Receive(limited(t))
		require.NoError(t, err)
		require.Len(t, m.Data, 2+11000)
		noMore(t, p.Channel)
		require.NoError(t, p.wait())
	}
}
