// Package cluster makes a Go program a worker of Node's cluster module: it shares the ports of the Node workers beside
// it, under an unchanged Node primary. The whole of a web server is
//
//	err := cluster.ListenAndServe(":8000", mux) // without a primary it serves alone
//
// which is made of these parts:
//
//	w, err := cluster.Join(nil)
//	if err != nil && !errors.Is(err, cluster.ErrNotWorker) {
//		log.Fatal(err)
//	}
//	ln, err := w.Listen(ctx, "tcp", ":8000") // without a primary w is nil, and this is net.Listen
//	srv := &http.Server{Handler: mux}
//	err = w.Serve(ctx, srv, ln) // until ctx ends, the primary asks us to disconnect, or is gone; then it drains
//
// Listen is for TCP, unix paths and descriptors of the primary, ListenPacket for UDP; ListenConfig says more of them.
// Other servers than HTTP drain when w.Done is closed, and then call w.Disconnect.
//
// Workers share a port only if they name the same host: ":8000" goes with listen(8000) of a Node worker,
// "127.0.0.1:8000" with listen(8000, '127.0.0.1').
//
// A program that calls http.Server.Shutdown itself closes the listener and waits for the server's Serve before, as
// Worker.Serve does: Shutdown alone closes connections that the primary has just handed over. When the primary is gone
// http.Server.Serve ends with net.ErrClosed.
//
// cluster.fork() starts nothing but Node; the function forkGo of the npm package @nodeipc/go, and its preload, start a Go
// program in its place.
package cluster
