// The soak lets Node children and Go children talk with one parent for a long time, and finds out whether anything
// grows.
//
//	go run ./bench/soak                    ten minutes
//	go run ./bench/soak -time 10s -seed 7
//
// Some children live as long as the soak, others are started and ended over and over: they end by themselves or are
// disconnected, closed or killed, at rest, in the middle of floods, stopped, or with a handle unanswered. While they
// live they do, several things at a time, what the acts in life_linux.go say: messages of all sizes, floods both ways,
// connections and listeners both ways over TCP and unix sockets, calls whose context ends soon; and now and then they
// are stopped by a signal for a moment. Every answer is checked; one that is wrong, or does not come within a minute,
// ends the soak.
//
// At intervals everything rests and a line is printed. When the first third of the time is over, descriptors and
// goroutines must not become more at all, heap and resident memory not by more than moreHeap and moreRSS; neither here
// nor in the Go child that lives as long.
package main
