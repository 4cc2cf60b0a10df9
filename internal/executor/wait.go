package executor

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
)

// A run may come to its end after its backend has returned: its upstream has said
// "later". Then the job waits in the store, and what there is of the run in memory is
// a poll from time to time, or a completion that comes in.

// talk is a run in memory that its upstream can speak about.
type talk struct {
	job  *job.Job
	n    int
	hash [sha256.Size]byte // of its token
	link string            // what its URLs begin with; empty: it has no token
	// report takes how far the run is.
	report         func(json.RawMessage)
	ctx            context.Context // the run's
	turn           *window.Turn[*job.Job]
	started, until time.Time
	once           bool // it runs at most once

	// The mutex of Executor guards what follows.
	asked      bool            // it has asked something
	open       map[string]bool // the keys of what it waits for
	returned   bool            // the backend has returned
	completion *completion
	stored     chan struct{} // closed when the end is stored
}

// completion is the end of a run as its upstream told it while the backend still ran.
type completion struct {
	result *job.Result
	err    error
	done   chan error
}

var errCompleted = errors.New("the upstream has completed the run")

// tokenUse names the tokens of runs. One holds the job's id, the run's number, and
// octets that make it another one should a crash make that number come again.
const (
	tokenUse   = "run"
	nonceBytes = 16
	tokenBytes = len(job.ID{}) + 4 + nonceBytes
)

// runToken is what a token says.
type runToken struct {
	id   job.ID
	n    int
	hash [sha256.Size]byte
}

// giveToken makes the token of a run, and returns its hash.
func (e *Executor) giveToken(t *talk) []byte {
	payload := make([]byte, tokenBytes)
	rand.Read(payload[copy(payload, t.job.ID[:])+4:])
	binary.BigEndian.PutUint32(payload[len(t.job.ID):], uint32(t.n))
	token := e.opt.Seal.Token(tokenUse, payload)
	t.hash, t.link = sha256.Sum256([]byte(token)), e.opt.RunURL(token)
	return t.hash[:]
}

func (t *talk) links() *backend.Links {
	if t.link == "" {
		return nil
	}
	return &backend.Links{Completion: t.link + "/result", Ask: t.link + "/questions", Progress: t.link + "/progress"}
}

func (e *Executor) parseToken(token string) (t runToken, err error) {
	payload, ok := e.opt.Seal.OpenToken(tokenUse, token)
	if !ok || len(payload) != tokenBytes {
		return t, job.ErrNotFound
	}
	copy(t.id[:], payload)
	t.n, t.hash = int(binary.BigEndian.Uint32(payload[len(t.id):])), sha256.Sum256([]byte(token))
	return t, nil
}

// speaks lets a held run ask, and where it talks its upstream speak about it, by the
// token whose hash it returns.
func (e *Executor) speaks(t *talk, talks bool) (token []byte) {
	if talks {
		token = e.giveToken(t)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if h := e.held[t.job.ID]; h != nil {
		h.talk = t
	}
	return token
}

// returned notes that the backend of a run has returned, and what its upstream has
// told meanwhile, and whether it has asked. Nothing can cut the run off any more.
func (e *Executor) returned(id job.ID, h *held) (told *completion, asked bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.talk == nil {
		delete(e.held, id)
		return nil, false
	}
	h.talk.returned = true
	return h.talk.completion, h.talk.asked
}

// settled lets go of a run whose end is stored. The job may have been claimed again.
func (e *Executor) settled(id job.ID, h *held) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.talk == nil {
		return
	}
	close(h.talk.stored)
	if e.held[id] == h {
		delete(e.held, id)
	}
}

// find looks for the run of a token: in memory, or waiting in the store. The job is
// ErrGone where it is in neither.
func (e *Executor) find(ctx context.Context, t runToken) (*job.Job, *talk, error) {
	for {
		e.mu.Lock()
		var spoken *talk
		if h := e.held[t.id]; h != nil && h.talk != nil && h.talk.link != "" && h.talk.n == t.n {
			spoken = h.talk
		}
		running := spoken != nil && !spoken.returned
		e.mu.Unlock()
		switch {
		case spoken != nil && subtle.ConstantTimeCompare(spoken.hash[:], t.hash[:]) != 1:
			return nil, nil, job.ErrGone
		case running:
			return spoken.job, spoken, nil
		case spoken != nil:
			select {
			case <-spoken.stored: // what it has come to is in the store
				continue
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		}
		j, err := e.opt.Reader.WholeJob(ctx, "", t.id)
		if err != nil {
			return nil, nil, err
		}
		if j.State != job.Waiting || j.Wait == nil || j.Runs != t.n || subtle.ConstantTimeCompare(j.Wait.Token, t.hash[:]) != 1 {
			return nil, nil, job.ErrGone
		}
		return j, nil, nil
	}
}

// Complete ends the run of a token with what its upstream sent. The error is
// job.ErrNotFound for a token that is none, job.ErrGone where nobody waits for the run
// any more, job.ErrExists while another completion of it is being stored,
// job.ErrUnavailable, job.ErrMalformed, or body.ErrTooLarge, which has ended the run,
// too; any other is from's.
func (e *Executor) Complete(ctx context.Context, token string, header http.Header, from io.Reader) error {
	t, err := e.parseToken(token)
	if err != nil {
		return err
	}
	j, _, err := e.find(ctx, t)
	if err != nil {
		return err
	}
	op := e.ops[j.Operation]
	if op.async == nil {
		return job.ErrGone // the configuration is another one now
	}
	result, err := op.async.Completed(ctx, &backend.Run{Job: j, N: t.n, Bodies: e.opt.Bodies, MaxResult: op.MaxResultBytes}, header, from)
	failure, failed := errors.AsType[*backend.Failure](err)
	_, later := errors.AsType[*backend.Later](err)
	switch {
	case errors.Is(err, backend.ErrNotYet):
		return nil
	case errors.Is(err, backend.ErrMalformed):
		return job.ErrMalformed
	case err != nil && !failed && !later:
		return err
	}
	if err := e.complete(ctx, t, op, result, err); err != nil {
		return err
	}
	if failed && failure.Code == job.CodeResultTooLarge {
		return body.ErrTooLarge
	}
	return nil
}

// completeTimeout bounds how long a completion waits for a store that takes nothing.
const completeTimeout = 20 * time.Second

// complete stores how a run ended, through the run where that is in memory.
func (e *Executor) complete(ctx context.Context, t runToken, op Operation, result *job.Result, failure error) error {
	// One that hangs up must not make the outcome of a commit unknown to us.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), completeTimeout)
	defer cancel()
	for {
		j, spoken, err := e.find(ctx, t)
		if err != nil {
			if result != nil {
				e.discard(&job.Job{ID: t.id}, result)
			}
			return err
		}
		if spoken == nil {
			o := outcome{n: t.n, started: j.Wait.StartedAt, result: result, err: failure, waited: true, wait: j.Wait}
			return gone(e.conclude(ctx, op, j, o))
		}
		c := &completion{result: result, err: failure, done: make(chan error, 1)}
		switch e.hand(spoken, c) {
		case handed:
			select {
			case err := <-c.done:
				return gone(err)
			case <-ctx.Done():
				return job.ErrUnavailable
			}
		case taken:
			e.discard(j, result)
			return job.ErrExists
		}
	}
}

// gone is the error of an end that came too late.
func gone(err error) error {
	if errors.Is(err, job.ErrTerminal) {
		return job.ErrGone
	}
	return err
}

type handing int

const (
	handed  handing = iota
	taken           // another one was first
	tooLate         // the backend has returned
)

// hand gives a completion to the run in memory, and cuts its backend off.
func (e *Executor) hand(t *talk, c *completion) handing {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.held[t.job.ID]
	switch {
	case t.returned || h == nil || h.talk != t:
		return tooLate
	case t.completion != nil:
		return taken
	}
	t.completion = c
	h.cancel(errCompleted)
	return handed
}

const (
	// minPoll and maxPoll bound the time between two polls that an upstream asks for.
	minPoll = time.Second
	maxPoll = 10 * time.Minute
	// maxBackoffPoll bounds it where the upstream says nothing.
	maxBackoffPoll = 30 * time.Second
)

// pollDelay is the time to the next poll after so many.
func pollDelay(asked time.Duration, polls int) time.Duration {
	if asked > 0 {
		return min(max(asked, minPoll), maxPoll)
	}
	if polls < 5 {
		return minPoll << polls
	}
	return maxBackoffPoll
}

// putOff stores that the result of a run comes later.
func (e *Executor) putOff(ctx context.Context, op Operation, j *job.Job, o outcome, later *backend.Later) error {
	now := e.opt.Now()
	w := job.Wait{StartedAt: o.started, Until: o.started.Add(op.Timeout), Location: later.Location}
	switch {
	case o.wait != nil:
		if w = *o.wait; later.Location != "" {
			w.Location = later.Location
		}
		if later.Now {
			w.Token = nil // it was completed: nobody can do that again
		}
	case !later.Now:
		w.Token = o.token
	}
	until := e.until(j.Operation, &w)
	due := until
	if w.Location != "" && !later.Now {
		due = now.Add(pollDelay(later.After, w.Polls))
	}
	if later.Now {
		due = now
	}
	if until.Before(due) {
		due = until
	}
	return e.finish(ctx, job.Finish{Job: j, State: job.Waiting, At: now, DueAt: due, Run: &job.Run{N: o.n, StartedAt: o.started},
		Waited: o.waited, Wait: &w, Progress: o.progress})
}

// until is when a run that waits has taken too long. Nobody looks after it while its
// operation is paused: that time does not count.
func (e *Executor) until(operation string, w *job.Wait) time.Time {
	return w.Until.Add(e.opt.Pauses.OperationRested(operation, w.StartedAt, e.opt.Now()))
}

// resume looks after a job that waits: its time may be over, or its result there.
func (e *Executor) resume(ctx, runCtx context.Context, op Operation, j *job.Job) outcome {
	o := outcome{n: j.Runs, started: j.Wait.StartedAt, waited: true, wait: j.Wait}
	left := e.until(j.Operation, j.Wait).Sub(e.opt.Now())
	switch {
	case left <= 0:
		o.err, o.cutOff = context.DeadlineExceeded, context.DeadlineExceeded
		return o
	case j.Wait.Location == "" || op.async == nil:
		o.err = &backend.Later{} // too early: the clock was set back perhaps
		return o
	}
	runCtx, stop := context.WithTimeoutCause(runCtx, left, context.DeadlineExceeded)
	defer stop()
	polled := *j.Wait
	polled.Polls++
	o.wait = &polled
	o.result, o.err = e.attempt(runCtx, j, attempt{op: op, n: j.Runs, poll: j.Wait})
	o.cutOff = context.Cause(runCtx)
	if o.err == nil || o.cutOff != nil || ctx.Err() != nil {
		return o
	}
	if _, later := errors.AsType[*backend.Later](o.err); later {
		return o
	}
	if f, ok := errors.AsType[*backend.Failure](o.err); !ok || !f.Final {
		// Nothing is known of the work itself: it is not repeated for that.
		e.opt.Log.Warn("poll failed", "job", j.ID.Job(), "operation", op.Name, "error", o.err)
		later := &backend.Later{}
		if ok {
			later.After = f.RetryAfter
		}
		o.err = later
	}
	return o
}

// maxWaiting bounds the memory for the progress of runs that wait.
const maxWaiting = 128

// Progress takes how far the run of a token is: JSON of at most job.MaxProgressBytes.
// Errors are those of Complete.
func (e *Executor) Progress(ctx context.Context, token string, value json.RawMessage) error {
	t, err := e.parseToken(token)
	if err != nil {
		return err
	}
	j, spoken, err := e.find(ctx, t)
	if err != nil {
		return err
	}
	if spoken != nil {
		spoken.report(value)
		return nil
	}
	e.reporterOf(j).report(value)
	return nil
}

// reporterOf is what takes the progress of a job that waits.
func (e *Executor) reporterOf(j *job.Job) *reporter {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.waiting[j.ID]; r != nil && r.n == j.Runs {
		return r
	}
	for id, r := range e.waiting {
		if len(e.waiting) < maxWaiting {
			break
		}
		delete(e.waiting, id) // any one: it is made anew when its next progress comes
		go r.stop()
	}
	r := &reporter{e: e, op: e.ops[j.Operation], n: j.Runs, started: j.Wait.StartedAt, j: j, begun: true}
	e.waiting[j.ID] = r
	return r
}

// lastProgress ends the reports of a run that waited, and returns what of them is not
// stored.
func (e *Executor) lastProgress(id job.ID) []byte {
	e.mu.Lock()
	r := e.waiting[id]
	delete(e.waiting, id)
	e.mu.Unlock()
	if r == nil {
		return nil
	}
	_, progress := r.stop()
	return progress
}

// forgetProgress ends the reports of a job that has ended. It does not wait.
func (e *Executor) forgetProgress(id job.ID) {
	e.mu.Lock()
	r := e.waiting[id]
	delete(e.waiting, id)
	e.mu.Unlock()
	if r != nil {
		go r.stop()
	}
}

// endProgress ends all reports.
func (e *Executor) endProgress() {
	e.mu.Lock()
	all := e.waiting
	e.waiting = map[job.ID]*reporter{}
	e.mu.Unlock()
	for _, r := range all {
		r.stop()
	}
}
