package ringback_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/hostile"
	"github.com/ringback/ringback/job"
)

// wire is all that callbacks can reach: it notes each address that is dialled, and
// each path that is asked for.
type wire struct {
	mu       sync.Mutex
	resolver *hostile.Resolver
	dialled  []netip.AddrPort
	paths    []string
	location string // where receivers redirect to; "" for none
}

func (w *wire) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	r := w.resolver
	w.mu.Unlock()
	return r.LookupNetIP(ctx, network, host)
}

func (w *wire) dial(_ context.Context, _, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dialled = append(w.dialled, netip.MustParseAddrPort(address))
	w.mu.Unlock()
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		r, err := http.ReadRequest(bufio.NewReader(theirs))
		if err != nil {
			return
		}
		io.Copy(io.Discard, r.Body)
		w.mu.Lock()
		w.paths = append(w.paths, r.RequestURI)
		location := w.location
		w.mu.Unlock()
		if location != "" {
			io.WriteString(theirs, "HTTP/1.1 302 Found\r\nLocation: "+location+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		io.WriteString(theirs, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	}()
	return ours, nil
}

// begin forgets what was, and answers as a row says.
func (w *wire) begin(row hostile.URL) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resolver, w.dialled, w.paths, w.location = row.Resolver(), nil, nil, ""
}

func (w *wire) noted() (dialled []netip.AddrPort, paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.dialled), slices.Clone(w.paths)
}

// ways are how a callback URL gets into the gateway. Each makes the request that
// carries it, or says that this way cannot carry it.
var ways = map[string]func(base, callback string) (*http.Request, bool){
	"query": func(base, callback string) (*http.Request, bool) {
		r, err := http.NewRequest("POST", base+"/relay?callbackURL="+url.QueryEscape(callback), nil)
		return r, err == nil
	},
	"header": func(base, callback string) (*http.Request, bool) {
		r, err := http.NewRequest("POST", base+"/relay", nil)
		if err != nil || strings.ContainsFunc(callback, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return nil, false
		}
		r.Header.Set("X-Callback-Url", callback)
		return r, strings.TrimSpace(callback) == callback
	},
	"body": func(base, callback string) (*http.Request, bool) {
		body, err := json.Marshal(map[string]string{"callbackUrl": callback})
		if err != nil {
			return nil, false
		}
		r, err := http.NewRequest("POST", base+"/body", strings.NewReader(string(body)))
		if err != nil {
			return nil, false
		}
		r.Header.Set("Content-Type", "application/json")
		var back map[string]string
		return r, json.Unmarshal(body, &back) == nil && back["callbackUrl"] == callback
	},
	"endpoint": func(base, callback string) (*http.Request, bool) {
		body, err := json.Marshal(map[string]string{"name": "e", "url": callback})
		if err != nil {
			return nil, false
		}
		r, err := http.NewRequest("POST", base+"/v1/endpoints", strings.NewReader(string(body)))
		if err != nil {
			return nil, false
		}
		r.Header.Set("Content-Type", "application/json")
		var back map[string]string
		return r, json.Unmarshal(body, &back) == nil && back["url"] == callback
	},
}

func TestEveryCallbackURLIsTreatedAlikeWhicheverWayItComes(t *testing.T) {
	w := &wire{}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	once := func(op *job.Operation) { op.Callback.Schedule = []time.Duration{time.Millisecond} }
	body := func(op *job.Operation) { op.Callback.URL = []string{"{$request.body#/callbackUrl}"} }
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), once), operation("body", "POST /body", ringback.Relay(), once, body)}
		o.Outbound = ringback.Outbound{HTTP: true}
		o.Resolver, o.Dial = w, w.dial
	})
	g.join(t)
	tried := map[string]int{}
	rows, asExpected := hostile.URLs(), 0
	for _, row := range rows {
		if t.Run(fmt.Sprintf("line %d", row.Line), func(t *testing.T) { g.tryRow(t, w, row, tried) }) {
			asExpected++
		}
	}
	t.Logf("hostile URLs: %d of %d as expected, %v", asExpected, len(rows), tried)
	for name := range ways {
		if tried[name] < 200 {
			t.Errorf("only %d rows came by %s", tried[name], name)
		}
	}
	if tried["location"] < 200 {
		t.Errorf("only %d rows came by a redirect", tried["location"])
	}
}

// tryRow sends a row's URL every way there is.
func (g *gateway) tryRow(t *testing.T, w *wire, row hostile.URL, tried map[string]int) {
	t.Helper()
	if !strings.ContainsFunc(row.URL, func(c rune) bool { return c == '\r' || c == '\n' }) && row.URL != "" && len(row.URL) < 4096 {
		tried["location"]++
		g.tryRedirect(t, w, row)
	}
	// The receivers here speak no TLS, and one that never answers would soon be
	// left alone. What https changes is the business of the outbound client's own tests.
	if scheme, rest, ok := strings.Cut(row.URL, "://"); ok && row.Expect == "allow" && strings.EqualFold(scheme, "https") {
		row.URL = "http://" + rest
	}
	for name, way := range ways {
		req, can := way(g.url, row.URL)
		if !can {
			continue
		}
		w.begin(row)
		tried[name]++
		g.tryURL(t, w, row, name, req)
	}
}

// tryRedirect has a receiver that may be called redirect to the URL: nothing is dialled
// but that receiver.
func (g *gateway) tryRedirect(t *testing.T, w *wire, row hostile.URL) {
	t.Helper()
	w.begin(row)
	w.mu.Lock()
	w.location = row.URL
	w.mu.Unlock()
	accepted := g.call(t, client.Call{Path: "/relay", CallbackURL: fmt.Sprintf("http://redirects-%d.test/from", row.Line)})
	c := g.settled(t, accepted.ID)
	dialled, paths := w.noted()
	elsewhere := slices.ContainsFunc(dialled, func(a netip.AddrPort) bool { return a != netip.AddrPortFrom(hostile.Public, 80) })
	followed := slices.ContainsFunc(paths, func(path string) bool { return path != "/from" })
	if c.Status != "dead" || c.LastStatus != 302 || len(dialled) != c.Attempts || elsewhere || followed {
		t.Errorf("line %d by a redirect: %s with %d after %d attempts, dialled %v, asked for %q", row.Line, c.Status, c.LastStatus, c.Attempts, dialled, paths)
	}
}

// tryURL sends a URL one way, and compares what follows with what the row demands.
func (g *gateway) tryURL(t *testing.T, w *wire, row hostile.URL, way string, req *http.Request) {
	t.Helper()
	req.Header.Set("Authorization", "Bearer "+g.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("line %d by %s: %v", row.Line, way, err)
	}
	defer resp.Body.Close()
	var answer struct{ ID, Code string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatalf("line %d by %s: %d: %v", row.Line, way, resp.StatusCode, err)
	}
	taken := resp.StatusCode == 202 || resp.StatusCode == 201
	switch {
	case row.Expect == "invalid" && (taken || answer.Code == ""),
		row.Expect == "allow" && !taken,
		!taken && (resp.StatusCode < 400 || resp.StatusCode > 499):
		t.Errorf("line %d by %s: %q is %s (%s), answered %d %s", row.Line, way, row.URL[:min(len(row.URL), 80)], row.Expect, row.Why, resp.StatusCode, answer.Code)
	}
	if !taken {
		return
	}
	if way != "endpoint" {
		g.afterwards(t, w, row, way, answer.ID)
		return
	}
	g.afterwards(t, w, row, way, g.call(t, client.Call{Path: "/relay", Endpoint: "e"}).ID)
	if err := g.app.DeleteEndpoint(t.Context(), "e"); err != nil {
		t.Fatal(err)
	}
}

// afterwards looks at what was dialled for a URL that was taken.
func (g *gateway) afterwards(t *testing.T, w *wire, row hostile.URL, way, id string) {
	t.Helper()
	c := g.settled(t, id)
	dialled, paths := w.noted()
	for _, a := range dialled {
		if a.Addr().IsPrivate() || a.Addr().IsLoopback() || a.Addr().IsLinkLocalUnicast() || !a.Addr().IsGlobalUnicast() {
			t.Errorf("line %d by %s: %s was dialled", row.Line, way, a)
		}
	}
	if row.Expect == "refuse" {
		if rebinds := strings.Contains(row.Why, "rebinding"); (c.Status != "dead" || c.LastError != "policy") && !rebinds {
			t.Errorf("line %d by %s: %s %s, dialled %v", row.Line, way, c.Status, c.LastError, dialled)
		}
		return
	}
	if len(dialled) == 0 {
		t.Errorf("line %d by %s: nothing was dialled: %s %s", row.Line, way, c.Status, c.LastError)
	}
	rest := row.URL[len("http://"):]
	want := "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		want = rest[i:]
	}
	if c.Status != "delivered" || !strings.HasSuffix(paths[len(paths)-1], want) {
		t.Errorf("line %d by %s: %s, asked for %q, want %q", row.Line, way, c.Status, paths, want)
	}
}
