package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// This test binary is the command itself where the environment says so, and where it is in the place of a child to which
// its parent gives no environment: the flags of tests begin with a dash.
const envCommand = "NODEIPC_TEST_COMMAND"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == lossWorkerArg {
		lossWorker()
	}
	if os.Getenv(envCommand) == "1" || len(os.Args) > 1 && os.Args[1] == tap.name {
		main()
	}
	testkit.Main(m)
}

// With this argument the test binary is a Go worker that does what loss_server.js does.
const lossWorkerArg = "loss-worker"

func lossWorker() {
	pid := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	if err := cluster.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), pid); err != nil {
		log.Fatal(err)
	}
	os.Exit(0)
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
