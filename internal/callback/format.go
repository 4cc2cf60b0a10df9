package callback

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// format is one way to say what a callback says. Each is a file of its own,
// format_<name>.go, and a line in the table below.
type format interface {
	// content is what an attempt sends. It MUST follow from the message alone: every
	// attempt sends the same, to the byte.
	content(m message) (content, error)
	// links tells whether the message names the link to the job's result. That is
	// made of the configuration, so it is kept with the callback when it is owed.
	links(m message) bool
}

// formats is the table of job.Formats.
var formats = map[string]format{
	job.FormatEnvelope:              envelope{},
	job.FormatRaw:                   raw{},
	job.FormatThin:                  thin{},
	job.FormatCloudEvents:           cloudEvents{},
	job.FormatCloudEventsStructured: structuredCloudEvents{},
	job.FormatForm:                  form{},
	job.FormatQuery:                 query{},
	job.FormatMultipart:             multipartForm{},
	job.FormatTemplate:              template{},
}

// formatOf is the format of a callback: the envelope where it names none.
func formatOf(cb *job.Callback) format {
	if f := formats[cb.Format]; f != nil && cb.Format != job.FormatEnvelope {
		return f
	}
	return envelope{}
}

// content is what an attempt sends: headers, something behind the URL's query, and
// a body, which is Body, or what Open opens, of Size octets.
type content struct {
	Type   string      // Content-Type; empty for none
	Header http.Header // what it says outside the body
	Query  string      // in its encoded form, without ? or &
	Body   []byte
	Open   func() (io.ReadCloser, error)
	Size   int64
}

// message is all that a format speaks of: a callback and its job. What the callback
// says of it is frozen.
type message struct {
	cb   *job.Callback
	job  *job.Job
	open func(job.Body) (io.ReadCloser, error) // opens a body that is not inline
}

// kind is the operation and the event: "scan.succeeded".
func (m message) kind() string { return m.cb.Operation + "." + string(m.cb.Event) }

// result is the job's result, nil where the event does not bring it.
func (m message) result() *job.Result {
	if m.cb.Event != job.EventSucceeded {
		return nil
	}
	return m.job.Result
}

// body is the result's body.
func (m message) body() job.Body {
	if m.result() == nil {
		return job.Body{}
	}
	return m.job.ResultBody()
}

// large tells whether the result is too large to be part of a message.
func (m message) large() bool { return m.body().Ref != "" }

// failure is why the job has no result, nil where the event does not bring it.
func (m message) failure() *job.Error {
	switch m.cb.Event {
	case job.EventFailed, job.EventExpired:
		return m.job.Error
	}
	return nil
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// appendFailure appends an error as JSON.
func appendFailure(b []byte, e *job.Error) []byte {
	b = append(b, `{"code":`...)
	b = appendString(b, string(e.Code))
	b = append(b, `,"message":`...)
	b = appendString(b, e.Message)
	if e.Detail != "" {
		b = append(b, `,"detail":`...)
		b = appendString(b, e.Detail)
	}
	return append(b, '}')
}

// jobLink is the job's own URL, which the link to its result begins with.
func (m message) jobLink() string {
	link, _, _ := strings.Cut(m.cb.Link, "/result?")
	return link
}

// The headers of formats that have no other place for what they say.
const (
	headerEvent = "Ringback-Event"
	headerJob   = "Ringback-Job"
	headerState = "Ringback-State"

	headerJobURL    = "Ringback-Job-Url"
	headerResultURL = "Ringback-Result-Url"
)

// stateHeader is the caller's own text as a header, nil for none.
func (m message) stateHeader() http.Header {
	if m.job.Echo == "" {
		return nil
	}
	return http.Header{headerState: {escapeHeader(m.job.Echo)}}
}

// headers say what happened to which job, and the caller's own text.
func (m message) headers() http.Header {
	h := http.Header{headerEvent: {m.kind()}, headerJob: {m.job.ID.Job()}}
	if m.job.Echo != "" {
		h[headerState] = []string{escapeHeader(m.job.Echo)}
	}
	return h
}

// escapeHeader makes any text a header's value, as CloudEvents do (HTTP binding
// §3.1.3.2): space, quotation mark, percent sign and all outside U+0021 to U+007E
// percent-encoded as UTF-8.
func escapeHeader(s string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s))
	for _, c := range []byte(strings.ToValidUTF8(s, "\ufffd")) {
		if c <= ' ' || c > '~' || c == '"' || c == '%' {
			b = append(b, '%', hex[c>>4], hex[c&15])
			continue
		}
		b = append(b, c)
	}
	return string(b)
}

// mediaType is a result's Content-Type as it can be sent: what is no header's
// value, or none at all, is that of any octets.
func mediaType(r *job.Result) string {
	for _, c := range []byte(r.ContentType) {
		if c < ' ' || c > '~' {
			return octets
		}
	}
	if r.ContentType == "" {
		return octets
	}
	return r.ContentType
}

const octets = "application/octet-stream"

// field is one name and value of the flat formats: query, form, multipart.
type field struct{ name, value string }

// facts are the fields that every message has.
func (m message) facts() []field {
	fields := []field{
		{"type", m.kind()},
		{"timestamp", m.cb.CreatedAt.UTC().Format(plainTime)},
		{"job_id", m.job.ID.Job()},
	}
	if e := m.failure(); e != nil {
		fields = append(fields, field{"error.code", string(e.Code)}, field{"error.message", e.Message})
		if e.Detail != "" {
			fields = append(fields, field{"error.detail", e.Detail})
		}
	}
	return fields
}

const plainTime = "2006-01-02T15:04:05.000Z"

// progressFields are those of what the backend said of how far it is: the members of an
// object each by itself.
func (m message) progressFields() []field {
	if m.cb.Event != job.EventProgress {
		return nil
	}
	if members, ok := members(m.cb.Data, "progress."); ok {
		return members
	}
	return []field{{"progress", scalar(m.cb.Data)}}
}

// resultFields are the fields of a result that is inline: those of a JSON object
// each by itself.
func (m message) resultFields() []field {
	r, inline := m.result(), m.body().Inline
	if r == nil {
		return nil
	}
	fields := []field{{"content_type", r.ContentType}}
	switch {
	case isJSON(r.ContentType) && utf8.Valid(inline) && json.Valid(inline):
		if members, ok := members(inline, "result."); ok {
			return append(fields, members...)
		}
		return append(fields, field{"result", scalar(inline)})
	case utf8.Valid(inline):
		return append(fields, field{"result_text", string(inline)})
	}
	return append(fields, field{"result_base64", base64Of(inline)})
}

// members are the members of a JSON object, in their order.
func members(object []byte, prefix string) ([]field, bool) {
	dec := json.NewDecoder(strings.NewReader(string(object)))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, false
	}
	var fields []field
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, false
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, false
		}
		fields = append(fields, field{prefix + name.(string), scalar(value)})
	}
	return fields, true
}

// scalar is a JSON value as a field's: a string without its quotation marks, null
// as nothing, all else as it stands.
func scalar(value []byte) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}

// encodeFields writes fields as application/x-www-form-urlencoded, in their order.
func encodeFields(fields []field) string {
	var b strings.Builder
	for i, f := range fields {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(f.name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(f.value))
	}
	return b.String()
}

// CheckContract says what is wrong with the method, the format and the template of
// an operation's callbacks, and in which of these fields; nil for nothing.
func CheckContract(c job.Contract) (field string, err error) {
	if err := job.CheckFormat(c.Method, ""); err != nil {
		return "method", err
	}
	if err := c.CheckFormat(); err != nil {
		return "format", err
	}
	if c.Template == "" {
		return "", nil
	}
	_, err = ParseTemplate(c.Template)
	return "template", err
}

// choose decides how a target is told: what the caller chose, else its endpoint,
// else the operation. A choice of the format query alone is one of the method GET,
// too, and by a method without a body only query and thin say something.
func choose(t *job.Target, e *job.Endpoint, c *job.Contract) (method, format string) {
	for _, by := range [...]struct{ method, format string }{{t.Method, t.Format}, {e.Method, e.Format}, {c.Method, c.Format}} {
		if format == "" {
			format = by.format
		}
		if method == "" {
			method = by.method
		}
		if method == "" && format == job.FormatQuery {
			method = http.MethodGet
		}
	}
	if job.Bodiless(method) && !job.SaysWithoutBody(format) {
		format = job.FormatQuery
	}
	return method, format
}

// freeze keeps with a callback that is owed what does not follow from its job
// alone: the link to the result, and what a template makes of it.
func (s *Sender) freeze(cb *job.Callback, j *job.Job) {
	m := message{cb: cb, job: j}
	if cb.Format == job.FormatTemplate {
		s.renderTemplate(m)
		return
	}
	if formatOf(cb).links(m) {
		cb.Link = s.opt.ResultLink(j.ID)
	}
}

// renderTemplate runs the operation's template. What goes wrong is said in an
// envelope, which takes the place of what it would have made.
func (s *Sender) renderTemplate(m message) {
	link, err := s.opt.ResultLink(m.job.ID), errNoTemplate
	if p := s.templates[m.cb.Operation]; p != nil {
		m.cb.ContentType, m.cb.Body, err = p.render(m.templateInput(link), s.opt.Now)
	}
	if err == nil {
		return
	}
	s.metrics.templateErrors.WithLabelValues(m.cb.Operation).Inc()
	reason := "the program failed; the callback says how as template_error" // that may repeat what the job holds
	if errors.Is(err, errNoTemplate) {
		reason = err.Error()
	}
	s.opt.Log.Warn("template failed; an envelope takes its place", "callback", m.cb.ID.Callback(), "operation", m.cb.Operation, "reason", reason)
	with := *m.cb
	with.Link = link
	m.cb.ContentType, m.cb.Body = typeJSON, appendTemplateError(appendEnvelope(nil, &with, m.job), err)
}

var errNoTemplate = errors.New("the operation has no template")

// signable is the format of a callback that its scheme can sign: v1a cannot sign
// what is streamed, so that a large result is told of by its link.
func signable(m message, schemes sign.Schemes) string {
	streams := m.large() && (m.cb.Format == job.FormatRaw || m.cb.Format == job.FormatMultipart)
	if streams && schemes.Has(sign.SchemeV1a) {
		return job.FormatThin
	}
	return m.cb.Format
}

// request is the content as a request; the place adds where to.
func (c content) request(method string, header http.Header, timeout time.Duration) *outbound.Request {
	r := &outbound.Request{Method: method, Header: header, Body: c.Body, Timeout: timeout}
	if c.Open != nil {
		r.GetBody, r.ContentLength = func(context.Context) (io.ReadCloser, error) { return c.Open() }, c.Size
	}
	return r
}
