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
	out  io.Writer
	node string
	at   placement
	head bool
	file struct {
		Go      string     `json:"go"`
		OS      string     `json:"os"`
		CPU     string     `json:"cpu"`
		Threads int        `json:"threads"`
		Rows    []savedRow `json:"rows"`
	}
}

type savedRow struct {
	Row         string   `json:"row"`
	NodeVersion string   `json:"node_version"`
	CPUs        string   `json:"cpus"`
	Unit        string   `json:"unit"`
	NodeFigure  float64  `json:"node_figure"`
	GoFigure    float64  `json:"go_figure"`
	Ratio       float64  `json:"ratio"`
	Share       bool     `json:"share"` // ratio is Go/Node, else Node/Go
	Min         float64  `json:"min"`
	Max         float64  `json:"max"`
	Goal        float64  `json:"goal,omitempty"`
	Node        []sample `json:"node"`
	Go          []sample `json:"go"`
}

func newReport(out io.Writer) *report {
	r := &report{out: out}
	r.file.Go, r.file.OS, r.file.Threads = runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU()
	r.file.CPU = cpuModel()
	fmt.Fprintf(out, "%s, %s, %d x %s, load %s\n", r.file.Go, r.file.OS, r.file.Threads, r.file.CPU, load())
	return r
}

func (r *report) section(node string, at placement) { r.node, r.at, r.head = node, at, false }

func (r *report) finish() {
	fmt.Fprintf(r.out, "\n\"10.0x\": Go needs a tenth; \"0.10\" likewise, where a goal is a share. + goal met, - not met. Load now %s.\n", load())
}

func (r *report) failed(name string) {
	r.header()
	fmt.Fprintf(r.out, "%-30s FAILED\n", name)
}

func (r *report) header() {
	if r.head {
		return
	}
	r.head = true
	fmt.Fprintf(r.out, "\nNode %s, %s\n%-30s %-7s %9s %9s %8s %15s %8s   | %9s %9s %8s %15s\n", r.node, r.at.title, "row", "unit", "Node", "Go", "ratio", "over pairs", "goal",
		"Node wall", "Go wall", "ratio", "over pairs")
}

// row compares the runs of the two sides; those of equal index stood next to each other in time.
func (r *report) row(name, mode string, m metric, node, gos []sample) {
	r.header()
	n, g, ratio, lo, hi := contrast(node, gos, m.pick, m.median, m.share)
	goal := m.goals[mode]
	goalText, verdict := "", ""
	if goal > 0 {
		met := ratio >= goal
		goalText = "≥" + times(goal)
		if m.share {
			met = ratio <= goal
			goalText = fmt.Sprintf("≤%.2f", goal)
		}
		verdict = "-"
		if met {
			verdict = "+"
		}
	}
	show := times
	if m.share {
		show = func(f float64) string { return fmt.Sprintf("%.2f", f) }
	}
	figure := func(f float64) string {
		switch {
		case m.rate:
			return fmt.Sprintf("%.0f", 1e6/f)
		case f >= 100:
			return fmt.Sprintf("%.0f", f)
		}
		return fmt.Sprintf("%.3f", f)
	}
	line := fmt.Sprintf("%-30s %-7s %9s %9s %8s %15s %8s %1s ", name, m.unit, figure(n), figure(g), show(ratio), show(lo)+" .. "+show(hi), goalText, verdict)
	if m.wall {
		wn, wg, wr, wlo, whi := contrast(node, gos, wall, m.median, m.share)
		line += fmt.Sprintf("| %9s %9s %8s %15s", figure(wn), figure(wg), show(wr), show(wlo)+" .. "+show(whi))
	}
	fmt.Fprintln(r.out, strings.TrimRight(line, " "))
	r.file.Rows = append(r.file.Rows, savedRow{name, r.node, r.at.name, m.unit, n, g, ratio, m.share, lo, hi, goal, node, gos})
}

func times(f float64) string { return fmt.Sprintf("%.1fx", f) }

// contrast gives the figure of each side, their ratio, and the least and greatest ratio of a pair.
func contrast(node, gos []sample, pick func(sample) float64, useMedian, share bool) (n, g, ratio, lo, hi float64) {
	var ns, gs, rs []float64
	over := func(n, g float64) float64 {
		if share {
			return g / n
		}
		return n / g
	}
	for i := range node {
		a, b := pick(node[i]), pick(gos[i])
		ns, gs, rs = append(ns, a), append(gs, b), append(rs, over(a, b))
	}
	n, g = slices.Min(ns), slices.Min(gs)
	if useMedian {
		n, g = median(ns), median(gs)
	}
	return n, g, over(n, g), slices.Min(rs), slices.Max(rs)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
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
