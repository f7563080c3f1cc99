// The Go child of the benchmark: what a user would write with this library. Its arguments are what to do, how to treat
// messages (raw, struct, any), and counts; see the Node child, child.js, which does the same.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

// The message of the benchmark; its members are in the order of the frames, so that it encodes to the same bytes.
type message struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text,omitempty"`
	Type string `json:"type"`
}

type answer struct {
	Count int    `json:"count"`
	Hash  uint32 `json:"hash"`
}

func main() {
	stop := profile()
	err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:])
	stop()
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the parent has closed the channel
		fmt.Fprintln(os.Stderr, "bench child:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, verb, mode string, args []string) error {
	if verb == "online" {
		w, err := cluster.Join(nil)
		if err != nil {
			return err
		}
		<-w.Done()
		return nil
	}
	counts := make([]int, len(args))
	for i, s := range args {
		n, err := strconv.Atoi(s)
		if err != nil {
			return err
		}
		counts[i] = n
	}
	ch, err := nodeipc.Connect(nil)
	if err != nil {
		return err
	}
	defer ch.Close()
	switch verb + " " + mode {
	case "echo raw":
		return echoRaw(ctx, ch)
	case "echo struct":
		return echo[message](ctx, ch)
	case "echo any":
		return echo[map[string]any](ctx, ch)
	case "sink raw":
		return sink(ctx, ch, counts[0], counts[1], rawID)
	case "sink any":
		return sink(ctx, ch, counts[0], counts[1], anyID)
	case "flood raw":
		return flood[json.RawMessage](ctx, ch, counts[0], counts[1:])
	case "flood struct":
		return flood[message](ctx, ch, counts[0], counts[1:])
	case "flood any":
		return flood[map[string]any](ctx, ch, counts[0], counts[1:])
	case "handle raw":
		return handle(ctx, ch, counts)
	}
	return fmt.Errorf("cannot %s %s", verb, mode)
}

func echoRaw(ctx context.Context, ch *nodeipc.Channel) error {
	for {
		m, err := ch.Receive(ctx)
		if err != nil {
			return err
		}
		if err := ch.Send(ctx, m); err != nil {
			return err
		}
	}
}

func echo[T any](ctx context.Context, ch *nodeipc.Channel) error {
	for {
		m, err := ch.Receive(ctx)
		if err != nil {
			return err
		}
		var v T
		if err := m.Decode(&v); err != nil {
			return err
		}
		if err := ch.Send(ctx, &v); err != nil {
			return err
		}
	}
}

// sink receives warm messages and answers once, then count messages and answers once.
func sink(ctx context.Context, ch *nodeipc.Channel, warm, count int, id func(*nodeipc.Message) (uint32, error)) error {
	total, left := warm, warm
	var hash uint32
	for {
		m, err := ch.Receive(ctx)
		if err != nil {
			return err
		}
		n, err := id(m)
		if err != nil {
			return err
		}
		hash = hash*31 + n
		if left--; left == 0 {
			if err := ch.Send(ctx, answer{total, hash}); err != nil {
				return err
			}
			total, left, hash = count, count, 0
		}
	}
}

// rawID reads the six digits after `{"id":` without decoding: enough to prove that this message has arrived whole and
// in its turn.
func rawID(m *nodeipc.Message) (id uint32, err error) {
	if len(m.Data) != 64 {
		return 0, fmt.Errorf("a message of %d bytes", len(m.Data))
	}
	for _, d := range m.Data[6:12] {
		id = id*10 + uint32(d-'0')
	}
	return id, nil
}

func anyID(m *nodeipc.Message) (uint32, error) {
	var v any
	if err := m.Decode(&v); err != nil {
		return 0, err
	}
	object, _ := v.(map[string]any)
	id, ok := object["id"].(float64)
	if !ok {
		return 0, fmt.Errorf("no id in %s", m.Data)
	}
	return uint32(id), nil
}

// flood keeps the first messages and sends them over and over, in rounds that the parent begins with a message.
func flood[T any](ctx context.Context, ch *nodeipc.Channel, samples int, rounds []int) error {
	kept := make([]T, samples)
	for i := range kept {
		m, err := ch.Receive(ctx)
		if err != nil {
			return err
		}
		if err := m.Decode(&kept[i]); err != nil {
			return err
		}
	}
	for _, n := range rounds {
		if _, err := ch.Receive(ctx); err != nil {
			return err
		}
		for i := range n {
			if err := ch.Send(ctx, kept[i%samples]); err != nil {
				return err
			}
		}
	}
	_, err := ch.Receive(ctx)
	return err
}

// handle closes every socket it gets; in the first round it also looks at whose it is.
func handle(ctx context.Context, ch *nodeipc.Channel, rounds []int) error {
	for i, n := range rounds {
		var hash uint32
		for range n {
			m, err := ch.Receive(ctx)
			if err != nil {
				return err
			}
			conn, err := m.Handle.Conn()
			if err != nil {
				return err
			}
			if i == 0 {
				hash = hash*31 + uint32(conn.RemoteAddr().(*net.TCPAddr).Port)
			}
			if err := conn.Close(); err != nil {
				return err
			}
		}
		if err := ch.Send(ctx, answer{n, hash}); err != nil {
			return err
		}
	}
	_, err := ch.Receive(ctx)
	return err
}
