//go:build !unix || aix || solaris

package cluster

import "os/exec"

type spawner struct{}

func (p *Primary) start(cmd *exec.Cmd) error { return cmd.Start() }
func (s *spawner) end()                      {}
func awaitExit(int)                          {}
func leadGroup(*exec.Cmd) bool               { return false }
func killGroup(int)                          {}

const awaitsExit = false
