package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

var dump = command{
	name: "dump", args: "[flags] [file]",
	short: "prints a payload of V8's serializer, from a file or the standard input",
}

func init() {
	dump.run = runDump
	dump.flags = func(s *streams) *flag.FlagSet { return new(dumpOptions).flags(s) }
}

// dumpOptions are the flags of dump.
type dumpOptions struct {
	input, layout, frames string
	json, whole           bool
	limit                 int64
}

func (o *dumpOptions) flags(s *streams) *flag.FlagSet {
	f := dump.newFlags(s, "")
	f.StringVar(&o.input, "input", "auto", "how the bytes come: raw, hex, base64, or auto")
	f.StringVar(&o.layout, "layout", "auto", "what host objects look like: channel, serialize (of v8.serialize), or auto")
	f.StringVar(&o.frames, "frames", "auto", "whether payloads have their length before them, as on a channel: yes, no, or auto")
	f.BoolVar(&o.json, "json", false, "print JSON, a line for each payload; what JSON does not have is {$kind: …}, where kind is\n"+
		"undefined hole number bigint date regexp map set error boxed arraybuffer buffer view sparse,\n"+
		"or members, for those of an array that are not elements; bytes are in base64;\n"+
		"{$id: 1, $value: …} is an object that {$ref: 1} refers to; a $ at the beginning of a name is doubled")
	f.BoolVar(&o.whole, "whole", false, "print long strings and bytes whole")
	f.Int64Var(&o.limit, "limit", 256<<20, "refuse input longer than this many `bytes`")
	return f
}

func runDump(s *streams, args []string) error {
	var o dumpOptions
	f := o.flags(s)
	if err := dump.parse(f, args, 1); err != nil {
		return err
	}
	for _, c := range []struct{ flag, value, allowed string }{
		{"input", o.input, "auto raw hex base64"},
		{"layout", o.layout, "auto channel serialize"},
		{"frames", o.frames, "auto yes no"},
	} {
		if !contains(strings.Fields(c.allowed), c.value) {
			fmt.Fprintf(s.err, "nodeipc: dump: -%s is one of %s\n", c.flag, strings.ReplaceAll(c.allowed, " ", ", "))
			return errUsage
		}
	}
	in := s.in
	if name := f.Arg(0); name != "" && name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, o.limit+1))
	if err != nil {
		return err
	}
	if int64(len(data)) > o.limit {
		return fmt.Errorf("more than %d bytes of input (-limit)", o.limit)
	}
	if data, err = o.decode(data); err != nil {
		return err
	}
	if o.input == "auto" && o.frames != "yes" && !looksRaw(data) {
		if len(data) == 0 {
			return errors.New("the input is empty")
		}
		return fmt.Errorf("not a payload of V8, nor hex or base64 of one: the input begins with %s (-input)", quote(string(data[:min(len(data), 16)])))
	}
	out := bufio.NewWriter(s.out)
	return errors.Join(o.payloads(out, data), out.Flush())
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// looksRaw tells whether data begins like a payload, with or without its length.
func looksRaw(data []byte) bool { return len(data) > 0 && data[0] == 0xff || looksFramed(data) }

func looksFramed(data []byte) bool {
	return len(data) > 4 && data[0] != 0xff && data[4] == 0xff &&
		uint64(binary.BigEndian.Uint32(data)) <= uint64(len(data)-4)
}

// decode turns the input into bytes.
func (o *dumpOptions) decode(data []byte) ([]byte, error) {
	if o.input == "raw" || o.input == "auto" && looksRaw(data) {
		return data, nil
	}
	text := bytes.Join(bytes.Fields(data), nil)
	if o.input != "base64" {
		b := make([]byte, hex.DecodedLen(len(text)))
		if _, err := hex.Decode(b, text); err == nil || o.input == "hex" {
			return b, err
		}
	}
	for _, e := range []*base64.Encoding{
		base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding,
	} {
		b := make([]byte, e.DecodedLen(len(text)))
		if n, err := e.Decode(b, text); err == nil {
			return b[:n], nil
		}
	}
	if o.input == "base64" {
		return nil, errors.New("not base64")
	}
	return data, nil
}

// payloads prints what is in data: one payload, or frames.
func (o *dumpOptions) payloads(out *bufio.Writer, data []byte) error {
	if o.frames == "no" || o.frames == "auto" && !looksFramed(data) {
		return o.payload(out, data, false)
	}
	var errs []error
	for n := 1; len(data) > 0; n++ {
		if len(data) < 4 {
			return errors.Join(append(errs, fmt.Errorf("frame %d: %d bytes of a length", n, len(data)))...)
		}
		size := binary.BigEndian.Uint32(data)
		data = data[4:]
		frame := data[:min(uint64(size), uint64(len(data)))]
		data = data[len(frame):]
		if !o.json {
			fmt.Fprintf(out, "frame %d, %d bytes\n", n, size)
		}
		if err := o.payload(out, frame, true); err != nil {
			errs = append(errs, fmt.Errorf("frame %d: %w", n, err))
		}
		if missing := int(size) - len(frame); missing > 0 {
			errs = append(errs, fmt.Errorf("frame %d: %d bytes are missing", n, missing))
		}
	}
	return errors.Join(errs...)
}

func (o *dumpOptions) payload(out *bufio.Writer, data []byte, framed bool) error {
	l := v8.Channel
	switch {
	case o.layout == "serialize":
		l = v8.V8Serialize
	case o.layout == "auto":
		l = guess(data, framed)
	}
	if o.json {
		return printJSON(out, data, l)
	}
	return printTree(out, data, l, o.whole)
}

// guess finds the layout: the one in which the payload is whole, and then the one in which nothing is left over; or the
// one in which more can be read.
func guess(data []byte, framed bool) v8.Layout {
	channel, channelErr := extent(data, v8.Channel)
	serialize, serializeErr := extent(data, v8.V8Serialize)
	switch {
	case (channelErr == nil) != (serializeErr == nil):
		if channelErr == nil {
			return v8.Channel
		}
		return v8.V8Serialize
	case channel > serialize || framed && channel == serialize:
		return v8.Channel
	}
	return v8.V8Serialize
}

// extent is how much of data can be read.
func extent(data []byte, l v8.Layout) (end int, err error) {
	for t, e := range v8.Tokens(data, l) {
		end, err = t.End, e
	}
	return end, err
}
