package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

const adminKey = "the-admin-key-of-the-tests"

// gateway is a gateway with a real store, without executor and sender.
type gateway struct {
	t      *testing.T
	api    *API
	store  job.Store
	bodies *body.Dir
	seal   *seal.Sealer
	server *httptest.Server
	log    *strings.Builder
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// setup starts a gateway with the operations scan and report.
func setup(t *testing.T, change func(*Options)) *gateway {
	t.Helper()
	g := &gateway{t: t, log: &strings.Builder{}}
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "ringback.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g.store = store
	if g.bodies, err = body.OpenDir(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if g.seal, err = seal.New(make([]byte, seal.KeyBytes)); err != nil {
		t.Fatal(err)
	}
	opt := g.options()
	if change != nil {
		change(&opt)
	}
	store.Committed(func(ch job.Change) { g.api.Committed(ch) })
	if g.api, err = New(opt); err != nil {
		t.Fatal(err)
	}
	hash := HashKey(adminKey)
	if err := store.SetSetting(t.Context(), AdminKeySetting, hash[:]); err != nil {
		t.Fatal(err)
	}
	g.server = httptest.NewServer(g.api)
	t.Cleanup(func() {
		g.api.Drain()
		g.server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *gateway) options() Options {
	contract := job.Contract{URL: []string{"{$request.query.callbackURL}"}}
	return Options{
		Store: g.store, Bodies: g.bodies, Seal: g.seal, Slots: noSlots{},
		CheckURL: func(url string) error {
			if !strings.HasPrefix(url, "https://") {
				return errors.New("the callback URL must use https")
			}
			return nil
		},
		EndpointURL: func(url string, _ *job.Job) (string, error) {
			if !strings.HasPrefix(url, "https://") || strings.Contains(url, "{nope}") {
				return "", errors.New("the callback URL must use https, and has no such variable")
			}
			return url, nil
		},
		CheckPolicy: func(url string, p *job.Policy) error {
			if len(p.Prefixes) > 0 && !strings.HasPrefix(url, p.Prefixes[0]) {
				return forbiddenURL{}
			}
			return nil
		},
		ReadPolicy: func(p *job.Policy) error {
			if slices.Contains(p.Prefixes, "") {
				return errors.New("a prefix is empty")
			}
			return nil
		},
		CheckHeader: func(name, value string) error {
			if strings.EqualFold(name, "Host") || strings.Contains(name, " ") || strings.ContainsAny(value, "\r\n") {
				return errors.New("the header is refused")
			}
			return nil
		},
		Owed: owedByTarget,
		Operations: []job.Operation{
			job.Operation{Name: "scan", Route: "POST /scan", Callback: contract}.WithDefaults(),
			job.Operation{Name: "report", Route: "POST /reports/{kind}"}.WithDefaults(),
		},
		MaxWait: 5 * time.Second, Now: time.Now, Version: "test",
		Log: slog.New(slog.NewTextHandler(g.log, nil)),
	}
}

type noSlots struct{}

func (noSlots) Reserve(*job.Job) bool { return false }
func (noSlots) Release(*job.Job)      {}

func (noSlots) Instantly(context.Context, *job.Job) *job.Finish { return nil }
func (noSlots) Disown(*job.Finish)                              {}

func owedByTarget(j *job.Job, end job.State, at time.Time) []job.OwedCallback {
	if len(j.Targets) == 0 {
		return nil
	}
	return []job.OwedCallback{{Callback: &job.Callback{
		ID: ids.New(at), JobID: j.ID, App: j.App, Operation: j.Operation, Event: end.Event(), URL: j.Targets[0].URL,
		Endpoint: j.Targets[0].Endpoint, Method: "POST", CreatedAt: at, GiveUpAt: at.Add(time.Hour), State: job.Pending, DueAt: at,
	}}}
}

var ids job.IDs

// app makes an app and returns its key.
func (g *gateway) app(name string) string {
	g.t.Helper()
	a := g.call("POST", "/v1/apps", adminKey, `{"name":"`+name+`"}`)
	if a.status != http.StatusCreated {
		g.t.Fatalf("create app: %d %s", a.status, a.body)
	}
	return field[string](g.t, a, "key")
}

// call sends a request with a key (none where it is empty) and reads the answer.
func (g *gateway) call(method, path, key, body string, headers ...string) answer {
	g.t.Helper()
	return g.callContext(g.t.Context(), method, path, key, body, headers...)
}

func (g *gateway) callContext(ctx context.Context, method, path, key, body string, headers ...string) answer {
	g.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, g.server.URL+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		switch headers[i] {
		case "Host":
			r.Host = headers[i+1]
		case "Content-Type":
			r.Header.Set(headers[i], headers[i+1])
		default:
			r.Header.Add(headers[i], headers[i+1])
		}
	}
	resp, err := g.server.Client().Transport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: string(b)}
}

// field reads a member of a JSON answer; a dot leads into an object.
func field[T any](t *testing.T, a answer, path string) T {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	for name := range strings.SplitSeq(path, ".") {
		v = v.(map[string]any)[name]
	}
	out, ok := v.(T)
	if !ok {
		t.Fatalf("%s of %s is %v", path, a.body, v)
	}
	return out
}

// want checks an answer's status and, of a problem, its code and form.
func (a answer) want(t *testing.T, status int, code string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("answer %d %s, want %d", a.status, a.body, status)
	}
	if code == "" {
		return
	}
	if got := field[string](t, a, "code"); got != code {
		t.Fatalf("code %q, want %q: %s", got, code, a.body)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("Content-Type %q", ct)
	}
	if got := field[float64](t, a, "status"); int(got) != status {
		t.Fatalf("the problem says %v, the status line %d", got, status)
	}
}

// job stores a job of an app, changed by change.
func (g *gateway) job(app string, change func(*job.Job)) *job.Job {
	g.t.Helper()
	now := time.Now()
	j := &job.Job{
		ID: g.store.NewID(now), App: app, Operation: "scan", State: job.Accepted, CreatedAt: now, DueAt: now,
		Request: job.Request{Method: "POST", Path: "/scan", Body: body.Inline([]byte("document"))},
		Targets: []job.Target{{URL: "https://a.example/cb", Source: job.SourceRequest}},
	}
	if change != nil {
		change(j)
	}
	if _, err := g.store.Accept(g.t.Context(), job.Acceptance{Job: j}); err != nil {
		g.t.Fatal(err)
	}
	return j
}

// finish ends a job with its callbacks.
func (g *gateway) finish(j *job.Job, end job.State, result *job.Result, failure *job.Error) {
	g.t.Helper()
	at := time.Now()
	err := g.store.FinishRun(g.t.Context(), job.Finish{
		Job: j, State: end, At: at, Result: result, Error: failure, Callbacks: owedByTarget(j, end, at),
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// settle ends the attempts of a job's callbacks with a delivery.
func (g *gateway) settle(j *job.Job) {
	g.t.Helper()
	callbacks, err := g.store.Callbacks(g.t.Context(), job.CallbackFilter{App: j.App, JobID: j.ID, Limit: 10})
	if err != nil || len(callbacks) == 0 {
		g.t.Fatal(callbacks, err)
	}
	for _, c := range callbacks {
		due, _, err := g.store.ClaimCallbacks(g.t.Context(), c.Lane(), time.Now(), 1)
		if err != nil || len(due) != 1 {
			g.t.Fatal(due, err)
		}
		at := time.Now()
		err = g.store.SettleAttempt(g.t.Context(), job.Settlement{
			Callback: due[0].Callback, State: job.Delivered, At: at,
			Attempt: &job.Attempt{N: 1, StartedAt: at, Total: 1500 * time.Microsecond, Address: "93.184.216.34:443", Status: 200, Body: []byte("thanks")},
		})
		if err != nil {
			g.t.Fatal(err)
		}
	}
}
