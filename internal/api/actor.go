package api

import (
	"net"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/job"
)

// actor is who sends a request that was let pass, as the audit log names it.
func (a *API) actor(r *http.Request, kind job.ActorKind, app string) job.Actor {
	who := job.Actor{Kind: kind, App: app, Remote: r.RemoteAddr}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		who.Remote = host
	}
	switch {
	case a.opt.Dev:
		who.Kind, who.App = job.ActorDev, ""
	case kind == job.ActorApp:
		// It was found by this key, so that the key is one of ours and has a hint.
		if key, p := presentedKey(r.Header, true); p == nil {
			who.Key = key[:keyHintChars]
		} else if key, p := presentedKey(r.Header, false); p == nil {
			who.Key = key[:keyHintChars]
		}
	}
	return who
}

func withActor(ctx huma.Context, who job.Actor) huma.Context {
	return huma.WithContext(ctx, job.WithActor(ctx.Context(), who))
}
