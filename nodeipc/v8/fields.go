package v8

import (
	"reflect"
	"slices"
	"strings"
	"sync"
)

// plan is how values of a Go type are read and written. It is made once for each type.
type plan struct {
	typ       reflect.Type
	decode    decodeFunc
	raw       bool // decode wants the value with its tag
	encode    encodeFunc
	key, elem *plan   // of maps, pointers, slices, arrays
	fields    *fields // of structs
}

// field is a field of a struct that is a member of an object.
type field struct {
	name      string
	index     []int
	plan      *plan
	typ       reflect.Type
	tagged    bool
	omitEmpty bool
	isZero    func(reflect.Value) bool // with omitzero
	key       []byte                   // the name as it is written, nil when that depends on the offset
}

// fields are those of one struct type, as encoding/json has them, but for the tag, which is v8, or else json.
type fields struct {
	list   []field
	byName map[string]*field
	folded map[string]*field // by the name in lower case, the first of each
}

var (
	plans  sync.Map   // reflect.Type to *plan
	planMu sync.Mutex // held while plans are made
)

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	planMu.Lock()
	defer planMu.Unlock()
	made := map[reflect.Type]*plan{} // whole only when all are
	p := makePlan(t, made)
	for t, p := range made {
		plans.LoadOrStore(t, p)
	}
	return p
}

func makePlan(t reflect.Type, made map[reflect.Type]*plan) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	if p := made[t]; p != nil {
		return p
	}
	p := &plan{typ: t}
	made[t] = p
	p.decode, p.raw = decoderOf(t)
	p.encode = encoderOf(t)
	switch t.Kind() {
	case reflect.Map:
		p.key, p.elem = makePlan(t.Key(), made), makePlan(t.Elem(), made)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		p.elem = makePlan(t.Elem(), made)
	case reflect.Struct:
		if known(t) {
			break
		}
		f := &fields{list: collect(t)}
		f.byName = make(map[string]*field, len(f.list))
		f.folded = make(map[string]*field, len(f.list))
		for i := range f.list {
			m := &f.list[i]
			f.byName[m.name] = m
			if low := strings.ToLower(m.name); f.folded[low] == nil {
				f.folded[low] = m
			}
			m.plan = makePlan(m.typ, made)
			m.key = plainKey(m.name)
		}
		p.fields = f
	}
	return p
}

// find is the field with this name, in any case when there is none exactly; often it is the one at next.
func (f *fields) find(name []byte, next int) *field {
	if next < len(f.list) && f.list[next].name == string(name) {
		return &f.list[next]
	}
	if m := f.byName[string(name)]; m != nil {
		return m
	}
	if len(f.folded) == 0 {
		return nil
	}
	return f.folded[strings.ToLower(string(name))]
}

// collect lists the fields of t. Of equal names the least nested wins, then the tagged one; if more are left, none.
func collect(t reflect.Type) []field {
	type level struct {
		typ   reflect.Type
		index []int
	}
	var found []field
	seen := map[reflect.Type]bool{}
	for next := []level{{typ: t}}; len(next) > 0; {
		current := next
		next = nil
		count := map[reflect.Type]int{}
		for _, l := range current {
			count[l.typ]++
		}
		for _, l := range current {
			if seen[l.typ] {
				continue
			}
			seen[l.typ] = true
			for i := range l.typ.NumField() {
				sf := l.typ.Field(i)
				base := sf.Type
				if base.Kind() == reflect.Pointer && base.Name() == "" {
					base = base.Elem()
				}
				if !sf.IsExported() && (!sf.Anonymous || base.Kind() != reflect.Struct) {
					continue
				}
				tag, ok := sf.Tag.Lookup("v8")
				if !ok {
					tag = sf.Tag.Get("json")
				}
				if tag == "-" {
					continue
				}
				name, options, _ := strings.Cut(tag, ",")
				index := append(slices.Clone(l.index), i)
				if sf.Anonymous && name == "" && base.Kind() == reflect.Struct &&
					(!sf.IsExported() || !known(base) && !hooked(sf.Type)) { // methods of unexported ones cannot be called
					next = append(next, level{base, index})
					continue
				}
				f := field{name: name, index: index, typ: sf.Type, tagged: name != ""}
				if name == "" {
					f.name = sf.Name
				}
				for o := range strings.SplitSeq(options, ",") {
					switch o {
					case "omitempty":
						f.omitEmpty = true
					case "omitzero":
						f.isZero = zeroTest(sf.Type)
					}
				}
				found = append(found, f)
				if count[l.typ] > 1 {
					found = append(found, f) // more than one of the same type at this depth hide each other
				}
			}
		}
	}
	slices.SortStableFunc(found, func(a, b field) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		if c := len(a.index) - len(b.index); c != 0 {
			return c
		}
		if a.tagged != b.tagged {
			if a.tagged {
				return -1
			}
			return 1
		}
		return slices.Compare(a.index, b.index)
	})
	list := found[:0]
	for i := 0; i < len(found); {
		n := i + 1
		for n < len(found) && found[n].name == found[i].name {
			n++
		}
		if n == i+1 || len(found[i].index) != len(found[i+1].index) || found[i].tagged != found[i+1].tagged {
			list = append(list, found[i])
		}
		i = n
	}
	slices.SortFunc(list, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return list
}

type zeroer interface{ IsZero() bool }

var zeroerType = reflect.TypeFor[zeroer]()

// zeroTest is the method IsZero of t for omitzero, if it has one.
func zeroTest(t reflect.Type) func(reflect.Value) bool {
	switch {
	case t.Implements(zeroerType):
		return func(v reflect.Value) bool {
			switch v.Kind() {
			case reflect.Pointer, reflect.Interface:
				if v.IsNil() {
					return true
				}
			}
			return v.Interface().(zeroer).IsZero()
		}
	case reflect.PointerTo(t).Implements(zeroerType):
		return func(v reflect.Value) bool {
			if !v.CanAddr() {
				p := reflect.New(v.Type())
				p.Elem().Set(v)
				v = p.Elem()
			}
			return v.Addr().Interface().(zeroer).IsZero()
		}
	}
	return reflect.Value.IsZero
}

// isEmpty is what omitempty leaves out.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Interface, reflect.Pointer:
		return v.IsZero()
	}
	return false
}
