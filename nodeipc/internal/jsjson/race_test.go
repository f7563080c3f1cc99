//go:build race

package jsjson

// raceEnabled: the race detector allocates, and makes pools forget.
const raceEnabled = true
