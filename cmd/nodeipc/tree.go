package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

const (
	bytesShown = 8   // of a token
	textShown  = 120 // bytes, of a string
)

// printTree prints a payload as lines: the offset, the bytes, and what they mean, as deep as it is nested.
func printTree(out *bufio.Writer, data []byte, l v8.Layout, whole bool) error {
	end := 0
	for t, err := range v8.Tokens(data, l) {
		if err != nil {
			return err
		}
		if t.Offset > end {
			line(out, data, end, t.Offset, t.Level, "padding")
		}
		end = t.End
		line(out, data, t.Offset, t.End, t.Level, meaning(t, whole))
	}
	if end < len(data) {
		line(out, data, end, len(data), 0, "left over, which V8 ignores")
	}
	return nil
}

func line(out *bufio.Writer, data []byte, from, to, level int, text string) {
	shown := hex.EncodeToString(data[from:min(to, from+bytesShown)])
	if to-from > bytesShown {
		shown += "…"
	}
	// Each level is an indent, up to some: the lines of a deep payload would be its length times its depth.
	const deepest = 40
	indent := strings.Repeat("  ", min(level, deepest))
	if level > deepest {
		indent += fmt.Sprintf("(%d) ", level)
	}
	fmt.Fprintf(out, "%06x  %-*s  %s%s\n", from, 2*bytesShown+1, shown, indent, text)
}

// meaning says what a token is.
func meaning(t v8.Token, whole bool) string {
	text := part(t, whole)
	if t.ID >= 0 && t.Part != v8.PartReference {
		text = fmt.Sprintf("#%d %s", t.ID, text)
	}
	if t.Key {
		text = "key " + text
	}
	return text
}

func part(t v8.Token, whole bool) string {
	switch t.Part {
	case v8.PartHeader:
		return fmt.Sprintf("version %d", t.Count)
	case v8.PartBegin:
		switch t.Kind {
		case v8.KindArray:
			return strings.TrimSpace(fmt.Sprintf("Array of %d %s", t.Count, t.Note))
		case v8.KindBoxed:
			return "String object"
		default:
			return t.Kind.String()
		}
	case v8.PartEnd:
		if t.Count > 0 {
			return fmt.Sprintf("end, %d", t.Count)
		}
		return "end"
	case v8.PartReference:
		return fmt.Sprintf("reference to #%d", t.ID)
	case v8.PartHole:
		return "hole"
	case v8.PartCount:
		return fmt.Sprintf("count of objects %d", t.Count)
	case v8.PartHost:
		return "host object"
	case v8.PartView:
		return fmt.Sprintf("%s, %d bytes from %d of the ArrayBuffer before", t.Note, t.Count, t.From)
	case v8.PartField:
		switch t.Note {
		case "message", "stack", "cause":
			return t.Note + ":"
		}
		return "prototype " + t.Note
	case v8.PartFlags:
		return "flags " + quote(t.Note)
	}
	return leaf(t, whole)
}

// leaf shows a value without others inside it.
func leaf(t v8.Token, whole bool) string {
	var x any
	if err := t.Value.Decode(&v8.Decoder{}, &x); err != nil {
		return err.Error() // a limit
	}
	switch x := x.(type) {
	case v8.Undefined:
		return "undefined"
	case nil:
		return "null"
	case bool:
		return fmt.Sprint(x)
	case float64:
		return "number " + number(x)
	case *big.Int:
		return "BigInt " + bigInt(x, whole)
	case string:
		if rest := len(x) - textShown; rest > 0 && !whole {
			cut := textShown
			for cut > textShown-4 && x[cut]&0xc0 == 0x80 {
				cut--
			}
			return fmt.Sprintf("string %s… and %d bytes more", quote(x[:cut]), len(x)-cut)
		}
		return "string " + quote(x)
	case v8.Date:
		if !x.Valid() {
			return "Date, invalid"
		}
		return "Date " + x.Time().Format(time.RFC3339Nano)
	case *v8.Boxed:
		switch v := x.Value.(type) {
		case float64:
			return "Number object " + number(v)
		case *big.Int:
			return "BigInt object " + bigInt(v, whole)
		default:
			return fmt.Sprintf("Boolean object %v", v)
		}
	case *v8.ArrayBuffer:
		s := "ArrayBuffer, " + size(x.Data, whole)
		if x.Resizable {
			s = fmt.Sprintf("ArrayBuffer of at most %d, %s", x.MaxByteLength, size(x.Data, whole))
		}
		return s
	case []byte:
		return "Buffer, " + size(x, whole)
	case *v8.View:
		return x.Type.String() + ", " + size(x.Data, whole)
	}
	return fmt.Sprintf("%T", x)
}

func size(b []byte, whole bool) string {
	s := fmt.Sprintf("%d bytes", len(b))
	if whole && len(b) > 0 {
		s += " " + hex.EncodeToString(b)
	}
	return s
}

// bigInt is the digits of n: decimal, or hexadecimal where that would take long.
func bigInt(n *big.Int, whole bool) string {
	if n.BitLen() <= 1<<14 {
		if s := n.String(); whole || len(s) <= textShown {
			return s
		}
	}
	if whole {
		return fmt.Sprintf("%#x", n)
	}
	return fmt.Sprintf("of %d bits", n.BitLen())
}

// number is f as JavaScript shows it.
func number(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 0):
		if f < 0 {
			return "-Infinity"
		}
		return "Infinity"
	case f == 0 && math.Signbit(f):
		return "-0"
	}
	b, _ := json.Marshal(f) // has the form of ECMAScript
	return string(b)
}
