package callback

import (
	"encoding/base64"
	"encoding/json"
	"mime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ringback/ringback/job"
)

// envelope is the default: JSON in which the type, the timestamp and the data of
// Standard Webhooks stand around the result.
type envelope struct{}

func (envelope) links(m message) bool { return m.large() }

func (envelope) content(m message) (content, error) {
	if m.cb.Body != nil { // an operational event
		return content{Type: m.cb.ContentType, Body: m.cb.Body}, nil
	}
	return content{Type: typeJSON, Body: appendEnvelope(make([]byte, 0, 1024+2*len(m.job.ResultBody().Inline)), m.cb, m.job)}, nil
}

// appendEnvelope appends the envelope, as docs/callback.md describes it. It depends
// on nothing but its arguments, which are frozen: every attempt's body is the same.
//
// It is written by hand since it is made for each message; a test compares it
// with encoding/json.
func appendEnvelope(b []byte, cb *job.Callback, j *job.Job) []byte {
	b = append(b, `{"type":"`...)
	b = append(append(append(b, cb.Operation...), '.'), cb.Event...)
	b = append(b, `","timestamp":`...)
	b = appendTime(b, cb.CreatedAt)
	b = append(b, `,"data":{"job":`...)
	b = appendJob(b, j)
	if cb.Event == job.EventProgress {
		b = append(append(b, `,"progress":`...), cb.Data...)
	}
	if cb.Event == job.EventAsk {
		b = append(append(b, ','), cb.Data[1:len(cb.Data)-1]...) // the members of an object
	}
	if j.Result != nil {
		b = appendResult(b, cb, j)
	}
	if j.Error != nil && j.State != job.Succeeded {
		b = append(b, `,"error":{"code":`...)
		b = appendString(b, string(j.Error.Code))
		b = append(b, `,"message":`...)
		b = appendString(b, j.Error.Message)
		if j.Error.Detail != "" {
			b = append(b, `,"detail":`...)
			b = appendString(b, j.Error.Detail)
		}
		b = append(b, '}')
	}
	if j.Echo != "" {
		b = append(b, `,"state":`...)
		b = appendString(b, j.Echo)
	}
	return append(b, "}}"...)
}

func appendJob(b []byte, j *job.Job) []byte {
	b = append(b, `{"id":"`...)
	b = j.ID.AppendJob(b)
	b = append(b, `","operation":"`...)
	b = append(b, j.Operation...)
	b = append(b, `","status":"`...)
	b = append(b, j.State.String()...)
	b = append(b, `","created_at":`...)
	b = appendTime(b, j.CreatedAt)
	if !j.StartedAt.IsZero() {
		b = append(b, `,"started_at":`...)
		b = appendTime(b, j.StartedAt)
	}
	if !j.FinishedAt.IsZero() {
		b = append(b, `,"finished_at":`...)
		b = appendTime(b, j.FinishedAt)
	}
	return append(b, '}')
}

// appendResult puts the result where a receiver finds it without guessing: JSON
// as result, text as result_text, other octets as result_base64, and what is too
// large for a callback as result_url.
func appendResult(b []byte, cb *job.Callback, j *job.Job) []byte {
	b = append(b, `,"content_type":`...)
	b = appendString(b, j.Result.ContentType)
	content := j.ResultBody()
	switch {
	case content.Ref != "":
		b = append(b, `,"result_url":`...)
		return appendString(b, cb.Link)
	case isJSON(j.Result.ContentType) && utf8.Valid(content.Inline) && json.Valid(content.Inline):
		b = append(b, `,"result":`...)
		return append(b, content.Inline...)
	case utf8.Valid(content.Inline):
		b = append(b, `,"result_text":`...)
		return appendString(b, string(content.Inline))
	default:
		b = append(b, `,"result_base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, content.Inline)
		return append(b, '"')
	}
}

func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

// timeLayout is RFC 3339 in UTC, always with milliseconds.
const timeLayout = `"2006-01-02T15:04:05.000Z"`

func appendTime(b []byte, t time.Time) []byte { return t.UTC().AppendFormat(b, timeLayout) }

// appendString appends s as a JSON string. What is plain, as nearly all is, needs
// no look at each rune.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always has a JSON form
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
