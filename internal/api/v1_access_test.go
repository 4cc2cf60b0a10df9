package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// key makes a key of an app with some scopes.
func (g *gateway) key(app string, scopes ...string) (key, id string) {
	g.t.Helper()
	words, _ := json.Marshal(scopes)
	a := g.call("POST", "/v1/apps/"+app+"/keys", adminKey, `{"name":"k","scopes":`+string(words)+`}`)
	a.want(g.t, http.StatusCreated, "")
	return field[string](g.t, a, "key"), field[string](g.t, a, "id")
}

// described are the routes of the OpenAPI document with their security.
func (g *gateway) described() map[string][]map[string][]string {
	g.t.Helper()
	var doc struct {
		Paths map[string]map[string]struct{ Security []map[string][]string }
	}
	if err := json.Unmarshal([]byte(g.call("GET", "/openapi.json", "", "").body), &doc); err != nil {
		g.t.Fatal(err)
	}
	routes := map[string][]map[string][]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			routes[strings.ToUpper(method)+" "+path] = op.Security
		}
	}
	return routes
}

// The scope of a route follows from its method, but for these; of routes of
// operations it is submit.
var scopeOf = map[string]string{
	"GET /v1/secret": "manage", "GET /v1/endpoints/{name}/secret": "manage", "GET /v1/keys": "manage",
	"POST /scan": "submit", "POST /reports/{kind}": "submit",
}

// Without a key there are only signed URLs, and public keys.
var keyless = regexp.MustCompile(`^\S+ (/v1/(runs|replies)/\{token\}.*|/v1/apps/.*/(jwks\.json|public-keys)|/v1/jobs/\{id\}/result)$`)

func TestEveryRouteIsRefusedWithoutItsScope(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	g.app("shop")
	with, without := map[string]string{}, map[string]string{}
	for i, scope := range job.ScopeNames {
		with[scope], _ = g.key("shop", scope)
		without[scope], _ = g.key("shop", slices.Delete(slices.Clone(job.ScopeNames), i, i+1)...)
	}
	routes := g.described()
	if len(routes) < 30 {
		t.Fatalf("only %d routes", len(routes))
	}
	for route, security := range routes {
		method, path, _ := strings.Cut(route, " ")
		target := regexp.MustCompile(`\{[^}]+\}`).ReplaceAllString(path, "none")
		ask := func(key string) (int, string) {
			a := g.call(method, target, key, "")
			var p struct{ Code string }
			_ = json.Unmarshal([]byte(a.body), &p)
			return a.status, p.Code
		}
		want := scopeOf[route]
		switch {
		case security[0]["admin"] != nil && len(security) == 1:
			for _, key := range with {
				if status, code := ask(key); status != 403 || code != "forbidden" {
					t.Errorf("%s with an app's key: %d %s", route, status, code)
				}
			}
			continue
		case slices.ContainsFunc(security, func(way map[string][]string) bool { return len(way) == 0 }):
			if !keyless.MatchString(route) {
				t.Errorf("%s needs no key", route)
			}
			if security[0]["app"] == nil {
				continue
			}
		}
		if want == "" {
			want = "manage"
			if method == "GET" {
				want = "read"
			}
		}
		for _, scheme := range []string{"app", "key"} {
			if i := slices.IndexFunc(security, func(way map[string][]string) bool { return way[scheme] != nil }); i < 0 || !slices.Equal(security[i][scheme], []string{want}) {
				t.Errorf("%s: the document says %v, want %s", route, security, want)
			}
		}
		if status, code := ask(without[want]); status != 403 || code != "scope_missing" {
			t.Errorf("%s without %s: %d %s", route, want, status, code)
		}
		if status, code := ask(with[want]); status == 403 || status == 401 {
			t.Errorf("%s with %s: %d %s", route, want, status, code)
		}
	}
}

func TestKeyIsMadeListedAndRevoked(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	first, other := g.app("shop"), g.app("bank")
	a := g.call("POST", "/v1/keys", first, `{"name":"report reader","scopes":["read"],"expires_at":"2999-01-01T00:00:00Z"}`)
	a.want(t, http.StatusCreated, "")
	key, id := field[string](t, a, "key"), field[string](t, a, "id")
	g.call("GET", "/v1/jobs", key, "").want(t, 200, "")
	list := g.call("GET", "/v1/keys", first, "")
	list.want(t, 200, "")
	for _, want := range []string{id, `"report reader"`, `"scopes":["read"]`, `"2999-01-01T00:00:00.000Z"`, `"name":"first"`, key[:keyHintChars], "last_used_at"} {
		if !strings.Contains(list.body, want) {
			t.Errorf("the list lacks %s: %s", want, list.body)
		}
	}
	if strings.Contains(list.body, key) || strings.Contains(g.log.String(), key) {
		t.Error("list or log hold the key")
	}
	g.call("DELETE", "/v1/keys/"+id, other, "").want(t, 404, "not_found")
	g.call("GET", "/v1/jobs", key, "").want(t, 200, "")
	g.call("DELETE", "/v1/keys/"+id, first, "").want(t, 204, "")
	g.call("GET", "/v1/jobs", key, "").want(t, 401, "unauthenticated")
	g.call("DELETE", "/v1/keys/"+id, first, "").want(t, 404, "not_found")
	g.call("DELETE", "/v1/keys/nonsense", first, "").want(t, 404, "not_found")

	g.call("GET", "/v1/apps/nobody/keys", adminKey, "").want(t, 404, "not_found")
	g.call("POST", "/v1/apps/nobody/keys", adminKey, `{"name":"k"}`).want(t, 404, "not_found")
	key, id = g.key("shop", "submit", "manage")
	g.call("POST", "/scan", key, "{}").want(t, 202, "")
	g.call("DELETE", "/v1/apps/bank/keys/"+id, adminKey, "").want(t, 404, "not_found")
	g.call("DELETE", "/v1/apps/shop/keys/"+id, adminKey, "").want(t, 204, "")
	g.call("POST", "/scan", key, "{}").want(t, 401, "unauthenticated")
}

func TestKeyHandsOnNoMoreThanItHas(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	g.app("shop")
	manager, _ := g.key("shop", "manage")
	g.call("POST", "/v1/keys", manager, `{"name":"k","scopes":["manage","submit"]}`).want(t, 403, "key_exceeds_own")
	a := g.call("POST", "/v1/keys", manager, `{"name":"k"}`)
	a.want(t, 201, "")
	if scopes := field[[]any](t, a, "scopes"); len(scopes) != 1 || scopes[0] != "manage" {
		t.Errorf("scopes %v", scopes)
	}
	a = g.call("POST", "/v1/keys", manager, `{"name":"k","expires_at":"2998-01-01T00:00:00Z"}`)
	short := field[string](t, a, "key")
	g.call("POST", "/v1/keys", short, `{"name":"k","expires_at":"2999-01-01T00:00:00Z"}`).want(t, 403, "key_exceeds_own")
	a = g.call("POST", "/v1/keys", short, `{"name":"k"}`)
	if got := field[string](t, a, "expires_at"); got != "2998-01-01T00:00:00.000Z" {
		t.Errorf("it lasts until %s", got)
	}
	for _, bad := range []string{`{}`, `{"name":""}`, `{"name":"k","scopes":[]}`, `{"name":"k","scopes":["admin"]}`, `{"name":"a\nb"}`,
		`{"name":"k","expires_at":"2000-01-01T00:00:00Z"}`, `{"name":"k","expires_at":"tomorrow"}`, `{"name":"k","app":"bank"}`} {
		g.call("POST", "/v1/keys", manager, bad).want(t, 400, "bad_request")
	}
}

func TestAppHasNoMoreKeysThanItMay(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	first := g.app("shop")
	for range maxKeys - 1 {
		g.call("POST", "/v1/keys", first, `{"name":"k"}`).want(t, 201, "")
	}
	g.call("POST", "/v1/keys", first, `{"name":"k"}`).want(t, 409, "too_many_keys")
}

func TestExpiredKeyPermitsNothing(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	g := setup(t, func(o *Options) { o.Now = func() time.Time { return time.Now().Add(time.Duration(clock.Load())) } })
	first := g.app("shop")
	a := g.call("POST", "/v1/keys", first, `{"name":"k","expires_at":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`)
	key := field[string](t, a, "key")
	g.call("GET", "/v1/jobs", key, "").want(t, 200, "")
	clock.Store(int64(2 * time.Hour))
	for range 2 * guessBurst { // it is no guess
		a = g.call("GET", "/v1/jobs", key, "")
		a.want(t, 401, "key_expired")
	}
	if a.header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
	g.call("POST", "/scan", key, "{}").want(t, 401, "key_expired")
}

func TestLongPollAndStreamOfARevokedKeyEnd(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.MaxWait = time.Hour })
	g.app("shop")
	j := g.job("shop", nil)
	key, id := g.key("shop", "read")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	polled, called := make(chan answer, 1), make(chan answer, 1)
	go func() { polled <- g.callContext(ctx, "GET", "/v1/jobs/"+j.ID.Job()+"?wait=3600", key, "") }()
	caller, callerID := g.key("shop", "submit")
	go func() { called <- g.callContext(ctx, "POST", "/scan", caller, "{}", "Prefer", "wait=3600") }()
	stream := g.open(ctx, "/v1/jobs/"+j.ID.Job()+"/events", key)
	lines := bufio.NewReader(stream.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	g.until(func() bool { return g.api.waiting() == 3 })
	// A change of the app that concerns other keys ends nothing.
	g.key("shop", "read")
	g.until(func() bool { return g.api.waiting() == 3 })
	g.call("DELETE", "/v1/apps/shop/keys/"+id, adminKey, "").want(t, 204, "")
	a := <-polled
	a.want(t, 401, "unauthenticated")
	for {
		if _, err := lines.ReadString('\n'); err != nil {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		t.Error("the stream went on")
	}
	g.call("DELETE", "/v1/apps/shop/keys/"+callerID, adminKey, "").want(t, 204, "")
	a = <-called
	a.want(t, 202, "")
}

// waiting is how many wait for changes of jobs.
func (a *API) waiting() (n int64) {
	for i := range a.watch.shards {
		n += a.watch.shards[i].watched.Load()
	}
	return n
}

// until polls for a condition.
func (g *gateway) until(ok func() bool) {
	g.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			g.t.Fatal("it does not come")
		}
	}
}

// open begins to read an answer.
func (g *gateway) open(ctx context.Context, path, key string) *http.Response {
	g.t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", g.server.URL+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	resp, err := g.server.Client().Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func TestStreamEndsWhenItsKeyExpires(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	first := g.app("shop")
	j := g.job("shop", nil)
	a := g.call("POST", "/v1/keys", first, `{"name":"k","expires_at":"`+time.Now().Add(2*time.Second).UTC().Format(time.RFC3339Nano)+`"}`)
	key := field[string](t, a, "key")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lines := bufio.NewReader(g.open(ctx, "/v1/jobs/"+j.ID.Job()+"/events", key).Body)
	for {
		if _, err := lines.ReadString('\n'); err != nil {
			break
		}
	}
	if ctx.Err() != nil {
		t.Error("the stream went on")
	}
}

func TestUseOfKeysIsStoredOnceAMinute(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	now := func() time.Time { return time.UnixMilli(1_900_000_000_000).Add(time.Duration(clock.Load())) }
	g := setup(t, func(o *Options) { o.Now = now })
	key := g.app("shop")
	stored := func() time.Time {
		t.Helper()
		if err := g.api.storeKeyUses(t.Context()); err != nil {
			t.Fatal(err)
		}
		keys, err := g.store.Keys(t.Context(), "shop", 0)
		if err != nil {
			t.Fatal(err)
		}
		return keys[0].LastUsedAt
	}
	if at := stored(); !at.IsZero() {
		t.Errorf("used at %v", at)
	}
	g.call("GET", "/v1/jobs", key, "").want(t, 200, "")
	began := now()
	clock.Store(int64(59 * time.Second))
	g.call("GET", "/v1/jobs", key, "").want(t, 200, "")
	if at := stored(); !at.Equal(began) {
		t.Errorf("used at %v, want %v", at, began)
	}
	clock.Store(int64(time.Minute))
	g.call("GET", "/v1/jobs", key, "").want(t, 200, "")
	if at := stored(); !at.Equal(now()) {
		t.Errorf("used at %v, want %v", at, now())
	}
}

func TestAdminKeyIsRotated(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	a := g.call("POST", "/v1/admin-key/rotate", adminKey, "")
	a.want(t, 200, "")
	fresh := field[string](t, a, "key")
	g.call("GET", "/v1/apps", adminKey, "").want(t, 401, "unauthenticated")
	g.call("GET", "/v1/apps", fresh, "").want(t, 200, "")
	if strings.Contains(g.log.String(), fresh) {
		t.Error("the log holds the key")
	}
	g = setup(t, func(o *Options) { o.AdminKeyFixed = true })
	g.call("POST", "/v1/admin-key/rotate", adminKey, "").want(t, 409, "admin_key_configured")
	g.call("GET", "/v1/apps", adminKey, "").want(t, 200, "")
}
