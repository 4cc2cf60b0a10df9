package sign_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ringback/ringback/sign"
)

func TestParseSchemesReadsEverySpelling(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                       "",
		" v1 ":                                   `"v1"`,
		`"v1a"`:                                  `"v1a"`,
		"none":                                   `"none"`,
		"v1, v1a ,rfc9421":                       `["v1","v1a","rfc9421"]`,
		`["rfc9421"]`:                            `"rfc9421"`,
		`["v1", {"legacy": "github"}]`:           `["v1",{"legacy":"github"}]`,
		`{"legacy":{"header":"X-Sig"}}`:          `{"legacy":{"header":"X-Sig"}}`,
		`{"legacy":{"header":"X","prefix":"<"}}`: `{"legacy":{"header":"X","prefix":"<"}}`,
	} {
		got := schemes(t, text)
		if got.String() != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		if again := schemes(t, got.String()); again.String() != want {
			t.Errorf("%q: read again: %s", text, again)
		}
	}
}

func TestParseSchemesRefuses(t *testing.T) {
	t.Parallel()
	for text, place := range map[string]string{
		"v2":                                "",
		"github":                            "",
		"V1":                                "",
		",":                                 "/0",
		"v1,v1":                             "/1",
		"none,v1":                           "/0",
		"[]":                                "",
		"[":                                 "",
		`"`:                                 "",
		`{"legacy":"github"`:                "",
		`["v1","v2"]`:                       "/1",
		`["v1",7]`:                          "/1",
		`["v1",null]`:                       "/1",
		`["v1",["v1a"]]`:                    "/1",
		`{}`:                                "",
		`{"legacy":"github","x":1}`:         "",
		`{"rfc9421":{}}`:                    "",
		`{"legacy":"gitlab"}`:               "/legacy",
		`{"legacy":7}`:                      "/legacy",
		`{"legacy":null}`:                   "/legacy",
		`{"legacy":{}}`:                     "/legacy/header",
		`[{"legacy":{"heading":"X"}}]`:      "/0/legacy",
		`{"legacy":{"header":"X Y"}}`:       "/legacy/header",
		`{"legacy":{"header":"X\n"}}`:       "/legacy/header",
		`{"legacy":{"header":"Signature"}}`: "/legacy/header",
		`{"legacy":{"header":"Webhook-Signature"}}`:                             "/legacy/header",
		`{"legacy":{"header":"content-type"}}`:                                  "/legacy/header",
		`{"legacy":{"header":"X","hash":"md5"}}`:                                "/legacy/hash",
		`{"legacy":{"header":"X","encoding":"base32"}}`:                         "/legacy/encoding",
		`{"legacy":{"header":"X","timestamp_format":"http"}}`:                   "/legacy/timestamp_format",
		`{"legacy":{"header":"X","timestamp_header":"x"}}`:                      "/legacy/timestamp_header",
		`{"legacy":{"header":"X","separator":"ab"}}`:                            "/legacy/separator",
		`{"legacy":{"header":"X","signed":"{timestamp}"}}`:                      "/legacy/signed",
		`{"legacy":{"header":"X","signed":"{body}{body}"}}`:                     "/legacy/signed",
		`{"legacy":{"header":"X","signed":"{body}{url}"}}`:                      "/legacy/signed",
		`{"legacy":{"header":"X","prefix":"t={timestamp}"}}`:                    "/legacy/prefix",
		`{"legacy":{"header":"X","prefix":"{timestamp},{timestamp},"}}`:         "/legacy/prefix",
		`{"legacy":{"header":"X","prefix":"` + strings.Repeat("a", 300) + `"}}`: "/legacy/prefix",
		`[{"legacy":"github"},{"legacy":{"header":"x-hub-signature-256"}}]`:     "/1",
		"[" + strings.Repeat(`{"legacy":"github"},`, 8) + `"v1"]`:               "",
	} {
		got, err := sign.ParseSchemes(text)
		var at *sign.SchemesError
		if !errors.As(err, &at) || at.Pointer != place || at.Message == "" {
			t.Errorf("%s: %v, error %v at %+v, want one at %q", text, got, err, at, place)
		}
	}
}

func TestWithRFC9421(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": `["v1","rfc9421"]`, "v1a": `["v1a","rfc9421"]`, "none": `"none"`, "rfc9421": `"rfc9421"`,
	} {
		if got := schemes(t, text).WithRFC9421().String(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestHeadersNamesWhatSignSets(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	for _, text := range []string{"", "v1a", "none", "rfc9421", `["v1",{"legacy":"slack"},{"legacy":"github"}]`} {
		r := callback()
		before := len(r.Header)
		s := schemes(t, text)
		if err := s.Sign(r, keys); err != nil {
			t.Fatal(err)
		}
		for _, name := range s.Headers() {
			if r.Header[name] == nil {
				t.Errorf("%q: %s is not set", text, name)
			}
		}
		if got := len(r.Header) - before - 2; got != len(s.Headers()) {
			t.Errorf("%q: %d headers are set, %v are named", text, got, s.Headers())
		}
	}
}

func TestSignRefusesKeysThatCannotSign(t *testing.T) {
	t.Parallel()
	half := sign.Keys{Shared: parse(t, publicK), Private: parse(t, publicK)}
	for _, text := range []string{"v1", "v1a", "rfc9421", `{"legacy":"github"}`} {
		for name, keys := range map[string][]sign.Keys{"none": {}, "zero": {{}}, "public": {half}} {
			if name == "public" && strings.Contains(text, "legacy") {
				continue // the key is a text
			}
			if err := schemes(t, text).Sign(callback(), keys...); !errors.Is(err, sign.ErrSecret) {
				t.Errorf("%s, %s: error %v, want %v", text, name, err, sign.ErrSecret)
			}
		}
	}
	r := callback()
	r.Body, r.Open = nil, (&streamed{}).open
	for _, keys := range []sign.Keys{{}, half} {
		if err := schemes(t, "v1").Sign(r, keys); !errors.Is(err, sign.ErrSecret) {
			t.Errorf("streamed: error %v, want %v", err, sign.ErrSecret)
		}
	}
}

func FuzzParseSchemes(f *testing.F) {
	for _, text := range []string{"v1", "v1,v1a", `["v1",{"legacy":"github"}]`, `{"legacy":{"header":"X","signed":"{id}{body}"}}`, "[", `{"legacy":`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := sign.ParseSchemes(text)
		if err != nil {
			if at := (*sign.SchemesError)(nil); !errors.As(err, &at) {
				t.Fatalf("error %T", err)
			}
			return
		}
		again, err := sign.ParseSchemes(s.String())
		if err != nil || fmt.Sprint(again) != fmt.Sprint(s) && again.String() != s.String() {
			t.Errorf("%q is written %q, and read as %v, error %v", text, s, again, err)
		}
		r := callback()
		if err := s.Sign(r, sign.NewKeys()); err != nil {
			t.Errorf("%q cannot sign: %v", text, err)
		}
	})
}
