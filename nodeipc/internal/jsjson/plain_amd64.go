package jsjson

const vectors = true // in skipPlain

// skipPlain returns how many of the n bytes at p, a multiple of 32, can be passed because none of their 32 is special,
// and not 0 if there are bytes above 0x7f among them. n is at least 32.
//
//go:noescape
func skipPlain(p *byte, n int) (skip int, high uint64)
