package v8

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fuzzLong is the length of payloads beyond which Node may have no stack for their levels, and questions might not fit
// into the pipes.
const fuzzLong = 1500

func layoutOf(channel bool) Layout {
	if channel {
		return Channel
	}
	return V8Serialize
}

// FuzzDecodeNode requires that we take what Node takes, with the same value.
func FuzzDecodeNode(f *testing.F) {
	js := startNode(f)
	for _, payload := range payloads(f) {
		f.Add(payload, false)
		f.Add(payload, true)
	}
	f.Fuzz(func(t *testing.T, payload []byte, channel bool) {
		if len(payload) > fuzzLong {
			return
		}
		l := layoutOf(channel)
		n := node{t, js.peer, js.major}
		ours, err := decodeTold(l, payload)
		theirs, refused := n.decode(l, payload)
		if (err == nil) == (refused == "") && (err != nil || alike(ours, theirs)) {
			return
		}
		if why := n.mayDiffer(l, payload, err, refused); why == "" {
			t.Errorf("%x (channel %v)\nours   %v %v\ntheirs %v %v", payload, channel, ours, err, theirs, refused)
		}
	})
}

// FuzzEncodeNode requires that Node reads what we write, as the value that it is.
func FuzzEncodeNode(f *testing.F) {
	js := startNode(f)
	for kind := range 32 {
		f.Add([]byte{byte(kind), 3, 1, 2, 3, byte(kind), 5, 3, 2, 1, 1, 1, byte(kind), 6, 7, 8, 9, 10, 1, 7, 200}, false)
		f.Add([]byte{14, 3, byte(kind), 3, 1, 1, 1, 21, 1, 0, 1, 1, 1, 30, byte(kind), 3, 3, 3, 30, 0, 30, 1}, true)
		f.Add([]byte{11, 3, 5, 'a', 'b', 'c', 'd', 'e', 1, byte(kind), 30, 0, 21, 4, 1, 1, 11, 1, 29, 1, 30, 0, 22, 4}, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, channel bool) {
		if len(data) > fuzzLong {
			return
		}
		l := layoutOf(channel)
		n := node{t, js.peer, js.major}
		b := builder{data: data, node: js.major}
		v := b.value(9)
		payload, err := (&Encoder{Layout: l, Node: js.major}).Append(nil, v)
		var value *UnsupportedValueError
		if b.errors && js.major < 22 && errors.As(err, &value) {
			require.Contains(t, value.Msg, "Node before")
			return
		}
		require.NoError(t, err)
		theirs, refused := n.decode(l, payload)
		require.Empty(t, refused, "%x", payload)
		if !b.errors || js.major >= 18 {
			require.True(t, alike(tell(v), theirs), "%x\nours   %v\ntheirs %v", payload, tell(v), theirs)
		}
		ours, err := decodeTold(l, payload)
		require.NoError(t, err)
		require.Equal(t, theirs, ours, "%x", payload)

		// For any Node, as far as it can be.
		if payload, err = (&Encoder{Layout: l, Node: 12}).Append(nil, v); err != nil {
			require.ErrorAs(t, err, &value)
			return
		}
		_, refused = n.decode(l, payload)
		require.Empty(t, refused, "%x", payload)
	})
}

// mayDiffer says why this Node may make something else of a payload than we do, or nothing.
func (n *node) mayDiffer(l Layout, payload []byte, err error, refused string) string {
	has := func(s string) bool { return strings.Contains(string(payload), s) }
	version, _ := readVarint(payload, 1, 4)
	if n.major < 18 && (highBytes(payload, 5) || highBytes(payload, 2) && (has("V") || has("r"))) {
		return "before 18 all bytes of a varint are read, later five, or two where one byte is meant"
	}
	switch {
	case err == nil && refused != "":
		switch {
		case version > 15 || version > 13 && n.major < 18:
			return "a version that this Node does not read"
		case strings.HasPrefix(refused, "Invalid regular expression"):
			return "we do not parse regular expressions"
		case has("C") && n.major < 26:
			return "immutable ArrayBuffers came with 26"
		case has("R") && n.major < 20:
			return "flags that came later"
		case has("r") && n.major >= 22:
			return "22 and later want the parts of an Error in their order"
		case has("r") && n.major < 18:
			return "causes, and ids of Errors, came later"
		case has("r") && has("^"):
			return "before 22 an Error cannot be referred to from inside"
		case has("~") && (n.major < 20 || strings.Contains(refused, "llocation")):
			return "resizable ArrayBuffers came with 20; there may be no room for the longest"
		case strings.Contains(refused, "BYTES_PER_ELEMENT") && n.major < 24, has("h") && has("V") && n.major < 24:
			return "Float16Array came with 24, BigInt64Array with 16"
		}
	case err != nil && refused == "":
		switch {
		case n.major < 20 && (has("Z\x01") || has("z\x01") || has("Z\x81") || has("z\x81")):
			return "before 20, -0n was 0n"
		case n.major == 20 && has("R"):
			return "20 takes the flags u and v together"
		case version == 13 && n.major >= 18 && has("V"):
			return "18 and later try version 13 again with the flags of views that a Chrome wrote"
		case version == 13 && n.major >= 18:
			// That second reading goes on counting objects, and finds those of the first.
			again := bytes.Clone(payload)
			again[1] = again[1]&0x80 | 15
			if _, refused := n.decode(l, again); refused != "" {
				return "18 and later try version 13 again, with the objects of the first time"
			}
		}
	case err == nil && refused == "":
		if has("r") && has("^") && n.major < 18 {
			return "readers before 18 do not count Errors"
		}
	}
	return ""
}

// highBytes tells whether n bytes in a row are such as a varint goes on after.
func highBytes(payload []byte, n int) bool {
	run := 0
	for _, c := range payload {
		if run++; c < 0x80 {
			run = 0
		}
		if run == n {
			return true
		}
	}
	return false
}

// payloads are those of the vectors, and some more.
func payloads(t testing.TB) [][]byte {
	var list [][]byte
	vectors, _ := vectors(t)
	for _, v := range vectors {
		list = append(list, unhex(t, v.Hex))
	}
	for _, s := range more {
		list = append(list, unhex(t, s))
	}
	// What fuzzing found to take ways of its own, in hex.
	found, err := os.ReadFile("testdata/fuzzed.txt")
	require.NoError(t, err)
	for s := range strings.FieldsSeq(string(found)) {
		list = append(list, unhex(t, s))
	}
	return list
}

// more are payloads with what the vectors have not.
var more = []string{
	"ff0d5c000a026869", "ff0d5c0a026869", "ff0d5c016f22016149027b01", "ff0d41035c016f22016149027b015e015e02240003",
	"ff0d41035c000a01616f7b005e02240003", "ff0d5c000b080100000000000000", "ff0d5c000303010203", "ff0d5c0808000000000000f83f",
	"ff0d72546d22036d736773220353544b6322037768792e", "ff0d72546d22036d736763220377687973220353544b2e", "ff0d4103726d22017873220153636f7b002e5e015e02240003",
	"ff0d72635e002e", "ff0d6f4e000000000000008049022201313049027b02", "ff0d6f53016149047b01", "ff0d6f4902490422013149067b02",
	"ff0d61034900490249044906400203", "ff0d6101490a4902400101", "ff0d610155feffffff0f4902400101", "ff0d610155ffffffff0f4902400101",
	"ff0d41022d49024900490a240102", "ff0d410149022201784904240101", "ff0d6122066c656e6774684902400101", "ff0d3b49024904490249063a04",
	"ff0d3b4e000000000000008049004e000000000000f87f49023a04", "ff0d274e000000000000f87f4e000000000000f87f2c02", "ff0d5302e282", "ff0d5303eda080",
	"ff0d5304f0908141", "ff0d630200d8", "ff0d63043dd800de", "ff0d6f22016163023dd87b01", "ff0f7e020805065642000103", "ff0f7e020805065642000102",
	"ff0d7e02080506", "ff0d4102420205065e0156420002240002", "ff0d4202050656c2000002", "ff0d5a100000000000000001", "ff0d5a170000000000000000000080",
	"ff0d44333333333333f33f", "ff0d4400003426f56b3c44", "ff0d52220178bf02", "ff0d5222012f00", "ff0d410149ffffffffff01240001",
	"ff0d410273220161795e01240002", "ff105c016f7b00", "ff0d43020506", "ff0f430205065642000200", "ff0f430205065642000202", "ff0d3f003f004902", "ff0d41025c000a005e01240002",
}
