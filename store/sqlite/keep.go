package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ringback/ringback/job"
)

// securely runs statements whose deleted content SQLite overwrites, in rows and in pages
// that become free. It costs a write for each such page, so it is for what asks for it.
func (c *conn) securely(f func() error) (err error) {
	// The pragma acts when it is prepared: as a kept statement it would act once.
	if err := c.Exec("PRAGMA secure_delete = ON"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Exec("PRAGMA secure_delete = OFF")) }()
	return f()
}

// looked is a job that a sweep has found something to do about.
type looked struct {
	key    int64
	id     job.ID
	cut    job.Cutoff
	over   time.Time // since when it and its callbacks are at their end
	bodies job.Bodies
}

func (l looked) expired() bool { return l.over.Before(l.cut.Jobs) }
func (l looked) bare() bool {
	return !l.expired() && l.bodies != job.BodiesGone && l.over.Before(l.cut.Bodies)
}

// Sweep implements job.Keeping. It looks beside the writer, and writes what it found.
func (s *Store) Sweep(ctx context.Context, sw job.Sweep) (swept job.Swept, err error) {
	found, next, err := s.look(ctx, sw)
	if err != nil {
		return swept, wrap(err, "sweep")
	}
	swept.Next = next
	var write []looked
	for _, l := range found {
		switch {
		case l.expired(), l.bare():
			write = append(write, l)
		case l.cut.Redact && l.bodies == job.BodiesWhole:
			swept.Redact = append(swept.Redact, l.id)
		}
	}
	if len(write) == 0 {
		return swept, nil
	}
	err = s.write(ctx, func(c *conn) error {
		swept.Deleted, swept.Bared, swept.Unused = 0, 0, nil
		for _, l := range write {
			if err := c.keepNoMore(l, &swept); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	return swept, wrap(err, "sweep")
}

// look reads the next jobs, and returns those that something is to be done about. A job
// is not over before it was made: younger ones than all cutoffs are not looked at.
func (s *Store) look(ctx context.Context, sw job.Sweep) (found []looked, next uint64, err error) {
	last, redact := sw.Others.Jobs, sw.Others.Redact
	for _, cut := range append(make([]job.Cutoff, 0, 8), sw.Others) {
		last = later(last, cut.Bodies)
	}
	for _, cut := range sw.Operations {
		last, redact = later(later(last, cut.Jobs), cut.Bodies), redact || cut.Redact
	}
	end := int64(1<<63 - 1)
	if !redact {
		end = millis(last) << 15
	}
	err = s.read(ctx, func(c *conn) error {
		n := 0
		err := c.bind(`SELECT key, id, operation, finished_at, bodies FROM jobs WHERE key > ? AND key < ? ORDER BY key LIMIT ?`).
			int(int64(sw.After)).int(end).int(int64(sw.Look)).each(func(row *scanner) {
			l := looked{key: row.int(), id: row.id()}
			n, next = n+1, uint64(l.key)
			cut, ok := sw.Operations[row.text()]
			if !ok {
				cut = sw.Others
			}
			l.cut, l.over, l.bodies = cut, row.time(), job.Bodies(row.int())
			if !l.over.IsZero() && (l.expired() || l.bare() || cut.Redact && l.bodies == job.BodiesWhole) {
				found = append(found, l)
			}
		})
		if err != nil {
			return err
		}
		if n < sw.Look {
			next = 0
		}
		over := found[:0]
		for _, l := range found {
			ended, err := c.callbacksEnded(&l)
			if err != nil {
				return err
			}
			if ended {
				over = append(over, l)
			}
		}
		found = over
		return nil
	})
	return found, next, err
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// callbacksEnded tells whether all callbacks of a job are at their end, and since when.
func (c *conn) callbacksEnded(l *looked) (ended bool, err error) {
	ended = true
	err = c.bind(`SELECT state, settled_at FROM callbacks WHERE job = ?`).int(l.key).each(func(row *scanner) {
		if row.int() == int64(job.Pending) {
			ended = false
		}
		l.over = later(l.over, row.time())
	})
	return ended, err
}

// keepNoMore deletes a job, or its bodies. A resend may have come since it was looked at.
func (c *conn) keepNoMore(l looked, swept *job.Swept) error {
	there := false
	err := c.bind(`SELECT finished_at, bodies FROM jobs WHERE key = ? AND finished_at > 0`).int(l.key).
		each(func(row *scanner) { there, l.over, l.bodies = true, row.time(), job.Bodies(row.int()) })
	if err != nil || !there {
		return err
	}
	if ended, err := c.callbacksEnded(&l); err != nil || !ended || !l.expired() && !l.bare() {
		return err
	}
	request, result, err := c.bodyRefs(l.key)
	if err != nil {
		return err
	}
	swept.Unused = appendRefs(swept.Unused, request, result)
	if l.expired() {
		swept.Deleted++
		return c.deleteJob(l.key)
	}
	swept.Bared++
	return c.securely(func() error { return c.metered(l.key, func() error { return c.bare(l.key) }) })
}

// bodyRefs are the references of a job's stored bodies, empty where there are none.
func (c *conn) bodyRefs(key int64) (request, result string, err error) {
	err = c.bind(`SELECT r.body_ref, s.body_ref FROM requests r LEFT JOIN results s ON s.key = r.key WHERE r.key = ?`).int(key).
		each(func(row *scanner) { request, result = row.text(), row.text() })
	return request, result, err
}

func appendRefs(refs []string, more ...string) []string {
	for _, ref := range more {
		if ref != "" {
			refs = append(refs, ref)
		}
	}
	return refs
}

// bare deletes the bodies of a job.
func (c *conn) bare(key int64) error {
	return c.allOf(key,
		`UPDATE requests SET body = NULL, body_ref = NULL, body_size = 0 WHERE key = ?`,
		`UPDATE results SET body = NULL, body_ref = NULL, body_size = 0 WHERE key = ?`,
		`UPDATE attempts SET body = NULL WHERE callback IN (SELECT key FROM callbacks WHERE job = ?) AND body IS NOT NULL`,
		`DELETE FROM callback_bodies WHERE key IN (SELECT key FROM callbacks WHERE job = ?)`,
		`UPDATE questions SET body = CAST('null' AS BLOB), answer = NULL, content_type = NULL WHERE job = ?`,
		`UPDATE jobs SET bodies = 2, progress = NULL WHERE key = ?`)
}

func (c *conn) allOf(key int64, statements ...string) error {
	for _, sql := range statements {
		if err := c.bind(sql).int(key).exec(); err != nil {
			return err
		}
	}
	return nil
}

// Redact implements job.Keeping.
func (s *Store) Redact(ctx context.Context, r job.Redacted) (unused []string, err error) {
	err = s.write(ctx, func(c *conn) error {
		unused = nil
		ended := false
		l := looked{key: int64(r.ID.Key())}
		err := c.bind(`SELECT finished_at > 0 AND bodies = 0 FROM jobs WHERE key = ? AND id = ?`).key(r.ID).id(r.ID).
			each(func(row *scanner) { ended = row.bool() })
		if err == nil && ended {
			ended, err = c.callbacksEnded(&l)
		}
		if err != nil || !ended {
			return errors.Join(err, job.ErrGone)
		}
		request, result, err := c.bodyRefs(l.key)
		if err != nil {
			return err
		}
		if r.Request != nil {
			unused = appendRefs(unused, request)
		}
		if r.Result != nil {
			unused = appendRefs(unused, result)
		}
		return c.securely(func() error { return c.metered(l.key, func() error { return c.redact(r) }) })
	}, nil)
	return unused, wrap(err, "redact %s", r.ID.Job())
}

func (c *conn) redact(r job.Redacted) error {
	for table, b := range map[string]*job.Body{"requests": r.Request, "results": r.Result} {
		if b == nil {
			continue
		}
		err := c.bind(`UPDATE ` + table + ` SET body_size = ?2, body_ref = ?3, body = ?4 WHERE key = ?1`).
			key(r.ID).int(b.Size).opt(b.Ref).blob(b.Inline).exec()
		if err != nil {
			return err
		}
	}
	const mark = `CAST('"` + job.RedactedMark + `"' AS BLOB)`
	return c.allOf(int64(r.ID.Key()),
		`DELETE FROM callback_bodies WHERE key IN (SELECT key FROM callbacks WHERE job = ?)`,
		`UPDATE questions SET body = `+mark+`, answer = iif(answer IS NULL, NULL, `+mark+`), content_type = iif(answer IS NULL, NULL, 'application/json') WHERE job = ?`,
		`UPDATE jobs SET bodies = 1 WHERE key = ?`)
}

// ofApp are the tables, but for those of jobs, whose rows with an app's name belong to it.
// A table without a row here must be one of a job's, or say in a test why it is not.
var ofApp = []string{"keys", "endpoints", "idempotency", "pauses", "bulks"}

// ofLane are those whose rows belong to the app of their lane.
var ofLane = []string{"sequences", "sequence_floors"}

// DeleteApp implements job.Keeping.
func (s *Store) DeleteApp(ctx context.Context, name string, at time.Time) error {
	err := s.write(ctx, func(c *conn) error {
		err := c.change(c.bind(`UPDATE apps SET deleted_at = ?2 WHERE name = ?1 AND deleted_at = 0`).text(name).time(at))
		if errors.Is(err, job.ErrNotFound) && s.deleted[name] {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.audit(ctx, c, job.Audit{Action: job.AppDelete, App: name, Subject: name}); err != nil {
			return err
		}
		return c.securely(func() error {
			return errors.Join(c.bind(`DELETE FROM keys WHERE app = ?`).text(name).exec(), c.bind(`DELETE FROM endpoints WHERE app = ?`).text(name).exec())
		})
	}, func(emit func(job.Change)) {
		s.deleted[name] = true
		announceApp(name)(emit)
	})
	return wrap(err, "delete app %s", name)
}

// DeletedApps implements job.Keeping.
func (s *Store) DeletedApps(ctx context.Context) ([]job.App, error) {
	apps, err := list(ctx, s, scanApp, func(c *conn) *binder {
		return c.bind(`SELECT ` + appColumns + ` FROM apps a WHERE a.deleted_at > 0 ORDER BY a.name`)
	})
	return apps, wrap(err, "list deleted apps")
}

// EraseApp implements job.Keeping.
func (s *Store) EraseApp(ctx context.Context, name string, limit int) (unused []string, done bool, err error) {
	var canceled []*job.Job
	var pauses []job.Pause
	err = s.write(ctx, func(c *conn) error {
		unused, canceled, pauses, done = nil, nil, nil, false
		if !s.deleted[name] {
			return job.ErrNotFound
		}
		return c.securely(func() (err error) {
			var jobs []*job.Job
			err = c.bind(`SELECT ` + jobColumns + ` FROM jobs j INDEXED BY jobs_of_app WHERE app = ? ORDER BY key LIMIT ?`).text(name).int(int64(limit)).
				each(func(row *scanner) { jobs = append(jobs, scanJob(row)) })
			if err != nil {
				return err
			}
			for _, j := range jobs {
				request, result, err := c.bodyRefs(int64(j.ID.Key()))
				if err := errors.Join(err, c.deleteJob(int64(j.ID.Key()))); err != nil {
					return err
				}
				unused = appendRefs(unused, request, result)
				if !j.State.Terminal() {
					j.State = job.Canceled
					canceled = append(canceled, j)
				}
			}
			if len(jobs) > 0 {
				return nil
			}
			if pauses, err = c.pauses(`WHERE app = ?`, func(b *binder) { b.text(name) }); err != nil {
				return err
			}
			done, err = c.eraseRest(name, limit)
			return err
		})
	}, func(emit func(job.Change)) {
		for _, j := range canceled {
			emit(job.Change{Kind: job.JobFinished, Job: j})
		}
		if done { // another app may get the name
			forgetPauses(emit, pauses)
		}
	})
	return unused, done, wrap(err, "erase app %s", name)
}

// eraseRest deletes what of an app is no job, but for its name.
func (c *conn) eraseRest(name string, limit int) (done bool, err error) {
	err = c.bind(`DELETE FROM idempotency WHERE (app, operation, key) IN (SELECT app, operation, key FROM idempotency WHERE app = ? LIMIT ?)`).
		text(name).int(int64(limit)).exec()
	if err != nil || c.Changes() == int64(limit) {
		return false, err
	}
	// The lanes of an app begin with its name and a blank (job.Callback.Lane).
	from, to := name+" ", name+"!"
	err = c.bind(`DELETE FROM sequences WHERE (lane, order_key) IN (SELECT lane, order_key FROM sequences WHERE lane >= ? AND lane < ? LIMIT ?)`).
		text(from).text(to).int(int64(limit)).exec()
	if err != nil || c.Changes() == int64(limit) {
		return false, err
	}
	for _, table := range ofLane {
		if err := c.bind(`DELETE FROM ` + table + ` WHERE lane >= ? AND lane < ?`).text(from).text(to).exec(); err != nil {
			return false, fmt.Errorf("%s: %w", table, err)
		}
	}
	// That it was there, and is no more, stays: who and when, and its name.
	err = c.bind(`DELETE FROM audit WHERE app = ? AND action NOT IN ('` + string(job.AppCreate) + `', '` + string(job.AppDelete) + `')`).text(name).exec()
	if err != nil {
		return false, err
	}
	for _, table := range ofApp {
		if err := c.bind(`DELETE FROM ` + table + ` WHERE app = ?`).text(name).exec(); err != nil {
			return false, fmt.Errorf("%s: %w", table, err)
		}
	}
	return true, c.bind(`UPDATE apps SET secret = x'', secret_previous = NULL, policy = NULL WHERE name = ?`).text(name).exec()
}

// ForgetApp implements job.Keeping.
func (s *Store) ForgetApp(ctx context.Context, name string) error {
	err := s.write(ctx, func(c *conn) error {
		return c.change(c.bind(`DELETE FROM apps WHERE name = ? AND deleted_at > 0 AND NOT EXISTS (SELECT 1 FROM jobs WHERE app = apps.name)`).text(name))
	}, announceApp(name))
	return wrap(err, "forget app %s", name)
}

// readDeleted finds the apps that take nothing more.
func (s *Store) readDeleted(c *conn) error {
	return c.bind(`SELECT name FROM apps WHERE deleted_at > 0`).each(func(row *scanner) { s.deleted[row.text()] = true })
}

// live is ErrNotFound for an app that was deleted. It is for the writer: a request that
// came before the deletion must not leave anything behind it.
func (s *Store) live(app string) error {
	if len(s.deleted) > 0 && s.deleted[app] {
		return job.ErrNotFound
	}
	return nil
}

// Scrub implements job.Keeping.
func (s *Store) Scrub(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case s.w.between <- func() { done <- s.w.scrub() }:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.w.quit:
		return errClosed
	}
	return wrap(<-done, "scrub the store")
}

// scrubPatience is how long a scrub waits for readers in the log.
const scrubPatience = time.Second

// scrub writes the database anew, and the log to its end. Overwriting what is deleted does
// not suffice: when SQLite splits a page, copies of rows stay in its unused part.
func (w *writer) scrub() error {
	if w.broken {
		return *w.store.failure.Load()
	}
	err := w.conn.Exec("VACUUM")
	if w.copying { // it had the log grow, and one that copies it is in the way
		if w.endCheckpoint(<-w.copied); w.broken {
			return *w.store.failure.Load()
		}
	}
	if err == nil {
		err = w.conn.BusyTimeout(scrubPatience)
	}
	if err == nil {
		_, _, err = w.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
		err = errors.Join(err, w.conn.BusyTimeout(busyTimeout))
	}
	if err = w.store.withCause(err); breaks(err) {
		w.fail(translate(fmt.Errorf("scrub: %w", err)))
	}
	return translate(err)
}
