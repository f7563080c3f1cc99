package jsjson

import (
	"cmp"
	"slices"
	"strings"
)

// pair is a member of a map on its way to its place.
type pair struct {
	key   string
	index int64 // the key's number if it is an array index, else -1
	value any   // of a map[string]any
	at    int   // where the value is, for other maps
}

// sortPairs brings members into the order in which JavaScript lists those of an object: array indexes ascending, then
// the others, for which Go has no order of insertion, sorted.
func sortPairs(pairs []pair) {
	slices.SortFunc(pairs, func(a, b pair) int {
		if a.index >= 0 || b.index >= 0 {
			return cmp.Compare(uint64(a.index), uint64(b.index)) // -1 is last so
		}
		return strings.Compare(a.key, b.key)
	})
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
