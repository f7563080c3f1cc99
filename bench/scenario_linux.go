package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// sample is one run of one child, in microseconds per message (latency: p50 and p99 of the round trips).
type sample struct {
	CPU  float64 `json:"cpu_us"`
	Wall float64 `json:"wall_us"`
	P50  float64 `json:"p50_us,omitempty"`
	P99  float64 `json:"p99_us,omitempty"`
}

// A metric is one row made from the samples of a scenario.
type metric struct {
	name   string
	unit   string
	pick   func(sample) float64
	median bool               // else the best run counts
	share  bool               // the ratio is Go/Node, and smaller is better; else Node/Go
	rate   bool               // shown as number per second instead of microseconds
	wall   bool               // show the wall time beside it
	goals  map[string]float64 // by mode
}

func cpu(s sample) float64  { return s.CPU }
func wall(s sample) float64 { return s.Wall }
func p50(s sample) float64  { return s.P50 }
func p99(s sample) float64  { return s.P99 }

// A scenario is one exchange that Node and Go are put through.
type scenario struct {
	name    string
	verb    string   // first argument of the child
	counts  []int    // its last arguments
	modes   []string // of the Go child
	worker  bool     // a cluster worker, NODE_UNIQUE_ID set
	rounds  int
	warm, n int
	corpus  *corpus
	run     func(contestant, *scenario) (sample, error)
	metrics []metric
}

func (s *scenario) rowName(mode, metric string) string {
	return strings.Join(strings.Fields(s.name+" "+mode+" "+metric), " ")
}

func (s *scenario) wanted(only *regexp.Regexp, mode string) bool {
	if only == nil {
		return true
	}
	for _, m := range s.metrics {
		if only.MatchString(s.rowName(mode, m.name)) {
			return true
		}
	}
	return false
}

func (s *scenario) args() (args []string) {
	for _, n := range s.counts {
		args = append(args, strconv.Itoa(n))
	}
	return args
}

func (s *scenario) nodeArgs() []string {
	if s.worker {
		return nil
	}
	return append([]string{s.verb}, s.args()...)
}

func (s *scenario) goArgs(mode string) []string {
	if mode == "" {
		mode = "raw" // scenarios without modes
	}
	return append([]string{s.verb, mode}, s.args()...)
}

const (
	inFlight     = 64
	floodSamples = 256 // what a flooding child sends over and over: few enough to stay in the cache
)

func scenarios(cfg config) []scenario {
	count := func(n int) int { return max(1, int(float64(n)*cfg.scale)) }
	rounds := func(n int) int {
		switch {
		case cfg.runs > 0:
			return cfg.runs
		case cfg.short:
			return 1
		}
		return n
	}
	small, large, samples := newCorpus(64, 1024), newCorpus(1024, 1024), newCorpus(64, floodSamples)
	perMessage := func(goals map[string]float64) []metric {
		return []metric{{unit: "µs CPU", pick: cpu, wall: true, goals: goals}}
	}
	all := []string{"raw", "struct", "any"}

	latency := scenario{
		name: "1 in flight 64B", verb: "echo", modes: []string{"raw", "any"}, rounds: rounds(7),
		warm: count(10000), n: count(20000), corpus: small, run: runLatency,
		metrics: []metric{
			{name: "p50", unit: "µs", pick: p50, median: true, share: true, goals: map[string]float64{"raw": 0.85, "any": 0.90}},
			{name: "p99", unit: "µs", pick: p99, median: true, share: true},
			{name: "CPU", unit: "µs CPU", pick: cpu, wall: true},
		},
	}
	echo64 := scenario{
		name: "echo 64B", verb: "echo", modes: all, rounds: rounds(5),
		warm: count(30000), n: count(200000), corpus: small, run: runEcho,
		metrics: perMessage(map[string]float64{"raw": 10, "struct": 6, "any": 2.8}),
	}
	echo1024 := scenario{
		name: "echo 1KiB", verb: "echo", modes: all, rounds: rounds(5),
		warm: count(20000), n: count(100000), corpus: large, run: runEcho,
		metrics: perMessage(nil),
	}
	floodIn := scenario{
		name: "flood in 64B", verb: "sink", modes: []string{"raw", "any"}, rounds: rounds(5),
		warm: count(50000), n: count(400000), corpus: small, run: runFloodIn,
		metrics: perMessage(nil),
	}
	floodIn.counts = []int{floodIn.warm, floodIn.n}
	floodOut := scenario{
		name: "flood out 64B", verb: "flood", modes: all, rounds: rounds(5),
		warm: count(50000), n: count(300000), corpus: samples, run: runFloodOut,
		metrics: perMessage(map[string]float64{"raw": 15, "struct": 8, "any": 4.5}),
	}
	floodOut.counts = []int{floodSamples, floodOut.warm, floodOut.n}
	handle := scenario{
		name: "handle", verb: "handle", modes: []string{""}, rounds: rounds(5),
		warm: count(2000), n: count(4000), run: runHandles,
		metrics: []metric{
			{name: "to net.Conn", unit: "µs CPU", pick: cpu, share: true, wall: true, goals: map[string]float64{"": 0.40}},
			{name: "per second", unit: "1/s", pick: wall, rate: true},
		},
	}
	handle.counts = []int{handle.warm, handle.n}
	online := scenario{
		name: "start to online", verb: "online", modes: []string{""}, worker: true, rounds: rounds(5),
		n: count(5), run: runOnline,
		metrics: []metric{
			{unit: "µs", pick: wall, median: true, share: true, goals: map[string]float64{"": 0.15}},
			{name: "CPU", unit: "µs CPU", pick: cpu, median: true, share: true},
		},
	}
	return []scenario{latency, echo64, echo1024, floodIn, floodOut, handle, online}
}

// A corpus is a cycle of messages of equal length, framed, as one text. Its members are in sorted order and its
// numbers are small integers, so that every way of decoding and encoding gives the same bytes again.
type corpus struct {
	frame int    // bytes of one frame, newline included
	cycle int    // bytes of the cycle
	text  []byte // the cycle, and enough of the next one that a read or a batch never has to wrap around
	ids   []uint32
}

var names = [...]string{"Ada", "Grace", "Edsger", "Barbara", "Donald", "Hedy", "Ken", "Margaret"}

const filler = "The quick brown fox jumps over the lazy dog while the five boxing wizards jump quickly, and nothing in this text wants escaping. "

func newCorpus(size, count int) *corpus {
	c := &corpus{frame: size + 1}
	for i := range count {
		id := 100000 + (i*7919)%899981 // six digits, no two alike
		c.ids = append(c.ids, uint32(id))
		c.text = append(c.text, message(size, id, names[i%len(names)])...)
		c.text = append(c.text, '\n')
	}
	c.cycle = len(c.text)
	for len(c.text) < c.cycle+max(readSize, inFlight*c.frame, floodChunk) {
		c.text = append(c.text, c.text[:c.cycle]...)
	}
	return c
}

// message pads with a member of text, or in the small size with the name, to exactly size bytes.
func message(size, id int, name string) string {
	format := `{"id":%d,"name":"%s","ok":true,"type":"greeting"}`
	if size > 64 {
		head := fmt.Sprintf(`{"id":%d,"name":"%s","ok":true,"text":"`, id, name)
		tail := `","type":"greeting"}`
		return head + strings.Repeat(filler, size/len(filler)+1)[:size-len(head)-len(tail)] + tail
	}
	pad := size - len(fmt.Sprintf(format, id, name))
	return fmt.Sprintf(format, id, name+strings.Repeat(".", pad))
}

// at gives the text that begins with message i of the endless repetition.
func (c *corpus) at(i int) []byte { return c.text[i*c.frame%c.cycle:] }

// hash is what a child answers that has received n messages from the beginning of the cycle.
func (c *corpus) hash(n int) (h uint32) {
	for i := range n {
		h = h*31 + c.ids[i%len(c.ids)]
	}
	return h
}
