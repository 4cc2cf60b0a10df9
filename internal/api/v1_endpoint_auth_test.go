package api

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// pair makes a certificate that ends at notAfter, and its key, in PEM.
func pair(t *testing.T, notAfter time.Time) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ringback"}, NotBefore: notAfter.Add(-time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func quoted(t *testing.T, text string) string {
	t.Helper()
	b, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// storedAuth is what the store has of the endpoint e of the app a.
func storedAuth(t *testing.T, g *gateway) (auth job.Auth) {
	t.Helper()
	e, err := g.store.Endpoint(t.Context(), "a", "e")
	if err != nil {
		t.Fatal(err)
	}
	if e.Auth == nil {
		return auth
	}
	plain, err := g.seal.Open(e.Auth, "auth")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(e.Auth), "hunter2") {
		t.Error("it is stored in the clear")
	}
	if err := json.Unmarshal(plain, &auth); err != nil {
		t.Fatal(err)
	}
	return auth
}

func TestAuthOfAnEndpointIsSealedAndItsSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	certificate, private := pair(t, time.Now().Add(time.Hour))
	for _, test := range []struct {
		auth, again, redacted string
		secret                func(job.Auth) string
		want                  string
	}{
		{`{"basic":{"username":"bob","password":"hunter2"}}`, `{"basic":{"username":"eve","password":"[redacted]"}}`, "auth.basic.password",
			func(a job.Auth) string { return a.Basic.Password }, "hunter2"},
		{`{"bearer":{"token":"hunter2"}}`, `{"bearer":{"token":"[redacted]"}}`, "auth.bearer.token",
			func(a job.Auth) string { return a.Bearer.Token }, "hunter2"},
		{`{"oauth2":{"token_url":"https://login.example/token","client_id":"id","client_secret":"hunter2","scopes":["a","b:c"],"audience":"x"}}`,
			`{"oauth2":{"token_url":"https://login.example/token","client_id":"other","client_secret":"[redacted]"}}`, "auth.oauth2.client_secret",
			func(a job.Auth) string { return a.OAuth2.ClientSecret }, "hunter2"},
		{`{"mtls":{"certificate":` + quoted(t, certificate) + `,"key":` + quoted(t, private) + `}}`,
			`{"mtls":{"certificate":` + quoted(t, certificate) + `,"key":"[redacted]","expires_at":"2026-01-01T00:00:00Z"}}`, "auth.mtls.key",
			func(a job.Auth) string { return a.MTLS.Key }, private},
	} {
		a := g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"https://a.example/","auth":`+test.auth+`}`)
		a.want(t, 201, "")
		for _, a := range []answer{a, g.call("GET", "/v1/endpoints/e", key, ""), g.call("GET", "/v1/endpoints", key, "")} {
			if strings.Contains(a.body, "hunter2") || strings.Contains(a.body, "PRIVATE KEY") {
				t.Errorf("shown: %s", a.body)
			}
		}
		if got := field[string](t, a, test.redacted); got != redactedValue {
			t.Errorf("%s is shown as %q", test.redacted, got)
		}
		if got := test.secret(storedAuth(t, g)); got != test.want {
			t.Errorf("stored: %q", got)
		}
		g.call("PATCH", "/v1/endpoints/e", key, `{"method":"PUT"}`).want(t, 200, "")
		g.call("PATCH", "/v1/endpoints/e", key, `{"auth":`+test.again+`}`).want(t, 200, "")
		if got := test.secret(storedAuth(t, g)); got != test.want {
			t.Errorf("sent as shown, it became %q", got)
		}
		a = g.call("PATCH", "/v1/endpoints/e", key, `{"auth":{}}`)
		a.want(t, 200, "")
		if auth := storedAuth(t, g); auth != (job.Auth{}) || strings.Contains(a.body, `"auth"`) {
			t.Errorf("taken away, there is %+v: %s", auth, a.body)
		}
		g.call("DELETE", "/v1/endpoints/e", key, "").want(t, 204, "")
	}
}

func TestEndOfACertificateIsShown(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	end := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	certificate, private := pair(t, end)
	a := g.call("POST", "/v1/endpoints", g.app("a"), `{"name":"e","url":"https://a.example/","auth":{"mtls":{"certificate":`+quoted(t, certificate)+`,"key":`+quoted(t, private)+`}}}`)
	a.want(t, 201, "")
	if got, err := time.Parse(time.RFC3339, field[string](t, a, "auth.mtls.expires_at")); err != nil || !got.Equal(end) {
		t.Errorf("it ends %v, %v; want %v", got, err, end)
	}
	if got := field[string](t, a, "auth.mtls.certificate"); got != certificate {
		t.Errorf("certificate %q", got)
	}
}

func TestAuthThatCannotBeIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	certificate, private := pair(t, time.Now().Add(time.Hour))
	ended, endedKey := pair(t, time.Now().Add(-time.Hour))
	_, other := pair(t, time.Now().Add(time.Hour))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ed)
	if err != nil {
		t.Fatal(err)
	}
	otherKind := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	mtls := func(certificate, key string) string {
		return `{"mtls":{"certificate":` + quoted(t, certificate) + `,"key":` + quoted(t, key) + `}}`
	}
	oauth2 := func(url, more string) string {
		return `{"oauth2":{"token_url":"` + url + `","client_id":"i","client_secret":"hunter2"` + more + `}}`
	}
	for _, test := range []struct{ auth, pointer, detail string }{
		{`{"basic":{"username":"a:b","password":"hunter2"}}`, "#/auth/basic/username", "character"},
		{`{"basic":{"username":"a","password":"hunter2\n"}}`, "#/auth/basic/password", "character"},
		{`{"basic":{"username":"","password":"hunter2"}}`, "#/auth/basic/username", ""},
		{`{"basic":{"username":"a"}}`, "#/auth/basic", ""},
		{`{"basic":{"username":"a","password":"[redacted]"}}`, "#/auth/basic/password", "no secret"},
		{`{"bearer":{"token":"hunter2 x"}}`, "#/auth/bearer/token", "ASCII"},
		{`{"bearer":{"token":"hunter2\r\nX: 1"}}`, "#/auth/bearer/token", "ASCII"},
		{`{"bearer":{"token":"[redacted]"}}`, "#/auth/bearer/token", "no secret"},
		{`{"bearer":{"token":"` + strings.Repeat("hunter2", 2000) + `"}}`, "#/auth/bearer/token", ""},
		{`{"bearer":{"token":"hunter2"},"basic":{"username":"a","password":"hunter2"}}`, "#/auth", "one of"},
		{`{"digest":{"password":"hunter2"}}`, "#/auth/digest", ""},
		{oauth2("http://login.example/hunter2", ""), "#/auth/oauth2/token_url", "token URL must use https"},
		{oauth2("https://login.example/", `,"scopes":["a","b c"]`), "#/auth/oauth2/scopes/1", "ASCII"},
		{oauth2("https://login.example/", `,"audience":"a\u0000"`), "#/auth/oauth2/audience", "character"},
		{strings.Replace(oauth2("https://login.example/", ""), "hunter2", "[redacted]", 1), "#/auth/oauth2/client_secret", "no secret"},
		{mtls("hunter2", private), "#/auth/mtls/certificate", "not a certificate"},
		{mtls(private, private), "#/auth/mtls/certificate", "not a certificate"},
		{mtls(certificate[:len(certificate)/2], private), "#/auth/mtls/certificate", "not a certificate"},
		{mtls("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", private), "#/auth/mtls/certificate", "not a certificate"},
		{mtls(certificate, "hunter2"), "#/auth/mtls/key", "not a private key"},
		{mtls(certificate, certificate), "#/auth/mtls/key", "not a private key"},
		{mtls(certificate, other), "#/auth/mtls/key", "does not belong"},
		{mtls(certificate, otherKind), "#/auth/mtls/key", "does not belong"},
		{mtls(certificate, "[redacted]"), "#/auth/mtls/key", "no secret"},
		{mtls(ended, endedKey), "#/auth/mtls/certificate", "ended on"},
	} {
		a := g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"https://a.example/","auth":`+test.auth+`}`)
		if a.status != 400 {
			t.Errorf("%s: %d %s", test.auth, a.status, a.body)
			continue
		}
		var p Problem
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || len(p.Errors) != 1 || p.Errors[0].Pointer != test.pointer ||
			!strings.Contains(p.Errors[0].Detail, test.detail) {
			t.Errorf("%s: %v, %s, want %s at %s", test.auth, err, a.body, test.detail, test.pointer)
		}
		if strings.Contains(a.body, "hunter2") || strings.Contains(a.body, "PRIVATE") {
			t.Errorf("the secret is repeated: %s", a.body)
		}
	}
}

func TestAuthThatDoesNotGoWithTheEndpointIsRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	certificate, private := pair(t, time.Now().Add(time.Hour))
	mtls := `{"mtls":{"certificate":` + quoted(t, certificate) + `,"key":` + quoted(t, private) + `}}`
	create := func(url, more string) answer {
		return g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"`+url+`",`+more+`}`)
	}
	want := func(a answer, pointer string) {
		t.Helper()
		a.want(t, 400, "bad_request")
		if !strings.Contains(a.body, `"pointer":"`+pointer+`"`) {
			t.Errorf("want %s: %s", pointer, a.body)
		}
	}
	want(create("http://a.example/", `"auth":`+mtls), "#/auth/mtls")
	want(create("HTTP://a.example/", `"auth":`+mtls), "#/auth/mtls")
	want(create("https://a.example/", `"headers":{"Authorization":"Bearer x"},"auth":{"bearer":{"token":"y"}}`), "#/auth")

	create("https://a.example/", `"headers":{"Authorization":"Bearer x"},"auth":`+mtls).want(t, 201, "")
	want(g.call("PATCH", "/v1/endpoints/e", key, `{"url":"http://a.example/","headers":{}}`), "#/auth/mtls")
	want(g.call("PATCH", "/v1/endpoints/e", key, `{"auth":{"bearer":{"token":"y"}}}`), "#/auth")
	g.call("PATCH", "/v1/endpoints/e", key, `{"headers":{},"auth":{"oauth2":{"token_url":"https://login.example/","client_id":"i","client_secret":"hunter2"}}}`).want(t, 200, "")
	want(g.call("PATCH", "/v1/endpoints/e", key, `{"headers":{"Authorization":"Bearer x"}}`), "#/auth")
	// The secret does not go to another server because somebody else may name it.
	want(g.call("PATCH", "/v1/endpoints/e", key, `{"auth":{"oauth2":{"token_url":"https://evil.example/","client_id":"i","client_secret":"[redacted]"}}}`),
		"#/auth/oauth2/client_secret")
	if auth := storedAuth(t, g); auth.OAuth2 == nil || auth.OAuth2.TokenURL != "https://login.example/" || auth.OAuth2.ClientSecret != "hunter2" {
		t.Errorf("after what was refused: %+v", auth)
	}
}

func TestProofOfAnEndpointIsShownAndAskedForAgain(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.Proof = job.ProofChallenge })
	key := g.app("a")
	a := g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"https://a.example/"}`)
	state := func(want string) {
		t.Helper()
		if a = g.call("GET", "/v1/endpoints/e", key, ""); field[string](t, a, "verification.state") != want {
			t.Errorf("want %s: %s", want, a.body)
		}
	}
	set := func(v job.Verification) {
		t.Helper()
		if err := g.store.SetVerification(t.Context(), "a", "e", v, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	state("pending")
	now := time.Now()
	v := job.Verification{URL: "https://a.example/", State: job.VerificationFailed, Method: job.ProofChallenge, CheckedAt: now.Add(-time.Minute), Error: "no_consent", Tries: 6}
	set(v)
	state("failed")
	if field[string](t, a, "verification.error") != "no_consent" || field[string](t, a, "verification.checked_at") == "" || field[string](t, a, "verification.method") != "challenge" {
		t.Errorf("%s", a.body)
	}
	g.call("POST", "/v1/endpoints/e/verify", key, "").want(t, 202, "")
	state("pending")
	if due, _, err := g.store.DueVerifications(t.Context(), time.Now(), 10); err != nil || len(due) != 1 || due[0].Verification.Tries != 0 {
		t.Errorf("due: %+v, %v", due, err)
	}

	// A proof stays good while it is repeated, and the receiver is not asked at will.
	v.State, v.Error, v.CheckedAt, v.ExpiresAt, v.Rate = job.Verified, "", now, now.Add(time.Hour), 60
	set(v)
	g.call("POST", "/v1/endpoints/e/verify", key, "").want(t, 202, "")
	state("verified")
	if field[float64](t, a, "verification.allowed_rate") != 60 || field[string](t, a, "verification.expires_at") == "" {
		t.Errorf("%s", a.body)
	}
	if due, next, err := g.store.DueVerifications(t.Context(), time.Now(), 10); err != nil || len(due) != 0 || next.IsZero() {
		t.Errorf("due so soon: %+v, %v, %v", due, next, err)
	}
	v.ExpiresAt = now.Add(-time.Second)
	set(v)
	state("unverified")
	g.call("PATCH", "/v1/endpoints/e", key, `{"url":"https://b.example/"}`).want(t, 200, "")
	state("pending")
	g.call("PATCH", "/v1/endpoints/e", key, `{"disabled":true}`).want(t, 200, "")
	state("unverified")
	g.call("POST", "/v1/endpoints/nosuch/verify", key, "").want(t, 404, "not_found")
	g.call("POST", "/v1/endpoints/e/verify", g.app("b"), "").want(t, 404, "not_found")
}

func TestWithoutAPolicyThereIsNoProof(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	a := g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"https://a.example/"}`)
	if strings.Contains(a.body, "verification") {
		t.Errorf("%s", a.body)
	}
	g.call("POST", "/v1/endpoints/e/verify", key, "").want(t, 409, "conflict")
}
