package ringback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

const (
	smallResult = `{"n": 7, "text": "é & b", "none": null}`
	largeBytes  = 1 << 20
)

// sayings are operations with a small result, a large one, and none.
func sayings(change func(*job.Operation)) []ringback.Operation {
	say := func(name string, f func(*ringback.Result) error) ringback.Operation {
		return operation(name, "POST /"+name, ringback.Func(func(_ context.Context, _ *ringback.Call, r *ringback.Result) error { return f(r) }),
			quick, change, func(op *job.Operation) {
				op.Retry.Attempts = 1
				op.Callback.CallerMay = []string{"url", "state", "events", "method", "format"}
				op.Callback.Template = `{event, result, url: .result_url, error: .job.error.code}`
			})
	}
	return []ringback.Operation{
		say("small", func(r *ringback.Result) error {
			r.ContentType = "application/json"
			_, err := io.WriteString(r, smallResult)
			return err
		}),
		say("large", func(r *ringback.Result) error {
			r.ContentType = "application/pdf"
			_, err := r.Write(bytes.Repeat([]byte("0123456789abcdef"), largeBytes/16))
			return err
		}),
		say("fail", func(*ringback.Result) error { return errors.New("no luck") }),
	}
}

// attempts is a receiver that refuses the first attempt of each path, and keeps
// what came.
type attempts struct {
	url string
	mu  sync.Mutex
	got map[string][]attempt
}

type attempt struct {
	method, uri string
	header      http.Header
	body        []byte
	size        int64
	signed      error // nil: Standard Webhooks' signature fits
	signed9421  error // nil: RFC 9421's does
}

func newAttempts(t *testing.T, secret func() sign.Secret) *attempts {
	t.Helper()
	a := &attempts{got: map[string][]attempt{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read: %v", err)
		}
		got := attempt{method: r.Method, uri: r.RequestURI, header: r.Header, body: body, size: r.ContentLength}
		_, got.signed = sign.Verify(r.Header, body, time.Now(), secret())
		_, got.signed9421 = sign.VerifyRFC9421(sign.Request{Message: sign.Message{Body: body}, Method: r.Method,
			URL: "http://" + r.Host + r.RequestURI, Header: r.Header}, time.Now(), secret())
		a.mu.Lock()
		defer a.mu.Unlock()
		a.got[r.URL.Path] = append(a.got[r.URL.Path], got)
		if len(a.got[r.URL.Path]) == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

func (a *attempts) of(path string) []attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.got[path])
}

func TestEveryFormatArrivesByEveryMethodTheSameAtEachAttempt(t *testing.T) {
	t.Parallel()
	var g *gateway
	r := newAttempts(t, func() sign.Secret { return g.secret })
	g = setup(t, sayings(func(*job.Operation) {})...)
	for _, format := range job.Formats {
		for _, method := range job.Methods {
			if job.CheckFormat(method, format) != nil {
				continue
			}
			for _, what := range []string{"small", "large", "fail"} {
				path := "/" + format + "/" + method + "/" + what
				g.call(t, client.Call{Path: "/" + what + "?callbackURL=" + url.QueryEscape(r.url+path+"?file=%2f7&x") +
					"&callbackState=a%20b&callbackFormat=" + format + "&callbackMethod=" + method})
			}
		}
	}
	for _, format := range job.Formats {
		for _, method := range job.Methods {
			if job.CheckFormat(method, format) != nil {
				continue
			}
			for _, what := range []string{"small", "large", "fail"} {
				path := "/" + format + "/" + method + "/" + what
				eventually(t, "two attempts at "+path, func() bool { return len(r.of(path)) == 2 })
				two := r.of(path)
				checkSame(t, path, two)
				checkAttempt(t, format, method, what, two[1])
			}
		}
	}
}

// checkSame compares all that two attempts say; signature and time are each one's own.
func checkSame(t *testing.T, path string, two []attempt) {
	t.Helper()
	say := func(a attempt) string {
		h := a.header.Clone()
		for _, own := range []string{"Webhook-Timestamp", "Webhook-Signature", "Signature", "Signature-Input"} {
			h.Del(own)
		}
		return fmt.Sprintf("%s %s %d %v", a.method, a.uri, a.size, h)
	}
	if say(two[0]) != say(two[1]) || !bytes.Equal(two[0].body, two[1].body) {
		t.Errorf("%s: the attempts differ:\n%s\n%s", path, say(two[0]), say(two[1]))
	}
}

func checkAttempt(t *testing.T, format, method, what string, a attempt) {
	t.Helper()
	path := "/" + format + "/" + method + "/" + what
	if a.method != method || !strings.HasPrefix(a.uri, path+"?file=%2f7&x") || a.signed != nil {
		t.Errorf("%s: %s %s, %v", path, a.method, a.uri, a.signed)
	}
	if job.Bodiless(method) && len(a.body) > 0 || a.size != int64(len(a.body)) {
		t.Errorf("%s: a body of %d, announced as %d", path, len(a.body), a.size)
	}
	if state := a.header.Get("Ringback-State"); format != job.FormatEnvelope && state != "a%20b" {
		t.Errorf("%s: state %q", path, state)
	}
	// All but the envelope say something outside the body, here the state at least.
	if (a.signed9421 == nil) == (format == job.FormatEnvelope) {
		t.Errorf("%s: RFC 9421: %v", path, a.signed9421)
	}
	all := a.uri + fmt.Sprint(a.header) + string(a.body)
	streamed := format == job.FormatRaw || format == job.FormatMultipart
	switch what {
	case "fail":
		if !strings.Contains(all, "backend_error") && format != job.FormatThin {
			t.Errorf("%s says nothing of the error: %s", path, all)
		}
	case "large":
		if streamed {
			if !bytes.Contains(a.body, bytes.Repeat([]byte("0123456789abcdef"), largeBytes/16)) {
				t.Errorf("%s: %d octets", path, len(a.body))
			}
			break
		}
		link := linkIn(t, path, all)
		resp, err := http.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); n != largeBytes || err != nil || resp.Header.Get("Content-Type") != "application/pdf" {
			t.Errorf("%s: the link leads to %d octets: %v", path, n, err)
		}
	}
	if format == job.FormatMultipart && what == "large" {
		_, params, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
		if _, err := multipart.NewReader(bytes.NewReader(a.body), params["boundary"]).ReadForm(4 << 20); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if strings.HasPrefix(format, "cloudevents") {
		checkCloudEvent(t, what, path, a)
	}
}

// linkIn finds the link to a result in all that an attempt said.
func linkIn(t *testing.T, path, all string) string {
	t.Helper()
	if text, err := url.QueryUnescape(strings.ReplaceAll(all, "+", "%2B")); err == nil {
		all = text
	}
	i := strings.Index(all, "/result?token=")
	if i < 0 {
		t.Fatalf("%s names no link: %s", path, all)
	}
	begin := strings.LastIndex(all[:i], "http://")
	end := i + len("/result?token=") + 43
	return all[begin:end]
}

// checkCloudEvent reads an attempt with the official SDK.
func checkCloudEvent(t *testing.T, what, path string, a attempt) {
	t.Helper()
	e, err := binding.ToEvent(t.Context(), cehttp.NewMessage(a.header, io.NopCloser(bytes.NewReader(a.body))))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := e.Validate(); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	end := map[string]string{"small": ".succeeded", "large": ".succeeded", "fail": ".failed"}[what]
	if e.SpecVersion() != "1.0" || e.ID() != a.header.Get("Webhook-Id") || e.Type() != what+end || !strings.HasPrefix(e.Subject(), "job_") || e.Time().IsZero() {
		t.Errorf("%s: %s", path, e)
	}
	checkEventData(t, what, path, e)
}

func checkEventData(t *testing.T, what, path string, e *event.Event) {
	t.Helper()
	var got struct {
		N    int
		Text string
		Code string
	}
	switch what {
	case "small":
		if err := e.DataAs(&got); err != nil || got.N != 7 || got.Text != "é & b" {
			t.Errorf("%s: %+v %v", path, got, err)
		}
	case "fail":
		if err := e.DataAs(&got); err != nil || got.Code != "backend_error" {
			t.Errorf("%s: %+v %v", path, got, err)
		}
	case "large":
		if ref, _ := e.Extensions()["dataref"].(string); !strings.Contains(ref, "/result?token=") || len(e.Data()) != 0 {
			t.Errorf("%s: dataref %q, %d octets", path, ref, len(e.Data()))
		}
	}
}

func TestALargeResultIsStreamedInLittleMemory(t *testing.T) {
	// Not parallel: it looks at the memory of the process.
	const size = 256 << 20
	received := make(chan int64, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		if n == r.ContentLength {
			received <- n
		}
	}))
	t.Cleanup(server.Close)
	g := setup(t, operation("big", "POST /big", ringback.Func(func(_ context.Context, _ *ringback.Call, r *ringback.Result) error {
		chunk := make([]byte, 64<<10)
		for range size / len(chunk) {
			if _, err := r.Write(chunk); err != nil {
				return err
			}
		}
		return nil
	}), func(op *job.Operation) { op.Callback.Format, op.Callback.Timeout = job.FormatRaw, time.Minute }))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	g.call(t, client.Call{Path: "/big?callbackURL=" + url.QueryEscape(server.URL)})
	select {
	case n := <-received:
		if n != size {
			t.Errorf("%d octets", n)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("no callback came")
	}
	runtime.ReadMemStats(&after)
	if made := after.TotalAlloc - before.TotalAlloc; made > 32<<20 {
		t.Errorf("%d MiB were allocated for it", made>>20)
	}
}

func TestAContractThatContradictsItselfIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	for want, contract := range map[string]job.Contract{
		"operation scan: callback.method: the method must be one of": {Method: "HEAD"},
		"operation scan: callback.format: the format must be one of": {Format: "xml"},
		"operation scan: callback.format: a GET has no body":         {Method: "GET", Format: "raw"},
		"operation scan: callback.format: the format template needs": {Format: "template"},
		"operation scan: callback.template: the function env cannot": {Format: "template", Template: "env"},
	} {
		opt := options(t.TempDir())
		opt.Operations = []ringback.Operation{operation("scan", "POST /scan", ringback.Relay(), func(op *job.Operation) { op.Callback = contract })}
		_, err := ringback.New(t.Context(), nil, opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestAnEndpointChoosesMethodAndFormat(t *testing.T) {
	t.Parallel()
	var g *gateway
	r := newAttempts(t, func() sign.Secret { return secretOf(t, g.app, "shop") })
	g = setup(t, sayings(func(*job.Operation) {})...)
	_, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "shop", URL: r.url + "/a?b=c", Default: true, Method: "GET", Format: "raw"})
	if p := (*client.Problem)(nil); !errors.As(err, &p) || p.Status != http.StatusUnprocessableEntity && p.Status != http.StatusBadRequest ||
		len(p.Errors) != 1 || p.Errors[0].Pointer != "#/format" {
		t.Errorf("%v", err)
	}
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "shop", URL: r.url + "/a?b=c", Default: true, Format: "query"}); err != nil {
		t.Fatal(err)
	}
	g.call(t, client.Call{Path: "/small"})
	eventually(t, "two attempts", func() bool { return len(r.of("/a")) == 2 })
	if a := r.of("/a")[1]; a.method != "GET" || !strings.HasPrefix(a.uri, "/a?b=c&type=small.succeeded&") || !strings.Contains(a.uri, "&result.n=7&") || a.signed9421 != nil {
		t.Errorf("%s %s %v", a.method, a.uri, a.signed9421)
	}
	form := "form"
	if e, err := g.app.UpdateEndpoint(t.Context(), "shop", client.EndpointPatch{Format: &form}); err != nil || e.Format != "form" {
		t.Fatal(e, err)
	}
	g.call(t, client.Call{Path: "/small"})
	eventually(t, "a POST", func() bool { return len(r.of("/a")) == 3 })
	a := r.of("/a")[2]
	fields, err := url.ParseQuery(string(a.body))
	if a.method != "POST" || err != nil || fields.Get("result.text") != "é & b" || a.header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("%s %s %v", a.method, a.body, err)
	}
	var told []string
	for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{}) {
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, c.Method+" "+c.Format)
	}
	if !slices.Equal(told, []string{"POST form", "GET query"}) {
		t.Errorf("%q", told)
	}
}
