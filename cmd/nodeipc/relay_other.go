//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
)

func tapProgram(*streams, *tapOptions, []string) error {
	return fmt.Errorf("%w on %s so far", errors.ErrUnsupported, runtime.GOOS)
}

type exitStatus struct {
	error
	code int
}

func (e *exitStatus) leave() { os.Exit(e.code) }

type startError struct {
	error
	code int
}

func replayProgram(*streams, *replayOptions, []string) error {
	return fmt.Errorf("%w on %s so far", errors.ErrUnsupported, runtime.GOOS)
}

func socketPair() (near, far net.Conn, err error) { return nil, nil, errors.ErrUnsupported }
func bindTCP() (*os.File, error)                  { return nil, errors.ErrUnsupported }
func listenLocally() (standIn, error)             { return standIn{}, errors.ErrUnsupported }
