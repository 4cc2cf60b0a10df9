package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

// Accept implements job.Intake.
func (s *Store) Accept(ctx context.Context, a job.Acceptance) (job.Receipt, error) {
	if len(s.w.ops) > intakeLimit {
		return job.Receipt{}, fmt.Errorf("accept: %w: too much waits to be written", job.ErrUnavailable)
	}
	receipt, after := job.Receipt{ID: a.Job.ID}, a.Job
	if a.Finish != nil {
		after = finished(*a.Finish)
	}
	did := orderedIf(anyInLine(a.Callbacks) || a.Finish != nil && anyInLine(a.Finish.Callbacks))
	err := s.write(ctx, func(c *conn) error {
		receipt = job.Receipt{ID: a.Job.ID}
		if did != nil {
			*did = ordered{}
		}
		if err := s.live(a.Job.App); err != nil {
			return err
		}
		if a.Limits.Jobs > 0 || a.Limits.Bytes > 0 {
			if a.Key != "" {
				err := c.earlier(a.Job.App, a.Job.Operation, a.Key).each(func(row *scanner) { receipt = scanReceipt(row) })
				if err != nil || receipt.Repeated {
					return err
				}
			}
			if err := c.withinLimits(&a); err != nil {
				return err
			}
		}
		if a.Key != "" {
			if err := c.remember(a, &receipt); err != nil || receipt.Repeated {
				return err
			}
		}
		if a.Finish != nil {
			return c.insertEnded(after, *a.Finish, did)
		}
		if err := c.insertJob(a.Job, dueAt(a.Claimed, a.Job.DueAt, a.Job.CreatedAt)); err != nil {
			return err
		}
		return c.insertCallbacks(a.Callbacks, did)
	}, func(emit func(job.Change)) {
		switch {
		case receipt.Repeated:
			return
		case a.Finish != nil:
			announceFinish(emit, after, *a.Finish)
		default:
			emit(job.Change{Kind: job.JobAccepted, Job: a.Job, Claimed: a.Claimed})
			announceCallbacks(emit, a.Job, a.Callbacks)
		}
		if did != nil {
			did.announce(emit, after)
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
	return c.earlier(a.Job.App, a.Job.Operation, a.Key).each(func(row *scanner) { *receipt = scanReceipt(row) })
}

// earlier selects the call that came with a key before.
func (c *conn) earlier(app, operation, key string) *binder {
	return c.bind(`SELECT job, fingerprint FROM idempotency WHERE app = ? AND operation = ? AND key = ?`).text(app).text(operation).text(key)
}

func scanReceipt(row *scanner) job.Receipt {
	receipt := job.Receipt{ID: row.id(), Repeated: true}
	copy(receipt.Fingerprint[:], row.blob())
	return receipt
}

// Repeated implements job.Intake.
func (s *Store) Repeated(ctx context.Context, app, operation, key string) (job.Receipt, error) {
	receipt, err := one(ctx, s, scanReceipt, func(c *conn) *binder { return c.earlier(app, operation, key) })
	return receipt, wrap(err, "find repeated call")
}

// insertJob stores a job as it is. due 0 stands for claimed, below 0 for terminal.
func (c *conn) insertJob(j *job.Job, due int64) error {
	b := c.bind(`INSERT INTO jobs (key, id, app, operation, state, due_at, created_at, started_at, run_at, finished_at, deadline,
			runs, interrupted, rescued, targets, early, authorization, result_status, result_type, result_echo)
		VALUES (?1, ?2, ?3, ?4, ?5, iif(?6 < 0, NULL, ?6), ?7, ?8, ?8, ?9, ?10, ?11, 0, 0, ?12, ?13, ?14, ?15, ?16, ?17)`).
		key(j.ID).id(j.ID).text(j.App).text(j.Operation).int(int64(j.State)).int(due).time(j.CreatedAt).time(j.StartedAt).time(j.FinishedAt).
		time(j.Deadline).int(int64(j.Runs)).opt(encodeTargets(j.Targets)).bool(j.Early).blob(j.Request.Authorization)
	err := b.resultHead(j.Result).exec()
	if err == nil && (!j.ScheduledAt.IsZero() || !j.ExpiresAt.IsZero()) {
		err = c.bind(`UPDATE jobs SET scheduled_at = ?, expires_at = ? WHERE key = ?`).time(j.ScheduledAt).time(j.ExpiresAt).key(j.ID).exec()
	}
	if err != nil {
		return err
	}
	if stored, known := c.stored[j.App]; known {
		c.stored[j.App] = stored + j.Request.Body.Size
	}
	r := &j.Request
	return c.bind(`INSERT INTO requests (key, method, path, query, header, params, traceparent, tracestate, echo, body_size, body_ref, body)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`).
		key(j.ID).text(r.Method).text(r.Path).text(r.RawQuery).text(encodeHeader(r.Header)).opt(encodeParams(r.Params)).
		opt(r.Trace.Parent).opt(r.Trace.State).opt(j.Echo).int(r.Body.Size).opt(r.Body.Ref).blob(r.Body.Inline).exec()
}

// insertEnded stores a job together with its end.
func (c *conn) insertEnded(after *job.Job, f job.Finish, did *ordered) error {
	if err := c.insertJob(after, -1); err != nil {
		return err
	}
	if err := c.insertOutcome(after.ID, f); err != nil {
		return err
	}
	return c.insertCallbacks(f.Callbacks, did)
}

// insertCallbacks stores what is owed. did is nil where none of it is of an ordered
// endpoint.
func (c *conn) insertCallbacks(owed []job.OwedCallback, did *ordered) error {
	for _, o := range owed {
		var err error
		if o.Callback.Ordered {
			err = c.insertBehind(o, false, did)
		} else {
			err = c.insertCallback(o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dueAt is what stands for when work is due: 0 is claimed, so no time may be 0.
func dueAt(claimed bool, due, fallback time.Time) int64 {
	switch {
	case claimed:
		return 0
	case due.IsZero():
		return max(millis(fallback), 1)
	}
	return max(millis(due), 1)
}

// ClaimRuns implements job.Runs.
func (s *Store) ClaimRuns(ctx context.Context, app, operation string, now time.Time, limit int) (jobs []*job.Job, next time.Time, err error) {
	var ids []job.ID
	err = s.write(ctx, func(c *conn) error {
		ids, next = nil, time.Time{}
		err := c.bind(`SELECT id FROM jobs WHERE app = ? AND operation = ? AND due_at > 0 AND due_at <= ? ORDER BY due_at, key LIMIT ?`).
			text(app).text(operation).time(now).int(int64(limit)).each(func(row *scanner) { ids = append(ids, row.id()) })
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := c.bind(`UPDATE jobs SET due_at = 0 WHERE key = ?`).key(id).exec(); err != nil {
				return err
			}
		}
		return c.bind(`SELECT min(due_at) FROM jobs WHERE app = ? AND operation = ? AND due_at > 0`).text(app).text(operation).
			each(func(row *scanner) { next = row.time() })
	}, nil)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("claim runs of %s: %w", operation, err)
	}
	// The bodies are read on a connection of their own: the writer goes on.
	ctx = context.WithoutCancel(ctx)
	for i, id := range ids {
		j, err := s.WholeJob(ctx, "", id)
		if errors.Is(err, job.ErrNotFound) || err == nil && (j.State.Terminal() || !j.DueAt.IsZero()) {
			continue // it was canceled meanwhile, or completed while it waited: the claim is void
		}
		if err != nil {
			err = errors.Join(err, s.putBack(ctx, `UPDATE jobs SET due_at = ?2 WHERE key = ?1 AND due_at = 0`, ids[i:], now))
			return jobs, next, fmt.Errorf("claim runs of %s: %w", operation, err)
		}
		jobs = append(jobs, j)
	}
	return jobs, next, nil
}

// putBack makes due again what was claimed and could not be handed out. It goes on
// until the store takes that, or is closed: nobody else would find it.
func (s *Store) putBack(ctx context.Context, sql string, ids []job.ID, now time.Time) error {
	for wait := repairAfter; ; wait = min(2*wait, maxRepairAfter) {
		err := s.write(ctx, func(c *conn) error {
			for _, id := range ids {
				if err := c.bind(sql).key(id).time(now).exec(); err != nil {
					return err
				}
			}
			return nil
		}, nil)
		if !errors.Is(err, job.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-s.w.quit:
			return err
		}
	}
}

// Overdue implements job.Runs.
func (s *Store) Overdue(ctx context.Context, now time.Time, limit int) (jobs []*job.Job, err error) {
	var ids []job.ID
	err = s.read(ctx, func(c *conn) error {
		err := c.bind(`SELECT id FROM jobs WHERE deadline > 0 AND deadline <= ? AND due_at IS NOT NULL ORDER BY deadline LIMIT ?`).
			time(now).int(int64(limit)).each(func(row *scanner) { ids = append(ids, row.id()) })
		if err != nil || len(ids) >= limit {
			return err
		}
		// One that is claimed may have begun: that is known where it is in memory.
		return c.bind(`SELECT id FROM jobs INDEXED BY jobs_expiring WHERE expires_at > 0 AND expires_at <= ?1 AND due_at IS NOT NULL AND due_at > 0
			AND state = 1 AND (deadline = 0 OR deadline > ?1) ORDER BY expires_at LIMIT ?2`).
			time(now).int(int64(limit - len(ids))).each(func(row *scanner) { ids = append(ids, row.id()) })
	})
	if err != nil {
		return nil, fmt.Errorf("find overdue jobs: %w", err)
	}
	for _, id := range ids {
		j, err := s.WholeJob(ctx, "", id)
		if errors.Is(err, job.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find overdue jobs: %w", err)
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// StartRun implements job.Runs.
func (s *Store) StartRun(ctx context.Context, st job.Start) error {
	return s.start(ctx, start{id: st.Job.ID, n: st.N, at: st.At, awaited: st.Await || len(st.Callbacks) > 0, owed: st.Callbacks})
}

func (s *Store) start(ctx context.Context, st start) error {
	if !st.awaited {
		s.w.starts.add(&st)
		return nil
	}
	if err := s.do(ctx, st.op()); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// DueRuns implements job.Runs.
func (s *Store) DueRuns(ctx context.Context, after job.Due, limit int) ([]job.Due, error) {
	return s.due(ctx, after, limit, `SELECT app, operation, due_at FROM jobs WHERE due_at > 0 AND (app, operation) > (?, ?)
		ORDER BY app, operation, due_at LIMIT 1`)
}

// due steps from group to group through the index, whatever each one's size.
func (s *Store) due(ctx context.Context, after job.Due, limit int, sql string) (due []job.Due, err error) {
	err = s.read(ctx, func(c *conn) error {
		for more := true; more && len(due) < limit; {
			more = false
			err := c.bind(sql).text(after.App).text(after.Name).each(func(row *scanner) {
				after = job.Due{App: row.text(), Name: row.text(), At: row.time()}
				due, more = append(due, after), true
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
	end := s.finishing(f)
	err := s.write(ctx, func(c *conn) error {
		if err := end.apply(c); err != nil || f.State != job.Canceled {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.JobCancel, App: f.Job.App, Subject: f.Job.ID.Job()})
	}, end.announce)
	if err != nil {
		return fmt.Errorf("finish %s: %w", f.Job.ID.Job(), err)
	}
	return nil
}

// finishing is the write of a finish.
func (s *Store) finishing(f job.Finish) *op {
	s.w.starts.end(f.Job.ID)
	after := finished(f)
	did := orderedIf(mayBeEarly(f) || anyInLine(f.Callbacks))
	return &op{apply: func(c *conn) error {
		if err := c.updateFinished(after, f); err != nil {
			return err
		}
		if did != nil {
			return c.finishEarly(f, did)
		}
		return c.insertCallbacks(f.Callbacks, nil)
	}, announce: func(emit func(job.Change)) {
		if did == nil || !did.early {
			announceFinish(emit, after, f)
		} else {
			emit(job.Change{Kind: job.JobFinished, Job: after})
		}
		if did != nil {
			did.announce(emit, after)
		}
	}}
}

// finished is the job as it is after f.
func finished(f job.Finish) *job.Job {
	after := *f.Job
	after.State, after.Wait = f.State, f.Wait
	if f.Run != nil && f.State != job.Waiting || f.State.Terminal() {
		after.Error = f.Error
	}
	if f.Run != nil {
		after.Runs, after.Rescued = f.Run.N, false
		if after.StartedAt.IsZero() {
			after.StartedAt = f.Run.StartedAt
		}
	}
	if f.Progress != nil {
		after.Progress = f.Progress
	}
	if f.State.Terminal() {
		after.FinishedAt, after.DueAt, after.Result = f.At, time.Time{}, f.Result
		after.Request.Authorization = nil
	} else {
		after.DueAt = f.DueAt
	}
	return &after
}

func announceFinish(emit func(job.Change), after *job.Job, f job.Finish) {
	kind := job.JobFinished
	switch {
	case f.State == job.Waiting:
		kind = job.JobWaiting
	case !f.State.Terminal():
		kind = job.JobRetried
	}
	emit(job.Change{Kind: kind, Job: after})
	announceCallbacks(emit, after, f.Callbacks)
}

// announceCallbacks leaves out those of ordered endpoints, which their insertion knows.
func announceCallbacks(emit func(job.Change), j *job.Job, owed []job.OwedCallback) {
	for _, o := range owed {
		if !o.Callback.Ordered {
			emit(job.Change{Kind: job.CallbackOwed, Job: j, Callback: o.Callback, Claimed: o.Claimed})
		}
	}
}

func (c *conn) updateFinished(after *job.Job, f job.Finish) error {
	// A cancellation (?9 = -1) does not know how many runs there were. Of one that
	// is handed back (?9 = -2), a run whose start was written does not count; when it
	// began stays, where callbacks have told of it. What a run that waited comes to
	// (?12 = 1) is void where it waits no more.
	b := c.bind(`UPDATE jobs SET state = ?2, due_at = ?3, finished_at = ?4, error = iif(?9 = -2 OR ?2 = 3, error, ?5),
			result_status = ?6, result_type = ?7, result_echo = ?8,
			runs = iif(?9 >= 0, ?9, runs - (?9 = -2 AND state > 1)), run_at = iif(?9 >= 0, ?10, run_at),
			started_at = iif(?9 >= 0, iif(started_at = 0, ?10, started_at), iif(?9 = -2 AND runs - (state > 1) = 0 AND NOT early, 0, started_at)),
			progress = coalesce(?11, progress),
			rescued = iif(?9 >= 0, 0, rescued), authorization = iif(?2 >= 4, NULL, authorization)
		WHERE key = ?1 AND state < 4 AND (?12 = 0 OR state = 3 AND runs = ?9)`)
	b.key(after.ID).int(int64(after.State))
	if f.State.Terminal() {
		b.null()
	} else {
		b.int(dueAt(false, f.DueAt, f.At))
	}
	b.time(after.FinishedAt).failure(f.Error).resultHead(f.Result)
	switch {
	case f.Run != nil:
		b.int(int64(f.Run.N)).time(f.Run.StartedAt)
	case f.State.Terminal():
		b.int(-1).int(0)
	default:
		b.int(-2).int(0)
	}
	b.opt(string(f.Progress)).bool(f.Waited)
	if err := b.exec(); err != nil {
		return err
	}
	if c.Changes() == 0 {
		return cmp.Or(c.missing("jobs", after.ID), job.ErrGone)
	}
	if err := c.updateWait(after, f); err != nil {
		return err
	}
	return c.insertOutcome(after.ID, f)
}

// updateWait writes what a job goes on to wait for, and deletes what it waited for.
func (c *conn) updateWait(after *job.Job, f job.Finish) error {
	switch w := f.Wait; {
	case w != nil:
		return c.bind(`INSERT OR REPLACE INTO waits (key, started_at, until, token, location, polls) VALUES (?, ?, ?, ?, ?, ?)`).
			key(after.ID).time(w.StartedAt).time(w.Until).blob(w.Token).opt(w.Location).int(int64(w.Polls)).exec()
	case f.Waited || f.Run == nil && f.State.Terminal():
		return c.bind(`DELETE FROM waits WHERE key = ?`).key(after.ID).exec()
	}
	return nil
}

// insertOutcome writes what a finish adds in rows of its own.
func (c *conn) insertOutcome(id job.ID, f job.Finish) error {
	if f.Run != nil && f.Run.Error != nil {
		err := c.bind(`INSERT OR REPLACE INTO runs (job, n, started_at, finished_at, error) VALUES (?, ?, ?, ?, ?)`).
			key(id).int(int64(f.Run.N)).time(f.Run.StartedAt).time(f.Run.FinishedAt).failure(f.Run.Error).exec()
		if err != nil {
			return err
		}
	}
	r := f.Result
	if r == nil || r.Echo {
		return nil
	}
	return c.metered(int64(id.Key()), func() error {
		return c.bind(`INSERT INTO results (key, header, body_size, body_ref, body) VALUES (?, ?, ?, ?, ?)`).
			key(id).text(encodeHeader(r.Header)).int(r.Body.Size).opt(r.Body.Ref).blob(r.Body.Inline).exec()
	})
}

// missing says why an update of what is not terminal met no row: nil where it is
// there all the same.
func (c *conn) missing(table string, id job.ID) error {
	err := job.ErrNotFound
	scanErr := c.bind("SELECT due_at IS NULL FROM " + table + " WHERE key = ? AND id = ?").key(id).id(id).
		each(func(row *scanner) {
			err = nil
			if row.bool() {
				err = job.ErrTerminal
			}
		})
	return errors.Join(scanErr, err)
}
