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

// expire ends jobs whose deadline has come while they wait, in memory or on disk.
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
			_ = e.finish(ctx, job.Finish{Job: j, State: job.Expired, At: e.opt.Now(), Error: expired()})
		}
	}
}

func expired() *job.Error {
	return &job.Error{Code: job.CodeExpired, Message: "the job's deadline came before its result"}
}
