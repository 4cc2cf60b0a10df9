package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

const questionColumns = `key, run, body, callback, state, asked_at, closed_at, content_type, answer, error`

func scanQuestion(row *scanner, id job.ID) *job.Question {
	return &job.Question{JobID: id, Key: row.text(), Run: int(row.int()), Body: row.blob(), Callback: row.id(), State: job.QuestionState(row.int()),
		AskedAt: row.time(), ClosedAt: row.time(), Answer: job.Answer{ContentType: row.text(), Body: row.blob()}, Error: row.failure()}
}

func (c *conn) question(id job.ID, key string) (q *job.Question, err error) {
	err = c.bind(`SELECT ` + questionColumns + ` FROM questions WHERE job = ? AND key = ?`).key(id).text(key).
		each(func(row *scanner) { q = scanQuestion(row, id) })
	return q, err
}

// Question implements job.Questions.
func (s *Store) Question(ctx context.Context, id job.ID, key string) (q *job.Question, err error) {
	err = s.read(ctx, func(c *conn) error {
		q, err = c.question(id, key)
		return err
	})
	if err == nil && q == nil {
		err = job.ErrNotFound
	}
	return q, wrap(err, "read question")
}

// Ask implements job.Questions.
func (s *Store) Ask(ctx context.Context, a job.Asking) (q *job.Question, err error) {
	var did ordered
	var after *job.Job
	err = s.write(ctx, func(c *conn) error {
		did, after = ordered{}, nil
		var err error
		if q, err = c.ask(a, &did); err != nil || q.State != job.Open {
			return err
		}
		// Of a run whose start is not written yet this is the start, too.
		err = c.bind(`UPDATE jobs SET state = 3, early = 1, runs = ?2, run_at = ?3, started_at = iif(started_at = 0, ?3, started_at), rescued = 0 WHERE key = ?1`).
			key(a.Job.ID).int(int64(a.Run)).time(a.StartedAt).exec()
		if err != nil {
			return err
		}
		return c.bind(`SELECT ` + jobColumns + ` FROM jobs j WHERE j.key = ?`).key(a.Job.ID).each(func(row *scanner) { after = scanJob(row) })
	}, func(emit func(job.Change)) {
		if after == nil {
			return
		}
		emit(job.Change{Kind: job.QuestionAsked, Job: after})
		did.announce(emit, after)
	})
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	return q, nil
}

// ask stores the question, unless it is there, and what it owes.
func (c *conn) ask(a job.Asking, did *ordered) (*job.Question, error) {
	if err := c.runGoesOn(a.Job.ID, a.Run); err != nil {
		return nil, err
	}
	q, err := c.question(a.Job.ID, a.Key)
	switch {
	case err != nil:
		return nil, err
	case q != nil && !bytes.Equal(q.Body, a.Body):
		return nil, job.ErrExists
	case q != nil && (q.State != job.Closed || q.Run == a.Run && millis(q.AskedAt) >= millis(a.StartedAt)):
		return q, nil
	case q == nil:
		var n int64
		if err := c.bind(`SELECT count(*) FROM questions WHERE job = ?`).key(a.Job.ID).each(func(row *scanner) { n = row.int() }); err != nil {
			return nil, err
		}
		if n >= job.MaxQuestions {
			return nil, job.ErrTooMany
		}
	}
	err = c.bind(`INSERT OR REPLACE INTO questions (job, key, run, body, callback, state, asked_at, closed_at) VALUES (?, ?, ?, ?, ?, 1, ?, 0)`).
		key(a.Job.ID).text(a.Key).int(int64(a.Run)).blob(a.Body).id(a.Callback.ID).time(a.At).exec()
	if err != nil {
		return nil, err
	}
	q = &job.Question{JobID: a.Job.ID, Key: a.Key, Run: a.Run, Body: a.Body, Callback: a.Callback.ID, State: job.Open, AskedAt: a.At}
	return q, c.insertOrdered([]job.OwedCallback{{Callback: a.Callback}}, did)
}

// runGoesOn is ErrGone unless a job is at this run, be its start written or not.
func (c *conn) runGoesOn(id job.ID, run int) error {
	err := job.ErrNotFound
	scanErr := c.bind(`SELECT state < 4 AND (runs = ?3 AND state > 1 OR runs = ?3 - 1 AND state = 1 AND due_at = 0) FROM jobs WHERE key = ?1 AND id = ?2`).
		key(id).id(id).int(int64(run)).each(func(row *scanner) {
		if err = nil; !row.bool() {
			err = job.ErrGone
		}
	})
	return errors.Join(scanErr, err)
}

// Answer implements job.Questions.
func (s *Store) Answer(ctx context.Context, id, callback job.ID, end job.QuestionEnd, at time.Time) error {
	var did answered
	err := s.write(ctx, func(c *conn) error {
		did = answered{}
		if err := c.answer(id, callback, end, at, &did); err != nil || did.job != nil {
			return err
		}
		err := job.ErrNotFound
		scanErr := c.bind(`SELECT state FROM questions WHERE job = ? AND callback = ?`).key(id).id(callback).each(func(row *scanner) {
			if err = job.ErrGone; job.QuestionState(row.int()) == job.Answered {
				err = job.ErrExists
			}
		})
		return errors.Join(scanErr, err)
	}, func(emit func(job.Change)) { did.announce(emit) })
	return wrap(err, "answer")
}

// answered is what the end of a question did.
type answered struct {
	ordered
	job *job.Job // nil: there was no open question
	key string
}

// answeredIf is nil where there can be no question and no line, as for nearly all.
func answeredIf(needed bool) *answered {
	if !needed {
		return nil
	}
	return &answered{}
}

func (a answered) announce(emit func(job.Change)) {
	if a.job != nil {
		emit(job.Change{Kind: job.QuestionClosed, Job: a.job, Name: a.key})
	}
	a.ordered.announce(emit, nil)
}

// answer ends the open question of a callback, if there is one, and lets its job run
// on.
func (c *conn) answer(id, callback job.ID, end job.QuestionEnd, at time.Time, did *answered) error {
	state, answer := job.Closed, job.Answer{}
	if end.Answer != nil {
		state, answer = job.Answered, *end.Answer
	}
	found := false
	err := c.bind(`UPDATE questions SET state = ?3, closed_at = ?4, content_type = ?5, answer = ?6, error = ?7
		WHERE job = ?1 AND callback = ?2 AND state = 1 RETURNING key`).
		key(id).id(callback).int(int64(state)).time(at).opt(answer.ContentType).blob(answer.Body).failure(end.Error).
		each(func(row *scanner) { did.key, found = row.text(), true })
	if err != nil || !found {
		return err
	}
	// A job in memory runs on; one that waits for its upstream, too, goes on to.
	err = c.bind(`UPDATE jobs SET state = 2 WHERE key = ?1 AND state = 3 AND due_at = 0 AND NOT EXISTS (SELECT 1 FROM waits WHERE key = ?1)
		AND NOT EXISTS (SELECT 1 FROM questions WHERE job = ?1 AND state = 1)`).key(id).exec()
	if err != nil {
		return err
	}
	if err := c.discardAsking(id, at, `AND key = ?2`, callback, &did.ordered); err != nil {
		return err
	}
	return c.bind(`SELECT ` + jobColumns + ` FROM jobs j WHERE j.key = ?`).key(id).each(func(row *scanner) { did.job = scanJob(row) })
}

// discardAsking discards callbacks that ask and are pending, but for those that are
// claimed, and releases what waited for them.
func (c *conn) discardAsking(id job.ID, at time.Time, which string, callback job.ID, did *ordered) error {
	pending, err := c.callbacks(`INDEXED BY callbacks_early WHERE job = ?1 AND state = 1 AND event NOT IN `+terminalEvents+
		` AND event = 'ask' AND due_at <> 0 AND ?2 = ?2 `+which, func(b *binder) { b.key(id).key(callback) })
	if err != nil {
		return err
	}
	if err := c.discard(pending, millis(at), "", did); err != nil {
		return err
	}
	for _, cb := range pending {
		if err := c.release(cb, millis(at), did); err != nil {
			return err
		}
	}
	return nil
}

// closeQuestions ends the questions that are open at the end of a run.
func (c *conn) closeQuestions(f job.Finish, did *ordered) error {
	err := c.bind(`UPDATE questions SET state = 3, closed_at = ?2, error = ?3 WHERE job = ?1 AND state = 1`).
		key(f.Job.ID).time(f.At).failure(f.Error).exec()
	if err != nil || c.Changes() == 0 || f.State.Terminal() {
		return err // the end of a job discards all early callbacks
	}
	return c.discardAsking(f.Job.ID, f.At, ``, job.ID{}, did)
}
