// Package storetest is the conformance suite of the stores: every promise of
// job.Store has a test here, and each store passes all of them.
package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// Harness is where one store's data lives.
type Harness interface {
	// Open opens the store: an empty one at first, later with what was committed.
	// now is its clock. The suite closes it.
	Open(t testing.TB, now func() time.Time) job.Store
	// Crash ends the store as kill -9 would. The next Open opens what is left.
	Crash(t testing.TB, s job.Store)
}

type test struct {
	name string
	run  func(*world)
}

// Run runs the suite; fresh makes a harness without data.
func Run(t *testing.T, fresh func(testing.TB) Harness) {
	t.Helper()
	for _, topic := range []struct {
		name  string
		tests []test
	}{
		{"Intake", intakeTests}, {"Runs", runsTests}, {"Waits", waitTests}, {"Questions", questionTests}, {"Callbacks", callbackTests}, {"Lists", listTests},
		{"Apps", appTests}, {"Keys", keyTests}, {"Limits", limitTests}, {"Endpoints", endpointTests}, {"Pauses", pauseTests}, {"Outages", outageTests}, {"Order", orderTests}, {"Turns", turnTests}, {"Overdue", overdueTests}, {"Janitor", janitorTests}, {"Audit", auditTests}, {"Seals", sealTests}, {"Bulk", bulkTests}, {"Keeping", keepTests}, {"Crash", crashTests},
	} {
		t.Run(topic.name, func(t *testing.T) {
			t.Parallel()
			for _, tt := range topic.tests {
				t.Run(tt.name, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, t, fresh(t))
					defer w.close()
					tt.run(w)
				})
			}
		})
	}
	t.Run("Model", func(t *testing.T) {
		t.Parallel()
		checkModel(t, fresh)
	})
}

// reporter is what testing.T and rapid.T have in common.
type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a store under test, with a clock that stands still unless it is moved,
// and with the changes that the store announced.
type world struct {
	job.Store
	t       reporter
	tb      testing.TB
	ctx     context.Context
	harness Harness

	mu      sync.Mutex
	clock   time.Time
	changes []job.Change
	heard   chan struct{} // filled after a change
}

func newWorld(t reporter, tb testing.TB, h Harness) *world {
	tb.Helper()
	w := &world{t: t, tb: tb, ctx: context.Background(), harness: h, heard: make(chan struct{}, 1),
		clock: time.Date(2030, 1, 2, 3, 4, 5, 678_000_000, time.UTC)}
	w.open()
	return w
}

func (w *world) open() {
	w.Store = w.harness.Open(w.tb, w.now)
	w.Committed(func(c job.Change) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changes = append(w.changes, c)
		select {
		case w.heard <- struct{}{}:
		default:
		}
	})
}

// close ends the store in good order.
func (w *world) close() {
	w.t.Helper()
	w.no(w.Close())
}

// crash ends the store in the middle of things, and opens it again.
func (w *world) crash() {
	w.harness.Crash(w.tb, w.Store)
	w.open()
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) pass(d time.Duration) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
	return w.clock
}

// announced takes the changes since the last call.
func (w *world) announced() []job.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	changes := w.changes
	w.changes = nil
	return changes
}

// await waits until a change of the kind was announced.
func (w *world) await(kind job.ChangeKind) job.Change {
	w.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		for _, c := range w.announced() {
			if c.Kind == kind {
				return c
			}
		}
		select {
		case <-w.heard:
		case <-deadline:
			w.t.Fatalf("no change of kind %d was announced", kind)
		}
	}
}

// until polls for a condition that nothing announces.
func (w *world) until(what string, condition func() bool) {
	w.t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("it never happened: %s", what)
		}
	}
}

// kinds lists the kinds of changes.
func kinds(changes []job.Change) (k []job.ChangeKind) {
	for _, c := range changes {
		k = append(k, c.Kind)
	}
	return k
}

// no fails on an error.
func (w *world) no(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("unexpected error: %v", err)
	}
}

// is fails unless err is the wanted one.
func (w *world) is(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Fatalf("error is %v, want %v", err, want)
	}
}

// equal fails unless both are deeply equal.
func (w *world) equal(what string, got, want any) {
	w.t.Helper()
	if !reflect.DeepEqual(got, want) {
		w.t.Fatalf("%s is\n%s\nwant\n%s", what, show(got), show(want))
	}
}

// show writes a value so that two that differ are seen to.
func show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%#v", v)
	}
	return fmt.Sprintf("%s\n%+v", text, v)
}

// newJob is a job of an app's call, small and due now.
func (w *world) newJob(app, operation string) *job.Job {
	now := w.now()
	return &job.Job{ID: w.NewID(now), App: app, Operation: operation, State: job.Accepted, CreatedAt: now, DueAt: now,
		Request: job.Request{Method: "POST", Path: "/" + operation, Header: map[string][]string{"Content-Type": {"text/plain"}},
			Body: job.Body{Inline: []byte("a document"), Size: 10}},
		Targets: []job.Target{{URL: "https://my.server/bar", Source: job.SourceRequest}}}
}

// accept stores a new job; claimed is born claimed.
func (w *world) accept(j *job.Job, claimed bool) *job.Job {
	w.t.Helper()
	_, err := w.Accept(w.ctx, job.Acceptance{Job: j, Claimed: claimed})
	w.no(err)
	return j
}

// claim claims all due jobs of an operation of the app "shop".
func (w *world) claim(operation string) []*job.Job {
	w.t.Helper()
	jobs, _, err := w.ClaimRuns(w.ctx, "shop", operation, w.now(), 1000)
	w.no(err)
	return jobs
}

// owe is a callback that j owes to a URL.
func (w *world) owe(j *job.Job, url string) *job.Callback {
	now := w.now()
	return &job.Callback{ID: w.NewID(now), JobID: j.ID, App: j.App, Operation: j.Operation, Event: job.EventSucceeded, URL: url,
		Method: "POST", CreatedAt: now, GiveUpAt: now.Add(72 * time.Hour), State: job.Pending, DueAt: now}
}

// success is the end of run n of j, with unclaimed callbacks.
func (w *world) success(j *job.Job, n int, owed ...*job.Callback) job.Finish {
	now := w.now()
	f := job.Finish{Job: j, State: job.Succeeded, At: now, Run: &job.Run{N: n, StartedAt: now.Add(-time.Second), FinishedAt: now},
		Result: &job.Result{Status: 200, ContentType: "text/plain", Header: map[string][]string{}, Body: job.Body{Inline: []byte("clean"), Size: 5}}}
	for _, cb := range owed {
		f.Callbacks = append(f.Callbacks, job.OwedCallback{Callback: cb})
	}
	return f
}

// retry is the failed end of run n of j, with another run after a while.
func (w *world) retry(j *job.Job, n int, after time.Duration) job.Finish {
	now := w.now()
	failure := &job.Error{Code: job.CodeUnreachable, Message: "no connection", Detail: "tail \u00e9"}
	return job.Finish{Job: j, State: job.Accepted, At: now, DueAt: now.Add(after), Error: failure,
		Run: &job.Run{N: n, StartedAt: now.Add(-time.Second), FinishedAt: now, Error: failure}}
}

// owed is a job that succeeded and owes an unclaimed callback to a URL.
func (w *world) owed(app, url string) (*job.Job, *job.Callback) {
	w.t.Helper()
	j := w.accept(w.newJob(app, "scan"), true)
	cb := w.owe(j, url)
	w.no(w.FinishRun(w.ctx, w.success(j, 1, cb)))
	return j, cb
}

// attempt is the end of attempt n of cb.
func (w *world) attempt(cb *job.Callback, n, status int, state job.CallbackState, after time.Duration) job.Settlement {
	now := w.now()
	s := job.Settlement{Callback: cb, State: state, At: now, Attempt: &job.Attempt{N: n, StartedAt: now, Total: time.Millisecond, Status: status}}
	if status >= 300 {
		s.Attempt.Error = job.StatusClass(status)
	}
	if state == job.Pending {
		s.DueAt, s.Waiting = now.Add(after), "backoff"
	}
	return s
}

// claimCallbacks claims all due callbacks of a lane.
func (w *world) claimCallbacks(lane string) []job.Delivery {
	w.t.Helper()
	due, _, err := w.ClaimCallbacks(w.ctx, lane, w.now(), 1000)
	w.no(err)
	return due
}

// read reads a job whole, of any app.
func (w *world) read(id job.ID) *job.Job {
	w.t.Helper()
	j, err := w.WholeJob(w.ctx, "", id)
	w.no(err)
	return j
}

// readCallback reads a callback.
func (w *world) readCallback(cb *job.Callback) *job.Callback {
	w.t.Helper()
	got, err := w.Callback(w.ctx, cb.App, cb.ID)
	w.no(err)
	return got
}

func jobIDs(jobs []*job.Job) (ids []job.ID) {
	for _, j := range jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

func callbackIDs(due []job.Delivery) (ids []job.ID) {
	for _, d := range due {
		ids = append(ids, d.Callback.ID)
	}
	return ids
}

func reversed(ids []job.ID) []job.ID {
	ids = slices.Clone(ids)
	slices.Reverse(ids)
	return ids
}
