// Package nodeipc speaks the IPC channel of Node.js, the one behind child_process.fork, process.send and cluster, on
// both sides: a Go program is the child of a Node parent, or the parent of a Node child; either may be Go as well.
//
// # A child
//
// Connect opens the channel to the process that started this one:
//
//	ch, err := nodeipc.Connect(nil)
//	if err != nil {
//		log.Fatal(err) // errors.Is(err, nodeipc.ErrNoChannel): not started by Node
//	}
//	defer ch.Close()
//	for job, err := range nodeipc.Values[Job](ctx, ch) {
//		if err != nil {
//			log.Fatal(err)
//		}
//		if err := ch.Send(ctx, answer(job)); err != nil {
//			log.Fatal(err)
//		}
//	} // the parent disconnected
//
// On the Node side that is child_process.spawn('./job', args, {stdio: [0, 1, 2, 'ipc']}), or fork with the option
// execPath; see Connect for the arguments that fork adds.
//
// # A parent
//
// Start gives an exec.Cmd a channel. The command stays the caller's:
//
//	cmd := exec.Command("node", "child.js")
//	ch, err := nodeipc.Start(cmd, nil)
//	...
//	err = ch.Send(ctx, Job{Path: "a.png"})
//	m, err := ch.Receive(ctx)
//	...
//	err = ch.Disconnect(ctx)
//	err = cmd.Wait()
//
// # Messages
//
// A Go value is sent as the text that JSON.stringify writes for the nearest JavaScript value, and read as encoding/json
// reads it, with these rules:
//
//   - MarshalJSON and MarshalText of the value win. json.RawMessage is checked, and its white space removed.
//   - []byte is Node's Buffer, {"type":"Buffer","data":[…]}. It is read from that form or from a base64 string.
//   - NaN and infinities are null, -0 is 0; numbers have their ECMAScript form (1e-7, 1e+21). Integers keep all digits,
//     which JavaScript rounds beyond 2^53.
//   - time.Time is the ISO text with milliseconds that a JavaScript Date becomes.
//   - Map keys come in JavaScript's order, array indexes ascending and then the others sorted; struct fields as declared.
//   - In strings, what is not UTF-8, and unpaired surrogates in what is received, become U+FFFD; Message.Data keeps the
//     text as it came.
//
// An object whose member cmd begins "NODE_" is one of Node's internal messages. It never reaches Receive: what the
// channel does not handle itself goes to Options.Internal. Send refuses a value that would be taken for one, however it
// is spelled, because such a message can kill a Node peer; Internal is the way to send one on purpose.
//
// # Advanced serialization
//
// With Options.Serialization Advanced in a parent, and serialization: 'advanced' of a Node parent (Connect learns of it by
// itself), messages are V8's structured clone, of package v8: it carries what JSON does not, and the same calls take it.
// []byte is a Buffer, time.Time a Date, *big.Int a BigInt; v8.Map, v8.Set, v8.Error and others stand for what Go lacks;
// pointers, maps and slices that are shared or form a cycle are sent as such. Struct tags are v8, or else json. A
// json.RawMessage is sent as the value that it describes; inside another value it is a Buffer, as any []byte.
//
//	ch, err := nodeipc.Start(cmd, &nodeipc.Options{Serialization: nodeipc.Advanced})
//	err = ch.Send(ctx, map[string]any{"buf": []byte("raw"), "when": time.Now(), "big": big.NewInt(1 << 40)})
//
// A Buffer in a received message is a part of Message.Data: it stays in memory with it. Values of more than 1000 levels
// are refused, because they end a Node; see Options.Node for what else an older one cannot read. On a JSON channel the
// types of package v8 become what JSON.stringify makes of them: a Date its text, a Map {}.
//
// # Handles
//
// A socket travels beside a message: SendHandle takes the connections, listeners and UDP sockets of package net, and what
// arrives is turned into them by Handle.Conn, Handle.Listener and Handle.PacketConn. TCP, UDP and unix stream sockets can be
// sent, as the type that Node has for what they are, or as another by NewHandle. One handle is in flight at a time, or
// as many as Options.HandlesInFlight says; messages sent later wait until the peer has acknowledged it, as in Node.
//
// Who has the socket: the sender keeps its copy in every case, and closes it, or goes on using it, as it likes. It may do so
// when SendHandle has returned, or the done of QueueHandle was called:
//
//   - with nil: the peer has a copy of its own.
//   - with ErrHandleUnconfirmed (after the frame was written ctx ended, or the channel did, by Options.HandleTimeout for
//     one): the peer may have one.
//   - with any other error: the peer has none. With ErrHandleNotReceived it says that what was sent did not arrive.
//
// The receiver owns what arrives: the first Conn, Listener, PacketConn or File takes the descriptor over, even if it fails;
// before that Close closes it, as do the end of the channel for messages that nobody received, and the garbage collector.
// A *Handle can be sent on, or back, as long as it was not taken; what was made of it can be sent too.
//
// A connection of which something was read before it was sent, as a balancer does that looks for a cookie, is put
// together again by Unread. In Node the balancer has to stop its reading first: pause alone lets it read on, and lose
// what it reads, until the handle is acknowledged.
//
// A Node server that has sent connections away asks how many of them are open, for its getConnections and close. Such a
// connection counts until it is closed here; OpenSockets and SocketsClosed ask the other way round, about handles made by
// NewKeyedHandle.
//
// # Order, buffering and the end
//
// A Send on a quiet channel has written its message when it returns. In a burst, and while messages that arrived
// together are being handled, messages are written together, within 100 µs: before the process exits, call Close,
// Disconnect or Flush. (os.Exit and log.Fatal run no deferred Close.) Nobody has to receive for the channel to
// work: acknowledgements, internal messages and the end are noticed by a standby goroutine. What arrives and is not
// received waits, up to Options.Backlog bytes; then reading pauses, which makes the peer's sends wait in turn.
//
// The channel ends when either side disconnects or exits. The reader gets everything that came before, then io.EOF; a
// write to a peer that is gone is an error that is ErrDisconnected and net.ErrClosed. Disconnect is the graceful end,
// Close the immediate one. A message over Options.MaxMessage, or a line that is not JSON, ends the channel with a typed
// error. A Channel has goroutines and a descriptor: close it.
//
// # What goes over a channel
//
// Options.Tap sees every message both ways, internal ones and acknowledgements included, in the order of the wire. LogTap
// logs them:
//
//	ch, err := nodeipc.Start(cmd, &nodeipc.Options{Tap: nodeipc.LogTap(slog.Default())})
//
// The command nodeipc tap shows it for programs that cannot be changed: it stands between a parent and its child, with
// channels that have Options.Relay.
//
// docs/protocol.md in the repository describes the protocol, and what of it kills a peer.
//
// # Systems
//
// Linux, macOS and the BSDs. On Windows, whose channel is another one, every entry point fails with an error that is
// errors.ErrUnsupported, except New.
package nodeipc
