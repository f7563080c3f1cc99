package lib

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// node runs code in the Node under test: NODEIPC_NODE, or the node of the PATH. result takes the JSON it prints.
func node(t *testing.T, dir string, env []string, code string, result any) {
	t.Helper()
	name := os.Getenv("NODEIPC_NODE")
	if name == "" {
		name = "node"
	}
	path, err := exec.LookPath(name)
	require.NoError(t, err, "install Node 12 or later, or point NODEIPC_NODE at a binary")
	path, err = filepath.Abs(path)
	require.NoError(t, err)
	cmd := exec.Command(path, "-e", code)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, env, os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(out, result), "%s", out)
}

// without returns our environment without the variables, to which pairs are added.
func without(pairs ...string) []string {
	var env []string
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); name != "NODE_OPTIONS" && name != "NODEIPC_TAP" {
			env = append(env, pair)
		}
	}
	return append(env, pairs...)
}

// Every path is put in front of the ones before, and Node loads them all, in that order.
func TestNodeOptions(t *testing.T) {
	const preload = "(global.loaded = global.loaded || []).push(__filename)"
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	other := filepath.Join(dir, "other file.js")
	require.NoError(t, os.WriteFile(other, []byte(preload), 0o600))
	options := `  --max-old-space-size=100 --require "./other file.js"`
	want := []string{other}
	names := []string{"plain", "two  words ", "höhe 高 😀", "it's"}
	if runtime.GOOS != "windows" {
		names = append(names, `"quoted"`, `back\slash\\es\`, `\"`, "tab\tand\nline", "--require")
	}
	for _, name := range names {
		path := filepath.Join(dir, name, "tap.js")
		require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(preload), 0o600))
		options, err = NodeOptions(options, path)
		require.NoError(t, err)
		again, err := NodeOptions(options, path)
		require.NoError(t, err)
		require.Equal(t, options, again)
		want = append([]string{path}, want...)
	}
	var got struct {
		Loaded []string
		Heap   int
	}
	node(t, dir, without("NODE_OPTIONS="+options),
		"console.log(JSON.stringify({ loaded, heap: require('v8').getHeapStatistics().heap_size_limit }))", &got)
	require.Equal(t, want, got.Loaded)
	require.Less(t, got.Heap, 300<<20, "--max-old-space-size has no effect")
}

func TestNodeOptionsOfBadPaths(t *testing.T) {
	for _, path := range []string{"", "tap.js", "./tap.js", "/tap\x00.js", "/tap\xff.js"} {
		_, err := NodeOptions("", path)
		require.Error(t, err, "%q", path)
		_, err = Environ(nil, Config{Command: []string{"/nodeipc"}, Preload: path})
		require.Error(t, err, "%q", path)
	}
}

func TestEnviron(t *testing.T) {
	preload, err := filepath.Abs("tap.js")
	require.NoError(t, err)
	config := Config{Command: []string{"/a <b> & \"c\"", "tap"}, Preload: preload, Report: "/report ü"}
	given := []string{"NODE_OPTIONS=--first", "A=1", "NODEIPC_TAP=x", "NODE_OPTIONS=--no-warnings", "B=2="}
	env, err := Environ(given, config)
	require.NoError(t, err)
	options, err := NodeOptions("--no-warnings", preload)
	require.NoError(t, err)
	require.Len(t, env, 4)
	require.Equal(t, []string{"A=1", "B=2=", "NODE_OPTIONS=" + options}, env[:3])
	again, err := Environ(env, config)
	require.NoError(t, err)
	require.Equal(t, env, again)
	require.Equal(t, []string{"A=1", "B=2=", "NODE_OPTIONS=--no-warnings"}, Restored(env, preload))
	require.Equal(t, env[2:3], Restored(env[2:], preload+"x"), "the preload is another")
	alone, err := Environ(nil, config)
	require.NoError(t, err)
	require.Empty(t, Restored(alone, preload))

	var got Config
	node(t, "", without(env[2:]...), "console.log(process.env.NODEIPC_TAP)", &got)
	require.Equal(t, config, got)
}

// What Environ sets makes Preload start the command in place of a child.
func TestPreload(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the preload does nothing on Windows")
	}
	dir := t.TempDir()
	command := filepath.Join(dir, "command")
	require.NoError(t, os.WriteFile(command, []byte("#!/bin/sh\necho \"$*\"\n"), 0o700))
	preload := filepath.Join(dir, "tap.js")
	require.NoError(t, os.WriteFile(preload, Preload, 0o600))
	env, err := Environ(without(), Config{Command: []string{command, "tap"}, Preload: preload})
	require.NoError(t, err)
	var got string
	node(t, dir, env, `
		const stdio = ['ignore', 'pipe', 'inherit', 'ipc']
		const child = require('child_process').spawn('/bin/sh', ['-c', 'x'], { stdio })
		child.stdout.on('data', (data) => console.log(JSON.stringify(String(data))))`, &got)
	require.Equal(t, "tap -- /bin/sh -c x\n", got)
}
