package main

import (
	"errors"
	"flag"
	"fmt"
	"time"
)

// The command replay: its flags.

var replay = command{
	name:  "replay",
	args:  "[flags] file [--] program [arguments]",
	short: "plays the parent of a channel that nodeipc tap --record has recorded, and compares what program sends",
}

func init() {
	replay.run = runReplay
	replay.flags = func(s *streams) *flag.FlagSet { return new(replayOptions).flags(s) }
}

const replayHelp = `
The program is started with a channel. What the recording has from the parent is sent to it as soon as all is there that
it has from the child before that. The first difference ends the program, and is reported, with exit status 1.
Messages have to be the same by value, and in the same order; handles of the same type. Sockets that the parent sent are
others here, with nobody at their other end. A signal by which the child ended is taken for the parent's.
`

// replayOptions are the flags of replay.
type replayOptions struct {
	file    string
	channel int
	timeout time.Duration
	ignore  redaction
}

func (o *replayOptions) flags(s *streams) *flag.FlagSet {
	f := replay.newFlags(s, replayHelp)
	f.IntVar(&o.channel, "channel", 0, "which of several recorded channels, by its `number`")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long each message, and the end of the program, may take")
	const ignore = "members with these `names`, separated by commas, may have other values: pids, dates, ports"
	f.Func("ignore", ignore, func(list string) (err error) {
		o.ignore, err = parseRedact(list)
		return err
	})
	return f
}

func runReplay(s *streams, args []string) error {
	var o replayOptions
	f := o.flags(s)
	err := replay.parse(f, args, len(args))
	if err == nil && f.NArg() > 0 { // flags may be behind the file, too
		o.file = f.Arg(0)
		err = replay.parse(f, f.Args()[1:], len(args))
	}
	if err != nil {
		return err
	}
	switch {
	case o.file == "":
		err = errors.New("which recording? as in nodeipc replay file -- node child.js")
	case f.NArg() == 0:
		err = errors.New("which program? as in nodeipc replay file -- node child.js")
	case o.timeout <= 0:
		err = errors.New("--timeout has to be more than nothing")
	case o.channel < 0:
		err = errors.New("--channel is a number from 1")
	}
	if err != nil {
		fmt.Fprintf(s.err, "nodeipc: replay: %v\n", err)
		return errUsage
	}
	return replayProgram(s, &o, f.Args())
}
