package callback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/ringback/ringback/job"
	"pgregory.net/rapid"
)

const sampleTemplate = `{text: "\(.job.operation) \(.event)", result: (.result // .result_text // .result_base64), link: .result_url,
	error: .job.error.code, user: .request.header["x-user"], order: .request.body.order, state}`

// owingSender is as much of a sender as rendering takes.
func owingSender(t testing.TB, publicURL, program string) *Sender {
	t.Helper()
	p, err := ParseTemplate(program)
	if err != nil {
		t.Fatal(err)
	}
	return &Sender{metrics: newMetrics(prometheus.NewRegistry()), templates: map[string]*Program{"scan": p},
		opt: Options{Now: time.Now, Log: slog.New(slog.DiscardHandler), ResultLink: func(id job.ID) string {
			return publicURL + "/v1/jobs/" + id.Job() + "/result?token=t"
		}}}
}

const publicURL = "https://api.example.com"

// cases are what a callback can be about.
func cases() map[string]func(*job.Callback, *job.Job) {
	result := func(contentType, content string) func(*job.Callback, *job.Job) {
		return func(_ *job.Callback, j *job.Job) {
			j.Result.ContentType, j.Result.Body = contentType, job.Body{Inline: []byte(content), Size: int64(len(content))}
		}
	}
	end := func(state job.State, e *job.Error) func(*job.Callback, *job.Job) {
		return func(cb *job.Callback, j *job.Job) {
			cb.Event, j.State, j.Result, j.Error = state.Event(), state, nil, e
		}
	}
	early := func(event job.Event, data string) func(*job.Callback, *job.Job) {
		return func(cb *job.Callback, j *job.Job) {
			if cb.Event = event; data != "" {
				cb.Data = []byte(data)
			}
			*j = *asOf(cb, j)
		}
	}
	return map[string]func(*job.Callback, *job.Job){
		"accepted":       early(job.EventAccepted, ""),
		"running":        early(job.EventRunning, ""),
		"progress":       early(job.EventProgress, `{"percent":40,"type":"page","job_id":null,"a \"b\"":"é"}`),
		"progress_text":  early(job.EventProgress, `"page 4 of 10"`),
		"ask":            early(job.EventAsk, `{"question_key":"page","question":{"pages":[7,8]},"reply_url":"https://api.example.com/v1/replies/t"}`),
		"progress_large": early(job.EventProgress, `{"log":"`+strings.Repeat("x", maxQuery)+`"}`),

		"json":        func(*job.Callback, *job.Job) {},
		"json_list":   result("application/vnd.list+json", `[1, "two", null]`),
		"broken_json": result("application/json", `{"never closed`),
		"text":        result("text/plain; charset=utf-8", "line one\nline \"two\" & é"),
		"binary":      result("image/png", "\x89PNG\r\n\x1a\n\x00\xff"),
		"empty":       result("", ""),
		"bad_type":    result("text/plain\r\nX-Injected: 1", "text"),
		"large": func(_ *job.Callback, j *job.Job) {
			j.Result.ContentType, j.Result.Body = "application/pdf", job.Body{Ref: "ab", Size: int64(len(largeResult))}
		},
		"state": func(_ *job.Callback, j *job.Job) { j.Echo = `order=7&"é" 100%` },
		"failed": end(job.Failed, &job.Error{Code: job.CodeExit, Message: "the command ended with exit code 3",
			Detail: "convert: no \"decode\"\n"}),
		"expired":  end(job.Expired, &job.Error{Code: job.CodeExpired, Message: "the deadline came first"}),
		"canceled": end(job.Canceled, nil),
	}
}

const largeResult = "%PDF-1.7 a large document, as it is on disk"

func openLarge(b job.Body) (io.ReadCloser, error) {
	if b.Ref != "ab" {
		return nil, os.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(largeResult)), nil
}

// owed is the case's callback in a format, as it is stored, and its job.
func owed(t testing.TB, s *Sender, format string, change func(*job.Callback, *job.Job)) (*job.Callback, *job.Job) {
	t.Helper()
	cb, j := fixture()
	j.Request = job.Request{Method: "POST", Path: "/scan", RawQuery: "dry=1", Params: map[string]string{"region": "eu"},
		Header: http.Header{"Content-Type": {"application/json"}, "X-User": {"ann"}, "Cookie": {"session=hunter2"}},
		Body:   job.Body{Inline: []byte(`{"order": 7}`), Size: 12}}
	change(cb, j)
	contract := job.Operation{}.WithDefaults().Callback
	cb.Method, cb.Format = choose(&job.Target{Format: format}, &job.Endpoint{}, &contract)
	s.freeze(cb, j)
	return cb, j
}

func render(t testing.TB, cb *job.Callback, j *job.Job) content {
	t.Helper()
	c, err := formatOf(cb).content(message{cb: cb, job: j, open: openLarge})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// octetsOf are the body's, wherever they are, and as many as are promised.
func octetsOf(t testing.TB, c content) []byte {
	t.Helper()
	if c.Open == nil {
		return c.Body
	}
	if c.Body != nil {
		t.Error("the content is in memory and elsewhere")
	}
	body, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	all, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(all)) != c.Size {
		t.Errorf("%d octets, %d promised", len(all), c.Size)
	}
	return all
}

// wire is what is sent, as people read it: JSON is indented, lines end with a line
// feed, and octets that are no text are quoted.
func wire(t testing.TB, cb *job.Callback, c content) []byte {
	t.Helper()
	var b bytes.Buffer
	target := "/bar?file=7"
	if c.Query != "" {
		target += "&" + c.Query
	}
	fmt.Fprintf(&b, "%s %s\n", cb.Method, target)
	if c.Type != "" {
		fmt.Fprintf(&b, "Content-Type: %s\n", c.Type)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(c.Header[name], ", "))
	}
	body := octetsOf(t, c)
	if len(body) == 0 {
		return b.Bytes()
	}
	b.WriteByte('\n')
	media, _, _ := mime.ParseMediaType(c.Type)
	switch {
	case anyJSON(media) && json.Valid(body):
		if err := json.Indent(&b, body, "", "  "); err != nil {
			t.Fatal(err)
		}
	case utf8.Valid(body):
		b.WriteString(strings.ReplaceAll(string(body), "\r\n", "\n"))
	default:
		b.WriteString(strconv.Quote(string(body)))
	}
	if !bytes.HasSuffix(b.Bytes(), []byte("\n")) {
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func TestEveryFormatSaysWhatItsGoldenFilesSay(t *testing.T) {
	t.Parallel()
	for _, name := range job.Formats {
		for what, change := range cases() {
			if what == "ask" && !asks(name) {
				continue // it is asked in an envelope
			}
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				cb, j := owed(t, owingSender(t, publicURL, sampleTemplate), name, change)
				c := render(t, cb, j)
				checkSendable(t, c)
				got := wire(t, cb, c)
				golden := filepath.Join("testdata", "formats", name+"_"+what+".txt")
				if *update {
					if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o755), os.WriteFile(golden, got, 0o644)); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

// checkSendable looks for what no HTTP client could send.
func checkSendable(t testing.TB, c content) {
	t.Helper()
	for name, values := range c.Header {
		for _, v := range append(values, c.Type) {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("header %s: %q", name, v)
			}
		}
		if name != http.CanonicalHeaderKey(name) {
			t.Errorf("header %s is not spelled as http.Header does", name)
		}
	}
	if _, err := url.ParseRequestURI("/?" + c.Query); err != nil {
		t.Error(err)
	}
}

func TestTheTableHasEveryFormatAndNoOther(t *testing.T) {
	t.Parallel()
	if got := slices.Sorted(maps.Keys(formats)); !slices.Equal(got, slices.Sorted(slices.Values(job.Formats))) {
		t.Errorf("%q, want %q", got, job.Formats)
	}
}

// drawMessage draws any job that can come to be, and a callback about it.
func drawMessage(t *rapid.T) func(*job.Callback, *job.Job) {
	contentType := rapid.SampledFrom([]string{"application/json", "text/plain", "image/png", "", "a/b+json", "text/x-y; q=\"é\""}).Draw(t, "type")
	octets := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.MapOf(rapid.String(), rapid.String()), func(m map[string]string) []byte {
		b, _ := json.Marshal(m)
		return b
	})).Draw(t, "result")
	echo := strings.ToValidUTF8(rapid.String().Draw(t, "state"), "")
	event := rapid.SampledFrom(job.AllEvents).Draw(t, "event")
	large := rapid.Bool().Draw(t, "large")
	return func(cb *job.Callback, j *job.Job) {
		j.Echo, cb.Event = echo, event
		if !event.Terminal() {
			if event == job.EventProgress {
				cb.Data, _ = json.Marshal(map[string]string{"percent": echo})
			}
			*j = *asOf(cb, j)
			return
		}
		j.State, _ = job.ParseState(string(event))
		if event != job.EventSucceeded {
			j.Result, j.Error = nil, &job.Error{Code: job.CodeExit, Message: echo, Detail: echo}
			return
		}
		j.Result.ContentType = contentType
		j.Result.Body = job.Body{Inline: octets, Size: int64(len(octets))}
		if large {
			j.Result.Body = job.Body{Ref: "ab", Size: int64(len(largeResult))}
		}
	}
}

func TestEveryAttemptSaysTheSameWhateverIsConfiguredMeanwhile(t *testing.T) {
	t.Parallel()
	s := owingSender(t, publicURL, sampleTemplate)
	rapid.Check(t, func(rt *rapid.T) {
		format := rapid.SampledFrom(job.Formats).Draw(rt, "format")
		cb, j := owed(t, s, format, drawMessage(rt))
		first := render(t, cb, j)
		checkSendable(t, first)
		again := render(t, cb, j)
		// From disk, in a gateway with another URL and another template: nothing of
		// that is asked again.
		stored := *cb
		stored.Body, stored.Data = bytes.Clone(cb.Body), bytes.Clone(cb.Data)
		stored.Attempts, stored.Rescued = 3, true
		loaded := *j
		loaded.DueAt, loaded.Runs = time.Time{}, 9
		later := render(t, &stored, &loaded)
		want := wire(t, cb, first)
		for name, c := range map[string]content{"again": again, "after a restart": later} {
			if got := wire(t, cb, c); !bytes.Equal(got, want) || !bytes.Equal(octetsOf(t, c), octetsOf(t, first)) {
				rt.Fatalf("%s: %s, want %s", name, got, want)
			}
		}
	})
}

func TestOnlyWhatNamesALinkOrATemplateIsKeptWithACallback(t *testing.T) {
	t.Parallel()
	s := owingSender(t, publicURL, sampleTemplate)
	keeps := map[string]string{}
	for _, format := range job.Formats {
		for _, what := range []string{"json", "large", "failed"} {
			cb, _ := owed(t, s, format, cases()[what])
			if cb.Link != "" {
				keeps[format] += " link:" + what
			}
			if cb.Body != nil {
				keeps[format] += " body:" + what
			}
		}
	}
	want := map[string]string{"envelope": " link:large", "thin": " link:json link:large link:failed", "cloudevents": " link:large",
		"cloudevents-structured": " link:large", "form": " link:large", "query": " link:large", "template": " body:json body:large body:failed"}
	if !maps.Equal(keeps, want) {
		t.Errorf("%v, want %v", keeps, want)
	}
}

func TestAResultThatMakesTheURLTooLongIsNamedByItsLink(t *testing.T) {
	t.Parallel()
	s := owingSender(t, publicURL, sampleTemplate)
	for size, long := range map[int]bool{3000: false, 5000: true} {
		cb, j := owed(t, s, job.FormatQuery, func(_ *job.Callback, j *job.Job) {
			j.Result.ContentType, j.Result.Body = "text/plain", job.Body{Inline: bytes.Repeat([]byte("a"), size), Size: int64(size)}
		})
		c := render(t, cb, j)
		q, err := url.ParseQuery(c.Query)
		if err != nil {
			t.Fatal(err)
		}
		if q.Has("result_url") != long || q.Has("result_text") == long || len(c.Query) > maxQuery+512 {
			t.Errorf("%d octets: %d in the query, %v", size, len(c.Query), slices.Sorted(maps.Keys(q)))
		}
	}
}

func TestAMultipartBodyIsReadBackWhole(t *testing.T) {
	t.Parallel()
	s := owingSender(t, publicURL, sampleTemplate)
	for _, what := range []string{"binary", "large", "text", "failed", "empty"} {
		cb, j := owed(t, s, job.FormatMultipart, cases()[what])
		c := render(t, cb, j)
		_, params, err := mime.ParseMediaType(c.Type)
		if err != nil {
			t.Fatal(err)
		}
		form, err := multipart.NewReader(bytes.NewReader(octetsOf(t, c)), params["boundary"]).ReadForm(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		if got := form.Value["type"]; !slices.Equal(got, []string{"scan." + string(cb.Event)}) {
			t.Errorf("%s: type %q", what, got)
		}
		if what == "failed" {
			if len(form.File) != 0 || form.Value["error.code"][0] != "exit_status" {
				t.Errorf("%v", form)
			}
			continue
		}
		file, err := form.File["result"][0].Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(file)
		if err != nil {
			t.Fatal(err)
		}
		want := string(j.Result.Body.Inline)
		if what == "large" {
			want = largeResult
		}
		if string(got) != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
}

func TestHeadersCarryAnyText(t *testing.T) {
	t.Parallel()
	// CloudEvents' own example (HTTP binding §3.1.3.2).
	if got, want := escapeHeader("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.ToValidUTF8(rapid.String().Draw(t, "text"), "")
		back, err := url.PathUnescape(escapeHeader(text))
		if err != nil || back != text {
			t.Fatalf("%q came back as %q: %v", text, back, err)
		}
	})
}

func TestTheCallersChoiceIsBeforeTheEndpointsAndTheOperations(t *testing.T) {
	t.Parallel()
	type pair struct{ method, format string }
	for _, tt := range []struct{ caller, endpoint, operation, want pair }{
		{pair{}, pair{}, pair{}, pair{"POST", "envelope"}},
		{pair{}, pair{}, pair{"PUT", "raw"}, pair{"PUT", "raw"}},
		{pair{}, pair{"PATCH", ""}, pair{"PUT", "raw"}, pair{"PATCH", "raw"}},
		{pair{"", "thin"}, pair{"PATCH", "form"}, pair{"PUT", "raw"}, pair{"PATCH", "thin"}},
		{pair{"", "query"}, pair{}, pair{"POST", "envelope"}, pair{"GET", "query"}},
		{pair{}, pair{"", "query"}, pair{"POST", "envelope"}, pair{"GET", "query"}},
		{pair{"POST", ""}, pair{"", "query"}, pair{}, pair{"POST", "query"}},
		{pair{}, pair{}, pair{"", "query"}, pair{"GET", "query"}},
		{pair{"GET", ""}, pair{}, pair{}, pair{"GET", "query"}},
		{pair{}, pair{"DELETE", ""}, pair{"POST", "raw"}, pair{"DELETE", "query"}},
		{pair{}, pair{"DELETE", ""}, pair{"POST", "thin"}, pair{"DELETE", "thin"}},
	} {
		contract := job.Operation{Callback: job.Contract{Method: tt.operation.method, Format: tt.operation.format}}.WithDefaults().Callback
		method, format := choose(&job.Target{Method: tt.caller.method, Format: tt.caller.format},
			&job.Endpoint{Method: tt.endpoint.method, Format: tt.endpoint.format}, &contract)
		if got := (pair{method, format}); got != tt.want {
			t.Errorf("%v: %v, want %v", tt, got, tt.want)
		}
	}
}
