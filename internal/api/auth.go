package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/ringback/ringback/job"
)

// AdminKeySetting is the store's setting that holds the 32 bytes of the admin
// key's hash, as HashKey makes it.
const AdminKeySetting = "admin_key_hash"

const (
	keyPrefix      = "rb_"
	keyRandomBytes = 32
	keyHintChars   = len(keyPrefix) + 6
	maxKeyBytes    = 512
	// maxCachedKeys bounds the memory that keys in use take: some 10 MiB.
	maxCachedKeys = 10_000
)

// NewKey makes an API key: rb_ and 32 random bytes in unpadded base64url.
func NewKey() string {
	b := make([]byte, keyRandomBytes)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return keyPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// HashKey is what is stored of a key: its SHA-256. A key holds 256 random bits,
// so that a slow hash would gain nothing.
func HashKey(key string) [32]byte { return sha256.Sum256([]byte(key)) }

// authenticator finds the app of a request. It remembers the apps of keys that
// were used, until a change of the app is committed.
type authenticator struct {
	opt Options

	mu   sync.RWMutex
	apps map[[32]byte]job.App
	// changes counts the changes of apps: what was read from the store before one
	// must not be remembered after it.
	changes uint64
}

func newAuthenticator(opt Options) *authenticator {
	return &authenticator{opt: opt, apps: map[[32]byte]job.App{}}
}

// committed forgets the keys of an app that was changed.
func (t *authenticator) committed(ch job.Change) {
	if ch.Kind != job.AppChanged {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes++
	for hash, app := range t.apps {
		if app.Name == ch.App {
			delete(t.apps, hash)
		}
	}
}

// authenticate finds the app that calls an operation.
func (a *API) authenticate(r *http.Request) (job.App, *Problem) {
	// In front of an upstream, Authorization is the upstream's.
	return a.auth.app(r, a.opt.Upstream == nil)
}

// authenticateV1 finds the app that calls one of the gateway's own routes.
func (a *API) authenticateV1(r *http.Request) (job.App, *Problem) {
	return a.auth.app(r, a.opt.Upstream == nil || r.Header["Ringback-Key"] == nil)
}

// app finds the app of the request's key, which may stand in Authorization only
// where bearer says so.
func (t *authenticator) app(r *http.Request, bearer bool) (job.App, *Problem) {
	if t.opt.Dev {
		return t.remembered(r.Context(), [32]byte{}, func(ctx context.Context) (job.App, error) {
			return t.opt.Store.App(ctx, DevApp)
		})
	}
	key, p := presentedKey(r.Header, bearer)
	if p != nil {
		return job.App{}, p
	}
	app, unknown := t.appOfKey(r.Context(), key)
	if unknown != nil && unknown.Status == http.StatusUnauthorized {
		if admin, p := t.isAdmin(r.Context(), key); p != nil || admin {
			return app, cmp.Or(p, kindForbidden.problem("this is the admin key, and this route is for apps").
				withHint("make an app with POST /v1/apps, and use the key that it gets"))
		}
	}
	return app, unknown
}

// isAdmin tells whether a key is the admin key.
func (t *authenticator) isAdmin(ctx context.Context, key string) (bool, *Problem) {
	want, err := t.opt.Store.Setting(ctx, AdminKeySetting)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		return false, storeProblem(ctx, t.opt.Log, "read admin key hash", err)
	}
	hash := HashKey(key)
	return subtle.ConstantTimeCompare(hash[:], want) == 1, nil
}

func (t *authenticator) appOfKey(ctx context.Context, key string) (job.App, *Problem) {
	if len(key) != len(keyPrefix)+base64.RawURLEncoding.EncodedLen(keyRandomBytes) || !strings.HasPrefix(key, keyPrefix) {
		return job.App{}, unknownKey()
	}
	hash := HashKey(key)
	return t.remembered(ctx, hash, func(ctx context.Context) (job.App, error) {
		return t.opt.Store.AppOfKey(ctx, hash)
	})
}

// remembered returns the app of a hash, from memory or as load finds it.
func (t *authenticator) remembered(ctx context.Context, hash [32]byte, load func(context.Context) (job.App, error)) (job.App, *Problem) {
	t.mu.RLock()
	app, ok := t.apps[hash]
	before := t.changes
	t.mu.RUnlock()
	if ok {
		return app, nil
	}
	app, err := load(ctx)
	if errors.Is(err, job.ErrNotFound) {
		return job.App{}, unknownKey()
	}
	if err != nil {
		return job.App{}, storeProblem(ctx, t.opt.Log, "find app of key", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changes == before {
		if len(t.apps) >= maxCachedKeys {
			clear(t.apps) // so many keys at once are rare; they are read again
		}
		t.apps[hash] = app
	}
	return app, nil
}

// authenticateAdmin lets the admin key pass, and with Options.Dev everybody.
func (a *API) authenticateAdmin(r *http.Request) *Problem {
	if a.opt.Dev {
		return nil
	}
	key, p := presentedKey(r.Header, true)
	if p != nil {
		return p
	}
	if admin, p := a.auth.isAdmin(r.Context(), key); p != nil || admin {
		return p
	}
	if _, p := a.auth.appOfKey(r.Context(), key); p != nil {
		return p
	}
	return kindForbidden.problem("this is done with the admin key, not with the key of an app")
}

// presentedKey reads the key of a request. It is an error to send none, or two
// that differ: nobody knows which of them was meant.
func presentedKey(h http.Header, bearer bool) (string, *Problem) {
	key, p := singleHeader(h, "Ringback-Key")
	if p != nil || !bearer {
		return requireKey(key, p, bearer)
	}
	authorization, p := singleHeader(h, "Authorization")
	if p != nil {
		return "", p
	}
	if authorization == "" {
		return requireKey(key, nil, bearer)
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", unauthorized("the Authorization header must be: Bearer KEY")
	}
	token = strings.Trim(token, " ")
	if key != "" && subtle.ConstantTimeCompare([]byte(key), []byte(token)) == 0 {
		return "", kindBadRequest.problem("Authorization and Ringback-Key hold two different keys")
	}
	return requireKey(token, nil, bearer)
}

func requireKey(key string, p *Problem, bearer bool) (string, *Problem) {
	if p == nil && key == "" {
		hint := "send it as Authorization: Bearer KEY, or as Ringback-Key: KEY"
		if !bearer {
			hint = "send it as Ringback-Key: KEY; Authorization belongs to the API behind this gateway"
		}
		p = unauthorized("no API key was sent").withHint(hint)
	}
	if p == nil && len(key) > maxKeyBytes {
		p = unknownKey()
	}
	return key, p
}

func singleHeader(h http.Header, name string) (string, *Problem) {
	values := h[name]
	if len(values) > 1 {
		return "", kindBadRequest.problem("the header " + name + " was sent more than once")
	}
	if len(values) == 0 {
		return "", nil
	}
	return values[0], nil
}

func unknownKey() *Problem { return unauthorized("the API key is not known") }

func unauthorized(detail string) *Problem {
	p := kindUnauthorized.problem(detail)
	p.challenge = `Bearer realm="ringback"`
	return p
}
