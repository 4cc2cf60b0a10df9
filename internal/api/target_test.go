package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ringback/ringback/job"
)

// endpoint registers an endpoint of an app.
func (g *gateway) endpoint(app string, e job.Endpoint) {
	g.t.Helper()
	e.App, e.URL, e.Secrets.Current = app, "https://"+e.Name+".example/cb", []byte("sealed")
	if err := g.store.CreateEndpoint(g.t.Context(), e); err != nil {
		g.t.Fatal(err)
	}
}

func TestCallbackIsChosenInOrder(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[0].Callback.URL = []string{"{$request.query.callbackURL}", "{$request.header.X-Callback-Url}", "{$request.body#/to}", "https://own.example/cb"}
	})
	key := g.app("shop")
	call := func(query string, document string, headers ...string) answer {
		return g.call("POST", "/scan"+query, key, document, headers...)
	}
	want := func(a answer, url, source, endpoint string) {
		t.Helper()
		target := g.stored(a).Targets[0]
		if got := field[string](t, a, "callback.url"); got != url {
			t.Errorf("url %q, want %q", got, url)
		}
		if got := field[string](t, a, "callback.source"); got != source || string(target.Source) != source {
			t.Errorf("source %q, stored %q, want %q", got, target.Source, source)
		}
		if target.Endpoint != endpoint || endpoint == "" && target.URL != url || endpoint != "" && target.URL != "" {
			t.Errorf("stored %+v", target)
		}
	}
	want(call("", "{}"), "https://own.example/cb", "operation", "")
	g.endpoint("shop", job.Endpoint{Name: "named"})
	g.endpoint("shop", job.Endpoint{Name: "reports", Default: true, Operations: []string{"report"}})
	want(call("", "{}"), "https://own.example/cb", "operation", "")
	g.endpoint("shop", job.Endpoint{Name: "all", Default: true})
	want(call("", "{}"), "https://all.example/cb", "default_endpoint", "all")
	g.endpoint("shop", job.Endpoint{Name: "scans", Default: true, Operations: []string{"scan"}})
	want(call("", "{}"), "https://scans.example/cb", "operation_endpoint", "scans")
	want(call("?callback=named", "{}"), "https://named.example/cb", "endpoint", "named")
	want(call("", "{}", "X-Callback", "named"), "https://named.example/cb", "endpoint", "named")
	want(call("?callback=named", `{"to":"https://body.example"}`), "https://body.example", "request", "")
	want(call("?callback=named", `{"to":null}`), "https://named.example/cb", "endpoint", "named")
	want(call("", `{"to":"https://body.example"}`, "X-Callback-Url", "https://header.example"), "https://header.example", "request", "")
	// Where the URL stands before the body, nobody looks into the body.
	want(call("?callbackURL=https://query.example", `{"to":`), "https://query.example", "request", "")
}

func TestUnusableCallbackIsRefusedAndNoOtherIsTaken(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[1].Callback = job.Contract{URL: []string{"{$request.body#/to}"}, Required: true}
		o.CheckURL = func(url string) error {
			if strings.Contains(url, "127.0.0.1") {
				return forbiddenURL{}
			}
			return (&gateway{}).options().CheckURL(url)
		}
	})
	key, bare := g.app("shop"), g.app("bare")
	g.endpoint("shop", job.Endpoint{Name: "all", Default: true})
	g.endpoint("bare", job.Endpoint{Name: "foreign"})
	for _, test := range []struct {
		key, path, document, code string
	}{
		{key, "/scan?callbackURL=nonsense", "{}", "callback_url_invalid"},
		{key, "/scan?callbackURL=", "{}", "callback_url_invalid"},
		{key, "/scan?callbackURL", "{}", "callback_url_invalid"},
		{key, "/scan?callbackURL=https://127.0.0.1/", "{}", "callback_url_forbidden"},
		{key, "/scan?callback=nosuch", "{}", "callback_unknown_endpoint"},
		{key, "/scan?callback=foreign", "{}", "callback_unknown_endpoint"},
		{key, "/scan?callback=", "{}", "callback_unknown_endpoint"},
		{key, "/scan?callback=x'%20OR%20'1'='1", "{}", "callback_unknown_endpoint"},
		{key, "/reports/x", `{"to":"nonsense"}`, "callback_url_invalid"},
		{key, "/reports/x", `{"to":""}`, "callback_url_invalid"},
		{key, "/reports/x", `{"to":1}`, "callback_url_invalid"},
		{key, "/reports/x", `{"to":[]}`, "callback_url_invalid"},
		{key, "/reports/x", `{"to":"https://a.example"`, "body_malformed"},
		{bare, "/reports/x", "{}", "callback_required"},
		{bare, "/reports/x", "", "callback_required"},
	} {
		g.call("POST", test.path, test.key, test.document).want(t, http.StatusBadRequest, test.code)
	}
	if n := g.jobs(); n != 0 {
		t.Errorf("%d jobs", n)
	}
	a := g.call("POST", "/scan", bare, "{}")
	if g.stored(a).Targets != nil || strings.Contains(a.body, `"callback"`) {
		t.Errorf("without any source a job can only be polled: %s", a.body)
	}
}

type forbiddenURL struct{}

func (forbiddenURL) Error() string   { return "the address is not public" }
func (forbiddenURL) Forbidden() bool { return true }

// deafStore can do nothing but accept.
type deafStore struct{ job.Store }

var errAsked = errors.New("the store was asked")

func (deafStore) Endpoint(context.Context, string, string) (job.Endpoint, error) {
	return job.Endpoint{}, errAsked
}

func (deafStore) ListEndpoints(context.Context, string) ([]job.Endpoint, error) { return nil, errAsked }

func (deafStore) Job(context.Context, string, job.ID) (*job.Job, error) { return nil, errAsked }

func TestCallbackURLIsCheckedOnce(t *testing.T) {
	t.Parallel()
	var checks atomic.Int64
	g := setup(t, func(o *Options) {
		o.CheckURL = func(string) error { checks.Add(1); return nil }
	})
	key := g.app("shop")
	g.call("POST", "/scan?callbackURL=https://a.example", key, "{}").want(t, http.StatusAccepted, "")
	if n := checks.Load(); n != 1 {
		t.Errorf("checked %d times", n)
	}
}

// countedLists counts how often endpoints are listed, and may hold the answer back.
type countedLists struct {
	job.Store
	n    atomic.Int64
	read func()
}

func (s *countedLists) ListEndpoints(ctx context.Context, app string) ([]job.Endpoint, error) {
	s.n.Add(1)
	found, err := s.Store.ListEndpoints(ctx, app)
	if s.read != nil {
		s.read()
	}
	return found, err
}

func TestDefaultEndpointIsReadOnceUntilItChanges(t *testing.T) {
	t.Parallel()
	lists := &countedLists{}
	g := setup(t, func(o *Options) { lists.Store, o.Store = o.Store, lists })
	key := g.app("shop")
	want := func(url string) {
		t.Helper()
		a := g.call("POST", "/scan", key, "{}")
		if stored := g.stored(a).Targets; (stored == nil) != (url == "") || stored != nil && stored[0].EndpointURL != url {
			t.Errorf("%s, want %q", a.body, url)
		}
	}
	for range 3 {
		want("")
	}
	g.endpoint("shop", job.Endpoint{Name: "all", Default: true})
	for range 3 {
		want("https://all.example/cb")
	}
	if n := lists.n.Load(); n != 2 {
		t.Errorf("the endpoints were listed %d times, want once before and once after the change", n)
	}
	g.call("PATCH", "/v1/endpoints/all", key, `{"url":"https://other.example"}`).want(t, http.StatusOK, "")
	want("https://other.example")
	g.call("DELETE", "/v1/endpoints/all", key, "").want(t, http.StatusNoContent, "")
	want("")
	lists.read = func() { // what was read is old by the time it could be remembered
		lists.read = nil
		g.endpoint("shop", job.Endpoint{Name: "late", Default: true})
	}
	g.endpoint("shop", job.Endpoint{Name: "early"})
	want("")
	want("https://late.example/cb")
}

func TestCallWithItsOwnURLAsksTheStoreNothing(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.Store = deafStore{o.Store} })
	key := g.app("shop")
	g.call("POST", "/scan?callbackURL=https://a.example", key, "{}").want(t, http.StatusAccepted, "")
	g.call("POST", "/scan", key, "{}").want(t, http.StatusInternalServerError, "internal")
}

func TestRefusedCallSaysWhatToSendInstead(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[0].Callback = job.Contract{URL: []string{"{$request.body#/callback/url}"}, Required: true}
		registered := o.Operations[0]
		registered.Name, registered.Route = "known", "POST /known"
		registered.Callback.Policy = job.Policy{Registered: true}
		o.Operations = append(o.Operations, registered)
	})
	key := g.app("shop")
	g.call("POST", "/v1/endpoints", key, `{"name":"own","url":"https://my.server/bar"}`).want(t, 201, "")
	for _, c := range []struct{ path, body, code, says string }{
		{"/scan?callback=own,nosuch", "{}", "callback_unknown_endpoint", `"callback names no endpoint of the app: nosuch"`},
		{"/scan?callback=own,N%22", "{}", "callback_unknown_endpoint", `"callback names no endpoint of the app"`},
		{"/scan", `{"callback":{"url":17}}`, "callback_url_invalid", `"hint":"a text is wanted there, not a number, true or false"`},
		{"/scan", "{}", "callback_required", `"hint":"send it as {$request.body#/callback/url}, or register an endpoint as the default"`},
		{"/known", "{}", "callback_required", `"hint":"name a registered endpoint with ?callback=NAME, or register an endpoint as the default"`},
	} {
		a := g.call("POST", c.path, key, c.body)
		a.want(t, 400, c.code)
		if !strings.Contains(a.body, c.says) {
			t.Errorf("%s: %s", c.path, a.body)
		}
	}
}
