//go:build unix

package v8_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/jsvalues"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// patience ends what would hang otherwise. A test that passes never waits for it.
const patience = time.Minute

var fixtureUpdate = flag.Bool("update", false, "make testdata/advanced anew with the runtime in use (NODEIPC_NODE)")

// The fixtures are what the runtime in use writes; with -update they are made so.
func TestFixturesCurrent(t *testing.T) {
	testkit.CheckLeaks(t)
	peer := testkit.Peer(t)
	label := jsvalues.Label(peer)
	generate := func(folder string) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := peer.Command("gen_advanced.js", folder)
		defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	if *fixtureUpdate {
		generate(filepath.Dir(jsvalues.File()))
		return
	}
	committed, err := jsvalues.Read(jsvalues.File())
	require.NoError(t, err)
	if !slices.ContainsFunc(committed, func(v jsvalues.Value) bool { return v.Sent(label) }) {
		t.Skipf("testdata has nothing of %v; go test -update makes it", peer)
	}
	dir := t.TempDir()
	generate(dir)
	made, err := jsvalues.Read(filepath.Join(dir, "values.txt"))
	require.NoError(t, err)
	require.Equal(t, len(committed), len(made), "values")
	const remedy = "%s: %v writes something else than testdata/advanced says; if that is as it should be, go test -update"
	for i, old := range committed {
		now := made[i]
		require.Equal(t, [2]string{old.Name, old.JS}, [2]string{now.Name, now.JS}, remedy, old.Name, peer)
		require.Equal(t, slices.Contains(old.Refused, label), slices.Contains(now.Refused, label), remedy, old.Name, peer)
		a, _ := old.Of(label)
		b, _ := now.Of(label)
		if !slices.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf(remedy+"\nnow   %.500x\nthere %.500x", old.Name, peer, b.Bytes(), a.Bytes())
		}
	}
}

// A checker is a process of js_fixtures/advanced_check.js, with a real channel whose other end is bytes here.
type checker struct {
	t    *testing.T
	conn net.Conn
	node int
}

func startChecker(t *testing.T) *checker {
	t.Helper()
	ours, theirs, err := fdconn.Pair()
	require.NoError(t, err)
	here, there := os.NewFile(uintptr(ours), "here"), os.NewFile(uintptr(theirs), "there")
	defer here.Close()
	defer there.Close()
	conn, err := net.FileConn(here)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	peer := testkit.Peer(t)
	cmd := peer.Command("advanced_check.js")
	cmd.Env = append(os.Environ(), "NODE_CHANNEL_FD=3", "NODE_CHANNEL_SERIALIZATION_MODE=advanced")
	cmd.ExtraFiles = []*os.File{there}
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		conn.Close() // it ends when it is disconnected
		defer context.AfterFunc(expired(), func() { cmd.Process.Kill() })()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	c := &checker{t, conn, 26}
	if peer.Kind == "Node" {
		c.node = peer.Major()
	}
	return c
}

// expired returns a context that ends what would hang.
func expired() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// send sends a payload in a frame, at once: Node 16 and 18 wait for ever for the rest of a length.
func (c *checker) send(payload []byte) {
	c.t.Helper()
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(payload)))
	require.NoError(c.t, c.conn.SetDeadline(time.Now().Add(patience)))
	_, err := c.conn.Write(append(frame, payload...))
	require.NoError(c.t, err)
}

// encode writes v for the runtime, of at most depth levels; 0 is what a reader is sure to take.
func (c *checker) encode(v any, depth int) ([]byte, error) {
	return (&v8.Encoder{Layout: v8.Channel, Node: c.node, MaxDepth: depth}).Append(nil, v)
}

// answer receives a string.
func (c *checker) answer() (text string) {
	c.t.Helper()
	var length [4]byte
	_, err := io.ReadFull(c.conn, length[:])
	require.NoError(c.t, err)
	payload := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err = io.ReadFull(c.conn, payload)
	require.NoError(c.t, err)
	require.NoError(c.t, (&v8.Decoder{Layout: v8.Channel}).Decode(payload, &text), "%x", payload)
	return text
}

// differs is what the runtime finds different between a payload and the value of a name, "" for nothing.
func (c *checker) differs(name string, payload []byte) string {
	c.t.Helper()
	question, err := c.encode([]any{"check", name}, 0)
	require.NoError(c.t, err)
	c.send(question)
	require.Equal(c.t, "ready", c.answer())
	c.send(payload)
	return c.answer()
}

// What the runtime finds in payloads of its own that it cannot read as they were meant; ours are better.
var ownDiffers = map[string]struct {
	labels []string
	finds  string
	why    string
}{
	"error_named":            {[]string{"12"}, "its prototype", "Node 12 takes the type of an Error from its class"},
	"error_named_else":       {[]string{"12"}, "its prototype", "Node 12 takes the type of an Error from its class"},
	"error_class":            {[]string{"12"}, "its prototype", "Node 12 takes the type of an Error from its class"},
	"error_cause_itself":     {[]string{"16", "18", "20"}, "cannot be read", "an Error that is read has no number yet"},
	"twice_error":            {[]string{"12", "14", "16"}, "cannot be read", "Errors have no number for the reader"},
	"reference_beyond_error": {[]string{"12", "14", "16"}, "cannot be read", "Errors have no number for the reader"},
	"deep_objects":           {[]string{"20", "22", "24"}, "cannot be read: RangeError", "too deep for the stack"},
	"native_cycle":           {nil, "cannot be read", "a native object that is read has no number yet"},
	"wasm_module":            {nil, "cannot be read", "the member has no value"},
}

// What we write is for the runtime the value that it should be, as what it writes itself is: that is how we know that it
// looks closely.
func TestFixturesAtNode(t *testing.T) {
	testkit.CheckLeaks(t)
	peer := testkit.Peer(t)
	label := jsvalues.Label(peer)
	c := startChecker(t)
	for _, v := range values(t) {
		own, ok := v.Of(label)
		if !ok {
			continue
		}
		if peer.Kind == "Deno" && v.Name == "object_cmd" {
			continue // it keeps {cmd: 'NODE_'} from its program
		}
		if _, broken := v.Decoded(own).(jsvalues.Broken); broken && peer.Kind == "Deno" {
			continue // it never reads again
		}
		found := c.differs(v.Name, own.Bytes())
		if d, ok := ownDiffers[v.Name]; ok && peer.Kind == "Node" && (d.labels == nil || slices.Contains(d.labels, label)) {
			require.Contains(t, found, d.finds, "%s in its own payload, though %s", v.Name, d.why)
		} else {
			require.Empty(t, found, "%s %s in its own payload %.200x", v.Name, v.JS, own.Bytes())
		}
		if _, broken := v.Value.(jsvalues.Broken); broken {
			continue
		}
		payload, err := c.encode(v.Value, 2000)
		if err != nil {
			found = err.Error()
		} else {
			found = c.differs(v.Name, payload)
		}
		if d, ok := v.DiffersIn(label); ok {
			require.Contains(t, found, d.Finds, "%s in %.200x, though %s", v.Name, payload, d.Why)
		} else {
			require.Empty(t, found, "%s %s in %.200x", v.Name, v.JS, payload)
		}
	}
}

// What any runtime wrote, sent on undecoded, is the same value for this one.
func TestFixturesSentOn(t *testing.T) {
	testkit.CheckLeaks(t)
	peer := testkit.Peer(t)
	label := jsvalues.Label(peer)
	c := startChecker(t)
	for _, v := range values(t) {
		if !v.Sent(label) || peer.Kind == "Deno" && v.Name == "object_cmd" {
			continue
		}
		for _, p := range v.Payloads {
			value, err := v8.Parse(p.Bytes(), v8.Channel)
			if _, broken := v.Decoded(p).(jsvalues.Broken); broken {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			if _, other := v.Made[p.Runtimes[0]]; other {
				continue
			}
			payload, err := c.encode(value, 2000)
			found := ""
			if err != nil {
				found = err.Error()
			} else {
				found = c.differs(v.Name, payload)
			}
			if d, ok := v.DiffersIn(label); ok && found != "" {
				require.Contains(t, found, d.Finds, "%s in %.200x, though %s", v.Name, payload, d.Why)
			} else {
				require.Empty(t, found, "%s %s in %.200x, of %v", v.Name, v.JS, payload, p.Runtimes)
			}
		}
	}
}

// The checker sees what it is there for.
func TestFixturesChecker(t *testing.T) {
	testkit.CheckLeaks(t)
	c := startChecker(t)
	hole, undefined := v8.Hole{}, v8.Undefined{}
	shared := []any{1.0}
	for _, row := range []struct {
		name  string
		value any
		finds string
	}{
		{"minus_zero", 0.0, "is 0, not -0"},
		{"nan", nil, "is null, not NaN"},
		{"one", "1", `is "1", not 1`},
		{"bigint_one", []any{1.0}, "is 1, not 1n"},
		{"array_holes", []any{1.0, undefined, 3.0}, "its keys"},
		{"array_hole_last", []any{1.0}, "length is 1, not 2"},
		{"array_hole_last", []any{1.0, hole, hole}, "length is 3, not 2"},
		{"object_order", new(v8.Object).Set("a", 2.0).Set("z", 1.0).Set("m", 3.0).Set("Z", 4.0), "its keys"},
		{"map", new(v8.Map).Set("a", new(v8.Object).Set("c", 2.0)).Set("b", 1.0), "is \"a\", not \"b\""},
		{"set", new(v8.Set).Add("a").Add("b").Add("c"), "is \"a\", not \"b\""},
		{"date", 0.0, "is 0, not [object Date]"},
		{"date", v8.Date(1), "is 1, not 0"},
		{"boxed_string", &v8.Boxed{Value: "t"}, "t"},
		{"regexp_g", &v8.RegExp{Source: "a", Flags: "i"}, "its text"},
		{"uint8array", []byte{0, 1, 255}, "its prototype"},
		{"uint8array", &v8.View{Type: v8.Uint8Array, Data: []byte{0, 1, 254}}, "its bytes"},
		{"arraybuffer", &v8.ArrayBuffer{Data: []byte{0, 1, 128, 254}}, "its bytes"},
		{"error_range", &v8.Error{Name: "TypeError", Message: "message", Stack: "at stack"}, "its prototype"},
		{"error", &v8.Error{Message: "message", Stack: "at stack elsewhere"}, ".stack is"},
		{"error_no_message", &v8.Error{HasMessage: true, Stack: "at stack"}, "its members"},
		{"twice_array", []any{[]any{1.0}, []any{1.0}}, "should be here again"},
		{"array_nested", []any{[]any{}, []any{shared[:0]}, shared}, ""},
		{"array_nested", []any{[]any{}, shared, shared}, ""},
	} {
		payload, err := c.encode(row.value, 0)
		require.NoError(t, err, row.name)
		found := c.differs(row.name, payload)
		require.NotEmpty(t, found, row.name)
		require.Contains(t, found, row.finds, row.name)
	}
}

// What is written for awkward values can be read, whatever it is then: a Node that cannot read a message dies. What
// cannot be written so is an error.
func TestEncodedIsRead(t *testing.T) {
	testkit.CheckLeaks(t)
	c := startChecker(t)
	object := func() *v8.Object { return new(v8.Object) }
	sparse := func(length uint32, props *v8.Object, elements ...v8.Element) *v8.Sparse {
		return &v8.Sparse{Length: length, Elements: elements, Props: props}
	}
	element := func(i uint32, v any) v8.Element { return v8.Element{Index: i, Value: v} }
	twice := func(v any) any { return []any{v, v} }
	looped := new(v8.Error)
	looped.Cause = object().Set("in", looped)
	around := object()
	around.Set("in", &v8.Error{Cause: around})
	late := object()
	late.Set("before", new(v8.Error)).Set("in", late)
	type inner struct{ X int }
	type outer struct {
		In inner
		P  *inner
	}
	first := new(outer)
	first.P = &first.In // the same address, another object
	numbers, data := []any{1, 2, 3}, []byte{1, 2, 3}
	// What came, and is sent on undecoded.
	came := func(payload string) v8.Value {
		v, err := v8.Parse([]byte("\xff\x0d"+payload), v8.Channel)
		require.NoError(t, err)
		return v
	}
	deep := func(n int, open, inside, close string) v8.Value {
		return came(strings.Repeat(open, n) + inside + strings.Repeat(close, n))
	}
	shared := came("A\x02o{\x00^\x01$\x00\x02")

	for _, v := range []any{
		map[string]any{"\xff": 1, "\xfe": 2}, map[string]any{"\xff": 1, "\ufffd": 2}, map[string]int{"\xff": 1, "\xfe": 2},
		object().Set("\xff", 1).Set("\xfe", 2), object().Set("\xed\xa0\xbd\xed\xb8\x80", 1).Set("\U0001f600", 2),
		sparse(0, object().Set("\xff", 1).Set("\xfe", 2)),
		map[int]any{1: 1, -1: 2, 1 << 40: 3}, map[string]any{"__proto__": nil, "constructor": 1},
		object().Set("a", v8.Hole{}), new(v8.Map).Set(v8.Hole{}, v8.Hole{}), v8.Hole{},
		new(v8.Map).Set(v8.Date(1), 1).Set(v8.Date(1), 2), new(v8.Map).Set([]any{}, 1).Set([]any{}, 2),
		sparse(1, nil, element(5, 1)), sparse(5, nil, element(1, 1), element(1, 2)), sparse(5, nil, element(3, 1), element(1, 2)),
		sparse(5, object().Set("1", 1), element(1, 1)), sparse(5, object().Set("length", 1)),
		sparse(5, object().Set("4294967295", 1).Set("4294967294", 2)), sparse(5, nil, element(1, v8.Hole{})),
		&v8.Boxed{}, &v8.Boxed{Value: object()}, &v8.Boxed{Value: 5}, &v8.Boxed{Value: &v8.Boxed{Value: true}},
		&v8.RegExp{}, &v8.RegExp{Source: "a/b"}, &v8.RegExp{Source: "a\nb"}, &v8.RegExp{Source: "a", Flags: "gg"},
		&v8.RegExp{Source: "a", Flags: "x"}, &v8.RegExp{Source: "a", Flags: "uv"}, &v8.RegExp{Source: "a", Flags: "yg"},
		&v8.Error{}, &v8.Error{Name: "Else", Message: "m"}, &v8.Error{Message: "\xff€"}, looped, twice(looped), around, late,
		twice(twice(&v8.Error{Cause: object()})), errors.New("Go's"), fmt.Errorf("wrapped: %w", io.EOF),
		&v8.View{Type: v8.Float64Array, Data: make([]byte, 7)}, &v8.View{Type: 99}, &v8.View{}, &v8.View{Type: v8.Buffer, Data: []byte("x")},
		&v8.ArrayBuffer{}, &v8.ArrayBuffer{Data: make([]byte, 5), Resizable: true, MaxByteLength: 2},
		(*big.Int)(nil), (*v8.Object)(nil), (*v8.Map)(nil), (*v8.Date)(nil), new(big.Int).Lsh(big.NewInt(1), 1<<20),
		v8.Date(1.5), v8.Date(1e300), time.Time{}, time.Unix(1<<60, 0), int64(1)<<62 + 1, uint64(1<<64 - 1),
		twice(new(v8.Undefined)), twice(new(v8.Date)), twice(new(float64)), twice(new(string)), twice(big.NewInt(5)), twice(new(time.Time)),
		twice(new([2]int)), twice(new([0]int)), twice(&struct{ A int }{1}), twice(new(struct{})), twice(&[]int{1}), twice(&map[string]int{"a": 1}),
		twice(&numbers), twice(&data), []any{first, first.P, &first.In}, []any{numbers, numbers[:2], numbers[1:], numbers},
		[]any{data, data[:2], data[1:], data}, []any{numbers[:0], numbers, numbers[:0]},
		deep(900, "o\"\x01x", "0", "{\x01"), deep(1500, "o\"\x01x", "0", "{\x01"), deep(9000, "A\x01", "0", "$\x00\x01"),
		[]any{deep(999, "A\x00\"\x01x", "0", "$\x01\x00")}, []any{deep(1000, "A\x00\"\x01x", "0", "$\x01\x00")},
		deep(900, "\\\x01", "o{\x00", ""), deep(900, "rc", "0", "."), deep(900, ";", "0", "0:\x02"),
		came("R\"\x01(\x00"), came("R\"\x01a\x80\x01"), came("~\x01\x02x"), came("B\x01xVB\x00\x01"), came("B\x02xxVh\x00\x02"),
		[]any{shared, new(v8.Error), shared, 1, shared}, twice(came("rc\"\x01xs\"\x01y.")), came("o\"\x01ercA\x01^\x01$\x00\x01.{\x01"),
	} {
		payload, err := c.encode(v, 0)
		if err == nil {
			require.NotContains(t, c.differs("null", payload), "cannot be read", "%#v in %.100x", v, payload)
		}
	}
}
