package receiver

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// What Data.Bytes returns where there are no bytes to return.
var (
	// ErrNoResult: the job has none; Data.Error may say why.
	ErrNoResult = errors.New("the callback carries no result")
	// ErrResultByLink: the result is over the inline limit; GET Data.ResultURL.
	ErrResultByLink = errors.New("the result is to be fetched from result_url")
)

// Envelope is the body of a Ringback callback in its default format.
type Envelope struct {
	// Type is the operation's name and the event: "scan.succeeded".
	Type string `json:"type"`
	// Timestamp is the time of the event, the same in all attempts.
	Timestamp time.Time `json:"timestamp"`
	Data      Data      `json:"data"`
}

// Data is what the event is about. At most one of the four Result fields is set, and
// none before the job has ended.
type Data struct {
	Job Job `json:"job"`
	// ContentType is the result's own.
	ContentType string `json:"content_type,omitempty"`
	// Result is a JSON result as it stands in the body; may be the JSON null.
	Result json.RawMessage `json:"result,omitempty"`
	// ResultText is a result of UTF-8 text that is not JSON.
	ResultText *string `json:"result_text,omitempty"`
	// ResultBase64 is any other result, decoded.
	ResultBase64 []byte `json:"result_base64,omitempty"`
	// ResultURL is a signed link to a result over the inline limit, good for as
	// long as the job is kept.
	ResultURL string `json:"result_url,omitempty"`
	// State is what the caller gave as callbackState, unchanged.
	State string `json:"state,omitempty"`
	// Error is why there is no result, for a job that failed or expired.
	Error *Error `json:"error,omitempty"`
	// Progress is what the backend last said of it, in an event of type "….progress".
	Progress json.RawMessage `json:"progress,omitempty"`
	// Question is what the backend asks, in one of type "….ask". The answer to the
	// callback is the answer to it, but 202 means that it comes later, to ReplyURL.
	// QuestionKey names the question within the job.
	Question    json.RawMessage `json:"question,omitempty"`
	QuestionKey string          `json:"question_key,omitempty"`
	ReplyURL    string          `json:"reply_url,omitempty"`
}

// Job is the job that the callback tells of.
type Job struct {
	ID        string `json:"id"`
	Operation string `json:"operation"`
	// Status at the time of the event: succeeded, failed, canceled, expired, or before
	// the end accepted, running, waiting.
	Status     string    `json:"status"`
	CreatedAt  time.Time `json:"created_at"`
	StartedAt  time.Time `json:"started_at,omitzero"`  // zero where it never ran
	FinishedAt time.Time `json:"finished_at,omitzero"` // zero before its end
}

// Error is why a job has no result. Code is stable, Message and Detail are for people.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
}

// Error returns code and message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Envelope reads the body as Ringback's default format.
func (m Message) Envelope() (Envelope, error) { return ParseEnvelope(m.Body) }

// ParseEnvelope reads a body in Ringback's default format. Members that it does not
// know are skipped. It fails on what is not JSON, has no type or no job, or more
// than one result.
func ParseEnvelope(body []byte) (Envelope, error) {
	var e Envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return Envelope{}, fmt.Errorf("parse envelope: %w", err)
	}
	if e.Type == "" || e.Data.Job.ID == "" {
		return Envelope{}, errors.New("parse envelope: type or data.job.id is missing")
	}
	if n := e.Data.results(); n > 1 {
		return Envelope{}, fmt.Errorf("parse envelope: %d results in one callback", n)
	}
	return e, nil
}

func (d Data) results() int {
	n := 0
	for _, set := range [...]bool{d.Result != nil, d.ResultText != nil, d.ResultBase64 != nil, d.ResultURL != ""} {
		if set {
			n++
		}
	}
	return n
}

// Bytes returns the result's bytes, however the envelope carries them. A JSON result
// comes as it stands in the envelope. The error is ErrNoResult or ErrResultByLink.
func (d Data) Bytes() ([]byte, error) {
	switch {
	case d.Result != nil:
		return d.Result, nil
	case d.ResultText != nil:
		return []byte(*d.ResultText), nil
	case d.ResultBase64 != nil:
		return d.ResultBase64, nil
	case d.ResultURL != "":
		return nil, ErrResultByLink
	default:
		return nil, ErrNoResult
	}
}
