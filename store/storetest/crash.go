package storetest

import (
	"time"

	"github.com/ringback/ringback/job"
)

var crashTests = []test{
	{"AcknowledgedWorkSurvives", acknowledgedWorkSurvives},
	{"JobThatWasNotClaimedIsNotRescued", unclaimedJobIsNotRescued},
	{"ClaimedJobIsRescued", claimedJobIsRescued},
	{"InterruptedRunIsCounted", interruptedRunIsCounted},
	{"EveryInterruptionIsCounted", everyInterruptionIsCounted},
	{"RescueEndsWithTheNextRun", rescueEndsWithTheNextRun},
	{"ClaimedCallbackIsRescued", claimedCallbackIsRescued},
	{"InterruptedAttemptIsCounted", interruptedAttemptIsCounted},
	{"RescueEndsWithTheNextAttempt", rescueEndsWithTheNextAttempt},
	{"RescuedWorkIsDueToTheGroupsAtTheStart", rescuedWorkIsListed},
	{"IDsGrowThoughTheClockWasSetBack", idsGrow},
	{"KeySurvives", keySurvives},
	{"CloseReleasesClaimsToo", closeReleasesClaimsToo},
}

func acknowledgedWorkSurvives(w *world) {
	a := w.app("shop")
	e := w.endpoint("shop", "main", true)
	accepted := w.accept(w.newJob("shop", "later"), false)
	j, cb := w.owed("shop", "https://my.server/")
	claimed := w.claimCallbacks(lane)[0].Callback
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 1, 500, job.Pending, time.Hour)))
	ended, settled := w.read(j.ID), w.readCallback(cb)
	w.crash()
	w.equal("accepted", w.read(accepted.ID), accepted)
	w.equal("ended", w.read(j.ID), ended)
	w.equal("callback", w.readCallback(cb), settled)
	w.equal("endpoint", w.readEndpoint("shop", "main"), e)
	got, _, err := w.AppOfKey(w.ctx, keyHash("shop"))
	w.no(err)
	w.equal("app", got, a)
}

func unclaimedJobIsNotRescued(w *world) {
	waiting := w.accept(w.newJob("shop", "scan"), false)
	back := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.FinishRun(w.ctx, w.retry(back, 1, 0)))
	w.crash()
	for _, j := range w.claim("scan") {
		w.equal("rescued", []any{j.Rescued, j.Interrupted}, []any{false, 0})
	}
	w.equal("states", []job.State{w.read(waiting.ID).State, w.read(back.ID).State}, []job.State{job.Accepted, job.Accepted})
}

func claimedJobIsRescued(w *world) {
	born := w.accept(w.newJob("shop", "scan"), true)
	claimed := w.accept(w.newJob("shop", "scan"), false)
	w.equal("claimed", len(w.claim("scan")), 1)
	w.pass(time.Hour)
	w.crash()
	jobs := w.claim("scan")
	w.equal("claimed again", jobIDs(jobs), []job.ID{born.ID, claimed.ID})
	for _, j := range jobs {
		w.equal("rescued", []any{j.State, j.Rescued, j.Runs, j.Interrupted}, []any{job.Accepted, true, 0, 0})
	}
	w.no(w.FinishRun(w.ctx, w.success(jobs[0], 1)))
}

func interruptedRunIsCounted(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	started := w.now()
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: started, Await: true}))
	w.pass(time.Hour)
	w.crash()
	runs, err := w.RunsOf(w.ctx, j.ID)
	w.no(err)
	w.equal("runs", len(runs), 1)
	w.equal("run", []any{runs[0].N, runs[0].StartedAt, runs[0].FinishedAt, runs[0].Error.Code}, []any{1, started, w.now(), job.CodeInterrupted})
	jobs := w.claim("scan")
	w.equal("claimed", jobIDs(jobs), []job.ID{j.ID})
	got := jobs[0]
	w.equal("job", []any{got.State, got.Rescued, got.Runs, got.Interrupted, got.StartedAt, got.Error.Code},
		[]any{job.Accepted, true, 1, 1, started, job.CodeInterrupted})
}

func everyInterruptionIsCounted(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	for n := 1; n <= 3; n++ {
		w.no(w.StartRun(w.ctx, job.Start{Job: j, N: n, At: w.now(), Await: true}))
		w.crash()
		got := w.claim("scan")
		w.equal("claimed", jobIDs(got), []job.ID{j.ID})
		w.equal("counted", []int{got[0].Runs, got[0].Interrupted}, []int{n, n})
	}
	// The last claim has not begun: this crash interrupts no run.
	w.crash()
	got := w.claim("scan")[0]
	w.equal("counted", []int{got.Runs, got.Interrupted}, []int{3, 3})
	runs, err := w.RunsOf(w.ctx, j.ID)
	w.no(err)
	w.equal("runs", len(runs), 3)
}

func rescueEndsWithTheNextRun(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Await: true}))
	w.crash()
	j = w.claim("scan")[0]
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Accepted, DueAt: w.now(), At: w.now()}))
	j = w.claim("scan")[0]
	w.equal("rescued, after it was handed back", j.Rescued, true)
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 2, At: w.now(), Await: true}))
	w.no(w.FinishRun(w.ctx, w.retry(j, 2, 0)))
	j = w.claim("scan")[0]
	w.equal("job", []any{j.Rescued, j.Runs, j.Interrupted}, []any{false, 2, 1})
}

func claimedCallbackIsRescued(w *world) {
	_, claimed := w.owed("shop", "https://my.server/")
	w.equal("claimed", len(w.claimCallbacks(lane)), 1)
	j := w.accept(w.newJob("shop", "scan"), true)
	born := w.owe(j, "https://my.server/")
	f := w.success(j, 1, born)
	f.Callbacks[0].Claimed = true
	w.no(w.FinishRun(w.ctx, f))
	w.crash()
	due := w.claimCallbacks(lane)
	w.equal("claimed again", callbackIDs(due), []job.ID{claimed.ID, born.ID})
	for _, d := range due {
		cb := d.Callback
		w.equal("rescued", []any{cb.State, cb.Rescued, cb.Attempts, cb.Interrupted}, []any{job.Pending, true, 0, 0})
		attempts, err := w.Attempts(w.ctx, cb.ID)
		w.no(err)
		w.equal("attempts", len(attempts), 0)
	}
}

func interruptedAttemptIsCounted(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	w.claimCallbacks(lane)
	w.no(w.StartAttempt(w.ctx, cb.ID, 1, w.now(), true))
	w.crash()
	due := w.claimCallbacks(lane)
	w.equal("claimed", callbackIDs(due), []job.ID{cb.ID})
	got := due[0].Callback
	w.equal("callback", []any{got.Rescued, got.Attempts, got.Interrupted, got.LastError}, []any{true, 1, 1, job.ClassInterrupted})
	attempts, err := w.Attempts(w.ctx, cb.ID)
	w.no(err)
	w.equal("attempts", attempts, []job.Attempt{{N: 1, StartedAt: w.now(), Error: job.ClassInterrupted}})
}

func rescueEndsWithTheNextAttempt(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	w.claimCallbacks(lane)
	w.no(w.StartAttempt(w.ctx, cb.ID, 1, w.now(), true))
	w.crash()
	got := w.claimCallbacks(lane)[0].Callback
	w.announced()
	w.no(w.SettleAttempt(w.ctx, w.attempt(got, 2, 500, job.Pending, 0)))
	w.equal("announced", w.announced()[0].Callback.Rescued, false)
	got = w.claimCallbacks(lane)[0].Callback
	w.equal("callback", []any{got.Rescued, got.Attempts, got.Interrupted}, []any{false, 2, 1})
	w.crash()
	got = w.claimCallbacks(lane)[0].Callback
	w.equal("callback", []any{got.Rescued, got.Attempts, got.Interrupted}, []any{true, 2, 1})
}

func rescuedWorkIsListed(w *world) {
	w.accept(w.newJob("shop", "scan"), true)
	later := w.newJob("shop", "report")
	later.DueAt = w.now().Add(time.Hour)
	w.accept(later, false)
	w.owed("shop", "https://my.server/")
	w.claimCallbacks(lane)
	now := w.pass(time.Minute)
	w.crash()
	runs, err := w.DueRuns(w.ctx, job.Due{}, 100)
	w.no(err)
	w.equal("operations", runs, []job.Due{{App: "shop", Name: "report", At: later.DueAt}, {App: "shop", Name: "scan", At: now}})
	callbacks, err := w.DueCallbacks(w.ctx, job.Due{}, 100)
	w.no(err)
	w.equal("lanes", callbacks, []job.Due{{App: "shop", Name: laneName, At: now}})
}

func idsGrow(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	w.pass(-1000 * time.Hour)
	w.crash()
	if id := w.NewID(w.now()); id.Key() <= cb.ID.Key() {
		w.t.Fatalf("%s is not younger than %s", id.Callback(), cb.ID.Callback())
	}
	last := w.accept(w.newJob("shop", "scan"), false)
	w.crash()
	if id := w.NewID(w.now()); id.Key() <= last.ID.Key() {
		w.t.Fatalf("%s is not younger than %s", id.Job(), last.ID.Job())
	}
}

func keySurvives(w *world) {
	j, _ := w.acceptWithKey("k")
	w.crash()
	_, receipt := w.acceptWithKey("k")
	w.equal("receipt", receipt, job.Receipt{ID: j.ID, Repeated: true})
}

func closeReleasesClaimsToo(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.close()
	w.open()
	got := w.claim("scan")
	w.equal("claimed", jobIDs(got), []job.ID{j.ID})
	w.equal("interrupted", got[0].Interrupted, 0)
}
