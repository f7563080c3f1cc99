package nodeipc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os/exec"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A child of a Node parent, which starts it with child_process.spawn('./hasher', [], {stdio: [0, 1, 2, 'ipc']}) and
// talks to it with send and on('message').
func ExampleConnect() {
	ctx := context.Background()
	ch, err := nodeipc.Connect(nil)
	if errors.Is(err, nodeipc.ErrNoChannel) {
		log.Fatal("start me from Node")
	}
	if err != nil {
		log.Fatal(err)
	}
	defer ch.Close()
	type job struct {
		ID   int    `json:"id"`
		Path string `json:"path"`
	}
	for job, err := range nodeipc.Values[job](ctx, ch) {
		if err != nil {
			log.Fatal(err)
		}
		if err := ch.Send(ctx, map[string]any{"id": job.ID, "done": true}); err != nil {
			log.Fatal(err)
		}
	} // the parent has disconnected
}

// A Node child, which echoes what it gets.
func ExampleStart() {
	ctx := context.Background()
	cmd := exec.Command("node", "-e", `process.on('message', (m) => process.send({ echo: m }))`)
	ch, err := nodeipc.Start(cmd, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := ch.Send(ctx, map[string]int{"n": 1}); err != nil {
		log.Fatal(err)
	}
	m, err := ch.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(m.Data))
	if err := ch.Disconnect(ctx); err != nil { // the child has nothing left to do, and ends
		log.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		log.Fatal(err)
	}
	// Output: {"echo":{"n":1}}
}

// A Node child that serves the connections of a listener of ours.
func ExampleChannel_SendHandle() {
	ctx := context.Background()
	cmd := exec.Command("node", "-e", `
		process.once('message', (name, server) => {
			server.on('connection', (socket) => socket.end('hello from ' + name));
			process.once('disconnect', () => server.close());
		})`)
	ch, err := nodeipc.Start(cmd, nil)
	if err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	if err := ch.SendHandle(ctx, "the child", ln); err != nil {
		log.Fatal(err)
	}
	ln.Close() // only the child listens from here on

	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	greeting, err := io.ReadAll(conn)
	if err != nil {
		log.Fatal(err)
	}
	conn.Close()
	fmt.Printf("%s\n", greeting)
	if err := ch.Disconnect(ctx); err != nil {
		log.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		log.Fatal(err)
	}
	// Output: hello from the child
}

// Messages as Go values. One that does not fit is no reason to stop.
func ExampleValues() {
	ctx := context.Background()
	a, b, err := nodeipc.Pipe(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	for _, v := range []any{map[string]int{"n": 1}, "no point", map[string]int{"n": 2}} {
		if err := a.Send(ctx, v); err != nil {
			log.Fatal(err)
		}
	}
	if err := a.Disconnect(ctx); err != nil {
		log.Fatal(err)
	}
	type point struct {
		N int `json:"n"`
	}
	for p, err := range nodeipc.Values[point](ctx, b) {
		var bad *nodeipc.DecodeError
		switch {
		case errors.As(err, &bad):
			fmt.Println("not a point")
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println(p.N)
		}
	}
	// Output:
	// 1
	// not a point
	// 2
}
