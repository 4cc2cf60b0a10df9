package ringback_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
)

func TestTheURLsOfUpstreamsAreInNoLogAndNoError(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	log := &lockedBuffer{}
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{chained(t, u.url, "callback")}
		o.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	g.join(t)
	url, messages := accepting(t, g)
	accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	call := u.next(t)
	_, rest, _ := strings.Cut(call.Header.Get("Ringback-Completion-Url"), "/v1/runs/")
	token, _, _ := strings.Cut(rest, "/")
	ask := make(chan struct{})
	go func() {
		defer close(ask)
		if resp, err := http.Post(call.Header.Get("Ringback-Ask-Url")+"?key=a", "application/json", strings.NewReader(`1`)); err == nil {
			resp.Body.Close()
		}
	}()
	_, reply, _ := strings.Cut(next(t, messages).envelope.Data.ReplyURL, "/v1/replies/")
	said := ""
	for _, path := range []string{"/v1/runs/" + token + "/result", "/v1/runs/" + token + "/progress", "/v1/replies/" + reply} {
		for range 2 {
			_, text := post(t, g.url+path, "application/problem+json", "no JSON")
			said += text
		}
	}
	<-ask // a reply ended it
	call.say(500, "text/plain", "broken")
	u.next(t).say(400, "text/plain", "refused")
	j := g.done(t, accepted.ID)
	for what, text := range map[string]string{"the log": log.String(), "an answer": said, "the job": j.Error.Message + j.Error.Detail} {
		if strings.Contains(text, token) || strings.Contains(text, reply) {
			t.Errorf("%s names a secret: %s", what, text)
		}
	}
	if !strings.Contains(log.String(), "run failed") {
		t.Error("nothing was logged")
	}
}
