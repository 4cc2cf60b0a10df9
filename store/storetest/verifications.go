package storetest

import (
	"time"

	"github.com/ringback/ringback/job"
)

func verificationIsReadBack(w *world) {
	e := w.endpoint("shop", "main", false)
	w.endpoint("bank", "main", false)
	w.announced()
	v := job.Verification{URL: e.URL, State: job.Verified, Method: job.ProofHandshake, CheckedAt: w.now(), ExpiresAt: w.now().Add(time.Hour),
		Error: "no_consent", Tries: 2, Rate: 120, DueAt: w.now().Add(time.Minute)}
	w.no(w.SetVerification(w.ctx, "shop", "main", v, w.now()))
	w.equal("changes", w.announced(), []job.Change{{Kind: job.EndpointChanged, App: "shop", Name: "main"}})
	w.equal("verification", w.readEndpoint("shop", "main").Verification, v)
	w.equal("other app's", w.readEndpoint("bank", "main").Verification, job.Verification{})

	// A change that was prepared before does not undo it.
	e.Method = "PUT"
	w.no(w.UpdateEndpoint(w.ctx, e))
	after := w.readEndpoint("shop", "main")
	w.equal("method", after.Method, "PUT")
	w.equal("verification after an update", after.Verification, v)

	v.DueAt, v.State, v.ExpiresAt = time.Time{}, job.VerificationFailed, time.Time{}
	w.no(w.SetVerification(w.ctx, "shop", "main", v, w.now()))
	w.equal("verification", w.readEndpoint("shop", "main").Verification, v)
}

func verificationOfAnotherURL(w *world) {
	e := w.endpoint("shop", "main", false)
	v := job.Verification{URL: e.URL, State: job.Verified, ExpiresAt: w.now().Add(time.Hour), DueAt: w.now().Add(time.Minute)}
	w.no(w.SetVerification(w.ctx, "shop", "main", v, w.now()))
	e.URL += "/new"
	w.no(w.UpdateEndpoint(w.ctx, e))
	changed := w.readEndpoint("shop", "main")
	w.equal("verified with another URL", changed.Verified(w.now()), false)
	due, _, err := w.DueVerifications(w.ctx, w.now(), 10)
	w.no(err)
	w.equal("due after the change", len(due), 1)
	w.announced()
	w.is(w.SetVerification(w.ctx, "shop", "main", v, w.now()), job.ErrNotFound)
	w.is(w.SetVerification(w.ctx, "shop", "nosuch", v, w.now()), job.ErrNotFound)
	w.equal("changes", len(w.announced()), 0)
}

func verificationsAreDue(w *world) {
	due := func(limit int) (names []string, next time.Time) {
		w.t.Helper()
		found, next, err := w.DueVerifications(w.ctx, w.now(), limit)
		w.no(err)
		for _, e := range found {
			names = append(names, e.App+" "+e.Name)
		}
		return names, next
	}
	at := func(app, name string, at time.Time) {
		w.t.Helper()
		e := w.readEndpoint(app, name)
		w.no(w.SetVerification(w.ctx, app, name, job.Verification{URL: e.URL, State: job.VerificationWaits, DueAt: at}, w.now()))
	}
	none, next := due(10)
	w.equal("due of none", len(none), 0)
	w.equal("next of none", next, time.Time{})
	w.endpoint("shop", "a", false)
	w.endpoint("bank", "b", false)
	w.endpoint("shop", "c", false)
	disabled := w.endpoint("shop", "d", false)
	disabled.Disabled = true
	w.no(w.UpdateEndpoint(w.ctx, disabled))
	w.endpoint("shop", "e", false)
	at("shop", "a", w.now().Add(-time.Second))
	at("bank", "b", w.now().Add(-2*time.Second))
	at("shop", "c", w.now().Add(time.Minute))
	at("shop", "e", time.Time{})
	names, next := due(10)
	w.equal("due", names, []string{"bank b", "shop a"})
	w.equal("next", next, w.now().Add(time.Minute))
	names, _ = due(1)
	w.equal("the first", names, []string{"bank b"})
	w.pass(time.Minute)
	names, next = due(10)
	w.equal("due later", names, []string{"bank b", "shop a", "shop c"})
	w.equal("next later", next, time.Time{})
}

func verifiedCallbacksAreDue(w *world) {
	e := w.endpoint("shop", "main", false)
	v := job.Verification{URL: e.URL, State: job.VerificationWaits}
	for _, waiting := range []string{"unverified", "backoff"} {
		j := w.accept(w.newJob("shop", "scan"), true)
		cb := w.owe(j, "")
		cb.Endpoint = "main"
		finish := w.success(j, 1, cb)
		w.no(w.FinishRun(w.ctx, finish))
		w.no(w.SettleAttempt(w.ctx, job.Settlement{Callback: cb, State: job.Pending, DueAt: w.now().Add(time.Hour), Waiting: waiting, At: w.now()}))
	}
	count := func() int { return len(w.claimCallbacks("shop main")) }
	w.no(w.SetVerification(w.ctx, "shop", "main", v, w.now()))
	w.equal("due before", count(), 0)
	v.State, v.ExpiresAt = job.Verified, w.now().Add(time.Hour)
	w.no(w.SetVerification(w.ctx, "shop", "main", v, w.now()))
	w.equal("due once it is verified", count(), 1)
}
