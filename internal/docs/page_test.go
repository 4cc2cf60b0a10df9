package docs_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/receiver/receivertest"
	"github.com/ringback/ringback/sign"
)

func want(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing", part)
		}
	}
}

func wantNot(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(text, part) {
			t.Errorf("%q stands there", part)
		}
	}
}

func TestPageTellsEveryFormatAndEvent(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *ringback.Options) {
		o.Operations[0].Callback.Format, o.Operations[0].Callback.Template = job.FormatTemplate, `{order: .result.order}`
	})
	resp, page := g.get(t, "/docs")
	if resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("header %v", resp.Header)
	}
	for _, format := range job.Formats {
		if !regexp.MustCompile(`<b>` + format + `</b> <span class="method">[A-Z]+</span> <span class="own">[a-z]`).MatchString(page) {
			t.Errorf("what %s is stands nowhere", format)
		}
		for _, event := range job.AllEvents {
			want(t, page, fmt.Sprintf(`aria-label="notify.%s as %s"`, event, format))
		}
	}
	want(t, page, `aria-label="notify.ask as envelope"`, "which", `<h2 id="scan-title">scan <code class="route">PUT /scan/{region}/{rest}</code>`, "{$request.body#/callback/url}",
		"-d &#39;{&#34;callback&#34;:{&#34;url&#34;:&#34;https://my.server/bar&#34;},&#34;order&#34;:7}&#39;",
		"A call may choose: url, state, events, method, format.", "5s, 30s, 2m, 10m, 30m, 2h, 6h, 12h, 24h", "<code>callback_required</code>",
		"&#34;order&#34;: 7", "An attempt has 15s.", "without one the call is refused", "<code>X-Order</code>")
	if thumbnail := section(t, page, "thumbnail"); strings.Contains(thumbnail, "callbackURL") || !strings.Contains(thumbnail, "It goes to the endpoint") {
		t.Errorf("an operation whose callers may choose nothing says:\n%s", thumbnail)
	}
}

// section is what the page says of an operation.
func section(t *testing.T, page, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, `<section id="`+name+`"`)
	text, _, closed := strings.Cut(rest, "</section>")
	if !ok || !closed {
		t.Fatalf("there is no section %s", name)
	}
	return text
}

func TestPageOfAnUpstream(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *ringback.Options) {
		o.Operations, o.Upstream, o.Dev = nil, &url.URL{Scheme: "http", Host: "127.0.0.1:9000"}, false
		o.AdminKey = "0123456789abcdef"
	})
	_, page := g.get(t, "/.ringback/docs")
	want(t, section(t, page, "upstream"), "every call of the API behind it", "Every other one passes through", "With <code>Prefer: respond-async</code> and no URL it goes to the endpoint",
		"Alone it makes no call asynchronous", g.url+"/any/path?callbackURL=https://my.server/bar", "Ringback-Key: rb_", "upstream.succeeded")
	want(t, page, `href="/.ringback/docs/page.css"`, `href="/.ringback/openapi.json"`)
}

func TestSchemesOfAnOperationAreTold(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *ringback.Options) {
		for i, signature := range []string{"v1a", `["v1", "rfc9421"]`, `{"legacy": "github"}`, "none"} {
			o.Operations[i].Callback.Signature = signature
		}
	})
	_, page := g.get(t, "/docs")
	want(t, section(t, page, "notify"), "It is signed: Standard Webhooks v1a (Ed25519).", "v1a,")
	want(t, section(t, page, "scan"), "HTTP Message Signatures (RFC 9421).", "<i>Signature-Input:</i>")
	want(t, section(t, page, "thumbnail"), "the header X-Hub-Signature-256", "<i>X-Hub-Signature-256:</i> sha256=")
	want(t, section(t, page, "report"), "It is not signed.")
}

func TestWhatTheConfigurationSaysIsEscaped(t *testing.T) {
	t.Parallel()
	const evil = `<script>alert(1)</script>`
	g := start(t, func(o *ringback.Options) {
		c := &o.Operations[0].Callback
		c.Headers, c.Query = map[string]string{"X-Evil": "{$request.query." + evil + "}"}, map[string]string{evil: evil}
		c.Format, c.Template = job.FormatTemplate, `"`+evil+`", "text/html"`
		c.Policy.Prefixes = []string{"https://my.server/" + "bar"}
		o.Version = evil
	})
	_, page := g.get(t, "/docs")
	wantNot(t, page, evil)
	want(t, page, "&lt;script&gt;alert(1)&lt;/script&gt;")
	if found := regexp.MustCompile(`(?i)<style|\sstyle=|\son\w+=|<script[^>]*>[^<]|(?:src|href)="(?:https?:)?//[^"]*"`).FindAllString(page, -1); len(found) > 0 {
		for _, link := range found {
			if !strings.HasPrefix(link, `href="https://`) { // what a reader may follow
				t.Errorf("the page holds %q", link)
			}
		}
	}
}

func TestPageIsGuarded(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, path := range []string{"/docs", "/docs/", "/docs/page.css", "/docs/page.js", "/docs/icon.svg"} {
		resp, _ := g.get(t, path)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
		for name, part := range map[string]string{"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin"} {
			if !strings.Contains(resp.Header.Get(name), part) {
				t.Errorf("%s: %s is %q", path, name, resp.Header.Get(name))
			}
		}
	}
}

func TestPageAnswersOtherMethodsAndPathsWithProblems(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for request, wanted := range map[string]string{"POST /docs": "405 method_not_allowed", "GET /docs/page.html": "404 not_found", "PUT /docs/inbox": "405 method_not_allowed"} {
		method, path, _ := strings.Cut(request, " ")
		status, body := g.send(t, method, path, nil, "")
		var problem struct{ Code string }
		if err := json.Unmarshal([]byte(body), &problem); err != nil || fmt.Sprint(status, " ", problem.Code) != wanted {
			t.Errorf("%s: %d %s, want %s", request, status, body, wanted)
		}
	}
}

func TestPageCanBeLeftOut(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *ringback.Options) {
		o.NoDocs = true
		o.Operations[0].Route = "GET /docs"
	})
	if resp, body := g.get(t, "/docs?callbackURL="+url.QueryEscape("http://127.0.0.1:1/")); resp.StatusCode != http.StatusAccepted {
		t.Errorf("the path is not free: %s %s", resp.Status, body)
	}
}

func TestSnippetsAreThoseOfTheDocumentation(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/receiving.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range []string{"go", "js", "python", "java", "sh", "javascript"} {
		code, err := os.ReadFile("verify/" + language + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(guide), "```"+language+"\n"+string(code)+"```\n") {
			t.Errorf("verify/%s.txt is not what docs/receiving.md shows", language)
		}
	}
}

// inbox opens one, for callbacks of notify.
func (g *gateway) inbox(t *testing.T) (inbox, arrivals string) {
	t.Helper()
	status, body := g.send(t, http.MethodPost, "/docs/inbox?operation=notify", nil, "")
	var opened struct{ URL, Arrivals string }
	if err := json.Unmarshal([]byte(body), &opened); err != nil || status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	return opened.URL, opened.Arrivals
}

func (g *gateway) send(t *testing.T, method, path string, header http.Header, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// watch reads the parts of the page that an inbox streams, until stop is true.
func (g *gateway) watch(t *testing.T, arrivals string, stop func(part string) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+arrivals, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var part string
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && json.Unmarshal([]byte(data), &part) == nil && stop(part) {
			return
		}
	}
	t.Fatalf("the stream ended: %v", lines.Err())
}

func TestInboxTellsGenuineFromForged(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	text, err := g.gateway.DevSecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := sign.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	inbox, arrivals := g.inbox(t)
	path := strings.TrimPrefix(inbox, g.url)
	genuine := receivertest.Callback{Body: []byte(`{}`)}.Request(secret).Header
	g.send(t, http.MethodPost, path, genuine, `{}`)
	forged := http.Header{"Webhook-Id": {"cb_1"}, "Webhook-Timestamp": {"1"}, "Webhook-Signature": {"v1,AAAA"}}
	g.send(t, http.MethodPost, path, forged, `{}`)
	g.send(t, http.MethodDelete, path, nil, "")
	g.send(t, http.MethodPut, path+"?<b>=1", http.Header{"X-Evil": {"<img src=x onerror=alert(1)>"}}, `<script>alert(1)</script>`)
	g.send(t, http.MethodPost, path, nil, strings.Repeat("x", 300<<10))
	outside := genuine.Clone()
	outside.Set("Ce-Type", "scan.succeeded")
	g.send(t, http.MethodPost, path, outside, `{}`)
	var parts []string
	g.watch(t, arrivals, func(part string) bool { parts = append(parts, part); return len(parts) == 6 })
	want(t, parts[0], "signature verified: Standard Webhooks", "genuine")
	parts = parts[1:]
	want(t, parts[0], "not verified: Standard Webhooks: ", "doubtful")
	want(t, parts[1], "DELETE "+path, "it has no signature that this inbox knows")
	wantNot(t, parts[2], "<script>", "<img", "<b>=1")
	want(t, parts[2], "&lt;script&gt;", "X-Evil")
	want(t, parts[3], "the body is larger than 256 KiB", "octets more")
	want(t, parts[4], "not verified: what it says outside its body")
	if n := len(parts[3]); n > 16<<10 {
		t.Errorf("a large body takes %d octets of the page", n)
	}
}

func TestInboxesAreForTrialsOnly(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *ringback.Options) { o.Dev, o.AdminKey = false, "0123456789abcdef" })
	for _, request := range []string{"POST /docs/inbox", "POST /docs/inbox/abc", "GET /docs/inbox/abc/arrivals"} {
		method, path, _ := strings.Cut(request, " ")
		if status, body := g.send(t, method, path, nil, ""); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", request, status, body)
		}
	}
	_, page := g.get(t, "/docs")
	wantNot(t, page, "Try it", "<form")
	want(t, page, "Authorization: Bearer rb_")
}

func TestUnknownInboxIsGone(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for request, wanted := range map[string]int{"POST /docs/inbox/abc": http.StatusGone, "GET /docs/inbox/abc/arrivals": http.StatusNotFound} {
		method, path, _ := strings.Cut(request, " ")
		if status, body := g.send(t, method, path, nil, ""); status != wanted {
			t.Errorf("%s: %d %s", request, status, body)
		}
	}
	foreign := http.Header{"Origin": {"https://evil.example"}}
	if status, _ := g.send(t, http.MethodPost, "/docs/inbox", foreign, ""); status != http.StatusForbidden {
		t.Errorf("another web page opened an inbox: %d", status)
	}
}

func TestOnlySoManyInboxesAreKept(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	first, arrivals := g.inbox(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.send(t, http.MethodGet, arrivals, nil, "") // ends with its inbox
	}()
	for range 32 {
		g.inbox(t)
	}
	<-ended
	if status, _ := g.send(t, http.MethodPost, strings.TrimPrefix(first, g.url), nil, ""); status != http.StatusGone {
		t.Errorf("the oldest of 33 inboxes answers %d", status)
	}
	last, arrivals := g.inbox(t)
	for range 40 {
		g.send(t, http.MethodPost, strings.TrimPrefix(last, g.url), nil, "")
	}
	n := 0
	g.watch(t, arrivals, func(part string) bool { n++; return strings.Contains(part, `data-n="40"`) })
	if n != 32 {
		t.Errorf("%d of 40 callbacks are kept", n)
	}
}

// Of what a gateway says of itself nothing may be a secret of its apps.
func TestPageShowsNoSecret(t *testing.T) {
	t.Parallel()
	g := start(t, func(o *ringback.Options) {
		c := &o.Operations[0].Callback
		c.URL = []string{"{$request.query.callbackURL}", "https://hooks.example/hunter2?key=hunter2"}
		c.Also = [][]string{{"https://audit.example/$hunter2"}}
		c.Headers, c.Query = map[string]string{"X-Key": "hunter2", "X-Other": "hunter2 $request.query.hunter2"}, map[string]string{"key": "hunter2"}
	})
	secret, err := g.gateway.DevSecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/docs", "/openapi.json"} {
		_, text := g.get(t, path)
		wantNot(t, text, strings.TrimPrefix(secret, "whsec_"), "hunter2")
		want(t, text, "https://hooks.example", "https://audit.example")
	}
}

func TestPageTellsWhatAnEndpointHasToShow(t *testing.T) {
	t.Parallel()
	for proof, says := range map[job.Proof]string{job.ProofNone: "", job.ProofChallenge: "endpoint.verification", job.ProofHandshake: "WebHook-Allowed-Origin"} {
		g := start(t, func(o *ringback.Options) { o.Proof, o.PublicURL = proof, "https://api.example.com" })
		_, page := g.get(t, "/docs")
		if strings.Contains(page, `id="consent"`) != (says != "") || !strings.Contains(page, says) {
			t.Errorf("proof %q: %q is not told", proof, says)
		}
	}
}

func TestWhoWatchesAnInboxDoesNotHoldTheGatewayUp(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	inbox, arrivals := g.inbox(t)
	g.send(t, http.MethodPost, strings.TrimPrefix(inbox, g.url), nil, "")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url+arrivals, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	g.stop() // it waits for all that is under way
	if read, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(read), "arrived") {
		t.Errorf("%q, %v", read, err)
	}
}
