// Matrix runs the tests against every runtime and writes the table of what works with which into README.md.
//
//	go run ./scripts/matrix [-only 12,20,bun] [-check]
//
// Against a Node it runs the suite, but for what is the same with all of them, and the tests of the npm companion with
// the node of the PATH; against Bun and Deno the tests named TestRuntime, of which the table is made. The runtimes are
// those of scripts/runtimes.sh, which installs them. If anything fails the exit code is 1, and README.md stays as it is;
// so it does when not all have run.
// With -check nothing is written: a table that is not what the runs give is a failure. It comes after make test, and
// does not run the companion's tests once more with the node of the PATH.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	readme   = "README.md"
	runtimes = "scripts/runtimes.sh"
)

func main() {
	only := flag.String("only", "", "the runtimes to use, as scripts/runtimes.sh names them, separated by commas; all by default")
	check := flag.Bool("check", false, "compare README.md with the runs and do not write it")
	flag.Parse()
	if err := run(*only, *check); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

func run(only string, check bool) error {
	all, err := output(runtimes, "list")
	if err != nil {
		return err
	}
	names := strings.Fields(all)
	if only != "" {
		names = strings.Split(only, ",")
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	if _, err := parseTable(string(text)); err != nil {
		return err
	}

	var made table
	var closing []string
	failed := false
	for _, name := range names {
		fmt.Printf("== %s\n", name)
		begin := time.Now()
		r, err := test(name, check)
		line := fmt.Sprintf("%s: %d features work, %d do not", r.runtime, r.count(func(c cell) bool { return c.works }), r.count(cell.limited))
		if err != nil {
			failed = true
			line = fmt.Sprintf("%s FAILED: %v", name, err)
		}
		line += fmt.Sprintf(" (%.0f s)", time.Since(begin).Seconds())
		fmt.Println(line)
		closing = append(closing, line)
		made.add(r)
	}
	fmt.Printf("== runtimes\n%s\n", strings.Join(closing, "\n"))
	switch {
	case failed:
		return errors.New("there were failures")
	case check:
		committed, err := parseTable(string(text))
		if err != nil {
			return err
		}
		if differences := committed.differences(made); len(differences) > 0 {
			return fmt.Errorf("%s is not what the tests give; make test-matrix writes it anew:\n\t%s", readme, strings.Join(differences, "\n\t"))
		}
		fmt.Println(readme, "says what the tests give")
		return nil
	case only != "":
		fmt.Println(readme, "is left as it is: not all runtimes have run")
		return nil
	}
	written, err := made.replaceIn(string(text))
	if err != nil {
		return err
	}
	return os.WriteFile(readme, []byte(written), 0o644)
}

// test runs what there is to run against a runtime, but for what make test has run before.
func test(name string, before bool) (*result, error) {
	r := &result{}
	path, err := output(runtimes, "path", name)
	if err != nil {
		return r, err
	}
	env := append(os.Environ(), "NODEIPC_NODE="+path)
	_, err = strconv.Atoi(name)
	node := err == nil
	args := []string{"test", "-json", "-timeout", "15m", "-count=1", "-p", "4"} // they wait for their peers much of the time
	if node {
		packages, err := output("go", "list", "./...")
		if err != nil {
			return r, err
		}
		for p := range strings.FieldsSeq(packages) {
			if !strings.HasSuffix(p, "/bench") && !strings.HasSuffix(p, "/scripts/matrix") {
				args = append(args, p)
			}
		}
	} else {
		args = append(args, "-run", "^TestRuntime$", "./nodeipc", "./nodeipc/cluster")
	}
	tests := exec.Command("go", args...)
	tests.Env, tests.Stderr = env, os.Stderr
	out, err := tests.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := tests.Start(); err != nil {
		return r, err
	}
	readErr := r.read(out, os.Stdout)
	err = errors.Join(readErr, tests.Wait())
	if before && node {
		const version = "process.version"
		one, oerr := output("node", "-p", version)
		other, perr := output(path, "-p", version)
		node = oerr != nil || perr != nil || one != other
	}
	if node {
		files, _ := filepath.Glob("lib/test/*.test.js")
		files = slices.DeleteFunc(files, func(name string) bool {
			return filepath.Base(name) == "package.test.js" // which runs on the oldest and the newest Node by itself
		})
		companion := exec.Command("node", append([]string{"--test"}, files...)...)
		companion.Env, companion.Stdout, companion.Stderr = env, os.Stdout, os.Stderr
		if cerr := companion.Run(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("node --test: %w", cerr))
		}
	}
	if err == nil && (r.runtime == "" || len(r.features) == 0) {
		err = errors.New("no test named TestRuntime told of its features")
	}
	return r, err
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
