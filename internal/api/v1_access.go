package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// What may be wrong with a key that is to be made, or with the admin key.
var (
	kindTooManyKeys   = newKind(http.StatusConflict, "too_many_keys", "The app has as many keys as it may")
	kindKeyEscalates  = newKind(http.StatusForbidden, "key_exceeds_own", "A key cannot hand on more than it has itself")
	kindAdminKeyFixed = newKind(http.StatusConflict, "admin_key_configured", "The admin key is set by the configuration")
)

// maxKeys bounds the keys of an app.
const maxKeys = 100

// AppName names an app.
type AppName struct {
	App string `path:"name" doc:"The app's name."`
}

type createKeyInput struct {
	Body client.KeyCreate
}

type createKeyOfAppInput struct {
	AppName
	Body client.KeyCreate
}

type keyInput struct {
	ID string `path:"id" doc:"The key's id."`
}

type keyOfAppInput struct {
	AppName
	ID string `path:"id" doc:"The key's id."`
}

func (v *v1) registerAccess() {
	tags := []string{"Keys"}
	register(v, managers, huma.Operation{OperationID: "list-keys", Method: http.MethodGet, Path: "/v1/keys",
		Summary: "List the app's keys, newest first", Tags: tags}, func(ctx context.Context, _ *none) (*reply[client.Page[client.Key]], error) {
		return v.listKeys(ctx, appOf(ctx).Name)
	})
	register(v, managers, huma.Operation{OperationID: "create-key", Method: http.MethodPost, Path: "/v1/keys",
		Summary: "Make a key, which has no more scopes and no longer time than the one that is used for it", Tags: tags, DefaultStatus: http.StatusCreated},
		func(ctx context.Context, in *createKeyInput) (*reply[client.KeyCreated], error) {
			return v.createOwnKey(ctx, callerOf(ctx), in.Body)
		})
	register(v, managers, huma.Operation{OperationID: "revoke-key", Method: http.MethodDelete, Path: "/v1/keys/{id}",
		Summary: "Revoke a key, at once", Tags: tags}, func(ctx context.Context, in *keyInput) (*none, error) {
		return v.revokeKey(ctx, appOf(ctx).Name, in.ID)
	})
	register(v, adminOnly, huma.Operation{OperationID: "list-app-keys", Method: http.MethodGet, Path: "/v1/apps/{name}/keys",
		Summary: "List the keys of an app, newest first", Tags: tags}, func(ctx context.Context, in *AppName) (*reply[client.Page[client.Key]], error) {
		if err := v.appExists(ctx, in.App); err != nil {
			return nil, err
		}
		return v.listKeys(ctx, in.App)
	})
	register(v, adminOnly, huma.Operation{OperationID: "create-app-key", Method: http.MethodPost, Path: "/v1/apps/{name}/keys",
		Summary: "Make a key of an app", Tags: tags, DefaultStatus: http.StatusCreated},
		func(ctx context.Context, in *createKeyOfAppInput) (*reply[client.KeyCreated], error) {
			if err := v.appExists(ctx, in.App); err != nil {
				return nil, err
			}
			return v.createKey(ctx, in.App, in.Body, &job.Key{Scopes: job.AllScopes})
		})
	register(v, adminOnly, huma.Operation{OperationID: "revoke-app-key", Method: http.MethodDelete, Path: "/v1/apps/{name}/keys/{id}",
		Summary: "Revoke a key of an app, at once", Tags: tags}, func(ctx context.Context, in *keyOfAppInput) (*none, error) {
		return v.revokeKey(ctx, in.App, in.ID)
	})
	register(v, adminOnly, huma.Operation{OperationID: "rotate-admin-key", Method: http.MethodPost, Path: "/v1/admin-key/rotate",
		Summary: "Replace the admin key, at once", Tags: tags}, v.rotateAdminKey)
}

// appExists tells an app without keys from none.
func (v *v1) appExists(ctx context.Context, name string) error {
	if !appName.MatchString(name) {
		return kindNotFound.problem(noSuchApp)
	}
	if _, err := v.opt.Store.App(ctx, name); err != nil {
		return v.appProblem(ctx, "read app", err)
	}
	return nil
}

func (v *v1) listKeys(ctx context.Context, app string) (*reply[client.Page[client.Key]], error) {
	keys, err := v.opt.Store.Keys(ctx, app, maxKeys)
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "list keys", err)
	}
	slices.Reverse(keys)
	out := client.Page[client.Key]{Data: make([]client.Key, 0, len(keys))}
	for i := range keys {
		out.Data = append(out.Data, v.showKey(&keys[i]))
	}
	return &reply[client.Page[client.Key]]{out}, nil
}

func (v *v1) showKey(k *job.Key) client.Key {
	return client.Key{ID: k.ID.APIKey(), Name: k.Name, Hint: k.Hint, Scopes: k.Scopes.Names(), CreatedAt: client.At(k.CreatedAt),
		ExpiresAt: client.At(k.ExpiresAt), LastUsedAt: client.At(v.auth.lastUse(k))}
}

// createOwnKey makes a key with another one. Where that was revoked meanwhile nobody
// learns the new one, and it goes.
func (v *v1) createOwnKey(ctx context.Context, who *caller, in client.KeyCreate) (*reply[client.KeyCreated], error) {
	made, err := v.createKey(ctx, who.app.Name, in, &who.key)
	if err != nil {
		return nil, err
	}
	if _, p := v.auth.still(ctx, who, job.ScopeManage); p != nil {
		if _, err := v.revokeKey(ctx, who.app.Name, made.Body.ID); err != nil {
			return nil, err
		}
		return nil, p
	}
	return made, nil
}

// createKey makes a key of an app, of no more than what own permits.
func (v *v1) createKey(ctx context.Context, app string, in client.KeyCreate, own *job.Key) (*reply[client.KeyCreated], error) {
	now := v.now()
	k, key := newKey(app, in.Name, now)
	k.Scopes = own.Scopes
	if in.Scopes != nil {
		k.Scopes, _ = job.ParseScopes(in.Scopes) // huma has checked the words
	}
	if in.ExpiresAt != nil {
		k.ExpiresAt = in.ExpiresAt.Time
	} else {
		k.ExpiresAt = own.ExpiresAt
	}
	switch {
	case slices.ContainsFunc([]rune(in.Name), unicode.IsControl):
		return nil, faultyBody(ProblemItem{Pointer: "#/name", Detail: "a name has no control characters"})
	case k.Expired(now), in.ExpiresAt != nil && k.ExpiresAt.IsZero(): // the zero time is none
		return nil, faultyBody(ProblemItem{Pointer: "#/expires_at", Detail: "this time has passed"})
	case !own.Scopes.Has(k.Scopes):
		return nil, kindKeyEscalates.problem("the key in use has the scopes " + own.Scopes.String()).
			withHint("ask whoever has the admin key")
	case !own.ExpiresAt.IsZero() && k.ExpiresAt.After(own.ExpiresAt):
		return nil, kindKeyEscalates.problem("the key in use expires at " + client.At(own.ExpiresAt).String()).
			withHint("ask whoever has the admin key")
	}
	switch err := v.opt.Store.CreateKey(whole(ctx), k, maxKeys); {
	case errors.Is(err, job.ErrTooMany):
		return nil, kindTooManyKeys.problem(fmt.Sprintf("an app may have %d keys", maxKeys)).withHint("revoke one that is not used")
	case err != nil:
		return nil, v.appProblem(ctx, "create key", err)
	}
	return &reply[client.KeyCreated]{client.KeyCreated{Key: v.showKey(&k), Value: key}}, nil
}

// newKey makes a key that permits everything and never expires.
func newKey(app, name string, now time.Time) (job.Key, string) {
	key := NewKey()
	return job.Key{ID: new(job.IDs).New(now), Hash: HashKey(key), App: app, Name: name, Hint: key[:keyHintChars], Scopes: job.AllScopes, CreatedAt: now}, key
}

func (v *v1) revokeKey(ctx context.Context, app, text string) (*none, error) {
	id, ok := job.ParseAPIKey(text)
	if !ok || !appName.MatchString(app) {
		return nil, kindNotFound.problem(noSuchThing)
	}
	if err := v.opt.Store.DeleteKey(whole(ctx), app, id); err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "revoke key", err)
	}
	return nil, nil
}

func (v *v1) rotateAdminKey(ctx context.Context, _ *none) (*reply[client.AdminKey], error) {
	if v.opt.AdminKeyFixed || v.opt.Dev {
		return nil, kindAdminKeyFixed.problem("").withHint("change admin_key, or RINGBACK_ADMIN_KEY, and start the gateway again")
	}
	key := NewKey()
	hash := HashKey(key)
	if err := v.opt.Store.SetSetting(whole(ctx), AdminKeySetting, hash[:]); err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "replace the admin key", err)
	}
	return &reply[client.AdminKey]{client.AdminKey{Key: key}}, nil
}
