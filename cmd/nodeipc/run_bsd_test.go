//go:build unix && !linux

package main

import (
	"errors"
	"os"
)

func openTTY(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }
