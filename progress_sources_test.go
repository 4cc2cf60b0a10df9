package ringback_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

func (g *gateway) says(t *testing.T, id, progress string) {
	t.Helper()
	eventually(t, id+" says "+progress, func() bool {
		j, err := g.app.Job(t.Context(), id)
		return err == nil && string(j.Progress) == progress
	})
}

func TestACommandAndAFunctionSayHowFarTheyAre(t *testing.T) {
	t.Parallel()
	command, err := ringback.Command(ringback.CommandConfig{Argv: []string{"sh", "-c", "echo '::progress {\"page\": 7}' >&2; echo trouble >&2; cat; exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	reported := make(chan error, 2)
	goOn := make(chan struct{})
	function := ringback.Func(func(ctx context.Context, call *ringback.Call, _ *ringback.Result) error {
		reported <- call.Progress(map[string]int{"percent": 40})
		reported <- call.Progress(func() {})
		<-goOn
		return nil
	})
	once := func(op *job.Operation) { op.Retry.Attempts = 1 }
	g := setup(t, operation("command", "POST /command", command, quick, once), operation("function", "POST /function", function, quick))
	failed := g.done(t, g.call(t, client.Call{Path: "/command"}).ID)
	if string(failed.Progress) != `{"page":7}` || failed.Error.Detail != "trouble" {
		t.Errorf("%s, %+v", failed.Progress, failed.Error)
	}
	running := g.call(t, client.Call{Path: "/function"})
	if err := <-reported; err != nil {
		t.Error(err)
	}
	if err := <-reported; err == nil {
		t.Error("what is no JSON was reported")
	}
	g.says(t, running.ID, `{"percent":40}`)
	close(goOn)
	g.done(t, running.ID)
}

func TestAnUpstreamSaysHowFarItIs(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	g := setup(t, chained(t, u.url, "callback"))
	url, messages := listen(t, func() sign.Secret { return g.secret }, nil)
	accepted := g.call(t, client.Call{Path: "/work?callbackEvents=progress,succeeded", CallbackURL: url})
	call := u.next(t)
	progress := call.Header.Get("Ringback-Progress-Url")
	if status, said := post(t, progress, "application/json", ` {"percent": 10} `); status != 204 {
		t.Fatalf("%d %s", status, said)
	}
	g.says(t, accepted.ID, `{"percent":10}`)
	if m := next(t, messages); m.envelope.Type != "work.progress" || string(m.envelope.Data.Progress) != `{"percent":10}` {
		t.Errorf("%s", m.body)
	}
	call.later()
	g.is(t, accepted.ID, "waiting")
	// Nothing of it is in memory now.
	if status, said := post(t, progress, "application/json", `"nearly"`); status != 204 {
		t.Fatalf("%d %s", status, said)
	}
	g.says(t, accepted.ID, `"nearly"`)
	for what, refused := range map[string]struct {
		url, body string
		status    int
	}{
		"no JSON":       {progress, "nearly", http.StatusBadRequest},
		"no text":       {progress, "\"\xff\"", http.StatusBadRequest},
		"too long":      {progress, `"` + strings.Repeat("x", job.MaxProgressBytes) + `"`, http.StatusRequestEntityTooLarge},
		"a wrong token": {strings.Replace(progress, "/progress", "A/progress", 1), "1", http.StatusNotFound},
	} {
		if status, code := post(t, refused.url, "application/json", refused.body); status != refused.status {
			t.Errorf("%s: %d %s", what, status, code)
		}
	}
	refused, err := http.Post(progress, "text/plain", strings.NewReader("nearly"))
	if err != nil {
		t.Fatal(err)
	}
	defer refused.Body.Close()
	if said, err := io.ReadAll(refused.Body); err != nil || !strings.Contains(string(said), `"detail":"a progress must be JSON, in UTF-8"`) {
		t.Errorf("what is no JSON is answered %s, %v", said, err)
	}
	if status, _ := post(t, progress, "application/json", `"at the end"`); status != 204 {
		t.Error("the last one was refused")
	}
	if status, _ := post(t, call.Header.Get("Ringback-Completion-Url"), "text/plain", "done"); status != 204 {
		t.Error("the completion was refused")
	}
	if j := g.done(t, accepted.ID); string(j.Progress) != `"at the end"` || j.Status != "succeeded" {
		t.Errorf("%s %+v", j.Progress, j)
	}
	if status, _ := post(t, progress, "application/json", `1`); status != http.StatusGone {
		t.Errorf("after the end: %d", status)
	}
	for {
		if m := next(t, messages); m.envelope.Type == "work.succeeded" {
			break
		}
	}
}
