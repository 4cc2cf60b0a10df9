package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
)

type deleteAppInput struct {
	Name    string `path:"name" doc:"The app's name."`
	Confirm string `query:"confirm" doc:"The app's name once more: it cannot be undone."`
}

func (v *v1) registerDeleteApp() {
	register(v, adminOnly, huma.Operation{OperationID: "delete-app", Method: http.MethodDelete, Path: "/v1/apps/{name}",
		Summary: "Delete an app and all that it has", Tags: []string{"Apps"}, DefaultStatus: http.StatusAccepted}, v.deleteApp)
}

func (v *v1) deleteApp(ctx context.Context, in *deleteAppInput) (*reply[client.App], error) {
	if !appName.MatchString(in.Name) {
		return nil, kindNotFound.problem(noSuchApp)
	}
	if in.Confirm != in.Name {
		return nil, kindInvalidParameter.at(place{name: "confirm"}, "must be the app's name").
			withHint("its jobs, callbacks, endpoints and keys are erased, and cannot be brought back")
	}
	if v.opt.Dev && in.Name == DevApp {
		return nil, kindConflict.problem("everything belongs to this app while the gateway runs with --dev")
	}
	if err := v.opt.Store.DeleteApp(whole(ctx), in.Name, v.now()); err != nil {
		return nil, v.appProblem(ctx, "delete app", err)
	}
	deleted, err := v.opt.Store.DeletedApps(ctx)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read deleted apps", err)
	}
	for _, app := range deleted {
		if app.Name == in.Name {
			return &reply[client.App]{showApp(app)}, nil
		}
	}
	return &reply[client.App]{client.App{Name: in.Name, DeletedAt: client.At(v.now())}}, nil // it had nothing
}
