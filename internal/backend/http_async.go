package backend

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ringback/ringback/job"
)

// What an upstream's 202 means: HTTPConfig.Async.
const (
	asyncOff      = "off"      // a result like any other
	asyncCallback = "callback" // the result comes to the completion URL
	asyncPoll     = "poll"     // the result will be at its Location
	asyncRingback = "ringback" // the upstream is a Ringback, which calls the completion URL back
)

var asyncModes = []string{asyncOff, asyncCallback, asyncPoll, asyncRingback}

const (
	// pollTimeout bounds how long the answer to a poll may take to begin: a poll has a slot.
	pollTimeout = time.Minute
	// maxLocationBytes bounds a Location that is kept.
	maxLocationBytes = 2 << 10
	// maxDocumentBytes bounds what is read as a job's document or a problem.
	maxDocumentBytes = 64 << 10
	// maxEnvelopeBytes bounds the message of another Ringback: what it holds is at most 64 KiB.
	maxEnvelopeBytes = 1 << 20
)

// Talks implements Async.
func (h *HTTP) Talks() bool { return h.async == asyncCallback || h.async == asyncRingback }

// NeedsPublicURL tells whether the completion URL must be an absolute one.
func (h *HTTP) NeedsPublicURL() bool { return h.async == asyncRingback }

// setLinks tells the upstream where it can speak about the attempt.
func (h *HTTP) setLinks(header http.Header, links *Links) {
	if h.async == asyncRingback {
		header.Set("X-Callback-Url", links.Completion)
		header.Set("Prefer", "respond-async")
		// With another callback URL it is another request, which must not have the same key.
		sum := sha256.Sum256([]byte(links.Completion))
		header.Set("Idempotency-Key", header.Get("Idempotency-Key")+"."+hex.EncodeToString(sum[:8]))
		return
	}
	header.Set("Ringback-Completion-Url", links.Completion)
	header.Set("Ringback-Ask-Url", links.Ask)
	header.Set("Ringback-Progress-Url", links.Progress)
}

// later is what follows from a 202 to request.
func (h *HTTP) later(at *url.URL, answer *http.Response) error {
	later := &Later{After: retryAfter(answer.Header.Get("Retry-After"), time.Now())}
	if h.async != asyncPoll {
		return later
	}
	var ok bool
	if later.Location, ok = h.own(at, answer.Header.Get("Location")); !ok {
		return &Failure{Code: job.CodeBackendError, Message: "the backend answered 202 without a Location at its own origin", Final: true}
	}
	return later
}

// own is the path and query of a reference, where that is at the backend's own origin.
func (h *HTTP) own(base *url.URL, reference string) (string, bool) {
	if reference == "" || len(reference) > maxLocationBytes || !sendable(reference) {
		return "", false
	}
	u, err := base.Parse(reference)
	if err != nil || u.User != nil || u.Opaque != "" || u.Scheme != h.target.scheme || !strings.EqualFold(withPort(u), withPort(h.origin())) {
		return "", false
	}
	return u.RequestURI(), true
}

func (h *HTTP) origin() *url.URL { return &url.URL{Scheme: h.target.scheme, Host: h.target.host} }

func withPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Hostname() + ":" + port
}

// Poll implements Async.
func (h *HTTP) Poll(ctx context.Context, run *Run, wait *job.Wait) (*job.Result, error) {
	answer, err := h.get(ctx, run, wait.Location)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	at := answer.Request.URL
	if answer.StatusCode != http.StatusSeeOther {
		return h.polled(ctx, run, answer)
	}
	location, ok := h.own(at, answer.Header.Get("Location"))
	if !ok {
		return nil, &Failure{Code: job.CodeBackendError, Message: "the backend answered 303 without a Location at its own origin", Final: true}
	}
	if answer, err = h.get(ctx, run, location); err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return h.polled(ctx, run, answer)
}

// get asks for what is at a path and query of the backend.
func (h *HTTP) get(ctx context.Context, run *Run, location string) (*http.Response, error) {
	path, query, _ := strings.Cut(location, "?")
	u := h.origin()
	u.RawQuery = query
	if err := setPath(u, path); err != nil {
		return nil, err
	}
	header := h.requestHeader(run)
	for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Language", "Idempotency-Key", "Prefer", "Range",
		"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"} {
		header.Del(name)
	}
	within, cancel := context.WithCancel(ctx)
	slow := time.AfterFunc(h.pollTimeout, cancel)
	request := (&http.Request{Method: http.MethodGet, URL: u, Header: header, Host: run.Job.Request.Header.Get("Host")}).WithContext(within)
	answer, err := h.pooled.RoundTrip(request)
	slow.Stop() // the body may take its time
	if err != nil {
		cancel()
		return nil, h.broken(ctx, "the backend gave no answer", err)
	}
	return answer, nil
}

// polled says what an answer to a poll means.
func (h *HTTP) polled(ctx context.Context, run *Run, answer *http.Response) (*job.Result, error) {
	switch {
	case answer.StatusCode == http.StatusAccepted:
		location, _ := h.own(answer.Request.URL, answer.Header.Get("Location"))
		return nil, &Later{Location: location, After: retryAfter(answer.Header.Get("Retry-After"), time.Now())}
	case answer.StatusCode/100 != 2:
		return nil, statusFailure(answer)
	}
	from := io.Reader(answer.Body)
	if isJSON(answer.Header.Get("Content-Type")) {
		begin, err := io.ReadAll(io.LimitReader(answer.Body, maxDocumentBytes))
		if err != nil {
			return nil, h.broken(ctx, "the connection broke before the answer was whole", err)
		}
		if doc := parseDocument(begin); doc != nil {
			return h.ofDocument(ctx, run, answer, doc)
		}
		from = io.MultiReader(bytes.NewReader(begin), answer.Body)
	}
	return h.result(ctx, run, answer, from)
}

// document is a job as a Ringback shows it.
type document struct {
	ID     string     `json:"id"`
	Status string     `json:"status"`
	Error  *job.Error `json:"error"`
	Links  struct {
		Result string `json:"result"`
	} `json:"links"`
}

// parseDocument is nil for every other JSON.
func parseDocument(text []byte) *document {
	var d document
	if json.Unmarshal(text, &d) != nil || !strings.HasPrefix(d.ID, "job_") || d.Links.Result == "" {
		return nil
	}
	if _, known := job.ParseState(d.Status); !known {
		return nil
	}
	return &d
}

// ofDocument says what a job of another Ringback means, and fetches its result.
func (h *HTTP) ofDocument(ctx context.Context, run *Run, answer *http.Response, d *document) (*job.Result, error) {
	state, _ := job.ParseState(d.Status)
	switch {
	case !state.Terminal():
		return nil, &Later{After: retryAfter(answer.Header.Get("Retry-After"), time.Now())}
	case state != job.Succeeded:
		return nil, ended(d.Status, d.Error)
	}
	location, ok := h.own(answer.Request.URL, d.Links.Result)
	if !ok {
		return nil, &Failure{Code: job.CodeBackendError, Message: "the backend's job has its result at another origin", Final: true}
	}
	result, err := h.get(ctx, run, location)
	if err != nil {
		return nil, err
	}
	defer result.Body.Close()
	if result.StatusCode/100 != 2 {
		return nil, statusFailure(result)
	}
	return h.result(ctx, run, result, result.Body)
}

// ended is the failure of a job of another Ringback, which has repeated it already.
func ended(how string, e *job.Error) error {
	f := &Failure{Code: job.CodeBackendError, Message: "the backend's job ended as " + how, Final: true}
	if e != nil {
		f.Detail = shortened(strings.TrimSpace(e.Error() + "\n" + e.Detail))
	}
	return f
}

// shortened is a stranger's text as it can be an error's detail.
func shortened(text string) string { return readable([]byte(text[:min(len(text), maxDetailBytes)])) }

// Completed implements Async.
func (h *HTTP) Completed(ctx context.Context, run *Run, header http.Header, from io.Reader) (*job.Result, error) {
	if h.async == asyncRingback {
		return h.ofEnvelope(ctx, run, from)
	}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if media == "application/problem+json" {
		text, err := io.ReadAll(io.LimitReader(from, maxDocumentBytes))
		if err != nil {
			return nil, err
		}
		return nil, ofProblem(text, header)
	}
	b, err := run.ReadResult(ctx, from)
	if err != nil {
		return nil, err
	}
	return &job.Result{Status: http.StatusOK, ContentType: cmp.Or(header.Get("Content-Type"), octets), Body: b}, nil
}

// ofProblem is the failure that a problem describes (RFC 9457). Its status says, as
// that of an answer would, whether another attempt may help; without one it may.
func ofProblem(text []byte, header http.Header) error {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Status int    `json:"status"`
	}
	if json.Unmarshal(text, &p) != nil {
		return ErrMalformed
	}
	f := &Failure{Code: job.CodeBackendError, Message: "the backend says that it failed", Final: p.Status != 0 && !retried(p.Status),
		Detail: shortened(strings.TrimSpace(p.Title + "\n" + p.Detail))}
	if !f.Final {
		f.RetryAfter = retryAfter(header.Get("Retry-After"), time.Now())
	}
	return f
}

// envelope is what is read of the message of another Ringback.
type envelope struct {
	Type string `json:"type"`
	Data struct {
		ContentType  string          `json:"content_type"`
		Result       json.RawMessage `json:"result"`
		ResultText   *string         `json:"result_text"`
		ResultBase64 []byte          `json:"result_base64"`
		ResultURL    string          `json:"result_url"`
		Error        *job.Error      `json:"error"`
	} `json:"data"`
}

// ofEnvelope reads the callback of another Ringback. Who may send it is the URL's affair:
// its signature is made with a secret that is not ours.
func (h *HTTP) ofEnvelope(ctx context.Context, run *Run, from io.Reader) (*job.Result, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxEnvelopeBytes))
	if err != nil {
		return nil, err
	}
	var e envelope
	if json.Unmarshal(text, &e) != nil {
		return nil, ErrMalformed
	}
	event := e.Type[strings.LastIndexByte(e.Type, '.')+1:]
	state, _ := job.ParseState(event)
	switch {
	case event == "ask" || state == 0 && event != "progress":
		return nil, ErrMalformed
	case !state.Terminal():
		return nil, ErrNotYet
	case state != job.Succeeded:
		return nil, ended(event, e.Data.Error)
	}
	content := []byte(e.Data.Result)
	switch d := &e.Data; {
	case d.ResultURL != "":
		location, ok := h.own(h.origin(), d.ResultURL)
		if !ok {
			return nil, &Failure{Code: job.CodeBackendError, Message: "the backend's job has its result at another origin", Final: true}
		}
		return nil, &Later{Location: location, Now: true}
	case d.ResultText != nil:
		content = []byte(*d.ResultText)
	case content == nil:
		content = d.ResultBase64
	}
	b, err := run.ReadResult(ctx, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	return &job.Result{Status: http.StatusOK, ContentType: cmp.Or(e.Data.ContentType, octets), Body: b}, nil
}

func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}
