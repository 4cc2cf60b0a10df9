package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// narrow is an operation that can do 200 jobs a second, with an upstream that
// takes 20 ms.
const narrow = `  narrow: {route: POST /narrow, backend: {http: {url: %q}}, concurrency: 4}
`

const (
	narrowRate   = 200
	overloadRate = 10 * narrowRate
	overloadTime = 30 * time.Second
)

// measureOverload gives an operation ten times what it can do for half a minute,
// and looks at what that costs the others, and whether all of it is done in the
// end. That takes five minutes more, so it runs only where it is named.
func (s *session) measureOverload() (err error) {
	if !slices.Contains(s.only, "overload") {
		return nil
	}
	b, err := newBench(1, delays{upstream: 20 * time.Millisecond})
	if err != nil {
		return err
	}
	defer b.close()
	others, err := newBench(1, delays{})
	if err != nil {
		return err
	}
	defer others.close()
	dir, remove, err := s.folder()
	if err != nil {
		return err
	}
	defer remove()
	p, err := startRingback(s.ctx, s.binary, dir, fmt.Sprintf(operations+narrow, b.upstream, b.upstream))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()

	if err := s.sayOthers(p, others, "before"); err != nil {
		return err
	}
	if err := p.forgetPeak(); err != nil {
		return err
	}
	accepted, refused, err := b.press(s.ctx, p.base+"/narrow", overloadRate, overloadTime)
	if err != nil {
		return err
	}
	used, err := p.usage()
	if err != nil {
		return err
	}
	s.say("overload: %d accepted and %d refused in %s, peak memory %.0f MiB", accepted, refused, overloadTime, float64(used.peakRSS)/mib)
	if err := s.sayOthers(p, others, "right after"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, 10*time.Minute)
	defer cancel()
	began := time.Now()
	if err := b.await(ctx, accepted); err != nil {
		return err
	}
	if used, err = p.usage(); err != nil {
		return err
	}
	s.say("overload: all %d called back after %s more, %d twice, peak memory %.0f MiB", accepted, time.Since(began).Round(time.Second), b.twice.Load(), float64(used.peakRSS)/mib)
	return nil
}

// sayOthers shows how another operation fares.
func (s *session) sayOthers(p *process, others *bench, when string) error {
	others.reset()
	o, err := others.pace(s.ctx, p.base+"/relay", 50, document(500), 5*time.Second)
	if err != nil {
		return err
	}
	s.say("overload: another operation at 50/s %s: submission to callback p50 %.1f ms, p99 %.1f ms; 202 p99 %.1f ms", when, o.P50, o.P99, o.AcceptP99)
	return nil
}

// press submits at a rate and waits for no callback.
func (b *bench) press(ctx context.Context, target string, rate int, during time.Duration) (accepted, refused int, err error) {
	var numbers, yes, no atomic.Int64
	body, began := document(500), time.Now()
	err = together(64, func() error {
		for {
			n := int(numbers.Add(1)) - 1
			at := time.Duration(n) * time.Second / time.Duration(rate)
			if at > during {
				return nil
			}
			time.Sleep(time.Until(began.Add(at)))
			switch _, err := b.submit(ctx, target, n, body); {
			case errors.Is(err, errRefused):
				no.Add(1)
			case err != nil:
				return err
			default:
				yes.Add(1)
			}
		}
	})
	return int(yes.Load()), int(no.Load()), err
}
