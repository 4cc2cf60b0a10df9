package ringback_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
	"github.com/ringback/ringback/store/sqlite"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(gatewayProcess); dir != "" {
		runGatewayProcess(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

const adminKey = "rb_admin_test"

// gateway is a whole gateway behind real sockets, and an app that calls it.
type gateway struct {
	*ringback.Gateway
	url    string
	store  *sqlite.Store
	admin  *client.Client
	app    *client.Client
	key    string
	secret sign.Secret // of the app, for URLs sent with a call
	stop   func()
}

// start puts a gateway together whose callbacks may go to loopback.
func start(t *testing.T, dir string, change func(*ringback.Options)) *gateway {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "ringback.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mux := &lateHandler{}
	server := httptest.NewServer(mux)
	opt := options(dir)
	opt.PublicURL = server.URL
	opt.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	if change != nil {
		change(&opt)
	}
	g, err := ringback.New(t.Context(), store, opt)
	if err != nil {
		t.Fatal(err)
	}
	mux.set(g.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	gw := &gateway{Gateway: g, url: server.URL, store: store}
	gw.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		server.Close()
		if err := store.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	t.Cleanup(gw.stop)
	return gw
}

func options(dir string) ringback.Options {
	return ringback.Options{BodyDir: filepath.Join(dir, "bodies"), SealKey: make([]byte, 32), AdminKey: adminKey,
		Outbound: ringback.Outbound{HTTP: true, Allow: []string{"127.0.0.0/8"}}, DrainTimeout: 5 * time.Second}
}

// setup starts a gateway with these operations, and makes the app "shop".
func setup(t *testing.T, operations ...ringback.Operation) *gateway {
	t.Helper()
	g := start(t, t.TempDir(), func(o *ringback.Options) { o.Operations = operations })
	g.join(t)
	return g
}

// join makes the app, with a client of its own.
func (g *gateway) join(t *testing.T) {
	t.Helper()
	g.admin = g.client(t, adminKey)
	app, err := g.admin.CreateApp(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	g.key, g.app = app.Key, g.client(t, app.Key)
	g.secret = secretOf(t, g.app, "")
}

func (g *gateway) client(t *testing.T, key string) *client.Client {
	t.Helper()
	c, err := client.New(g.url, key, client.Options{Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func secretOf(t *testing.T, c *client.Client, endpoint string) sign.Secret {
	t.Helper()
	s, err := c.Secret(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := sign.ParseSecret(s.Secret)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// call makes a call that must be accepted.
func (g *gateway) call(t *testing.T, c client.Call) *client.AcceptedJob {
	t.Helper()
	a, err := g.app.Call(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if a.Job == nil {
		t.Fatal("the call was answered with its result")
	}
	return a.Job
}

// done waits until the job is at its end.
func (g *gateway) done(t *testing.T, id string) *client.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	j, err := g.app.WaitJob(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// operation is a short way to one.
func operation(name, route string, b ringback.Backend, change ...func(*job.Operation)) ringback.Operation {
	op := ringback.Operation{Operation: job.Operation{Name: name, Route: route}, Backend: b}
	for _, c := range change {
		c(&op.Operation)
	}
	return op
}

// quick makes a callback's attempts follow each other without much waiting.
func quick(op *job.Operation) {
	op.Callback.Schedule = []time.Duration{10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond}
	op.Retry = job.Retry{Attempts: 20, Backoff: 20 * time.Millisecond, MaxBackoff: 50 * time.Millisecond}
}

// message is a request that a receiver got.
type message struct {
	method, path, query string
	header              http.Header
	body                []byte
	envelope            receiver.Envelope
}

// listen starts a receiver. It answers what answer says, 200 where that is nil,
// and fails the test where a signature does not verify with secret.
func listen(t *testing.T, secret func() sign.Secret, answer func(n int, w http.ResponseWriter, r *http.Request)) (url string, messages <-chan message) {
	t.Helper()
	got := make(chan message, 1000)
	var mu sync.Mutex
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the gateway was killed while it sent
		}
		if _, err := sign.Verify(r.Header, body, time.Now(), secret()); err != nil {
			t.Errorf("signature: %v", err)
		}
		m := message{method: r.Method, path: r.URL.Path, query: r.URL.RawQuery, header: r.Header, body: body}
		if err := json.Unmarshal(body, &m.envelope); err != nil {
			t.Errorf("envelope: %v", err)
		}
		mu.Lock()
		n++
		count := n
		mu.Unlock()
		got <- m
		if answer != nil {
			answer(count, w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

// next is the next message that a receiver gets.
func next(t *testing.T, messages <-chan message) message {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(time.Minute):
		t.Fatal("no callback came")
		return message{}
	}
}

// none makes sure that nothing has come.
func none(t *testing.T, messages <-chan message) {
	t.Helper()
	select {
	case m := <-messages:
		t.Fatalf("an unexpected callback: %s %s", m.method, m.body)
	default:
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(time.Minute), time.NewTicker(5*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// lateHandler lets a server's address be known before what it serves.
type lateHandler struct {
	mu sync.Mutex
	h  http.Handler
}

func (l *lateHandler) set(h http.Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.h = h
}

func (l *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	h := l.h
	l.mu.Unlock()
	h.ServeHTTP(w, r)
}

// shortDir is a folder whose path is short enough for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
