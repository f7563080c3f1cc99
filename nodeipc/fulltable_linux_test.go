package nodeipc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

func init() { roles["full-table"] = playFullTable }

// playFullTable is the child of js_fixtures/full_table.js, which says there what it does. It may be told to leave some
// descriptors free, too.
func playFullTable() error {
	limit := unix.Rlimit{Cur: 60, Max: 60}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	table := &fullTable{}
	ch, err := Connect(&Options{Logger: slog.New(table)})
	if err != nil {
		return err
	}
	defer ch.Close()
	ctx := context.Background()
	for m, err := range ch.Messages(ctx) {
		if err != nil {
			return err
		}
		var c struct {
			Type        string
			Room, Spare int
		}
		m.Decode(&c)
		switch c.Type {
		case "fill":
			if err := table.fill(c.Room); err != nil {
				return err
			}
			table.free(c.Spare)
			err = ch.Send(ctx, m)
		case "room":
			err = ch.Send(ctx, map[string]any{"type": "room", "lost": table.lost})
			table.free(len(table.filled))
		default:
			err = ch.Send(ctx, map[string]any{"got": json.RawMessage(m.Data), "handle": m.Handle != nil})
			if m.Handle != nil && err == nil {
				err = table.use(m)
			}
		}
		if err != nil {
			return fmt.Errorf("at %.100s: %w", m.Data, err)
		}
	}
	return nil
}

// use writes the message to a connection, or to the one that a listener accepts.
func (f *fullTable) use(m *Message) error {
	var name string
	if err := m.Decode(&name); err != nil {
		return err
	}
	if m.Handle.Type() != NetServer {
		conn, err := m.Handle.File() // Conn takes a second descriptor for a moment
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = fmt.Fprintln(conn, name)
		return err
	}
	ln, err := m.Handle.Listener()
	if err != nil {
		return err
	}
	f.serving.Go(func() {
		defer ln.Close()
		if conn, err := ln.Accept(); err == nil {
			fmt.Fprintln(conn, name)
			conn.Close()
		}
	})
	return nil
}

// A fullTable fills the table of descriptors. As the handler of the channel's log it hears of each loss, before the
// sender does.
type fullTable struct {
	slog.Handler
	filled     []int
	lost, room int
	serving    sync.WaitGroup
}

func (f *fullTable) Enabled(context.Context, slog.Level) bool { return true }
func (f *fullTable) WithAttrs([]slog.Attr) slog.Handler       { return f }
func (f *fullTable) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "did not arrive") {
		if f.lost++; f.lost == f.room {
			f.free(5)
		}
	}
	return nil
}

func (f *fullTable) fill(room int) error {
	f.serving.Wait() // its descriptors are needed no more
	f.lost, f.room = 0, room
	for {
		fd, err := unix.Dup(2)
		if err == unix.EMFILE {
			return nil
		}
		if err != nil {
			return err
		}
		unix.CloseOnExec(fd)
		f.filled = append(f.filled, fd)
	}
}

func (f *fullTable) free(n int) {
	for ; n > 0; n-- {
		unix.Close(f.filled[len(f.filled)-1])
		f.filled = f.filled[:len(f.filled)-1]
	}
}

// A real Node parent sends a net.Socket again, wrapped, until it arrives, four times at the most, and a net.Server once;
// whatever comes of it, what comes behind it is right. (A Node child in our place answers the wrapped frame twice, which
// kills the parent: js_fixtures/full_table.js as the child of itself shows it.)
func TestFullTableUnderNode(t *testing.T) {
	for _, kind := range []string{"socket", "server"} {
		for _, room := range []int{0, 1, 2, 3, 4} {
			if kind == "server" && room > 1 {
				continue
			}
			t.Run(fmt.Sprintf("%s, room after %d", kind, room), func(t *testing.T) {
				testkit.CheckLeaks(t)
				bin, err := os.Executable()
				require.NoError(t, err)
				cmd := nodeCommand(t, testkit.Fixture("full_table.js"), "parent", kind, fmt.Sprint(room), bin)
				cmd.Env = append(os.Environ(), envRole+"=full-table", quickExit)
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				require.NoError(t, err, stderr.String())
				want := map[string]any{
					"before": map[string]any{"got": "before", "handle": true}, "beforeResult": "before\n",
					"after": map[string]any{"got": "after", "handle": true}, "afterResult": "after\n",
					"type": "room", "exit": map[string]any{"code": 0.0, "signal": nil}, "warnings": []any{},
				}
				behind := map[string]any{"got": "behind", "handle": false}
				switch {
				case kind == "server":
					want["lost"], want["during"], want["duringResult"] = 1.0, []any{behind}, "ECONNREFUSED"
				case room == 0 || room == 4:
					want["lost"], want["during"], want["duringResult"] = 4.0, []any{behind}, ""
					want["warnings"] = []any{"SentHandleNotReceivedWarning"}
				default:
					want["lost"], want["duringResult"] = float64(room), "during\n"
					want["during"] = []any{map[string]any{"got": "during", "handle": true}, behind}
				}
				var got map[string]any
				require.NoError(t, json.Unmarshal(out, &got), "%s", out)
				require.Equal(t, want, got)
			})
		}
	}
}

// Our own parent with a Node child, and a Go child, whose table is full: the handle of either kind is sent again, the
// same frame, four times in all, or until it arrives.
func TestFullTableInChild(t *testing.T) {
	node := func(t *testing.T) *exec.Cmd {
		return exec.Command("sh", "-c", "ulimit -n 60; exec \"$@\"", "sh", testkit.Node(t), testkit.Fixture("full_table.js"), "child")
	}
	ours := func(t *testing.T) *exec.Cmd { return self(t, "full-table") }
	for name, command := range map[string]func(*testing.T) *exec.Cmd{"Node": node, "Go": ours} {
		for _, kind := range []string{"socket", "server"} {
			for _, room := range []int{0, 1, 3, 4} {
				t.Run(fmt.Sprintf("%s, %s, room after %d", name, kind, room), func(t *testing.T) {
					testkit.CheckLeaks(t)
					p := start(t, command(t), nil)
					ctx := limited(t)
					// give sends a handle and returns what came of it, as the other end sees it.
					give := func(name string) (error, func() string) {
						if kind == "socket" {
							w := tcpWire(t)
							err := p.SendHandle(ctx, name, w.here)
							require.NoError(t, w.here.Close())
							return err, func() string { return all(t, w.there) }
						}
						ln, err := net.Listen("tcp", "127.0.0.1:0")
						require.NoError(t, err)
						err = p.SendHandle(ctx, name, ln)
						require.NoError(t, ln.Close())
						return err, func() string { return dialled(t, ln.Addr()) }
					}
					arrives := func(name string, err error, result func() string) {
						t.Helper()
						require.NoError(t, err)
						require.JSONEq(t, `{"got":"`+name+`","handle":true}`, text(t, p.Channel))
						require.Equal(t, name+"\n", result())
					}
					err, result := give("before")
					arrives("before", err, result)

					send(t, p.Channel, map[string]any{"type": "fill", "room": room})
					require.Contains(t, text(t, p.Channel), "fill")
					err, result = give("during")
					lost := room
					if room == 0 || room == 4 {
						lost = 4
						require.ErrorIs(t, err, ErrHandleNotReceived)
						if kind == "socket" {
							require.Empty(t, result(), "a copy is open somewhere")
						}
					} else {
						arrives("during", err, result)
					}
					send(t, p.Channel, "behind")
					require.JSONEq(t, `{"got":"behind","handle":false}`, text(t, p.Channel))

					send(t, p.Channel, map[string]any{"type": "room"})
					require.JSONEq(t, fmt.Sprintf(`{"type":"room","lost":%d}`, lost), text(t, p.Channel))
					err, result = give("after")
					arrives("after", err, result)
					require.NoError(t, p.Disconnect(ctx))
					require.NoError(t, p.wait())
				})
			}
		}
	}
}

// What the kernel does with several descriptors in one message of which some find room: these come, and the others are
// one mark behind them. Every frame gets one answer, and none another's descriptor; then each is sent again.
func TestFullTableRawSender(t *testing.T) {
	const frames = 4
	for room := range frames + 1 {
		t.Run(fmt.Sprintf("room for %d of %d", room, frames), func(t *testing.T) {
			testkit.CheckLeaks(t)
			p, exited := rawParent(t, self(t, "full-table"))
			var wires [frames]wire
			var lines string
			var fds []int
			frameOf := func(i int) string { return "\"plain\"\n" + frame(NetSocket, fmt.Sprintf(`"%d"`, i)) + "\n" }
			for i := range frames {
				wires[i] = tcpWire(t)
				lines += frameOf(i)
				fds = append(fds, fdOf(t, wires[i].here))
			}
			arrived := func(i int) {
				t.Helper()
				wires[i].here.Close()
				require.Equal(t, fmt.Sprintf("%d\n", i), all(t, wires[i].there))
			}
			p.send(fmt.Sprintf(`{"type":"fill","spare":%d}`+"\n", room))
			require.Contains(t, p.line(), "fill")
			p.sendFD(lines, fds...)
			var answers, got []string
			for range frames + frames + room {
				if line := p.line(); line == ack || line == nack {
					answers = append(answers, line)
				} else {
					got = append(got, line)
				}
			}
			var wantAnswers, wantGot []string
			for i := range frames {
				wantGot = append(wantGot, `{"got":"plain","handle":false}`)
				if i < room {
					wantAnswers = append(wantAnswers, ack)
					wantGot = append(wantGot, fmt.Sprintf(`{"got":"%d","handle":true}`, i))
				} else {
					wantAnswers = append(wantAnswers, nack)
				}
			}
			require.Equal(t, wantAnswers, answers)
			require.Equal(t, wantGot, got)
			for i := range room {
				arrived(i)
			}

			p.send(`{"type":"room"}` + "\n")
			require.Equal(t, fmt.Sprintf(`{"lost":%d,"type":"room"}`, frames-room), p.line())
			for i := room; i < frames; i++ {
				p.sendFD(frameOf(i), fds[i])
				var lines []string
				for range 3 {
					lines = append(lines, p.line())
				}
				require.ElementsMatch(t, []string{ack, `{"got":"plain","handle":false}`, fmt.Sprintf(`{"got":"%d","handle":true}`, i)}, lines)
				arrived(i)
			}
			require.NoError(t, unix.Shutdown(p.fd, unix.SHUT_WR))
			p.end()
			require.NoError(t, exited())
		})
	}
}

// One after the other, none of which finds room, with plain messages around them in the same reads: a NACK for each.
func TestFullTableOneByOne(t *testing.T) {
	testkit.CheckLeaks(t)
	p, exited := rawParent(t, self(t, "full-table"))
	p.send(`{"type":"fill"}` + "\n")
	require.Contains(t, p.line(), "fill")
	for range 10 {
		w := newWire(t)
		p.send("\"before\"\n")
		p.sendFD(frame(NetSocket, `"lost"`)+"\n\"behind\"\n", fdOf(t, w.here))
		var lines []string
		for range 3 {
			lines = append(lines, p.line())
		}
		require.ElementsMatch(t, []string{nack, `{"got":"before","handle":false}`, `{"got":"behind","handle":false}`}, lines)
		w.here.Close()
		require.Empty(t, all(t, w.there))
	}
	require.NoError(t, unix.Shutdown(p.fd, unix.SHUT_WR))
	p.end()
	require.NoError(t, exited())
}
