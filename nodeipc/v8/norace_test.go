//go:build !race

package v8

const raceEnabled = false
