package main

import (
	"net/http"

	"github.com/ringback/ringback/client"
)

// repair serves the routes of docs/repair.md.
func (g *fakeGateway) repair() {
	g.HandleFunc("GET /v1/callbacks/{id}/why", func(w http.ResponseWriter, r *http.Request) { answer(w, 200, fakeWhy(r.PathValue("id"))) })
	g.HandleFunc("GET /v1/jobs/{id}/why", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, client.JobWhy{JobID: r.PathValue("id"), Status: "failed", Summary: "Of 1 callback: 1 dead.", Callbacks: []client.Why{fakeWhy("cb_1")}})
	})
	g.HandleFunc("GET /v1/dead", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, client.Page[client.DeadLetters]{Data: []client.DeadLetters{
			{Endpoint: r.FormValue("endpoint"), Origin: "https://my.server", Error: "refused", Side: "receiver", Means: "nothing listens", Count: 7, Oldest: at, Newest: at}}})
	})
	bulk := func(id, status string, request client.BulkRequest) client.Bulk {
		total := int64(7)
		return client.Bulk{ID: id, Action: request.Action, Filter: request.Filter, Status: status, CreatedAt: at, Total: &total, Done: 5, Skipped: 2,
			Actor: client.AuditActor{Kind: "app", App: "shop", Key: "rb_abc"}}
	}
	last := client.BulkRequest{Action: "resend"}
	g.HandleFunc("POST /v1/bulk", func(w http.ResponseWriter, r *http.Request) {
		last = client.BulkRequest{}
		read(r, &last)
		if !last.DryRun {
			answer(w, 202, bulk("bulk_1", client.BulkRunning, last))
			return
		}
		b := bulk("", client.BulkPlanned, last)
		b.Plan = &client.BulkPlan{Matched: 7, Seconds: 41.6, Others: 2, Basis: "guessing", Lanes: []client.BulkPlanLane{
			{Endpoint: "shop", Count: 4, PerSecond: 2.5}, {Origin: "https://my.server", Count: 3, Waiting: "breaker"}}}
		answer(w, 200, b)
	})
	g.HandleFunc("GET /v1/bulk", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, client.Page[client.Bulk]{Data: []client.Bulk{bulk("bulk_1", client.BulkDone, last)}})
	})
	g.HandleFunc("GET /v1/bulk/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, bulk(r.PathValue("id"), client.BulkDone, last))
	})
	g.HandleFunc("POST /v1/bulk/{id}/stop", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") == "bulk_ended" {
			problem(w, 409, "bulk_ended", "")
			return
		}
		answer(w, 200, bulk(r.PathValue("id"), client.BulkStopped, last))
	})
}

func fakeWhy(id string) client.Why {
	return client.Why{Callback: id, JobID: "job_1", Event: "failed", Endpoint: "shop", Status: "pending", Summary: "It waits: \x1b[2Jsomebody paused it.",
		Waiting:  &client.WhyWaiting{For: "order", Means: "an earlier one comes first", Behind: "cb_0", Until: at},
		Error:    &client.WhyError{Class: "refused", Side: "receiver", Means: "nothing listens", Do: "start it"},
		Attempts: []client.WhyAttempt{{N: 1, At: at, Outcome: "refused", Address: "127.0.0.1:9999", Total: 1.5}}, Tried: 1, Next: "It is sent then.", Do: "start it"}
}
