package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A placement says on which processors driver and subject may run. Left alone, the kernel moves one to the other's
// processor or away from it as it likes, and on a virtual machine the two cases can differ by ten times, because waking
// an idle processor costs more than everything else. One processor for both gives stable figures that are about the
// subject; two show what a round trip costs when each side sleeps on its own. A Go subject has as many Ps as it has
// processors here, as it would anywhere (GOMAXPROCS in the environment overrides that).
type placement struct {
	title           string
	driver, subject *unix.CPUSet
	all             *unix.CPUSet // where a cluster runs, which is several processes anyway
}

func findPlacement(name string) (p placement, err error) {
	all, first, rest := new(unix.CPUSet), new(unix.CPUSet), new(unix.CPUSet)
	if err := unix.SchedGetaffinity(0, all); err != nil {
		return p, os.NewSyscallError("sched_getaffinity", err)
	}
	for i, n := range cpuList(all) {
		if i == 0 {
			first.Set(n)
		} else {
			rest.Set(n)
		}
	}
	switch name {
	case "one":
		return placement{"driver and subject on one processor", first, first, all}, nil
	case "two":
		if rest.Count() == 0 {
			return p, errors.New("-cpus two: there is only one")
		}
		return placement{"driver and subject on different processors", first, rest, all}, nil
	case "free":
		return placement{"driver and subject wherever the kernel puts them", all, all, all}, nil
	}
	return p, fmt.Errorf("-cpus %q: want one, two or free", name)
}

func cpuList(set *unix.CPUSet) (list []int) {
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list
}

// pin binds the calling thread; processes it starts inherit this.
func pin(set *unix.CPUSet) {
	if err := unix.SchedSetaffinity(0, set); err != nil {
		panic(fmt.Sprintf("sched_setaffinity: %v", err)) // a subset of what the whole was given is always allowed
	}
}
