package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// Runs hears what upstreams say about runs. A token is all that they need. Errors are
// those of package job: ErrNotFound for a token that is none, ErrGone where nobody waits
// for it any more, ErrExists where it contradicts what is there, ErrMalformed.
type Runs interface {
	// Complete ends a run with what is read. body.ErrTooLarge has ended it, too.
	Complete(ctx context.Context, token string, header http.Header, from io.Reader) error
}

// What may be wrong with what an upstream says about a run.
var (
	kindRunTold = newKind(409, "run_being_completed", "Another completion of the run is being stored")
	kindGone    = newKind(410, "no_longer_awaited", "Nobody waits for this any more")
)

// noSuchToken is said of every token that is none: it tells nothing about jobs.
const noSuchToken = "the URL's token is none that this gateway has made"

// registerRuns adds the routes of upstreams. They need no key, since their URLs are
// secrets; huma would read the bodies into memory.
func (v *v1) registerRuns(mux *http.ServeMux) {
	v.talk(mux, "/v1/runs/{token}/result", v.completeRun, huma.Operation{OperationID: "complete-run", Summary: "Complete a run",
		Description: "For an upstream that answered 202: the body is the result, with its content type, or application/problem+json " +
			"for a failure. The URL is the request's Ringback-Completion-Url. It is good once, for one attempt.",
		Responses: map[string]*huma.Response{"204": {Description: "The run is completed"}}})
}

// talk adds a route whose URL is a secret.
func (v *v1) talk(mux *http.ServeMux, path string, handle http.HandlerFunc, op huma.Operation) {
	problem := v.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.Problem](), true, "Problem")
	op.Method, op.Path, op.Tags, op.Security = http.MethodPost, path, []string{"Upstreams"}, []map[string][]string{{}}
	op.Parameters = append(op.Parameters, &huma.Param{Name: "token", In: "path", Required: true,
		Schema: &huma.Schema{Type: "string"}, Description: "The secret that the URL holds."})
	if op.RequestBody == nil {
		op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{"*/*": {}}}
	}
	op.Responses["default"] = &huma.Response{
		Description: "A problem (RFC 9457): 404 for a token that is none, 410 where nobody waits any more",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
	}
	v.huma.OpenAPI().AddOperation(&op)
	mux.HandleFunc("POST "+v.opt.Prefix+path, func(w http.ResponseWriter, r *http.Request) {
		if v.opt.Runs == nil {
			kindNotFound.problem(noSuchToken).write(w)
			return
		}
		handle(w, r)
	})
}

func (v *v1) completeRun(w http.ResponseWriter, r *http.Request) {
	up := v.upload(w, r)
	if err := v.opt.Runs.Complete(r.Context(), r.PathValue("token"), r.Header, up); err != nil {
		answerAtOnce(w, r)
		v.talkProblem(r, up, err).write(w)
		return
	}
	up.done()
	w.WriteHeader(http.StatusNoContent)
}

func (a *API) upload(w http.ResponseWriter, r *http.Request) *upload {
	return &upload{body: r.Body, control: *http.NewResponseController(w), idle: a.opt.BodyIdleTimeout}
}

// talkProblem describes an error of Runs.
func (a *API) talkProblem(r *http.Request, up *upload, err error) *Problem {
	switch {
	case errors.Is(err, job.ErrNotFound):
		return kindNotFound.problem(noSuchToken)
	case errors.Is(err, job.ErrGone):
		return kindGone.problem("the run is at its end, or another attempt has taken its place")
	case errors.Is(err, job.ErrExists):
		return kindRunTold.problem("")
	case errors.Is(err, job.ErrMalformed):
		return kindBodyMalformed.problem("")
	case errors.Is(err, body.ErrTooLarge):
		return kindTooLarge.problem("the result is larger than the operation allows, so the run has failed")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return kindTimeout.problem(fmt.Sprintf("the body brought less than %d octets within %v", progressBytes, up.idle))
	case errors.Is(err, io.ErrUnexpectedEOF), r.Context().Err() != nil:
		return kindBodyIncomplete.problem("")
	case errors.Is(err, body.ErrStorage):
		err = fmt.Errorf("%w: %w", job.ErrUnavailable, err)
	}
	return storeProblem(r.Context(), a.opt.Log, "hear of a run", err)
}
