package sqlite

import (
	"context"
	"encoding/json"
	"time"

	"github.com/ringback/ringback/job"
)

// SetVerification implements job.Endpoints.
func (s *Store) SetVerification(ctx context.Context, app, name string, v job.Verification, now time.Time) error {
	v.CheckedAt, v.ExpiresAt = rounded(v.CheckedAt), rounded(v.ExpiresAt)
	text, err := json.Marshal(v)
	if err != nil {
		return wrap(err, "verification of endpoint %s", name)
	}
	lane := (&job.Callback{App: app, Endpoint: name}).Lane()
	err = s.write(ctx, func(c *conn) error {
		b := c.bind(`UPDATE endpoints SET verification = ?, verify_at = ? WHERE app = ? AND name = ? AND url = ?`).text(string(text))
		if v.DueAt.IsZero() {
			b.null()
		} else {
			b.time(v.DueAt)
		}
		if err := c.change(b.text(app).text(name).text(v.URL)); err != nil {
			return err
		}
		if _, asked := job.ActorOf(ctx); asked {
			if err := s.audit(ctx, c, job.Audit{Action: job.EndpointVerify, App: app, Subject: name}); err != nil {
				return err
			}
		}
		if v.State != job.Verified {
			return nil
		}
		return c.bind(`UPDATE callbacks SET due_at = ?2 WHERE lane = ?1 AND due_at > ?2 AND waiting = 'unverified'`).text(lane).time(now).exec()
	}, func(emit func(job.Change)) { announceEndpoints(emit, app, []string{name}) })
	return wrap(err, "set verification of endpoint %s", name)
}

// rounded is a time as a row would keep it.
func rounded(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// DueVerifications implements job.Endpoints.
func (s *Store) DueVerifications(ctx context.Context, now time.Time, limit int) (due []job.Endpoint, next time.Time, err error) {
	const waits = ` FROM endpoints WHERE verify_at IS NOT NULL AND NOT disabled`
	due, err = list(ctx, s, scanEndpoint, func(c *conn) *binder {
		return c.bind(`SELECT ` + endpointRow + waits + ` AND verify_at <= ? ORDER BY verify_at LIMIT ?`).time(now).int(int64(limit))
	})
	if err != nil {
		return nil, next, wrap(err, "list due verifications")
	}
	next, err = one(ctx, s, (*scanner).time, func(c *conn) *binder {
		return c.bind(`SELECT min(verify_at)` + waits + ` AND verify_at > ?`).time(now)
	})
	return due, next, wrap(err, "list due verifications")
}

// verification reads two columns, the JSON and when it is due.
func (s *scanner) verification() (v job.Verification) {
	s.n++
	if text := s.st.ColumnRawText(s.n - 1); text != nil {
		if err := json.Unmarshal(text, &v); err != nil {
			v = job.Verification{} // only we write it: the row is damaged, and is asked again
		}
	}
	v.DueAt = s.time()
	return v
}
