//go:build !amd64

package jsjson

import "unsafe"

const vectors = false // in skipPlain

// skipPlain returns how many of the n bytes at p, a multiple of 32, can be passed because none of their 32 is special,
// and not 0 if there are bytes above 0x7f among them. n is at least 32.
func skipPlain(p *byte, n int) (skip int, high uint64) {
	data := unsafe.Slice(p, n)
	for skip+32 <= n {
		// Four words for one branch.
		w0, w1, w2, w3 := load(data, skip), load(data, skip+8), load(data, skip+16), load(data, skip+24)
		if special(w0)|special(w1)|special(w2)|special(w3) != 0 {
			break
		}
		high |= w0 | w1 | w2 | w3
		skip += 32
	}
	return skip, high & highs
}
