package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// reporting is a backend that says how far it is.
type reporting func(ctx context.Context, run *backend.Run) error

func (f reporting) Run(ctx context.Context, run *backend.Run) (*job.Result, error) {
	if err := f(ctx, run); err != nil {
		return nil, err
	}
	return &job.Result{Status: 200, Echo: true}, nil
}

// ears hear of runs and their progress, each target at its interval.
type ears struct {
	store     *sqlite.Store
	intervals []time.Duration
	late      bool // they hear of progress only
}

func (e *ears) callback(j *job.Job, target int, event job.Event, at time.Time) *job.Callback {
	return &job.Callback{ID: e.store.NewID(at), JobID: j.ID, App: j.App, Operation: j.Operation, Event: event, URL: j.Targets[target].URL,
		Method: "POST", CreatedAt: at, DueAt: at, GiveUpAt: at.Add(time.Hour), State: job.Pending}
}

func (e *ears) OweEarly(_ context.Context, j *job.Job, event job.Event, at time.Time) (owed []job.OwedCallback) {
	for i := range e.intervals {
		if e.late {
			break
		}
		owed = append(owed, job.OwedCallback{Callback: e.callback(j, i, event, at)})
	}
	return owed
}

func (e *ears) OweProgress(_ context.Context, j *job.Job, target int, value []byte, at time.Time) *job.Callback {
	cb := e.callback(j, target, job.EventProgress, at)
	cb.Data = value
	return cb
}

func (e *ears) ProgressInterval(_ context.Context, _ *job.Job, target int) time.Duration {
	return e.intervals[target]
}

// counting counts what is written of progress, and can refuse it.
type counting struct {
	*sqlite.Store
	mu     sync.Mutex
	values []string
	refuse int // so many times
}

func (c *counting) Progress(ctx context.Context, p job.Progress) error {
	c.mu.Lock()
	if c.refuse > 0 {
		c.refuse--
		c.mu.Unlock()
		return fmt.Errorf("full: %w", job.ErrUnavailable)
	}
	c.mu.Unlock()
	err := c.Store.Progress(ctx, p)
	if err == nil {
		c.mu.Lock()
		c.values = append(c.values, string(p.Value))
		c.mu.Unlock()
	}
	return err
}

func (c *counting) written() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.values)
}

// setupReporting has one target for each interval.
func setupReporting(t *testing.T, op job.Operation, intervals []time.Duration, run reporting) (*rig, *counting, func() job.ID) {
	t.Helper()
	c := &counting{}
	between := func(s *sqlite.Store) job.Runs {
		c.Store = s
		return c
	}
	r := setupWith(t, between, op, run, func(s *sqlite.Store) Early { return &ears{store: s, intervals: intervals} })
	return r, c, func() job.ID {
		return r.accept(t, func(j *job.Job) {
			for i := range intervals {
				j.Targets = append(j.Targets, job.Target{URL: fmt.Sprintf("https://my.server/%d", i)})
			}
		})
	}
}

// told lists the progress callbacks to a target, each with the time since the first.
func (r *rig) told(t *testing.T, id job.ID, target int) (all []string) {
	t.Helper()
	found, err := r.store.Callbacks(t.Context(), job.CallbackFilter{JobID: id})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(found)
	var first time.Time
	for _, cb := range found {
		if cb.Event != job.EventProgress || !strings.HasSuffix(cb.URL, fmt.Sprint(target)) {
			continue
		}
		if first.IsZero() {
			first = cb.CreatedAt
		}
		all = append(all, cb.CreatedAt.Sub(first).String())
	}
	return all
}

func value(n int) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"done": %d}`, n)) }

func TestABackendThatReportsAllTheTimeIsWrittenOncePerInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c, accept := setupReporting(t, job.Operation{}, []time.Duration{time.Second}, func(_ context.Context, run *backend.Run) error {
			for i := range 10_000 {
				run.Report(value(i))
				<-time.After(time.Millisecond)
			}
			return nil
		})
		id := accept()
		j := r.ended(t, id)
		if n := len(c.written()); n < 9 || n > 11 {
			t.Errorf("written %d times in 10 s: %v", n, c.written())
		}
		if string(j.Progress) != `{"done":9999}` {
			t.Errorf("last: %s", j.Progress)
		}
		if told := r.told(t, id, 0); len(told) < 9 || len(told) > 11 {
			t.Errorf("told %v", told)
		}
		if !slices.Equal(r.early, []bool{true}) {
			t.Errorf("the end's callbacks do not know of those before")
		}
	})
}

func TestEachTargetHearsOfProgressAtItsOwnPaceAndOfTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c, accept := setupReporting(t, job.Operation{}, []time.Duration{time.Second, 10 * time.Second}, func(_ context.Context, run *backend.Run) error {
			run.Report(value(1))
			<-time.After(500 * time.Millisecond)
			run.Report(value(2))
			run.Report(value(3))
			<-time.After(30 * time.Second)
			return nil
		})
		id := accept()
		r.ended(t, id)
		if got := r.told(t, id, 0); !slices.Equal(got, []string{"0s", "1s"}) {
			t.Errorf("the fast one: %v", got)
		}
		if got := r.told(t, id, 1); !slices.Equal(got, []string{"0s", "10s"}) {
			t.Errorf("the slow one: %v", got)
		}
		if got := c.written(); !slices.Equal(got, []string{`{"done":1}`, `{"done":3}`, `{"done":3}`}) {
			t.Errorf("written: %v", got)
		}
	})
}

func TestProgressNobodyIsToldOfIsStillStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := make(chan bool)
		r, c, accept := setupReporting(t, job.Operation{}, nil, func(_ context.Context, run *backend.Run) error {
			run.Report(value(1))
			<-began
			run.Report(value(2))
			return nil
		})
		id := accept()
		synctest.Wait()
		j, err := r.store.Job(t.Context(), "shop", id)
		if err != nil || string(j.Progress) != `{"done":1}` || j.State != job.Running || j.Early {
			t.Fatalf("%+v, %v", j, err)
		}
		close(began)
		j = r.ended(t, id)
		// What was said last is stored with the end, in the same write.
		if string(j.Progress) != `{"done":2}` || len(c.written()) != 1 || r.early[0] {
			t.Errorf("%s, written %v", j.Progress, c.written())
		}
	})
}

func TestWhatIsNoProgressIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long, _ := json.Marshal(strings.Repeat("x", job.MaxProgressBytes))
		r, c, accept := setupReporting(t, job.Operation{}, nil, func(_ context.Context, run *backend.Run) error {
			for _, bad := range []string{"", " ", "{", "nonsense", `{"a":1} {"b":2}`, string(long)} {
				run.Report(json.RawMessage(bad))
			}
			for range 5 { // the same again is no news
				run.Report(json.RawMessage("[ 1 ]"))
				<-time.After(5 * time.Second)
			}
			return nil
		})
		r.ended(t, accept())
		if got := c.written(); !slices.Equal(got, []string{"[1]"}) {
			t.Errorf("written: %v", got)
		}
	})
}

func TestReportAfterTheRunIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept *backend.Run
		r, c, accept := setupReporting(t, job.Operation{}, nil, func(_ context.Context, run *backend.Run) error {
			kept = run
			return nil
		})
		id := accept()
		r.ended(t, id)
		kept.Report(value(1))
		<-time.After(time.Minute)
		if j, err := r.store.Job(t.Context(), "shop", id); err != nil || j.Progress != nil || len(c.written()) != 0 {
			t.Errorf("%v, %v", j, err)
		}
		(&backend.Run{}).Report(value(1)) // nobody listens
	})
}

func TestProgressIsTriedAgainWhileTheStoreCanTakeNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, c, accept := setupReporting(t, job.Operation{}, []time.Duration{time.Second}, func(_ context.Context, run *backend.Run) error {
			run.Report(value(1))
			<-time.After(10 * time.Second)
			return nil
		})
		c.refuse = 3
		id := accept()
		r.ended(t, id)
		if got := c.written(); !slices.Equal(got, []string{`{"done":1}`}) {
			t.Errorf("written: %v", got)
		}
		if got := r.told(t, id, 0); len(got) != 1 {
			t.Errorf("told: %v", got)
		}
	})
}

func TestManyMayReportAtOnce(t *testing.T) {
	r, c, accept := setupReporting(t, job.Operation{}, []time.Duration{10 * time.Millisecond}, func(_ context.Context, run *backend.Run) error {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 100 {
					run.Report(value(100*i + n))
				}
			})
		}
		wg.Wait()
		return nil
	})
	id := accept()
	deadline := time.After(time.Minute)
	for {
		j, err := r.store.Job(t.Context(), "shop", id)
		if err != nil {
			t.Fatal(err)
		}
		if j.State.Terminal() {
			if j.Progress == nil || len(c.written()) > 800 {
				t.Errorf("%s, written %d times", j.Progress, len(c.written()))
			}
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			t.Fatal("the job does not end")
		}
	}
}

func TestProgressIsStoredBehindTheStartOfItsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := &ears{intervals: []time.Duration{time.Second}, late: true}
		r := setupWith(t, func(s *sqlite.Store) job.Runs { return s }, job.Operation{}, reporting(func(_ context.Context, run *backend.Run) error {
			run.Report(value(1)) // the start waits for 50 ms
			<-time.After(time.Minute)
			return nil
		}), func(s *sqlite.Store) Early { heard.store = s; return heard })
		id := r.accept(t, func(j *job.Job) {
			j.Early, j.Targets = true, []job.Target{{URL: "https://my.server/0"}}
		})
		r.ended(t, id)
		if got := r.told(t, id, 0); !slices.Equal(got, []string{"0s"}) {
			t.Errorf("told %v", got)
		}
	})
}

func TestRunningIsToldOfOnceHoweverOftenTheJobRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		r, _, accept := setupReporting(t, job.Operation{Retry: retry}, []time.Duration{time.Second}, func(_ context.Context, run *backend.Run) error {
			runs++
			run.Report(value(runs))
			if runs < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		id := accept()
		if j := r.ended(t, id); j.State != job.Succeeded || !j.Early {
			t.Fatalf("%+v", j)
		}
		all, err := r.store.Callbacks(t.Context(), job.CallbackFilter{JobID: id})
		if err != nil {
			t.Fatal(err)
		}
		events := map[job.Event]int{}
		for _, cb := range all {
			events[cb.Event]++
		}
		if events[job.EventRunning] != 1 {
			t.Errorf("told of: %v", events)
		}
	})
}
