// Command nodeipc looks at what goes over Node's IPC channel.
//
//	nodeipc tap [flags] -- program [arguments]   shows what goes over the channels between Node programs
//	nodeipc replay [flags] file -- program …     plays what tap has recorded to the child, and compares
//	nodeipc dump [flags] [file]                  prints a payload of V8's serializer: of v8.serialize, or of a channel in advanced mode
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// A command is one of the program's. run gets the arguments behind its name.
type command struct {
	name, args, short string
	run               func(s *streams, args []string) error
}

var commands = []command{dump, tap, replay}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// errUsage is the error of a command whose arguments are wrong, and have been complained about.
var errUsage = errors.New("usage")

func main() { os.Exit(run(&streams{os.Stdin, os.Stdout, os.Stderr}, os.Args[1:])) }

func run(s *streams, args []string) (exit int) {
	if len(args) == 0 {
		usage(s.err)
		return 2
	}
	for _, c := range commands {
		if c.name != args[0] {
			continue
		}
		var status *exitStatus
		var start *startError
		switch err := c.run(s, args[1:]); {
		case err == nil:
			return 0
		case errors.As(err, &status):
			status.leave()
		case errors.As(err, &start):
			fmt.Fprintf(s.err, "nodeipc: %s: %v\n", c.name, err)
			return start.code
		case errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			return 2
		default:
			fmt.Fprintf(s.err, "nodeipc: %s: %v\n", c.name, err)
			return 1
		}
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		usage(s.out)
		return 0
	}
	fmt.Fprintf(s.err, "nodeipc: there is no command %s\n", quote(args[0]))
	usage(s.err)
	return 2
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "Usage: nodeipc command [flags] [arguments]\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  nodeipc %s %s\n        %s\n", c.name, c.args, c.short)
	}
	fmt.Fprintf(w, "\nnodeipc command -h lists the flags of a command.\n")
}

// flags makes the flags of a command, which complain on s.err.
func (c command) flags(s *streams) *flag.FlagSet {
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(s.err)
	f.Usage = func() {
		fmt.Fprintf(s.err, "Usage: nodeipc %s %s\n\n%s\n\n", c.name, c.args, c.short)
		f.PrintDefaults()
	}
	return f
}

// parse parses arguments, of which most may be left over.
func (c command) parse(f *flag.FlagSet, args []string, most int) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if f.NArg() > most {
		fmt.Fprintf(f.Output(), "nodeipc: %s: too many arguments\n", c.name)
		f.Usage()
		return errUsage
	}
	return nil
}
