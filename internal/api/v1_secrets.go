package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

const (
	secretUse = "secret" // of the sealer
	// previousSecretLasts is how long a replaced secret still signs.
	previousSecretLasts = 24 * time.Hour
)

func (v *v1) registerSecrets() {
	tags := []string{"Secrets"}
	register(v, appOnly, huma.Operation{OperationID: "get-secret", Method: http.MethodGet, Path: "/v1/secret",
		Summary: "Show the secret that signs callbacks to URLs sent with a call", Tags: tags}, v.appSecret)
	register(v, appOnly, huma.Operation{OperationID: "rotate-secret", Method: http.MethodPost, Path: "/v1/secret/rotate",
		Summary: "Replace it; the old one signs too for a day", Tags: tags}, v.rotateAppSecret)
	register(v, appOnly, huma.Operation{OperationID: "get-endpoint-secret", Method: http.MethodGet, Path: "/v1/endpoints/{name}/secret",
		Summary: "Show the secret that signs callbacks to an endpoint", Tags: tags}, v.endpointSecret)
	register(v, appOnly, huma.Operation{OperationID: "rotate-endpoint-secret", Method: http.MethodPost, Path: "/v1/endpoints/{name}/secret/rotate",
		Summary: "Replace it; the old one signs too for a day", Tags: tags}, v.rotateEndpointSecret)
}

// sealedSecret makes a signing secret.
func sealedSecret(s *seal.Sealer) []byte { return s.Seal([]byte(sign.NewSecret().Reveal()), secretUse) }

// rotated puts a new secret in the place of the current one.
func (a *API) rotated(s job.Secrets) job.Secrets {
	return job.Secrets{Current: sealedSecret(a.opt.Seal), Previous: s.Current, PreviousUntil: a.now().Add(previousSecretLasts)}
}

func (v *v1) showSecret(ctx context.Context, s job.Secrets) (*reply[client.Secret], error) {
	plain, err := v.opt.Seal.Open(s.Current, secretUse)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "open secret", err)
	}
	out := client.Secret{Secret: string(plain)}
	if s.PreviousUntil.After(v.now()) {
		out.PreviousUntil = client.At(s.PreviousUntil)
	}
	return &reply[client.Secret]{out}, nil
}

func (v *v1) appSecret(ctx context.Context, _ *none) (*reply[client.Secret], error) {
	return v.showSecret(ctx, appOf(ctx).Secrets)
}

func (v *v1) rotateAppSecret(ctx context.Context, _ *none) (*reply[client.Secret], error) {
	v.changing.Lock()
	defer v.changing.Unlock()
	app, err := v.opt.Store.App(ctx, appOf(ctx).Name) // the one at hand may be older
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read app", err)
	}
	next := v.rotated(app.Secrets)
	if err := v.opt.Store.SetAppSecrets(whole(ctx), app.Name, next); err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "rotate secret", err)
	}
	return v.showSecret(ctx, next)
}

func (v *v1) endpointSecret(ctx context.Context, in *EndpointPath) (*reply[client.Secret], error) {
	e, err := v.endpoint(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return v.showSecret(ctx, e.Secrets)
}

func (v *v1) rotateEndpointSecret(ctx context.Context, in *EndpointPath) (*reply[client.Secret], error) {
	e, err := v.changeEndpoint(ctx, in.Name, func(e *job.Endpoint) error {
		e.Secrets = v.rotated(e.Secrets)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return v.showSecret(ctx, e.Secrets)
}
