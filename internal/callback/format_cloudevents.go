package callback

import (
	"net/http"
)

// cloudEvents is CloudEvents 1.0.2 in the binary mode of its HTTP binding: the
// attributes in headers, the data as the body. The data is the result; of a large
// one only the link, as the extension dataref says; of a failed job the error as
// JSON, of other events what they carry.
type cloudEvents struct{}

func (cloudEvents) links(m message) bool { return m.large() }

func (cloudEvents) content(m message) (content, error) {
	c := content{Header: m.stateHeader()}
	if c.Header == nil {
		c.Header = make(http.Header, 8)
	}
	for _, a := range m.attributes() {
		c.Header[http.CanonicalHeaderKey("ce-"+a.name)] = []string{escapeHeader(a.value)}
	}
	c.Type, c.Body = m.eventData()
	return c, nil
}

// attributes are the context attributes of the event, but for datacontenttype.
func (m message) attributes() []field {
	a := []field{
		{"specversion", "1.0"},
		{"id", m.cb.ID.Callback()},
		{"source", "/operations/" + m.cb.Operation},
		{"type", m.kind()},
		{"subject", m.job.ID.Job()},
		{"time", m.cb.CreatedAt.UTC().Format(plainTime)},
	}
	if m.large() {
		a = append(a, field{"dataref", m.cb.Link})
	}
	return a
}

// eventData is the data of the event and its content type; neither for none.
func (m message) eventData() (contentType string, data []byte) {
	switch r, e := m.result(), m.failure(); {
	case r != nil && !m.large() && m.body().Size > 0:
		return mediaType(r), m.body().Inline
	case e != nil:
		return typeJSON, appendFailure(nil, e)
	case m.cb.Data != nil:
		return typeJSON, m.cb.Data
	}
	return "", nil
}
