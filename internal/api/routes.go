package api

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
)

// ownHeaders stand in every answer of the gateway's own routes.
var ownHeaders = map[string]string{
	"X-Content-Type-Options":       "nosniff",
	"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Referrer-Policy":              "no-referrer",
	"Cache-Control":                "no-store",
}

// routes puts together what the gateway serves: its own routes below the prefix,
// and the operations everywhere else.
func (a *API) routes() (http.Handler, error) {
	operations, err := a.operations()
	if err != nil {
		return nil, err
	}
	for _, op := range a.opt.Operations {
		if _, path := splitRoute(op.Route); a.isOwn(path) {
			return nil, fmt.Errorf("operation %s: the route %q belongs to the gateway; set a prefix for its own routes", op.Name, op.Route)
		}
	}
	side := sideBoth
	if a.opt.SplitAdmin {
		side = sidePublic
		a.Admin = a.guarded(a.ownRoutes(sideAdmin))
	}
	own := a.ownRoutes(side)
	return a.guarded(http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.isOwn(r.URL.Path) {
			own.ServeHTTP(w, r)
			return
		}
		operations.ServeHTTP(w, r)
	}))), nil
}

// guarded is what every handler of the gateway has round it.
func (a *API) guarded(h http.Handler) http.Handler {
	if a.opt.Dev {
		h = devGuard(h)
	}
	return a.answered(h)
}

// side says for whom routes are served.
type side int

const (
	sideBoth   side = iota // all on one address
	sidePublic             // what needs the admin key, and what tells of the inside, is elsewhere
	sideAdmin              // everything but operations and their pages
)

// onThe fits who may use a route to a side: on the public one there is no admin. It
// is false where nobody is left.
func (who access) onThe(s side) (access, bool) {
	if s != sidePublic || !slices.Contains(who.schemes, schemeAdmin) {
		return who, true
	}
	who.check, who.schemes = appOnly.check, appOnly.schemes
	return who, who.app
}

// isOwn tells whether a path is one of the gateway's own.
func (a *API) isOwn(path string) bool {
	rest, ok := strings.CutPrefix(path, a.opt.Prefix)
	if !ok {
		return false
	}
	if a.opt.Prefix != "" {
		return rest == "" || rest[0] == '/'
	}
	switch rest {
	case "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1":
		return true
	}
	if !a.opt.NoDocs && (rest == "/docs" || strings.HasPrefix(rest, "/docs/")) {
		return true
	}
	if !a.opt.NoDashboard && (rest == "/dashboard" || strings.HasPrefix(rest, "/dashboard/")) {
		return true
	}
	return strings.HasPrefix(rest, "/v1/")
}

func (a *API) ownRoutes(s side) http.Handler {
	mux := http.NewServeMux()
	a.newV1(mux, s)
	operations := sync.OnceValue(a.describe)
	// Made when it is asked for, which most gateways never are, and of routes of its
	// own: those in use read their schemas meanwhile.
	document := sync.OnceValues(func() ([]byte, error) { return a.newV1(http.NewServeMux(), s).document(operations()) })
	get := "GET " + a.opt.Prefix
	mux.HandleFunc(get+"/healthz", func(w http.ResponseWriter, _ *http.Request) { a.healthz(w, s) })
	mux.HandleFunc(get+"/readyz", func(w http.ResponseWriter, r *http.Request) { a.readyz(w, r, s) })
	mux.HandleFunc(get+"/openapi.json", func(w http.ResponseWriter, r *http.Request) {
		document, err := document()
		if err != nil {
			a.opt.Log.ErrorContext(r.Context(), "describe the gateway", "error", err)
			kindInternal.problem("").write(w)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
		_, _ = w.Write(document)
	})
	if s != sideAdmin {
		a.serveDocs(mux, operations)
	}
	a.serveDashboard(mux, s)
	if a.opt.Metrics != nil && s != sidePublic {
		mux.Handle(get+"/metrics", a.opt.Metrics)
	}
	routed := withProblems(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		for name, value := range ownHeaders {
			h.Set(name, value)
		}
		routed.ServeHTTP(w, r)
	})
}

// answered gives each answer its deadlines, and answers a panic with a problem, where the answer has not begun.
func (a *API) answered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := newAnswerWriter(w, r, a.opt.WriteTimeout)
		defer answer.arm() // for what net/http still has to send, and lifts it then
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				// The route, not the path: a path may hold what is secret.
				a.opt.Log.ErrorContext(r.Context(), "panic in a handler", "method", r.Method, "route", r.Pattern,
					"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
				if !answer.begun {
					kindInternal.problem("").write(answer)
					return
				}
			}
			panic(http.ErrAbortHandler)
		}()
		next.ServeHTTP(answer, r)
	})
}

// withProblems answers what a mux has no route for with problems: 404, 405 with
// Allow, 501 for a method that nobody knows (RFC 9110 §9.1), and OPTIONS.
func withProblems(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fallback, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		said := &silentWriter{header: http.Header{}}
		fallback.ServeHTTP(said, r)
		allow := said.header.Get("Allow")
		switch {
		case !slices.Contains(knownMethods, r.Method):
			kindMethodUnknown.problem("").write(w)
		case allow == "":
			kindNotFound.problem("nothing has this path").write(w)
		case r.Method == http.MethodOptions:
			w.Header().Set("Allow", allow+", OPTIONS")
			w.WriteHeader(http.StatusNoContent)
		default:
			p := kindMethod.problem("")
			p.allow = allow + ", OPTIONS"
			p.write(w)
		}
	})
}

var knownMethods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect}

// silentWriter keeps the headers of an answer and drops the rest.
type silentWriter struct{ header http.Header }

func (w *silentWriter) Header() http.Header         { return w.header }
func (w *silentWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *silentWriter) WriteHeader(int)             {}
