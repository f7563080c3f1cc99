package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// The command run: its flags.

const runHelp = `Runs workers of a cluster, unchanged Node programs, Go programs that join it, or both, which share their ports, and keeps
them running. A program whose name ends in .js, .cjs, .mjs or .ts is run with node; its arguments follow it.

  nodeipc run -i 4 server.js
  nodeipc run -i max -- ./worker -v
  nodeipc run -i 2 --name node --group 'go=2:./worker -v' --weight go=5,node=95 server.js

A worker that ends is started again: after 100 ms, and twice as long each time until 30 s, or until it was ready for a
minute. SIGHUP and SIGUSR2 replace the workers one after the other, without the loss of an HTTP request; SIGTERM and
SIGINT let them finish what they have, a second time they do not wait. What they print is printed with [id] before each
line.

Exit status: 0 all workers have left as they were asked to; 1 a program could not be started, or a socket not opened;
2 the arguments are wrong; 3 workers of a group fail again and again before they are ready; 4 some did not leave in
time; 128 + the number of a second SIGTERM or SIGINT.`

// runOptions are the flags of run.
type runOptions struct {
	groups        []*group
	scheduling    cluster.Scheduling
	serialization nodeipc.Serialization
	ready         cluster.State
	readyTimeout  time.Duration
	drainTimeout  time.Duration
	killTimeout   time.Duration
	maxCrashes    int
	orderly       bool
	listen        []string
	control       string
	upgrade       bool
}

// A group is a command and how many workers run it.
type group struct {
	name      string
	instances int
	argv      []string
	inNode    bool // it is a script, which node runs
}

func runCommand(s *streams) *cobra.Command {
	var o runOptions
	var instances, name, policy, serialization, ready string
	var groups, weights, routes []string
	c := &cobra.Command{
		Use:   "run [flags] [--] program [arguments]",
		Short: "runs workers of a cluster, Node programs or Go programs, and keeps them running",
		Long:  runHelp, DisableFlagsInUseLine: true,
	}
	f := c.Flags()
	f.SortFlags = false
	f.SetInterspersed(false) // what follows the program is the program's
	f.StringVarP(&instances, "instances", "i", "1",
		"`number` of workers of the program, or max: one for each processor")
	f.StringVar(&name, "name", "main", "`name` of their group")
	f.StringArrayVar(&groups, "group", nil,
		"one more `group`, name=number:program arguments, quoted as in sh; repeatable")
	f.StringVar(&policy, "policy", "round-robin", "the `policy` of who gets a connection: "+strings.Join(policyNames(), ", "))
	f.StringSliceVar(&weights, "weight", nil,
		"`shares` of groups in the connections, group=number, separated by commas")
	f.StringArrayVar(&routes, "route", nil, "a `route` is groups for some requests:\n"+
		"groups: [method] [host]/path [header Name: value] [cookie name=value];\n"+
		"the first that matches counts, and what matches none goes to all workers;\n"+
		"as the last, 'node:' gives the rest to the group node; repeatable")
	f.StringVar(&serialization, "serialization", "json", "`format` of the channels to the workers: json or advanced")
	f.StringVar(&ready, "ready", "listening",
		"`state` in which a worker is ready: listening, or online, for those that share no address")
	f.DurationVar(&o.readyTimeout, "ready-timeout", 30*time.Second, "the `time` that it may take to be ready")
	f.DurationVar(&o.drainTimeout, "drain-timeout", 30*time.Second, "the `time` that it may take to leave, before SIGTERM")
	f.DurationVar(&o.killTimeout, "kill-timeout", 5*time.Second, "the `time` that it may take after SIGTERM, before SIGKILL")
	f.IntVar(&o.maxCrashes, "max-crashes", 10,
		"`times` in a row that a worker may fail to be ready while no other of its group is, or,\n"+
			"once all have been, while no other is")
	f.BoolVar(&o.orderly, "orderly", true,
		"run scripts with a module in front that has them lose no request when they leave")
	f.StringArrayVar(&o.listen, "listen", nil,
		"a TCP `address`, host:port, or a path with a slash, opened before a worker asks for it; repeatable")
	f.StringVar(&o.control, "control", "",
		"`path` of a socket by which another nodeipc run can take the place of this one")
	f.BoolVar(&o.upgrade, "upgrade", false, "take the place of the one at --control, when the workers are ready")
	for name, values := range map[string][]string{
		"policy": policyNames(), "serialization": {"json", "advanced"}, "ready": {"listening", "online"},
	} {
		c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		err := o.set(args, instances, name, groups)
		if err == nil {
			o.scheduling, err = schedulingOf(policy, c.Flags().Changed("policy"), weights, routes, o.groups)
		}
		if err == nil {
			o.serialization, err = oneOf("serialization", serialization, map[string]nodeipc.Serialization{
				"json": nodeipc.JSON, "advanced": nodeipc.Advanced,
			})
		}
		if err == nil {
			o.ready, err = oneOf("ready", ready, map[string]cluster.State{
				"listening": cluster.Listening, "online": cluster.Online,
			})
		}
		switch {
		case err != nil:
		case o.readyTimeout <= 0 || o.drainTimeout <= 0 || o.killTimeout <= 0:
			err = errors.New("a time has to be more than nothing")
		case o.upgrade && o.control == "":
			err = errors.New("--upgrade needs --control")
		case o.maxCrashes < 1:
			err = errors.New("--max-crashes has to be 1 at least")
		}
		if err != nil {
			return complain(c, s, err)
		}
		return runWorkers(s, &o)
	}
	return c
}

// set reads the groups.
func (o *runOptions) set(args []string, instances, name string, groups []string) error {
	if len(args) > 0 {
		if err := o.add(name, instances, args); err != nil {
			return err
		}
	} else if len(groups) == 0 {
		return errors.New("which program? as in nodeipc run -i 4 server.js")
	}
	for _, text := range groups {
		name, rest, ok := strings.Cut(text, "=")
		number, line, ok2 := strings.Cut(rest, ":")
		if !ok || !ok2 {
			return fmt.Errorf("--group is name=number:program, as in 'go=2:./worker', not %s", quote(text))
		}
		argv, err := splitWords(line)
		if err == nil && len(argv) == 0 {
			err = errors.New("which program?")
		}
		if err == nil {
			err = o.add(name, number, argv)
		}
		if err != nil {
			return fmt.Errorf("--group %s: %w", quote(text), err)
		}
	}
	return nil
}

func (o *runOptions) add(name, instances string, argv []string) error {
	n, err := strconv.Atoi(instances)
	if instances == "max" {
		n, err = runtime.GOMAXPROCS(0), nil
	}
	if err != nil || n < 1 {
		return fmt.Errorf("a number of workers is 1 at least, or max, not %s", quote(instances))
	}
	if name == "" || slices.ContainsFunc(o.groups, func(g *group) bool { return g.name == name }) {
		return fmt.Errorf("each group needs a name of its own, not %s", quote(name))
	}
	inNode := runsInNode(argv[0])
	if inNode {
		argv = append([]string{"node"}, argv...)
	}
	o.groups = append(o.groups, &group{name, n, argv, inNode})
	return nil
}

func runsInNode(name string) bool {
	return slices.Contains([]string{".js", ".cjs", ".mjs", ".ts"}, filepath.Ext(name))
}

// oneOf returns what the value of a flag stands for.
func oneOf[T any](name, value string, of map[string]T) (T, error) {
	v, ok := of[value]
	if !ok {
		names := strings.Join(slices.Sorted(maps.Keys(of)), ", ")
		return v, fmt.Errorf("--%s cannot be %s, but %s", name, quote(value), names)
	}
	return v, nil
}

var policies = []struct {
	name string
	of   func() cluster.Scheduling
}{
	{"round-robin", func() cluster.Scheduling { return cluster.RoundRobin }},
	{"none", func() cluster.Scheduling { return cluster.None }},
	{"least-connections", cluster.LeastConnections},
	{"sticky", cluster.Sticky},
}

func policyNames() (names []string) {
	for _, p := range policies {
		names = append(names, p.name)
	}
	return names
}

// schedulingOf returns what --policy, --weight and --route say; nil, which leaves it to the environment, if they say
// nothing.
func schedulingOf(policy string, given bool, weights, routes []string, groups []*group) (cluster.Scheduling, error) {
	if given && len(weights) > 0 || given && len(routes) > 0 || len(weights) > 0 && len(routes) > 0 {
		return nil, errors.New("--policy, --weight and --route exclude each other")
	}
	if len(routes) > 0 {
		var r cluster.Routes
		for _, text := range routes {
			route, err := parseRoute(text, groups)
			if err != nil {
				return nil, fmt.Errorf("--route %s: %w", quote(text), err)
			}
			r.Routes = append(r.Routes, route)
		}
		s, err := cluster.ByRequest(&r)
		if err != nil {
			return nil, fmt.Errorf("--route: %w", err)
		}
		return s, nil
	}
	if len(weights) > 0 {
		w, err := parseWeights(weights, groups)
		if err != nil {
			return nil, fmt.Errorf("--weight: %w", err)
		}
		return cluster.Weighted(w), nil
	}
	for _, p := range policies {
		if p.name == policy {
			if !given {
				return nil, nil
			}
			return p.of(), nil
		}
	}
	return nil, fmt.Errorf("--policy cannot be %s, but %s", quote(policy), strings.Join(policyNames(), ", "))
}

// parseRoute reads a route: "go: GET example.com/api/ header X-Beta: 1", "go=5,node=95: / cookie canary=1".
func parseRoute(text string, groups []*group) (route cluster.Route, err error) {
	to, rest, ok := strings.Cut(text, ":")
	if !ok {
		return route, errors.New("a route is groups: conditions, as in 'go: GET /api/'")
	}
	weights := strings.Split(to, ",")
	if len(weights) == 1 && !strings.Contains(to, "=") {
		weights[0] += "=1"
	}
	if route.To, err = parseWeights(weights, groups); err != nil {
		return route, err
	}
	rest = " " + strings.TrimSpace(rest)
	rest, route.Cookie, _ = strings.Cut(rest, " cookie ")
	rest, route.Header, _ = strings.Cut(rest, " header ")
	route.Pattern = strings.TrimSpace(rest)
	route.Header, route.Cookie = strings.TrimSpace(route.Header), strings.TrimSpace(route.Cookie)
	return route, nil
}

// parseWeights reads group=number.
func parseWeights(list []string, groups []*group) (cluster.Weights, error) {
	w := cluster.Weights{}
	for _, text := range list {
		name, number, _ := strings.Cut(strings.TrimSpace(text), "=")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s is not group=number", quote(text))
		}
		if !slices.ContainsFunc(groups, func(g *group) bool { return g.name == name }) {
			return nil, fmt.Errorf("there is no group %s", quote(name))
		}
		w[name] = n
	}
	return w, nil
}

// splitWords splits a command line as sh does, with its quotes and backslashes, and none of its other characters.
func splitWords(line string) (words []string, err error) {
	var word []byte
	begun := false
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '\'' && c != '\'':
			word = append(word, c)
		case c == '\\':
			i++
			if i == len(line) {
				return nil, errors.New("a backslash at the end")
			}
			if quote == '"' && !strings.ContainsRune("\\\"$`", rune(line[i])) {
				word = append(word, '\\')
			}
			word, begun = append(word, line[i]), true
		case c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, begun = c, true
		case quote == 0 && strings.IndexByte(" \t\n", c) >= 0:
			if begun {
				words, word, begun = append(words, string(word)), nil, false
			}
		default:
			word, begun = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("no %c at the end", quote)
	}
	if begun {
		words = append(words, string(word))
	}
	return words, nil
}
