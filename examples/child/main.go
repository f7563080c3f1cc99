// Child is a Go program as the child of a Node parent: it answers a greeting.
//
//	const child = require('child_process').spawn('./child', { stdio: [0, 1, 2, 'ipc'] })
//	child.on('message', console.log)
//	child.send({ type: 'greeting', message: 'Hello from master!' })
package main

import (
	"context"
	"log"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

type message struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

func main() {
	ctx := context.Background()
	ch, err := nodeipc.Connect(nil)
	if err != nil {
		log.Fatal(err) // errors.Is(err, nodeipc.ErrNoChannel): run stand-alone instead
	}
	defer ch.Close()
	for m, err := range nodeipc.Values[message](ctx, ch) {
		if err != nil {
			log.Fatal(err)
		}
		if m.Type == "greeting" {
			if err := ch.Send(ctx, message{"response", "Hi there master!"}); err != nil {
				log.Fatal(err)
			}
		}
	} // the parent disconnected
}
