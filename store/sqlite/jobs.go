package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

// Accept implements job.Intake.
func (s *Store) Accept(ctx context.Context, a job.Acceptance) (job.Receipt, error) {
	if len(s.w.ops) > intakeLimit {
		return job.Receipt{}, fmt.Errorf("accept: %w: too much waits to be written", job.ErrUnavailable)
	}
	receipt := job.Receipt{ID: a.Job.ID}
	err := s.write(ctx, func(c *conn) error {
		receipt = job.Receipt{ID: a.Job.ID}
		if a.Key != "" {
			if err := c.remember(a, &receipt); err != nil || receipt.Repeated {
				return err
			}
		}
		return c.insertJob(a.Job, a.Claimed)
	}, func(emit func(job.Change)) {
		if !receipt.Repeated {
			emit(job.Change{Kind: job.JobAccepted, Job: a.Job, Claimed: a.Claimed})
		}
	})
	if err != nil {
		return job.Receipt{}, fmt.Errorf("accept %s: %w", a.Job.ID.Job(), err)
	}
	return receipt, nil
}

// remember stores an idempotency key, or finds the job that came with it before.
func (c *conn) remember(a job.Acceptance, receipt *job.Receipt) error {
	err := c.bind(`INSERT INTO idempotency (app, operation, key, job, job_key, fingerprint, created_at) VALUES (?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`).
		text(a.Job.App).text(a.Job.Operation).text(a.Key).id(a.Job.ID).key(a.Job.ID).blob(a.Fingerprint[:]).time(a.Job.CreatedAt).exec()
	if err != nil || c.Changes() > 0 {
		return err
	}
	receipt.Repeated = true
	return c.bind(`SELECT job, fingerprint FROM idempotency WHERE app = ? AND operation = ? AND key = ?`).
		text(a.Job.App).text(a.Job.Operation).text(a.Key).
		each(func(row *scanner) {
			receipt.ID = row.id()
			copy(receipt.Fingerprint[:], row.blob())
		})
}

func (c *conn) insertJob(j *job.Job, claimed bool) error {
	due := millis(j.DueAt)
	if j.DueAt.IsZero() {
		due = millis(j.CreatedAt)
	}
	if claimed {
		due = 0
	}
	err := c.bind(`INSERT INTO jobs (key, id, app, operation, state, due_at, created_at, started_at, run_at, finished_at, deadline,
			runs, interrupted, rescued, target, result_status, result_echo)
		VALUES (?, ?, ?, ?, 1, ?, ?, 0, 0, 0, ?, 0, 0, 0, ?, 0, 0)`).
		key(j.ID).id(j.ID).text(j.App).text(j.Operation).int(due).time(j.CreatedAt).time(j.Deadline).json(j.Target, j.Target == nil).exec()
	if err != nil {
		return err
	}
	r := &j.Request
	return c.bind(`INSERT INTO requests (key, method, path, query, header, params, traceparent, tracestate, authorization, body_size, body_ref, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`).
		key(j.ID).text(r.Method).text(r.Path).text(r.RawQuery).text(encodeHeader(r.Header)).json(r.Params, len(r.Params) == 0).
		opt(r.Trace.Parent).opt(r.Trace.State).blob(r.Authorization).int(r.Body.Size).opt(r.Body.Ref).blob(r.Body.Inline).exec()
}

// ClaimRuns implements job.Runs.
func (s *Store) ClaimRuns(ctx context.Context, operation string, now time.Time, limit int) (jobs []*job.Job, next time.Time, err error) {
	var ids []job.ID
	err = s.write(ctx, func(c *conn) error {
		ids, next = nil, time.Time{}
		err := c.bind(`SELECT id FROM jobs WHERE operation = ? AND due_at > 0 AND due_at <= ? ORDER BY due_at, key LIMIT ?`).
			text(operation).time(now).int(int64(limit)).each(func(row *scanner) { ids = append(ids, row.id()) })
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := c.bind(`UPDATE jobs SET due_at = 0 WHERE key = ?`).key(id).exec(); err != nil {
				return err
			}
		}
		return c.bind(`SELECT min(due_at) FROM jobs WHERE operation = ? AND due_at > 0`).text(operation).
			each(func(row *scanner) { next = row.time() })
	}, nil)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("claim runs of %s: %w", operation, err)
	}
	// The bodies are read on a connection of their own: the writer goes on.
	for _, id := range ids {
		j, err := s.WholeJob(context.WithoutCancel(ctx), "", id)
		if err != nil {
			return jobs, next, fmt.Errorf("claim runs of %s: %w", operation, err)
		}
		jobs = append(jobs, j)
	}
	return jobs, next, nil
}

// StartRun implements job.Runs.
func (s *Store) StartRun(ctx context.Context, id job.ID, n int, at time.Time, await bool) error {
	return s.start(ctx, start{id: id, n: n, at: at}, await)
}

func (s *Store) start(ctx context.Context, st start, await bool) error {
	if !await {
		st.since = time.Now()
		s.w.starts.add(st)
		return nil
	}
	if err := s.write(ctx, st.apply, nil); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// DueRuns implements job.Runs.
func (s *Store) DueRuns(ctx context.Context) ([]job.Due, error) {
	return s.due(ctx, `SELECT operation, min(due_at) FROM jobs WHERE due_at > 0 AND operation > ?
		GROUP BY operation ORDER BY operation LIMIT 1`)
}

// due steps from group to group through the index, whatever each one's size.
func (s *Store) due(ctx context.Context, sql string) (due []job.Due, err error) {
	err = s.read(ctx, func(c *conn) error {
		for last, more := "", true; more; {
			more = false
			err := c.bind(sql).text(last).each(func(row *scanner) {
				d := job.Due{Group: row.text(), At: row.time()}
				due, last, more = append(due, d), d.Group, true
			})
			if err != nil {
				return fmt.Errorf("list due: %w", err)
			}
		}
		return nil
	})
	return due, err
}

// FinishRun implements job.Runs.
func (s *Store) FinishRun(ctx context.Context, f job.Finish) error {
	s.w.starts.end(f.Job.ID)
	after := finished(f)
	err := s.write(ctx, func(c *conn) error {
		if err := c.updateFinished(after, f); err != nil {
			return err
		}
		for _, o := range f.Callbacks {
			if err := c.insertCallback(o); err != nil {
				return err
			}
		}
		return nil
	}, func(emit func(job.Change)) { announceFinish(emit, after, f) })
	if err != nil {
		return fmt.Errorf("finish %s: %w", f.Job.ID.Job(), err)
	}
	return nil
}

// finished is the job as it is after f.
func finished(f job.Finish) *job.Job {
	after := *f.Job
	after.State, after.Error = f.State, f.Error
	if f.Run != nil {
		after.Runs = f.Run.N
		if after.StartedAt.IsZero() {
			after.StartedAt = f.Run.StartedAt
		}
	}
	if f.State.Terminal() {
		after.FinishedAt, after.DueAt, after.Result = f.At, time.Time{}, f.Result
	} else {
		after.DueAt = f.DueAt
	}
	return &after
}

func announceFinish(emit func(job.Change), after *job.Job, f job.Finish) {
	if !f.State.Terminal() {
		emit(job.Change{Kind: job.JobRetried, Job: after})
		return
	}
	emit(job.Change{Kind: job.JobFinished, Job: after})
	for _, o := range f.Callbacks {
		emit(job.Change{Kind: job.CallbackOwed, Job: after, Callback: o.Callback, Claimed: o.Claimed})
	}
}

func (c *conn) updateFinished(after *job.Job, f job.Finish) error {
	b := c.bind(`UPDATE jobs SET state = ?2, due_at = ?3, finished_at = ?4, error = ?5, result_status = ?6, result_type = ?7, result_echo = ?8,
			runs = iif(?9 < 0, runs, ?9), run_at = iif(?10 > 0, ?10, run_at), started_at = iif(started_at = 0 AND ?10 > 0, ?10, started_at)
		WHERE key = ?1 AND state < 4`)
	b.key(after.ID).int(int64(after.State))
	if f.State.Terminal() {
		b.null()
	} else {
		b.time(f.DueAt)
	}
	b.time(after.FinishedAt).json(f.Error, f.Error == nil)
	if r := f.Result; r != nil {
		b.int(int64(r.Status)).opt(r.ContentType).bool(r.Echo)
	} else {
		b.int(0).null().bool(false)
	}
	switch {
	case f.Run != nil:
		b.int(int64(f.Run.N)).time(f.Run.StartedAt)
	case f.State.Terminal():
		b.int(-1).int(0) // a cancellation does not know how many runs there were
	default:
		b.int(int64(f.Job.Runs)).int(0) // handed back: its run does not count
	}
	if err := b.exec(); err != nil {
		return err
	}
	if c.Changes() == 0 {
		return c.missing("jobs", after.ID)
	}
	if f.State.Terminal() && len(f.Job.Request.Authorization) > 0 {
		if err := c.bind(`UPDATE requests SET authorization = NULL WHERE key = ?`).key(after.ID).exec(); err != nil {
			return err
		}
	}
	return c.insertOutcome(after.ID, f)
}

// insertOutcome writes what a finish adds in rows of its own.
func (c *conn) insertOutcome(id job.ID, f job.Finish) error {
	if f.Run != nil && f.Run.Error != nil {
		err := c.bind(`INSERT OR REPLACE INTO runs (job, n, started_at, finished_at, error) VALUES (?, ?, ?, ?, ?)`).
			key(id).int(int64(f.Run.N)).time(f.Run.StartedAt).time(f.Run.FinishedAt).json(f.Run.Error, false).exec()
		if err != nil {
			return err
		}
	}
	r := f.Result
	if r == nil || r.Echo {
		return nil
	}
	return c.bind(`INSERT INTO results (key, header, body_size, body_ref, body) VALUES (?, ?, ?, ?, ?)`).
		key(id).text(encodeHeader(r.Header)).int(r.Body.Size).opt(r.Body.Ref).blob(r.Body.Inline).exec()
}

// missing says why an update of a row that is not terminal met none.
func (c *conn) missing(table string, id job.ID) error {
	err := job.ErrNotFound
	if scanErr := c.bind("SELECT 1 FROM " + table + " WHERE key = ? AND id = ?").key(id).id(id).
		each(func(*scanner) { err = job.ErrTerminal }); scanErr != nil {
		return scanErr
	}
	return err
}
