package jsjson

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// slowBytes is a byte slice that encoding/json reads as we do.
type slowBytes []byte

func (b *slowBytes) UnmarshalJSON(text []byte) error {
	var members map[string]json.RawMessage
	if text[0] != '{' {
		return json.Unmarshal(text, (*[]byte)(b))
	}
	var typ string
	var list []json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	if json.Unmarshal(members["type"], &typ) != nil || typ != "Buffer" {
		return strconv.ErrSyntax
	}
	if err := json.Unmarshal(members["data"], &list); err != nil || list == nil {
		return strconv.ErrSyntax
	}
	*b = make([]byte, len(list))
	for i, element := range list {
		n, err := strconv.ParseUint(string(element), 10, 8)
		if err != nil {
			return err
		}
		(*b)[i] = byte(n)
	}
	return nil
}

// withBytes is the same type for both kinds of slices.
type withBytes[B any] struct {
	A B            `json:"a"`
	B map[string]B `json:",omitempty"`
	C []B
	D *withBytes[B]
	E *B
	F [2]B
	G any
	H string
}

// A Buffer is read wherever a byte slice may be, and anything else as encoding/json reads it.
func FuzzUnmarshalBuffers(f *testing.F) {
	for _, c := range scanCases {
		f.Add([]byte(c.text))
	}
	for _, b := range []string{
		`{"type":"Buffer","data":[104,105]}`, `{ "data" : [ 1 , 255 ] , "type" : "\u0042uffer" }`,
		`{"type":"Buffer","data":[]}`, `{"type":"Buffer","data":[256]}`,
		`{"type":"Buffer","data":[1,-1]}`, `{"type":"Buffer","data":[1e1]}`, `{"type":"Buffer","data":[null]}`,
		`{"type":"Buffer","data":null}`, `{"type":"Buffer"}`, `{"type":"buffer","data":[1]}`,
		`{"type":"Buffer","data":[1],"data":[2],"x":{"type":"Buffer","data":[3]}}`, `{"type":"Buffer","data":[1],"type":7}`,
		`"aGk="`, `"a"`, `[1,2]`, `null`, `7`, `{}`, `""`, `[{"type":"Buffer","data":[1]}]`,
	} {
		f.Add([]byte(`{"a":` + b + `}`))
		f.Add([]byte(`{"D":{"A":` + b + `,"d":{"C":[` + b + `,null]}},"b":{"k":` + b + `,"k":` + b + `}}`))
		f.Add([]byte(`{"E":` + b + `,"F":[` + b + `,` + b + `,` + b + `],"G":` + b + `,"H":` + b + `}`))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := Scan(text); err != nil {
			return
		}
		var got withBytes[[]byte]
		var want withBytes[slowBytes]
		err := json.Unmarshal(text, &want)
		if err == nil {
			require.NoError(t, Unmarshal(text, &got))
			one, err := json.Marshal(want)
			require.NoError(t, err)
			other, err := json.Marshal(got)
			require.NoError(t, err)
			require.Equal(t, string(one), string(other))
		} else {
			require.Error(t, Unmarshal(text, &got), "%v", err)
		}
	})
}
