package api

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// kindNoResult is told from a job that has no result yet, which is a 202.
var kindNoResult = newKind(http.StatusConflict, "no_result", "The job has no result, and will have none")

// resultRetrySeconds is when to ask again for a result that is not ready.
const resultRetrySeconds = 2

type resultInput struct {
	JobPath
	Token string `query:"token" maxLength:"100" doc:"A signed link's token, in place of an API key."`
}

func resultResponses() map[string]*huma.Response {
	return map[string]*huma.Response{
		"200": {Description: "The result, with its own content type", Content: map[string]*huma.MediaType{"*/*": {}}},
		"202": {Description: "The job goes on; ask again after Retry-After"},
		"409": {Description: "The job has no result, and will have none (RFC 9457)"},
		"410": {Description: "The result is no longer kept (RFC 9457)"},
	}
}

func (v *v1) getResult(ctx context.Context, in *resultInput) (*huma.StreamResponse, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	app := appOf(ctx).Name
	if in.Token != "" {
		if !v.opt.Seal.CheckLink(id.Job(), in.Token) {
			return nil, kindNotFound.problem(noSuchThing)
		}
		app = "" // the link is for this job, whoever's it is
	} else if app == "" {
		return nil, unauthorized("no API key was sent")
	}
	j, err := v.opt.Store.WholeJob(ctx, app, id)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read result", err)
	}
	if j.Bodies == job.BodiesGone && j.Result != nil {
		return nil, bodyGone(j)
	}
	if in.Token == "" {
		if j, err = v.shown(j); err != nil {
			return nil, storeProblem(ctx, v.opt.Log, "read result", err)
		}
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		r, w := humago.Unwrap(ctx)
		v.serveResult(w, r, j)
	}}, nil
}

// serveResult answers with the result, or with why there is none.
func (a *API) serveResult(w http.ResponseWriter, r *http.Request, j *job.Job) {
	switch {
	case j.Result != nil && j.State == job.Succeeded:
		// An upstream's 202 or 404 is not the answer to the question for a result.
		w.Header().Set("Ringback-Result-Status", strconv.Itoa(j.Result.Status))
		a.sendResult(w, r, j, http.StatusOK)
	case j.State.Terminal():
		p := kindNoResult.problem("the job has ended as " + j.State.String())
		if j.Error != nil {
			p.Detail += ": " + j.Error.Error()
			if j.Error.Detail != "" {
				p.Errors = append(p.Errors, ProblemItem{Detail: j.Error.Detail})
			}
		}
		p.write(w)
	default:
		w.Header().Set("Retry-After", strconv.Itoa(resultRetrySeconds))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_ = huma.DefaultJSONFormat.Marshal(w, a.showJob(j, nil)) // nobody is left to tell
	}
}

// writeResult answers a call with its job's result, as the backend answered.
func (a *API) writeResult(w http.ResponseWriter, r *http.Request, j *job.Job) {
	status := j.Result.Status
	if status < 200 || status > 599 {
		status = http.StatusOK
	}
	a.sendResult(w, r, j, status)
}

// sendResult sends a result's headers and body. The body is a stranger's: it must
// not do anything on the gateway's origin.
func (a *API) sendResult(w http.ResponseWriter, r *http.Request, j *job.Job, status int) {
	b := j.ResultBody()
	content, err := body.Open(a.opt.Bodies, b)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && b.Ref != "" {
			a.opt.Log.ErrorContext(r.Context(), "result is missing", "job", j.ID.Job(), "error", err)
		} else {
			a.opt.Log.ErrorContext(r.Context(), "open result", "job", j.ID.Job(), "error", err)
		}
		kindInternal.problem("").write(w)
		return
	}
	defer content.Close()
	resultHeader(w.Header(), j.Result)
	if seeker, ok := content.(io.ReadSeeker); ok && status == http.StatusOK && isRead(r.Method) {
		http.ServeContent(w, r, "", j.FinishedAt, seeker)
		return
	}
	if status != http.StatusNoContent && status != http.StatusNotModified {
		w.Header().Set("Content-Length", strconv.FormatInt(b.Size, 10))
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead || b.Size == 0 {
		return
	}
	if _, err := io.Copy(w, content); err != nil {
		panic(http.ErrAbortHandler) // half a result must not look like a whole one
	}
}

func isRead(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// resultHeader sets the headers of an answer that carries a result: the
// upstream's, but for those that speak for the origin that the answer comes from.
func resultHeader(h http.Header, result *job.Result) {
	upstream := maps.Clone(result.Header)
	maps.DeleteFunc(upstream, func(name string, _ []string) bool {
		name = http.CanonicalHeaderKey(name)
		return originHeaders[name] || strings.HasPrefix(name, "Access-Control-") || strings.HasPrefix(name, "Cross-Origin-")
	})
	maps.Copy(h, upstream)
	h.Set("Content-Type", "application/octet-stream")
	if result.ContentType != "" {
		h.Set("Content-Type", result.ContentType)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "private, no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
}

// originHeaders act on more than the answer that they stand in, or belong to the
// exchange with the upstream.
var originHeaders = map[string]bool{
	"Set-Cookie": true, "Set-Cookie2": true, "Clear-Site-Data": true, "Service-Worker-Allowed": true, "Refresh": true,
	"Strict-Transport-Security": true, "Alt-Svc": true, "Content-Security-Policy": true, "Content-Security-Policy-Report-Only": true,
	"X-Frame-Options": true, "Referrer-Policy": true, "Permissions-Policy": true, "Report-To": true, "Reporting-Endpoints": true,
	"Nel": true, "Sourcemap": true, "X-Sourcemap": true, "Link": true, "Origin-Agent-Cluster": true, "X-Content-Type-Options": true,
	"Cache-Control": true, "Expires": true, "Pragma": true, "Age": true, "Vary": true,
	"Content-Length": true, "Accept-Ranges": true, "Date": true, "Etag": true, "Last-Modified": true, "Www-Authenticate": true,
}
