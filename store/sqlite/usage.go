package sqlite

import (
	"context"
	"encoding/json"

	"github.com/ringback/ringback/job"
)

// limits binds limits as JSON text, none as NULL.
func (b *binder) limits(l job.Limits) *binder {
	if l == (job.Limits{}) {
		return b.null()
	}
	text, err := json.Marshal(l)
	if b.err == nil {
		b.err = err
	}
	return b.text(string(text))
}

func (s *scanner) limits() (l job.Limits) {
	s.n++
	if text := s.st.ColumnRawText(s.n - 1); text != nil {
		_ = json.Unmarshal(text, &l) // only we write it
	}
	return l
}

// SetAppLimits implements job.Limiting.
func (s *Store) SetAppLimits(ctx context.Context, app string, l job.Limits) error {
	err := s.write(ctx, func(c *conn) error {
		if err := c.change(c.bind(`UPDATE apps SET limits = ?1 WHERE name = ?2 AND deleted_at = 0`).limits(l).text(app)); err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.AppLimits, App: app, Subject: app})
	}, announceApp(app))
	return wrap(err, "set limits of app %s", app)
}

const (
	jobsInFlight = `SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_of_state WHERE app = ?1 AND state IN (1, 2, 3) AND state <> 4 LIMIT ?2)`
	storedBytes  = `SELECT coalesce(sum(r.body_size + coalesce(s.body_size, 0)), 0)
		FROM jobs j INDEXED BY jobs_of_app JOIN requests r ON r.key = j.key LEFT JOIN results s ON s.key = j.key WHERE j.app = ?1`
)

// Usage implements job.Limiting.
func (s *Store) Usage(ctx context.Context, app string) (u job.Usage, err error) {
	done, err := s.scanning(ctx)
	if err != nil {
		return u, wrap(err, "count what an app has")
	}
	defer done()
	err = s.read(ctx, func(c *conn) (err error) {
		for sql, to := range map[string]*int64{jobsInFlight: &u.Jobs, storedBytes: &u.Bytes, `SELECT count(*) FROM endpoints WHERE app = ?1`: &u.Endpoints} {
			b := c.bind(sql).text(app)
			if sql == jobsInFlight {
				b.int(-1)
			}
			if err = b.each(func(row *scanner) { *to = row.int() }); err != nil {
				return err
			}
		}
		return nil
	})
	return u, wrap(err, "count what app %s has", app)
}

// withinLimits tells whether an app may store another job. Jobs are counted in their
// index, as many as the limit is; bytes once, and from then on what each commit adds
// and takes away is known to the writer.
func (c *conn) withinLimits(a *job.Acceptance) error {
	app := a.Job.App
	if most := a.Limits.Jobs; most > 0 && a.Finish == nil {
		var n int64
		if err := c.bind(jobsInFlight).text(app).int(most).each(func(row *scanner) { n = row.int() }); err != nil {
			return err
		}
		if n >= most {
			return &job.LimitError{Limit: most}
		}
	}
	most := a.Limits.Bytes
	if most <= 0 {
		return nil
	}
	stored, known := c.stored[app]
	if !known {
		if err := c.bind(storedBytes).text(app).each(func(row *scanner) { stored = row.int() }); err != nil {
			return err
		}
		if c.stored == nil {
			c.stored = map[string]int64{}
		}
		c.stored[app] = stored
	}
	bytes := a.Job.Request.Body.Size
	if a.Finish != nil && a.Finish.Result != nil && !a.Finish.Result.Echo {
		bytes += a.Finish.Result.Body.Size
	}
	if stored+bytes > most {
		return &job.LimitError{Bytes: true, Limit: most}
	}
	return nil
}

// metered runs a change of a job's bodies, and counts by how much what its app has
// stored grows or shrinks, where anybody wants to know.
func (c *conn) metered(key int64, change func() error) error {
	if len(c.stored) == 0 {
		return change()
	}
	app, before, err := c.sizeOf(key)
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	later, after, err := c.sizeOf(key)
	if later != "" {
		app = later
	}
	if stored, known := c.stored[app]; known {
		c.stored[app] = stored + after - before
	}
	return err
}

func (c *conn) sizeOf(key int64) (app string, bytes int64, err error) {
	err = c.bind(`SELECT j.app, r.body_size + coalesce(s.body_size, 0) FROM jobs j JOIN requests r ON r.key = j.key LEFT JOIN results s ON s.key = j.key WHERE j.key = ?`).
		int(key).each(func(row *scanner) { app, bytes = row.text(), row.int() })
	return app, bytes, err
}
