//go:build unix

package nodeipc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

func init() {
	roles["hostile-values"] = func() error {
		ch, err := Connect(nil)
		if err != nil {
			return err
		}
		defer ch.Close()
		if err := sendHostileValues(ch); err != nil {
			return err
		}
		return ch.Disconnect(context.Background())
	}
}

type (
	textMarshaler string
	nested        struct{ A *nested }
	withCmd       struct {
		Cmd any `json:"cmd"`
	}
)

func (t textMarshaler) MarshalText() ([]byte, error) { return []byte(t), nil }

// A hostileValue is what a program may try to send by mistake or on purpose.
type hostileValue struct {
	name string
	v    any
}

func hostileValues() (list []hostileValue) {
	add := func(name string, v any) { list = append(list, hostileValue{name, v}) }

	texts := map[string]string{
		"empty": "", "newline": "\n", "newlines": "\n\n\n", "white space": " \t\r\n", "two lines": "1\n2", "a line and an ACK": "1\n" + ack + "\n",
		"an empty line between": "1\n\n2", "newlines between tokens": "{\n\"a\"\n:\r\n1\n}\n", "BOM": "\xef\xbb\xbf1", "NUL": "\x00", "garbage": "garbage",
		"NUL in a string": "\"\x00\"", "newline in a string": "\"a\nb\"", "CR in a string": "\"a\rb\"", "undefined": "undefined", "NaN": "NaN",
		"lone surrogate": `"\ud800"`, "surrogates the wrong way round": `"\udfff\ud800"`, "surrogate and text": `"\ud800x"`,
		"bad UTF-8": "\"a\xff\xc0\x80b\"", "surrogate in UTF-8": "\"\xed\xa0\x80\"", "cut off UTF-8": "\"\xe4\xbd\"", "bad UTF-8 outside": "\xff", "bad UTF-8 as a key": "{\"\xff\":1}",
		"line separators": "\"\u2028\u2029\u0085\"", "unfinished": `{"a":`, "unfinished string": `"a`, "two values": "1 2", "comma": "[1,]",
		"100000 digits": strings.Repeat("9", 100000), "a huge exponent": "1e999999999999", "-0": "-0", "leading zero": "01",
		"deep": strings.Repeat("[", 20000) + strings.Repeat("]", 20000), "deep objects": strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000),
		"deep and broken": strings.Repeat("[", 20000), "many keys": "{" + strings.Repeat(`"a":0,`, 100000) + `"b":0}`, "__proto__": `{"__proto__":` + ack + `}`,
		"ACK": ack, "NACK": nack, "frame": frame(NetSocket, "1"), "ACK with spaces": " { \"cmd\" : \"NODE_HANDLE_ACK\" } ",
		"ACK in escapes": `{"\u0063m\u0064":"\u004eODE\u005fHANDLE_AC\u004b"}`, "ACK as the last member": `{"cmd":"user","cmd":"NODE_HANDLE_ACK"}`,
		"ACK as the first member": `{"cmd":"NODE_HANDLE_ACK","cmd":"user"}`, "ACK in an array": "[" + ack + "]", "ACK and bad UTF-8": "{\"cmd\":\"NODE_HANDLE_ACK\xff\"}",
		"lower case": `{"cmd":"node_handle_ack"}`, "cmd of an array": `{"cmd":["NODE_HANDLE_ACK"]}`, "shortest cmd": `{"cmd":"NODE_"}`,
		"cluster": `{"cmd":"NODE_CLUSTER","act":"disconnect","seq":0}`, "cluster answer": `{"cmd":"NODE_CLUSTER","ack":0,"errno":0,"seq":0}`,
		"socket list": `{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"k"}`, "socket list answer": `{"cmd":"NODE_SOCKET_ALL_CLOSED"}`, "novelty": `{"cmd":"NODE_NOVELTY"}`,
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		text := texts[name]
		add("raw: "+name, json.RawMessage(text))
		add("marshaler: "+name, marshaler(text))
		add("message: "+name, &Message{Data: []byte(text)})
		m := &Message{Data: []byte(`"checked"`), codec: jsonCodec{}}
		m.seal(scanned{whole: true})
		m.Data = append(m.Data[:0], text...) // as a program may do with a message that it has received
		add("changed message: "+name, m)
		add("text: "+name, text)
		add("text marshaler: "+name, textMarshaler(text))
		add("key: "+name, map[string]int{text: 1})
		add("key of a text marshaler: "+name, map[textMarshaler]string{textMarshaler(text): "NODE_HANDLE_ACK"})
		add("cmd: "+name, withCmd{text})
		add("number: "+name, json.Number(text))
		add("raw within: "+name, map[string]any{"a": json.RawMessage(text), "cmd": marshaler(text)})
		add("raw cmd: "+name, withCmd{json.RawMessage(text)})
	}
	cut := &Message{Data: []byte(`{"a":"b"}`), codec: jsonCodec{}}
	cut.seal(scanned{whole: true})
	cut.Data = cut.Data[:4]
	add("message that was cut off", cut)
	broken := &Message{Data: []byte(`{"a":"b"}`), codec: jsonCodec{}}
	broken.seal(scanned{whole: true})
	broken.Data[3] = '\n'
	add("message with a newline put in", broken)
	long := &Message{Data: []byte(`{"a":"` + strings.Repeat("x", 8<<10) + `" }`), codec: jsonCodec{}}
	long.seal(scanned{whole: true, quick: true})
	long.Data[len(long.Data)-2] = '\n'
	add("long message with a newline put in", long)

	cycle := map[string]any{}
	cycle["cycle"] = cycle
	list1 := []any{nil}
	list1[0] = list1
	ring := &nested{}
	ring.A = ring
	deep := &nested{}
	for range 20000 {
		deep = &nested{deep}
	}
	var deepAny any = 1
	for range 100000 {
		deepAny = []any{deepAny}
	}
	for i, v := range []any{
		nil, (*Message)(nil), &Message{}, Message{}, (*nested)(nil), json.RawMessage(nil), (json.Marshaler)(nil), marshaler(""), cycle, list1, ring, deep, deepAny,
		func() {}, make(chan int), complex(1, 2), math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), math.MaxFloat64, math.SmallestNonzeroFloat64,
		uint64(math.MaxUint64), int64(math.MinInt64), new(big.Int).Lsh(big.NewInt(1), 10000), time.Time{}, time.Date(123456, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-5, 1, 1, 0, 0, 0, 0, time.UTC),
		[]byte(nil), []byte("\n"), bytes.Repeat([]byte{0xff}, 100000), [3]byte{10, 13, 0}, map[int]any{-1: 1, 1: 2}, map[bool]int{true: 1}, map[any]any{1: 2}, struct{}{}, []any{}, [0]int{},
		errors.New("an error"), context.Background(), os.Stdout, Internal{}, Internal{nil}, Internal{Internal{map[string]string{"cmd": "NODE_NOVELTY"}}}, &Internal{map[string]string{"cmd": "NODE_HANDLE_ACK"}},
		[]any{Internal{map[string]string{"cmd": "NODE_HANDLE_ACK"}}}, struct{ Internal }{Internal{map[string]string{"cmd": "NODE_HANDLE_ACK"}}}, strings.Repeat("\x00", 100000), strings.Repeat("\xff", 100000),
		strings.Repeat("\u2028", 100000), failing{}, withCmd{withCmd{"NODE_HANDLE_ACK"}}, withCmd{textMarshaler("NODE_HANDLE_ACK")}, withCmd{[]byte("NODE_HANDLE_ACK")}, net.IPv4(1, 2, 3, 4),
	} {
		add(fmt.Sprintf("value %d, %T", i, v), v)
	}
	return list
}

type failing struct{}

func (failing) MarshalJSON() ([]byte, error) { return []byte(ack), errors.New("no") }

// sendHostileValues sends all of them in every way that there is, and asks after each whether the peer, hostile_peer.js,
// is well.
func sendHostileValues(c *Channel) error {
	asked := 0
	well := func(ctx context.Context) error {
		asked++
		question := fmt.Sprint("well? ", asked)
		if err := c.Send(ctx, question); err != nil {
			return err
		}
		for {
			m, err := c.Receive(ctx)
			if err != nil {
				return fmt.Errorf("is the peer well? %w", err)
			}
			if m.Handle.Close(); strings.Contains(string(m.Data), question+`\"`) {
				return nil
			}
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer ln.Close()
	values := hostileValues()
	sent := 0
	try := func(i int, test hostileValue) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ways := map[string]func() error{
			"Send":          func() error { return c.Send(ctx, test.v) },
			"Send Internal": func() error { return c.Send(ctx, Internal{test.v}) },
		}
		if i%5 == 0 || !strings.Contains(test.name, ": ") { // enough, and quicker
			ways["SendHandle"] = func() error { return c.SendHandle(ctx, test.v, ln) }
			ways["SendHandle Internal"] = func() error { return c.SendHandle(ctx, Internal{test.v}, ln) }
			ways["QueueHandle"] = func() error {
				return c.QueueHandle(test.v, ln, func(error) {})
			}
		}
		for way, send := range ways {
			if send() == nil {
				sent++
			}
			if err := c.Err(); err != nil {
				return fmt.Errorf("%s of %s: %w", way, test.name, err)
			}
		}
		if err := well(ctx); err != nil {
			return fmt.Errorf("after %s: %w", test.name, err)
		}
		return nil
	}
	for i, test := range values {
		if _, deep := test.v.(*nested); deep && raceEnabled {
			continue // the race detector makes three seconds of ten thousand levels
		}
		if err := try(i, test); err != nil {
			return err
		}
	}
	if sent < len(values)/2 {
		return fmt.Errorf("only %d of %d values went out", sent, len(values))
	}
	return nil
}

// Whatever a program tries to send, a real Node peer lives on, child or parent.
func TestHostileValuesToNode(t *testing.T) {
	t.Run("child", func(t *testing.T) {
		testkit.CheckLeaks(t)
		p := startNode(t, nil, "hostile_peer.js")
		require.NoError(t, sendHostileValues(p.Channel))
		require.NoError(t, p.Disconnect(limited(t)))
		require.NoError(t, p.wait())
	})
	t.Run("parent", func(t *testing.T) {
		testkit.CheckLeaks(t)
		bin, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(testkit.Node(t), testkit.Fixture("hostile_peer.js"), bin)
		cmd.Env = append(os.Environ(), envRole+"=hostile-values", quickExit)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
}
