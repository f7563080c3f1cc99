package v8

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"
)

// teller tells of decoded values what js_fixtures/v8_peer.js tells of those of Node.
type teller struct{ ids map[any]int }

func tell(v any) any { return (&teller{map[any]int{}}).tell(v) }

type m = map[string]any

func told(t string, more m) any {
	if more == nil {
		more = m{}
	}
	more["t"] = t
	return more
}

func tellNumber(f float64) string {
	if f == 0 && math.Signbit(f) {
		return "-0"
	}
	return string(appendNumber(nil, f))
}

// tellString is a string as text, or its UTF-16 in hex when it has unpaired surrogates.
func tellString(s string) any {
	if utf8.ValidString(s) {
		return s
	}
	var be, le []byte
	eachUnit(s, func(u uint16) { be, le = append(be, byte(u>>8), byte(u)), append(le, byte(u), byte(u>>8)) })
	if s = string(appendUTF16(nil, le)); utf8.ValidString(s) {
		return s
	}
	return m{"utf16be": hex.EncodeToString(be)}
}

// identityOf is a comparable value for what has identity.
func identityOf(v any) any {
	switch v := v.(type) {
	case []byte:
		return arrayKey{unsafe.Pointer(unsafe.SliceData(v)), len(v), nil}
	case []any:
		return arrayKey{unsafe.Pointer(unsafe.SliceData(v)), len(v), sliceAnyType}
	case map[string]any:
		return mapKey{reflect.ValueOf(v).UnsafePointer(), mapAnyType}
	case []int, []string:
		return new(int) // comes once
	}
	return v
}

func (t *teller) tell(v any) any {
	switch v := v.(type) {
	case nil:
		return told("null", nil)
	case Undefined:
		return told("undefined", nil)
	case bool:
		return told("boolean", m{"v": v})
	case float64:
		return told("number", m{"v": tellNumber(v)})
	case string:
		return told("string", m{"v": tellString(v)})
	case *big.Int:
		return told("bigint", m{"v": v.String()})
	case int32:
		return t.tell(float64(v))
	case uint64:
		return t.tell(float64(v))
	case Date:
		return told("date", m{"v": tellNumber(float64(v))})
	case time.Time:
		return t.tell(DateOf(v))
	case []byte:
		if len(v) == 0 {
			return told("view", m{"kind": "Buffer", "hex": ""})
		}
	case []any:
		if len(v) == 0 {
			return told("array", m{"length": 0.0, "props": []any{}})
		}
	}
	key := identityOf(v)
	if id, ok := t.ids[key]; ok {
		return told("ref", m{"id": float64(id)})
	}
	id := float64(len(t.ids))
	t.ids[key] = len(t.ids)
	switch v := v.(type) {
	case map[string]any:
		o := new(Object)
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			o.Set(k, v[k])
		}
		return told("object", m{"id": id, "props": t.props(o)})
	case *Object:
		return told("object", m{"id": id, "props": t.props(v)})
	case []int:
		return told("array", m{"id": id, "length": float64(len(v)), "props": []any{[]any{"0", t.tell(float64(v[0]))}, []any{"1", t.tell(float64(v[1]))}}})
	case []string:
		return told("array", m{"id": id, "length": float64(len(v)), "props": []any{[]any{"0", t.tell(v[0])}, []any{"1", t.tell(v[1])}}})
	case []any:
		props := []any{}
		for i, x := range v {
			if x != (Hole{}) {
				props = append(props, []any{strconv.Itoa(i), t.tell(x)})
			}
		}
		return told("array", m{"id": id, "length": float64(len(v)), "props": props})
	case *Sparse:
		props := []any{}
		for _, e := range v.Elements {
			props = append(props, []any{decimal(e.Index), t.tell(e.Value)})
		}
		if v.Props != nil {
			props = append(props, t.props(v.Props)...)
		}
		return told("array", m{"id": id, "length": float64(v.Length), "props": props})
	case *RegExp:
		r := m{"id": id, "source": tellString(v.Source), "flags": v.Flags}
		if v.Source == "" || strings.ContainsAny(v.Source, "/\n\r\u2028\u2029") {
			delete(r, "source") // JavaScript escapes these
		}
		return told("regexp", r)
	case *Map:
		list := []any{}
		for k, x := range v.All() {
			list = append(list, []any{t.tell(k), t.tell(x)})
		}
		return told("map", m{"id": id, "entries": list})
	case *Set:
		list := []any{}
		for x := range v.All() {
			list = append(list, t.tell(x))
		}
		return told("set", m{"id": id, "values": list})
	case *Boxed:
		return told("boxed", m{"id": id, "v": t.tell(v.Value)})
	case *ArrayBuffer:
		b := m{"id": id, "hex": hex.EncodeToString(v.Data)}
		if v.Resizable {
			b["max"] = float64(v.MaxByteLength)
		}
		return told("arraybuffer", b)
	case []byte:
		return told("view", m{"id": id, "kind": "Buffer", "hex": hex.EncodeToString(v)})
	case *View:
		return told("view", m{"id": id, "kind": v.Type.String(), "hex": hex.EncodeToString(v.Data)})
	case *Error:
		e := m{"id": id, "name": v.Name}
		if v.HasMessage {
			e["message"] = tellString(v.Message)
		}
		if v.HasStack {
			e["stack"] = tellString(v.Stack)
		}
		if v.HasCause {
			e["cause"] = t.tell(v.Cause)
		}
		return told("error", e)
	case error:
		return told("error", m{"id": id, "name": "Error", "message": tellString(v.Error())})
	}
	panic(fmt.Sprintf("%T", v))
}

// props is the members of an object in JavaScript's order.
func (t *teller) props(o *Object) []any {
	var keys []string
	for k := range o.All() {
		if _, ok := arrayIndex(k); ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareKeys)
	for k := range o.All() {
		if _, ok := arrayIndex(k); !ok {
			keys = append(keys, k)
		}
	}
	list := []any{}
	for _, k := range keys {
		x, _ := o.Get(k)
		list = append(list, []any{tellString(k), t.tell(x)})
	}
	return list
}

// alike compares what is told. A RegExp of ours without source is like any.
func alike(ours, theirs any) bool {
	switch o := ours.(type) {
	case m:
		t, ok := theirs.(m)
		if _, has := o["source"]; ok && o["t"] == "regexp" && !has {
			t = maps.Clone(t)
			delete(t, "source")
		}
		if !ok || len(o) != len(t) {
			return false
		}
		for k, v := range o {
			if !alike(v, t[k]) {
				return false
			}
		}
		return true
	case []any:
		t, ok := theirs.([]any)
		return ok && slices.EqualFunc(o, t, alike)
	}
	return ours == theirs
}
