package v8

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"time"
)

// A builder makes Go values of bytes, which tell can tell.
type builder struct {
	data   []byte
	node   int
	made   []any // what may come again, inside itself too
	errors bool  // there is an *Error or error
}

func (b *builder) byte() byte {
	if len(b.data) == 0 {
		return 0
	}
	c := b.data[0]
	b.data = b.data[1:]
	return c
}

func (b *builder) bytes(most int) []byte {
	n := min(int(b.byte())%(most+1), len(b.data))
	part := append([]byte{}, b.data[:n]...)
	b.data = b.data[n:]
	return part
}

// text is any string: Latin-1, two-byte, with unpaired surrogates, an array index, not UTF-8.
func (b *builder) text() string {
	switch raw := b.bytes(20); b.byte() % 4 {
	case 0:
		return string(appendLatin1(nil, raw))
	case 1:
		return string(appendUTF16(nil, raw))
	case 2:
		return strconv.Itoa(len(raw) * int(b.byte()))
	default:
		return string(raw)
	}
}

// name is a text that has one form only: what is not UTF-8 would be the same member as U+FFFD.
func (b *builder) name() string {
	var units []byte
	eachUnit(b.text(), func(u uint16) { units = append(units, byte(u), byte(u>>8)) })
	return string(appendUTF16(nil, units))
}

func (b *builder) number() float64 {
	switch b.byte() % 3 {
	case 0:
		return float64(int8(b.byte()))
	case 1:
		return math.Ldexp(float64(int8(b.byte())), int(b.byte())-128)
	}
	bits := uint64(0)
	for range 8 {
		bits = bits<<8 | uint64(b.byte())
	}
	return math.Float64frombits(bits)
}

func (b *builder) bigInt() *big.Int {
	n := new(big.Int).SetBytes(b.bytes(30))
	if b.byte()&1 != 0 {
		n.Neg(n)
	}
	return n
}

func keepMade[T any](b *builder, v T) T { b.made = append(b.made, v); return v }

func (b *builder) value(depth int) any {
	if depth == 0 || len(b.data) == 0 {
		return nil
	}
	depth--
	switch b.byte() % 32 {
	default:
		return nil
	case 1:
		return Undefined{}
	case 2:
		return b.byte()&1 != 0
	case 3:
		return b.number()
	case 4:
		return int32(b.byte()) << (b.byte() % 32)
	case 5:
		return uint64(b.byte()) << (b.byte() % 54)
	case 6, 7:
		return b.text()
	case 8:
		return b.bigInt()
	case 9:
		return clipDate(b.number() * 1000)
	case 10:
		return Date(int64(b.byte()) << 30).Time()
	case 11, 12:
		o := keepMade(b, m{})
		for range b.byte() % 4 {
			o[b.name()] = b.value(depth)
		}
		return o
	case 13:
		o := keepMade(b, new(Object))
		for range b.byte() % 4 {
			o.Set(b.name(), b.value(depth))
		}
		return o
	case 14, 15:
		list := keepMade(b, make([]any, b.byte()%4))
		for i := range list {
			if list[i] = b.value(depth); b.byte() == 1 {
				list[i] = Hole{}
			}
		}
		return list
	case 16:
		// Node takes a second to walk over the holes of 16 million elements; it has none where there are more.
		lengths := [...]uint32{1000, 5000, 1<<31 | 1000, 1<<32 - 1}
		s := keepMade(b, &Sparse{Length: lengths[b.byte()%4], Props: new(Object)})
		for i := uint32(b.byte()); i < s.Length && len(s.Elements) < 4; i += 1 + uint32(b.byte())<<(b.byte()%16) {
			s.Elements = append(s.Elements, Element{i, b.value(depth)})
		}
		for range b.byte() % 3 {
			name := b.name()
			if _, index := arrayIndex(name); !index {
				s.Props.Set(name, b.value(depth))
			}
		}
		return s
	case 17:
		v := keepMade(b, new(Map))
		for range b.byte() % 4 {
			v.Set(b.value(depth), b.value(depth))
		}
		return v
	case 18:
		v := keepMade(b, new(Set))
		for range b.byte() % 4 {
			v.Add(b.value(depth))
		}
		return v
	case 19:
		return keepMade(b, &Boxed{[]any{b.byte()&1 != 0, b.number(), b.text(), b.bigInt()}[b.byte()%4]})
	case 20:
		r := keepMade(b, &RegExp{Source: "a" + strconv.Itoa(int(b.byte()))})
		for _, f := range regExpFlags {
			if b.byte()&1 != 0 && (f.char != 'v' || b.node >= 20) && (f.char != 'd' || b.node >= 16) && !(f.char == 'v' && len(r.Flags) > 0 && r.Flags[len(r.Flags)-1] == 'u') {
				r.Flags += string(f.char)
			}
		}
		return r
	case 21:
		b.errors = true
		e := keepMade(b, &Error{Name: "Error", HasMessage: b.byte()&1 != 0, HasStack: b.byte()&1 != 0})
		if name, ok := errorNames["ERFSTU"[b.byte()%6]]; ok && b.byte()&1 != 0 {
			e.Name = name
		}
		if e.HasMessage {
			e.Message = b.text()
		}
		if e.HasStack {
			e.Stack = b.text()
		}
		if e.HasCause = b.byte()&1 != 0 && b.node >= 16; e.HasCause {
			e.Cause = b.value(depth)
		}
		return e
	case 22:
		b.errors = true
		return errors.New(b.text())
	case 23:
		a := keepMade(b, &ArrayBuffer{Data: b.bytes(20), Resizable: b.byte()&1 != 0 && b.node >= 20})
		if a.Resizable {
			a.MaxByteLength = uint32(len(a.Data)) + uint32(b.byte())
		}
		return a
	case 24, 25:
		return keepMade(b, b.bytes(20))
	case 26:
		v := &View{Type: ViewType(b.byte()) % viewTypes, Data: b.bytes(40)}
		if v.Type == Buffer || v.Type == Float16Array && b.node < 24 || v.Type >= BigInt64Array && b.node < 16 {
			v.Type = DataView
		}
		v.Data = v.Data[:len(v.Data)-len(v.Data)%v.Type.Size()]
		return keepMade(b, v)
	case 27:
		return []int{int(b.byte()), -int(b.byte())}
	case 28:
		return []string{b.text(), b.text()}
	case 29, 30, 31:
		if len(b.made) == 0 {
			return time.UnixMilli(0)
		}
		return b.made[int(b.byte())%len(b.made)]
	}
}
