//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package main

import (
	"errors"
	"fmt"
	"runtime"
)

func tapProgram(*streams, *tapOptions, []string) error {
	return fmt.Errorf("%w on %s so far", errors.ErrUnsupported, runtime.GOOS)
}

type exitStatus struct{ error }

func (*exitStatus) leave() {}

type startError struct {
	error
	code int
}
