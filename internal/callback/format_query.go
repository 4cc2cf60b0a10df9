package callback

// query is form in the URL, behind what is there. There is no body. A result that
// makes the URL too long is named by its link.
type query struct{}

// maxQuery is how many octets the result, or a progress, may add to a URL: many servers and proxies
// take 8 KiB in a line.
const maxQuery = 4 << 10

// maxQueryDetail is how much of an error's detail there is room for, in octets.
const maxQueryDetail = 512

func (query) links(m message) bool {
	return m.large() || m.result() != nil && len(encodeFields(m.resultFields())) > maxQuery
}

func (query) content(m message) (content, error) {
	fields := m.facts()
	for i, f := range fields {
		if f.name == "error.detail" && len(f.value) > maxQueryDetail {
			fields[i].value = cutText(f.value, maxQueryDetail)
		}
	}
	if progress := m.progressFields(); len(encodeFields(progress)) <= maxQuery {
		fields = append(fields, progress...)
	}
	if m.cb.Link != "" && m.result() != nil {
		fields = append(fields, field{"content_type", m.result().ContentType}, field{"result_url", m.cb.Link})
	} else {
		fields = append(fields, m.resultFields()...)
	}
	return content{Header: m.stateHeader(), Query: encodeFields(fields)}, nil
}

// cutText is at most n octets of s, cut between two characters.
func cutText(s string, n int) string {
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
