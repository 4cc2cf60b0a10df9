package api

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/ringback/ringback/job"
)

const (
	// maxDelay is how far ahead something may be scheduled, and how long it may be wanted.
	maxDelay = 30 * 24 * time.Hour
	// pastTolerance is how far back a time may be that means at once: clocks differ.
	pastTolerance = 5 * time.Minute
)

// schedule is what a call chooses about the time of its callbacks.
type schedule struct {
	delay, expiresIn time.Duration
	deliverAt        time.Time
}

// readSchedule reads from when and until when the job and its callbacks are wanted. All
// that is counted for the job is counted from when it is due.
func (c *call) readSchedule() (p *Problem) {
	j, asked := c.job, &c.asked
	delay, at, expires := c.op.Delay, time.Time{}, c.op.ExpiresIn
	if p = asked.either(chooseRunDelay, chooseRunAt); p != nil {
		return p
	}
	if p = asked.duration(chooseRunDelay, 0, &delay); p != nil {
		return p
	}
	if p = asked.moment(chooseRunAt, j.CreatedAt, &at); p != nil {
		return p
	}
	if p = asked.duration(chooseRunExpires, time.Second, &expires); p != nil {
		return p
	}
	if asked[chooseRunAt].place != (place{}) {
		delay = at.Sub(j.CreatedAt)
	}
	if delay > 0 {
		j.ScheduledAt = j.CreatedAt.Add(delay)
		j.DueAt = j.ScheduledAt
	}
	if expires > 0 {
		j.ExpiresAt = j.DueAt.Add(expires)
	}
	if c.op.Deadline > 0 {
		j.Deadline = j.DueAt.Add(c.op.Deadline)
	}
	return c.readCallbackSchedule()
}

func (c *call) readCallbackSchedule() (p *Problem) {
	if p = c.asked.either(chooseDelay, chooseDeliverAt); p != nil {
		return p
	}
	if p = c.asked.duration(chooseDelay, 0, &c.schedule.delay); p != nil {
		return p
	}
	if p = c.asked.moment(chooseDeliverAt, c.job.CreatedAt, &c.schedule.deliverAt); p != nil {
		return p
	}
	return c.asked.duration(chooseExpires, time.Second, &c.schedule.expiresIn)
}

// either refuses a delay and a time for the same thing.
func (got *asked) either(delay, at int) *Problem {
	if got[delay].place == (place{}) || got[at].place == (place{}) {
		return nil
	}
	return kindInvalidParameter.at(got[at].place, "says when, and "+got[delay].place.name+" does, too").withHint("send one of the two")
}

// duration reads a duration that was chosen, of at least so much.
func (got *asked) duration(i int, least time.Duration, to *time.Duration) *Problem {
	if got[i].place == (place{}) {
		return nil
	}
	d, err := parseDuration(got[i].value)
	switch {
	case err == nil && d < least:
		err = errors.New("is less than " + least.String())
	case err == nil && d > maxDelay:
		err = errors.New("is more than 30 days")
	}
	if err != nil {
		return kindInvalidParameter.at(got[i].place, err.Error()).
			withHint("write a number and a unit, such as 90s, 10m, 2h30m or 7d; not as ISO 8601 does")
	}
	*to = d
	return nil
}

var errNoDuration = errors.New("is no duration")

// parseDuration reads a duration as Go writes it, with days: "90s", "1d12h".
func parseDuration(text string) (d time.Duration, err error) {
	days, rest, found := strings.Cut(text, "d")
	if found {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, errNoDuration
		}
		d = time.Duration(n) * 24 * time.Hour
	} else {
		rest = text
	}
	if rest != "" || !found {
		part, err := time.ParseDuration(rest)
		if err != nil || found && part < 0 {
			return 0, errNoDuration
		}
		d += part
	}
	return d, nil
}

// moment reads a time that was chosen. One that has just been is now.
func (got *asked) moment(i int, now time.Time, to *time.Time) *Problem {
	if got[i].place == (place{}) {
		return nil
	}
	text := got[i].value
	at, err := time.Parse(time.RFC3339, text)
	if seconds, notNumber := strconv.ParseUint(text, 10, 40); notNumber == nil {
		at, err = time.Unix(int64(seconds), 0), nil
	}
	detail, hint := "", "write it as 2026-11-24T08:00:00Z (in a query a + is %2B), or as seconds since 1970"
	switch {
	case err != nil:
		detail = "is no time"
	case at.Before(now.Add(-pastTolerance)):
		detail = "is in the past"
	case at.After(now.Add(maxDelay)):
		detail = "is more than 30 days ahead"
	default:
		*to = later(at.UTC(), now)
		return nil
	}
	return kindInvalidParameter.at(got[i].place, detail).withHint(hint)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// checkSchedule says what is wrong with the schedule of an operation.
func checkSchedule(o job.Operation) (errs []*OperationError) {
	for _, s := range []struct {
		field string
		d     time.Duration
	}{
		{"delay", o.Delay}, {"expires_in", o.ExpiresIn}, {"callback.delay", o.Callback.Delay}, {"callback.expires_in", o.Callback.ExpiresIn},
	} {
		if s.d < 0 || s.d > maxDelay {
			errs = append(errs, &OperationError{Field: s.field, Err: errors.New("must be at most 30 days")})
		}
	}
	return errs
}

// waitingOf is what a job waits for that has not begun; empty: for its turn.
func (a *API) waitingOf(j *job.Job) string {
	if j.State == job.Accepted && j.Runs == 0 && a.now().Before(j.ScheduledAt) {
		return job.WaitingScheduled
	}
	return ""
}
