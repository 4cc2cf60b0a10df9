package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func TestEndpointIsCreatedChangedAndDeleted(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	a := g.call("POST", "/v1/endpoints", key, `{"name":"shop","url":"https://my.server/bar","default":true,"operations":["scan"],`+
		`"events":["succeeded"],"method":"PUT","headers":{"x-tenant":"7"},"concurrency":8,"rate":"50/s"}`)
	a.want(t, 201, "")
	if got := a.header.Get("Location"); got != "/v1/endpoints/shop" {
		t.Errorf("Location %q", got)
	}
	g.call("POST", "/v1/endpoints", key, `{"name":"shop","url":"https://my.server/bar"}`).want(t, 409, "conflict")
	a = g.call("PATCH", "/v1/endpoints/shop", key, `{"url":"https://my.server/new","default":false,"operations":[],"disabled":true}`)
	a.want(t, 200, "")
	a = g.call("GET", "/v1/endpoints/shop", key, "")
	if got := field[string](t, a, "url"); got != "https://my.server/new" {
		t.Errorf("url %q", got)
	}
	if got := field[string](t, a, "headers.X-Tenant"); got != "7" {
		t.Errorf("X-Tenant %q", got)
	}
	if strings.Contains(a.body, `"operations"`) || !field[bool](t, a, "disabled") || field[bool](t, a, "default") ||
		field[string](t, a, "method") != "PUT" || field[float64](t, a, "concurrency") != 8 || field[string](t, a, "rate") != "50/s" {
		t.Errorf("after the change: %s", a.body)
	}
	g.call("POST", "/v1/endpoints", key, `{"name":"later","url":"https://my.server/2"}`).want(t, 201, "")
	list := g.call("GET", "/v1/endpoints", key, "")
	if data := field[[]any](t, list, "data"); len(data) != 2 || data[0].(map[string]any)["name"] != "later" {
		t.Errorf("list: %s", list.body)
	}
	if gone := g.call("DELETE", "/v1/endpoints/shop", key, ""); gone.status != 204 || gone.body != "" {
		t.Errorf("DELETE: %d %s", gone.status, gone.body)
	}
	g.call("DELETE", "/v1/endpoints/shop", key, "").want(t, 404, "not_found")
	g.call("PATCH", "/v1/endpoints/shop", key, `{}`).want(t, 404, "not_found")
}

func TestStrangersEndpointLooksLikeNone(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	keyA, keyB := g.app("a"), g.app("b")
	g.call("POST", "/v1/endpoints", keyB, `{"name":"b-only","url":"https://b.example/"}`).want(t, 201, "")
	unknown := g.call("GET", "/v1/endpoints/nosuch", keyA, "")
	for _, request := range []string{"GET b-only", "DELETE b-only", "GET b-only/secret", "POST b-only/secret/rotate", "GET %ff", "GET %00"} {
		method, path, _ := strings.Cut(request, " ")
		a := g.call(method, "/v1/endpoints/"+path, keyA, "")
		if a.status != 404 || a.body != unknown.body || strings.Contains(a.body, "whsec_") {
			t.Errorf("%s: %d %s", request, a.status, a.body)
		}
	}
	g.call("GET", "/v1/endpoints/b-only", keyB, "").want(t, 200, "")
}

func TestEndpointThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	endpoint := func(more string) string { return `{"name":"e","url":"https://a.example/cb",` + more + `}` }
	many := make([]string, maxEndpointHeaders+1)
	for i := range many {
		many[i] = `"X-` + strings.Repeat("a", i+1) + `":"1"`
	}
	for body, status := range map[string]int{
		endpoint(`"method":"CONNECT"`):                                           400,
		endpoint(`"method":"TRACE"`):                                             400,
		endpoint(`"method":"CONNECT"`):                                           400,
		endpoint(`"method":"POST / HTTP/1.1\r\nX: 1\r\n\r\nGET"`):                400,
		endpoint(`"headers":{"Host":"127.0.0.1"}`):                               400,
		endpoint(`"headers":{"X-A":"1\r\nX-Injected: 1"}`):                       400,
		endpoint(`"headers":{"X A":"1"}`):                                        400,
		endpoint(`"headers":{"X-A":"1","x-a":"2"}`):                              400,
		endpoint(`"headers":{"X-A":"` + strings.Repeat("a", 100_000) + `"}`):     400,
		endpoint(`"headers":{` + strings.Join(many, ",") + `}`):                  400,
		endpoint(`"headers":{"X-A":1}`):                                          400,
		endpoint(`"concurrency":1e400`):                                          400,
		endpoint(`"concurrency":-1`):                                             400,
		endpoint(`"rate":"50"`):                                                  400,
		endpoint(`"rate":"0/s"`):                                                 400,
		endpoint(`"rate":"50/week"`):                                             400,
		endpoint(`"rate":-1`):                                                    400,
		endpoint(`"concurrency":1.5`):                                            400,
		endpoint(`"rate":"1e99/s"`):                                              400,
		endpoint(`"events":["exploded"]`):                                        400,
		endpoint(`"events":["failed","failed"]`):                                 400,
		endpoint(`"operations":["nosuch"]`):                                      400,
		endpoint(`"name":"f"`):                                                   400,
		endpoint(`"URL":"https://b.example/"`):                                   400,
		`{"name":"../apps","url":"https://a.example/cb"}`:                        400,
		`{"name":"Shop","url":"https://a.example/cb"}`:                           400,
		`{"name":"e"}`:                                                           400,
		`{"name":"e","url":"ftp://a.example"}`:                                   400,
		`{"name":"e","url":"https://a.example/\ud800"}`:                          400,
		`{"name":"e","url":"https://a.example/` + "\xff" + `"}`:                  400,
		`{"name":"e","url":"https://a.example/"}{}`:                              400,
		`{"name":` + strings.Repeat("[", 100_000):                                400,
		`{"name":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`: 400,
		`[]`:    400,
		`null`:  400,
		`hello`: 400,
		`{"name":"x","url":"https://a.example/` + strings.Repeat("a", 10<<20) + `"}`: 413,
	} {
		a := g.call("POST", "/v1/endpoints", key, body)
		shown := body[:min(len(body), 90)]
		if a.status != status || field[string](t, a, "code") == "" {
			t.Errorf("%s: %d %.300s, want %d", shown, a.status, a.body, status)
		}
		if len(a.body) > 10_000 {
			t.Errorf("%s: an answer of %d bytes", shown, len(a.body))
		}
	}
	g.call("POST", "/v1/endpoints", key, "hello", "Content-Type", "text/plain").want(t, 415, "unsupported_media_type")
	if list := g.call("GET", "/v1/endpoints", key, ""); len(field[[]any](t, list, "data")) != 0 {
		t.Errorf("something was stored: %s", list.body)
	}
}

func TestAuthorizationOfAnEndpointIsSealedAndNeverShown(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	a := g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"https://a.example/","headers":{"authorization":"Bearer hunter2"}}`)
	a.want(t, 201, "")
	stored := func() string {
		e, err := g.store.Endpoint(t.Context(), "a", "e")
		if err != nil {
			t.Fatal(err)
		}
		if _, plain := e.Headers["Authorization"]; plain {
			t.Error("it is stored in the clear")
		}
		if e.Authorization == nil {
			return ""
		}
		value, err := g.seal.Open(e.Authorization, "authorization")
		if err != nil {
			t.Fatal(err)
		}
		return string(value)
	}
	if got := stored(); got != "Bearer hunter2" {
		t.Errorf("stored %q", got)
	}
	if got := field[string](t, a, "headers.Authorization"); got != redactedValue {
		t.Errorf("shown %q", got)
	}
	g.call("PATCH", "/v1/endpoints/e", key, `{"headers":{"Authorization":"[redacted]","X-A":"1"}}`).want(t, 200, "")
	if got := stored(); got != "Bearer hunter2" {
		t.Errorf("sent as shown, it became %q", got)
	}
	g.call("PATCH", "/v1/endpoints/e", key, `{"headers":{}}`).want(t, 200, "")
	if got := stored(); got != "" {
		t.Errorf("taken away, it is %q", got)
	}
}

func TestRotatedSecretLeavesTheOldOneValidForADay(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"https://a.example/"}`).want(t, 201, "")
	for _, path := range []string{"/v1/secret", "/v1/endpoints/e/secret"} {
		first := g.call("GET", path, key, "")
		if strings.Contains(first.body, "previous_until") {
			t.Errorf("%s: %s", path, first.body)
		}
		next := g.call("POST", path+"/rotate", key, "")
		next.want(t, 200, "")
		until, err := time.Parse(time.RFC3339, field[string](t, next, "previous_until"))
		if err != nil || time.Until(until).Round(time.Minute) != previousSecretLasts {
			t.Errorf("%s: the old one is valid until %v, %v", path, until, err)
		}
		now := g.call("GET", path, key, "")
		if field[string](t, now, "secret") != field[string](t, next, "secret") || field[string](t, now, "secret") == field[string](t, first, "secret") {
			t.Errorf("%s: %s after %s", path, now.body, first.body)
		}
	}
	e, err := g.store.Endpoint(t.Context(), "a", "e")
	if err != nil {
		t.Fatal(err)
	}
	if old, err := g.seal.Open(e.Secrets.Previous, "secret"); err != nil || !strings.HasPrefix(string(old), "whsec_") {
		t.Errorf("the old secret is lost: %v", err)
	}
}

func TestAnAppMayHaveSoManyEndpoints(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key, other := g.app("shop"), g.app("other")
	for i := range maxEndpoints {
		g.endpoint("shop", job.Endpoint{Name: fmt.Sprintf("e%d", i)})
	}
	document := `{"name":"one-more","url":"https://a.example"}`
	g.call("POST", "/v1/endpoints", key, document).want(t, http.StatusConflict, "too_many_endpoints")
	g.call("POST", "/v1/endpoints", key, `{"name":"e1","url":"https://a.example"}`).want(t, http.StatusConflict, "conflict")
	g.call("POST", "/v1/endpoints", other, document).want(t, http.StatusCreated, "")
	g.call("DELETE", "/v1/endpoints/e1", key, "").want(t, http.StatusNoContent, "")
	g.call("POST", "/v1/endpoints", key, document).want(t, http.StatusCreated, "")
}

func TestEndpointOfTheFormatTemplateNeedsOperationsWithOne(t *testing.T) {
	t.Parallel()
	const body = `{"name":"shop","url":"https://my.server/bar","format":"template"%s}`
	g := setup(t, nil)
	a := g.call("POST", "/v1/endpoints", g.app("a"), fmt.Sprintf(body, ""))
	a.want(t, 400, "bad_request")
	if !strings.Contains(a.body, `{"detail":"no operation has a template, which this format needs","pointer":"#/format"}`) {
		t.Errorf("got %s", a.body)
	}

	g = setup(t, func(o *Options) {
		with := o.Operations[0]
		with.Name, with.Route, with.Callback.Template = "told", "POST /told", "{}"
		o.Operations = append(o.Operations, with)
	})
	key := g.app("a")
	a = g.call("POST", "/v1/endpoints", key, fmt.Sprintf(body, `,"operations":["told","scan"]`))
	a.want(t, 400, "bad_request")
	if !strings.Contains(a.body, `{"detail":"the operation scan has no template, which this format needs","pointer":"#/format"}`) {
		t.Errorf("got %s", a.body)
	}
	g.call("POST", "/v1/endpoints", key, fmt.Sprintf(body, `,"operations":["told"]`)).want(t, 201, "")
	g.call("PATCH", "/v1/endpoints/shop", key, `{"operations":["scan"]}`).want(t, 400, "bad_request")
	g.call("PATCH", "/v1/endpoints/shop", key, `{"operations":[]}`).want(t, 200, "")
}
