package sign_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/sign"
)

// The keys and the request of RFC 9421 appendix B.
const (
	rfcShared  = "whsec_uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
	rfcSeed    = "n4Ni+HpISpVObnQMW0wOhCKROaIKqKtW/2ZYb2p9KcU="
	rfcPublicX = "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"
)

func rfcPrivate(t testing.TB) sign.Secret {
	t.Helper()
	seed, err := base64.StdEncoding.DecodeString(rfcSeed)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, "whsk_"+base64.StdEncoding.EncodeToString(ed25519.NewKeyFromSeed(seed)))
}

func rfcRequest() sign.Request {
	return sign.Request{
		Message: sign.Message{Body: []byte(`{"hello": "world"}`)}, Method: "POST", URL: "https://example.com/foo?param=Value&Pet=dog",
		Header: http.Header{
			"Date":           {"Tue, 20 Apr 2021 02:07:55 GMT"},
			"Content-Type":   {"application/json"},
			"Content-Length": {"18"},
		},
	}
}

func TestVectorsOfRFC9421(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		key       sign.Secret
		covered   []string
		params    string
		base      string
		signature string
	}{
		"B.2.5": {
			parse(t, rfcShared), []string{"date", "@authority", "content-type"},
			`("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"`,
			"\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@authority\": example.com\n\"content-type\": application/json\n",
			"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
		},
		"B.2.6": {
			rfcPrivate(t), []string{"date", "@method", "@path", "@authority", "content-type", "content-length"},
			`("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`,
			"\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\"@authority\": example.com\n\"content-type\": application/json\n\"content-length\": 18\n",
			"wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
		},
	} {
		base, err := sign.SignatureBase(rfcRequest(), tc.covered, tc.params)
		if want := tc.base + `"@signature-params": ` + tc.params; err != nil || base != want {
			t.Errorf("%s: base\n%s\nerror %v, want\n%s", name, base, err, want)
		}
		if got := base64.StdEncoding.EncodeToString(sign.SignBase(tc.key, base)); got != tc.signature {
			t.Errorf("%s: signature %s, want %s", name, got, tc.signature)
		}
		raw, err := base64.StdEncoding.DecodeString(tc.signature)
		if err != nil || !sign.VerifyBase(tc.key, base, raw) || sign.VerifyBase(tc.key, base+" ", raw) {
			t.Errorf("%s: its signature is not accepted, or that of another base is", name)
		}
	}
}

func TestDerivedComponents(t *testing.T) {
	t.Parallel()
	r := rfcRequest()
	r.URL, r.Method = "http://EXAMPLE.com:80?a=b", "PUT"
	r.Header["X-Twice"] = []string{" one ", "two"}
	base, err := sign.SignatureBase(r, []string{"@scheme", "@authority", "@path", "@query", "@request-target", "@target-uri", "x-twice"}, "()")
	want := "\"@scheme\": http\n\"@authority\": example.com\n\"@path\": /\n\"@query\": ?a=b\n\"@request-target\": /?a=b\n" +
		"\"@target-uri\": http://EXAMPLE.com:80?a=b\n\"x-twice\": one, two\n\"@signature-params\": ()"
	if err != nil || base != want {
		t.Errorf("base\n%s\nerror %v, want\n%s", base, err, want)
	}
	for _, covered := range [][]string{{"@method", "@method"}, {"x-missing"}, {"@query-param"}, {"@status"}} {
		if _, err := sign.SignatureBase(r, covered, "()"); !errors.Is(err, sign.ErrHeader) {
			t.Errorf("%v: error %v, want %v", covered, err, sign.ErrHeader)
		}
	}
}

func TestVectorsOfContentDigest(t *testing.T) {
	t.Parallel()
	body := []byte(`{"hello": "world"}`)
	const (
		sha256 = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
		sha512 = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
	)
	for name, tc := range map[string]struct {
		values []string
		body   []byte
		want   error
	}{
		"sha-256":                {[]string{sha256}, body, nil},
		"sha-512":                {[]string{sha512}, body, nil},
		"both":                   {[]string{sha512 + ", " + sha256}, body, nil},
		"two fields":             {[]string{sha512, sha256}, body, nil},
		"with an unknown one":    {[]string{"md5=:AAAA:, " + sha256}, body, nil},
		"other body":             {[]string{sha256}, []byte(`{"hello": "world!"}`), sign.ErrMismatch},
		"one of both is wrong":   {[]string{sha512 + ", " + strings.Replace(sha256, "X48", "X49", 1)}, body, sign.ErrMismatch},
		"unknown ones alone":     {[]string{"md5=:AAAA:, sha=:AAAA:"}, body, sign.ErrHeader},
		"missing":                {nil, body, sign.ErrHeader},
		"twice":                  {[]string{sha256 + "," + sha256}, body, sign.ErrHeader},
		"no bytes":               {[]string{`sha-256="X48E"`}, body, sign.ErrHeader},
		"comma at the end":       {[]string{sha256 + ","}, body, sign.ErrHeader},
		"not base64":             {[]string{"sha-256=:????:"}, body, sign.ErrHeader},
		"line break in the text": {[]string{"sha-256=:X48E\n9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"}, body, sign.ErrHeader},
	} {
		if err := sign.CheckDigest(http.Header{"Content-Digest": tc.values}, tc.body); !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, err, tc.want)
		}
	}
}

var created = time.Unix(1618884473, 0)

// callback is a request that all schemes can sign.
func callback() sign.Request {
	return sign.Request{
		Message: sign.Message{ID: "cb_1", Timestamp: created, Body: []byte(`{"hello": "world"}`)},
		Method:  "POST", URL: "https://my.server/bar?a=1&b=%20",
		Header: http.Header{"Content-Type": {"application/json"}, "X-Tenant": {"7"}},
	}
}

func schemes(t testing.TB, text string) sign.Schemes {
	t.Helper()
	s, err := sign.ParseSchemes(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signedBy(t testing.TB, r sign.Request, text string, keys ...sign.Keys) sign.Request {
	t.Helper()
	if err := schemes(t, text).Sign(r, keys...); err != nil {
		t.Fatal(err)
	}
	return r
}

func public(t testing.TB, s sign.Secret) sign.Secret {
	t.Helper()
	p, err := s.Public()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRFC9421IsSignedAsTheProfileSays(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	r := signedBy(t, callback(), "rfc9421", keys)
	input := r.Header.Get("Signature-Input")
	const covered = `("@method" "@target-uri" "content-type" "content-digest" "webhook-id");created=1618884473;keyid="`
	first, second, ok := strings.Cut(input, ", sig2=")
	if !ok || !strings.HasPrefix(first, "sig1="+covered+keys.Shared.KeyID()+`";alg="hmac-sha256";nonce="`) || !strings.HasSuffix(first, `;tag="ringback"`) ||
		!strings.HasPrefix(second, covered+keys.Private.KeyID()+`";alg="ed25519";nonce="`) {
		t.Errorf("Signature-Input: %s", input)
	}
	if got := r.Header.Get("Content-Digest"); got != "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:" {
		t.Errorf("Content-Digest: %s", got)
	}
	if r.Header.Get("Webhook-Signature") != "" || r.Header.Get("Webhook-Id") != "cb_1" || r.Header.Get("Webhook-Timestamp") != "1618884473" {
		t.Errorf("headers %v", r.Header)
	}
	for name, secret := range map[string]sign.Secret{"shared": keys.Shared, "public": public(t, keys.Private)} {
		m, err := sign.VerifyRFC9421(r, created, secret)
		if err != nil || m.ID != "cb_1" || !m.Timestamp.Equal(created) || !bytes.Equal(m.Body, r.Body) {
			t.Errorf("%s: %+v, error %v", name, m, err)
		}
	}
}

func TestRFC9421CoversWhatAFormatSaysInHeaders(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	unsigned := callback()
	unsigned.Header["Ringback-State"], unsigned.Header["Ce-Type"], unsigned.Header["Ce-Id"] = []string{"x"}, []string{"a.b"}, []string{"1"}
	r := signedBy(t, unsigned, "rfc9421", keys)
	if !strings.Contains(r.Header.Get("Signature-Input"), `"webhook-id" "ce-id" "ce-type" "ringback-state")`) {
		t.Errorf("Signature-Input: %s", r.Header.Get("Signature-Input"))
	}
	if _, err := sign.VerifyRFC9421(r, created, keys.Shared); err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Ringback-State", "y")
	if _, err := sign.VerifyRFC9421(r, created, keys.Shared); !errors.Is(err, sign.ErrMismatch) {
		t.Errorf("another state: error %v, want %v", err, sign.ErrMismatch)
	}
}

func TestRFC9421WithoutABody(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	r := sign.Request{Message: sign.Message{ID: "cb_1", Timestamp: created}, Method: "GET", URL: "https://my.server/bar?verdict=clean", Header: http.Header{}}
	signedBy(t, r, "rfc9421", keys)
	if got := r.Header.Get("Content-Digest"); got != "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:" {
		t.Errorf("digest of nothing: %s", got)
	}
	if _, err := sign.VerifyRFC9421(r, created, keys.Shared); err != nil {
		t.Fatal(err)
	}
	r.URL = strings.Replace(r.URL, "clean", "infected", 1)
	if _, err := sign.VerifyRFC9421(r, created, keys.Shared); !errors.Is(err, sign.ErrMismatch) {
		t.Errorf("another query: error %v, want %v", err, sign.ErrMismatch)
	}
}

func TestVerifyRFC9421Refuses(t *testing.T) {
	t.Parallel()
	keys, other := sign.NewKeys(), sign.NewKeys()
	set := func(name, value string) func(*sign.Request) {
		return func(r *sign.Request) { r.Header.Set(name, value) }
	}
	replace := func(name, old, new string) func(*sign.Request) {
		return func(r *sign.Request) { r.Header.Set(name, strings.ReplaceAll(r.Header.Get(name), old, new)) }
	}
	del := func(name string) func(*sign.Request) { return func(r *sign.Request) { r.Header.Del(name) } }
	for name, tc := range map[string]struct {
		change  func(*sign.Request)
		secret  sign.Secret
		later   time.Duration
		want    error
		mending string
	}{
		"other method":        {change: func(r *sign.Request) { r.Method = "PUT" }, want: sign.ErrMismatch, mending: "public URL"},
		"other URL":           {change: func(r *sign.Request) { r.URL = "http://127.0.0.1/bar" }, want: sign.ErrMismatch, mending: "public URL"},
		"other body":          {change: func(r *sign.Request) { r.Body = []byte("x") }, want: sign.ErrMismatch, mending: "Content-Digest is of another body"},
		"other body, digest":  {change: func(r *sign.Request) { r.Body = nil; set("Content-Digest", emptyDigest)(r) }, want: sign.ErrMismatch},
		"other type":          {change: set("Content-Type", "text/html"), want: sign.ErrMismatch},
		"other id":            {change: set("Webhook-Id", "cb_2"), want: sign.ErrMismatch},
		"id missing":          {change: del("Webhook-Id"), want: sign.ErrHeader},
		"id with a dot":       {change: set("Webhook-Id", "cb.1"), want: sign.ErrHeader},
		"type dropped":        {change: del("Content-Type"), want: sign.ErrHeader, mending: "a proxy has dropped it"},
		"digest dropped":      {change: del("Content-Digest"), want: sign.ErrHeader},
		"input dropped":       {change: del("Signature-Input"), want: sign.ErrHeader},
		"signature dropped":   {change: del("Signature"), want: sign.ErrHeader},
		"label renamed":       {change: replace("Signature", "sig1", "sig9"), want: sign.ErrHeader},
		"label twice":         {change: replace("Signature", "sig2", "sig1"), want: sign.ErrHeader},
		"header added":        {change: set("Ringback-State", "x"), want: sign.ErrHeader, mending: "does not cover ringback-state"},
		"event added":         {change: set("Ce-Type", "x"), want: sign.ErrHeader, mending: "does not cover ce-type"},
		"url not covered":     {change: replace("Signature-Input", ` "@target-uri"`, ""), want: sign.ErrHeader, mending: "@target-uri"},
		"other nonce":         {change: replace("Signature-Input", `nonce="`, `nonce="x`), want: sign.ErrMismatch},
		"other time":          {change: replace("Signature-Input", "created=1618884473", "created=1618884474"), want: sign.ErrMismatch},
		"no time":             {change: replace("Signature-Input", ";created=1618884473", ""), want: sign.ErrHeader},
		"no key":              {change: replace("Signature-Input", ";keyid=", ";x="), want: sign.ErrHeader},
		"other algorithm":     {change: replace("Signature-Input", "hmac-sha256", "hmac-sha512"), want: sign.ErrHeader, mending: "alg"},
		"algorithms swapped":  {change: replace("Signature-Input", "hmac-sha256", "ed25519"), want: sign.ErrHeader, mending: "alg"},
		"expired":             {change: replace("Signature-Input", ";tag=", ";expires=1618884473;tag="), later: time.Second, want: sign.ErrTimestamp},
		"other tag":           {change: replace("Signature-Input", `tag="ringback"`, `tag="x"`), want: sign.ErrHeader, mending: "no callback"},
		"tag is a token":      {change: replace("Signature-Input", `tag="ringback"`, `tag=ringback`), want: sign.ErrHeader},
		"old":                 {later: 301 * time.Second, want: sign.ErrTimestamp, mending: "in the past"},
		"of the future":       {later: -301 * time.Second, want: sign.ErrTimestamp, mending: "in the future"},
		"other shared secret": {secret: other.Shared, want: sign.ErrMismatch, mending: "none is by a key of this receiver"},
		"other public key":    {secret: public(t, other.Private), want: sign.ErrMismatch},
		"zero secret":         {secret: sign.Secret{}, want: sign.ErrSecret},
		"not base64":          {change: set("Signature", "sig1=:!:, sig2=:!:"), want: sign.ErrHeader},
		"empty signatures":    {change: set("Signature", "sig1=::, sig2=::"), want: sign.ErrMismatch},
		"twenty labels":       {change: set("Signature-Input", strings.Repeat("a=(),", 20)+"b=()"), want: sign.ErrHeader},
		"large":               {change: set("Signature-Input", "a=("+strings.Repeat(" ", 17<<10)+")"), want: sign.ErrHeader},
		"a list of lists":     {change: set("Signature-Input", "a=(("), want: sign.ErrHeader},
	} {
		r := signedBy(t, callback(), "rfc9421", keys)
		if tc.change != nil {
			tc.change(&r)
		}
		secret := tc.secret
		if secret.IsZero() && !errors.Is(tc.want, sign.ErrSecret) {
			secret = keys.Shared
		}
		_, err := sign.VerifyRFC9421(r, created.Add(tc.later), secret)
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.mending) {
			t.Errorf("%s: error %v, want %v with %q", name, err, tc.want, tc.mending)
		}
	}
	if _, err := sign.VerifyRFC9421(callback(), created); !errors.Is(err, sign.ErrSecret) {
		t.Errorf("no secret: error %v", err)
	}
}

const emptyDigest = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"

func TestOtherPeoplesSignaturesBesideOursAreSkipped(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	r := signedBy(t, callback(), "rfc9421", keys)
	r.Header["Signature-Input"] = []string{`proxy=("@method");created=1;keyid="p";alg="rsa-v1_5-sha256"`, r.Header.Get("Signature-Input")}
	r.Header["Signature"] = []string{r.Header.Get("Signature"), "proxy=:AAAA:"}
	if _, err := sign.VerifyRFC9421(r, created, keys.Shared); err != nil {
		t.Error(err)
	}
}

func TestRotationSignsWithBothKeysInEveryScheme(t *testing.T) {
	t.Parallel()
	fresh, old := sign.NewKeys(), sign.NewKeys()
	r := signedBy(t, callback(), `["v1","v1a","rfc9421",{"legacy":"stripe"}]`, fresh, old)
	for name, k := range map[string]sign.Keys{"fresh": fresh, "old": old} {
		for _, secret := range []sign.Secret{k.Shared, public(t, k.Private)} {
			if _, err := sign.Verify(r.Header, r.Body, created, secret); err != nil {
				t.Errorf("%s: webhook-signature: %v", name, err)
			}
			if _, err := sign.VerifyRFC9421(r, created, secret); err != nil {
				t.Errorf("%s: RFC 9421: %v", name, err)
			}
		}
		stripe, _ := sign.Preset("stripe")
		if _, err := stripe.Verify(r.Header, r.Body, created, k.Shared); err != nil {
			t.Errorf("%s: legacy: %v", name, err)
		}
	}
	for _, label := range []string{"sig1=", "sig2=", "sig3=", "sig4="} {
		if !strings.Contains(r.Header.Get("Signature-Input"), label) || !strings.Contains(r.Header.Get("Signature"), label) {
			t.Errorf("there is no %s", label)
		}
	}
}

// streamed is a body that counts how often it is opened and closed.
type streamed struct {
	body           []byte
	opened, closed int
	err            error
}

func (s *streamed) open() (io.ReadCloser, error) {
	if s.err != nil {
		return nil, s.err
	}
	s.opened++
	return s, nil
}

// Read gives the body piece by piece, again from its beginning after each Close.
func (s *streamed) Read(p []byte) (int, error) { return 0, io.EOF }
func (s *streamed) Close() error               { s.closed++; return nil }

// WriteTo is what io.Copy uses.
func (s *streamed) WriteTo(w io.Writer) (int64, error) {
	for i := 0; i < len(s.body); i += 7 {
		if _, err := w.Write(s.body[i:min(i+7, len(s.body))]); err != nil {
			return 0, err
		}
	}
	return int64(len(s.body)), nil
}

func TestAStreamedBodyIsSignedAsOneInMemory(t *testing.T) {
	t.Parallel()
	keys, old := sign.NewKeys(), sign.NewKeys()
	const all = `["v1","rfc9421",{"legacy":"stripe"},{"legacy":"slack"},{"legacy":"github"},{"legacy":"shopify"}]`
	inMemory := signedBy(t, callback(), all, keys, old)
	r := callback()
	s := &streamed{body: r.Body}
	r.Body, r.Open = nil, s.open
	signedBy(t, r, all, keys, old)
	if s.opened != 6 || s.closed != 6 {
		t.Errorf("opened %d times, closed %d times, want 6: once for each scheme", s.opened, s.closed)
	}
	for name, want := range inMemory.Header {
		if name == "Signature" || name == "Signature-Input" { // a nonce is in them
			continue
		}
		if got := r.Header[name]; strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	r.Body = s.body
	if _, err := sign.VerifyRFC9421(r, created, keys.Shared); err != nil {
		t.Error(err)
	}
}

func TestAStreamedBodyThatCannotBeSigned(t *testing.T) {
	t.Parallel()
	keys, broken := sign.NewKeys(), errors.New("disk")
	for text, want := range map[string]error{"v1a": sign.ErrStreamed, "v1,v1a": sign.ErrStreamed, "v1": broken, "rfc9421": broken, `{"legacy":"github"}`: broken} {
		r := callback()
		r.Body, r.Open = nil, (&streamed{err: broken}).open
		if err := schemes(t, text).Sign(r, keys); !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", text, err, want)
		}
	}
}

func FuzzVerifyRFC9421(f *testing.F) {
	keys := sign.NewKeys()
	r := callback()
	if err := schemes(f, "rfc9421").Sign(r, keys); err != nil {
		f.Fatal(err)
	}
	good := [3]string{r.Header.Get("Signature-Input"), r.Header.Get("Signature"), r.Header.Get("Content-Digest")}
	f.Add(good[0], good[1], good[2])
	f.Add(`a=("x" "\"\\");b;c=?0;d=-5;e=:AA==:;f=t`, `a=:AA==:;x="`, `sha-512=::`)
	f.Add("=(", "a=(", "a=:")
	f.Fuzz(func(t *testing.T, input, signature, digest string) {
		forged := r
		forged.Header = http.Header{"Webhook-Id": {"cb_1"}, "Content-Type": {"application/json"},
			"Signature-Input": {input}, "Signature": {signature}, "Content-Digest": {digest}}
		if _, err := sign.VerifyRFC9421(forged, created, keys.Shared); err == nil && [3]string{input, signature, digest} != good {
			// Parts of the good one, in other spellings, are as good.
			if !strings.Contains(input, `alg="hmac-sha256"`) {
				t.Errorf("accepted %q %q %q", input, signature, digest)
			}
		}
	})
}
