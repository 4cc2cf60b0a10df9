package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPublicSideHasNothingOfTheAdmins(t *testing.T) {
	t.Parallel()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ringback_backlog 0\n")) })
	g := setup(t, func(o *Options) { o.SplitAdmin, o.Metrics = true, metrics })
	admin := httptest.NewServer(g.api.Admin)
	defer admin.Close()
	public := g.server
	on := func(s *httptest.Server, method, path, key, body string) answer {
		g.server = s
		defer func() { g.server = public }()
		return g.call(method, path, key, body)
	}
	made := on(admin, "POST", "/v1/apps", adminKey, `{"name":"shop"}`)
	made.want(t, 201, "")
	key := field[string](t, made, "key")

	seen := 0
	g.server = admin
	routes := g.described()
	g.server = public
	for route, security := range routes {
		if security[0]["admin"] == nil || len(security) > 1 {
			continue
		}
		seen++
		method, path, _ := strings.Cut(route, " ")
		path = strings.NewReplacer("{name}", "shop", "{id}", "x").Replace(path)
		for _, key := range []string{adminKey, key, ""} {
			if a := on(public, method, path, key, "{}"); a.status != 404 && a.status != 405 {
				t.Errorf("%s on the public side: %d %s", route, a.status, a.body)
			}
		}
	}
	if seen < 7 {
		t.Errorf("only %d routes of the admin", seen)
	}
	for route, security := range g.described() {
		for _, way := range security {
			if way["admin"] != nil {
				t.Errorf("the public document has %s", route)
			}
		}
	}
	on(public, "GET", "/v1/apps", adminKey, "").want(t, 404, "not_found")
	on(public, "GET", "/metrics", "", "").want(t, 404, "not_found")
	on(public, "GET", "/v1/audit", adminKey, "").want(t, 401, "unauthenticated")
	on(public, "GET", "/v1/audit", key, "").want(t, 200, "")
	on(public, "GET", "/v1/jobs", key, "").want(t, 200, "")
	on(public, "POST", "/scan", key, "{}").want(t, 202, "")
	if a := on(public, "GET", "/healthz", "", ""); a.status != 200 || strings.Contains(a.body, "version") {
		t.Errorf("healthz: %d %s", a.status, a.body)
	}
	if a := on(admin, "GET", "/healthz", "", ""); a.status != 200 || !strings.Contains(a.body, "version") {
		t.Errorf("healthz of the admin: %d %s", a.status, a.body)
	}
	on(admin, "GET", "/metrics", "", "").want(t, 200, "")
	on(admin, "GET", "/v1/audit", adminKey, "").want(t, 200, "")
	on(admin, "GET", "/v1/jobs", key, "").want(t, 200, "")
	on(admin, "POST", "/scan", key, "{}").want(t, 404, "not_found")
}
