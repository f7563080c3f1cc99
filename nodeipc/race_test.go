//go:build race

package nodeipc

// raceEnabled: the race detector allocates, and makes pools forget.
const raceEnabled = true
