package storetest

import (
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

var turnTests = []test{
	{"LineIsDueOneAfterTheOther", lineIsDueInOrder},
	{"LinesDoNotWaitForEachOther", linesDoNotWait},
	{"NumberIsGivenInTheOrderOfCommits", numberInTheOrderOfCommits},
	{"FailedOneKeepsItsTurn", failedOneKeepsItsTurn},
	{"EveryEndLetsTheNextFollow", everyEndLetsTheNextFollow},
	{"DiscardedOneIsSkipped", discardedOneIsSkipped},
	{"DiscardOfAClaimedOneMakesItsAttemptTheLast", discardOfAClaimedOne},
	{"DiscardOfWhatIsSettledOrForeignIsRefused", discardIsRefused},
	{"DiscardClosesTheQuestion", discardClosesTheQuestion},
	{"ResentOneTakesItsOldPlace", resentOneTakesItsOldPlace},
	{"EarlyCallbacksStandInTheLine", earlyCallbacksStandInTheLine},
	{"RelayedCallbackStandsInTheLine", relayedCallbackStandsInTheLine},
	{"LineSurvivesACrash", lineSurvivesACrash},
	{"DiscardOfAClaimedOneSurvivesACrash", discardSurvivesACrash},
	{"TimeInALineDoesNotCount", timeInALineDoesNotCount},
	{"NumbersNeverComeAgain", numbersNeverComeAgain},
	{"ScheduledCallbackHoldsItsPlace", scheduledCallbackHoldsItsPlace},
	{"ExpiredCallbacksAreDiscarded", expiredCallbacksAreDiscarded},
	{"ScheduledJobIsDueThen", scheduledJobIsDueThen},
	{"ExpiredJobIsOverdueUnlessItIsClaimed", expiredJobIsOverdue},
	{"OrderOfAnEndpointIsKept", orderOfAnEndpoint},
}

// inLine is a callback of an ordered endpoint that a job's end owes.
func (w *world) inLine(key string) *job.Callback {
	w.t.Helper()
	j := w.accept(w.newJob("shop", "scan"), true)
	cb := w.owe(j, "")
	cb.Endpoint, cb.Ordered, cb.OrderKey = "main", true, key
	w.no(w.FinishRun(w.ctx, w.success(j, 1, cb)))
	return cb
}

const endpointLane = "shop main"

// turn claims what is due to the endpoint, which must be these.
func (w *world) turn(want ...*job.Callback) (claimed []*job.Callback) {
	w.t.Helper()
	var ids []job.ID
	for _, cb := range want {
		ids = append(ids, cb.ID)
	}
	due := w.claimCallbacks(endpointLane)
	w.equal("claimed", callbackIDs(due), ids)
	for _, d := range due {
		claimed = append(claimed, d.Callback)
	}
	return claimed
}

// waitsFor tells what a callback waits for.
func (w *world) waitsFor(cb *job.Callback) job.ID {
	w.t.Helper()
	before, err := w.WaitsFor(w.ctx, []*job.Callback{w.readCallback(cb)})
	w.no(err)
	return before[0]
}

func (w *world) skip(cb *job.Callback) *job.Callback {
	w.t.Helper()
	got, err := w.DiscardCallback(w.ctx, cb.App, cb.ID, job.ReasonSkipped, w.now())
	w.no(err)
	return got
}

func lineIsDueInOrder(w *world) {
	w.announced()
	first, second, third := w.inLine("7"), w.inLine("7"), w.inLine("7")
	var owed []string
	for _, ch := range w.announced() {
		if ch.Kind == job.CallbackOwed {
			owed = append(owed, fmt.Sprint(ch.Callback.Sequence, ch.Claimed, ch.Callback.Waiting, ch.Callback.DueAt.IsZero()))
		}
	}
	w.equal("announced", owed, []string{"1 falsefalse", "2 falseordertrue", "3 falseordertrue"})
	w.equal("standing", w.standing(first, second, third), []string{"pending", "pending order", "pending order"})
	w.equal("waits for", []job.ID{w.waitsFor(first), w.waitsFor(second), w.waitsFor(third)}, []job.ID{{}, first.ID, first.ID})
	for i, cb := range []*job.Callback{first, second, third} {
		claimed := w.turn(cb)[0]
		w.equal("number", []any{claimed.Ordered, claimed.OrderKey, claimed.Sequence}, []any{true, "7", int64(i + 1)})
		w.turn() // nothing else meanwhile
		w.deliver(claimed)
	}
	w.turn()
}

func linesDoNotWait(w *world) {
	first, second, none := w.inLine("7"), w.inLine("8"), w.inLine("")
	other := w.inLine("7")
	for i, cb := range w.turn(first, second, none) {
		w.equal("number", cb.Sequence, int64(1))
		if i > 0 {
			w.deliver(cb)
		}
	}
	w.equal("standing", w.standing(first, second, none, other), []string{"pending", "delivered", "delivered", "pending order"})

	// Another app's endpoint of the same name has lines of its own.
	j := w.accept(w.newJob("bank", "scan"), true)
	cb := w.owe(j, "")
	cb.Endpoint, cb.Ordered, cb.OrderKey = "main", true, "7"
	w.no(w.FinishRun(w.ctx, w.success(j, 1, cb)))
	w.equal("number", w.readCallback(cb).Sequence, int64(1))
	w.equal("standing", w.standing(cb), []string{"pending"})
}

func numberInTheOrderOfCommits(w *world) {
	// Accepted first, and made first, but committed last.
	j := w.accept(w.newJob("shop", "scan"), true)
	late := w.owe(j, "")
	late.Endpoint, late.Ordered = "main", true
	first := w.inLine("")
	w.no(w.FinishRun(w.ctx, w.success(j, 1, late)))
	w.equal("numbers", []int64{w.readCallback(first).Sequence, w.readCallback(late).Sequence}, []int64{1, 2})
	w.deliver(w.turn(first)[0])
	w.turn(late)

	// What is refused gives no number.
	again := w.owe(j, "")
	again.Endpoint, again.Ordered = "main", true
	w.is(w.FinishRun(w.ctx, w.success(j, 1, again)), job.ErrTerminal)
	w.equal("number", w.readCallback(w.inLine("")).Sequence, int64(3))
}

func failedOneKeepsItsTurn(w *world) {
	first, second := w.inLine("7"), w.inLine("7")
	claimed := w.turn(first)[0]
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 1, 500, job.Pending, time.Minute)))
	w.turn()
	w.equal("standing", w.standing(first, second), []string{"pending backoff", "pending order"})
	w.pass(time.Minute)
	w.deliver(w.turn(first)[0])
	w.turn(second)
}

func everyEndLetsTheNextFollow(w *world) {
	for _, end := range []job.CallbackState{job.Delivered, job.Dead, job.Discarded} {
		first, second := w.inLine("7"), w.inLine("7")
		claimed := w.turn(first)[0]
		w.announced()
		s := w.attempt(claimed, 1, 200, end, 0)
		if end == job.Discarded {
			s.Reason = job.ReasonExpired
		}
		w.no(w.SettleAttempt(w.ctx, s))
		changes := w.announced()
		w.equal("changes", kinds(changes), []job.ChangeKind{job.CallbackSettled, job.CallbackOwed})
		w.equal("owed", []any{changes[1].Callback.ID, changes[1].Callback.Waiting, changes[1].Callback.DueAt}, []any{second.ID, "", w.now()})
		w.equal("reason", w.readCallback(first).Reason, s.Reason)
		w.deliver(w.turn(second)[0])
	}
}

func discardedOneIsSkipped(w *world) {
	first, second, third := w.inLine("7"), w.inLine("7"), w.inLine("7")
	w.no(w.SettleAttempt(w.ctx, w.attempt(w.turn(first)[0], 1, 500, job.Pending, time.Hour)))
	w.skip(second) // it need not be its turn
	w.equal("standing", w.standing(first, second, third), []string{"pending backoff", "discarded", "pending order"})
	w.announced()
	got := w.skip(first)
	w.equal("discarded", []any{got.State, got.Reason, got.SettledAt}, []any{job.Discarded, job.ReasonSkipped, w.now()})
	w.equal("stored", w.readCallback(first), got)
	w.equal("changes", kinds(w.announced()), []job.ChangeKind{job.CallbackSettled, job.CallbackOwed})
	w.turn(third)

	_, plain := w.owed("shop", "https://my.server/")
	w.skip(plain)
	w.equal("standing", w.standing(plain), []string{"discarded"})
}

func discardOfAClaimedOne(w *world) {
	first, second := w.inLine("7"), w.inLine("7")
	claimed := w.turn(first)[0]
	w.equal("state", w.skip(first).State, job.Pending)
	w.turn() // two must not be under way
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 1, 500, job.Pending, time.Hour)))
	got := w.readCallback(first)
	w.equal("settled", []any{got.State, got.Reason, got.LastStatus, got.DueAt}, []any{job.Discarded, job.ReasonSkipped, 500, time.Time{}})

	claimed = w.turn(second)[0]
	w.skip(second)
	w.deliver(claimed) // the receiver has it: that is what counts
	w.equal("standing", w.standing(second), []string{"delivered"})
	_, err := w.Resend(w.ctx, "shop", second.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	w.no(w.SettleAttempt(w.ctx, w.attempt(w.turn(second)[0], 2, 500, job.Pending, 0)))
	w.equal("standing", w.standing(second), []string{"pending backoff"}) // that was for another round
}

func discardIsRefused(w *world) {
	cb := w.inLine("7")
	_, err := w.DiscardCallback(w.ctx, "bank", cb.ID, job.ReasonSkipped, w.now())
	w.is(err, job.ErrNotFound)
	_, err = w.DiscardCallback(w.ctx, "shop", w.NewID(w.now()), job.ReasonSkipped, w.now())
	w.is(err, job.ErrNotFound)
	w.deliver(w.turn(cb)[0])
	_, err = w.DiscardCallback(w.ctx, "shop", cb.ID, job.ReasonSkipped, w.now())
	w.is(err, job.ErrTerminal)
	w.equal("standing", w.standing(cb), []string{"delivered"})
}

func discardClosesTheQuestion(w *world) {
	for _, claimed := range []bool{false, true} {
		j := w.accept(w.newJob("shop", "scan"), true)
		w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Await: true}))
		cb := w.owe(j, "")
		cb.Event, cb.Endpoint, cb.Data = job.EventAsk, "main", []byte(`{"question_key":"k"}`)
		_, err := w.Ask(w.ctx, job.Asking{Job: j, Run: 1, StartedAt: w.now(), Key: "k", Body: []byte(`1`), At: w.now(), Callback: cb})
		w.no(err)
		if claimed {
			under := w.turn(cb)[0]
			w.skip(cb)
			w.no(w.SettleAttempt(w.ctx, w.attempt(under, 1, 500, job.Pending, 0)))
		} else {
			w.skip(cb)
		}
		q, err := w.Question(w.ctx, j.ID, "k")
		w.no(err)
		w.equal("question", []any{q.State, q.Error.Code}, []any{job.Closed, job.CodeUnanswered})
		w.equal("job", w.read(j.ID).State, job.Running)
	}
}

func resentOneTakesItsOldPlace(w *world) {
	first, second, third := w.inLine("7"), w.inLine("7"), w.inLine("7")
	w.no(w.SettleAttempt(w.ctx, w.attempt(w.turn(first)[0], 1, 500, job.Dead, 0)))
	under := w.turn(second)[0]
	got, err := w.Resend(w.ctx, "shop", first.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	w.equal("resent", []any{got.State, got.Waiting, got.DueAt, got.Sequence}, []any{job.Pending, job.WaitingOrder, time.Time{}, int64(1)})
	w.equal("waits for", []job.ID{w.waitsFor(first), w.waitsFor(third)}, []job.ID{second.ID, second.ID})
	w.turn()
	w.deliver(under)
	claimed := w.turn(first)[0] // before the third
	w.equal("waits for", w.waitsFor(third), first.ID)
	w.deliver(claimed)
	w.deliver(w.turn(third)[0])

	// Where nothing is pending it is its turn at once. Who has it keeps it.
	for range 2 {
		_, err = w.Resend(w.ctx, "shop", second.ID, w.now(), w.now().Add(time.Hour))
		w.no(err)
		_, err = w.Resend(w.ctx, "shop", first.ID, w.now(), w.now().Add(time.Hour))
		w.no(err)
	}
	w.equal("standing", w.standing(second, first), []string{"pending", "pending order"})
	w.deliver(w.turn(second)[0])
	w.deliver(w.turn(first)[0])
}

func earlyCallbacksStandInTheLine(w *world) {
	before := w.inLine("")
	j := w.newJob("shop", "scan")
	o := w.early(j, job.EventAccepted, "")
	o.Callback.Endpoint, o.Callback.Ordered, j.Early = "main", true, true
	_, err := w.Accept(w.ctx, job.Acceptance{Job: j, Claimed: true, Callbacks: []job.OwedCallback{o}})
	w.no(err)
	other := w.inLine("")
	w.equal("standing", w.standing(before, o.Callback, other), []string{"pending", "pending order", "pending order"})
	w.deliver(w.turn(before)[0])
	w.equal("standing", w.standing(o.Callback, other), []string{"pending", "pending order"})
	w.announced()

	// The end discards it, and what stood behind it in the line follows, before the end's
	// own callback, which has the last number.
	end := w.owe(j, "")
	end.Endpoint, end.Ordered = "main", true
	w.no(w.FinishRun(w.ctx, w.success(j, 1, end)))
	w.equal("standing", w.standing(o.Callback, other, end), []string{"discarded", "pending", "pending order"})
	w.equal("changes", kinds(w.announced()), []job.ChangeKind{job.JobFinished, job.CallbackSettled, job.CallbackOwed, job.CallbackOwed})
	w.deliver(w.turn(other)[0])
	w.turn(end)
}

func relayedCallbackStandsInTheLine(w *world) {
	before := w.inLine("7")
	j := w.newJob("shop", "scan")
	cb := w.owe(j, "")
	cb.Endpoint, cb.Ordered, cb.OrderKey = "main", true, "7"
	f := w.success(j, 1, cb)
	w.announced()
	_, err := w.Accept(w.ctx, job.Acceptance{Job: j, Claimed: true, Finish: &f})
	w.no(err)
	changes := w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.JobFinished, job.CallbackOwed})
	w.equal("owed", []any{changes[1].Callback.Sequence, changes[1].Callback.Waiting}, []any{int64(2), job.WaitingOrder})
	w.deliver(w.turn(before)[0])
	w.turn(cb)
}

func lineSurvivesACrash(w *world) {
	first, second, third := w.inLine("7"), w.inLine("7"), w.inLine("7")
	w.turn(first)
	w.crash()
	w.equal("standing", w.standing(first, second, third), []string{"pending", "pending order", "pending order"})
	due, err := w.DueCallbacks(w.ctx, job.Due{}, 100)
	w.no(err)
	w.equal("due", len(due), 1)
	w.deliver(w.turn(first)[0])
	w.crash()
	w.deliver(w.turn(second)[0])
	w.equal("number", w.readCallback(w.inLine("7")).Sequence, int64(4))
	w.turn(third)
}

func discardSurvivesACrash(w *world) {
	first, second := w.inLine("7"), w.inLine("7")
	w.turn(first)
	w.no(w.StartAttempt(w.ctx, first.ID, 1, w.now(), true))
	w.skip(first)
	w.crash()
	got := w.readCallback(first)
	w.equal("after the crash", []any{got.State, got.Reason, got.Interrupted, got.LastError}, []any{job.Discarded, job.ReasonSkipped, 1, job.ClassInterrupted})
	w.turn(second)
}

func timeInALineDoesNotCount(w *world) {
	first, second := w.inLine("7"), w.inLine("7")
	w.pass(time.Hour)
	w.deliver(w.turn(first)[0])
	w.equal("gives up", w.readCallback(second).GiveUpAt, second.GiveUpAt.Add(time.Hour))
	w.equal("gives up", w.turn(second)[0].GiveUpAt, second.GiveUpAt.Add(time.Hour))
}

func numbersNeverComeAgain(w *world) {
	for range 3 {
		w.deliver(w.turn(w.inLine("old"))[0])
	}
	w.deliver(w.turn(w.inLine("new"))[0])
	held := w.inLine("held")
	w.pass(time.Hour)
	n, _, err := w.Purge(w.ctx, w.now(), w.now(), forever)
	w.no(err)
	w.equal("purged", n, 4)
	w.equal("numbers", []int64{w.readCallback(w.inLine("old")).Sequence, w.readCallback(w.inLine("other")).Sequence, w.readCallback(w.inLine("held")).Sequence},
		[]int64{4, 4, 2})
	w.equal("still there", w.readCallback(held).Sequence, int64(1))
}

func scheduledCallbackHoldsItsPlace(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	first := w.owe(j, "")
	first.Endpoint, first.Ordered = "main", true
	first.DeliverAt, first.DueAt, first.Waiting = w.now().Add(time.Hour), w.now().Add(time.Hour), job.WaitingScheduled
	w.no(w.FinishRun(w.ctx, w.success(j, 1, first)))
	got := w.readCallback(first)
	w.equal("scheduled", []any{got.DueAt, got.DeliverAt, got.Waiting}, []any{first.DueAt, first.DeliverAt, job.WaitingScheduled})

	// One that is scheduled waits for its turn, and then for its time.
	j = w.accept(w.newJob("shop", "scan"), true)
	second := w.owe(j, "")
	second.Endpoint, second.Ordered = "main", true
	second.DeliverAt, second.DueAt, second.Waiting = w.now().Add(3*time.Hour), w.now().Add(3*time.Hour), job.WaitingScheduled
	w.no(w.FinishRun(w.ctx, w.success(j, 1, second)))
	w.equal("standing", w.standing(first, second), []string{"pending scheduled", "pending order"})
	w.turn()
	_, next, err := w.ClaimCallbacks(w.ctx, endpointLane, w.now(), 10)
	w.no(err)
	w.equal("next", next, first.DueAt)
	w.pass(time.Hour)
	w.deliver(w.turn(first)[0])
	got = w.readCallback(second)
	w.equal("scheduled", []any{got.DueAt, got.Waiting, got.GiveUpAt}, []any{second.DeliverAt, job.WaitingScheduled, second.GiveUpAt})
	w.turn()

	// A resend asks for it now.
	got, err = w.Resend(w.ctx, "shop", second.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	w.equal("resent", []any{got.DueAt, got.Waiting}, []any{w.now(), ""})
	w.turn(second)
}

func expiredCallbacksAreDiscarded(w *world) {
	expiring := func(after time.Duration, ordered bool) *job.Callback {
		j := w.accept(w.newJob("shop", "scan"), true)
		cb := w.owe(j, "")
		cb.Endpoint, cb.Ordered, cb.ExpiresAt = "main", ordered, w.now().Add(after)
		w.no(w.FinishRun(w.ctx, w.success(j, 1, cb)))
		return cb
	}
	claimed := expiring(time.Minute, false)
	w.turn(claimed)
	first, behind, second := expiring(time.Minute, true), expiring(time.Minute, true), w.inLine("")
	later, plain := expiring(time.Hour, false), expiring(time.Minute, false)
	n, err := w.ExpireCallbacks(w.ctx, w.now(), forever)
	w.no(err)
	w.equal("expired too early", n, 0)
	w.pass(time.Minute)
	w.announced()
	n, err = w.ExpireCallbacks(w.ctx, w.now(), 2)
	w.no(err)
	w.equal("expired", n, 2)
	n, err = w.ExpireCallbacks(w.ctx, w.now(), 10)
	w.no(err)
	w.equal("expired", n, 1)
	w.equal("standing", w.standing(first, behind, second, later, plain, claimed),
		[]string{"discarded", "discarded", "pending", "pending", "discarded", "pending"})
	w.equal("expired", []any{w.readCallback(first).Reason, w.readCallback(first).SettledAt}, []any{job.ReasonExpired, w.now()})
	settled := 0
	for _, ch := range w.announced() {
		if ch.Kind == job.CallbackSettled {
			settled++
		}
	}
	w.equal("announced", settled, 3)

	// A resend asks for it all the same.
	got, err := w.Resend(w.ctx, "shop", plain.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	w.equal("resent", []any{got.State, got.Reason, got.ExpiresAt}, []any{job.Pending, "", time.Time{}})
}

func scheduledJobIsDueThen(w *world) {
	j := w.newJob("shop", "scan")
	j.ScheduledAt, j.DueAt, j.ExpiresAt = w.now().Add(time.Hour), w.now().Add(time.Hour), w.now().Add(2*time.Hour)
	w.accept(j, false)
	got := w.read(j.ID)
	w.equal("scheduled", []any{got.State, got.ScheduledAt, got.DueAt, got.ExpiresAt}, []any{job.Accepted, j.ScheduledAt, j.DueAt, j.ExpiresAt})
	w.crash()
	w.equal("claimed too early", len(w.claim("scan")), 0)
	due, err := w.DueRuns(w.ctx, job.Due{}, 100)
	w.no(err)
	w.equal("due", due, []job.Due{{App: "shop", Name: "scan", At: j.DueAt}})
	w.pass(time.Hour)
	w.equal("claimed", jobIDs(w.claim("scan")), []job.ID{j.ID})

	canceled := w.newJob("shop", "scan")
	canceled.ScheduledAt, canceled.DueAt = w.now().Add(time.Hour), w.now().Add(time.Hour)
	w.accept(canceled, false)
	w.no(w.FinishRun(w.ctx, job.Finish{Job: canceled, State: job.Canceled, At: w.now()}))
	w.pass(time.Hour)
	w.equal("claimed", len(w.claim("scan")), 0)
}

func expiredJobIsOverdue(w *world) {
	expiring := func(claimed bool) *job.Job {
		j := w.newJob("shop", "scan")
		j.ExpiresAt = w.now().Add(time.Minute)
		return w.accept(j, claimed)
	}
	expiring(true)
	j := expiring(false)
	w.pass(time.Minute - time.Millisecond)
	overdue, err := w.Overdue(w.ctx, w.now(), 10)
	w.no(err)
	w.equal("overdue too early", len(overdue), 0)
	w.pass(time.Millisecond)
	overdue, err = w.Overdue(w.ctx, w.now(), 10)
	w.no(err)
	w.equal("overdue", jobIDs(overdue), []job.ID{j.ID})
	w.equal("whole", string(overdue[0].Request.Body.Inline), "a document")
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Expired, At: w.now()}))
	overdue, err = w.Overdue(w.ctx, w.now(), 10)
	w.no(err)
	w.equal("overdue", len(overdue), 0)
}

func orderOfAnEndpoint(w *world) {
	w.app("shop")
	e := w.endpoint("shop", "main", true)
	w.equal("ordered", []any{e.Ordered, e.OrderKey}, []any{false, ""})
	e.Ordered, e.OrderKey = true, "$request.body#/order"
	w.no(w.UpdateEndpoint(w.ctx, e))
	w.equal("endpoint", w.readEndpoint("shop", "main"), e)
	e.Name, e.Default = "other", false
	w.no(w.CreateEndpoint(w.ctx, e))
	w.equal("endpoint", w.readEndpoint("shop", "other").OrderKey, e.OrderKey)
}
