package nodeipc

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/nodeipc/nodeipc-go/internal/testkit"
)

// noSocket stands for a handle where none is needed.
type noSocket struct{ syscall.RawConn }

// A handoffPeer plays the channel around a handoff, and records what goes out.
type handoffPeer struct {
	handoff
	out []string
}

func (p *handoffPeer) put(name string) *outgoing {
	o := &outgoing{frame: []byte(name)}
	if strings.HasPrefix(name, "h") {
		o.handle = noSocket{}
	}
	if p.handoff.put(o) && o.handle == nil {
		p.out = append(p.out, name)
	}
	return o
}

// pump writes what is due.
func (p *handoffPeer) pump() {
	for o := p.due(); o != nil; o = p.due() {
		p.wrote()
		p.out = append(p.out, string(o.frame))
	}
}

func (p *handoffPeer) release(plain []*outgoing) {
	for _, o := range plain {
		p.out = append(p.out, string(o.frame))
	}
}

// answered is the answer to what went out first.
func (p *handoffPeer) answered() { p.release(p.end(p.first())) }

func (p *handoffPeer) waiting() bool { return p.first() != nil }

func (p *handoffPeer) went(t *testing.T, want string) {
	t.Helper()
	require.Equal(t, want, strings.Join(p.out, " "))
	p.out = nil
}

// One handle is in flight at a time, and everything behind it waits for the answer.
func TestHandoff(t *testing.T) {
	testkit.CheckLeaks(t)
	var p handoffPeer
	require.True(t, p.idle())
	require.False(t, p.waiting())
	p.put("a")
	p.went(t, "a")
	p.put("h1")
	require.False(t, p.idle())
	require.False(t, p.waiting(), "it is not written yet")
	for _, name := range []string{"b", "c", "h2", "h3", "d"} {
		p.put(name)
	}
	p.pump()
	require.True(t, p.waiting())
	p.pump()
	p.went(t, "h1")
	p.answered()
	p.pump()
	p.went(t, "b c h2")
	p.answered()
	p.pump()
	p.went(t, "h3")
	p.put("e")
	p.answered()
	p.pump()
	p.went(t, "d e")
	require.True(t, p.idle())
	require.False(t, p.waiting())
	p.put("f")
	p.went(t, "f")
}

func TestHandoffSendsAgain(t *testing.T) {
	testkit.CheckLeaks(t)
	var p handoffPeer
	p.put("h")
	p.put("a")
	p.pump()
	for range maxTries - 1 {
		require.True(t, p.again())
		require.False(t, p.waiting(), "an answer now is not for us")
		p.pump()
		require.True(t, p.waiting())
	}
	require.False(t, p.again(), "that was often enough")
	p.went(t, "h h h h")
	p.answered()
	p.went(t, "a")
}

// A write of which nothing went out counts for nothing.
func TestHandoffUnwritten(t *testing.T) {
	testkit.CheckLeaks(t)
	var p handoffPeer
	o := p.put("h")
	for range 2 * maxTries {
		require.Same(t, o, p.due())
		p.wrote()
		require.Nil(t, p.due())
		require.True(t, p.unwrote(o))
	}
	require.Zero(t, o.tries)
	plain, ok := p.withdraw(o)
	require.True(t, ok, "it can still be taken back")
	require.Empty(t, plain)
	require.True(t, p.idle())
}

func TestHandoffWithdraw(t *testing.T) {
	testkit.CheckLeaks(t)
	var p handoffPeer
	h1 := p.put("h1")
	h2 := p.put("h2")
	p.put("a")
	h3 := p.put("h3")
	p.pump()
	_, ok := p.withdraw(h1)
	require.False(t, ok, "it is on its way")
	plain, ok := p.withdraw(h2)
	require.True(t, ok)
	require.Empty(t, plain, "what is behind it waits for h1")
	_, ok = p.withdraw(h2)
	require.False(t, ok, "it is gone")
	p.went(t, "h1")
	require.True(t, p.again())
	_, ok = p.withdraw(h1)
	require.False(t, ok, "the peer may have it")
	p.pump()
	p.answered()
	p.went(t, "h1 a")
	plain, ok = p.withdraw(h3) // in flight, but not begun
	require.True(t, ok)
	require.Empty(t, plain)
	p.pump()
	p.went(t, "")
	require.True(t, p.idle())

	h4 := p.put("h4")
	p.put("b")
	p.put("h5")
	p.put("c")
	plain, ok = p.withdraw(h4)
	require.True(t, ok)
	p.release(plain)
	p.pump()
	p.went(t, "b h5")
	var names []string
	for _, o := range p.clear() {
		names = append(names, string(o.frame))
	}
	require.Equal(t, []string{"h5", "c"}, names)
	require.True(t, p.idle())
}

// With room for several they go out in a row, but for long ones, and plain messages wait for all.
func TestHandoffOfSeveral(t *testing.T) {
	testkit.CheckLeaks(t)
	p := handoffPeer{handoff: handoff{limit: 3}}
	for _, name := range []string{"h1", "h2", "a", "h3", "h4", "h5", "h6", "b"} {
		p.put(name)
	}
	p.pump()
	p.went(t, "h1 h2")
	p.put("h7")
	p.pump()
	p.went(t, "")
	p.answered()
	p.went(t, "")
	p.answered()
	p.pump()
	p.went(t, "a h3 h4 h5")
	p.answered()
	p.pump()
	p.went(t, "h6")
	for range 3 {
		p.answered()
	}
	p.pump()
	p.went(t, "b h7")
	p.put("h8")
	p.pump()
	p.went(t, "h8")
	p.answered()
	p.answered()
	require.True(t, p.idle())

	long := "h" + strings.Repeat("x", aloneFrame)
	p.put("h1")
	p.put(long)
	p.put("h2")
	p.pump()
	p.went(t, "h1")
	p.answered()
	p.pump()
	p.went(t, long)
	p.answered()
	p.pump()
	p.went(t, "h2")
	p.first().parted = true
	p.put("h3")
	p.pump()
	p.went(t, "")
	p.answered()
	p.pump()
	p.went(t, "h3")
}

// What is asked for once more comes behind those that are written, and before those that are not.
func TestHandoffSendsOneOfSeveralAgain(t *testing.T) {
	testkit.CheckLeaks(t)
	p := handoffPeer{handoff: handoff{limit: 4}}
	h1, h2 := p.put("h1"), p.put("h2")
	p.pump()
	h3 := p.put("h3")
	require.True(t, p.again())
	require.Same(t, h2, p.first())
	_, ok := p.withdraw(h1)
	require.False(t, ok, "the peer may have it")
	p.pump()
	p.went(t, "h1 h2 h1 h3")
	p.answered()
	require.Same(t, h1, p.first())
	p.answered()
	require.Same(t, h3, p.first())

	h4 := p.put("h4")
	p.wrote()
	p.answered()
	p.answered() // before anything of h4 is written
	require.False(t, p.unwrote(h4))
	h5, h6, h7 := p.put("h5"), p.put("h6"), p.put("h7")
	p.wrote()
	p.release(p.end(h6)) // cannot be sent
	require.Same(t, h5, p.first())
	_, ok = p.withdraw(h7)
	require.True(t, ok)
	require.Nil(t, p.due())
	require.Equal(t, []*outgoing{h5}, p.clear())
	require.True(t, p.idle())
}

// Whatever happens in whatever order: what is not withdrawn goes out once, in the order of put, a plain message only
// when no handle is in flight, and no more handles than may be.
func TestHandoffRandom(t *testing.T) {
	testkit.CheckLeaks(t)
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 2))
		p := handoffPeer{handoff: handoff{limit: random.IntN(5)}}
		var all []string
		withdrawn := make(map[string]bool)
		var handles []*outgoing
		unanswered := 0
		pump := func() {
			from := len(p.out)
			p.pump()
			unanswered += len(p.out) - from
			require.LessOrEqual(t, unanswered, max(p.limit, 1))
			require.LessOrEqual(t, unanswered, p.written)
			for _, o := range p.flights[:p.written] {
				require.True(t, p.written == 1 || !o.alone(), "seed %d", seed)
			}
		}
		release := func(plain []*outgoing) {
			require.True(t, len(plain) == 0 || unanswered == 0, "seed %d", seed)
			p.release(plain)
		}
		for n := range 200 {
			switch random.IntN(7) {
			case 0:
				name := "m" + strconv.Itoa(n)
				all = append(all, name)
				p.put(name)
			case 1, 2:
				name := "h" + strconv.Itoa(n)
				if random.IntN(5) == 0 {
					name += strings.Repeat("x", aloneFrame)
				}
				all = append(all, name)
				handles = append(handles, p.put(name))
			case 3:
				pump()
			case 4, 5:
				if p.waiting() {
					unanswered--
					release(p.end(p.first()))
				}
			case 6:
				if len(handles) > 0 {
					o := handles[random.IntN(len(handles))]
					if plain, ok := p.withdraw(o); ok {
						withdrawn[string(o.frame)] = true
						release(plain)
					}
				}
			}
		}
		for !p.idle() {
			pump()
			unanswered--
			release(p.end(p.first()))
		}
		var want []string
		for _, name := range all {
			if !withdrawn[name] {
				want = append(want, name)
			}
		}
		require.Equal(t, fmt.Sprint(want), fmt.Sprint(p.out), "seed %d", seed)
	}
}
