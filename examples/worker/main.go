// Worker serves HTTP on the port of a Node cluster, beside Node workers, and answers the messages of the primary. Started
// on its own it serves alone.
//
//	const { forkGo } = require('@nodeipc/go')
//	forkGo(cluster, './worker', { PORT: 8000 })
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/nodeipc/nodeipc-go/nodeipc/cluster"
)

func main() {
	ctx := context.Background()
	w, err := cluster.Join(nil)
	if err != nil && !errors.Is(err, cluster.ErrNotWorker) {
		log.Fatal(err)
	}
	ln, err := w.Listen(ctx, "tcp", ":"+os.Getenv("PORT")) // without a primary this is net.Listen
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, "go %d\n", w.ID())
	})}
	if w != nil {
		go answer(ctx, w)
	}
	// Until the primary asks us to disconnect, or is gone. Requests in flight finish.
	if err := w.Serve(ctx, srv, ln); err != nil {
		log.Fatal(err)
	}
}

type echo struct {
	Echo json.RawMessage `json:"echo"`
	From string          `json:"from"`
}

func answer(ctx context.Context, w *cluster.Worker) {
	ch := w.Channel()
	for m, err := range ch.Messages(ctx) {
		if err != nil {
			log.Print(err)
			continue
		}
		if err := ch.Send(ctx, echo{m.Data, "go"}); err != nil {
			log.Print(err)
		}
	}
}
