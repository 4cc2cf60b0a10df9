package storetest

import (
	"slices"
	"time"

	"github.com/ringback/ringback/job"
)

var keepTests = []test{
	{"EachOperationHasItsRetention", eachOperationHasItsRetention},
	{"BodiesGoBeforeTheirJob", bodiesGoBeforeTheirJob},
	{"PendingCallbackKeepsBodies", pendingCallbackKeepsBodies},
	{"SweepLooksAtNoMoreThanItMay", sweepIsBounded},
	{"SweepFindsWhatIsToBeRedacted", sweepFindsWhatToRedact},
	{"RedactedBodiesTakeTheirPlace", redactedBodiesTakeTheirPlace},
	{"NothingIsRedactedThatIsNeeded", nothingIsRedactedThatIsNeeded},
	{"WhatIsNotWholeIsNotResent", whatIsNotWholeIsNotResent},
	{"DeletedAppTakesNothing", deletedAppTakesNothing},
	{"DeletedAppIsErased", deletedAppIsErased},
	{"ErasureGoesOnAfterACrash", erasureGoesOn},
	{"UnfinishedJobsOfADeletedAppAreCanceled", unfinishedAreCanceled},
	{"LateResultsOfADeletedAppAreDropped", lateResultsAreDropped},
}

// sweep makes one look at up to 1000 jobs.
func (w *world) sweep(sw job.Sweep) job.Swept {
	w.t.Helper()
	sw.Look = 1000
	swept, err := w.Sweep(w.ctx, sw)
	w.no(err)
	return swept
}

// finishedJob is one of an operation that is over, with a body in a file each way.
func (w *world) finishedJob(operation, in, out string) *job.Job {
	w.t.Helper()
	j := w.newJob("shop", operation)
	j.Request.Body = job.Body{Ref: in, Size: 1}
	w.accept(j, true)
	f := w.success(j, 1)
	f.Result.Body = job.Body{Ref: out, Size: 1}
	w.no(w.FinishRun(w.ctx, f))
	return j
}

func eachOperationHasItsRetention(w *world) {
	long, short := w.finishedJob("scan", "a", "b"), w.finishedJob("notify", "c", "d")
	now := w.pass(2 * time.Hour)
	sw := job.Sweep{Others: job.Cutoff{Jobs: now.Add(-24 * time.Hour)}, Operations: map[string]job.Cutoff{"notify": {Jobs: now.Add(-time.Hour)}}}
	swept := w.sweep(sw)
	slices.Sort(swept.Unused)
	w.equal("swept", []any{swept.Deleted, swept.Bared, swept.Unused, swept.Next}, []any{1, 0, []string{"c", "d"}, uint64(0)})
	_, err := w.Job(w.ctx, "", short.ID)
	w.is(err, job.ErrNotFound)
	w.read(long.ID)
	sw.Others.Jobs = now
	w.equal("later", w.sweep(sw).Deleted, 1)
}

func bodiesGoBeforeTheirJob(w *world) {
	j := w.finishedJob("scan", "in", "out")
	_, told := w.owed("shop", "https://my.server/")
	told.Body = []byte("said")
	claimed := w.claimCallbacks(lane)[0]
	st := w.attempt(claimed.Callback, 1, 200, job.Delivered, 0)
	st.Attempt.Body = []byte("thanks")
	w.no(w.SettleAttempt(w.ctx, st))
	now := w.pass(time.Hour)
	sw := job.Sweep{Others: job.Cutoff{Jobs: now.Add(-24 * time.Hour), Bodies: now.Add(-time.Minute)}}
	swept := w.sweep(sw)
	slices.Sort(swept.Unused)
	w.equal("swept", []any{swept.Deleted, swept.Bared, swept.Unused}, []any{0, 2, []string{"in", "out"}})
	bare := w.read(j.ID)
	w.equal("bodies", []any{bare.Bodies, bare.State, bare.Request.Body, bare.Result.Body}, []any{job.BodiesGone, job.Succeeded, job.Body{}, job.Body{}})
	attempts, err := w.Attempts(w.ctx, told.ID)
	w.no(err)
	w.equal("attempts", []any{len(attempts), attempts[0].Status, len(attempts[0].Body)}, []any{1, 200, 0})
	w.equal("once more", w.sweep(sw), job.Swept{})
	known, err := w.KnownBodies(w.ctx, []string{"in", "out"})
	w.no(err)
	w.equal("known", known, []bool{false, false})
}

func pendingCallbackKeepsBodies(w *world) {
	j, _ := w.owed("shop", "https://my.server/")
	now := w.pass(time.Hour)
	everything := job.Sweep{Others: job.Cutoff{Jobs: now, Bodies: now, Redact: true}}
	w.equal("while pending", w.sweep(everything), job.Swept{})
	claimed := w.claimCallbacks(lane)[0]
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed.Callback, 1, 200, job.Delivered, 0)))
	w.equal("settled just now", w.sweep(everything), job.Swept{Redact: []job.ID{j.ID}})
	w.equal("the result", string(w.read(j.ID).Result.Body.Inline), "clean")
}

func sweepIsBounded(w *world) {
	for range 5 {
		w.finishedJob("scan", "", "")
	}
	open := w.accept(w.newJob("shop", "scan"), false)
	now := w.pass(time.Hour)
	sw := job.Sweep{Look: 2, Others: job.Cutoff{Jobs: now}}
	for _, want := range []int{2, 2, 1} {
		swept, err := w.Sweep(w.ctx, sw)
		w.no(err)
		w.equal("deleted", swept.Deleted, want)
		sw.After = swept.Next
	}
	if sw.After != 0 {
		swept, err := w.Sweep(w.ctx, sw)
		w.no(err)
		w.equal("the end", []any{swept.Deleted, swept.Next}, []any{0, uint64(0)})
	}
	w.read(open.ID)
	young := w.finishedJob("scan", "", "")
	w.pass(time.Hour)
	swept, err := w.Sweep(w.ctx, job.Sweep{Look: 1, After: open.ID.Key(), Others: job.Cutoff{Jobs: now}})
	w.no(err)
	w.equal("younger than all cutoffs", swept, job.Swept{})
	w.read(young.ID)
}

func sweepFindsWhatToRedact(w *world) {
	j := w.finishedJob("pay", "in", "out")
	w.finishedJob("scan", "", "")
	w.accept(w.newJob("shop", "pay"), true)
	sw := job.Sweep{Operations: map[string]job.Cutoff{"pay": {Redact: true}}}
	w.equal("to redact", w.sweep(sw).Redact, []job.ID{j.ID})
	_, err := w.Redact(w.ctx, job.Redacted{ID: j.ID})
	w.no(err)
	w.equal("after it", w.sweep(sw).Redact, []job.ID(nil))
}

func inline(text string) *job.Body { return &job.Body{Inline: []byte(text), Size: int64(len(text))} }

func redactedBodiesTakeTheirPlace(w *world) {
	j := w.finishedJob("pay", "in", "out")
	unused, err := w.Redact(w.ctx, job.Redacted{ID: j.ID, Request: inline("less"), Result: &job.Body{Ref: "less", Size: 7}})
	w.no(err)
	slices.Sort(unused)
	w.equal("unused", unused, []string{"in", "out"})
	got := w.read(j.ID)
	w.equal("job", []any{got.Bodies, got.Request.Body, got.Result.Body, got.Result.ContentType},
		[]any{job.BodiesRedacted, *inline("less"), job.Body{Ref: "less", Size: 7}, "text/plain"})
	_, err = w.Redact(w.ctx, job.Redacted{ID: j.ID, Request: inline("other")})
	w.is(err, job.ErrGone)

	j = w.finishedJob("pay", "in2", "out2")
	unused, err = w.Redact(w.ctx, job.Redacted{ID: j.ID, Result: inline("less")})
	w.no(err)
	w.equal("unused", unused, []string{"out2"})
	w.equal("request", w.read(j.ID).Request.Body, job.Body{Ref: "in2", Size: 1})
}

func nothingIsRedactedThatIsNeeded(w *world) {
	open := w.accept(w.newJob("shop", "pay"), false)
	j, cb := w.owed("shop", "https://my.server/")
	for _, id := range []job.ID{open.ID, j.ID, w.NewID(w.now())} {
		_, err := w.Redact(w.ctx, job.Redacted{ID: id, Request: inline("less")})
		w.is(err, job.ErrGone)
	}
	w.equal("request", string(w.read(j.ID).Request.Body.Inline), "a document")
	claimed := w.claimCallbacks(lane)[0]
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed.Callback, 1, 200, job.Delivered, 0)))
	_, err := w.Resend(w.ctx, "shop", cb.ID, w.now(), w.now())
	w.no(err)
	_, err = w.Redact(w.ctx, job.Redacted{ID: j.ID, Request: inline("less")})
	w.is(err, job.ErrGone)
}

func whatIsNotWholeIsNotResent(w *world) {
	for _, change := range []func(*job.Job) error{
		func(j *job.Job) error {
			_, err := w.Redact(w.ctx, job.Redacted{ID: j.ID})
			return err
		},
		func(*job.Job) error {
			now := w.pass(time.Hour)
			_, err := w.Sweep(w.ctx, job.Sweep{Look: 10, Others: job.Cutoff{Bodies: now}})
			return err
		},
	} {
		j, cb := w.owed("shop", "https://my.server/")
		claimed := w.claimCallbacks(lane)[0]
		w.no(w.SettleAttempt(w.ctx, w.attempt(claimed.Callback, 1, 500, job.Dead, 0)))
		w.no(change(j))
		_, err := w.Resend(w.ctx, "shop", cb.ID, w.now(), w.now())
		w.is(err, job.ErrGone)
		w.equal("state", w.readCallback(cb).State, job.Dead)
	}
}

// newApp makes an app with a key of its name and an endpoint.
func (w *world) newApp(name string) job.Key {
	w.t.Helper()
	k := job.Key{Hash: [32]byte{name[0]}, App: name, Hint: "rb_" + name, CreatedAt: w.now()}
	w.no(w.CreateApp(w.ctx, job.App{Name: name, CreatedAt: w.now(), Secrets: job.Secrets{Current: []byte{1}}}, k))
	w.no(w.CreateEndpoint(w.ctx, job.Endpoint{App: name, Name: "main", URL: "https://my.server/", Secrets: job.Secrets{Current: []byte{1}}}))
	return k
}

// erase erases what is left of an app, and returns the bodies that were unused then.
func (w *world) erase(name string) (unused []string) {
	w.t.Helper()
	for range 100 {
		refs, done, err := w.EraseApp(w.ctx, name, 2)
		w.no(err)
		unused = append(unused, refs...)
		if done {
			return unused
		}
	}
	w.t.Fatalf("the erasure does not end")
	return nil
}

func deletedAppTakesNothing(w *world) {
	k := w.newApp("shop")
	w.is(w.DeleteApp(w.ctx, "other", w.now()), job.ErrNotFound)
	w.announced()
	w.no(w.DeleteApp(w.ctx, "shop", w.now()))
	w.equal("announced", kinds(w.announced()), []job.ChangeKind{job.AppChanged})
	w.no(w.DeleteApp(w.ctx, "shop", w.pass(time.Hour)))
	for range 2 {
		_, _, err := w.AppOfKey(w.ctx, k.Hash)
		w.is(err, job.ErrNotFound)
		_, err = w.App(w.ctx, "shop")
		w.is(err, job.ErrNotFound)
		_, err = w.Endpoint(w.ctx, "shop", "main")
		w.is(err, job.ErrNotFound)
		_, err = w.Accept(w.ctx, job.Acceptance{Job: w.newJob("shop", "scan")})
		w.is(err, job.ErrNotFound)
		w.is(w.CreateEndpoint(w.ctx, job.Endpoint{App: "shop", Name: "new"}), job.ErrNotFound)
		w.is(w.SetAppPolicy(w.ctx, "shop", job.Policy{}), job.ErrNotFound)
		w.is(w.SetAppLimits(w.ctx, "shop", job.Limits{}), job.ErrNotFound)
		w.is(w.SetAppSecrets(w.ctx, "shop", job.Secrets{Current: []byte{2}}), job.ErrNotFound)
		w.is(w.CreateKey(w.ctx, job.Key{App: "shop", ID: w.NewID(w.now()), Hash: [32]byte{7}, Scopes: job.AllScopes}, 10), job.ErrNotFound)
		_, err = w.Pause(w.ctx, job.Pause{App: "shop", Origin: "https://my.server", From: w.now()})
		w.is(err, job.ErrNotFound)
		w.is(w.CreateApp(w.ctx, job.App{Name: "shop", Secrets: job.Secrets{Current: []byte{1}}}, job.Key{App: "shop"}), job.ErrExists)
		apps, err := w.DeletedApps(w.ctx)
		w.no(err)
		w.equal("deleted", []any{len(apps), apps[0].Name, apps[0].DeletedAt}, []any{1, "shop", w.now().Add(-time.Hour).Truncate(time.Millisecond)})
		w.crash()
	}
	w.is(w.ForgetApp(w.ctx, "other"), job.ErrNotFound)
	w.erase("shop")
	w.is(w.CreateApp(w.ctx, job.App{Name: "shop", Secrets: job.Secrets{Current: []byte{1}}}, job.Key{App: "shop"}), job.ErrExists)
	w.no(w.ForgetApp(w.ctx, "shop"))
	w.is(w.ForgetApp(w.ctx, "shop"), job.ErrNotFound)
	_, err := w.Accept(w.ctx, job.Acceptance{Job: w.newJob("shop", "scan")})
	w.is(err, job.ErrNotFound)
	apps, err := w.DeletedApps(w.ctx)
	w.no(err)
	w.equal("deleted", len(apps), 0)
	w.newApp("shop")
	_, err = w.Accept(w.ctx, job.Acceptance{Job: w.newJob("shop", "scan")})
	w.no(err)
}

func deletedAppIsErased(w *world) {
	w.newApp("shop")
	w.newApp("other")
	done := w.finishedJob("scan", "in", "out")
	_, receipt := w.acceptWithKey("k")
	j, cb := w.owed("shop", "https://my.server/")
	_, kept := w.owed("other", "https://my.server/")
	w.no(w.DeleteApp(w.ctx, "shop", w.now()))
	unused := w.erase("shop")
	slices.Sort(unused)
	w.equal("unused", unused, []string{"in", "out"})
	for _, id := range []job.ID{done.ID, receipt.ID, j.ID} {
		_, err := w.WholeJob(w.ctx, "", id)
		w.is(err, job.ErrNotFound)
	}
	_, err := w.Callback(w.ctx, "shop", cb.ID)
	w.is(err, job.ErrNotFound)
	_, err = w.Repeated(w.ctx, "shop", "scan", "k")
	w.is(err, job.ErrNotFound)
	w.equal("the other's", w.readCallback(kept).State, job.Pending)
	_, _, err = w.EraseApp(w.ctx, "other", 10)
	w.is(err, job.ErrNotFound)
	w.is(w.ForgetApp(w.ctx, "other"), job.ErrNotFound)
	_, err = w.Endpoint(w.ctx, "other", "main")
	w.no(err)
	w.no(w.Scrub(w.ctx))
	w.equal("the other's", w.readCallback(kept).State, job.Pending)
}

func erasureGoesOn(w *world) {
	w.newApp("shop")
	for range 5 {
		w.owed("shop", "https://my.server/")
	}
	w.no(w.DeleteApp(w.ctx, "shop", w.now()))
	_, done, err := w.EraseApp(w.ctx, "shop", 2)
	w.no(err)
	w.equal("done", done, false)
	w.crash()
	w.erase("shop")
	jobs, err := w.Jobs(w.ctx, job.JobFilter{})
	w.no(err)
	w.equal("jobs", len(jobs), 0)
}

func unfinishedAreCanceled(w *world) {
	w.newApp("shop")
	j := w.accept(w.newJob("shop", "scan"), true)
	w.finishedJob("scan", "", "")
	w.no(w.DeleteApp(w.ctx, "shop", w.now()))
	w.announced()
	w.erase("shop")
	changes := w.announced()
	w.equal("announced", kinds(changes), []job.ChangeKind{job.JobFinished})
	w.equal("job", []any{changes[0].Job.ID, changes[0].Job.State}, []any{j.ID, job.Canceled})
}

func lateResultsAreDropped(w *world) {
	w.newApp("shop")
	j := w.accept(w.newJob("shop", "scan"), true)
	w.owed("shop", "https://my.server/")
	claimed := w.claimCallbacks(lane)[0]
	w.no(w.DeleteApp(w.ctx, "shop", w.now()))
	w.erase("shop")
	w.is(w.FinishRun(w.ctx, w.success(j, 1, w.owe(j, "https://my.server/"))), job.ErrNotFound)
	w.is(w.SettleAttempt(w.ctx, w.attempt(claimed.Callback, 1, 200, job.Delivered, 0)), job.ErrNotFound)
	_, err := w.Resend(w.ctx, "shop", claimed.Callback.ID, w.now(), w.now())
	w.is(err, job.ErrNotFound)
	callbacks, err := w.Callbacks(w.ctx, job.CallbackFilter{})
	w.no(err)
	w.equal("callbacks", len(callbacks), 0)
}
