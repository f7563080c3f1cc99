package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A placement says on which processors parent and child may run. Left alone, the kernel moves a child to its parent's
// processor or away from it as it likes, and on a virtual machine the two cases can differ by ten times, because waking
// an idle processor costs more than everything else. One processor for both gives stable figures that are about the
// child; two show what a round trip costs when each side sleeps on its own. A Go child has as many Ps as it has
// processors here, as it would anywhere (GOMAXPROCS in the environment overrides that).
type placement struct {
	name, title   string
	parent, child *unix.CPUSet
}

func placements(names []string) (ps []placement, err error) {
	all, first, rest := new(unix.CPUSet), new(unix.CPUSet), new(unix.CPUSet)
	if err := unix.SchedGetaffinity(0, all); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	for i := range len(all) * 64 {
		switch {
		case !all.IsSet(i):
		case first.Count() == 0:
			first.Set(i)
		default:
			rest.Set(i)
		}
	}
	for _, name := range names {
		switch name {
		case "one":
			ps = append(ps, placement{name, "parent and child on one processor", first, first})
		case "two":
			if rest.Count() == 0 {
				return nil, errors.New("-cpus two: there is only one")
			}
			ps = append(ps, placement{name, "parent and child on different processors", first, rest})
		case "free":
			ps = append(ps, placement{name, "parent and child wherever the kernel puts them", all, all})
		default:
			return nil, fmt.Errorf("-cpus %q: want one, two or free", name)
		}
	}
	return ps, nil
}

// pin binds the calling thread; processes it starts inherit this.
func pin(set *unix.CPUSet) {
	if err := unix.SchedSetaffinity(0, set); err != nil {
		panic(fmt.Sprintf("sched_setaffinity: %v", err)) // a subset of what we were given is always allowed
	}
}
