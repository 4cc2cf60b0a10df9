package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/ringback/ringback/job"
)

func TestFunctionSeesTheCall(t *testing.T) {
	t.Parallel()
	run := newRun(t, []byte("a document"))
	run.N = 3
	run.Job.Request.RawQuery, run.Job.Request.Params = "a=b", map[string]string{"kind": "x"}
	result := mustRun(t, Func(func(_ context.Context, call *Call, result *Result) error {
		document, err := io.ReadAll(call.Body)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(result, call.JobID == run.Job.ID.Job(), call.Operation, call.Attempt, call.Method, call.Path,
			call.RawQuery, call.Params["kind"], call.Header.Get("Content-Type"), string(document))
		return err
	}), run)
	if got := read(t, run, result.Body); got != "true scan 3 POST /scan a=b x text/plain a document\n" {
		t.Errorf("result %q", got)
	}
	if result.ContentType != "application/octet-stream" {
		t.Errorf("content type %s", result.ContentType)
	}
}

func TestPanicIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]Func{
		"panic":      func(context.Context, *Call, *Result) error { panic("the secret 4711") },
		"bad index":  func(_ context.Context, call *Call, _ *Result) error { return []error{nil}[call.Attempt] },
		"left early": func(context.Context, *Call, *Result) error { runtime.Goexit(); return nil },
	} {
		_, err := f.Run(t.Context(), newRun(t, nil))
		wantFailure(t, err, job.CodePanic, false)
		failure := asFailure(t, err)
		if strings.Contains(failure.Message+failure.Detail, "4711") || !strings.Contains(failure.Cause.Error(), "func_test.go") {
			t.Errorf("%s: %+v", name, failure)
		}
	}
}

func TestErrorOfAFunctionIsNotShown(t *testing.T) {
	t.Parallel()
	secret := errors.New("dial postgres://me:secret@db/")
	_, err := Func(func(context.Context, *Call, *Result) error { return secret }).Run(t.Context(), newRun(t, nil))
	wantFailure(t, err, job.CodeBackendError, false)
	failure := asFailure(t, err)
	if strings.Contains(failure.Message+failure.Detail, "secret") || !errors.Is(err, secret) {
		t.Errorf("%+v", failure)
	}
}

func TestErrorThatWrapsEOFIsNoEnd(t *testing.T) {
	t.Parallel()
	for _, broken := range []error{io.EOF, fmt.Errorf("read input: %w", io.EOF), io.ErrUnexpectedEOF} {
		_, err := Func(func(_ context.Context, _ *Call, result *Result) error {
			_, _ = io.WriteString(result, "half")
			return broken
		}).Run(t.Context(), newRun(t, nil))
		wantFailure(t, err, job.CodeBackendError, false)
	}
}

func TestFailureOfAFunctionIsPassedOn(t *testing.T) {
	t.Parallel()
	mine := &Failure{Code: job.CodeBackendError, Message: "the document has no pages", Detail: "page 1", Final: true}
	_, err := Func(func(context.Context, *Call, *Result) error { return fmt.Errorf("render: %w", mine) }).Run(t.Context(), newRun(t, nil))
	wantFailure(t, err, job.CodeBackendError, true)
	if failure := asFailure(t, err); failure != mine {
		t.Errorf("%+v", failure)
	}
}

func TestFunctionWritesNoFurtherThanTheLimit(t *testing.T) {
	t.Parallel()
	run := newRun(t, nil)
	run.MaxResult = 1000
	written := 0
	_, err := Func(func(ctx context.Context, _ *Call, result *Result) error {
		for ctx.Err() == nil {
			n, err := result.Write(make([]byte, 500))
			if written += n; err != nil {
				return err
			}
		}
		return ctx.Err()
	}).Run(t.Context(), run)
	wantFailure(t, err, job.CodeResultTooLarge, true)
	if written > 1500 {
		t.Errorf("%d octets were taken", written)
	}
}

func TestKindsDecodeTheirBlockAndNameTheField(t *testing.T) {
	t.Parallel()
	broken := errors.New("unknown key")
	for name, build := range Kinds {
		if _, err := build(func(any) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("%s: err = %v", name, err)
		}
		b, err := build(func(any) error { return nil }) // an empty block
		if name == "relay" {
			if err != nil || b == nil {
				t.Errorf("relay: %v, %v", b, err)
			}
			continue
		}
		wrong, ok := errors.AsType[*ConfigError](err)
		if b != nil || !ok || !strings.HasPrefix(wrong.Field, name+".") {
			t.Errorf("%s: %v, %v", name, b, err)
		}
	}
}
