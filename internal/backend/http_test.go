package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// recorded is a request as an upstream got it.
type recorded struct {
	method, target, host, body string
	header                     http.Header
	length                     int64
}

// recording is an upstream that answers 200 and tells what it was asked last.
func recording(t testing.TB) (url string, last func() recorded) {
	t.Helper()
	var mu sync.Mutex
	var got recorded
	url = upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		document, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = recorded{r.Method, r.RequestURI, r.Host, string(document), r.Header, r.ContentLength}
	})
	return url, func() recorded {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

func mustRun(t testing.TB, b Backend, run *Run) *job.Result {
	t.Helper()
	result, err := b.Run(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestRequestIsPassedOn(t *testing.T) {
	t.Parallel()
	url, last := recording(t)
	run := newRun(t, []byte("a document"))
	run.Authorization, run.Cookie = "Basic opened", "a=1; b=2"
	r := &run.Job.Request
	r.Method, r.Path, r.RawQuery = "PUT", "/a%2Fb//c", "x=%20&x=2"
	r.Trace = job.Trace{Parent: "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-x", State: "a=b,c=d"}
	r.Header = http.Header{
		"Content-Type": {"text/csv"}, "Accept-Language": {"de", "en"}, "X-Tenant": {"caller"}, "Cookie": {"a=b"},
		"Authorization": {"Bearer sealed elsewhere"}, "Ringback-Key": {"key"}, "Idempotency-Key": {"the caller's"},
		"Connection": {"X-Hop"}, "X-Hop": {"1"}, "Te": {"trailers"}, "Accept-Encoding": {"br"}, "Expect": {"100-continue"},
		"Traceparent": {"as received"}, "Content-Length": {"99"}, "Ringback-Job-Id": {"job_forged"},
	}
	mustRun(t, newHTTP(t, HTTPConfig{URL: url, Headers: map[string]string{"x-tenant": "7", "Api-Version": "2"}}), run)

	got := last()
	if got.method != "PUT" || got.target != "/a%2Fb//c?x=%20&x=2" || got.body != "a document" || got.length != 10 || "http://"+got.host != url {
		t.Errorf("got %+v", got)
	}
	parent := got.header.Get("Traceparent")
	if !strings.HasPrefix(parent, "00-4bf92f3577b34da6a3ce929d0e0e4736-") || !strings.HasSuffix(parent, "-03") ||
		len(parent) != 55 || strings.Contains(parent, "00f067aa0ba902b7") {
		t.Errorf("traceparent %s", parent)
	}
	got.header.Del("Traceparent")
	id := run.Job.ID.Job()
	want := http.Header{
		"Content-Type": {"text/csv"}, "Accept-Language": {"de", "en"}, "X-Tenant": {"7"}, "Api-Version": {"2"},
		"Authorization": {"Basic opened"}, "Cookie": {"a=1; b=2"}, "Idempotency-Key": {id}, "Ringback-Job-Id": {id}, "Accept-Encoding": {"identity"},
		"Tracestate": {"a=b,c=d"}, "Content-Length": {"10"},
	}
	if fmt.Sprint(got.header) != fmt.Sprint(want) {
		t.Errorf("header\n%v, want\n%v", got.header, want)
	}
}

func TestRequestWithoutBodyAndTraceHasNone(t *testing.T) {
	t.Parallel()
	url, last := recording(t)
	run := newRun(t, nil)
	run.Job.Request.Method, run.Job.Request.Header = "GET", nil
	mustRun(t, newHTTP(t, HTTPConfig{URL: url + "/fixed"}), run)
	got := last()
	if got.method != "GET" || got.target != "/fixed" || got.length != 0 || len(got.header) != 3 {
		t.Errorf("got %+v", got)
	}
}

func TestConfiguredMethodAndAuthorizationWin(t *testing.T) {
	t.Parallel()
	url, last := recording(t)
	run := newRun(t, []byte("x"))
	run.Authorization = "Bearer caller"
	mustRun(t, newHTTP(t, HTTPConfig{URL: url, Method: "PATCH", Headers: map[string]string{"authorization": "Bearer ours"}}), run)
	if got := last(); got.method != "PATCH" || got.header.Get("Authorization") != "Bearer ours" {
		t.Errorf("got %+v", got)
	}
}

func TestAnswerIsTheResult(t *testing.T) {
	t.Parallel()
	h := newHTTP(t, HTTPConfig{URL: upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range map[string]string{"Content-Type": "image/png", "Connection": "X-Hop", "X-Hop": "1",
			"X-Pages": "3", "Keep-Alive": "timeout=5", "Etag": `"1"`} {
			w.Header().Set(name, value)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "png")
	})})
	run := newRun(t, nil)
	result := mustRun(t, h, run)
	result.Header.Del("Date")
	if result.Status != 201 || result.ContentType != "image/png" || read(t, run, result.Body) != "png" ||
		fmt.Sprint(result.Header) != `map[Etag:["1"] X-Pages:[3]]` {
		t.Errorf("result %+v", result)
	}
}

func TestEveryStatus(t *testing.T) {
	t.Parallel()
	h := newHTTP(t, HTTPConfig{URL: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscan(r.URL.Query().Get("status"), &status)
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	})})
	retried := map[int]bool{408: true, 425: true, 429: true}
	run := newRun(t, nil)
	for status := 200; status < 600; status++ {
		run.Job.Request.RawQuery = fmt.Sprintf("status=%d", status)
		result, err := h.Run(t.Context(), run)
		if status < 300 {
			if err != nil || result.Status != status {
				t.Errorf("%d: %+v, %v", status, result, err)
			}
			continue
		}
		retry := status >= 500 || retried[status]
		wantFailure(t, err, job.CodeBackendStatus, !retry)
		failure := asFailure(t, err)
		if (failure.RetryAfter == 7*time.Second) != retry || !strings.Contains(failure.Message, fmt.Sprint(status)) {
			t.Errorf("%d: %+v", status, failure)
		}
	}
}

func TestRefusalQuotesTextOnly(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]string{
		"text/plain; charset=utf-8": "?bad\nnews[31m", "application/problem+json": "?bad\nnews[31m", "image/png": "", "": "",
	} {
		h := newHTTP(t, HTTPConfig{URL: upstream(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{contentType}
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, "\xffbad\nnews\x1b[31m\x00\r\n"+strings.Repeat(" ", 10_000)+"unseen")
		})})
		_, err := h.Run(t.Context(), newRun(t, nil))
		wantFailure(t, err, job.CodeBackendStatus, true)
		if failure := asFailure(t, err); failure.Detail != want {
			t.Errorf("%s: detail %q, want %q", contentType, failure.Detail, want)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	h := newHTTP(t, HTTPConfig{URL: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
	})})
	_, err := h.Run(t.Context(), newRun(t, nil))
	wantFailure(t, err, job.CodeBackendStatus, true)
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	// Go uses no proxy towards loopback whatever the environment says, so the
	// setting itself is looked at.
	h := newHTTP(t, HTTPConfig{URL: "http://u"})
	if h.pooled.Proxy != nil || h.fresh.Proxy != nil {
		t.Error("a proxy is used")
	}
}

// rawUpstream is a listener that hands each connection to serve.
func rawUpstream(t testing.TB, serve func(conn net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return "http://" + listener.Addr().String()
}

func TestBrokenAnswerIsUnreachable(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"none":          "",
		"no HTTP":       "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"cut off":       "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"cut chunks":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"two lengths":   "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
		"endless head":  "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
		"endless 1xx's": strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", 10_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := rawUpstream(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, answer)
				}
			})
			run := newRun(t, nil)
			run.Job.Request.RawQuery = "token=secret"
			_, err := newHTTP(t, HTTPConfig{URL: url}).Run(t.Context(), run)
			wantFailure(t, err, job.CodeUnreachable, false)
			failure := asFailure(t, err)
			if strings.Contains(failure.Error(), "secret") || strings.Contains(failure.Error(), "/scan") || !strings.Contains(failure.Error(), url) {
				t.Errorf("err = %v", err)
			}
			if n := stored(run); n != 0 {
				t.Errorf("%d bodies left behind", n)
			}
		})
	}
}

func TestUpstreamThatIsAwayIsUnreachable(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	_, err := newHTTP(t, HTTPConfig{URL: server.URL}).Run(t.Context(), newRun(t, []byte("x")))
	wantFailure(t, err, job.CodeUnreachable, false)
	if f, ok := errors.AsType[*Failure](err); !ok || !f.NotBegun {
		t.Errorf("an upstream that was never reached: %+v", f)
	}
}

func TestUpstreamThatBreaksOffMayHaveBegun(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(server.Close)
	_, err := newHTTP(t, HTTPConfig{URL: server.URL}).Run(t.Context(), newRun(t, []byte("x")))
	if f, ok := errors.AsType[*Failure](err); !ok || f.NotBegun {
		t.Errorf("an upstream that took the request: %v", err)
	}
}

func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	h := newHTTP(t, HTTPConfig{URL: server.URL})
	run := newRun(t, []byte("x"))
	for range 5 {
		mustRun(t, h, run)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	run.Fresh = true
	for range 3 {
		mustRun(t, h, run)
	}
	if n := connections.Load(); n != 4 {
		t.Errorf("%d connections, want a fresh one for each of three runs", n)
	}
}

// TestFreshRunIsNeverSentTwice has an upstream that answers the first request of
// a connection and hangs up on the second, after it has read it.
func TestFreshRunIsNeverSentTwice(t *testing.T) {
	t.Parallel()
	for _, fresh := range []bool{false, true} {
		t.Run(fmt.Sprintf("fresh=%v", fresh), func(t *testing.T) {
			t.Parallel()
			var hangUp atomic.Bool
			var hungUpOn, answered atomic.Int32
			url := rawUpstream(t, func(conn net.Conn) {
				r := bufio.NewReader(conn)
				for {
					request, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, request.Body)
					if hangUp.CompareAndSwap(true, false) {
						hungUpOn.Add(1)
						return
					}
					answered.Add(1)
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				}
			})
			h := newHTTP(t, HTTPConfig{URL: url})
			run := newRun(t, []byte("x"))
			run.Fresh = fresh
			mustRun(t, h, run)
			hangUp.Store(true)
			_, err := h.Run(t.Context(), run)
			if hungUpOn.Load() != 1 {
				t.Fatalf("hung up %d times", hungUpOn.Load())
			}
			if fresh {
				wantFailure(t, err, job.CodeUnreachable, false)
			}
			if want := int32(2); !fresh && (err != nil || answered.Load() != want) || fresh && answered.Load() != 1 {
				t.Errorf("answered %d, %v", answered.Load(), err)
			}
		})
	}
}

func TestHeadersInTheConfigurationAreChecked(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]HTTPConfig{
		"http.headers:":                 {Headers: map[string]string{"a b": "x"}},
		"http.headers.X-Secret:":        {Headers: map[string]string{"X-Secret": "s3cret\r\nX: y"}},
		"http.headers.Host:":            {Headers: map[string]string{"host": "x"}},
		"http.headers.Connection:":      {Headers: map[string]string{"connection": "x"}},
		"http.headers.Idempotency-Key:": {Headers: map[string]string{"Idempotency-Key": "x"}},
		"http.headers.Ringback-Job-Id:": {Headers: map[string]string{"ringback-job-id": "x"}},
		"http.method:":                  {Method: "GET /"},
	} {
		c.URL = "http://u/"
		_, err := NewHTTP(c)
		if err == nil || !strings.HasPrefix(err.Error(), "backend."+field) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s err = %v", field, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "5": 5 * time.Second, "-5": 0, "5.5": 0, "soon": 0, "1e3": 0, "٣": 0,
		"3600": time.Hour, "3601": maxRetryAfter, "99999999999999999999999": maxRetryAfter,
		now.Add(9 * time.Second).Format(http.TimeFormat): 9 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):      0,
		now.AddDate(10, 0, 0).Format(http.TimeFormat):    maxRetryAfter,
		now.Add(9 * time.Second).Format(time.ANSIC):      9 * time.Second,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, value := range []string{"", "0", "120", "0000000000000000000000000000007", "99999999999999999999999", "-1", "+1", "1 ",
		now.Add(time.Minute).Format(http.TimeFormat), now.Add(time.Minute).Format(time.RFC850), now.Format(time.ANSIC),
		"Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := retryAfter(value, now)
		if got < 0 || got > maxRetryAfter {
			t.Fatalf("%q: %v", value, got)
		}
		// math/big has no limit and knows no dates: what it reads is a number of seconds.
		seconds, isNumber := new(big.Int).SetString(value, 10)
		isNumber = isNumber && strings.Trim(value, "0123456789") == ""
		if isNumber {
			want := maxRetryAfter
			if seconds.Cmp(big.NewInt(int64(maxRetryAfter/time.Second))) < 0 {
				want = time.Duration(seconds.Int64()) * time.Second
			}
			if got != want {
				t.Fatalf("%q: %v, want %v", value, got, want)
			}
		}
		if _, err := http.ParseTime(value); err != nil && !isNumber && got != 0 {
			t.Fatalf("%q: %v, want nothing", value, got)
		}
	})
}

func TestCanceledRunHangsUpWhileItUploads(t *testing.T) {
	t.Parallel()
	begun, ended := make(chan struct{}), make(chan struct{})
	url := rawUpstream(t, func(conn net.Conn) {
		_, _ = io.CopyN(io.Discard, conn, 1000)
		close(begun)
		_, _ = io.Copy(io.Discard, conn)
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := newHTTP(t, HTTPConfig{URL: url}).Run(ctx, newRun(t, make([]byte, 8<<20))); err == nil || ctx.Err() == nil {
		t.Errorf("err = %v", err)
	}
	await(t, "end of the connection", ended)
}
