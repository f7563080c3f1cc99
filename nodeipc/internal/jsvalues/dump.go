package jsvalues

import (
	"fmt"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// Dump writes what decoding into an any made, so that equal texts are equal values, to NaN and -0, and to which parts are
// the same pointer, map or slice: the second time such a part is only the number that it has in the order of the text. The
// order of members counts if it is to.
func Dump(v any, ordered bool) string {
	d := dumper{ordered: ordered, seen: map[identity]int{}}
	d.value(v)
	return d.String()
}

type dumper struct {
	strings.Builder
	ordered bool
	seen    map[identity]int
}

type identity struct {
	typ reflect.Type
	at  uintptr
}

// again writes the number of what has been written before.
func (d *dumper) again(v any) bool {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Slice:
		if r.Len() == 0 {
			return false // without identity
		}
	case reflect.Pointer, reflect.Map:
	default:
		return false
	}
	if _, ok := v.(*big.Int); ok {
		return false
	}
	id := identity{r.Type(), r.Pointer()}
	if n, ok := d.seen[id]; ok {
		fmt.Fprintf(d, "^%d", n)
		return true
	}
	d.seen[id] = len(d.seen)
	return false
}

func (d *dumper) value(v any) {
	if d.again(v) {
		return
	}
	switch v := v.(type) {
	case nil:
		d.WriteString("null")
	case v8.Undefined:
		d.WriteString("undefined")
	case v8.Hole:
		d.WriteString("hole")
	case bool:
		fmt.Fprint(d, v)
	case float64:
		d.number(v)
	case *big.Int:
		fmt.Fprintf(d, "%vn", v)
	case string:
		fmt.Fprintf(d, "%+q", v)
	case v8.Date:
		d.WriteString("Date ")
		d.number(float64(v))
	case []byte:
		fmt.Fprintf(d, "Buffer %x", v)
	case []any:
		d.list('[', ']', func(item func()) {
			for _, x := range v {
				item()
				d.value(x)
			}
		})
	case map[string]any:
		d.members(len(v), func(yield func(string, any) bool) {
			for key, x := range v {
				if !yield(key, x) {
					return
				}
			}
		})
	case *v8.Object:
		d.members(v.Len(), v.All())
	case *v8.Sparse:
		fmt.Fprintf(d, "Sparse %d ", v.Length)
		d.list('[', ']', func(item func()) {
			for _, e := range v.Elements {
				item()
				fmt.Fprintf(d, "%d: ", e.Index)
				d.value(e.Value)
			}
		})
		if v.Props != nil && v.Props.Len() > 0 {
			d.members(v.Props.Len(), v.Props.All())
		}
	case *v8.Map:
		d.WriteString("Map ")
		d.list('{', '}', func(item func()) {
			for key, x := range v.All() {
				item()
				d.value(key)
				d.WriteString(" => ")
				d.value(x)
			}
		})
	case *v8.Set:
		d.WriteString("Set ")
		d.list('{', '}', func(item func()) {
			for x := range v.All() {
				item()
				d.value(x)
			}
		})
	case *v8.Boxed:
		d.WriteString("Boxed ")
		d.value(v.Value)
	case *v8.RegExp:
		fmt.Fprintf(d, "RegExp %+q %s", v.Source, v.Flags)
	case *v8.Error:
		fmt.Fprintf(d, "Error %s message %t %+q stack %t %+q cause %t ", v.Name, v.HasMessage, v.Message, v.HasStack, v.Stack, v.HasCause)
		d.value(v.Cause)
	case *v8.ArrayBuffer:
		fmt.Fprintf(d, "ArrayBuffer %t %d %x", v.Resizable, v.MaxByteLength, v.Data)
	case *v8.View:
		fmt.Fprintf(d, "%v %x", v.Type, v.Data)
	default:
		fmt.Fprintf(d, "(a %T, which is not what any holds)", v)
	}
}

func (d *dumper) number(f float64) {
	if f == 0 && math.Signbit(f) {
		d.WriteString("-0")
		return
	}
	d.WriteString(strconv.FormatFloat(f, 'g', -1, 64))
}

func (d *dumper) list(open, end byte, each func(item func())) {
	d.WriteByte(open)
	first := true
	each(func() {
		if !first {
			d.WriteString(", ")
		}
		first = false
	})
	d.WriteByte(end)
}

func (d *dumper) members(n int, all func(func(string, any) bool)) {
	type member struct {
		key   string
		value any
	}
	list := make([]member, 0, n)
	all(func(key string, value any) bool {
		list = append(list, member{key, value})
		return true
	})
	if !d.ordered {
		slices.SortFunc(list, func(a, b member) int { return strings.Compare(a.key, b.key) })
	}
	d.list('{', '}', func(item func()) {
		for _, m := range list {
			item()
			fmt.Fprintf(d, "%+q: ", m.key)
			d.value(m.value)
		}
	})
}
