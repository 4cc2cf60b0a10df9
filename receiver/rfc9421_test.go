package receiver_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

const outerURL = "https://my.server/hooks/bar?a=1"

// signedRequest is a request as it arrives that was sent to outerURL.
func signedRequest(t *testing.T, schemes string, keys ...sign.Keys) *http.Request {
	t.Helper()
	body := []byte(`{"type":"scan.succeeded"}`)
	r := httptest.NewRequest(http.MethodPost, outerURL, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Ringback-State", "7")
	s, err := sign.ParseSchemes(schemes)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Sign(sign.Request{Message: sign.Message{ID: "cb_1", Timestamp: time.Now(), Body: body}, Method: r.Method, URL: outerURL, Header: r.Header}, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func publicOf(t *testing.T, k sign.Keys) sign.Secret {
	t.Helper()
	public, err := k.Private.Public()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func TestEverySchemeIsVerified(t *testing.T) {
	t.Parallel()
	keys, old := sign.NewKeys(), sign.NewKeys()
	for name, tc := range map[string]struct {
		schemes string
		secret  sign.Secret
		whole   bool
	}{
		"v1":                         {"v1", keys.Shared, false},
		"v1a":                        {"v1a", publicOf(t, keys), false},
		"both, shared":               {"v1,v1a", keys.Shared, false},
		"both, public":               {"v1,v1a", publicOf(t, keys), false},
		"RFC 9421, shared":           {"rfc9421", keys.Shared, true},
		"RFC 9421, public":           {"rfc9421", publicOf(t, keys), true},
		"RFC 9421 beside v1, public": {"v1,rfc9421", publicOf(t, keys), true},
		"v1, old":                    {"v1", old.Shared, false},
		"v1a, old":                   {"v1a", publicOf(t, old), false},
		"RFC 9421, old":              {"rfc9421", publicOf(t, old), true},
	} {
		rc, err := receiver.New(receiver.Options{Secrets: []sign.Secret{tc.secret}})
		if err != nil {
			t.Fatal(err)
		}
		r := signedRequest(t, tc.schemes, keys, old)
		if !tc.whole {
			r.Header.Del("Ringback-State") // which RFC 9421 alone signs
		}
		m, err := rc.Verify(r)
		if err != nil || m.ID != "cb_1" || m.Type != "scan.succeeded" || m.WholeRequest != tc.whole {
			t.Errorf("%s: %+v, error %v", name, m, err)
		}
	}
}

func TestRFC9421BehindAProxy(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	for name, tc := range map[string]struct {
		publicURL string
		arrives   func(*http.Request)
		want      error
	}{
		"TLS ended by the proxy": {"", func(r *http.Request) { r.TLS = nil }, nil},
		"TLS here":               {"", func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, nil},
		"other host":             {"", func(r *http.Request) { r.Host = "10.0.0.7:8080" }, sign.ErrMismatch},
		"other host, told":       {"https://my.server", func(r *http.Request) { r.Host = "10.0.0.7:8080" }, nil},
		"path cut off":           {"", func(r *http.Request) { r.URL.Path = "/bar" }, sign.ErrMismatch},
		"path cut off, told":     {"https://my.server/hooks/", func(r *http.Request) { r.URL.Path = "/bar" }, nil},
		"told wrongly":           {"http://my.server", func(*http.Request) {}, sign.ErrMismatch},
		"query changed":          {"https://my.server", func(r *http.Request) { r.URL.RawQuery = "a=2" }, sign.ErrMismatch},
		"header changed":         {"", func(r *http.Request) { r.Header.Set("Ringback-State", "8") }, sign.ErrMismatch},
		"header added":           {"", func(r *http.Request) { r.Header.Set("Ringback-Event", "x") }, sign.ErrHeader},
		"signature dropped":      {"", func(r *http.Request) { r.Header.Del("Signature") }, sign.ErrHeader},
	} {
		rc, err := receiver.New(receiver.Options{Secrets: []sign.Secret{keys.Shared}, PublicURL: tc.publicURL})
		if err != nil {
			t.Fatal(err)
		}
		r := signedRequest(t, "v1,rfc9421", keys)
		tc.arrives(r)
		if _, err := rc.Verify(r); !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, err, tc.want)
		} else if errors.Is(err, sign.ErrMismatch) && !strings.Contains(err.Error(), "public URL") {
			t.Errorf("%s: the error does not say how to mend it: %v", name, err)
		}
	}
}

func TestRFC9421CanBeDemanded(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	rc, err := receiver.New(receiver.Options{Secrets: []sign.Secret{keys.Shared}, RequireRFC9421: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rc.Verify(signedRequest(t, "v1", keys)); !errors.Is(err, sign.ErrHeader) || receiver.Status(err) != 400 || !strings.Contains(err.Error(), "rfc9421") {
		t.Errorf("v1 alone: error %v", err)
	}
	if _, err := rc.Verify(signedRequest(t, "rfc9421", keys)); err != nil {
		t.Error(err)
	}
}

func TestWhatIsSaidOutsideTheBodyCountsWithRFC9421Alone(t *testing.T) {
	t.Parallel()
	rc, secret := setup(t, receiver.Options{})
	for name, tc := range map[string]struct {
		body    string
		arrives func(*http.Request)
		want    error
	}{
		"no more than a body": {body, func(*http.Request) {}, nil},
		"no body":             {"", func(*http.Request) {}, receiver.ErrOutsideBody},
		"of CloudEvents":      {body, func(r *http.Request) { r.Header.Set("Ce-Type", "x") }, receiver.ErrOutsideBody},
		"in other spelling":   {body, func(r *http.Request) { r.Header["CE-TYPE"] = []string{"x"} }, receiver.ErrOutsideBody},
		"of ours":             {body, func(r *http.Request) { r.Header.Set("Ringback-Event", "x") }, receiver.ErrOutsideBody},
		"GET":                 {body, func(r *http.Request) { r.Method = http.MethodGet }, receiver.ErrOutsideBody},
		"DELETE":              {body, func(r *http.Request) { r.Method = http.MethodDelete }, receiver.ErrOutsideBody},
		"forged tag":          {"", func(r *http.Request) { r.Header.Set("Signature-Input", `sig1=();tag="x"`) }, receiver.ErrOutsideBody},
		"forged RFC 9421":     {"", func(r *http.Request) { r.Header.Set("Signature-Input", `sig1=();tag="ringback"`) }, sign.ErrHeader},
	} {
		r := request(t, secret, "cb_1", tc.body)
		tc.arrives(r)
		_, err := rc.Verify(r)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, err, tc.want)
		}
		if errors.Is(err, receiver.ErrOutsideBody) && (receiver.Status(err) != http.StatusForbidden || !strings.Contains(err.Error(), "let proxies pass Signature")) {
			t.Errorf("%s: %d %v", name, receiver.Status(err), err)
		}
	}
}

func TestPublicURLThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"my.server", "ftp://my.server", "https://", "https://my.server/?a", "https://my.server/#a", "https://u:p@my.server", "://"} {
		if _, err := receiver.New(receiver.Options{Secrets: []sign.Secret{sign.NewSecret()}, PublicURL: text}); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
