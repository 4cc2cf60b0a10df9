package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

func TestSignatureOfAnEndpointIsSetShownAndTakenAway(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	for i, tc := range []struct{ sent, shown string }{
		{`"v1a"`, `"v1a"`},
		{`"v1, rfc9421"`, `["v1","rfc9421"]`},
		{`["v1",{"legacy":"github"}]`, `["v1",{"legacy":"github"}]`},
		{`{"legacy":{"header":"X-Sig","signed":"{timestamp}.{body}"}}`, `{"legacy":{"header":"X-Sig","signed":"{timestamp}.{body}"}}`},
	} {
		name := string(rune('a' + i))
		g.call("POST", "/v1/endpoints", key, `{"name":"`+name+`","url":"https://a.example/","signature":`+tc.sent+`}`).want(t, 201, "")
		a := g.call("GET", "/v1/endpoints/"+name, key, "")
		if !strings.Contains(a.body, `"signature":`+tc.shown) {
			t.Errorf("%s: %s", tc.sent, a.body)
		}
		if a = g.call("PATCH", "/v1/endpoints/"+name, key, `{"disabled":true}`); !strings.Contains(a.body, `"signature":`+tc.shown) {
			t.Errorf("%s: after another change: %s", tc.sent, a.body)
		}
		for _, nothing := range []string{`""`, `[]`} {
			g.call("PATCH", "/v1/endpoints/"+name, key, `{"signature":`+tc.sent+`}`).want(t, 200, "")
			if a = g.call("PATCH", "/v1/endpoints/"+name, key, `{"signature":`+nothing+`}`); strings.Contains(a.body, `"signature"`) {
				t.Errorf("%s leaves %s", nothing, a.body)
			}
		}
	}
}

func TestSignatureThatCannotBeIsRefusedWithItsPlace(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.CheckHeader = func(name, _ string) error {
			if name == "X-Refused" {
				return errors.New("the name is reserved")
			}
			return nil
		}
	})
	key := g.app("a")
	for sent, pointer := range map[string]string{
		`"v2"`:                                   "#/signature",
		`7`:                                      "#/signature",
		`true`:                                   "#/signature",
		`["v1","github"]`:                        "#/signature/1",
		`["none","v1"]`:                          "#/signature/0",
		`{"legacy":"gitlab"}`:                    "#/signature/legacy",
		`{"legacy":{"header":"Host"}}`:           "#/signature/legacy/header",
		`{"legacy":{"header":"X-Refused"}}`:      "#/signature/legacy/header",
		`["v1",{"legacy":{"header":"X Y"}}]`:     "#/signature/1/legacy/header",
		`{"legacy":{"header":"X","hash":"md5"}}`: "#/signature/legacy/hash",
	} {
		a := g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"https://a.example/","signature":`+sent+`}`)
		a.want(t, 400, "bad_request")
		if !strings.Contains(a.body, `"pointer":"`+pointer+`"`) {
			t.Errorf("%s: %s, want %s", sent, a.body, pointer)
		}
	}
	g.endpoint("a", job.Endpoint{Name: "raw", Format: job.FormatRaw})
	for body, want := range map[string]int{`{"signature":"v1a"}`: 400, `{"signature":"rfc9421"}`: 200, `{"signature":["v1","v1a"]}`: 400} {
		if a := g.call("PATCH", "/v1/endpoints/raw", key, body); a.status != want {
			t.Errorf("raw, %s: %d %s, want %d", body, a.status, a.body, want)
		}
	}
}

func TestOperationWhoseSignatureCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for signature, format := range map[string]string{"v2": "", `{"legacy":"gitlab"}`: "", "v1a": job.FormatRaw, "v1,v1a": job.FormatMultipart} {
		op := job.Operation{Name: "scan", Route: "POST /scan", Callback: job.Contract{Signature: signature, Format: format}}
		if errs := CheckOperation(op, Options{CheckURL: func(string) error { return nil }}); len(errs) != 1 || errs[0].Field != "callback.signature" {
			t.Errorf("%s, %s: %v", signature, format, errs)
		}
	}
}

func TestSecretShowsThePublicKeyAndNeverThePrivateOne(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"https://a.example/"}`).want(t, 201, "")
	for path, keys := range map[string]string{"/v1/secret": "/v1/apps/a", "/v1/endpoints/e/secret": "/v1/apps/a/endpoints/e"} {
		a := g.call("GET", path, key, "")
		if public := field[string](t, a, "public_key"); !strings.HasPrefix(public, "whpk_") || strings.Contains(a.body, "whsk_") {
			t.Errorf("%s: %s", path, a.body)
		}
		if got := field[string](t, a, "jwks_url"); got != keys+"/jwks.json" {
			t.Errorf("%s: jwks_url %s", path, got)
		}
		if got := field[string](t, a, "public_keys_url"); got != keys+"/public-keys" {
			t.Errorf("%s: public_keys_url %s", path, got)
		}
	}
}

func TestPublicKeysAreForEverybody(t *testing.T) {
	t.Parallel()
	began, passed := time.Now().Truncate(time.Millisecond), atomic.Int64{}
	g := setup(t, func(o *Options) { o.Now = func() time.Time { return began.Add(time.Duration(passed.Load())) } })
	key := g.app("a")
	g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"https://a.example/"}`).want(t, 201, "")
	for path, secret := range map[string]string{"/v1/apps/a": "/v1/secret", "/v1/apps/a/endpoints/e": "/v1/endpoints/e/secret"} {
		first := field[string](t, g.call("GET", secret, key, ""), "public_key")
		wantKeys(t, g, path, first)
		g.call("POST", secret+"/rotate", key, "").want(t, 200, "")
		second := field[string](t, g.call("GET", secret, key, ""), "public_key")
		if first == second {
			t.Errorf("%s: the key is not replaced", path)
		}
		wantKeys(t, g, path, second, first)
		passed.Add(int64(previousSecretLasts - time.Minute))
		if a := g.call("GET", path+"/jwks.json", "", ""); a.header.Get("Cache-Control") != "public, max-age=60" {
			t.Errorf("%s: a minute before the old one's end: Cache-Control: %s", path, a.header.Get("Cache-Control"))
		}
		passed.Add(int64(time.Minute))
		wantKeys(t, g, path, second)
	}
	for _, path := range []string{"/v1/apps/nobody", "/v1/apps/a/endpoints/nothing", "/v1/apps/nobody/endpoints/e", "/v1/apps/%00"} {
		g.call("GET", path+"/jwks.json", "", "").want(t, 404, "not_found")
		g.call("GET", path+"/public-keys", "", "").want(t, 404, "not_found")
	}
	g.call("POST", "/v1/apps/a/jwks.json", "", "").want(t, 405, "method_not_allowed")
}

// wantKeys compares both documents below path.
func wantKeys(t *testing.T, g *gateway, path string, want ...string) {
	t.Helper()
	plain := g.call("GET", path+"/public-keys", "", "")
	if plain.status != 200 || plain.body != strings.Join(want, "\n")+"\n" || plain.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%s: %d %v %q, want %q", path, plain.status, plain.header, plain.body, want)
	}
	set := g.call("GET", path+"/jwks.json", "", "")
	keys, err := sign.ParseJWKS([]byte(set.body))
	if err != nil || len(keys) != len(want) {
		t.Fatalf("%s: %s, error %v, want %d keys", path, set.body, err, len(want))
	}
	for i, k := range keys {
		if k.Reveal() != want[i] {
			t.Errorf("%s: key %d is %s, want %s", path, i, k.Reveal(), want[i])
		}
	}
	h := set.header
	if h.Get("Content-Type") != "application/jwk-set+json" || h.Get("Cache-Control") != "public, max-age=300" || h.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
		t.Errorf("%s: %v", path, h)
	}
}

func TestSecretIsBroughtAlong(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	const theirs, standard = "It's a Secret to Everybody", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	a := g.call("POST", "/v1/endpoints", key, `{"name":"e","url":"https://a.example/","secret":"`+theirs+`","signature":{"legacy":"github"}}`)
	a.want(t, 201, "")
	if strings.Contains(a.body, theirs) {
		t.Errorf("the endpoint shows its secret: %s", a.body)
	}
	a = g.call("GET", "/v1/endpoints/e/secret", key, "")
	if field[string](t, a, "legacy_secret") != theirs || !strings.HasPrefix(field[string](t, a, "secret"), "whsec_") {
		t.Errorf("%s", a.body)
	}
	for _, path := range []string{"/v1/secret/rotate", "/v1/endpoints/e/secret/rotate"} {
		a = g.call("POST", path, key, `{"secret":"`+standard+`"}`)
		if a.status != 200 || field[string](t, a, "secret") != standard || strings.Contains(a.body, "legacy_secret") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		for _, wrong := range []string{"short", "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="} {
			a = g.call("POST", path, key, `{"secret":"`+wrong+`"}`)
			a.want(t, 400, "bad_request")
			if !strings.Contains(a.body, `"pointer":"#/secret"`) || strings.Contains(a.body, wrong) {
				t.Errorf("%s: %s", path, a.body)
			}
		}
	}
	g.call("POST", "/v1/endpoints", key, `{"name":"f","url":"https://a.example/","secret":"short"}`).want(t, 400, "bad_request")
}

func TestOpenAPINamesThePublicKeys(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	var doc struct {
		Paths map[string]map[string]struct {
			Security []map[string][]string `json:"security"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(g.call("GET", "/openapi.json", "", "").body), &doc); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/apps/{app}/jwks.json", "/v1/apps/{app}/public-keys", "/v1/apps/{app}/endpoints/{name}/jwks.json", "/v1/apps/{app}/endpoints/{name}/public-keys"} {
		op, ok := doc.Paths[path][strings.ToLower(http.MethodGet)]
		if !ok || len(op.Security) != 1 || len(op.Security[0]) != 0 {
			t.Errorf("%s: %+v", path, op)
		}
	}
}
