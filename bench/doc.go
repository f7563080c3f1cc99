// The benchmark puts a Go child (this library) beside a Node child, both under the same parent, and prints ratios.
//
//	go run ./bench            everything, about a minute
//	go run ./bench -short     a tenth of the messages and one pair: does the benchmark itself work?
//	go run ./bench -only 'echo 64B'
//	go run ./bench -floor -only floor     Go children without the library: what runtime and kernel cost
//
// The parent is neutral: it parses nothing. It writes frames made beforehand to a socketpair and compares what comes
// back with what must come back, byte for byte; where a child only counts, its one answer holds a hash over all
// messages in order. A wrong byte makes the exit status 1; speed never does.
//
// What is measured is the processor time of the child (user and system, all its threads, from the kernel's clock of
// that process) between two moments at which nothing is in flight, after a warm-up, and the wall time of the same span.
// Node and Go take turns with fresh processes, so that a slow minute of the machine hits both. A row shows the best run
// of each side and the ratio of these two; latency and start-up rows show medians. Behind it stands the range of the
// ratio over the pairs. "x" is how many times cheaper Go is; a plain number is Go's share of Node's figure.
//
// Parent and child share one processor unless -cpus says otherwise: see placement.
//
// Modes of the Go child: raw sends the received message back as it is (Send of the *Message; in a flood a
// json.RawMessage), struct decodes into a struct and encodes it again, any does the same with a map[string]any. The Node
// child always parses and stringifies, as Node has no raw.
package main
