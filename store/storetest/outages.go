package storetest

import (
	"time"

	"github.com/ringback/ringback/job"
)

var outageTests = []test{
	{"FailingIsReadBack", failingIsReadBack},
	{"FailingIsAboutTheURL", failingIsAboutTheURL},
	{"DisabledEndpointSaysWhy", disabledSaysWhy},
	{"EventIsStoredWithWhatItTellsOf", eventIsStoredWithIt},
	{"SettlementDisablesItsEndpoint", settlementDisables},
	{"SettlementLeavesAnotherURLAlone", settlementOfAnotherURL},
	{"EnabledEndpointStartsAfresh", enabledStartsAfresh},
	{"UpdateDoesNotUndoADisabling", updateDoesNotUndo},
	{"UpdateDisablesAndEnables", updateSwitches},
	{"OneEndpointOfAnAppIsOperational", oneIsOperational},
	{"WhatWaitsIsDiscardedInParts", waitingIsDiscarded},
	{"WhatWaitsForADiscardedOneIsNotForgotten", discardedInOrder},
	{"DiscardedQuestionIsClosed", discardedQuestion},
	{"DisablingSurvivesWhole", disablingSurvives},
}

// disable disables an endpoint as the gateway does.
func (w *world) disable(e job.Endpoint, event *job.Acceptance) {
	w.t.Helper()
	w.no(w.DisableEndpoint(w.ctx, job.Disabling{App: e.App, Name: e.Name, URL: e.URL, Reason: job.DisabledFailing, At: w.now(), Event: event}))
}

// event is an operational event to an endpoint of an app.
func (w *world) event(app, to string) *job.Acceptance {
	now := w.now()
	body := []byte(`{"type":"endpoint.disabled"}`)
	j := &job.Job{ID: w.NewID(now), App: app, Operation: "ringback", State: job.Accepted, CreatedAt: now,
		Request: job.Request{Method: "POST", Path: "/", Header: map[string][]string{}, Body: job.Body{Inline: body, Size: int64(len(body))}},
		Targets: []job.Target{{Endpoint: to, Source: job.SourceEndpoint}}}
	cb := w.owe(j, "")
	cb.Endpoint, cb.Body, cb.ContentType = to, body, "application/json"
	return &job.Acceptance{Job: j, Finish: &job.Finish{Job: j, State: job.Succeeded, At: now, Run: &job.Run{N: 1, StartedAt: now, FinishedAt: now},
		Result: &job.Result{Status: 200, ContentType: "application/json", Echo: true}, Callbacks: []job.OwedCallback{{Callback: cb}}}}
}

// owedTo is a callback that waits for an endpoint on disk.
func (w *world) owedTo(app, endpoint string) *job.Callback {
	w.t.Helper()
	j := w.accept(w.newJob(app, "scan"), true)
	cb := w.owe(j, "")
	cb.Endpoint = endpoint
	w.no(w.FinishRun(w.ctx, w.success(j, 1, cb)))
	return cb
}

func failingIsReadBack(w *world) {
	e := w.endpoint("shop", "main", false)
	w.announced()
	f := job.Failing{Since: w.now(), Last: w.pass(time.Hour), Told: true}
	w.no(w.SetFailing(w.ctx, "shop", "main", e.URL, f, nil))
	w.equal("changes", w.announced(), []job.Change{{Kind: job.EndpointChanged, App: "shop", Name: "main"}})
	w.equal("failing", w.readEndpoint("shop", "main").Failing, f)
	// A change that was prepared before does not undo it.
	e.Method = "PUT"
	w.no(w.UpdateEndpoint(w.ctx, e))
	w.equal("failing after an update", w.readEndpoint("shop", "main").Failing, f)
	w.no(w.SetFailing(w.ctx, "shop", "main", e.URL, job.Failing{}, nil))
	w.equal("recovered", w.readEndpoint("shop", "main").Failing, job.Failing{})
	w.announced()
	w.is(w.SetFailing(w.ctx, "shop", "main", e.URL, job.Failing{}, nil), job.ErrNotFound)
	w.equal("changes of what is so already", len(w.announced()), 0)
}

func failingIsAboutTheURL(w *world) {
	e := w.endpoint("shop", "main", false)
	w.endpoint("shop", "ops", false)
	f := job.Failing{Since: w.now(), Last: w.now()}
	w.no(w.SetFailing(w.ctx, "shop", "main", e.URL, f, nil))
	old := e.URL
	e.URL += "/new"
	w.no(w.UpdateEndpoint(w.ctx, e))
	w.equal("failing of a new URL", w.readEndpoint("shop", "main").Failing, job.Failing{})
	w.announced()
	event := w.event("shop", "ops")
	w.is(w.SetFailing(w.ctx, "shop", "main", old, f, event), job.ErrNotFound)
	w.is(w.SetFailing(w.ctx, "shop", "nosuch", e.URL, f, event), job.ErrNotFound)
	w.is(w.DisableEndpoint(w.ctx, job.Disabling{App: "shop", Name: "main", URL: old, Reason: job.DisabledGone, At: w.now(), Event: event}), job.ErrNotFound)
	w.disable(e, nil)
	w.announced()
	w.is(w.SetFailing(w.ctx, "shop", "main", e.URL, f, event), job.ErrNotFound)
	w.is(w.DisableEndpoint(w.ctx, job.Disabling{App: "shop", Name: "main", URL: e.URL, Reason: job.DisabledGone, At: w.now(), Event: event}), job.ErrNotFound)
	w.equal("changes", len(w.announced()), 0)
	_, err := w.Job(w.ctx, "shop", event.Job.ID)
	w.is(err, job.ErrNotFound)
}

func disabledSaysWhy(w *world) {
	e := w.endpoint("shop", "main", false)
	w.announced()
	w.disable(e, nil)
	got := w.readEndpoint("shop", "main")
	w.equal("disabled", []any{got.Disabled, got.DisabledReason, got.DisabledAt}, []any{true, job.DisabledFailing, w.now()})
	p := job.Pause{ID: w.pauses()[0].ID, App: "shop", Endpoint: "main", Disabled: true, From: w.now(), Who: string(job.ActorGateway)}
	w.equal("pauses", w.pauses(), []job.Pause{p})
	// The lane rests before anybody reads the endpoint anew.
	w.equal("changes", w.announced(), []job.Change{{Kind: job.PauseChanged, App: "shop", Pause: &p},
		{Kind: job.EndpointChanged, App: "shop", Name: "main"}})
	_, err := w.Resume(w.ctx, "", p.ID, w.now())
	w.is(err, job.ErrNotFound)
}

func eventIsStoredWithIt(w *world) {
	e := w.endpoint("shop", "main", false)
	w.endpoint("shop", "ops", false)
	for _, tell := range []func(*job.Acceptance){
		func(a *job.Acceptance) {
			w.no(w.SetFailing(w.ctx, "shop", "main", e.URL, job.Failing{Since: w.now(), Last: w.now(), Told: true}, a))
		},
		func(a *job.Acceptance) { w.disable(e, a) },
	} {
		a := w.event("shop", "ops")
		w.announced()
		tell(a)
		owed := false
		for _, c := range w.announced() {
			owed = owed || c.Kind == job.CallbackOwed && c.Callback.ID == a.Finish.Callbacks[0].Callback.ID && !c.Claimed
		}
		w.equal("announced", owed, true)
		j := w.read(a.Job.ID)
		w.equal("job", []any{j.State, string(j.ResultBody().Inline)}, []any{job.Succeeded, string(a.Job.Request.Body.Inline)})
		due := w.claimCallbacks("shop ops")
		w.equal("due", callbackIDs(due), []job.ID{a.Finish.Callbacks[0].Callback.ID})
		w.equal("body", string(due[0].Callback.Body), string(a.Job.Request.Body.Inline))
	}
}

func settlementDisables(w *world) {
	e := w.endpoint("shop", "main", false)
	w.endpoint("shop", "ops", false)
	w.owedTo("shop", "main")
	w.owedTo("shop", "main")
	event := w.event("shop", "ops")
	d := job.Disabling{App: "shop", Name: "main", URL: e.URL, Reason: job.DisabledGone, At: w.now(), Event: event}
	for i, claimed := range w.claimCallbacks("shop main") {
		st := w.attempt(claimed.Callback, 1, 410, job.Dead, 0)
		st.Disable = &d
		w.announced()
		w.no(w.SettleAttempt(w.ctx, st))
		w.equal("callback", w.readCallback(claimed.Callback).State, job.Dead)
		w.equal("changes", len(w.announced()), []int{5, 1}[i]) // the second finds it disabled
	}
	w.equal("reason", w.readEndpoint("shop", "main").DisabledReason, job.DisabledGone)
	w.equal("event", w.read(event.Job.ID).State, job.Succeeded)
	w.equal("pauses", len(w.pauses()), 1)
}

func settlementOfAnotherURL(w *world) {
	w.endpoint("shop", "main", false)
	cb := w.owedTo("shop", "main")
	w.claimCallbacks("shop main")
	st := w.attempt(cb, 1, 410, job.Dead, 0)
	st.Disable = &job.Disabling{App: "shop", Name: "main", URL: "https://old.server/", Reason: job.DisabledGone, At: w.now()}
	w.no(w.SettleAttempt(w.ctx, st))
	w.equal("callback", w.readCallback(cb).State, job.Dead)
	w.equal("disabled", w.readEndpoint("shop", "main").Disabled, false)
	w.equal("pauses", len(w.pauses()), 0)
}

func enabledStartsAfresh(w *world) {
	e := w.endpoint("shop", "main", false)
	w.no(w.SetFailing(w.ctx, "shop", "main", e.URL, job.Failing{Since: w.now(), Last: w.now(), Told: true}, nil))
	w.no(w.EnableEndpoint(w.ctx, "shop", "main", w.now()))
	w.equal("failing of one that was not disabled", w.readEndpoint("shop", "main").Failing.Told, true)
	w.disable(e, nil)
	w.announced()
	w.no(w.EnableEndpoint(w.ctx, "shop", "main", w.pass(time.Hour)))
	w.equal("endpoint", w.readEndpoint("shop", "main"), e)
	w.equal("end of the pause", w.pauses()[0].To, w.now())
	w.equal("changes", kinds(w.announced()), []job.ChangeKind{job.EndpointChanged, job.PauseChanged})
	w.is(w.EnableEndpoint(w.ctx, "shop", "nosuch", w.now()), job.ErrNotFound)
	w.disable(e, nil)
	w.equal("pauses", len(w.pauses()), 2)
}

func updateDoesNotUndo(w *world) {
	e := w.endpoint("shop", "main", false)
	w.disable(e, nil)
	w.pass(time.Second)
	w.no(w.UpdateEndpoint(w.ctx, e)) // as it was read before
	got := w.readEndpoint("shop", "main")
	w.equal("disabled", []any{got.Disabled, got.DisabledReason}, []any{true, job.DisabledFailing})
	w.no(w.EnableEndpoint(w.ctx, "shop", "main", w.now()))
	w.no(w.UpdateEndpoint(w.ctx, got))
	w.equal("disabled after it was enabled", w.readEndpoint("shop", "main").Disabled, false)
}

func updateSwitches(w *world) {
	e := w.endpoint("shop", "main", false)
	e.Disabled, e.UpdatedAt = true, w.pass(time.Second)
	w.no(w.UpdateEndpoint(w.ctx, e))
	got := w.readEndpoint("shop", "main")
	w.equal("disabled", []any{got.Disabled, got.DisabledReason, got.DisabledAt}, []any{true, job.DisabledManual, w.now()})
	w.equal("pauses", len(w.pauses()), 1)
	got.Disabled, got.UpdatedAt = false, w.pass(time.Second)
	w.no(w.UpdateEndpoint(w.ctx, got))
	after := w.readEndpoint("shop", "main")
	w.equal("disabled", []any{after.Disabled, after.DisabledReason, after.DisabledAt}, []any{false, "", time.Time{}})
	w.equal("end of the pause", w.pauses()[0].To, w.now())
}

func oneIsOperational(w *world) {
	e := w.endpoint("shop", "ops", false)
	e.Operational = true
	w.no(w.UpdateEndpoint(w.ctx, e))
	w.no(w.UpdateEndpoint(w.ctx, e))
	w.equal("endpoint", w.readEndpoint("shop", "ops"), e)
	other := w.endpoint("shop", "main", false)
	changed := other
	changed.Operational, changed.Method = true, "PUT"
	w.is(w.UpdateEndpoint(w.ctx, changed), job.ErrTooMany)
	w.equal("endpoint after a refusal", w.readEndpoint("shop", "main"), other)
	third := e
	third.Name = "third"
	w.is(w.CreateEndpoint(w.ctx, third), job.ErrTooMany)
	_, err := w.Endpoint(w.ctx, "shop", "third")
	w.is(err, job.ErrNotFound)
	third.App = "bank"
	w.no(w.CreateEndpoint(w.ctx, third))
	e.Operational = false
	w.no(w.UpdateEndpoint(w.ctx, e))
	w.no(w.UpdateEndpoint(w.ctx, changed))
}

func waitingIsDiscarded(w *world) {
	e := w.endpoint("shop", "main", false)
	w.endpoint("shop", "other", false)
	kept := w.owedTo("shop", "other")
	flying := w.owedTo("shop", "main")
	w.equal("claimed", len(w.claimCallbacks("shop main")), 1)
	var waiting []*job.Callback
	for range 5 {
		waiting = append(waiting, w.owedTo("shop", "main"))
	}
	_, err := w.DiscardWaiting(w.ctx, "shop", "main", w.now(), 2)
	w.is(err, job.ErrTerminal)
	_, err = w.DiscardWaiting(w.ctx, "shop", "nosuch", w.now(), 2)
	w.is(err, job.ErrNotFound)
	w.disable(e, nil)
	w.announced()
	for _, want := range []int{2, 2, 1, 0} {
		n, err := w.DiscardWaiting(w.ctx, "shop", "main", w.now(), 2)
		w.no(err)
		w.equal("discarded", n, want)
	}
	settled := 0
	for _, c := range w.announced() {
		if c.Kind == job.CallbackSettled {
			settled++
		}
	}
	w.equal("announced", settled, 5)
	for _, cb := range waiting {
		got := w.readCallback(cb)
		w.equal("callback", []any{got.State, got.SettledAt}, []any{job.Discarded, w.now()})
	}
	w.equal("in flight", w.readCallback(flying).State, job.Pending)
	w.equal("of another endpoint", w.readCallback(kept).State, job.Pending)
}

func discardedInOrder(w *world) {
	e := w.endpoint("shop", "main", false)
	j := w.newJob("shop", "scan")
	j.Early, j.Targets = true, []job.Target{{Endpoint: "main", Source: job.SourceEndpoint}}
	to := func(event job.Event) *job.Callback {
		cb := w.owe(j, "")
		cb.Endpoint, cb.Event = "main", event
		return cb
	}
	accepted, progress := to(job.EventAccepted), to(job.EventProgress)
	_, err := w.Accept(w.ctx, job.Acceptance{Job: j, Claimed: true, Callbacks: []job.OwedCallback{{Callback: accepted}}})
	w.no(err)
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Await: true}))
	w.no(w.Progress(w.ctx, job.Progress{Job: j, N: 1, Value: []byte("1"), At: w.now(), Callbacks: []job.OwedCallback{{Callback: progress}}}))
	w.equal("behind", w.readCallback(progress).Waiting, job.WaitingOrder)
	w.disable(e, nil)
	n, err := w.DiscardWaiting(w.ctx, "shop", "main", w.now(), 1)
	w.no(err)
	w.equal("discarded", n, 1)
	if got := w.readCallback(accepted); got.State == job.Discarded {
		w.equal("the one behind it", w.readCallback(progress).Waiting, "")
	}
	n, err = w.DiscardWaiting(w.ctx, "shop", "main", w.now(), 10)
	w.no(err)
	w.equal("discarded", n, 1)
	w.equal("state", w.readCallback(progress).State, job.Discarded)
}

func discardedQuestion(w *world) {
	e := w.endpoint("shop", "main", false)
	j := w.accept(w.newJob("shop", "scan"), true)
	a := w.asking(j, 1, "color")
	a.Callback.Endpoint, a.Callback.URL = "main", ""
	_, err := w.Ask(w.ctx, a)
	w.no(err)
	w.disable(e, nil)
	w.announced()
	n, err := w.DiscardWaiting(w.ctx, "shop", "main", w.now(), 10)
	w.no(err)
	w.equal("discarded", n, 1)
	closed := false
	for _, c := range w.announced() {
		closed = closed || c.Kind == job.QuestionClosed && c.Name == "color"
	}
	w.equal("the question is closed", closed, true)
	w.equal("question", w.question(j, "color").State, job.Closed)
}

func disablingSurvives(w *world) {
	e := w.endpoint("shop", "main", false)
	w.endpoint("shop", "ops", false)
	cb := w.owedTo("shop", "main")
	w.claimCallbacks("shop main")
	event := w.event("shop", "ops")
	st := w.attempt(cb, 1, 410, job.Dead, 0)
	st.Disable = &job.Disabling{App: "shop", Name: "main", URL: e.URL, Reason: job.DisabledGone, At: w.now(), Event: event}
	w.no(w.SettleAttempt(w.ctx, st))
	disabled, pauses := w.readEndpoint("shop", "main"), w.pauses()
	w.equal("disabled", disabled.Disabled, true)
	w.crash()
	w.equal("endpoint", w.readEndpoint("shop", "main"), disabled)
	w.equal("pauses", w.pauses(), pauses)
	w.equal("callback", w.readCallback(cb).State, job.Dead)
	w.equal("event is due", len(w.claimCallbacks("shop ops")), 1)
	w.no(w.EnableEndpoint(w.ctx, "shop", "main", w.now()))
	w.crash()
	w.equal("enabled", w.readEndpoint("shop", "main").Disabled, false)
}
