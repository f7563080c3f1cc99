// Sticky serves HTTP as a worker behind @socket.io/sticky: the primary reads the first bytes of a connection, and sends
// them to the worker that has the session they name. What the messages are is in docs/ecosystem.md.
//
//	const cluster = require('cluster')
//	const { setupPrimary } = require('@socket.io/sticky')
//	const { forkGo } = require('@nodeipc/go')
//	cluster.setupPrimary({ serialization: 'advanced' }) // the bytes are Buffers
//	const server = require('http').createServer()
//	setupPrimary(server, { loadBalancingMethod: 'round-robin' })
//	server.listen(8000)
//	for (let i = 0; i < 2; i++) forkGo(cluster, './sticky', {})
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"sync"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

func main() {
	ctx := context.Background()
	w, err := cluster.Join(nil)
	if err != nil {
		log.Fatal(err)
	}
	b := newBalanced(w.Channel())
	srv := &http.Server{Handler: &sessions{w: w, count: map[string]int{}}}
	srv.SetKeepAlivesEnabled(false) // the next request of a connection may be of another session, hence another worker's
	served := make(chan error, 1)
	go func() { served <- srv.Serve(b) }()
	go func() {
		if err := b.receive(ctx); err != nil {
			log.Fatal(err)
		}
	}()

	<-w.Done() // the primary asks us to disconnect, or is gone
	b.Close()
	<-served
	drain, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	srv.Shutdown(drain) // requests in flight finish
	b.wait()
	if err := w.Disconnect(drain); err != nil {
		log.Fatal(err)
	}
}

// sessions answers every request with what it was, and counts those of a session; without one it begins a session.
type sessions struct {
	w     *cluster.Worker
	mu    sync.Mutex
	count map[string]int
}

type bound struct {
	Type string `json:"type"`
	Data string `json:"data"`
}

func (s *sessions) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	size, err := io.Copy(hash, r.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	sid := r.URL.Query().Get("sid")
	if sid == "" {
		random := make([]byte, 15)
		rand.Read(random)
		sid = base64.RawURLEncoding.EncodeToString(random) // 20 characters, as the primary looks for
		// Sent before the answer, so that the primary knows of it before the client asks again.
		if err := s.w.Channel().Send(r.Context(), bound{"sticky:connection", sid}); err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	s.mu.Lock()
	s.count[sid]++
	count := s.count[sid]
	s.mu.Unlock()
	json.NewEncoder(rw).Encode(map[string]any{
		"worker": s.w.ID(), "sid": sid, "requests": count, "method": r.Method, "url": r.URL.Path,
		"size": size, "sha256": hash.Sum(nil), "remote": r.RemoteAddr,
	})
}
