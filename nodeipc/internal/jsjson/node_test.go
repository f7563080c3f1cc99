package jsjson

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// node is a Node process that answers questions about JSON.
type node struct {
	t    testing.TB
	peer *testkit.NodePeer
}

func startNode(t testing.TB) *node { t.Helper(); return &node{t, testkit.StartPeer(t, "json_peer.js")} }

func (n *node) ask(kind string, text []byte) string {
	n.t.Helper()
	answers, err := n.peer.Ask(kind, text)
	require.NoError(n.t, err)
	return answers[0]
}

// eval is what JSON.stringify makes of a JavaScript expression.
func (n *node) eval(expression string) string { n.t.Helper(); return n.ask("v", []byte(expression)) }

// again is what JSON.stringify makes of what JSON.parse makes of text.
func (n *node) again(text []byte) string { n.t.Helper(); return n.ask("s", text) }

// class is E, U, or I and the cmd: an error, a user's message, an internal one.
func (n *node) class(text []byte) string { n.t.Helper(); return n.ask("c", text) }

func TestMain(m *testing.M) { testkit.Main(m) }
