// Package executor runs jobs: it gives each a worker when its turn comes, bounds
// the attempt in time, repeats what may succeed later, and stores the outcome
// together with the callbacks that it owes.
package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/pause"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
)

// Operation is an operation and what executes it.
type Operation struct {
	job.Operation
	Backend backend.Backend
	instant bool          // the Backend is a backend.Instant
	async   backend.Async // the Backend, where it is one
	asks    bool          // the Backend is a backend.Inquirer
}

// Options is what an Executor needs. All but the bounds are required.
type Options struct {
	Store      job.Runs
	Bodies     body.Storage
	Seal       *seal.Sealer
	Operations []Operation
	// Owe makes the callbacks that a job owes at its end, its result included, with
	// places in their lanes; Disown gives the places back where they could not be stored.
	Owe    func(ctx context.Context, j *job.Job, state job.State, at time.Time) []job.OwedCallback
	Disown func(*job.Job, []job.OwedCallback)
	Early  Early // nil: nothing is told before a job's end
	// Reader finds the jobs that upstreams speak about, RunURL makes what the URLs for
	// that begin with of a token. Both are needed where a Backend is a backend.Async.
	Reader job.Reader
	RunURL func(token string) string
	// Asker and Questions are for backends that ask the caller.
	Asker      Asker
	Questions  job.Questions
	Pauses     *pause.Set // what rests now; nil: nothing ever does
	MaxItems   int        // jobs in memory; 4096
	MaxBytes   int64      // of their inline bodies; 64 MiB
	Log        *slog.Logger
	Now        func() time.Time
	Registerer prometheus.Registerer
}

// Executor runs the jobs of a store. Make it with New.
type Executor struct {
	opt     Options
	ops     map[string]Operation
	window  *window.Window[*job.Job]
	metrics metrics

	mu   sync.Mutex
	held map[job.ID]*held // the jobs in memory, queued or running
	// gone are the last jobs that ended while they were not held: one that is being
	// loaded at that moment must not run.
	gone     [1024]job.ID
	goneNext int

	closing  bool            // what waits for an answer is handed back; mu guards it
	holds    context.Context // of requests that wait for an answer, until endHolds
	endHolds context.CancelFunc
	answers  waiters // for the ends of questions
	// waiting take how far the runs are that wait in the store; mu guards it.
	waiting map[job.ID]*reporter

	stop context.CancelFunc
	work sync.WaitGroup
}

// held is what an end from outside, such as a cancellation, needs to know of a
// job in memory.
type held struct {
	job    *job.Job // as it came into memory
	ended  bool
	cancel context.CancelCauseFunc // nil before the run
	talk   *talk                   // of a run that its upstream can speak about
}

// The causes of a run's end beside its time-out.
var (
	errEnded    = errors.New("the job has come to its end meanwhile")
	errDeadline = errors.New("the job's deadline has come")
)

// New makes an executor that does not run yet.
func New(opt Options) *Executor {
	e := &Executor{opt: opt, ops: map[string]Operation{}, held: map[job.ID]*held{}, waiting: map[job.ID]*reporter{}, metrics: newMetrics(opt.Registerer)}
	e.holds, e.endHolds = context.WithCancel(context.Background())
	workers := 0
	for _, op := range opt.Operations {
		op.Operation = op.WithDefaults()
		_, op.instant = op.Backend.(backend.Instant)
		op.async, _ = op.Backend.(backend.Async)
		_, op.asks = op.Backend.(backend.Inquirer)
		e.ops[op.Name] = op
		workers += op.Concurrency
	}
	if e.opt.MaxItems == 0 {
		e.opt.MaxItems = 4096
	}
	if e.opt.MaxBytes == 0 {
		e.opt.MaxBytes = 64 << 20
	}
	e.window = window.New(window.Options[*job.Job]{
		MaxItems: e.opt.MaxItems, MaxGroupItems: max(e.opt.MaxItems/2, 1), MaxBytes: e.opt.MaxBytes, Workers: max(workers, 1),
		// An app may use all of an operation while no other one wants it.
		Flow:     func(k window.Key) window.Flow { return window.Flow{Limit: e.limit(k.Name), Caps: [2]string{k.Name}} },
		CapLimit: e.limit,
		Load: func(ctx context.Context, k window.Key, limit int) ([]*job.Job, time.Time, error) {
			if e.opt.Pauses.Operation(k.Name) {
				return nil, time.Time{}, nil // its end looks again
			}
			jobs, next, err := e.opt.Store.ClaimRuns(ctx, k.Share, k.Name, opt.Now(), limit)
			for _, j := range jobs {
				e.holdLoaded(j)
			}
			return jobs, next, err
		},
		Groups: e.due,
		Size:   (*job.Job).MemoryBytes,
		Run:    e.run,
		Failed: func(k window.Key, err error) {
			opt.Log.Error("load jobs", "app", k.Share, "operation", k.Name, "error", err)
		},
		Now: opt.Now,
	})
	opt.Registerer.MustRegister(e.window.Gauges("jobs")...)
	return e
}

// Open begins to run jobs, with those that are due on disk.
func (e *Executor) Open(ctx context.Context) error {
	if err := e.window.Open(ctx); err != nil {
		return fmt.Errorf("open executor: %w", err)
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	e.stop = stop
	e.work.Go(func() { e.expire(watch) })
	return nil
}

// Close lets runs end until ctx is done, then cuts them off and hands them back.
// Its error says that some did not heed that.
func (e *Executor) Close(ctx context.Context) error {
	e.stop()
	e.work.Wait()
	e.stopAsking()
	if err := e.window.Close(ctx); err != nil {
		return fmt.Errorf("close executor: %w", err)
	}
	e.endProgress()
	return nil
}

// due lists the apps' operations that have something due on disk, but for those that
// are paused.
func (e *Executor) due(ctx context.Context, after window.Key, limit int) (due []window.Due, err error) {
	for more := true; more && len(due) == 0; {
		found, err := e.opt.Store.DueRuns(ctx, job.Due{App: after.Share, Name: after.Name}, limit)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			after = window.Key{Share: d.App, Name: d.Name}
			if !e.opt.Pauses.Operation(d.Name) {
				due = append(due, window.Due{Key: after, At: d.At})
			}
		}
		more = len(found) > 0
	}
	return due, nil
}

// limit is how many jobs of an operation run at once.
func (e *Executor) limit(operation string) int { return max(e.ops[operation].Concurrency, 1) }

// groupOf names the work of a job's app and operation: they take turns.
func groupOf(j *job.Job) window.Key { return window.Key{Share: j.App, Name: j.Operation} }

// Reserve takes a place in memory for a job, before it is stored.
func (e *Executor) Reserve(j *job.Job) bool {
	return !e.opt.Pauses.Operation(j.Operation) && e.window.Reserve(groupOf(j), j.MemoryBytes())
}

// Release gives back the place of a job that was not stored.
func (e *Executor) Release(j *job.Job) { e.window.Release(groupOf(j), j.MemoryBytes()) }

// Instantly makes the end of a job whose backend takes no time, so that both can be
// stored at once; nil where the job has to run. It is not for a job that was stored.
func (e *Executor) Instantly(ctx context.Context, j *job.Job) *job.Finish {
	op := e.ops[j.Operation]
	if !op.instant {
		return nil
	}
	now := e.opt.Now()
	result, err := e.attempt(ctx, j, attempt{op: op, n: 1})
	if err != nil {
		return nil // the run will say so again, and tell what follows
	}
	e.metrics.ran(op.Name, "succeeded", e.opt.Now().Sub(now))
	f := &job.Finish{Job: j, State: job.Succeeded, At: now, Run: &job.Run{N: 1, StartedAt: now, FinishedAt: now}, Result: result}
	f.Callbacks = e.opt.Owe(ctx, ended(f), f.State, f.At)
	return f
}

// ended is a finish's job as it is at its end: what callbacks are owed for.
func ended(f *job.Finish) *job.Job {
	j := *f.Job
	j.State, j.Result, j.Error, j.FinishedAt = f.State, f.Result, f.Error, f.At
	if f.Run != nil && j.StartedAt.IsZero() {
		j.StartedAt = f.Run.StartedAt
	}
	return &j
}

// Disown gives back the places of an end that was not stored.
func (e *Executor) Disown(f *job.Finish) { e.opt.Disown(ended(f), f.Callbacks) }

// Committed hears of every change of the store.
func (e *Executor) Committed(ch job.Change) {
	switch ch.Kind {
	case job.JobAccepted:
		if ch.Claimed {
			e.hold(ch.Job)
			e.window.Start(groupOf(ch.Job), ch.Job)
			return
		}
		e.window.Due(groupOf(ch.Job), ch.Job.DueAt)
	case job.PauseChanged:
		if !ch.Pause.To.IsZero() && ch.Pause.App == "" {
			e.window.Look()
		}
	case job.QuestionClosed:
		e.answers.wake(asked{ch.Job.ID, ch.Name})
	case job.JobRetried, job.JobWaiting:
		e.window.Due(groupOf(ch.Job), ch.Job.DueAt)
	case job.JobFinished:
		e.metrics.jobs.WithLabelValues(ch.Job.Operation, ch.Job.State.String()).Inc()
		if ch.Job.State == job.Canceled || ch.Job.State == job.Expired {
			e.forgetProgress(ch.Job.ID)
			e.end(ch.Job.ID)
		}
	}
}

func (e *Executor) hold(j *job.Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held[j.ID] = &held{job: j}
}

// holdLoaded holds what was read from disk, and sees what has ended since. One that is
// held already has waited for its upstream, and has gone on in the store meanwhile.
func (e *Executor) holdLoaded(j *job.Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held[j.ID] = &held{job: j, ended: slices.Contains(e.gone[:], j.ID)}
}

// end makes a job in memory end without a run, or cuts its run off.
func (e *Executor) end(id job.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.held[id]
	if h == nil || h.talk != nil && h.talk.returned {
		e.gone[e.goneNext] = id
		e.goneNext = (e.goneNext + 1) % len(e.gone)
	}
	if h == nil {
		return
	}
	h.ended = true
	if h.cancel != nil {
		h.cancel(errEnded)
	}
}

// runs notes how the run of a held job can be cut off. It is nil where the job has
// ended before, or was loaded anew since.
func (e *Executor) runs(j *job.Job, cancel context.CancelCauseFunc) *held {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.held[j.ID]
	if h == nil || h.job != j {
		return nil
	}
	if h.ended {
		delete(e.held, j.ID)
		return nil
	}
	h.cancel = cancel
	return h
}

// letGo forgets a job as it came into memory.
func (e *Executor) letGo(j *job.Job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.held[j.ID]; h != nil && h.job == j {
		delete(e.held, j.ID)
	}
}

// run makes one attempt at a job and stores how it ended.
func (e *Executor) run(ctx context.Context, j *job.Job, turn *window.Turn[*job.Job]) {
	if e.putBack(ctx, j) {
		return
	}
	if op, known := e.ops[j.Operation]; known && op.instant {
		e.runInstantly(ctx, op, j, turn)
		return
	}
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	h := e.runs(j, cancel)
	if h == nil {
		return
	}
	op, known := e.ops[j.Operation]
	now := e.opt.Now()
	if end, why := e.unfit(j, op, known, now); why != nil {
		e.letGo(j)
		_ = e.finish(ctx, job.Finish{Job: j, State: end, At: now, Error: why})
		return
	}
	if j.State == job.Waiting {
		o := e.resume(ctx, runCtx, op, j)
		e.letGo(j)
		turn.Free()
		_ = e.conclude(ctx, op, j, o)
		return
	}
	n := j.Runs + 1
	j, err := e.start(ctx, op, j, n, now)
	if errors.Is(err, job.ErrTerminal) {
		e.letGo(h.job) // canceled in the meantime
		return
	} else if err != nil {
		e.opt.Log.Error("start run", "job", j.ID.Job(), "error", err)
		e.letGo(h.job)
		_ = e.handBack(ctx, j, e.opt.Now().Add(time.Second))
		return
	}
	timeout, why := op.Timeout, context.DeadlineExceeded
	if left := j.Deadline.Sub(now); !j.Deadline.IsZero() && left < timeout {
		timeout, why = left, errDeadline
	}
	runCtx, stop := context.WithTimeoutCause(runCtx, timeout, why)
	defer stop()
	r := &reporter{e: e, op: op, n: n, started: now, j: j, begun: op.AtMostOnce || j.Rescued}
	a, o := attempt{op: op, n: n, report: r.report}, outcome{n: n, started: now}
	if talks := op.async != nil && op.async.Talks(); talks || op.asks {
		a.talk = &talk{job: j, n: n, report: r.report, ctx: runCtx, turn: turn, started: now, until: now.Add(timeout), once: op.AtMostOnce,
			stored: make(chan struct{})}
		o.token = e.speaks(a.talk, talks)
	}
	o.result, o.err = e.attempt(runCtx, j, a)
	o.cutOff = context.Cause(runCtx)
	j, o.progress = r.stop()
	// Before the end is stored: from then on the job may be claimed again.
	told, asked := e.returned(j.ID, h)
	if asked && !j.Early {
		own := *j
		own.Early = true
		j = &own
	}
	turn.Free()
	if told != nil {
		e.discard(j, o.result)
		o.result, o.err, o.cutOff = told.result, told.err, nil
	}
	err = e.conclude(ctx, op, j, o)
	e.settled(j.ID, h)
	if told != nil {
		told.done <- err
	}
}

// putBack stores a job again whose operation was paused while it was in memory: it keeps
// its place among the others. It is false for all others, and where a run goes on.
func (e *Executor) putBack(ctx context.Context, j *job.Job) bool {
	if j.State == job.Waiting || !e.opt.Pauses.Operation(j.Operation) {
		return false
	}
	e.letGo(j)
	_ = e.handBack(ctx, j, j.DueAt)
	return true
}

// runInstantly is run without what only a run that lasts needs.
func (e *Executor) runInstantly(ctx context.Context, op Operation, j *job.Job, turn *window.Turn[*job.Job]) {
	e.letGo(j)
	now := e.opt.Now()
	if end, why := e.unfit(j, op, true, now); why != nil {
		_ = e.finish(ctx, job.Finish{Job: j, State: end, At: now, Error: why})
		return
	}
	result, err := e.attempt(ctx, j, attempt{op: op, n: j.Runs + 1})
	turn.Free()
	_ = e.conclude(ctx, op, j, outcome{n: j.Runs + 1, started: now, result: result, err: err})
}

// unfit says why a job must come to its end without a further run.
func (e *Executor) unfit(j *job.Job, op Operation, known bool, now time.Time) (job.State, *job.Error) {
	switch {
	case !known:
		return job.Failed, &job.Error{Code: job.CodeUnconfigured, Message: "the gateway's configuration has this operation no more"}
	case !j.Deadline.IsZero() && !now.Before(j.Deadline):
		return job.Expired, expired()
	case j.State == job.Waiting:
		return 0, nil // its run goes on
	case !j.ExpiresAt.IsZero() && !now.Before(j.ExpiresAt):
		return job.Expired, unwanted()
	case j.Interrupted > 0 && op.AtMostOnce:
		return job.Failed, &job.Error{Code: job.CodeInterrupted, Message: "the gateway stopped during the run, and the operation runs at most once"}
	case j.Runs >= op.Retry.Attempts && j.Error != nil && j.Interrupted == 0:
		return job.Failed, j.Error // the configuration allows fewer attempts than it did
	case j.Runs >= op.Retry.Attempts:
		return job.Failed, &job.Error{Code: job.CodeInterrupted, Message: "the gateway stopped during the run, once too often"}
	}
	return 0, nil
}

// start stores that a run begins, and what the first one owes. What must not run twice
// unnoticed waits for it. It returns the job as it is then.
func (e *Executor) start(ctx context.Context, op Operation, j *job.Job, n int, now time.Time) (*job.Job, error) {
	st := job.Start{Job: j, N: n, At: now, Await: op.AtMostOnce || j.Rescued}
	if n == 1 && e.opt.Early != nil {
		st.Callbacks = e.opt.Early.OweEarly(ctx, j, job.EventRunning, now)
	}
	if len(st.Callbacks) > 0 {
		own := *j // others have it, too
		own.Early = true
		j = &own
	}
	return j, e.opt.Store.StartRun(ctx, st)
}

// attempt is what an attempt at a job needs.
type attempt struct {
	op     Operation
	n      int
	report func(json.RawMessage) // nil: nobody hears
	talk   *talk                 // nil: its upstream cannot speak about it
	poll   *job.Wait             // not nil: this is a look at whether the result is there
}

// attempt calls the backend. A panic in it is a failed attempt.
func (e *Executor) attempt(ctx context.Context, j *job.Job, a attempt) (_ *job.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &backend.Failure{Code: job.CodePanic, Message: "the backend panicked", Cause: fmt.Errorf("%v\n%s", p, debug.Stack())}
		}
	}()
	run := &backend.Run{Job: j, N: a.n, Bodies: e.opt.Bodies, MaxResult: a.op.MaxResultBytes, Fresh: a.op.AtMostOnce, Progress: a.report}
	if a.talk != nil {
		run.Links, run.Ask = a.talk.links(), e.askFor(a.talk)
	}
	if sealed := j.Request.Authorization; len(sealed) > 0 {
		plain, err := e.opt.Seal.Open(sealed, "authorization")
		if err != nil {
			return nil, &backend.Failure{Code: job.CodeBackendError, Message: "the stored Authorization cannot be opened", Final: true, Cause: err}
		}
		run.Authorization, run.Cookie, _ = strings.Cut(string(plain), "\n")
	}
	if run.Cookie != "" {
		// Every kind of backend finds it where it was.
		whole := *j
		whole.Request.Header = maps.Clone(j.Request.Header)
		whole.Request.Header["Cookie"] = []string{run.Cookie}
		run.Job = &whole
	}
	if a.poll != nil {
		return a.op.async.Poll(ctx, run, a.poll)
	}
	return a.op.Backend.Run(ctx, run)
}

// outcome is how an attempt ended.
type outcome struct {
	n       int
	started time.Time
	result  *job.Result
	err     error
	cutOff  error // why the attempt's context was done, nil where it was not
	// progress is what it reported last, where that is not stored.
	progress []byte
	token    []byte    // the hash of the token by which its upstream can complete it
	waited   bool      // it ends while the job waits in the store, for wait
	wait     *job.Wait // nil: it has not waited yet
}

// conclude decides what follows from an attempt, and stores it. Its error says that
// nothing was stored.
func (e *Executor) conclude(ctx context.Context, op Operation, j *job.Job, o outcome) error {
	now := e.opt.Now()
	run := &job.Run{N: o.n, StartedAt: o.started, FinishedAt: now}
	later, isLater := errors.AsType[*backend.Later](o.err)
	if o.waited && !isLater {
		o.progress = e.lastProgress(j.ID)
	}
	switch {
	case errors.Is(o.cutOff, errEnded):
		e.discard(j, o.result)
		e.metrics.runs.WithLabelValues(op.Name, "canceled").Inc()
		return job.ErrTerminal
	case o.err == nil:
		e.metrics.ran(op.Name, "succeeded", now.Sub(o.started))
		return e.finish(ctx, job.Finish{Job: j, State: job.Succeeded, At: now, Run: run, Waited: o.waited, Result: o.result, Progress: o.progress})
	case isLater:
		return e.putOff(ctx, op, j, o, later)
	case ctx.Err() != nil && o.waited:
		return e.putOff(ctx, op, j, o, &backend.Later{Now: true})
	case (ctx.Err() != nil || errors.Is(o.cutOff, errStopping)) && !op.AtMostOnce:
		return e.handBack(ctx, j, now)
	}
	failure := e.failure(op, j, o, ctx.Err() != nil)
	run.Error = &job.Error{Code: failure.Code, Message: failure.Message, Detail: failure.Detail}
	e.metrics.ran(op.Name, string(failure.Code), now.Sub(o.started))
	f := job.Finish{Job: j, State: job.Failed, At: now, Run: run, Waited: o.waited, Error: run.Error, Progress: o.progress}
	switch {
	case errors.Is(o.cutOff, errDeadline):
		f.State = job.Expired
	case !failure.Final && o.n < op.Retry.Attempts:
		f.State, f.DueAt = job.Accepted, now.Add(max(backoff(op.Retry, o.n), min(failure.RetryAfter, maxRetryAfter)))
	}
	return e.finish(ctx, f)
}
