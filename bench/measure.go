package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// full is the load of the table: 64 connections, 500 bytes.
func (s *session) full(operation string) trial {
	return trial{operation: operation, size: 500, connections: 64, during: s.during}
}

func (s *session) measureRelay() error {
	return s.alternate("relay", s.full("relay"), func(l, r sample) {
		s.results.add("relay_share", r.PerSecond/l.PerSecond)
		s.results.add("cpu_ratio", r.CPU/l.CPU)
		s.results.add("rss", r.RSS)
		s.results.add("written_full", r.Written)
		s.results.add("start_empty", r.Starts)
	})
}

func (s *session) measureHTTP() error {
	return s.alternate("http", s.full("http"), func(l, r sample) {
		s.results.add("http_share", r.PerSecond/l.PerSecond)
	})
}

// measureSlow has eight receivers: a lane has 32 callbacks under way unless its
// endpoint says otherwise, and one lane is not what the limit has.
func (s *session) measureSlow() error {
	t := s.full("relay")
	t.receivers, t.delays.receiver = 8, 5*time.Millisecond
	return s.alternate("slow receivers", t, func(l, r sample) {
		s.results.add("slow_share", r.PerSecond/l.PerSecond)
	})
}

func (s *session) measurePaced() error {
	const rate = 200
	t := s.full("relay")
	t.rate, t.during = rate, 2*s.during
	for range s.rounds {
		syncs, err := s.syncTimes(int(s.during.Seconds()*rate/2), rate)
		if err != nil {
			return err
		}
		l, err := s.limit(t)
		if err != nil {
			return fmt.Errorf("limit: %w", err)
		}
		r, err := s.ringback(t)
		if err != nil {
			return fmt.Errorf("ringback: %w", err)
		}
		r.Sync = quantile(syncs, 0.5)
		s.note("200/s", l, r)
		s.results.Syncs = append(s.results.Syncs, syncTime{P50: r.Sync, P99: quantile(syncs, 0.99)})
		s.results.add("p50_over", r.P50-l.P50)
		s.results.add("p99_over", r.P99-l.P99)
		s.results.add("accept_p99", r.AcceptP99)
		s.results.add("written_paced", r.Written)
	}
	return nil
}

// measureStores compares a store that holds a million jobs with an empty one.
func (s *session) measureStores() error {
	n := s.results.Stored
	gone, err := newDead()
	if err != nil {
		return err
	}
	backlog, remove, err := s.folder()
	if err != nil {
		return err
	}
	defer remove()
	finished, remove, err := s.folder()
	if err != nil {
		return err
	}
	defer remove()
	began := time.Now()
	var fills errgroup.Group
	fills.Go(func() error { return fill(s.ctx, backlog, filling{n: n, stage: owed, callbacks: []string{gone.url()}}) })
	fills.Go(func() error {
		return fill(s.ctx, finished, filling{n: n, stage: settled, callbacks: []string{gone.url()}})
	})
	if err := fills.Wait(); err != nil {
		return err
	}
	s.say("two stores with %d jobs each were filled in %s", n, time.Since(began).Round(time.Second))
	for range s.rounds {
		if err := s.compareStores(backlog, finished, gone); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) compareStores(backlog, finished string, gone *dead) error {
	empty, err := s.ringback(s.full("relay"))
	if err != nil {
		return err
	}
	against := func(name, dir string) (sample, error) {
		t := s.full("relay")
		t.dir = dir
		r, err := s.ringback(t)
		if err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		s.note(name, empty, r)
		s.results.add(name, r.PerSecond/empty.PerSecond)
		return r, nil
	}
	refused, err := against("backlog_refused", backlog)
	if err != nil {
		return err
	}
	if err := gone.silence(); err != nil {
		return err
	}
	silent, err := against("backlog_silent", backlog)
	gone.refuse()
	if err != nil {
		return err
	}
	s.results.add("backlog_rss", max(refused.RSS, silent.RSS))
	_, err = against("finished_share", finished)
	return err
}

// measureUploads sends eight documents of 100 MiB at once.
func (s *session) measureUploads() error {
	const uploads, size = 8, 100 * mib
	b, err := newBench(1, delays{})
	if err != nil {
		return err
	}
	defer b.close()
	body := bytes.Repeat([]byte("x"), size)
	for range s.rounds {
		b.reset()
		growth, err := s.upload(b, body, uploads)
		if err != nil {
			return err
		}
		s.results.add("upload_rss", growth)
		s.say("eight uploads: %.1f MiB more", growth)
	}
	return nil
}

// upload returns by how many MiB Ringback grows.
func (s *session) upload(b *bench, body []byte, uploads int) (growth float64, err error) {
	dir, remove, err := s.folder()
	if err != nil {
		return 0, err
	}
	defer remove()
	p, err := startRingback(s.ctx, s.binary, dir, fmt.Sprintf(operations, b.upstream))
	if err != nil {
		return 0, err
	}
	defer func() {
		if stopped := p.stop(); err == nil {
			err = stopped
		}
	}()
	ctx, cancel := context.WithTimeout(s.ctx, 3*time.Minute)
	defer cancel()
	before, err := p.usage()
	if err == nil {
		err = p.forgetPeak()
	}
	if err != nil {
		return 0, err
	}
	numbers := make(chan int, uploads)
	for n := range uploads {
		numbers <- n
	}
	err = together(uploads, func() error {
		_, err := b.submit(ctx, p.base+"/relay", <-numbers, body)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := b.await(ctx, uploads); err != nil {
		return 0, err
	}
	after, err := p.usage()
	return float64(after.peakRSS-before.rss) / mib, err
}

// measureStart starts on the files of a process that was killed in its work.
func (s *session) measureStart() error {
	for range s.rounds {
		if err := s.startUnfinished(s.results.Unfinished); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) startUnfinished(n int) error {
	dir, remove, err := s.folder()
	if err != nil {
		return err
	}
	defer remove()
	b, err := newBench(1, delays{})
	if err != nil {
		return err
	}
	defer b.close()
	if err := fill(s.ctx, dir, filling{n: n, stage: unfinished, callbacks: b.receivers}); err != nil {
		return err
	}
	p, err := startRingback(s.ctx, s.binary, dir, fmt.Sprintf(operations, b.upstream))
	if err != nil {
		return err
	}
	s.results.add("start_unfinished", milliseconds(p.starts))
	s.say("start with %d unfinished jobs: %s", n, p.starts)
	return p.stop()
}

func (s *session) measureBackends() error {
	t := trial{size: 500, connections: 64, outstanding: 1024, during: s.short()}
	for _, delay := range few(s, []time.Duration{0, 10 * time.Millisecond, 300 * time.Millisecond}) {
		t.operation, t.delays.upstream = "http", delay
		if err := s.beside(&s.results.Backends, "http, "+delay.String(), float64(delay.Milliseconds()), t, true); err != nil {
			return err
		}
	}
	t.operation, t.delays = "command", delays{}
	if err := s.beside(&s.results.Backends, "command, cat", 1, t, false); err != nil {
		return err
	}
	t.operation, t.delays.receiver = "relay", 5*time.Millisecond
	return s.beside(&s.results.Backends, "relay, one receiver that takes 5 ms", 5, t, true)
}

// measureSizes leaves the limit out above 64 KiB: Ringback then sends a link, and
// the limit all of it.
func (s *session) measureSizes() error {
	for _, size := range few(s, []int{0, 100, 500, 4 << 10, 64 << 10, mib, 10 * mib}) {
		t := trial{operation: "relay", size: size, connections: 64, outstanding: 1024, during: s.short()}
		if size >= mib {
			t.connections = 8
		}
		if err := s.beside(&s.results.Sizes, bytesText(size), float64(size), t, size <= 64<<10); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) measureConnections() error {
	for _, n := range few(s, []int{1, 8, 64, 256, 1000}) {
		t := trial{operation: "relay", size: 500, connections: n, during: s.short()}
		if err := s.beside(&s.results.Connections, fmt.Sprint(n), float64(n), t, true); err != nil {
			return err
		}
	}
	return nil
}

// beside measures a point of a series, once.
func (s *session) beside(series *[]point, label string, x float64, t trial, withLimit bool) error {
	p := point{Label: label, X: x}
	if withLimit {
		l, err := s.limit(t)
		if err != nil {
			return fmt.Errorf("%s: limit: %w", label, err)
		}
		p.Limit = &l
	}
	r, err := s.ringback(t)
	if err != nil {
		return fmt.Errorf("%s: %w", label, err)
	}
	p.Ringback = &r
	*series = append(*series, p)
	s.note(label, or(p.Limit), r)
	return nil
}

// few are two of a series where the session is a quick one.
func few[T any](s *session, all []T) []T {
	if s.quick {
		return []T{all[0], all[len(all)/2]}
	}
	return all
}

// or is the zero sample for none.
func or(s *sample) sample {
	if s == nil {
		return sample{}
	}
	return *s
}

// rates are the offered loads of the curve, calls a second.
var rates = []int{100, 200, 500, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 10000, 12000}

// measureCurve offers more and more, to each system until it cannot follow: the
// knee.
func (s *session) measureCurve() error {
	limitUp, ringbackUp := true, true
	for _, rate := range few(s, rates) {
		t := trial{operation: "relay", size: 500, connections: 64, rate: rate, during: s.short()}
		p := point{Label: fmt.Sprint(rate), X: float64(rate)}
		if limitUp {
			l, err := s.limit(t)
			if err != nil {
				return fmt.Errorf("%d/s: limit: %w", rate, err)
			}
			p.Limit, limitUp = &l, l.follows(rate)
		}
		if ringbackUp {
			r, err := s.ringback(t)
			if err != nil {
				return fmt.Errorf("%d/s: %w", rate, err)
			}
			p.Ringback, ringbackUp = &r, r.follows(rate)
		}
		if p.Limit == nil && p.Ringback == nil {
			break
		}
		s.results.Curve = append(s.results.Curve, p)
		s.note(p.Label+"/s", or(p.Limit), or(p.Ringback))
	}
	return nil
}

// follows tells whether a system still does what it is asked to.
func (s sample) follows(rate int) bool { return s.Refused == 0 && s.PerSecond >= 0.9*float64(rate) }
