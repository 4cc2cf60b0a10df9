package callback

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/itchyny/gojq"
	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
)

// template is what the operation's own jq program makes of {job, result, request,
// event, state}. It is run once, when the callback is owed: what it made is kept
// with the callback.
type template struct{}

func (template) links(message) bool { return false }

func (template) content(m message) (content, error) {
	if m.cb.Body == nil {
		return content{}, errors.New("the callback was stored without what its template made")
	}
	return content{Type: m.cb.ContentType, Header: m.headers(), Body: m.cb.Body}, nil
}

// What a run of a template may take.
const (
	maxTemplateTime  = time.Second
	maxTemplateSteps = 500_000
	maxTemplateMade  = 64 << 20  // octets of all values that it makes, one after the other
	maxTemplateValue = 2 << 20   // octets of one of them
	maxTemplateBody  = 256 << 10 // octets of what comes out
	maxTemplateText  = 16 << 10  // octets of the program itself
)

// Program is a template that has been read.
type Program struct{ query *gojq.Query }

// ParseTemplate reads a jq program. Its error says what cannot stand in a template.
func ParseTemplate(text string) (*Program, error) {
	if len(text) > maxTemplateText {
		return nil, fmt.Errorf("the template is larger than %d KiB", maxTemplateText>>10)
	}
	query, err := gojq.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("the template is no jq program: %w", err)
	}
	if err := bound(query); err != nil {
		return nil, err
	}
	if _, err := (&meter{}).compile(query); err != nil {
		return nil, fmt.Errorf("the template is no jq program: %w", err)
	}
	return &Program{query}, nil
}

// render runs the program. What comes out first is the body: a string as it stands,
// all else as JSON. A second one, a string, is its content type.
func (p *Program) render(input any, now func() time.Time) (contentType string, body []byte, err error) {
	defer func() {
		// The library's own mistakes must not take a finished job along.
		if v := recover(); v != nil {
			contentType, body, err = "", nil, fmt.Errorf("the template failed: %v", v)
		}
	}()
	run := &meter{Context: context.Background(), now: now, end: now().Add(maxTemplateTime)}
	code, err := run.compile(p.query)
	if err != nil {
		return "", nil, err
	}
	values := code.RunWithContext(run, input)
	first, err := nextValue(values)
	if err != nil {
		return "", nil, err
	}
	if first == nothing {
		return "", nil, errors.New("the template made nothing")
	}
	second, err := nextValue(values)
	if err != nil {
		return "", nil, err
	}
	if second != nothing {
		if third, err := nextValue(values); err != nil || third != nothing {
			return "", nil, errors.New("the template made more than a body and its content type")
		}
	}
	if contentType, err = templateType(first, second); err != nil {
		return "", nil, err
	}
	body, err = run.write(first)
	return contentType, body, err
}

// nothing is what a program makes when it has made all.
var nothing any = struct{ none bool }{true}

// nextValue is the next output of a program, nothing for none.
func nextValue(values gojq.Iter) (any, error) {
	v, ok := values.Next()
	if !ok {
		return nothing, nil
	}
	if err, ok := v.(error); ok {
		return nil, templateFailure(err)
	}
	return v, nil
}

// templateFailure puts the error of a run in words, which may hold values of job
// and request: the receiver's own.
func templateFailure(err error) error {
	text := err.Error()
	if len(text) > maxTemplateError {
		text = cutText(text, maxTemplateError) + "…"
	}
	return errors.New(text)
}

const maxTemplateError = 500

func templateType(body, given any) (string, error) {
	if given == nothing {
		if _, isText := body.(string); isText {
			return "text/plain; charset=utf-8", nil
		}
		return typeJSON, nil
	}
	text, isText := given.(string)
	if media, _, err := mime.ParseMediaType(text); !isText || err != nil || len(text) > 200 || len(media) < 3 || !visible(text) {
		return "", errors.New("the template's second output is no content type")
	}
	return text, nil
}

func visible(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// write writes what comes out.
func (m *meter) write(v any) ([]byte, error) {
	if weigh(v, maxTemplateValue) > maxTemplateValue {
		return nil, errTemplateBody
	}
	text, isText := v.(string)
	if !isText {
		encoded, err := gojq.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("the template's output has no JSON form: %w", err)
		}
		text = string(encoded)
	}
	if len(text) > maxTemplateBody {
		return nil, errTemplateBody
	}
	return []byte(text), nil
}

var errTemplateBody = fmt.Errorf("the template's output is larger than %d KiB", maxTemplateBody>>10)

// templateInput is what a template sees. Numbers keep all their digits.
func (m message) templateInput(link string) map[string]any {
	j := map[string]any{"id": m.job.ID.Job(), "operation": m.job.Operation, "status": m.status(),
		"created_at": m.job.CreatedAt.UTC().Format(plainTime), "app": m.job.App}
	if !m.job.StartedAt.IsZero() {
		j["started_at"] = m.job.StartedAt.UTC().Format(plainTime)
	}
	if slices.Contains(job.Events, m.cb.Event) {
		j["finished_at"] = m.cb.CreatedAt.UTC().Format(plainTime)
	}
	if e := m.failure(); e != nil {
		j["error"] = map[string]any{"code": string(e.Code), "message": e.Message, "detail": e.Detail}
	}
	input := map[string]any{"job": j, "event": string(m.cb.Event), "type": m.kind(), "id": m.cb.ID.Callback(),
		"timestamp": m.cb.CreatedAt.UTC().Format(plainTime), "state": nil, "result": nil, "request": m.requestInput()}
	if m.job.Echo != "" {
		input["state"] = m.job.Echo
	}
	if m.cb.Data != nil {
		input["data"], _ = parseJSON(m.cb.Data)
	}
	if r := m.result(); r != nil {
		input["content_type"] = r.ContentType
		if m.large() {
			input["result_url"] = link
		} else {
			addContent(input, "result", r.ContentType, m.body().Inline)
		}
	}
	return input
}

func (m message) requestInput() map[string]any {
	r := &m.job.Request
	header, params := map[string]any{}, map[string]any{}
	for name, values := range r.Header {
		if expression.IsSecret(name) {
			continue
		}
		header[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	for name, value := range r.Params {
		params[name] = value
	}
	request := map[string]any{"method": r.Method, "path": r.Path, "query": r.RawQuery, "header": header, "params": params, "body": nil}
	if len(r.Body.Inline) > 0 {
		addContent(request, "body", r.Header.Get("Content-Type"), r.Body.Inline)
	}
	return request
}

// addContent adds octets under the name where they are JSON, and else as text or in
// base64, as the envelope does.
func addContent(to map[string]any, name, contentType string, octets []byte) {
	if isJSON(contentType) && utf8.Valid(octets) {
		if v, ok := parseJSON(octets); ok {
			to[name] = v
			return
		}
	}
	if utf8.Valid(octets) {
		to[name+"_text"] = string(octets)
		return
	}
	to[name+"_base64"] = base64Of(octets)
}

func parseJSON(text []byte) (v any, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if dec.Decode(&v) != nil || dec.More() {
		return nil, false
	}
	return v, true
}

// appendTemplateError makes an envelope say why it stands in the place of what a
// template was to make.
func appendTemplateError(envelope []byte, why error) []byte {
	open := envelope[:len(envelope)-len("}}")]
	open = append(open, `,"template_error":`...)
	return append(appendString(open, why.Error()), "}}"...)
}

// status is the job's state at the event.
func (m message) status() string {
	switch m.cb.Event {
	case job.EventSucceeded, job.EventFailed, job.EventCanceled, job.EventExpired:
		return string(m.cb.Event)
	case "accepted", "running":
		return string(m.cb.Event)
	case "ask":
		return job.Waiting.String()
	}
	return job.Running.String()
}
