// Execa is a Go program that execa drives: messages both ways, with strict too, cancelSignal with gracefulCancel, and
// the end. What it has to say for that is in docs/ecosystem.md.
//
//	import { execa } from 'execa'
//	const child = execa('./execa', { ipc: true })
//	await child.sendMessage({ op: 'echo', value: 'hi' }, { strict: true })
//	console.log(await child.getOneMessage()) // hi
//	child.disconnect()
//	await child
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
)

// A command is what the parent of this example sends.
type command struct {
	Op    string `json:"op"`
	Value any    `json:"value"`
}

func main() {
	p, ctx, err := connect(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	code, err := serve(ctx, p)
	if err := errors.Join(err, p.ch.Close()); err != nil { // Close writes what was sent, os.Exit would not
		log.Fatal(err)
	}
	os.Exit(code)
}

// serve does what the parent says, until the parent cancels or disconnects or a command ends the program. (A parent
// that waits for the end of its child does not disconnect by itself.)
func serve(ctx context.Context, p *parent) (code int, err error) {
	for {
		c, err := receive[command](ctx, p)
		switch {
		case err == io.EOF:
			return 0, nil
		case ctx.Err() != nil:
			fmt.Println("cancelled:", context.Cause(ctx))
			return 0, nil
		case err != nil:
			return 0, err
		}
		switch c.Op {
		case "echo":
			err = p.ch.Send(ctx, c.Value)
		case "error": // is an Error there, with advanced serialization
			err = p.ch.Send(ctx, errors.New("it did not work"))
		case "ask":
			err = p.sendStrict(ctx, "are you there?")
			if errors.Is(err, errNobodyListens) {
				fmt.Println("nobody listens")
				return 0, nil
			}
			if err == nil {
				err = p.ch.Send(ctx, "acknowledged")
			}
		case "wait":
			err = p.ch.Send(ctx, "waiting")
			<-ctx.Done()
		case "exit":
			return 3, p.ch.Send(ctx, "leaving")
		}
		if err != nil {
			return 0, err
		}
	}
}
