package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

type callbackInput struct {
	ID string `path:"id" doc:"The callback's id."`
}

type listCallbacksInput struct {
	Paging
	Job      string `query:"job" doc:"Only those about this job."`
	Status   string `query:"status" enum:"pending,delivered,dead,discarded" doc:"Only those with this status."`
	Endpoint string `query:"endpoint" doc:"Only those to this endpoint."`
}

func (v *v1) registerCallbacks() {
	tags := []string{"Callbacks"}
	register(v, appOnly, huma.Operation{OperationID: "list-callbacks", Method: http.MethodGet, Path: "/v1/callbacks",
		Summary: "List callbacks, newest first", Tags: tags}, v.listCallbacks)
	register(v, appOnly, huma.Operation{OperationID: "get-callback", Method: http.MethodGet, Path: "/v1/callbacks/{id}",
		Summary: "Get a callback", Tags: tags}, v.getCallback)
	register(v, appOnly, huma.Operation{OperationID: "list-attempts", Method: http.MethodGet, Path: "/v1/callbacks/{id}/attempts",
		Summary: "List the attempts of a callback, newest first", Tags: tags}, v.listAttempts)
	register(v, appOnly, huma.Operation{OperationID: "resend-callback", Method: http.MethodPost, Path: "/v1/callbacks/{id}/resend",
		Summary: "Send a callback again", Tags: tags, DefaultStatus: http.StatusAccepted}, v.resendCallback)
}

func (v *v1) listCallbacks(ctx context.Context, in *listCallbacksInput) (*reply[client.Page[client.Callback]], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	filter := job.CallbackFilter{App: appOf(ctx).Name, Endpoint: in.Endpoint, Before: before, Limit: in.size() + 1}
	if in.Job != "" {
		id, ok := job.ParseJob(in.Job)
		if !ok {
			return nil, badParameter("job", "this is not the id of a job")
		}
		filter.JobID = id
	}
	if in.Endpoint != "" && !endpointName.MatchString(in.Endpoint) {
		return nil, badParameter("endpoint", "this is not the name of an endpoint")
	}
	filter.State, _ = job.ParseCallbackState(in.Status) // huma has checked the word
	found, err := v.opt.Store.Callbacks(ctx, filter)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "list callbacks", err)
	}
	out := page(found, in.size(), func(c *job.Callback) job.ID { return c.ID }, v.showCallback)
	if err := v.addWaitsFor(ctx, out.Data, found); err != nil {
		return nil, err
	}
	return &reply[client.Page[client.Callback]]{out}, nil
}

// find reads a callback of the request's app.
func (v *v1) find(ctx context.Context, in *callbackInput) (*job.Callback, error) {
	id, ok := job.ParseCallback(in.ID)
	if !ok {
		return nil, kindNotFound.problem(noSuchThing)
	}
	c, err := v.opt.Store.Callback(ctx, appOf(ctx).Name, id)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read callback", err)
	}
	return c, nil
}

func (v *v1) getCallback(ctx context.Context, in *callbackInput) (*reply[client.Callback], error) {
	c, err := v.find(ctx, in)
	if err != nil {
		return nil, err
	}
	return v.replyCallback(ctx, c)
}

func (v *v1) listAttempts(ctx context.Context, in *callbackInput) (*reply[client.Page[client.Attempt]], error) {
	c, err := v.find(ctx, in)
	if err != nil {
		return nil, err
	}
	attempts, err := v.opt.Store.Attempts(ctx, c.ID)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read attempts", err)
	}
	out := client.Page[client.Attempt]{Data: make([]client.Attempt, 0, len(attempts))}
	for _, attempt := range slices.Backward(attempts) {
		out.Data = append(out.Data, showAttempt(attempt))
	}
	return &reply[client.Page[client.Attempt]]{out}, nil
}

func (v *v1) resendCallback(ctx context.Context, in *callbackInput) (*reply[client.Callback], error) {
	c, err := v.find(ctx, in)
	if err != nil {
		return nil, err
	}
	now := v.now()
	c, err = v.opt.Store.Resend(whole(ctx), c.App, c.ID, now, now.Add(v.giveUpAfter(c.Operation)))
	if errors.Is(err, job.ErrGone) {
		return nil, v.cannotResend(ctx, in)
	}
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "resend callback", err)
	}
	return v.replyCallback(ctx, c)
}

// giveUpAfter is how long an operation's callbacks are tried; the default where
// the configuration no longer has the operation.
func (a *API) giveUpAfter(operation string) time.Duration {
	var op job.Operation
	if i := slices.IndexFunc(a.opt.Operations, func(o job.Operation) bool { return o.Name == operation }); i >= 0 {
		op = a.opt.Operations[i]
	} else if a.opt.Upstream != nil && a.opt.Upstream.Name == operation {
		op = *a.opt.Upstream
	}
	return cmp.Or(op.Callback.GiveUpAfter, job.Operation{}.WithDefaults().Callback.GiveUpAfter)
}

// showCallback is a callback as the API shows it.
func (a *API) showCallback(c *job.Callback) client.Callback {
	waiting, due := c.Waiting, c.DueAt
	if a.opt.Waits != nil {
		waiting, due = a.opt.Waits(c)
	}
	out := client.Callback{
		ID: c.ID.Callback(), JobID: c.JobID.Job(), Operation: c.Operation, Event: string(c.Event),
		Status: c.State.String(), Waiting: waiting, Endpoint: c.Endpoint, URL: c.URL, Method: c.Method, Format: cmp.Or(c.Format, job.FormatEnvelope),
		CreatedAt: client.At(c.CreatedAt), GiveUpAt: client.At(c.GiveUpAt), SettledAt: client.At(c.SettledAt),
		Attempts: c.Attempts, Interrupted: c.Interrupted, LastStatus: c.LastStatus, LastError: string(c.LastError),
	}
	out.Reason, out.Sequence, out.OrderKey, out.ExpiresAt = c.Reason, c.Sequence, c.OrderKey, client.At(c.ExpiresAt)
	if c.State == job.Pending {
		out.NextAttemptAt = client.At(due)
		if a.opt.GiveUpAt != nil {
			out.GiveUpAt = client.At(a.opt.GiveUpAt(c))
		}
	}
	return out
}

func showAttempt(t job.Attempt) client.Attempt {
	out := client.Attempt{
		N: t.N, StartedAt: client.At(t.StartedAt), DNS: ms(t.DNS), Connect: ms(t.Connect), TLS: ms(t.TLS),
		FirstByte: ms(t.FirstByte), Total: ms(t.Total), Address: t.Address, Status: t.Status,
		ContentType: t.ContentType, Headers: showHeader(t.Header), Truncated: t.Truncated, Error: string(t.Error),
	}
	if utf8.Valid(t.Body) {
		out.Body = string(t.Body)
	} else {
		out.BodyBase64 = t.Body
	}
	return out
}

// ms is d in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// showHeader joins the values of each field (RFC 9110 §5.3).
func showHeader(h http.Header) map[string]string {
	if len(h) == 0 {
		return nil
	}
	out := make(map[string]string, len(h))
	for name, values := range h {
		out[name] = strings.Join(values, ", ")
	}
	return out
}
