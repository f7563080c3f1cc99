package main

import (
	"regexp"
	"strings"
)

// A metric is one row made from the samples of a scenario.
type metric struct {
	name  string
	unit  string
	key   string // in the samples
	share bool   // the ratio is the share of Go in Node's figure; else how many times Node's figure is Go's
	rate  bool   // shown as number per second instead of microseconds
	goals goals
}

// goals of a metric by mode, against Node 20 and, if given, Node 26: at least so many times, at most such a share, or,
// with over, at most so much more than the figure of another mode, or of the runtime itself.
type goals struct {
	by, by26 map[string]float64
	over     string

	// Against scenario.base: at most so much more, or so many times as much.
	extra, times map[string]float64
}

// A scenario is one exchange that all contestants are put through.
type scenario struct {
	name     string
	parent   bool     // the subject is the parent and the driver its child
	verb     string   // first argument of the subject
	modes    []string // of the Go side
	floor    bool     // bench/floor can do it as well
	worker   bool     // a cluster worker, NODE_UNIQUE_ID set
	advanced bool     // the serialization
	cluster  bool     // the subject is a primary; it and its workers have the whole machine
	alive    bool     // with connections that stay open
	base     string   // the mode that the others are compared with, instead of other runtimes
	late     bool     // requests come a while after their connections
	corpus   func() *corpus
	inFlight int
	rounds   int // 0 for the usual number
	drive    func(*peer, *scenario, timing) (sample, error)
	metrics  []metric
}

func (s *scenario) serialization() string {
	if s.advanced {
		return "advanced"
	}
	return "json"
}

func (s *scenario) rowName(mode string, m *metric) string {
	if len(s.modes) == 1 && !strings.Contains(s.name, "64B") {
		mode = "" // nothing to tell apart
	}
	return strings.Join(strings.Fields(s.name+" "+mode+" "+m.name), " ")
}

// wanted says whether any row of a mode is.
func (s *scenario) wanted(only *regexp.Regexp, mode string) bool {
	for i := range s.metrics {
		if only == nil || only.MatchString(s.rowName(mode, &s.metrics[i])) {
			return true
		}
	}
	return false
}

// minimal is the mode in which the Go side is a program that only reads once: bench/floor.
const minimal = "minimal"

// tapped is the mode in which the Go side is `nodeipc tap` in front of the first Node, and itself, as what a goal is over,
// that Node without it.
const (
	tapped = "tapped"
	itself = "itself"
)

// The Go side of a cluster has Go workers in one mode. In the other it has the same workers as a Node primary, so that there
// is one contestant for each Node, named after it and compared with it alone.
const (
	goWorkers   = "Go"
	nodeWorkers = "Node"
)

// roundRobin is the policy that others are compared with.
const roundRobin = "round-robin"

// scenarios are all of them. The goals are what this project has set itself.
func scenarios() []scenario {
	all, two, raw := []string{"raw", "struct", "any"}, []string{"raw", "any"}, []string{"raw"}
	small := messages(64, 1024)
	samples := messages(64, 256) // what floods out of a subject is sent over and over: few, to stay in the cache
	perMessage := func(raw, structs, any float64) []metric {
		g := goals{by: map[string]float64{"raw": raw, "struct": structs, "any": any}}
		return []metric{{unit: "µs CPU", key: "cpu", goals: g}}
	}
	clone := func(by20, by26 map[string]float64) []metric {
		return []metric{{unit: "µs CPU", key: "cpu", goals: goals{by: by20, by26: by26}}}
	}
	handles := func(share float64) []metric {
		return []metric{
			{unit: "µs CPU", key: "cpu", share: true, goals: goals{by: map[string]float64{"raw": share}}},
			{name: "rate", unit: "1/s", key: "wall", rate: true},
		}
	}
	megabytes := func(name, key string) metric {
		g := goals{by: map[string]float64{"raw": 4, "any": 4}, over: minimal}
		return metric{name: name, unit: "MB", key: key, goals: g}
	}
	answers := func(primary, rate goals) []metric {
		return []metric{
			{name: "primary", unit: "µs CPU", key: "primary", share: true, goals: primary},
			{name: "CPU", unit: "µs CPU", key: "cpu", share: true},
			{name: "rate", unit: "1/s", key: "wall", rate: true, goals: rate},
		}
	}
	// By mode of bench/subject. What looks at requests is to add no more than 5 µs, other policies a tenth.
	policies := []string{roundRobin, "weighted", "least", "sticky", "path", "cookie"}
	dispatch := []metric{{unit: "µs CPU", key: "primary", share: true, goals: goals{
		extra: map[string]float64{"path": 5, "cookie": 5},
		times: map[string]float64{"weighted": 1.1, "least": 1.1, "sticky": 1.1},
	}}}
	return []scenario{
		{
			name: "1 in flight 64B", verb: "echo", modes: two, floor: true,
			corpus: small, drive: driveLatency,
			metrics: []metric{
				{name: "p50", unit: "µs", key: "p50", share: true, goals: goals{by: map[string]float64{"raw": 0.85, "any": 0.90}}},
				{name: "p99", unit: "µs", key: "p99", share: true},
				{name: "CPU", unit: "µs CPU", key: "cpu"},
			},
		},
		{
			name: "echo 64B", verb: "echo", modes: all, floor: true,
			corpus: small, inFlight: 64, drive: driveEcho, metrics: perMessage(10, 6, 2.8),
		},
		{
			name: "echo 1KiB", verb: "echo", modes: all, floor: true,
			corpus: messages(1<<10, 1024), inFlight: 64, drive: driveEcho, metrics: perMessage(15, 0, 3),
		},
		{
			name: "echo 16KiB", verb: "echo", modes: two, floor: true,
			corpus: messages(16<<10, 64), inFlight: 64, drive: driveEcho, metrics: perMessage(7, 0, 1.6),
		},
		{
			name: "echo 1MiB", verb: "echo", modes: two, floor: true,
			corpus: messages(1<<20, 4), inFlight: 64, drive: driveEcho, metrics: perMessage(12, 0, 3),
		},
		{
			name: "document 1MB", verb: "document", modes: all,
			corpus: documents(1e6), inFlight: 4, drive: driveEcho, metrics: perMessage(30, 2, 0.85),
		},
		{
			name: "buffer 1KiB", verb: "echo", modes: two, advanced: true,
			corpus: buffers(1<<10, 1024), inFlight: 64, drive: driveEcho,
			metrics: clone(map[string]float64{"raw": 6, "any": 6}, map[string]float64{"raw": 3, "any": 3}),
		},
		{
			name: "buffer 64KiB", verb: "echo", modes: two, advanced: true,
			corpus: buffers(64<<10, 32), inFlight: 64, drive: driveEcho, metrics: clone(nil, nil),
		},
		{
			name: "buffer 1MiB", verb: "echo", modes: two, advanced: true,
			corpus: buffers(1<<20, 4), inFlight: 64, drive: driveEcho, metrics: clone(nil, nil),
		},
		{
			name: "graph", verb: "graph", modes: all, advanced: true,
			corpus: graphs(), inFlight: 64, drive: driveEcho,
			metrics: clone(map[string]float64{"any": 1.3}, map[string]float64{"struct": 1}),
		},
		{
			name: "flood in 64B", verb: "sink", modes: all, floor: true,
			corpus: small, drive: driveFloodIn, metrics: perMessage(8, 0, 0.8),
		},
		{
			name: "flood out 64B", verb: "flood", modes: all, floor: true,
			corpus: samples, drive: driveFloodOut, metrics: perMessage(15, 8, 4.5),
		},
		{name: "handle in", verb: "take", modes: raw, drive: driveHandlesIn, metrics: handles(0.40)},
		{name: "handle out", verb: "give", modes: raw, drive: driveHandlesOut, metrics: handles(0.40)},
		{
			name: "tap 1 in flight 64B", verb: "echo", modes: []string{tapped},
			corpus: small, drive: driveLatency,
			metrics: []metric{
				{name: "p50", unit: "µs", key: "p50", share: true, goals: goals{by: map[string]float64{tapped: 25}, over: itself}},
				{name: "p99", unit: "µs", key: "p99", share: true},
			},
		},
		{
			name: "cluster", verb: "primary", modes: []string{nodeWorkers, goWorkers}, cluster: true, drive: driveCluster,
			metrics: answers(goals{by: map[string]float64{nodeWorkers: 0.5}}, goals{by: map[string]float64{goWorkers: 1.6}}),
		},
		{
			name: "keep-alive", verb: "primary", modes: []string{nodeWorkers, goWorkers}, cluster: true, alive: true,
			drive: driveCluster, metrics: answers(goals{}, goals{by: map[string]float64{nodeWorkers: 1}})[1:], // the primary has no part in it
		},
		{
			name: "dispatch", verb: "primary", modes: policies, base: roundRobin, cluster: true, rounds: 10,
			drive: driveCluster, metrics: dispatch,
		},
		{
			name: "late dispatch", verb: "primary", modes: policies, base: roundRobin, cluster: true, rounds: 10, late: true,
			drive: driveCluster, metrics: dispatch,
		},
		{
			name: "start to online", verb: "online", modes: raw, worker: true, rounds: 10, drive: driveOnline,
			metrics: []metric{
				{unit: "µs", key: "wall", share: true, goals: goals{by: map[string]float64{"raw": 0.15}}},
				{name: "CPU", unit: "µs CPU", key: "cpu", share: true},
			},
		},
		{
			name: "idle", verb: "echo", modes: []string{"raw", "any", minimal}, rounds: 2,
			corpus: small, inFlight: 64, drive: driveIdle,
			metrics: []metric{
				megabytes("RSS", "rss"), megabytes("PSS", "pss"), megabytes("dirty", "dirty"), {name: "threads", key: "threads"},
			},
		},
		{
			name: "parent echo 64B", verb: "echo", modes: raw, parent: true,
			corpus: small, inFlight: 64, drive: driveEcho, metrics: perMessage(0, 0, 0),
		},
		{
			name: "parent flood in 64B", verb: "sink", modes: raw, parent: true,
			corpus: small, drive: driveFloodIn, metrics: perMessage(0, 0, 0),
		},
		{
			name: "parent flood out 64B", verb: "flood", modes: raw, parent: true,
			corpus: samples, drive: driveFloodOut, metrics: perMessage(0, 0, 0),
		},
		{name: "parent handle in", verb: "take", modes: raw, parent: true, drive: driveHandlesIn, metrics: handles(0.50)},
		{name: "parent handle out", verb: "give", modes: raw, parent: true, drive: driveHandlesOut, metrics: handles(0.50)},
	}
}
