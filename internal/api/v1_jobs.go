package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// maxJobCallbacks bounds how many of its callbacks a job shows, the newest first: of
// progress there may be any number.
const maxJobCallbacks = 100

var operationName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// JobPath names a job.
type JobPath struct {
	ID string `path:"id" doc:"The job's id."`
}

type getJobInput struct {
	JobPath
	Wait int `query:"wait" minimum:"0" doc:"Wait up to so many seconds for the job's end; the gateway may wait less."`
}

type listJobsInput struct {
	Paging
	Operation string `query:"operation" doc:"Only those of this operation."`
	Status    string `query:"status" enum:"accepted,running,waiting,succeeded,failed,canceled,expired" doc:"Only those with this status."`
}

func (v *v1) registerJobs() {
	tags := []string{"Jobs"}
	register(v, appOnly, huma.Operation{OperationID: "list-jobs", Method: http.MethodGet, Path: "/v1/jobs",
		Summary: "List jobs, newest first", Tags: tags}, v.listJobs)
	register(v, appOnly, huma.Operation{OperationID: "get-job", Method: http.MethodGet, Path: "/v1/jobs/{id}",
		Summary: "Get a job, or wait for its end", Tags: tags}, v.getJob)
	register(v, appOnly, huma.Operation{OperationID: "cancel-job", Method: http.MethodDelete, Path: "/v1/jobs/{id}",
		Summary: "Cancel a job", Tags: tags, DefaultStatus: http.StatusOK}, v.cancelJob)
	register(v, appOnly, huma.Operation{OperationID: "follow-job", Method: http.MethodGet, Path: "/v1/jobs/{id}/events",
		Summary: "Follow a job by server-sent events", Tags: tags, Responses: eventResponses()}, v.followJob)
	register(v, linkOrApp, huma.Operation{OperationID: "get-job-result", Method: http.MethodGet, Path: "/v1/jobs/{id}/result",
		Summary: "Get a job's result as it is", Tags: tags, Responses: resultResponses()}, v.getResult)
}

func (v *v1) listJobs(ctx context.Context, in *listJobsInput) (*reply[client.Page[client.Job]], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	filter := job.JobFilter{App: appOf(ctx).Name, Operation: in.Operation, Before: before, Limit: in.size() + 1}
	if in.Operation != "" && !operationName.MatchString(in.Operation) {
		return nil, badParameter("operation", "this is not the name of an operation")
	}
	filter.State, _ = job.ParseState(in.Status) // huma has checked the word
	found, err := v.opt.Store.Jobs(ctx, filter)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "list jobs", err)
	}
	return &reply[client.Page[client.Job]]{page(found, in.size(), func(j *job.Job) job.ID { return j.ID },
		func(j *job.Job) client.Job { return v.showJob(j, nil) })}, nil
}

func (v *v1) getJob(ctx context.Context, in *getJobInput) (*reply[client.Job], error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	wait := min(time.Duration(min(in.Wait, 86400))*time.Second, v.opt.MaxWait)
	j, err := v.awaitEnd(ctx, callerOf(ctx), job.ScopeRead, id, wait)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read job", err)
	}
	return v.replyJob(ctx, j)
}

func (in JobPath) id() (job.ID, error) {
	id, ok := job.ParseJob(in.ID)
	if !ok {
		return id, kindNotFound.problem(noSuchThing)
	}
	return id, nil
}

// awaitEnd reads a job, when it is terminal or after wait, whichever is first. Its
// error is a *Problem where meanwhile who's key is revoked or expires.
func (a *API) awaitEnd(ctx context.Context, who *caller, scope job.Scopes, id job.ID, wait time.Duration) (*job.Job, error) {
	app := who.app.Name
	if wait <= 0 {
		return a.opt.Store.Job(ctx, app, id)
	}
	if end := who.key.ExpiresAt; !end.IsZero() {
		wait = min(wait, end.Sub(a.now()))
	}
	changed, cancel := a.watch.subscribe(id)
	defer cancel()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		var p *Problem
		if who, p = a.auth.still(ctx, who, scope); p != nil {
			return nil, p
		}
		j, err := a.opt.Store.Job(ctx, app, id)
		if err != nil || j.State.Terminal() {
			return j, err
		}
		select {
		case _, ok := <-changed:
			if !ok {
				return j, nil
			}
		case <-who.changed:
		case <-timer.C:
			if p := who.permits(scope, a.now()); p != nil {
				return nil, p
			}
			return j, nil
		case <-ctx.Done():
			return j, nil // nobody listens any more
		}
	}
}

func (v *v1) cancelJob(ctx context.Context, in *JobPath) (*reply[client.Job], error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	// Whole, since a callback's template may speak of the request.
	j, err := v.opt.Store.WholeJob(ctx, appOf(ctx).Name, id)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read job", err)
	}
	at := v.now()
	err = v.opt.Store.FinishRun(whole(ctx), job.Finish{
		Job: j, State: job.Canceled, At: at, Callbacks: v.opt.Owed(j, job.Canceled, at),
	})
	if errors.Is(err, job.ErrTerminal) {
		return nil, kindJobTerminal.problem("")
	}
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "cancel job", err)
	}
	if j, err = v.opt.Store.Job(ctx, appOf(ctx).Name, id); err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read job", err)
	}
	return v.replyJob(ctx, j)
}

func (v *v1) replyJob(ctx context.Context, j *job.Job) (*reply[client.Job], error) {
	doc, err := v.wholeDocument(ctx, j)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read callbacks of job", err)
	}
	return &reply[client.Job]{doc}, nil
}

// wholeDocument is the job as it is shown alone: with its callbacks, and what came back.
func (a *API) wholeDocument(ctx context.Context, j *job.Job) (client.Job, error) {
	callbacks, err := a.callbacksOf(ctx, j)
	if err != nil {
		return client.Job{}, err
	}
	doc := a.showJob(j, callbacks)
	doc.Reply, err = a.replyOf(ctx, callbacks)
	return doc, err
}

// replyOf finds what came back from the first destination that took the callback of
// the job's end, nil where none did. A resend does not make it unsaid.
func (a *API) replyOf(ctx context.Context, callbacks []*job.Callback) (*client.Reply, error) {
	for _, c := range slices.Backward(callbacks) { // the oldest: the first destination's
		if c.State != job.Delivered && c.Round == 0 || !slices.Contains(job.Events, c.Event) {
			continue
		}
		attempts, err := a.opt.Store.Attempts(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		for _, attempt := range slices.Backward(attempts) {
			if attempt.Status/100 == 2 {
				s := showAttempt(attempt)
				return &client.Reply{Callback: c.ID.Callback(), At: s.StartedAt, Status: s.Status, ContentType: s.ContentType,
					Headers: s.Headers, Body: s.Body, BodyBase64: s.BodyBase64, Truncated: s.Truncated}, nil
			}
		}
	}
	return nil, nil
}

func (a *API) callbacksOf(ctx context.Context, j *job.Job) ([]*job.Callback, error) {
	if len(j.Targets) == 0 {
		return nil, nil
	}
	return a.opt.Store.Callbacks(ctx, job.CallbackFilter{App: j.App, JobID: j.ID, Limit: maxJobCallbacks})
}

// jobURL is a job's own URL, relative where there is no public one.
func (a *API) jobURL(id job.ID) string {
	return a.opt.PublicURL + a.opt.Prefix + "/v1/jobs/" + id.Job()
}

func (a *API) links(id job.ID) client.Links {
	self := a.jobURL(id)
	return client.Links{Self: self, Result: self + "/result", Events: self + "/events"}
}

// showTarget is a destination of a job's callbacks as the API shows it.
func showTarget(t *job.Target) client.JobCallback {
	return client.JobCallback{URL: t.URL, Source: string(t.Source), Endpoint: t.Endpoint, Events: words(t.Events), Method: t.Method, Format: t.Format}
}

// bodiesWords are those of what is left of bodies; of whole ones nothing is said.
var bodiesWords = [...]string{job.BodiesWhole: "", job.BodiesRedacted: "redacted", job.BodiesGone: "gone"}

// showJob is a job as the API shows it.
func (a *API) showJob(j *job.Job, callbacks []*job.Callback) client.Job {
	out := client.Job{
		ID: j.ID.Job(), Operation: j.Operation, Status: j.State.String(),
		CreatedAt: client.At(j.CreatedAt), StartedAt: client.At(j.StartedAt), FinishedAt: client.At(j.FinishedAt),
		Attempts: j.Runs, Progress: j.Progress, Links: a.links(j.ID), Bodies: bodiesWords[j.Bodies],
	}
	out.Waiting, out.ScheduledFor, out.ExpiresAt = a.waitingOf(j), client.At(j.ScheduledAt), client.At(j.ExpiresAt)
	if j.Error != nil {
		out.Error = &client.JobError{Code: string(j.Error.Code), Message: j.Error.Message, Detail: j.Error.Detail}
	}
	for i := range j.Targets {
		shown := showTarget(&j.Targets[i])
		if i == 0 {
			out.Callback = shown
		}
		if len(j.Targets) > 1 {
			out.Destinations = append(out.Destinations, shown)
		}
	}
	for _, c := range callbacks {
		s := a.showCallback(c)
		out.Callbacks = append(out.Callbacks, client.JobCallbackStatus{
			ID: s.ID, Event: s.Event, Status: s.Status, Endpoint: s.Endpoint, URL: s.URL, Attempts: s.Attempts,
			NextAttemptAt: s.NextAttemptAt, LastStatus: s.LastStatus, LastError: s.LastError,
		})
	}
	return out
}
