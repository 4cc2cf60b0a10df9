package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
)

const (
	exampleTarget = "/scan/eu%20w?callbackURL=https%3A%2F%2Fmy.server%2Fbar%3Fa%3D1&CallbackURL=z&t=x&t=y&e="
	exampleBody   = `{"id":"a b/c","n":7,"u":null,"a/b":"slash","m~n":"tilde","~1":"order","":"root","l":["p","q"],"o":{}}`
)

// exampleCall is the call that the table of expressions is about.
func exampleCall(t *testing.T, document string) *call {
	t.Helper()
	a := &API{opt: Options{PublicURL: "https://api.example", CheckURL: func(string) error { return nil }}}
	op, err := a.newOperation(job.Operation{Name: "scan", Route: "POST /scan/{region}"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, exampleTarget, nil)
	r.Header.Set("X-Callback-Url", "https://h.example")
	r.Header["Twice"] = []string{"a", "b"}
	r.Header.Set("Empty", "")
	r.Header.Set("Content-Type", "application/json")
	r.SetPathValue("region", "eu w")
	var ids job.IDs
	return &call{api: a, op: op, r: r, path: rawPath(r), asked: asked{chooseURL: {"https://my.server/bar?a=1", place{name: "callbackURL"}}},
		job: &job.Job{ID: ids.New(time.UnixMilli(1_790_000_000_000)), Request: job.Request{Body: body.Inline([]byte(document))}}}
}

// urlOf is what a template makes of a call, or the problem that the caller gets.
func urlOf(t *expression.Template, c *call) (string, bool, *Problem) {
	url, ok, err := t.URL(view{c})
	if err != nil {
		return "", false, expressionProblem(kindURLInvalid, "", err)
	}
	return url, ok, nil
}

func TestRuntimeExpressionsOfOpenAPI(t *testing.T) {
	t.Parallel()
	const none, refused = "no value", "400"
	c := exampleCall(t, exampleBody)
	id := c.job.ID.Job()
	for text, want := range map[string]string{
		"$method":                               "POST",
		"$statusCode":                           "202",
		"$url":                                  "https://api.example" + exampleTarget,
		"$response.header.location":             "https://api.example/v1/jobs/" + id,
		"$response.header.Content-Type":         "application/json",
		"$response.header.retry-after":          "1",
		"$response.header.nope":                 none,
		"$response.body#/id":                    id,
		"$response.body#/status":                "accepted",
		"$response.body#/links":                 refused,
		"$request.query.callbackURL":            "https://my.server/bar?a=1",
		"$request.query.CallbackURL":            "z",
		"$request.query.t":                      refused,
		"$request.query.e":                      refused,
		"$request.query.nope":                   none,
		"$request.query.callback":               none,
		"$request.header.x-callback-URL":        "https://h.example",
		"$request.header.twice":                 refused,
		"$request.header.empty":                 refused,
		"$request.header.nope":                  none,
		"$request.path.region":                  "eu w",
		"$request.body":                         refused,
		"$request.body#":                        refused,
		"$request.body#/l/1":                    "q",
		"$request.body#/l/01":                   none,
		"$request.body#/l/2":                    none,
		"$request.body#/l/-":                    none,
		"$request.body#/l/99999999999999999999": none,
		"$request.body#/u":                      none,
		"$request.body#/u/x":                    none,
		"$request.body#/a/b":                    none,
		"$request.body#/a%2Fb":                  none,
		"$request.body#/ID":                     none,
		"$request.body#/a~1b":                   "slash",
		"$request.body#/m~0n":                   "tilde",
		"$request.body#/~01":                    "order",
		"$request.body#/":                       "root",
		"$request.body#/n":                      "7",
		"$request.body#/n/x":                    none,
		"$request.body#/o":                      refused,
		"$request.body#/l":                      refused,
		"https://n.example/{$request.body#/id}?j={$response.body#/id}": "https://n.example/a%20b%2Fc?j=" + id,
		"{$request.query.callbackURL}&b={$request.body#/id}":           "https://my.server/bar?a=1&b=a%20b%2Fc",
		"https://n.example/{$request.body#/nope}":                      none,
		"https://n.example/{$request.query.t}":                         refused,
	} {
		texts := []string{text}
		if strings.HasPrefix(text, "$") {
			texts = append(texts, "{"+text+"}") // alone it stands with or without braces
		}
		for _, text := range texts {
			parsed, err := expression.Parse(text)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			got, ok, p := urlOf(parsed, c)
			switch {
			case p != nil && p.Status == http.StatusBadRequest:
				got = refused
			case p != nil:
				t.Errorf("%s: %v", text, p)
			case !ok:
				got = none
			}
			if got != want {
				t.Errorf("%s → %s, want %s", text, got, want)
			}
		}
	}
}

func TestMalformedExpressionIsAnErrorAtTheStart(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"$request.cookie.s", "$request.header.", "$request.header.a b", "$request.body#/~2", "$request.body#/a~", "$request.body#a", "$request.body.x",
		"$request", "$request.", "$response", "$response.query.a", "$response.path.a", "$urls", "$URL", "$", "{$", "{$url", "{}", "{url}", "a}b", "}",
		"{$request.query.a}{", "{{$url}}", "$request.header.Authorization", "$request.header.cookie", "$request.header.ringback-key", "$request.query.\x00", "\xff",
		"https://a.example/{job.id}", "$request.bodyx",
	} {
		a := &API{opt: Options{CheckURL: func(string) error { return nil }}}
		_, err := a.newOperation(job.Operation{Name: "scan", Route: "POST /scan", Callback: job.Contract{URL: []string{text}}})
		if err == nil || !strings.Contains(err.Error(), "callback.url") {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"$request.query.", "{$request.query.a b[]}", "$request.body#/}", "{$request.query.ä}"} {
		if _, err := expression.Parse(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestOnlyUnambiguousJSONIsLookedInto(t *testing.T) {
	t.Parallel()
	deep := func(n int) string {
		return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `,"callbackUrl":"u"}`
	}
	parsed, err := expression.Parse("{$request.body#/callbackUrl}")
	if err != nil {
		t.Fatal(err)
	}
	for document, want := range map[string]string{
		`{"callbackUrl":"u"}`:                                "u",
		"\t{ \"callbackUrl\" : \"u\" }\n":                    "u",
		`{"callbackUrl":"https:\/\/a\u002eexample"}`:         "https://a.example",
		`{"n":1e400,"callbackUrl":123456789012345678901}`:    "123456789012345678901",
		`{"callbackUrl":"\ud83d\ude00"}`:                     "😀",
		deep(1000):                                           "u",
		`[]`:                                                 "no value",
		``:                                                   "no value",
		`{"callbackUrl":"u"`:                                 "body_malformed",
		`{"callbackUrl":"u"}]`:                               "body_malformed",
		`{"callbackUrl":"u"}{"callbackUrl":"v"}`:             "body_malformed",
		`{"callbackUrl":"u","callbackUrl":"v"}`:              "body_malformed",
		`{"callbackUrl":"u","callback\u0055rl":"v"}`:         "body_malformed",
		`{"callbackUrl":"u","a":{"b":1,"b":2}}`:              "body_malformed",
		"{\"callbackUrl\":\"\xff\"}":                         "body_malformed",
		`{"callbackUrl":"\ud800"}`:                           "body_malformed",
		`{"callbackUrl":"u",}`:                               "body_malformed",
		`{'callbackUrl':'u'}`:                                "body_malformed",
		"\ufeff{}":                                           "body_malformed",
		`callbackUrl=u`:                                      "body_malformed",
		deep(100_000):                                        "body_malformed",
		strings.Repeat("[", 100_000):                         "body_malformed",
		strings.Repeat(`{"a":`, 100_000):                     "body_malformed",
		`"` + strings.Repeat("a", expression.MaxBytes) + `"`: "body_too_large",
	} {
		got, ok, p := urlOf(parsed, exampleCall(t, document))
		switch {
		case p != nil:
			got = p.Code
		case !ok:
			got = "no value"
		}
		if got != want {
			t.Errorf("%.50q: %q, want %q", document, got, want)
		}
	}
}

func TestBodyThatCannotBeReadAsJSONIsUnsupported(t *testing.T) {
	t.Parallel()
	parsed, err := expression.Parse("{$request.body#/id}")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, value, code string }{
		{"Content-Type", "text/plain", "unsupported_media_type"},
		{"Content-Type", "application/x-www-form-urlencoded", "body_malformed"}, // it is JSON
		{"Content-Type", "multipart/form-data", "unsupported_media_type"},
		{"Content-Type", "multipart/form-data; boundary=x", "body_malformed"},
		{"Content-Type", "application/json; charset=", "unsupported_media_type"},
		{"Content-Encoding", "gzip", "unsupported_media_type"},
		{"Content-Encoding", "gzip, gzip", "unsupported_media_type"},
		{"Content-Type", "application/vnd.a+json; charset=utf-8", ""},
		{"Content-Type", "text/json", ""},
		{"Content-Encoding", "identity", ""},
	} {
		c := exampleCall(t, exampleBody)
		c.r.Header.Set(test.name, test.value)
		_, ok, p := urlOf(parsed, c)
		if p == nil && (test.code != "" || !ok) || p != nil && p.Code != test.code {
			t.Errorf("%s: %s gives %v, want %q", test.name, test.value, p, test.code)
		}
	}
}
