package api

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ringback/ringback/job"
)

// targetsOf are the targets of an accepted call's job: where, by which rule, for which
// events.
func targetsOf(t *testing.T, g *gateway, a answer) (all []string) {
	t.Helper()
	a.want(t, http.StatusAccepted, "")
	for _, target := range g.stored(a).Targets {
		text := target.URL + target.Endpoint + " " + string(target.Source)
		for _, event := range target.Events {
			text += " " + string(event)
		}
		all = append(all, text)
	}
	return all
}

func TestEachDestinationOfACallIsOneOfItsOwn(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[0].Callback = job.Contract{
			URL:      []string{"{$request.query.callbackURL}"},
			Also:     [][]string{{"{$request.query.copy}", "{$request.header.X-Copy}"}, {"{$request.query.own}", "https://audit.example/cb"}},
			Success:  []string{"{$request.body#/subscriber/successUri}"},
			Failure:  []string{"{$request.body#/subscriber/failedUri}"},
			Progress: []string{"{$request.body#/subscriber/inProgressUri}"},
		}
	})
	key := g.app("shop")
	want := func(a answer, want ...string) {
		t.Helper()
		if got := targetsOf(t, g, a); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if several := strings.Contains(a.body, `"destinations":[`); several != (len(want) > 1) {
			t.Errorf("the answer: %s", a.body)
		}
	}
	const audit = "https://audit.example/cb operation"
	call := func(query, document string, headers ...string) answer {
		return g.call("POST", "/scan"+query, key, document, headers...)
	}
	want(call("", "{}"), audit)
	want(call("?callbackURL=https://a.example", "{}"), "https://a.example request", audit)
	want(call("?callbackURL=https://a.example&copy=https://b.example&own=https://c.example", "{}"),
		"https://a.example request", "https://b.example request", "https://c.example request")
	want(call("?copy=https://b.example", "", "X-Copy", "https://h.example"), "https://b.example request", audit)
	want(call("", "", "X-Copy", "https://h.example"), "https://h.example request", audit)
	want(call("?callbackURL=https://a.example&copy=https://a.example", "{}"), "https://a.example request", audit)
	// The subscriber object of OGC API - Processes, as it stands.
	document := `{"inputs":{},"subscriber":{"successUri":"https://s.example","failedUri":"https://f.example","inProgressUri":"https://p.example"}}`
	want(call("", document), audit, "https://s.example request succeeded", "https://f.example request failed canceled expired",
		"https://p.example request running progress")
	want(call("", `{"subscriber":{"successUri":"https://s.example"}}`), audit, "https://s.example request succeeded")
	// What the call wants to hear of narrows an outcome down.
	want(call("?callbackEvents=failed,succeeded", document), audit+" failed succeeded", "https://s.example request succeeded",
		"https://f.example request failed")
	// Defaults are for calls that bring no URL; names replace the first destination.
	g.endpoint("shop", job.Endpoint{Name: "all", Default: true})
	g.endpoint("shop", job.Endpoint{Name: "shop"})
	want(call("", "{}"), audit, "all default_endpoint")
	want(call("", `{"subscriber":{"successUri":"https://s.example"}}`), audit, "https://s.example request succeeded")
	want(call("?callback=shop,%20all,shop", "{}"), audit, "shop endpoint", "all endpoint")
	want(call("?callback=shop&callbackURL=https://a.example", "{}"), "https://a.example request", audit)
	for query, code := range map[string]string{
		"?callback=shop,nosuch":                        "callback_unknown_endpoint",
		"?callback=shop,":                              "callback_unknown_endpoint",
		"?callback=" + strings.Repeat("shop,", 20):     "invalid_parameter",
		"?callbackURL=https://a.example&copy=nonsense": "callback_url_invalid",
		"?copy=": "callback_url_invalid",
	} {
		call(query, "{}").want(t, http.StatusBadRequest, code)
	}
	call("", `{"subscriber":{"failedUri":""}}`).want(t, http.StatusBadRequest, "callback_url_invalid")
	call("", `{"subscriber":{"failedUri":{}}}`).want(t, http.StatusBadRequest, "callback_url_invalid")
}

func TestAnswerShowsEachDestination(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[0].Callback.Failure = []string{"{$request.query.failed}"}
		o.Operations[0].Callback.CallerMay = []string{"url", "method", "format"}
	})
	key := g.app("shop")
	g.endpoint("shop", job.Endpoint{Name: "named"})
	a := g.call("POST", "/scan?callback=named&failed=https://f.example&callbackMethod=PUT&callbackFormat=raw", key, "{}")
	const want = `"callback":{"url":"https://f.example","source":"request","events":["failed","canceled","expired"],"method":"PUT","format":"raw"},` +
		`"destinations":[{"url":"https://f.example","source":"request","events":["failed","canceled","expired"],"method":"PUT","format":"raw"},` +
		`{"url":"https://named.example/cb","source":"endpoint","endpoint":"named","method":"PUT","format":"raw"}]}`
	if !strings.HasSuffix(strings.TrimSpace(a.body), want) {
		t.Errorf("the answer: %s", a.body)
	}
	got := g.call("GET", "/v1/jobs/"+field[string](t, a, "id"), key, "")
	if all := field[[]any](t, got, "destinations"); len(all) != 2 || field[string](t, got, "callback.method") != "PUT" {
		t.Errorf("the job: %s", got.body)
	}
}

func TestFieldsOfAFormBringTheURL(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[0].Callback.URL = []string{"{$request.body#/callbackUrl}"}
		o.Operations[0].MaxBodyBytes = 10 << 20
	})
	key := g.app("shop")
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.WriteField("callbackUrl", "https://a.example/?x=1"); err != nil {
		t.Fatal(err)
	}
	// The document is stored on disk, and too large to be looked into.
	file, err := w.CreateFormFile("document", "a.pdf")
	if err == nil {
		_, err = file.Write(make([]byte, 3<<20))
	}
	if err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	for contentType, document := range map[string]string{
		"application/x-www-form-urlencoded": "a=1&callbackUrl=https%3A%2F%2Fa.example%2F%3Fx%3D1",
		w.FormDataContentType():             b.String(),
		"application/json":                  `{"callbackUrl":"https://a.example/?x=1"}`,
	} {
		a := g.call("POST", "/scan", key, document, "Content-Type", contentType)
		if got := targetsOf(t, g, a); !slices.Equal(got, []string{"https://a.example/?x=1 request"}) {
			t.Errorf("%s: %q", contentType, got)
		}
		if stored := g.stored(a).Request.Body; stored.Size != int64(len(document)) {
			t.Errorf("%s: %d octets are stored of %d", contentType, stored.Size, len(document))
		}
	}
	n := g.jobs()
	g.call("POST", "/scan", key, "callbackUrl=https://a.example&callbackUrl=https://b.example", "Content-Type", "application/x-www-form-urlencoded").
		want(t, http.StatusBadRequest, "parameter_repeated")
	g.call("POST", "/scan", key, "callbackUrl=%zz", "Content-Type", "application/x-www-form-urlencoded").want(t, http.StatusBadRequest, "body_malformed")
	if g.jobs() != n {
		t.Error("a refused call left a job behind")
	}
}

func TestHeadersAndQueryAreMadeOfTheCall(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[0].Callback = job.Contract{
			URL:     []string{"{$request.query.callbackURL}"},
			Headers: map[string]string{"x-order": "order {$request.body#/order}", "X-Fixed": "7", "X-Kind": "{$request.header.X-Kind}"},
			Query:   map[string]string{"o&x": "{$request.body#/order}", "k": "{$request.header.X-Kind}"},
		}
	})
	key := g.app("shop")
	g.endpoint("shop", job.Endpoint{Name: "named"})
	for _, test := range []struct{ query, document, url, header string }{
		{"?callbackURL=https://a.example/%3Fa=%252F%26b", `{"order":"7 &"}`, "https://a.example/?a=%2F&b&o%26x=7%20%26", "map[X-Fixed:[7] X-Order:[order 7 &]]"},
		{"?callbackURL=https://a.example", `{"order":""}`, "https://a.example?o%26x=", "map[X-Fixed:[7] X-Order:[order ]]"},
		{"?callbackURL=https://a.example?", `{"order":"\u00e9"}`, "https://a.example?o%26x=%C3%A9", "map[X-Fixed:[7] X-Order:[order é]]"},
		{"?callbackURL=https://a.example/", ``, "https://a.example/", "map[X-Fixed:[7]]"},
		{"?callback=named", `{"order":"7"}`, "", "map[X-Fixed:[7] X-Order:[order 7]]"},
	} {
		target := g.stored(g.call("POST", "/scan"+test.query, key, test.document)).Targets[0]
		if target.URL != test.url || fmt.Sprint(target.Header) != test.header {
			t.Errorf("%s %s: %s %v", test.query, test.document, target.URL, target.Header)
		}
	}
	for document, code := range map[string]string{
		`{"order":"1\r\nX-Injected: 1"}`:                  "invalid_parameter",
		`{"order":[]}`:                                    "invalid_parameter",
		`{"order":"` + strings.Repeat("x", 10<<10) + `"}`: "invalid_parameter",
		`{"order":`: "body_malformed",
	} {
		a := g.call("POST", "/scan?callback=named", key, document)
		a.want(t, http.StatusBadRequest, code)
		if code == "invalid_parameter" && !strings.Contains(a.body, "callback.") && !strings.Contains(a.body, "headers") {
			t.Errorf("the problem names no place: %s", a.body)
		}
	}
	// Nobody looks into the body for a call without callbacks.
	g.call("POST", "/scan", key, `{"order":`).want(t, http.StatusAccepted, "")
}

func TestWhatTheCallerMayChooseIsCheckedAgainstItself(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[0].Callback.CallerMay = []string{"url", "method", "format", "state", "events"}
		o.Operations[1].Callback.CallerMay = []string{"url", "method", "format"}
		o.Operations[1].Callback.Method, o.Operations[1].Callback.Format = "GET", "query"
	})
	key := g.app("shop")
	g.endpoint("shop", job.Endpoint{Name: "getter", Method: "GET"})
	const to = "?callbackURL=https://a.example&"
	for _, test := range []struct{ path, header, value, code string }{
		{"/scan" + to + "callbackMethod=PUT&callbackFormat=raw", "", "", ""},
		{"/scan" + to + "callbackMethod=DELETE", "", "", ""},
		{"/scan" + to + "callbackMethod=GET&callbackFormat=query", "", "", ""},
		{"/scan" + to, "X-Callback-Method", "PATCH", ""},
		{"/scan" + to, "X-Callback-Format", "thin", ""},
		{"/scan" + to + "callbackMethod=GET&callbackFormat=raw", "", "", "invalid_parameter"},
		{"/scan" + to + "callbackMethod=put", "", "", "invalid_parameter"},
		{"/scan" + to + "callbackMethod=", "", "", "invalid_parameter"},
		{"/scan" + to + "callbackMethod=CONNECT", "", "", "invalid_parameter"},
		{"/scan" + to + "callbackMethod=PUT", "X-Callback-Method", "PUT", "parameter_repeated"},
		{"/scan" + to + "callbackFormat=nosuch", "", "", "invalid_parameter"},
		{"/scan" + to + "callbackFormat=template", "", "", "invalid_parameter"},
		{"/scan?callback=getter&callbackFormat=raw", "", "", "invalid_parameter"},
		{"/scan?callback=getter&callbackFormat=raw&callbackMethod=POST", "", "", ""},
		{"/reports/x" + to + "callbackFormat=raw", "", "", "invalid_parameter"},
		{"/reports/x" + to + "callbackFormat=raw&callbackMethod=POST", "", "", ""},
		{"/reports/x" + to + "callbackState=s", "", "", "callback_choice_not_allowed"},
	} {
		var headers []string
		if test.header != "" {
			headers = []string{test.header, test.value}
		}
		a := g.call("POST", test.path, key, "{}", headers...)
		if test.code == "" {
			a.want(t, http.StatusAccepted, "")
			continue
		}
		a.want(t, http.StatusBadRequest, test.code)
		if !strings.Contains(a.body, `"errors":[{`) {
			t.Errorf("%s: no place: %s", test.path, a.body)
		}
	}
}

func TestPoliciesOfOperationAndAppMustBothAgree(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.Operations[0].Callback.Policy = job.Policy{Prefixes: []string{"https://a.example/"}}
		o.Operations[0].Callback.Also = [][]string{{"https://operator.example/"}}
		o.Operations[1].Callback.Policy = job.Policy{Registered: true}
	})
	key := g.app("shop")
	g.endpoint("shop", job.Endpoint{Name: "named"})
	policy := func(body string, status int) {
		t.Helper()
		g.call("PATCH", "/v1/apps/shop", adminKey, body).want(t, status, map[int]string{200: "", 400: "bad_request"}[status])
	}
	try := func(path string, detail string) {
		t.Helper()
		a := g.call("POST", path, key, "{}")
		if detail == "" {
			a.want(t, http.StatusAccepted, "")
			return
		}
		a.want(t, http.StatusBadRequest, "callback_url_forbidden")
		if !strings.Contains(a.body, detail) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	try("/scan?callbackURL=https://a.example/x", "")
	try("/scan?callbackURL=https://b.example/x", "the policy of the operation")
	try("/reports/x?callbackURL=https://a.example/x", "(rule: registered)")
	try("/reports/x?callback=named", "")
	policy(`{"policy":{"prefixes":["https://b.example/"]}}`, 200)
	try("/scan?callbackURL=https://a.example/x", "the policy of the app")
	try("/scan?callbackURL=https://b.example/x", "the policy of the operation")
	g.call("POST", "/v1/endpoints", key, `{"name":"new","url":"https://a.example/x"}`).want(t, 400, "callback_url_forbidden")
	g.call("POST", "/v1/endpoints", key, `{"name":"new","url":"https://b.example/x"}`).want(t, 201, "")
	g.call("PATCH", "/v1/endpoints/new", key, `{"url":"https://a.example/x"}`).want(t, 400, "callback_url_forbidden")
	policy(`{"policy":{"registered":true}}`, 200)
	try("/scan?callbackURL=https://a.example/x", "the policy of the app")
	try("/scan?callback=named", "")
	g.call("PATCH", "/v1/endpoints/new", key, `{"url":"https://a.example/x"}`).want(t, 200, "")
	policy(`{"policy":{"prefixes":[""]}}`, 400)
	policy(`{}`, 200)
	if list := g.call("GET", "/v1/apps", adminKey, ""); !strings.Contains(list.body, `"policy":{"registered":true}`) {
		t.Errorf("the app is shown as %s", list.body)
	}
	policy(`{"policy":{}}`, 200)
	try("/scan?callbackURL=https://a.example/x", "")
	g.call("PATCH", "/v1/apps/nobody", adminKey, `{"policy":{}}`).want(t, 404, "not_found")
	g.call("PATCH", "/v1/apps/%ff", adminKey, `{"policy":{}}`).want(t, 404, "not_found")
	g.call("PATCH", "/v1/apps/shop", key, `{"policy":{}}`).want(t, 403, "forbidden")
}

func TestEndpointWithVariablesIsCheckedWhereItIsRegisteredAndCalled(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		check := o.EndpointURL
		o.EndpointURL = func(url string, j *job.Job) (string, error) {
			if j != nil && j.Request.Params["kind"] == "" {
				return "", forbiddenURL{}
			}
			return check(url, j)
		}
	})
	key := g.app("shop")
	g.call("POST", "/v1/endpoints", key, `{"name":"a","url":"https://a.example/{nope}"}`).want(t, 400, "callback_url_invalid")
	g.call("POST", "/v1/endpoints", key, `{"name":"a","url":"https://a.example/{params.nope}"}`).want(t, 400, "callback_url_invalid")
	g.call("POST", "/v1/endpoints", key, `{"name":"a","url":"https://a.example/{params.kind}"}`).want(t, 201, "")
	g.call("POST", "/reports/yearly?callback=a", key, "{}").want(t, 202, "")
	a := g.call("POST", "/scan?callback=a", key, "{}")
	a.want(t, 400, "callback_url_forbidden")
	if !strings.Contains(a.body, "the URL of the endpoint a") {
		t.Errorf("the problem: %s", a.body)
	}
}

func TestContradictionsInAContractFailAtTheStart(t *testing.T) {
	t.Parallel()
	for want, contract := range map[string]job.Contract{
		"callback.also[1][0]":     {Also: [][]string{{"https://a.example"}, {"{$nope}"}}},
		"callback.success[0]":     {Success: []string{"{$request.path.nope}"}},
		"callback.failure[1]":     {Failure: []string{"https://a.example", "https://b.example"}},
		"callback.also:":          {Also: slices.Repeat([][]string{{"https://a.example"}}, 8)},
		"callback.headers.Host":   {Headers: map[string]string{"Host": "x"}},
		"callback.headers.cookie": {Headers: map[string]string{"cookie": "x"}},
		"callback.headers.X-A":    {Headers: map[string]string{"X-A": "{$request.header.Authorization}"}},
		"callback.headers.x-b":    {Headers: map[string]string{"X-B": "1", "x-b": "2"}},
		"callback.headers.X-C":    {Headers: map[string]string{"X-C": "a\r\nb"}},
		"callback.query.":         {Query: map[string]string{"": "x"}},
		"callback.policy":         {Policy: job.Policy{Prefixes: []string{""}}},
	} {
		g := &gateway{t: t}
		opt := g.options()
		opt.Operations = []job.Operation{{Name: "scan", Route: "POST /scan", Callback: contract}}
		if _, err := New(opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
