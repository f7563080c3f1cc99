package v8_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/jsvalues"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

func values(t *testing.T) []jsvalues.Value {
	t.Helper()
	all, err := jsvalues.All()
	require.NoError(t, err)
	return all
}

// What each runtime wrote is decoded to the same Go value, with members in order or not, copied or not.
func TestFixturesDecode(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, v := range values(t) {
		for _, p := range v.Payloads {
			t.Run(v.Name+"/"+strings.Join(p.Runtimes, ","), func(t *testing.T) {
				want := v.Decoded(p)
				for _, d := range []v8.Decoder{
					{Layout: v8.Channel},
					{Layout: v8.Channel, Ordered: true},
					{Layout: v8.Channel, Ordered: true, Copy: true},
				} {
					var got any
					err := d.Decode(p.Bytes(), &got)
					if why, ok := want.(jsvalues.Broken); ok {
						require.ErrorContains(t, err, string(why), "%s %.200x", v.JS, p.Bytes())
						continue
					}
					require.NoError(t, err, "%s %.200x", v.JS, p.Bytes())
					same(t, want, got, d.Ordered, p.Bytes())
				}
				if _, broken := want.(jsvalues.Broken); !broken {
					value, err := v8.Parse(p.Bytes(), v8.Channel)
					require.NoError(t, err)
					again, err := value.Append(nil)
					require.NoError(t, err)
					var got any
					require.NoError(t, (&v8.Decoder{Layout: v8.Channel, Ordered: true}).Decode(again, &got), "%.200x", again)
					same(t, want, got, true, again)
				}
			})
		}
	}
}

// same compares values; texts of what is nested a thousand times must not flood the log.
func same(t *testing.T, want, got any, ordered bool, payload []byte) {
	t.Helper()
	if w, g := jsvalues.Dump(want, ordered), jsvalues.Dump(got, ordered); w != g {
		t.Fatalf("%.200x\nis decoded to  %.1000s\ninstead of     %.1000s", payload, g, w)
	}
}

// What is encoded is decoded to the same value.
func TestFixturesAgain(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, v := range values(t) {
		if len(v.Payloads) == 0 {
			continue
		}
		if _, ok := v.Value.(jsvalues.Broken); ok {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			for _, layout := range []v8.Layout{v8.Channel, v8.V8Serialize} {
				data, err := (&v8.Encoder{Layout: layout, Node: 26, MaxDepth: 2000}).Append(nil, v.Value)
				if d, ok := v.DiffersIn("26"); ok && err != nil {
					require.ErrorContains(t, err, d.Finds)
					continue
				}
				require.NoError(t, err)
				var got any
				require.NoError(t, (&v8.Decoder{Layout: layout, Ordered: true}).Decode(data, &got), "%.200x", data)
				same(t, v.Value, got, true, data)
			}
		})
	}
}
