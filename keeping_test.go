package ringback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

const number = "4111-1111-1111-1111"

// holding are the files below a folder that hold a text.
func holding(t *testing.T, dir, text string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(content, []byte(text)) {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func isProblem(err error, code string) bool {
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Code == code
}

// TestRedactionLeavesNothingBehind sends a card number through a relay, in a row and in
// a file: the callback has it, nobody else is shown it, and when all is over it is gone.
func TestRedactionLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"in a row": 10, "in a file": 100 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			g := start(t, dir, func(o *ringback.Options) {
				o.Operations = []ringback.Operation{operation("pay", "POST /pay", ringback.Relay(), quick, func(op *job.Operation) {
					op.Redact = job.Redaction{Request: []string{"/card/number"}, Answer: []string{"/receipt"}}
				})}
			})
			g.join(t)
			hold := make(chan struct{})
			url, messages := listen(t, func() sign.Secret { return g.secret }, func(_ int, w http.ResponseWriter, _ *http.Request) {
				<-hold
				io.WriteString(w, `{"receipt": "R-`+number+`", "ok": true}`)
			})
			document := `{"card":{"number":"` + number + `","name":"A"},"pad":"` + strings.Repeat("x", size) + `"}`
			accepted := g.call(t, client.Call{Path: "/pay", CallbackURL: url, ContentType: "application/json", Body: strings.NewReader(document)})
			m := next(t, messages)
			if whole := bytes.Contains(m.body, []byte(number)); whole != (size < 1000) {
				t.Errorf("the callback says %.300s", m.body)
			}
			if link := m.envelope.Data.ResultURL; link != "" && !strings.Contains(get(t, link), number) {
				t.Error("the callback's link leads to something redacted")
			}
			shown := result(t, g.app, accepted.ID)
			if want := strings.Replace(document, number, "[redacted]", 1); shown != want {
				t.Errorf("shown is %.200s", shown)
			}
			close(hold)
			settled := g.settled(t, accepted.ID)
			eventually(t, "the job is redacted", func() bool {
				j, err := g.app.Job(t.Context(), accepted.ID)
				return err == nil && j.Bodies == "redacted"
			})
			if again := result(t, g.app, accepted.ID); again != shown {
				t.Errorf("later it is %.200s", again)
			}
			if link := m.envelope.Data.ResultURL; link != "" && get(t, link) != shown {
				t.Error("the callback's link still leads to the whole")
			}
			if a := g.attempts(t, settled.ID); len(a) != 1 || a[0].Body != `{"receipt": "[redacted]", "ok": true}` {
				t.Errorf("the answer is kept as %+v", a)
			}
			if _, err := g.app.Resend(t.Context(), settled.ID); !isProblem(err, "body_gone") {
				t.Errorf("resend: %v", err)
			}
			if err := g.store.Scrub(t.Context()); err != nil {
				t.Fatal(err)
			}
			if found := holding(t, dir, number); len(found) > 0 {
				t.Errorf("the number is in %q", found)
			}
		})
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	return string(b)
}

func result(t *testing.T, c *client.Client, id string) string {
	t.Helper()
	r, err := c.Result(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRedactionIsDoneAfterARestart leaves a job as a crash would before it was redacted.
func TestRedactionIsDoneAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	with := func(r job.Redaction) func(*ringback.Options) {
		return func(o *ringback.Options) {
			o.Operations = []ringback.Operation{operation("pay", "POST /pay", ringback.Relay(), func(op *job.Operation) { op.Redact = r })}
		}
	}
	g := start(t, dir, with(job.Redaction{}))
	g.join(t)
	accepted := g.call(t, client.Call{Path: "/pay", ContentType: "application/json", Body: strings.NewReader(`{"n":"` + number + `"}`)})
	g.done(t, accepted.ID)
	key := g.key
	g.stop()
	g = start(t, dir, with(job.Redaction{Result: []string{"/n"}}))
	app := g.client(t, key)
	eventually(t, "the job is redacted", func() bool {
		j, err := app.Job(t.Context(), accepted.ID)
		return err == nil && j.Bodies == "redacted"
	})
	if got := result(t, app, accepted.ID); got != `{"n":"[redacted]"}` {
		t.Error(got)
	}
}

func TestBodiesGoBeforeTheirJob(t *testing.T) {
	t.Parallel()
	var late atomic.Int64
	dir := t.TempDir()
	g := start(t, dir, func(o *ringback.Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
		o.Operations = []ringback.Operation{
			operation("short", "POST /short", ringback.Relay(), func(op *job.Operation) { op.BodyRetention, op.Retention = time.Hour, 48*time.Hour }),
			operation("long", "POST /long", ringback.Relay(), func(op *job.Operation) { op.Retention = 1000 * time.Hour }),
		}
	})
	g.join(t)
	url, messages := listen(t, func() sign.Secret { return g.secret }, nil)
	short := g.call(t, client.Call{Path: "/short", CallbackURL: url, ContentType: "application/json", Body: strings.NewReader(`"` + number + strings.Repeat("x", 100<<10) + `"`)})
	long := g.call(t, client.Call{Path: "/long", ContentType: "application/json", Body: strings.NewReader(`"kept"`)})
	next(t, messages)
	settled := g.settled(t, short.ID)
	g.done(t, long.ID)
	pass := func(d time.Duration) {
		late.Add(int64(d))
		if err := g.Clean(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	pass(2 * time.Hour)
	if j := g.done(t, short.ID); j.Bodies != "gone" || j.Status != "succeeded" {
		t.Errorf("job is %+v", j)
	}
	if _, err := g.app.Result(t.Context(), short.ID); !isProblem(err, "body_gone") {
		t.Errorf("result: %v", err)
	}
	if _, err := g.app.Resend(t.Context(), settled.ID); !isProblem(err, "body_gone") {
		t.Errorf("resend: %v", err)
	}
	if found := holding(t, filepath.Join(dir, "bodies"), number); len(found) > 0 {
		t.Errorf("the body is in %q", found)
	}
	pass(48 * time.Hour)
	if _, err := g.app.Job(t.Context(), short.ID); !isProblem(err, "not_found") {
		t.Errorf("job: %v", err)
	}
	pass(10 * 24 * time.Hour) // more than the retention of all
	if got := result(t, g.app, long.ID); got != `"kept"` {
		t.Errorf("result is %s", got)
	}
	pass(1000 * time.Hour)
	if _, err := g.app.Job(t.Context(), long.ID); !isProblem(err, "not_found") {
		t.Errorf("job: %v", err)
	}
}

// TestDeletedAppIsGone deletes an app in the middle of its work.
func TestDeletedAppIsGone(t *testing.T) {
	t.Parallel()
	const marker = "kerbstone"
	dir := t.TempDir()
	canceled := make(chan struct{})
	begun := make(chan struct{}, 10)
	g := start(t, dir, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick),
			operation("slow", "POST /slow", ringback.Func(func(ctx context.Context, _ *ringback.Call, _ *ringback.Result) error {
				begun <- struct{}{}
				<-ctx.Done()
				close(canceled)
				return ctx.Err()
			}))}
	})
	g.join(t)
	other, err := g.admin.CreateApp(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	dead := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(dead.Close)
	url := dead.URL
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: marker, URL: url + "/" + marker, Headers: map[string]string{"X": marker}}); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(strings.Repeat(marker, 20<<10))
	if err != nil {
		t.Fatal(err)
	}
	small := g.call(t, client.Call{Path: "/relay?q=" + marker, CallbackURL: url + "/" + marker, Body: strings.NewReader(marker), IdempotencyKey: marker})
	g.call(t, client.Call{Path: "/relay", Endpoint: marker, ContentType: "application/json", Body: bytes.NewReader(body)})
	g.call(t, client.Call{Path: "/slow", Body: strings.NewReader(marker)})
	<-begun
	eventually(t, "a callback is tried", func() bool { return calls.Load() > 2 })
	if len(holding(t, dir, marker)) < 2 {
		t.Fatal("the app is not found where it is")
	}

	if _, err := g.client(t, g.key).DeleteApp(t.Context(), "shop"); !isProblem(err, "forbidden") {
		t.Errorf("with the key of an app: %v", err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, g.url+"/v1/apps/shop", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("without confirm: %s", resp.Status)
	}
	if _, err := g.app.Job(t.Context(), small.ID); err != nil {
		t.Fatal(err)
	}
	if app, err := g.admin.DeleteApp(t.Context(), "shop"); err != nil || app.DeletedAt.IsZero() {
		t.Fatal(app, err)
	}
	if _, err := g.app.Call(t.Context(), client.Call{Path: "/relay", Body: strings.NewReader("x")}); !isProblem(err, "unauthenticated") {
		t.Errorf("a call: %v", err)
	}
	if _, err := g.app.Job(t.Context(), small.ID); !isProblem(err, "unauthenticated") {
		t.Errorf("a job: %v", err)
	}
	<-canceled
	eventually(t, "the app is gone", func() bool { return !slices.Contains(apps(t, g.admin), "shop") })
	was := calls.Load()
	if found := holding(t, dir, marker); len(found) > 0 {
		t.Errorf("traces in %q", found)
	}
	g.app = g.client(t, other.Key)
	g.done(t, g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")}).ID)
	if n := calls.Load(); n > was {
		t.Errorf("%d callbacks of the app were sent after its end", n-was)
	}
	if _, err := g.admin.CreateApp(t.Context(), "shop"); err != nil {
		t.Errorf("the name is not free: %v", err)
	}
	if _, err := g.admin.DeleteApp(t.Context(), "nobody"); !isProblem(err, "not_found") {
		t.Errorf("an unknown app: %v", err)
	}
}

func apps(t *testing.T, admin *client.Client) (names []string) {
	t.Helper()
	for app, err := range admin.Apps(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, app.Name)
	}
	return names
}
