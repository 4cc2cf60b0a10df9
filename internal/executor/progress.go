package executor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/ringback/ringback/job"
)

// Early makes the callbacks of events before a job's end.
type Early interface {
	// OweEarly makes those of an event.
	OweEarly(ctx context.Context, j *job.Job, event job.Event, at time.Time) []job.OwedCallback
	// OweProgress makes the one that tells a target of a progress, nil where that does
	// not want to hear of it; ProgressInterval is the least time between two of them.
	OweProgress(ctx context.Context, j *job.Job, target int, value []byte, at time.Time) *job.Callback
	ProgressInterval(ctx context.Context, j *job.Job, target int) time.Duration
}

// reporter stores how far a run is: at most once per interval, however often the
// backend says so, and always what it said last. What it said last of all is stored
// with the run's end where there was no time for it before.
type reporter struct {
	e       *Executor
	op      Operation
	n       int
	started time.Time

	mu      sync.Mutex
	j       *job.Job
	latest  []byte
	seq     int       // of latest: counts the values
	stored  int       // the seq of the value that is stored
	next    time.Time // before then nothing is written
	timer   *time.Timer
	pending bool // the timer runs, or write does
	stopped bool
	work    sync.WaitGroup

	// Of write alone, which is never called twice at once.
	begun bool // the run's start is stored
	told  []told
}

// told is what a target was told last, and when.
type told struct {
	seq int
	at  time.Time
}

// retryProgress is how long a reporter leaves a store alone that can take nothing.
const retryProgress = time.Second

// minProgressInterval bounds what a job's progress costs, whatever is configured.
const minProgressInterval = 10 * time.Millisecond

// report notes a value, JSON of at most job.MaxProgressBytes; other values are
// dropped. It does not wait for the store.
func (r *reporter) report(value json.RawMessage) {
	var compact bytes.Buffer
	fits := len(value) <= job.MaxProgressBytes && utf8.Valid(value) && json.Compact(&compact, value) == nil && compact.Len() > 0
	r.mu.Lock()
	defer r.mu.Unlock()
	if !fits {
		r.e.opt.Log.Debug("progress dropped: it is no JSON in UTF-8, or too long", "job", r.j.ID.Job(), "bytes", len(value))
		return
	}
	if r.stopped || bytes.Equal(r.latest, compact.Bytes()) {
		return
	}
	r.latest, r.seq = compact.Bytes(), r.seq+1
	r.scheduleLocked(r.next)
}

// scheduleLocked lets write follow at a time, unless it is about to.
func (r *reporter) scheduleLocked(at time.Time) {
	if r.pending || r.stopped {
		return
	}
	r.pending = true
	r.work.Add(1) // before stop waits: both hold mu
	r.timer = time.AfterFunc(max(at.Sub(r.e.opt.Now()), 0), r.write)
}

// write stores the latest value, and what it owes to those whose interval is over.
func (r *reporter) write() {
	defer r.work.Done()
	r.mu.Lock()
	if r.j.StartedAt.IsZero() { // of the first run, a template sees it here
		own := *r.j
		own.StartedAt = r.started
		r.j = &own
	}
	p, seq, fresh := job.Progress{Job: r.j, N: r.n, Value: r.latest, At: r.e.opt.Now()}, r.seq, r.seq != r.stored
	stopped := r.stopped
	r.mu.Unlock()
	if stopped {
		return
	}
	ctx := context.Background()
	next, later, tell := r.due(ctx, &p, seq)
	var err error
	if fresh || len(tell) > 0 {
		err = r.store(ctx, p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = false
	switch {
	case err == nil:
		r.stored = seq
		for _, i := range tell {
			r.told[i] = told{seq, p.At}
		}
		r.next = next
		switch {
		case r.seq != seq:
			r.scheduleLocked(next)
		case !later.IsZero():
			r.scheduleLocked(later)
		}
	case errors.Is(err, job.ErrUnavailable):
		r.scheduleLocked(p.At.Add(retryProgress))
	case errors.Is(err, job.ErrTerminal), errors.Is(err, job.ErrNotFound):
		r.stopped = true // the run is over
	default:
		r.e.opt.Log.Error("store progress", "job", r.j.ID.Job(), "error", err)
	}
}

// due adds to p what its value owes now, and returns the targets that hear of it. A
// newer value may be written at next; this one is due to further targets later, zero
// where there are none.
func (r *reporter) due(ctx context.Context, p *job.Progress, seq int) (next, later time.Time, tell []int) {
	next = p.At.Add(max(r.op.Callback.ProgressInterval, minProgressInterval))
	early := r.e.opt.Early
	if early == nil || len(p.Job.Targets) == 0 {
		return next, later, nil
	}
	if r.told == nil {
		r.told = make([]told, len(p.Job.Targets))
		if r.n > 1 { // those before may have been told a moment ago
			for i := range r.told {
				r.told[i].at = r.started
			}
		}
	}
	for i, t := range r.told {
		cb := early.OweProgress(ctx, p.Job, i, p.Value, p.At)
		if cb == nil {
			continue
		}
		interval := max(early.ProgressInterval(ctx, p.Job, i), minProgressInterval)
		switch at := t.at.Add(interval); {
		case t.seq == seq:
		case t.at.IsZero() || !p.At.Before(at):
			p.Callbacks = append(p.Callbacks, job.OwedCallback{Callback: cb})
			tell, t.at = append(tell, i), p.At
		case later.IsZero() || at.Before(later):
			later = at
		}
		if at := t.at.Add(interval); at.Before(next) {
			next = at
		}
	}
	return next, later, tell
}

// store stores the start of the run, where it is not, and then its progress.
func (r *reporter) store(ctx context.Context, p job.Progress) error {
	if !r.begun {
		if err := r.e.opt.Store.StartRun(ctx, job.Start{Job: r.j, N: r.n, At: r.started, Await: true}); err != nil {
			return err
		}
		r.begun = true
	}
	if len(p.Callbacks) > 0 {
		r.becomesEarly()
	}
	return r.e.opt.Store.Progress(ctx, p)
}

func (r *reporter) becomesEarly() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.j.Early {
		own := *r.j
		own.Early = true
		r.j = &own
	}
}

// stop ends the reports, and returns the job and what was reported last, nil where
// that is stored.
func (r *reporter) stop() (*job.Job, []byte) {
	r.mu.Lock()
	r.stopped = true
	if r.timer != nil && r.timer.Stop() {
		r.work.Done()
	}
	r.mu.Unlock()
	r.work.Wait()
	if r.seq == r.stored {
		return r.j, nil
	}
	return r.j, r.latest
}
