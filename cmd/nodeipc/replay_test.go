//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

const replayPrograms = "replay_programs.js"

// atPrograms makes the programs, and Node as "node", be found as they were when they were recorded, from their folder.
func atPrograms(t testing.TB) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Symlink(testkit.Node(t), filepath.Join(dir, "node")))
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Chdir(filepath.Dir(testkit.Fixture(replayPrograms)))
}

// recordScenario records what a scenario's parent and child say.
func recordScenario(t testing.TB, scenario, file string) {
	t.Helper()
	cmd := tapCommand("--output", os.DevNull, "--record", file, "--", "node", replayPrograms, scenario)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
}

var recordings, _ = filepath.Abs(filepath.Join("testdata", "replay"))

// recordedScenario returns the file of a scenario that was recorded once.
func recordedScenario(scenario string) string { return filepath.Join(recordings, scenario+".jsonl") }

// written returns a file with this recording.
func written(t testing.TB, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "recording")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return file
}

// replayed runs the command, and returns what it says without what always comes first.
func replayed(file string, args ...string) (says string, exit int) {
	var out, errs bytes.Buffer
	exit = run(&streams{nil, &out, &errs}, append([]string{"replay"}, args...))
	says = out.String() + errs.String()
	return strings.TrimPrefix(says, "nodeipc: replay: "+file+": "), exit
}

// Recordings of Node's parents are played to the same program, of whatever version, and to one that does one thing
// otherwise. -update records again: with Node 12, as what newer ones send it cannot read.
func TestReplay(t *testing.T) {
	testkit.CheckLeaks(t)
	atPrograms(t)
	for _, test := range []struct{ scenario, change, flags, says string }{
		{"talk", "", "--ignore hello,at", "as recorded: 3 messages from the child, 3 to it\n"},
		{"talk", "", "", "line 2: message 1 from the child differs at .hello\n  recorded: "},
		{"talk", "value", "--ignore hello,at", "line 4: message 2 from the child differs at .items[2].name\n" +
			"  recorded: \"name 3\", in {\"count\":3,"},
		{"talk", "early", "--ignore hello,at", "line 4: message 2 from the child was awaited, " +
			"but it has exited with code 5\n  recorded: {\"count\":3,"},
		{"talk", "disconnect", "--ignore hello,at", "line 4: message 2 from the child was awaited, " +
			"but it has disconnected\n"},
		{"talk", "more", "--ignore hello,at", "message 4 from the child is not recorded\n  received: \"once more\"\n"},
		{"talk", "exit", "--ignore hello,at", "the child's exit differs\n  recorded: with code 3\n  received: with code 4\n"},
		{"values", "", "--ignore at,stack", "as recorded: 3 messages from the child, 2 to it\n"},
		{"values", "map", "--ignore at,stack", "line 4: message 2 from the child differs at .map.get(\"list\")[0]\n" +
			"  recorded: Float64Array(16) <000000000000f03f0000000000000040>, in {"},
		{"handles", "", "", "as recorded: 7 messages from the child, 6 to it\n"},
		{"handles", "closes", "", "line 12: message 6 from the child differs at .count\n  recorded: 1, in {"},
		{"handles", "nothing", "", "line 10: message 5 from the child differs by its handle\n" +
			"  recorded: {\"m\":\"give\"} +net.Server\n  received: {\"m\":\"give\"}\n"},
		{"killed", "", "", "as recorded: 1 message from the child, 0 to it\n"},
		{"greeting", "", "", "as recorded: 1 message from the child, 1 to it\n"},
	} {
		t.Run(test.scenario+" "+test.change+" "+test.flags, func(t *testing.T) {
			file := recordedScenario(test.scenario)
			if *update && test.change == "" && test.says[:2] == "as" {
				recordScenario(t, test.scenario, file)
			}
			args := append(strings.Fields(test.flags), file, "--", "node", replayPrograms, test.scenario+"-child")
			if test.change != "" {
				args = append(args, test.change)
			}
			says, exit := replayed(file, args...)
			require.Equal(t, strings.HasPrefix(says, "as recorded: "), exit == 0, says)
			require.True(t, strings.HasPrefix(says, test.says), says)
		})
	}
}

// The parent's messages to a Node child make a Go child say the same.
func TestReplayToGo(t *testing.T) {
	testkit.CheckLeaks(t)
	child := filepath.Join(t.TempDir(), "child")
	out, err := exec.Command("go", "build", "-o", child, "../../examples/child").CombinedOutput()
	require.NoError(t, err, "%s", out)
	file := recordedScenario("greeting")
	says, exit := replayed(file, file, "--", child)
	require.Zero(t, exit, says)
	require.Equal(t, "as recorded: 1 message from the child, 1 to it\n", says)
}

// A worker of a cluster, whose messages are those of its version.
func TestReplayCluster(t *testing.T) {
	testkit.CheckLeaks(t)
	atPrograms(t)
	for _, policy := range []string{"rr", "none"} {
		t.Run(policy, func(t *testing.T) {
			t.Setenv("NODE_CLUSTER_SCHED_POLICY", policy)
			file := filepath.Join(t.TempDir(), "recording")
			recordScenario(t, "cluster", file)
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Contains(t, string(text), `"handle":"net.Native"`)
			says, exit := replayed(file, "--ignore", "port", file, "--", "node", replayPrograms, "cluster-child")
			require.Zero(t, exit, says)
			if policy == "none" { // nobody connects
				return
			}
			says, exit = replayed(file, file, "--", "node", replayPrograms, "cluster-child", "busy")
			require.Equal(t, 1, exit)
			require.Contains(t, says, "from the child differs\n  recorded: {\"cmd\":\"NODE_CLUSTER\",")
			require.Contains(t, says, "\n  received: \"busy\"\n")
		})
	}
}

const (
	startTime = `{"time":"2026-01-01T00:00:00.000000Z","event":"start",`
	startEnds = `"parent":{"pid":1,"name":"p"},"child":{"pid":2,"name":"c"},`

	startLine     = startTime + startEnds + `"channel":1,"serialization":"json","argv":["node","child one.js"]}`
	startAdvanced = startTime + startEnds + `"channel":1,"serialization":"advanced","argv":["node"]}`
	startSecond   = startTime + startEnds + `"channel":2,"serialization":"json","argv":["node","two.js"]}`
)

// eventLine is one of channel 1, but for its time.
func eventLine(format string, args ...any) string {
	return fmt.Sprintf(`{"time":"2026-01-01T00:00:00.000000Z","channel":1,`+format+"}", args...)
}

func fromChild(value string) string {
	return eventLine(`"event":"message","from":"child","size":1,"value":%s`, value)
}

func fromParent(value string) string {
	return eventLine(`"event":"message","from":"parent","size":1,"value":%s`, value)
}

// What is wrong with a recording is told with its line, and before anything is started.
func TestReplayOfBadRecordings(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, test := range []struct {
		lines []string
		says  string
	}{
		{nil, "nothing is recorded"},
		{[]string{startLine, "{"}, `line 2: a line that is not JSON: "{"`},
		{[]string{startLine, "", "[]"}, "line 3: not an event"},
		{[]string{fromChild("1")}, "line 1: channel 1 has no start before this"},
		{[]string{startLine, startLine}, "line 2: channel 1 starts a second time"},
		{[]string{startLine, eventLine(`"event":"exit","code":0`), fromChild("1")}, "line 3: channel 1 goes on after the exit"},
		{[]string{startLine, eventLine(`"event":"message","from":"child","size":-1`)}, "line 2: size is -1"},
		{[]string{startLine, fromParent(`{"a":["[redacted]"]}`)}, "line 2: the recording is redacted: it cannot be played"},
		{[]string{startLine, eventLine(`"event":"message","from":"parent","size":3`)}, "line 2: the recording is redacted"},
		{[]string{startAdvanced, fromParent(`{"a":1}`)}, "line 2: the recording is redacted"},
		{[]string{startLine, eventLine(`"event":"message","from":"parent","size":3,"handle":"tty.Wrap","value":1`)},
			`line 2: there is nothing to stand in for a handle of type "tty.Wrap"`},
		{[]string{startLine, startSecond}, "2 channels are recorded, say which with --channel:\n" +
			"  1  node \"child one.js\"\n  2  node two.js\n"},
	} {
		file := written(t, test.lines...)
		says, exit := replayed(file, file, "--", "/no/such/program")
		require.Equal(t, 1, exit, says)
		require.True(t, strings.HasPrefix(says, test.says), says)
	}

	file := written(t, startLine)
	says, exit := replayed(file, file, "--", "/no/such/program")
	require.Equal(t, 127, exit)
	require.Contains(t, says, "cannot start")
	says, _ = replayed(file, "--channel", "2", file, "--", "/no/such/program")
	require.Equal(t, "there is no channel 2, of\n  1  node \"child one.js\"\n", says)
	require.NoError(t, os.WriteFile(file, []byte(startLine+"\n"+fromChild("1")[:60]), 0o600))
	says, _ = replayed(file, file, "--", "/no/such/program")
	require.True(t, strings.HasPrefix(says, "line 2: the recording is cut off: a line that is not JSON"), says)
	says, exit = replayed(os.DevNull, os.DevNull, "--", "/no/such/program")
	require.Equal(t, 1, exit)
	require.Contains(t, says, "no regular file")

	// The name of a member is not hidden, and what the child sent may be.
	file = written(t, startLine, fromParent(`{"[redacted]":1,"b":"\"[redacted]\""}`), fromChild(`"[redacted]"`))
	says, exit = replayed(file, file, "--", "/no/such/program")
	require.Equal(t, 127, exit, says)
}

// A program that says nothing, and one that does not end, are waited for as long as the flag says.
func TestReplayTimeout(t *testing.T) {
	testkit.CheckLeaks(t)
	exit0 := eventLine(`"event":"exit","code":0`)
	for _, test := range []struct {
		lines []string
		says  string
	}{
		{[]string{startLine, fromChild("1")}, "line 2: message 1 from the child did not come within 50ms\n  recorded: 1\n"},
		{[]string{startLine, eventLine(`"event":"disconnect","from":"parent"`), exit0},
			"the child did not exit within 50ms after the channel had ended\n  recorded: with code 0\n"},
		{[]string{startLine, eventLine(`"event":"disconnect","from":"child"`), exit0}, "the child did not disconnect within 50ms"},
		{[]string{startLine, exit0}, "the child did not exit within 50ms, as it did when it was recorded"},
		{[]string{startLine, fromParent(`"` + strings.Repeat("x", 1<<20) + `"`)},
			"the child did not read what was sent to it within 50ms"},
		{[]string{startLine, eventLine(`"event":"message","from":"parent","size":1,"handle":"net.Socket","value":1`)},
			"line 2: message 1 to the child was not taken within 50ms: 1"},
	} {
		t.Run(test.says, func(t *testing.T) {
			file := written(t, test.lines...)
			says, exit := replayed(file, file, "--timeout", "50ms", "--", "sleep", "100")
			require.Equal(t, 1, exit, says)
			require.True(t, strings.HasPrefix(says, test.says), says)
		})
	}
}

// A signal ends the program, and the command as a signal does.
func TestReplaySignal(t *testing.T) {
	testkit.CheckLeaks(t)
	atPrograms(t)
	cmd := selfCommand("replay", "--ignore", "hello", recordedScenario("talk"),
		"--", "node", replayPrograms, "talk-child", "silent")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	r := bufio.NewReader(stdout)
	text, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "silent\n", text)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_, err = io.ReadAll(r) // to its end: nobody has it open
	require.NoError(t, err)
	cmd.Wait()
	require.Equal(t, syscall.SIGTERM, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
}

func TestReplayUsage(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, test := range []struct{ args, says string }{
		{"", "which recording?"},
		{"file", "which program?"},
		{"file --", "which program?"},
		{"file --timeout 0s -- node", "more than nothing"},
		{"--channel -1 file -- node", "number from 1"},
		{"--ignore a,,b file -- node", "a name of a member is empty"},
	} {
		says, exit := replayed("", strings.Fields(test.args)...)
		require.Equal(t, 2, exit, test.args)
		require.Contains(t, says, test.says)
	}
	says, exit := replayed("", "-h")
	require.Zero(t, exit)
	require.Contains(t, says, "-timeout")
}

// Whatever a file has: no more than an error with the line, and what can be played is the same as itself.
func FuzzRecording(f *testing.F) {
	const head = `"event":"message","size":9,`
	for _, lines := range [][]string{
		{startLine, fromChild(`{"a":[1,{"b":"\ud800"}]}`), eventLine(`"event":"exit","signal":"SIGKILL"`)},
		{startAdvanced, eventLine(head + `"from":"child","handle":"net.Socket","v8":"/w1vIgFhSQIiAWJeAHsC"`)},
		{startLine, eventLine(head + `"from":"parent","internal":"NODE_SOCKET_GET_COUNT","value":{"key":"k"}`)},
	} {
		f.Add([]byte(strings.Join(lines, "\n")))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		channels, err := survey(newRecordingReader(bytes.NewReader(data)))
		if err != nil {
			require.Regexp(t, `^line \d+: `, err.Error())
			return
		}
		_, err = choose(channels, 0)
		require.Equal(t, len(channels) != 1 || channels[0].problem != nil, err != nil)
		r := newRecordingReader(bytes.NewReader(data))
		for {
			e, err := r.next()
			if err == io.EOF {
				return
			}
			require.NoError(t, err)
			kindOf(&e)
			_, err = v8.Parse(e.data, v8.Channel)
			if _, other := decodeJSON(e.data); err == nil || other == nil { // the difference has to be looked for
				require.Nil(t, compare(e.data, append(bytes.Clone(e.data), ' '), nil))
			}
			if d := compare(e.data, []byte(`{"another":[]}`), redaction{"a"}); d != nil {
				require.NotContains(t, d.path+d.recorded+d.received, "\n")
			}
		}
	})
}
