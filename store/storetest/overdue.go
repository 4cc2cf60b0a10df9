package storetest

import (
	"time"

	"github.com/ringback/ringback/job"
)

var overdueTests = []test{
	{"OverdueCallbacksAreListedPageByPage", overdueCallbacksAreListed},
	{"OverdueCallbackIsClaimedOnce", overdueCallbackIsClaimedOnce},
	{"OverdueCallbackThatWasResentIsLeftAlone", overdueCallbackThatWasResent},
	{"OverdueCallbackEndsWithAReason", overdueCallbackEnds},
	{"OverdueClaimIsUndoneByACrash", overdueClaimIsUndone},
}

// lasting is a callback that is to be given up after a while.
func (w *world) lasting(d time.Duration) *job.Callback {
	w.t.Helper()
	j := w.accept(w.newJob("shop", "scan"), true)
	cb := w.owe(j, "https://my.server/")
	cb.GiveUpAt = w.now().Add(d)
	w.no(w.FinishRun(w.ctx, w.success(j, 1, cb)))
	return cb
}

func (w *world) overdue(after *job.Callback, limit int) (ids []job.ID) {
	w.t.Helper()
	found, err := w.OverdueCallbacks(w.ctx, w.now(), after, limit)
	w.no(err)
	for _, cb := range found {
		ids = append(ids, cb.ID)
	}
	return ids
}

func overdueCallbacksAreListed(w *world) {
	late, first, second := w.lasting(3*time.Minute), w.lasting(time.Minute), w.lasting(time.Minute)
	w.equal("too early", len(w.overdue(nil, 10)), 0)
	w.pass(time.Minute)
	w.equal("listed", w.overdue(nil, 10), []job.ID{first.ID, second.ID})
	w.equal("a page", w.overdue(nil, 1), []job.ID{first.ID})
	w.equal("the next one", w.overdue(first, 1), []job.ID{second.ID})
	w.equal("the last one", len(w.overdue(second, 1)), 0)
	w.pass(2 * time.Minute)
	w.claimCallbacks(lane)
	w.equal("claimed ones", len(w.overdue(nil, 10)), 0)
	w.crash()
	w.equal("after a crash", w.overdue(second, 10), []job.ID{late.ID})
}

func overdueCallbackIsClaimedOnce(w *world) {
	cb := w.lasting(time.Minute)
	w.pass(time.Minute)
	listed, err := w.OverdueCallbacks(w.ctx, w.now(), nil, 10)
	w.no(err)
	claimed, err := w.ClaimOverdue(w.ctx, listed)
	w.no(err)
	w.equal("claimed", len(claimed), 1)
	w.equal("claimed", claimed[0].ID, cb.ID)
	again, err := w.ClaimOverdue(w.ctx, listed)
	w.no(err)
	w.equal("claimed again", len(again), 0)
	w.equal("claimed by its lane", len(w.claimCallbacks(lane)), 0)
}

func overdueCallbackThatWasResent(w *world) {
	cb := w.lasting(time.Minute)
	w.pass(time.Minute)
	listed, err := w.OverdueCallbacks(w.ctx, w.now(), nil, 10)
	w.no(err)
	due := w.claimCallbacks(lane)
	w.no(w.SettleAttempt(w.ctx, job.Settlement{Callback: due[0].Callback, State: job.Dead, At: w.now()}))
	_, err = w.Resend(w.ctx, "shop", cb.ID, w.now(), w.now().Add(time.Hour))
	w.no(err)
	claimed, err := w.ClaimOverdue(w.ctx, listed)
	w.no(err)
	w.equal("claimed", len(claimed), 0)
	w.equal("due to its lane", len(w.claimCallbacks(lane)), 1)
}

func overdueCallbackEnds(w *world) {
	cb := w.lasting(time.Minute)
	w.pass(time.Minute)
	listed, err := w.OverdueCallbacks(w.ctx, w.now(), nil, 10)
	w.no(err)
	claimed, err := w.ClaimOverdue(w.ctx, listed)
	w.no(err)
	w.no(w.SettleAttempt(w.ctx, job.Settlement{Callback: claimed[0], State: job.Dead, Error: job.ClassGaveUp, At: w.now()}))
	got := w.readCallback(cb)
	w.equal("callback", []any{got.State, got.LastError, got.Attempts, got.SettledAt}, []any{job.Dead, job.ClassGaveUp, 0, w.now()})
	w.equal("listed", len(w.overdue(nil, 10)), 0)
}

func overdueClaimIsUndone(w *world) {
	cb := w.lasting(time.Minute)
	w.pass(time.Minute)
	listed, err := w.OverdueCallbacks(w.ctx, w.now(), nil, 10)
	w.no(err)
	_, err = w.ClaimOverdue(w.ctx, listed)
	w.no(err)
	w.crash()
	w.equal("listed again", w.overdue(nil, 10), []job.ID{cb.ID})
}
