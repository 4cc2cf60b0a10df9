package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	listed "github.com/ringback/ringback/internal/hostile"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// hostile is the gateway that the rows are sent to, and what they refer to.
type hostile struct {
	t       *testing.T
	address string
	store   *sqlite.Store
	keys    map[string]string // by app
	vars    map[string]string
	replies map[string]reply // by row

	mu       sync.Mutex
	upstream []http.Request // what the upstream of report was asked
	dialled  []string       // where callbacks went
}

const hostileAdminKey = "rb_admin_hostile"

// hostileRows is how many there are: none may be lost.
const hostileRows = 182

// public resolves every name to one public address.
type public struct{}

func (public) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
}

func startHostile(t *testing.T) *hostile {
	t.Helper()
	h := &hostile{t: t, keys: map[string]string{}, vars: map[string]string{"$STATE": "callbackState"}, replies: map[string]reply{}}
	behind := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.upstream = append(h.upstream, *r)
	}))
	t.Cleanup(behind.Close)
	dir := t.TempDir()
	var err error
	if h.store, err = sqlite.Open(t.Context(), filepath.Join(dir, "ringback.db"), sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	g, err := ringback.New(t.Context(), h.store, ringback.Options{
		BodyDir: filepath.Join(dir, "bodies"), SealKey: make([]byte, 32), AdminKey: hostileAdminKey, Operations: hostileOperations(t, behind.URL),
		Outbound: ringback.Outbound{HTTP: true}, Resolver: public{}, Dial: h.dial, MaxWait: 2 * time.Second, BodyIdleTimeout: 2 * time.Second,
		DrainTimeout: time.Second, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(g.Handler())
	server.Config.ReadHeaderTimeout = 2 * time.Second
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	h.address = server.Listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, h.store.Close()); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	h.prepare()
	return h
}

// dial notes where a callback would go, and gets nowhere.
func (h *hostile) dial(_ context.Context, _, address string) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dialled = append(h.dialled, address)
	return nil, errors.New("nothing is dialled for real")
}

func hostileOperations(t *testing.T, upstream string) []ringback.Operation {
	t.Helper()
	report, err := ringback.HTTP(ringback.HTTPConfig{URL: upstream + "/reports/{kind}"})
	if err != nil {
		t.Fatal(err)
	}
	slow := ringback.Func(func(ctx context.Context, _ *ringback.Call, _ *ringback.Result) error {
		<-ctx.Done()
		return ctx.Err()
	})
	return []ringback.Operation{
		{Backend: ringback.Relay(), Operation: job.Operation{Name: "scan", Route: "POST /scan", MaxBodyBytes: 1 << 10,
			Callback: job.Contract{URL: []string{"{$request.query.callbackURL}"},
				CallerMay: []string{"url", "state", "events", "method", "format"}}}},
		{Backend: ringback.Relay(), Operation: job.Operation{Name: "order", Route: "POST /order", MaxBodyBytes: 1 << 20,
			Callback: job.Contract{URL: []string{"{$request.body#/callbackUrl}"}, Required: true,
				Headers: map[string]string{"X-Order": "{$request.body#/order}"}}}},
		{Backend: ringback.Relay(), Operation: job.Operation{Name: "fixed", Route: "POST /fixed",
			Callback: job.Contract{Policy: job.Policy{Prefixes: []string{"https://a.example/hooks/"}}}}},
		{Backend: report, Operation: job.Operation{Name: "report", Route: "POST /reports/{kind}"}},
		{Backend: slow, Operation: job.Operation{Name: "slow", Route: "POST /slow", Concurrency: 100}},
	}
}

// prepare makes the apps, and what the rows call by variables.
func (h *hostile) prepare() {
	h.t.Helper()
	endpoints := map[string]string{
		"A": `{"name":"main","url":"https://hooks.example.com/default","default":true}`,
		"B": `{"name":"b-only","url":"https://b.example/b"}`,
	}
	for _, app := range []string{"A", "B"} {
		made := h.ask(hostileAdminKey, "POST", "/v1/apps", `{"name":"app-`+strings.ToLower(app)+`"}`, 201)
		h.keys[app] = made["key"].(string)
		h.vars["$KEY_"+app] = h.keys[app]
		h.ask(h.keys[app], "POST", "/v1/endpoints", endpoints[app], 201)
		h.ask(h.keys[app], "POST", "/scan", "{}", 202)
		h.vars["$JOB_"+app] = h.finished(app, h.ask(h.keys[app], "POST", "/scan?callbackURL=https://a.example/cb", "{}", 202))
		h.vars["$CURSOR_"+app] = h.ask(h.keys[app], "GET", "/v1/jobs?limit=1", "", 200)["next"].(string)
	}
	h.vars["$EP_B"] = "b-only"
	h.vars["$RUN_B"] = h.ask(h.keys["B"], "POST", "/slow", "{}", 202)["id"].(string)
	callbacks := h.ask(h.keys["B"], "GET", "/v1/callbacks", "", 200)["data"].([]any)
	h.vars["$CB_B"] = callbacks[0].(map[string]any)["id"].(string)
}

// finished waits for the end of an accepted job.
func (h *hostile) finished(app string, accepted map[string]any) string {
	h.t.Helper()
	id := accepted["id"].(string)
	if got := h.ask(h.keys[app], "GET", "/v1/jobs/"+id+"?wait=2", "", 200); got["status"] != "succeeded" {
		h.t.Fatalf("job %s: %v", id, got)
	}
	return id
}

// ask sends a request that is not hostile.
func (h *hostile) ask(key, method, target, body string, status int) map[string]any {
	h.t.Helper()
	r := row{method: method, target: target, headers: "As: nobody || Authorization: Bearer " + key, body: "-"}
	if body != "" {
		r.body = "text:" + body
	}
	got, err := h.send(r)
	if err != nil || got.status != status {
		h.t.Fatalf("%s %s: %d %s, %v", method, target, got.status, got.body, err)
	}
	var out map[string]any
	if err := json.Unmarshal([]byte(got.body), &out); err != nil {
		h.t.Fatalf("%s %s: %s: %v", method, target, got.body, err)
	}
	return out
}

func (h *hostile) send(r row) (reply, error) {
	q, err := r.request(h.keys, h.replacer())
	if err != nil {
		return reply{}, err
	}
	return q.send(h.address, listed.Expand(r.method))
}

// replacer puts the variables in; the longer names first, since one begins another.
func (h *hostile) replacer() *strings.Replacer {
	var pairs []string
	for name, value := range h.vars {
		pairs = append(pairs, name, value)
	}
	order := make([]int, len(pairs)/2)
	for i := range order {
		order[i] = 2 * i
	}
	slices.SortFunc(order, func(a, b int) int { return len(pairs[b]) - len(pairs[a]) })
	sorted := make([]string, 0, len(pairs))
	for _, i := range order {
		sorted = append(sorted, pairs[i], pairs[i+1])
	}
	return strings.NewReplacer(sorted...)
}

func TestHostileRequestsAreAnsweredAsExpected(t *testing.T) {
	t.Parallel()
	h := startHostile(t)
	rows, right := readRows(t), 0
	for _, r := range rows {
		if t.Run(r.id, func(t *testing.T) {
			h.t = t
			h.check(r)
		}) {
			right++
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, address := range h.dialled {
		if host, _, _ := net.SplitHostPort(address); host != "93.184.216.34" {
			t.Errorf("a callback went to %s", address)
		}
	}
	if len(rows) != hostileRows {
		t.Errorf("%d rows were read, not %d", len(rows), hostileRows)
	}
	t.Logf("hostile requests: %d of %d as expected", right, len(rows))
}

// check sends a row and holds the answer against what is expected.
func (h *hostile) check(r row) {
	t := h.t
	q, err := r.request(h.keys, h.replacer())
	if err != nil {
		t.Fatal(err)
	}
	asked, before := len(h.asked()), h.jobs()
	grown := watchMemory()
	got, err := q.send(h.address, listed.Expand(r.method))
	if bytes := grown(); bytes > 64<<20 {
		t.Errorf("memory grew by %d MiB", bytes>>20)
	}
	if err != nil {
		t.Fatalf("%v (%s)", err, r.why)
	}
	h.replies[r.id] = got
	if !r.matches(got) {
		t.Fatalf("answer %d %.300s, want %s: %s", got.status, got.body, r.expect, r.why)
	}
	if made := h.jobs() - before; got.status/100 != 2 && made != 0 {
		t.Errorf("%d jobs without a 2xx", made)
	}
	h.checkError(got)
	if r.also != "-" {
		for assertion := range strings.SplitSeq(r.also, " ; ") {
			h.assert(assertion, got, asked)
		}
	}
	if id, ok := jobOf(got); ok {
		h.vars["$JOB"] = id
		if r.method == "POST" && r.target != "/slow" {
			h.waitFor(id)
		}
	}
	if plain, err := h.send(row{method: "GET", target: "/healthz", headers: "-", body: "-"}); err != nil || plain.status != 200 {
		t.Errorf("the next plain request: %d, %v", plain.status, err)
	}
}

func (h *hostile) asked() []http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.upstream)
}

func (h *hostile) jobs() int {
	all, err := h.store.Jobs(h.t.Context(), job.JobFilter{Limit: 10_000})
	if err != nil {
		h.t.Fatal(err)
	}
	return len(all)
}

// watchMemory tells, when it is called, how much the heap had grown at most.
func watchMemory() func() int64 {
	heap := func() int64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	runtime.GC()
	before := heap()
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		top := before
		for {
			select {
			case <-tick.C:
				top = max(top, heap())
			case <-stop:
				most <- max(top, heap())
				return
			}
		}
	}()
	return func() int64 { close(stop); return <-most - before }
}

// beforeRouting is what the HTTP server refuses by itself.
var beforeRouting = regexp.MustCompile(`^(4\d\d|505) [A-Z][A-Za-z: -]*$|^Unsupported transfer encoding$`)

// internals are what no error may tell.
var internals = regexp.MustCompile(`(?i)\.go:|goroutine |sqlite|SELECT |INSERT |/tmp/|/root/|hunter2|rb_admin|panic`)

// checkError checks what every error has to be.
func (h *hostile) checkError(got reply) {
	if got.status < 400 {
		return
	}
	h.t.Helper()
	if internals.MatchString(got.body) {
		h.t.Errorf("the error tells of the inside: %s", got.body)
	}
	for _, key := range h.keys {
		if strings.Contains(got.body, key) {
			h.t.Errorf("the error tells a key: %s", got.body)
		}
	}
	if got.header.Get("Content-Type") != "application/problem+json" {
		if got.status == http.StatusExpectationFailed && got.body == "" || beforeRouting.MatchString(got.body) {
			return
		}
		h.t.Errorf("an error that is no problem: %s %q", got.header.Get("Content-Type"), got.body)
		return
	}
	var p client.Problem
	if err := json.Unmarshal([]byte(got.body), &p); err != nil || p.Code == "" || p.Title == "" || p.Status != got.status {
		h.t.Errorf("not a whole problem: %s, %v", got.body, err)
	}
	if (got.status == 503 || got.status == 429) && got.header.Get("Retry-After") == "" {
		h.t.Error("no Retry-After")
	}
}

func jobOf(got reply) (string, bool) {
	if got.status != http.StatusAccepted {
		return "", false
	}
	var accepted client.AcceptedJob
	err := json.Unmarshal([]byte(got.body), &accepted)
	return accepted.ID, err == nil && accepted.ID != ""
}

// waitFor waits until a job is done, and reads it.
func (h *hostile) waitFor(id string) *job.Job {
	h.t.Helper()
	parsed, ok := job.ParseJob(id)
	if !ok {
		h.t.Fatalf("%q is no job's id", id)
	}
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		j, err := h.store.WholeJob(h.t.Context(), "", parsed)
		if err != nil {
			h.t.Fatal(err)
		}
		if j.State.Terminal() {
			return j
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			h.t.Fatalf("job %s is %s", id, j.State)
		}
	}
}

// assert checks one of the assertions in a row's seventh column.
func (h *hostile) assert(assertion string, got reply, asked int) {
	h.t.Helper()
	word, rest, _ := strings.Cut(h.replacer().Replace(assertion), " ")
	ok := true
	switch word {
	case "has":
		ok = slices.ContainsFunc(strings.Split(rest, " or "), func(alternative string) bool {
			name, text, _ := strings.Cut(alternative, ": ")
			return strings.Contains(strings.Join(got.header[http.CanonicalHeaderKey(name)], "\n"), text)
		})
	case "nohdr":
		ok = got.header[http.CanonicalHeaderKey(rest)] == nil
	case "lacks":
		ok = !strings.Contains(got.body, rest) && !strings.Contains(headerText(got.header), rest)
	case "no100":
		ok = !got.continued
	case "url":
		ok = got.status != http.StatusAccepted || h.calls(got, rest)
	case "job", "newjob":
		first, _ := jobOf(h.replies[rest])
		id, isJob := jobOf(got)
		ok = first != "" && isJob && (id == first) == (word == "job")
	case "same":
		other := h.replies[rest]
		ok = other.status == got.status && withoutIDs(other.body) == withoutIDs(got.body)
	case "own":
		ok = got.status != 200 || h.ownOnly(got)
	case "kept":
		ok = got.status != http.StatusAccepted || h.keeps(got, rest)
	case "contained":
		ok = h.contained(got, asked)
	default:
		h.t.Fatalf("no such assertion: %s", assertion)
	}
	if !ok {
		h.t.Errorf("not true: %s (answer %d %v %.300s)", assertion, got.status, got.header, got.body)
	}
}

func headerText(h http.Header) string {
	var b strings.Builder
	for name, values := range h {
		b.WriteString(name + ": " + strings.Join(values, ", ") + "\n")
	}
	return b.String()
}

// calls tells whether the job's callbacks go to the URL, and to no other one.
func (h *hostile) calls(got reply, want string) bool {
	var accepted client.AcceptedJob
	if json.Unmarshal([]byte(got.body), &accepted) != nil || accepted.Callback.URL != want {
		return false
	}
	j := h.waitFor(accepted.ID)
	callbacks, err := h.store.Callbacks(h.t.Context(), job.CallbackFilter{JobID: j.ID, Limit: 10})
	if err != nil || len(callbacks) != 1 {
		h.t.Errorf("%d callbacks, %v", len(callbacks), err)
		return false
	}
	target := callbacks[0].URL
	if name := callbacks[0].Endpoint; name != "" {
		endpoint, err := h.store.Endpoint(h.t.Context(), j.App, name)
		if err != nil {
			h.t.Fatal(err)
		}
		target = endpoint.URL
	}
	return target == want
}

var idsAndTimes = regexp.MustCompile(`(job|cb)_[0-9a-z]{26}|\d{4}-\d\d-\d\dT[0-9:.]+Z`)

func withoutIDs(body string) string { return idsAndTimes.ReplaceAllString(body, "*") }

func (h *hostile) ownOnly(got reply) bool {
	var page client.Page[client.Job]
	if err := json.Unmarshal([]byte(got.body), &page); err != nil {
		return false
	}
	return !slices.ContainsFunc(page.Data, func(listed client.Job) bool {
		id, ok := job.ParseJob(listed.ID)
		_, err := h.store.Job(h.t.Context(), "app-a", id)
		return !ok || err != nil
	})
}

func (h *hostile) keeps(got reply, text string) bool {
	id, _ := jobOf(got)
	h.waitFor(id)
	result, err := h.send(row{method: "GET", target: "/v1/jobs/" + id + "/result", headers: "-", body: "-"})
	return err == nil && result.status == 200 && strings.Contains(result.body, text)
}

// contained tells whether what the upstream was asked stays below its own path.
func (h *hostile) contained(got reply, before int) bool {
	if id, ok := jobOf(got); ok {
		h.waitFor(id)
	}
	for _, r := range h.asked()[before:] {
		rest, ok := strings.CutPrefix(r.RequestURI, "/reports/")
		decoded, err := url.PathUnescape(rest)
		if !ok || err != nil || strings.ContainsAny(rest, "/?#") || decoded == ".." || decoded == "." ||
			!strings.HasPrefix(r.Host, "127.0.0.1:") || r.Header["X-Admin"] != nil || r.Header["Connection"] != nil || r.Header["Authorization"] != nil {
			h.t.Errorf("the upstream was asked %s %s %v", r.Host, r.RequestURI, r.Header)
			return false
		}
	}
	return true
}
