package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// A result is what the tests say of a runtime.
type result struct {
	runtime  string   // Node 20.20.2
	features []string // in the order of the packages and of their tests
	cells    map[string]cell
}

// A cell is what is known of a feature with a runtime. Of what did not run nothing is known.
type cell struct {
	works bool
	limit string // why it does not work
}

func (c cell) limited() bool { return c.limit != "" }

func (r *result) count(is func(cell) bool) (n int) {
	for _, c := range r.cells {
		if is(c) {
			n++
		}
	}
	return n
}

// An event is a line of go test -json.
type event struct {
	Action, Package, Test, Output, Key, Value string
}

// read reads what go test -json prints. It prints what go test says of whole packages and of tests that fail.
func (r *result) read(in io.Reader, out io.Writer) error {
	r.cells = make(map[string]cell)
	type id [2]string // package and test
	said := make(map[id][]string)
	feature := make(map[id]string)
	limit := make(map[id]string)
	skipped := make(map[id]bool)
	found := make(map[string][]string) // features by package: packages are tested side by side
	d := json.NewDecoder(in)
	for {
		var e event
		if err := d.Decode(&e); err == io.EOF {
			for _, p := range slices.Sorted(maps.Keys(found)) {
				r.features = append(r.features, found[p]...)
			}
			return nil
		} else if err != nil {
			return fmt.Errorf("go test -json: %w", err)
		}
		key := id{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "output":
			if e.Test == "" && (strings.HasPrefix(e.Output, "ok ") || strings.HasPrefix(e.Output, "FAIL\t")) {
				fmt.Fprint(out, e.Output)
			} else {
				said[key] = append(said[key], e.Output)
			}
		case "attr":
			switch e.Key {
			case "runtime":
				r.runtime = e.Value
			case "feature":
				feature[key] = e.Value
				found[e.Package] = append(found[e.Package], e.Value)
			case "limit":
				limit[key] = e.Value
			}
		case "skip":
			for f := range feature {
				if f[0] == e.Package && (f[1] == e.Test || strings.HasPrefix(e.Test, f[1]+"/")) {
					skipped[f] = true
				}
			}
			delete(said, key)
		case "pass":
			delete(said, key)
			if name := feature[key]; name != "" && !skipped[key] {
				r.cells[name] = cell{works: limit[key] == "", limit: limit[key]}
			}
		case "fail":
			for k, lines := range said {
				// The end of a package is that of whatever still ran.
				if k == key || e.Test == "" && k[0] == e.Package {
					fmt.Fprint(out, strings.Join(lines, ""))
					delete(said, k)
				}
			}
		}
	}
}
