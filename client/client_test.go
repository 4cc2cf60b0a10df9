package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/ringback/ringback/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setup serves h as a gateway and returns a client of it.
func setup(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return newClient(t, server.URL, http.DefaultTransport)
}

func newClient(t *testing.T, url string, transport http.RoundTripper) *client.Client {
	t.Helper()
	c, err := client.New(url, "the-key", client.Options{Transport: transport, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answer(w http.ResponseWriter, status int, contentType, body string) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	fmt.Fprint(w, body)
}

func TestNewRefusesWhatIsNoGateway(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "127.0.0.1:8080", "ftp://host", "http://", "http://user:hidden@host", "http://host?hidden=1", "http://host/#hidden", "http://host\x7f/"} {
		if _, err := client.New(url, "", client.Options{}); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("New(%q): error %v", url, err)
		}
	}
	for _, key := range []string{"two words", "line\nbreak", "schlüssel"} {
		if _, err := client.New("http://host", key, client.Options{}); err == nil || strings.Contains(err.Error(), key) {
			t.Errorf("key %q: error %v", key, err)
		}
	}
}

func TestErrorTellsTheOriginOnly(t *testing.T) {
	t.Parallel()
	c := newClient(t, "http://127.0.0.1:1/hidden", http.DefaultTransport)
	_, err := c.Call(t.Context(), client.Call{Path: "/hidden", CallbackURL: "https://my.server/?token=hidden"})
	if !errors.Is(err, client.ErrNoAnswer) || !strings.Contains(err.Error(), "POST http://127.0.0.1:1: ") {
		t.Errorf("error %v", err)
	}
	_, errControl := c.Call(t.Context(), client.Call{Path: "/hidden\x7f"})
	for _, err := range []error{err, errControl} {
		if err == nil || strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "the-key") {
			t.Errorf("error %v", err)
		}
	}
}

func TestKeyStaysWithTheGateway(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed, with the key %q", r.Header.Get("Ringback-Key"))
	}))
	t.Cleanup(other.Close)
	c := setup(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	_, err := c.Job(t.Context(), "job_1")
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != http.StatusTemporaryRedirect {
		t.Errorf("error %v, want a problem of status 307", err)
	}
}

func TestProblemIsRead(t *testing.T) {
	t.Parallel()
	c := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		answer(w, 400, "application/problem+json; charset=utf-8",
			`{"title":"Request refused","status":400,"code":"bad_request","detail":"two faults","hint":"mend them","errors":[{"detail":"too long","pointer":"#/url"},{"detail":"unknown"}]}`)
	})
	_, err := c.Job(t.Context(), "job_1")
	p, ok := errors.AsType[*client.Problem](err)
	if !ok || p.Code != "bad_request" || p.Hint != "mend them" || p.Status != 400 || p.RetryAfter != 7 {
		t.Fatalf("problem %+v", p)
	}
	if want := "Request refused: two faults; #/url: too long; unknown"; p.Error() != want {
		t.Errorf("error %q, want %q", p.Error(), want)
	}
}

func TestProblemSaysNothingTwice(t *testing.T) {
	t.Parallel()
	p := &client.Problem{Title: "The app has no endpoint of this name", Detail: "callback names no endpoint of the app",
		Errors: []client.ProblemItem{{Detail: "names no endpoint of the app", Parameter: "callback"}}}
	if want := "The app has no endpoint of this name: callback names no endpoint of the app"; p.Error() != want {
		t.Errorf("error %q, want %q", p.Error(), want)
	}
	p.Errors = append(p.Errors, client.ProblemItem{Detail: "names no endpoint of the app", Header: "X-Callback"})
	if want := "callback names no endpoint of the app; X-Callback: names no endpoint of the app"; !strings.HasSuffix(p.Error(), want) {
		t.Errorf("error %q, want %q", p.Error(), want)
	}
}

func TestProblemNamesThePlacesOfOneFault(t *testing.T) {
	t.Parallel()
	const detail = "the callback URL's scheme must be https or http"
	p := &client.Problem{Title: "Unusable", Detail: detail,
		Errors: []client.ProblemItem{{Detail: detail, Parameter: "callbackURL"}, {Detail: detail, Header: "X-Callback-Url"}, {Detail: "other", Pointer: "#/x"}}}
	if want := "Unusable: " + detail + " (callbackURL) (X-Callback-Url); #/x: other"; p.Error() != want {
		t.Errorf("%s, want %s", p.Error(), want)
	}
}

func TestAnswerThatIsNoProblemBecomesOne(t *testing.T) {
	t.Parallel()
	for contentType, body := range map[string]string{"text/html": "<h1>Bad Gateway</h1>", "application/problem+json": "{"} {
		c := setup(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			answer(w, 502, contentType, body)
		})
		p, ok := errors.AsType[*client.Problem](c.Cancel(t.Context(), "job_1"))
		if !ok || p.Status != 502 || p.Code != "" || p.Error() != "502 Bad Gateway" || p.RetryAfter < 3500 || p.RetryAfter > 3600 {
			t.Errorf("%s: problem %+v", contentType, p)
		}
	}
}

func TestAnswerThatIsNotJSONIsAnError(t *testing.T) {
	t.Parallel()
	for contentType, body := range map[string]string{"text/html": "<h1>Hello</h1>", "application/json": "{"} {
		c := setup(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, contentType, body) })
		if job, err := c.Job(t.Context(), "job_1"); err == nil {
			t.Errorf("%s is read as %+v", contentType, job)
		}
	}
}

func TestIDsCannotLeaveTheirPlaceInThePath(t *testing.T) {
	t.Parallel()
	c := setup(t, func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, "application/json", fmt.Sprintf(`{"id":%q,"status":"running"}`, r.RequestURI))
	})
	job, err := c.Job(t.Context(), "../apps?x#y")
	if err != nil || job.ID != "/v1/jobs/..%2Fapps%3Fx%23y" {
		t.Errorf("asked for %v, %v", job, err)
	}
}

func TestCallSendsWhatItSays(t *testing.T) {
	t.Parallel()
	c := setup(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got := fmt.Sprintf("%s %s %d %q\n%s\n%s\n%s\n%s\n%s", r.Method, r.RequestURI, r.ContentLength, body, r.Header.Get("Content-Type"),
			r.Header.Get("Idempotency-Key"), r.Header.Get("Prefer"), r.Header.Get("X-Tenant"), r.Header.Get("Ringback-Key"))
		const want = "PUT /scan%2Fx?b=%2f&A=1&callback=shop&callbackEvents=succeeded%2Cfailed&callbackState=a+%26+b 8 \"a letter\"\n" +
			"text/plain\nk1\nrespond-async, wait=5\n7\nthe-key"
		if got != want {
			t.Errorf("sent %s\nwant %s", got, want)
		}
		w.Header().Set("Location", "/v1/jobs/job_1")
		answer(w, 202, "application/json", `{"id":"job_1","status":"accepted"}`)
	})
	a, err := c.Call(t.Context(), client.Call{Method: "PUT", Path: "/scan%2Fx?b=%2f&A=1", Header: http.Header{"X-Tenant": {"7"}},
		Body: strings.NewReader("a letter"), ContentType: "text/plain", Endpoint: "shop", Events: []string{"succeeded", "failed"},
		State: "a & b", IdempotencyKey: "k1", Wait: 5900 * time.Millisecond})
	if err != nil || a.Result != nil || a.Job.ID != "job_1" {
		t.Errorf("answer %+v, %v", a, err)
	}
}

func TestCallReturnsTheResultThatIsThereInTime(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 202} {
		c := setup(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Ringback-Job-Id", "job_1")
			w.Header().Set("Location", "/of/the/upstream")
			answer(w, status, "image/png", "PNG")
		})
		a, err := c.Call(t.Context(), client.Call{Path: "/thumbnail", Wait: time.Second})
		if err != nil || a.Job != nil || a.Result.ContentType != "image/png" || a.Result.Status != status {
			t.Fatalf("answer %+v, %v", a, err)
		}
		defer a.Result.Body.Close()
		if body, err := io.ReadAll(a.Result.Body); string(body) != "PNG" || err != nil {
			t.Errorf("result %q, %v", body, err)
		}
	}
}

func TestCallThatWaitedInVainNamesItsJob(t *testing.T) {
	t.Parallel()
	c := setup(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Ringback-Job-Id", "job_1")
		answer(w, 409, "application/problem+json", `{"title":"No result","code":"no_result"}`)
	})
	_, err := c.Call(t.Context(), client.Call{Path: "/scan", Wait: time.Second})
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.JobID != "job_1" || p.Code != "no_result" {
		t.Errorf("error %v", err)
	}
}

func TestCallRefusesWhatCannotBeMeant(t *testing.T) {
	t.Parallel()
	c := newClient(t, "http://127.0.0.1:1", http.DefaultTransport)
	for _, call := range []client.Call{{}, {Path: "scan"}, {Path: "/scan", Method: "A B"},
		{Path: "/scan", CallbackURL: "https://my.server/", Endpoint: "shop"}} {
		if _, err := c.Call(t.Context(), call); err == nil || errors.Is(err, client.ErrNoAnswer) {
			t.Errorf("%+v: error %v", call, err)
		}
	}
}

func TestLargeBodyIsNotSentWhereItIsRefused(t *testing.T) {
	t.Parallel()
	c := setup(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 413, "text/plain", "") })
	for _, size := range []int64{0, 100 << 20} {
		body := &countingReader{}
		_, err := c.Call(t.Context(), client.Call{Path: "/scan", Body: body, BodyBytes: size})
		if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != 413 || body.n != 0 {
			t.Errorf("of %d bytes declared %d were read, error %v", size, body.n, err)
		}
	}
}

type countingReader struct{ n int }

func (r *countingReader) Read(p []byte) (int, error) {
	r.n += len(p)
	return len(p), nil
}

func TestListsAreReadPageByPage(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	c := setup(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.RequestURI
		switch r.FormValue("cursor") {
		case "":
			answer(w, 200, "application/json", `{"data":[{"id":"job_3","status":"failed"},{"id":"job_2","status":"failed"}],"next":"a b"}`)
		case "a b":
			answer(w, 200, "application/json", `{"data":[{"id":"job_1","status":"failed"}],"next":null}`)
		default:
			answer(w, 400, "text/plain", "")
		}
	})
	var ids []string
	for job, err := range c.Jobs(t.Context(), client.JobQuery{Operation: "scan", Status: "failed", PageSize: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, job.ID)
	}
	if got := strings.Join(ids, " "); got != "job_3 job_2 job_1" {
		t.Errorf("listed %s", got)
	}
	for job, err := range c.Callbacks(t.Context(), client.CallbackQuery{JobID: "job_1", Endpoint: "shop", Status: "dead"}) {
		if err != nil || job.ID != "job_3" {
			t.Errorf("first is %s, %v", job.ID, err)
		}
		break
	}
	for _, want := range []string{"/v1/jobs?limit=2&operation=scan&status=failed", "/v1/jobs?cursor=a+b&limit=2&operation=scan&status=failed",
		"/v1/callbacks?endpoint=shop&job=job_1&status=dead"} {
		if got := <-asked; got != want {
			t.Errorf("asked for %s, want %s", got, want)
		}
	}
	if len(asked) > 0 {
		t.Errorf("asked for %s, which nobody needs", <-asked)
	}
}

func TestResultTellsNotYetFromNever(t *testing.T) {
	t.Parallel()
	c := setup(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/jobs/running/result":
			answer(w, 202, "application/json", `{"id":"running","status":"running"}`)
		case "/v1/jobs/failed/result":
			answer(w, 409, "application/problem+json", `{"title":"No result","code":"timeout"}`)
		default:
			w.Header().Set("Ringback-Result-Status", "201")
			answer(w, 200, "text/plain", "clean")
		}
	})
	if result, err := c.Result(t.Context(), "running"); result != nil || err != nil {
		t.Errorf("running: %+v, %v", result, err)
	}
	_, err := c.Result(t.Context(), "failed")
	if p, ok := errors.AsType[*client.Problem](err); !ok || p.Code != "timeout" {
		t.Errorf("failed: %v", err)
	}
	result, err := c.Result(t.Context(), "done")
	if err != nil {
		t.Fatal(err)
	}
	defer result.Body.Close()
	if body, err := io.ReadAll(result.Body); string(body) != "clean" || result.Status != 201 || err != nil {
		t.Errorf("done: %q, %v", body, err)
	}
}

// roundTripper answers without a network, so that synctest has the clock.
type roundTripper func(*http.Request) (int, string, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body, err := f(r)
	if err != nil {
		return nil, err
	}
	contentType := "application/json"
	if strings.HasSuffix(r.URL.Path, "/events") {
		contentType = "text/event-stream"
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func TestWaitJobDoesNotHurryAGatewayThatAnswersAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		start := time.Now()
		c := newClient(t, "http://gateway", roundTripper(func(r *http.Request) (int, string, error) {
			asked++
			if r.URL.Query().Get("wait") != "30" {
				t.Errorf("asked for %s", r.URL)
			}
			if time.Since(start) < 10*time.Second {
				return 200, `{"id":"job_1","status":"running"}`, nil
			}
			return 200, `{"id":"job_1","status":"expired"}`, nil
		}))
		job, err := c.WaitJob(t.Context(), "job_1")
		if err != nil || job.Status != client.StatusExpired || asked != 11 {
			t.Errorf("after %d questions: %+v, %v", asked, job, err)
		}
	})
}

func TestWaitJobEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, "http://gateway", roundTripper(func(*http.Request) (int, string, error) {
			return 200, `{"id":"job_1","status":"running"}`, nil
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		if _, err := c.WaitJob(ctx, "job_1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestEveryQuestionGoesWhereTheAPIHasIt(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked <- strings.TrimSpace(r.Method + " " + r.RequestURI + " " + string(body))
		if r.Method == "DELETE" && strings.Contains(r.URL.Path, "/endpoints/") {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		answer(w, 200, "application/json", `{"id":"i","status":"pending","name":"n","url":"u","key":"k","secret":"s","data":[],"next":null}`)
	}))
	t.Cleanup(server.Close)
	c, err := client.New(server.URL+"/gw/", "", client.Options{Prefix: "/.ringback"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	list := func(seq func(func() bool)) { seq(func() bool { return true }) }
	for want, ask := range map[string]func() error{
		"GET /v1/jobs/j":                     func() error { _, err := c.Job(ctx, "j"); return err },
		"DELETE /v1/jobs/j":                  func() error { return c.Cancel(ctx, "j") },
		"GET /v1/callbacks/c":                func() error { _, err := c.Callback(ctx, "c"); return err },
		"POST /v1/callbacks/c/resend":        func() error { _, err := c.Resend(ctx, "c"); return err },
		"GET /v1/callbacks/c/attempts":       func() error { list(nextless(c.Attempts(ctx, "c"))); return nil },
		"GET /v1/endpoints":                  func() error { list(nextless(c.Endpoints(ctx))); return nil },
		"DELETE /v1/apps/shop?confirm=shop":  func() error { _, err := c.DeleteApp(ctx, "shop"); return err },
		"GET /v1/apps":                       func() error { list(nextless(c.Apps(ctx))); return nil },
		"GET /v1/endpoints/e":                func() error { _, err := c.Endpoint(ctx, "e"); return err },
		"DELETE /v1/endpoints/e":             func() error { return c.DeleteEndpoint(ctx, "e") },
		"GET /v1/secret":                     func() error { _, err := c.Secret(ctx, ""); return err },
		"POST /v1/secret/rotate":             func() error { _, err := c.RotateSecret(ctx, ""); return err },
		"GET /v1/endpoints/e/secret":         func() error { _, err := c.Secret(ctx, "e"); return err },
		"POST /v1/endpoints/e/secret/rotate": func() error { _, err := c.RotateSecret(ctx, "e"); return err },
		`POST /v1/apps {"name":"shop"}`:      func() error { _, err := c.CreateApp(ctx, "shop"); return err },
		`POST /v1/endpoints {"name":"e","url":"https://my.server/"}`: func() error {
			_, err := c.CreateEndpoint(ctx, client.EndpointCreate{Name: "e", URL: "https://my.server/"})
			return err
		},
		`PATCH /v1/endpoints/e {"default":true}`: func() error {
			_, err := c.UpdateEndpoint(ctx, "e", client.EndpointPatch{Default: new(true)})
			return err
		},
	} {
		if err := ask(); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		got := strings.Replace(<-asked, " /gw/.ringback", " ", 1)
		if got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
}

// nextless drives a list of any type without looking at its members.
func nextless[T any](seq func(func(T, error) bool)) func(func() bool) {
	return func(yield func() bool) { seq(func(T, error) bool { return yield() }) }
}

func TestJobIsWhatTheGatewaySays(t *testing.T) {
	t.Parallel()
	const text = `{"id":"job_1","operation":"scan","status":"failed","created_at":"2026-03-01T12:00:00.000Z",` +
		`"started_at":"2026-03-01T12:00:00.100Z","finished_at":"2026-03-01T12:00:01.000Z","attempts":3,` +
		`"error":{"code":"timeout","message":"too slow"},"links":{"self":"/s","result":"/r","events":"/e"},` +
		`"callback":{"url":"https://my.server/bar","source":"default_endpoint","endpoint":"shop"},` +
		`"callbacks":[{"id":"cb_1","event":"failed","status":"pending","endpoint":"shop","url":"https://my.server/bar","attempts":1,` +
		`"next_attempt_at":"2026-03-01T12:00:06.000Z","last_status":500,"last_error":"status"}]}`
	c := setup(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "application/json", text) })
	job, err := c.Job(t.Context(), "job_1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(job); string(got) != text || err != nil {
		t.Errorf("read %s, %v", got, err)
	}
}
