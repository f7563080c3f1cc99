//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A succession is where runs take the place of each other: workers serve a unix path in it, and runs open another one,
// that nobody uses.
type succession struct {
	t                                *testing.T
	dir, sock, unused, control, late string
}

func newSuccession(t *testing.T) *succession {
	dir := t.TempDir()
	return &succession{t, dir, filepath.Join(dir, "sock"), filepath.Join(dir, "unused"), filepath.Join(dir, "control"),
		filepath.Join(dir, "late")}
}

// run returns the command, to be started, whose workers have this name.
func (p *succession) run(name string, flags ...string) *running {
	p.t.Helper()
	flags = append([]string{"--control", p.control, "--listen", p.unused}, flags...)
	r := newRun(p.t, append(flags, runFixture(), name)...)
	r.cmd.Env = append(r.cmd.Env, "SOCK="+p.sock)
	return r
}

// first starts the first run, in the directory of the paths, so that the socket of its worker has a short name.
func (p *succession) first(flags ...string) *running {
	p.t.Helper()
	r := p.run("first", flags...)
	r.cmd.Dir = p.dir
	r.start()
	require.Equal(p.t, p.sock, r.ready())
	r.await("a successor can come to")
	return r
}

// next starts one that takes the place of r, in another directory.
func (p *succession) next(r *running, name string) *running {
	p.t.Helper()
	next := p.run(name, "--upgrade").start()
	require.Equal(p.t, p.sock, next.ready())
	next.await("a successor can come to")
	require.Equal(p.t, 0, r.exit())
	p.serves(name)
	return next
}

// waiting starts a successor whose workers wait for the file late, and waits until it has the sockets of r.
func (p *succession) waiting(r *running) *running {
	p.t.Helper()
	next := p.run("late", "--upgrade")
	next.cmd.Env = append(next.cmd.Env, "AWAIT="+p.late)
	next.start()
	r.await(fmt.Sprintf("process %d has the sockets", next.cmd.Process.Pid))
	return next
}

// serves checks that a worker of this name serves the path.
func (p *succession) serves(name string) {
	p.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", p.sock)
		},
	}, Timeout: patience}
	res, err := client.Get("http://unix/")
	require.NoError(p.t, err)
	defer res.Body.Close()
	who := make([]byte, 100)
	n, _ := res.Body.Read(who)
	require.Equal(p.t, name, string(who[:n]))
}

// has checks which of the paths are there.
func (p *succession) has(paths ...string) {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.dir, "*"))
	require.NoError(p.t, err)
	require.ElementsMatch(p.t, paths, files)
}

// The paths go from one run to the next, in whatever directory that is, and the last one removes them. Successors that
// fail leave them where they were.
func TestRunUpgradePaths(t *testing.T) {
	t.Parallel()
	p := newSuccession(t)
	r := p.first()
	failing := p.run("failing", "--upgrade", "--max-crashes", "1", "--ready-timeout", "50ms")
	failing.cmd.Env = append(failing.cmd.Env, "AWAIT="+p.late)
	require.Equal(t, exitCrashLoop, failing.start().exit())
	r.await("it has given up; this one goes on")
	p.serves("first")
	killed := p.waiting(r)
	killed.signal(syscall.SIGKILL)
	r.await("it has gone before it was ready; this one goes on")
	p.serves("first")
	p.has(p.sock, p.unused, p.control)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
	p.has()

	r = p.next(p.next(p.first(), "second"), "third")
	p.has(p.sock, p.unused, p.control)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
	p.has()
}

// What a successor has is its own when the one before ends of itself.
func TestRunUpgradeOrphan(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"ready", "fails", "ready after a kill", "fails after a kill"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			p := newSuccession(t)
			r := p.first()
			next := p.waiting(r)
			if strings.HasSuffix(how, "kill") {
				r.signal(syscall.SIGKILL)
				require.Equal(t, -1, r.exit())
				p.has(p.sock, p.unused, p.control)
			} else {
				r.signal(syscall.SIGTERM)
				require.Equal(t, 0, r.exit())
				p.has(p.sock, p.unused)
			}
			if strings.HasPrefix(how, "ready") {
				require.NoError(t, os.WriteFile(p.late, nil, 0o666))
				require.Equal(t, p.sock, next.ready())
				next.await("a successor can come to")
				p.serves("late")
				p.has(p.sock, p.unused, p.control, p.late)
				require.NoError(t, os.Remove(p.late))
			}
			next.signal(syscall.SIGTERM)
			require.Equal(t, 0, next.exit())
			if how == "fails after a kill" {
				p.has(p.control) // as without a successor
			} else {
				p.has()
			}
		})
	}
}

// Who comes to the control path and does nothing holds up nobody. One is the successor at a time.
func TestRunUpgradeStuck(t *testing.T) {
	t.Parallel()
	p := newSuccession(t)
	r := p.first()
	for range 3 {
		idle, err := net.Dial("unix", p.control)
		require.NoError(t, err)
		defer idle.Close()
	}
	stuck := p.waiting(r)
	refused := p.run("refused", "--upgrade").start()
	require.Equal(t, 1, refused.exit())
	refused.await(fmt.Sprintf("--upgrade: process %d has been at it for ", stuck.cmd.Process.Pid))
	stuck.signal(syscall.SIGKILL)
	r.await("it has gone before it was ready; this one goes on")
	r = p.next(r, "second")
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
}

// A signal is the first of its kind to one that a successor has told to go, as when all processes of a service get it.
func TestRunUpgradeSignal(t *testing.T) {
	t.Parallel()
	p := newSuccession(t)
	r := p.first("--drain-timeout", "1h", "--kill-timeout", "50ms")
	conn, err := net.Dial("unix", p.sock)
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET /stuck HTTP/1.1\r\nHost: any\r\n\r\n")
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)
	next := p.run("second", "--upgrade").start()
	r.await("successor: it is ready")
	r.signal(syscall.SIGTERM)
	r.await("SIGTERM: the workers are finishing what they have")
	r.signal(syscall.SIGTERM)
	r.await("SIGTERM: no more time for the workers")
	require.Equal(t, 143, r.exit())
	p.serves("second")
	next.signal(syscall.SIGTERM)
	require.Equal(t, 0, next.exit())
}

// From the beginning of a drain nobody can connect to what was open before workers asked for it.
func TestRunListenDrain(t *testing.T) {
	t.Parallel()
	addr, other, path := testkit.FreeAddr(t), testkit.FreeAddr(t), filepath.Join(t.TempDir(), "path")
	r := newRun(t, "--drain-timeout", "1h", "--kill-timeout", "50ms",
		"--listen", addr, "--listen", other, "--listen", path, runFixture())
	r.cmd.Env = append(r.cmd.Env, "PORT="+addr[strings.LastIndexByte(addr, ':')+1:])
	require.Equal(t, addr, r.start().ready())
	begin(t, addr, "/stuck")
	r.signal(syscall.SIGTERM)
	r.await("SIGTERM: the workers are to finish")
	for _, a := range []string{addr, other} {
		require.Eventually(t, func() bool {
			conn, err := net.Dial("tcp", a)
			if err == nil {
				conn.Close()
			}
			return err != nil
		}, patience, time.Millisecond, a)
	}
	require.NoFileExists(t, path)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 143, r.exit())
}

// What has the path already, and is no socket, is not touched.
func TestRunListenNoSocket(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--control"}, {"--upgrade", "--control"}, {"--listen"}} {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, []byte("text"), 0o666))
		r := startRun(t, append(args, file, runFixture())...)
		require.Equal(t, 1, r.exit(), args)
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, "text", string(text))
	}
	r := startRun(t, "--control", "missing/control", runFixture())
	require.Equal(t, 1, r.exit())
	require.Equal(t, "nodeipc: run: --control: stat missing: no such file or directory\n", r.said("err"))
}

// A successor may end at any step, or say what does not come next: the run goes on, and has no descriptor more than
// before.
func TestRunControlSteps(t *testing.T) {
	t.Parallel()
	s := newSuccession(t)
	r := s.first("--listen", testkit.FreeAddr(t))
	descriptors := func() int {
		files, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid)) // none on other systems than Linux
		return len(files)
	}
	s.serves("first")
	before := descriptors()
	ctx := limited(t)
	say := func(ch *nodeipc.Channel, m controlMessage) {
		t.Helper()
		require.NoError(t, ch.Send(ctx, m))
	}
	hears := func(ch *nodeipc.Channel) controlMessage {
		t.Helper()
		m, h, err := hear(ctx, ch)
		require.NoError(t, err)
		h.Close()
		return m
	}
	take := func(ch *nodeipc.Channel) {
		t.Helper()
		say(ch, controlMessage{Take: true, Pid: 1})
		names := map[string]bool{}
		for m := hears(ch); !m.Last; m = hears(ch) {
			require.NotEmpty(t, m.Socket)
			names[m.Socket] = m.Remove
		}
		require.Len(t, names, 3)
		require.True(t, names[s.sock])
		require.True(t, names[s.unused])
	}
	talk := func(do func(*nodeipc.Channel)) func(net.Conn) {
		return func(conn net.Conn) {
			ch := newControl(conn)
			defer ch.Close()
			do(ch)
		}
	}
	goesOn := func(why string) { t.Helper(); r.await("successor: " + why + ".*; this one goes on") }
	for _, step := range []struct {
		name string
		do   func(conn net.Conn)
		why  string // what is said when it has ended
	}{
		{"only looks", func(net.Conn) {}, ""},
		{"nonsense", func(conn net.Conn) { fmt.Fprintln(conn, "GET / HTTP/1.1") }, ""},
		{"too much", func(conn net.Conn) {
			conn.SetDeadline(time.Now().Add(patience))
			for err := error(nil); err == nil; {
				_, err = fmt.Fprint(conn, strings.Repeat("[", 1<<10))
			}
		}, "nodeipc: .*"},
		{"ready before it has anything", talk(func(ch *nodeipc.Channel) {
			say(ch, controlMessage{Ready: true})
			_, _, err := hear(ctx, ch)
			require.ErrorIs(t, err, io.EOF)
		}), errDisorder.Error()},
		{"gives something", talk(func(ch *nodeipc.Channel) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer ln.Close()
			require.NoError(t, ch.SendHandle(ctx, controlMessage{Ready: true}, ln))
		}), errDisorder.Error()},
		{"takes and reads nothing", func(conn net.Conn) { fmt.Fprintln(conn, `{"take":true}`) }, "nodeipc: .*"},
		{"takes one", talk(func(ch *nodeipc.Channel) {
			say(ch, controlMessage{Take: true})
			hears(ch)
		}), "nodeipc: .*"},
		{"takes all", talk(func(ch *nodeipc.Channel) { take(ch) }), "it has gone before it was ready"},
		{"takes twice", talk(func(ch *nodeipc.Channel) {
			take(ch)
			say(ch, controlMessage{Take: true})
			_, _, err := hear(ctx, ch)
			require.ErrorIs(t, err, io.EOF)
		}), errDisorder.Error()},
		{"gives back", talk(func(ch *nodeipc.Channel) {
			take(ch)
			say(ch, controlMessage{Back: true})
			require.Equal(t, controlMessage{Back: true}, hears(ch))
		}), "it has given up"},
		{"is the second", talk(func(ch *nodeipc.Channel) {
			first, err := net.Dial("unix", s.control)
			require.NoError(t, err)
			one := newControl(first)
			take(one)
			say(ch, controlMessage{Take: true, Pid: 2})
			require.Contains(t, hears(ch).Refused, "process 1 has been at it for 0s")
			goesOn("process 2 is refused")
			one.Close()
		}), "it has gone before it was ready"},
	} {
		conn, err := net.Dial("unix", s.control)
		require.NoError(t, err, step.name)
		step.do(conn)
		conn.Close()
		if step.why != "" {
			goesOn(step.why)
		}
		s.serves("first")
		require.Eventually(t, func() bool { return descriptors() <= before }, patience, time.Millisecond,
			"%s: more than %d descriptors", step.name, before)
	}

	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.exit())
	s.has()

	r = s.first("--listen", testkit.FreeAddr(t)) // and one that succeeds
	conn, err := net.Dial("unix", s.control)
	require.NoError(t, err)
	ch := newControl(conn)
	defer ch.Close()
	take(ch)
	say(ch, controlMessage{Ready: true})
	require.Equal(t, controlMessage{Leaving: true}, hears(ch))
	require.Equal(t, 0, r.exit())
	s.has(s.sock, s.unused, s.control) // they are the successor's
}
