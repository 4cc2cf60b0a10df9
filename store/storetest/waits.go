package storetest

import (
	"bytes"
	"time"

	"github.com/ringback/ringback/job"
)

var waitTests = []test{
	{"WaitIsReadBackWhole", waitIsReadBackWhole},
	{"WaitingJobIsDueAtItsTime", waitingJobIsDueAtItsTime},
	{"WaitEndsWithTheRun", waitEndsWithTheRun},
	{"WaitedRunEndsOnce", waitedRunEndsOnce},
	{"WaitKeepsTheLastError", waitKeepsTheLastError},
	{"WaitingJobIsCanceledAndOverdue", waitingJobIsCanceledAndOverdue},
	{"WaitSurvivesACrash", waitSurvivesACrash},
	{"WaitGoesWithTheJob", waitGoesWithTheJob},
}

// wait makes run n of j wait for a minute, with a look at it after a while.
func (w *world) wait(j *job.Job, n int, after time.Duration) job.Finish {
	now := w.now()
	return job.Finish{Job: j, State: job.Waiting, At: now, DueAt: now.Add(after), Run: &job.Run{N: n, StartedAt: now.Add(-time.Second)},
		Wait: &job.Wait{StartedAt: now.Add(-time.Second), Until: now.Add(time.Minute), Token: bytes.Repeat([]byte{7}, 32), Location: "/jobs/7?a=b", Polls: n}}
}

// waiting is a job that waits, and is due after a while.
func (w *world) waiting(after time.Duration) *job.Job {
	w.t.Helper()
	j := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.FinishRun(w.ctx, w.wait(j, 1, after)))
	return j
}

// waited makes f the end of a run that waits.
func waited(f job.Finish) job.Finish {
	f.Waited = true
	return f
}

func waitIsReadBackWhole(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	f := w.wait(j, 1, time.Second)
	w.announced()
	w.no(w.FinishRun(w.ctx, f))
	got := w.read(j.ID)
	w.equal("job", []any{got.State, got.Wait, got.Runs, got.StartedAt, got.DueAt, got.Interrupted},
		[]any{job.Waiting, f.Wait, 1, f.Run.StartedAt, f.DueAt, 0})
	changes := w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.JobWaiting})
	w.equal("due", changes[0].Job.DueAt, f.DueAt)
	again := w.wait(j, 1, 2*time.Second)
	again.Wait = &job.Wait{StartedAt: f.Wait.StartedAt, Until: f.Wait.Until, Polls: 2}
	w.no(w.FinishRun(w.ctx, waited(again)))
	w.equal("wait", w.read(j.ID).Wait, again.Wait)
	runs, err := w.RunsOf(w.ctx, j.ID)
	w.no(err)
	w.equal("finished runs", len(runs), 0)
}

func waitingJobIsDueAtItsTime(w *world) {
	j := w.waiting(time.Second)
	w.equal("claimed too early", len(w.claim("scan")), 0)
	due, err := w.DueRuns(w.ctx, job.Due{}, 100)
	w.no(err)
	w.equal("due", due, []job.Due{{App: "shop", Name: "scan", At: w.now().Add(time.Second)}})
	w.pass(time.Second)
	got := w.claim("scan")
	w.equal("claimed", jobIDs(got), []job.ID{j.ID})
	w.equal("state", got[0].State, job.Waiting)
	if got[0].Wait == nil || got[0].Wait.Location != "/jobs/7?a=b" {
		w.t.Fatalf("it was claimed with %+v", got[0].Wait)
	}
	w.equal("claimed twice", len(w.claim("scan")), 0)
}

func waitEndsWithTheRun(w *world) {
	for _, end := range []func(*job.Job) job.Finish{
		func(j *job.Job) job.Finish { return w.success(j, 1, w.owe(j, "https://my.server/")) },
		func(j *job.Job) job.Finish { return w.retry(j, 1, time.Hour) },
	} {
		j := w.waiting(time.Second)
		f := end(j)
		w.no(w.FinishRun(w.ctx, waited(f)))
		got := w.read(j.ID)
		w.equal("job", []any{got.State, got.Wait == nil, got.Runs, got.Error}, []any{f.State, true, 1, f.Error})
	}
	w.pass(2 * time.Hour)
	got := w.claim("scan")
	w.equal("to run again", len(got), 1)
	w.no(w.StartRun(w.ctx, job.Start{Job: got[0], N: 2, At: w.now(), Await: true}))
	w.equal("state", w.read(got[0].ID).State, job.Running)
}

func waitedRunEndsOnce(w *world) {
	j := w.waiting(time.Second)
	w.no(w.FinishRun(w.ctx, waited(w.retry(j, 1, time.Second))))
	before := w.read(j.ID)
	w.is(w.FinishRun(w.ctx, waited(w.success(j, 1, w.owe(j, "https://my.server/")))), job.ErrGone)
	w.is(w.FinishRun(w.ctx, waited(w.wait(j, 1, time.Second))), job.ErrGone)
	w.equal("job", w.read(j.ID), before)
	w.pass(time.Minute)
	w.claim("scan")
	w.no(w.FinishRun(w.ctx, w.wait(j, 2, time.Second)))
	w.is(w.FinishRun(w.ctx, waited(w.success(j, 1))), job.ErrGone) // of the run before
	w.no(w.FinishRun(w.ctx, waited(w.success(j, 2))))
	w.is(w.FinishRun(w.ctx, waited(w.success(j, 2))), job.ErrTerminal)
	callbacks, err := w.Callbacks(w.ctx, job.CallbackFilter{JobID: j.ID})
	w.no(err)
	w.equal("callbacks", len(callbacks), 0)
}

func waitKeepsTheLastError(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	failed := w.retry(j, 1, 0)
	w.no(w.FinishRun(w.ctx, failed))
	w.claim("scan")
	w.no(w.FinishRun(w.ctx, w.wait(j, 2, time.Hour)))
	w.equal("error", w.read(j.ID).Error, failed.Error)
}

func waitingJobIsCanceledAndOverdue(w *world) {
	j := w.newJob("shop", "scan")
	j.Deadline = w.now().Add(time.Second)
	w.accept(j, true)
	w.no(w.FinishRun(w.ctx, w.wait(j, 1, time.Hour)))
	now := w.pass(time.Second)
	overdue, err := w.Overdue(w.ctx, now, 10)
	w.no(err)
	w.equal("overdue", jobIDs(overdue), []job.ID{j.ID})
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Canceled, At: now}))
	got := w.read(j.ID)
	w.equal("job", []any{got.State, got.Wait == nil, got.Runs}, []any{job.Canceled, true, 1})
	w.is(w.FinishRun(w.ctx, waited(w.success(j, 1))), job.ErrTerminal)
}

func waitSurvivesACrash(w *world) {
	idle, claimed := w.waiting(time.Hour), w.waiting(0)
	w.equal("claimed", jobIDs(w.claim("scan")), []job.ID{claimed.ID})
	before := w.read(idle.ID)
	now := w.pass(time.Minute)
	w.crash()
	w.equal("the one that nobody looked at", w.read(idle.ID), before)
	got := w.read(claimed.ID)
	w.equal("the one that was looked at", []any{got.State, got.Wait != nil, got.DueAt, got.Runs, got.Interrupted, got.Rescued},
		[]any{job.Waiting, true, now, 1, 0, false})
	w.no(w.FinishRun(w.ctx, waited(w.success(idle, 1))))
	w.equal("state", w.read(idle.ID).State, job.Succeeded)
}

func waitGoesWithTheJob(w *world) {
	j := w.waiting(time.Hour)
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Canceled, At: w.now()}))
	now := w.pass(time.Hour)
	n, _, err := w.Purge(w.ctx, now, now, 10)
	w.no(err)
	w.equal("purged", n, 1)
}
