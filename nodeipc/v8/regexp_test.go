package v8

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// regexpRows are sources by flags. Those that are bad are so for Node too; of the others that we refuse the reason is
// given.
var regexpRows = []struct{ flags, good, bad, refused, why string }{
	{flags: "",
		good: `|a|a|b|^a$|.*|a+?b*?c??|a{1}b{2,}c{3,4}?|(a)(?:b)(?=c)(?!d)(?<=e)(?<!f)(?<name>g)\k<name>|\b\B|[abc]|[^a-z\d]|[\w-a]|[]|[^]|a{|a{1|a{x}|}|]|\d\D\s\S\w\W` +
			`|\cA|\c|\x|\x4|\x41|\u|\u0041|\u{41}|\0|\1|\9|\012|[\012-\377]|[\c]|[\c1]|\k|(?=a)*|\-|\/|/|[/]|é€😀|[\b-\t]|((((((a))))))|[-a]|[a-]|[a-\d]|x{2,2}|[\x41-\u0042]|[^^]|\p{X}|[\k]`,
		bad:     `(|)|a)|(a|[|[a|\|*|+|?|a**|a{1}{2}|{1}|a{2,1}|[b-a]|(?<a>x)(?<a>y)|(?<1>x)|(?<a|(?<>x)|(?a)|(?|(?<=a)*|^*|\b+|(?<a>)\k|(?<a>)\k<b>|[\d-a|[😀-😎]`,
		refused: `(?<é>x)`, why: "names that are not ASCII"},
	{flags: "u",
		good: `a|[😀-😎]|😀{2}|\u{1F600}|\ud83d\ude00|\p{L}\P{Lu}|\p{Script=Greek}|(?<n>a)\k<n>|(a)\1|[\-a]|\$\^|\0|\cA|\x41|[\u{1F600}-\u{1F64F}]|(?=a)b|[\b]`,
		bad:  `{|}|]|a{|\-|\c|\x4|\u|\u{110000}|\u{}|\1|\8|(?=a)*|[\w-a]|[a-\d]|\p{X}|\p|\q|\_|[\1]|\01|\k<n>|\k|[\c1]|\u{1`, refused: `\p{Script=Adlam}`, why: "properties that are seldom used"},
	{flags: "v", good: `a|[a_]|[a-z]|[\w]|\p{L}|[😀]|[^a]`, bad: `[a-]|[(]|[a&&&b]|{`, refused: `[[a]]|[\p{L}--[a-z]]`, why: "sets of sets, and the flag v itself before 20"},
}

// split parts a list of sources; alternatives are tested otherwise.
func split(list string) []string { return strings.Split(list, "|") }

func TestRegExpSources(t *testing.T) {
	testkit.CheckLeaks(t)
	js := startNode(t)
	node := func(source, flags string) bool {
		value, _ := js.regexp(source, flags)
		return value
	}
	for _, row := range regexpRows {
		if row.flags == "v" && js.major < 20 {
			continue
		}
		u, v := row.flags == "u", row.flags == "v"
		for _, s := range split(row.good) {
			require.True(t, validRegExp(s, u, v), "%s %s", s, row.flags)
			require.True(t, node(s, row.flags), "Node refuses %s %s", s, row.flags)
		}
		for _, s := range split(row.bad) {
			require.False(t, validRegExp(s, u, v), "%s %s", s, row.flags)
			require.False(t, node(s, row.flags), "Node takes %s %s", s, row.flags)
		}
		for _, s := range split(row.refused) {
			require.False(t, validRegExp(s, u, v), "%s %s: %s", s, row.flags, row.why)
			require.True(t, node(s, row.flags), "Node refuses %s %s too", s, row.flags)
		}
	}
	require.True(t, validRegExp("a|b||c", false, false))
	require.False(t, validRegExp(strings.Repeat("(", 1000)+strings.Repeat(")", 1000), false, false))
	_, err := Marshal(&RegExp{Source: "("})
	require.EqualError(t, err, `v8: unsupported value of type v8.RegExp: source that is not known to parse: "("`)
}

// regexp tells whether this Node reads a regular expression.
func (n *node) regexp(source, flags string) (bool, string) {
	bits := uint32(0)
	for _, f := range regExpFlags {
		if strings.ContainsRune(flags, rune(f.char)) {
			bits |= f.bit
		}
	}
	p := []byte{0xff, 0x0d, tagRegExp}
	p = appendString(p, 0, source)
	_, refused := n.decode(V8Serialize, appendVarint(p, bits))
	return refused == "", refused
}

// FuzzRegExpNode requires that Node takes the sources that we write.
func FuzzRegExpNode(f *testing.F) {
	js := startNode(f)
	for i, row := range regexpRows {
		for _, s := range split(row.good + "|" + row.bad + "|" + row.refused) {
			f.Add(s, byte(i))
		}
		f.Add(row.good, byte(i))
	}
	f.Fuzz(func(t *testing.T, source string, kind byte) {
		n := node{t, js.peer, js.major}
		row := regexpRows[int(kind)%len(regexpRows)]
		if len(source) > fuzzLong || row.flags == "v" && n.major < 20 || !validRegExp(source, row.flags == "u", row.flags == "v") {
			return
		}
		ok, why := n.regexp(source, row.flags)
		require.True(t, ok, "%q %s: %s", source, row.flags, why)
	})
}
