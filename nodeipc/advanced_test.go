//go:build unix

package nodeipc

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

var advanced = &Options{Serialization: Advanced}

// Values that JSON does not have go to a Node child and come back as they were.
func TestAdvancedEcho(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, advanced, "echo.js")
	deep := any(nil)
	for range 999 {
		deep = []any{deep}
	}
	cycle := map[string]any{"name": "self"}
	cycle["self"] = cycle
	for name, v := range map[string]any{
		"text": "text", "number": 1.5, "int": 7.0, "null": nil, "true": true, "undefined": v8.Undefined{},
		"list": []any{1.0, "two", nil}, "object": map[string]any{"a": 1.0},
		"buffer": []byte{0, 1, 2}, "no buffer": []byte{}, "64 Ki": bytes.Repeat([]byte("x"), 64<<10), "1 Mi": bytes.Repeat([]byte("x"), 1<<20),
		"bigint": big.NewInt(1 << 40), "date": v8.DateOf(time.UnixMilli(1234567890123)),
		"map": new(v8.Map).Set("k", 1.0), "set": new(v8.Set).Add("v"), "regexp": &v8.RegExp{Source: "a+", Flags: "gi"},
		"deep": deep, "cmd": map[string]any{"cmd": "NODE_"}, "two bytes": "€uro", "surrogate": "\xed\xa0\x80",
	} {
		t.Run(name, func(t *testing.T) {
			if name == "cmd" && testkit.Peer(t).Kind == "Deno" {
				t.Skip("Deno takes it for an internal message")
			}
			if name == "undefined" || name == "bigint" { // process.send takes them within others only
				v = map[string]any{"v": v}
			}
			send(t, p.Channel, v)
			m, err := p.Receive(limited(t))
			require.NoError(t, err)
			var got any
			require.NoError(t, m.Decode(&got))
			require.Equal(t, v, got)
			// The message itself, as it came.
			send(t, p.Channel, m)
			m, err = p.Receive(limited(t))
			require.NoError(t, err)
			var again any
			require.NoError(t, m.Decode(&again))
			require.Equal(t, v, again)
		})
	}
	send(t, p.Channel, cycle)
	m, err := p.Receive(limited(t))
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, m.Decode(&got))
	got["self"].(map[string]any)["name"] = "changed"
	require.Equal(t, "changed", got["name"])
	require.NoError(t, p.Disconnect(limited(t)))
	require.NoError(t, p.wait())
}

// Frames are so long that none of them has its length field across a multiple of four bytes.
func TestAdvancedFrames(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, advanced)
	for n := range 100 {
		send(t, c, strings.Repeat("x", n))
	}
	require.NoError(t, c.Flush(limited(t)))
	for n := range 100 {
		for len(p.in) < 4 || len(p.in) < 4+int(binary.BigEndian.Uint32(p.in)) {
			require.True(t, p.read())
		}
		size := 4 + int(binary.BigEndian.Uint32(p.in))
		require.Zero(t, size%4)
		var got string
		require.NoError(t, (&v8.Decoder{Layout: v8.Channel}).Decode(p.in[4:size], &got))
		require.Equal(t, strings.Repeat("x", n), got)
		p.in = p.in[size:]
	}
}

// However a member cmd is written that came from elsewhere, it is not sent where Node would take it for its own.
func TestAdvancedForeignCmd(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, advanced)
	for _, inner := range []string{
		"o\"\x03cmd\"\x0fNODE_HANDLE_ACK{\x01", "oS\x03cmd\"\x0fNODE_HANDLE_ACK{\x01", "oc\x06c\x00m\x00d\x00\"\x0fNODE_HANDLE_ACK{\x01",
		"?\x05o\"\x03cmd\"\x0fNODE_HANDLE_ACK{\x01", "\x00o\"\x03cmd\"\x0fNODE_HANDLE_ACK{\x01", "o\"\x83\x00cmd\"\x0fNODE_HANDLE_ACK{\x01",
		"A\x00\"\x03cmdS\x0fNODE_HANDLE_ACK$\x01\x00", "\\\x01o\"\x03cmd\"\x0fNODE_HANDLE_ACK{\x01",
	} {
		p.send(advancedFrame("\xff\x0do\"\x01d" + inner + "{\x01"))
		m, err := c.Receive(limited(t))
		require.NoError(t, err, "%q", inner)
		var got struct {
			D v8.Value `v8:"d"`
		}
		require.NoError(t, m.Decode(&got))
		require.ErrorIs(t, c.Send(limited(t), got.D), ErrInternalMessage, "%q", inner)
	}
}

// A program may own Data by copying it, and do with the old bytes what it likes.
func TestAdvancedDataReplaced(t *testing.T) {
	testkit.CheckLeaks(t)
	c, p := raw(t, advanced)
	p.send(advancedFrame("\xff\x0do\"\x01s\"\x05hello\"\x01b\\\x00\x0a\x03raw{\x02"))
	m, err := c.Receive(limited(t))
	require.NoError(t, err)
	old := m.Data
	m.Data = bytes.Clone(old)
	copy(old[2:], bytes.Repeat([]byte{0xff}, len(old)))
	var got map[string]any
	require.NoError(t, m.Decode(&got))
	require.Equal(t, map[string]any{"s": "hello", "b": []byte("raw")}, got)
	copy(m.Data[2:], "o{\x00")
	require.NoError(t, m.Decode(&got))
	require.NoError(t, c.Send(limited(t), m))
}

func advancedFrame(payload string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(payload)))) + payload
}

// What no Node sends in advanced mode ends the channel, as early as that can be seen.
func TestAdvancedBadInput(t *testing.T) {
	for name, test := range map[string]struct{ input, want string }{
		"bun":          {"\x01\x02\x00\x00\x00", "serialization: 'json'"},
		"json":         {"{\"a\":1}\n", "not in advanced serialization"},
		"empty":        {"\x00\x00\x00\x00", "cannot read"},
		"version 12":   {advancedFrame("\xff\x0c0"), "cannot read"},
		"cut":          {advancedFrame("\xff\x0do\"\x01a"), "cannot read"},
		"long length":  {"\xff\xff\xff\xff\xff", "too big"},
		"unknown tag":  {advancedFrame("\xff\x0d\x07"), "cannot read"},
		"empty handle": {advancedFrame("\xff\x0do\"\x03cmd\"\x0bNODE_HANDLE{\x01") + advancedFrame("\xff\x0d\x07"), "cannot read"},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.CheckLeaks(t)
			c, p := raw(t, advanced)
			if name != "bun" { // which is recognised as the beginning
				p.send(advancedFrame("\xff\x0d\"\x02ok"))
			}
			p.send(test.input)
			if name != "bun" {
				m, err := c.Receive(limited(t))
				require.NoError(t, err)
				var got string
				require.NoError(t, m.Decode(&got))
				require.Equal(t, "ok", got)
			}
			_, err := c.Receive(limited(t))
			require.ErrorContains(t, err, test.want)
			ended(t, c.Done(), "Done")
		})
	}
}

// Sockets, and messages before and behind them, both ways.
func TestAdvancedHandles(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, advanced, "echo.js", "--handles")
	ctx := limited(t)
	for range 20 {
		w := tcpWire(t)
		send(t, p.Channel, []byte("before"))
		require.NoError(t, p.SendHandle(ctx, map[string]any{"b": []byte("€")}, w.here))
		w.here.Close()
		send(t, p.Channel, "behind")
		var text []string
		for range 3 {
			m, err := p.Receive(ctx)
			require.NoError(t, err)
			var v any
			require.NoError(t, m.Decode(&v))
			switch v := v.(type) {
			case []byte:
				text = append(text, string(v))
			case string:
				text = append(text, v)
			case map[string]any:
				require.Equal(t, []byte("€"), v["b"])
				back, err := m.Handle.Conn()
				require.NoError(t, err)
				carries(t, back, w.there)
				back.Close()
			}
		}
		require.Equal(t, []string{"before", "behind"}, text)
	}
	require.NoError(t, p.Disconnect(ctx))
	require.NoError(t, p.wait())
}

func init() {
	roles["advanced-echo"] = func() error {
		ch, err := Connect(nil)
		if err != nil {
			return err
		}
		defer ch.Close()
		ctx := context.Background()
		for m, err := range ch.Messages(ctx) {
			if err != nil {
				return err
			}
			var v any
			if err := m.Decode(&v); err != nil {
				return err
			}
			if err := ch.Send(ctx, v); err != nil {
				return err
			}
		}
		return nil
	}
}

// A Go child of a Node parent, which the environment tells the serialization.
func TestAdvancedChild(t *testing.T) {
	testkit.CheckLeaks(t)
	script := `
		const assert = require('assert');
		const child = require('child_process').spawn(process.argv[1], [], { stdio: ['ignore', 1, 2, 'ipc'], serialization: 'advanced' });
		const shared = { n: 1 };
		const cycle = { shared, also: shared }; cycle.self = cycle;
		const values = [1, -0, NaN, 'text', '\u20ac', [1, , 3], Buffer.from('hi'), new Map([[{ a: 1 }, new Set([1n, -5n])]]), new Date(5), /a/gi,
			{ big: BigInt('1' + '0'.repeat(30)) }, cycle, { u: undefined, n: null }, new Uint8Array(3), new Float64Array([1.5]), Object.assign([1], { x: 2 }), new ArrayBuffer(3)];
		child.on('message', (m) => {
			assert.deepStrictEqual(m, values.shift());
			if (values.length === 0) child.disconnect();
			else child.send(values[0]);
		});
		child.send(values[0]);
		child.on('exit', (code) => { assert.strictEqual(values.length, 0); console.log('exit ' + code); });
	`
	cmd := nodeCommand(t, "-e", script, self(t, "").Path)
	cmd.Env = append(cmd.Environ(), envRole+"=advanced-echo", quickExit)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "exit 0\n", string(out))
}
