package ringback_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// auditedRoute is a route that changes something, asked so that it does, and so that
// it does not.
type auditedRoute struct {
	route           string // method and path, as in /openapi.json
	admin           bool
	path, body      string // {id} stands for what prepare returns
	prepare         func(t *testing.T, g *gateway) string
	action          job.Action
	subject, detail string // {id} as above
	bad, badBody    string // of a request that fails
	app             string // whose thing it is, where that is neither subject nor "shop"
	makes           string // what the subject, which is new, begins with
}

// Each can be done after those before it.
var auditedRoutes = []auditedRoute{
	{route: "POST /v1/apps", admin: true, path: "/v1/apps", body: `{"name":"bank"}`, action: job.AppCreate, subject: "bank",
		bad: "/v1/apps", badBody: `{"name":"shop"}`},
	{route: "PATCH /v1/apps/{name}", admin: true, path: "/v1/apps/bank", body: `{"policy":{"https":true}}`, action: job.AppPolicy, subject: "bank",
		bad: "/v1/apps/nobody", badBody: `{"policy":{"https":true}}`},
	{route: "DELETE /v1/apps/{name}", admin: true, path: "/v1/apps/gone?confirm=gone", action: job.AppDelete, subject: "gone",
		bad: "/v1/apps/nobody?confirm=nobody", prepare: func(t *testing.T, g *gateway) string {
			t.Helper()
			_, err := g.admin.CreateApp(t.Context(), "gone") // of others the erasure deletes entries
			if err != nil {
				t.Fatal(err)
			}
			return ""
		}},
	{route: "POST /v1/secret/rotate", path: "/v1/secret/rotate", action: job.AppSecretRotate, subject: "shop", bad: "/v1/secret/rotate", badBody: `{"secret":"whsec_x"}`},
	{route: "POST /v1/keys", path: "/v1/keys", body: `{"name":"k"}`, action: job.KeyCreate, makes: "key_", bad: "/v1/keys", badBody: `{}`},
	{route: "DELETE /v1/keys/{id}", path: "/v1/keys/{id}", prepare: secondKey, action: job.KeyRevoke, subject: "{id}", bad: "/v1/keys/{id}"},
	{route: "POST /v1/apps/{name}/keys", admin: true, app: "shop", path: "/v1/apps/shop/keys", body: `{"name":"k"}`, action: job.KeyCreate, makes: "key_",
		bad: "/v1/apps/nobody/keys", badBody: `{"name":"k"}`},
	{route: "DELETE /v1/apps/{name}/keys/{id}", admin: true, app: "shop", path: "/v1/apps/shop/keys/{id}", prepare: secondKey, action: job.KeyRevoke, subject: "{id}",
		bad: "/v1/apps/bank/keys/{id}"},
	{route: "POST /v1/endpoints", path: "/v1/endpoints", body: `{"name":"main","url":"http://127.0.0.1:10109/a?key=hunter2"}`, action: job.EndpointCreate, subject: "main",
		bad: "/v1/endpoints", badBody: `{"name":"main","url":"http://127.0.0.1:10109/"}`},
	{route: "PATCH /v1/endpoints/{name}", path: "/v1/endpoints/main", body: `{"url":"http://127.0.0.1:10110/b?key=hunter2","concurrency":2}`, action: job.EndpointUpdate, subject: "main",
		detail: "url from http://127.0.0.1:10109 to http://127.0.0.1:10110, concurrency", bad: "/v1/endpoints/none", badBody: `{"concurrency":2}`},
	{route: "POST /v1/endpoints/{name}/secret/rotate", path: "/v1/endpoints/main/secret/rotate", action: job.EndpointSecretRotate, subject: "main",
		bad: "/v1/endpoints/none/secret/rotate"},
	{route: "POST /v1/endpoints/{name}/verify", path: "/v1/endpoints/main/verify", action: job.EndpointVerify, subject: "main", bad: "/v1/endpoints/none/verify"},
	{route: "POST /v1/pauses", path: "/v1/pauses", body: `{"endpoint":"main"}`, action: job.PauseBegin, subject: "endpoint main", bad: "/v1/pauses", badBody: `{"endpoint":"none"}`},
	{route: "DELETE /v1/pauses/{id}", path: "/v1/pauses/{id}", action: job.PauseEnd, subject: "endpoint main", prepare: pauseOfMain, bad: "/v1/pauses/{id}"},
	{route: "POST /v1/endpoints/{name}/enable", path: "/v1/endpoints/main/enable", action: job.EndpointEnable, subject: "main", prepare: disabledMain, bad: "/v1/endpoints/none/enable"},
	{route: "DELETE /v1/endpoints/{name}", path: "/v1/endpoints/main", action: job.EndpointDelete, subject: "main", bad: "/v1/endpoints/main"},
	{route: "DELETE /v1/jobs/{id}", path: "/v1/jobs/{id}", action: job.JobCancel, subject: "{id}", prepare: jobUnderWay, bad: "/v1/jobs/{id}"},
	{route: "POST /v1/callbacks/{id}/resend", path: "/v1/callbacks/{id}/resend", action: job.CallbackResend, subject: "{id}", prepare: settledCallback,
		bad: "/v1/callbacks/cb_01kf3q8m9b3x8p5t2a7y0n4q6s/resend"},
}

// unaudited are the routes that change nothing of what belongs into the log, and why;
// and those whose entry is tested where the rest of them is.
var unaudited = map[string]string{
	"POST /v1/bulk":                   "leaves bulk.start: store/storetest/bulk.go",
	"POST /v1/bulk/{id}/stop":         "leaves bulk.stop: store/storetest/bulk.go",
	"POST /v1/callbacks/{id}/discard": "leaves callback.discard, with the change in Store.DiscardCallback",
	"POST /v1/admin-key/rotate":       "refused here, where the key is configured; else it is setting.set, as the store's suite tests it",
	"POST /v1/runs/{token}/result":    "an upstream's: the job is its own record",
	"POST /v1/runs/{token}/questions": "an upstream's: the job is its own record",
	"POST /v1/runs/{token}/progress":  "an upstream's: the job is its own record",
	"POST /v1/replies/{token}":        "a receiver's: the job is its own record",
	"POST /v1/check-url":              "it asks, and changes nothing",
}

func pauseOfMain(t *testing.T, g *gateway) string {
	t.Helper()
	p, err := g.app.Pause(t.Context(), client.PauseCreate{Endpoint: "main"}) // the one that there is
	if err != nil {
		t.Fatal(err)
	}
	return p.ID
}

func disabledMain(t *testing.T, g *gateway) string {
	t.Helper()
	yes := true
	if _, err := g.app.UpdateEndpoint(t.Context(), "main", client.EndpointPatch{Disabled: &yes}); err != nil {
		t.Fatal(err)
	}
	return ""
}

func jobUnderWay(t *testing.T, g *gateway) string {
	t.Helper()
	return g.call(t, client.Call{Path: "/wait"}).ID
}

func secondKey(t *testing.T, g *gateway) string {
	t.Helper()
	k, err := g.app.CreateKey(t.Context(), "", client.KeyCreate{Name: "second"})
	if err != nil {
		t.Fatal(err)
	}
	return k.ID
}

func settledCallback(t *testing.T, g *gateway) string {
	t.Helper()
	j := g.call(t, client.Call{Path: "/relay", CallbackURL: "http://127.0.0.1:10101/"})
	for cb, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: j.ID}) {
		if err != nil {
			t.Fatal(err)
		}
		return cb.ID
	}
	t.Fatal("no callback")
	return ""
}

// send sends a request with a key, and returns the status.
func send(t *testing.T, key, method, url, body string) int {
	t.Helper()
	var from io.Reader
	if body != "" {
		from = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, from)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Ringback-Key", key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func auditLog(t *testing.T, c *client.Client, q client.AuditQuery) (all []client.Audit) {
	t.Helper()
	for a, err := range c.AuditLog(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}

func auditing(t *testing.T) *gateway {
	t.Helper()
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended) })
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Proof = job.ProofChallenge
		o.DrainTimeout = 100 * time.Millisecond
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick),
			operation("wait", "POST /wait", ringback.Func(func(ctx context.Context, _ *ringback.Call, _ *ringback.Result) error {
				select {
				case <-ended:
				case <-ctx.Done():
				}
				return nil
			}))}
	})
	g.join(t)
	return g
}

func TestEveryRouteThatChangesSomethingLeavesOneEntryInTheAuditLog(t *testing.T) {
	t.Parallel()
	g := auditing(t)
	for _, tt := range auditedRoutes {
		method, _, _ := strings.Cut(tt.route, " ")
		id, key, who := "", g.key, client.AuditActor{Kind: "app", App: "shop", Key: g.key[:9], Remote: "127.0.0.1"}
		if tt.prepare != nil {
			id = tt.prepare(t, g)
		}
		if tt.admin {
			key, who = adminKey, client.AuditActor{Kind: "admin", Remote: "127.0.0.1"}
		}
		before := auditLog(t, g.admin, client.AuditQuery{})
		if status := send(t, key, method, g.url+strings.ReplaceAll(tt.path, "{id}", id), tt.body); status/100 != 2 {
			t.Fatalf("%s: %d", tt.route, status)
		}
		after := auditLog(t, g.admin, client.AuditQuery{})
		if len(after) != len(before)+1 {
			t.Errorf("%s left %d entries", tt.route, len(after)-len(before))
			continue
		}
		got, want := after[0], client.Audit{ID: after[0].ID, At: after[0].At, Actor: who, Action: string(tt.action), App: "shop",
			Subject: strings.ReplaceAll(tt.subject, "{id}", id), Detail: tt.detail}
		if tt.admin {
			want.App = cmp.Or(tt.app, tt.subject)
		}
		if tt.makes != "" && strings.HasPrefix(got.Subject, tt.makes) {
			want.Subject, want.Detail = got.Subject, got.Detail
		}
		if got != want {
			t.Errorf("%s: entry %+v, want %+v", tt.route, got, want)
		}
		if status := send(t, key, method, g.url+strings.ReplaceAll(tt.bad, "{id}", id), tt.badBody); status/100 != 4 {
			t.Errorf("%s that must fail: %d", tt.route, status)
		}
		if failed := auditLog(t, g.admin, client.AuditQuery{}); len(failed) != len(after) {
			t.Errorf("%s failed, and left %+v", tt.route, failed[0])
		}
	}
	if text := fmt.Sprint(auditLog(t, g.admin, client.AuditQuery{})); strings.Contains(text, "hunter2") || strings.Contains(text, g.key) {
		t.Errorf("the log tells a secret: %s", text)
	}
}

func TestEveryRouteIsAuditedOrSaidNotToBe(t *testing.T) {
	t.Parallel()
	g := auditing(t)
	resp, err := http.Get(g.url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, tt := range auditedRoutes {
		known[tt.route] = true
	}
	seen := map[string]bool{}
	for path, methods := range doc.Paths {
		for method := range methods {
			route := strings.ToUpper(method) + " " + path
			if !strings.HasPrefix(path, "/v1/") || !slices.Contains([]string{"post", "put", "patch", "delete"}, method) {
				continue
			}
			seen[route] = true
			if !known[route] && unaudited[route] == "" {
				t.Errorf("%s is neither tested to leave an entry in the audit log, nor said to need none", route)
			}
		}
	}
	for route := range known {
		if !seen[route] {
			t.Errorf("there is no %s", route)
		}
	}
	if len(seen) < 14 {
		t.Errorf("only %d routes: %v", len(seen), seen)
	}
}

func TestAnAppSeesItsOwnOfTheAuditLog(t *testing.T) {
	t.Parallel()
	g := auditing(t)
	other, err := g.admin.CreateApp(t.Context(), "bank")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client.Client{g.app, g.client(t, other.Key)} {
		if _, err := c.RotateSecret(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	for _, a := range auditLog(t, g.app, client.AuditQuery{}) {
		seen = append(seen, a.App+" "+a.Action+" "+a.Actor.Kind+" "+a.Actor.Remote)
	}
	if want := []string{"shop app.secret.rotate app 127.0.0.1", "shop app.create admin "}; !slices.Equal(seen, want) {
		t.Errorf("the app sees %q, want %q", seen, want)
	}
	if got := auditLog(t, g.admin, client.AuditQuery{App: "bank", Actor: "app", Action: "app.secret.rotate", Subject: "bank",
		Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour), PageSize: 1}); len(got) != 1 || got[0].App != "bank" {
		t.Errorf("filtered: %+v", got)
	}
	if got := auditLog(t, g.admin, client.AuditQuery{Until: time.Now().Add(-time.Hour)}); len(got) != 0 {
		t.Errorf("older than an hour: %+v", got)
	}
	for path, want := range map[string]int{"?app=bank": 400, "?action=no.such": 400, "?since=yesterday": 400, "?until=1": 400, "?actor=nobody": 400, "?cursor=x": 400, "?app=shop": 200} {
		if status := send(t, g.key, "GET", g.url+"/v1/audit"+path, ""); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	if status := send(t, "rb_unknown", "GET", g.url+"/v1/audit", ""); status != 401 {
		t.Errorf("an unknown key: %d", status)
	}
}

func TestEntriesOfTheAuditLogAreDeletedAfterTheirRetention(t *testing.T) {
	t.Parallel()
	now := time.Now()
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay())}
		o.Now = func() time.Time { return now.Add(48 * time.Hour) }
		o.AuditRetention = 47 * time.Hour
	})
	g.join(t)
	if err := g.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := auditLog(t, g.admin, client.AuditQuery{}); len(all) != 0 {
		t.Errorf("still there: %+v", all)
	}
}

func TestAnotherAdminKeyIsInTheAuditLogOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 {
		g := start(t, dir, func(o *ringback.Options) {
			o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay())}
		})
		got := auditLog(t, g.client(t, adminKey), client.AuditQuery{})
		if len(got) != 1 || got[0].Action != "setting.set" || got[0].Subject != "admin_key_hash" || got[0].Actor.Kind != "gateway" {
			t.Errorf("the log has %+v", got)
		}
		g.stop()
	}
}

func TestDocsExplainEveryActionAndNoOther(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, what, _ := bytes.Cut(text, []byte("\n## What\n"))
	var documented []job.Action
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|").FindAllSubmatch(what, -1) {
		documented = append(documented, job.Action(m[1]))
	}
	for _, a := range job.Actions {
		if !slices.Contains(documented, a) {
			t.Errorf("docs/audit.md does not explain %s", a)
		}
	}
	for _, a := range documented {
		if !a.Known() {
			t.Errorf("docs/audit.md explains %s, which is none", a)
		}
	}
	for _, kind := range job.ActorKinds {
		if !bytes.Contains(text, []byte("| `"+kind+"` |")) {
			t.Errorf("docs/audit.md does not explain the actor %s", kind)
		}
	}
}
