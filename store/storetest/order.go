package storetest

import (
	"time"

	"github.com/ringback/ringback/job"
)

var orderTests = []test{
	{"AcceptanceAndItsCallbacksAreOne", acceptanceAndItsCallbacks},
	{"StartOwesItsCallbacksOnce", startOwesItsCallbacksOnce},
	{"ProgressIsKeptAndAnnounced", progressIsKept},
	{"ProgressOfAnotherRunIsRefused", progressOfAnotherRun},
	{"LastProgressIsStoredWithTheEnd", lastProgressIsStoredWithTheEnd},
	{"EarlyCallbacksAreDueOneAfterTheOther", earlyCallbacksAreDueInOrder},
	{"DestinationsDoNotWaitForEachOther", destinationsDoNotWait},
	{"NewerProgressTakesTheOldOnesPlace", newerProgressTakesThePlace},
	{"ProgressThatWasTriedStays", progressThatWasTriedStays},
	{"EndDiscardsWhatIsPending", endDiscardsWhatIsPending},
	{"EndWaitsForWhatIsClaimed", endWaitsForWhatIsClaimed},
	{"FailedAttemptAfterTheEndIsTheLast", failedAttemptAfterTheEnd},
	{"StartOfAnAttemptAfterTheEndIsRefused", startOfAnAttemptAfterTheEnd},
	{"CancelerNeedNotKnowOfEarlyCallbacks", cancelerNeedNotKnow},
	{"ResentEarlyCallbackOutlivesTheEnd", resentEarlyCallback},
	{"ResendDoesNotJumpTheQueue", resendDoesNotJumpTheQueue},
	{"WaitingCallbackKeepsItsJob", waitingCallbackKeepsItsJob},
	{"CrashReleasesWhatWaited", crashReleasesWhatWaited},
	{"CrashAfterTheEndDiscardsWhatWasClaimed", crashAfterTheEnd},
	{"OrderSurvivesACrash", orderSurvivesACrash},
}

// early is a callback that j owes for an early event.
func (w *world) early(j *job.Job, event job.Event, url string) job.OwedCallback {
	cb := w.owe(j, url)
	cb.Event = event
	if event == job.EventProgress {
		cb.Data = []byte(`{"done":1}`)
	}
	return job.OwedCallback{Callback: cb}
}

const myServer = "https://my.server/"

// acceptEarly stores a claimed job that owes a callback for its acceptance.
func (w *world) acceptEarly() (*job.Job, *job.Callback) {
	w.t.Helper()
	j := w.newJob("shop", "scan")
	o := w.early(j, job.EventAccepted, myServer)
	j.Early = true
	_, err := w.Accept(w.ctx, job.Acceptance{Job: j, Claimed: true, Callbacks: []job.OwedCallback{o}})
	w.no(err)
	return j, o.Callback
}

// startEarly stores the first run's start, and the callback that it owes.
func (w *world) startEarly(j *job.Job) *job.Callback {
	w.t.Helper()
	o := w.early(j, job.EventRunning, myServer)
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Callbacks: []job.OwedCallback{o}}))
	return o.Callback
}

// progress stores how far run 1 is, and the callback that it owes.
func (w *world) progress(j *job.Job, value string) *job.Callback {
	w.t.Helper()
	o := w.early(j, job.EventProgress, myServer)
	o.Callback.Data = []byte(value)
	w.no(w.Progress(w.ctx, job.Progress{Job: j, N: 1, Value: []byte(value), At: w.now(), Callbacks: []job.OwedCallback{o}}))
	return o.Callback
}

// standing is where callbacks stand: their state, and why they wait.
func (w *world) standing(callbacks ...*job.Callback) (words []string) {
	w.t.Helper()
	for _, cb := range callbacks {
		got := w.readCallback(cb)
		word := got.State.String()
		if got.Waiting != "" {
			word += " " + got.Waiting
		}
		if got.Waiting == job.WaitingOrder && !got.DueAt.IsZero() {
			w.t.Fatalf("a callback waits for its turn and is due at %v", got.DueAt)
		}
		words = append(words, word)
	}
	return words
}

// only claims what is due in the lane, which must be this one callback.
func (w *world) only(cb *job.Callback) *job.Callback {
	w.t.Helper()
	due := w.claimCallbacks(lane)
	w.equal("claimed", callbackIDs(due), []job.ID{cb.ID})
	return due[0].Callback
}

func (w *world) deliver(cb *job.Callback) {
	w.t.Helper()
	w.no(w.SettleAttempt(w.ctx, w.attempt(cb, cb.Attempts+1, 200, job.Delivered, 0)))
}

func (w *world) end(j *job.Job) *job.Callback {
	w.t.Helper()
	cb := w.owe(j, myServer)
	own := *j
	own.Early = true
	w.no(w.FinishRun(w.ctx, w.success(&own, 1, cb)))
	return cb
}

func acceptanceAndItsCallbacks(w *world) {
	j, cb := w.acceptEarly()
	changes := w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.JobAccepted, job.CallbackOwed})
	w.equal("announced", []any{changes[1].Callback.ID, changes[1].Claimed}, []any{cb.ID, false})
	w.equal("early", w.read(j.ID).Early, true)
	w.equal("callback", w.readCallback(cb), cb)
	w.equal("delivered", w.claimCallbacks(lane)[0].Job.ID, j.ID)

	// A call that repeats another one owes nothing.
	_, first := w.acceptWithKey("k")
	again := w.newJob("shop", "scan")
	receipt, err := w.Accept(w.ctx, job.Acceptance{Job: again, Claimed: true, Key: "k", Callbacks: []job.OwedCallback{w.early(again, job.EventAccepted, myServer)}})
	w.no(err)
	w.equal("receipt", receipt, job.Receipt{ID: first.ID, Repeated: true})
	w.equal("owed", len(w.claimCallbacks(lane)), 0)
}

func startOwesItsCallbacksOnce(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.announced()
	began := w.now()
	cb := w.startEarly(j)
	changes := w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.JobStarted, job.CallbackOwed})
	w.equal("announced", changes[1].Callback.ID, cb.ID)
	w.equal("job", []any{w.read(j.ID).Early, w.read(j.ID).StartedAt}, []any{true, began})

	// A run that is handed back begins once more; its receiver was told.
	w.pass(time.Minute)
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Accepted, At: w.now(), DueAt: w.now()}))
	j = w.claim("scan")[0]
	w.equal("job", []any{j.Early, j.Runs, j.StartedAt}, []any{true, 0, began})
	w.startEarly(j)
	all, err := w.Callbacks(w.ctx, job.CallbackFilter{JobID: j.ID})
	w.no(err)
	w.equal("callbacks", len(all), 1)
	w.equal("began", w.read(j.ID).StartedAt, began)

	gone := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.FinishRun(w.ctx, job.Finish{Job: gone, State: job.Canceled, At: w.now()}))
	w.is(w.StartRun(w.ctx, job.Start{Job: gone, N: 1, At: w.now(), Callbacks: []job.OwedCallback{w.early(gone, job.EventRunning, myServer)}}), job.ErrTerminal)
	all, err = w.Callbacks(w.ctx, job.CallbackFilter{JobID: gone.ID})
	w.no(err)
	w.equal("callbacks", len(all), 0)
}

func progressIsKept(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Await: true}))
	w.announced()
	w.no(w.Progress(w.ctx, job.Progress{Job: j, N: 1, Value: []byte(`"half"`), At: w.now()}))
	changes := w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.JobProgressed})
	c := changes[0].Job
	w.equal("announced", []any{c.ID, c.App, c.Operation, c.State, string(c.Progress)}, []any{j.ID, j.App, j.Operation, job.Running, `"half"`})
	got := w.read(j.ID)
	w.equal("job", []any{string(got.Progress), got.Early}, []any{`"half"`, false})
	cb := w.progress(j, `{"done":9}`)
	w.equal("job", []any{string(w.read(j.ID).Progress), w.read(j.ID).Early}, []any{`{"done":9}`, true})
	w.equal("data", string(w.claimCallbacks(lane)[0].Callback.Data), `{"done":9}`)
	w.equal("callback", w.standing(cb), []string{"pending"})
	w.crash()
	w.equal("progress", string(w.read(j.ID).Progress), `{"done":9}`)
}

func progressOfAnotherRun(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	report := func(n int) error {
		return w.Progress(w.ctx, job.Progress{Job: j, N: n, Value: []byte(`1`), At: w.now(), Callbacks: []job.OwedCallback{w.early(j, job.EventProgress, myServer)}})
	}
	w.is(report(1), job.ErrNotFound) // it has not begun
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Await: true}))
	w.is(report(2), job.ErrNotFound)
	w.no(w.FinishRun(w.ctx, w.retry(j, 1, 0)))
	w.is(report(1), job.ErrNotFound)
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Canceled, At: w.now()}))
	w.announced()
	w.is(report(1), job.ErrTerminal)
	unknown := w.newJob("shop", "scan")
	w.is(w.Progress(w.ctx, job.Progress{Job: unknown, N: 1, Value: []byte(`1`), At: w.now()}), job.ErrNotFound)
	w.equal("owed", len(w.claimCallbacks(lane)), 0)
	w.equal("changes", len(w.announced()), 0)
	w.equal("progress", w.read(j.ID).Progress, []byte(nil))
}

func lastProgressIsStoredWithTheEnd(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	f := w.retry(j, 1, 0)
	f.Progress = []byte(`50`)
	w.no(w.FinishRun(w.ctx, f))
	w.equal("progress", string(w.claim("scan")[0].Progress), `50`)
	w.announced()
	end := w.success(j, 2)
	w.no(w.FinishRun(w.ctx, end))
	w.equal("progress", string(w.read(j.ID).Progress), `50`)

	j = w.accept(w.newJob("shop", "scan"), true)
	end = w.success(j, 1)
	end.Progress = []byte(`100`)
	w.announced()
	w.no(w.FinishRun(w.ctx, end))
	w.equal("announced", string(w.announced()[0].Job.Progress), `100`)
	w.equal("progress", string(w.read(j.ID).Progress), `100`)
}

func earlyCallbacksAreDueInOrder(w *world) {
	j, accepted := w.acceptEarly()
	running := w.startEarly(j)
	progress := w.progress(j, `1`)
	w.equal("standing", w.standing(accepted, running, progress), []string{"pending", "pending order", "pending order"})
	due, err := w.DueCallbacks(w.ctx, job.Due{}, 100)
	w.no(err)
	w.equal("due", due, []job.Due{{App: "shop", Name: laneName, At: w.now()}})

	claimed, next, err := w.ClaimCallbacks(w.ctx, lane, w.now(), 10)
	w.no(err)
	w.equal("claimed", callbackIDs(claimed), []job.ID{accepted.ID})
	w.equal("next", next, time.Time{})
	// A retry holds the next one up, the end of it releases that.
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed[0].Callback, 1, 500, job.Pending, time.Minute)))
	w.equal("claimed", len(w.claimCallbacks(lane)), 0)
	now := w.pass(time.Minute)
	again := w.only(accepted)
	w.announced()
	w.no(w.SettleAttempt(w.ctx, w.attempt(again, 2, 410, job.Dead, 0)))
	changes := w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.CallbackSettled, job.CallbackOwed})
	c := changes[1]
	w.equal("announced", []any{c.Callback.ID, c.Callback.DueAt, c.Callback.Waiting, c.Claimed}, []any{running.ID, now, "", false})
	w.equal("standing", w.standing(accepted, running, progress), []string{"dead", "pending", "pending order"})
	w.deliver(w.only(running))
	w.deliver(w.only(progress))
	last := w.end(j)
	w.equal("standing", w.standing(last), []string{"pending"})
	w.deliver(w.only(last))
	w.equal("standing", w.standing(accepted, running, progress, last), []string{"dead", "delivered", "delivered", "delivered"})
}

func destinationsDoNotWait(w *world) {
	j := w.newJob("shop", "scan")
	j.Early = true
	var owed []job.OwedCallback
	for _, url := range []string{"https://my.server/a", "https://my.server/b", ""} {
		o := w.early(j, job.EventAccepted, url)
		if url == "" {
			o.Callback.Endpoint = "main"
		}
		owed = append(owed, o)
	}
	_, err := w.Accept(w.ctx, job.Acceptance{Job: j, Claimed: true, Callbacks: owed})
	w.no(err)
	w.equal("standing", w.standing(owed[0].Callback, owed[1].Callback, owed[2].Callback), []string{"pending", "pending", "pending"})
	w.deliver(w.claimCallbacks(lane)[0].Callback) // that of /a, whose lane is /b's, too
	b := w.owe(j, "https://my.server/b")
	a := w.owe(j, "https://my.server/a")
	w.no(w.FinishRun(w.ctx, w.success(j, 1, a, b)))
	w.equal("standing", w.standing(a, b), []string{"pending", "pending order"})
	other, strangers := w.acceptEarly()
	w.equal("another job's", w.standing(strangers), []string{"pending"})
	w.no(w.FinishRun(w.ctx, w.success(other, 1)))
}

func newerProgressTakesThePlace(w *world) {
	j, accepted := w.acceptEarly()
	w.startEarly(j)
	first := w.progress(j, `1`)
	w.announced()
	second := w.progress(j, `2`)
	changes := w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.JobProgressed, job.CallbackSettled, job.CallbackOwed})
	w.equal("announced", changes[1].Callback, w.readCallback(first))
	w.equal("standing", w.standing(first, second), []string{"discarded", "pending order"})
	w.equal("discarded", []any{w.readCallback(first).SettledAt, w.readCallback(first).Attempts}, []any{w.now(), 0})
	w.deliver(w.only(accepted))
	w.deliver(w.claimCallbacks(lane)[0].Callback)
	w.equal("standing", w.standing(second), []string{"pending"})
	// Due and not claimed, it gives its place up as well; claimed, it does not.
	third := w.progress(j, `3`)
	w.equal("standing", w.standing(second, third), []string{"discarded", "pending"})
	claimed := w.only(third)
	fourth := w.progress(j, `4`)
	w.equal("standing", w.standing(third, fourth), []string{"pending", "pending order"})
	w.deliver(claimed)
	w.deliver(w.only(fourth))
}

func progressThatWasTriedStays(w *world) {
	j, accepted := w.acceptEarly()
	w.deliver(w.only(accepted))
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Await: true}))
	first := w.progress(j, `1`)
	w.no(w.SettleAttempt(w.ctx, w.attempt(w.only(first), 1, 500, job.Pending, time.Minute)))
	second := w.progress(j, `2`)
	third := w.progress(j, `3`)
	// A receiver that fails is not tried sooner for there being news.
	w.equal("standing", w.standing(first, second, third), []string{"pending backoff", "discarded", "pending order"})
	w.equal("claimed", len(w.claimCallbacks(lane)), 0)
}

func endDiscardsWhatIsPending(w *world) {
	j, accepted := w.acceptEarly()
	running := w.startEarly(j)
	w.no(w.SettleAttempt(w.ctx, w.attempt(w.only(accepted), 1, 500, job.Pending, time.Minute)))
	w.pass(time.Second)
	w.announced()
	last := w.end(j)
	changes := w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.JobFinished, job.CallbackSettled, job.CallbackSettled, job.CallbackOwed})
	w.equal("announced", changes[1].Callback, w.readCallback(accepted))
	w.equal("standing", w.standing(accepted, running, last), []string{"discarded", "discarded", "pending"})
	got := w.readCallback(accepted)
	w.equal("discarded", []any{got.SettledAt, got.DueAt, got.Attempts}, []any{w.now(), time.Time{}, 1})
	w.deliver(w.only(last))
	n, _ := w.purge(w.pass(time.Hour), w.now())
	w.equal("purged", n, 1)
}

func endWaitsForWhatIsClaimed(w *world) {
	j, accepted := w.acceptEarly()
	running := w.startEarly(j)
	claimed := w.only(accepted)
	w.announced()
	last := w.end(j)
	changes := w.announced()
	owed := changes[len(changes)-1]
	w.equal("announced", []any{owed.Callback.ID, owed.Callback.Waiting, owed.Callback.DueAt, owed.Claimed}, []any{last.ID, job.WaitingOrder, time.Time{}, false})
	w.equal("standing", w.standing(accepted, running, last), []string{"pending", "discarded", "pending order"})
	w.equal("claimed", len(w.claimCallbacks(lane)), 0)
	w.deliver(claimed)
	w.equal("standing", w.standing(accepted, last), []string{"delivered", "pending"})
	w.deliver(w.only(last))
}

func failedAttemptAfterTheEnd(w *world) {
	for _, settle := range []func(cb *job.Callback) job.Settlement{
		func(cb *job.Callback) job.Settlement { return w.attempt(cb, 1, 500, job.Pending, time.Hour) },
		func(cb *job.Callback) job.Settlement { // put back without an attempt
			return job.Settlement{Callback: cb, State: job.Pending, DueAt: w.now().Add(time.Hour), Waiting: "paused", At: w.now()}
		},
	} {
		j, accepted := w.acceptEarly()
		claimed := w.only(accepted)
		last := w.end(j)
		w.announced()
		s := settle(claimed)
		w.no(w.SettleAttempt(w.ctx, s))
		changes := w.announced()
		w.equal("changes", kinds(changes), []job.ChangeKind{job.CallbackSettled, job.CallbackOwed})
		w.equal("announced", changes[0].Callback, w.readCallback(accepted))
		w.equal("standing", w.standing(accepted, last), []string{"discarded", "pending"})
		attempts, err := w.Attempts(w.ctx, accepted.ID)
		w.no(err)
		w.equal("attempts", len(attempts) == 1, s.Attempt != nil)
		w.deliver(w.only(last))
	}
}

func startOfAnAttemptAfterTheEnd(w *world) {
	j, accepted := w.acceptEarly()
	claimed := w.only(accepted)
	w.no(w.StartAttempt(w.ctx, claimed.ID, 1, w.now(), true))
	last := w.end(j)
	w.is(w.StartAttempt(w.ctx, claimed.ID, 2, w.now(), true), job.ErrTerminal)
	w.no(w.SettleAttempt(w.ctx, job.Settlement{Callback: claimed, State: job.Discarded, At: w.now()}))
	w.equal("standing", w.standing(accepted, last), []string{"discarded", "pending"})
	w.no(w.StartAttempt(w.ctx, w.only(last).ID, 1, w.now(), true))
}

func cancelerNeedNotKnow(w *world) {
	j, accepted := w.acceptEarly()
	claimed := w.only(accepted)
	running := w.startEarly(j)
	cb := w.owe(j, myServer)
	cb.Event = job.EventCanceled
	w.no(w.FinishRun(w.ctx, job.Finish{Job: &job.Job{ID: j.ID, App: j.App, Operation: j.Operation}, State: job.Canceled, At: w.now(),
		Callbacks: []job.OwedCallback{{Callback: cb}}}))
	w.equal("standing", w.standing(accepted, running, cb), []string{"pending", "discarded", "pending order"})
	w.deliver(claimed)
	w.equal("standing", w.standing(cb), []string{"pending"})
}

func resentEarlyCallback(w *world) {
	j, accepted := w.acceptEarly()
	last := w.end(j)
	w.equal("standing", w.standing(accepted, last), []string{"discarded", "pending"})
	got, err := w.Resend(w.ctx, "shop", accepted.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	w.equal("resent", []any{got.State, got.Resent}, []any{job.Pending, true})
	w.deliver(w.claimCallbacks(lane)[1].Callback) // the end waits for no resend
	w.no(w.StartAttempt(w.ctx, got.ID, 1, w.now(), true))
	w.no(w.SettleAttempt(w.ctx, w.attempt(got, 1, 500, job.Pending, 0)))
	w.equal("standing", w.standing(accepted), []string{"pending backoff"})
	w.crash()
	w.deliver(w.only(accepted))

	// Nor does an end that waits for what is in flight.
	j, accepted = w.acceptEarly()
	running := w.startEarly(j)
	claimed := w.only(accepted)
	last = w.end(j)
	_, err = w.Resend(w.ctx, "shop", running.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	w.equal("standing", w.standing(running, last), []string{"pending", "pending order"})
	w.deliver(claimed)
	w.equal("standing", w.standing(running, last), []string{"pending", "pending"})
	for _, d := range w.claimCallbacks(lane) {
		w.deliver(d.Callback)
	}

	// Before the end it is as any other.
	j, accepted = w.acceptEarly()
	w.deliver(w.only(accepted))
	got, err = w.Resend(w.ctx, "shop", accepted.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	w.equal("resent", got.Resent, false)
	w.end(j)
	w.equal("standing", w.standing(accepted), []string{"discarded"})
}

func resendDoesNotJumpTheQueue(w *world) {
	j, accepted := w.acceptEarly()
	running := w.startEarly(j)
	w.announced()
	got, err := w.Resend(w.ctx, "shop", running.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	w.equal("answer", got, w.readCallback(running))
	w.equal("standing", w.standing(running), []string{"pending order"})
	w.equal("announced", w.announced()[0].Callback.Waiting, job.WaitingOrder)
	w.deliver(w.only(accepted))
	w.equal("standing", w.standing(running), []string{"pending"})
	// What waits behind two waits for both.
	progress := w.progress(j, `1`)
	_, err = w.Resend(w.ctx, "shop", accepted.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	due := w.claimCallbacks(lane)
	w.equal("claimed", callbackIDs(due), []job.ID{accepted.ID, running.ID})
	w.deliver(due[1].Callback)
	w.equal("standing", w.standing(progress), []string{"pending order"})
	w.deliver(due[0].Callback)
	w.equal("standing", w.standing(progress), []string{"pending"})
}

func waitingCallbackKeepsItsJob(w *world) {
	j, accepted := w.acceptEarly()
	claimed := w.only(accepted)
	w.end(j)
	n, _ := w.purge(w.pass(1000*time.Hour), w.now())
	w.equal("purged", n, 0)
	b, err := w.Backlog(w.ctx)
	w.no(err)
	w.equal("backlog", b.Callbacks, int64(2))
	w.deliver(claimed)
	w.deliver(w.claimCallbacks(lane)[0].Callback)
	n, _ = w.purge(w.pass(1000*time.Hour), w.now())
	w.equal("purged", n, 1)
}

func crashReleasesWhatWaited(w *world) {
	j, accepted := w.acceptEarly()
	running := w.startEarly(j)
	w.no(w.StartAttempt(w.ctx, w.only(accepted).ID, 1, w.now(), true))
	w.crash()
	// The job goes on: so does what tells of it.
	w.equal("standing", w.standing(accepted, running), []string{"pending", "pending order"})
	got := w.only(accepted)
	w.equal("rescued", []any{got.Rescued, got.Attempts, got.Interrupted}, []any{true, 1, 1})
	w.deliver(got)
	w.deliver(w.only(running))
}

func crashAfterTheEnd(w *world) {
	var all []*job.Callback
	for _, begun := range []bool{false, true} {
		j, accepted := w.acceptEarly()
		claimed := w.only(accepted)
		if begun {
			w.no(w.StartAttempt(w.ctx, claimed.ID, 1, w.now(), true))
		}
		all = append(all, accepted, w.end(j))
	}
	now := w.pass(time.Second)
	w.crash()
	w.equal("standing", w.standing(all...), []string{"discarded", "pending", "discarded", "pending"})
	w.equal("settled", w.readCallback(all[0]).SettledAt, now)
	got := w.readCallback(all[2])
	w.equal("interrupted", []any{got.Attempts, got.Interrupted, got.LastError}, []any{1, 1, job.ClassInterrupted})
	attempts, err := w.Attempts(w.ctx, all[2].ID)
	w.no(err)
	w.equal("attempts", len(attempts), 1)
	due := w.claimCallbacks(lane)
	w.equal("due", callbackIDs(due), []job.ID{all[1].ID, all[3].ID})
	w.equal("due at", w.readCallback(all[1]).Rescued, false)
}

func orderSurvivesACrash(w *world) {
	j, accepted := w.acceptEarly()
	running := w.startEarly(j)
	w.crash()
	w.equal("standing", w.standing(accepted, running), []string{"pending", "pending order"})
	j = w.claim("scan")[0]
	w.equal("job", []any{j.Early, j.Runs, j.Interrupted}, []any{true, 1, 1})
	w.deliver(w.only(accepted))
	w.crash()
	w.equal("standing", w.standing(running), []string{"pending"})
	j = w.claim("scan")[0]
	last := w.end(j)
	w.equal("standing", w.standing(running, last), []string{"discarded", "pending"})
	w.crash()
	w.deliver(w.only(last))
}
