package ringback_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// once is an operation whose callbacks are tried a single time more.
func once(op *job.Operation) { op.Callback.Schedule = []time.Duration{time.Millisecond} }

// switchable is a receiver that fails until it is switched on. It counts what it takes
// by id.
type switchable struct {
	url   string
	works atomic.Bool
	taken chan string
}

func newSwitchable(t *testing.T) *switchable {
	t.Helper()
	s := &switchable{taken: make(chan string, 10_000)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.works.Load() {
			w.WriteHeader(http.StatusUnsupportedMediaType) // dead at once
			return
		}
		s.taken <- r.Header.Get("webhook-id")
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// kill makes n callbacks to a receiver that are dead.
func (g *gateway) kill(t *testing.T, s *switchable, n int) {
	t.Helper()
	for range n {
		g.call(t, client.Call{Path: "/relay", CallbackURL: s.url + "/bar", Body: strings.NewReader("x")})
	}
	eventually(t, "all are dead", func() bool {
		dead := int64(0)
		for group, err := range g.app.DeadLetters(t.Context(), client.DeadQuery{}) {
			if err != nil {
				t.Fatal(err)
			}
			dead += group.Count
		}
		return dead == int64(n)
	})
}

func (g *gateway) bulk(t *testing.T, r client.BulkRequest) *client.Bulk {
	t.Helper()
	b, err := g.app.CreateBulk(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (g *gateway) bulkDone(t *testing.T, id string) *client.Bulk {
	t.Helper()
	b, err := g.app.WatchBulk(t.Context(), id, 5*time.Millisecond, func(*client.Bulk) {})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDeadCallbacksAreResentInBulkEachOnce(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), once))
	s := newSwitchable(t)
	const n = 250 // several batches
	g.kill(t, s, n)

	groups := slices.Collect(func(yield func(client.DeadLetters) bool) {
		for group, err := range g.app.DeadLetters(t.Context(), client.DeadQuery{Origin: s.url}) {
			if err != nil || !yield(group) {
				return
			}
		}
	})
	if len(groups) != 1 || groups[0].Origin != s.url || groups[0].Error != "status_4xx" || groups[0].Count != n || groups[0].Side != "receiver" || groups[0].Do == "" {
		t.Fatalf("dead letters: %+v", groups)
	}
	s.works.Store(true)
	request := client.BulkRequest{Action: "resend", Filter: client.BulkFilter{Origin: s.url, Error: "status_4xx"}}
	request.DryRun = true
	plan := g.bulk(t, request)
	if plan.ID != "" || plan.Status != client.BulkPlanned || plan.Plan.Matched != n || len(plan.Plan.Lanes) != 1 || plan.Plan.Lanes[0].Origin != s.url || plan.Plan.Basis == "" {
		t.Errorf("dry run: %+v %+v", plan, plan.Plan)
	}
	if len(s.taken) > 0 {
		t.Error("a dry run has sent something")
	}
	request.DryRun = false
	b := g.bulk(t, request)
	if b.Actor.Kind != "app" || b.Actor.App != "shop" || b.Actor.Key == "" {
		t.Errorf("who: %+v", b.Actor)
	}
	b = g.bulkDone(t, b.ID)
	if b.Status != client.BulkDone || b.Done != n || b.Total == nil || *b.Total != n || b.Skipped != 0 || b.EndedAt.IsZero() {
		t.Errorf("bulk: %+v", b)
	}
	seen := map[string]bool{}
	for range n {
		select {
		case id := <-s.taken:
			if seen[id] {
				t.Errorf("%s was sent twice", id)
			}
			seen[id] = true
		case <-time.After(time.Minute):
			t.Fatalf("%d of %d arrived", len(seen), n)
		}
	}
	// A second one finds nothing more, and knows how long an answer takes now.
	request.Filter.Status = []string{"delivered"}
	request.Filter.Error, request.DryRun = "", true
	eventually(t, "all are delivered", func() bool {
		plan = g.bulk(t, request)
		return plan.Plan.Matched == n
	})
	if plan.Plan.Seconds <= 0 || plan.Plan.Lanes[0].PerSecond <= 0 {
		t.Errorf("no estimate: %+v", plan.Plan)
	}
	all := 0
	for bulk, err := range g.app.Bulks(t.Context()) {
		if all++; err != nil || bulk.ID != b.ID {
			t.Errorf("listed %+v, %v", bulk, err)
		}
	}
	if all != 1 {
		t.Errorf("%d bulks are listed", all)
	}
}

func TestABulkThatWasAskedForBeforeARestartGoesOnAfterIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSwitchable(t)
	g := start(t, dir, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), once)}
	})
	g.join(t)
	const n = 250
	g.kill(t, s, n)
	s.works.Store(true)
	id := g.bulk(t, client.BulkRequest{Action: "resend"}).ID
	g.stop() // after some batches, or none
	again := start(t, dir, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), once)}
	})
	again.app = again.client(t, g.key)
	if b := again.bulkDone(t, id); b.Status != client.BulkDone || b.Done != n || b.Skipped != 0 {
		t.Errorf("bulk: %+v", b)
	}
	eventually(t, "all arrived", func() bool { return len(s.taken) == n })
}

func TestJobsAreCanceledInBulk(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("slow", "POST /slow", ringback.Func(func(ctx context.Context, _ *ringback.Call, _ *ringback.Result) error {
		<-ctx.Done()
		return ctx.Err()
	}), func(op *job.Operation) { op.Concurrency = 2 }))
	url, messages := listen(t, g.appSecret, nil)
	const n = 30
	for range n {
		g.call(t, client.Call{Path: "/slow", CallbackURL: url, Body: strings.NewReader("x")})
	}
	plan := g.bulk(t, client.BulkRequest{Action: "cancel", DryRun: true, Filter: client.BulkFilter{Operation: "slow"}})
	if plan.Plan.Matched != n {
		t.Errorf("dry run: %+v", plan.Plan)
	}
	b := g.bulkDone(t, g.bulk(t, client.BulkRequest{Action: "cancel", Filter: client.BulkFilter{Operation: "slow"}}).ID)
	if b.Done != n || b.Skipped != 0 {
		t.Errorf("bulk: %+v", b)
	}
	for range n {
		if m := next(t, messages); !strings.Contains(string(m.body), `"slow.canceled"`) {
			t.Errorf("callback: %s", m.body)
		}
	}
}

func TestABulkIsStoppedAndABadOneRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), once))
	b := g.bulkDone(t, g.bulk(t, client.BulkRequest{Action: "discard"}).ID)
	if b.Done != 0 || b.Status != client.BulkDone {
		t.Errorf("a bulk about nothing: %+v", b)
	}
	_, err := g.app.StopBulk(t.Context(), b.ID)
	wantProblem(t, err, "bulk_ended")
	_, err = g.app.StopBulk(t.Context(), "bulk_nonsense")
	wantProblem(t, err, "not_found")
	for name, r := range map[string]client.BulkRequest{
		"an endpoint and an origin": {Action: "resend", Filter: client.BulkFilter{Endpoint: "a", Origin: "https://a.example"}},
		"what is no origin":         {Action: "resend", Filter: client.BulkFilter{Origin: "a.example"}},
		"no error class":            {Action: "resend", Filter: client.BulkFilter{Error: "status"}},
		"an end before its begin":   {Action: "resend", Filter: client.BulkFilter{Since: client.At(time.Now()), Until: client.At(time.Now().Add(-time.Hour))}},
		"pending ones to resend":    {Action: "resend", Filter: client.BulkFilter{Status: []string{"pending"}}},
		"delivered ones to discard": {Action: "discard", Filter: client.BulkFilter{Status: []string{"delivered"}}},
		"jobs at their end":         {Action: "cancel", Filter: client.BulkFilter{Status: []string{"dead"}}},
		"a destination of jobs":     {Action: "cancel", Filter: client.BulkFilter{Endpoint: "a"}},
	} {
		_, err := g.app.CreateBulk(t.Context(), r)
		t.Log(name)
		wantProblem(t, err, "invalid_parameter")
	}
}

func wantProblem(t *testing.T, err error, code string) {
	t.Helper()
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Code != code {
		t.Errorf("error %v, want %s", err, code)
	}
}

func TestWhyACallbackHasNotArrived(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), once))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	defer s.Close()
	accepted := g.call(t, client.Call{Path: "/relay", CallbackURL: s.URL + "/bar?token=hush", Body: strings.NewReader("x")})
	c := g.settled(t, accepted.ID)
	why, err := g.app.Why(t.Context(), c.ID)
	if err != nil || why.Error == nil || why.Error.Class != "status_5xx" || why.Error.Status != 500 || len(why.Attempts) != 2 || why.Attempts[0].N != 2 || why.Do == "" {
		t.Errorf("%+v, %v", why, err)
	}
	job, err := g.app.JobWhy(t.Context(), accepted.ID)
	if err != nil || len(job.Callbacks) != 1 || job.Callbacks[0].Callback != c.ID || !strings.Contains(job.Summary, "1 dead") {
		t.Errorf("%+v, %v", job, err)
	}
	polled := g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")})
	if job, err = g.app.JobWhy(t.Context(), polled.ID); err != nil || !strings.Contains(job.Summary, "no callback URL") || len(job.Callbacks) != 0 {
		t.Errorf("%+v, %v", job, err)
	}
	stranger := g.client(t, g.key[:len(g.key)-1])
	_, err = stranger.Why(t.Context(), c.ID)
	wantProblem(t, err, "unauthenticated")
	for _, id := range []string{"cb_nonsense", accepted.ID} {
		_, err = g.app.Why(t.Context(), id)
		wantProblem(t, err, "not_found")
	}
	_, err = g.app.JobWhy(t.Context(), c.ID)
	wantProblem(t, err, "not_found")
}
