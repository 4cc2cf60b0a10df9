package storetest

import (
	"time"

	"github.com/ringback/ringback/job"
)

var pauseTests = []test{
	{"PauseIsListedUntilItIsForgotten", pauseIsListed},
	{"WhatRestsIsNotPausedTwice", pausedOnce},
	{"PauseIsOfTheAppThatHasIt", pauseIsOfItsApp},
	{"PauseOfAnEndpointEndsWithIt", pauseEndsWithTheEndpoint},
	{"PauseIsRememberedAsLongAsItMayCount", pauseIsRemembered},
	{"PausesOfAnAppAreBounded", pausesAreBounded},
	{"PauseSurvives", pauseSurvives},
	{"PausesOfAnErasedAppAreForgotten", erasedPauses},
}

func (w *world) pauses() []job.Pause {
	w.t.Helper()
	all, err := w.ListPauses(w.ctx)
	w.no(err)
	return all
}

// pause stores a pause that begins now.
func (w *world) pause(p job.Pause) job.Pause {
	w.t.Helper()
	p.From = w.now()
	got, err := w.Pause(w.ctx, p)
	w.no(err)
	return got
}

func pauseIsListed(w *world) {
	w.equal("pauses of none", len(w.pauses()), 0)
	w.endpoint("shop", "main", false)
	w.announced()
	var want []job.Pause
	for _, p := range []job.Pause{{}, {Operation: "scan"}, {App: "shop", Endpoint: "main"}, {App: "shop", Origin: "https://my.server"}} {
		got := w.pause(p)
		if got.ID == 0 || len(want) > 0 && got.ID <= want[len(want)-1].ID {
			w.t.Fatalf("id %d of %+v", got.ID, p)
		}
		p.ID, p.From, p.Who = got.ID, w.now(), string(job.ActorGateway)
		w.equal("pause", got, p)
		w.equal("changes", w.announced(), []job.Change{{Kind: job.PauseChanged, App: p.App, Pause: &p}})
		want = append(want, p)
		w.pass(time.Second)
	}
	w.equal("pauses", w.pauses(), want)
	w.equal("lane", want[2].Lane(), "shop main")
	w.equal("lane of an origin", want[3].Lane(), "shop https://my.server")
	w.equal("lane of an operation", want[1].Lane(), "")
	over, err := w.Resume(w.ctx, "", want[1].ID, w.now())
	w.no(err)
	want[1].To = w.now()
	w.equal("over", over, want[1])
	w.equal("changes", w.announced(), []job.Change{{Kind: job.PauseChanged, Pause: &want[1]}})
	w.equal("pauses", w.pauses(), want)
	_, err = w.Resume(w.ctx, "", want[1].ID, w.now())
	w.is(err, job.ErrNotFound)
	w.no(w.ForgetPauses(w.ctx, w.pass(time.Second)))
	w.equal("changes", w.announced(), []job.Change{{Kind: job.PauseForgotten, Pause: &want[1]}})
	w.equal("pauses", w.pauses(), []job.Pause{want[0], want[2], want[3]})
	// A clock that was set back ends none before it began.
	over, err = w.Resume(w.ctx, "", want[0].ID, want[0].From.Add(-time.Hour))
	w.no(err)
	w.equal("end", over.To, over.From)
}

func pausedOnce(w *world) {
	first := w.pause(job.Pause{Operation: "scan"})
	w.announced()
	w.pass(time.Second)
	w.equal("the same again", w.pause(job.Pause{Operation: "scan"}), first)
	w.equal("changes", len(w.announced()), 0)
	_, err := w.Resume(w.ctx, "", first.ID, w.now())
	w.no(err)
	if again := w.pause(job.Pause{Operation: "scan"}); again.ID == first.ID {
		w.t.Fatalf("the id %d was used again", again.ID)
	}
	w.equal("pauses", len(w.pauses()), 2)
}

func pauseIsOfItsApp(w *world) {
	w.endpoint("bank", "main", false)
	_, err := w.Pause(w.ctx, job.Pause{App: "shop", Endpoint: "main", From: w.now()})
	w.is(err, job.ErrNotFound)
	all := w.pause(job.Pause{})
	of := w.pause(job.Pause{App: "bank", Endpoint: "main"})
	for _, p := range []job.Pause{all, of} {
		_, err := w.Resume(w.ctx, "shop", p.ID, w.now())
		w.is(err, job.ErrNotFound)
	}
	_, err = w.Resume(w.ctx, "bank", of.ID, w.now())
	w.no(err)
	_, err = w.Resume(w.ctx, "bank", of.ID+100, w.now())
	w.is(err, job.ErrNotFound)
}

func pauseEndsWithTheEndpoint(w *world) {
	e := w.endpoint("shop", "main", false)
	w.pause(job.Pause{App: "shop", Endpoint: "main"})
	other := w.pause(job.Pause{App: "shop", Origin: "https://my.server"})
	w.no(w.DisableEndpoint(w.ctx, job.Disabling{App: "shop", Name: "main", URL: e.URL, Reason: job.DisabledFailing, At: w.now()}))
	w.announced()
	w.no(w.DeleteEndpoint(w.ctx, "shop", "main"))
	w.equal("changes", kinds(w.announced()), []job.ChangeKind{job.EndpointChanged, job.PauseChanged, job.PauseChanged})
	for _, p := range w.pauses() {
		w.equal("lasts", p.To.IsZero(), p.ID == other.ID)
	}
}

func pauseIsRemembered(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	w.pass(time.Second)
	p := w.pause(job.Pause{})
	_, err := w.Resume(w.ctx, "", p.ID, w.pass(time.Minute))
	w.no(err)
	w.no(w.ForgetPauses(w.ctx, w.pass(time.Hour)))
	w.equal("pauses while the callback is pending", len(w.pauses()), 1)
	for _, d := range w.claimCallbacks(cb.Lane()) {
		w.no(w.SettleAttempt(w.ctx, w.attempt(d.Callback, 1, 200, job.Delivered, 0)))
	}
	w.owed("shop", "https://my.server/") // a younger one
	w.no(w.ForgetPauses(w.ctx, w.now()))
	w.equal("pauses", len(w.pauses()), 0)
}

func pausesAreBounded(w *world) {
	for range job.MaxPauses {
		p := w.pause(job.Pause{App: "shop", Origin: "https://my.server"})
		_, err := w.Resume(w.ctx, "shop", p.ID, w.now())
		w.no(err)
	}
	_, err := w.Pause(w.ctx, job.Pause{App: "shop", Origin: "https://my.server", From: w.now()})
	w.is(err, job.ErrTooMany)
	w.pause(job.Pause{App: "bank", Origin: "https://my.server"})
	w.pause(job.Pause{})
}

func erasedPauses(w *world) {
	w.app("shop")
	w.app("bank")
	e := w.endpoint("shop", "main", false)
	w.disable(e, nil)
	w.pause(job.Pause{App: "shop", Endpoint: "main"})
	other := w.pause(job.Pause{App: "bank", Origin: "https://my.server"})
	want := map[int64]bool{}
	for _, p := range w.pauses() {
		if p.App == "shop" {
			want[p.ID] = true
		}
	}
	w.no(w.DeleteApp(w.ctx, "shop", w.now()))
	w.announced()
	for done := false; !done; {
		var err error
		_, done, err = w.EraseApp(w.ctx, "shop", 10)
		w.no(err)
	}
	forgotten := map[int64]bool{}
	for _, c := range w.announced() {
		if c.Kind == job.PauseForgotten {
			forgotten[c.Pause.ID] = true
		}
	}
	w.equal("forgotten", forgotten, want)
	w.equal("pauses", w.pauses(), []job.Pause{other})
}

func pauseSurvives(w *world) {
	w.endpoint("shop", "main", false)
	w.pause(job.Pause{App: "shop", Endpoint: "main"})
	over := w.pause(job.Pause{Operation: "scan"})
	_, err := w.Resume(w.ctx, "", over.ID, w.pass(time.Second))
	w.no(err)
	want := w.pauses()
	w.crash()
	w.equal("pauses", w.pauses(), want)
}
