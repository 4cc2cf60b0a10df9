package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ringback/ringback/receiver"
)

// received is a callback as listen shows it.
type received struct {
	At          time.Time       `json:"at"`
	Method      string          `json:"method"`
	Path        string          `json:"path"`
	ID          string          `json:"id,omitempty"`
	Attempt     int             `json:"attempt,omitempty"` // as counted here
	Verified    bool            `json:"verified"`
	Refused     string          `json:"refused,omitempty"` // why
	Status      int             `json:"status"`            // that was answered
	Question    bool            `json:"question,omitempty"`
	Answer      string          `json:"answer,omitempty"` // to the question
	ContentType string          `json:"content_type,omitempty"`
	JSON        json.RawMessage `json:"body,omitempty"`
	Text        string          `json:"body_text,omitempty"`
	Bytes       []byte          `json:"body_base64,omitempty"`

	body []byte
}

// read reads a request's body, and verifies it where there is a secret.
func (l *listener) read(r *http.Request) (body []byte, verified bool, err error) {
	if l.verify != nil {
		m, err := l.verify.Verify(r)
		return m.Body, err == nil, err
	}
	body, err = io.ReadAll(http.MaxBytesReader(nil, r.Body, receiver.DefaultMaxBodyBytes))
	if err != nil {
		return nil, false, fmt.Errorf("receive callback: read body: %w", err)
	}
	return body, false, nil
}

// asks tells whether a callback is the question of a backend: an envelope or a
// CloudEvent of the event "ask".
func asks(header http.Header, body []byte) bool {
	var asked struct {
		Type string `json:"type"`
		Data struct {
			Key *string `json:"question_key"`
		} `json:"data"`
	}
	if strings.HasSuffix(header.Get("Ce-Type"), ".ask") {
		return true
	}
	return json.Unmarshal(body, &asked) == nil && strings.HasSuffix(asked.Type, ".ask") && asked.Data.Key != nil
}

// requestFor is r with its body to be read again.
func (got *received) requestFor(r *http.Request) *http.Request {
	r = r.WithContext(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(got.body)), int64(len(got.body))
	r.TransferEncoding = nil
	return r
}

// print shows a callback. A failure to write is no reason to refuse callbacks, so
// it is told and no more.
func (l *listener) print(got *received) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.write(got); err != nil {
		l.c.say("%v", err)
	}
}

func (l *listener) write(got *received) error {
	if l.c.output != "table" {
		switch {
		case json.Valid(got.body):
			got.JSON = got.body
		case isText(got.body):
			got.Text = string(got.body)
		default:
			got.Bytes = got.body
		}
		return l.c.showJSON(got)
	}
	return l.c.print(l.head(got) + l.about(got) + l.lines(got) + l.outcome(got))
}

// head is when and where it came.
func (l *listener) head(got *received) string {
	line := got.At.Format("15:04:05.000") + " " + got.Method + " " + got.Path
	return l.c.paint(bold, clean(line)) + "\n"
}

// about is what the callback says of itself.
func (l *listener) about(got *received) string {
	var parts []string
	if got.ID != "" {
		parts = append(parts, got.ID)
	}
	if e, err := receiver.ParseEnvelope(got.body); err == nil {
		parts = append(parts, e.Type, e.Data.Job.ID)
	}
	if got.Attempt > 1 && got.ID != "" {
		parts = append(parts, fmt.Sprintf("attempt %d", got.Attempt))
	}
	trust := l.c.paint(yellow, "not verified")
	if got.Verified {
		trust = l.c.paint(green, "signature verified")
	}
	if got.Refused != "" {
		trust = l.c.paint(red, "refused: "+clean(got.Refused))
	}
	return "  " + strings.Join(append([]string{trust}, cleanAll(parts)...), " · ") + "\n"
}

func cleanAll(texts []string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = clean(text)
	}
	return out
}

// shownBytes is how much of a body is printed.
const shownBytes = 16 << 10

// lines is the body: JSON laid out, other text as it is.
func (l *listener) lines(got *received) string {
	body := got.body
	switch {
	case len(body) == 0:
		return ""
	case !isText(body):
		return fmt.Sprintf("  %d bytes of %s\n", len(body), clean(got.ContentType))
	case json.Valid(body):
		body = cleanJSON(indent(body, ""))
	}
	rest := ""
	if len(body) > shownBytes {
		rest = fmt.Sprintf("  … and %d bytes more\n", len(body)-shownBytes)
		body = bytes.ToValidUTF8(body[:shownBytes], nil)
	}
	var b strings.Builder
	for line := range strings.Lines(cleanLines(string(body))) {
		b.WriteString("  " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String() + rest
}

// outcome is what was answered.
func (l *listener) outcome(got *received) string {
	colour := green
	if got.Status/100 != 2 {
		colour = red
	}
	text := fmt.Sprintf("%d %s", got.Status, http.StatusText(got.Status))
	return "  answered " + l.c.paint(colour, strings.TrimSpace(text)) + l.answered(got)
}

// answered is what became of a question.
func (l *listener) answered(got *received) string {
	switch {
	case !got.Question || got.Status/100 != 2 || l.forward != nil:
		return ""
	case got.Status == http.StatusAccepted:
		return "\n  this is a question; its answer may come later, to the reply_url"
	case got.Answer == "":
		return "\n  " + l.c.paint(yellow, "this is a question; it was answered with nothing: --answer TEXT answers")
	}
	return "\n  to the question: " + clean(got.Answer)
}
