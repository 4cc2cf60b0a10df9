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
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
)

type createAppInput struct {
	Body client.AppCreate
}

type patchAppInput struct {
	Name string `path:"name" doc:"The app's name."`
	Body client.AppPatch
}

func (v *v1) registerApps() {
	tags := []string{"Apps"}
	register(v, adminOnly, huma.Operation{OperationID: "list-apps", Method: http.MethodGet, Path: "/v1/apps",
		Summary: "List apps, newest first", Tags: tags}, v.listApps)
	register(v, adminOnly, huma.Operation{OperationID: "create-app", Method: http.MethodPost, Path: "/v1/apps",
		Summary: "Make an app and its first key", Tags: tags, DefaultStatus: http.StatusCreated}, v.createApp)
	v.registerDeleteApp()
	register(v, adminOnly, huma.Operation{OperationID: "change-app", Method: http.MethodPatch, Path: "/v1/apps/{name}",
		Summary: "Change the policy or the limits of an app", Tags: tags}, v.patchApp)
}

func (v *v1) listApps(ctx context.Context, _ *none) (*reply[client.Page[client.App]], error) {
	found, err := v.opt.Store.ListApps(ctx)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "list apps", err)
	}
	slices.SortStableFunc(found, func(a, b job.App) int { return b.CreatedAt.Compare(a.CreatedAt) })
	out := client.Page[client.App]{Data: make([]client.App, 0, len(found))}
	for _, app := range found {
		out.Data = append(out.Data, showApp(app))
	}
	return &reply[client.Page[client.App]]{out}, nil
}

// appName is how an app can be called.
var appName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (v *v1) patchApp(ctx context.Context, in *patchAppInput) (*reply[client.App], error) {
	if !appName.MatchString(in.Name) {
		return nil, kindNotFound.problem(noSuchApp)
	}
	if in.Body.Policy != nil {
		policy := job.Policy(*in.Body.Policy)
		if err := v.opt.ReadPolicy(&policy); err != nil {
			return nil, faultyBody(ProblemItem{Pointer: "#/policy", Detail: err.Error()})
		}
		if err := v.opt.Store.SetAppPolicy(whole(ctx), in.Name, policy); err != nil {
			return nil, v.appProblem(ctx, "set policy of app", err)
		}
	}
	if in.Body.Limits != nil {
		limits, err := readLimits(in.Body.Limits)
		if err != nil {
			return nil, err
		}
		if err := v.opt.Store.SetAppLimits(whole(ctx), in.Name, limits); err != nil {
			return nil, v.appProblem(ctx, "set limits of app", err)
		}
	}
	app, err := v.opt.Store.App(ctx, in.Name)
	if err != nil {
		return nil, v.appProblem(ctx, "read app", err)
	}
	return &reply[client.App]{showApp(app)}, nil
}

const noSuchApp = "there is no app of this name"

func (v *v1) appProblem(ctx context.Context, doing string, err error) *Problem {
	if errors.Is(err, job.ErrNotFound) {
		return kindNotFound.problem(noSuchApp)
	}
	return storeProblem(ctx, v.opt.Log, doing, err)
}

func showApp(app job.App) client.App {
	return client.App{Name: app.Name, Policy: client.Policy(app.Policy), Limits: showLimits(app.Limits), CreatedAt: client.At(app.CreatedAt), DeletedAt: client.At(app.DeletedAt)}
}

func (v *v1) createApp(ctx context.Context, in *createAppInput) (*reply[client.AppCreated], error) {
	app, key, err := CreateApp(whole(ctx), v.opt.Store, v.opt.Seal, in.Body.Name, v.now())
	if errors.Is(err, job.ErrExists) {
		return nil, kindConflict.problem("there is an app of this name already")
	}
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "create app", err)
	}
	return &reply[client.AppCreated]{client.AppCreated{Name: app.Name, Key: key, CreatedAt: client.At(app.CreatedAt)}}, nil
}

// firstKeyName is what the key is called that an app is made with.
const firstKeyName = "first"

// CreateApp stores an app with a signing secret and its first key, which is known
// to nobody else. It is job.ErrExists where the name is taken.
func CreateApp(ctx context.Context, store job.Apps, s *seal.Sealer, name string, now time.Time) (app job.App, key string, err error) {
	first, key := newKey(name, firstKeyName, now)
	app = job.App{Name: name, CreatedAt: now, Secrets: job.Secrets{Current: sealedSecret(s)}}
	err = store.CreateApp(ctx, app, first)
	return app, key, err
}
