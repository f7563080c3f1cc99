package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed subject.cjs
var subjectJS []byte

const (
	module     = "github.com/nodeipc/nodeipc-go"
	profileEnv = "NODEIPC_BENCH_CPUPROFILE"
)

type config struct {
	nodes, others string
	cpus          string
	runs          int
	short         bool
	span          time.Duration
	only          *regexp.Regexp
	floor         bool
	json, profile string
}

func main() {
	// One thread drives the subjects and never leaves it; no collection interrupts it (it is run between the spans).
	// The second processor is for the watchdog, which must get through while the driver sits in a system call that
	// the scheduler is not told about.
	runtime.LockOSThread()
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	debug.SetGCPercent(-1)

	if len(os.Args) == 3 && os.Args[1] == driveArg {
		if err := driveParent(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench driver:", err)
			os.Exit(1)
		}
		return
	}
	var cfg config
	flag.StringVar(&cfg.nodes, "nodes", "20,26", "`names` for scripts/runtimes.sh, or paths, of Nodes")
	flag.StringVar(&cfg.others, "others", "bun,deno", "`names` or paths of what else to measure, or none")
	flag.Func("only", "only rows whose name matches this `regexp`", func(s string) (err error) {
		cfg.only, err = regexp.Compile(s)
		return err
	})
	flag.IntVar(&cfg.runs, "runs", 0, "fresh processes of each contestant in each row (default 5, or 1 with -short)")
	flag.DurationVar(&cfg.span, "span", 0, "about how much of its processor time a process is measured for\n"+
		"(default 200ms, 10ms with -short, 5s with -profile)")
	flag.BoolVar(&cfg.short, "short", false, "does the benchmark itself work? The figures mean nothing")
	flag.StringVar(&cfg.cpus, "cpus", "one", "`where` driver and subject run: on one processor, on two, or free")
	flag.StringVar(&cfg.json, "json", "", "also write everything to this `file`")
	flag.StringVar(&cfg.profile, "profile", "", "run the Go side only, once, and have it write a CPU profile to this `file`;\n"+
		"-only has to leave one scenario in one mode")
	flag.BoolVar(&cfg.floor, "floor", false, "also rows of a Go program without the library: what runtime and kernel cost")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run of the whole.
type bench struct {
	cfg    config
	timing timing
	at     placement
	self   string
	dir    string // of what is made for this run
	runtimes
}

// A contestant is one side of a row: how to start it, without the arguments of the scenario.
type contestant struct {
	name string // of a runtime, or mode of the Go side
	argv []string
	env  []string
	verb string // instead of the scenario's
	mode string
	more []string // arguments after the mode
	only string   // the runtime that this is compared with, if not all
}

func run(cfg config) (err error) {
	b := &bench{cfg: cfg, timing: timing{Warm: 80 * time.Millisecond, Span: 200 * time.Millisecond, Quiet: time.Second}}
	if cfg.short {
		b.timing = timing{Warm: 3 * time.Millisecond, Span: 10 * time.Millisecond, Quiet: 10 * time.Millisecond}
	}
	if cfg.profile != "" {
		b.timing.Span, b.cfg.nodes, b.cfg.others, b.cfg.floor = 5*time.Second, "none", "none", false
		if b.cfg.profile, err = filepath.Abs(cfg.profile); err != nil {
			return err
		}
	}
	if cfg.span > 0 {
		b.timing.Span = cfg.span
	}
	if b.at, err = findPlacement(cfg.cpus); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "nodeipc-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.prepare(); err != nil {
		return err
	}
	rep := newReport(os.Stdout, b)
	good, profiled := true, 0
	for _, s := range scenarios() {
		goes := b.goSides(&s)
		if len(goes) == 0 {
			continue
		}
		if profiled += len(goes); cfg.profile != "" && profiled > 1 {
			return errors.New("-profile: use -only, so that one scenario in one mode is left")
		}
		res := b.take(&s, goes)
		good = rep.scenario(&s, goes, res) && good
	}
	rep.finish()
	if cfg.json != "" {
		if err := rep.writeJSON(cfg.json); err != nil {
			return err
		}
	}
	if !good {
		return errors.New("some rows failed")
	}
	return nil
}

// prepare makes the subjects, before anything is pinned: the compiler may have the whole machine.
func (b *bench) prepare() error {
	script := b.path("subject.cjs")
	if err := os.WriteFile(script, subjectJS, 0o644); err != nil {
		return err
	}
	for pkg, path := range map[string]string{"subject": "/bench/subject", "floor": "/bench/floor", "nodeipc": "/cmd/nodeipc"} {
		args := []string{"build", "-o", b.path(pkg)}
		if b.cfg.profile != "" {
			args = append(args, "-tags", "profile") // a binary with pprof in it starts more slowly, hence only then
		}
		if _, err := output("go", append(args, module+path)...); err != nil {
			return err
		}
	}
	root, err := output("go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return err
	}
	b.runtimes = findRuntimes(b.cfg.nodes, b.cfg.others, filepath.Join(root, "scripts", "runtimes.sh"), script)
	if len(b.nodes) == 0 && b.cfg.nodes != "none" {
		return errors.New("there is no Node: " + strings.Join(b.notes, "; "))
	}
	return nil
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// goSides are the contestants of the Go side that are wanted, one for each mode, or for each Node.
func (b *bench) goSides(s *scenario) (sides []contestant) {
	modes := s.modes
	if s.floor && b.cfg.floor {
		modes = append(modes[:len(modes):len(modes)], "floor")
	}
	for _, m := range modes {
		c := contestant{name: m, mode: m, verb: s.verb, argv: []string{b.path("subject")}}
		switch {
		case m == "floor":
			c.argv = []string{b.path("floor")}
		case m == tapped:
			if len(b.nodes) == 0 {
				continue
			}
			c.argv = append([]string{b.path("nodeipc"), "tap", "--output", os.DevNull, "--"}, b.nodes[0].argv...)
		case m == minimal:
			c.argv, c.verb = []string{b.path("floor")}, "idle"
		case m == nodeWorkers:
			for _, p := range b.nodes {
				c.name, c.only = p.workers(), p.name
				c.more = append(p.argv[:len(p.argv):len(p.argv)], "serve", "-")
				sides = append(sides, c)
			}
			continue // they are there
		}
		if s.cluster {
			c.more = append(c.argv[:1:1], "serve", "-")
		}
		if b.cfg.profile != "" {
			c.env = []string{profileEnv + "=" + b.cfg.profile}
		}
		sides = append(sides, c)
	}
	unwanted := func(c contestant) bool { return !s.wanted(b.cfg.only, c.name) }
	if len(slices.DeleteFunc(slices.Clone(sides), unwanted)) == 0 {
		return nil // the base alone is not wanted either
	}
	return slices.DeleteFunc(sides, func(c contestant) bool {
		return unwanted(c) && (b.cfg.profile != "" || c.name != s.base)
	})
}

// against are the runtimes that a scenario is compared with.
func (b *bench) against(s *scenario) []program {
	if s.base != "" {
		return nil
	}
	return append(b.nodes[:len(b.nodes):len(b.nodes)], b.others...)
}

// A result is what the runs of one contestant gave. With an error the samples do not count.
type result struct {
	samples []sample
	err     error
}

// take puts all contestants through a scenario, in turns.
func (b *bench) take(s *scenario, goes []contestant) map[string]*result {
	var sides []contestant
	for _, r := range b.against(s) {
		sides = append(sides, contestant{name: r.name, argv: r.argv, verb: s.verb, mode: "-"})
	}
	sides = append(sides, goes...)
	rounds := 5
	if s.rounds > 0 {
		rounds = s.rounds
	}
	if b.cfg.short || b.cfg.profile != "" {
		rounds = 1
	}
	if b.cfg.runs > 0 {
		rounds = b.cfg.runs
	}
	all := map[string]*result{}
	for range rounds {
		for _, side := range sides {
			res := all[side.name]
			if res == nil {
				res = &result{}
				all[side.name] = res
				if why := cannot(side.name, s); why != "" {
					res.err = errors.New(why)
				}
			}
			// Who answers wrongly says nothing about speed, and is out; the others go on.
			if res.err != nil {
				continue
			}
			runtime.GC()
			got, err := b.once(s, side)
			if err != nil {
				res.err = err
				continue
			}
			res.samples = append(res.samples, got)
		}
	}
	return all
}

// once runs a fresh process of a contestant.
func (b *bench) once(s *scenario, c contestant) (sample, error) {
	argv := append(append(c.argv[:len(c.argv):len(c.argv)], c.verb, c.mode), c.more...)
	at := b.at
	if s.cluster {
		at.driver, at.subject = at.all, at.all
	}
	limit := patience + 10*b.timing.Span
	if s.parent {
		return b.onceParent(s, c, argv, limit)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "channel")
	env := append(c.env, "NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE="+s.serialization())
	if s.worker {
		env = append(env, "NODE_UNIQUE_ID=1")
	}
	p := &peer{fd: fds[0], buf: readBuffer, began: time.Now()}
	pin(at.subject) // the child inherits the processors of the thread that starts it, which is ours
	proc, err := spawn(argv, env, limit, os.Stdin, os.Stderr, os.Stderr, theirs)
	pin(at.driver)
	theirs.Close()
	if err != nil {
		return nil, p.close(err)
	}
	p.pid = proc.Pid
	if c.mode == minimal {
		silent := *s
		silent.corpus, s = nil, &silent
	}
	got, err := s.drive(p, s, b.timing)
	return got, proc.end(p.close(err))
}

// readBuffer is shared: there is only ever one child at a time.
var readBuffer = make([]byte, readSize)

const driveArg = "drive"

// An order tells a driver that is a child what to do; an outcome is what it then writes to its stdout.
type order struct {
	Scenario string
	Timing   timing
	CPUs     []int
}

type outcome struct {
	Sample sample
	Error  string
}

// onceParent runs a contestant as the parent of this program in another role. It inherits a pipe as its stdout, which
// carries the result: the channel stays the contestant's.
func (b *bench) onceParent(s *scenario, c contestant, argv []string, limit time.Duration) (sample, error) {
	o, err := json.Marshal(order{s.name, b.timing, cpuList(b.at.driver)})
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	pin(b.at.subject)
	proc, err := spawn(append(argv, b.self, driveArg, string(o)), c.env, limit, os.Stdin, w, os.Stderr)
	pin(b.at.driver)
	w.Close()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(r) // until both have ended
	var got outcome
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("the driver's outcome: %w: %q", err, text)
	case got.Error != "":
		err = errors.New(got.Error)
	}
	return got.Sample, proc.end(err)
}

// driveParent is the driver as a child: it drives its parent.
func driveParent(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	set := new(unix.CPUSet)
	for _, i := range o.CPUs {
		set.Set(i)
	}
	pin(set)
	for _, s := range scenarios() {
		if s.name != o.Scenario {
			continue
		}
		p, err := parentPeer()
		if err != nil {
			return err
		}
		var out outcome
		out.Sample, err = s.drive(p, &s, o.Timing)
		if err = p.close(err); err != nil {
			out.Error = err.Error()
		}
		return json.NewEncoder(os.Stdout).Encode(out)
	}
	return fmt.Errorf("no scenario %q", o.Scenario)
}
