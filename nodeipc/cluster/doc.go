// Package cluster has both sides of Node's cluster module. A Go program can be a worker, which shares the ports of the
// Node workers beside it under an unchanged Node primary; and it can be the primary, whose workers are unchanged Node
// programs, Go programs, or both.
//
// # A worker
//
// The whole of a web server is
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
// cluster.fork() of Node starts nothing but Node; the function forkGo of the npm package @nodeipc/go, and its preload,
// start a Go program in its place.
//
// # A primary
//
// server.js is any Node server; as a worker its listen asks the primary by itself:
//
//	p := &cluster.Primary{Command: func() *exec.Cmd { return exec.Command("node", "server.js") }}
//	defer p.Close()
//	for range 4 {
//		w, err := p.Fork(nil)
//		if err != nil {
//			log.Fatal(err)
//		}
//		if err := w.Await(ctx, cluster.Listening); err != nil {
//			log.Fatal(err)
//		}
//	}
//	err := p.Shutdown(ctx) // asks them to leave until ctx ends; then SIGTERM, and SIGKILL
//
// A Process is one worker: its State and Status, its Channel for messages, and the ways to end it. ForkOptions give one
// worker a command, arguments or variables of its own. A worker that has died is not replaced by itself:
// Primary.Changed and Process.Done tell of it, and examples/primary shows a program that does so and replaces all one
// by one.
//
// The primary opens what workers ask for, with its own rights: Primary.Allow and Primary.Files say what they may have,
// and docs/security.md what a hostile worker can do. A connection that its worker refuses, or has not accepted when it
// dies, goes to another one.
//
// Who gets a connection is the Scheduling: RoundRobin and None as in Node, LeastConnections, Weighted, Sticky, or
// ByRequest, which looks at the first bytes of a connection without reading them. Primary.Schedule changes it while the
// cluster runs: so a route can move from the Node workers to Go workers behind the same port, and back. Primary.Handover
// gives the sockets to another process that takes the place of this one.
package cluster
