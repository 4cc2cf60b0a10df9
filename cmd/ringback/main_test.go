package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/sign"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ringback": main})
}

// TestScripts runs the program itself: each script against a gateway of its own
// that answers from memory.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			gateway := httptest.NewServer(newFakeGateway())
			env.Defer(gateway.Close)
			for _, name := range []string{"FREE_ADDR", "GATEWAY_ADDR"} {
				addr, err := freeAddr()
				if err != nil {
					return err
				}
				env.Setenv(name, addr)
			}
			env.Setenv("RINGBACK_URL", gateway.URL)
			env.Setenv("RINGBACK_KEY", "key-of-shop")
			env.Setenv("SECRET", secretText)
			env.Setenv("TZ", "UTC")
			// A program that was built with -race sleeps for a second before it exits.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await":   await,
			"deliver": deliver,
			"exits":   exits,
			"id":      id,
			"key":     key,
		},
	})
}

// exits runs the program and wants an exit code: exits 3 job get job_none.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARG...")
	}
	err := ts.Exec("ringback", args[1:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

const secretText = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

// deliver sends a callback to a listener, when that is up, and wants a status:
// deliver 200 ID FILE. With the id "unsigned" it is sent without a signature.
func deliver(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: deliver STATUS ID FILE")
	}
	addr, body := ts.Getenv("FREE_ADDR"), ts.ReadFile(args[2])
	ts.Check(awaitListener(addr))
	req, err := http.NewRequest("POST", "http://"+addr+"/bar?x=1", strings.NewReader(body))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	if args[1] != "unsigned" {
		secret, err := sign.ParseSecret(secretText)
		ts.Check(err)
		ts.Check(sign.Sign(req.Header, sign.Message{ID: args[1], Timestamp: time.Now(), Body: []byte(body)}, secret))
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	resp.Body.Close()
	if got := fmt.Sprint(resp.StatusCode); got != args[0] {
		ts.Fatalf("answered %s, want %s", got, args[0])
	}
}

// freeAddr is an address of loopback that nobody listens on.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// await waits until something listens: await ADDR.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await ADDR")
	}
	ts.Check(awaitListener(args[0]))
}

var idPattern = regexp.MustCompile(`(job|cb|key)_[0-9a-z]{26}`)

// id sets a variable to the first id in the last command's output: id NAME.
func id(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: id NAME")
	}
	found := idPattern.FindString(ts.ReadFile("stdout"))
	if found == "" {
		ts.Fatalf("there is no id in the output")
	}
	ts.Setenv(args[0], found)
}

// key sets a variable to the key that the last command made: key NAME.
func key(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: key NAME")
	}
	_, text, _ := strings.Cut(ts.ReadFile("stdout"), "key ")
	ts.Setenv(args[0], strings.TrimSpace(text))
}

// awaitListener returns when connections to addr are taken.
func awaitListener(addr string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("the listener did not come up: %w", err)
		}
	}
}

// fakeGateway answers as a gateway does, from memory.
type fakeGateway struct {
	*http.ServeMux
	endpoints map[string]*client.Endpoint
}

// at is when everything happens here.
var at = client.At(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))

func newFakeGateway() *fakeGateway {
	g := &fakeGateway{ServeMux: http.NewServeMux(), endpoints: map[string]*client.Endpoint{}}
	g.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { problem(w, 404, "not_found", "") })
	g.HandleFunc("POST /scan", scan)
	g.HandleFunc("PUT /echo", echo)
	g.HandleFunc("POST /full", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		problem(w, 503, "overloaded", "")
	})
	g.HandleFunc("POST /lost", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 400, "callback_unknown_endpoint", "see GET /v1/endpoints")
	})
	g.HandleFunc("POST /strict", func(w http.ResponseWriter, _ *http.Request) {
		problem(w, 400, "callback_url_refused", "use \x1b[31mhttps\x1b[0m")
	})
	g.HandleFunc("GET /v1/jobs", fakeJobs)
	g.HandleFunc("GET /v1/jobs/{id}", getJob)
	g.HandleFunc("GET /v1/jobs/{id}/result", result)
	g.HandleFunc("GET /v1/jobs/{id}/events", events)
	g.HandleFunc("DELETE /v1/jobs/{id}", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != "job_running" {
			problem(w, 409, "job_ended", "")
			return
		}
		answer(w, 200, fakeJob("job_running", client.StatusCanceled))
	})
	g.HandleFunc("GET /v1/callbacks", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, client.Page[client.Callback]{Data: []client.Callback{deadCallback("cb_" + r.FormValue("status"))}})
	})
	g.HandleFunc("GET /v1/callbacks/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, deadCallback(r.PathValue("id")))
	})
	g.HandleFunc("GET /v1/callbacks/{id}/attempts", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, client.Page[client.Attempt]{Data: []client.Attempt{
			{N: 2, StartedAt: at, Total: 12.25, Address: "127.0.0.1:9999", Status: 500, Error: "status",
				Body: "no\x1b]0;owned\x07 <b>thanks</b>\u202e\u009b31m", ContentType: "text/plain"},
			{N: 1, StartedAt: at, Total: 1.5, Error: "refused"},
		}})
	})
	g.HandleFunc("POST /v1/callbacks/{id}/resend", func(w http.ResponseWriter, r *http.Request) {
		cb := deadCallback(r.PathValue("id"))
		cb.Status, cb.NextAttemptAt = client.CallbackPending, at
		answer(w, 202, cb)
	})
	g.HandleFunc("/other/", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, map[string]bool{"ok": true}) })
	g.HandleFunc("/none/", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "What?", http.StatusBadRequest) })
	g.manage()
	g.repair()
	return g
}

func (g *fakeGateway) manage() {
	g.HandleFunc("POST /v1/apps", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Ringback-Key") != "admin" {
			problem(w, 401, "unauthenticated", "send it in a header")
			return
		}
		var app client.AppCreate
		read(r, &app)
		answer(w, 201, client.AppCreated{Name: app.Name, Key: "rbk_new", CreatedAt: at})
	})
	g.HandleFunc("GET /v1/apps", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, client.Page[client.App]{Data: []client.App{{Name: "shop", CreatedAt: at}}})
	})
	g.HandleFunc("DELETE /v1/apps/{name}", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("confirm") != r.PathValue("name") {
			problem(w, 400, "invalid_parameter", "confirm it")
			return
		}
		answer(w, 202, client.App{Name: r.PathValue("name"), CreatedAt: at, DeletedAt: at})
	})
	g.HandleFunc("PATCH /v1/apps/{name}", func(w http.ResponseWriter, r *http.Request) {
		var patch client.AppPatch
		read(r, &patch)
		answer(w, 200, client.App{Name: r.PathValue("name"), Policy: *patch.Policy, CreatedAt: at})
	})
	g.HandleFunc("POST /v1/endpoints", func(w http.ResponseWriter, r *http.Request) {
		e := &client.Endpoint{CreatedAt: at, UpdatedAt: at}
		read(r, e) // what can be given at creation has the same names
		g.endpoints[e.Name] = e
		answer(w, 201, e)
	})
	g.HandleFunc("GET /v1/endpoints", func(w http.ResponseWriter, _ *http.Request) {
		page := client.Page[client.Endpoint]{Data: []client.Endpoint{}}
		for _, e := range g.endpoints {
			page.Data = append(page.Data, *e)
		}
		answer(w, 200, page)
	})
	g.HandleFunc("/v1/endpoints/{name}", func(w http.ResponseWriter, r *http.Request) {
		e := g.endpoints[r.PathValue("name")]
		switch {
		case e == nil:
			problem(w, 404, "not_found", "")
		case r.Method == "GET":
			answer(w, 200, e)
		case r.Method == "DELETE":
			delete(g.endpoints, e.Name)
			w.WriteHeader(204)
		case r.Method == "PATCH":
			var raw json.RawMessage
			read(r, &raw)
			e.Headers, e.Auth = nil, nil // json would merge them
			if err := json.Unmarshal(raw, e); err != nil {
				panic(err)
			}
			answer(w, 200, e)
		}
	})
	g.HandleFunc("POST /v1/endpoints/{name}/enable", func(w http.ResponseWriter, r *http.Request) {
		e := g.endpoints[r.PathValue("name")]
		if e == nil {
			problem(w, 404, "not_found", "")
			return
		}
		var how client.EndpointEnable
		read(r, &how)
		e.Disabled = false
		if how.Backlog == client.BacklogDiscard {
			e.Method = "DISCARDED" // what was asked for, to be looked at
		}
		answer(w, 200, e)
	})
	paused := client.Page[client.Pause]{Data: []client.Pause{}}
	g.HandleFunc("GET /v1/pauses", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, paused) })
	g.HandleFunc("POST /v1/pauses", func(w http.ResponseWriter, r *http.Request) {
		var what client.PauseCreate
		read(r, &what)
		p := client.Pause{ID: fmt.Sprint("pause_", len(paused.Data)+1), Scope: "destination", App: "shop", Operation: what.Operation,
			Endpoint: what.Endpoint, Origin: what.Origin, Since: at, By: "shop"}
		switch {
		case what.Everything:
			p.Scope, p.App = "everything", ""
		case what.Operation != "":
			p.Scope, p.App = "operation", ""
		}
		paused.Data = append(paused.Data, p)
		answer(w, 201, p)
	})
	g.HandleFunc("DELETE /v1/pauses/{id}", func(w http.ResponseWriter, r *http.Request) {
		for i, p := range paused.Data {
			if p.ID == r.PathValue("id") {
				paused.Data = append(paused.Data[:i:i], paused.Data[i+1:]...)
				answer(w, 200, p)
				return
			}
		}
		problem(w, 404, "not_found", "")
	})
	g.HandleFunc("POST /v1/endpoints/{name}/verify", func(w http.ResponseWriter, r *http.Request) {
		e := g.endpoints[r.PathValue("name")]
		if e == nil {
			problem(w, 404, "not_found", "")
			return
		}
		e.Verification = &client.Verification{State: "verified", Method: "challenge", ExpiresAt: at}
		answer(w, 202, e)
	})
	g.HandleFunc("GET /v1/secret", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, client.Secret{Secret: "whsec_app"})
	})
	g.HandleFunc("GET /v1/endpoints/{name}/secret", func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("name") == "brought" {
			answer(w, 200, client.Secret{Secret: "whsec_old", LegacySecret: "hunter5"})
			return
		}
		answer(w, 200, client.Secret{Secret: "whsec_old"})
	})
	g.HandleFunc("POST /v1/endpoints/{name}/secret/rotate", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, client.Secret{Secret: "whsec_new", PreviousUntil: at})
	})
}

// scan accepts a job whose id says how it will end, and notes in the operation
// what it was sent.
func scan(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	q := r.URL.Query()
	accepted := client.AcceptedJob{ID: "job_" + r.Header.Get("Idempotency-Key"), Status: client.StatusAccepted, CreatedAt: at,
		Operation: fmt.Sprintf("scan of %d bytes of %s", len(body), r.Header.Get("Content-Type")),
		Links:     client.Links{Self: "/v1/jobs/job_1"},
		Callback:  client.JobCallback{URL: q.Get("callbackURL"), Endpoint: q.Get("callback"), Source: "request"}}
	if strings.Contains(accepted.Callback.Endpoint, ",") {
		accepted.Destinations = []client.JobCallback{accepted.Callback, {URL: "https://my.server/failed", Events: []string{"failed", "expired"}}, {Endpoint: "audit"}}
	}
	w.Header().Set("Location", "/v1/jobs/"+accepted.ID)
	answer(w, 202, accepted)
}

// echo answers at once with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Ringback-Job-Id", "job_1")
	fmt.Fprintf(w, "%s %s\nPrefer: %s\nContent-Type: %s\nX-Tenant: %s\nRingback-Key: %s\n%s\n", r.Method, r.RequestURI,
		r.Header.Get("Prefer"), r.Header.Get("Content-Type"), r.Header.Get("X-Tenant"), r.Header.Get("Ringback-Key"), body)
}

func fakeJob(id, status string) client.Job {
	j := client.Job{ID: id, Operation: "scan", Status: status, CreatedAt: at, Attempts: 1,
		Callback: client.JobCallback{URL: "https://my.server/bar", Source: "request"}}
	if j.Terminal() {
		j.FinishedAt = at
		j.Reply = &client.Reply{Callback: "cb_1", Status: 200, ContentType: "text/plain", Body: "filed\nas \x1b[2J7", Truncated: true}
		j.Callbacks = []client.JobCallbackStatus{{ID: "cb_1", Event: status, Status: client.CallbackDelivered,
			URL: "https://my.server/bar", Attempts: 1, LastStatus: 200}}
	}
	if status == client.StatusFailed {
		j.Error = &client.JobError{Code: "exit_status", Message: "exit status 1", Detail: "line one\nhint: \x1b[2Jforged\n"}
	}
	return j
}

// fakeJobs is a list of two pages.
func fakeJobs(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("cursor") == "two" {
		answer(w, 200, client.Page[client.Job]{Data: []client.Job{fakeJob("job_oldest", client.StatusFailed)}})
		return
	}
	if r.FormValue("operation") == "nothing" {
		answer(w, 200, client.Page[client.Job]{Data: []client.Job{}})
		return
	}
	next := "two"
	answer(w, 200, client.Page[client.Job]{Next: &next, Data: []client.Job{
		fakeJob("job_newest", client.StatusRunning), fakeJob("job_older", client.StatusSucceeded)}})
}

// getJob knows a job by its status: job_failed has failed. Asked with wait, one
// that runs has succeeded.
func getJob(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	status := strings.TrimPrefix(id, "job_")
	switch {
	case status == "none":
		problem(w, 404, "not_found", "ids begin with job_")
		return
	case status == "running" && r.FormValue("wait") != "":
		status = client.StatusSucceeded
	}
	answer(w, 200, fakeJob(id, status))
}

func result(w http.ResponseWriter, r *http.Request) {
	switch r.PathValue("id") {
	case "job_accepted":
		answer(w, 202, fakeJob("job_accepted", client.StatusAccepted))
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Ringback-Result-Status", "200")
		fmt.Fprint(w, `{"infected":true,"signature":"Eicar"}`)
	}
}

func events(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	pending := fakeJob("job_1", client.StatusFailed)
	pending.Callbacks = []client.JobCallbackStatus{{ID: "cb_1", Event: "failed", Status: client.CallbackPending, Attempts: 1,
		LastError: "refused", NextAttemptAt: at}}
	for i, e := range []struct {
		name string
		job  client.Job
	}{
		{client.StatusRunning, fakeJob("job_1", client.StatusRunning)},
		{client.StatusFailed, pending},
		{client.EventCallback, fakeJob("job_1", client.StatusFailed)},
	} {
		data, _ := json.Marshal(e.job)
		fmt.Fprintf(w, ": hello\nid: %d\nevent: %s\ndata: %s\n\n", i+1, e.name, data)
	}
}

func deadCallback(id string) client.Callback {
	return client.Callback{ID: id, JobID: "job_1", Operation: "scan", Event: "failed", Status: client.CallbackDead, Endpoint: "shop",
		URL: "https://my.server/bar", Method: "POST", CreatedAt: at, SettledAt: at, Attempts: 10, LastStatus: 500, LastError: "status_5xx", Waiting: "order"}
}

func read(r *http.Request, v any) {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		panic(err)
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	write(w, status, "application/json", v)
}

func problem(w http.ResponseWriter, status int, code, hint string) {
	write(w, status, "application/problem+json",
		client.Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: "a detail", Hint: hint})
}

func write(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}
