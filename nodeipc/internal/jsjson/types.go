package jsjson

import (
	"reflect"
	"sync"
	"sync/atomic"
	"unsafe"
)

// typeCache keeps what was found out about the types of values. A program sends and receives few types, over and over:
// most lookups end at the first place they come to, without the hash that a sync.Map needs.
type typeCache[T any] struct {
	recent [64]atomic.Pointer[typed[T]]
	all    sync.Map // reflect.Type to *typed[T]
}

type typed[T any] struct {
	word unsafe.Pointer // as in eface
	of   T
}

// of returns what find finds out about the type of v, which is not nil.
func (c *typeCache[T]) of(v any, find func(reflect.Type) T) *T {
	word := typeWord(v)
	place := &c.recent[uintptr(word)>>5%uintptr(len(c.recent))]
	if e := place.Load(); e != nil && e.word == word {
		return &e.of
	}
	t := reflect.TypeOf(v)
	e, ok := c.all.Load(t)
	if !ok {
		e, _ = c.all.LoadOrStore(t, &typed[T]{word, find(t)})
	}
	place.Store(e.(*typed[T]))
	return &e.(*typed[T]).of
}

// eface is how an any is laid out, for goccy/go-json too.
type eface struct{ typ, data unsafe.Pointer }

func typeWord(v any) unsafe.Pointer { return (*eface)(unsafe.Pointer(&v)).typ }

// dataWord is the pointer that v holds.
func dataWord(v any) unsafe.Pointer { return (*eface)(unsafe.Pointer(&v)).data }
