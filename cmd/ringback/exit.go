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
		return &failure{code: codeOf(p), err: err, hint: hintOf(p)}
	}
	if errors.Is(err, context.Canceled) {
		return &failure{code: exitInterrupted, err: errors.New("interrupted")}
	}
	if errors.Is(err, client.ErrNoAnswer) {
		return &failure{code: exitUnavailable, err: err, hint: "is the gateway running? --url or RINGBACK_URL says where"}
	}
	f := &failure{code: exitFailure, err: err}
	if errors.Is(err, client.ErrForeign) {
		f.hint = foreignHint
	}
	return f
}

const foreignHint = "is --url right, and --prefix? a gateway in front of an API has --prefix /.ringback"

func codeOf(p *client.Problem) int {
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return exitUnavailable
	}
	switch {
	case p.Code == "" || p.Status >= http.StatusInternalServerError:
		return exitFailure
	case p.Status == http.StatusNotFound:
		return exitNotFound
	}
	return exitRefused
}

// commandHints say for the command line what the API's hints say for HTTP.
var commandHints = map[string]string{
	"unauthenticated":           "--key or RINGBACK_KEY takes the app's key, and for ringback app the admin key",
	"callback_unknown_endpoint": `"ringback endpoint list" shows the app's endpoints`,
}

func hintOf(p *client.Problem) string {
	switch {
	case commandHints[p.Code] != "":
		return commandHints[p.Code]
	case p.Hint != "":
		return p.Hint
	case p.RetryAfter > 0:
		return fmt.Sprintf("try again in %d s", p.RetryAfter)
	case p.Code == "":
		return "this is not a Ringback gateway's answer; " + foreignHint
	}
	return ""
}
