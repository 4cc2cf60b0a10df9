package ringback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

// What says something outside its body: in the URL, in headers, or by having no body.
var outsideCases = []struct {
	format, method string
	result         string
}{
	{job.FormatQuery, http.MethodGet, `{"infected":true}`},
	{job.FormatQuery, http.MethodDelete, `{"infected":true}`},
	{job.FormatQuery, http.MethodPost, `{"infected":true}`},
	{job.FormatThin, http.MethodGet, `{"infected":true}`},
	{job.FormatCloudEvents, http.MethodPost, `{"infected":true}`},
	{job.FormatCloudEvents, http.MethodPost, ""},
	{job.FormatRaw, http.MethodPost, ""},
}

// recorder hands on what a receiver gets, before it is looked at.
func recorder(t *testing.T, secret sign.Secret) (url string, came <-chan sign.Request, taken <-chan receiver.Message) {
	t.Helper()
	rc, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secret}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	messages, requests := make(chan receiver.Message, 100), make(chan sign.Request, 100)
	handler := rc.Handler(func(_ context.Context, m receiver.Message) error {
		messages <- m
		return nil
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read: %v", err)
		}
		requests <- sign.Request{Message: sign.Message{Body: body}, Method: r.Method, URL: "http://" + r.Host + r.URL.RequestURI(), Header: r.Header.Clone()}
		r.Body = io.NopCloser(bytes.NewReader(body))
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, requests, messages
}

func nextTaken(t *testing.T, taken <-chan receiver.Message) receiver.Message {
	t.Helper()
	select {
	case m := <-taken:
		return m
	case <-time.After(time.Minute):
		t.Fatal("no callback was handled")
		return receiver.Message{}
	}
}

// forge sends a captured callback again, changed. What is verified as a duplicate would be
// answered 200.
func forge(t *testing.T, r sign.Request, change func(*http.Request)) (status int, answer string) {
	t.Helper()
	again, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		t.Fatal(err)
	}
	again.Header = r.Header.Clone()
	change(again)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(again)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// lie changes what a callback says outside its body.
func lie(r *http.Request) {
	q := r.URL.Query()
	q.Set("result.infected", "false")
	r.URL.RawQuery = q.Encode()
	r.Header.Set("Ce-Type", "other.succeeded")
}

func strip(r *http.Request) {
	for _, name := range []string{"Signature", "Signature-Input", "Content-Digest"} {
		r.Header.Del(name)
	}
}

func TestGenuineCallbacksPassAndForgedOnesDoNotWhateverStandsOutsideTheBody(t *testing.T) {
	t.Parallel()
	settings := []string{"", "v1", "v1a", "v1,v1a", "rfc9421", `{"legacy":"github"}`, `["v1",{"legacy":"stripe"}]`}
	var operations []ringback.Operation
	for i, tc := range outsideCases {
		for j, setting := range settings {
			if tc.format == job.FormatRaw && strings.Contains(setting, "v1a") {
				continue // refused at the start
			}
			name := fmt.Sprintf("op%d_%d", i, j)
			backend := ringback.Func(func(_ context.Context, _ *ringback.Call, out *ringback.Result) error {
				if tc.result == "" {
					return nil
				}
				out.ContentType = "application/json"
				_, err := io.WriteString(out, tc.result)
				return err
			})
			operations = append(operations, operation(name, "POST /"+name, backend, quick, func(op *job.Operation) {
				op.Callback.Format, op.Callback.Method, op.Callback.Signature = tc.format, tc.method, setting
			}))
		}
	}
	g := setup(t, operations...)
	receiverURL, came, taken := recorder(t, g.secret)
	for i, tc := range outsideCases {
		for j, setting := range settings {
			if tc.format == job.FormatRaw && strings.Contains(setting, "v1a") {
				continue
			}
			name := fmt.Sprintf("%s, %s, result %q, signed %q", tc.format, tc.method, tc.result, setting)
			g.call(t, client.Call{Path: fmt.Sprintf("/op%d_%d", i, j), CallbackURL: receiverURL + "/bar?file=7"})
			genuine := nextRequest(t, came)
			if m := nextTaken(t, taken); !m.WholeRequest || m.ID != genuine.Header.Get("Webhook-Id") {
				t.Errorf("%s: %+v", name, m)
			}
			for what, change := range map[string]func(*http.Request){
				"changed":                 lie,
				"changed and stripped":    func(r *http.Request) { lie(r); strip(r) },
				"stripped":                strip,
				"of another tag":          func(r *http.Request) { lie(r); r.Header.Set("Signature-Input", `sig1=("@method");created=1;tag="x"`) },
				"without Signature-Input": func(r *http.Request) { lie(r); r.Header.Del("Signature-Input") },
			} {
				if status, answer := forge(t, genuine, change); status/100 != 4 {
					t.Errorf("%s, %s: answered %d %s", name, what, status, answer)
				}
				nextRequest(t, came)
			}
		}
	}
	if len(taken) > 0 {
		t.Errorf("%d forged ones were handled", len(taken))
	}
}

func TestABodySignedByItselfCarriesNothingInAURLOfAGet(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("notify", "POST /notify", ringback.Relay(), quick))
	receiverURL, came, taken := recorder(t, g.secret)
	g.call(t, client.Call{Path: "/notify", Body: strings.NewReader("x"), CallbackURL: receiverURL})
	envelope := nextRequest(t, came)
	if m := nextTaken(t, taken); m.WholeRequest {
		t.Errorf("%+v", m)
	}
	// It is genuine, and of the same secret: as it came it would be a duplicate.
	status, answer := forge(t, envelope, func(r *http.Request) {
		r.Method = http.MethodGet
		r.URL.RawQuery = url.Values{"type": {"scan.succeeded"}, "result.infected": {"false"}}.Encode()
	})
	if status != http.StatusForbidden || !strings.Contains(answer, receiver.ErrOutsideBody.Error()) || !strings.Contains(answer, "RFC 9421") {
		t.Errorf("answered %d %s", status, answer)
	}
	if receiver.Status(errors.Join(receiver.ErrOutsideBody)) != http.StatusForbidden {
		t.Error("its status is another one")
	}
}
