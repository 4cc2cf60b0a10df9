package api

import (
	"context"
	"errors"
	"net/http"
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

func (v *v1) registerApps() {
	tags := []string{"Apps"}
	register(v, adminOnly, huma.Operation{OperationID: "list-apps", Method: http.MethodGet, Path: "/v1/apps",
		Summary: "List apps, newest first", Tags: tags}, v.listApps)
	register(v, adminOnly, huma.Operation{OperationID: "create-app", Method: http.MethodPost, Path: "/v1/apps",
		Summary: "Make an app and its first key", Tags: tags, DefaultStatus: http.StatusCreated}, v.createApp)
}

func (v *v1) listApps(ctx context.Context, _ *none) (*reply[client.Page[client.App]], error) {
	found, err := v.opt.Store.ListApps(ctx)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "list apps", err)
	}
	slices.SortStableFunc(found, func(a, b job.App) int { return b.CreatedAt.Compare(a.CreatedAt) })
	out := client.Page[client.App]{Data: make([]client.App, 0, len(found))}
	for _, app := range found {
		out.Data = append(out.Data, client.App{Name: app.Name, CreatedAt: client.At(app.CreatedAt)})
	}
	return &reply[client.Page[client.App]]{out}, nil
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

// CreateApp stores an app with a signing secret and its first key, which is known
// to nobody else. It is job.ErrExists where the name is taken.
func CreateApp(ctx context.Context, store job.Apps, s *seal.Sealer, name string, now time.Time) (app job.App, key string, err error) {
	key = NewKey()
	app = job.App{Name: name, CreatedAt: now, Secrets: job.Secrets{Current: sealedSecret(s)}}
	err = store.CreateApp(ctx, app, job.Key{Hash: HashKey(key), App: name, Hint: key[:keyHintChars], CreatedAt: now})
	return app, key, err
}
