package executor

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/job"
)

// maxRetryAfter bounds how long a backend can put a job off.
const maxRetryAfter = time.Hour

// failure puts the error of an attempt in words.
func (e *Executor) failure(op Operation, j *job.Job, o outcome, stopping bool) *backend.Failure {
	var f *backend.Failure
	switch {
	case stopping:
		f = &backend.Failure{Code: job.CodeInterrupted, Message: "the gateway stopped during the run, and the operation runs at most once", Final: true}
	case errors.Is(o.cutOff, errDeadline):
		e := expired()
		f = &backend.Failure{Code: e.Code, Message: e.Message, Final: true}
	case errors.Is(o.cutOff, context.DeadlineExceeded):
		f = &backend.Failure{Code: job.CodeTimeout, Message: "the attempt took longer than " + op.Timeout.String()}
	case !errors.As(o.err, &f):
		f = &backend.Failure{Code: job.CodeBackendError, Message: "the backend failed", Cause: o.err}
	}
	if op.AtMostOnce && !f.NotBegun {
		// Whether it has had an effect is not known: it must not run again.
		final := *f
		final.Final = true
		f = &final
	}
	e.opt.Log.Warn("run failed", "job", j.ID.Job(), "operation", op.Name, "attempt", o.n, "code", f.Code, "error", o.err)
	return f
}

// backoff is the delay before run n+1, ±20 %.
func backoff(r job.Retry, n int) time.Duration {
	d := r.MaxBackoff
	if n < 32 && r.Backoff<<(n-1) < r.MaxBackoff && r.Backoff<<(n-1) > 0 {
		d = r.Backoff << (n - 1)
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// handBack makes a run that did not come to its end as if it had not begun.
func (e *Executor) handBack(ctx context.Context, j *job.Job, due time.Time) error {
	return e.finish(ctx, job.Finish{Job: j, State: job.Accepted, At: e.opt.Now(), DueAt: due})
}

// finish stores the end of a run. While the store can take nothing the outcome is
// kept and tried again: a run that is over must not run again for want of a row. What
// could not be stored at all is logged; the error is for those who want to know, too.
func (e *Executor) finish(ctx context.Context, f job.Finish) error {
	j, tried := ended(&f), false
	if f.Run == nil || f.Waited {
		j.Early = true // it may have become so since it was read
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		if f.State.Terminal() {
			f.Callbacks = e.opt.Owe(ctx, j, f.State, f.At)
		}
		err := e.opt.Store.FinishRun(context.WithoutCancel(ctx), f)
		if err == nil {
			return nil
		}
		e.opt.Disown(j, f.Callbacks)
		if !errors.Is(err, job.ErrUnavailable) {
			if !tried { // else perhaps that try was stored, and its row names the body
				e.discard(f.Job, f.Result)
			}
			if !errors.Is(err, job.ErrTerminal) && !errors.Is(err, job.ErrGone) && !errors.Is(err, job.ErrNotFound) {
				e.opt.Log.Error("store the end of a run", "job", f.Job.ID.Job(), "error", err)
			}
			return err
		}
		tried = true
		e.opt.Log.Error("the store takes no results", "job", f.Job.ID.Job(), "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			// The claim stays on disk; the next start finds the run interrupted.
			return err
		}
	}
}

// discard deletes the stored body of a result that nobody will ask for.
func (e *Executor) discard(j *job.Job, r *job.Result) {
	if r == nil || r.Body.Ref == "" || r.Body.Ref == j.Request.Body.Ref {
		return
	}
	if err := e.opt.Bodies.Delete(r.Body.Ref); err != nil {
		e.opt.Log.Warn("delete an unused result", "job", j.ID.Job(), "error", err)
	}
}
