package ringback_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/sign"
)

// create registers the endpoint "main" of the app.
func (g *gateway) create(t *testing.T, url string, auth *client.EndpointAuth) *client.Endpoint {
	t.Helper()
	e, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "main", URL: url, Default: true, Auth: auth})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (g *gateway) mainSecret(t *testing.T) func() sign.Secret {
	t.Helper()
	return func() sign.Secret { return secretOf(t, g.app, "main") }
}

func TestEndpointsAreToldWhoCalls(t *testing.T) {
	t.Parallel()
	for want, auth := range map[string]*client.EndpointAuth{
		"Basic Ym9iOmh1bnRlcjI=": {Basic: &client.BasicAuth{Username: "bob", Password: "hunter2"}},
		"Bearer hunter2":         {Bearer: &client.BearerAuth{Token: "hunter2"}},
		"":                       nil,
	} {
		g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
		url, messages := listen(t, g.mainSecret(t), answers(500))
		g.create(t, url, auth)
		accepted := g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")})
		for range 2 {
			if got := next(t, messages).header.Get("Authorization"); got != want {
				t.Errorf("Authorization %q, want %q", got, want)
			}
		}
		if c := g.settled(t, accepted.ID); c.Status != "delivered" {
			t.Errorf("%+v", c)
		}
	}
}

// oauth2 is an OAuth2 server whose nth answer is answer's, a token where that is nil.
func oauth2(t *testing.T, answer func(n int64, w http.ResponseWriter) (done bool)) (auth *client.EndpointAuth, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if id, secret, _ := r.BasicAuth(); id != "ringback" || secret != "hunter2" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "hooks" {
			t.Errorf("%s asked for %v", id, r.Form)
		}
		if answer == nil || !answer(n, w) {
			fmt.Fprintf(w, `{"access_token":"hunter3-%d","token_type":"Bearer","expires_in":3600}`, n)
		}
	}))
	t.Cleanup(server.Close)
	return &client.EndpointAuth{OAuth2: &client.OAuth2Auth{TokenURL: server.URL, ClientID: "ringback", ClientSecret: "hunter2", Scopes: []string{"hooks"}}}, asked
}

func TestOneTokenServesAllCallbacksUntilItIsRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	auth, asked := oauth2(t, nil)
	url, messages := listen(t, g.mainSecret(t), func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/new" && r.Header.Get("Authorization") == "Bearer hunter3-1" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	g.create(t, url, auth)
	for range 20 {
		g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")})
	}
	for range 20 {
		if got := next(t, messages).header.Get("Authorization"); got != "Bearer hunter3-1" {
			t.Errorf("Authorization %q", got)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("%d tokens were fetched", n)
	}
	// What else changes about the endpoint leaves the token.
	url += "/new"
	if _, err := g.app.UpdateEndpoint(t.Context(), "main", client.EndpointPatch{URL: &url}); err != nil {
		t.Fatal(err)
	}
	accepted := g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")})
	for _, want := range []string{"Bearer hunter3-1", "Bearer hunter3-2"} {
		if got := next(t, messages).header.Get("Authorization"); got != want {
			t.Errorf("Authorization %q, want %q", got, want)
		}
	}
	if c := g.settled(t, accepted.ID); c.Status != "delivered" || c.Attempts != 2 {
		t.Errorf("%+v", c)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("%d tokens were fetched", n)
	}
}

func TestCallbackOutlivesATokenServerThatFails(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	auth, _ := oauth2(t, func(n int64, w http.ResponseWriter) bool {
		switch n {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			fmt.Fprint(w, "<html>hunter3</html>")
		case 3:
			fmt.Fprint(w, `{"error":"invalid_client"}`)
		}
		return n <= 3
	})
	url, messages := listen(t, g.mainSecret(t), nil)
	g.create(t, url, auth)
	accepted := g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")})
	if got := next(t, messages).header.Get("Authorization"); got != "Bearer hunter3-4" {
		t.Errorf("Authorization %q", got)
	}
	c := g.settled(t, accepted.ID)
	if c.Status != "delivered" || c.Attempts != 4 {
		t.Errorf("%+v", c)
	}
	for i, a := range g.attempts(t, c.ID) {
		if want := map[bool]string{true: "token", false: ""}[i < 3]; a.Error != want {
			t.Errorf("attempt %d: %+v", i+1, a)
		}
	}
	none(t, messages)
}

func TestTokenURLIsBoundToTheOutboundPolicy(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay()))
	for _, url := range []string{"http://169.254.169.254/latest", "ftp://login.example/", "http://user:hunter2@127.0.0.1/", "/token"} {
		_, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "main", URL: "https://a.example", Auth: &client.EndpointAuth{
			OAuth2: &client.OAuth2Auth{TokenURL: url, ClientID: "i", ClientSecret: "hunter2"}}})
		if err == nil || !strings.Contains(err.Error(), "token URL") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestTokenURLIsBoundToTheAppsPolicyToo(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	auth, asked := oauth2(t, nil)
	url, messages := listen(t, g.mainSecret(t), nil)
	permit := func(prefixes ...string) {
		t.Helper()
		if _, err := g.admin.UpdateApp(t.Context(), "shop", client.AppPatch{Policy: &client.Policy{Prefixes: prefixes}}); err != nil {
			t.Fatal(err)
		}
	}
	permit(url)
	_, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "main", URL: url, Auth: auth})
	var p *client.Problem
	if !errors.As(err, &p) || p.Status != http.StatusBadRequest || !strings.Contains(fmt.Sprint(p.Errors), "token URL") || !strings.Contains(fmt.Sprint(p.Errors), "rule: prefixes") {
		t.Errorf("%+v", err)
	}
	permit(url, auth.OAuth2.TokenURL)
	g.create(t, url, auth)
	g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")})
	next(t, messages)
	permit(url)
	accepted := g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")})
	c := g.settled(t, accepted.ID)
	if c.Status != "dead" || c.LastError != "token" {
		t.Errorf("%+v", c)
	}
	none(t, messages)
	if n := asked.Load(); n != 1 {
		t.Errorf("the server was asked %d times", n)
	}
}

// certified makes a certificate for 127.0.0.1 that also is its own authority, and
// its key, in PEM.
func certified(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"receiver.example"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	template.IPAddresses = append(template.IPAddresses, []byte{127, 0, 0, 1})
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func pool(t *testing.T, certificates ...[]byte) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	for _, c := range certificates {
		if !p.AppendCertsFromPEM(c) {
			t.Fatal("no certificate")
		}
	}
	return p
}

func TestEndpointsAreShownTheirOwnCertificate(t *testing.T) {
	t.Parallel()
	serverCert, serverKey := certified(t, "receiver")
	shopCert, shopKey := certified(t, "shop")
	bankCert, bankKey := certified(t, "bank")
	served, err := tls.X509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	callers := make(chan string, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		callers <- r.URL.Path + " " + r.TLS.PeerCertificates[0].Subject.CommonName
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{served}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool(t, shopCert, bankCert)}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick)}
		o.RootCAs = pool(t, serverCert)
	})
	g.join(t)
	for name, auth := range map[string]*client.EndpointAuth{
		"shop":   {MTLS: &client.MTLSAuth{Certificate: string(shopCert), Key: string(shopKey)}},
		"bank":   {MTLS: &client.MTLSAuth{Certificate: string(bankCert), Key: string(bankKey)}},
		"nobody": nil,
	} {
		if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: name, URL: server.URL + "/" + name, Auth: auth}); err != nil {
			t.Fatal(err)
		}
	}
	// One after the other, so that each may take the connection of the one before.
	for _, name := range []string{"shop", "bank", "shop", "bank", "bank", "shop"} {
		accepted := g.call(t, client.Call{Path: "/relay", Endpoint: name, Body: strings.NewReader("x")})
		if c := g.settled(t, accepted.ID); c.Status != "delivered" || c.Attempts != 1 {
			t.Fatalf("%+v", c)
		}
		if got := <-callers; got != "/"+name+" "+name {
			t.Errorf("%s came as %s", name, got)
		}
	}
	accepted := g.call(t, client.Call{Path: "/relay", Endpoint: "nobody", Body: strings.NewReader("x")})
	if c := g.settled(t, accepted.ID); c.Status != "dead" || c.LastStatus != 0 {
		t.Errorf("without a certificate: %+v", c)
	}
}

// lockedBuffer is written to by many.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestNoCredentialGoesAnywhereButToItsReceiver(t *testing.T) {
	t.Parallel()
	log := &lockedBuffer{}
	dir := t.TempDir()
	g := start(t, dir, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick)}
		o.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	g.join(t)
	certificate, key := certified(t, "shop")
	failing, _ := oauth2(t, func(_ int64, w http.ResponseWriter) bool { fmt.Fprint(w, `{"access_token":"hunter3\n"}`); return true })
	refused, _ := oauth2(t, nil)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Echo", r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "you sent %v", r.Header)
	}))
	t.Cleanup(receiver.Close)
	for name, auth := range map[string]*client.EndpointAuth{
		"basic": {Basic: &client.BasicAuth{Username: "bob", Password: "hunter2"}}, "bearer": {Bearer: &client.BearerAuth{Token: "hunter2"}},
		"failing": failing, "refused": refused,
		"mtls": {MTLS: &client.MTLSAuth{Certificate: string(certificate), Key: string(key)}},
	} {
		url := receiver.URL
		if name == "mtls" {
			url = strings.Replace(url, "http:", "https:", 1) // that speaks no TLS
		}
		if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: name, URL: url, Auth: auth}); err != nil {
			t.Fatal(err)
		}
		accepted := g.call(t, client.Call{Path: "/relay", Endpoint: name, Body: strings.NewReader("x")})
		if c := g.settled(t, accepted.ID); c.Status != "dead" {
			t.Errorf("%s: %+v", name, c)
		}
	}
	shown := map[string]string{"log": log.String()}
	for _, path := range []string{"/metrics", "/openapi.json", "/v1/endpoints", "/v1/endpoints/basic", "/v1/callbacks", "/v1/jobs"} {
		shown[path] = g.page(t, path)
	}
	for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		shown[c.ID] = g.page(t, "/v1/callbacks/"+c.ID+"/attempts")
	}
	g.stop()
	files, err := filepath.Glob(filepath.Join(dir, "ringback.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		shown[file] = string(content)
	}
	shown["log at the end"] = log.String()
	if !strings.Contains(shown["log"], "no OAuth2 token") || !strings.Contains(shown["/metrics"], `outcome="token"`) {
		t.Error("what was to fail did not")
	}
	secrets := []string{"hunter", "aHVudGVyM", "Ym9iOmh1bnRlcjI", "PRIVATE KEY", strings.Split(string(key), "\n")[1]}
	for what, text := range shown {
		for _, secret := range secrets {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s shows %q: …%q…", what, secret, text[max(i-50, 0):min(i+50, len(text))])
			}
		}
	}
}

// page reads a page of the gateway with the app's key.
func (g *gateway) page(t *testing.T, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, g.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+g.key)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v", path, answer.StatusCode, err)
	}
	return string(body)
}
