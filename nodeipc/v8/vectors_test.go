package v8

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// A vector is a payload of testdata/v8-vectors.json, with what Node made of it.
type vector struct {
	Hex, Test, Source string
	Node              struct {
		Value  any
		Throws string
	}
}

// A longVector is made of parts that repeat: prefix, repeat, middle, then.
type longVector struct {
	Name, Prefix, Middle string
	Repeat, Then         [2]any
}

func (v longVector) payload(t testing.TB) []byte {
	part := func(p [2]any) []byte { return bytes.Repeat(unhex(t, p[0].(string)), int(p[1].(float64))) }
	return slices.Concat(unhex(t, v.Prefix), part(v.Repeat), unhex(t, v.Middle), part(v.Then))
}

func vectors(t testing.TB) (list []vector, long []longVector) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testkit.Root(), "testdata", "v8-vectors.json"))
	require.NoError(t, err)
	var file struct {
		Decode    []vector
		Generated []longVector
	}
	require.NoError(t, json.Unmarshal(text, &file))
	require.NotEmpty(t, file.Decode)
	require.NotEmpty(t, file.Generated)
	return file.Decode, file.Generated
}

// onPurpose are the vectors of which we make something else.
var onPurpose = map[string]string{
	"ff0d5c0404addeefbe": "the vector was read by a Deserializer without host objects; for v8.deserialize it is a Uint16Array",
}

func TestVectors(t *testing.T) {
	testkit.CheckLeaks(t)
	list, long := vectors(t)
	js := startNode(t)
	differ := 0
	for _, v := range list {
		payload := unhex(t, v.Hex)
		got, err := decodeTold(V8Serialize, payload)
		if onPurpose[v.Hex] != "" {
			differ++
			require.Equal(t, v.Node.Throws == "", err != nil, "%s differs no longer", v.Hex)
		} else if v.Node.Throws != "" {
			var syntax *SyntaxError
			require.ErrorAs(t, err, &syntax, "%s %s", v.Test, v.Hex)
			require.LessOrEqual(t, syntax.Offset, len(payload))
		} else {
			require.NoError(t, err, "%s %s", v.Test, v.Hex)
			require.Equal(t, new(retelling).again(v.Node.Value), got, "%s %s", v.Test, v.Hex)
		}
		if want, refused := js.decode(V8Serialize, payload); !alike(got, want) || (err == nil) != (refused == "") {
			require.NotEmpty(t, js.mayDiffer(V8Serialize, payload, err, refused), "%s %s: Node says %v %s, we %v %v", v.Test, v.Hex, want, refused, got, err)
		}
	}
	require.Len(t, onPurpose, differ, "a row that is no longer there")
	for _, v := range long {
		var x any
		require.ErrorIs(t, Unmarshal(v.payload(t), &x), ErrDepth, v.Name)
	}
}

// retelling tells the values of the vectors as tell does: dates and empty arrays have no id there, and views no buffer.
type retelling struct {
	ids  map[float64]float64 // to ours
	full map[float64]m
}

func (r *retelling) again(v any) any {
	if r.ids == nil {
		r.ids, r.full = map[float64]float64{}, map[float64]m{}
		r.collect(v)
	}
	switch v := v.(type) {
	case []any:
		list := []any{}
		for _, x := range v {
			list = append(list, r.again(x))
		}
		return list
	case m:
		id, object := v["id"].(float64)
		if !object {
			break
		}
		if v["t"] == "ref" {
			if ours, ok := r.ids[id]; ok {
				return m{"t": "ref", "id": ours}
			}
			v = r.full[id]
		}
		n := m{}
		plain := v["t"] == "date" || v["t"] == "array" && v["length"] == 0.0 && len(v["props"].([]any)) == 0
		if !plain {
			r.ids[id] = float64(len(r.ids))
			n["id"] = r.ids[id]
		}
		for _, key := range []string{"t", "v", "length", "props", "source", "flags", "entries", "values", "hex", "kind"} {
			switch x, has := v[key]; {
			case key == "v" && v["t"] == "boxed", key == "props", key == "entries", key == "values":
				if has {
					n[key] = r.again(x)
				}
			case has:
				n[key] = x
			}
		}
		return n
	}
	return v
}

// collect notes all objects, of views the buffers too.
func (r *retelling) collect(v any) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			r.collect(x)
		}
	case m:
		if id, ok := v["id"].(float64); ok && v["t"] != "ref" {
			r.full[id] = v
		}
		for _, x := range v {
			r.collect(x)
		}
	}
}
