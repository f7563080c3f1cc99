package main

import (
	"os"
	"os/exec"
	"testing"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// This test binary is the command itself where the environment says so, and where it is in the place of a child to which
// its parent gives no environment: the flags of tests begin with a dash.
const envCommand = "NODEIPC_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(envCommand) == "1" || len(os.Args) > 1 && os.Args[1] == tap.name {
		main()
	}
	testkit.Main(m)
}

// The race detector waits a second at the end of a process.
const quickExit = "GORACE=atexit_sleep_ms=0"

// selfCommand returns the command with these arguments.
func selfCommand(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), envCommand+"=1", quickExit)
	return cmd
}

func tapCommand(args ...string) *exec.Cmd { return selfCommand(append([]string{"tap"}, args...)...) }
