package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// A corpus is a cycle of messages of equal length, framed, as one text. In JSON their members are in sorted order, their
// numbers have one form only and their strings are escaped as JSON.stringify does it, so that every way of decoding and
// encoding gives the same bytes again.
type corpus struct {
	frame int    // bytes of one frame
	cycle int    // bytes of the cycle
	text  []byte // the cycle, and enough of the next one that a read never has to wrap around
	ids   []uint32
}

// makeCorpus returns a function that makes a corpus of count messages once, when it is wanted.
func makeCorpus(count int, message func(id int, name string) string) func() *corpus {
	return makeFrames(count, func(id int, name string) []byte { return append([]byte(message(id, name)), '\n') })
}

func makeFrames(count int, frame func(id int, name string) []byte) func() *corpus {
	names := [...]string{"Ada", "Grace", "Edsger", "Barbara", "Donald", "Hedy", "Ken", "Margaret"}
	return sync.OnceValue(func() *corpus {
		c := &corpus{}
		for i := range count {
			id := 100000 + (i*7919)%899981 // six digits, no two alike
			c.ids = append(c.ids, uint32(id))
			c.text = append(c.text, frame(id, names[i%len(names)])...)
		}
		return c.closed()
	})
}

// closed completes a corpus of which text and ids are there.
func (c *corpus) closed() *corpus {
	c.cycle = len(c.text)
	c.frame = c.cycle / len(c.ids)
	for len(c.text) < c.cycle+readSize {
		c.text = append(c.text, c.text[:min(c.cycle, readSize)]...)
	}
	return c
}

// advanced makes a corpus of values in advanced serialization, in frames as this library writes them.
func advanced(count int, value func(id int, name string) any) func() *corpus {
	return makeFrames(count, func(id int, name string) []byte {
		frame, err := (&v8.Encoder{Layout: v8.Channel}).Append(make([]byte, 4), value(id, name))
		if err != nil {
			panic(err) // nothing in it can fail
		}
		for len(frame)%4 != 0 {
			frame = append(frame, 0)
		}
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		return frame
	})
}

// buffers makes a corpus of Buffers.
func buffers(size, count int) func() *corpus {
	return advanced(count, func(id int, _ string) any {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i * id >> 8)
		}
		return b
	})
}

// graphs makes a corpus of object graphs: 200 objects in objects, 100 Maps and 100 Dates, and arrays.
func graphs() func() *corpus {
	return advanced(16, func(id int, name string) any {
		items := make([]any, 100)
		for i := range items {
			items[i] = map[string]any{
				"geo":  map[string]any{"lat": 0.5 + float64(i), "lng": -0.25 - float64(i)},
				"list": []any{1, 2.5, i},
				"name": fmt.Sprintf("%-8s the %3dth", name, i),
				"ok":   i%3 == 0,
				"tags": new(v8.Map).Set("alpha", i).Set("beta", true),
				"when": v8.DateOf(time.UnixMilli(1.7e12 + int64(i)*1e6)),
			}
		}
		return map[string]any{"id": id, "items": items, "type": "graph"}
	})
}

// messages makes a corpus of flat objects of exactly size bytes: most of it is a text or, in small ones, the name.
func messages(size, count int) func() *corpus {
	const words = "The quick brown fox jumps over the lazy dog while the five boxing wizards jump quickly. "
	return makeCorpus(count, func(id int, name string) string {
		head := fmt.Sprintf(`{"id":%d,"name":"%s`, id, name)
		tail := `","ok":true,"type":"greeting"}`
		fill := strings.Repeat(".", 64)
		if size > 64 {
			head += `","ok":true,"text":"`
			tail = `","type":"greeting"}`
			fill = strings.Repeat(words, size/len(words)+1)
		}
		return head + fill[:size-len(head)-len(tail)] + tail
	})
}

// documents makes a corpus of large nested objects: arrays, strings with escapes and without, in several scripts,
// integers, fractions and booleans.
func documents(size int) func() *corpus {
	return makeCorpus(3, func(id int, _ string) string {
		r := rand.New(rand.NewPCG(1, 2))
		texts := []string{
			"plain words of a note", "a \"quoted\" word\nand a second line\t", `C:\path\of\a\file`,
			"naïve café, 東京, Привет", "smile 😀 & <wave>", "",
		}
		text := func() string { return texts[r.IntN(len(texts))] }
		fraction := func(n int) float64 { return float64(1+r.IntN(n*1000)) / 1000 } // never 0, of which -0 has no one form
		item := func(id int) any {
			var history []any
			for range 4 {
				at := int64(1.7e12) + r.Int64N(1e9)
				history = append(history, map[string]any{"at": at, "done": r.IntN(2) == 0, "text": text()})
			}
			var note any
			if r.IntN(3) > 0 {
				note = text()
			}
			return map[string]any{
				"active": r.IntN(2) == 0, "balance": fraction(100000), "id": id, "note": note, "history": history,
				"name": fmt.Sprintf("Zoë Müller the %dth", id), "tags": []any{"alpha", "beta", text()},
				"geo":    map[string]any{"lat": fraction(90), "lng": -fraction(180)},
				"scores": []any{fraction(10), fraction(10), r.IntN(100), -1 - r.IntN(100), float64(1+r.IntN(999)) / 1e9},
			}
		}
		var items []any
		for about := 0; about < size; about += 500 {
			items = append(items, item(len(items)))
		}
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		err := enc.Encode(map[string]any{
			"id": id, "items": items, "type": "document",
			"meta": map[string]any{
				"count": len(items), "title": "the large document", "tree": map[string]any{"depth": 3, "path": []int{1, 2, 3}},
			},
		})
		if err != nil {
			panic(err) // nothing in it can fail
		}
		return strings.TrimSuffix(out.String(), "\n")
	})
}

// from gives what comes at offset off of the endless repetition: n bytes, or fewer but at least readSize.
func (c *corpus) from(off, n int) []byte {
	text := c.text[off%c.cycle:]
	return text[:min(n, len(text))]
}

func (c *corpus) count() int { return len(c.ids) }

// hash is what a subject answers that has received n messages from the beginning of the cycle.
func (c *corpus) hash(n int) (h uint32) {
	for i := range n {
		h = h*31 + c.ids[i%len(c.ids)]
	}
	return h
}
