package sqlite

import (
	"context"
	"time"
)

// over selects jobs that were at their end, with all their callbacks, before ?2.
const over = `SELECT j.key, r.body_ref, s.body_ref FROM jobs j JOIN requests r ON r.key = j.key LEFT JOIN results s ON s.key = j.key
	WHERE j.finished_at > 0 AND j.finished_at < ?2
	  AND NOT EXISTS (SELECT 1 FROM callbacks c WHERE c.job = j.key AND (c.state = 1 OR c.settled_at >= ?2))`

// Purge implements job.Janitor. What it is about is looked for by a reader: there may be any
// number of older jobs that wait for their time.
func (s *Store) Purge(ctx context.Context, before, keysBefore time.Time, limit int) (n int, bodies []string, err error) {
	var keys []int64
	err = s.read(ctx, func(c *conn) error {
		// A job that is over has, at the latest, the key of its end: older keys only.
		return c.bind(over + ` AND j.key < ?1 ORDER BY j.key LIMIT ?3`).int(millis(before) << 15).time(before).int(int64(limit)).
			each(func(row *scanner) { keys = append(keys, row.int()) })
	})
	if err != nil {
		return 0, nil, wrap(err, "purge")
	}
	err = s.write(ctx, func(c *conn) error {
		n, bodies = 0, nil
		for _, key := range keys {
			still := false
			err := c.bind(over + ` AND j.key = ?1`).int(key).time(before).each(func(row *scanner) {
				still = row.int() == key
				for range 2 {
					if ref := row.text(); ref != "" {
						bodies = append(bodies, ref)
					}
				}
			})
			if err == nil && still { // nobody has had a callback sent again meanwhile
				n, err = n+1, c.deleteJob(key)
			}
			if err != nil {
				return err
			}
		}
		if err := c.purgeSequences(before, limit); err != nil {
			return err
		}
		// A key is as old as its job: younger ones than before still have theirs.
		return c.bind(`DELETE FROM idempotency WHERE (app, operation, key) IN (
			SELECT i.app, i.operation, i.key FROM idempotency i WHERE i.created_at < ?1
			  AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.key = i.job_key) ORDER BY i.created_at LIMIT ?2)`).
			int(min(millis(keysBefore), millis(before))).int(int64(limit)).exec()
	}, nil)
	return n, bodies, wrap(err, "purge")
}

func (c *conn) deleteJob(key int64) error {
	return c.metered(key, func() error { return c.deleteAllOf(key) })
}

func (c *conn) deleteAllOf(key int64) error {
	for _, sql := range []string{
		`DELETE FROM attempts WHERE callback IN (SELECT key FROM callbacks WHERE job = ?)`,
		`DELETE FROM callback_bodies WHERE key IN (SELECT key FROM callbacks WHERE job = ?)`,
		`DELETE FROM callbacks WHERE job = ?`,
		`DELETE FROM runs WHERE job = ?`,
		`DELETE FROM waits WHERE key = ?`,
		`DELETE FROM questions WHERE job = ?`,
		`DELETE FROM results WHERE key = ?`,
		`DELETE FROM requests WHERE key = ?`,
		`DELETE FROM jobs WHERE key = ?`,
	} {
		if err := c.bind(sql).int(key).exec(); err != nil {
			return err
		}
	}
	return nil
}

// KnownBodies implements job.Janitor.
func (s *Store) KnownBodies(ctx context.Context, refs []string) (known []bool, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		known, err = c.knownBodies(refs)
		return err
	})
	return known, wrap(err, "find bodies")
}

func (c *conn) knownBodies(refs []string) ([]bool, error) {
	known := make([]bool, len(refs))
	for i, ref := range refs {
		err := c.bind(`SELECT 1 WHERE EXISTS (SELECT 1 FROM requests WHERE body_ref = ?1) OR EXISTS (SELECT 1 FROM results WHERE body_ref = ?1)`).
			text(ref).each(func(*scanner) { known[i] = true })
		if err != nil {
			return nil, err
		}
	}
	return known, nil
}
