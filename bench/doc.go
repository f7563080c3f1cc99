// The benchmark puts this library beside Node, Bun and Deno, all with the same neutral driver at the other end of their
// channel, and prints ratios.
//
//	go run ./bench                       everything
//	go run ./bench -only '^echo 64B'     some rows
//	go run ./bench -short                does the benchmark itself work?
//	go run ./bench -only '^echo 64B any' -profile any.prof
//
// docs/performance.md says how it measures and how to read what it prints. A wrong byte makes the exit status 1; speed
// never does.
//
// The subjects, whose processor time is taken, are subject/main.go and subject.cjs, which do the same. The driver is
// this program: as their parent it is the process that prints the table, as their child it runs once more, by the
// argument drive. floor/main.go is the least that a Go program can do.
package main
