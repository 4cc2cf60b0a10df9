package executor

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a backend whose attempts end as it says; the last one repeats.
type script struct {
	mu   sync.Mutex
	ends []func(context.Context) (*job.Result, error)
	at   []time.Time // when each attempt began
	auth []string
}

func (s *script) Run(ctx context.Context, run *backend.Run) (*job.Result, error) {
	s.mu.Lock()
	s.at = append(s.at, time.Now())
	s.auth = append(s.auth, run.Authorization+" and "+run.Cookie)
	end := s.ends[min(len(s.at), len(s.ends))-1]
	s.mu.Unlock()
	return end(ctx)
}

func succeed(context.Context) (*job.Result, error) { return &job.Result{Status: 200, Echo: true}, nil }

func fail(f *backend.Failure) func(context.Context) (*job.Result, error) {
	return func(context.Context) (*job.Result, error) { return nil, f }
}

func hang(ctx context.Context) (*job.Result, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// rig is an executor over a real store, in a bubble of its own time.
type rig struct {
	*Executor
	store  *sqlite.Store
	script *script
	mu     sync.Mutex
	owed   []job.State
	early  []bool // whether the job of each was Early
	sealer *seal.Sealer
}

func setup(t *testing.T, op job.Operation, ends ...func(context.Context) (*job.Result, error)) *rig {
	t.Helper()
	return setupOn(t, func(s *sqlite.Store) job.Runs { return s }, op, ends...)
}

// setupOn puts something between executor and store.
func setupOn(t *testing.T, between func(*sqlite.Store) job.Runs, op job.Operation, ends ...func(context.Context) (*job.Result, error)) *rig {
	t.Helper()
	return setupWith(t, between, op, &script{ends: ends}, nil)
}

// setupWith has a backend of its own, and those who hear of what comes before the end.
func setupWith(t *testing.T, between func(*sqlite.Store) job.Runs, op job.Operation, b backend.Backend, early func(*sqlite.Store) Early) *rig {
	t.Helper()
	store, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "r.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	bodies, err := body.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(make([]byte, seal.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{store: store, sealer: sealer}
	r.script, _ = b.(*script)
	op.Name = "work"
	var listening Early
	if early != nil {
		listening = early(store)
	}
	r.Executor = New(Options{Store: between(store), Bodies: bodies, Seal: sealer, Operations: []Operation{{Operation: op, Backend: b}}, Early: listening,
		Owe: func(_ context.Context, j *job.Job, state job.State, _ time.Time) []job.OwedCallback {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.owed, r.early = append(r.owed, state), append(r.early, j.Early)
			return nil
		},
		Disown: func(*job.Job, []job.OwedCallback) {}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Registerer: prometheus.NewRegistry()})
	store.Committed(r.Committed)
	if err := r.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	return r
}

func (r *rig) accept(t *testing.T, change func(*job.Job)) job.ID {
	t.Helper()
	now := time.Now()
	j := &job.Job{ID: r.store.NewID(now), App: "shop", Operation: "work", State: job.Accepted, CreatedAt: now, DueAt: now}
	if change != nil {
		change(j)
	}
	claimed := r.Reserve(j)
	if _, err := r.store.Accept(t.Context(), job.Acceptance{Job: j, Claimed: claimed}); err != nil {
		t.Fatal(err)
	}
	return j.ID
}

// ended waits for the job's end in the bubble's time.
func (r *rig) ended(t *testing.T, id job.ID) *job.Job {
	t.Helper()
	for range 10_000 {
		j, err := r.store.Job(t.Context(), "shop", id)
		if err != nil {
			t.Fatal(err)
		}
		if j.State.Terminal() {
			return j
		}
		<-time.After(time.Second)
	}
	t.Fatal("the job does not end")
	return nil
}

var retry = job.Retry{Attempts: 4, Backoff: 10 * time.Second, MaxBackoff: 30 * time.Second}

func TestAFailedRunIsRepeatedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{Retry: retry}, fail(&backend.Failure{Code: job.CodeExit}), fail(&backend.Failure{Code: job.CodeExit}),
			fail(&backend.Failure{Code: job.CodeExit}), succeed)
		j := r.ended(t, r.accept(t, nil))
		if j.State != job.Succeeded || j.Runs != 4 || j.Error != nil {
			t.Fatalf("%+v", j)
		}
		for i, base := range []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second} {
			if d := r.script.at[i+1].Sub(r.script.at[i]); d < base*8/10-time.Second || d > base*12/10+time.Second {
				t.Errorf("before run %d: %v, want about %v", i+2, d, base)
			}
		}
		runs, err := r.store.RunsOf(t.Context(), j.ID)
		if err != nil || len(runs) != 4 || runs[0].Error.Code != job.CodeExit || runs[3].Error != nil {
			t.Errorf("recorded runs: %+v, %v", runs, err)
		}
	})
}

func TestRetryAfterOfABackendHoldsButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{Retry: retry}, fail(&backend.Failure{Code: job.CodeBackendStatus, RetryAfter: time.Minute}),
			fail(&backend.Failure{Code: job.CodeBackendStatus, RetryAfter: 1000 * time.Hour}), succeed)
		r.ended(t, r.accept(t, nil))
		if d := r.script.at[1].Sub(r.script.at[0]); d < time.Minute {
			t.Errorf("repeated after %v, asked for a minute", d)
		}
		if d := r.script.at[2].Sub(r.script.at[1]); d < time.Hour || d > time.Hour+time.Minute {
			t.Errorf("repeated after %v, want the bound of an hour", d)
		}
	})
}

func TestAJobThatIsOutOfAttemptsFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{Retry: retry}, fail(&backend.Failure{Code: job.CodeExit, Message: "m", Detail: "d"}))
		j := r.ended(t, r.accept(t, nil))
		if j.State != job.Failed || j.Runs != 4 || *j.Error != (job.Error{Code: job.CodeExit, Message: "m", Detail: "d"}) {
			t.Fatalf("%+v %+v", j, j.Error)
		}
		if !slices.Equal(r.owed, []job.State{job.Failed}) {
			t.Errorf("owed: %v", r.owed)
		}
	})
}

func TestAFinalFailureIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{Retry: retry}, fail(&backend.Failure{Code: job.CodeScannerLimit, Final: true}))
		if j := r.ended(t, r.accept(t, nil)); j.State != job.Failed || j.Runs != 1 {
			t.Fatalf("%+v", j)
		}
	})
}

func TestAnUnknownErrorIsRepeatedAndNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{Retry: job.Retry{Attempts: 2}}, func(context.Context) (*job.Result, error) { return nil, errors.New("dial 10.0.0.1: secret") })
		if j := r.ended(t, r.accept(t, nil)); j.Runs != 2 || j.Error.Code != job.CodeBackendError || j.Error.Message != "the backend failed" {
			t.Fatalf("%+v %+v", j, j.Error)
		}
	})
}

func TestAnAttemptIsBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{Timeout: time.Minute, Retry: job.Retry{Attempts: 2}}, hang)
		j := r.ended(t, r.accept(t, nil))
		if j.State != job.Failed || j.Runs != 2 || j.Error.Code != job.CodeTimeout {
			t.Fatalf("%+v %+v", j, j.Error)
		}
	})
}

func TestADeadlineEndsTheWholeJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{Timeout: time.Hour, Retry: retry}, hang)
		began := time.Now()
		j := r.ended(t, r.accept(t, func(j *job.Job) { j.Deadline = j.CreatedAt.Add(time.Minute) }))
		if j.State != job.Expired || j.Error.Code != job.CodeExpired || time.Since(began) > 2*time.Minute {
			t.Fatalf("after %v: %+v %+v", time.Since(began), j, j.Error)
		}
	})
}

func TestADeadlineInTheLastAttemptExpiresTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{Timeout: time.Hour, Retry: job.Retry{Attempts: 1}}, hang)
		j := r.ended(t, r.accept(t, func(j *job.Job) { j.Deadline = j.CreatedAt.Add(time.Minute) }))
		if j.State != job.Expired || j.Error.Code != job.CodeExpired || j.Runs != 1 {
			t.Fatalf("%+v %+v", j, j.Error)
		}
	})
}

func TestADeadlineEndsAJobThatWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{Concurrency: 1, Timeout: time.Hour}, hang)
		r.accept(t, nil)
		began := time.Now()
		j := r.ended(t, r.accept(t, func(j *job.Job) { j.Deadline = j.CreatedAt.Add(10 * time.Second) }))
		if j.State != job.Expired || j.Runs != 0 || time.Since(began) > 15*time.Second {
			t.Errorf("after %v: %+v", time.Since(began), j)
		}
		onDisk := r.accept(t, func(j *job.Job) { j.DueAt, j.Deadline = j.CreatedAt.Add(time.Hour), j.CreatedAt.Add(10*time.Second) })
		if j := r.ended(t, onDisk); j.State != job.Expired {
			t.Errorf("%+v", j)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if !slices.Equal(r.owed, []job.State{job.Expired, job.Expired}) {
			t.Errorf("owed: %v", r.owed)
		}
	})
}

func TestARunThatMayHaveHadAnEffectIsNotRepeatedAtMostOnce(t *testing.T) {
	for name, end := range map[string]func(context.Context) (*job.Result, error){
		"timeout": hang,
		"unknown": func(context.Context) (*job.Result, error) { return nil, errors.New("broken pipe") },
		"status":  fail(&backend.Failure{Code: job.CodeBackendStatus, RetryAfter: time.Second}),
		"broken":  fail(&backend.Failure{Code: job.CodeUnreachable}),
		"exit":    fail(&backend.Failure{Code: job.CodeExit}),
		"panic":   func(context.Context) (*job.Result, error) { panic("oops") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := setup(t, job.Operation{AtMostOnce: true, Timeout: time.Minute, Retry: retry}, end)
				if j := r.ended(t, r.accept(t, nil)); j.State != job.Failed || j.Runs != 1 || len(r.script.at) != 1 {
					t.Errorf("%d runs: %+v", len(r.script.at), j)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{AtMostOnce: true, Retry: retry}, fail(&backend.Failure{Code: job.CodeUnreachable, NotBegun: true}), succeed)
		if j := r.ended(t, r.accept(t, nil)); j.State != job.Succeeded || j.Runs != 2 {
			t.Errorf("nobody was reached, and it was not repeated: %+v", j)
		}
	})
}

// late is a store in which a job ends between its claim and its way into memory.
type late struct {
	job.Runs
	after func([]*job.Job)
}

func (l *late) ClaimRuns(ctx context.Context, app, op string, now time.Time, limit int) ([]*job.Job, time.Time, error) {
	jobs, next, err := l.Runs.ClaimRuns(ctx, app, op, now, limit)
	l.after(jobs)
	return jobs, next, err
}

func TestAJobThatEndsWhileItIsLoadedIsNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setupOn(t, func(s *sqlite.Store) job.Runs {
			return &late{Runs: s, after: func(jobs []*job.Job) {
				for _, j := range jobs {
					if err := s.FinishRun(context.Background(), job.Finish{Job: j, State: job.Canceled, At: time.Now()}); err != nil {
						t.Error(err)
					}
				}
			}}
		}, job.Operation{}, succeed)
		now := time.Now()
		j := &job.Job{ID: r.store.NewID(now), App: "shop", Operation: "work", State: job.Accepted, CreatedAt: now}
		if _, err := r.store.Accept(t.Context(), job.Acceptance{Job: j}); err != nil {
			t.Fatal(err)
		}
		r.ended(t, j.ID)
		synctest.Wait()
		if len(r.script.at) != 0 {
			t.Errorf("%d runs of a canceled job", len(r.script.at))
		}
	})
}

func TestACanceledJobThatWaitsIsNeverRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := setup(t, job.Operation{Concurrency: 1}, func(context.Context) (*job.Result, error) {
			<-release
			return &job.Result{Status: 200, Echo: true}, nil
		})
		first, second := r.accept(t, nil), r.accept(t, nil)
		synctest.Wait()
		j, err := r.store.Job(t.Context(), "shop", second)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.store.FinishRun(t.Context(), job.Finish{Job: j, State: job.Canceled, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		close(release)
		r.ended(t, first)
		synctest.Wait()
		if len(r.script.at) != 1 {
			t.Errorf("%d runs, want that of the other job only", len(r.script.at))
		}
	})
}

func TestARelayIsDoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{}, hang)
		op := r.ops["work"]
		op.Backend, op.instant = backend.Relay{}, true
		r.ops["work"] = op
		j := r.ended(t, r.accept(t, nil))
		if j.State != job.Succeeded || j.Runs != 1 || j.StartedAt.IsZero() || len(r.held) != 0 {
			t.Errorf("%+v, %d held", j, len(r.held))
		}
		late := r.ended(t, r.accept(t, func(j *job.Job) { j.Deadline = j.CreatedAt }))
		if late.State != job.Expired || late.Runs != 0 {
			t.Errorf("after its deadline: %+v", late)
		}
	})
}

func TestAnInstantEndIsMadeBeforeTheJobIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{MaxResultBytes: 10}, succeed)
		j := &job.Job{ID: r.store.NewID(time.Now()), App: "shop", Operation: "work", State: job.Accepted, CreatedAt: time.Now()}
		if f := r.Instantly(t.Context(), j); f != nil {
			t.Errorf("of a backend that takes time: %+v", f)
		}
		op := r.ops["work"]
		op.Backend, op.instant = backend.Relay{}, true
		r.ops["work"] = op
		f := r.Instantly(t.Context(), j)
		if f == nil || f.State != job.Succeeded || f.Run.N != 1 || !f.Result.Echo || !slices.Equal(r.owed, []job.State{job.Succeeded}) {
			t.Errorf("%+v, owed %v", f, r.owed)
		}
		j.Request.Body.Size = 11
		if f := r.Instantly(t.Context(), j); f != nil {
			t.Errorf("of a result that is too large: %+v", f)
		}
	})
}

func TestAPoisonJobEndsAfterItsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{Retry: job.Retry{Attempts: 2}}, succeed)
		now := time.Now()
		j := &job.Job{ID: r.store.NewID(now), App: "shop", Operation: "work", State: job.Accepted, CreatedAt: now, Runs: 2, Interrupted: 2, Rescued: true}
		if state, why := r.unfit(j, r.ops["work"], true, now); state != job.Failed || why.Code != job.CodeInterrupted {
			t.Errorf("%v %v", state, why)
		}
		j.Runs, j.Interrupted = 1, 1
		if _, why := r.unfit(j, r.ops["work"], true, now); why != nil {
			t.Errorf("after one interruption: %v", why)
		}
		once := r.ops["work"]
		once.AtMostOnce = true
		if _, why := r.unfit(j, once, true, now); why == nil {
			t.Error("a job that runs at most once would run again")
		}
	})
}

func TestAuthorizationAndCookieAreOpenedForTheBackendOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup(t, job.Operation{}, succeed)
		id := r.accept(t, func(j *job.Job) {
			j.Request.Authorization = r.sealer.Seal([]byte("Basic c2VjcmV0\na=1; b=2"), "authorization")
		})
		r.ended(t, id)
		if !slices.Equal(r.script.auth, []string{"Basic c2VjcmV0 and a=1; b=2"}) {
			t.Errorf("the backend got %q", r.script.auth)
		}
		j, err := r.store.WholeJob(t.Context(), "shop", id)
		if err != nil || len(j.Request.Authorization) != 0 {
			t.Errorf("after its end the job still has an Authorization: %v", err)
		}
	})
}

// flaky is a store that can take nothing for a while.
type flaky struct {
	job.Runs
	mu     sync.Mutex
	refuse int
	calls  int
}

func (f *flaky) FinishRun(ctx context.Context, fin job.Finish) error {
	f.mu.Lock()
	f.calls++
	refuse := f.calls <= f.refuse
	f.mu.Unlock()
	if refuse {
		return job.ErrUnavailable
	}
	return f.Runs.FinishRun(ctx, fin)
}

func TestAResultIsKeptWhileTheStoreCanTakeNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{refuse: 5}
		r := setupOn(t, func(s *sqlite.Store) job.Runs { f.Runs = s; return f }, job.Operation{}, succeed)
		if j := r.ended(t, r.accept(t, nil)); j.State != job.Succeeded || j.Runs != 1 {
			t.Fatalf("%+v", j)
		}
		if len(r.script.at) != 1 || f.calls != 6 {
			t.Errorf("%d runs, %d times stored", len(r.script.at), f.calls)
		}
	})
}
