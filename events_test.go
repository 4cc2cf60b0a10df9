package ringback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// stepper is a backend that reports its steps, one whenever it is told to; it ends
// with one below zero.
type stepper struct{ steps chan int }

func (s stepper) Run(ctx context.Context, run *backend.Run) (*job.Result, error) {
	for {
		select {
		case n := <-s.steps:
			if n < 0 {
				return &job.Result{Status: 200, Echo: true}, nil
			}
			run.Report(json.RawMessage(fmt.Sprintf(`{"step":%d}`, n)))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// everything asks for all events, without waiting much between them.
func everything(op *job.Operation) {
	op.Callback.Events = job.AllEvents
	op.Callback.ProgressInterval = 10 * time.Millisecond
}

func word(m message) string {
	_, event, _ := strings.Cut(m.envelope.Type, ".")
	return event
}

// snapshot is what an envelope says of a job before its end.
type snapshot struct {
	Data struct {
		Job struct {
			Status     string `json:"status"`
			StartedAt  string `json:"started_at"`
			FinishedAt string `json:"finished_at"`
		} `json:"job"`
		Progress json.RawMessage `json:"progress"`
		Result   json.RawMessage `json:"result_text"`
	} `json:"data"`
}

func snapshotOf(t *testing.T, m message) snapshot {
	t.Helper()
	var s snapshot
	if err := json.Unmarshal(m.body, &s); err != nil {
		t.Fatalf("%v\n%s", err, m.body)
	}
	return s
}

func TestAJobTellsOfAllThatHappensToItInOrder(t *testing.T) {
	t.Parallel()
	steps := make(chan int)
	g := setup(t, operation("work", "POST /work", stepper{steps}, everything, quick))
	url, messages := listen(t, func() sign.Secret { return g.secret }, nil)
	accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url, Body: strings.NewReader("do it")})
	m := next(t, messages)
	if s := snapshotOf(t, m); word(m) != "accepted" || s.Data.Job.Status != "accepted" || s.Data.Job.StartedAt+s.Data.Job.FinishedAt != "" || s.Data.Result != nil {
		t.Errorf("first: %s", m.body)
	}
	m = next(t, messages)
	if s := snapshotOf(t, m); word(m) != "running" || s.Data.Job.Status != "running" || s.Data.Job.StartedAt == "" || s.Data.Job.FinishedAt != "" || s.Data.Progress != nil {
		t.Errorf("second: %s", m.body)
	}
	for n := range 3 {
		steps <- n
		m = next(t, messages)
		if s := snapshotOf(t, m); word(m) != "progress" || s.Data.Job.Status != "running" || string(s.Data.Progress) != fmt.Sprintf(`{"step":%d}`, n) {
			t.Errorf("step %d: %s", n, m.body)
		}
		j, err := g.app.Job(t.Context(), accepted.ID)
		if err != nil || string(j.Progress) != fmt.Sprintf(`{"step":%d}`, n) {
			t.Errorf("the job at step %d: %+v, %v", n, j, err)
		}
	}
	steps <- -1
	m = next(t, messages)
	if s := snapshotOf(t, m); word(m) != "succeeded" || s.Data.Job.FinishedAt == "" || string(s.Data.Result) != `"do it"` || s.Data.Progress != nil {
		t.Errorf("last: %s", m.body)
	}
	none(t, messages)
}

func TestOnlyTheEventsThatWereAskedForAreSent(t *testing.T) {
	t.Parallel()
	steps := make(chan int)
	g := setup(t, operation("work", "POST /work", stepper{steps}, quick), operation("relay", "POST /relay", ringback.Relay(), everything, quick))
	url, messages := listen(t, func() sign.Secret { return g.secret }, nil)
	g.call(t, client.Call{Path: "/work", CallbackURL: url, Events: []string{"running", "failed"}})
	if m := next(t, messages); word(m) != "running" {
		t.Errorf("a call's own events: %s", m.body)
	}
	steps <- -1
	g.call(t, client.Call{Path: "/work", CallbackURL: url})
	steps <- -1
	if m := next(t, messages); word(m) != "succeeded" {
		t.Errorf("the usual events: %s", m.body)
	}
	// What takes no time has nothing to tell of but its end.
	g.call(t, client.Call{Path: "/relay", CallbackURL: url})
	if m := next(t, messages); word(m) != "succeeded" {
		t.Errorf("a relay: %s", m.body)
	}
	endpoint, heard := listen(t, func() sign.Secret { return secretOf(t, g.app, "main") }, nil)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "main", URL: endpoint, Events: []string{"accepted", "succeeded"}, ProgressInterval: "2s"}); err != nil {
		t.Fatal(err)
	}
	g.call(t, client.Call{Path: "/work", Endpoint: "main"})
	if m := next(t, heard); word(m) != "accepted" {
		t.Errorf("an endpoint's events: %s", m.body)
	}
	steps <- -1
	if m := next(t, heard); word(m) != "succeeded" {
		t.Errorf("an endpoint's events: %s", m.body)
	}
	if _, err := g.app.Call(t.Context(), client.Call{Path: "/work", CallbackURL: url, Events: []string{"ask"}}); err == nil {
		t.Error("an event that nobody can ask for is accepted")
	}
	for _, interval := range []string{"1ms", "48h", "-5s", "soon"} {
		if _, err := g.app.UpdateEndpoint(t.Context(), "main", client.EndpointPatch{ProgressInterval: &interval}); err == nil {
			t.Errorf("an interval of %s is accepted", interval)
		}
	}
	if e, err := g.app.Endpoint(t.Context(), "main"); err != nil || e.ProgressInterval != "2s" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestTheEndOfAJobDiscardsWhatNobodyHasHeardYet(t *testing.T) {
	t.Parallel()
	steps := make(chan int)
	g := setup(t, operation("work", "POST /work", stepper{steps}, everything, quick))
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	url, messages := listen(t, func() sign.Secret { return g.secret }, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			held <- struct{}{}
			<-hold
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url})
	<-held
	steps <- 1
	eventually(t, "the progress waits", func() bool { return len(g.standing(t, accepted.ID)) == 3 })
	steps <- -1
	g.done(t, accepted.ID)
	if got := g.standing(t, accepted.ID); !slices.Equal(got, []string{"accepted pending", "running discarded", "progress discarded", "succeeded pending order"}) {
		t.Errorf("while the first is in flight: %v", got)
	}
	if m := next(t, messages); word(m) != "accepted" {
		t.Errorf("%s", m.body)
	}
	none(t, messages)
	release()
	if m := next(t, messages); word(m) != "succeeded" {
		t.Errorf("%s", m.body)
	}
	eventually(t, "all is settled", func() bool {
		return slices.Equal(g.standing(t, accepted.ID), []string{"accepted discarded", "running discarded", "progress discarded", "succeeded delivered"})
	})
	none(t, messages)
}

// standing lists a job's callbacks, oldest first: event, state, and why it waits.
func (g *gateway) standing(t *testing.T, id string) (words []string) {
	t.Helper()
	for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: id}) {
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, strings.TrimSpace(c.Event+" "+c.Status+" "+c.Waiting))
	}
	slices.Reverse(words)
	return words
}

// stages are the order in which a job's events come.
var stages = map[string]int{"accepted": 0, "running": 1, "progress": 2, "succeeded": 3}

// told is what a receiver has heard, job by job, without what came twice.
type told struct {
	mu     sync.Mutex
	ids    map[string]bool
	events map[string][]string // by job: "accepted", "running", "progress 3"
}

func (h *told) hear(t *testing.T, m message) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	id := m.header.Get("webhook-id")
	if h.ids[id] {
		return // once more, after a crash or a lost answer
	}
	h.ids[id] = true
	event := word(m)
	if event == "progress" {
		var s snapshot
		if err := json.Unmarshal(m.body, &s); err != nil {
			t.Errorf("%v: %s", err, m.body)
		}
		event += " " + string(s.Data.Progress)
	}
	job := m.envelope.Data.Job.ID
	h.events[job] = append(h.events[job], event)
}

// ended counts the jobs whose end was heard.
func (h *told) ended() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, events := range h.events {
		if events[len(events)-1] == "succeeded" {
			n++
		}
	}
	return n
}

// check fails where an event came before one that is older.
func (h *told) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, events := range h.events {
		for i, event := range events[1:] {
			kind, _, _ := strings.Cut(event, " ")
			before, _, _ := strings.Cut(events[i], " ")
			again := kind == before && (kind != "progress" || event < events[i]) // the steps have one digit
			if stages[kind] < stages[before] || again {
				t.Errorf("%s heard %v", id, events)
			}
		}
	}
}

func TestTheOrderOfEventsSurvivesASlowReceiverThatFailsAndKillsOfTheGateway(t *testing.T) {
	t.Parallel()
	k := startKillable(t)
	heard := &told{ids: map[string]bool{}, events: map[string][]string{}}
	var mu sync.Mutex
	n := 0
	url, messages := listen(t, func() sign.Secret { return k.secret }, func(_ int, w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		count := n
		mu.Unlock()
		switch {
		case count%5 == 0:
			w.WriteHeader(http.StatusInternalServerError)
		case count%7 == 0: // slow
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	})
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case m := <-messages:
				heard.hear(t, m)
			case <-done:
				return
			}
		}
	}()
	const jobs = 40
	for i := range jobs {
		k.call(t, client.Call{Path: "/steps", CallbackURL: url, Events: []string{"accepted", "running", "progress", "succeeded"}})
		if i%10 == 9 {
			before := heard.ended()
			eventually(t, "some jobs come to their end", func() bool { return heard.ended() > before })
			k.kill()
			k.run(t)
		}
	}
	eventually(t, "every job's end is told", func() bool { return heard.ended() == jobs })
	heard.check(t)
	// Nothing is left over: what was not sent was discarded.
	eventually(t, "all callbacks are settled", func() bool {
		for c, err := range k.app.Callbacks(t.Context(), client.CallbackQuery{Status: "pending"}) {
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s %s", c.Event, c.Waiting)
			return false
		}
		return true
	})
}

// stepsOf reports a few steps, and goes on where a killed process left off.
func stepsOf(dir string) backend.Backend {
	return stepsBackend{dir}
}

type stepsBackend struct{ dir string }

func (s stepsBackend) Run(ctx context.Context, run *backend.Run) (*job.Result, error) {
	file, err := os.OpenFile(filepath.Join(s.dir, "steps "+run.Job.ID.Job()), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for {
		info, err := file.Stat()
		if err != nil {
			return nil, err
		}
		n := info.Size()
		if n == 8 {
			return &job.Result{Status: 200, Echo: true}, nil
		}
		run.Report(json.RawMessage(fmt.Sprint(n)))
		if _, err := file.WriteString("."); err != nil {
			return nil, err
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func TestAJobsStreamShowsItsProgress(t *testing.T) {
	t.Parallel()
	steps := make(chan int, 2)
	g := setup(t, operation("work", "POST /work", stepper{steps}))
	accepted := g.call(t, client.Call{Path: "/work"})
	steps <- 7
	seen := false
	for e, err := range g.app.Events(t.Context(), accepted.ID) {
		if err != nil {
			t.Fatal(err)
		}
		if string(e.Job.Progress) == `{"step":7}` && !seen {
			seen = true
			steps <- -1
		}
	}
	if j := g.done(t, accepted.ID); !seen || string(j.Progress) != `{"step":7}` {
		t.Errorf("seen: %v; at the end: %s", seen, j.Progress)
	}
}

// What an early callback says stays the same to the byte, whatever becomes of the run
// between two of its attempts.
func TestAnEarlyCallbackSaysTheSameAfterItsRunHasFailed(t *testing.T) {
	t.Parallel()
	for _, event := range []job.Event{job.EventRunning, job.EventProgress} {
		t.Run(string(event), func(t *testing.T) {
			t.Parallel()
			failed, again := make(chan struct{}), make(chan struct{})
			runs := 0
			g := setup(t, operation("work", "POST /work", ringback.Func(func(ctx context.Context, call *ringback.Call, _ *ringback.Result) error {
				if runs++; runs == 1 {
					if err := call.Progress(7); err != nil {
						return err
					}
					<-failed
					return errors.New("once")
				}
				close(again)
				<-ctx.Done()
				return ctx.Err()
			}), quick, func(op *job.Operation) {
				op.Callback.Events = []job.Event{event}
				op.Callback.ProgressInterval = 10 * time.Millisecond
			}))
			url, messages := listen(t, func() sign.Secret { return g.secret }, func(n int, w http.ResponseWriter, _ *http.Request) {
				if n == 1 {
					close(failed)
					<-again
					w.WriteHeader(http.StatusInternalServerError)
				}
			})
			accepted := g.call(t, client.Call{Path: "/work", CallbackURL: url})
			first, second := next(t, messages), next(t, messages)
			if first.header.Get("webhook-id") != second.header.Get("webhook-id") || !bytes.Equal(first.body, second.body) {
				t.Errorf("the attempts differ:\n%s\n%s", first.body, second.body)
			}
			if s := snapshotOf(t, first); s.Data.Job.StartedAt == "" {
				t.Errorf("it does not say when the run began: %s", first.body)
			}
			if err := g.app.Cancel(t.Context(), accepted.ID); err != nil {
				t.Fatal(err)
			}
		})
	}
}
