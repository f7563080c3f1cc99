package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/nodeipc/nodeipc-go/nodeipc"
)

// A parent is the program that started us with execa. Its methods are for one goroutine.
type parent struct {
	ch       *nodeipc.Channel
	messages chan message  // the program's own, for receive; closed at the end of the channel
	waiting  []message     // those that came while sendStrict waited
	answers  chan envelope // to sendStrict
	err      error         // what ended the channel, when messages is closed
	lastID   int
}

// A message is one of the program's own; strict ones came in an envelope.
type message struct {
	*nodeipc.Message
	strict bool
}

// An envelope is what execa says for itself. ID is sent back as it came: a BigInt from execa 9, a number from execa 10.
type envelope struct {
	ID           any    `json:"id"`
	Type         string `json:"type"`
	Message      any    `json:"message"`
	HasListeners bool   `json:"hasListeners"`
}

const (
	typeRequest  = "execa:ipc:request"  // a message sent with strict, which wants a response
	typeResponse = "execa:ipc:response" // whether anybody listens
	typeCancel   = "execa:ipc:cancel"   // the parent's cancelSignal, with gracefulCancel
)

// errNobodyListens is the error of sendStrict when the parent has no getOneMessage or getEachMessage at that moment.
var errNobodyListens = errors.New("the parent process is not listening to incoming messages")

// connect finds the parent. The context ends when the parent cancels, with the reason as its cause, or is gone.
func connect(ctx context.Context) (*parent, context.Context, error) {
	ch, err := nodeipc.Connect(nil)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	// With more than a thousand messages that nobody has received the parent has to wait, and so would its cancel.
	p := &parent{ch: ch, messages: make(chan message, 1000), answers: make(chan envelope, 1)}
	go p.read(cancel)
	return p, ctx, nil
}

// read takes what comes until the channel ends.
func (p *parent) read(cancel context.CancelCauseFunc) {
	defer cancel(nodeipc.ErrDisconnected)
	defer close(p.messages)
	ctx := context.Background()
	for {
		m, err := p.ch.Receive(ctx)
		if err != nil {
			p.err = err
			return
		}
		var e envelope
		if m.Decode(&e) != nil { // not even an object
			e.Type = ""
		}
		switch e.Type {
		case typeRequest:
			// A failure to answer ends the reading as well, since the channel is gone then.
			_ = p.ch.Send(ctx, answer{e.ID, typeResponse, true})
			p.messages <- message{m, true}
		case typeResponse:
			select {
			case p.answers <- e:
			default: // nobody asked
			}
		case typeCancel:
			cancel(reason(e.Message))
		default:
			p.messages <- message{m, false}
		}
	}
}

type answer struct {
	ID      any    `json:"id"`
	Type    string `json:"type"`
	Message bool   `json:"message"`
}

// reason makes the error for context.Cause of what was given to controller.abort().
func reason(v any) error {
	if err, ok := v.(error); ok {
		return err
	}
	return fmt.Errorf("%v", v)
}

// receive returns the next message of the program's own. After the end of the channel it is io.EOF.
func receive[T any](ctx context.Context, p *parent) (v T, err error) {
	m, err := p.next(ctx)
	if err != nil {
		return v, err
	}
	if m.strict {
		var e struct {
			Message T `json:"message"`
		}
		err = m.Decode(&e)
		return e.Message, err
	}
	err = m.Decode(&v)
	return v, err
}

func (p *parent) next(ctx context.Context) (m message, err error) {
	if len(p.waiting) > 0 {
		m, p.waiting = p.waiting[0], p.waiting[1:]
		return m, nil
	}
	select {
	case m, ok := <-p.messages:
		return p.taken(m, ok)
	case <-ctx.Done():
	}
	select { // what came before goes first
	case m, ok := <-p.messages:
		return p.taken(m, ok)
	default:
		return m, context.Cause(ctx)
	}
}

func (p *parent) taken(m message, ok bool) (message, error) {
	if !ok {
		return m, p.err
	}
	return m, nil
}

// sendStrict is Send that waits until the parent has the message, like sendMessage with the option strict.
func (p *parent) sendStrict(ctx context.Context, v any) error {
	p.lastID++
	if err := p.ch.Send(ctx, envelope{p.lastID, typeRequest, v, true}); err != nil {
		return err
	}
	for {
		select {
		case a := <-p.answers:
			if fmt.Sprint(a.ID) != fmt.Sprint(p.lastID) {
				continue // to one that we have given up
			}
			if a.Message != true {
				return errNobodyListens
			}
			return nil
		case m, ok := <-p.messages:
			if !ok {
				return io.ErrUnexpectedEOF
			}
			p.waiting = append(p.waiting, m)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
