package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

var onlineFrame = []byte(`{"cmd":"NODE_CLUSTER","act":"online","seq":0}` + "\n")

// driveOnline takes the time from just before the exec, and the processor time, until the first bytes are here.
func driveOnline(p *peer, _ *scenario, _ timing) (sample, error) {
	n, err := p.read(p.buf)
	s := sample{"wall": micros(time.Since(p.began), 1), "cpu": micros(p.cpu(), 1)}
	if err != nil {
		return nil, err
	}
	// A worker may be past its first frame already, but it has nothing else to say.
	if !bytes.Equal(p.buf[:n], onlineFrame) {
		return nil, differ(0, p.buf[:n], onlineFrame)
	}
	return s, nil
}

// driveIdle takes the memory of a subject that has echoed some messages and has then been left alone for a while.
func driveIdle(p *peer, s *scenario, t timing) (sample, error) {
	if s.corpus != nil {
		co := s.corpus()
		if err := p.exchange(co, co, s.inFlight, 1000); err != nil {
			return nil, err
		}
	}
	time.Sleep(t.Quiet)
	got, err := readStatus(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid), "Rss", "Pss", "Private_Dirty")
	if err != nil {
		return nil, err
	}
	status, err := readStatus(fmt.Sprintf("/proc/%d/status", p.pid), "Threads")
	if err != nil {
		return nil, err
	}
	mb := func(kib float64) float64 { return kib * 1024 / 1e6 }
	return sample{
		"rss": mb(got["Rss"]), "pss": mb(got["Pss"]), "dirty": mb(got["Private_Dirty"]),
		"threads": status["Threads"],
	}, nil
}

// readStatus reads lines of the form "Name:  123 kB".
func readStatus(file string, names ...string) (map[string]float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	got := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if f := strings.Fields(value); len(f) > 0 {
			got[key], _ = strconv.ParseFloat(f[0], 64)
		}
	}
	for _, name := range names {
		if _, ok := got[name]; !ok {
			return nil, fmt.Errorf("no %s in %s", name, file)
		}
	}
	return got, nil
}
