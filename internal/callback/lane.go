package callback

import (
	"time"

	"github.com/ringback/ringback/job"
)

// Waits tells what a pending callback waits for now, by its row and its lane, in the
// words of job.WaitingReasons, and until when at least; zero: that is not known. Both
// are empty for one that is settled, or that waits for nothing but its turn.
func (s *Sender) Waits(cb *job.Callback) (waiting string, until time.Time) {
	if cb.State != job.Pending {
		return "", time.Time{}
	}
	waiting, until = cb.Waiting, cb.DueAt
	if waiting == job.WaitingOrder {
		return waiting, time.Time{}
	}
	if rest := s.breakers.resting(cb.Lane(), s.opt.Now()); rest.After(until) {
		return job.WaitingBreaker, rest
	}
	return waiting, until
}
