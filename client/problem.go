package client

import "strings"

// Problem is an error of the API, as RFC 9457 describes it.
type Problem struct {
	Type   string        `json:"type" doc:"Where the sort of problem is explained."`
	Title  string        `json:"title" doc:"The sort of problem in words; it never changes."`
	Status int           `json:"status" doc:"The HTTP status." example:"404"`
	Detail string        `json:"detail,omitempty" doc:"What went wrong this time."`
	Code   string        `json:"code" doc:"The sort of problem as a stable word." example:"not_found"`
	Hint   string        `json:"hint,omitempty" doc:"What to do about it."`
	Errors []ProblemItem `json:"errors,omitempty" nullable:"false" doc:"The faults of the request, where there are several."`
	// RetryAfter is how many seconds to wait before a repeat, from the header of
	// that name; 0 for none.
	RetryAfter int `json:"-"`
	// JobID is the job of a call that waited for its end in vain; else empty.
	JobID string `json:"-"`
}

// ProblemItem is one of several faults of a request.
type ProblemItem struct {
	Detail    string `json:"detail" doc:"What is wrong."`
	Pointer   string `json:"pointer,omitempty" doc:"Where in the body, as a JSON pointer." example:"#/url"`
	Parameter string `json:"parameter,omitempty" doc:"The parameter at fault."`
	Header    string `json:"header,omitempty" doc:"The header at fault."`
}

// Error is what went wrong as one line. Of an item that only repeats the detail no more
// than the place is told.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Title)
	if p.Detail != "" {
		b.WriteString(": " + p.Detail)
	}
	for _, item := range p.Errors {
		where := item.Pointer + item.Parameter + item.Header
		if item.Detail == p.Detail && where != "" {
			b.WriteString(" (" + where + ")")
			continue
		}
		if strings.Contains(p.Detail, strings.TrimSpace(where+" "+item.Detail)) {
			continue
		}
		b.WriteString("; ")
		if where != "" {
			b.WriteString(where + ": ")
		}
		b.WriteString(item.Detail)
	}
	return b.String()
}
