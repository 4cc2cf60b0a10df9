// Package backend holds what executes an operation: the kinds of backend, behind
// one interface.
package backend

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// Backend executes jobs. Implementations are safe for concurrent use.
type Backend interface {
	// Run makes one attempt at a job. It MUST return soon after ctx is done, with
	// nothing of the attempt going on behind it: no process, no request. The
	// error is a *Failure where the backend can say more than that it failed; any
	// other error is retried. A result is a success, whatever its status.
	Run(ctx context.Context, run *Run) (*job.Result, error)
}

// Run is one attempt at one job.
type Run struct {
	Job *job.Job // read only
	N   int      // 1 for the first attempt
	// Authorization is the caller's, opened, where it belongs to the upstream.
	Authorization string
	Bodies        body.Storage
	MaxResult     int64 // bytes
	// Fresh demands that no part of the attempt may be repeated behind our back:
	// the run is at_most_once.
	Fresh bool
}

// OpenRequest reads the request's body.
func (r *Run) OpenRequest() (io.ReadCloser, error) {
	b, err := body.Open(r.Bodies, r.Job.Request.Body)
	if err != nil {
		return nil, &Failure{Code: job.CodeBodyLost, Message: "the stored document cannot be read", Final: true, Cause: err}
	}
	return b, nil
}

// ReadResult takes the body of a result as it comes: the larger ones go straight
// to the body storage.
func (r *Run) ReadResult(ctx context.Context, from io.Reader) (job.Body, error) {
	b, err := body.Read(ctx, r.Bodies, from, r.MaxResult)
	if errors.Is(err, body.ErrTooLarge) {
		return b, &Failure{Code: job.CodeResultTooLarge, Message: "the result is larger than the operation allows", Final: true}
	}
	return b, err
}

// Failure is a failed attempt. Code, Message and Detail are shown to the app.
type Failure struct {
	Code    job.Code
	Message string
	Detail  string
	// Final says that another attempt would fail in the same way.
	Final bool
	// RetryAfter is the backend's own wish, 0 for none.
	RetryAfter time.Duration
	// Cause goes to the log only.
	Cause error
}

func (f *Failure) Error() string {
	if f.Cause != nil {
		return string(f.Code) + ": " + f.Message + ": " + f.Cause.Error()
	}
	return string(f.Code) + ": " + f.Message
}

func (f *Failure) Unwrap() error { return f.Cause }
