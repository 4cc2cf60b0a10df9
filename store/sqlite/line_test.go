package sqlite

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/ringback/ringback/job"
)

// oweInLine ends a job that owes a callback to an ordered endpoint.
func oweInLine(t testing.TB, s *Store, key string) *job.Callback {
	t.Helper()
	j := accept(t, s, true)
	f := finishOf(s, j)
	cb := f.Callbacks[0].Callback
	f.Callbacks[0].Claimed, f.Result.Echo = false, true
	cb.Endpoint, cb.URL, cb.Ordered, cb.OrderKey = "main", "", true, key
	if err := s.FinishRun(context.Background(), f); err != nil {
		t.Fatal(err)
	}
	return cb
}

// useLines uses all that is about lines.
func useLines(ctx context.Context, t *testing.T, s *Store) error {
	t.Helper()
	now := time.Now()
	first, second, third := oweInLine(t, s, "7"), oweInLine(t, s, "7"), oweInLine(t, s, "7")
	due, _, err := s.ClaimCallbacks(ctx, first.Lane(), now.Add(time.Hour), 10)
	errs := []error{err, s.SettleAttempt(ctx, job.Settlement{Callback: due[0].Callback, State: job.Dead, At: now, Attempt: &job.Attempt{N: 1}})}
	_, err1 := s.Resend(ctx, "shop", first.ID, now, now)
	behind, err2 := s.Callback(ctx, "shop", third.ID)
	_, err3 := s.WaitsFor(ctx, []*job.Callback{behind, {Waiting: job.WaitingOrder, Endpoint: "main"}})
	_, err4 := s.DiscardCallback(ctx, "shop", second.ID, job.ReasonSkipped, now)
	j := newJob(s)
	j.ScheduledAt, j.ExpiresAt = now, now
	_, err5 := s.Accept(ctx, job.Acceptance{Job: j})
	_, err6 := s.Overdue(ctx, now, 1)
	f := finishOf(s, j)
	f.Callbacks[0].Claimed, f.Result.Echo = false, false
	f.Callbacks[0].Callback.ExpiresAt = now
	errs = append(errs, err1, err2, err3, err4, err5, err6, s.FinishRun(ctx, f))
	n, err := s.ExpireCallbacks(ctx, now, 10)
	if err == nil && n != 1 {
		err = errors.New("nothing expired")
	}
	return errors.Join(append(errs, err)...)
}

// steps are how many of its instructions SQLite has run for the writer.
func steps(t *testing.T, s *Store) (n int) {
	t.Helper()
	onWriter(t, s, func(c *conn) error {
		for _, st := range c.stmts {
			n += st.Status(sqlite3.STMTSTATUS_VM_STEP, true)
		}
		return nil
	})
	return n
}

// TestSettlingCostsTheSameHoweverLongTheLineIs counts SQLite's instructions, since time
// says nothing on a machine that others use, too.
func TestSettlingCostsTheSameHoweverLongTheLineIs(t *testing.T) {
	t.Parallel()
	const long = 100_000
	s := setup(t)
	cost := func() int {
		head := oweInLine(t, s, "7")
		if waiting, err := s.Callback(t.Context(), "shop", head.ID); err != nil || waiting.Waiting != job.WaitingOrder {
			t.Fatalf("the line is empty: %v", err)
		}
		due, _, err := s.ClaimCallbacks(t.Context(), head.Lane(), time.Now().Add(time.Hour), 10)
		if err != nil || len(due) != 1 {
			t.Fatalf("%d are due: %v", len(due), err)
		}
		steps(t, s)
		end := job.Settlement{Callback: due[0].Callback, State: job.Delivered, At: time.Now(), Attempt: &job.Attempt{N: 1}}
		if err := s.SettleAttempt(t.Context(), end); err != nil {
			t.Fatal(err)
		}
		resent := due[0].Callback
		if _, err := s.Resend(t.Context(), "shop", resent.ID, time.Now(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.DiscardCallback(t.Context(), "shop", resent.ID, job.ReasonSkipped, time.Now()); err != nil {
			t.Fatal(err)
		}
		return steps(t, s)
	}
	model := oweInLine(t, s, "7")
	short := cost()
	onWriter(t, s, func(c *conn) error {
		return c.Exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ` + strconv.Itoa(long) + `)
			INSERT INTO callbacks (key, id, job, job_id, app, operation, lane, event, endpoint, url, method, format, created_at, give_up_at, state, due_at,
				attempt_at, attempts, interrupted, round, rescued, settled_at, waiting, last_status, last_error, resent, order_key, seq)
			SELECT -i, randomblob(16), job, job_id, app, operation, lane, event, endpoint, url, method, format, created_at, give_up_at, 1, -1,
				0, 0, 0, 0, 0, 0, 'order', 0, '', 0, order_key, 1000 + i
			FROM n, (SELECT * FROM callbacks ORDER BY key LIMIT 1)`)
	})
	var waiting int64
	onWriter(t, s, func(c *conn) error {
		return c.bind(`SELECT count(*) FROM callbacks WHERE due_at = -1 AND lane = ?`).text(model.Lane()).each(func(row *scanner) { waiting = row.int() })
	})
	if waiting < long {
		t.Fatalf("%d wait", waiting)
	}
	if all := cost(); all > short*5/4 {
		t.Errorf("%d instructions behind %d callbacks, %d behind a few", all, long, short)
	}
}
