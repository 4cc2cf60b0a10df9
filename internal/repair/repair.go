// Package repair puts right what went wrong: it does in the background what somebody
// asked for in bulk, says beforehand what that would be, and explains why a callback has
// not arrived.
package repair

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ringback/ringback/job"
)

// Store is what a Runner needs of a store.
type Store interface {
	job.Bulks
	job.Reader
	job.Endpoints
	// WaitsFor and ListPauses are those of job.Turns and job.Pauses.
	WaitsFor(context.Context, []*job.Callback) ([]job.ID, error)
	ListPauses(context.Context) ([]job.Pause, error)
}

// Options is what a Runner needs. All are required.
type Options struct {
	Store Store
	// Contract is how the callbacks of an operation are tried.
	Contract func(operation string) job.Contract
	// Owed makes the callbacks that the end of a job owes.
	Owed func(j *job.Job, end job.State, at time.Time) []job.OwedCallback
	// Waits tells what a pending callback waits for, and until when.
	Waits func(*job.Callback) (waiting string, until time.Time)
	// GiveUpAt is when a pending callback is tried no more.
	GiveUpAt func(*job.Callback) time.Time
	Log      *slog.Logger
	Now      func() time.Time
}

const (
	// batch is how many callbacks or jobs one transaction changes: what others' writes
	// may have to wait for.
	batch = 100
	// lookRows is how many rows one look reads.
	lookRows = 5000
	// share is the part of the time that is rested: after each batch four times as long
	// as it took, so that a store that is busy with live traffic has more of it.
	share = 4
	// maxLaneDue is how much a lane may have to send before a bulk makes more due there:
	// what is fresh waits behind no more than this.
	maxLaneDue = 500
	// maxBehind is how many lanes a bulk leaves behind at once. With more of them it waits.
	maxBehind = 64
	// idle is how soon a bulk whose lanes are all full looks again.
	idle = 250 * time.Millisecond
	// failed is how long it rests after an error of the store.
	failed = time.Second
)

// Runner does the bulks of a store, each app's in its turn. Make it with New.
type Runner struct {
	opt      Options
	wake     chan struct{}
	counting map[job.ID]*count // of bulks that are being counted
	cancel   context.CancelFunc
	work     sync.WaitGroup
}

// count is how far a bulk was counted.
type count struct {
	after uint64
	total int64
}

// New makes a runner that does nothing yet.
func New(opt Options) *Runner {
	return &Runner{opt: opt, wake: make(chan struct{}, 1), counting: map[job.ID]*count{}}
}

// Open begins to work, with what the last process has left.
func (r *Runner) Open() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.work.Go(func() { r.loop(ctx) })
}

// Close ends the work between two batches. What is left goes on at the next start.
func (r *Runner) Close() {
	if r.cancel != nil {
		r.cancel()
	}
	r.work.Wait()
}

// Committed hears of every change of the store. It does not block.
func (r *Runner) Committed(ch job.Change) {
	if ch.Kind == job.BulkChanged && ch.Bulk.State == job.BulkRunning && ch.Bulk.Steps == 0 {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

func (r *Runner) loop(ctx context.Context) {
	for ctx.Err() == nil {
		rest := r.round(ctx)
		timer := time.NewTimer(rest)
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// round does a batch of each bulk, and returns how long to rest.
func (r *Runner) round(ctx context.Context) (rest time.Duration) {
	open, err := r.opt.Store.ListBulks(ctx, job.BulksFilter{Open: true})
	if err != nil {
		return r.failed(ctx, "list bulks", err)
	}
	r.forget(open)
	if len(open) == 0 {
		return time.Hour // somebody who makes one wakes us
	}
	rest = idle
	for _, b := range open {
		start := time.Now()
		did, err := r.step(ctx, b)
		switch {
		case errors.Is(err, job.ErrTerminal), errors.Is(err, job.ErrGone), errors.Is(err, job.ErrNotFound):
			// It was stopped, or its app deleted.
		case err != nil:
			return r.failed(ctx, b.ID.Bulk(), err)
		case did:
			rest = 0
		}
		if !sleep(ctx, share*time.Since(start)) {
			return 0
		}
	}
	return rest
}

func (r *Runner) failed(ctx context.Context, doing string, err error) time.Duration {
	if ctx.Err() == nil {
		r.opt.Log.Error("repair: "+doing, "error", err)
	}
	return failed
}

// forget drops what is known of bulks that run no more.
func (r *Runner) forget(open []*job.Bulk) {
	for id := range r.counting {
		known := false
		for _, b := range open {
			known = known || b.ID == id
		}
		if !known {
			delete(r.counting, id)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// step counts a part of what a bulk is about, or does a batch of it. It is false where
// nothing can be done now.
func (r *Runner) step(ctx context.Context, b *job.Bulk) (did bool, err error) {
	if !b.Counted {
		return r.count(ctx, b)
	}
	st := job.BulkStep{Bulk: b, At: r.opt.Now(), Counted: true, Total: b.Total, Cursor: b.Cursor, Behind: b.Behind}
	switch b.Action {
	case job.BulkCancel:
		err = r.cancels(ctx, &st)
	case job.BulkDiscard:
		err = r.discards(ctx, &st)
	default:
		did, err = r.resends(ctx, &st)
		if err != nil || !did {
			return false, err
		}
	}
	if err != nil {
		return false, err
	}
	// What was begun is to be known: a batch is not given up half way.
	_, err = r.opt.Store.StepBulk(context.WithoutCancel(ctx), st)
	return err == nil, err
}

// count counts one look's worth.
func (r *Runner) count(ctx context.Context, b *job.Bulk) (bool, error) {
	c := r.counting[b.ID]
	if c == nil {
		c = &count{}
		r.counting[b.ID] = c
	}
	found, err := r.opt.Store.FindBulk(ctx, job.BulkLook{Bulk: b, After: c.after, Look: lookRows, Limit: lookRows})
	if err != nil {
		return false, err
	}
	c.after, c.total = found.Next, c.total+int64(len(found.Callbacks)+len(found.Jobs))
	if !found.End {
		return true, nil
	}
	_, err = r.opt.Store.StepBulk(context.WithoutCancel(ctx), job.BulkStep{Bulk: b, At: r.opt.Now(), Counted: true, Total: c.total, Cursor: b.Cursor, Behind: b.Behind})
	return err == nil, err
}

func (r *Runner) cancels(ctx context.Context, st *job.BulkStep) error {
	found, err := r.opt.Store.FindBulk(ctx, job.BulkLook{Bulk: st.Bulk, After: st.Cursor, Look: lookRows, Limit: batch})
	if err != nil {
		return err
	}
	for _, light := range found.Jobs {
		// Whole, since a callback's template may speak of the request.
		j, err := r.opt.Store.WholeJob(ctx, light.App, light.ID)
		if errors.Is(err, job.ErrNotFound) {
			st.Skipped++
			continue
		}
		if err != nil {
			return err
		}
		st.Finishes = append(st.Finishes, job.Finish{Job: j, State: job.Canceled, At: st.At, Callbacks: r.opt.Owed(j, job.Canceled, st.At)})
	}
	st.Cursor, st.End = found.Next, found.End
	return nil
}

func (r *Runner) discards(ctx context.Context, st *job.BulkStep) error {
	found, err := r.opt.Store.FindBulk(ctx, job.BulkLook{Bulk: st.Bulk, After: st.Cursor, Look: lookRows, Limit: batch})
	if err != nil {
		return err
	}
	for _, cb := range found.Callbacks {
		st.Callbacks = append(st.Callbacks, job.BulkItem{ID: cb.ID})
	}
	st.Cursor, st.End = found.Next, found.End
	return nil
}
