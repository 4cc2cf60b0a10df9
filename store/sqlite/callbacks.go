package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

func (c *conn) insertCallback(o job.OwedCallback) error {
	return c.insertCallbackDue(o.Callback, dueAt(o.Claimed, o.Callback.DueAt, o.Callback.CreatedAt))
}

func (c *conn) insertCallbackDue(cb *job.Callback, due int64) error {
	err := c.bind(`INSERT INTO callbacks (key, id, job, job_id, app, operation, lane, event, endpoint, url, method, format, created_at, give_up_at,
			state, due_at, attempt_at, attempts, interrupted, round, rescued, settled_at, waiting, last_status, last_error, resent)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, 0, 0, 0, 0, 0, 0, ?, 0, '', 0)`).
		key(cb.ID).id(cb.ID).key(cb.JobID).id(cb.JobID).text(cb.App).text(cb.Operation).text(cb.Lane()).text(string(cb.Event)).
		text(cb.Endpoint).text(cb.URL).text(cb.Method).text(cb.Format).time(cb.CreatedAt).time(cb.GiveUpAt).int(due).text(cb.Waiting).exec()
	if err == nil && (cb.Ordered || !cb.DeliverAt.IsZero() || !cb.ExpiresAt.IsZero()) {
		err = c.updateTurn(cb)
	}
	if err != nil || cb.Link == "" && cb.Body == nil && cb.Data == nil {
		return err
	}
	return c.bind(`INSERT INTO callback_bodies (key, link, content_type, body, data) VALUES (?, ?, ?, ?, ?)`).
		key(cb.ID).opt(cb.Link).opt(cb.ContentType).blob(cb.Body).blob(cb.Data).exec()
}

const callbackColumns = `id, job_id, app, operation, event, endpoint, url, method, format, created_at, give_up_at, state, due_at,
	attempts, interrupted, round, rescued, settled_at, waiting, last_status, last_error, resent,
	seq, order_key, deliver_at, expires_at, reason`

func scanCallback(row *scanner) *job.Callback {
	cb := &job.Callback{ID: row.id(), JobID: row.id(), App: row.text(), Operation: row.text(), Event: job.Event(row.text()),
		Endpoint: row.text(), URL: row.text(), Method: row.text(), Format: row.text(), CreatedAt: row.time(), GiveUpAt: row.time(),
		State: job.CallbackState(row.int()), DueAt: row.time(), Attempts: int(row.int()), Interrupted: int(row.int()),
		Round: int(row.int()), Rescued: row.bool(), SettledAt: row.time(), Waiting: row.text(), LastStatus: int(row.int()), LastError: job.Class(row.text()), Resent: row.bool()}
	cb.Sequence, cb.OrderKey, cb.DeliverAt, cb.ExpiresAt, cb.Reason = row.int(), row.text(), row.time(), row.time(), row.text()
	cb.Ordered = cb.Sequence > 0
	return cb
}

// ClaimCallbacks implements job.Deliveries.
func (s *Store) ClaimCallbacks(ctx context.Context, lane string, now time.Time, limit int) (due []job.Delivery, next time.Time, err error) {
	var more []bool // which have a row in callback_bodies
	err = s.write(ctx, func(c *conn) error {
		due, next, more = nil, time.Time{}, nil
		err := c.bind(`SELECT ` + callbackColumns + `, b.key IS NOT NULL FROM callbacks c LEFT JOIN callback_bodies b ON b.key = c.key
			WHERE lane = ? AND due_at > 0 AND due_at <= ? ORDER BY due_at, c.key LIMIT ?`).
			text(lane).time(now).int(int64(limit)).
			each(func(row *scanner) {
				due = append(due, job.Delivery{Callback: scanCallback(row)})
				more = append(more, row.bool())
			})
		if err != nil {
			return err
		}
		for _, d := range due {
			if err := c.bind(`UPDATE callbacks SET due_at = 0 WHERE key = ?`).key(d.Callback.ID).exec(); err != nil {
				return err
			}
		}
		return c.bind(`SELECT min(due_at) FROM callbacks WHERE lane = ? AND due_at > 0`).text(lane).
			each(func(row *scanner) { next = row.time() })
	}, nil)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("claim callbacks: %w", err)
	}
	// All in one read: who waits for a load is to wait for one turn at a reader.
	ctx = context.WithoutCancel(ctx)
	read := 0
	err = s.read(ctx, func(c *conn) error {
		for i := range due {
			if due[i].Job, err = c.job("", due[i].Callback.JobID, true); err == nil && more[i] {
				err = c.readCallbackBody(due[i].Callback)
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", due[i].Callback.JobID.Job(), err)
			}
			read++
		}
		return nil
	})
	if err != nil {
		err = errors.Join(err, s.putBack(ctx, `UPDATE callbacks SET due_at = ?2 WHERE key = ?1 AND due_at = 0`, callbackIDs(due[read:]), now))
		return due[:read], next, fmt.Errorf("claim callbacks: %w", err)
	}
	return due, next, nil
}

// readCallbackBody adds to a callback what its row in callback_bodies holds.
func (c *conn) readCallbackBody(cb *job.Callback) error {
	return c.bind(`SELECT link, content_type, body, data FROM callback_bodies WHERE key = ?`).key(cb.ID).
		each(func(row *scanner) {
			cb.Link, cb.ContentType, cb.Body, cb.Data = row.text(), row.text(), row.blob(), row.blob()
		})
}

func callbackIDs(due []job.Delivery) (ids []job.ID) {
	for _, d := range due {
		ids = append(ids, d.Callback.ID)
	}
	return ids
}

// StartAttempt implements job.Deliveries.
func (s *Store) StartAttempt(ctx context.Context, id job.ID, n int, at time.Time, await bool) error {
	return s.start(ctx, start{callback: true, id: id, n: n, at: at, awaited: await})
}

// DueCallbacks implements job.Deliveries.
func (s *Store) DueCallbacks(ctx context.Context, after job.Due, limit int) ([]job.Due, error) {
	// No character of a name is less than a blank, so lanes are in the order of their apps.
	return s.due(ctx, after, limit, `SELECT app, substr(lane, length(app) + 2), due_at FROM callbacks WHERE due_at > 0 AND lane > ? || ' ' || ?
		ORDER BY lane, due_at LIMIT 1`)
}

// SettleAttempt implements job.Deliveries.
func (s *Store) SettleAttempt(ctx context.Context, st job.Settlement) error {
	s.w.starts.end(st.Callback.ID)
	after := settled(st)
	did := answeredIf(!st.Callback.Event.Terminal() || st.Callback.Ordered)
	var gone happened
	err := s.write(ctx, func(c *conn) error {
		gone = happened{}
		if did != nil {
			*did = answered{}
		}
		question := st.Question
		if st.State == job.Pending {
			var err error
			if question, err = c.settleUnwanted(st, after); err != nil {
				return err
			}
		}
		b := c.bind(`UPDATE callbacks SET state = ?2, due_at = ?3, attempt_at = 0, attempts = ?4, settled_at = ?5, waiting = ?6,
				last_status = ?7, last_error = ?8, rescued = ?9 WHERE key = ?1 AND state = 1`).
			key(after.ID).int(int64(after.State))
		if after.State == job.Pending {
			b.int(dueAt(false, st.DueAt, st.At))
		} else {
			b.null()
		}
		b.int(int64(after.Attempts)).time(after.SettledAt).text(after.Waiting).int(int64(after.LastStatus)).text(string(after.LastError)).bool(after.Rescued)
		if err := b.exec(); err != nil {
			return err
		}
		if c.Changes() == 0 {
			return c.missing("callbacks", after.ID)
		}
		if after.Reason != "" {
			if err := c.setReason(after); err != nil {
				return err
			}
		}
		if st.Disable != nil {
			if err := s.disable(ctx, c, *st.Disable, &gone); err != nil && !errors.Is(err, job.ErrNotFound) {
				return err
			}
		}
		if err := c.insertAttempt(after.ID, st.Attempt); err != nil || did == nil || after.State == job.Pending {
			return err
		}
		if question != nil {
			if err := c.answer(after.JobID, after.ID, *question, st.At, did); err != nil {
				return err
			}
		}
		return c.release(after, millis(st.At), &did.ordered)
	}, func(emit func(job.Change)) {
		kind := job.CallbackSettled
		if after.State == job.Pending {
			kind = job.CallbackTried
		}
		if len(gone.pauses) > 0 {
			announceDisabled(emit, *st.Disable, gone)
		}
		emit(job.Change{Kind: kind, Callback: after})
		if did != nil {
			did.announce(emit)
		}
	})
	if err != nil {
		return fmt.Errorf("settle %s: %w", st.Callback.ID.Callback(), err)
	}
	return nil
}

// settled is the callback as it is after st.
func settled(st job.Settlement) *job.Callback {
	after := *st.Callback
	after.State, after.Waiting, after.Reason = st.State, st.Waiting, st.Reason
	if st.State == job.Pending {
		after.DueAt = st.DueAt
	} else {
		after.DueAt, after.SettledAt = time.Time{}, st.At
	}
	if a := st.Attempt; a != nil {
		after.Attempts, after.LastStatus, after.LastError, after.Rescued = a.N, a.Status, a.Error, false
	} else if st.State == job.Dead && after.LastError == "" {
		after.LastError = job.ClassGaveUp
	}
	if st.Error != "" {
		after.LastError = st.Error
	}
	return &after
}

func (c *conn) insertAttempt(id job.ID, a *job.Attempt) error {
	if a == nil {
		return nil
	}
	return c.bind(`INSERT OR REPLACE INTO attempts (callback, n, started_at, dns, connect, tls, first_byte, total, address, status, content_type,
			error, truncated, header, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`).
		key(id).int(int64(a.N)).time(a.StartedAt).int(a.DNS.Microseconds()).int(a.Connect.Microseconds()).int(a.TLS.Microseconds()).
		int(a.FirstByte.Microseconds()).int(a.Total.Microseconds()).text(a.Address).int(int64(a.Status)).text(a.ContentType).
		text(string(a.Error)).bool(a.Truncated).opt(encodeHeader(a.Header)).blob(a.Body).exec()
}

// Resend implements job.Deliveries.
func (s *Store) Resend(ctx context.Context, app string, id job.ID, now, giveUp time.Time) (*job.Callback, error) {
	var cb *job.Callback
	err := s.write(ctx, func(c *conn) (err error) {
		if cb, err = c.resend(app, job.BulkItem{ID: id, GiveUp: giveUp}, now); err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.CallbackResend, App: app, Subject: id.Callback()})
	}, func(emit func(job.Change)) {
		emit(job.Change{Kind: job.CallbackOwed, Callback: cb})
	})
	if err != nil {
		return nil, fmt.Errorf("resend %s: %w", id.Callback(), err)
	}
	return cb, nil
}

// resend makes a callback pending again.
func (c *conn) resend(app string, item job.BulkItem, now time.Time) (cb *job.Callback, err error) {
	id := item.ID
	var before *job.Callback
	err = c.bind(`SELECT ` + callbackColumns + ` FROM callbacks WHERE key = ? AND id = ? AND app = ?`).key(id).id(id).text(app).
		each(func(row *scanner) { before = scanCallback(row) })
	if err != nil || before == nil {
		return nil, cmp.Or(err, job.ErrNotFound)
	}
	if err := c.sayable(app, id); err != nil {
		return nil, err
	}
	// One that is claimed is in flight, or about to be: that is what was asked for.
	// One that waits for an earlier one goes on waiting.
	err = c.bind(`UPDATE callbacks SET round = iif(state = 1, round, attempts), give_up_at = iif(state = 1, give_up_at, ?5), state = 1,
				due_at = iif(due_at <= 0, due_at, ?4), settled_at = 0, waiting = iif(due_at = -1, waiting, ''),
				unwanted = 0, reason = '', expires_at = iif(state = 1, expires_at, 0),
				resent = resent OR state > 1 AND event NOT IN ` + terminalEvents + ` AND (SELECT state >= 4 FROM jobs j WHERE j.key = job)
			WHERE key = ?1 AND id = ?2 AND app = ?3`).
		key(id).id(id).text(app).time(now).time(item.GiveUp).exec()
	if err == nil && before.Ordered && before.State != job.Pending {
		err = c.queueUp(id)
	}
	if err != nil {
		return nil, err
	}
	err = c.bind(`SELECT ` + callbackColumns + ` FROM callbacks WHERE key = ? AND id = ? AND app = ?`).key(id).id(id).text(app).
		each(func(row *scanner) { cb = scanCallback(row) })
	return cb, err
}

// sayable is ErrGone for a callback whose job's bodies are whole no more: it could not
// say the same again.
func (c *conn) sayable(app string, id job.ID) (err error) {
	whole := true
	err = c.bind(`SELECT j.bodies FROM callbacks c JOIN jobs j ON j.key = c.job WHERE c.key = ? AND c.id = ? AND c.app = ?`).key(id).id(id).text(app).
		each(func(row *scanner) { whole = row.int() == int64(job.BodiesWhole) })
	if err == nil && !whole {
		err = job.ErrGone
	}
	return err
}
