package main

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/big"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// A frame is an object or array of a payload of V8 that is open.
type frame struct {
	kind  v8.Kind
	items bool // there is one
	waits bool // for the value of a key
	hide  bool // that value
	close byte
}

// v8 appends a payload of V8: what JSON has as JSON, the rest much as JavaScript writes it.
func (l *oneline) v8(data []byte) bool {
	key := false
	for t, err := range v8.Tokens(data, v8.Channel) {
		if err != nil {
			return false
		}
		switch t.Part {
		case v8.PartHeader:
		case v8.PartCount, v8.PartHost: // the value follows
			key = key || t.Key
			continue
		case v8.PartView:
			put(l, " as "+t.Note+"("+strconv.Itoa(int(t.Count))+") from "+strconv.Itoa(int(t.From)))
		case v8.PartField:
			l.field(t.Note)
		case v8.PartFlags:
			put(l, "/"+t.Note)
			l.pop()
		case v8.PartEnd:
			l.unmute()
			put(l, string(rune(l.frames[len(l.frames)-1].close)))
			l.pop()
		case v8.PartBegin:
			l.before(key || t.Key)
			l.push(t)
		default:
			l.before(key || t.Key)
			l.leaf(data, t)
		}
		key = false
		if l.done() {
			break
		}
	}
	return true
}

func (l *oneline) pop() { l.frames = l.frames[:len(l.frames)-1] }

// unmute ends what was hidden, if the next token is behind it.
func (l *oneline) unmute() {
	if l.mute == len(l.frames) {
		l.mute = -1
	}
}

// before appends what is between a value and the one before, or its key.
func (l *oneline) before(key bool) {
	l.unmute()
	n := len(l.frames)
	if n == 0 {
		return
	}
	f := &l.frames[n-1]
	switch {
	case f.kind == v8.KindBoxed || f.kind == v8.KindRegExp:
	case f.waits:
		f.waits = false
		if f.kind == v8.KindMap {
			put(l, " => ")
		} else {
			put(l, ":")
		}
		if f.hide && l.mute < 0 {
			put(l, redacted)
			l.mute = n
		}
		f.hide = false
	default:
		if f.items {
			put(l, ",")
		}
		f.items, f.waits = true, key
	}
}

// field appends the name of a field of an Error.
func (l *oneline) field(note string) {
	switch note {
	case "message", "stack", "cause":
		l.before(true)
		put(l, note)
		l.frames[len(l.frames)-1].hide = l.hides.hides(note)
	default: // its prototype
		l.before(false)
		if l.mute < 0 && l.hides.hides("name") {
			note = "[redacted]"
		}
		put(l, "name:"+quote(note))
	}
}

func (l *oneline) push(t v8.Token) {
	text, end := "{", byte('}')
	switch t.Kind {
	case v8.KindArray:
		if text, end = "[", ']'; t.Note == "sparse" {
			text, end = "Array("+strconv.Itoa(int(t.Count))+") {", '}'
		}
	case v8.KindMap:
		text = "Map {"
	case v8.KindSet:
		text = "Set {"
	case v8.KindError:
		text = "Error {"
	case v8.KindBoxed:
		text, end = "Object(", ')'
	case v8.KindRegExp:
		text, end = "/", 0
	}
	put(l, text)
	l.frames = append(l.frames, frame{kind: t.Kind, close: end})
}

// leaf appends a value without others inside it.
func (l *oneline) leaf(data []byte, t v8.Token) {
	var in *frame
	if n := len(l.frames); n > 0 {
		in = &l.frames[n-1]
	}
	if in != nil && in.waits && l.mute < 0 && len(l.hides) > 0 { // it is a key
		in.hide = l.hides.hides(keyName(t))
	}
	if !l.silent() {
		l.shown(data, t, in)
	}
	if in != nil && in.kind == v8.KindBoxed {
		put(l, ")")
		l.pop()
	}
}

// keyName is the name that a key is, or stands for.
func keyName(t v8.Token) string {
	if t.Part != v8.PartValue {
		return ""
	}
	switch t.Kind {
	case v8.KindString:
		s, _ := t.Value.String()
		return s
	case v8.KindNumber:
		var f float64
		t.Value.Decode(nil, &f)
		return number(f + 0)
	}
	return ""
}

func (l *oneline) shown(data []byte, t v8.Token, in *frame) {
	switch {
	case t.Part == v8.PartReference:
		put(l, "[same as #"+strconv.Itoa(t.ID)+"]")
		return
	case t.Part == v8.PartHole:
		put(l, "<hole>")
		return
	}
	long := l.room < t.End-t.Offset
	switch t.Kind {
	case v8.KindUndefined, v8.KindNull:
		put(l, t.Kind.String())
		return
	case v8.KindNumber:
		var f float64
		t.Value.Decode(nil, &f)
		l.number(f)
		return
	case v8.KindString:
		quoted := in == nil || in.kind != v8.KindRegExp
		if quoted {
			put(l, `"`)
		}
		l.characters(data[t.Offset:t.End])
		if quoted {
			put(l, `"`)
		}
		return
	case v8.KindBigInt:
		if long {
			put(l, "BigInt of "+strconv.Itoa(t.End-t.Offset)+" bytes")
			return
		}
	}
	var x any
	if err := t.Value.Decode(nil, &x); err != nil {
		put(l, t.Kind.String()+" of "+strconv.Itoa(t.End-t.Offset)+" bytes")
		return
	}
	switch x := x.(type) {
	case bool:
		put(l, strconv.FormatBool(x))
	case *big.Int:
		put(l, bigInt(x, true)+"n")
	case v8.Date:
		s := "NaN"
		if x.Valid() {
			s = x.Time().Format(time.RFC3339Nano)
		}
		put(l, "Date("+s+")")
	case *v8.Boxed:
		put(l, "Object(")
		switch x := x.Value.(type) {
		case bool:
			put(l, strconv.FormatBool(x))
		case float64:
			l.number(x)
		case *big.Int:
			if long {
				put(l, "BigInt of "+strconv.Itoa(t.End-t.Offset)+" bytes")
			} else {
				put(l, bigInt(x, true)+"n")
			}
		}
		put(l, ")")
	case *v8.ArrayBuffer:
		l.bytes("ArrayBuffer", x.Data)
	case []byte:
		l.bytes("Buffer", x)
	case *v8.View:
		l.bytes(x.Type.String(), x.Data)
	}
}

func (l *oneline) number(f float64) {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 && (f != 0 || !math.Signbit(f)) {
		var b [20]byte
		put(l, strconv.AppendInt(b[:0], int64(f), 10))
		return
	}
	put(l, number(f))
}

// bytes appends binary data with its length, in hex.
func (l *oneline) bytes(name string, b []byte) {
	put(l, name+"("+strconv.Itoa(len(b))+") <")
	put(l, hex.AppendEncode(nil, b[:min(len(b), l.room/2+1)]))
	put(l, ">")
}

// characters appends the characters of a string, of which raw are the tag, the length and the bytes.
func (l *oneline) characters(raw []byte) {
	n, size := binary.Uvarint(raw[1:])
	if size <= 0 || n != uint64(len(raw)-1-size) {
		put(l, "…") // a length that is written as nobody writes it
		return
	}
	b := raw[1+size:]
	switch raw[0] {
	case '"': // Latin-1
		for i := 0; i < len(b) && !l.silent(); {
			from := i
			for i < len(b) && i-from <= l.room && plain[b[i]] {
				i++
			}
			put(l, b[from:i])
			if i < len(b) && !l.silent() {
				l.char(rune(b[i]))
				i++
			}
		}
	case 'c': // UTF-16, the low byte first
		for len(b) >= 2 && !l.silent() {
			r := rune(binary.LittleEndian.Uint16(b))
			if b = b[2:]; len(b) >= 2 && utf16.IsSurrogate(r) {
				if pair := utf16.DecodeRune(r, rune(binary.LittleEndian.Uint16(b))); pair != utf8.RuneError {
					r, b = pair, b[2:]
				}
			}
			l.char(r)
		}
	default:
		for len(b) > 0 && !l.silent() {
			r, size := utf8.DecodeRune(b)
			l.char(r)
			b = b[size:]
		}
	}
}
