package v8

import (
	"errors"
	"math"
	"math/big"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// What is one key in JavaScript is one here, few or many, and what is not is not.
func TestMapKeys(t *testing.T) {
	testkit.CheckLeaks(t)
	type plain struct{ a int }
	list, object, p := []any{1}, m{}, new(int)
	same := [][]any{
		{1, 1.0, int8(1), uint64(1), float32(1)}, {0, 0.0, math.Copysign(0, -1)}, {math.NaN(), math.Float64frombits(0xfff8000000000001)},
		{"a"}, {""}, {true}, {false}, {nil}, {Undefined{}}, {big.NewInt(1), big.NewInt(1), *big.NewInt(1)}, {"1"}, {list, list[:1]}, {object}, {p}, {new(int)},
		{plain{1}, plain{1}}, {Date(1), Date(1)}, {[]byte("x")},
	}
	for _, filler := range []int{0, 100} {
		m, s := new(Map), new(Set)
		for i := range filler {
			m.Set("filler"+strconv.Itoa(i), i)
			s.Add("filler" + strconv.Itoa(i))
		}
		for i, keys := range same {
			for _, k := range keys {
				m.Set(k, i)
				s.Add(k)
			}
			require.Equal(t, filler+i+1, m.Len(), "%v", keys)
			require.Equal(t, filler+i+1, s.Len(), "%v", keys)
		}
		for i, keys := range same {
			for _, k := range keys {
				got, ok := m.Get(k)
				require.True(t, ok)
				require.Equal(t, i, got)
				require.True(t, s.Has(k))
			}
		}
		for _, k := range []any{2, "b", "NaN", []any{1}, []any{}, map[string]any{}, new(int), plain{2}, []byte("x"), func() {}} {
			_, ok := m.Get(k)
			require.False(t, ok, "%v", k)
			m.Delete(k)
		}
		for i, keys := range same {
			m.Delete(keys[0])
			s.Delete(keys[len(keys)-1])
			require.Equal(t, filler+len(same)-i-1, m.Len())
			require.Equal(t, filler+len(same)-i-1, s.Len())
		}
		m.Set("last", 1)
		got := 0
		for k, v := range m.All() {
			if k == "last" {
				require.Equal(t, 1, v)
				require.Equal(t, filler, got)
			} else {
				require.Equal(t, got, v, "in order")
			}
			got++
		}
		for range s.All() {
			break
		}
	}
	// Objects that cannot be told apart by value are keys of their own.
	var v any
	require.NoError(t, Unmarshal(unhexed("ff0d3b4400000000000000004902440000000000000000490441002400004906410024000049083a08"), &v))
	require.Equal(t, 4, v.(*Map).Len())
}

func TestObject(t *testing.T) {
	testkit.CheckLeaks(t)
	o := new(Object).Set("b", 1).Set("a", 2).Set("b", 3)
	require.Equal(t, 2, o.Len())
	o.Delete("a")
	o.Delete("c")
	o.Set("a", 4)
	var keys []string
	for k := range o.All() {
		keys = append(keys, k)
	}
	require.Equal(t, []string{"b", "a"}, keys)
	var got Object
	payload, err := Marshal(o)
	require.NoError(t, err)
	require.NoError(t, Unmarshal(payload, &got))
	require.True(t, slices.Equal([]string{"b", "a"}, keys))
}

func TestDate(t *testing.T) {
	testkit.CheckLeaks(t)
	at := time.Date(2020, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	require.Equal(t, at, DateOf(at.Add(999)).Time())
	require.True(t, Date(maxDate).Valid())
	require.False(t, Date(maxDate+1).Valid())
	require.False(t, Date(math.NaN()).Valid())
	require.True(t, Date(math.Inf(1)).Time().IsZero())
	require.Equal(t, 275760, Date(maxDate).Time().Year())
}

func TestErrorAsGoError(t *testing.T) {
	testkit.CheckLeaks(t)
	inner := &Error{Message: "inner"}
	e := &Error{Name: "TypeError", Message: "outer", Cause: inner}
	require.EqualError(t, e, "TypeError: outer")
	require.EqualError(t, inner, "Error: inner")
	require.EqualError(t, &Error{Name: "RangeError"}, "RangeError")
	require.ErrorIs(t, e, error(inner))
	require.NoError(t, errors.Unwrap(&Error{Cause: "text"}))
	payload, err := Marshal(e)
	require.NoError(t, err)
	var got error
	require.NoError(t, Unmarshal(payload, &got))
	require.EqualError(t, errors.Unwrap(got), "Error: inner")
}

func TestViewTypes(t *testing.T) {
	testkit.CheckLeaks(t)
	for v := range viewTypes {
		require.NotEmpty(t, v.String())
		require.Contains(t, []int{1, 2, 4, 8}, v.Size())
	}
	require.Equal(t, "ViewType(14)", viewTypes.String())
	require.Equal(t, 1, viewTypes.Size())
}

// Values that are kept for later, and go on as they came.
func TestValues(t *testing.T) {
	testkit.CheckLeaks(t)
	shared := m{"x": 1.0}
	payload, err := Marshal(new(Object).Set("cmd", "go").Set("args", []any{shared, shared, "é€"}).Set("outside", []any{shared}).Set("7", big.NewInt(1)))
	require.NoError(t, err)
	var in struct {
		Cmd     string
		Args    Value
		Outside Value
		None    Value
		Seven   *Value `v8:"7"`
	}
	require.NoError(t, Unmarshal(payload, &in))
	require.Equal(t, KindArray, in.Args.Kind())
	require.Equal(t, KindBigInt, in.Seven.Kind())
	require.Equal(t, KindUndefined, in.None.Kind())
	s, ok := in.None.String()
	require.False(t, ok, s)

	var args []any
	require.NoError(t, in.Args.Decode(nil, &args))
	args[0].(m)["mark"] = true
	require.Equal(t, []any{m{"x": 1.0, "mark": true}, m{"x": 1.0, "mark": true}, "é€"}, args)
	var outside []m
	require.NoError(t, in.Outside.Decode(nil, &outside), "what is referred to outside is decoded too")
	require.Equal(t, []m{{"x": 1.0}}, outside)

	// Written as they are, with the numbers of what they refer to made right.
	again, err := Marshal([]any{m{}, &Map{}, in.Args, in.None, in.Seven, []Value{in.Args}})
	require.NoError(t, err)
	var got []any
	require.NoError(t, Unmarshal(again, &got))
	got[2].([]any)[0].(m)["mark"] = true
	require.Equal(t, args, got[2])
	require.Equal(t, []any{Undefined{}, big.NewInt(1)}, got[3:5])
	require.Equal(t, []any{[]any{m{"x": 1.0}, m{"x": 1.0}, "é€"}}, got[5])
	alone, err := in.Args.Append([]byte("prefix"))
	require.NoError(t, err)
	require.NoError(t, Unmarshal(alone[6:], &got))
	require.Equal(t, m{"x": 1.0}, got[0])
	var unsupported *UnsupportedValueError
	_, err = in.Outside.Append(nil)
	require.ErrorAs(t, err, &unsupported)
	written, err := Marshal(in.Outside) // by decoding it
	require.NoError(t, err)
	var decoded, direct any
	require.NoError(t, Unmarshal(written, &decoded))
	require.NoError(t, in.Outside.Decode(nil, &direct))
	require.Equal(t, direct, decoded)

	// Of the other layout, decoded and encoded.
	channel, err := (&Encoder{Layout: Channel}).Append(nil, []byte("hi"))
	require.NoError(t, err)
	v, err := Parse(channel, Channel)
	require.NoError(t, err)
	other, err := Marshal(v)
	require.NoError(t, err)
	require.Equal(t, unhexed("ff0d5c0a026869"), other)

	// Kinds, through references and host objects.
	v, err = Parse(unhexed("ff0d410e5c016f7b005e015e00"+"4202050656420002"+"5e04"+"5e03"+"5e0356420101"+"79"+"440000000000000000"+"5222017800"+"3b3a00"+"272c00"+"722e"+"3f0030"+"24000e"), Channel)
	require.NoError(t, err)
	var kinds []Kind
	for _, member := range v.Members() {
		kinds = append(kinds, member.Kind())
	}
	require.Equal(t, []Kind{KindObject, KindObject, KindArray, KindView, KindView, KindArrayBuffer, KindView, KindBoxed, KindDate, KindRegExp, KindMap, KindSet, KindError, KindNull}, kinds)
	require.Equal(t, "boxed primitive", KindBoxed.String())
	for range v.Members() {
		break
	}
}

// A decoder, an encoder and a Value may be used by many at once.
func TestConcurrentUse(t *testing.T) {
	testkit.CheckLeaks(t)
	list, typed := graph()
	payload, err := Marshal(list)
	require.NoError(t, err)
	v, err := Parse(payload, V8Serialize)
	require.NoError(t, err)
	d, e := new(Decoder), new(Encoder)
	errs := make(chan error)
	for range 4 {
		go func() {
			errs <- func() error {
				for range 10 {
					var x any
					var s []benchNode
					for _, err := range []error{d.Decode(payload, &x), v.Decode(d, &s)} {
						if err != nil {
							return err
						}
					}
					again, err := e.Append(nil, x)
					if err != nil || string(again) != string(payload) {
						return errors.Join(err, errors.New("not the same"))
					}
					if !s[7].When.Equal(typed[7].When) || s[7].Name != typed[7].Name {
						return errors.New("not what it was")
					}
				}
				return nil
			}()
		}()
	}
	for range 4 {
		require.NoError(t, <-errs)
	}
}

// How much is allocated for what messages usually are.
func TestAllocations(t *testing.T) {
	testkit.CheckLeaks(t)
	if raceEnabled {
		t.Skip("pools keep nothing under the race detector")
	}
	small, err := Marshal(m{"cmd": "x", "n": 5.0})
	require.NoError(t, err)
	buffer, err := Marshal(make([]byte, 1024))
	require.NoError(t, err)
	var target struct {
		Cmd string
		N   float64
	}
	var b []byte
	var v any
	out := make([]byte, 0, 2048)
	d, e := new(Decoder), new(Encoder)
	for _, c := range []struct {
		name string
		most float64
		f    func() error
	}{
		{"parse", 0, func() error { _, err := Parse(small, V8Serialize); return err }},
		{"struct", 1, func() error { return d.Decode(small, &target) }}, // the string
		{"any", 5, func() error { return d.Decode(small, &v) }},         // the map, its members, the string
		{"Buffer", 1, func() error { return d.Decode(buffer, &b) }},     // not the bytes
		{"encode struct", 0, func() error { _, err := e.Append(out, &target); return err }},
		{"encode Buffer", 1, func() error { _, err := e.Append(out, b); return err }}, // the interface
	} {
		require.NoError(t, c.f())
		require.LessOrEqual(t, testing.AllocsPerRun(100, func() { c.f() }), c.most, c.name)
	}
}
