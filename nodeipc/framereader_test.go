package nodeipc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// feed gives text to r in reads of the sizes that size returns, and returns the lines.
func feed(r *frameReader, text []byte, size func() int) (lines [][]byte) {
	for len(text) > 0 {
		room := r.space()
		n := copy(room[:min(len(room), size())], text)
		text = text[n:]
		r.took(n)
		for {
			line, ok := r.next()
			if !ok {
				break
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// Lines of all sizes, in reads of all sizes: none changes once it was handed out, and no byte is looked at twice.
func TestFrameReader(t *testing.T) {
	testkit.CheckLeaks(t)
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 1))
		var want []string
		var text bytes.Buffer
		for text.Len() < 1<<20 {
			n := random.IntN(100)
			switch random.IntN(20) {
			case 0:
				n = 0
			case 1:
				n = random.IntN(blockSize * 3)
			case 2:
				n = blockSize - 2 + random.IntN(4)
			case 3:
				n = blockSize/2 - 2 + random.IntN(4)
			}
			line := fmt.Sprintf("%d %s", len(want), strings.Repeat(string(rune('a'+random.IntN(26))), n))
			want = append(want, line)
			text.WriteString(line + "\n")
		}
		rest := strings.Repeat("unfinished ", random.IntN(10000))
		text.WriteString(rest)
		most := 1 << random.IntN(20)
		r := frameReader{max: -1}
		lines := feed(&r, text.Bytes(), func() int { return 1 + random.IntN(most) })
		require.Len(t, lines, len(want))
		for range 2 {
			for i, line := range lines {
				if string(line) != want[i] {
					t.Fatalf("line %d is %.100q, want %.100q", i, line, want[i])
				}
				_ = append(line, "must not run into the next line"...) // the second round would see it
			}
		}
		require.Equal(t, rest, string(r.buf[r.start:r.end]))
		require.Equal(t, int64(text.Len()), r.examined)
	}
}

// A long line is copied a bounded number of times, whatever the reads are like, and its room is not kept.
func TestFrameReaderLongLine(t *testing.T) {
	testkit.CheckLeaks(t)
	const size = 10 << 20
	line := bytes.Repeat([]byte("x"), size)
	text := append(bytes.Clone(line), "\nshort\n"...)
	r := frameReader{max: -1}
	var blocks []int
	seen := 0
	lines := feed(&r, text, func() int {
		if len(r.buf) != seen {
			seen = len(r.buf)
			blocks = append(blocks, seen)
		}
		return blockSize
	})
	require.Len(t, lines, 2)
	require.True(t, bytes.Equal(line, lines[0]))
	require.Equal(t, "short", string(lines[1]))
	require.Less(t, len(blocks), 12, "blocks: %v", blocks)
	total := 0
	for _, n := range blocks {
		total += n
	}
	require.Less(t, total, 5*size)
	require.Equal(t, blockSize, len(r.buf), "short lines follow: they must not keep the large block")
}

func TestFrameReaderTooLong(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, test := range []struct {
		max, n int
		want   bool
	}{{10, 10, false}, {10, 11, true}, {0, 0, false}, {0, 1, true}, {-1, 100000, false}} {
		r := frameReader{max: test.max}
		feed(&r, append([]byte("before it\n"), bytes.Repeat([]byte("x"), test.n)...), func() int { return 1000 })
		require.Equal(t, test.want, test.max >= 0 && r.coming() > test.max, "%+v", test)
	}
}

func TestFrameReaderNewBlock(t *testing.T) {
	testkit.CheckLeaks(t)
	r := frameReader{max: -1}
	require.False(t, r.newBlock())
	feed(&r, []byte("1\n2\n"), func() int { return 100 })
	require.True(t, r.newBlock())
	require.False(t, r.newBlock())
	feed(&r, bytes.Repeat([]byte("3\n"), blockSize), func() int { return 100 })
	require.True(t, r.newBlock())
}
