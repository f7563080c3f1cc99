//go:build unix

package nodeipc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// An answersModel is what the order around handles has to be: docs/protocol.md 1.10.
type answersModel struct {
	limit   int         // how many handles may be in flight once one was answered
	wire    []string    // what is still to come out
	flights []int       // the handles that wait for their answers
	tries   map[int]int // how often each was sent
	queue   []int       // what waits behind them; handles are odd
	outcome map[int]error
}

func answersFrame(n int) string {
	if n&1 != 0 {
		return ourFrame(NetSocket, fmt.Sprint(n))
	}
	return fmt.Sprint(n)
}

func (m *answersModel) send(n int) {
	m.queue = append(m.queue, n)
	for len(m.queue) > 0 && m.ready(m.queue[0]) {
		n, m.queue = m.queue[0], m.queue[1:]
		if n&1 != 0 {
			m.fly(n)
		} else {
			m.wire = append(m.wire, answersFrame(n))
		}
	}
}

func (m *answersModel) ready(n int) bool {
	return len(m.flights) == 0 || n&1 != 0 && len(m.outcome) > 0 && len(m.flights) < m.limit
}

func (m *answersModel) fly(n int) {
	m.wire = append(m.wire, answersFrame(n))
	m.flights = append(m.flights, n)
	m.tries[n]++
}

func (m *answersModel) answer(ack bool) {
	if len(m.flights) == 0 {
		return // for nothing
	}
	n := m.flights[0]
	m.flights = m.flights[1:]
	if !ack && m.tries[n] < 4 {
		m.fly(n)
		return
	}
	m.outcome[n] = nil
	if !ack {
		m.outcome[n] = ErrHandleNotReceived
	}
	queue := m.queue
	m.queue = nil
	for _, n := range queue {
		m.send(n)
	}
}

// However a peer answers handles, what goes out is what the model says, and every handle has one outcome. A byte of the
// script is a message, a handle, an answer, or several answers for nothing; the first one says besides how many handles
// may be in flight.
func FuzzAnswers(f *testing.F) {
	testkit.CheckLeaks(f)
	f.Add([]byte{1, 0, 0, 2, 0, 1, 3, 3, 3, 3, 1, 1, 2, 2, 2, 2})
	f.Add([]byte{1, 1, 3, 1, 0, 3, 2, 2, 2, 0, 1})
	f.Add([]byte{3, 2, 4, 1, 0, 2, 4, 4, 4, 4, 1, 0})
	f.Add([]byte{1, 1, 1, 3, 2, 3, 3, 3, 3, 0, 0, 1, 1, 0})
	f.Add([]byte{11, 1, 1, 2, 1, 0, 3, 2, 3, 2, 1, 1, 1, 1, 2, 2})
	f.Add([]byte{16, 2, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 0, 3, 3, 3, 3, 1, 1, 1})
	handle := newWire(f).here
	pair(f, nil) // keeps the alarm clock alive, which is costly to make
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, script []byte) {
		script = script[:min(len(script), 60)]
		limit := 1
		if len(script) > 0 {
			limit += int(script[0] / 5 % 5)
		}
		c, p := raw(t, &Options{HandlesInFlight: limit})
		model := answersModel{limit: limit, tries: make(map[int]int), outcome: make(map[int]error)}
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
				if len(model.flights) == 0 {
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
			require.Equal(t, slices.Contains(model.flights, r.n), errors.Is(r.err, ErrHandleUnconfirmed))
		}
		require.Empty(t, results)
		require.Empty(t, p.in)
		require.Empty(t, p.fds)
	})
}
