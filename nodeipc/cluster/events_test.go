//go:build unix

package cluster_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// docs/cluster-events.md, which TestMatrix compares with what it saw. With -update it writes there what the Node that
// runs the tests says, and leaves the other versions alone.

const eventsHead = `# What a Node primary sees of a worker

Made by 'go test ./nodeipc/cluster -run TestMatrix -update' with each of the versions; do not edit.

js_fixtures/cluster_matrix.js is a Node primary that has the same done by a Node worker and by a Go worker. These are
the events that its cluster emitted for that worker, in order, with their arguments after the worker, and with
exitedAfterDisconnect of the worker at that moment; those of the Worker object are the same without 'fork', and those
of a Node worker beside it are the same in both cases. Serialization makes no difference, and where the scheduling
policy makes one it stands behind the versions. Node does not promise the order of 'disconnect' and 'exit'.

The programs say "listen" and "close" when they have done so, a Node program in the turn after its callback: what it
sends from the callback itself comes before the event 'listening'. What a Go program sends after Listen comes behind it.

To share an address, both open it; the worker closes and the one beside it serves alone; the worker opens again, the
other one closes, the worker serves alone and closes. While both are open they serve 20 connections, one after the
other, strictly in turns under round robin.

| scenario | Node | events of a Node worker | events of a Go worker |
|---|---|---|---|
`

// An eventsRow is what primaries of some versions see.
type eventsRow struct {
	scenario   string
	policy     string // or "" for both
	versions   []int
	node, ours string
}

func (r *eventsRow) String() string {
	versions := strings.Trim(fmt.Sprint(r.versions), "[]")
	if r.policy != "" {
		versions += ", " + r.policy
	}
	return fmt.Sprintf("| %s | %s | %s | %s |\n", r.scenario, versions, r.node, r.ours)
}

func checkEventsTable(t testing.TB, version int, rr, none *matrixReport) {
	t.Helper()
	if version%2 != 0 {
		return // the table is of versions with long-term support
	}
	file := filepath.Join(testkit.Root(), "docs", "cluster-events.md")
	text, err := os.ReadFile(file)
	if !*update {
		require.NoError(t, err)
	}
	var rows []*eventsRow
	for _, name := range rr.Scenarios {
		rows = append(rows, eventsSeen(version, name, rr, none)...)
	}
	_, table, _ := strings.Cut(string(text), "|---|---|---|---|\n")
	for line := range strings.Lines(table) {
		old := parseEventsRow(t, line)
		old.versions = slices.DeleteFunc(old.versions, func(v int) bool { return v == version })
		same := slices.IndexFunc(rows, func(r *eventsRow) bool {
			return r.scenario == old.scenario && r.policy == old.policy && r.node == old.node && r.ours == old.ours
		})
		switch {
		case same >= 0:
			rows[same].versions = append(rows[same].versions, old.versions...)
			slices.Sort(rows[same].versions)
		case len(old.versions) > 0 && slices.Contains(rr.Scenarios, old.scenario):
			rows = append(rows, old)
		}
	}
	slices.SortStableFunc(rows, func(a, b *eventsRow) int {
		return cmp.Or(
			cmp.Compare(slices.Index(rr.Scenarios, a.scenario), slices.Index(rr.Scenarios, b.scenario)),
			cmp.Compare(a.versions[0], b.versions[0]),
			cmp.Compare(a.policy, b.policy))
	})
	var now strings.Builder
	now.WriteString(strings.ReplaceAll(eventsHead, "'", "`"))
	for _, r := range rows {
		now.WriteString(r.String())
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(now.String()), 0o644))
		return
	}
	require.Equal(t, string(text), now.String(), "-update makes it true")
}

// eventsSeen returns the rows of a scenario: one if the policies do not differ.
func eventsSeen(version int, name string, rr, none *matrixReport) (rows []*eventsRow) {
	for _, r := range []*matrixReport{rr, none} {
		row := &eventsRow{scenario: name, policy: r.policy, versions: []int{version}}
		row.node, row.ours = eventsCell(r.Node[name].Worker), "the same"
		if why := eventDifferences[name]; why != "" {
			row.ours = eventsCell(r.Go[name].Worker) + "<br>" + why
		}
		rows = append(rows, row)
	}
	if rows[0].node == rows[1].node && rows[0].ours == rows[1].ours {
		rows[0].policy = ""
		return rows[:1]
	}
	return rows
}

func eventsCell(events []string) string {
	return "`" + strings.Join(events, "`<br>`") + "`"
}

func parseEventsRow(t testing.TB, line string) *eventsRow {
	t.Helper()
	cells := strings.Split(strings.Trim(line, "|\n "), " | ")
	require.Len(t, cells, 4, line)
	versions, policy, _ := strings.Cut(cells[1], ", ")
	r := &eventsRow{scenario: cells[0], policy: policy, node: cells[2], ours: cells[3]}
	for text := range strings.FieldsSeq(versions) {
		v, err := strconv.Atoi(text)
		require.NoError(t, err, line)
		r.versions = append(r.versions, v)
	}
	return r
}
