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
	register(v, managers, huma.Operation{OperationID: "get-secret", Method: http.MethodGet, Path: "/v1/secret",
		Summary: "Show the secret that signs callbacks to URLs sent with a call", Tags: tags}, v.appSecret)
	register(v, managers, huma.Operation{OperationID: "rotate-secret", Method: http.MethodPost, Path: "/v1/secret/rotate",
		Summary: "Replace it; the old one signs too for a day", Tags: tags}, v.rotateAppSecret)
	register(v, managers, huma.Operation{OperationID: "get-endpoint-secret", Method: http.MethodGet, Path: "/v1/endpoints/{name}/secret",
		Summary: "Show the secret that signs callbacks to an endpoint", Tags: tags}, v.endpointSecret)
	register(v, managers, huma.Operation{OperationID: "rotate-endpoint-secret", Method: http.MethodPost, Path: "/v1/endpoints/{name}/secret/rotate",
		Summary: "Replace it; the old one signs too for a day", Tags: tags}, v.rotateEndpointSecret)
}

// sealedSecret makes a signing secret: both its parts.
func sealedSecret(s *seal.Sealer) []byte { return s.Seal([]byte(sign.NewKeys().Reveal()), secretUse) }

// broughtSecret is sealedSecret with a secret that the receiver has already; "" is
// none. pointer is where it stands in the request.
func (a *API) broughtSecret(text, pointer string) ([]byte, error) {
	if text == "" {
		return sealedSecret(a.opt.Seal), nil
	}
	keys, err := sign.NewKeys().WithOwn(text)
	if err != nil {
		return nil, faultyBody(ProblemItem{Pointer: pointer, Detail: err.Error()})
	}
	return a.opt.Seal.Seal([]byte(keys.Reveal()), secretUse), nil
}

func openKeys(s *seal.Sealer, sealed []byte) (sign.Keys, error) {
	plain, err := s.Open(sealed, secretUse)
	if err != nil {
		return sign.Keys{}, err
	}
	return sign.ParseKeys(string(plain))
}

// rotated puts a new secret in the place of the current one.
func (a *API) rotated(s job.Secrets, in *rotateBody) (job.Secrets, error) {
	text := ""
	if in != nil {
		text = in.Secret
	}
	current, err := a.broughtSecret(text, "#/secret")
	return job.Secrets{Current: current, Previous: s.Current, PreviousUntil: a.now().Add(previousSecretLasts)}, err
}

// showSecret shows the secret of an app or, with a name, of an endpoint of it. The
// private key is never shown.
func (v *v1) showSecret(ctx context.Context, s job.Secrets, endpoint string) (*reply[client.Secret], error) {
	keys, err := openKeys(v.opt.Seal, s.Current)
	var public sign.Secret
	if err == nil {
		public, err = keys.Private.Public()
	}
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "open secret", err)
	}
	out := client.Secret{Secret: keys.Shared.Reveal(), PublicKey: public.Reveal(), LegacySecret: keys.Own.Reveal()}
	if s.PreviousUntil.After(v.now()) {
		out.PreviousUntil = client.At(s.PreviousUntil)
	}
	v.keyLinks(&out, appOf(ctx).Name, endpoint)
	return &reply[client.Secret]{out}, nil
}

// rotateBody is what the request for a new secret may bring.
type rotateBody struct {
	Secret string `json:"secret,omitempty" maxLength:"512" doc:"The secret that the receiver has already; none: one is made."`
}

type rotateInput struct {
	Body *rotateBody
}

type rotateEndpointInput struct {
	EndpointPath
	Body *rotateBody
}

func (v *v1) appSecret(ctx context.Context, _ *none) (*reply[client.Secret], error) {
	return v.showSecret(ctx, appOf(ctx).Secrets, "")
}

func (v *v1) rotateAppSecret(ctx context.Context, in *rotateInput) (*reply[client.Secret], error) {
	v.changing.Lock()
	defer v.changing.Unlock()
	app, err := v.opt.Store.App(ctx, appOf(ctx).Name) // the one at hand may be older
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read app", err)
	}
	next, err := v.rotated(app.Secrets, in.Body)
	if err != nil {
		return nil, err
	}
	if err := v.opt.Store.SetAppSecrets(whole(ctx), app.Name, next); err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "rotate secret", err)
	}
	return v.showSecret(ctx, next, "")
}

func (v *v1) endpointSecret(ctx context.Context, in *EndpointPath) (*reply[client.Secret], error) {
	e, err := v.endpoint(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	return v.showSecret(ctx, e.Secrets, e.Name)
}

func (v *v1) rotateEndpointSecret(ctx context.Context, in *rotateEndpointInput) (*reply[client.Secret], error) {
	e, err := v.changeEndpoint(ctx, in.Name, func(e *job.Endpoint) (err error) {
		e.Secrets, err = v.rotated(e.Secrets, in.Body)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v.showSecret(ctx, e.Secrets, e.Name)
}
