package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ringback/ringback/job"
)

// migrate brings the schema up to date: each file below migrations is applied
// once, in the order of the names, with its row in schema_migrations.
func (c *conn) migrate() error {
	const table = `CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP) STRICT`
	if err := c.Exec(table); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	var version int
	err := c.bind("SELECT coalesce(max(version), 0) FROM schema_migrations").each(func(row *scanner) { version = int(row.int()) })
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if version > len(files) {
		return fmt.Errorf("%w: its schema is %d, this version knows %d", ErrNewerSchema, version, len(files))
	}
	for i, name := range files[version:] {
		sql, err := migrations.ReadFile(name)
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nINSERT INTO schema_migrations (version) VALUES (%d);\nCOMMIT", sql, version+i+1)
		if err := c.Exec(script); err != nil {
			return fmt.Errorf("migrate to %s: %w", name, err)
		}
	}
	return nil
}

// rescue releases what was claimed when the last process ended. What had begun
// counts as interrupted and is at the start again; what waits for an upstream goes on
// to. All of it is due now, but for callbacks that nobody wants any more, as the early ones
// of jobs that have ended: these are discarded.
func (c *conn) rescue(now time.Time) (err error) {
	if err := c.bind("BEGIN IMMEDIATE").exec(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.bind("ROLLBACK").exec())
			return
		}
		err = c.bind("COMMIT").exec()
	}()
	ms := now.UnixMilli()
	err = c.Exec(fmt.Sprintf(`
INSERT OR REPLACE INTO runs (job, n, started_at, finished_at, error)
  SELECT key, runs, run_at, %[1]d, '%[2]s'
  FROM jobs INDEXED BY jobs_due WHERE due_at = 0 AND (state = 2 OR state = 3 AND key NOT IN (SELECT key FROM waits));
UPDATE jobs INDEXED BY jobs_due SET due_at = %[1]d WHERE due_at = 0 AND state = 3 AND key IN (SELECT key FROM waits);
UPDATE jobs INDEXED BY jobs_due SET due_at = %[1]d, rescued = 1, interrupted = interrupted + (state > 1), state = 1,
    error = iif(state > 1, '%[2]s', error)
  WHERE due_at = 0;
INSERT OR REPLACE INTO attempts (callback, n, started_at, dns, connect, tls, first_byte, total, address, status, content_type, error, truncated)
  SELECT key, attempts, attempt_at, 0, 0, 0, 0, 0, '', 0, '', 'interrupted', 0
  FROM callbacks INDEXED BY callbacks_due WHERE due_at = 0 AND attempt_at > 0;
UPDATE callbacks INDEXED BY callbacks_due SET unwanted = 2
  WHERE due_at = 0 AND unwanted = 0 AND event NOT IN %[3]s AND NOT resent AND EXISTS (SELECT 1 FROM jobs j WHERE j.key = job AND j.state >= 4);
UPDATE callbacks INDEXED BY callbacks_due SET due_at = %[1]d, rescued = iif(unwanted = 0, 1, rescued), interrupted = interrupted + (attempt_at > 0), attempt_at = 0,
    last_error = iif(attempt_at > 0, 'interrupted', last_error), last_status = iif(attempt_at > 0, 0, last_status)
  WHERE due_at = 0;`, ms, `{"code":"interrupted","message":"the gateway stopped during the run"}`, terminalEvents))
	if err != nil {
		return err
	}
	return c.discardUnwanted(ms)
}

// discardUnwanted discards what was claimed though nobody wants it any more.
func (c *conn) discardUnwanted(at int64) error {
	for unwanted, reason := range map[int64]string{1: job.ReasonSkipped, 2: ""} {
		pending, err := c.callbacks(`INDEXED BY callbacks_unwanted WHERE unwanted > 0 AND state = 1 AND unwanted = ?`, func(b *binder) { b.int(unwanted) })
		if err != nil {
			return err
		}
		var did answered
		if err := c.discard(pending, at, reason, &did.ordered); err != nil {
			return err
		}
		for _, cb := range pending {
			if err := c.bind(`UPDATE callbacks SET unwanted = 0 WHERE key = ?`).key(cb.ID).exec(); err != nil {
				return err
			}
			if cb.Event == job.EventAsk {
				if err := c.answer(cb.JobID, cb.ID, *unanswered, timeOf(at), &did); err != nil {
					return err
				}
			}
			if err := c.releaseEarly(cb, at, &did.ordered); err != nil {
				return err
			}
		}
	}
	return nil
}
