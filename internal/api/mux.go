package api

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/ringback/ringback/job"
)

// operation is an operation as intake knows it.
type operation struct {
	job.Operation
	api *API
	// destinations of the callbacks; the first is that of callback.url.
	destinations []destination
	// headers and query parameters that are set on callbacks. finishNeedsBody says
	// that one of them looks into the request's body.
	headers, query  []setting
	finishNeedsBody bool
	// pathParameters of the route.
	pathParameters []string
	// ownParameters and ownHeaders are those that are nothing but a callback URL:
	// the backend does not get them. readHeaders are all that expressions look at.
	ownParameters, ownHeaders, readHeaders []string
}

// ServeHTTP takes a call of the operation in.
func (op *operation) ServeHTTP(w http.ResponseWriter, r *http.Request) { op.api.take(w, r, op) }

// operations serves every operation, and in front of an upstream all else, too.
func (a *API) operations() (http.Handler, error) {
	mux := http.NewServeMux()
	for _, o := range a.opt.Operations {
		op, err := a.newOperation(o)
		if err == nil {
			err = addRoute(mux, op)
		}
		if err != nil {
			return nil, fmt.Errorf("operation %s: %w", o.Name, err)
		}
	}
	if a.opt.Upstream != nil {
		return a.upstream(mux)
	}
	missing := withProblems(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if _, ok := h.(*operation); ok {
			mux.ServeHTTP(w, r)
			return
		}
		answerAtOnce(w, r)
		if pattern != "" || hasNoPath(r) {
			// With a pattern the mux would redirect to a tidier path, which was not asked for.
			kindNotFound.problem("no operation has this path").write(w)
			return
		}
		missing.ServeHTTP(w, r)
	}), nil
}

// hasNoPath tells the target of a request to a proxy, and the asterisk, with which
// HTTP/2 begins.
func hasNoPath(r *http.Request) bool { return r.Method == http.MethodConnect || r.URL.Path == "*" }

// newOperation reads what the operation says about its callbacks.
func (a *API) newOperation(o job.Operation) (*operation, error) {
	op := &operation{Operation: o.WithDefaults(), api: a}
	if op.Route != "" {
		op.pathParameters = wildcardNames(op.Route)
	}
	if err := a.contractSignature(op.Callback); err != nil {
		return nil, fmt.Errorf("callback.signature: %w", err)
	}
	for _, word := range op.Callback.CallerMay {
		if !slices.Contains(offered, word) {
			return nil, fmt.Errorf("callback.caller_may: %q is none of: %s", word, strings.Join(offered, ", "))
		}
	}
	if errs := checkSchedule(o); len(errs) > 0 {
		return nil, errs[0]
	}
	if errs := op.contract(); len(errs) > 0 {
		return nil, errs[0]
	}
	return op, nil
}

var (
	wildcard     = regexp.MustCompile(`\{([^{}.]+)(?:\.\.\.)?\}`)
	registeredAt = regexp.MustCompile(` \(registered at [^)]*\)`)
)

func wildcardNames(route string) []string {
	var names []string
	for _, m := range wildcard.FindAllStringSubmatch(route, -1) {
		if m[1] != "$" {
			names = append(names, m[1])
		}
	}
	return names
}

// addRoute adds the operation to the mux, which panics where it cannot.
func addRoute(mux *http.ServeMux, op *operation) (err error) {
	method, path, ok := strings.Cut(op.Route, " ")
	if !ok || !isToken(method) || !strings.HasPrefix(strings.TrimLeft(path, " \t"), "/") {
		return fmt.Errorf("the route %q must be a method and a path, such as POST /scan", op.Route)
	}
	defer func() {
		if cause := recover(); cause != nil {
			// The mux tells places in our source, which mean nothing to the operator.
			err = fmt.Errorf("the route %q: %s", op.Route, registeredAt.ReplaceAllString(fmt.Sprint(cause), ""))
		}
	}()
	mux.Handle(op.Route, op)
	return nil
}

// pathValues are the decoded parameters of the route. Control characters and
// what is not UTF-8 are refused: no backend can be trusted with them.
func (op *operation) pathValues(r *http.Request) (map[string]string, *Problem) {
	if len(op.pathParameters) == 0 {
		return nil, nil
	}
	values := make(map[string]string, len(op.pathParameters))
	for _, name := range op.pathParameters {
		value := r.PathValue(name)
		if !isPlainText(value) {
			return nil, kindInvalidParameter.problem(fmt.Sprintf("the path's parameter {%s} must be UTF-8 without control characters", name))
		}
		values[name] = value
	}
	return values, nil
}
