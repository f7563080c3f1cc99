//go:build !unix || aix || solaris

package cluster

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// The channel itself is not there yet on these systems, so that nothing gets here.
type socket struct {
	file *os.File
	addr net.Addr
}

func openTCP(*wanted) (*socket, error)                  { return nil, errors.ErrUnsupported }
func openUDP(*wanted) (*socket, error)                  { return nil, errors.ErrUnsupported }
func openPath(*wanted) (*socket, error)                 { return nil, errors.ErrUnsupported }
func openFile(syscall.Conn, bool, int) (*socket, error) { return nil, errors.ErrUnsupported }
func (s *socket) accept() (fd int, peer netip.Addr, err error) {
	return -1, peer, errors.ErrUnsupported
}
func (s *socket) tryAccept() (int, netip.Addr, error) { return s.accept() }
func (s *socket) close()                              {}
func closeSocket(int)                                 {}

func (s *socket) duplicate() (*os.File, error) { return nil, errors.ErrUnsupported }

func nameOf(syscall.Conn) (net.Addr, error) { return nil, errors.ErrUnsupported }

func closeOnExec(int) {}

func listens(int) error { return errors.ErrUnsupported }

func (s *socket) lend()     {}
func (s *socket) takeBack() {}
