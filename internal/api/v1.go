package api

import (
	"cmp"
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// v1 is what the routes below /v1 are registered with.
type v1 struct {
	*API
	side side
	huma huma.API
}

// The names of the security schemes in the OpenAPI document.
const (
	schemeApp   = "app"
	schemeKey   = "key"
	schemeAdmin = "admin"
)

// access says who may use a route.
type access struct {
	check   func(a *API, ctx huma.Context, want job.Scopes) (huma.Context, *Problem)
	schemes []string // of security; none: anybody
	// keyless says that there is another way in, such as a link.
	keyless bool
	// app says that keys of apps are let pass, with the scope, or if that is zero with
	// the one that goes with the method: read for what changes nothing, else manage.
	app   bool
	scope job.Scopes
}

type callerKey struct{}

var (
	// appOnly lets an app pass and tells the handler which one it is.
	appOnly = access{
		check: func(a *API, ctx huma.Context, want job.Scopes) (huma.Context, *Problem) {
			r, w := humago.Unwrap(ctx)
			who, p := a.authenticateV1(r, want)
			if p == nil && who.rate != nil {
				p = who.rate.take(w.Header(), a.now())
			}
			if p != nil {
				return ctx, p
			}
			return withActor(huma.WithValue(ctx, callerKey{}, who), a.actor(r, who)), nil
		},
		schemes: []string{schemeApp, schemeKey}, app: true,
	}
	// managers is appOnly for routes that show secrets.
	managers = access{check: appOnly.check, schemes: appOnly.schemes, app: true, scope: job.ScopeManage}
	// adminOnly lets the admin key pass.
	adminOnly = access{
		check: func(a *API, ctx huma.Context, _ job.Scopes) (huma.Context, *Problem) {
			r, _ := humago.Unwrap(ctx)
			if p := a.authenticateAdmin(r); p != nil {
				return ctx, p
			}
			return withActor(ctx, a.actor(r, nil)), nil
		},
		schemes: []string{schemeAdmin},
	}
	// linkOrApp lets whoever has a signed link pass, too. The handler checks it.
	linkOrApp = access{
		check: func(a *API, ctx huma.Context, want job.Scopes) (huma.Context, *Problem) {
			if ctx.Query("token") != "" {
				return ctx, nil
			}
			return appOnly.check(a, ctx, want)
		},
		schemes: appOnly.schemes, keyless: true, app: true,
	}
)

// scopeFor is the scope that a key must have for a method of a route.
func (who access) scopeFor(method string) job.Scopes {
	switch {
	case !who.app:
		return 0
	case who.scope != 0:
		return who.scope
	case isRead(method):
		return job.ScopeRead
	}
	return job.ScopeManage
}

// security says it in OpenAPI, whose roles are our scopes.
func (who access) security(scope job.Scopes) (security []map[string][]string) {
	for _, scheme := range who.schemes {
		roles := []string{}
		if scheme != schemeAdmin {
			roles = append(roles, scope.Names()...)
		}
		security = append(security, map[string][]string{scheme: roles})
	}
	if who.keyless || len(who.schemes) == 0 {
		security = append(security, map[string][]string{})
	}
	return security
}

// callerOf is the caller that appOnly found; without one, who has no app.
func callerOf(ctx context.Context) *caller {
	if who, ok := ctx.Value(callerKey{}).(*caller); ok {
		return who
	}
	return &caller{}
}

// appOf is the app that appOnly found.
func appOf(ctx context.Context) job.App { return callerOf(ctx).app }

// reply is a handler's output with a body.
type reply[T any] struct {
	Body T
}

// none is the input of a route that takes none, or the output of one that has none.
type none struct{}

// register adds a route. op needs an id, a method, a path below /v1 and a summary.
func register[I, O any](v *v1, who access, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	who, some := who.onThe(v.side)
	if !some {
		return
	}
	problem := v.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.Problem](), true, "Problem")
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "A problem (RFC 9457)",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
	}
	scope := who.scopeFor(op.Method)
	op.Security = who.security(scope)
	op.Middlewares = huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		ctx, p := who.check(v.API, ctx, scope)
		r, w := humago.Unwrap(ctx)
		var body []byte
		if p == nil {
			body, p = strictRequest(w, r)
		}
		if p == nil && r.ContentLength != 0 {
			p = v.still(ctx, scope)
		}
		if p != nil {
			answerAtOnce(w, r)
			p.write(w)
			return
		}
		next(&strictContext{embedded: ctx, body: body})
	}}
	huma.Register(v.huma, op, handle)
}

// still refuses a request whose key has been revoked while its body came in.
func (v *v1) still(ctx huma.Context, want job.Scopes) *Problem {
	if who := callerOf(ctx.Context()); who.changed != nil {
		_, p := v.auth.still(ctx.Context(), who, want)
		return p
	}
	if who, ok := job.ActorOf(ctx.Context()); ok && who.Kind == job.ActorAdmin {
		r, _ := humago.Unwrap(ctx)
		return v.authenticateAdmin(r)
	}
	return nil
}

// newV1 registers all routes below /v1 of a side with mux.
func (a *API) newV1(mux *http.ServeMux, s side) *v1 {
	v := &v1{API: a, side: s, huma: humago.NewWithPrefix(mux, a.opt.Prefix, a.humaConfig())}
	v.registerJobs()
	v.registerCallbacks()
	v.registerTurns()
	v.registerEndpoints()
	v.registerPauses()
	v.registerSecrets()
	v.registerKeys()
	v.registerAccess()
	v.registerUsage()
	v.registerApps()
	v.registerAudit()
	v.registerCheckURL()
	v.registerRepair()
	v.registerRuns(mux)
	return v
}

func (a *API) humaConfig() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    a.info(),
			Servers: []*huma.Server{{URL: cmp.Or(a.opt.PublicURL+a.opt.Prefix, "/")}},
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: securitySchemes(),
			},
		},
		// "json" is what huma looks up for application/problem+json.
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{ownProblems},
	}
}
