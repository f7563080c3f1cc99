//go:build unix

package nodeipc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// An answersModel is what the order around handles has to be: docs/protocol.md 1.10.
type answersModel struct {
	wire    []string // what is still to come out
	flight  int      // the handle that waits for its answer, or 0
	tries   int
	queue   []int // what waits behind it; handles are odd
	outcome map[int]error
}

func answersFrame(n int) string {
	if n&1 != 0 {
		return ourFrame(NetSocket, fmt.Sprint(n))
	}
	return fmt.Sprint(n)
}

func (m *answersModel) send(n int) {
	if m.flight != 0 {
		m.queue = append(m.queue, n)
		return
	}
	m.wire = append(m.wire, answersFrame(n))
	if n&1 != 0 {
		m.flight, m.tries = n, 1
	}
}

func (m *answersModel) answer(ack bool) {
	switch {
	case m.flight == 0: // for nothing
	case !ack && m.tries < 4:
		m.tries++
		m.wire = append(m.wire, answersFrame(m.flight))
	default:
		m.outcome[m.flight] = nil
		if !ack {
			m.outcome[m.flight] = ErrHandleNotReceived
		}
		m.flight = 0
		queue := m.queue
		m.queue = nil
		for _, n := range queue {
			m.send(n)
		}
	}
}

// However a peer answers handles, what goes out is what the model says, and every handle has one outcome. A byte of the
// script is a message, a handle, an answer, or several answers for nothing.
func FuzzAnswers(f *testing.F) {
	testkit.CheckLeaks(f)
	f.Add([]byte{1, 0, 0, 2, 0, 1, 3, 3, 3, 3, 1, 1, 2, 2, 2, 2})
	f.Add([]byte{1, 1, 3, 1, 0, 3, 2, 2, 2, 0, 1})
	f.Add([]byte{3, 2, 4, 1, 0, 2, 4, 4, 4, 4, 1, 0})
	f.Add([]byte{1, 1, 1, 3, 2, 3, 3, 3, 3, 0, 0, 1, 1, 0})
	handle := newWire(f).here
	pair(f, nil) // keeps the alarm clock alive, which is costly to make
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, script []byte) {
		script = script[:min(len(script), 60)]
		c, p := raw(t, nil)
		model := answersModel{outcome: make(map[int]error)}
		type result struct {
			n   int
			err error
		}
		results := make(chan result, 2*len(script))
		handles := 0
		for i, op := range script {
			n := 2*i + 2
			answers := ""
			switch op % 5 {
			case 0:
				require.NoError(t, c.Send(ctx, n))
				model.send(n)
			case 1:
				n++
				handles++
				require.NoError(t, c.QueueHandle(n, handle, func(err error) { results <- result{n, err} }))
				model.send(n)
			case 2:
				answers = ack + "\n"
				model.answer(true)
			case 3:
				answers = nack + "\n"
				model.answer(false)
			case 4:
				// While a handle is in flight the second would count or not: its next frame may be written between them.
				if model.flight == 0 {
					answers = ack + "\n" + nack + "\n" + ack + "\n"
				}
			}
			if answers != "" {
				p.send(answers + "0\n") // once that is received the answers have been, too
				require.Equal(t, "0", text(t, c))
			}
			for _, line := range model.wire {
				require.Equal(t, line, p.line())
				if line[0] == '{' {
					p.handle()
				}
			}
			model.wire = nil
		}
		p.close()
		noMore(t, c)
		if err := c.Close(); len(model.queue) > 0 {
			require.ErrorIs(t, err, ErrDisconnected, "lost what waited")
		} else {
			require.NoError(t, err)
		}
		seen := make(map[int]bool)
		for range handles {
			var r result
			select {
			case r = <-results:
			case <-time.After(patience):
				t.Fatalf("%d of %d outcomes", len(seen), handles)
			}
			require.False(t, seen[r.n], "a second outcome of %d: %v", r.n, r.err)
			seen[r.n] = true
			if want, ok := model.outcome[r.n]; ok {
				require.ErrorIs(t, r.err, want)
				continue
			}
			require.ErrorIs(t, r.err, ErrDisconnected)
			require.Equal(t, r.n == model.flight, errors.Is(r.err, ErrHandleUnconfirmed))
		}
		require.Empty(t, results)
		require.Empty(t, p.in)
		require.Empty(t, p.fds)
	})
}
