package nodeipc

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// What this test binary is when it is started as a child: the value of the variable envRole names it.
var roles = map[string]func() error{}

const envRole = "NODEIPC_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		os.Unsetenv(envRole)
		run := roles[role]
		if run == nil {
			run = func() error { return fmt.Errorf("no such role: %q", role) }
		}
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, "test child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if bin := os.Getenv("NODEIPC_NODE"); bin != "" { // for the examples, which say "node" as any program does
		os.Setenv("PATH", filepath.Dir(bin)+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	testkit.Main(m)
}
