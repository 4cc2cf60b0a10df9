package ringback_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
	"github.com/ringback/ringback/store/sqlite"
)

// ailing starts a gateway that disables endpoints after ten hours, by a clock that is
// ahead by what is in the number.
func ailing(t *testing.T, dir string, ahead *atomic.Int64, change func(*ringback.Options)) *gateway {
	t.Helper()
	return start(t, dir, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick)}
		o.DisableAfter = 10 * time.Hour
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		if change != nil {
			change(o)
		}
	})
}

// receiverOf is a receiver that answers with the status that is in the number.
func receiverOf(t *testing.T) (url string, status, requests *atomic.Int64) {
	t.Helper()
	status, requests = &atomic.Int64{}, &atomic.Int64{}
	status.Store(200)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		w.WriteHeader(int(status.Load()))
	}))
	t.Cleanup(server.Close)
	return server.URL, status, requests
}

// operational registers an endpoint that is told of the others, and returns what it gets.
func (g *gateway) operational(t *testing.T, name string) <-chan notice {
	t.Helper()
	events := make(chan notice, 100)
	var secret sign.Secret
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if _, err := sign.Verify(r.Header, body, time.Now(), secret); err != nil && !strings.Contains(err.Error(), "timestamp") {
			t.Errorf("an event is not signed: %v", err) // its clock is ahead
		}
		var e notice
		if err := json.Unmarshal(body, &e); err != nil {
			t.Errorf("an event: %v", err)
		}
		events <- e
	}))
	t.Cleanup(server.Close)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: name, URL: server.URL, Operational: true}); err != nil {
		t.Fatal(err)
	}
	secret = secretOf(t, g.app, name)
	return events
}

type notice struct {
	Type string `json:"type"`
	Data struct {
		Endpoint   string `json:"endpoint"`
		Origin     string `json:"origin"`
		Reason     string `json:"reason"`
		Since      string `json:"failing_since"`
		DisabledAt string `json:"disabled_at"`
		DisablesAt string `json:"disables_at"`
		Status     int    `json:"last_status"`
		Error      string `json:"last_error"`
	} `json:"data"`
}

func toldOf(t *testing.T, events <-chan notice, kind, endpoint string) notice {
	t.Helper()
	select {
	case e := <-events:
		if e.Type != kind || e.Data.Endpoint != endpoint || !strings.HasPrefix(e.Data.Origin, "http://127.0.0.1:") {
			t.Fatalf("told %+v, want %s of %s", e, kind, endpoint)
		}
		return e
	case <-time.After(time.Minute):
		t.Fatalf("no %s was told", kind)
		return notice{}
	}
}

// fails has one callback to an endpoint tried to its end, without success.
func (g *gateway) fails(t *testing.T, endpoint string) {
	t.Helper()
	if c := g.settled(t, g.call(t, client.Call{Path: "/relay", Endpoint: endpoint}).ID); c.Status != "dead" {
		t.Fatalf("a callback that fails: %+v", c)
	}
}

func (g *gateway) endpoint(t *testing.T, name string) *client.Endpoint {
	t.Helper()
	e, err := g.app.Endpoint(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// waitsFor waits until the only callback of a job waits for something.
func (g *gateway) waitsFor(t *testing.T, id, what string) (cb client.Callback) {
	t.Helper()
	eventually(t, "the callback waits: "+what, func() bool {
		for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: id}) {
			if err != nil {
				t.Fatal(err)
			}
			cb = c
		}
		return cb.Status == "pending" && cb.Waiting == what
	})
	return cb
}

func TestAnEndpointThatStaysDeadIsDisabledAndTold(t *testing.T) {
	t.Parallel()
	dir, ahead := t.TempDir(), &atomic.Int64{}
	g := ailing(t, dir, ahead, nil)
	g.join(t)
	events := g.operational(t, "ops")
	url, status, requests := receiverOf(t)
	status.Store(503)
	g.create(t, url+"/bar", nil)
	pass := func(d time.Duration) {
		ahead.Add(int64(d))
		g.fails(t, "main")
	}
	g.fails(t, "main")
	pass(2 * time.Hour)
	eventually(t, "the time is stored", func() bool { return !g.endpoint(t, "main").FailingSince.IsZero() })
	pass(3*time.Hour + time.Minute)
	failing := toldOf(t, events, "endpoint.failing", "main")
	if failing.Data.Status != 503 || failing.Data.Error != "status_5xx" || failing.Data.Since == "" || failing.Data.DisablesAt == "" {
		t.Errorf("%+v", failing)
	}
	pass(time.Hour) // told once
	// A restart forgets nothing of that.
	since := g.endpoint(t, "main").FailingSince
	g.stop()
	before := g
	g = ailing(t, dir, ahead, nil)
	g.app, g.admin = g.client(t, before.key), g.client(t, adminKey)
	pass(3*time.Hour + 50*time.Minute)
	if e := g.endpoint(t, "main"); e.Disabled || !e.FailingSince.Equal(since.Time) {
		t.Fatalf("ten hours are not over: %+v", e)
	}
	ahead.Add(int64(20 * time.Minute))
	id := g.call(t, client.Call{Path: "/relay", Endpoint: "main"}).ID
	disabled := toldOf(t, events, "endpoint.disabled", "main")
	if disabled.Data.Reason != "failing" || disabled.Data.Since != failing.Data.Since || disabled.Data.DisabledAt == "" {
		t.Errorf("%+v", disabled)
	}
	if e := g.endpoint(t, "main"); !e.Disabled || e.DisabledReason != "failing" || e.DisabledAt.IsZero() {
		t.Errorf("%+v", e)
	}
	// The event is a callback like others, of a job that one can look at.
	jobs := 0
	for j, err := range g.app.Jobs(t.Context(), client.JobQuery{Operation: "ringback"}) {
		if err != nil || j.Status != "succeeded" {
			t.Fatalf("%+v, %v", j, err)
		}
		jobs++
	}
	if jobs != 2 {
		t.Errorf("%d jobs of events", jobs)
	}
	// What is owed is kept, however long, and delivered when it is enabled.
	g.waitsFor(t, id, "disabled")
	status.Store(200)
	tried := requests.Load()
	ahead.Add(int64(200 * time.Hour))
	late := g.call(t, client.Call{Path: "/relay", Endpoint: "main"}).ID
	cb := g.waitsFor(t, id, "disabled")
	g.waitsFor(t, late, "disabled")
	if !cb.GiveUpAt.After(time.Now().Add(time.Duration(ahead.Load()))) {
		t.Errorf("it would be given up at %v though its endpoint is disabled", cb.GiveUpAt)
	}
	if n := requests.Load(); n != tried {
		t.Errorf("%d requests to a disabled endpoint", n-tried)
	}
	if e, err := g.app.EnableEndpoint(t.Context(), "main", client.BacklogDeliver); err != nil || e.Disabled || e.DisabledReason != "" || !e.FailingSince.IsZero() {
		t.Fatalf("%+v, %v", e, err)
	}
	for _, id := range []string{id, late} {
		if c := g.settled(t, id); c.Status != "delivered" {
			t.Errorf("after it was enabled: %+v", c)
		}
	}
	if len(events) != 0 {
		t.Errorf("told besides: %+v", <-events)
	}
}

func TestAnEndpointThatRecoversIsTold(t *testing.T) {
	t.Parallel()
	ahead := &atomic.Int64{}
	g := ailing(t, t.TempDir(), ahead, nil)
	g.join(t)
	events := g.operational(t, "ops")
	url, status, _ := receiverOf(t)
	status.Store(404)
	g.create(t, url, nil)
	for range 3 {
		g.fails(t, "main")
		ahead.Add(int64(3 * time.Hour))
	}
	toldOf(t, events, "endpoint.failing", "main")
	status.Store(204)
	g.settled(t, g.call(t, client.Call{Path: "/relay", Endpoint: "main"}).ID)
	toldOf(t, events, "endpoint.recovered", "main")
	eventually(t, "it does not fail any more", func() bool { return g.endpoint(t, "main").FailingSince.IsZero() })
	// The time begins anew.
	status.Store(404)
	ahead.Add(int64(3 * time.Hour))
	g.fails(t, "main")
	if g.endpoint(t, "main").Disabled || len(events) > 0 {
		t.Error("an endpoint that had recovered is disabled")
	}
}

func TestWhereEveryEndpointFailsAlikeNoneIsDisabled(t *testing.T) {
	t.Parallel()
	ahead := &atomic.Int64{}
	once := func(op *job.Operation) { op.Callback.GiveUpAfter = time.Millisecond } // a second attempt would come too late
	g := ailing(t, t.TempDir(), ahead, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick, once)}
	})
	g.join(t)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	g.create(t, closed.URL, nil)
	url, _, _ := receiverOf(t)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "good", URL: url}); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		g.fails(t, "main")
		ahead.Add(int64(3 * time.Hour))
	}
	if e := g.endpoint(t, "main"); e.Disabled || !e.FailingSince.IsZero() {
		t.Fatalf("nobody else has answered, it may be us: %+v", e)
	}
	// While another one answers it is not us.
	for range 6 {
		if c := g.settled(t, g.call(t, client.Call{Path: "/relay", Endpoint: "good"}).ID); c.Status != "delivered" {
			t.Fatal(c)
		}
		id := g.call(t, client.Call{Path: "/relay", Endpoint: "main"}).ID
		eventually(t, "it was tried", func() bool { return g.endpoint(t, "main").Disabled || g.settledNow(t, id) })
		ahead.Add(int64(3 * time.Hour))
	}
	eventually(t, "it is disabled", func() bool { return g.endpoint(t, "main").DisabledReason == "failing" })
}

func (g *gateway) settledNow(t *testing.T, id string) (settled bool) {
	t.Helper()
	for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: id}) {
		if err != nil {
			t.Fatal(err)
		}
		settled = c.Status != "pending"
	}
	return settled
}

func TestGoneDisablesAnEndpointAtOnce(t *testing.T) {
	t.Parallel()
	g := ailing(t, t.TempDir(), &atomic.Int64{}, func(o *ringback.Options) { o.DisableAfter = -1 })
	g.join(t)
	events := g.operational(t, "ops")
	url, status, _ := receiverOf(t)
	g.create(t, url, nil)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "each", URL: url + "/{app}"}); err != nil {
		t.Fatal(err)
	}
	status.Store(410)
	for _, to := range []client.Call{{Path: "/relay", CallbackURL: url}, {Path: "/relay", Endpoint: "each"}} {
		if c := g.settled(t, g.call(t, to).ID); c.Status != "dead" || c.LastError != "gone" {
			t.Errorf("%+v", c)
		}
	}
	if e := g.endpoint(t, "each"); e.Disabled {
		t.Errorf("one URL of several was gone: %+v", e)
	}
	g.fails(t, "main")
	if e := toldOf(t, events, "endpoint.disabled", "main"); e.Data.Reason != "gone" || e.Data.Status != 410 {
		t.Errorf("%+v", e)
	}
	if e := g.endpoint(t, "main"); e.DisabledReason != "gone" {
		t.Errorf("%+v", e)
	}
	// What waited is discarded where that is wanted.
	var waiting []string
	for range 3 {
		waiting = append(waiting, g.call(t, client.Call{Path: "/relay", Endpoint: "main"}).ID)
	}
	for _, id := range waiting {
		g.waitsFor(t, id, "disabled")
	}
	status.Store(200)
	if e, err := g.app.EnableEndpoint(t.Context(), "main", client.BacklogDiscard); err != nil || e.Disabled {
		t.Fatalf("%+v, %v", e, err)
	}
	for _, id := range waiting {
		if c := g.settled(t, id); c.Status != "discarded" || c.Attempts != 0 {
			t.Errorf("%+v", c)
		}
	}
	if c := g.settled(t, g.call(t, client.Call{Path: "/relay", Endpoint: "main"}).ID); c.Status != "delivered" {
		t.Errorf("after it was enabled: %+v", c)
	}
}

func TestTheOperationalEndpointIsToldNothingOfItself(t *testing.T) {
	t.Parallel()
	g := ailing(t, t.TempDir(), &atomic.Int64{}, nil)
	g.join(t)
	url, status, _ := receiverOf(t)
	status.Store(410)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "ops", URL: url, Operational: true}); err != nil {
		t.Fatal(err)
	}
	dead, deadStatus, _ := receiverOf(t)
	deadStatus.Store(410)
	g.create(t, dead, nil)
	g.fails(t, "main")
	eventually(t, "the operational endpoint is disabled by its own 410", func() bool { return g.endpoint(t, "ops").DisabledReason == "gone" })
	jobs := 0
	for _, err := range g.app.Jobs(t.Context(), client.JobQuery{Operation: "ringback"}) {
		if err != nil {
			t.Fatal(err)
		}
		jobs++
	}
	if jobs != 1 {
		t.Errorf("%d events, want that of the other one", jobs)
	}
}

func TestAnOperationalEndpointGetsNothingElse(t *testing.T) {
	t.Parallel()
	g := ailing(t, t.TempDir(), &atomic.Int64{}, nil)
	g.join(t)
	g.operational(t, "ops")
	if _, err := g.app.Call(t.Context(), client.Call{Path: "/relay", Endpoint: "ops"}); codeOf(err) != "callback_unknown_endpoint" {
		t.Errorf("a call that names it: %v", err)
	}
	url, _, _ := receiverOf(t)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "second", URL: url, Operational: true}); codeOf(err) != "conflict" {
		t.Errorf("a second one: %v", err)
	}
	for _, e := range []client.EndpointCreate{{Default: true}, {Events: []string{"failed"}}, {Operations: []string{"relay"}}, {Format: "raw"}} {
		e.Name, e.URL, e.Operational = "other", url, true
		if _, err := g.app.CreateEndpoint(t.Context(), e); err == nil {
			t.Errorf("%+v was taken", e)
		}
	}
}

func TestAnOperationCannotHaveTheNameOfTheEvents(t *testing.T) {
	t.Parallel()
	opt := options(t.TempDir())
	opt.Operations = []ringback.Operation{operation("ringback", "POST /relay", ringback.Relay())}
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "ringback.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := ringback.New(context.Background(), store, opt); err == nil || !strings.Contains(err.Error(), "the name is taken") {
		t.Errorf("%v", err)
	}
}

func TestReceiversVerifyOperationalEvents(t *testing.T) {
	t.Parallel()
	g := ailing(t, t.TempDir(), &atomic.Int64{}, nil)
	g.join(t)
	got := make(chan string, 1)
	var handler atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().(http.Handler).ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "ops", URL: server.URL, Operational: true}); err != nil {
		t.Fatal(err)
	}
	rc, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secretOf(t, g.app, "ops")}})
	if err != nil {
		t.Fatal(err)
	}
	handler.Store(rc.Handler(func(_ context.Context, m receiver.Message) error {
		got <- m.Type
		return nil
	}))
	url, status, _ := receiverOf(t)
	status.Store(410)
	g.create(t, url, nil)
	g.fails(t, "main")
	select {
	case kind := <-got:
		if kind != "endpoint.disabled" {
			t.Errorf("it got %s", kind)
		}
	case <-time.After(time.Minute):
		t.Error("it got nothing")
	}
}

// codeOf is the code of a problem; empty for what is none.
func codeOf(err error) string {
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return p.Code
	}
	return ""
}
