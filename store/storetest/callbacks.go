package storetest

import (
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

var callbackTests = []test{
	{"OwedCallbackIsReadBackWhole", owedCallbackIsReadBackWhole},
	{"WhatACallbackSaysOfItsOwnIsKept", whatACallbackSaysIsKept},
	{"OwedCallbackWithoutATimeIsDueAtOnce", owedCallbackWithoutATime},
	{"ClaimBringsTheWholeJob", claimBringsTheWholeJob},
	{"EarliestDueCallbackIsClaimedFirst", earliestDueCallbackIsClaimedFirst},
	{"ClaimedCallbackIsNotClaimedAgain", claimedCallbackIsNotClaimedAgain},
	{"LanesAreClaimedApart", lanesAreClaimedApart},
	{"AttemptStartIsCounted", attemptStartIsCounted},
	{"LateAttemptStartChangesNothing", lateAttemptStart},
	{"AttemptIsReadBackWhole", attemptIsReadBackWhole},
	{"FailedAttemptIsDueAgainAtItsTime", failedAttemptIsDueAgain},
	{"SettledCallbackIsSettledOnce", settledCallbackIsSettledOnce},
	{"CallbackPutBackIsAsItWas", callbackPutBackIsAsItWas},
	{"CallbackIsGivenUpWithoutAnAttempt", givenUpWithoutAnAttempt},
	{"ResendBeginsAnotherRound", resendBeginsAnotherRound},
	{"ResendOfAPendingOneMakesItDue", resendOfAPendingOne},
	{"ResendLeavesOneInFlightAlone", resendInFlight},
	{"ResendOfAStrangersCallbackIsNotFound", resendOfAStrangers},
}

const (
	lane     = "shop " + laneName
	laneName = "https://my.server"
)

func owedCallbackIsReadBackWhole(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	byURL, byName := w.owe(j, "https://user@my.server:8443/a?b=c"), w.owe(j, "")
	byName.Endpoint, byName.Method, byName.Format, byName.Event, byName.DueAt = "main", "PUT", "thin", job.EventFailed, w.now().Add(time.Hour)
	w.no(w.FinishRun(w.ctx, w.success(j, 1, byURL, byName)))
	w.equal("by URL", w.readCallback(byURL), byURL)
	w.equal("by name", w.readCallback(byName), byName)
}

func whatACallbackSaysIsKept(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	var owed []*job.Callback
	for _, own := range []job.Callback{
		{},
		{Link: "https://api.example.com/v1/jobs/j/result?token=t"},
		{ContentType: "application/xml", Body: []byte("<a>\x00\xff</a>")},
		{Data: []byte(`{"done":7}`)},
		{Link: "l", ContentType: "c", Body: []byte("b"), Data: []byte("d")},
	} {
		cb := w.owe(j, "https://my.server/")
		cb.Link, cb.ContentType, cb.Body, cb.Data = own.Link, own.ContentType, own.Body, own.Data
		owed = append(owed, cb)
	}
	w.no(w.FinishRun(w.ctx, w.success(j, 1, owed...)))
	said := func(due []job.Delivery) (all []string) {
		for _, d := range due {
			all = append(all, fmt.Sprintf("%q %q %q %q", d.Callback.Link, d.Callback.ContentType, d.Callback.Body, d.Callback.Data))
		}
		return all
	}
	var want []job.Delivery
	for _, cb := range owed {
		want = append(want, job.Delivery{Callback: cb})
	}
	claimed := w.claimCallbacks(lane)
	w.equal("claimed", said(claimed), said(want))
	listed := *owed[4]
	listed.Link, listed.ContentType, listed.Body, listed.Data, listed.DueAt = "", "", nil, nil, time.Time{}
	w.equal("read", w.readCallback(owed[4]), &listed)
	for _, d := range claimed {
		w.no(w.SettleAttempt(w.ctx, w.attempt(d.Callback, 1, 500, job.Pending, 0)))
	}
	w.crash()
	w.equal("claimed after a crash", said(w.claimCallbacks(lane)), said(want))
}

func owedCallbackWithoutATime(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	cb := w.owe(j, "https://my.server/")
	cb.DueAt = time.Time{}
	w.no(w.FinishRun(w.ctx, w.success(j, 1, cb)))
	w.equal("claimed", callbackIDs(w.claimCallbacks(lane)), []job.ID{cb.ID})
}

func claimBringsTheWholeJob(w *world) {
	j, cb := w.owed("shop", "https://my.server/bar")
	due := w.claimCallbacks(lane)
	w.equal("claimed", callbackIDs(due), []job.ID{cb.ID})
	w.equal("job", due[0].Job, w.read(j.ID))
	w.equal("result", string(due[0].Job.ResultBody().Inline), "clean")
}

func earliestDueCallbackIsClaimedFirst(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	now := w.now()
	var owed []*job.Callback
	for _, s := range []time.Duration{3, 1, 2} {
		cb := w.owe(j, "https://my.server/")
		cb.DueAt = now.Add(s * time.Second)
		owed = append(owed, cb)
	}
	w.no(w.FinishRun(w.ctx, w.success(j, 1, owed...)))
	due, next, err := w.ClaimCallbacks(w.ctx, lane, now, 10)
	w.no(err)
	w.equal("too early", len(due), 0)
	w.equal("next", next, now.Add(time.Second))
	due, next, err = w.ClaimCallbacks(w.ctx, lane, now.Add(time.Minute), 2)
	w.no(err)
	w.equal("claimed", callbackIDs(due), []job.ID{owed[1].ID, owed[2].ID})
	w.equal("next", next, now.Add(3*time.Second))
	due, next, err = w.ClaimCallbacks(w.ctx, lane, now.Add(time.Minute), 2)
	w.no(err)
	w.equal("claimed", callbackIDs(due), []job.ID{owed[0].ID})
	w.equal("next", next, time.Time{})
}

func claimedCallbackIsNotClaimedAgain(w *world) {
	w.owed("shop", "https://my.server/")
	j := w.accept(w.newJob("shop", "scan"), true)
	f := w.success(j, 1, w.owe(j, "https://my.server/"))
	f.Callbacks[0].Claimed = true
	w.no(w.FinishRun(w.ctx, f))
	w.equal("claimed", len(w.claimCallbacks(lane)), 1)
	w.pass(24 * time.Hour)
	w.equal("claimed again", len(w.claimCallbacks(lane)), 0)
	due, err := w.DueCallbacks(w.ctx, job.Due{}, 100)
	w.no(err)
	w.equal("due", len(due), 0)
}

func lanesAreClaimedApart(w *world) {
	for range 50 {
		w.owed("shop", "https://slow.server/x")
	}
	_, fast := w.owed("shop", "https://fast.server/y")
	_, other := w.owed("bank", "https://slow.server/z")
	w.equal("fast", callbackIDs(w.claimCallbacks(fast.Lane())), []job.ID{fast.ID})
	due, err := w.DueCallbacks(w.ctx, job.Due{}, 100)
	w.no(err)
	want := []job.Due{{App: "bank", Name: "https://slow.server", At: w.now()}, {App: "shop", Name: "https://slow.server", At: w.now()}}
	w.equal("due", due, want)
	w.pages("due", want, w.DueCallbacks)
	w.equal("other app", callbackIDs(w.claimCallbacks(other.Lane())), []job.ID{other.ID})
}

func attemptStartIsCounted(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	_, lazy := w.owed("shop", "https://my.server/")
	w.equal("claimed", len(w.claimCallbacks(lane)), 2)
	w.no(w.StartAttempt(w.ctx, cb.ID, 1, w.now(), true))
	w.equal("attempts", w.readCallback(cb).Attempts, 1)
	w.no(w.StartAttempt(w.ctx, lazy.ID, 1, w.now(), false))
	w.until("the start is written", func() bool { return w.readCallback(lazy).Attempts == 1 })
}

func lateAttemptStart(w *world) {
	var owed []*job.Callback
	for range 10 {
		_, cb := w.owed("shop", "https://my.server/")
		owed = append(owed, cb)
	}
	for _, d := range w.claimCallbacks(lane) {
		w.no(w.StartAttempt(w.ctx, d.Callback.ID, 1, w.now(), false))
		w.no(w.SettleAttempt(w.ctx, job.Settlement{Callback: d.Callback, State: job.Pending, DueAt: w.now().Add(time.Hour), At: w.now()}))
	}
	_, last := w.owed("shop", "https://other.server/")
	w.no(w.StartAttempt(w.ctx, last.ID, 1, w.now(), false))
	w.until("the last start is written", func() bool { return w.readCallback(last).Attempts == 1 })
	for _, cb := range owed {
		w.equal("attempts", w.readCallback(cb).Attempts, 0)
	}
}

func attemptIsReadBackWhole(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	claimed := w.claimCallbacks(lane)[0].Callback
	s := w.attempt(claimed, 1, 503, job.Dead, 0)
	*s.Attempt = job.Attempt{N: 1, StartedAt: w.now(), DNS: 1 * time.Microsecond, Connect: 2 * time.Microsecond, TLS: 3 * time.Microsecond,
		FirstByte: 4 * time.Microsecond, Total: time.Hour, Address: "192.0.2.1:443", Status: 503, ContentType: "text/html",
		Header: map[string][]string{"Server": {"x"}, "X-Odd": {"a: b", "\xff"}}, Body: []byte("no\x00\xff"), Truncated: true, Error: job.ClassStatus5xx}
	w.no(w.SettleAttempt(w.ctx, s))
	attempts, err := w.Attempts(w.ctx, cb.ID)
	w.no(err)
	w.equal("attempts", attempts, []job.Attempt{*s.Attempt})
	got := w.readCallback(cb)
	w.equal("callback", []any{got.State, got.Attempts, got.LastStatus, got.LastError, got.SettledAt, got.DueAt},
		[]any{job.Dead, 1, 503, job.ClassStatus5xx, w.now(), time.Time{}})
}

func failedAttemptIsDueAgain(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	claimed := w.claimCallbacks(lane)[0].Callback
	w.announced()
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 1, 500, job.Pending, time.Minute)))
	changes := w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.CallbackTried})
	w.equal("announced", []any{changes[0].Callback.ID, changes[0].Callback.DueAt}, []any{cb.ID, w.now().Add(time.Minute)})
	got := w.readCallback(cb)
	w.equal("callback", []any{got.State, got.Attempts, got.DueAt, got.Waiting}, []any{job.Pending, 1, w.now().Add(time.Minute), "backoff"})
	w.equal("too early", len(w.claimCallbacks(lane)), 0)
	w.pass(time.Minute)
	again := w.claimCallbacks(lane)
	w.equal("claimed", callbackIDs(again), []job.ID{cb.ID})
	w.equal("attempts", again[0].Callback.Attempts, 1)
	w.no(w.SettleAttempt(w.ctx, w.attempt(again[0].Callback, 2, 200, job.Delivered, 0)))
	changes = w.announced()
	w.equal("changes", kinds(changes), []job.ChangeKind{job.CallbackSettled})
	w.equal("announced", changes[0].Callback, w.readCallback(cb))
	attempts, err := w.Attempts(w.ctx, cb.ID)
	w.no(err)
	w.equal("attempts", []int{len(attempts), attempts[0].Status, attempts[1].Status}, []int{2, 500, 200})
}

func settledCallbackIsSettledOnce(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	claimed := w.claimCallbacks(lane)[0].Callback
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 1, 200, job.Delivered, 0)))
	want := w.readCallback(cb)
	w.announced()
	w.is(w.SettleAttempt(w.ctx, w.attempt(claimed, 2, 500, job.Pending, 0)), job.ErrTerminal)
	w.is(w.SettleAttempt(w.ctx, w.attempt(claimed, 2, 500, job.Dead, 0)), job.ErrTerminal)
	w.equal("callback", w.readCallback(cb), want)
	w.equal("changes", len(w.announced()), 0)
	unknown := *claimed
	unknown.ID = w.NewID(w.now())
	w.is(w.SettleAttempt(w.ctx, w.attempt(&unknown, 1, 200, job.Delivered, 0)), job.ErrNotFound)
}

func callbackPutBackIsAsItWas(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	claimed := w.claimCallbacks(lane)[0].Callback
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 1, 500, job.Pending, time.Minute)))
	want := w.readCallback(cb)
	w.pass(time.Minute)
	claimed = w.claimCallbacks(lane)[0].Callback
	w.no(w.StartAttempt(w.ctx, cb.ID, 2, w.now(), true))
	w.no(w.SettleAttempt(w.ctx, job.Settlement{Callback: claimed, State: job.Pending, DueAt: want.DueAt, Waiting: want.Waiting, At: w.now()}))
	w.equal("callback", w.readCallback(cb), want)
	attempts, err := w.Attempts(w.ctx, cb.ID)
	w.no(err)
	w.equal("attempts", len(attempts), 1)
	w.equal("claimed", callbackIDs(w.claimCallbacks(lane)), []job.ID{cb.ID})
}

func givenUpWithoutAnAttempt(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	claimed := w.claimCallbacks(lane)[0].Callback
	w.no(w.SettleAttempt(w.ctx, job.Settlement{Callback: claimed, State: job.Discarded, At: w.now()}))
	got := w.readCallback(cb)
	w.equal("callback", []any{got.State, got.Attempts, got.SettledAt}, []any{job.Discarded, 0, w.now()})
}

func resendBeginsAnotherRound(w *world) {
	for _, state := range []job.CallbackState{job.Delivered, job.Dead, job.Discarded} {
		_, cb := w.owed("shop", "https://my.server/")
		claimed := w.claimCallbacks(lane)[0].Callback
		w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 1, 500, job.Pending, 0)))
		claimed = w.claimCallbacks(lane)[0].Callback
		w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 2, 500, state, 0)))
		now := w.pass(100 * time.Hour)
		w.announced()
		got, err := w.Resend(w.ctx, "shop", cb.ID, now, now.Add(time.Hour))
		w.no(err)
		w.equal("answer", got, w.readCallback(cb))
		w.equal("callback", []any{got.State, got.Round, got.Attempts, got.DueAt, got.GiveUpAt, got.SettledAt},
			[]any{job.Pending, 2, 2, now, now.Add(time.Hour), time.Time{}})
		changes := w.announced()
		w.equal("changes", kinds(changes), []job.ChangeKind{job.CallbackOwed})
		w.equal("announced", []any{changes[0].Callback, changes[0].Claimed}, []any{got, false})
		again := w.claimCallbacks(lane)
		w.equal("claimed", callbackIDs(again), []job.ID{cb.ID})
		w.no(w.SettleAttempt(w.ctx, w.attempt(again[0].Callback, 3, 200, job.Delivered, 0)))
	}
}

func resendOfAPendingOne(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	claimed := w.claimCallbacks(lane)[0].Callback
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 1, 500, job.Pending, time.Hour)))
	now := w.pass(time.Second)
	got, err := w.Resend(w.ctx, "shop", cb.ID, now, now.Add(1000*time.Hour))
	w.no(err)
	w.equal("callback", []any{got.State, got.Round, got.Attempts, got.DueAt, got.GiveUpAt}, []any{job.Pending, 0, 1, now, cb.GiveUpAt})
	w.equal("claimed", callbackIDs(w.claimCallbacks(lane)), []job.ID{cb.ID})
}

func resendInFlight(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	claimed := w.claimCallbacks(lane)[0].Callback
	_, err := w.Resend(w.ctx, "shop", cb.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	w.equal("claimed", len(w.claimCallbacks(lane)), 0)
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 1, 200, job.Delivered, 0)))
	w.equal("state", w.readCallback(cb).State, job.Delivered)
}

func resendOfAStrangers(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	w.announced()
	_, err := w.Resend(w.ctx, "bank", cb.ID, w.now(), w.now())
	w.is(err, job.ErrNotFound)
	_, err = w.Resend(w.ctx, "shop", w.NewID(w.now()), w.now(), w.now())
	w.is(err, job.ErrNotFound)
	w.equal("changes", len(w.announced()), 0)
}
