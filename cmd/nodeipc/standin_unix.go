//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package main

import (
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Sockets of nodeipc replay that package net does not make.

// socketFile takes a descriptor over.
func socketFile(fd int) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "socket")
}

// socketPair returns a connection of the unix domain.
func socketPair() (near, far net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	one, other := socketFile(fds[0]), socketFile(fds[1])
	defer one.Close()
	defer other.Close()
	if near, err = net.FileConn(one); err != nil {
		return nil, nil, err
	}
	if far, err = net.FileConn(other); err != nil {
		near.Close()
		return nil, nil, err
	}
	return near, far, nil
}

// bindTCP returns a socket that has a port and does not listen.
func bindTCP() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := socketFile(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		f.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return f, nil
}

type folder string

func (f folder) Close() error { return os.RemoveAll(string(f)) }

// listenLocally listens in the unix domain, in a folder that stays until the end.
func listenLocally() (s standIn, err error) {
	dir, err := privateFolder()
	if err != nil {
		return s, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, "socket")})
	if err != nil {
		os.RemoveAll(dir)
		return s, err
	}
	ln.SetUnlinkOnClose(false)
	return standIn{ln, ln, folder(dir)}, nil
}
