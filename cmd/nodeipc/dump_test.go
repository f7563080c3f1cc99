package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what the scripts print into them")

// TestScripts runs the commands of testdata/*.txt. A line that begins with $ is a command, lines with < its input, # a
// comment; what it prints follows, errors with !, and "exit" with a code that is not 0.
func TestScripts(t *testing.T) {
	t.Chdir("testdata")
	scripts, err := filepath.Glob("*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	for _, name := range scripts {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		got := rerun(t, string(text))
		if *update {
			require.NoError(t, os.WriteFile(name, []byte(got), 0o644))
		}
		require.Equal(t, strings.Split(string(text), "\n"), strings.Split(got, "\n"), name)
	}
}

func rerun(t *testing.T, script string) string {
	var out strings.Builder
	lines := strings.Split(strings.TrimSuffix(script, "\n"), "\n")
	for i, comment := 0, false; i < len(lines); {
		line := lines[i]
		i++
		if !strings.HasPrefix(line, "$ ") && !strings.HasPrefix(line, "# ") {
			continue // what was printed last time
		}
		if out.Len() > 0 && !comment {
			fmt.Fprintln(&out)
		}
		fmt.Fprintln(&out, line)
		if comment = line[0] == '#'; comment {
			continue
		}
		args := strings.Fields(line)[1:]
		require.Equal(t, "nodeipc", args[0])
		var in strings.Builder
		for ; i < len(lines) && strings.HasPrefix(lines[i], "< "); i++ {
			fmt.Fprintln(&out, lines[i])
			fmt.Fprintln(&in, lines[i][2:])
		}
		var stdout, stderr bytes.Buffer
		exit := run(&streams{strings.NewReader(in.String()), &stdout, &stderr}, args[1:])
		out.Write(stdout.Bytes())
		for l := range strings.Lines(stderr.String()) {
			fmt.Fprintf(&out, "! %s", l)
		}
		if exit != 0 {
			fmt.Fprintf(&out, "exit %d\n", exit)
		}
	}
	return out.String()
}

// dumped runs dump on raw bytes.
func dumped(data []byte, args ...string) (stdout, stderr string, exit int) {
	var out, err bytes.Buffer
	exit = run(&streams{bytes.NewReader(data), &out, &err}, append([]string{"dump"}, args...))
	return out.String(), err.String(), exit
}

// A payload of 200 bytes that would be 2^40 values if references were followed.
func TestDumpBomb(t *testing.T) {
	const levels = 40
	bomb := []byte{0xff, 0x0f, 'A', levels + 1, 'A', 0, '$', 0, 0}
	for i := range byte(levels) {
		bomb = append(bomb, 'A', 2, '^', i+1, '^', i+1, '$', 0, 2)
	}
	bomb = append(bomb, '$', 0, levels+1)
	for _, args := range [][]string{nil, {"-json"}} {
		out, _, exit := dumped(bomb, args...)
		require.Zero(t, exit)
		require.Less(t, len(out), 100*len(bomb))
	}
	out, _, _ := dumped(bomb, "-json")
	require.True(t, json.Valid([]byte(out)))
}

// What is printed, and what is allocated, is in proportion to the input.
func TestDumpInProportion(t *testing.T) {
	deep := []byte{0xff, 0x0f}
	for range 9000 {
		deep = append(deep, 'A', 1)
	}
	deep = append(deep, '0')
	for range 9000 {
		deep = append(deep, '$', 0, 1)
	}
	long := append([]byte{0xff, 0x0f, '"', 0xff, 0xff, 1}, bytes.Repeat([]byte("\x1b"), 1<<15-1)...)
	wide := append([]byte{0xff, 0x0f, 'A', 0xff, 0xff, 1}, bytes.Repeat([]byte("y"), 1<<15-1)...)
	wide = append(wide, '$', 0, 0xff, 0xff, 1)
	for name, data := range map[string][]byte{"deep": deep, "long": long, "wide": wide} {
		for _, args := range [][]string{nil, {"-json"}, {"-whole"}} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			out, errs, exit := dumped(data, args...)
			runtime.ReadMemStats(&after)
			require.Zero(t, exit, "%s %v: %s", name, args, errs)
			require.Less(t, len(out), 200*len(data), "%s %v", name, args)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8000*len(data)), "%s %v", name, args) // pools are leaky under -race
			require.NotContains(t, out, "\x1b")
		}
	}
	_, errs, exit := dumped(long, "-limit", "100")
	require.Equal(t, 1, exit)
	require.Contains(t, errs, "more than 100 bytes of input")
}

// Everything can be dumped, and what is valid is valid JSON then.
func FuzzDump(f *testing.F) {
	for _, s := range []string{"\xff\x0d0", "\x00\x00\x00\x03\xff\x0d_", "ff0d5f", "/w1f", "", "\xff\x0fo\"\x01$A\x022\x00-$\x00\x02{\x01",
		"\xff\x0fA\x02B\x02\x05\x06^\x01VB\x00\x02\x00$\x00\x02", "\xff\x0d;r?\x00Em\"\x01ac^\x00.R\"\x01x\x01:\x02", "\xff\x0da\x03I\x00s?\x05\"\x00@\x01\x03", "\xff\x0d\\\x01o{\x00", "\xff\x0d'Z\x10\x01\x00\x00\x00\x00\x00\x00\x00\\\x0a\x01xD\x00\x00\x00\x00\x00\x00\xf8\x7f,\x03"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out, errs, exit := dumped(data)
		require.Equal(t, exit != 0, errs != "")
		for _, r := range out {
			require.True(t, r >= ' ' || r == '\n')
		}
		text, _, jsonExit := dumped(data, "-json")
		require.Equal(t, exit, jsonExit)
		for l := range strings.Lines(text) {
			require.True(t, json.Valid([]byte(l)), l)
		}
	})
}
