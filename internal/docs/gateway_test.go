package docs_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// gateway is a whole one, on a socket of its own.
type gateway struct {
	url     string
	gateway *ringback.Gateway
	stop    func() // has it drain, and returns when it has ended
}

// start runs a gateway with an operation of each sort. change may be nil.
func start(t *testing.T, change func(*ringback.Options)) *gateway {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "ringback.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	server := httptest.NewUnstartedServer(nil)
	g := &gateway{url: "http://" + server.Listener.Addr().String()}
	opt := ringback.Options{Operations: operations(t), BodyDir: filepath.Join(dir, "bodies"), SealKey: make([]byte, 32),
		PublicURL: g.url, Dev: true, Outbound: outbound.Policy{HTTP: true, Loopback: true}}
	if change != nil {
		change(&opt)
	}
	if g.gateway, err = ringback.New(t.Context(), store, opt); err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = g.gateway.Handler()
	server.Start()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- g.gateway.Run(ctx) }()
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		server.Close()
	})
	t.Cleanup(g.stop)
	return g
}

// operations are one of each sort.
func operations(t *testing.T) []ringback.Operation {
	t.Helper()
	scanner, err := ringback.Clamd(ringback.ClamdConfig{Address: "tcp:127.0.0.1:3310"})
	if err != nil {
		t.Fatal(err)
	}
	convert, err := ringback.Command(ringback.CommandConfig{Argv: []string{"true"}, OutputType: "image/png"})
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := ringback.HTTP(ringback.HTTPConfig{URL: "http://127.0.0.1:9000/reports/{kind}"})
	if err != nil {
		t.Fatal(err)
	}
	return []ringback.Operation{
		{Operation: job.Operation{Name: "notify", Route: "POST /notify"}, Backend: ringback.Relay()},
		{Operation: job.Operation{Name: "scan", Route: "PUT /scan/{region}/{rest...}", Callback: job.Contract{Method: "PUT", Required: true,
			URL: []string{"{$request.body#/callback/url}", "{$request.header.X-Callback-Url}"}}}, Backend: scanner},
		{Operation: job.Operation{Name: "thumbnail", Route: "POST /thumbnail", Callback: job.Contract{CallerMay: []string{}}}, Backend: convert},
		{Operation: job.Operation{Name: "report", Route: "GET /reports/{kind}", Callback: job.Contract{
			URL:     []string{"$request.query.to", "https://reports.example/{$request.path.kind}"},
			Also:    [][]string{{"{$request.query.copy}"}},
			Success: []string{"{$request.query.good}"}, Failure: []string{"{$request.query.bad}"},
			Headers:   map[string]string{"X-Kind": "{$request.path.kind}", "X-Order": "{$request.header.X-Order}"},
			CallerMay: []string{"url", "state", "events", "method", "format"}}}, Backend: upstream},
	}
}

// quick repeats callbacks at once.
func quick(o *ringback.Options) {
	for i := range o.Operations {
		o.Operations[i].Callback.Schedule = []time.Duration{10 * time.Millisecond}
	}
}

// get reads a page of the gateway.
func (g *gateway) get(t *testing.T, path string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}
