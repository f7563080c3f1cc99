package v8

import (
	"bytes"
	"encoding"
	"errors"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Odd combinations of payloads and Go types.

type kindOnly struct{ kind Kind }

func (k *kindOnly) UnmarshalV8(v Value) error { k.kind = v.Kind(); return nil }

// A native view whose ArrayBuffer is elsewhere, for a pointer to what wants it undecoded.
func TestViewBehindReference(t *testing.T) {
	payload := []byte("\xff\x0dA\x03B\x080000oooo^\x01VB\x00\x08I\x02$\x00\x03")
	kinds := []Kind{KindArrayBuffer, KindView, KindNumber}
	var values []*Value
	require.NoError(t, Unmarshal(payload, &values))
	var own []*kindOnly
	require.NoError(t, Unmarshal(payload, &own))
	for i, kind := range kinds {
		require.Equal(t, kind, values[i].Kind())
		require.Equal(t, kind, own[i].kind)
	}
	var view View
	require.NoError(t, values[1].Decode(nil, &view))
	require.Equal(t, View{Uint8Array, []byte("0000oooo")}, view)

	payload = []byte("\xff\x0do\"\x01bB\x22" + strings.Repeat("0", 34) + "\"\x01A^\x01VB\x00\x22{\x02")
	var s struct{ A *kindOnly }
	require.NoError(t, Unmarshal(payload, &s))
	require.Equal(t, KindView, s.A.kind)
}

// What a reference leads to was decoded already, as what its other place cannot hold.
func TestReferenceIntoOtherType(t *testing.T) {
	type inner struct{ E error }
	var target struct {
		A any
		B inner
		C any
	}
	payload := []byte("\xff\x0do\"\x01Ao\"\x01Eo{\x00{\x01\"\x01B^\x01\"\x01C^\x02{\x03")
	var mismatch *TypeError
	require.ErrorAs(t, Unmarshal(payload, &target), &mismatch)
	require.Equal(t, "B.E", mismatch.Path)
}

type onwards *onwards

func TestPointersWithoutEnd(t *testing.T) {
	one, err := Marshal(1)
	require.NoError(t, err)
	var x any
	x = &x
	require.ErrorIs(t, Unmarshal(one, &x), ErrDepth)
	require.ErrorIs(t, Unmarshal(one, new(onwards)), ErrDepth)
}

// Arrays in arrays, each as long as all the bytes inside it.
func TestNestedSparseArrays(t *testing.T) {
	const levels, fill = 400, 20000
	payload := []byte("\xff\x0d")
	for range levels {
		payload = append(appendVarint(append(payload, 'a'), fill), 'I', 0)
	}
	payload = appendVarint(append(payload, 'B'), fill)
	payload = append(payload, make([]byte, fill)...)
	for range levels {
		payload = appendVarint(append(payload, '@', 1), fill)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var x any
	require.NoError(t, Unmarshal(payload, &x))
	runtime.ReadMemStats(&after)
	require.IsType(t, &Sparse{}, x)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
}

// Long BigInts as keys are not made text.
func TestLongBigIntKeys(t *testing.T) {
	payload := []byte("\xff\x0d'")
	for i := range int64(9) {
		n, err := Marshal(new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 8<<18), big.NewInt(i)))
		require.NoError(t, err)
		payload = append(payload, n[2:]...)
	}
	payload = append(payload, ',', 9)
	done := make(chan error, 1)
	go func() { done <- Unmarshal(payload, new(any)) }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("it takes for ever")
	}
}

type (
	hookA struct{ M string }
	hookB struct{ M string }
	name  string
)

func (hookA) MarshalText() ([]byte, error) { return []byte("a"), nil }
func (hookB) MarshalText() ([]byte, error) { return []byte("b"), nil }

type refusing struct{}

func (*refusing) UnmarshalText([]byte) error { return errors.New("no good") }

func TestOddGoValues(t *testing.T) {
	type outer struct {
		hookA
		hookB
		X int
	}
	payload, err := Marshal(outer{X: 1})
	require.NoError(t, err)
	var object map[string]any
	require.NoError(t, Unmarshal(payload, &object))
	require.Equal(t, map[string]any{"X": 1.0}, object) // as encoding/json has it

	var unsupported *UnsupportedValueError
	_, err = Marshal(map[encoding.TextMarshaler]int{nil: 1})
	require.ErrorAs(t, err, &unsupported)
	_, err = Marshal(&Boxed{int64(1<<53 + 1)})
	require.ErrorAs(t, err, &unsupported)
	_, err = Marshal([]any{m{"x": []any{1, make(chan int)}}})
	require.EqualError(t, err, "v8: unsupported type: chan int at [0].x[1]")

	payload, err = Marshal(big.NewInt(1<<24 + 1))
	require.NoError(t, err)
	require.Error(t, Unmarshal(payload, new(float32)))

	require.Equal(t, 1, new(Set).Add("a").Add(name("a")).Len())
	require.Equal(t, 2, new(Set).Add(int64(1<<53)).Add(int64(1<<53+1)).Len())

	for _, test := range []struct {
		value, into any
		want        string
	}{
		{new(Map).Set("x", m{"a": "s"}), new(map[string]struct{ A int }), `int at x.A (offset`},
		{new(Map).Set("x", "s"), new(map[string]int), `int at x (offset`},
		{new(Map).Set(7, "s"), new(map[int]int), `int at [7] (offset`},
		{m{"": m{"a": "s"}}, new(map[string]struct{ A int }), `int at [""].A (offset`},
		{m{"x": "s"}, new(map[string]*refusing), `UnmarshalText of v8.refusing at x: no good`},
	} {
		payload, err := Marshal(test.value)
		require.NoError(t, err)
		require.ErrorContains(t, Unmarshal(payload, test.into), test.want)
	}
}

// A Value that Unmarshal stores is not part of the payload.
func TestValueIsCopied(t *testing.T) {
	payload, err := Marshal(m{"v": "hello", "w": []any{"inside", m{"x": 1}}})
	require.NoError(t, err)
	var x struct{ V, W Value }
	require.NoError(t, Unmarshal(payload, &x))
	copy(payload, bytes.Repeat([]byte{0xee}, len(payload)))
	text, ok := x.V.String()
	require.True(t, ok)
	require.Equal(t, "hello", text)
	var w any
	require.NoError(t, x.W.Decode(nil, &w))
	require.Equal(t, []any{"inside", m{"x": 1.0}}, w)
}

// Sets that are shared are one slice.
func TestSharedSetIntoSlice(t *testing.T) {
	type set []set
	var self set
	require.NoError(t, Unmarshal([]byte("\xff\x0d'^\x00,\x01"), &self))
	require.Same(t, &self[0], &self[0][0])
	var two [][]string
	require.NoError(t, Unmarshal([]byte("\xff\x0dA\x02'\"\x01a,\x01^\x01$\x00\x02"), &two))
	require.Same(t, &two[0][0], &two[1][0])
}
