package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const events = `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestRuntime","Output":"=== RUN   TestRuntime\n"}
{"Action":"attr","Package":"p","Test":"TestRuntime","Key":"runtime","Value":"Bun 1.4.5"}
{"Action":"attr","Package":"p","Test":"TestRuntime/one","Key":"feature","Value":"one"}
{"Action":"output","Package":"p","Test":"TestRuntime/one/a","Output":"quiet\n"}
{"Action":"attr","Package":"a","Test":"TestRuntime/zero","Key":"feature","Value":"zero"}
{"Action":"pass","Package":"a","Test":"TestRuntime/zero"}
{"Action":"pass","Package":"p","Test":"TestRuntime/one/a"}
{"Action":"pass","Package":"p","Test":"TestRuntime/one"}
{"Action":"attr","Package":"p","Test":"TestRuntime/two","Key":"feature","Value":"two"}
{"Action":"attr","Package":"p","Test":"TestRuntime/two","Key":"limit","Value":"not yet"}
{"Action":"pass","Package":"p","Test":"TestRuntime/two"}
{"Action":"attr","Package":"p","Test":"TestRuntime/three","Key":"feature","Value":"three"}
{"Action":"skip","Package":"p","Test":"TestRuntime/three/a"}
{"Action":"pass","Package":"p","Test":"TestRuntime/three"}
{"Action":"attr","Package":"p","Test":"TestRuntime/four","Key":"feature","Value":"four"}
{"Action":"output","Package":"p","Test":"TestRuntime/four/a","Output":"what is wrong\n"}
{"Action":"fail","Package":"p","Test":"TestRuntime/four/a"}
{"Action":"fail","Package":"p","Test":"TestRuntime/four"}
{"Action":"output","Package":"p","Test":"TestHangs","Output":"panic: too late\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t1.2s\n"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"ok  \tq\t3.4s\n"}
{"Action":"pass","Package":"q"}
`

// Only what passed is claimed, and what went wrong is told.
func TestRead(t *testing.T) {
	var r result
	var out strings.Builder
	require.NoError(t, r.read(strings.NewReader(events), &out))
	require.Equal(t, result{
		runtime:  "Bun 1.4.5",
		features: []string{"zero", "one", "two", "three", "four"},
		cells:    map[string]cell{"zero": {works: true}, "one": {works: true}, "two": {limit: "not yet"}},
	}, r)
	require.Equal(t, "what is wrong\nFAIL\tp\t1.2s\n=== RUN   TestRuntime\npanic: too late\nok  \tq\t3.4s\n",
		strings.ReplaceAll(out.String(), "panic: too late\n=== RUN   TestRuntime\n", "=== RUN   TestRuntime\npanic: too late\n"))
	require.Error(t, r.read(strings.NewReader("no JSON"), &out))
}

func TestTable(t *testing.T) {
	var runs table
	runs.add(&result{runtime: "Node 12.22.12", features: []string{"one", "two", "three"}, cells: map[string]cell{
		"one": {works: true}, "two": {works: true}, "three": {works: true},
	}})
	runs.add(&result{runtime: "Bun 1.4.5", features: []string{"one", "two", "three"}, cells: map[string]cell{
		"one": {limit: "not yet"}, "two": {limit: "never"}, "three": {limit: "not yet"},
	}})
	const text = "before\n" + tableBegin + tableEnd + "behind\n"
	_, err := runs.replaceIn("no place")
	require.Error(t, err)
	written, err := runs.replaceIn(text)
	require.NoError(t, err)
	require.Equal(t, "before\n"+tableBegin+`
| | Node 12.22.12 | Bun 1.4.5 |
|---|---|---|
| one | yes | – (1) |
| two | yes | – (2) |
| three | yes | – (1) |

1. not yet
2. never

`+tableEnd+"behind\n", written)
	again, err := runs.replaceIn(written)
	require.NoError(t, err)
	require.Equal(t, written, again)

	for _, test := range []struct{ old, new, want string }{
		{"", "", ""},
		{"yes", "", "Node 12.22.12, one: it says nothing, the tests yes"},
		{"– (1)", "yes", "Bun 1.4.5, one: it says yes, the tests no: not yet"},
		{"never", "later", "Bun 1.4.5, two: it says no: later, the tests no: never"},
		{"Bun 1.4.5", "Bun 1.4.4", "it has no Bun 1.4.5"},
		{"| two | yes | – (2) |\n", "", `it has the features ["one" "three"], the tests ["one" "two" "three"]`},
	} {
		committed, err := parseTable(strings.Replace(written, test.old, test.new, 1))
		require.NoError(t, err)
		differences := committed.differences(runs)
		if test.want == "" {
			require.Empty(t, differences)
		} else {
			require.Equal(t, test.want, differences[0])
		}
		only := table{features: runs.features, results: runs.results[:1]}
		if strings.Contains(test.want, "Bun") {
			require.Empty(t, committed.differences(only), "it has not run")
		}
	}
}
