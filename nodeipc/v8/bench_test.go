package v8

import (
	"strconv"
	"testing"
	"time"
)

type benchNode struct {
	Name  string         `json:"name"`
	Index int            `json:"index"`
	When  time.Time      `json:"when"`
	Tags  map[string]int `json:"tags"`
	List  []float64      `json:"list"`
}

// graph is 200 objects with maps and dates in them.
func graph() (any, []benchNode) {
	list := make([]any, 200)
	typed := make([]benchNode, 200)
	for i := range list {
		when := time.UnixMilli(1_700_000_000_000 + int64(i))
		list[i] = m{"name": "node " + strconv.Itoa(i), "index": float64(i), "when": DateOf(when), "tags": m{"a": 1.0, "b": 2.0}, "list": []any{1.0, 2.5, float64(i)}}
		typed[i] = benchNode{"node " + strconv.Itoa(i), i, when, map[string]int{"a": 1, "b": 2}, []float64{1, 2.5, float64(i)}}
	}
	return list, typed
}

func BenchmarkEncode(b *testing.B) {
	list, typed := graph()
	for name, v := range map[string]any{"any": list, "struct": typed, "buffer": make([]byte, 1024), "small": m{"cmd": "x", "n": 5.0}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			e := Encoder{Layout: Channel}
			for b.Loop() {
				var err error
				if buf, err = e.Append(buf[:0], v); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	list, _ := graph()
	for _, c := range []struct {
		name  string
		value any
		into  func() any
	}{
		{"any", list, func() any { return new(any) }},
		{"struct", list, func() any { return new([]benchNode) }},
		{"buffer", make([]byte, 1024), func() any { return new([]byte) }},
		{"small any", m{"cmd": "x", "n": 5.0}, func() any { return new(any) }},
		{"small struct", m{"cmd": "x", "n": 5.0}, func() any {
			return new(struct {
				Cmd string
				N   float64
			})
		}},
	} {
		payload, err := (&Encoder{Layout: Channel}).Append(nil, c.value)
		if err != nil {
			b.Fatal(err)
		}
		d := Decoder{Layout: Channel}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				if err := d.Decode(payload, c.into()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+" parse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(payload, Channel); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
