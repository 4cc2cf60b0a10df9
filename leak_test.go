package ringback_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// secretsUsed are what a gateway was told or made that nobody else may see.
type secretsUsed struct {
	mu    sync.Mutex
	names map[string]string // by value
}

// add notes a secret, and returns it.
func (s *secretsUsed) add(name, value string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(value) < 8 {
		panic("the secret " + name + " is too short to be looked for")
	}
	s.names[value] = name
	return value
}

// in names the secrets that stand in data, as they are or in a usual encoding.
func (s *secretsUsed) in(data []byte) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for value, name := range s.names {
		for how, text := range map[string]string{"": value, " in base64": base64.StdEncoding.EncodeToString([]byte(value))[:len(value)/3*4],
			" in base64url": base64.RawURLEncoding.EncodeToString([]byte(value))[:len(value)/3*4], " in hex": hex.EncodeToString([]byte(value)),
			" escaped": url.QueryEscape(value), " quoted": strings.ReplaceAll(value, "\n", `\n`)} {
			if bytes.Contains(data, []byte(text)) {
				found = append(found, name+how)
				break
			}
		}
	}
	return found
}

// places are where no secret may be. Those of callback URLs are stored, for they are
// called, and shown to their app.
type leakHunt struct {
	stored, shown *secretsUsed // may not be stored, may not be told
}

func (h *leakHunt) look(t *testing.T, what string, data []byte, both bool) {
	t.Helper()
	if len(data) == 0 {
		t.Errorf("%s is empty: nothing was looked at", what)
	}
	found := h.stored.in(data)
	if both {
		found = append(found, h.shown.in(data)...)
	}
	for _, name := range found {
		t.Errorf("%s: %s", what, name)
	}
}

// files looks through a folder.
func (h *leakHunt) files(t *testing.T, what, dir string, skip ...string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type()&fs.ModeSocket != 0 {
			return err
		}
		for _, s := range skip {
			if d.Name() == s {
				return nil
			}
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) == 0 {
			return err
		}
		n++
		h.look(t, what+" "+d.Name(), data, false)
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("%s: %d files, %v", what, n, err)
	}
}

// bothLogs writes what is logged as text and as JSON.
func bothLogs(text, asJSON io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
	return slog.New(slog.NewMultiHandler(slog.NewTextHandler(text, o), slog.NewJSONHandler(asJSON, o)))
}

// pagesOf are the routes that show nothing secret, filled with ids.
func (g *gateway) pagesOf(t *testing.T, key, prefix string, paths ...string) (all []byte) {
	t.Helper()
	for _, path := range paths {
		req, err := http.NewRequestWithContext(t.Context(), "GET", g.url+prefix+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Ringback-Key", key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d, %v", path, resp.StatusCode, err)
		}
		all = fmt.Appendf(all, "%v\n%s\n", resp.Header, body)
	}
	return all
}

func TestNoSecretIsWhereItShouldNotBe(t *testing.T) {
	t.Parallel()
	h := &leakHunt{stored: &secretsUsed{names: map[string]string{}}, shown: &secretsUsed{names: map[string]string{}}}
	dir := shortDir(t)
	text, asJSON := &lockedBuffer{}, &lockedBuffer{}
	admin := h.stored.add("the admin key", "admin-key-0f5d1b7e9c")
	sealing := bytes.Repeat([]byte("seal-key"), 4)
	h.stored.add("the seal key", string(sealing))

	// A receiver that tells back all that it is told, and fails at first.
	var asked sync.Map
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := r.Header.Get("Authorization"); token != "" {
			w.Header().Set("X-Told", token)
		}
		w.Header().Set("Set-Cookie", "session=cookie-of-the-receiver")
		body, _ := io.ReadAll(r.Body)
		if i := bytes.Index(body, []byte(`/v1/replies/`)); i >= 0 {
			token, _, _ := strings.Cut(string(body[i+len(`/v1/replies/`):]), `"`)
			h.stored.add("the token of a reply", token)
			asked.Store("reply", token)
		}
		if i := bytes.Index(body, []byte(`token=`)); i >= 0 {
			token, _, _ := strings.Cut(string(body[i+len(`token=`):]), `"`)
			h.stored.add("the token of a link", token)
		}
		if _, again := asked.LoadOrStore(r.Header.Get("Webhook-Id"), true); !again || r.URL.Path == "/refuses" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if bytes.Contains(body, []byte(`"work.ask"`)) {
			fmt.Fprint(w, `"an answer"`)
		}
	}))
	defer receiver.Close()
	h.stored.add("a cookie of a receiver", "cookie-of-the-receiver")

	// An upstream that tells back its cookie in a header, and fails at first.
	var runs sync.Map
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u := r.Header.Get("Ringback-Completion-Url"); u != "" {
			_, rest, _ := strings.Cut(u, "/v1/runs/")
			token, _, _ := strings.Cut(rest, "/")
			h.stored.add("the token of a run", token)
		}
		if _, again := runs.LoadOrStore(r.Header.Get("Ringback-Job-Id"), true); !again {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if !strings.Contains(r.Header.Get("Cookie"), "cookie-of-a-caller") {
			t.Errorf("the upstream got the cookie %q", r.Header.Get("Cookie"))
		}
		w.Header().Set("Set-Cookie", "session="+h.stored.add("a cookie of an upstream", "cookie-of-an-upstream"))
		fmt.Fprint(w, "done")
	}))
	defer backend.Close()

	work, err := ringback.HTTP(ringback.HTTPConfig{URL: backend.URL + "/work", Method: "POST", Async: "callback"})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ringback.HTTP(ringback.HTTPConfig{URL: backend.URL + "/plain", Method: "POST", Headers: map[string]string{
		"X-Api-Key": h.stored.add("a header of a backend", "key-of-the-backend-77")}})
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, dir, func(o *ringback.Options) {
		o.AdminKey, o.SealKey, o.Log = admin, sealing, bothLogs(text, asJSON)
		o.Operations = []ringback.Operation{
			operation("relay", "POST /relay", ringback.Relay(), quick),
			operation("thin", "POST /thin", ringback.Relay(), quick, func(op *job.Operation) { op.Callback.Format = job.FormatThin }),
			operation("shaped", "POST /shaped", ringback.Relay(), quick, func(op *job.Operation) {
				op.Callback.Format, op.Callback.Template = job.FormatTemplate, `{link: .data.result_url, all: .}`
			}),
			operation("plain", "POST /plain", plain, quick),
			operation("chained", "POST /chained", work, quick),
			asking(quick),
		}
	})
	g.admin = g.client(t, admin)
	app, err := g.admin.CreateApp(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	g.key, g.app = h.stored.add("an app's key", app.Key), g.client(t, app.Key)
	secret := func(endpoint string) {
		s, err := g.app.RotateSecret(t.Context(), endpoint)
		if err != nil {
			t.Fatal(err)
		}
		h.stored.add("the secret of "+endpoint, strings.TrimPrefix(s.Secret, "whsec_"))
	}
	secret("")

	// Endpoints with all kinds of credentials.
	tokens, _ := oauth2(t, nil)
	h.stored.add("an OAuth2 token", "hunter3-1")
	tokens.OAuth2.ClientSecret = "hunter2"
	certificate, key := certified(t, "shop")
	for name, e := range map[string]client.EndpointCreate{
		"basic":  {Auth: &client.EndpointAuth{Basic: &client.BasicAuth{Username: "bob", Password: h.stored.add("a password", "password-4711-x")}}},
		"bearer": {Auth: &client.EndpointAuth{Bearer: &client.BearerAuth{Token: h.stored.add("a bearer token", "bearer-4711-xyz")}}},
		"oauth2": {Auth: tokens},
		"header": {Headers: map[string]string{"Authorization": "Bearer " + h.stored.add("an Authorization", "header-4711-xyz")}},
		"own":    {Secret: h.stored.add("a legacy secret", "legacy-secret-4711-xyz"), Signature: json.RawMessage(`{"legacy":"github"}`)},
	} {
		e.Name, e.URL = name, receiver.URL+"/"+name+"?token="+h.shown.add("the query of an endpoint's URL", "query-of-"+name+"-4711")
		if _, err := g.app.CreateEndpoint(t.Context(), e); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name != "own" {
			secret(name)
		}
	}
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "mtls", URL: "https://127.0.0.1:10443/",
		Auth: &client.EndpointAuth{MTLS: &client.MTLSAuth{Certificate: string(certificate), Key: string(key)}}}); err != nil {
		t.Fatal(err)
	}
	h.stored.add("a key of a certificate", strings.Split(string(key), "\n")[1])

	// Work that succeeds, fails, asks, and is refused.
	cookie := "session=" + h.stored.add("a cookie of a caller", "cookie-of-a-caller")
	header := http.Header{"Cookie": {cookie}}
	var ids []string
	for _, c := range []client.Call{
		{Path: "/relay", Endpoint: "basic"}, {Path: "/relay", Endpoint: "bearer"}, {Path: "/relay", Endpoint: "oauth2"}, {Path: "/relay", Endpoint: "header"},
		{Path: "/relay", Endpoint: "own"}, {Path: "/relay", Endpoint: "mtls"},
		{Path: "/thin", CallbackURL: receiver.URL + "/a?sig=" + h.shown.add("the query of a callback URL", "query-of-a-call-4711")},
		{Path: "/shaped", CallbackURL: receiver.URL + "/a"}, {Path: "/plain", CallbackURL: receiver.URL + "/a"},
		{Path: "/relay", CallbackURL: receiver.URL + "/refuses?sig=query-of-a-call-4711"},
		{Path: "/work", CallbackURL: receiver.URL + "/a"}, {Path: "/chained", CallbackURL: receiver.URL + "/a"},
	} {
		c.Header, c.Body, c.ContentType = header, strings.NewReader(`{"a":1}`), "application/json"
		ids = append(ids, g.call(t, c).ID)
	}
	var problems []byte
	for _, bad := range []struct{ method, path, body string }{
		{"POST", "/relay?callbackURL=" + url.QueryEscape("ftp://bob:"+h.shown.add("the password in a callback URL", "userinfo-4711-xyz")+"@a.example/?sig=query-of-a-call-4711"), "x"},
		{"POST", "/relay?callbackURL=" + url.QueryEscape("http://10.0.0.1/?sig=query-of-a-call-4711"), "x"},
		{"POST", "/v1/endpoints", `{"name":"x","url":"http://bob:userinfo-4711-xyz@10.0.0.1/","auth":{"bearer":{"token":"bearer-4711-xyz y"}}}`},
		{"POST", "/v1/secret/rotate", `{"secret":"legacy-secret-4711-xyz\u0000"}`},
		{"PATCH", "/v1/endpoints/bearer", `{"auth":{"oauth2":{"token_url":"http://10.0.0.1/?q=userinfo-4711-xyz","client_id":"a","client_secret":"legacy-secret-4711-xyz"}}}`},
		{"POST", "/v1/nothing/legacy-secret-4711-xyz", ""},
	} {
		problems = append(problems, g.problem(t, bad.method, bad.path, bad.body)...)
	}
	for i, id := range ids[:11] {
		eventually(t, fmt.Sprintf("call %d is told of", i), func() bool {
			for cb, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: id}) {
				if err != nil {
					t.Fatal(err)
				}
				if cb.Attempts == 0 {
					return false
				}
			}
			j, err := g.app.Job(t.Context(), id)
			return err == nil && len(j.Callbacks) > 0
		})
	}
	eventually(t, "the chained run waits", func() bool {
		j, err := g.app.Job(t.Context(), ids[11])
		return err == nil && j.Attempts > 1
	})

	paths := []string{"/metrics", "/docs", "/openapi.json", "/healthz", "/readyz", "/v1/audit?limit=200"}
	h.look(t, "metrics, pages and the audit log", g.pagesOf(t, g.key, "", paths...), true)
	h.look(t, "the whole audit log", g.pagesOf(t, admin, "", "/v1/audit?limit=200", "/v1/apps"), true)
	paths = []string{"/v1/jobs", "/v1/callbacks", "/v1/endpoints", "/v1/endpoints/basic", "/v1/endpoints/mtls", "/v1/apps/shop/jwks.json"}
	for _, id := range ids {
		paths = append(paths, "/v1/jobs/"+id)
		for cb := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: id}) {
			paths = append(paths, "/v1/callbacks/"+cb.ID, "/v1/callbacks/"+cb.ID+"/attempts")
		}
	}
	h.look(t, "answers of /v1", g.pagesOf(t, g.key, "", paths...), false)
	h.look(t, "problems", problems, true)
	h.files(t, "while it works:", dir)
	backup := filepath.Join(shortDir(t), "backup")
	if _, err := g.Backup(t.Context(), backup, nil); err != nil {
		t.Fatal(err)
	}
	h.files(t, "the backup:", backup)
	g.stop()
	h.files(t, "at its end:", dir)
	h.look(t, "the log as text", []byte(text.String()), true)
	h.look(t, "the log as JSON", []byte(asJSON.String()), true)
	if len(h.stored.names) < 20 {
		t.Errorf("only %d secrets were looked for: %v", len(h.stored.names), h.stored.names)
	}
}

// problem sends what is refused, and returns the answer.
func (g *gateway) problem(t *testing.T, method, path, body string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Ringback-Key", g.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 4 {
		t.Errorf("%s %s: %d %s, %v", method, path, resp.StatusCode, said, err)
	}
	return said
}

// TestNoSecretOfAnUpstreamOrAProxyIsWhereItShouldNotBe looks while a job waits for its
// next run, so that what belongs to the upstream is stored.
func TestNoSecretOfAnUpstreamOrAProxyIsWhereItShouldNotBe(t *testing.T) {
	t.Parallel()
	h := &leakHunt{stored: &secretsUsed{names: map[string]string{}}, shown: &secretsUsed{names: map[string]string{}}}
	dir := shortDir(t)
	text, asJSON := &lockedBuffer{}, &lockedBuffer{}
	authorization, cookie := h.stored.add("an Authorization of a call", "Bearer upstream-4711-xyz"), h.stored.add("a cookie of a call", "session=cookie-4711-xyz")
	ended := make(chan struct{})
	var once sync.Once
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != authorization || r.Header.Get("Cookie") != cookie {
			t.Errorf("the upstream got %q and %q", r.Header.Get("Authorization"), r.Header.Get("Cookie"))
		}
		if r.URL.Path == "/later" {
			once.Do(func() { close(ended) })
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "done")
	}))
	defer upstream.Close()
	origin, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &url.URL{Scheme: "http", Host: "127.0.0.1:10102", User: url.UserPassword("egress", h.stored.add("the password of the proxy", "proxy-4711-xyz"))}
	g := start(t, dir, func(o *ringback.Options) {
		o.Upstream, o.Egress.Proxy, o.Log = origin, proxy, bothLogs(text, asJSON)
	})
	admin, err := client.New(g.url, adminKey, client.Options{Attempts: 1, Prefix: ringback.UpstreamPrefix})
	if err != nil {
		t.Fatal(err)
	}
	app, err := admin.CreateApp(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	g.key = h.stored.add("an app's key", app.Key)
	for path, key := range map[string]string{"/now": g.key, "/later": g.key, "/wrong": h.stored.add("a key that is none", "rb_"+strings.Repeat("x", 43))} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", g.url+path+"?callbackURL="+url.QueryEscape("http://127.0.0.1:10103/?sig="+h.shown.add("the query of a callback URL", "query-4711-xyz")), strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Authorization": {authorization}, "Cookie": {cookie}, "Ringback-Key": {key}}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	<-ended
	shop, err := client.New(g.url, g.key, client.Options{Attempts: 1, Prefix: ringback.UpstreamPrefix})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the proxy was asked", func() bool {
		for cb, err := range shop.Callbacks(t.Context(), client.CallbackQuery{}) {
			if err != nil {
				t.Fatal(err)
			}
			if cb.Attempts > 0 {
				return true
			}
		}
		return false
	})
	var paths []string
	for cb := range shop.Callbacks(t.Context(), client.CallbackQuery{}) {
		paths = append(paths, "/v1/callbacks/"+cb.ID, "/v1/callbacks/"+cb.ID+"/attempts", "/v1/jobs/"+cb.JobID)
	}
	h.look(t, "answers of /v1", g.pagesOf(t, g.key, ringback.UpstreamPrefix, append(paths, "/v1/jobs", "/v1/callbacks")...), false)
	h.look(t, "metrics, pages and the audit log", g.pagesOf(t, g.key, ringback.UpstreamPrefix, "/metrics", "/docs", "/openapi.json", "/v1/audit"), true)
	h.files(t, "while it works:", dir)
	g.stop()
	h.files(t, "at its end:", dir)
	h.look(t, "the log as text", []byte(text.String()), true)
	h.look(t, "the log as JSON", []byte(asJSON.String()), true)
}
