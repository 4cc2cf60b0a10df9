package api

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

func TestJobIsShownWithItsCallbacks(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	a := g.call("GET", "/v1/jobs/"+j.ID.Job(), key, "")
	a.want(t, 200, "")
	if got := field[string](t, a, "callback.url"); got != "https://a.example/cb" {
		t.Errorf("callback.url = %q", got)
	}
	if got := field[string](t, a, "links.result"); got != "/v1/jobs/"+j.ID.Job()+"/result" {
		t.Errorf("links.result = %q", got)
	}
	g.finish(j, job.Failed, nil, &job.Error{Code: job.CodeTimeout, Message: "too slow"})
	g.settle(j)
	a = g.call("GET", "/v1/jobs/"+j.ID.Job(), key, "")
	if got := field[string](t, a, "error.code"); got != "timeout" {
		t.Errorf("error.code = %q", got)
	}
	callback := field[[]any](t, a, "callbacks")[0].(map[string]any)
	if callback["status"] != "delivered" || callback["last_status"] != 200.0 {
		t.Errorf("callbacks = %v", callback)
	}
	for name, value := range ownHeaders {
		if a.header.Get(name) != value {
			t.Errorf("%s: %q", name, a.header.Get(name))
		}
	}
	if head := g.call("HEAD", "/v1/jobs/"+j.ID.Job(), key, ""); head.status != 200 || head.body != "" {
		t.Errorf("HEAD: %d %q", head.status, head.body)
	}
}

func TestStrangersJobLooksLikeNone(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	keyA := g.app("a")
	g.app("b")
	theirs := g.job("b", nil)
	unknown := g.call("GET", "/v1/jobs/nosuch", keyA, "")
	unknown.want(t, 404, "not_found")
	for _, path := range []string{"", "/result", "/events", "/result?token=" + strings.Repeat("A", 43)} {
		if got := g.call("GET", "/v1/jobs/"+theirs.ID.Job()+path, keyA, ""); got.status != 404 || got.body != unknown.body {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	for _, path := range []string{"1'%20OR%20'1'='1", "%25", theirs.ID.Job() + "%00", "%ff", theirs.ID.Callback()} {
		if got := g.call("GET", "/v1/jobs/"+path, keyA, ""); got.status != 404 || got.body != unknown.body {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := g.call("DELETE", "/v1/jobs/"+theirs.ID.Job(), keyA, ""); got.status != 404 || got.body != unknown.body {
		t.Errorf("DELETE: %d %s", got.status, got.body)
	}
}

func TestListGoesPageByPageNewestFirst(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	g.app("b")
	var want []string
	for range 5 {
		want = append([]string{g.job("a", nil).ID.Job()}, want...)
		g.job("b", nil)
	}
	var got []string
	for path := "/v1/jobs?limit=2"; path != ""; {
		a := g.call("GET", path, key, "")
		a.want(t, 200, "")
		for _, j := range field[[]any](t, a, "data") {
			got = append(got, j.(map[string]any)["id"].(string))
		}
		path = ""
		if !strings.Contains(a.body, `"next":null`) {
			path = "/v1/jobs?limit=2&cursor=" + field[string](t, a, "next")
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("listed %v, want %v", got, want)
	}
}

func TestListIsFiltered(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	g.job("a", func(j *job.Job) { j.Operation = "report" })
	g.finish(g.job("a", nil), job.Canceled, nil, nil)
	for query, want := range map[string]int{"": 2, "operation=report": 1, "operation=other": 0, "status=canceled": 1,
		"status=accepted&operation=scan": 0, "operation=scan&limit=200": 1} {
		a := g.call("GET", "/v1/jobs?"+query, key, "")
		a.want(t, 200, "")
		if got := len(field[[]any](t, a, "data")); got != want {
			t.Errorf("%s lists %d jobs, want %d", query, got, want)
		}
	}
}

func TestMalformedQueryIsRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	id := g.job("a", nil).ID
	cursor := makeCursor(id)
	for path, code := range map[string]string{
		"/v1/jobs?limit=-1":                                   "invalid_parameter",
		"/v1/jobs?limit=201":                                  "invalid_parameter",
		"/v1/jobs?limit=99999999999999999999":                 "invalid_parameter",
		"/v1/jobs?limit=1&limit=2":                            "parameter_repeated",
		"/v1/jobs?status=done":                                "invalid_parameter",
		"/v1/jobs?operation=%00":                              "invalid_parameter",
		"/v1/jobs?colour=red":                                 "invalid_parameter",
		"/v1/jobs?x=%zz":                                      "bad_request",
		"/v1/jobs?cursor=%21%21%21":                           "invalid_cursor",
		"/v1/jobs?cursor=JyBPUiAxPTEgLS0":                     "invalid_cursor",
		"/v1/jobs?cursor=x" + cursor:                          "invalid_cursor",
		"/v1/jobs?cursor=" + cursor + "=":                     "invalid_cursor",
		"/v1/jobs?cursor=" + strings.Repeat("A", 100):         "invalid_parameter",
		"/v1/jobs?cursor=" + strings.Repeat("A", len(cursor)): "invalid_cursor",
		"/v1/jobs/" + id.Job() + "?wait=abc":                  "invalid_parameter",
		"/v1/jobs/" + id.Job() + "?wait=-1":                   "invalid_parameter",
		"/v1/callbacks?job=job_1":                             "invalid_parameter",
		"/v1/callbacks?endpoint=A%20B":                        "invalid_parameter",
		"/v1/callbacks?status=open":                           "invalid_parameter",
	} {
		a := g.call("GET", path, key, "")
		if a.status != 400 || field[string](t, a, "code") != code {
			t.Errorf("%s: %d %s, want 400 %s", path, a.status, a.body, code)
		}
	}
}

func TestLongPollAnswersAtTheEnd(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	answered := make(chan answer)
	go func() { answered <- g.call("GET", "/v1/jobs/"+j.ID.Job()+"?wait=30", key, "") }()
	waitWatched(t, g, j.ID)
	g.finish(j, job.Succeeded, &job.Result{Status: 200, Body: body.Inline([]byte("x"))}, nil)
	if got := field[string](t, <-answered, "status"); got != "succeeded" {
		t.Errorf("status = %q", got)
	}
}

// waitWatched returns when somebody watches the job.
func waitWatched(t *testing.T, g *gateway, id job.ID) {
	t.Helper()
	for g.api.watch.shard(id).watched.Load() == 0 {
		select {
		case <-t.Context().Done():
			t.Fatal("nobody watches the job")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestLongPollEndsWhenTheGatewayDrains(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.MaxWait = time.Hour })
	key := g.app("a")
	j := g.job("a", nil)
	answered := make(chan answer)
	go func() { answered <- g.call("GET", "/v1/jobs/"+j.ID.Job()+"?wait=3000", key, "") }()
	waitWatched(t, g, j.ID)
	g.api.Drain()
	a := <-answered
	a.want(t, 200, "")
	if got := field[string](t, a, "status"); got != "accepted" {
		t.Errorf("status = %q", got)
	}
	g.call("GET", "/readyz", "", "").want(t, 503, "unavailable")
}

// oneJob is a store in which there is one job.
type oneJob struct {
	job.Store
	j *job.Job
}

func (s oneJob) Job(context.Context, string, job.ID) (*job.Job, error) { return s.j, nil }

func TestLongPollAnswersWithWhatStandsAfterItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &API{now: time.Now, watch: newWatchers(), auth: newAuthenticator(Options{Now: time.Now})}
		a.opt.Store = oneJob{j: &job.Job{State: job.Running}}
		begin := time.Now()
		j, err := a.awaitEnd(t.Context(), &caller{app: job.App{Name: "a"}, key: job.Key{Scopes: job.AllScopes}}, job.ScopeRead, job.ID{1}, 7*time.Second)
		if err != nil || j.State != job.Running || time.Since(begin) != 7*time.Second {
			t.Errorf("%v, %v after %v", j, err, time.Since(begin))
		}
	})
}

func TestCancelEndsTheJobOnce(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	a := g.call("DELETE", "/v1/jobs/"+j.ID.Job(), key, "")
	a.want(t, 200, "")
	if got := field[string](t, a, "status"); got != "canceled" {
		t.Errorf("status = %q", got)
	}
	callback := field[[]any](t, a, "callbacks")[0].(map[string]any)
	if callback["event"] != "canceled" || callback["status"] != "pending" {
		t.Errorf("callback %v", callback)
	}
	g.call("DELETE", "/v1/jobs/"+j.ID.Job(), key, "").want(t, 409, "job_terminal")
	g.call("GET", "/v1/jobs/"+j.ID.Job()+"/result", key, "").want(t, 409, "no_result")
}

func TestOverrideHeaderDoesNotCancel(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	a := g.call(http.MethodGet, "/v1/jobs/"+j.ID.Job(), key, "", "X-HTTP-Method-Override", "DELETE")
	if got := field[string](t, a, "status"); got != "accepted" {
		t.Errorf("status = %q", got)
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add(makeCursor(ids.New(time.UnixMilli(1_790_000_000_000))))
	f.Add("JyBPUiAxPTEgLS0")
	f.Add("!!!")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := parseCursor(s); ok && makeCursor(id) != s {
			t.Fatalf("%q reads as %q", s, makeCursor(id))
		}
	})
}
