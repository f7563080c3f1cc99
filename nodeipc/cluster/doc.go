// Package cluster makes a Go program a worker of Node's cluster module: it shares the ports of the Node workers beside
// it, under an unchanged Node primary.
//
//	w, err := cluster.Join(nil)
//	if err != nil && !errors.Is(err, cluster.ErrNotWorker) {
//		log.Fatal(err)
//	}
//	ln, err := w.Listen(ctx, "tcp", ":8000") // without a primary w is nil, and this is net.Listen
//	srv := &http.Server{Handler: mux}
//	go srv.Serve(ln)
//	<-w.Done()           // the primary asks us to disconnect, or is gone
//	srv.Shutdown(ctx)    // requests in flight finish
//	w.Disconnect(ctx)
//
// Workers share a port only if they name the same host: ":8000" goes with listen(8000) of a Node worker,
// "127.0.0.1:8000" with listen(8000, '127.0.0.1').
//
// Shutdown closes a connection whose first request it has not begun to read, so one that the primary handed over just
// before it asked to disconnect may be reset. When the primary is gone Serve ends with net.ErrClosed.
//
// A Node primary starts a Go program when process.execPath names it around cluster.fork(); the function forkGo of the
// npm package @nodeipc/go does that.
package cluster
