package jsjson

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// field is a field of a struct that has a place in JSON, its own or promoted from an embedded struct.
type field struct {
	name      string
	tagged    bool
	index     []int
	typ       reflect.Type // as declared
	omitEmpty bool
	omitZero  bool
	quoted    bool
}

// structFields are the fields in the order in which they are written.
type structFields struct {
	list   []field
	byName map[string]int
}

// named returns the place in list of the field that a member named name is decoded into, or -1: as in encoding/json,
// the one with that name, else the first that differs in case only.
func (s *structFields) named(name string) int {
	if i, ok := s.byName[name]; ok {
		return i
	}
	for i := range s.list {
		if strings.EqualFold(s.list[i].name, name) {
			return i
		}
	}
	return -1
}

var fieldCache sync.Map // reflect.Type to *structFields

func fieldsOf(t reflect.Type) *structFields {
	if f, ok := fieldCache.Load(t); ok {
		return f.(*structFields)
	}
	f, _ := fieldCache.LoadOrStore(t, resolveFields(t))
	return f.(*structFields)
}

// resolveFields finds the fields of t by the rules of encoding/json (typeFields in its encode.go), which are those of
// Go for embedded structs, with tags coming first among equals.
func resolveFields(t reflect.Type) *structFields {
	type level struct {
		typ   reflect.Type
		index []int
	}
	var (
		fields         []field
		current        []level
		next           = []level{{typ: t}}
		count, counted map[reflect.Type]int // how often a type is embedded on this level and on the next
		visited        = make(map[reflect.Type]bool)
	)
	for len(next) > 0 {
		current, next = next, nil
		count, counted = counted, make(map[reflect.Type]int)
		for _, l := range current {
			if visited[l.typ] {
				continue
			}
			visited[l.typ] = true
			for i := range l.typ.NumField() {
				f, embedded, ok := fieldAt(l.typ.Field(i))
				if !ok {
					continue
				}
				f.index = append(slices.Clone(l.index), i)
				if embedded == nil {
					fields = append(fields, f)
					if count[l.typ] > 1 {
						fields = append(fields, f) // a second one, so that the two cancel out below
					}
					continue
				}
				if counted[embedded]++; counted[embedded] == 1 {
					next = append(next, level{typ: embedded, index: f.index})
				}
			}
		}
	}

	slices.SortFunc(fields, func(a, b field) int {
		tags := 0
		if a.tagged != b.tagged {
			tags = 1
			if a.tagged {
				tags = -1
			}
		}
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(len(a.index), len(b.index)), tags,
			slices.Compare(a.index, b.index))
	})
	// Of those with one name the first wins, unless the second is its equal: then none does.
	out := fields[:0]
	for i := 0; i < len(fields); {
		n := 1
		for i+n < len(fields) && fields[i+n].name == fields[i].name {
			n++
		}
		if n == 1 || len(fields[i].index) != len(fields[i+1].index) || fields[i].tagged != fields[i+1].tagged {
			out = append(out, fields[i])
		}
		i += n
	}
	slices.SortFunc(out, func(a, b field) int { return slices.Compare(a.index, b.index) })

	s := &structFields{list: out, byName: make(map[string]int, len(out))}
	for i := range out {
		s.byName[out[i].name] = i
	}
	return s
}

// fieldAt reads one field of a struct. embedded is set if its own fields are to take its place.
func fieldAt(sf reflect.StructField) (f field, embedded reflect.Type, ok bool) {
	if sf.Anonymous {
		t := sf.Type
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if !sf.IsExported() && t.Kind() != reflect.Struct {
			return field{}, nil, false
		}
	} else if !sf.IsExported() {
		return field{}, nil, false
	}
	tag := sf.Tag.Get("json")
	if tag == "-" {
		return field{}, nil, false
	}
	name, options, _ := strings.Cut(tag, ",")
	if !validName(name) {
		name = ""
	}
	t := sf.Type
	if t.Name() == "" && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if name == "" && sf.Anonymous && t.Kind() == reflect.Struct {
		return field{}, t, true
	}
	f = field{name: cmp.Or(name, sf.Name), tagged: name != "", typ: sf.Type}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "omitempty":
			f.omitEmpty = true
		case "omitzero":
			f.omitZero = true
		case "string":
			switch k := t.Kind(); {
			case k >= reflect.Bool && k <= reflect.Float64, k == reflect.String:
				f.quoted = true
			}
		}
	}
	return f, nil, true
}

// validName reports whether a tag's name is one: encoding/json leaves quote, backslash and comma out.
func validName(s string) bool {
	for _, c := range s {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) {
			return false
		}
	}
	return s != ""
}
