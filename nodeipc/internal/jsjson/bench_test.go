package jsjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	goccy "github.com/goccy/go-json"
)

type benchStruct struct {
	ID   int      `json:"id"`
	Name string   `json:"name"`
	Path string   `json:"path,omitempty"`
	Tags []string `json:"tags"`
	Done bool     `json:"done"`
}

type benchMixed struct {
	benchStruct
	Score float64        `json:"score"`
	Extra map[string]any `json:"extra,omitempty"`
}

var (
	benchValue = benchStruct{ID: 4711, Name: "resize", Path: "/images/a.png", Tags: []string{"x", "thumb"}, Done: true}
	benchMap   = map[string]any{"id": 4711, "name": "resize", "score": 0.25, "done": true, "tags": []any{"x", "thumb"}}
	bench64    = []byte(`{"id":4711,"name":"resize","path":"/img/a.png","done":true,"n":5}`)
)

// nested is a document of about n bytes with objects, arrays, numbers and short strings.
func nested(n int, space bool) []byte {
	var b bytes.Buffer
	b.WriteString(`{"items":[`)
	for i := 0; b.Len() < n; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"name":"item number %d","score":%g,"tags":["red","blue",null,true],"at":{"x":%d,"y":[1,2,[3]]}}`,
			i, i, float64(i)/8, -i)
	}
	b.WriteString(`]}`)
	if space {
		var out bytes.Buffer
		if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
			panic(err)
		}
		return out.Bytes()
	}
	return b.Bytes()
}

func scanInputs() []struct {
	name string
	data []byte
} {
	return []struct {
		name string
		data []byte
	}{
		{"64B", bench64},
		{"cmd", []byte(`{"cmd":"NODE_HANDLE_ACK"}`)},
		{"string1K", []byte(`"` + strings.Repeat("abcdefgh", 128) + `"`)},
		{"string1M", []byte(`"` + strings.Repeat("abcdefgh", 128<<10) + `"`)},
		{"nested1M", nested(1<<20, false)},
		{"indented1M", nested(1<<19, true)},
	}
}

func BenchmarkScan(b *testing.B) {
	for _, in := range scanInputs() {
		b.Run(in.name, func(b *testing.B) {
			b.SetBytes(int64(len(in.data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Scan(in.data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompact(b *testing.B) {
	for _, in := range scanInputs() {
		b.Run(in.name, func(b *testing.B) {
			b.SetBytes(int64(len(in.data)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst, _, _ = Compact(dst[:0], in.data)
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	values := []struct {
		name string
		v    any
	}{
		{"string", "hello, world"},
		{"int", 4711},
		{"struct", benchValue},
		{"structPointer", &benchValue},
		{"structs100", slicesOf(benchValue, 100)},
		{"mixed", benchMixed{benchStruct: benchValue, Score: 0.5, Extra: benchMap}},
		{"map", benchMap},
		{"mapStrings", map[string]string{"a": "x", "b": "y", "c": "z"}},
		{"list", []any{1, "x", nil, true, 2.5}},
		{"raw", json.RawMessage(bench64)},
		{"string64K", strings.Repeat("abcdefgh", 8<<10)},
		{"euro64K", strings.Repeat("abcde€", 8<<10)},
		{"buffer1K", make([]byte, 1024)},
	}
	for _, c := range values {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			dst, _, err := Append(nil, c.v)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(dst)))
			for b.Loop() {
				dst, _, _ = Append(dst[:0], c.v)
			}
		})
	}
	// What goccy is worth: the same struct by our own encoder.
	b.Run("structOurs", func(b *testing.B) {
		b.ReportAllocs()
		var dst []byte
		for b.Loop() {
			dst = appendOurs(dst[:0], &benchValue)
		}
	})
	b.Run("structs100Ours", func(b *testing.B) {
		b.ReportAllocs()
		var dst []byte
		v := slicesOf(benchValue, 100)
		for b.Loop() {
			dst = appendOurs(dst[:0], v)
		}
	})
}

func appendOurs(dst []byte, v any) []byte {
	e := states.Get().(*state)
	e.dst = dst
	if err := e.value(v); err != nil {
		panic(err)
	}
	dst = e.dst
	e.release()
	return dst
}

func slicesOf(v benchStruct, n int) []benchStruct {
	s := make([]benchStruct, n)
	for i := range s {
		s[i] = v
	}
	return s
}

func BenchmarkUnmarshal(b *testing.B) {
	text, _, err := Append(nil, benchValue)
	if err != nil {
		b.Fatal(err)
	}
	buffer := []byte(`{"name":"x","data":{"type":"Buffer","data":[104,105,32,116,104,101,114,101]}}`)
	b.Run("struct", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v benchStruct
			if err := Unmarshal(text, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("structGoccyAlone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v benchStruct
			if err := goccy.Unmarshal(text, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("any", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v any
			if err := Unmarshal(text, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("any64B", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v any
			if err := Unmarshal(bench64, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, n := range []int{1 << 20} {
		text := nested(n, false)
		b.Run("anyNested1M", func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				var v any
				if err := Unmarshal(text, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("anyNested1MGoccyAlone", func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				var v any
				if err := goccy.Unmarshal(text, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("buffer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v struct {
				Name string
				Data []byte
			}
			if err := Unmarshal(buffer, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkUnmarshalBuffer(b *testing.B) {
	for _, n := range []int{8, 1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			text, _, err := Append(nil, struct{ Data []byte }{bytes.Repeat([]byte{7, 77, 177, 0}, n/4)})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				var v struct{ Data []byte }
				if err := Unmarshal(text, &v); err != nil || len(v.Data) != n {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMembers(b *testing.B) {
	text := []byte(`{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"a":[1,2,3],"b":"text"},"key":"4:127.0.0.1:0"}`)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for name, raw := range Members(text) {
			n += len(name) + len(raw)
		}
		if n == 0 {
			b.Fatal("nothing found")
		}
	}
}
