package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

type checkURLInput struct {
	Body client.URLCheck
}

func (v *v1) registerCheckURL() {
	register(v, adminOnly, huma.Operation{OperationID: "check-url", Method: http.MethodPost, Path: "/v1/check-url",
		Summary: "Say what would happen to a callback URL, and why", Tags: []string{"Apps"}}, v.checkURL)
}

func (v *v1) checkURL(ctx context.Context, in *checkURLInput) (*reply[client.URLChecked], error) {
	var app *job.App
	if in.Body.App != "" {
		found, err := v.opt.Store.App(ctx, in.Body.App)
		if err != nil {
			return nil, v.appProblem(ctx, "read app", err)
		}
		app = &found
	}
	var op *job.Operation
	for i := range v.opt.Operations {
		if v.opt.Operations[i].Name == in.Body.Operation {
			op = &v.opt.Operations[i]
		}
	}
	if u := v.opt.Upstream; u != nil && u.Name == in.Body.Operation {
		op = u
	}
	if op == nil && in.Body.Operation != "" {
		return nil, kindNotFound.problem("there is no operation of this name")
	}
	return &reply[client.URLChecked]{v.opt.ExplainURL(ctx, in.Body.URL, op, app)}, nil
}
