package callback

import (
	"github.com/ringback/ringback/job"
)

// thin says that something happened, and where to read what: ids and links, nothing
// of the result. Without a body it says so in headers.
type thin struct{}

func (thin) links(message) bool { return true }

func (thin) content(m message) (content, error) {
	if job.Bodiless(m.cb.Method) {
		h := m.headers()
		h[headerJobURL] = []string{m.jobLink()}
		if m.result() != nil {
			h[headerResultURL] = []string{m.cb.Link}
		}
		return content{Header: h}, nil
	}
	b := append([]byte(nil), `{"type":`...)
	b = appendString(b, m.kind())
	b = append(b, `,"timestamp":`...)
	b = appendTime(b, m.cb.CreatedAt)
	b = append(b, `,"data":{"job_id":"`...)
	b = m.job.ID.AppendJob(b)
	b = append(b, `","job_url":`...)
	b = appendString(b, m.jobLink())
	if m.result() != nil {
		b = append(b, `,"result_url":`...)
		b = appendString(b, m.cb.Link)
	}
	return content{Type: typeJSON, Header: m.stateHeader(), Body: append(b, "}}"...)}, nil
}
