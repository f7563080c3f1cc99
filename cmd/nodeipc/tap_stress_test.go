//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// The scenarios of js_fixtures/tap_stress.js, with how many children, sockets or messages they have in JSON mode and in
// advanced mode, and how many channels are opened. 0 is what the scenario has by itself. Under the race detector the
// counts of both modes are those of the second, with NODEIPC_STRESS=full those of the first.
var tapStress = []struct {
	name           string
	json, advanced int
	channels       int // 0: as many as the count
}{
	{name: "children", json: 80, advanced: 8},
	{name: "sockets", json: 1000, advanced: 100, channels: 1},
	{name: "mixed", json: 30, advanced: 10, channels: 1},
	{name: "twice", channels: 3},
	{name: "unacked", channels: 3},
	{name: "inflight", channels: 6},
	{name: "ends", channels: 14},
	{name: "stdio", channels: 2},
	{name: "messages", channels: 1},
	{name: "early", channels: 1},
	{name: "big", json: 2, advanced: 2, channels: 1},
}

// Programs see nothing of a tap, whatever goes over their channels and however these end: all that they can report is
// the same without one. What varies between two runs of plain Node is not in the reports, and the program says why; of
// those that were compared before, 30 of each scenario with Node 12, 20 and 26, on a busy machine, no two differed.
func TestTapStress(t *testing.T) {
	testkit.CheckLeaks(t) // when all of them have ended
	for _, s := range tapStress {
		for _, mode := range []string{"json", "advanced"} {
			count := s.json
			if (mode == "advanced" || raceEnabled) && os.Getenv("NODEIPC_STRESS") != "full" {
				count = s.advanced
			}
			t.Run(s.name+" "+mode, func(t *testing.T) {
				t.Parallel()
				argv := []string{testkit.Node(t), testkit.Fixture("tap_stress.js"), s.name, "--serialization=" + mode}
				output := filepath.Join(t.TempDir(), "tap")
				run := func(cmd *exec.Cmd) outcome {
					// Both have the variables that make this binary the command: they are inherited.
					cmd.Env = tapCommand().Env
					if count > 0 {
						cmd.Env = append(cmd.Env, fmt.Sprint("NODEIPC_COUNT=", count))
					}
					cmd.Stdin = strings.NewReader("what the program has on its stdin\n")
					return runProgram(t.Context(), cmd)
				}
				plain := make(chan outcome, 1)
				go func() { plain <- run(exec.Command(argv[0], argv[1:]...)) }()
				tapped := run(tapCommand(append([]string{"--output", output, "--"}, argv...)...))
				want := <-plain
				require.Zero(t, want.exit, want)
				if s.name == "unacked" {
					want.stdout, tapped.stdout = acknowledged(t, want.stdout), acknowledged(t, tapped.stdout)
				}
				require.Equal(t, want.stderr, tapped.stderr)
				require.Equal(t, want.exit, tapped.exit, tapped)
				require.Equal(t, strings.Split(want.stdout, "],["), strings.Split(tapped.stdout, "],["))

				channels := s.channels
				if channels == 0 {
					channels = count
				}
				require.Equal(t, channels, countLines(t, output, "  start  ")) // it was tapped
			})
		}
	}
}

// acknowledged returns a report of the scenario unacked without what docs/tap.md says that a tap changes: a handle is
// acknowledged when the tap has it, not when the child has. So the parent of a child that dies then may have sent what was
// behind the handle, and sees a disconnect. Plain Node sends no more, has no disconnect, and never closes that handle.
func acknowledged(t *testing.T, stdout string) string {
	t.Helper()
	var report struct {
		Cases map[string]map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &report))
	for _, c := range report.Cases {
		require.Contains(t, c, "said")
		delete(c, "said")
		delete(c, "callbacks")
		var events []any
		for _, e := range c["events"].([]any) {
			if e.([]any)[0] != "disconnect" {
				events = append(events, e)
			}
		}
		c["events"] = events
	}
	out, err := json.Marshal(report)
	require.NoError(t, err)
	return string(out)
}

func countLines(t *testing.T, name, part string) (n int) {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte(part)) {
			n++
		}
	}
	return n
}
