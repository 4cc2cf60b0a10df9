package callback

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/ringback/ringback/job"
)

// question is the Data of a callback that asks.
type question struct {
	Key      string          `json:"question_key"`
	Question json.RawMessage `json:"question"`
	ReplyURL string          `json:"reply_url"`
}

// OweAsk makes the callback that asks a job's first destination something, nil where it
// has none; one for a single outcome is asked only where there is no other. body is JSON.
// Until then an answer is of use.
func (s *Sender) OweAsk(ctx context.Context, j *job.Job, key string, body []byte, at, until time.Time) *job.Callback {
	if len(j.Targets) == 0 {
		return nil
	}
	t := &j.Targets[0]
	for i := range j.Targets {
		if len(j.Targets[i].Events) == 0 {
			t = &j.Targets[i]
			break
		}
	}
	cb := s.owe(ctx, j, t, news{event: job.EventAsk, at: at, make: func(cb *job.Callback) {
		// A string, JSON and a string always have a JSON form.
		cb.Data, _ = json.Marshal(question{Key: key, Question: body, ReplyURL: s.opt.ReplyURL(j.ID, cb.ID)})
		if !asks(cb.Format) {
			cb.Format = job.FormatEnvelope
		}
		if job.Bodiless(cb.Method) {
			cb.Method = http.MethodPost
		}
	}})
	if until.Before(cb.GiveUpAt) {
		cb.GiveUpAt = until
	}
	return cb
}

// answerOf is how a question ends with the settlement of the callback that asks it, nil
// where it does not: the receiver may answer 202, and say more later.
func answerOf(st *job.Settlement) *job.QuestionEnd {
	a := st.Attempt
	closed := func(why string) *job.QuestionEnd {
		return &job.QuestionEnd{Error: &job.Error{Code: job.CodeUnanswered, Message: why}}
	}
	switch {
	case st.State == job.Dead && a != nil && a.Status != 0:
		return closed("the callback URL refused the question: " + http.StatusText(a.Status))
	case st.State == job.Dead && a != nil:
		return closed("the callback URL was not reached: " + string(a.Error))
	case st.State == job.Dead:
		return closed("the callback URL was not reached")
	case st.State != job.Delivered || a.Status == http.StatusAccepted:
		return nil
	case a.Truncated:
		return closed("the answer is larger than 16 KiB, or broke off")
	}
	return &job.QuestionEnd{Answer: &job.Answer{ContentType: a.ContentType, Body: a.Body}}
}
