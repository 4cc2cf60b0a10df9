package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/client"
)

// script answers one request after the other without a network, the last outcome
// again and again, and notes what it was asked.
type script struct {
	outcomes []outcome
	asked    []string // method, path, body
	keys     []string
	at       []time.Duration
	start    time.Time
}

type outcome struct {
	status int // 0: err
	header http.Header
	body   string
	err    error
}

var (
	accepted  = outcome{status: 202, body: `{"id":"job_1","status":"accepted"}`}
	overload  = outcome{status: 503, header: http.Header{"Retry-After": {"2"}}}
	cutOff    = outcome{err: io.ErrUnexpectedEOF}
	notDialed = outcome{err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
)

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.start.IsZero() {
		s.start = time.Now()
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
	s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
	s.at = append(s.at, time.Since(s.start))
	o := s.outcomes[min(len(s.asked), len(s.outcomes))-1]
	if o.err != nil {
		return nil, o.err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	for name, values := range o.header {
		header[name] = values
	}
	return &http.Response{StatusCode: o.status, Header: header, Body: io.NopCloser(strings.NewReader(o.body)), Request: r}, nil
}

func (s *script) client(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	o.Transport = s
	c, err := client.New("http://gateway", "the-key", o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCallIsRepeatedUnderAKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "mine"} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{outcomes: []outcome{overload, cutOff, notDialed, {status: 429}, accepted}}
			call := client.Call{Path: "/scan", Body: strings.NewReader("a letter"), IdempotencyKey: key}
			a, err := s.client(t, client.Options{}).Call(t.Context(), call)
			if err != nil || a.Job.ID != "job_1" {
				t.Fatalf("answer %+v, %v", a, err)
			}
			if got := strings.Join(s.asked, ", "); got != strings.Repeat("POST /scan a letter, ", 4)+"POST /scan a letter" {
				t.Errorf("asked %s", got)
			}
			if len(s.keys[0]) == 0 || key != "" && s.keys[0] != key || strings.Join(s.keys, " ") != strings.Repeat(s.keys[0]+" ", 4)+s.keys[0] {
				t.Errorf("keys %q, want the same five times", s.keys)
			}
			// 2 s were asked for; then 1/2, 1 and 2 s, each by a quarter more or less.
			for i, want := range []time.Duration{0, 2 * time.Second, 2500 * time.Millisecond, 3500 * time.Millisecond, 5500 * time.Millisecond} {
				if off := s.at[i] - want; off < -want/4 || off > want/4 {
					t.Errorf("attempt %d after %v, want about %v", i+1, s.at[i], want)
				}
			}
		})
	}
}

func TestEachCallHasAnotherKey(t *testing.T) {
	t.Parallel()
	s := &script{outcomes: []outcome{accepted}}
	c := s.client(t, client.Options{})
	for range 2 {
		if _, err := c.Call(t.Context(), client.Call{Path: "/scan"}); err != nil {
			t.Fatal(err)
		}
	}
	if s.keys[0] == s.keys[1] {
		t.Errorf("two calls have the key %q: the second would not be made", s.keys[0])
	}
}

func TestWhatMayBeDoneTwiceIsRepeated(t *testing.T) {
	t.Parallel()
	call := func(ctx context.Context, c *client.Client) error {
		_, err := c.Call(ctx, client.Call{Path: "/scan", Body: bytes.NewReader(nil)})
		return err
	}
	read := func(ctx context.Context, c *client.Client) error { _, err := c.Job(ctx, "j"); return err }
	rotate := func(ctx context.Context, c *client.Client) error { _, err := c.RotateSecret(ctx, ""); return err }
	follow := func(ctx context.Context, c *client.Client) error {
		for _, err := range c.Events(ctx, "j") {
			return err
		}
		return nil
	}
	stream := func(ctx context.Context, c *client.Client) error {
		_, err := c.Call(ctx, client.Call{Path: "/scan", Body: io.LimitReader(strings.NewReader("x"), 1)})
		return err
	}
	for name, tc := range map[string]struct {
		ask  func(context.Context, *client.Client) error
		o    outcome
		opt  client.Options
		want int
	}{
		"call, overload":           {ask: call, o: overload, want: 5},
		"call, no answer":          {ask: call, o: cutOff, want: 5},
		"call, too many":           {ask: call, o: outcome{status: 429}, want: 5},
		"call, once":               {ask: call, o: overload, opt: client.Options{Attempts: 1}, want: 1},
		"call, twice":              {ask: call, o: overload, opt: client.Options{Attempts: 2}, want: 2},
		"call, much later":         {ask: call, o: outcome{status: 503, header: http.Header{"Retry-After": {"31"}}}, want: 1},
		"call, in ages":            {ask: call, o: outcome{status: 503, header: http.Header{"Retry-After": {"9999999999"}}}, want: 1},
		"call, refused":            {ask: call, o: outcome{status: 400}, want: 1},
		"call, failure":            {ask: call, o: outcome{status: 500}, want: 1},
		"call that was accepted":   {ask: call, o: outcome{status: 503, header: http.Header{"Ringback-Job-Id": {"job_1"}}}, want: 1},
		"call, body of a stream":   {ask: stream, o: overload, want: 1},
		"reading, no answer":       {ask: read, o: cutOff, want: 5},
		"following, overload":      {ask: follow, o: overload, want: 5},
		"rotation, overload":       {ask: rotate, o: overload, want: 5},
		"rotation, never dialed":   {ask: rotate, o: notDialed, want: 5},
		"rotation, perhaps so far": {ask: rotate, o: cutOff, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{outcomes: []outcome{tc.o}}
				err := tc.ask(t.Context(), s.client(t, tc.opt))
				p, _ := errors.AsType[*client.Problem](err)
				if err == nil || tc.o.status != 0 && (p == nil || p.Status != tc.o.status) || tc.o.err != nil && !errors.Is(err, client.ErrNoAnswer) {
					t.Errorf("error %v, want that of the last attempt", err)
				}
				if len(s.asked) != tc.want {
					t.Errorf("asked %d times, want %d", len(s.asked), tc.want)
				}
			})
		})
	}
}

func TestRepetitionEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{outcomes: []outcome{overload}}
		c := s.client(t, client.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := c.Job(ctx, "j")
		// The second wait would be too long: so it says at once what it knows.
		if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != 503 || len(s.asked) != 2 || time.Since(s.start) > 2*time.Second {
			t.Errorf("after %v and %d attempts: %v", time.Since(s.start), len(s.asked), err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = c.Job(ctx, "j")
		if p, ok := errors.AsType[*client.Problem](err); !ok || p.Status != 503 || !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want both the cancellation and the problem", err)
		}
	})
}

func TestFileIsSentAgainFromWhereItStood(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "letter")
	if err := os.WriteFile(path, []byte("skipped, a letter"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(9, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	attempts := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); string(body) != "a letter" || err != nil {
			t.Errorf("body %q, %v", body, err)
		}
		if attempts++; attempts == 1 {
			answer(w, 503, "text/plain", "")
			return
		}
		answer(w, 202, "application/json", accepted.body)
	}))
	defer server.Close()
	c, err := client.New(server.URL, "", client.Options{Transport: server.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Call(t.Context(), client.Call{Path: "/scan", Body: file, BodyBytes: 8}); err != nil || attempts != 2 {
		t.Errorf("%v after %d attempts", err, attempts)
	}
	if _, err := file.Stat(); err != nil {
		t.Errorf("the caller's file is closed: %v", err)
	}
}

func TestWaitJobOutlastsARestart(t *testing.T) {
	t.Parallel()
	running := outcome{status: 200, body: `{"id":"job_1","status":"running"}`}
	done := outcome{status: 200, body: `{"id":"job_1","status":"succeeded"}`}
	for name, tc := range map[string]struct {
		outcomes []outcome
		ok       bool
	}{
		"seen before": {[]outcome{running, cutOff, notDialed, overload, notDialed, notDialed, notDialed, notDialed, done}, true},
		"never there": {[]outcome{notDialed}, false},
		"gone":        {[]outcome{running, {status: 404}}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{outcomes: tc.outcomes}
			job, err := s.client(t, client.Options{Attempts: 1}).WaitJob(t.Context(), "job_1")
			if tc.ok != (err == nil && job.Status == client.StatusSucceeded) {
				t.Errorf("%s: %+v, %v", name, job, err)
			}
		})
	}
}

func TestNewRefusesNegativeAttempts(t *testing.T) {
	t.Parallel()
	if _, err := client.New("http://host", "", client.Options{Attempts: -1}); err == nil {
		t.Error("accepted")
	}
}
