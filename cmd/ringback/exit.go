package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/ringback/ringback/client"
)

// The exit codes. docs/cli.md explains each.
const (
	exitOK          = 0
	exitFailure     = 1   // everything without a code of its own
	exitUsage       = 2   // the command line or the configuration is wrong: nothing was done
	exitNotFound    = 3   // there is no such thing, or it is another app's
	exitRefused     = 4   // the gateway refused the request: a repeat will not help
	exitNoResult    = 5   // the job has ended without a result
	exitUnavailable = 6   // the gateway cannot be reached or take requests: a repeat may help
	exitInterrupted = 130 // by a signal
)

// failure is an error with an exit code and with what can be done about it.
type failure struct {
	code   int
	err    error
	detail string // more of it, over several lines; empty for none
	hint   string // empty for none
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usagef is an error of the command line.
func usagef(format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// explain finds the exit code and the hint of an error.
func explain(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return &failure{code: codeOfStatus(p.Status), err: err, hint: hintOf(p)}
	}
	if errors.Is(err, context.Canceled) {
		return &failure{code: exitInterrupted, err: errors.New("interrupted")}
	}
	if errors.Is(err, client.ErrNoAnswer) {
		return &failure{code: exitUnavailable, err: err, hint: "is the gateway running? --url or RINGBACK_URL says where"}
	}
	return &failure{code: exitFailure, err: err}
}

func codeOfStatus(status int) int {
	switch status {
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return exitUnavailable
	}
	if status < http.StatusInternalServerError {
		return exitRefused
	}
	return exitFailure
}

func hintOf(p *client.Problem) string {
	switch {
	case p.Hint != "":
		return p.Hint
	case p.Status == http.StatusUnauthorized:
		return "--key or RINGBACK_KEY takes the app's key"
	case p.RetryAfter > 0:
		return fmt.Sprintf("try again in %d s", p.RetryAfter)
	}
	return ""
}
