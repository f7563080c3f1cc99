package v8

import (
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// everything has all that a field can be.
type everything struct {
	A string
	B *int `v8:"b,omitempty"`
	C []everything
	D map[string]any
	E any
	F float64
	G [2]bool
	H []byte
	I *everything `json:"i,omitzero"`
	J map[int8]string
	K Value
	L uint16
	M *Map
	N *big.Int
	O *Object
	P map[string]*everything
	R []float64
	S *Sparse
	T time.Time
	U Undefined
	V View
	W []map[string]int
	X error
	Y *Error
	Z recursive
	Inner
}

// FuzzDecode decodes anything: without a panic, with memory in proportion, the same by all ways; and what has been
// decoded is written so that it decodes to the same.
func FuzzDecode(f *testing.F) {
	for _, p := range payloads(f) {
		f.Add(p, false)
		f.Add(p, true)
	}
	f.Add(doubled(50), false)
	f.Add(payload("6f2201495e002201415e007b02"), true)
	f.Add(payload("6f22014341025e006f7b002400022201 50 6f2201615e007b01 22014b5e00 22014d3b5e005e003a027b04"), false)
	f.Fuzz(func(t *testing.T, data []byte, channel bool) {
		l := V8Serialize
		if channel {
			l = Channel
		}
		d := &Decoder{Layout: l, Ordered: true}
		e := &Encoder{Layout: l, Node: 26, MaxDepth: 3 * defaultReadDepth}
		parsed, parseErr := Parse(data, l)
		var x any
		var err error
		bytes := allocated(func() { err = d.Decode(data, &x) })
		require.Less(t, bytes, uint64(4<<20+512*len(data)))
		require.Equal(t, parseErr, err)
		if err != nil {
			return
		}

		// The value by itself, and its members.
		alone, err := parsed.Append(nil)
		if noRegExp(err) {
			return
		}
		require.NoError(t, err)
		require.Equal(t, tell(x), retold(t, d, alone))
		var y any
		require.NoError(t, parsed.Decode(d, &y))
		require.Equal(t, tell(x), tell(y))
		if s, ok := parsed.String(); ok {
			require.Equal(t, x, s)
		}
		members := 0
		for name, v := range parsed.Members() {
			members++
			var member any
			require.NoError(t, v.Decode(d, &member))
			if o, ok := x.(*Object); ok {
				want, has := o.Get(name)
				require.True(t, has)
				require.Equal(t, tell(want), tell(member))
			}
			if alone, err := v.Append(nil); err == nil {
				require.Equal(t, tell(member), retold(t, d, alone))
			}
		}
		if o, ok := x.(*Object); ok {
			require.Equal(t, o.Len(), members)
		}

		// Written and read again.
		written, err := e.Append(nil, x)
		if noRegExp(err) {
			return
		}
		require.NoError(t, err)
		require.Equal(t, tell(x), retold(t, d, written))
		embedded, err := e.Append(nil, []any{x, parsed})
		require.NoError(t, err)
		require.NoError(t, d.Decode(embedded, &y))
		require.Equal(t, tell(x), tell(y.([]any)[1]))

		for _, target := range []any{new(everything), new([]everything), new(map[string]everything), new(map[any]any), new([]float64), new([4]any)} {
			bytes := allocated(func() { err = d.Decode(data, target) })
			require.Less(t, bytes, uint64(64<<20+4096*len(data)), "%T", target)
			if err != nil {
				continue
			}
			first, err := e.Append(nil, target)
			var value *UnsupportedValueError
			var typ *UnsupportedTypeError
			if errors.As(err, &value) || errors.As(err, &typ) {
				continue // a Value that refers outside; map[any]any
			}
			require.NoError(t, err)
			var again any
			require.NoError(t, d.Decode(first, &again))
		}
	})
}

// noRegExp tells whether err is about a regular expression that does not parse; such are read, but not written.
func noRegExp(err error) bool {
	var value *UnsupportedValueError
	return errors.As(err, &value) && value.Type == regExpType
}

func retold(t *testing.T, d *Decoder, data []byte) any {
	var x any
	require.NoError(t, d.Decode(data, &x), "%x", data)
	return tell(x)
}
