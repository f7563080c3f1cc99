package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"iter"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// printJSON prints a payload as a line of JSON, as it is read: it makes no values of objects.
func printJSON(out *bufio.Writer, data []byte, l v8.Layout) error {
	_, err := printRedacted(out, data, l, nil)
	return err
}

// printRedacted is printJSON without the values of the members, and entries of Maps, that hides names. It tells whether
// there are some.
func printRedacted(out *bufio.Writer, data []byte, l v8.Layout, hides redaction) (hidden bool, err error) {
	p := jsonPrinter{Writer: out, hides: hides}
	for t, err := range v8.Tokens(data, l) {
		if err != nil {
			return false, err // before anything has been printed
		}
		if t.Part == v8.PartReference && t.ID < len(data) { // it is not there otherwise, as an error will say
			p.refer(t.ID)
		}
	}
	next, stop := iter.Pull2(v8.Tokens(data, l))
	defer stop()
	p.next = func() v8.Token {
		t, _, _ := next()
		return t
	}
	p.ahead = p.next()
	p.token() // the header
	p.value(p.token())
	p.WriteByte('\n')
	return p.hidden, nil
}

// A jsonPrinter prints the tokens of one payload.
type jsonPrinter struct {
	*bufio.Writer
	next     func() v8.Token
	ahead    v8.Token
	referred []uint64 // bits, of the objects that references lead to
	hides    redaction
	hidden   bool // something was
}

// member prints the value of a member, or of an entry of a Map, in which it is hidden if name is to be.
func (p *jsonPrinter) member(name string) {
	if !p.hides.hides(name) {
		p.value(p.token())
		return
	}
	p.WriteString(redacted)
	p.hidden = true
	out, hides := p.Writer, p.hides
	p.Writer, p.hides = bufio.NewWriterSize(io.Discard, 16), nil
	p.value(p.token())
	p.Writer, p.hides = out, hides
}

func (p *jsonPrinter) refer(id int) {
	for len(p.referred) <= id/64 {
		p.referred = append(p.referred, 0)
	}
	p.referred[id/64] |= 1 << (id % 64)
}

func (p *jsonPrinter) token() v8.Token {
	t := p.ahead
	p.ahead = p.next()
	return t
}

// ended takes the next token if it is the end of an object or array.
func (p *jsonPrinter) ended() bool {
	if p.ahead.Part == v8.PartEnd {
		p.token()
		return true
	}
	return false
}

// value prints the value that begins with t.
func (p *jsonPrinter) value(t v8.Token) {
	for t.Part == v8.PartCount {
		t = p.token()
	}
	if p.ahead.Part == v8.PartView && p.ahead.Level == t.Level {
		view := p.token()
		defer p.mark(view.ID)()
		fmt.Fprintf(p, `{"$view":%s,"from":%d,"length":%d,"of":`, quote(view.Note), view.From, view.Count)
		defer p.WriteByte('}')
	}
	if t.Part != v8.PartReference {
		defer p.mark(t.ID)()
	}
	switch t.Part {
	case v8.PartHost:
		p.value(p.token())
	case v8.PartReference:
		fmt.Fprintf(p, `{"$ref":%d}`, t.ID)
	case v8.PartBegin:
		p.composite(t)
	default:
		p.leaf(t)
	}
}

// mark prints what is around an object that is referred to, and returns what ends that.
func (p *jsonPrinter) mark(id int) func() {
	if id < 0 || id/64 >= len(p.referred) || p.referred[id/64]>>(id%64)&1 == 0 {
		return func() {}
	}
	fmt.Fprintf(p, `{"$id":%d,"$value":`, id)
	return func() { p.WriteByte('}') }
}

func (p *jsonPrinter) composite(t v8.Token) {
	switch t.Kind {
	case v8.KindObject:
		p.WriteByte('{')
		p.members()
		p.WriteByte('}')
	case v8.KindArray:
		p.array(t)
	case v8.KindMap:
		p.WriteString(`{"$map":[`)
		p.list(func() {
			p.WriteByte('[')
			for p.ahead.Part == v8.PartCount {
				p.token()
			}
			var name string
			if len(p.hides) > 0 {
				name = keyName(p.ahead)
			}
			p.value(p.token())
			p.WriteByte(',')
			p.member(name)
			p.WriteByte(']')
		})
		p.WriteString(`]}`)
	case v8.KindSet:
		p.WriteString(`{"$set":[`)
		p.list(func() { p.value(p.token()) })
		p.WriteString(`]}`)
	case v8.KindBoxed:
		p.WriteString(`{"$boxed":`)
		p.value(p.token())
		p.WriteByte('}')
	case v8.KindRegExp:
		p.WriteString(`{"$regexp":`)
		p.value(p.token())
		fmt.Fprintf(p, `,"flags":%s}`, quote(p.token().Note))
	case v8.KindError:
		p.error()
	}
}

// list prints what item does, with commas, up to the end.
func (p *jsonPrinter) list(item func()) {
	for first := true; !p.ended(); first = false {
		if !first {
			p.WriteByte(',')
		}
		item()
	}
}

func (p *jsonPrinter) members() {
	p.list(func() {
		name := p.key(p.token())
		p.WriteByte(':')
		p.member(name)
	})
}

// key prints a key as text, and returns it.
func (p *jsonPrinter) key(t v8.Token) string {
	for t.Part == v8.PartCount {
		t = p.token()
	}
	var x any
	t.Value.Decode(nil, &x)
	name, ok := x.(string)
	if f, _ := x.(float64); !ok {
		name = number(f + 0) // no -0
	}
	if strings.HasPrefix(name, "$") {
		p.WriteString(quote("$" + name))
	} else {
		p.WriteString(quote(name))
	}
	return name
}

// array prints an array as one, up to its first member that is not an element.
func (p *jsonPrinter) array(t v8.Token) {
	if t.Note == "sparse" {
		fmt.Fprintf(p, `{"$sparse":{`)
		p.members()
		fmt.Fprintf(p, `},"length":%d}`, t.Count)
		return
	}
	// Whether other members come can be told only behind the elements.
	p.WriteByte('[')
	for i := range t.Count {
		if i > 0 {
			p.WriteByte(',')
		}
		p.value(p.token())
	}
	if p.ahead.Part != v8.PartEnd {
		if t.Count > 0 {
			p.WriteByte(',')
		}
		p.WriteString(`{"$members":{`)
		p.members()
		p.WriteString(`}}]`)
		return
	}
	p.token()
	p.WriteByte(']')
}

func (p *jsonPrinter) error() {
	p.WriteString(`{"$error":{`)
	name := "Error"
	for !p.ended() {
		switch f := p.token(); f.Note {
		case "message", "stack", "cause":
			fmt.Fprintf(p, `%s:`, quote(f.Note))
			p.member(f.Note)
			p.WriteByte(',')
		default:
			name = f.Note
		}
	}
	if p.hides.hides("name") {
		name, p.hidden = "[redacted]", true
	}
	fmt.Fprintf(p, `"name":%s}}`, quote(name))
}

// leaf prints a value without others inside it.
func (p *jsonPrinter) leaf(t v8.Token) {
	if t.Part == v8.PartHole {
		p.WriteString(`{"$hole":true}`)
		return
	}
	var x any
	t.Value.Decode(nil, &x)
	p.plain(x)
}

func (p *jsonPrinter) plain(x any) {
	switch x := x.(type) {
	case nil:
		p.WriteString("null")
	case v8.Undefined:
		p.WriteString(`{"$undefined":true}`)
	case bool:
		fmt.Fprint(p, x)
	case float64:
		if s := number(x); math.IsNaN(x) || math.IsInf(x, 0) || s == "-0" {
			fmt.Fprintf(p, `{"$number":%s}`, quote(s))
		} else {
			p.WriteString(s)
		}
	case *big.Int:
		fmt.Fprintf(p, `{"$bigint":%s}`, quote(bigInt(x, true)))
	case string:
		p.WriteString(quote(x))
	case v8.Date:
		s := "NaN"
		if x.Valid() {
			s = x.Time().Format(time.RFC3339Nano)
		}
		fmt.Fprintf(p, `{"$date":%s}`, quote(s))
	case *v8.Boxed:
		p.WriteString(`{"$boxed":`)
		p.plain(x.Value)
		p.WriteByte('}')
	case *v8.ArrayBuffer:
		p.WriteString(`{"$arraybuffer":`)
		p.base64(x.Data)
		if x.Resizable {
			fmt.Fprintf(p, `,"maxByteLength":%d`, x.MaxByteLength)
		}
		p.WriteByte('}')
	case []byte:
		p.WriteString(`{"$buffer":`)
		p.base64(x)
		p.WriteByte('}')
	case *v8.View:
		fmt.Fprintf(p, `{"$view":%s,"bytes":`, quote(x.Type.String()))
		p.base64(x.Data)
		p.WriteByte('}')
	}
}

func (p *jsonPrinter) base64(b []byte) {
	p.WriteByte('"')
	e := base64.NewEncoder(base64.StdEncoding, p.Writer)
	e.Write(b)
	e.Close()
	p.WriteByte('"')
}
