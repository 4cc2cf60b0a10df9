package callback

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// exampleSender has no store: examples need none.
func exampleSender(t *testing.T, op job.Operation) *Sender {
	t.Helper()
	client, err := outbound.New(outbound.Policy{}, outbound.Limits{}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return New(Options{Client: client, Operations: []job.Operation{op}, ResultLink: link,
		ReplyURL: func(job.ID, job.ID) string { return "https://api.example.com/v1/replies/secret" }, UserAgent: "Ringback/1",
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Registerer: prometheus.NewRegistry()})
}

func TestThereIsAnExampleOfEveryFormatAndEventAndItIsGenuine(t *testing.T) {
	t.Parallel()
	keys, err := sign.ParseKeys(SampleSecret + " " + samplePrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	public, err := sign.ParseSecret(SamplePublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, signature := range []string{"", "v1a", `["v1","rfc9421"]`} {
		op := job.Operation{Name: "scan", Callback: job.Contract{Template: `{a: .result.a}`, Format: job.FormatTemplate, Signature: signature,
			Headers: map[string]string{"X-Order": "{$request.query.order}", "X-Fixed": "hunter2"}, Query: map[string]string{"k": "hunter2"}}}.WithDefaults()
		examples, err := exampleSender(t, op).Examples(op, "application/json", []byte(`{"a": 1}`))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(job.Formats)*len(job.AllEvents) + 3; len(examples) != n || examples[0].Format != job.FormatTemplate {
			t.Errorf("%d examples, the first as %s; want %d", len(examples), examples[0].Format, n)
		}
		for _, e := range examples {
			if strings.Contains(string(e.Body), "secret") {
				t.Errorf("%s as %s has a link that is good for something", e.Event, e.Format)
			}
			if !slices.Contains(job.Formats, e.Format) || !strings.HasPrefix(e.URL, "https://my.server/bar?k=fixed") || e.Header.Get("X-Fixed") != "fixed" {
				t.Errorf("%s as %s goes to %s with %v", e.Event, e.Format, e.URL, e.Header)
			}
			if strings.Contains(signature, "v1") || signature == "" {
				if _, err := sign.Verify(e.Header, e.Body, sampleTime, keys.Shared, public); err != nil {
					t.Errorf("%s as %s: %v", e.Event, e.Format, err)
				}
			}
			if !sign.HasRFC9421(e.Header) {
				continue
			}
			r := sign.Request{Message: sign.Message{Body: e.Body}, Method: e.Method, URL: e.URL, Header: e.Header}
			if _, err := sign.VerifyRFC9421(r, sampleTime, keys.Shared, public); err != nil {
				t.Errorf("%s as %s: %v", e.Event, e.Format, err)
			}
		}
	}
}

func TestExampleThatCannotBeMadeIsLeftOut(t *testing.T) {
	t.Parallel()
	op := job.Operation{Name: "scan", Callback: job.Contract{Template: `if .event == "failed" then error("no") else "x" end`, Format: job.FormatTemplate}}.WithDefaults()
	s := exampleSender(t, op)
	examples, err := s.Examples(op, "application/json", []byte(`{}`))
	if err == nil || !strings.Contains(err.Error(), "failed as template") {
		t.Errorf("error %v", err)
	}
	if len(examples) < 7*len(job.Events) || slices.ContainsFunc(examples, func(e Example) bool { return e.Format == job.FormatTemplate && e.Event == job.EventFailed }) {
		t.Errorf("%d examples", len(examples))
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) == 0 {
		t.Errorf("error %v", err)
	}
}
