package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringback/ringback/client"
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

// caller is an app that was found by a key of it. It is shared: read only.
type caller struct {
	app  job.App
	key  job.Key  // with Options.Dev, only what it permits
	hash [32]byte // of the key
	// changed is closed when the app has changed, or a key of it: what is known here
	// may no longer be so.
	changed chan struct{}
	limits  job.Limits   // of the app, or the gateway's
	rate    *bucket      // nil where its calls are not limited
	used    atomic.Int64 // the last use that was noted, in Unix seconds
}

// authenticator finds the app of a request. It remembers the apps of keys that
// were used, until a change of the app is committed.
type authenticator struct {
	opt     Options
	guesses *guesses
	limiter limiter

	mu      sync.RWMutex
	callers map[[32]byte]*caller
	// changes counts the changes of apps: what was read from the store before one
	// must not be remembered after it.
	changes uint64

	useMu sync.Mutex
	uses  map[job.ID]job.KeyUse // that are to be stored
}

func newAuthenticator(opt Options) *authenticator {
	return &authenticator{opt: opt, callers: map[[32]byte]*caller{}, uses: map[job.ID]job.KeyUse{}, guesses: newGuesses(opt), limiter: limiter{buckets: map[string]*bucket{}}}
}

// committed forgets the keys of an app that was changed.
func (t *authenticator) committed(ch job.Change) {
	if ch.Kind != job.AppChanged {
		return
	}
	t.guesses.keysChanged()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes++
	for hash, who := range t.callers {
		if who.app.Name == ch.App {
			close(who.changed)
			delete(t.callers, hash)
		}
	}
}

// authenticate finds the app that calls an operation.
func (a *API) authenticate(r *http.Request) (*caller, *Problem) {
	// In front of an upstream, Authorization is the upstream's.
	return a.auth.caller(r, a.opt.Upstream == nil, job.ScopeSubmit)
}

// authenticateV1 finds the app that calls one of the gateway's own routes, for which
// its key must have the scope.
func (a *API) authenticateV1(r *http.Request, want job.Scopes) (*caller, *Problem) {
	return a.auth.caller(r, a.opt.Upstream == nil || r.Header["Ringback-Key"] == nil, want)
}

// caller finds the app of the request's key, which may stand in Authorization only
// where bearer says so.
func (t *authenticator) caller(r *http.Request, bearer bool, want job.Scopes) (*caller, *Problem) {
	if t.opt.Dev {
		return t.remembered(r.Context(), [32]byte{}, func(ctx context.Context) (job.App, job.Key, error) {
			app, err := t.opt.Store.App(ctx, DevApp)
			return app, job.Key{Scopes: job.AllScopes}, err
		})
	}
	key, p := presentedKey(r.Header, bearer)
	if p != nil {
		return nil, p
	}
	hash := HashKey(key)
	who := t.known(hash)
	if who == nil {
		if who, p = t.find(r, key, hash); p != nil {
			return nil, p
		}
	}
	if p := who.permits(want, t.opt.Now()); p != nil {
		return nil, p
	}
	t.note(who)
	return who, nil
}

// find looks for a key that is not in memory.
func (t *authenticator) find(r *http.Request, key string, hash [32]byte) (*caller, *Problem) {
	ctx := r.Context()
	if p := t.guesses.admit(r, hash); p != nil {
		return nil, p
	}
	who, unknown := t.callerOfKey(ctx, key, hash)
	if unknown == nil || unknown.Status != http.StatusUnauthorized {
		return who, unknown
	}
	admin, p := t.isAdmin(ctx, hash)
	switch {
	case p != nil:
		return nil, p
	case admin && !t.opt.SplitAdmin: // else the public address would tell who guesses it
		t.guesses.right(r, hash)
		return nil, kindForbidden.problem("this is the admin key, and this route is for apps").
			withHint("make an app with POST /v1/apps, and use the key that it gets")
	}
	t.guesses.wrong(r)
	return nil, unknown
}

// permits is the problem of a key that does not permit what it is used for.
func (c *caller) permits(want job.Scopes, now time.Time) *Problem {
	if c.key.Expired(now) {
		return kindKeyExpired.problem("the key's time was over at " + client.At(c.key.ExpiresAt).String()).withChallenge().
			withHint("make another key, with a key that has the scope manage or with the admin key")
	}
	if !c.key.Scopes.Has(want) {
		return kindScope.problem("this takes a key with the scope " + want.String() + "; the scopes of this one: " + c.key.Scopes.String())
	}
	return nil
}

// again looks once more at who has called, after a change of the app.
func (t *authenticator) again(ctx context.Context, who *caller, want job.Scopes) (*caller, *Problem) {
	if t.opt.Dev {
		return who, nil
	}
	now, p := t.remembered(ctx, who.hash, func(ctx context.Context) (job.App, job.Key, error) {
		return t.opt.Store.AppOfKey(ctx, who.hash)
	})
	if p == nil {
		p = now.permits(want, t.opt.Now())
	}
	return now, p
}

// still looks at who has called before anything comes of it: its key may have been
// revoked, or have expired, since the request began.
func (t *authenticator) still(ctx context.Context, who *caller, want job.Scopes) (*caller, *Problem) {
	select {
	case <-who.changed:
		return t.again(ctx, who, want)
	default:
		return who, who.permits(want, t.opt.Now())
	}
}

// isAdmin tells whether a hash is that of the admin key.
func (t *authenticator) isAdmin(ctx context.Context, hash [32]byte) (bool, *Problem) {
	want, err := t.opt.Store.Setting(ctx, AdminKeySetting)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		return false, storeProblem(ctx, t.opt.Log, "read admin key hash", err)
	}
	return subtle.ConstantTimeCompare(hash[:], want) == 1, nil
}

func (t *authenticator) callerOfKey(ctx context.Context, key string, hash [32]byte) (*caller, *Problem) {
	if len(key) != len(keyPrefix)+base64.RawURLEncoding.EncodedLen(keyRandomBytes) || !strings.HasPrefix(key, keyPrefix) {
		return nil, unknownKey()
	}
	return t.remembered(ctx, hash, func(ctx context.Context) (job.App, job.Key, error) {
		return t.opt.Store.AppOfKey(ctx, hash)
	})
}

// known is the caller of a hash that is in memory, or nil. That a map looks for the
// hash, and not in constant time, tells nothing of the key: it cannot be computed
// from its hash.
func (t *authenticator) known(hash [32]byte) *caller {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.callers[hash]
}

// remembered returns the caller of a hash, from memory or as load finds it.
func (t *authenticator) remembered(ctx context.Context, hash [32]byte, load func(context.Context) (job.App, job.Key, error)) (*caller, *Problem) {
	t.mu.RLock()
	who, ok := t.callers[hash]
	before := t.changes
	t.mu.RUnlock()
	if ok {
		return who, nil
	}
	app, key, err := load(ctx)
	if errors.Is(err, job.ErrNotFound) {
		return nil, unknownKey()
	}
	if err != nil {
		return nil, storeProblem(ctx, t.opt.Log, "find app of key", err)
	}
	who = &caller{app: app, key: key, hash: hash, changed: make(chan struct{}), limits: app.Limits.Or(t.opt.Limits)}
	who.rate = t.limiter.bucketOf(app.Name, who.limits, t.opt.Now())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changes != before {
		close(who.changed) // perhaps it was this one
		return who, nil
	}
	if other := t.callers[hash]; other != nil {
		return other, nil
	}
	if len(t.callers) >= maxCachedKeys {
		t.forgetAll() // so many keys at once are rare; they are read again
	}
	t.callers[hash] = who
	return who, nil
}

// forgetAll empties the memory; mu is held.
func (t *authenticator) forgetAll() {
	for _, who := range t.callers {
		close(who.changed) // nobody would hear of a change any more
	}
	clear(t.callers)
}

// useInterval is how old the last use that is stored of a key in use may be, give
// or take how often uses are stored.
const useInterval = time.Minute

// note remembers that a key was used, for KeepKeyUses.
func (t *authenticator) note(who *caller) {
	now := t.opt.Now()
	last := who.used.Load()
	if now.Unix()-last < int64(useInterval/time.Second) || !who.used.CompareAndSwap(last, now.Unix()) {
		return
	}
	t.useMu.Lock()
	defer t.useMu.Unlock()
	t.uses[who.key.ID] = job.KeyUse{App: who.app.Name, ID: who.key.ID, At: now}
}

// KeepKeyUses stores once a minute, and when ctx is done, when keys were used last.
func (a *API) KeepKeyUses(ctx context.Context) {
	ticker := time.NewTicker(useInterval)
	defer ticker.Stop()
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-ticker.C:
		}
		if err := a.storeKeyUses(whole(ctx)); err != nil {
			a.opt.Log.Error("store the use of keys", "error", err)
		}
	}
}

// storeKeyUses stores the uses that are not yet.
func (a *API) storeKeyUses(ctx context.Context) error {
	t := a.auth
	t.useMu.Lock()
	uses := slices.Collect(maps.Values(t.uses))
	clear(t.uses)
	t.useMu.Unlock()
	if len(uses) == 0 {
		return nil
	}
	return t.opt.Store.KeysUsed(ctx, uses)
}

// lastUse is when a key was used last, stored or not.
func (t *authenticator) lastUse(k *job.Key) time.Time {
	t.useMu.Lock()
	defer t.useMu.Unlock()
	if use := t.uses[k.ID]; use.At.After(k.LastUsedAt) {
		return use.At
	}
	return k.LastUsedAt
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
	t, ctx, hash := a.auth, r.Context(), HashKey(key)
	forbidden := kindForbidden.problem("this is done with the admin key, not with the key of an app")
	if t.known(hash) != nil {
		return forbidden
	}
	if p := t.guesses.admit(r, hash); p != nil {
		return p
	}
	admin, p := t.isAdmin(ctx, hash)
	if p != nil {
		return p
	}
	if admin {
		t.guesses.right(r, hash)
		return nil
	}
	if _, p := t.callerOfKey(ctx, key, hash); p != nil {
		if p.Status == http.StatusUnauthorized {
			t.guesses.wrong(r)
		}
		return p
	}
	return forbidden
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

func unauthorized(detail string) *Problem { return kindUnauthorized.problem(detail).withChallenge() }

// withChallenge says how to authenticate, as every 401 has to.
func (p *Problem) withChallenge() *Problem {
	p.challenge = `Bearer realm="ringback"`
	return p
}
