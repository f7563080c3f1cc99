// Jestworker is a Go program as a worker of jest-worker: its methods are called from JavaScript. What it has to say for
// that is in docs/ecosystem.md.
//
//	const { Worker } = require('jest-worker')
//	const worker = new Worker('/not/looked/at', { // any absolute path
//	  exposedMethods: ['sum'],
//	  forkOptions: { execPath: './jestworker', execArgv: [] },
//	})
//	console.log(await worker.sum(1, 2)) // 3
//	await worker.end()
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"os"
	"runtime"

	"github.com/nodeipc/nodeipc-go/nodeipc"
	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

// A method is what JavaScript calls. Its error arrives there as an Error.
type method func(ctx context.Context, args []any) (any, error)

func main() {
	ctx := context.Background()
	ch, err := nodeipc.Connect(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer ch.Close()
	err = serve(ctx, ch, map[string]method{
		"sum": func(_ context.Context, args []any) (any, error) {
			sum := 0.0
			for _, arg := range args {
				n, ok := arg.(float64)
				if !ok {
					return nil, fmt.Errorf("cannot add a %T", arg)
				}
				sum += n
			}
			return sum, nil
		},
		"echo": func(_ context.Context, args []any) (any, error) {
			return args, nil
		},
		"digest": func(_ context.Context, args []any) (any, error) { // a Map of Buffers for a Map of Buffers
			if len(args) != 1 {
				return nil, errors.New("digest wants one Map")
			}
			files, ok := args[0].(*v8.Map)
			if !ok {
				return nil, fmt.Errorf("digest wants a Map, not a %T", args[0])
			}
			sums := new(v8.Map)
			for name, data := range files.All() {
				b, ok := data.([]byte)
				if !ok {
					return nil, fmt.Errorf("%v is no Buffer", name)
				}
				sum := sha256.Sum256(b)
				sums.Set(name, sum[:])
			}
			return sums, nil
		},
		"fail": func(context.Context, []any) (any, error) {
			return nil, &jsError{name: "RangeError", message: "it did not work", properties: properties{Code: "E_FAIL"}}
		},
		"report": func(ctx context.Context, _ []any) (any, error) { // to promise.UNSTABLE_onCustomMessage
			return "done", ch.Send(ctx, []any{toCustom, "half way"})
		},
		"crash": func(context.Context, []any) (any, error) {
			os.Exit(7)
			return nil, nil
		},
		"wait": func(ctx context.Context, _ []any) (any, error) {
			if err := ch.Send(ctx, []any{toCustom, "waiting"}); err != nil {
				return nil, err
			}
			select {}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
}

// The first elements of the arrays that are all messages.
const (
	fromInitialize = 0 // [0, false, workerPath, setupArgs]
	fromCall       = 1 // [1, false, method, args]
	fromEnd        = 2 // [2, false]
	fromMemory     = 3 // [3]
	fromSetup      = 4 // [4]

	toResult = 0 // [0, result]
	toError  = 1 // [1, name, message, stack, properties]
	toCustom = 3 // [3, value]
	toMemory = 4 // [4, bytes]
)

// serve answers calls until the parent wants the end or is gone. The parent sends one call and waits for its result.
func serve(ctx context.Context, ch *nodeipc.Channel, methods map[string]method) error {
	for m, err := range ch.Messages(ctx) {
		if err != nil {
			return err
		}
		var kind [1]int
		if err := m.Decode(&kind); err != nil {
			return err
		}
		var reply []any
		switch kind[0] {
		case fromInitialize: // wants no reply
			continue
		case fromCall:
			var call [4]any
			if err := m.Decode(&call); err != nil {
				return err
			}
			name, _ := call[2].(string)
			args, _ := call[3].([]any)
			reply = answer(ctx, methods, name, args)
		case fromEnd: // to leave is all; whoever is still there after half a second is killed
			return nil
		case fromMemory:
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			reply = []any{toMemory, stats.HeapInuse}
		case fromSetup:
			reply = []any{toResult, nil}
		default:
			return fmt.Errorf("unexpected message %s", m.Data)
		}
		if err := ch.Send(ctx, reply); err != nil { // a result that cannot be sent, or the parent is gone
			if err := ch.Send(ctx, failed("send", err)); err != nil {
				return err
			}
		}
	}
	return nil
}

func answer(ctx context.Context, methods map[string]method, name string, args []any) []any {
	f, ok := methods[name]
	if !ok {
		return failed(name, errors.New("there is no such method"))
	}
	result, err := f(ctx, args)
	if err != nil {
		return failed(name, err)
	}
	return []any{toResult, result}
}

// A jsError is an error of a method with what else JavaScript may see of one. Any other is an Error with its text.
type jsError struct {
	name, message string // name is that of a constructor there: TypeError
	properties    properties
}

func (e *jsError) Error() string { return e.message }

type properties struct {
	Code string `json:"code,omitempty"`
}

// failed is what arrives as an Error. The last element has to be an object; otherwise it is what is thrown. (It must
// not be a Go error: with advanced serialization that is an Error, whose properties are lost on the way.)
func failed(method string, err error) []any {
	e := &jsError{name: "Error", message: err.Error()}
	errors.As(err, &e)
	stack := fmt.Sprintf("%s: %s\n    at %s (Go)", e.name, e.message, method)
	return []any{toError, e.name, e.message, stack, e.properties}
}
