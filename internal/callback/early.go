package callback

import (
	"context"
	"time"

	"github.com/ringback/ringback/job"
)

// OweEarly makes the callbacks that a job owes for an early event. None of them has a
// place in its lane: the store decides when each may follow the one before it.
func (s *Sender) OweEarly(ctx context.Context, j *job.Job, event job.Event, at time.Time) (owed []job.OwedCallback) {
	for i := range j.Targets {
		if cb := s.owe(ctx, j, &j.Targets[i], news{event: event, at: at}); cb != nil {
			owed = append(owed, job.OwedCallback{Callback: cb})
		}
	}
	return owed
}

// OweAccepted makes the callbacks that tell of a job's acceptance.
func (s *Sender) OweAccepted(j *job.Job) []job.OwedCallback {
	return s.OweEarly(context.Background(), j, job.EventAccepted, j.CreatedAt)
}

// OweProgress makes the callback that tells one of a job's targets how far it is,
// nil where that does not want to hear of it. value is JSON.
func (s *Sender) OweProgress(ctx context.Context, j *job.Job, target int, value []byte, at time.Time) *job.Callback {
	return s.owe(ctx, j, &j.Targets[target], news{event: job.EventProgress, data: value, at: at})
}

// ProgressInterval is the least time between two progress callbacks of a job to one
// of its targets.
func (s *Sender) ProgressInterval(ctx context.Context, j *job.Job, target int) time.Duration {
	if name := j.Targets[target].Endpoint; name != "" {
		if p, err := s.places.endpoint(ctx, j.App, name); err == nil && p.endpoint.ProgressInterval > 0 {
			return p.endpoint.ProgressInterval
		}
	}
	return s.contract(j.Operation).ProgressInterval
}

// asOf is the job as a callback tells of it: that of an early event without all that
// comes after the event, however late an attempt is made. What a format says of a job
// it says of this.
func asOf(cb *job.Callback, j *job.Job) *job.Job {
	if cb.Event.Terminal() {
		return j
	}
	then := *j
	then.State, then.FinishedAt, then.Result, then.Error, then.Progress = job.Running, time.Time{}, nil, nil, nil
	switch cb.Event {
	case job.EventAccepted:
		then.State, then.StartedAt = job.Accepted, time.Time{}
	case job.EventRunning:
		if then.StartedAt.IsZero() { // not stored yet
			then.StartedAt = cb.CreatedAt
		}
	case job.EventProgress:
		then.Progress = cb.Data
	case job.EventAsk:
		then.State = job.Waiting
	}
	return &then
}
