// Command nodeipc runs clusters of Node and Go programs, and looks at what goes over Node's IPC channel.
//
//	nodeipc run [flags] program [arguments]      keeps workers of a cluster running, Node programs or Go programs
//	nodeipc tap [flags] -- program [arguments]   shows what goes over the channels between Node programs
//	nodeipc replay [flags] file -- program …     plays what tap has recorded to the child, and compares
//	nodeipc dump [flags] [file]                  prints a payload of V8's serializer, as on a channel in advanced mode
//	nodeipc completion shell                     prints a script that completes all this in bash, zsh or another
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// A command is one with flags of package flag, which may have one dash. run gets the arguments behind its name.
type command struct {
	name, args, short string
	flags             func(s *streams) *flag.FlagSet
	run               func(s *streams, args []string) error
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// errUsage is the error of a command whose arguments are wrong, and have been complained about.
var errUsage = errors.New("usage")

func main() { os.Exit(run(&streams{os.Stdin, os.Stdout, os.Stderr}, os.Args[1:])) }

func run(s *streams, args []string) (exit int) {
	root := &cobra.Command{
		Use: "nodeipc", Args: cobra.ArbitraryArgs, SilenceErrors: true, SilenceUsage: true,
		RunE: func(root *cobra.Command, args []string) error {
			if len(args) > 0 {
				fmt.Fprintf(s.err, "nodeipc: there is no command %s\n", quote(args[0]))
			}
			usage(root, s.err)
			return errUsage
		},
	}
	root.Flags().SetInterspersed(false)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return complain(c, s, err) })
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if c == root {
			usage(root, s.out)
		} else {
			help(c, args)
		}
	})
	cobra.EnableCommandSorting = false
	root.AddCommand(runCommand(s))
	for _, c := range []command{tap, replay, dump} {
		root.AddCommand(c.cobra(s))
	}
	if len(args) > 0 && args[0] == "-help" {
		args[0] = "--help"
	}
	root.SetArgs(append([]string{}, args...)) // nil would be those of the process
	c, err := root.ExecuteC()
	var status *exitStatus
	var coded *startError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &status):
		status.leave()
		return 1
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintf(s.err, "%s: %v\n", strings.ReplaceAll(c.CommandPath(), " ", ": "), err)
	if errors.As(err, &coded) {
		return coded.code
	}
	return 1
}

// complain says what is wrong with the arguments of c.
func complain(c *cobra.Command, s *streams, err error) error {
	path := c.CommandPath()
	fmt.Fprintf(s.err, "%s: %v\n", strings.ReplaceAll(path, " ", ": "), err)
	fmt.Fprintf(s.err, "Usage: %s\n%s -h says more.\n", c.UseLine(), path)
	return errUsage
}

func usage(root *cobra.Command, w io.Writer) {
	fmt.Fprintf(w, "Usage: nodeipc command [flags] [arguments]\n\n")
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			fmt.Fprintf(w, "  nodeipc %s\n        %s\n", c.Use, c.Short)
		}
	}
	fmt.Fprintf(w, "\nnodeipc command -h lists the flags of a command.\n")
}

// cobra returns the command as one of the program's.
func (c command) cobra(s *streams) *cobra.Command {
	cc := &cobra.Command{
		Use: c.name + " " + c.args, Short: c.short, DisableFlagParsing: true, DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error { return c.run(s, args) },
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if !strings.HasPrefix(begun, "-") || slices.Contains(args, "--") {
				return nil, cobra.ShellCompDirectiveDefault
			}
			var found []string
			dashes := begun[:len(begun)-len(strings.TrimLeft(begun, "-"))]
			c.flags(s).VisitAll(func(f *flag.Flag) {
				if name := dashes + f.Name; strings.HasPrefix(name, begun) {
					_, text := flag.UnquoteUsage(f)
					text, _, _ = strings.Cut(text, "\n")
					found = append(found, name+"\t"+text)
				}
			})
			return found, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cc.SetHelpFunc(func(*cobra.Command, []string) { // of nodeipc help
		f := c.flags(s)
		f.SetOutput(s.out)
		f.Usage()
	})
	return cc
}

// newFlags makes the flags of a command, which complain on s.err.
func (c command) newFlags(s *streams, more string) *flag.FlagSet {
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(s.err)
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "Usage: nodeipc %s %s\n\n%s\n\n", c.name, c.args, c.short)
		f.PrintDefaults()
		io.WriteString(f.Output(), more)
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
