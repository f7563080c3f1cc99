package cluster

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
)

// SystemdListeners returns the sockets that systemd, or who else speaks its protocol (sd_listen_fds(3)), has given
// this process, for Primary.Listeners and Primary.Files. There are none if the variables LISTEN_PID and LISTEN_FDS do
// not mean this process. They are unset, so that a second call has none, and no worker takes them for its own. A
// descriptor that is not open, or no socket that listens or takes datagrams, is an error; then nothing was taken over.
func SystemdListeners() ([]*os.File, error) {
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("cluster: LISTEN_FDS=%q is no number of descriptors", count)
	}
	const first = 3
	for fd := first; fd < first+n; fd++ { // all of them before any is ours, as they may be this program's own
		if err := listens(fd); err != nil {
			return nil, fmt.Errorf("cluster: LISTEN_FDS=%s: descriptor %d %w", count, fd, err)
		}
	}
	var files []*os.File
	for fd := first; fd < first+n; fd++ {
		closeOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd)))
	}
	return files, nil
}

// Handover returns duplicates of the sockets that workers share, for a process that is to take the place of this one: by
// exec.Cmd.ExtraFiles or over a channel, for the Listeners of its Primary. Both accept from then on, so that nobody is
// refused while the successor starts its workers; when they listen, Shutdown ends this primary. The files are the
// caller's to close.
//
// The file of a unix socket is the successor's to remove at its end: this primary leaves those of the sockets that it
// returns in place, until revoke says that there is no successor after all, which also removes what would have been
// removed meanwhile. The Name of each *os.File is the address, of a unix socket the absolute path. The successor's
// files have to have the same (os.NewFile) if it may run in another directory.
func (p *Primary) Handover() (files []*os.File, revoke func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, ErrPrimaryClosed
	}
	all := slices.SortedFunc(maps.Values(p.listeners), func(a, b *listener) int { return a.order - b.order })
	for _, l := range all {
		f, err := l.sock.duplicate()
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, nil, fmt.Errorf("cluster: hand over %v: %w", l.sock.addr, err)
		}
		files = append(files, f)
	}
	for _, l := range all {
		l.sock.lend()
	}
	return files, sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, l := range all {
			l.sock.takeBack()
		}
	}), nil
}

// inherited finds the one of p.Listeners that q means, or -1. There may be several UDP sockets with one address, of
// which each is to be read.
func (p *Primary) inherited(q *wanted) int {
	found := -1
	for i, c := range p.Listeners {
		if addr, err := nameOf(c); err != nil || !q.means(addr) {
			continue
		}
		free := true
		for _, l := range p.listeners {
			free = free && l.given != i
		}
		if free {
			return i
		}
		found = i
	}
	return found
}

// means reports whether a worker that wants q can have a socket with this address.
func (q *wanted) means(addr net.Addr) bool {
	ip, port := net.IP(nil), 0
	switch addr := addr.(type) {
	case *net.UnixAddr:
		return q.path != "" && (addr.Name == absolute(q.path) || addr.Name == q.path)
	case *net.TCPAddr:
		if q.udp {
			return false
		}
		ip, port = addr.IP, addr.Port
	case *net.UDPAddr:
		if !q.udp {
			return false
		}
		ip, port = addr.IP, addr.Port
	default:
		return false
	}
	if q.path != "" || port != q.port || port == 0 {
		return false
	}
	if !q.ip.IsValid() {
		return ip.IsUnspecified()
	}
	return ip.Equal(q.ip.AsSlice())
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
