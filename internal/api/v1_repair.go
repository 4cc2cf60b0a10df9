package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// Repair plans bulks, and explains why callbacks have not arrived.
type Repair interface {
	Plan(ctx context.Context, b *job.Bulk) (client.BulkPlan, error)
	Why(ctx context.Context, app string, callback job.ID) (client.Why, error)
	WhyJob(ctx context.Context, app string, id job.ID) (client.JobWhy, error)
}

// What may be wrong with a bulk.
var (
	kindTooManyBulks = newKind(http.StatusConflict, "too_many_bulks", "As many bulks of the app run as may")
	kindBulkEnded    = newKind(http.StatusConflict, "bulk_ended", "The bulk has already come to its end")
)

type createBulkInput struct {
	Body client.BulkRequest
}

type bulkInput struct {
	ID string `path:"id" doc:"The bulk's id."`
}

// bulkOutput is a bulk that was made, or planned.
type bulkOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     client.Bulk
}

type deadInput struct {
	Cursor    string `query:"cursor" maxLength:"1024" doc:"The next of the page before."`
	Limit     int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most."`
	Endpoint  string `query:"endpoint" maxLength:"64" doc:"Only those to this endpoint."`
	Origin    string `query:"origin" maxLength:"300" doc:"Only those to URLs sent with a call, below this origin."`
	Operation string `query:"operation" maxLength:"64" doc:"Only those of this operation."`
	Error     string `query:"error" maxLength:"64" doc:"Only those of this error class."`
}

func (v *v1) registerRepair() {
	tags := []string{"Repair"}
	register(v, appOnly, huma.Operation{OperationID: "explain-callback", Method: http.MethodGet, Path: "/v1/callbacks/{id}/why",
		Summary: "Why has a callback not arrived?", Tags: tags}, v.explainCallback)
	register(v, appOnly, huma.Operation{OperationID: "explain-job", Method: http.MethodGet, Path: "/v1/jobs/{id}/why",
		Summary: "Why have the callbacks of a job not arrived?", Tags: tags}, v.explainJob)
	register(v, appOnly, huma.Operation{OperationID: "list-dead", Method: http.MethodGet, Path: "/v1/dead",
		Summary: "List dead callbacks by destination and error class", Tags: tags}, v.listDead)
	register(v, appOnly, huma.Operation{OperationID: "create-bulk", Method: http.MethodPost, Path: "/v1/bulk",
		Summary: "Resend or discard many callbacks, or cancel many jobs", Tags: tags, DefaultStatus: http.StatusAccepted,
		Description: "Answers 202 and goes on in the background, or with dry_run 200 and what it would be."}, v.createBulk)
	register(v, appOnly, huma.Operation{OperationID: "list-bulks", Method: http.MethodGet, Path: "/v1/bulk",
		Summary: "List bulks, newest first", Tags: tags}, v.listBulks)
	register(v, appOnly, huma.Operation{OperationID: "get-bulk", Method: http.MethodGet, Path: "/v1/bulk/{id}",
		Summary: "Get how far a bulk is", Tags: tags}, v.getBulk)
	register(v, appOnly, huma.Operation{OperationID: "stop-bulk", Method: http.MethodPost, Path: "/v1/bulk/{id}/stop",
		Summary: "Stop a bulk; what was done is done", Tags: tags}, v.stopBulk)
}

func (v *v1) explainCallback(ctx context.Context, in *callbackInput) (*reply[client.Why], error) {
	id, ok := job.ParseCallback(in.ID)
	if !ok {
		return nil, kindNotFound.problem(noSuchThing)
	}
	why, err := v.opt.Repair.Why(ctx, appOf(ctx).Name, id)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "explain a callback", err)
	}
	return &reply[client.Why]{why}, nil
}

func (v *v1) explainJob(ctx context.Context, in *JobPath) (*reply[client.JobWhy], error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	why, err := v.opt.Repair.WhyJob(ctx, appOf(ctx).Name, id)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "explain a job", err)
	}
	return &reply[client.JobWhy]{why}, nil
}

func (v *v1) listDead(ctx context.Context, in *deadInput) (*reply[client.Page[client.DeadLetters]], error) {
	size := Paging{Limit: in.Limit}.size()
	f := job.DeadFilter{App: appOf(ctx).Name, Endpoint: in.Endpoint, Operation: in.Operation, Error: job.Class(in.Error), Limit: size + 1}
	if f.Error != "" {
		if _, ok := f.Error.Info(); !ok {
			return nil, badParameter("error", "there is no such error class")
		}
	}
	if in.Origin != "" {
		if in.Endpoint != "" {
			return nil, badParameter("origin", "give an endpoint or an origin, not both")
		}
		if f.Origin = job.Origin(in.Origin); f.Origin == "" {
			return nil, badParameter("origin", "this is not an origin such as https://my.server")
		}
	}
	if in.Cursor != "" {
		text, err := cursorEncoding.DecodeString(in.Cursor)
		lane, class, ok := strings.Cut(string(text), "\n")
		if err != nil || !ok {
			return nil, kindInvalidCursor.problem("")
		}
		f.AfterLane, f.AfterError = f.App+" "+lane, job.Class(class)
	}
	found, err := v.opt.Store.DeadLetters(ctx, f)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "group dead callbacks", err)
	}
	out := client.Page[client.DeadLetters]{Data: make([]client.DeadLetters, 0, min(len(found), size))}
	for i, g := range found {
		if i == size {
			last := found[i-1]
			next := cursorEncoding.EncodeToString([]byte(destinationOf(last.Lane) + "\n" + string(last.Error)))
			out.Next = &next
			break
		}
		out.Data = append(out.Data, showDead(g))
	}
	return &reply[client.Page[client.DeadLetters]]{out}, nil
}

// destinationOf is a lane without its app: the name of an endpoint, or an origin.
func destinationOf(lane string) string {
	_, name, _ := strings.Cut(lane, " ")
	return name
}

func showDead(g job.DeadGroup) client.DeadLetters {
	info, _ := g.Error.Info()
	out := client.DeadLetters{Endpoint: destinationOf(g.Lane), Error: string(g.Error), Side: string(info.Side), Means: info.Means, Do: info.Do,
		Count: g.Count, Oldest: client.At(g.Oldest), Newest: client.At(g.Newest)}
	if strings.Contains(out.Endpoint, "://") {
		out.Endpoint, out.Origin = "", out.Endpoint
	}
	return out
}

func (v *v1) createBulk(ctx context.Context, in *createBulkInput) (*bulkOutput, error) {
	now := v.now()
	b := &job.Bulk{ID: v.opt.Store.NewID(now), App: appOf(ctx).Name, Action: job.BulkAction(in.Body.Action), State: job.BulkRunning, CreatedAt: now}
	if err := bulkFilter(b, &in.Body.Filter); err != nil {
		return nil, err
	}
	if in.Body.DryRun {
		plan, err := v.opt.Repair.Plan(ctx, b)
		if err != nil {
			return nil, storeProblem(ctx, v.opt.Log, "plan a bulk", err)
		}
		b.Who, _ = job.ActorOf(ctx)
		out := showBulk(b)
		out.ID, out.Status, out.Total, out.Plan = "", client.BulkPlanned, &plan.Matched, &plan
		return &bulkOutput{Status: http.StatusOK, Body: out}, nil
	}
	if err := v.opt.Store.CreateBulk(whole(ctx), b); err != nil {
		if errors.Is(err, job.ErrTooMany) {
			return nil, kindTooManyBulks.problem(fmt.Sprintf("%d may run at once", job.MaxOpenBulks)).withHint("wait for one to end, or stop one with POST /v1/bulk/{id}/stop")
		}
		return nil, storeProblem(ctx, v.opt.Log, "create a bulk", err)
	}
	return &bulkOutput{Status: http.StatusAccepted, Location: v.opt.PublicURL + v.opt.Prefix + "/v1/bulk/" + b.ID.Bulk(), Body: showBulk(b)}, nil
}

// badField is the problem of one member of the body.
func badField(pointer, detail string) *Problem {
	p := kindInvalidParameter.problem(detail)
	p.Errors = []ProblemItem{{Detail: detail, Pointer: pointer}}
	return p
}

// bulkFilter reads what a bulk is about.
func bulkFilter(b *job.Bulk, in *client.BulkFilter) error {
	b.Filter = job.BulkFilter{Endpoint: in.Endpoint, Operation: in.Operation, Event: job.Event(in.Event), Error: job.Class(in.Error),
		Since: in.Since.Time, Until: in.Until.Time}
	f := &b.Filter
	if b.Action == job.BulkCancel && (in.Endpoint != "" || in.Origin != "" || in.Event != "" || in.Error != "") {
		return badField("#/filter", "jobs to cancel are found by operation, status, since and until")
	}
	if in.Origin != "" {
		if in.Endpoint != "" {
			return badField("#/filter/origin", "give an endpoint or an origin, not both")
		}
		if f.Origin = job.Origin(in.Origin); f.Origin == "" {
			return badField("#/filter/origin", "this is not an origin such as https://my.server")
		}
	}
	if _, ok := f.Error.Info(); f.Error != "" && !ok {
		return badField("#/filter/error", "there is no such error class")
	}
	if !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return badField("#/filter/until", "until is not after since")
	}
	for i, word := range in.Status {
		pointer := fmt.Sprintf("#/filter/status/%d", i)
		if b.Action == job.BulkCancel {
			state, ok := job.ParseState(word)
			if !ok || state.Terminal() {
				return badField(pointer, "jobs that are canceled are accepted, running or waiting")
			}
			f.JobStates = append(f.JobStates, state)
			continue
		}
		state, ok := job.ParseCallbackState(word)
		if !ok || !slices.Contains(b.Action.States(), state) {
			return badField(pointer, fmt.Sprintf("a callback that is to %s is one of %s", b.Action, callbackWords(b.Action.States())))
		}
		f.States = append(f.States, state)
	}
	return nil
}

func callbackWords(states []job.CallbackState) string {
	var all []string
	for _, s := range states {
		all = append(all, s.String())
	}
	return strings.Join(all, ", ")
}

func (v *v1) listBulks(ctx context.Context, in *Paging) (*reply[client.Page[client.Bulk]], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	found, err := v.opt.Store.ListBulks(ctx, job.BulksFilter{App: appOf(ctx).Name, Before: before, Limit: in.size() + 1})
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "list bulks", err)
	}
	return &reply[client.Page[client.Bulk]]{page(found, in.size(), func(b *job.Bulk) job.ID { return b.ID }, showBulk)}, nil
}

func (v *v1) getBulk(ctx context.Context, in *bulkInput) (*reply[client.Bulk], error) {
	id, ok := job.ParseBulk(in.ID)
	if !ok {
		return nil, kindNotFound.problem(noSuchThing)
	}
	b, err := v.opt.Store.Bulk(ctx, appOf(ctx).Name, id)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read a bulk", err)
	}
	return &reply[client.Bulk]{showBulk(b)}, nil
}

func (v *v1) stopBulk(ctx context.Context, in *bulkInput) (*reply[client.Bulk], error) {
	id, ok := job.ParseBulk(in.ID)
	if !ok {
		return nil, kindNotFound.problem(noSuchThing)
	}
	b, err := v.opt.Store.StopBulk(whole(ctx), appOf(ctx).Name, id, v.now())
	if errors.Is(err, job.ErrTerminal) {
		return nil, kindBulkEnded.problem("")
	}
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "stop a bulk", err)
	}
	return &reply[client.Bulk]{showBulk(b)}, nil
}

// showBulk is a bulk as the API shows it.
func showBulk(b *job.Bulk) client.Bulk {
	f := &b.Filter
	out := client.Bulk{ID: b.ID.Bulk(), Action: string(b.Action), Status: string(b.State), CreatedAt: client.At(b.CreatedAt), EndedAt: client.At(b.EndedAt),
		Actor:  client.AuditActor{Kind: string(b.Who.Kind), App: b.Who.App, Key: b.Who.Key, Remote: b.Who.Remote},
		Filter: client.BulkFilter{Endpoint: f.Endpoint, Origin: f.Origin, Operation: f.Operation, Event: string(f.Event), Error: string(f.Error), Since: client.At(f.Since), Until: client.At(f.Until)},
		Done:   b.Done, Skipped: b.Skipped}
	for _, s := range f.States {
		out.Filter.Status = append(out.Filter.Status, s.String())
	}
	for _, s := range f.JobStates {
		out.Filter.Status = append(out.Filter.Status, s.String())
	}
	if b.Counted {
		out.Total = &b.Total
	}
	for _, lane := range b.Behind {
		out.Behind = append(out.Behind, destinationOf(lane.Lane))
	}
	return out
}
