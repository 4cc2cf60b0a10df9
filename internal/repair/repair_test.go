package repair

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a runner on a store of its own.
type world struct {
	*Runner
	t     *testing.T
	store *sqlite.Store
	owed  map[job.ID]string // lanes of the callbacks, by id
}

func setup(t *testing.T, wrap func(Store) Store) *world {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "a.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var used Store = store
	if wrap != nil {
		used = wrap(store)
	}
	w := &world{t: t, store: store, owed: map[job.ID]string{}}
	w.Runner = New(Options{Store: used, Contract: func(string) job.Contract { return job.Operation{}.WithDefaults().Callback },
		Owed:  func(*job.Job, job.State, time.Time) []job.OwedCallback { return nil },
		Waits: func(*job.Callback) (string, time.Time) { return "", time.Time{} }, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	store.Committed(w.Committed)
	t.Cleanup(func() {
		w.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) no(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// dead makes n callbacks to an origin that are dead.
func (w *world) dead(origin string, n int) {
	w.t.Helper()
	now := time.Now().Add(-time.Hour)
	var work sync.WaitGroup
	var mu sync.Mutex
	for range 16 {
		work.Go(func() {
			for {
				mu.Lock()
				if n--; n < 0 {
					mu.Unlock()
					return
				}
				j := &job.Job{ID: w.store.NewID(now), App: "shop", Operation: "scan", State: job.Accepted, CreatedAt: now, Targets: []job.Target{{URL: origin}}}
				cb := &job.Callback{ID: w.store.NewID(now), JobID: j.ID, App: "shop", Operation: "scan", Event: job.EventSucceeded, URL: origin, Method: "POST",
					CreatedAt: now, GiveUpAt: now.Add(time.Hour), State: job.Pending, DueAt: now}
				w.owed[cb.ID] = origin
				mu.Unlock()
				_, err := w.store.Accept(w.t.Context(), job.Acceptance{Job: j, Finish: &job.Finish{Job: j, State: job.Succeeded, At: now, Run: &job.Run{N: 1},
					Result: &job.Result{Status: 200}, Callbacks: []job.OwedCallback{{Callback: cb, Claimed: true}}}})
				if err == nil {
					err = w.store.SettleAttempt(w.t.Context(), job.Settlement{Callback: cb, State: job.Dead, At: now, Attempt: &job.Attempt{N: 1, Error: job.ClassRefused}})
				}
				if err != nil {
					w.t.Error(err)
				}
			}
		})
	}
	work.Wait()
}

func (w *world) create(action job.BulkAction) *job.Bulk {
	w.t.Helper()
	now := time.Now()
	b := &job.Bulk{ID: w.store.NewID(now), App: "shop", Action: action, State: job.BulkRunning, CreatedAt: now}
	w.no(w.store.CreateBulk(w.t.Context(), b))
	return b
}

func (w *world) read(id job.ID) *job.Bulk {
	w.t.Helper()
	b, err := w.store.Bulk(w.t.Context(), "shop", id)
	w.no(err)
	return b
}

// until polls for a condition.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	deadline, tick := time.NewTimer(time.Minute), time.NewTicker(2*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			w.t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// deliver sends what is due to an origin.
func (w *world) deliver(origin string, limit int) (n int) {
	w.t.Helper()
	due, _, err := w.store.ClaimCallbacks(w.t.Context(), "shop "+origin, time.Now(), limit)
	w.no(err)
	for _, d := range due {
		w.no(w.store.SettleAttempt(w.t.Context(), job.Settlement{Callback: d.Callback, State: job.Delivered, At: time.Now(), Attempt: &job.Attempt{N: 2, Status: 200}}))
	}
	return len(due)
}

func TestALaneThatHasMuchToSendIsLeftBehindAndCaughtUpWith(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	const slow, fast, many, few = "https://slow.example", "https://fast.example", maxLaneDue + 300, 150
	w.dead(slow, many)
	w.dead(fast, few)
	b := w.create(job.BulkResend)
	w.Open()
	backlog := func(origin string) int {
		n, err := w.store.LaneBacklog(t.Context(), "shop "+origin, time.Now(), 10_000)
		w.no(err)
		return n
	}
	w.until("the other lane is done with", func() bool { return backlog(fast) == few })
	if got := w.read(b.ID); got.State != job.BulkRunning || len(got.Behind) != 1 || got.Behind[0].Lane != "shop "+slow || got.Total != many+few {
		t.Errorf("bulk: %+v", got)
	}
	if n := backlog(slow); n != maxLaneDue {
		t.Errorf("%d are due to the slow one", n)
	}
	delivered := 0
	w.until("it has ended", func() bool {
		delivered += w.deliver(slow, 100)
		return w.read(b.ID).State == job.BulkDone
	})
	w.until("all is delivered", func() bool { delivered += w.deliver(slow, 100); return delivered >= many })
	if got := w.read(b.ID); got.Done != many+few || got.Skipped != 0 || delivered != many {
		t.Errorf("%d delivered; bulk: %+v", delivered, got)
	}
}

// failing is a store whose steps fail, before or after they are stored.
type failing struct {
	Store
	n int
}

func (f *failing) StepBulk(ctx context.Context, st job.BulkStep) (*job.Bulk, error) {
	f.n++
	switch f.n % 3 {
	case 1:
		return nil, job.ErrUnavailable
	case 2:
		_, err := f.Store.StepBulk(ctx, st)
		return nil, errors.Join(err, job.ErrUnavailable, job.ErrOutcomeUnknown)
	}
	return f.Store.StepBulk(ctx, st)
}

func TestAStoreThatFailsLeavesNothingOutAndDoesNothingTwice(t *testing.T) {
	t.Parallel()
	w := setup(t, func(s Store) Store { return &failing{Store: s} })
	const origin, n = "https://my.server", 250
	w.dead(origin, n)
	b := w.create(job.BulkResend)
	w.Open()
	w.until("it has ended", func() bool { return w.read(b.ID).State == job.BulkDone })
	if got := w.read(b.ID); got.Done != n || got.Skipped != 0 || got.Total != n {
		t.Errorf("bulk: %+v", got)
	}
	for id := range w.owed {
		cb, err := w.store.Callback(t.Context(), "shop", id)
		w.no(err)
		if cb.State != job.Pending || cb.Round != 1 {
			t.Errorf("%+v", cb)
		}
	}
}

func TestABulkThatIsStoppedGoesNoFurther(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	const origin = "https://my.server"
	w.dead(origin, maxLaneDue+100)
	b := w.create(job.BulkResend)
	w.Open()
	w.until("the lane is full", func() bool { return len(w.read(b.ID).Behind) == 1 })
	_, err := w.store.StopBulk(t.Context(), "shop", b.ID, time.Now())
	w.no(err)
	before := w.read(b.ID)
	for w.deliver(origin, 100) > 0 {
	}
	other := w.create(job.BulkDiscard)
	w.until("another one has ended", func() bool { return w.read(other.ID).State == job.BulkDone })
	if got := w.read(b.ID); got.Done != before.Done || got.State != job.BulkStopped || before.Done != maxLaneDue {
		t.Errorf("bulk: %+v, when it was stopped %+v", got, before)
	}
}

func TestAPlanSaysWhatABulkWouldBe(t *testing.T) {
	t.Parallel()
	w := setup(t, nil)
	w.dead("https://a.example", 30)
	w.dead("https://b.example", 10)
	now := time.Now()
	b := &job.Bulk{ID: w.store.NewID(now), App: "shop", Action: job.BulkResend, CreatedAt: now}
	plan, err := w.Plan(t.Context(), b)
	w.no(err)
	if plan.Matched != 40 || plan.More || len(plan.Lanes) != 2 || plan.Lanes[0].Origin != "https://a.example" || plan.Lanes[0].Count != 30 || plan.Seconds != 0 ||
		!strings.Contains(plan.Basis, "answers") {
		t.Errorf("nothing was delivered lately: %+v", plan)
	}
	for range 2 {
		_, err := w.store.Resend(t.Context(), "shop", anyOf(w.owed, "https://a.example"), now, now.Add(time.Hour))
		w.no(err)
		_, err = w.store.Resend(t.Context(), "shop", anyOf(w.owed, "https://b.example"), now, now.Add(time.Hour))
		w.no(err)
	}
	for _, origin := range []string{"https://a.example", "https://b.example"} {
		due, _, err := w.store.ClaimCallbacks(t.Context(), "shop "+origin, time.Now(), 10)
		w.no(err)
		for _, d := range due {
			w.no(w.store.SettleAttempt(t.Context(), job.Settlement{Callback: d.Callback, State: job.Delivered, At: now, Attempt: &job.Attempt{N: 2, Status: 200, Total: 320 * time.Second}}))
		}
	}
	plan, err = w.Plan(t.Context(), b)
	w.no(err)
	// 32 at once, each 320 s: one in ten seconds.
	if plan.Matched != 36 || plan.Lanes[0].PerSecond != 0.1 || plan.Seconds != 280 {
		t.Errorf("%+v", plan)
	}
}

func anyOf(owed map[job.ID]string, origin string) job.ID {
	for id, o := range owed {
		if o == origin {
			delete(owed, id)
			return id
		}
	}
	return job.ID{}
}
