package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/job"
)

// actor is who sends a request that was let pass, as the audit log names it: an app
// by its key, or with nil the one who has the admin key.
func (a *API) actor(r *http.Request, who *caller) job.Actor {
	actor := job.Actor{Kind: job.ActorAdmin}
	if from := a.opt.Proxies.remote(r); from.IsValid() {
		actor.Remote = from.String()
	}
	switch {
	case a.opt.Dev:
		actor.Kind = job.ActorDev
	case who != nil:
		actor.Kind, actor.App, actor.Key = job.ActorApp, who.app.Name, who.key.Hint
	}
	return actor
}

func withActor(ctx huma.Context, who job.Actor) huma.Context {
	return huma.WithContext(ctx, job.WithActor(ctx.Context(), who))
}
