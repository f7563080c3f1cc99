// Package jsjson reads and writes JSON text the way Node's JSON.parse and JSON.stringify do.
//
// Scan tells whether JSON.parse would take a text, and whether Node would treat the message as an internal one.
// Append writes a Go value, Compact a text that the caller already has, Unmarshal decodes.
//
// # Writing
//
// Append writes what JSON.stringify writes for the nearest JavaScript value:
//
//   - Strings are escaped as JSON.stringify does: only quote, backslash and the control characters below U+0020.
//     Bytes that are not UTF-8 become U+FFFD, one for each.
//   - Floating point numbers have their ECMAScript form (1e-7, 1e+21). NaN and the infinities are null, -0 is 0.
//     A float32 has the fewest digits that name it among the float32. Integers are written out in full, even where
//     JavaScript will round them.
//   - A byte slice is a Buffer: {"type":"Buffer","data":[104,105]}. A byte array is an array of numbers.
//   - A time.Time is the string that Date.prototype.toISOString gives: UTC, milliseconds.
//   - Members of a map come in JavaScript's order: array indexes (0 to 4294967294) ascending, then the others sorted.
//   - Fields of a struct come as declared, with the names and options of their json tags, as in encoding/json.
//   - Nil pointers, interfaces, slices and maps are null.
//   - MarshalJSON and MarshalText of the value's type win over all this, except for time.Time itself; they are called
//     where encoding/json would call them. What MarshalJSON returns, a json.RawMessage and a json.Number are checked
//     and freed of white space, but otherwise kept, duplicate members and all.
//   - Channels, functions and complex numbers are a *json.UnsupportedTypeError; a cycle, or a value nested deeper
//     than 10000 levels, pointers included, is a *json.UnsupportedValueError.
//
// # Reading
//
// Unmarshal decodes like encoding/json, errors included. Byte slices are read from a Buffer object, or a base64
// string. Unpaired surrogates and bytes that are not UTF-8 become U+FFFD. A text nested deeper than 10000 levels is an
// error, though Scan takes it. Strings in an any share blocks of 4 KiB: one that is kept for long keeps up to 64 KiB
// alive.
package jsjson
