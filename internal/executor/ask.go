package executor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/job"
)

// Asker makes the callback that asks the caller; nil where the job has no callback URL.
// Until then an answer is of use.
type Asker interface {
	OweAsk(ctx context.Context, j *job.Job, key string, body []byte, at, until time.Time) *job.Callback
}

var (
	errStopping = errors.New("the gateway stops")
	errReturned = errors.New("the backend has returned")
)

// asked is a question that somebody waits for.
type asked struct {
	id  job.ID
	key string
}

// waiters wakes those who wait for the end of a question.
type waiters struct {
	mu sync.Mutex
	by map[asked][]chan struct{}
}

func (w *waiters) wait(q asked) (ended <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by = map[asked][]chan struct{}{}
	}
	w.by[q] = append(w.by[q], ch)
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if i := slices.Index(w.by[q], ch); i >= 0 {
			w.by[q] = slices.Delete(w.by[q], i, i+1)
		}
		if len(w.by[q]) == 0 {
			delete(w.by, q)
		}
	}
}

func (w *waiters) wake(q asked) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ch := range w.by[q] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// inquiry is one question of a run.
type inquiry struct {
	job            *job.Job
	n              int
	started, until time.Time
	key            string
	body           []byte // JSON
}

// ask asks the caller, and waits for the end of the question or of ctx: then it is
// returned Open. t is the run in memory, nil where the job waits in the store. Such a
// run gives its turn to others meanwhile, and has it again when the answer is there.
func (e *Executor) ask(ctx context.Context, t *talk, q inquiry) (*job.Question, error) {
	if t != nil {
		if err := e.asks(t, q.key); err != nil {
			return nil, err
		}
	}
	found, err := e.answerTo(ctx, t, q)
	if t != nil && (err != nil || found.State != job.Open) {
		e.hasAnswer(t, q.key)
	}
	return found, err
}

// answerTo is ask, but for the notes about a run in memory.
func (e *Executor) answerTo(ctx context.Context, t *talk, q inquiry) (*job.Question, error) {
	ended, cancel := e.answers.wait(asked{q.job.ID, q.key})
	defer cancel()
	var found *job.Question
	// One that an earlier run has asked, and that has no answer, is asked anew.
	for found == nil || found.State == job.Open {
		if found != nil {
			if t != nil {
				t.turn.Free()
			}
			select {
			case <-ended:
			case <-ctx.Done():
				return found, nil
			}
		}
		now := e.opt.Now()
		cb := e.opt.Asker.OweAsk(ctx, q.job, q.key, q.body, now, q.until)
		if cb == nil {
			return nil, unanswered(&job.Error{Code: job.CodeUnanswered, Message: "the job has no callback URL that could be asked"})
		}
		var err error
		found, err = e.opt.Questions.Ask(context.WithoutCancel(ctx), job.Asking{Job: q.job, Run: q.n, StartedAt: q.started, Key: q.key, Body: q.body, At: now, Callback: cb})
		if err != nil {
			return nil, err
		}
	}
	if t != nil && t.turn.Take(ctx) != nil {
		found.State = job.Open // the answer stays where it is
	}
	return found, nil
}

// asks notes that a run asks. It is errReturned where its backend has returned, and
// errStopping where the gateway stops: what waits for others must not hold that up, and
// is handed back. One that runs at most once goes on.
func (e *Executor) asks(t *talk, key string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t.returned {
		return errReturned
	}
	t.asked = true
	if e.closing && !t.once {
		if h := e.held[t.job.ID]; h != nil && h.talk == t {
			h.cancel(errStopping)
		}
		return errStopping
	}
	if t.open == nil {
		t.open = map[string]bool{}
	}
	t.open[key] = true
	return nil
}

// hasAnswer notes that a run does not wait for a question any more.
func (e *Executor) hasAnswer(t *talk, key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(t.open, key)
}

// stopAsking hands the runs back that wait for answers.
func (e *Executor) stopAsking() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closing = true
	e.endHolds()
	for _, h := range e.held {
		if h.talk != nil && len(h.talk.open) > 0 && !h.talk.once && h.cancel != nil {
			h.cancel(errStopping)
		}
	}
}

// unanswered is the failure of a question without an answer. The caller has been asked
// for as long as that was of use: another attempt is not better off.
func unanswered(why *job.Error) error {
	return &backend.Failure{Code: why.Code, Message: why.Message, Detail: why.Detail, Final: true}
}

// askFor is backend.Run.Ask of a run.
func (e *Executor) askFor(t *talk) func(ctx context.Context, key string, question json.RawMessage) (*job.Answer, error) {
	return func(ctx context.Context, key string, question json.RawMessage) (*job.Answer, error) {
		body, err := compactQuestion(question)
		if err != nil {
			return nil, err
		}
		q, err := e.ask(ctx, t, inquiry{job: t.job, n: t.n, started: t.started, until: t.until, key: key, body: body})
		switch {
		case errors.Is(err, errReturned):
			return nil, job.ErrGone
		case err != nil:
			return nil, err
		case q.State == job.Open:
			return nil, context.Cause(ctx)
		case q.State == job.Closed:
			return nil, unanswered(closedFor(q))
		}
		return &q.Answer, nil
	}
}

// closedFor says why a question has no answer.
func closedFor(q *job.Question) *job.Error {
	if q.Error == nil {
		return &job.Error{Code: job.CodeUnanswered, Message: "the run came to its end before the answer"}
	}
	return q.Error
}

func compactQuestion(question json.RawMessage) ([]byte, error) {
	var compact bytes.Buffer
	if len(question) > job.MaxQuestionBytes || !utf8.Valid(question) || json.Compact(&compact, question) != nil || compact.Len() == 0 {
		return nil, job.ErrMalformed
	}
	return compact.Bytes(), nil
}

// Ask asks the caller for the run of a token, and waits up to hold for the end of the
// question; then it is returned Open. Errors are those of Complete, and ErrExists for
// another question under the same key, ErrTooMany, or a *job.Error where there is nobody to ask.
func (e *Executor) Ask(ctx context.Context, token, key string, question []byte, hold time.Duration) (*job.Question, error) {
	t, err := e.parseToken(token)
	if err != nil {
		return nil, err
	}
	body, err := compactQuestion(question)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	defer context.AfterFunc(e.holds, cancel)()
	found, err := e.askOf(ctx, t, key, body)
	for errors.Is(err, errReturned) {
		found, err = e.askOf(ctx, t, key, body) // what the run has come to is in the store then
	}
	if f, ok := errors.AsType[*backend.Failure](err); ok {
		return nil, &job.Error{Code: f.Code, Message: f.Message}
	}
	if errors.Is(err, errStopping) || err != nil && ctx.Err() != nil {
		return nil, job.ErrUnavailable
	}
	if err == nil && found.State == job.Closed {
		return nil, closedFor(found)
	}
	return found, err
}

// askOf asks for the run of a token, wherever that is.
func (e *Executor) askOf(ctx context.Context, t runToken, key string, body []byte) (*job.Question, error) {
	j, spoken, err := e.find(ctx, t)
	if err != nil {
		return nil, err
	}
	if spoken == nil {
		return e.ask(ctx, nil, inquiry{job: j, n: t.n, started: j.Wait.StartedAt, until: j.Wait.Until, key: key, body: body})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(spoken.ctx, cancel)()
	return e.ask(ctx, spoken, inquiry{job: j, n: t.n, started: spoken.started, until: spoken.until, key: key, body: body})
}
