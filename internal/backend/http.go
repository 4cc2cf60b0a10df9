package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// HTTPConfig is the block of an HTTP upstream.
type HTTPConfig struct {
	// URL is the upstream's address. One without any path, not even a slash,
	// passes each job's own path on, byte for byte; in another one, {name} stands
	// for a path parameter of the route, escaped as part of its segment.
	URL string `yaml:"url"`
	// Method replaces the caller's, where it is set.
	Method string `yaml:"method"`
	// Headers are set on each request, in the place of the caller's.
	Headers map[string]string `yaml:"headers"`
	// Async says what a 202 of the upstream means: "off", also where it is empty, a
	// result; "callback" and "ringback", that the result comes to the completion URL
	// that the request named; "poll", that it will be at the answer's Location.
	Async string `yaml:"async"`
}

// HTTP is an HTTP upstream. A 2xx answer is the result: its status, its
// end-to-end headers and its body. 408, 425, 429 and 5xx are retried, not before
// their Retry-After. Every other status is final: the upstream has understood,
// and refused. Redirects are not followed.
type HTTP struct {
	target *target
	method string
	header http.Header
	async  string
	// pollTimeout is the constant, but in tests.
	pollTimeout time.Duration
	// pooled keeps connections. Where the upstream closes one just as it is used
	// again, it repeats the request; fresh has no such connections.
	pooled, fresh *http.Transport
}

const (
	maxIdleConns           = 1024
	idleTimeout            = 90 * time.Second
	connectTimeout         = 10 * time.Second
	maxResponseHeaderBytes = 64 << 10
	maxRetryAfter          = time.Hour
)

// ours are the request headers that the configuration cannot set: they belong to
// the connection or to the job.
var ours = append([]string{"Content-Length", "Host", "Expect", "Accept-Encoding", "Idempotency-Key",
	"Ringback-Key", "Ringback-Job-Id", "Ringback-Completion-Url", "Ringback-Ask-Url", "Ringback-Progress-Url", "Traceparent", "Tracestate"}, hopByHop...)

// NewHTTP makes an HTTP backend.
func NewHTTP(c HTTPConfig) (*HTTP, error) {
	t, err := parseTarget(c.URL)
	if err != nil {
		return nil, configError("http.url", "%v", err)
	}
	if c.Method != "" && !httpguts.ValidHeaderFieldName(c.Method) {
		return nil, configError("http.method", "%q is no HTTP method", c.Method)
	}
	header := http.Header{}
	for name, value := range c.Headers {
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, configError("http.headers", "%q is no header name", name)
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, configError("http.headers."+name, "the value holds a control character")
		}
		header.Set(name, value)
	}
	for _, name := range ours {
		if header[name] != nil {
			return nil, configError("http.headers."+name, "the gateway sets this header itself")
		}
	}
	async := cmp.Or(c.Async, asyncOff)
	if !slices.Contains(asyncModes, async) {
		return nil, configError("http.async", "%q is none of: %s", async, strings.Join(asyncModes, ", "))
	}
	h := &HTTP{target: t, method: c.Method, header: header, async: async, pollTimeout: pollTimeout, pooled: newTransport(), fresh: newTransport()}
	h.fresh.DisableKeepAlives = true
	return h, nil
}

// newTransport makes a client for one origin: it uses no proxy, and follows no
// redirect, since a Transport never does.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:    connectTimeout,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdleConns,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeaderBytes,
	}
}

// Params implements Parameterized.
func (h *HTTP) Params() []string { return h.target.params() }

// Close releases the idle connections.
func (h *HTTP) Close() error {
	h.pooled.CloseIdleConnections()
	h.fresh.CloseIdleConnections()
	return nil
}

// Run implements Backend.
func (h *HTTP) Run(ctx context.Context, run *Run) (*job.Result, error) {
	request, err := h.request(ctx, run)
	if err != nil {
		return nil, err
	}
	transport := h.pooled
	if run.Fresh {
		transport = h.fresh
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return nil, h.broken(ctx, "the backend gave no answer", err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode/100 != 2:
		return nil, statusFailure(answer)
	case answer.StatusCode == http.StatusAccepted && h.async != asyncOff:
		return nil, h.later(request.URL, answer)
	}
	return h.result(ctx, run, answer, answer.Body)
}

// result is what an answer brings whose body comes from another reader perhaps.
func (h *HTTP) result(ctx context.Context, run *Run, answer *http.Response, from io.Reader) (*job.Result, error) {
	b, err := run.ReadResult(ctx, from)
	if err != nil {
		return nil, h.broken(ctx, "the connection broke before the answer was whole", err)
	}
	header := endToEnd(answer.Header)
	// Cookies are between the gateway and the upstream: no caller gets them.
	for _, name := range []string{"Content-Type", "Content-Length", "Set-Cookie", "Set-Cookie2"} {
		header.Del(name)
	}
	return &job.Result{
		Status:      answer.StatusCode,
		ContentType: answer.Header.Get("Content-Type"),
		Header:      header,
		Body:        b,
	}, nil
}

// broken is the error of an exchange that did not come to its end.
func (h *HTTP) broken(ctx context.Context, message string, err error) error {
	if err := stopped(ctx); err != nil {
		return err
	}
	if _, ok := errors.AsType[*Failure](err); ok || errors.Is(err, body.ErrStorage) {
		return err
	}
	// err has no path and no query: it does not come through an http.Client.
	return &Failure{Code: job.CodeUnreachable, Message: message, NotBegun: notReached(err),
		Cause: fmt.Errorf("%s: %w", h.target.origin(), err)}
}

func (h *HTTP) request(ctx context.Context, run *Run) (*http.Request, error) {
	from := &run.Job.Request
	u, err := h.target.url(from)
	if err != nil {
		return nil, err
	}
	method := from.Method
	if h.method != "" {
		method = h.method
	}
	request := (&http.Request{Method: method, URL: u, Header: h.requestHeader(run), Host: from.Header.Get("Host")}).WithContext(ctx)
	if from.Body.Size == 0 {
		return request, nil
	}
	request.ContentLength = from.Body.Size
	request.GetBody = run.OpenRequest
	request.Body, err = run.OpenRequest()
	return request, err
}

func (h *HTTP) requestHeader(run *Run) http.Header {
	from := &run.Job.Request
	header := endToEnd(from.Header)
	for _, name := range ours {
		header.Del(name)
	}
	header.Del("Authorization")
	if run.Authorization != "" {
		header.Set("Authorization", run.Authorization)
	}
	if run.Cookie != "" {
		header.Set("Cookie", run.Cookie)
	}
	// The result goes to others than the one who said what it can decode.
	header.Set("Accept-Encoding", "identity")
	header.Set("Idempotency-Key", run.Job.ID.Job())
	header.Set("Ringback-Job-Id", run.Job.ID.Job())
	if trace := from.Trace.Child(); trace.Parent != "" {
		header.Set("Traceparent", trace.Parent)
		if trace.State != "" {
			header.Set("Tracestate", trace.State)
		}
	}
	for name, values := range h.header {
		header[name] = values
	}
	if run.Links != nil {
		h.setLinks(header, run.Links)
	}
	if header["User-Agent"] == nil {
		header["User-Agent"] = []string{""} // the transport would name itself
	}
	return header
}

// statusFailure is an answer other than 2xx.
func statusFailure(answer *http.Response) error {
	status := answer.StatusCode
	retried := retried(status)
	failure := &Failure{
		Code:    job.CodeBackendStatus,
		Message: strings.TrimSpace(fmt.Sprintf("the backend answered %d %s", status, http.StatusText(status))),
		Final:   !retried,
	}
	if retried {
		failure.RetryAfter = retryAfter(answer.Header.Get("Retry-After"), time.Now())
	}
	if isText(answer.Header.Get("Content-Type")) {
		// A body that breaks off says what it has said.
		text, _ := io.ReadAll(io.LimitReader(answer.Body, maxDetailBytes))
		failure.Detail = readable(text)
	}
	return failure
}

// retried tells the statuses after which another attempt may help.
func retried(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests ||
		status == http.StatusRequestTimeout || status == http.StatusTooEarly
}

func isText(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (strings.HasPrefix(media, "text/") || strings.HasSuffix(media, "json") || strings.HasSuffix(media, "xml"))
}

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3): seconds or a date. A
// time in the past and garbage are 0, and nothing is more than maxRetryAfter.
func retryAfter(value string, now time.Time) time.Duration {
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
