package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// trouble is a load of which a part goes to receivers that are in trouble, and what the
// others are to notice of it: nothing.
type trouble struct {
	name  string // of the measurement, and of its values
	good  *bench // the receivers that are well, whose callbacks count
	bad   []string
	rate  int  // calls a second to those that are well, where latency is measured
	share int  // of ten calls, how many go to bad
	known bool // all lanes are known before it begins
}

// troubleConfig cuts off what never answers so soon that all that follows from it (retries,
// breakers, probes) falls into the time that is measured.
const troubleConfig = `drain_timeout: 1s
operations:
  relay: {route: POST /relay, backend: {relay: {}}, callback: {timeout: 2s}}
`

// measureIsolation has one receiver that never answers, one that refuses, and one that
// answers a byte a second.
func (s *session) measureIsolation() error {
	good, err := newBench(20, delays{})
	if err != nil {
		return err
	}
	defer good.close()
	silent, err := newDead()
	if err != nil {
		return err
	}
	if err := silent.silence(); err != nil {
		return err
	}
	defer silent.refuse()
	refusing, err := newDead()
	if err != nil {
		return err
	}
	slow, err := newSlow()
	if err != nil {
		return err
	}
	defer slow.Close()
	bad := []string{silent.url(), refusing.url(), "http://" + slow.Addr().String() + "/slow"}
	return s.compareTrouble(trouble{name: "isolation", good: good, bad: bad, rate: 700, share: 3})
}

// newSlow listens, and answers a byte a second.
func newSlow() (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for _, b := range []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") {
					if _, err := conn.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}()
		}
	}()
	return ln, nil
}

// measureDestinations has a lane for each of 10,000 addresses of this machine. At every
// other one nobody listens.
func (s *session) measureDestinations() error {
	n := 10_000
	if s.quick {
		n = 500
	}
	good, err := newBench(0, delays{})
	if err != nil {
		return err
	}
	defer good.close()
	ln, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return err
	}
	go func() { _ = good.server.Serve(ln) }()
	gone, err := newDead()
	if err != nil {
		return err
	}
	_, there, _ := net.SplitHostPort(ln.Addr().String())
	_, nowhere, _ := net.SplitHostPort(gone.addr)
	var bad []string
	for i := range n / 2 {
		ip := fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250)
		good.receivers = append(good.receivers, "http://"+net.JoinHostPort(ip, there)+"/cb")
		bad = append(bad, "http://"+net.JoinHostPort(ip, nowhere)+"/dead")
	}
	return s.compareTrouble(trouble{name: "destinations", good: good, bad: bad, rate: 500, share: 5, known: true})
}

// compareTrouble measures each round on a gateway of its own, first without the trouble.
func (s *session) compareTrouble(t trouble) error {
	for range s.rounds {
		if err := s.troubleRound(&t); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) troubleRound(t *trouble) (err error) {
	dir, remove, err := s.folder()
	if err != nil {
		return err
	}
	defer remove()
	p, err := startRingback(s.ctx, s.binary, dir, troubleConfig)
	if err != nil {
		return err
	}
	_, stopReaders := read(s.ctx, p.base)
	defer func() { err = errors.Join(err, stopReaders(), p.stop()) }()

	// What stands in for the bad ones is well, and is not counted.
	well := &bench{client: t.good.client}
	for _, to := range t.good.receivers {
		well.receivers = append(well.receivers, strings.TrimSuffix(to, "/cb")+"/up")
	}
	without, err := s.underTrouble(p, t, nil, well)
	if err != nil {
		return fmt.Errorf("without trouble: %w", err)
	}
	bad := &bench{client: t.good.client, receivers: t.bad}
	with, err := s.underTrouble(p, t, bad, bad)
	if err != nil {
		return fmt.Errorf("with trouble: %w", err)
	}
	s.note(t.name, without, with)
	s.results.add(t.name+"_p99", with.P99/without.P99)
	s.results.add(t.name+"_share", with.PerSecond/without.PerSecond)
	return nil
}

// underTrouble measures the latency of those that are well with calls to others beside,
// and their throughput where a part of all calls goes to the rest. Nil: there are none.
func (s *session) underTrouble(p *process, t *trouble, others, rest *bench) (out sample, err error) {
	target := p.base + "/relay"
	if t.known {
		if err := s.introduce(target, cmp.Or(others, t.good)); err != nil {
			return out, err
		}
	}
	t.good.reset()
	if err := p.forgetPeak(); err != nil {
		return out, err
	}
	var beside errgroup.Group
	if others != nil {
		beside.Go(func() error {
			_, _, err := others.press(s.ctx, target, t.rate*t.share/(10-t.share), s.during)
			return err
		})
	}
	paced, err := t.good.pace(s.ctx, target, t.rate, document(500), s.during)
	if err = errors.Join(err, beside.Wait()); err != nil {
		return out, err
	}
	out.outcome = paced
	t.good.reset()
	if out.PerSecond, err = t.good.floodBeside(s.ctx, target, rest, t.share, s.short()); err != nil {
		return out, err
	}
	used, err := p.usage()
	out.RSS = float64(used.peakRSS) / mib
	return out, err
}

// introduce calls every receiver of b once, so that its lane is known.
func (s *session) introduce(target string, b *bench) error {
	const rate = 2500
	b.reset()
	accepted, _, err := b.press(s.ctx, target, rate, time.Duration(len(b.receivers))*time.Second/rate)
	if err != nil || b.server == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	return b.await(ctx, accepted)
}

// floodBeside is a flood of which so many of ten calls go to the rest. The rate is that
// of b's own callbacks.
func (b *bench) floodBeside(ctx context.Context, target string, rest *bench, share int, during time.Duration) (perSecond float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, during+2*time.Minute)
	defer cancel()
	var numbers, accepted atomic.Int64
	body, began := document(500), time.Now()
	err = together(64, func() error {
		for time.Since(began) < during {
			n := int(numbers.Add(1)) - 1
			to := b
			if n%10 < share {
				to = rest
			}
			_, err := to.submit(ctx, target, n, body)
			switch {
			case errors.Is(err, errRefused):
				time.Sleep(10 * time.Millisecond)
			case err != nil:
				return err
			case to == b:
				accepted.Add(1)
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if err := b.await(ctx, int(accepted.Load())); err != nil {
		return 0, err
	}
	return float64(accepted.Load()) / time.Unix(0, b.last.Load()).Sub(began).Seconds(), nil
}
