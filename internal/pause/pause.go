// Package pause knows what rests by somebody's order: everything, the runs of an
// operation, the callbacks of a lane. It is asked for each piece of work, so it keeps
// in memory what the store has.
package pause

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/ringback/ringback/job"
)

// Set is the pauses of a store, those that last and those that are remembered. Its zero
// value has none, and so has a nil one.
type Set struct {
	any atomic.Bool // there is one
	mu  sync.RWMutex
	// by what rests: a lane, an operation with operationPrefix, or "" for everything.
	pauses map[string][]job.Pause
}

// operationPrefix sets operations apart from lanes, which begin with an app's name.
const operationPrefix = " "

func key(p *job.Pause) string {
	if p.Operation != "" {
		return operationPrefix + p.Operation
	}
	return p.Lane()
}

// Load takes what the store has, before it announces anything.
func (s *Set) Load(all []job.Pause) {
	for i := range all {
		s.Committed(job.Change{Kind: job.PauseChanged, Pause: &all[i]})
	}
}

// Committed hears of every change of the store.
func (s *Set) Committed(ch job.Change) {
	if ch.Kind != job.PauseChanged && ch.Kind != job.PauseForgotten {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pauses == nil {
		s.pauses = map[string][]job.Pause{}
	}
	k := key(ch.Pause)
	of := slices.DeleteFunc(s.pauses[k], func(p job.Pause) bool { return p.ID == ch.Pause.ID })
	if ch.Kind == job.PauseChanged {
		of = append(of, *ch.Pause)
	}
	if s.pauses[k] = of; len(of) == 0 {
		delete(s.pauses, k)
	}
	s.any.Store(len(s.pauses) > 0)
}

// Any tells whether there is a pause at all, that lasts or is remembered.
func (s *Set) Any() bool { return s != nil && s.any.Load() }

// Lane tells why the callbacks of a lane rest now: job.WaitingDisabled,
// job.WaitingPaused, or empty where they do not.
func (s *Set) Lane(lane string) (waiting string) {
	if !s.Any() {
		return ""
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, k := range []string{lane, ""} {
		for _, p := range s.pauses[k] {
			switch {
			case !p.To.IsZero():
			case p.Disabled:
				return job.WaitingDisabled
			default:
				waiting = job.WaitingPaused
			}
		}
	}
	return waiting
}

// Operation tells whether the runs of an operation rest now.
func (s *Set) Operation(name string) bool {
	if !s.Any() {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	lasts := func(p job.Pause) bool { return p.To.IsZero() }
	return slices.ContainsFunc(s.pauses[operationPrefix+name], lasts) || slices.ContainsFunc(s.pauses[""], lasts)
}

// LaneRested is for how long, between two times, the callbacks of a lane have rested.
func (s *Set) LaneRested(lane string, from, to time.Time) time.Duration {
	return s.rested(lane, from, to)
}

// OperationRested is the same of the runs of an operation.
func (s *Set) OperationRested(name string, from, to time.Time) time.Duration {
	return s.rested(operationPrefix+name, from, to)
}

func (s *Set) rested(k string, from, to time.Time) (rested time.Duration) {
	if !s.Any() {
		return 0
	}
	s.mu.RLock()
	pauses := slices.Concat(s.pauses[k], s.pauses[""])
	s.mu.RUnlock()
	// One that overlaps with another counts for what it adds.
	slices.SortFunc(pauses, func(a, b job.Pause) int { return a.From.Compare(b.From) })
	for _, p := range pauses {
		begin, end := p.From, cmp.Or(p.To, to)
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		if end.After(begin) {
			rested += end.Sub(begin)
			from = end
		}
	}
	return rested
}

// Gauges are metrics of what rests now.
func (s *Set) Gauges() []prometheus.Collector {
	gauge := func(name, help string, labels prometheus.Labels, counts func(*job.Pause) bool) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return s.count(counts) })
	}
	paused := func(scope string, counts func(*job.Pause) bool) prometheus.Collector {
		return gauge("ringback_paused", "What is paused now, by its scope.", prometheus.Labels{"scope": scope}, counts)
	}
	return []prometheus.Collector{
		paused("everything", func(p *job.Pause) bool { return p.Operation == "" && p.App == "" }),
		paused("operation", func(p *job.Pause) bool { return p.Operation != "" }),
		paused("destination", func(p *job.Pause) bool { return p.App != "" && !p.Disabled }),
		gauge("ringback_endpoints_disabled", "Endpoints that are disabled now.", nil, func(p *job.Pause) bool { return p.Disabled }),
	}
}

func (s *Set) count(counts func(*job.Pause) bool) (n float64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, of := range s.pauses {
		for i := range of {
			if of[i].To.IsZero() && counts(&of[i]) {
				n++
			}
		}
	}
	return n
}
