// Package jsvalues has the values of js_fixtures/advanced_values.js: what runtimes wrote for each with advanced
// serialization (testdata/advanced), and what it is in Go. Only tests import it.
package jsvalues

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A Value is one of JavaScript.
type Value struct {
	Name, JS string
	Payloads []Payload
	Refused  []string // by these runtimes: they threw
	Go
}

// A Payload is what some runtimes wrote for a value.
type Payload struct {
	Runtimes []string // "12", "26", "deno"
	Header   []byte   // FF and the version, the same for all of them
	Body     []byte
}

// Bytes is the whole payload.
func (p Payload) Bytes() []byte { return slices.Concat(p.Header, p.Body) }

// Of is the payload that a runtime wrote, if it did.
func (v Value) Of(label string) (Payload, bool) {
	for _, p := range v.Payloads {
		if slices.Contains(p.Runtimes, label) {
			return p, true
		}
	}
	return Payload{}, false
}

// Sent tells whether a runtime has such a value, be it only to throw it out.
func (v Value) Sent(label string) bool {
	_, ok := v.Of(label)
	return ok || slices.Contains(v.Refused, label)
}

// Label is the name that testdata has for a runtime.
func Label(r testkit.Runtime) string {
	if r.Kind == "Node" {
		return strconv.Itoa(r.Major())
	}
	return strings.ToLower(r.Kind)
}

// File is testdata/advanced/values.txt.
func File() string { return filepath.Join(testkit.Root(), "testdata", "advanced", "values.txt") }

// All is every value of testdata, with what it is in Go.
func All() ([]Value, error) {
	values, err := Read(File())
	if err != nil {
		return nil, err
	}
	table := goValues()
	for i := range values {
		v := &values[i]
		is, ok := table[v.Name]
		if ok != (len(v.Payloads) > 0) {
			return nil, fmt.Errorf("jsvalues: %s %s: Go value: %t, payloads: %d", v.Name, v.JS, ok, len(v.Payloads))
		}
		delete(table, v.Name)
		v.Go = is
	}
	for name := range table {
		return nil, fmt.Errorf("jsvalues: testdata does not have the value %s", name)
	}
	return values, nil
}

// Read reads what js_fixtures/gen_advanced.js wrote, which says how that is.
func Read(file string) (values []Value, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	headers := map[string][]byte{} // by runtime
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i, line := range lines[1:] {
		if line, ok := strings.CutPrefix(line, "= "); ok {
			name, js, _ := strings.Cut(line, " ")
			values = append(values, Value{Name: name, JS: js})
			continue
		}
		who, what, ok := strings.Cut(line, ": ")
		runtimes := strings.Fields(who)
		if !ok || len(runtimes) == 0 || len(values) == 0 {
			return nil, fmt.Errorf("jsvalues: %s:%d: not a line of a value: %.100q", file, i+2, line)
		}
		v := &values[len(values)-1]
		if strings.HasPrefix(what, "! ") {
			v.Refused = append(v.Refused, runtimes...)
			continue
		}
		body, err := unhex(what)
		if err != nil {
			return nil, fmt.Errorf("jsvalues: %s:%d: %w", file, i+2, err)
		}
		for len(runtimes) > 0 {
			if v.Name == "header" {
				headers[runtimes[0]] = body
				runtimes = runtimes[1:]
				continue
			}
			header := headers[runtimes[0]]
			n := 1
			for n < len(runtimes) && slices.Equal(headers[runtimes[n]], header) {
				n++
			}
			v.Payloads = append(v.Payloads, Payload{runtimes[:n], header, body})
			runtimes = runtimes[n:]
		}
	}
	return values[1:], nil
}

var hexParts = regexp.MustCompile(`\(([0-9a-f]+)\)\*(\d+) ?|([0-9a-f]+)`)

func unhex(text string) (b []byte, err error) {
	for _, m := range hexParts.FindAllStringSubmatch(text, -1) {
		digits := m[3]
		if m[1] != "" {
			n, err := strconv.Atoi(m[2])
			if err != nil {
				return nil, err
			}
			digits = strings.Repeat(m[1], n)
		}
		if b, err = hex.AppendDecode(b, []byte(digits)); err != nil {
			return nil, err
		}
	}
	return b, nil
}
