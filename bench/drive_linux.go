package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/nodeipc/nodeipc-go/nodeipc/v8"
)

const chunk = 64 << 10 // of a flood

// timing says how much processor time of the subject, about, the last round of the warm-up takes and the one that is
// measured, and how long the quiet is before its memory is looked at.
type timing struct{ Warm, Span, Quiet time.Duration }

// sample is what one run of one subject gave, by the names of the metrics. Times are in microseconds per message.
type sample map[string]float64

func micros(d time.Duration, n int) float64 { return float64(d) / 1e3 / float64(n) }

// measure warms the subject up with rounds that double until one takes it as long as it should, and then measures one
// round. A round of n messages ends when nothing is in flight any more. How long is judged by the processor time, which
// waiting for a processor does not add to.
func (p *peer) measure(t timing, round func(n int) error) (sample, error) {
	return measure(p.cpu, t, round)
}

func measure(used func() time.Duration, t timing, round func(n int) error) (sample, error) {
	run := func(n int) (cpu, wall time.Duration, err error) {
		before, begin := used(), time.Now()
		err = round(n)
		return used() - before, time.Since(begin), err
	}
	if _, _, err := run(1); err != nil { // the subject has started now
		return nil, err
	}
	for n := 4; ; n *= 2 {
		cpu, _, err := run(n)
		if err != nil {
			return nil, err
		}
		if cpu < t.Warm {
			continue
		}
		n = int(float64(n) * max(1, float64(t.Span)/float64(cpu)))
		cpu, wall, err := run(n)
		return sample{"cpu": micros(cpu, n), "wall": micros(wall, n), "messages": float64(n)}, err
	}
}

// exchange has n messages echoed with so many in flight: as many as have come back by one read go out by one write.
// What comes back is the messages of back.
func (p *peer) exchange(co, back *corpus, inFlight, n int) error {
	for sent, got := 0, 0; got < n*back.frame; {
		if limit := min(got/back.frame+inFlight, n) * co.frame; sent < limit {
			k, err := p.writeSome(co.from(sent, limit-sent))
			if err != nil {
				return err
			}
			if sent += k; k > 0 && sent < limit {
				continue
			}
			if k == 0 { // full, and the subject may be waiting for us to read
				readable, err := p.ready()
				if err != nil {
					return err
				}
				if !readable {
					continue
				}
			}
		}
		k, err := p.collectSome(back, got, n*back.frame)
		if err != nil {
			return err
		}
		got += k
	}
	return nil
}

// learn has every message of a corpus in advanced serialization echoed once, and returns the echoes, which have to be of
// equal values: a runtime writes in its own version of the format. From then on they have to have the same bytes.
func (p *peer) learn(co *corpus) (*corpus, error) {
	back := &corpus{ids: co.ids}
	for i := range co.ids {
		sent := co.text[i*co.frame:][:co.frame]
		if err := p.write(sent); err != nil {
			return nil, err
		}
		frame := make([]byte, 4)
		for at := 0; at < len(frame); {
			k, err := p.read(frame[at:])
			if err != nil {
				return nil, err
			}
			if at += k; at == 4 && len(frame) == 4 {
				n := binary.BigEndian.Uint32(frame)
				if n > uint32(2*co.frame+1000) {
					return nil, fmt.Errorf("a frame of %d bytes as the echo of %d", n, co.frame)
				}
				frame = append(frame, make([]byte, n)...)
			}
		}
		var want, got any
		d := v8.Decoder{Layout: v8.Channel}
		if err := d.Decode(sent[4:], &want); err != nil {
			return nil, err
		}
		if err := d.Decode(frame[4:], &got); err != nil {
			return nil, err
		}
		if !reflect.DeepEqual(got, want) {
			return nil, fmt.Errorf("wrong echo of message %d: %.200q", i, frame)
		}
		if i > 0 && len(frame)*i != len(back.text) {
			return nil, fmt.Errorf("the echo of message %d has another length", i)
		}
		back.text = append(back.text, frame...)
	}
	return back.closed(), nil
}

// collectSome reads on in the endless repetition of the corpus, but not beyond total.
func (p *peer) collectSome(co *corpus, at, total int) (int, error) {
	k, err := p.read(p.buf[:min(len(p.buf), total-at)])
	if err != nil {
		return 0, err
	}
	if want := co.from(at, k); !bytes.Equal(p.buf[:k], want) {
		return 0, differ(at, p.buf[:k], want)
	}
	return k, nil
}

// collect reads n messages of the corpus from its beginning.
func (p *peer) collect(co *corpus, n int) error {
	for at, total := 0, n*co.frame; at < total; {
		k, err := p.collectSome(co, at, total)
		if err != nil {
			return err
		}
		at += k
	}
	return nil
}

// pour writes n messages of the corpus from its beginning, as fast as the subject takes them.
func (p *peer) pour(co *corpus, n int) error {
	for at, total := 0, n*co.frame; at < total; {
		b := co.from(at, min(chunk, total-at))
		if err := p.write(b); err != nil {
			return err
		}
		at += len(b)
	}
	return nil
}

func driveEcho(p *peer, s *scenario, t timing) (sample, error) {
	co := s.corpus()
	back := co
	if s.advanced {
		var err error
		if back, err = p.learn(co); err != nil {
			return nil, err
		}
	}
	return p.measure(t, func(n int) error { return p.exchange(co, back, s.inFlight, n) })
}

func driveLatency(p *peer, s *scenario, t timing) (sample, error) {
	co := s.corpus()
	var trips []time.Duration
	got, err := p.measure(t, func(n int) error {
		trips = slices.Grow(trips[:0], n)[:n]
		for i := range trips {
			want := co.from(i*co.frame, co.frame)
			begin := time.Now()
			if err := p.write(want); err != nil {
				return err
			}
			got := 0
			for got < len(want) { // nearly always once
				k, err := p.read(p.buf[got:])
				if err != nil {
					return err
				}
				got += k
			}
			trips[i] = time.Since(begin)
			if !bytes.Equal(p.buf[:got], want) {
				return differ(0, p.buf[:got], want)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(trips)
	got["p50"], got["p99"] = micros(trips[len(trips)/2], 1), micros(trips[len(trips)*99/100], 1)
	return got, nil
}

// count asks a subject that has counted. Its answer holds a hash over all that it has got.
func (p *peer) count(n int, hash uint32) error {
	if err := p.write([]byte("0\n")); err != nil {
		return err
	}
	return p.expect(fmt.Appendf(nil, "{\"count\":%d,\"hash\":%d}\n", n, hash))
}

func driveFloodIn(p *peer, s *scenario, t timing) (sample, error) {
	co := s.corpus()
	return p.measure(t, func(n int) error {
		if err := p.pour(co, n); err != nil {
			return err
		}
		return p.count(n, co.hash(n))
	})
}

func driveFloodOut(p *peer, s *scenario, t timing) (sample, error) {
	co := s.corpus()
	if err := p.pour(co, co.count()); err != nil {
		return nil, err
	}
	return p.measure(t, func(n int) error {
		if err := p.number(n); err != nil {
			return err
		}
		return p.collect(co, n)
	})
}

// number sends a number as a message.
func (p *peer) number(n int) error { return p.write(fmt.Appendln(nil, n)) }
