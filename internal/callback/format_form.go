package callback

// form is an HTML form's application/x-www-form-urlencoded: what happened, and the
// members of a JSON result, each in a field of its own.
type form struct{}

const typeForm = "application/x-www-form-urlencoded"

func (form) links(m message) bool { return m.large() }

func (form) content(m message) (content, error) {
	fields := append(m.facts(), m.progressFields()...)
	if m.large() {
		fields = append(fields, field{"content_type", m.result().ContentType}, field{"result_url", m.cb.Link})
	} else {
		fields = append(fields, m.resultFields()...)
	}
	return content{Type: typeForm, Header: m.stateHeader(), Body: []byte(encodeFields(fields))}, nil
}
