package receiver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

const body = `{"type":"scan.succeeded","data":{}}`

func setup(t testing.TB, o receiver.Options) (*receiver.Receiver, sign.Secret) {
	t.Helper()
	secret := sign.NewSecret()
	if o.Secrets == nil {
		o.Secrets = []sign.Secret{secret}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	rc, err := receiver.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return rc, secret
}

func request(t testing.TB, secret sign.Secret, id, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/bar", strings.NewReader(body))
	m := sign.Message{ID: id, Timestamp: time.Now(), Body: []byte(body)}
	if err := sign.Sign(r.Header, m, secret); err != nil {
		t.Fatal(err)
	}
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandlerGetsTheVerifiedMessage(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ body, wantType string }{
		"envelope":       {body, "scan.succeeded"},
		"other JSON":     {`[1]`, ""},
		"type no string": {`{"type":7}`, ""},
		"not JSON":       {"%PDF \x00\xff", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rc, secret := setup(t, receiver.Options{})
			var got receiver.Message
			h := rc.Handler(func(_ context.Context, m receiver.Message) error { got = m; return nil })
			w := serve(h, request(t, secret, "cb_1", tc.body))
			if w.Code != http.StatusOK {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			if got.ID != "cb_1" || got.Type != tc.wantType || string(got.Body) != tc.body {
				t.Errorf("got %+v", got)
			}
			if age := time.Since(got.Timestamp); age < 0 || age > time.Minute {
				t.Errorf("timestamp %v", got.Timestamp)
			}
		})
	}
}

func TestRefusedRequestsNeverReachTheHandler(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change     func(*http.Request)
		want       int
		wantAnswer string
	}{
		"no id":              {func(r *http.Request) { r.Header.Del("webhook-id") }, 400, "webhook-id is missing"},
		"no timestamp":       {func(r *http.Request) { r.Header.Del("webhook-timestamp") }, 400, "webhook-timestamp is missing"},
		"no signature":       {func(r *http.Request) { r.Header.Del("webhook-signature") }, 400, "webhook-signature is missing"},
		"malformed time":     {func(r *http.Request) { r.Header.Set("webhook-timestamp", "hello") }, 400, "not a number"},
		"broken body":        {func(r *http.Request) { r.Body = io.NopCloser(brokenReader{}) }, 400, "broken off"},
		"other id":           {func(r *http.Request) { r.Header.Set("webhook-id", "cb_2") }, 403, "no signature"},
		"other body":         {func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("{}")) }, 403, "no signature"},
		"old":                {func(r *http.Request) { r.Header.Set("webhook-timestamp", "1614265330") }, 403, "5 minutes"},
		"too long, declared": {func(r *http.Request) { r.ContentLength = 101 }, 413, "too large"},
		"too long, chunked": {func(r *http.Request) {
			r.ContentLength = -1
			r.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", 101)))
		}, 413, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rc, secret := setup(t, receiver.Options{MaxBodyBytes: 100})
			h := rc.Handler(func(context.Context, receiver.Message) error {
				t.Error("the handler is called")
				return nil
			})
			r := request(t, secret, "cb_1", body)
			tc.change(r)
			w := serve(h, r)
			if w.Code != tc.want || !strings.Contains(w.Body.String(), tc.wantAnswer) {
				t.Errorf("%d %q, want %d with %q", w.Code, w.Body, tc.want, tc.wantAnswer)
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken off") }

func TestBodyUpToTheLimitIsAccepted(t *testing.T) {
	t.Parallel()
	rc, secret := setup(t, receiver.Options{MaxBodyBytes: 100})
	h := rc.Handler(func(context.Context, receiver.Message) error { return nil })
	if w := serve(h, request(t, secret, "cb_1", strings.Repeat("x", 100))); w.Code != http.StatusOK {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestBothSecretsAreGoodDuringARotation(t *testing.T) {
	t.Parallel()
	old, fresh := sign.NewSecret(), sign.NewSecret()
	rc, _ := setup(t, receiver.Options{Secrets: []sign.Secret{fresh, old}})
	h := rc.Handler(func(context.Context, receiver.Message) error { return nil })
	for id, secret := range map[string]sign.Secret{"cb_1": old, "cb_2": fresh} {
		if w := serve(h, request(t, secret, id, body)); w.Code != http.StatusOK {
			t.Errorf("%s: status %d: %s", id, w.Code, w.Body)
		}
	}
}

func TestDuplicateIsAnsweredWithoutTheHandler(t *testing.T) {
	t.Parallel()
	rc, secret := setup(t, receiver.Options{})
	calls := 0
	h := rc.Handler(func(context.Context, receiver.Message) error { calls++; return nil })
	for i := range 3 {
		w := serve(h, request(t, secret, "cb_1", body))
		if w.Code != http.StatusOK || w.Body.Len() != 0 {
			t.Errorf("delivery %d: %d %q, want 200", i, w.Code, w.Body)
		}
	}
	if calls != 1 {
		t.Errorf("the handler is called %d times, want once", calls)
	}
}

// The answer to a question must be the same whichever attempt's is heard.
func TestDuplicateGetsTheAnswerOfTheFirst(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusOK, http.StatusAccepted, http.StatusCreated} {
		rc, secret := setup(t, receiver.Options{})
		calls := 0
		h := rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls++
			w.Header().Set("X-Reply", "yes")
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "answer %d", calls)
		}))
		for i := range 2 {
			w := serve(h, request(t, secret, "cb_1", body))
			if w.Code != status || w.Header().Get("X-Reply") != "yes" || w.Body.String() != "answer 1" {
				t.Errorf("delivery %d: %d %v %q, want %d and answer 1", i, w.Code, w.Header(), w.Body, status)
			}
		}
	}
}

func TestDuplicateOfALostAnswerIsHandledAllTheSame(t *testing.T) {
	t.Parallel()
	for _, kept := range []string{"", "{", `{"status":500}`} {
		rc, secret := setup(t, receiver.Options{Deduper: deduperFunc(
			func(context.Context, string, func(context.Context) ([]byte, error)) ([]byte, error) {
				return []byte(kept), nil
			})})
		h := rc.Handler(func(context.Context, receiver.Message) error { t.Error("handled again"); return nil })
		if w := serve(h, request(t, secret, "cb_1", body)); w.Code != http.StatusOK {
			t.Errorf("kept %q: status %d, want 200", kept, w.Code)
		}
	}
}

func TestRefusalIsLoggedWithWhatToDo(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	rc, _ := setup(t, receiver.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	serve(rc.Handler(nil), request(t, sign.NewSecret(), "cb_1", body))
	if !strings.Contains(log.String(), "another secret") {
		t.Errorf("log %q, want why the callback was refused", log.String())
	}
}

func TestErrorsOfVerifyAreTold(t *testing.T) {
	t.Parallel()
	rc, secret := setup(t, receiver.Options{MaxBodyBytes: 10})
	large := request(t, secret, "cb_1", body)
	broken := request(t, secret, "cb_1", "")
	broken.Body = io.NopCloser(brokenReader{})
	for want, r := range map[error]*http.Request{
		receiver.ErrBodyTooLarge: large,
		receiver.ErrBodyBroken:   broken,
		sign.ErrMismatch:         request(t, sign.NewSecret(), "cb_1", ""),
		sign.ErrHeader:           httptest.NewRequest(http.MethodPost, "/bar", nil),
	} {
		if _, err := rc.Verify(r); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
}

func TestFailedHandlerGetsTheNextAttempt(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	rc, secret := setup(t, receiver.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	outcomes := []error{errors.New("database of shop 7 is down"), nil}
	calls := 0
	h := rc.Handler(func(context.Context, receiver.Message) error { calls++; return outcomes[calls-1] })
	for i, want := range []int{http.StatusInternalServerError, http.StatusOK, http.StatusOK} {
		w := serve(h, request(t, secret, "cb_1", body))
		if w.Code != want || strings.Contains(w.Body.String(), "shop 7") {
			t.Errorf("delivery %d: %d %q, want %d", i, w.Code, w.Body, want)
		}
	}
	if calls != 2 {
		t.Errorf("the handler is called %d times, want twice", calls)
	}
	if !strings.Contains(log.String(), "shop 7") || !strings.Contains(log.String(), "cb_1") {
		t.Errorf("log %q, want the error and the id", log.String())
	}
}

func TestPanickingHandlerGetsTheNextAttempt(t *testing.T) {
	t.Parallel()
	rc, secret := setup(t, receiver.Options{})
	calls := 0
	h := rc.Handler(func(context.Context, receiver.Message) error {
		if calls++; calls == 1 {
			panic("first")
		}
		return nil
	})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is swallowed")
			}
		}()
		serve(h, request(t, secret, "cb_1", body))
	}()
	if w := serve(h, request(t, secret, "cb_1", body)); w.Code != http.StatusOK || calls != 2 {
		t.Errorf("status %d after %d calls, want 200 after 2", w.Code, calls)
	}
}

func TestMiddlewarePassesRequestAndAnswerOn(t *testing.T) {
	t.Parallel()
	rc, secret := setup(t, receiver.Options{})
	h := rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, ok := receiver.FromContext(r.Context())
		again, err := io.ReadAll(r.Body)
		if !ok || m.ID != "cb_1" || err != nil || string(again) != body {
			t.Errorf("message %+v, body %q, error %v", m, again, err)
		}
		w.Header().Set("X-Reply", "yes")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "thank you")
	}))
	w := serve(h, request(t, secret, "cb_1", body))
	if w.Code != http.StatusCreated || w.Header().Get("X-Reply") != "yes" || w.Body.String() != "thank you" {
		t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
	}
}

func TestOnlyA2xxSettlesAMessage(t *testing.T) {
	t.Parallel()
	for status, wantCalls := range map[int]int{200: 1, 204: 1, 299: 1, 302: 2, 404: 2, 410: 2, 503: 2} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			rc, secret := setup(t, receiver.Options{})
			calls := 0
			h := rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				calls++
				w.WriteHeader(status)
			}))
			if w := serve(h, request(t, secret, "cb_1", body)); w.Code != status {
				t.Errorf("status %d, want %d", w.Code, status)
			}
			serve(h, request(t, secret, "cb_1", body))
			if calls != wantCalls {
				t.Errorf("%d calls for two deliveries, want %d", calls, wantCalls)
			}
		})
	}
}

func TestConcurrentDuplicateWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		first     error
		wantCalls int
	}{
		"first succeeds": {nil, 1},
		"first fails":    {errors.New("no"), 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rc, secret := setup(t, receiver.Options{})
				calls, release := 0, make(chan struct{})
				h := rc.Handler(func(context.Context, receiver.Message) error {
					if calls++; calls > 1 {
						return nil
					}
					<-release
					return tc.first
				})
				go serve(h, request(t, secret, "cb_1", body))
				synctest.Wait()
				second := make(chan *httptest.ResponseRecorder, 1)
				go func() { second <- serve(h, request(t, secret, "cb_1", body)) }()
				synctest.Wait()
				if calls != 1 || len(second) != 0 {
					t.Errorf("%d calls, %d answers while the first one runs", calls, len(second))
				}
				close(release)
				w := <-second
				if calls != tc.wantCalls || w.Code != http.StatusOK {
					t.Errorf("%d calls, %d %q", calls, w.Code, w.Body)
				}
			})
		})
	}
}

func TestDuplicateThatHangsUpWhileItWaitsIsNotSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		rc, secret := setup(t, receiver.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		release := make(chan struct{})
		h := rc.Handler(func(context.Context, receiver.Message) error { <-release; return nil })
		go serve(h, request(t, secret, "cb_1", body))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		w := serve(h, request(t, secret, "cb_1", body).WithContext(ctx))
		close(release)
		if w.Code != http.StatusServiceUnavailable || log.Len() != 0 {
			t.Errorf("status %d, want 503; log %q", w.Code, log.String())
		}
	})
}

// deduperFunc is a Deduper of one's own.
type deduperFunc func(ctx context.Context, id string, handle func(context.Context) ([]byte, error)) ([]byte, error)

func (f deduperFunc) Once(ctx context.Context, id string, handle func(context.Context) ([]byte, error)) ([]byte, error) {
	return f(ctx, id, handle)
}

func TestMessageIsNotSettledWhenTheDeduperFails(t *testing.T) {
	t.Parallel()
	failure := errors.New("commit: disk full")
	for name, deduper := range map[string]deduperFunc{
		"before the handler": func(context.Context, string, func(context.Context) ([]byte, error)) ([]byte, error) {
			return nil, failure
		},
		"after the handler": func(ctx context.Context, _ string, handle func(context.Context) ([]byte, error)) ([]byte, error) {
			answer, err := handle(ctx)
			return answer, errors.Join(err, failure)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			rc, secret := setup(t, receiver.Options{Deduper: deduper, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			h := rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "done")
			}))
			w := serve(h, request(t, secret, "cb_1", body))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
				t.Errorf("%d %v, want 503 with Retry-After", w.Code, w.Header())
			}
			if strings.Contains(w.Body.String(), "done") || strings.Contains(w.Body.String(), "disk") {
				t.Errorf("answer %q", w.Body)
			}
			if !strings.Contains(log.String(), "disk full") {
				t.Errorf("log %q, want the cause", log.String())
			}
		})
	}
}

func TestDedupersContextReachesTheHandler(t *testing.T) {
	t.Parallel()
	type txKey struct{}
	rc, secret := setup(t, receiver.Options{Deduper: deduperFunc(
		func(ctx context.Context, _ string, handle func(context.Context) ([]byte, error)) ([]byte, error) {
			return handle(context.WithValue(ctx, txKey{}, "tx 1"))
		})})
	var got any
	h := rc.Handler(func(ctx context.Context, _ receiver.Message) error { got = ctx.Value(txKey{}); return nil })
	serve(h, request(t, secret, "cb_1", body))
	if got != "tx 1" {
		t.Errorf("the handler sees %v, want the deduper's transaction", got)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]receiver.Options{
		"no secret":      {},
		"zero secret":    {Secrets: []sign.Secret{sign.NewSecret(), {}}},
		"negative limit": {Secrets: []sign.Secret{sign.NewSecret()}, MaxBodyBytes: -1},
	} {
		if _, err := receiver.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzHandler(f *testing.F) {
	f.Add("cb_1", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", []byte(body))
	f.Add("a.b", "", "v1, v1,", []byte{0xff})
	f.Add("cb_1", fmt.Sprint(time.Now().Unix()), "v1a,AA==", bytes.Repeat([]byte("x"), 101))
	rc, _ := setup(f, receiver.Options{MaxBodyBytes: 100})
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte) {
		h := rc.Handler(func(context.Context, receiver.Message) error {
			t.Error("a message is accepted that nobody signed")
			return nil
		})
		r := httptest.NewRequest(http.MethodPost, "/bar", bytes.NewReader(body))
		r.Header.Set("webhook-id", id)
		r.Header.Set("webhook-timestamp", timestamp)
		r.Header.Set("webhook-signature", signature)
		w := serve(h, r)
		if len(body) > 100 && w.Code != 413 || w.Code != 400 && w.Code != 403 && w.Code != 413 {
			t.Errorf("status %d for a body of %d bytes", w.Code, len(body))
		}
	})
}
