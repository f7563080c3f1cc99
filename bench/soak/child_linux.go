package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A message is any that the soak sends, in either direction.
type message struct {
	Do      string `json:"do,omitempty"`
	ID      int    `json:"id"`
	N       int    `json:"n,omitempty"`
	Hash    uint32 `json:"hash,omitempty"`
	Exit    int    `json:"exit,omitempty"`
	Network string `json:"network,omitempty"`
	Address string `json:"address,omitempty"`
	Pause   bool   `json:"pause,omitempty"`
	Done    bool   `json:"done,omitempty"`
	Fault   string `json:"fault,omitempty"`
	Text    string `json:"text,omitempty"`
	Usage   *usage `json:"usage,omitempty"`
}

// hello is what a child says over a connection that it was given.
func hello(id int) string { return fmt.Sprintf("hello %d\n", id) }

// child is the Go child: this program, started with childEnv.
func child() error {
	ctx := context.Background()
	ch, err := nodeipc.Connect(nil)
	if err != nil {
		return err
	}
	defer ch.Close()
	c := &goChild{Channel: ch, listeners: make(map[int]net.Listener)}
	for n := 1; ; n++ {
		m, err := c.receive(ctx, n%16 == 0)
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return nil // the parent disconnected, or we did
		}
		if err != nil {
			return err
		}
		if err := c.act(ctx, m); err != nil && !errors.Is(err, nodeipc.ErrDisconnected) {
			return err
		}
	}
}

type goChild struct {
	*nodeipc.Channel
	listeners map[int]net.Listener // sent ones, by the id of the message
	total     int
	hash      uint32
}

// receive receives, at times with so little patience that it has to begin again.
func (c *goChild) receive(ctx context.Context, hasty bool) (*nodeipc.Message, error) {
	if hasty {
		short, cancel := context.WithTimeout(ctx, 200*time.Microsecond)
		defer cancel()
		if m, err := c.Receive(short); !errors.Is(err, context.DeadlineExceeded) {
			return m, err
		}
	}
	return c.Receive(ctx)
}

func (c *goChild) act(ctx context.Context, received *nodeipc.Message) error {
	var m message
	if err := received.Decode(&m); err != nil {
		return err
	}
	switch m.Do {
	case "echo":
		return c.Send(ctx, received)
	case "count":
		c.total++
		c.hash = c.hash*31 + uint32(m.N)
	case "total":
		err := c.Send(ctx, message{ID: m.ID, N: c.total, Hash: c.hash})
		c.total, c.hash = 0, 0
		return err
	case "flood":
		go c.flood(ctx, m) // the parent may flood us meanwhile
	case "take":
		return c.take(ctx, m, received.Handle)
	case "dial":
		conn, err := net.Dial(m.Network, m.Address)
		if err != nil {
			return nil // the parent has given up
		}
		defer conn.Close()
		return c.SendHandle(ctx, message{ID: m.ID}, conn)
	case "listen":
		ln, err := net.Listen(m.Network, m.Address)
		if err != nil {
			return err
		}
		c.listeners[m.ID] = ln
		return c.SendHandle(ctx, message{ID: m.ID}, ln)
	case "close":
		c.listeners[m.N].Close()
		delete(c.listeners, m.N)
		return c.Send(ctx, message{ID: m.ID})
	case "usage":
		go func() { // while the loop receives again
			time.Sleep(2 * time.Millisecond)
			u := measure()
			c.Send(ctx, message{ID: m.ID, Usage: &u})
		}()
	case "disconnect":
		return c.Disconnect(ctx)
	case "exit":
		os.Exit(m.Exit)
	default:
		return fmt.Errorf("no such act: %q", m.Do)
	}
	return nil
}

func (c *goChild) flood(ctx context.Context, m message) {
	for i := range m.N {
		if c.Send(ctx, message{ID: m.ID, N: i, Text: m.Text}) != nil {
			return
		}
		if i == m.N-1 && m.Exit != 0 {
			os.Exit(m.Exit)
		}
	}
	c.Send(ctx, message{ID: m.ID, Done: true})
}

func (c *goChild) take(ctx context.Context, m message, h *nodeipc.Handle) error {
	switch h.Type() {
	case nodeipc.NetSocket:
		conn, err := h.Conn()
		if err != nil {
			return err
		}
		defer conn.Close()
		io.WriteString(conn, hello(m.ID)) // the other end may be gone
		return nil
	case nodeipc.NetServer:
		ln, err := h.Listener()
		if err != nil {
			return err
		}
		go func() {
			defer ln.Close()
			if conn, err := ln.Accept(); err == nil {
				defer conn.Close()
				io.WriteString(conn, hello(m.ID))
			}
		}()
		return c.Send(ctx, message{ID: m.ID})
	}
	return c.Send(ctx, message{ID: m.ID, Fault: "no handle"})
}

// A usage is what a process uses when it is at rest.
type usage struct {
	Heap        uint64 `json:"heap"`
	Descriptors int    `json:"descriptors"`
	Goroutines  int    `json:"goroutines"`
}

func measure() usage {
	runtime.GC() // finalizers of the first run
	runtime.GC() // pools are empty after the second
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	return usage{mem.HeapAlloc, descriptors(), runtime.NumGoroutine()}
}
