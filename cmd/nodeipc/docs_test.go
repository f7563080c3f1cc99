//go:build unix

package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// The samples of docs/tap.md: each line that begins with a $ is run again, and what follows it compared with what comes,
// but for what cannot be the same twice. With -update they are written anew.
func TestTapDocs(t *testing.T) {
	testkit.CheckLeaks(t)
	if testkit.Peer(t).Major() != 20 {
		t.Skip("the samples are those of Node 20")
	}
	name := filepath.Join(testkit.Root(), "docs", "tap.md")
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	folder := newDocsPlace(t)
	const begin, end = "```console\n", "```\n"
	var out strings.Builder
	rest, blocks := string(text), 0
	for {
		before, block, ok := strings.Cut(rest, begin)
		out.WriteString(before)
		if !ok {
			break
		}
		block, rest, ok = strings.Cut(block, end)
		require.True(t, ok, "a block without an end")
		out.WriteString(begin)
		for _, sample := range strings.SplitAfter("\n"+block, "\n$ ")[1:] {
			command, want, _ := strings.Cut(strings.TrimSuffix(sample, "$ "), "\n")
			got := folder.run(t, command)
			if !*update {
				require.Equal(t, comparable(want), comparable(got), command)
			}
			out.WriteString("$ " + command + "\n" + got)
		}
		out.WriteString(end)
		blocks++
	}
	require.Positive(t, blocks)
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(out.String()), 0o666))
	}
}

// A docsPlace is a folder in which samples run: with the repository's examples, and the command on the PATH.
type docsPlace struct {
	dir string
	env []string
}

func newDocsPlace(t *testing.T) *docsPlace {
	t.Helper()
	dir, bin := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(testkit.Root(), "examples"), filepath.Join(dir, "examples")))
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(bin, "nodeipc")))
	require.NoError(t, os.Symlink(testkit.Node(t), filepath.Join(bin, "node")))
	path := bin + string(os.PathListSeparator) + os.Getenv("PATH")
	return &docsPlace{dir, append(os.Environ(), "PATH="+path, envCommand+"=1", quickExit, "TZ=UTC")}
}

// run returns what a command prints, the program's own output before the tap's, and its exit status if it has one.
func (p *docsPlace) run(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.CommandContext(limited(t), "sh", "-c", command)
	cmd.Dir, cmd.Env = p.dir, p.env
	var out, log strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	text := out.String() + log.String()
	if err != nil {
		text += fmt.Sprintf("(exit status %d)\n", cmd.ProcessState.ExitCode())
	}
	text = strings.ReplaceAll(text, resolved(t, testkit.Node(t)), "node")
	for _, real := range []string{p.dir, testkit.Root()} { // Node resolves the link
		text = strings.ReplaceAll(text, real+"/", "")
	}
	return text
}

// resolved is where a file is, links followed, as Node names itself.
func resolved(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(name)
	require.NoError(t, err)
	return path
}

var varies = regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{6}|\d{4}-\d\d-\d\dT[\d:.]+Z|\[\d+\]|"pid":\d+|127\.0\.0\.1:[1-9]\d*|` +
	`\d+ B|channel \d+|\S*/node\b`)

// comparable is a sample without times, process ids, ports, and the sizes that depend on them, by who says it to whom:
// what others say meanwhile comes as it comes.
func comparable(sample string) string {
	by := map[string][]string{}
	for line := range strings.Lines(sample) {
		line = varies.ReplaceAllString(line, "*")
		key, _, _ := strings.Cut(line, "  ")
		by[key] = append(by[key], line)
	}
	var all strings.Builder
	for _, key := range slices.Sorted(maps.Keys(by)) {
		all.WriteString(strings.Join(by[key], ""))
	}
	return all.String()
}
