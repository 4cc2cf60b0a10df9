package backend

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"

	"github.com/ringback/ringback/job"
)

// Func is a Go function as a backend. It reads the call and writes the result:
//
//	backend.Func(func(ctx context.Context, call *backend.Call, result *backend.Result) error {
//		result.ContentType = "application/json"
//		return json.NewEncoder(result).Encode(report(call.Params["kind"]))
//	})
//
// It MUST return soon after ctx is done: a function cannot be stopped from
// outside, and the run's slot is held until it returns. A *Failure that it
// returns is shown to the app; of any other error, and of a panic, the app learns
// only that there was one.
type Func func(ctx context.Context, call *Call, result *Result) error

// Call is what a Func gets of the job.
type Call struct {
	JobID     string
	Operation string
	Attempt   int // 1 for the first
	Method    string
	Path      string // escaped, as received
	RawQuery  string
	Params    map[string]string // of the route, decoded
	Header    http.Header       // read only
	Body      io.Reader

	run *Run
}

// Ask asks the job's callback URL something in the middle of the work, and waits for the
// answer; the run's slot is given to others meanwhile. question is written as JSON. key
// names the question within the job: one that was answered, be it in an attempt that a
// crash cut off, is not asked again. The error is ctx's; a *Failure that says why
// there is no answer, which the function can return as it is; or one of job.ErrExists for
// another question under this key, job.ErrTooMany, job.ErrMalformed for one over 16 KiB.
func (c *Call) Ask(ctx context.Context, key string, question any) (*job.Answer, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	if c.run == nil || c.run.Ask == nil {
		return nil, errors.New("ask: the call is no gateway's")
	}
	if !job.IsQuestionKey(key) {
		return nil, fmt.Errorf("ask: %w: the key must be 1 to 128 printable ASCII characters", job.ErrMalformed)
	}
	answer, err := c.run.Ask(ctx, key, body)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	return answer, nil
}

// Progress says how far the work is; value is written as JSON, of at most 16 KiB. The
// last one counts. It does not wait.
func (c *Call) Progress(value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("progress: %w", err)
	}
	if c.run != nil {
		c.run.Report(body)
	}
	return nil
}

// Result is where a Func writes its result. The octets go to the body storage as
// they come.
type Result struct {
	ContentType string // application/octet-stream where it is left empty
	io.Writer
}

// Inquires implements Inquirer.
func (Func) Inquires() {}

// Run implements Backend.
func (f Func) Run(ctx context.Context, run *Run) (*job.Result, error) {
	if err := stopped(ctx); err != nil {
		return nil, err
	}
	document, err := run.OpenRequest()
	if err != nil {
		return nil, err
	}
	defer document.Close()
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	from, to := io.Pipe()
	result := &Result{Writer: to}
	returned := make(chan error, 1)
	go f.call(within, newCall(run, document), result, func(err error) {
		to.CloseWithError(err) // nil is the end of the result
		returned <- err
	})
	b, readErr := run.ReadResult(ctx, from)
	if readErr != nil {
		from.CloseWithError(readErr)
		cancel()
	}
	callErr := <-returned
	// The first of them that there is brought about the others.
	for _, err := range []error{stopped(ctx), readErr, callErr} {
		if err != nil {
			return nil, run.discard(b, err)
		}
	}
	return &job.Result{Status: http.StatusOK, ContentType: cmp.Or(result.ContentType, octets), Body: b}, nil
}

func newCall(run *Run, document io.Reader) *Call {
	request := &run.Job.Request
	return &Call{
		JobID:     run.Job.ID.Job(),
		Operation: run.Job.Operation,
		Attempt:   run.N,
		Method:    request.Method,
		Path:      request.Path,
		RawQuery:  request.RawQuery,
		Params:    request.Params,
		Header:    request.Header,
		Body:      document,
		run:       run,
	}
}

// call hands done the error of the function, in whichever way that ends.
func (f Func) call(ctx context.Context, call *Call, result *Result, done func(error)) {
	var err error
	returned := false
	defer func() {
		if !returned {
			// recover is nil where the function ended its goroutine instead.
			err = &Failure{Code: job.CodePanic, Message: "the function panicked",
				Cause: fmt.Errorf("panic: %v\n%s", recover(), debug.Stack())}
		}
		done(err)
	}()
	err = f(ctx, call, result)
	returned = true
	if _, ok := errors.AsType[*Failure](err); err != nil && !ok {
		err = &Failure{Code: job.CodeBackendError, Message: "the function failed", Cause: err}
	}
}
