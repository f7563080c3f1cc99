package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// The benchmark as a user runs it, but so short that its figures mean nothing: every row gets one.
func TestShort(t *testing.T) {
	saved := filepath.Join(t.TempDir(), "bench.json")
	out, err := runBench(t, testkit.Node(t), "-floor", "-json", saved)
	require.NoError(t, err, out)
	var file struct {
		Rows []row
	}
	text, err := os.ReadFile(saved)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &file))
	version, err := output(testkit.Node(t), "--version")
	require.NoError(t, err)
	node := program{name: "Node " + version[1:]}.workers()
	rows := map[string]row{}
	for _, r := range file.Rows {
		rows[r.Name] = r
	}
	for _, s := range scenarios() {
		modes := s.modes
		if s.floor {
			modes = append(modes[:len(modes):len(modes)], "floor")
		}
		for _, mode := range modes {
			for i := range s.metrics {
				name := s.rowName(mode, &s.metrics[i])
				if mode == nodeWorkers {
					name = s.rowName(node, &s.metrics[i])
				}
				r, ok := rows[name]
				require.True(t, ok, "no row %s in\n%s", name, out)
				delete(rows, name)
				assert.Positive(t, r.Go.Median, name)
				if mode == s.base {
					continue
				}
				assert.Len(t, r.Ratios, 1, name)
				if s.base == "" {
					assert.Len(t, r.Runtimes, 1, name)
				}
			}
		}
	}
	assert.Empty(t, rows)
}

// Who answers wrongly gets no figure, and the benchmark fails, but the others get theirs.
func TestWrongBytes(t *testing.T) {
	const wrong = `
		const [verb, , program, ...args] = process.argv.slice(2);
		const peer = program ? require('child_process').spawn(program, args, { stdio: [0, 1, 2, 'ipc'] }) : process;
		let n = 0;
		peer.on('message', (m) => {
			if (verb === 'sink' && m === 0) peer.send({ count: n, hash: 0 });
			if (++n > 10 && m.id) m.id++;
			if (verb === 'echo') peer.send(m);
			if (verb === 'flood' && n > 256) process.exit(7);
		});`
	dir := t.TempDir()
	script, fake := filepath.Join(dir, "wrong.js"), filepath.Join(dir, "fake")
	require.NoError(t, os.WriteFile(script, []byte(wrong), 0o666))
	require.NoError(t, os.WriteFile(fake, []byte("#!/bin/sh\nNODE='"+testkit.Node(t)+"'\n"+
		"[ \"$1\" != --version ] || exec \"$NODE\" --version\nshift; exec \"$NODE\" '"+script+"' \"$@\"\n"), 0o777))

	out, err := runBench(t, fake, "-only", "^(parent )?(echo 64B|flood .* 64B) raw")
	require.Error(t, err, out)
	for _, want := range []string{"echo 64B", "parent echo 64B", "flood in 64B", "parent flood in 64B"} {
		assert.Regexp(t, `(?m)^bench: `+want+`: Node .*: wrong bytes at offset`, out)
	}
	assert.Regexp(t, `(?m)^bench: flood out 64B: Node .*: unexpected EOF .*exit status 7`, out)
	assert.Equal(t, 6, strings.Count(out, " FAILED"), out)
	assert.Contains(t, out, "bench: some rows failed")
}

// runBench runs the benchmark, built without whatever this test is built with, and returns all that it prints.
func runBench(t *testing.T, node string, args ...string) (string, error) {
	bin := filepath.Join(t.TempDir(), "bench")
	text, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	require.NoError(t, err, "%s", text)
	cmd := exec.Command(bin, append([]string{"-short", "-nodes", node, "-others", "none"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}
