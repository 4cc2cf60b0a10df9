package ringback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// source is a way in which a call says where its callbacks go.
type source struct {
	name     string
	contract job.Contract
	route    string // behind the operation's name; empty: none
	// ask is the call, with to as the callback URL. Its path is completed.
	ask func(t *testing.T, to string) client.Call
	// want is the request target that the receiver sees, made of the path of to.
	want func(path string) string
}

func formBody(t *testing.T, to string) (contentType string, body io.Reader) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	err := w.WriteField("callbackUrl", to)
	if err == nil {
		var file io.Writer
		if file, err = w.CreateFormFile("document", "a.bin"); err == nil {
			_, err = file.Write(make([]byte, 2<<20)) // stored on disk, and larger than what is looked into
		}
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), &b
}

func sources() []source {
	const jsonType = "application/json"
	query := func(name string) func(*testing.T, string) client.Call {
		return func(_ *testing.T, to string) client.Call {
			return client.Call{Path: "?keep=%2f&" + name + "=" + url.QueryEscape(to)}
		}
	}
	document := func(format string) func(*testing.T, string) client.Call {
		return func(_ *testing.T, to string) client.Call {
			return client.Call{ContentType: jsonType, Body: strings.NewReader(fmt.Sprintf(format, to))}
		}
	}
	from := func(expressions ...string) job.Contract { return job.Contract{URL: expressions} }
	return []source{
		{name: "default", ask: query("callbackURL")},
		{name: "header", ask: func(_ *testing.T, to string) client.Call {
			return client.Call{Header: http.Header{"X-Callback-Url": {to}}}
		}},
		{name: "other_header", contract: from("{$request.header.X-Answer-To}"), ask: func(_ *testing.T, to string) client.Call {
			return client.Call{Header: http.Header{"X-Answer-To": {to}}}
		}},
		{name: "query", contract: from("$request.query.answer-to"), ask: query("answer-to")},
		{name: "path", contract: from("{$request.path.to}"), route: "/{to}", ask: func(_ *testing.T, to string) client.Call {
			return client.Call{Path: "/" + url.PathEscape(to)}
		}},
		{name: "body", contract: from("{$request.body#/a/1/to}"), ask: document(`{"a":[0,{"to":%q}]}`)},
		{name: "second", contract: from("{$request.query.to}", "{$request.header.To}", "{$request.body#/to}"), ask: document(`{"to":%q}`)},
		{name: "form", contract: from("{$request.body#/callbackUrl}"), ask: func(_ *testing.T, to string) client.Call {
			return client.Call{ContentType: "application/x-www-form-urlencoded", Body: strings.NewReader("callbackUrl=" + url.QueryEscape(to))}
		}},
		{name: "multipart", contract: from("{$request.body#/callbackUrl}"), ask: func(t *testing.T, to string) client.Call {
			t.Helper()
			contentType, body := formBody(t, to)
			return client.Call{ContentType: contentType, Body: body}
		}},
		{name: "embedded", contract: from("{$request.query.to}/x?id={$request.body#/id}&s={$statusCode}"),
			ask: func(_ *testing.T, to string) client.Call {
				return client.Call{Path: "?to=" + url.QueryEscape(to), ContentType: jsonType, Body: strings.NewReader(`{"id":"a b/ü"}`)}
			}, want: func(path string) string { return path + "/x?id=a%20b%2F%C3%BC&s=202" }},
		{name: "with_query", contract: job.Contract{Query: map[string]string{"order": "{$request.body#/order}", "v": "1"}},
			ask: func(_ *testing.T, to string) client.Call {
				return client.Call{Path: "?callbackURL=" + url.QueryEscape(to+"?a=%2F;b&c"), ContentType: jsonType, Body: strings.NewReader(`{"order":7}`)}
			}, want: func(path string) string { return path + "?a=%2F;b&c&order=7&v=1" }},
	}
}

// outcome is how the jobs of a test end.
type outcome struct {
	event  job.Event
	change func(*job.Operation)
	run    ringback.Func
}

func outcomes() []outcome {
	none := func(*job.Operation) {}
	return []outcome{
		{job.EventSucceeded, none, func(_ context.Context, _ *ringback.Call, result *ringback.Result) error {
			_, err := io.WriteString(result, "done")
			return err
		}},
		{job.EventFailed, func(op *job.Operation) { op.Retry.Attempts = 1 }, func(context.Context, *ringback.Call, *ringback.Result) error {
			return errors.New("no such luck")
		}},
		{job.EventExpired, func(op *job.Operation) { op.Deadline = time.Millisecond }, func(ctx context.Context, _ *ringback.Call, _ *ringback.Result) error {
			<-ctx.Done()
			return ctx.Err()
		}},
		{job.EventCanceled, none, func(ctx context.Context, _ *ringback.Call, _ *ringback.Result) error {
			<-ctx.Done()
			return ctx.Err()
		}},
	}
}

// hits is a receiver that notes what it is asked, as "METHOD target".
func hits(t *testing.T) (base string, got <-chan string) {
	t.Helper()
	noted := make(chan string, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Webhook-Id") == "" || r.Header.Get("Webhook-Signature") == "" {
			t.Errorf("%s %s is not signed", r.Method, r.URL.Path)
		}
		noted <- r.Method + " " + r.RequestURI
	}))
	t.Cleanup(server.Close)
	return server.URL, noted
}

func TestEverySourceOfAURLWorksWithEveryMethodFormatAndOutcome(t *testing.T) {
	t.Parallel()
	for _, end := range outcomes() {
		t.Run(string(end.event), func(t *testing.T) {
			t.Parallel()
			var operations []ringback.Operation
			for _, s := range sources() {
				op := operation(s.name, "POST /"+s.name+s.route, end.run, end.change)
				op.Callback = s.contract
				op.Callback.CallerMay = []string{"url", "method", "state", "events", "format"}
				op.Callback.Template = `{event}`
				operations = append(operations, op)
			}
			g := setup(t, operations...)
			base, got := hits(t)
			for _, s := range sources() {
				for _, method := range job.Methods {
					for _, format := range job.Formats {
						if job.CheckFormat(method, format) == nil {
							g.trySource(t, s, job.Contract{Method: method, Format: format, Events: []job.Event{end.event}}, base, got)
						}
					}
				}
			}
			if len(got) > 0 {
				t.Errorf("another callback came: %s", <-got)
			}
		})
	}
}

// trySource makes a call, sees its job to the end, and its callback arrive: of the only
// event, by the method and in the format of as.
func (g *gateway) trySource(t *testing.T, s source, as job.Contract, base string, got <-chan string) {
	t.Helper()
	event, method, format := as.Events[0], as.Method, as.Format
	path := "/to/" + s.name + "/" + strings.ToLower(method) + "/" + format
	call := s.ask(t, base+path)
	call.Path = "/" + s.name + call.Path
	call.CallbackMethod, call.CallbackFormat, call.State = method, format, "opaque & unchanged"
	accepted := g.call(t, call)
	if event == job.EventCanceled {
		if err := g.app.Cancel(t.Context(), accepted.ID); err != nil {
			t.Fatal(err)
		}
	}
	if accepted.Callback.Source != string(job.SourceRequest) || !strings.HasPrefix(accepted.Callback.URL, base+path) {
		t.Errorf("%s: %+v", s.name, accepted.Callback)
	}
	want := path
	if s.want != nil {
		want = s.want(path)
	}
	var hit string
	select {
	case hit = <-got:
	case <-time.After(time.Minute):
		t.Fatalf("%s %s %s: no callback came", s.name, method, format)
	}
	// What the format query says stands behind the query.
	if hit != method+" "+want && (format != job.FormatQuery || !strings.HasPrefix(hit, method+" "+want)) {
		t.Errorf("%s: %q, want %q", s.name, hit, method+" "+want)
	}
	if last := g.settled(t, accepted.ID); last.Event != string(event) || last.Status != "delivered" || last.Method != method || last.Format != format {
		t.Errorf("%s %s %s: %+v", s.name, method, format, last)
	}
	if status := g.done(t, accepted.ID).Status; status != string(event) {
		t.Errorf("%s: the job is %s", s.name, status)
	}
}

func TestEachOutcomeGoesToItsOwnDestinations(t *testing.T) {
	t.Parallel()
	for _, end := range outcomes() {
		t.Run(string(end.event), func(t *testing.T) {
			t.Parallel()
			op := operation("process", "POST /process", end.run, end.change)
			op.Callback = job.Contract{
				URL:     []string{"{$request.query.callbackURL}"},
				Also:    [][]string{{"{$request.query.copy}"}},
				Success: []string{"{$request.body#/subscriber/successUri}"},
				Failure: []string{"{$request.body#/subscriber/failedUri}"},
				Headers: map[string]string{"X-Order": "order {$request.body#/order}"},
			}
			g := setup(t, op)
			base, got := hits(t)
			accepted := g.call(t, client.Call{Path: "/process?callbackURL=" + base + "/all&copy=" + base + "/copy", ContentType: "application/json",
				Body: strings.NewReader(fmt.Sprintf(`{"order":7,"subscriber":{"successUri":"%[1]s/good","failedUri":"%[1]s/bad"}}`, base))})
			if n := len(accepted.Destinations); n != 4 {
				t.Fatalf("%d destinations", n)
			}
			if end.event == job.EventCanceled {
				if err := g.app.Cancel(t.Context(), accepted.ID); err != nil {
					t.Fatal(err)
				}
			}
			own := "/bad"
			if end.event == job.EventSucceeded {
				own = "/good"
			}
			var all []string
			for range 3 {
				select {
				case hit := <-got:
					all = append(all, hit)
				case <-time.After(time.Minute):
					t.Fatalf("only %q came", all)
				}
			}
			slices.Sort(all)
			want := []string{"POST /all", "POST " + own, "POST /copy"}
			slices.Sort(want)
			if !slices.Equal(all, want) {
				t.Errorf("%q, want %q", all, want)
			}
			g.settled(t, accepted.ID)
			callbacks := g.done(t, accepted.ID).Callbacks
			ids := map[string]bool{}
			for _, cb := range callbacks {
				ids[cb.ID] = true
			}
			if len(callbacks) != 3 || len(ids) != 3 || len(got) != 0 {
				t.Errorf("%d callbacks, %d ids, %d more hits", len(callbacks), len(ids), len(got))
			}
		})
	}
}

func TestASubscriberHearsOfTheWorkInProgress(t *testing.T) {
	t.Parallel()
	backend, open, started := gated("{}")
	op := operation("process", "POST /process", backend)
	op.Callback.Progress = []string{"{$request.body#/subscriber/inProgressUri}"}
	op.Callback.Success = []string{"{$request.body#/subscriber/successUri}"}
	g := setup(t, op)
	base, got := hits(t)
	accepted := g.call(t, client.Call{Path: "/process", ContentType: "application/json",
		Body: strings.NewReader(fmt.Sprintf(`{"subscriber":{"inProgressUri":"%[1]s/on","successUri":"%[1]s/good"}}`, base))})
	<-started
	if hit := <-got; hit != "POST /on" {
		t.Error(hit)
	}
	open()
	if hit := <-got; hit != "POST /good" {
		t.Error(hit)
	}
	var events []string
	for _, cb := range g.done(t, accepted.ID).Callbacks {
		events = append(events, cb.Event)
	}
	slices.Sort(events)
	if !slices.Equal(events, []string{"running", "succeeded"}) {
		t.Errorf("callbacks for %q", events)
	}
}

func TestOneDeadDestinationHoldsNoOtherUp(t *testing.T) {
	t.Parallel()
	op := operation("notify", "POST /notify", ringback.Relay(), quick)
	op.Callback.Also = [][]string{{"{$request.query.copy}"}}
	g := setup(t, op)
	base, got := hits(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	accepted := g.call(t, client.Call{Path: "/notify?callbackURL=" + gone.URL + "/a&copy=" + base + "/b", Body: strings.NewReader("x")})
	if hit := <-got; hit != "POST /b" {
		t.Error(hit)
	}
	status := map[string]string{}
	eventually(t, "both are settled", func() bool {
		for _, cb := range g.done(t, accepted.ID).Callbacks {
			status[cb.URL] = cb.Status
		}
		return status[gone.URL+"/a"] == "dead" && status[base+"/b"] == "delivered"
	})
}

func TestHeadersOfTheOperationComeBehindTheEndpoints(t *testing.T) {
	t.Parallel()
	op := operation("notify", "POST /notify", ringback.Relay())
	op.Callback.Headers = map[string]string{"X-Order": "{$request.body#/order}", "X-Both": "operation", "X-Fixed": "7"}
	g := setup(t, op)
	receiverURL, messages := listen(t, func() sign.Secret { return secretOf(t, g.app, "shop") }, nil)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "shop", URL: receiverURL + "/{job.operation}/{event}?j={job.id}&c={callback.id}&a={app}",
		Headers: map[string]string{"X-Both": "endpoint"}}); err != nil {
		t.Fatal(err)
	}
	accepted := g.call(t, client.Call{Path: "/notify?callback=shop", ContentType: "application/json", Body: strings.NewReader(`{"order":"A 7"}`)})
	m := next(t, messages)
	if got := fmt.Sprint(m.header["X-Order"], m.header["X-Both"], m.header["X-Fixed"]); got != "[A 7] [endpoint] [7]" {
		t.Errorf("the headers: %s", got)
	}
	if want := "j=" + accepted.ID + "&c=" + m.header.Get("Webhook-Id") + "&a=shop"; m.path != "/notify/succeeded" || m.query != want {
		t.Errorf("%s?%s, want %s", m.path, m.query, want)
	}
	if last := g.settled(t, accepted.ID); last.Endpoint != "shop" || last.URL != "" {
		t.Errorf("the callback: %+v", last)
	}
}

func TestParametersOfTheRouteStayInTheirSegment(t *testing.T) {
	t.Parallel()
	op := operation("report", "POST /reports/{kind}", ringback.Relay())
	g := setup(t, op)
	base, got := hits(t)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "shop", URL: base + "/in/{params.kind}/x?k={params.kind}"}); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]string{
		"yearly":         "POST /in/yearly/x?k=yearly",
		"a%20b%2F..%2Fc": "POST /in/a%20b%2F..%2Fc/x?k=a%20b%2F..%2Fc",
		"%3Fx&y=1%23z":   "POST /in/%3Fx%26y%3D1%23z/x?k=%3Fx%26y%3D1%23z",
		"%2e%2e%2e":      "POST /in/.../x?k=...",
	} {
		g.call(t, client.Call{Path: "/reports/" + kind + "?callback=shop", Body: strings.NewReader("x")})
		if hit := <-got; hit != want {
			t.Errorf("%s: %q, want %q", kind, hit, want)
		}
	}
	for _, kind := range []string{"%2e%2e", "%2e"} {
		_, err := g.app.Call(t.Context(), client.Call{Path: "/reports/" + kind + "?callback=shop", Body: strings.NewReader("x")})
		var p *client.Problem
		if !errors.As(err, &p) || p.Status != http.StatusBadRequest {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestAPolicyThatIsTightenedEndsWhatItForbids(t *testing.T) {
	t.Parallel()
	backend, open, started := gated("done")
	op := operation("slow", "POST /slow", backend, quick)
	g := setup(t, op)
	base, got := hits(t)
	for _, e := range []client.EndpointCreate{{Name: "in", URL: base + "/in/x"}, {Name: "out", URL: base + "/out"}, {Name: "vars", URL: base + "/in/{event}"}} {
		if _, err := g.app.CreateEndpoint(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	accepted := g.call(t, client.Call{Path: "/slow?callback=in,out,vars", Body: strings.NewReader("x")})
	sent := g.call(t, client.Call{Path: "/slow?callbackURL=" + base + "/out/y", Body: strings.NewReader("x")})
	<-started
	policy := client.Policy{Prefixes: []string{base + "/in/"}}
	if _, err := g.admin.UpdateApp(t.Context(), "shop", client.AppPatch{Policy: &policy}); err != nil {
		t.Fatal(err)
	}
	open()
	status := func(id string) string {
		var all []string
		for _, cb := range g.done(t, id).Callbacks {
			all = append(all, cb.Endpoint+" "+cb.Status+" "+cb.LastError)
		}
		slices.Sort(all)
		return strings.Join(all, "; ")
	}
	eventually(t, "the endpoints' callbacks are settled", func() bool { return status(accepted.ID) == "in delivered ; out dead policy; vars delivered " })
	eventually(t, "the URL's callback is settled", func() bool { return status(sent.ID) == " dead policy" })
	for range 2 {
		if hit := <-got; !strings.HasPrefix(hit, "POST /in/") {
			t.Errorf("a forbidden callback: %s", hit)
		}
	}
	if len(got) != 0 {
		t.Errorf("a forbidden callback: %s", <-got)
	}
	_, err := g.app.Call(t.Context(), client.Call{Path: "/slow?callbackURL=" + base + "/in/../out", Body: strings.NewReader("x")})
	var p *client.Problem
	if !errors.As(err, &p) || p.Code != "callback_url_forbidden" || !strings.Contains(p.Detail, "rule: prefixes") {
		t.Errorf("%v", err)
	}
}

// What a policy looks at is what would be called: braces in the URL of a call are no
// variables, and those of an endpoint stand for what the call brings.
func TestAPolicyLooksAtTheURLThatWouldBeCalled(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("report", "POST /reports/{kind}", ringback.Relay()))
	base, got := hits(t)
	policy := client.Policy{Prefixes: []string{base + "/in/"}}
	if _, err := g.admin.UpdateApp(t.Context(), "shop", client.AppPatch{Policy: &policy}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "vars", URL: base + "/in/{params.kind}"}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/reports/a?callbackURL=" + url.QueryEscape(base+"/in/{a}"): "POST /in/{a}",
		"/reports/a?callback=vars":                                  "POST /in/a",
	} {
		g.call(t, client.Call{Path: path, Body: strings.NewReader("x")})
		if hit := <-got; hit != want {
			t.Errorf("%s: %q, want %q", path, hit, want)
		}
	}
	for _, path := range []string{"/reports/a?callbackURL=" + url.QueryEscape(base+"/{event}/in/"), "/reports/a%2Fb?callback=vars"} {
		_, err := g.app.Call(t.Context(), client.Call{Path: path, Body: strings.NewReader("x")})
		var p *client.Problem
		if !errors.As(err, &p) || p.Code != "callback_url_forbidden" || !strings.Contains(p.Detail, "rule: prefixes") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
