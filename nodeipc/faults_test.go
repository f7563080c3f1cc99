//go:build unix

package nodeipc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
	"github.com/nodeipc/nodeipc-go/nodeipc/internal/fdconn"
)

// shortly returns a context for what cannot succeed.
func shortly(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// randomFaults makes the system calls of all channels here fail and do less than they were asked to, in an order that
// depends on seed.
func randomFaults(t testing.TB, seed uint64) {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 7))
	errs := []error{unix.EINTR, unix.EAGAIN, unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM}
	most := 1 << (2 * (1 + seed%6)) // from 4 bytes at a time to 4096
	fdconn.SetFaults(&fdconn.Faults{
		Send: func(n int, withFD bool) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			if rnd.IntN(20) == 0 {
				return n, errs[rnd.IntN(len(errs))]
			}
			return 1 + rnd.IntN(most), nil
		},
		Recv: func(n int) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			if rnd.IntN(20) == 0 {
				return n, unix.EINTR
			}
			return 1 + rnd.IntN(most), nil
		},
	})
	t.Cleanup(func() { fdconn.SetFaults(nil) })
}

// Whoever gives up a handle while the kernel is asked to take it learns what became of it.
func TestGivenUpWhileSent(t *testing.T) {
	for _, taken := range []bool{false, true} {
		t.Run(fmt.Sprintf("taken %v", taken), func(t *testing.T) {
			testkit.CheckLeaks(t)
			c, p := raw(t, nil)
			w := newWire(t)
			ctx, cancel := context.WithCancel(context.Background())
			returned := make(chan struct{})
			calls := 0
			fdconn.SetFaults(&fdconn.Faults{Send: func(n int, withFD bool) (int, error) {
				calls++
				switch {
				case !withFD:
				case calls <= maxRounds: // these are made by SendHandle itself
					return n, unix.EAGAIN
				case calls == maxRounds+1:
					cancel()
					until(t, c, "SendHandle gives up", func() bool {
						select {
						case <-returned:
							return true
						default:
							return c.wake != nil && !c.reading
						}
					})
					if !taken {
						return n, unix.EAGAIN
					}
				}
				return n, nil
			}})
			defer fdconn.SetFaults(nil)
			result := outcome(t, "SendHandle", func() error {
				defer close(returned)
				return c.SendHandle(ctx, "given up", w.here)
			})
			err := result()
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, taken, errors.Is(err, ErrHandleUnconfirmed), "%v", err)
			send(t, c, "after it")
			if taken {
				require.Equal(t, ourFrame(NetSocket, `"given up"`), p.line())
				p.handle()
				p.send(ack + "\n")
			}
			require.Equal(t, `"after it"`, p.line())
			require.NoError(t, c.Disconnect(limited(t)))
			p.end()
		})
	}
}

// What goes to a real Node child and back through system calls that fail and do half of what they should comes back as
// it was, and each socket with its own message.
func TestFaultsToNode(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			testkit.CheckLeaks(t)
			p := startNode(t, nil, "scenario_child.js")
			randomFaults(t, seed)
			ctx := limited(t)
			const n = 30
			wires := make([]wire, n)
			texts := make([]string, n)
			rnd := rand.New(rand.NewPCG(seed, 8))
			for i := range wires {
				wires[i] = tcpWire(t)
				if i%3 == 1 {
					wires[i] = unixWire(t)
				}
				texts[i] = strings.Repeat("ö"+string(rune('a'+i%26)), rnd.IntN(1+rnd.IntN(2000<<(seed%6))))
			}
			sent := outcome(t, "the sends", func() error {
				for i, w := range wires {
					if err := p.Send(ctx, texts[i]); err != nil {
						return err
					}
					if err := p.SendHandle(ctx, command{Type: "mixed", N: i, Part: texts[i]}.lower(), w.here); err != nil {
						return err
					}
					w.here.Close()
				}
				return p.Flush(ctx)
			})
			for i := range n {
				require.Equal(t, `"`+texts[i]+`"`, text(t, p.Channel))
				require.Equal(t, fmt.Sprintf(`{"n":%d,"part":"%s","type":"mixed"}`, i, texts[i]), text(t, p.Channel))
			}
			require.NoError(t, sent())
			for i, w := range wires {
				require.Equal(t, fmt.Sprintf("%d\n", i), all(t, w.there))
			}
			require.NoError(t, p.Disconnect(ctx))
			require.NoError(t, p.wait())
		})
	}
}

// The same in a Go child of a real Node parent.
func TestFaultsUnderNode(t *testing.T) {
	for _, scenario := range []string{"echo", "mixed", "handles", "child-handles"} {
		t.Run(scenario, func(t *testing.T) {
			testkit.CheckLeaks(t)
			underNode(t, scenario, "scenario-faults", "NODEIPC_COUNT=20")
		})
	}
}

func init() {
	roles["scenario-faults"] = func() error {
		randomFaults(quietTB{}, 3)
		return playScenario(nil)
	}
}

// quietTB stands for a test in a process that runs none.
type quietTB struct{ testing.TB }

func (quietTB) Cleanup(func()) {}

// Handles that the receiver has now and then no room for: the sender tries again, and what is acknowledged has arrived.
func TestHandlesGetLost(t *testing.T) {
	testkit.CheckLeaks(t)
	a, b := pair(t, nil)
	ctx := limited(t)
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(1, 2))
	fdconn.SetFaults(&fdconn.Faults{Room: func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n + 1)
	}})
	defer fdconn.SetFaults(nil)
	const n = 200
	got := outcome(t, "the messages", func() error {
		want := 0
		for m, err := range b.Messages(ctx) {
			if err != nil {
				return err
			}
			if m.Handle == nil {
				continue
			}
			conn, err := m.Handle.Conn()
			if err != nil {
				return err
			}
			fmt.Fprintf(conn, "%s\n", m.Data)
			conn.Close()
			want++
		}
		return nil
	})
	lost := 0
	for i := range n {
		w := newWire(t)
		err := a.SendHandle(ctx, i, w.here)
		require.NoError(t, w.here.Close())
		send(t, a, "between")
		if err != nil {
			require.ErrorIs(t, err, ErrHandleNotReceived)
			lost++
		}
		answer, rerr := io.ReadAll(w.there)
		require.NoError(t, rerr)
		if err == nil {
			require.Equal(t, fmt.Sprintf("%d\n", i), string(answer))
		} else {
			require.Empty(t, answer)
		}
		w.there.Close()
	}
	require.NoError(t, a.Disconnect(ctx))
	require.NoError(t, got())
	require.Positive(t, lost) // about one in sixteen
	require.Less(t, lost, n/2)
}

// While the system is short of memory, calls wait no longer than their contexts say, and then everything goes out.
func TestShortageOfMemory(t *testing.T) {
	testkit.CheckLeaks(t)
	for _, errno := range []syscall.Errno{unix.ENOBUFS, unix.ENOMEM} {
		c, p := raw(t, nil)
		w := newWire(t)
		fdconn.SetFaults(&fdconn.Faults{Send: func(n int, withFD bool) (int, error) { return n, errno }})
		defer fdconn.SetFaults(nil)
		send(t, c, "waits")
		require.ErrorIs(t, c.Flush(shortly(t)), context.DeadlineExceeded)
		require.ErrorIs(t, c.SendHandle(shortly(t), "given up", w.here), context.DeadlineExceeded)
		result := outcome(t, "SendHandle", func() error { return c.SendHandle(limited(t), "h", w.here) })
		until(t, c, "it is accepted", func() bool { return !c.hand.idle() })
		require.NoError(t, c.Err())
		fdconn.SetFaults(nil)
		require.Equal(t, `"waits"`, p.line())
		require.Equal(t, ourFrame(NetSocket, `"h"`), p.line())
		p.handle()
		p.send(ack + "\n")
		require.NoError(t, result())

		// It does not end while the channel is being closed.
		fdconn.SetFaults(&fdconn.Faults{Send: func(n int, withFD bool) (int, error) { return n, errno }})
		send(t, c, "lost")
		require.ErrorIs(t, c.Disconnect(shortly(t)), context.DeadlineExceeded)
		begun := time.Now()
		require.ErrorIs(t, c.Close(), ErrClosed)
		require.Less(t, time.Since(begun), patience/2)
		fdconn.SetFaults(nil)
		p.end()
	}
}

// Too many descriptors are under way: the handle fails, and nothing else does.
func TestTooManyHandlesUnderWay(t *testing.T) {
	testkit.CheckLeaks(t)
	p := startNode(t, nil, "echo.js")
	w := newWire(t)
	fdconn.SetFaults(&fdconn.Faults{Send: func(n int, withFD bool) (int, error) {
		if withFD {
			return n, unix.ETOOMANYREFS
		}
		return n, nil
	}})
	defer fdconn.SetFaults(nil)
	err := p.SendHandle(limited(t), "h", w.here)
	require.ErrorIs(t, err, unix.ETOOMANYREFS)
	require.ErrorContains(t, err, "nodeipc: send handle: ")
	fdconn.SetFaults(nil)
	require.NoError(t, p.SendHandle(limited(t), "again", w.here))
	require.Equal(t, `"again"`, text(t, p.Channel))
	require.NoError(t, p.Disconnect(limited(t)))
	require.NoError(t, p.wait())
}
