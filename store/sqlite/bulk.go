package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

const bulkColumns = `id, app, action, filter, state, who, created_at, ended_at, counted, total, done, skipped, steps, cursor, behind`

func scanBulk(row *scanner) *job.Bulk {
	b := &job.Bulk{ID: row.id(), App: row.text(), Action: job.BulkAction(row.text())}
	// Only we write them: what cannot be read is damage, and a bulk about nothing.
	if json.Unmarshal([]byte(row.text()), &b.Filter) != nil {
		b.Filter.Until = time.Unix(1, 0)
	}
	b.State = job.BulkState(row.text())
	_ = json.Unmarshal([]byte(row.text()), &b.Who)
	b.CreatedAt, b.EndedAt, b.Counted, b.Total, b.Done, b.Skipped = row.time(), row.time(), row.bool(), row.int(), row.int(), row.int()
	b.Steps, b.Cursor = row.int(), uint64(row.int())
	_ = json.Unmarshal([]byte(row.text()), &b.Behind)
	return b
}

// json binds a value as JSON text.
func (b *binder) json(v any) *binder {
	text, err := json.Marshal(v)
	if b.err == nil {
		b.err = err
	}
	return b.text(string(text))
}

const (
	// bulkMemory is how long a bulk that has ended is remembered at least.
	bulkMemory = 90 * 24 * time.Hour
	// forgetBulks is how many at most are forgotten for a new one.
	forgetBulks = 100
)

// CreateBulk implements job.Bulks.
func (s *Store) CreateBulk(ctx context.Context, b *job.Bulk) error {
	b.Who, _ = job.ActorOf(ctx)
	created := *b
	err := s.write(ctx, func(c *conn) error {
		if err := s.live(b.App); err != nil {
			return err
		}
		open := 0
		err := c.bind(`SELECT count(*) FROM bulks INDEXED BY bulks_open WHERE app = ? AND state = 'running'`).text(b.App).
			each(func(row *scanner) { open = int(row.int()) })
		if err != nil {
			return err
		}
		if open >= job.MaxOpenBulks {
			return job.ErrTooMany
		}
		err = c.bind(`DELETE FROM bulks WHERE key IN (SELECT key FROM bulks WHERE key < ? AND state <> 'running' ORDER BY key LIMIT ?)`).
			int(millis(b.CreatedAt.Add(-bulkMemory)) << 15).int(forgetBulks).exec()
		if err != nil {
			return err
		}
		err = c.bind(`INSERT INTO bulks (key, ` + bulkColumns + `) VALUES (?, ?, ?, ?, ?, 'running', ?, ?, 0, 0, 0, 0, 0, 0, 0, 'null')`).
			key(b.ID).id(b.ID).text(b.App).text(string(b.Action)).json(b.Filter).json(b.Who).time(b.CreatedAt).exec()
		if err != nil {
			return err
		}
		filter, err := json.Marshal(b.Filter)
		if err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.BulkStart, App: b.App, Subject: b.ID.Bulk(), Detail: string(b.Action) + " " + string(filter)})
	}, func(emit func(job.Change)) { emit(job.Change{Kind: job.BulkChanged, App: created.App, Bulk: &created}) })
	return wrap(err, "create %s", b.ID.Bulk())
}

// bulk selects a bulk of an app.
func (c *conn) bulk(app string, id job.ID) (b *job.Bulk, err error) {
	err = c.bind(`SELECT ` + bulkColumns + ` FROM bulks WHERE key = ? AND id = ? AND app = ?`).key(id).id(id).text(app).
		each(func(row *scanner) { b = scanBulk(row) })
	if err == nil && b == nil {
		err = job.ErrNotFound
	}
	return b, err
}

// Bulk implements job.Bulks.
func (s *Store) Bulk(ctx context.Context, app string, id job.ID) (b *job.Bulk, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		b, err = c.bulk(app, id)
		return err
	})
	return b, wrap(err, "read %s", id.Bulk())
}

// ListBulks implements job.Bulks.
func (s *Store) ListBulks(ctx context.Context, f job.BulksFilter) ([]*job.Bulk, error) {
	from, where := `bulks NOT INDEXED`, `key < ?2`
	switch {
	case f.Open && f.App != "":
		from, where = `bulks INDEXED BY bulks_open`, where+` AND state = 'running' AND app = ?1`
	case f.Open:
		where += ` AND state = 'running'`
	case f.App != "":
		from, where = `bulks INDEXED BY bulks_of_app`, where+` AND app = ?1`
	}
	all, err := list(ctx, s, scanBulk, func(c *conn) *binder {
		return c.bind(`SELECT ` + bulkColumns + ` FROM ` + from + ` WHERE ` + where + ` AND (?1 = '' OR app = ?1) ORDER BY key DESC LIMIT ?3`).
			text(f.App).int(before(f.Before)).int(limit(f.Limit))
	})
	return all, wrap(err, "list bulks")
}

// StopBulk implements job.Bulks.
func (s *Store) StopBulk(ctx context.Context, app string, id job.ID, at time.Time) (*job.Bulk, error) {
	var after *job.Bulk
	err := s.write(ctx, func(c *conn) (err error) {
		if after, err = c.bulk(app, id); err != nil {
			return err
		}
		if after.State != job.BulkRunning {
			return job.ErrTerminal
		}
		after.State, after.EndedAt = job.BulkStopped, timeOf(millis(at))
		if err := c.bind(`UPDATE bulks SET state = 'stopped', ended_at = ? WHERE key = ?`).time(at).key(id).exec(); err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.BulkStop, App: app, Subject: id.Bulk()})
	}, func(emit func(job.Change)) { emit(job.Change{Kind: job.BulkChanged, App: app, Bulk: after}) })
	if err != nil {
		return nil, fmt.Errorf("stop %s: %w", id.Bulk(), err)
	}
	return after, nil
}

// FindBulk implements job.Bulks.
func (s *Store) FindBulk(ctx context.Context, l job.BulkLook) (found job.BulkFound, err error) {
	done, err := s.scanning(ctx)
	if err != nil {
		return found, wrap(err, "find what a bulk is about")
	}
	defer done()
	b := l.Bulk
	// What was made while the clock was set back has a key that is later than its time.
	after := max(int64(l.After), millis(b.Filter.Since)<<15-1)
	err = s.read(ctx, func(c *conn) error {
		found = job.BulkFound{Next: l.After, End: true}
		q := c.bulkRows(b).text(b.App).int(after).key(b.ID)
		states := b.CallbackStates()
		q.int(int64(states[0])).int(int64(l.Look))
		if q.err != nil {
			return q.err
		}
		looked := 0
		for full := false; !full && q.st.Step(); {
			row := &scanner{st: q.st}
			if b.Action == job.BulkCancel {
				j := scanJob(row)
				found.Next = j.ID.Key()
				if b.WantsJob(j) {
					found.Jobs = append(found.Jobs, j)
				}
			} else {
				cb := scanCallback(row)
				found.Next = cb.ID.Key()
				if b.Wants(cb) && (l.Lane == "" || cb.Lane() == l.Lane) {
					found.Callbacks = append(found.Callbacks, cb)
				}
			}
			looked++
			full = len(found.Jobs)+len(found.Callbacks) >= l.Limit
			found.End = !full
		}
		found.End = found.End && looked < l.Look
		return q.st.Reset()
	})
	return found, wrap(err, "find what %s is about", b.ID.Bulk())
}

// bulkRows selects the rows that a bulk has to look at. Its parameters: 1 app, 2 after,
// 3 before, 4 the first state, 5 limit.
func (c *conn) bulkRows(b *job.Bulk) *binder {
	const where = ` WHERE app = ?1 AND key > ?2 AND key < ?3 AND (?4 >= 0)`
	states := b.CallbackStates()
	switch {
	case b.Action == job.BulkCancel:
		return c.bind(`SELECT ` + jobColumns + ` FROM jobs j INDEXED BY jobs_of_app` + where + ` ORDER BY key LIMIT ?5`)
	case len(states) == 1 && states[0] != job.Delivered:
		return c.bind(`SELECT ` + callbackColumns + ` FROM callbacks INDEXED BY callbacks_of_state` + where + ` AND state = ?4 AND state <> 2 ORDER BY key LIMIT ?5`)
	}
	return c.bind(`SELECT ` + callbackColumns + ` FROM callbacks INDEXED BY callbacks_of_app` + where + ` ORDER BY key LIMIT ?5`)
}

// bulkDid is what a batch has changed, to be told.
type bulkDid struct {
	bulk     *job.Bulk
	resent   []*job.Callback
	settled  answered
	marked   int // their attempts are their last
	finished []*op
}

func (d *bulkDid) announce(emit func(job.Change)) {
	for _, cb := range d.resent {
		emit(job.Change{Kind: job.CallbackOwed, Callback: cb})
	}
	d.settled.announce(emit)
	for _, o := range d.finished {
		o.announce(emit)
	}
	emit(job.Change{Kind: job.BulkChanged, App: d.bulk.App, Bulk: d.bulk})
}

// StepBulk implements job.Bulks.
func (s *Store) StepBulk(ctx context.Context, st job.BulkStep) (*job.Bulk, error) {
	var did bulkDid
	ends := make([]*op, len(st.Finishes))
	for i, f := range st.Finishes {
		ends[i] = s.finishing(f)
	}
	err := s.write(ctx, func(c *conn) error {
		did = bulkDid{}
		b, err := c.bulk(st.Bulk.App, st.Bulk.ID)
		switch {
		case err != nil:
			return err
		case b.State != job.BulkRunning:
			return job.ErrTerminal
		case b.Steps != st.Bulk.Steps:
			return job.ErrGone
		}
		did.bulk = b
		for _, item := range st.Callbacks {
			if err := c.stepCallback(&did, item, st.At); err != nil {
				return err
			}
		}
		for _, end := range ends {
			switch err := end.apply(c); {
			case err == nil:
				did.finished = append(did.finished, end)
			case !errors.Is(err, job.ErrTerminal) && !errors.Is(err, job.ErrNotFound):
				return err
			}
		}
		did.count(st)
		return c.bind(`UPDATE bulks SET state = ?, ended_at = ?, counted = ?, total = ?, done = ?, skipped = ?, steps = ?, cursor = ?, behind = ? WHERE key = ?`).
			text(string(b.State)).time(b.EndedAt).bool(b.Counted).int(b.Total).int(b.Done).int(b.Skipped).int(b.Steps).int(int64(b.Cursor)).json(b.Behind).
			key(b.ID).exec()
	}, func(emit func(job.Change)) { did.announce(emit) })
	if err != nil {
		return nil, fmt.Errorf("go on with %s: %w", st.Bulk.ID.Bulk(), err)
	}
	return did.bulk, nil
}

// count makes the bulk what it is after a step.
func (d *bulkDid) count(st job.BulkStep) {
	b := d.bulk
	done := int64(len(d.resent) + len(d.settled.discarded) + d.marked + len(d.finished))
	b.Steps++
	b.Done += done
	b.Skipped += st.Skipped + int64(len(st.Callbacks)+len(st.Finishes)) - done
	b.Counted, b.Total, b.Cursor, b.Behind = st.Counted, st.Total, st.Cursor, st.Behind
	if st.End {
		b.State, b.EndedAt = job.BulkDone, timeOf(millis(st.At))
	}
}

// stepCallback does what the bulk does to a callback, if it is still about it.
func (c *conn) stepCallback(did *bulkDid, item job.BulkItem, at time.Time) error {
	b := did.bulk
	found, err := c.callbacks(`WHERE key = ? AND id = ? AND app = ?`, func(q *binder) { q.key(item.ID).id(item.ID).text(b.App) })
	if err != nil || len(found) == 0 || !b.Wants(found[0]) {
		return err
	}
	if b.Action == job.BulkResend {
		cb, err := c.resend(b.App, item, at)
		if errors.Is(err, job.ErrGone) {
			return nil // its body is
		}
		did.resent = append(did.resent, cb)
		return err
	}
	marked, err := c.discardOne(found[0], at, job.ReasonSkipped, &did.settled)
	if marked {
		did.marked++
	}
	return err
}

// LaneBacklog implements job.Bulks.
func (s *Store) LaneBacklog(ctx context.Context, lane string, now time.Time, limit int) (n int, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.bind(`SELECT count(*) FROM (SELECT 1 FROM callbacks INDEXED BY callbacks_due WHERE lane = ? AND due_at > 0 AND due_at <= ? LIMIT ?)`).
			text(lane).time(now).int(int64(limit)).each(func(row *scanner) { n = int(row.int()) })
	})
	return n, wrap(err, "count what is due")
}

// DeadLetters implements job.Bulks.
func (s *Store) DeadLetters(ctx context.Context, f job.DeadFilter) ([]job.DeadGroup, error) {
	done, err := s.scanning(ctx)
	if err != nil {
		return nil, wrap(err, "group dead callbacks")
	}
	defer done()
	lane := ""
	if f.Endpoint != "" || f.Origin != "" {
		lane = (&job.Callback{App: f.App, Endpoint: f.Endpoint, URL: f.Origin}).Lane()
	}
	groups, err := list(ctx, s, func(row *scanner) job.DeadGroup {
		return job.DeadGroup{Lane: row.text(), Error: job.Class(row.text()), Count: row.int(), Oldest: timeOf(row.int()), Newest: timeOf(row.int())}
	}, func(c *conn) *binder {
		return c.bind(`SELECT lane, last_error, count(*), min(key) >> 15, max(key) >> 15 FROM callbacks INDEXED BY callbacks_dead
			WHERE state = 3 AND app = ?1 AND (lane, last_error) > (?2, ?3) AND (?4 = '' OR lane = ?4) AND (?5 = '' OR last_error = ?5)
			  AND (?6 = '' OR operation = ?6)
			GROUP BY lane, last_error ORDER BY lane, last_error LIMIT ?7`).
			text(f.App).text(f.AfterLane).text(string(f.AfterError)).text(lane).text(string(f.Error)).text(f.Operation).int(limit(f.Limit))
	})
	return groups, wrap(err, "group dead callbacks")
}
