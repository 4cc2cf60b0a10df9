package ringback_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
	"github.com/ringback/ringback/store/sqlite"
)

// capture starts a receiver that takes a request for what it is, and answers with
// what status says of the nth, 200 where that is nil.
func capture(t *testing.T, status func(n int) int) (url string, requests <-chan sign.Request) {
	t.Helper()
	got := make(chan sign.Request, 100)
	n := 0 // a callback's attempts follow each other
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read: %v", err)
		}
		n++
		answer := http.StatusOK
		if status != nil {
			answer = status(n)
		}
		got <- sign.Request{Message: sign.Message{Body: body}, Method: r.Method, URL: "http://" + r.Host + r.URL.RequestURI(), Header: r.Header}
		w.WriteHeader(answer)
	}))
	t.Cleanup(server.Close)
	return server.URL, got
}

func nextRequest(t *testing.T, requests <-chan sign.Request) sign.Request {
	t.Helper()
	select {
	case r := <-requests:
		return r
	case <-time.After(time.Minute):
		t.Fatal("no callback came")
		return sign.Request{}
	}
}

// publicKeys reads the JWKS of the app or of an endpoint as a stranger would.
func (g *gateway) publicKeys(t *testing.T, endpoint string) []sign.Secret {
	t.Helper()
	s, err := g.app.Secret(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(s.JWKSURL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := sign.ParseJWKS(data)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// verifies tells whether a request is signed by a scheme with one of the secrets.
func verifies(scheme string, r sign.Request, secrets ...sign.Secret) error {
	if preset, ok := sign.Preset(scheme); ok {
		_, err := preset.Verify(r.Header, r.Body, time.Now(), secrets...)
		return err
	}
	if scheme == sign.SchemeRFC9421 {
		_, err := sign.VerifyRFC9421(r, time.Now(), secrets...)
		return err
	}
	_, err := sign.Verify(r.Header, r.Body, time.Now(), secrets...)
	return err
}

// signatureHeaders are those that some scheme sets.
func signatureHeaders(h http.Header) (names []string) {
	for _, name := range []string{"Webhook-Signature", "Signature", "Signature-Input", "Content-Digest", "X-Hub-Signature-256", "Stripe-Signature",
		"X-Slack-Signature", "X-Slack-Request-Timestamp", "X-Shopify-Hmac-Sha256"} {
		if h[name] != nil {
			names = append(names, name)
		}
	}
	return names
}

// schemesOfAll is a case for each scheme: the setting, how to verify what comes, whether
// by the public key, and the headers.
var schemesOfAll = []struct {
	setting, verify string
	public          bool
	headers         string
}{
	{"", "v1", false, "Webhook-Signature"},
	{"v1", "v1", false, "Webhook-Signature"},
	{"v1a", "v1a", true, "Webhook-Signature"},
	{"v1,v1a", "v1", false, "Webhook-Signature"},
	{"v1,v1a", "v1a", true, "Webhook-Signature"},
	{"rfc9421", "rfc9421", false, "Signature Signature-Input Content-Digest"},
	{"rfc9421", "rfc9421", true, "Signature Signature-Input Content-Digest"},
	{`{"legacy":"github"}`, "github", false, "X-Hub-Signature-256"},
	{`{"legacy":"stripe"}`, "stripe", false, "Stripe-Signature"},
	{`{"legacy":"slack"}`, "slack", false, "X-Slack-Signature X-Slack-Request-Timestamp"},
	{`{"legacy":"shopify"}`, "shopify", false, "X-Shopify-Hmac-Sha256"},
	{`["v1",{"legacy":"github"}]`, "github", false, "Webhook-Signature X-Hub-Signature-256"},
}

func TestEverySchemeOnARealCallbackAndInARotation(t *testing.T) {
	t.Parallel()
	var operations []ringback.Operation
	for i, tc := range schemesOfAll {
		name := "op" + string(rune('a'+i))
		operations = append(operations, operation(name, "POST /"+name, ringback.Relay(), quick, func(op *job.Operation) { op.Callback.Signature = tc.setting }))
	}
	g := setup(t, operations...)
	old, oldPublic := g.secret, g.publicKeys(t, "")
	for i, tc := range schemesOfAll {
		url, requests := capture(t, nil)
		g.call(t, client.Call{Path: operations[i].Route[len("POST "):], CallbackURL: url + "/bar?a=1"})
		r := nextRequest(t, requests)
		secrets := []sign.Secret{old}
		if tc.public {
			secrets = oldPublic
		}
		if err := verifies(tc.verify, r, secrets...); err != nil {
			t.Errorf("%q: %v", tc.setting, err)
		}
		if got := strings.Join(signatureHeaders(r.Header), " "); got != tc.headers {
			t.Errorf("%q: headers %s, want %s", tc.setting, got, tc.headers)
		}
	}
	if _, err := g.app.RotateSecret(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	fresh, bothPublic := secretOf(t, g.app, ""), g.publicKeys(t, "")
	if len(bothPublic) != 2 || bothPublic[1].Reveal() != oldPublic[0].Reveal() {
		t.Fatalf("%d public keys, want the new one and the old one", len(bothPublic))
	}
	for i, tc := range schemesOfAll {
		// The first attempt is refused: a scheme with room for one signature is signed by
		// the old secret then, and by the new one in the second attempt.
		url, requests := capture(t, func(n int) int { return map[bool]int{true: 500, false: 200}[n == 1] })
		g.call(t, client.Call{Path: operations[i].Route[len("POST "):], CallbackURL: url})
		first, second := nextRequest(t, requests), nextRequest(t, requests)
		byOld, byFresh := old, fresh
		if tc.public {
			byOld, byFresh = bothPublic[1], bothPublic[0]
		}
		if err := verifies(tc.verify, first, byOld); err != nil {
			t.Errorf("%q: first attempt, by the old one: %v", tc.setting, err)
		}
		if err := verifies(tc.verify, second, byFresh); err != nil {
			t.Errorf("%q: second attempt, by the new one: %v", tc.setting, err)
		}
		if preset, ok := sign.Preset(tc.verify); ok && preset.Separator == "" {
			continue
		}
		if err := errors.Join(verifies(tc.verify, first, byFresh), verifies(tc.verify, second, byOld)); err != nil {
			t.Errorf("%q: the other one: %v", tc.setting, err)
		}
	}
}

func TestACallbackThatIsNotSigned(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("notify", "POST /notify", ringback.Relay(), func(op *job.Operation) {
		op.Callback.Signature, op.Callback.Format = "none", job.FormatCloudEvents
	}))
	url, requests := capture(t, nil)
	g.call(t, client.Call{Path: "/notify", CallbackURL: url})
	if r := nextRequest(t, requests); len(signatureHeaders(r.Header)) != 0 || r.Header.Get("Webhook-Id") == "" {
		t.Errorf("headers %v", r.Header)
	}
}

func TestTheEndpointsSignatureWinsOverTheOperations(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("notify", "POST /notify", ringback.Relay(), func(op *job.Operation) { op.Callback.Signature = "v1a" }))
	url, requests := capture(t, nil)
	const theirs = "It's a Secret to Everybody"
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "shop", URL: url, Default: true, Secret: theirs,
		Signature: map[string]string{"legacy": "github"}}); err != nil {
		t.Fatal(err)
	}
	own, err := sign.TextSecret(theirs)
	if err != nil {
		t.Fatal(err)
	}
	g.call(t, client.Call{Path: "/notify"})
	r := nextRequest(t, requests)
	if err := verifies("github", r, own); err != nil || r.Header.Get("Webhook-Signature") != "" {
		t.Errorf("the endpoint's own: %v, %v", err, r.Header)
	}
	for _, setting := range []any{[]string{"v1", "rfc9421"}, "rfc9421", ""} {
		if _, err := g.app.UpdateEndpoint(t.Context(), "shop", client.EndpointPatch{Signature: setting}); err != nil {
			t.Fatal(err)
		}
		g.call(t, client.Call{Path: "/notify"})
		r, scheme := nextRequest(t, requests), "rfc9421"
		if setting == "" {
			scheme = "v1a"
		}
		if err := verifies(scheme, r, g.publicKeys(t, "shop")...); err != nil {
			t.Errorf("after a change to %v: %v", setting, err)
		}
	}
}

func TestWhatStandsOutsideTheBodyIsSignedToo(t *testing.T) {
	t.Parallel()
	var operations []ringback.Operation
	formats := []string{job.FormatQuery, job.FormatCloudEvents, job.FormatRaw}
	for i, format := range formats {
		name := "op" + string(rune('a'+i))
		operations = append(operations, operation(name, "POST /"+name, ringback.Relay(), func(op *job.Operation) {
			op.Callback.Format = format
			if format == job.FormatQuery {
				op.Callback.Method = http.MethodGet
			}
		}))
	}
	g := setup(t, operations...)
	for i, format := range formats {
		url, requests := capture(t, nil)
		g.call(t, client.Call{Path: operations[i].Route[len("POST "):], CallbackURL: url + "/?a=1", State: "7",
			ContentType: "application/json", Body: strings.NewReader(`{"verdict":"clean"}`)})
		r := nextRequest(t, requests)
		for scheme, secrets := range map[string][]sign.Secret{"v1": {g.secret}, "rfc9421": g.publicKeys(t, "")} {
			if err := verifies(scheme, r, secrets...); err != nil {
				t.Errorf("%s, %s: %v", format, scheme, err)
			}
		}
		changed := r
		if format == job.FormatQuery {
			changed.URL = strings.Replace(r.URL, "clean", "bad", 1)
		} else {
			changed.Header = r.Header.Clone()
			changed.Header.Set("Ringback-State", "8")
		}
		if err := verifies("rfc9421", changed, g.secret); err == nil {
			t.Errorf("%s: what it says outside the body is not signed: %s %v", format, r.URL, r.Header)
		}
	}
}

func TestALargeResultIsSignedWithoutBeingInMemory(t *testing.T) {
	t.Parallel()
	result := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB
	backend := ringback.Func(func(_ context.Context, _ *ringback.Call, out *ringback.Result) error {
		out.ContentType = "application/octet-stream"
		_, err := out.Write(result)
		return err
	})
	settings := []string{"v1", "rfc9421", `{"legacy":"stripe"}`, `{"legacy":"shopify"}`}
	verify := []string{"v1", "rfc9421", "stripe", "shopify"}
	var operations []ringback.Operation
	for i, setting := range settings {
		name := "op" + string(rune('a'+i))
		operations = append(operations, operation(name, "POST /"+name, backend, func(op *job.Operation) {
			op.Callback.Format, op.Callback.Signature = job.FormatRaw, setting
		}))
	}
	g := setup(t, operations...)
	for i, setting := range settings {
		url, requests := capture(t, nil)
		g.call(t, client.Call{Path: operations[i].Route[len("POST "):], CallbackURL: url})
		r := nextRequest(t, requests)
		if !bytes.Equal(r.Body, result) {
			t.Fatalf("%s: %d bytes came, want the result", setting, len(r.Body))
		}
		if err := verifies(verify[i], r, g.secret); err != nil {
			t.Errorf("%s: %v", setting, err)
		}
	}
	// v1a cannot: who asks for it later than the callback was owed gets none.
	url, requests := capture(t, nil)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "shop", URL: url, Default: true, Disabled: true}); err != nil {
		t.Fatal(err)
	}
	j := g.call(t, client.Call{Path: "/opa"})
	var callback string
	eventually(t, "the callback waits because its endpoint is disabled", func() bool {
		for cb, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: j.ID}) {
			callback = cb.ID
			return err == nil && cb.Waiting == "disabled"
		}
		return false
	})
	enabled := false
	if _, err := g.app.UpdateEndpoint(t.Context(), "shop", client.EndpointPatch{Signature: "v1a", Disabled: &enabled}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.app.Resend(t.Context(), callback); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the callback is dead", func() bool {
		cb, err := g.app.Callback(t.Context(), callback)
		return err == nil && cb.Status == "dead" && cb.LastError == "unsigned"
	})
	// Later ones are told of by their link.
	g.call(t, client.Call{Path: "/opa"})
	if r := nextRequest(t, requests); len(r.Body) > 1<<10 {
		t.Errorf("%d bytes came, want a link", len(r.Body))
	} else if err := verifies("v1a", r, g.publicKeys(t, "shop")...); err != nil {
		t.Error(err)
	}
}

func TestASignatureThatCannotBeIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	for signature, format := range map[string]string{"v2": "", "v1a": job.FormatRaw} {
		dir := t.TempDir()
		opt := options(dir)
		opt.Operations = []ringback.Operation{operation("notify", "POST /notify", ringback.Relay(), func(op *job.Operation) {
			op.Callback.Signature, op.Callback.Format = signature, format
		})}
		store, err := sqlite.Open(t.Context(), filepath.Join(dir, "ringback.db"), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ringback.New(t.Context(), store, opt); err == nil || !strings.Contains(err.Error(), "callback.signature") {
			t.Errorf("%s, %s: error %v", signature, format, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}
