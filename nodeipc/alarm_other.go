//go:build !linux

package nodeipc

func newAlarmTimer(ring func()) alarmTimer { return newGoTimer(ring) }
