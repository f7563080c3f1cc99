package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The table is what is between these lines of README.md.
const (
	tableBegin = "<!-- written by make test-matrix -->\n"
	tableEnd   = "<!-- so far -->\n"
)

// A table is features by runtimes. Below it are the reasons for what does not work, by number.
type table struct {
	features []string
	results  []*result
}

func (t *table) add(r *result) {
	t.results = append(t.results, r)
	for _, f := range r.features {
		if !slices.Contains(t.features, f) {
			t.features = append(t.features, f)
		}
	}
}

func (t *table) String() string {
	var b strings.Builder
	b.WriteString("\n| |")
	for _, r := range t.results {
		fmt.Fprintf(&b, " %s |", r.runtime)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(t.results)) + "\n")
	var reasons []string
	for _, f := range t.features {
		fmt.Fprintf(&b, "| %s |", f)
		for _, r := range t.results {
			switch c := r.cells[f]; {
			case c.works:
				b.WriteString(" yes |")
			case c.limited():
				n := slices.Index(reasons, c.limit)
				if n < 0 {
					n = len(reasons)
					reasons = append(reasons, c.limit)
				}
				fmt.Fprintf(&b, " – (%d) |", n+1)
			default:
				b.WriteString(" |")
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for i, reason := range reasons {
		fmt.Fprintf(&b, "%d. %s\n", i+1, reason)
	}
	if len(reasons) > 0 {
		b.WriteString("\n")
	}
	return b.String()
}

// cut returns what is before, in and behind the table of a text.
func cut(text string) (before, between, behind string, err error) {
	before, rest, ok := strings.Cut(text, tableBegin)
	between, behind, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return "", "", "", errors.New("README.md has no place for the table")
	}
	return before, between, behind, nil
}

func (t *table) replaceIn(text string) (string, error) {
	before, _, behind, err := cut(text)
	return before + tableBegin + t.String() + tableEnd + behind, err
}

// parseTable reads the table that String wrote into a text; one that is not there yet is empty.
func parseTable(text string) (*table, error) {
	_, between, _, err := cut(text)
	if err != nil {
		return nil, err
	}
	t := &table{}
	reasons := map[string]string{}
	var rows [][]string
	for line := range strings.Lines(between) {
		line = strings.TrimSpace(line)
		switch {
		case line != "" && line[0] >= '1' && line[0] <= '9':
			number, reason, _ := strings.Cut(line, ". ")
			reasons["("+number+")"] = reason
		case strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|---"):
			row := strings.Split(strings.Trim(line, "|"), "|")
			for i := range row {
				row[i] = strings.TrimSpace(row[i])
			}
			rows = append(rows, row)
		}
	}
	for i, row := range rows {
		if i == 0 {
			for _, name := range row[1:] {
				t.results = append(t.results, &result{runtime: name, cells: map[string]cell{}})
			}
			continue
		}
		if len(row) != len(rows[0]) {
			return nil, fmt.Errorf("README.md: a row of the table has %d cells instead of %d: %s", len(row), len(rows[0]), row[0])
		}
		t.features = append(t.features, row[0])
		for j, text := range row[1:] {
			c := cell{works: text == "yes"}
			if number, ok := strings.CutPrefix(text, "– "); ok {
				c.limit = reasons[number]
			}
			t.results[j].cells[row[0]] = c
		}
	}
	return t, nil
}

// differences says where t is not what the runs give; what did not run may be as it is.
func (t *table) differences(runs table) (all []string) {
	if !slices.Equal(t.features, runs.features) {
		all = append(all, fmt.Sprintf("it has the features %q, the tests %q", t.features, runs.features))
	}
	for _, r := range runs.results {
		i := slices.IndexFunc(t.results, func(c *result) bool { return c.runtime == r.runtime })
		if i < 0 {
			all = append(all, "it has no "+r.runtime)
			continue
		}
		for _, f := range runs.features {
			if is, says := r.cells[f], t.results[i].cells[f]; is != says {
				all = append(all, fmt.Sprintf("%s, %s: it says %s, the tests %s", r.runtime, f, says, is))
			}
		}
	}
	return all
}

func (c cell) String() string {
	switch {
	case c.works:
		return "yes"
	case c.limited():
		return "no: " + c.limit
	}
	return "nothing"
}
