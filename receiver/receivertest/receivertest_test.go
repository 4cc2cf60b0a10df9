package receivertest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/receiver/receivertest"
	"github.com/ringback/ringback/sign"
)

// newReceiver returns a handler, and the messages that it has been given.
func newReceiver(t *testing.T, secrets ...sign.Secret) (http.Handler, *[]receiver.Message) {
	t.Helper()
	rc, err := receiver.New(receiver.Options{Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	got := &[]receiver.Message{}
	return rc.Handler(func(_ context.Context, m receiver.Message) error {
		*got = append(*got, m)
		return nil
	}), got
}

func status(h http.Handler, r *http.Request) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

func TestZeroCallbackIsAWholeEnvelope(t *testing.T) {
	t.Parallel()
	secret := sign.NewSecret()
	h, got := newReceiver(t, secret)
	for range 2 {
		if code := status(h, receivertest.Callback{}.Request(secret)); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
	}
	if len(*got) != 2 {
		t.Fatalf("%d messages, want 2: each request is a callback of its own", len(*got))
	}
	e, err := (*got)[0].Envelope()
	if err != nil || e.Type != "test.succeeded" || e.Data.Job.Operation != "test" || e.Timestamp.IsZero() {
		t.Errorf("envelope %+v, %v", e, err)
	}
	if _, err := e.Data.Bytes(); !errors.Is(err, receiver.ErrNoResult) {
		t.Errorf("result: %v, want none", err)
	}
}

func TestCallbackSaysWhatItIsGiven(t *testing.T) {
	t.Parallel()
	secret := sign.NewSecret()
	h, got := newReceiver(t, secret)
	c := receivertest.Callback{
		Method: http.MethodPut, URL: "https://my.server/bar?x=1", ID: "cb_7",
		Header: http.Header{"X-Tenant": {"7"}},
		Envelope: receiver.Envelope{Data: receiver.Data{
			Job:    receiver.Job{Operation: "scan"},
			Result: json.RawMessage(`{"infected":false}`),
			State:  "order 7",
		}},
	}
	r := c.Request(secret)
	if r.Method != http.MethodPut || r.URL.String() != c.URL || r.Header.Get("X-Tenant") != "7" {
		t.Errorf("request %s %s %v", r.Method, r.URL, r.Header)
	}
	for range 2 {
		if code := status(h, c.Request(secret)); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
	}
	if len(*got) != 1 {
		t.Fatalf("%d messages, want 1: the second is a duplicate", len(*got))
	}
	e, err := (*got)[0].Envelope()
	if err != nil || e.Type != "scan.succeeded" || string(e.Data.Result) != `{"infected":false}` ||
		e.Data.ContentType != "application/json" || e.Data.State != "order 7" {
		t.Errorf("envelope %+v, %v", e, err)
	}
}

func TestBodyIsSentAsItStands(t *testing.T) {
	t.Parallel()
	secret := sign.NewSecret()
	h, got := newReceiver(t, secret)
	for _, body := range []string{"", "%PDF \x00\xff"} {
		r := receivertest.Callback{Body: []byte(body), Header: http.Header{"Content-Type": {"application/pdf"}}}.Request(secret)
		if r.Header.Get("Content-Type") != "application/pdf" {
			t.Errorf("content type %q", r.Header.Get("Content-Type"))
		}
		if code := status(h, r); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
		if last := (*got)[len(*got)-1]; string(last.Body) != body {
			t.Errorf("body %q, want %q", last.Body, body)
		}
	}
}

func TestReceiverRefusesWhatItShould(t *testing.T) {
	t.Parallel()
	secret := sign.NewSecret()
	h, got := newReceiver(t, secret)
	for name, r := range map[string]*http.Request{
		"other secret": receivertest.Callback{}.Request(sign.NewSecret()),
		"old":          receivertest.Callback{Timestamp: time.Now().Add(-time.Hour)}.Request(secret),
	} {
		if code := status(h, r); code != http.StatusForbidden {
			t.Errorf("%s: status %d, want 403", name, code)
		}
	}
	if len(*got) != 0 {
		t.Errorf("the handler got %v", *got)
	}
}

func TestWhatIsSaidOutsideTheBodyIsSignedToo(t *testing.T) {
	t.Parallel()
	for _, secret := range []sign.Secret{sign.NewSecret(), sign.NewKeys().Private} {
		h, got := newReceiver(t, secret)
		server := httptest.NewServer(h)
		for _, c := range []receivertest.Callback{
			{Body: []byte{}},
			{Method: http.MethodGet, URL: "/bar?type=scan.succeeded", Body: []byte{}},
			{Header: http.Header{"Ce-Type": {"scan.succeeded"}}, Body: []byte("{}")},
		} {
			if code := status(h, c.Request(secret)); code != http.StatusOK {
				t.Errorf("%+v: a handler answers %d", c, code)
			}
			c.URL = server.URL
			answer, err := server.Client().Do(c.Request(secret))
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				t.Errorf("%+v: a server answers %d", c, answer.StatusCode)
			}
		}
		server.Close()
		if len(*got) != 6 || !(*got)[0].WholeRequest {
			t.Errorf("%d messages: %+v", len(*got), *got)
		}
	}
}

func TestRequestGoesThroughAClient(t *testing.T) {
	t.Parallel()
	old, secret := sign.NewSecret(), sign.NewSecret()
	h, got := newReceiver(t, secret)
	server := httptest.NewServer(h)
	defer server.Close()
	answer, err := server.Client().Do(receivertest.Callback{URL: server.URL}.Request(old, secret))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK || len(*got) != 1 {
		t.Errorf("%s: %s", answer.Status, text)
	}
}

func TestRequestThatCannotBeMadePanics(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]receivertest.Callback{
		"method": {Method: "A B"}, "URL": {URL: "http://\x7f"}, "id": {ID: "a.b"},
		"result": {Envelope: receiver.Envelope{Data: receiver.Data{Result: json.RawMessage("{")}}},
	} {
		func() {
			defer func() {
				if said := fmt.Sprint(recover()); !strings.HasPrefix(said, "receivertest: ") {
					t.Errorf("%s: panics with %s", name, said)
				}
			}()
			c.Request(sign.NewSecret())
		}()
	}
}
