package callback

import (
	"context"
	"time"

	"github.com/ringback/ringback/job"
)

const (
	overdueInterval = 10 * time.Second
	// overdueGrace is for the last attempt, which is due when the callback's time is over.
	overdueGrace = 10 * time.Second
	overdueBatch = 256
	// overduePages is how much is looked at in one go: what rests by order may be much,
	// and its time is not over.
	overduePages = 40
)

// giveUp ends callbacks whose time is over while they wait on disk for a lane that sends
// nothing, until ctx is done.
func (s *Sender) giveUp(ctx context.Context) {
	ticker := time.NewTicker(overdueInterval)
	defer ticker.Stop()
	var after *job.Callback
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for range overduePages {
			var err error
			if after, err = s.giveUpPage(ctx, after); err != nil && ctx.Err() == nil {
				s.opt.Log.Error("find callbacks whose time is over", "error", err)
			}
			if after == nil {
				break
			}
		}
	}
}

// giveUpPage ends those of a page, and returns where the next one begins; nil: at the
// beginning.
func (s *Sender) giveUpPage(ctx context.Context, after *job.Callback) (next *job.Callback, err error) {
	now := s.opt.Now()
	listed, err := s.opt.Store.OverdueCallbacks(ctx, now.Add(-overdueGrace), after, overdueBatch)
	if err != nil || len(listed) == 0 {
		return nil, err
	}
	next = listed[len(listed)-1]
	if len(listed) < overdueBatch {
		next = nil
	}
	var over []*job.Callback
	for _, cb := range listed {
		if !s.GiveUpAt(cb).After(now) {
			over = append(over, cb)
		}
	}
	if len(over) == 0 {
		return next, nil
	}
	if over, err = s.opt.Store.ClaimOverdue(ctx, over); err != nil {
		return nil, err
	}
	for _, cb := range over {
		st := job.Settlement{Callback: cb, State: job.Dead, At: now}
		if cb.LastError == "" {
			st.Error = job.ClassGaveUp
		}
		if cb.Event == job.EventAsk {
			st.Question = answerOf(&st)
		}
		s.settle(ctx, st)
	}
	s.opt.Log.Warn("callbacks dead: their time was over while they waited", "callbacks", len(over))
	return next, nil
}
