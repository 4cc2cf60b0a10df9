package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

func (v *v1) registerUsage() {
	tags := []string{"Limits"}
	register(v, appOnly, huma.Operation{OperationID: "get-usage", Method: http.MethodGet, Path: "/v1/usage",
		Summary: "Get what the app has, and what it may have", Tags: tags}, func(ctx context.Context, _ *none) (*reply[client.Usage], error) {
		return v.usage(ctx, appOf(ctx))
	})
	register(v, adminOnly, huma.Operation{OperationID: "get-app-usage", Method: http.MethodGet, Path: "/v1/apps/{name}/usage",
		Summary: "Get what an app has, and what it may have", Tags: tags}, func(ctx context.Context, in *AppName) (*reply[client.Usage], error) {
		if !appName.MatchString(in.App) {
			return nil, kindNotFound.problem(noSuchApp)
		}
		app, err := v.opt.Store.App(ctx, in.App)
		if err != nil {
			return nil, v.appProblem(ctx, "read app", err)
		}
		return v.usage(ctx, app)
	})
}

func (v *v1) usage(ctx context.Context, app job.App) (*reply[client.Usage], error) {
	u, err := v.opt.Store.Usage(ctx, app.Name)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "count what an app has", err)
	}
	return &reply[client.Usage]{client.Usage{App: app.Name, Jobs: u.Jobs, Bytes: u.Bytes, Endpoints: u.Endpoints,
		Limits: showLimits(app.Limits.Or(v.opt.Limits))}}, nil
}

func showLimits(l job.Limits) client.Limits {
	return client.Limits{Calls: l.CallsText(), Jobs: l.Jobs, Bytes: l.Bytes, Endpoints: l.Endpoints}
}

// readLimits reads what a patch says, whose numbers huma has checked.
func readLimits(in *client.Limits) (l job.Limits, err error) {
	l = job.Limits{Jobs: in.Jobs, Bytes: in.Bytes, Endpoints: in.Endpoints}
	if in.Calls != "" {
		if l.Calls, l.Per, err = job.ParseCalls(in.Calls); err != nil {
			return l, faultyBody(ProblemItem{Pointer: "#/limits/calls", Detail: err.Error()})
		}
	}
	return l, nil
}
