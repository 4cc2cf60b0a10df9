package sign_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/sign"
)

// stripeBody is the event that Stripe's own libraries test with.
const stripeBody = `{
  "id": "evt_123",
  "object": "event",
  "account": "acct_123",
  "api_version": "2017-05-25",
  "created": 1533204620,
  "data": {
    "object": {
      "id": "ii_123",
      "object": "invoiceitem",
      "amount": 1000,
      "currency": "usd",
      "customer": "cus_123",
      "date": 1533204620,
      "description": "Test Invoice Item",
      "discountable": false,
      "invoice": "in_123",
      "livemode": false,
      "metadata": {},
      "period": {
        "start": 1533204620,
        "end": 1533204620
      },
      "plan": null,
      "proration": false,
      "quantity": null,
      "subscription": null
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": "req_123",
    "idempotency_key": "idempotency-key-123"
  },
  "type": "invoiceitem.created"
}
`

const slackBody = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar" +
	"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands" +
	"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"

// legacyVector is what a sender publishes: its documentation (GitHub, Slack), its
// libraries' tests (Stripe), a verifier's tests (Shopify, which publishes none).
type legacyVector struct {
	preset, secret, body string
	seconds              int64
	header               http.Header
}

func legacyVectors() []legacyVector {
	return []legacyVector{
		{"github", "It's a Secret to Everybody", "Hello, World!", 0,
			http.Header{"X-Hub-Signature-256": {"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}}},
		{"stripe", "webhook_secret", stripeBody, 1533204620,
			http.Header{"Stripe-Signature": {"t=1533204620,v1=f0bdba6d4eacbd8ad8a3bbadd7248e633ec1477f7899c124c51b39405fa36613"}}},
		{"slack", "8f742231b10e8888abcd99yyyzzz85a5", slackBody, 1531420618, http.Header{
			"X-Slack-Signature":         {"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"},
			"X-Slack-Request-Timestamp": {"1531420618"}}},
		{"shopify", "test-webhook-secret", `{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}`, 0,
			http.Header{"X-Shopify-Hmac-Sha256": {"QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw="}}},
	}
}

func textSecret(t testing.TB, text string) sign.Secret {
	t.Helper()
	s, err := sign.TextSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLegacyVectorsAreReproducedAndAccepted(t *testing.T) {
	t.Parallel()
	for _, v := range legacyVectors() {
		at := time.Unix(v.seconds, 0)
		keys, err := sign.NewKeys().WithOwn(v.secret)
		if err != nil {
			t.Fatal(err)
		}
		r := sign.Request{Message: sign.Message{ID: "cb_1", Timestamp: at, Body: []byte(v.body)}, Header: http.Header{}}
		signedBy(t, r, `{"legacy":"`+v.preset+`"}`, keys)
		for name, want := range v.header {
			if got := r.Header[name]; len(got) != 1 || got[0] != want[0] {
				t.Errorf("%s: %s: %q, want %q", v.preset, name, got, want)
			}
		}
		if got := len(r.Header) - len(v.header); got != 2 || r.Header.Get("Webhook-Id") != "cb_1" {
			t.Errorf("%s: headers %v", v.preset, r.Header)
		}
		legacy, _ := sign.Preset(v.preset)
		if _, err := legacy.Verify(v.header, []byte(v.body), at, textSecret(t, "another secret"), textSecret(t, v.secret)); err != nil {
			t.Errorf("%s: %v", v.preset, err)
		}
		for name, secret := range map[string]string{"body": v.secret, "secret": v.secret + "!"} {
			body := v.body
			if name == "body" {
				body += "x"
			}
			if _, err := legacy.Verify(v.header, []byte(body), at, textSecret(t, secret)); !errors.Is(err, sign.ErrMismatch) {
				t.Errorf("%s: other %s: error %v, want %v", v.preset, name, err, sign.ErrMismatch)
			}
		}
		_, err = legacy.Verify(v.header, []byte(v.body), at.Add(301*time.Second), textSecret(t, v.secret))
		if want := v.preset == "stripe" || v.preset == "slack"; errors.Is(err, sign.ErrTimestamp) != want {
			t.Errorf("%s: five minutes later: error %v", v.preset, err)
		}
		for name := range v.header {
			header := v.header.Clone()
			header.Del(name)
			if _, err := legacy.Verify(header, []byte(v.body), at, textSecret(t, v.secret)); !errors.Is(err, sign.ErrHeader) {
				t.Errorf("%s: no %s: error %v, want %v", v.preset, name, err, sign.ErrHeader)
			}
		}
	}
}

func TestWhatStripeSendsBesideV1IsSkipped(t *testing.T) {
	t.Parallel()
	stripe, _ := sign.Preset("stripe")
	// As published, with the v0 of its test mode.
	header := http.Header{"Stripe-Signature": {"t=1533204620,v1=f0bdba6d4eacbd8ad8a3bbadd7248e633ec1477f7899c124c51b39405fa36613,v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef"}}
	if _, err := stripe.Verify(header, []byte(stripeBody), time.Unix(1533204620, 0), textSecret(t, "webhook_secret")); err != nil {
		t.Error(err)
	}
}

func TestLegacyWithoutASecretOfItsOwnSignsWithTheTextOfTheSharedOne(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	github, _ := sign.Preset("github")
	r := signedBy(t, callback(), `{"legacy":"github"}`, keys)
	if _, err := github.Verify(r.Header, r.Body, created, textSecret(t, keys.Shared.Reveal())); err != nil {
		t.Error(err)
	}
}

func TestLegacyOfOneSignatureIsSignedByTheFirstKey(t *testing.T) {
	t.Parallel()
	first, second := sign.NewKeys(), sign.NewKeys()
	one, both := signedBy(t, callback(), `{"legacy":"github"}`, first), signedBy(t, callback(), `{"legacy":"github"}`, first, second)
	if got, want := both.Header.Get("X-Hub-Signature-256"), one.Header.Get("X-Hub-Signature-256"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestFreeLegacyScheme(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	for name, tc := range map[string]struct{ config, header, prefix string }{
		"all parts":     {`{"header":"X-Sig","prefix":"v2 ","separator":" ","signed":"{id}|{timestamp}|{body}|end","encoding":"base64","hash":"sha512","timestamp_header":"X-Time","timestamp_format":"unix_ms"}`, "X-Time", "1618884473000"},
		"rfc3339":       {`{"header":"X-Sig","signed":"{body}{timestamp}","hash":"sha1","timestamp_header":"X-Time","timestamp_format":"rfc3339"}`, "X-Time", "2021-04-20T02:07:53Z"},
		"our timestamp": {`{"header":"X-Sig","signed":"{timestamp}.{body}"}`, "Webhook-Timestamp", "1618884473"},
		"only a header": {`{"header":"x-sig"}`, "X-Sig", ""},
	} {
		s := schemes(t, `{"legacy":`+tc.config+`}`)
		r := callback()
		if err := s.Sign(r, keys); err != nil {
			t.Fatal(err)
		}
		if got := r.Header.Get(tc.header); !strings.HasPrefix(got, tc.prefix) || got == "" {
			t.Errorf("%s: %s is %q, want %q", name, tc.header, got, tc.prefix)
		}
		if _, err := s[0].Legacy.Verify(r.Header, r.Body, created, keys.Shared); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s[0].Legacy.Verify(r.Header, append(r.Body, ' '), created, keys.Shared); !errors.Is(err, sign.ErrMismatch) {
			t.Errorf("%s: other body: error %v", name, err)
		}
	}
}

func TestVerifyLegacyRefuses(t *testing.T) {
	t.Parallel()
	v := legacyVectors()[1]
	at, secret := time.Unix(v.seconds, 0), textSecret(t, v.secret)
	stripe, _ := sign.Preset("stripe")
	for name, tc := range map[string]struct {
		value []string
		want  error
	}{
		"no prefix":         {[]string{"f0bdba6d4eacbd8ad8a3bbadd7248e63"}, sign.ErrHeader},
		"no signature":      {[]string{"t=1533204620"}, sign.ErrHeader},
		"empty signature":   {[]string{"t=1533204620,v1="}, sign.ErrMismatch},
		"no number":         {[]string{"t=hello,v1=ab"}, sign.ErrHeader},
		"negative":          {[]string{"t=-1,v1=ab"}, sign.ErrHeader},
		"repeated":          {[]string{"t=1,v1=a", "t=1,v1=a"}, sign.ErrHeader},
		"many":              {[]string{"t=1533204620" + strings.Repeat(",v1=ab", 20)}, sign.ErrHeader},
		"of the future":     {[]string{"t=1533204921,v1=ab"}, sign.ErrTimestamp},
		"in capitals":       {[]string{strings.ToUpper("t=1533204620,v1=f0bdba")}, sign.ErrHeader},
		"another timestamp": {[]string{strings.Replace(v.header["Stripe-Signature"][0], "4620", "4621", 1)}, sign.ErrMismatch},
	} {
		if _, err := stripe.Verify(http.Header{"Stripe-Signature": tc.value}, []byte(v.body), at, secret); !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, err, tc.want)
		}
	}
	if _, err := stripe.Verify(v.header, nil, at); !errors.Is(err, sign.ErrSecret) {
		t.Errorf("no secret: error %v", err)
	}
	if _, err := stripe.Verify(v.header, nil, at, sign.Secret{}); !errors.Is(err, sign.ErrSecret) {
		t.Errorf("zero secret: error %v", err)
	}
	var none sign.Legacy
	if _, err := none.Verify(v.header, nil, at, secret); err == nil {
		t.Error("the zero Legacy verifies")
	}
}

func FuzzVerifyLegacy(f *testing.F) {
	for _, v := range legacyVectors() {
		for _, values := range v.header {
			f.Add(v.preset, values[0])
		}
	}
	f.Add("stripe", "t=,v1=,v1=,")
	f.Fuzz(func(t *testing.T, preset, value string) {
		legacy, ok := sign.Preset(preset)
		if !ok {
			return
		}
		header := http.Header{http.CanonicalHeaderKey(legacy.Header): {value}, "X-Slack-Request-Timestamp": {strconv.FormatInt(created.Unix(), 10)}}
		if _, err := legacy.Verify(header, []byte("body"), created, textSecret(t, "nobody's secret")); err == nil {
			t.Errorf("%s accepts %q", preset, value)
		}
	})
}
