package v8

import (
	"errors"
	"iter"
)

// Part is what a Token is.
type Part uint8

const (
	PartHeader    Part = iota // the version, which is Count
	PartValue                 // a value without others inside it
	PartBegin                 // the beginning of one with others inside it; Count is the length of an array
	PartEnd                   // its end, which RegExps and boxed strings have not; Count is how many members it had
	PartReference             // to the object ID
	PartHole                  // an element that an array does not have
	PartCount                 // a count of objects, for checks by V8, before a value
	PartHost                  // the beginning of a host object that stands for the object inside it
	PartView                  // a native view of the ArrayBuffer, or reference, before it; From and Count say of which bytes
	PartField                 // a field of an Error, named by Note; but for the name of its prototype the value follows
	PartFlags                 // of a RegExp, the end of it; Note is the flags
)

var partNames = [...]string{
	"header", "value", "begin", "end", "reference", "hole", "count", "host", "view", "field", "flags",
}

// String is the name of the part, without Part.
func (p Part) String() string { return partNames[p] }

// A Token is a part of a payload, for those who look at its bytes.
type Token struct {
	Part        Part
	Offset, End int    // of its bytes; zeros between tokens are padding
	Kind        Kind   // of PartValue and PartBegin
	Level       int    // how many values it is inside of
	Key         bool   // it is the key of a member, or of an entry of a Map
	ID          int    // of the object that it is or begins, or refers to; -1 for none
	Count       uint32 // see Part
	From        uint32 // see PartView
	Note        string // see Part; of views their type; "sparse" at the beginning of an array that is written so
	Value       Value  // of PartValue
}

var errStop = errors.New("stop")

// Tokens reads a payload part by part, beginning with its header. The last one comes with the error, if there is one,
// for what follows it.
func Tokens(data []byte, l Layout) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		w := walkers.Get().(*walker)
		defer w.free()
		w.data, w.layout, w.depth, w.check = data, l, defaultReadDepth, true
		w.visit = func(t Token) error {
			if !yield(t, nil) {
				return errStop
			}
			return nil
		}
		err := w.header()
		if err == nil {
			w.depth--
			err = w.token(PartHeader, 0, -1, uint32(w.version), "")
			w.depth++
		}
		if err == nil {
			_, err = w.value()
		}
		if err != nil && err != errStop {
			yield(Token{Offset: w.pos, End: w.pos, ID: -1}, err)
		}
	}
}

// token tells of a part that ends here.
func (w *walker) token(part Part, at, id int, count uint32, note string) error {
	if w.visit == nil {
		return nil
	}
	level := defaultReadDepth - 1 - w.depth
	t := Token{Part: part, Offset: at, End: w.pos, Level: level, Key: w.named, ID: id, Count: count, Note: note}
	w.named = false
	switch part {
	case PartBegin:
		if t.Kind = kindOf(w.data[at]); w.data[at] == tagSparse {
			t.Note = "sparse"
		}
	case PartView:
		r := walker{data: w.data, pos: at + 1}
		r.byteVarint()
		t.From, _ = r.varint()
	case PartValue:
		t.Kind = kindOf(w.data[at])
		t.Value = Value{data: w.data[:w.pos], at: at, end: w.pos, version: w.version, layout: w.layout}
	}
	return w.visit(t)
}
