package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	// few callbacks of one app are due beside many of another.
	fewDue = 10
	// A receiver of the small app, and of the other one.
	fairDelay = 20 * time.Millisecond
	// fairAhead is how long after the start the few become due: the others are under way.
	fairAhead = 3 * time.Second
)

// measureFairness has two stores with 10 callbacks of an app that become due at a time;
// one of them has 500,000 of another app beside, to eight receivers. It compares how long
// after that time the tenth arrives.
func (s *session) measureFairness() error {
	alone, remove, err := s.folder()
	if err != nil {
		return err
	}
	defer remove()
	beside, remove, err := s.folder()
	if err != nil {
		return err
	}
	defer remove()
	few, err := newBench(1, delays{receiver: fairDelay})
	if err != nil {
		return err
	}
	defer few.close()
	many, err := newBench(8, delays{receiver: fairDelay})
	if err != nil {
		return err
	}
	defer many.close()
	for _, dir := range []string{alone, beside} {
		if err := s.withSmallApp(dir); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := fill(s.ctx, beside, filling{n: s.results.Due, stage: owed, callbacks: many.receivers}); err != nil {
		return err
	}
	s.say("%d callbacks of one app were stored in %s", s.results.Due, time.Since(began).Round(time.Second))
	for range s.rounds {
		without, err := s.arrival(alone, few)
		if err != nil {
			return fmt.Errorf("alone: %w", err)
		}
		before := many.received.Load()
		with, err := s.arrival(beside, few)
		if err != nil {
			return fmt.Errorf("beside others: %w", err)
		}
		s.results.add("fairness", with.Seconds()/without.Seconds())
		s.say("fairness: the tenth arrives after %.1f ms alone, %.1f ms beside %d others, of which %d arrived meanwhile",
			milliseconds(without), milliseconds(with), s.results.Due, many.received.Load()-before)
	}
	return nil
}

// withSmallApp makes a store in dir that has an app small beside dev.
func (s *session) withSmallApp(dir string) error {
	p, err := startRingback(s.ctx, s.binary, dir, troubleConfig)
	if err != nil {
		return err
	}
	resp, err := http.Post(p.base+"/v1/apps", "application/json", strings.NewReader(`{"name":"small"}`))
	if err != nil {
		return errors.Join(err, p.stop())
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("an app was answered %s", resp.Status)
	}
	return errors.Join(err, p.stop())
}

// arrival is how long after the few are due the last of them arrives.
func (s *session) arrival(dir string, few *bench) (after time.Duration, err error) {
	few.reset()
	due := time.Now().Add(fairAhead)
	if err := fill(s.ctx, dir, filling{n: fewDue, stage: owed, app: "small", callbacks: few.receivers, due: due}); err != nil {
		return 0, err
	}
	p, err := startRingback(s.ctx, s.binary, dir, troubleConfig)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if left := time.Until(due); left < fairAhead/3 {
		return 0, fmt.Errorf("the start took so long that only %s were left", left)
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	if err := few.await(ctx, fewDue); err != nil {
		return 0, err
	}
	return time.Unix(0, few.last.Load()).Sub(due), nil
}
