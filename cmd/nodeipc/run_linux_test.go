package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// openTTY opens the other end of a pseudo-terminal.
func openTTY(master *os.File) (*os.File, error) {
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, err
	}
	return os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
}

// children returns the states of the processes whose parent is pid.
func children(t *testing.T, pid int) (states []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it is gone
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if fields[1] == fmt.Sprint(pid) {
			states = append(states, fields[0])
		}
	}
	return states
}

// As the first process of a namespace it reaps what others have left, and never a worker.
func TestRunFirstProcess(t *testing.T) {
	t.Parallel()
	r := newRun(t, "-i", "4", runFixture())
	id := func(id int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: id, Size: 1}} }
	r.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID,
		UidMappings: id(os.Getuid()), GidMappings: id(os.Getgid()),
	}
	probe := selfCommand("help")
	probe.SysProcAttr = r.cmd.SysProcAttr
	if err := probe.Run(); err != nil {
		for _, no := range []error{syscall.EPERM, syscall.EACCES, syscall.ENOSPC, syscall.EINVAL, syscall.ENOSYS} {
			if errors.Is(err, no) {
				t.Skipf("no namespaces of processes here: %v", err)
			}
		}
	}
	addr := r.start().ready()
	require.Regexp(t, `pid \d\d?\)`, r.said("err")) // as they are counted in there

	const orphans = 500
	begin(t, addr, fmt.Sprintf("/orphans/%d", orphans))
	for code := 101; code <= 108; code++ { // meanwhile workers end
		_, err := get(addr, fmt.Sprintf("/exit/%d", code))
		require.NoError(t, err)
		r.await(fmt.Sprintf("exited with code %d$", code))
	}
	require.Equal(t, 8, strings.Count(r.said("err"), "exited with code"))
	for ctx := limited(t); ; {
		states := children(t, r.cmd.Process.Pid)
		if len(states) == 4 && !strings.Contains(strings.Join(states, ""), "Z") {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("children: %v", states)
		case <-time.After(10 * time.Millisecond):
		}
	}
	drained := begin(t, addr, "/slow")
	r.signal(syscall.SIGTERM)
	rest, err := drained()
	require.NoError(t, err)
	require.Contains(t, rest, "ended ")
	require.Equal(t, 0, r.exit())
}

// At its end it does not wait for somebody who has stopped reading what it prints.
func TestRunFullPipe(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	r := newRun(t, "--drain-timeout", "300ms", "--kill-timeout", "300ms", "server.js")
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "server.js"), []byte(`
require('`+runFixture()+`')
const more = () => process.stdout.write('x'.repeat(1 << 16) + '\n', more)
more()
`), 0o666))
	r.cmd.Stdout, r.cmd.Stderr = write, write
	r.start()
	require.NoError(t, write.Close())
	for { // until nothing more goes in
		n, err := unix.IoctlGetInt(int(read.Fd()), unix.TIOCINQ)
		require.NoError(t, err)
		if n > 60<<10 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	r.signal(syscall.SIGTERM)
	require.Contains(t, []int{0, exitKilled}, r.exit())
}
