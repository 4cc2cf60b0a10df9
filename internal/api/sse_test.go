package api

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/job"
)

// follower reads a stream of events.
type follower struct {
	t     *testing.T
	lines *bufio.Scanner
	resp  *http.Response
}

type received struct{ id, name, data string }

func (g *gateway) follow(key string, j *job.Job, last string) *follower {
	g.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	g.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", g.server.URL+"/v1/jobs/"+j.ID.Job()+"/events", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Ringback-Key", key)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := g.server.Client().Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { resp.Body.Close() })
	return &follower{g.t, bufio.NewScanner(resp.Body), resp}
}

// next is the next event; ok is false at the stream's end.
func (f *follower) next() (e received, ok bool) {
	f.t.Helper()
	for f.lines.Scan() {
		name, value, _ := strings.Cut(f.lines.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.data != "" {
				return e, true
			}
		}
	}
	return e, false
}

func (f *follower) want(name string) received {
	f.t.Helper()
	e, ok := f.next()
	if !ok || e.name != name {
		f.t.Fatalf("event %q (%v) %s, want %q", e.name, ok, e.data, name)
	}
	return e
}

func TestStreamTellsOfEveryStateUntilTheCallbackIsSettled(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", nil)
	f := g.follow(key, j, "")
	if ct := f.resp.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("Content-Type %q", ct)
	}
	first := f.want("accepted")
	if !strings.Contains(first.data, `"status":"accepted"`) {
		t.Errorf("data %s", first.data)
	}
	g.finish(j, job.Succeeded, &job.Result{Status: 200}, nil)
	ended := f.want("succeeded")
	g.settle(j)
	last := f.want("callback")
	for !strings.Contains(last.data, `"status":"delivered"`) { // it may have been seen as claimed
		last = f.want("callback")
	}
	if e, ok := f.next(); ok {
		t.Errorf("an event after the last one: %v", e)
	}
	if again := g.follow(key, j, last.id); again.resp.StatusCode != http.StatusNoContent {
		t.Errorf("connected again after the end: %d", again.resp.StatusCode)
	}
	if e := g.follow(key, j, ended.id).want("callback"); e.id != last.id {
		t.Errorf("connected again before the last event: %v", e)
	}
	if e := g.follow(key, j, "nonsense").want("succeeded"); e.id != last.id {
		t.Errorf("connected with an unknown id: %v", e)
	}
}

func TestStreamSendsNothingTwice(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	j := g.job("a", func(j *job.Job) { j.Targets = nil })
	first := g.follow(key, j, "").want("accepted")
	f := g.follow(key, j, first.id)
	g.finish(j, job.Failed, nil, &job.Error{Code: job.CodeTimeout, Message: "too slow"})
	f.want("failed")
	if _, ok := f.next(); ok {
		t.Error("the stream goes on after the end of a job without callback")
	}
}

func TestStreamEndsWhenTheGatewayDrains(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("a")
	f := g.follow(key, g.job("a", nil), "")
	f.want("accepted")
	g.api.Drain()
	if e, ok := f.next(); ok {
		t.Errorf("an event after the drain: %v", e)
	}
}

// oneApp is a store with one job and the app that owns it.
type oneApp struct{ oneJob }

func (oneApp) App(context.Context, string) (job.App, error) { return job.App{Name: DevApp}, nil }

func TestQuietStreamIsKeptOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opt := Options{Dev: true, Now: time.Now, Store: oneApp{oneJob{j: &job.Job{State: job.Running}}}}
		v := &v1{API: &API{opt: opt, watch: newWatchers(), auth: newAuthenticator(opt)}}
		ctx, cancel := context.WithTimeout(t.Context(), 3*heartbeat+time.Second)
		defer cancel()
		w := httptest.NewRecorder()
		first, err := v.event(ctx, DevApp, job.ID{}, "")
		if err != nil {
			t.Fatal(err)
		}
		v.stream(httptest.NewRequestWithContext(ctx, "GET", "/", nil), newStream(w), job.ID{}, &caller{app: job.App{Name: DevApp}, key: job.Key{Scopes: job.AllScopes}}, first, nil)
		if got := w.Body.String(); got != strings.Repeat(": ping\n\n", 3) || !w.Flushed {
			t.Errorf("sent %q", got)
		}
	})
}
