package callback

import (
	"context"
	"time"

	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
)

// laneOf is the lane of a callback: its flow control, within its app.
func laneOf(cb *job.Callback) window.Key {
	if cb.Endpoint != "" {
		return window.Key{Share: cb.App, Name: cb.Endpoint}
	}
	return window.Key{Share: cb.App, Name: job.Origin(cb.URL)}
}

// due lists lanes that have something due on disk, but for those that rest by order.
func (s *Sender) due(ctx context.Context, after window.Key, limit int) (due []window.Due, err error) {
	for more := true; more && len(due) == 0; {
		found, err := s.opt.Store.DueCallbacks(ctx, job.Due{App: after.Share, Name: after.Name}, limit)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			after = window.Key{Share: d.App, Name: d.Name}
			if s.rests(after) == "" {
				due = append(due, window.Due{Key: after, At: d.At})
			}
		}
		more = len(found) > 0
	}
	return due, nil
}

// Waits tells what a pending callback waits for now, by its row and its lane, in the
// words of job.WaitingReasons, and until when at least; zero: that is not known. Both
// are empty for one that is settled, or that waits for nothing but its turn.
func (s *Sender) Waits(cb *job.Callback) (waiting string, until time.Time) {
	if cb.State != job.Pending {
		return "", time.Time{}
	}
	if waiting = s.rests(laneOf(cb)); waiting != "" {
		return waiting, time.Time{}
	}
	waiting, until = cb.Waiting, cb.DueAt
	if waiting == job.WaitingPaused || waiting == job.WaitingDisabled {
		return "", until // that is over
	}
	if waiting == job.WaitingOrder {
		return waiting, time.Time{}
	}
	if rest := s.breakers.resting(cb.Lane(), s.opt.Now()); rest.After(until) {
		return job.WaitingBreaker, rest
	}
	return waiting, until
}
