package api

import (
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func TestCallbackIsShownWithItsAttemptsAndSentAgain(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	g.finish(j, job.Succeeded, &job.Result{Status: 200}, nil)
	g.settle(j)
	list := g.call("GET", "/v1/callbacks?job="+j.ID.Job()+"&status=delivered", key, "")
	list.want(t, 200, "")
	id := field[[]any](t, list, "data")[0].(map[string]any)["id"].(string)
	one := g.call("GET", "/v1/callbacks/"+id, key, "")
	if field[string](t, one, "event") != "succeeded" || field[string](t, one, "job_id") != j.ID.Job() || field[string](t, one, "url") != "https://a.example/cb" {
		t.Errorf("callback %s", one.body)
	}
	attempts := g.call("GET", "/v1/callbacks/"+id+"/attempts", key, "")
	attempt := field[[]any](t, attempts, "data")[0].(map[string]any)
	if attempt["status"] != 200.0 || attempt["total_ms"] != 1.5 || attempt["body"] != "thanks" || attempt["n"] != 1.0 {
		t.Errorf("attempt %v", attempt)
	}
	again := g.call("POST", "/v1/callbacks/"+id+"/resend", key, "")
	again.want(t, 202, "")
	until, err := time.Parse(time.RFC3339, field[string](t, again, "give_up_at"))
	if err != nil || field[string](t, again, "status") != "pending" || time.Until(until).Round(time.Hour) != 72*time.Hour {
		t.Errorf("resent: %s, %v", again.body, err)
	}
	for _, query := range []string{"status=dead", "endpoint=shop", "job=" + g.job("a", nil).ID.Job()} {
		if a := g.call("GET", "/v1/callbacks?"+query, key, ""); len(field[[]any](t, a, "data")) != 0 {
			t.Errorf("%s: %s", query, a.body)
		}
	}
}

func TestStrangersCallbackLooksLikeNone(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	keyA := g.app("a")
	g.app("b")
	j := g.job("b", nil)
	g.finish(j, job.Succeeded, &job.Result{Status: 200}, nil)
	theirs, err := g.store.Callbacks(t.Context(), job.CallbackFilter{App: "b", Limit: 1})
	if err != nil || len(theirs) != 1 {
		t.Fatal(theirs, err)
	}
	unknown := g.call("GET", "/v1/callbacks/nosuch", keyA, "")
	unknown.want(t, 404, "not_found")
	for _, request := range []string{"GET ", "GET /attempts", "POST /resend"} {
		method, path, _ := strings.Cut(request, " ")
		if a := g.call(method, "/v1/callbacks/"+theirs[0].ID.Callback()+path, keyA, ""); a.status != 404 || a.body != unknown.body {
			t.Errorf("%s: %d %s", request, a.status, a.body)
		}
	}
	if a := g.call("GET", "/v1/callbacks", keyA, ""); len(field[[]any](t, a, "data")) != 0 {
		t.Errorf("list: %s", a.body)
	}
}

func TestAnswerThatIsNoTextIsShownInBase64(t *testing.T) {
	t.Parallel()
	if got := showAttempt(job.Attempt{Body: []byte{0xff, 0}}); got.Body != "" || string(got.BodyBase64) != "\xff\x00" {
		t.Errorf("shown as %+v", got)
	}
}
