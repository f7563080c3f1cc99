//go:build !unix

package main

import (
	"errors"
	"fmt"
	"runtime"
)

func runWorkers(*streams, *runOptions) error {
	return fmt.Errorf("%w on %s so far", errors.ErrUnsupported, runtime.GOOS)
}
