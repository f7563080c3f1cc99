// Workerpool is a Go program as a worker of workerpool: its methods are called from JavaScript. What it has to say for
// that is in docs/ecosystem.md.
//
//	const pool = require('workerpool').pool('not looked at', {
//	  workerType: 'process',
//	  forkOpts: { execPath: './workerpool' },
//	})
//	console.log(await pool.exec('sum', [1, 2])) // 3
//	await pool.terminate()
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A method is what JavaScript calls. Its error arrives there as an Error. The context ends when the call is cancelled
// or has timed out; a method that then returns keeps its process, others cost it. emit reaches the option on of exec.
type method func(ctx context.Context, params []any, emit func(any) error) (any, error)

var methods = map[string]method{
	"sum": func(_ context.Context, params []any, _ func(any) error) (any, error) {
		sum := 0.0
		for _, param := range params {
			n, ok := param.(float64)
			if !ok {
				return nil, fmt.Errorf("cannot add a %T", param)
			}
			sum += n
		}
		return sum, nil
	},
	"echo": func(_ context.Context, params []any, _ func(any) error) (any, error) {
		return params, nil
	},
	"fail": func(context.Context, []any, func(any) error) (any, error) {
		return nil, &codedError{"it did not work", "E_FAIL"}
	},
	"wait": func(ctx context.Context, _ []any, emit func(any) error) (any, error) {
		if err := emit("waiting"); err != nil {
			return nil, err
		}
		<-ctx.Done()
		return nil, ctx.Err()
	},
	"hang": func(_ context.Context, _ []any, emit func(any) error) (any, error) {
		if err := emit("waiting"); err != nil {
			return nil, err
		}
		select {}
	},
}

func main() {
	ctx := context.Background()
	ch, err := nodeipc.Connect(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ch.Close()
	if err := serve(ctx, ch); err != nil {
		log.Fatal(err)
	}
}

const (
	ready     = "ready"                    // to the pool, which sends nothing before
	terminate = "__workerpool-terminate__" // from the pool: leave
	cleanup   = "__workerpool-cleanup__"   // the method of a request: stop the task of this id; and of the answer
)

type request struct {
	ID     int    `json:"id"`
	Method string `json:"method"`
	Params []any  `json:"params"`
}

type response struct {
	ID     int      `json:"id"`
	Method string   `json:"method,omitempty"`
	Result any      `json:"result"`
	Error  *failure `json:"error"`
}

// A failure is the form of an error: all its members become properties of the Error. (It must not be a Go error itself:
// with advanced serialization that is an Error, whose message the pool does not look for.)
type failure struct {
	Message string `json:"message"`
	Stack   string `json:"stack"`
	Code    string `json:"code,omitempty"`
}

// A codedError is an error of a method that has a code in JavaScript.
type codedError struct{ message, code string }

func (e *codedError) Error() string { return e.message }

type event struct {
	ID      int  `json:"id"`
	IsEvent bool `json:"isEvent"`
	Payload any  `json:"payload"`
}

// serve answers the pool until the pool wants the end or is gone. A pool sends one task to a worker and waits for its
// end.
func serve(ctx context.Context, ch *nodeipc.Channel) error {
	if err := ch.Send(ctx, ready); err != nil {
		return err
	}
	stop, done := func() {}, make(chan struct{}) // of the task
	close(done)
	for m, err := range ch.Messages(ctx) {
		if err != nil {
			return err
		}
		var word string
		if m.Decode(&word) == nil && word == terminate {
			return nil
		}
		var r request
		if err := m.Decode(&r); err != nil {
			return err
		}
		if r.Method == cleanup {
			stop()
			go func(done <-chan struct{}) {
				<-done // if this takes longer than workerTerminateTimeout the pool wants our end
				send(ctx, ch, response{ID: r.ID, Method: cleanup})
			}(done)
			continue
		}
		task, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		stop, done = cancel, ended
		go func() {
			defer close(ended)
			defer cancel()
			send(ctx, ch, run(task, ch, r))
		}()
	}
	return nil
}

func run(ctx context.Context, ch *nodeipc.Channel, r request) response {
	if r.Method == "methods" { // pool.proxy asks for them
		return response{ID: r.ID, Result: slices.Sorted(maps.Keys(methods))}
	}
	f, ok := methods[r.Method]
	if !ok {
		return failed(r, fmt.Errorf("Unknown method %q", r.Method))
	}
	result, err := f(ctx, r.Params, func(v any) error { return ch.Send(ctx, event{r.ID, true, v}) })
	if err != nil {
		return failed(r, err)
	}
	return response{ID: r.ID, Result: result}
}

func failed(r request, err error) response {
	f := &failure{Message: err.Error(), Stack: fmt.Sprintf("Error: %v\n    at %s (Go)", err, r.Method)}
	var coded *codedError
	if errors.As(err, &coded) {
		f.Code = coded.code
	}
	return response{ID: r.ID, Error: f}
}

// send sends a response; a result that cannot be sent becomes the failure of its task.
func send(ctx context.Context, ch *nodeipc.Channel, r response) {
	err := ch.Send(ctx, r)
	if err != nil {
		err = ch.Send(ctx, failed(request{ID: r.ID, Method: "send"}, err))
	}
	if err != nil && !errors.Is(err, nodeipc.ErrDisconnected) {
		log.Print(err)
	}
}
