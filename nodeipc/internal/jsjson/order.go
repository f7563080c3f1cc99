package jsjson

import (
	"cmp"
	"slices"
	"strings"
)

// pair is a member of a map on its way to its place.
type pair struct {
	key   string
	head  uint64 // what decides about the order, most of the time
	value any    // of a map[string]any
	at    int    // where the value is, for other maps
}

// sortPairs brings members into the order in which JavaScript lists those of an object: array indexes ascending, then
// the others, for which Go has no order of insertion, sorted.
func sortPairs(pairs []pair) {
	if len(pairs) > 12 {
		slices.SortFunc(pairs, func(a, b pair) int {
			return cmp.Or(cmp.Compare(a.head, b.head), strings.Compare(a.key, b.key))
		})
		return
	}
	for i := 1; i < len(pairs); i++ {
		for j := i; j > 0; j-- {
			a, b := &pairs[j-1], &pairs[j]
			if a.head < b.head || a.head == b.head && a.key <= b.key {
				break
			}
			*a, *b = *b, *a
		}
	}
}

// isName is set in the head of a name that is not an array index. The head of one that is, is its number.
const isName = 1 << 63

// headOf is the number of an array index, or the first seven bytes of any other name.
func headOf(key string) uint64 {
	if n := arrayIndex(key); n >= 0 {
		return uint64(n)
	}
	head := uint64(0)
	n := min(len(key), 7)
	for i := range n {
		head = head<<8 | uint64(key[i])
	}
	return isName | head<<(8*uint(7-n))
}

// arrayIndex returns the number of a key that is an array index as ECMAScript defines it (ECMA-262, 6.1.7): the
// canonical decimal of 0 to 4294967294. It returns -1 for any other key.
func arrayIndex(key string) int64 {
	if key == "" || key[0] > '9' || len(key) > 10 || key[0] == '0' && len(key) > 1 {
		return -1
	}
	n := int64(0)
	for i := range len(key) {
		c := key[i] - '0'
		if c > 9 {
			return -1
		}
		n = n*10 + int64(c)
	}
	if n > maxIndex {
		return -1
	}
	return n
}

const maxIndex = 1<<32 - 2
