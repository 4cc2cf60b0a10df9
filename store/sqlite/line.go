package sqlite

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

// The callbacks to an ordered endpoint stand in lines: one for each value of its key.
// Each gets the line's next number in the transaction that owes it. Of the pending ones
// of a line at most one has its turn: it is due, or claimed. All others have due_at -1;
// when it is settled, the one with the least number follows. So whatever stands behind,
// each step looks at two rows.

// noneInLine holds for a callback b, with due_at -1 or not yet in a line of its own,
// whose turn it would be: none has it, and none with a lesser number is pending.
const noneInLine = `(b.seq IS NULL OR NOT EXISTS (SELECT 1 FROM callbacks o INDEXED BY callbacks_turn
	WHERE o.lane = b.lane AND o.order_key = b.order_key AND o.state = 1 AND o.seq IS NOT NULL AND o.due_at <> -1 AND o.key <> b.key)
	AND NOT EXISTS (SELECT 1 FROM callbacks o INDEXED BY callbacks_line
	WHERE o.lane = b.lane AND o.order_key = b.order_key AND o.state = 1 AND o.seq IS NOT NULL AND o.seq < b.seq))`

// unanswered ends the question of a callback that somebody discarded.
var unanswered = &job.QuestionEnd{Error: &job.Error{Code: job.CodeUnanswered, Message: "the callback that asks was discarded"}}

func anyInLine(owed []job.OwedCallback) bool {
	for _, o := range owed {
		if o.Callback.Ordered {
			return true
		}
	}
	return false
}

// joinLine gives a new callback its number, and tells whether others are before it.
func (c *conn) joinLine(cb *job.Callback) (occupied bool, err error) {
	lane := cb.Lane()
	err = c.bind(`INSERT INTO sequences (lane, order_key, last, used_at)
		VALUES (?1, ?2, coalesce((SELECT last FROM sequence_floors WHERE lane = ?1), 0) + 1, ?3)
		ON CONFLICT DO UPDATE SET last = last + 1, used_at = max(used_at, excluded.used_at) RETURNING last`).
		text(lane).text(cb.OrderKey).time(cb.CreatedAt).each(func(row *scanner) { cb.Sequence = row.int() })
	if err != nil {
		return false, err
	}
	err = c.bind(`SELECT 1 FROM callbacks INDEXED BY callbacks_line WHERE lane = ? AND order_key = ? AND state = 1 AND seq IS NOT NULL LIMIT 1`).
		text(lane).text(cb.OrderKey).each(func(*scanner) { occupied = true })
	return occupied, err
}

// updateTurn writes what few callbacks have.
func (c *conn) updateTurn(cb *job.Callback) error {
	b := c.bind(`UPDATE callbacks SET seq = ?2, order_key = ?3, deliver_at = ?4, expires_at = ?5 WHERE key = ?1`).key(cb.ID)
	if cb.Ordered {
		b.int(cb.Sequence).text(cb.OrderKey)
	} else {
		b.null().null()
	}
	return b.time(cb.DeliverAt).time(cb.ExpiresAt).exec()
}

func (c *conn) setReason(cb *job.Callback) error {
	return c.bind(`UPDATE callbacks SET reason = ? WHERE key = ?`).text(cb.Reason).key(cb.ID).exec()
}

// releaseLine lets the next one follow in the line of a callback that was settled,
// unless another one has its turn, as after a resend.
func (c *conn) releaseLine(settled *job.Callback, at int64, did *ordered) error {
	if !settled.Ordered {
		return nil
	}
	next, err := c.callbacks(`b WHERE due_at = -1 AND `+nothingBefore+` AND `+noneInLine+` AND key =
		(SELECT key FROM callbacks INDEXED BY callbacks_line WHERE lane = ? AND order_key = ? AND state = 1 AND seq IS NOT NULL ORDER BY seq LIMIT 1)`,
		func(b *binder) { b.text(settled.Lane()).text(settled.OrderKey) })
	if err != nil {
		return err
	}
	for _, cb := range next {
		if err := c.comeToTurn(cb, at); err != nil {
			return err
		}
	}
	did.freed = append(did.freed, next...)
	return nil
}

// comeToTurn makes a callback due that has waited for its turn. The time in a line of
// its own does not count against its giving up.
func (c *conn) comeToTurn(cb *job.Callback, at int64) error {
	due, waiting := max(at, 1), ""
	if later := millis(cb.DeliverAt); later > due {
		due, waiting = later, job.WaitingScheduled
	}
	if owed := max(millis(cb.CreatedAt), millis(cb.DeliverAt)); cb.Ordered && cb.Round == 0 && due > owed {
		cb.GiveUpAt = timeOf(millis(cb.GiveUpAt) + due - owed)
	}
	cb.DueAt, cb.Waiting = timeOf(due), waiting
	return c.bind(`UPDATE callbacks SET due_at = ?2, waiting = ?3, give_up_at = ?4 WHERE key = ?1`).
		key(cb.ID).int(due).text(waiting).time(cb.GiveUpAt).exec()
}

// queueUp makes a callback that was resent wait in its line, unless it is its turn.
func (c *conn) queueUp(id job.ID) error {
	return c.bind(`UPDATE callbacks AS b SET due_at = -1, waiting = 'order' WHERE key = ? AND NOT ` + noneInLine).key(id).exec()
}

// DiscardCallback implements job.Turns.
func (s *Store) DiscardCallback(ctx context.Context, app string, id job.ID, reason string, now time.Time) (*job.Callback, error) {
	var did answered
	var after *job.Callback
	err := s.write(ctx, func(c *conn) error {
		did, after = answered{}, nil
		found, err := c.callbacks(`WHERE key = ? AND id = ? AND app = ?`, func(b *binder) { b.key(id).id(id).text(app) })
		if err != nil || len(found) == 0 {
			return cmp.Or(err, job.ErrNotFound)
		}
		after = found[0]
		if after.State != job.Pending {
			return job.ErrTerminal
		}
		if err := s.audit(ctx, c, job.Audit{Action: job.CallbackDiscard, App: app, Subject: id.Callback()}); err != nil {
			return err
		}
		_, err = c.discardOne(after, now, reason, &did)
		return err
	}, func(emit func(job.Change)) { did.announce(emit) })
	if err != nil {
		return nil, fmt.Errorf("discard %s: %w", id.Callback(), err)
	}
	return after, nil
}

// discardOne discards a callback, unless it is claimed: then its attempt is to be its last.
func (c *conn) discardOne(cb *job.Callback, at time.Time, reason string, did *answered) (marked bool, err error) {
	err = c.bind(`UPDATE callbacks SET unwanted = 1 WHERE key = ? AND due_at = 0`).key(cb.ID).exec()
	if marked = c.Changes() > 0; err != nil || marked {
		return marked, err
	}
	if err := c.discard([]*job.Callback{cb}, millis(at), reason, &did.ordered); err != nil {
		return false, err
	}
	if cb.Event == job.EventAsk {
		if err := c.answer(cb.JobID, cb.ID, *unanswered, at, did); err != nil {
			return false, err
		}
	}
	return false, c.releaseEarly(cb, millis(at), &did.ordered)
}

// ExpireCallbacks implements job.Turns.
func (s *Store) ExpireCallbacks(ctx context.Context, now time.Time, limit int) (n int, err error) {
	const due = `callbacks INDEXED BY callbacks_expiring WHERE state = 1 AND expires_at > 0 AND expires_at <= ? AND due_at <> 0`
	err = s.read(ctx, func(c *conn) error {
		return c.bind(`SELECT 1 FROM ` + due + ` LIMIT 1`).time(now).each(func(*scanner) { n++ })
	})
	if err != nil || n == 0 {
		return 0, wrap(err, "find expired callbacks")
	}
	var did ordered
	err = s.write(ctx, func(c *conn) error {
		did = ordered{}
		var expired []*job.Callback
		b := c.bind(`SELECT ` + callbackColumns + ` FROM ` + due + ` ORDER BY expires_at LIMIT ?`).time(now).int(int64(limit))
		if err := b.each(func(row *scanner) { expired = append(expired, scanCallback(row)) }); err != nil {
			return err
		}
		n = len(expired)
		if err := c.discard(expired, millis(now), job.ReasonExpired, &did); err != nil {
			return err
		}
		for _, cb := range expired {
			if err := c.releaseEarly(cb, millis(now), &did); err != nil {
				return err
			}
		}
		return nil
	}, func(emit func(job.Change)) { did.announce(emit, nil) })
	return n, wrap(err, "expire callbacks")
}

// WaitsFor implements job.Turns.
func (s *Store) WaitsFor(ctx context.Context, callbacks []*job.Callback) ([]job.ID, error) {
	before := make([]job.ID, len(callbacks))
	err := s.read(ctx, func(c *conn) error {
		for i, cb := range callbacks {
			if cb.Waiting != job.WaitingOrder {
				continue
			}
			if err := c.before(cb, func(row *scanner) { before[i] = row.id() }, func() bool { return before[i].IsZero() }); err != nil {
				return err
			}
		}
		return nil
	})
	return before, wrap(err, "find what callbacks wait for")
}

// before reads what a callback waits for, while it is not found: the one in its line whose
// turn it is, or the one that comes to it next, or an older one of its job.
func (c *conn) before(cb *job.Callback, found func(*scanner), missing func() bool) error {
	const line = `WHERE lane = ? AND order_key = ? AND state = 1 AND seq IS NOT NULL AND `
	if cb.Ordered {
		err := c.bind(`SELECT id FROM callbacks INDEXED BY callbacks_turn ` + line + `due_at <> -1 LIMIT 1`).
			text(cb.Lane()).text(cb.OrderKey).each(found)
		if err == nil && missing() {
			err = c.bind(`SELECT id FROM callbacks INDEXED BY callbacks_line ` + line + `seq < ? ORDER BY seq LIMIT 1`).
				text(cb.Lane()).text(cb.OrderKey).int(cb.Sequence).each(found)
		}
		if err != nil || !missing() {
			return err
		}
	}
	return c.bind(`SELECT id FROM callbacks INDEXED BY callbacks_early WHERE job = ? AND state = 1 AND event NOT IN ` + terminalEvents + `
		AND NOT resent AND endpoint = ? AND url = ? AND key < ? LIMIT 1`).
		key(cb.JobID).text(cb.Endpoint).text(cb.URL).key(cb.ID).each(found)
}

// purgeSequences forgets up to limit lines that have had no number for long and are
// empty. The lane's floor keeps what the numbers came to.
func (c *conn) purgeSequences(before time.Time, limit int) error {
	type line struct{ lane, key string }
	var idle []line
	err := c.bind(`SELECT lane, order_key FROM sequences s WHERE used_at < ? AND NOT EXISTS (SELECT 1 FROM callbacks c INDEXED BY callbacks_line
			WHERE c.lane = s.lane AND c.order_key = s.order_key AND c.state = 1 AND c.seq IS NOT NULL) ORDER BY used_at LIMIT ?`).
		time(before).int(int64(limit)).each(func(row *scanner) { idle = append(idle, line{row.text(), row.text()}) })
	if err != nil {
		return err
	}
	for _, l := range idle {
		err := c.bind(`INSERT INTO sequence_floors (lane, last) SELECT lane, last FROM sequences WHERE lane = ? AND order_key = ?
			ON CONFLICT DO UPDATE SET last = max(last, excluded.last)`).text(l.lane).text(l.key).exec()
		if err == nil {
			err = c.bind(`DELETE FROM sequences WHERE lane = ? AND order_key = ?`).text(l.lane).text(l.key).exec()
		}
		if err != nil {
			return err
		}
	}
	return nil
}
