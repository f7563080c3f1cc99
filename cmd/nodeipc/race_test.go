//go:build race

package main

// raceEnabled: the race detector makes the command slow to start, and slow.
const raceEnabled = true
