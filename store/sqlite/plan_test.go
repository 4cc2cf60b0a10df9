package sqlite

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// useAll calls every method that has a query of its own.
func useAll(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	now := time.Now()
	check := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	e := job.Endpoint{App: "shop", Name: "main", Default: true, Secrets: job.Secrets{Current: []byte{1}}}
	check(s.CreateApp(ctx, job.App{Name: "shop", Secrets: job.Secrets{Current: []byte{1}}}, job.Key{App: "shop"}),
		s.SetAppSecrets(ctx, "shop", job.Secrets{Current: []byte{2}}), s.SetSetting(ctx, "a", []byte{1}), s.CreateEndpoint(ctx, e), s.UpdateEndpoint(ctx, e))
	check(s.SetVerification(ctx, "shop", "main", job.Verification{State: job.Verified, DueAt: now}, now))
	_, _, err := s.DueVerifications(ctx, now, 1)
	check(err)
	_, err1 := s.App(ctx, "shop")
	_, _, err2 := s.AppOfKey(ctx, [32]byte{})
	_, err3 := s.Setting(ctx, "a")
	_, err4 := s.Endpoint(ctx, "shop", "main")
	_, err5 := s.ListEndpoints(ctx, "shop")
	_, err6 := s.ListApps(ctx)
	check(err1, err2, err3, err4, err5, err6, s.DeleteEndpoint(ctx, "shop", "main"))
	for _, f := range []job.AuditFilter{{}, {App: "shop", Since: now, Until: now, Limit: 1}, {Kind: job.ActorApp, Action: job.AppCreate, Subject: "shop", Before: s.NewID(now)}} {
		_, err := s.AuditLog(ctx, f)
		check(err)
	}
	_, err = s.PurgeAudit(ctx, now, 1)
	check(err)

	for range 2 {
		_, err := s.Accept(ctx, job.Acceptance{Job: newJob(s), Key: "k"})
		check(err)
	}
	jobs, _, err := s.ClaimRuns(ctx, "shop", "scan", now.Add(time.Hour), 10)
	check(err)
	j := jobs[0]
	check(s.StartRun(ctx, job.Start{Job: j, N: 1, At: now, Await: true}))
	f := finishOf(s, j)
	failed := job.Finish{Job: j, State: job.Accepted, At: now, Run: &job.Run{N: 1, Error: &job.Error{}}}
	f.Callbacks[0].Claimed, f.Result.Echo = false, false
	cb := f.Callbacks[0].Callback
	check(s.FinishRun(ctx, failed), s.FinishRun(ctx, f))
	if err := s.FinishRun(ctx, f); err == nil {
		t.Fatal("a job ended twice")
	}
	listed, err := s.OverdueCallbacks(ctx, now.Add(1000*time.Hour), nil, 10)
	check(err)
	_, err = s.ClaimOverdue(ctx, listed)
	check(err, s.putBack(ctx, `UPDATE callbacks SET due_at = ?2 WHERE key = ?1 AND due_at = 0`, []job.ID{cb.ID}, now))
	due, _, err := s.ClaimCallbacks(ctx, cb.Lane(), now.Add(time.Hour), 10)
	check(err, s.StartAttempt(ctx, cb.ID, 1, now, true),
		s.SettleAttempt(ctx, job.Settlement{Callback: due[0].Callback, State: job.Dead, At: now, Attempt: &job.Attempt{N: 1}}))
	_, err1 = s.DueRuns(ctx, job.Due{}, 100)
	_, err2 = s.DueCallbacks(ctx, job.Due{}, 100)
	_, err3 = s.RunsOf(ctx, j.ID)
	_, err4 = s.Attempts(ctx, cb.ID)
	_, err5 = s.Backlog(ctx)
	check(err1, err2, err3, err4, err5)
	_, err1 = s.Callback(ctx, "shop", cb.ID)
	_, err2 = s.Resend(ctx, "shop", cb.ID, now, now)
	_, err3 = s.KnownBodies(ctx, []string{"a"})
	_, err4 = s.Job(ctx, "shop", j.ID)
	check(err1, err2, err3, err4, s.SettleAttempt(ctx, job.Settlement{Callback: cb, State: job.Dead, At: now}))
	check(useEarly(ctx, s), useLines(ctx, t, s), useKeeping(ctx, s, j.ID, now))
	_, _, err = s.Purge(ctx, now.Add(time.Hour), now.Add(time.Hour), 10)
	check(err)
	listAll(ctx, check, s)
	useBulks(ctx, check, s)
}

// useBulks uses bulks of every kind.
func useBulks(ctx context.Context, check func(...error), s *Store) {
	now := time.Now()
	for _, b := range []*job.Bulk{{Action: job.BulkResend}, {Action: job.BulkResend, Filter: job.BulkFilter{States: []job.CallbackState{job.Delivered}}}, {Action: job.BulkCancel}} {
		b.ID, b.App, b.CreatedAt = s.NewID(now), "shop", now
		_, err := s.FindBulk(ctx, job.BulkLook{Bulk: b, Look: 10, Limit: 10})
		check(s.CreateBulk(ctx, b), err)
		_, err = s.StepBulk(ctx, job.BulkStep{Bulk: b, At: now, Callbacks: []job.BulkItem{{ID: s.NewID(now)}}})
		_, err2 := s.StopBulk(ctx, "shop", b.ID, now)
		check(err, err2)
	}
	for _, f := range []job.BulksFilter{{}, {Open: true}, {App: "shop"}, {App: "shop", Open: true}} {
		_, err := s.ListBulks(ctx, f)
		check(err)
	}
	_, err1 := s.LaneBacklog(ctx, "shop main", now, 10)
	_, err2 := s.DeadLetters(ctx, job.DeadFilter{App: "shop", Endpoint: "main", Limit: 10})
	check(err1, err2)
}

// useKeeping keeps no more what there is: the bodies of a job, and an app with a job.
func useKeeping(ctx context.Context, s *Store, id job.ID, now time.Time) error {
	_, err := s.Redact(ctx, job.Redacted{ID: id, Request: &job.Body{}, Result: &job.Body{}})
	_, err1 := s.Sweep(ctx, job.Sweep{Look: 10, Others: job.Cutoff{Jobs: now.Add(-time.Hour), Bodies: now.Add(time.Hour)}})
	errs := []error{err, err1, s.CreateApp(ctx, job.App{Name: "gone", Secrets: job.Secrets{Current: []byte{1}}}, job.Key{Hash: [32]byte{1}, App: "gone"})}
	j := newJob(s)
	j.App = "gone"
	_, err = s.Accept(ctx, job.Acceptance{Job: j})
	errs = append(errs, err, s.DeleteApp(ctx, "gone", now))
	for range 2 {
		_, _, err := s.EraseApp(ctx, "gone", 10)
		errs = append(errs, err)
	}
	_, err = s.DeletedApps(ctx)
	return errors.Join(append(errs, err, s.ForgetApp(ctx, "gone"))...)
}

// useEarly tells of a job before its end.
func useEarly(ctx context.Context, s *Store) error {
	j := newJob(s)
	last := finishOf(s, j)
	j.Early, last.Callbacks[0].Claimed = true, false
	early := func(event job.Event) []job.OwedCallback {
		cb := *last.Callbacks[0].Callback
		cb.ID, cb.Event = s.NewID(cb.CreatedAt), event
		return []job.OwedCallback{{Callback: &cb}}
	}
	accepted := early(job.EventAccepted)
	_, err := s.Accept(ctx, job.Acceptance{Job: j, Claimed: true, Callbacks: accepted})
	now := time.Now()
	errs := []error{err, s.StartRun(ctx, job.Start{Job: j, N: 1, At: now, Callbacks: early(job.EventRunning)})}
	for range 2 {
		errs = append(errs, s.Progress(ctx, job.Progress{Job: j, N: 1, Value: []byte("1"), At: now, Callbacks: early(job.EventProgress)}))
	}
	due, _, err := s.ClaimCallbacks(ctx, accepted[0].Callback.Lane(), now.Add(time.Hour), 10)
	errs = append(errs, err, s.StartAttempt(ctx, accepted[0].Callback.ID, 1, now, true),
		s.SettleAttempt(ctx, job.Settlement{Callback: due[len(due)-1].Callback, State: job.Pending, At: now, Attempt: &job.Attempt{N: 1}}),
		s.SettleAttempt(ctx, job.Settlement{Callback: due[len(due)-1].Callback, State: job.Delivered, At: now, Attempt: &job.Attempt{N: 2}}),
		s.FinishRun(ctx, last))
	return errors.Join(errs...)
}

// listAll lists with every combination of filters.
func listAll(ctx context.Context, check func(...error), s *Store) {
	for _, app := range []string{"", "shop"} {
		for state := range job.Expired + 1 {
			_, err := s.Jobs(ctx, job.JobFilter{App: app, State: state, Operation: "scan"})
			check(err)
		}
		for state := range job.Discarded + 1 {
			for _, id := range []job.ID{{}, s.NewID(time.Now())} {
				_, err := s.Callbacks(ctx, job.CallbackFilter{App: app, State: state, JobID: id})
				check(err)
			}
		}
	}
}

// scans are the steps of a plan that read all of something, and why they may.
var scans = map[string]string{
	"SCAN jobs USING COVERING INDEX jobs_due":           "counts the backlog",
	"SCAN callbacks USING COVERING INDEX callbacks_due": "counts the backlog",
	"SCAN (subquery-2)":                                 "is one row",
	"SCAN jobs":                                         "the newest id, in the table's order",
	"SCAN bulks":                                        "pages of all apps' bulks, in the table's order",
	"SCAN (subquery-1)":                                 "is bounded by its limit",
	"SCAN callbacks":                                    "pages of all apps' callbacks, in the table's order",
	"SCAN audit":                                        "the whole log, or the newest id, in the table's order",
	"SCAN a":                                            "all apps, by name",
	"SCAN a USING INDEX apps_deleted":                   "holds apps that are being erased, and no other",
	"SCAN apps USING INDEX apps_deleted":                "the same",
	"SCAN pauses":                                       "few, when an app is erased",
	"SCAN CONSTANT ROW":                                 "is one row",
}

func TestQueriesGoThroughAnIndexWithoutSorting(t *testing.T) {
	t.Parallel()
	s := setup(t)
	useAll(t, s)
	texts := map[string]bool{}
	onWriter(t, s, func(c *conn) error {
		for sql := range c.stmts {
			texts[sql] = true
		}
		return nil
	})
	for range len(s.idle) {
		c := <-s.idle
		for sql := range c.stmts {
			texts[sql] = true
		}
		s.idle <- c
	}
	if len(texts) < 50 {
		t.Fatalf("%d statements are known", len(texts))
	}
	seen := map[string]bool{}
	for sql := range texts {
		var plan []string
		err := s.read(t.Context(), func(c *conn) error {
			return c.bind("EXPLAIN QUERY PLAN " + sql).each(func(row *scanner) { plan = append(plan, row.st.ColumnText(3)) })
		})
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		for _, step := range plan {
			seen[step] = true
			if _, allowed := scans[step]; strings.HasPrefix(step, "SCAN") && !allowed || strings.Contains(step, "TEMP B-TREE") {
				t.Errorf("%s\nhas the plan:\n%s", sql, strings.Join(plan, "\n"))
			}
		}
	}
	for step := range scans {
		if !seen[step] {
			t.Errorf("no plan has the step %s", step)
		}
	}
}
