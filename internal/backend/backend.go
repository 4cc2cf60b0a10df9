// Package backend holds what executes an operation: the kinds of backend, behind
// one interface.
package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// Backend executes jobs. Implementations are safe for concurrent use. One that
// keeps connections is an io.Closer, to be closed after its last run.
type Backend interface {
	// Run makes one attempt at a job. It MUST return soon after ctx is done, with
	// nothing of the attempt going on behind it: no process, no request. The
	// error then wraps ctx.Err(); else it is a *Failure where the backend can say
	// more than that it failed, and any other error is retried. A failed attempt
	// leaves nothing in the body storage. A result is a success, whatever its
	// status.
	Run(ctx context.Context, run *Run) (*job.Result, error)
}

// Parameterized is a backend whose configuration names path parameters. An
// operation whose route lacks one of them is misconfigured.
type Parameterized interface {
	Params() []string
}

// Instant is a Backend whose runs take no time and touch nothing: there is no start
// to store, nothing to cut off, and nothing that a crash could interrupt.
type Instant interface {
	Backend
	Instant()
}

// Run is one attempt at one job.
type Run struct {
	Job *job.Job // read only
	N   int      // 1 for the first attempt
	// Authorization and Cookie are the caller's, opened, where they belong to the
	// upstream.
	Authorization, Cookie string
	Bodies                body.Storage
	MaxResult             int64 // bytes
	// Progress takes how far the attempt is, a JSON value of at most
	// job.MaxProgressBytes; the last one counts. It is safe for concurrent use and does
	// not wait; nil where nobody is told. Report calls it.
	Progress func(json.RawMessage)
	// Fresh demands that no part of the attempt may be repeated behind our back:
	// the run is at_most_once.
	Fresh bool
	// Links are set for a backend that talks (Async).
	Links *Links
	// Ask asks the job's callback URL something, JSON of at most job.MaxQuestionBytes,
	// and waits for the answer; meanwhile others run. It may be called again with the
	// same key, also in a later attempt: an answer that there is stays the answer. It is
	// set for a backend that asks (Inquirer) or talks. A *Failure says why there is no answer.
	Ask func(ctx context.Context, key string, question json.RawMessage) (*job.Answer, error)
}

// Inquirer is a Backend whose runs may call Run.Ask.
type Inquirer interface {
	Backend
	Inquires()
}

// Report says how far the attempt is; see Progress.
func (r *Run) Report(value json.RawMessage) {
	if r.Progress != nil {
		r.Progress(value)
	}
}

// OpenRequest reads the request's body.
func (r *Run) OpenRequest() (io.ReadCloser, error) {
	b, err := body.Open(r.Bodies, r.Job.Request.Body)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, body.ErrDamaged) {
		return nil, &Failure{Code: job.CodeBodyLost, Message: "the stored document cannot be read", Final: true, Cause: err}
	}
	return b, err
}

// ReadResult takes the body of a result as it comes: the larger ones go straight
// to the body storage.
func (r *Run) ReadResult(ctx context.Context, from io.Reader) (job.Body, error) {
	b, err := body.Read(ctx, r.Bodies, from, r.MaxResult)
	if errors.Is(err, body.ErrTooLarge) {
		return b, resultTooLarge()
	}
	return b, err
}

func resultTooLarge() error {
	return &Failure{Code: job.CodeResultTooLarge, Message: "the result is larger than the operation allows", Final: true}
}

// discard takes back the body of a result that turned out to be a failure's. It
// returns the failure.
func (r *Run) discard(b job.Body, failure error) error {
	if b.Ref == "" {
		return failure
	}
	if err := r.Bodies.Delete(b.Ref); err != nil {
		return errors.Join(failure, err)
	}
	return failure
}

// stopped is the error of an attempt that ctx ended, nil while ctx goes on. Where
// it is not nil it counts more than what the attempt ran into by being ended.
func stopped(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("run stopped: %w", err)
	}
	return nil
}

// Failure is a failed attempt. Code, Message and Detail are shown to the app.
type Failure struct {
	Code    job.Code
	Message string
	Detail  string
	// Final says that another attempt would fail in the same way.
	Final bool
	// NotBegun says that this attempt has had no effect for certain: nobody was
	// reached, nothing was started. Only then is an at_most_once run repeated.
	NotBegun bool
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

// notReached tells an error of a connection that never was.
func notReached(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
