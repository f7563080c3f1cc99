package cluster

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A pipeListener accepts pipes, whose clients are in the same bubble.
type pipeListener struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.over) })
	return nil
}

// A pipeClient keeps its connection.
type pipeClient struct {
	net.Conn
	in *bufio.Reader
}

func (l *pipeListener) dial() *pipeClient {
	here, there := net.Pipe()
	l.conns <- there
	return &pipeClient{here, bufio.NewReader(here)}
}

// ask makes a request and reports whether the answer is the last of the connection.
func (c *pipeClient) ask(t *testing.T, path string) (last bool) {
	t.Helper()
	_, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: any\r\n\r\n")
	require.NoError(t, err)
	return c.answer(t)
}

func (c *pipeClient) answer(t *testing.T) (last bool) {
	t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, "answer", string(body))
	return res.Close
}

// A server that leaves waits for the next request of each kept connection, and tells its client to go.
func TestServeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &pipeListener{conns: make(chan net.Conn), over: make(chan struct{})}
		srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				time.Sleep(7 * time.Second)
			}
			io.WriteString(rw, "answer")
		})}
		ctx, leave := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- (*Worker)(nil).Serve(ctx, srv, ln) }()

		next, silent, slow, late, fresh := ln.dial(), ln.dial(), ln.dial(), ln.dial(), ln.dial()
		offers := ln.dial() // HTTP/2, as Java's client does with each request
		for _, c := range []*pipeClient{next, silent, slow, late, offers} {
			require.False(t, c.ask(t, "/"))
		}
		_, err := io.WriteString(slow, "GET /slow HTTP/1.1\r\nHost: any\r\n\r\n")
		require.NoError(t, err)
		synctest.Wait()
		leave()
		synctest.Wait()
		begun := time.Now()

		time.Sleep(silentTime - time.Millisecond)
		require.True(t, next.ask(t, "/"), "the client is not told")
		require.True(t, fresh.ask(t, "/"))
		_, err = io.WriteString(offers, "GET / HTTP/1.1\r\nHost: any\r\nConnection: Upgrade, HTTP2-Settings\r\n"+
			"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
		require.NoError(t, err)
		require.True(t, offers.answer(t))
		require.False(t, slow.answer(t), "it was asked for before")
		time.Sleep(silentTime - time.Millisecond)
		require.True(t, late.ask(t, "/"), "it was idle while another was served")
		require.True(t, slow.ask(t, "/"))
		require.Equal(t, 7*time.Second+silentTime-time.Millisecond, time.Since(begun))
		_, err = silent.in.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, <-served)
		require.Equal(t, 7*time.Second+silentTime-time.Millisecond, time.Since(begun), "nothing is waited for")
		for _, c := range []*pipeClient{next, silent, slow, late, fresh, offers} {
			c.Close()
		}
	})
}
