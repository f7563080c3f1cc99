//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package nodeipc

import (
	"errors"
	"net"
	"os"
	"syscall"
)

func closeFD(int)                    {}
func closeFD2(int) error             { return errors.ErrUnsupported }
func setNonblock(int) error          { return errors.ErrUnsupported }
func socketFile(int) *os.File        { return nil }
func ensureListening(*os.File) error { return errors.ErrUnsupported }

func inspect(syscall.RawConn) (socketInfo, error) { return socketInfo{}, errors.ErrUnsupported }

func localAddr(syscall.RawConn) (net.Addr, error) { return nil, errors.ErrUnsupported }
