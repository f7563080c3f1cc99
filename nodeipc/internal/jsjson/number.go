package jsjson

import (
	"math"
	"strconv"
	"time"
)

// appendFloat appends f as ECMAScript's Number::toString does (ECMA-262, 6.1.6.1.20), or null where JSON.stringify
// writes that. bits is 32 or 64.
func appendFloat(dst []byte, f float64, bits int) []byte {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 && (bits == 64 || math.Abs(f) < 1<<24) {
		return strconv.AppendInt(dst, int64(f), 10) // half the time; and -0 is 0
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	// Three places or less, and no more than 15 digits: no shorter decimal has the same value, as no two so short have.
	if m := math.Round(f * 1000); bits == 64 && math.Abs(m) < 1e15 && m/1000 == f {
		return appendThousandths(dst, int64(m))
	}
	abs := math.Abs(f)
	// The limits are those of the type: the float32 nearest to 1e-6 is below it, yet has to be written 0.000001.
	small, large := abs < 1e-6, abs >= 1e21
	if bits == 32 {
		small, large = float32(abs) < 1e-6, float32(abs) >= 1e21
	}
	if !small && !large {
		return strconv.AppendFloat(dst, f, 'f', -1, bits)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, bits)
	// Go writes at least two digits of exponent, ECMAScript as many as there are.
	if n := len(dst); dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// appendThousandths appends m/1000, which is not an integer.
func appendThousandths(dst []byte, m int64) []byte {
	if m < 0 {
		dst = append(dst, '-')
		m = -m
	}
	dst = strconv.AppendInt(dst, m/1000, 10)
	r := m % 1000
	dst = append(dst, '.', byte('0'+r/100))
	if r %= 100; r > 0 {
		dst = append(dst, byte('0'+r/10))
		if r %= 10; r > 0 {
			dst = append(dst, byte('0'+r))
		}
	}
	return dst
}

// isNumber reports whether s is a JSON number and nothing else.
func isNumber(s []byte) bool {
	if len(s) == 0 || s[0] != '-' && class[s[0]]&classDigit == 0 || class[s[len(s)-1]]&classDigit == 0 {
		return false
	}
	_, bad := scan(s)
	return bad < 0
}

// maxTime is the largest time value of ECMAScript, in milliseconds from the epoch (ECMA-262, 21.4.1.1).
const maxTime = 8.64e15

// appendTime appends t as Date.prototype.toJSON gives it: toISOString, or null if it is no time of ECMAScript's.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < -300000 || year > 300000 { // beyond what UnixMilli can tell
		return append(dst, "null"...)
	}
	if ms := t.UnixMilli(); ms < -maxTime || ms > maxTime {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	width := 4
	if year < 0 || year > 9999 {
		sign := byte('+')
		if year < 0 {
			sign, year = '-', -year
		}
		dst, width = append(dst, sign), 6
	}
	dst = appendPadded(dst, year, width)
	dst = appendPadded(append(dst, '-'), int(month), 2)
	dst = appendPadded(append(dst, '-'), day, 2)
	hour, minute, second := t.Clock()
	dst = appendPadded(append(dst, 'T'), hour, 2)
	dst = appendPadded(append(dst, ':'), minute, 2)
	dst = appendPadded(append(dst, ':'), second, 2)
	dst = appendPadded(append(dst, '.'), t.Nanosecond()/1e6, 3)
	return append(dst, 'Z', '"')
}

// appendPadded appends n in width digits.
func appendPadded(dst []byte, n, width int) []byte {
	var digits [6]byte
	for i := width - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, digits[:width]...)
}

// appendBuffer appends what JSON.stringify writes for a Buffer. It is toJSON's object, so 2 to 4 bytes for each.
func appendBuffer(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, `{"type":"Buffer","data":[`...)
	for i, c := range b {
		if i > 0 {
			dst = append(dst, ',')
		}
		if c >= 100 {
			dst = append(dst, '0'+c/100)
		}
		if c >= 10 {
			dst = append(dst, '0'+c/10%10)
		}
		dst = append(dst, '0'+c%10)
	}
	return append(dst, ']', '}')
}
