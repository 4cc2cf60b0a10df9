package callback

import (
	"github.com/ringback/ringback/internal/redact"
	"github.com/ringback/ringback/job"
)

// redactionsOf are what is not kept of answers, by operation. CheckContract's caller has
// refused what is malformed.
func redactionsOf(operations []job.Operation) map[string]redact.Pointers {
	all := map[string]redact.Pointers{}
	for _, op := range operations {
		if p, err := redact.Parse(op.Redact.Answer, op.Redact.KeepOther); err == nil && !p.None() {
			all[op.Name] = p
		}
	}
	return all
}

// redact takes out of an answer what is not to be kept, before it is stored. The answer to
// a question is whole until the job's end.
func (s *Sender) redact(st *job.Settlement) {
	if len(s.redactions) == 0 || st.Attempt == nil {
		return
	}
	p, ok := s.redactions[st.Callback.Operation]
	if !ok {
		return
	}
	a := st.Attempt
	redacted, outcome := p.Apply(a.Body, redact.Coded(a.Header))
	if a.Body = redacted; outcome == redact.All {
		a.ContentType = "application/json"
		delete(a.Header, "Content-Encoding")
	}
}
