package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func TestKeysAreAskedFor(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	keyA, keyB := g.app("a"), g.app("b")
	for name, c := range map[string]struct {
		headers []string
		status  int
		code    string
	}{
		"none":                {nil, 401, "unauthenticated"},
		"unknown":             {[]string{"Authorization", "Bearer zz-not-a-key-zz"}, 401, "unauthenticated"},
		"unknown of our form": {[]string{"Authorization", "Bearer " + NewKey()}, 401, "unauthenticated"},
		"another scheme":      {[]string{"Authorization", "Basic " + keyA}, 401, "unauthenticated"},
		"long":                {[]string{"Ringback-Key", strings.Repeat("k", 10_000)}, 401, "unauthenticated"},
		"two headers":         {[]string{"Authorization", "Bearer " + keyA, "Authorization", "Bearer " + keyB}, 400, "bad_request"},
		"the same twice":      {[]string{"Ringback-Key", keyA, "Ringback-Key", keyA}, 400, "bad_request"},
		"two different":       {[]string{"Authorization", "Bearer " + keyA, "Ringback-Key", keyB}, 400, "bad_request"},
		"both the same":       {[]string{"Authorization", "Bearer " + keyA, "Ringback-Key", keyA}, 200, ""},
		"bearer":              {[]string{"Authorization", "bearer " + keyA}, 200, ""},
		"own header":          {[]string{"Ringback-Key", keyA}, 200, ""},
		"admin":               {[]string{"Ringback-Key", adminKey}, 403, "forbidden"},
	} {
		a := g.call("GET", "/v1/jobs", "", "", c.headers...)
		if a.status != c.status || c.code != "" && field[string](t, a, "code") != c.code {
			t.Errorf("%s: %d %s, want %d %s", name, a.status, a.body, c.status, c.code)
		}
		if a.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: WWW-Authenticate %q", name, a.header.Get("WWW-Authenticate"))
		}
		if strings.Contains(a.body, "zz-not") || strings.Contains(a.body, keyA) {
			t.Errorf("%s: the answer repeats the key: %s", name, a.body)
		}
	}
	query := g.call("GET", "/v1/jobs?api_key="+keyA+"&access_token="+keyA, "", "")
	if query.status != 401 || strings.Contains(query.body, keyA) {
		t.Errorf("a key in the query: %d %s", query.status, query.body)
	}
	if strings.Contains(g.log.String(), keyA) {
		t.Error("the log holds a key")
	}
}

func TestAppsAreMadeWithTheAdminKeyOnly(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	g.call("POST", "/v1/apps", key, `{"name":"mallory"}`).want(t, 403, "forbidden")
	g.call("POST", "/v1/apps", NewKey(), `{"name":"mallory"}`).want(t, 401, "unauthenticated")
	g.call("POST", "/v1/apps", "", `{"name":"mallory"}`).want(t, 401, "unauthenticated")
	g.call("POST", "/v1/apps", adminKey, `{"name":"shop"}`).want(t, 409, "conflict")
	g.call("POST", "/v1/apps", adminKey, `{"name":"a b"}`).want(t, 400, "bad_request")
	g.app("second")
	list := g.call("GET", "/v1/apps", adminKey, "")
	list.want(t, 200, "")
	if !strings.Contains(list.body, `"shop"`) || !strings.Contains(list.body, `"second"`) || strings.Contains(list.body, keyPrefix) {
		t.Errorf("list: %s", list.body)
	}
	app, _, err := g.store.AppOfKey(t.Context(), HashKey(key))
	if err != nil || app.Name != "shop" || len(app.Secrets.Current) == 0 {
		t.Errorf("stored: %+v, %v", app, err)
	}
}

func TestNobodyIsAdminWithoutAnAdminKey(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	if err := g.store.SetSetting(t.Context(), AdminKeySetting, []byte{0}); err != nil {
		t.Fatal(err)
	}
	g.call("GET", "/v1/apps", adminKey, "").want(t, 401, "unauthenticated")
}

func TestChangeOfAnAppIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	before := field[string](t, g.call("GET", "/v1/secret", key, ""), "secret")
	g.call("POST", "/v1/secret/rotate", key, "").want(t, 200, "")
	after := g.call("GET", "/v1/secret", key, "")
	if got := field[string](t, after, "secret"); got == before || !strings.HasPrefix(got, "whsec_") {
		t.Errorf("the secret is %q after %q", got, before)
	}
}

func TestCacheOfKeysIsBoundedAndForgetsChangedApps(t *testing.T) {
	t.Parallel()
	auth := newAuthenticator(Options{Now: time.Now})
	for i := range 3 * maxCachedKeys {
		hash := [32]byte{byte(i), byte(i >> 8), byte(i >> 16)}
		if _, p := auth.remembered(t.Context(), hash, found("a")); p != nil {
			t.Fatal(p)
		}
	}
	if len(auth.callers) > maxCachedKeys {
		t.Errorf("%d keys are remembered", len(auth.callers))
	}
	auth.committed(job.Change{Kind: job.AppChanged, App: "a"})
	if len(auth.callers) != 0 {
		t.Errorf("%d keys of a changed app are remembered", len(auth.callers))
	}
}

func found(name string) func(ctx context.Context) (job.App, job.Key, error) {
	return func(context.Context) (job.App, job.Key, error) { return job.App{Name: name}, job.Key{}, nil }
}

func TestAppReadBeforeItsChangeIsNotRemembered(t *testing.T) {
	t.Parallel()
	auth := newAuthenticator(Options{Now: time.Now})
	who, p := auth.remembered(t.Context(), [32]byte{1}, func(context.Context) (job.App, job.Key, error) {
		auth.committed(job.Change{Kind: job.AppChanged, App: "a"})
		return job.App{Name: "a"}, job.Key{}, nil
	})
	if p != nil || len(auth.callers) != 0 {
		t.Fatalf("%v, %d keys are remembered", p, len(auth.callers))
	}
	select {
	case <-who.changed:
	default:
		t.Error("who waits does not learn that the app has changed")
	}
}

func TestInFrontOfAnUpstreamAuthorizationIsTheUpstreams(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Prefix = "/.ringback"
		o.Operations = nil
		upstream := job.Operation{Name: "upstream"}.WithDefaults()
		o.Upstream, o.Passthrough = &upstream, http.NotFoundHandler()
	})
	key := field[string](t, g.call("POST", "/.ringback/v1/apps", adminKey, `{"name":"a"}`), "key")
	r, _ := http.NewRequest("POST", "/scan", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	if _, p := g.api.authenticate(r); p == nil || p.Status != 401 {
		t.Errorf("an operation took the upstream's Authorization: %v", p)
	}
	r.Header.Set("Ringback-Key", key)
	if who, p := g.api.authenticate(r); p != nil || who.app.Name != "a" {
		t.Errorf("Ringback-Key: %v", p)
	}
	g.call("GET", "/.ringback/v1/jobs", key, "").want(t, 200, "")
	g.call("GET", "/.ringback/v1/jobs", "", "", "Authorization", "Basic dTpw", "Ringback-Key", key).want(t, 200, "")
}

func TestWithDevEverythingIsTheDevApps(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.Dev = true })
	if _, _, err := CreateApp(t.Context(), g.store, g.seal, DevApp, g.api.now()); err != nil {
		t.Fatal(err)
	}
	g.call("GET", "/v1/jobs/"+g.job(DevApp, nil).ID.Job(), "", "").want(t, 200, "")
	g.call("GET", "/v1/apps", "", "").want(t, 200, "")
}

func TestWithDevNoWebPageGetsThrough(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.Dev = true })
	if _, _, err := CreateApp(t.Context(), g.store, g.seal, DevApp, g.api.now()); err != nil {
		t.Fatal(err)
	}
	own := strings.TrimPrefix(g.server.URL, "http://")
	for name, c := range map[string]struct {
		headers []string
		status  int
	}{
		"curl":                   {nil, 200},
		"typed into the browser": {[]string{"Sec-Fetch-Site", "none"}, 200},
		"own page":               {[]string{"Sec-Fetch-Site", "same-origin", "Origin", "http://" + own}, 200},
		"localhost":              {[]string{"Host", "localhost:8080"}, 200},
		"IPv6 loopback":          {[]string{"Host", "[::1]:8080"}, 200},
		"IPv6 without port":      {[]string{"Host", "[::1]"}, 200},
		"rebound name":           {[]string{"Host", "evil.example"}, 421},
		"rebound name and port":  {[]string{"Host", "localhost.evil.example:8080"}, 421},
		"name that begins so":    {[]string{"Host", "127.0.0.1.evil.example"}, 421},
		"another site":           {[]string{"Sec-Fetch-Site", "cross-site"}, 403},
		"another port":           {[]string{"Sec-Fetch-Site", "same-site"}, 403},
		"foreign origin":         {[]string{"Origin", "https://evil.example"}, 403},
		"opaque origin":          {[]string{"Origin", "null"}, 403},
		"own and foreign":        {[]string{"Origin", "http://" + own, "Origin", "https://evil.example"}, 403},
	} {
		for _, request := range []string{"GET /v1/jobs", "POST /v1/secret/rotate", "GET /healthz"} {
			method, path, _ := strings.Cut(request, " ")
			if a := g.call(method, path, "", "", c.headers...); a.status != c.status {
				t.Errorf("%s: %s: %d %s, want %d", name, request, a.status, a.body, c.status)
			}
		}
		if a := g.call("POST", "/scan", "", "{}", c.headers...); c.status != 200 && a.status != c.status {
			t.Errorf("%s: POST /scan: %d, want %d", name, a.status, c.status)
		}
	}
}
