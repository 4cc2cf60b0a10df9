package sqlite

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/ringback/ringback/job"
)

const pauseColumns = `id, operation, app, endpoint, origin, disabled, from_at, to_at, who`

func scanPause(row *scanner) job.Pause {
	return job.Pause{ID: row.int(), Operation: row.text(), App: row.text(), Endpoint: row.text(), Origin: row.text(),
		Disabled: row.bool(), From: row.time(), To: row.time(), Who: row.text()}
}

// pauses are those that a clause selects.
func (c *conn) pauses(clause string, bind func(*binder)) (found []job.Pause, err error) {
	b := c.bind(`SELECT ` + pauseColumns + ` FROM pauses ` + clause)
	bind(b)
	err = b.each(func(row *scanner) { found = append(found, scanPause(row)) })
	return found, err
}

// Pause implements job.Pauses.
func (s *Store) Pause(ctx context.Context, p job.Pause) (job.Pause, error) {
	p.From, p.Who = rounded(p.From), nameOf(ctx)
	begun := false
	err := s.write(ctx, func(c *conn) (err error) {
		begun = false
		if err := cmp.Or(s.live(p.App), c.mayPause(p)); err != nil {
			return err
		}
		if begun, err = c.pause(&p); err != nil || !begun {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.PauseBegin, App: p.App, Subject: subjectOf(p)})
	}, func(emit func(job.Change)) {
		if begun {
			announcePauses(emit, []job.Pause{p})
		}
	})
	return p, wrap(err, "pause")
}

// nameOf is how a pause names who a context acts for.
func nameOf(ctx context.Context) string {
	who, _ := job.ActorOf(ctx)
	if who.Kind == job.ActorApp {
		return who.App
	}
	return string(who.Kind)
}

// subjectOf is what the audit log calls what rests.
func subjectOf(p job.Pause) string {
	switch {
	case p.Operation != "":
		return "operation " + p.Operation
	case p.Endpoint != "":
		return "endpoint " + p.Endpoint
	case p.Origin != "":
		return "origin " + p.Origin
	}
	return "everything"
}

func announcePauses(emit func(job.Change), pauses []job.Pause) {
	for i := range pauses {
		emit(job.Change{Kind: job.PauseChanged, App: pauses[i].App, Pause: &pauses[i]})
	}
}

// mayPause says why there cannot be a pause of the app.
func (c *conn) mayPause(p job.Pause) (err error) {
	if p.App == "" {
		return nil
	}
	if p.Endpoint != "" {
		if _, err := c.endpoint(p.App, p.Endpoint); err != nil {
			return err
		}
	}
	count := int64(0)
	err = c.bind(`SELECT count(*) FROM pauses WHERE app = ? AND NOT disabled`).text(p.App).each(func(row *scanner) { count = row.int() })
	if err == nil && count >= job.MaxPauses {
		return job.ErrTooMany
	}
	return err
}

// pause stores a pause, unless there is one. p is then the one there is.
func (c *conn) pause(p *job.Pause) (begun bool, err error) {
	err = c.bind(`INSERT INTO pauses (operation, app, endpoint, origin, disabled, from_at, who) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`).
		text(p.Operation).text(p.App).text(p.Endpoint).text(p.Origin).bool(p.Disabled).time(p.From).text(p.Who).exec()
	if err != nil {
		return false, err
	}
	begun = c.Changes() > 0
	is, err := c.pauses(`WHERE operation = ? AND app = ? AND endpoint = ? AND origin = ? AND disabled = ? AND to_at IS NULL`, func(b *binder) {
		b.text(p.Operation).text(p.App).text(p.Endpoint).text(p.Origin).bool(p.Disabled)
	})
	if err == nil {
		*p = is[0]
	}
	return begun, err
}

// Resume implements job.Pauses.
func (s *Store) Resume(ctx context.Context, app string, id int64, at time.Time) (p job.Pause, err error) {
	err = s.write(ctx, func(c *conn) error {
		found, err := c.pauses(`WHERE id = ?1 AND (?2 = '' OR app = ?2) AND NOT disabled AND to_at IS NULL`, func(b *binder) { b.int(id).text(app) })
		if err == nil && len(found) == 0 {
			err = job.ErrNotFound
		}
		if err != nil {
			return err
		}
		if p, err = c.endPause(found[0], at); err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.PauseEnd, App: p.App, Subject: subjectOf(p)})
	}, func(emit func(job.Change)) { announcePauses(emit, []job.Pause{p}) })
	return p, wrap(err, "resume %s", strconv.FormatInt(id, 10))
}

// endPause ends a pause, not before it has begun.
func (c *conn) endPause(p job.Pause, at time.Time) (job.Pause, error) {
	if p.To = rounded(at); p.To.Before(p.From) {
		p.To = p.From
	}
	return p, c.bind(`UPDATE pauses SET to_at = ? WHERE id = ?`).time(p.To).int(p.ID).exec()
}

// ListPauses implements job.Pauses.
func (s *Store) ListPauses(ctx context.Context) ([]job.Pause, error) {
	all, err := list(ctx, s, scanPause, func(c *conn) *binder {
		return c.bind(`SELECT ` + pauseColumns + ` FROM pauses ORDER BY id`)
	})
	return all, wrap(err, "list pauses")
}

// ForgetPauses implements job.Pauses.
func (s *Store) ForgetPauses(ctx context.Context, now time.Time) error {
	over, err := one(ctx, s, (*scanner).bool, func(c *conn) *binder {
		return c.bind(`SELECT EXISTS (SELECT 1 FROM pauses WHERE to_at IS NOT NULL)`)
	})
	if err != nil || !over {
		return wrap(err, "forget pauses")
	}
	var gone []job.Pause
	err = s.write(ctx, func(c *conn) error {
		gone = nil
		// A key grows with the time: the least is the oldest's.
		return c.bind(`DELETE FROM pauses WHERE to_at IS NOT NULL AND to_at < coalesce((SELECT created_at FROM callbacks
				WHERE key = (SELECT min(key) FROM callbacks INDEXED BY callbacks_due WHERE due_at IS NOT NULL)), ?)
			RETURNING ` + pauseColumns).time(now).each(func(row *scanner) { gone = append(gone, scanPause(row)) })
	}, func(emit func(job.Change)) { forgetPauses(emit, gone) })
	return wrap(err, "forget pauses")
}

func forgetPauses(emit func(job.Change), gone []job.Pause) {
	for i := range gone {
		emit(job.Change{Kind: job.PauseForgotten, App: gone[i].App, Pause: &gone[i]})
	}
}
