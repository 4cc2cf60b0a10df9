package job

import (
	"context"
	"time"
)

// Question is what a backend asks the caller in the middle of its work.
type Question struct {
	JobID    ID
	Key      string // the backend's own name for it, one question of a job each
	Run      int    // the run that owed its callback
	Body     []byte // JSON
	Callback ID     // the callback that asks it
	State    QuestionState
	AskedAt  time.Time
	ClosedAt time.Time
	Answer   Answer // while Answered
	Error    *Error // while Closed: why there is no answer
}

// QuestionState is where a question stands.
type QuestionState uint8

// The states of a question. An answer stays; one that is closed without an answer can
// be asked anew by a later run.
const (
	Open QuestionState = iota + 1
	Answered
	Closed
)

// Answer is what the caller said.
type Answer struct {
	ContentType string
	Body        []byte
}

// QuestionEnd is how a question comes to its end: with an answer, or an error.
type QuestionEnd struct {
	Answer *Answer
	Error  *Error
}

// The bounds of a question, of an answer, and of how many questions a job may ask.
const (
	MaxQuestionBytes = 16 << 10
	MaxAnswerBytes   = 16 << 10
	MaxQuestions     = 100
)

// IsQuestionKey tells what can be the key of a question: 1 to 128 printable characters
// of ASCII.
func IsQuestionKey(key string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return key != "" && len(key) <= 128
}

// Asking is a question to store.
type Asking struct {
	Job       *Job // its ID, App and Operation count
	Run       int
	StartedAt time.Time // of the run
	Key       string
	Body      []byte
	At        time.Time
	// Callback asks it. It is stored with it, unclaimed.
	Callback *Callback
}

// Questions keeps what backends ask.
type Questions interface {
	// Ask stores a question and the callback that it owes, and makes the job wait, in
	// one transaction. A question that the job has asked before under this key is
	// returned as it is and owes nothing, unless it is closed and this run, which began
	// later, has not asked it yet. Under
	// the key of another question it is ErrExists, with too many of them ErrTooMany,
	// and ErrGone where the run is over.
	Ask(context.Context, Asking) (*Question, error)
	// Answer ends an open question by the callback that asks it; what of that is still
	// pending is discarded. One that is answered is ErrExists, a closed one ErrGone.
	// With the last open question a job in memory is Running again.
	Answer(ctx context.Context, id, callback ID, end QuestionEnd, at time.Time) error
	// Question returns the question of a job that has this key.
	Question(ctx context.Context, id ID, key string) (*Question, error)
}
