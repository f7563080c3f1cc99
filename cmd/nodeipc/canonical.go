package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// Whether two payloads are the same value, and where they are not. How they are written does not matter: the order of
// members, escapes, how V8 has stored an array or a string.

// A difference is the first one between a recorded value and one that came.
type difference struct {
	path               string // such as .items[3].name; "" for the value itself
	recorded, received string // what is there
}

const longestPath = 200

// compare compares payloads. Members that ignore names may have any value. What is hidden in the recorded one may be
// anything. It returns nil if they are the same.
func compare(recorded, received []byte, ignore redaction) *difference {
	if len(recorded) == 0 || bytes.Equal(recorded, received) { // hidden as a whole
		return nil
	}
	c := &comparison{ignore: ignore}
	var a, b any
	var err, other error
	switch {
	case isV8(recorded) && isV8(received):
		c.classes = map[uintptr]uintptr{}
		d := v8.Decoder{Layout: v8.Channel}
		err, other = d.Decode(recorded, &a), d.Decode(received, &b)
	case isV8(received): // something is hidden: readable JSON
		c.readable = true
		var text bytes.Buffer
		out := bufio.NewWriter(&text)
		if other = printJSON(out, received, v8.Channel); other == nil {
			out.Flush()
			b, other = decodeJSON(text.Bytes())
		}
		a, err = decodeJSON(recorded)
	default:
		a, err = decodeJSON(recorded)
		b, other = decodeJSON(received)
	}
	if err != nil || other != nil { // of which one of the peers may make something, but we do not
		return &difference{"", shortPayload(recorded), shortPayload(received)}
	}
	if c.same(a, b) {
		return nil
	}
	path := string(c.path)
	if len(path) > longestPath {
		path = "…" + strings.ToValidUTF8(path[len(path)-longestPath:], "")
	}
	return &difference{path, c.recorded, c.received}
}

// A comparison compares what two payloads have been decoded to. path leads to the values that are being compared.
type comparison struct {
	ignore             redaction
	readable           bool // these are values of V8 in readable JSON: the numbers of objects may be others
	path               []byte
	recorded, received string

	// Objects, by their addresses, that have been taken for the same once: where that is not true a difference is found.
	// Each leads to another one of its class. Cycles end so, and what is shared is looked at once, though it may be shared
	// on one side only.
	classes map[uintptr]uintptr
}

func (c *comparison) class(at uintptr) uintptr {
	for {
		next, ok := c.classes[at]
		if !ok || next == at {
			return at
		}
		if after, ok := c.classes[next]; ok {
			c.classes[at] = after
		}
		at = next
	}
}

// met tells whether two objects need not be compared again.
func (c *comparison) met(a, b any) bool {
	if c.classes == nil {
		return false
	}
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	switch x.Kind() {
	case reflect.Slice:
		if _, plain := a.([]byte); plain || x.Len() == 0 || y.Len() == 0 {
			return false
		}
	case reflect.Map, reflect.Pointer:
	default:
		return false
	}
	from, to := c.class(x.Pointer()), c.class(y.Pointer())
	if from == to {
		return true
	}
	c.classes[from] = to
	return false
}

// differ notes a difference at the present path.
func (c *comparison) differ(recorded, received string) bool {
	c.recorded, c.received = recorded, received
	return false
}

// at compares two values that are at a place inside the present ones.
func (c *comparison) at(place string, a, b any) bool {
	n := len(c.path)
	c.path = append(c.path, place...)
	if !c.same(a, b) {
		return false
	}
	c.path = c.path[:n]
	return true
}

// nothing stands for a value that is not there.
type nothing struct{}

// same tells whether two values are the same, of which a is the recorded one.
func (c *comparison) same(a, b any) bool {
	if a == "[redacted]" && b != any(nothing{}) {
		return true
	}
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return c.differ(c.short(a), c.short(b))
	}
	if c.met(a, b) {
		return true
	}
	equal := true
	switch a := a.(type) {
	case map[string]any:
		return c.members(a, b.(map[string]any))
	case []any:
		return c.elements("", a, b.([]any))
	case *v8.Map:
		return c.entries(a, b.(*v8.Map))
	case *v8.Set:
		return c.elements(".values", slices.Collect(a.All()), slices.Collect(b.(*v8.Set).All()))
	case *v8.Sparse:
		return c.sparse(a, b.(*v8.Sparse))
	case *v8.Error:
		return c.members(errorMembers(a), errorMembers(b.(*v8.Error)))
	case *v8.Boxed:
		return c.at(".valueOf()", a.Value, b.(*v8.Boxed).Value)
	case json.Number:
		equal = sameNumber(string(a), string(b.(json.Number)))
	case float64:
		equal = a == b.(float64) || a != a && b != b
	case v8.Date:
		equal = a == b.(v8.Date) || a != a && b != b
	case *big.Int:
		equal = a.Cmp(b.(*big.Int)) == 0
	case []byte:
		equal = bytes.Equal(a, b.([]byte))
	case *v8.View:
		b := b.(*v8.View)
		equal = a.Type == b.Type && bytes.Equal(a.Data, b.Data)
	case *v8.ArrayBuffer:
		b := b.(*v8.ArrayBuffer)
		equal = a.Resizable == b.Resizable && a.MaxByteLength == b.MaxByteLength && bytes.Equal(a.Data, b.Data)
	case *v8.RegExp:
		equal = *a == *b.(*v8.RegExp)
	default: // null, true, false, strings, undefined, holes
		equal = a == b
	}
	return equal || c.differ(c.short(a), c.short(b))
}

func (c *comparison) members(a, b map[string]any) bool {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		value, ok := b[name]
		switch {
		case !ok:
			value = nothing{}
		case c.ignore.hides(name), c.readable && (name == "$id" || name == "$ref"):
			continue
		}
		if !c.at(memberPath(name), a[name], value) {
			return false
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[name]; !ok {
			return c.at(memberPath(name), nothing{}, b[name])
		}
	}
	return true
}

// elements compares lists, which are at a place inside the present values.
func (c *comparison) elements(place string, a, b []any) bool {
	for i := range max(len(a), len(b)) {
		if !c.at(place+"["+strconv.Itoa(i)+"]", element(a, i), element(b, i)) {
			return false
		}
	}
	return true
}

func element(list []any, i int) any {
	if i < len(list) {
		return list[i]
	}
	return nothing{}
}

// entries compares Maps, whose order a program sees.
func (c *comparison) entries(a, b *v8.Map) bool {
	var keys, values [2][]any
	for i, m := range []*v8.Map{a, b} {
		for key, value := range m.All() {
			keys[i], values[i] = append(keys[i], key), append(values[i], value)
		}
	}
	for i := range max(len(keys[0]), len(keys[1])) {
		key := element(keys[0], i)
		if !c.at(".keys["+strconv.Itoa(i)+"]", key, element(keys[1], i)) {
			return false
		}
		place := ".values[" + strconv.Itoa(i) + "]"
		switch key := key.(type) {
		case string:
			if c.ignore.hides(key) {
				continue
			}
			place = ".get(" + quote(key) + ")"
		case float64:
			place = ".get(" + number(key) + ")"
		}
		if !c.at(place, values[0][i], values[1][i]) {
			return false
		}
	}
	return true
}

func (c *comparison) sparse(a, b *v8.Sparse) bool {
	if !c.at(".length", float64(a.Length), float64(b.Length)) {
		return false
	}
	for i := range max(len(a.Elements), len(b.Elements)) {
		switch {
		case i == len(a.Elements) || i < len(b.Elements) && b.Elements[i].Index < a.Elements[i].Index:
			return c.at("["+strconv.Itoa(int(b.Elements[i].Index))+"]", nothing{}, b.Elements[i].Value)
		case i == len(b.Elements) || a.Elements[i].Index < b.Elements[i].Index:
			return c.at("["+strconv.Itoa(int(a.Elements[i].Index))+"]", a.Elements[i].Value, nothing{})
		case !c.at("["+strconv.Itoa(int(a.Elements[i].Index))+"]", a.Elements[i].Value, b.Elements[i].Value):
			return false
		}
	}
	return c.members(propsOf(a), propsOf(b))
}

func propsOf(a *v8.Sparse) map[string]any {
	if a.Props == nil {
		return nil
	}
	return maps.Collect(a.Props.All())
}

func errorMembers(e *v8.Error) map[string]any {
	m := map[string]any{"name": e.Name}
	if e.Name == "" {
		m["name"] = "Error"
	}
	if e.Message != "" || e.HasMessage {
		m["message"] = e.Message
	}
	if e.Stack != "" || e.HasStack {
		m["stack"] = e.Stack
	}
	if e.Cause != nil || e.HasCause {
		m["cause"] = e.Cause
	}
	return m
}

var identifier = regexp.MustCompile(`^[\pL_$][\pL\pN_$]{0,99}$`)

func memberPath(name string) string {
	if identifier.MatchString(name) {
		return "." + name
	}
	return "[" + quote(name) + "]"
}

// sameNumber compares numbers of JSON. Whole ones are compared to the last digit, others as JavaScript has them.
func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	x, _ := strconv.ParseFloat(a, 64)
	y, _ := strconv.ParseFloat(b, 64)
	if !strings.ContainsAny(a+b, ".eE") && math.Abs(x) >= 1<<53 {
		return false
	}
	return x == y
}

var errTrailing = errors.New("more behind the value")

func decodeJSON(data []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(keepSurrogates(data)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errTrailing
	}
	return v, nil
}

// Escapes in strings: pairs of surrogates, such without the other half, and all others.
var escapes = regexp.MustCompile(`(?i)\\(?:ud[89ab][\da-f]{2}\\ud[c-f][\da-f]{2}|ud[89a-f][\da-f]{2}|.)`)

// keepSurrogates makes surrogates without their other half, of which package json makes U+FFFD, different from each
// other.
func keepSurrogates(data []byte) []byte {
	if !bytes.Contains(data, []byte(`\ud`)) && !bytes.Contains(data, []byte(`\uD`)) {
		return data
	}
	return escapes.ReplaceAllFunc(data, func(e []byte) []byte {
		if len(e) != len(`\ud800`) {
			return e
		}
		return append([]byte(`\ufffd`), bytes.ToLower(e[2:])...)
	})
}

// shortPayload shows a payload as tap does.
func shortPayload(data []byte) string {
	var l oneline
	if l.value(nil, data, columnsShown) {
		return string(l.buf)
	}
	return "a payload that cannot be read: " + quote(string(data[:min(len(data), columnsShown)]))
}

// short shows a value that was decoded.
func (c *comparison) short(v any) string {
	if v == any(nothing{}) {
		return "nothing"
	}
	if c.classes != nil {
		if v == any(v8.Hole{}) {
			return "a hole"
		}
		e := v8.Encoder{Layout: v8.Channel, Node: newestNode, MaxDepth: 20_000}
		if data, err := e.Append(nil, v); err == nil {
			return shortPayload(data)
		}
		return "a value that cannot be shown"
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil { // which has been decoded
		return "a value that cannot be shown"
	}
	return shortPayload(text.Bytes())
}

// newestNode makes package v8 write everything that it has read.
const newestNode = 26
