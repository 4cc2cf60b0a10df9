package api

import (
	"context"
	"maps"
	"net/http"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/redact"
	"github.com/ringback/ringback/job"
)

// kindBodyGone is told from what was never there.
var kindBodyGone = newKind(http.StatusGone, "body_gone", "The body is no longer kept")

func bodyGone(j *job.Job) *Problem {
	if j.Bodies == job.BodiesGone {
		return kindBodyGone.problem("the retention of this job's bodies is over")
	}
	return kindBodyGone.problem("what this callback said was redacted when the job had ended")
}

// redactions are what is not shown of results, by operation.
type redactions map[string]resultPointers

type resultPointers struct{ own, echo redact.Pointers }

func newRedactions(operations []job.Operation) (redactions, error) {
	r := redactions{}
	for _, op := range operations {
		own, err := redact.Parse(op.Redact.OfResult(false), op.Redact.KeepOther)
		if err != nil {
			return nil, err
		}
		echo, err := redact.Parse(op.Redact.OfResult(true), op.Redact.KeepOther)
		if err != nil {
			return nil, err
		}
		if !echo.None() {
			r[op.Name] = resultPointers{own, echo}
		}
	}
	return r, nil
}

// shown is the job with as much of its result as may be shown. Only callbacks, and the
// call that waits for it, get the rest.
func (a *API) shown(j *job.Job) (*job.Job, error) {
	p, ok := a.redactions[j.Operation]
	if !ok || j.Result == nil {
		return j, nil
	}
	pointers := p.own
	if j.Result.Echo {
		pointers = p.echo
	}
	if pointers.None() {
		return j, nil
	}
	content, err := body.Open(a.opt.Bodies, j.ResultBody())
	if err != nil {
		return nil, err
	}
	defer content.Close()
	redacted, outcome, err := pointers.Read(content, j.Bodies == job.BodiesWhole && redact.Coded(j.Result.Header))
	if err != nil || outcome == redact.Unchanged && j.Bodies == job.BodiesWhole {
		return j, err
	}
	out, result := *j, *j.Result
	result.Echo, result.Header = false, maps.Clone(j.Result.Header)
	for _, name := range []string{"Content-Encoding", "Content-Digest", "Repr-Digest", "Digest", "Content-Md5", "Content-Range"} {
		delete(result.Header, name)
	}
	if string(redacted) == string(redact.Whole()) {
		result.ContentType = "application/json"
	}
	if outcome != redact.Unchanged {
		result.Body = body.Inline(redacted)
	} else {
		result.Body = j.ResultBody()
	}
	out.Result = &result
	return &out, nil
}

// cannotResend says why a callback cannot be sent again.
func (v *v1) cannotResend(ctx context.Context, in *callbackInput) error {
	c, err := v.find(ctx, in)
	if err != nil {
		return err
	}
	j, err := v.opt.Store.Job(ctx, c.App, c.JobID)
	if err != nil {
		return storeProblem(ctx, v.opt.Log, "read job", err)
	}
	return bodyGone(j).withHint("make the call again: its job has callbacks of its own")
}

// writeWhatIsLeft answers a call with a result whose bodies are whole no more.
func (a *API) writeWhatIsLeft(w http.ResponseWriter, r *http.Request, j *job.Job) {
	if j.Bodies == job.BodiesGone {
		bodyGone(j).write(w)
		return
	}
	shown, err := a.shown(j)
	if err != nil {
		storeProblem(r.Context(), a.opt.Log, "read result", err).write(w)
		return
	}
	a.writeResult(w, r, shown)
}
