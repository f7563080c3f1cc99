package jsjson

import "iter"

// Members yields the name, decoded, and the raw value of each top-level member of data, in order, duplicates included.
// data has passed Scan; if it is not an object, nothing is yielded. The value is part of data. Names of Node's own
// messages cost no allocation.
func Members(data []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for i := enter(data, 0, '{'); i >= 0; {
			key, from, to := member(data, i)
			if to < 0 {
				return
			}
			name, ok := memberName(key)
			if !ok || !yield(name, data[from:to]) {
				return
			}
			i = following(data, to)
		}
	}
}

// enter returns the place of the first member or element of the object or array that starts at i, or a negative number
// if it has none or something else is there.
func enter(data []byte, i int, open byte) int {
	if i = skipSpace(data, i); i >= len(data) || data[i] != open {
		return -1
	}
	if i = skipSpace(data, i+1); i >= len(data) || data[i] == '}' || data[i] == ']' {
		return -1
	}
	return i
}

// member splits the member at i into its key token and the place of its value. to is negative if there is none.
func member(data []byte, i int) (key []byte, from, to int) {
	if i >= len(data) || data[i] != '"' {
		return nil, 0, -1
	}
	end := skipString(data, i)
	from = skipSpace(data, end)
	if from >= len(data) || data[from] != ':' {
		return nil, 0, -1
	}
	from = skipSpace(data, from+1)
	to = skipValue(data, from)
	if to == from {
		return nil, 0, -1
	}
	return data[i:end], from, to
}

// following returns the place of the member or element after the value that ended at i, or a negative number.
func following(data []byte, i int) int {
	if i = skipSpace(data, i); i >= len(data) || data[i] != ',' {
		return -1
	}
	return skipSpace(data, i+1)
}

// skipValue returns the place after the value at i. It does not look closer than that takes: data has passed Scan.
func skipValue(data []byte, i int) int {
	if i >= len(data) {
		return i
	}
	switch data[i] {
	case '"':
		return skipString(data, i)
	case '{', '[':
	default: // a number or a word
		for i < len(data) && class[data[i]]&(classSpace|classNesting) == 0 && data[i] != ',' && data[i] != ':' {
			i++
		}
		return i
	}
	depth := 0
	for {
		for i < len(data) && class[data[i]]&classNesting == 0 {
			i++
		}
		if i >= len(data) {
			return i
		}
		switch data[i] {
		case '"':
			i = skipString(data, i)
			continue
		case '{', '[':
			depth++
		default:
			depth--
		}
		i++
		if depth == 0 {
			return i
		}
	}
}

// names are the members of Node's own messages, and of a Buffer.
var names = func() map[string]string {
	m := make(map[string]string)
	for _, s := range []string{
		"cmd", "type", "msg", "key", "act", "seq", "ack", "errno", "data", "accepted", "sockname", "handle",
		"address", "port", "addressType", "fd", "index", "flags", "backlog", "readableAll", "family", "count",
		"exitedAfterDisconnect", "dgramType", "nativeKind", "socketListKey", "id", "error", "$hasHandle", "Buffer",
	} {
		m[s] = s
	}
	return m
}()

func memberName(key []byte) (string, bool) {
	if len(key) >= 2 {
		if s, ok := names[string(key[1:len(key)-1])]; ok {
			return s, true
		}
	}
	return String(key)
}
