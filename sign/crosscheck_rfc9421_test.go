package sign_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/npmtest"
	"github.com/ringback/ringback/sign"
)

// What testdata/js/rfc9421.mjs reads and answers.
type rfcTask struct {
	Keys     []rfcKey  `json:"keys"`
	Received []rfcWire `json:"received,omitempty"`
	Send     []rfcSend `json:"send,omitempty"`
}

type rfcKey struct {
	ID  string `json:"id"`
	Alg string `json:"alg"`
	Key []byte `json:"key"`
}

type rfcWire struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
}

type rfcSend struct {
	rfcKey
	Request rfcWire `json:"request"`
}

type rfcReport struct {
	Verdicts []string            `json:"verdicts"`
	Sent     []map[string]string `json:"sent"`
}

func (task rfcTask) run(t *testing.T) rfcReport {
	t.Helper()
	var report rfcReport
	npmtest.Run(t, jsFolder, "rfc9421.mjs", task, &report)
	return report
}

func raw(t *testing.T, s sign.Secret) []byte {
	t.Helper()
	_, encoded, _ := strings.Cut(s.Reveal(), "_")
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wire(r sign.Request) rfcWire {
	w := rfcWire{Method: r.Method, URL: r.URL, Headers: map[string]string{}}
	for name, values := range r.Header {
		w.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return w
}

func TestAnotherLibraryAcceptsOurRFC9421(t *testing.T) {
	t.Parallel()
	keys, old := sign.NewKeys(), sign.NewKeys()
	task := rfcTask{}
	for _, k := range []sign.Keys{keys, old} {
		spki, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(raw(t, public(t, k.Private))))
		if err != nil {
			t.Fatal(err)
		}
		task.Keys = append(task.Keys, rfcKey{k.Shared.KeyID(), "hmac-sha256", raw(t, k.Shared)}, rfcKey{k.Private.KeyID(), "ed25519", spki})
	}
	var want []string
	for _, url := range []string{"https://my.server/", "https://my.server:8443/bar?a=1&b=%20x", "http://127.0.0.1:8080/%7Euser/?"} {
		r := callback()
		r.URL, r.Timestamp = url, time.Now()
		r.Header["Ringback-State"], r.Header["Ce-Type"] = []string{"7"}, []string{"scan.succeeded"}
		signedBy(t, r, "v1,rfc9421", keys, old)
		good := wire(r)
		other := wire(r)
		other.Headers["ringback-state"] = "8"
		task.Received = append(task.Received, good, other)
		want = append(want, "true", "false")
	}
	if got := task.run(t).Verdicts; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("verdicts %q, want %q", got, want)
	}
}

func TestWeAcceptAnotherLibrarysRFC9421(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ed25519.PrivateKey(raw(t, keys.Private)))
	if err != nil {
		t.Fatal(err)
	}
	r := callback()
	digest := sha256.Sum256(r.Body)
	r.Header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest[:])+":")
	r.Header.Set("Webhook-Id", r.ID)
	task := rfcTask{Keys: []rfcKey{}, Send: []rfcSend{
		{rfcKey{keys.Shared.KeyID(), "hmac-sha256", raw(t, keys.Shared)}, wire(r)},
		{rfcKey{keys.Private.KeyID(), "ed25519", pkcs8}, wire(r)},
	}}
	sent := task.run(t).Sent
	if len(sent) != 2 {
		t.Fatalf("%d requests, want 2", len(sent))
	}
	for i, secret := range []sign.Secret{keys.Shared, public(t, keys.Private)} {
		theirs := r
		theirs.Header = http.Header{}
		for name, value := range sent[i] {
			theirs.Header.Set(name, value)
		}
		if _, err := sign.VerifyRFC9421(theirs, time.Now(), secret); err != nil {
			t.Errorf("%s: %v\n%s", task.Send[i].Alg, err, theirs.Header.Get("Signature-Input"))
		}
	}
}
