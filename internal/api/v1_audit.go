package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// adminOrApp lets the admin key pass, and an app for what is its own: appOf tells
// which, without a name for the admin.
var adminOrApp = access{
	check: func(a *API, ctx huma.Context, want job.Scopes) (huma.Context, *Problem) {
		admin, p := adminOnly.check(a, ctx, want)
		if p != nil && p.Status == http.StatusForbidden {
			return appOnly.check(a, ctx, want)
		}
		return admin, p
	},
	schemes: []string{schemeAdmin, schemeApp, schemeKey}, app: true,
}

type listAuditInput struct {
	Paging
	App     string `query:"app" maxLength:"64" doc:"Only what is this app's; for the admin key."`
	Actor   string `query:"actor" enum:"admin,app,dev,control,gateway" doc:"Only what was done by this kind of actor."`
	Action  string `query:"action" maxLength:"64" doc:"Only this action."`
	Subject string `query:"subject" maxLength:"128" doc:"Only what was done to this name or id."`
	Since   string `query:"since" doc:"Only what is not older than this (RFC 3339)."`
	Until   string `query:"until" doc:"Only what is older than this (RFC 3339)."`
}

func (v *v1) registerAudit() {
	register(v, adminOrApp, huma.Operation{OperationID: "list-audit", Method: http.MethodGet, Path: "/v1/audit",
		Summary: "List what was changed, newest first", Tags: []string{"Audit"}}, v.listAudit)
}

func (v *v1) listAudit(ctx context.Context, in *listAuditInput) (*reply[client.Page[client.Audit]], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	f := job.AuditFilter{App: in.App, Kind: job.ActorKind(in.Actor), Action: job.Action(in.Action), Subject: in.Subject, Before: before, Limit: in.size() + 1}
	own := appOf(ctx).Name
	if own != "" && f.App != "" && f.App != own {
		return nil, badParameter("app", "an app sees its own only")
	}
	if own != "" {
		f.App = own
	}
	if in.Action != "" && !f.Action.Known() {
		return nil, badParameter("action", "there is no such action")
	}
	if f.Since, err = timeOf("since", in.Since); err != nil {
		return nil, err
	}
	if f.Until, err = timeOf("until", in.Until); err != nil {
		return nil, err
	}
	found, err := v.opt.Store.AuditLog(ctx, f)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read audit log", err)
	}
	return &reply[client.Page[client.Audit]]{page(found, in.size(), func(e job.Audit) job.ID { return e.ID },
		func(e job.Audit) client.Audit { return showAudit(e, own) })}, nil
}

// timeOf reads a parameter that is a time, the zero one where it is empty.
func timeOf(name, text string) (at time.Time, err error) {
	if text == "" {
		return at, nil
	}
	if at, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return at, badParameter(name, "this is not a time such as 2026-03-01T12:00:00Z")
	}
	return at, nil
}

// showAudit is an entry as the API shows it to an app, or with an empty name to the
// admin. Where others work from is no app's business.
func showAudit(e job.Audit, app string) client.Audit {
	out := client.Audit{ID: e.ID.Audit(), At: client.At(e.At), Action: string(e.Action), App: e.App, Subject: e.Subject, Detail: e.Detail,
		Actor: client.AuditActor{Kind: string(e.Actor.Kind), App: e.Actor.App, Key: e.Actor.Key, Remote: e.Actor.Remote}}
	if app != "" && e.Actor.App != app {
		out.Actor.Remote = ""
	}
	return out
}
