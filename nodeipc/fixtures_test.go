//go:build unix

package nodeipc

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// What real Nodes wrote is in testdata, made by js_fixtures/generate.js. The dialogues of a cluster are package
// cluster's.

var fixtureUpdate = flag.Bool("update", false, "make the files of testdata anew with the Node in use (NODEIPC_NODE)")

// fixtureGenerate runs the generators of this Node.
func fixtureGenerate(t testing.TB, folder string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, testkit.Node(t), testkit.Fixture("generate.js"), folder)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func fixtureFile(elem ...string) string {
	return filepath.Join(append([]string{testkit.Root(), "testdata"}, elem...)...)
}

// Of which recorded Node the dialogues are, as those of another version are the same.
var fixtureNearest = map[int]int{14: 12, 16: 20, 18: 20, 22: 26, 24: 26}

// But for these.
var fixtureDiffers = map[string]string{
	"rr-in-use 14":    "the program sees a number in errno",
	"primary-kill 16": "the primary says disconnect before the signal, as in 12",
}

// The fixtures are what the Node in use writes; with -update they are made so.
func TestFixturesCurrent(t *testing.T) {
	testkit.CheckLeaks(t)
	major := testkit.Peer(t).Major()
	if *fixtureUpdate {
		fixtureGenerate(t, fixtureFile())
		return
	}
	recorded := major
	if nearest, ok := fixtureNearest[major]; ok {
		recorded = nearest
	}
	dir := t.TempDir()
	fixtureGenerate(t, dir)
	const remedy = "Node %d writes something else than testdata/%s says; if that is as it should be, go test -update"

	names := func(folder string, node int) (names []string) {
		suffix := fmt.Sprintf(".node%d.txtar", node)
		files, err := filepath.Glob(filepath.Join(folder, "*"+suffix))
		require.NoError(t, err)
		for _, f := range files {
			names = append(names, strings.TrimSuffix(filepath.Base(f), suffix))
		}
		return names
	}
	made := names(filepath.Join(dir, "dialogues"), major)
	require.NotEmpty(t, made)
	require.Equal(t, names(fixtureFile("dialogues"), recorded), made, "dialogues of Node %d", recorded)
	for _, name := range made {
		old := fixtureDialogue(t, fixtureFile("dialogues", fmt.Sprintf("%s.node%d.txtar", name, recorded)))
		new := fixtureDialogue(t, filepath.Join(dir, "dialogues", fmt.Sprintf("%s.node%d.txtar", name, major)))
		// Frames that cross each other are recorded in either order.
		for _, side := range []string{"P", "W"} {
			of := func(lines []fixtureLine) (all []string) {
				for _, l := range lines {
					if l.side == side {
						all = append(all, fmt.Sprint(l))
					}
				}
				return all
			}
			if why := fixtureDiffers[fmt.Sprint(name, " ", major)]; why != "" && side == "W" {
				require.NotEqual(t, of(old), of(new), why)
			} else if why == "" {
				require.Equal(t, of(old), of(new), remedy, major, "dialogues/"+name)
			}
		}
	}
	oldValues, oldBytes := fixtureValues(t, fixtureFile("json"))
	newValues, newBytes := fixtureValues(t, filepath.Join(dir, "json"))
	require.Equal(t, oldValues, newValues, remedy, major, "json/values.json")
	require.Equal(t, oldBytes, newBytes, remedy, major, "json/values.bin")
}

// ------------------------------------------------------------------------------------------- JSON

// A fixtureValue is a JavaScript value of testdata/json in Go.
type fixtureValue struct{ Name, JS string }

// fixtureValues returns the values of a folder and the line that Node wrote for each.
func fixtureValues(t testing.TB, folder string) (values []fixtureValue, lines []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "values.json"))
	require.NoError(t, err)
	var file struct{ Values []fixtureValue }
	require.NoError(t, json.Unmarshal(text, &file))
	text, err = os.ReadFile(filepath.Join(folder, "values.bin"))
	require.NoError(t, err)
	lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	require.Equal(t, len(file.Values), len(lines))
	return file.Values, lines
}

// A fixtureGo says what a JavaScript value is in Go.
type fixtureGo struct {
	send  any    // the Go value that is sent as the JavaScript value is
	want  any    // what Node's text is decoded to; by default what is sent
	null  bool   // it is decoded to nil
	no    string // why there is no Go value to send
	fails string // why Node's text cannot be decoded, in the words of the error
}

type (
	fixturePoint    struct{ X, Y int }
	fixtureReplaced struct{}
	fixtureKeyed    struct{}
)

func (p fixturePoint) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, `{"x": %d, "y": %d}`, p.X, p.Y), nil
}
func (fixtureReplaced) MarshalJSON() ([]byte, error) { return []byte(`{ "replaced": true }`), nil }
func (fixtureKeyed) MarshalText() ([]byte, error)    { return []byte("key member"), nil }

// Go strings cannot hold unpaired surrogates, and what is received has U+FFFD in their place.
const fixtureNoSurrogates = "a Go string has no unpaired surrogates"

func fixtureGoValues() map[string]fixtureGo {
	control := make([]byte, 32)
	for i := range control {
		control[i] = byte(i)
	}
	type object struct {
		A int    `json:"a"`
		B string `json:"b"`
		C any    `json:"c"`
		D []bool `json:"d"`
	}
	type omitted struct {
		A any `json:"a,omitempty"`
		B any `json:"b,omitempty"`
		C any `json:"c,omitempty"`
		D int `json:"d"`
	}
	type ordered struct { // array indexes first, then as they were added
		A string `json:"1"`
		B string `json:"2"`
		C string `json:"10"`
		D string `json:"4294967294"`
		E string `json:"b"`
		F string `json:"a"`
		G string `json:"01"`
		H string `json:"-1"`
		I string `json:"4294967295"`
		J string `json:"1.5"`
	}
	type dated struct {
		Date *time.Time `json:"date"`
	}
	type coded struct {
		Code string `json:"code"`
	}
	one := map[string]int{"a": 1}
	utc := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	nothing := struct{}{}
	return map[string]fixtureGo{
		"string":                   {send: "text"},
		"string_empty":             {send: ""},
		"string_html":              {send: "<script>&amp;'/</script>"},
		"string_quote_backslash":   {send: `a"b\c/d`},
		"string_short_escapes":     {send: "\b\f\n\r\t"},
		"string_control":           {send: string(control)},
		"string_del":               {send: "\u007f"},
		"string_c1":                {send: "\u0080\u0085\u009f"},
		"string_latin1":            {send: "grüße ÿ"},
		"string_line_separators":   {send: "a\u2028b\u2029c"},
		"string_bmp":               {send: "漢字 € \ufeff \ufffd \uffff"},
		"string_astral":            {send: "😀 𝄞 \U0010ffff"},
		"string_lone_high":         {no: fixtureNoSurrogates, want: "a\ufffdb"},
		"string_lone_low":          {no: fixtureNoSurrogates, want: "a\ufffdb"},
		"string_swapped_pair":      {no: fixtureNoSurrogates, want: "\ufffd\ufffd"},
		"string_high_high_low":     {no: fixtureNoSurrogates, want: "\ufffd😀"},
		"string_lone_at_end":       {no: fixtureNoSurrogates, want: "\ufffd"},
		"string_json":              {send: `{"cmd":"NODE_HANDLE"}`},
		"string_long":              {send: strings.Repeat("long ", 20000)},
		"true":                     {send: true},
		"false":                    {send: false},
		"null":                     {send: nil},
		"zero":                     {send: 0},
		"minus_zero":               {send: math.Copysign(0, -1), want: 0.0},
		"nan":                      {send: math.NaN(), null: true},
		"infinity":                 {send: math.Inf(1), null: true},
		"minus_infinity":           {send: math.Inf(-1), null: true},
		"one":                      {send: 1},
		"minus_one":                {send: -1},
		"int32_max":                {send: int32(math.MaxInt32)},
		"int32_min":                {send: int32(math.MinInt32)},
		"uint32_max":               {send: uint32(math.MaxUint32)},
		"safe_max":                 {send: int64(9007199254740991)},
		"safe_max_plus":            {send: float64(9007199254740993)}, // an int64 keeps its digits
		"uint64_max":               {send: float64(18446744073709551615)},
		"fraction":                 {send: 1.5},
		"tenth":                    {send: 0.1},
		"third":                    {send: 1.0 / 3},
		"sum":                      {send: math.Nextafter(0.3, 1)}, // Go adds constants exactly
		"e20":                      {send: 1e20},
		"e21":                      {send: 1e21},
		"below_e21":                {send: 999999999999999900000.0},
		"e_minus_6":                {send: 1e-6},
		"e_minus_7":                {send: 1e-7},
		"mixed_e_minus_7":          {send: 1.25e-7},
		"just_above_e_minus_6":     {send: 0.0000012345},
		"e100":                     {send: 1.5e100},
		"minus_e_minus_10":         {send: -1.5e-10},
		"denormal_min":             {send: 5e-324},
		"double_min":               {send: 2.2250738585072014e-308},
		"double_max":               {send: math.MaxFloat64},
		"double_epsilon":           {send: 2.220446049250313e-16},
		"digits17":                 {send: 123456789.12345679},
		"object_empty":             {send: map[string]any{}},
		"object":                   {send: object{A: 1, B: "two", D: []bool{true}}},
		"object_undefined_members": {send: omitted{D: 1}},
		"object_key_order":         {send: ordered{"1", "2", "10", "4294967294", "b", "a", "01", "-1", "4294967295", "1.5"}},
		"object_key_escapes": {no: fixtureNoSurrogates, want: map[string]string{
			"": "", `"`: `"`, "\n": "\n", "\u2028": "\u2028", "\ufffd": "\ufffd", "ü": "ü", "<": "<",
		}},
		"object_proto_key":      {send: map[string]any{"__proto__": map[string]any{"x": 1.0}, "a": 2.0}},
		"object_null_prototype": {send: one},
		"object_inherited":      {send: map[string]int{"own": 2}},
		"object_getter":         {send: one},
		"object_class":          {send: fixturePoint{1, 2}},
		"object_nested": {send: map[string]any{"a": map[string]any{"b": map[string]any{"c": map[string]any{
			"d": []any{[]any{[]any{map[string]any{}}}},
		}}}}},
		"object_to_json":     {send: fixtureReplaced{}, want: map[string]any{"replaced": true}},
		"object_to_json_key": {send: map[string]fixtureKeyed{"member": {}}, want: map[string]string{"member": "key member"}},
		"object_cmd":         {send: map[string]string{"cmd": "NODE_"}},
		"array_empty":        {send: []int{}},
		"array":              {send: []any{1.0, "two", nil, false, map[string]any{}}},
		"array_holes":        {send: []any{1.0, nil, 3.0}},
		"array_undefined":    {send: []any{nil, nil, nil}},
		"array_numbers":      {send: []float64{1.5, math.Copysign(0, -1), math.NaN(), 1e21}, want: []any{1.5, 0.0, nil, 1e21}},
		"array_expando":      {send: [2]int{1, 2}},
		"array_nested":       {send: []any{[]any{}, []any{[]any{}}, []any{[]any{[]any{}}}}},
		"date":               {send: utc(0)},
		"date_ms":            {send: time.Date(2026, 11, 23, 4, 5, 6, 789e6, time.UTC)},
		"date_far":           {send: utc(8640000000000000), fails: "parsing time"},
		"date_before_year_0": {send: utc(-62198755200000), fails: "parsing time"},
		"date_invalid":       {send: dated{}},
		"buffer":             {send: []byte("hi")},
		"buffer_empty":       {send: []byte{}},
		"uint8array":         {send: map[string]uint8{"0": 1, "1": 2}},
		"float64array":       {send: map[int]float64{0: 1.5, 1: math.Copysign(0, -1)}, want: map[int]float64{0: 1.5, 1: 0}},
		"arraybuffer":        {send: nothing},
		"dataview":           {send: nothing},
		"map":                {send: nothing},
		"set":                {send: nothing},
		"regexp":             {send: nothing},
		"error":              {send: errors.New("lost"), want: nothing},
		"error_code":         {send: coded{"E_CODE"}},
		"boxed_number":       {send: ptrTo(7)},
		"boxed_string":       {send: ptrTo("s")},
		"boxed_boolean":      {send: ptrTo(false)},
		"url":                {send: "http://example.com/a?b#c"},
		"shared_twice":       {send: []map[string]int{one, one}},
		"promise":            {send: nothing},
	}
}

func ptrTo[T any](v T) *T { return &v }

// For the Go value nearest to a JavaScript value our text is Node's, byte for byte, and Node's text gives that value.
func TestJSONFixtures(t *testing.T) {
	values, lines := fixtureValues(t, fixtureFile("json"))
	gos := fixtureGoValues()
	for i, v := range values {
		t.Run(v.Name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			is, ok := gos[v.Name]
			delete(gos, v.Name)
			require.True(t, ok, "no Go value for the JavaScript value %s", v.JS)
			c, p := raw(t, nil)

			if is.no == "" {
				require.NoError(t, c.Send(limited(t), is.send))
				require.Equal(t, lines[i], p.line(), "sent for %#v, JavaScript's %s", is.send, v.JS)
			}

			p.send(lines[i] + "\n")
			m, err := c.Receive(limited(t))
			require.NoError(t, err)
			require.Equal(t, lines[i], string(m.Data))
			want := is.want
			if want == nil && !is.null {
				want = is.send
			}
			into := reflect.ValueOf(new(any))
			if want != nil {
				into = reflect.New(reflect.TypeOf(want))
			}
			err = m.Decode(into.Interface())
			if is.fails != "" {
				require.ErrorContains(t, err, is.fails)
			} else {
				require.NoError(t, err)
				require.Equal(t, want, into.Elem().Interface())
			}

			require.NoError(t, c.Send(limited(t), m), "sent on")
			require.Equal(t, lines[i], p.line())
		})
	}
	if !t.Failed() {
		require.Empty(t, gos, "values that testdata does not have")
	}
}

// ------------------------------------------------------------------------------------------- dialogues about handles

// A fixtureLine is a line of a dialogue: the parent (P) or the child (W) wrote text, with a handle or not; at the end
// text is eof.
type fixtureLine struct {
	side   string
	handle bool
	text   string
}

func fixtureDialogue(t testing.TB, file string) (lines []fixtureLine) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	_, frames, ok := strings.Cut(string(text), "-- frames --\n")
	require.True(t, ok, file)
	for line := range strings.Lines(frames) {
		who, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		side, plus := strings.CutSuffix(who, "+")
		lines = append(lines, fixtureLine{side, plus, text})
	}
	return lines
}

// A fixturePart is what our side does in a dialogue. handles are those that are sent in it, by either side.
type fixturePart func(ctx context.Context, c *Channel, handles *fixtureHandles) error

// fixtureHandles are what travels in a dialogue.
type fixtureHandles struct {
	conns  []wire       // for net.Socket, one each
	server net.Listener // for net.Server
	port   string       // what stands for P1
}

// next returns the next handle of the type that the frame names, and the other end of a connection.
func (h *fixtureHandles) next(frame string) (handle any, there net.Conn) {
	if strings.Contains(frame, `"net.Server"`) {
		return h.server, nil
	}
	w := h.conns[0]
	h.conns = h.conns[1:]
	return w.here, w.there
}

// fixtureTake receives a message and, if it has a handle, says bye over it, or accepts a connection and says it there.
func fixtureTake(ctx context.Context, c *Channel, message string) error {
	m, err := c.Receive(ctx)
	if err != nil {
		return err
	}
	if string(m.Data) != message {
		return fmt.Errorf("received %s, not %s", m.Data, message)
	}
	var conn net.Conn
	switch m.Handle.Type() {
	case "":
		return nil
	case NetSocket:
		if conn, err = m.Handle.Conn(); err != nil {
			return err
		}
	case NetServer:
		ln, err := m.Handle.Listener()
		if err != nil {
			return err
		}
		defer ln.Close()
		client, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
		if err != nil {
			return err
		}
		defer client.Close()
		if conn, err = ln.Accept(); err != nil {
			return err
		}
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "bye")
	return err
}

// fixtureSteps makes a part of steps, one after the other.
func fixtureSteps(steps ...fixturePart) fixturePart {
	return func(ctx context.Context, c *Channel, h *fixtureHandles) error {
		for i, step := range steps {
			if err := step(ctx, c, h); err != nil {
				return fmt.Errorf("step %d: %w", i, err)
			}
		}
		return nil
	}
}

func fixtureReceives(message string) fixturePart {
	return func(ctx context.Context, c *Channel, h *fixtureHandles) error { return fixtureTake(ctx, c, message) }
}

func fixtureSends(v any) fixturePart {
	return func(ctx context.Context, c *Channel, h *fixtureHandles) error { return c.Send(ctx, v) }
}

// fixtureSendsHandle sends the next handle and waits for the answer.
func fixtureSendsHandle(v any, typ HandleType) fixturePart {
	return func(ctx context.Context, c *Channel, h *fixtureHandles) error {
		handle, _ := h.next(`"` + string(typ) + `"`)
		return c.SendHandle(ctx, v, handle)
	}
}

// fixtureEnd waits for the peer's disconnect.
func fixtureEnd(ctx context.Context, c *Channel, h *fixtureHandles) error {
	if _, err := c.Receive(ctx); err != io.EOF {
		return fmt.Errorf("received %v instead of the end", err)
	}
	return nil
}

func fixtureDisconnects(ctx context.Context, c *Channel, h *fixtureHandles) error {
	return c.Disconnect(ctx)
}

// fixtureQueue sends all of sockets-queued in one go.
func fixtureQueue(ctx context.Context, c *Channel, h *fixtureHandles) error {
	result := make(chan error, 2)
	queue := func(v any) error {
		handle, _ := h.next("")
		return c.QueueHandle(v, handle, func(err error) { result <- err })
	}
	return errors.Join(
		c.Send(ctx, "before"), queue("first"), c.Send(ctx, "between"), queue("second"), c.Send(ctx, "after"),
		<-result, <-result, c.Disconnect(ctx),
	)
}

// Our parts as the parent (P) and as the child (W) of the Node that was recorded.
var fixtureParts = map[string]struct{ P, W fixturePart }{
	"socket-tcp": {
		P: fixtureSteps(fixtureSendsHandle("socket", NetSocket), fixtureReceives(`"got socket"`), fixtureDisconnects),
		W: fixtureSteps(fixtureReceives(`"socket"`), fixtureSends("got socket"), fixtureEnd),
	},
	"socket-tcp-client": {
		P: fixtureSteps(fixtureSendsHandle("socket", NetSocket), fixtureDisconnects),
		W: fixtureSteps(fixtureReceives(`"socket"`), fixtureEnd),
	},
	"socket-unix": {
		P: fixtureSteps(fixtureSendsHandle(map[string]string{"sent": "socket"}, NetSocket), fixtureDisconnects),
		W: fixtureSteps(fixtureReceives(`{"sent":"socket"}`), fixtureEnd),
	},
	"sockets-queued": {
		P: fixtureQueue,
		W: fixtureSteps(fixtureReceives(`"before"`), fixtureReceives(`"first"`), fixtureReceives(`"between"`),
			fixtureReceives(`"second"`), fixtureReceives(`"after"`), fixtureEnd),
	},
	"server-tcp": {
		P: fixtureSteps(fixtureSendsHandle("server", NetServer), fixtureReceives(`"got server"`), fixtureDisconnects),
		W: fixtureSteps(fixtureReceives(`"server"`), fixtureSends("got server"), fixtureEnd),
	},
	"server-unix": {
		P: fixtureSteps(fixtureSendsHandle("server", NetServer), fixtureReceives(`"got server"`), fixtureDisconnects),
		W: fixtureSteps(fixtureReceives(`"server"`), fixtureSends("got server"), fixtureEnd),
	},
	"child-socket-tcp": {
		P: fixtureSteps(func(ctx context.Context, c *Channel, h *fixtureHandles) error {
			return c.Send(ctx, map[string]any{"port": json.Number(h.port)})
		}, fixtureReceives(`"socket"`), fixtureDisconnects),
		W: fixtureSteps(func(ctx context.Context, c *Channel, h *fixtureHandles) error {
			return fixtureTake(ctx, c, `{"port":`+h.port+`}`)
		}, fixtureSendsHandle("socket", NetSocket), fixtureEnd),
	},
	"child-server-tcp": {
		P: fixtureSteps(fixtureReceives(`"server"`), fixtureSends("got server"), fixtureDisconnects),
		W: fixtureSteps(fixtureSendsHandle("server", NetServer), fixtureReceives(`"got server"`), fixtureEnd),
	},
}

// fixtureOurs turns a dialogue into the one that is to be had with our side, which differs on purpose.
func fixtureOurs(side string, lines []fixtureLine, unixDomain bool) (ours []fixtureLine) {
	for _, l := range lines {
		switch {
		case side == "W" && strings.Contains(l.text, `"NODE_SOCKET_COUNT"`):
			// A received connection is its receiver's, and not counted any more.
			l.text = strings.Replace(l.text, `"count":1`, `"count":0`, 1)
		case side == "P" && strings.Contains(l.text, `"NODE_SOCKET_`):
			continue // our listeners do not ask what became of the connections that they accepted and we sent,
		case side == "P" && l.handle:
			if i := strings.Index(l.text, `,"key":`); i > 0 && l.side == "P" {
				l.text = l.text[:i] + "}" // so that what we send does not name them
			}
		}
		if l.side == side && l.handle && unixDomain {
			l.text = strings.TrimSuffix(l.text, "}") + `,"nativeKind":"pipe"}` // for Deno
		}
		ours = append(ours, l)
	}
	return ours
}

// The dialogues of a Node parent and a Node child about handles, with our side in the place of either.
func TestDialogueFixtures(t *testing.T) {
	for _, node := range []int{12, 20, 26} {
		files, err := filepath.Glob(fixtureFile("dialogues", fmt.Sprintf("*.node%d.txtar", node)))
		require.NoError(t, err)
		found := 0
		for _, file := range files {
			lines := fixtureDialogue(t, file)
			if slices.ContainsFunc(lines, func(l fixtureLine) bool { return strings.Contains(l.text, "NODE_CLUSTER") }) {
				continue
			}
			found++
			name, _, _ := strings.Cut(filepath.Base(file), ".")
			for _, side := range []string{"P", "W"} {
				t.Run(fmt.Sprintf("%s %d as %s", name, node, side), func(t *testing.T) {
					testkit.CheckLeaks(t)
					part := fixtureParts[name].W
					if side == "P" {
						part = fixtureParts[name].P
					}
					require.NotNil(t, part, "no such part")
					unixDomain := strings.Contains(name, "unix")
					fixtureReplay(t, side, part, fixtureOurs(side, lines, unixDomain), unixDomain)
				})
			}
		}
		require.Equal(t, len(fixtureParts), found, "dialogues of Node %d", node)
	}
}

// fixtureReplay has our part run against a peer that says what the other side said.
func fixtureReplay(t *testing.T, side string, part fixturePart, lines []fixtureLine, unixDomain bool) {
	c, p := raw(t, nil)
	h := &fixtureHandles{port: "41001"}
	network, address := "tcp", "127.0.0.1:0"
	if unixDomain {
		network, address = "unix", filepath.Join(t.TempDir(), "s")
	}
	var err error
	h.server, err = net.Listen(network, address)
	require.NoError(t, err)
	defer h.server.Close()
	for range 2 {
		if unixDomain {
			h.conns = append(h.conns, unixWire(t))
		} else {
			h.conns = append(h.conns, tcpWire(t))
		}
	}
	peers := *h           // the same handles, to be sent by the peer
	var theirs []net.Conn // where our part says bye
	result := outcome(t, "our part", func() error { return part(limited(t), c, h) })
	for i, l := range lines {
		text := strings.ReplaceAll(l.text, `"port":P1`, `"port":`+h.port)
		switch {
		case l.side != side && text == "eof":
			p.close()
		case l.side != side && l.handle:
			handle, there := peers.next(text)
			p.sendFD(text+"\n", fdOf(t, handle))
			if there != nil {
				theirs = append(theirs, there)
			}
		case l.side != side:
			p.send(text + "\n")
		case text == "eof":
			p.end()
		default:
			require.Equal(t, text, p.line(), "line %d", i)
			if l.handle {
				handle, _ := peers.next(text)
				require.Equal(t, fixtureSocket(t, fdOf(t, handle)), fixtureSocket(t, p.handle()), "another socket")
			}
		}
	}
	require.NoError(t, result())
	for _, conn := range theirs {
		text := make([]byte, len("bye"))
		_, err := io.ReadFull(conn, text)
		require.NoError(t, err)
		require.Equal(t, "bye", string(text))
	}
}

// fixtureSocket returns what identifies a socket.
func fixtureSocket(t testing.TB, fd int) (id uint64) {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &st))
	return st.Ino
}
