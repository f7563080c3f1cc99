//go:build !linux

package cluster

import (
	"errors"
	"net"
)

type census struct{}

func (*census) take(*net.TCPAddr) (map[uint64]struct{}, error) { return nil, errors.ErrUnsupported }

func (c *incoming) cookie() (uint64, error) { return 0, errors.ErrUnsupported }
