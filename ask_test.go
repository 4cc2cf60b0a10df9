package ringback_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// asking is an operation whose function asks once, and answers with the answer.
func asking(change ...func(*job.Operation)) ringback.Operation {
	return operation("work", "POST /work", ringback.Func(func(ctx context.Context, call *ringback.Call, result *ringback.Result) error {
		if call.Header.Get("X-Silent") != "" {
			return nil
		}
		answer, err := call.Ask(ctx, "page", map[string]any{"pages": []int{7, 8}})
		if err != nil {
			return err
		}
		result.ContentType = answer.ContentType
		_, err = result.Write(answer.Body)
		return err
	}), append([]func(*job.Operation){quick}, change...)...)
}

func (g *gateway) result(t *testing.T, id string) string {
	t.Helper()
	r, err := g.app.Result(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.ContentType + " " + string(text)
}

func TestAFunctionAsksAndOthersRunMeanwhile(t *testing.T) {
	t.Parallel()
	g := setup(t, asking(func(op *job.Operation) { op.Concurrency = 1 }))
	goOn := make(chan struct{})
	url, messages := listen(t, func() sign.Secret { return g.secret }, func(n int, w http.ResponseWriter, _ *http.Request) {
		switch n {
		case 1:
			w.WriteHeader(http.StatusInternalServerError) // it is asked again
		case 2:
			<-goOn
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"page": 8}`)
		}
	})
	accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url, State: "order 7"})
	first, again := next(t, messages), next(t, messages)
	if d := first.envelope.Data; first.envelope.Type != "work.ask" || string(d.Question) != `{"pages":[7,8]}` || d.QuestionKey != "page" ||
		d.Job.Status != "waiting" || d.State != "order 7" || !strings.HasPrefix(d.ReplyURL, g.url+"/v1/replies/") || string(first.body) != string(again.body) {
		t.Errorf("%s\n%s", first.body, again.body)
	}
	g.is(t, accepted.ID, "waiting")
	other := g.call(t, client.Call{Path: "/work", Header: http.Header{"X-Silent": {"1"}}})
	if j := g.done(t, other.ID); j.Status != "succeeded" {
		t.Errorf("%+v", j)
	}
	close(goOn)
	if m := next(t, messages); m.envelope.Type != "work.succeeded" || string(m.envelope.Data.Result) != `{"page": 8}` {
		t.Errorf("%s", m.body)
	}
	if j := g.done(t, accepted.ID); j.Attempts != 1 {
		t.Errorf("%+v", j)
	}
	if status, code := post(t, first.envelope.Data.ReplyURL, "text/plain", "late"); status != 409 || code != "question_answered" {
		t.Errorf("a reply to what is answered: %d %s", status, code)
	}
}

// accepting is a receiver that says "later" to all questions.
func accepting(t *testing.T, g *gateway) (string, <-chan message) {
	t.Helper()
	return listen(t, func() sign.Secret { return g.secret }, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
}

func TestAnAnswerMayComeLater(t *testing.T) {
	t.Parallel()
	g := setup(t, asking())
	url, messages := accepting(t, g)
	accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	reply := next(t, messages).envelope.Data.ReplyURL
	for wrong, want := range map[string]int{reply[:len(reply)-2] + "AA": 404, reply + "x": 404} {
		if status, code := post(t, wrong, "text/plain", "forged"); status != want {
			t.Errorf("a wrong token: %d %s", status, code)
		}
	}
	if status, code := post(t, reply, "text/plain", strings.Repeat("x", job.MaxAnswerBytes+1)); status != 413 {
		t.Errorf("an answer that is too large: %d %s", status, code)
	}
	g.is(t, accepted.ID, "waiting")
	if status, said := post(t, reply, "text/x-page", "7"); status != 204 {
		t.Fatalf("%d %s", status, said)
	}
	next(t, messages)
	if got := g.result(t, accepted.ID); got != "text/x-page 7" {
		t.Errorf("result is %s", got)
	}
}

func TestAQuestionEndsWithItsRun(t *testing.T) {
	t.Parallel()
	g := setup(t, asking(func(op *job.Operation) { op.Timeout, op.Retry.Attempts = 500*time.Millisecond, 2 }))
	url, messages := accepting(t, g)
	timedOut := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	first := next(t, messages)
	second := next(t, messages) // the next attempt asks anew
	if first.header.Get("webhook-id") == second.header.Get("webhook-id") {
		t.Error("it is the same callback")
	}
	if status, _ := post(t, first.envelope.Data.ReplyURL, "text/plain", "late"); status != 410 {
		t.Errorf("a reply to the first attempt's: %d", status)
	}
	if j := g.done(t, timedOut.ID); j.Error == nil || j.Error.Code != "timeout" {
		t.Errorf("%+v", j)
	}
	if status, _ := post(t, second.envelope.Data.ReplyURL, "text/plain", "late"); status != 410 {
		t.Errorf("a reply after the end: %d", status)
	}

	g = setup(t, asking(func(op *job.Operation) { op.Deadline = 500 * time.Millisecond }))
	url, messages = accepting(t, g)
	expired := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	unanswered := next(t, messages)
	if m := next(t, messages); m.envelope.Type != "work.expired" {
		t.Errorf("%s", m.body)
	}
	if j := g.done(t, expired.ID); j.Status != "expired" {
		t.Errorf("%+v", j)
	}
	if status, code := post(t, unanswered.envelope.Data.ReplyURL, "text/plain", "late"); status != 410 || code != "no_longer_awaited" {
		t.Errorf("a reply after the deadline: %d %s", status, code)
	}

	g = setup(t, asking())
	url, messages = accepting(t, g)
	canceled := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	asked := next(t, messages)
	if err := g.app.Cancel(t.Context(), canceled.ID); err != nil {
		t.Fatal(err)
	}
	if status, code := post(t, asked.envelope.Data.ReplyURL, "text/plain", "late"); status != 410 || code != "no_longer_awaited" {
		t.Errorf("a reply to a canceled job: %d %s", status, code)
	}
	if m := next(t, messages); m.envelope.Type != "work.canceled" {
		t.Errorf("%s", m.body)
	}
}

func TestAQuestionThatReachesNobodyFailsTheWork(t *testing.T) {
	t.Parallel()
	g := setup(t, asking())
	url, messages := listen(t, func() sign.Secret { return g.secret }, answers(500, 410))
	dead := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	next(t, messages)
	next(t, messages)
	if m := next(t, messages); m.envelope.Type != "work.failed" || m.envelope.Data.Error.Code != "question_unanswered" {
		t.Errorf("%s", m.body)
	}
	if j := g.done(t, dead.ID); j.Error.Message != "the callback URL refused the question: Gone" || j.Attempts != 1 {
		t.Errorf("%+v %+v", j, j.Error)
	}
	polled := g.call(t, client.Call{Path: "/work"})
	if j := g.done(t, polled.ID); j.Error == nil || j.Error.Code != "question_unanswered" {
		t.Errorf("without a callback URL: %+v", j)
	}
}

func TestARunThatAsksIsHandedBackWhenTheGatewayStops(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	change := func(o *ringback.Options) { o.Operations = []ringback.Operation{asking()} }
	g := start(t, dir, change)
	g.join(t)
	url, messages := accepting(t, g)
	accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	asked := next(t, messages)
	key := g.key
	begin := time.Now()
	g.stop()
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("the question held the end up for %v", took)
	}
	g = start(t, dir, change)
	g.key, g.app = key, g.client(t, key)
	g.is(t, accepted.ID, "waiting")
	_, token, _ := strings.Cut(asked.envelope.Data.ReplyURL, "/v1/")
	if status, said := post(t, g.url+"/v1/"+token, "text/plain", "7"); status != 204 {
		t.Fatalf("%d %s", status, said)
	}
	if j := g.done(t, accepted.ID); j.Status != "succeeded" || j.Attempts != 1 {
		t.Errorf("%+v", j)
	}
}

func TestAnUpstreamAsks(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{chained(t, u.url, "callback", func(op *job.Operation) { op.Concurrency = 1 })}
		o.MaxWait = 200 * time.Millisecond
	})
	g.join(t)
	url, messages := accepting(t, g)
	accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	call := u.next(t)
	ask := call.Header.Get("Ringback-Ask-Url")
	if status, said := post(t, ask+"?key=page", "application/json", `"which page?"`); status != 202 {
		t.Fatalf("while there is no answer: %d %s", status, said)
	}
	m := next(t, messages)
	g.is(t, accepted.ID, "waiting")
	other := g.call(t, client.Call{Path: "/work"}) // it has the slot
	u.next(t).say(200, "text/plain", "other")
	g.done(t, other.ID)
	for what, refused := range map[string]struct {
		url, body string
		status    int
		code      string
	}{
		"another question": {ask + "?key=page", `"another page?"`, 409, "question_changed"},
		"no key":           {ask, `"which page?"`, 400, "invalid_parameter"},
		"an odd key":       {ask + "?key=%00", `"which page?"`, 400, "invalid_parameter"},
		"no text":          {ask + "?key=x", "\"\xff\"", 400, "body_malformed"},
		"no JSON":          {ask + "?key=x", `which page?`, 400, "body_malformed"},
		"too long":         {ask + "?key=x", `"` + strings.Repeat("x", job.MaxQuestionBytes) + `"`, 413, "body_too_large"},
		"a wrong token":    {strings.Replace(ask, "/questions", "A/questions", 1) + "?key=x", `1`, 404, "not_found"},
	} {
		if status, code := post(t, refused.url, "application/json", refused.body); status != refused.status || code != refused.code {
			t.Errorf("%s: %d %s", what, status, code)
		}
	}
	if status, _ := post(t, m.envelope.Data.ReplyURL, "text/plain", "page 7"); status != 204 {
		t.Fatalf("reply: %d", status)
	}
	for range 2 { // the second time it is the recorded answer
		if status, said := post(t, ask+"?key=page", "application/json", ` "which page?" `); status != 200 || said != "page 7" {
			t.Errorf("%d %s", status, said)
		}
	}
	g.is(t, accepted.ID, "running")
	call.later()
	g.is(t, accepted.ID, "waiting")
	// Nothing of it is in memory now: it may ask all the same.
	answered := make(chan string, 1)
	go func() {
		for {
			resp, err := http.Post(ask+"?key=size", "application/json", strings.NewReader(`"how large?"`))
			if err != nil {
				answered <- err.Error()
				return
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 202 {
				answered <- string(text)
				return
			}
		}
	}()
	post(t, next(t, messages).envelope.Data.ReplyURL, "text/plain", "large")
	if got := <-answered; got != "large" {
		t.Errorf("the answer is %q", got)
	}
	if j, err := g.app.Job(t.Context(), accepted.ID); err != nil || j.Status != "waiting" {
		t.Errorf("%+v %v", j, err)
	}
	if status, _ := post(t, call.Header.Get("Ringback-Completion-Url"), "text/plain", "done"); status != 204 {
		t.Errorf("completion: %d", status)
	}
	if status, _ := post(t, ask+"?key=page", "application/json", `"which page?"`); status != 410 {
		t.Errorf("a question after the end: %d", status)
	}
	if j := g.done(t, accepted.ID); j.Status != "succeeded" {
		t.Errorf("%+v", j)
	}
}

func TestWhatCannotBeAskedIsAnError(t *testing.T) {
	t.Parallel()
	errs := make(chan error, 3)
	g := setup(t, operation("work", "POST /work", ringback.Func(func(ctx context.Context, call *ringback.Call, _ *ringback.Result) error {
		for key, question := range map[string]any{"": 1, "large": strings.Repeat("x", job.MaxQuestionBytes), "odd": func() {}} {
			_, err := call.Ask(ctx, key, question)
			errs <- err
		}
		return nil
	})))
	g.done(t, g.call(t, client.Call{Path: "/work"}).ID)
	malformed := 0
	for range 3 {
		err := <-errs
		if err == nil {
			t.Error("it was asked")
		}
		if errors.Is(err, job.ErrMalformed) {
			malformed++
		}
	}
	if malformed != 2 {
		t.Errorf("%d are malformed", malformed)
	}
}
