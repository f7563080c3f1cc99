package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
)

// report prints rows as they come and keeps them for -json.
type report struct {
	out   io.Writer
	b     *bench
	head  bool // is written
	below []string
	file  struct {
		Go         string   `json:"go"`
		OS         string   `json:"os"`
		CPU        string   `json:"cpu"`
		Processors int      `json:"processors"`
		Placement  string   `json:"placement"`
		Timing     timing   `json:"timing_ns"`
		Notes      []string `json:"notes"`
		Rows       []row    `json:"rows"`
		// By scenario and contestant; the Go side has the names of its modes.
		Samples map[string]map[string][]sample `json:"samples"`
	}
}

type row struct {
	Name     string            `json:"name"`
	Unit     string            `json:"unit"`
	Share    bool              `json:"share"` // the ratios are Go's share of the other's figure, else the inverse
	Go       figure            `json:"go"`
	Runtimes map[string]figure `json:"runtimes"`
	Ratios   map[string]figure `json:"ratios"`
	// Instead, how much more than the base of the scenario.
	More *figure `json:"more,omitempty"`
	// By runtime, those there are, or for the base.
	Goals  map[string]verdictOf `json:"goals,omitempty"`
	Failed string               `json:"failed,omitempty"`
}

type verdictOf struct {
	Goal string `json:"goal"`
	Met  bool   `json:"met"`
}

// A figure is the median of some runs, and their range.
type figure struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func summary(v []float64) figure { return figure{median(v), slices.Min(v), slices.Max(v)} }

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// compare gives the ratio of the medians, and its range over the pairs of runs that stood next to each other in time.
func (m *metric) compare(theirs, mine []float64) figure {
	over := func(their, my float64) float64 {
		if m.share || m.rate {
			return my / their
		}
		return their / my
	}
	var pairs []float64
	for i := range mine {
		pairs = append(pairs, over(theirs[i], mine[i]))
	}
	return figure{over(median(theirs), median(mine)), slices.Min(pairs), slices.Max(pairs)}
}

func (m *metric) values(samples []sample) (v []float64) {
	for _, s := range samples {
		if m.rate {
			v = append(v, 1e6/s[m.key])
		} else {
			v = append(v, s[m.key])
		}
	}
	return v
}

func newReport(out io.Writer, b *bench) *report {
	r := &report{out: out, b: b}
	f := &r.file
	f.Go, f.OS, f.Processors, f.CPU = runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), cpuModel()
	f.Placement, f.Timing, f.Samples = b.at.title, b.timing, map[string]map[string][]sample{}
	f.Notes = slices.Clone(b.notes)
	fmt.Fprintf(out, "%s, %s, %d x %s, load %s; %s\n", f.Go, f.OS, f.Processors, f.CPU, load(), b.at.title)
	for _, n := range b.notes {
		fmt.Fprintln(out, n)
	}
	return r
}

func (r *report) finish() {
	fmt.Fprintf(r.out, `
Medians of fresh processes, ± half their range. Ratio: "10.0x" means that Go needs a tenth, or does ten times as much;
where a share is the goal it is Go's share, "0.10". Goals: + met, ! not met. Load now %s.
`, load())
	if r.b.cfg.short {
		fmt.Fprintln(r.out, "-short: the figures mean nothing.")
	}
	for _, n := range r.below {
		fmt.Fprintln(r.out, n)
	}
}

// scenario prints the rows of a scenario, and reports whether they are good.
func (r *report) scenario(s *scenario, goes []contestant, results map[string]*result) (good bool) {
	good = true
	broken := func(name string) bool {
		err := results[name].err
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %s: %v\n", s.name, name, err)
			good = false
		}
		return err != nil
	}
	if s.base == "" {
		for _, p := range r.b.nodes {
			broken(p.name)
		}
	}
	for _, c := range goes {
		broken(c.name)
	}
	for _, p := range r.b.others { // that these cannot do something is no failure of the benchmark
		if res := results[p.name]; res != nil && res.err != nil {
			err := res.err
			note := fmt.Sprintf("- %s, %s: %.400v", p.name, s.name, err)
			r.below, r.file.Notes = append(r.below, note), append(r.file.Notes, note)
		}
	}
	r.file.Samples[s.name] = map[string][]sample{}
	for name, res := range results {
		r.file.Samples[s.name][name] = res.samples
	}
	for i := range s.metrics {
		for _, c := range goes {
			m := &s.metrics[i]
			if name := s.rowName(c.name, m); r.b.cfg.only == nil || r.b.cfg.only.MatchString(name) {
				r.row(name, s.base, c, m, results)
			}
		}
	}
	return good
}

func (r *report) row(name, base string, c contestant, m *metric, results map[string]*result) {
	row := row{Name: name, Unit: m.unit, Share: m.share, Runtimes: map[string]figure{}, Ratios: map[string]figure{},
		Goals: map[string]verdictOf{}}
	defer func() { r.file.Rows = append(r.file.Rows, row) }()
	r.header()
	cells := []string{name, m.unit}
	defer func() { r.line(cells) }()
	if err := results[c.name].err; err != nil {
		row.Failed = err.Error()
		cells = append(cells, "FAILED")
		return
	}
	mine := m.values(results[c.name].samples)
	row.Go = summary(mine)
	cells = append(cells, row.Go.String())
	if base != "" {
		if b := results[base]; c.mode != base && b != nil && b.err == nil {
			cells = append(cells, r.more(&row, base, c.mode, m, mine, m.values(b.samples)))
		}
		return
	}
	for _, p := range r.b.nodes {
		if c.only != "" && c.only != p.name {
			cells = append(cells, "", "", "", "")
			continue
		}
		if results[p.name].err != nil {
			cells = append(cells, "FAILED", "", "", "")
			continue
		}
		theirs := m.values(results[p.name].samples)
		their, ratio := summary(theirs), m.compare(theirs, mine)
		row.Runtimes[p.name], row.Ratios[p.name] = their, ratio
		cells = append(cells, their.String(), m.times(ratio.Median), m.bare(ratio.Min)+".."+m.bare(ratio.Max), "")
		if by := m.goals.against(p); by != nil && !r.b.cfg.short {
			goal, met := m.goal(p.name, by[c.mode], row.Go.Median, ratio.Median, results)
			verdict := map[bool]string{true: " +", false: " !"}
			if met != nil {
				cells[len(cells)-1] = goal + verdict[*met]
				row.Goals[p.name] = verdictOf{goal, *met}
			}
		}
	}
	for _, p := range r.b.others {
		if results[p.name].err != nil {
			cells = append(cells, "-")
			continue
		}
		their := summary(m.values(results[p.name].samples))
		row.Runtimes[p.name] = their
		cells = append(cells, number(their.Median))
	}
}

// more says how much more mine is than that of the base: the medians of the pairs of runs, and the range of half of them.
func (r *report) more(row *row, base, mode string, m *metric, mine, theirs []float64) string {
	var more, times []float64
	for i := range mine {
		more, times = append(more, mine[i]-theirs[i]), append(times, mine[i]/theirs[i])
	}
	row.More, row.Ratios[base] = new(summary(more)), summary(times)
	more = slices.Sorted(slices.Values(more))
	d, low, high := row.More.Median, more[len(more)/4], more[len(more)-1-len(more)/4]
	text := fmt.Sprintf("%+.1f (%+.1f..%+.1f), %.2f of %s", d, low, high, row.Ratios[base].Median, base)
	goal, met := "", false
	if want := m.goals.extra[mode]; want != 0 {
		goal, met = fmt.Sprintf("≤+%s", number(want)), d <= want
	} else if want := m.goals.times[mode]; want != 0 {
		goal, met = "≤"+m.times(want), row.Ratios[base].Median <= want
	}
	if goal == "" || r.b.cfg.short {
		return text
	}
	row.Goals[base] = verdictOf{goal, met}
	return text + "  " + goal + map[bool]string{true: " +", false: " !"}[met]
}

// goal says what the goal of a row is, if it has one, and whether it is met.
func (m *metric) goal(runtime string, want, mine, ratio float64, results map[string]*result) (text string, met *bool) {
	if want == 0 {
		return "", nil
	}
	ok := ratio >= want
	text = "≥" + m.times(want)
	if m.share {
		ok, text = ratio <= want, "≤"+m.times(want)
	}
	if over := m.goals.over; over != "" {
		if over == itself {
			over = runtime
		}
		base := results[over]
		if base == nil || base.err != nil {
			return "", nil
		}
		limit := median(m.values(base.samples)) + want
		ok, text = mine <= limit, "≤"+number(limit)
	}
	return text, &ok
}

func (m *metric) times(f float64) string {
	if m.share {
		return m.bare(f)
	}
	return m.bare(f) + "x"
}

func (m *metric) bare(f float64) string {
	switch {
	case m.share || f < 2:
		return fmt.Sprintf("%.2f", f)
	case f >= 100:
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.1f", f)
}

func number(f float64) string {
	switch {
	case f == float64(int(f)) || f >= 100:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.3f", f)
}

func (f figure) String() string {
	if f.Min == f.Max {
		return fmt.Sprintf("%6s", number(f.Median))
	}
	return fmt.Sprintf("%6s ±%.0f%%", number(f.Median), (f.Max-f.Min)/2/f.Median*100)
}

func (r *report) header() {
	if r.head {
		return
	}
	r.head = true
	cells := []string{"", "", r.file.Go}
	for _, p := range r.b.nodes {
		cells = append(cells, p.name, "ratio", "over pairs", "goal")
	}
	for _, p := range r.b.others {
		cells = append(cells, strings.Fields(p.name)[0])
	}
	fmt.Fprintln(r.out)
	r.line(cells)
}

// line prints a line of the table. Its columns are the row, its unit, Go, four for each Node, and one for each other
// runtime; positive widths align to the right.
func (r *report) line(cells []string) {
	widths := []int{-25, -6, -12}
	for range r.b.nodes {
		widths = append(widths, -12, 7, -11, -7)
	}
	for range r.b.others {
		widths = append(widths, 7)
	}
	var line strings.Builder
	for i, c := range cells {
		if i >= len(widths) {
			line.WriteString(c)
		} else if widths[i] != 0 {
			fmt.Fprintf(&line, "%*s ", widths[i], c)
		}
	}
	fmt.Fprintln(r.out, strings.TrimRight(line.String(), " "))
}

// against gives the goals there are against a runtime.
func (g *goals) against(p program) map[string]float64 {
	switch {
	case strings.HasPrefix(p.name, "Node 20."):
		return g.by
	case strings.HasPrefix(p.name, "Node 26."):
		return g.by26
	}
	return nil
}

func (r *report) writeJSON(name string) error {
	text, err := json.MarshalIndent(r.file, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(text) {
		if key, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(key)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return runtime.GOARCH
}

// load tells a reader whether the machine was busy with other things.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(text)); len(f) > 0 {
		return f[0]
	}
	return "unknown"
}
