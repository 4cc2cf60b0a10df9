package sqlite

import (
	"context"
	"fmt"
	"math"

	"github.com/ringback/ringback/job"
)

const jobColumns = `j.id, j.app, j.operation, j.state, j.due_at, j.created_at, j.started_at, j.finished_at, j.deadline, j.runs, j.interrupted,
	j.rescued, j.targets, j.early, j.progress, j.authorization, j.error, j.result_status, j.result_type, j.result_echo,
	j.scheduled_at, j.expires_at, j.bodies`

func scanJob(row *scanner) *job.Job {
	j := &job.Job{ID: row.id(), App: row.text(), Operation: row.text(), State: job.State(row.int()), DueAt: row.time(), CreatedAt: row.time(),
		StartedAt: row.time(), FinishedAt: row.time(), Deadline: row.time(), Runs: int(row.int()), Interrupted: int(row.int()), Rescued: row.bool()}
	j.Targets, j.Early, j.Progress = decodeTargets(row.text()), row.bool(), row.blob()
	j.Request.Authorization, j.Error = row.blob(), row.failure()
	result := job.Result{Status: int(row.int()), ContentType: row.text(), Echo: row.bool()}
	if result.Status != 0 {
		j.Result = &result
	}
	j.ScheduledAt, j.ExpiresAt, j.Bodies = row.time(), row.time(), job.Bodies(row.int())
	return j
}

const requestColumns = `r.method, r.path, r.query, r.header, r.params, r.traceparent, r.tracestate, r.body_size, r.body_ref, r.echo`

func scanRequest(row *scanner, j *job.Job) {
	r := &j.Request
	r.Method, r.Path, r.RawQuery, r.Header = row.text(), row.text(), row.text(), decodeHeader(row.text())
	r.Params = decodeParams(row.text())
	r.Trace = job.Trace{Parent: row.text(), State: row.text()}
	r.Body.Size, r.Body.Ref, j.Echo = row.int(), row.text(), row.text()
}

// Job implements job.Reader.
func (s *Store) Job(ctx context.Context, app string, id job.ID) (*job.Job, error) {
	return s.job(ctx, app, id, false)
}

// WholeJob implements job.Reader.
func (s *Store) WholeJob(ctx context.Context, app string, id job.ID) (*job.Job, error) {
	return s.job(ctx, app, id, true)
}

func (s *Store) job(ctx context.Context, app string, id job.ID, bodies bool) (j *job.Job, err error) {
	err = s.read(ctx, func(c *conn) error {
		j, err = c.job(app, id, bodies)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", id.Job(), err)
	}
	return j, nil
}

func (c *conn) job(app string, id job.ID, bodies bool) (j *job.Job, err error) {
	err = c.bind(`SELECT ` + jobColumns + `, ` + requestColumns + `, iif(?4, r.body, NULL)
		FROM jobs j JOIN requests r ON r.key = j.key WHERE j.key = ?1 AND j.id = ?2 AND (?3 = '' OR j.app = ?3)`).
		key(id).id(id).text(app).bool(bodies).
		each(func(row *scanner) {
			j = scanJob(row)
			scanRequest(row, j)
			j.Request.Body.Inline = row.blob()
		})
	switch {
	case err != nil:
	case j == nil:
		err = job.ErrNotFound
	case j.State == job.Waiting:
		err = c.bind(`SELECT started_at, until, token, location, polls FROM waits WHERE key = ?`).key(id).
			each(func(row *scanner) {
				j.Wait = &job.Wait{StartedAt: row.time(), Until: row.time(), Token: row.blob(), Location: row.text(), Polls: int(row.int())}
			})
	case j.Result != nil && !j.Result.Echo:
		err = c.bind(`SELECT header, body_size, body_ref, iif(?2, body, NULL) FROM results WHERE key = ?1`).key(id).bool(bodies).
			each(func(row *scanner) {
				j.Result.Header = decodeHeader(row.text())
				j.Result.Body = job.Body{Size: row.int(), Ref: row.text(), Inline: row.blob()}
			})
	}
	return j, err
}

// before is the key that a page of a list begins below.
func before(id job.ID) int64 {
	if id.IsZero() {
		return math.MaxInt64
	}
	return int64(id.Key())
}

// limit is the most rows that a list returns; LIMIT -1 is none.
func limit(n int) int64 {
	if n <= 0 {
		return -1
	}
	return int64(n)
}

// jobsQuery is the query of a filter. Its parameters, whether used or not: 1 app,
// 2 before, 3 operation, 4 state, 5 limit. Rows come in the order of the index:
// a page costs what it holds, but for the operation, which is looked for.
func jobsQuery(f job.JobFilter) string {
	from, where := `jobs j NOT INDEXED`, `j.key < ?2`
	switch {
	case f.App != "" && f.State != 0 && f.State != job.Succeeded:
		from, where = `jobs j INDEXED BY jobs_of_state`, where+` AND j.app = ?1 AND j.state = ?4 AND j.state <> 4`
	case f.App != "":
		from, where = `jobs j INDEXED BY jobs_of_app`, where+` AND j.app = ?1`
	}
	return `SELECT ` + jobColumns + ` FROM ` + from + ` WHERE ` + where +
		` AND (?1 = '' OR j.app = ?1) AND (?3 = '' OR j.operation = ?3) AND (?4 = 0 OR j.state = ?4) ORDER BY j.key DESC LIMIT ?5`
}

// Jobs implements job.Reader.
func (s *Store) Jobs(ctx context.Context, f job.JobFilter) ([]*job.Job, error) {
	done, err := s.scanning(ctx)
	if err != nil {
		return nil, wrap(err, "list jobs")
	}
	defer done()
	jobs, err := list(ctx, s, scanJob, func(c *conn) *binder {
		return c.bind(jobsQuery(f)).
			text(f.App).int(before(f.Before)).text(f.Operation).int(int64(f.State)).int(limit(f.Limit))
	})
	return jobs, wrap(err, "list jobs")
}

// RunsOf implements job.Reader.
func (s *Store) RunsOf(ctx context.Context, id job.ID) (runs []job.Run, err error) {
	err = s.read(ctx, func(c *conn) error {
		err := c.bind(`SELECT n, started_at, finished_at, error FROM runs WHERE job = ? ORDER BY n`).key(id).
			each(func(row *scanner) {
				r := job.Run{N: int(row.int()), StartedAt: row.time(), FinishedAt: row.time(), Error: row.failure()}
				runs = append(runs, r)
			})
		if err != nil {
			return err
		}
		return c.bind(`SELECT runs, run_at, finished_at FROM jobs WHERE key = ? AND state = 4`).key(id).
			each(func(row *scanner) {
				runs = append(runs, job.Run{N: int(row.int()), StartedAt: row.time(), FinishedAt: row.time()})
			})
	})
	if err != nil {
		return nil, fmt.Errorf("list runs of %s: %w", id.Job(), err)
	}
	return runs, nil
}

// Callback implements job.Reader.
func (s *Store) Callback(ctx context.Context, app string, id job.ID) (*job.Callback, error) {
	var cb *job.Callback
	err := s.read(ctx, func(c *conn) error {
		return c.bind(`SELECT ` + callbackColumns + ` FROM callbacks WHERE key = ? AND id = ? AND app = ?`).key(id).id(id).text(app).
			each(func(row *scanner) { cb = scanCallback(row) })
	})
	if err == nil && cb == nil {
		err = job.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", id.Callback(), err)
	}
	return cb, nil
}

// callbacksQuery is what jobsQuery is to jobs. Its parameters: 1 app, 2 before,
// 3 the job's key, 4 endpoint, 5 state, 6 limit, 7 the job's id.
func callbacksQuery(f job.CallbackFilter) string {
	from, where := `callbacks NOT INDEXED`, `key < ?2`
	switch {
	case !f.JobID.IsZero():
		from, where = `callbacks INDEXED BY callbacks_of_job`, where+` AND job = ?3`
	case f.App != "" && f.State != 0 && f.State != job.Delivered:
		from, where = `callbacks INDEXED BY callbacks_of_state`, where+` AND app = ?1 AND state = ?5 AND state <> 2`
	case f.App != "":
		from, where = `callbacks INDEXED BY callbacks_of_app`, where+` AND app = ?1`
	}
	return `SELECT ` + callbackColumns + ` FROM ` + from + ` WHERE ` + where +
		` AND (?1 = '' OR app = ?1) AND (?3 = 0 OR job_id = ?7) AND (?4 = '' OR endpoint = ?4) AND (?5 = 0 OR state = ?5)
		ORDER BY key DESC LIMIT ?6`
}

// Callbacks implements job.Reader.
func (s *Store) Callbacks(ctx context.Context, f job.CallbackFilter) ([]*job.Callback, error) {
	if f.JobID.IsZero() {
		done, err := s.scanning(ctx)
		if err != nil {
			return nil, wrap(err, "list callbacks")
		}
		defer done()
	}
	callbacks, err := list(ctx, s, scanCallback, func(c *conn) *binder {
		return c.bind(callbacksQuery(f)).
			text(f.App).int(before(f.Before)).key(f.JobID).text(f.Endpoint).int(int64(f.State)).int(limit(f.Limit)).id(f.JobID)
	})
	return callbacks, wrap(err, "list callbacks")
}

// Attempts implements job.Reader.
func (s *Store) Attempts(ctx context.Context, id job.ID) (attempts []job.Attempt, err error) {
	err = s.read(ctx, func(c *conn) error {
		return c.bind(`SELECT n, started_at, dns, connect, tls, first_byte, total, address, status, content_type, error, truncated, header, body
			FROM attempts WHERE callback = ? ORDER BY n`).key(id).
			each(func(row *scanner) {
				a := job.Attempt{N: int(row.int()), StartedAt: row.time(), DNS: row.micros(), Connect: row.micros(),
					TLS: row.micros(), FirstByte: row.micros(), Total: row.micros(), Address: row.text(), Status: int(row.int()),
					ContentType: row.text(), Error: job.Class(row.text()), Truncated: row.bool()}
				if header := row.text(); header != "" {
					a.Header = decodeHeader(header)
				}
				a.Body = row.blob()
				attempts = append(attempts, a)
			})
	})
	if err != nil {
		return nil, fmt.Errorf("list attempts of %s: %w", id.Callback(), err)
	}
	return attempts, nil
}

// Backlog implements job.Reader.
func (s *Store) Backlog(ctx context.Context) (b job.Backlog, err error) {
	err = s.read(ctx, func(c *conn) error {
		err := c.bind(`SELECT n, (SELECT created_at FROM jobs WHERE key = oldest)
			FROM (SELECT count(*) n, min(key) oldest FROM jobs INDEXED BY jobs_due WHERE due_at IS NOT NULL)`).
			each(func(row *scanner) { b.Jobs, b.OldestJob = row.int(), row.time() })
		if err != nil {
			return err
		}
		return c.bind(`SELECT n, (SELECT created_at FROM callbacks WHERE key = oldest)
			FROM (SELECT count(*) n, min(key) oldest FROM callbacks INDEXED BY callbacks_due WHERE due_at IS NOT NULL)`).
			each(func(row *scanner) { b.Callbacks, b.OldestCallback = row.int(), row.time() })
	})
	if err != nil {
		return b, fmt.Errorf("count backlog: %w", err)
	}
	return b, nil
}
