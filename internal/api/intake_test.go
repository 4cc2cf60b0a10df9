package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// hookedStore is a store whose Accept can fail, and be watched.
type hookedStore struct {
	job.Store
	err      error
	accepted func(job.Acceptance)
	// unaware: a repeated call comes while the first one is being committed.
	unaware bool
}

func (s *hookedStore) Repeated(ctx context.Context, app, operation, key string) (job.Receipt, error) {
	if s.unaware {
		return job.Receipt{}, job.ErrNotFound
	}
	return s.Store.Repeated(ctx, app, operation, key)
}

func (s *hookedStore) Accept(ctx context.Context, in job.Acceptance) (job.Receipt, error) {
	if s.err != nil {
		return job.Receipt{}, s.err
	}
	receipt, err := s.Store.Accept(ctx, in)
	if err == nil && s.accepted != nil {
		s.accepted(in)
	}
	return receipt, err
}

// countedSlots are always free, and counted.
type countedSlots struct {
	instant bool
	mu      sync.Mutex
	taken   map[string]int64
}

func (s *countedSlots) Reserve(j *job.Job) bool { return s.add(j.Operation, j.MemoryBytes()) }
func (s *countedSlots) Release(j *job.Job)      { s.add(j.Operation, -j.MemoryBytes()) }

func (s *countedSlots) Instantly(_ context.Context, j *job.Job) *job.Finish {
	if !s.instant {
		return nil
	}
	s.add("ends", 1)
	return &job.Finish{Job: j, State: job.Succeeded, At: j.CreatedAt, Result: &job.Result{Status: 200, Echo: true}}
}

func (s *countedSlots) Disown(*job.Finish) { s.add("ends", -1) }

func (s *countedSlots) add(group string, bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[group] += bytes
	return true
}

// stored reads the job that an answer tells of.
func (g *gateway) stored(a answer) *job.Job {
	g.t.Helper()
	a.want(g.t, http.StatusAccepted, "")
	id, ok := job.ParseJob(field[string](g.t, a, "id"))
	if !ok {
		g.t.Fatalf("no job's id: %s", a.body)
	}
	j, err := g.store.WholeJob(g.t.Context(), "", id)
	if err != nil {
		g.t.Fatal(err)
	}
	return j
}

// jobs counts the jobs of all apps.
func (g *gateway) jobs() int {
	g.t.Helper()
	all, err := g.store.Jobs(g.t.Context(), job.JobFilter{Limit: 1000})
	if err != nil {
		g.t.Fatal(err)
	}
	return len(all)
}

// raw sends octets on a connection of its own, and reads until it is closed.
func (g *gateway) raw(octets string) string {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		g.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, octets); err != nil {
		g.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil && len(answer) == 0 {
		g.t.Fatal(err)
	}
	return string(answer)
}

func TestAcceptedCallIsAnsweredWithItsJob(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.PublicURL = "https://api.example" })
	key := g.app("shop")
	a := g.call("POST", "/scan?x=1&callbackURL=https%3A%2F%2Fa.example%2Fcb%3Fa%3D%22%3C%26&y=%zz", key, "{}")
	j := g.stored(a)
	self := "https://api.example/v1/jobs/" + j.ID.Job()
	for name, want := range map[string]string{
		"Location": self, "Retry-After": "1", "Content-Type": "application/json", "Vary": "Prefer",
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Preference-Applied": "",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	var got client.AcceptedJob
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	want := client.AcceptedJob{
		ID: j.ID.Job(), Operation: "scan", Status: "accepted", CreatedAt: client.At(j.CreatedAt),
		Links:    client.Links{Self: self, Result: self + "/result", Events: self + "/events"},
		Callback: client.JobCallback{URL: `https://a.example/cb?a="<&`, Source: "request"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if again, err := json.Marshal(want); err != nil || !sameJSON(t, again, []byte(a.body)) {
		t.Errorf("%s is not %s", a.body, again)
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

func TestBackendGetsTheRequestWithoutWhatIsForTheGateway(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[1].Callback.URL = []string{"{$request.query.answer-to}", "{$request.header.X-Answer-To}", "{$request.query.callbackURL}"}
	})
	key := g.app("shop")
	a := g.call("POST", "/reports/a%2Fb%20c?x=%zz;1&answer-to=https://a.example&&callbackState=s&y", key, "{}",
		"Idempotency-Key", "k", "Prefer", "wait=0", "Traceparent", validParent, "Tracestate", "a=1", "X-Answer-To", "https://b.example",
		"Connection", "X-Hop, keep-alive", "X-Hop", "1", "Keep-Alive", "5", "Te", "trailers", "Proxy-Authorization", "secret", "X-Callback-Events", "failed",
		"X-Mine", "1", "X-Mine", "2", "Cookie", "c=1", "User-Agent", "test")
	j := g.stored(a)
	want := job.Request{
		Method: "POST", Path: "/reports/a%2Fb%20c", RawQuery: "x=%zz;1&&y", Params: map[string]string{"kind": "a/b c"},
		Header: http.Header{"X-Mine": {"1", "2"}, "User-Agent": {"test"}, "Content-Type": {"application/json"}, "Accept-Encoding": {"gzip"}},
		Body:   body.Inline([]byte("{}")), Trace: job.Trace{Parent: validParent, State: "a=1"},
	}
	if cookie, err := g.seal.Open(j.Request.Authorization, authorizationUse); err != nil || string(cookie) != "\nc=1" {
		t.Errorf("the cookie is %q, %v", cookie, err)
	}
	j.Request.Authorization = nil
	if !reflect.DeepEqual(j.Request, want) {
		t.Errorf("the backend gets %+v,\nwant %+v", j.Request, want)
	}
	if len(j.Targets) != 1 || j.Targets[0].URL != "https://a.example" || j.Echo != "s" || !slices.Equal(j.Targets[0].Events, []job.Event{job.EventFailed}) {
		t.Errorf("targets %+v, state %q", j.Targets, j.Echo)
	}
	if len(a.header["Preference-Applied"]) != 1 || a.header.Get("Preference-Applied") != "wait=0" {
		t.Errorf("Preference-Applied %q", a.header["Preference-Applied"])
	}
}

func TestPathParameterWithControlCharactersIsRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	for _, path := range []string{"/reports/a%0d%0aX:1", "/reports/%00", "/reports/%ff", "/reports/%7f"} {
		g.call("POST", path, key, "{}").want(t, http.StatusBadRequest, "invalid_parameter")
	}
	g.call("POST", "/reports/..%2f..%2fadmin", key, "{}").want(t, http.StatusAccepted, "")
}

func TestWhatNoOperationServesIsAProblem(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	g.call("POST", "/nosuch", key, "{}").want(t, http.StatusNotFound, "not_found")
	g.call("BREW", "/scan", key, "").want(t, http.StatusNotImplemented, "method_unknown")
	a := g.call("GET", "/scan", key, "")
	a.want(t, http.StatusMethodNotAllowed, "method_not_allowed")
	if got := a.header.Get("Allow"); got != "POST, OPTIONS" {
		t.Errorf("Allow: %q", got)
	}
	if a := g.call("OPTIONS", "/reports/x", "", ""); a.status != http.StatusNoContent || a.header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("OPTIONS: %d, Allow: %q", a.status, a.header.Get("Allow"))
	}
	for _, path := range []string{"/scan/", "//scan", "/x/../scan", "/scan/../scan"} {
		if a := g.call("POST", path, key, "{}"); a.status != http.StatusNotFound {
			t.Errorf("POST %s: %d %s", path, a.status, a.body)
		}
	}
	if n := g.jobs(); n != 0 {
		t.Errorf("%d jobs", n)
	}
}

func TestWrongOperationFailsAtTheStart(t *testing.T) {
	t.Parallel()
	scan := job.Operation{Name: "scan", Route: "POST /scan"}
	urls := func(urls ...string) job.Operation {
		return job.Operation{Name: "scan", Route: "POST /scan/{region}", Callback: job.Contract{URL: urls}}
	}
	for _, test := range []struct {
		operations []job.Operation
		want       string
	}{
		{[]job.Operation{{Name: "scan", Route: "/scan"}}, `operation scan: the route "/scan" must be a method and a path`},
		{[]job.Operation{{Name: "scan", Route: "POST a.example/scan"}}, "must be a method and a path"},
		{[]job.Operation{{Name: "scan", Route: "POST /{"}}, `the route "POST /{"`},
		{[]job.Operation{{Name: "scan"}}, "must be a method and a path"},
		{[]job.Operation{scan, {Name: "other", Route: "POST /scan"}}, "operation other: the route"},
		{[]job.Operation{urls("{$request.nope}")}, `operation scan: callback.url[0]: "$request.nope"`},
		{[]job.Operation{urls("{$request.path.area}")}, "the route has no parameter {area}"},
		{[]job.Operation{urls("https://a.example", "https://b.example")}, "only one URL without an expression"},
		{[]job.Operation{urls("http://a.example")}, "must use https"},
		{[]job.Operation{{Name: "scan", Route: "POST /scan", Callback: job.Contract{CallerMay: []string{"body"}}}}, "callback.caller_may"},
	} {
		g := &gateway{t: t}
		opt := g.options()
		opt.Operations = test.operations
		_, err := New(opt)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), ".go:") {
			t.Errorf("%+v: %v, want %q", test.operations, err, test.want)
		}
	}
}

func TestSlotIsReservedForTheJobAndGivenBackWithoutOne(t *testing.T) {
	t.Parallel()
	slots := &countedSlots{taken: map[string]int64{}}
	var claimed []bool
	store := &hookedStore{unaware: true, accepted: func(in job.Acceptance) { claimed = append(claimed, in.Claimed) }}
	g := setup(t, func(o *Options) { store.Store, o.Store, o.Slots = o.Store, store, slots })
	key := g.app("shop")
	j := g.stored(g.call("POST", "/scan", key, "{}", "Idempotency-Key", "k"))
	g.call("POST", "/scan", key, "{}", "Idempotency-Key", "k").want(t, http.StatusAccepted, "")
	g.call("POST", "/scan", key, "{ }", "Idempotency-Key", "k").want(t, http.StatusUnprocessableEntity, "")
	store.err = job.ErrUnavailable
	g.call("POST", "/scan", key, "{}").want(t, http.StatusServiceUnavailable, "")
	g.call("POST", "/scan?callbackURL=nonsense", key, "{}").want(t, http.StatusBadRequest, "callback_url_invalid")
	if got := slots.taken["scan"]; got != j.MemoryBytes() {
		t.Errorf("%d bytes are taken, want the first job's %d", got, j.MemoryBytes())
	}
	if !slices.Equal(claimed, []bool{true, true, true}) {
		t.Errorf("claimed: %v", claimed)
	}
}

func TestJobThatTakesNoTimeIsStoredWithItsEnd(t *testing.T) {
	t.Parallel()
	slots := &countedSlots{taken: map[string]int64{}, instant: true}
	store := &hookedStore{unaware: true}
	g := setup(t, func(o *Options) { store.Store, o.Store, o.Slots = o.Store, store, slots })
	key := g.app("shop")
	j := g.stored(g.call("POST", "/scan", key, "{}", "Idempotency-Key", "k"))
	if j.State != job.Succeeded {
		t.Errorf("the job is %s", j.State)
	}
	g.call("POST", "/scan", key, "{}", "Idempotency-Key", "k").want(t, http.StatusAccepted, "")
	store.err = job.ErrUnavailable
	g.call("POST", "/scan", key, "{}").want(t, http.StatusServiceUnavailable, "")
	if slots.taken["scan"] != 0 || slots.taken["ends"] != 1 {
		t.Errorf("taken: %v, want one end and no slot", slots.taken)
	}
}

func TestRepeatedCallGetsTheFirstOnesAnswer(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key, other := g.app("shop"), g.app("other")
	call := func(key string, headers ...string) answer {
		return g.call("POST", "/scan?callbackURL=https://a.example/cb", key, "{}", append(headers, "Idempotency-Key", `"k 1"`)...)
	}
	first := call(key)
	first.want(t, http.StatusAccepted, "")
	again := call(key)
	if again.status != first.status || again.body != first.body || again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("%d %s, want %d %s", again.status, again.body, first.status, first.body)
	}
	if again.header.Get("Idempotency-Replayed") != "true" || first.header.Get("Idempotency-Replayed") != "" {
		t.Error("Idempotency-Replayed must tell the two apart")
	}
	j := g.stored(first)
	g.finish(j, job.Succeeded, &job.Result{Status: 200, ContentType: "text/plain", Body: body.Inline([]byte("clean"))}, nil)
	if a := call(key); a.body != first.body {
		t.Errorf("after its end: %s, want %s", a.body, first.body)
	}
	if a := call(key, "Prefer", "wait=5"); a.status != 200 || a.body != "clean" {
		t.Errorf("with Prefer: wait: %d %s", a.status, a.body)
	}
	if a := call(other); field[string](t, a, "id") == j.ID.Job() {
		t.Error("a key of one app answers another one")
	}
	if n := g.jobs(); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
}

func TestRepeatedCallIsAnsweredAlikeWhateverBecameOfItsEndpoint(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	g.endpoint("shop", job.Endpoint{Name: "named"})
	g.endpoint("shop", job.Endpoint{Name: "all", Default: true})
	large := strings.Repeat("a", 2*body.MaxInlineBytes)
	call := func(path, document string) answer {
		return g.call("POST", path, key, document, "Idempotency-Key", "k"+path)
	}
	paths := []string{"/scan?callback=named", "/scan"}
	first := make([]answer, len(paths))
	for i, path := range paths {
		first[i] = call(path, large)
		first[i].want(t, http.StatusAccepted, "")
	}
	check := func(when string) {
		t.Helper()
		for i, path := range paths {
			a := call(path, large)
			if a.status != http.StatusAccepted || a.body != first[i].body || a.header.Get("Location") != first[i].header.Get("Location") {
				t.Errorf("%s, %s: %d %s, want %s", when, path, a.status, a.body, first[i].body)
			}
			call(path, large+"b").want(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
		}
	}
	for _, name := range []string{"named", "all"} {
		g.call("PATCH", "/v1/endpoints/"+name, key, `{"url":"https://elsewhere.example"}`).want(t, http.StatusOK, "")
	}
	check("endpoints changed")
	for _, name := range []string{"named", "all"} {
		g.call("DELETE", "/v1/endpoints/"+name, key, "").want(t, http.StatusNoContent, "")
	}
	check("endpoints deleted")
	g.endpoint("shop", job.Endpoint{Name: "new", Default: true})
	check("another default")
	if n := g.jobs(); n != 2 {
		t.Errorf("%d jobs", n)
	}
}

func TestSimultaneousCallsWithOneKeyAreOneJob(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	answers := make([]answer, 16)
	var calls sync.WaitGroup
	for i := range answers {
		calls.Go(func() { answers[i] = g.call("POST", "/scan", key, "{}", "Idempotency-Key", "k") })
	}
	calls.Wait()
	for _, a := range answers {
		a.want(t, http.StatusAccepted, "")
		if a.body != answers[0].body {
			t.Errorf("%s and %s", a.body, answers[0].body)
		}
	}
	if n := g.jobs(); n != 1 {
		t.Errorf("%d jobs", n)
	}
}

func TestPreferWaitAnswersWithTheResult(t *testing.T) {
	t.Parallel()
	store := &hookedStore{}
	g := setup(t, func(o *Options) { store.Store, o.Store = o.Store, store })
	key := g.app("shop")
	var finishing sync.WaitGroup
	defer finishing.Wait()
	end := func(end job.State, result *job.Result, failure *job.Error) func(job.Acceptance) {
		return func(in job.Acceptance) {
			finishing.Go(func() {
				if err := g.store.FinishRun(context.Background(), job.Finish{Job: in.Job, State: end, At: time.Now(), Result: result, Error: failure}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	store.accepted = end(job.Succeeded, &job.Result{Status: 201, ContentType: "text/plain", Body: body.Inline([]byte("clean"))}, nil)
	a := g.call("POST", "/scan", key, "{}", "Prefer", "respond-async, wait=10")
	if a.status != 201 || a.body != "clean" || a.header.Get("Content-Type") != "text/plain" {
		t.Errorf("%d %q", a.status, a.body)
	}
	if got := a.header.Get("Preference-Applied"); got != "wait=5" { // the limit of the test's gateway
		t.Errorf("Preference-Applied: %q", got)
	}
	if _, ok := job.ParseJob(a.header.Get("Ringback-Job-Id")); !ok {
		t.Errorf("Ringback-Job-Id: %q", a.header.Get("Ringback-Job-Id"))
	}
	store.accepted = end(job.Failed, nil, &job.Error{Code: job.CodeBackendError, Message: "no"})
	g.call("POST", "/scan", key, "{}", "Prefer", "wait=10").want(t, http.StatusConflict, "no_result")
}

func TestPreferWaitEndsWithTheJobAccepted(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.MaxWait = 50 * time.Millisecond })
	key := g.app("shop")
	a := g.call("POST", "/scan", key, "{}", "Prefer", "wait=99999, return=minimal, respond-async")
	if a.status != http.StatusAccepted || a.body != "" || a.header.Get("Location") == "" || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %q %v", a.status, a.body, a.header)
	}
	if got := a.header.Get("Preference-Applied"); got != "respond-async, wait=0, return=minimal" {
		t.Errorf("Preference-Applied: %q", got)
	}
}

func TestOctetsThatAreNoTextReachTheBackend(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	a := g.raw("POST /scan?a=\xff\xfe&b=\"| HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer " + key +
		"\r\nX-Odd: caf\xe9\r\nContent-Length: 4\r\n\r\n\x00\xff\r\n")
	_, content, _ := strings.Cut(a, "\r\n\r\n")
	j := g.stored(answer{status: http.StatusAccepted, body: content})
	if j.Request.RawQuery != "a=\xff\xfe&b=\"|" || j.Request.Header.Get("X-Odd") != "caf\xe9" || string(j.Request.Body.Inline) != "\x00\xff\r\n" {
		t.Errorf("the backend would get %+v", j.Request)
	}
}
