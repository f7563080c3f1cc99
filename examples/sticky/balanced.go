package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// balanced is a listener whose connections come in messages: as sockets with the bytes that were read from them, and,
// where the primary keeps the socket, as nothing but bytes.
type balanced struct {
	ch    *nodeipc.Channel
	conns chan net.Conn
	close func()
	done  chan struct{} // closed by close
	wg    sync.WaitGroup

	mu        sync.Mutex
	forwarded map[string]*forwarded
}

var _ net.Listener = (*balanced)(nil)

func newBalanced(ch *nodeipc.Channel) *balanced {
	b := &balanced{ch: ch, conns: make(chan net.Conn), done: make(chan struct{}), forwarded: map[string]*forwarded{}}
	b.close = sync.OnceFunc(func() { close(b.done) })
	return b
}

func (b *balanced) Accept() (net.Conn, error) {
	select {
	case conn := <-b.conns:
		return conn, nil
	case <-b.done:
		return nil, net.ErrClosed
	}
}

func (b *balanced) Close() error {
	b.close()
	return nil
}

func (b *balanced) Addr() net.Addr { return &net.TCPAddr{} } // only the primary knows

// push gives a connection to Accept.
func (b *balanced) push(conn net.Conn) {
	select {
	case b.conns <- conn:
	case <-b.done:
		conn.Close()
	}
}

// wait returns when the answers to what was forwarded have been sent.
func (b *balanced) wait() { b.wg.Wait() }

// A message of the primary or to it. Error is what a connection is destroyed for.
type message struct {
	Type         string `json:"type"`
	Data         []byte `json:"data,omitempty"`
	ConnectionID string `json:"connectionId"`
	SocketInfo   info   `json:"socketInfo,omitzero"`
}

type info struct {
	RemoteAddress string `json:"remoteAddress"`
	RemotePort    uint16 `json:"remotePort"`
	LocalAddress  string `json:"localAddress"`
	LocalPort     uint16 `json:"localPort"`
}

// receive serves the primary's messages until the channel ends. One that has no Buffers cannot be served at all.
func (b *balanced) receive(ctx context.Context) error {
	for m, err := range b.ch.Messages(ctx) {
		if err != nil {
			return err
		}
		var kind struct {
			Type string `json:"type"`
		}
		if m.Decode(&kind) != nil || !strings.HasPrefix(kind.Type, "sticky:") {
			continue // the program's own
		}
		var in message
		if err := m.Decode(&in); err != nil {
			return fmt.Errorf("the primary needs cluster.setupPrimary({ serialization: 'advanced' }): %w", err)
		}
		switch in.Type {
		case "sticky:connection":
			conn, err := m.Handle.Conn()
			if err != nil { // the client had gone before it was sent
				continue
			}
			b.push(nodeipc.Unread(conn, in.Data))
		case "sticky:http-chunk-start":
			b.start(ctx, &in)
		case "sticky:http-chunk", "sticky:abort":
			b.mu.Lock()
			f := b.forwarded[in.ConnectionID]
			b.mu.Unlock()
			if f != nil {
				f.add(in.Data, in.Type == "sticky:abort")
			}
		}
	}
	return nil
}

// A forwarded connection is one end of a pipe, whose other end net/http has: what comes is put into it, what net/http
// writes is sent to the primary.
type forwarded struct {
	net.Conn
	mu     sync.Mutex
	more   sync.Cond
	chunks [][]byte // not limited: the primary does not wait either
	over   bool     // nothing more goes either way
}

func (b *balanced) start(ctx context.Context, in *message) {
	ours, theirs := net.Pipe()
	f := &forwarded{Conn: ours}
	f.more.L = &f.mu
	f.add(in.Data, false)
	b.mu.Lock()
	b.forwarded[in.ConnectionID] = f
	b.mu.Unlock()
	b.wg.Go(f.feed)
	b.wg.Go(func() {
		if err := f.answer(ctx, b.ch, in.ConnectionID); err != nil && !errors.Is(err, net.ErrClosed) {
			log.Print(err)
		}
		b.mu.Lock()
		delete(b.forwarded, in.ConnectionID)
		b.mu.Unlock()
		f.add(nil, true)
	})
	b.push(&pipeEnd{theirs, in.SocketInfo})
}

func (f *forwarded) add(data []byte, over bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(data) > 0 {
		f.chunks = append(f.chunks, data)
	}
	if over && !f.over {
		f.over = true
		f.Close()
	}
	f.more.Signal()
}

// feed writes the chunks into the pipe.
func (f *forwarded) feed() {
	for {
		f.mu.Lock()
		for len(f.chunks) == 0 && !f.over {
			f.more.Wait()
		}
		if f.over {
			f.mu.Unlock()
			return
		}
		chunk := f.chunks[0]
		f.chunks[0] = nil
		f.chunks = f.chunks[1:]
		f.mu.Unlock()
		if _, err := f.Write(chunk); err != nil {
			return
		}
	}
}

// answer sends what is written into the pipe, and its end.
func (f *forwarded) answer(ctx context.Context, ch *nodeipc.Channel, id string) error {
	data := make([]byte, 32<<10)
	for {
		n, err := f.Read(data)
		if n > 0 {
			if err := ch.Send(ctx, message{Type: "sticky:http-response", Data: data[:n], ConnectionID: id}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return ch.Send(ctx, message{Type: "sticky:http-response-end", ConnectionID: id})
		case err != nil: // the client has gone
			return nil
		}
	}
}

// pipeEnd has the addresses of the socket that the primary keeps.
type pipeEnd struct {
	net.Conn
	info info
}

func (p *pipeEnd) RemoteAddr() net.Addr { return p.addr(p.info.RemoteAddress, p.info.RemotePort) }
func (p *pipeEnd) LocalAddr() net.Addr  { return p.addr(p.info.LocalAddress, p.info.LocalPort) }

func (p *pipeEnd) addr(host string, port uint16) net.Addr {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return p.Conn.RemoteAddr()
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
}
