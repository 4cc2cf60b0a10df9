package storetest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ringback/ringback/job"
)

var runsTests = []test{
	{"EarliestDueIsClaimedFirst", earliestDueIsClaimedFirst},
	{"ClaimTellsWhenTheNextIsDue", claimTellsWhenTheNextIsDue},
	{"ClaimedJobIsNotClaimedAgain", claimedJobIsNotClaimedAgain},
	{"JobBornClaimedNeverComesOutOfAClaim", jobBornClaimedNeverComesOut},
	{"ManyClaimersShareTheWork", manyClaimersShareTheWork},
	{"OperationsAreClaimedApart", operationsAreClaimedApart},
	{"AppsAreClaimedApart", appsAreClaimedApart},
	{"StartIsShownAndAnnounced", startIsShownAndAnnounced},
	{"UnawaitedStartIsWrittenSoon", unawaitedStartIsWrittenSoon},
	{"StartThatComesTooLateChangesNothing", lateStartChangesNothing},
	{"AwaitedStartOfAnEndedJobIsRefused", awaitedStartOfAnEndedJobIsRefused},
	{"SuccessIsReadBackWhole", successIsReadBackWhole},
	{"EchoedResultKeepsTheBodyOnce", echoedResult},
	{"FailedRunIsDueAgainAtItsTime", failedRunIsDueAgain},
	{"RunHandedBackDoesNotCount", runHandedBackDoesNotCount},
	{"RunHandedBackKeepsTheLastError", runHandedBackKeepsTheLastError},
	{"CanceledJobNeedsNoRun", canceledJobNeedsNoRun},
	{"FirstTerminalStateWins", firstTerminalStateWins},
	{"FirstOfManyEndsWins", firstOfManyEndsWins},
	{"FinishOfAnUnknownJobIsNotFound", finishOfAnUnknownJob},
	{"FinishAndItsCallbacksAreOne", finishAndItsCallbacksAreOne},
	{"FinishIsAnnouncedWithItsCallbacks", finishIsAnnounced},
	{"AuthorizationEndsWithTheJob", authorizationEndsWithTheJob},
}

func earliestDueIsClaimedFirst(w *world) {
	var late, early, middle = w.newJob("shop", "scan"), w.newJob("shop", "scan"), w.newJob("shop", "scan")
	late.DueAt, early.DueAt, middle.DueAt = w.now().Add(3*time.Second), w.now().Add(time.Second), w.now().Add(2*time.Second)
	for _, j := range []*job.Job{late, early, middle} {
		w.accept(j, false)
	}
	w.equal("claimed before any is due", len(w.claim("scan")), 0)
	w.pass(time.Minute)
	w.equal("claimed", jobIDs(w.claim("scan")), []job.ID{early.ID, middle.ID, late.ID})
}

func claimTellsWhenTheNextIsDue(w *world) {
	now := w.now()
	var ids []job.ID
	for i := range 3 {
		j := w.newJob("shop", "scan")
		j.DueAt = now.Add(time.Duration(i) * time.Second)
		ids = append(ids, w.accept(j, false).ID)
	}
	for i, want := range []time.Time{now.Add(time.Second), now.Add(2 * time.Second), {}} {
		at := now.Add(time.Minute)
		jobs, next, err := w.ClaimRuns(w.ctx, "shop", "scan", at, 1)
		w.no(err)
		w.equal("claimed", jobIDs(jobs), ids[i:i+1])
		w.equal("next", next, want)
	}
	w.no(w.FinishRun(w.ctx, w.retry(&job.Job{ID: ids[0], App: "shop", Operation: "scan"}, 1, time.Hour)))
	jobs, next, err := w.ClaimRuns(w.ctx, "shop", "scan", now, 10)
	w.no(err)
	w.equal("claimed", len(jobs), 0)
	w.equal("next", next, now.Add(time.Hour))
}

func claimedJobIsNotClaimedAgain(w *world) {
	j := w.accept(w.newJob("shop", "scan"), false)
	w.equal("claimed", jobIDs(w.claim("scan")), []job.ID{j.ID})
	w.pass(24 * time.Hour)
	w.equal("claimed again", len(w.claim("scan")), 0)
	due, err := w.DueRuns(w.ctx, job.Due{}, 100)
	w.no(err)
	w.equal("due", len(due), 0)
}

func jobBornClaimedNeverComesOut(w *world) {
	w.accept(w.newJob("shop", "scan"), true)
	w.pass(24 * time.Hour)
	w.equal("claimed", len(w.claim("scan")), 0)
}

func manyClaimersShareTheWork(w *world) {
	var want []job.ID
	for range 60 {
		want = append(want, w.accept(w.newJob("shop", "scan"), false).ID)
	}
	var mu sync.Mutex
	var got []job.ID
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				jobs, _, err := w.ClaimRuns(w.ctx, "shop", "scan", w.now(), 4)
				if err != nil || len(jobs) == 0 {
					return
				}
				mu.Lock()
				got = append(got, jobIDs(jobs)...)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(got, job.ID.Compare)
	w.equal("claimed by all", got, want)
}

func operationsAreClaimedApart(w *world) {
	now := w.now()
	for range 100 {
		w.accept(w.newJob("shop", "scan"), false)
	}
	later := w.newJob("shop", "report")
	later.DueAt = now.Add(time.Second)
	w.accept(later, false)
	sooner := w.accept(w.newJob("shop", "report"), false)
	due, err := w.DueRuns(w.ctx, job.Due{}, 100)
	w.no(err)
	w.equal("due", due, []job.Due{{App: "shop", Name: "report", At: now}, {App: "shop", Name: "scan", At: now}})
	w.equal("claimed", jobIDs(w.claim("report")), []job.ID{sooner.ID})
	w.equal("claimed", len(w.claim("scan")), 100)
	due, err = w.DueRuns(w.ctx, job.Due{}, 100)
	w.no(err)
	w.equal("due", due, []job.Due{{App: "shop", Name: "report", At: later.DueAt}})
}

func appsAreClaimedApart(w *world) {
	now := w.now()
	var ids []job.ID
	for _, app := range []string{"shop", "bank", "shop-2", "shop", "bank"} {
		ids = append(ids, w.accept(w.newJob(app, "scan"), false).ID)
	}
	later := w.newJob("bank", "report")
	later.DueAt = now.Add(time.Second)
	w.accept(later, false)
	all := []job.Due{{App: "bank", Name: "report", At: later.DueAt}, {App: "bank", Name: "scan", At: now},
		{App: "shop", Name: "scan", At: now}, {App: "shop-2", Name: "scan", At: now}}
	w.pages("due", all, w.DueRuns)
	jobs, next, err := w.ClaimRuns(w.ctx, "bank", "scan", now, 10)
	w.no(err)
	w.equal("claimed", jobIDs(jobs), []job.ID{ids[1], ids[4]})
	w.equal("next", next, time.Time{})
	w.pages("due", []job.Due{all[0], all[2], all[3]}, w.DueRuns)
}

// pages reads what is due, in pages of every size and from every place.
func (w *world) pages(what string, want []job.Due, read func(context.Context, job.Due, int) ([]job.Due, error)) {
	w.t.Helper()
	for from := range len(want) + 1 {
		after := job.Due{}
		if from > 0 {
			after = want[from-1]
		}
		for size := 1; size <= len(want)+1; size++ {
			got, err := read(w.ctx, after, size)
			w.no(err)
			w.equal(what, append([]job.Due{}, got...), append([]job.Due{}, want[from:min(from+size, len(want))]...))
		}
	}
	// A name that nothing has leads to the next app.
	for i := range len(want) - 1 {
		if want[i].App != want[i+1].App {
			got, err := read(w.ctx, job.Due{App: want[i].App, Name: "\U0010FFFF"}, 1)
			w.no(err)
			w.equal(what+" of the next app", got, want[i+1:i+2])
		}
	}
}

func startIsShownAndAnnounced(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.announced()
	at := w.pass(time.Second)
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: at, Await: true}))
	got := w.read(j.ID)
	w.equal("state", got.State, job.Running)
	w.equal("started", got.StartedAt, at)
	w.equal("runs", got.Runs, 1)
	changes := w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.JobStarted})
	c := changes[0].Job
	w.equal("announced", []any{c.ID, c.App, c.Operation, c.State, c.StartedAt, c.CreatedAt},
		[]any{j.ID, j.App, j.Operation, job.Running, at, j.CreatedAt})
	w.pass(time.Second)
	w.no(w.FinishRun(w.ctx, w.retry(j, 1, 0)))
	w.equal("state", w.read(j.ID).State, job.Accepted)
	w.equal("claimed", len(w.claim("scan")), 1)
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 2, At: w.pass(time.Second), Await: true}))
	got = w.read(j.ID)
	w.equal("first start", got.StartedAt, at)
	w.equal("runs", got.Runs, 2)
}

func unawaitedStartIsWrittenSoon(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now()}))
	c := w.await(job.JobStarted)
	w.equal("announced", c.Job.ID, j.ID)
	w.equal("state", w.read(j.ID).State, job.Running)
}

func lateStartChangesNothing(w *world) {
	var ended, retried, back []*job.Job
	for range 10 {
		for _, list := range []*[]*job.Job{&ended, &retried, &back} {
			j := w.accept(w.newJob("shop", "scan"), true)
			w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now()}))
			*list = append(*list, j)
		}
	}
	for i := range ended {
		w.no(w.FinishRun(w.ctx, w.success(ended[i], 1)))
		w.no(w.FinishRun(w.ctx, w.retry(retried[i], 1, time.Hour)))
		w.no(w.FinishRun(w.ctx, job.Finish{Job: back[i], State: job.Accepted, DueAt: w.now().Add(time.Hour), At: w.now()}))
	}
	// What starts now is written after all that may still be held back.
	last := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.StartRun(w.ctx, job.Start{Job: last, N: 1, At: w.now()}))
	w.until("the last start is written", func() bool { return w.read(last.ID).State == job.Running })
	for i := range ended {
		w.equal("ended", w.read(ended[i].ID).State, job.Succeeded)
		w.equal("retried", w.read(retried[i].ID).State, job.Accepted)
		j := w.read(back[i].ID)
		w.equal("handed back", []any{j.State, j.Runs, j.StartedAt}, []any{job.Accepted, 0, time.Time{}})
	}
}

func awaitedStartOfAnEndedJobIsRefused(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Canceled, At: w.now()}))
	w.is(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Await: true}), job.ErrTerminal)
	w.is(w.StartRun(w.ctx, job.Start{Job: w.newJob("shop", "scan"), N: 1, At: w.now(), Await: true}), job.ErrNotFound)
	w.equal("state", w.read(j.ID).State, job.Canceled)
}

func successIsReadBackWhole(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.pass(time.Minute)
	f := w.success(j, 1)
	f.Result.Header = map[string][]string{"X-Engine": {"1", "2"}}
	w.no(w.FinishRun(w.ctx, f))
	want := *j
	want.State, want.Runs, want.StartedAt, want.FinishedAt, want.Result = job.Succeeded, 1, f.Run.StartedAt, f.At, f.Result
	want.DueAt = time.Time{}
	w.equal("job", w.read(j.ID), &want)
	runs, err := w.RunsOf(w.ctx, j.ID)
	w.no(err)
	w.equal("runs", runs, []job.Run{*f.Run})
}

func echoedResult(w *world) {
	j := w.accept(w.newJob("shop", "notify"), true)
	f := w.success(j, 1)
	f.Result = &job.Result{Status: 200, ContentType: "text/plain", Echo: true}
	w.no(w.FinishRun(w.ctx, f))
	got := w.read(j.ID)
	w.equal("result", got.Result, f.Result)
	w.equal("body", got.ResultBody(), j.Request.Body)
}

func failedRunIsDueAgain(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	f := w.retry(j, 1, time.Minute)
	w.no(w.FinishRun(w.ctx, f))
	got := w.read(j.ID)
	w.equal("job", []any{got.State, got.Runs, got.DueAt, got.Error}, []any{job.Accepted, 1, f.DueAt, f.Error})
	w.equal("claimed too early", len(w.claim("scan")), 0)
	w.pass(time.Minute)
	w.equal("claimed", jobIDs(w.claim("scan")), []job.ID{j.ID})
	ok := w.success(j, 2)
	w.no(w.FinishRun(w.ctx, ok))
	got = w.read(j.ID)
	w.equal("job", []any{got.State, got.Runs, got.Error == nil}, []any{job.Succeeded, 2, true})
	runs, err := w.RunsOf(w.ctx, j.ID)
	w.no(err)
	w.equal("runs", runs, []job.Run{*f.Run, *ok.Run})
}

func runHandedBackDoesNotCount(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Await: true}))
	due := w.pass(time.Second)
	w.announced()
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Accepted, DueAt: due, At: due}))
	w.equal("changes", kinds(w.announced()), []job.ChangeKind{job.JobRetried})
	w.equal("job", w.read(j.ID), func() *job.Job { back := *j; back.DueAt = due; return &back }())
	claimed := w.claim("scan")
	w.equal("claimed", jobIDs(claimed), []job.ID{j.ID})
	w.equal("runs", claimed[0].Runs, 0)
}

func runHandedBackKeepsTheLastError(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	f := w.retry(j, 1, 0)
	w.no(w.FinishRun(w.ctx, f))
	claimed := w.claim("scan")[0]
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 2, At: w.now(), Await: true}))
	// Without a time of its own it is due at once.
	w.no(w.FinishRun(w.ctx, job.Finish{Job: claimed, State: job.Accepted, At: w.now()}))
	got := w.read(j.ID)
	w.equal("job", []any{got.Runs, got.Error, got.StartedAt}, []any{1, f.Error, f.Run.StartedAt})
	w.equal("claimed", len(w.claim("scan")), 1)
}

func canceledJobNeedsNoRun(w *world) {
	waiting := w.accept(w.newJob("shop", "scan"), false)
	running := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.StartRun(w.ctx, job.Start{Job: running, N: 1, At: w.now(), Await: true}))
	for _, j := range []*job.Job{waiting, running} {
		cb := w.owe(j, "https://my.server/bar")
		cb.Event = job.EventCanceled
		// A canceler knows the job's names only.
		w.no(w.FinishRun(w.ctx, job.Finish{Job: &job.Job{ID: j.ID, App: j.App, Operation: j.Operation}, State: job.Canceled, At: w.now(),
			Callbacks: []job.OwedCallback{{Callback: cb}}}))
	}
	w.equal("claimed", len(w.claim("scan")), 0)
	got := w.read(running.ID)
	w.equal("job", []any{got.State, got.Runs, got.FinishedAt}, []any{job.Canceled, 1, w.now()})
	w.equal("runs of the waiting one", w.read(waiting.ID).Runs, 0)
	w.equal("owed", len(w.claimCallbacks("shop https://my.server")), 2)
}

func firstTerminalStateWins(w *world) {
	for _, first := range []job.State{job.Succeeded, job.Failed, job.Canceled, job.Expired} {
		j := w.accept(w.newJob("shop", "scan"), true)
		end := job.Finish{Job: j, State: first, At: w.now(), Error: &job.Error{Code: job.CodeExpired, Message: "m"}}
		w.no(w.FinishRun(w.ctx, end))
		want := w.read(j.ID)
		w.announced()
		w.pass(time.Second)
		for _, then := range []job.Finish{w.success(j, 1, w.owe(j, "https://my.server/")), w.retry(j, 1, 0),
			{Job: j, State: job.Canceled, At: w.now()}, {Job: j, State: job.Accepted, At: w.now()}} {
			w.is(w.FinishRun(w.ctx, then), job.ErrTerminal)
		}
		w.equal("job", w.read(j.ID), want)
		w.equal("changes", len(w.announced()), 0)
		runs, err := w.RunsOf(w.ctx, j.ID)
		w.no(err)
		if first != job.Succeeded {
			w.equal("runs", len(runs), 0)
		}
	}
	owed, err := w.Callbacks(w.ctx, job.CallbackFilter{App: "shop"})
	w.no(err)
	w.equal("callbacks", len(owed), 0)
}

func firstOfManyEndsWins(w *world) {
	for range 5 {
		j := w.accept(w.newJob("shop", "scan"), true)
		w.announced()
		errs := make([]error, 16)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				f := w.success(j, 1, w.owe(j, "https://my.server/"))
				if i%2 == 0 {
					f = job.Finish{Job: j, State: job.Canceled, At: w.now(), Callbacks: f.Callbacks}
				}
				errs[i] = w.FinishRun(w.ctx, f)
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				w.is(err, job.ErrTerminal)
			}
		}
		owed, err := w.Callbacks(w.ctx, job.CallbackFilter{JobID: j.ID})
		w.no(err)
		w.equal("ends and callbacks", []int{won, len(owed), len(w.announced())}, []int{1, 1, 2})
	}
}

func finishOfAnUnknownJob(w *world) {
	j := w.newJob("shop", "scan")
	w.is(w.FinishRun(w.ctx, w.success(j, 1)), job.ErrNotFound)
}

func finishAndItsCallbacksAreOne(w *world) {
	_, taken := w.owed("shop", "https://my.server/")
	j := w.accept(w.newJob("shop", "scan"), true)
	w.announced()
	again := w.owe(j, "https://my.server/")
	again.ID = taken.ID
	if err := w.FinishRun(w.ctx, w.success(j, 1, w.owe(j, "https://my.server/"), again)); err == nil {
		w.t.Fatalf("a callback's id was stored twice")
	}
	w.equal("job", []any{w.read(j.ID).State, w.read(j.ID).Result == nil}, []any{job.Accepted, true})
	owed, err := w.Callbacks(w.ctx, job.CallbackFilter{JobID: j.ID})
	w.no(err)
	w.equal("callbacks and changes", []int{len(owed), len(w.announced())}, []int{0, 0})
	w.no(w.FinishRun(w.ctx, w.success(j, 1)))
}

func finishIsAnnounced(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.announced()
	f := w.success(j, 1, w.owe(j, "https://my.server/a"), w.owe(j, "https://my.server/b"))
	f.Callbacks[0].Claimed = true
	w.no(w.FinishRun(w.ctx, f))
	changes := w.announced()
	w.equal("kinds", kinds(changes), []job.ChangeKind{job.JobFinished, job.CallbackOwed, job.CallbackOwed})
	w.equal("claimed", []bool{changes[1].Claimed, changes[2].Claimed}, []bool{true, false})
	end := changes[1].Job
	w.equal("job", []any{end.State, end.FinishedAt, end.Result, end.Request.Body}, []any{job.Succeeded, f.At, f.Result, j.Request.Body})
	w.equal("callback", changes[1].Callback.ID, f.Callbacks[0].Callback.ID)
	w.equal("finished", []any{changes[0].Job.ID, changes[0].Job.State}, []any{j.ID, job.Succeeded})
}

func authorizationEndsWithTheJob(w *world) {
	for _, state := range []job.State{job.Succeeded, job.Canceled} {
		j := w.newJob("shop", "scan")
		j.Request.Authorization = []byte("sealed")
		w.accept(j, false)
		claimed := w.claim("scan")[0]
		w.equal("claimed", claimed.Request.Authorization, []byte("sealed"))
		w.no(w.FinishRun(w.ctx, w.retry(claimed, 1, 0)))
		claimed = w.claim("scan")[0]
		w.equal("claimed again", claimed.Request.Authorization, []byte("sealed"))
		w.announced()
		f := w.success(claimed, 2, w.owe(claimed, "https://my.server/"))
		if state == job.Canceled {
			f = job.Finish{Job: &job.Job{ID: j.ID, App: j.App, Operation: j.Operation}, State: state, At: w.now()}
		}
		w.no(w.FinishRun(w.ctx, f))
		w.equal("stored", w.read(j.ID).Request.Authorization, []byte(nil))
		for _, c := range w.announced() {
			w.equal("announced", c.Job.Request.Authorization, []byte(nil))
		}
	}
}
