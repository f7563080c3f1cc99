package nodeipc

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// Lines in reads of any size are those of the whole text. A byte of the script is a read: its lower five bits are a
// length's logarithm, the others how it ends. All that was handed out is still what it was at the end.
func FuzzLineReader(f *testing.F) {
	testkit.CheckLeaks(f)
	f.Add([]byte("\x03\x24\x30\x6f\x50"))
	f.Add([]byte(strings.Repeat("\x2f", 40) + "\x40\x2f\x4f"))
	f.Add([]byte("\x12\x32\x13\x13\x33\x00\x20\x20\x60\x60\x0f\x2f\x0e\x6e"))
	f.Add([]byte(strings.Repeat("\x2e", 6) + "\x2f\x2f" + strings.Repeat("\x80", 9)))
	f.Fuzz(func(t *testing.T, script []byte) {
		var text []byte
		var sizes []int
		for i, b := range script {
			n := 1 << min(b&31, 18)
			switch b >> 6 {
			case 1:
				n--
			case 2:
				n++
			}
			if len(text)+n > 1<<19 {
				return
			}
			text = append(text, bytes.Repeat([]byte{'a' + byte(i%26)}, n)...)
			if b&32 != 0 && n > 0 {
				text[len(text)-1] = '\n'
			}
			sizes = append(sizes, n)
		}
		r := frameReader{max: -1}
		lines := feed(&r, text, func() int {
			n := len(text)
			if len(sizes) > 0 {
				n, sizes = max(1, sizes[0]), sizes[1:]
			}
			return n
		})
		want := bytes.Split(text, []byte("\n"))
		require.Len(t, lines, len(want)-1)
		for i, line := range lines {
			if !bytes.Equal(line, want[i]) {
				t.Fatalf("line %d is %.100q of %d bytes, want %.100q of %d", i, line, len(line), want[i], len(want[i]))
			}
			require.Equal(t, len(line), cap(line), "an append would run into the next line")
		}
		require.True(t, bytes.Equal(want[len(want)-1], r.buf[r.start:r.end]))
		require.Equal(t, int64(len(text)), r.examined)
		require.LessOrEqual(t, len(r.buf), max(blockSize, 5*len(text)))
	})
}

// Frames with their length before them, in reads of any size, are those of the whole text. A byte of the script is a read,
// as above.
func FuzzLengthReader(f *testing.F) {
	testkit.CheckLeaks(f)
	frame := func(n int) []byte {
		return append([]byte{0, byte(n >> 16), byte(n >> 8), byte(n)}, bytes.Repeat([]byte{0xff}, n)...)
	}
	f.Add(slices.Concat(frame(3), frame(0), frame(300), frame(70000), frame(1)), []byte("\x00\x01\x02\x05\x0a"))
	f.Add(slices.Concat(frame(40000), frame(5), []byte{0xff, 0xff, 0xff, 0xff, 1}), []byte("\x0f\x10\x00"))
	f.Add(slices.Concat(frame(200000), frame(2), frame(200000), []byte{0, 0, 1}), []byte("\x0d"))
	f.Fuzz(func(t *testing.T, text, script []byte) {
		if len(text) > 1<<19 {
			return
		}
		r := frameReader{advanced: true, max: -1}
		read := 0
		frames := feed(&r, text, func() int {
			n := len(text)
			if len(script) > 0 {
				n = 1 << min(script[read%len(script)], 18)
				read++
			}
			return n
		})
		rest := text
		for _, got := range frames {
			require.GreaterOrEqual(t, len(rest), 4)
			n := binary.BigEndian.Uint32(rest)
			require.LessOrEqual(t, uint64(n), uint64(len(rest)-4))
			require.True(t, bytes.Equal(rest[4:4+n], got), "a payload of %d bytes is another", n)
			require.Equal(t, len(got), cap(got), "an append would run into the next one")
			rest = rest[4+n:]
		}
		require.True(t, len(rest) < 4 || uint64(binary.BigEndian.Uint32(rest)) > uint64(len(rest)-4), "a frame was left behind")
		require.True(t, bytes.Equal(rest, r.buf[r.start:r.end]))
		require.LessOrEqual(t, len(r.buf), max(blockSize, 5*len(text), trusted+minRead), "room for what was only announced")
	})
}
