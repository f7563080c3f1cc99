package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The words of a filter.
var (
	filterKinds = []string{"message", "internal", "cluster", "handle", "start", "disconnect", "exit"}
	filterActs  = []string{
		"online", "queryServer", "listening", "newconn", "close", "disconnect", "exitedAfterDisconnect",
	}
)

const filterUsage = "a filter is a list, with commas, of message, internal, cluster, handle, start, disconnect, " +
	"exit; from:parent, from:child; channel:N; online, queryServer, listening, newconn, close, exitedAfterDisconnect; " +
	"each may have ! in front, for what is not to be shown"

// A filter tells what is shown: what one of its words fits, of the sides and channels if some are named, and nothing
// that a word with ! fits. The zero filter shows everything.
type filter struct{ show, sides, channels, hide []word }

// A word is one condition.
type word struct {
	text string // a kind, an act, or "from:…"; "" for a channel
	n    int    // the channel
}

// parseFilter reads the value of --filter.
func parseFilter(list string) (filter, error) {
	var f filter
	if strings.TrimSpace(list) == "" {
		return f, nil
	}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		text, not := strings.CutPrefix(item, "!")
		w := word{text: text}
		to := &f.show
		n, isChannel := strings.CutPrefix(text, "channel:")
		switch {
		case isChannel:
			var err error
			if w.n, err = strconv.Atoi(n); err != nil || w.n < 1 {
				return filter{}, fmt.Errorf("%s: channels are numbered from 1; %s", quote(item), filterUsage)
			}
			w.text, to = "", &f.channels
		case text == "from:parent" || text == "from:child":
			to = &f.sides
		case slices.Contains(filterKinds, text) || slices.Contains(filterActs, text):
		default:
			return filter{}, fmt.Errorf("%s is unknown; %s", quote(item), filterUsage)
		}
		if not {
			to = &f.hide
		}
		*to = append(*to, w)
	}
	return f, nil
}

// acts tells whether messages have to be looked at.
func (f *filter) acts() bool {
	isAct := func(w word) bool { return slices.Contains(filterActs, w.text) }
	return slices.ContainsFunc(f.show, isAct) || slices.ContainsFunc(f.hide, isAct)
}

// shows tells whether an event is to be shown. act is that of a cluster's message, or of the one that it answers.
func (f *filter) shows(e *event, act string) bool {
	fits := func(w word) bool { return w.fits(e, act) }
	return (len(f.show) == 0 || slices.ContainsFunc(f.show, fits)) &&
		(len(f.sides) == 0 || slices.ContainsFunc(f.sides, fits)) &&
		(len(f.channels) == 0 || slices.ContainsFunc(f.channels, fits)) &&
		!slices.ContainsFunc(f.hide, fits)
}

func (w word) fits(e *event, act string) bool {
	switch w.text {
	case "":
		return e.tap == w.n
	case "start":
		return e.kind == started
	case "exit":
		return e.kind == exited
	case "disconnect":
		return e.kind == disconnected || act == w.text
	case "message":
		return e.kind == message && e.internal == ""
	case "internal":
		return e.kind == message && e.internal != ""
	case "cluster":
		return e.kind == message && e.internal == cmdCluster
	case "handle":
		return e.kind == message && e.handle != ""
	case "from:parent":
		return e.from == parentSide && (e.kind == message || e.kind == disconnected)
	case "from:child":
		return e.from == childSide && (e.kind == message || e.kind == disconnected)
	}
	return act == w.text
}

// parseRedact reads the value of --redact.
func parseRedact(list string) (redaction, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var r redaction
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			return nil, fmt.Errorf("%s: a name of a member is empty", quote(list))
		}
		r = append(r, name)
	}
	return r, nil
}
