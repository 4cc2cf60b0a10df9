package storetest

import (
	"slices"
	"time"

	"github.com/ringback/ringback/job"
)

var janitorTests = []test{
	{"OnlyWhatIsLongOverIsPurged", onlyWhatIsLongOver},
	{"PendingCallbackKeepsItsJob", pendingCallbackKeepsItsJob},
	{"PurgedJobIsGoneWithAllItsRows", purgedJobIsGone},
	{"PurgeIsLimited", purgeIsLimited},
	{"KeyOutlivesItsJobUntilItIsOld", keyOutlivesItsJob},
	{"KeyLastsAsLongAsItsJob", keyLastsAsLongAsItsJob},
	{"BodiesAreKnownWhileARowNamesThem", bodiesAreKnown},
}

const forever = 10_000

func (w *world) purge(before, keysBefore time.Time) (int, []string) {
	w.t.Helper()
	n, bodies, err := w.Purge(w.ctx, before, keysBefore, forever)
	w.no(err)
	return n, bodies
}

func onlyWhatIsLongOver(w *world) {
	var jobs []*job.Job
	for _, state := range []job.State{job.Succeeded, job.Failed, job.Canceled, job.Expired} {
		j := w.accept(w.newJob("shop", "scan"), true)
		w.pass(time.Hour)
		w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: state, At: w.now()}))
		jobs = append(jobs, j)
	}
	open := w.accept(w.newJob("shop", "scan"), false)
	running := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.StartRun(w.ctx, job.Start{Job: running, N: 1, At: w.now(), Await: true}))
	n, _ := w.purge(w.now().Add(-3*time.Hour), w.now())
	w.equal("before any was over", n, 0)
	n, _ = w.purge(w.now(), w.now())
	w.equal("at the last one's end", n, 3)
	n, _ = w.purge(w.pass(1000*time.Hour), w.now())
	w.equal("later", n, 1)
	for _, j := range jobs {
		_, err := w.WholeJob(w.ctx, "", j.ID)
		w.is(err, job.ErrNotFound)
	}
	w.equal("open ones", []job.State{w.read(open.ID).State, w.read(running.ID).State}, []job.State{job.Accepted, job.Running})
}

func pendingCallbackKeepsItsJob(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	w.pass(1000 * time.Hour)
	n, _ := w.purge(w.now(), w.now())
	w.equal("while pending", n, 0)
	claimed := w.claimCallbacks(lane)[0]
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed.Callback, 1, 200, job.Delivered, 0)))
	n, _ = w.purge(w.now(), w.now())
	w.equal("just settled", n, 0)
	_, err := w.Resend(w.ctx, "shop", cb.ID, w.now(), w.now())
	w.no(err)
	n, _ = w.purge(w.pass(time.Hour), w.now())
	w.equal("resent", n, 0)
	claimed = w.claimCallbacks(lane)[0]
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed.Callback, 2, 200, job.Delivered, 0)))
	n, _ = w.purge(w.pass(time.Millisecond), w.now())
	w.equal("settled before", n, 1)
}

func purgedJobIsGone(w *world) {
	j := w.newJob("shop", "scan")
	j.Request.Body = job.Body{Ref: "in", Size: 1}
	w.accept(j, true)
	w.no(w.FinishRun(w.ctx, w.retry(j, 1, 0)))
	j = w.claim("scan")[0]
	cb := w.owe(j, "https://my.server/")
	cb.Link, cb.Body, cb.Data = "https://api.example.com/", []byte("body"), []byte("{}")
	f := w.success(j, 2, cb)
	f.Result.Body = job.Body{Ref: "out", Size: 1}
	w.no(w.FinishRun(w.ctx, f))
	claimed := w.claimCallbacks(lane)[0]
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed.Callback, 1, 200, job.Delivered, 0)))
	w.owed("shop", "https://other.server/")

	n, bodies := w.purge(w.pass(time.Hour), w.now())
	slices.Sort(bodies)
	w.equal("purged", []any{n, bodies}, []any{1, []string{"in", "out"}})
	_, err := w.Callback(w.ctx, "shop", cb.ID)
	w.is(err, job.ErrNotFound)
	attempts, err := w.Attempts(w.ctx, cb.ID)
	w.no(err)
	runs, err := w.RunsOf(w.ctx, j.ID)
	w.no(err)
	w.equal("attempts and runs", []int{len(attempts), len(runs)}, []int{0, 0})
	jobs, err := w.Jobs(w.ctx, job.JobFilter{})
	w.no(err)
	w.equal("jobs left", len(jobs), 1)
}

func purgeIsLimited(w *world) {
	for range 5 {
		j := w.accept(w.newJob("shop", "scan"), true)
		w.no(w.FinishRun(w.ctx, w.success(j, 1)))
	}
	w.pass(time.Hour)
	for _, want := range []int{2, 2, 1, 0} {
		n, _, err := w.Purge(w.ctx, w.now(), w.now(), 2)
		w.no(err)
		w.equal("purged", n, want)
	}
}

func (w *world) acceptWithKey(key string) (*job.Job, job.Receipt) {
	w.t.Helper()
	j := w.newJob("shop", "scan")
	receipt, err := w.Accept(w.ctx, job.Acceptance{Job: j, Claimed: true, Key: key})
	w.no(err)
	return j, receipt
}

func keyOutlivesItsJob(w *world) {
	start := w.now()
	j, _ := w.acceptWithKey("k")
	w.no(w.FinishRun(w.ctx, w.success(j, 1)))
	w.pass(time.Hour)
	n, _ := w.purge(w.now(), start)
	w.equal("purged", n, 1)
	_, receipt := w.acceptWithKey("k")
	w.equal("repeated", []any{receipt.Repeated, receipt.ID}, []any{true, j.ID})
	w.purge(w.now(), start.Add(time.Millisecond))
	_, receipt = w.acceptWithKey("k")
	w.equal("repeated", receipt.Repeated, false)
}

func keyLastsAsLongAsItsJob(w *world) {
	j, _ := w.acceptWithKey("k")
	w.pass(1000 * time.Hour)
	w.purge(w.now(), w.now())
	_, receipt := w.acceptWithKey("k")
	w.equal("repeated while it runs", receipt.Repeated, true)
	w.no(w.FinishRun(w.ctx, w.success(j, 1)))
	w.purge(w.now(), w.now())
	_, receipt = w.acceptWithKey("k")
	w.equal("repeated while it is kept", receipt.Repeated, true)
	w.purge(w.pass(time.Millisecond), w.now())
	_, receipt = w.acceptWithKey("k")
	w.equal("repeated when it is gone", receipt.Repeated, false)
}

func bodiesAreKnown(w *world) {
	j := w.newJob("shop", "scan")
	j.Request.Body = job.Body{Ref: "in", Size: 1}
	w.accept(j, true)
	known := func() []bool {
		w.t.Helper()
		k, err := w.KnownBodies(w.ctx, []string{"in", "stray", "out"})
		w.no(err)
		return k
	}
	w.equal("known", known(), []bool{true, false, false})
	f := w.success(j, 1)
	f.Result.Body = job.Body{Ref: "out", Size: 1}
	w.no(w.FinishRun(w.ctx, f))
	w.equal("known", known(), []bool{true, false, true})
	w.purge(w.pass(time.Hour), w.now())
	w.equal("known", known(), []bool{false, false, false})
}
