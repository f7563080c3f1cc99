package v8

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// payload is a payload from parts: numbers are varints, strings hex.
func payload(parts ...any) []byte {
	b := []byte{0xff, 0x0d}
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, unhexed(p)...)
		case int:
			b = appendVarint(b, uint32(p))
		case uint32:
			b = appendVarint(b, p)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func repeat(hex string, n int) []byte { return bytes.Repeat(unhexed(hex), n) }

// Lengths that are not true are noticed before anything is allocated for them.
func TestLengths(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, c := range []string{"22", "63", "53", "5a", "7a", "42", "7e", "41", "61", "5c0a"} {
		for _, n := range []uint32{1000, math.MaxInt32 - 1, math.MaxUint32 - 1, math.MaxUint32} {
			p := payload(c, n, n)
			var x any
			var err error
			require.Less(t, allocated(func() { err = Unmarshal(p, &x) }), uint64(1<<16), "%x", p)
			require.Error(t, err, "%x", p)
		}
	}
}

// deep nests n levels of one kind.
func deep(n int, open, inner, shut string) []byte {
	return payload(repeat(open, n), inner, repeat(shut, n))
}

func TestDepth(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, c := range [][3]string{
		{"6f220161", "30", "7b01"}, {"4101", "30", "240001"}, {"61014900", "30", "400101"}, {"3b4900", "30", "3a02"}, {"3b", "30", "303a02"},
		{"27", "30", "2c01"}, {"7263", "30", "2e"}, {"3f00", "30", ""}, {"5c01", "6f7b00", ""}, {"73", "30", ""}, {"6f", "30", ""},
	} {
		var x any
		d := Decoder{Layout: Channel}
		require.ErrorIs(t, d.Decode(deep(10001, c[0], c[1], c[2]), &x), ErrDepth, "%v", c)
		if err := d.Decode(deep(9998, c[0], c[1], c[2]), &x); c[0] == "73" || c[0] == "6f" {
			var syntax *SyntaxError
			require.ErrorAs(t, err, &syntax)
		} else if c[0] == "3b" && c[2] == "303a02" {
			require.NoError(t, err) // Maps as keys of Maps
		} else {
			require.NoError(t, err, "%v", c)
		}
		d.MaxDepth = 5
		require.ErrorIs(t, d.Decode(deep(6, c[0], c[1], c[2]), &x), ErrDepth, "%v", c)
	}
	var list any
	for range 1001 {
		list = []any{list}
	}
	_, err := Marshal(list)
	require.ErrorIs(t, err, ErrDepth)
	_, err = (&Encoder{MaxDepth: 2000}).Append(nil, list)
	require.NoError(t, err)
	type self struct{ Self *self }
	s := &self{}
	for i := 0; i < 1001; i++ {
		s = &self{s}
	}
	_, err = Marshal(s)
	require.ErrorIs(t, err, ErrDepth)
	_, err = Marshal(endless{})
	require.ErrorIs(t, err, ErrDepth)
}

type endless struct{}

func (endless) MarshalV8() (any, error) { return endless{}, nil }

// doubled is an array of two references to an array of two references to … n levels.
func doubled(n int) []byte {
	parts := []any{"41", n + 1, "4100240000"}
	for i := range n {
		parts = append(parts, "41025e", i+1, "5e", i+1, "240002")
	}
	return payload(append(parts, "2400", n+1)...)
}

// recursive decodes its members one by one, which a cycle makes endless.
type recursive struct{ n int }

func (r *recursive) UnmarshalV8(v Value) error {
	for _, x := range v.Members() {
		var inner recursive
		if err := x.Decode(nil, &inner); err != nil {
			return err
		}
		r.n += inner.n + 1
	}
	return nil
}

// patient does not end at an error, unless nothing can be decoded any more.
type patient struct{}

func (p *patient) UnmarshalV8(v Value) (err error) {
	for _, x := range v.Members() {
		if e := x.Decode(&Decoder{MaxDepth: 40}, new(patient)); errors.Is(e, ErrTooLarge) {
			err = e
		}
	}
	return err
}

func TestReferenceBombs(t *testing.T) {
	testkit.CheckLeaks(t)
	p := doubled(100)
	var x any
	require.NoError(t, Unmarshal(p, &x), "shared, it is small")
	again, err := Marshal(x)
	require.NoError(t, err)
	require.Less(t, len(again), 2*len(p))
	require.ErrorIs(t, func() error { // ... until it is to be read by a Node that cannot read references behind an Error
		_, err := (&Encoder{Node: 12}).Append(nil, []any{&Error{}, x})
		return err
	}(), ErrTooLarge)

	// Where nothing can be shared each reference is decoded again, and there is an end of that.
	var list [][2][2][2][2][2][2][2][2][2][2][2][2][2][2][2][2]any
	bytes := allocated(func() { err = Unmarshal(doubled(40), &list) })
	require.ErrorIs(t, err, ErrTooLarge)
	require.Less(t, bytes, uint64(64<<20))

	// Cycles.
	cycle := payload("6f2201415e00" + "2201425e00" + "7b02")
	for _, target := range []any{new(struct {
		A struct{ A, B struct{ A any } }
	}), new(recursive), new(map[string]recursive), new([]recursive)} {
		bytes := allocated(func() { err = Unmarshal(cycle, target) })
		require.Less(t, bytes, uint64(256<<20), "%T", target)
	}
	require.ErrorIs(t, Unmarshal(cycle, new(recursive)), ErrDepth)
	require.ErrorIs(t, (&Decoder{MaxDepth: 40}).Decode(cycle, new(patient)), ErrTooLarge)
	var values struct {
		A, B map[string]struct{ A, B map[string]any }
	}
	require.NoError(t, Unmarshal(cycle, &values))
	type self struct{ A, B *self }
	var s self
	require.NoError(t, Unmarshal(cycle, &s))
	require.Same(t, &s, s.A)

	// What is passed over may be deeper than what is left for following references.
	type wrapped struct{ A map[string]wrapped }
	for depth := range 30 {
		p := payload("6f"+"220141"+"6f2201785e007b01"+"22015a", deep(depth, "4101", "30", "240001")[2:], "7b02")
		require.ErrorIs(t, (&Decoder{MaxDepth: 40}).Decode(p, new(wrapped)), ErrDepth)
		p = payload("6f"+"22015a", deep(depth, "4101", "30", "240001")[2:], "220141"+"6f2201785e007b01"+"7b02")
		require.ErrorIs(t, (&Decoder{MaxDepth: 40}).Decode(p, new(wrapped)), ErrDepth)
	}

	type sliced struct{ A, B []sliced }
	var sl sliced
	var typ *TypeError
	require.ErrorAs(t, Unmarshal(cycle, &sl), &typ, "an object is no array")
	list2 := payload("41025e005e00240002")
	type lists []lists
	var ls lists
	require.NoError(t, Unmarshal(list2, &ls))
	require.Len(t, ls[0][1][0], 2)
	type structs [2]struct{ X any }
	require.ErrorAs(t, Unmarshal(list2, new(structs)), &typ)
	require.NoError(t, Unmarshal(list2, new([2][2][2][2]any)))

	// A long value that many references lead to, decoded again each time.
	long := payload("41", 2001, "6f220141", "22", 10000, []byte(strings.Repeat("x", 10000)), "7b01", repeat("5e01", 2000), "2400", 2001)
	var structsOf []struct{ A string }
	require.ErrorIs(t, Unmarshal(long, &structsOf), ErrTooLarge)
	var pointers []*struct{ A string }
	require.NoError(t, Unmarshal(long, &pointers))
	require.Same(t, pointers[0], pointers[2000])
}

// Arrays are as long as what is in them, or *Sparse.
func TestSparse(t *testing.T) {
	testkit.CheckLeaks(t)
	var x any
	for _, c := range []struct {
		hex  string
		want any
	}{
		{"61ffffffff0f4000ffffffff0f", &Sparse{Length: math.MaxUint32}},
		{"610a40000a", []any{Hole{}, Hole{}, Hole{}, Hole{}, Hole{}, Hole{}, Hole{}, Hole{}, Hole{}, Hole{}}},
		{"61164000" + "16", &Sparse{Length: 22}},
		{"610155feffffff0f4902400101", &Sparse{Length: math.MaxUint32, Elements: []Element{{math.MaxUint32 - 1, 1.0}}}},
		{"610155ffffffff0f4902400101", &Sparse{Length: 1, Props: new(Object).Set("4294967295", 1.0)}},
		{"61024902490249004904400202", []any{2.0, 1.0}},
		{"6102490249024900490422 01784906400302", &Sparse{Length: 2, Elements: []Element{{0, 2.0}, {1, 1.0}}, Props: new(Object).Set("x", 3.0)}},
	} {
		p := payload(c.hex)
		var err error
		require.Less(t, allocated(func() { err = Unmarshal(p, &x) }), uint64(1<<16))
		require.NoError(t, err, c.hex)
		require.Equal(t, c.want, x, c.hex)
		again, err := Marshal(x)
		require.NoError(t, err)
		var y any
		require.NoError(t, Unmarshal(again, &y))
		require.Equal(t, x, y)
	}
	// Many that are each in proportion are so together.
	many := payload("41", 10000, repeat("611040 0010", 10000), "2400", 10000)
	var err error
	require.Less(t, allocated(func() { err = Unmarshal(many, &x) }), uint64(100*len(many)))
	require.NoError(t, err)
}

// Many keys of one object are compared in little time, equal ones are found wherever they are.
func TestManyKeys(t *testing.T) {
	testkit.CheckLeaks(t)
	const n = 50000
	b := []byte{0xff, 0x0d, 'o'}
	for i := range n {
		b = append(b, '"', 4)
		b = binary.BigEndian.AppendUint32(b, uint32(i)&0x7f7f7f7f|uint32(i)<<16)
		b = append(b, '0')
	}
	var x any
	require.NotErrorIs(t, Unmarshal(b, &x), ErrTooLarge)
	for _, n := range []int{2, 16, 17, 100} {
		for i := range n {
			o := new(Object)
			for k := range n {
				o.Set(strings.Repeat("k", k+1), nil)
			}
			p, err := Marshal(o)
			require.NoError(t, err)
			require.NoError(t, Unmarshal(p, &x))
			// The same with one of them again, in another form: two-byte characters.
			twoByte := bytes.ReplaceAll(bytes.Repeat([]byte("k"), i+1), []byte("k"), []byte("k\x00"))
			p = append(p[:len(p)-2], payload("63", 2*(i+1), twoByte, "30")[2:]...)
			p = append(append(p, '{'), byte(n+1))
			var syntax *SyntaxError
			require.ErrorAs(t, Unmarshal(p, &x), &syntax, "%d of %d", i, n)
			require.Contains(t, syntax.Msg, "there already")
		}
	}
}

func TestMaxAlloc(t *testing.T) {
	testkit.CheckLeaks(t)
	p, err := Marshal([]any{m{"a": strings.Repeat("x", 1000)}, []byte("12345"), new(Map).Set(1, 2), new(Set).Add(1), &Error{Message: "x"}, big1000})
	require.NoError(t, err)
	for _, target := range []any{new(any), new([]any)} {
		require.NoError(t, (&Decoder{MaxAlloc: 1 << 14, Copy: true}).Decode(p, target))
		refused := 0
		for most := int64(1); ; most += 16 {
			err := (&Decoder{MaxAlloc: most, Copy: true}).Decode(p, target)
			if err == nil {
				break
			}
			require.ErrorIs(t, err, ErrTooLarge)
			refused++
		}
		require.Greater(t, refused, 80)
	}
}

var big1000 = bigOf("1" + strings.Repeat("0", 300))
