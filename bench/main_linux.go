package main

import (
	"bytes"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

//go:embed child.js
var childJS []byte

//go:embed worker.js
var workerJS []byte

const (
	module     = "github.com/nodeipc/nodeipc-go"
	profileEnv = "NODEIPC_BENCH_CPUPROFILE"
)

type config struct {
	nodes   []string
	runs    int
	short   bool
	scale   float64
	json    string
	only    *regexp.Regexp
	profile string
	floor   bool
	cpus    string
}

func main() {
	// One thread drives the children and never leaves it; no collection interrupts it (it is run between the spans).
	// The second processor is for the watchdog, which must get through while the driver sits in a system call that
	// the scheduler is not told about.
	runtime.LockOSThread()
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	debug.SetGCPercent(-1)

	var cfg config
	flag.Func("node", "`path` of a Node binary; may be repeated (default $NODEIPC_NODE, else node of the PATH)", func(s string) error {
		cfg.nodes = append(cfg.nodes, s)
		return nil
	})
	flag.IntVar(&cfg.runs, "runs", 0, "pairs of each row (default 7 for latency, 5 for the rest, 1 with -short)")
	flag.BoolVar(&cfg.short, "short", false, "a tenth of the messages")
	flag.Float64Var(&cfg.scale, "scale", 1, "`times` as many messages (a profile of a fast child wants 20)")
	flag.StringVar(&cfg.json, "json", "", "also write all samples to this `file`")
	flag.Func("only", "only rows whose name matches this `regexp`", func(s string) (err error) {
		cfg.only, err = regexp.Compile(s)
		return err
	})
	flag.StringVar(&cfg.profile, "cpuprofile-child", "", "the Go child writes a CPU profile to this `file`; the last run wins, so combine with -only and -runs 1")
	flag.BoolVar(&cfg.floor, "floor", false, "also rows of Go children without the library: what the runtime and the kernel cost")
	flag.StringVar(&cfg.cpus, "cpus", "one", "`where` parent and child run: one processor for both, two, free, or a list such as one,two")
	flag.Parse()
	if cfg.short {
		cfg.scale /= 10
	}
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errFailed = errors.New("some rows failed")

func run(cfg config) error {
	if len(cfg.nodes) == 0 {
		if n := os.Getenv("NODEIPC_NODE"); n != "" {
			cfg.nodes = []string{n}
		} else {
			cfg.nodes = []string{"node"}
		}
	}
	if cfg.profile != "" {
		abs, err := filepath.Abs(cfg.profile)
		if err != nil {
			return err
		}
		cfg.profile = abs
	}
	places, err := placements(strings.Split(cfg.cpus, ","))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nodeipc-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string][]byte{"child.js": childJS, "worker.js": workerJS} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}

	b := &bench{cfg: cfg, dir: dir, built: map[string]string{}}
	if err := b.build(); err != nil { // before anything is pinned: the compiler may have the whole machine
		return err
	}
	rep := newReport(os.Stdout)
	failed := false
	for _, name := range cfg.nodes {
		node, err := exec.LookPath(name)
		if err != nil {
			return err
		}
		version, err := exec.Command(node, "--version").Output()
		if err != nil {
			return fmt.Errorf("%s --version: %w", node, err)
		}
		for _, at := range places {
			rep.section(string(bytes.TrimSpace(version)), at)
			for _, s := range scenarios(cfg) {
				if err := b.compare(node, at, s, rep); err != nil {
					if !errors.Is(err, errFailed) {
						return err
					}
					failed = true
				}
			}
		}
	}
	rep.finish()
	if cfg.json != "" {
		if err := rep.writeJSON(cfg.json); err != nil {
			return err
		}
	}
	if failed {
		return errFailed
	}
	return nil
}

type bench struct {
	cfg   config
	dir   string
	built map[string]string
}

// build makes the Go children that will be wanted.
func (b *bench) build() error {
	for _, s := range scenarios(b.cfg) {
		for _, m := range b.modes(&s) {
			pkg, _ := program(m)
			if b.built[pkg] != "" {
				continue
			}
			path := filepath.Join(b.dir, "go-"+pkg)
			args := []string{"build", "-o", path}
			if b.cfg.profile != "" {
				args = append(args, "-tags", "profile") // a binary with pprof in it starts more slowly, hence only then
			}
			cmd := exec.Command("go", append(args, module+"/bench/"+pkg)...)
			cmd.Stderr = os.Stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("build bench/%s: %w", pkg, err)
			}
			b.built[pkg] = path
		}
	}
	return nil
}

// program gives the package that is the Go child of this mode, and the mode's name there.
func program(mode string) (pkg, name string) {
	if name, ok := strings.CutPrefix(mode, "floor-"); ok {
		return "floor", name
	}
	return "child", mode
}

// modes are those of a scenario that -only and -floor leave.
func (b *bench) modes(s *scenario) (modes []string) {
	all := s.modes
	if b.cfg.floor {
		all = append(slices.Clone(all), "floor-poll", "floor-raw", "floor-block")
	}
	for _, m := range all {
		if s.wanted(b.cfg.only, m) {
			modes = append(modes, m)
		}
	}
	return modes
}

// contestant is one side of a comparison: how to start it.
type contestant struct {
	name string
	argv []string
	env  []string
	at   placement
}

// compare runs a scenario: in every round the Node child, then the Go child in each of its modes.
func (b *bench) compare(node string, at placement, s scenario, rep *report) error {
	modes := b.modes(&s)
	if len(modes) == 0 {
		return nil
	}
	file := "child.js"
	if s.worker {
		file = "worker.js"
	}
	sides := []contestant{{name: "Node", at: at, argv: append([]string{node, filepath.Join(b.dir, file)}, s.nodeArgs()...)}}
	for _, m := range modes {
		pkg, mode := program(m)
		c := contestant{name: "Go " + m, at: at, argv: append([]string{b.built[pkg]}, s.goArgs(mode)...)}
		if b.cfg.profile != "" {
			c.env = []string{profileEnv + "=" + b.cfg.profile}
		}
		sides = append(sides, c)
	}
	// A child that answers wrongly says nothing about speed: its row is dropped, the others go on.
	samples := make([][]sample, len(sides))
	broken := make([]bool, len(sides))
	for range s.rounds {
		for i, side := range sides {
			if broken[i] || broken[0] {
				continue
			}
			runtime.GC()
			got, err := s.run(side, &s)
			if err != nil {
				fmt.Fprintf(os.Stderr, "bench: %s: %s: %v\n", s.name, side.name, err)
				broken[i] = true
				continue
			}
			samples[i] = append(samples[i], got)
		}
	}
	for _, metric := range s.metrics {
		for i, m := range modes {
			name := s.rowName(m, metric.name)
			switch {
			case b.cfg.only != nil && !b.cfg.only.MatchString(name):
			case broken[0] || broken[i+1]:
				rep.failed(name)
			default:
				rep.row(name, m, metric, samples[0], samples[i+1])
			}
		}
	}
	if slices.Contains(broken, true) {
		return errFailed
	}
	return nil
}
