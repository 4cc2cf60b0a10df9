package ringback_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/sign"
)

func TestWhatAReceiverAnswersIsTheJobsReply(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	url, messages := listen(t, func() sign.Secret { return g.secret }, func(n int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Ticket", "77")
		w.Header().Set("Set-Cookie", "session=secret")
		w.Header().Set("Content-Type", "application/json")
		if n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		io.WriteString(w, `{"filed": true}`)
	})
	accepted := g.call(t, client.Call{Path: "/relay", CallbackURL: url})
	next(t, messages)
	next(t, messages)
	settled := g.settled(t, accepted.ID)
	j := g.done(t, accepted.ID)
	r := j.Reply
	if r == nil || r.Callback != settled.ID || r.Status != 200 || r.ContentType != "application/json" || r.Body != `{"filed": true}` ||
		r.Headers["X-Ticket"] != "77" || r.Headers["Set-Cookie"] != "" || r.At.IsZero() {
		t.Fatalf("reply is %+v", r)
	}
	if attempts := g.attempts(t, settled.ID); len(attempts) != 2 || attempts[1].Headers["X-Ticket"] != "77" {
		t.Errorf("attempts are %+v", attempts)
	}
	var last client.Event
	for e, err := range g.app.Events(t.Context(), accepted.ID) {
		if err != nil {
			t.Fatal(err)
		}
		last = e
	}
	if last.Job.Reply == nil || last.Job.Reply.Body != r.Body {
		t.Errorf("the stream's last event has the reply %+v", last.Job.Reply)
	}
	for listed, err := range g.app.Jobs(t.Context(), client.JobQuery{}) {
		if err != nil || listed.Reply != nil {
			t.Errorf("listed with %+v, %v", listed.Reply, err)
		}
	}
}

func TestAReplySurvivesAResendThatFails(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	url, messages := listen(t, func() sign.Secret { return g.secret }, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n > 1 {
			w.WriteHeader(http.StatusGone)
		}
		io.WriteString(w, "first\xff")
	})
	accepted := g.call(t, client.Call{Path: "/relay", CallbackURL: url})
	next(t, messages)
	callback := g.settled(t, accepted.ID).ID
	if _, err := g.app.Resend(t.Context(), callback); err != nil {
		t.Fatal(err)
	}
	next(t, messages)
	eventually(t, "the resend has failed", func() bool {
		c, err := g.app.Callback(t.Context(), callback)
		return err == nil && c.Status == client.CallbackDead
	})
	if r := g.done(t, accepted.ID).Reply; r == nil || r.Status != 200 || string(r.BodyBase64) != "first\xff" || r.Body != "" {
		t.Errorf("reply is %+v", r)
	}
}
