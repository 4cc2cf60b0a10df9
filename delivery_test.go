package ringback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/clamd"
	"github.com/ringback/ringback/internal/clamtest"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
	"github.com/ringback/ringback/store/sqlite"
)

// answers makes a receiver answer with these statuses, and 200 after them.
func answers(statuses ...int) func(int, http.ResponseWriter, *http.Request) {
	return func(n int, w http.ResponseWriter, r *http.Request) {
		if n <= len(statuses) {
			w.WriteHeader(statuses[n-1])
		}
		fmt.Fprintf(w, "answer %d", n)
	}
}

// settled waits for the only callback of a job to come to its end.
func (g *gateway) settled(t *testing.T, id string) (last client.Callback) {
	t.Helper()
	eventually(t, "the callback of "+id+" is settled", func() bool {
		last = client.Callback{}
		for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: id}) {
			if err != nil {
				t.Fatal(err)
			}
			last = c
		}
		return last.ID != "" && last.Status != "pending"
	})
	return last
}

func (g *gateway) attempts(t *testing.T, callback string) (all []client.Attempt) {
	t.Helper()
	for a, err := range g.app.Attempts(t.Context(), callback) {
		if err != nil {
			t.Fatal(err)
		}
		all = append([]client.Attempt{a}, all...)
	}
	return all
}

func TestARefusedCallbackIsRepeatedUnderTheSameIDUntilItIsTaken(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	url, messages := listen(t, g.appSecret, answers(500, 302, 404))
	accepted := g.call(t, client.Call{Path: "/relay", CallbackURL: url + "/bar?token=hush", Body: strings.NewReader("x")})
	first := next(t, messages)
	for range 3 {
		again := next(t, messages)
		if again.header.Get("webhook-id") != first.header.Get("webhook-id") || !bytes.Equal(again.body, first.body) {
			t.Errorf("first %s\nthen  %s", first.body, again.body)
		}
	}
	c := g.settled(t, accepted.ID)
	if c.Status != "delivered" || c.Attempts != 4 || c.LastStatus != 200 {
		t.Errorf("%+v", c)
	}
	var statuses []int
	for _, a := range g.attempts(t, c.ID) {
		statuses = append(statuses, a.Status)
		if !strings.HasPrefix(a.Address, "127.0.0.1:") || a.StartedAt.String() == "" {
			t.Errorf("an attempt without address or time: %+v", a)
		}
	}
	if fmt.Sprint(statuses) != "[500 302 404 200]" {
		t.Errorf("statuses of the attempts: %v", statuses)
	}
}

func TestACallbackThatIsOutOfAttemptsIsDeadAndCanBeResent(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	url, messages := listen(t, g.appSecret, answers(500, 500, 500, 500, 500, 500))
	accepted := g.call(t, client.Call{Path: "/relay", CallbackURL: url})
	c := g.settled(t, accepted.ID)
	if c.Status != "dead" || c.Attempts != 5 || !strings.HasPrefix(c.LastError, "status_") {
		t.Fatalf("after the schedule: %+v", c)
	}
	if _, err := g.app.Resend(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	var last message
	for range 7 {
		last = next(t, messages)
	}
	if again := g.settled(t, accepted.ID); again.Status != "delivered" || again.ID != last.header.Get("webhook-id") {
		t.Errorf("after the resend: %+v", again)
	}
}

func TestGoneAndRefusedEndACallbackAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick)}
		o.Resolver = leadsInside{}
	})
	g.join(t)
	url, _ := listen(t, g.appSecret, answers(410))
	c := g.settled(t, g.call(t, client.Call{Path: "/relay", CallbackURL: url}).ID)
	if c.Status != "dead" || c.Attempts != 1 || c.LastStatus != 410 {
		t.Errorf("after a 410: %+v", c)
	}
	// A name that leads inside is found out when it is dialled.
	inside := g.settled(t, g.call(t, client.Call{Path: "/relay", CallbackURL: "http://inside.example/"}).ID)
	if inside.Status != "dead" || inside.LastError != "policy" {
		t.Errorf("a name that leads to a forbidden address: %+v", inside)
	}
}

// leadsInside is a resolver that answers with a private address.
type leadsInside struct{}

func (leadsInside) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("10.0.0.5")}, nil
}

func TestARotatedSecretSignsBesideTheOldOne(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay()))
	var current sign.Secret
	url, messages := listen(t, func() sign.Secret { return current }, nil)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "shop", URL: url, Default: true}); err != nil {
		t.Fatal(err)
	}
	old := secretOf(t, g.app, "shop")
	current = old
	g.call(t, client.Call{Path: "/relay"})
	if m := next(t, messages); strings.Contains(m.header.Get("webhook-signature"), " ") {
		t.Errorf("two signatures before the rotation: %s", m.header.Get("webhook-signature"))
	}
	if _, err := g.app.RotateSecret(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	renewed := secretOf(t, g.app, "shop")
	for _, secret := range []sign.Secret{old, renewed} {
		current = secret
		g.call(t, client.Call{Path: "/relay"})
		next(t, messages)
	}
	if old.Reveal() == renewed.Reveal() {
		t.Error("the secret is still the old one")
	}
}

func TestADisabledEndpointKeepsItsCallbacksAndADeletedOneEndsThem(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	url, messages := listen(t, func() sign.Secret { return secretOf(t, g.app, "shop") }, nil)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "shop", URL: url, Disabled: true}); err != nil {
		t.Fatal(err)
	}
	kept := g.call(t, client.Call{Path: "/relay", Endpoint: "shop"})
	var callback string
	eventually(t, "the callback waits because its endpoint is disabled", func() bool {
		for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: kept.ID}) {
			if err != nil {
				t.Fatal(err)
			}
			callback = c.ID
			return c.Waiting == "disabled"
		}
		return false
	})
	none(t, messages)
	enabled := false
	if _, err := g.app.UpdateEndpoint(t.Context(), "shop", client.EndpointPatch{Disabled: &enabled}); err != nil {
		t.Fatal(err)
	}
	next(t, messages)
	if err := g.app.DeleteEndpoint(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	g.settled(t, kept.ID)
	if _, err := g.app.Resend(t.Context(), callback); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the callback of the deleted endpoint is dead", func() bool {
		c, err := g.app.Callback(t.Context(), callback)
		return err == nil && c.Status == "dead" && c.LastError == "no_endpoint"
	})
}

func TestALargeResultIsSentAsALinkThatNeedsNoKey(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay()))
	url, messages := listen(t, g.appSecret, nil)
	document := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	g.call(t, client.Call{Path: "/relay", CallbackURL: url, Body: bytes.NewReader(document), ContentType: "application/x-large"})
	m := next(t, messages)
	link := m.envelope.Data.ResultURL
	resp, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !bytes.Equal(got, document) || resp.Header.Get("Content-Type") != "application/x-large" {
		t.Errorf("%s: %d, %d bytes, %s, %v", link, resp.StatusCode, len(got), resp.Header.Get("Content-Type"), err)
	}
	forged, err := http.Get(link[:len(link)-2] + "AA")
	if err != nil {
		t.Fatal(err)
	}
	forged.Body.Close()
	if forged.StatusCode != 404 {
		t.Errorf("a forged link: %d", forged.StatusCode)
	}
}

func TestACancellationReachesTheWorkAndIsCalledBack(t *testing.T) {
	t.Parallel()
	stopped := make(chan error, 1)
	began := make(chan struct{})
	g := setup(t, operation("work", "POST /work", ringback.Func(func(ctx context.Context, _ *ringback.Call, _ *ringback.Result) error {
		close(began)
		<-ctx.Done()
		stopped <- ctx.Err()
		return ctx.Err()
	})))
	url, messages := listen(t, g.appSecret, nil)
	accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	<-began
	if err := g.app.Cancel(t.Context(), accepted.ID); err != nil {
		t.Fatal(err)
	}
	<-stopped
	if m := next(t, messages); m.envelope.Type != "work.canceled" {
		t.Errorf("%s", m.body)
	}
	if j := g.done(t, accepted.ID); j.Status != "canceled" {
		t.Errorf("%+v", j)
	}
	if err := g.app.Cancel(t.Context(), accepted.ID); err == nil {
		t.Error("a second cancellation was accepted")
	}
	if line := `ringback_jobs_finished_total{operation="work",state="canceled"} 1`; !strings.Contains(g.metrics(t), line) {
		t.Errorf("metrics lack %s", line)
	}
}

func TestADeadReceiverHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), func(op *job.Operation) {
		op.Callback.Schedule = slices.Repeat([]time.Duration{time.Millisecond}, 1000)
	}))
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	for range 100 {
		g.call(t, client.Call{Path: "/relay", CallbackURL: dead.URL})
	}
	eventually(t, "the lane of the dead receiver rests", func() bool {
		for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{Status: "pending"}) {
			if err != nil {
				t.Fatal(err)
			}
			if c.Waiting == "breaker" {
				return true
			}
		}
		return false
	})
	url, messages := listen(t, g.appSecret, nil)
	g.call(t, client.Call{Path: "/relay", CallbackURL: url})
	next(t, messages)
}

func TestAPanicIsAFailedAttemptAndTheOutcomeIsCalledBack(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("work", "POST /work", ringback.Func(func(context.Context, *ringback.Call, *ringback.Result) error {
		panic("the secret plan")
	}), quick))
	url, messages := listen(t, g.appSecret, nil)
	accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	m := next(t, messages)
	if m.envelope.Type != "work.failed" || m.envelope.Data.Error.Code != "panic" || bytes.Contains(m.body, []byte("secret plan")) {
		t.Errorf("%s", m.body)
	}
	if j := g.done(t, accepted.ID); j.Attempts != 20 {
		t.Errorf("%d attempts", j.Attempts)
	}
}

func TestAScannerThatStopsInTheMiddleOfAScanDelaysTheVerdict(t *testing.T) {
	t.Parallel()
	scanner := clamtest.Start(t, clamd.Options{})
	slow := newSlowScanner(t, scanner.Address())
	backend, err := ringback.Clamd(ringback.ClamdConfig{Address: "unix:" + slow.path})
	if err != nil {
		t.Fatal(err)
	}
	g := setup(t, operation("scan", "POST /scan", backend, quick))
	url, messages := listen(t, g.appSecret, nil)
	slow.hold()
	accepted := g.call(t, client.Call{Path: "/scan", CallbackURL: url, Body: bytes.NewReader(clamd.EICAR())})
	<-slow.began
	scanner.Stop()
	slow.release()
	eventually(t, "an attempt has failed", func() bool {
		j, err := g.app.Job(t.Context(), accepted.ID)
		return err == nil && j.Error != nil && j.Attempts > 1
	})
	none(t, messages)
	scanner.Restart()
	if m := next(t, messages); m.envelope.Type != "scan.succeeded" || !bytes.Contains(m.envelope.Data.Result, []byte(`"infected":true`)) {
		t.Errorf("%s", m.body)
	}
}

func TestAnUnfinishedJobGoesOnAfterAnOrderlyRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runs := make(chan int, 10)
	hold := true
	work := ringback.Func(func(ctx context.Context, call *ringback.Call, out *ringback.Result) error {
		runs <- call.Attempt
		if hold {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	change := func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("work", "POST /work", work)}
		o.DrainTimeout = 50 * time.Millisecond
	}
	g := start(t, dir, change)
	g.join(t)
	accepted := g.call(t, client.Call{Path: "/work"})
	<-runs
	g.stop()
	hold = false
	again := start(t, dir, change)
	again.app = again.client(t, g.key)
	if n := <-runs; n != 1 {
		t.Errorf("the run that was handed back counts: this is attempt %d", n)
	}
	if j := again.done(t, accepted.ID); j.Status != "succeeded" || j.Attempts != 1 {
		t.Errorf("%+v", j)
	}
}

func TestAnAppSeesOnlyItsOwn(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay()))
	accepted := g.call(t, client.Call{Path: "/relay"})
	other, err := g.admin.CreateApp(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	stranger := g.client(t, other.Key)
	var problem *client.Problem
	if _, err := stranger.Job(t.Context(), accepted.ID); !errors.As(err, &problem) || problem.Status != 404 {
		t.Errorf("a stranger reads the job: %v", err)
	}
	for j, err := range stranger.Jobs(t.Context(), client.JobQuery{}) {
		t.Errorf("a stranger's list holds %s, %v", j.ID, err)
	}
}

func TestMetricsCountWhatHappened(t *testing.T) {
	t.Parallel()
	produce := ringback.Func(func(_ context.Context, _ *ringback.Call, out *ringback.Result) error {
		_, err := out.Write(make([]byte, 50_000))
		return err
	})
	g := setup(t, operation("relay", "POST /relay", ringback.Relay()), operation("produce", "POST /produce", produce))
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	g.settled(t, g.call(t, client.Call{Path: "/relay", CallbackURL: receiver.URL}).ID)
	g.settled(t, g.call(t, client.Call{Path: "/produce", CallbackURL: receiver.URL, Body: strings.NewReader("x")}).ID)
	eventually(t, "the places in memory are given back", func() bool { return strings.Contains(g.metrics(t), `ringback_memory_items{what="callbacks"} 0`) })
	text := g.metrics(t)
	for _, line := range []string{
		`ringback_jobs_finished_total{operation="relay",state="succeeded"} 1`,
		`ringback_runs_total{operation="relay",outcome="succeeded"} 1`,
		`ringback_callbacks_settled_total{state="delivered"} 2`,
		`ringback_attempts_total{outcome="2xx"} 2`,
		`ringback_memory_items{what="jobs"} 0`,
		`ringback_memory_bytes{what="jobs"} 0`,
		`ringback_memory_items{what="callbacks"} 0`,
		`ringback_memory_bytes{what="callbacks"} 0`,
		`ringback_backlog{what="jobs"} 0`,
		`ringback_backlog_oldest_seconds{what="callbacks"} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("metrics lack %s", line)
		}
	}
}

func (g *gateway) metrics(t *testing.T) string {
	t.Helper()
	resp, err := http.Get(g.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestJobsAreKeptForTheRetentionAfterAllIsOver(t *testing.T) {
	t.Parallel()
	var offset atomic.Int64
	dir := t.TempDir()
	g := start(t, dir, func(o *ringback.Options) {
		// No attempt is due within the time that passes here.
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), func(op *job.Operation) {
			op.Callback.Schedule = []time.Duration{1000 * time.Hour}
		})}
		o.Retention = 48 * time.Hour
		o.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	})
	g.join(t)
	var down atomic.Bool
	down.Store(true)
	url, _ := listen(t, g.appSecret, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" && down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	large := func() io.Reader { return bytes.NewReader(make([]byte, 100_000)) }
	over := g.call(t, client.Call{Path: "/relay", CallbackURL: url, Body: large()})
	owing := g.call(t, client.Call{Path: "/relay", CallbackURL: url + "/down", Body: large()})
	g.settled(t, over.ID)
	eventually(t, "the second callback waits", func() bool {
		j, err := g.app.Job(t.Context(), owing.ID)
		return err == nil && len(j.Callbacks) == 1 && j.Callbacks[0].Attempts == 1 && j.Callbacks[0].NextAttemptAt.String() != ""
	})
	bodies := func() int {
		found, err := filepath.Glob(filepath.Join(dir, "bodies", "??", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	there := func(id string) bool {
		_, err := g.app.Job(t.Context(), id)
		var problem *client.Problem
		if err != nil && (!errors.As(err, &problem) || problem.Status != 404) {
			t.Fatal(err)
		}
		return err == nil
	}
	clean := func(after time.Duration) {
		t.Helper()
		offset.Store(int64(after))
		if err := g.Clean(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	clean(47 * time.Hour)
	if !there(over.ID) || bodies() != 2 {
		t.Errorf("within the retention: job %v, %d bodies", there(over.ID), bodies())
	}
	clean(49 * time.Hour)
	if there(over.ID) || !there(owing.ID) || bodies() != 1 {
		t.Errorf("after the retention: job %v, job that owes a callback %v, %d bodies", there(over.ID), there(owing.ID), bodies())
	}
}

func TestAReceiverThatIsSentALinkCostsNoMemory(t *testing.T) {
	// Not parallel: it looks at what the process allocates.
	g := setup(t, operation("relay", "POST /relay", ringback.Relay()))
	url, messages := listen(t, g.appSecret, nil)
	const size = 100 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	g.call(t, client.Call{Path: "/relay", CallbackURL: url, Body: io.LimitReader(zeros{}, size), BodyBytes: size})
	next(t, messages)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > size/4 {
		t.Errorf("a document of %d MiB made the process allocate %d MiB", size>>20, grown>>20)
	}
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestAFunctionThatDoesNotHeedItsContextHoldsNobodyUpForEver(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "r.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	deaf, began := make(chan struct{}), make(chan struct{})
	opt := options(t.TempDir())
	opt.Dev, opt.DrainTimeout = true, 10*time.Millisecond
	opt.Operations = []ringback.Operation{operation("deaf", "POST /deaf", ringback.Func(func(context.Context, *ringback.Call, *ringback.Result) error {
		close(began)
		<-deaf
		return nil
	}))}
	gw, err := ringback.New(t.Context(), store, opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- gw.Run(ctx) }()
	server := httptest.NewServer(gw.Handler())
	defer server.Close()
	resp, err := http.Post(server.URL+"/deaf", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-began
	cancel()
	if err := <-done; err == nil {
		t.Error("Run says that all has ended")
	}
	close(deaf)
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func TestMetricsTellHowLongTheOldestWaits(t *testing.T) {
	t.Parallel()
	var offset atomic.Int64
	work, finish, started := gated(`"done"`)
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("work", "POST /work", work)}
		o.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	})
	g.join(t)
	defer finish()
	g.call(t, client.Call{Path: "/work"})
	<-started
	offset.Store(int64(1000 * time.Second))
	eventually(t, "the oldest job is shown with its age", func() bool {
		_, rest, ok := strings.Cut(g.metrics(t), `ringback_backlog_oldest_seconds{what="jobs"} 1`)
		return ok && len(rest) > 3 && rest[0] == '0' && rest[1] == '0'
	})
}
