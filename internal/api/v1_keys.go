package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// keysMaxAge is how long public keys may be kept by a cache. A new key signs at
// once, so a receiver that meets an unknown one asks again.
const keysMaxAge = 5 * time.Minute

// anyone may use a route.
var anyone = access{
	check: func(_ *API, ctx huma.Context, _ job.Scopes) (huma.Context, *Problem) { return ctx, nil },
}

// appKeysInput names an app, endpointKeysInput an endpoint of one, to whoever knows
// their names.
type appKeysInput struct {
	App string `path:"app" doc:"The app's name."`
}

type endpointKeysInput struct {
	App  string `path:"app" doc:"The app's name."`
	Name string `path:"name" doc:"The endpoint's name."`
}

// keysOutput is a document of public keys.
type keysOutput struct {
	CacheControl string `header:"Cache-Control"`
	ResourceOK   string `header:"Cross-Origin-Resource-Policy"`
	ContentType  string `header:"Content-Type"`
	Body         []byte
}

const (
	typeJWKS  = "application/jwk-set+json"
	typePlain = "text/plain; charset=utf-8"
)

func (v *v1) registerKeys() {
	for _, route := range []struct {
		id, path, what, media string
		schema                *huma.Schema
		write                 func([]sign.Secret) ([]byte, error)
	}{
		{"jwks", "jwks.json", "a JSON Web Key Set (RFC 7517, RFC 8037)", typeJWKS, jwksSchema(), writeJWKS},
		{"public-keys", "public-keys", "lines of whpk_…", "text/plain", &huma.Schema{Type: "string"}, writePlain},
	} {
		responses := func() map[string]*huma.Response {
			return map[string]*huma.Response{"200": {Description: "The current key, and the one before it as long as it signs, too",
				Content: map[string]*huma.MediaType{route.media: {Schema: route.schema}}}}
		}
		tags := []string{"Public keys"}
		register(v, anyone, huma.Operation{OperationID: "get-" + route.id, Method: http.MethodGet, Path: "/v1/apps/{app}/" + route.path,
			Summary: "Public keys of callbacks to URLs sent with a call, as " + route.what, Tags: tags, Responses: responses()},
			func(ctx context.Context, in *appKeysInput) (*keysOutput, error) {
				app, err := v.opt.Store.App(ctx, in.App)
				return v.publicKeys(ctx, app.Secrets, err, route.media, route.write)
			})
		register(v, anyone, huma.Operation{OperationID: "get-endpoint-" + route.id, Method: http.MethodGet, Path: "/v1/apps/{app}/endpoints/{name}/" + route.path,
			Summary: "Public keys of callbacks to an endpoint, as " + route.what, Tags: tags, Responses: responses()},
			func(ctx context.Context, in *endpointKeysInput) (*keysOutput, error) {
				e, err := v.opt.Store.Endpoint(ctx, in.App, in.Name)
				return v.publicKeys(ctx, e.Secrets, err, route.media, route.write)
			})
	}
}

func jwksSchema() *huma.Schema {
	text := func(description string) *huma.Schema { return &huma.Schema{Type: "string", Description: description} }
	return &huma.Schema{Type: "object", Required: []string{"keys"}, Properties: map[string]*huma.Schema{
		"keys": {Type: "array", Items: &huma.Schema{Type: "object", Required: []string{"kty", "crv", "x", "kid"}, Properties: map[string]*huma.Schema{
			"kty": text("OKP"), "crv": text("Ed25519"), "x": text("The key, in base64url."), "kid": text("The key's thumbprint (RFC 7638), as in keyid."),
			"use": text("sig"), "alg": text("EdDSA")}}}}}
}

// publicKeys is the answer with the public halves of secrets, or with err, which is
// what reading these brought.
func (v *v1) publicKeys(ctx context.Context, s job.Secrets, err error, media string, write func([]sign.Secret) ([]byte, error)) (*keysOutput, error) {
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "read public keys", err)
	}
	keys, maxAge, err := v.openPublic(s)
	var body []byte
	if err == nil {
		body, err = write(keys)
	}
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "open public keys", err)
	}
	if media == "text/plain" {
		media = typePlain
	}
	return &keysOutput{CacheControl: fmt.Sprintf("public, max-age=%d", int(maxAge.Seconds())), ResourceOK: "cross-origin", ContentType: media, Body: body}, nil
}

// openPublic returns the public keys that sign now, and how long that is good for.
func (v *v1) openPublic(s job.Secrets) (keys []sign.Secret, maxAge time.Duration, err error) {
	maxAge = keysMaxAge
	sealed := [][]byte{s.Current}
	if left := s.PreviousUntil.Sub(v.now()); left > 0 {
		sealed, maxAge = append(sealed, s.Previous), min(maxAge, left)
	}
	for _, one := range sealed {
		k, err := openKeys(v.opt.Seal, one)
		if err != nil {
			return nil, 0, err
		}
		public, err := k.Private.Public()
		if err != nil {
			return nil, 0, err
		}
		keys = append(keys, public)
	}
	return keys, maxAge, nil
}

func writeJWKS(keys []sign.Secret) ([]byte, error) {
	set := struct {
		Keys []sign.JWK `json:"keys"`
	}{}
	for _, k := range keys {
		jwk, err := k.JWK()
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jwk)
	}
	return json.Marshal(set)
}

func writePlain(keys []sign.Secret) ([]byte, error) {
	var lines strings.Builder
	for _, k := range keys {
		lines.WriteString(k.Reveal() + "\n")
	}
	return []byte(lines.String()), nil
}

// keyLinks adds where the public keys of an app, or of an endpoint of it, are.
func (v *v1) keyLinks(out *client.Secret, app, endpoint string) {
	at := v.opt.PublicURL + v.opt.Prefix + "/v1/apps/" + url.PathEscape(app)
	if endpoint != "" {
		at += "/endpoints/" + url.PathEscape(endpoint)
	}
	out.JWKSURL, out.PublicKeysURL = at+"/jwks.json", at+"/public-keys"
}
