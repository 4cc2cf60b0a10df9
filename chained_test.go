package ringback_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// upstream is an asynchronous API behind a gateway: it hands each request to the test,
// which answers it.
type upstream struct {
	url   string
	calls chan *upstreamCall
}

type upstreamCall struct {
	*http.Request
	body   string
	answer chan func(http.ResponseWriter)
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{calls: make(chan *upstreamCall, 100)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // the gateway may have been killed
		call := &upstreamCall{Request: r, body: string(body), answer: make(chan func(http.ResponseWriter), 1)}
		u.calls <- call
		select {
		case answer := <-call.answer:
			answer(w)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	u.url = server.URL
	return u
}

// next is the next request.
func (u *upstream) next(t *testing.T) *upstreamCall {
	t.Helper()
	select {
	case c := <-u.calls:
		return c
	case <-time.After(time.Minute):
		t.Fatal("the upstream was not called")
		return nil
	}
}

// later answers 202, with headers in pairs.
func (c *upstreamCall) later(headers ...string) {
	c.answer <- func(w http.ResponseWriter) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(http.StatusAccepted)
	}
}

func (c *upstreamCall) say(status int, contentType, body string, headers ...string) {
	c.answer <- func(w http.ResponseWriter) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// post sends a body to a URL, and returns the answer's status and code or body.
func post(t *testing.T, url, contentType, body string) (status int, said string) {
	t.Helper()
	resp, err := http.Post(url, contentType, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if p := (client.Problem{}); resp.Header.Get("Content-Type") == "application/problem+json" && json.Unmarshal(text, &p) == nil {
		return resp.StatusCode, p.Code
	}
	return resp.StatusCode, string(text)
}

func (g *gateway) is(t *testing.T, id, status string) {
	t.Helper()
	eventually(t, id+" is "+status, func() bool {
		j, err := g.app.Job(t.Context(), id)
		return err == nil && j.Status == status
	})
}

// chained is an operation whose upstream answers later.
func chained(t *testing.T, url, async string, change ...func(*job.Operation)) ringback.Operation {
	t.Helper()
	b, err := ringback.HTTP(ringback.HTTPConfig{URL: url + "/work", Async: async, Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	return operation("work", "POST /work", b, append([]func(*job.Operation){quick}, change...)...)
}

func TestAnUpstreamCompletesARunLater(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	g := setup(t, chained(t, u.url, "callback", func(op *job.Operation) { op.Concurrency = 1 }))
	url, messages := listen(t, func() sign.Secret { return g.secret }, nil)
	first := g.call(t, client.Call{Path: "/work", CallbackURL: url, Header: http.Header{"Ringback-Completion-Url": {"http://forged/"}}})
	call := u.next(t)
	completion := call.Header.Get("Ringback-Completion-Url")
	if !strings.HasPrefix(completion, g.url+"/v1/runs/") {
		t.Fatalf("the completion URL is %q", completion)
	}
	call.later()
	g.is(t, first.ID, "waiting")
	// It holds no slot: another one runs.
	second := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	other := u.next(t)
	other.say(200, "text/plain", "at once")
	if m := next(t, messages); m.envelope.Data.Job.ID != second.ID || *m.envelope.Data.ResultText != "at once" {
		t.Errorf("%s", m.body)
	}
	for what, wrong := range map[string]string{
		"a changed token":    strings.Replace(completion, "/result", "A/result", 1),
		"another run's, end": other.Header.Get("Ringback-Completion-Url"),
	} {
		status, code := post(t, wrong, "text/plain", "forged")
		if want := map[bool]int{true: 404, false: 410}[strings.HasPrefix(what, "a ")]; status != want {
			t.Errorf("%s: %d %s, want %d", what, status, code, want)
		}
	}
	if status, said := post(t, completion, "application/json", `{"pages": 7}`); status != 204 {
		t.Fatalf("completion: %d %s", status, said)
	}
	m := next(t, messages)
	if m.envelope.Type != "work.succeeded" || string(m.envelope.Data.Result) != `{"pages": 7}` {
		t.Errorf("%s", m.body)
	}
	if status, code := post(t, completion, "application/json", `{"pages": 8}`); status != 410 || code != "no_longer_awaited" {
		t.Errorf("the second completion: %d %s", status, code)
	}
	if j := g.done(t, first.ID); j.Attempts != 1 || j.Status != "succeeded" {
		t.Errorf("%+v", j)
	}
	none(t, messages)
}

func TestACompletionMayComeBeforeThe202(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	g := setup(t, chained(t, u.url, "callback"))
	accepted := g.call(t, client.Call{Path: "/work"})
	call := u.next(t)
	if status, said := post(t, call.Header.Get("Ringback-Completion-Url"), "", "done"); status != 204 {
		t.Fatalf("completion: %d %s", status, said)
	}
	call.later()
	if j := g.done(t, accepted.ID); j.Status != "succeeded" || j.Attempts != 1 {
		t.Errorf("%+v", j)
	}
	r, err := g.app.Result(t.Context(), accepted.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, _ := io.ReadAll(r.Body); string(text) != "done" || r.ContentType != "application/octet-stream" {
		t.Errorf("result is %q of %s", text, r.ContentType)
	}
}

func TestACompletionCanBeAFailure(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	g := setup(t, chained(t, u.url, "callback", func(op *job.Operation) { op.MaxResultBytes = 1000 }))
	accepted := g.call(t, client.Call{Path: "/work"})
	call := u.next(t)
	call.later()
	g.is(t, accepted.ID, "waiting")
	old := call.Header.Get("Ringback-Completion-Url")
	if status, code := post(t, old, "application/problem+json", "no JSON"); status != 400 || code != "body_malformed" {
		t.Errorf("malformed: %d %s", status, code)
	}
	if status, _ := post(t, old, "application/problem+json", `{"title": "busy", "status": 503}`); status != 204 {
		t.Fatalf("answered %d", status)
	}
	call = u.next(t) // the next attempt
	call.later()
	g.is(t, accepted.ID, "waiting")
	if status, _ := post(t, old, "text/plain", "late"); status != 410 {
		t.Errorf("the completion of the attempt before: %d", status)
	}
	post(t, call.Header.Get("Ringback-Completion-Url"), "application/problem+json; charset=utf-8",
		`{"title": "no such document", "detail": "page 7\u001b", "status": 422}`)
	j := g.done(t, accepted.ID)
	if j.Status != "failed" || j.Attempts != 2 || j.Error.Code != "backend_error" || j.Error.Detail != "no such document\npage 7" {
		t.Errorf("%+v %+v", j, j.Error)
	}

	accepted = g.call(t, client.Call{Path: "/work"})
	call = u.next(t)
	call.later()
	g.is(t, accepted.ID, "waiting")
	if status, code := post(t, call.Header.Get("Ringback-Completion-Url"), "text/plain", strings.Repeat("x", 1001)); status != 413 || code != "body_too_large" {
		t.Errorf("too large: %d %s", status, code)
	}
	if j := g.done(t, accepted.ID); j.Status != "failed" || j.Error.Code != "result_too_large" {
		t.Errorf("%+v", j)
	}
}

func TestWhatIsNotCompletedInTimeFailsAndWhatIsCanceledStaysSo(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	g := setup(t, chained(t, u.url, "callback", func(op *job.Operation) { op.Timeout, op.Retry.Attempts = 200*time.Millisecond, 2 }))
	accepted := g.call(t, client.Call{Path: "/work"})
	u.next(t).later()
	call := u.next(t)
	call.later()
	j := g.done(t, accepted.ID)
	if j.Status != "failed" || j.Error.Code != "timeout" || j.Attempts != 2 {
		t.Errorf("%+v %+v", j, j.Error)
	}
	if status, _ := post(t, call.Header.Get("Ringback-Completion-Url"), "text/plain", "late"); status != 410 {
		t.Errorf("late: %d", status)
	}

	g = setup(t, chained(t, u.url, "callback", func(op *job.Operation) { op.Deadline = time.Hour }))
	accepted = g.call(t, client.Call{Path: "/work"})
	call = u.next(t)
	call.later()
	g.is(t, accepted.ID, "waiting")
	if err := g.app.Cancel(t.Context(), accepted.ID); err != nil {
		t.Fatal(err)
	}
	if status, _ := post(t, call.Header.Get("Ringback-Completion-Url"), "text/plain", "late"); status != 410 {
		t.Errorf("after the cancellation: %d", status)
	}
	if j := g.done(t, accepted.ID); j.Status != "canceled" {
		t.Errorf("%+v", j)
	}
}

func TestAnUpstreamIsPolledAtItsLocation(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	g := setup(t, chained(t, u.url, "poll", func(op *job.Operation) { op.Concurrency = 1 }))
	accepted := g.call(t, client.Call{Path: "/work?a=b", Header: http.Header{"X-Tenant": {"7"}}, Body: strings.NewReader("document"), ContentType: "text/plain"})
	u.next(t).later("Location", "../status/7?x=%20y", "Retry-After", "1")
	g.is(t, accepted.ID, "waiting")
	poll := u.next(t)
	if got := poll.Method + " " + poll.RequestURI; got != "GET /status/7?x=%20y" || poll.Header.Get("X-Tenant") != "7" ||
		poll.Header.Get("Content-Type") != "" || poll.Header.Get("Idempotency-Key") != "" || poll.body != "" {
		t.Errorf("polled by %s with %v", got, poll.Header)
	}
	poll.say(503, "text/plain", "restarting") // nothing is known of the work: it is asked again
	u.next(t).later()
	u.next(t).say(303, "", "", "Location", "/results/7")
	fetch := u.next(t)
	if fetch.RequestURI != "/results/7" {
		t.Errorf("the result was fetched from %s", fetch.RequestURI)
	}
	fetch.say(200, "application/json", `{"id": "job_7", "done": true}`, "X-Pages", "3")
	if j := g.done(t, accepted.ID); j.Status != "succeeded" || j.Attempts != 1 {
		t.Fatalf("%+v %+v", j, j.Error)
	}
	r, err := g.app.Result(t.Context(), accepted.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, _ := io.ReadAll(r.Body); string(text) != `{"id": "job_7", "done": true}` || r.Header.Get("X-Pages") != "3" {
		t.Errorf("result is %q, %v", text, r.Header)
	}
}

func TestAPollLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	u, elsewhere := newUpstream(t), newUpstream(t)
	g := setup(t, chained(t, u.url, "poll"))
	for name, answer := range map[string]func(*upstreamCall){
		"no Location":             func(c *upstreamCall) { c.later() },
		"another origin":          func(c *upstreamCall) { c.later("Location", elsewhere.url+"/status") },
		"another origin's scheme": func(c *upstreamCall) { c.later("Location", strings.Replace(u.url, "http:", "https:", 1)+"/status") },
		"no address of HTTP":      func(c *upstreamCall) { c.later("Location", "javascript:alert(1)") },
		"a refusal of the poll": func(c *upstreamCall) {
			c.later("Location", "/status")
			u.next(t).say(404, "text/plain", "no such thing")
		},
		"a redirect elsewhere": func(c *upstreamCall) {
			c.later("Location", "/status")
			u.next(t).say(303, "", "", "Location", elsewhere.url+"/result")
		},
		"two redirects": func(c *upstreamCall) {
			c.later("Location", "/status")
			u.next(t).say(303, "", "", "Location", "/a")
			u.next(t).say(303, "", "", "Location", "/b")
		},
	} {
		accepted := g.call(t, client.Call{Path: "/work"})
		answer(u.next(t))
		if j := g.done(t, accepted.ID); j.Status != "failed" || j.Attempts != 1 {
			t.Errorf("%s: %+v %+v", name, j, j.Error)
		}
	}
	if len(elsewhere.calls) > 0 {
		t.Error("another origin was called")
	}
}

func TestA202IsAResultUnlessTheOperationSaysOtherwise(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	g := setup(t, chained(t, u.url, ""))
	accepted := g.call(t, client.Call{Path: "/work"})
	call := u.next(t)
	if call.Header.Get("Ringback-Completion-Url") != "" {
		t.Error("it was told of a completion URL")
	}
	call.later("Location", "/status")
	if j := g.done(t, accepted.ID); j.Status != "succeeded" {
		t.Errorf("%+v", j)
	}
}

// inner is a Ringback behind another one, whose work is a function.
func inner(t *testing.T, work ringback.Func) *gateway {
	t.Helper()
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("work", "POST /work", work, quick, func(op *job.Operation) { op.Retry.Attempts = 1 })}
	})
	g.join(t)
	return g
}

func TestTwoRingbacksAreChained(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("large ", 50_000)
	back := inner(t, func(_ context.Context, call *ringback.Call, result *ringback.Result) error {
		document, err := io.ReadAll(call.Body)
		switch string(document) {
		case "json":
			result.ContentType = "application/json"
			_, err = io.WriteString(result, `{"clean": true}`)
		case "octets":
			result.ContentType = "image/png"
			_, err = io.WriteString(result, "\x89PNG\xff")
		case "large":
			result.ContentType = "text/plain"
			_, err = io.WriteString(result, large)
		case "fail":
			err = &ringback.Failure{Code: job.CodeBackendError, Message: "no such page", Final: true}
		}
		return err
	})
	for _, async := range []string{"ringback", "poll"} {
		b, err := ringback.HTTP(ringback.HTTPConfig{URL: back.url + "/work", Async: async, Headers: map[string]string{"Authorization": "Bearer " + back.key}})
		if err != nil {
			t.Fatal(err)
		}
		g := setup(t, operation("work", "POST /work", b, quick))
		url, messages := listen(t, func() sign.Secret { return g.secret }, nil)
		for document, want := range map[string][2]string{
			"json": {"application/json", `{"clean": true}`}, "octets": {"image/png", "\x89PNG\xff"}, "large": {"text/plain", large},
		} {
			accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url, Body: strings.NewReader(document)})
			if m := next(t, messages); m.envelope.Type != "work.succeeded" || m.envelope.Data.Job.ID != accepted.ID {
				t.Errorf("%s, %s: %s", async, document, m.body)
			}
			r, err := g.app.Result(t.Context(), accepted.ID)
			if err != nil {
				t.Fatal(err)
			}
			if text, _ := io.ReadAll(r.Body); r.ContentType != want[0] || string(text) != want[1] {
				t.Errorf("%s, %s: %q of %s", async, document, text, r.ContentType)
			}
			r.Body.Close()
			if j := g.done(t, accepted.ID); j.Attempts != 1 {
				t.Errorf("%s, %s: %d attempts", async, document, j.Attempts)
			}
		}
		g.call(t, client.Call{Path: "/work", CallbackURL: url, Body: strings.NewReader("fail")})
		if m := next(t, messages); m.envelope.Type != "work.failed" || !strings.Contains(m.envelope.Data.Error.Detail, "no such page") {
			t.Errorf("%s, fail: %s", async, m.body)
		}
		none(t, messages)
	}
	for c, err := range back.app.Callbacks(t.Context(), client.CallbackQuery{Status: "dead"}) {
		t.Errorf("a callback between the two is dead: %+v %v", c, err)
	}
}

func TestAFurtherAttemptAtAnotherRingbackIsACallOfItsOwn(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	first := make(chan struct{}, 1)
	first <- struct{}{}
	back := inner(t, func(ctx context.Context, _ *ringback.Call, result *ringback.Result) error {
		select {
		case <-first: // its attempt times out
			select {
			case <-goOn:
			case <-ctx.Done():
			}
		default:
		}
		_, err := io.WriteString(result, "done")
		return err
	})
	defer close(goOn)
	b, err := ringback.HTTP(ringback.HTTPConfig{URL: back.url + "/work", Async: "ringback", Headers: map[string]string{"Authorization": "Bearer " + back.key}})
	if err != nil {
		t.Fatal(err)
	}
	g := setup(t, operation("work", "POST /work", b, quick, func(op *job.Operation) { op.Timeout = 500 * time.Millisecond }))
	accepted := g.call(t, client.Call{Path: "/work"})
	if j := g.done(t, accepted.ID); j.Status != "succeeded" || j.Attempts < 2 {
		t.Errorf("%+v %+v", j, j.Error)
	}
}
