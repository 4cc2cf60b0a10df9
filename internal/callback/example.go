package callback

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// Example is a callback about a sample job, just as a receiver gets it.
type Example struct {
	Event  job.Event
	Format string
	Method string
	URL    string
	Header http.Header
	Body   []byte
}

// SampleSecret is what examples are signed with.
const SampleSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// SamplePublicKey is the public half of the private key of examples.
const SamplePublicKey = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="

const samplePrivateKey = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="

// sampleTime is when everything happens in examples.
var sampleTime = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)

// Examples are callbacks about a sample job of the operation with this result, made
// and signed as every other callback is: for each format, the operation's own first,
// one for each event. The error tells of those that could not be made.
func (s *Sender) Examples(op job.Operation, contentType string, result []byte) ([]Example, error) {
	keys, err := sign.ParseKeys(SampleSecret + " " + samplePrivateKey)
	if err != nil {
		return nil, fmt.Errorf("examples: %w", err)
	}
	var examples []Example
	var failed error
	for _, format := range sampleFormats(op) {
		for _, event := range sampleEvents {
			if event == job.EventAsk && (s.opt.ReplyURL == nil || !asks(format)) {
				continue
			}
			e, err := s.example(op, format, event, &job.Result{Status: http.StatusOK, ContentType: contentType,
				Body: job.Body{Inline: result, Size: int64(len(result))}}, keys)
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s as %s: %w", event, format, err))
				continue
			}
			examples = append(examples, e)
		}
	}
	return examples, failed
}

// sampleFormats are the formats, that of the operation first.
func sampleFormats(op job.Operation) []string {
	formats := []string{op.Callback.Format}
	for _, format := range job.Formats {
		if format != op.Callback.Format && (format != job.FormatTemplate || op.Callback.Template != "") {
			formats = append(formats, format)
		}
	}
	return formats
}

// sampleEvents are all, the most frequent first.
var sampleEvents = append(slices.Clone(job.Events), job.EventAccepted, job.EventRunning, job.EventProgress, job.EventAsk)

// asks tells whether OweAsk says a question in this format.
func asks(format string) bool {
	return format == job.FormatEnvelope || format == job.FormatCloudEvents || format == job.FormatCloudEventsStructured
}

func (s *Sender) example(op job.Operation, format string, event job.Event, result *job.Result, keys sign.Keys) (Example, error) {
	j := sampleJob(op, event, result)
	cb := &job.Callback{ID: sampleID('b'), JobID: j.ID, App: j.App, Operation: op.Name, Event: event,
		URL: j.Targets[0].URL, CreatedAt: sampleTime}
	switch event {
	case job.EventProgress:
		cb.Data = []byte(`{"percent":40}`)
	case job.EventAsk:
		reply := s.opt.ReplyURL(j.ID, cb.ID)
		reply = reply[:strings.LastIndexByte(reply, '/')+1] + "0123456789" // good for nothing
		// Strings and JSON always have a JSON form.
		cb.Data, _ = json.Marshal(question{Key: "colour", Question: json.RawMessage(`{"which":["red","blue"]}`), ReplyURL: reply})
	}
	cb.Method, cb.Format = choose(&job.Target{Format: format}, &job.Endpoint{}, &op.Callback)
	if event == job.EventAsk && job.Bodiless(cb.Method) {
		cb.Method = http.MethodPost
	}
	m := message{cb: cb, job: asOf(cb, j)}
	if err := s.freezeSample(m); err != nil {
		return Example{}, err
	}
	c, err := formatOf(cb).content(m)
	if err != nil {
		return Example{}, err
	}
	target, err := s.opt.Client.Check(cb.URL)
	if err != nil {
		return Example{}, err
	}
	p := (&place{target: target, current: []sign.Keys{keys}}).withQuery(c.Query)
	header, err := s.header(p, job.Delivery{Callback: cb, Job: j}, &job.Attempt{N: 1, StartedAt: sampleTime}, c)
	if err != nil {
		return Example{}, err
	}
	if c.Open != nil {
		return Example{}, errors.New("the body of an example is not in memory")
	}
	return Example{Event: event, Format: format, Method: cb.Method, URL: p.target.RequestURL(), Header: header, Body: c.Body}, nil
}

// freezeSample is freeze for a callback that nobody gets: its link is good for
// nothing, and what its template does wrong is no failure of the gateway's.
func (s *Sender) freezeSample(m message) (err error) {
	link, _, _ := strings.Cut(s.opt.ResultLink(m.job.ID), "?")
	link += "?token=0123456789"
	if m.cb.Format == job.FormatTemplate {
		program, err := ParseTemplate(s.contract(m.cb.Operation).Template)
		if err == nil {
			m.cb.ContentType, m.cb.Body, err = program.render(m.templateInput(link), s.opt.Now)
		}
		return err
	}
	if formatOf(m.cb).links(m) {
		m.cb.Link = link
	}
	return nil
}

// sampleJob is a job that has come to what the event tells of.
func sampleJob(op job.Operation, event job.Event, result *job.Result) *job.Job {
	j := &job.Job{ID: sampleID('a'), App: "shop", Operation: op.Name, CreatedAt: sampleTime.Add(-3 * time.Second),
		StartedAt: sampleTime.Add(-2 * time.Second), FinishedAt: sampleTime, Runs: 1, Echo: "order-7",
		Targets: []job.Target{{URL: sampleURL(op.Callback.Query), Source: job.SourceRequest, Header: sampleHeader(op.Callback.Headers)}}}
	j.State, _ = job.ParseState(string(event))
	if !event.Terminal() {
		j.State, j.FinishedAt = job.Running, time.Time{}
	}
	switch event {
	case job.EventSucceeded:
		j.Result = result
	case job.EventFailed:
		j.Error = &job.Error{Code: job.CodeUnreachable, Message: "the backend could not be reached"}
	case job.EventExpired:
		j.Error = &job.Error{Code: job.CodeExpired, Message: "the deadline came before the job's end"}
	}
	return j
}

// sampleURL is where the examples go, with what the operation adds to a URL.
func sampleURL(query map[string]string) string {
	values := url.Values{}
	for name, text := range query {
		values.Set(name, sampleValue(text))
	}
	if len(values) == 0 {
		return "https://my.server/bar"
	}
	return "https://my.server/bar?" + values.Encode()
}

func sampleHeader(headers map[string]string) http.Header {
	h := http.Header{}
	for name, text := range headers {
		h.Set(name, sampleValue(text))
	}
	return h
}

// sampleValue is what a text of the configuration may become. Where it has no
// expressions it is nobody's business but the receiver's: it may be a secret.
func sampleValue(text string) string {
	if t, err := expression.Parse(text); err == nil && t.Literal() {
		return "fixed"
	}
	return "7"
}

// sampleID is the same at each start.
func sampleID(last byte) job.ID {
	return job.ID{0x01, 0x9b, 0x7c, 0xd0, 0x5a, 0x1e, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, last}
}
