package executor

import (
	"context"
	"time"

	"github.com/ringback/ringback/job"
)

const (
	expireInterval = time.Second
	expireBatch    = 100
)

// expire ends jobs whose deadline has come while they wait, in memory or on disk, and
// those on disk that nobody wants any more.
func (e *Executor) expire(ctx context.Context) {
	ticker := time.NewTicker(expireInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		overdue, err := e.opt.Store.Overdue(ctx, e.opt.Now(), expireBatch)
		if err != nil {
			if ctx.Err() == nil {
				e.opt.Log.Error("find jobs whose deadline has come", "error", err)
			}
			continue
		}
		for _, j := range overdue {
			_ = e.finish(ctx, job.Finish{Job: j, State: job.Expired, At: e.opt.Now(), Error: overdueError(j, e.opt.Now())})
		}
	}
}

// overdueError says which of its ends has come first to a job that is overdue.
func overdueError(j *job.Job, now time.Time) *job.Error {
	if !j.Deadline.IsZero() && !now.Before(j.Deadline) {
		return expired()
	}
	return unwanted()
}

func unwanted() *job.Error {
	return &job.Error{Code: job.CodeExpired, Message: "the job was wanted only until then, and no run had begun"}
}

func expired() *job.Error {
	return &job.Error{Code: job.CodeExpired, Message: "the job's deadline came before its result"}
}
