// Parent starts the command of its arguments, a Node script as a rule, as a child with a channel, and greets it:
//
//	go run ./examples/parent node examples/demo/child.js
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

type message struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: parent COMMAND [ARGUMENT...]")
	}
	ctx := context.Background()
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	ch, err := nodeipc.Start(cmd, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := ch.Send(ctx, message{"greeting", "Hello from master!"}); err != nil {
		log.Fatal(err)
	}
	m, err := ch.Receive(ctx)
	if err != nil {
		log.Fatal(err) // io.EOF: the child disconnected or died
	}
	fmt.Printf("%s\n", m.Data)
	if err := ch.Disconnect(ctx); err != nil {
		log.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		log.Fatal(err)
	}
}
