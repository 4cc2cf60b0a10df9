package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/docs"
	"github.com/ringback/ringback/job"
)

func TestWhatIsNotServedIsAProblem(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.Metrics = http.NotFoundHandler() })
	key := g.app("a")
	for request, want := range map[string]string{
		"GET /v1/nosuch":     "404 not_found ",
		"GET /v1":            "404 not_found ",
		"PUT /v1/jobs":       "405 method_not_allowed GET, HEAD, OPTIONS",
		"PUT /v1/jobs/x":     "405 method_not_allowed DELETE, GET, HEAD, OPTIONS",
		"POST /healthz":      "405 method_not_allowed GET, HEAD, OPTIONS",
		"BREW /v1/jobs":      "501 method_unknown ",
		"TRACE /v1/jobs":     "405 method_not_allowed GET, HEAD, OPTIONS",
		"GET /v1/../etc":     "404 not_found ",
		"GET /v1/openapi":    "404 not_found ",
		"DELETE /v1/secret":  "405 method_not_allowed GET, HEAD, OPTIONS",
		"GET /v1/jobs/a/b/c": "404 not_found ",
	} {
		method, path, _ := strings.Cut(request, " ")
		a := g.call(method, path, key, "")
		got := http.StatusText(a.status)
		if a.header.Get("Content-Type") == "application/problem+json" {
			got = strings.TrimSpace(strings.Join([]string{itoa(a.status), field[string](t, a, "code"), a.header.Get("Allow")}, " "))
		}
		if got != strings.TrimSpace(want) {
			t.Errorf("%s: %q %s, want %q", request, got, a.body, want)
		}
		if strings.Contains(a.body, key) {
			t.Errorf("%s: the answer repeats the key", request)
		}
	}
	if a := g.call("OPTIONS", "/v1/jobs", "", ""); a.status != 204 || a.header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("OPTIONS: %d %q", a.status, a.header.Get("Allow"))
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestHealthNeedsNoKey(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := g.call("GET", path, "", ""); a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	g.call("GET", "/metrics", "", "").want(t, 404, "not_found")
}

// fullDisk is a store that takes nothing.
type fullDisk struct{ job.Store }

func (fullDisk) Ready(ctx context.Context) error {
	return errors.Join(job.ErrUnavailable, errors.New("the disk is full"))
}

func (fullDisk) CreateApp(context.Context, job.App, job.Key) error { return job.ErrUnavailable }

func (fullDisk) ListApps(context.Context) ([]job.App, error) {
	return nil, errors.New("no such table: apps in /var/lib/secret.db")
}

func TestTroubleOfTheStoreIsToldWithoutItsInside(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.Store = fullDisk{o.Store} })
	ready := g.call("GET", "/readyz", "", "")
	ready.want(t, 503, "unavailable")
	if !strings.Contains(ready.body, "the disk is full") {
		t.Errorf("readyz does not say why: %s", ready.body)
	}
	create := g.call("POST", "/v1/apps", adminKey, `{"name":"a"}`)
	create.want(t, 503, "unavailable")
	if create.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	list := g.call("GET", "/v1/apps", adminKey, "")
	list.want(t, 500, "internal")
	if strings.Contains(list.body, "table") || strings.Contains(list.body, "secret.db") {
		t.Errorf("the answer tells of the inside: %s", list.body)
	}
	if !strings.Contains(g.log.String(), "no such table") {
		t.Error("the log does not tell of it")
	}
}

func TestPanicIsAProblemAndIsLogged(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret inside") })
	})
	a := g.call("GET", "/metrics", "", "")
	a.want(t, 500, "internal")
	if strings.Contains(a.body, "secret inside") || !strings.Contains(g.log.String(), "secret inside") {
		t.Errorf("answer %s", a.body)
	}
}

func TestPanicInAnAnswerThatHasBegunCutsItOff(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	h := g.api.answered(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("half"))
		panic("now")
	}))
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Error("the answer looks whole")
		}
	}()
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
}

func TestRouteOfTheGatewayCannotBeAnOperation(t *testing.T) {
	t.Parallel()
	for route, ok := range map[string]bool{"POST /v1/scan": false, "GET /healthz": false, "GET /v1": false, "POST /v2/scan": true, "POST /healthz2": true} {
		g := setup(t, nil)
		opt := g.options()
		opt.Operations = []job.Operation{job.Operation{Name: "own", Route: route}.WithDefaults()}
		_, err := New(opt)
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "own") {
			t.Errorf("%s: %v", route, err)
		}
		opt.Prefix = "/.ringback"
		if _, err := New(opt); err != nil {
			t.Errorf("%s with a prefix: %v", route, err)
		}
	}
}

func TestOpenAPIDescribesRoutesAndCallbacks(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.PublicURL = "https://api.example.com"
		o.Examples = func(op job.Operation) []docs.Example {
			return []docs.Example{{Event: job.EventSucceeded, Format: "envelope", Method: "POST", URL: docs.SampleURL, Body: []byte(`{}`),
				Header: http.Header{"Content-Type": {"application/json"}, "Webhook-Id": {"cb_1"}}}}
		}
	})
	a := g.call("GET", "/openapi.json", "", "")
	a.want(t, 200, "")
	var doc struct {
		OpenAPI string
		Servers []struct{ URL string }
		Paths   map[string]map[string]struct {
			OperationID string
			Parameters  []struct{ Name, In string }
			Responses   map[string]any
			Callbacks   map[string]map[string]map[string]struct {
				Parameters  []struct{ Name string }
				RequestBody struct {
					Content map[string]struct {
						Schema struct{ Properties map[string]any }
					}
				}
			}
		}
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || doc.Servers[0].URL != "https://api.example.com" {
		t.Errorf("openapi %q, servers %v", doc.OpenAPI, doc.Servers)
	}
	for path, methods := range map[string]string{
		"/v1/jobs": "get", "/v1/jobs/{id}": "get delete", "/v1/jobs/{id}/result": "get", "/v1/jobs/{id}/events": "get",
		"/v1/callbacks": "get", "/v1/callbacks/{id}": "get", "/v1/callbacks/{id}/attempts": "get", "/v1/callbacks/{id}/resend": "post",
		"/v1/endpoints": "get post", "/v1/endpoints/{name}": "get patch delete", "/v1/endpoints/{name}/secret": "get",
		"/v1/endpoints/{name}/secret/rotate": "post", "/v1/secret": "get", "/v1/secret/rotate": "post", "/v1/apps": "get post",
		"/scan": "post", "/reports/{kind}": "post",
	} {
		for method := range strings.FieldsSeq(methods) {
			op, ok := doc.Paths[path][method]
			if !ok || op.Responses["default"] == nil {
				t.Errorf("%s %s is missing, or its problems are", method, path)
			}
		}
	}
	scan := doc.Paths["/scan"]["post"]
	callback := scan.Callbacks["envelope"]["{$request.query.callbackURL}"]["post"]
	if callback.RequestBody.Content["application/json"].Schema.Properties["data"] == nil || len(callback.Parameters) != 1 {
		t.Errorf("callbacks of scan: %+v", scan.Callbacks)
	}
	if doc.Components.Schemas["ErrorModel"] != nil || doc.Components.Schemas["Problem"] == nil {
		t.Error("the error's schema is not ours")
	}
}

func TestRefusedBodyHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	var serverLog strings.Builder
	server := httptest.NewUnstartedServer(g.api)
	server.Config.ErrorLog = log.New(&serverLog, "", 0)
	server.Start()
	for _, head := range []string{
		"Content-Length: 2\r\n\r\n{}",
		"Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n",
		"Content-Length: 1073741824\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
	} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST /v1/endpoints HTTP/1.1\r\nHost: a\r\n"+head); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(line, " 401 ") {
			t.Errorf("%q: %q, %v", head, line, err)
		}
		conn.Close()
	}
	server.Close()
	if serverLog.Len() > 0 {
		t.Errorf("the server complains: %s", serverLog.String())
	}
}
