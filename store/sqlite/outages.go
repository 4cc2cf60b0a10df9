package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

// outageColumns are what Outages keeps of an endpoint, and whether it is told of others.
const outageColumns = `operational, disabled_reason, disabled_at, failing_since, failing_last, failing_told`

func scanOutage(row *scanner, e *job.Endpoint) {
	e.Operational, e.DisabledReason, e.DisabledAt = row.bool(), row.text(), row.time()
	e.Failing = job.Failing{Since: row.time(), Last: row.time(), Told: row.bool()}
}

// happened is what a write did to endpoints beside their own rows.
type happened struct {
	pauses []job.Pause
	event  *job.Acceptance // stored
	line   *ordered        // what became of its callbacks; nil: none is in a line
}

func (h happened) announce(emit func(job.Change)) {
	announcePauses(emit, h.pauses)
	if h.event != nil {
		announceFinish(emit, finished(*h.event.Finish), *h.event.Finish)
	}
	if h.line != nil {
		h.line.announce(emit, finished(*h.event.Finish))
	}
}

// tell stores an operational event.
func (c *conn) tell(event *job.Acceptance, did *happened) error {
	if event == nil {
		return nil
	}
	did.event, did.line = event, orderedIf(anyInLine(event.Finish.Callbacks))
	return c.insertEnded(finished(*event.Finish), *event.Finish, did.line)
}

// mayBeOperational refuses a second operational endpoint of an app. It comes before
// anything is written.
func (c *conn) mayBeOperational(e job.Endpoint) error {
	if !e.Operational {
		return nil
	}
	others := false
	err := c.bind(`SELECT EXISTS (SELECT 1 FROM endpoints WHERE app = ? AND name <> ? AND operational)`).text(e.App).text(e.Name).
		each(func(row *scanner) { others = row.bool() })
	if err == nil && others {
		return job.ErrTooMany
	}
	return err
}

func (c *conn) setOperational(e job.Endpoint) error {
	return c.bind(`UPDATE endpoints SET operational = ?3 WHERE app = ?1 AND name = ?2 AND operational <> ?3`).
		text(e.App).text(e.Name).bool(e.Operational).exec()
}

// switchEndpoint does what follows from a change of disabled that is stored already:
// its lane rests, or does no more.
func (c *conn) switchEndpoint(ctx context.Context, e job.Endpoint, reason string, at time.Time, did *happened) error {
	if !e.Disabled {
		reason = ""
	}
	err := c.bind(`UPDATE endpoints SET disabled = ?3, disabled_reason = ?4, disabled_at = iif(?3, ?5, 0),
			failing_since = 0, failing_last = 0, failing_told = 0 WHERE app = ?1 AND name = ?2`).
		text(e.App).text(e.Name).bool(e.Disabled).text(reason).time(at).exec()
	if err != nil {
		return err
	}
	if e.Disabled {
		p := job.Pause{App: e.App, Endpoint: e.Name, Disabled: true, From: rounded(at), Who: nameOf(ctx)}
		_, err := c.pause(&p)
		did.pauses = append(did.pauses, p)
		return err
	}
	open, err := c.pauses(`WHERE operation = '' AND app = ? AND endpoint = ? AND origin = '' AND disabled AND to_at IS NULL`,
		func(b *binder) { b.text(e.App).text(e.Name) })
	for _, p := range open {
		if p, err = c.endPause(p, at); err != nil {
			return err
		}
		did.pauses = append(did.pauses, p)
	}
	return err
}

// endPauses ends all pauses of an endpoint that is deleted.
func (c *conn) endPauses(app, name string, at time.Time, did *happened) error {
	open, err := c.pauses(`WHERE operation = '' AND app = ? AND endpoint = ? AND to_at IS NULL`, func(b *binder) { b.text(app).text(name) })
	for _, p := range open {
		if p, err = c.endPause(p, at); err != nil {
			return err
		}
		did.pauses = append(did.pauses, p)
	}
	return err
}

// disabledSince makes the Disabled of an endpoint that is to be stored what it is to be:
// what was changed meanwhile stays. It is false where nothing of that changes.
func disabledSince(before job.Endpoint, e *job.Endpoint) bool {
	if !before.DisabledAt.Equal(e.DisabledAt) {
		e.Disabled = before.Disabled
	}
	return e.Disabled != before.Disabled
}

// SetFailing implements job.Outages.
func (s *Store) SetFailing(ctx context.Context, app, name, url string, f job.Failing, event *job.Acceptance) error {
	var did happened
	err := s.write(ctx, func(c *conn) error {
		did = happened{}
		err := c.change(c.bind(`UPDATE endpoints SET failing_since = ?4, failing_last = ?5, failing_told = ?6
				WHERE app = ?1 AND name = ?2 AND url = ?3 AND NOT disabled
					AND (failing_since <> ?4 OR failing_last <> ?5 OR failing_told <> ?6)`).
			text(app).text(name).text(url).time(f.Since).time(f.Last).bool(f.Told))
		if err != nil {
			return err
		}
		return c.tell(event, &did)
	}, func(emit func(job.Change)) {
		announceEndpoints(emit, app, []string{name})
		did.announce(emit)
	})
	return wrap(err, "set failing of endpoint %s", name)
}

// DisableEndpoint implements job.Outages.
func (s *Store) DisableEndpoint(ctx context.Context, d job.Disabling) error {
	var did happened
	err := s.write(ctx, func(c *conn) error {
		did = happened{}
		return s.disable(ctx, c, d, &did)
	}, func(emit func(job.Change)) { announceDisabled(emit, d, did) })
	return wrap(err, "disable endpoint %s", d.Name)
}

// announceDisabled tells first that the lane rests: what is loaded from then on is not
// sent.
func announceDisabled(emit func(job.Change), d job.Disabling, did happened) {
	did.announce(emit)
	announceEndpoints(emit, d.App, []string{d.Name})
}

func (s *Store) disable(ctx context.Context, c *conn, d job.Disabling, did *happened) error {
	e, err := c.endpoint(d.App, d.Name)
	if err == nil && (e.Disabled || e.URL != d.URL) {
		err = job.ErrNotFound
	}
	if err != nil {
		return err
	}
	e.Disabled = true
	if err := c.switchEndpoint(ctx, e, d.Reason, d.At, did); err != nil {
		return err
	}
	if err := c.tell(d.Event, did); err != nil {
		return err
	}
	return s.audit(ctx, c, job.Audit{Action: job.EndpointDisable, App: d.App, Subject: d.Name, Detail: d.Reason})
}

// EnableEndpoint implements job.Outages.
func (s *Store) EnableEndpoint(ctx context.Context, app, name string, at time.Time) error {
	var did happened
	err := s.write(ctx, func(c *conn) error {
		did = happened{}
		e, err := c.endpoint(app, name)
		if err != nil || !e.Disabled {
			return err
		}
		e.Disabled = false
		if err := c.switchEndpoint(ctx, e, "", at, &did); err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.EndpointEnable, App: app, Subject: name})
	}, func(emit func(job.Change)) {
		announceEndpoints(emit, app, []string{name})
		did.announce(emit)
	})
	return wrap(err, "enable endpoint %s", name)
}

// DiscardWaiting implements job.Outages.
func (s *Store) DiscardWaiting(ctx context.Context, app, name string, at time.Time, limit int) (n int, err error) {
	lane := (&job.Callback{App: app, Endpoint: name}).Lane()
	var did []*answered
	err = s.write(ctx, func(c *conn) error {
		did, n = nil, 0
		e, err := c.endpoint(app, name)
		if err == nil && !e.Disabled {
			err = job.ErrTerminal
		}
		if err != nil {
			return err
		}
		waiting, err := c.callbacks(`INDEXED BY callbacks_due WHERE lane = ? AND due_at <> 0 LIMIT ?`, func(b *binder) { b.text(lane).int(int64(limit)) })
		if err != nil {
			return err
		}
		for _, cb := range waiting {
			one := &answered{}
			if _, err := c.discardOne(cb, at, job.ReasonSkipped, one); err != nil {
				return err
			}
			did = append(did, one)
		}
		if n = len(waiting); n == 0 {
			return nil
		}
		return s.audit(ctx, c, job.Audit{Action: job.EndpointDiscard, App: app, Subject: name, Detail: fmt.Sprintf("%d callbacks", n)})
	}, func(emit func(job.Change)) {
		for _, one := range did {
			one.announce(emit)
		}
	})
	return n, wrap(err, "discard what waits for endpoint %s", name)
}
