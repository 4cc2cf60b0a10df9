package callback

import (
	"io"

	"github.com/ringback/ringback/job"
)

// raw is the result itself, with its own content type; a large one is streamed from
// disk. What happened to which job stands in headers. An end without a result is a
// problem document (RFC 9457), any other event its own JSON, or nothing.
type raw struct{}

func (raw) links(message) bool { return false }

func (raw) content(m message) (content, error) {
	c := content{Header: m.headers()}
	switch r := m.result(); {
	case r != nil:
		body := m.body()
		c.Body, c.Size = body.Inline, body.Size
		if body.Size > 0 || r.ContentType != "" {
			c.Type = mediaType(r)
		}
		if body.Ref != "" {
			c.Open = func() (io.ReadCloser, error) { return m.open(body) }
		}
	case m.cb.Data != nil:
		c.Type, c.Body = typeJSON, m.cb.Data
	default:
		if c.Body = m.appendProblem(nil); c.Body != nil {
			c.Type = typeProblem
		}
	}
	return c, nil
}

const (
	typeJSON    = "application/json"
	typeProblem = "application/problem+json"
)

// appendProblem appends why there is no result; nothing for events that are no end.
func (m message) appendProblem(b []byte) []byte {
	var title string
	switch m.cb.Event {
	case job.EventFailed:
		title = "The job failed"
	case job.EventCanceled:
		title = "The job was canceled"
	case job.EventExpired:
		title = "The job expired"
	default:
		return b
	}
	code, e := string(m.cb.Event), m.failure()
	if e != nil {
		code = string(e.Code)
	}
	b = append(b, `{"title":`...)
	b = appendString(b, title)
	if e != nil {
		b = append(b, `,"detail":`...)
		b = appendString(b, e.Message)
	}
	b = append(b, `,"code":`...)
	b = appendString(b, code)
	if e != nil && e.Detail != "" {
		b = append(b, `,"errors":[{"detail":`...)
		b = append(appendString(b, e.Detail), "}]"...)
	}
	return append(b, '}')
}
