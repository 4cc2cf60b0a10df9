package backend

import (
	"cmp"
	"context"
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
}

// Result is where a Func writes its result. The octets go to the body storage as
// they come.
type Result struct {
	ContentType string // application/octet-stream where it is left empty
	io.Writer
}

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
