//go:build !race

package jsjson

const raceEnabled = false
