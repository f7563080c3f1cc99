// Package v8 reads and writes V8's structured clone format: what v8.serialize and v8.deserialize of Node.js exchange,
// and what the channel of child_process carries with serialization 'advanced'. It needs nothing else of this module.
//
//	data, err := v8.Marshal(map[string]any{"when": time.Now(), "raw": []byte("hi")}) // for v8.deserialize
//	err = v8.Unmarshal(data, &v)                                                     // from v8.serialize
//
// It is used as encoding/json is. Struct fields have the tag v8, or else json:
//
//	type job struct {
//		ID    *big.Int          `v8:"id"`
//		Due   time.Time         `v8:"due,omitzero"`
//		Image []byte            `v8:"image"`
//		Seen  map[string]uint32 `v8:"seen,omitempty"`
//		Next  *job              `v8:"next"` // may be this job: cycles and shared pointers are kept
//	}
//
// # Values
//
// What an any holds, and what a Go value is written as:
//
//	undefined, null          Undefined{}, nil
//	true, 1.5, "text"        bool, float64, string
//	12n                      *big.Int
//	{a: 1}                   map[string]any; *Object, in order, with Decoder.Ordered
//	[1, , 3]                 []any{1.0, Hole{}, 3.0}; *Sparse where no slice holds it
//	new Map, new Set         *Map, *Set
//	new Date                 Date; time.Time is written as one, and a time.Time takes it
//	Buffer                   []byte
//	new Float64Array         *View; []float64 takes it
//	new ArrayBuffer          *ArrayBuffer
//	/x/g, new Error          *RegExp, *Error; any other error is written as an Error with its text
//	new Number(1)            *Boxed
//
// Go numbers are written as numbers, if that is exact, and refused if not: use *big.Int. Numbers and BigInts are read
// into any Go number that holds them exactly; a float32 takes the nearest one to a number. Slices and arrays are
// arrays, but []byte is a Buffer; maps and structs are objects, whose members come in the order of JavaScript: array
// indexes, then the others, of maps sorted. Nil pointers, maps and slices are null; null and undefined set these to nil
// and leave other values as they are. Functions, channels and complex numbers are errors.
//
// Strings hold UTF-8. An unpaired surrogate, which JavaScript strings may have, is the three bytes that UTF-8 would
// have for it, and is written back as it was; what else is not UTF-8 is written as U+FFFD, and is an error in the key of
// a member, which it could make equal to another.
//
// A value decides for itself how it is written with MarshalV8 (Marshaler), read with UnmarshalV8 (Unmarshaler); then
// comes encoding.TextMarshaler, and for keys of maps. json.Marshaler is not asked: what it gives is text.
//
// # Identity
//
// A pointer, map or slice that comes twice is one object in JavaScript, and what is one object there is one pointer,
// map or slice here, cycles included. Dates, and slices without elements, are plain values. An object that two places
// hold by value (a struct field that is a struct) is decoded twice; see Decoder.MaxAlloc for the end of that.
//
// # Channels and v8.serialize
//
// The bytes of the two differ in one place, and do not tell which they are: say so with Encoder.Layout and
// Decoder.Layout. Nor do they tell who reads them. Encoder.Node is the oldest Node that may; what that cannot read is
// written otherwise, or is an error. On a channel with a peer of unknown version it should be 12.
//
// # Hostile input
//
// A payload is checked as a whole before anything is decoded, and is refused where V8 refuses it: Parse does that
// alone. It may be nested 10000 deep. Nothing is allocated for a length before as many bytes are seen to be there.
// Errors are *SyntaxError for what V8 refuses, *TypeError for what does not fit the Go value, with its path,
// *LimitError for what is too large or too deep; each has the offset.
//
// In a few places this package takes what not every Node does: version 16 of the format, which Deno writes; the parts
// of an Error in any order, as Node 16 to 20 read them; regular expressions that do not parse. The other way round, it
// does not take -0n or the flags u and v together, as some do, nor what Node 18 and later make of broken payloads of
// version 13 when they read them a second time.
//
// Value is a value that has been parsed and not decoded; Tokens shows the bytes of a payload part by part, as the
// command nodeipc dump prints them.
package v8
