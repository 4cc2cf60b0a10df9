package api

import (
	"errors"
	"net/http"

	"github.com/ringback/ringback/job"
)

// ErrOwnRoute is what is wrong with the route of an operation that would stand
// where the gateway's own routes are.
var ErrOwnRoute = errors.New("the route belongs to the gateway")

// OperationError is one reason why New refuses an operation.
type OperationError struct {
	Field string // of the configuration: "route", "callback.url[1]"
	Err   error
}

func (e *OperationError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *OperationError) Unwrap() error { return e.Err }

// CheckOperation says what New would refuse in an operation by itself: in its
// route, and in what it says about its callbacks. Of the options it asks Prefix,
// CheckURL, CheckHeader and ReadPolicy.
func CheckOperation(o job.Operation, opt Options) []*OperationError {
	a := &API{opt: opt}
	op := &operation{Operation: o, api: a, pathParameters: wildcardNames(o.Route)}
	var errs []*OperationError
	if err := addRoute(http.NewServeMux(), op); err != nil {
		errs = append(errs, &OperationError{Field: "route", Err: err})
	} else if _, path := splitRoute(o.Route); a.isOwn(path) {
		errs = append(errs, &OperationError{Field: "route", Err: ErrOwnRoute})
	}
	if err := a.contractSignature(o.Callback); err != nil {
		errs = append(errs, &OperationError{Field: "callback.signature", Err: err})
	}
	return append(append(errs, checkSchedule(o)...), op.contract()...)
}

// RouteParameters are the names of the path parameters in a route.
func RouteParameters(route string) []string { return wildcardNames(route) }
