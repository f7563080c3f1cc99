// The Go side of the benchmark: what a user would write with this library.
//
//	subject VERB MODE [PROGRAM ARGUMENT...]
//
// Without a program it is a child, otherwise it starts the program and is its parent, or the primary of two of them. MODE is how messages are treated:
// raw, struct or any. subject.cjs beside this folder does the same in JavaScript, and says what the verbs are.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// The message of the benchmark; its members are in the order of the frames, so that it encodes to the same bytes.
type message struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text,omitempty"`
	Type string `json:"type"`
}

// The large document, likewise.
type document struct {
	ID    int    `json:"id"`
	Items []item `json:"items"`
	Meta  meta   `json:"meta"`
	Type  string `json:"type"`
}

type item struct {
	Active  bool      `json:"active"`
	Balance float64   `json:"balance"`
	Geo     geo       `json:"geo"`
	History []event   `json:"history"`
	ID      int       `json:"id"`
	Name    string    `json:"name"`
	Note    *string   `json:"note"`
	Scores  []float64 `json:"scores"`
	Tags    []string  `json:"tags"`
}

type geo struct {
	Lat float64 `json:"lat"`
	Lng float64 `json:"lng"`
}

type event struct {
	At   int64  `json:"at"`
	Done bool   `json:"done"`
	Text string `json:"text"`
}

type meta struct {
	Count int    `json:"count"`
	Title string `json:"title"`
	Tree  struct {
		Depth int   `json:"depth"`
		Path  []int `json:"path"`
	} `json:"tree"`
}

// The object graph of advanced serialization.
type graph struct {
	ID    int    `v8:"id"`
	Items []node `v8:"items"`
	Type  string `v8:"type"`
}

type node struct {
	Geo  geo       `v8:"geo"`
	List []float64 `v8:"list"`
	Name string    `v8:"name"`
	OK   bool      `v8:"ok"`
	Tags v8.Map    `v8:"tags"`
	When time.Time `v8:"when"`
}

type answer struct {
	Count int    `json:"count"`
	Hash  uint32 `json:"hash"`
}

func main() {
	stop := profile()
	err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench subject:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, verb, mode string, program []string) error {
	if verb == "online" {
		w, err := cluster.Join(nil)
		if err != nil {
			return err
		}
		<-w.Done()
		return nil
	}
	switch verb {
	case "primary":
		return primary(ctx, mode, program)
	case "serve":
		return serve(ctx)
	}
	var ch *nodeipc.Channel
	var err error
	wait := func() error { return nil }
	if len(program) == 0 {
		ch, err = nodeipc.Connect(nil)
	} else {
		cmd := exec.Command(program[0], program[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		ch, err = nodeipc.Start(cmd, nil)
		wait = cmd.Wait
	}
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := do(ctx, ch, verb, mode); err != io.EOF { // the driver's disconnect ends every verb
		return errors.Join(err, ch.Close(), wait())
	}
	return wait()
}

func do(ctx context.Context, ch *nodeipc.Channel, verb, mode string) error {
	switch verb + " " + mode {
	case "echo raw", "document raw", "graph raw":
		return echoRaw(ctx, ch)
	case "echo struct":
		return echo[message](ctx, ch)
	case "document struct":
		return echo[document](ctx, ch)
	case "graph struct":
		return echo[graph](ctx, ch)
	case "echo any", "document any", "graph any":
		return echo[any](ctx, ch)
	case "sink raw":
		return sink(ctx, ch, rawID)
	case "sink struct":
		return sink(ctx, ch, structID)
	case "sink any":
		return sink(ctx, ch, anyID)
	case "flood raw":
		return flood[json.RawMessage](ctx, ch)
	case "flood struct":
		return flood[message](ctx, ch)
	case "flood any":
		return flood[any](ctx, ch)
	case "take raw":
		return take(ctx, ch)
	case "give raw":
		return give(ctx, ch)
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

func isObject(m *nodeipc.Message) bool { return m.Data[0] == '{' }

func sink(ctx context.Context, ch *nodeipc.Channel, id func(*nodeipc.Message) (uint32, error)) error {
	var sum answer
	for {
		m, err := ch.Receive(ctx)
		if err != nil {
			return err
		}
		if isObject(m) {
			n, err := id(m)
			if err != nil {
				return err
			}
			sum.Count, sum.Hash = sum.Count+1, sum.Hash*31+n
			continue
		}
		if err := ch.Send(ctx, sum); err != nil {
			return err
		}
		sum = answer{}
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

func structID(m *nodeipc.Message) (uint32, error) {
	var v message
	err := m.Decode(&v)
	return uint32(v.ID), err
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

func flood[T any](ctx context.Context, ch *nodeipc.Channel) error {
	var kept []T
	for {
		m, err := ch.Receive(ctx)
		if err != nil {
			return err
		}
		if isObject(m) {
			var v T
			if err := m.Decode(&v); err != nil {
				return err
			}
			kept = append(kept, v)
			continue
		}
		n, err := strconv.Atoi(string(m.Data))
		if err != nil {
			return err
		}
		for i := range n {
			if err := ch.Send(ctx, kept[i%len(kept)]); err != nil {
				return err
			}
		}
	}
}

func take(ctx context.Context, ch *nodeipc.Channel) error {
	var sum answer
	for {
		m, err := ch.Receive(ctx)
		if err != nil {
			return err
		}
		if m.Handle != nil {
			conn, err := m.Handle.Conn()
			if err != nil {
				return err
			}
			if string(m.Data) == `"look"` {
				sum.Hash = sum.Hash*31 + uint32(conn.RemoteAddr().(*net.TCPAddr).Port)
			}
			if err := conn.Close(); err != nil {
				return err
			}
			sum.Count++
			continue
		}
		if err := ch.Send(ctx, sum); err != nil {
			return err
		}
		sum = answer{}
	}
}

func give(ctx context.Context, ch *nodeipc.Channel) error {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for {
		m, err := ch.Receive(ctx)
		if err != nil {
			return err
		}
		if isObject(m) {
			var to struct{ Port, Count int }
			if err := m.Decode(&to); err != nil {
				return err
			}
			for range to.Count {
				c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", to.Port))
				if err != nil {
					return err
				}
				conns = append(conns, c)
			}
			if err := ch.Send(ctx, "ready"); err != nil {
				return err
			}
			continue
		}
		n, err := strconv.Atoi(string(m.Data))
		if err != nil {
			return err
		}
		for i := range n {
			if err := ch.SendHandle(ctx, "s", conns[i%len(conns)]); err != nil {
				return err
			}
		}
	}
}
