// Package keeper does what is to be done when nobody works: it deletes what is no longer
// to be kept, takes out of bodies what is to be redacted, and erases apps that were
// deleted. It goes on where it was after a restart, for all it knows is in the store.
package keeper

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/redact"
	"github.com/ringback/ringback/job"
)

// Store is what a Keeper needs of a store.
type Store interface {
	job.Janitor
	job.Keeping
	job.Pauses
	job.Audits
	// WholeJob is that of job.Reader.
	WholeJob(ctx context.Context, app string, id job.ID) (*job.Job, error)
}

// Options is what a Keeper needs. All are required.
type Options struct {
	Store      Store
	Bodies     body.Storage
	Operations []job.Operation
	Retention  time.Duration // of operations that have none of their own
	// AuditRetention is that of the audit log.
	AuditRetention time.Duration
	Log            *slog.Logger
	Now            func() time.Time
}

// Keeper keeps things no longer than they are to be kept. Make it with New.
type Keeper struct {
	opt     Options
	redacts map[string]redaction // by operation
	sweeps  bool                 // an operation wants more than the retention of all
	longest time.Duration        // the longest retention

	ended chan job.ID // jobs that may have to be redacted
	apps  chan struct{}
	mu    sync.Mutex // held while apps are erased
	// scrubAt is when the store may be scrubbed again after that failed, waitScrub how
	// long the next failure puts it off.
	scrubAt   time.Time
	waitScrub time.Duration
}

type redaction struct {
	request, result, echo redact.Pointers
}

const (
	interval = time.Minute
	batch    = 500
	// eraseBatch is less, since what is erased is overwritten, too: at most some 15 MiB.
	eraseBatch = 100
	// look is how many jobs a sweep reads at a time, and rest what it leaves to others
	// between two looks: together some hundredth of a core.
	look = 2000
	rest = 50 * time.Millisecond
	// keyRetention is how long an idempotency key is kept at least.
	keyRetention = 24 * time.Hour
	// queue is how many jobs wait to be redacted; what finds no room, a sweep finds.
	queue = 10_000
)

// New makes a keeper. Its error is that of a malformed redaction.
func New(opt Options) (*Keeper, error) {
	k := &Keeper{opt: opt, redacts: map[string]redaction{}, ended: make(chan job.ID, queue), apps: make(chan struct{}, 1), longest: opt.Retention}
	for _, op := range opt.Operations {
		k.sweeps = k.sweeps || op.Retention > 0 || op.BodyRetention > 0
		k.longest = max(k.longest, op.Retention)
		if !op.Redact.Any() {
			continue
		}
		k.sweeps = true
		var r redaction
		var errs [4]error
		r.request, errs[0] = redact.Parse(op.Redact.Request, op.Redact.KeepOther)
		r.result, errs[1] = redact.Parse(op.Redact.Result, op.Redact.KeepOther)
		r.echo, errs[2] = redact.Parse(op.Redact.OfResult(true), op.Redact.KeepOther)
		_, errs[3] = redact.Parse(op.Redact.Answer, op.Redact.KeepOther) // the sender's affair
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("operation %s: redact: %w", op.Name, err)
		}
		k.redacts[op.Name] = r
	}
	return k, nil
}

// Committed hears of every change of the store.
func (k *Keeper) Committed(ch job.Change) {
	switch ch.Kind {
	case job.AppChanged:
		select {
		case k.apps <- struct{}{}:
		default:
		}
	case job.JobFinished:
		k.over(ch.Job.Operation, ch.Job.ID) // with callbacks that are pending it comes again
	case job.CallbackSettled:
		k.over(ch.Callback.Operation, ch.Callback.JobID)
	}
}

// over notes a job that may be at its end with all its callbacks.
func (k *Keeper) over(operation string, id job.ID) {
	if len(k.redacts) == 0 {
		return
	}
	if _, ok := k.redacts[operation]; !ok {
		return
	}
	select {
	case k.ended <- id:
	default:
	}
}

// Run does the work until ctx is done.
func (k *Keeper) Run(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	k.note(ctx, "delete what is old", k.Once(ctx))
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-k.ended:
			k.note(ctx, "redact a job", k.redact(ctx, id))
		case <-k.apps:
			k.note(ctx, "erase deleted apps", k.erase(ctx))
		case <-ticker.C:
			k.note(ctx, "delete what is old", k.Once(ctx))
		}
	}
}

// Once does all that there is to do now.
func (k *Keeper) Once(ctx context.Context) error {
	return errors.Join(k.erase(ctx), k.clean(ctx), k.cleanAudit(ctx), k.opt.Store.ForgetPauses(ctx, k.opt.Now()))
}

func (k *Keeper) cleanAudit(ctx context.Context) error {
	for {
		n, err := k.opt.Store.PurgeAudit(ctx, k.opt.Now().Add(-k.opt.AuditRetention), batch)
		if err != nil || n < batch {
			return err
		}
	}
}

func (k *Keeper) note(ctx context.Context, doing string, err error) {
	if err != nil && ctx.Err() == nil {
		k.opt.Log.Error(doing, "error", err)
	}
}

// clean deletes what is too old. What is too old for all needs no look at each job.
func (k *Keeper) clean(ctx context.Context) error {
	if k.sweeps {
		if err := k.sweep(ctx); err != nil {
			return err
		}
	}
	for {
		now := k.opt.Now()
		n, unused, err := k.opt.Store.Purge(ctx, now.Add(-k.longest), now.Add(-keyRetention), batch)
		if err = errors.Join(err, k.unlink(unused)); err != nil || n < batch {
			return err
		}
	}
}

// unlink deletes stored bodies whose rows are gone: what cannot be deleted now, the next
// start sweeps.
func (k *Keeper) unlink(refs []string) error {
	var errs []error
	for _, ref := range refs {
		errs = append(errs, k.opt.Bodies.Delete(ref))
	}
	return errors.Join(errs...)
}

// cutoffs are what is too old now.
func (k *Keeper) cutoffs() job.Sweep {
	now := k.opt.Now()
	sw := job.Sweep{Look: look, Operations: map[string]job.Cutoff{}, Others: job.Cutoff{Jobs: now.Add(-k.opt.Retention)}}
	for _, op := range k.opt.Operations {
		_, redacts := k.redacts[op.Name]
		cut := job.Cutoff{Jobs: now.Add(-cmp.Or(op.Retention, k.opt.Retention)), Redact: redacts}
		if op.BodyRetention > 0 {
			cut.Bodies = now.Add(-op.BodyRetention)
		}
		sw.Operations[op.Name] = cut
	}
	return sw
}

func (k *Keeper) sweep(ctx context.Context) error {
	for sw := k.cutoffs(); ; {
		swept, err := k.opt.Store.Sweep(ctx, sw)
		if err = errors.Join(err, k.unlink(swept.Unused)); err != nil {
			return err
		}
		for _, id := range swept.Redact {
			if err := k.redact(ctx, id); err != nil {
				return err
			}
		}
		if sw.After = swept.Next; sw.After == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.apps: // this may take long in a large store
			if err := k.erase(ctx); err != nil {
				return err
			}
		case <-time.After(rest):
		}
	}
}

// redact replaces the bodies of a job that is over. One that is not, or was redacted
// before, is left alone.
func (k *Keeper) redact(ctx context.Context, id job.ID) error {
	j, err := k.opt.Store.WholeJob(ctx, "", id)
	if errors.Is(err, job.ErrNotFound) || err == nil && (!j.State.Terminal() || j.Bodies != job.BodiesWhole) {
		return nil
	}
	if err != nil {
		return err
	}
	r, ok := k.redacts[j.Operation]
	if !ok {
		return nil
	}
	redacted := job.Redacted{ID: id}
	pointers := r.request
	if j.Result != nil && j.Result.Echo {
		pointers = r.echo
	}
	redacted.Request, err = k.less(ctx, pointers, j.Request.Body, redact.Coded(j.Request.Header))
	if err == nil && j.Result != nil && !j.Result.Echo {
		redacted.Result, err = k.less(ctx, r.result, j.Result.Body, redact.Coded(j.Result.Header))
	}
	var unused []string
	if err == nil {
		unused, err = k.opt.Store.Redact(ctx, redacted)
	}
	if err != nil {
		for _, b := range []*job.Body{redacted.Request, redacted.Result} {
			// Where the outcome is not known a row may name it: the next start knows.
			if b != nil && b.Ref != "" && !errors.Is(err, job.ErrOutcomeUnknown) {
				err = errors.Join(err, k.opt.Bodies.Delete(b.Ref))
			}
		}
		if errors.Is(err, job.ErrGone) {
			return nil // a callback is pending; its end comes here again
		}
		return err
	}
	return k.unlink(unused)
}

// less is a body without what is to be redacted, nil where it stays as it is.
func (k *Keeper) less(ctx context.Context, p redact.Pointers, b job.Body, coded bool) (*job.Body, error) {
	if p.None() || b.Size == 0 {
		return nil, nil
	}
	from, err := body.Open(k.opt.Bodies, b)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	redacted, outcome, err := p.Read(from, coded)
	if err != nil || outcome == redact.Unchanged {
		return nil, err
	}
	stored, err := body.Read(ctx, k.opt.Bodies, bytes.NewReader(redacted), int64(len(redacted)))
	return &stored, err
}
