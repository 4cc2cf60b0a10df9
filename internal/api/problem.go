package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
)

// Problem is an error as RFC 9457 describes it, with a stable code.
type Problem struct {
	Type   string        `json:"type"`
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail,omitempty"`
	Code   string        `json:"code"`
	Hint   string        `json:"hint,omitempty"`
	Errors []ProblemItem `json:"errors,omitempty"`

	retryAfter int    // seconds, sent as Retry-After; 0: none
	allow      string // Allow, for 405
	challenge  string // WWW-Authenticate, for 401

	ratePolicy, rate string // RateLimit-Policy and RateLimit, of a limit that is reached
}

// ProblemItem is one of several faults of a request.
type ProblemItem struct {
	Detail    string `json:"detail"`
	Pointer   string `json:"pointer,omitempty"`
	Parameter string `json:"parameter,omitempty"`
	Header    string `json:"header,omitempty"`
}

// docsURL is where a problem's type is explained: its fragment is the code.
const docsURL = "https://github.com/ringback/ringback/blob/main/docs/errors.md#"

// kind is a sort of problem: its code, status and title never change.
type kind struct {
	code   string
	status int
	title  string
}

// kinds are all sorts of problem; docs/errors.md explains each.
var kinds []kind

func newKind(status int, code, title string) kind {
	k := kind{code: code, status: status, title: title}
	kinds = append(kinds, k)
	return k
}

// What may be wrong with any request.
var (
	kindBadRequest       = newKind(400, "bad_request", "The request is malformed")
	kindInvalidParameter = newKind(400, "invalid_parameter", "A parameter has a value that it cannot have")
	kindInvalidCursor    = newKind(400, "invalid_cursor", "The cursor is not one of this list")
	kindUnauthorized     = newKind(401, "unauthenticated", "A valid API key is needed")
	kindForbidden        = newKind(403, "forbidden", "The key does not permit this")
	kindCrossSite        = newKind(403, "cross_site", "Requests of other web pages are refused")
	kindNotFound         = newKind(404, "not_found", "There is no such thing")
	kindMethod           = newKind(405, "method_not_allowed", "The method is not offered here")
	kindTimeout          = newKind(408, "request_timeout", "The request came too slowly")
	kindConflict         = newKind(409, "conflict", "The request contradicts what there is")
	kindTooLarge         = newKind(413, "body_too_large", "The body is too large")
	kindUnsupportedMedia = newKind(415, "unsupported_media_type", "The body has a form that cannot be read")
	kindMisdirected      = newKind(421, "host_not_allowed", "The request is for another host")
	kindInternal         = newKind(500, "internal", "The gateway failed")
	kindMethodUnknown    = newKind(501, "method_unknown", "The method is not known")
	kindUnavailable      = newKind(503, "unavailable", "Nothing can be taken in at the moment")
)

// What may be wrong with a job that is followed.
var (
	kindJobTerminal = newKind(409, "job_terminal", "The job has already come to its end")
)

// What may be wrong with a call of an operation.
var (
	kindParameterRepeated = newKind(400, "parameter_repeated", "A parameter was sent more than once")
	kindChoiceRefused     = newKind(400, "callback_choice_not_allowed", "The operation leaves this no choice to the caller")
	kindURLInvalid        = newKind(400, "callback_url_invalid", "The callback URL is not a usable URL")
	kindURLForbidden      = newKind(400, "callback_url_forbidden", "Callbacks may not go to this URL")
	kindCallbackRequired  = newKind(400, "callback_required", "The operation needs a callback URL")
	kindUnknownEndpoint   = newKind(400, "callback_unknown_endpoint", "The app has no endpoint of this name")
	kindBodyMalformed     = newKind(400, "body_malformed", "The body is not what the operation reads it as")
	kindBodyIncomplete    = newKind(400, "body_incomplete", "The body did not arrive whole")
	kindKeyInvalid        = newKind(400, "idempotency_key_invalid", "The Idempotency-Key is malformed")
	kindKeyReused         = newKind(422, "idempotency_key_reused", "The Idempotency-Key belongs to another request")
	kindUpstream          = newKind(502, "upstream_unreachable", "The upstream did not answer")
)

// problem makes a Problem of this kind. detail is safe to show: it repeats no
// secret, no URL beyond its origin, nothing of the inside.
func (k kind) problem(detail string) *Problem {
	return &Problem{Type: docsURL + k.code, Title: k.title, Status: k.status, Code: k.code, Detail: detail}
}

// place is where in a request something stands. Its zero value is nowhere.
type place struct {
	name   string
	header bool // else a query parameter
}

// at makes a Problem about one place of the request.
func (k kind) at(where place, detail string) *Problem {
	p := k.problem(where.name + " " + detail)
	item := ProblemItem{Detail: detail, Parameter: where.name}
	if where.header {
		item = ProblemItem{Detail: detail, Header: where.name}
	}
	p.Errors = []ProblemItem{item}
	return p
}

// in says at which places of the request the problem is: those that a source of a
// URL looks at.
func (p *Problem) in(source *expression.Template) *Problem {
	if len(p.Errors) > 0 {
		return p
	}
	for _, name := range slices.Concat(source.Names(expression.Query), source.Names(expression.Path)) {
		p.Errors = append(p.Errors, ProblemItem{Detail: p.Detail, Parameter: name})
	}
	for _, name := range source.Names(expression.Header) {
		p.Errors = append(p.Errors, ProblemItem{Detail: p.Detail, Header: name})
	}
	for _, pointer := range source.Pointers() {
		p.Errors = append(p.Errors, ProblemItem{Detail: p.Detail, Pointer: "#" + pointer})
	}
	return p
}

// unavailableSeconds is the Retry-After of a store that can take nothing: about
// as long as a queue in memory takes to empty.
const unavailableSeconds = 2

// noSuchThing is said of what is not there and of what belongs to another app: the
// two must look alike.
const noSuchThing = "the app has nothing of this name or id"

// storeProblem describes an error of the store to the caller. What is not known
// goes to the log, and the caller only learns that something failed.
func storeProblem(ctx context.Context, log *slog.Logger, doing string, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, job.ErrNotFound):
		return kindNotFound.problem(noSuchThing)
	case errors.Is(err, job.ErrUnavailable):
		log.WarnContext(ctx, doing, "error", err)
		p := kindUnavailable.problem("")
		p.retryAfter = unavailableSeconds
		return p
	}
	log.ErrorContext(ctx, doing, "error", err)
	return kindInternal.problem("")
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus makes a Problem usable as an error of huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes huma send a Problem as what it is.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

func (p *Problem) withHint(hint string) *Problem { p.Hint = hint; return p }

// header is what goes out with the problem.
func (p *Problem) header() http.Header {
	h := http.Header{
		"Content-Type":           {"application/problem+json"},
		"X-Content-Type-Options": {"nosniff"},
		"Cache-Control":          {"no-store"},
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.rate != "" {
		h.Set("Ratelimit-Policy", p.ratePolicy)
		h.Set("Ratelimit", p.rate)
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.challenge != "" {
		h.Set("Www-Authenticate", p.challenge)
	}
	return h
}

// write sends the problem.
func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range p.header() {
		h[name] = values
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // nobody is left to tell
}
