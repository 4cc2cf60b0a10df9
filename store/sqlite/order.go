package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/ringback/ringback/job"
)

// The early callbacks of a job, those owed before its end, are sent one after the
// other to each destination: one that is stored while an older one is pending has
// due_at -1 until that is settled. So has one in the line of an ordered endpoint (see
// line.go) whose turn has not come. All that follows from a settlement or from the
// job's end is in its transaction, so that nothing waits for what is not there.

// terminalEvents are job.Events; the index callbacks_early has them, too.
const terminalEvents = `('succeeded', 'failed', 'canceled', 'expired')`

const behind = -1 // the due_at of a callback that waits for an older one

// ordered is what a write did to the callbacks of a job that has early ones, as they
// are after it.
type ordered struct {
	early           bool // of an end: it is that of such a job
	discarded, owed []*job.Callback
	freed           []*job.Callback // of other jobs, too
}

// orderedIf is nil where there is nothing to keep in order, as for nearly all.
func orderedIf(needed bool) *ordered {
	if !needed {
		return nil
	}
	return &ordered{}
}

func (o ordered) announce(emit func(job.Change), j *job.Job) {
	for _, cb := range o.discarded {
		emit(job.Change{Kind: job.CallbackSettled, Callback: cb})
	}
	announceOwed(emit, j, o.owed)
	announceOwed(emit, nil, o.freed)
}

func announceOwed(emit func(job.Change), j *job.Job, owed []*job.Callback) {
	for _, cb := range owed {
		emit(job.Change{Kind: job.CallbackOwed, Job: j, Callback: cb})
	}
}

// settleUnwanted makes after the end of a callback that would be tried again, where it
// was discarded while it was claimed, or is an early one whose job has ended. It returns
// how a question ends with it.
func (c *conn) settleUnwanted(st job.Settlement, after *job.Callback) (end *job.QuestionEnd, err error) {
	var unwanted bool
	err = c.bind(`SELECT unwanted FROM callbacks WHERE key = ?`).key(after.ID).each(func(row *scanner) { unwanted = row.bool() })
	obsolete := false
	if err == nil && !unwanted && !after.Event.Terminal() {
		obsolete, err = c.obsolete(after.ID)
	}
	if unwanted || obsolete {
		st.State, st.Waiting = job.Discarded, ""
	}
	if unwanted {
		st.Reason = job.ReasonSkipped
		if after.Event == job.EventAsk && st.Question == nil {
			st.Question = unanswered
		}
	}
	*after = *settled(st)
	return st.Question, err
}

// mayBeEarly tells whether a finish may be about a job that has owed callbacks before.
// Of a run's end it is known; who ends a job from outside may not have heard of the last.
func mayBeEarly(f job.Finish) bool {
	switch {
	case f.State.Terminal():
		return f.Job.Early || f.Run == nil || f.Waited
	case f.State == job.Accepted:
		return f.Run != nil && (f.Job.Early || f.Waited)
	}
	return false
}

// finishEarly is the rest of a finish of a job that may be early.
func (c *conn) finishEarly(f job.Finish, did *ordered) error {
	*did = ordered{}
	if f.State.Terminal() {
		err := c.bind(`SELECT early FROM jobs WHERE key = ?`).key(f.Job.ID).each(func(row *scanner) { did.early = row.bool() })
		if err != nil {
			return err
		}
		if !did.early {
			return c.insertCallbacks(f.Callbacks, did)
		}
	}
	if err := c.closeQuestions(f, did); err != nil || !did.early {
		return err
	}
	return c.endEarly(f, did)
}

// endEarly discards the early callbacks that are pending and not claimed, and stores
// what the end owes.
func (c *conn) endEarly(f job.Finish, did *ordered) error {
	pending, err := c.callbacks(`INDEXED BY callbacks_early WHERE job = ? AND state = 1 AND event NOT IN `+terminalEvents+` AND due_at <> 0 ORDER BY key`,
		func(b *binder) { b.key(f.Job.ID) })
	if err != nil {
		return err
	}
	if err := c.discard(pending, millis(f.At), "", did); err != nil {
		return err
	}
	return c.insertOrdered(f.Callbacks, did)
}

// callbacks are those that a clause selects.
func (c *conn) callbacks(clause string, bind func(*binder)) (found []*job.Callback, err error) {
	b := c.bind(`SELECT ` + callbackColumns + ` FROM callbacks ` + clause)
	bind(b)
	err = b.each(func(row *scanner) { found = append(found, scanCallback(row)) })
	return found, err
}

// discard ends callbacks that are pending and not claimed, and lets those follow that
// are next in their lines. What waits for them as early ones is not released.
func (c *conn) discard(pending []*job.Callback, at int64, reason string, did *ordered) error {
	for _, cb := range pending {
		err := c.bind(`UPDATE callbacks SET state = 4, due_at = NULL, settled_at = ?2, waiting = '', reason = ?3 WHERE key = ?1`).
			key(cb.ID).int(at).text(reason).exec()
		if err != nil {
			return err
		}
		cb.State, cb.DueAt, cb.SettledAt, cb.Waiting, cb.Reason = job.Discarded, timeOf(0), timeOf(at), "", reason
	}
	did.discarded = append(did.discarded, pending...)
	for _, cb := range pending {
		if err := c.releaseLine(cb, at, did); err != nil {
			return err
		}
	}
	return nil
}

// insertOrdered stores callbacks of a job that has early ones, each behind the early
// ones that are pending.
func (c *conn) insertOrdered(owed []job.OwedCallback, did *ordered) error {
	for _, o := range owed {
		behindEarly := false
		err := c.bind(`SELECT 1 FROM callbacks INDEXED BY callbacks_early
			WHERE job = ? AND state = 1 AND event NOT IN ` + terminalEvents + ` AND endpoint = ? AND url = ? LIMIT 1`).
			key(o.Callback.JobID).text(o.Callback.Endpoint).text(o.Callback.URL).each(func(*scanner) { behindEarly = true })
		if err == nil {
			err = c.insertBehind(o, behindEarly, did)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// insertBehind stores a callback that may have to wait for its turn.
func (c *conn) insertBehind(o job.OwedCallback, waits bool, did *ordered) error {
	cb, due := *o.Callback, dueAt(false, o.Callback.DueAt, o.Callback.CreatedAt)
	if cb.Ordered {
		occupied, err := c.joinLine(&cb)
		if err != nil {
			return err
		}
		waits = waits || occupied
	}
	if waits {
		cb.DueAt, cb.Waiting, due = timeOf(0), job.WaitingOrder, behind
	}
	did.owed = append(did.owed, &cb)
	return c.insertCallbackDue(&cb, due)
}

// release makes those due at a time that wait behind nothing but a callback that was
// settled.
func (c *conn) release(settled *job.Callback, at int64, did *ordered) error {
	if err := c.releaseEarly(settled, at, did); err != nil {
		return err
	}
	return c.releaseLine(settled, at, did)
}

// releaseEarly is release for what waits for an early callback.
func (c *conn) releaseEarly(settled *job.Callback, at int64, did *ordered) error {
	if settled.Event.Terminal() {
		return nil
	}
	free, err := c.callbacks(`b INDEXED BY callbacks_behind WHERE job = ? AND due_at = -1 AND endpoint = ? AND url = ? AND `+nothingBefore+` AND `+noneInLine+` ORDER BY key`,
		func(b *binder) { b.key(settled.JobID).text(settled.Endpoint).text(settled.URL) })
	if err != nil {
		return err
	}
	for _, cb := range free {
		if err := c.comeToTurn(cb, at); err != nil {
			return err
		}
	}
	did.freed = append(did.freed, free...)
	return nil
}

// nothingBefore holds for a callback b without an older early one. For one that was
// resent after the job's end nobody waits.
const nothingBefore = `NOT EXISTS (SELECT 1 FROM callbacks o INDEXED BY callbacks_early WHERE o.job = b.job AND o.state = 1
	AND o.event NOT IN ` + terminalEvents + ` AND NOT o.resent AND o.endpoint = b.endpoint AND o.url = b.url AND o.key < b.key)`

// obsolete tells an early callback whose job has ended, and one whose question has.
func (c *conn) obsolete(id job.ID) (yes bool, err error) {
	err = c.bind(`SELECT 1 FROM callbacks c JOIN jobs j ON j.key = c.job
		WHERE c.key = ? AND (c.event NOT IN ` + terminalEvents + ` AND NOT c.resent AND j.state >= 4
			OR c.event = 'ask' AND NOT EXISTS (SELECT 1 FROM questions q WHERE q.job = c.job AND q.callback = c.id AND q.state = 1))`).
		key(id).each(func(*scanner) { yes = true })
	return yes, err
}

// insertStarted stores what a run's start owes, unless an earlier start did.
func (c *conn) insertStarted(st *start, did *ordered) error {
	if len(st.owed) == 0 {
		return nil
	}
	told := false
	err := c.bind(`SELECT 1 FROM callbacks WHERE job = ? AND event = ? LIMIT 1`).key(st.id).text(string(st.owed[0].Callback.Event)).
		each(func(*scanner) { told = true })
	if err != nil || told {
		return err
	}
	if err := c.bind(`UPDATE jobs SET early = 1 WHERE key = ?`).key(st.id).exec(); err != nil {
		return err
	}
	return c.insertOrdered(st.owed, did)
}

// Progress implements job.Runs.
func (s *Store) Progress(ctx context.Context, p job.Progress) error {
	var did ordered
	var after *job.Job
	err := s.write(ctx, func(c *conn) error {
		did, after = ordered{}, nil
		err := c.bind(`UPDATE jobs SET progress = ?3, early = early OR ?4 WHERE key = ?1 AND state IN (2, 3) AND runs = ?2`).
			key(p.Job.ID).int(int64(p.N)).text(string(p.Value)).bool(len(p.Callbacks) > 0).exec()
		if err != nil {
			return err
		}
		if c.Changes() == 0 {
			if err := c.missing("jobs", p.Job.ID); err != nil {
				return err
			}
			return job.ErrNotFound
		}
		if err := c.replace(p.Callbacks, millis(p.At), &did); err != nil {
			return err
		}
		return c.bind(`SELECT ` + jobColumns + ` FROM jobs j WHERE j.key = ?`).key(p.Job.ID).each(func(row *scanner) { after = scanJob(row) })
	}, func(emit func(job.Change)) {
		emit(job.Change{Kind: job.JobProgressed, Job: after})
		did.announce(emit, after)
	})
	if err != nil {
		return fmt.Errorf("progress of %s: %w", p.Job.ID.Job(), err)
	}
	return nil
}

// replace stores callbacks in the place of those that nobody has tried to send yet.
func (c *conn) replace(owed []job.OwedCallback, at int64, did *ordered) error {
	for _, o := range owed {
		old, err := c.callbacks(`INDEXED BY callbacks_early WHERE job = ? AND state = 1 AND event NOT IN `+terminalEvents+` AND event = ?
			AND endpoint = ? AND url = ? AND attempts = 0 AND due_at <> 0 AND key < ? ORDER BY key`, func(b *binder) {
			b.key(o.Callback.JobID).text(string(o.Callback.Event)).text(o.Callback.Endpoint).text(o.Callback.URL).key(owed[0].Callback.ID)
		})
		if err != nil {
			return err
		}
		if err := c.discard(old, at, "", did); err != nil {
			return err
		}
	}
	replaced := did.discarded
	if err := c.insertOrdered(owed, did); err != nil {
		return err
	}
	var errs []error
	for _, old := range replaced { // others may have waited for them
		errs = append(errs, c.release(old, at, did))
	}
	return errors.Join(errs...)
}
