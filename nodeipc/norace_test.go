//go:build !race

package nodeipc

const raceEnabled = false
